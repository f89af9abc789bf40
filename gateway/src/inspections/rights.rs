//! Checks of what ends by itself, and of who can get in.

use formats::Certificate;
use formats::inspection_report::Grade;
use store::{
    AccountState, AppState, Credential, CredentialKind, KeyRecord, KeyState, RegisteredApp, SealQuery,
    SealState, StoreError,
};
use time::{Duration, OffsetDateTime};

use super::Finding;
use super::devices::listed;
use crate::state::Gateway;

/// Of things that end, those that are shown one by one: the first to end.
const SHOWN: usize = 20;
/// Seals that are looked at on a page.
const PAGE: u32 = 100;
/// For how long what has ended is shown as such.
const SHOWN_AFTER: Duration = Duration::days(30);
const UNUSED: Duration = Duration::days(90);

/// Inspects certificates, seals and credentials.
pub(super) async fn certificates(gateway: &Gateway, now: OffsetDateTime) -> Vec<Finding> {
    let now = now.to_offset(gateway.config.site.utc_offset);
    let listener = gateway.metrics.listener_until().map(|until| (String::new(), until));
    let mut findings = match listener {
        Some(listener) => ends("certificate.listener", vec![listener], now),
        None => {
            let why = "no listener shows a certificate".to_owned();
            vec![Finding::unknown("certificate.listener", "", why)]
        }
    };
    match gateway.store.keys().await {
        Ok(records) => findings.extend(keys(&records, now)),
        Err(error) => findings.push(Finding::unknown("certificate.key", "", error.to_string())),
    }
    let of_apps = gateway.store.registered_apps().await.map(|apps| credentials(&apps, now));
    for (code, found) in [("certificate.seal", seals(gateway).await), ("certificate.app", of_apps)] {
        match found {
            Ok(found) => findings.extend(ends(code, found, now)),
            Err(error) => findings.push(Finding::unknown(code, "", error.to_string())),
        }
    }
    findings
}

/// What ends first, a finding each, with dates as `now` has them. What ended long ago takes nobody's place.
fn ends(code: &'static str, found: Vec<(String, OffsetDateTime)>, now: OffsetDateTime) -> Vec<Finding> {
    let (gone, mut found): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(_, until)| *until < now - SHOWN_AFTER);
    found.sort_by(|one, other| one.1.cmp(&other.1).then_with(|| one.0.cmp(&other.0)));
    let others = found.len().saturating_sub(SHOWN);
    let mut findings: Vec<_> = found
        .iter()
        .take(SHOWN)
        .map(|(subject, until)| {
            let days = (*until - now).as_seconds_f64() / 86_400.0;
            let evidence = format!("until {}", until.to_offset(now.offset()).date());
            Finding::figure(code, subject, days.floor(), evidence)
        })
        .collect();
    let mut rest = Vec::new();
    let mut grade = Grade::Ok;
    if others > 0 {
        grade = findings[SHOWN - 1].grade;
        rest.push(format!("{others} more, which end later"));
    }
    let gone: Vec<_> = gone.into_iter().map(|(subject, _)| subject).collect();
    if !gone.is_empty() {
        // What apps and seals leave behind is cleared away; a listener and a key are in use.
        let left = matches!(code, "certificate.app" | "certificate.seal");
        grade = grade.max(if left { Grade::Attention } else { Grade::Abnormal });
        rest.push(format!("{} ended more than {} days ago", gone.len(), SHOWN_AFTER.whole_days()));
    }
    if !rest.is_empty() {
        findings.push(Finding::new(code, "", grade, rest.join("; "), listed(&gone)));
    } else if findings.is_empty() {
        findings.push(Finding::new(code, "", Grade::Ok, "none", String::new()));
    }
    findings
}

/// The first certificate to end of each key that signs, and keys whose certificates nobody can read.
fn keys(records: &[KeyRecord], now: OffsetDateTime) -> Vec<Finding> {
    const CODE: &str = "certificate.key";
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for key in records {
        let signing = key.versions.iter().filter(|version| version.state == KeyState::Active);
        let chains = signing.flat_map(|version| &version.copies).map(|copy| copy.certificate_chain.trim());
        let read = |chain: &str| {
            let own =
                Certificate::many_from_pem(chain).map(|chain| chain.first().map(Certificate::not_after));
            own.map_err(|error| error.to_string())?.ok_or_else(|| "no certificate is in it".to_owned())
        };
        let ends: Result<Vec<_>, _> = chains.filter(|chain| !chain.is_empty()).map(read).collect();
        match ends {
            Ok(ends) => found.extend(ends.into_iter().min().map(|until| (key.id.to_string(), until))),
            Err(why) => unreadable.push(Finding::unknown(CODE, key.id.as_str(), why)),
        }
    }
    if found.is_empty() && !unreadable.is_empty() {
        return unreadable;
    }
    ends(CODE, found, now).into_iter().chain(unreadable).collect()
}

async fn seals(gateway: &Gateway) -> Result<Vec<(String, OffsetDateTime)>, StoreError> {
    let mut found = Vec::new();
    let mut query = SealQuery { state: Some(SealState::Active), limit: PAGE, ..SealQuery::default() };
    loop {
        let page = gateway.store.seals(&query).await?;
        found.extend(page.items.iter().map(|seal| (seal.id.to_string(), seal.seal.info().valid_until)));
        let last = page.items.last().map(|seal| seal.id.clone());
        match (page.next, last) {
            (Some(_), Some(last)) => query.after = Some(last),
            _ => return Ok(found),
        }
    }
}

/// What has an end of the apps that are served: they themselves, and credentials that were neither revoked nor replaced.
fn credentials(apps: &[RegisteredApp], now: OffsetDateTime) -> Vec<(String, OffsetDateTime)> {
    let of_app = |known: &RegisteredApp| {
        let is_replaced = |ended: &Credential| {
            let follows = |other: &Credential| {
                other.created_at > ended.created_at
                    && other.holds_at(now)
                    && other.material.kind() == ended.material.kind()
            };
            ended.not_after.is_some_and(|until| until <= now) && known.credentials.iter().any(follows)
        };
        let counting =
            known.credentials.iter().filter(|known| known.revoked.is_none() && !is_replaced(known));
        let mut ends: Vec<_> = counting
            .filter_map(|credential| {
                Some((format!("{}/{}", known.app.id, credential.id), credential.not_after?))
            })
            .collect();
        ends.extend(known.app.not_after.map(|until| (known.app.id.to_string(), until)));
        ends
    };
    apps.iter().filter(|known| known.app.state == AppState::Enabled).flat_map(of_app).collect()
}

/// Inspects accounts, tokens and what the site lets people do.
pub(super) async fn security(gateway: &Gateway, now: OffsetDateTime) -> Vec<Finding> {
    let mut findings = Vec::new();
    match gateway.store.accounts().await {
        Ok(accounts) => {
            let enabled: Vec<_> =
                accounts.iter().filter(|account| account.state == AccountState::Enabled).collect();
            let initial = enabled.iter().filter(|account| account.one_time_until.is_some());
            let initial = initial.map(|account| format!("{} initial password", account.name));
            let single = enabled.iter().filter(|account| account.second_factor_since.is_none());
            let single = single.map(|account| format!("{} no second factor", account.name));
            let found: Vec<_> = initial.chain(single).collect();
            findings.push(none_of("security.passwords", &found, enabled.len()));
            let unused = enabled.iter().filter(|account| account.unused_since() < now - UNUSED);
            let found: Vec<_> = unused.map(|account| account.name.to_string()).collect();
            findings.push(none_of("security.unused_accounts", &found, enabled.len()));
        }
        Err(error) => {
            let unknown = |code| Finding::unknown(code, "", error.to_string());
            findings.extend(["security.passwords", "security.unused_accounts"].map(unknown));
        }
    }
    findings.push(match gateway.store.tokens().await {
        Ok(tokens) => {
            let holding: Vec<_> =
                tokens.iter().filter(|token| token.ended.is_none() && token.expires_at > now).collect();
            let unused = holding.iter().filter(|token| token.used_at < now - UNUSED);
            let found: Vec<_> = unused.map(|token| format!("{}: {}", token.account, token.id)).collect();
            none_of("security.tokens", &found, holding.len())
        }
        Err(error) => Finding::unknown("security.tokens", "", error.to_string()),
    });
    findings.push(api_keys(gateway, now).await);
    let (grade, measured) = match gateway.config.administration.two_person {
        true => (Grade::Ok, "on"),
        false if gateway.config.site.sandbox => (Grade::Attention, "off, in a sandbox"),
        false => (Grade::Abnormal, "off"),
    };
    findings.push(Finding::new("security.two_person", "", grade, measured, String::new()));
    findings
}

fn none_of(code: &'static str, found: &[String], of: usize) -> Finding {
    let grade = if found.is_empty() { Grade::Ok } else { Grade::Attention };
    Finding::new(code, "", grade, format!("{} / {of}", found.len()), listed(found))
}

async fn api_keys(gateway: &Gateway, now: OffsetDateTime) -> Finding {
    const CODE: &str = "security.api_keys";
    let apps = match gateway.store.registered_apps().await {
        Ok(apps) => apps,
        Err(error) => return Finding::unknown(CODE, "", error.to_string()),
    };
    let credentials = apps.iter().flat_map(|known| &known.credentials);
    let keys = credentials
        .filter(|known| known.holds_at(now) && known.material.kind() == CredentialKind::ApiKey)
        .count();
    let evidence = format!("{keys} API keys in the register");
    match gateway.config.site.sandbox {
        true => Finding::new(CODE, "", Grade::Attention, "accepted: this is a sandbox", evidence),
        false => Finding::new(CODE, "", Grade::Ok, "not accepted", evidence),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_ends_first_is_shown_and_the_rest_is_counted() {
        let now = datetime!(2026-11-23 12:00 UTC);
        let until = |days: i64| (format!("key-{days:03}"), now + Duration::days(days) + Duration::HOUR);
        let found = ends("certificate.key", (1..=30).rev().map(until).collect(), now);
        assert_eq!(found.len(), SHOWN + 1);
        assert_eq!((found[0].subject.as_str(), found[0].grade), ("key-001", Grade::Abnormal));
        assert_eq!((found[19].subject.as_str(), found[19].grade), ("key-020", Grade::Attention));
        assert_eq!(found[20].measured, "10 more, which end later");
        // Thirty days and an hour are thirty whole days.
        assert_eq!(ends("certificate.key", vec![until(30)], now)[0].grade, Grade::Attention);
        assert_eq!(ends("certificate.key", vec![until(31)], now)[0].grade, Grade::Ok);
        let ended = ends("certificate.key", vec![until(-2)], now);
        assert_eq!((ended[0].figure, ended[0].grade), (Some(-2.0), Grade::Abnormal));
        assert_eq!(ends("certificate.key", Vec::new(), now)[0].grade, Grade::Ok);
    }

    #[test]
    fn what_ended_is_abnormal_for_a_month_and_then_takes_nobodys_place() {
        let now = datetime!(2026-11-23 12:00 UTC);
        let until = |days: i64| (format!("app-{days}"), now + Duration::days(days));
        let found = ends("certificate.app", vec![until(-30), until(-31), until(90)], now);
        let graded: Vec<_> = found.iter().map(|finding| (finding.subject.as_str(), finding.grade)).collect();
        assert_eq!(graded, [("app--30", Grade::Abnormal), ("app-90", Grade::Ok), ("", Grade::Attention)]);
        assert_eq!(
            (found[2].measured.as_str(), found[2].evidence.as_str()),
            ("1 ended more than 30 days ago", "app--31")
        );
        let many = ends("certificate.app", (-90..-30).chain(100..130).map(until).collect(), now);
        assert_eq!(many.len(), SHOWN + 1);
        assert!(many[..SHOWN].iter().all(|finding| finding.grade == Grade::Ok));
        assert_eq!(many[SHOWN].measured, "10 more, which end later; 60 ended more than 30 days ago");
        // A listener that shows what ended long ago is not well for that.
        assert_eq!(ends("certificate.listener", vec![until(-31)], now)[0].grade, Grade::Abnormal);
        // The day is the site's.
        let evening = datetime!(2026-11-23 12:00 UTC).to_offset(time::macros::offset!(+8));
        let midnight = vec![(String::new(), datetime!(2026-12-31 16:00 UTC))];
        assert_eq!(ends("certificate.listener", midnight, evening)[0].evidence, "until 2027-01-01");
    }
}
