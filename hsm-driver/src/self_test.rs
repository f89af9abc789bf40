//! Asking one device to prove itself, whatever its state: every key it is to hold signs, what standards publish is
//! computed, and its generator does not repeat itself.

use std::time::{Duration, Instant, SystemTime};

use config::DeviceId;
use serde::Serialize;

use crate::device::lock;
use crate::error::HsmError;
use crate::fleet::Fleet;
use crate::order::{Answer, Order};

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// As it must be.
    Passed,
    /// Not as it must be.
    Failed,
    /// The device does not offer this.
    NotAvailable,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What, such as `key demo-sm2 sm2-sm3`, `known answer sm3`, `random`.
    pub name: String,
    /// How it ended.
    pub outcome: CheckOutcome,
    /// What the device said, if it failed.
    pub detail: Option<String>,
}

/// A self-test of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SelfTest {
    /// Whether no check failed.
    pub passed: bool,
    /// When it began, seconds since 1970.
    pub at: u64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// All that was looked at.
    pub checks: Vec<Check>,
}

/// Longest time of one order.
const LIMIT: Duration = Duration::from_secs(5);
const SAMPLE: u16 = 2048;
/// Ones in a sample of 16,384 bits: six standard deviations (64) from the half. A generator that fails this is
/// broken; that one passes says little.
const ONES: std::ops::RangeInclusive<u32> = 7_808..=8_576;

impl Fleet {
    /// Has a device prove itself; its state stays what it is.
    ///
    /// # Errors
    /// [`HsmError::UnknownDevice`], [`HsmError::NotRunning`]. What fails within is in the answer.
    pub async fn self_test(&self, id: &DeviceId) -> Result<SelfTest, HsmError> {
        let test = self.prove(id, usize::MAX).await?;
        *lock(&self.device(id)?.last_self_test) = Some(test.clone());
        Ok(test)
    }

    /// The same with so many signatures at most, of keys chosen by chance, so that its cost is known before. It is not
    /// remembered as the device's last self-test.
    ///
    /// # Errors
    /// Those of [`self_test`](Self::self_test).
    pub async fn brief_self_test(&self, id: &DeviceId, most: usize) -> Result<SelfTest, HsmError> {
        self.prove(id, most).await
    }

    async fn prove(&self, id: &DeviceId, most: usize) -> Result<SelfTest, HsmError> {
        let device = self.device(id)?;
        let (began, at) = (Instant::now(), SystemTime::now());
        let mut checks = Vec::new();
        let mut copies = device.copies().to_vec();
        if copies.iter().map(|copy| copy.key.spec.public_key.algorithms().len()).sum::<usize>() > most {
            fastrand::shuffle(&mut copies);
        }
        'keys: for copy in &copies {
            let spec = &copy.key.spec;
            for &algorithm in spec.public_key.algorithms() {
                if checks.len() >= most {
                    break 'keys;
                }
                let digest = std::array::from_fn(|_| fastrand::u8(..));
                let order = Order::Sign { cka_id: spec.cka_id.clone(), algorithm, digest };
                let detail = match self.order(id, order, LIMIT).await {
                    Err(error @ HsmError::NotRunning { .. }) => return Err(error),
                    Err(error) => Some(error.to_string()),
                    Ok(Answer::Octets(signature)) => {
                        let checker = &copy.key.checker;
                        let canonical = checker.canonical(&signature);
                        let good = canonical.is_some_and(|s| checker.accepts(algorithm, &digest, &s));
                        (!good).then(|| "the signature is wrong".to_owned())
                    }
                    Ok(_) => Some("the answer is no signature".to_owned()),
                };
                checks.push(Check::of(format!("key {} {}", spec.id, algorithm.name()), detail));
            }
        }
        match self.order(id, Order::KnownAnswers, LIMIT).await {
            Ok(Answer::KnownAnswers(answers)) => checks.extend(answers.into_iter().map(|answer| {
                let outcome = match answer.right {
                    Some(true) => CheckOutcome::Passed,
                    Some(false) => CheckOutcome::Failed,
                    None => CheckOutcome::NotAvailable,
                };
                Check { name: format!("known answer {}", answer.name), outcome, detail: None }
            })),
            Ok(_) => checks.push(Check::of("known answers".to_owned(), Some("no answers".to_owned()))),
            Err(error @ HsmError::NotRunning { .. }) => return Err(error),
            Err(error) => checks.push(Check::of("known answers".to_owned(), Some(error.to_string()))),
        }
        let detail = match (self.random(id).await, self.random(id).await) {
            (Ok(one), Ok(other)) if one == other => Some("two samples are the same".to_owned()),
            (Ok(one), Ok(_)) => {
                let ones: u32 = one.iter().map(|octet| octet.count_ones()).sum();
                (!ONES.contains(&ones)).then(|| format!("{ones} ones in 16384 bits"))
            }
            (Err(error), _) | (_, Err(error)) => Some(error.to_string()),
        };
        checks.push(Check::of("random".to_owned(), detail));
        let test = SelfTest {
            passed: checks.iter().all(|check| check.outcome != CheckOutcome::Failed),
            at: at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            checks,
        };
        Ok(test)
    }

    async fn random(&self, id: &DeviceId) -> Result<Vec<u8>, HsmError> {
        match self.order(id, Order::Random { octets: SAMPLE }, LIMIT).await? {
            Answer::Octets(octets) if octets.len() == usize::from(SAMPLE) => Ok(octets),
            _ => Err(HsmError::WrongAnswer { device: id.clone(), what: "too few octets" }),
        }
    }
}

impl Check {
    fn of(name: String, detail: Option<String>) -> Self {
        let outcome = if detail.is_none() { CheckOutcome::Passed } else { CheckOutcome::Failed };
        Self { name, outcome, detail }
    }
}
