//! `license-gateway verify FILE…`: judges whatever the product can read, without a gateway.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use formats::chain::{self, Usage};
use formats::csr::Request;
use formats::describe::describe;
use formats::opened::{Kind, Opened, open};
use formats::{Certificate, FormatError, Judgement, TrustStore, license, subject};
use serde_json::{Map, Value, json};
use signing::{
    CmsVerification, Input, Judged, SignerSummary, validation_report, verify_cms, verify_timestamp,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Outcome, Output, material, tell, wrong_usage};

/// Files to be judged, and by what.
#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The files: DER, PEM or base64.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Anchors: a PEM or DER file, or a folder of them; CRLs in it count too.
    #[arg(long, value_name = "FILE_OR_DIR")]
    trust: Vec<PathBuf>,
    /// Certificates that help to build paths.
    #[arg(long, value_name = "FILE_OR_DIR")]
    intermediate: Vec<PathBuf>,
    /// Certificate revocation lists.
    #[arg(long, value_name = "FILE_OR_DIR")]
    crl: Vec<PathBuf>,
    /// OCSP responses, DER.
    #[arg(long, value_name = "FILE_OR_DIR")]
    ocsp: Vec<PathBuf>,
    /// What a detached signature or a timestamp is over.
    #[arg(long, value_name = "FILE")]
    content: Option<PathBuf>,
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
    signer_id: String,
    /// Admit test enterprises.
    #[arg(long)]
    sandbox: bool,
    /// Add a report in the structure of ETSI TS 119 102-2 for signatures and timestamps.
    #[arg(long, requires = "json")]
    report: bool,
    #[command(flatten)]
    output: Output,
}

const AUTO: &str = "auto";

fn types() -> impl Iterator<Item = &'static str> {
    [AUTO].into_iter().chain(Kind::NAMES.map(|(name, _)| name))
}

fn read_time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "must be an RFC 3339 time".to_owned())
}

/// What all files are judged by.
struct Judge<'a> {
    arguments: &'a VerifyArguments,
    trust: TrustStore,
    content: Option<Vec<u8>>,
    usage: Option<Usage>,
    at: OffsetDateTime,
}

/// Judges the files one after the other.
pub(crate) fn verify(arguments: VerifyArguments) -> ExitCode {
    let trust = material::trust(&arguments.trust, &arguments.intermediate, &arguments.crl);
    let trust = match trust.and_then(|trust| Ok(trust.with_ocsp(material::ocsp(&arguments.ocsp)?))) {
        Ok(trust) => trust,
        Err(reason) => return wrong_usage(&reason),
    };
    let content = match arguments.content.as_deref().map(material::read).transpose() {
        Ok(content) => content,
        Err(reason) => return wrong_usage(&reason),
    };
    let named = |name: &String| Usage::NAMES.iter().find(|(known, _)| known == name).map(|(_, usage)| *usage);
    let usage = arguments.usage.as_ref().and_then(named);
    let at = arguments.at.unwrap_or_else(OffsetDateTime::now_utc);
    let judge = Judge { arguments: &arguments, trust, content, usage, at };
    tell(&arguments.output, "file", arguments.files.iter().map(|file| judge.file(file)))
}

impl Judge<'_> {
    fn file(&self, path: &Path) -> Outcome {
        let name = path.display().to_string();
        let wanted = Kind::NAMES.iter().find(|(name, _)| *name == self.arguments.kind).map(|(_, kind)| *kind);
        let octets = match material::read(path) {
            Ok(octets) => octets,
            Err(reason) => return Outcome::unreadable(name, wanted, "unreadable", reason),
        };
        let opened = open(&octets);
        let Some(kind) = wanted.or(opened.kind) else {
            return Outcome::unreadable(
                name,
                None,
                "malformed",
                "it is nothing that can be judged".to_owned(),
            );
        };
        let mut outcome = Outcome {
            name,
            kind: kind.name(),
            judgement: Judgement::new(),
            readable: true,
            more: Map::new(),
        };
        outcome.more.insert("signers".to_owned(), json!([]));
        match kind {
            Kind::Cms => self.cms(&opened.octets, &mut outcome),
            Kind::Certificate => self.certificate(&opened, &mut outcome),
            Kind::License => self.license(&opened.octets, &mut outcome),
            Kind::Request => self.request(&opened.octets, &mut outcome),
            Kind::Timestamp => self.timestamp(&opened.octets, &mut outcome),
            Kind::Pdf | Kind::Ofd | Kind::Seal => {
                let detail = format!("files of the type {} cannot be judged yet", kind.name());
                outcome.judgement.indeterminate("type_not_supported", detail);
            }
        }
        outcome
    }

    fn asked<'a>(&'a self, octets: &'a [u8]) -> CmsVerification<'a> {
        CmsVerification {
            signature: octets,
            input: self.content.clone().map(Input::Data),
            signer_id: self.arguments.signer_id.as_bytes(),
            at: self.at,
        }
    }

    fn cms(&self, octets: &[u8], outcome: &mut Outcome) {
        let answer = verify_cms(&self.trust, self.asked(octets));
        outcome.readable = answer.family.is_some();
        outcome.judgement = answer.judgement;
        outcome.more.insert("family".to_owned(), json!(answer.family));
        self.signers(octets, &answer.signers, outcome);
    }

    fn timestamp(&self, octets: &[u8], outcome: &mut Outcome) {
        let answer = verify_timestamp(&self.trust, self.asked(octets));
        outcome.readable = answer.readable;
        outcome.judgement = answer.judgement;
        outcome.more.insert("family".to_owned(), json!(answer.family));
        outcome.more.insert("timestamp".to_owned(), json!(answer.timestamp));
        self.signers(octets, &answer.signers, outcome);
    }

    fn signers(&self, octets: &[u8], signers: &[SignerSummary], outcome: &mut Outcome) {
        if self.arguments.report {
            let input = self.asked(octets).input;
            let report = validation_report(&Judged {
                signature: octets,
                input: input.as_ref(),
                at: self.at,
                judged_at: OffsetDateTime::now_utc(),
                judgement: &outcome.judgement,
                signers,
            });
            outcome.more.insert("report".to_owned(), report);
        }
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
        let usage = self.usage.unwrap_or(Usage::DocumentSigning);
        outcome.judgement = chain::validate(&certificate, &opened.more, &self.trust, usage, self.at);
        if let Some(wanted) = &self.arguments.name {
            name(&certificate, wanted, &mut outcome.judgement);
        }
        outcome.more.insert("certificate".to_owned(), summary(&certificate));
    }

    fn license(&self, octets: &[u8], outcome: &mut Outcome) {
        let report = license::judge(octets, &self.trust, self.at, self.arguments.sandbox);
        outcome.readable = report.certificate.is_some();
        outcome.judgement = report.judgement;
        let Some(certificate) = report.certificate else { return };
        if let Some(wanted) = &self.arguments.name {
            name(&certificate, wanted, &mut outcome.judgement);
        }
        outcome.judgement.note("status_not_checked", "the register is not asked offline");
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
        let kind = kind.map_or("unknown", Kind::name);
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
