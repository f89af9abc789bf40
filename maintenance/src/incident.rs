//! An incident is what its steps come to.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use time::OffsetDateTime;

use crate::clock::Clock;
use crate::grade::Level;
use crate::step::{Does, Profile, Step};

/// How far an incident is (Z007). Each follows the one before it; none is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// 受理: it was told of.
    Accepted,
    /// 登记: it is known whom it concerns.
    Registered,
    /// 定级: it is known how grave it is.
    Graded,
    /// 响应: somebody works on it.
    Responded,
    /// 排查: it is known why.
    Investigated,
    /// 处理: it is mended.
    Handled,
    /// 验证: it was seen that it is.
    Verified,
    /// 闭环: nothing is left to do.
    Closed,
}

impl State {
    /// All of them, in their order, by their words.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("accepted", Self::Accepted),
        ("registered", Self::Registered),
        ("graded", Self::Graded),
        ("responded", Self::Responded),
        ("investigated", Self::Investigated),
        ("handled", Self::Handled),
        ("verified", Self::Verified),
        ("closed", Self::Closed),
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, state)| *state == self).map_or("", |(word, _)| word)
    }

    /// The step that takes it further; none at the end.
    #[must_use]
    pub fn next(self) -> Option<&'static str> {
        match self {
            Self::Accepted => Some("register"),
            Self::Registered => Some("grade"),
            Self::Graded => Some("respond"),
            Self::Responded => Some("investigate"),
            Self::Investigated => Some("handle"),
            Self::Handled => Some("verify"),
            Self::Verified => Some("close"),
            Self::Closed => None,
        }
    }

    /// What it is after a step.
    fn after(self, does: &Does) -> Option<Self> {
        match (self, does) {
            (Self::Accepted, Does::Register { .. }) => Some(Self::Registered),
            (Self::Registered, Does::Grade { .. }) => Some(Self::Graded),
            (Self::Graded, Does::Respond { .. }) => Some(Self::Responded),
            (Self::Responded, Does::Investigate { .. }) => Some(Self::Investigated),
            (Self::Investigated, Does::Handle { .. }) => Some(Self::Handled),
            (Self::Handled, Does::Verify { passed: true, .. }) => Some(Self::Verified),
            (Self::Handled, Does::Verify { passed: false, .. }) => Some(Self::Responded),
            (Self::Verified, Does::Close { .. }) => Some(Self::Closed),
            (Self::Closed, _) => None,
            // Between the steps. How grave it is may come to look otherwise.
            (state, Does::Travel { .. } | Does::Note { .. }) => Some(state),
            (state, Does::Grade { .. }) if state > Self::Graded && state < Self::Verified => Some(state),
            _ => None,
        }
    }
}

/// Why a step is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IncidentError {
    /// Nothing begins but by being told of.
    #[error("an incident begins by being accepted")]
    NotAccepted,
    /// A step is left out, or the incident is closed.
    #[error("an incident that is {} does not go on by {step:?}; {}", .state.as_str(), expected(*.state))]
    NotNext {
        /// How far it is.
        state: State,
        /// What was to be done.
        step: &'static str,
    },
    /// A report lacks something.
    #[error("the report's {field} must not be empty")]
    Incomplete {
        /// What it lacks.
        field: &'static str,
    },
    /// A level differs from what the effect comes to, and nobody says why.
    #[error("the effect comes to level {}; say why it is another one", .0.number())]
    Unexplained(Level),
    /// A time on the way has no length, or lies ahead, or before the incident.
    #[error("a time on the way ends after it began, is over, and lies after the incident was accepted")]
    NoTravel,
}

fn expected(state: State) -> String {
    state.next().map_or_else(|| "it has ended".to_owned(), |step| format!("{step:?} comes next"))
}

/// An incident, as its steps say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// How far it is.
    pub state: State,
    /// What was promised about it.
    pub profile: Profile,
    /// How grave it is, once somebody has said.
    pub level: Option<Level>,
    /// When it was told of.
    pub accepted_at: OffsetDateTime,
    /// When somebody began to work on it.
    pub responded_at: Option<OffsetDateTime>,
    /// When it was mended, as far as it has not turned out otherwise.
    pub resolved_at: Option<OffsetDateTime>,
    /// When it was closed.
    pub closed_at: Option<OffsetDateTime>,
    travels: Vec<(OffsetDateTime, OffsetDateTime)>,
}

impl Incident {
    /// What steps come to, in their order.
    ///
    /// # Errors
    /// One of them does not follow those before it.
    pub fn of(steps: &[Step]) -> Result<Self, IncidentError> {
        let Some((Step { at, does: Does::Accept { profile, .. }, .. }, rest)) = steps.split_first() else {
            return Err(IncidentError::NotAccepted);
        };
        let mut incident = Self {
            state: State::Accepted,
            profile: *profile,
            level: None,
            accepted_at: *at,
            responded_at: None,
            resolved_at: None,
            closed_at: None,
            travels: Vec::new(),
        };
        for step in rest {
            incident = incident.after(step)?;
        }
        Ok(incident)
    }

    /// What it is after one more step.
    ///
    /// # Errors
    /// It does not follow, or says too little.
    pub fn after(mut self, step: &Step) -> Result<Self, IncidentError> {
        let not_next = IncidentError::NotNext { state: self.state, step: step.does.name() };
        self.state = self.state.after(&step.does).ok_or(not_next)?;
        match &step.does {
            Does::Grade { effect, level, override_reason } => {
                let is_explained = override_reason.as_ref().is_some_and(|reason| !reason.trim().is_empty());
                if *level != effect.level() && !is_explained {
                    return Err(IncidentError::Unexplained(effect.level()));
                }
                self.level = Some(*level);
            }
            Does::Respond { .. } => self.responded_at = Some(step.at),
            Does::Handle { .. } => self.resolved_at = Some(step.at),
            Does::Verify { passed: false, .. } => self.resolved_at = None,
            Does::Close { report, .. } => {
                if let Some((field, _)) = report.fields().into_iter().find(|(_, text)| text.trim().is_empty())
                {
                    return Err(IncidentError::Incomplete { field });
                }
                self.closed_at = Some(step.at);
            }
            Does::Travel { from, until, .. } => {
                if from >= until || *until > step.at || *from < self.accepted_at {
                    return Err(IncidentError::NoTravel);
                }
                self.travels.push((*from, *until));
            }
            Does::Accept { .. }
            | Does::Register { .. }
            | Does::Investigate { .. }
            | Does::Verify { .. }
            | Does::Note { .. } => {}
        }
        Ok(self)
    }

    /// Whether somebody responds in time. Time on the way counts: it is the first word that was promised.
    #[must_use]
    pub fn response(&self, now: OffsetDateTime) -> Clock {
        let level = self.level.unwrap_or(Level::FIRST);
        Clock::of((self.accepted_at, self.profile.response(level)), &[], self.responded_at, now)
    }

    /// Whether it is resolved in time, without the time on the way. It counts as of the first level until it is graded.
    #[must_use]
    pub fn resolution(&self, now: OffsetDateTime) -> Clock {
        let level = self.level.unwrap_or(Level::FIRST);
        let promise = (self.accepted_at, self.profile.resolution(level));
        Clock::of(promise, &self.travels, self.resolved_at, now)
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::clock::Standing;
    use crate::grade::{Data, Effect, Extent};
    use crate::step::{Report, Source, System, Way};

    const BEGIN: OffsetDateTime = datetime!(2026-05-06 08:00 UTC);

    fn report() -> Report {
        let some = || "某".to_owned();
        Report {
            description: some(),
            origin: some(),
            cause: some(),
            solution: some(),
            responsible: some(),
            improvement: some(),
        }
    }

    const SLOW: Effect = Effect { extent: Extent::Degraded, data: Data::Safe, workaround: false };

    /// The eight steps in their order.
    fn all() -> Vec<Does> {
        let (some, way) = (|| "某".to_owned(), Way::Remote);
        vec![
            Does::Accept {
                title: some(),
                description: some(),
                system: System::Stamps,
                profile: Profile::Standard,
                source: Source::Person,
                signature: None,
                occurred_at: BEGIN,
                recurs: Vec::new(),
            },
            Does::Register { affected: some() },
            Does::Grade { effect: SLOW, level: SLOW.level(), override_reason: None },
            Does::Respond { way, note: some() },
            Does::Investigate { way, cause: some() },
            Does::Handle { way: Way::OnSite, solution: some() },
            Does::Verify { passed: true, how: some() },
            Does::Close { report: report(), release: None },
        ]
    }

    fn at(minute: i64, does: Does) -> Step {
        Step { at: BEGIN + Duration::minutes(minute), actor: "operator".to_owned(), does }
    }

    /// So many of the steps, ten minutes apart.
    fn so_far(steps: usize) -> Vec<Step> {
        (0..).step_by(10).zip(all()).map(|(minute, does)| at(minute, does)).take(steps).collect()
    }

    #[test]
    fn of_eight_steps_none_can_be_left_out_repeated_or_made_after_the_end() {
        for made in 1..=8 {
            let incident = Incident::of(&so_far(made)).unwrap();
            assert_eq!(incident.state, State::NAMES[made - 1].1);
            for (number, does) in all().into_iter().enumerate() {
                // A grade may be said anew while somebody works on it.
                let graded_anew = number == 2 && (4..=6).contains(&made);
                let follows = number == made || graded_anew;
                let step = at(1_000, does);
                assert_eq!(incident.clone().after(&step).is_ok(), follows, "{made} {}", step.does.name());
            }
        }
        assert_eq!(Incident::of(&so_far(8)[1..]), Err(IncidentError::NotAccepted));
        assert_eq!(Incident::of(&[]), Err(IncidentError::NotAccepted));
    }

    #[test]
    fn what_does_not_hold_is_investigated_anew_and_its_clock_runs_on() {
        let mut steps = so_far(6);
        let resolved = Incident::of(&steps).unwrap();
        assert_eq!(resolved.resolution(BEGIN + Duration::DAY).standing, Standing::Met);
        steps.push(at(55, Does::Verify { passed: false, how: "it came back".to_owned() }));
        let again = Incident::of(&steps).unwrap();
        assert_eq!((again.state, again.resolved_at), (State::Responded, None));
        assert_eq!(again.resolution(BEGIN + Duration::DAY).standing, Standing::Overdue);
        assert_eq!(again.response(BEGIN + Duration::DAY).standing, Standing::Met, "somebody did respond");
    }

    #[test]
    fn time_on_the_way_counts_for_the_response_alone() {
        let travel = |from: i64, until: i64| Does::Travel {
            from: BEGIN + Duration::minutes(from),
            until: BEGIN + Duration::minutes(until),
            reason: "on the way".to_owned(),
        };
        let incident = Incident::of(&so_far(4)).unwrap();
        assert_eq!(incident.resolution(BEGIN).allowed, Duration::hours(8), "level 3");
        let travelled = incident.clone().after(&at(200, travel(40, 160))).unwrap();
        assert_eq!(travelled.resolution(BEGIN).due, BEGIN + Duration::hours(10));
        assert_eq!(travelled.response(BEGIN).due, BEGIN + Duration::HOUR);
        for (from, until) in [(50, 50), (60, 50), (50, 201), (-1, 50)] {
            let refused = incident.clone().after(&at(200, travel(from, until)));
            assert_eq!(refused, Err(IncidentError::NoTravel), "{from} {until}");
        }
    }

    #[test]
    fn another_level_than_the_effect_has_needs_a_reason_and_the_promise_follows_it() {
        let grade = |level: u8, reason: Option<&str>| Does::Grade {
            effect: SLOW,
            level: level.try_into().unwrap(),
            override_reason: reason.map(str::to_owned),
        };
        let incident = Incident::of(&so_far(2)).unwrap();
        assert_eq!(incident.resolution(BEGIN).allowed, Duration::hours(4), "the gravest until then");
        for reason in [None, Some(""), Some(" ")] {
            let refused = incident.clone().after(&at(20, grade(1, reason)));
            assert_eq!(refused, Err(IncidentError::Unexplained(SLOW.level())));
        }
        let graded = incident.after(&at(20, grade(4, Some("three people wait")))).unwrap();
        assert_eq!(graded.resolution(BEGIN).allowed, Duration::hours(10));
    }

    #[test]
    fn a_report_that_lacks_something_closes_nothing() {
        let incident = Incident::of(&so_far(7)).unwrap();
        for (number, (field, _)) in report().fields().into_iter().enumerate() {
            let mut said = report();
            let text = match number {
                0 => &mut said.description,
                1 => &mut said.origin,
                2 => &mut said.cause,
                3 => &mut said.solution,
                4 => &mut said.responsible,
                _ => &mut said.improvement,
            };
            *text = " ".to_owned();
            let refused = incident.clone().after(&at(80, Does::Close { report: said, release: None }));
            assert_eq!(refused, Err(IncidentError::Incomplete { field }));
        }
    }

    #[test]
    fn each_profile_promises_what_its_contract_says() {
        let hours = |promise: fn(Profile, Level) -> Duration, profile| {
            Level::ALL.map(|level| promise(profile, level).as_seconds_f64() / 3_600.0)
        };
        for (profile, response, resolution) in [
            (Profile::Standard, [1.0; 4], [4.0, 6.0, 8.0, 10.0]),
            (Profile::DisasterRecovery, [0.5; 4], [2.0; 4]),
            (Profile::Urgent, [0.5; 4], [4.0, 6.0, 8.0, 10.0]),
            (Profile::Cloud, [0.5, 0.5, 1.0, 1.0], [24.0, 24.0, 24.0, 0.5]),
        ] {
            assert_eq!(hours(Profile::response, profile), response, "{profile:?}");
            assert_eq!(hours(Profile::resolution, profile), resolution, "{profile:?}");
        }
    }

    #[test]
    fn steps_are_kept_as_json_and_read_as_they_were() {
        for does in all() {
            let text = serde_json::to_string(&does).unwrap();
            assert!(text.starts_with(&format!("{{\"step\":\"{}\"", does.name())), "{text}");
            assert_eq!(serde_json::from_str::<Does>(&text).unwrap(), does);
        }
    }
}
