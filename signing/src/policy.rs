//! What an app may sign with which key, decided by its policy alone: no clock, no store, no device.
//!
//! A policy has rules, and of those exactly one is asked about an order: the one that names the key, or else the one
//! that names none. It permits the order if every limit that it sets is kept. Where no rule speaks of the key, the
//! site's default does.

use std::collections::{BTreeSet, HashSet};

use config::KeyId;
use formats::Algorithm;
use thiserror::Error;
use time::{OffsetDateTime, Weekday};

use crate::{Input, SignOrder, SignatureFormat};

/// The minutes of a day.
const DAY: u16 = 24 * 60;

/// Raw signature, CMS or document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignedForm {
    /// The signature alone.
    Raw,
    /// CMS SignedData.
    Cms,
    /// A PDF, signed inside.
    Pdf,
    /// An OFD package, signed inside.
    Ofd,
}

impl SignedForm {
    /// Whether it is a document, which is stamped whole.
    #[must_use]
    pub fn is_document(self) -> bool {
        matches!(self, Self::Pdf | Self::Ofd)
    }
}

/// What a caller sends to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputKind {
    /// A digest: the gateway does not see what is signed.
    Digest,
    /// The message or content itself.
    Data,
}

/// A span of hours on some days of the week, in the site's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeeklySpan {
    /// Monday first.
    days: [bool; 7],
    /// Minutes since midnight.
    from: u16,
    /// Minutes since midnight; the first one that is not part of it.
    until: u16,
}

impl WeeklySpan {
    /// From a minute of the day until another, which is no part of it; `24 * 60` is the day's end.
    ///
    /// # Errors
    /// [`PolicyError::Span`] for a span without days or minutes: one over midnight is two.
    pub fn new(days: &[Weekday], from: u16, until: u16) -> Result<Self, PolicyError> {
        if days.is_empty() || from >= until || until > DAY {
            return Err(PolicyError::Span);
        }
        let mut named = [false; 7];
        for day in days {
            named[usize::from(day.number_days_from_monday())] = true;
        }
        Ok(Self { days: named, from, until })
    }

    /// Its days, Monday first.
    pub fn days(&self) -> impl Iterator<Item = Weekday> {
        (0..7).filter(|day| self.days[usize::from(*day)]).map(|day| Weekday::Monday.nth_next(day))
    }

    /// The minute of the day on which it begins.
    #[must_use]
    pub fn from(&self) -> u16 {
        self.from
    }

    /// The minute of the day on which it has ended.
    #[must_use]
    pub fn until(&self) -> u16 {
        self.until
    }

    /// Whether a moment of the site's time lies in it.
    #[must_use]
    pub fn contains(&self, local: OffsetDateTime) -> bool {
        let minute = u16::from(local.hour()) * 60 + u16::from(local.minute());
        self.days[usize::from(local.weekday().number_days_from_monday())]
            && (self.from..self.until).contains(&minute)
    }
}

/// Limits for an app's orders with some keys. A limit that is not set does not bind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SigningRule {
    /// Its name within the policy: refusals and counts go by it.
    pub name: String,
    /// The keys it speaks of; none for every key that no other rule names.
    pub keys: BTreeSet<KeyId>,
    /// Raw signatures, CMS, or both.
    pub formats: Option<BTreeSet<SignedForm>>,
    /// By which algorithms.
    pub algorithms: Option<BTreeSet<Algorithm>>,
    /// Of CMS: whether the content must, or must not, be left out.
    pub detached: Option<bool>,
    /// Digests, data, or both.
    pub inputs: Option<BTreeSet<InputKind>>,
    /// Octets of the longest input; a digest has 32.
    pub max_octets: Option<u64>,
    /// When it may be signed.
    pub times: Option<Vec<WeeklySpan>>,
    /// Since when.
    pub not_before: Option<OffsetDateTime>,
    /// Until when; that moment is no part of it.
    pub not_after: Option<OffsetDateTime>,
    /// How many signatures on a day of the site's time.
    pub per_day: Option<u64>,
}

/// The rules for one app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SigningPolicy {
    rules: Vec<SigningRule>,
}

/// Why rules are no policy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// A span of time holds no time.
    #[error("must be days and a time that begins before it ends, at 24:00 at the latest")]
    Span,
    /// Two rules have one name.
    #[error("two rules are called {0}")]
    Name(String),
    /// Two rules name one key.
    #[error("two rules name the key {0}")]
    Key(KeyId),
    /// Two rules name no key.
    #[error("two rules name no key")]
    Rest,
}

/// What a policy looks at in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderFacts {
    /// With which key.
    pub key: KeyId,
    /// How.
    pub algorithm: Algorithm,
    /// In what form.
    pub form: SignedForm,
    /// Of CMS: the content is left out.
    pub detached: bool,
    /// What it is over.
    pub input: InputKind,
    /// Octets of it.
    pub octets: u64,
}

impl OrderFacts {
    /// The facts of an order.
    #[must_use]
    pub fn of(order: &SignOrder) -> Self {
        let (form, detached) = match &order.format {
            SignatureFormat::Raw => (SignedForm::Raw, false),
            SignatureFormat::Cms { detached, .. } => (SignedForm::Cms, *detached),
            SignatureFormat::Pdf { .. } => (SignedForm::Pdf, true),
            SignatureFormat::Seal { of, .. } => (*of, true),
        };
        let (input, octets) = match &order.input {
            Input::Digest(digest) => (InputKind::Digest, digest.len()),
            Input::Data(data) => (InputKind::Data, data.len()),
        };
        let (key, algorithm) = (order.key.clone(), order.algorithm);
        Self { key, algorithm, form, detached, input, octets: octets as u64 }
    }
}

/// A limit that an order does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// No rule speaks of the key, and the site's default refuses.
    NoRule,
    /// The rule is not in force yet, or no more.
    Validity,
    /// It is not the time of day or week.
    Time,
    /// The algorithm.
    Algorithm,
    /// The form.
    Format,
    /// Whether the content is left out.
    Detached,
    /// A digest where data is wanted, or the other way round.
    Input,
    /// Its length.
    Size,
    /// The day's signatures are used up.
    Count,
}

impl Limit {
    /// The stable code of a refusal.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoRule => "policy_no_rule",
            Self::Validity => "policy_validity",
            Self::Time => "policy_time",
            Self::Algorithm => "policy_algorithm",
            Self::Format => "policy_format",
            Self::Detached => "policy_detached",
            Self::Input => "policy_input",
            Self::Size => "policy_size",
            Self::Count => "policy_count",
        }
    }
}

/// What a policy says to an order. Whether the day's count is kept is for whoever counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'p> {
    /// By this rule, or without one by the site's default.
    Permitted(Option<&'p SigningRule>),
    /// By this rule, or without one by the site's default: the limits that are not kept, at least one.
    Refused(Option<&'p SigningRule>, Vec<Limit>),
}

impl SigningPolicy {
    /// A policy of these rules.
    ///
    /// # Errors
    /// [`PolicyError`] where it would not be clear which rule speaks of a key, or which one is meant by a name.
    pub fn new(rules: Vec<SigningRule>) -> Result<Self, PolicyError> {
        let (mut names, mut keys, mut rest) = (HashSet::new(), HashSet::new(), false);
        for rule in &rules {
            if !names.insert(&rule.name) {
                return Err(PolicyError::Name(rule.name.clone()));
            }
            if rule.keys.is_empty() && std::mem::replace(&mut rest, true) {
                return Err(PolicyError::Rest);
            }
            if let Some(key) = rule.keys.iter().find(|key| !keys.insert(*key)) {
                return Err(PolicyError::Key(key.clone()));
            }
        }
        Ok(Self { rules })
    }

    /// In the order given.
    #[must_use]
    pub fn rules(&self) -> &[SigningRule] {
        &self.rules
    }

    /// The one rule that speaks of a key.
    #[must_use]
    pub fn rule_for(&self, key: &KeyId) -> Option<&SigningRule> {
        let naming = self.rules.iter().find(|rule| rule.keys.contains(key));
        naming.or_else(|| self.rules.iter().find(|rule| rule.keys.is_empty()))
    }

    /// What it says to an order. `local` is the moment in the site's time; `unruled` whether the site permits what no
    /// rule speaks of.
    #[must_use]
    pub fn evaluate(&self, order: &OrderFacts, local: OffsetDateTime, unruled: bool) -> Decision<'_> {
        let Some(rule) = self.rule_for(&order.key) else {
            return match unruled {
                true => Decision::Permitted(None),
                false => Decision::Refused(None, vec![Limit::NoRule]),
            };
        };
        let broken = rule.broken_by(order, local);
        if broken.is_empty() {
            Decision::Permitted(Some(rule))
        } else {
            Decision::Refused(Some(rule), broken)
        }
    }
}

impl SigningRule {
    fn broken_by(&self, order: &OrderFacts, local: OffsetDateTime) -> Vec<Limit> {
        let within = |times: &Vec<WeeklySpan>| times.iter().any(|span| span.contains(local));
        let is_cms = order.form == SignedForm::Cms;
        let kept = [
            (
                Limit::Validity,
                self.not_before.is_none_or(|since| since <= local)
                    && self.not_after.is_none_or(|until| local < until),
            ),
            (Limit::Time, self.times.as_ref().is_none_or(within)),
            (Limit::Algorithm, self.algorithms.as_ref().is_none_or(|known| known.contains(&order.algorithm))),
            (Limit::Format, self.formats.as_ref().is_none_or(|known| known.contains(&order.form))),
            (Limit::Detached, !is_cms || self.detached.is_none_or(|wanted| wanted == order.detached)),
            (Limit::Input, self.inputs.as_ref().is_none_or(|known| known.contains(&order.input))),
            (Limit::Size, self.max_octets.is_none_or(|most| order.octets <= most)),
        ];
        kept.into_iter().filter(|(_, kept)| !kept).map(|(limit, _)| limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::{collection, option, sample};
    use time::UtcOffset;

    use super::*;

    const KEYS: [&str; 4] = ["a", "b", "c", "d"];
    const DAYS: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];

    fn key(name: &str) -> KeyId {
        KeyId::parse(name).unwrap()
    }

    fn form() -> impl Strategy<Value = SignedForm> {
        sample::select(vec![SignedForm::Raw, SignedForm::Cms, SignedForm::Pdf, SignedForm::Ofd])
    }

    fn input() -> impl Strategy<Value = InputKind> {
        sample::select(vec![InputKind::Digest, InputKind::Data])
    }

    fn algorithm() -> impl Strategy<Value = Algorithm> {
        sample::select(Algorithm::ALL.to_vec())
    }

    /// Within some weeks, so that spans and validities are met and missed.
    fn moment() -> impl Strategy<Value = OffsetDateTime> {
        (1_780_000_000_i64..1_782_000_000).prop_map(|at| OffsetDateTime::from_unix_timestamp(at).unwrap())
    }

    fn offset() -> impl Strategy<Value = UtcOffset> {
        (-14_i32 * 4..=14 * 4).prop_map(|quarters| UtcOffset::from_whole_seconds(quarters * 900).unwrap())
    }

    fn span() -> impl Strategy<Value = WeeklySpan> {
        let days = sample::subsequence(DAYS.to_vec(), 1..=7);
        (days, 0..DAY, 1..=DAY).prop_filter_map("holds time", |(days, from, until)| {
            WeeklySpan::new(&days, from.min(until), from.max(until)).ok()
        })
    }

    prop_compose! {
        fn limits()(
            formats in option::of(collection::btree_set(form(), 1..=2)),
            algorithms in option::of(collection::btree_set(algorithm(), 1..=3)),
            detached in option::of(any::<bool>()),
            inputs in option::of(collection::btree_set(input(), 1..=2)),
            max_octets in option::of(0_u64..100),
            times in option::of(collection::vec(span(), 1..4)),
            not_before in option::of(moment()),
            not_after in option::of(moment()),
            per_day in option::of(1_u64..10),
        ) -> SigningRule {
            SigningRule {
                name: String::new(), keys: BTreeSet::new(), formats, algorithms, detached, inputs, max_octets, times,
                not_before, not_after, per_day,
            }
        }
    }

    prop_compose! {
        /// Each key belongs to one of up to three rules or to none; at most one rule names none.
        fn policy()(
            owners in collection::vec(option::of(0_usize..3), KEYS.len()),
            rules in collection::vec(limits(), 3),
            rest in option::of(limits()),
        ) -> SigningPolicy {
            let mut owned: BTreeMap<usize, BTreeSet<KeyId>> = BTreeMap::new();
            for (name, owner) in KEYS.iter().zip(owners) {
                if let Some(owner) = owner {
                    owned.entry(owner).or_default().insert(key(name));
                }
            }
            let named = owned.into_iter().map(|(place, keys)| {
                SigningRule { name: format!("r{place}"), keys, ..rules[place].clone() }
            });
            let rest = rest.into_iter().map(|rule| SigningRule { name: "rest".to_owned(), ..rule });
            SigningPolicy::new(named.chain(rest).collect()).unwrap()
        }
    }

    prop_compose! {
        fn order()(
            key in sample::select(KEYS.to_vec()).prop_map(key),
            algorithm in algorithm(), form in form(), detached in any::<bool>(), input in input(), octets in 0_u64..120,
        ) -> OrderFacts {
            OrderFacts { key, algorithm, form, detached, input, octets }
        }
    }

    /// The rule with one of its limits taken away.
    fn without(rule: &SigningRule, limit: Limit) -> SigningRule {
        let mut rule = rule.clone();
        match limit {
            Limit::Validity => (rule.not_before, rule.not_after) = (None, None),
            Limit::Time => rule.times = None,
            Limit::Algorithm => rule.algorithms = None,
            Limit::Format => rule.formats = None,
            Limit::Detached => rule.detached = None,
            Limit::Input => rule.inputs = None,
            Limit::Size => rule.max_octets = None,
            Limit::NoRule | Limit::Count => {}
        }
        rule
    }

    proptest! {
        #[test]
        fn the_rule_that_names_the_key_speaks_in_whatever_order_rules_stand(
            policy in policy(), order in order(), at in moment(), unruled: bool,
        ) {
            let mut turned: Vec<_> = policy.rules().to_vec();
            turned.reverse();
            let turned = SigningPolicy::new(turned).unwrap();
            let decided = policy.evaluate(&order, at, unruled);
            prop_assert_eq!(&decided, &turned.evaluate(&order, at, unruled));
            let spoke = match &decided {
                Decision::Permitted(rule) | Decision::Refused(rule, _) => *rule,
            };
            let naming: Vec<_> = policy.rules().iter().filter(|rule| rule.keys.contains(&order.key)).collect();
            match (naming.as_slice(), spoke) {
                ([one], Some(rule)) => prop_assert_eq!(&rule.name, &one.name),
                ([], Some(rule)) => prop_assert!(rule.keys.is_empty()),
                ([], None) => {
                    prop_assert!(policy.rules().iter().all(|rule| !rule.keys.is_empty()));
                    let wanted = match unruled {
                        true => Decision::Permitted(None),
                        false => Decision::Refused(None, vec![Limit::NoRule]),
                    };
                    prop_assert_eq!(decided, wanted);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }

        /// Each limit by itself: without those that are named as broken the rule permits, and with any one of them left
        /// it refuses for that one alone.
        #[test]
        fn what_is_refused_is_refused_for_the_limits_that_are_named_and_no_other(
            rule in limits(), order in order(), at in moment(),
        ) {
            let decide = |rule: &SigningRule| {
                let policy = SigningPolicy::new(vec![rule.clone()]).unwrap();
                match policy.evaluate(&order, at, false) {
                    Decision::Permitted(_) => Vec::new(),
                    Decision::Refused(_, broken) => broken,
                }
            };
            let broken = decide(&rule);
            let free = broken.iter().fold(rule.clone(), |rule, limit| without(&rule, *limit));
            prop_assert_eq!(decide(&free), vec![]);
            for left in &broken {
                let others = broken.iter().filter(|limit| *limit != left);
                let one = others.fold(rule.clone(), |rule, limit| without(&rule, *limit));
                prop_assert_eq!(decide(&one), vec![*left]);
            }
        }

        #[test]
        fn an_order_that_keeps_a_limit_less_is_never_refused_more(
            rule in limits(), order in order(), at in moment(), more in 0_u64..100,
        ) {
            let permits = |order: &OrderFacts| rule.broken_by(order, at).is_empty();
            let longer = OrderFacts { octets: order.octets + more, ..order.clone() };
            prop_assert!(!permits(&longer) || permits(&order), "what is shorter fits too");
        }

        /// By arithmetic on seconds alone; the epoch was a Thursday.
        #[test]
        fn a_span_holds_its_minutes_of_its_days_in_the_sites_time(
            days in sample::subsequence(DAYS.to_vec(), 1..=7),
            from in 0..DAY, length in 1..=DAY, at in moment(), offset in offset(),
        ) {
            let until = from.saturating_add(length).min(DAY);
            let span = WeeklySpan::new(&days, from, until).unwrap();
            let local = at.unix_timestamp() + i64::from(offset.whole_seconds());
            let (day, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
            let weekday = DAYS[usize::try_from((day + 3).rem_euclid(7)).unwrap()];
            let inside = days.contains(&weekday)
                && second >= i64::from(from) * 60
                && second < i64::from(until) * 60;
            prop_assert_eq!(span.contains(at.to_offset(offset)), inside);
        }

        #[test]
        fn validity_does_not_depend_on_the_sites_time(rule in limits(), order in order(), at in moment(), offset in offset()) {
            let rule = SigningRule { times: None, ..rule };
            prop_assert_eq!(rule.broken_by(&order, at), rule.broken_by(&order, at.to_offset(offset)));
        }
    }

    #[test]
    fn rules_that_leave_open_which_of_them_speaks_are_no_policy() {
        let rule = |name: &str, keys: &[&str]| SigningRule {
            name: name.to_owned(),
            keys: keys.iter().copied().map(key).collect(),
            ..SigningRule::default()
        };
        let refused = |rules: Vec<SigningRule>| SigningPolicy::new(rules).unwrap_err();
        assert_eq!(refused(vec![rule("x", &["a"]), rule("x", &["b"])]), PolicyError::Name("x".to_owned()));
        assert_eq!(refused(vec![rule("x", &["a", "b"]), rule("y", &["b"])]), PolicyError::Key(key("b")));
        assert_eq!(refused(vec![rule("x", &[]), rule("y", &[])]), PolicyError::Rest);
        assert!(SigningPolicy::new(vec![rule("x", &["a"]), rule("y", &[])]).is_ok());
    }

    #[test]
    fn a_span_without_time_is_none() {
        for (days, from, until) in [(&DAYS[..0], 0, 1), (&DAYS, 5, 5), (&DAYS, 6, 5), (&DAYS, 0, DAY + 1)] {
            assert_eq!(WeeklySpan::new(days, from, until), Err(PolicyError::Span));
        }
        assert!(WeeklySpan::new(&DAYS, 0, DAY).is_ok());
    }
}
