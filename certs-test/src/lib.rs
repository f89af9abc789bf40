//! Test material for the sandbox and for tests: authorities, service keys, a TLS identity, sample
//! licenses, and certificates that must be refused.
//!
//! Invariants:
//! - the same seed and time make the same bytes;
//! - whatever is made says `TEST ONLY` (licenses, whose shape is given: 测试), and no deployment trusts
//!   an authority made here;
//! - no input or output but [`Sandbox::write_to`] and the authorities that a written sandbox keeps ([`EnterpriseAuthority`],
//!   [`LicenseDesk`]), and no clock.

#![forbid(unsafe_code)]

mod authority;
mod certificate;
mod desk;
mod enrolment;
mod enterprise;
mod error;
mod holder;
mod key;
mod license;
mod license_file;
mod pem;
pub mod province;
mod seal;
mod seed;
mod service;
mod template;
mod write;

use time::OffsetDateTime;

use crate::authority::Issuer;
use crate::key::KeyKind;
use crate::seed::Seed;

pub use authority::Authority;
pub use desk::{LicenseDesk, MadeLicense};
pub use enrolment::EnterpriseAuthority;
pub use error::CertsTestError;
pub use holder::HolderKey;
pub use key::PrivateParts;
pub use license::{LicenseKind, SampleLicense};
pub use license_file::{EditionSealer, LicenseFile, LicenseFileDefect};
pub use seal::Sealed;
pub use service::{NegativeCertificate, NegativeKind, ServiceKey, TlsIdentity};
pub use template::{LEGAL_REPRESENTATIVE, LicenseTemplate};

/// What a sandbox is made from.
#[derive(Clone, Copy)]
pub struct Options {
    /// All keys and serial numbers come from it; whoever knows it has the keys.
    pub seed: [u8; 32],
    /// The time of making, to the second; certificates and lists are dated from it.
    pub at: OffsetDateTime,
}

/// Everything made.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// `sm2`, `p256`, `rsa`, `license`, `tls`.
    pub authorities: Vec<Authority>,
    /// `demo-sm2`, `demo-p256`, `demo-rsa2048`, `portal-sm2`, `front-sm2`, `sys-audit`, `sys-token`, `sys-seal`,
    /// `sys-tsa`, `sys-tsa-p256`.
    pub services: Vec<ServiceKey>,
    /// The gateway's own.
    pub tls: TlsIdentity,
    /// Eight for each of the templates A, B and C, of which four are good.
    pub licenses: Vec<SampleLicense>,
    /// The key of the issuing authority for SM2, which certifies keys of test enterprises as they come.
    pub enterprise_authority: PrivateParts,
    /// The key of the license authority, which issues the licenses of test enterprises as they are made.
    pub license_authority: PrivateParts,
    /// Who seals their public editions.
    pub edition_sealer: EditionSealer,
    /// Five for each of `sm2`, `p256` and `rsa`.
    pub negatives: Vec<NegativeCertificate>,
    /// A seal, and what was sealed with it.
    pub sealed: Sealed,
    /// Certificates of those whose seals count, DER: the makers of the seals here, and the gateway's own.
    pub seal_makers: Vec<Vec<u8>>,
    /// Public editions of the first license, as OFD and PDF: a good one and one with each defect.
    pub license_files: Vec<LicenseFile>,
}

/// Makes a sandbox. Takes seconds, nearly all of them for three RSA keys.
///
/// Fails when `at` leaves X.509's calendar ten years back or twenty ahead, and for the one seed in
/// billions that gives no key.
pub fn generate(options: &Options) -> Result<Sandbox, CertsTestError> {
    let seed = &Seed::new(options.seed);
    let at = options.at.replace_nanosecond(0).map_err(|_| CertsTestError::Time(options.at))?;

    let mut sm2 = Issuer::new("sm2", KeyKind::Sm2, seed, at)?;
    let mut p256 = Issuer::new("p256", KeyKind::P256, seed, at)?;
    let mut rsa = Issuer::new("rsa", KeyKind::Rsa2048, seed, at)?;
    let mut license = license::authority(seed, at)?;
    let tls = Issuer::new("tls", KeyKind::P256, seed, at)?;

    let mut services = Vec::new();
    let mut negatives = Vec::new();
    for (id, kind, issuer) in [
        ("demo-sm2", KeyKind::Sm2, &mut sm2),
        ("demo-p256", KeyKind::P256, &mut p256),
        ("demo-rsa2048", KeyKind::Rsa2048, &mut rsa),
    ] {
        let (good, bad) = service::service_with_negatives(id, kind, issuer, seed, at)?;
        services.push(good);
        negatives.extend(bad);
    }
    for (id, kind, issuer) in [
        ("portal-sm2", KeyKind::Sm2, &sm2),
        ("front-sm2", KeyKind::Sm2, &sm2),
        ("sys-audit", KeyKind::Sm2, &sm2),
        ("sys-token", KeyKind::P256, &p256),
        ("sys-seal", KeyKind::Sm2, &sm2),
    ] {
        services.push(service::service(id, kind, issuer, seed, at)?);
    }
    for (id, kind, issuer) in [("sys-tsa", KeyKind::Sm2, &sm2), ("sys-tsa-p256", KeyKind::P256, &p256)] {
        services.push(service::timestamp_authority(id, kind, issuer, seed, at)?);
    }
    let identity = service::tls(&tls, seed, at)?;
    let licenses = license::samples(&mut license, seed, at)?;

    let sealed = seal::sealed(&sm2, &services, seed, at)?;
    let earlier = license::earlier(&license, seed, at)?;
    let mut seal_makers = vec![sealed.maker.clone()];
    seal_makers.extend(services.iter().filter(|one| one.id == "sys-seal").map(|one| one.chain[0].clone()));
    let first = licenses.first().ok_or(CertsTestError::Key)?;
    let (license_files, edition_sealer) = license_file::license_files(&sm2, first, &earlier, seed, at)?;
    seal_makers.push(edition_sealer.maker.clone());

    let license_authority = license.issuing_key.private_parts()?;
    let enterprise_authority = sm2.issuing_key.private_parts()?;
    let authorities = [sm2, p256, rsa, license, tls]
        .into_iter()
        .map(|issuer| issuer.close(at))
        .collect::<Result<_, _>>()?;
    Ok(Sandbox {
        authorities,
        enterprise_authority,
        license_authority,
        edition_sealer,
        services,
        tls: identity,
        licenses,
        negatives,
        sealed,
        seal_makers,
        license_files,
    })
}
