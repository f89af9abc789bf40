//! Changes of templates, each prepared before the audit log's writer makes it beside its entry. A change names the revision that
//! it rests on; if another one came first, nothing of it is done.

use config::TemplateId;
use time::OffsetDateTime;

use super::{NewStampTemplate, TEMPLATE, TemplateRow, TemplateState, TemplateVersion, VersionRow, find};
use crate::database::{Connection, query};
use crate::protection::Protection;
use crate::terms::{Room, Terms, counted};
use crate::{Store, StoreError};

/// What is to become of a template, by whom and why. It is done by [`crate::AuditLog::append_stamp_template`].
#[derive(Debug)]
pub struct TemplateChange {
    row: TemplateRow,
    /// The version that it sets.
    version: Option<VersionRow>,
    /// The revision that the template has until then; none: there is none of its id.
    expected: Option<i64>,
    /// How many there may be, if it is a further one.
    room: Option<Room>,
}

impl Store {
    /// Prepares to have a new version of a template in force, or to enter a template with its first one. Whether the template
    /// may be used stays as it is.
    ///
    /// # Errors
    /// [`StoreError::NotAllowed`] when another version is in force than the one that was to be replaced;
    /// [`StoreError::Full`]; [`StoreError::Changed`]; [`StoreError::Altered`].
    pub async fn set_stamp_template(
        &self,
        new: &NewStampTemplate<'_>,
        terms: impl Into<Terms>,
    ) -> Result<TemplateChange, StoreError> {
        let (terms, mut reading) = (terms.into(), self.begin_read().await?);
        let held = match find(&mut reading, self.protection(), new.id).await {
            Ok(held) => Some(held),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let in_force = held.as_ref().map_or(0, |held| held.version);
        if in_force != new.replaces {
            return Err(changed(new.id));
        }
        let (expected, state) = match &held {
            Some(held) => {
                terms.hold_at(held.revision, TEMPLATE, new.id.as_str())?;
                (Some(held.revision), held.state)
            }
            None => (None, TemplateState::Enabled),
        };
        let room = terms.room.filter(|_| held.is_none());
        if let Some(room) = room {
            admit(&mut reading, room).await?;
        }
        let (version, reason, actor) = (in_force + 1, new.reason.to_owned(), new.actor.to_owned());
        let at = whole_seconds(terms.at);
        let row = TemplateRow {
            id: new.id.clone(),
            state,
            version,
            reason: reason.clone(),
            actor: actor.clone(),
            changed_at: at,
            revision: expected.unwrap_or(0) + 1,
            code: None,
        };
        let version = VersionRow {
            template: new.id.clone(),
            version: TemplateVersion {
                version,
                description: new.description.to_owned(),
                apps: new.apps.cloned(),
                stamp: new.stamp.to_owned(),
                reason,
                actor,
                at,
            },
            revision: 1,
            code: None,
        };
        Ok(TemplateChange { row, version: Some(version), expected, room })
    }

    /// Prepares to let a template be used, or not be used.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when it is so already; [`StoreError::Changed`];
    /// [`StoreError::Altered`].
    pub async fn set_stamp_template_state(
        &self,
        id: &TemplateId,
        to: TemplateState,
        reason: &str,
        actor: &str,
        terms: impl Into<Terms>,
    ) -> Result<TemplateChange, StoreError> {
        let terms = terms.into();
        let mut row = find(&mut *self.begin_read().await?, self.protection(), id).await?;
        terms.hold_at(row.revision, TEMPLATE, id.as_str())?;
        if row.state == to {
            return Err(StoreError::NotAllowed {
                what: TEMPLATE,
                id: id.to_string(),
                state: to.as_str(),
                reason: "it is so already",
            });
        }
        let expected = Some(row.revision);
        row.state = to;
        reason.clone_into(&mut row.reason);
        actor.clone_into(&mut row.actor);
        row.changed_at = whole_seconds(terms.at);
        row.revision += 1;
        Ok(TemplateChange { row, version: None, expected, room: None })
    }
}

impl TemplateChange {
    /// The version that is in force with it.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.row.version
    }

    /// What is said to whoever came too late with it.
    pub(crate) fn refused(&self) -> StoreError {
        changed(&self.row.id)
    }

    /// Makes it within the entry's transaction, which holds the lock of those that read before they write, if nothing came
    /// first. Answers whether it is made.
    pub(crate) async fn write(
        &self,
        connection: &mut Connection<'_>,
        protection: &Protection,
    ) -> Result<bool, StoreError> {
        let held = query("SELECT revision FROM stamp_templates WHERE id = $1").bind(self.row.id.as_str());
        let held = held.fetch_optional(&mut *connection).await?;
        let held: Option<i64> = held.map(|held| held.try_get("revision")).transpose()?;
        if held != self.expected {
            return Ok(false);
        }
        if let Some(room) = self.room
            && admit(connection, room).await.is_err()
        {
            return Ok(false); // whoever asks again is told
        }
        self.row.write(connection, protection, held.is_none()).await?;
        if let Some(version) = &self.version {
            version.insert(connection, protection).await?;
        }
        Ok(true)
    }
}

/// Whether there may be one more.
async fn admit(connection: &mut Connection<'_>, room: Room) -> Result<(), StoreError> {
    let there = query("SELECT count(*) AS n FROM stamp_templates").fetch_one(connection).await?;
    let there = counted(&there)?;
    room.admit(TEMPLATE, there, there)
}

fn changed(id: &TemplateId) -> StoreError {
    StoreError::NotAllowed {
        what: TEMPLATE,
        id: id.to_string(),
        state: "changed",
        reason: "another version is in force than the one to be replaced",
    }
}

/// As a row keeps it.
fn whole_seconds(at: OffsetDateTime) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.unix_timestamp()).unwrap_or(at)
}
