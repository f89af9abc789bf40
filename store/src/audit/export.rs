//! A log on paper: JSON lines that somebody else can verify with `docs/audit-format.md` in hand.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::PublicKey;
use serde::{Deserialize, Serialize};

use super::archive::{Archive, ArchiveError};
use super::tree::{Hash, Tiles};
use super::{AuditSigner, LogRecord, StoredCheckpoint};
use crate::{Store, StoreError};

/// The name of the format, in its first line.
pub(crate) const FORMAT: &str = "license-gateway-audit";
/// Its version.
pub(crate) const VERSION: u32 = 1;
/// Tiles that are kept while proofs are made, before they are read anew.
const KEPT_TILES: usize = 64;

/// One line of an export or of an archived range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Line {
    /// The first line: which part of which log.
    Log {
        /// [`FORMAT`].
        format: String,
        /// [`VERSION`].
        version: u32,
        /// The log's name in checkpoints.
        origin: String,
        /// The first entry.
        from: u64,
        /// The first entry after the last.
        until: u64,
        /// The size of the tree that proofs lead to.
        size: u64,
    },
    /// A key that signed checkpoints.
    Signer {
        /// Its number within the log.
        number: u64,
        /// The key's name.
        name: String,
        /// SubjectPublicKeyInfo, PEM.
        public_key: String,
        /// PEM, signer first; empty when it has none.
        certificate_chain: String,
    },
    /// A checkpoint.
    Checkpoint {
        /// Entries that it covers.
        size: u64,
        /// The number of the signer.
        signer: u64,
        /// The signed note.
        note: String,
    },
    /// An entry.
    Entry {
        /// Its place.
        index: u64,
        /// Its canonical JSON, octet by octet.
        entry: String,
        /// Inclusion proof to the size of the first line, base64.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Vec<String>>,
    },
    /// The last line.
    End {
        /// How many entries came before it.
        entries: u64,
    },
}

impl Line {
    pub(crate) fn log(origin: &str, from: u64, until: u64, size: u64) -> Self {
        Self::Log {
            format: FORMAT.to_owned(),
            version: VERSION,
            origin: origin.to_owned(),
            from,
            until,
            size,
        }
    }

    /// A signer as exports and answers show it.
    ///
    /// # Errors
    /// Its public key cannot be read.
    pub(crate) fn signer(signer: &AuditSigner) -> Result<Self, StoreError> {
        let key = PublicKey::from_spki_der(&signer.public_key);
        let key = key.map_err(|_| super::corrupt(signer.number, "public_key"))?;
        Ok(Self::Signer {
            number: signer.number,
            name: signer.name.clone(),
            public_key: key.to_pem(),
            certificate_chain: signer.certificate_chain.clone(),
        })
    }

    /// A checkpoint as exports and answers show it.
    #[must_use]
    pub(crate) fn checkpoint(checkpoint: &StoredCheckpoint) -> Self {
        let StoredCheckpoint { size, signer, note, .. } = checkpoint.clone();
        Self::Checkpoint { size, signer, note }
    }

    /// The line with its end.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default(); // texts and numbers always can be
        text.push('\n');
        text
    }
}

/// Reads a line.
///
/// # Errors
/// It is none of the format's.
pub(crate) fn parse_line(line: &str) -> Result<Line, serde_json::Error> {
    serde_json::from_str(line)
}

/// Hashes as proofs show them.
#[must_use]
pub fn proof_text(path: &[Hash]) -> Vec<String> {
    path.iter().map(|hash| STANDARD.encode(hash)).collect()
}

/// What is to be exported.
#[derive(Debug, Clone)]
pub struct ExportOrder {
    /// The first entry.
    pub from: u64,
    /// The first entry not wanted; nothing for all that the newest checkpoint covers.
    pub until: Option<u64>,
    /// Whether each entry gets its inclusion proof. Without proofs only an export from entry 0 up to the checkpoint can
    /// be verified.
    pub proofs: bool,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log has no checkpoint yet.
    #[error("no checkpoint covers the log yet")]
    Unsigned,
    /// Entries were asked for that no checkpoint covers or that do not follow one another.
    #[error("the range has to lie within the {size} entries that the newest checkpoint covers")]
    Range {
        /// What the checkpoint covers.
        size: u64,
    },
    /// An entry is neither in the database nor in the archive.
    #[error("entry {0} is not there")]
    Missing(u64),
    /// Read from the archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Read from the database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Written.
    #[error("the export cannot be written: {0}")]
    Write(#[from] std::io::Error),
}

impl Store {
    /// Writes a part of a log with its proofs, its checkpoint and the key that signed it, in bounded memory. `done` is
    /// told how many entries of how many are written.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub async fn export_audit(
        &self,
        log: &LogRecord,
        archive: Option<&Archive>,
        order: &ExportOrder,
        out: &mut (impl Write + Send),
        mut done: impl FnMut(u64, u64) + Send,
    ) -> Result<u64, ExportError> {
        let checkpoint = self.audit_checkpoint(log.id, None).await?.ok_or(ExportError::Unsigned)?;
        let (from, size) = (order.from, checkpoint.size);
        let until = order.until.unwrap_or(size);
        if from > until || until > size {
            return Err(ExportError::Range { size });
        }
        out.write_all(Line::log(&log.origin, from, until, size).text().as_bytes())?;
        for signer in
            self.audit_signers(log.id).await?.iter().filter(|signer| signer.number == checkpoint.signer)
        {
            out.write_all(Line::signer(signer)?.text().as_bytes())?;
        }
        out.write_all(Line::checkpoint(&checkpoint).text().as_bytes())?;
        let (mut next, mut tiles, mut loaded) = (from, Tiles::default(), 0);
        while next < until {
            let page = self.audit_range(log.id, archive, next, until).await?;
            if page.first().map(|(index, _)| *index) != Some(next) {
                return Err(ExportError::Missing(next));
            }
            for (index, entry) in page {
                if index != next {
                    return Err(ExportError::Missing(next));
                }
                let proof = if order.proofs {
                    if loaded == KEPT_TILES {
                        (tiles, loaded) = (Tiles::default(), 0);
                    }
                    loaded += usize::from(index.is_multiple_of(super::tree::TILE));
                    self.add_tiles(log.id, index, size, &mut tiles).await?;
                    let path = tiles.inclusion(index, size);
                    Some(proof_text(&path.map_err(|_| super::corrupt(index, "hashes"))?))
                } else {
                    None
                };
                let entry = String::from_utf8(entry).map_err(|_| super::corrupt(index, "entry"))?;
                out.write_all(Line::Entry { index, entry, proof }.text().as_bytes())?;
                next = index + 1;
            }
            done(next - from, until - from);
        }
        out.write_all(Line::End { entries: until - from }.text().as_bytes())?;
        out.flush()?;
        Ok(until - from)
    }

    /// Entries from `from` on and before `until`, as many as come in one go, from the archive or the database.
    ///
    /// # Errors
    /// The archive or the database.
    pub async fn audit_range(
        &self,
        log: super::LogId,
        archive: Option<&Archive>,
        from: u64,
        until: u64,
    ) -> Result<Vec<(u64, Vec<u8>)>, ArchiveError> {
        let segment = self.audit_segment_of(log, from).await?;
        let within = |(index, _): &(u64, Vec<u8>)| (from..until).contains(index);
        if let (Some(archive), Some(segment)) = (archive, segment) {
            let mut entries = self.archived_entries(archive, &segment).await?;
            entries.retain(within);
            return Ok(entries);
        }
        let rows = self.audit_entries_of(log, from, 1000).await?;
        Ok(rows.into_iter().map(|row| (row.index, row.entry)).filter(within).collect())
    }

    /// The entries that come directly before `end`, oldest first, wherever they are; `Err` within says why there are none.
    ///
    /// # Errors
    /// See [`Archive::entries`].
    pub async fn audit_before(
        &self,
        log: super::LogId,
        archive: Option<&Archive>,
        end: u64,
    ) -> Result<Result<Vec<(u64, Vec<u8>)>, &'static str>, ArchiveError> {
        let Some(last) = end.checked_sub(1) else { return Ok(Ok(Vec::new())) };
        let start = end.saturating_sub(1000);
        let page = u32::try_from(end - start).unwrap_or(u32::MAX);
        // First here: what is gone from here has a segment by then.
        let rows = self.audit_entries_of(log, start, page).await?;
        let rows: Vec<_> = rows.into_iter().map(|row| (row.index, row.entry)).collect();
        let rows: Vec<_> = rows.into_iter().filter(|(index, _)| *index < end).collect();
        if rows.last().is_some_and(|(index, _)| *index == last) {
            return Ok(Ok(rows));
        }
        let Some(segment) = self.audit_segment_over(log, last).await? else {
            return Ok(Err("they are neither in the database nor in the archive"));
        };
        match archive {
            _ if segment.removed_at.is_some() => Ok(Err("they were removed, as their time was over")),
            None => Ok(Err("they are in an archive, and none is configured")),
            Some(archive) => {
                let mut entries = self.archived_entries(archive, &segment).await?;
                entries.retain(|(index, _)| *index < end);
                Ok(Ok(entries))
            }
        }
    }
}
