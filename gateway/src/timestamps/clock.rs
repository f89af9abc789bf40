//! Asking time servers, and `GET /v1/timestamps/clock`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use config::{ClockWatch, TimeServer};
use rsntp::AsyncSntpClient;
use serde::Serialize;
use signing::{Clock, Moment, Sample};
use utoipa::ToSchema;

use crate::auth::{Authenticated, Scope};
use crate::error::with_causes;
use crate::problem::{Problem, ProblemDocument};
use crate::state::Gateway;

/// Asks every configured server time and again, each by itself, until it is dropped. Nobody else is ever asked.
pub(crate) async fn watch(clock: Arc<Clock>, watch: ClockWatch) {
    let mut asking = tokio::task::JoinSet::new();
    for (place, server) in watch.servers.iter().cloned().enumerate() {
        let clock = Arc::clone(&clock);
        asking.spawn(ask(clock, place, server, watch.clone()));
    }
    while asking.join_next().await.is_some() {}
}

async fn ask(clock: Arc<Clock>, place: usize, server: TimeServer, watch: ClockWatch) {
    let mut tick = tokio::time::interval(watch.poll);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut failing, mut far) = (false, false);
    loop {
        tick.tick().await;
        let asked = tokio::time::timeout(watch.timeout, sample(&server)).await;
        let answer = asked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
        match &answer {
            Ok(_) if failing => tracing::info!(%server, "the time server answers again"),
            Err(error) if !failing => tracing::warn!(%server, error, "a time server gave no time"),
            Ok(_) | Err(_) => {}
        }
        failing = answer.is_err();
        if let Ok(sample) = &answer {
            let (was, offset) = (far, sample.offset);
            far = offset.abs() > watch.max_offset.as_secs_f64();
            match (was, far) {
                (false, true) => tracing::error!(%server, offset, "a time server says that the clock is off"),
                (true, false) => {
                    tracing::info!(%server, offset, "the time server says that the clock is right")
                }
                (true, true) | (false, false) => {}
            }
        }
        clock.note(place, answer);
    }
}

async fn sample(server: &TimeServer) -> Result<Sample, String> {
    // The library's own timeout begins after a name was looked up; the caller's is over all.
    let mut config = rsntp::Config::default().timeout(Duration::from_secs(3600));
    if server.as_str().starts_with('[') {
        config = config.bind_address(([0_u16; 8], 0).into());
    }
    let client = AsyncSntpClient::with_config(config);
    let answer = client.synchronize(server.as_str()).await.map_err(|error| with_causes(&error))?;
    Ok(Sample {
        offset: answer.clock_offset().as_secs_f64(),
        round_trip: answer.round_trip_delay().as_secs_f64().max(0.0),
        stratum: answer.stratum(),
        at: Moment::now(),
    })
}

/// What is known of the clock.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClockOverview {
    /// `reliable`; `off`: time servers say that it is wrong; `unknown`: too few answered lately; `unwatched`: there are
    /// none.
    #[schema(example = "reliable")]
    state: &'static str,
    /// Whether timestamps are made by it.
    believed: bool,
    /// How far the servers' clocks are ahead of this one, in milliseconds: the median of those that answered lately.
    offset_ms: Option<f64>,
    /// How old the newest answer is, in milliseconds.
    age_ms: Option<u64>,
    /// How far it may be off.
    max_offset_ms: u64,
    /// How old an answer may be.
    max_age_ms: u64,
    /// Whether there are no timestamps while too little is known.
    required: bool,
    /// Each server.
    servers: Vec<ServerOverview>,
}

/// One time server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerOverview {
    /// As it is configured.
    server: String,
    /// How far its clock is ahead, in milliseconds.
    offset_ms: Option<f64>,
    /// How long its last answer took, in milliseconds.
    round_trip_ms: Option<f64>,
    /// How far it is from a reference clock.
    stratum: Option<u8>,
    /// How old its last answer is, in milliseconds.
    age_ms: Option<u64>,
    /// Whether that answer counts.
    fresh: bool,
    /// Attempts in a row that failed, up to now.
    failures: u32,
    /// Why the last one did.
    error: Option<String>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl ClockOverview {
    fn of(gateway: &Gateway) -> Self {
        let (state, rules) = (gateway.timestamps.clock_state(), &gateway.timestamps.rules);
        let millis_of = |seconds: Option<f64>| seconds.map(|seconds| seconds * 1e3);
        Self {
            state: state.trusted.name(),
            believed: state.believed(rules).is_ok(),
            offset_ms: millis_of(state.offset),
            age_ms: state.age.map(millis),
            max_offset_ms: millis(rules.max_offset),
            max_age_ms: millis(rules.max_age),
            required: rules.required,
            servers: state
                .servers
                .into_iter()
                .map(|server| ServerOverview {
                    offset_ms: millis_of(server.offset),
                    round_trip_ms: millis_of(server.round_trip),
                    stratum: server.stratum,
                    age_ms: server.age.map(millis),
                    fresh: server.fresh,
                    failures: server.failures,
                    error: server.error,
                    server: server.name,
                })
                .collect(),
        }
    }
}

/// What is known of the clock behind timestamps.
#[utoipa::path(
    get, path = "/v1/timestamps/clock", tag = "timestamps",
    responses(
        (status = 200, description = "offset and age of what time servers said", body = ClockOverview),
        (status = "4XX", description = "refused; see `code`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_clock(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<ClockOverview>, Problem> {
    caller.using(Scope::Timestamps, &gateway).or_else(|_| caller.using(Scope::Devices, &gateway))?;
    Ok(Json(ClockOverview::of(&gateway)))
}
