//! The second factor: a secret shared with a device of the person (RFC 6238), and recovery codes for when that is lost.
//! The secret is sealed; of recovery codes, which are random, the digests are stored. How a code follows from the secret
//! is the gateway's business; that each counts once, on whatever replica, is settled here.

use config::{AccountName, Secret};
use sm3::{Digest, Sm3};
use time::OffsetDateTime;

use super::row::AccountRow;
use super::{ACCOUNT, Account, sessions};
use crate::{Store, StoreError, Terms};

/// What codes of a person are checked with.
#[derive(Debug)]
pub struct SecondFactor {
    /// The secret.
    pub secret: Secret<Vec<u8>>,
    /// The step of the last code that counted; only later ones do.
    pub last_step: i64,
}

/// What a person shows besides the password.
#[derive(Debug, Clone)]
pub enum Factor {
    /// A code of this step, which followed from the secret.
    Code {
        /// Time divided by the length of a step.
        step: i64,
    },
    /// A recovery code as it was typed, in its one form.
    Recovery(Secret<String>),
}

impl Store {
    /// The second factor of an account; the one that waits to be confirmed if `pending`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for an unknown account.
    pub async fn second_factor(
        &self,
        name: &AccountName,
        pending: bool,
    ) -> Result<Option<SecondFactor>, StoreError> {
        let mut reading = self.begin_read().await?;
        let row = AccountRow::of(&mut reading, self.protection(), name).await?;
        let secret = row.totp_secret(self.protection(), pending)?;
        Ok(secret
            .map(|secret| SecondFactor { secret: Secret::new(secret.to_vec()), last_step: row.totp_step }))
    }

    /// Keeps a secret that counts once a code has confirmed it; the factor that there is stays till then.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when the session that it is done in has ended meanwhile.
    pub async fn begin_second_factor(
        &self,
        name: &AccountName,
        secret: &[u8],
        within: Option<&str>,
    ) -> Result<(), StoreError> {
        let pending = |row: &mut AccountRow| row.set_totp_pending(self.protection(), secret);
        self.with_account(name, within, pending).await.map(drop)
    }

    /// Has the pending secret count, with these recovery codes, if it is still the one that a code of this step was shown
    /// of; everything that signed the person in by the factor
    /// before ends but the session that it is done in.
    ///
    /// # Errors
    /// [`StoreError::NotAllowed`] when none is pending, or another one, or that session has ended meanwhile.
    pub async fn confirm_second_factor(
        &self,
        name: &AccountName,
        (secret, step): (&Secret<Vec<u8>>, i64),
        recovery_codes: &[Secret<String>],
        within: Option<&str>,
        at: OffsetDateTime,
    ) -> Result<Account, StoreError> {
        let digests = recovery_codes.iter().map(|code| digest(code.expose())).collect();
        let mut transaction = self.begin_write().await?;
        let mut row = AccountRow::of(&mut transaction, self.protection(), name).await?;
        sessions::goes_on(&mut transaction, self.protection(), name, within).await?;
        row.confirm_totp(self.protection(), (secret.expose(), step), digests, at)?;
        row.save(&mut transaction, self.protection()).await?;
        let why = "second factor changed";
        sessions::end_all(&mut transaction, self.protection(), name, within, why, at).await?;
        transaction.commit().await?;
        Ok(row.account)
    }

    /// Gives an account other recovery codes.
    ///
    /// # Errors
    /// [`StoreError::NotAllowed`] without a second factor, or when the session that it is done in has ended meanwhile.
    pub async fn set_recovery_codes(
        &self,
        name: &AccountName,
        recovery_codes: &[Secret<String>],
        within: Option<&str>,
    ) -> Result<Account, StoreError> {
        self.with_account(name, within, |row| {
            if row.account.second_factor_since.is_none() {
                return Err(not_allowed(name, "there is no second factor"));
            }
            row.set_recovery_codes(recovery_codes.iter().map(|code| digest(code.expose())).collect());
            Ok(())
        })
        .await
    }

    /// Takes the second factor away and ends everything that signed the person in: another is enrolled at the next
    /// sign-in.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Changed`].
    pub async fn reset_second_factor(
        &self,
        name: &AccountName,
        terms: impl Into<Terms>,
    ) -> Result<Account, StoreError> {
        let terms = terms.into();
        let mut transaction = self.begin_write().await?;
        let mut row = AccountRow::of(&mut transaction, self.protection(), name).await?;
        row.hold(terms)?;
        row.forget_totp();
        row.save(&mut transaction, self.protection()).await?;
        let why = "second factor reset";
        sessions::end_all(&mut transaction, self.protection(), name, None, why, terms.at).await?;
        transaction.commit().await?;
        Ok(row.account)
    }

    /// Uses a factor up outside a sign-in, to prove that the person is at hand.
    ///
    /// # Errors
    /// [`StoreError::NotAllowed`] when it was used before or is none.
    pub async fn use_factor(&self, name: &AccountName, factor: &Factor) -> Result<Account, StoreError> {
        self.with_account(name, None, |row| use_up(row, factor)).await
    }
}

/// Within a transaction: each code counts once.
pub(super) fn use_up(row: &mut AccountRow, factor: &Factor) -> Result<(), StoreError> {
    let counts = match factor {
        Factor::Code { step } if row.account.second_factor_since.is_some() && *step > row.totp_step => {
            row.totp_step = *step;
            true
        }
        Factor::Code { .. } => false,
        Factor::Recovery(code) => row.use_recovery_code(&digest(code.expose())),
    };
    match counts {
        true => Ok(()),
        false => Err(not_allowed(&row.account.name, "this code does not count, or counted before")),
    }
}

fn not_allowed(name: &AccountName, reason: &'static str) -> StoreError {
    StoreError::NotAllowed { what: ACCOUNT, id: name.to_string(), state: "code", reason }
}

fn digest(code: &str) -> String {
    hex::encode(Sm3::digest(code.as_bytes()))
}
