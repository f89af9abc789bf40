//! Breaks devices by the script and mends them, and sees to it that they come back. Like an operator it knows the
//! devices by `/v1/devices`; it releases what is in quarantine and resumes what was drained.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Caller, Site, signal};

use super::script::{BUREAU, Breakdown, DEVICES, How, KINDS};

/// How often it looks.
const TICK: Duration = Duration::from_millis(50);
/// How often a flapping device changes.
const FLAP: Duration = Duration::from_millis(150);
/// A device that has not come back so long after it was mended never will.
pub(crate) const BACK: Duration = Duration::from_secs(60);
/// So many of the bureau's seven devices, and of the portal's two, are broken at once at most: the rest can serve.
const MOST_BROKEN: [usize; 2] = [3, 1];

/// What came of one kind of breakdown.
#[derive(Default)]
pub(crate) struct Outcome {
    /// How often it was tried.
    pub(crate) times: u64,
    /// How often the gateway noticed: the device's state changed, an attempt failed or a worker was replaced.
    pub(crate) noticed: u64,
    /// How long each device took from being mended to `ready`.
    pub(crate) back: Vec<Duration>,
}

/// What came of all.
#[derive(Default)]
pub(crate) struct Breakage {
    pub(crate) by_kind: BTreeMap<&'static str, Outcome>,
    /// Left out because enough was still broken.
    pub(crate) left_out: u64,
    /// Devices that did not come back, with what they were last.
    pub(crate) stuck: Vec<String>,
}

/// A device as the gateway sees it.
#[derive(Clone, Default)]
struct Seen {
    state: String,
    failed: u64,
    starts: u64,
    worker: u32,
}

enum Phase {
    Whole,
    Broken {
        what: Breakdown,
        since: Instant,
        before: Seen,
        noticed: bool,
        stopped: Option<u32>,
    },
    Mended {
        what: Breakdown,
        since: Instant,
        noticed: bool,
    },
    /// Did not come back.
    Lost,
}

pub(crate) struct Breaker<'s> {
    site: &'s Site,
    operator: Caller,
    phases: Vec<Phase>,
    breakage: Breakage,
    flapped: Instant,
}

impl<'s> Breaker<'s> {
    pub(crate) fn new(site: &'s Site) -> Self {
        let phases = DEVICES.iter().map(|_| Phase::Whole).collect();
        let operator = site.app_number(2);
        Self { site, operator, phases, breakage: Breakage::default(), flapped: Instant::now() }
    }

    /// Plays the script; ends when every device is whole again or given up, or early if `over`.
    pub(crate) fn play(mut self, script: &[Breakdown], over: &AtomicBool) -> Breakage {
        let start = Instant::now();
        let mut coming = script.iter().peekable();
        loop {
            let seen = self.look();
            while let Some(next) = coming.next_if(|next| start.elapsed() >= next.at) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                self.begin(*next, &seen);
            }
            for device in 0..DEVICES.len() {
                self.step(device, seen.get(device).cloned().unwrap_or_default());
            }
            self.flap();
            let whole = self.phases.iter().all(|phase| matches!(phase, Phase::Whole | Phase::Lost));
            if whole && (coming.peek().is_none() || over.load(Ordering::Relaxed)) {
                return self.breakage;
            }
            std::thread::sleep(TICK);
        }
    }

    /// The devices in their order; nothing when the gateway does not answer.
    fn look(&self) -> Vec<Seen> {
        let Ok(answer) = self.operator.try_send("GET", "/v1/devices", &[], None) else { return Vec::new() };
        let list: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let number = |item: &Value, name: &str| item[name].as_u64().unwrap_or_default();
        let seen = |id: &&str| {
            let item = items.iter().find(|item| item["id"] == **id);
            item.map_or_else(Seen::default, |item| Seen {
                state: item["state"].as_str().unwrap_or_default().to_owned(),
                failed: number(item, "failed"),
                starts: number(item, "worker_starts"),
                worker: u32::try_from(number(item, "worker_pid")).unwrap_or_default(),
            })
        };
        DEVICES.iter().map(seen).collect()
    }

    /// Breaks the device that the script names, or the next one that may be broken now.
    fn begin(&mut self, what: Breakdown, seen: &[Seen]) {
        let mut next = (0..DEVICES.len()).map(|step| (what.device + step) % DEVICES.len());
        let free = next.find(|device| self.may_break(*device, seen));
        let Some((device, before)) = free.and_then(|device| Some((device, seen.get(device)?.clone()))) else {
            self.breakage.left_out += 1;
            return;
        };
        let what = Breakdown { device, ..what };
        let (id, kind) = (DEVICES[what.device], &KINDS[what.kind]);
        self.breakage.by_kind.entry(kind.name).or_default().times += 1;
        let mut stopped = None;
        match kind.how {
            How::Fault(toml) | How::Flapping(toml) => self.site.fault(id, toml),
            How::FaultAtStart(toml) => {
                self.site.fault(id, toml);
                self.signal(before.worker, "KILL");
            }
            How::Killed => self.signal(before.worker, "KILL"),
            How::Stopped => {
                stopped = Some(before.worker);
                self.signal(before.worker, "STOP");
            }
            How::Drained => self.operate(id, "drain"),
        }
        self.phases[what.device] =
            Phase::Broken { what, since: Instant::now(), before, noticed: false, stopped };
    }

    fn may_break(&self, device: usize, seen: &[Seen]) -> bool {
        let bureau = device < BUREAU;
        let group = if bureau { &self.phases[..BUREAU] } else { &self.phases[BUREAU..] };
        let broken = group.iter().filter(|phase| !matches!(phase, Phase::Whole)).count();
        matches!(self.phases[device], Phase::Whole)
            && seen.get(device).is_some_and(|seen| seen.state == "ready")
            && broken < MOST_BROKEN[usize::from(!bureau)]
    }

    /// Only ever a worker that is the gateway's own child: ids are given anew.
    fn signal(&self, worker: u32, name: &str) {
        if self.site.workers().iter().any(|child| child.pid == worker) {
            signal(worker, name);
        }
    }

    fn operate(&self, id: &str, verb: &str) {
        let reason = json!({"reason": "soak"}).to_string();
        let header = [("content-type", "application/json")];
        // The next look shows whether it was done; if not, it is tried again.
        let _ = self.operator.try_send(
            "POST",
            &format!("/v1/devices/{id}/{verb}"),
            &header,
            Some(reason.as_bytes()),
        );
    }

    fn step(&mut self, device: usize, seen: Seen) {
        let id = DEVICES[device];
        let phase = std::mem::replace(&mut self.phases[device], Phase::Whole);
        self.phases[device] = match phase {
            Phase::Whole => Phase::Whole,
            Phase::Lost => Phase::Lost,
            Phase::Broken { what, since, before, noticed, stopped } => {
                let changed = seen.failed > before.failed || seen.starts > before.starts;
                let noticed = noticed || changed || (!seen.state.is_empty() && seen.state != "ready");
                if since.elapsed() < what.length {
                    Phase::Broken { what, since, before, noticed, stopped }
                } else {
                    self.mend(&what, stopped);
                    Phase::Mended { what, since: Instant::now(), noticed }
                }
            }
            Phase::Mended { what, since, noticed } => {
                let outcome = self.breakage.by_kind.entry(KINDS[what.kind].name).or_default();
                if seen.state == "ready" && since.elapsed() > TICK {
                    outcome.noticed += u64::from(noticed);
                    outcome.back.push(since.elapsed());
                    return; // whole
                }
                if since.elapsed() > BACK {
                    self.breakage.stuck.push(format!("{id} after {}: {}", KINDS[what.kind].name, seen.state));
                    self.phases[device] = Phase::Lost;
                    return;
                }
                match seen.state.as_str() {
                    "quarantined" => self.operate(id, "release"),
                    "maintenance" | "draining" => self.operate(id, "resume"),
                    _ => {}
                }
                Phase::Mended { what, since, noticed: noticed || seen.state != "ready" }
            }
        };
    }

    fn mend(&self, what: &Breakdown, stopped: Option<u32>) {
        let id = DEVICES[what.device];
        match KINDS[what.kind].how {
            How::Fault(_) | How::FaultAtStart(_) | How::Flapping(_) => self.site.fault(id, ""),
            How::Stopped => self.signal(stopped.unwrap_or_default(), "CONT"),
            How::Killed | How::Drained => {}
        }
    }

    fn flap(&mut self) {
        if self.flapped.elapsed() < FLAP {
            return;
        }
        self.flapped = Instant::now();
        for phase in &self.phases {
            if let Phase::Broken { what, since, .. } = phase
                && let How::Flapping(toml) = KINDS[what.kind].how
            {
                let broken = (since.elapsed().as_millis() / FLAP.as_millis()).is_multiple_of(2);
                self.site.fault(DEVICES[what.device], if broken { toml } else { "" });
            }
        }
    }
}
