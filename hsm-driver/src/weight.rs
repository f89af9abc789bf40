//! How much work a device gets beside its equals: little when it has just returned, and none while it is much
//! slower than the others. Pure: times and figures in, a share or a verdict out.

use std::collections::BTreeMap;
use std::time::Duration;

/// The share of its usual work a device gets at the moment it returns.
const FIRST_SHARE: f64 = 0.05;

/// The share of its usual work for a device that has been ready for `since_ready`: 0.05 at first, 1 after
/// `ramp`, growing with the square of the time. Always 1 if `ramp` is zero.
pub(crate) fn ramp(since_ready: Duration, ramp: Duration) -> f64 {
    if since_ready >= ramp {
        return 1.0;
    }
    let way = since_ready.as_secs_f64() / ramp.as_secs_f64();
    FIRST_SHARE + (1.0 - FIRST_SHARE) * way * way
}

/// When a device counts as slow beside its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    /// Nothing faster than this is slow.
    pub(crate) floor: Duration,
    /// Slow is more than this many times the median of the others; less than 1 counts as 1.
    pub(crate) factor: f64,
    /// Rounds in a row that eject a device, and that bring it back; 0 counts as 1.
    pub(crate) rounds: u32,
    /// Answers below which a latency says nothing.
    pub(crate) samples: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { floor: Duration::from_millis(20), factor: 5.0, rounds: 5, samples: 20 }
    }
}

/// What is known of one device of a group in this round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Index in the fleet.
    pub(crate) device: usize,
    /// Smoothed time of one request; of probes while it is ejected. A figure that fades while the device is
    /// idle would bring it back unmended.
    pub(crate) latency: Duration,
    /// Good answers so far, probes included.
    pub(crate) samples: u64,
    /// Whether health lets it take work. A device out of service is forgotten: it returns by proof and ramp.
    pub(crate) in_service: bool,
}

/// One device's way out and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outlier {
    /// Takes work; was slow for so many rounds in a row.
    In { rounds: u32 },
    /// Takes none; was fast for so many rounds in a row, the last of which had so many samples behind it.
    Out { rounds: u32, samples: u64 },
}

/// What a round changed for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is much slower than the others and takes no more work while others can.
    Ejected(usize),
    /// It takes work again: it has mended, is out of service, or too many would be out.
    Returned(usize),
}

/// Watches the latencies of one group. At most a third of the devices in service are ejected at a time, so that
/// two keep serving where two can. An ejected device should be asked last rather than never: until the next
/// round it may be the only one left.
#[derive(Debug)]
pub(crate) struct Ejector {
    rules: Rules,
    devices: BTreeMap<usize, Outlier>,
}

impl Ejector {
    /// A group of which nothing is known yet.
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, devices: BTreeMap::new() }
    }

    /// Whether the device takes no work while others can.
    pub(crate) fn is_ejected(&self, device: usize) -> bool {
        matches!(self.devices.get(&device), Some(Outlier::Out { .. }))
    }

    /// Judges the group anew; to be called at even intervals with all its devices.
    pub(crate) fn round(&mut self, group: &[Seen]) -> Vec<Change> {
        let mut changes = Vec::new();
        let serves = |device| group.iter().any(|seen| seen.device == device && seen.in_service);
        self.devices.retain(|device, outlier| {
            let kept = serves(*device);
            if !kept && matches!(outlier, Outlier::Out { .. }) {
                changes.push(Change::Returned(*device));
            }
            kept
        });
        let mut serving: Vec<&Seen> = group.iter().filter(|seen| seen.in_service).collect();
        serving.sort_by_key(|seen| (seen.latency, seen.device));
        // All are judged by the same picture, before anybody's place changes.
        let judged: Vec<_> = serving.iter().map(|seen| (**seen, self.slow_from(seen, &serving))).collect();
        for (seen, slow_from) in &judged {
            let outlier = self.devices.entry(seen.device).or_insert(Outlier::In { rounds: 0 });
            *outlier = outlier.after(seen, *slow_from, self.rules);
            if matches!(outlier, Outlier::Out { rounds, .. } if *rounds >= self.rules.rounds.max(1)) {
                *outlier = Outlier::In { rounds: 0 };
                changes.push(Change::Returned(seen.device));
            }
        }
        self.keep_within(serving.len() / 3, &judged, &mut changes);
        changes
    }

    /// The latency above which a device is slow: of the others that take work and have said enough, the upper
    /// median decides. `None` with fewer than two such.
    fn slow_from(&self, judged: &Seen, serving: &[&Seen]) -> Option<Duration> {
        let speaks = |seen: &&&Seen| {
            seen.device != judged.device
                && seen.samples >= self.rules.samples
                && !self.is_ejected(seen.device)
        };
        let others: Vec<Duration> = serving.iter().filter(speaks).map(|seen| seen.latency).collect();
        let median = others.get(others.len() / 2).filter(|_| others.len() >= 2)?;
        let nanos = (median.as_nanos() as f64 * self.rules.factor.max(1.0)) as u64;
        Some(self.rules.floor.max(Duration::from_nanos(nanos)))
    }

    /// Returns the fastest while more than `most` are out, else ejects the slowest that are due.
    fn keep_within(&mut self, most: usize, judged: &[(Seen, Option<Duration>)], changes: &mut Vec<Change>) {
        let mut out = self.devices.values().filter(|outlier| matches!(outlier, Outlier::Out { .. })).count();
        for (seen, _) in judged {
            if out > most && self.is_ejected(seen.device) {
                self.devices.insert(seen.device, Outlier::In { rounds: 0 });
                changes.push(Change::Returned(seen.device));
                out -= 1;
            }
        }
        for (seen, _) in judged.iter().rev() {
            let due = matches!(self.devices.get(&seen.device),
                Some(Outlier::In { rounds }) if *rounds >= self.rules.rounds.max(1));
            if due && out < most {
                self.devices.insert(seen.device, Outlier::Out { rounds: 0, samples: seen.samples });
                changes.push(Change::Ejected(seen.device));
                out += 1;
            }
        }
    }
}

impl Outlier {
    /// The state after a round. A round that says nothing of the device ends a run of slow ones, and leaves an
    /// ejected device where it is: only answers since show that it has mended.
    fn after(self, seen: &Seen, slow_from: Option<Duration>, rules: Rules) -> Self {
        match self {
            Self::In { rounds } => {
                let slow = slow_from.is_some_and(|slow| seen.latency > slow) && seen.samples >= rules.samples;
                Self::In { rounds: if slow { rounds.saturating_add(1) } else { 0 } }
            }
            Self::Out { samples, .. } if seen.samples <= samples => self,
            Self::Out { rounds, .. } => {
                let fast = slow_from.is_some_and(|slow| seen.latency <= slow / 2);
                Self::Out { rounds: if fast { rounds.saturating_add(1) } else { 0 }, samples: seen.samples }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { floor: Duration::from_millis(2), factor: 4.0, rounds: 3, samples: 10 };

    fn seen(device: usize, millis: u64, samples: u64) -> Seen {
        Seen { device, latency: Duration::from_millis(millis), samples, in_service: true }
    }

    fn group(latencies: &[u64], samples: u64) -> Vec<Seen> {
        latencies.iter().enumerate().map(|(device, millis)| seen(device, *millis, samples)).collect()
    }

    /// What each of `rounds` rounds with these latencies and ever more samples changes.
    fn rounds(ejector: &mut Ejector, latencies: &[u64], rounds: std::ops::Range<u64>) -> Vec<Vec<Change>> {
        rounds.map(|round| ejector.round(&group(latencies, 100 + round))).collect()
    }

    fn ejected(ejector: &Ejector, group: &[Seen]) -> usize {
        group.iter().filter(|seen| ejector.is_ejected(seen.device)).count()
    }

    #[test]
    fn a_slow_device_goes_after_three_rounds_and_returns_after_three_fast_ones() {
        let mut ejector = Ejector::new(RULES);
        let slow = [1, 1, 50, 1, 1, 1, 1];
        assert_eq!(rounds(&mut ejector, &slow, 0..4), [vec![], vec![], vec![Change::Ejected(2)], vec![]]);
        assert!(ejector.is_ejected(2) && !ejector.is_ejected(1));
        // Faster than the limit of 4 ms is not enough; half of it is.
        assert_eq!(rounds(&mut ejector, &[1, 1, 3, 1, 1, 1, 1], 4..9), vec![vec![]; 5]);
        let mended = [1, 1, 2, 1, 1, 1, 1];
        assert_eq!(rounds(&mut ejector, &mended, 9..11), [[], []]);
        assert_eq!(rounds(&mut ejector, &slow, 11..12), [[]], "a slow round begins it anew");
        assert_eq!(rounds(&mut ejector, &mended, 12..15), [vec![], vec![], vec![Change::Returned(2)]]);
        assert!(!ejector.is_ejected(2));
    }

    #[test]
    fn slow_rounds_count_only_in_a_row_and_with_answers_behind_them() {
        let mut ejector = Ejector::new(RULES);
        for _ in 0..5 {
            assert_eq!(rounds(&mut ejector, &[1, 1, 50], 0..2), [[], []]);
            assert_eq!(rounds(&mut ejector, &[1, 1, 4], 2..3), [[]]);
        }
        let mut few = group(&[1, 1, 50], 100);
        few[2].samples = 9;
        (0..5).for_each(|_| assert_eq!(ejector.round(&few), []));
        let few = group(&[1, 1, 50], 9);
        (0..5).for_each(|_| assert_eq!(ejector.round(&few), []));
    }

    #[test]
    fn an_ejected_device_does_not_return_on_a_figure_nobody_renewed() {
        let mut ejector = Ejector::new(RULES);
        rounds(&mut ejector, &[1, 1, 50, 1], 0..3);
        assert!(ejector.is_ejected(2));
        let mut faded = group(&[1, 1, 1, 1], 200);
        faded[2].samples = 102;
        (0..50).for_each(|_| assert_eq!(ejector.round(&faded), []));
    }

    #[test]
    fn the_slowest_goes_first_and_the_next_when_there_is_room() {
        let mut ejector = Ejector::new(RULES);
        let two_slow = [1, 30, 50, 1, 1];
        assert_eq!(rounds(&mut ejector, &two_slow, 0..3)[2], [Change::Ejected(2)]);
        assert_eq!(rounds(&mut ejector, &two_slow, 3..9), vec![vec![]; 6]);
        let mended = [1, 30, 1, 1, 1];
        let changes = rounds(&mut ejector, &mended, 9..12);
        assert_eq!(changes[2], [Change::Returned(2), Change::Ejected(1)]);
    }

    #[test]
    fn when_others_leave_service_the_fastest_of_the_ejected_are_let_back_in() {
        let mut ejector = Ejector::new(RULES);
        let mut six = group(&[1, 1, 1, 1, 40, 50], 100);
        (0..3).for_each(|_| drop(ejector.round(&six)));
        assert_eq!(ejected(&ejector, &six), 2);
        six[0].in_service = false;
        assert_eq!(ejector.round(&six), [Change::Returned(4)]);
        six[1].in_service = false;
        six[2].in_service = false;
        six[5].in_service = false;
        assert_eq!(ejector.round(&six), [Change::Returned(5)]);
        assert_eq!(ejected(&ejector, &six), 0);
    }

    #[test]
    fn a_device_that_has_just_returned_gets_little() {
        let whole = Duration::from_secs(30);
        assert_eq!(ramp(Duration::ZERO, whole), 0.05);
        assert!((ramp(whole / 2, whole) - 0.2875).abs() < 1e-9);
        assert_eq!(ramp(whole, whole), 1.0);
        assert_eq!(ramp(Duration::ZERO, Duration::ZERO), 1.0);
    }

    fn any_seen() -> impl Strategy<Value = (u64, u64, bool)> {
        (0u64..100, 0u64..40, prop::bool::weighted(0.9))
    }

    proptest! {
        #[test]
        fn the_ramp_only_rises_and_stays_within_its_bounds(a in 0u64..100_000, b in 0u64..100_000, whole in 0u64..60_000) {
            let [a, b, whole] = [a.min(b), a.max(b), whole].map(Duration::from_millis);
            let (early, late) = (ramp(a, whole), ramp(b, whole));
            prop_assert!((0.05..=1.0).contains(&early) && early <= late && late <= 1.0);
        }

        #[test]
        fn never_more_than_a_third_are_out_and_two_keep_serving(
            rounds in vec(vec(any_seen(), 9), 0..40),
            size in 0usize..=9,
            length in 0u32..4,
        ) {
            let mut ejector = Ejector::new(Rules { rounds: length, ..RULES });
            let mut answers = [0; 9];
            for round in rounds {
                let group: Vec<Seen> = round[..size].iter().enumerate().map(|(device, (millis, more, in_service))| {
                    answers[device] += more;
                    Seen { in_service: *in_service, ..seen(device, *millis, answers[device]) }
                }).collect();
                let before: Vec<bool> = (0..9).map(|device| ejector.is_ejected(device)).collect();
                let changes = ejector.round(&group);
                let serving = group.iter().filter(|seen| seen.in_service).count();
                let out = ejected(&ejector, &group);
                prop_assert!(out <= serving / 3, "{out} of {serving}");
                prop_assert!(serving - out >= serving.min(2));
                prop_assert!(group.iter().all(|seen| seen.in_service || !ejector.is_ejected(seen.device)));
                // What is said to have changed is what changed.
                for (device, before) in before.into_iter().enumerate() {
                    let said = changes.iter().rfind(|change|
                        matches!(change, Change::Ejected(d) | Change::Returned(d) if *d == device));
                    let after = said.map_or(before, |change| matches!(change, Change::Ejected(_)));
                    prop_assert_eq!(after, ejector.is_ejected(device));
                }
            }
        }

        #[test]
        fn equals_and_pairs_are_let_be(size in 0usize..=9, millis in vec(0u64..10_000, 2), length in 0u64..20) {
            let mut ejector = Ejector::new(Rules { factor: 0.0, floor: Duration::ZERO, ..RULES });
            let uniform = vec![millis[0]; size];
            prop_assert!(rounds(&mut ejector, &uniform, 0..length).concat().is_empty());
            let mut ejector = Ejector::new(RULES);
            prop_assert!(rounds(&mut ejector, &millis, 0..length).concat().is_empty());
        }

        #[test]
        fn a_slower_device_is_no_better_off(
            mut latencies in vec(0u64..60, 3..9),
            slower in 1u64..100,
        ) {
            let out = |latencies: &[u64]| {
                let mut ejector = Ejector::new(RULES);
                rounds(&mut ejector, latencies, 0..3);
                ejector.is_ejected(0)
            };
            let before = out(&latencies);
            latencies[0] += slower;
            prop_assert!(out(&latencies) || !before);
        }
    }
}
