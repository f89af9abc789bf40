//! How an entity stands, as a register says it, and what is asked about it.

use std::time::Duration;

use formats::verdict::Judgement;
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::Said;

/// What is said to be later than this is no clock's imprecision.
pub(super) const SKEW: time::Duration = time::Duration::minutes(5);

/// Where a status comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusSource {
    /// The local library, as old as its last import.
    Library,
    /// The national service, asked when it is wanted.
    National,
}

/// How an entity stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The publicity system's code: 1 to 6, or 9.
    pub code: i64,
    /// What is on file beside it.
    pub flags: Vec<String>,
    /// When that was known to be so.
    pub as_of: OffsetDateTime,
    /// When something else was known: it is history then.
    pub until: Option<OffsetDateTime>,
    /// Face fields by name; none where a register has none, or of a time that is over.
    pub face: Option<Map<String, Value>>,
}

/// Which status is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusQuestion {
    /// Of which time; `None` of now.
    pub at: Option<OffsetDateTime>,
    /// How old it may be at most.
    pub max_age: Option<Duration>,
    /// The time of the question.
    pub now: OffsetDateTime,
}

impl StatusQuestion {
    /// The status of now, as old as the site lets it be.
    #[must_use]
    pub fn now(now: OffsetDateTime) -> Self {
        Self { at: None, max_age: None, now }
    }

    /// Whether somebody asks for more than the site does: he is to have an answer then.
    pub(crate) fn is_particular(&self) -> bool {
        self.at.is_some() || self.max_age.is_some()
    }
}

/// What a site makes of what registers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusRules {
    /// How old a status may be at most.
    pub max_age: Option<Duration>,
    /// Whether a license whose holder's status is not known is undecided.
    pub required: bool,
}

impl StatusRules {
    /// Judges how old a status is, and whether it is of a time that can be: findings `status_stale` and `status_malformed`
    /// (indeterminate), or none.
    pub(crate) fn judge_age(
        &self,
        standing: &Standing,
        question: &StatusQuestion,
        judgement: &mut Judgement,
    ) -> bool {
        if standing.as_of > question.now + SKEW {
            judgement.indeterminate("status_malformed", "the register speaks of a time that is to come");
            return false;
        }
        let wanted = question.at.unwrap_or(question.now);
        let longest = [self.max_age, question.max_age].into_iter().flatten().min();
        let until = standing.until.unwrap_or(standing.as_of);
        let Some(longest) = longest.filter(|longest| wanted - until > *longest) else { return true };
        let detail = format!("older than {} seconds", longest.as_secs());
        judgement.indeterminate("status_stale", detail);
        false
    }
}

/// Where a status in an answer comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusOrigin {
    /// Which register.
    pub source: StatusSource,
    /// When it was asked, where it is not the library.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<OffsetDateTime>,
    /// How many seconds ago that was; more than 0 for an answer that was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_s: Option<i64>,
    /// Of which time the status is, where that was asked.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub at: Option<OffsetDateTime>,
}

impl StatusOrigin {
    pub(crate) fn of(source: StatusSource, said: &Said, question: &StatusQuestion) -> Self {
        let elsewhere = source != StatusSource::Library;
        Self {
            source,
            asked_at: elsewhere.then_some(said.asked_at),
            age_s: elsewhere.then(|| (question.now - said.asked_at).whole_seconds().max(0)),
            at: question.at,
        }
    }
}
