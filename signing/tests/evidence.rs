//! Evidence packages with the clock moved on: what they prove when certificates have expired, lists are gone and keys were
//! revoked later, and that nothing in them can be changed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../formats/tests/pki/mod.rs"]
mod pki;

#[path = "evidence/archive.rs"]
mod archive;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::{AppId, KeyId};
use const_oid::ObjectIdentifier;
use der::Encode;
use der::asn1::SequenceOf;
use formats::chain::{RevocationMode, RevocationPolicy, TrustStore, Usage, validate};
use formats::cms::Family;
use formats::scheme::HashAlgorithm;
use formats::tsp::{Imprint, TokenPlan, prepare};
use formats::{Algorithm, Certificate, Crl, Judgement, Verdict, oid};
use pki::{Authority, CrlPlan, Key, NOW, Plan, codes};
use serde_json::json;
use signing::{
    EVIDENCE_ACTION, EVIDENCE_FORMAT, EVIDENCE_HASH, EvidenceAnswer, EvidenceCore, EvidencePackage,
    EvidenceRecord, ValidationData, evidence_imprint, evidence_leaf, evidence_path, judge_evidence,
};
use sm3::{Digest, Sm3};
use store::{AuditEntry, Hash, Stamp, checkpoint_text, leaf_hash, signed_note};
use time::OffsetDateTime;
use time::macros::datetime;

const DOCUMENT: &[u8] = b"a stamped document";
const SIGNER: u32 = 4711;
const DAY: time::Duration = time::Duration::DAY;

/// An authority for timestamps, under a root of its own.
struct Tsa {
    root: Authority,
    key: Key,
    chain: Vec<Certificate>,
}

impl Tsa {
    fn new(name: &str, until: OffsetDateTime) -> Self {
        let long = Plan { not_after: datetime!(2049-12-31 0:00 UTC), ..Plan::authority(name) };
        let root = long.root(Key::p256());
        let mut purposes = SequenceOf::<ObjectIdentifier, 1>::new();
        purposes.add(oid::TIME_STAMPING).unwrap();
        let mut plan = Plan { not_after: until, ..Plan::leaf("CN=TSA") };
        plan.extensions.push((oid::EXT_KEY_USAGE, true, purposes.to_der().unwrap()));
        let key = Key::p256();
        let chain = vec![root.issue(&plan, &key), root.certificate.clone()];
        Self { root, key, chain }
    }

    fn token(&self, root: &Hash, time: OffsetDateTime) -> Vec<u8> {
        let imprint = Imprint::new(EVIDENCE_HASH, &evidence_imprint(root)).unwrap();
        let plan = TokenPlan {
            family: Family::Rfc5652,
            algorithm: Algorithm::EcdsaP256Sha256,
            imprint: &imprint,
            policy: ObjectIdentifier::new_unwrap("1.2.3.4.1"),
            serial: 7,
            time,
            accuracy: Duration::from_secs(1),
            ordering: false,
            nonce: None,
            chain: &self.chain,
            certificates: true,
        };
        let pending = prepare(plan).unwrap();
        let signature = self.key.sign(pending.to_be_signed());
        pending.finish(&signature).unwrap()
    }
}

/// A list of an authority that is fresh at a time.
fn fresh(authority: &Authority, at: OffsetDateTime, revoked: Option<OffsetDateTime>) -> Crl {
    authority.crl(&CrlPlan {
        this_update: at - DAY,
        next_update: Some(at + 5 * DAY),
        revoked: revoked.map(|when| (SIGNER, when, None)).into_iter().collect(),
        ..CrlPlan::fresh()
    })
}

struct Site {
    authority: Authority,
    signer: Certificate,
    first: Tsa,
    second: Tsa,
}

impl Site {
    fn new() -> Self {
        let long = Plan { not_after: datetime!(2049-12-31 0:00 UTC), ..Plan::authority("CN=Root") };
        let authority = long.root(Key::p256());
        let plan = Plan { not_after: datetime!(2026-12-31 0:00 UTC), ..Plan::leaf("CN=Signer") };
        Self {
            signer: authority.issue(&plan, &Key::p256()),
            authority,
            first: Tsa::new("CN=First TSA root", datetime!(2028-12-31 0:00 UTC)),
            second: Tsa::new("CN=Second TSA root", datetime!(2036-12-31 0:00 UTC)),
        }
    }

    /// Nothing counts of which nobody says that it is not revoked.
    fn trust(&self, crls: Vec<Crl>) -> TrustStore {
        let roots = [&self.authority, &self.first.root, &self.second.root];
        let roots = roots.map(|authority| authority.certificate.clone()).to_vec();
        let policy = RevocationPolicy { mode: RevocationMode::Required, ..RevocationPolicy::default() };
        TrustStore::new(roots, Vec::new(), crls).with_revocation(policy)
    }

    /// What is known of the authorities for timestamps.
    fn timestamping(&self, at: OffsetDateTime) -> Vec<Crl> {
        vec![fresh(&self.first.root, at, None), fresh(&self.second.root, at, None)]
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            id: "20260601-7QX2M0K4T9".to_owned(),
            check_code: "code".to_owned(),
            format: "digest".to_owned(),
            level: "B-B".to_owned(),
            app: AppId::parse("window").unwrap(),
            key: KeyId::parse("demo-p256").unwrap(),
            at: NOW,
            certificate: self.signer.der().to_vec(),
            field: String::new(),
            input_digest: [1; 32],
            result_digest: Sm3::digest(DOCUMENT).into(),
            octets: DOCUMENT.len() as u64,
            mandate: None,
            list: None,
            signatures: Vec::new(),
            template: None,
        }
    }

    /// As it was taken a second after the stamp.
    fn package(&self) -> EvidencePackage {
        let trust = self.trust(vec![fresh(&self.authority, NOW, None)]);
        let data = ValidationData::of(&trust, &self.signer, &[], Usage::DocumentSigning, NOW);
        assert!(data.names.missing.is_empty());
        let core = EvidenceCore::new(&self.stamp(), data.names.clone(), None).to_json();
        let mut package = EvidencePackage {
            format: EVIDENCE_FORMAT.to_owned(),
            core,
            records: Vec::new(),
            items: BTreeMap::new(),
        };
        data.items.into_iter().for_each(|item| drop(name(&mut package, item)));
        self.renew(&mut package, &self.first, NOW + time::Duration::SECOND);
        package
    }

    /// Another timestamp over all of it, one leaf of three, with the audit log's word.
    fn renew(&self, package: &mut EvidencePackage, tsa: &Tsa, at: OffsetDateTime) {
        let leaf = evidence_leaf(&package.core, &package.records);
        let leaves = [leaf_hash(b"another"), leaf, leaf_hash(b"a third")];
        let root = store::root_of(&leaves);
        let token = tsa.token(&root, at);
        let trust = self.trust(self.timestamping(at));
        let (mut data, good_until) = ValidationData::of_token(&trust, &token, at).unwrap();
        assert_eq!(good_until, tsa.chain[0].not_after());
        if let Some(last) = package.records.last() {
            let last: EvidenceRecord = serde_json::from_str(last).unwrap();
            let token = STANDARD.decode(&package.items[&last.token]).unwrap();
            data.extend(ValidationData::of_token(&trust, &token, at).unwrap().0);
        }
        assert!(data.names.missing.is_empty());
        data.items.into_iter().for_each(|item| drop(name(package, item)));
        let log = proof(&root, &token, at);
        let record = EvidenceRecord {
            data: data.names,
            index: 1,
            log: Some(name(package, log)),
            path: evidence_path(&leaves, 1).unwrap().iter().map(hex::encode).collect(),
            size: 3,
            token: name(package, token),
        };
        package.records.push(record.to_json());
    }

    /// The verdict on the signer, by a package or without one.
    fn signer(&self, trust: &TrustStore, package: Option<&EvidencePackage>, at: OffsetDateTime) -> Judgement {
        let answer = package.map(|package| judge_evidence(trust, package, DOCUMENT, at));
        let (trust, at) = answer.as_ref().and_then(EvidenceAnswer::grounds).unwrap_or((trust, at));
        validate(&self.signer, &[], trust, Usage::DocumentSigning, at)
    }
}

fn name(package: &mut EvidencePackage, item: Vec<u8>) -> String {
    let name = hex::encode(Sm3::digest(&item));
    package.items.insert(name.clone(), STANDARD.encode(item));
    name
}

/// A log with one entry, of this root and token.
fn proof(root: &Hash, token: &[u8], at: OffsetDateTime) -> Vec<u8> {
    let entry = AuditEntry {
        action: EVIDENCE_ACTION.to_owned(),
        actor: "gateway".to_owned(),
        at,
        device: None,
        input_digest: Some(hex::encode(root)),
        key: None,
        outcome: "ok".to_owned(),
        request_id: "request".to_owned(),
        result_digest: Some(hex::encode(Sm3::digest(token))),
        subject: None,
    };
    let entry = entry.canonical_json().unwrap();
    let (origin, leaf, key) = ("site/log", leaf_hash(&entry), Key::p256());
    let text = checkpoint_text(origin, 1, &leaf, at);
    let note = signed_note(&text, origin, &key.public(), &key.sign(text.as_bytes()));
    let proof = json!({
        "log": origin, "index": 0, "size": 1, "entry": String::from_utf8(entry).unwrap(),
        "leaf_hash": STANDARD.encode(leaf), "path": [],
        "checkpoint": {"note": note, "signer": {"public_key": key.public().to_pem(), "certificate_chain": ""}},
    });
    serde_json::to_vec(&proof).unwrap()
}

#[track_caller]
fn refused(site: &Site, package: &EvidencePackage, at: OffsetDateTime, verdict: Verdict, code: &str) {
    let answer = judge_evidence(&site.trust(site.timestamping(at)), package, DOCUMENT, at);
    assert_eq!(answer.judgement.verdict, verdict, "{answer:#?}");
    assert!(codes(&answer.judgement).contains(&code), "{code} in {answer:#?}");
    assert!(answer.grounds().is_none());
}

#[test]
fn a_stamp_is_good_when_its_certificate_has_expired_and_its_list_is_gone() {
    let (site, later) = (Site::new(), datetime!(2028-06-01 0:00 UTC));
    let (package, trust) = (site.package(), site.trust(site.timestamping(later)));
    let alone = site.signer(&trust, None, later);
    assert_eq!(alone.verdict, Verdict::Invalid);
    assert!(codes(&alone).contains(&"expired"), "{alone:?}");

    let answer = judge_evidence(&trust, &package, DOCUMENT, later);
    assert_eq!(answer.judgement.verdict, Verdict::Valid, "{answer:#?}");
    assert_eq!(answer.proven_at, Some(NOW + time::Duration::SECOND));
    assert_eq!(answer.stamp_id.as_deref(), Some("20260601-7QX2M0K4T9"));
    // Nobody vouches for the key of this log, which anybody could have made.
    assert!(!answer.records[0].logged);
    assert!(codes(&answer.records[0].judgement).contains(&"evidence_log_signer_unknown"), "{answer:#?}");
    assert_eq!(answer.records[0].good_until, Some(datetime!(2028-12-31 0:00 UTC)));
    let judged = site.signer(&trust, Some(&package), later);
    assert_eq!((judged.verdict, codes(&judged)), (Verdict::Valid, vec![]), "{judged:?}");
}

#[test]
fn a_key_revoked_later_does_no_harm_and_one_revoked_before_does() {
    let (site, later) = (Site::new(), datetime!(2026-08-01 0:00 UTC));
    let package = site.package();
    for (revoked, alone, verdict, code) in [
        (datetime!(2026-07-01 0:00 UTC), Verdict::Invalid, Verdict::Valid, "revoked_later"),
        (NOW - DAY, Verdict::Invalid, Verdict::Invalid, "revoked"),
    ] {
        let list = fresh(&site.authority, later, Some(revoked));
        let trust = site.trust([site.timestamping(later), vec![list]].concat());
        assert_eq!(site.signer(&trust, None, later).verdict, alone);
        let judged = site.signer(&trust, Some(&package), later);
        assert_eq!((judged.verdict, codes(&judged)), (verdict, vec![code]), "{judged:?}");
    }
}

#[test]
fn evidence_is_worth_nothing_after_its_timestamp_unless_it_was_renewed_before() {
    let (site, later) = (Site::new(), datetime!(2030-01-01 0:00 UTC));
    let mut package = site.package();
    refused(&site, &package, later, Verdict::Invalid, "expired");
    let at_renewal = datetime!(2028-10-01 0:00 UTC);
    site.renew(&mut package, &site.second, at_renewal);
    let trust = site.trust(vec![fresh(&site.second.root, later, None)]);
    let answer = judge_evidence(&trust, &package, DOCUMENT, later);
    assert_eq!(answer.judgement.verdict, Verdict::Valid, "{answer:#?}");
    assert_eq!(answer.proven_at, Some(NOW + time::Duration::SECOND), "the first timestamp's");
    let times: Vec<_> = answer.records.iter().filter_map(|record| record.time).collect();
    assert_eq!(times, [NOW + time::Duration::SECOND, at_renewal]);
    let judged = site.signer(&trust, Some(&package), later);
    assert_eq!((judged.verdict, codes(&judged)), (Verdict::Valid, vec![]), "{judged:?}");

    // A renewal that came too late proves the first timestamp no more.
    let mut package = site.package();
    site.renew(&mut package, &site.second, datetime!(2029-02-01 0:00 UTC));
    refused(&site, &package, later, Verdict::Invalid, "expired");
    // One without what it renews proves nothing.
    package.records.remove(0);
    refused(&site, &package, later, Verdict::Invalid, "digest_mismatch");
}

#[test]
fn nothing_in_a_package_can_be_changed() {
    let (site, at) = (Site::new(), datetime!(2026-08-01 0:00 UTC));
    let good = site.package();
    let answer = judge_evidence(&site.trust(site.timestamping(at)), &good, b"another document", at);
    assert_eq!(codes(&answer.judgement), ["evidence_of_another_document"]);
    assert_eq!(answer.judgement.verdict, Verdict::Invalid);
    assert!(answer.grounds().is_none());

    // The core of another document, made to be about this one.
    let mut other = good.clone();
    other.core = good.core.replace("2026-06-01T12:00:00Z", "2026-05-01T12:00:00Z");
    assert_ne!(other.core, good.core);
    refused(&site, &other, at, Verdict::Invalid, "digest_mismatch");
    for item in good.items.keys() {
        let mut octets = STANDARD.decode(&good.items[item]).unwrap();
        let middle = octets.len() / 2;
        octets[middle] ^= 1;
        let mut changed = good.clone();
        changed.items.insert(item.clone(), STANDARD.encode(octets));
        refused(&site, &changed, at, Verdict::Invalid, "evidence_altered");
        changed.items.remove(item);
        refused(&site, &changed, at, Verdict::Invalid, "evidence_altered");
    }
    let with = |change: fn(&mut EvidenceRecord)| {
        let mut record: EvidenceRecord = serde_json::from_str(&good.records[0]).unwrap();
        change(&mut record);
        EvidencePackage { records: vec![record.to_json()], ..good.clone() }
    };
    refused(&site, &with(|record| record.index = 0), at, Verdict::Invalid, "digest_mismatch");
    refused(&site, &with(|record| record.path.truncate(1)), at, Verdict::Invalid, "evidence_malformed");
    refused(&site, &with(|record| record.size = 0), at, Verdict::Invalid, "evidence_malformed");
    refused(
        &site,
        &EvidencePackage { records: Vec::new(), ..good.clone() },
        at,
        Verdict::Invalid,
        "evidence_without_record",
    );
    for wrong in ["", "{}", "[]", "{\"data\":1}"] {
        let changed = EvidencePackage { core: wrong.to_owned(), ..good.clone() };
        refused(&site, &changed, at, Verdict::Invalid, "evidence_malformed");
    }
    refused(
        &site,
        &EvidencePackage { format: "else".to_owned(), ..good.clone() },
        at,
        Verdict::Invalid,
        "evidence_malformed",
    );
}

#[test]
fn what_the_audit_log_says_must_be_about_the_timestamp() {
    let (site, at) = (Site::new(), datetime!(2026-08-01 0:00 UTC));
    let good = site.package();
    let mut record: EvidenceRecord = serde_json::from_str(&good.records[0]).unwrap();
    let mut package = good.clone();
    record.log = Some(name(&mut package, proof(&[7; 32], b"another token", NOW)));
    package.records = vec![record.to_json()];
    refused(&site, &package, at, Verdict::Invalid, "evidence_log_contradicts");

    // A checkpoint that nobody signed.
    let log = STANDARD
        .decode(&good.items[&serde_json::from_str::<EvidenceRecord>(&good.records[0]).unwrap().log.unwrap()]);
    let mut proof: serde_json::Value = serde_json::from_slice(&log.unwrap()).unwrap();
    proof["checkpoint"]["signer"]["public_key"] = Key::p256().public().to_pem().into();
    record.log = Some(name(&mut package, serde_json::to_vec(&proof).unwrap()));
    package.records = vec![record.to_json()];
    refused(&site, &package, at, Verdict::Invalid, "evidence_log_contradicts");

    record.log = None;
    package.records = vec![record.to_json()];
    let answer = judge_evidence(&site.trust(site.timestamping(at)), &package, DOCUMENT, at);
    assert_eq!(answer.judgement.verdict, Verdict::Valid, "{answer:#?}");
    assert!(codes(&answer.judgement).contains(&"evidence_not_in_log"));
}

#[test]
fn tokens_are_over_a_digest_of_another_function_than_the_tree() {
    assert_eq!(EVIDENCE_HASH, HashAlgorithm::Sha256);
    assert_eq!(evidence_imprint(&[0; 32]), HashAlgorithm::Sha256.digest(&[0; 32]));
}
