//! Callers that send what they want done until it is answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Answer, Caller, Site, base64};

/// The keys that sign.
const KEYS: [(&str, &str); 3] =
    [("demo-sm2", "sm2-sm3"), ("demo-p256", "ecdsa-p256-sha256"), ("portal-sm2", "sm2-sm3")];
/// Every so many requests under a key are sent by two callers at once.
const TWINS: u64 = 4;
/// Between two attempts at one request.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest that one request is tried.
const PATIENCE: Duration = Duration::from_secs(60);
/// Acknowledged requests that are sent once more at the end.
const SENT_AGAIN: usize = 500;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A signature under an idempotency key.
    Signature,
    /// A batch of them under one.
    Batch,
    /// A signature without a key: sent again it may be made again.
    Plain,
    /// The face of a license, which nobody gets unrecorded.
    Face,
}

impl Kind {
    fn of(number: u64) -> Self {
        match number % 8 {
            1 | 4 => Self::Batch,
            2 => Self::Plain,
            7 => Self::Face,
            _ => Self::Signature,
        }
    }

    pub(super) fn is_once_only(self) -> bool {
        matches!(self, Self::Signature | Self::Batch)
    }
}

/// One request that was acknowledged.
pub(super) struct Acknowledged {
    pub(super) kind: Kind,
    pub(super) answer: String,
    /// The request that was carried out, as the log has it.
    pub(super) request_id: String,
    order: Order,
}

/// What callers share.
pub(super) struct Traffic {
    /// Where the gateway listens now, and the key of the app.
    at: RwLock<(String, String)>,
    uscc: String,
    over: AtomicBool,
    next: AtomicU64,
    attempts: AtomicU64,
    put_off: AtomicU64,
    replayed: AtomicU64,
    acknowledged: Mutex<BTreeMap<u64, Acknowledged>>,
    wrong: Mutex<Vec<String>>,
}

/// One request as it is sent.
struct Order {
    number: u64,
    kind: Kind,
    path: String,
    body: Option<String>,
}

impl Traffic {
    pub(super) fn on(site: &Site) -> Self {
        Self {
            at: RwLock::new(address(site)),
            uscc: site.sandbox()["licenses"][0].as_str().unwrap_or_default().to_owned(),
            over: AtomicBool::new(false),
            next: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            put_off: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    /// The gateway is started anew, somewhere else.
    pub(super) fn moved_to(&self, site: &Site) {
        *self.at.write().unwrap_or_else(PoisonError::into_inner) = address(site);
    }

    /// Callers end when they are answered.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(super) fn expect(&self, holds: bool, otherwise: &str) {
        if !holds {
            self.complain(otherwise.to_owned());
        }
    }

    /// Nothing may have panicked.
    pub(super) fn read_log(&self, site: &Site) {
        for line in site.log().lines().filter(|line| line.contains("panicked")) {
            self.complain(format!("the gateway's log: {line}"));
        }
    }

    /// Figures, what was acknowledged, and what is wrong.
    pub(super) fn into_parts(self) -> (Value, BTreeMap<u64, Acknowledged>, Vec<String>) {
        let acknowledged = self.acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner);
        let of = |kind| acknowledged.values().filter(|request| request.kind == kind).count();
        let figures = json!({
            "requests": self.next.into_inner(), "attempts": self.attempts.into_inner(),
            "put_off": self.put_off.into_inner(), "acknowledged": acknowledged.len(),
            "answered_again": self.replayed.into_inner(),
            "kinds": {
                "signatures_with_key": of(Kind::Signature), "batches_with_key": of(Kind::Batch),
                "signatures_without_key": of(Kind::Plain), "faces": of(Kind::Face),
            },
        });
        (figures, acknowledged, self.wrong.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// One caller: a new request as soon as the last one is answered.
    pub(super) fn call(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let order = self.order(number);
            let answers = if order.kind.is_once_only() && number.is_multiple_of(TWINS) {
                std::thread::scope(|scope| {
                    let twin = scope.spawn(|| self.until_answered(&order));
                    [self.until_answered(&order), twin.join().ok().flatten()]
                })
            } else {
                [self.until_answered(&order), None]
            };
            let mut answers = answers.into_iter().flatten();
            let Some(first) = answers.next() else { continue };
            if answers.any(|other| other.text() != first.text()) {
                self.complain(format!("crash-{number} got two answers"));
            }
            self.acknowledge(order, &first);
        }
    }

    fn order(&self, number: u64) -> Order {
        let kind = Kind::of(number);
        let one = |part: u64| {
            let (key, algorithm) = KEYS[usize::try_from(number + part).unwrap_or_default() % KEYS.len()];
            let data = base64(format!("crash {number} {part}").as_bytes());
            json!({"key": key, "algorithm": algorithm, "input": {"data": data}})
        };
        let (path, body) = match kind {
            Kind::Signature | Kind::Plain => ("/v1/signatures".to_owned(), Some(one(0).to_string())),
            Kind::Batch => {
                let items = [one(0), one(1), json!({"key": "no-such-key"}), one(2)];
                ("/v1/signatures:batch".to_owned(), Some(json!({"items": items}).to_string()))
            }
            Kind::Face => (format!("/v1/licenses/{}/face", self.uscc), None),
        };
        Order { number, kind, path, body }
    }

    /// Sends a request until it is answered, by whichever gateway runs.
    fn until_answered(&self, order: &Order) -> Option<Answer> {
        let (began, number) = (Instant::now(), order.number);
        for attempt in 0.. {
            if began.elapsed() >= PATIENCE {
                break;
            }
            self.attempts.fetch_add(1, Ordering::Relaxed);
            let (base, api_key) = self.at.read().unwrap_or_else(PoisonError::into_inner).clone();
            match order.send(&Caller::new(&base, Some(&api_key)), attempt) {
                Some(answer) if answer.status < 300 => {
                    if answer.header("idempotency-replayed") == "true" {
                        self.replayed.fetch_add(1, Ordering::Relaxed);
                    }
                    return Some(answer);
                }
                Some(answer) => {
                    if !says_later(&answer) {
                        self.complain(format!("crash-{number}: {} {}", answer.status, answer.text()));
                        return None;
                    }
                    self.put_off.fetch_add(1, Ordering::Relaxed);
                }
                None => {}
            }
            std::thread::sleep(PAUSE);
        }
        self.complain(format!("crash-{number} was not answered in {PATIENCE:?}"));
        None
    }

    fn acknowledge(&self, order: Order, answer: &Answer) {
        let request_id = match order.kind {
            // The first one that was carried out may have come before the one that is answered.
            Kind::Signature | Kind::Batch => format!("crash-{}", order.number),
            Kind::Plain | Kind::Face => answer.header("x-request-id").to_owned(),
        };
        let (number, kind, answer) = (order.number, order.kind, answer.text());
        let request = Acknowledged { kind, answer, request_id, order };
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(number, request);
    }

    /// Sends some of what was acknowledged once more.
    pub(super) fn ask_again(&self, site: &Site) {
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let once_only = acknowledged.iter().filter(|(_, request)| request.kind.is_once_only());
        let step = (acknowledged.len() / SENT_AGAIN).max(1);
        for (number, request) in once_only.step_by(step) {
            let again = request.order.send(site.app(), 0).map(|answer| answer.text());
            if again.as_deref() != Some(&request.answer) {
                self.complain(format!("crash-{number}, sent once more, got another answer"));
            }
        }
    }

    fn complain(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

impl Order {
    fn send(&self, caller: &Caller, attempt: u32) -> Option<Answer> {
        let number = self.number;
        let (key, id) = (format!("crash-{number}"), format!("crash-{number}-{attempt}"));
        let mut headers = vec![("content-type", "application/json")];
        if self.kind.is_once_only() {
            headers.extend([("idempotency-key", key.as_str()), ("x-request-id", key.as_str())]);
        } else {
            headers.push(("x-request-id", id.as_str()));
        }
        let method = if self.body.is_some() { "POST" } else { "GET" };
        caller.try_send(method, &self.path, &headers, self.body.as_ref().map(String::as_bytes)).ok()
    }
}

fn address(site: &Site) -> (String, String) {
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap_or_default();
    (site.base().to_owned(), key.to_owned())
}

/// The answers that say "later", and when: nothing is known to be wrong with the request.
fn says_later(answer: &Answer) -> bool {
    let code =
        serde_json::from_slice::<Value>(&answer.body).map(|json| json["code"].clone()).unwrap_or_default();
    let later = answer.status == 503 || code == "idempotency_in_progress";
    later && !answer.header("retry-after").is_empty()
}
