//! Judging an evidence package: whether it proves since when a document exists, and what its certificates were judged by then.
//!
//! Codes of findings, beside those of [`formats::tsp::verify`] for each record:
//!
//! | verdict | codes |
//! |---|---|
//! | invalid | `evidence_malformed` `evidence_altered` `evidence_of_another_document` `evidence_without_record` `evidence_log_contradicts` |
//! | note | `evidence_incomplete` `evidence_not_in_log` `evidence_log_signer_unknown` |

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::chain::{self, RevocationMode, RevocationPolicy, TrustStore, Usage};
use formats::ocsp::OcspResponse;
use formats::{Certificate, Crl, Judgement, PublicKey, Verdict, tsp};
use serde::{Deserialize, Serialize};
use sm3::{Digest, Sm3};
use store::{AuditEntry, Hash, Note, leaf_hash, root_from_inclusion};
use time::OffsetDateTime;

use super::{
    EVIDENCE_FORMAT, EvidenceCore, EvidencePackage, EvidenceRecord, ValidationNames, evidence_imprint,
    evidence_leaf,
};

/// The most records, contents, and things of one kind (certificates, lists, answers) that are read: as many as a site can
/// come to in a century, and as few as can be judged in time whoever made them.
const MOST_RECORDS: usize = 200;
/// Contents of a package at most; with more it is not judged.
pub const MOST_EVIDENCE_ITEMS: usize = 2_000;
const MOST_OF_A_KIND: usize = 200;

/// The answer on an evidence package.
#[derive(Debug, Clone, Serialize)]
pub struct EvidenceAnswer {
    /// Verdict and findings: only of a valid one anything is believed.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The number of the stamp that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamp_id: Option<String>,
    /// The time that its first record proves the document to have existed at, and that the document is judged at.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<OffsetDateTime>,
    /// Its records, the first one first.
    pub records: Vec<RecordAnswer>,
    /// What the document is judged against then.
    #[serde(skip)]
    pub trust: Option<TrustStore>,
}

/// The answer on a record of a package.
#[derive(Debug, Clone, Serialize)]
pub struct RecordAnswer {
    /// Verdict and findings on its timestamp.
    #[serde(flatten)]
    pub judgement: Judgement,
    /// The time that it says.
    #[serde(with = "time::serde::rfc3339::option")]
    pub time: Option<OffsetDateTime>,
    /// The audit log has it, as its proof shows, and an anchor vouches for the log's signer.
    pub logged: bool,
    /// When the certificate of its timestamp ends: it has to be renewed before.
    #[serde(with = "time::serde::rfc3339::option")]
    pub good_until: Option<OffsetDateTime>,
}

impl EvidenceAnswer {
    /// What the document is judged against, and at which time; none of evidence that does not hold.
    #[must_use]
    pub fn grounds(&self) -> Option<(&TrustStore, OffsetDateTime)> {
        self.trust.as_ref().zip(self.proven_at)
    }

    fn refused(code: &'static str, detail: impl Into<String>) -> Self {
        let mut judgement = Judgement::new();
        judgement.invalid(code, detail.into());
        Self { judgement, stamp_id: None, proven_at: None, records: Vec::new(), trust: None }
    }
}

/// Judges a package about a document (or about the CMS over a digest) at `at`, by the anchors of `trust`; total.
///
/// The last record's timestamp is judged at `at`, and each earlier one at the time of the next. What the package brings is
/// not trusted, and all of it is signed: it counts beside what `trust` has, and a revocation that only `trust` knows of
/// counts as well. Whoever made it chose what it brings, and could leave out the list that names a revoked key: a certificate
/// of whose revocation nobody says anything is left undecided, also where `trust` asks for less.
#[must_use]
pub fn judge_evidence(
    trust: &TrustStore,
    package: &EvidencePackage,
    document: &[u8],
    at: OffsetDateTime,
) -> EvidenceAnswer {
    // First, because whoever has many packages shows each of them for each document.
    let core = match EvidenceCore::read(package) {
        Ok(core) => core,
        Err(detail) => return EvidenceAnswer::refused("evidence_malformed", detail),
    };
    if core.document_sm3 != hex::encode(Sm3::digest(document)) {
        let detail = format!("it is about the document with SM3 {}", core.document_sm3);
        let refused = EvidenceAnswer::refused("evidence_of_another_document", detail);
        return EvidenceAnswer { stamp_id: Some(core.stamp_id), ..refused };
    }
    let opened = match Opened::new(package, core) {
        Ok(opened) => opened,
        Err((code, detail)) => return EvidenceAnswer::refused(code, detail),
    };
    let mut answer = EvidenceAnswer {
        judgement: Judgement::new(),
        stamp_id: Some(opened.core.stamp_id.clone()),
        proven_at: None,
        records: Vec::new(),
        trust: None,
    };
    let data = opened.records.iter().map(|record| &record.data).chain([&opened.core.data]);
    let strict = RevocationPolicy { mode: RevocationMode::Required, ..trust.revocation() };
    let beside = opened.beside(trust, data);
    let trust = match beside.map(|trust| trust.with_revocation(strict)) {
        Ok(trust) => trust,
        Err(detail) => {
            answer.judgement.invalid("evidence_malformed", detail);
            return answer;
        }
    };
    let mut judged_at = at;
    for number in (0..opened.records.len()).rev() {
        let record = opened.record(package, number, &trust, judged_at);
        answer.judgement.merge(record.judgement.clone());
        if let Some(time) = record.time {
            judged_at = time;
        }
        answer.records.insert(0, record);
    }
    let missing = &opened.core.data.missing;
    if !missing.is_empty() {
        let detail = format!("nobody could say that these were not revoked: {}", missing.join(", "));
        answer.judgement.note("evidence_incomplete", detail);
    }
    if let Some(proof) = opened.core.proof.as_ref().and_then(|name| opened.items.get(name))
        && let Err(reason) = LogProof::read(proof).and_then(|proof| proof.check())
    {
        let detail = format!("the proof that the audit log has the stamp: {reason}");
        answer.judgement.invalid("evidence_log_contradicts", detail);
    }
    if answer.judgement.verdict == Verdict::Valid {
        answer.proven_at = Some(judged_at);
        answer.trust = Some(trust);
    }
    answer
}

impl EvidenceCore {
    fn read(package: &EvidencePackage) -> Result<Self, String> {
        if package.format != EVIDENCE_FORMAT {
            return Err(format!("its format is not {EVIDENCE_FORMAT:?}"));
        }
        serde_json::from_str(&package.core).map_err(|error| format!("core: {error}"))
    }
}

/// A package that can be read and has all that it names.
struct Opened {
    core: EvidenceCore,
    records: Vec<EvidenceRecord>,
    items: BTreeMap<String, Vec<u8>>,
}

impl Opened {
    fn new(package: &EvidencePackage, core: EvidenceCore) -> Result<Self, (&'static str, String)> {
        let malformed = |detail: String| ("evidence_malformed", detail);
        if package.records.len() > MOST_RECORDS || package.items.len() > MOST_EVIDENCE_ITEMS {
            let detail = format!("it has more than {MOST_RECORDS} records or {MOST_EVIDENCE_ITEMS} items");
            return Err(malformed(detail));
        }
        let mut records = Vec::with_capacity(package.records.len());
        for (number, record) in package.records.iter().enumerate() {
            let record: EvidenceRecord = serde_json::from_str(record)
                .map_err(|error| malformed(format!("records[{number}]: {error}")))?;
            records.push(record);
        }
        if records.is_empty() {
            return Err(("evidence_without_record", "no timestamp proves its time".to_owned()));
        }
        let mut items = BTreeMap::new();
        for (name, text) in &package.items {
            let octets = STANDARD
                .decode(text)
                .map_err(|error| malformed(format!("items.{name} is not base64: {error}")))?;
            if hex::encode(Sm3::digest(&octets)) != *name {
                return Err(("evidence_altered", format!("items.{name} has another digest")));
            }
            items.insert(name.clone(), octets);
        }
        let opened = Self { core, records, items };
        let named = opened.records.iter().flat_map(|record| {
            let data = &record.data;
            let own = record.log.iter().chain([&record.token]);
            data.certificates.iter().chain(&data.crls).chain(&data.ocsps).chain(own)
        });
        let data = &opened.core.data;
        let of_core = data.certificates.iter().chain(&data.crls).chain(&data.ocsps).chain(&opened.core.proof);
        if let Some(gone) = named.chain(of_core).find(|name| !opened.items.contains_key(*name)) {
            return Err(("evidence_altered", format!("items.{gone} is missing")));
        }
        Ok(opened)
    }

    /// The trust store with what the package brings.
    fn beside<'a>(
        &self,
        trust: &TrustStore,
        data: impl Iterator<Item = &'a ValidationNames>,
    ) -> Result<TrustStore, String> {
        let (mut certificates, mut crls, mut ocsps) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for data in data {
            self.read(&data.certificates, &mut certificates, Certificate::from_der)?;
            self.read(&data.crls, &mut crls, Crl::from_der)?;
            self.read(&data.ocsps, &mut ocsps, OcspResponse::from_der)?;
        }
        let (certificates, crls) = (certificates.into_values().collect(), crls.into_values().collect());
        Ok(trust.clone().with_more(certificates, crls, ocsps.into_values().collect()))
    }

    /// Reads what is named, each thing once however often it is named.
    fn read<'a, T, E: Display>(
        &self,
        names: &'a [String],
        known: &mut BTreeMap<&'a str, T>,
        of_der: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Result<(), String> {
        for name in names {
            if let Entry::Vacant(free) = known.entry(name) {
                free.insert(of_der(&self.items[name]).map_err(|error| format!("items.{name}: {error}"))?);
            }
            if known.len() > MOST_OF_A_KIND {
                return Err(format!("it names more than {MOST_OF_A_KIND} things of one kind"));
            }
        }
        Ok(())
    }

    fn record(
        &self,
        package: &EvidencePackage,
        number: usize,
        trust: &TrustStore,
        at: OffsetDateTime,
    ) -> RecordAnswer {
        let record = &self.records[number];
        let mut answer =
            RecordAnswer { judgement: Judgement::new(), time: None, logged: false, good_until: None };
        let leaf = evidence_leaf(&package.core, &package.records[..number]);
        let path: Option<Vec<Hash>> = record.path.iter().map(|node| digest(node)).collect();
        let root = path.and_then(|path| root_from_inclusion(&leaf, record.index, record.size, &path));
        let Some(root) = root else {
            let detail = format!("records[{number}] has no path of the right form");
            answer.judgement.invalid("evidence_malformed", detail);
            return answer;
        };
        let token = &self.items[&record.token];
        let input =
            tsp::TokenInput { token, content: None, signer_id: formats::DEFAULT_SIGNER_ID, trust, at };
        let report = tsp::verify_digest(&input, &evidence_imprint(&root));
        answer.judgement = report.judgement;
        answer.time = report.info.map(|info| info.time);
        let authority = report.signers.into_iter().find_map(|signer| signer.certificate);
        answer.good_until = authority.map(|certificate| certificate.not_after());
        let Some(log) = &record.log else {
            let detail = format!("records[{number}] is not proved to be in the audit log");
            answer.judgement.note("evidence_not_in_log", detail);
            return answer;
        };
        let checked = LogProof::read(&self.items[log]).and_then(|proof| {
            proof.tells(&root, token)?;
            proof.check()
        });
        match checked {
            Ok(chain) => {
                let known = chain.split_first().is_some_and(|(leaf, beside)| {
                    let at = answer.time.unwrap_or(at);
                    chain::validate(leaf, beside, trust, Usage::DocumentSigning, at).verdict == Verdict::Valid
                });
                // Anybody can make a log of their own.
                answer.logged = known;
                if !known {
                    let detail = format!("records[{number}]: nobody vouches for the audit log's signer");
                    answer.judgement.note("evidence_log_signer_unknown", detail);
                }
            }
            Err(reason) => {
                let detail = format!("records[{number}]: {reason}");
                answer.judgement.invalid("evidence_log_contradicts", detail);
            }
        }
        answer
    }
}

fn digest(text: &str) -> Option<Hash> {
    hex::decode(text).ok()?.try_into().ok()
}

/// An inclusion proof, as `GET /v1/audit/proofs/{index}` answers it.
#[derive(Deserialize)]
struct LogProof {
    log: String,
    index: u64,
    size: u64,
    entry: Option<String>,
    leaf_hash: String,
    path: Vec<String>,
    checkpoint: Checkpoint,
}

#[derive(Deserialize)]
struct Checkpoint {
    note: String,
    signer: Signer,
}

#[derive(Deserialize)]
struct Signer {
    public_key: String,
    certificate_chain: String,
}

impl LogProof {
    fn read(octets: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(octets).map_err(|error| error.to_string())
    }

    /// The entry has to be about this root and this token.
    fn tells(&self, root: &Hash, token: &[u8]) -> Result<(), String> {
        let entry: Option<AuditEntry> =
            self.entry.as_ref().and_then(|entry| serde_json::from_str(entry).ok());
        let told = entry.is_some_and(|entry| {
            entry.action == super::EVIDENCE_ACTION
                && entry.outcome == "ok"
                && entry.input_digest == Some(hex::encode(root))
                && entry.result_digest == Some(hex::encode(Sm3::digest(token)))
        });
        if told { Ok(()) } else { Err("the audit log's entry is not about this timestamp".to_owned()) }
    }

    /// Entry, path and checkpoint have to hold together, and the named key has to have signed. Answers its chain.
    fn check(&self) -> Result<Vec<Certificate>, String> {
        let wrong = |what: &str| Err(what.to_owned());
        let base64 = |text: &String| -> Option<Hash> { STANDARD.decode(text).ok()?.try_into().ok() };
        let Some(leaf) = base64(&self.leaf_hash) else { return wrong("its leaf hash is none") };
        if self.entry.as_ref().is_some_and(|entry| leaf_hash(entry.as_bytes()) != leaf) {
            return wrong("the entry has another leaf hash");
        }
        let path: Option<Vec<Hash>> = self.path.iter().map(base64).collect();
        let root = path.and_then(|path| root_from_inclusion(&leaf, self.index, self.size, &path));
        let note = Note::parse(&self.checkpoint.note).map_err(|error| error.to_string())?;
        if note.origin != self.log || note.size != self.size || Some(note.root) != root {
            return wrong("the proof does not lead to the checkpoint");
        }
        let key = PublicKey::from_pem(&self.checkpoint.signer.public_key);
        if !key.is_ok_and(|key| note.is_signed_by(&key)) {
            return wrong("the named key did not sign the checkpoint");
        }
        let chain = Certificate::many_from_pem(&self.checkpoint.signer.certificate_chain).unwrap_or_default();
        let same = chain.first().and_then(|leaf| leaf.public_key().ok()).is_some_and(|key| {
            PublicKey::from_pem(&self.checkpoint.signer.public_key).is_ok_and(|named| named == key)
        });
        Ok(if same { chain } else { Vec::new() })
    }
}
