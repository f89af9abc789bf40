//! Licenses as they were shown (执照留档): for each a record, sealed, with the digests of the file, which is a blob of the
//! app beside the database. A retention goes into the transaction of the audit log's entry about it, with a copy of that
//! entry: what is kept is proved as stamps are, also when record and file have been taken away.
//!
//! Files are called by what they are, each app's for itself. One that is retained anew is written anew, so that what was lost
//! or altered on the disk comes back with it; the blob that nothing names then is a leftover.

use config::AppId;
use serde::Deserialize;
use sm3::{Digest, Sm3};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::audit::{LogId, leaf_hash};
use crate::blobs::Blob;
use crate::database::{Connection, Query, Row, instant, query};
use crate::protection::Cell;
use crate::{Hash, Store, StoreError};

const RETENTION: &str = "retention";
const FILE: &str = "retained file";

/// What is to be retained.
pub struct Retained<'a> {
    /// Its number.
    pub id: &'a str,
    /// The app's own number for the business.
    pub biz_no: &'a str,
    /// Of the license, where it can be read.
    pub uscc: Option<&'a str>,
    /// JSON.
    pub record: &'a [u8],
    /// The file, which is written; whose it is is whose the retention is.
    pub file: Blob,
    /// What the license was judged by, which is written.
    pub items: Vec<Hash>,
    /// When; whole seconds are kept.
    pub made_at: OffsetDateTime,
    /// Until when; whole seconds are kept.
    pub keep_until: OffsetDateTime,
}

/// A retention that is ready to be kept with its entry in the audit log.
pub struct NewRetention {
    id: String,
    biz: Vec<u8>,
    uscc: Option<String>,
    record: Vec<u8>,
    digest: Hash,
    file: Blob,
    items: Vec<Hash>,
    made_at: OffsetDateTime,
    keep_until: OffsetDateTime,
}

/// A retention whose time is over, as its row alone says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRetention {
    /// Its number.
    pub id: String,
    keep_until: i64,
}

/// What was retained.
#[derive(Clone)]
pub struct KeptRetention {
    /// Its number.
    pub id: String,
    /// Whose it is.
    pub app: AppId,
    /// Of the license, where it could be read.
    pub uscc: Option<String>,
    /// When; whole seconds.
    pub made_at: OffsetDateTime,
    /// Until when; whole seconds.
    pub keep_until: OffsetDateTime,
    /// JSON, until its time is over.
    pub record: Option<Zeroizing<Vec<u8>>>,
    /// SM3 of it.
    pub digest: Hash,
    /// SM3 of the file, hexadecimal.
    pub file: String,
    /// In which log it is on record.
    pub log: LogId,
    /// Its entry.
    pub audit_index: u64,
    /// That entry, canonical JSON.
    pub entry: Vec<u8>,
}

/// Which retentions are looked for.
#[derive(Debug, Clone)]
pub struct RetentionQuery<'a> {
    /// Of this app; of all if none.
    pub app: Option<&'a AppId>,
    /// For this business of that app.
    pub biz_no: Option<&'a str>,
    /// Of this license's holder.
    pub uscc: Option<&'a str>,
    /// Those before this one, by its time and number.
    pub before: Option<(i64, &'a str)>,
    /// Those that are kept still at this time.
    pub now: OffsetDateTime,
    /// So many at most.
    pub limit: u32,
}

/// How the log's entry about a retention names it.
#[must_use]
pub fn retention_subject(id: &str, uscc: Option<&str>) -> String {
    format!("{id} {}", uscc.unwrap_or("-"))
}

impl NewRetention {
    /// What it is when its number is another's.
    pub(crate) fn taken(&self) -> StoreError {
        StoreError::AlreadyExists { what: RETENTION, id: self.id.clone() }
    }

    /// Keeps it beside its entry, within the entry's transaction; false where there is one of its number: then nothing must
    /// be kept of it.
    pub(crate) async fn write(
        &self,
        connection: &mut Connection<'_>,
        (log, index): (LogId, i64),
        entry: &[u8],
    ) -> Result<bool, StoreError> {
        let sm3 = hex::encode(self.file.sm3);
        let inserted = query(
            "INSERT INTO retentions (id, app, biz, uscc, made_at, keep_until, record, digest, file, log, idx, entry)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
        )
        .bind(&self.id)
        .bind(self.file.app.as_str())
        .bind(&self.biz[..])
        .bind(&self.uscc)
        .bind(self.made_at.unix_timestamp())
        .bind(self.keep_until.unix_timestamp())
        .bind(&self.record[..])
        .bind(&self.digest[..])
        .bind(&sm3)
        .bind(log.0)
        .bind(index)
        .bind(entry)
        .execute(&mut *connection)
        .await?;
        if inserted.rows_affected() != 1 {
            return Ok(false);
        }
        query(
            "INSERT INTO retained_files (app, sm3, octets, blob) VALUES ($1, $2, $3, $4)
             ON CONFLICT (app, sm3) DO UPDATE SET octets = excluded.octets, blob = excluded.blob",
        )
        .bind(self.file.app.as_str())
        .bind(&sm3)
        .bind(i64::try_from(self.file.octets).unwrap_or(i64::MAX))
        .bind(&self.file.name)
        .execute(&mut *connection)
        .await?;
        for item in &self.items {
            query(
                "INSERT INTO retention_items (retention, digest) VALUES ($1, $2)
                 ON CONFLICT (retention, digest) DO NOTHING",
            )
            .bind(&self.id)
            .bind(hex::encode(item))
            .execute(&mut *connection)
            .await?;
        }
        Ok(true)
    }
}

impl Store {
    /// Prepares a retention.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key.
    pub fn new_retention(&self, new: Retained<'_>) -> Result<NewRetention, StoreError> {
        let protection = self.protection();
        Ok(NewRetention {
            id: new.id.to_owned(),
            biz: protection.index("retentions", "biz", &business(&new.file.app, new.biz_no))?,
            uscc: new.uscc.map(str::to_owned),
            record: protection.seal(cell(new.id), new.record)?,
            digest: Sm3::digest(new.record).into(),
            file: new.file,
            items: new.items,
            made_at: new.made_at,
            keep_until: new.keep_until,
        })
    }

    /// A retention by its number.
    ///
    /// # Errors
    /// [`StoreError::Altered`] of what the log does not vouch for, and of a record that was not sealed for this place;
    /// [`StoreError::Locked`] without a data key.
    pub async fn retention(&self, id: &str) -> Result<Option<KeptRetention>, StoreError> {
        let possible = if id.contains('\0') { "" } else { id }; // no number is empty
        let row = query("SELECT * FROM retentions WHERE id = $1").bind(possible);
        let Some(row) = row.fetch_optional(self.readers()).await? else { return Ok(None) };
        self.vouched_retention(&row).await.map(Some)
    }

    /// Retentions, the newest first.
    ///
    /// # Errors
    /// As of [`Store::retention`], of any of them.
    pub async fn retentions(&self, wanted: &RetentionQuery<'_>) -> Result<Vec<KeptRetention>, StoreError> {
        let businesses = match (wanted.app, wanted.biz_no) {
            (Some(app), Some(biz_no)) => {
                self.protection().indexes("retentions", "biz", &business(app, biz_no))?
            }
            (None, Some(_)) => return Ok(Vec::new()), // a number is an app's own
            (_, None) => Vec::new(),
        };
        let mut found = Vec::new();
        // Under each data key that there was, a value is found by another index.
        let keys: Vec<Option<&[u8]>> = match wanted.biz_no {
            Some(_) => businesses.iter().map(|business| Some(&business[..])).collect(),
            None => vec![None],
        };
        for key in keys {
            found.extend(select(wanted, key).fetch_all(self.readers()).await?);
        }
        let mut kept = Vec::with_capacity(found.len());
        for row in &found {
            kept.push(self.vouched_retention(row).await?);
        }
        let place = |one: &KeptRetention| (one.made_at, one.id.clone());
        kept.sort_by_key(|one| std::cmp::Reverse(place(one)));
        kept.truncate(usize::try_from(wanted.limit).unwrap_or(usize::MAX));
        Ok(kept)
    }

    /// The file of a retention; none when its time is over.
    pub async fn retained_file(&self, kept: &KeptRetention) -> Result<Option<Blob>, StoreError> {
        let found = query("SELECT octets, blob FROM retained_files WHERE app = $1 AND sm3 = $2");
        let found = found.bind(kept.app.as_str()).bind(&kept.file).fetch_optional(self.readers()).await?;
        let Some(row) = found else { return Ok(None) };
        let corrupt = |column| StoreError::Corrupt { what: FILE, id: kept.id.clone(), column };
        let mut sm3 = [0; 32];
        hex::decode_to_slice(&kept.file, &mut sm3).map_err(|_| corrupt("file"))?;
        let octets = u64::try_from(row.try_get::<i64, _>("octets")?).map_err(|_| corrupt("octets"))?;
        Ok(Some(Blob { name: row.try_get("blob")?, app: kept.app.clone(), octets, sm3 }))
    }

    /// What a retention's license was judged by, in the order of the digests.
    pub async fn retention_items(&self, id: &str) -> Result<Vec<Hash>, StoreError> {
        let rows = query("SELECT digest FROM retention_items WHERE retention = $1 ORDER BY digest");
        let rows = rows.bind(id).fetch_all(self.readers()).await?;
        let corrupt = || StoreError::Corrupt { what: RETENTION, id: id.to_owned(), column: "digest" };
        let item = |row: &Row| -> Result<Hash, StoreError> {
            let mut digest = [0; 32];
            let text: &str = row.try_get("digest")?;
            hex::decode_to_slice(text, &mut digest).map_err(|_| corrupt()).map(|()| digest)
        };
        rows.iter().map(item).collect()
    }

    /// Retentions whose time is over, those first that wait longest; after one of them the further ones.
    pub async fn due_retentions(
        &self,
        now: OffsetDateTime,
        after: Option<&DueRetention>,
        most: u32,
    ) -> Result<Vec<DueRetention>, StoreError> {
        let due = query(
            "SELECT id, keep_until FROM retentions
             WHERE record IS NOT NULL AND keep_until <= $1 AND (keep_until, id) > ($2, $3)
             ORDER BY keep_until, id LIMIT $4",
        );
        let (since, id) = after.map_or((i64::MIN, ""), |after| (after.keep_until, &after.id));
        let due = due.bind(now.unix_timestamp()).bind(since).bind(id).bind(most);
        let rows = due.fetch_all(self.readers()).await?;
        rows.iter()
            .map(|row| Ok(DueRetention { id: row.try_get("id")?, keep_until: row.try_get("keep_until")? }))
            .collect()
    }

    /// Takes a retention's record away, with its hold on file and evidence; its digests stay.
    pub async fn end_retention(&self, id: &str) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let ended = query("UPDATE retentions SET record = NULL WHERE id = $1 AND record IS NOT NULL")
            .bind(id)
            .execute(&mut *transaction)
            .await?;
        query("DELETE FROM retention_items WHERE retention = $1").bind(id).execute(&mut *transaction).await?;
        // Who retains the same file meanwhile waits for this transaction, and names it anew.
        query(
            "DELETE FROM retained_files WHERE (app, sm3) IN (SELECT app, file FROM retentions WHERE id = $1)
                 AND NOT EXISTS (
                     SELECT 1 FROM retentions r
                     WHERE r.app = retained_files.app AND r.file = retained_files.sm3 AND r.record IS NOT NULL
                 )",
        )
        .bind(id)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(ended.rows_affected() == 1)
    }

    /// Whether a retained file is in this blob.
    pub async fn is_retained(&self, blob: &str) -> Result<bool, StoreError> {
        let named = query("SELECT 1 FROM retained_files WHERE blob = $1 LIMIT 1").bind(blob);
        Ok(named.fetch_optional(self.readers()).await?.is_some())
    }

    async fn vouched_retention(&self, row: &Row) -> Result<KeptRetention, StoreError> {
        let kept = self.read_retention(row)?;
        let leaf = match self.audit_leaf(kept.log, kept.audit_index).await {
            // There is no such entry in that log.
            Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => None,
            leaf => Some(leaf?),
        };
        let same =
            kept.record.as_ref().is_none_or(|record| Hash::from(Sm3::digest(&record[..])) == kept.digest);
        if same && leaf == Some(leaf_hash(&kept.entry)) && is_vouched_for(&kept) {
            return Ok(kept);
        }
        Err(StoreError::Altered { what: RETENTION, id: kept.id })
    }

    fn read_retention(&self, row: &Row) -> Result<KeptRetention, StoreError> {
        let id: String = row.try_get("id")?;
        let corrupt = |column| StoreError::Corrupt { what: RETENTION, id: id.clone(), column };
        let at = |column| -> Result<OffsetDateTime, StoreError> {
            instant(row, column)?.ok_or_else(|| corrupt(column))
        };
        let sealed: Option<Vec<u8>> = row.try_get("record")?;
        let record = sealed.map(|sealed| self.protection().open(cell(&id), &sealed)).transpose()?;
        Ok(KeptRetention {
            app: AppId::parse(row.try_get("app")?).map_err(|_| corrupt("app"))?,
            uscc: row.try_get("uscc")?,
            made_at: at("made_at")?,
            keep_until: at("keep_until")?,
            record,
            digest: row.try_get::<&[u8], _>("digest")?.try_into().map_err(|_| corrupt("digest"))?,
            file: row.try_get("file")?,
            log: LogId(row.try_get("log")?),
            audit_index: u64::try_from(row.try_get::<i64, _>("idx")?).map_err(|_| corrupt("idx"))?,
            entry: row.try_get("entry")?,
            id: id.clone(),
        })
    }
}

/// Whether the entry is about this row and no other. What the row says of file and term the record says too, as long as it
/// is there; the digest of the file stands in the entry for good.
fn is_vouched_for(kept: &KeptRetention) -> bool {
    #[derive(Deserialize)]
    struct Said {
        actor: String,
        outcome: String,
        subject: Option<String>,
        input_digest: Option<String>,
        result_digest: Option<String>,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    }
    serde_json::from_slice(&kept.entry).is_ok_and(|said: Said| {
        said.outcome == "ok"
            && said.actor == kept.app.as_str()
            && said.at.unix_timestamp() == kept.made_at.unix_timestamp()
            && said.subject == Some(retention_subject(&kept.id, kept.uscc.as_deref()))
            && said.input_digest.as_deref() == Some(&kept.file)
            && said.result_digest == Some(hex::encode(kept.digest))
    })
}

/// What is wanted, under one key of the business where that is asked for.
fn select<'q>(wanted: &RetentionQuery<'q>, key: Option<&'q [u8]>) -> Query<'q> {
    let (mut conditions, mut place) = (vec!["record IS NOT NULL AND keep_until > $2".to_owned()], 2);
    for (is_asked, column) in
        [(wanted.app.is_some(), "app"), (key.is_some(), "biz"), (wanted.uscc.is_some(), "uscc")]
    {
        if is_asked {
            place += 1;
            conditions.push(format!("{column} = ${place}"));
        }
    }
    if wanted.before.is_some() {
        conditions.push(format!("(made_at, id) < (${}, ${})", place + 1, place + 2));
    }
    let text = format!(
        "SELECT * FROM retentions WHERE {} ORDER BY made_at DESC, id DESC LIMIT $1",
        conditions.join(" AND ")
    );
    let select = query(sqlx::AssertSqlSafe(text)).bind(wanted.limit);
    let mut select = select.bind(wanted.now.unix_timestamp());
    if let Some(app) = wanted.app {
        select = select.bind(app.as_str());
    }
    if let Some(key) = key {
        select = select.bind(key);
    }
    if let Some(uscc) = wanted.uscc {
        select = select.bind(uscc);
    }
    match wanted.before {
        Some((made_at, id)) => select.bind(made_at).bind(id),
        None => select,
    }
}

/// An app's number for a business; numbers of different apps are different.
fn business(app: &AppId, biz_no: &str) -> Vec<u8> {
    format!("{app}\n{biz_no}").into_bytes()
}

fn cell(id: &str) -> Cell<'_> {
    Cell { table: "retentions", column: "record", row: id }
}
