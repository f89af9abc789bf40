//! What an entry says, and the bytes that stand for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{OffsetDateTime, UtcOffset};

use super::tree::Hash;
use crate::StoreError;

/// What happened. Texts hold ids and digests, never the content they stand for.
///
/// The stored form is this struct as JSON (RFC 8785): its fields stand in the order of their names, absent
/// ones are left out. Members of stored entries that are not here are passed over: a log outlives programs, and what it
/// holds is proved by octets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// What was asked for.
    pub action: String,
    /// Who asked: an app, an operator or the gateway itself.
    pub actor: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The device that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Digest of the input, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<String>,
    /// The key that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How it ended: `ok` or the stable code of the error.
    pub outcome: String,
    /// The request it belongs to.
    pub request_id: String,
    /// Digest of the result, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_digest: Option<String>,
    /// What it was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl AuditEntry {
    /// The bytes that are stored and hashed.
    ///
    /// # Errors
    /// [`StoreError::AuditTime`]: RFC 3339 cannot write the time.
    pub fn canonical_json(mut self) -> Result<Vec<u8>, StoreError> {
        self.at = self.at.checked_to_offset(UtcOffset::UTC).ok_or(StoreError::AuditTime)?;
        serde_json::to_vec(&self).map_err(|_| StoreError::AuditTime)
    }

    /// The same with the member `register_digest`: what a register holds of it in a table of its own.
    ///
    /// # Errors
    /// As for [`AuditEntry::canonical_json`].
    pub(crate) fn canonical_json_with(self, register_digest: &Hash) -> Result<Vec<u8>, StoreError> {
        let mut entry = self;
        entry.at = entry.at.checked_to_offset(UtcOffset::UTC).ok_or(StoreError::AuditTime)?;
        let Ok(Value::Object(members)) = serde_json::to_value(&entry) else {
            return Err(StoreError::AuditTime);
        };
        let mut members = members.into_iter().collect::<BTreeMap<String, Value>>();
        members.insert("register_digest".to_owned(), hex::encode(register_digest).into());
        serde_json::to_vec(&members).map_err(|_| StoreError::AuditTime)
    }
}

/// An entry as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Its place, dense from 0.
    pub index: u64,
    /// When it was committed, in Unix seconds; never goes back within a log.
    pub written_at: i64,
    /// The canonical JSON that was hashed.
    pub entry: Vec<u8>,
    /// The hash stored beside it, not recomputed: see [`leaf_hash`](super::leaf_hash).
    pub leaf_hash: Hash,
}
