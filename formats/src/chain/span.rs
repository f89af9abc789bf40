//! The time that is judged for, and the span of times for which the judgement is the same.

use std::cell::Cell;

use time::{Duration, OffsetDateTime, PrimitiveDateTime};

/// A span of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    from: OffsetDateTime,
    until: OffsetDateTime,
}

impl Span {
    const ALWAYS: Self =
        Self { from: PrimitiveDateTime::MIN.assume_utc(), until: PrimitiveDateTime::MAX.assume_utc() };

    pub(super) fn contains(&self, at: OffsetDateTime) -> bool {
        self.from <= at && at <= self.until
    }
}

/// The time that is judged for. It can be compared and nothing else, and every comparison narrows the span to the
/// times for which it comes out the same. So whatever was judged by it holds for the whole span.
#[derive(Debug)]
pub(super) struct JudgedTime {
    at: OffsetDateTime,
    span: Cell<Span>,
}

impl JudgedTime {
    pub(super) fn new(at: OffsetDateTime) -> Self {
        Self { at, span: Cell::new(Span::ALWAYS) }
    }

    /// Is it earlier than `other`?
    pub(super) fn is_before(&self, other: OffsetDateTime) -> bool {
        let mut span = self.span.get();
        let before = self.at < other;
        if before {
            span.until = span.until.min(other.saturating_sub(Duration::NANOSECOND));
        } else {
            span.from = span.from.max(other);
        }
        self.span.set(span);
        before
    }

    /// Is it later than `other`?
    pub(super) fn is_after(&self, other: OffsetDateTime) -> bool {
        let mut span = self.span.get();
        let after = self.at > other;
        if after {
            span.from = span.from.max(other.saturating_add(Duration::NANOSECOND));
        } else {
            span.until = span.until.min(other);
        }
        self.span.set(span);
        after
    }

    /// The times for which all that was asked so far has the same answer.
    pub(super) fn span(&self) -> Span {
        self.span.get()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time() -> impl Strategy<Value = OffsetDateTime> {
        let ends = [Span::ALWAYS.from, Span::ALWAYS.until];
        prop_oneof![
            8 => (0..20i64).prop_map(|second| OffsetDateTime::UNIX_EPOCH + Duration::seconds(second)),
            8 => (0..20i64).prop_map(|offset| OffsetDateTime::UNIX_EPOCH + Duration::nanoseconds(offset)),
            1 => proptest::sample::select(ends.to_vec()),
        ]
    }

    proptest! {
        #[test]
        fn every_answer_is_the_same_in_the_whole_span_and_another_just_outside(
            at in time(),
            asked in proptest::collection::vec((any::<bool>(), time()), 1..6),
            other in time(),
        ) {
            let answers = |at| {
                let judged = JudgedTime::new(at);
                let ask = |(before, other): &(bool, OffsetDateTime)| match before {
                    true => judged.is_before(*other),
                    false => judged.is_after(*other),
                };
                (asked.iter().map(ask).collect::<Vec<_>>(), judged.span())
            };
            let (given, span) = answers(at);
            prop_assert!(span.contains(at));
            prop_assert_eq!(span.contains(other), answers(other).0 == given);
            for inside in [span.from, span.until] {
                prop_assert_eq!(answers(inside), (given.clone(), span));
            }
            let before = span.from.checked_sub(Duration::NANOSECOND);
            let after = span.until.checked_add(Duration::NANOSECOND);
            for outside in before.into_iter().chain(after) {
                prop_assert_ne!(&answers(outside).0, &given);
            }
        }
    }
}
