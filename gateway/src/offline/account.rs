//! Reports on what was judged offline: for people, and for programs in the structure of ETSI TS 119 102-2.

use formats::chain::{self, Usage};
use formats::csr::Request;
use formats::font::Font;
use formats::opened::{Kind, Opened};
use formats::report::{Item, Report, Row, Section, rows};
use formats::words::{Language, Words};
use formats::{Certificate, PublicKey, license};
use serde_json::Value;
use signing::{
    ArchiveAnswer, ArchivedAnswer, Input, Judged, SignatureKind, SignerSummary, StampAnswer, TimestampAnswer,
    archive_item, merged_reports, signature_item, signer_paths, stamped_item, validation_report,
};
use time::OffsetDateTime;
use verify_front::{FileSummary, file_section};

use super::Outcome;
use super::verify::{Judge, ReportFile, ReportForm};

/// What was found of the signers of a SignedData or timestamp.
pub(super) struct Signed {
    pub(super) kind: SignatureKind,
    pub(super) signers: Vec<SignerSummary>,
    pub(super) timestamp: Option<TimestampAnswer>,
}

/// What was found in a file beside its outcome.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(super) enum Found {
    Signed(Signed),
    Stamped(StampAnswer),
    Archive(ArchiveAnswer),
    /// A license file, with the license certificate in it.
    LicenseFile(FileSummary, Option<Certificate>),
}

/// What a report says of one file.
pub(super) struct Account {
    item: Item,
    validation: Value,
}

impl Judge<'_> {
    /// The account of a file's octets, as they were judged.
    pub(super) fn account(&self, outcome: &Outcome, opened: &Opened, found: Option<Found>) -> Account {
        let octets = &*opened.octets;
        let (mut signed, mut file) = (None, None);
        match found {
            Some(Found::Stamped(answer)) => return self.stamped_account(outcome, octets, &answer),
            Some(Found::Archive(answer)) => return self.archive_account(outcome, octets, &answer),
            Some(Found::Signed(found)) => signed = Some(found),
            Some(Found::LicenseFile(summary, certificate)) => file = Some((summary, certificate)),
            None => {}
        }
        let certificate = match &file {
            Some((_, certificate)) => certificate.clone(),
            None => Certificate::from_der(octets).ok(),
        };
        let input = self.content.clone().map(Input::Data);
        let paths = match &signed {
            Some(signed) => signer_paths(&self.trust, signed.kind, octets, &signed.signers, self.at),
            None => self.path(outcome, certificate.as_ref(), &opened.more).into_iter().collect(),
        };
        let judged = Judged {
            name: Some(&outcome.name),
            signature: octets,
            input: input.as_ref().filter(|_| signed.is_some()),
            at: self.at,
            judged_at: self.now,
            judgement: &outcome.judgement,
            signers: signed.as_ref().map_or(&[], |signed| &signed.signers),
            paths: &paths,
        };
        let item = match &signed {
            Some(signed) => signature_item(&self.trust, signed.kind, &judged, signed.timestamp.as_ref()),
            None => {
                let path = paths.first().map_or(&[][..], Vec::as_slice);
                let mut item = self.item(outcome, octets, certificate.as_ref(), path);
                item.sections.extend(file.iter().map(|(summary, _)| file_section(summary)));
                item
            }
        };
        Account { item, validation: validation_report(&judged) }
    }

    fn stamped_account(&self, outcome: &Outcome, octets: &[u8], answer: &StampAnswer) -> Account {
        let signers: Vec<_> =
            answer.signatures.iter().flat_map(|signature| signature.signers.iter().cloned()).collect();
        let item = stamped_item(&self.trust, Some(&outcome.name), octets, answer, self.at);
        self.account_of(item, outcome, octets, &signers)
    }

    fn archive_account(&self, outcome: &Outcome, octets: &[u8], answer: &ArchiveAnswer) -> Account {
        let signers = answer.document.as_ref().map(ArchivedAnswer::signers).unwrap_or_default();
        let item = archive_item(&self.trust, &outcome.name, octets, answer, &outcome.judgement, self.at);
        let item = item.unwrap_or_else(|| self.item(outcome, octets, None, &[]));
        self.account_of(item, outcome, octets, &signers)
    }

    /// An account of what has signers of its own, without their paths.
    fn account_of(&self, item: Item, outcome: &Outcome, octets: &[u8], signers: &[SignerSummary]) -> Account {
        let judged = Judged {
            name: Some(&outcome.name),
            signature: octets,
            input: None,
            at: self.at,
            judged_at: self.now,
            judgement: &outcome.judgement,
            signers,
            paths: &[],
        };
        Account { item, validation: validation_report(&judged) }
    }

    fn certificate_usage(&self, outcome: &Outcome) -> Option<Usage> {
        match outcome.kind.0 {
            kind if kind == Kind::License.name() => Some(Usage::License),
            kind if kind == Kind::Certificate.name() => Some(self.usage()),
            _ => None,
        }
    }

    fn path(
        &self,
        outcome: &Outcome,
        certificate: Option<&Certificate>,
        more: &[Certificate],
    ) -> Option<Vec<Certificate>> {
        let usage = self.certificate_usage(outcome)?;
        Some(chain::path(certificate?, more, &self.trust, usage, self.at))
    }

    /// What is no signature by itself: a certificate, a license, a request, and what could not be judged.
    fn item(
        &self,
        outcome: &Outcome,
        octets: &[u8],
        certificate: Option<&Certificate>,
        path: &[Certificate],
    ) -> Item {
        let mut known = vec![Row::new(Words::new("文件", "File"), outcome.name.as_str())];
        if !octets.is_empty() {
            known.extend(rows::digests(octets));
        }
        let mut sections = Vec::new();
        if let Some(usage) = self.certificate_usage(outcome) {
            known.extend(rows::policy(usage, &self.trust, self.at));
            if let Some(certificate) = certificate {
                sections.extend(certificate_sections(certificate, usage, path));
            }
        }
        if outcome.kind.0 == Kind::Request.name()
            && let Ok(request) = Request::from_der(octets)
        {
            sections.push(request_section(&request));
        }
        Item { kind: outcome.kind.1, judgement: outcome.judgement.clone(), rows: known, sections }
    }
}

fn certificate_sections(certificate: &Certificate, usage: Usage, path: &[Certificate]) -> Vec<Section> {
    let mut sections = Vec::new();
    if usage == Usage::License
        && let Ok((face, _)) = license::face(certificate)
    {
        sections.push(Section::new(Words::new("照面信息", "License face"), rows::face(&face)));
    }
    let mut known = rows::certificate(certificate).to_vec();
    known.extend(rows::path(path));
    sections.push(Section::new(Words::new("证书", "Certificate"), known));
    sections
}

fn request_section(request: &Request) -> Section {
    let mut known = vec![Row::new(Words::new("申请主体", "Subject"), request.subject())];
    if let Ok(key) = request.public_key() {
        known.push(Row::new(Words::new("密钥", "Key"), PublicKey::kind(&key)));
    }
    Section::new(Kind::Request.words(), known)
}

/// Writes the report on all files, whole or not at all.
pub(super) fn write_report(
    file: &ReportFile,
    accounts: Vec<Account>,
    language: Language,
    made_at: OffsetDateTime,
    font: &Font,
) -> Result<(), String> {
    let path = &file.path;
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let (items, validations): (Vec<_>, Vec<_>) =
        accounts.into_iter().map(|account| (account.item, account.validation)).unzip();
    let maker = concat!("license-gateway ", env!("CARGO_PKG_VERSION")).to_owned();
    let report = Report { language, made_at, maker, reference: None, items };
    let octets = match file.form {
        ReportForm::Pdf => report.to_pdf(font).map_err(|error| failed(&error))?,
        ReportForm::Text => report.to_text().into_bytes(),
        ReportForm::Json => format!("{:#}\n", merged_reports(validations)).into_bytes(),
    };
    crate::serve::replace_file(path, &octets).map_err(|error| failed(&error))
}
