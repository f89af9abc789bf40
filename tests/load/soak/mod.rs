//! `load soak`: a site of its own under a steady mixture of requests while its devices break and are mended by a
//! script. Nothing that comes back may be wrong, nothing acknowledged may be missing from the audit log, every
//! device must come back, and afterwards the gateway must hold no more of the machine than before.

mod breaker;
mod footprint;
mod judge;
mod ledger;
mod report;
mod script;
mod traffic;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use serde_json::Value;
use sm3::{Digest as _, Sm3};
use tests::{Folder, Site};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use self::breaker::Breaker;
use self::footprint::Footprint;
use self::judge::Judge;
use self::ledger::{Ledger, Receipt};
use self::report::Report;
use self::script::{KINDS, script};
use self::traffic::{Answered, KEYS, Plan, Questions};
use crate::profile::{self, Target};
use crate::{Fallible, runtime, say};

/// How long, how hard, and what breaks.
#[derive(Args)]
pub(crate) struct Options {
    /// How long devices break.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(3..=604_800))]
    seconds: u32,
    /// Requests per second; far below what the site can do, for this is about faults.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Connections, each with one request under way.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// What breaks when is drawn from it; a new one each time unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Break devices in the ways whose name contains this only; may be given several times.
    #[arg(long)]
    only: Vec<String>,
    /// The site's `fleet.output_check`. With `first-use` lying devices are not found out, so the soak must fail.
    #[arg(long, value_enum, default_value_t = OutputCheck::Always)]
    output_check: OutputCheck,
    /// Where everything goes as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputCheck {
    Always,
    FirstUse,
}

/// Load before anything breaks: pools and caches reach their size.
const WARM_UP: Duration = Duration::from_secs(3);
/// How often acknowledged signatures are looked up in the log.
const SETTLE: Duration = Duration::from_secs(3);
/// How long threads and descriptors may take to go.
const GONE: Duration = Duration::from_secs(60);
/// Examples of what is wrong that are told.
const TOLD: usize = 10;

/// What the answers were worth.
struct Judged {
    signatures: u64,
    others: u64,
    wrong: Vec<String>,
    ledger: Ledger,
    /// Entries in the log at the end.
    entries: u64,
}

/// Runs a soak and prints what came of it.
///
/// # Errors
/// Something that must hold did not, or the site could not be set up.
pub(crate) fn soak(options: &Options) -> Fallible<()> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let kinds = chosen(&options.only)?;
    let duration = Duration::from_secs(options.seconds.into());
    say(&format!(
        "soak of {} s at {} requests a second, seed {seed}, {} kinds of breakdown",
        options.seconds,
        options.rate,
        kinds.len()
    ));
    let folder = Folder::init();
    if options.output_check == OutputCheck::FirstUse {
        folder.configure("output_check = \"always\"", "output_check = \"first-use\"");
    }
    let site = folder.serve();
    let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
    let target = Target { address: profile::address(site.base())?, ..target };
    let runtime = runtime()?;
    let questions = Rc::new(runtime.block_on(Questions::prepare(&target, site.sandbox()))?);
    let judges = judges(&site)?;
    let database = site.data().join("gateway.db");
    let plan = Plan {
        questions,
        address: target.address,
        connections: options.connections as usize,
        rate: options.rate.into(),
        duration: WARM_UP,
        seed,
        first: 1,
    };
    let (answers, answered) = unbounded_channel();
    let judge =
        std::thread::spawn(move || judge_all(answered, &judges, &database).map_err(|e| e.to_string()));
    let load = |plan: Plan| {
        let set = tokio::task::LocalSet::new();
        set.block_on(&runtime, traffic::run(plan, answers.clone()))
    };
    // Everything due at once, so that every connection has one under way.
    let burst = Plan { questions: Rc::new(plan.questions.reading()), rate: 1e6, ..plan.clone() };
    let burst = load(Plan { duration: Duration::from_millis(1), ..burst });
    let plan = Plan { first: plan.first + burst.attempted(), ..plan };
    let warm = load(plan.clone());
    let before = settled(&site)?;
    let lanes_before = lanes(&site);
    let first = plan.first + warm.attempted();
    let script = script(seed, &kinds, duration);
    let over = AtomicBool::new(false);
    let (tally, breakage) = std::thread::scope(|scope| {
        let breaker = Breaker::new(&site);
        let breaking = scope.spawn(|| breaker.play(&script, &over));
        let tally = load(Plan { duration, first, ..plan });
        over.store(true, Ordering::Relaxed);
        (tally, breaking.join())
    });
    let breakage = breakage.map_err(|_| "the thread that breaks devices panicked")?;
    let (after, took) = back_to(&before, &site)?;
    let lanes_after = lanes(&site);
    let ignored = ignored_fault_files(&site.log());
    drop(answers);
    let judged = judge.join().map_err(|_| "the thread that judges panicked")??;
    let (_folder, status) = site.stop();
    let report =
        Report { seed, warm, tally, breakage, judged, before, after, took, lanes_before, lanes_after };
    report.print();
    if let Some(out) = &options.out {
        write!(fs::File::create(out)?, "{:#}", report.json())?;
    }
    let mut broken = report.broken();
    if ignored > 0 {
        broken.push(format!("the simulator did not understand {ignored} fault files"));
    }
    if !status.success() {
        broken.push(format!("the gateway ended with {status}"));
    }
    if broken.is_empty() {
        say("\npassed");
        return Ok(());
    }
    Err(format!("seed {seed}: {}", broken.join("; ")).into())
}

/// The kinds that are asked for, by place.
fn chosen(only: &[String]) -> Fallible<Vec<usize>> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
    let kinds: Vec<usize> = (0..KINDS.len()).filter(|kind| wanted(KINDS[*kind].name)).collect();
    if kinds.is_empty() {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        return Err(format!("no such breakdown; there are: {}", names.join(", ")).into());
    }
    Ok(kinds)
}

fn judges(site: &Site) -> Fallible<Vec<Judge>> {
    let judge = |(key, algorithm, _): (&str, &str, usize)| {
        let answer = site.app().get(&format!("/v1/keys/{key}")).json();
        Judge::new(answer["public_key"].as_str().ok_or("a key has a public key")?, algorithm)
    };
    KEYS.into_iter().map(judge).collect()
}

/// Judges answers until there are no more, and looks up in the log what was acknowledged.
fn judge_all(
    mut answered: UnboundedReceiver<Answered>,
    judges: &[Judge],
    database: &Path,
) -> Fallible<Judged> {
    let mut judged =
        Judged { signatures: 0, others: 0, wrong: Vec::new(), ledger: Ledger::default(), entries: 0 };
    runtime()?.block_on(async {
        let mut settle = tokio::time::interval(SETTLE);
        loop {
            tokio::select! {
                biased;
                _ = settle.tick() => judged.ledger.settle(database).await?,
                answer = answered.recv() => match answer {
                    Some(answer) => judged.take(answer, judges),
                    None => break,
                },
            }
        }
        judged.entries = judged.ledger.close(database).await?;
        Ok(judged)
    })
}

impl Judged {
    fn take(&mut self, answer: Answered, judges: &[Judge]) {
        match answer {
            Answered::Compared(None) => self.others += 1,
            Answered::Compared(Some(what)) => self.wrong.push(what),
            Answered::Signature { key, number, body } => match receipt(key, number, &body, &judges[key]) {
                Ok((index, receipt)) => {
                    self.signatures += 1;
                    self.ledger.acknowledge(index, receipt);
                }
                Err(what) => self.wrong.push(format!("{}: {what}", KEYS[key].0)),
            },
        }
    }
}

/// The receipt that an answer with a good signature is.
fn receipt(key: usize, number: u64, body: &[u8], judge: &Judge) -> Fallible<(u64, Receipt)> {
    let answer: Value = serde_json::from_slice(body)?;
    let text = |name: &str| {
        answer[name].as_str().map(str::to_owned).ok_or_else(|| format!("the answer has no {name}"))
    };
    let signature = STANDARD.decode(text("signature")?)?;
    let digest = profile::digest(number)?;
    let index = answer["audit_index"].as_u64().ok_or("the answer has no audit_index")?;
    let receipt = Receipt {
        key: text("key")?,
        device: text("device")?,
        request_id: text("request_id")?,
        digest,
        result: Sm3::digest(&signature).into(),
    };
    if receipt.key != KEYS[key].0 {
        return Err(format!("signed with {}", receipt.key).into());
    }
    if !judge.accepts(&digest, &signature) {
        return Err(format!("request {}: the signature does not verify", receipt.request_id).into());
    }
    Ok((index, receipt))
}

/// The footprint once it has been the same for a second.
fn settled(site: &Site) -> Fallible<Footprint> {
    let start = Instant::now();
    let mut last = Footprint::of(site.pid())?;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = Footprint::of(site.pid())?;
        let same = now.is_back_to(&last) && last.is_back_to(&now);
        if same || start.elapsed() > GONE {
            return Ok(now);
        }
        last = now;
    }
}

/// Waits until the footprint is what it was; how long that took, or nothing if it did not.
fn back_to(before: &Footprint, site: &Site) -> Fallible<(Footprint, Option<Duration>)> {
    let start = Instant::now();
    loop {
        let now = Footprint::of(site.pid())?;
        if now.is_back_to(before) {
            return Ok((now, Some(start.elapsed())));
        }
        if start.elapsed() > GONE {
            return Ok((now, None));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Sessions in use, all devices together.
fn lanes(site: &Site) -> u64 {
    let list = site.app_number(2).get("/v1/devices").json();
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item["lanes"].as_u64()).sum()
}

/// A fault that the simulator ignores breaks nothing: a soak full of them would show nothing.
fn ignored_fault_files(log: &str) -> usize {
    log.lines().filter(|line| line.contains("hsm-sim: ") && line.contains("stays so")).count()
}
