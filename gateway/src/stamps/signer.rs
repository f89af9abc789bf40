//! Who signs a stamp: what the order says, found and permitted. Whatever kind of signer there is, it is known here and to
//! [`StampSigner`] alone.

use config::KeyId;
use formats::{Algorithm, Certificate, Uscc, subject};
use serde::Deserialize;
use signing::{LicenseSigner, StampSigner};
use store::{App, MandateFormat, MandateOrder, MandateRefusal, MandateUse, RegisteredSeal, SealRefusal};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::form::StampRequest;
use crate::body::{Faults, Object};
use crate::problem::{Fault, Problem};
use crate::protection::Devices;
use crate::sessions::{self, cosign::CoSigned};
use crate::signatures::permit;
use crate::state::Gateway;
use crate::{mandates, request_id, seals};

/// Who signs a document.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignerBody {
    /// A service key of the site; `GET /v1/keys` lists those the app may use.
    #[schema(example = "demo-p256")]
    key: Option<String>,
    /// In place of a key: the session (`POST /v1/sessions:stamp`) in which the key of an enterprise's license signed this on its holder's
    /// phone.
    session: Option<String>,
    /// In place of a key: the unified social credit code of the enterprise in whose name is signed, with `mandate` and `purpose`.
    enterprise: Option<String>,
    /// The number of the enterprise's standing mandate; `GET /v1/mandates` lists those the app may use.
    mandate: Option<String>,
    /// What for: one of the mandate's purposes.
    purpose: Option<String>,
}

/// Who is named.
pub(crate) enum Who<'a> {
    /// A service key.
    Key(&'a str),
    /// An enterprise, by its license in a session.
    Session(&'a str),
    /// An enterprise, by a standing mandate.
    Mandate { enterprise: &'a str, number: &'a str, purpose: &'a str },
}

impl SignerBody {
    /// Who is named.
    ///
    /// # Errors
    /// Nobody, or more than one.
    pub(crate) fn who(&self) -> Result<Who<'_>, Problem> {
        let Self { key, session, enterprise, mandate, purpose } = self;
        match (key, session, enterprise, mandate, purpose) {
            (Some(key), None, None, None, None) => Ok(Who::Key(key)),
            (None, Some(session), None, None, None) => Ok(Who::Session(session)),
            (None, None, Some(enterprise), Some(number), Some(purpose)) => {
                Ok(Who::Mandate { enterprise, number, purpose })
            }
            (Some(_), ..) | (_, Some(_), ..) => {
                let detail = "key or session stands alone, or enterprise, mandate and purpose together";
                Err(Problem::faults(vec![Fault::new("signer", "ambiguous_input", detail)]))
            }
            (None, None, None, None, None) => {
                Err(Problem::faults(vec![Fault::new("signer.key", "missing_field", "is required")]))
            }
            (None, None, ..) => {
                let members = [("enterprise", enterprise), ("mandate", mandate), ("purpose", purpose)];
                let missing = members.iter().filter(|(_, said)| said.is_none());
                let detail = "enterprise, mandate and purpose go together";
                Err(Problem::faults(
                    missing
                        .map(|(name, _)| Fault::new(format!("signer.{name}"), "missing_field", detail))
                        .collect(),
                ))
            }
        }
    }
}

/// A signer that the caller may have sign.
pub(crate) struct Signer {
    /// What makes the signature.
    pub(super) by: StampSigner,
    /// What policies, record and answer call it.
    pub(super) key: KeyId,
    /// How it signs: as ordered, or in its own way.
    pub(super) algorithm: Algorithm,
    /// The certificates that it is shown with, its own first.
    pub(super) chain: Vec<Certificate>,
    /// The largest document that it may sign, octets.
    pub(super) largest: Option<u64>,
    /// What it has signed, where it has.
    pub(super) co_signed: Option<CoSigned>,
}

impl StampRequest {
    /// The signer that the order names. Whether the caller may have it sign is decided before more is read.
    ///
    /// # Errors
    /// There is none such, the caller may not, or it does not sign that way.
    pub(crate) async fn signer(&self, gateway: &Gateway, app: &App) -> Result<Signer, Problem> {
        let Some(Object(signer)) = &self.signer else {
            let detail = "is required, or signers";
            return Err(Problem::faults(vec![Fault::new("signer", "missing_field", detail)]));
        };
        if !gateway.config.site.sandbox {
            self.without_test_enterprises()?;
        }
        match signer.who()? {
            Who::Key(key) => self.service_key(gateway, app, key),
            Who::Session(session) => self.license(gateway, app, session).await,
            Who::Mandate { enterprise, number, purpose } => {
                self.mandate(gateway, app, (enterprise, number, purpose)).await
            }
        }
    }

    /// Whether no item of its list is for a test enterprise.
    fn without_test_enterprises(&self) -> Result<(), Problem> {
        let mut faults = Faults::default();
        let is_test = |code: &str| Uscc::parse_sandbox(code).is_ok_and(|code| code.is_test());
        for (place, enterprise) in self.listed_enterprises().enumerate() {
            if enterprise.is_some_and(is_test) {
                let detail = "test enterprises exist in a sandbox only";
                faults.add(&format!("items[{place}].enterprise"), "test_identity_in_production", detail);
            }
        }
        faults.into_result(Some(()))
    }

    /// The key of a standing mandate, in force now, that the app may use for what the order says.
    async fn mandate(
        &self,
        gateway: &Gateway,
        app: &App,
        (enterprise, number, purpose): (&str, &str, &str),
    ) -> Result<Signer, Problem> {
        let mandate = mandates::known(gateway, number).await?;
        if !mandate.apps.contains(&app.id) {
            return Err(Problem::unknown_mandate(number));
        }
        let mut faults = Faults::default();
        if mandate.enterprise.as_str() != enterprise {
            let detail = "the mandate is another enterprise's";
            faults.add("signer.enterprise", "mandate_of_another_enterprise", detail);
        }
        if self.format.is_none() {
            faults.add("format", "missing_field", "is required");
        }
        let format = faults.word("format", self.format.as_deref(), MandateFormat::NAMES, MandateFormat::Pdf);
        let algorithm = match &self.algorithm {
            Some(text) => crate::input::algorithm(&mut faults, text),
            None => None,
        };
        let format = faults.into_result(format)?;
        let now = OffsetDateTime::now_utc();
        // How large a document is, is known when it is read.
        let mut refusals = mandate.refusals(Some(MandateOrder { format, purpose, octets: 0 }), now);
        refusals.extend(mandate.not_covered(self.listed_enterprises()));
        if let Some(first) = refusals.first() {
            gateway.metrics.mandated(first.code());
            return Err(Problem::mandate_refused(&refusals));
        }
        let wanted = MandateUse {
            mandate: mandate.id.clone(),
            version: mandate.version,
            day: mandates::today(gateway, now),
            per_day: mandate.terms.per_day,
            in_all: mandate.terms.in_all,
            // Each item is stamped in the enterprise's name, whatever their number.
            count: u32::try_from(self.listed_enterprises().len().max(1)).unwrap_or(u32::MAX),
        };
        let devices = Devices(&gateway.fleet);
        let signer = gateway.mandates.signer(&devices, &mandate, wanted, purpose).await?;
        let key = signer.key().clone();
        request_id::note_key(&key);
        let own = signer.algorithm();
        if algorithm.is_some_and(|algorithm| algorithm != own) {
            let detail = format!("the mandate's key signs with {}", own.name());
            return Err(Problem::faults(vec![Fault::new("algorithm", "algorithm_mismatch", detail)]));
        }
        Ok(Signer {
            key,
            algorithm: own,
            chain: signer.chain().to_vec(),
            by: StampSigner::Mandate(Box::new(signer)),
            // A digest is as long as any other.
            largest: (format != MandateFormat::Digest).then_some(mandate.terms.largest_octets),
            co_signed: None,
        })
    }

    /// The key of a license, which has signed in a session of this app.
    async fn license(&self, gateway: &Gateway, app: &App, session: &str) -> Result<Signer, Problem> {
        self.fits_a_license()?;
        let signed = sessions::cosign::signed(gateway, app, session).await?;
        let by = LicenseSigner::new(signed.license.clone(), &signed.cms)?;
        // One word for all of them: figures are by key, and there are as many licenses as enterprises.
        if let Ok(of_licenses) = KeyId::parse("license") {
            request_id::note_key(&of_licenses);
        }
        Ok(Signer {
            key: by.key().clone(),
            algorithm: Algorithm::Sm2Sm3,
            chain: vec![by.certificate().clone()],
            by: StampSigner::License(Box::new(by)),
            largest: None,
            co_signed: Some(signed),
        })
    }

    fn service_key(&self, gateway: &Gateway, app: &App, named: &str) -> Result<Signer, Problem> {
        let keys = gateway.desk.keys();
        let key = KeyId::parse(named).map_err(|_| Problem::unknown_key(named))?;
        permit(app, &keys, &key)?;
        request_id::note_key(&key);
        let algorithm = match &self.algorithm {
            Some(text) => {
                let mut faults = Faults::default();
                let algorithm = crate::input::algorithm(&mut faults, text);
                faults.into_result(algorithm)?
            }
            None => {
                let public_key = &keys.service_key(&key)?.shown().public_key;
                let own = Algorithm::ALL.into_iter().find(|algorithm| public_key.supports(*algorithm));
                own.ok_or_else(|| Problem::unknown_key(key.as_str()))?
            }
        };
        let chain = keys.service_key(&key)?.shown().chain.clone();
        Ok(Signer {
            by: StampSigner::Key(key.clone()),
            key,
            algorithm,
            chain,
            largest: None,
            co_signed: None,
        })
    }
}

impl Signer {
    /// Whether it may sign a document of so many octets.
    ///
    /// # Errors
    /// The mandate is for smaller ones.
    pub(super) fn may_sign(&self, octets: u64) -> Result<(), Problem> {
        match self.largest {
            Some(largest) if octets > largest => {
                Err(Problem::mandate_refused(&[MandateRefusal::TooLarge(largest)]))
            }
            _ => Ok(()),
        }
    }

    /// The seal of this number, as the signer may use it now.
    ///
    /// # Errors
    /// There is no such seal, or the signer may not use it: every reason.
    pub(super) async fn seal(
        &self,
        gateway: &Gateway,
        number: &str,
        at: OffsetDateTime,
    ) -> Result<RegisteredSeal, Problem> {
        let keys = gateway.desk.keys();
        // Seals list certificates of SM2 alone. Who signs otherwise shows a seal as whoever it is the seal of.
        let is_sm2 = self.algorithm == Algorithm::Sm2Sm3;
        let key = match &self.by {
            StampSigner::Key(key) if is_sm2 => Some(keys.service_key(key)?),
            StampSigner::Key(_) | StampSigner::Mandate(_) | StampSigner::License(_) => None,
        };
        let (seal, mut refusals) = seals::in_use(gateway, number, key, at).await?;
        let may_use = |certificate: &Certificate| match &self.by {
            // Which copy of the key signs is open: all of them were looked at.
            StampSigner::Key(_) if is_sm2 => true,
            StampSigner::Mandate(_) if is_sm2 => {
                !seal.refusals(Some(certificate), at).contains(&SealRefusal::NotListed)
            }
            StampSigner::Key(_) | StampSigner::Mandate(_) | StampSigner::License(_) => {
                subject::is_of_holder(certificate, &seal.holder.name, seal.holder.uscc.as_ref())
            }
        };
        if !self.chain.first().is_some_and(may_use) {
            refusals.push(SealRefusal::NotListed);
        }
        match refusals.is_empty() {
            true => Ok(seal),
            false => Err(Problem::seal_not_usable(&refusals)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_a_sandbox_no_item_of_a_list_is_for_a_test_enterprise() {
        let judged = |second: &str| {
            let item = |id: &str, code: &str| {
                format!(r#"{{"id": "{id}", "digest": "AA==", "enterprise": "{code}"}}"#)
            };
            let items = [item("1", "91350100M000100Y43"), item("2", second)].join(", ");
            let order = format!(r#"{{"format": "digest", "signer": {{"key": "k"}}, "items": [{items}]}}"#);
            serde_json::from_str::<StampRequest>(&order).expect("an order").without_test_enterprises()
        };
        assert!(judged("91350100M000100Y43").is_ok());
        let refused = judged("ZZJGD1609314154606").expect_err("it is a test enterprise");
        assert_eq!(refused.code(), "test_identity_in_production");
    }
}
