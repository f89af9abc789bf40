//! What a session asks, what a holder agrees to, and whether the two are one.
//!
//! The phone shows the terms, lets its holder choose license and role, and has the license's key sign a text that names
//! all of it: JSON, whose octets are kept as they came. The gateway reads that text back and holds each member against the terms,
//! so that a consent to one thing never serves for another.

use formats::license::Face;
use serde::{Deserialize, Serialize};
use store::ScanFlow;
use time::{Duration, OffsetDateTime};

/// How far a phone's clock may be off.
const SKEW: Duration = Duration::minutes(5);
/// An authorisation for everything (全业务授权).
const EVERYTHING: &str = "*";
/// Version of the consent's form.
const VERSION: u8 = 1;

/// Who acts for the enterprise (`opertype`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// 法定代表人, or who stands in that place.
    #[serde(rename = "legal_representative")]
    LegalRepresentative,
    /// 证照管理员.
    #[serde(rename = "manager")]
    Manager,
    /// 办事人.
    #[serde(rename = "handler")]
    Handler,
}

impl Role {
    /// All of them, by their words.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("legal_representative", Self::LegalRepresentative),
        ("manager", Self::Manager),
        ("handler", Self::Handler),
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self.opertype() as usize].0
    }

    /// Its number in the national interface: 0, 1, 2.
    #[must_use]
    pub fn opertype(self) -> u8 {
        self as u8
    }
}

/// What an app asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTerms {
    /// The app's id.
    pub app: String,
    /// Its name, for people.
    pub app_name: String,
    /// What for.
    pub flow: ScanFlow,
    /// The code of the matter (事项) that it is about.
    pub item: String,
    /// Its name, for people.
    pub item_name: String,
    /// The app's own number for the business.
    pub biz_no: Option<String>,
    /// Whose consent it takes.
    pub roles: Vec<Role>,
    /// With which registration statuses.
    pub statuses: Vec<i64>,
    /// The digest that is to be signed, SM3, hexadecimal.
    pub digest: Option<String>,
    /// What that is the digest of, for people.
    pub text: Option<String>,
    /// Which fields of the face it wants to read.
    pub fields: Vec<String>,
    /// 128 random bits, hexadecimal: no two sessions' consents are one.
    pub nonce: String,
}

/// Under what a handler acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorisation {
    /// Its id.
    pub id: String,
    /// The matter it is for; `*` for all.
    pub item: String,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// What the license's key signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// The app.
    pub app: String,
    /// The phone's time.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Of a handler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorisation: Option<Authorisation>,
    /// The digest, where one is to be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The fields that the app may read, where it asks for some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// What for.
    pub flow: ScanFlow,
    /// The matter.
    pub item: String,
    /// The session's.
    pub nonce: String,
    /// Who agrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The session.
    pub qrid: String,
    /// As whom.
    pub role: Role,
    /// For which enterprise.
    pub uscc: String,
    /// Version of this form: 1.
    pub v: u8,
}

/// What of a consent is not what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentFault {
    /// It is no such text.
    Malformed,
    /// It is about another session.
    Session,
    /// It was given to another app.
    App,
    /// It is about another matter, or for another end.
    Item,
    /// It is about another digest.
    Digest,
    /// It names fields that were not asked for, or none where some were.
    Fields,
    /// The license is another enterprise's.
    Enterprise,
    /// The phone's clock is wrong, or the consent is old.
    Clock,
}

/// Why somebody may not act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleRefusal {
    /// In this role nobody may, or not this one.
    NotPermitted(&'static str),
    /// The authorisation has ended.
    AuthorisationExpired,
}

impl Consent {
    /// Reads a signed text and holds it against what was asked; the first thing that differs is told.
    ///
    /// # Errors
    /// [`ConsentFault`].
    pub fn read(
        signed: &str,
        qrid: &str,
        terms: &SessionTerms,
        at: OffsetDateTime,
    ) -> Result<Self, ConsentFault> {
        let consent: Self = serde_json::from_str(signed).map_err(|_| ConsentFault::Malformed)?;
        let fields_fit = match terms.flow {
            ScanFlow::Authorise => {
                !consent.fields.is_empty() && consent.fields.iter().all(|field| terms.fields.contains(field))
            }
            ScanFlow::Login | ScanFlow::LoginSign | ScanFlow::Sign => consent.fields.is_empty(),
        };
        let checks = [
            (consent.v == VERSION, ConsentFault::Malformed),
            (consent.qrid == qrid && consent.nonce == terms.nonce, ConsentFault::Session),
            (consent.app == terms.app, ConsentFault::App),
            (consent.item == terms.item && consent.flow == terms.flow, ConsentFault::Item),
            (consent.digest == terms.digest, ConsentFault::Digest),
            (fields_fit, ConsentFault::Fields),
            ((consent.at - at).abs() <= SKEW, ConsentFault::Clock),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, fault)) => Err(fault),
            None => Ok(consent),
        }
    }

    /// Whether whoever agrees may act in that role: the app takes it, a handler's authorisation covers the matter now,
    /// and the license was made for this person where it says for whom.
    ///
    /// # Errors
    /// [`RoleRefusal`].
    pub fn permits(&self, terms: &SessionTerms, face: &Face, at: OffsetDateTime) -> Result<(), RoleRefusal> {
        if !terms.roles.contains(&self.role) {
            return Err(RoleRefusal::NotPermitted("the app does not take this role for this matter"));
        }
        match (self.role, &self.authorisation) {
            (Role::Handler, None) => {
                return Err(RoleRefusal::NotPermitted("a handler acts under an authorisation"));
            }
            (Role::Handler, Some(authorisation)) => {
                if authorisation.item != EVERYTHING && authorisation.item != terms.item {
                    return Err(RoleRefusal::NotPermitted("the authorisation is for another matter"));
                }
                if authorisation.until <= at {
                    return Err(RoleRefusal::AuthorisationExpired);
                }
            }
            (Role::LegalRepresentative | Role::Manager, Some(_)) => {
                return Err(RoleRefusal::NotPermitted("only a handler acts under an authorisation"));
            }
            (Role::LegalRepresentative | Role::Manager, None) => {}
        }
        let Some(operator) = self.operator.as_deref().map(str::trim) else { return Ok(()) };
        let differs = |name: &Option<String>| name.as_deref().is_some_and(|name| name.trim() != operator);
        if self.role == Role::LegalRepresentative && differs(&face.legal_representative) {
            return Err(RoleRefusal::NotPermitted("the license names another legal representative"));
        }
        if differs(&face.holder) {
            return Err(RoleRefusal::NotPermitted("the license was made for another person"));
        }
        Ok(())
    }
}
