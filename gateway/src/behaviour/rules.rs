//! What is unusual in what callers do: rules over what was seen of them, without a clock of their own. What they remember
//! is bounded, and what falls out of it is learnt anew.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;

use config::{AlarmRule, Alarms};
use lru::LruCache;
use serde::{Deserialize, Serialize};

/// Callers that are remembered.
pub(super) const MOST_CALLERS: usize = 20_000;
/// Addresses of strangers that are remembered.
const MOST_STRANGERS: usize = 4096;
/// Networks of a caller that are remembered, those seen last.
const MOST_NETWORKS: usize = 32;
/// Places of a caller's credentials that are remembered, those seen last.
const MOST_PLACES: usize = 32;
/// Within so many seconds a credential that goes to another place and comes back is in two places at once.
const AT_ONCE: i64 = 60;
/// Two networks that a caller has had for so many seconds are both its own.
const HABITUAL: i64 = DAY;
/// An hour of the day at which a caller has not come for so many days is unusual again.
const FORGOTTEN: i64 = 90;
/// Minutes over which what is usual is averaged.
const MINUTES: f64 = 64.0;
const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A network as an address belongs to it: of IPv4 /24, of IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network(IpAddr);

impl Network {
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Ipv4Addr::new(a, b, c, 0).into()
            }
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into()
            }
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0, if self.0.is_ipv4() { 24 } else { 48 })
    }
}

/// What was seen of a request.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// When, in Unix seconds.
    pub(crate) at: i64,
    /// Who asked, as the record names it.
    pub(crate) actor: String,
    /// Whether that was proved.
    pub(crate) proved: bool,
    /// Where from; nothing at the admin socket.
    pub(crate) network: Option<Network>,
    /// By which credential, where it has several.
    pub(crate) credential: Option<String>,
    pub(crate) refused: bool,
    /// A license's face was read.
    pub(crate) face: bool,
    /// The face was asked for of a license that there is not.
    pub(crate) missed: bool,
}

/// Something that people should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alarm {
    pub(crate) rule: AlarmRule,
    pub(crate) actor: String,
    pub(crate) detail: String,
}

/// What a caller usually does; this is what is kept over restarts and shared between gateways.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Habits {
    /// When the caller was seen first, Unix seconds.
    since: i64,
    networks: Vec<KnownNetwork>,
    /// By hour of the day, UTC.
    hours: [Hour; 24],
    /// Requests in a minute in which there are any.
    usual: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KnownNetwork {
    network: Network,
    first: i64,
    last: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Hour {
    /// Days on which the caller came at this hour.
    days: u32,
    /// The last of them, in days since 1970.
    last: i64,
}

impl Habits {
    fn new(at: i64) -> Self {
        Self { since: at, ..Self::default() }
    }

    /// Takes in what another gateway, or an earlier run, knows of the same caller.
    pub(super) fn merge(&mut self, other: &Self) {
        self.since = self.since.min(other.since);
        // What it sees itself goes on; the greater of both would never fall again.
        if self.usual == 0.0 {
            self.usual = other.usual;
        }
        for (mine, theirs) in self.hours.iter_mut().zip(&other.hours) {
            *mine = Hour { days: mine.days.max(theirs.days), last: mine.last.max(theirs.last) };
        }
        for theirs in &other.networks {
            match self.networks.iter_mut().find(|mine| mine.network == theirs.network) {
                Some(mine) => {
                    (mine.first, mine.last) = (mine.first.min(theirs.first), mine.last.max(theirs.last));
                }
                None => self.networks.push(theirs.clone()),
            }
        }
        self.bound();
    }

    fn bound(&mut self) {
        if self.networks.len() > MOST_NETWORKS {
            self.networks.sort_by_key(|known| std::cmp::Reverse(known.last));
            self.networks.truncate(MOST_NETWORKS);
        }
    }

    fn is_habitual(&self, network: Network, at: i64) -> bool {
        self.networks.iter().any(|known| known.network == network && at - known.first >= HABITUAL)
    }

    /// Learns that the caller is in a network; whether it had been there.
    fn be_in(&mut self, network: Network, at: i64) -> bool {
        if let Some(known) = self.networks.iter_mut().find(|known| known.network == network) {
            known.last = known.last.max(at);
            return true;
        }
        self.networks.push(KnownNetwork { network, first: at, last: at });
        self.bound();
        false
    }

    /// Learns that the caller comes now; whether it had come at this hour of the day, and at any.
    fn come(&mut self, at: i64) -> (bool, bool) {
        let day = at.div_euclid(DAY);
        let any = self.hours.iter().any(|hour| hour.days > 0);
        let hour = usize::try_from(at.rem_euclid(DAY) / HOUR).unwrap_or(0);
        let Some(hour) = self.hours.get_mut(hour) else { return (true, any) };
        let before = hour.days > 0 && day - hour.last <= FORGOTTEN;
        if hour.last != day || hour.days == 0 {
            *hour = Hour { days: hour.days.saturating_add(1), last: day };
        }
        (before, any)
    }
}

/// A count within a span that begins anew when it is over.
#[derive(Debug, Clone, Copy, Default)]
struct Within {
    span: i64,
    count: u32,
}

impl Within {
    /// Counts one more; the number in its span now, and that of the span that has ended with it.
    fn add(&mut self, at: i64, length: i64) -> (u32, Option<u32>) {
        let span = at.div_euclid(length);
        let ended = (span > self.span && self.count > 0).then_some(self.count);
        // A clock that was set back by more than a span does not count into the old one until it has caught up.
        if span > self.span || span + 1 < self.span {
            *self = Self { span, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        (self.count, ended)
    }

    /// Counts one more if there is one; the number in its span now.
    fn add_if(&mut self, one: bool, at: i64, length: i64) -> u32 {
        if one {
            return self.add(at, length).0;
        }
        if self.span == at.div_euclid(length) { self.count } else { 0 }
    }
}

#[derive(Debug, Clone)]
struct Place {
    credential: String,
    network: Network,
    at: i64,
}

/// A caller, as far as this gateway has seen it.
#[derive(Debug, Clone, Default)]
struct Caller {
    habits: Habits,
    /// There is something to be kept that is not kept yet.
    changed: bool,
    requests: Within,
    refusals: Within,
    faces: Within,
    /// Of the faces, those of no license.
    misses: Within,
    places: Vec<Place>,
    /// By rule: until when it keeps quiet.
    quiet: [i64; AlarmRule::ALL.len()],
}

impl Caller {
    fn saw(&mut self, limits: &Alarms, seen: &Seen) -> Vec<Alarm> {
        let mut found = Vec::new();
        let learnt = seen.at - self.habits.since >= seconds(limits.learn);
        let (requests, ended) = self.requests.add(seen.at, MINUTE);
        if let Some(ended) = ended {
            // As much as counts for one minute: a burst does not make itself usual.
            let most =
                (self.habits.usual * f64::from(limits.burst_factor)).max(f64::from(limits.burst_at_least));
            self.habits.usual += (f64::from(ended).min(most) - self.habits.usual) / MINUTES;
            self.changed = true;
        }
        let usual = self.habits.usual.max(1.0);
        let burst = (usual * f64::from(limits.burst_factor)).max(f64::from(limits.burst_at_least));
        if learnt && f64::from(requests) > burst {
            found.push((AlarmRule::Burst, format!("{requests} requests in a minute, usually {usual:.0}")));
        }
        let (before, any) = self.habits.come(seen.at);
        if learnt && any && !before {
            let hour = seen.at.rem_euclid(DAY) / HOUR;
            found.push((AlarmRule::UnusualHour, format!("never before between {hour}:00 and {hour}:59 UTC")));
        }
        self.changed |= !before;
        if let Some(network) = seen.network {
            found.extend(self.is_somewhere(network, seen, learnt));
        }
        if seen.face || seen.missed {
            let (faces, _) = self.faces.add(seen.at, HOUR);
            let misses = self.misses.add_if(seen.missed, seen.at, HOUR);
            // Who asks for codes at random has few answers, and reads in bulk all the same.
            if faces > limits.bulk_reads {
                let missed = if misses > 0 { format!(", and {misses} of no license") } else { String::new() };
                let detail =
                    format!("{} license faces read within an hour{missed}", faces - misses.min(faces));
                found.push((AlarmRule::BulkRead, detail));
            }
        }
        found.extend(self.refused(limits, seen));
        self.outspoken(limits, seen, found)
    }

    fn refused(&mut self, limits: &Alarms, seen: &Seen) -> Option<(AlarmRule, String)> {
        let (refusals, _) = seen.refused.then(|| self.refusals.add(seen.at, MINUTE))?;
        (refusals > limits.refusals)
            .then(|| (AlarmRule::Refusals, format!("{refusals} refusals within a minute")))
    }

    fn is_somewhere(&mut self, network: Network, seen: &Seen, learnt: bool) -> Vec<(AlarmRule, String)> {
        let mut found = Vec::new();
        let first = self.habits.networks.is_empty();
        let known = self.habits.be_in(network, seen.at);
        self.changed |= !known;
        if learnt && !known && !first {
            found.push((AlarmRule::NewNetwork, format!("from {network}, where it never was")));
        }
        let credential = seen.credential.as_deref().unwrap_or_default();
        let here = |place: &&Place| place.credential == credential && place.network == network;
        let before = self.places.iter().find(here).map(|place| place.at);
        let elsewhere = self.places.iter().filter(|place| {
            place.credential == credential && place.network != network && seen.at - place.at <= AT_ONCE
        });
        if let (Some(before), Some(other)) = (before, elsewhere.max_by_key(|place| place.at))
            && seen.at - before <= AT_ONCE
            && before <= other.at
            && !(self.habits.is_habitual(network, seen.at) && self.habits.is_habitual(other.network, seen.at))
        {
            let detail = format!("{credential} in {network} and {} at once", other.network);
            found.push((AlarmRule::TwoPlaces, detail.trim_start().to_owned()));
        }
        self.places.retain(|place| !here(&place));
        self.places.push(Place { credential: credential.to_owned(), network, at: seen.at });
        if self.places.len() > MOST_PLACES {
            self.places.remove(0);
        }
        found
    }

    /// Alarms of rules that are looked at and were not raised about this caller lately.
    fn outspoken(&mut self, limits: &Alarms, seen: &Seen, found: Vec<(AlarmRule, String)>) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for (rule, detail) in found {
            let quiet = &mut self.quiet[rule as usize];
            // Of a time before the clock was set back.
            *quiet = (*quiet).min(seen.at + seconds(limits.hold));
            if limits.watches(rule) && seen.at >= *quiet {
                *quiet = seen.at + seconds(limits.hold);
                alarms.push(Alarm { rule, actor: seen.actor.clone(), detail });
            }
        }
        alarms
    }
}

fn seconds(length: std::time::Duration) -> i64 {
    i64::try_from(length.as_secs()).unwrap_or(i64::MAX)
}

/// All callers.
pub(super) struct Watcher {
    callers: LruCache<String, Caller>,
    strangers: LruCache<String, Caller>,
}

impl Watcher {
    pub(super) fn new() -> Self {
        let cache = |most| LruCache::new(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN));
        Self { callers: cache(MOST_CALLERS), strangers: cache(MOST_STRANGERS) }
    }

    /// Takes a request in, and answers what is unusual about it.
    pub(super) fn saw(&mut self, limits: &Alarms, seen: &Seen) -> Vec<Alarm> {
        if !seen.proved {
            // Of strangers only this can be told.
            let stranger = self.strangers.get_or_insert_mut(seen.actor.clone(), Caller::default);
            let found = stranger.refused(limits, seen).into_iter().collect();
            return stranger.outspoken(limits, seen, found);
        }
        let new = || Caller { habits: Habits::new(seen.at), changed: true, ..Caller::default() };
        self.callers.get_or_insert_mut(seen.actor.clone(), new).saw(limits, seen)
    }

    /// Takes in what is known of a caller from elsewhere.
    pub(super) fn learn(&mut self, actor: &str, habits: &Habits) {
        let new = || Caller { habits: habits.clone(), ..Caller::default() };
        self.callers.get_or_insert_mut(actor.to_owned(), new).habits.merge(habits);
    }

    /// What is to be kept since the last call, at most so many callers.
    pub(super) fn changed(&mut self, most: usize) -> Vec<(String, Habits)> {
        let changed = self.callers.iter_mut().filter(|(_, caller)| caller.changed).take(most);
        changed
            .map(|(actor, caller)| {
                caller.changed = false;
                (actor.clone(), caller.habits.clone())
            })
            .collect()
    }

    /// Has them kept the next time: they could not be now.
    pub(super) fn put_back(&mut self, actors: impl Iterator<Item = String>) {
        for actor in actors {
            if let Some(caller) = self.callers.peek_mut(&actor) {
                caller.changed = true;
            }
        }
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
