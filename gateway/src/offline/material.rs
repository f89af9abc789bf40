//! What files are judged against: anchors, intermediates and CRLs named on the command line.

use std::path::{Path, PathBuf};

use formats::font::Font;
use formats::ocsp::OcspResponse;
use formats::{Certificate, Crl, TrustStore};

use crate::trust::files;

/// Reads a file whole, up to [`files::MOST_OCTETS`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    files::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The trust store that the command line describes; each path is a file or a folder of files.
pub(crate) fn trust(
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

/// With those whose electronic seals count, if any are named; each path is a file or a folder of files.
pub(super) fn with_seal_makers(trust: TrustStore, paths: &[PathBuf]) -> Result<TrustStore, String> {
    if paths.is_empty() {
        return Ok(trust);
    }
    Ok(trust.with_seal_makers(certificates(paths)?))
}

/// Certificates; each path is a file or a folder of files.
pub(super) fn certificates(paths: &[PathBuf]) -> Result<Vec<Certificate>, String> {
    let mut found = Vec::new();
    for path in files(paths)? {
        found.extend(entries(&path)?.0);
    }
    Ok(found)
}

/// OCSP responses in DER.
pub(super) fn ocsp(paths: &[PathBuf]) -> Result<Vec<OcspResponse>, String> {
    let read_one = |path: PathBuf| {
        OcspResponse::from_der(&read(&path)?).map_err(|error| format!("{}: {error}", path.display()))
    };
    files(paths)?.into_iter().map(read_one).collect()
}

/// The font of a report.
pub(super) fn font(path: Option<&Path>, face: u32) -> Result<Font, String> {
    let Some(path) = path else { return Ok(Font::built_in().clone()) };
    Font::of_site(read(path)?, face).map_err(|error| format!("{}: {error}", path.display()))
}

/// A folder stands for the files in it.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        found.append(&mut files::listed(path).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    Ok(found)
}

/// The certificates and CRLs of a file: PEM, or one of them in DER.
fn entries(path: &Path) -> Result<(Vec<Certificate>, Vec<Crl>), String> {
    let (certificates, crls) =
        files::entries(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?;
    if certificates.is_empty() && crls.is_empty() {
        return Err(format!("{}: there is no certificate and no CRL in it", path.display()));
    }
    Ok((certificates, crls))
}
