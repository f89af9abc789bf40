//! What a device has been doing lately: latencies, errors and states over the last minute, hour and day. Pure:
//! times are arguments, summaries come out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::health::State;

/// Latencies beyond this count as this, microseconds.
const LONGEST: u64 = 120_000_000;

/// Codes that a slot and a summary tell apart.
const CODES: usize = 32;

/// Where further codes are counted.
const OTHER: &str = "other";

/// Changes of state that are remembered.
const CHANGES: usize = 64;

/// Figures of even stretches of time, the newest of them still growing.
#[derive(Debug)]
struct Slots<T> {
    /// Seconds.
    width: u64,
    keep: u64,
    /// By number, the oldest first; stretches in which nothing happened are absent.
    slots: VecDeque<(u64, T)>,
}

impl<T: Default> Slots<T> {
    fn new(width: u64, keep: u64) -> Self {
        Self { width, keep, slots: VecDeque::new() }
    }

    /// How many whole stretches fit into this time, which is also the number of the one that it ends in.
    fn number(&self, time: Duration) -> u64 {
        time.as_secs() / self.width
    }

    /// The figures that grow at this age. What comes late counts as now.
    fn current(&mut self, age: Duration) -> Option<&mut T> {
        let number = self.number(age);
        if self.slots.back().is_none_or(|(newest, _)| *newest < number) {
            let keep = self.keep;
            self.slots.retain(|(old, _)| number - old < keep);
            self.slots.push_back((number, T::default()));
        }
        self.slots.back_mut().map(|(_, figures)| figures)
    }

    /// The figures of the stretches that lie within the last while, the current one always among them, and the
    /// time they cover.
    fn last(&self, age: Duration, last: Duration) -> (Duration, impl Iterator<Item = &T>) {
        let newest = self.slots.back().map_or(0, |(newest, _)| *newest).max(self.number(age));
        let count = self.number(last).clamp(1, self.keep);
        let first = (newest + 1).saturating_sub(count);
        let start = Duration::from_secs(first * self.width);
        let figures = self.slots.iter().filter(move |(number, _)| *number >= first);
        (age.saturating_sub(start), figures.map(|(_, figures)| figures))
    }
}

/// The same figures for a minute in stretches of 10 s, an hour in 5 min and a day in 1 h: 42 slots at most.
#[derive(Debug)]
struct Spans<T> {
    origin: Instant,
    spans: [Slots<T>; 3],
}

impl<T: Default> Spans<T> {
    fn new(now: Instant) -> Self {
        Self { origin: now, spans: [Slots::new(10, 6), Slots::new(300, 12), Slots::new(3_600, 24)] }
    }

    fn each(&mut self, now: Instant, note: impl FnMut(&mut T)) {
        let age = now.saturating_duration_since(self.origin);
        self.spans.iter_mut().filter_map(|slots| slots.current(age)).for_each(note);
    }

    /// As [`Slots::last`], from the finest slots that reach so far back, else the coarsest.
    fn last(&self, now: Instant, last: Duration) -> (Duration, impl Iterator<Item = &T>) {
        let [minute, hour, day] = &self.spans;
        let reaches = |slots: &&&Slots<T>| Duration::from_secs(slots.width * slots.keep) >= last;
        let slots = [minute, hour].iter().find(reaches).map_or(day, |slots| *slots);
        slots.last(now.saturating_duration_since(self.origin), last)
    }
}

/// What was measured in a stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Answers.
    pub count: u64,
    /// Half of them took no longer, microseconds, at most a hundredth too much; 0 without answers, as all below.
    pub p50_us: u64,
    /// Nine of ten took no longer.
    pub p90_us: u64,
    /// Ninety-nine of a hundred took no longer.
    pub p99_us: u64,
    /// The longest, exactly.
    pub max_us: u64,
    /// Answers per second.
    pub rate: f64,
}

/// The latencies of one slot.
#[derive(Debug)]
struct Latencies {
    histogram: Histogram<u32>,
    max: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        // Grows as values need it: a device that answers within 10 ms takes a third of what 120 s take.
        let histogram = Histogram::new(2).expect("2 lies within the 0 to 5 digits a histogram takes");
        Self { histogram, max: 0 }
    }
}

/// Latencies of the last minute, hour and day to two digits, 1 µs to 120 s. Takes memory as it is used: 10.5 KiB
/// for a slot at most, 42 slots, so 450 KiB at most for a device, and about 150 KiB for one that answers within
/// 10 ms.
#[derive(Debug)]
pub(crate) struct Window {
    spans: Spans<Latencies>,
}

impl Window {
    /// A window in which nothing was measured yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { spans: Spans::new(now) }
    }

    /// Takes in what one request took.
    pub(crate) fn record(&mut self, now: Instant, micros: u64) {
        let micros = micros.clamp(1, LONGEST);
        self.spans.each(now, |slot| {
            // Fails only beyond what the histogram can grow to, and it was clamped.
            let _ = slot.histogram.record(micros);
            slot.max = slot.max.max(micros);
        });
    }

    /// What was measured in the last minute, hour or day (or another while, by whole slots). Costs some ten
    /// thousand additions: for people, not for each request.
    pub(crate) fn summary(&self, now: Instant, last: Duration) -> Summary {
        let (covered, slots) = self.spans.last(now, last);
        let mut all = Latencies::default();
        for slot in slots {
            // Fails only for a histogram that cannot grow.
            let _ = all.histogram.add(&slot.histogram);
            all.max = all.max.max(slot.max);
        }
        let at = |quantile| all.histogram.value_at_quantile(quantile).min(all.max);
        let count = all.histogram.len();
        Summary {
            count,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            max_us: all.max,
            rate: count as f64 / covered.as_secs_f64().max(1.0),
        }
    }
}

/// How often a code was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CodeCount {
    /// The code, or `other` for all that found no place.
    pub code: String,
    /// How often.
    pub count: u64,
}

/// Errors by code over the last minute, hour and day. A slot keeps 32 codes, further ones count as `other`:
/// with codes of 64 octets 42 slots take some 200 KiB at most, and nothing while nothing fails.
#[derive(Debug)]
pub(crate) struct Tally {
    spans: Spans<BTreeMap<Box<str>, u64>>,
}

impl Tally {
    /// A tally of nothing.
    pub(crate) fn new(now: Instant) -> Self {
        Self { spans: Spans::new(now) }
    }

    /// Counts an error. The code is one of a fixed set or a return value, never text from outside.
    pub(crate) fn note(&mut self, now: Instant, code: &str) {
        self.spans.each(now, |codes| {
            if let Some(count) = codes.get_mut(code) {
                *count += 1;
            } else {
                let known = codes.len() - usize::from(codes.contains_key(OTHER));
                let code = if known < CODES { code } else { OTHER };
                *codes.entry(code.into()).or_default() += 1;
            }
        });
    }

    /// The errors of the last minute, hour or day (or another while, by whole slots), the most frequent first,
    /// `other` last.
    pub(crate) fn summary(&self, now: Instant, last: Duration) -> Vec<CodeCount> {
        let mut all: BTreeMap<&str, u64> = BTreeMap::new();
        for codes in self.spans.last(now, last).1 {
            codes.iter().for_each(|(code, count)| *all.entry(code).or_default() += count);
        }
        let mut other = all.remove(OTHER).unwrap_or_default();
        let mut all: Vec<CodeCount> =
            all.into_iter().map(|(code, count)| CodeCount { code: code.to_owned(), count }).collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.code.cmp(&b.code)));
        other += all.drain(all.len().min(CODES)..).map(|rare| rare.count).sum::<u64>();
        if other > 0 {
            all.push(CodeCount { code: OTHER.to_owned(), count: other });
        }
        all
    }
}

/// A change of a device's state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateChange {
    /// What it was.
    pub from: State,
    /// What it became.
    pub to: State,
    /// How long ago, seconds.
    pub seconds_ago: f64,
}

/// How long a device was in a state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateTime {
    /// The state.
    pub state: State,
    /// Seconds since the start, all stays together.
    pub seconds: f64,
}

/// A device's states since the start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StateHistory {
    /// What it is.
    pub state: State,
    /// For how long now, seconds.
    pub seconds: f64,
    /// The states it has been in, in the order of its first stay.
    pub times: Vec<StateTime>,
    /// Changes since the start.
    pub changed: u64,
    /// The last 64 changes, the newest first.
    pub changes: Vec<StateChange>,
}

/// Remembers a device's changes of state.
#[derive(Debug)]
pub(crate) struct StateLog {
    state: State,
    since: Instant,
    /// The stays that have ended; the current state is in it once it has.
    times: Vec<(State, Duration)>,
    changed: u64,
    changes: VecDeque<(Instant, State, State)>,
}

impl StateLog {
    /// A log that begins with this state.
    pub(crate) fn new(now: Instant, state: State) -> Self {
        Self { state, since: now, times: Vec::new(), changed: 0, changes: VecDeque::new() }
    }

    /// Notes the state a device is in now; the same state is no change.
    pub(crate) fn note(&mut self, now: Instant, state: State) {
        if state == self.state {
            return;
        }
        // Time does not run backwards, but two threads may come in the wrong order.
        let now = now.max(self.since);
        self.times = self.times_at(now);
        if self.changes.len() >= CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back((now, self.state, state));
        self.changed += 1;
        (self.state, self.since) = (state, now);
    }

    fn times_at(&self, now: Instant) -> Vec<(State, Duration)> {
        let mut times = self.times.clone();
        let stay = now.saturating_duration_since(self.since);
        match times.iter_mut().find(|(state, _)| *state == self.state) {
            Some((_, time)) => *time += stay,
            None => times.push((self.state, stay)),
        }
        times
    }

    /// Everything that is remembered.
    pub(crate) fn summary(&self, now: Instant) -> StateHistory {
        let ago = |at: Instant| now.saturating_duration_since(at).as_secs_f64();
        let time = |(state, time): (State, Duration)| StateTime { state, seconds: time.as_secs_f64() };
        let change =
            |&(at, from, to): &(Instant, State, State)| StateChange { from, to, seconds_ago: ago(at) };
        StateHistory {
            state: self.state,
            seconds: ago(self.since),
            times: self.times_at(now).into_iter().map(time).collect(),
            changed: self.changed,
            changes: self.changes.iter().rev().map(change).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
