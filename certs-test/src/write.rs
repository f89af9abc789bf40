//! A sandbox as files; the layout is the crate's README.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use formats::license_file::FileForm;
use serde::Serialize;

use crate::error::CertsTestError;
use crate::license::LicenseKind;
use crate::license_file::LicenseFileDefect;
use crate::service::NegativeKind;
use crate::{Sandbox, pem};

const NOTICE: &str = "\
TEST ONLY

These authorities, keys, certificates and licenses are made by certs-test for a sandbox and for tests.
The enterprises and people named in them do not exist. Never trust trust/bundle.pem in production, and
never let a production system hold a key from private/.

The layout is described in certs-test/README.md; manifest.json says what each file must be judged to be.
";

/// Where the key lies by which test enterprises are certified.
pub(crate) const ENTERPRISE_AUTHORITY: &str = "private/sm2-issuing.pem";

/// Where the key lies by which licenses of test enterprises are issued.
pub(crate) const LICENSE_AUTHORITY: &str = "private/license-issuing.pem";
/// Where the key lies by which their public editions are sealed, its certificate and its seal.
pub(crate) const EDITION_SEALER: &str = "private/edition-sealer.pem";
pub(crate) const EDITION_SEALER_CERTIFICATE: &str = "seals/edition-sealer.pem";
pub(crate) const EDITION_SEAL: &str = "seals/edition.esl";
/// The revocation lists of the license authority.
pub(crate) const LICENSE_CRLS: &str = "crls/license.pem";

/// What each file is a sample of, for scripts.
#[derive(Serialize)]
struct Manifest<'a> {
    licenses: Vec<ManifestLicense<'a>>,
    negatives: Vec<ManifestNegative<'a>>,
    license_files: Vec<ManifestLicenseFile<'a>>,
}

#[derive(Serialize)]
struct ManifestLicenseFile<'a> {
    file: String,
    form: FileForm,
    defect: Option<LicenseFileDefect>,
    uscc: &'a str,
    finding: Option<&'static str>,
}

#[derive(Serialize)]
struct ManifestLicense<'a> {
    file: String,
    kind: LicenseKind,
    template: char,
    uscc: &'a str,
    license_serial: &'a str,
    status: u8,
    finding: Option<&'static str>,
}

#[derive(Serialize)]
struct ManifestNegative<'a> {
    file: String,
    authority: &'a str,
    service: &'a str,
    kind: NegativeKind,
    finding: &'static str,
}

impl Sandbox {
    /// Writes everything below a folder, which is made if need be; files of the same names are replaced.
    /// Private keys go to `private/` (mode 0700), each with mode 0600.
    pub fn write_to(&self, dir: &Path) -> Result<(), CertsTestError> {
        let files = Files { root: dir };
        files.public("README.txt", NOTICE.as_bytes())?;

        for authority in &self.authorities {
            let name = &authority.name;
            files.public(format!("roots/{name}.pem"), pem::certificates([&authority.root])?)?;
            files.public(format!("issuing/{name}.pem"), pem::certificates([&authority.issuing])?)?;
            files.public(format!("crls/{name}.pem"), pem::revocation_lists(&authority.crls)?)?;
        }
        let roots = self.authorities.iter().map(|authority| &authority.root);
        files.public("trust/bundle.pem", pem::certificates(roots)?)?;

        for service in &self.services {
            files.public(format!("services/{}/chain.pem", service.id), pem::certificates(&service.chain)?)?;
            files.private(format!("{}.pem", service.id), &service.private.to_pkcs8_pem()?)?;
        }
        for (path, key) in [
            (ENTERPRISE_AUTHORITY, &self.enterprise_authority),
            (LICENSE_AUTHORITY, &self.license_authority),
            (EDITION_SEALER, &self.edition_sealer.private),
        ] {
            files.private(path.trim_start_matches("private/"), &key.to_pkcs8_pem()?)?;
        }
        files.public(EDITION_SEALER_CERTIFICATE, pem::certificates([&self.edition_sealer.certificate])?)?;
        files.public(EDITION_SEAL, &self.edition_sealer.seal)?;
        files.public("tls/chain.pem", &self.tls.chain_pem)?;
        files.private("tls.pem", &self.tls.key_pem)?;

        for license in &self.licenses {
            let stem = license.file_stem();
            files.public(format!("licenses/{stem}.der"), &license.der)?;
            files.public(format!("licenses/{stem}.pem"), pem::certificates([&license.der])?)?;
            files.private(format!("license-{stem}.pem"), &license.private.to_pkcs8_pem()?)?;
        }
        for negative in &self.negatives {
            let name = format!("negatives/{}-{}.pem", negative.authority, negative.kind.name());
            files.public(name, pem::certificates([&negative.der])?)?;
        }
        files.public("seals/agency.esl", &self.sealed.seal)?;
        files.public("seals/makers.pem", pem::certificates(&self.seal_makers)?)?;
        files.public("seals/agency.png", &self.sealed.picture)?;
        files.public("documents/edition.ofd", &self.sealed.edition)?;
        for file in &self.license_files {
            files.public(format!("documents/{}", file.file_name()), &file.octets)?;
        }
        files.public("manifest.json", self.manifest())
    }

    fn manifest(&self) -> String {
        let manifest = Manifest {
            licenses: self
                .licenses
                .iter()
                .map(|license| ManifestLicense {
                    file: format!("licenses/{}.der", license.file_stem()),
                    kind: license.kind,
                    template: license.template,
                    uscc: &license.uscc,
                    license_serial: &license.license_serial,
                    status: license.status,
                    finding: license.kind.finding(),
                })
                .collect(),
            negatives: self
                .negatives
                .iter()
                .map(|negative| ManifestNegative {
                    file: format!("negatives/{}-{}.pem", negative.authority, negative.kind.name()),
                    authority: &negative.authority,
                    service: &negative.service,
                    kind: negative.kind,
                    finding: negative.kind.finding(),
                })
                .collect(),
            license_files: self
                .license_files
                .iter()
                .map(|file| ManifestLicenseFile {
                    file: format!("documents/{}", file.file_name()),
                    form: file.form,
                    defect: file.defect,
                    uscc: &file.uscc,
                    finding: file.finding(),
                })
                .collect(),
        };
        serde_json::to_string_pretty(&manifest).expect("strings, numbers and unit variants always serialise")
    }
}

/// Files below one folder.
struct Files<'a> {
    root: &'a Path,
}

impl Files<'_> {
    fn public(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Result<(), CertsTestError> {
        self.write(self.root.join(name), 0o644, 0o755, content.as_ref())
    }

    fn private(&self, name: impl AsRef<Path>, content: &str) -> Result<(), CertsTestError> {
        self.write(self.root.join("private").join(name), 0o600, 0o700, content.as_bytes())
    }

    fn write(&self, path: PathBuf, mode: u32, dir_mode: u32, content: &[u8]) -> Result<(), CertsTestError> {
        let write = || {
            if let Some(dir) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(dir_mode).create(dir)?;
            }
            // A file that exists keeps its mode when it is opened: remove it, so that the mode holds.
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?.write_all(content)
        };
        write().map_err(|source| CertsTestError::Write { path: path.clone(), source })
    }
}
