//! The licenses on the phone of a sandbox, and their keys, which on a real phone nothing leaves: here they are the files of
//! the test PKI. They sign for anybody on this machine, and only what was made for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use certs_test::HolderKey;
use formats::{Certificate, license};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::enterprises::{self, Person};
use crate::auth::Peer;
use crate::body::{Faults, JsonBody, Segment};
use crate::problem::Problem;

/// Octets of a consent at most, as the gateway takes them.
const LONGEST_CONSENT: usize = 16 << 10;
/// Octets of what is signed of a digest at most; it has 112.
const LONGEST_TO_SIGN: usize = 1 << 10;

/// The licenses of a test PKI.
pub(super) struct Wallet {
    /// The folder.
    pki: PathBuf,
    /// Name and description of each sample.
    entries: Vec<(String, Entry)>,
}

/// Where a license's certificate lies.
pub(super) fn certificate_path(pki: &Path, name: &str) -> PathBuf {
    pki.join("licenses").join(format!("{name}.der"))
}

/// Where its key lies.
pub(super) fn key_path(pki: &Path, name: &str) -> PathBuf {
    pki.join("private").join(format!("license-{name}.pem"))
}

#[derive(Deserialize)]
struct Manifest {
    licenses: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    kind: String,
    uscc: String,
}

/// A license that a holder can choose.
#[derive(Serialize)]
pub(super) struct LicenseItem {
    /// `A-good`: what it is signed with by.
    id: String,
    /// `good`, `expired`, `revoked`, `tampered`, `wrong-uscc`.
    kind: String,
    /// The code on its face.
    uscc: String,
    name: Option<String>,
    legal_representative: Option<String>,
    domicile: Option<String>,
    /// End of validity.
    #[serde(with = "time::serde::rfc3339")]
    not_after: OffsetDateTime,
    /// Who acts for the enterprise; of the samples nobody is known but the legal representative.
    #[serde(skip_serializing_if = "Option::is_none")]
    people: Option<[Person; 3]>,
}

/// What is to be signed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignRequest {
    /// The consent, as it goes to the gateway.
    consent: String,
    /// base64: `to_sign` of the scan's answer, where there is one.
    to_sign: Option<String>,
}

/// What a phone brings to confirm a session.
#[derive(Serialize)]
pub(super) struct SignedItem {
    /// The license certificate, PEM.
    license: String,
    /// base64: the signature over the consent, DER.
    signature: String,
    /// base64: the signature over what is signed of a digest, DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_signature: Option<String>,
}

impl Wallet {
    /// The licenses in a folder, if there are any.
    pub(super) fn of(pki: PathBuf) -> Option<Self> {
        let text = fs::read(pki.join("manifest.json")).ok()?;
        let manifest: Manifest = serde_json::from_slice(&text).ok()?;
        let named = manifest.licenses.into_iter().filter_map(|entry| {
            let name = entry.file.strip_prefix("licenses/")?.strip_suffix(".der")?.to_owned();
            Some((name, entry))
        });
        let entries: Vec<_> = named.collect();
        (!entries.is_empty()).then_some(Self { pki, entries })
    }

    fn certificate(&self, name: &str) -> Option<Certificate> {
        let der = fs::read(certificate_path(&self.pki, name)).ok()?;
        Certificate::from_der(&der).ok()
    }

    /// The samples, and then what was made since.
    fn licenses(&self) -> Vec<LicenseItem> {
        let samples = self
            .entries
            .iter()
            .filter_map(|(id, entry)| self.item(id.clone(), entry.kind.clone(), entry.uscc.clone(), None));
        let made = enterprises::records(&self.pki).into_iter().filter_map(|record| {
            let kind = record.license.name().to_owned();
            self.item(record.uscc.clone(), kind, record.uscc, Some(enterprises::people()))
        });
        samples.chain(made).collect()
    }

    fn item(
        &self,
        id: String,
        kind: String,
        uscc: String,
        people: Option<[Person; 3]>,
    ) -> Option<LicenseItem> {
        let certificate = self.certificate(&id)?;
        let (face, _) = license::face(&certificate).ok()?;
        Some(LicenseItem {
            id,
            kind,
            uscc,
            name: face.name,
            legal_representative: face.legal_representative,
            domicile: face.domicile,
            not_after: certificate.not_after(),
            people,
        })
    }

    /// A license by its name, and its key: only of those that the manifest names, and of those that were made since.
    fn holder(&self, name: &str) -> Result<(Certificate, HolderKey), Problem> {
        let is_known = self.entries.iter().any(|(known, _)| known == name)
            || enterprises::records(&self.pki).iter().any(|record| record.uscc == name);
        let license = is_known.then(|| self.certificate(name)).flatten().ok_or_else(Problem::not_found)?;
        let file = key_path(&self.pki, name);
        let key = Zeroizing::new(fs::read_to_string(file).map_err(|_| Problem::not_found())?);
        match HolderKey::of(license.der(), &key) {
            Ok(key) => Ok((license, key)),
            Err(error) => Err(Problem::test_license_broken(&error)),
        }
    }
}

impl SignRequest {
    fn check(self) -> Result<(String, Option<Vec<u8>>), Problem> {
        let mut faults = Faults::default();
        if self.consent.len() > LONGEST_CONSENT {
            faults.add("consent", "invalid_value", "must be 16 KiB at most");
        }
        let to_sign = self.to_sign.as_ref().and_then(|text| faults.base64("to_sign", text));
        if to_sign.as_ref().is_some_and(|octets| octets.len() > LONGEST_TO_SIGN) {
            faults.add("to_sign", "invalid_value", "must be 1 KiB at most");
        }
        faults.into_result(Some((self.consent, to_sign)))
    }
}

/// Refuses whoever is elsewhere, as of API keys.
pub(super) fn admit(peer: &Peer) -> Result<(), Problem> {
    if peer.is_local() { Ok(()) } else { Err(Problem::test_key_not_admitted()) }
}

pub(super) async fn list_licenses(
    Extension(wallet): Extension<Arc<Wallet>>,
) -> Result<Json<Vec<LicenseItem>>, Problem> {
    let licenses = tokio::task::spawn_blocking(move || wallet.licenses()).await;
    licenses.map(Json).map_err(|_| Problem::panicked())
}

pub(super) async fn sign(
    Extension(wallet): Extension<Arc<Wallet>>,
    Extension(peer): Extension<Peer>,
    Segment(name): Segment,
    JsonBody(request): JsonBody<SignRequest>,
) -> Result<Json<SignedItem>, Problem> {
    admit(&peer)?;
    let (consent, to_sign) = request.check()?;
    let signing = tokio::task::spawn_blocking(move || {
        let (license, key) = wallet.holder(&name)?;
        let over = |octets: &[u8]| match key.sign(octets) {
            Ok(signature) => Ok(STANDARD.encode(signature)),
            Err(error) => Err(Problem::test_license_broken(&error)),
        };
        Ok(SignedItem {
            signature: over(consent.as_bytes())?,
            digest_signature: to_sign.as_deref().map(over).transpose()?,
            license: license.to_pem(),
        })
    });
    signing.await.map_err(|_| Problem::panicked())?.map(Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sign_for_this_machine_alone() {
        for (address, is_admitted) in
            [("127.0.0.1:1", true), ("[::1]:1", true), ("192.0.2.7:1", false), ("[2001:db8::7]:1", false)]
        {
            let admitted = admit(&Peer::Network(address.parse().expect("an address")));
            assert_eq!(
                admitted.map_err(|problem| problem.code()),
                match is_admitted {
                    true => Ok(()),
                    false => Err("test_key_not_admitted"),
                }
            );
        }
    }
}
