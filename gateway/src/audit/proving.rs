//! Proofs are computed here before they are shown or handed out: what they are made of is read from the database, and a page
//! that says "proved" is read by people who compute nothing.

use store::{Hash, LogRecord, Note, StoreError, TreeHead, is_consistent, root_from_inclusion, root_of};

use crate::problem::Problem;
use crate::state::Gateway;

/// The tree under a checkpoint.
pub(super) struct SignedTree(TreeHead);

/// The tree under a checkpoint over `size` entries, which a key has to have signed that the register has with purpose `audit`.
pub(super) async fn signed_tree(
    gateway: &Gateway,
    log: &LogRecord,
    size: u64,
    note: &str,
) -> Result<SignedTree, Problem> {
    let note = Note::parse(note).ok().filter(|note| note.origin == log.origin && note.size == size);
    let note = note.ok_or_else(|| broken(log, "its newest checkpoint is none of this log"))?;
    let keys = gateway.auditing.keys.registered().await.map_err(|error| Problem::database(&error))?;
    if !keys.iter().any(|key| note.is_signed_by(key)) {
        return Err(broken(log, "no audit key of the site signed its newest checkpoint"));
    }
    Ok(SignedTree(TreeHead { size, root: note.root }))
}

impl SignedTree {
    /// The other tree has to hold this one unchanged, or the other way round.
    pub(super) async fn agrees(
        self,
        gateway: &Gateway,
        log: &LogRecord,
        other: TreeHead,
    ) -> Result<(), Problem> {
        let (first, second) = if other.size <= self.0.size { (other, self.0) } else { (self.0, other) };
        let path = gateway.store.audit_consistency(log.id, first.size, second.size).await;
        hold_together(log, first, second, &path.map_err(|error| missing(log, &error))?)
    }
}

/// The tree of the first `size` entries, as the database has it.
pub(super) async fn tree(gateway: &Gateway, log: &LogRecord, size: u64) -> Result<TreeHead, Problem> {
    let root = match size {
        0 => root_of(&[]),
        _ => gateway.store.audit_root(log.id, size).await.map_err(|error| missing(log, &error))?,
    };
    Ok(TreeHead { size, root })
}

/// The tree that an inclusion proof leads to.
pub(super) fn tree_with(
    log: &LogRecord,
    leaf: &Hash,
    (place, size): (u64, u64),
    path: &[Hash],
) -> Result<TreeHead, Problem> {
    let root = root_from_inclusion(leaf, place, size, path);
    let root = root.ok_or_else(|| broken(log, "a proof has not the right form"))?;
    Ok(TreeHead { size, root })
}

/// The second tree has to have grown out of the first.
pub(super) fn hold_together(
    log: &LogRecord,
    first: TreeHead,
    second: TreeHead,
    path: &[Hash],
) -> Result<(), Problem> {
    match is_consistent((first.size, &first.root), (second.size, &second.root), path) {
        true => Ok(()),
        false => Err(broken(log, "its entries are not those that its newest checkpoint covers")),
    }
}

fn missing(log: &LogRecord, error: &StoreError) -> Problem {
    match error {
        StoreError::NotFound { .. } | StoreError::Corrupt { .. } => {
            broken(log, "entries are missing that its newest checkpoint covers")
        }
        error => Problem::database(error),
    }
}

fn broken(log: &LogRecord, reason: &str) -> Problem {
    Problem::audit_altered(&log.replica, reason)
}
