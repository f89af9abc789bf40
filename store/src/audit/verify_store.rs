//! Verification of a log in its database, with its archive: feeds [`Replay`].

use super::archive::{Archive, Segment};
use super::export::{Line, parse_line};
use super::tiles::split_hashes;
use super::tree::{Hash, TILE, Tile};
use super::verify::{JudgedKey, Replay, Verification, VerifierKey};
use super::{AuditSigner, LogId, LogRecord, corrupt, read_number, stored};
use crate::database::query;
use crate::{Store, StoreError};
use formats::PublicKey;

/// Checkpoints read in one go.
const CHECKPOINTS: u32 = 1000;

/// What a log in a database is verified against.
pub struct VerifyOrder<'a> {
    /// Where its archived entries are.
    pub archive: Option<&'a Archive>,
    /// Checkpoints that are known from elsewhere: what was cut off before one of them does not go unnoticed.
    pub notes: &'a [String],
    /// What a key is worth: by its name, itself, and its certificates as PEM.
    pub judge: &'a (dyn Fn(&str, &PublicKey, &str) -> JudgedKey + Sync),
}

/// Checkpoints on their way into a replay.
struct Checkpoints {
    log: LogId,
    /// The largest that was read.
    read: u64,
    all: bool,
}

impl Store {
    /// Verifies a log from its first entry to its last in bounded memory. `done` is told how many entries of how many were
    /// looked at.
    ///
    /// # Errors
    /// The database does not answer, or holds what cannot be read. What is wrong with the log is an answer.
    pub async fn verify_audit(
        &self,
        log: &LogRecord,
        order: &VerifyOrder<'_>,
        mut done: impl FnMut(u64, u64),
    ) -> Result<Verification, StoreError> {
        let keys = self.audit_signers(log.id).await?;
        let keys = keys.iter().map(|signer| verifier_key(signer, order)).collect::<Result<Vec<_>, _>>()?;
        let mut replay = Replay::new(&log.origin, keys);
        for note in order.notes {
            replay.checkpoint(None, None, note);
        }
        let witnesses = self.witnesses_of(log).await?;
        let witnessed = witnesses.iter().map(|witness| witness.size).max().unwrap_or(0);
        for witness in witnesses {
            replay.witnessed(witness.size, witness.root);
        }
        let archived = self.audit_segments(log.id).await?.last().map_or(0, |last| last.until);
        let tiles = query("SELECT count(*) FROM audit_tiles WHERE log = $1 AND level = 0").bind(log.id.0);
        let tiles = read_number(tiles.fetch_one(self.readers()).await?.try_get(0)?, "number")?;
        let known = self.audit_size(log.id).await?.max(archived).max(tiles * TILE).max(witnessed);
        let mut checkpoints = Checkpoints { log: log.id, read: 0, all: false };
        while !replay.ended() {
            // Asked for anew each time: a running archiver moves entries while they are read.
            let next = replay.next();
            if let Some(segment) = self.audit_segment_over(log.id, next).await? {
                checkpoints.feed(self, &mut replay, segment.until).await?;
                if segment.removed_at.is_some() {
                    self.replay_removed(log.id, &mut replay, &segment).await?;
                } else {
                    self.replay_archived(log.id, &mut replay, &segment, order.archive).await?;
                }
            } else {
                let rows = self.audit_entries_of(log.id, next, CHECKPOINTS).await?;
                let (Some(first), Some(last)) = (rows.first(), rows.last().map(|row| row.index)) else {
                    break;
                };
                if first.index != next && self.audit_segment_over(log.id, next).await?.is_some() {
                    continue;
                }
                checkpoints.feed(self, &mut replay, last + 1).await?;
                for row in rows {
                    let hash = Some(&row.leaf_hash);
                    self.replay_entry(log.id, &mut replay, row.index, &row.entry, hash).await?;
                    if replay.ended() {
                        break;
                    }
                }
            }
            done(replay.next(), known);
        }
        checkpoints.feed(self, &mut replay, u64::MAX).await?;
        Ok(replay.finish(known))
    }

    async fn replay_entry(
        &self,
        log: LogId,
        replay: &mut Replay,
        index: u64,
        entry: &[u8],
        hash: Option<&Hash>,
    ) -> Result<(), StoreError> {
        if replay.next().is_multiple_of(TILE) {
            let tile = self.full_tile(log, 0, replay.next() / TILE).await?;
            replay.tile(tile.map(|(_, hashes)| hashes));
        }
        let full = replay.entry(index, entry, hash);
        self.compare_tiles(log, replay, full).await
    }

    /// The tiles that entries make, against those that proofs are made of.
    async fn compare_tiles(
        &self,
        log: LogId,
        replay: &mut Replay,
        full: Vec<Tile>,
    ) -> Result<(), StoreError> {
        for tile in full {
            let kept = self.full_tile(log, tile.level, tile.number).await?;
            // Of the lowest level each hash was compared with its entry.
            let same = kept.is_some_and(|(root, hashes)| {
                root == tile.root && (tile.level == 0 || hashes == tile.hashes)
            });
            if !same && !replay.ended() && !replay.suspects() {
                let detail =
                    format!("tile {} of level {} is not what the entries make", tile.number, tile.level);
                replay.broken("tile_changed", None, detail);
            }
        }
        Ok(())
    }

    async fn full_tile(
        &self,
        log: LogId,
        level: u32,
        number: u64,
    ) -> Result<Option<(Hash, Vec<Hash>)>, StoreError> {
        let text = "SELECT root, hashes FROM audit_tiles WHERE log = $1 AND level = $2 AND number = $3";
        let query = query(text).bind(log.0).bind(i64::from(level)).bind(stored(number));
        let Some(row) = query.fetch_optional(self.readers()).await? else { return Ok(None) };
        let unreadable = || corrupt(number, "hashes");
        let root = Hash::try_from(row.try_get::<&[u8], _>("root")?).map_err(|_| unreadable())?;
        Ok(Some((root, split_hashes(row.try_get("hashes")?).ok_or_else(unreadable)?)))
    }

    async fn replay_removed(
        &self,
        log: LogId,
        replay: &mut Replay,
        segment: &Segment,
    ) -> Result<(), StoreError> {
        replay.removed_range(segment.start, segment.until);
        while replay.next() < segment.until && !replay.ended() {
            let number = replay.next() / TILE;
            match self.full_tile(log, 0, number).await? {
                Some((_, hashes)) => {
                    // All of it, unless what comes before was read while it was still there.
                    let read = usize::try_from(replay.next() % TILE).unwrap_or(0).min(hashes.len());
                    let full = replay.removed_tile(&hashes[read..]);
                    self.compare_tiles(log, replay, full).await?;
                }
                None => {
                    let first = number * TILE;
                    replay.broken(
                        "entry_missing",
                        Some(first),
                        format!("entry {first} is missing, and so is its hash"),
                    );
                }
            }
        }
        Ok(())
    }

    async fn replay_archived(
        &self,
        log: LogId,
        replay: &mut Replay,
        segment: &Segment,
        archive: Option<&Archive>,
    ) -> Result<(), StoreError> {
        let Some(archive) = archive else {
            let detail = format!(
                "entries {} to {} are in the archive: say where it is",
                segment.start,
                segment.until - 1
            );
            replay.broken("archive_missing", Some(segment.start), detail);
            return Ok(());
        };
        // Also a file that was changed is read: the tree says which of its entries is broken.
        let (text, as_written) = match archive.read(segment).await {
            Ok(read) => read,
            Err(error) => {
                let now = self.audit_segment_over(log, segment.start).await?;
                if let Some(removed) = now.filter(|now| now.removed_at.is_some()) {
                    return self.replay_removed(log, replay, &removed).await; // its time ended meanwhile
                }
                let detail =
                    format!("{} in the archive: {}", segment.name, crate::error::with_causes(&error));
                replay.broken("entry_missing", Some(segment.start), detail);
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&text);
        let from = replay.next();
        for line in text.lines() {
            match parse_line(line) {
                // Read from the database before it was moved here.
                Ok(Line::Entry { index, .. }) if index < from => {}
                Ok(Line::Entry { index, entry, .. }) => {
                    self.replay_entry(log, replay, index, entry.as_bytes(), None).await?;
                }
                Ok(_) => {}
                Err(_) => {
                    let next = replay.next();
                    replay.broken(
                        "entry_changed",
                        Some(next),
                        format!("{}: entry {next} cannot be read", segment.name),
                    );
                }
            }
            if replay.ended() {
                return Ok(());
            }
        }
        let next = replay.next();
        if next < segment.until {
            replay.broken("entry_missing", Some(next), format!("{}: entry {next} is missing", segment.name));
        } else if !as_written {
            replay.archive_changed(&segment.name);
        }
        Ok(())
    }
}

impl Checkpoints {
    /// Reads checkpoints until one covers `size` entries.
    async fn feed(&mut self, store: &Store, replay: &mut Replay, size: u64) -> Result<(), StoreError> {
        while !self.all && self.read < size {
            let page = store.audit_checkpoints(self.log, self.read, CHECKPOINTS).await?;
            self.all = page.len() < CHECKPOINTS as usize;
            for checkpoint in page {
                self.read = checkpoint.size;
                replay.checkpoint(Some(checkpoint.size), Some(checkpoint.signer), &checkpoint.note);
            }
        }
        Ok(())
    }
}

fn verifier_key(signer: &AuditSigner, order: &VerifyOrder<'_>) -> Result<VerifierKey, StoreError> {
    let key =
        PublicKey::from_spki_der(&signer.public_key).map_err(|_| corrupt(signer.number, "public_key"))?;
    let judged = (order.judge)(&signer.name, &key, &signer.certificate_chain);
    Ok(VerifierKey { number: signer.number, key, judged })
}
