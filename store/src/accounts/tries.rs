//! Tries to prove to be somebody, by name, over all replicas. A try counts before anything is judged, so that many at a time
//! are no way around the count; one that succeeds clears it. Names that nobody has are counted alike, so that the count
//! tells nobody which there are. What is shown within a session is counted apart: a stranger who guesses at the door keeps
//! nobody from it who is in.

use config::AccountName;
use time::{Duration, OffsetDateTime};

use crate::database::{Connection, instant, query};
use crate::{Store, StoreError};

const TABLE: &str = "sign_in_tries";
/// A count is forgotten so long after the last try.
const REMEMBERED: Duration = Duration::DAY;

/// What a try is counted as.
#[derive(Debug, Clone, Copy)]
pub enum Tried<'a> {
    /// To sign in under a name, whether or not anybody has it.
    SignIn(&'a str),
    /// To show the password within a session of this account.
    Password(&'a AccountName),
    /// To show a code within a session of this account. The password, however often it is right, pays for no guess.
    Code(&'a AccountName),
    /// To sign in with the right password of this account and without a right second factor.
    PasswordAlone(&'a AccountName),
}

impl<'a> Tried<'a> {
    /// All that is counted of an account.
    #[must_use]
    pub fn all_of(name: &'a AccountName) -> [Self; 4] {
        [Self::SignIn(name.as_str()), Self::Password(name), Self::Code(name), Self::PasswordAlone(name)]
    }

    /// What it is found by: no text that somebody types as a name is found as another kind.
    fn parts(self) -> (&'static str, &'a str) {
        match self {
            Self::SignIn(name) => ("name", name),
            Self::Password(name) => ("own_password", name.as_str()),
            Self::Code(name) => ("own_code", name.as_str()),
            Self::PasswordAlone(name) => ("password_alone", name.as_str()),
        }
    }
}

/// How many tries are let through.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// So many in a row before a pause.
    pub tries: u32,
    /// The first pause; each one after it is twice as long.
    pub pause: Duration,
    /// The longest pause.
    pub longest: Duration,
}

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// It may be judged. If it fails, a pause begins of which people are to be told when it is the last of the row.
    Counted {
        /// It is the last before a pause.
        last: bool,
    },
    /// Nobody may try before that time.
    Paused(OffsetDateTime),
}

impl Patience {
    /// The pause after so many tries without success, if one is due.
    fn pause_after(self, tries: i64) -> Option<Duration> {
        let over = tries.checked_sub(i64::from(self.tries)).filter(|over| *over >= 0)?;
        let factor = u32::try_from(over).ok().and_then(|over| 2_i32.checked_pow(over)).unwrap_or(i32::MAX);
        Some(self.pause.checked_mul(factor).map_or(self.longest, |pause| pause.min(self.longest)))
    }
}

impl Store {
    /// Counts a try.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key.
    pub async fn count_try(
        &self,
        tried: Tried<'_>,
        patience: Patience,
        at: OffsetDateTime,
    ) -> Result<Try, StoreError> {
        let mut transaction = self.begin_write().await?;
        let known = self.known(&mut transaction, tried, at).await?;
        if let Some(Known { until, .. }) = known
            && at < until
        {
            return Ok(Try::Paused(until));
        }
        let tries = known.map_or(0, |known| known.tries) + 1;
        let pause = patience.pause_after(tries);
        let until = pause.map_or(OffsetDateTime::UNIX_EPOCH, |pause| at + pause);
        self.write(&mut transaction, tried, tries, until, at).await?;
        transaction.commit().await?;
        Ok(Try::Counted { last: pause.is_some() })
    }

    /// Takes a try back that was right as far as it went; those before it stay.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key.
    pub async fn forgive_try(&self, tried: Tried<'_>, at: OffsetDateTime) -> Result<(), StoreError> {
        let mut transaction = self.begin_write().await?;
        if let Some(known) = self.known(&mut transaction, tried, at).await? {
            let (tries, until) = ((known.tries - 1).max(0), OffsetDateTime::UNIX_EPOCH);
            self.write(&mut transaction, tried, tries, until, at).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets all tries of a kind: one succeeded, or an administrator has it so.
    ///
    /// # Errors
    /// [`StoreError::Locked`] without a data key.
    pub async fn clear_tries(&self, tried: Tried<'_>) -> Result<(), StoreError> {
        for index in self.indexes(tried)? {
            query("DELETE FROM sign_in_tries WHERE name = $1").bind(index).execute(self.writer()).await?;
        }
        Ok(())
    }

    /// Removes counts of which the last try is long ago.
    pub async fn forget_tries(&self, at: OffsetDateTime) -> Result<u64, StoreError> {
        let removed = query("DELETE FROM sign_in_tries WHERE last_at < $1 AND until < $2")
            .bind((at - REMEMBERED).unix_timestamp())
            .bind(at.unix_timestamp())
            .execute(self.writer())
            .await?;
        Ok(removed.rows_affected())
    }

    fn indexes(&self, tried: Tried<'_>) -> Result<Vec<Vec<u8>>, StoreError> {
        let (column, name) = tried.parts();
        self.protection().indexes(TABLE, column, name.as_bytes())
    }

    async fn known(
        &self,
        connection: &mut Connection<'_>,
        tried: Tried<'_>,
        at: OffsetDateTime,
    ) -> Result<Option<Known>, StoreError> {
        for index in self.indexes(tried)? {
            let row = query("SELECT tries, last_at, until FROM sign_in_tries WHERE name = $1")
                .bind(index)
                .fetch_optional(&mut *connection)
                .await?;
            let Some(row) = row else { continue };
            let last_at = instant(&row, "last_at")?.unwrap_or(at);
            let until = instant(&row, "until")?.unwrap_or(at);
            return Ok((at - last_at < REMEMBERED || at < until)
                .then_some(Known { tries: row.try_get("tries")?, until }));
        }
        Ok(None)
    }

    async fn write(
        &self,
        connection: &mut Connection<'_>,
        tried: Tried<'_>,
        tries: i64,
        until: OffsetDateTime,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let (column, name) = tried.parts();
        query(
            "INSERT INTO sign_in_tries (name, tries, last_at, until) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET tries = $2, last_at = $3, until = $4",
        )
        .bind(self.protection().index(TABLE, column, name.as_bytes())?)
        .bind(tries)
        .bind(at.unix_timestamp())
        // Stored in whole seconds: a pause is rather longer than shorter.
        .bind(until.unix_timestamp() + i64::from(until.nanosecond() > 0))
        .execute(connection)
        .await?;
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Known {
    tries: i64,
    until: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let patience = Patience { tries: 5, pause: Duration::MINUTE, longest: Duration::HOUR };
        assert_eq!(patience.pause_after(4), None);
        assert_eq!(patience.pause_after(5), Some(Duration::MINUTE));
        assert_eq!(patience.pause_after(7), Some(Duration::minutes(4)));
        assert_eq!(patience.pause_after(11), Some(Duration::HOUR));
        assert_eq!(patience.pause_after(i64::MAX), Some(Duration::HOUR));
    }
}
