//! Checks of what ends by itself, and of who can get in.

use formats::Certificate;
use formats::inspection_report::Grade;
use store::{AccountState, CredentialKind, KeyState, SealQuery, SealState, StoreError};
use time::{Duration, OffsetDateTime};

use super::Finding;
use super::devices::listed;
use crate::state::Gateway;

/// Of things that end, those that are shown one by one: the first to end.
const SHOWN: usize = 20;
/// Seals that are looked at on a page.
const PAGE: u32 = 100;
const UNUSED: Duration = Duration::days(90);

/// Inspects certificates, seals and credentials.
pub(super) async fn certificates(gateway: &Gateway, now: OffsetDateTime) -> Vec<Finding> {
    let listener = gateway.metrics.listener_until().map(|until| (String::new(), until));
    let mut findings = match listener {
        Some(listener) => ends("certificate.listener", vec![listener], now),
        None => {
            let why = "no listener shows a certificate".to_owned();
            vec![Finding::unknown("certificate.listener", "", why)]
        }
    };
    for (code, found) in [
        ("certificate.key", keys(gateway).await),
        ("certificate.seal", seals(gateway).await),
        ("certificate.app", credentials(gateway, now).await),
    ] {
        match found {
            Ok(found) => findings.extend(ends(code, found, now)),
            Err(error) => findings.push(Finding::unknown(code, "", error.to_string())),
        }
    }
    findings
}

/// What ends first, a finding each.
fn ends(code: &'static str, mut found: Vec<(String, OffsetDateTime)>, now: OffsetDateTime) -> Vec<Finding> {
    found.sort_by(|one, other| one.1.cmp(&other.1).then_with(|| one.0.cmp(&other.0)));
    let others = found.len().saturating_sub(SHOWN);
    let mut findings: Vec<_> = found
        .iter()
        .take(SHOWN)
        .map(|(subject, until)| {
            let days = (*until - now).as_seconds_f64() / 86_400.0;
            Finding::figure(code, subject, days.floor(), format!("until {}", until.date()))
        })
        .collect();
    if findings.is_empty() {
        findings.push(Finding::new(code, "", Grade::Ok, "none", String::new()));
    } else if others > 0 {
        let measured = format!("{others} more, which end later");
        findings.push(Finding::new(code, "", findings[SHOWN - 1].grade, measured, String::new()));
    }
    findings
}

/// The first certificate to end of each key that signs.
async fn keys(gateway: &Gateway) -> Result<Vec<(String, OffsetDateTime)>, StoreError> {
    let mut found = Vec::new();
    for key in gateway.store.keys().await? {
        let signing = key.versions.iter().filter(|version| version.state == KeyState::Active);
        let chains = signing.flat_map(|version| &version.copies).map(|copy| &copy.certificate_chain);
        let ends = chains.filter_map(|chain| Certificate::many_from_pem(chain).ok());
        let first = ends.filter_map(|chain| chain.first().map(Certificate::not_after)).min();
        found.extend(first.map(|until| (key.id.to_string(), until)));
    }
    Ok(found)
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

/// Credentials that hold and have an end.
async fn credentials(
    gateway: &Gateway,
    now: OffsetDateTime,
) -> Result<Vec<(String, OffsetDateTime)>, StoreError> {
    let apps = gateway.store.registered_apps().await?;
    let of_apps = apps.iter().flat_map(|known| {
        let holding = known.credentials.iter().filter(|credential| credential.holds_at(now));
        let ends = holding.filter_map(|credential| Some((credential, credential.not_after?)));
        let ends = ends.map(|(credential, until)| (format!("{}/{}", known.app.id, credential.id), until));
        ends.chain(known.app.not_after.map(|until| (known.app.id.to_string(), until)))
    });
    Ok(of_apps.collect())
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
}
