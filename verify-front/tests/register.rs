//! Asking a register with care: what is kept, how many ask at a time, and what is left alone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use formats::uscc::Uscc;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::sync::Notify;
use verify_front::{Care, CarefulRegister, RegisterError, Standing, StatusRegister, StatusSource};

const NOW: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);
const CARE: Care = Care {
    cache: Duration::from_secs(60),
    cached: NonZeroUsize::new(10).unwrap(),
    concurrency: 1,
    patience: Duration::from_millis(1),
    failures: 2,
    pause: Duration::from_secs(3_600),
};

/// A register that counts, and fails or waits when it is told to.
#[derive(Default)]
struct Played {
    asked: AtomicUsize,
    fails: AtomicBool,
    waits: AtomicBool,
    go_on: Notify,
}

struct Handle(Arc<Played>);

#[async_trait]
impl StatusRegister for Handle {
    fn source(&self) -> StatusSource {
        StatusSource::National
    }

    async fn standing(
        &self,
        _: &Uscc,
        at: Option<OffsetDateTime>,
    ) -> Result<Option<Standing>, RegisterError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        if self.0.waits.load(Ordering::SeqCst) {
            self.0.go_on.notified().await;
        }
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(RegisterError::Unavailable("http_status"));
        }
        let as_of = at.unwrap_or(NOW);
        Ok(Some(Standing { code: 1, flags: Vec::new(), as_of, until: None, face: None }))
    }
}

fn played() -> (Arc<Played>, Arc<CarefulRegister>) {
    let played = Arc::<Played>::default();
    let register = CarefulRegister::new(Box::new(Handle(Arc::clone(&played))), CARE);
    (played, Arc::new(register))
}

fn uscc() -> Uscc {
    Uscc::parse("91350100M000100Y43").unwrap()
}

fn code<T>(answer: &Result<T, RegisterError>) -> Option<&'static str> {
    match answer {
        Err(RegisterError::Unavailable(code)) => Some(code),
        _ => None,
    }
}

#[tokio::test]
async fn what_was_said_counts_for_a_while_and_says_when_it_was_said() {
    let (played, register) = played();
    let later = |seconds| NOW + time::Duration::seconds(seconds);
    let asked = || played.asked.load(Ordering::SeqCst);
    assert_eq!(register.ask(&uscc(), None, None, NOW).await.unwrap().asked_at, NOW);
    assert_eq!(register.ask(&uscc(), None, None, later(59)).await.unwrap().asked_at, NOW);
    assert_eq!(asked(), 1);
    let thirty = Some(Duration::from_secs(30));
    assert_eq!(register.ask(&uscc(), None, thirty, later(20)).await.unwrap().asked_at, NOW);
    assert_eq!(register.ask(&uscc(), None, thirty, later(40)).await.unwrap().asked_at, later(40));
    assert_eq!(asked(), 2);
    register.ask(&uscc(), None, Some(Duration::ZERO), later(40)).await.unwrap();
    assert_eq!(asked(), 3, "somebody wants to know anew");
    register.ask(&uscc(), None, None, later(100)).await.unwrap();
    assert_eq!(asked(), 4, "that is too long ago");
    for count in 5..=6 {
        let past = datetime!(2020-01-01 0:00 UTC);
        let said = register.ask(&uscc(), Some(past), None, later(100)).await.unwrap();
        assert_eq!((said.standing.unwrap().as_of, asked()), (past, count), "the past is not kept");
    }
    assert_eq!(register.figures().answered.load(Ordering::SeqCst), 6);
    assert_eq!(register.figures().cached.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn failures_are_not_kept_and_after_so_many_nothing_is_asked() {
    let (played, register) = played();
    played.fails.store(true, Ordering::SeqCst);
    for wanted in ["http_status", "http_status", "paused", "paused"] {
        assert_eq!(code(&register.ask(&uscc(), None, None, NOW).await), Some(wanted));
    }
    assert_eq!(played.asked.load(Ordering::SeqCst), 2);
    assert!(register.figures().is_paused());
    let failed: Vec<_> = register.figures().failed().filter(|(_, count)| *count > 0).collect();
    assert_eq!(failed, [("http_status", 2), ("paused", 2)]);
}

#[tokio::test]
async fn no_more_ask_at_a_time_than_may_and_who_gives_up_gives_its_turn_back() {
    let (played, register) = played();
    played.waits.store(true, Ordering::SeqCst);
    let first = tokio::spawn({
        let register = Arc::clone(&register);
        async move { register.ask(&uscc(), None, None, NOW).await }
    });
    while played.asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(register.figures().in_flight(), 1);
    assert_eq!(code(&register.ask(&uscc(), None, None, NOW).await), Some("busy"));
    assert_eq!(played.asked.load(Ordering::SeqCst), 1);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(register.figures().in_flight(), 0);
    played.waits.store(false, Ordering::SeqCst);
    assert!(register.ask(&uscc(), None, None, NOW).await.is_ok());
}
