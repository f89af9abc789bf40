//! PDFs, electronic seals and OFD packages.

use formats::chain::path;
use formats::{Certificate, Judgement, TrustStore, Usage};
use serde_json::{Value, json};
use signing::{
    ArchiveAnswer, ArchivedAnswer, ManifestAnswer, SignerSummary, StampAnswer, StampVerification,
    StampedFormat, judge_archive, verify_list, verify_ofd, verify_pdf, verify_seal,
};

use super::Outcome;
use super::verify::Judge;

impl Judge<'_> {
    /// A seal, or a signature with one: over `--content`, if that is given.
    pub(super) fn seal(&self, octets: &[u8], outcome: &mut Outcome) {
        let answer = verify_seal(&self.trust, self.asked(octets));
        outcome.readable = answer.readable;
        let mut members = json!(answer);
        outcome.judgement = answer.judgement;
        outcome.take(&mut members, ["seal", "signature", "property_info", "judged_at"]);
        self.signers(&answer.signers, outcome);
    }

    /// An item of a signed list, with its proof; `--content` is what the item is about.
    pub(super) fn list_proof(&self, octets: &[u8], outcome: &mut Outcome) {
        let (signer_id, format) = (self.arguments.signer_id.as_bytes(), StampedFormat::List);
        let asked = StampVerification { document: octets, format, signer_id, at: self.at };
        let answer = verify_list(&self.trust, asked, self.content.as_deref());
        outcome.readable = answer.readable;
        let mut members = json!(answer);
        outcome.judgement = answer.judgement;
        outcome.take(&mut members, ["proof", "family"]);
        self.signers(&answer.signers, outcome);
    }

    /// An archive package: by what is in it, as of the time that its evidence proves.
    pub(super) fn archive(&self, octets: &[u8], outcome: &mut Outcome) -> Option<ArchiveAnswer> {
        let given = [
            ("--content", self.arguments.content.is_some()),
            ("--evidence", !self.arguments.evidence.is_empty()),
            ("--signer-id", self.arguments.signer_id.as_bytes() != formats::DEFAULT_SIGNER_ID),
        ];
        let given: Vec<_> = given.into_iter().filter_map(|(option, given)| given.then_some(option)).collect();
        if !given.is_empty() {
            let detail = format!("{}: an archive package is judged by what is in it alone", given.join(", "));
            outcome.readable = false;
            outcome.judgement.invalid("option_not_applicable", detail);
            return None;
        }
        let answer = judge_archive(&self.trust, octets, self.at);
        outcome.readable = answer.readable;
        outcome.judgement = answer.judgement.clone();
        if let Some(manifest) = &answer.manifest_signature {
            self.archivist(manifest, &mut outcome.judgement);
        }
        let mut members = json!(answer);
        outcome.take(&mut members, ["manifest", "manifest_signature", "evidence", "document"]);
        let signers = answer.document.as_ref().map(ArchivedAnswer::signers).unwrap_or_default();
        self.signers(&signers, outcome);
        Some(answer)
    }

    /// Whether it was one of those who may that signed the manifest.
    fn archivist(&self, manifest: &ManifestAnswer, judgement: &mut Judgement) {
        let subjects = manifest.signers.iter().filter_map(|signer| signer.subject.as_deref());
        let subjects = subjects.collect::<Vec<_>>().join("; ");
        if self.archivists.is_empty() {
            judgement.note("archivist_not_checked", format!("{subjects}; --archivist says who may sign"));
            return;
        }
        let trust = TrustStore::new(self.archivists.clone(), Vec::new(), Vec::new());
        let at = manifest.proven_at.unwrap_or(self.at);
        let counts = |signer: &SignerSummary| {
            let certificate = signer.certificate.as_deref().and_then(|pem| Certificate::from_pem(pem).ok());
            certificate.is_some_and(|certificate| {
                self.archivists.contains(&certificate)
                    || !path(&certificate, &[], &trust, Usage::DocumentSigning, at).is_empty()
            })
        };
        if !manifest.signers.iter().any(counts) {
            judgement.invalid("archivist_unknown", subjects);
        }
    }

    pub(super) fn pdf(&self, octets: &[u8], outcome: &mut Outcome) -> StampAnswer {
        let signer_id = self.arguments.signer_id.as_bytes();
        let format = StampedFormat::Pdf;
        let asked = StampVerification { document: octets, format, signer_id, at: self.at };
        let answer = verify_pdf(&self.trust, asked);
        outcome.readable = answer.readable;
        outcome.judgement = answer.judgement.clone();
        outcome.more.insert("revisions".to_owned(), json!(answer.revisions));
        outcome.more.insert("signatures".to_owned(), json!(answer.signatures));
        let signers = answer.signatures.iter().flat_map(|signature| signature.signers.iter().cloned());
        self.signers(&signers.collect::<Vec<_>>(), outcome);
        answer
    }

    pub(super) fn ofd(&self, octets: &[u8], outcome: &mut Outcome) {
        let answer = verify_ofd(&self.trust, octets, self.arguments.signer_id.as_bytes(), self.at);
        outcome.readable = answer.readable;
        let mut members = json!(answer);
        outcome.judgement = answer.judgement;
        outcome.take(&mut members, ["documents", "pages", "signatures"]);
        let signers: Vec<SignerSummary> =
            answer.signatures.into_iter().flat_map(|signature| signature.signers).collect();
        self.signers(&signers, outcome);
    }
}

impl Outcome {
    /// Takes over members of an answer, those that it has.
    fn take<const N: usize>(&mut self, answer: &mut Value, names: [&str; N]) {
        let present = names.into_iter().filter_map(|name| {
            let value = answer.get_mut(name)?.take();
            Some((name.to_owned(), value))
        });
        self.more.extend(present);
    }
}
