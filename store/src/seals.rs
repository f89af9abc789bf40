//! Electronic seals: what each is, who may use it, and whether it may still be used.
//!
//! What a seal is never changes; its state does, and each change goes into the transaction that puts it on record
//! ([`crate::AuditLog::append_seal`]). Every row carries a code: nobody with the database alone enters a seal, or brings one
//! back that was taken away.

mod change;

use config::SealNumber;
use formats::seal::{Picture, Seal};
use formats::{Certificate, Uscc};
use sqlx::AssertSqlSafe;
use time::{Duration, OffsetDateTime};

pub(crate) use change::Written;
pub use change::{NewSeal, SealChange, SealVersion};

use crate::apps::unusable;
use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Protection, RowImage};
use crate::words::words;
use crate::{Store, StoreError};

const SEAL: &str = "seal";
/// Most of them in one answer: each has its picture.
const PAGE: u32 = 100;
const COLUMNS: &str =
    "id, kind, holder, uscc, octets, svg, certificates, state, replaced_by, version, reason, actor,
    created_at, changed_at, revision, code";

words! {
    /// Whose seals they are.
    SealKind {
        /// Of an authority.
        Agency = "agency",
        /// Of an enterprise or another entity of the register.
        Enterprise = "enterprise",
        /// Of a person (个人名章).
        Person = "person",
    }
}

impl SealKind {
    /// The `type` of GB/T 38540 that this site's maker gives such a seal; the standard leaves the numbers to makers.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Agency => 1,
            Self::Enterprise => 2,
            Self::Person => 3,
        }
    }
}

words! {
    /// Whether a seal may be used.
    SealState {
        /// It may.
        Active = "active",
        /// It may not, for now.
        Suspended = "suspended",
        /// It may not, for good.
        Revoked = "revoked",
        /// Another one took its place, for good.
        Replaced = "replaced",
    }
}

/// Whose seal it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealHolder {
    /// The name, as certificates have it.
    pub name: String,
    /// The code, of whoever has one.
    pub uscc: Option<Uscc>,
}

/// A seal as it is registered.
#[derive(Debug, Clone)]
pub struct RegisteredSeal {
    /// Its number (`esID`).
    pub id: SealNumber,
    /// Whose kind.
    pub kind: SealKind,
    /// Whose.
    pub holder: SealHolder,
    /// Name, validity, picture and list, as its maker signed them.
    pub seal: Seal,
    /// What its picture was made of (SVG), which is not in the seal and is shown in its place where lines can be drawn.
    pub svg: Option<String>,
    /// Of those who may use it; the seal's list has these, or their digests.
    pub certificates: Vec<Certificate>,
    /// Whether it may be used.
    pub state: SealState,
    /// Which one took its place.
    pub replaced_by: Option<SealNumber>,
    /// From 1 on, with every change of state.
    pub version: u32,
    /// Why it is in this state.
    pub reason: String,
    /// Who had it so, as the audit log names people and apps.
    pub actor: String,
    /// When it was entered.
    pub created_at: OffsetDateTime,
    /// When its state was changed last.
    pub changed_at: OffsetDateTime,
}

/// Why a seal cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealRefusal {
    /// For now.
    Suspended,
    /// For good.
    Revoked,
    /// Another one took its place.
    Replaced(SealNumber),
    /// Its validity begins then.
    NotYetValid(OffsetDateTime),
    /// Its validity ended then.
    Expired(OffsetDateTime),
    /// It does not list the certificate of whoever would use it.
    NotListed,
}

impl SealRefusal {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Suspended => "seal_suspended",
            Self::Revoked => "seal_revoked",
            Self::Replaced(_) => "seal_replaced",
            Self::NotYetValid(_) => "seal_not_yet_valid",
            Self::Expired(_) => "seal_expired",
            Self::NotListed => "signer_not_in_seal",
        }
    }
}

impl std::fmt::Display for SealRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Suspended => f.write_str("the seal is suspended"),
            Self::Revoked => f.write_str("the seal was revoked"),
            Self::Replaced(by) => write!(f, "seal {by} took its place"),
            Self::NotYetValid(from) => write!(f, "the seal is valid from {from} on"),
            Self::Expired(until) => write!(f, "the seal was valid until {until}"),
            Self::NotListed => f.write_str("the seal does not list the signer's certificate"),
        }
    }
}

impl RegisteredSeal {
    /// How it looks.
    #[must_use]
    pub fn picture(&self) -> &Picture {
        &self.seal.info().picture
    }

    /// Whether it may come into that state.
    ///
    /// # Errors
    /// [`StoreError::NotAllowed`] when it is in it, or gone for good.
    pub fn may_become(&self, to: SealState) -> Result<(), StoreError> {
        let refused = |reason| StoreError::NotAllowed {
            what: SEAL,
            id: self.id.to_string(),
            state: self.state.as_str(),
            reason,
        };
        match (self.state, to) {
            (SealState::Revoked | SealState::Replaced, _) => Err(refused("it does not come back")),
            (from, to) if from == to => Err(refused("it is so already")),
            _ => Ok(()),
        }
    }

    /// Every reason why it cannot be used at `at`; with a certificate, also why not by whom that certifies.
    #[must_use]
    pub fn refusals(&self, signer: Option<&Certificate>, at: OffsetDateTime) -> Vec<SealRefusal> {
        let info = self.seal.info();
        let mut refusals = Vec::new();
        match self.state {
            SealState::Active => {}
            SealState::Suspended => refusals.push(SealRefusal::Suspended),
            SealState::Revoked => refusals.push(SealRefusal::Revoked),
            // The table demands the number; without one it is gone all the same.
            SealState::Replaced => {
                refusals.push(self.replaced_by.clone().map_or(SealRefusal::Revoked, SealRefusal::Replaced))
            }
        }
        if at < info.valid_from {
            refusals.push(SealRefusal::NotYetValid(info.valid_from));
        }
        // The whole last second counts.
        if at >= info.valid_until + Duration::SECOND {
            refusals.push(SealRefusal::Expired(info.valid_until));
        }
        if let Some(signer) = signer
            && !self.certificates.iter().any(|listed| listed.der() == signer.der())
        {
            refusals.push(SealRefusal::NotListed);
        }
        refusals
    }
}

/// Which seals are asked for.
#[derive(Debug, Clone, Default)]
pub struct SealQuery {
    /// In this state.
    pub state: Option<SealState>,
    /// Of whoever has this code.
    pub uscc: Option<Uscc>,
    /// Numbers behind this one.
    pub after: Option<SealNumber>,
    /// 1 to 100.
    pub limit: u32,
}

/// Seals in the order of their numbers.
#[derive(Debug, Clone)]
pub struct SealPage {
    /// Without any that cannot be read or was altered.
    pub items: Vec<RegisteredSeal>,
    /// Behind which number the next page begins; none when this was the last.
    pub next: Option<String>,
}

/// What became of a seal at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealEvent {
    /// The version that it made.
    pub version: u32,
    /// The state since then.
    pub state: SealState,
    /// Why.
    pub reason: String,
    /// Who had it so.
    pub actor: String,
    /// When.
    pub at: OffsetDateTime,
    /// Where it stands in the audit log.
    pub audit_index: u64,
}

impl Store {
    /// A seal by its number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Altered`] when the row is not as a gateway wrote it.
    pub async fn seal(&self, id: &SealNumber) -> Result<RegisteredSeal, StoreError> {
        Ok(find(&mut *self.begin_read().await?, self.protection(), id).await?.seal)
    }

    /// Seals in the order of their numbers, a page of them.
    pub async fn seals(&self, wanted: &SealQuery) -> Result<SealPage, StoreError> {
        let limit = wanted.limit.clamp(1, PAGE);
        let statement = format!(
            "SELECT {COLUMNS} FROM seals WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR uscc = $2)
                 AND id > $3 ORDER BY id LIMIT $4"
        );
        let rows = query(AssertSqlSafe(statement))
            .bind(wanted.state.map(SealState::as_str))
            .bind(wanted.uscc.as_ref().map(Uscc::as_str))
            .bind(wanted.after.as_ref().map_or("", SealNumber::as_str))
            .bind(i64::from(limit) + 1)
            .fetch_all(self.readers())
            .await?;
        let page = &rows[..rows.len().min(limit as usize)];
        let next = match page.last() {
            Some(last) if rows.len() > page.len() => Some(last.try_get("id")?),
            _ => None,
        };
        let mut items = Vec::with_capacity(page.len());
        for row in page {
            match SealRow::judged(row, self.protection()) {
                Ok(row) => items.push(row.seal),
                Err(error) => unusable(error)?,
            }
        }
        Ok(SealPage { items, next })
    }

    /// What became of a seal, oldest first.
    pub async fn seal_events(&self, id: &SealNumber) -> Result<Vec<SealEvent>, StoreError> {
        let rows = query(
            "SELECT version, state, reason, actor, at, idx FROM seal_events WHERE seal = $1 ORDER BY version",
        )
        .bind(id.as_str())
        .fetch_all(self.readers())
        .await?;
        let corrupt = |column| StoreError::Corrupt { what: SEAL, id: id.to_string(), column };
        let read = |row: &Row| -> Result<SealEvent, StoreError> {
            let state: String = row.try_get("state")?;
            Ok(SealEvent {
                version: row.try_get("version")?,
                state: SealState::parse(&state).ok_or_else(|| corrupt("state"))?,
                reason: row.try_get("reason")?,
                actor: row.try_get("actor")?,
                at: instant(row, "at")?.ok_or_else(|| corrupt("at"))?,
                audit_index: u64::try_from(row.try_get::<i64, _>("idx")?).map_err(|_| corrupt("idx"))?,
            })
        };
        rows.iter().map(read).collect()
    }
}

/// A seal as stored, with the code over the row.
#[derive(Debug, Clone)]
pub(crate) struct SealRow {
    pub(crate) seal: RegisteredSeal,
    revision: i64,
    code: Option<Vec<u8>>,
}

impl SealRow {
    /// Reads a row; refuses one that was altered. Without a data key nothing is judged.
    fn judged(row: &Row, protection: &Protection) -> Result<Self, StoreError> {
        let read = Self::read(row)?;
        if protection.is_unlocked() {
            protection.check(&read.image(read.revision), read.code.as_deref().unwrap_or_default())?;
        }
        Ok(read)
    }

    fn read(row: &Row) -> Result<Self, StoreError> {
        let id: String = row.try_get("id")?;
        let corrupt = |column| StoreError::Corrupt { what: SEAL, id: id.clone(), column };
        let text = |column| row.try_get::<String, _>(column);
        let at = |column| instant(row, column)?.ok_or_else(|| corrupt(column));
        let uscc: Option<String> = row.try_get("uscc")?;
        let uscc = uscc.map(|uscc| Uscc::parse_sandbox(&uscc)).transpose().map_err(|_| corrupt("uscc"))?;
        let replaced_by: Option<String> = row.try_get("replaced_by")?;
        let replaced_by = replaced_by.map(|by| SealNumber::parse(&by)).transpose();
        let octets: Vec<u8> = row.try_get("octets")?;
        Ok(Self {
            seal: RegisteredSeal {
                id: SealNumber::parse(&id).map_err(|_| corrupt("id"))?,
                kind: SealKind::parse(&text("kind")?).ok_or_else(|| corrupt("kind"))?,
                holder: SealHolder { name: text("holder")?, uscc },
                seal: Seal::from_der(&octets).map_err(|_| corrupt("octets"))?,
                svg: row.try_get("svg")?,
                certificates: Certificate::many_from_pem(&text("certificates")?)
                    .map_err(|_| corrupt("certificates"))?,
                state: SealState::parse(&text("state")?).ok_or_else(|| corrupt("state"))?,
                replaced_by: replaced_by.map_err(|_| corrupt("replaced_by"))?,
                version: row.try_get("version")?,
                reason: text("reason")?,
                actor: text("actor")?,
                created_at: at("created_at")?,
                changed_at: at("changed_at")?,
            },
            revision: row.try_get("revision")?,
            code: row.try_get("code")?,
        })
    }

    fn image(&self, revision: i64) -> RowImage {
        let RegisteredSeal { id, kind, holder, seal, state, replaced_by, .. } = &self.seal;
        let image = RowImage::new("seals", id.as_str(), revision)
            .text("kind", kind.as_str())
            .text("holder", &holder.name)
            .text_or_null("uscc", holder.uscc.as_ref().map(Uscc::as_str))
            .octets_or_null("octets", Some(seal.der()))
            .text("certificates", &self.certificates())
            .text("state", state.as_str())
            .text_or_null("replaced_by", replaced_by.as_ref().map(SealNumber::as_str))
            .integer("version", self.seal.version.into())
            .text("reason", &self.seal.reason)
            .text("actor", &self.seal.actor)
            .integer("created_at", self.seal.created_at.unix_timestamp())
            .integer("changed_at", self.seal.changed_at.unix_timestamp());
        // Seals from before there was one have codes without it.
        match &self.seal.svg {
            Some(svg) => image.text("svg", svg),
            None => image,
        }
    }

    /// As they are stored.
    fn certificates(&self) -> String {
        self.seal.certificates.iter().map(Certificate::to_pem).collect()
    }
}

pub(crate) async fn find(
    connection: &mut Connection<'_>,
    protection: &Protection,
    id: &SealNumber,
) -> Result<SealRow, StoreError> {
    let statement = format!("SELECT {COLUMNS} FROM seals WHERE id = $1");
    let row = query(AssertSqlSafe(statement)).bind(id.as_str()).fetch_optional(connection).await?;
    let row = row.ok_or_else(|| StoreError::NotFound { what: SEAL, id: id.to_string() })?;
    SealRow::judged(&row, protection)
}

/// Gives every seal the first code.
pub(crate) async fn code_all(
    connection: &mut Connection<'_>,
    protection: &Protection,
) -> Result<u64, StoreError> {
    let rows =
        query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM seals"))).fetch_all(&mut *connection).await?;
    for row in &rows {
        write_code(connection, protection, &SealRow::read(row)?).await?;
    }
    Ok(rows.len() as u64)
}

/// Gives every seal with a good code under another data key one under that in use; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, COLUMNS).await?;
    let mut renewed = 0;
    for row in &rows {
        match SealRow::judged(row, protection) {
            Ok(row) if row.code.as_deref().is_some_and(|code| protection.is_outdated(code)) => {
                write_code(connection, protection, &row).await?;
                renewed += 1;
            }
            Ok(_) => {}
            Err(error) => unusable(error)?,
        }
    }
    Ok(renewed)
}

async fn write_code(
    connection: &mut Connection<'_>,
    protection: &Protection,
    row: &SealRow,
) -> Result<(), StoreError> {
    let revision = row.revision + 1;
    query("UPDATE seals SET revision = $2, code = $3 WHERE id = $1")
        .bind(row.seal.id.as_str())
        .bind(revision)
        .bind(protection.code(&row.image(revision))?)
        .execute(connection)
        .await?;
    Ok(())
}
