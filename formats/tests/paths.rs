//! Which certificate paths hold.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use formats::chain::{MAX_PATH_LENGTH, TrustStore, Usage, validate};
use formats::scheme::{HashAlgorithm, SignatureScheme};
use formats::{Certificate, Judgement, Verdict, oid};
use pki::{Authority, Key, NOW, Plan, codes};
use time::OffsetDateTime;
use time::macros::datetime;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsages};

const ROOT: &str = "CN=Root,O=Bureau,C=CN";
const ISSUER: &str = "CN=Issuer,O=Bureau,C=CN";
const LEAF: &str = "CN=Window 3,O=Bureau,C=CN";

fn root() -> Authority {
    Plan::authority(ROOT).root(Key::sm2(1))
}

fn judge_with(
    leaf: &Certificate,
    intermediates: &[&Authority],
    root: &Authority,
    usage: Usage,
    at: OffsetDateTime,
) -> Judgement {
    let intermediates = intermediates.iter().map(|a| a.certificate.clone()).collect();
    let trust = TrustStore::new(vec![root.certificate.clone()], intermediates, Vec::new());
    validate(leaf, &[], &trust, usage, at)
}

fn judge(leaf: &Certificate, intermediates: &[&Authority], root: &Authority) -> Judgement {
    judge_with(leaf, intermediates, root, Usage::DocumentSigning, NOW)
}

#[track_caller]
fn assert_invalid(judgement: &Judgement, code: &str) {
    assert_eq!(judgement.verdict, Verdict::Invalid, "{judgement:?}");
    assert!(judgement.has(code), "{code} in {judgement:?}");
}

#[test]
fn a_path_of_any_mixture_of_algorithms_holds() {
    let makers: [fn() -> Key; 4] = [|| Key::sm2(2), Key::p256, Key::p384, Key::rsa];
    for root_key in makers {
        for leaf_key in makers {
            let root = Plan::authority(ROOT).root(root_key());
            let issuer = root.subordinate(&Plan::authority(ISSUER), Key::sm2(3));
            let leaf = issuer.issue(&Plan::leaf(LEAF), &leaf_key());
            let judgement = judge(&leaf, &[&issuer], &root);
            assert_eq!(judgement.verdict, Verdict::Valid, "{judgement:?}");
            assert_eq!(codes(&judgement), ["revocation_not_checked"]);
        }
    }
}

#[test]
fn rsa_authorities_may_sign_with_each_hash_and_with_pss() {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    let root = Plan::authority(ROOT).root(Key::rsa());
    for hash in [Sha256, Sha384, Sha512] {
        for scheme in [SignatureScheme::RsaPkcs1(hash), SignatureScheme::RsaPss(hash)] {
            let leaf = root.issue(&Plan { scheme: Some(scheme), ..Plan::leaf(LEAF) }, &Key::sm2(4));
            assert_eq!(leaf.signature_scheme(), Ok(scheme));
            assert_eq!(judge(&leaf, &[], &root).verdict, Verdict::Valid, "{scheme:?}");
        }
    }
}

#[test]
fn an_anchor_is_trusted_itself() {
    let root = Plan { key_usage: None, ..Plan::authority(ROOT) }.root(Key::sm2(1));
    let judgement = judge(&root.certificate, &[], &root);
    assert_eq!((judgement.verdict, codes(&judgement)), (Verdict::Valid, vec![]));
}

#[test]
fn without_a_way_to_an_anchor_nothing_is_decided() {
    let stranger = Plan::authority("CN=Stranger").root(Key::sm2(9));
    let leaf = stranger.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    let judgement = judge(&leaf, &[], &root());
    assert_eq!((judgement.verdict, codes(&judgement)), (Verdict::Indeterminate, vec!["no_path"]));

    let issuer = root().subordinate(&Plan::authority(ISSUER), Key::sm2(3));
    let leaf = issuer.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    assert_eq!(codes(&judge(&leaf, &[], &root())), ["no_path"]);
}

#[test]
fn a_namesake_with_another_key_did_not_sign_it() {
    let namesake = Plan { key_identifiers: false, ..Plan::authority(ROOT) }.root(Key::sm2(8));
    let leaf = namesake.issue(&Plan { key_identifiers: false, ..Plan::leaf(LEAF) }, &Key::sm2(4));
    assert_invalid(&judge(&leaf, &[], &root()), "issuer_signature_invalid");

    // The key identifiers tell the two apart, so nothing speaks against the leaf.
    let namesake = Plan::authority(ROOT).root(Key::sm2(8));
    let leaf = namesake.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    assert_eq!(codes(&judge(&leaf, &[], &root())), ["no_path"]);
}

#[test]
fn of_several_authorities_of_one_name_the_right_one_is_found() {
    let plain = |name| Plan { key_identifiers: false, ..Plan::authority(name) };
    let root = root();
    let wrong: Vec<_> = (20..24).map(|seed| root.subordinate(&plain(ISSUER), Key::sm2(seed))).collect();
    let right = root.subordinate(&plain(ISSUER), Key::sm2(3));
    let leaf = right.issue(&Plan { key_identifiers: false, ..Plan::leaf(LEAF) }, &Key::sm2(4));
    let mut all: Vec<_> = wrong.iter().collect();
    all.push(&right);
    assert_eq!(judge(&leaf, &all, &root).verdict, Verdict::Valid);
}

#[test]
fn the_best_of_several_paths_counts() {
    let root = root();
    let key = || Key::sm2(3);
    let expired = Plan { not_after: datetime!(2025-01-01 0:00 UTC), ..Plan::authority(ISSUER) };
    let expired = root.subordinate(&expired, key());
    let renewed = root.subordinate(&Plan { serial: 18, ..Plan::authority(ISSUER) }, key());
    let leaf = renewed.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    assert_eq!(judge(&leaf, &[&expired, &renewed], &root).verdict, Verdict::Valid);
    assert_invalid(&judge(&leaf, &[&expired], &root), "expired");
}

#[test]
fn intermediates_that_come_along_help() {
    let root = root();
    let issuer = root.subordinate(&Plan::authority(ISSUER), Key::p256());
    let leaf = issuer.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), Vec::new());
    let judgement =
        validate(&leaf, std::slice::from_ref(&issuer.certificate), &trust, Usage::DocumentSigning, NOW);
    assert_eq!(judgement.verdict, Verdict::Valid);
    // They are not trusted for that.
    let stranger = Plan::authority("CN=Stranger").root(Key::sm2(9));
    let leaf = stranger.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    let judgement =
        validate(&leaf, std::slice::from_ref(&stranger.certificate), &trust, Usage::DocumentSigning, NOW);
    assert_eq!(codes(&judgement), ["no_path"]);
}

#[test]
fn every_certificate_must_be_within_its_validity() {
    let root = root();
    let issuer = root.subordinate(&Plan::authority(ISSUER), Key::sm2(3));
    let leaf = issuer.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    let at = |at| judge_with(&leaf, &[&issuer], &root, Usage::DocumentSigning, at);
    assert_invalid(&at(datetime!(2020-12-31 23:59:59 UTC)), "not_yet_valid");
    assert_eq!(at(datetime!(2021-01-01 0:00 UTC)).verdict, Verdict::Valid);
    assert_eq!(at(datetime!(2030-12-31 23:59:59.999 UTC)).verdict, Verdict::Valid);
    assert_invalid(&at(datetime!(2031-01-01 0:00 UTC)), "expired");

    let short_root = Plan { not_after: datetime!(2024-01-01 0:00 UTC), ..Plan::authority(ROOT) };
    let short_root = short_root.root(Key::sm2(1));
    let leaf = short_root.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    assert_invalid(&judge(&leaf, &[], &short_root), "expired");

    let later = Plan { not_before: datetime!(2027-01-01 0:00 UTC), ..Plan::authority(ISSUER) };
    let later = root.subordinate(&later, Key::sm2(3));
    let leaf = later.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    assert_invalid(&judge(&leaf, &[&later], &root), "not_yet_valid");
}

#[test]
fn equal_ends_of_validity_leave_one_second() {
    let root = root();
    let plan = Plan { not_before: NOW, not_after: NOW, ..Plan::leaf(LEAF) };
    let leaf = root.issue(&plan, &Key::sm2(4));
    assert_eq!(judge(&leaf, &[], &root).verdict, Verdict::Valid);
    let later = NOW + time::Duration::SECOND;
    assert_invalid(&judge_with(&leaf, &[], &root, Usage::License, later), "expired");
}

#[test]
fn only_signing_certificates_sign_documents() {
    let root = root();
    let judge = |key_usage| {
        let leaf = root.issue(&Plan { key_usage, ..Plan::leaf(LEAF) }, &Key::sm2(4));
        judge(&leaf, &[], &root)
    };
    for permitted in [
        Some(KeyUsages::DigitalSignature.into()),
        Some(KeyUsages::NonRepudiation.into()),
        Some(KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment),
        None,
    ] {
        assert_eq!(judge(permitted).verdict, Verdict::Valid, "{permitted:?}");
    }
    let encryption = KeyUsages::KeyEncipherment | KeyUsages::DataEncipherment | KeyUsages::KeyAgreement;
    for refused in [encryption, KeyUsages::KeyCertSign | KeyUsages::CRLSign] {
        assert_invalid(&judge(Some(refused)), "key_usage_not_permitted");
    }
}

#[test]
fn certificates_for_other_purposes_do_not_sign_documents() {
    let root = root();
    let leaf = |purposes: &[const_oid::ObjectIdentifier]| {
        use der::Encode;
        let extension = (oid::EXT_KEY_USAGE, true, purposes.to_vec().to_der().unwrap());
        root.issue(&Plan { extensions: vec![extension], ..Plan::leaf(LEAF) }, &Key::sm2(4))
    };
    let email = const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4");
    assert_eq!(judge(&leaf(&[email]), &[], &root).verdict, Verdict::Valid);
    assert_eq!(judge(&leaf(&[oid::SERVER_AUTH, email]), &[], &root).verdict, Verdict::Valid);
    assert_invalid(&judge(&leaf(&[oid::TIME_STAMPING]), &[], &root), "key_usage_not_permitted");
    assert_invalid(&judge(&leaf(&[oid::SERVER_AUTH]), &[], &root), "key_usage_not_permitted");
}

#[test]
fn only_authorities_issue_certificates() {
    let root = root();
    let not_a_ca = [None, Some(BasicConstraints { ca: false, path_len_constraint: None })];
    for constraints in not_a_ca {
        let plan = Plan { constraints, key_usage: None, ..Plan::authority(ISSUER) };
        let impostor = root.subordinate(&plan, Key::sm2(3));
        let leaf = impostor.issue(&Plan::leaf(LEAF), &Key::sm2(4));
        assert_invalid(&judge(&leaf, &[&impostor], &root), "not_a_ca");
    }
    let plan = Plan { key_usage: Some(KeyUsages::CRLSign.into()), ..Plan::authority(ISSUER) };
    let no_cert_sign = root.subordinate(&plan, Key::sm2(3));
    let leaf = no_cert_sign.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    assert_invalid(&judge(&leaf, &[&no_cert_sign], &root), "key_usage_not_permitted");
}

#[test]
fn a_path_length_constraint_counts_the_authorities_below() {
    let constrained = |limit| Plan {
        constraints: Some(BasicConstraints { ca: true, path_len_constraint: Some(limit) }),
        ..Plan::authority(ROOT)
    };
    for (limit, expected) in [(0, Verdict::Invalid), (1, Verdict::Valid)] {
        let root = constrained(limit).root(Key::sm2(1));
        let issuer = root.subordinate(&Plan::authority(ISSUER), Key::sm2(3));
        let leaf = issuer.issue(&Plan::leaf(LEAF), &Key::sm2(4));
        let judgement = judge(&leaf, &[&issuer], &root);
        assert_eq!(judgement.verdict, expected);
        assert_eq!(judgement.has("path_length_exceeded"), expected == Verdict::Invalid);
    }
    // A renewed key of the same authority does not count.
    let root = constrained(0).root(Key::sm2(1));
    let renewed = root.subordinate(&Plan::authority(ROOT), Key::sm2(3));
    let leaf = renewed.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    assert_eq!(judge(&leaf, &[&renewed], &root).verdict, Verdict::Valid);
}

#[test]
fn an_unknown_critical_extension_is_refused_wherever_it_is() {
    let unknown = const_oid::ObjectIdentifier::new_unwrap("2.5.29.999");
    let extensions = vec![(unknown, true, vec![0x30, 0])];
    let root = root();
    let leaf = root.issue(&Plan { extensions: extensions.clone(), ..Plan::leaf(LEAF) }, &Key::sm2(4));
    let judgement = judge(&leaf, &[], &root);
    assert_invalid(&judgement, "unknown_critical_extension");
    assert!(judgement.findings.iter().any(|finding| finding.detail.contains("2.5.29.999")));

    let issuer = root.subordinate(&Plan { extensions, ..Plan::authority(ISSUER) }, Key::sm2(3));
    let leaf = issuer.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    assert_invalid(&judge(&leaf, &[&issuer], &root), "unknown_critical_extension");

    let not_critical = vec![(unknown, false, vec![0x30, 0])];
    let leaf = root.issue(&Plan { extensions: not_critical, ..Plan::leaf(LEAF) }, &Key::sm2(4));
    assert_eq!(judge(&leaf, &[], &root).verdict, Verdict::Valid);
}

#[test]
fn an_extension_given_twice_is_malformed() {
    let root = root();
    let twice = vec![(oid::KEY_USAGE, true, vec![3, 2, 7, 0x80])];
    let leaf = root.issue(&Plan { extensions: twice, ..Plan::leaf(LEAF) }, &Key::sm2(4));
    assert_invalid(&judge(&leaf, &[], &root), "malformed");
}

#[test]
fn the_two_names_of_the_algorithm_must_agree() {
    let root = Plan::authority(ROOT).root(Key::rsa());
    let outer_scheme = Some(SignatureScheme::RsaPkcs1(HashAlgorithm::Sha512));
    let leaf = root.issue(&Plan { outer_scheme, ..Plan::leaf(LEAF) }, &Key::sm2(4));
    assert_invalid(&judge(&leaf, &[], &root), "algorithm_mismatch");
}

#[test]
fn license_usage_relaxes_what_its_table_names_and_no_more() {
    let bare_root =
        Plan { constraints: None, key_usage: None, key_identifiers: false, ..Plan::authority(ROOT) };
    let bare_root = bare_root.root(Key::sm2(1));
    let face = const_oid::ObjectIdentifier::new_unwrap("0.6.3.1040.13");
    let plan = Plan {
        key_usage: None,
        key_identifiers: false,
        extensions: vec![(face, true, b"91350100M000100Y43".to_vec())],
        ..Plan::leaf(LEAF)
    };
    let license = bare_root.issue(&plan, &Key::sm2(4));
    let as_license = judge_with(&license, &[], &bare_root, Usage::License, NOW);
    assert_eq!((as_license.verdict, codes(&as_license)), (Verdict::Valid, vec!["revocation_not_checked"]));
    let as_signer = judge(&license, &[], &bare_root);
    assert_invalid(&as_signer, "unknown_critical_extension");
    assert_invalid(&as_signer, "not_a_ca");

    let issuer = bare_root.subordinate(&Plan { constraints: None, ..Plan::authority(ISSUER) }, Key::sm2(3));
    let license = issuer.issue(&plan, &Key::sm2(4));
    assert_invalid(&judge_with(&license, &[&issuer], &bare_root, Usage::License, NOW), "not_a_ca");
    let near_miss = const_oid::ObjectIdentifier::new_unwrap("0.6.3.1041.13");
    let other = Plan { extensions: vec![(near_miss, true, vec![])], ..plan };
    let license = bare_root.issue(&other, &Key::sm2(4));
    let judgement = judge_with(&license, &[], &bare_root, Usage::License, NOW);
    assert_invalid(&judgement, "unknown_critical_extension");
}

#[test]
fn issuer_names_compare_by_the_standard_and_for_licenses_octet_for_octet() {
    let blank = "O=Bureau\\ ,C=CN";
    let root = Plan { key_identifiers: false, ..Plan::authority(blank) }.root(Key::sm2(1));
    let plan = Plan { key_identifiers: false, ..Plan::leaf(LEAF) };
    let leaf = plan.issue(&Key::sm2(4), &root.key, blank);
    assert_eq!(judge(&leaf, &[], &root).verdict, Verdict::Valid);
    for other in ["O=Bureau,C=CN", "O=BUREAU,C=CN", "O=\\ Bureau,C=CN"] {
        let leaf = plan.issue(&Key::sm2(4), &root.key, other);
        assert_eq!(judge(&leaf, &[], &root).verdict, Verdict::Valid, "{other}");
        let as_license = judge_with(&leaf, &[], &root, Usage::License, NOW);
        assert_eq!(codes(&as_license), ["no_path"], "{other}");
    }
    for other in ["O=Bure au,C=CN", "O=Bureau,C=CN,L=x", "OU=Bureau,C=CN"] {
        let leaf = plan.issue(&Key::sm2(4), &root.key, other);
        assert_eq!(codes(&judge(&leaf, &[], &root)), ["no_path"], "{other}");
    }
}

#[test]
fn a_search_through_a_maze_of_cross_certificates_ends() {
    let plain = |name: &str, serial| Plan { serial, key_identifiers: false, ..Plan::authority(name) };
    let names: Vec<_> = (0..8).map(|i| format!("CN=Maze {i}")).collect();
    let mut maze = Vec::new();
    for (serial, subject) in names.iter().enumerate() {
        for issuer in &names {
            maze.push(plain(subject, serial as u32 + 1).issue(&Key::sm2(5), &Key::sm2(5), issuer));
        }
    }
    let leaf =
        Plan { key_identifiers: false, ..Plan::leaf(LEAF) }.issue(&Key::sm2(4), &Key::sm2(5), &names[0]);
    let trust = TrustStore::new(vec![root().certificate], maze, Vec::new());
    assert_eq!(codes(&validate(&leaf, &[], &trust, Usage::DocumentSigning, NOW)), ["no_path"]);
}

#[test]
fn a_path_may_be_as_long_as_the_bound_and_no_longer() {
    let root = root();
    let mut authorities = vec![];
    for step in 0..MAX_PATH_LENGTH - 2 {
        let plan = Plan::authority(&format!("CN=Step {step}"));
        let issuer = authorities.last().unwrap_or(&root);
        authorities.push(issuer.subordinate(&plan, Key::sm2(30 + step as u8)));
    }
    let leaf = authorities.last().unwrap().issue(&Plan::leaf(LEAF), &Key::sm2(4));
    let all: Vec<_> = authorities.iter().collect();
    assert_eq!(judge(&leaf, &all, &root).verdict, Verdict::Valid);

    let last = authorities.last().unwrap().subordinate(&Plan::authority("CN=One more"), Key::sm2(60));
    let leaf = last.issue(&Plan::leaf(LEAF), &Key::sm2(4));
    let mut all = all;
    all.push(&last);
    assert_eq!(codes(&judge(&leaf, &all, &root)), ["no_path"]);
}
