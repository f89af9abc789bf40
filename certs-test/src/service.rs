//! Keys of the sandbox's services with their certificates, the certificates that must be refused, and
//! the gateway's own TLS identity.

use const_oid::ObjectIdentifier;
use der::asn1::{Ia5String, OctetString};
use serde::Serialize;
use time::OffsetDateTime;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{CrlReason, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};
use zeroize::Zeroizing;

use crate::authority::{Issuer, SANDBOX, ahead, back};
use crate::certificate::{self, DistinguishedName, Request, Revocation};
use crate::error::CertsTestError;
use crate::key::{KeyKind, PrivateParts, SoftwareKey};
use crate::pem;
use crate::seed::Seed;

/// A service's key pair and certificate chain.
#[derive(Clone, Debug)]
pub struct ServiceKey {
    /// `demo-sm2`, `demo-p256`, `demo-rsa2048`, `portal-sm2`, `front-sm2`, `sys-audit`, `sys-token`, `sys-seal`,
    /// `sys-tsa` or `sys-tsa-p256`.
    pub id: String,
    /// The private key, for a device to import.
    pub private: PrivateParts,
    /// Certificates in DER: signer, issuing authority, root.
    pub chain: Vec<Vec<u8>>,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NegativeKind {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// On its issuer's revocation list.
    Revoked,
    /// Names the issuing authority, signed by another key.
    WrongIssuerSignature,
    /// For encryption only.
    WrongUsage,
}

impl NegativeKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Expired, Self::NotYetValid, Self::Revoked, Self::WrongIssuerSignature, Self::WrongUsage];

    /// The name in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::Revoked => "revoked",
            Self::WrongIssuerSignature => "wrong-issuer-signature",
            Self::WrongUsage => "wrong-usage",
        }
    }

    /// The finding code a verifier of document signatures must give.
    pub fn finding(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::WrongIssuerSignature => "issuer_signature_invalid",
            Self::WrongUsage => "key_usage_not_permitted",
        }
    }
}

/// A certificate that must be refused. It certifies the key of the demo service of its algorithm, so a
/// good signature can be paired with it.
#[derive(Clone, Debug)]
pub struct NegativeCertificate {
    /// The authority it claims to be from: `sm2`, `p256` or `rsa`.
    pub authority: String,
    /// What is wrong.
    pub kind: NegativeKind,
    /// The service whose key it certifies.
    pub service: String,
    /// The certificate.
    pub der: Vec<u8>,
}

/// What the gateway's TLS listener presents.
#[derive(Clone)]
pub struct TlsIdentity {
    /// Server certificate (localhost, 127.0.0.1, ::1) and issuing authority.
    pub chain_pem: String,
    /// P-256 key, PKCS#8.
    pub key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}

/// A service key whose certificates are still to be made.
struct Service<'a> {
    id: &'static str,
    issuer: &'a Issuer,
    key: SoftwareKey,
    seed: &'a Seed,
}

/// Makes a service's key and its certificate of three years.
pub(crate) fn service(
    id: &'static str,
    kind: KeyKind,
    issuer: &Issuer,
    seed: &Seed,
    at: OffsetDateTime,
) -> Result<ServiceKey, CertsTestError> {
    let service = Service { id, issuer, key: SoftwareKey::derive(kind, seed, id)?, seed };
    service.good(at, Vec::new())
}

/// Makes a timestamp authority's key and its certificate: the extended key usage is critical and timestamps alone (RFC
/// 3161, 2.3).
pub(crate) fn timestamp_authority(
    id: &'static str,
    kind: KeyKind,
    issuer: &Issuer,
    seed: &Seed,
    at: OffsetDateTime,
) -> Result<ServiceKey, CertsTestError> {
    const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

    let service = Service { id, issuer, key: SoftwareKey::derive(kind, seed, id)?, seed };
    service.good(at, vec![certificate::extension(&ExtendedKeyUsage(vec![TIME_STAMPING]), true)?])
}

/// Makes a service's key, its good certificate and one bad certificate of each kind for the same key.
pub(crate) fn service_with_negatives(
    id: &'static str,
    kind: KeyKind,
    issuer: &mut Issuer,
    seed: &Seed,
    at: OffsetDateTime,
) -> Result<(ServiceKey, Vec<NegativeCertificate>), CertsTestError> {
    let service = Service { id, issuer, key: SoftwareKey::derive(kind, seed, id)?, seed };
    let good = service.good(at, Vec::new())?;
    let mut negatives = Vec::new();
    for kind in NegativeKind::ALL {
        negatives.push(NegativeCertificate {
            authority: issuer.name.to_owned(),
            kind,
            service: id.to_owned(),
            der: service.negative(kind, at)?,
        });
    }
    issuer.revoke(Revocation {
        serial: seed.serial(&format!("{id} revoked")),
        at: back(at, 1)?,
        reason: CrlReason::KeyCompromise,
    });
    Ok((good, negatives))
}

impl Service<'_> {
    fn good(&self, at: OffsetDateTime, more: Vec<Extension>) -> Result<ServiceKey, CertsTestError> {
        let mut request = self.request("good", back(at, 1)?, ahead(at, 1095)?, signing())?;
        request.extensions.extend(more);
        Ok(ServiceKey {
            id: self.id.to_owned(),
            private: self.key.private_parts()?,
            chain: self.issuer.chain(self.issuer.issue(request)?),
        })
    }

    fn negative(&self, kind: NegativeKind, at: OffsetDateTime) -> Result<Vec<u8>, CertsTestError> {
        let (not_before, not_after) = match kind {
            NegativeKind::Expired => (back(at, 1460)?, back(at, 365)?),
            NegativeKind::NotYetValid => (ahead(at, 365)?, ahead(at, 1460)?),
            NegativeKind::Revoked | NegativeKind::WrongIssuerSignature | NegativeKind::WrongUsage => {
                (back(at, 30)?, ahead(at, 1065)?)
            }
        };
        let usage = match kind {
            NegativeKind::WrongUsage => KeyUsage(KeyUsages::KeyEncipherment | KeyUsages::DataEncipherment),
            _ => signing(),
        };
        let request = self.request(kind.name(), not_before, not_after, usage)?;
        match kind {
            // Any key but the issuer's will do; the service's own is at hand.
            NegativeKind::WrongIssuerSignature => {
                certificate::issue(request, &self.issuer.issuing_name, &self.key)
            }
            _ => self.issuer.issue(request),
        }
    }

    fn request(
        &self,
        label: &str,
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
        usage: KeyUsage,
    ) -> Result<Request, CertsTestError> {
        let key = self.key.spki()?;
        Ok(Request {
            serial: self.seed.serial(&format!("{} {label}", self.id)),
            subject: subject(self.id),
            not_before,
            not_after,
            extensions: certificate::end_entity_extensions(&key, &self.issuer.issuing_key.spki()?, usage)?,
            key,
        })
    }
}

/// Makes the TLS identity: two years and a quarter, what browsers accept of a private authority.
pub(crate) fn tls(issuer: &Issuer, seed: &Seed, at: OffsetDateTime) -> Result<TlsIdentity, CertsTestError> {
    const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

    let key = SoftwareKey::derive(KeyKind::P256, seed, "tls server")?;
    let spki = key.spki()?;
    let usage = KeyUsage(KeyUsages::DigitalSignature.into());
    let mut extensions = certificate::end_entity_extensions(&spki, &issuer.issuing_key.spki()?, usage)?;
    extensions.push(certificate::extension(&ExtendedKeyUsage(vec![SERVER_AUTH]), false)?);
    extensions.push(local_names()?);
    let server = issuer.issue(Request {
        serial: seed.serial("tls server"),
        subject: subject("localhost"),
        not_before: back(at, 1)?,
        not_after: ahead(at, 820)?,
        key: spki,
        extensions,
    })?;
    Ok(TlsIdentity {
        chain_pem: pem::certificates(&[server, issuer.issuing.clone()])?,
        key_pem: key.private_parts()?.to_pkcs8_pem()?,
    })
}

fn local_names() -> Result<Extension, CertsTestError> {
    let loopback_6: [u8; 16] = std::net::Ipv6Addr::LOCALHOST.octets();
    let build = || {
        Ok(SubjectAltName(vec![
            GeneralName::DnsName(Ia5String::new("localhost")?),
            GeneralName::IpAddress(OctetString::new([127, 0, 0, 1])?),
            GeneralName::IpAddress(OctetString::new(loopback_6)?),
        ]))
    };
    let names = build().map_err(|source| CertsTestError::Encode { what: "the names of TLS", source })?;
    certificate::extension(&names, false)
}

fn subject(name: &str) -> DistinguishedName {
    DistinguishedName {
        country: "CN",
        organisation: SANDBOX.to_owned(),
        common_name: format!("TEST ONLY {name}"),
    }
}

pub(crate) fn signing() -> KeyUsage {
    KeyUsage(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation)
}
