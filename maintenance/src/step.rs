//! What can be done about an incident, each with what has to be said then.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::grade::{Effect, Level};

/// What an incident is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// 电子营业执照系统.
    ELicense,
    /// 验证前置系统.
    VerificationFront,
    /// 签名戳系统.
    Stamps,
    /// 电子营业执照库前置系统.
    LibraryFront,
    /// Server HSMs (服务器密码机).
    Devices,
    /// What all of them stand on: gateway, database, storage, host, network.
    Platform,
}

impl System {
    /// All of them, by their words.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("e_license", Self::ELicense),
        ("verification_front", Self::VerificationFront),
        ("stamps", Self::Stamps),
        ("library_front", Self::LibraryFront),
        ("devices", Self::Devices),
        ("platform", Self::Platform),
    ];
}

/// What was promised: within which time somebody responds, and within which it is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// One hour for all levels; four, six, eight and ten hours (M032, M033).
    Standard,
    /// Half an hour; a plan within two hours (M055).
    DisasterRecovery,
    /// Half an hour; resolved as of `standard` (D006).
    Urgent,
    /// Half an hour for the first two levels, else one; a measure within 24 hours, of the last level within half an hour (Z002, Z003).
    Cloud,
}

impl Profile {
    /// All of them, by their words.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("standard", Self::Standard),
        ("disaster_recovery", Self::DisasterRecovery),
        ("urgent", Self::Urgent),
        ("cloud", Self::Cloud),
    ];

    /// Within which time somebody responds.
    #[must_use]
    pub fn response(self, level: Level) -> Duration {
        let minutes = match self {
            Self::Standard => [60; 4],
            Self::DisasterRecovery | Self::Urgent => [30; 4],
            Self::Cloud => [30, 30, 60, 60],
        };
        Duration::minutes(minutes[level.place()])
    }

    /// Within which time it is resolved.
    #[must_use]
    pub fn resolution(self, level: Level) -> Duration {
        let minutes = match self {
            Self::Standard | Self::Urgent => [4 * 60, 6 * 60, 8 * 60, 10 * 60],
            Self::DisasterRecovery => [2 * 60; 4],
            Self::Cloud => [24 * 60, 24 * 60, 24 * 60, 30],
        };
        Duration::minutes(minutes[level.place()])
    }
}

/// Who noticed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Somebody told of it.
    Person,
    /// A check found it.
    Alarm,
}

/// How somebody works on it (M034).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From afar, which comes first.
    Remote,
    /// Where it is.
    OnSite,
}

/// The report on an incident (L038). None of it may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// 事件描述: what happened.
    pub description: String,
    /// 事件来源: where it came from.
    pub origin: String,
    /// 原因: why it happened.
    pub cause: String,
    /// 解决办法: what was done.
    pub solution: String,
    /// 责任人: who answers for it, an account or a post.
    pub responsible: String,
    /// 改进措施: what will be otherwise.
    pub improvement: String,
}

impl Report {
    /// Its fields, by their names.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, &str); 6] {
        [
            ("description", &self.description),
            ("origin", &self.origin),
            ("cause", &self.cause),
            ("solution", &self.solution),
            ("responsible", &self.responsible),
            ("improvement", &self.improvement),
        ]
    }
}

/// What is done in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum Does {
    /// 受理: it was told of.
    Accept {
        /// In a line.
        title: String,
        /// What happened.
        description: String,
        /// What it is of.
        system: System,
        /// What was promised about it.
        profile: Profile,
        /// Who noticed it.
        source: Source,
        /// What names those that are the same again.
        signature: Option<String>,
        /// Since when it is so.
        #[serde(with = "time::serde::rfc3339")]
        occurred_at: OffsetDateTime,
        /// Those before it that were the same.
        recurs: Vec<String>,
    },
    /// 登记: whom it concerns.
    Register {
        /// Whom, and what they cannot do.
        affected: String,
    },
    /// 定级: how grave it is.
    Grade {
        /// What it does.
        effect: Effect,
        /// The level, by the effect or as somebody said.
        level: Level,
        /// Why it is another one than the effect comes to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        override_reason: Option<String>,
    },
    /// 响应: somebody works on it.
    Respond {
        /// How.
        way: Way,
        /// What is told those who wait.
        note: String,
    },
    /// 排查: it is known why.
    Investigate {
        /// How.
        way: Way,
        /// Why it happened.
        cause: String,
    },
    /// 处理: it is mended.
    Handle {
        /// How.
        way: Way,
        /// What was done.
        solution: String,
    },
    /// 验证: whether it is.
    Verify {
        /// If not, it is investigated anew.
        passed: bool,
        /// By what that was seen.
        how: String,
    },
    /// 闭环: nothing is left to do.
    Close {
        /// The report on it.
        report: Report,
        /// The release that keeps it from coming back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<String>,
    },
    /// Somebody was on the way, which does not count (M033).
    Travel {
        /// From when.
        #[serde(with = "time::serde::rfc3339")]
        from: OffsetDateTime,
        /// Until when.
        #[serde(with = "time::serde::rfc3339")]
        until: OffsetDateTime,
        /// Who, and where to.
        reason: String,
    },
    /// Something worth knowing.
    Note {
        /// What.
        text: String,
    },
}

impl Does {
    /// Its word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accept { .. } => "accept",
            Self::Register { .. } => "register",
            Self::Grade { .. } => "grade",
            Self::Respond { .. } => "respond",
            Self::Investigate { .. } => "investigate",
            Self::Handle { .. } => "handle",
            Self::Verify { .. } => "verify",
            Self::Close { .. } => "close",
            Self::Travel { .. } => "travel",
            Self::Note { .. } => "note",
        }
    }
}

/// A step, with when and by whom it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: OffsetDateTime,
    /// By whom.
    pub actor: String,
    /// What was done.
    pub does: Does,
}
