//! What the database does to signing: SQLite and PostgreSQL, with and without idempotency keys, one by one and in batches;
//! all of them in turn, against sites of their own.

use std::path::Path;

use tests::{Folder, Postgres};

use crate::Fallible;
use crate::bench::{Bench, Run};
use crate::profile::{BATCH, Profile, Target};
use crate::report::{Row, Verdict, median};

const CONNECTIONS: usize = 64;
/// Batches under way at once.
const BATCHES: usize = 4;

/// What one round measured.
struct Round {
    plain: [f64; 2],
    once: [f64; 2],
    /// Signatures per processor second, one by one and in batches.
    cost: (f64, f64),
}

impl Bench {
    pub(crate) fn databases(&mut self) -> Fallible<()> {
        if !Path::new("/usr/lib/postgresql").is_dir() {
            self.row(Row::absent("database", "/s, PostgreSQL", "-", "PostgreSQL is not installed"));
            return Ok(());
        }
        let server = Postgres::start();
        let sites = [Folder::init().serve(), Folder::init_on(&server).serve()];
        let mut targets = Vec::new();
        for site in &sites {
            let target = Target::of_sandbox(&site.data().join("sandbox.json"))?;
            targets.push(Target { pid: Some(site.pid()), ..target });
        }
        let [sqlite, postgres] = &targets[..] else { return Err("two sites were started".into()) };
        let mut rounds = Vec::new();
        for _ in 0..self.rounds {
            let mut rate = |name: &str, target, profile| {
                self.run(&Run::closed(name, target, profile, CONNECTIONS)).map(|run| run.per_second())
            };
            let plain_sqlite = rate("sign-p256 SQLite", sqlite, Profile::SignP256)?;
            let once_sqlite = rate("with keys SQLite", sqlite, Profile::SignP256Once)?;
            let plain_postgres = rate("sign-p256 PostgreSQL", postgres, Profile::SignP256)?;
            let once_postgres = rate("with keys PostgreSQL", postgres, Profile::SignP256Once)?;
            let single = self.run(&Run::closed("one by one", sqlite, Profile::SignP256, CONNECTIONS))?;
            let batched = self.run(&Run::closed("in batches", sqlite, Profile::SignP256Batch, BATCHES))?;
            let cost = |run: Option<f64>, each: usize| run.unwrap_or_default() * each as f64;
            rounds.push(Round {
                plain: [plain_sqlite, plain_postgres],
                once: [once_sqlite, once_postgres],
                cost: (cost(single.per_cpu_second(), 1), cost(batched.per_cpu_second(), BATCH)),
            });
        }
        drop(sites);
        let no_goal = || Verdict::Unknown("no goal is set; both are reported".to_owned());
        let row = |name, unit, of: fn(&Round) -> (f64, f64), goal, verdict| Row {
            name,
            unit,
            value: median(rounds.iter().map(|round| of(round).0)),
            reference: median(rounds.iter().map(|round| of(round).1)),
            ratio: median(rounds.iter().map(|round| of(round).0 / of(round).1)),
            goal,
            verdict,
        };
        let unit = "/s, PostgreSQL, SQLite";
        let rows = [
            row("database", unit, |round| (round.plain[1], round.plain[0]), "-", no_goal()),
            row(
                "once_sqlite",
                "/s, with keys, without",
                |round| (round.once[0], round.plain[0]),
                "-",
                no_goal(),
            ),
            row(
                "once_postgres",
                "/s, with keys, without",
                |round| (round.once[1], round.plain[1]),
                "-",
                no_goal(),
            ),
            row("sign_batch", "/CPU-s, batch, single", |round| (round.cost.1, round.cost.0), "-", no_goal()),
        ];
        rows.into_iter().for_each(|row| self.row(row));
        Ok(())
    }
}
