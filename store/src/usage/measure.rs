//! What an entry of the audit log counts for.

use std::borrow::Cow;

use config::AppId;
use formats::Uscc;
use serde::Deserialize;
use time::macros::offset;
use time::{Date, OffsetDateTime};

/// What was used: counts are kept apart by all of it. Texts are empty where nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// The day in China Standard Time, counted from 1970-01-01.
    pub day: i64,
    /// Who used it.
    pub app: String,
    /// What was asked for, as the log has it.
    pub action: String,
    /// What for: the flow of a session, the use of a license, or what was verified.
    pub flow: String,
    /// The code of the business item (业务事项).
    pub item: String,
    /// How it ended: `ok`, a verdict, why a license was not permitted, or a problem's code.
    pub result: String,
    /// Six digits of GB/T 2260: where the holder of the license is registered.
    pub region: String,
}

/// The day of a moment in China Standard Time, counted from 1970-01-01. It is one time in all of the country, without summer
/// time, so that the same entries always make the same days.
#[must_use]
pub fn usage_day(at: OffsetDateTime) -> i64 {
    let epoch = Date::from_ordinal_date(1970, 1).map_or(0, Date::to_julian_day);
    i64::from(at.to_offset(offset!(+8)).date().to_julian_day()) - i64::from(epoch)
}

/// The members of an entry that count.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(default)]
    subject: Option<String>,
}

/// What a use is, beside day and action.
#[derive(Default)]
struct Use<'a> {
    app: &'a str,
    flow: &'a str,
    item: &'a str,
    result: &'a str,
    region: &'a str,
}

/// Actions that count, by the part before the dot. What is not among them is administration, or the gateway's own.
const COUNTED: [&str; 10] = [
    "license",
    "oidc",
    "query_certificate",
    "request",
    "retention",
    "session",
    "signature",
    "stamp",
    "usage",
    "verification",
];
/// And whole ones.
const COUNTED_WHOLE: [&str; 3] = ["seal.read", "timestamp", "token.issue"];
/// Those of them that are the gateway's own, or a part of what has an entry of its own.
const NOT_COUNTED: [&str; 4] = ["oidc.deny", "oidc.grant", "stamp.evidence", "stamp.signature"];
/// What is only going to be tried.
const INTENDED: &str = "intended";
/// What a session's entries put between what they were always about and whose it is.
const FOR: &str = " for ";

/// What an entry counts for, each with how often; nothing for what nobody uses.
///
/// # Errors
/// It is no entry.
pub(super) fn uses_of(entry: &[u8]) -> Result<Vec<(UsageKey, u64)>, serde_json::Error> {
    let said: Said<'_> = serde_json::from_slice(entry)?;
    let action: &str = &said.action;
    let family = action.split_once('.').map_or("", |(family, _)| family);
    let counts = COUNTED.contains(&family) || COUNTED_WHOLE.contains(&action);
    // People, phones, strangers and the gateway itself are none.
    let is_app = AppId::parse_registered(&said.actor).is_ok();
    if !counts || NOT_COUNTED.contains(&action) || said.outcome == INTENDED {
        return Ok(Vec::new());
    }
    let day = usage_day(said.at);
    let key = |used: &Use<'_>| UsageKey {
        day,
        app: used.app.to_owned(),
        action: action.to_owned(),
        flow: used.flow.to_owned(),
        item: used.item.to_owned(),
        result: used.result.to_owned(),
        region: used.region.to_owned(),
    };
    let subject = said.subject.as_deref().unwrap_or_default();
    let plain = Use { app: &said.actor, result: &said.outcome, region: region(subject), ..Use::default() };
    if family == "session" {
        // It is the app's, whoever took it a step further.
        return Ok(session(subject, plain).map(|used| (key(&used), 1)).into_iter().collect());
    }
    if !is_app {
        return Ok(Vec::new());
    }
    Ok(match action {
        "usage.verifications" => {
            let verified = verified(subject).map(|(flow, result, count)| {
                (key(&Use { app: &said.actor, flow, result, ..Use::default() }), count)
            });
            verified.collect()
        }
        "license.verify" => vec![(key(&decided(subject, plain)), 1)],
        "license.verify-batch" | "request.refused" => {
            first_number(subject).map(|count| (key(&plain), count)).into_iter().collect()
        }
        "signature.batch" => {
            let (made, all) = signed(subject);
            let of = |result, count| (key(&Use { app: &said.actor, result, ..Use::default() }), count);
            let made = [of("ok", made), of("not_signed", all.saturating_sub(made))];
            made.into_iter().filter(|(_, count)| *count > 0).collect()
        }
        _ => vec![(key(&plain), 1)],
    })
}

/// The day that an entry speaks of.
///
/// # Errors
/// It is no entry.
pub(super) fn day_of(entry: &[u8]) -> Result<i64, serde_json::Error> {
    serde_json::from_slice::<Said<'_>>(entry).map(|said| usage_day(said.at))
}

/// `ID [USCC] [replaces ID] for APP FLOW ITEM`; nothing where the end is missing, as in entries of earlier programs.
fn session<'a>(subject: &'a str, plain: Use<'a>) -> Option<Use<'a>> {
    let (_, whose) = subject.rsplit_once(FOR)?;
    let mut words = whose.splitn(3, ' ');
    let mut word = || words.next().map(|word| if word == "-" { "" } else { word });
    let (app, flow, item) = (word()?, word()?, word()?);
    Some(Use { app, flow, item, ..plain })
}

/// `USCC`, or `USCC USE ROLE ITEM AUTHORISATION REASON TABLE` where something was decided.
fn decided<'a>(subject: &'a str, plain: Use<'a>) -> Use<'a> {
    let words: Vec<_> = subject.split(' ').collect();
    let [_, flow, _, item, _, reason, _] = words[..] else { return plain };
    // What the site's table does not have is the caller's word, of which there is no end.
    let item = if item == "-" || reason == "item_unknown" { "" } else { item };
    let result = if plain.result == "ok" { reason } else { plain.result };
    Use { flow, item, result, ..plain }
}

/// `WHAT VERDICT: COUNT; …`
fn verified(subject: &str) -> impl Iterator<Item = (&str, &str, u64)> {
    subject.split("; ").filter_map(|part| {
        let (what, count) = part.split_once(": ")?;
        let (what, verdict) = what.split_once(' ')?;
        Some((what, verdict, count.parse().ok()?))
    })
}

/// `MADE of ALL signed …`
fn signed(subject: &str) -> (u64, u64) {
    let mut words = subject.split(' ');
    let mut number = || words.next().and_then(|word| word.parse().ok());
    let made = number();
    let _of = number();
    (made.unwrap_or(0), number().unwrap_or(0))
}

fn first_number(subject: &str) -> Option<u64> {
    subject.split(' ').next()?.parse().ok()
}

/// The division where the first license that is named is registered: GB 32100-2015, places 3 to 8. Codes that are made for
/// tests only are of nowhere.
fn region(subject: &str) -> &str {
    let code = subject.split(' ').find(|word| Uscc::parse(word).is_ok());
    let division = code.and_then(|code| code.get(2..8));
    division.filter(|division| division.bytes().all(|octet| octet.is_ascii_digit())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn uses(action: &str, actor: &str, outcome: &str, subject: &str) -> Vec<(UsageKey, u64)> {
        let entry = json!({
            "action": action, "actor": actor, "at": "2026-11-23T15:59:59Z", "outcome": outcome, "request_id": "r",
            "subject": subject, "register_digest": "00",
        });
        uses_of(entry.to_string().as_bytes()).unwrap()
    }

    /// The counts, as `app flow item result region count`.
    fn said(action: &str, actor: &str, outcome: &str, subject: &str) -> Vec<String> {
        let uses = uses(action, actor, outcome, subject);
        let told = |(key, count): (UsageKey, u64)| {
            assert_eq!(key.action, action);
            let UsageKey { app, flow, item, result, region, .. } = key;
            format!("{app}/{flow}/{item}/{result}/{region}/{count}")
        };
        uses.into_iter().map(told).collect()
    }

    const CODE: &str = "91350100M000100Y43";

    #[test]
    fn each_action_counts_for_what_its_entry_says() {
        for (action, actor, outcome, subject, wanted) in [
            ("license.face", "portal", "ok", CODE, &["portal///ok/350100/1"][..]),
            ("license.face", "portal", "license_unknown", CODE, &["portal///license_unknown/350100/1"]),
            (
                "license.file",
                "portal",
                "partial",
                &format!("{CODE} ofd annual"),
                &["portal///partial/350100/1"],
            ),
            ("license.verify", "portal", "ok", CODE, &["portal///ok/350100/1"]),
            (
                "license.verify",
                "portal",
                "ok",
                &format!("{CODE} sign agent annual-report A-1 role_not_permitted 2026-1/ab"),
                &["portal/sign/annual-report/role_not_permitted/350100/1"],
            ),
            (
                "license.verify",
                "portal",
                "status_stale",
                &format!("{CODE} login legal_representative - - permitted 2026-1/ab"),
                &["portal/login//status_stale/350100/1"],
            ),
            (
                "license.verify",
                "portal",
                "ok",
                &format!("{CODE} login agent whatever - item_unknown 2026-1/ab"),
                &["portal/login//item_unknown/350100/1"],
            ),
            ("license.verify-batch", "portal", "ok", "37 licenses", &["portal///ok//37"]),
            ("license.search", "portal", "ok", "50 licenses", &["portal///ok//1"]),
            (
                "session.consume",
                "portal",
                "ok",
                &format!("abc {CODE} for portal sign_in annual-report"),
                &["portal/sign_in/annual-report/ok/350100/1"],
            ),
            (
                "session.confirm",
                "phone:0011223344556677",
                "consent_item",
                "abc for portal sign_in annual-report",
                &["portal/sign_in/annual-report/consent_item//1"],
            ),
            (
                "session.create",
                "portal",
                "ok",
                "abc replaces def for portal show other",
                &["portal/show/other/ok//1"],
            ),
            (
                "session.scan",
                "phone:0011223344556677",
                "session_expired",
                "abc for portal - -",
                &["portal///session_expired//1"],
            ),
            ("session.create", "portal", "ok", "abc annual-report", &[]),
            (
                "usage.verifications",
                "portal",
                "ok",
                "license valid: 3; signature invalid: 1; signature valid: 20",
                &["portal/license//valid//3", "portal/signature//invalid//1", "portal/signature//valid//20"],
            ),
            (
                "signature.batch",
                "portal",
                "ok",
                "998 of 1000 signed: demo-sm2 998",
                &["portal///ok//998", "portal///not_signed//2"],
            ),
            ("signature.batch", "portal", "nothing_signed", "0 of 2 signed", &["portal///not_signed//2"]),
            ("signature.raw", "portal", "fleet_busy", "", &["portal///fleet_busy//1"]),
            ("stamp.pdf", "portal", "ok", "20261122-7QX2M0K4T9", &["portal///ok//1"]),
            ("stamp.signature", "portal", "ok", "20261122-7QX2M0K4T9/2", &[]),
            // A device without a browser asks for it as the app; a browser does not.
            ("oidc.grant", "portal", "ok", "A portal session B 91610100MAXTA00160", &[]),
            ("stamp.evidence", "license-gateway", "ok", "20 stamps", &[]),
            (
                "request.refused",
                "portal",
                "rate_limited",
                "12 refused; POST /v1/stamps: 12",
                &["portal///rate_limited//12"],
            ),
            ("request.refused", "anonymous:10.0.0.1", "api_key_invalid", "12 refused", &[]),
            ("request.refused", "(several)", "(several)", "12 refused", &[]),
            ("license.face", "person:anna", "ok", CODE, &[]),
            ("app.create", "portal", "ok", "other", &[]),
            ("stamp.pdf", "portal", "intended", "20261122-7QX2M0K4T9", &[]),
            ("timestamp", "portal", "ok", "", &["portal///ok//1"]),
        ] {
            assert_eq!(said(action, actor, outcome, subject), wanted, "{action} {outcome} {subject}");
        }
    }

    #[test]
    fn what_is_odd_counts_for_no_more_than_it_says() {
        let overflow = format!("{}0 licenses", u64::MAX);
        for subject in ["", "many licenses", "-1 licenses", &overflow] {
            assert!(said("license.verify-batch", "portal", "ok", subject).is_empty(), "{subject}");
        }
        assert_eq!(
            said("license.face", "portal", "ok", "91350100M000100Y44"),
            ["portal///ok//1"],
            "no such code"
        );
        assert_eq!(said("usage.verifications", "portal", "ok", "valid: 3; : ; x").len(), 0);
        assert!(uses_of(b"{}").is_err());
        assert!(uses_of(b"\xff").is_err());
    }

    #[test]
    fn a_day_is_one_of_china_standard_time() {
        let day = |action| uses(action, "portal", "ok", "")[0].0.day;
        // 23:59:59 there; a second later it is the next day.
        let before = day("signature.raw");
        let next = json!({
            "action": "signature.raw", "actor": "portal", "at": "2026-11-23T16:00:00Z", "outcome": "ok", "request_id": "r",
        });
        assert_eq!(uses_of(next.to_string().as_bytes()).unwrap()[0].0.day, before + 1);
        assert_eq!(usage_day(OffsetDateTime::UNIX_EPOCH), 0);
        assert_eq!(before, usage_day(time::macros::datetime!(2026-11-23 00:00 +8)));
    }
}
