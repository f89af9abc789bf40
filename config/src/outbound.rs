use std::time::Duration;

use ipnet::IpNet;

use crate::read::Section;

/// How apps are told what concerns them, at addresses of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// Networks that are not public and that may be sent to all the same. Default none.
    pub networks: Vec<IpNet>,
    /// How long after the first failure it is tried again; each further pause is twice as long, up to an hour. Default
    /// 5 s.
    pub retry: Duration,
    /// How long it is tried. Default 24 h.
    pub give_up: Duration,
}

impl Outbound {
    pub(crate) fn read(section: &mut Section<'_>) -> Self {
        let networks = section.networks("networks");
        let retry = section.milliseconds("retry_ms", 5_000, 100..=3_600_000);
        let give_up = Duration::from_secs(3600 * section.integer("give_up_hours", 24, 1..=168));
        Self { networks, retry, give_up }
    }
}
