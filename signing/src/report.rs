//! Verification reports in the structure of ETSI TS 119 102-2 as far as it applies: which signature, over what, by
//! whom, judged when and how, with the main and sub-indications of EN 319 102-1. Members are named as in the
//! standard's schema, in JSON.

use formats::scheme::HashAlgorithm;
use formats::{Certificate, Judgement, Verdict};
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Input, SignerSummary};

const MAIN: &str = "urn:etsi:019102:mainindication:";
const SUB: &str = "urn:etsi:019102:subindication:";
/// EN 319 102-1, 5.3: the signature and the certificate at one time, without proofs of existence.
const PROCESS: &str = "urn:etsi:019102:validationprocess:Basic";
const CERTIFICATE: &str = "urn:etsi:019102:validationObject:certificate";

/// What a report is about.
#[derive(Debug, Clone)]
pub struct Judged<'a> {
    /// What whoever asks calls it.
    pub name: Option<&'a str>,
    /// The signature as it was given.
    pub signature: &'a [u8],
    /// What it was judged over, as far as it was given.
    pub input: Option<&'a Input>,
    /// The time the certificates had to be good at.
    pub at: OffsetDateTime,
    /// When it was judged.
    pub judged_at: OffsetDateTime,
    /// Verdict and findings over all signers.
    pub judgement: &'a Judgement,
    /// Each signer; none under a bare key.
    pub signers: &'a [SignerSummary],
    /// Of each signer the path its certificate was judged by ([`signer_paths`](crate::signer_paths)); of what is itself a
    /// certificate its own.
    pub paths: &'a [Vec<Certificate>],
}

/// The report: one `SignatureValidationReport` for each signer, and one for a signature without any.
#[must_use]
pub fn validation_report(judged: &Judged<'_>) -> Value {
    let mut objects = Objects::default();
    let reports: Vec<Value> = if judged.signers.is_empty() {
        vec![signature(judged, judged.judgement, None, 0, &mut objects)]
    } else {
        let each = judged.signers.iter().enumerate();
        each.map(|(index, signer)| signature(judged, &signer.judgement, Some(signer), index, &mut objects))
            .collect()
    };
    json!({
        "SignatureValidationReport": reports,
        "SignatureValidationObjects": {"ValidationObject": objects.0},
        "SignatureValidator": {"TSPInformation": {"TSPName": concat!("license-gateway ", env!("CARGO_PKG_VERSION"))}},
    })
}

/// One report over what several are about.
#[must_use]
pub fn merged_reports(reports: Vec<Value>) -> Value {
    let mut all = json!({});
    let mut objects = Objects::default();
    let mut signatures = Vec::new();
    for mut report in reports {
        if let Value::Array(found) = report["SignatureValidationReport"].take() {
            signatures.extend(found);
        }
        if let Value::Array(found) = report["SignatureValidationObjects"]["ValidationObject"].take() {
            found.into_iter().for_each(|object| objects.add(object));
        }
        all["SignatureValidator"] = report["SignatureValidator"].take();
    }
    all["SignatureValidationReport"] = signatures.into();
    all["SignatureValidationObjects"] = json!({"ValidationObject": objects.0});
    all
}

/// What reports refer to, in the order in which it comes up.
#[derive(Default)]
struct Objects(Vec<Value>);

impl Objects {
    /// Each once.
    fn add(&mut self, object: Value) {
        if self.0.iter().all(|known| known["id"] != object["id"]) {
            self.0.push(object);
        }
    }
}

fn signature(
    judged: &Judged<'_>,
    judgement: &Judgement,
    signer: Option<&SignerSummary>,
    index: usize,
    objects: &mut Objects,
) -> Value {
    let digest = hex::encode(HashAlgorithm::Sm3.digest(judged.signature));
    let mut report = Map::new();
    let mut identifier = json!({
        "id": format!("signature-{}-{index}", &digest[..16]),
        "DigestAlgAndValue": digest_value(HashAlgorithm::Sm3, &digest),
    });
    if let Some(name) = judged.name {
        identifier["DAIdentifier"] = name.into();
    }
    report.insert("SignatureIdentifier".to_owned(), identifier);
    report.insert(
        "ValidationTimeInfo".to_owned(),
        json!({
            "ValidationTime": time(judged.judged_at),
            // No proof of existence is evaluated: the time that was asked for stands in its place.
            "BestSignatureTime": {"POETime": time(judged.at), "TypeOfProof": "urn:etsi:019102:poetype:provided"},
        }),
    );
    if let Some(document) = document(judged.input) {
        report.insert("SignersDocument".to_owned(), document);
    }
    if let Some(signer) = signer {
        report.insert("SignatureAttributes".to_owned(), attributes(signer));
        report.insert("SignerInformation".to_owned(), information(signer, objects));
    }
    report.insert("SignatureValidationProcess".to_owned(), json!({"SignatureValidationProcessID": PROCESS}));
    let mut status = status(judgement);
    if let Some(path) = judged.paths.get(index).filter(|path| !path.is_empty()) {
        status["AssociatedValidationReportData"]["CertificateChain"] = chain(path, objects);
    }
    report.insert("SignatureValidationStatus".to_owned(), status);
    Value::Object(report)
}

fn time(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

fn digest_value(hash: HashAlgorithm, hexadecimal: &str) -> Value {
    json!({"DigestMethod": format!("urn:oid:{}", hash.oid()), "DigestValue": hexadecimal})
}

fn document(input: Option<&Input>) -> Option<Value> {
    let digest = match input? {
        Input::Data(data) => digest_value(HashAlgorithm::Sm3, &hex::encode(HashAlgorithm::Sm3.digest(data))),
        // Whose digest it is, the signature says.
        Input::Digest(digest) => json!({"DigestValue": hex::encode(digest)}),
    };
    Some(json!({"DigestAlgAndValue": digest}))
}

fn attributes(signer: &SignerSummary) -> Value {
    let mut members = Map::new();
    if let Some(claimed) = signer.signing_time {
        members.insert("SigningTime".to_owned(), json!({"Signed": true, "Time": time(claimed)}));
    }
    for (name, member) in [
        ("contentType", "DataObjectFormat"),
        ("messageDigest", "MessageDigest"),
        ("signingCertificate", "SigningCertificate"),
        ("signingCertificateV2", "SigningCertificate"),
        ("commitmentTypeIndication", "CommitmentTypeIndication"),
        ("signaturePolicyIdentifier", "SigPolicyIdentifier"),
        ("signerLocation", "SignatureProductionPlace"),
        ("counterSignature", "CounterSignature"),
        ("signatureTimeStampToken", "SignatureTimeStamp"),
    ] {
        let found = signer.attributes.iter().find(|attribute| attribute.name == Some(name));
        if let Some(found) = found {
            members.insert(member.to_owned(), json!({"Signed": found.signed, "AttributeObject": found.oid}));
        }
    }
    Value::Object(members)
}

fn information(signer: &SignerSummary, objects: &mut Objects) -> Value {
    let mut information = json!({"Signer": signer.subject});
    let Some(certificate) = signer.certificate.as_deref().and_then(|pem| Certificate::from_pem(pem).ok())
    else {
        return information;
    };
    information["SignerCertificate"] = reference(&certificate, objects);
    information
}

/// TS 119 102-2, 4.3.12.4: the certificate, those between, the anchor.
fn chain(path: &[Certificate], objects: &mut Objects) -> Value {
    let references: Vec<Value> = path.iter().map(|certificate| reference(certificate, objects)).collect();
    let mut chain = Map::new();
    if let [first @ .., anchor] = &*references {
        if let [leaf, between @ ..] = first {
            chain.insert("SigningCertificate".to_owned(), leaf.clone());
            chain.insert("IntermediateCertificate".to_owned(), json!(between));
        }
        chain.insert("TrustAnchor".to_owned(), anchor.clone());
    }
    Value::Object(chain)
}

/// Names a certificate and files it among the objects.
fn reference(certificate: &Certificate, objects: &mut Objects) -> Value {
    let digest = hex::encode(HashAlgorithm::Sm3.digest(certificate.der()));
    let id = format!("certificate-{}", &digest[..16]);
    let reference = json!({"VOReference": format!("#{id}")});
    let object = json!({
        "id": id,
        "ObjectType": CERTIFICATE,
        "ValidationObjectRepresentation": {
            "pem": certificate.to_pem(),
            "DigestAlgAndValue": digest_value(HashAlgorithm::Sm3, &digest),
        },
        "Issuer": certificate.issuer(),
        "SerialNumber": certificate.serial_hex(),
    });
    objects.add(object);
    reference
}

#[derive(Serialize)]
struct Constraint<'a> {
    #[serde(rename = "ValidationConstraintIdentifier")]
    code: &'a str,
    #[serde(rename = "ConstraintStatus")]
    status: &'a str,
    #[serde(rename = "Detail")]
    detail: &'a str,
}

fn status(judgement: &Judgement) -> Value {
    let (main, applied) = match judgement.verdict {
        Verdict::Valid => ("total-passed", "noted"),
        Verdict::Unsigned | Verdict::Indeterminate => ("indeterminate", "notDecided"),
        Verdict::Invalid => ("total-failed", "failed"),
    };
    let findings = judgement.findings.iter();
    let subs: Vec<String> = match judgement.verdict {
        Verdict::Valid => Vec::new(),
        _ => {
            let mut subs: Vec<_> =
                findings.clone().filter_map(|finding| sub_indication(finding.code)).collect();
            subs.dedup();
            subs.iter().map(|sub| format!("{SUB}{sub}")).collect()
        }
    };
    let constraints: Vec<_> = findings
        .map(|finding| Constraint {
            code: finding.code,
            status: if sub_indication(finding.code).is_some() { applied } else { "noted" },
            detail: &finding.detail,
        })
        .collect();
    json!({
        "MainIndication": format!("{MAIN}{main}"),
        "SubIndication": subs,
        "AssociatedValidationReportData": {"ValidationConstraintsEvaluationReport": constraints},
    })
}

/// EN 319 102-1, 5.1.3, tables 5 and 6; none for notes.
fn sub_indication(code: &str) -> Option<&'static str> {
    Some(match code {
        "malformed" | "ber_not_supported" | "ambiguous_content" | "no_signers" | "not_a_timestamp"
        | "several_signers" | "imprint_length" | "timestamp_refused" => "FORMAT_FAILURE",
        "digest_mismatch" => "HASH_FAILURE",
        "signature_invalid" => "SIG_CRYPTO_FAILURE",
        "revoked" => "REVOKED",
        "expired" => "EXPIRED",
        "not_yet_valid" => "NOT_YET_VALID",
        "unsupported_algorithm" | "algorithm_mismatch" => "CRYPTO_CONSTRAINTS_FAILURE",
        "content_type_mismatch"
        | "signed_attributes_absent"
        | "signing_certificate_mismatch"
        | "signing_certificate_absent"
        | "algorithm_protection_mismatch"
        | "timestamp_outside_validity"
        | "timestamp_in_future" => "SIG_CONSTRAINTS_FAILURE",
        "issuer_signature_invalid"
        | "not_a_ca"
        | "path_length_exceeded"
        | "key_usage_not_permitted"
        | "unknown_critical_extension"
        | "name_not_permitted" => "CHAIN_CONSTRAINTS_FAILURE",
        "policy_not_permitted" => "POLICY_PROCESSING_ERROR",
        "signer_certificate_absent" => "NO_SIGNING_CERTIFICATE_FOUND",
        "no_path" => "NO_CERTIFICATE_CHAIN_FOUND",
        "content_absent" => "SIGNED_DATA_NOT_FOUND",
        "crl_stale"
        | "crl_signature_invalid"
        | "crl_not_supported"
        | "revocation_unknown"
        | "ocsp_stale"
        | "ocsp_signature_invalid"
        | "ocsp_not_supported"
        | "ocsp_status_unknown"
        | "status_stale"
        | "status_unavailable" => "TRY_LATER",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(judgement: &Judgement) -> Value {
        let at = OffsetDateTime::UNIX_EPOCH;
        let input = Input::Data(b"content".to_vec());
        validation_report(&Judged {
            name: None,
            signature: b"signature",
            input: Some(&input),
            at,
            judged_at: at,
            judgement,
            signers: &[],
            paths: &[],
        })
    }

    #[test]
    fn the_verdict_becomes_a_main_indication_and_each_fault_a_sub_indication() {
        let mut judgement = Judgement::new();
        judgement.note("trust_not_judged", "a bare key");
        let passed = report(&judgement);
        let status = &passed["SignatureValidationReport"][0]["SignatureValidationStatus"];
        assert_eq!(status["MainIndication"], "urn:etsi:019102:mainindication:total-passed");
        assert_eq!(status["SubIndication"], json!([]));
        let constraint =
            &status["AssociatedValidationReportData"]["ValidationConstraintsEvaluationReport"][0];
        assert_eq!(constraint["ConstraintStatus"], "noted");

        judgement.indeterminate("no_path", "none");
        judgement.invalid("digest_mismatch", "other content");
        let failed = report(&judgement);
        let status = &failed["SignatureValidationReport"][0]["SignatureValidationStatus"];
        assert_eq!(status["MainIndication"], "urn:etsi:019102:mainindication:total-failed");
        let subs = ["NO_CERTIFICATE_CHAIN_FOUND", "HASH_FAILURE"].map(|sub| format!("{SUB}{sub}"));
        assert_eq!(status["SubIndication"], json!(subs));
    }

    #[test]
    fn the_signature_and_the_document_are_named_by_their_digests() {
        let report = report(&Judgement::new());
        let signature = &report["SignatureValidationReport"][0];
        let digest = hex::encode(HashAlgorithm::Sm3.digest(b"signature"));
        assert_eq!(signature["SignatureIdentifier"]["DigestAlgAndValue"]["DigestValue"], digest.as_str());
        let document = &signature["SignersDocument"]["DigestAlgAndValue"];
        assert_eq!(document["DigestMethod"], "urn:oid:1.2.156.10197.1.401");
    }
}
