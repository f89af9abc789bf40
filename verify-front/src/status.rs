//! Registration statuses: the publicity system's codes, their terms, and what each means for a license.

use formats::verdict::Judgement;
use serde::Serialize;
use store::EntityRecord;
use time::OffsetDateTime;

use crate::FrontError;
use crate::register::Standing;

/// What a registration status means for a license shown today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The license may be used.
    Permitted,
    /// The license may be used for some things only: readers are told.
    Flagged,
    /// The license may not be used.
    NotPermitted,
}

/// The whole table. Codes 7 and 8 are not assigned.
const STATUSES: [(i64, &str, Effect); 7] = [
    (1, "存续（在营、开业、在册）", Effect::Permitted),
    (2, "吊销,未注销", Effect::Flagged),
    (3, "吊销,已注销", Effect::NotPermitted),
    (4, "注销", Effect::NotPermitted),
    (5, "撤销", Effect::NotPermitted),
    (6, "迁出", Effect::NotPermitted),
    (9, "其他", Effect::Flagged),
];

/// What the register says of an entity's standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusAnswer {
    /// The publicity system's code.
    pub code: i64,
    /// Its term.
    pub text: &'static str,
    /// What is on file beside it, such as 经营异常名录; flags do not block by themselves.
    pub flags: Vec<String>,
    /// When the register said so.
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
}

impl StatusAnswer {
    /// Whether that means that the license may be used, with nothing to be told beside it. No code that is not known
    /// to mean so does.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        entry(self.code).is_ok_and(|(.., effect)| effect == Effect::Permitted)
    }

    /// Whether that means that the license may not be used at all any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        entry(self.code).is_ok_and(|(.., effect)| effect == Effect::NotPermitted)
    }

    pub(crate) fn of(entity: &EntityRecord) -> Result<Self, FrontError> {
        let (code, text, _) = entry(entity.status)?;
        Ok(Self { code, text, flags: entity.flags.clone(), as_of: entity.status_as_of })
    }

    pub(crate) fn of_standing(standing: &Standing) -> Result<Self, FrontError> {
        let (code, text, _) = entry(standing.code)?;
        Ok(Self { code, text, flags: standing.flags.clone(), as_of: standing.as_of })
    }
}

/// The codes there are.
pub(crate) fn codes() -> impl Iterator<Item = i64> {
    STATUSES.into_iter().map(|(code, ..)| code)
}

/// Whether there is such a code.
pub(crate) fn is_known(code: i64) -> bool {
    entry(code).is_ok()
}

/// Judges a license by its holder's standing: a finding `status_not_permitted` (invalid) or
/// `status_flagged` (a note), or none.
pub(crate) fn judge(standing: &StatusAnswer, judgement: &mut Judgement) -> Result<(), FrontError> {
    let (code, text, effect) = entry(standing.code)?;
    match effect {
        Effect::NotPermitted => judgement.invalid("status_not_permitted", format!("status {code}: {text}")),
        Effect::Flagged => judgement.note("status_flagged", format!("status {code}: {text}")),
        Effect::Permitted => {}
    }
    if !standing.flags.is_empty() {
        judgement.note("status_flagged", standing.flags.join("、"));
    }
    Ok(())
}

fn entry(code: i64) -> Result<(i64, &'static str, Effect), FrontError> {
    STATUSES.into_iter().find(|(known, ..)| *known == code).ok_or(FrontError::UnknownStatus(code))
}
