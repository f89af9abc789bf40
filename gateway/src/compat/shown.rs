//! Showing a license (亮照): a phone proves by the license's key that its holder shows it, and gets a code that is good for five
//! minutes and once; a counter reads the code and asks 005. The code is signed by the site and nothing is kept of it but that it was
//! used.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::{AppId, OwnName};
use formats::{Algorithm, DEFAULT_SIGNER_ID, PublicKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sm3::{Digest, Sm3};
use store::{AuditEntry, KeyPurpose, KeyState, NonceSpace};
use time::{Duration, OffsetDateTime};
use verify_front::{DecisionQuestion, FieldGrant, LicenseType, LicenseUse, Role, StatusQuestion};

use super::message::{Received, missing};
use super::{Said, fields, file, object};
use crate::auth::{Authenticated, Scope, signed};
use crate::body::{self, Faults};
use crate::licenses::{read_uscc, record_read};
use crate::problem::Problem;
use crate::sessions::phone;
use crate::stamps::make::random;
use crate::state::Gateway;

/// How long a code is good for.
const GOOD_FOR: Duration = Duration::minutes(5);
/// How far a phone's clock may be off.
const SKEW: Duration = Duration::minutes(5);
/// Characters of a code's name.
const ID_LENGTH: usize = 26;
/// Octets of a code at most.
const LONGEST: usize = 1024;
/// Octets of what a phone signs at most.
const LONGEST_SHOWING: usize = 1024;
/// Standings in which a license can be shown at all; whether it may the decision table says.
const STATUSES: [i64; 3] = [1, 2, 9];

/// What a phone brings to show a license.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowRequest {
    /// The license certificate, PEM or base64 of the DER.
    license: String,
    /// What its key signed: [`Showing`].
    showing: String,
    /// base64: SM2 signature over it, DER, identifier `1234567812345678`.
    signature: String,
}

/// That somebody shows a license, signed by its key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Showing {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    nonce: String,
    role: Role,
    uscc: String,
    v: u8,
}

/// What a code says; its members are in the order of the signed text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowCode {
    expires: i64,
    licencesn: String,
    qrid: String,
    uniscid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sign: Option<String>,
}

impl ShowCode {
    /// What is signed.
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // a number and texts
    }

    /// The code of a text that one of the site's keys signed.
    fn read<'k>(text: &str, keys: impl IntoIterator<Item = &'k PublicKey>) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let mut code: Self = serde_json::from_str(text).ok()?;
        let signature = STANDARD.decode(code.sign.as_ref()?).ok()?;
        if code.text() != text {
            return None; // one form only
        }
        code.sign = None;
        let signed = code.text();
        let verifies = |key: &PublicKey| {
            key.verify_message(Algorithm::Sm2Sm3, DEFAULT_SIGNER_ID, signed.as_bytes(), &signature).is_ok()
        };
        keys.into_iter().any(verifies).then_some(code)
    }
}

/// What a phone says, its form checked.
fn read(request: &ShowRequest) -> Result<(formats::Certificate, Showing, Vec<u8>), Problem> {
    let mut faults = Faults::default();
    let license = phone::license_of(&mut faults, &request.license);
    let signature = faults.base64("signature", &request.signature);
    let (license, signature) = faults.into_result(license.zip(signature))?;
    if request.showing.len() > LONGEST_SHOWING {
        return Err(Problem::showing_invalid("must be 1,024 octets at most"));
    }
    let showing: Showing = body::parse(request.showing.as_bytes())
        .map_err(|_| Problem::showing_invalid("must be JSON with at, nonce, role, uscc and v"))?;
    if showing.v != 1 || !(16..=64).contains(&showing.nonce.len()) {
        return Err(Problem::showing_invalid("must be of version 1, with a nonce of 16 to 64 characters"));
    }
    Ok((license, showing, signature))
}

/// A code for who proves to hold a license that may be shown.
pub(super) async fn show(gateway: &Gateway, request: ShowRequest) -> Result<Map<String, Value>, Problem> {
    let (license, showing, signature) = read(&request)?;
    let at = OffsetDateTime::now_utc();
    if (showing.at - at).abs() > SKEW {
        return Err(Problem::showing_invalid("the phone's clock is more than five minutes off"));
    }
    let key = license.public_key().map_err(|_| Problem::consent_signature_invalid())?;
    key.verify_message(Algorithm::Sm2Sm3, DEFAULT_SIGNER_ID, request.showing.as_bytes(), &signature)
        .map_err(|_| Problem::showing_invalid("is not signed by the license's key"))?;
    let examined = gateway.licenses.examine(license.der(), LicenseType::Certificate, at);
    gateway.trust.met(&license);
    let answer = gateway.licenses.complete(examined, &StatusQuestion::now(at)).await?;
    gateway.metrics.judged("license", answer.judgement.verdict);
    let face = phone::accepted(&answer, &STATUSES)?;
    if face.uscc != showing.uscc {
        return Err(Problem::showing_invalid("is for another enterprise than the license"));
    }
    let (license_use, role) = (LicenseUse::Show, showing.role);
    let question = DecisionQuestion { license_use, role, item: None, authorisation: None, at };
    if let Some(reason) = gateway.licenses.decide(&question, &answer).reason {
        return Err(Problem::use_not_permitted(reason));
    }
    let serial = answer.license.as_ref().map(|license| license.serial.clone()).unwrap_or_default();
    let digest = hex::encode(Sm3::digest(request.showing.as_bytes()));
    once(gateway, &digest, showing.at.max(at), Problem::replay).await?;
    let expires = at + GOOD_FOR;
    let mut code = ShowCode {
        expires: expires.unix_timestamp(),
        licencesn: serial,
        qrid: random(ID_LENGTH),
        uniscid: showing.uscc,
        sign: None,
    };
    let text = code.text();
    let made = gateway.system.sign(KeyPurpose::Front, |_, _| text.clone().into_bytes()).await;
    code.sign = Some(STANDARD.encode(made.map_err(|error| Problem::front_not_ready(&error))?.signature));
    let entry = AuditEntry {
        action: "license.show".to_owned(),
        actor: format!("phone:{}", &digest[..16]),
        at,
        device: None,
        input_digest: Some(digest.clone()),
        key: None,
        outcome: "ok".to_owned(),
        request_id: crate::request_id::current(),
        result_digest: None,
        subject: Some(format!("{} {}", code.qrid, code.uniscid)),
    };
    gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))?;
    Ok(object([("qrinfo", code.text()), ("qrid", code.qrid), ("expires", code.expires.to_string())]))
}

/// Refuses what was used before, at any gateway and by anybody.
async fn once(
    gateway: &Gateway,
    name: &str,
    at: OffsetDateTime,
    used: fn() -> Problem,
) -> Result<(), Problem> {
    let (whose, until) = (AppId::of(OwnName::Gateway), at + signed::REMEMBERED);
    match gateway.callers.nonces.first_use(NonceSpace::Request, &whose, name, until).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(used()),
        Err(error) => Err(Problem::database(&error)),
    }
}

/// 005: whose license a code shows.
pub(super) async fn resolve(
    gateway: &Gateway,
    caller: &Authenticated,
    received: &Received,
) -> Result<Said, Problem> {
    let app = caller.using(Scope::Licenses, gateway)?;
    if received.content.rettype(&["5"])?.is_none() {
        return Err(missing("message_content.rettype"));
    }
    let keys = gateway.system.keys();
    let fronts = keys.iter().filter(|key| key.purpose == KeyPurpose::Front);
    // A code lives for minutes: no key that was taken out of use vouches for one.
    let usable = fronts
        .flat_map(|key| key.versions())
        .filter(|version| matches!(version.state, KeyState::Active | KeyState::Retiring));
    let copies = usable.flat_map(|version| &version.copies);
    let public: Vec<PublicKey> = copies.map(|copy| copy.public_key.clone()).collect();
    let code = ShowCode::read(received.content.qrid()?, &public).ok_or_else(Problem::show_code_invalid)?;
    let at = OffsetDateTime::now_utc();
    if code.expires <= at.unix_timestamp() {
        return Err(Problem::show_code_expired());
    }
    let uscc = read_uscc(gateway, &code.uniscid)?;
    let status = gateway.licenses.status(&uscc).await?.ok_or_else(Problem::license_unknown)?;
    if status.has_ended() {
        return Err(Problem::license_ended(status.code, status.text));
    }
    let grant = FieldGrant::new(app.fields.iter().cloned());
    let face = gateway.licenses.face(&uscc, &grant).await?.ok_or_else(Problem::license_unknown)?;
    let address = file::address(gateway, caller, &uscc).await?;
    once(gateway, &code.qrid, at, Problem::show_code_used).await?;
    record_read(gateway, caller, "license.shown", uscc.as_str(), true).await?;
    let mut told = fields::of_face(&face.face);
    fields::add_code(&mut told, uscc.as_str());
    told.insert("licencesn".to_owned(), code.licencesn.into());
    told.insert("state".to_owned(), status.code.to_string().into());
    if let Some(address) = address {
        told.insert("imageurl".to_owned(), address.into());
    }
    Ok(Said::signed(told))
}
