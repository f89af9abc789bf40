//! The table itself: read from TOML, whole or not at all.

use std::collections::BTreeSet;

use formats::scheme::HashAlgorithm;
use serde::Deserialize;
use thiserror::Error;

use super::{LicenseUse, Role};
use crate::status;

/// The table that counts where a site has none of its own.
const BUILT_IN: &str = include_str!("../../data/decisions.toml");
/// The longest table, octets.
const LIMIT: usize = 1 << 20;

/// What is wrong with a table.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// It is not TOML of this form.
    #[error("{0}")]
    Form(String),
    /// It is too long.
    #[error("must have at most {LIMIT} octets")]
    TooLong,
    /// A text that has to be there is empty.
    #[error("{0} must be 1 to 60 characters without blanks around them")]
    Text(&'static str),
    /// An item is there twice.
    #[error("item {0} is there twice")]
    Repeated(String),
    /// Nobody may do it.
    #[error("item {0} has no roles")]
    NoRoles(String),
    /// A status that does not exist.
    #[error("standing {name}: {code} is no registration status")]
    Status {
        /// The row.
        name: String,
        /// What it says.
        code: i64,
    },
    /// An effect that does not exist, or an item's kind that no item has.
    #[error(
        "standing {name}: {effect:?} must be permitted, marked, refused, archive, or only: with a kind that items have"
    )]
    Effect {
        /// The row.
        name: String,
        /// What it says.
        effect: String,
    },
    /// Nothing is said of a status without flags.
    #[error("no standing without flags speaks of status {0}")]
    Missing(i64),
}

/// What a table says of a use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    Permitted,
    Marked,
    Refused,
    Archive,
    /// For items of a kind.
    Only(String),
}

/// A business item (业务事项).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Item {
    pub(super) code: String,
    name: String,
    #[serde(default)]
    kinds: Vec<String>,
    roles: Vec<Role>,
}

impl Item {
    pub(super) fn is_of(&self, kind: &str) -> bool {
        self.kinds.iter().any(|of| of == kind)
    }
}

/// What may be done as an entity stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StandingRow {
    pub(super) name: String,
    statuses: Vec<i64>,
    flags: Vec<String>,
    effects: [Effect; 4],
}

impl StandingRow {
    pub(super) fn effect(&self, license_use: LicenseUse) -> &Effect {
        let [login, show, sign, file] = &self.effects;
        match license_use {
            LicenseUse::Login => login,
            LicenseUse::Show => show,
            LicenseUse::Sign => sign,
            LicenseUse::File => file,
        }
    }
}

/// Which status and flag permits which item to which role. Of one version, which every decision names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionTable {
    version: String,
    digest: String,
    roles: Vec<Role>,
    items: Vec<Item>,
    standings: Vec<StandingRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    roles: Vec<Role>,
    #[serde(default)]
    item: Vec<Item>,
    #[serde(default)]
    standing: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    statuses: Vec<i64>,
    #[serde(default)]
    flags: Vec<String>,
    login: String,
    show: String,
    sign: String,
    file: String,
}

impl DecisionTable {
    /// The table that comes with the gateway.
    ///
    /// # Errors
    /// It is not whole; a test sees to it that it is.
    pub fn built_in() -> Result<Self, TableError> {
        Self::parse(BUILT_IN)
    }

    /// Reads a table.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        if text.len() > LIMIT {
            return Err(TableError::TooLong);
        }
        let file: File = toml::from_str(text).map_err(|error| TableError::Form(error.to_string()))?;
        coded("version", &file.version)?;
        let mut codes = BTreeSet::new();
        for item in &file.item {
            coded("item.code", &item.code)?;
            named("item.name", &item.name)?;
            if !codes.insert(&item.code) {
                return Err(TableError::Repeated(item.code.clone()));
            }
            if item.roles.is_empty() {
                return Err(TableError::NoRoles(item.code.clone()));
            }
        }
        let kinds: BTreeSet<&String> = file.item.iter().flat_map(|item| &item.kinds).collect();
        let standings = file.standing.into_iter().map(|row| row.read(&kinds));
        let standings: Vec<_> = standings.collect::<Result<_, _>>()?;
        let plain = |code| {
            standings.iter().any(|row: &StandingRow| row.flags.is_empty() && row.statuses.contains(&code))
        };
        if let Some(missing) = status::codes().find(|code| !plain(*code)) {
            return Err(TableError::Missing(missing));
        }
        Ok(Self {
            version: file.version,
            digest: hex::encode(HashAlgorithm::Sm3.digest(text.as_bytes())),
            roles: file.roles,
            items: file.item,
            standings,
        })
    }

    /// Its version, as it says itself.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// SM3 of its text, hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The business items that it speaks of, code and name, in its order.
    pub fn items(&self) -> impl Iterator<Item = (&str, &str)> {
        self.items.iter().map(|item| (item.code.as_str(), item.name.as_str()))
    }

    pub(super) fn item(&self, code: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.code == code)
    }

    /// Who may act, for an item or for none.
    pub(super) fn roles<'a>(&'a self, item: Option<&'a Item>) -> &'a [Role] {
        item.map_or(&self.roles, |item| &item.roles)
    }

    pub(super) fn standing(&self, code: i64, flags: &[String]) -> Option<&StandingRow> {
        self.standings.iter().find(|row| {
            row.statuses.contains(&code)
                && (row.flags.is_empty() || row.flags.iter().any(|flag| flags.contains(flag)))
        })
    }
}

impl Row {
    fn read(self, kinds: &BTreeSet<&String>) -> Result<StandingRow, TableError> {
        named("standing.name", &self.name)?;
        if let Some(code) = self.statuses.iter().find(|code| !status::is_known(**code)) {
            return Err(TableError::Status { name: self.name, code: *code });
        }
        let effect = |text: String| match (text.as_str(), text.strip_prefix("only:")) {
            ("permitted", _) => Ok(Effect::Permitted),
            ("marked", _) => Ok(Effect::Marked),
            ("refused", _) => Ok(Effect::Refused),
            ("archive", _) => Ok(Effect::Archive),
            (_, Some(kind)) if kinds.contains(&kind.to_owned()) => Ok(Effect::Only(kind.to_owned())),
            _ => Err(TableError::Effect { name: self.name.clone(), effect: text }),
        };
        let effects = [effect(self.login)?, effect(self.show)?, effect(self.sign)?, effect(self.file)?];
        Ok(StandingRow { name: self.name, statuses: self.statuses, flags: self.flags, effects })
    }
}

/// What stands on record between blanks.
fn coded(what: &'static str, text: &str) -> Result<(), TableError> {
    named(what, text)?;
    if text.contains(char::is_whitespace) { Err(TableError::Text(what)) } else { Ok(()) }
}

fn named(what: &'static str, text: &str) -> Result<(), TableError> {
    let fits = (1..=60).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits && text.trim() == text { Ok(()) } else { Err(TableError::Text(what)) }
}
