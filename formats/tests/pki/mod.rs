//! Keys, certificates and CRLs made on the spot, with every field in the test's hand.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as aws, EcdsaKeyPair, KeyPair, RsaKeyPair};
use const_oid::ObjectIdentifier;
use der::asn1::{BitString, OctetString};
use der::flagset::FlagSet;
use der::{Decode, Encode};
use formats::scheme::{HashAlgorithm, SignatureScheme};
use formats::{Algorithm, Certificate, Crl, PublicKey, oid};
use spki::SubjectPublicKeyInfoOwned;
use time::OffsetDateTime;
use time::macros::datetime;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, CrlReason, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};
use x509_cert::{TbsCertificate, Version};

pub(crate) const SIGNER_ID: &[u8] = sm2_verify::DEFAULT_ID;

/// The time most tests judge at; certificates are valid for ten years around it.
pub(crate) const NOW: OffsetDateTime = datetime!(2026-06-01 12:00 UTC);

pub(crate) enum Key {
    Sm2(sm2::dsa::SigningKey),
    Ec(EcdsaKeyPair, SignatureScheme),
    Rsa(RsaKeyPair),
}

static RSA: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap().as_ref().to_vec()
});

impl Key {
    pub(crate) fn sm2(seed: u8) -> Self {
        Self::Sm2(sm2::dsa::SigningKey::from_slice("1234567812345678", &[seed; 32]).unwrap())
    }

    pub(crate) fn p256() -> Self {
        let key = EcdsaKeyPair::generate(&aws::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self::Ec(key, SignatureScheme::Ecdsa(HashAlgorithm::Sha256))
    }

    pub(crate) fn p384() -> Self {
        let key = EcdsaKeyPair::generate(&aws::ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
        Self::Ec(key, SignatureScheme::Ecdsa(HashAlgorithm::Sha384))
    }

    /// The same key every time within one test program.
    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_pkcs8(&RSA).unwrap())
    }

    pub(crate) fn for_algorithm(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sm2Sm3 => Self::sm2(7),
            Algorithm::EcdsaP256Sha256 => Self::p256(),
            Algorithm::RsaPkcs1Sha256 | Algorithm::RsaPssSha256 => Self::rsa(),
        }
    }

    pub(crate) fn pkcs8(&self) -> Vec<u8> {
        match self {
            Self::Sm2(_) => panic!("no test hands an SM2 key to another program"),
            Self::Ec(key, _) => key.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Self::Rsa(_) => RSA.clone(),
        }
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        match self {
            Self::Sm2(key) => {
                let sec1 = key.verifying_key().to_sec1_bytes();
                PublicKey::Sm2(sm2_verify::PublicKey::from_sec1(&sec1).unwrap()).spki_der()
            }
            Self::Ec(key, _) => key.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::Rsa(key) => key.public_key().as_der().unwrap().as_ref().to_vec(),
        }
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::from_spki_der(&self.spki()).unwrap()
    }

    /// How it signs certificates.
    pub(crate) fn scheme(&self) -> SignatureScheme {
        match self {
            Self::Sm2(_) => SignatureScheme::Sm2Sm3,
            Self::Ec(_, scheme) => *scheme,
            Self::Rsa(_) => SignatureScheme::RsaPkcs1(HashAlgorithm::Sha256),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_with(self.scheme(), message)
    }

    pub(crate) fn sign_with(&self, scheme: SignatureScheme, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Sm2(key) => {
                use sm2::dsa::signature::Signer;
                let signature: sm2::dsa::Signature = key.sign(message);
                sm2_verify::Signature::from_raw(&signature.to_bytes()).unwrap().to_der()
            }
            Self::Ec(key, _) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Rsa(key) => {
                let encoding: &aws::RsaSignatureEncoding = match scheme {
                    SignatureScheme::RsaPss(HashAlgorithm::Sha384) => &aws::RSA_PSS_SHA384,
                    SignatureScheme::RsaPss(HashAlgorithm::Sha512) => &aws::RSA_PSS_SHA512,
                    SignatureScheme::RsaPss(_) => &aws::RSA_PSS_SHA256,
                    SignatureScheme::RsaPkcs1(HashAlgorithm::Sha384) => &aws::RSA_PKCS1_SHA384,
                    SignatureScheme::RsaPkcs1(HashAlgorithm::Sha512) => &aws::RSA_PKCS1_SHA512,
                    _ => &aws::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

/// What a certificate says. [`Plan::leaf`], [`Plan::authority`] and [`Plan::root`] are good ones.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) subject: String,
    pub(crate) serial: u32,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    pub(crate) constraints: Option<BasicConstraints>,
    pub(crate) key_usage: Option<FlagSet<KeyUsages>>,
    pub(crate) key_identifiers: bool,
    pub(crate) extensions: Vec<(ObjectIdentifier, bool, Vec<u8>)>,
    /// Written in place of the issuer's own scheme.
    pub(crate) scheme: Option<SignatureScheme>,
    /// Written in the outer AlgorithmIdentifier alone.
    pub(crate) outer_scheme: Option<SignatureScheme>,
}

impl Plan {
    pub(crate) fn leaf(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            serial: 4711,
            not_before: datetime!(2021-01-01 0:00 UTC),
            not_after: datetime!(2030-12-31 23:59:59 UTC),
            constraints: None,
            key_usage: Some(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation),
            key_identifiers: true,
            extensions: Vec::new(),
            scheme: None,
            outer_scheme: None,
        }
    }

    pub(crate) fn authority(subject: &str) -> Self {
        Self {
            serial: 17,
            constraints: Some(BasicConstraints { ca: true, path_len_constraint: None }),
            key_usage: Some(KeyUsages::KeyCertSign | KeyUsages::CRLSign),
            ..Self::leaf(subject)
        }
    }

    pub(crate) fn root(self, key: Key) -> Authority {
        let certificate = self.issue(&key, &key, &self.subject);
        Authority { certificate, key }
    }

    /// `issuer` is the issuer's name.
    pub(crate) fn issue(&self, key: &Key, issuer_key: &Key, issuer: &str) -> Certificate {
        let signature = self.scheme.unwrap_or_else(|| issuer_key.scheme());
        let mut extensions = Vec::new();
        let mut add = |id, critical, value: Vec<u8>| {
            let extn_value = OctetString::new(value).unwrap();
            extensions.push(Extension { extn_id: id, critical, extn_value });
        };
        if let Some(constraints) = &self.constraints {
            add(oid::BASIC_CONSTRAINTS, true, constraints.to_der().unwrap());
        }
        if let Some(usage) = self.key_usage {
            add(oid::KEY_USAGE, true, KeyUsage(usage).to_der().unwrap());
        }
        if self.key_identifiers {
            let own = OctetString::new(key_identifier(key)).unwrap();
            add(oid::SUBJECT_KEY_IDENTIFIER, false, own.to_der().unwrap());
            add(oid::AUTHORITY_KEY_IDENTIFIER, false, authority_key(issuer_key));
        }
        for (id, critical, value) in &self.extensions {
            add(*id, *critical, value.clone());
        }
        let tbs = TbsCertificate {
            version: Version::V3,
            serial_number: SerialNumber::from(self.serial),
            signature: signature.identifier(),
            issuer: name(issuer),
            validity: Validity {
                not_before: x509_time(self.not_before),
                not_after: x509_time(self.not_after),
            },
            subject: name(&self.subject),
            subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(&key.spki()).unwrap(),
            issuer_unique_id: None,
            subject_unique_id: None,
            extensions: Some(extensions).filter(|extensions| !extensions.is_empty()),
        };
        let signed = issuer_key.sign_with(signature, &tbs.to_der().unwrap());
        let certificate = x509_cert::Certificate {
            tbs_certificate: tbs,
            signature_algorithm: self.outer_scheme.unwrap_or(signature).identifier(),
            signature: BitString::from_bytes(&signed).unwrap(),
        };
        Certificate::from_der(&certificate.to_der().unwrap()).unwrap()
    }
}

/// A certificate authority.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    pub(crate) key: Key,
}

impl Authority {
    pub(crate) fn name(&self) -> String {
        self.certificate.subject()
    }

    pub(crate) fn issue(&self, plan: &Plan, key: &Key) -> Certificate {
        plan.issue(key, &self.key, &self.name())
    }

    pub(crate) fn subordinate(&self, plan: &Plan, key: Key) -> Authority {
        Authority { certificate: self.issue(plan, &key), key }
    }

    pub(crate) fn crl(&self, plan: &CrlPlan) -> Crl {
        let revoked: Vec<_> = plan
            .revoked
            .iter()
            .map(|(serial, when, reason)| RevokedCert {
                serial_number: SerialNumber::from(*serial),
                revocation_date: x509_time(*when),
                crl_entry_extensions: {
                    let extension = |extn_id, critical, value: Vec<u8>| {
                        let extn_value = OctetString::new(value).unwrap();
                        Extension { extn_id, critical, extn_value }
                    };
                    let reason = reason.map(|r| extension(oid::CRL_REASON, false, r.to_der().unwrap()));
                    let rest = plan.entry_extensions.iter().cloned();
                    let all: Vec<_> = reason
                        .into_iter()
                        .chain(rest.map(|(id, c, value)| extension(id, c, value)))
                        .collect();
                    Some(all).filter(|all| !all.is_empty())
                },
            })
            .collect();
        let mut extensions = vec![Extension {
            extn_id: oid::AUTHORITY_KEY_IDENTIFIER,
            critical: false,
            extn_value: OctetString::new(authority_key(&self.key)).unwrap(),
        }];
        for (extn_id, critical, value) in plan.extensions.clone() {
            extensions.push(Extension { extn_id, critical, extn_value: OctetString::new(value).unwrap() });
        }
        if let Some(id) = plan.critical_extension {
            extensions.push(Extension {
                extn_id: id,
                critical: true,
                extn_value: OctetString::new([0x30, 0]).unwrap(),
            });
        }
        let tbs = TbsCertList {
            version: Version::V2,
            signature: self.key.scheme().identifier(),
            issuer: name(&self.name()),
            this_update: x509_time(plan.this_update),
            next_update: plan.next_update.map(x509_time),
            revoked_certificates: Some(revoked).filter(|revoked| !revoked.is_empty()),
            crl_extensions: Some(extensions),
        };
        let mut signature = self.key.sign(&tbs.to_der().unwrap());
        if plan.spoiled_signature {
            *signature.last_mut().unwrap() ^= 1;
        }
        let list = CertificateList {
            tbs_cert_list: tbs,
            signature_algorithm: self.key.scheme().identifier(),
            signature: BitString::from_bytes(&signature).unwrap(),
        };
        Crl::from_der(&list.to_der().unwrap()).unwrap()
    }
}

#[derive(Clone)]
pub(crate) struct CrlPlan {
    pub(crate) this_update: OffsetDateTime,
    pub(crate) next_update: Option<OffsetDateTime>,
    pub(crate) revoked: Vec<(u32, OffsetDateTime, Option<CrlReason>)>,
    pub(crate) critical_extension: Option<ObjectIdentifier>,
    pub(crate) extensions: Vec<(ObjectIdentifier, bool, Vec<u8>)>,
    /// Of every entry, beside its reason.
    pub(crate) entry_extensions: Vec<(ObjectIdentifier, bool, Vec<u8>)>,
    pub(crate) spoiled_signature: bool,
}

impl CrlPlan {
    /// Fresh at [`NOW`], listing nothing.
    pub(crate) fn fresh() -> Self {
        Self {
            this_update: datetime!(2026-05-30 0:00 UTC),
            next_update: Some(datetime!(2026-06-06 0:00 UTC)),
            revoked: Vec::new(),
            critical_extension: None,
            extensions: Vec::new(),
            entry_extensions: Vec::new(),
            spoiled_signature: false,
        }
    }
}

pub(crate) fn name(rfc4514: &str) -> Name {
    rfc4514.parse().unwrap()
}

fn key_identifier(key: &Key) -> Vec<u8> {
    HashAlgorithm::Sm3.digest(&key.spki())[..20].to_vec()
}

fn authority_key(key: &Key) -> Vec<u8> {
    let identifier = OctetString::new(key_identifier(key)).unwrap();
    AuthorityKeyIdentifier { key_identifier: Some(identifier), ..Default::default() }.to_der().unwrap()
}

pub(crate) fn x509_time(time: OffsetDateTime) -> Time {
    let since_1970 = std::time::Duration::from_secs(time.unix_timestamp().try_into().unwrap());
    let date_time = der::DateTime::from_unix_duration(since_1970).unwrap();
    match der::asn1::UtcTime::from_date_time(date_time) {
        Ok(utc) => Time::UtcTime(utc),
        Err(_) => Time::GeneralTime(der::asn1::GeneralizedTime::from_date_time(date_time)),
    }
}

/// The codes found, in order.
pub(crate) fn codes(judgement: &formats::Judgement) -> Vec<&'static str> {
    judgement.findings.iter().map(|finding| finding.code).collect()
}
