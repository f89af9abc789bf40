//! Slows down whoever guesses, and says so.
//!
//! Failures are counted for a source address and the app it claims to be, together. Whoever failed too often is still
//! judged, because the next request from that address may be the app's own: only failures are answered with a wait. What
//! judging costs is bounded by the failures of a source whatever it claims: past that bound only apps that have proved
//! themselves there lately are judged. No failure of anybody locks an app; what looks like an attack on one is told to
//! people, who can freeze it. The memory is bounded; what falls out of it is forgotten.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Extensions;
use config::{AccountName, AppId};
use lru::LruCache;
use store::AuditEntry;
use time::OffsetDateTime;

use super::{Peer, person};
use crate::problem::Problem;
use crate::state::Gateway;
use crate::tally::CallerSlot;

/// Failures within [`SPAN`] before a source is told to wait with an app.
const MOST_FAILURES: u32 = 10;
/// The same for a source from which the app has proved itself lately: more is forgiven where somebody is known.
const MOST_FAILURES_KNOWN: u32 = 100;
/// Failures of a source within [`SPAN`], whatever it claims, before nobody is judged there who is not known there.
const MOST_FAILURES_OF_SOURCE: u32 = 300;
/// Failures count for so long, and that is how long a source waits after the last one that counted.
const SPAN: Duration = Duration::from_secs(60);
/// A source at which an app proved itself is known for so long.
const KNOWN: Duration = Duration::from_secs(24 * 3600);
/// Failures in an app's name within [`SPAN`], from all sources, that people are told of.
const ALARM: u32 = 50;
/// Pairs of source and app that are remembered.
const MOST_REMEMBERED: usize = 65_536;

/// Who failed how often.
pub(crate) struct Throttle {
    pairs: Mutex<LruCache<(IpAddr, String), Pair>>,
    /// By source, whatever was claimed.
    sources: Mutex<LruCache<IpAddr, Count>>,
    /// By the app that was claimed, whether or not there is one.
    claimed: Mutex<LruCache<String, Count>>,
}

struct Pair {
    failures: Count,
    proved: Option<Instant>,
}

/// What becomes of a try to prove an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    /// It is judged.
    Judged,
    /// It is judged; should it fail, it is told to wait so long.
    OnlyIfGood {
        wait: Duration,
        /// The app has proved itself here lately.
        known: bool,
    },
    /// It is not judged for so long.
    Refused(Duration),
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
            sources: Mutex::new(LruCache::new(most)),
            claimed: Mutex::new(LruCache::new(most)),
        }
    }

    /// What becomes of this source's claim to be this app.
    fn admission(&self, source: IpAddr, claim: &str, now: Instant) -> Admission {
        let left = |count: &Count| SPAN.saturating_sub(now.saturating_duration_since(count.since));
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = pairs.get(&(source, claim.to_owned()));
        let known =
            pair.and_then(|pair| pair.proved).is_some_and(|at| now.saturating_duration_since(at) < KNOWN);
        let most = if known { MOST_FAILURES_KNOWN } else { MOST_FAILURES };
        let over = pair.filter(|pair| pair.failures.current(now) >= most).map(|pair| left(&pair.failures));
        drop(pairs);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sources.get(&source).filter(|count| count.current(now) >= MOST_FAILURES_OF_SOURCE);
        match (count.map(left), over) {
            (Some(wait), _) if !known => Admission::Refused(wait),
            (_, Some(wait)) => Admission::OnlyIfGood { wait, known },
            (_, None) => Admission::Judged,
        }
    }

    /// Counts a failure to prove what was claimed, `costly` if signatures were checked for it; whether it is the one that
    /// makes an attack of the failures in the app's name.
    fn failed(&self, source: IpAddr, claim: &str, costly: bool, now: Instant) -> bool {
        if costly {
            let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            sources.get_or_insert_mut(source, || Count::new(now)).add(now);
        }
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Pair { failures: Count::new(now), proved: None };
        pairs.get_or_insert_mut((source, claim.to_owned()), new).failures.add(now);
        drop(pairs);
        let mut claimed = self.claimed.lock().unwrap_or_else(PoisonError::into_inner);
        let of_claim = claimed.get_or_insert_mut(claim.to_owned(), || Count::new(now)).add(now);
        of_claim == ALARM
    }

    /// Counts a body of somebody who proved nothing and did not send it to its end.
    pub(crate) fn unsent(&self, source: IpAddr) {
        let now = Instant::now();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.get_or_insert_mut(source, || Count::new(now)).add(now);
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
    /// Who it proved to be, as the audit log has it.
    proved: Option<String>,
    /// What [`Attempt::admit`] found; nothing where no signature is judged.
    admission: Option<Admission>,
}

impl Attempt {
    pub(crate) fn by(peer: Option<Peer>) -> Self {
        let local = peer.as_ref().is_some_and(Peer::is_local);
        let source = match peer {
            Some(Peer::Network(address)) => Some(source(address.ip())),
            _ => None,
        };
        Self { source, local, claim: None, names_app: false, proved: None, admission: None }
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

    /// Refuses, before any work is done for it, who claims to be somebody at a source that failed too often.
    pub(crate) fn admit(&mut self, gateway: &Gateway) -> Result<(), Problem> {
        let (Some(source), Some(claim)) = (self.source, &self.claim) else { return Ok(()) };
        let admission = gateway.callers.throttle.admission(source, claim, Instant::now());
        self.admission = Some(admission);
        match admission {
            Admission::Refused(wait) => Err(Problem::too_many_failures(wait)),
            Admission::Judged | Admission::OnlyIfGood { .. } => Ok(()),
        }
    }

    /// Whether a failure has to cost as much as one of an app that is unknown. Not where the app is known anyway and
    /// there have been too many failures in its name: those are to cost little.
    pub(crate) fn hides_who_is_known(&self) -> bool {
        !matches!(self.admission, Some(Admission::OnlyIfGood { known: true, .. }))
    }

    /// Says that it proved to be this app, whatever else may be wrong.
    pub(crate) fn proved(&mut self, app: &AppId) {
        self.proved = Some(app.to_string());
    }

    /// Says that it proved to be this person, whatever else may be wrong.
    pub(crate) fn proved_person(&mut self, name: &AccountName) {
        self.proved = Some(person::actor(name));
    }

    /// Remembers that the app proves itself at this source.
    pub(crate) fn succeeded(&self, gateway: &Gateway) {
        if let (Some(source), Some(app)) = (self.source, &self.proved) {
            gateway.callers.throttle.proved(source, app, Instant::now());
        }
    }

    /// Remembers that what it claims is known at this source.
    pub(crate) fn claim_succeeded(&self, gateway: &Gateway) {
        if let Some(claim) = &self.claim {
            self.makes_known(gateway, claim);
        }
    }

    /// Remembers that who claims this is known at this source.
    pub(crate) fn makes_known(&self, gateway: &Gateway, claim: &str) {
        if let Some(source) = self.source {
            gateway.callers.throttle.proved(source, claim, Instant::now());
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
        // Who proved to be somebody has guessed nothing, and who claims nothing has cost nothing.
        let (None, Some(claim)) = (&self.proved, &self.claim) else { return problem };
        // It was not judged and has cost nothing; and who is refused does not drive others out of what is remembered.
        if let Some(Admission::Refused(_)) = self.admission {
            return problem;
        }
        // A body that did not come to its end is counted at its source by the edge, whatever was claimed.
        let costly = self.admission.is_some() && !is_unsent(problem.code());
        if gateway.callers.throttle.failed(source, claim, costly, Instant::now()) {
            gateway.metrics.attacked();
            tracing::warn!(claim, failures = ALARM, "many failures to prove an app within a minute");
            record_attack(gateway, claim, source, problem.code()).await;
        }
        match self.admission {
            Some(Admission::OnlyIfGood { wait, .. }) => Problem::too_many_failures(wait),
            _ => problem,
        }
    }

    /// Who it is, or which app it claims to be and from where; nobody in particular if it names none. No app's id has a
    /// colon: what somebody only claims is not taken for what was proved.
    fn actor(&self, source: IpAddr) -> Option<String> {
        match (&self.proved, &self.claim) {
            (Some(app), _) => Some(app.clone()),
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

/// Whether this code says that a body did not come to its end.
pub(crate) fn is_unsent(code: &str) -> bool {
    matches!(code, "body_timeout" | "body_broken")
}

/// What counts as one source: an address, of IPv6 the network that one household or host has.
pub(crate) fn source(address: IpAddr) -> IpAddr {
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
        (0..times).map(|_| u32::from(throttle.failed(source, "app", true, at))).sum()
    }

    #[test]
    fn a_guesser_is_told_to_wait_and_the_app_is_judged_all_the_same() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        fail(&throttle, ONE, MOST_FAILURES - 1, now);
        assert_eq!(throttle.admission(ONE, "app", now), Admission::Judged);
        fail(&throttle, ONE, 1, now);
        let told = Admission::OnlyIfGood { wait: SPAN, known: false };
        assert_eq!(throttle.admission(ONE, "app", now), told);
        assert_eq!(throttle.admission(OTHER, "app", now), Admission::Judged, "at its own address");
        assert_eq!(throttle.admission(ONE, "another", now), Admission::Judged);
        assert_eq!(throttle.admission(ONE, "app", now + SPAN), Admission::Judged, "it ends");
    }

    #[test]
    fn a_source_that_claims_now_this_app_and_now_that_is_not_judged_for_ever() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        throttle.proved(ONE, "app", now);
        for number in 0..MOST_FAILURES_OF_SOURCE {
            assert_eq!(throttle.admission(ONE, &format!("app-{number}"), now), Admission::Judged);
            throttle.failed(ONE, &format!("app-{number}"), true, now);
        }
        assert_eq!(throttle.admission(ONE, "one-more", now), Admission::Refused(SPAN));
        assert_eq!(throttle.admission(ONE, "app", now), Admission::Judged, "who is known there");
        assert_eq!(throttle.admission(OTHER, "one-more", now), Admission::Judged, "elsewhere");
        assert_eq!(throttle.admission(ONE, "one-more", now + SPAN), Admission::Judged, "it ends");
    }

    #[test]
    fn a_source_that_never_ends_its_bodies_is_not_judged_for_ever() {
        let throttle = Throttle::new();
        (0..MOST_FAILURES_OF_SOURCE).for_each(|_| throttle.unsent(ONE));
        let now = Instant::now();
        assert!(matches!(throttle.admission(ONE, "any", now), Admission::Refused(_)));
        assert_eq!(throttle.admission(OTHER, "any", now), Admission::Judged, "elsewhere");
    }

    #[test]
    fn more_is_forgiven_where_the_app_is_known_and_no_number_of_failures_shuts_it_out_there() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        throttle.proved(ONE, "app", now);
        fail(&throttle, ONE, MOST_FAILURES_KNOWN - 1, now);
        assert_eq!(throttle.admission(ONE, "app", now), Admission::Judged);
        fail(&throttle, ONE, 2 * MOST_FAILURES_OF_SOURCE, now);
        let told = Admission::OnlyIfGood { wait: SPAN, known: true };
        assert_eq!(throttle.admission(ONE, "app", now), told);
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
            throttle.failed(ONE, &number.to_string(), true, now);
        }
        for number in 0..MOST_REMEMBERED + 10 {
            throttle.failed(
                std::net::Ipv4Addr::from(u32::try_from(number).unwrap()).into(),
                "app",
                true,
                now,
            );
        }
        assert_eq!(throttle.pairs.lock().unwrap().len(), MOST_REMEMBERED);
        assert_eq!(throttle.sources.lock().unwrap().len(), MOST_REMEMBERED);
    }

    #[test]
    fn an_ipv6_source_is_its_network() {
        let [one, other] = ["2001:db8::1", "2001:db8::2:3"].map(|text| source(text.parse().unwrap()));
        assert_eq!(one, other);
        assert_eq!(source("::ffff:192.0.2.1".parse().unwrap()), ONE);
    }
}
