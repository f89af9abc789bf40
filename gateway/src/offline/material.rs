//! What files are judged against: anchors, intermediates and CRLs named on the command line.

use std::io::Read;
use std::path::{Path, PathBuf};

use formats::ocsp::OcspResponse;
use formats::{Certificate, Crl, FormatError, TrustStore};

/// The most octets read of any file.
pub(super) const MOST_OCTETS: u64 = 256 << 20;

/// Reads a file whole, up to [`MOST_OCTETS`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut octets = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MOST_OCTETS + 1).read_to_end(&mut octets).map_err(failed)?;
    if octets.len() as u64 > MOST_OCTETS {
        return Err(format!("{}: longer than {} MiB", path.display(), MOST_OCTETS >> 20));
    }
    Ok(octets)
}

/// The trust store that the command line describes; each path is a file or a folder of files.
pub(super) fn trust(
    anchors: &[PathBuf],
    intermediates: &[PathBuf],
    crls: &[PathBuf],
) -> Result<TrustStore, String> {
    let (mut roots, mut lists) = (Vec::new(), Vec::new());
    for path in files(anchors)? {
        let (certificates, crls) = entries(&path)?;
        roots.extend(certificates);
        lists.extend(crls);
    }
    let mut issuing = Vec::new();
    for path in files(intermediates)? {
        let (certificates, crls) = entries(&path)?;
        issuing.extend(certificates);
        lists.extend(crls);
    }
    for path in files(crls)? {
        lists.extend(entries(&path)?.1);
    }
    Ok(TrustStore::new(roots, issuing, lists))
}

/// OCSP responses in DER.
pub(super) fn ocsp(paths: &[PathBuf]) -> Result<Vec<OcspResponse>, String> {
    let read_one = |path: PathBuf| {
        OcspResponse::from_der(&read(&path)?).map_err(|error| format!("{}: {error}", path.display()))
    };
    files(paths)?.into_iter().map(read_one).collect()
}

/// A folder stands for the files in it, by name; what begins with a dot is passed over.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !hidden && entry.path().is_file() {
                inside.push(entry.path());
            }
        }
        inside.sort();
        found.append(&mut inside);
    }
    Ok(found)
}

/// The certificates and CRLs of a file: PEM, or one of them in DER.
fn entries(path: &Path) -> Result<(Vec<Certificate>, Vec<Crl>), String> {
    let octets = read(path)?;
    let failed = |error: FormatError| format!("{}: {error}", path.display());
    let (certificates, crls) = match std::str::from_utf8(&octets) {
        Ok(text) if text.contains("-----BEGIN ") => {
            (Certificate::many_from_pem(text).map_err(failed)?, Crl::many_from_pem(text).map_err(failed)?)
        }
        _ => match Certificate::from_der(&octets) {
            Ok(certificate) => (vec![certificate], Vec::new()),
            Err(_) => (Vec::new(), vec![Crl::from_der(&octets).map_err(failed)?]),
        },
    };
    if certificates.is_empty() && crls.is_empty() {
        return Err(format!("{}: there is no certificate and no CRL in it", path.display()));
    }
    Ok((certificates, crls))
}
