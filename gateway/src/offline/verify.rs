//! `license-gateway verify FILE…`: judges whatever the product can read, without a gateway.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use formats::chain::{self, Usage};
use formats::csr::Request;
use formats::describe::describe;
use formats::license::LicenseReport;
use formats::license_file::{FileForm, LicenseFileInput};
use formats::opened::{Kind, Opened, open};
use formats::words::Words;
use formats::{Certificate, FormatError, Judgement, TrustStore, license, license_file, subject};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use signing::{
    CmsVerification, EvidenceAnswer, EvidencePackage, Input, SignatureKind, SignerSummary, StampedFormat,
    judge_evidence, stamped_octets, verify_cms, verify_timestamp,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use verify_front::{FileSummary, register_differences};

use super::account::{Account, Found, Signed, write_report};
use super::{Outcome, Output, material, tell, wrong_usage};

/// Files to be judged, and by what.
#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The files: DER, PEM, base64 or JSON.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Anchors: a PEM or DER file, or a folder of them; CRLs in it count too.
    #[arg(long, value_name = "FILE_OR_DIR")]
    trust: Vec<PathBuf>,
    /// Certificates that help to build paths.
    #[arg(long, value_name = "FILE_OR_DIR")]
    intermediate: Vec<PathBuf>,
    /// Whose electronic seals count: certificates of makers, and of authorities, for whom they have certified. If absent,
    /// every certificate for signing documents is a maker's.
    #[arg(long, value_name = "FILE_OR_DIR")]
    seal_maker: Vec<PathBuf>,
    /// Certificate revocation lists.
    #[arg(long, value_name = "FILE_OR_DIR")]
    crl: Vec<PathBuf>,
    /// OCSP responses, DER.
    #[arg(long, value_name = "FILE_OR_DIR")]
    ocsp: Vec<PathBuf>,
    /// Evidence packages of stamps: a document that one is about is judged at the time that it proves, by what it brings.
    #[arg(long, value_name = "FILE")]
    pub(super) evidence: Vec<PathBuf>,
    /// Who may have signed archive packages' manifests: certificates, and authorities, for whom they have certified. If absent,
    /// every certificate for signing documents may.
    #[arg(long, value_name = "FILE_OR_DIR")]
    archivist: Vec<PathBuf>,
    /// What a detached signature, a timestamp or an item of a list is over.
    #[arg(long, value_name = "FILE")]
    pub(super) content: Option<PathBuf>,
    /// The time everything must have been good at; now if absent.
    #[arg(long, value_name = "RFC3339", value_parser = read_time)]
    at: Option<OffsetDateTime>,
    /// What a certificate must be good for; signing documents if absent.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Usage::NAMES.map(|(name, _)| name)))]
    usage: Option<String>,
    /// The name a certificate must speak for: a host, an address, or the subject's CN or O.
    #[arg(long)]
    name: Option<String>,
    /// What the files are.
    #[arg(long = "type", default_value = AUTO, value_parser = clap::builder::PossibleValuesParser::new(types()))]
    kind: String,
    /// The identifier in SM2's Z of signers of documents and requests.
    #[arg(long, value_name = "TEXT", default_value = "1234567812345678")]
    pub(super) signer_id: String,
    /// Admit test enterprises.
    #[arg(long)]
    sandbox: bool,
    /// What the register says of licenses' holders: an answer of GET /v1/licenses/{uscc}/face.
    #[arg(long, value_name = "FILE")]
    register: Option<PathBuf>,
    /// Write one report on all files: for people as .pdf or .txt, in the structure of ETSI TS 119 102-2 as .json.
    #[arg(long, value_name = "FILE", value_parser = read_report)]
    report: Option<ReportFile>,
    /// A font for the PDF with more characters than the one that is built in.
    #[arg(long, value_name = "FILE", requires = "report")]
    font: Option<PathBuf>,
    /// Which face of the font, if it is a collection.
    #[arg(long, value_name = "NUMBER", default_value_t = 0, requires = "font")]
    font_face: u32,
    #[command(flatten)]
    output: Output,
}

const AUTO: &str = "auto";

/// Where a report goes, and in what form.
#[derive(Clone, Debug)]
pub(super) struct ReportFile {
    pub(super) path: PathBuf,
    pub(super) form: ReportForm,
}

/// The forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReportForm {
    Pdf,
    Text,
    Json,
}

fn read_report(text: &str) -> Result<ReportFile, String> {
    let path = PathBuf::from(text);
    let form = match path.extension().and_then(|ending| ending.to_str()) {
        Some("pdf") => ReportForm::Pdf,
        Some("txt") => ReportForm::Text,
        Some("json") => ReportForm::Json,
        _ => return Err("must end in .pdf, .txt or .json".to_owned()),
    };
    Ok(ReportFile { path, form })
}

fn types() -> impl Iterator<Item = &'static str> {
    [AUTO].into_iter().chain(Kind::NAMES.map(|(name, _)| name))
}

fn read_time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "must be an RFC 3339 time".to_owned())
}

/// A face as the register has it.
#[derive(Clone, Deserialize)]
pub(super) struct Register {
    uscc: String,
    face: Map<String, Value>,
}

fn read_register(path: &Path) -> Result<Register, String> {
    let octets = material::read(path)?;
    serde_json::from_slice(&octets).map_err(|error| format!("{}: {error}", path.display()))
}

fn read_evidence(path: &Path) -> Result<EvidencePackage, String> {
    let octets = material::read(path)?;
    serde_json::from_slice(&octets)
        .map_err(|error| format!("{}: it is no evidence package: {error}", path.display()))
}

/// What all files are judged by.
pub(super) struct Judge<'a> {
    pub(super) arguments: &'a VerifyArguments,
    pub(super) trust: TrustStore,
    pub(super) content: Option<Vec<u8>>,
    register: Option<Register>,
    evidence: Vec<EvidencePackage>,
    pub(super) archivists: Vec<Certificate>,
    usage: Option<Usage>,
    pub(super) at: OffsetDateTime,
    /// When it is judged.
    pub(super) now: OffsetDateTime,
}

/// Judges the files one after the other.
pub(crate) fn verify(arguments: VerifyArguments) -> ExitCode {
    let trust = material::trust(&arguments.trust, &arguments.intermediate, &arguments.crl);
    let trust = trust.and_then(|trust| material::with_seal_makers(trust, &arguments.seal_maker));
    let trust = match trust.and_then(|trust| Ok(trust.with_ocsp(material::ocsp(&arguments.ocsp)?))) {
        Ok(trust) => trust,
        Err(reason) => return wrong_usage(&reason),
    };
    let content = match arguments.content.as_deref().map(material::read).transpose() {
        Ok(content) => content,
        Err(reason) => return wrong_usage(&reason),
    };
    let register = match arguments.register.as_deref().map(read_register).transpose() {
        Ok(register) => register,
        Err(reason) => return wrong_usage(&reason),
    };
    let evidence: Result<Vec<_>, String> =
        arguments.evidence.iter().map(|path| read_evidence(path)).collect();
    let evidence = match evidence {
        Ok(evidence) => evidence,
        Err(reason) => return wrong_usage(&reason),
    };
    let archivists = match material::certificates(&arguments.archivist) {
        Ok(archivists) => archivists,
        Err(reason) => return wrong_usage(&reason),
    };
    let named = |name: &String| Usage::NAMES.iter().find(|(known, _)| known == name).map(|(_, usage)| *usage);
    let usage = arguments.usage.as_ref().and_then(named);
    let font = match material::font(arguments.font.as_deref(), arguments.font_face) {
        Ok(font) => font,
        Err(reason) => return wrong_usage(&reason),
    };
    let now = OffsetDateTime::now_utc();
    let at = arguments.at.unwrap_or(now);
    let judge =
        Judge { arguments: &arguments, trust, content, register, evidence, archivists, usage, at, now };
    let mut accounts = Vec::new();
    let each = arguments.files.iter().map(|file| {
        let (outcome, account) = judge.file(file);
        accounts.extend(account);
        outcome
    });
    let code = tell(&arguments.output, "file", each);
    let Some(file) = &arguments.report else { return code };
    match write_report(file, accounts, arguments.output.lang.unwrap_or_default(), now, &font) {
        Ok(()) => code,
        Err(reason) => wrong_usage(&reason),
    }
}

impl Judge<'_> {
    /// The outcome, and the account of it where a report is asked for.
    fn file(&self, path: &Path) -> (Outcome, Option<Account>) {
        let reported = self.arguments.report.is_some();
        let octets = match material::read(path) {
            Ok(octets) => octets,
            Err(reason) => {
                let name = path.display().to_string();
                let outcome = Outcome::unreadable(name, self.wanted(), "unreadable", reason);
                let nothing = Opened { octets: Vec::new(), kind: None, more: Vec::new() };
                let account = reported.then(|| self.account(&outcome, &nothing, None));
                return (outcome, account);
            }
        };
        let opened = open(&octets);
        let (evidence, grounded) = self.grounded(&opened).unzip();
        let judge = grounded.as_ref().and_then(Option::as_ref).unwrap_or(self);
        let (mut outcome, found) = judge.judge(path, &opened);
        if let Some(evidence) = evidence {
            outcome.more.insert("evidence".to_owned(), json!(evidence));
        }
        let account = reported.then(|| judge.account(&outcome, &opened, found));
        (outcome, account)
    }

    /// What is to be said of a document's evidence; and who judges the document by it, if it holds.
    fn grounded(&self, opened: &Opened) -> Option<(EvidenceAnswer, Option<Self>)> {
        // What was stamped, and nothing else: no license or certificate is good today because there is a stamp over it.
        let stamped = match opened.kind {
            _ if self.is_about_license() => return None,
            Some(Kind::Cms | Kind::Pdf | Kind::Ofd) => Cow::Borrowed(&*opened.octets),
            Some(Kind::ListProof) => stamped_octets(&opened.octets, StampedFormat::List),
            _ => return None,
        };
        let answers = self.evidence.iter();
        let mut answers = answers.map(|package| judge_evidence(&self.trust, package, &stamped, self.at));
        let first = answers.next()?;
        // Which package is about which file is theirs to say.
        let is_about = |answer: &EvidenceAnswer| {
            let mut findings = answer.judgement.findings.iter();
            !findings.any(|finding| finding.code == "evidence_of_another_document")
        };
        let answer = if is_about(&first) { first } else { answers.find(is_about).unwrap_or(first) };
        let judge = answer.grounds().map(|(trust, at)| Self {
            arguments: self.arguments,
            trust: trust.clone(),
            content: self.content.clone(),
            register: self.register.clone(),
            evidence: Vec::new(),
            archivists: self.archivists.clone(),
            usage: self.usage,
            at,
            now: self.now,
        });
        Some((answer, judge))
    }

    fn is_about_license(&self) -> bool {
        self.wanted() == Some(Kind::License)
    }

    fn wanted(&self) -> Option<Kind> {
        Kind::NAMES.iter().find(|(name, _)| *name == self.arguments.kind).map(|(_, kind)| *kind)
    }

    fn judge(&self, path: &Path, opened: &Opened) -> (Outcome, Option<Found>) {
        let name = path.display().to_string();
        let Some(kind) = self.wanted().or(opened.kind) else {
            let reason = "it is nothing that can be judged".to_owned();
            return (Outcome::unreadable(name, None, "malformed", reason), None);
        };
        let mut outcome = Outcome {
            name,
            kind: (kind.name(), kind.words()),
            judgement: Judgement::new(),
            readable: true,
            more: Map::new(),
        };
        outcome.more.insert("signers".to_owned(), json!([]));
        let mut found = None;
        match kind {
            Kind::Cms => found = Some(Found::Signed(self.cms(&opened.octets, &mut outcome))),
            Kind::Certificate => self.certificate(opened, &mut outcome),
            Kind::License => match opened.kind {
                Some(Kind::Ofd) => found = Some(self.license_file(opened, FileForm::Ofd, &mut outcome)),
                Some(Kind::Pdf) => found = Some(self.license_file(opened, FileForm::Pdf, &mut outcome)),
                _ => self.license(
                    license::judge(&opened.octets, &self.trust, self.at, self.sandbox()),
                    &mut outcome,
                ),
            },
            Kind::Request => self.request(&opened.octets, &mut outcome),
            Kind::Timestamp => found = Some(Found::Signed(self.timestamp(&opened.octets, &mut outcome))),
            Kind::Pdf => found = Some(Found::Stamped(self.pdf(&opened.octets, &mut outcome))),
            Kind::Ofd => self.ofd(&opened.octets, &mut outcome),
            Kind::Seal => self.seal(&opened.octets, &mut outcome),
            Kind::ListProof => self.list_proof(&opened.octets, &mut outcome),
            Kind::Archive => found = self.archive(&opened.octets, &mut outcome).map(Found::Archive),
        }
        (outcome, found)
    }

    /// What a certificate must be good for.
    pub(super) fn usage(&self) -> Usage {
        self.usage.unwrap_or(Usage::DocumentSigning)
    }

    pub(super) fn asked<'a>(&'a self, octets: &'a [u8]) -> CmsVerification<'a> {
        CmsVerification {
            signature: octets,
            input: self.content.clone().map(Input::Data),
            signer_id: self.arguments.signer_id.as_bytes(),
            at: self.at,
        }
    }

    fn cms(&self, octets: &[u8], outcome: &mut Outcome) -> Signed {
        let answer = verify_cms(&self.trust, self.asked(octets));
        outcome.readable = answer.family.is_some();
        outcome.judgement = answer.judgement;
        outcome.more.insert("family".to_owned(), json!(answer.family));
        self.signers(&answer.signers, outcome);
        Signed { kind: SignatureKind::Cms, signers: answer.signers, timestamp: None }
    }

    fn timestamp(&self, octets: &[u8], outcome: &mut Outcome) -> Signed {
        let answer = verify_timestamp(&self.trust, self.asked(octets));
        outcome.readable = answer.readable;
        outcome.judgement = answer.judgement.clone();
        outcome.more.insert("family".to_owned(), json!(answer.family));
        outcome.more.insert("timestamp".to_owned(), json!(answer.timestamp));
        self.signers(&answer.signers, outcome);
        Signed { kind: SignatureKind::Timestamp, signers: answer.signers.clone(), timestamp: Some(answer) }
    }

    pub(super) fn signers(&self, signers: &[SignerSummary], outcome: &mut Outcome) {
        outcome.more.insert("signers".to_owned(), json!(signers));
        let Some(wanted) = &self.arguments.name else { return };
        let texts = signers.iter().filter_map(|signer| signer.certificate.as_deref());
        for certificate in texts.filter_map(|pem| Certificate::from_pem(pem).ok()) {
            name(&certificate, wanted, &mut outcome.judgement);
        }
    }

    fn certificate(&self, opened: &Opened, outcome: &mut Outcome) {
        let certificate = match Certificate::from_der(&opened.octets) {
            Ok(certificate) => certificate,
            Err(error) => return outcome.malformed(&error),
        };
        let usage = self.usage();
        outcome.judgement = chain::validate(&certificate, &opened.more, &self.trust, usage, self.at);
        if let Some(wanted) = &self.arguments.name {
            name(&certificate, wanted, &mut outcome.judgement);
        }
        outcome.more.insert("certificate".to_owned(), summary(&certificate));
    }

    fn sandbox(&self) -> bool {
        self.arguments.sandbox
    }

    /// The public edition (公示版).
    fn license_file(&self, opened: &Opened, form: FileForm, outcome: &mut Outcome) -> Found {
        let report = license_file::judge(&LicenseFileInput {
            octets: &opened.octets,
            form,
            documents: &self.trust,
            licenses: &self.trust,
            at: self.at,
            sandbox: self.sandbox(),
        });
        outcome.readable = report.readable;
        outcome.judgement = report.judgement;
        let summary = FileSummary { form, sealed_by: report.sealed_by, data: report.data };
        outcome.more.insert("license_file".to_owned(), json!(summary));
        let certificate = report.license.as_ref().and_then(|license| license.certificate.clone());
        if let Some(license) = report.license {
            self.license(license, outcome);
        }
        Found::LicenseFile(summary, certificate)
    }

    /// What a license certificate proves, added to what is known of the file that it came in.
    fn license(&self, report: LicenseReport, outcome: &mut Outcome) {
        outcome.readable = outcome.more.contains_key("license_file") || report.certificate.is_some();
        outcome.judgement.merge(report.judgement);
        let Some(certificate) = report.certificate else { return };
        if let Some(wanted) = &self.arguments.name {
            name(&certificate, wanted, &mut outcome.judgement);
        }
        let register = self.register.as_ref().zip(report.face.as_ref());
        match register.filter(|(register, face)| register.uscc == face.uscc) {
            Some((register, face)) => {
                let differing = register_differences(face, &register.face);
                if !differing.is_empty() {
                    outcome.judgement.invalid("face_differs_from_register", differing.join(", "));
                }
                outcome.judgement.note("status_not_checked", "the register was asked for the face only");
            }
            None => outcome.judgement.note("status_not_checked", "the register is not asked offline"),
        }
        let mut license = summary(&certificate);
        license["license_serial"] = json!(report.license_serial);
        license["uscc"] = json!(report.uscc);
        license["face"] = json!(report.face);
        outcome.more.insert("license".to_owned(), license);
    }

    fn request(&self, octets: &[u8], outcome: &mut Outcome) {
        let request = match Request::from_der(octets) {
            Ok(request) => request,
            Err(error) => return outcome.malformed(&error),
        };
        match request.verify_possession(self.arguments.signer_id.as_bytes()) {
            Ok(()) => {}
            Err(
                error @ (FormatError::UnsupportedAlgorithm(_)
                | FormatError::UnsupportedKey(_)
                | FormatError::RsaModulus { .. }),
            ) => outcome.judgement.indeterminate("unsupported_algorithm", error.to_string()),
            Err(error @ FormatError::AlgorithmMismatch { .. }) => {
                outcome.judgement.invalid("algorithm_mismatch", error.to_string());
            }
            Err(error) => outcome.judgement.invalid("signature_invalid", error.to_string()),
        }
        if let Err(error) = request.extensions() {
            outcome.judgement.invalid("malformed", error.to_string());
        }
        let key = request.public_key();
        let request = json!({
            "subject": request.subject(),
            "key": key.as_ref().map(formats::PublicKey::kind).ok(),
            "public_key": key.as_ref().map(formats::PublicKey::to_pem).ok(),
        });
        outcome.more.insert("request".to_owned(), request);
    }
}

impl Outcome {
    fn unreadable(name: String, kind: Option<Kind>, code: &'static str, detail: String) -> Self {
        let mut judgement = Judgement::new();
        judgement.invalid(code, detail);
        const UNKNOWN: (&str, Words) = ("unknown", Words::new("未知类型", "unknown type"));
        let kind = kind.map_or(UNKNOWN, |kind| (kind.name(), kind.words()));
        let more = Map::from_iter([("signers".to_owned(), json!([]))]);
        Self { name, kind, judgement, readable: false, more }
    }

    fn malformed(&mut self, error: &FormatError) {
        self.readable = false;
        self.judgement.invalid("malformed", error.to_string());
    }
}

fn name(certificate: &Certificate, wanted: &str, judgement: &mut Judgement) {
    match subject::speaks_for(certificate, wanted) {
        Ok(true) => {}
        Ok(false) => {
            let subject = certificate.subject();
            judgement.invalid("name_mismatch", format!("{subject} does not speak for {wanted}"));
        }
        Err(error) => judgement.invalid("malformed", error.to_string()),
    }
}

fn summary(certificate: &Certificate) -> Value {
    let time = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
    json!({
        "subject": certificate.subject(),
        "issuer": certificate.issuer(),
        "serial": certificate.serial_hex(),
        "not_before": time(certificate.not_before()),
        "not_after": time(certificate.not_after()),
        "facts": describe(certificate).ok(),
    })
}
