//! Changes of seals, each made whole before the audit log's writer puts it beside its entry: the writer's transaction holds
//! everybody up, so that nothing is thought about in it. A change names the revision that it rests on; if another one came
//! first, nothing of it is done.

use config::SealNumber;
use formats::Certificate;
use formats::seal::Seal;
use time::OffsetDateTime;

use super::{RegisteredSeal, SEAL, SealEvent, SealHolder, SealKind, SealRow, SealState, find};
use crate::audit::LogId;
use crate::database::{Connection, query};
use crate::{Store, StoreError, Terms};

/// A seal that is to be entered.
#[derive(Debug, Clone)]
pub struct NewSeal {
    /// Its number, which is the one in the seal.
    pub id: SealNumber,
    /// Whose kind.
    pub kind: SealKind,
    /// Whose.
    pub holder: SealHolder,
    /// As its maker signed it.
    pub seal: Seal,
    /// What its picture was made of (SVG).
    pub svg: Option<String>,
    /// Of those who may use it.
    pub certificates: Vec<Certificate>,
}

/// What is to become of a seal, by whom and why. It is done by [`crate::AuditLog::append_seal`].
#[derive(Debug)]
pub struct SealChange {
    /// The seal as it is to be, and the revision that it has until then.
    changed: Option<(SealRow, i64)>,
    /// The seal that is to be entered.
    entered: Option<SealRow>,
}

/// What came of a change in the writer's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is done.
    Done,
    /// Not all of it: another change came first, or the number is taken. What was done of it is to be taken back.
    Refused,
}

impl Store {
    /// Prepares to enter a seal.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when the number was ever given; [`StoreError::Locked`].
    pub async fn enter_seal(
        &self,
        new: NewSeal,
        actor: &str,
        reason: &str,
        at: OffsetDateTime,
    ) -> Result<SealChange, StoreError> {
        Ok(SealChange { changed: None, entered: Some(self.entered(new, actor, reason, at).await?) })
    }

    /// Prepares another state of a seal: suspended or active again, or revoked.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] when the seal is in that state, or gone for good;
    /// [`StoreError::Changed`] when its version is not the one that was decided on; [`StoreError::Altered`].
    pub async fn change_seal(
        &self,
        id: &SealNumber,
        to: SealState,
        actor: &str,
        reason: &str,
        terms: impl Into<Terms>,
    ) -> Result<SealChange, StoreError> {
        let changed = self.changed(id, to, None, actor, reason, terms.into()).await?;
        Ok(SealChange { changed: Some(changed), entered: None })
    }

    /// Prepares to have a seal take another one's place.
    ///
    /// # Errors
    /// As [`Store::enter_seal`] and [`Store::change_seal`].
    pub async fn replace_seal(
        &self,
        id: &SealNumber,
        new: NewSeal,
        actor: &str,
        reason: &str,
        terms: impl Into<Terms>,
    ) -> Result<SealChange, StoreError> {
        let (by, terms) = (Some(new.id.clone()), terms.into());
        let changed = self.changed(id, SealState::Replaced, by, actor, reason, terms).await?;
        let entered = self.entered(new, actor, reason, terms.at).await?;
        Ok(SealChange { changed: Some(changed), entered: Some(entered) })
    }

    async fn entered(
        &self,
        new: NewSeal,
        actor: &str,
        reason: &str,
        at: OffsetDateTime,
    ) -> Result<SealRow, StoreError> {
        let mut reading = self.begin_read().await?;
        match find(&mut reading, self.protection(), &new.id).await {
            Err(StoreError::NotFound { .. }) => {}
            Ok(_) | Err(StoreError::Altered { .. } | StoreError::Corrupt { .. }) => {
                return Err(StoreError::AlreadyExists { what: SEAL, id: new.id.to_string() });
            }
            Err(error) => return Err(error),
        }
        let at = OffsetDateTime::from_unix_timestamp(at.unix_timestamp()).unwrap_or(at);
        let row = SealRow {
            seal: RegisteredSeal {
                id: new.id,
                kind: new.kind,
                holder: new.holder,
                seal: new.seal,
                svg: new.svg,
                certificates: new.certificates,
                state: SealState::Active,
                replaced_by: None,
                version: 1,
                reason: reason.to_owned(),
                actor: actor.to_owned(),
                created_at: at,
                changed_at: at,
            },
            revision: 1,
            code: None,
        };
        self.coded(&mut reading, row).await
    }

    async fn changed(
        &self,
        id: &SealNumber,
        to: SealState,
        replaced_by: Option<SealNumber>,
        actor: &str,
        reason: &str,
        terms: Terms,
    ) -> Result<(SealRow, i64), StoreError> {
        let at = terms.at;
        let mut reading = self.begin_read().await?;
        let mut row = find(&mut reading, self.protection(), id).await?;
        terms.hold_at(row.seal.version.into(), SEAL, id.as_str())?;
        row.seal.may_become(to)?;
        let expected = row.revision;
        row.revision += 1;
        row.seal.version += 1;
        row.seal.state = to;
        row.seal.replaced_by = replaced_by;
        reason.clone_into(&mut row.seal.reason);
        actor.clone_into(&mut row.seal.actor);
        row.seal.changed_at = OffsetDateTime::from_unix_timestamp(at.unix_timestamp()).unwrap_or(at);
        Ok((self.coded(&mut reading, row).await?, expected))
    }

    async fn coded(&self, connection: &mut Connection<'_>, mut row: SealRow) -> Result<SealRow, StoreError> {
        row.code = match self.protection().codes_rows(connection).await? {
            true => Some(self.protection().code(&row.image(row.revision))?),
            false => None,
        };
        Ok(row)
    }
}

/// One version of a seal, by which it is told later whether a change was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealVersion {
    id: SealNumber,
    version: u32,
    actor: String,
    reason: String,
    at: OffsetDateTime,
}

impl Store {
    /// Where a change stands in the audit log; nothing as long as it is not made.
    ///
    /// # Errors
    /// The database fails.
    pub async fn seal_change_on_record(&self, made: &SealVersion) -> Result<Option<u64>, StoreError> {
        let events = self.seal_events(&made.id).await?;
        let same = |event: &&SealEvent| {
            event.version == made.version
                && event.actor == made.actor
                && event.reason == made.reason
                && event.at == made.at
        };
        Ok(events.iter().find(same).map(|event| event.audit_index))
    }
}

impl SealChange {
    /// The version that it makes: of the seal that is entered, or whose state is another.
    #[must_use]
    pub fn makes(&self) -> Option<SealVersion> {
        let row = self.entered.as_ref().or(self.changed.as_ref().map(|(row, _)| row))?;
        let RegisteredSeal { id, version, actor, reason, changed_at, .. } = &row.seal;
        Some(SealVersion {
            id: id.clone(),
            version: *version,
            actor: actor.clone(),
            reason: reason.clone(),
            at: *changed_at,
        })
    }

    /// What is said to whoever came too late with it.
    pub(crate) fn refused(&self) -> StoreError {
        match (&self.changed, &self.entered) {
            (Some((row, _)), _) => StoreError::NotAllowed {
                what: SEAL,
                id: row.seal.id.to_string(),
                state: "changed",
                reason: "another change came first",
            },
            (None, entered) => {
                let id = entered.as_ref().map(|row| row.seal.id.to_string()).unwrap_or_default();
                StoreError::AlreadyExists { what: SEAL, id }
            }
        }
    }

    /// Does it within the entry's transaction, if nothing came first.
    pub(crate) async fn write(&self, connection: &mut Connection<'_>) -> Result<Written, sqlx::Error> {
        if let Some((row, expected)) = &self.changed {
            let RegisteredSeal { id, state, replaced_by, version, reason, actor, changed_at, .. } = &row.seal;
            // Not if the number of the seal that takes its place is taken: then neither is done.
            let updated = query(
                "UPDATE seals SET state = $3, replaced_by = $4, version = $5, reason = $6, actor = $7,
                     changed_at = $8, revision = $9, code = $10
                 WHERE id = $1 AND revision = $2 AND NOT EXISTS (SELECT 1 FROM seals taken WHERE taken.id = $4)",
            )
            .bind(id.as_str())
            .bind(*expected)
            .bind(state.as_str())
            .bind(replaced_by.as_ref().map(SealNumber::as_str))
            .bind(*version)
            .bind(reason)
            .bind(actor)
            .bind(changed_at.unix_timestamp())
            .bind(row.revision)
            .bind(row.code.as_deref())
            .execute(&mut *connection)
            .await?;
            if updated.rows_affected() == 0 {
                return Ok(Written::Refused);
            }
        }
        let Some(row) = &self.entered else { return Ok(Written::Done) };
        let RegisteredSeal { id, kind, holder, seal, svg, state, version, reason, actor, created_at, .. } =
            &row.seal;
        let inserted = query(
            "INSERT INTO seals (id, kind, holder, uscc, octets, certificates, state, version, reason, actor,
                 created_at, changed_at, revision, code, svg)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13, $14) ON CONFLICT (id) DO NOTHING",
        )
        .bind(id.as_str())
        .bind(kind.as_str())
        .bind(&holder.name)
        .bind(holder.uscc.as_ref().map(formats::Uscc::as_str))
        .bind(seal.der())
        .bind(row.certificates())
        .bind(state.as_str())
        .bind(*version)
        .bind(reason)
        .bind(actor)
        .bind(created_at.unix_timestamp())
        .bind(row.revision)
        .bind(row.code.as_deref())
        .bind(svg.as_deref())
        .execute(connection)
        .await?;
        Ok(if inserted.rows_affected() == 0 { Written::Refused } else { Written::Done })
    }

    /// Says in the register where it is on record.
    pub(crate) async fn note(
        &self,
        connection: &mut Connection<'_>,
        log: LogId,
        index: i64,
    ) -> Result<(), sqlx::Error> {
        for row in self.entered.iter().chain(self.changed.iter().map(|(row, _)| row)) {
            let RegisteredSeal { id, state, version, reason, actor, changed_at, .. } = &row.seal;
            query(
                "INSERT INTO seal_events (seal, version, state, reason, actor, at, log, idx)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            )
            .bind(id.as_str())
            .bind(*version)
            .bind(state.as_str())
            .bind(reason)
            .bind(actor)
            .bind(changed_at.unix_timestamp())
            .bind(log.0)
            .bind(index)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}
