//! Checks of what the gateway rests on beside devices and machine: database, interfaces, audit log.

use std::time::Instant;

use formats::inspection_report::Grade;
use store::Signed;
use time::OffsetDateTime;

use super::{Finding, Standing};
use crate::audit::{Anchored, Anchors};
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
    findings.push(size(mebibytes, before));
    let known = store.known_migrations();
    let grade = if figures.migrations == known { Grade::Ok } else { Grade::Abnormal };
    let measured = format!("{} / {known}", figures.migrations);
    findings.push(Finding::new("database.migrations", "", grade, measured, String::new()));
    findings
}

/// The size in MiB, and how much that is more than the last inspection found.
fn size(mebibytes: f64, before: &Standing) -> Finding {
    const CODE: &str = "database.size";
    let grown = before.figure(CODE, "").map(|(size, at)| {
        let at = at.replace_nanosecond(0).unwrap_or(at);
        format!("{:+.1} MiB since {at}", mebibytes - size)
    });
    let found = Finding::figure(CODE, "", mebibytes, grown.unwrap_or_default());
    Finding { measured: format!("{mebibytes:.1} MiB"), ..found }
}

/// Inspects what callers get and what is asked of others.
pub(super) fn interfaces(gateway: &Gateway) -> Vec<Finding> {
    let (answered, failed) = gateway.metrics.inspections.answers_since_last(Instant::now());
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
    let signed = gateway.auditing.signed.borrow().clone();
    let entries = *gateway.audit.head().borrow();
    let checkpoint = if gateway.config.audit.discard {
        let what = "audit.discard is set: nothing is recorded";
        Finding::new(CODE, "", Grade::Abnormal, what, String::new())
    } else {
        checkpoint(&signed, entries, now)
    };
    std::iter::once(checkpoint).chain(anchors(&gateway.auditing.anchors.borrow())).collect()
}

/// How far the log is signed, and whether that would be known after a start.
fn checkpoint(signed: &Signed, entries: u64, now: OffsetDateTime) -> Finding {
    const CODE: &str = "audit.checkpoint";
    let evidence = format!("{} of {entries} entries", signed.size.min(entries));
    let altered = signed.unsigned.as_ref().filter(|unsigned| unsigned.altered);
    match (altered, signed.unremembered_since, &signed.unsigned) {
        (Some(unsigned), ..) => {
            Finding::new(CODE, "", Grade::Abnormal, "the log was altered", unsigned.reason.clone())
        }
        (None, Some(since), _) => {
            let since = since.replace_nanosecond(0).unwrap_or(since);
            let what = format!("not remembered outside the database since {since}");
            Finding::new(CODE, "", Grade::Abnormal, what, evidence)
        }
        (None, None, Some(unsigned)) => {
            let waiting = (now - unsigned.since).as_seconds_f64().max(0.0);
            Finding::figure(CODE, "", waiting, format!("{evidence}; {}", unsigned.reason))
        }
        (None, None, None) if signed.at.is_none() => {
            Finding::unknown(CODE, "", "no checkpoint has been made yet".to_owned())
        }
        (None, None, None) if !signed.vouched => {
            let why = "the log has not been held against what was signed before yet";
            Finding::unknown(CODE, "", why.to_owned())
        }
        (None, None, None) => Finding::figure(CODE, "", 0.0, evidence),
    }
}

/// Whether checkpoints get to where nobody here can take them back: by what became of the last one, not by the configuration.
fn anchors(known: &Anchors) -> Vec<Finding> {
    const CODE: &str = "audit.anchor";
    let judge = |(way, known): (&str, &Anchored)| {
        let arrived = known.arrived.map(|at| at.replace_nanosecond(0).unwrap_or(at));
        let last =
            arrived.map_or_else(|| "none got there since the start".to_owned(), |at| format!("last at {at}"));
        match (&known.failed, arrived) {
            (Some((_, why)), _) => {
                let evidence = format!("{last}; {why}");
                Finding::new(CODE, way, Grade::Abnormal, "the last one did not get there", evidence)
            }
            (None, Some(_)) => Finding::new(CODE, way, Grade::Ok, "the last one got there", last),
            (None, None) => Finding::unknown(CODE, way, "none was due since the start".to_owned()),
        }
    };
    let ways =
        [known.file.as_ref().map(|way| ("file", way)), known.address.as_ref().map(|way| ("address", way))];
    let found: Vec<_> = ways.into_iter().flatten().map(judge).collect();
    if found.is_empty() {
        return vec![Finding::new(CODE, "", Grade::Attention, "none", String::new())];
    }
    found
}

#[cfg(test)]
mod tests {
    use store::Unsigned;
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

    #[test]
    fn the_size_of_the_database_is_told_with_its_growth() {
        let first = size(100.0, &Standing::default());
        assert_eq!((first.measured.as_str(), first.evidence.as_str()), ("100.0 MiB", ""));
        let standing = Standing::default().after(&[first], NOW);
        let evidence = |mebibytes| size(mebibytes, &standing).evidence;
        assert_eq!(evidence(112.5), format!("+12.5 MiB since {NOW}"));
        assert_eq!(evidence(99.0), format!("-1.0 MiB since {NOW}"));
    }

    #[test]
    fn an_anchor_is_judged_by_what_became_of_the_last_checkpoint() {
        let grades = |known: &Anchors| anchors(known).iter().map(|finding| finding.grade).collect::<Vec<_>>();
        assert_eq!(grades(&Anchors::default()), [Grade::Attention]);
        let (never, arrived) = (Anchored::default(), Anchored { arrived: Some(NOW), failed: None });
        let failed = Some((NOW, "the disk is full".to_owned()));
        let lost = Anchored { arrived: Some(NOW - Duration::HOUR), failed: failed.clone() };
        for (way, grade) in [
            (never, Grade::Unmeasured),
            (arrived.clone(), Grade::Ok),
            (lost, Grade::Abnormal),
            (Anchored { arrived: None, failed }, Grade::Abnormal),
        ] {
            assert_eq!(grades(&Anchors { file: Some(way.clone()), address: None }), [grade]);
            let both = Anchors { file: Some(arrived.clone()), address: Some(way) };
            assert_eq!(grades(&both), [Grade::Ok, grade]);
        }
    }

    #[test]
    fn a_log_that_nobody_vouches_for_is_not_said_to_be_well() {
        let well = Signed { size: 7, at: Some(1), vouched: true, unsigned: None, unremembered_since: None };
        let waiting = |seconds, altered| Unsigned {
            since: NOW - Duration::seconds(seconds),
            reason: "no device".to_owned(),
            altered,
        };
        let since = Some(NOW - Duration::HOUR);
        for (signed, grade) in [
            (well.clone(), Grade::Ok),
            (Signed { vouched: false, ..well.clone() }, Grade::Unmeasured),
            (Signed { at: None, ..well.clone() }, Grade::Unmeasured),
            (Signed { unremembered_since: since, ..well.clone() }, Grade::Abnormal),
            (Signed { unsigned: Some(waiting(59, false)), ..well.clone() }, Grade::Ok),
            (Signed { unsigned: Some(waiting(60, false)), ..well.clone() }, Grade::Attention),
            (Signed { unsigned: Some(waiting(1, true)), ..well.clone() }, Grade::Abnormal),
            (
                Signed { unsigned: Some(waiting(60, false)), unremembered_since: since, ..well.clone() },
                Grade::Abnormal,
            ),
        ] {
            assert_eq!(checkpoint(&signed, 9, NOW).grade, grade, "{signed:?}");
        }
    }
}
