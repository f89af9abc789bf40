//! The register's word on an entity's standing: the port through which it is asked, and what is made of its answers.
//!
//! Invariants: what a register did not say in time, or not lately enough, is never taken for good standing; a register
//! that does not answer is asked less, and never by more than so many at a time.

mod breaker;
mod library;
mod national;
mod standing;

use std::hash::RandomState;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use formats::uscc::Uscc;
use lru::LruCache;
use store::StoreError;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use breaker::{Admitted, Breaker};
pub use library::LibraryRegister;
pub use national::{NATIONAL_ANSWER_LIMIT, NationalRegister};
pub use standing::{Standing, StatusOrigin, StatusQuestion, StatusRules, StatusSource};

/// A register that says how an entity stands.
#[async_trait]
pub trait StatusRegister: Send + Sync {
    /// Which one it is.
    fn source(&self) -> StatusSource;

    /// What it says of an entity, now or as it was at a time; `None` if it does not know the entity, or not how it stood
    /// then.
    ///
    /// # Errors
    /// Why it says nothing.
    async fn standing(
        &self,
        uscc: &Uscc,
        at: Option<OffsetDateTime>,
    ) -> Result<Option<Standing>, RegisterError>;
}

/// Why a register said nothing.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// It cannot be had at present; the code is one of [`UNAVAILABLE`].
    #[error("the register of registration statuses cannot be asked: {0}")]
    Unavailable(&'static str),
    /// The library, which is the gateway's own, cannot be read.
    #[error("the license library could not be read")]
    Library(#[from] StoreError),
}

/// Why a register cannot be had, as findings and metrics name it.
pub const UNAVAILABLE: [&str; 8] =
    ["address_refused", "busy", "http_status", "malformed", "paused", "timeout", "too_large", "unreachable"];

/// How carefully a register is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Care {
    /// How long what it said counts as said now.
    pub cache: Duration,
    /// How many answers are kept.
    pub cached: NonZeroUsize,
    /// How many are asked for at a time.
    pub concurrency: usize,
    /// How long one waits for its turn to ask.
    pub patience: Duration,
    /// After how many failures in a row it is left alone.
    pub failures: u32,
    /// How long it is left alone.
    pub pause: Duration,
}

/// What a register said, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// How the entity stands; `None` if the register does not know it.
    pub standing: Option<Standing>,
    /// When the register was asked.
    pub asked_at: OffsetDateTime,
}

/// What became of the questions, since the start.
#[derive(Debug, Default)]
pub struct RegisterFigures {
    /// Answered by the register.
    pub answered: AtomicU64,
    /// Answered by what it said lately.
    pub cached: AtomicU64,
    failed: [AtomicU64; UNAVAILABLE.len()],
    paused: AtomicBool,
    in_flight: AtomicU64,
}

impl RegisterFigures {
    /// Questions without an answer, by why.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        UNAVAILABLE.into_iter().zip(self.failed.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Whether it is being left alone.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Questions under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn fail(&self, code: &'static str) {
        if let Some(place) = UNAVAILABLE.iter().position(|known| *known == code) {
            self.failed[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A register asked with care: answers are kept for a while, few are asked for at a time, and one that fails is left alone.
pub struct CarefulRegister {
    register: Box<dyn StatusRegister>,
    care: Option<Careful>,
    figures: RegisterFigures,
}

struct Careful {
    care: Care,
    turns: Semaphore,
    breaker: Mutex<Breaker>,
    cache: Mutex<LruCache<Uscc, Arc<Said>, RandomState>>,
}

impl CarefulRegister {
    /// Asks a register that is elsewhere.
    #[must_use]
    pub fn new(register: Box<dyn StatusRegister>, care: Care) -> Self {
        let careful = Careful {
            care,
            turns: Semaphore::new(care.concurrency),
            breaker: Mutex::new(Breaker::new(care.failures, care.pause)),
            // It grows to that with what is asked for, not at once.
            cache: Mutex::new(LruCache::unbounded_with_hasher(RandomState::new())),
        };
        Self { register, care: Some(careful), figures: RegisterFigures::default() }
    }

    /// Asks one that is here: each time, and as often as is wanted.
    #[must_use]
    pub fn at_hand(register: Box<dyn StatusRegister>) -> Self {
        Self { register, care: None, figures: RegisterFigures::default() }
    }

    /// Which register it is.
    #[must_use]
    pub fn source(&self) -> StatusSource {
        self.register.source()
    }

    /// What became of the questions.
    #[must_use]
    pub fn figures(&self) -> &RegisterFigures {
        &self.figures
    }

    /// What the register says, or said no longer ago than `oldest` and than its answers are kept. `now` is the time of the
    /// question; what was said of a time that is over is asked for each time.
    ///
    /// # Errors
    /// Why it says nothing.
    pub async fn ask(
        &self,
        uscc: &Uscc,
        at: Option<OffsetDateTime>,
        oldest: Option<Duration>,
        now: OffsetDateTime,
    ) -> Result<Said, RegisterError> {
        let Some(careful) = &self.care else {
            let standing = self.register.standing(uscc, at).await?;
            self.figures.answered.fetch_add(1, Ordering::Relaxed);
            return Ok(Said { standing, asked_at: now });
        };
        if at.is_none()
            && let Some(said) = careful.said_lately(uscc, oldest, now)
        {
            self.figures.cached.fetch_add(1, Ordering::Relaxed);
            return Ok(Said::clone(&said));
        }
        let asked = self.ask_anew(careful, uscc, at).await;
        self.figures.paused.store(locked(&careful.breaker).is_open(), Ordering::Relaxed);
        let standing = asked.inspect_err(|error| {
            if let RegisterError::Unavailable(code) = error {
                self.figures.fail(code);
            }
        })?;
        self.figures.answered.fetch_add(1, Ordering::Relaxed);
        let said = Said { standing, asked_at: now };
        if at.is_none() {
            careful.keep(uscc, said.clone());
        }
        Ok(said)
    }

    async fn ask_anew(
        &self,
        careful: &Careful,
        uscc: &Uscc,
        at: Option<OffsetDateTime>,
    ) -> Result<Option<Standing>, RegisterError> {
        let turn = tokio::time::timeout(careful.care.patience, careful.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(RegisterError::Unavailable("busy")) };
        // After the wait: those who waited behind one that failed do not all try it too.
        let Some(admitted) = locked(&careful.breaker).admit(Instant::now().into_std()) else {
            return Err(RegisterError::Unavailable("paused"));
        };
        let underway = Underway::begin(self, careful, admitted);
        let answer = self.register.standing(uscc, at).await;
        underway.end(match &answer {
            Ok(_) => Some(true),
            // It answers: what it has on one entity is no reason to leave it alone with all others.
            Err(RegisterError::Unavailable("malformed" | "too_large")) => None,
            Err(_) => Some(false),
        });
        answer
    }
}

impl Careful {
    /// What was said of an entity no longer ago than is wanted, and than answers are kept; never what was said at a time
    /// that is to come, by a clock that was set back since.
    fn said_lately(&self, uscc: &Uscc, oldest: Option<Duration>, now: OffsetDateTime) -> Option<Arc<Said>> {
        let wanted = now - oldest.map_or(self.care.cache, |oldest| oldest.min(self.care.cache));
        let mut cache = locked(&self.cache);
        let said = Arc::clone(cache.get(uscc)?);
        if now - said.asked_at >= self.care.cache || said.asked_at > now + standing::SKEW {
            cache.pop(uscc);
            return None;
        }
        (said.asked_at > wanted).then_some(said)
    }

    fn keep(&self, uscc: &Uscc, said: Said) {
        let mut cache = locked(&self.cache);
        cache.put(*uscc, Arc::new(said));
        if cache.len() > self.care.cached.get() {
            cache.pop_lru();
        }
    }
}

/// A question under way. One that is given up, because its caller is gone, counts neither for nor against the register,
/// but lets the next one try.
struct Underway<'a> {
    register: &'a CarefulRegister,
    careful: &'a Careful,
    admitted: Admitted,
    answered: Option<bool>,
}

impl<'a> Underway<'a> {
    fn begin(register: &'a CarefulRegister, careful: &'a Careful, admitted: Admitted) -> Self {
        register.figures.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { register, careful, admitted, answered: None }
    }

    fn end(mut self, answered: Option<bool>) {
        self.answered = answered;
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.register.figures.in_flight.fetch_sub(1, Ordering::Relaxed);
        let mut breaker = locked(&self.careful.breaker);
        match self.answered {
            Some(true) => breaker.succeeded(),
            Some(false) => breaker.failed(self.admitted, Instant::now().into_std()),
            None => breaker.given_up(self.admitted),
        }
    }
}

/// A lock that a panic elsewhere does not take away.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
