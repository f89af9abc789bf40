//! What business systems ask of sessions: 003, 004, 011 and 901.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::CompatSystem;
use formats::{Certificate, qr_png};
use serde_json::{Map, Value, json};
use sm3::{Digest, Sm3};
use store::ScanState;
use time::OffsetDateTime;
use verify_front::{FieldGrant, SessionProgress, SessionRefusal};

use super::message::{Received, said};
use super::{Said, fields, file, object};
use crate::auth::{Authenticated, Scope};
use crate::licenses::{read_uscc, record_read};
use crate::problem::Problem;
use crate::sessions::{Besides, Fetched, SessionRequest, begun, fetched};
use crate::state::Gateway;

/// 003: a session for logging in (1102), or for logging in and co-signing what `plainvalue` says (1101).
pub(super) async fn begin(
    gateway: &Gateway,
    caller: &Authenticated,
    system: &CompatSystem,
    received: &Received,
) -> Result<Said, Problem> {
    let app = caller.using(Scope::Sessions, gateway)?;
    let content = &received.content;
    let qrtype = content.qrtype(&["1101", "1102"])?;
    let with_image = content.rettype(&["0", "1"])? != Some("0");
    content.check_form()?;
    let plain = content.plainvalue()?;
    if plain.is_some() && qrtype != "1101" {
        return Err(Problem::plainvalue_unexpected());
    }
    let item = said(&received.header.itemcode).unwrap_or(&system.item);
    let (_, name) =
        gateway.licenses.items().find(|(code, _)| *code == item).ok_or_else(Problem::compat_item_unknown)?;
    let flow = match (plain, system.fields.is_empty()) {
        (Some(_), _) => "login_sign",
        (None, false) => "authorise",
        (None, true) => "login",
    };
    let request = SessionRequest {
        flow: flow.to_owned(),
        item: item.to_owned(),
        item_name: name.to_owned(),
        biz_no: received.business()?,
        roles: None,
        statuses: None,
        digest: plain.map(|text| STANDARD.encode(Sm3::digest(text.as_bytes()))),
        text: plain.map(str::to_owned),
        fields: (flow == "authorise").then(|| system.fields.clone()),
        ttl: None,
        replaces: None,
    };
    let besides = Besides { qrtype: Some(qrtype), ..Besides::default() };
    let session = begun(gateway, caller, app, request.check()?, besides).await?;
    let mut told = object([("qrid", session.session), ("qrinfo", session.qr_text.clone())]);
    if with_image {
        let image = qr_png(&session.qr_text).ok_or_else(|| Problem::session_broken("QR code"))?;
        told.insert("qrimage".to_owned(), STANDARD.encode(image).into());
    }
    Ok(Said::impersonal(told))
}

/// 004: whether the holder has agreed.
pub(super) async fn poll(
    gateway: &Gateway,
    caller: &Authenticated,
    received: &Received,
) -> Result<Said, Problem> {
    let app = caller.using(Scope::Sessions, gateway)?;
    received.content.qrtype(&["1101", "1102"])?;
    let id = received.content.qrid()?;
    let found = gateway.store.scan_progress(id).await.map_err(|error| Problem::from_sessions(&error))?;
    // What somebody does in a login is between him and this site.
    if found.app != app.id || found.login.is_some() {
        return Err(Problem::unknown_session());
    }
    let progress = SessionProgress { state: found.state, phone: found.phone, expires_at: found.expires_at };
    match progress.seen(OffsetDateTime::now_utc()) {
        ScanState::Created | ScanState::Scanned => Ok(Said::unsigned(object([("operflag", "1".to_owned())]))),
        ScanState::Rejected => Err(SessionRefusal::Rejected.into()),
        ScanState::Cancelled => Err(SessionRefusal::Cancelled.into()),
        ScanState::Replaced => Err(SessionRefusal::Replaced.into()),
        ScanState::Expired => Err(SessionRefusal::Expired.into()),
        state @ (ScanState::Confirmed | ScanState::Consumed) => {
            // Nobody logs in twice by one code.
            if state == ScanState::Consumed && OffsetDateTime::now_utc() >= found.expires_at {
                return Err(SessionRefusal::Consumed.into());
            }
            // Whoever is given the license is given what the session came to.
            let whole = fetched(gateway, caller, id, true).await?;
            let mut told = object([("operflag", "0".to_owned())]);
            if let Some(phone) = found.phone {
                told.insert("tragerSn".to_owned(), hex::encode(&phone[..8]).into());
            }
            if let Some(license) = whole.and_then(|fetched| entity(&fetched)) {
                told.insert("entity".to_owned(), STANDARD.encode(license.der()).into());
            }
            Ok(Said::signed(told))
        }
    }
}

/// 011: a part of what a session came to.
pub(super) async fn fetch(
    gateway: &Gateway,
    caller: &Authenticated,
    received: &Received,
) -> Result<Said, Problem> {
    caller.using(Scope::Sessions, gateway)?;
    let part = received.content.qrtype(&["1402", "1403", "1404", "1405", "1406"])?;
    let id = received.content.qrid()?;
    let whole = matches!(part, "1403" | "1404");
    if part == "1406" {
        file::granted(gateway, caller)?;
    }
    let found = fetched(gateway, caller, id, whole).await?;
    let found = found.ok_or_else(Problem::entity_not_granted)?;
    let mut told = match part {
        "1403" | "1404" => license(&found, part)?,
        "1405" => authorisation(&found),
        _ => information(gateway, caller, &found).await?,
    };
    told.insert("qrid".to_owned(), id.into());
    if part == "1406" {
        let uscc = read_uscc(gateway, text(&found, "uscc"))?;
        let pdf = file::pdf(gateway, caller, &uscc, None, None).await?;
        told.insert("image".to_owned(), STANDARD.encode(pdf).into());
    }
    Ok(Said::signed(told))
}

/// 901: the business items of the site's decision table.
pub(super) fn items(gateway: &Gateway, caller: &Authenticated) -> Result<Said, Problem> {
    caller.using(Scope::Sessions, gateway)?;
    let items: Vec<_> =
        gateway.licenses.items().map(|(code, name)| json!({"itemcode": code, "itemname": name})).collect();
    Ok(Said::impersonal([("tradeType".to_owned(), Value::Array(items))].into_iter().collect()))
}

/// A member of the result.
fn text<'f>(found: &'f Fetched, member: &str) -> &'f str {
    found.answer["result"][member].as_str().unwrap_or_default()
}

/// The license, where the app may see it.
fn entity(found: &Fetched) -> Option<Certificate> {
    Certificate::from_pem(found.answer["license"].as_str()?).ok()
}

/// 1403 and 1404.
fn license(found: &Fetched, part: &str) -> Result<Map<String, Value>, Problem> {
    let license = entity(found).ok_or_else(Problem::entity_not_granted)?;
    if part == "1403" {
        return Ok(object([("licenceentity", STANDARD.encode(license.der()))]));
    }
    let key = license.public_key().map_err(|_| Problem::session_broken("license"))?;
    Ok(object([("licencepubkey", STANDARD.encode(key.spki_der()))]))
}

/// 1402: what of the face the holder let be read, or else what the app may read by itself.
async fn information(
    gateway: &Gateway,
    caller: &Authenticated,
    found: &Fetched,
) -> Result<Map<String, Value>, Problem> {
    let result = &found.answer["result"];
    let mut told = match &result["face"] {
        Value::Object(face) => fields::of_face(face),
        _ if caller.with(Scope::Licenses).is_ok() => {
            let app = caller.using(Scope::Licenses, gateway)?;
            let uscc = read_uscc(gateway, text(found, "uscc"))?;
            let grant = FieldGrant::new(app.fields.iter().cloned());
            let answer = gateway.licenses.face(&uscc, &grant).await?;
            record_read(gateway, caller, "license.face", uscc.as_str(), answer.is_some()).await?;
            answer.map(|answer| fields::of_face(&answer.face)).unwrap_or_default()
        }
        _ => Map::new(),
    };
    fields::add_result(&mut told, result);
    Ok(told)
}

/// 1405: as whom somebody agreed to what.
fn authorisation(found: &Fetched) -> Map<String, Value> {
    let result = &found.answer["result"];
    let mut told = object([("operflag", "0".to_owned())]);
    fields::add_result(&mut told, result);
    fields::add_role(&mut told, result);
    if let Some(plain) = found.terms.text.as_ref() {
        told.insert("plainvalue".to_owned(), plain.clone().into());
    }
    if let Some(signed) = result["digest_signature"].as_str() {
        told.insert("signdata".to_owned(), signed.into());
        if let Some(license) = entity(found) {
            told.insert("entity".to_owned(), STANDARD.encode(license.der()).into());
        }
    }
    told
}
