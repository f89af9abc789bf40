//! Latencies in buckets 1.6 % wide: constant memory, constant time per entry, whatever the range.

use std::time::Duration;

/// 64 buckets between a power of two and the next.
const BITS: u32 = 6;
const PER_OCTAVE: usize = 1 << BITS;
const BUCKETS: usize = (64 - BITS as usize + 1) * PER_OCTAVE;

/// Counted latencies.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
        self.max = self.max.max(nanoseconds);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The latency that this share of all entries did not exceed, in milliseconds; 0 without entries.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = ((share * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return milliseconds(upper_end(bucket).min(self.max));
            }
        }
        0.0
    }

    /// The longest, in milliseconds, exactly.
    pub(crate) fn max(&self) -> f64 {
        milliseconds(self.max)
    }
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds < PER_OCTAVE as u64 {
        return nanoseconds as usize;
    }
    let shift = nanoseconds.ilog2() - BITS;
    ((shift as usize + 1) << BITS) + (nanoseconds >> shift) as usize - PER_OCTAVE
}

fn upper_end(bucket: usize) -> u64 {
    if bucket < PER_OCTAVE {
        return bucket as u64;
    }
    let shift = (bucket >> BITS) as u32 - 1;
    let next = (bucket % PER_OCTAVE + PER_OCTAVE + 1) as u128;
    u64::try_from((next << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_at_most_two_hundredths_wide() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1 << shift) | (1 << (shift / 2)), u64::MAX >> shift] {
                let end = upper_end(bucket(value));
                assert!(end >= value && end as f64 <= value as f64 * 1.02 + 1.0, "{value} → {end}");
            }
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_of_one_to_a_thousand_milliseconds_are_what_they_should_be() {
        let mut histogram = Histogram::new();
        for n in 1..=1000 {
            histogram.record(Duration::from_millis(n));
        }
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.quantile(share);
            assert!((expected..=expected * 1.02).contains(&found), "{share}: {found}");
        }
        assert_eq!(histogram.max(), 1000.0);
        assert_eq!(histogram.total(), 1000);
    }
}
