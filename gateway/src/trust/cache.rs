//! What was fetched, on disk, so that a restart begins with the last good one. Nothing here is trusted for being here:
//! whoever reads it checks it as if it had just come.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::{OcspSource, SourceUrl};
use formats::scheme::HashAlgorithm;
use serde::{Deserialize, Serialize};

use super::fetch::Validators;
use crate::serve::replace_file;

/// The longest file of an OCSP answer, octets.
const LONGEST_ANSWER: u64 = 1 << 20;

/// The folder of `trust.fetch.folder`.
#[derive(Debug, Clone)]
pub(super) struct Cache(PathBuf);

/// What stands beside a revocation list.
#[derive(Serialize, Deserialize)]
struct CrlNote {
    /// For people who look into the folder.
    url: String,
    #[serde(flatten)]
    validators: Validators,
    /// Of the list that they were given with.
    sha256: String,
}

/// An OCSP answer and whom it is about.
pub(super) struct KeptAnswer {
    pub(super) certificate: Vec<u8>,
    pub(super) response: Vec<u8>,
}

/// The same in its file.
#[derive(Serialize, Deserialize)]
struct AnswerFile {
    certificate: String,
    response: String,
}

impl Cache {
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The list kept for an address, if there is one of at most `limit` octets, and what to ask for news with.
    pub(super) fn crl(&self, url: &SourceUrl, limit: usize) -> Option<(Vec<u8>, Validators)> {
        let octets = read(&self.crl_path(url, "crl"), limit as u64)?;
        let note = read(&self.crl_path(url, "json"), LONGEST_ANSWER);
        let note: Option<CrlNote> = note.and_then(|note| serde_json::from_slice(&note).ok());
        let note = note.filter(|note| note.sha256 == sha256(&octets));
        Some((octets, note.map(|note| note.validators).unwrap_or_default()))
    }

    pub(super) fn keep_crl(&self, url: &SourceUrl, octets: &[u8], validators: &Validators) -> io::Result<()> {
        self.make()?;
        replace_file(&self.crl_path(url, "crl"), octets)?;
        let note = CrlNote { url: url.to_string(), validators: validators.clone(), sha256: sha256(octets) };
        replace_file(&self.crl_path(url, "json"), &serde_json::to_vec_pretty(&note)?)
    }

    /// The answers kept for a responder, in no order, `most` at most.
    pub(super) fn answers(&self, source: &OcspSource, most: usize) -> Vec<KeptAnswer> {
        let Ok(entries) = std::fs::read_dir(self.responder(source)) else { return Vec::new() };
        let files = entries.flatten().map(|entry| entry.path());
        let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.take(most).filter_map(|path| kept(&path)).collect()
    }

    pub(super) fn keep_answer(&self, source: &OcspSource, id: &str, answer: &KeptAnswer) -> io::Result<()> {
        let folder = self.responder(source);
        std::fs::create_dir_all(&folder)?;
        let file = AnswerFile {
            certificate: STANDARD.encode(&answer.certificate),
            response: STANDARD.encode(&answer.response),
        };
        replace_file(&folder.join(format!("{id}.json")), &serde_json::to_vec(&file)?)
    }

    pub(super) fn forget_answer(&self, source: &OcspSource, id: &str) {
        let _ = std::fs::remove_file(self.responder(source).join(format!("{id}.json"))); // it may never have been kept
    }

    fn make(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.0)
    }

    fn crl_path(&self, url: &SourceUrl, extension: &str) -> PathBuf {
        self.0.join(format!("crl-{}.{extension}", &sha256(url.as_str().as_bytes())[..32]))
    }

    fn responder(&self, source: &OcspSource) -> PathBuf {
        let name = format!("{}\n{}", source.url, source.issuer.display());
        self.0.join(format!("ocsp-{}", &sha256(name.as_bytes())[..32]))
    }
}

fn kept(path: &Path) -> Option<KeptAnswer> {
    let file: AnswerFile = serde_json::from_slice(&read(path, LONGEST_ANSWER)?).ok()?;
    let certificate = STANDARD.decode(file.certificate).ok()?;
    Some(KeptAnswer { certificate, response: STANDARD.decode(file.response).ok()? })
}

/// A file's octets, if it is there, readable and no longer than that.
fn read(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    std::fs::File::open(path).ok()?.take(limit + 1).read_to_end(&mut octets).ok()?;
    (octets.len() as u64 <= limit).then_some(octets)
}

pub(super) fn sha256(octets: &[u8]) -> String {
    hex::encode(HashAlgorithm::Sha256.digest(octets))
}
