//! Changes of mandates, each made whole before the audit log's writer puts it beside its entry. A change names the revision
//! that it rests on; if another one came first, nothing of it is done.

use std::collections::BTreeSet;

use config::{AppId, MandateNumber};
use formats::{Certificate, Uscc};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{
    Grantor, MANDATE, Mandate, MandateEvent, MandateRow, MandateState, MandateTerms, find, grantor_of,
};
use crate::audit::LogId;
use crate::database::{Connection, query};
use crate::{Store, StoreError, Terms, WrappedKey, WrappingKey, wrapped_keys};

/// A mandate that is to be entered, with its key.
#[derive(Debug, Clone)]
pub struct NewMandate {
    /// Its number.
    pub id: MandateNumber,
    /// Whose name it lets sign in.
    pub enterprise: Uscc,
    /// The enterprise's name.
    pub name: String,
    /// Who granted it.
    pub grantor: Grantor,
    /// SM3 of the document that grants it, hexadecimal.
    pub evidence: String,
    /// Who may use it.
    pub apps: BTreeSet<AppId>,
    /// What for.
    pub terms: MandateTerms,
    /// Its key, whose outer code is made.
    pub key: WrappedKey,
    /// From which key of the devices that code comes.
    pub code_key: WrappingKey,
}

/// What is to become of a mandate, by whom and why. It is done by [`crate::AuditLog::append_mandate`].
#[derive(Debug)]
pub struct MandateChange {
    row: MandateRow,
    does: Does,
}

#[derive(Debug)]
enum Does {
    /// Enters it with its key.
    Enter(Box<WrappedKey>),
    /// Changes it, if it has that revision until then.
    Change(i64),
}

impl Store {
    /// Prepares to enter a mandate as a draft.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when the number was ever given; [`StoreError::Locked`].
    pub async fn enter_mandate(
        &self,
        new: NewMandate,
        actor: &str,
        reason: &str,
        at: OffsetDateTime,
    ) -> Result<MandateChange, StoreError> {
        let protection = self.protection();
        match find(&mut *self.begin_read().await?, protection, &new.id).await {
            Err(StoreError::NotFound { .. }) => {}
            Ok(_) | Err(StoreError::Altered { .. } | StoreError::Corrupt { .. }) => {
                return Err(StoreError::AlreadyExists { what: MANDATE, id: new.id.to_string() });
            }
            Err(error) => return Err(error),
        }
        let NewMandate { id, enterprise, name, grantor, evidence, apps, terms, key, code_key } = new;
        let said = Zeroizing::new(serde_json::to_vec(&grantor).expect("texts are JSON"));
        let sealed = protection.seal(grantor_of(&id), &said)?;
        let at = OffsetDateTime::from_unix_timestamp(at.unix_timestamp()).unwrap_or(at);
        let mandate = Mandate {
            id,
            enterprise,
            name,
            grantor,
            evidence,
            apps,
            terms,
            key: key.id.clone(),
            code_key,
            certificates: Vec::new(),
            state: MandateState::Draft,
            version: 1,
            reason: reason.to_owned(),
            actor: actor.to_owned(),
            created_at: at,
            changed_at: at,
        };
        let row = MandateRow { mandate, grantor: sealed, revision: 1, code: Vec::new() };
        Ok(MandateChange { row: self.mandate_coded(row)?, does: Does::Enter(Box::new(key)) })
    }

    /// Prepares to give a draft its certificate, which is followed by those above it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] of what is no draft; [`StoreError::Altered`].
    pub async fn certify_mandate(
        &self,
        id: &MandateNumber,
        certificates: Vec<Certificate>,
        actor: &str,
        reason: &str,
        at: OffsetDateTime,
    ) -> Result<MandateChange, StoreError> {
        self.mandate_changed(id, (actor, reason, at.into()), |mandate| {
            if mandate.state != MandateState::Draft {
                return Err(StoreError::NotAllowed {
                    what: MANDATE,
                    id: mandate.id.to_string(),
                    state: mandate.state.as_str(),
                    reason: "it keeps the certificate that it was activated with",
                });
            }
            mandate.certificates = certificates;
            Ok(())
        })
        .await
    }

    /// Prepares another state of a mandate. Ending it destroys its key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::NotAllowed`] as of [`Mandate::may_become`]; [`StoreError::Changed`] when its
    /// version is not the one that was decided on; [`StoreError::Altered`].
    pub async fn change_mandate(
        &self,
        id: &MandateNumber,
        to: MandateState,
        actor: &str,
        reason: &str,
        terms: impl Into<Terms>,
    ) -> Result<MandateChange, StoreError> {
        self.mandate_changed(id, (actor, reason, terms.into()), |mandate| {
            mandate.may_become(to)?;
            mandate.state = to;
            Ok(())
        })
        .await
    }

    async fn mandate_changed(
        &self,
        id: &MandateNumber,
        (actor, reason, terms): (&str, &str, Terms),
        change: impl FnOnce(&mut Mandate) -> Result<(), StoreError>,
    ) -> Result<MandateChange, StoreError> {
        let mut row = find(&mut *self.begin_read().await?, self.protection(), id).await?;
        terms.hold_at(row.mandate.version.into(), MANDATE, id.as_str())?;
        change(&mut row.mandate)?;
        let (expected, at) = (row.revision, terms.at);
        row.revision += 1;
        row.mandate.version += 1;
        reason.clone_into(&mut row.mandate.reason);
        actor.clone_into(&mut row.mandate.actor);
        row.mandate.changed_at = OffsetDateTime::from_unix_timestamp(at.unix_timestamp()).unwrap_or(at);
        Ok(MandateChange { row: self.mandate_coded(row)?, does: Does::Change(expected) })
    }

    /// Where a change stands in the audit log; nothing as long as it is not made.
    ///
    /// # Errors
    /// The database fails.
    pub async fn mandate_change_on_record(&self, made: &MandateVersion) -> Result<Option<u64>, StoreError> {
        let events = self.mandate_events(&made.id).await?;
        let same = |event: &&MandateEvent| {
            event.version == made.version
                && event.actor == made.actor
                && event.reason == made.reason
                && event.at == made.at
        };
        Ok(events.iter().find(same).map(|event| event.audit_index))
    }

    fn mandate_coded(&self, mut row: MandateRow) -> Result<MandateRow, StoreError> {
        row.code = self.protection().code(&row.image())?;
        Ok(row)
    }
}

/// One version of a mandate, by which it is told later whether a change was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MandateVersion {
    id: MandateNumber,
    version: u32,
    actor: String,
    reason: String,
    at: OffsetDateTime,
}

impl MandateChange {
    /// The version that it makes.
    #[must_use]
    pub fn makes(&self) -> MandateVersion {
        let Mandate { id, version, actor, reason, changed_at, .. } = &self.row.mandate;
        MandateVersion {
            id: id.clone(),
            version: *version,
            actor: actor.clone(),
            reason: reason.clone(),
            at: *changed_at,
        }
    }

    /// What is said to whoever came too late with it.
    pub(crate) fn refused(&self) -> StoreError {
        let id = self.row.mandate.id.to_string();
        match self.does {
            Does::Enter(_) => StoreError::AlreadyExists { what: MANDATE, id },
            Does::Change(_) => StoreError::NotAllowed {
                what: MANDATE,
                id,
                state: "changed",
                reason: "another change came first",
            },
        }
    }

    /// Does it within the entry's transaction, if nothing came first. Answers whether it is done.
    pub(crate) async fn write(&self, connection: &mut Connection<'_>) -> Result<bool, sqlx::Error> {
        match &self.does {
            Does::Enter(key) => self.enter(connection, key).await,
            Does::Change(expected) => self.change(connection, *expected).await,
        }
    }

    async fn enter(&self, connection: &mut Connection<'_>, key: &WrappedKey) -> Result<bool, sqlx::Error> {
        let Mandate { id, enterprise, name, evidence, apps, code_key, state, version, reason, actor, .. } =
            &self.row.mandate;
        let taken = query(
            "SELECT 1 FROM mandates WHERE id = $1 UNION ALL SELECT 1 FROM wrapped_keys WHERE key_id = $2",
        )
        .bind(id.as_str())
        .bind(key.id.as_str())
        .fetch_optional(&mut *connection)
        .await?;
        if taken.is_some() {
            return Ok(false);
        }
        wrapped_keys::insertion(key).execute(&mut *connection).await?;
        query(
            "INSERT INTO mandates (id, enterprise, name, grantor, evidence, apps, terms, key_id, code_key,
                 code_key_version, certificates, state, version, reason, actor, created_at, changed_at, revision, code)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16, $17, $18)",
        )
        .bind(id.as_str())
        .bind(enterprise.as_str())
        .bind(name)
        .bind(&self.row.grantor)
        .bind(evidence)
        .bind(self.row.apps())
        .bind(self.row.terms())
        .bind(key.id.as_str())
        .bind(code_key.id.as_str())
        .bind(code_key.version)
        .bind(self.row.certificates())
        .bind(state.as_str())
        .bind(*version)
        .bind(reason)
        .bind(actor)
        .bind(self.row.mandate.created_at.unix_timestamp())
        .bind(self.row.revision)
        .bind(&self.row.code)
        .execute(&mut *connection)
        .await?;
        for app in apps {
            query("INSERT INTO mandate_apps (app, mandate) VALUES ($1, $2)")
                .bind(app.as_str())
                .bind(id.as_str())
                .execute(&mut *connection)
                .await?;
        }
        Ok(true)
    }

    async fn change(&self, connection: &mut Connection<'_>, expected: i64) -> Result<bool, sqlx::Error> {
        let Mandate { id, key, state, version, reason, actor, changed_at, .. } = &self.row.mandate;
        // What does not change is not named: the database refuses to have it set.
        let updated = query(
            "UPDATE mandates SET certificates = $3, state = $4, version = $5, reason = $6, actor = $7,
                 changed_at = $8, revision = $9, code = $10
             WHERE id = $1 AND revision = $2",
        )
        .bind(id.as_str())
        .bind(expected)
        .bind(self.row.certificates())
        .bind(state.as_str())
        .bind(*version)
        .bind(reason)
        .bind(actor)
        .bind(changed_at.unix_timestamp())
        .bind(self.row.revision)
        .bind(&self.row.code)
        .execute(&mut *connection)
        .await?;
        if updated.rows_affected() == 0 {
            return Ok(false);
        }
        if *state == MandateState::Ended {
            wrapped_keys::destruction(key, *changed_at).execute(&mut *connection).await?;
        }
        Ok(true)
    }

    /// Says in the register where it is on record.
    pub(crate) async fn note(
        &self,
        connection: &mut Connection<'_>,
        log: LogId,
        index: i64,
    ) -> Result<(), sqlx::Error> {
        let Mandate { id, state, version, reason, actor, changed_at, .. } = &self.row.mandate;
        query(
            "INSERT INTO mandate_events (mandate, version, state, reason, actor, at, log, idx)
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
        .execute(connection)
        .await?;
        Ok(())
    }
}
