//! What CRLs do to a path.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod pki;

use formats::chain::{TrustStore, Usage, validate};
use formats::{Certificate, Crl, Judgement, Verdict};
use pki::{Authority, CrlPlan, Key, NOW, Plan, codes};
use time::macros::datetime;
use x509_cert::ext::pkix::{CrlReason, KeyUsages};

const SERIAL: u32 = 4711;
const REASON: Option<CrlReason> = Some(CrlReason::KeyCompromise);

fn root() -> Authority {
    Plan::authority("CN=Root").root(Key::sm2(1))
}

fn leaf(root: &Authority) -> Certificate {
    root.issue(&Plan::leaf("CN=Leaf"), &Key::sm2(4))
}

fn judge_at(root: &Authority, crls: Vec<Crl>, at: time::OffsetDateTime) -> Judgement {
    let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), crls);
    validate(&leaf(root), &[], &trust, Usage::DocumentSigning, at)
}

fn judge(root: &Authority, plan: CrlPlan) -> Judgement {
    judge_at(root, vec![root.crl(&plan)], NOW)
}

#[track_caller]
fn assert_judged(judgement: &Judgement, verdict: Verdict, expected: &[&str]) {
    assert_eq!((judgement.verdict, codes(judgement)), (verdict, expected.to_vec()), "{judgement:?}");
}

#[test]
fn a_fresh_crl_that_does_not_list_it_leaves_nothing_to_say() {
    for key in [Key::sm2(1), Key::p256(), Key::p384(), Key::rsa()] {
        let root = Plan::authority("CN=Root").root(key);
        assert_judged(&judge(&root, CrlPlan::fresh()), Verdict::Valid, &[]);
    }
}

#[test]
fn without_a_crl_of_its_issuer_that_is_noted() {
    assert_judged(&judge_at(&root(), Vec::new(), NOW), Verdict::Valid, &["revocation_not_checked"]);
    let other = Plan::authority("CN=Other").root(Key::sm2(2)).crl(&CrlPlan::fresh());
    assert_judged(&judge_at(&root(), vec![other], NOW), Verdict::Valid, &["revocation_not_checked"]);
}

#[test]
fn revocation_counts_from_its_own_time_on() {
    let when = datetime!(2026-05-01 8:00 UTC);
    let revoked = vec![(17, when, None), (SERIAL, when, REASON)];
    let root = root();
    let crl = root.crl(&CrlPlan { revoked, ..CrlPlan::fresh() });
    let at = |at| judge_at(&root, vec![crl.clone()], at);

    let after = at(NOW);
    assert_judged(&after, Verdict::Invalid, &["revoked"]);
    assert!(after.findings[0].detail.contains("2026-05-01T08:00:00Z"), "{after:?}");
    assert!(after.findings[0].detail.contains("keyCompromise"), "{after:?}");
    assert_judged(&at(when), Verdict::Invalid, &["revoked"]);
    assert_judged(&at(when - time::Duration::SECOND), Verdict::Valid, &["revoked_later"]);
}

#[test]
fn an_intermediate_can_be_revoked() {
    let root = root();
    let issuer = root.subordinate(&Plan::authority("CN=Issuer"), Key::sm2(3));
    let leaf = issuer.issue(&Plan::leaf("CN=Leaf"), &Key::sm2(4));
    let revoked = vec![(17, datetime!(2026-05-01 8:00 UTC), None)];
    let crls = vec![root.crl(&CrlPlan { revoked, ..CrlPlan::fresh() }), issuer.crl(&CrlPlan::fresh())];
    let trust = TrustStore::new(vec![root.certificate], vec![issuer.certificate], crls);
    let judgement = validate(&leaf, &[], &trust, Usage::DocumentSigning, NOW);
    assert_judged(&judgement, Verdict::Invalid, &["revoked"]);
}

#[test]
fn a_stale_crl_decides_nothing_unless_it_lists_the_certificate() {
    let stale = CrlPlan { next_update: Some(datetime!(2026-06-01 11:59:59 UTC)), ..CrlPlan::fresh() };
    assert_judged(&judge(&root(), stale.clone()), Verdict::Indeterminate, &["crl_stale"]);
    let endless = CrlPlan { next_update: None, ..CrlPlan::fresh() };
    assert_judged(&judge(&root(), endless), Verdict::Valid, &[]);
    let revoked = vec![(SERIAL, datetime!(2026-05-01 8:00 UTC), None)];
    assert_judged(&judge(&root(), CrlPlan { revoked, ..stale }), Verdict::Invalid, &["revoked"]);
}

#[test]
fn a_crl_counts_only_with_the_issuers_signature() {
    let spoiled = CrlPlan {
        spoiled_signature: true,
        revoked: vec![(SERIAL, datetime!(2026-05-01 8:00 UTC), None)],
        ..CrlPlan::fresh()
    };
    let root = root();
    assert_judged(&judge(&root, spoiled.clone()), Verdict::Indeterminate, &["crl_signature_invalid"]);
    // A good one beside it settles the matter.
    let both = vec![root.crl(&spoiled), root.crl(&CrlPlan::fresh())];
    assert_judged(&judge_at(&root, both, NOW), Verdict::Valid, &[]);
}

#[test]
fn an_authority_whose_key_is_not_for_crls_signs_none() {
    let plan = Plan { key_usage: Some(KeyUsages::KeyCertSign.into()), ..Plan::authority("CN=Root") };
    let judgement = judge(&plan.root(Key::sm2(1)), CrlPlan::fresh());
    assert_judged(&judgement, Verdict::Indeterminate, &["crl_signature_invalid"]);
}

#[test]
fn partial_and_delta_crls_decide_nothing() {
    for id in ["2.5.29.28", "2.5.29.27"] {
        let critical_extension = Some(const_oid::ObjectIdentifier::new_unwrap(id));
        let judgement = judge(&root(), CrlPlan { critical_extension, ..CrlPlan::fresh() });
        assert_judged(&judgement, Verdict::Indeterminate, &["crl_not_supported"]);
    }
}

#[test]
fn a_hold_ends_with_the_first_crl_that_lists_it_no_more() {
    let root = root();
    let held = vec![(SERIAL, datetime!(2026-05-01 8:00 UTC), Some(CrlReason::CertificateHold))];
    let early = root.crl(&CrlPlan {
        this_update: datetime!(2026-05-02 0:00 UTC),
        revoked: held.clone(),
        ..CrlPlan::fresh()
    });
    let late = root.crl(&CrlPlan::fresh());
    assert_judged(&judge_at(&root, vec![early.clone()], NOW), Verdict::Invalid, &["revoked"]);
    assert_judged(&judge_at(&root, vec![early, late], NOW), Verdict::Valid, &[]);
}
