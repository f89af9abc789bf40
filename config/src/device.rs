use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::names::{DeviceId, GroupId};
use crate::read::{Reader, Section};

/// One PKCS#11 device and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub id: DeviceId,
    /// The wall it stands behind.
    pub group: GroupId,
    /// The vendor's library, loaded by the device's worker process only.
    pub module: PathBuf,
    /// Label of the token (CK_TOKEN_INFO), without padding.
    pub token: String,
    /// Serial number of the token; with the label it names the device whatever slot it shows up in.
    pub serial: Option<String>,
    /// File that holds the user PIN (one line); read when a worker starts, never kept.
    pub pin_file: PathBuf,
    /// File that holds the security officer's PIN (one line); read when a blank device is taken in, and only then.
    pub so_pin_file: Option<PathBuf>,
    /// Name of the vendor profile (mechanism numbers and forms).
    pub dialect: String,
    /// Sessions, each with a thread of the worker: what the device works on at once.
    pub lanes: usize,
    /// Environment of the worker process, such as `SOFTHSM2_CONF`; relative paths in it are relative to
    /// `folder`.
    pub env: BTreeMap<String, String>,
    /// Working folder of the worker process: the one the configuration stands in.
    pub folder: PathBuf,
}

/// Which signatures are verified in software before they leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputCheck {
    /// All of them.
    Always,
    /// None beyond a key's and a device's first: for measuring only.
    FirstUse,
}

/// Where a vendor's library runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// In a process of its own for each device, which can be killed.
    Process,
    /// In a thread of the gateway, where it can hang and crash the gateway: for measuring only.
    Thread,
}

/// How devices are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Longest time a signature may take, over all attempts. Default 3 s.
    pub deadline: Duration,
    /// How long past its attempt's end a call may stay stuck before its worker is killed. Default 2 s.
    pub kill_after: Duration,
    /// Longest time a worker may take from its start to ready. Default 30 s.
    pub start_timeout: Duration,
    /// Requests that may wait for one device; one more is refused. Default 512.
    pub queue: usize,
    /// Which signatures are checked.
    pub output_check: OutputCheck,
    /// A session unused for so long signs once, so that no firewall forgets its connection; at the latest after
    /// twice that. Default 30 s; zero never.
    pub keep_alive: Duration,
    /// A signature that takes longer is asked of a second device too, and the first answer is taken. Default none:
    /// never.
    pub hedge_after: Option<Duration>,
    /// How long a device that comes back gets less than its share of work. Default 5 s.
    pub ramp: Duration,
    /// Attempts with another device that may follow a hundred first attempts, in the long run. Default 20.
    pub retry_percent: u32,
    /// Unwrapped keys that each session keeps for their next use. Default 64.
    pub wrapped_cache: usize,
    /// Where vendors' libraries run.
    pub isolation: Isolation,
}

impl Default for Fleet {
    /// What a configuration that says nothing gives.
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(3),
            kill_after: Duration::from_secs(2),
            start_timeout: Duration::from_secs(30),
            queue: 512,
            output_check: OutputCheck::Always,
            keep_alive: Duration::from_secs(30),
            hedge_after: None,
            ramp: Duration::from_secs(5),
            retry_percent: 20,
            wrapped_cache: 64,
            isolation: Isolation::Process,
        }
    }
}

impl Device {
    pub(crate) fn read(section: &mut Section<'_>) -> Option<Self> {
        let id = section.parsed("id", DeviceId::parse);
        let group = section.parsed("group", GroupId::parse);
        let module = section.required_file("module");
        let token = section.required_text("token");
        let serial = section.text("serial").map(str::to_owned);
        let pin_file = section.required_file("pin_file");
        let so_pin_file = section.file("so_pin_file");
        let dialect = section.text("dialect").unwrap_or("standard").to_owned();
        let lanes = usize::try_from(section.integer("lanes", 8, 1..=256)).unwrap_or(8);
        let folder = section.folder().to_owned();
        let env = section.texts("env").into_iter().collect();
        Some(Self {
            id: id?,
            group: group?,
            module,
            token,
            serial,
            pin_file,
            so_pin_file,
            dialect,
            lanes,
            env,
            folder,
        })
    }
}

impl Fleet {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let usual = Self::default();
        let hedge_after = section.milliseconds("hedge_after_ms", 0, 0..=60_000);
        let size = |value: u64, usual: usize| usize::try_from(value).unwrap_or(usual);
        Self {
            deadline: section.milliseconds("deadline_ms", 3_000, 10..=60_000),
            kill_after: section.milliseconds("kill_after_ms", 2_000, 10..=60_000),
            start_timeout: section.milliseconds("start_timeout_ms", 30_000, 100..=600_000),
            queue: size(section.integer("queue", 512, 1..=65_536), usual.queue),
            output_check: section.choice(
                "output_check",
                &[("always", OutputCheck::Always), ("first-use", OutputCheck::FirstUse)],
                usual.output_check,
            ),
            keep_alive: section.milliseconds("keep_alive_ms", 30_000, 0..=3_600_000),
            hedge_after: Some(hedge_after).filter(|time| !time.is_zero()),
            ramp: section.milliseconds("ramp_ms", 5_000, 0..=600_000),
            retry_percent: u32::try_from(section.integer("retry_percent", 20, 0..=1_000))
                .unwrap_or(usual.retry_percent),
            wrapped_cache: size(section.integer("wrapped_cache", 64, 0..=4_096), usual.wrapped_cache),
            isolation: section.choice(
                "isolation",
                &[("process", Isolation::Process), ("thread", Isolation::Thread)],
                usual.isolation,
            ),
        }
    }
}

/// Checks the list as a whole: there is a device, and no two share an id.
pub(crate) fn check_all(devices: &[(usize, Option<Device>)], reader: &Reader<'_>) {
    if devices.is_empty() {
        reader.mistake_at(0, "device: at least one [[device]] is required".to_owned());
    }
    let mut seen = BTreeMap::new();
    for (at, device) in devices {
        let Some(device) = device else { continue };
        if seen.insert(device.id.clone(), at).is_some() {
            reader.mistake_at(*at, format!("device.id: {} is used twice", device.id));
        }
    }
}
