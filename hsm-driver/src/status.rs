//! What the fleet tells of its devices.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use config::{DeviceId, GroupId, KeyId};
use serde::Serialize;

use crate::device::{Device, KeyState, lock};
use crate::error::HsmError;
use crate::fleet::Fleet;
use crate::frame::TokenFacts;
use crate::health::State;
use crate::plan::Copy;
use crate::self_test::SelfTest;
use crate::telemetry::{CodeCount, StateHistory, Summary};

/// What is known of one key on one device.
#[derive(Debug, Clone, Serialize)]
pub struct KeyStatus {
    /// The key.
    pub id: KeyId,
    /// Whether the device holds it.
    pub state: KeyState,
}

/// What is known of one device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceStatus {
    /// Its name.
    pub id: DeviceId,
    /// Its wall.
    pub group: GroupId,
    /// What it is fit for.
    pub state: State,
    /// Requests in flight and waiting.
    pub load: usize,
    /// Requests waiting.
    pub queued: usize,
    /// Sessions in use.
    pub lanes: usize,
    /// Smoothed time of one signature inside the worker and device, microseconds.
    pub latency_us: u64,
    /// Signatures delivered.
    pub signed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Worker processes started so far; one on a good day.
    pub worker_starts: u64,
    /// Workers that ended without being told to, or never came up.
    pub crashes: u64,
    /// Signatures by keys that live outside for which the session still had the unwrapped key.
    pub wrapped_hits: u64,
    /// Those for which the key had to be unwrapped.
    pub wrapped_misses: u64,
    /// Whether it is much slower than its group, so that it is asked last.
    pub slow: bool,
    /// Process id of the worker, 0 while there is none.
    pub worker_pid: u32,
    /// The last thing that went wrong.
    pub last_error: Option<String>,
    /// Whether the last self-test passed, if there was one.
    pub last_self_test: Option<bool>,
    /// What the token says of itself.
    pub token: Option<TokenFacts>,
    /// The keys of its group.
    pub keys: Vec<KeyStatus>,
}

/// How much a group has to do.
#[derive(Debug, Clone, Serialize)]
pub struct GroupStatus {
    /// The group.
    pub id: GroupId,
    /// Attempts in flight and waiting.
    pub load: usize,
    /// The most of them at one time since the start.
    pub load_peak: usize,
    /// Attempts waiting.
    pub queued: usize,
    /// The most of them at one time since the start.
    pub queued_peak: usize,
}

/// What one session of a device's worker has done.
#[derive(Debug, Clone, Serialize)]
pub struct LaneStatus {
    /// Its number, from 0.
    pub lane: usize,
    /// Answers, good and bad.
    pub done: u64,
    /// Bad answers among them.
    pub failed: u64,
    /// Time in the library's calls, milliseconds.
    pub busy_ms: u64,
    /// Seconds since its last answer; none if it gave none yet.
    pub idle_seconds: Option<f64>,
}

/// The same figure over three spans of time.
#[derive(Debug, Clone, Serialize)]
pub struct Spans<T> {
    /// The last minute.
    pub minute: T,
    /// The last hour.
    pub hour: T,
    /// The last 24 hours.
    pub day: T,
}

/// What a device has been doing.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceTelemetry {
    /// What is known of it now.
    #[serde(flatten)]
    pub status: DeviceStatus,
    /// Time from the worker's being asked to its answer, good answers only.
    pub latency: Spans<Summary>,
    /// Failed attempts by return value, or by what else happened (`timed_out`, `worker_lost`, `queue_full`,
    /// `wrong_result`).
    pub errors: Spans<Vec<CodeCount>>,
    /// Its states since the gateway started.
    pub states: StateHistory,
    /// The sessions of the present worker.
    pub lane_figures: Vec<LaneStatus>,
    /// The last self-test.
    pub self_test: Option<SelfTest>,
}

/// What a device has done since the start, for whoever takes the difference from time to time.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceTotals {
    /// What is known of it now.
    pub status: DeviceStatus,
    /// Latencies of the last minute.
    pub minute: Summary,
    /// Failed attempts by code.
    pub errors: BTreeMap<String, u64>,
    /// Its states.
    pub states: StateHistory,
    /// When the last self-test began, seconds since 1970.
    pub self_test_at: Option<u64>,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

impl Fleet {
    /// What is known of each device, in the site's order.
    #[must_use]
    pub fn status(&self) -> Vec<DeviceStatus> {
        self.plan().devices.iter().map(|device| device_status(device)).collect()
    }

    /// How much each group has to do, in the order of their names.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupStatus> {
        let plan = self.plan();
        let status = |id: &GroupId| {
            let figures = self.group_load(id);
            GroupStatus {
                id: id.clone(),
                load: figures.load.now(),
                load_peak: figures.load.peak(),
                queued: figures.waiting.now(),
                queued_peak: figures.waiting.peak(),
            }
        };
        plan.groups.keys().map(status).collect()
    }

    /// Each device's figures since the start, in the site's order.
    #[must_use]
    pub fn totals(&self) -> Vec<DeviceTotals> {
        let now = Instant::now();
        let totals = |device: &Arc<Device>| {
            let status = device_status(device);
            let self_test_at = lock(&device.last_self_test).as_ref().map(|test| test.at);
            let record = device.record();
            let minute = record.latency.summary(now, MINUTE);
            let (errors, states) = (record.error_totals.clone(), record.states.summary(now));
            DeviceTotals { status, minute, errors, states, self_test_at }
        };
        self.plan().devices.iter().map(totals).collect()
    }

    /// What one device has been doing.
    ///
    /// # Errors
    /// [`HsmError::UnknownDevice`].
    pub fn telemetry(&self, id: &DeviceId) -> Result<DeviceTelemetry, HsmError> {
        let device = self.device(id)?;
        let now = Instant::now();
        let record = device.record();
        let lane = |(lane, figures): (usize, &crate::device::LaneFigures)| LaneStatus {
            lane,
            done: figures.done,
            failed: figures.failed,
            busy_ms: figures.busy_us / 1_000,
            idle_seconds: figures.last.map(|last| now.saturating_duration_since(last).as_secs_f64()),
        };
        let (latency, errors) =
            (spans(|last| record.latency.summary(now, last)), spans(|last| record.errors.summary(now, last)));
        let (states, lane_figures) =
            (record.states.summary(now), record.lanes.iter().enumerate().map(lane).collect());
        drop(record);
        let self_test = lock(&device.last_self_test).clone();
        let status = device_status(&device);
        Ok(DeviceTelemetry { status, latency, errors, states, lane_figures, self_test })
    }
}

fn spans<T>(of: impl Fn(Duration) -> T) -> Spans<T> {
    Spans { minute: of(MINUTE), hour: of(HOUR), day: of(DAY) }
}

fn device_status(device: &Device) -> DeviceStatus {
    let copies = device.copies();
    let key = |copy: &Arc<Copy>| KeyStatus { id: copy.key.spec.id.clone(), state: copy.state() };
    DeviceStatus {
        id: device.config.id.clone(),
        group: device.config.group.clone(),
        state: device.state(),
        load: device.load(),
        queued: device.line.len(),
        lanes: device.lanes(),
        latency_us: u64::try_from(device.latency().as_micros()).unwrap_or(u64::MAX),
        signed: device.signed.load(Ordering::Relaxed),
        failed: device.failed.load(Ordering::Relaxed),
        worker_starts: device.worker_starts.load(Ordering::Relaxed),
        crashes: device.crashes.load(Ordering::Relaxed),
        wrapped_hits: device.wrapped_hits.load(Ordering::Relaxed),
        wrapped_misses: device.wrapped_misses.load(Ordering::Relaxed),
        slow: device.is_ejected(),
        worker_pid: device.worker_pid.load(Ordering::Relaxed),
        last_error: device.last_error(),
        last_self_test: lock(&device.last_self_test).as_ref().map(|test| test.passed),
        token: device.facts(),
        keys: copies.iter().map(key).collect(),
    }
}
