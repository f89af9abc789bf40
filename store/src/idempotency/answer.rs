//! Answers as they are kept: sealed, as they may name people or hold their documents.
//!
//! An answer to an act is kept in the transaction that records the act, and most of them name the entry's index, which is
//! known only there. Sealing takes longer than others should wait, so the body is sealed before, without the index, which
//! is stored beside it and put in when the answer is read. Where it goes is part of what the body is sealed for.

use super::{Claim, IdempotencyId};
use crate::database::{Executor, Row, query};
use crate::protection::{Cell, Protection};
use crate::{Store, StoreError};

/// Bodies over so many octets are sealed beside the threads that serve.
const LARGE: usize = 64 << 10;

/// An answer as it is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Its HTTP status.
    pub status: u16,
    /// Names and values of the header fields that are part of it.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// An answer that is written before the entry about what was done has its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnplacedAnswer {
    /// The answer without the entry's index.
    pub answer: KeptAnswer,
    /// Before which octet of the body the index goes, in decimal digits; nothing if the body does not name it.
    pub index_at: Option<usize>,
}

impl From<KeptAnswer> for UnplacedAnswer {
    fn from(answer: KeptAnswer) -> Self {
        Self { answer, index_at: None }
    }
}

impl UnplacedAnswer {
    /// The answer once the entry has its index.
    #[must_use]
    pub fn placed(self, index: u64) -> KeptAnswer {
        let Self { mut answer, index_at } = self;
        if let Some(at) = index_at {
            let at = at.min(answer.body.len());
            answer.body.splice(at..at, index.to_string().into_bytes());
        }
        answer
    }
}

/// An answer as it is stored.
pub(crate) struct StoredAnswer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// Whether the body is.
    sealed: bool,
    index_at: Option<i64>,
}

impl StoredAnswer {
    /// Takes long of a large answer.
    pub(super) fn new(
        protection: &Protection,
        id: &IdempotencyId,
        unplaced: UnplacedAnswer,
    ) -> Result<Self, StoreError> {
        let UnplacedAnswer { answer: KeptAnswer { status, headers, body }, index_at } = unplaced;
        let headers = serde_json::to_string(&headers).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let index_at = index_at.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        let (body, sealed) = match protection.seal(cell(&row_of(id, index_at, status, &headers)), &body) {
            Ok(sealed) => (sealed, true),
            // Of a site without a data key nothing is sealed; where there is one, nobody is answered before it is here.
            Err(StoreError::Locked) => (body, false),
            Err(error) => return Err(error),
        };
        Ok(Self { status, headers, body, sealed, index_at })
    }

    /// Keeps it for who holds the key, whose act has this entry; false if the key is not held any more.
    pub(crate) async fn keep<'c>(
        &self,
        on: impl Into<Executor<'c>>,
        claim: &Claim,
        index: Option<u64>,
    ) -> Result<bool, sqlx::Error> {
        let done = query(
            "UPDATE idempotency_keys SET state = 'answered', status = $5, headers = $6, answer = $7, sealed = $8,
                 index_at = $9, audit_index = $10
             WHERE actor = $1 AND route = $2 AND key = $3 AND holder = $4 AND state = 'running'",
        )
        .bind(&claim.id.actor)
        .bind(&claim.id.route)
        .bind(&claim.id.key)
        .bind(&claim.holder)
        .bind(i64::from(self.status))
        .bind(&self.headers)
        .bind(&self.body[..])
        .bind(self.sealed)
        .bind(self.index_at)
        .bind(index.map(|index| i64::try_from(index).unwrap_or(i64::MAX)))
        .execute(on)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}

impl Store {
    /// An answer in the form in which it is kept under a claim.
    ///
    /// # Errors
    /// It could not be sealed.
    pub(crate) async fn stored_answer(
        &self,
        claim: &Claim,
        unplaced: UnplacedAnswer,
    ) -> Result<StoredAnswer, StoreError> {
        if unplaced.answer.body.len() <= LARGE {
            return StoredAnswer::new(self.protection(), &claim.id, unplaced);
        }
        let (protection, id) = (self.protection().clone(), claim.id.clone());
        let sealing = tokio::task::spawn_blocking(move || StoredAnswer::new(&protection, &id, unplaced));
        sealing.await.map_err(|_| StoreError::Interrupted)?
    }

    /// Reads the answer under a key.
    pub(super) fn kept_answer(&self, id: &IdempotencyId, row: &Row) -> Result<KeptAnswer, StoreError> {
        let corrupt = |column| StoreError::Corrupt { what: "idempotency key", id: id.key.clone(), column };
        let status: i64 = row.try_get("status")?;
        let status = u16::try_from(status).map_err(|_| corrupt("status"))?;
        let headers: &str = row.try_get("headers")?;
        let index_at: Option<i64> = row.try_get("index_at")?;
        let body: Vec<u8> = row.try_get("answer")?;
        let body = match row.try_get("sealed")? {
            true => {
                let row = row_of(id, index_at, status, headers);
                self.protection().open(cell(&row), &body)?.to_vec()
            }
            false => body,
        };
        let headers = serde_json::from_str(headers).map_err(|_| corrupt("headers"))?;
        let answer = KeptAnswer { status, headers, body };
        let Some(at) = index_at else { return Ok(answer) };
        let at = usize::try_from(at).ok().filter(|at| *at <= answer.body.len());
        let at = at.ok_or_else(|| corrupt("index_at"))?;
        let index: Option<i64> = row.try_get("audit_index")?;
        let index =
            index.and_then(|index| u64::try_from(index).ok()).ok_or_else(|| corrupt("audit_index"))?;
        Ok(UnplacedAnswer { answer, index_at: Some(at) }.placed(index))
    }
}

/// The row of an answer in one text: a route is one word, and neither an actor nor JSON has a line feed. With the place of an
/// index, which only answers have that are kept with their entries, status and header fields belong to it too.
fn row_of(id: &IdempotencyId, index_at: Option<i64>, status: u16, headers: &str) -> String {
    let key = [id.actor.as_str(), &id.route, &id.key].join("\n");
    match index_at {
        Some(at) => format!("{key}\n{at}\n{status}\n{headers}"),
        None => key,
    }
}

fn cell(row: &str) -> Cell<'_> {
    Cell { table: "idempotency_keys", column: "answer", row }
}
