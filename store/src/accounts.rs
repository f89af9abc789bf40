//! The people who operate the gateway: their accounts, what they prove themselves by, and their sessions.
//!
//! A password is stored as its Argon2id hash, and the hash is sealed: with the database alone nobody can even try
//! passwords (docs/adr/0026). Every row carries a code and is judged whenever it is read; an account whose row was
//! altered signs nobody in. Names are never given to somebody else, so that the audit log's `person:NAME` is one person
//! for good.

mod grounds;
mod password;
mod rights;
mod row;
mod second_factor;
mod sessions;
mod tries;
mod unused;

use std::collections::BTreeSet;
use std::fmt;

use config::AccountName;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;

use crate::apps::unusable;
use crate::database::{Connection, query};
use crate::protection::Protection;
use crate::terms::{Terms, counted};
use crate::words::words;
use crate::{Store, StoreError};
pub use grounds::{Grounds, Proofs};
pub use password::PasswordCheck;
pub(crate) use row::renew;
use row::{AccountRow, COLUMNS};
pub use second_factor::{Factor, SecondFactor};
pub(crate) use sessions::renew_sessions;
pub use sessions::{NewSession, Session, SessionKind};
pub use tries::{Patience, Tried, Try};
pub use unused::UnusedAccount;

pub(crate) const ACCOUNT: &str = "account";

words! {
    /// What a person does. Which operations that takes is the gateway's business.
    Role {
        /// Looks after devices day by day.
        Operator = "operator",
        /// Judges and shows licenses at a counter.
        WindowClerk = "window-clerk",
        /// Answers those who call for help.
        ServiceSeat = "service-seat",
        /// Reads what was done.
        Auditor = "auditor",
        /// Runs the system; one of the three that are kept apart.
        SystemAdmin = "system-admin",
        /// Grants rights; one of the three that are kept apart.
        SecurityAdmin = "security-admin",
        /// Watches the other two; one of the three that are kept apart.
        AuditAdmin = "audit-admin",
    }
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Operator,
        Self::WindowClerk,
        Self::ServiceSeat,
        Self::Auditor,
        Self::SystemAdmin,
        Self::SecurityAdmin,
        Self::AuditAdmin,
    ];

    /// Of these three a person has one at most (三员分立), and the audit administrator no other role at all.
    #[must_use]
    pub fn is_kept_apart(self) -> bool {
        matches!(self, Self::SystemAdmin | Self::SecurityAdmin | Self::AuditAdmin)
    }

    /// Why these roles are not for one person; nothing if they can be.
    #[must_use]
    pub fn conflict(roles: &BTreeSet<Self>) -> Option<&'static str> {
        if roles.iter().filter(|role| role.is_kept_apart()).count() > 1 {
            return Some("system-admin, security-admin and audit-admin are for three different people");
        }
        let audits = roles.contains(&Self::AuditAdmin);
        (audits && roles.len() > 1).then_some("who is audit-admin has no other role: it changes nothing")
    }
}

words! {
    /// Whether a person may sign in.
    AccountState {
        /// Yes.
        Enabled = "enabled",
        /// No; whatever signed the person in before has ended.
        Disabled = "disabled",
    }
}

/// A person's account. `Debug` shows no name of a person but the one to sign in with.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The name to sign in with, and the account's id for good.
    pub name: AccountName,
    /// What people call the person.
    pub display_name: String,
    /// What the person does.
    pub roles: BTreeSet<Role>,
    /// Whether the person may sign in.
    pub state: AccountState,
    /// Why it is in that state; empty where nobody said.
    pub reason: String,
    /// When the password was set.
    pub password_set_at: OffsetDateTime,
    /// Until when a password holds that somebody else has set; it must be changed at the first sign-in.
    pub one_time_until: Option<OffsetDateTime>,
    /// Since when there is a second factor.
    pub second_factor_since: Option<OffsetDateTime>,
    /// Recovery codes that were not used yet.
    pub recovery_codes_left: usize,
    /// When the person was here last, to the hour.
    pub last_seen_at: Option<OffsetDateTime>,
    /// When the account was made.
    pub created_at: OffsetDateTime,
    /// When name, roles or state were changed last.
    pub changed_at: OffsetDateTime,
    /// Another number after every change of anything of it.
    pub revision: i64,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("name", &self.name)
            .field("roles", &self.roles)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Account {
    /// Since when nobody has used it, nor an administrator changed it: one that is turned on again is not unused.
    #[must_use]
    pub fn unused_since(&self) -> OffsetDateTime {
        self.last_seen_at.unwrap_or(self.created_at).max(self.changed_at)
    }
}

/// An account to be made.
pub struct NewAccount<'a> {
    /// The name to sign in with.
    pub name: &'a AccountName,
    /// What people call the person.
    pub display_name: &'a str,
    /// What the person does.
    pub roles: &'a BTreeSet<Role>,
    /// The password.
    pub password: &'a str,
    /// Until when it holds, and then it must be changed at the first sign-in; none if the person chose it.
    pub one_time_until: Option<OffsetDateTime>,
}

impl Store {
    /// Makes an account, enabled, without a second factor.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] for a name that was given once; [`StoreError::Unacceptable`] for roles that are
    /// not for one person; [`StoreError::Full`]; [`StoreError::Locked`] without a data key.
    pub async fn insert_account(
        &self,
        account: &NewAccount<'_>,
        terms: impl Into<Terms>,
    ) -> Result<(), StoreError> {
        let Terms { at, room, .. } = terms.into();
        acceptable(account.name, account.roles)?;
        let hash = self.hash_password(account.password).await?;
        let fresh = AccountRow::new(account, &hash, self.protection(), at)?;
        let mut transaction = self.begin_write().await?;
        if let Some(room) = room {
            let row = query("SELECT count(*) AS n FROM accounts").fetch_one(&mut *transaction).await?;
            let there = counted(&row)?;
            room.admit(ACCOUNT, there, there)?;
        }
        fresh.insert(&mut transaction, self.protection()).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// One account.
    ///
    /// # Errors
    /// [`StoreError::Altered`] when its row is not as this gateway wrote it.
    pub async fn account(&self, name: &AccountName) -> Result<Option<Account>, StoreError> {
        let select = AssertSqlSafe(format!("SELECT {COLUMNS} FROM accounts WHERE name = $1"));
        let row = query(select).bind(name.as_str()).fetch_optional(self.readers()).await?;
        row.as_ref().map(|row| AccountRow::judged(row, self.protection()).map(|row| row.account)).transpose()
    }

    /// All accounts in the order of their names, without any that cannot be read or was altered.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let select = AssertSqlSafe(format!("SELECT {COLUMNS} FROM accounts ORDER BY name"));
        let rows = query(select).fetch_all(self.readers()).await?;
        let mut accounts = Vec::with_capacity(rows.len());
        for row in &rows {
            match AccountRow::judged(row, self.protection()) {
                Ok(row) => accounts.push(row.account),
                Err(error) => unusable(error)?,
            }
        }
        Ok(accounts)
    }

    /// How many accounts there are, sound or not.
    pub async fn count_accounts(&self) -> Result<usize, StoreError> {
        let row = query("SELECT COUNT(*) AS n FROM accounts").fetch_one(self.readers()).await?;
        counted(&row)
    }

    /// Says anew what a person is called and does.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Changed`], and as [`Store::insert_account`].
    pub async fn change_account(
        &self,
        name: &AccountName,
        display_name: &str,
        roles: &BTreeSet<Role>,
        terms: impl Into<Terms>,
    ) -> Result<Account, StoreError> {
        let terms = terms.into();
        acceptable(name, roles)?;
        self.with_account(name, None, |row| {
            row.hold(terms)?;
            row.call(self.protection(), display_name)?;
            roles.clone_into(&mut row.account.roles);
            row.account.changed_at = terms.at;
            Ok(())
        })
        .await
    }

    /// Lets a person sign in again, or no longer: then all that signed the person in ends with the same transaction.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Changed`].
    pub async fn set_account_state(
        &self,
        name: &AccountName,
        state: AccountState,
        reason: &str,
        terms: impl Into<Terms>,
    ) -> Result<Account, StoreError> {
        let terms = terms.into();
        let at = terms.at;
        let mut transaction = self.begin_write().await?;
        let mut row = AccountRow::of(&mut transaction, self.protection(), name).await?;
        row.hold(terms)?;
        set_state(&mut transaction, self.protection(), &mut row, state, reason, at).await?;
        transaction.commit().await?;
        Ok(row.account)
    }

    /// Reads an account, changes it and writes it with its new code, in one transaction. What is done within a session is
    /// done only if that has not ended meanwhile.
    async fn with_account(
        &self,
        name: &AccountName,
        within: Option<&str>,
        change: impl FnOnce(&mut AccountRow) -> Result<(), StoreError>,
    ) -> Result<Account, StoreError> {
        let mut transaction = self.begin_write().await?;
        let mut row = AccountRow::of(&mut transaction, self.protection(), name).await?;
        sessions::goes_on(&mut transaction, self.protection(), name, within).await?;
        change(&mut row)?;
        row.save(&mut transaction, self.protection()).await?;
        transaction.commit().await?;
        Ok(row.account)
    }
}

/// Sets an account's state within a transaction; whatever signs the person in ends with an account that is disabled.
async fn set_state(
    connection: &mut Connection<'_>,
    protection: &Protection,
    row: &mut AccountRow,
    state: AccountState,
    reason: &str,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    row.account.state = state;
    reason.clone_into(&mut row.account.reason);
    row.account.changed_at = at;
    row.save(connection, protection).await?;
    if state == AccountState::Disabled {
        let name = &row.account.name;
        sessions::end_all(connection, protection, name, None, "account disabled", at).await?;
    }
    Ok(())
}

fn acceptable(name: &AccountName, roles: &BTreeSet<Role>) -> Result<(), StoreError> {
    match Role::conflict(roles) {
        Some(reason) => Err(StoreError::Unacceptable { what: ACCOUNT, id: name.to_string(), reason }),
        None => Ok(()),
    }
}
