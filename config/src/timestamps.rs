use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::read::Section;
use crate::{Fetch, PolicyId, SourceUrl};

/// The site's timestamp authority, and one outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamps {
    /// The policies under which tokens are made, the usual one first; without any the site is no authority.
    pub policies: Vec<PolicyId>,
    /// How far the time of a token may be off, as it says itself. Default 1 s.
    pub accuracy: Duration,
    /// Whether tokens can be put in order by their times alone, over all gateways on the database. Default false: each
    /// batch of tokens takes a write to the database then.
    pub ordering: bool,
    /// Whether `/tsa` answers anybody, not only apps. Default false.
    pub public: bool,
    /// Requests a second from one address at `/tsa`, of those who do not prove to be an app. Default 10.
    pub public_rate: u32,
    /// How many of them may come at once. Default 20.
    pub public_burst: u32,
    /// How many requests of theirs are worked on at once, from all addresses together. Default 64.
    pub public_in_flight: usize,
    /// How the clock is watched.
    pub clock: ClockWatch,
    /// An authority outside, for tokens that somebody else is to vouch for.
    pub outside: Option<OutsideAuthority>,
}

/// Who is asked for the time, and when the clock is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockWatch {
    /// Servers that speak NTP.
    pub servers: Vec<TimeServer>,
    /// Whether there are no timestamps while too little is known of the clock. Default outside a sandbox.
    pub required: bool,
    /// How far the clock may be off, uncertainty included; at most `accuracy`. Default 500 ms.
    pub max_offset: Duration,
    /// How long a server's answer counts. Default 10 min.
    pub max_age: Duration,
    /// How often each server is asked. Default 64 s.
    pub poll: Duration,
    /// How long an answer may take. Default 2 s.
    pub timeout: Duration,
}

/// A timestamp authority that speaks RFC 3161 over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideAuthority {
    /// Its address.
    pub url: SourceUrl,
    /// The policy that is asked for; its usual one if none.
    pub policy: Option<PolicyId>,
    /// The roots that its tokens are judged against: PEM or DER files, or folders of them.
    pub roots: Vec<PathBuf>,
    /// How long it may take. Default 5 s.
    pub timeout: Duration,
}

/// The name or address of a time server, with its port if it is not 123.
#[derive(Clone, PartialEq, Eq)]
pub struct TimeServer(String);

impl TimeServer {
    /// Reads a name such as `ntp.example`, `192.0.2.1:123` or `[2001:db8::1]:123`.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "must be names or addresses such as \"ntp.example\" or \"192.0.2.1:123\"";
        let port = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => {
                address.parse::<std::net::Ipv6Addr>().map_err(|_| FORM)?;
                port
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
                if !plain || !(1..=253).contains(&host.len()) {
                    return Err(FORM);
                }
                port
            }
        };
        let number = |port: &str| port.parse::<u16>().is_ok_and(|number| number > 0);
        if port.is_empty() || port.strip_prefix(':').is_some_and(number) {
            Ok(Self(text.to_owned()))
        } else {
            Err(FORM)
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TimeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TimeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Timestamps {
    pub(crate) fn read(section: &mut Section<'_>, sandbox: bool, fetch: &Fetch) -> Self {
        let policies = policies(section);
        let accuracy = section.milliseconds("accuracy_ms", 1000, 1..=3_600_000);
        let clock = section.section("clock", |clock| ClockWatch::read(clock, sandbox));
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let timestamps = Self {
            accuracy,
            ordering: section.boolean("ordering", false),
            public: section.boolean("public", false),
            public_rate: small(section.integer("public_rate", 10, 1..=1_000_000)),
            public_burst: small(section.integer("public_burst", 20, 1..=1_000_000)),
            public_in_flight: section.count("public_in_flight", 64, 1..=1_000_000),
            outside: section
                .has("outside")
                .then(|| section.section("outside", |outside| OutsideAuthority::read(outside, fetch)))
                .flatten(),
            policies,
            clock,
        };
        let clock = &timestamps.clock;
        if clock.max_offset > timestamps.accuracy {
            section.mistake("accuracy_ms", "must not be less than timestamps.clock.max_offset_ms");
        }
        let is_authority = !timestamps.policies.is_empty();
        if is_authority && clock.required && clock.servers.is_empty() {
            section.mistake(
                "policies",
                "timestamps need timestamps.clock.servers, unless timestamps.clock.required is false",
            );
        }
        if timestamps.public && !is_authority {
            section.mistake("public", "has a meaning with policies only");
        }
        timestamps
    }
}

fn policies(section: &mut Section<'_>) -> Vec<PolicyId> {
    const FIELD: &str = "policies";
    let mut policies = Vec::new();
    for text in section.strings(FIELD, "object identifiers") {
        match PolicyId::parse(&text) {
            Ok(policy) => policies.push(policy),
            Err(form) => section.mistake(FIELD, form),
        }
    }
    policies
}

impl ClockWatch {
    fn read(section: &mut Section<'_>, sandbox: bool) -> Self {
        const SERVERS: &str = "servers";
        let mut servers = Vec::new();
        for text in section.strings(SERVERS, "names or addresses") {
            match TimeServer::parse(&text) {
                Ok(server) if servers.contains(&server) => {
                    section.mistake(SERVERS, &format!("{server} is named twice: each has one say"));
                }
                Ok(server) => servers.push(server),
                Err(form) => section.mistake(SERVERS, form),
            }
        }
        if servers.len() > 16 {
            section.mistake(SERVERS, "must be 16 at most");
        }
        let watch = Self {
            servers,
            required: section.boolean("required", !sandbox),
            max_offset: section.milliseconds("max_offset_ms", 500, 1..=3_600_000),
            max_age: section.milliseconds("max_age_ms", 600_000, 100..=86_400_000),
            poll: section.milliseconds("poll_ms", 64_000, 50..=86_400_000),
            timeout: section.milliseconds("timeout_ms", 2_000, 10..=60_000),
        };
        if watch.max_age <= watch.poll + watch.timeout {
            section.mistake("max_age_ms", "must be more than poll_ms and timeout_ms together");
        }
        watch
    }
}

impl OutsideAuthority {
    fn read(section: &mut Section<'_>, fetch: &Fetch) -> Option<Self> {
        let url = section.parsed("url", SourceUrl::parse);
        let policy = section.has("policy").then(|| section.parsed("policy", PolicyId::parse)).flatten();
        let roots = section.files("roots");
        let timeout = section.milliseconds("timeout_ms", 5_000, 100..=60_000);
        if roots.is_empty() {
            section.mistake("roots", "must name the roots that its tokens are judged against");
        }
        if url.as_ref().is_some_and(SourceUrl::is_https) && fetch.tls_anchors.is_empty() {
            section.mistake("url", "https needs trust.fetch.tls_anchors");
        }
        Some(Self { url: url?, policy, roots, timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_servers_are_names_or_addresses_with_or_without_a_port() {
        for good in
            ["ntp.example", "ntp", "192.0.2.1", "192.0.2.1:123", "[2001:db8::1]", "[2001:db8::1]:1123"]
        {
            assert_eq!(TimeServer::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            ":123",
            "a b",
            "ntp.example:",
            "ntp.example:0",
            "ntp.example:99999",
            "[x]",
            "[::1]123",
            "[::1]:",
            "::1",
            "http://x",
        ] {
            assert!(TimeServer::parse(bad).is_err(), "{bad}");
        }
    }
}
