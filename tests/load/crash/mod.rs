//! `load crash`: the gateway, and on PostgreSQL the database server too, is killed again and again under a mixture of
//! requests, each of which is sent until it is answered. Whatever was acknowledged must be in the audit log, nothing that
//! came under an idempotency key may stand there twice, who asks once more gets the first answer, and in the end the log
//! verifies.

mod judge;
mod traffic;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tests::{Folder, Postgres, Site, audit_on, gateway};

use crate::{Fallible, say};
use traffic::Traffic;

/// How often, and under how much load.
#[derive(Args)]
pub(crate) struct Options {
    /// How often the gateway is killed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    kills: u32,
    /// Keep the state in PostgreSQL instead of SQLite.
    #[arg(long)]
    postgres: bool,
    /// How often the database server is killed.
    #[arg(long, default_value_t = 5, requires = "postgres", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    database_kills: u32,
    /// Callers, each with one request under way.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    callers: u32,
    /// When what is killed is drawn from it; a new one each time unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Where everything goes as JSON.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// How long things are left alone, at least and at most, milliseconds.
const LIFE: std::ops::Range<u64> = 150..900;
/// How long the gateway has to find out that the database is away, or back.
const NOTICE: Duration = Duration::from_secs(60);
/// Examples of what is wrong that are told.
const TOLD: usize = 10;

/// A PostgreSQL server and the site's database on it.
struct Server {
    server: Postgres,
    database: String,
}

/// Kills the gateway, and the database server, under load and prints what came of it.
///
/// # Errors
/// Something that must hold did not.
pub(crate) fn crash(options: &Options) -> Fallible<()> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let mut random = fastrand::Rng::with_seed(seed);
    let database_kills = if options.postgres { options.database_kills } else { 0 };
    say(&format!(
        "{} kills of the gateway and {database_kills} of the database under {} callers, seed {seed}",
        options.kills, options.callers
    ));
    let mut postgres = options.postgres.then(|| {
        let server = Postgres::start();
        Server { database: server.database(), server }
    });
    let folder = match &postgres {
        Some(Server { server, database }) => Folder::init_in(server, database),
        None => Folder::init(),
    };
    let mut site = folder.serve();
    let traffic = Traffic::on(&site);
    let mut acts = [
        vec![Act::KillGateway; usize::try_from(options.kills)?],
        vec![Act::KillDatabase; usize::try_from(database_kills)?],
    ]
    .concat();
    random.shuffle(&mut acts);
    let (mut restarts, mut returns) = (Vec::new(), Vec::new());
    site = std::thread::scope(|scope| {
        for _ in 0..options.callers {
            scope.spawn(|| traffic.call());
        }
        for act in acts {
            pause(&mut random);
            match (act, &mut postgres) {
                (Act::KillDatabase, Some(Server { server, .. })) => {
                    server.kill();
                    traffic.expect(notices(&site, 503), "/readyz did not say that the database is away");
                    pause(&mut random);
                    server.begin();
                    let began = Instant::now();
                    traffic.expect(notices(&site, 200), "the gateway did not come back with the database");
                    returns.push(milliseconds(began));
                }
                _ => {
                    traffic.read_log(&site);
                    let began = Instant::now();
                    site = site.kill().serve();
                    restarts.push(milliseconds(began));
                    traffic.moved_to(&site);
                }
            }
        }
        traffic.end();
        site
    });
    traffic.ask_again(&site);
    traffic.read_log(&site);
    let entries = match &postgres {
        Some(Server { server, database }) => audit_on(server, database),
        None => site.audit(),
    };
    let log = verify(site)?;
    let (figures, acknowledged, mut wrong) = traffic.into_parts();
    let twice = judge::compare(&acknowledged, &entries, &mut wrong);
    if log["intact"] != true || log["unsigned"] != 0 {
        wrong.push(format!("the audit log does not verify: {log}"));
    }
    let mut report = json!({
        "seed": seed, "kills": options.kills, "database": if options.postgres { "postgresql" } else { "sqlite" },
        "database_kills": database_kills, "entries": entries.len(), "done_twice": twice, "wrong": wrong.len(),
        "examples": wrong.iter().take(TOLD).collect::<Vec<_>>(), "ready_again_ms": middle(restarts),
        "ready_after_database_ms": middle(returns), "checkpoints": log["checkpoints"], "signed": log["signed"],
    });
    if let (Value::Object(report), Value::Object(figures)) = (&mut report, figures) {
        report.extend(figures);
    }
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

#[derive(Clone, Copy)]
enum Act {
    KillGateway,
    KillDatabase,
}

fn pause(random: &mut fastrand::Rng) {
    std::thread::sleep(Duration::from_millis(random.u64(LIFE)));
}

/// Whether `/readyz` comes to answer with this status.
fn notices(site: &Site, status: u16) -> bool {
    let (anybody, began) = (site.stranger(None), Instant::now());
    while began.elapsed() < NOTICE {
        if anybody.try_send("GET", "/readyz", &[], None).is_ok_and(|answer| answer.status == status) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
