//! Passwords: hashed with Argon2id on few threads, never compared in the clear.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use config::AccountName;
use sqlx::AssertSqlSafe;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::row::{AccountRow, COLUMNS};
use super::{ACCOUNT, Account, Proofs, sessions};
use crate::database::query;
use crate::{Store, StoreError, Terms};

/// What a hash is computed with when there is none to compare with.
const NOBODY: &[u8] = b"no such account!";

/// What became of a password that was shown.
#[derive(Debug)]
pub enum PasswordCheck {
    /// It is this account's.
    Right {
        /// The account.
        account: Box<Account>,
        /// What it was judged by.
        proofs: Proofs,
    },
    /// It is not, or there is no such account, or its row was altered.
    Wrong {
        /// There is such an account. That is for the record, not for who asks.
        known: bool,
    },
}

impl Store {
    /// Whether this is the account's password. An unknown name takes the same work as a wrong password. Whether the
    /// account may sign in is not judged here, and counting tries is the caller's part.
    ///
    /// # Errors
    /// The database or the data key is not there.
    pub async fn check_password(
        &self,
        name: Option<&AccountName>,
        password: &str,
    ) -> Result<PasswordCheck, StoreError> {
        let select = AssertSqlSafe(format!("SELECT {COLUMNS} FROM accounts WHERE name = $1"));
        // No name is empty: an impossible one is looked for as any other.
        let name = name.map_or("", AccountName::as_str);
        let row = query(select).bind(name).fetch_optional(self.readers()).await?;
        let row = row.as_ref().map(|row| AccountRow::judged(row, self.protection())).transpose();
        let row = match row {
            Err(error @ (StoreError::Altered { .. } | StoreError::Corrupt { .. })) => {
                tracing::error!(%error, "an account cannot be used");
                None
            }
            other => other?,
        };
        let hash = row.as_ref().map(|row| row.hash(self.protection())).transpose()?;
        let password = Zeroizing::new(password.to_owned());
        let matches =
            self.compute(move || verify(hash.as_ref().map(|hash| hash.as_str()), &password)).await?;
        match row {
            Some(row) if matches => {
                let proofs = Proofs::of(&row, self.protection())?;
                Ok(PasswordCheck::Right { account: Box::new(row.account), proofs })
            }
            row => Ok(PasswordCheck::Wrong { known: row.is_some() }),
        }
    }

    /// Gives an account a password of its own choosing; it ends everything that signed the person in but the session
    /// it is done in. So many earlier passwords are remembered.
    ///
    /// # Errors
    /// [`StoreError::NotAllowed`] when the password is the present one or a remembered one, and when that session has ended
    /// meanwhile: somebody else may have reset the password.
    pub async fn change_password(
        &self,
        name: &AccountName,
        password: &str,
        remembered: usize,
        within: Option<&str>,
        at: OffsetDateTime,
    ) -> Result<Account, StoreError> {
        let hashes = self.hashes(name).await?;
        let shown = Zeroizing::new(password.to_owned());
        let used_before = move || hashes.iter().any(|hash| verify(Some(hash), &shown));
        if self.compute(used_before).await? {
            return Err(StoreError::NotAllowed {
                what: ACCOUNT,
                id: name.to_string(),
                state: "password",
                reason: "this password was used before",
            });
        }
        let hash = self.hash_password(password).await?;
        let mut transaction = self.begin_write().await?;
        let mut row = AccountRow::of(&mut transaction, self.protection(), name).await?;
        sessions::goes_on(&mut transaction, self.protection(), name, within).await?;
        row.set_hash(self.protection(), &hash, remembered)?;
        row.account.password_set_at = at;
        row.account.one_time_until = None;
        row.save(&mut transaction, self.protection()).await?;
        let why = "password changed";
        sessions::end_all(&mut transaction, self.protection(), name, within, why, at).await?;
        transaction.commit().await?;
        Ok(row.account)
    }

    /// Gives an account a one-time password, and ends everything that signed the person in.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Changed`].
    pub async fn reset_password(
        &self,
        name: &AccountName,
        password: &str,
        one_time_until: OffsetDateTime,
        remembered: usize,
        terms: impl Into<Terms>,
    ) -> Result<Account, StoreError> {
        let terms = terms.into();
        let at = terms.at;
        let hash = self.hash_password(password).await?;
        let mut transaction = self.begin_write().await?;
        let mut row = AccountRow::of(&mut transaction, self.protection(), name).await?;
        row.hold(terms)?;
        row.set_hash(self.protection(), &hash, remembered)?;
        row.account.password_set_at = at;
        row.account.one_time_until = Some(one_time_until);
        row.save(&mut transaction, self.protection()).await?;
        sessions::end_all(&mut transaction, self.protection(), name, None, "password reset", at).await?;
        transaction.commit().await?;
        Ok(row.account)
    }

    /// The present hash and the remembered ones.
    async fn hashes(&self, name: &AccountName) -> Result<Vec<Zeroizing<String>>, StoreError> {
        let mut reading = self.begin_read().await?;
        let row = AccountRow::of(&mut reading, self.protection(), name).await?;
        let mut hashes = row.earlier_hashes(self.protection())?;
        hashes.push(row.hash(self.protection())?);
        Ok(hashes)
    }

    /// Argon2id with a fresh salt, in its text form.
    pub(super) async fn hash_password(&self, password: &str) -> Result<Zeroizing<String>, StoreError> {
        let password = Zeroizing::new(password.to_owned());
        let hash =
            move || -> Result<PasswordHash, _> { Argon2::default().hash_password(password.as_bytes()) };
        let hash = self.compute(hash).await?.map_err(|_| StoreError::Interrupted)?;
        Ok(Zeroizing::new(hash.to_string()))
    }
}

/// Whether a password belongs to a hash. Without one, or with one that cannot be read, the work is done all the same.
fn verify(hash: Option<&str>, password: &str) -> bool {
    let argon2 = Argon2::default();
    match hash.and_then(|hash| PasswordHash::new(hash).ok()) {
        Some(hash) => argon2.verify_password(password.as_bytes(), &hash).is_ok(),
        None => {
            let computed: Result<PasswordHash, _> =
                argon2.hash_password_with_salt(password.as_bytes(), NOBODY);
            // Looked at, so that no compiler leaves the work out.
            drop(std::hint::black_box(computed));
            false
        }
    }
}
