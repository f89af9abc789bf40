//! The files of `[trust]`, read whole before any of them is used.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Fetch, Trust};
use formats::scheme::HashAlgorithm;
use formats::{Certificate, Crl, FormatError};
use rustls::ClientConfig;

use super::fetch::{Fetcher, tls_client};
use crate::error::StartupError;
use crate::material::{Digests, Unusable};

/// The most octets read of any file.
pub(crate) const MOST_OCTETS: u64 = 256 << 20;

/// Everything that the trust files hold.
pub(crate) struct TrustFiles {
    pub(super) anchors: Vec<Certificate>,
    pub(super) license_anchors: Vec<Certificate>,
    pub(super) intermediates: Vec<Certificate>,
    /// Whose seals count; none: that is not asked.
    pub(super) seal_makers: Option<Vec<Certificate>>,
    pub(super) crls: Vec<Arc<Crl>>,
    /// Roots of the sources' HTTPS.
    pub(super) tls_anchors: Vec<Certificate>,
    /// Of each `[[trust.ocsp]]`, in the configuration's order.
    pub(super) responders: Vec<ResponderFiles>,
    pub(super) digests: Digests,
}

/// Whom a responder is asked about.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ResponderFiles {
    pub(super) issuer: Certificate,
    /// Issued by it.
    pub(super) certificates: Vec<Certificate>,
}

impl TrustFiles {
    /// Reads all files; blocks while it does.
    ///
    /// # Errors
    /// Every file that cannot be used.
    pub(crate) fn read(trust: &Trust) -> Result<Self, Vec<Unusable>> {
        let mut reader = Reader::default();
        let anchors = reader.certificates("trust.anchors", &trust.anchors);
        let license_anchors = reader.certificates("trust.license_anchors", &trust.license_anchors);
        let intermediates = reader.certificates("trust.intermediates", &trust.intermediates);
        let seal_makers = reader.certificates("trust.seal_makers", &trust.seal_makers);
        // A folder without a file in it still says that nobody else's do.
        let seal_makers = Some(seal_makers).filter(|_| !trust.seal_makers.is_empty());
        let crls = reader.crls("trust.crls", &trust.crls);
        let tls_anchors = reader.tls_anchors(&trust.fetch.tls_anchors);
        let responders = trust.ocsp_sources.iter().filter_map(|source| {
            let issuer = reader.issuer(&source.issuer)?;
            let certificates = reader.issued_by(&issuer, &source.certificates);
            Some(ResponderFiles { issuer, certificates })
        });
        let responders = responders.collect();
        let digests = reader.digests();
        let files = Self {
            anchors,
            license_anchors,
            intermediates,
            seal_makers,
            crls,
            tls_anchors,
            responders,
            digests,
        };
        if reader.unusable.is_empty() { Ok(files) } else { Err(reader.unusable) }
    }

    /// What asks and sends by the configuration; over HTTPS to whom these files trust.
    ///
    /// # Errors
    /// What of them cannot be used.
    pub(crate) fn fetcher(&self, fetch: &Fetch) -> Result<Fetcher, StartupError> {
        let fetcher = Fetcher::new(fetch, &self.tls_anchors);
        fetcher.map_err(|reason| StartupError::file(&fetch.folder, reason))
    }

    /// How the gateway asks others over TLS.
    ///
    /// # Errors
    /// What of the files cannot be used.
    pub(crate) fn tls_client(&self, fetch: &Fetch) -> Result<ClientConfig, StartupError> {
        tls_client(&self.tls_anchors).map_err(|reason| StartupError::file(&fetch.folder, reason))
    }

    pub(crate) fn digests(&self) -> &Digests {
        &self.digests
    }
}

#[derive(Default)]
struct Reader {
    /// Of each field what its files hold.
    contents: BTreeMap<&'static str, Vec<u8>>,
    unusable: Vec<Unusable>,
}

impl Reader {
    fn certificates(&mut self, field: &'static str, paths: &[PathBuf]) -> Vec<Certificate> {
        self.entries(field, paths, |octets| {
            let (certificates, _) = entries(octets).map_err(|error| error.to_string())?;
            if certificates.is_empty() {
                Err("there is no certificate in it".to_owned())
            } else {
                Ok(certificates)
            }
        })
    }

    fn crls(&mut self, field: &'static str, paths: &[PathBuf]) -> Vec<Arc<Crl>> {
        self.entries(field, paths, |octets| {
            let (_, crls) = entries(octets).map_err(|error| error.to_string())?;
            let crls: Vec<_> = crls.into_iter().map(Arc::new).collect();
            if crls.is_empty() { Err("there is no CRL in it".to_owned()) } else { Ok(crls) }
        })
    }

    fn tls_anchors(&mut self, paths: &[PathBuf]) -> Vec<Certificate> {
        const FIELD: &str = "trust.fetch.tls_anchors";
        let found = self.certificates(FIELD, paths);
        if let Err(reason) = super::fetch::roots(&found) {
            let reason = StartupError::file(paths.first().cloned().unwrap_or_default(), reason);
            self.unusable.push(Unusable { field: FIELD, reason });
        }
        found
    }

    fn issuer(&mut self, path: &Path) -> Option<Certificate> {
        const FIELD: &str = "trust.ocsp.issuer";
        let mut found = self.certificates(FIELD, &[path.to_owned()]);
        if found.len() > 1 {
            let reason = StartupError::file(path, "there are several certificates in it");
            self.unusable.push(Unusable { field: FIELD, reason });
        }
        found.pop()
    }

    fn issued_by(&mut self, issuer: &Certificate, paths: &[PathBuf]) -> Vec<Certificate> {
        const FIELD: &str = "trust.ocsp.certificates";
        let found = self.certificates(FIELD, paths);
        for certificate in &found {
            if let Err(reason) = super::responder::check_issued(certificate, issuer) {
                let reason = StartupError::file(
                    paths.first().cloned().unwrap_or_default(),
                    format!("{} is not issued by {}: {reason}", certificate.subject(), issuer.subject()),
                );
                self.unusable.push(Unusable { field: FIELD, reason });
            }
        }
        found
    }

    fn entries<T>(
        &mut self,
        field: &'static str,
        paths: &[PathBuf],
        parse: impl Fn(&[u8]) -> Result<Vec<T>, String>,
    ) -> Vec<T> {
        let mut all = Vec::new();
        self.contents.entry(field).or_default();
        for path in paths {
            let files = listed(path).unwrap_or_else(|error| {
                self.unusable.push(Unusable { field, reason: StartupError::file(path, error) });
                Vec::new()
            });
            for path in files {
                let read = read(&path).map_err(|error| error.to_string());
                let parsed = read.and_then(|octets| {
                    let content = self.contents.entry(field).or_default();
                    content.extend_from_slice(&(octets.len() as u64).to_le_bytes());
                    content.extend(HashAlgorithm::Sha256.digest(&octets));
                    parse(&octets)
                });
                match parsed {
                    Ok(parsed) => all.extend(parsed),
                    Err(reason) => {
                        self.unusable.push(Unusable { field, reason: StartupError::file(&path, reason) });
                    }
                }
            }
        }
        all
    }

    fn digests(&self) -> Digests {
        let mut digests = Digests::default();
        for (field, content) in &self.contents {
            digests.note(field, content);
        }
        digests
    }
}

/// Reads a file whole, up to [`MOST_OCTETS`].
pub(crate) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    std::fs::File::open(path)?.take(MOST_OCTETS + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > MOST_OCTETS {
        return Err(std::io::Error::other(format!("longer than {} MiB", MOST_OCTETS >> 20)));
    }
    Ok(octets)
}

/// The files that a path stands for: itself, or those in a folder, by name. What begins with a dot is passed over, so
/// that a file can be written beside its place and renamed into it.
pub(crate) fn listed(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The certificates and CRLs of a file: PEM, or one of them in DER.
pub(crate) fn entries(octets: &[u8]) -> Result<(Vec<Certificate>, Vec<Crl>), FormatError> {
    match std::str::from_utf8(octets) {
        Ok(text) if text.contains("-----BEGIN ") => {
            Ok((Certificate::many_from_pem(text)?, Crl::many_from_pem(text)?))
        }
        _ => match Certificate::from_der(octets) {
            Ok(certificate) => Ok((vec![certificate], Vec::new())),
            Err(_) => Ok((Vec::new(), vec![Crl::from_der(octets)?])),
        },
    }
}

/// By what one look at a file is told from another: whoever writes it changes one of these.
type Stamp = (i64, i64, u64, u64);

/// What the trust files looked like at one moment, without their content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look(BTreeMap<PathBuf, Option<Stamp>>);

impl Look {
    /// Looks at all files that the configuration names.
    pub(crate) fn at(trust: &Trust) -> Self {
        let Trust { anchors, license_anchors, intermediates, seal_makers, crls, fetch, ocsp_sources, .. } =
            trust;
        let lists = [anchors, license_anchors, intermediates, seal_makers, crls, &fetch.tls_anchors];
        let lists = lists.into_iter().flatten();
        let of_responders =
            ocsp_sources.iter().flat_map(|source| source.certificates.iter().chain([&source.issuer]));
        let mut seen = BTreeMap::new();
        for path in lists.chain(of_responders) {
            match listed(path) {
                Ok(files) => seen.extend(files.into_iter().map(|file| (file.clone(), stamp(&file)))),
                Err(_) => drop(seen.insert(path.clone(), None)),
            }
        }
        Self(seen)
    }

    #[cfg(test)]
    pub(super) fn numbered(number: i64) -> Self {
        Self(BTreeMap::from([(PathBuf::from("file"), Some((number, 0, 0, 0)))]))
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.size(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn write(&self, name: &str, octets: impl AsRef<[u8]>) {
            std::fs::write(self.0.path().join(name), octets).unwrap();
        }

        fn read(&self) -> (usize, Vec<String>, Digests) {
            let mut reader = Reader::default();
            let paths = [self.0.path().to_owned()];
            let count = reader.certificates("trust.anchors", &paths).len();
            let digests = reader.digests();
            (count, reader.unusable.iter().map(ToString::to_string).collect(), digests)
        }
    }

    fn roots() -> Vec<Certificate> {
        let at = time::macros::datetime!(2026-01-01 00:00 UTC);
        let sandbox = certs_test::generate(&certs_test::Options { seed: [1; 32], at }).unwrap();
        sandbox.authorities.iter().map(|authority| Certificate::from_der(&authority.root).unwrap()).collect()
    }

    #[test]
    fn a_folder_stands_for_its_files_and_one_bad_file_spoils_it() {
        let (folder, roots) = (Folder(tempfile::tempdir().unwrap()), roots());
        folder.write("a.pem", roots[0].to_pem());
        folder.write(".b.pem.part", "not written yet");
        let (count, unusable, first) = folder.read();
        assert_eq!((count, unusable.len()), (1, 0));
        folder.write("b.der", roots[1].der());
        let (count, unusable, second) = folder.read();
        assert_eq!((count, unusable.len()), (2, 0));
        assert_eq!(first.changes_to(&second), ["trust.anchors"]);
        for bad in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "hello"] {
            folder.write("c.pem", bad);
            let (_, unusable, _) = folder.read();
            assert!(unusable.len() == 1 && unusable[0].contains("c.pem"), "{unusable:?}");
        }
    }

    #[test]
    fn a_half_copied_file_is_no_file() {
        let (folder, roots) = (Folder(tempfile::tempdir().unwrap()), roots());
        let whole = roots[0].to_pem();
        for length in 0..whole.trim_end().len() {
            folder.write("a.pem", &whole[..length]);
            assert_eq!(folder.read().1.len(), 1, "{length}");
        }
    }

    #[test]
    fn a_look_tells_added_changed_and_removed_files() {
        let folder = Folder(tempfile::tempdir().unwrap());
        let text = format!(
            "[callers]\nissuer = \"https://h\"\n[server]\nhttps = \"127.0.0.1:1\"\ntls_certificate = \"c\"\ntls_key = \"k\"\n[database]\nurl = \
             \"sqlite://x.db\"\n[trust]\nanchors = [{:?}]\n[[device]]\nid = \"d\"\ngroup = \"g\"\nmodule = \
             \"m\"\ntoken = \"t\"\npin_file = \"p\"\n",
            folder.0.path()
        );
        let trust = config::Config::parse(&text, Path::new("/site")).unwrap().trust;
        let mut looks = vec![Look::at(&trust)];
        folder.write("a.pem", "1");
        looks.push(Look::at(&trust));
        folder.write("a.pem", "12");
        looks.push(Look::at(&trust));
        folder.write("b.pem", "1");
        looks.push(Look::at(&trust));
        std::fs::remove_file(folder.0.path().join("a.pem")).unwrap();
        looks.push(Look::at(&trust));
        for (place, look) in looks.iter().enumerate() {
            assert_eq!(looks.iter().position(|other| other == look), Some(place), "{look:?}");
        }
        assert_eq!(looks.last(), Some(&Look::at(&trust)));
    }
}
