//! What a stamp is verified with when its certificates have expired, their CRLs are gone or a key was revoked later: what its
//! certificates were judged by when it was made, under timestamps that are renewed.
//!
//! An evidence package has a core, which names the stamped document by its digest and the certificates, CRLs and OCSP answers
//! by theirs, and records. A record has a token of RFC 3161 over the root of a tree (RFC 9162 with SM3), of which one leaf is
//! over the core and all records before it: `SM3(0x00 ‖ SM3(core) ‖ SM3(record 1) ‖ …)`. Its imprint is the SHA-256 of the root,
//! so that one token is enough for as many stamps as are due. What a record's token is judged by is named in the record.
//! Beside it the audit log has an entry with root and token, and the record the proof of that.
//!
//! The principle is RFC 4998's: a record that came before the last one's certificate or algorithm was broken keeps it good.

mod judge;

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::chain::{self, TrustStore, Usage};
use formats::merkle::{Tree, TreeHash};
use formats::scheme::HashAlgorithm;
use formats::{Certificate, tsp};
use serde::{Deserialize, Serialize};
use sm3::{Digest, Sm3};
use store::{Hash, Stamp, leaf_hash};
use time::OffsetDateTime;

pub use judge::{EvidenceAnswer, MOST_EVIDENCE_ITEMS, RecordAnswer, judge_evidence};

/// What a package says that it is.
pub const EVIDENCE_FORMAT: &str = "license-gateway stamp evidence 1";

/// What the audit log calls a record: its `input_digest` is the tree's root, its `result_digest` the SM3 of the token.
pub const EVIDENCE_ACTION: &str = "stamp.evidence";

/// A package as it is handed out and taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidencePackage {
    /// [`EVIDENCE_FORMAT`].
    pub format: String,
    /// What it is about: an [`EvidenceCore`] as JSON. A text, because its octets are what timestamps are over.
    pub core: String,
    /// Each an [`EvidenceRecord`] as JSON.
    pub records: Vec<String>,
    /// What core and records name: base64 by SM3 in hexadecimal.
    pub items: BTreeMap<String, String>,
}

impl EvidencePackage {
    /// A content as `items` has it: its name and its text.
    #[must_use]
    pub fn item(octets: &[u8]) -> (String, String) {
        (hex::encode(Sm3::digest(octets)), STANDARD.encode(octets))
    }
}

/// What a package is about. Digests are SM3 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceCore {
    /// What the signer's certificate was judged by.
    pub data: ValidationNames,
    /// Of the stamped document, or of the CMS over a digest.
    pub document_sm3: String,
    /// `pdf`, `ofd` or `digest`.
    pub format: String,
    /// Octets of what `document_sm3` is over.
    pub octets: u64,
    /// The proof that the audit log has the stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// The stamp's number.
    pub stamp_id: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub stamped_at: OffsetDateTime,
}

/// A timestamp over a package as it was until then. Digests are SM3 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceRecord {
    /// What the certificates of this timestamp and of the one before were judged by.
    pub data: ValidationNames,
    /// The leaf's place in the tree.
    pub index: u64,
    /// The proof that the audit log has root and token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// From the leaf to the root (RFC 9162, 2.1.3).
    pub path: Vec<String>,
    /// Leaves of the tree.
    pub size: u64,
    /// The TimeStampToken over the root.
    pub token: String,
}

/// Validation data by digests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationNames {
    /// Certificates, from the leaf to the anchor.
    pub certificates: Vec<String>,
    /// CRLs.
    pub crls: Vec<String>,
    /// Subjects of certificates of which nobody could say that they were not revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// OCSP answers.
    pub ocsps: Vec<String>,
}

/// Validation data, with its contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValidationData {
    /// By which digests it is named.
    pub names: ValidationNames,
    /// The contents.
    pub items: Vec<Vec<u8>>,
}

impl ValidationData {
    /// What a certificate is judged by at `at`. Where something is missing the path alone, and of whom.
    #[must_use]
    pub fn of(
        trust: &TrustStore,
        leaf: &Certificate,
        beside: &[Certificate],
        usage: Usage,
        at: OffsetDateTime,
    ) -> Self {
        let (certificates, crls, ocsps, missing) = match trust.evidence(leaf, beside, usage, at) {
            Ok(found) => {
                let crls = found.crls.iter().map(|one| one.der().to_vec()).collect();
                (found.certificates, crls, found.ocsps, Vec::new())
            }
            Err(missing) => (chain::path(leaf, beside, trust, usage, at), Vec::new(), Vec::new(), missing),
        };
        let certificates: Vec<_> = certificates.iter().map(|one| one.der().to_vec()).collect();
        let named = |octets: &[Vec<u8>]| octets.iter().map(|one| hex::encode(Sm3::digest(one))).collect();
        let names = ValidationNames {
            certificates: named(&certificates),
            crls: named(&crls),
            missing,
            ocsps: named(&ocsps),
        };
        Self { names, items: [certificates, crls, ocsps].concat() }
    }

    /// Adds other data, each thing once.
    pub fn extend(&mut self, other: Self) {
        let add = |to: &mut Vec<String>, more: Vec<String>| {
            more.into_iter().for_each(|name| {
                if !to.contains(&name) {
                    to.push(name)
                }
            });
        };
        add(&mut self.names.certificates, other.names.certificates);
        add(&mut self.names.crls, other.names.crls);
        add(&mut self.names.missing, other.names.missing);
        add(&mut self.names.ocsps, other.names.ocsps);
        other.items.into_iter().for_each(|item| {
            if !self.items.contains(&item) {
                self.items.push(item)
            }
        });
    }

    /// What a token's certificate is judged by, and until when that certificate is good; none of a token without one.
    #[must_use]
    pub fn of_token(trust: &TrustStore, token: &[u8], at: OffsetDateTime) -> Option<(Self, OffsetDateTime)> {
        let input =
            tsp::TokenInput { token, content: None, signer_id: formats::DEFAULT_SIGNER_ID, trust, at };
        let authority = tsp::verify(input).signers.into_iter().find_map(|signer| signer.certificate)?;
        let beside = tsp::certificates(token);
        Some((Self::of(trust, &authority, &beside, Usage::TimeStamping, at), authority.not_after()))
    }
}

impl EvidenceCore {
    /// The core of a stamp.
    #[must_use]
    pub fn new(stamp: &Stamp, data: ValidationNames, proof: Option<Hash>) -> Self {
        Self {
            data,
            document_sm3: hex::encode(stamp.result_digest),
            format: stamp.format.clone(),
            octets: stamp.octets,
            proof: proof.map(hex::encode),
            stamp_id: stamp.id.clone(),
            stamped_at: stamp.at,
        }
    }

    /// The text that is kept.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }
}

impl EvidenceRecord {
    /// The text that is kept.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }
}

/// The leaf of a package as it is: over its core and its records.
#[must_use]
pub fn evidence_leaf<T: AsRef<str>>(core: &str, records: &[T]) -> Hash {
    let mut digests = Sm3::digest(core).to_vec();
    for record in records {
        digests.extend_from_slice(&Sm3::digest(record.as_ref()));
    }
    leaf_hash(&digests)
}

/// The hash function of tokens over roots: one of another family than the tree's.
pub const EVIDENCE_HASH: HashAlgorithm = HashAlgorithm::Sha256;

/// What a token over a root is over.
#[must_use]
pub fn evidence_imprint(root: &Hash) -> Vec<u8> {
    EVIDENCE_HASH.digest(root)
}

/// The path from a leaf to the root over these leaves (RFC 9162, 2.1.3); none of a place that there is not.
#[must_use]
pub fn evidence_path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    let tree = Tree::new(TreeHash::Sm3, leaves.to_vec());
    tree.inclusion(index as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_leads_to_the_root() {
        for size in 1..=70_usize {
            let leaves: Vec<Hash> = (0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
            let root = store::root_of(&leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let path = evidence_path(&leaves, index).unwrap();
                let led = store::root_from_inclusion(leaf, index as u64, size as u64, &path);
                assert_eq!(led, Some(root), "{index} of {size}");
            }
            assert_eq!(evidence_path(&leaves, size), None);
        }
    }
}
