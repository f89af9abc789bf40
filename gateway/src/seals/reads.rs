//! Reads of people's seals: a name and a picture that stand for a natural person, on record as looks into the library are.

use store::{AuditEntry, RegisteredSeal, SealKind, leaf_hash, root_of};

use crate::auth::Authenticated;
use crate::problem::Problem;
use crate::state::Gateway;

/// Puts on record which people's seals somebody is going to be shown; of others nothing is recorded. Several of a page are in
/// one entry: how many, and the root over their numbers in the order of the page.
pub(super) async fn record<'s>(
    gateway: &Gateway,
    caller: &Authenticated,
    seals: impl IntoIterator<Item = &'s RegisteredSeal>,
) -> Result<(), Problem> {
    let people = seals.into_iter().filter(|seal| seal.kind == SealKind::Person);
    let numbers: Vec<&str> = people.map(|seal| seal.id.as_str()).collect();
    let (input_digest, subject) = match numbers[..] {
        [] => return Ok(()),
        [one] => (None, one.to_owned()),
        _ => {
            let leaves: Vec<_> = numbers.iter().map(|number| leaf_hash(number.as_bytes())).collect();
            (Some(hex::encode(root_of(&leaves))), format!("{} seals of people", numbers.len()))
        }
    };
    let (actor, caller) = (caller.actor(), caller.caller());
    let entry = AuditEntry {
        action: "seal.read".to_owned(),
        actor,
        at: caller.at,
        device: None,
        input_digest,
        key: None,
        outcome: "ok".to_owned(),
        request_id: caller.request_id,
        result_digest: None,
        subject: Some(subject),
    };
    gateway.audit.append(entry).await.map(drop).map_err(|error| Problem::record_unavailable(&error))
}
