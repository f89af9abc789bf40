//! What is asked about a license beside whether it is genuine: of which time its holder's status is wanted and how old it
//! may be, and whether somebody may use it for something.

use std::time::Duration;

use serde::Deserialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use verify_front::{Authorisation, DecisionQuestion, LicenseUse, Role, StatusQuestion};

use super::LicenseRequest;
use crate::body::{Faults, Object};
use crate::people::form::is_unseen;

/// The oldest status that anybody can want to accept: ten years, in seconds.
const LONGEST_AGE: u64 = 315_360_000;
/// Characters of an item's code, and of what an authorisation is called.
const LONGEST_CODE: usize = 60;
/// Items of an authorisation.
const MOST_ITEMS: usize = 100;

const USES: [(&str, LicenseUse); 4] = [
    ("login", LicenseUse::Login),
    ("show", LicenseUse::Show),
    ("sign", LicenseUse::Sign),
    ("file", LicenseUse::File),
];

/// By what an agent acts (授权书), as the session says it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorisationRequest {
    /// What it is called, for the record: 1 to 60 characters, no name of a person.
    id: Option<String>,
    /// The codes of the items it is for (精准授权), 1 to 100; absent for all business (全业务授权).
    items: Option<Vec<String>>,
    /// RFC 3339: until when it holds.
    until: String,
}

/// Which status is wanted.
pub(super) fn status(
    request: &LicenseRequest,
    now: OffsetDateTime,
    faults: &mut Faults,
) -> Option<StatusQuestion> {
    let at = match &request.status_at {
        Some(text) => {
            let at = faults.time("status_at", Some(text.as_str()), now)?;
            if at > now {
                faults.add("status_at", "invalid_value", "must not be in the future");
                return None;
            }
            Some(at)
        }
        None => None,
    };
    if request.status_max_age_s.is_some_and(|age| age > LONGEST_AGE) {
        faults.add("status_max_age_s", "invalid_value", format!("must be 0 to {LONGEST_AGE}"));
        return None;
    }
    Some(StatusQuestion { at, max_age: request.status_max_age_s.map(Duration::from_secs), now })
}

/// What is to be decided, if anything is; `Some(None)` if nothing is.
pub(super) fn decision(
    request: &LicenseRequest,
    now: OffsetDateTime,
    faults: &mut Faults,
) -> Option<Option<DecisionQuestion>> {
    let LicenseRequest { license_use, role, item, authorisation, .. } = request;
    if license_use.is_none() {
        let needless =
            [("role", role.is_some()), ("item", item.is_some()), ("authorisation", authorisation.is_some())];
        for (field, _) in needless.iter().filter(|(_, is_there)| *is_there) {
            faults.add(field, "invalid_value", "means something beside `use` only");
        }
        return needless.iter().all(|(_, is_there)| !is_there).then_some(None);
    }
    let before = faults.count();
    for (field, _) in [("at", request.at.is_some()), ("status_at", request.status_at.is_some())]
        .iter()
        .filter(|(_, is)| *is)
    {
        faults.add(field, "invalid_value", "a use is decided as of now");
    }
    let license_use = faults.word("use", license_use.as_deref(), &USES, LicenseUse::Show);
    if role.is_none() {
        faults.add("role", "missing_field", "must say who acts");
    }
    let role = faults.word("role", role.as_deref(), &Role::NAMES, Role::LegalRepresentative);
    code("item", item.as_deref(), faults);
    let authorisation = authorisation.as_ref().map(|Object(authorisation)| read(authorisation, now, faults));
    if role.is_some_and(|role| role != Role::Agent) && authorisation.is_some() {
        faults.add("authorisation", "invalid_value", "is an agent's; others act by their office");
    }
    if faults.count() > before {
        return None;
    }
    Some(Some(DecisionQuestion {
        license_use: license_use?,
        role: role?,
        item: item.clone(),
        authorisation: authorisation.flatten(),
        at: now,
    }))
}

fn read(request: &AuthorisationRequest, now: OffsetDateTime, faults: &mut Faults) -> Option<Authorisation> {
    code("authorisation.id", request.id.as_deref(), faults);
    if let Some(items) = &request.items {
        if !(1..=MOST_ITEMS).contains(&items.len()) {
            faults.add("authorisation.items", "invalid_value", format!("must be 1 to {MOST_ITEMS} codes"));
        }
        for (place, item) in items.iter().enumerate().take(MOST_ITEMS) {
            code(&format!("authorisation.items[{place}]"), Some(item.as_str()), faults);
        }
    }
    let until = faults.time("authorisation.until", Some(request.until.as_str()), now)?;
    Some(Authorisation { id: request.id.clone(), items: request.items.clone(), until })
}

fn code(field: &str, text: Option<&str>, faults: &mut Faults) {
    let fits = |text: &str| {
        (1..=LONGEST_CODE).contains(&text.chars().count())
            && !text.chars().any(|character| character.is_whitespace() || is_unseen(character))
    };
    if !text.is_none_or(fits) {
        let detail = format!("must be 1 to {LONGEST_CODE} characters that are seen, without blanks");
        faults.add(field, "invalid_value", detail);
    }
}
