//! Counters and gauges in a registry of their own: nothing global, no personal data, no caller-made labels.

mod capacity;
mod deliveries;
mod evidence;
mod incidents;
pub(crate) mod inspections;
mod labels;
mod oidc;
mod retentions;
mod sessions;
mod stamp_jobs;
mod status;
mod timekeeping;
mod trust;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use config::{AlarmRule, AppId, KeyId};
use formats::Verdict;
use formats::license_file::FileForm;
use hsm_driver::{KeyState, State};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rustls::ProtocolVersion;
use time::OffsetDateTime;

use deliveries::DeliveryGauges;
use labels::{
    AppLabel, AppStatus, Because, ClockLabel, Code, CrlLabel, DeviceError, DeviceLabel, DeviceQuantile,
    DeviceStateLabel, Form, FormOutcome, GroupLabel, Handshake, Judged, KeyLabel, KeyStatus, KindOutcome,
    Names, Of, Outcome, PoolLabel, Request, Route, Rule, Signature, SourceLabel, SourceOutcome, Standing,
    TlsFile, Trust,
};
use oidc::LoginFigures;
pub(crate) use oidc::LoginStep;
use retentions::RetentionFigures;
use sessions::SessionFigures;
use stamp_jobs::StampJobGauges;
use status::StatusGauges;

use crate::logging::Slow;
use crate::state::Gateway;
use crate::tls::TlsSet;

type Timing<L = Route> = Family<L, Histogram, fn() -> Histogram>;

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    duration: Timing,
    apps: Names,
    app_requests: Family<AppStatus, Counter>,
    app_duration: Timing<AppLabel>,
    keys: Names,
    key_requests: Family<KeyStatus, Counter>,
    key_duration: Timing<KeyLabel>,
    problems: Family<Code, Counter>,
    signatures: Family<Signature, Counter>,
    judged: Family<Judged, Counter>,
    query_certificates: Family<Standing, Counter>,
    license_files: Family<FormOutcome, Counter>,
    compat: Family<KindOutcome, Counter>,
    timestamps: Family<Form, Counter>,
    timestamp_refusals: Family<Because, Counter>,
    clock_state: Family<ClockLabel, Gauge>,
    clock_offset: Gauge<f64, AtomicU64>,
    clock_age: Gauge<f64, AtomicU64>,
    database_clock_offset: Gauge<f64, AtomicU64>,
    paths_remembered: Family<Trust, Gauge>,
    paths_judged: Family<Trust, Gauge>,
    path_memory: Family<Trust, Gauge>,
    idempotency: Family<Outcome, Counter>,
    mandates: Family<Outcome, Counter>,
    in_flight: Gauge<i64, AtomicI64>,
    connections: Gauge,
    connections_ended: Family<Because, Counter>,
    handshakes: Family<Handshake, Counter>,
    tls_until: Family<TlsFile, Gauge>,
    device_state: Family<DeviceStateLabel, Gauge>,
    device_load: Family<DeviceLabel, Gauge>,
    device_latency: Family<DeviceLabel, Gauge<f64, AtomicU64>>,
    device_minute: Family<DeviceQuantile, Gauge<f64, AtomicU64>>,
    device_queue: Family<DeviceLabel, Gauge>,
    device_sessions: Family<DeviceLabel, Gauge>,
    device_signatures: Family<DeviceLabel, Gauge>,
    device_errors: Family<DeviceError, Gauge>,
    device_crashes: Family<DeviceLabel, Gauge>,
    device_keys_missing: Family<DeviceLabel, Gauge>,
    device_failures: Family<DeviceLabel, Gauge>,
    device_worker_starts: Family<DeviceLabel, Gauge>,
    attacks: Counter,
    alarms: Family<Rule, Counter>,
    alarms_overlooked: Family<Of, Counter>,
    rows_refused: Gauge,
    audit_entries: Gauge,
    audit_commits: Gauge,
    audit_unsigned: Gauge,
    audit_unsignable: Gauge,
    audit_altered: Gauge,
    audit_unremembered: Gauge,
    crl_age: Family<CrlLabel, Gauge>,
    crl_due: Family<CrlLabel, Gauge>,
    fetches: Family<SourceOutcome, Gauge>,
    fetch_failures: Family<SourceLabel, Gauge>,
    fetch_success: Family<SourceLabel, Gauge>,
    trust_files_refused: Gauge,
    audit_waiting: Gauge,
    wrapped_hits: Family<DeviceLabel, Gauge>,
    wrapped_misses: Family<DeviceLabel, Gauge>,
    group_load: Family<GroupLabel, Gauge>,
    group_load_peak: Family<GroupLabel, Gauge>,
    group_queue: Family<GroupLabel, Gauge>,
    group_queue_peak: Family<GroupLabel, Gauge>,
    pool_size: Family<PoolLabel, Gauge>,
    pool_in_use: Family<PoolLabel, Gauge>,
    slow_statements: Gauge,
    slow_acquires: Gauge,
    deliveries: DeliveryGauges,
    incidents: incidents::IncidentFigures,
    logins: LoginFigures,
    sessions: SessionFigures,
    retentions: RetentionFigures,
    stamp_jobs: StampJobGauges,
    evidence: evidence::EvidenceFigures,
    statuses: StatusGauges,
    pub(crate) inspections: inspections::InspectionFigures,
    slow: Arc<Slow>,
}

/// An open connection.
pub(crate) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
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
    pub(crate) fn new(slow: Arc<Slow>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("license_gateway"),
            requests: Family::default(),
            duration: Timing::new_with_constructor(timing),
            apps: Names::default(),
            app_requests: Family::default(),
            app_duration: Timing::new_with_constructor(timing),
            keys: Names::default(),
            key_requests: Family::default(),
            key_duration: Timing::new_with_constructor(timing),
            problems: Family::default(),
            signatures: Family::default(),
            judged: Family::default(),
            query_certificates: Family::default(),
            license_files: Family::default(),
            compat: Family::default(),
            timestamps: Family::default(),
            timestamp_refusals: Family::default(),
            clock_state: Family::default(),
            clock_offset: Gauge::default(),
            clock_age: Gauge::default(),
            database_clock_offset: Gauge::default(),
            paths_remembered: Family::default(),
            paths_judged: Family::default(),
            path_memory: Family::default(),
            idempotency: Family::default(),
            mandates: Family::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            connections_ended: Family::default(),
            handshakes: Family::default(),
            tls_until: Family::default(),
            device_state: Family::default(),
            device_load: Family::default(),
            device_latency: Family::default(),
            device_minute: Family::default(),
            device_queue: Family::default(),
            device_sessions: Family::default(),
            device_signatures: Family::default(),
            device_errors: Family::default(),
            device_crashes: Family::default(),
            device_keys_missing: Family::default(),
            device_failures: Family::default(),
            device_worker_starts: Family::default(),
            attacks: Counter::default(),
            alarms: Family::default(),
            alarms_overlooked: Family::default(),
            rows_refused: Gauge::default(),
            audit_entries: Gauge::default(),
            audit_commits: Gauge::default(),
            audit_unsigned: Gauge::default(),
            audit_unsignable: Gauge::default(),
            audit_altered: Gauge::default(),
            audit_unremembered: Gauge::default(),
            crl_age: Family::default(),
            crl_due: Family::default(),
            fetches: Family::default(),
            fetch_failures: Family::default(),
            fetch_success: Family::default(),
            trust_files_refused: Gauge::default(),
            audit_waiting: Gauge::default(),
            wrapped_hits: Family::default(),
            wrapped_misses: Family::default(),
            group_load: Family::default(),
            group_load_peak: Family::default(),
            group_queue: Family::default(),
            group_queue_peak: Family::default(),
            pool_size: Family::default(),
            pool_in_use: Family::default(),
            slow_statements: Gauge::default(),
            slow_acquires: Gauge::default(),
            deliveries: DeliveryGauges::default(),
            incidents: incidents::IncidentFigures::default(),
            logins: LoginFigures::default(),
            sessions: SessionFigures::default(),
            retentions: RetentionFigures::default(),
            stamp_jobs: StampJobGauges::default(),
            evidence: evidence::EvidenceFigures::default(),
            statuses: StatusGauges::default(),
            inspections: inspections::InspectionFigures::default(),
            slow,
        };
        let registry = &mut metrics.registry;
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        registry.register("http_request_duration_seconds", "Time to the answer", metrics.duration.clone());
        registry.register("app_requests", "Requests of an app answered", metrics.app_requests.clone());
        registry.register(
            "app_request_duration_seconds",
            "Time to an app's answer",
            metrics.app_duration.clone(),
        );
        registry.register("key_requests", "Requests for a key answered", metrics.key_requests.clone());
        registry.register(
            "key_request_duration_seconds",
            "Time to the answer of a request for a key",
            metrics.key_duration.clone(),
        );
        registry.register("problems", "Problem documents sent, by code", metrics.problems.clone());
        registry.register("signatures", "Signatures delivered", metrics.signatures.clone());
        registry.register("judgements", "Verdicts given", metrics.judged.clone());
        registry.register(
            "query_certificates",
            "Query certificates made, by whether they say that the entity is in force",
            metrics.query_certificates.clone(),
        );
        registry.register(
            "compat_messages",
            "Messages of the national front's protocol, by business type and by what came of it",
            metrics.compat.clone(),
        );
        registry.register(
            "license_files",
            "License files asked for and found, by form and by what came of it",
            metrics.license_files.clone(),
        );
        registry.register(
            "paths_remembered",
            "Certificate paths whose judgement was remembered, since trust was read",
            metrics.paths_remembered.clone(),
        );
        registry.register(
            "paths_judged",
            "Certificate paths that had to be judged, since trust was read",
            metrics.paths_judged.clone(),
        );
        registry.register(
            "path_memory_bytes",
            "Octets of judgements on certificate paths remembered",
            metrics.path_memory.clone(),
        );
        registry.register(
            "idempotency",
            "Requests with an idempotency key, by what came of them",
            metrics.idempotency.clone(),
        );
        registry.register(
            "mandate_stamps",
            "Stamps ordered in enterprises' names under standing mandates, by what came of them",
            metrics.mandates.clone(),
        );
        registry.register("http_requests_in_flight", "Requests being worked on", metrics.in_flight.clone());
        registry.register("connections", "Connections open on the network", metrics.connections.clone());
        registry.register(
            "connections_ended",
            "Connections that did not end by themselves, by cause",
            metrics.connections_ended.clone(),
        );
        registry.register(
            "tls_handshakes",
            "TLS handshakes, by version and outcome",
            metrics.handshakes.clone(),
        );
        registry.register(
            "tls_valid_until_seconds",
            "Unix time at which the first certificate of the listeners, or list for their clients, ends",
            metrics.tls_until.clone(),
        );
        registry.register("device_state", "1 for the state a device is in", metrics.device_state.clone());
        registry.register("device_load", "Requests in flight and waiting", metrics.device_load.clone());
        registry.register(
            "device_latency_seconds",
            "Smoothed time of a signature",
            metrics.device_latency.clone(),
        );
        registry.register(
            "device_latency_minute_seconds",
            "Times of the last minute's signatures in worker and device, by quantile",
            metrics.device_minute.clone(),
        );
        registry.register("device_queue", "Requests waiting", metrics.device_queue.clone());
        registry.register("device_sessions", "PKCS#11 sessions in use", metrics.device_sessions.clone());
        registry.register(
            "device_signatures",
            "Signatures delivered since start",
            metrics.device_signatures.clone(),
        );
        registry.register(
            "device_errors",
            "Failed attempts since start, by code",
            metrics.device_errors.clone(),
        );
        registry.register("device_crashes", "Workers lost since start", metrics.device_crashes.clone());
        registry.register(
            "device_keys_missing",
            "Keys of its group that it does not hold as it should",
            metrics.device_keys_missing.clone(),
        );
        registry.register("device_failures", "Attempts that failed", metrics.device_failures.clone());
        registry.register(
            "device_worker_starts",
            "Worker processes started",
            metrics.device_worker_starts.clone(),
        );
        registry.register(
            "attacks",
            "Times that failures to prove an app became so many within a minute that they look like an attack",
            metrics.attacks.clone(),
        );
        registry.register("alarms", "Unusual behaviour of callers, by rule", metrics.alarms.clone());
        registry.register(
            "alarms_overlooked",
            "Requests nobody looked at for what is unusual, and alarms not put on record, for lack of room",
            metrics.alarms_overlooked.clone(),
        );
        registry.register(
            "rows_refused",
            "Loads of rows that were altered outside the gateway, since start",
            metrics.rows_refused.clone(),
        );
        registry.register("audit_entries", "Entries written since start", metrics.audit_entries.clone());
        registry.register("audit_commits", "Durable writes since start", metrics.audit_commits.clone());
        registry.register(
            "audit_unsigned_entries",
            "Entries that no checkpoint covers yet",
            metrics.audit_unsigned.clone(),
        );
        registry.register(
            "audit_signing_failed",
            "1 while no device can sign the end of the log",
            metrics.audit_unsignable.clone(),
        );
        registry.register(
            "audit_altered",
            "1 while the audit log is not signed because it was altered outside the gateway",
            metrics.audit_altered.clone(),
        );
        registry.register(
            "audit_unremembered",
            "1 while checkpoints are signed and not remembered outside the database",
            metrics.audit_unremembered.clone(),
        );
        metrics.register_trust();
        metrics.register_timestamps();
        metrics.register_capacity();
        metrics.deliveries.register(&mut metrics.registry);
        metrics.incidents.register(&mut metrics.registry);
        metrics.logins.register(&mut metrics.registry);
        metrics.sessions.register(&mut metrics.registry);
        metrics.retentions.register(&mut metrics.registry);
        metrics.stamp_jobs.register(&mut metrics.registry);
        metrics.evidence.register(&mut metrics.registry);
        metrics.statuses.register(&mut metrics.registry);
        metrics.inspections.register(&mut metrics.registry);
        metrics
    }

    fn register_capacity(&mut self) {
        let registry = &mut self.registry;
        let mut by_device = |name, help, gauge: &Family<DeviceLabel, Gauge>| {
            registry.register(name, help, gauge.clone());
        };
        by_device(
            "device_wrapped_hits",
            "Signatures by keys from outside that the session still had unwrapped",
            &self.wrapped_hits,
        );
        by_device(
            "device_wrapped_misses",
            "Signatures by keys from outside that had to be unwrapped first",
            &self.wrapped_misses,
        );
        for (name, help, gauge) in [
            ("group_load", "Attempts in flight and waiting", &self.group_load),
            ("group_load_peak", "The most of them at one time since the start", &self.group_load_peak),
            ("group_queue", "Attempts waiting", &self.group_queue),
            ("group_queue_peak", "The most of them at one time since the start", &self.group_queue_peak),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register("audit_waiting", "Entries waiting to be written", self.audit_waiting.clone());
        registry.register("database_pool_size", "Open connections", self.pool_size.clone());
        registry.register("database_pool_in_use", "Connections at work", self.pool_in_use.clone());
        registry.register(
            "database_slow_statements",
            "Statements since the start that took longer than the site's threshold",
            self.slow_statements.clone(),
        );
        registry.register(
            "database_slow_acquires",
            "Waits for a connection since the start that took longer than that",
            self.slow_acquires.clone(),
        );
    }

    pub(crate) fn answered(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        self.inspections.answered(route, status);
        self.requests.get_or_create(&Request { route: route.to_owned(), method, status }).inc();
        self.duration.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// A request of an app was answered.
    pub(crate) fn answered_app(&self, app: &AppId, status: u16, took: Duration) {
        let app = self.apps.label(app.as_str());
        self.app_requests.get_or_create(&AppStatus { app: app.clone(), status }).inc();
        self.app_duration.get_or_create(&AppLabel { app }).observe(took.as_secs_f64());
    }

    /// A request that was about a key was answered.
    pub(crate) fn answered_key(&self, key: &KeyId, status: u16, took: Duration) {
        let key = self.keys.label(key.as_str());
        self.key_requests.get_or_create(&KeyStatus { key: key.clone(), status }).inc();
        self.key_duration.get_or_create(&KeyLabel { key }).observe(took.as_secs_f64());
    }

    pub(crate) fn problem(&self, code: &'static str) {
        self.problems.get_or_create(&Code { code }).inc();
    }

    /// Somebody guesses in an app's name.
    pub(crate) fn attacked(&self) {
        self.attacks.inc();
    }

    /// A caller does what is unusual.
    pub(crate) fn alarmed(&self, rule: AlarmRule) {
        self.alarms.get_or_create(&Rule { rule: rule.as_str() }).inc();
    }

    /// There was no room for a request to be looked at, or for an alarm.
    pub(crate) fn overlooked(&self, of: &'static str) {
        self.alarms_overlooked.get_or_create(&Of { of }).inc();
    }

    #[cfg(test)]
    pub(crate) fn count_overlooked(&self, of: &'static str) -> u64 {
        self.alarms_overlooked.get_or_create(&Of { of }).get()
    }

    /// A connection is open until the guard is dropped.
    pub(crate) fn connection_open(&self) -> Open {
        self.connections.inc();
        Open(self.connections.clone())
    }

    /// A connection was ended, or not begun, for this cause.
    pub(crate) fn connection_ended(&self, cause: &'static str) {
        self.connections_ended.get_or_create(&Because { cause }).inc();
    }

    /// A handshake ended like this; no version is known of one that failed.
    pub(crate) fn handshake(&self, version: Option<ProtocolVersion>, outcome: &'static str) {
        let version = match version {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "none",
        };
        self.handshakes.get_or_create(&Handshake { version, outcome }).inc();
    }

    /// What the HTTPS listeners show and judge by from now on.
    pub(crate) fn tls(&self, set: Option<&TlsSet>) {
        self.tls_until.clear();
        let certificate = set.map(|set| ("certificate", set.not_after));
        let lists = set.and_then(|set| set.crls_until).map(|until| ("client_crls", until));
        for (what, until) in certificate.into_iter().chain(lists) {
            self.tls_until.get_or_create(&TlsFile { what }).set(until.unix_timestamp());
        }
    }

    pub(crate) fn signed(&self, device: &str, algorithm: &'static str) {
        self.signatures.get_or_create(&Signature { device: device.to_owned(), algorithm }).inc();
    }

    /// A stamp in an enterprise's name was made (`ok`), or not: the problem's code.
    pub(crate) fn mandated(&self, outcome: &'static str) {
        self.mandates.get_or_create(&Outcome { outcome }).inc();
    }

    /// A request with an idempotency key was `carried_out`, `replayed` or `refused`.
    pub(crate) fn idempotency(&self, outcome: &'static str) {
        self.idempotency.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn query_certificate(&self, is_in_force: bool) {
        let standing = if is_in_force { "in_force" } else { "not_in_force" };
        self.query_certificates.get_or_create(&Standing { standing }).inc();
    }

    pub(crate) fn license_file(&self, form: FileForm, outcome: &'static str) {
        self.license_files.get_or_create(&FormOutcome { form: form.name(), outcome }).inc();
    }

    /// A message of the national front's protocol, and what came of it.
    pub(crate) fn compat(&self, kind: &'static str, outcome: &'static str) {
        self.compat.get_or_create(&KindOutcome { kind, outcome }).inc();
    }

    pub(crate) fn judged(&self, what: &'static str, verdict: Verdict) {
        self.judged.get_or_create(&Judged { what, verdict: verdict.name() }).inc();
    }

    pub(crate) fn render(&self, gateway: &Gateway) -> String {
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        // Gone devices, and codes, leave no stale figures.
        self.device_state.clear();
        self.device_minute.clear();
        self.device_errors.clear();
        for gauge in [
            &self.device_load,
            &self.device_queue,
            &self.device_sessions,
            &self.device_signatures,
            &self.device_crashes,
            &self.device_keys_missing,
            &self.device_failures,
            &self.device_worker_starts,
            &self.wrapped_hits,
            &self.wrapped_misses,
        ] {
            gauge.clear();
        }
        self.device_latency.clear();
        for totals in gateway.fleet.totals() {
            let seconds = |micros: u64| micros as f64 / 1e6;
            let minute = &totals.minute;
            for (quantile, micros) in [
                ("0.5", minute.p50_us),
                ("0.9", minute.p90_us),
                ("0.99", minute.p99_us),
                ("1", minute.max_us),
            ] {
                let label = DeviceQuantile { device: totals.status.id.to_string(), quantile };
                self.device_minute.get_or_create(&label).set(seconds(micros));
            }
            for (code, count) in totals.errors {
                let label = DeviceError { device: totals.status.id.to_string(), code };
                self.device_errors.get_or_create(&label).set(whole(count));
            }
            let device = totals.status;
            for (state, name) in STATES {
                let label = DeviceStateLabel { device: device.id.to_string(), state: name };
                self.device_state.get_or_create(&label).set(i64::from(device.state == state));
            }
            let label = DeviceLabel { device: device.id.to_string(), group: device.group.to_string() };
            self.device_load.get_or_create(&label).set(whole(device.load as u64));
            self.device_queue.get_or_create(&label).set(whole(device.queued as u64));
            self.device_sessions.get_or_create(&label).set(whole(device.lanes as u64));
            self.device_signatures.get_or_create(&label).set(whole(device.signed));
            self.device_crashes.get_or_create(&label).set(whole(device.crashes));
            let missing = device.keys.iter().filter(|key| key.state != KeyState::Held).count();
            self.device_keys_missing.get_or_create(&label).set(whole(missing as u64));
            self.device_latency.get_or_create(&label).set(device.latency_us as f64 / 1e6);
            self.device_failures.get_or_create(&label).set(whole(device.failed));
            self.device_worker_starts.get_or_create(&label).set(whole(device.worker_starts));
            self.wrapped_hits.get_or_create(&label).set(whole(device.wrapped_hits));
            self.wrapped_misses.get_or_create(&label).set(whole(device.wrapped_misses));
        }
        for (name, trust) in
            [("documents", gateway.documents.current()), ("licenses", gateway.licenses.trust())]
        {
            let (label, memory) = (Trust { trust: name }, trust.memory());
            self.paths_remembered.get_or_create(&label).set(whole(memory.hits));
            self.paths_judged.get_or_create(&label).set(whole(memory.misses));
            self.path_memory.get_or_create(&label).set(whole(memory.bytes as u64));
        }
        self.take_capacity(gateway);
        self.deliveries.take(&gateway.deliveries);
        self.sessions.take(gateway.waiting.count());
        self.logins.take(gateway.waiting.browsers());
        self.stamp_jobs.take(&gateway.stamp_jobs.figures);
        self.statuses.take(gateway.register.figures());
        self.take_clock(&gateway.timestamps.clock_state());
        self.in_flight.set(whole(gateway.admission.count() as u64));
        self.rows_refused.set(whole(gateway.store.protection().refused_rows()));
        self.audit_entries.set(whole(gateway.audit.appended()));
        self.audit_commits.set(whole(gateway.audit.commits()));
        self.read_trust(&gateway.trust, OffsetDateTime::now_utc());
        let signed = gateway.auditing.signed.borrow().clone();
        self.audit_unsigned.set(whole(gateway.audit.head().borrow().saturating_sub(signed.size)));
        self.audit_unsignable.set(signed.unsigned.is_some().into());
        self.audit_unremembered.set(signed.unremembered_since.is_some().into());
        self.audit_altered.set(signed.unsigned.is_some_and(|unsigned| unsigned.altered).into());
        let mut text = String::new();
        // Writing to a String cannot fail.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}
