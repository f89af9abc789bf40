//! Incidents (故障事件): what is told of by people or found by checks, taken step by step to its end, each step on record with what it did.
//! What a step means and what was promised lies in the crate `maintenance` (docs/adr/0074).

pub(crate) mod form;
mod report;
pub(crate) mod routes;
mod view;
pub(crate) mod watch;

use config::OwnName;
use maintenance::{Does, Incident, IncidentError, Profile, Source, State, Step, System};
use sm3::{Digest, Sm3};
use store::{
    AuditEntry, IncidentAdvance, IncidentChange, IncidentQuery, IncidentRow, IncidentStep, NewIncident,
    StoreError,
};
use time::{Duration, OffsetDateTime};

use crate::problem::Problem;
use crate::stamps::make::number;
use crate::state::Gateway;
use form::Opened;

/// How long it is remembered that something was there before.
const REMEMBERED: Duration = Duration::days(90);
/// Of those that were the same, as many are named.
const MOST_NAMED: u32 = 10;

/// An incident, read.
pub(crate) struct Known {
    row: IncidentRow,
    steps: Vec<Step>,
    incident: Incident,
}

impl Known {
    fn of(row: IncidentRow) -> Result<Self, Problem> {
        let broken = || Problem::incident_broken(&row.id);
        let read = |step: &IncidentStep| -> Option<Step> {
            let does = serde_json::from_str(&step.said).ok()?;
            Some(Step { at: step.at, actor: step.actor.clone(), does })
        };
        let steps: Vec<_> = row.steps.iter().map(read).collect::<Option<_>>().ok_or_else(broken)?;
        let incident = Incident::of(&steps).map_err(|_| broken())?;
        Ok(Self { row, steps, incident })
    }

    async fn find(gateway: &Gateway, id: &str) -> Result<Self, Problem> {
        let row = gateway.store.incident(id).await.map_err(|error| Problem::from_incidents(&error))?;
        Self::of(row)
    }
}

/// What somebody does, as the audit log has it.
fn entry(actor: &str, action: &str, subject: String, said: &str) -> AuditEntry {
    AuditEntry {
        action: action.to_owned(),
        actor: actor.to_owned(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: Some(hex::encode(Sm3::digest(said.as_bytes()))),
        key: None,
        outcome: "ok".to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(subject),
    }
}

/// Whole seconds are kept, and what is judged is what is kept.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

/// Opens an incident; answers its number and where that is on record.
///
/// # Errors
/// One that is the same is open; it cannot be recorded.
pub(crate) async fn open(
    gateway: &Gateway,
    actor: &str,
    source: Source,
    opened: Opened,
) -> Result<(String, u64), Problem> {
    let at = now();
    let recurs = match &opened.signature {
        Some(signature) => before(gateway, signature, at).await.map_err(|error| Problem::database(&error))?,
        None => Vec::new(),
    };
    let Opened { title, description, system, profile, signature, occurred_at } = opened;
    let does = Does::Accept {
        title,
        description,
        system,
        profile,
        source,
        signature: signature.clone(),
        occurred_at: occurred_at.unwrap_or(at),
        recurs,
    };
    let said = serde_json::to_string(&does).map_err(|_| Problem::incident_broken(""))?;
    let id = number(at);
    let entry = entry(actor, "incident.accept", id.clone(), &said);
    let new = NewIncident {
        id: id.clone(),
        system: view::word(System::NAMES, system).to_owned(),
        signature: signature.clone(),
        step: IncidentStep { at, actor: actor.to_owned(), said },
    };
    match gateway.audit.append_incident(entry, IncidentChange::Open(new), None).await {
        Ok(index) => {
            gateway.metrics.incident_step("accept");
            Ok((id, index))
        }
        Err(StoreError::AlreadyExists { .. }) => Err(same(gateway, signature.as_deref()).await),
        Err(error) => Err(Problem::record_unavailable(&error)),
    }
}

/// Those that were the same and are closed.
async fn before(gateway: &Gateway, signature: &str, at: OffsetDateTime) -> Result<Vec<String>, StoreError> {
    let which = IncidentQuery {
        open: Some(false),
        signature: Some(signature),
        from: Some(at - REMEMBERED),
        ..IncidentQuery::default()
    };
    let found = gateway.store.incidents(&which, MOST_NAMED).await?;
    Ok(found.into_iter().map(|row| row.id).collect())
}

/// That one which is the same is open, by its number.
async fn same(gateway: &Gateway, signature: Option<&str>) -> Problem {
    let which = IncidentQuery { open: Some(true), signature, ..IncidentQuery::default() };
    match gateway.store.incidents(&which, 1).await {
        Ok(found) => Problem::incident_open(found.first().map_or("", |row| row.id.as_str())),
        Err(error) => Problem::database(&error),
    }
}

/// Takes an incident a step further, from the version that whoever does it has seen. Answers where that is on record.
///
/// # Errors
/// The step does not follow; somebody else was faster; it cannot be recorded.
async fn advance(
    gateway: &Gateway,
    actor: &str,
    id: &str,
    (version, does): (u32, Does),
) -> Result<(Known, u64), Problem> {
    let Known { mut row, mut steps, incident } = Known::find(gateway, id).await?;
    if row.version != version {
        return Err(Problem::incident_changed(id, row.version));
    }
    let said = serde_json::to_string(&does).map_err(|_| Problem::incident_broken(id))?;
    let step = Step { at: now(), actor: actor.to_owned(), does };
    let incident = incident.after(&step).map_err(Problem::from)?;
    let kept = IncidentStep { at: step.at, actor: step.actor.clone(), said };
    let action = format!("incident.{}", step.does.name());
    let entry = entry(actor, &action, format!("{id} {}", incident.state.as_str()), &kept.said);
    let change = IncidentChange::Advance(IncidentAdvance {
        id: id.to_owned(),
        version,
        state: incident.state.as_str().to_owned(),
        level: incident.level.map(maintenance::Level::number),
        is_closed: incident.state == State::Closed,
        step: kept,
    });
    let index = match gateway.audit.append_incident(entry, change, None).await {
        Ok(index) => index,
        Err(StoreError::Changed { .. }) => return Err(Problem::incident_changed(id, version + 1)),
        Err(error) => return Err(Problem::record_unavailable(&error)),
    };
    gateway.metrics.incident_step(step.does.name());
    row.version += 1;
    steps.push(step);
    Ok((Known { row, steps, incident }, index))
}

/// Something that a check found, for an incident.
pub(crate) struct Alarm {
    /// Names what is the same again.
    pub(crate) signature: String,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) system: System,
}

/// Opens an incident for what a check found, or counts that the open one was seen again.
pub(crate) async fn raise(gateway: &Gateway, alarm: Alarm) -> Result<(), Problem> {
    let seen = gateway.store.incident_seen(&alarm.signature, now()).await;
    if seen.map_err(|error| Problem::database(&error))?.is_some() {
        return Ok(());
    }
    let Alarm { signature, title, description, system } = alarm;
    let opened = Opened {
        title,
        description,
        system,
        profile: Profile::Standard,
        signature: Some(signature),
        occurred_at: None,
    };
    match open(gateway, OwnName::Gateway.as_str(), Source::Alarm, opened).await {
        // Another gateway was faster.
        Err(problem) if problem.code() == "incident_open" => Ok(()),
        done => done.map(drop),
    }
}

impl From<IncidentError> for Problem {
    fn from(error: IncidentError) -> Self {
        match &error {
            IncidentError::NotNext { .. } | IncidentError::NotAccepted => {
                Self::incident_step_refused(error.to_string())
            }
            IncidentError::Incomplete { field } => {
                Self::incident_field(&format!("report.{field}"), "missing_field", error.to_string())
            }
            IncidentError::Unexplained(_) => {
                Self::incident_field("override_reason", "missing_field", error.to_string())
            }
            IncidentError::NoTravel => Self::incident_field("from", "invalid_value", error.to_string()),
        }
    }
}
