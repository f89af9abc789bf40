//! Which device gets a request: pure, so that it can be tested without one.

use std::time::Duration;

/// What routing knows of a device that could serve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Index in the fleet.
    pub(crate) device: usize,
    /// Requests in flight and waiting.
    pub(crate) load: usize,
    /// Smoothed time of one request.
    pub(crate) latency: Duration,
    /// What the device works on at once.
    pub(crate) lanes: usize,
    /// How much of its usual work it shall get, above 0 up to 1: less after its return and while it is slow.
    pub(crate) share: f64,
}

impl Candidate {
    /// How long a request given to it now is expected to take, in nanoseconds; dearer the less it shall get. The
    /// root is there because odds go by the square.
    fn cost(&self) -> f64 {
        let waiting = self.load as f64 / self.lanes.max(1) as f64;
        (1.0 + waiting) * (self.latency.as_nanos().max(1) as f64) / self.share.sqrt().max(1e-3)
    }
}

/// One of two candidates picked at random, with odds that fall with the square of the cost: nearly as even as
/// asking all, no herd runs to the one that looks best, and one that was slow once still gets the odd request
/// by which its figure can mend. `random` gives numbers from 0 up to, not including, 1.
pub(crate) fn choose(candidates: &[Candidate], mut random: impl FnMut() -> f64) -> Option<usize> {
    let mut draw = |n: usize| ((random() * n as f64) as usize).min(n - 1);
    let first = match candidates.len() {
        0 => return None,
        1 => return Some(candidates[0].device),
        n => draw(n),
    };
    let mut second = draw(candidates.len() - 1);
    second += usize::from(second >= first);
    let (first, second) = (&candidates[first], &candidates[second]);
    let (a, b) = (first.cost().powi(2), second.cost().powi(2));
    Some(if random() * (a + b) < b { first.device } else { second.device })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(device: usize, load: usize, micros: u64) -> Candidate {
        Candidate { device, load, latency: Duration::from_micros(micros), lanes: 4, share: 1.0 }
    }

    fn hits<const N: usize>(candidates: &[Candidate; N]) -> [usize; N] {
        let mut random = fastrand::Rng::with_seed(1);
        let mut hits = [0; N];
        (0..10_000).for_each(|_| hits[choose(candidates, || random.f64()).unwrap()] += 1);
        hits
    }

    #[test]
    fn nobody_is_chosen_from_nobody_and_one_from_one() {
        assert_eq!(choose(&[], || 0.0), None);
        assert_eq!(choose(&[candidate(5, 9, 9)], || 0.0), Some(5));
    }

    #[test]
    fn the_ends_of_the_random_range_are_safe() {
        let three = [candidate(0, 0, 1), candidate(1, 0, 1), candidate(2, 0, 1)];
        for value in [0.0, 1.0 - f64::EPSILON, 1.0] {
            assert!(choose(&three, || value).is_some());
        }
    }

    #[test]
    fn all_of_equal_candidates_get_equal_work() {
        let nine: [_; 9] = std::array::from_fn(|d| candidate(d, 0, 100));
        assert!(hits(&nine).iter().all(|hits| (900..1300).contains(hits)), "{:?}", hits(&nine));
        let [a, b] = hits(&[candidate(0, 0, 100), candidate(1, 0, 130)]);
        assert!(a > b && b > 3000, "{a} {b}");
    }

    #[test]
    fn one_that_shall_get_a_tenth_gets_about_that() {
        let returned = Candidate { share: 0.1, ..candidate(0, 0, 100) };
        let [least, ..] = hits(&[returned, candidate(1, 0, 100), candidate(2, 0, 100), candidate(3, 0, 100)]);
        assert!((250..750).contains(&least), "{least} of 2,500");
    }

    #[test]
    fn the_slower_and_the_busier_get_little_but_not_nothing() {
        for costly in [candidate(1, 0, 1000), candidate(1, 36, 100)] {
            let [cheap, dear] = hits(&[candidate(0, 0, 100), costly]);
            assert!(cheap > 9_800 && dear > 20, "{cheap} {dear}");
        }
    }
}
