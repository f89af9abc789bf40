//! What CRLs do to a path.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use der::Encode;
use formats::chain::{PolicyRequirements, RevocationMode, RevocationPolicy, TrustStore, Usage, validate};
use formats::{Certificate, Crl, Judgement, Verdict, oid};
use pki::{Authority, CrlPlan, Key, NOW, Plan, codes};
use time::macros::datetime;
use x509_cert::ext::pkix::crl::dp::{DistributionPoint, IssuingDistributionPoint, Reasons};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
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

fn nothing() -> IssuingDistributionPoint {
    IssuingDistributionPoint {
        distribution_point: None,
        only_contains_user_certs: false,
        only_contains_ca_certs: false,
        only_some_reasons: None,
        indirect_crl: false,
        only_contains_attribute_certs: false,
    }
}

fn part_crl(part: &IssuingDistributionPoint) -> CrlPlan {
    let extension = (oid::ISSUING_DISTRIBUTION_POINT, true, part.to_der().unwrap());
    CrlPlan { extensions: vec![extension], ..CrlPlan::fresh() }
}

fn url(url: &str) -> DistributionPointName {
    let url = der::asn1::Ia5String::new(url).unwrap();
    DistributionPointName::FullName(vec![GeneralName::UniformResourceIdentifier(url)])
}

#[test]
fn a_crl_for_other_certificates_says_nothing_about_this_one() {
    let for_users = IssuingDistributionPoint { only_contains_user_certs: true, ..nothing() };
    let for_authorities = IssuingDistributionPoint { only_contains_ca_certs: true, ..nothing() };
    let for_attributes = IssuingDistributionPoint { only_contains_attribute_certs: true, ..nothing() };
    assert_judged(&judge(&root(), part_crl(&for_users)), Verdict::Valid, &[]);
    for other in [for_authorities, for_attributes] {
        assert_judged(&judge(&root(), part_crl(&other)), Verdict::Valid, &["revocation_not_checked"]);
    }
}

#[test]
fn a_crl_counts_for_the_distribution_point_it_is_of() {
    let point = DistributionPoint {
        distribution_point: Some(url("http://crl.example/7.crl")),
        reasons: None,
        crl_issuer: None,
    };
    let extension = (oid::CRL_DISTRIBUTION_POINTS, false, vec![point].to_der().unwrap());
    let root = root();
    let leaf = root.issue(&Plan { extensions: vec![extension], ..Plan::leaf("CN=Leaf") }, &Key::sm2(4));
    let revoked = vec![(SERIAL, datetime!(2026-05-01 8:00 UTC), REASON)];
    for (of, verdict, codes) in [
        ("http://crl.example/7.crl", Verdict::Invalid, ["revoked"]),
        ("http://crl.example/8.crl", Verdict::Valid, ["revocation_not_checked"]),
    ] {
        let part = IssuingDistributionPoint { distribution_point: Some(url(of)), ..nothing() };
        let crl = root.crl(&CrlPlan { revoked: revoked.clone(), ..part_crl(&part) });
        let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), vec![crl]);
        assert_judged(&validate(&leaf, &[], &trust, Usage::DocumentSigning, NOW), verdict, &codes);
    }
}

#[test]
fn crls_for_some_reasons_count_together() {
    let some = |reasons| IssuingDistributionPoint { only_some_reasons: Some(reasons), ..nothing() };
    let keys = some(Reasons::KeyCompromise | Reasons::CaCompromise);
    let all_but_keys = Reasons::AffiliationChanged
        | Reasons::Superseded
        | Reasons::CessationOfOperation
        | Reasons::CertificateHold
        | Reasons::PrivilegeWithdrawn
        | Reasons::AaCompromise;
    let root = root();
    let keys = root.crl(&part_crl(&keys));
    let rest = part_crl(&some(all_but_keys));
    let unknown = judge_at(&root, vec![keys.clone()], NOW);
    assert_judged(&unknown, Verdict::Indeterminate, &["revocation_unknown"]);
    assert_judged(&judge_at(&root, vec![keys.clone(), root.crl(&rest)], NOW), Verdict::Valid, &[]);
    let revoked = vec![(SERIAL, datetime!(2026-05-01 8:00 UTC), Some(CrlReason::Superseded))];
    let rest = root.crl(&CrlPlan { revoked, ..rest });
    assert_judged(&judge_at(&root, vec![keys, rest], NOW), Verdict::Invalid, &["revoked"]);
}

#[test]
fn indirect_crls_and_what_is_not_understood_are_refused_by_name() {
    let indirect = IssuingDistributionPoint { indirect_crl: true, ..nothing() };
    let unknown = const_oid::ObjectIdentifier::new_unwrap("2.5.29.999");
    let empty = vec![0x30, 0];
    let cases = [
        (part_crl(&indirect), "indirect"),
        (part_crl(&nothing()), "says nothing"),
        (CrlPlan { extensions: vec![(unknown, true, empty.clone())], ..CrlPlan::fresh() }, "2.5.29.999"),
        (
            CrlPlan {
                // An entry for another certificate; the list as a whole is not understood.
                revoked: vec![(1, NOW, REASON)],
                entry_extensions: vec![(unknown, true, empty)],
                ..CrlPlan::fresh()
            },
            "2.5.29.999",
        ),
    ];
    for (plan, named) in cases {
        let judgement = judge(&root(), plan);
        assert_judged(&judgement, Verdict::Indeterminate, &["crl_not_supported"]);
        assert!(judgement.findings[0].detail.contains(named), "{judgement:?}");
    }
}

#[test]
fn a_delta_adds_to_its_base_and_makes_none_fresh() {
    let delta = |plan: CrlPlan| CrlPlan {
        this_update: datetime!(2026-05-31 0:00 UTC),
        extensions: vec![(oid::DELTA_CRL_INDICATOR, true, vec![2, 1, 1])],
        ..plan
    };
    let root = root();
    let (base, unchanged) = (root.crl(&CrlPlan::fresh()), root.crl(&delta(CrlPlan::fresh())));
    let alone = judge_at(&root, vec![unchanged.clone()], NOW);
    assert_judged(&alone, Verdict::Indeterminate, &["crl_not_supported"]);
    assert_judged(&judge_at(&root, vec![base.clone(), unchanged.clone()], NOW), Verdict::Valid, &[]);

    let stale = CrlPlan { next_update: Some(datetime!(2026-05-31 0:00 UTC)), ..CrlPlan::fresh() };
    let with_stale = judge_at(&root, vec![root.crl(&stale), unchanged], NOW);
    assert_judged(&with_stale, Verdict::Indeterminate, &["crl_stale"]);

    let when = datetime!(2026-05-30 8:00 UTC);
    let entry = |reason| CrlPlan { revoked: vec![(SERIAL, when, reason)], ..CrlPlan::fresh() };
    let revoked = root.crl(&delta(entry(REASON)));
    assert_judged(&judge_at(&root, vec![base.clone(), revoked], NOW), Verdict::Invalid, &["revoked"]);
    let held = root.crl(&entry(Some(CrlReason::CertificateHold)));
    let lifted = root.crl(&delta(entry(Some(CrlReason::RemoveFromCRL))));
    assert_judged(&judge_at(&root, vec![held.clone()], NOW), Verdict::Invalid, &["revoked"]);
    assert_judged(&judge_at(&root, vec![held, lifted], NOW), Verdict::Valid, &[]);
}

#[test]
fn a_key_is_bad_from_the_day_on_that_its_entry_names() {
    let invalidity =
        der::asn1::GeneralizedTime::from_date_time(der::DateTime::new(2026, 3, 1, 0, 0, 0).unwrap());
    let root = root();
    let crl = root.crl(&CrlPlan {
        revoked: vec![(SERIAL, datetime!(2026-05-01 8:00 UTC), REASON)],
        entry_extensions: vec![(oid::INVALIDITY_DATE, false, invalidity.to_der().unwrap())],
        ..CrlPlan::fresh()
    });
    let at = |at| judge_at(&root, vec![crl.clone()], at);
    assert_judged(&at(datetime!(2026-04-01 0:00 UTC)), Verdict::Invalid, &["revoked"]);
    assert_judged(&at(datetime!(2026-02-01 0:00 UTC)), Verdict::Valid, &["revoked_later"]);
}

#[test]
fn a_site_may_require_revocation_information_and_limit_its_age() {
    let root = root();
    let judge = |crls: Vec<Crl>, policy| {
        let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), crls).with_revocation(policy);
        validate(&leaf(&root), &[], &trust, Usage::DocumentSigning, NOW)
    };
    let fresh = || vec![root.crl(&CrlPlan::fresh())];
    let required = RevocationPolicy { mode: RevocationMode::Required, ..RevocationPolicy::default() };
    assert_judged(&judge(Vec::new(), required), Verdict::Indeterminate, &["revocation_unknown"]);
    assert_judged(&judge(fresh(), required), Verdict::Valid, &[]);
    // The CRL is of 60 hours before, and promises its successor later.
    let hours = |hours| RevocationPolicy {
        mode: RevocationMode::Required,
        max_age: Some(time::Duration::hours(hours)),
        ..RevocationPolicy::default()
    };
    assert_judged(&judge(fresh(), hours(60)), Verdict::Valid, &[]);
    assert_judged(&judge(fresh(), hours(59)), Verdict::Indeterminate, &["crl_stale"]);
}

#[test]
fn an_overdue_crl_counts_for_the_grace_and_says_so() {
    let root = root();
    let judge = |grace: time::Duration, max_age, plan: CrlPlan| {
        let policy = RevocationPolicy { mode: RevocationMode::Required, max_age, grace };
        let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), vec![root.crl(&plan)]);
        validate(&leaf(&root), &[], &trust.with_revocation(policy), Usage::DocumentSigning, NOW)
    };
    let hour = time::Duration::HOUR;
    let overdue = || CrlPlan { next_update: Some(NOW - hour), ..CrlPlan::fresh() };
    assert_judged(&judge(hour, None, overdue()), Verdict::Valid, &["crl_overdue"]);
    let just_before = hour - time::Duration::SECOND;
    assert_judged(&judge(just_before, None, overdue()), Verdict::Indeterminate, &["crl_stale"]);
    // Neither the site's limit of age nor a revocation is softened.
    assert_judged(&judge(hour, Some(59 * hour), overdue()), Verdict::Indeterminate, &["crl_stale"]);
    let revoked = vec![(SERIAL, datetime!(2026-05-01 8:00 UTC), REASON)];
    let listed = CrlPlan { revoked, ..overdue() };
    assert_judged(&judge(hour, None, listed), Verdict::Invalid, &["revoked"]);
}

#[test]
fn a_site_may_do_without_revocation() {
    let root = root();
    let listed =
        CrlPlan { revoked: vec![(SERIAL, datetime!(2026-05-01 8:00 UTC), REASON)], ..CrlPlan::fresh() };
    let off = RevocationPolicy { mode: RevocationMode::Off, ..RevocationPolicy::default() };
    let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), vec![root.crl(&listed)]);
    let judged = validate(&leaf(&root), &[], &trust.with_revocation(off), Usage::DocumentSigning, NOW);
    assert_judged(&judged, Verdict::Valid, &["revocation_not_checked"]);
}

#[test]
fn whatever_changes_judgements_changes_the_generation() {
    let (root, other) = (root(), Plan::authority("CN=Other").root(Key::sm2(2)));
    let certificates = |authorities: &[&Authority]| -> Vec<Certificate> {
        authorities.iter().map(|authority| authority.certificate.clone()).collect()
    };
    let store = |anchors: &[&Authority], intermediates: &[&Authority], crls: Vec<Crl>| {
        TrustStore::new(certificates(anchors), certificates(intermediates), crls)
    };
    let shared = std::sync::Arc::new(root.crl(&CrlPlan::fresh()));
    let base = || store(&[&root], &[&other], vec![Crl::clone(&shared)]);
    let policies = PolicyRequirements { inhibit_any: true, ..PolicyRequirements::default() };
    let policy = |policy: RevocationPolicy| base().with_revocation(policy).generation();
    let grace = RevocationPolicy { grace: time::Duration::SECOND, ..RevocationPolicy::default() };
    let aged = RevocationPolicy { max_age: Some(time::Duration::SECOND), ..RevocationPolicy::default() };
    let off = RevocationPolicy { mode: RevocationMode::Off, ..RevocationPolicy::default() };
    let newer = root.crl(&CrlPlan { this_update: datetime!(2026-05-31 0:00 UTC), ..CrlPlan::fresh() });
    let all = [
        TrustStore::default().generation(),
        base().generation(),
        store(&[&root, &other], &[], vec![Crl::clone(&shared)]).generation(),
        store(&[&other], &[&root], vec![Crl::clone(&shared)]).generation(),
        base().with_crls([newer]).generation(),
        base().with_crls(Vec::<Crl>::new()).generation(),
        base().with_policies(policies).generation(),
        policy(grace),
        policy(aged),
        policy(off),
    ];
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len(), "{all:?}");
    assert_eq!(base().generation(), base().with_crls([std::sync::Arc::clone(&shared)]).generation());
    let asked_before = base();
    let before = asked_before.generation();
    assert_ne!(asked_before.with_revocation(off).generation(), before, "what was made once is made anew");
}

#[test]
fn a_crl_is_taken_from_whom_has_signed_it_and_may() {
    let root = root();
    let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), Vec::new());
    let refused = |trust: &TrustStore, crl: &Crl| trust.signer_of(crl).unwrap_err().code;
    assert_eq!(trust.signer_of(&root.crl(&CrlPlan::fresh())).unwrap(), &root.certificate);
    let spoiled = root.crl(&CrlPlan { spoiled_signature: true, ..CrlPlan::fresh() });
    assert_eq!(refused(&trust, &spoiled), "crl_signature_invalid");
    let namesake = Plan::authority("CN=Root").root(Key::sm2(9)).crl(&CrlPlan::fresh());
    assert_eq!(refused(&trust, &namesake), "crl_signature_invalid");
    let stranger = Plan::authority("CN=Stranger").root(Key::sm2(9)).crl(&CrlPlan::fresh());
    assert_eq!(refused(&trust, &stranger), "crl_signature_invalid");
    let plan = Plan { key_usage: Some(KeyUsages::KeyCertSign.into()), ..Plan::authority("CN=Root") };
    let other = plan.root(Key::sm2(1));
    let trust = TrustStore::new(vec![other.certificate.clone()], Vec::new(), Vec::new());
    assert_eq!(refused(&trust, &other.crl(&CrlPlan::fresh())), "crl_signature_invalid");
}

#[test]
fn another_key_of_the_authority_may_sign_its_crls() {
    let root = root();
    let signer = |key_usage| {
        let plan = Plan { key_usage: Some(key_usage), ..Plan::authority("CN=Issuer") };
        root.subordinate(&plan, Key::p256())
    };
    let issuer = signer(KeyUsages::KeyCertSign.into());
    let crl_signer = signer(KeyUsages::CRLSign.into());
    let leaf = issuer.issue(&Plan::leaf("CN=Leaf"), &Key::sm2(4));
    let revoked = vec![(SERIAL, datetime!(2026-05-01 8:00 UTC), None)];
    let crl = crl_signer.crl(&CrlPlan { revoked, ..CrlPlan::fresh() });
    let judge = |signer: &Authority, roots_crl: CrlPlan| {
        let crls = vec![root.crl(&roots_crl), crl.clone()];
        let intermediates = vec![issuer.certificate.clone(), signer.certificate.clone()];
        let trust = TrustStore::new(vec![root.certificate.clone()], intermediates, crls);
        validate(&leaf, &[], &trust, Usage::DocumentSigning, NOW)
    };
    assert_judged(&judge(&crl_signer, CrlPlan::fresh()), Verdict::Invalid, &["revoked"]);

    // A namesake under another anchor, with the very same key, signs nothing here.
    let stranger = Plan::authority("CN=Stranger").root(Key::sm2(9));
    let plan = Plan { key_usage: Some(KeyUsages::CRLSign.into()), ..Plan::authority("CN=Issuer") };
    let namesake = Authority {
        certificate: plan.issue(&crl_signer.key, &stranger.key, &stranger.name()),
        key: Key::sm2(9),
    };
    let judgement = judge(&namesake, CrlPlan::fresh());
    assert_judged(&judgement, Verdict::Indeterminate, &["crl_signature_invalid"]);
}

/// Certificates of the name of an issuer of CRLs, which are somebody else's.
fn namesakes(number: u32) -> Vec<Certificate> {
    let issued = |serial| {
        let plan = Plan { serial, key_identifiers: false, ..Plan::authority("CN=Issuer") };
        plan.issue(&Key::sm2(8), &Key::sm2(9), "CN=Nobody")
    };
    (0..number).map(issued).collect()
}

#[test]
fn namesakes_of_a_crls_issuer_draw_on_the_budget_of_the_search() {
    let root = root();
    let signer = |key| {
        let plan = Plan { key_identifiers: false, ..Plan::authority("CN=Issuer") };
        root.subordinate(&plan, key)
    };
    let (issuer, crl_signer) = (signer(Key::p256()), signer(Key::sm2(7)));
    let leaf = issuer.issue(&Plan { key_identifiers: false, ..Plan::leaf("CN=Leaf") }, &Key::sm2(4));
    let crls = || vec![root.crl(&CrlPlan::fresh()), crl_signer.crl(&CrlPlan::fresh())];
    let namesakes = namesakes(200);
    let judge = |strangers: usize| {
        let intermediates = [
            vec![issuer.certificate.clone()],
            namesakes[..strangers].to_vec(),
            vec![crl_signer.certificate.clone()],
        ];
        let trust = TrustStore::new(vec![root.certificate.clone()], intermediates.concat(), crls());
        validate(&leaf, &[], &trust, Usage::DocumentSigning, NOW).verdict
    };
    assert_eq!(judge(0), Verdict::Valid);
    assert_eq!(judge(8), Verdict::Valid, "some namesakes do no harm");
    assert_eq!(judge(200), Verdict::Indeterminate, "not all of many are tried");
}

#[test]
fn what_is_left_untried_for_the_budget_is_no_word_of_there_being_no_revocation() {
    let root = root();
    let signer = |key| {
        let plan = Plan { key_identifiers: false, ..Plan::authority("CN=Issuer") };
        root.subordinate(&plan, key)
    };
    let (issuer, crl_signer) = (signer(Key::p256()), signer(Key::sm2(7)));
    let plan = Plan { serial: SERIAL, key_identifiers: false, ..Plan::leaf("CN=Leaf") };
    let leaf = issuer.issue(&plan, &Key::sm2(4));
    // The issuer's own key vouches for the leaf; its other key has revoked it.
    let revoked = vec![(SERIAL, NOW - time::Duration::DAY, REASON)];
    let crls = || {
        let other = crl_signer.crl(&CrlPlan { revoked: revoked.clone(), ..CrlPlan::fresh() });
        vec![root.crl(&CrlPlan::fresh()), issuer.crl(&CrlPlan::fresh()), other]
    };
    let namesakes = namesakes(200);
    let judge = |strangers: usize| {
        let intermediates = [
            vec![issuer.certificate.clone()],
            namesakes[..strangers].to_vec(),
            vec![crl_signer.certificate.clone()],
        ];
        let trust = TrustStore::new(vec![root.certificate.clone()], intermediates.concat(), crls());
        validate(&leaf, &[], &trust, Usage::DocumentSigning, NOW)
    };
    assert_judged(&judge(0), Verdict::Invalid, &["revoked"]);
    assert_judged(&judge(200), Verdict::Indeterminate, &["crl_signature_invalid", "revocation_unknown"]);
}

#[test]
fn a_crl_of_after_the_expiry_does_not_clear_a_certificate() {
    let root = root();
    let plan = Plan { not_after: datetime!(2026-05-20 0:00 UTC), ..Plan::leaf("CN=Leaf") };
    let leaf = root.issue(&plan, &Key::sm2(4));
    let judge = |plan: CrlPlan| {
        let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), vec![root.crl(&plan)]);
        validate(&leaf, &[], &trust, Usage::DocumentSigning, datetime!(2026-05-10 0:00 UTC))
    };
    assert_judged(&judge(CrlPlan::fresh()), Verdict::Indeterminate, &["crl_stale"]);
    let from = |year| {
        let from =
            der::asn1::GeneralizedTime::from_date_time(der::DateTime::new(year, 1, 1, 0, 0, 0).unwrap());
        let extensions = vec![(oid::EXPIRED_CERTS_ON_CRL, false, from.to_der().unwrap())];
        CrlPlan { extensions, ..CrlPlan::fresh() }
    };
    assert_judged(&judge(from(2026)), Verdict::Valid, &[]);
    assert_judged(&judge(from(2027)), Verdict::Indeterminate, &["crl_stale"]);
}

#[test]
fn in_a_long_crl_every_entry_is_found() {
    let when = datetime!(2026-05-01 8:00 UTC);
    let root = root();
    // Serials of several lengths, in no order.
    let serials: Vec<u32> = (0..500u32).map(|i| i.wrapping_mul(2_654_435_761) >> (i % 24)).collect();
    let revoked = serials.iter().map(|serial| (*serial, when, REASON)).collect();
    let crl = root.crl(&CrlPlan { revoked, ..CrlPlan::fresh() });
    let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), vec![crl]);
    let verdict = |serial| {
        let leaf = root.issue(&Plan { serial, ..Plan::leaf("CN=Leaf") }, &Key::sm2(4));
        validate(&leaf, &[], &trust, Usage::DocumentSigning, NOW).verdict
    };
    for serial in serials.iter().step_by(7) {
        assert_eq!(verdict(*serial), Verdict::Invalid, "{serial}");
        if !serials.contains(&(serial ^ 1)) {
            assert_eq!(verdict(serial ^ 1), Verdict::Valid, "{serial}");
        }
    }
}

#[test]
fn the_evidence_about_a_certificate_is_its_path_and_the_lists_that_clear_it() {
    let root = root();
    let ca = root.subordinate(&Plan { serial: 18, ..Plan::authority("CN=Issuing") }, Key::sm2(2));
    let leaf = leaf(&ca);
    let foreign = Plan::authority("CN=Foreign").root(Key::sm2(9)).crl(&CrlPlan::fresh());
    let (of_root, of_ca) = (root.crl(&CrlPlan::fresh()), ca.crl(&CrlPlan::fresh()));
    let spoilt = ca.crl(&CrlPlan { spoiled_signature: true, ..CrlPlan::fresh() });
    let stale = ca.crl(&CrlPlan { next_update: Some(datetime!(2026-05-31 0:00 UTC)), ..CrlPlan::fresh() });
    let revoked = vec![(SERIAL, datetime!(2026-05-01 0:00 UTC), REASON)];
    let revoking = ca.crl(&CrlPlan { revoked, ..CrlPlan::fresh() });
    let asked = |crls: &[&Crl], anchors: Vec<Certificate>| {
        let crls = crls.iter().map(|&crl| crl.clone()).collect();
        let trust = TrustStore::new(anchors, Vec::new(), crls);
        trust.evidence(&leaf, std::slice::from_ref(&ca.certificate), Usage::DocumentSigning, NOW)
    };
    let trusted = || vec![root.certificate.clone()];
    let found = asked(&[&foreign, &spoilt, &of_root, &of_ca, &of_ca], trusted()).unwrap();
    assert_eq!(found.certificates, [leaf.clone(), ca.certificate.clone(), root.certificate.clone()]);
    assert_eq!((found.crls.as_slice(), found.ocsps.len()), (&[of_ca.clone(), of_root.clone()][..], 0));
    for (crls, missing) in [
        (&[][..], &["CN=Leaf", "CN=Issuing"][..]),
        (&[&of_root], &["CN=Leaf"]),
        (&[&of_ca], &["CN=Issuing"]),
        (&[&of_root, &spoilt], &["CN=Leaf"]),
        (&[&of_root, &stale], &["CN=Leaf"]),
        (&[&of_root, &of_ca, &revoking], &["CN=Leaf"]),
    ] {
        assert_eq!(asked(crls, trusted()).unwrap_err(), missing);
    }
    assert_eq!(asked(&[&of_root, &of_ca], Vec::new()).unwrap_err(), ["CN=Leaf"], "there is no path");
}
