//! Checkpoints: the signed head of a log at some size, as a signed note (C2SP `signed-note`, `tlog-checkpoint`) with SM3
//! for its digests and a device's key for its signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::scheme::HashAlgorithm;
use formats::{Algorithm, DEFAULT_SIGNER_ID, PublicKey};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::tree::Hash;
use super::{LogId, read_number, stored};
use crate::database::{Connection, Row, query};
use crate::{Store, StoreError};

/// Begins a line with a signature: an em dash and a space.
const SIGNATURE: &str = "\u{2014} ";

/// A checkpoint as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// Entries that it covers.
    pub size: u64,
    /// When it was made, in Unix seconds.
    pub at: i64,
    /// Who signed it: the number of an [`AuditSigner`] of the same log.
    pub signer: u64,
    /// The signed note.
    pub note: String,
}

/// A key that signed checkpoints of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSigner {
    /// Its number within the log.
    pub number: u64,
    /// The copy that signed, as the devices' driver calls it.
    pub name: String,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// Certificates, PEM, signer first; empty when it has none.
    pub certificate_chain: String,
}

/// What is signed: origin, size, root, and the time as an extension line.
#[must_use]
pub fn checkpoint_text(origin: &str, size: u64, root: &Hash, at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default();
    format!("{origin}\n{size}\n{}\nat {at}\n", STANDARD.encode(root))
}

/// The text with its signature line.
#[must_use]
pub fn signed_note(text: &str, origin: &str, public_key: &PublicKey, signature: &[u8]) -> String {
    let signed = [&key_id(origin, public_key)[..], signature].concat();
    format!("{text}\n{SIGNATURE}{origin} {}\n", STANDARD.encode(signed))
}

/// The first four octets of SM3(name ‖ 0x0A ‖ 0xFF ‖ algorithm ‖ SubjectPublicKeyInfo).
fn key_id(origin: &str, public_key: &PublicKey) -> [u8; 4] {
    let algorithm = algorithm(public_key).map_or("", Algorithm::name);
    let input = [origin.as_bytes(), b"\n\xff", algorithm.as_bytes(), &public_key.spki_der()].concat();
    let digest = HashAlgorithm::Sm3.digest(&input);
    [digest[0], digest[1], digest[2], digest[3]]
}

fn algorithm(key: &PublicKey) -> Option<Algorithm> {
    let all = [Algorithm::Sm2Sm3, Algorithm::EcdsaP256Sha256, Algorithm::RsaPkcs1Sha256];
    all.into_iter().find(|algorithm| key.supports(*algorithm))
}

/// What a note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Whose checkpoint it is.
    pub origin: String,
    /// Entries that it covers.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// What was signed.
    text: String,
    /// Of each signature the name beside it, the key id and the signature.
    signatures: Vec<(String, [u8; 4], Vec<u8>)>,
}

/// A text is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no signed checkpoint: {0}")]
pub struct NoteError(&'static str);

impl Note {
    /// Reads a signed checkpoint.
    ///
    /// # Errors
    /// [`NoteError`] says what is wrong with its form; signatures are not looked at.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let (text, signatures) =
            note.split_once("\n\n").ok_or(NoteError("no empty line before signatures"))?;
        let text = format!("{text}\n");
        let mut lines = text.lines();
        let mut line = |what| lines.next().filter(|line| !line.is_empty()).ok_or(NoteError(what));
        let origin = line("no origin")?.to_owned();
        let size = line("no size")?;
        let canonical = size.parse().ok().filter(|number: &u64| number.to_string() == size);
        let size = canonical.ok_or(NoteError("its size is no number"))?;
        let root = STANDARD.decode(line("no root")?).ok().and_then(|root| root.try_into().ok());
        let root = root.ok_or(NoteError("its root is no digest"))?;
        let signatures = signatures.lines().map(|line| {
            let (name, signed) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
            let signed = STANDARD.decode(signed).ok()?;
            let (id, signature) = signed.split_first_chunk::<4>()?;
            Some((name.to_owned(), *id, signature.to_vec()))
        });
        let signatures = signatures.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty());
        let signatures = signatures.ok_or(NoteError("a signature line cannot be read"))?;
        Ok(Self { origin, size, root, text, signatures })
    }

    /// Whether it carries a good signature by this key.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let Some(algorithm) = algorithm(key) else { return false };
        let id = key_id(&self.origin, key);
        let good = |signature: &[u8]| {
            key.verify_message(algorithm, DEFAULT_SIGNER_ID, self.text.as_bytes(), signature).is_ok()
        };
        let mut signatures = self.signatures.iter();
        signatures.any(|(name, number, signature)| *name == self.origin && *number == id && good(signature))
    }
}

const COLUMNS: &str = "size, at, signer, note";

impl Store {
    /// The newest checkpoint of a log, or the smallest that covers `size` entries at least.
    pub async fn audit_checkpoint(
        &self,
        log: LogId,
        size: Option<u64>,
    ) -> Result<Option<StoredCheckpoint>, StoreError> {
        let (from, order) = match size {
            Some(size) => (size, "ASC"),
            None => (0, "DESC"),
        };
        let text = format!(
            "SELECT {COLUMNS} FROM audit_checkpoints WHERE log = $1 AND size >= $2 ORDER BY size {order} LIMIT 1"
        );
        let query = query(sqlx::AssertSqlSafe(text)).bind(log.0).bind(stored(from));
        query.fetch_optional(self.readers()).await?.as_ref().map(read_checkpoint).transpose()
    }

    /// Checkpoints that cover more than `after` entries, at most `limit`, the smallest first.
    pub async fn audit_checkpoints(
        &self,
        log: LogId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredCheckpoint>, StoreError> {
        let text = format!(
            "SELECT {COLUMNS} FROM audit_checkpoints WHERE log = $1 AND size > $2 ORDER BY size LIMIT $3"
        );
        let query = query(sqlx::AssertSqlSafe(text)).bind(log.0).bind(stored(after)).bind(i64::from(limit));
        query.fetch_all(self.readers()).await?.iter().map(read_checkpoint).collect()
    }

    /// Every key that signed checkpoints of a log.
    pub async fn audit_signers(&self, log: LogId) -> Result<Vec<AuditSigner>, StoreError> {
        let text = "SELECT number, name, public_key, certificate_chain FROM audit_signers
            WHERE log = $1 ORDER BY number";
        let rows = query(text).bind(log.0).fetch_all(self.readers()).await?;
        let read = |row: &Row| {
            Ok(AuditSigner {
                number: read_number(row.try_get("number")?, "number")?,
                name: row.try_get("name")?,
                public_key: row.try_get("public_key")?,
                certificate_chain: row.try_get("certificate_chain")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Removes checkpoints made before `before`, all but the last of each hour: what the others said follows from
    /// that one. Answers how many.
    pub async fn thin_audit_checkpoints(
        &self,
        log: LogId,
        before: OffsetDateTime,
    ) -> Result<u64, StoreError> {
        let done = query(
            "DELETE FROM audit_checkpoints WHERE log = $1 AND at < $2 AND size NOT IN
                (SELECT max(size) FROM audit_checkpoints WHERE log = $1 AND at < $2 GROUP BY at / 3600)
             AND size < (SELECT max(size) FROM audit_checkpoints WHERE log = $1)",
        )
        .bind(log.0)
        .bind(before.unix_timestamp())
        .execute(self.writer())
        .await?;
        Ok(done.rows_affected())
    }
}

fn read_checkpoint(row: &Row) -> Result<StoredCheckpoint, StoreError> {
    Ok(StoredCheckpoint {
        size: read_number(row.try_get("size")?, "size")?,
        at: row.try_get("at")?,
        signer: read_number(row.try_get("signer")?, "signer")?,
        note: row.try_get("note")?,
    })
}

/// A checkpoint on its way into the log.
#[derive(Debug, Clone)]
pub(crate) struct NewCheckpoint {
    pub(crate) size: u64,
    pub(crate) at: i64,
    pub(crate) note: String,
    pub(crate) signer_name: String,
    pub(crate) public_key: Vec<u8>,
    pub(crate) certificate_chain: String,
}

/// Writes a checkpoint and, if it is new, its signer; answers the one over so many entries that is stored, which may be
/// another, and nothing where one stands beyond.
pub(crate) async fn insert(
    connection: &mut Connection<'_>,
    log: LogId,
    new: &NewCheckpoint,
) -> Result<Option<StoredCheckpoint>, sqlx::Error> {
    let known = query(
        "SELECT number FROM audit_signers WHERE log = $1 AND public_key = $2 AND certificate_chain = $3",
    )
    .bind(log.0)
    .bind(&new.public_key[..])
    .bind(&new.certificate_chain)
    .fetch_optional(&mut *connection)
    .await?;
    let signer: i64 = match known {
        Some(row) => row.try_get(0)?,
        None => {
            let next = query("SELECT coalesce(max(number), 0) + 1 FROM audit_signers WHERE log = $1");
            let number: i64 = next.bind(log.0).fetch_one(&mut *connection).await?.try_get(0)?;
            query(
                "INSERT INTO audit_signers (log, number, name, public_key, certificate_chain, first_used_at)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(log.0)
            .bind(number)
            .bind(&new.signer_name)
            .bind(&new.public_key[..])
            .bind(&new.certificate_chain)
            .bind(new.at)
            .execute(&mut *connection)
            .await?;
            number
        }
    };
    // One whose answer was lost comes again: it must not spoil the entries that share its transaction.
    let done = query(
        "INSERT INTO audit_checkpoints (log, size, at, signer, note) SELECT $1, $2, $3, $4, $5
         WHERE NOT EXISTS (SELECT 1 FROM audit_checkpoints WHERE log = $1 AND size >= $2)",
    )
    .bind(log.0)
    .bind(stored(new.size))
    .bind(new.at)
    .bind(signer)
    .bind(&new.note)
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        let text =
            format!("SELECT {COLUMNS} FROM audit_checkpoints WHERE log = $1 ORDER BY size DESC LIMIT 1");
        let newest = query(sqlx::AssertSqlSafe(text)).bind(log.0).fetch_optional(&mut *connection).await?;
        let newest = newest.as_ref().and_then(|row| read_checkpoint(row).ok());
        return Ok(newest.filter(|newest| newest.size == new.size));
    }
    let signer = u64::try_from(signer).map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(Some(StoredCheckpoint { size: new.size, at: new.at, signer, note: new.note.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_in_no_other_form() {
        let at = time::macros::datetime!(2024-05-06 07:08:09.5 UTC);
        let text = checkpoint_text("license-gateway/audit/00", 300, &[7; 32], at);
        assert_eq!(
            text,
            "license-gateway/audit/00\n300\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\nat 2024-05-06T07:08:09Z\n"
        );
        let good = format!("{text}\n\u{2014} license-gateway/audit/00 AAAAAAE=\n");
        let note = Note::parse(&good).unwrap();
        assert_eq!((note.size, note.root), (300, [7; 32]));
        assert_eq!(note.signatures, [("license-gateway/audit/00".to_owned(), [0; 4], vec![1])]);
        for (from, to) in [
            ("\n\n", "\n"),
            ("300", "0300"),
            ("300", "-1"),
            ("=\nat", "\nat"),
            ("\u{2014}", "-"),
            ("AAAAAAE=", "AAAA"),
        ] {
            assert!(Note::parse(&good.replace(from, to)).is_err(), "{from} -> {to}");
        }
    }
}
