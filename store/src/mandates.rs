//! Standing mandates: enterprises let apps sign in their name, within limits, by a wrapped key of the mandate's own.
//!
//! What a mandate grants never changes; its certificate is brought in once, and its state changes, each in the transaction that
//! puts it on record ([`crate::AuditLog::append_mandate`]). Every row carries a code, and who granted it is sealed. Signatures
//! are counted in the transaction that records the intention ([`crate::AuditLog::append_mandate_use`]).

mod change;
mod uses;

use std::collections::BTreeSet;

use config::{AppId, KeyId, MandateNumber};
use formats::{Certificate, Uscc};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use time::{Duration, OffsetDateTime};

pub use change::{MandateChange, MandateVersion, NewMandate};
pub(crate) use uses::MandateWork;
pub use uses::{MandateUse, TakenOfMandate};

use crate::apps::unusable;
use crate::database::{Connection, Row, instant, query};
use crate::protection::{Batch, Cell, Protection, RowImage};
use crate::words::words;
use crate::{Store, StoreError, WrappingKey};

const MANDATE: &str = "mandate";
/// Most of them in one answer.
const PAGE: u32 = 100;
const COLUMNS: &str = "id, enterprise, name, grantor, evidence, apps, terms, key_id, code_key,
    code_key_version, certificates, state, version, reason, actor, created_at, changed_at, revision, code";

words! {
    /// Where a mandate is in its life.
    MandateState {
        /// Entered; it has a key, and nobody can use it.
        Draft = "draft",
        /// It can be used.
        Active = "active",
        /// It cannot, for now.
        Suspended = "suspended",
        /// It cannot, for good: its key is destroyed.
        Ended = "ended",
    }
}

words! {
    /// What is stamped in an enterprise's name.
    MandateFormat {
        /// A digest.
        Digest = "digest",
        /// An OFD package.
        Ofd = "ofd",
        /// A PDF.
        Pdf = "pdf",
    }
}

/// Who granted a mandate: the enterprise's legal representative. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grantor {
    /// The name.
    pub name: String,
    /// The number of the person's identity document.
    pub id_number: String,
}

impl std::fmt::Debug for Grantor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Grantor")
    }
}

/// What a mandate is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MandateTerms {
    /// What may be stamped.
    pub formats: BTreeSet<MandateFormat>,
    /// What for: one of these has to be named at each use.
    pub purposes: BTreeSet<String>,
    /// Most signatures on a day of the site.
    pub per_day: u64,
    /// Most signatures in all.
    pub in_all: u64,
    /// Largest document, octets.
    pub largest_octets: u64,
    /// Branches that the enterprise acts for in lists that are signed under it: their unified social credit codes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub branches: BTreeSet<String>,
    /// From then on; whole seconds.
    #[serde(with = "time::serde::timestamp")]
    pub valid_from: OffsetDateTime,
    /// Its last second.
    #[serde(with = "time::serde::timestamp")]
    pub valid_until: OffsetDateTime,
}

/// A mandate as it is registered.
#[derive(Debug, Clone)]
pub struct Mandate {
    /// Its number.
    pub id: MandateNumber,
    /// Whose name it lets sign in.
    pub enterprise: Uscc,
    /// The enterprise's name, as its certificate has it.
    pub name: String,
    /// Who granted it.
    pub grantor: Grantor,
    /// SM3 of the document that grants it, hexadecimal.
    pub evidence: String,
    /// Who may use it.
    pub apps: BTreeSet<AppId>,
    /// What for.
    pub terms: MandateTerms,
    /// Its key, among the wrapped ones.
    pub key: KeyId,
    /// From which key of the devices the outer code of the wrapped key comes.
    pub code_key: WrappingKey,
    /// The key's certificate, then those above it; empty before there are any.
    pub certificates: Vec<Certificate>,
    /// Where it is in its life.
    pub state: MandateState,
    /// From 1 on, with every change.
    pub version: u32,
    /// Why it is in this state.
    pub reason: String,
    /// Who had it so, as the audit log names people and apps.
    pub actor: String,
    /// When it was entered.
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    pub changed_at: OffsetDateTime,
}

/// What somebody wants to sign under a mandate.
#[derive(Debug, Clone, Copy)]
pub struct MandateOrder<'o> {
    /// What it is.
    pub format: MandateFormat,
    /// What for.
    pub purpose: &'o str,
    /// Its octets.
    pub octets: u64,
}

/// Why a mandate cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MandateRefusal {
    /// It was not put to use yet.
    NotActive,
    /// For now.
    Suspended,
    /// For good.
    Ended,
    /// Its validity begins then.
    NotYetValid(OffsetDateTime),
    /// Its validity ended then.
    Expired(OffsetDateTime),
    /// The certificate is not valid before or after then.
    CertificateNotValid {
        /// The first moment.
        from: OffsetDateTime,
        /// The end.
        until: OffsetDateTime,
    },
    /// It is not for that.
    Format(MandateFormat),
    /// It does not name that purpose.
    Purpose,
    /// It is for smaller documents.
    TooLarge(u64),
    /// Items of a list are neither for its enterprise nor for a branch that it covers.
    NotCovered {
        /// How many.
        items: usize,
        /// The first, from 0.
        first: usize,
    },
    /// What is left of the day's does not do.
    UsedUpToday(u64),
    /// What is left of all does not do.
    UsedUp(u64),
}

impl MandateRefusal {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotActive => "mandate_not_active",
            Self::Suspended => "mandate_suspended",
            Self::Ended => "mandate_ended",
            Self::NotYetValid(_) => "mandate_not_yet_valid",
            Self::Expired(_) => "mandate_expired",
            Self::CertificateNotValid { .. } => "mandate_certificate_not_valid",
            Self::Format(_) => "mandate_format",
            Self::Purpose => "mandate_purpose",
            Self::TooLarge(_) => "mandate_document_too_large",
            Self::NotCovered { .. } => "mandate_branch",
            Self::UsedUpToday(_) => "mandate_used_up_today",
            Self::UsedUp(_) => "mandate_used_up",
        }
    }
}

impl std::fmt::Display for MandateRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotActive => f.write_str("the mandate was not put to use yet"),
            Self::Suspended => f.write_str("the mandate is suspended"),
            Self::Ended => f.write_str("the mandate was ended"),
            Self::NotYetValid(from) => write!(f, "the mandate is valid from {from} on"),
            Self::Expired(until) => write!(f, "the mandate was valid until {until}"),
            Self::CertificateNotValid { from, until } => {
                write!(f, "the mandate's certificate is valid from {from} to {until} only")
            }
            Self::Format(format) => write!(f, "the mandate is not for {format}"),
            Self::Purpose => f.write_str("the mandate does not name that purpose"),
            Self::TooLarge(largest) => write!(f, "the mandate is for documents of {largest} octets at most"),
            Self::NotCovered { items, first } => write!(
                f,
                "{items} items, the first of them items[{first}], are neither for the mandate's enterprise nor for a branch that it covers"
            ),
            Self::UsedUpToday(limit) => {
                write!(f, "of the day's {limit} signatures of the mandate too few are left")
            }
            Self::UsedUp(limit) => write!(f, "of all {limit} signatures of the mandate too few are left"),
        }
    }
}

impl Mandate {
    /// Whether it may come into that state.
    ///
    /// # Errors
    /// [`StoreError::NotAllowed`] when it is in it, or ended, or cannot come there from where it is.
    pub fn may_become(&self, to: MandateState) -> Result<(), StoreError> {
        let refused = |reason| {
            Err(StoreError::NotAllowed {
                what: MANDATE,
                id: self.id.to_string(),
                state: self.state.as_str(),
                reason,
            })
        };
        match (self.state, to) {
            (MandateState::Ended, _) => refused("it does not come back"),
            (from, to) if from == to => refused("it is so already"),
            (_, MandateState::Draft) => refused("it is no draft any more"),
            (MandateState::Draft, MandateState::Suspended) => refused("it was not put to use yet"),
            (MandateState::Draft, MandateState::Active) if self.certificates.is_empty() => {
                refused("it has no certificate yet")
            }
            _ => Ok(()),
        }
    }

    /// Why it cannot be used for a list of items that are for these: each has to be for the mandate's enterprise or a branch.
    pub fn not_covered<'i>(&self, items: impl Iterator<Item = Option<&'i str>>) -> Option<MandateRefusal> {
        let is_covered = |code: &str| code == self.enterprise.as_str() || self.terms.branches.contains(code);
        let mut uncovered = items.enumerate().filter(|(_, code)| !code.is_some_and(is_covered));
        let (first, _) = uncovered.next()?;
        Some(MandateRefusal::NotCovered { items: uncovered.count() + 1, first })
    }

    /// Every reason why it cannot be used at `at`, the numbers left apart; with an order, also why not for that.
    #[must_use]
    pub fn refusals(&self, order: Option<MandateOrder<'_>>, at: OffsetDateTime) -> Vec<MandateRefusal> {
        let mut refusals = Vec::new();
        match self.state {
            MandateState::Active => {}
            MandateState::Draft => refusals.push(MandateRefusal::NotActive),
            MandateState::Suspended => refusals.push(MandateRefusal::Suspended),
            MandateState::Ended => refusals.push(MandateRefusal::Ended),
        }
        let terms = &self.terms;
        if at < terms.valid_from {
            refusals.push(MandateRefusal::NotYetValid(terms.valid_from));
        }
        // The whole last second counts.
        if at >= terms.valid_until + Duration::SECOND {
            refusals.push(MandateRefusal::Expired(terms.valid_until));
        }
        if let Some(certificate) = self.certificates.first() {
            let (from, until) = (certificate.not_before(), certificate.not_after());
            if at < from || at >= until + Duration::SECOND {
                refusals.push(MandateRefusal::CertificateNotValid { from, until });
            }
        }
        if let Some(order) = order {
            if !terms.formats.contains(&order.format) {
                refusals.push(MandateRefusal::Format(order.format));
            }
            if !terms.purposes.contains(order.purpose) {
                refusals.push(MandateRefusal::Purpose);
            }
            if order.octets > terms.largest_octets {
                refusals.push(MandateRefusal::TooLarge(terms.largest_octets));
            }
        }
        refusals
    }
}

/// Which mandates are asked for.
#[derive(Debug, Clone, Default)]
pub struct MandateQuery {
    /// In this state.
    pub state: Option<MandateState>,
    /// Of this enterprise.
    pub enterprise: Option<Uscc>,
    /// That this app may use.
    pub app: Option<AppId>,
    /// Numbers behind this one.
    pub after: Option<MandateNumber>,
    /// 1 to 100.
    pub limit: u32,
}

/// Mandates in the order of their numbers.
#[derive(Debug, Clone)]
pub struct MandatePage {
    /// Without any that cannot be read or was altered.
    pub items: Vec<Mandate>,
    /// Behind which number the next page begins; none when this was the last.
    pub next: Option<String>,
}

/// What became of a mandate at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MandateEvent {
    /// The version that it made.
    pub version: u32,
    /// The state since then.
    pub state: MandateState,
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
    /// A mandate by its number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Altered`] when the row is not as a gateway wrote it;
    /// [`StoreError::Locked`].
    pub async fn mandate(&self, id: &MandateNumber) -> Result<Mandate, StoreError> {
        find(&mut *self.begin_read().await?, self.protection(), id).await?.opened(self.protection())
    }

    /// Mandates in the order of their numbers, a page of them.
    ///
    /// # Errors
    /// [`StoreError::Locked`]; the database fails.
    pub async fn mandates(&self, wanted: &MandateQuery) -> Result<MandatePage, StoreError> {
        let limit = wanted.limit.clamp(1, PAGE);
        let whose = match wanted.app {
            Some(_) => "AND id IN (SELECT mandate FROM mandate_apps WHERE app = $5)",
            None => "",
        };
        let statement = format!(
            "SELECT {COLUMNS} FROM mandates WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR enterprise = $2)
                 AND id > $3 {whose} ORDER BY id LIMIT $4"
        );
        let mut wanted_rows = query(AssertSqlSafe(statement))
            .bind(wanted.state.map(MandateState::as_str))
            .bind(wanted.enterprise.as_ref().map(Uscc::as_str))
            .bind(wanted.after.as_ref().map_or("", MandateNumber::as_str))
            .bind(i64::from(limit) + 1);
        if let Some(app) = &wanted.app {
            wanted_rows = wanted_rows.bind(app.as_str());
        }
        let rows = wanted_rows.fetch_all(self.readers()).await?;
        let page = &rows[..rows.len().min(limit as usize)];
        let next = match page.last() {
            Some(last) if rows.len() > page.len() => Some(last.try_get("id")?),
            _ => None,
        };
        let mut items = Vec::with_capacity(page.len());
        for row in page {
            let opened = MandateRow::judged(row, self.protection());
            match opened.and_then(|row| row.opened(self.protection())) {
                // The table beside it is no proof of anything.
                Ok(mandate) if wanted.app.as_ref().is_none_or(|app| mandate.apps.contains(app)) => {
                    items.push(mandate);
                }
                Ok(_) => {}
                Err(error) => unusable(error)?,
            }
        }
        Ok(MandatePage { items, next })
    }

    /// What became of a mandate, oldest first.
    pub async fn mandate_events(&self, id: &MandateNumber) -> Result<Vec<MandateEvent>, StoreError> {
        let rows = query(
            "SELECT version, state, reason, actor, at, idx FROM mandate_events WHERE mandate = $1 ORDER BY version",
        )
        .bind(id.as_str())
        .fetch_all(self.readers())
        .await?;
        let corrupt = |column| StoreError::Corrupt { what: MANDATE, id: id.to_string(), column };
        let read = |row: &Row| -> Result<MandateEvent, StoreError> {
            let state: String = row.try_get("state")?;
            Ok(MandateEvent {
                version: row.try_get("version")?,
                state: MandateState::parse(&state).ok_or_else(|| corrupt("state"))?,
                reason: row.try_get("reason")?,
                actor: row.try_get("actor")?,
                at: instant(row, "at")?.ok_or_else(|| corrupt("at"))?,
                audit_index: u64::try_from(row.try_get::<i64, _>("idx")?).map_err(|_| corrupt("idx"))?,
            })
        };
        rows.iter().map(read).collect()
    }
}

/// A mandate as stored, with the code over the row; who granted it is still sealed.
#[derive(Debug, Clone)]
pub(crate) struct MandateRow {
    mandate: Mandate,
    grantor: Vec<u8>,
    revision: i64,
    code: Vec<u8>,
}

impl MandateRow {
    /// Reads a row; refuses one that was altered.
    fn judged(row: &Row, protection: &Protection) -> Result<Self, StoreError> {
        let read = Self::read(row)?;
        protection.check(&read.image(), &read.code)?;
        Ok(read)
    }

    fn read(row: &Row) -> Result<Self, StoreError> {
        let id: String = row.try_get("id")?;
        let corrupt = |column| StoreError::Corrupt { what: MANDATE, id: id.clone(), column };
        let text = |column| row.try_get::<String, _>(column);
        let at = |column| instant(row, column)?.ok_or_else(|| corrupt(column));
        let key = |column| KeyId::parse(&text(column)?).map_err(|_| corrupt(column));
        let apps: Vec<String> = serde_json::from_str(&text("apps")?).map_err(|_| corrupt("apps"))?;
        let apps = apps.iter().map(|app| AppId::parse(app)).collect::<Result<_, _>>();
        let certificates = text("certificates")?;
        let certificates = match certificates.as_str() {
            "" => Ok(Vec::new()),
            pem => Certificate::many_from_pem(pem),
        };
        Ok(Self {
            mandate: Mandate {
                id: MandateNumber::parse(&id).map_err(|_| corrupt("id"))?,
                enterprise: Uscc::parse_sandbox(&text("enterprise")?).map_err(|_| corrupt("enterprise"))?,
                name: text("name")?,
                grantor: Grantor { name: String::new(), id_number: String::new() },
                evidence: text("evidence")?,
                apps: apps.map_err(|_| corrupt("apps"))?,
                terms: serde_json::from_str(&text("terms")?).map_err(|_| corrupt("terms"))?,
                key: key("key_id")?,
                code_key: WrappingKey { id: key("code_key")?, version: row.try_get("code_key_version")? },
                certificates: certificates.map_err(|_| corrupt("certificates"))?,
                state: MandateState::parse(&text("state")?).ok_or_else(|| corrupt("state"))?,
                version: row.try_get("version")?,
                reason: text("reason")?,
                actor: text("actor")?,
                created_at: at("created_at")?,
                changed_at: at("changed_at")?,
            },
            grantor: row.try_get("grantor")?,
            revision: row.try_get("revision")?,
            code: row.try_get("code")?,
        })
    }

    /// The mandate, with who granted it.
    fn opened(self, protection: &Protection) -> Result<Mandate, StoreError> {
        let Self { mut mandate, grantor, .. } = self;
        let opened = protection.open(grantor_of(&mandate.id), &grantor)?;
        let corrupt =
            |_| StoreError::Corrupt { what: MANDATE, id: mandate.id.to_string(), column: "grantor" };
        mandate.grantor = serde_json::from_slice(&opened).map_err(corrupt)?;
        Ok(mandate)
    }

    fn image(&self) -> RowImage {
        let Mandate { id, enterprise, name, evidence, key, code_key, state, .. } = &self.mandate;
        RowImage::new("mandates", id.as_str(), self.revision)
            .text("enterprise", enterprise.as_str())
            .text("name", name)
            .octets_or_null("grantor", Some(&self.grantor))
            .text("evidence", evidence)
            .text("apps", &self.apps())
            .text("terms", &self.terms())
            .text("key_id", key.as_str())
            .text("code_key", code_key.id.as_str())
            .integer("code_key_version", code_key.version.into())
            .text("certificates", &self.certificates())
            .text("state", state.as_str())
            .integer("version", self.mandate.version.into())
            .text("reason", &self.mandate.reason)
            .text("actor", &self.mandate.actor)
            .integer("created_at", self.mandate.created_at.unix_timestamp())
            .integer("changed_at", self.mandate.changed_at.unix_timestamp())
    }

    /// As they are stored.
    fn certificates(&self) -> String {
        self.mandate.certificates.iter().map(Certificate::to_pem).collect()
    }

    /// As they are stored.
    fn apps(&self) -> String {
        serde_json::to_string(&self.mandate.apps).expect("names are JSON")
    }

    /// As they are stored.
    fn terms(&self) -> String {
        serde_json::to_string(&self.mandate.terms).expect("texts and numbers are JSON")
    }
}

fn grantor_of(id: &MandateNumber) -> Cell<'_> {
    Cell { table: "mandates", column: "grantor", row: id.as_str() }
}

async fn find(
    connection: &mut Connection<'_>,
    protection: &Protection,
    id: &MandateNumber,
) -> Result<MandateRow, StoreError> {
    let statement = format!("SELECT {COLUMNS} FROM mandates WHERE id = $1");
    let row = query(AssertSqlSafe(statement)).bind(id.as_str()).fetch_optional(connection).await?;
    let row = row.ok_or_else(|| StoreError::NotFound { what: MANDATE, id: id.to_string() })?;
    MandateRow::judged(&row, protection)
}

/// Whether a mandate that has not ended could not be used without this version of a key in the devices.
pub(crate) async fn rests_on_key(
    connection: &mut Connection<'_>,
    key: &KeyId,
    version: u32,
) -> Result<bool, sqlx::Error> {
    let found = query(
        "SELECT 1 FROM mandates WHERE code_key = $1 AND code_key_version = $2 AND state <> 'ended' LIMIT 1",
    )
    .bind(key.as_str())
    .bind(version)
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// Protects every mandate with a good code under another data key anew under that in use; answers how many those were.
pub(crate) async fn renew(
    connection: &mut Connection<'_>,
    protection: &Protection,
    batch: &Batch,
) -> Result<u64, StoreError> {
    let rows = batch.rows(connection, COLUMNS).await?;
    let mut renewed = 0;
    for row in &rows {
        let mut row = match MandateRow::judged(row, protection) {
            Ok(row) => row,
            Err(error) => {
                unusable(error)?;
                continue;
            }
        };
        if ![&row.code, &row.grantor].into_iter().any(|stored| protection.is_outdated(stored)) {
            continue;
        }
        row.grantor = protection.reseal(grantor_of(&row.mandate.id), &row.grantor)?;
        row.revision += 1;
        query("UPDATE mandates SET grantor = $2, revision = $3, code = $4 WHERE id = $1")
            .bind(row.mandate.id.as_str())
            .bind(&row.grantor)
            .bind(row.revision)
            .bind(protection.code(&row.image())?)
            .execute(&mut *connection)
            .await?;
        renewed += 1;
    }
    Ok(renewed)
}
