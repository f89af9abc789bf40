//! Test authorities: a root and one issuing authority below it for each kind of key.

use time::{Duration, OffsetDateTime};

use crate::certificate::{self, DistinguishedName, Request, Revocation};
use crate::error::CertsTestError;
use crate::key::{KeyKind, SoftwareKey};
use crate::seed::Seed;

/// The organisation in every name that is not a license's.
pub(crate) const SANDBOX: &str = "TEST ONLY License Gateway Sandbox";

/// A root, its issuing authority and what they have revoked, all DER.
#[derive(Clone, Debug)]
pub struct Authority {
    /// `sm2`, `p256`, `rsa`, `license` or `tls`.
    pub name: String,
    /// The self-signed root certificate.
    pub root: Vec<u8>,
    /// The issuing authority's certificate, path length 0.
    pub issuing: Vec<u8>,
    /// The root's revocation list (empty) and the issuing authority's, in this order.
    pub crls: Vec<Vec<u8>>,
}

/// An authority that can still issue and revoke.
pub(crate) struct Issuer {
    pub(crate) name: &'static str,
    root_name: DistinguishedName,
    root_key: SoftwareKey,
    root: Vec<u8>,
    pub(crate) issuing_name: DistinguishedName,
    pub(crate) issuing_key: SoftwareKey,
    pub(crate) issuing: Vec<u8>,
    revoked: Vec<Revocation>,
}

impl Issuer {
    /// An authority for services or TLS, named `TEST ONLY …`.
    pub(crate) fn new(
        name: &'static str,
        kind: KeyKind,
        seed: &Seed,
        at: OffsetDateTime,
    ) -> Result<Self, CertsTestError> {
        let named = |level: &str| DistinguishedName {
            country: "CN",
            organisation: SANDBOX.to_owned(),
            common_name: format!("TEST ONLY {} {level} CA", name.to_uppercase()),
        };
        Self::with_names(name, named("Root"), named("Issuing"), kind, seed, at)
    }

    /// An authority under names of its own.
    pub(crate) fn with_names(
        name: &'static str,
        root_name: DistinguishedName,
        issuing_name: DistinguishedName,
        kind: KeyKind,
        seed: &Seed,
        at: OffsetDateTime,
    ) -> Result<Self, CertsTestError> {
        let root_key = SoftwareKey::derive(kind, seed, &format!("{name} root"))?;
        let issuing_key = SoftwareKey::derive(kind, seed, &format!("{name} issuing"))?;
        let (root_spki, issuing_spki) = (root_key.spki()?, issuing_key.spki()?);
        // Ten years back, so that what expired long ago was good under them in its day.
        let not_before = back(at, 3652)?;
        let not_after = ahead(at, 7305)?;

        let root = certificate::issue(
            Request {
                serial: seed.serial(&format!("{name} root")),
                subject: root_name.clone(),
                not_before,
                not_after,
                extensions: certificate::authority_extensions(&root_spki, &root_spki, None)?,
                key: root_spki.clone(),
            },
            &root_name,
            &root_key,
        )?;
        let issuing = certificate::issue(
            Request {
                serial: seed.serial(&format!("{name} issuing")),
                subject: issuing_name.clone(),
                not_before,
                not_after,
                extensions: certificate::authority_extensions(&issuing_spki, &root_spki, Some(0))?,
                key: issuing_spki,
            },
            &root_name,
            &root_key,
        )?;
        let revoked = Vec::new();
        Ok(Self { name, root_name, root_key, root, issuing_name, issuing_key, issuing, revoked })
    }

    /// Issues a certificate.
    pub(crate) fn issue(&self, request: Request) -> Result<Vec<u8>, CertsTestError> {
        certificate::issue(request, &self.issuing_name, &self.issuing_key)
    }

    /// Puts a certificate on the revocation list to come.
    pub(crate) fn revoke(&mut self, revocation: Revocation) {
        self.revoked.push(revocation);
    }

    /// A chain with this authority's issuing certificate and root behind a signer's.
    pub(crate) fn chain(&self, signer: Vec<u8>) -> Vec<Vec<u8>> {
        vec![signer, self.issuing.clone(), self.root.clone()]
    }

    /// Signs the revocation lists, good for ten years from `at`, and forgets the keys; a sandbox
    /// keeps SM2's issuing key, from which its test enterprises are certified.
    pub(crate) fn close(self, at: OffsetDateTime) -> Result<Authority, CertsTestError> {
        let until = ahead(at, 3652)?;
        let of_root = certificate::revoke(&[], at, until, &self.root_name, &self.root_key)?;
        let of_issuing =
            certificate::revoke(&self.revoked, at, until, &self.issuing_name, &self.issuing_key)?;
        Ok(Authority {
            name: self.name.to_owned(),
            root: self.root,
            issuing: self.issuing,
            crls: vec![of_root, of_issuing],
        })
    }
}

/// So many days before a time.
pub(crate) fn back(at: OffsetDateTime, days: i64) -> Result<OffsetDateTime, CertsTestError> {
    at.checked_sub(Duration::days(days)).ok_or(CertsTestError::Time(at))
}

/// So many days after a time.
pub(crate) fn ahead(at: OffsetDateTime, days: i64) -> Result<OffsetDateTime, CertsTestError> {
    at.checked_add(Duration::days(days)).ok_or(CertsTestError::Time(at))
}
