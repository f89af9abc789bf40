//! Answers that are kept with the entries about what was done.

use std::sync::Arc;

use crate::database::Transaction;
use crate::idempotency::StoredAnswer;
use crate::{Claim, Store, StoreError, UnplacedAnswer};

/// The answer to a request that holds an idempotency key, to be kept with the entry about what it did.
pub struct Keeping {
    /// The claim that holds the key.
    pub claim: Arc<Claim>,
    /// The answer.
    pub answer: UnplacedAnswer,
}

impl Keeping {
    /// Seals the answer, before any batch has to wait for it.
    pub(super) async fn sealed(self, store: &Store) -> Result<Sealed, StoreError> {
        let answer = store.stored_answer(&self.claim, self.answer).await?;
        Ok(Sealed { claim: self.claim, answer })
    }
}

/// The same, as it goes into the database.
pub(super) struct Sealed {
    claim: Arc<Claim>,
    answer: StoredAnswer,
}

impl Sealed {
    /// Keeps the answer with the entry of this index; false if the request does not hold its key any more.
    pub(super) async fn keep(
        &self,
        transaction: &mut Transaction<'_>,
        index: u64,
    ) -> Result<bool, sqlx::Error> {
        self.answer.keep(&mut **transaction, &self.claim, Some(index)).await
    }
}
