//! What the gateway acknowledged against what stands in its audit log: every signature's place must hold its entry,
//! with the digests of what was signed and of the signature.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sm3::{Digest as _, Sm3};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Row as _};

use crate::Fallible;

/// Rows read at once.
const PAGE: i64 = 2_000;

/// One acknowledged signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) key: String,
    pub(crate) device: String,
    pub(crate) request_id: String,
    pub(crate) digest: [u8; 32],
    /// SM3 of the signature.
    pub(crate) result: [u8; 32],
}

/// Receipts not yet found in the log, and what was wrong with those that should have been.
#[derive(Default)]
pub(crate) struct Ledger {
    waiting: BTreeMap<u64, Receipt>,
    /// Found in the log as they were acknowledged.
    pub(crate) found: u64,
    /// What is missing or says something else, a line each.
    pub(crate) lost: Vec<String>,
    highest: Option<u64>,
}

impl Receipt {
    /// Whether a row of the log is this signature's; if not, what is wrong with it.
    fn matches(&self, entry: &[u8], leaf_hash: &[u8]) -> Result<(), &'static str> {
        let leaf = Sm3::new().chain_update([0]).chain_update(entry).finalize();
        if leaf[..] != *leaf_hash {
            return Err("its leaf hash is not that of its entry");
        }
        let json: Value = serde_json::from_slice(entry).map_err(|_| "its entry is no JSON")?;
        let expected = [
            ("action", "signature.raw".to_owned()),
            ("outcome", "ok".to_owned()),
            ("key", self.key.clone()),
            ("device", self.device.clone()),
            ("request_id", self.request_id.clone()),
            ("input_digest", hex::encode(self.digest)),
            ("result_digest", hex::encode(self.result)),
        ];
        match expected.iter().find(|(field, value)| json[field] != value.as_str()) {
            Some((field, _)) => Err(field),
            None => Ok(()),
        }
    }
}

impl Ledger {
    /// Takes note of an acknowledged signature.
    pub(crate) fn acknowledge(&mut self, index: u64, receipt: Receipt) {
        self.highest = self.highest.max(Some(index));
        if let Some(other) = self.waiting.insert(index, receipt) {
            self.lost.push(format!("entry {index} was acknowledged twice, once for {}", other.request_id));
        }
    }

    /// Looks up everything acknowledged so far: an entry is on disk before its answer leaves, so it must be there.
    pub(crate) async fn settle(&mut self, database: &Path) -> Fallible<()> {
        let Some((&first, _)) = self.waiting.first_key_value() else { return Ok(()) };
        let mut connection = open(database).await?;
        let mut next = i64::try_from(first)?;
        while let Some((&last, _)) = self.waiting.last_key_value() {
            let rows = sqlx::query(
                "SELECT idx, entry, leaf_hash FROM audit_entries WHERE idx >= $1 AND idx <= $2 ORDER BY idx LIMIT $3",
            );
            let rows =
                rows.bind(next).bind(i64::try_from(last)?).bind(PAGE).fetch_all(&mut connection).await?;
            let Some(end) = rows.last() else { break };
            next = end.try_get::<i64, _>(0)? + 1;
            for row in rows {
                let index = u64::try_from(row.try_get::<i64, _>(0)?)?;
                self.compare(index, row.try_get(1)?, row.try_get(2)?);
            }
        }
        for (index, receipt) in std::mem::take(&mut self.waiting) {
            self.lost.push(format!("entry {index} of request {} is not in the log", receipt.request_id));
        }
        Ok(connection.close().await?)
    }

    fn compare(&mut self, index: u64, entry: &[u8], leaf_hash: &[u8]) {
        let Some(receipt) = self.waiting.remove(&index) else { return };
        match receipt.matches(entry, leaf_hash) {
            Ok(()) => self.found += 1,
            Err(what) => {
                self.lost.push(format!("entry {index} of request {}: {what}", receipt.request_id));
            }
        }
    }

    /// At the end: nothing acknowledged was cut off, and the log has no holes.
    pub(crate) async fn close(&mut self, database: &Path) -> Fallible<u64> {
        self.settle(database).await?;
        let mut connection = open(database).await?;
        let row = sqlx::query("SELECT count(*), coalesce(max(idx), -1) FROM audit_entries");
        let row = row.fetch_one(&mut connection).await?;
        let (count, last): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        connection.close().await?;
        if count != last + 1 {
            self.lost.push(format!("the log holds {count} entries and its last is number {last}"));
        }
        let (count, highest) = (u64::try_from(count)?, self.highest.map_or(0, |highest| highest + 1));
        if count < highest {
            self.lost.push(format!("{highest} entries were acknowledged, the log ends after {count}"));
        }
        Ok(count)
    }
}

async fn open(database: &Path) -> Fallible<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(database).read_only(true);
    Ok(SqliteConnection::connect_with(&options).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SIGNATURE: [u8; 32] = [9; 32];

    fn receipt(request: &str) -> Receipt {
        let (key, device) = ("demo-sm2".to_owned(), "d1".to_owned());
        Receipt { key, device, request_id: request.to_owned(), digest: [3; 32], result: SIGNATURE }
    }

    fn entry(request: &str, result: &str) -> Vec<u8> {
        let entry = json!({
            "action": "signature.raw", "outcome": "ok", "key": "demo-sm2", "device": "d1", "request_id": request,
            "input_digest": hex::encode([3; 32]), "result_digest": result,
        });
        entry.to_string().into_bytes()
    }

    async fn database(folder: &tempfile::TempDir, entries: &[(i64, Vec<u8>)]) -> std::path::PathBuf {
        let file = folder.path().join("gateway.db");
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        let table = "CREATE TABLE audit_entries (idx INTEGER PRIMARY KEY, entry BLOB, leaf_hash BLOB)";
        sqlx::query(table).execute(&mut connection).await.unwrap();
        for (index, entry) in entries {
            let leaf = Sm3::new().chain_update([0]).chain_update(entry).finalize();
            let row = sqlx::query("INSERT INTO audit_entries VALUES ($1, $2, $3)");
            row.bind(index).bind(entry).bind(&leaf[..]).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
        file
    }

    #[tokio::test]
    async fn what_is_in_the_log_is_found_and_what_is_not_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let good = hex::encode(SIGNATURE);
        let rows = [(0, entry("a", &good)), (1, entry("b", "00")), (2, entry("other", &good))];
        let file = database(&folder, &rows).await;
        let mut ledger = Ledger::default();
        for (index, request) in [(0, "a"), (1, "b"), (2, "c"), (7, "d")] {
            ledger.acknowledge(index, receipt(request));
        }
        ledger.settle(&file).await.unwrap();
        assert_eq!(ledger.found, 1);
        assert_eq!(
            ledger.lost,
            [
                "entry 1 of request b: result_digest",
                "entry 2 of request c: request_id",
                "entry 7 of request d is not in the log"
            ]
        );
    }

    #[tokio::test]
    async fn a_log_with_a_hole_or_cut_short_is_noticed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let good = hex::encode(SIGNATURE);
        let file = database(&folder, &[(0, entry("a", &good)), (2, entry("c", &good))]).await;
        let mut ledger = Ledger::default();
        ledger.acknowledge(2, receipt("c"));
        assert_eq!(ledger.close(&file).await.unwrap(), 2);
        assert_eq!(ledger.found, 1);
        assert_eq!(ledger.lost.len(), 2, "{:?}", ledger.lost);
    }
}
