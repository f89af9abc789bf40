//! What documents were stamped with: the register behind `GET /verify/{code}`.
//!
//! A stamp goes into the transaction that puts it on record ([`crate::AuditLog::append_stamp`]): with an entry in the log there is a
//! stamp in the register, and the other way round. The entry has the digest of the whole row, and the row has a copy of the
//! entry, whose hash the log keeps for good: a row that somebody changed or put there is found out, also when the entry's
//! own time is over.

use config::{AppId, KeyId, TemplateId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sm3::{Digest, Sm3};
use time::OffsetDateTime;

use crate::audit::{Hash, LogId, leaf_hash};
use crate::database::{Connection, Row, instant, query};
use crate::{Store, StoreError, evidence};

/// What errors call a stamp of the register.
pub const STAMP: &str = "stamp";

/// A stamp on a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Its number.
    pub id: String,
    /// What the check page is found by. Whoever has the document has it.
    pub check_code: String,
    /// `pdf`, `ofd` or `digest`.
    pub format: String,
    /// `B-B`, `B-T`, `B-LT` or `B-LTA`.
    pub level: String,
    /// Who had it made.
    pub app: AppId,
    /// By which key.
    pub key: KeyId,
    /// When; whole seconds are kept.
    pub at: OffsetDateTime,
    /// The signer's certificate, DER.
    pub certificate: Vec<u8>,
    /// The name of the signature's field; empty of a digest.
    pub field: String,
    /// SM3 of the document as it came, or the digest.
    pub input_digest: [u8; 32],
    /// SM3 of the stamped document, or of the CMS over the digest.
    pub result_digest: [u8; 32],
    /// Octets of what `result_digest` is over.
    pub octets: u64,
    /// Under which mandate it was made in an enterprise's name.
    pub mandate: Option<StampMandate>,
    /// By which template.
    pub template: Option<StampTemplateUse>,
    /// The list that was stamped: `input_digest` is that of its head.
    pub list: Option<StampedList>,
    /// Where a document was given several signatures: each of them, in order. What the row says of key, certificate, field,
    /// level and mandate is the first one's. Empty otherwise.
    pub signatures: Vec<StampSignature>,
}

/// One of several signatures of a stamp. The members stand in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampSignature {
    /// Its own entry in the log in which the stamp is on record.
    pub audit_index: u64,
    /// The signer's certificate, DER.
    #[serde(serialize_with = "in_hex", deserialize_with = "of_hex")]
    pub certificate: Vec<u8>,
    /// Where it is: the name of its field in a PDF, its part in an OFD package.
    pub field: String,
    /// By which key.
    pub key: KeyId,
    /// `B-B`, `B-T`, `B-LT` or `B-LTA`.
    pub level: String,
    /// Under which mandate it was made in an enterprise's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mandate: Option<StampMandate>,
}

fn in_hex<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(octets))
}

fn of_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    hex::decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// The template that said what a stamp looks like and where it goes. The members stand in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampTemplateUse {
    /// Its id.
    pub id: TemplateId,
    /// Which of its versions.
    pub version: u32,
}

impl StampTemplateUse {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a text and a number are JSON")
    }
}

/// A list of items, each with a digest, that was stamped as a whole (docs/list-format.md). The members stand in the order of
/// their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampedList {
    /// The tree's hash function: `sm3` or `sha256`.
    pub hash: String,
    /// The tree's root, hexadecimal.
    pub root: String,
    /// How many items it has.
    pub size: u64,
}

impl StampedList {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and a number are JSON")
    }
}

/// In whose name a stamp was made, and by what right. The members stand in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampMandate {
    /// The enterprise's unified social credit code.
    pub enterprise: String,
    /// Its name.
    pub name: String,
    /// The mandate's number.
    pub number: String,
    /// What the stamp was for.
    pub purpose: String,
}

impl StampMandate {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }
}

/// The text whose SM3 the log's entry has: JSON in the form of RFC 8785, so members stand in the order of their names.
#[derive(Serialize)]
struct Image<'a> {
    app: &'a str,
    certificate: String,
    check_code: &'a str,
    field: &'a str,
    format: &'a str,
    id: &'a str,
    input_digest: String,
    key: &'a str,
    level: &'a str,
    // Rows without one have the digest that they had before there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    list: Option<&'a StampedList>,
    // Likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    mandate: Option<&'a StampMandate>,
    octets: u64,
    result_digest: String,
    // Likewise.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    signatures: &'a [StampSignature],
    stamped_at: i64,
    // Likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<&'a StampTemplateUse>,
}

impl Stamp {
    /// What the log's entry calls `register_digest`.
    #[must_use]
    pub fn digest(&self) -> Hash {
        let image = Image {
            app: self.app.as_str(),
            certificate: hex::encode(&self.certificate),
            check_code: &self.check_code,
            field: &self.field,
            format: &self.format,
            id: &self.id,
            input_digest: hex::encode(self.input_digest),
            key: self.key.as_str(),
            level: &self.level,
            list: self.list.as_ref(),
            mandate: self.mandate.as_ref(),
            octets: self.octets,
            result_digest: hex::encode(self.result_digest),
            signatures: &self.signatures,
            stamped_at: self.at.unix_timestamp(),
            template: self.template.as_ref(),
        };
        Sm3::digest(serde_json::to_vec(&image).expect("texts and numbers are JSON")).into()
    }

    fn signatures_json(&self) -> Option<String> {
        let has_several = !self.signatures.is_empty();
        has_several.then(|| serde_json::to_string(&self.signatures).expect("texts and numbers are JSON"))
    }
}

/// A stamp, and where it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedStamp {
    /// The stamp.
    pub stamp: Stamp,
    /// In which log.
    pub log: LogId,
    /// Its entry.
    pub audit_index: u64,
}

/// A row as it is stored.
struct Stored {
    recorded: RecordedStamp,
    entry: Vec<u8>,
}

impl Stored {
    /// Whether the entry beside it is about this row and no other.
    fn is_vouched_for(&self) -> bool {
        #[derive(Deserialize)]
        struct Said {
            outcome: String,
            subject: Option<String>,
            register_digest: Option<String>,
        }
        let stamp = &self.recorded.stamp;
        serde_json::from_slice(&self.entry).is_ok_and(|said: Said| {
            said.outcome == "ok"
                && said.subject.as_deref() == Some(&stamp.id)
                && said.register_digest == Some(hex::encode(stamp.digest()))
        })
    }
}

impl Store {
    /// A stamp by its number.
    ///
    /// # Errors
    /// [`StoreError::Altered`] of a row that the log does not vouch for; the database fails.
    pub async fn stamp(&self, id: &str) -> Result<Option<RecordedStamp>, StoreError> {
        let row = query("SELECT * FROM stamps WHERE id = $1").bind(possible(id));
        let row = row.fetch_optional(self.readers()).await?;
        self.vouched(row).await
    }

    /// A stamp by its check code.
    ///
    /// # Errors
    /// As of [`Store::stamp`].
    pub async fn stamp_of_code(&self, code: &str) -> Result<Option<RecordedStamp>, StoreError> {
        let found = query("SELECT * FROM stamps WHERE check_code = $1").bind(possible(code));
        let row = found.fetch_optional(self.readers()).await?;
        self.vouched(row).await
    }

    async fn vouched(&self, row: Option<Row>) -> Result<Option<RecordedStamp>, StoreError> {
        let Some(row) = row else { return Ok(None) };
        let stored = read(&row)?;
        let RecordedStamp { log, audit_index, .. } = stored.recorded;
        let leaf = match self.audit_leaf(log, audit_index).await {
            // There is no such entry in that log.
            Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => None,
            leaf => Some(leaf?),
        };
        if leaf == Some(leaf_hash(&stored.entry)) && stored.is_vouched_for() {
            return Ok(Some(stored.recorded));
        }
        Err(StoreError::Altered { what: STAMP, id: stored.recorded.stamp.id })
    }
}

/// What no database can hold names nothing; nothing is named by an empty text either.
fn possible(id: &str) -> &str {
    if id.contains('\0') { "" } else { id }
}

/// Puts a stamp beside its entry, within the entry's transaction; false where there is one of its number or code: then nothing
/// must be kept of it.
pub(crate) async fn insert(
    connection: &mut Connection<'_>,
    (log, index): (LogId, i64),
    entry: &[u8],
    stamp: &Stamp,
) -> Result<bool, sqlx::Error> {
    // Whatever of it is there already: two gateways may do this at once.
    let inserted = query(
        "INSERT INTO stamps (id, check_code, format, level, app, key, stamped_at, certificate, field, input_digest,
             result_digest, octets, log, idx, entry, mandate, template, signatures, list)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
         ON CONFLICT DO NOTHING",
    )
    .bind(&stamp.id)
    .bind(&stamp.check_code)
    .bind(&stamp.format)
    .bind(&stamp.level)
    .bind(stamp.app.as_str())
    .bind(stamp.key.as_str())
    .bind(stamp.at.unix_timestamp())
    .bind(&stamp.certificate)
    .bind(&stamp.field)
    .bind(&stamp.input_digest[..])
    .bind(&stamp.result_digest[..])
    .bind(i64::try_from(stamp.octets).unwrap_or(i64::MAX))
    .bind(log.0)
    .bind(index)
    .bind(entry)
    .bind(stamp.mandate.as_ref().map(StampMandate::to_json))
    .bind(stamp.template.as_ref().map(StampTemplateUse::to_json))
    .bind(stamp.signatures_json())
    .bind(stamp.list.as_ref().map(StampedList::to_json))
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() != 1 {
        return Ok(false);
    }
    evidence::expect(connection, stamp).await?;
    Ok(true)
}

fn read(row: &Row) -> Result<Stored, StoreError> {
    let id: String = row.try_get("id")?;
    let corrupt = |column| StoreError::Corrupt { what: STAMP, id: id.clone(), column };
    let (app, key): (&str, &str) = (row.try_get("app")?, row.try_get("key")?);
    let digest = |column| -> Result<[u8; 32], StoreError> {
        row.try_get::<&[u8], _>(column)?.try_into().map_err(|_| corrupt(column))
    };
    let count = |column| -> Result<u64, StoreError> {
        u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| corrupt(column))
    };
    let mandate: Option<String> = row.try_get("mandate")?;
    let mandate = mandate.map(|mandate| serde_json::from_str(&mandate)).transpose();
    let template: Option<String> = row.try_get("template")?;
    let template = template.map(|template| serde_json::from_str(&template)).transpose();
    let signatures: Option<String> = row.try_get("signatures")?;
    let signatures = signatures.map(|signatures| serde_json::from_str(&signatures)).transpose();
    let list: Option<String> = row.try_get("list")?;
    let list = list.map(|list| serde_json::from_str(&list)).transpose();
    let stamp = Stamp {
        list: list.map_err(|_| corrupt("list"))?,
        signatures: signatures.map_err(|_| corrupt("signatures"))?.unwrap_or_default(),
        mandate: mandate.map_err(|_| corrupt("mandate"))?,
        template: template.map_err(|_| corrupt("template"))?,
        check_code: row.try_get("check_code")?,
        format: row.try_get("format")?,
        level: row.try_get("level")?,
        app: AppId::parse(app).map_err(|_| corrupt("app"))?,
        key: KeyId::parse(key).map_err(|_| corrupt("key"))?,
        at: instant(row, "stamped_at")?.ok_or_else(|| corrupt("stamped_at"))?,
        certificate: row.try_get("certificate")?,
        field: row.try_get("field")?,
        input_digest: digest("input_digest")?,
        result_digest: digest("result_digest")?,
        octets: count("octets")?,
        id: id.clone(),
    };
    let recorded = RecordedStamp { stamp, log: LogId(row.try_get("log")?), audit_index: count("idx")? };
    Ok(Stored { recorded, entry: row.try_get("entry")? })
}
