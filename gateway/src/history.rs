//! What each device did, written down once a minute and kept for ninety days, and read back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use config::DeviceId;
use hsm_driver::{DeviceTotals, Fleet, StateHistory};
use serde::{Deserialize, Serialize};
use store::{DeviceFigures, DeviceMinute, DeviceSpan, Store};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, QueryOf, Segment};
use crate::devices::known_device;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

const MINUTE: Duration = Duration::from_secs(60);
/// How often the load is looked at, whose maximum is kept.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const KEEP_MINUTES: Duration = Duration::from_secs(48 * 3_600);
const KEEP_TOTAL: Duration = Duration::from_secs(90 * 86_400);
/// How often old minutes are merged.
const MERGE_EVERY: Duration = Duration::from_secs(3_600);
/// Most spans in one answer: 90 days by the quarter of an hour.
const MOST_SPANS: u64 = 8_640;

/// Writes down what the devices do until the gateway stops, the broken-off minute too. What cannot be written is
/// written with the next minute: the figures are differences to what was written before.
pub(crate) async fn keep(fleet: Arc<Fleet>, store: Store, mut stopping: watch::Receiver<bool>) {
    let mut before: BTreeMap<DeviceId, DeviceTotals> = by_id(&fleet);
    let mut most: BTreeMap<DeviceId, usize> = BTreeMap::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut written = tokio::time::Instant::now();
    let mut merged = written - MERGE_EVERY;
    loop {
        let last = tokio::select! {
            _ = look.tick() => false,
            _ = stopping.wait_for(|stopping| *stopping) => true,
        };
        for device in fleet.status() {
            let most = most.entry(device.id).or_default();
            *most = device.load.max(*most);
        }
        if written.elapsed() < MINUTE && !last {
            continue;
        }
        written = tokio::time::Instant::now();
        let (now, at) = (by_id(&fleet), OffsetDateTime::now_utc());
        let minute = |(id, totals): (&DeviceId, &DeviceTotals)| {
            let load = most.get(id).copied().unwrap_or_default();
            DeviceMinute { device: id.clone(), at, figures: difference(before.get(id), totals, load) }
        };
        let minutes: Vec<_> = now.iter().map(minute).collect();
        match store.record_device_minutes(&minutes).await {
            Ok(()) => {
                before = now;
                most.clear();
            }
            Err(error) => tracing::warn!(%error, "the devices' history could not be written"),
        }
        if last {
            return;
        }
        if merged.elapsed() >= MERGE_EVERY {
            merged = tokio::time::Instant::now();
            if let Err(error) = store.downsample_device_history(at, KEEP_MINUTES, KEEP_TOTAL).await {
                tracing::warn!(%error, "the devices' history could not be merged");
            }
        }
    }
}

fn by_id(fleet: &Fleet) -> BTreeMap<DeviceId, DeviceTotals> {
    fleet.totals().into_iter().map(|totals| (totals.status.id.clone(), totals)).collect()
}

/// What a device did since it was looked at last; everything since its start if it is new, or was given a new
/// supervisor by a reload, which shows as counters that fell.
fn difference(before: Option<&DeviceTotals>, now: &DeviceTotals, max_load: usize) -> DeviceFigures {
    let before = before.filter(|before| {
        before.status.signed <= now.status.signed && before.status.worker_starts <= now.status.worker_starts
    });
    let since = |of: fn(&DeviceTotals) -> u64| of(now).saturating_sub(before.map_or(0, of));
    let errors = now.errors.iter().filter_map(|(code, count)| {
        let old = before.and_then(|before| before.errors.get(code)).copied().unwrap_or_default();
        count.checked_sub(old).filter(|more| *more > 0).map(|more| (code.clone(), more))
    });
    let self_test = now
        .status
        .last_self_test
        .filter(|_| now.self_test_at != before.and_then(|before| before.self_test_at));
    DeviceFigures {
        state: word(now.status.state),
        seconds_in: seconds_in(before.map(|before| &before.states), &now.states),
        signed: since(|totals| totals.status.signed),
        failed: since(|totals| totals.status.failed),
        errors: errors.collect(),
        p50_us: now.minute.p50_us,
        p90_us: now.minute.p90_us,
        p99_us: now.minute.p99_us,
        max_us: now.minute.max_us,
        max_load: max_load as u64,
        lanes: now.status.lanes as u64,
        worker_starts: since(|totals| totals.status.worker_starts),
        crashes: since(|totals| totals.status.crashes),
        self_test: self_test.map(|passed| if passed { "passed" } else { "failed" }.to_owned()),
    }
}

fn seconds_in(before: Option<&StateHistory>, now: &StateHistory) -> BTreeMap<String, u32> {
    let old = |state| {
        let times = before.map_or(&[][..], |before| &before.times);
        times.iter().find(|time| time.state == state).map_or(0.0, |time| time.seconds)
    };
    let more = |time: &hsm_driver::StateTime| {
        let seconds = (time.seconds - old(time.state)).round();
        (seconds >= 1.0).then(|| (word(time.state), seconds as u32))
    };
    now.times.iter().filter_map(more).collect()
}

fn word(state: hsm_driver::State) -> String {
    serde_json::to_value(state).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Which part of a device's history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    /// From when, RFC 3339; a day ago if absent.
    from: Option<String>,
    /// Until when, RFC 3339; now if absent.
    to: Option<String>,
    /// Seconds of a span, 60 to 86,400; 900 if absent. Minutes are kept for 48 hours, quarters of an hour for 90
    /// days.
    step: Option<u64>,
}

impl HistoryQuery {
    /// From when until when, and the length of a span.
    pub(crate) fn check(
        &self,
        now: OffsetDateTime,
    ) -> Result<(OffsetDateTime, OffsetDateTime, Duration), Problem> {
        let mut faults = Faults::default();
        let to = faults.time("to", self.to.as_deref(), now).unwrap_or(now);
        let from = match &self.from {
            Some(from) => faults.time("from", Some(from), to).unwrap_or(to),
            None => to.saturating_sub(time::Duration::DAY),
        };
        let step = self.step.unwrap_or(900);
        if !(60..=86_400).contains(&step) {
            faults.add("step", "invalid_value", "must be 60 to 86400 seconds");
        }
        let spans = (to - from).whole_seconds().unsigned_abs() / step.max(60);
        if to < from {
            faults.add("from", "invalid_value", "must not be after `to`");
        } else if spans > MOST_SPANS {
            faults.add("step", "invalid_value", "must be longer: at most 8640 spans are answered");
        }
        faults.into_result(Some((from, to, Duration::from_secs(step))))
    }
}

/// What a device did in a span of time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistorySpan {
    /// When it begins, RFC 3339.
    start: String,
    /// Its length, seconds.
    seconds: u64,
    /// The state at its end.
    state: String,
    /// Seconds in each state.
    seconds_in: BTreeMap<String, u32>,
    /// Signatures delivered.
    signed: u64,
    /// Attempts that failed.
    failed: u64,
    /// Those by code.
    errors: BTreeMap<String, u64>,
    /// Median time of a signature in worker and device, microseconds.
    p50_us: u64,
    /// 90th percentile.
    p90_us: u64,
    /// 99th percentile.
    p99_us: u64,
    /// The slowest.
    max_us: u64,
    /// Most requests in flight and waiting.
    max_load: u64,
    /// Sessions at its end.
    lanes: u64,
    /// Workers started.
    worker_starts: u64,
    /// Workers lost.
    crashes: u64,
    /// The last self-test in it: `passed` or `failed`.
    self_test: Option<String>,
}

/// A device's history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryResponse {
    /// Oldest first; spans of which nothing is known are left out.
    items: Vec<HistorySpan>,
    /// Always null: what is asked for fits on one page or is refused.
    next: Option<String>,
}

/// What a device did, span by span.
#[utoipa::path(
    get, path = "/v1/devices/{id}/history", tag = "devices",
    params(
        ("id" = String, Path, description = "the device's name"),
        ("from" = Option<String>, Query, description = "from when, RFC 3339; a day before `to` if absent"),
        ("to" = Option<String>, Query, description = "until when, RFC 3339; now if absent"),
        ("step" = Option<u64>, Query, description = "seconds of a span, 60 to 86,400; 900 if absent. Minutes are kept for 48 hours, quarters of an hour for 90 days"),
    ),
    responses(
        (status = 200, description = "the spans", body = HistoryResponse),
        (status = 404, description = "`unknown_device`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "`invalid_value`: not a time, a step out of range, or more than 8,640 spans", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn device_history(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    QueryOf(query): QueryOf<HistoryQuery>,
) -> Result<Json<HistoryResponse>, Problem> {
    caller.with(Scope::Devices)?;
    let device = known_device(&gateway, &id)?.id.clone();
    let (from, to, step) = query.check(OffsetDateTime::now_utc())?;
    let spans = gateway.store.device_history(&device, from, to, step).await;
    let spans = spans.map_err(|error| Problem::record_unavailable(&error))?;
    Ok(Json(HistoryResponse { items: spans.into_iter().map(HistorySpan::from).collect(), next: None }))
}

impl From<DeviceSpan> for HistorySpan {
    fn from(span: DeviceSpan) -> Self {
        let figures = span.figures;
        Self {
            start: span.start.format(&Rfc3339).unwrap_or_default(),
            seconds: span.length.as_secs(),
            state: figures.state,
            seconds_in: figures.seconds_in,
            signed: figures.signed,
            failed: figures.failed,
            errors: figures.errors,
            p50_us: figures.p50_us,
            p90_us: figures.p90_us,
            p99_us: figures.p99_us,
            max_us: figures.max_us,
            max_load: figures.max_load,
            lanes: figures.lanes,
            worker_starts: figures.worker_starts,
            crashes: figures.crashes,
            self_test: figures.self_test,
        }
    }
}

#[cfg(test)]
mod tests {
    use hsm_driver::{DeviceStatus, State, StateTime, Summary};

    use super::*;

    fn totals(signed: u64, starts: u64, errors: &[(&str, u64)], ready: f64) -> DeviceTotals {
        DeviceTotals {
            status: DeviceStatus {
                id: "d1".parse().unwrap(),
                group: "bureau".parse().unwrap(),
                state: State::Ready,
                load: 0,
                queued: 0,
                lanes: 4,
                latency_us: 1,
                signed,
                failed: signed / 10,
                worker_starts: starts,
                crashes: starts - 1,
                wrapped_hits: 0,
                wrapped_misses: 0,
                slow: false,
                worker_pid: 1,
                last_error: None,
                last_self_test: Some(true),
                token: None,
                keys: Vec::new(),
            },
            minute: Summary { count: 1, p50_us: 1, p90_us: 2, p99_us: 3, max_us: 4, rate: 1.0 },
            errors: errors.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect(),
            states: StateHistory {
                state: State::Ready,
                seconds: ready,
                times: vec![
                    StateTime { state: State::Starting, seconds: 2.0 },
                    StateTime { state: State::Ready, seconds: ready },
                ],
                changed: 1,
                changes: Vec::new(),
            },
            self_test_at: Some(5),
        }
    }

    #[test]
    fn a_minute_is_what_was_added_since_the_one_before() {
        let before = totals(100, 1, &[("timed_out", 3)], 50.0);
        let now = totals(160, 2, &[("timed_out", 3), ("CKR_DEVICE_ERROR", 2)], 110.2);
        let figures = difference(Some(&before), &now, 7);
        assert_eq!((figures.signed, figures.failed, figures.worker_starts, figures.crashes), (60, 6, 1, 1));
        assert_eq!(figures.errors, [("CKR_DEVICE_ERROR".to_owned(), 2)].into());
        assert_eq!(figures.seconds_in, [("ready".to_owned(), 60)].into());
        assert_eq!((figures.state.as_str(), figures.max_load, figures.p99_us), ("ready", 7, 3));
        assert_eq!(figures.self_test, None, "it was in an earlier minute");
    }

    #[test]
    fn counters_that_fell_belong_to_a_new_beginning() {
        let figures = difference(Some(&totals(100, 3, &[], 50.0)), &totals(20, 1, &[], 8.0), 0);
        assert_eq!((figures.signed, figures.worker_starts), (20, 1));
        assert_eq!(figures.self_test.as_deref(), Some("passed"));
        assert_eq!(difference(None, &totals(20, 1, &[], 8.0), 0).signed, 20);
    }
}
