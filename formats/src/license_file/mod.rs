//! License files: the public edition (公示版) as OFD or PDF, judged end to end (ADR 0036).
//!
//! A file opens, its seal holds and belongs to the authority that it names, the license certificate in it is good, the
//! data in it (`face.json`) equals that certificate's face, and what its page shows equals the data. Whether the register
//! says the same is for those to compare who can ask it.

mod authority;
mod data;
pub(crate) mod page;

use time::OffsetDateTime;

use authority::{Sealer, authority};
pub use data::EditionData;
use page::ShownPage;

use crate::Certificate;
use crate::DEFAULT_SIGNER_ID;
use crate::chain::TrustStore;
use crate::cms::SignerReport;
use crate::license::{self, LicenseReport};
use crate::ofd::{self, OfdInput};
use crate::pdf::{self, Limits, PdfInput, PdfSignatureKind};
use crate::verdict::{Judgement, Verdict};

/// The attachment that holds [`EditionData`].
pub const FACE_NAME: &str = "face.json";
/// The attachment that holds the license certificate, DER.
pub const CERTIFICATE_NAME: &str = "license.cer";
/// The most octets of the license certificate.
const MAX_CERTIFICATE: usize = 64 << 10;

/// What a license file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileForm {
    /// GB/T 33190.
    Ofd,
    /// ISO 32000.
    Pdf,
}

impl FileForm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ofd, Self::Pdf];

    /// `ofd` or `pdf`, which is also how names of such files end.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ofd => "ofd",
            Self::Pdf => "pdf",
        }
    }

    /// The form of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|form| form.name() == name)
    }

    /// What HTTP calls it.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Ofd => "application/ofd",
            Self::Pdf => "application/pdf",
        }
    }
}

/// A license file and what to judge it by.
#[derive(Clone, Copy, Debug)]
pub struct LicenseFileInput<'a> {
    /// The file.
    pub octets: &'a [u8],
    /// What it is.
    pub form: FileForm,
    /// For the seal: its maker, signers, timestamps.
    pub documents: &'a TrustStore,
    /// For the license certificate.
    pub licenses: &'a TrustStore,
    /// The time everything is judged at.
    pub at: OffsetDateTime,
    /// Admits test enterprises.
    pub sandbox: bool,
}

/// The answer on a license file.
#[derive(Clone, Debug)]
pub struct LicenseFileReport {
    /// The file alone: what the license certificate in it is worth is in `license`.
    pub judgement: Judgement,
    /// What it was judged as.
    pub form: FileForm,
    /// It is such a file at all.
    pub readable: bool,
    /// The data that it carries, if it does.
    pub data: Option<EditionData>,
    /// The license certificate that it carries, judged.
    pub license: Option<LicenseReport>,
    /// Whose seals or signatures it has: the seal's name, else the signer's subject.
    pub sealed_by: Vec<String>,
    /// The certificates of all who made a signature of it, as far as they are at hand.
    pub signers: Vec<Certificate>,
}

/// What is read of a file beside its signatures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) face: Option<Vec<u8>>,
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) page: ShownPage,
}

/// How much of an attachment is read; none for one that is not looked for.
pub(crate) fn most_of(name: &str) -> Option<usize> {
    match name {
        FACE_NAME => Some(data::MAX_DATA),
        CERTIFICATE_NAME => Some(MAX_CERTIFICATE),
        _ => None,
    }
}

impl Content {
    /// Takes an attachment. One that comes twice is refused, as another reader may take the other.
    pub(crate) fn take(&mut self, name: &str, octets: Vec<u8>) -> Result<(), String> {
        let place = if name == FACE_NAME { &mut self.face } else { &mut self.certificate };
        match place.replace(octets) {
            Some(_) => Err(format!("the attachment {name} is there twice")),
            None => Ok(()),
        }
    }
}

/// Judges a license file; total. Beside the codes of [`ofd::verify`] or [`pdf::verify`] the file's own are:
///
/// | verdict | codes |
/// |---|---|
/// | invalid | `license_file_unsealed` `face_data_malformed` `face_differs_from_certificate` `shown_text_differs` |
/// | indeterminate | `license_certificate_absent` `face_data_absent` `shown_text_not_compared` `seal_not_of_authority` |
/// | note | `face_fact_unproven` |
pub fn judge(input: &LicenseFileInput<'_>) -> LicenseFileReport {
    let (mut report, sealers) = sealed(input);
    if !report.readable {
        return report;
    }
    if report.judgement.verdict == Verdict::Unsigned {
        report.judgement.invalid("license_file_unsealed", "nobody has sealed it");
    }
    let content = match input.form {
        FileForm::Ofd => ofd::license_content(input.octets).map_err(|error| error.to_string()),
        FileForm::Pdf => pdf::sign::license_content(input.octets).map_err(|error| error.to_string()),
    };
    match content {
        Ok(content) => contents(input, &content, &sealers, &mut report),
        Err(reason) => report.judgement.indeterminate("shown_text_not_compared", reason),
    }
    report
}

/// What the document's own judge says of the signatures, and who made those that people may see.
fn sealed(input: &LicenseFileInput<'_>) -> (LicenseFileReport, Vec<Sealer>) {
    let LicenseFileInput { octets, form, documents: trust, at, .. } = *input;
    let signer_id = DEFAULT_SIGNER_ID;
    let (mut sealed_by, mut sealers, mut signers) = (Vec::new(), Vec::new(), Vec::new());
    let certificates =
        |of: &[SignerReport]| of.iter().filter_map(|one| one.certificate.clone()).collect::<Vec<_>>();
    let (judgement, readable) = match form {
        FileForm::Ofd => {
            let report = ofd::verify(&OfdInput { ofd: octets, signer_id, trust, at });
            for one in report.signatures {
                signers.extend(certificates(&one.signers));
                sealers.push(Sealer::of(one.seal, one.signers));
            }
            (report.judgement, report.readable)
        }
        FileForm::Pdf => {
            let limits = Limits::default();
            let report = pdf::verify(&PdfInput { pdf: octets, limits, signer_id, trust, at });
            let mut unseen = None;
            for one in report.signatures {
                signers.extend(certificates(&one.signers));
                let sealer = Sealer::of(one.seal, one.signers);
                // Who tells the time says nothing of the license, as long as it shows nothing, too.
                let is_unseen = one.kind == PdfSignatureKind::DocumentTimestamp
                    && unseen.get_or_insert_with(|| authority::unseen_fields(octets)).contains(&one.field);
                match is_unseen {
                    true => sealed_by.extend(sealer.names()),
                    false => sealers.push(sealer),
                }
            }
            (report.judgement, report.readable)
        }
    };
    sealed_by.splice(0..0, sealers.iter().flat_map(Sealer::names));
    (LicenseFileReport { judgement, form, readable, data: None, license: None, sealed_by, signers }, sealers)
}

fn contents(
    input: &LicenseFileInput<'_>,
    content: &Content,
    sealers: &[Sealer],
    report: &mut LicenseFileReport,
) {
    let judgement = &mut report.judgement;
    match &content.certificate {
        Some(der) => {
            report.license = Some(license::judge(der, input.licenses, input.at, input.sandbox));
        }
        None => judgement.indeterminate(
            "license_certificate_absent",
            format!("it carries no {CERTIFICATE_NAME}, so that nothing proves its face"),
        ),
    }
    let data = match content.face.as_deref().map(EditionData::from_json) {
        Some(Ok(data)) => data,
        Some(Err(reason)) => {
            return judgement.invalid("face_data_malformed", format!("{FACE_NAME}: {reason}"));
        }
        None => {
            let detail = format!("it carries no {FACE_NAME}: what its page shows is not compared");
            return judgement.indeterminate("face_data_absent", detail);
        }
    };
    let face = report.license.as_ref().and_then(|license| license.face.as_ref());
    if let Some(face) = face {
        let (differing, unproven) = data.compare(face);
        if !differing.is_empty() {
            judgement.invalid("face_differs_from_certificate", differing.join("、"));
        }
        if !unproven.is_empty() {
            judgement.note("face_fact_unproven", unproven.join("、"));
        }
        let authorities = [&face.registration_authority, &face.supervising_authority];
        let known = authorities.iter().filter_map(|name| name.as_deref()).map(authority);
        let known: Vec<&str> = known.filter(|name| !name.is_empty()).collect();
        // Each of them: what another shows can lie over what the authority has sealed.
        let others: Vec<String> =
            sealers.iter().filter(|sealer| !sealer.is_one_of(&known)).map(Sealer::to_string).collect();
        // An unsealed file has been told of.
        if !report.sealed_by.is_empty() && (sealers.is_empty() || !others.is_empty()) {
            let others = if sealers.is_empty() { report.sealed_by.clone() } else { others };
            let detail =
                format!("{} is neither the registering nor the supervising authority", others.join("; "));
            judgement.indeterminate("seal_not_of_authority", detail);
        }
    }
    let differing = content.page.differences(&data);
    if !differing.is_empty() {
        judgement.invalid("shown_text_differs", differing.join("、"));
    }
    if !content.page.odd.is_empty() {
        judgement.indeterminate("shown_text_not_compared", content.page.odd.join("; "));
    }
    report.data = Some(data);
}
