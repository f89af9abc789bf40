//! Slows down whoever guesses, and says so.
//!
//! Failures are counted for a source address and the app it claims to be, together: a stranger's guesses in an app's
//! name slow the stranger down, not the app. No failure of anybody locks an app; what looks like an attack on one is
//! told to people, who can freeze it. The memory is bounded; what falls out of it is forgotten.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Extensions;
use config::AppId;
use lru::LruCache;
use store::AuditEntry;
use time::OffsetDateTime;

use super::Peer;
use crate::problem::Problem;
use crate::state::Gateway;
use crate::tally::CallerSlot;

/// Failures within [`SPAN`] before a source has to wait with an app.
const MOST_FAILURES: u32 = 10;
/// The same for a source from which the app has proved itself lately: more is forgiven where somebody is known.
const MOST_FAILURES_KNOWN: u32 = 100;
/// Failures count for so long, and that is how long a source waits after the last one that counted.
const SPAN: Duration = Duration::from_secs(60);
/// A source at which an app proved itself is known for so long.
const KNOWN: Duration = Duration::from_secs(15 * 60);
/// Failures in an app's name within [`SPAN`], from all sources, that people are told of.
const ALARM: u32 = 50;
/// Pairs of source and app that are remembered.
const MOST_REMEMBERED: usize = 65_536;

/// Who failed how often.
pub(crate) struct Throttle {
    pairs: Mutex<LruCache<(IpAddr, String), Pair>>,
    /// By the app that was claimed, whether or not there is one.
    claimed: Mutex<LruCache<String, Count>>,
}

struct Pair {
    failures: Count,
    proved: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    since: Instant,
    failures: u32,
}

impl Count {
    fn new(now: Instant) -> Self {
        Self { since: now, failures: 0 }
    }

    /// Failures that still count.
    fn current(&self, now: Instant) -> u32 {
        if now.saturating_duration_since(self.since) < SPAN { self.failures } else { 0 }
    }

    fn add(&mut self, now: Instant) -> u32 {
        *self = Self { failures: self.current(now).saturating_add(1), since: self.start(now) };
        self.failures
    }

    fn start(&self, now: Instant) -> Instant {
        if self.current(now) == 0 { now } else { self.since }
    }
}

impl Throttle {
    pub(crate) fn new() -> Self {
        let most = NonZeroUsize::new(MOST_REMEMBERED).expect("it is not 0");
        Self { pairs: Mutex::new(LruCache::new(most)), claimed: Mutex::new(LruCache::new(most)) }
    }

    /// How long this source has to wait before it may claim this app again.
    fn wait(&self, source: IpAddr, claim: &str, now: Instant) -> Option<Duration> {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = pairs.get(&(source, claim.to_owned()))?;
        let known = pair.proved.is_some_and(|at| now.saturating_duration_since(at) < KNOWN);
        let most = if known { MOST_FAILURES_KNOWN } else { MOST_FAILURES };
        let over = pair.failures.current(now) >= most;
        over.then(|| SPAN.saturating_sub(now.saturating_duration_since(pair.failures.since)))
    }

    /// Counts a failure; whether it is the one that makes an attack of the failures in the app's name.
    fn failed(&self, source: IpAddr, claim: &str, now: Instant) -> bool {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Pair { failures: Count::new(now), proved: None };
        pairs.get_or_insert_mut((source, claim.to_owned()), new).failures.add(now);
        drop(pairs);
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let of_claim = claimed.get_or_insert_mut(claim.to_owned(), || Count::new(now)).add(now);
        of_claim == ALARM
    }

    fn proved(&self, source: IpAddr, app: &str, now: Instant) {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Pair { failures: Count::new(now), proved: None };
        pairs.get_or_insert_mut((source, app.to_owned()), new).proved = Some(now);
    }
}

/// One request's try to prove an app.
pub(crate) struct Attempt {
    source: Option<IpAddr>,
    local: bool,
    claim: Option<String>,
    /// The claim is an app's id.
    names_app: bool,
    proved: Option<AppId>,
}

impl Attempt {
    pub(crate) fn by(peer: Option<Peer>) -> Self {
        let local = peer.as_ref().is_some_and(Peer::is_local);
        let source = match peer {
            Some(Peer::Network(address)) => Some(source(address.ip())),
            _ => None,
        };
        Self { source, local, claim: None, names_app: false, proved: None }
    }

    /// Whether it comes from this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }

    /// Says by what it wants to be recognised.
    pub(crate) fn claims(&mut self, claim: &str) {
        self.claim = Some(claim.to_owned());
    }

    /// Says which app it claims to be.
    pub(crate) fn claims_app(&mut self, app: &AppId) {
        self.claims(app.as_str());
        self.names_app = true;
    }

    /// Refuses, before any work is done for it, a source that failed too often with what it claims.
    pub(crate) fn admit(&self, gateway: &Gateway) -> Result<(), Problem> {
        let (Some(source), Some(claim)) = (self.source, &self.claim) else { return Ok(()) };
        let wait = gateway.callers.throttle.wait(source, claim, Instant::now());
        wait.map_or(Ok(()), |wait| Err(Problem::too_many_failures(wait)))
    }

    /// Says that it proved to be this app, whatever else may be wrong.
    pub(crate) fn proved(&mut self, app: &AppId) {
        self.proved = Some(app.clone());
    }

    /// Remembers that the app proves itself at this source.
    pub(crate) fn succeeded(&self, gateway: &Gateway) {
        if let (Some(source), Some(app)) = (self.source, &self.proved) {
            gateway.callers.throttle.proved(source, app.as_str(), Instant::now());
        }
    }

    /// Counts the refusal, says for the record who was refused, and answers what the caller is told.
    pub(crate) async fn refused(
        self,
        extensions: &Extensions,
        gateway: &Gateway,
        problem: Problem,
    ) -> Problem {
        if problem.is_unavailable() {
            return problem; // nobody's fault but ours
        }
        let Some(source) = self.source else { return problem };
        if let (Some(slot), Some(actor)) = (extensions.get::<CallerSlot>(), self.actor(source)) {
            slot.fill(actor);
        }
        let who = match (&self.proved, &self.claim) {
            // It is who it says: no guess, and counted apart from guesses.
            (Some(app), _) => format!("{app} itself"),
            (None, Some(claim)) => claim.clone(),
            (None, None) => "nobody".to_owned(),
        };
        let many = gateway.callers.throttle.failed(source, &who, Instant::now());
        if many && self.proved.is_none() && self.claim.is_some() {
            gateway.metrics.attacked();
            tracing::warn!(claim = who, failures = ALARM, "many failures to prove an app within a minute");
            record_attack(gateway, &who, source, problem.code()).await;
        }
        problem
    }

    /// Who it is, or which app it claims to be and from where; nobody in particular if it names none. No app's id has a
    /// colon: what somebody only claims is not taken for what was proved.
    fn actor(&self, source: IpAddr) -> Option<String> {
        match (&self.proved, &self.claim) {
            (Some(app), _) => Some(app.to_string()),
            (None, Some(claim)) if self.names_app => Some(format!("unproved:{claim}:{source}")),
            (None, _) => None,
        }
    }
}

/// Puts into the audit log that many try to prove an app. Each refusal by itself is recorded by the edge.
async fn record_attack(gateway: &Gateway, claim: &str, source: IpAddr, code: &str) {
    let entry = AuditEntry {
        action: "caller.attack".to_owned(),
        actor: format!("unproved:{claim}:{source}"),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: code.to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(format!("{ALARM} failures to prove this app within a minute, the last from {source}")),
    };
    if let Err(error) = gateway.audit.append(entry).await {
        tracing::error!(%error, "an attack could not be recorded");
    }
}

/// What counts as one source: an address, of IPv6 the network that one household or host has.
pub(super) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::V6(octets.into())
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn fail(throttle: &Throttle, source: IpAddr, times: u32, at: Instant) -> u32 {
        (0..times).map(|_| u32::from(throttle.failed(source, "app", at))).sum()
    }

    #[test]
    fn a_guesser_waits_and_nobody_else_does() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        fail(&throttle, ONE, MOST_FAILURES - 1, now);
        assert_eq!(throttle.wait(ONE, "app", now), None);
        fail(&throttle, ONE, 1, now);
        assert_eq!(throttle.wait(ONE, "app", now), Some(SPAN));
        assert_eq!(throttle.wait(OTHER, "app", now), None, "the app itself, at its own address");
        assert_eq!(throttle.wait(ONE, "another", now), None);
        assert_eq!(throttle.wait(ONE, "app", now + SPAN), None, "it ends");
    }

    #[test]
    fn more_is_forgiven_where_the_app_is_known() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        throttle.proved(ONE, "app", now);
        fail(&throttle, ONE, MOST_FAILURES_KNOWN - 1, now);
        assert_eq!(throttle.wait(ONE, "app", now), None);
        fail(&throttle, ONE, 1, now);
        assert!(throttle.wait(ONE, "app", now).is_some());
    }

    #[test]
    fn an_attack_is_told_once_a_minute_wherever_it_comes_from() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        assert_eq!(fail(&throttle, ONE, ALARM / 2, now) + fail(&throttle, OTHER, ALARM, now), 1);
        assert_eq!(fail(&throttle, ONE, ALARM, now + SPAN), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        for number in 0..MOST_REMEMBERED + 10 {
            throttle.failed(ONE, &number.to_string(), now);
        }
        assert_eq!(throttle.pairs.lock().unwrap().len(), MOST_REMEMBERED);
    }

    #[test]
    fn an_ipv6_source_is_its_network() {
        let [one, other] = ["2001:db8::1", "2001:db8::2:3"].map(|text| source(text.parse().unwrap()));
        assert_eq!(one, other);
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), ONE);
    }
}
