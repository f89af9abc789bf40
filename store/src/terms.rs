//! On what terms something is changed: when, on which state of it that was decided, and how many of its kind there may
//! be. What was judged before the transaction may no longer be so within it; this is judged there.

use time::OffsetDateTime;

use crate::StoreError;
use crate::database::{Connection, query};

/// How many of a kind there may be, with the one that is entered.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Of one kind, in force at a time.
    pub in_force: usize,
    /// At all, those that ended included.
    pub ever: usize,
}

impl Room {
    /// So many, whatever their state.
    #[must_use]
    pub fn of(ever: usize) -> Self {
        Self { in_force: ever, ever }
    }

    /// Refuses one more than there may be.
    pub(crate) fn admit(self, what: &'static str, in_force: usize, ever: usize) -> Result<(), StoreError> {
        match self {
            Self { in_force: most, .. } if in_force >= most => {
                Err(StoreError::Full { what, most, in_force: true })
            }
            Self { ever: most, .. } if ever >= most => Err(StoreError::Full { what, most, in_force: false }),
            _ => Ok(()),
        }
    }
}

/// When something is changed, and what must hold for it in the same transaction.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub(crate) at: OffsetDateTime,
    pub(crate) room: Option<Room>,
    since: Option<i64>,
}

impl From<OffsetDateTime> for Terms {
    fn from(at: OffsetDateTime) -> Self {
        Self { at, room: None, since: None }
    }
}

impl Terms {
    /// Only if nothing was changed since this revision: of an app, of the register of apps; of an account, its own;
    /// of a seal and a mandate, its version.
    #[must_use]
    pub fn since(self, revision: Option<i64>) -> Self {
        Self { since: revision, ..self }
    }

    /// Only if there is room for it.
    #[must_use]
    pub fn within(self, room: Room) -> Self {
        Self { room: Some(room), ..self }
    }

    /// Whether it was decided on a revision.
    pub(crate) fn is_bound(self) -> bool {
        self.since.is_some()
    }

    /// Refuses a change that was decided on another revision.
    pub(crate) fn hold_at(self, revision: i64, what: &'static str, id: &str) -> Result<(), StoreError> {
        match self.since {
            Some(since) if since != revision => Err(StoreError::Changed { what, id: id.to_owned() }),
            _ => Ok(()),
        }
    }

    /// Refuses a change of an app that was decided on another revision of their register.
    pub(crate) async fn hold_in_register(
        self,
        connection: &mut Connection<'_>,
        what: &'static str,
        id: &str,
    ) -> Result<(), StoreError> {
        if self.since.is_none() {
            return Ok(());
        }
        let row = query("SELECT revision FROM app_register").fetch_one(connection).await?;
        self.hold_at(row.try_get("revision")?, what, id)
    }
}

/// The number that `SELECT count(*) AS n …` answers.
pub(crate) fn counted(row: &crate::database::Row) -> Result<usize, StoreError> {
    Ok(usize::try_from(row.try_get::<i64, _>("n")?).unwrap_or(usize::MAX))
}
