use std::collections::BTreeSet;

use crate::read::Section;
use crate::{AppId, Site};

/// The national front's protocol (`/authenticationService`), for callers that were written for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compat {
    /// Whether it is spoken. Default false, in a sandbox true.
    pub enabled: bool,
    /// Which systems speak it, each with the app that it is; no `syscode` is there twice.
    pub systems: Vec<CompatSystem>,
}

/// A business system (业务系统) of the national front's protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompatSystem {
    /// What it calls itself, `SAIC_YWXT_` and 6 letters or digits.
    pub syscode: String,
    /// The app that it is: scopes, granted fields, rate and webhook are this app's.
    pub app: AppId,
    /// The code of the business item that its sessions are about where a message names none (`itemcode`).
    pub item: String,
    /// Fields of the face that its sessions ask the holder to let be read; none for sessions that only log in or sign.
    pub fields: Vec<String>,
}

impl Compat {
    pub(crate) fn read(section: &mut Section<'_>, site: &Site) -> Self {
        let enabled = section.boolean("enabled", site.sandbox);
        let read = section.list("system", CompatSystem::read);
        let mut known = BTreeSet::new();
        let mut systems = Vec::new();
        for (at, system) in read {
            let Some(system) = system else { continue };
            if !known.insert(system.syscode.clone()) {
                section.mistake_at(at, "system.syscode", "is there twice");
            }
            systems.push(system);
        }
        Self { enabled, systems }
    }

    /// The system that calls itself so.
    #[must_use]
    pub fn system(&self, syscode: &str) -> Option<&CompatSystem> {
        self.systems.iter().find(|system| system.syscode == syscode)
    }
}

impl CompatSystem {
    fn read(section: &mut Section<'_>) -> Option<Self> {
        let syscode = section.parsed("syscode", syscode);
        let app = section.parsed("app", AppId::parse_registered);
        let item = section.parsed("item", item);
        let fields = section.strings("fields", "names of fields");
        Some(Self { syscode: syscode?, app: app?, item: item?, fields })
    }
}

fn syscode(text: &str) -> Result<String, &'static str> {
    let own = text.strip_prefix("SAIC_YWXT_").unwrap_or_default();
    let fits = own.len() == 6 && own.bytes().all(|octet| octet.is_ascii_alphanumeric());
    fits.then(|| text.to_owned()).ok_or("must be SAIC_YWXT_ and 6 letters or digits")
}

fn item(text: &str) -> Result<String, &'static str> {
    let fits = (1..=60).contains(&text.chars().count()) && !text.chars().any(|c| c.is_control() || c == ' ');
    fits.then(|| text.to_owned()).ok_or("must be the code of an item of the decision table")
}
