//! A policy's rules as administrators write them and as they are stored: one form, read in one way.

use std::collections::BTreeSet;

use config::KeyId;
use formats::Algorithm;
use serde::{Deserialize, Serialize};
use signing::{InputKind, PolicyError, SignedForm, SigningPolicy, SigningRule, WeeklySpan};
use store::{KeyPurpose, KeyRecord};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, Weekday};
use utoipa::ToSchema;

use crate::body::{Faults, Object};

/// Most rules of a policy.
const MOST_RULES: usize = 32;
/// Most keys that a rule names.
const MOST_KEYS: usize = 200;
/// Most spans of time of a rule.
const MOST_SPANS: usize = 32;
/// Largest limit on octets and on signatures a day.
const LARGEST: u64 = 1_000_000_000_000;

const FORMATS: [(&str, SignedForm); 4] =
    [("raw", SignedForm::Raw), ("cms", SignedForm::Cms), ("pdf", SignedForm::Pdf), ("ofd", SignedForm::Ofd)];
const INPUTS: [(&str, InputKind); 2] = [("digest", InputKind::Digest), ("data", InputKind::Data)];
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Limits for an app's orders with some keys. A limit that is left out does not bind; of all rules the one that names
/// the key speaks, or else the one that names none.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleBody {
    /// Its name within the policy, 1 to 64 of `a-z A-Z 0-9 . _ -`: refusals name it, the day's count belongs to it.
    #[schema(example = "window")]
    name: String,
    /// The keys it speaks of; none for every key that no other rule names.
    #[serde(default)]
    keys: Vec<String>,
    /// `raw`, `cms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    formats: Option<Vec<String>>,
    /// Such as `sm2-sm3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithms: Option<Vec<String>>,
    /// Of `cms`: whether the content must be left out, or must not.
    #[serde(skip_serializing_if = "Option::is_none")]
    detached: Option<bool>,
    /// `digest`, `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<String>>,
    /// Octets of the longest input; a digest has 32.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_octets: Option<u64>,
    /// When it may be signed, in the site's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<SpanBody>>)]
    times: Option<Vec<Object<SpanBody>>>,
    /// Since when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    /// Until when, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<String>,
    /// How many signatures on a day of the site's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    per_day: Option<u64>,
}

/// Some hours on some days of the week.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpanBody {
    /// `mon` to `sun`; all of them if they are left out.
    #[serde(default)]
    days: Vec<String>,
    /// `HH:MM`.
    #[schema(example = "08:30")]
    from: String,
    /// `HH:MM`, `24:00` at the latest; that minute is no part of it. A span over midnight is two.
    #[schema(example = "18:00")]
    to: String,
}

/// Rules as they were given, read; every fault is told.
pub(super) fn read(rules: &[Object<RuleBody>], faults: &mut Faults) -> Option<SigningPolicy> {
    if rules.len() > MOST_RULES {
        faults.add("rules", "invalid_value", format!("must be {MOST_RULES} rules at most"));
        return None;
    }
    let read: Vec<_> =
        rules.iter().enumerate().map(|(place, Object(rule))| rule.read(place, faults)).collect();
    let rules = read.into_iter().collect::<Option<Vec<_>>>()?;
    let policy = SigningPolicy::new(rules);
    let code = match policy {
        Err(PolicyError::Name(_)) => "duplicate_name",
        _ => "ambiguous_rules",
    };
    faults.parse("rules", code, policy)
}

/// Rules as they are stored; none if they cannot be read.
pub(crate) fn stored(text: &str) -> Option<SigningPolicy> {
    let rules: Vec<Object<RuleBody>> = serde_json::from_str(text).ok()?;
    let mut faults = Faults::default();
    let policy = read(&rules, &mut faults);
    faults.into_result(policy).ok()
}

/// The text in which rules are stored: the same for the same rules.
pub(super) fn text(policy: &SigningPolicy) -> String {
    let rules: Vec<_> = policy.rules().iter().map(RuleBody::of).collect();
    serde_json::to_string(&rules).expect("strings, numbers and lists are always JSON")
}

/// Says what is wrong with keys that rules name: each must be one that callers may use.
pub(super) fn check_keys(policy: &SigningPolicy, register: &[KeyRecord], faults: &mut Faults) {
    for (place, rule) in policy.rules().iter().enumerate() {
        for key in &rule.keys {
            let field = format!("rules[{place}].keys");
            match register.iter().find(|known| known.id == *key) {
                Some(known) if known.purpose == KeyPurpose::Service => {}
                Some(_) => faults.add(&field, "key_not_permitted", format!("{key} is not for callers")),
                None => faults.add(&field, "unknown_key", format!("there is no key {key}")),
            }
        }
    }
}

impl RuleBody {
    fn read(&self, place: usize, faults: &mut Faults) -> Option<SigningRule> {
        let field = |name: &str| format!("rules[{place}].{name}");
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-');
        if !(1..=64).contains(&self.name.len()) || !self.name.bytes().all(plain) {
            faults.add(&field("name"), "invalid_value", "must be 1 to 64 of a-z A-Z 0-9 . _ -");
        }
        if self.keys.len() > MOST_KEYS {
            faults.add(&field("keys"), "invalid_value", format!("must be {MOST_KEYS} keys at most"));
            return None;
        }
        let mut keys = BTreeSet::new();
        for key in &self.keys {
            keys.extend(faults.parse(&field("keys"), "invalid_value", KeyId::parse(key)));
        }
        let formats = words(faults, &field("formats"), self.formats.as_deref(), &FORMATS);
        let inputs = words(faults, &field("inputs"), self.inputs.as_deref(), &INPUTS);
        let algorithms = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
        let algorithms = words(faults, &field("algorithms"), self.algorithms.as_deref(), &algorithms);
        for (name, number) in [("max_octets", self.max_octets), ("per_day", self.per_day)] {
            if number.is_some_and(|number| !(1..=LARGEST).contains(&number)) {
                faults.add(&field(name), "invalid_value", format!("must be 1 to {LARGEST}"));
            }
        }
        let mut moment = |name: &str, text: Option<&str>| {
            text.and_then(|text| faults.time(&field(name), Some(text), OffsetDateTime::UNIX_EPOCH))
        };
        let not_before = moment("not_before", self.not_before.as_deref());
        let not_after = moment("not_after", self.not_after.as_deref());
        if not_before.zip(not_after).is_some_and(|(since, until)| since >= until) {
            faults.add(&field("not_after"), "invalid_value", "must be after not_before");
        }
        Some(SigningRule {
            name: self.name.clone(),
            keys,
            formats,
            algorithms,
            detached: self.detached,
            inputs,
            max_octets: self.max_octets,
            times: self.times(&field("times"), faults),
            not_before,
            not_after,
            per_day: self.per_day,
        })
    }

    fn times(&self, field: &str, faults: &mut Faults) -> Option<Vec<WeeklySpan>> {
        let times = self.times.as_ref()?;
        if !(1..=MOST_SPANS).contains(&times.len()) {
            faults.add(field, "invalid_value", format!("must be 1 to {MOST_SPANS} spans"));
            return None;
        }
        let mut spans = Vec::with_capacity(times.len());
        for (place, Object(span)) in times.iter().enumerate() {
            let field = format!("{field}[{place}]");
            let days = match span.days.is_empty() {
                true => Some(DAYS.map(|(_, day)| day).to_vec()),
                false => words_in(faults, &format!("{field}.days"), &span.days, &DAYS),
            };
            let mut minute = |name: &str, text: &str| {
                let minute = minute(text).ok_or("must have the form 08:30, 24:00 at the latest");
                faults.parse(&format!("{field}.{name}"), "invalid_time", minute)
            };
            let (from, to) = (minute("from", &span.from), minute("to", &span.to));
            if let (Some(days), Some(from), Some(to)) = (days, from, to) {
                spans.extend(faults.parse(&field, "invalid_value", WeeklySpan::new(&days, from, to)));
            }
        }
        Some(spans)
    }

    pub(super) fn of(rule: &SigningRule) -> Self {
        let moment = |at: Option<OffsetDateTime>| at.and_then(|at| at.format(&Rfc3339).ok());
        let span = |span: &WeeklySpan| {
            let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            let days = span.days().map(|day| word(&DAYS, day)).collect();
            Object(SpanBody { days, from: clock(span.from()), to: clock(span.until()) })
        };
        Self {
            name: rule.name.clone(),
            keys: rule.keys.iter().map(KeyId::to_string).collect(),
            formats: rule.formats.as_ref().map(|all| all.iter().map(|one| word(&FORMATS, *one)).collect()),
            algorithms: rule
                .algorithms
                .as_ref()
                .map(|all| all.iter().map(|one| one.name().to_owned()).collect()),
            detached: rule.detached,
            inputs: rule.inputs.as_ref().map(|all| all.iter().map(|one| word(&INPUTS, *one)).collect()),
            max_octets: rule.max_octets,
            times: rule.times.as_ref().map(|times| times.iter().map(span).collect()),
            not_before: moment(rule.not_before),
            not_after: moment(rule.not_after),
            per_day: rule.per_day,
        }
    }
}

fn words<T: Copy + Ord>(
    faults: &mut Faults,
    field: &str,
    texts: Option<&[String]>,
    words: &[(&str, T)],
) -> Option<BTreeSet<T>> {
    let texts = texts?;
    if texts.is_empty() {
        // An empty list looks like "no limit" to one reader and like "nothing at all" to the next.
        faults.add(field, "invalid_value", "must name something, or be left out");
    }
    words_in(faults, field, texts, words).map(|found| found.into_iter().collect())
}

fn words_in<T: Copy>(
    faults: &mut Faults,
    field: &str,
    texts: &[String],
    words: &[(&str, T)],
) -> Option<Vec<T>> {
    if texts.len() > words.len() {
        faults.add(field, "invalid_value", "names something twice");
        return None;
    }
    let found = texts.iter().map(|text| faults.word(field, Some(text), words, words[0].1));
    found.collect::<Vec<_>>().into_iter().collect()
}

fn word<T: PartialEq>(words: &[(&str, T)], value: T) -> String {
    words.iter().find(|(_, known)| *known == value).map_or_else(String::new, |(word, _)| (*word).to_owned())
}

/// The minute of a day, of `HH:MM`.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, below: u16| {
        let digits = text.len() == 2 && text.bytes().all(|octet| octet.is_ascii_digit());
        text.parse::<u16>().ok().filter(|number| digits && *number < below)
    };
    let minute = number(hours, 25)? * 60 + number(minutes, 60)?;
    (minute <= 24 * 60).then_some(minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_reads_back_as_it_was_and_in_one_form() {
        let given = r#"[
            {"name":"window","keys":["demo-sm2"],"formats":["cms","raw"],"algorithms":["sm2-sm3"],"detached":true,
             "inputs":["data"],"max_octets":1048576,"times":[{"days":["fri","mon"],"from":"08:30","to":"24:00"}],
             "not_before":"2026-01-01T00:00:00+08:00","not_after":"2027-01-01T00:00:00Z","per_day":500},
            {"name":"rest"}]"#;
        let policy = stored(given).unwrap();
        let text = text(&policy);
        assert_eq!(stored(&text).unwrap(), policy);
        assert_eq!(super::text(&stored(&text).unwrap()), text);
        let days: Vec<_> = policy.rules()[0].times.as_ref().unwrap()[0].days().collect();
        assert_eq!(days, [Weekday::Monday, Weekday::Friday]);
        assert!(text.contains(r#""from":"08:30","to":"24:00""#), "{text}");
    }

    #[test]
    fn minutes_are_read_strictly() {
        for (text, wanted) in
            [("00:00", Some(0)), ("08:30", Some(510)), ("23:59", Some(1439)), ("24:00", Some(1440))]
        {
            assert_eq!(minute(text), wanted, "{text}");
        }
        for text in
            ["", ":", "8:30", "08:3", "24:01", "25:00", "08:60", "+8:30", "０８:30", "08:30:00", "-1:00"]
        {
            assert_eq!(minute(text), None, "{text}");
        }
    }

    #[test]
    fn text_that_is_no_policy_is_none() {
        for text in [
            "",
            "{}",
            "[1]",
            r#"[["window"]]"#,
            r#"[{"name":"a","colour":1}]"#,
            r#"[{"name":"a","formats":[]}]"#,
        ] {
            assert!(stored(text).is_none(), "{text}");
        }
    }
}
