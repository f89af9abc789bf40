//! Certificates for keys that devices make: those of test enterprises, by the sandbox's issuing authority for SM2, whose key its
//! folder keeps.

use std::fs;
use std::path::Path;

use der::{DecodePem, Encode};
use p256::pkcs8::DecodePrivateKey as _;
use time::OffsetDateTime;
use x509_cert::Certificate;
use x509_cert::request::CertReq;

use crate::authority::{ahead, back};
use crate::certificate::{self, Request};
use crate::error::CertsTestError;
use crate::key::SoftwareKey;
use crate::service::signing;
use crate::{pem, write};

/// How long certificates of test enterprises are good, days.
const DAYS: i64 = 365;

/// The authority that certifies test enterprises.
pub struct EnterpriseAuthority {
    key: SoftwareKey,
    certificate: Certificate,
}

impl EnterpriseAuthority {
    /// That of a sandbox's folder `pki`.
    ///
    /// # Errors
    /// [`CertsTestError::Read`] of a folder that keeps no such key or certificate; [`CertsTestError::Key`],
    /// [`CertsTestError::Encode`] of what is none.
    pub fn open(pki: &Path) -> Result<Self, CertsTestError> {
        let read = |path: &str| {
            let path = pki.join(path);
            fs::read_to_string(&path).map_err(|source| CertsTestError::Read { path, source })
        };
        let key = sm2::SecretKey::from_pkcs8_pem(&read(write::ENTERPRISE_AUTHORITY)?);
        let key = SoftwareKey::of_sm2(&key.map_err(|_| CertsTestError::Key)?)?;
        let certificate = Certificate::from_pem(read("issuing/sm2.pem")?).map_err(of(AUTHORITY))?;
        Ok(Self { key, certificate })
    }

    /// Certifies a request (PKCS #10, PEM) as it stands, for a year. Answers the certificate and the authority's, PEM. Whether whoever
    /// asks has the key is for the caller to know.
    ///
    /// # Errors
    /// [`CertsTestError::Encode`] of what is no request; [`CertsTestError::Time`] out of the calendar; [`CertsTestError::Key`] where
    /// the system draws no number or the key does not sign.
    pub fn certify(&self, request: &str, at: OffsetDateTime) -> Result<String, CertsTestError> {
        let asked = CertReq::from_pem(request).map_err(of("a request"))?.info;
        let mut serial = [0; 16];
        getrandom::fill(&mut serial).map_err(|_| CertsTestError::Key)?;
        serial[0] = serial[0] & 0x7f | 0x40;
        let at = at.replace_nanosecond(0).map_err(|_| CertsTestError::Time(at))?;
        let key = &self.key;
        let issued = certificate::issue(
            Request {
                serial,
                subject: asked.subject,
                not_before: back(at, 1)?,
                not_after: ahead(at, DAYS)?,
                extensions: certificate::end_entity_extensions(&asked.public_key, &key.spki()?, signing())?,
                key: asked.public_key,
            },
            &self.certificate.tbs_certificate.subject,
            key,
        )?;
        let issuer = self.certificate.to_der().map_err(of(AUTHORITY))?;
        pem::certificates([&issued, &issuer])
    }
}

const AUTHORITY: &str = "the authority's certificate";

fn of(what: &'static str) -> impl FnOnce(der::Error) -> CertsTestError {
    move |source| CertsTestError::Encode { what, source }
}
