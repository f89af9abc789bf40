//! What a session asks, what a holder agrees to, and whether the two are one.
//!
//! The phone shows the terms, lets its holder choose license and role, and has the license's key sign a text that names
//! all of it: JSON, whose octets are kept as they came. The gateway reads that text back and holds each member against the terms,
//! so that a consent to one thing never serves for another.

use formats::license::Face;
use serde::{Deserialize, Serialize};
use store::ScanFlow;
use time::{Duration, OffsetDateTime};

use crate::{Authorisation, DecisionQuestion, LicenseUse, Role};

/// How far a phone's clock may be off.
const SKEW: Duration = Duration::minutes(5);
/// What an app asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTerms {
    /// The app's id.
    pub app: String,
    /// Its name, for people.
    pub app_name: String,
    /// What for.
    pub flow: ScanFlow,
    /// The code of the business item (业务事项) that it is about.
    pub item: String,
    /// Its name, for people.
    pub item_name: String,
    /// The app's own number for the business.
    pub biz_no: Option<String>,
    /// Whose consent it takes.
    pub roles: Vec<Role>,
    /// With which registration statuses, of those that the decision table permits.
    pub statuses: Vec<i64>,
    /// The digest that is to be signed, SM3, hexadecimal.
    pub digest: Option<String>,
    /// What that is the digest of, for people.
    pub text: Option<String>,
    /// Which fields of the face it wants to read.
    pub fields: Vec<String>,
    /// 128 random bits, hexadecimal: no two sessions' consents are one.
    pub nonce: String,
    /// The one stamp that what is signed can become, where a digest is to be signed.
    pub stamp: Option<StampTerms>,
    /// What the session is called in the national front's protocol (`qrtype`), where it was asked for in that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qrtype: Option<String>,
}

/// A stamp that is to be. Where it was foreseen, it comes with the same order to the same digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampTerms {
    /// Its number.
    pub id: String,
    /// What its check page is found by.
    pub check_code: String,
    /// The time that it has; whole seconds.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// What the license's key signed. Version 1, which is read where it was kept, names neither app, item, text and number as they
/// were shown nor the stamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// The app.
    pub app: String,
    /// Its name, as the holder was shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_name: Option<String>,
    /// The phone's time.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Of an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorisation: Option<Authorisation>,
    /// The app's own number for the business, as it was shown, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub biz_no: Option<String>,
    /// The digest, where one is to be signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The fields that the app may read, where it asks for some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// What for.
    pub flow: ScanFlow,
    /// The item.
    pub item: String,
    /// Its name, as it was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_name: Option<String>,
    /// The session's.
    pub nonce: String,
    /// Who agrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The session.
    pub qrid: String,
    /// As whom.
    pub role: Role,
    /// The number of the stamp that the digest's signature can become, as it was shown, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp_id: Option<String>,
    /// What is signed, as it was shown, where something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// For which enterprise.
    pub uscc: String,
    /// Version of this form: 2.
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
    /// It is about another item, or for another end.
    Item,
    /// It does not say what the phone was to show, or says something else: the member's name.
    Shown(&'static str),
    /// It is about another digest.
    Digest,
    /// It names fields that were not asked for, or none where some were.
    Fields,
    /// The license is another enterprise's.
    Enterprise,
    /// The phone's clock is wrong, or the consent is old.
    Clock,
}

/// Why somebody may not act, whatever the decision table says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleRefusal(pub &'static str);

impl Consent {
    /// Version of its form that is taken: the second one says what the holder was shown.
    pub const VERSION: u8 = 2;

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
        let stamp_id = terms.stamp.as_ref().map(|stamp| &stamp.id);
        let checks = [
            (consent.v == Self::VERSION, ConsentFault::Malformed),
            (consent.qrid == qrid && consent.nonce == terms.nonce, ConsentFault::Session),
            (consent.app == terms.app, ConsentFault::App),
            (consent.item == terms.item && consent.flow == terms.flow, ConsentFault::Item),
            (consent.app_name.as_ref() == Some(&terms.app_name), ConsentFault::Shown("app_name")),
            (consent.item_name.as_ref() == Some(&terms.item_name), ConsentFault::Shown("item_name")),
            (consent.biz_no == terms.biz_no, ConsentFault::Shown("biz_no")),
            (consent.text == terms.text, ConsentFault::Shown("text")),
            (consent.stamp_id.as_ref() == stamp_id, ConsentFault::Shown("stamp_id")),
            (consent.digest == terms.digest, ConsentFault::Digest),
            (fields_fit, ConsentFault::Fields),
            ((consent.at - at).abs() <= SKEW, ConsentFault::Clock),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, fault)) => Err(fault),
            None => Ok(consent),
        }
    }

    /// What the decision table is asked about it: one question for each use of the license that the flow is.
    pub fn questions(&self, at: OffsetDateTime) -> impl Iterator<Item = DecisionQuestion> + '_ {
        let uses: &[LicenseUse] = match self.flow {
            ScanFlow::Login => &[LicenseUse::Login],
            ScanFlow::LoginSign => &[LicenseUse::Login, LicenseUse::Sign],
            ScanFlow::Sign => &[LicenseUse::Sign],
            ScanFlow::Authorise => &[LicenseUse::Show],
        };
        uses.iter().map(move |license_use| DecisionQuestion {
            license_use: *license_use,
            role: self.role,
            item: Some(self.item.clone()),
            authorisation: self.authorisation.clone(),
            at,
        })
    }

    /// Whether whoever agrees may act in that role, as far as app and license say: the app takes it, nobody but an agent
    /// brings an authorisation, and the license was made for this person where it says for whom. What the role may do with
    /// the license the decision table says.
    ///
    /// # Errors
    /// [`RoleRefusal`].
    pub fn permits(&self, terms: &SessionTerms, face: &Face) -> Result<(), RoleRefusal> {
        if !terms.roles.contains(&self.role) {
            return Err(RoleRefusal("the app does not take this role for this item"));
        }
        if self.role != Role::Agent && self.authorisation.is_some() {
            return Err(RoleRefusal("only an agent acts under an authorisation"));
        }
        let trimmed = |name: &Option<String>| name.as_deref().map(|name| name.trim().to_owned());
        let (holder, representative) = (trimmed(&face.holder), trimmed(&face.legal_representative));
        let is_anothers = holder.is_some() && representative.is_some() && holder != representative;
        if self.role == Role::LegalRepresentative && is_anothers {
            return Err(RoleRefusal("the license was made for somebody else than the legal representative"));
        }
        let Some(operator) = self.operator.as_deref().map(str::trim) else { return Ok(()) };
        let differs = |name: &Option<String>| name.as_deref().is_some_and(|name| name.trim() != operator);
        if self.role == Role::LegalRepresentative && differs(&face.legal_representative) {
            return Err(RoleRefusal("the license names another legal representative"));
        }
        if differs(&face.holder) {
            return Err(RoleRefusal("the license was made for another person"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-06-01 0:00 UTC);

    fn consent(flow: ScanFlow) -> Consent {
        let until = datetime!(2026-07-01 0:00 UTC);
        Consent {
            app: "app".to_owned(),
            app_name: Some("App".to_owned()),
            at: NOW,
            authorisation: Some(Authorisation { id: None, items: None, until }),
            biz_no: None,
            digest: None,
            fields: Vec::new(),
            flow,
            item: "annual-report".to_owned(),
            item_name: Some("年度报告".to_owned()),
            nonce: "00".repeat(16),
            operator: None,
            qrid: "A".repeat(26),
            role: Role::Agent,
            stamp_id: None,
            text: None,
            uscc: "91610200MAXTA00240".to_owned(),
            v: Consent::VERSION,
        }
    }

    #[test]
    fn each_use_that_a_flow_makes_of_the_license_is_decided() {
        for (flow, wanted) in [
            (ScanFlow::Login, vec![LicenseUse::Login]),
            (ScanFlow::LoginSign, vec![LicenseUse::Login, LicenseUse::Sign]),
            (ScanFlow::Sign, vec![LicenseUse::Sign]),
            (ScanFlow::Authorise, vec![LicenseUse::Show]),
        ] {
            let consent = consent(flow);
            let questions: Vec<_> = consent.questions(NOW).collect();
            let uses: Vec<_> = questions.iter().map(|question| question.license_use).collect();
            assert_eq!(uses, wanted, "{flow:?}");
            for question in questions {
                assert_eq!(question.item.as_deref(), Some("annual-report"));
                assert_eq!((question.role, question.at), (Role::Agent, NOW));
                assert_eq!(question.authorisation, consent.authorisation);
            }
        }
    }

    #[test]
    fn an_authorisation_is_read_as_it_was_signed_and_no_other_form_is() {
        let text = serde_json::to_string(&consent(ScanFlow::Login)).unwrap();
        assert!(text.contains(r#""authorisation":{"until":"2026-07-01T00:00:00Z"}"#), "{text}");
        assert_eq!(serde_json::from_str::<Consent>(&text).unwrap(), consent(ScanFlow::Login));
        let other = text.replace(r#"{"until""#, r#"{"item":"*","until""#);
        assert!(serde_json::from_str::<Consent>(&other).is_err());
    }

    fn terms(roles: &[Role]) -> SessionTerms {
        SessionTerms {
            app: "app".to_owned(),
            app_name: "App".to_owned(),
            flow: ScanFlow::Login,
            item: "annual-report".to_owned(),
            item_name: "年度报告".to_owned(),
            biz_no: None,
            roles: roles.to_vec(),
            statuses: vec![1],
            digest: None,
            text: None,
            fields: Vec::new(),
            nonce: "00".repeat(16),
            stamp: None,
            qrtype: None,
        }
    }

    #[test]
    fn a_consent_says_what_was_shown_and_one_that_was_kept_before_is_still_read() {
        let whole = SessionTerms {
            biz_no: Some("2026-0001".to_owned()),
            text: Some("年度报告书".to_owned()),
            stamp: Some(StampTerms { id: "20260601-0".to_owned(), check_code: String::new(), at: NOW }),
            ..terms(&[Role::Agent])
        };
        let said = Consent {
            biz_no: whole.biz_no.clone(),
            text: whole.text.clone(),
            stamp_id: Some("20260601-0".to_owned()),
            ..consent(ScanFlow::Login)
        };
        let read = |consent: &Consent, terms: &SessionTerms| {
            Consent::read(&serde_json::to_string(consent).unwrap(), &consent.qrid, terms, NOW).map(drop)
        };
        assert_eq!(read(&said, &whole), Ok(()));
        assert_eq!(read(&consent(ScanFlow::Login), &terms(&[Role::Agent])), Ok(()));
        let other = || Some("other".to_owned());
        for (member, without, with_another) in [
            (
                "app_name",
                Consent { app_name: None, ..said.clone() },
                Consent { app_name: other(), ..said.clone() },
            ),
            (
                "item_name",
                Consent { item_name: None, ..said.clone() },
                Consent { item_name: other(), ..said.clone() },
            ),
            ("biz_no", Consent { biz_no: None, ..said.clone() }, Consent { biz_no: other(), ..said.clone() }),
            ("text", Consent { text: None, ..said.clone() }, Consent { text: other(), ..said.clone() }),
            (
                "stamp_id",
                Consent { stamp_id: None, ..said.clone() },
                Consent { stamp_id: other(), ..said.clone() },
            ),
        ] {
            assert_eq!(read(&without, &whole), Err(ConsentFault::Shown(member)));
            assert_eq!(read(&with_another, &whole), Err(ConsentFault::Shown(member)));
        }
        // What nobody was shown nobody agrees to.
        let more = Consent { text: other(), ..consent(ScanFlow::Login) };
        assert_eq!(read(&more, &terms(&[Role::Agent])), Err(ConsentFault::Shown("text")));

        let first = Consent {
            app_name: None,
            item_name: None,
            biz_no: None,
            text: None,
            stamp_id: None,
            v: 1,
            ..said
        };
        let kept = serde_json::to_string(&first).unwrap();
        assert!(!kept.contains("_name"), "{kept}");
        assert_eq!(serde_json::from_str::<Consent>(&kept).unwrap(), first);
        assert_eq!(read(&first, &whole), Err(ConsentFault::Malformed), "but given anew it is not");
    }

    #[test]
    fn only_an_agent_brings_an_authorisation_and_only_roles_that_the_app_takes_act() {
        let face = Face::default();
        let mut consent = consent(ScanFlow::Login);
        assert_eq!(consent.permits(&terms(&[Role::Agent]), &face), Ok(()));
        assert!(consent.permits(&terms(&[Role::Administrator]), &face).is_err());
        consent.role = Role::Administrator;
        assert!(consent.permits(&terms(&[Role::Administrator]), &face).is_err());
        consent.authorisation = None;
        assert_eq!(consent.permits(&terms(&[Role::Administrator]), &face), Ok(()));

        // Whom a license was made for does not act as somebody else, named or not.
        let all = terms(&[Role::LegalRepresentative, Role::Administrator]);
        let name = |name: &str| Some(name.to_owned());
        let of =
            |holder, representative| Face { holder, legal_representative: representative, ..Face::default() };
        let administrators = of(name("李四"), name("张三"));
        for (role, operator, face, permitted) in [
            (Role::Administrator, None, &administrators, true),
            (Role::Administrator, name(" 李四"), &administrators, true),
            (Role::Administrator, name("张三"), &administrators, false),
            (Role::LegalRepresentative, None, &administrators, false),
            (Role::LegalRepresentative, name("李四"), &administrators, false),
            (Role::LegalRepresentative, name("张三"), &administrators, false),
            (Role::LegalRepresentative, None, &of(name("张三 "), name("张三")), true),
            (Role::LegalRepresentative, name("张三"), &of(None, name("张三")), true),
            (Role::LegalRepresentative, name("李四"), &of(None, name("张三")), false),
            (Role::LegalRepresentative, name("李四"), &of(None, None), true),
        ] {
            let consent = Consent { role, operator: operator.clone(), ..consent.clone() };
            let answer = consent.permits(&all, face);
            assert_eq!(answer.is_ok(), permitted, "{role:?} {operator:?} {face:?} {answer:?}");
        }
    }
}
