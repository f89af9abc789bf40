//! What is shown of an incident.

use maintenance::{Clock, Does, Level, Profile, Source, Standing, State, System};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::Known;

/// The word for something of a list that has all of them.
pub(super) fn word<T: PartialEq + Copy>(words: &[(&'static str, T)], of: T) -> &'static str {
    words.iter().find(|(_, value)| *value == of).map_or("", |(word, _)| word)
}

/// A promise, and how it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClockView {
    /// Seconds that there are.
    allowed_s: i64,
    /// When those are warned who have to keep it.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    warned_at: OffsetDateTime,
    /// Until when it has to be done; time on the way puts it off.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    due_at: OffsetDateTime,
    /// When it was done.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    done_at: Option<OffsetDateTime>,
    /// `running`, `warned` (three quarters are over), `overdue`; `met` or `late`.
    #[schema(value_type = String)]
    standing: Standing,
}

impl ClockView {
    fn of(clock: &Clock) -> Self {
        Self {
            allowed_s: clock.allowed.whole_seconds(),
            warned_at: clock.warned_at,
            due_at: clock.due,
            done_at: clock.done_at,
            standing: clock.standing,
        }
    }
}

/// An incident in the list.
#[derive(Serialize, ToSchema)]
pub(crate) struct IncidentItem {
    /// Its number.
    #[schema(example = "20261124-7K2MQ9XW3F")]
    id: String,
    /// In a line.
    title: String,
    /// What it is of.
    #[schema(value_type = String)]
    system: System,
    /// Who noticed it: `person` or `alarm`.
    #[schema(value_type = String)]
    source: Source,
    /// What was promised.
    #[schema(value_type = String)]
    profile: Profile,
    /// `accepted`, `registered`, `graded`, `responded`, `investigated`, `handled`, `verified` or `closed`.
    #[schema(value_type = String)]
    state: State,
    /// The step that takes it further; null at the end.
    next: Option<&'static str>,
    /// 1 to 4; null until it is graded, and measured by the first until then.
    #[schema(value_type = Option<u8>)]
    level: Option<Level>,
    /// For the next step.
    version: u32,
    /// Since when it is so.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    occurred_at: OffsetDateTime,
    /// When it was told of: clocks run from then on.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    accepted_at: OffsetDateTime,
    /// When it was closed.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<OffsetDateTime>,
    /// That somebody works on it.
    response: ClockView,
    /// That it is mended.
    resolution: ClockView,
    /// What names those that are the same again.
    signature: Option<String>,
    /// Those that were the same, of the last 90 days.
    recurs: Vec<String>,
    /// How often an alarm came again while it was open.
    seen: u64,
    /// When it last did.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    seen_at: Option<OffsetDateTime>,
}

/// A step that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct StepView {
    /// Which one.
    number: usize,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    at: OffsetDateTime,
    /// By whom.
    actor: String,
    /// `step`, and what was said with it.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    does: Does,
}

/// An incident with its steps.
#[derive(Serialize, ToSchema)]
pub(crate) struct IncidentResponse {
    #[serde(flatten)]
    incident: IncidentItem,
    /// What happened.
    description: String,
    /// What was done, from its beginning.
    steps: Vec<StepView>,
}

impl IncidentItem {
    pub(super) fn of(known: &Known, now: OffsetDateTime) -> Self {
        let Known { row, incident, .. } = known;
        let (title, _, source, recurs, occurred_at) = accepted(known);
        let system = System::NAMES.iter().find(|(word, _)| *word == row.system);
        Self {
            id: row.id.clone(),
            title,
            system: system.map_or(System::Platform, |(_, system)| *system),
            source,
            profile: incident.profile,
            state: incident.state,
            next: incident.state.next(),
            level: incident.level,
            version: row.version,
            occurred_at,
            accepted_at: incident.accepted_at,
            closed_at: incident.closed_at,
            response: ClockView::of(&incident.response(now)),
            resolution: ClockView::of(&incident.resolution(now)),
            signature: row.signature.clone(),
            recurs,
            seen: row.seen,
            seen_at: row.seen_at,
        }
    }
}

/// What was said when it was told of: title, description, who noticed it, what was the same, since when it is so.
pub(super) fn accepted(known: &Known) -> (String, String, Source, Vec<String>, OffsetDateTime) {
    match known.steps.first().map(|step| &step.does) {
        Some(Does::Accept { title, description, source, recurs, occurred_at, .. }) => {
            (title.clone(), description.clone(), *source, recurs.clone(), *occurred_at)
        }
        // No incident begins otherwise.
        _ => (String::new(), String::new(), Source::Person, Vec::new(), known.incident.accepted_at),
    }
}

impl IncidentResponse {
    pub(super) fn of(known: &Known, now: OffsetDateTime) -> Self {
        let step = |(number, step): (usize, &maintenance::Step)| StepView {
            number: number + 1,
            at: step.at,
            actor: step.actor.clone(),
            does: step.does.clone(),
        };
        Self {
            incident: IncidentItem::of(known, now),
            description: accepted(known).1,
            steps: known.steps.iter().enumerate().map(step).collect(),
        }
    }
}
