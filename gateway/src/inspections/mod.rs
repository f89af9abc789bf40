//! Inspections (巡检): what is looked at lies in [`catalogue`], when in [`schedule`], and what they cost is bounded before they
//! begin. One is made at a time over all gateways on the database; each is on record with what it found (docs/adr/0060).

mod catalogue;
mod devices;
mod host;
mod randomness;
mod report;
mod rights;
pub(crate) mod routes;
mod schedule;
mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config::OwnName;
use formats::inspection_report::Grade;
use maintenance::System;
use serde::{Deserialize, Serialize};
use sm3::{Digest, Sm3};
use store::{AuditEntry, Begun, Inspection, InspectionEnd, NewInspection, Occasion, StoreError};
use time::OffsetDateTime;
use tokio::sync::{oneshot, watch};

use crate::error::with_causes;
use crate::incidents::{self, Alarm};
use crate::problem::Problem;
use crate::stamps::make::number;
use crate::state::Gateway;
use crate::timestamps::WatchedClock;
use catalogue::{CHECKS, Group};
use routes::GradeCounts;

/// Least time between the beginnings of two inspections, whoever asks for them.
const APART: time::Duration = time::Duration::MINUTE;
/// How often it is looked whether one is due.
const EVERY: Duration = Duration::from_secs(10);
/// How often old ones are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
/// How long the checks of a group may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same of the devices, which wait for one another.
const DEVICE_PATIENCE: Duration = Duration::from_secs(300);
/// Alarms of one inspection that are on record each for itself; more are told of by their number.
const MOST_ALARMS: usize = 50;

/// What one check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// The check's code.
    code: String,
    /// Which one of several things; empty if there is one.
    subject: String,
    grade: Grade,
    /// For people.
    measured: String,
    /// The figure that was judged, where it is one.
    figure: Option<f64>,
    /// What else it rests on; why nothing could be measured.
    evidence: String,
}

impl Finding {
    /// Judged by what it is like.
    fn new(
        code: &'static str,
        subject: &str,
        grade: Grade,
        measured: impl Into<String>,
        evidence: impl Into<String>,
    ) -> Self {
        let (measured, evidence) = (measured.into(), evidence.into());
        Self { code: code.to_owned(), subject: subject.to_owned(), grade, measured, figure: None, evidence }
    }

    /// Judged by its limit.
    fn figure(code: &'static str, subject: &str, figure: f64, evidence: impl Into<String>) -> Self {
        let limit = catalogue::kind(code).map(|kind| kind.limit);
        let (grade, measured) = limit
            .map_or((Grade::Unmeasured, String::new()), |limit| (limit.judge(figure), limit.said(figure)));
        Self { figure: Some(figure), ..Self::new(code, subject, grade, measured, evidence) }
    }

    /// Nothing is known, and nothing is made up.
    fn unknown(code: &'static str, subject: &str, why: String) -> Self {
        Self::new(code, subject, Grade::Unmeasured, "—", why)
    }

    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn grade(&self) -> Grade {
        self.grade
    }

    fn key(&self) -> String {
        format!("{} {}", self.code, self.subject)
    }

    /// Whether somebody has to look into it on file: into what is abnormal, and into what the machine is short of from its first
    /// threshold on (M006).
    fn is_incident(&self) -> bool {
        let group = catalogue::kind(&self.code).map(|kind| kind.group);
        let is_short = matches!(group, Some(Group::Host | Group::Storage)) && self.grade == Grade::Attention;
        self.grade == Grade::Abnormal || is_short
    }

    /// What an incident says that is opened for it, by the inspection of this number.
    fn alarm(&self, inspection: &str) -> Alarm {
        let kind = catalogue::kind(&self.code);
        let what = kind.map_or(self.code.as_str(), |kind| kind.what.zh);
        let system = match kind.map(|kind| kind.group) {
            Some(Group::Devices) => System::Devices,
            _ => System::Platform,
        };
        Alarm {
            signature: format!("inspection {}", self.key()),
            title: format!("{what} {} {}", self.subject, self.measured).chars().take(100).collect(),
            description: told(inspection, self),
            system,
        }
    }
}

/// What an inspection cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Work {
    /// Orders to each device.
    device_orders: BTreeMap<String, u32>,
}

/// What an inspection found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Results {
    findings: Vec<Finding>,
    work: Work,
}

impl Results {
    /// The worst of all.
    fn grade(&self) -> Grade {
        self.findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Unmeasured)
    }

    fn counts(&self) -> GradeCounts {
        let count = |grade| self.findings.iter().filter(|finding| finding.grade == grade).count();
        GradeCounts {
            ok: count(Grade::Ok),
            unmeasured: count(Grade::Unmeasured),
            attention: count(Grade::Attention),
            abnormal: count(Grade::Abnormal),
        }
    }

    fn of(inspection: &Inspection) -> Option<Self> {
        serde_json::from_str(inspection.results.as_deref()?).ok()
    }
}

/// How each check stands, also those that the last inspection did not make.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Standing(BTreeMap<String, Stand>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stand {
    grade: Grade,
    figure: Option<f64>,
    #[serde(with = "time::serde::timestamp")]
    at: OffsetDateTime,
}

impl Standing {
    /// What was measured last, and when.
    fn figure(&self, code: &str, subject: &str) -> Option<(f64, OffsetDateTime)> {
        let stand = self.0.get(&format!("{code} {subject}"))?;
        Some((stand.figure?, stand.at))
    }

    /// What is worse than it was, and bad enough to be told of.
    fn turned<'f>(&self, findings: &'f [Finding]) -> Vec<&'f Finding> {
        let before = |finding: &Finding| self.0.get(&finding.key()).map_or(Grade::Ok, |stand| stand.grade);
        let is_worse =
            |finding: &&Finding| finding.grade >= Grade::Attention && finding.grade > before(finding);
        findings.iter().filter(is_worse).collect()
    }

    /// How things stand now. What a check was made of before and is not any more is gone.
    fn after(mut self, findings: &[Finding], at: OffsetDateTime) -> Self {
        let made: BTreeSet<&str> = findings.iter().map(|finding| finding.code.as_str()).collect();
        self.0.retain(|key, _| key.split(' ').next().is_some_and(|code| !made.contains(code)));
        for finding in findings {
            let stand = Stand { grade: finding.grade, figure: finding.figure, at };
            self.0.insert(finding.key(), stand);
        }
        self
    }
}

/// An inspection that somebody asks for.
pub(crate) struct Order {
    pub(crate) occasion: Occasion,
    /// Which time of a schedule.
    pub(crate) slot: Option<String>,
    pub(crate) actor: String,
    pub(crate) reason: String,
    pub(crate) request_id: String,
}

/// An inspection that has begun.
struct Making {
    id: String,
    holder: String,
    began: OffsetDateTime,
    order: Order,
}

/// Begins an inspection; it goes on by itself, whether or not anybody waits for the answer. Answers its number and where its
/// intention is on record.
///
/// # Errors
/// Another one is being made, or began within the last minute; neither database nor record can be written.
pub(crate) async fn begin(gateway: &Gateway, order: Order) -> Result<(String, u64), Problem> {
    let (begun, answer) = oneshot::channel();
    let gateway = gateway.clone();
    tokio::spawn(async move {
        match start(&gateway, order).await {
            Ok((making, index)) => {
                // Whoever asked may be gone.
                let _ = begun.send(Ok((making.id.clone(), index)));
                make(&gateway, making).await;
            }
            Err(problem) => drop(begun.send(Err(problem))),
        }
    });
    answer.await.unwrap_or_else(|_| Err(Problem::inspection_running("")))
}

async fn start(gateway: &Gateway, order: Order) -> Result<(Making, u64), Problem> {
    match reserve(gateway, order).await.map_err(|error| Problem::database(&error))? {
        Ok(making) => {
            let index =
                intend(gateway, &making).await.map_err(|error| Problem::record_unavailable(&error))?;
            Ok((making, index))
        }
        Err(Begun::TooSoon(wait)) => Err(Problem::inspection_too_soon(wait)),
        Err(Begun::Running(id)) => Err(Problem::inspection_running(&id)),
        // Only one of a schedule could have been made.
        Err(Begun::Made | Begun::Here(_)) => Err(Problem::inspection_running("")),
    }
}

async fn reserve(gateway: &Gateway, order: Order) -> Result<Result<Making, Begun>, StoreError> {
    let began = OffsetDateTime::now_utc();
    let (id, holder) = (number(began), format!("{:032x}", fastrand::u128(..)));
    let new = NewInspection {
        id: &id,
        occasion: order.occasion,
        slot: order.slot.as_deref(),
        holder: &holder,
        replica: &gateway.config.site.replica,
        actor: &order.actor,
        reason: &order.reason,
        at: began,
        apart: APART.whole_seconds(),
    };
    Ok(match gateway.store.begin_inspection(&new).await? {
        Begun::Here(id) => Ok(Making { id, holder, began, order }),
        other => Err(other),
    })
}

fn entry(making: &Making, action: &str, outcome: &str, subject: String) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        actor: making.order.actor.clone(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: outcome.to_owned(),
        request_id: making.order.request_id.clone(),
        result_digest: None,
        subject: Some(subject),
    }
}

const RUN: &str = "inspection.run";

/// Puts on record that an inspection begins; one that cannot be is given back.
async fn intend(gateway: &Gateway, making: &Making) -> Result<u64, StoreError> {
    let Making { id, holder, order, .. } = making;
    let subject = format!("{id} {} {}", order.occasion, order.reason);
    let entry = entry(making, RUN, "intended", subject);
    let intended = gateway.audit.append(entry).await;
    if intended.is_err() {
        let back = gateway.store.give_inspection_back(id, holder, OffsetDateTime::now_utc()).await;
        if let Err(error) = back {
            tracing::warn!(id, error = %with_causes(&error), "an inspection that did not begin counts as running for now");
        }
    }
    intended
}

/// Makes an inspection to its end. What keeps it from being kept is in the log, and it counts as lost when its time is over.
async fn make(gateway: &Gateway, making: Making) {
    let before = match gateway.store.inspection_standing(OffsetDateTime::now_utc()).await {
        Ok(standing) => standing.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(error = %with_causes(&error), "how things stood before is not known");
            Standing::default()
        }
    };
    let whole = making.order.occasion != Occasion::Daily;
    let results = inspect(gateway, whole, &before, making.began).await;
    if let Err(error) = keep(gateway, &making, before, results).await {
        tracing::error!(id = making.id, error = %with_causes(&error), "an inspection could not be kept");
    }
}

/// Looks at everything, group after group.
async fn inspect(gateway: &Gateway, whole: bool, before: &Standing, now: OffsetDateTime) -> Results {
    let mut work = Work::default();
    let mut findings = Vec::new();
    for group in Group::ALL {
        let look = async {
            match group {
                Group::Devices => devices::inspect(gateway, whole, &mut work).await,
                Group::Database => services::database(gateway, before).await,
                Group::Storage => host::storage(gateway).await,
                Group::Host => host::inspect().await,
                Group::Interfaces => services::interfaces(gateway),
                Group::Certificates => rights::certificates(gateway, now).await,
                Group::Audit => services::audit(gateway, now),
                Group::Security if whole => rights::security(gateway, now).await,
                Group::Security => Vec::new(),
            }
        };
        let patience = if group == Group::Devices { DEVICE_PATIENCE } else { PATIENCE };
        let mut found = tokio::time::timeout(patience, look).await.unwrap_or_default();
        for kind in CHECKS.iter().filter(|kind| kind.group == group && (whole || !kind.weekly)) {
            let (of_kind, others): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|finding| finding.code == kind.code);
            if of_kind.is_empty() {
                findings.push(Finding::unknown(kind.code, "", "it did not come to an end".to_owned()));
            }
            findings.extend(of_kind);
            found = others;
        }
    }
    Results { findings, work }
}

/// Puts what was found on record and keeps it, with the report; then tells of what got worse.
async fn keep(
    gateway: &Gateway,
    making: &Making,
    before: Standing,
    results: Results,
) -> Result<(), StoreError> {
    let at = OffsetDateTime::now_utc();
    let text = serde_json::to_string(&results).unwrap_or_default();
    let said = AuditEntry {
        result_digest: Some(hex::encode(Sm3::digest(text.as_bytes()))),
        ..entry(making, RUN, "ok", format!("{} {}", making.id, results.grade().as_str()))
    };
    let audit_index = gateway.audit.append(said).await?;
    let turned: Vec<_> = before.turned(&results.findings).into_iter().cloned().collect();
    let standing = before.after(&results.findings, making.began);
    let standing = serde_json::to_string(&standing).unwrap_or_default();
    let (report, stamp) = report::signed(gateway, making, &results, at).await;
    let end = InspectionEnd {
        id: &making.id,
        holder: &making.holder,
        at,
        results: &text,
        grade: results.grade().as_str(),
        counts: &serde_json::to_string(&results.counts()).unwrap_or_default(),
        standing: &standing,
        audit_index,
        report: report.as_deref(),
        stamp: stamp.as_deref().map_err(String::as_str),
    };
    if !gateway.store.finish_inspection(&end).await? {
        tracing::warn!(id = making.id, "an inspection took so long that it was made anew");
        return Ok(());
    }
    gateway.metrics.inspections.made(at, &results.findings);
    turned.iter().for_each(|finding| gateway.metrics.inspections.alarmed(&finding.code, finding.grade));
    for finding in turned.iter().take(MOST_ALARMS) {
        let Finding { code, subject, grade, measured, .. } = finding;
        let (grade, advice) = (grade.as_str(), catalogue::kind(code).map_or("", |kind| kind.advice.en));
        tracing::warn!(check = code, subject, grade, measured, advice, "a check got worse");
        gateway.audit.append(entry(making, "inspection.alarm", grade, told(&making.id, finding))).await?;
    }
    let more = turned.len().saturating_sub(MOST_ALARMS);
    if more > 0 {
        tracing::warn!(more, "more checks got worse than are on record each for itself");
    }
    // Whether or not it is new: what was closed and is not mended is opened again.
    for finding in results.findings.iter().filter(|finding| finding.is_incident()).take(MOST_ALARMS) {
        if let Err(problem) = incidents::raise(gateway, finding.alarm(&making.id)).await {
            let Finding { code, subject, .. } = finding;
            tracing::error!(code = problem.code(), check = code, subject, "no incident was opened");
        }
    }
    Ok(())
}

/// What an alarm says: what was found, and what to do and who has to.
fn told(id: &str, finding: &Finding) -> String {
    let Finding { code, subject, measured, .. } = finding;
    let advice = catalogue::kind(code).map_or("", |kind| kind.advice.zh);
    format!("{id} {code} [{subject}] {measured}; {advice}")
}

/// Makes what schedules ask for, and forgets what is old, until it is aborted.
pub(crate) async fn watch(gateways: watch::Receiver<Option<Gateway>>, clock: WatchedClock) {
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut abandoned, mut doubted, mut forgotten) = (false, false, None::<tokio::time::Instant>);
    loop {
        rounds.tick().await;
        let Some(gateway) = gateways.borrow().clone() else { continue };
        let now = OffsetDateTime::now_utc();
        // What an earlier run of this gateway was making is nobody's any more.
        if !abandoned {
            match gateway.store.abandon_inspections(&gateway.config.site.replica, now).await {
                Ok(_) => abandoned = true,
                Err(error) => tracing::warn!(error = %with_causes(&error), "inspections wait"),
            }
            continue;
        }
        // By a clock that is wrong the times of a schedule would be used up that are still to come.
        match clock.believed() {
            Ok(()) => {
                if let Err(error) = round(&gateway, now).await {
                    tracing::warn!(error = %with_causes(&error), "inspections wait");
                }
                doubted = false;
            }
            Err(why) => {
                if !std::mem::replace(&mut doubted, true) {
                    tracing::warn!(why, "inspections of a schedule wait for the clock");
                }
            }
        }
        if forgotten.is_none_or(|at| at.elapsed() >= FORGET_EVERY) {
            forgotten = Some(tokio::time::Instant::now());
            // What is forgotten cannot be had back.
            let kept = time::Duration::days(gateway.config.inspections.retention_days.into());
            let done = match clock.believed() {
                Ok(_) => gateway.store.forget_inspections(now - kept).await.map(drop),
                Err(_) => Ok(()),
            };
            if let Err(error) = done {
                tracing::warn!(error = %with_causes(&error), "old inspections stay for now");
            }
        }
    }
}

async fn round(gateway: &Gateway, now: OffsetDateTime) -> Result<(), StoreError> {
    let (rules, offset) = (&gateway.config.inspections, gateway.config.site.utc_offset);
    let (store, due) = (&gateway.store, schedule::due(rules, offset, now));
    let current: Vec<_> = due.iter().map(|due| (due.occasion, due.slot.as_str())).collect();
    let lost = store.end_lost_inspections(&current, now).await?;
    if lost > 0 {
        tracing::warn!(lost, "inspections were lost, and their time is past");
    }
    for due in due {
        // What was due before there was a schedule is not owed.
        if due.occasion != Occasion::KeyMoment && !store.has_inspections_of(due.occasion).await? {
            store.skip_inspection(&number(now), (due.occasion, &due.slot), now).await?;
            continue;
        }
        if !store.owes_inspection(due.occasion, &due.slot, now).await? || !gateway.fleet.has_settled() {
            continue;
        }
        let order = Order {
            occasion: due.occasion,
            slot: Some(due.slot.clone()),
            actor: OwnName::Gateway.as_str().to_owned(),
            reason: format!("{} {}", due.occasion, due.slot),
            request_id: format!("{:032x}", fastrand::u128(..)),
        };
        let Ok(making) = reserve(gateway, order).await? else { return Ok(()) };
        let late = now - due.at;
        tracing::info!(occasion = %due.occasion, slot = due.slot, %late, "a scheduled inspection begins");
        intend(gateway, &making).await?;
        make(gateway, making).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const AT: OffsetDateTime = datetime!(2026-11-23 06:30 UTC);

    fn found(code: &'static str, subject: &str, grade: Grade) -> Finding {
        Finding::new(code, subject, grade, "", "")
    }

    #[test]
    fn what_got_worse_is_told_once_and_again_only_when_it_gets_worse_still() {
        let (ok, bad) = (Grade::Ok, Grade::Abnormal);
        let told = |standing: &Standing, grade| standing.turned(&[found("host.disk", "", grade)]).len();
        let mut standing = Standing::default();
        for (grade, alarms) in [
            (Grade::Attention, 1),
            (Grade::Attention, 0),
            (bad, 1),
            (Grade::Attention, 0),
            (bad, 1),
            (ok, 0),
            (Grade::Unmeasured, 0),
            (bad, 1),
            (bad, 0),
        ] {
            assert_eq!(told(&standing, grade), alarms, "{grade:?}");
            standing = standing.after(&[found("host.disk", "", grade)], AT);
        }
    }

    #[test]
    fn what_the_machine_is_short_of_is_an_incident_from_its_first_threshold_on() {
        let is_incident = |code, grade| Finding { grade, ..Finding::figure(code, "", 0.0, "") }.is_incident();
        for code in ["host.cpu", "host.memory", "host.disk", "storage.space"] {
            assert!(is_incident(code, Grade::Attention) && is_incident(code, Grade::Abnormal), "{code}");
            assert!(!is_incident(code, Grade::Ok) && !is_incident(code, Grade::Unmeasured), "{code}");
        }
        assert!(
            is_incident("device.state", Grade::Abnormal) && !is_incident("device.state", Grade::Attention)
        );
    }

    #[test]
    fn an_alarm_says_who_has_to_look_into_it() {
        let text = told("20261123-1", &Finding::figure("host.disk", "", 70.0, ""));
        assert!(text.starts_with("20261123-1 host.disk [] 70.0 %; "), "{text}");
        assert!(text.contains("项目经理") && text.contains("技术负责人"), "{text}");
    }

    #[test]
    fn a_check_that_was_not_made_stands_as_it_did_and_a_thing_that_is_gone_does_not() {
        let weekly = [found("security.tokens", "", Grade::Attention), found("device.state", "d1", Grade::Ok)];
        let standing = Standing::default().after(&weekly, AT);
        let daily = [found("device.state", "d2", Grade::Ok)];
        let standing = standing.after(&daily, AT);
        let keys: Vec<_> = standing.0.keys().map(String::as_str).collect();
        assert_eq!(keys, ["device.state d2", "security.tokens "]);
        assert_eq!(standing.turned(&weekly), Vec::<&Finding>::new());
    }

    #[test]
    fn the_whole_is_as_bad_as_its_worst_part() {
        let of = |grades: &[Grade]| {
            let findings = grades.iter().map(|grade| found("host.cpu", "", *grade)).collect();
            Results { findings, work: Work::default() }.grade()
        };
        assert_eq!(of(&[Grade::Ok, Grade::Attention, Grade::Unmeasured]), Grade::Attention);
        assert_eq!(of(&[Grade::Abnormal, Grade::Attention]), Grade::Abnormal);
        assert_eq!(of(&[]), Grade::Unmeasured);
    }
}
