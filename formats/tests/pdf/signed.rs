//! Signed PDFs, good ones to begin with: a page with a text field and a link, signed by update after update.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use formats::cms::{Content, Family, SignedDataPlan, prepare};
use formats::pdf::sign::{SignError, SignaturePlan};
use formats::pdf::{Limits, PdfInput, PdfReport, verify};
use formats::{Algorithm, Certificate, TrustStore, Verdict};
use time::OffsetDateTime;
use time::macros::datetime;

use crate::pdf::{Maker, ROOT, base, fill, placeholder};
use crate::pki::{Authority, Key, NOW, Plan, SIGNER_ID, codes};

/// Who signs.
pub(crate) struct Signatory {
    pub(crate) root: Authority,
    pub(crate) key: Key,
    pub(crate) certificate: Certificate,
    pub(crate) algorithm: Algorithm,
    pub(crate) family: Family,
}

impl Signatory {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let root = Plan::authority("CN=Root,C=CN").root(Key::p256());
        let key = Key::for_algorithm(algorithm);
        let certificate = root.issue(&Plan::leaf("CN=Signer,C=CN"), &key);
        Self { root, key, certificate, algorithm, family: Family::Rfc5652 }
    }

    pub(crate) fn p256() -> Self {
        Self::new(Algorithm::EcdsaP256Sha256)
    }

    pub(crate) fn trust(&self) -> TrustStore {
        TrustStore::new(vec![self.root.certificate.clone()], Vec::new(), Vec::new())
    }

    pub(crate) fn cms(&self, content: &[u8]) -> Vec<u8> {
        self.cms_over(Content::Bytes(content.to_vec()))
    }

    fn cms_over(&self, content: Content) -> Vec<u8> {
        let plan = SignedDataPlan {
            family: self.family,
            algorithm: self.algorithm,
            content,
            detached: true,
            chain: vec![self.certificate.clone()],
            signing_time: Some(datetime!(2026-05-31 9:30:15 UTC)),
            signer_id: SIGNER_ID.to_vec(),
        };
        let pending = prepare(plan).unwrap();
        let signature = self.key.sign_with(self.algorithm.into(), pending.to_be_signed());
        pending.finish(&signature).unwrap()
    }

    /// Signs as whoever stamps documents does.
    pub(crate) fn stamp(&self, document: &[u8], plan: &SignaturePlan) -> Result<Vec<u8>, SignError> {
        let prepared = formats::pdf::sign::prepare(document, plan)?;
        let cms = self.cms_over(Content::Digest(prepared.digest().try_into().unwrap()));
        Ok([document, &prepared.finish(&cms)?].concat())
    }

    /// Signs where the last placeholder stands.
    pub(crate) fn fill(&self, octets: Vec<u8>) -> Vec<u8> {
        fill(octets, |content| self.cms(content))
    }

    /// The document with one more signature; `number` is its field's, `fields` are all of the form.
    pub(crate) fn sign(&self, document: &[u8], number: u32, fields: &[u32]) -> Vec<u8> {
        self.fill(placeholder(Maker::update(document), number, fields, "", "").table(ROOT))
    }

    pub(crate) fn judge(&self, document: &[u8]) -> PdfReport {
        judge_at(document, &self.trust(), NOW)
    }
}

pub(crate) fn judge_at(pdf: &[u8], trust: &TrustStore, at: OffsetDateTime) -> PdfReport {
    verify(&PdfInput { pdf, limits: Limits::default(), signer_id: SIGNER_ID, trust, at })
}

/// A document with one good signature in field 30.
pub(crate) struct Signed {
    pub(crate) by: Signatory,
    pub(crate) octets: Vec<u8>,
}

impl Signed {
    pub(crate) fn new() -> Self {
        Self::with("", "")
    }

    pub(crate) fn with(of_value: &str, of_field: &str) -> Self {
        let by = Signatory::p256();
        let first = base().table(ROOT);
        let octets = by.fill(placeholder(Maker::update(&first), 30, &[30], of_value, of_field).table(ROOT));
        let this = Self { by, octets };
        let report = this.by.judge(&this.octets);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
        this
    }

    pub(crate) fn update(&self) -> Maker {
        Maker::update(&self.octets)
    }

    #[track_caller]
    pub(crate) fn found(&self, octets: &[u8], code: &str) -> PdfReport {
        let report = self.by.judge(octets);
        assert_eq!(report.judgement.verdict, Verdict::Invalid, "{code}: {report:#?}");
        assert!(report.judgement.has(code), "{code}: {:?}", codes(&report.judgement));
        report
    }

    #[track_caller]
    pub(crate) fn permitted(&self, octets: &[u8], change: &str) {
        let report = self.by.judge(octets);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
        let changes = &report.signatures[0].changes;
        assert!(changes.iter().any(|found| found.code == change && found.permitted), "{changes:?}");
        assert!(report.judgement.has("later_changes_permitted"));
        assert!(!report.signatures[0].coverage.unwrap().whole_document);
    }
}
