//! The load: a fixed number of connections, each with one request under way at a time.
//!
//! Closed loop: a connection sends its next request when it has the answer to the last. Open loop (`rate`): requests
//! are due at fixed moments, whoever is free sends the next one, and its latency counts from when it was due if
//! everybody was busy then; so a server that stalls cannot hide it by slowing the generator down.
//!
//! Everything runs on one thread: at these rates a second one would only take processor time from the server.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::histogram::Histogram;
use crate::process::{Cost, Snapshot};
use crate::profile::Request;

/// How long unanswered requests are waited for after the end.
const GRACE: Duration = Duration::from_secs(5);
/// Between a lost connection and the next.
const RECONNECT: Duration = Duration::from_millis(10);

/// What to do to the server.
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) request: Request,
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// Requests per second in open loop.
    pub(crate) rate: Option<f64>,
    /// The server's process, to know what it cost.
    pub(crate) pid: Option<u32>,
}

/// Something done to the site while the load runs.
pub(crate) struct Act {
    pub(crate) after: Duration,
    pub(crate) what: Box<dyn FnOnce() + Send>,
}

/// What came of it.
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    /// Answers in 2xx.
    pub(crate) latency: Histogram,
    /// The same by the second they came in.
    pub(crate) by_second: Vec<Histogram>,
    /// Everything else: the problem's code, the status, or why no answer came.
    pub(crate) errors: BTreeMap<String, u64>,
    /// How many of them by the second they came in.
    pub(crate) errors_by_second: Vec<u64>,
    /// Size of the last good answer on the wire.
    pub(crate) answer_octets: usize,
    pub(crate) before: Option<Snapshot>,
    pub(crate) after: Option<Snapshot>,
}

struct Shared {
    address: SocketAddr,
    request: Request,
    connections: u64,
    rate: Option<f64>,
    began: Cell<Instant>,
    tickets: Cell<u64>,
    recording: Cell<bool>,
    stop: Cell<bool>,
    tally: RefCell<Tally>,
}

struct Tally {
    start: Instant,
    latency: Histogram,
    by_second: Vec<Histogram>,
    errors: BTreeMap<String, u64>,
    errors_by_second: Vec<u64>,
    answer_octets: usize,
}

impl Tally {
    fn new(duration: Duration) -> Self {
        let seconds = usize::try_from(duration.as_secs()).unwrap_or_default();
        Self {
            start: Instant::now(),
            latency: Histogram::new(),
            by_second: vec![Histogram::new(); seconds],
            errors: BTreeMap::new(),
            errors_by_second: vec![0; seconds],
            answer_octets: 0,
        }
    }

    fn good(&mut self, begin: Instant, octets: usize) {
        let now = Instant::now();
        let latency = now - begin;
        self.latency.record(latency);
        let second = usize::try_from((now - self.start).as_secs()).unwrap_or_default();
        if let Some(slice) = self.by_second.get_mut(second) {
            slice.record(latency);
        }
        self.answer_octets = octets;
    }

    fn bad(&mut self, code: String) {
        let second = usize::try_from(self.start.elapsed().as_secs()).unwrap_or_default();
        if let Some(count) = self.errors_by_second.get_mut(second) {
            *count += 1;
        }
        *self.errors.entry(code).or_default() += 1;
    }
}

/// Runs the load. Must be called within a `LocalSet`.
pub(crate) async fn run(plan: Plan, act: Option<Act>) -> io::Result<Measured> {
    let shared = Rc::new(Shared {
        address: plan.address,
        request: plan.request,
        connections: plan.connections as u64,
        rate: plan.rate,
        began: Cell::new(Instant::now()),
        tickets: Cell::new(0),
        recording: Cell::new(false),
        stop: Cell::new(false),
        tally: RefCell::new(Tally::new(plan.duration)),
    });
    let mut connections = JoinSet::new();
    for number in 0..shared.connections {
        connections.spawn_local(connection(Rc::clone(&shared), number));
    }
    tokio::time::sleep(plan.warm_up).await;
    let before = snapshot(plan.pid).await?;
    *shared.tally.borrow_mut() = Tally::new(plan.duration);
    shared.recording.set(true);
    let start = Instant::now();
    if let Some(act) = act {
        tokio::time::sleep(act.after).await;
        tokio::task::spawn_blocking(act.what).await?;
    }
    tokio::time::sleep_until((start + plan.duration).into()).await;
    shared.recording.set(false);
    let seconds = start.elapsed().as_secs_f64();
    let after = snapshot(plan.pid).await?;
    shared.stop.set(true);
    let _ = tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    let unanswered = connections.len() as u64;
    connections.abort_all();
    while connections.join_next().await.is_some() {}
    let mut tally = shared.tally.borrow_mut();
    if unanswered > 0 {
        tally.errors.insert("unanswered".to_owned(), unanswered);
    }
    Ok(Measured {
        seconds,
        latency: tally.latency.clone(),
        by_second: std::mem::take(&mut tally.by_second),
        errors: std::mem::take(&mut tally.errors),
        errors_by_second: std::mem::take(&mut tally.errors_by_second),
        answer_octets: tally.answer_octets,
        before,
        after,
    })
}

/// Reading all of `/proc` takes milliseconds, which the connections shall not wait for.
async fn snapshot(pid: Option<u32>) -> io::Result<Option<Snapshot>> {
    let Some(pid) = pid else { return Ok(None) };
    Ok(Some(tokio::task::spawn_blocking(move || Snapshot::take(pid)).await??))
}

async fn connection(shared: Rc<Shared>, number: u64) {
    let mut request = shared.request.clone();
    let mut open = None;
    let mut sent = number;
    while !shared.stop.get() {
        let begin = shared.turn().await;
        if shared.stop.get() {
            break;
        }
        request.vary(sent);
        sent += shared.connections;
        match attempt(&mut open, shared.address, &request, &shared, begin).await {
            Ok(true) => {}
            Ok(false) => open = None,
            Err(error) => {
                open = None;
                if shared.recording.get() {
                    shared.tally.borrow_mut().bad(error.kind().to_string());
                }
                tokio::time::sleep(RECONNECT).await;
            }
        }
    }
}

/// One request and its answer; whether the connection can be used again.
async fn attempt(
    open: &mut Option<Connection>,
    address: SocketAddr,
    request: &Request,
    shared: &Shared,
    begin: Instant,
) -> io::Result<bool> {
    let connection = match open {
        Some(connection) => connection,
        None => open.insert(Connection::open(address).await?),
    };
    let answer = connection.exchange(request.octets()).await?;
    if shared.recording.get() {
        let mut tally = shared.tally.borrow_mut();
        if (200..300).contains(&answer.status) {
            tally.good(begin, answer.octets);
        } else {
            tally.bad(problem(answer.status, answer.body));
        }
    }
    Ok(answer.reusable)
}

impl Shared {
    /// Waits until this connection's next request is due and says from when its latency counts.
    async fn turn(&self) -> Instant {
        let now = Instant::now();
        let Some(rate) = self.rate else { return now };
        let ticket = self.tickets.get();
        self.tickets.set(ticket + 1);
        let due = self.began.get() + Duration::from_secs_f64(ticket as f64 / rate);
        if due <= now {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        Instant::now() // what the timer is late by is not the server's
    }
}

/// The code of a problem document, or the bare status.
pub(crate) fn problem(status: u16, body: &[u8]) -> String {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let code = document.as_ref().and_then(|document| document["code"].as_str());
    code.map_or_else(|| status.to_string(), |code| format!("{status} {code}"))
}

impl Measured {
    pub(crate) fn operations(&self) -> u64 {
        self.latency.total()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.operations() as f64 / self.seconds
    }

    pub(crate) fn cost(&self) -> Option<Cost> {
        Some(self.before.as_ref()?.until(self.after.as_ref()?))
    }

    /// Operations per processor second of the server; nothing if it was not watched or cost nothing measurable.
    pub(crate) fn per_cpu_second(&self) -> Option<f64> {
        let service = self.cost()?.service();
        (service > 0.0).then(|| self.operations() as f64 / service)
    }

    pub(crate) fn json(&self) -> Value {
        let latency = &self.latency;
        let mut value = json!({
            "seconds": self.seconds,
            "answer_octets": self.answer_octets,
            "ops": self.operations(),
            "ops_per_second": self.per_second(),
            "errors": self.errors,
            "latency_ms": {
                "p50": latency.quantile(0.5),
                "p90": latency.quantile(0.9),
                "p99": latency.quantile(0.99),
                "max": latency.max(),
            },
        });
        if let (Some(cost), Some(before), Some(after)) = (self.cost(), &self.before, &self.after) {
            let workers = after.children.iter().map(|worker| {
                let earlier = before.children.iter().find(|earlier| earlier.pid == worker.pid);
                let cpu = worker.cpu - earlier.map_or(0.0, |earlier| earlier.cpu);
                json!({"name": worker.name, "pid": worker.pid, "cpu_seconds": cpu})
            });
            value["cpu"] = json!({
                "ops_per_cpu_second": self.per_cpu_second(),
                "gateway_seconds": cost.root,
                "workers_seconds": cost.children,
                "workers": workers.collect::<Vec<_>>(),
                "generator_seconds": cost.generator,
                "others_seconds": cost.others,
                "stolen_seconds": cost.stolen,
            });
            value["memory"] = after.memory();
        }
        value
    }
}
