//! One sandbox for all tests of a binary.

use std::sync::OnceLock;

use certs_test::{Options, Sandbox, generate};
use formats::{Certificate, Crl, TrustStore};
use time::OffsetDateTime;
use time::macros::datetime;

pub(crate) const AT: OffsetDateTime = datetime!(2026-11-22 08:00 UTC);

pub(crate) const OPTIONS: Options = Options { seed: [7; 32], at: AT };

pub(crate) fn made() -> &'static Sandbox {
    static MADE: OnceLock<Sandbox> = OnceLock::new();
    MADE.get_or_init(|| generate(&OPTIONS).unwrap())
}

/// Trust in every root of the sandbox, with its issuing authorities and revocation lists.
#[allow(dead_code, reason = "not every test binary judges")]
pub(crate) fn trust() -> TrustStore {
    let certificate = |der: &Vec<u8>| Certificate::from_der(der).unwrap();
    let authorities = &made().authorities;
    TrustStore::new(
        authorities.iter().map(|authority| certificate(&authority.root)).collect(),
        authorities.iter().map(|authority| certificate(&authority.issuing)).collect(),
        authorities
            .iter()
            .flat_map(|authority| &authority.crls)
            .map(|der| Crl::from_der(der).unwrap())
            .collect(),
    )
    .with_seal_makers(made().seal_makers.iter().map(certificate).collect())
}
