//! Licenses made on demand: by the sandbox's license authority and the sealer of its public editions, whose keys its folder keeps.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use der::{Decode, DecodePem};
use formats::license_file::FileForm;
use formats::seal::Seal;
use formats::uscc::Uscc;
use p256::pkcs8::DecodePrivateKey as _;
use time::OffsetDateTime;
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::ext::pkix::CrlReason;
use zeroize::Zeroizing;

use crate::authority::ahead;
use crate::certificate::{self, Revocation};
use crate::error::CertsTestError;
use crate::key::{KeyKind, SoftwareKey};
use crate::license::{self, LicenseSerial, TERM_DAYS};
use crate::license_file::{Sealer, edition, sealing};
use crate::seed::Seed;
use crate::template::{LicenseTemplate, REGION};
use crate::{pem, write};

/// How long a revocation list is good, days.
const CRL_DAYS: i64 = 3652;
/// Where a list of a file ends.
const END: &str = "-----END X509 CRL-----";

/// Issues licenses of test enterprises, seals their public editions, and revokes them.
pub struct LicenseDesk {
    pki: PathBuf,
    key: SoftwareKey,
    certificate: Certificate,
    sealer: SoftwareKey,
    sealer_certificate: formats::Certificate,
    seal: Seal,
}

/// A license with its key.
pub struct MadeLicense {
    /// 执照序列号, 32 decimal digits.
    pub serial: String,
    /// The certificate.
    pub der: Vec<u8>,
    /// The same, PEM.
    pub pem: String,
    /// The holder's key, PKCS#8 in PEM.
    pub key: Zeroizing<String>,
    /// Start of validity.
    pub not_before: OffsetDateTime,
    /// End of validity.
    pub not_after: OffsetDateTime,
}

impl LicenseDesk {
    /// That of a sandbox's folder `pki`.
    ///
    /// # Errors
    /// [`CertsTestError::Read`] of a folder that keeps no such keys or certificates; others of what is none.
    pub fn open(pki: &Path) -> Result<Self, CertsTestError> {
        let read = |name: &str| {
            let path = pki.join(name);
            fs::read(&path).map_err(|source| CertsTestError::Read { path, source })
        };
        let key = |name: &str| -> Result<SoftwareKey, CertsTestError> {
            let pem = Zeroizing::new(read(name)?);
            let pem = std::str::from_utf8(&pem).map_err(|_| CertsTestError::Key)?;
            SoftwareKey::of_sm2(&sm2::SecretKey::from_pkcs8_pem(pem).map_err(|_| CertsTestError::Key)?)
        };
        let sealer = String::from_utf8(read(write::EDITION_SEALER_CERTIFICATE)?).map_err(sealing)?;
        Ok(Self {
            pki: pki.to_owned(),
            key: key(write::LICENSE_AUTHORITY)?,
            certificate: Certificate::from_pem(read("issuing/license.pem")?).map_err(of("the authority"))?,
            sealer: key(write::EDITION_SEALER)?,
            sealer_certificate: formats::Certificate::from_pem(&sealer).map_err(sealing)?,
            seal: Seal::from_der(&read(write::EDITION_SEAL)?).map_err(sealing)?,
        })
    }

    /// Issues a license by a template, good for five years from a time, under a key that is drawn for it.
    ///
    /// # Errors
    /// [`CertsTestError::Time`] out of the calendar; [`CertsTestError::Key`] where the system draws no key.
    pub fn issue(
        &self,
        template: &LicenseTemplate,
        uscc: &Uscc,
        name: &str,
        issued: OffsetDateTime,
    ) -> Result<MadeLicense, CertsTestError> {
        let issued = issued.replace_nanosecond(0).map_err(|_| CertsTestError::Time(issued))?;
        let (mut seed, mut sequence) = ([0; 32], [0; 8]);
        getrandom::fill(&mut seed).map_err(|_| CertsTestError::Key)?;
        getrandom::fill(&mut sequence).map_err(|_| CertsTestError::Key)?;
        let key = SoftwareKey::derive(KeyKind::Sm2, &Seed::new(seed), "license")?;
        let serial = LicenseSerial::new(REGION, issued, u64::from_be_bytes(sequence) % 1_000_000_000_000)?;
        let face = template.face(uscc, name, issued);
        let asked = license::asked(name, &face, issued, serial.bytes, &key)?;
        let der = certificate::issue(asked, &self.certificate.tbs_certificate.subject, &self.key)?;
        Ok(MadeLicense {
            serial: serial.digits,
            pem: pem::certificates([&der])?,
            der,
            key: key.private_parts()?.to_pkcs8_pem()?,
            not_before: issued,
            not_after: ahead(issued, TERM_DAYS)?,
        })
    }

    /// The public editions of a license, which say that they are for tests.
    ///
    /// # Errors
    /// [`CertsTestError::Seal`] of what is no license.
    pub fn editions(
        &self,
        license: &[u8],
        at: OffsetDateTime,
    ) -> Result<[(FileForm, Vec<u8>); 2], CertsTestError> {
        let edition = edition(license)?;
        let sealer = Sealer {
            certificate: self.sealer_certificate.clone(),
            key: self.sealer.clone(),
            picture: self.seal.info().picture.clone(),
            seal: self.seal.clone(),
            at: at.replace_nanosecond(0).map_err(|_| CertsTestError::Time(at))?,
        };
        let sealed = |form| Ok::<_, CertsTestError>((form, sealer.sealed(&edition, form)?));
        Ok([sealed(FileForm::Ofd)?, sealed(FileForm::Pdf)?])
    }

    /// Puts a license on the authority's revocation list, which lies in the folder.
    ///
    /// # Errors
    /// [`CertsTestError::Read`] and [`CertsTestError::Write`] of the list; [`CertsTestError::Encode`] if there is none.
    pub fn revoke(&self, serial: &str, at: OffsetDateTime) -> Result<(), CertsTestError> {
        let at = at.replace_nanosecond(0).map_err(|_| CertsTestError::Time(at))?;
        let path = self.pki.join(write::LICENSE_CRLS);
        let text = fs::read_to_string(&path)
            .map_err(|source| CertsTestError::Read { path: path.clone(), source })?;
        let mut octets = [0; 16];
        hex::decode_to_slice(serial, &mut octets).map_err(|_| CertsTestError::Holder)?;
        let mut lists = Vec::new();
        for part in text.split_inclusive(END).filter(|part| part.contains(END)) {
            let (_, der) = der::pem::decode_vec(part.trim_start().as_bytes())
                .map_err(|error| of("a revocation list")(error.into()))?;
            let list = CertificateList::from_der(&der).map_err(of("a revocation list"))?;
            lists.push(match list.tbs_cert_list.issuer == self.certificate.tbs_certificate.subject {
                true => {
                    let reason = CrlReason::CessationOfOperation;
                    let revocation = Revocation { serial: octets, at, reason };
                    certificate::revoke_another(list, revocation, ahead(at, CRL_DAYS)?, &self.key)?
                }
                false => der,
            });
        }
        let text = pem::revocation_lists(&lists)?;
        // A reader sees the old lists or the new ones.
        let temporary = path.with_extension("new");
        let written = fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        });
        written.map_err(|source| CertsTestError::Write { path, source })
    }
}

fn of(what: &'static str) -> impl FnOnce(der::Error) -> CertsTestError {
    move |source| CertsTestError::Encode { what, source }
}
