//! What query certificates (打印查询证明) certified. Beside the stamp of one ([`crate::Stamp`]) stands the snapshot that it was
//! set from: sealed, as it holds what is not for everybody, and with a copy of the entry of the audit log that has its digest.
//! What is kept is thus proved as stamps are, also when the snapshot itself has been taken away.

use config::AppId;
use serde::Deserialize;
use sm3::{Digest, Sm3};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::audit::{AuditEntry, LogId, leaf_hash};
use crate::database::{Row, instant, query};
use crate::protection::Cell;
use crate::{Store, StoreError};

const CERTIFICATE: &str = "query certificate";

/// A snapshot that is to be kept.
pub struct NewSnapshot<'a> {
    /// The certificate's number.
    pub id: &'a str,
    /// Who had it made.
    pub app: &'a AppId,
    /// Of whom it is.
    pub uscc: &'a str,
    /// Its octets.
    pub snapshot: &'a [u8],
    /// What the log has of it: the entry's subject is [`snapshot_subject`], its `result_digest` SM3 of the snapshot.
    pub entry: AuditEntry,
    /// Where.
    pub log: LogId,
    /// Its place there.
    pub audit_index: u64,
}

/// What was certified.
#[derive(Clone)]
pub struct KeptSnapshot {
    /// The certificate's number.
    pub id: String,
    /// Who had it made.
    pub app: AppId,
    /// Of whom it is.
    pub uscc: String,
    /// When; whole seconds are kept.
    pub made_at: OffsetDateTime,
    /// Its octets, until their time is over.
    pub snapshot: Option<Zeroizing<Vec<u8>>>,
    /// SM3 of them.
    pub digest: [u8; 32],
    /// In which log it is on record.
    pub log: LogId,
    /// Its entry.
    pub audit_index: u64,
}

/// How the log's entry about a certificate names it.
#[must_use]
pub fn snapshot_subject(id: &str, uscc: &str) -> String {
    format!("{id} {uscc}")
}

impl Store {
    /// Keeps what is going to be certified.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] for a number that is taken; [`StoreError::Locked`] without a data key.
    pub async fn keep_snapshot(&self, new: NewSnapshot<'_>) -> Result<(), StoreError> {
        let sealed = self.protection().seal(cell(new.id), new.snapshot)?;
        let digest: [u8; 32] = Sm3::digest(new.snapshot).into();
        let made_at = new.entry.at.unix_timestamp();
        query(
            "INSERT INTO query_certificates (id, app, uscc, made_at, snapshot, digest, log, idx, entry)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(new.id)
        .bind(new.app.as_str())
        .bind(new.uscc)
        .bind(made_at)
        .bind(sealed)
        .bind(&digest[..])
        .bind(new.log.0)
        .bind(i64::try_from(new.audit_index).unwrap_or(i64::MAX))
        .bind(new.entry.canonical_json()?)
        .execute(self.writer())
        .await
        .map_err(|error| StoreError::from_insert(CERTIFICATE, new.id, error))?;
        Ok(())
    }

    /// What the certificate of a number certified. A certificate counts only with its stamp, which is asked for apart.
    ///
    /// # Errors
    /// [`StoreError::Altered`] of what the log does not vouch for, and of a snapshot that was not sealed for this place;
    /// [`StoreError::Locked`] without a data key.
    pub async fn kept_snapshot(&self, id: &str) -> Result<Option<KeptSnapshot>, StoreError> {
        let possible = if id.contains('\0') { "" } else { id }; // no number is empty
        let row = query("SELECT * FROM query_certificates WHERE id = $1").bind(possible);
        let Some(row) = row.fetch_optional(self.readers()).await? else { return Ok(None) };
        let (kept, entry) = self.read_snapshot(&row)?;
        let leaf = match self.audit_leaf(kept.log, kept.audit_index).await {
            // There is no such entry in that log.
            Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => None,
            leaf => Some(leaf?),
        };
        let opened = kept.snapshot.as_ref().map(|octets| <[u8; 32]>::from(Sm3::digest(&octets[..])));
        let same = opened.is_none_or(|digest| digest == kept.digest);
        if same && leaf == Some(leaf_hash(&entry)) && is_vouched_for(&kept, &entry) {
            return Ok(Some(kept));
        }
        Err(StoreError::Altered { what: CERTIFICATE, id: kept.id })
    }

    /// Takes away the snapshots of certificates made before a time; their digests stay. Answers how many there were.
    pub async fn forget_snapshots(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let forgotten = query(
            "UPDATE query_certificates SET snapshot = NULL WHERE made_at < $1 AND snapshot IS NOT NULL",
        )
        .bind(before.unix_timestamp())
        .execute(self.writer())
        .await?;
        Ok(forgotten.rows_affected())
    }

    fn read_snapshot(&self, row: &Row) -> Result<(KeptSnapshot, Vec<u8>), StoreError> {
        let id: String = row.try_get("id")?;
        let corrupt = |column| StoreError::Corrupt { what: CERTIFICATE, id: id.clone(), column };
        let sealed: Option<Vec<u8>> = row.try_get("snapshot")?;
        let snapshot = sealed.map(|sealed| self.protection().open(cell(&id), &sealed)).transpose()?;
        let kept = KeptSnapshot {
            app: AppId::parse(row.try_get("app")?).map_err(|_| corrupt("app"))?,
            uscc: row.try_get("uscc")?,
            made_at: instant(row, "made_at")?.ok_or_else(|| corrupt("made_at"))?,
            snapshot,
            digest: row.try_get::<&[u8], _>("digest")?.try_into().map_err(|_| corrupt("digest"))?,
            log: LogId(row.try_get("log")?),
            audit_index: u64::try_from(row.try_get::<i64, _>("idx")?).map_err(|_| corrupt("idx"))?,
            id: id.clone(),
        };
        Ok((kept, row.try_get("entry")?))
    }
}

/// Whether the entry is about this row and no other.
fn is_vouched_for(kept: &KeptSnapshot, entry: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Said {
        actor: String,
        outcome: String,
        subject: Option<String>,
        result_digest: Option<String>,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    }
    serde_json::from_slice(entry).is_ok_and(|said: Said| {
        said.outcome == "ok"
            && said.actor == kept.app.as_str()
            && said.at.unix_timestamp() == kept.made_at.unix_timestamp()
            && said.subject == Some(snapshot_subject(&kept.id, &kept.uscc))
            && said.result_digest == Some(hex::encode(kept.digest))
    })
}

fn cell(id: &str) -> Cell<'_> {
    Cell { table: "query_certificates", column: "snapshot", row: id }
}
