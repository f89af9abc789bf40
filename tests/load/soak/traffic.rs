//! The load of a soak: a steady mixture of requests, due at fixed moments, whoever is free sends the next. Latency
//! counts from when a request was due, so a server that stalls cannot hide it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::Fallible;
use crate::connection::Connection;
use crate::generator::problem;
use crate::histogram::Histogram;
use crate::profile::{DIGEST, Request, Target, ask};

/// How long unanswered requests are waited for after the end; more than any deadline.
const GRACE: Duration = Duration::from_secs(20);
/// Between a lost connection and the next.
const RECONNECT: Duration = Duration::from_millis(10);

/// The keys that are asked for, with how many of a hundred requests each gets.
pub(crate) const KEYS: [(&str, &str, usize); 4] = [
    ("demo-sm2", "sm2-sm3", 30),
    ("demo-p256", "ecdsa-p256-sha256", 20),
    ("demo-rsa2048", "rsa-pkcs1-sha256", 8),
    ("portal-sm2", "sm2-sm3", 12),
];

/// What an answer must be.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// A signature of the key with this place in [`KEYS`].
    Signature(usize),
    /// An object with these members, among others.
    Members(Rc<Value>),
}

/// A request and what its answer must be.
#[derive(Clone)]
struct Question {
    request: Request,
    expected: Expected,
    /// How many of a hundred requests it gets.
    weight: usize,
    /// It is answered from the database.
    reads: bool,
}

/// The mixture.
pub(crate) struct Questions(Vec<Question>);

/// An answer in 2xx, to be judged elsewhere.
pub(crate) enum Answered {
    Signature {
        key: usize,
        number: u64,
        body: Vec<u8>,
    },
    /// Already compared; this is what was wrong with it, if anything.
    Compared(Option<String>),
}

/// What came of it, by minute.
pub(crate) struct Tally {
    pub(crate) minutes: Vec<Minute>,
    /// Requests that got no good answer, by the problem's code or why no answer came.
    pub(crate) errors: BTreeMap<String, u64>,
}

/// The requests that were due in one minute.
pub(crate) struct Minute {
    pub(crate) attempted: u64,
    pub(crate) failed: u64,
    /// Of good answers.
    pub(crate) latency: Histogram,
}

/// How much of the mixture is asked for.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) questions: Rc<Questions>,
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// Requests per second.
    pub(crate) rate: f64,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    /// The first of the numbers that tell requests apart.
    pub(crate) first: u64,
}

impl Questions {
    /// Asks for what the questions need, while the site is whole.
    pub(crate) async fn prepare(target: &Target, sandbox: &Value) -> Fallible<Self> {
        let mut questions = Vec::new();
        let mut add = |request: Request, expected, weight| {
            let reads = request.is_get();
            questions.push(Question { request, expected, weight, reads });
        };
        for (place, (key, algorithm, weight)) in KEYS.into_iter().enumerate() {
            let body = json!({"key": key, "algorithm": algorithm, "input": {"digest": DIGEST}});
            add(Request::post(target, "/v1/signatures", &body), Expected::Signature(place), weight);
        }
        let members = |value| Expected::Members(Rc::new(value));
        let (right, wrong) = (DIGEST.replace("VARIABLE", "AAAAAAAA"), DIGEST.replace("VARIABLE", "BAAAAAAA"));
        let key = ask(target, &Request::get(target, "/v1/keys/demo-sm2")).await?;
        let order = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"digest": right}});
        let signed = ask(target, &Request::post(target, "/v1/signatures", &order)).await?;
        for (digest, verdict) in [(right, "valid"), (wrong, "invalid")] {
            let body = json!({
                "algorithm": "sm2-sm3", "input": {"digest": digest},
                "signature": signed["signature"], "public_key": key["public_key"],
            });
            add(Request::post(target, "/v1/verifications", &body), members(json!({"verdict": verdict})), 6);
        }
        let samples = sandbox["samples"].as_array().ok_or("sandbox.json lists no samples")?;
        for (kind, verdict) in [("good", "valid"), ("revoked", "invalid")] {
            let sample = samples.iter().find(|sample| sample["kind"] == kind);
            let sample = sample.ok_or("a sample of a kind is missing")?;
            let file = sample["file"].as_str().ok_or("a sample has a file")?;
            let body = json!({"license": std::fs::read_to_string(file)?});
            add(Request::post(target, "/v1/licenses:verify", &body), members(json!({"verdict": verdict})), 3);
        }
        let uscc = sandbox["licenses"][0].as_str().ok_or("sandbox.json lists no license")?;
        for part in ["face", "status"] {
            let request = Request::get(target, &format!("/v1/licenses/{uscc}/{part}"));
            let mut answer = ask(target, &request).await?;
            let answered = answer.as_object_mut().ok_or("a look-up answers an object")?;
            answered.retain(|name, _| !matches!(name.as_str(), "request_id" | "audit_index"));
            add(request, members(answer), 6);
        }
        Ok(Self(questions))
    }

    /// Those that read the database only: asked all at once they open as many connections to it as there may be.
    pub(crate) fn reading(&self) -> Self {
        Self(self.0.iter().filter(|question| question.reads).cloned().collect())
    }

    /// The question for a number between 0 and the sum of all weights.
    fn pick(&self, mut number: usize) -> &Question {
        for question in &self.0 {
            match number.checked_sub(question.weight) {
                Some(rest) => number = rest,
                None => return question,
            }
        }
        &self.0[0]
    }

    fn total(&self) -> usize {
        self.0.iter().map(|question| question.weight).sum()
    }
}

struct Shared {
    plan: Plan,
    answers: UnboundedSender<Answered>,
    start: Instant,
    tickets: Cell<u64>,
    random: RefCell<fastrand::Rng>,
    tally: RefCell<Tally>,
}

/// Runs the load to its end. Must be called within a `LocalSet`.
pub(crate) async fn run(plan: Plan, answers: UnboundedSender<Answered>) -> Tally {
    let shared = Rc::new(Shared {
        start: Instant::now(),
        tickets: Cell::new(0),
        random: RefCell::new(fastrand::Rng::with_seed(plan.seed)),
        tally: RefCell::new(Tally { minutes: Vec::new(), errors: BTreeMap::new() }),
        plan,
        answers,
    });
    let mut connections = JoinSet::new();
    for _ in 0..shared.plan.connections {
        connections.spawn_local(connection(Rc::clone(&shared)));
    }
    let most = shared.plan.duration + GRACE;
    let _ = tokio::time::timeout(most, async { while connections.join_next().await.is_some() {} }).await;
    let unanswered = connections.len() as u64;
    connections.abort_all();
    while connections.join_next().await.is_some() {}
    let mut tally = shared.tally.replace(Tally { minutes: Vec::new(), errors: BTreeMap::new() });
    if unanswered > 0 {
        tally.errors.insert("unanswered".to_owned(), unanswered);
    }
    tally
}

async fn connection(shared: Rc<Shared>) {
    let mut open = None;
    while let Some((number, due)) = shared.turn().await {
        let draw = shared.random.borrow_mut().usize(..shared.plan.questions.total());
        let question = shared.plan.questions.pick(draw);
        let minute = shared.attempted(due);
        let answer = attempt(&mut open, &shared, question, number).await;
        let broken = answer.is_err();
        shared.answered(minute, due, answer);
        if broken {
            open = None;
            tokio::time::sleep(RECONNECT).await;
        }
    }
}

/// Asks once; the code of a refusal.
async fn attempt(
    open: &mut Option<Connection>,
    shared: &Shared,
    question: &Question,
    number: u64,
) -> io::Result<Option<String>> {
    let mut request = question.request.clone();
    request.vary(number);
    let connection = match open {
        Some(connection) => connection,
        None => open.insert(Connection::open(shared.plan.address).await?),
    };
    let answer = connection.exchange(request.octets()).await?;
    let refused = (!(200..300).contains(&answer.status)).then(|| problem(answer.status, answer.body));
    if refused.is_none() {
        let _ = shared.answers.send(question.answered(number, answer.body)); // who judges outlives the load
    }
    if !answer.reusable {
        *open = None;
    }
    Ok(refused)
}

impl Question {
    fn answered(&self, number: u64, body: &[u8]) -> Answered {
        match &self.expected {
            Expected::Signature(key) => Answered::Signature { key: *key, number, body: body.to_vec() },
            Expected::Members(members) => Answered::Compared(difference(members, body)),
        }
    }
}

/// What an answer lacks of the members it must have.
fn difference(members: &Value, body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut members = members.as_object().into_iter().flatten();
    let (name, value) = members.find(|(name, value)| answer[name.as_str()] != **value)?;
    Some(format!("{name} is {} and must be {value}", answer[name.as_str()]))
}

impl Shared {
    /// Waits until the next request is due: its number, and from when its latency counts. Nothing when the load is
    /// over.
    async fn turn(&self) -> Option<(u64, Instant)> {
        let ticket = self.tickets.get();
        let due = Duration::from_secs_f64(ticket as f64 / self.plan.rate);
        if due >= self.plan.duration {
            return None;
        }
        self.tickets.set(ticket + 1);
        let (number, due) = (self.plan.first + ticket, self.start + due);
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
            return Some((number, Instant::now())); // what the timer is late by is not the server's
        }
        Some((number, due))
    }

    /// Counts what came of it.
    fn answered(&self, minute: usize, due: Instant, answer: io::Result<Option<String>>) {
        let tally = &mut *self.tally.borrow_mut();
        let minute = &mut tally.minutes[minute];
        let code = match answer {
            Ok(None) => return minute.latency.record(due.elapsed()),
            Ok(Some(code)) => code,
            Err(error) => format!("no answer: {}", error.kind()),
        };
        minute.failed += 1;
        *tally.errors.entry(code).or_default() += 1;
    }

    /// Counts a request; the minute it belongs to.
    fn attempted(&self, due: Instant) -> usize {
        let minute = usize::try_from((due - self.start).as_secs() / 60).unwrap_or_default();
        let minutes = &mut self.tally.borrow_mut().minutes;
        while minutes.len() <= minute {
            minutes.push(Minute { attempted: 0, failed: 0, latency: Histogram::new() });
        }
        minutes[minute].attempted += 1;
        minute
    }
}

impl Tally {
    pub(crate) fn attempted(&self) -> u64 {
        self.minutes.iter().map(|minute| minute.attempted).sum()
    }

    pub(crate) fn succeeded(&self) -> u64 {
        self.minutes.iter().map(|minute| minute.latency.total()).sum()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_wanted_member_or_with_another_value_is_told() {
        let members = json!({"verdict": "invalid"});
        assert_eq!(difference(&members, br#"{"verdict":"invalid","findings":[]}"#), None);
        let wrong = difference(&members, br#"{"verdict":"valid"}"#);
        assert_eq!(wrong.unwrap(), "verdict is \"valid\" and must be \"invalid\"");
        assert!(difference(&members, b"no JSON").is_some());
    }
}
