//! Counters and gauges in a registry of their own: nothing global, no personal data, no caller-made labels.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use formats::Verdict;
use hsm_driver::State;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::state::Gateway;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Signature {
    device: String,
    algorithm: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Judged {
    what: &'static str,
    verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeviceLabel {
    device: String,
    group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeviceStateLabel {
    device: String,
    state: &'static str,
}

type Timing = Family<Route, Histogram, fn() -> Histogram>;

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    duration: Timing,
    problems: Family<Code, Counter>,
    signatures: Family<Signature, Counter>,
    judged: Family<Judged, Counter>,
    in_flight: Gauge<i64, AtomicI64>,
    device_state: Family<DeviceStateLabel, Gauge>,
    device_load: Family<DeviceLabel, Gauge>,
    device_latency: Family<DeviceLabel, Gauge<f64, AtomicU64>>,
    device_failures: Family<DeviceLabel, Gauge>,
    device_worker_starts: Family<DeviceLabel, Gauge>,
    audit_entries: Gauge,
    audit_commits: Gauge,
}

const STATES: [(State, &str); 7] = [
    (State::Starting, "starting"),
    (State::Ready, "ready"),
    (State::Degraded, "degraded"),
    (State::Draining, "draining"),
    (State::Maintenance, "maintenance"),
    (State::Down, "down"),
    (State::Quarantined, "quarantined"),
];

fn timing() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("license_gateway"),
            requests: Family::default(),
            duration: Timing::new_with_constructor(timing),
            problems: Family::default(),
            signatures: Family::default(),
            judged: Family::default(),
            in_flight: Gauge::default(),
            device_state: Family::default(),
            device_load: Family::default(),
            device_latency: Family::default(),
            device_failures: Family::default(),
            device_worker_starts: Family::default(),
            audit_entries: Gauge::default(),
            audit_commits: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        registry.register("http_request_duration_seconds", "Time to the answer", metrics.duration.clone());
        registry.register("problems", "Problem documents sent, by code", metrics.problems.clone());
        registry.register("signatures", "Signatures delivered", metrics.signatures.clone());
        registry.register("judgements", "Verdicts given", metrics.judged.clone());
        registry.register("http_requests_in_flight", "Requests being worked on", metrics.in_flight.clone());
        registry.register("device_state", "1 for the state a device is in", metrics.device_state.clone());
        registry.register("device_load", "Requests in flight and waiting", metrics.device_load.clone());
        registry.register(
            "device_latency_seconds",
            "Smoothed time of a signature",
            metrics.device_latency.clone(),
        );
        registry.register("device_failures", "Attempts that failed", metrics.device_failures.clone());
        registry.register(
            "device_worker_starts",
            "Worker processes started",
            metrics.device_worker_starts.clone(),
        );
        registry.register("audit_entries", "Entries written since start", metrics.audit_entries.clone());
        registry.register("audit_commits", "Durable writes since start", metrics.audit_commits.clone());
        metrics
    }

    pub(crate) fn answered(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { route: route.to_owned(), method, status }).inc();
        self.duration.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    pub(crate) fn problem(&self, code: &'static str) {
        self.problems.get_or_create(&Code { code }).inc();
    }

    pub(crate) fn signed(&self, device: &str, algorithm: &'static str) {
        self.signatures.get_or_create(&Signature { device: device.to_owned(), algorithm }).inc();
    }

    pub(crate) fn judged(&self, what: &'static str, verdict: Verdict) {
        let verdict = match verdict {
            Verdict::Valid => "valid",
            Verdict::Unsigned => "unsigned",
            Verdict::Indeterminate => "indeterminate",
            Verdict::Invalid => "invalid",
        };
        self.judged.get_or_create(&Judged { what, verdict }).inc();
    }

    pub(crate) fn render(&self, gateway: &Gateway) -> String {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for device in gateway.fleet.status() {
            for (state, name) in STATES {
                let label = DeviceStateLabel { device: device.id.to_string(), state: name };
                self.device_state.get_or_create(&label).set(i64::from(device.state == state));
            }
            let label = DeviceLabel { device: device.id.to_string(), group: device.group.to_string() };
            self.device_load.get_or_create(&label).set(whole(device.load as u64));
            self.device_latency.get_or_create(&label).set(device.latency_us as f64 / 1e6);
            self.device_failures.get_or_create(&label).set(whole(device.failed));
            self.device_worker_starts.get_or_create(&label).set(whole(device.worker_starts));
        }
        self.in_flight.set(whole(gateway.in_flight.load(Ordering::Relaxed) as u64));
        self.audit_entries.set(whole(gateway.audit.appended()));
        self.audit_commits.set(whole(gateway.audit.commits()));
        let mut text = String::new();
        // Writing to a String cannot fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}
