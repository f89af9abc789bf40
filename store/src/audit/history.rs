//! Whether the log in the database is the one that was signed: asked before the first checkpoint of a run, because the
//! tree that the writer holds was read from the database then.

use formats::PublicKey;

use super::guard::Authorship;
use super::keeper::CheckpointSigner;
use super::tree::{is_consistent, leaf_hash};
use super::writer::TreeHead;
use super::{AuditLog, Note, StoredCheckpoint, read_number, stored};
use crate::StoreError;
use crate::database::{Row, query};

/// What a tree is called that an operator took for the gateway's.
pub(crate) const ADOPTED: &str = "the log that was adopted";
/// Entries that are looked at in one go.
const PAGE: u64 = 1000;

/// Why the log is not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// It cannot be told now.
    Later(String),
    /// The log is not the one that was signed, or its end not what this gateway wrote.
    Altered(String),
}

impl From<StoreError> for Doubt {
    fn from(error: StoreError) -> Self {
        let said = crate::error::with_causes(&error);
        match error {
            StoreError::AuditAltered { reason } => Self::Altered(reason),
            // What is missing or unreadable in the log itself does not come back by waiting.
            StoreError::NotFound { .. } | StoreError::Corrupt { .. } => Self::Altered(said),
            _ => Self::Later(said),
        }
    }
}

impl From<sqlx::Error> for Doubt {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

fn altered(reason: impl Into<String>) -> Doubt {
    Doubt::Altered(reason.into())
}

/// Holds the tree in memory against the newest checkpoint, the one that is remembered outside the database, and the codes of
/// the entries after them. Answers how many entries are signed.
pub(crate) async fn vouch(log: &AuditLog, signer: &impl CheckpointSigner) -> Result<u64, Doubt> {
    let head = log.tree_head().await?;
    let (mut remembered, mut adopted) = (None, None);
    if let Some(guard) = log.guard() {
        if let Some(reason) = guard.is_of_another() {
            return Err(altered(reason));
        }
        remembered = guard.remembered()?;
        if remembered.is_none() {
            adopted = guard.adopted()?;
        }
    }
    let mut signed = 0;
    if let Some(newest) = log.store().audit_checkpoint(log.record().id, None).await? {
        if remembered.as_ref() != Some(&newest.note) {
            signed_here(log, signer, &newest).await?;
        }
        let what = format!("the newest checkpoint, over {} entries,", newest.size);
        signed = leads_to(log, &newest.note, head, &what).await?;
        if signed != newest.size {
            return Err(altered(format!("{what} says {signed}")));
        }
    }
    if let Some(note) = &remembered {
        let what = "the last checkpoint that this gateway remembers";
        signed = signed.max(leads_to(log, note, head, what).await?);
    }
    let mut from = signed;
    if let Some(tree) = adopted {
        from = from.max(holds(log, tree, head, ADOPTED).await?);
    }
    tail(log, from, head.size, remembered.is_some() || adopted.is_some()).await?;
    Ok(signed)
}

/// A checkpoint of the database has to be one that a key of the site signed.
pub(crate) async fn signed_here(
    log: &AuditLog,
    signer: &impl CheckpointSigner,
    newest: &StoredCheckpoint,
) -> Result<(), Doubt> {
    let signers = log.store().audit_signers(log.record().id).await?;
    let known = signers.iter().find(|known| known.number == newest.signer);
    let key = known.and_then(|known| PublicKey::from_spki_der(&known.public_key).ok());
    let note = Note::parse(&newest.note).ok();
    let size = newest.size;
    match key.filter(|key| note.is_some_and(|note| note.is_signed_by(key))) {
        None => Err(altered(format!(
            "the signature of the newest checkpoint, over {size} entries, does not hold"
        ))),
        Some(key) if signer.trusts(&key).await.map_err(Doubt::Later)? => Ok(()),
        Some(_) => Err(altered(format!(
            "no audit key of the site signed the newest checkpoint, over {size} entries"
        ))),
    }
}

/// The tree in memory has to hold the one of a checkpoint unchanged. Answers how many entries that covers.
pub(crate) async fn leads_to(log: &AuditLog, note: &str, head: TreeHead, what: &str) -> Result<u64, Doubt> {
    let note = Note::parse(note).map_err(|error| altered(format!("{what} cannot be read: {error}")))?;
    if note.origin != log.record().origin {
        return Err(altered(format!("{what} is another log's")));
    }
    holds(log, TreeHead { size: note.size, root: note.root }, head, what).await
}

/// The tree in memory has to hold an earlier one unchanged. Answers how many entries that has.
pub(crate) async fn holds(
    log: &AuditLog,
    earlier: TreeHead,
    head: TreeHead,
    what: &str,
) -> Result<u64, Doubt> {
    let TreeHead { size, root } = earlier;
    if size > head.size {
        return Err(altered(format!("{what} covers {size} entries, and there are {}", head.size)));
    }
    let path = log.store().audit_consistency(log.record().id, size, head.size).await?;
    if !is_consistent((size, &root), (head.size, &head.root), &path) {
        return Err(altered(format!("the entries are not those that {what} covers")));
    }
    Ok(size)
}

/// The entries that no checkpoint covers have to be this writer's. Where it remembers no checkpoint yet, those without a code
/// may be older than codes are; one with another's code never is.
pub(crate) async fn tail(log: &AuditLog, from: u64, until: u64, strict: bool) -> Result<(), Doubt> {
    let Some(guard) = log.guard() else { return Ok(()) };
    let (mut next, mut unknown) = (from, None);
    while next < until {
        let text = "SELECT idx, entry, leaf_hash, code FROM audit_entries
            WHERE log = $1 AND idx >= $2 AND idx < $3 ORDER BY idx";
        let rows =
            query(text).bind(log.record().id.0).bind(stored(next)).bind(stored(until.min(next + PAGE)));
        let rows = rows.fetch_all(log.store().readers()).await?;
        if rows.is_empty() {
            return Err(altered(format!("entry {next}, which no checkpoint covers, is missing")));
        }
        for row in rows {
            let read = |row: &Row| -> Result<_, StoreError> {
                let index = read_number(row.try_get("idx")?, "idx")?;
                let entry: Vec<u8> = row.try_get("entry")?;
                let (leaf, code): (Vec<u8>, Option<Vec<u8>>) =
                    (row.try_get("leaf_hash")?, row.try_get("code")?);
                Ok((index, leaf_hash(&entry), leaf, code))
            };
            let (index, leaf, beside, code) = read(&row)?;
            if index != next || leaf[..] != beside[..] {
                return Err(altered(format!("entry {next}, which no checkpoint covers, was changed")));
            }
            match guard.author(index, &leaf, code.as_deref()) {
                Authorship::Own => {}
                Authorship::Unknown if !strict => unknown = unknown.or(Some(index)),
                Authorship::Unknown | Authorship::False => {
                    let detail =
                        format!("this gateway did not write entry {index}, which no checkpoint covers");
                    return Err(altered(detail));
                }
            }
            next = index + 1;
        }
    }
    if let Some(first) = unknown {
        tracing::warn!(
            first,
            until,
            "entries without a code of this gateway are taken as its own: it remembers no checkpoint yet"
        );
    }
    Ok(())
}
