//! `load crash`: the gateway is killed again and again under a mixture of requests with idempotency keys, each of
//! which is sent until it is answered. Whatever was acknowledged must be in the audit log, nothing may stand there
//! twice, who asks once more gets the first answer, and in the end the log verifies.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use sm3::{Digest as _, Sm3};
use tests::{Answer, Caller, Folder, Site, base64, gateway};

use crate::{Fallible, say};

/// How often, and under how much load.
#[derive(Args)]
pub(crate) struct Options {
    /// How often the gateway is killed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    kills: u32,
    /// Callers, each with one request under way.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    callers: u32,
    /// When it is killed is drawn from it; a new one each time unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Where everything goes as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// The keys that sign.
const KEYS: [(&str, &str); 3] =
    [("demo-sm2", "sm2-sm3"), ("demo-p256", "ecdsa-p256-sha256"), ("portal-sm2", "sm2-sm3")];
/// Every so many requests two callers send the same one at once.
const TWINS: u64 = 4;
/// How long the gateway is left alone, at least and at most, milliseconds.
const LIFE: std::ops::Range<u64> = 150..900;
/// Between two attempts at one request.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest that one request is tried.
const PATIENCE: Duration = Duration::from_secs(60);
/// Examples of what is wrong that are told.
const TOLD: usize = 10;
/// Acknowledged requests that are sent once more at the end.
const SENT_AGAIN: usize = 500;

/// One request that was acknowledged.
struct Acknowledged {
    body: String,
    answer: String,
    audit_index: u64,
    /// SM3 of the signature, hexadecimal.
    result: String,
}

/// What callers share.
struct Shared {
    /// Where the gateway listens now, and whose it is.
    at: RwLock<(String, String)>,
    over: AtomicBool,
    next: AtomicU64,
    attempts: AtomicU64,
    replayed: AtomicU64,
    acknowledged: Mutex<BTreeMap<u64, Acknowledged>>,
    wrong: Mutex<Vec<String>>,
}

/// Kills the gateway under load and prints what came of it.
///
/// # Errors
/// Something that must hold did not.
pub(crate) fn crash(options: &Options) -> Fallible<()> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let mut random = fastrand::Rng::with_seed(seed);
    say(&format!("{} kills under {} callers, seed {seed}", options.kills, options.callers));
    let mut site = Folder::init().serve();
    let shared = Shared {
        at: RwLock::new(address(&site)),
        over: AtomicBool::new(false),
        next: AtomicU64::new(0),
        attempts: AtomicU64::new(0),
        replayed: AtomicU64::new(0),
        acknowledged: Mutex::default(),
        wrong: Mutex::default(),
    };
    let mut restarts = Vec::new();
    site = std::thread::scope(|scope| {
        for _ in 0..options.callers {
            scope.spawn(|| shared.call());
        }
        for _ in 0..options.kills {
            std::thread::sleep(Duration::from_millis(random.u64(LIFE)));
            let began = Instant::now();
            site = site.kill().serve();
            restarts.push(began.elapsed().as_secs_f64() * 1e3);
            *shared.at.write().unwrap_or_else(PoisonError::into_inner) = address(&site);
        }
        shared.over.store(true, Ordering::Relaxed);
        site
    });
    shared.ask_again(&site);
    let entries = site.audit();
    let log = verify(site)?;
    let Shared { next, attempts, replayed, acknowledged, wrong, .. } = shared;
    let acknowledged = acknowledged.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    let twice = compare(&acknowledged, &entries, &mut wrong);
    if log["intact"] != true || log["unsigned"] != 0 {
        wrong.push(format!("the audit log does not verify: {log}"));
    }
    restarts.sort_by(f64::total_cmp);
    let report = json!({
        "seed": seed, "kills": options.kills, "requests": next.into_inner(), "attempts": attempts.into_inner(),
        "acknowledged": acknowledged.len(), "answered_again": replayed.into_inner(), "entries": entries.len(),
        "checkpoints": log["checkpoints"], "signed": log["signed"], "done_twice": twice, "wrong": wrong.len(), "examples": wrong.iter().take(TOLD).collect::<Vec<_>>(),
        "ready_again_ms": restarts.get(restarts.len() / 2),
    });
    say(&format!("{report:#}"));
    if let Some(out) = &options.out {
        write!(fs::File::create(out)?, "{report:#}")?;
    }
    match wrong.len() {
        0 => {
            say("\npassed");
            Ok(())
        }
        many => Err(format!("seed {seed}: {many} things are wrong").into()),
    }
}

/// Stops the gateway and has the log that it leaves verified.
fn verify(site: Site) -> Fallible<Value> {
    let (folder, _) = site.stop();
    let mut verifier = Command::new(gateway());
    verifier.args(["audit", "verify", "--json", "--config"]).arg(folder.config());
    let ran = verifier.output()?;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    serde_json::from_slice(&ran.stdout).map_err(|_| format!("license-gateway audit verify: {said}").into())
}

fn address(site: &Site) -> (String, String) {
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap_or_default();
    (site.base().to_owned(), key.to_owned())
}

/// Whether everything acknowledged stands in the log as it was acknowledged, and nothing stands there twice; how many
/// requests do.
fn compare(acknowledged: &BTreeMap<u64, Acknowledged>, entries: &[Value], wrong: &mut Vec<String>) -> usize {
    let mut done: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, entry) in entries.iter().enumerate() {
        if let Some(id) = entry["request_id"].as_str().filter(|_| entry["outcome"] == "ok") {
            done.entry(id).or_default().push(index);
        }
    }
    let mut twice = 0;
    for (id, at) in done.iter().filter(|(id, at)| id.starts_with("crash-") && at.len() > 1) {
        twice += 1;
        wrong.push(format!("{id} was done {} times: entries {at:?}", at.len()));
    }
    for (number, request) in acknowledged {
        let id = format!("crash-{number}");
        let at = done.get(id.as_str()).and_then(|at| at.first()).copied();
        match at {
            None => wrong.push(format!("{id} was acknowledged and is not in the log")),
            Some(at) if at as u64 != request.audit_index => {
                wrong.push(format!("{id} was acknowledged as entry {} and is {at}", request.audit_index));
            }
            Some(at) if entries[at]["result_digest"] != request.result.as_str() => {
                wrong.push(format!("entry {at} of {id} is of another signature"));
            }
            Some(_) => {}
        }
    }
    twice
}

impl Shared {
    /// One caller: a new request as soon as the last one is answered.
    fn call(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let (key, algorithm) = KEYS[usize::try_from(number).unwrap_or_default() % KEYS.len()];
            let data = base64(format!("crash {number}").as_bytes());
            let body = json!({"key": key, "algorithm": algorithm, "input": {"data": data}}).to_string();
            let answers = if number.is_multiple_of(TWINS) {
                std::thread::scope(|scope| {
                    let twin = scope.spawn(|| self.until_answered(number, &body));
                    [self.until_answered(number, &body), twin.join().ok().flatten()]
                })
            } else {
                [self.until_answered(number, &body), None]
            };
            let mut texts = answers.iter().flatten();
            let Some(first) = texts.next() else { continue };
            if texts.any(|other| other != first) {
                self.complain(format!("crash-{number} got two answers"));
            }
            self.acknowledge(number, body, first.clone());
        }
    }

    /// Sends a request until it is answered, by whichever gateway runs.
    fn until_answered(&self, number: u64, body: &str) -> Option<String> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            let (base, api_key) = self.at.read().unwrap_or_else(PoisonError::into_inner).clone();
            match send(&Caller::new(&base, Some(&api_key)), number, body) {
                Some(answer) if answer.status == 201 => {
                    if answer.header("idempotency-replayed") == "true" {
                        self.replayed.fetch_add(1, Ordering::Relaxed);
                    }
                    return Some(answer.text());
                }
                Some(answer) if !may_be_sent_again(&answer) => {
                    self.complain(format!("crash-{number}: {} {}", answer.status, answer.text()));
                    return None;
                }
                _ => std::thread::sleep(PAUSE),
            }
        }
        self.complain(format!("crash-{number} was not answered in {PATIENCE:?}"));
        None
    }

    fn acknowledge(&self, number: u64, body: String, answer: String) {
        let json: Value = serde_json::from_str(&answer).unwrap_or_default();
        let signature = json["signature"].as_str().map(tests::unbase64).unwrap_or_default();
        let (Some(audit_index), false) = (json["audit_index"].as_u64(), signature.is_empty()) else {
            return self.complain(format!("crash-{number}: {answer}"));
        };
        let result = hex::encode(Sm3::digest(&signature));
        let request = Acknowledged { body, answer, audit_index, result };
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(number, request);
    }

    /// Sends some of what was acknowledged once more.
    fn ask_again(&self, site: &Site) {
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let step = (acknowledged.len() / SENT_AGAIN).max(1);
        for (number, request) in acknowledged.iter().step_by(step) {
            let again = send(site.app(), *number, &request.body).map(|answer| answer.text());
            if again.as_deref() != Some(&request.answer) {
                self.complain(format!("crash-{number}, sent once more, got another answer"));
            }
        }
    }

    fn complain(&self, what: String) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

fn send(caller: &Caller, number: u64, body: &str) -> Option<Answer> {
    let id = format!("crash-{number}");
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", id.as_str()),
        ("x-request-id", id.as_str()),
    ];
    caller.try_send("POST", "/v1/signatures", &headers, Some(body.as_bytes())).ok()
}

/// The answers that say "later": nothing is known to be wrong with the request.
fn may_be_sent_again(answer: &Answer) -> bool {
    let code =
        serde_json::from_slice::<Value>(&answer.body).map(|json| json["code"].clone()).unwrap_or_default();
    answer.status == 503 || code == "idempotency_in_progress"
}
