//! What stamps are verified with when their certificates are no more: for each stamp what the evidence is about, records with a
//! timestamp each, and what these name by its digest, which lies beside the database.
//!
//! Nothing here is secret, and nothing here is believed for being here: a record is worth what its timestamp and its place in
//! the audit log prove. So rows have no code, and contents are not sealed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use sm3::{Digest, Sm3};
use time::OffsetDateTime;

use crate::blobs::failed;
use crate::database::{Connection, Row, instant, query};
use crate::{Hash, Stamp, Store, StoreError};

const EVIDENCE: &str = "evidence of a stamp";
/// Contents lie in a folder of their own in the place.
const FOLDER: &str = "items";
/// What nothing names is moved there, with the time, before it is removed: it may be that somebody was about to name it.
const ASIDE: &str = "aside";
/// For so long, which is over when the next one looks an hour later; who names something has it written less than two
/// minutes before.
const ASIDE_FOR: time::Duration = time::Duration::minutes(50);
/// Contents that were there so long are written anew when they are named again: whoever removes what nobody names looks
/// at their age.
const REWRITTEN_AFTER: time::Duration = time::Duration::hours(12);

/// Contents that evidence names, by their digests.
#[derive(Clone)]
pub struct EvidenceItems(Arc<dyn ObjectStore>);

/// Of a stamp whose evidence is to be taken or renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueEvidence {
    /// The stamp's number.
    pub stamp: String,
    /// What it is about, JSON; none as long as there is none.
    pub core: Option<String>,
    /// Its records so far, JSON.
    pub records: Vec<String>,
    /// How often it was tried since the last one.
    pub tries: u32,
}

/// A record that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvidence {
    /// The stamp's number.
    pub stamp: String,
    /// What the evidence is about, JSON; of evidence that is there already, the same.
    pub core: String,
    /// Which record it is.
    pub number: usize,
    /// JSON.
    pub record: String,
    /// What core and record name.
    pub items: Vec<Hash>,
    /// When it is to be renewed.
    pub due_at: OffsetDateTime,
}

/// A stamp that is let go of, and to be tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutOffEvidence {
    /// The stamp's number.
    pub stamp: String,
    /// When.
    pub due_at: OffsetDateTime,
    /// Whether it was for the stamp that nothing came of it: then that counts as a try.
    pub was_tried: bool,
}

/// All there is of a stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEvidence {
    /// What it is about, JSON.
    pub core: String,
    /// Its records, JSON.
    pub records: Vec<String>,
    /// What they name.
    pub items: Vec<Hash>,
    /// When it will be renewed.
    pub due_at: OffsetDateTime,
}

impl EvidenceItems {
    /// Contents in a folder, which is made if there is none.
    ///
    /// # Errors
    /// [`StoreError::Blobs`]: the folder cannot be made or read.
    pub fn folder(path: &Path) -> Result<Self, StoreError> {
        let made = std::fs::create_dir_all(path);
        made.map_err(|error| StoreError::Blobs { reason: format!("{}: {error}", path.display()) })?;
        let folder = LocalFileSystem::new_with_prefix(path).map_err(|error| failed(&error))?;
        // What a row names must be on disk as surely as the row.
        Ok(Self(Arc::new(folder.with_fsync(true))))
    }

    /// Keeps contents, whole or not at all, and answers what they are called: their SM3.
    ///
    /// # Errors
    /// [`StoreError::Blobs`].
    pub async fn put(&self, octets: Vec<u8>, now: OffsetDateTime) -> Result<Hash, StoreError> {
        let digest: Hash = Sm3::digest(&octets).into();
        let name = at(&hex::encode(digest));
        match self.0.head(&name).await {
            Ok(found) if found.size == octets.len() as u64 => {
                if found.last_modified.timestamp() > (now - REWRITTEN_AFTER).unix_timestamp() {
                    return Ok(digest);
                }
            }
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failed(&error)),
        }
        self.0.put(&name, PutPayload::from(octets)).await.map_err(|error| failed(&error))?;
        Ok(digest)
    }

    /// The contents of a digest.
    ///
    /// # Errors
    /// [`StoreError::Altered`] of what is not as it was written; [`StoreError::Blobs`] of what is not there.
    pub async fn get(&self, digest: &Hash) -> Result<Vec<u8>, StoreError> {
        let name = hex::encode(digest);
        let got = match self.0.get(&self.found(&name).await?.location).await {
            // It may have been set aside, or have come back, in between.
            Err(object_store::Error::NotFound { .. }) => self.0.get(&self.found(&name).await?.location).await,
            got => got,
        };
        let octets = got.map_err(|error| failed(&error))?;
        let octets = octets.bytes().await.map_err(|error| failed(&error))?.to_vec();
        if Hash::from(Sm3::digest(&octets)) == *digest {
            Ok(octets)
        } else {
            Err(StoreError::Altered { what: EVIDENCE, id: name })
        }
    }

    /// How many octets the contents of a digest have.
    ///
    /// # Errors
    /// [`StoreError::Blobs`] of what is not there.
    pub async fn octets(&self, digest: &Hash) -> Result<u64, StoreError> {
        Ok(self.found(&hex::encode(digest)).await?.size)
    }

    /// Where contents lie: in their place, or set aside, or in their place again, where they may have come back to meanwhile.
    async fn found(&self, name: &str) -> Result<ObjectMeta, StoreError> {
        match self.0.head(&at(name)).await {
            Err(object_store::Error::NotFound { .. }) => {}
            found => return found.map_err(|error| failed(&error)),
        }
        match self.aside(name).await? {
            Some(aside) => Ok(aside),
            None => self.0.head(&at(name)).await.map_err(|error| failed(&error)),
        }
    }

    /// Sets aside contents that were written before a time and that no row names, and removes what was set aside 50 minutes
    /// ago and is not named now either; what is comes back. Answers how many were removed. In between they are there for
    /// whoever asks: nobody can find a moment between looking and removing in which something is named and lost.
    ///
    /// # Errors
    /// [`StoreError::Blobs`]; the database fails.
    pub async fn remove_unnamed(
        &self,
        store: &Store,
        before: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        let mut removed = 0;
        for object in self.listed(ASIDE).await? {
            let told = object.location.filename().and_then(|name| name.split_once('.'));
            let told = told.and_then(|(name, since)| Some((name, since.parse::<i64>().ok()?)));
            let Some((name, since)) = told else { continue };
            if since > (now - ASIDE_FOR).unix_timestamp() {
                continue;
            }
            let cleared = match store.is_evidence_item_named(name).await? {
                true => match self.0.rename_if_not_exists(&object.location, &at(name)).await {
                    // What was written anew meanwhile is as it should be.
                    Err(object_store::Error::AlreadyExists { .. }) => self.0.delete(&object.location).await,
                    renamed => renamed,
                },
                false => {
                    removed += 1;
                    self.0.delete(&object.location).await
                }
            };
            unless_gone(cleared)?;
        }
        for object in self.listed(FOLDER).await? {
            let Some(name) = object.location.filename() else { continue };
            let is_old = object.last_modified.timestamp() < before.unix_timestamp();
            if is_old && !store.is_evidence_item_named(name).await? {
                let aside = Name::from_iter([ASIDE, &format!("{name}.{}", now.unix_timestamp())]);
                unless_gone(self.0.rename(&object.location, &aside).await)?;
            }
        }
        Ok(removed)
    }

    async fn listed(&self, folder: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let listed = self.0.list_with_delimiter(Some(&Name::from(folder))).await;
        Ok(listed.map_err(|error| failed(&error))?.objects)
    }

    /// Where contents are that were set aside.
    async fn aside(&self, name: &str) -> Result<Option<ObjectMeta>, StoreError> {
        let is_it = |object: &ObjectMeta| {
            object
                .location
                .filename()
                .and_then(|told| told.split_once('.'))
                .is_some_and(|told| told.0 == name)
        };
        Ok(self.listed(ASIDE).await?.into_iter().find(is_it))
    }
}

/// Another gateway may have been there first.
fn unless_gone(done: Result<(), object_store::Error>) -> Result<(), StoreError> {
    match done {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}

fn at(name: &str) -> Name {
    Name::from_iter([FOLDER, name])
}

impl Store {
    /// Claims what is due, the oldest first, in somebody's name.
    ///
    /// # Errors
    /// The database fails.
    pub async fn claim_evidence(
        &self,
        holder: &str,
        lease: Duration,
        most: u32,
        now: OffsetDateTime,
    ) -> Result<Vec<DueEvidence>, StoreError> {
        let moment = now.unix_timestamp();
        let any = query("SELECT 1 FROM stamp_evidence WHERE due_at <= $1 AND claimed_until <= $1 LIMIT 1");
        if any.bind(moment).fetch_optional(self.readers()).await?.is_none() {
            return Ok(Vec::new()); // who only looks takes no turn of those who write
        }
        let mut transaction = self.begin_write().await?;
        let due = query(
            "SELECT stamp, core, tries FROM stamp_evidence WHERE due_at <= $1 AND claimed_until <= $1
             ORDER BY due_at, stamp LIMIT $2",
        );
        let rows = due.bind(moment).bind(most).fetch_all(&mut *transaction).await?;
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let stamp: String = row.try_get("stamp")?;
            query("UPDATE stamp_evidence SET holder = $2, claimed_until = $3 WHERE stamp = $1")
                .bind(&stamp)
                .bind(holder)
                .bind((now + lease).unix_timestamp())
                .execute(&mut *transaction)
                .await?;
            let records = records_of(&mut transaction, &stamp).await?;
            let tries = u32::try_from(row.try_get::<i64, _>("tries")?).unwrap_or(u32::MAX);
            claimed.push(DueEvidence { stamp, core: row.try_get("core")?, records, tries });
        }
        transaction.commit().await?;
        Ok(claimed)
    }

    /// Adds records of stamps that somebody still holds, and lets go of them; those that somebody else holds by now are
    /// passed over. Answers how many were added.
    ///
    /// # Errors
    /// The database fails; then none is added.
    pub async fn add_evidence(&self, holder: &str, new: &[NewEvidence]) -> Result<usize, StoreError> {
        let mut transaction = self.begin_write().await?;
        let mut added = 0;
        for one in new {
            let held = query(
                "UPDATE stamp_evidence SET core = COALESCE(core, $3), due_at = $4, tries = 0, holder = NULL,
                     claimed_until = 0
                 WHERE stamp = $1 AND holder = $2
                     AND (SELECT count(*) FROM stamp_evidence_records r WHERE r.stamp = $1) = $5",
            )
            .bind(&one.stamp)
            .bind(holder)
            .bind(&one.core)
            .bind(one.due_at.unix_timestamp())
            .bind(i64::try_from(one.number).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
            if held.rows_affected() == 0 {
                continue;
            }
            query("INSERT INTO stamp_evidence_records (stamp, number, record) VALUES ($1, $2, $3)")
                .bind(&one.stamp)
                .bind(i64::try_from(one.number).unwrap_or(i64::MAX))
                .bind(&one.record)
                .execute(&mut *transaction)
                .await?;
            for item in &one.items {
                query(
                    "INSERT INTO stamp_evidence_items (stamp, digest) VALUES ($1, $2)
                     ON CONFLICT (stamp, digest) DO NOTHING",
                )
                .bind(&one.stamp)
                .bind(hex::encode(item))
                .execute(&mut *transaction)
                .await?;
            }
            added += 1;
        }
        transaction.commit().await?;
        Ok(added)
    }

    /// Lets go of stamps that somebody still holds, which are to be tried again.
    ///
    /// # Errors
    /// The database fails.
    pub async fn put_off_evidence(&self, holder: &str, stamps: &[PutOffEvidence]) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        for PutOffEvidence { stamp, due_at, was_tried } in stamps {
            query(
                "UPDATE stamp_evidence SET due_at = $3, tries = tries + $4, holder = NULL, claimed_until = 0
                 WHERE stamp = $1 AND holder = $2",
            )
            .bind(stamp)
            .bind(holder)
            .bind(due_at.unix_timestamp())
            .bind(i64::from(*was_tried))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// What there is of a stamp; none before it was taken and after its time.
    ///
    /// # Errors
    /// The database fails.
    pub async fn evidence(&self, stamp: &str) -> Result<Option<KeptEvidence>, StoreError> {
        let mut picture = self.begin_read().await?;
        let row = query("SELECT core, due_at FROM stamp_evidence WHERE stamp = $1 AND core IS NOT NULL");
        let Some(row) = row.bind(stamp).fetch_optional(&mut *picture).await? else { return Ok(None) };
        let records = records_of(&mut picture, stamp).await?;
        let rows = query("SELECT digest FROM stamp_evidence_items WHERE stamp = $1 ORDER BY digest");
        let rows = rows.bind(stamp).fetch_all(&mut *picture).await?;
        let corrupt = |column| StoreError::Corrupt { what: EVIDENCE, id: stamp.to_owned(), column };
        let digest = |row: &Row| -> Result<Hash, StoreError> {
            let octets = hex::decode(row.try_get::<&str, _>("digest")?)
                .ok()
                .and_then(|octets| Hash::try_from(octets).ok());
            octets.ok_or_else(|| corrupt("digest"))
        };
        Ok(Some(KeptEvidence {
            core: row.try_get("core")?,
            records,
            items: rows.iter().map(digest).collect::<Result<_, _>>()?,
            due_at: instant(&row, "due_at")?.ok_or_else(|| corrupt("due_at"))?,
        }))
    }

    /// How many stamps wait for a first record that is due, and how many for another one.
    ///
    /// # Errors
    /// The database fails.
    pub async fn evidence_figures(&self, now: OffsetDateTime) -> Result<(u64, u64), StoreError> {
        let counted =
            query("SELECT count(*) AS due, count(core) AS renewals FROM stamp_evidence WHERE due_at <= $1");
        let row = counted.bind(now.unix_timestamp()).fetch_one(self.readers()).await?;
        let count = |column: &str| -> Result<u64, StoreError> {
            Ok(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0))
        };
        let (due, renewals) = (count("due")?, count("renewals")?);
        Ok((due - renewals, renewals))
    }

    /// Forgets the evidence of stamps that were made before a time, so many at most. Answers how many there were.
    ///
    /// # Errors
    /// The database fails.
    pub async fn forget_evidence(&self, before: OffsetDateTime, most: u32) -> Result<usize, StoreError> {
        let mut transaction = self.begin_write().await?;
        let old =
            query("SELECT stamp FROM stamp_evidence WHERE stamped_at < $1 ORDER BY stamped_at LIMIT $2");
        let rows = old.bind(before.unix_timestamp()).bind(most).fetch_all(&mut *transaction).await?;
        for row in &rows {
            let stamp: &str = row.try_get("stamp")?;
            for statement in [
                "DELETE FROM stamp_evidence_items WHERE stamp = $1",
                "DELETE FROM stamp_evidence_records WHERE stamp = $1",
                "DELETE FROM stamp_evidence WHERE stamp = $1",
            ] {
                query(statement).bind(stamp).execute(&mut *transaction).await?;
            }
        }
        transaction.commit().await?;
        Ok(rows.len())
    }

    async fn is_evidence_item_named(&self, digest: &str) -> Result<bool, StoreError> {
        let named = query(
            "SELECT 1 FROM stamp_evidence_items WHERE digest = $1
             UNION ALL SELECT 1 FROM retention_items WHERE digest = $1 LIMIT 1",
        );
        Ok(named.bind(digest).fetch_optional(self.readers()).await?.is_some())
    }
}

async fn records_of(connection: &mut Connection<'_>, stamp: &str) -> Result<Vec<String>, StoreError> {
    let rows = query("SELECT record FROM stamp_evidence_records WHERE stamp = $1 ORDER BY number");
    let rows = rows.bind(stamp).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(row.try_get("record")?)).collect()
}

/// Evidence of a new stamp is due at once, within the stamp's transaction.
pub(crate) async fn expect(connection: &mut Connection<'_>, stamp: &Stamp) -> Result<(), sqlx::Error> {
    let at = stamp.at.unix_timestamp();
    query("INSERT INTO stamp_evidence (stamp, stamped_at, due_at) VALUES ($1, $2, $2)")
        .bind(&stamp.id)
        .bind(at)
        .execute(connection)
        .await?;
    Ok(())
}
