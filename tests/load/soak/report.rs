//! What came of a soak, for people and as JSON, and which of the things that must hold did not.

use std::time::Duration;

use serde_json::{Value, json};

use super::breaker::{BACK, Breakage};
use super::footprint::Footprint;
use super::traffic::Tally;
use super::{Judged, TOLD};
use crate::report::median;
use crate::say;

pub(crate) struct Report {
    pub(crate) seed: u64,
    /// The load before anything broke.
    pub(crate) warm: Tally,
    pub(crate) tally: Tally,
    pub(crate) breakage: Breakage,
    pub(crate) judged: Judged,
    pub(crate) before: Footprint,
    pub(crate) after: Footprint,
    /// How long threads and descriptors took to go; nothing if they did not.
    pub(crate) took: Option<Duration>,
    /// Sessions in use, all devices together.
    pub(crate) lanes_before: u64,
    pub(crate) lanes_after: u64,
}

impl Report {
    pub(crate) fn print(&self) {
        self.print_load();
        self.print_breakdowns();
        let judged = &self.judged;
        say(&format!(
            "\n{} signatures verified, {} other answers as they must be, {} wrong",
            judged.signatures,
            judged.others,
            judged.wrong.len()
        ));
        told(&judged.wrong);
        say(&format!(
            "{} of {} acknowledged signatures in the log of {} entries, {} lost or different",
            judged.ledger.found,
            judged.signatures,
            judged.entries,
            judged.ledger.lost.len()
        ));
        told(&judged.ledger.lost);
        say(&format!("\n{}", Footprint::heading()));
        say(&self.before.line("before"));
        say(&self.after.line("after"));
        match self.took {
            Some(took) => say(&format!("back after {:.1} s", took.as_secs_f64())),
            None => {
                say("NOT BACK; the gateway's descriptors that are more:");
                told(&self.after.more_than(&self.before));
            }
        }
        say(&format!("sessions in use: {} before, {} after", self.lanes_before, self.lanes_after));
    }

    fn print_load(&self) {
        say(&format!(
            "\n{:<7} {:>9} {:>9} {:>7} {:>9} {:>9} {:>9}",
            "minute", "attempted", "succeeded", "failed", "p50 ms", "p99 ms", "max ms"
        ));
        let minutes =
            self.tally.minutes.iter().enumerate().map(|(number, minute)| (number.to_string(), minute));
        let warm = self.warm.minutes.iter().map(|minute| ("warm-up".to_owned(), minute));
        for (name, minute) in warm.chain(minutes) {
            say(&format!(
                "{name:<7} {:>9} {:>9} {:>7} {:>9.2} {:>9.2} {:>9.1}",
                minute.attempted,
                minute.latency.total(),
                minute.failed,
                minute.latency.quantile(0.5),
                minute.latency.quantile(0.99),
                minute.latency.max(),
            ));
        }
        let (attempted, succeeded, failed) =
            (self.tally.attempted(), self.tally.succeeded(), self.tally.failed());
        say(&format!("{attempted} attempted, {succeeded} succeeded, {failed} failed"));
        for (code, count) in &self.tally.errors {
            say(&format!("  {code}: {count}"));
        }
    }

    fn print_breakdowns(&self) {
        say(&format!(
            "\n{:<26} {:>5} {:>8} {:>16} {:>8}",
            "breakdown", "times", "noticed", "back, median s", "max s"
        ));
        for (name, outcome) in &self.breakage.by_kind {
            let back: Vec<f64> = outcome.back.iter().map(Duration::as_secs_f64).collect();
            say(&format!(
                "{name:<26} {:>5} {:>8} {:>16.2} {:>8.2}",
                outcome.times,
                outcome.noticed,
                median(back.iter().copied()).unwrap_or_default(),
                back.iter().copied().fold(0.0, f64::max),
            ));
        }
        let left_out = self.breakage.left_out;
        say(&format!("{left_out} left out because enough was broken; {} stuck", self.breakage.stuck.len()));
        told(&self.breakage.stuck);
    }

    /// What must hold and did not.
    pub(crate) fn broken(&self) -> Vec<String> {
        let judged = &self.judged;
        let acknowledged = judged.signatures == judged.ledger.found;
        let times: u64 = self.breakage.by_kind.values().map(|outcome| outcome.times).sum();
        let musts = [
            (judged.wrong.is_empty(), format!("{} wrong results", judged.wrong.len())),
            (
                judged.ledger.lost.is_empty() && acknowledged,
                format!("{} acknowledged signatures are not in the audit log", judged.ledger.lost.len()),
            ),
            (
                self.breakage.stuck.is_empty(),
                format!("{} devices not back within {BACK:?}", self.breakage.stuck.len()),
            ),
            (self.took.is_some(), "processes, threads or descriptors did not go".to_owned()),
            (self.tally.succeeded() > 0 && judged.signatures > 0, "nothing was asked".to_owned()),
            (times > 0, "nothing was broken".to_owned()),
        ];
        musts.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| what).collect()
    }

    pub(crate) fn json(&self) -> Value {
        let minutes = self.tally.minutes.iter().map(|minute| {
            json!({
                "attempted": minute.attempted, "succeeded": minute.latency.total(), "failed": minute.failed,
                "p50_ms": minute.latency.quantile(0.5), "p99_ms": minute.latency.quantile(0.99),
                "max_ms": minute.latency.max(),
            })
        });
        let breakdowns = self.breakage.by_kind.iter().map(|(name, outcome)| {
            let back: Vec<f64> = outcome.back.iter().map(Duration::as_secs_f64).collect();
            json!({"name": name, "times": outcome.times, "noticed": outcome.noticed, "back_seconds": back})
        });
        let judged = &self.judged;
        json!({
            "seed": self.seed,
            "attempted": self.tally.attempted(),
            "succeeded": self.tally.succeeded(),
            "failed": self.tally.failed(),
            "errors": self.tally.errors,
            "minutes": minutes.collect::<Vec<_>>(),
            "breakdowns": breakdowns.collect::<Vec<_>>(),
            "left_out": self.breakage.left_out,
            "stuck": self.breakage.stuck,
            "signatures_verified": judged.signatures,
            "wrong": judged.wrong.len(),
            "audit": {"found": judged.ledger.found, "lost": judged.ledger.lost.len(), "entries": judged.entries},
            "before": self.before.json(),
            "after": self.after.json(),
            "back_after_seconds": self.took.map(|took| took.as_secs_f64()),
            "sessions": {"before": self.lanes_before, "after": self.lanes_after},
            "broken": self.broken(),
        })
    }
}

fn told(lines: &[String]) {
    for line in lines.iter().take(TOLD) {
        say(&format!("  {line}"));
    }
}
