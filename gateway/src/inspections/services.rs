//! Checks of what the gateway rests on beside devices and machine: database, interfaces, audit log.

use std::time::Instant;

use formats::inspection_report::Grade;
use time::OffsetDateTime;

use super::{Finding, Standing};
use crate::state::Gateway;

/// Answers below which a share of errors says nothing.
const FEWEST: u64 = 20;

/// Inspects the database.
pub(super) async fn database(gateway: &Gateway, before: &Standing) -> Vec<Finding> {
    let store = &gateway.store;
    let began = Instant::now();
    if let Err(error) = store.ping().await {
        let down = Finding::new("database.answer", "", Grade::Abnormal, "no answer", error.to_string());
        let unknown = |code| Finding::unknown(code, "", "the database does not answer".to_owned());
        let rest = ["database.connections", "database.size", "database.migrations"].map(unknown);
        return std::iter::once(down).chain(rest).collect();
    }
    let took = began.elapsed().as_secs_f64() * 1000.0;
    let dialect = format!("{:?}", store.dialect()).to_lowercase();
    let mut findings = vec![Finding::figure("database.answer", "", took, dialect)];
    let figures = match store.database_figures().await {
        Ok(figures) => figures,
        Err(error) => {
            let unknown = |code| Finding::unknown(code, "", error.to_string());
            findings.extend(["database.connections", "database.size", "database.migrations"].map(unknown));
            return findings;
        }
    };
    let pools = store.pools().map(|pool| format!("{} {} / {}", pool.pool, pool.in_use, pool.size)).join(", ");
    let pools = format!("this gateway's: {pools}");
    findings.push(match figures.connections {
        Some((used, most)) => {
            let share = 100.0 * used as f64 / most.max(1) as f64;
            Finding::figure("database.connections", "", share, format!("{used} of {most}; {pools}"))
        }
        // No server gives them out: there are as many as this gateway opens.
        None => Finding::new("database.connections", "", Grade::Ok, "no server", pools),
    });
    let mebibytes = figures.octets as f64 / f64::from(1 << 20);
    let grown = before.figure("database.size", "").map(|(size, at)| {
        let at = at.replace_nanosecond(0).unwrap_or(at);
        format!("{:+.1} MiB since {at}", mebibytes - size)
    });
    let mut size = Finding::figure("database.size", "", mebibytes, grown.unwrap_or_default());
    size.measured = format!("{mebibytes:.1} MiB");
    findings.push(size);
    let known = store.known_migrations();
    let grade = if figures.migrations == known { Grade::Ok } else { Grade::Abnormal };
    let measured = format!("{} / {known}", figures.migrations);
    findings.push(Finding::new("database.migrations", "", grade, measured, String::new()));
    findings
}

/// Inspects what callers get and what is asked of others.
pub(super) fn interfaces(gateway: &Gateway) -> Vec<Finding> {
    let (answered, failed) = gateway.metrics.inspections.answers_since_last();
    let share = 100.0 * failed as f64 / answered.max(1) as f64;
    let evidence = format!("{failed} of {answered}");
    let errors = match answered {
        0..FEWEST => Finding::unknown("interface.errors", "", format!("{evidence}: too few answers")),
        _ => Finding::figure("interface.errors", "", share, evidence),
    };
    let figures = gateway.register.figures();
    let answered = figures.answered.load(std::sync::atomic::Ordering::Relaxed);
    let failed: Vec<_> = figures.failed().filter(|(_, count)| *count > 0).collect();
    let failed_in_all: u64 = failed.iter().map(|(_, count)| count).sum();
    let evidence =
        failed.iter().map(|(code, count)| format!("{code} {count}")).collect::<Vec<_>>().join(", ");
    let measured = format!("{answered} answered, {failed_in_all} not");
    let register = if figures.is_paused() {
        Finding::new("interface.register", "", Grade::Abnormal, format!("paused; {measured}"), evidence)
    } else if answered == 0 && failed_in_all == 0 {
        Finding::unknown("interface.register", "", "nothing was asked since the start".to_owned())
    } else if answered == 0 {
        Finding::new("interface.register", "", Grade::Attention, measured, evidence)
    } else {
        Finding::new("interface.register", "", Grade::Ok, measured, evidence)
    };
    vec![errors, register]
}

/// Inspects the audit log of this gateway.
pub(super) fn audit(gateway: &Gateway, now: OffsetDateTime) -> Vec<Finding> {
    const CODE: &str = "audit.checkpoint";
    let rules = &gateway.config.audit;
    let signed = gateway.auditing.signed.borrow().clone();
    let entries = *gateway.audit.head().borrow();
    let evidence = format!("{} of {entries} entries", signed.size.min(entries));
    let checkpoint = match &signed.unsigned {
        _ if rules.discard => {
            let what = "audit.discard is set: nothing is recorded";
            Finding::new(CODE, "", Grade::Abnormal, what, evidence)
        }
        Some(unsigned) if unsigned.altered => {
            Finding::new(CODE, "", Grade::Abnormal, "the log was altered", unsigned.reason.clone())
        }
        Some(unsigned) => {
            let waiting = (now - unsigned.since).as_seconds_f64().max(0.0);
            Finding::figure(CODE, "", waiting, format!("{evidence}; {}", unsigned.reason))
        }
        None if signed.at.is_none() => {
            Finding::unknown(CODE, "", "no checkpoint has been made yet".to_owned())
        }
        None => Finding::figure(CODE, "", 0.0, evidence),
    };
    let ways = [("file", rules.anchor_file.is_some()), ("address", rules.anchor_url.is_some())];
    let ways: Vec<_> = ways.into_iter().filter(|(_, is_there)| *is_there).map(|(way, _)| way).collect();
    let anchor = match &ways[..] {
        [] => Finding::new("audit.anchor", "", Grade::Attention, "none", String::new()),
        ways => Finding::new("audit.anchor", "", Grade::Ok, ways.join(", "), String::new()),
    };
    vec![checkpoint, anchor]
}
