//! The one state machine of all flows: a pure function of how far a session is, what happens, and when.
//!
//! ```text
//! created → scanned → confirmed → consumed
//!    └─────────┴→ cancelled, replaced, expired      scanned → rejected      confirmed → expired
//! ```
//!
//! What was confirmed and not fetched in time expires too: whoever fetches it relies on a standing that was judged then.

use store::ScanState;
use time::OffsetDateTime;

/// How far a session is.
#[derive(Debug, Clone, Copy)]
pub struct SessionProgress {
    /// Its state as it is stored.
    pub state: ScanState,
    /// SM3 of the secret of the phone that scanned it.
    pub phone: Option<[u8; 32]>,
    /// When this state ends by itself.
    pub expires_at: OffsetDateTime,
}

/// What happens to a session. Of a phone SM3 of its secret is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEvent {
    /// A phone has read the QR code.
    Scan([u8; 32]),
    /// A phone brings the holder's consent.
    Confirm([u8; 32]),
    /// A phone says that the holder refuses.
    Deny([u8; 32]),
    /// The app fetches the result.
    Consume,
    /// The app gives it up.
    Cancel,
    /// The app shows another QR code.
    Replace,
    /// Somebody looks whether its time is over.
    Expire,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It goes to this state.
    To(ScanState),
    /// The same was done before by the same phone, whose answer may have been lost: it is done.
    Stay,
}

/// Why nothing comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefusal {
    /// Its time is over.
    #[error("the session's time is over")]
    Expired,
    /// The result was fetched.
    #[error("the session's result was fetched before")]
    Consumed,
    /// Another QR code is shown in its place.
    #[error("another QR code has taken the place of this one")]
    Replaced,
    /// The app gave it up.
    #[error("the session was cancelled")]
    Cancelled,
    /// The holder refused.
    #[error("the holder refused")]
    Rejected,
    /// Another phone has it.
    #[error("another phone has scanned this QR code")]
    Taken,
    /// No phone has scanned it.
    #[error("no phone has scanned this QR code yet")]
    NotScanned,
    /// The holder has not agreed yet.
    #[error("the holder has not confirmed yet")]
    NotConfirmed,
    /// The holder has agreed: only the result can be fetched.
    #[error("the holder has confirmed already")]
    Confirmed,
    /// Its time is not over.
    #[error("the session's time is not over")]
    NotDue,
}

impl SessionProgress {
    /// The state that it is in at a time: what is over is over before anybody writes it down.
    #[must_use]
    pub fn seen(&self, at: OffsetDateTime) -> ScanState {
        if !self.state.is_final() && at >= self.expires_at { ScanState::Expired } else { self.state }
    }

    /// What comes of an event at a time.
    ///
    /// # Errors
    /// Why nothing comes of it.
    pub fn after(&self, event: SessionEvent, at: OffsetDateTime) -> Result<Step, SessionRefusal> {
        use SessionEvent::{Cancel, Confirm, Consume, Deny, Expire, Replace, Scan};
        if event == Expire && !self.state.is_final() && at >= self.expires_at {
            return Ok(Step::To(ScanState::Expired));
        }
        match self.seen(at) {
            ScanState::Expired => Err(SessionRefusal::Expired),
            ScanState::Consumed => match event {
                // An answer that was lost, for a phone that does not know that its consent has served.
                Confirm(phone) if self.phone == Some(phone) => Ok(Step::Stay),
                _ => Err(SessionRefusal::Consumed),
            },
            ScanState::Replaced => Err(SessionRefusal::Replaced),
            ScanState::Cancelled => Err(SessionRefusal::Cancelled),
            ScanState::Rejected => match event {
                Deny(phone) if self.phone == Some(phone) => Ok(Step::Stay),
                _ => Err(SessionRefusal::Rejected),
            },
            ScanState::Created => match event {
                Scan(_) => Ok(Step::To(ScanState::Scanned)),
                Confirm(_) | Deny(_) => Err(SessionRefusal::NotScanned),
                Consume => Err(SessionRefusal::NotConfirmed),
                Cancel => Ok(Step::To(ScanState::Cancelled)),
                Replace => Ok(Step::To(ScanState::Replaced)),
                Expire => Err(SessionRefusal::NotDue),
            },
            ScanState::Scanned => match event {
                Scan(phone) | Confirm(phone) | Deny(phone) if self.phone != Some(phone) => {
                    Err(SessionRefusal::Taken)
                }
                Scan(_) => Ok(Step::Stay),
                Confirm(_) => Ok(Step::To(ScanState::Confirmed)),
                Deny(_) => Ok(Step::To(ScanState::Rejected)),
                Consume => Err(SessionRefusal::NotConfirmed),
                Cancel => Ok(Step::To(ScanState::Cancelled)),
                Replace => Ok(Step::To(ScanState::Replaced)),
                Expire => Err(SessionRefusal::NotDue),
            },
            ScanState::Confirmed => match event {
                Scan(phone) | Confirm(phone) | Deny(phone) if self.phone != Some(phone) => {
                    Err(SessionRefusal::Taken)
                }
                Scan(_) | Confirm(_) => Ok(Step::Stay),
                Deny(_) | Cancel | Replace => Err(SessionRefusal::Confirmed),
                Consume => Ok(Step::To(ScanState::Consumed)),
                Expire => Err(SessionRefusal::NotDue),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use SessionEvent::{Cancel, Confirm, Consume, Deny, Expire, Replace, Scan};
    use SessionRefusal as No;

    const MINE: [u8; 32] = [1; 32];
    const OTHER: [u8; 32] = [2; 32];
    const EVENTS: [SessionEvent; 10] = [
        Scan(MINE),
        Scan(OTHER),
        Confirm(MINE),
        Confirm(OTHER),
        Deny(MINE),
        Deny(OTHER),
        Consume,
        Cancel,
        Replace,
        Expire,
    ];

    fn end() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn progress(state: ScanState) -> SessionProgress {
        let phone = (state != ScanState::Created).then_some(MINE);
        SessionProgress { state, phone, expires_at: end() }
    }

    /// What the whole table says, in the order of [`EVENTS`], before a session's time is over.
    fn table(state: ScanState) -> [Result<Step, SessionRefusal>; 10] {
        let to = |state| Ok(Step::To(state));
        let all = |refusal| [Err(refusal); 10];
        match state {
            ScanState::Created => [
                to(ScanState::Scanned),
                to(ScanState::Scanned),
                Err(No::NotScanned),
                Err(No::NotScanned),
                Err(No::NotScanned),
                Err(No::NotScanned),
                Err(No::NotConfirmed),
                to(ScanState::Cancelled),
                to(ScanState::Replaced),
                Err(No::NotDue),
            ],
            ScanState::Scanned => [
                Ok(Step::Stay),
                Err(No::Taken),
                to(ScanState::Confirmed),
                Err(No::Taken),
                to(ScanState::Rejected),
                Err(No::Taken),
                Err(No::NotConfirmed),
                to(ScanState::Cancelled),
                to(ScanState::Replaced),
                Err(No::NotDue),
            ],
            ScanState::Confirmed => [
                Ok(Step::Stay),
                Err(No::Taken),
                Ok(Step::Stay),
                Err(No::Taken),
                Err(No::Confirmed),
                Err(No::Taken),
                to(ScanState::Consumed),
                Err(No::Confirmed),
                Err(No::Confirmed),
                Err(No::NotDue),
            ],
            ScanState::Consumed => {
                let mut row = all(No::Consumed);
                row[2] = Ok(Step::Stay); // the same phone's consent again
                row
            }
            ScanState::Rejected => {
                let mut row = all(No::Rejected);
                row[4] = Ok(Step::Stay); // the same phone's refusal again
                row
            }
            ScanState::Cancelled => all(No::Cancelled),
            ScanState::Expired => all(No::Expired),
            ScanState::Replaced => all(No::Replaced),
        }
    }

    #[test]
    fn every_event_in_every_state_comes_to_what_the_table_says() {
        for (_, state) in ScanState::NAMES {
            for (event, wanted) in EVENTS.into_iter().zip(table(*state)) {
                for at in [end() - Duration::minutes(5), end() - Duration::nanoseconds(1)] {
                    assert_eq!(progress(*state).after(event, at), wanted, "{state} {event:?}");
                    assert_eq!(progress(*state).seen(at), *state);
                }
            }
        }
    }

    #[test]
    fn once_its_time_is_over_a_session_only_expires() {
        for (_, state) in ScanState::NAMES {
            for at in [end(), end() + Duration::days(1)] {
                for (event, before) in EVENTS.into_iter().zip(table(*state)) {
                    let wanted = match event {
                        _ if state.is_final() => before,
                        Expire => Ok(Step::To(ScanState::Expired)),
                        _ => Err(No::Expired),
                    };
                    assert_eq!(progress(*state).after(event, at), wanted, "{state} {event:?}");
                }
                let seen = if state.is_final() { *state } else { ScanState::Expired };
                assert_eq!(progress(*state).seen(at), seen);
            }
        }
    }

    /// Whatever happens in whatever order: no way leads back, to a second phone, or to a second result.
    #[test]
    fn no_order_of_events_gives_a_result_twice() {
        let mut seen = 0;
        for order in 0..10_usize.pow(5) {
            let mut session = SessionProgress { state: ScanState::Created, phone: None, expires_at: end() };
            let (mut results, mut order) = (0, order);
            let mut passed = vec![session.state];
            for _ in 0..5 {
                let event = EVENTS[order % 10];
                order /= 10;
                if let Ok(Step::To(state)) = session.after(event, end() - Duration::minutes(1)) {
                    if let Scan(phone) = event {
                        assert!(session.phone.is_none(), "a second phone");
                        session.phone = Some(phone);
                    }
                    if let Confirm(phone) = event {
                        assert_eq!(session.phone, Some(phone));
                    }
                    assert!(!passed.contains(&state), "{passed:?} and then {state}");
                    passed.push(state);
                    results += usize::from(state == ScanState::Consumed);
                    session.state = state;
                }
            }
            assert!(results <= 1);
            if results == 1 {
                let way = [ScanState::Created, ScanState::Scanned, ScanState::Confirmed, ScanState::Consumed];
                assert_eq!(passed, way);
                seen += 1;
            }
        }
        assert!(seen > 0, "some order gives a result");
    }
}
