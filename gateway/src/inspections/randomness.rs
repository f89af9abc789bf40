//! Statistics on what a device's generator gives: four of the tests of GM/T 0005 over one sample. They find a generator that
//! is stuck, biased or regular; that one passes says little of what an attacker could foretell.

use std::fmt;

use formats::inspection_report::Grade;
use libm::{erfc, exp, fabs, sqrt};

/// Bits of a sample.
pub(crate) const BITS: usize = 20_000;
/// Octets of a sample.
pub(crate) const OCTETS: u16 = 2_500;
/// The significance level of each test. GM/T 0005 has 0.01 for one test of a product; an inspection makes four tests of each
/// device, again and again, so it takes less, and a second sample before it says that something is wrong.
pub(crate) const ALPHA: f64 = 0.000_1;
/// Chances below this are those of no sound generator: one in some 10⁸ inspections of a device.
const NEVER: f64 = 1e-9;
/// Bits of a block of the poker test.
const BLOCK: usize = 4;

/// How likely it is that a sound generator gives something as odd as the sample or odder, by each test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Chances {
    /// As many ones as zeros (单比特频数检测).
    pub(crate) monobit: f64,
    /// All blocks of four bits alike often (扑克检测, m = 4).
    pub(crate) poker: f64,
    /// As many changes between neighbouring bits as there should be (游程总数检测).
    pub(crate) runs: f64,
    /// Bits eight places apart alike as often as not (自相关检测, d = 8): what counts is found out by this alone.
    pub(crate) autocorrelation: f64,
}

impl Chances {
    /// Of a sample.
    pub(crate) fn of(sample: &[u8]) -> Self {
        Self {
            monobit: monobit(sample),
            poker: poker(sample),
            runs: runs(sample),
            autocorrelation: autocorrelation(sample),
        }
    }

    /// Whether every test is passed.
    pub(crate) fn pass(self) -> bool {
        self.least() >= ALPHA
    }

    /// The least of them; none of a chance that is no number.
    fn least(self) -> f64 {
        let all = [self.monobit, self.poker, self.runs, self.autocorrelation];
        all.into_iter().fold(1.0, |least, chance| if chance.is_nan() { 0.0 } else { chance.min(least) })
    }
}

impl fmt::Display for Chances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { monobit, poker, runs, autocorrelation } = self;
        write!(
            f,
            "monobit {monobit:.2e}, poker {poker:.2e}, runs {runs:.2e}, autocorrelation {autocorrelation:.2e}"
        )
    }
}

/// What samples of one generator come to; nothing while another one is wanted. What a sound generator never gives is not made good
/// by a second sample, and what it seldom gives stays to be seen.
pub(crate) fn judged(samples: &[Chances]) -> Option<Grade> {
    match samples {
        [] => None,
        [only] if only.pass() => Some(Grade::Ok),
        samples if samples.iter().any(|sample| sample.least() < NEVER) => Some(Grade::Abnormal),
        [_] => None,
        [.., last] if last.pass() => Some(Grade::Attention),
        _ => Some(Grade::Abnormal),
    }
}

fn ones(sample: &[u8]) -> f64 {
    f64::from(sample.iter().map(|octet| octet.count_ones()).sum::<u32>())
}

fn monobit(sample: &[u8]) -> f64 {
    let bits = (sample.len() * 8) as f64;
    erfc(fabs(2.0 * ones(sample) - bits) / sqrt(2.0 * bits))
}

fn poker(sample: &[u8]) -> f64 {
    let mut counts = [0.0_f64; 1 << BLOCK];
    for octet in sample {
        counts[usize::from(octet >> 4)] += 1.0;
        counts[usize::from(octet & 15)] += 1.0;
    }
    let blocks = (sample.len() * 8 / BLOCK) as f64;
    let squares: f64 = counts.iter().map(|count| count * count).sum();
    chi_square_15(16.0 / blocks * squares - blocks)
}

fn runs(sample: &[u8]) -> f64 {
    let bits = (sample.len() * 8) as f64;
    let share = ones(sample) / bits;
    let within: u32 = sample.iter().map(|octet| ((octet ^ (octet << 1)) & 0xFE).count_ones()).sum();
    let between = sample.windows(2).filter(|pair| (pair[0] & 1) != (pair[1] >> 7)).count();
    let runs = 1.0 + f64::from(within) + between as f64;
    let expected = 2.0 * bits * share * (1.0 - share);
    erfc(fabs(runs - expected) / (2.0 * sqrt(2.0 * bits) * share * (1.0 - share)))
}

fn autocorrelation(sample: &[u8]) -> f64 {
    let pairs = (sample.len() * 8 - 8) as f64;
    let differing: u32 = sample.windows(2).map(|pair| (pair[0] ^ pair[1]).count_ones()).sum();
    erfc(fabs(2.0 * f64::from(differing) - pairs) / sqrt(2.0 * pairs))
}

/// The upper tail of the chi-square distribution with 15 degrees of freedom: Q(15/2, x/2), which for half an odd number is a
/// finite sum (DLMF 8.8.2 from Q(1/2, y) = erfc √y).
fn chi_square_15(statistic: f64) -> f64 {
    let y = statistic.max(0.0) / 2.0;
    // y^(j - 1/2) / Γ(j + 1/2), from j = 1 on: Γ(3/2) = √π/2.
    let mut term = sqrt(y) * 2.0 / sqrt(std::f64::consts::PI);
    let mut sum = 0.0;
    for j in 1..=7_u32 {
        sum += term;
        term *= y / (f64::from(j) + 0.5);
    }
    erfc(sqrt(y)) + exp(-y) * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().map(|bit| bit - b'0').collect();
        bits.chunks(8).map(|chunk| chunk.iter().fold(0, |octet, bit| octet << 1 | bit)).collect()
    }

    /// The sample of NIST SP 800-22, 2.4.8, which GM/T 0005 takes over.
    const SAMPLE: &str = "1100110000010101011011000100110011100000000000100100110101010001\
                          0001001111010110100000001101011111001100111001101101100010110010";

    #[test]
    fn the_published_sample_has_its_published_chances() {
        // GM/T 0005, annex: V = -1.237437, P = 0.215925.
        assert!((monobit(&octets(SAMPLE)) - 0.215_925).abs() < 1e-6);
        // The runs of the same sample by the standard's formula, written out bit by bit.
        let bits: Vec<u8> = SAMPLE.bytes().map(|bit| bit - b'0').collect();
        let count = bits.len() as f64;
        let share = f64::from(bits.iter().map(|bit| u32::from(*bit)).sum::<u32>()) / count;
        let changes = bits.windows(2).filter(|pair| pair[0] != pair[1]).count() as f64 + 1.0;
        let spread = share * (1.0 - share);
        let expected = erfc((changes - 2.0 * count * spread).abs() / (2.0 * (2.0 * count).sqrt() * spread));
        assert!((runs(&octets(SAMPLE)) - expected).abs() < 1e-12);
        let differing = bits.iter().zip(&bits[8..]).filter(|(one, other)| one != other).count() as f64;
        let statistic = 2.0 * (differing - (count - 8.0) / 2.0) / (count - 8.0).sqrt();
        let expected = erfc(statistic.abs() / 2.0_f64.sqrt());
        assert!((autocorrelation(&octets(SAMPLE)) - expected).abs() < 1e-12);
        // Blocks of four of the same sample, counted one by one.
        let mut counts = std::collections::BTreeMap::new();
        bits.chunks(4).for_each(|block| *counts.entry(block).or_insert(0.0_f64) += 1.0);
        let blocks = count / 4.0;
        let statistic = 16.0 / blocks * counts.values().map(|count| count * count).sum::<f64>() - blocks;
        assert!((poker(&octets(SAMPLE)) - chi_square_15(statistic)).abs() < 1e-12);
    }

    #[test]
    fn the_tail_of_chi_square_is_that_of_the_tables() {
        for (statistic, chance) in
            [(8.547, 0.90), (14.339, 0.50), (24.996, 0.05), (30.578, 0.01), (37.697, 0.001)]
        {
            assert!((chi_square_15(statistic) - chance).abs() < 1e-4, "{statistic}");
        }
        assert!((chi_square_15(0.0) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_second_sample_makes_good_what_was_odd_and_nothing_that_was_impossible() {
        let (sound, odd, never, unknown) = (0.5, 1e-5, 1e-10, f64::NAN);
        for (samples, grade) in [
            (&[] as &[f64], None),
            (&[sound], Some(Grade::Ok)),
            (&[ALPHA], Some(Grade::Ok)),
            (&[odd], None),
            (&[NEVER], None),
            (&[never], Some(Grade::Abnormal)),
            (&[0.0], Some(Grade::Abnormal)),
            (&[unknown], Some(Grade::Abnormal)),
            (&[odd, sound], Some(Grade::Attention)),
            (&[odd, odd], Some(Grade::Abnormal)),
            (&[odd, never], Some(Grade::Abnormal)),
            (&[odd, unknown], Some(Grade::Abnormal)),
        ] {
            // Whichever of the tests it is.
            for place in 0..4 {
                let of = |chance: &f64| {
                    let mut all = [0.7; 4];
                    all[place] = *chance;
                    let [monobit, poker, runs, autocorrelation] = all;
                    Chances { monobit, poker, runs, autocorrelation }
                };
                let samples: Vec<_> = samples.iter().map(of).collect();
                assert_eq!(judged(&samples), grade, "{samples:?}");
            }
        }
    }

    #[test]
    fn a_stuck_biased_or_regular_generator_is_found_out_by_each_test() {
        let sample = |of: fn(usize) -> u8| (0..usize::from(OCTETS)).map(of).collect::<Vec<u8>>();
        for (what, sample) in [
            ("zeros", sample(|_| 0)),
            ("ones", sample(|_| 255)),
            ("alternating", sample(|_| 0xAA)),
            ("counting", sample(|place| place as u8)),
            ("one octet again and again", sample(|_| 0x3C)),
            ("text", sample(|place| b"license gateway "[place % 16])),
        ] {
            let chances = Chances::of(&sample);
            assert!(!chances.pass(), "{what}: {chances:?}");
        }
        let counting = Chances::of(&sample(|place| place as u8));
        assert!(counting.poker > ALPHA && counting.autocorrelation < ALPHA, "{counting:?}");
        // Alike many ones and zeros, and as many runs: only the blocks give it away.
        let blocks = Chances::of(&sample(|place| [0x35, 0xCA][place % 2]));
        assert!(blocks.monobit > ALPHA && blocks.poker < ALPHA, "{blocks:?}");
        // One bit of sixteen too many: a bias that is not seen in a short sample.
        let biased = sample(|place| (place as u8).wrapping_mul(151) | u8::from(place % 2 == 0) << 7);
        assert!(Chances::of(&biased).monobit < ALPHA);
    }

    #[test]
    fn the_systems_generator_passes() {
        // Five samples, of which three pass: of a sound generator that fails once in some 10⁹ runs.
        let passed = (0..5).filter(|_| {
            let mut sample = vec![0; usize::from(OCTETS)];
            getrandom::fill(&mut sample).unwrap();
            Chances::of(&sample).pass()
        });
        assert!(passed.count() >= 3);
    }
}
