//! What was confirmed: as it is kept with the session, and as the app gets it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::Certificate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sm3::{Digest, Sm3};
use store::{KeyPurpose, ScanFlow, ScanSession};
use time::OffsetDateTime;
use utoipa::ToSchema;
use verify_front::{Authorisation, Consent, Decision, FieldGrant, LicenseAnswer};

use super::steps;
use crate::problem::Problem;
use crate::state::Gateway;

/// What a phone brought and how it was judged. It is sealed with its session.
#[derive(Serialize, Deserialize)]
pub(super) struct Confirmed {
    /// What the license's key signed, as it came.
    signed: String,
    /// The signature, DER, base64.
    signature: String,
    /// What the same key signed over the digest that was to be signed: SignedData of GB/T 35275, detached, DER, base64.
    #[serde(default)]
    digest_cms: Option<String>,
    /// The license certificate, PEM.
    license: String,
    /// The same text, read.
    consent: Consent,
    name: Option<String>,
    status: Status,
    decision: DecidedItem,
    serial: String,
    #[serde(with = "time::serde::rfc3339")]
    not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
    /// SM3 of the certificate, hexadecimal.
    certificate_sm3: String,
    #[serde(with = "time::serde::rfc3339")]
    confirmed_at: OffsetDateTime,
}

/// What a phone brought to prove its holder's consent.
pub(super) struct Proof<'a> {
    /// The text that the license's key signed.
    pub(super) consent: &'a str,
    /// Its signature, DER.
    pub(super) signature: &'a [u8],
    /// Its signature over the digest that was to be signed: SignedData, DER.
    pub(super) digest_cms: Option<&'a [u8]>,
    /// The license.
    pub(super) license: &'a Certificate,
}

/// A standing.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
struct Status {
    /// The publicity system's code.
    code: i64,
    /// Its term.
    text: String,
    /// What is on file beside it.
    flags: Vec<String>,
    /// When the register said so.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    as_of: OffsetDateTime,
}

/// By what it was decided that the license may be used so.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
struct DecidedItem {
    /// The row of the site's decision table that the enterprise's standing fits.
    standing: Option<String>,
    /// Whether who reads of it is to be told how the enterprise stands.
    marked: bool,
    /// The table's version.
    table: String,
    /// SM3 of the table, hexadecimal.
    table_digest: String,
}

/// What a session came to.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionResult {
    /// The session.
    session: String,
    /// The app that it is for.
    app: String,
    /// `login`, `login_sign`, `sign` or `authorise`.
    #[schema(value_type = String)]
    flow: ScanFlow,
    /// The business item.
    item: String,
    /// The app's own number for the business.
    #[serde(skip_serializing_if = "Option::is_none")]
    biz_no: Option<String>,
    /// The enterprise: unified social credit code.
    uscc: String,
    /// Its name, as the license has it.
    name: Option<String>,
    /// Its standing when it was confirmed.
    status: Status,
    /// By what that permits it.
    decision: DecidedItem,
    /// As whom somebody acted.
    role: RoleItem,
    /// Who, as far as the app may see it (the grant of the field `holder`).
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
    /// Under what an agent acted, as the license's key vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorisation: Option<AuthorisationItem>,
    /// The license.
    license: LicenseItem,
    /// SM3 of the text that the license's key signed, hexadecimal.
    consent_sm3: String,
    /// The digest that was signed, SM3, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// base64: the license key's signature over it: SignedData of GB/T 35275, detached, with the license's certificate; only for
    /// apps that may see all that a license shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_signature: Option<String>,
    /// The fields of the face that the holder let be read, as the register has them now; with `authorise`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    face: Option<Map<String, Value>>,
    /// When the holder confirmed.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    confirmed_at: OffsetDateTime,
    /// `urn:cn:elicense:2` scanned and confirmed; `urn:cn:elicense:3` with a digest signed besides.
    assurance: &'static str,
}

/// A role.
#[derive(Serialize, ToSchema)]
struct RoleItem {
    /// 0 法定代表人, 1 证照管理员, 2 办事人.
    opertype: u8,
    /// `legal_representative`, `administrator` or `agent`.
    name: &'static str,
}

/// An authorisation.
#[derive(Serialize, ToSchema)]
struct AuthorisationItem {
    /// What it is called, where it has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The codes of the items it is for (精准授权); absent for all business (全业务授权).
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Vec<String>>,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    until: OffsetDateTime,
}

/// A license.
#[derive(Serialize, ToSchema)]
struct LicenseItem {
    /// 执照序列号.
    serial: String,
    /// Start of validity.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    not_before: OffsetDateTime,
    /// End of validity.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    not_after: OffsetDateTime,
    /// SM3 of its certificate, hexadecimal.
    certificate_sm3: String,
}

/// What a session came to, its signature by the site, and the proof by the license's key.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResultResponse {
    /// Where it stands in the audit log. First, so that the rest can be written before it is known.
    audit_index: u64,
    /// What it came to.
    result: SessionResult,
    /// The same as it is signed: JSON, octet by octet.
    result_text: String,
    /// base64: the site's SM2 signature over that text, DER, identifier `1234567812345678`.
    result_signature: String,
    /// The site's key of purpose `front` that signed.
    #[schema(value_type = String)]
    key: config::KeyId,
    /// What the license's key signed, octet by octet; like the next two only for apps that may see all that it and the license
    /// show.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<String>,
    /// base64: its SM2 signature, DER, identifier `1234567812345678`.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent_signature: Option<String>,
    /// The license certificate, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<String>,
    /// The request's id.
    request_id: String,
}

/// What a session came to, as a file: what of a [`ResultResponse`] does not change.
#[derive(Serialize)]
struct ResultDocument<'a> {
    result_text: &'a str,
    result_signature: &'a str,
    key: &'a config::KeyId,
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consent_signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<&'a str>,
}

impl Confirmed {
    /// What is kept of a consent that was judged.
    pub(super) fn of(
        consent: Consent,
        proof: Proof<'_>,
        answer: &LicenseAnswer,
        decisions: &[Decision],
        at: OffsetDateTime,
    ) -> Option<Self> {
        let (status, license) = (answer.status.as_ref()?, answer.license.as_ref()?);
        let decided = decisions.first()?; // of one table and one standing, all of them
        Some(Self {
            signed: proof.consent.to_owned(),
            signature: STANDARD.encode(proof.signature),
            digest_cms: proof.digest_cms.map(|cms| STANDARD.encode(cms)),
            license: proof.license.to_pem(),
            consent,
            name: answer.face.as_ref()?.name.clone(),
            status: Status {
                code: status.code,
                text: status.text.to_owned(),
                flags: status.flags.clone(),
                as_of: status.as_of,
            },
            decision: DecidedItem {
                standing: decided.standing.clone(),
                marked: decisions.iter().any(|decision| decision.marked),
                table: decided.table.clone(),
                table_digest: decided.table_digest.clone(),
            },
            serial: license.serial.clone(),
            not_before: license.not_before,
            not_after: license.not_after,
            certificate_sm3: hex::encode(Sm3::digest(proof.license.der())),
            confirmed_at: OffsetDateTime::from_unix_timestamp(at.unix_timestamp()).unwrap_or(at),
        })
    }

    /// The license and its key's signature over the digest that was to be signed, SignedData; none where nothing was.
    ///
    /// # Errors
    /// What is kept is not what was kept.
    pub(super) fn co_signature(&self) -> Result<Option<(Certificate, Vec<u8>)>, Problem> {
        let Some(cms) = &self.digest_cms else { return Ok(None) };
        let cms = STANDARD.decode(cms).map_err(|_| Problem::session_broken("result"))?;
        Ok(Some((self.license()?, cms)))
    }

    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        serde_json::from_slice(octets).ok()
    }

    pub(super) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default() // texts, numbers and times
    }

    pub(super) fn uscc(&self) -> &str {
        &self.consent.uscc
    }

    pub(super) fn consent(&self) -> &Consent {
        &self.consent
    }

    /// The license that it is of.
    ///
    /// # Errors
    /// What is kept is not what was kept.
    pub(super) fn license(&self) -> Result<Certificate, Problem> {
        Certificate::from_pem(&self.license).map_err(|_| Problem::session_broken("result"))
    }

    /// Until when it can hold at most: as long as the license, and the authorisation if somebody acted under one.
    pub(super) fn holds_until(&self) -> OffsetDateTime {
        let authorised = self.consent.authorisation.as_ref().map(|authorisation| authorisation.until);
        authorised.map_or(self.not_after, |until| until.min(self.not_after))
    }

    /// Whether who has this grant may see all that the proof names: the license shows more than any field of the result.
    pub(super) fn is_for(&self, grant: &FieldGrant) -> bool {
        let names_nobody = self.consent.operator.is_none() || grant.shows_in_full("holder");
        names_nobody && self.shows_license_to(grant)
    }

    /// Whether who has this grant may see all that the license shows.
    pub(super) fn shows_license_to(&self, grant: &FieldGrant) -> bool {
        let shown = Certificate::from_pem(&self.license).and_then(|license| formats::license::face(&license));
        shown.is_ok_and(|(face, _)| grant.covers(&face))
    }

    /// Whether this is what was brought: the same consent of the same license. The signatures over it may differ, as each is
    /// made with another random number.
    pub(super) fn is_of(&self, consent: &str, license: &Certificate) -> bool {
        self.signed == consent && self.license == license.to_pem()
    }

    /// What it came to for who has this grant.
    pub(super) async fn result(
        &self,
        gateway: &Gateway,
        session: &ScanSession,
        grant: &FieldGrant,
    ) -> Result<SessionResult, Problem> {
        let (terms, consent) = (steps::terms(session)?, &self.consent);
        let face = if terms.flow == ScanFlow::Authorise {
            let uscc = crate::licenses::read_uscc(gateway, &consent.uscc)?;
            let found = gateway.licenses.face(&uscc, &grant.within(&consent.fields)).await?;
            Some(found.ok_or_else(Problem::license_unknown)?.face)
        } else {
            None
        };
        let is_granted = grant.shows("holder") || grant.shows_in_full("holder");
        let operator = consent.operator.as_deref().filter(|_| is_granted);
        let operator = operator.map(|name| grant.person("holder", name));
        let authorisation = consent.authorisation.clone().map(|granted| {
            let Authorisation { id, items, until } = granted;
            AuthorisationItem { id, items, until }
        });
        Ok(SessionResult {
            session: session.id.clone(),
            app: terms.app,
            flow: terms.flow,
            item: terms.item,
            biz_no: terms.biz_no,
            uscc: consent.uscc.clone(),
            name: self.name.clone(),
            status: self.status.clone(),
            decision: self.decision.clone(),
            role: RoleItem { opertype: consent.role.opertype(), name: consent.role.name() },
            operator,
            authorisation,
            license: LicenseItem {
                serial: self.serial.clone(),
                not_before: self.not_before,
                not_after: self.not_after,
                certificate_sm3: self.certificate_sm3.clone(),
            },
            assurance: if terms.digest.is_some() { "urn:cn:elicense:3" } else { "urn:cn:elicense:2" },
            consent_sm3: hex::encode(Sm3::digest(self.signed.as_bytes())),
            digest: terms.digest,
            digest_signature: self.digest_cms.clone().filter(|_| self.is_for(grant)),
            face,
            confirmed_at: self.confirmed_at,
        })
    }

    /// The answer, whose place in the audit log is not known yet, and SM3 of the signed result.
    pub(super) async fn answer(
        &self,
        gateway: &Gateway,
        session: &ScanSession,
        grant: &FieldGrant,
    ) -> Result<(ResultResponse, [u8; 32]), Problem> {
        let result = self.result(gateway, session, grant).await?;
        let has_proof = self.is_for(grant);
        let text = serde_json::to_string(&result).map_err(|_| Problem::session_broken("result"))?;
        let signed = gateway.system.sign(KeyPurpose::Front, |_, _| text.clone().into_bytes()).await;
        let signed = signed.map_err(|error| Problem::front_not_ready(&error))?;
        let digest = Sm3::digest(text.as_bytes()).into();
        let response = ResultResponse {
            audit_index: 0,
            result,
            result_text: text,
            result_signature: STANDARD.encode(&signed.signature),
            key: signed.key,
            consent: has_proof.then(|| self.signed.clone()),
            consent_signature: has_proof.then(|| self.signature.clone()),
            license: has_proof.then(|| self.license.clone()),
            request_id: crate::request_id::current(),
        };
        Ok((response, digest))
    }

    /// What the session came to as a file: the result as the site signs it, and the proof by the license's key where the app
    /// may see all that it names; JSON.
    pub(super) async fn document(
        &self,
        gateway: &Gateway,
        session: &ScanSession,
        grant: &FieldGrant,
    ) -> Result<Vec<u8>, Problem> {
        let (response, _) = self.answer(gateway, session, grant).await?;
        let document = ResultDocument {
            result_text: &response.result_text,
            result_signature: &response.result_signature,
            key: &response.key,
            consent: response.consent.as_deref(),
            consent_signature: response.consent_signature.as_deref(),
            license: response.license.as_deref(),
        };
        serde_json::to_vec(&document).map_err(|_| Problem::session_broken("result"))
    }
}
