//! What stands beside a signature without being covered by it: counter-signatures and timestamps.

use const_oid::ObjectIdentifier;

use super::signer::{Context, Signed};
use super::structure::SignerInfo;
use super::verify::{AttributeReport, SignerReport};
use super::{Content, in_der};
use crate::chain::Usage;
use crate::error::FormatError;
use crate::oid;
use crate::tsp;
use crate::verdict::{Judgement, Verdict};

impl Context<'_> {
    /// Judges the counter-signatures and timestamps over a signer's signature and reports them with the signer. They
    /// are notes on the signer at most: whoever hands the SignedData on could have added or dropped them.
    pub(super) fn unsigned_attributes(&self, signer: &SignerInfo<'_>, report: &mut SignerReport) {
        let attributes = match signer.unsigned_attributes() {
            Ok(attributes) => attributes,
            Err(error) => {
                report.judgement.note("unsigned_attributes_unreadable", error.to_string());
                return;
            }
        };
        let mut left_out = 0;
        for (id, values) in attributes {
            for value in values {
                if ![oid::COUNTER_SIGNATURE, oid::SIGNATURE_TIMESTAMP].contains(&id) {
                    continue;
                }
                let Some(left) = self.nested_left.get().checked_sub(1) else {
                    left_out += 1;
                    continue;
                };
                self.nested_left.set(left);
                if id == oid::COUNTER_SIGNATURE {
                    self.counter_signature(value, signer.signature, report);
                } else {
                    self.timestamp(value, signer.signature, report);
                }
            }
        }
        if left_out > 0 {
            let detail = format!("{left_out} counter-signatures and timestamps more than are read");
            report.judgement.note("counter_signatures_not_judged", detail);
        }
    }

    fn counter_signature(&self, value: &[u8], signature: &[u8], report: &mut SignerReport) {
        let counter = match SignerInfo::decode(value) {
            Ok(counter) => counter,
            Err(error) => {
                let error = FormatError::der("counter-signature", error);
                report.judgement.note("counter_signature_invalid", error.to_string());
                return;
            }
        };
        let signed =
            Signed { content_type: None, attached: Some(signature), given: None, digest_algorithms: None };
        // Who counter-signs, signs a document.
        let context = Context { usage: Usage::DocumentSigning, nested_left: 0.into(), ..*self };
        let counter = context.signer(&counter, &signed);
        let codes = ["counter_signature_invalid", "counter_signature_indeterminate"];
        note(&counter.judgement, codes, counter.subject.as_deref(), &mut report.judgement);
        report.counter_signatures.push(counter);
    }

    fn timestamp(&self, token: &[u8], signature: &[u8], report: &mut SignerReport) {
        let token = tsp::verify(tsp::TokenInput {
            token: &in_der(token),
            content: Some(Content::Bytes(signature.to_vec())),
            signer_id: self.signer_id,
            trust: self.trust,
            at: self.at,
        });
        let codes = ["timestamp_invalid", "timestamp_indeterminate"];
        let subject = token.signers.first().and_then(|signer| signer.subject.as_deref());
        note(&token.judgement, codes, subject, &mut report.judgement);
        report.timestamps.push(token);
    }
}

/// Says on the signer what came out for one that stands beside it, if that is not `valid`.
fn note(nested: &Judgement, [invalid, open]: [&'static str; 2], subject: Option<&str>, on: &mut Judgement) {
    let code = match nested.verdict {
        Verdict::Valid => return,
        Verdict::Invalid => invalid,
        Verdict::Indeterminate | Verdict::Unsigned => open,
    };
    let codes: Vec<_> = nested.findings.iter().map(|finding| finding.code).collect();
    on.note(code, format!("{}: {}", subject.unwrap_or("(unknown)"), codes.join(", ")));
}

/// All attributes of a signer, by name where one is known.
pub(super) fn attribute_reports(signer: &SignerInfo<'_>) -> Vec<AttributeReport> {
    let report = |id: &ObjectIdentifier, signed| AttributeReport {
        oid: id.to_string(),
        name: NAMES.iter().find(|(known, _)| known == id).map(|(_, name)| *name),
        signed,
    };
    let signed = signer.signed_attributes.iter().flat_map(|attributes| &attributes.list);
    let unsigned = signer.unsigned_attributes().unwrap_or_default();
    signed
        .map(|(id, _)| report(id, true))
        .chain(unsigned.iter().map(|(id, _)| report(id, false)))
        .take(MOST_ATTRIBUTES)
        .collect()
}

/// More than any signer has; the rest of a longer list is not reported.
const MOST_ATTRIBUTES: usize = 64;

/// Attributes of RFC 5652, RFC 5035, RFC 6211 and EN 319 122-1.
const NAMES: [(ObjectIdentifier, &str); 20] = [
    (oid::CONTENT_TYPE, "contentType"),
    (oid::MESSAGE_DIGEST, "messageDigest"),
    (oid::SIGNING_TIME, "signingTime"),
    (oid::COUNTER_SIGNATURE, "counterSignature"),
    (oid::SIGNING_CERTIFICATE, "signingCertificate"),
    (oid::SIGNING_CERTIFICATE_V2, "signingCertificateV2"),
    (oid::CMS_ALGORITHM_PROTECTION, "cmsAlgorithmProtection"),
    (oid::SIGNATURE_TIMESTAMP, "signatureTimeStampToken"),
    (id("1.2.840.113549.1.9.15"), "smimeCapabilities"),
    (id("1.2.840.113549.1.9.16.2.4"), "contentHints"),
    (id("1.2.840.113549.1.9.16.2.15"), "signaturePolicyIdentifier"),
    (id("1.2.840.113549.1.9.16.2.16"), "commitmentTypeIndication"),
    (id("1.2.840.113549.1.9.16.2.17"), "signerLocation"),
    (id("1.2.840.113549.1.9.16.2.18"), "signerAttributes"),
    (id("1.2.840.113549.1.9.16.2.20"), "contentTimeStamp"),
    (id("1.2.840.113549.1.9.16.2.21"), "certificateRefs"),
    (id("1.2.840.113549.1.9.16.2.22"), "revocationRefs"),
    (id("1.2.840.113549.1.9.16.2.23"), "certificateValues"),
    (id("1.2.840.113549.1.9.16.2.24"), "revocationValues"),
    (id("1.2.840.113583.1.1.8"), "adobeRevocationInfoArchival"),
];

const fn id(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(dotted)
}
