//! Chance that can be repeated: the n-th draw of a stream follows from the seed alone, whichever thread makes it.

use std::time::Duration;

use serde::Deserialize;

const LONGEST_MS: f64 = 3_600_000.0;

/// A number in [0, 1): the n-th of a stream (SplitMix64).
pub(super) fn draw(seed: u64, stream: u64, n: u64) -> f64 {
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let start = mix(seed.wrapping_add(stream.wrapping_mul(STEP)));
    (mix(start.wrapping_add(n.wrapping_add(1).wrapping_mul(STEP))) >> 11) as f64 / (1_u64 << 53) as f64
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

/// How long an operation takes on top, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Latency {
    Fixed(f64),
    Drawn(Distribution),
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "distribution", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Distribution {
    Uniform { min: f64, max: f64 },
    Normal { mean: f64, deviation: f64 },
    Exponential { mean: f64 },
    Pareto { min: f64, shape: f64 },
}

impl Default for Latency {
    fn default() -> Self {
        Latency::Fixed(0.0)
    }
}

impl Latency {
    /// Refuses what is no duration.
    pub(super) fn check(self) -> Result<(), String> {
        use Distribution::*;
        let good = |ms: f64| (0.0..=LONGEST_MS).contains(&ms);
        let fits = match self {
            Latency::Fixed(ms) => good(ms),
            Latency::Drawn(Uniform { min, max }) => good(min) && good(max) && min <= max,
            Latency::Drawn(Normal { mean, deviation }) => good(mean) && good(deviation),
            Latency::Drawn(Exponential { mean }) => good(mean),
            Latency::Drawn(Pareto { min, shape }) => good(min) && shape.is_finite() && shape > 0.0,
        };
        if fits { Ok(()) } else { Err(format!("latency_ms must lie within 0 and {LONGEST_MS}")) }
    }

    /// Whether there is none.
    pub(super) fn is_none(self) -> bool {
        self == Latency::Fixed(0.0)
    }

    /// One operation's, from two draws.
    pub(super) fn sample(self, [u, v]: [f64; 2]) -> Duration {
        let ms = match self {
            Latency::Fixed(ms) => ms,
            Latency::Drawn(Distribution::Uniform { min, max }) => min + u * (max - min),
            Latency::Drawn(Distribution::Normal { mean, deviation }) => {
                // Box and Muller; 1 - u is never zero.
                mean + deviation * (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
            }
            Latency::Drawn(Distribution::Exponential { mean }) => -mean * (1.0 - u).ln(),
            Latency::Drawn(Distribution::Pareto { min, shape }) => min * (1.0 - u).powf(-1.0 / shape),
        };
        Duration::from_secs_f64(ms.clamp(0.0, LONGEST_MS) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(latency: Latency) -> Vec<f64> {
        (0..20_000)
            .map(|n| latency.sample([draw(7, 0, 2 * n), draw(7, 0, 2 * n + 1)]).as_secs_f64() * 1e3)
            .collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let row = |seed, stream| (0..8).map(|n| draw(seed, stream, n)).collect::<Vec<_>>();
        assert_eq!(row(1, 0), row(1, 0));
        assert_ne!(row(1, 0), row(2, 0));
        assert_ne!(row(1, 0), row(1, 1));
        assert!(row(3, 3).iter().all(|u| (0.0..1.0).contains(u)));
    }

    #[test]
    fn distributions_have_the_mean_and_the_bounds_they_promise() {
        let uniform = samples(Latency::Drawn(Distribution::Uniform { min: 2.0, max: 4.0 }));
        assert!(uniform.iter().all(|ms| (2.0..=4.0).contains(ms)) && (mean(&uniform) - 3.0).abs() < 0.05);
        let normal = samples(Latency::Drawn(Distribution::Normal { mean: 10.0, deviation: 2.0 }));
        let spread = mean(&normal.iter().map(|ms| (ms - 10.0).powi(2)).collect::<Vec<_>>()).sqrt();
        assert!((mean(&normal) - 10.0).abs() < 0.1 && (spread - 2.0).abs() < 0.1);
        let exponential = samples(Latency::Drawn(Distribution::Exponential { mean: 5.0 }));
        assert!((mean(&exponential) - 5.0).abs() < 0.2);
        let pareto = samples(Latency::Drawn(Distribution::Pareto { min: 1.0, shape: 3.0 }));
        assert!(pareto.iter().all(|ms| *ms >= 0.999) && (mean(&pareto) - 1.5).abs() < 0.1);
    }

    #[test]
    fn a_duration_that_is_none_is_refused() {
        for ms in [-1.0, f64::NAN, f64::INFINITY, 3_600_001.0] {
            assert!(Latency::Fixed(ms).check().is_err(), "{ms}");
        }
        let backwards = Latency::Drawn(Distribution::Uniform { min: 2.0, max: 1.0 });
        assert!(backwards.check().is_err());
        assert!(Latency::Drawn(Distribution::Pareto { min: 1.0, shape: 0.0 }).check().is_err());
    }
}
