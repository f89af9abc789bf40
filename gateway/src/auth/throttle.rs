//! Slows down whoever guesses, and says so.
//!
//! Failures are counted for a source address and the app it claims to be, together: a stranger's guesses in an app's
//! name slow the stranger down, not the app. No failure of anybody locks an app; what looks like an attack on one is
//! told to people, who can freeze it. The memory is bounded; what falls out of it is forgotten.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use config::AppId;
use lru::LruCache;
use store::AuditEntry;
use time::OffsetDateTime;

use super::Peer;
use crate::problem::Problem;
use crate::state::Gateway;

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
/// Refusals within [`SPAN`] that go into the audit log; what is more is counted there and in the metrics.
const MOST_RECORDED: u32 = 600;

/// Who failed how often.
pub(crate) struct Throttle {
    pairs: Mutex<LruCache<(IpAddr, String), Pair>>,
    /// By the app that was claimed, whether or not there is one.
    claimed: Mutex<LruCache<String, Count>>,
    /// What went into the audit log lately, or would have.
    recorded: Mutex<Count>,
}

/// What a refusal is, among those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Of this source and claim within [`SPAN`]: 1 for the first.
    of_pair: u32,
    /// It is the one that makes an attack of the failures in the app's name.
    attack: bool,
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
        Self {
            pairs: Mutex::new(LruCache::new(most)),
            claimed: Mutex::new(LruCache::new(most)),
            recorded: Mutex::new(Count::new(Instant::now())),
        }
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

    /// Counts a failure.
    fn failed(&self, source: IpAddr, claim: &str, now: Instant) -> Place {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Pair { failures: Count::new(now), proved: None };
        let of_pair = pairs.get_or_insert_mut((source, claim.to_owned()), new).failures.add(now);
        drop(pairs);
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let of_claim = claimed.get_or_insert_mut(claim.to_owned(), || Count::new(now)).add(now);
        Place { of_pair, attack: of_claim == ALARM }
    }

    /// Whether one more refusal may go into the audit log.
    fn may_record(&self, now: Instant) -> bool {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).add(now) <= MOST_RECORDED
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
    proved: Option<AppId>,
}

impl Attempt {
    pub(crate) fn by(peer: Option<Peer>) -> Self {
        let local = peer.as_ref().is_some_and(Peer::is_local);
        let source = match peer {
            Some(Peer::Network(address)) => Some(source(address.ip())),
            _ => None,
        };
        Self { source, local, claim: None, proved: None }
    }

    /// Whether it comes from this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.local
    }

    /// Says which app it claims to be, or by what it wants to be recognised.
    pub(crate) fn claims(&mut self, claim: &str) {
        self.claim = Some(claim.to_owned());
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

    /// Counts and records the refusal, and answers what the caller is told. Of a source's refusals with one app the
    /// first and the one that slows it down are recorded in each minute: whoever guesses does not fill the log.
    pub(crate) async fn refused(self, gateway: &Gateway, problem: Problem) -> Problem {
        if problem.is_unavailable() {
            return problem; // nobody's fault but ours
        }
        let Some(source) = self.source else { return problem };
        let (now, throttle) = (Instant::now(), &gateway.callers.throttle);
        let who = self.proved.as_ref().map(AppId::as_str).or(self.claim.as_deref()).unwrap_or("nobody");
        let is_guess = self.proved.is_none() && self.claim.is_some();
        let failure = match &self.proved {
            // It is who it says: no guess, and counted apart from guesses.
            Some(_) => throttle.failed(source, &format!("{who} itself"), now),
            None => throttle.failed(source, who, now),
        };
        let place = Place { attack: failure.attack && is_guess, ..failure };
        if place.attack {
            gateway.metrics.attacked();
            tracing::warn!(claim = who, failures = ALARM, "many failures to prove an app within a minute");
        }
        let telling = place.of_pair == 1 || place.of_pair == MOST_FAILURES || place.attack;
        if telling && throttle.may_record(now) {
            // No app's id has a colon: what somebody only claims is not taken for what was proved.
            let actor = self.proved.as_ref().map_or_else(|| format!("unproved:{who}"), ToString::to_string);
            record(gateway, actor, source, place, problem.code()).await;
        }
        problem
    }
}

/// Puts a refusal into the audit log. It is refused also if that cannot be.
async fn record(gateway: &Gateway, actor: String, source: IpAddr, place: Place, code: &str) {
    let attack = if place.attack { ", an attack on this app" } else { "" };
    let entry = AuditEntry {
        action: "caller.refuse".to_owned(),
        actor,
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: None,
        outcome: code.to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(format!("from {source}, number {} within a minute{attack}", place.of_pair)),
    };
    if let Err(error) = gateway.audit.append(entry).await {
        tracing::error!(%error, "a refusal could not be recorded");
    }
}

/// What counts as one source: an address, of IPv6 the network that one household or host has.
fn source(address: IpAddr) -> IpAddr {
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
        (0..times).map(|_| u32::from(throttle.failed(source, "app", at).attack)).sum()
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
        assert_eq!(
            (0..2 * MOST_RECORDED).filter(|_| throttle.may_record(now)).count(),
            MOST_RECORDED as usize
        );
        assert_eq!(throttle.pairs.lock().unwrap().len(), MOST_REMEMBERED);
    }

    #[test]
    fn an_ipv6_source_is_its_network() {
        let [one, other] = ["2001:db8::1", "2001:db8::2:3"].map(|text| source(text.parse().unwrap()));
        assert_eq!(one, other);
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), ONE);
    }
}
