use std::time::Duration;

use crate::read::Section;

/// How what apps, keys and people may do is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Administration {
    /// A change waits until a second person approves it. Default yes, and in a sandbox no.
    pub two_person: bool,
    /// How long it waits. Default 72 h.
    pub approval_lifetime: Duration,
}

impl Administration {
    pub(crate) fn read(section: &mut Section<'_>, sandbox: bool) -> Self {
        let two_person = section.boolean("two_person", !sandbox);
        let approval_lifetime = Duration::from_secs(3600 * section.integer("approval_hours", 72, 1..=720));
        Self { two_person, approval_lifetime }
    }
}
