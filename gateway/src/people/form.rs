//! What administrators say of an account.

use std::collections::BTreeSet;

use config::AccountName;
use serde::Deserialize;
use store::Role;
use utoipa::ToSchema;

use crate::body::Faults;
use crate::problem::Problem;

/// An account to be made, or what is said of one anew. It names a person, so that it has no `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountRequest {
    /// The name to sign in with, for good: 2 to 48 of `a-z 0-9 . _ -`, beginning with a letter. Only of a new account.
    name: Option<String>,
    /// What people call the person, 1 to 64 characters.
    display_name: String,
    /// What the person does: `operator`, `window-clerk`, `service-seat`, `auditor`, `system-admin`, `security-admin`,
    /// `audit-admin`. Of the last three a person has one at most.
    roles: Vec<String>,
    /// Why, for the record: 1 to 500 characters.
    reason: String,
}

/// What was said.
pub(crate) struct AccountForm {
    pub(crate) name: AccountName,
    pub(crate) display_name: String,
    pub(crate) roles: BTreeSet<Role>,
    pub(crate) reason: String,
}

impl AccountRequest {
    /// Of a new account, or of the one that has this name.
    pub(crate) fn read(self, changed: Option<&AccountName>) -> Result<AccountForm, Problem> {
        let mut faults = Faults::default();
        let name = match (changed, &self.name) {
            (Some(name), None) => Some(name.clone()),
            (Some(name), Some(said)) if said == name.as_str() => Some(name.clone()),
            (Some(_), Some(_)) => {
                faults.add("name", "not_changeable", "the name of an account is for good");
                None
            }
            (None, Some(said)) => faults.parse("name", "invalid_value", AccountName::parse(said)),
            (None, None) => {
                faults.add("name", "missing_field", "is required");
                None
            }
        };
        let display_name = self.display_name.trim();
        if !(1..=64).contains(&display_name.chars().count()) || display_name.chars().any(is_unseen) {
            faults.add("display_name", "invalid_value", "must be 1 to 64 characters that can be seen");
        }
        let mut roles = BTreeSet::new();
        for word in &self.roles {
            match Role::ALL.into_iter().find(|role| role.as_str() == word) {
                Some(role) => drop(roles.insert(role)),
                None => {
                    let known = Role::ALL.map(Role::as_str).join(", ");
                    faults.add("roles", "invalid_value", format!("must be among: {known}"));
                }
            }
        }
        if let Some(conflict) = Role::conflict(&roles) {
            faults.add("roles", "roles_conflict", conflict);
        }
        let reason = crate::input::reason(&mut faults, &self.reason).map(str::to_owned);
        let form = name.zip(reason).map(|(name, reason)| AccountForm {
            name,
            display_name: display_name.to_owned(),
            roles,
            reason,
        });
        faults.into_result(form)
    }
}

/// Characters that change how others are read, or that nobody sees: one name could pass for another.
pub(crate) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}')
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}')
        || matches!(c, '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}
