//! Whether somebody may use a license for something: decided by a table that is data (docs/adr/0053), by who acts, for
//! which item, and how the entity stands.
//!
//! Invariants: what the table does not speak of is refused; nobody acts by a license that is not valid.

mod table;

use formats::verdict::Verdict;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::StatusAnswer;
pub use table::{DecisionTable, TableError};
use table::{Effect, Item};

/// What a license is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LicenseUse {
    /// To log in as the entity (扫码登录).
    Login,
    /// To be shown (亮照).
    Show,
    /// To sign as the entity (协同签名).
    Sign,
    /// To have its file fetched (执照留档).
    File,
}

/// In what role somebody acts for an entity: `opertype` 0, 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// 法定代表人, or who stands in that place.
    LegalRepresentative,
    /// 证照管理员, of whom an entity has five at most.
    Administrator,
    /// 办事人, who acts by an authorisation.
    Agent,
}

impl Role {
    /// All of them, by their words.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("legal_representative", Self::LegalRepresentative),
        ("administrator", Self::Administrator),
        ("agent", Self::Agent),
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LegalRepresentative => "legal_representative",
            Self::Administrator => "administrator",
            Self::Agent => "agent",
        }
    }

    /// Its number in the national interface: 0, 1, 2.
    #[must_use]
    pub fn opertype(self) -> u8 {
        match self {
            Self::LegalRepresentative => 0,
            Self::Administrator => 1,
            Self::Agent => 2,
        }
    }
}

/// By what an agent acts (授权书): the session's `auth_content` and `auth_term`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorisation {
    /// What it is called, where it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// For which items (精准授权); `None` for all business (全业务授权).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<String>>,
    /// Until when.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// What is to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionQuestion {
    /// What for.
    pub license_use: LicenseUse,
    /// Who acts.
    pub role: Role,
    /// For which item, by its code.
    pub item: Option<String>,
    /// By what, if it is an agent.
    pub authorisation: Option<Authorisation>,
    /// When.
    pub at: OffsetDateTime,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Whether it may be.
    pub permitted: bool,
    /// Why not: `license_not_valid`, `status_unknown`, `status_not_permitted`, `archive_only` (nobody acts by it any more; what is on file stays there), `item_required`, `item_unknown`,
    /// `item_not_permitted`, `role_not_permitted`, `authorisation_missing`, `authorisation_expired`,
    /// `authorisation_not_for_item`.
    pub reason: Option<&'static str>,
    /// Whether who reads of it is to be told how the entity stands.
    pub marked: bool,
    /// What for.
    #[serde(rename = "use")]
    pub license_use: LicenseUse,
    /// Who acts.
    pub role: Role,
    /// For which item.
    pub item: Option<String>,
    /// By which authorisation, where it has a name.
    pub authorisation: Option<String>,
    /// The row of the table that decided about the status.
    pub standing: Option<String>,
    /// The table's version.
    pub table: String,
    /// SM3 of the table, hexadecimal.
    pub table_digest: String,
}

impl DecisionTable {
    /// Who may act for an item, by its code; `None` for an item that the table does not speak of.
    #[must_use]
    pub fn roles_for(&self, item: &str) -> Option<&[Role]> {
        self.item(item).map(|item| self.roles(Some(item)))
    }

    /// Decides. `verdict` is the license's, `status` its entity's, none if it is not known.
    #[must_use]
    pub fn decide(
        &self,
        question: &DecisionQuestion,
        verdict: Verdict,
        status: Option<&StatusAnswer>,
    ) -> Decision {
        let standing = status.and_then(|status| self.standing(status.code, &status.flags));
        let effect = standing.map(|standing| standing.effect(question.license_use));
        let reason = self.refusal(question, verdict, status.is_some(), effect);
        Decision {
            permitted: reason.is_none(),
            reason,
            marked: effect != Some(&Effect::Permitted),
            license_use: question.license_use,
            role: question.role,
            item: question.item.clone(),
            authorisation: question.authorisation.as_ref().and_then(|authorisation| authorisation.id.clone()),
            standing: standing.map(|standing| standing.name.clone()),
            table: self.version().to_owned(),
            table_digest: self.digest().to_owned(),
        }
    }

    fn refusal(
        &self,
        question: &DecisionQuestion,
        verdict: Verdict,
        is_known: bool,
        effect: Option<&Effect>,
    ) -> Option<&'static str> {
        let item = question.item.as_ref().map(|code| self.item(code));
        if item == Some(None) {
            return Some("item_unknown");
        }
        let item = item.flatten();
        if !is_known {
            return Some("status_unknown");
        }
        match (effect, item) {
            (Some(Effect::Archive), _) => return Some("archive_only"),
            (None | Some(Effect::Refused), _) => return Some("status_not_permitted"),
            (Some(Effect::Only(_)), None) => return Some("item_required"),
            (Some(Effect::Only(kind)), Some(item)) if !item.is_of(kind) => return Some("item_not_permitted"),
            (Some(Effect::Only(_) | Effect::Permitted | Effect::Marked), _) => {}
        }
        if verdict != Verdict::Valid {
            return Some("license_not_valid");
        }
        if !self.roles(item).contains(&question.role) {
            return Some("role_not_permitted");
        }
        if question.role == Role::Agent { by_authorisation(question, item) } else { None }
    }
}

/// Why an agent's authorisation does not do.
fn by_authorisation(question: &DecisionQuestion, item: Option<&Item>) -> Option<&'static str> {
    let Some(authorisation) = &question.authorisation else { return Some("authorisation_missing") };
    if authorisation.until <= question.at {
        return Some("authorisation_expired");
    }
    let Some(items) = &authorisation.items else { return None };
    match item {
        None => Some("item_required"),
        Some(item) if !items.contains(&item.code) => Some("authorisation_not_for_item"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
