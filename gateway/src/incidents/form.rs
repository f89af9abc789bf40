//! What is said about an incident when it is opened, and at each of its steps.

use maintenance::{Data, Does, Effect, Extent, Level, Profile, Report, System, Way};
use serde::Deserialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::body::{Faults, Object};
use crate::problem::Problem;

/// Characters of a title, and of what names those that are the same.
const TITLE: usize = 100;
/// Characters of everything else that is said.
const TEXT: usize = 2_000;

/// An incident that is told of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncidentRequest {
    /// In a line: 1 to 100 characters.
    #[schema(example = "签名戳接口返回 503")]
    title: String,
    /// What happened: 1 to 2,000 characters.
    description: String,
    /// `e_license`, `verification_front`, `stamps`, `library_front`, `devices` or `platform`.
    #[schema(example = "stamps")]
    system: String,
    /// What was promised: `standard` (default), `disaster_recovery`, `urgent` or `cloud`.
    profile: Option<String>,
    /// What names those that are the same again: of one there is one open. 1 to 100 characters.
    signature: Option<String>,
    /// Since when it is so; now if absent, and not ahead.
    #[schema(format = DateTime)]
    occurred_at: Option<String>,
}

/// The same, read.
pub(crate) struct Opened {
    pub(super) title: String,
    pub(super) description: String,
    pub(super) system: System,
    pub(super) profile: Profile,
    pub(super) signature: Option<String>,
    pub(super) occurred_at: Option<OffsetDateTime>,
}

impl IncidentRequest {
    /// Turns words into types, reporting every fault at once.
    pub(crate) fn check(self, now: OffsetDateTime) -> Result<Opened, Problem> {
        let mut faults = Faults::default();
        faults.seen("title", Some(&self.title), TITLE);
        faults.seen("description", Some(&self.description), TEXT);
        faults.seen("signature", self.signature.as_deref(), TITLE);
        let system = faults.word("system", Some(&self.system), System::NAMES, System::Platform);
        let profile = faults.word("profile", self.profile.as_deref(), Profile::NAMES, Profile::Standard);
        let occurred_at = faults.time("occurred_at", self.occurred_at.as_deref(), now);
        if occurred_at.is_some_and(|at| at > now) {
            faults.add("occurred_at", "invalid_value", "must not be ahead");
        }
        let occurred_at = occurred_at.filter(|_| self.occurred_at.is_some());
        let Self { title, description, signature, .. } = self;
        let opened = system.zip(profile).map(|(system, profile)| Opened {
            title,
            description,
            system,
            profile,
            signature,
            occurred_at,
        });
        faults.into_result(opened)
    }
}

/// What an incident does.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EffectRequest {
    /// How much does not work: `none`, `degraded`, `partial` or `whole`.
    extent: String,
    /// What happens to data, keys or records: `safe`, `at_risk` or `harmed`.
    data: String,
    /// Whether people can do what they have to in another way meanwhile.
    workaround: bool,
}

/// The report on an incident: none of it may be empty. 1 to 2,000 characters each.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportRequest {
    /// 事件描述: what happened.
    description: String,
    /// 事件来源: where it came from.
    origin: String,
    /// 原因: why it happened.
    cause: String,
    /// 解决办法: what was done.
    solution: String,
    /// 责任人: who answers for it, an account or a post.
    responsible: String,
    /// 改进措施: what will be otherwise.
    improvement: String,
}

/// A step. Which members it has to have its word says: `register` `affected`; `grade` `effect`, and `level` with `override_reason` where it is
/// another one; `respond` `way` and `note`; `investigate` `way` and `cause`; `handle` `way` and `solution`; `verify` `passed` and `how`;
/// `close` `report`, and `release`; `travel` `from`, `until` and `reason`; `note` `note`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepRequest {
    /// The version of the incident that whoever makes the step has seen.
    version: u32,
    /// `register`, `grade`, `respond`, `investigate`, `handle`, `verify`, `close`; `travel`, `note`.
    step: String,
    /// Whom it concerns, and what they cannot do.
    affected: Option<String>,
    /// What it does.
    effect: Option<Object<EffectRequest>>,
    /// 1 (一级, the gravest) to 4; by the effect if absent.
    level: Option<u8>,
    /// Why it is another level than the effect comes to.
    override_reason: Option<String>,
    /// `remote`, which comes first, or `on_site`.
    way: Option<String>,
    /// What is told those who wait, or is worth knowing.
    note: Option<String>,
    /// Why it happened.
    cause: Option<String>,
    /// What was done.
    solution: Option<String>,
    /// Whether it is mended; if not, it is investigated anew.
    passed: Option<bool>,
    /// By what that was seen.
    how: Option<String>,
    /// The report on it.
    report: Option<Object<ReportRequest>>,
    /// The release that keeps it from coming back.
    release: Option<String>,
    /// From when somebody was on the way.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Until when.
    #[schema(format = DateTime)]
    until: Option<String>,
    /// Who, and where to.
    reason: Option<String>,
}

const WAYS: [(&str, Way); 2] = [("remote", Way::Remote), ("on_site", Way::OnSite)];
const EXTENTS: [(&str, Extent); 4] = [
    ("none", Extent::None),
    ("degraded", Extent::Degraded),
    ("partial", Extent::Partial),
    ("whole", Extent::Whole),
];
const DATA: [(&str, Data); 3] = [("safe", Data::Safe), ("at_risk", Data::AtRisk), ("harmed", Data::Harmed)];

/// The steps, with what each has to say, and what it may say besides.
const STEPS: [(&str, &[&str], &[&str]); 9] = [
    ("register", &["affected"], &[]),
    ("grade", &["effect"], &["level", "override_reason"]),
    ("respond", &["way", "note"], &[]),
    ("investigate", &["way", "cause"], &[]),
    ("handle", &["way", "solution"], &[]),
    ("verify", &["passed", "how"], &[]),
    ("close", &["report"], &["release"]),
    ("travel", &["from", "until", "reason"], &[]),
    ("note", &["note"], &[]),
];

impl EffectRequest {
    fn check(&self, faults: &mut Faults) -> Option<Effect> {
        let extent = faults.word("effect.extent", Some(&self.extent), &EXTENTS, Extent::None);
        let data = faults.word("effect.data", Some(&self.data), &DATA, Data::Safe);
        let workaround = self.workaround;
        extent.zip(data).map(|(extent, data)| Effect { extent, data, workaround })
    }
}

impl StepRequest {
    /// Which members are there.
    fn said(&self) -> [(&'static str, bool); 14] {
        [
            ("affected", self.affected.is_some()),
            ("effect", self.effect.is_some()),
            ("level", self.level.is_some()),
            ("override_reason", self.override_reason.is_some()),
            ("way", self.way.is_some()),
            ("note", self.note.is_some()),
            ("cause", self.cause.is_some()),
            ("solution", self.solution.is_some()),
            ("passed", self.passed.is_some()),
            ("how", self.how.is_some()),
            ("report", self.report.is_some()),
            ("release", self.release.is_some()),
            ("from", self.from.is_some() || self.until.is_some()),
            ("reason", self.reason.is_some()),
        ]
    }

    /// Turns words into a step, with the version that it rests on, reporting every fault at once.
    pub(crate) fn check(self, now: OffsetDateTime) -> Result<(u32, Does), Problem> {
        let mut faults = Faults::default();
        let Some((step, needed, besides)) = STEPS.iter().find(|(step, ..)| *step == self.step) else {
            let words: Vec<_> = STEPS.iter().map(|(step, ..)| *step).collect();
            faults.add("step", "invalid_value", format!("must be one of: {}", words.join(", ")));
            return faults.into_result(None);
        };
        for (field, is_said) in self.said() {
            if needed.contains(&field) && !is_said {
                faults.add(field, "missing_field", format!("the step {step} needs it"));
            } else if is_said && !needed.contains(&field) && !besides.contains(&field) {
                faults.add(field, "invalid_value", format!("the step {step} does not say it"));
            }
        }
        for (field, text) in [
            ("affected", &self.affected),
            ("override_reason", &self.override_reason),
            ("note", &self.note),
            ("cause", &self.cause),
            ("solution", &self.solution),
            ("how", &self.how),
            ("release", &self.release),
            ("reason", &self.reason),
        ] {
            faults.seen(field, text.as_deref(), TEXT);
        }
        let version = self.version;
        let does = self.does(&mut faults, now);
        faults.into_result(does.map(|does| (version, does)))
    }

    /// None where it lacks something, which was told then.
    fn does(self, faults: &mut Faults, now: OffsetDateTime) -> Option<Does> {
        let way = faults.word("way", self.way.as_deref(), &WAYS, Way::Remote);
        match self.step.as_str() {
            "register" => Some(Does::Register { affected: self.affected? }),
            "grade" => {
                let effect = self.effect?.0.check(faults)?;
                let level = match self.level {
                    None => effect.level(),
                    Some(level) => faults.parse("level", "invalid_value", Level::try_from(level))?,
                };
                Some(Does::Grade { effect, level, override_reason: self.override_reason })
            }
            "respond" => Some(Does::Respond { way: way?, note: self.note? }),
            "investigate" => Some(Does::Investigate { way: way?, cause: self.cause? }),
            "handle" => Some(Does::Handle { way: way?, solution: self.solution? }),
            "verify" => Some(Does::Verify { passed: self.passed?, how: self.how? }),
            "close" => {
                let Object(report) = self.report?;
                let ReportRequest { description, origin, cause, solution, responsible, improvement } = report;
                let report = Report { description, origin, cause, solution, responsible, improvement };
                for (field, text) in report.fields() {
                    faults.seen(&format!("report.{field}"), Some(text), TEXT);
                }
                Some(Does::Close { report, release: self.release })
            }
            "travel" => {
                let from = faults.time("from", Some(self.from.as_deref().unwrap_or_default()), now);
                let until = faults.time("until", Some(self.until.as_deref().unwrap_or_default()), now);
                let (from, until) = from.zip(until)?;
                Some(Does::Travel { from, until, reason: self.reason? })
            }
            _ => Some(Does::Note { text: self.note? }),
        }
    }
}
