//! Logs in one database bear witness for each other: the head of each stands in the others, so that whoever rewrites one
//! has to rewrite all of them.

use std::collections::BTreeMap;

use config::OwnName;
use formats::PublicKey;
use time::OffsetDateTime;

use super::tree::Hash;
use super::{AuditEntry, AuditQuery, LogId, LogRecord, Note};
use crate::{Store, StoreError};

/// Entries that are looked at in one go.
const PAGE: u32 = 1000;
/// Most heads of one log that a verification goes by; of more every other one is passed over until they are no more.
const MOST_HEADS: usize = 10_000;
/// How often a search of bounded length goes on.
const MOST_SEARCHES: usize = 50;
/// Whom entries name that the gateway makes of its own accord.
pub(crate) const GATEWAY: &str = OwnName::Gateway.as_str();
/// The action under which a log has another one's head.
pub const WITNESS: &str = "audit.witness";

/// The head of a log, as another one has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Whose head it is.
    pub origin: String,
    /// Entries in the tree.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Witness {
    /// The entry that says so.
    #[must_use]
    pub fn entry(&self, at: OffsetDateTime, request_id: String) -> AuditEntry {
        AuditEntry {
            action: WITNESS.to_owned(),
            actor: GATEWAY.to_owned(),
            at,
            device: None,
            input_digest: None,
            key: None,
            outcome: "ok".to_owned(),
            request_id,
            result_digest: Some(hex::encode(self.root)),
            subject: Some(format!("{} {}", self.origin, self.size)),
        }
    }

    /// What an entry bears witness of, if it does.
    fn of(entry: &[u8]) -> Option<Self> {
        Self::of_entry(&serde_json::from_slice(entry).ok()?)
    }

    fn of_entry(entry: &AuditEntry) -> Option<Self> {
        if !is_witness(entry) {
            return None;
        }
        let (origin, size) = entry.subject.as_deref()?.rsplit_once(' ')?;
        let mut root = Hash::default();
        hex::decode_to_slice(entry.result_digest.as_deref()?, &mut root).ok()?;
        Some(Self { origin: origin.to_owned(), size: size.parse().ok()?, root })
    }
}

fn is_witness(entry: &AuditEntry) -> bool {
    entry.action == WITNESS && entry.outcome == "ok" && entry.actor == GATEWAY
}

impl Store {
    /// The newest checkpoints of the other logs of the database, as the heads they say, where one of these keys
    /// (SubjectPublicKeyInfo, DER) signed them; nothing beside a log whose newest checkpoint none of them did.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn audit_heads_beside(
        &self,
        log: LogId,
        trusted: &[Vec<u8>],
    ) -> Result<Vec<(LogRecord, Option<Witness>)>, StoreError> {
        let keys: Vec<_> = trusted.iter().filter_map(|key| PublicKey::from_spki_der(key).ok()).collect();
        let mut heads = Vec::new();
        for other in self.audit_logs().await?.into_iter().filter(|other| other.id != log) {
            let Some(newest) = self.audit_checkpoint(other.id, None).await? else { continue };
            let note = Note::parse(&newest.note).ok().filter(|note| {
                note.origin == other.origin
                    && note.size == newest.size
                    && keys.iter().any(|key| note.is_signed_by(key))
            });
            let head = note.map(|note| Witness { origin: note.origin, size: note.size, root: note.root });
            heads.push((other, head));
        }
        Ok(heads)
    }

    /// The last head of each other log that this log has on record, as far as it is in the database.
    ///
    /// # Errors
    /// The database does not answer, or holds an entry that is none.
    pub async fn audit_heads_vouched(&self, log: LogId) -> Result<Vec<Witness>, StoreError> {
        let others = self.audit_logs().await?.into_iter().filter(|other| other.id != log).count();
        let mut query = AuditQuery {
            actor: Some(GATEWAY.to_owned()),
            action: Some(WITNESS.to_owned()),
            limit: PAGE,
            ..AuditQuery::default()
        };
        let mut found = BTreeMap::new();
        for _ in 0..MOST_SEARCHES {
            let page = self.search_audit(log, &query).await?;
            for head in page.items.iter().filter_map(|(_, entry)| Witness::of_entry(entry)) {
                found.entry(head.origin.clone()).or_insert(head); // the newest comes first
            }
            query.cursor = page.next;
            if found.len() >= others || page.next.is_none() {
                break;
            }
        }
        Ok(found.into_values().collect())
    }

    /// What the other logs have of this one's head, as far as they are in the database: the largest, and of the others as
    /// many as memory should hold, spread evenly.
    pub(crate) async fn witnesses_of(&self, log: &LogRecord) -> Result<Vec<Witness>, StoreError> {
        let mut found = Vec::new();
        for other in self.audit_logs().await?.into_iter().filter(|other| other.id != log.id) {
            let mut next = 0;
            loop {
                let page = self.audit_entries_of(other.id, next, PAGE).await?;
                let Some(last) = page.last() else { break };
                next = last.index + 1;
                let witnesses = page.iter().filter_map(|row| Witness::of(&row.entry));
                found.extend(witnesses.filter(|witness| witness.origin == log.origin));
                thin_out(&mut found, 2 * MOST_HEADS);
            }
        }
        thin_out(&mut found, MOST_HEADS);
        Ok(found)
    }
}

/// Leaves every other head out, never the largest, until there are no more than `most`.
fn thin_out(heads: &mut Vec<Witness>, most: usize) {
    while heads.len() > most {
        heads.sort_by_key(|head| std::cmp::Reverse(head.size));
        let mut place = 0_usize;
        heads.retain(|_| {
            place += 1;
            place % 2 == 1
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_thinned_out_evenly_and_the_largest_stays() {
        let head = |size| Witness { origin: "o".to_owned(), size, root: Hash::default() };
        let mut heads: Vec<_> = (1..=45).rev().map(head).collect();
        thin_out(&mut heads, 10);
        let sizes: Vec<_> = heads.iter().map(|head| head.size).collect();
        assert_eq!(sizes, [45, 37, 29, 21, 13, 5]);
        thin_out(&mut heads, 10);
        assert_eq!(heads.len(), 6, "no more than needed");
    }
}
