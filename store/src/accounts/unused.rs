//! Accounts that nobody uses are turned off. Whether one still is unused is judged in the transaction that turns it off and
//! puts that on record ([`crate::AuditLog::append_turning_off`]), so that of many gateways one does it, and none to somebody
//! who has just come back.

use config::AccountName;
use time::OffsetDateTime;

use super::row::AccountRow;
use super::{AccountState, set_state};
use crate::database::Connection;
use crate::protection::Protection;
use crate::{Store, StoreError};

/// An account to be turned off.
#[derive(Debug, Clone)]
pub struct UnusedAccount {
    /// Its name.
    pub name: AccountName,
    /// Nobody has used it after this time; else it stays as it is.
    pub last_use: OffsetDateTime,
    /// What the account says of it from now on.
    pub reason: String,
    /// When it is turned off.
    pub at: OffsetDateTime,
}

impl UnusedAccount {
    /// Its row, if there is anything to do.
    async fn found(
        &self,
        connection: &mut Connection<'_>,
        protection: &Protection,
    ) -> Result<Option<AccountRow>, StoreError> {
        let row = AccountRow::of(connection, protection, &self.name).await?;
        let account = &row.account;
        let is_unused = account.state == AccountState::Enabled && account.unused_since() <= self.last_use;
        Ok(is_unused.then_some(row))
    }

    /// Turns it off within a transaction and ends what signs the person in; false if there is nothing to do, or the row
    /// cannot be judged.
    ///
    /// # Errors
    /// The transaction cannot go on.
    pub(crate) async fn turn_off(
        &self,
        connection: &mut Connection<'_>,
        protection: &Protection,
    ) -> Result<bool, StoreError> {
        let mut row = match self.found(connection, protection).await {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(false),
            Err(error @ StoreError::Query(_)) => return Err(error),
            // Nothing was written yet: whatever else is in the transaction is not held up.
            Err(error) => {
                tracing::error!(%error, "an account that nobody uses cannot be turned off");
                return Ok(false);
            }
        };
        set_state(connection, protection, &mut row, AccountState::Disabled, &self.reason, self.at).await?;
        Ok(true)
    }
}

impl Store {
    /// Turns an account off without a record; false if there is nothing to do.
    pub(crate) async fn turn_off_unrecorded(&self, unused: &UnusedAccount) -> Result<bool, StoreError> {
        let mut transaction = self.begin_write().await?;
        let done = unused.turn_off(&mut transaction, self.protection()).await?;
        transaction.commit().await?;
        Ok(done)
    }
}
