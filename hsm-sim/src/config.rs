//! The configuration file named by `HSM_SIM_CONFIG`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use cryptoki_sys::CK_SLOT_ID;
use serde::Deserialize;

use crate::dialect::Dialect;

/// The environment variable that names the configuration file.
pub const CONFIG_VARIABLE: &str = "HSM_SIM_CONFIG";

/// A slot with its token, as configured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotConfig {
    /// The slot's number.
    pub id: CK_SLOT_ID,
    /// The token's serial number: 1 to 16 letters, digits and hyphens. It also names the token's folder.
    pub serial: String,
    /// The token's model: at most 16 octets.
    pub model: String,
}

/// A checked configuration; paths are absolute or relative to the process.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder that holds one folder per token.
    pub store: PathBuf,
    /// The file that commands breakdowns.
    pub fault_file: Option<PathBuf>,
    /// The mechanism numbers the module answers to.
    pub dialect: &'static Dialect,
    /// The most sessions open at once, over all slots.
    pub session_limit: usize,
    /// The slots; at least one, ids and serials unique.
    pub slots: Vec<SlotConfig>,
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The environment does not name a file.
    #[error("{CONFIG_VARIABLE} is not set")]
    NotNamed,
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not the TOML expected.
    #[error("{path}: {message}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A value is out of range.
    #[error("{0}")]
    Invalid(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    store: PathBuf,
    fault_file: Option<PathBuf>,
    #[serde(default = "standard")]
    dialect: String,
    #[serde(default = "default_session_limit")]
    session_limit: usize,
    slot: Vec<SlotConfig>,
}

fn standard() -> String {
    "standard".into()
}

fn default_session_limit() -> usize {
    256
}

impl Config {
    /// Reads the file that the environment names.
    #[allow(
        clippy::disallowed_methods,
        reason = "a loaded library has no arguments: the variable is its command line"
    )]
    pub fn from_environment() -> Result<Self, ConfigError> {
        let path = std::env::var_os(CONFIG_VARIABLE).ok_or(ConfigError::NotNamed)?;
        Self::read(Path::new(&path))
    }

    /// Reads and checks one file; relative paths in it start at its folder.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).map_err(|error| match error {
            ConfigError::Malformed { message, .. } => ConfigError::Malformed { path: path.into(), message },
            other => other,
        })
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text)
            .map_err(|error| ConfigError::Malformed { path: PathBuf::new(), message: error.to_string() })?;
        let invalid = |message: String| Err(ConfigError::Invalid(message));
        let Some(dialect) = Dialect::named(&file.dialect) else {
            return invalid(format!("unknown dialect {:?}", file.dialect));
        };
        if file.slot.is_empty() {
            return invalid("at least one [[slot]] is needed".into());
        }
        if file.session_limit == 0 {
            return invalid("session_limit must be at least 1".into());
        }
        let (mut ids, mut serials) = (BTreeSet::new(), BTreeSet::new());
        for slot in &file.slot {
            let named = slot.serial.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !named || slot.serial.is_empty() || slot.serial.len() > 16 {
                return invalid(format!("serial {:?}: 1 to 16 letters, digits, hyphens", slot.serial));
            }
            if slot.model.len() > 16 {
                return invalid(format!("model {:?}: at most 16 octets", slot.model));
            }
            if !ids.insert(slot.id) || !serials.insert(slot.serial.as_str()) {
                return invalid(format!("slot {} or serial {:?} appears twice", slot.id, slot.serial));
            }
        }
        Ok(Self {
            store: folder.join(file.store),
            fault_file: file.fault_file.map(|path| folder.join(path)),
            dialect,
            session_limit: file.session_limit,
            slots: file.slot,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "store = 'tokens'\nfault_file = 'fault.toml'\ndialect = 'standard'\nsession_limit = 8\n\
                        [[slot]]\nid = 3\nserial = 'SIM000001'\nmodel = 'SIM-SM2'\n";

    #[test]
    fn paths_start_at_the_folder_of_the_file() {
        let config = Config::parse(GOOD, Path::new("/site")).unwrap();
        assert_eq!(config.store, Path::new("/site/tokens"));
        assert_eq!(config.fault_file.as_deref(), Some(Path::new("/site/fault.toml")));
        assert_eq!((config.session_limit, config.slots[0].id), (8, 3));
    }

    #[test]
    fn a_serial_that_could_leave_the_store_is_refused() {
        for serial in ["", "../other", "a/b", "12345678901234567"] {
            let text = GOOD.replace("SIM000001", serial);
            assert!(matches!(Config::parse(&text, Path::new("")), Err(ConfigError::Invalid(_))), "{serial}");
        }
    }

    #[test]
    fn unknown_fields_dialects_and_repeated_slots_are_refused() {
        let extra = GOOD.replace("store =", "stroe = 'x'\nstore =");
        assert!(matches!(Config::parse(&extra, Path::new("")), Err(ConfigError::Malformed { .. })));
        let dialect = GOOD.replace("'standard'", "'martian'");
        assert!(matches!(Config::parse(&dialect, Path::new("")), Err(ConfigError::Invalid(_))));
        let twice = format!("{GOOD}[[slot]]\nid = 3\nserial = 'B'\nmodel = ''\n");
        assert!(matches!(Config::parse(&twice, Path::new("")), Err(ConfigError::Invalid(_))));
    }
}
