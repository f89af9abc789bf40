//! OCSP responses as a source of revocation: built here, and by OpenSSL.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use std::path::Path;
use std::process::Command;

use const_oid::ObjectIdentifier;
use der::asn1::{BitString, GeneralizedTime, Null, OctetString};
use der::{Decode, Encode};
use formats::chain::{OcspStatus, RevocationMode, RevocationPolicy, TrustStore, Usage, validate};
use formats::ocsp::{IssuerHash, OcspResponse, request};
use formats::scheme::HashAlgorithm;
use formats::{Certificate, FormatError, Judgement, Verdict, oid};
use pki::{Authority, CrlPlan, Key, NOW, Plan, codes};
use spki::AlgorithmIdentifierOwned;
use tempfile::TempDir;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{CrlReason, KeyUsages};
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, ResponderId, ResponseData, RevokedInfo,
    SingleResponse, Version,
};

/// A response in the test's hand.
#[derive(Clone)]
struct Answer {
    hash: HashAlgorithm,
    status: CertStatus,
    this_update: OffsetDateTime,
    next_update: Option<OffsetDateTime>,
    produced_at: OffsetDateTime,
    by_key: bool,
    certificates: Vec<Certificate>,
    critical_extension: bool,
}

fn moment(time: OffsetDateTime) -> OcspGeneralizedTime {
    let since_1970 = std::time::Duration::from_secs(time.unix_timestamp().try_into().unwrap());
    OcspGeneralizedTime(GeneralizedTime::from_unix_duration(since_1970).unwrap())
}

fn revoked(at: OffsetDateTime, reason: CrlReason) -> CertStatus {
    CertStatus::revoked(RevokedInfo { revocation_time: moment(at), revocation_reason: Some(reason) })
}

fn key_bits(certificate: &Certificate) -> Vec<u8> {
    let spki = &certificate.inner().tbs_certificate.subject_public_key_info;
    spki.subject_public_key.as_bytes().unwrap().to_vec()
}

fn sha1(message: &[u8]) -> Vec<u8> {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    digest(&SHA1_FOR_LEGACY_USE_ONLY, message).as_ref().to_vec()
}

impl Answer {
    fn good() -> Self {
        Self {
            hash: HashAlgorithm::Sm3,
            status: CertStatus::good(),
            this_update: NOW - Duration::HOUR,
            next_update: Some(NOW + Duration::HOUR),
            produced_at: NOW - Duration::HOUR,
            by_key: false,
            certificates: Vec::new(),
            critical_extension: false,
        }
    }

    fn about(&self, leaf: &Certificate, issuer: &Certificate, signer: &Authority) -> OcspResponse {
        self.spoilt_about(leaf, issuer, signer, false)
    }

    fn spoilt_about(
        &self,
        leaf: &Certificate,
        issuer: &Certificate,
        signer: &Authority,
        spoilt: bool,
    ) -> OcspResponse {
        let hashed = |message: &[u8]| OctetString::new(self.hash.digest(message)).unwrap();
        let unknown = ObjectIdentifier::new_unwrap("2.5.29.999");
        let extension =
            Extension { extn_id: unknown, critical: true, extn_value: OctetString::new([5, 0]).unwrap() };
        let single = SingleResponse {
            cert_id: CertId {
                hash_algorithm: AlgorithmIdentifierOwned { oid: self.hash.oid(), parameters: None },
                issuer_name_hash: hashed(&leaf.inner().tbs_certificate.issuer.to_der().unwrap()),
                issuer_key_hash: hashed(&key_bits(issuer)),
                serial_number: leaf.inner().tbs_certificate.serial_number.clone(),
            },
            cert_status: self.status,
            this_update: moment(self.this_update),
            next_update: self.next_update.map(moment),
            single_extensions: self.critical_extension.then(|| vec![extension]),
        };
        let responder_id = match self.by_key {
            true => ResponderId::ByKey(OctetString::new(sha1(&key_bits(&signer.certificate))).unwrap()),
            false => ResponderId::ByName(signer.certificate.inner().tbs_certificate.subject.clone()),
        };
        let data = ResponseData {
            version: Version::V1,
            responder_id,
            produced_at: moment(self.produced_at),
            responses: vec![single],
            response_extensions: None,
        };
        let mut signature = signer.key.sign(&data.to_der().unwrap());
        if spoilt {
            *signature.last_mut().unwrap() ^= 1;
        }
        let raw = |c: &Certificate| x509_cert::Certificate::from_der(c.der()).unwrap();
        let certs: Vec<_> = self.certificates.iter().map(raw).collect();
        let basic = BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: signer.key.scheme().identifier(),
            signature: BitString::from_bytes(&signature).unwrap(),
            certs: Some(certs).filter(|certs| !certs.is_empty()),
        };
        let response = x509_ocsp::OcspResponse::successful(basic).unwrap();
        OcspResponse::from_der(&response.to_der().unwrap()).unwrap()
    }
}

fn root() -> Authority {
    Plan::authority("CN=Root").root(Key::sm2(1))
}

fn leaf(root: &Authority) -> Certificate {
    root.issue(&Plan::leaf("CN=Leaf"), &Key::sm2(4))
}

fn trust(root: &Authority, responses: Vec<OcspResponse>) -> TrustStore {
    TrustStore::new(vec![root.certificate.clone()], Vec::new(), Vec::new()).with_ocsp(responses)
}

fn judge_at(root: &Authority, responses: Vec<OcspResponse>, at: OffsetDateTime) -> Judgement {
    validate(&leaf(root), &[], &trust(root, responses), Usage::DocumentSigning, at)
}

/// Judges by one answer that the issuer itself has signed.
fn judge(answer: &Answer) -> Judgement {
    let root = root();
    let response = answer.about(&leaf(&root), &root.certificate, &root);
    judge_at(&root, vec![response], NOW)
}

fn responder(root: &Authority, plan: Plan) -> Authority {
    root.subordinate(&plan, Key::p256())
}

fn responder_plan() -> Plan {
    let purpose = vec![oid::OCSP_SIGNING].to_der().unwrap();
    let extensions =
        vec![(oid::EXT_KEY_USAGE, false, purpose), (oid::OCSP_NO_CHECK, false, Null.to_der().unwrap())];
    Plan { serial: 99, extensions, ..Plan::leaf("CN=Responder") }
}

/// Judges by one answer that `responder`, whose certificate comes along, has signed.
fn judge_delegated(root: &Authority, responder: &Authority) -> Judgement {
    let answer = Answer { certificates: vec![responder.certificate.clone()], ..Answer::good() };
    let response = answer.about(&leaf(root), &root.certificate, responder);
    judge_at(root, vec![response], NOW)
}

#[track_caller]
fn assert_judged(judgement: &Judgement, verdict: Verdict, expected: &[&str]) {
    assert_eq!((judgement.verdict, codes(judgement)), (verdict, expected.to_vec()), "{judgement:?}");
}

#[test]
fn a_good_answer_of_the_issuer_leaves_nothing_to_say() {
    for hash in [HashAlgorithm::Sm3, HashAlgorithm::Sha256, HashAlgorithm::Sha384] {
        for by_key in [false, true] {
            assert_judged(&judge(&Answer { hash, by_key, ..Answer::good() }), Verdict::Valid, &[]);
        }
    }
    for key in [Key::p256(), Key::p384(), Key::rsa()] {
        let root = Plan::authority("CN=Root").root(key);
        let response = Answer::good().about(&leaf(&root), &root.certificate, &root);
        assert_judged(&judge_at(&root, vec![response], NOW), Verdict::Valid, &[]);
    }
}

#[test]
fn revocation_counts_from_its_own_time_on() {
    let when = datetime!(2026-05-01 8:00 UTC);
    let root = root();
    let answer = Answer { status: revoked(when, CrlReason::KeyCompromise), ..Answer::good() };
    let response = answer.about(&leaf(&root), &root.certificate, &root);
    let at = |at| judge_at(&root, vec![response.clone()], at);
    assert_judged(&at(NOW), Verdict::Invalid, &["revoked"]);
    assert!(at(NOW).findings[0].detail.contains("keyCompromise"));
    assert_judged(&at(when), Verdict::Invalid, &["revoked"]);
    assert_judged(&at(when - Duration::SECOND), Verdict::Valid, &["revoked_later"]);
}

#[test]
fn what_the_responder_does_not_know_or_said_long_ago_decides_nothing() {
    let unknown = Answer { status: CertStatus::unknown(), ..Answer::good() };
    assert_judged(&judge(&unknown), Verdict::Indeterminate, &["ocsp_status_unknown"]);
    let stale = Answer { next_update: Some(NOW - Duration::SECOND), ..Answer::good() };
    assert_judged(&judge(&stale), Verdict::Indeterminate, &["ocsp_stale"]);
    let open = |age| Answer { this_update: NOW - age, next_update: None, ..Answer::good() };
    assert_judged(&judge(&open(Duration::DAY)), Verdict::Valid, &[]);
    let judged = judge(&open(Duration::DAY + Duration::SECOND));
    assert_judged(&judged, Verdict::Indeterminate, &["ocsp_stale"]);
    let critical = Answer { critical_extension: true, ..Answer::good() };
    assert_judged(&judge(&critical), Verdict::Indeterminate, &["ocsp_not_supported"]);
}

#[test]
fn an_answer_counts_only_for_its_certificate_and_with_a_good_signature() {
    let root = root();
    let other = root.issue(&Plan { serial: 5, ..Plan::leaf("CN=Other") }, &Key::sm2(5));
    let about_other = Answer::good().about(&other, &root.certificate, &root);
    assert_judged(&judge_at(&root, vec![about_other], NOW), Verdict::Valid, &["revocation_not_checked"]);
    // The same serial number under an issuer of the same name and another key.
    let namesake = Plan::authority("CN=Root").root(Key::sm2(9));
    let about_namesakes = Answer::good().about(&leaf(&root), &namesake.certificate, &root);
    let judged = judge_at(&root, vec![about_namesakes], NOW);
    assert_judged(&judged, Verdict::Valid, &["revocation_not_checked"]);

    let spoilt = Answer::good().spoilt_about(&leaf(&root), &root.certificate, &root, true);
    let judged = judge_at(&root, vec![spoilt], NOW);
    assert_judged(&judged, Verdict::Indeterminate, &["ocsp_signature_invalid"]);
    let of_namesake = Answer::good().about(&leaf(&root), &root.certificate, &namesake);
    let judged = judge_at(&root, vec![of_namesake], NOW);
    assert_judged(&judged, Verdict::Indeterminate, &["ocsp_signature_invalid"]);
}

#[test]
fn a_responder_that_the_issuer_certified_for_it_may_answer() {
    let root = root();
    let responder = responder(&root, responder_plan());
    assert_judged(&judge_delegated(&root, &responder), Verdict::Valid, &[]);

    // Its certificate need not come along when the trust store has it.
    let response = Answer::good().about(&leaf(&root), &root.certificate, &responder);
    let with = vec![responder.certificate.clone()];
    let store = TrustStore::new(vec![root.certificate.clone()], with, Vec::new()).with_ocsp(vec![response]);
    let judged = validate(&leaf(&root), &[], &store, Usage::DocumentSigning, NOW);
    assert_judged(&judged, Verdict::Valid, &[]);
}

#[test]
fn nobody_else_may_answer() {
    let root = root();
    let refused = [
        Plan { extensions: Vec::new(), ..responder_plan() },
        Plan {
            extensions: vec![(oid::EXT_KEY_USAGE, false, vec![oid::SERVER_AUTH].to_der().unwrap())],
            ..responder_plan()
        },
        Plan { key_usage: Some(KeyUsages::KeyEncipherment.into()), ..responder_plan() },
        Plan { not_after: datetime!(2026-05-01 0:00 UTC), ..responder_plan() },
        Plan {
            extensions: [
                responder_plan().extensions,
                vec![(ObjectIdentifier::new_unwrap("2.5.29.999"), true, vec![5, 0])],
            ]
            .concat(),
            ..responder_plan()
        },
    ];
    for plan in refused {
        let judged = judge_delegated(&root, &responder(&root, plan));
        assert_judged(&judged, Verdict::Indeterminate, &["ocsp_signature_invalid"]);
    }
    // One that another authority certified, even one below the same anchor.
    let other = root.subordinate(&Plan::authority("CN=Issuer"), Key::sm2(3));
    let judged = judge_delegated(&root, &responder(&other, responder_plan()));
    assert_judged(&judged, Verdict::Indeterminate, &["ocsp_signature_invalid"]);
    // One that only bears the issuer's name as its issuer's.
    let forged = Authority {
        certificate: responder_plan().issue(&Key::sm2(8), &Key::sm2(9), "CN=Root"),
        key: Key::sm2(8),
    };
    let judged = judge_delegated(&root, &forged);
    assert_judged(&judged, Verdict::Indeterminate, &["ocsp_signature_invalid"]);
}

#[test]
fn a_revoked_responder_is_not_believed_unless_exempt() {
    let root = root();
    let crl = root.crl(&CrlPlan {
        revoked: vec![(99, datetime!(2026-05-01 8:00 UTC), None)],
        // The leaf is on no CRL that counts any more, so that OCSP decides.
        next_update: Some(datetime!(2026-05-31 0:00 UTC)),
        ..CrlPlan::fresh()
    });
    let judge = |plan: Plan| {
        let responder = responder(&root, plan);
        let answer = Answer { certificates: vec![responder.certificate.clone()], ..Answer::good() };
        let response = answer.about(&leaf(&root), &root.certificate, &responder);
        let store = TrustStore::new(vec![root.certificate.clone()], Vec::new(), vec![crl.clone()]);
        validate(&leaf(&root), &[], &store.with_ocsp(vec![response]), Usage::DocumentSigning, NOW)
    };
    assert_judged(&judge(responder_plan()), Verdict::Valid, &[]);
    let checked = Plan { extensions: responder_plan().extensions[..1].to_vec(), ..responder_plan() };
    let expected = ["ocsp_signature_invalid", "crl_stale"];
    assert_judged(&judge(checked), Verdict::Indeterminate, &expected);
}

#[test]
fn crls_and_answers_stand_in_for_each_other() {
    let root = root();
    let response = |answer: Answer| answer.about(&leaf(&root), &root.certificate, &root);
    let judge = |crl: CrlPlan, answer: Answer| {
        let crls = vec![root.crl(&crl)];
        let store = TrustStore::new(vec![root.certificate.clone()], Vec::new(), crls)
            .with_ocsp(vec![response(answer)])
            .with_revocation(RevocationPolicy {
                mode: RevocationMode::Required,
                ..RevocationPolicy::default()
            });
        validate(&leaf(&root), &[], &store, Usage::DocumentSigning, NOW)
    };
    let early = datetime!(2026-05-01 8:00 UTC);
    let stale_crl = CrlPlan { next_update: Some(datetime!(2026-05-31 0:00 UTC)), ..CrlPlan::fresh() };
    let stale_answer = Answer { next_update: Some(NOW - Duration::SECOND), ..Answer::good() };
    assert_judged(&judge(stale_crl.clone(), Answer::good()), Verdict::Valid, &[]);
    assert_judged(&judge(CrlPlan::fresh(), stale_answer.clone()), Verdict::Valid, &[]);
    assert_judged(&judge(stale_crl, stale_answer), Verdict::Indeterminate, &["ocsp_stale", "crl_stale"]);

    let bad = Answer { status: revoked(early, CrlReason::Superseded), ..Answer::good() };
    assert_judged(&judge(CrlPlan::fresh(), bad), Verdict::Invalid, &["revoked"]);
    let listed = |reason| CrlPlan { revoked: vec![(4711, early, reason)], ..CrlPlan::fresh() };
    assert_judged(&judge(listed(None), Answer::good()), Verdict::Invalid, &["revoked"]);
    // The answer is newer than the CRL: the hold has been lifted since, or has begun since.
    let hold = Some(CrlReason::CertificateHold);
    assert_judged(&judge(listed(hold), Answer::good()), Verdict::Valid, &[]);
    let held = Answer { status: revoked(early, CrlReason::CertificateHold), ..Answer::good() };
    assert_judged(&judge(CrlPlan::fresh(), held), Verdict::Invalid, &["revoked"]);
}

#[test]
fn what_is_no_answer_is_malformed() {
    let refusal = x509_ocsp::OcspResponse::try_later().to_der().unwrap();
    match OcspResponse::from_der(&refusal) {
        Err(FormatError::Malformed { reason, .. }) => assert!(reason.contains("tryLater"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let root = root();
    let good = Answer::good().about(&leaf(&root), &root.certificate, &root);
    assert!(OcspResponse::from_der(&[good.der(), &[0]].concat()).is_err());
    for end in 0..good.der().len() {
        assert!(OcspResponse::from_der(&good.der()[..end]).is_err());
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let output =
        Command::new("openssl").current_dir(folder).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{arguments}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn responses_of_openssl_are_read_and_believed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let root = Plan::authority("CN=Root").root(Key::p256());
    let leaf = root.issue(&Plan::leaf("CN=Leaf"), &Key::sm2(4));
    let responder = responder(&root, responder_plan());
    let write = |name: &str, octets: &[u8]| std::fs::write(path.join(name), octets).unwrap();
    write("root.pem", root.certificate.to_pem().as_bytes());
    write("leaf.pem", leaf.to_pem().as_bytes());
    write("responder.pem", responder.certificate.to_pem().as_bytes());
    write("responder.p8", &responder.key.pkcs8());
    openssl(path, "pkey -inform DER -in responder.p8 -out responder.key");
    let nonce = "ocsp -issuer root.pem -cert leaf.pem -reqout request";
    openssl(path, nonce);
    for (entry, sha, expected) in [
        ("V\t301231235959Z\t\t1267\tunknown\t/CN=Leaf\n", "", None),
        (
            "R\t301231235959Z\t260501080000Z,superseded\t1267\tunknown\t/CN=Leaf\n",
            "-sha256",
            Some("superseded"),
        ),
    ] {
        write("index", entry.as_bytes());
        if !sha.is_empty() {
            openssl(path, &format!("ocsp {sha} -issuer root.pem -cert leaf.pem -reqout request"));
        }
        openssl(
            path,
            "ocsp -index index -CA root.pem -rsigner responder.pem -rkey responder.key -reqin request \
             -ndays 3 -respout response",
        );
        let response = OcspResponse::from_der(&std::fs::read(path.join("response")).unwrap()).unwrap();
        assert!(response.nonce().unwrap().is_some_and(|nonce| nonce.len() >= 16));
        assert_eq!(response.certificates().len(), 1);
        // OpenSSL has no say in the time: its answer is of the present.
        let at = response.produced_at() + Duration::MINUTE;
        let judged = validate(&leaf, &[], &trust(&root, vec![response]), Usage::DocumentSigning, at);
        match expected {
            None => assert_judged(&judged, Verdict::Valid, &[]),
            Some(reason) => {
                assert_judged(&judged, Verdict::Invalid, &["revoked"]);
                assert!(judged.findings[0].detail.contains(reason), "{judged:?}");
                assert!(judged.findings[0].detail.contains("2026-05-01T08:00:00Z"), "{judged:?}");
            }
        }
    }
}

#[test]
fn an_overdue_answer_counts_for_the_grace_and_says_so() {
    let root = root();
    let answer = Answer { next_update: Some(NOW - Duration::HOUR), ..Answer::good() };
    let response = answer.about(&leaf(&root), &root.certificate, &root);
    let judge = |grace| {
        let policy = RevocationPolicy { grace, ..RevocationPolicy::default() };
        let trust = trust(&root, vec![response.clone()]).with_revocation(policy);
        validate(&leaf(&root), &[], &trust, Usage::DocumentSigning, NOW)
    };
    assert_judged(&judge(Duration::HOUR), Verdict::Valid, &["ocsp_overdue"]);
    assert_judged(&judge(Duration::minutes(59)), Verdict::Indeterminate, &["ocsp_stale"]);
}

#[test]
fn an_answer_is_taken_from_whom_may_give_it_and_about_what_was_asked() {
    let root = root();
    let leaf = leaf(&root);
    let store = trust(&root, Vec::new());
    let word =
        |response: &OcspResponse, of: &Certificate| store.answer_of(response, of, &root.certificate, NOW);
    let good = Answer::good().about(&leaf, &root.certificate, &root);
    let taken = word(&good, &leaf).unwrap();
    assert_eq!((taken.status, taken.this_update), (OcspStatus::Good, NOW - Duration::HOUR));
    assert_eq!(taken.next_update, Some(NOW + Duration::HOUR));
    let revoked = Answer { status: revoked(NOW, CrlReason::Superseded), ..Answer::good() };
    let revoked = revoked.about(&leaf, &root.certificate, &root);
    assert_eq!(word(&revoked, &leaf).unwrap().status, OcspStatus::Revoked);
    let unknown = Answer { status: CertStatus::unknown(), ..Answer::good() };
    let unknown = unknown.about(&leaf, &root.certificate, &root);
    assert_eq!(word(&unknown, &leaf).unwrap().status, OcspStatus::Unknown);

    let code = |response: &OcspResponse, of: &Certificate| word(response, of).unwrap_err().code;
    let other = root.issue(&Plan { serial: 5, ..Plan::leaf("CN=Other") }, &Key::sm2(5));
    assert_eq!(code(&good, &other), "ocsp_status_unknown");
    let spoilt = Answer::good().spoilt_about(&leaf, &root.certificate, &root, true);
    assert_eq!(code(&spoilt, &leaf), "ocsp_signature_invalid");
    let critical = Answer { critical_extension: true, ..Answer::good() };
    assert_eq!(code(&critical.about(&leaf, &root.certificate, &root), &leaf), "ocsp_not_supported");
}

#[test]
fn openssl_reads_requests_with_and_without_a_nonce() {
    let folder = tempfile::tempdir().unwrap();
    let root = root();
    for (hash, name) in [(IssuerHash::Sha1, "sha1"), (IssuerHash::Sha256, "sha256"), (IssuerHash::Sm3, "sm3")]
    {
        for nonce in [None, Some(&[0xa5; 32])] {
            let file = folder.path().join("request.der");
            std::fs::write(&file, request(&leaf(&root), &root.certificate, hash, nonce).unwrap()).unwrap();
            let shown =
                Command::new("openssl").args(["ocsp", "-req_text", "-reqin"]).arg(&file).output().unwrap();
            let text = String::from_utf8_lossy(&shown.stdout).into_owned();
            assert!(shown.status.success(), "{text}{}", String::from_utf8_lossy(&shown.stderr));
            assert!(text.contains(&format!("Hash Algorithm: {name}")), "{text}");
            assert!(text.contains("Serial Number: 1267"), "{text}");
            assert_eq!(text.contains("OCSP Nonce"), nonce.is_some(), "{text}");
        }
    }
}

#[test]
fn an_answer_that_clears_a_certificate_is_evidence_in_place_of_a_list() {
    let root = root();
    let leaf = leaf(&root);
    let asked = |responses: Vec<OcspResponse>| {
        let trust = trust(&root, responses).with_crls([root.crl(&CrlPlan::fresh())]);
        trust.evidence(&leaf, &[], Usage::DocumentSigning, NOW)
    };
    let of = |answer: &Answer, spoilt| answer.spoilt_about(&leaf, &root.certificate, &root, spoilt);
    let good = of(&Answer::good(), false);
    let found = asked(vec![of(&Answer::good(), true), good.clone()]).unwrap();
    assert_eq!((found.crls.len(), found.ocsps), (0, vec![good.der().to_vec()]));
    assert_eq!(asked(Vec::new()).unwrap().crls.len(), 1);
    let status = revoked(NOW - Duration::DAY, CrlReason::KeyCompromise);
    let revoking = of(&Answer { status, ..Answer::good() }, false);
    assert_eq!(asked(vec![good, revoking]).unwrap_err(), ["CN=Leaf"]);
}
