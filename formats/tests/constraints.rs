//! What authorities may certify: names, policies, purposes. NIST's suite (`pkits.rs`) has the fine print;
//! here stand the forms of names it lacks, SM2 pairs, timestamping, and inputs meant to exhaust.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use const_oid::ObjectIdentifier;
use der::Encode;
use der::asn1::{Ia5String, OctetString};
use formats::chain::{PolicyRequirements, TrustStore, Usage, validate};
use formats::{Judgement, Verdict, oid};
use pki::{Authority, Key, NOW, Plan, codes, name};
use x509_cert::ext::pkix::certpolicy::PolicyInformation;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};
use x509_cert::ext::pkix::{KeyUsages, NameConstraints};

const ISSUER: &str = "CN=Issuer,O=Bureau,C=CN";
const LEAF: &str = "CN=Window 3,O=Bureau,C=CN";

type Extensions = Vec<(ObjectIdentifier, bool, Vec<u8>)>;

fn root() -> Authority {
    Plan::authority("CN=Root,O=Bureau,C=CN").root(Key::sm2(1))
}

/// Judges a leaf below an issuer below a root, both with extensions.
fn judge(issuer: Extensions, leaf: Extensions) -> Judgement {
    judge_named(issuer, LEAF, leaf, Usage::DocumentSigning)
}

fn judge_named(issuer: Extensions, subject: &str, leaf: Extensions, usage: Usage) -> Judgement {
    let root = root();
    let plan = Plan { extensions: issuer, ..Plan::authority(ISSUER) };
    let issuer = root.subordinate(&plan, Key::sm2(3));
    let leaf = issuer.issue(&Plan { extensions: leaf, ..Plan::leaf(subject) }, &Key::sm2(4));
    let trust = TrustStore::new(vec![root.certificate], vec![issuer.certificate], Vec::new());
    validate(&leaf, &[], &trust, usage, NOW)
}

fn ia5(text: &str) -> Ia5String {
    Ia5String::new(text).unwrap()
}

fn dns(name: &str) -> GeneralName {
    GeneralName::DnsName(ia5(name))
}

fn email(address: &str) -> GeneralName {
    GeneralName::Rfc822Name(ia5(address))
}

fn uri(uri: &str) -> GeneralName {
    GeneralName::UniformResourceIdentifier(ia5(uri))
}

fn ip(octets: &[u8]) -> GeneralName {
    GeneralName::IpAddress(OctetString::new(octets).unwrap())
}

fn other(value: &str) -> GeneralName {
    let value = der::Any::encode_from(&ia5(value)).unwrap();
    GeneralName::OtherName(OtherName { type_id: ObjectIdentifier::new_unwrap("1.2.3.4"), value })
}

fn subtrees(bases: &[GeneralName]) -> Option<Vec<GeneralSubtree>> {
    let subtree = |base: &GeneralName| GeneralSubtree { base: base.clone(), minimum: 0, maximum: None };
    (!bases.is_empty()).then(|| bases.iter().map(subtree).collect())
}

fn constraints(permitted: &[GeneralName], excluded: &[GeneralName]) -> Extensions {
    let constraints =
        NameConstraints { permitted_subtrees: subtrees(permitted), excluded_subtrees: subtrees(excluded) };
    vec![(oid::NAME_CONSTRAINTS, true, constraints.to_der().unwrap())]
}

fn names(names: &[GeneralName]) -> Extensions {
    vec![(oid::SUBJECT_ALT_NAME, false, names.to_vec().to_der().unwrap())]
}

#[track_caller]
fn assert_invalid(judgement: &Judgement, code: &str) {
    assert_eq!(judgement.verdict, Verdict::Invalid, "{judgement:?}");
    assert!(judgement.has(code), "{code} in {judgement:?}");
}

#[test]
fn names_of_every_form_are_held_to_the_permitted_and_the_excluded() {
    let mask24 = [192, 0, 2, 0, 255, 255, 255, 0];
    let net6 = [[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 12], &[255; 4], &[0; 12]].concat();
    let host6 = |first: u8| [[first, 1, 0xd, 0xb8].as_slice(), &[7; 12]].concat();
    // Base, names within, names without.
    let forms: Vec<(GeneralName, Vec<GeneralName>, Vec<GeneralName>)> = vec![
        (
            dns("bureau.example"),
            vec![dns("bureau.example"), dns("a.BUREAU.example"), dns("*.bureau.example")],
            vec![dns("xbureau.example"), dns("example"), dns("bureau.example.com")],
        ),
        (dns(".bureau.example"), vec![dns("a.bureau.example")], vec![dns("bureau.example")]),
        (email("bureau.example"), vec![email("a@BUREAU.example")], vec![email("a@b.bureau.example")]),
        (email(".bureau.example"), vec![email("a@b.bureau.example")], vec![email("a@bureau.example")]),
        (email("a@bureau.example"), vec![email("a@Bureau.example")], vec![email("A@bureau.example")]),
        (
            uri("bureau.example"),
            vec![uri("https://me:x@bureau.example:8443/x?y@z"), uri("ldap://BUREAU.example")],
            vec![uri("https://a.bureau.example/"), uri("https://x.example/@bureau.example")],
        ),
        (
            uri(".bureau.example"),
            vec![uri("https://a.bureau.example/")],
            vec![uri("https://bureau.example/")],
        ),
        (ip(&mask24), vec![ip(&[192, 0, 2, 9])], vec![ip(&[192, 0, 3, 9]), ip(&host6(0x20))]),
        (ip(&net6), vec![ip(&host6(0x20))], vec![ip(&host6(0x21)), ip(&[192, 0, 2, 9])]),
        (
            GeneralName::DirectoryName(name("O=BUREAU,C=CN")),
            vec![GeneralName::DirectoryName(name("CN=x,O=Bureau,C=CN"))],
            vec![GeneralName::DirectoryName(name("CN=x,O=Other,C=CN"))],
        ),
    ];
    for (base, within, without) in forms {
        let permitted = constraints(std::slice::from_ref(&base), &[]);
        let excluded = constraints(&[], std::slice::from_ref(&base));
        // The subject lies in the directory subtree too, so an exclusion must not be about it.
        let subject = "CN=Window 3,O=Else,C=CN";
        let of = |constraints: &Extensions, subject, name: &GeneralName| {
            let leaf = names(std::slice::from_ref(name));
            judge_named(constraints.clone(), subject, leaf, Usage::DocumentSigning)
        };
        for name in &within {
            assert_eq!(of(&permitted, LEAF, name).verdict, Verdict::Valid, "{name:?} in {base:?}");
            assert_invalid(&of(&excluded, subject, name), "name_not_permitted");
        }
        for name in &without {
            assert_invalid(&of(&permitted, LEAF, name), "name_not_permitted");
            assert_eq!(of(&excluded, subject, name).verdict, Verdict::Valid, "{name:?} not in {base:?}");
        }
    }
}

#[test]
fn what_cannot_be_compared_is_refused_on_both_sides() {
    let cases = [
        (uri("bureau.example"), uri("https://[2001:db8::1]/")),
        (uri("bureau.example"), uri("https://192.0.2.1/")),
        (uri("bureau.example"), uri("urn:bureau")),
        (email("bureau.example"), email("bureau.example")),
        (ip(&[192, 0, 2, 0]), ip(&[192, 0, 2, 1])),
        (other("a"), other("b")),
    ];
    for (base, name) in cases {
        let (base, name) = (std::slice::from_ref(&base), names(std::slice::from_ref(&name)));
        assert_invalid(&judge(constraints(base, &[]), name.clone()), "name_not_permitted");
        assert_invalid(&judge(constraints(&[], base), name), "name_not_permitted");
    }
    // Names of a form that is not constrained are free.
    assert_eq!(judge(constraints(&[dns("a")], &[]), names(&[other("b")])).verdict, Verdict::Valid);
}

#[test]
fn a_wildcard_is_excluded_with_any_host_it_stands_for() {
    let excluded = constraints(&[], &[dns("secret.bureau.example")]);
    assert_invalid(&judge(excluded.clone(), names(&[dns("*.bureau.example")])), "name_not_permitted");
    assert_eq!(judge(excluded, names(&[dns("*.example")])).verdict, Verdict::Valid);
}

#[test]
fn constraints_that_say_nothing_or_too_much_are_malformed() {
    let empty = vec![(oid::NAME_CONSTRAINTS, true, vec![0x30, 0])];
    assert_invalid(&judge(empty, Vec::new()), "malformed");
    let minimum = NameConstraints {
        permitted_subtrees: Some(vec![GeneralSubtree { base: dns("a"), minimum: 1, maximum: None }]),
        excluded_subtrees: None,
    };
    let minimum = vec![(oid::NAME_CONSTRAINTS, true, minimum.to_der().unwrap())];
    assert_invalid(&judge(minimum, Vec::new()), "malformed");
}

#[test]
fn an_anchors_constraints_hold_for_all_below() {
    let extensions = constraints(&[GeneralName::DirectoryName(name("O=Bureau,C=CN"))], &[]);
    let root = Plan { extensions, ..Plan::authority("CN=Root,O=Bureau,C=CN") }.root(Key::sm2(1));
    let issuer = root.subordinate(&Plan::authority(ISSUER), Key::sm2(3));
    let judge = |subject| {
        let leaf = issuer.issue(&Plan::leaf(subject), &Key::sm2(4));
        let trust =
            TrustStore::new(vec![root.certificate.clone()], vec![issuer.certificate.clone()], Vec::new());
        validate(&leaf, &[], &trust, Usage::DocumentSigning, NOW)
    };
    assert_eq!(judge(LEAF).verdict, Verdict::Valid);
    assert_invalid(&judge("CN=Window 3,O=Other,C=CN"), "name_not_permitted");
}

#[test]
fn comparing_names_has_a_bound() {
    let many = |count: usize| (0..count).map(|i| dns(&format!("n{i}.example"))).collect::<Vec<_>>();
    let judgement = judge(constraints(&many(200), &[]), names(&many(700)));
    assert_invalid(&judgement, "name_not_permitted");
    assert!(judgement.findings[0].detail.contains("too many"), "{judgement:?}");
    assert_eq!(judge(constraints(&many(200), &[]), names(&many(200))).verdict, Verdict::Valid);
}

fn policy(number: u32) -> ObjectIdentifier {
    ObjectIdentifier::new(&format!("1.2.156.99999.{number}")).unwrap()
}

fn policies(policies: &[ObjectIdentifier]) -> (ObjectIdentifier, bool, Vec<u8>) {
    let policies: Vec<_> = policies
        .iter()
        .map(|policy| PolicyInformation { policy_identifier: *policy, policy_qualifiers: None })
        .collect();
    (oid::CERTIFICATE_POLICIES, false, policies.to_der().unwrap())
}

#[test]
fn a_site_may_ask_for_a_policy_that_the_whole_path_asserts() {
    let root = root();
    let judge = |issuer: &[u32], leaf: &[u32], acceptable: &[u32]| {
        let oids = |numbers: &[u32]| numbers.iter().map(|n| policy(*n)).collect::<Vec<_>>();
        let with = |numbers| vec![policies(&oids(numbers))];
        let issuer =
            root.subordinate(&Plan { extensions: with(issuer), ..Plan::authority(ISSUER) }, Key::sm2(3));
        let leaf = issuer.issue(&Plan { extensions: with(leaf), ..Plan::leaf(LEAF) }, &Key::sm2(4));
        let required =
            PolicyRequirements { acceptable: oids(acceptable), explicit: true, ..Default::default() };
        let trust = TrustStore::new(vec![root.certificate.clone()], vec![issuer.certificate], Vec::new());
        validate(&leaf, &[], &trust.with_policies(required), Usage::DocumentSigning, NOW)
    };
    assert_eq!(judge(&[1, 2], &[2, 3], &[2]).verdict, Verdict::Valid);
    assert_eq!(judge(&[1, 2], &[2, 3], &[]).verdict, Verdict::Valid);
    assert_invalid(&judge(&[1, 2], &[2, 3], &[3]), "policy_not_permitted");
    assert_invalid(&judge(&[1], &[3], &[]), "policy_not_permitted");
}

#[test]
fn mappings_that_would_grow_a_tree_without_bound_cost_little() {
    // Each authority maps every policy to every other: the standard's tree would get 12^8 leaves.
    let all: Vec<_> = (0..12).map(policy).collect();
    let mappings: Vec<_> = all.iter().flat_map(|from| all.iter().map(move |to| vec![*from, *to])).collect();
    let extensions = vec![policies(&all), (oid::POLICY_MAPPINGS, true, mappings.to_der().unwrap())];
    let root = root();
    let mut authorities: Vec<Authority> = Vec::new();
    for step in 0..8 {
        let plan =
            Plan { extensions: extensions.clone(), ..Plan::authority(&format!("CN=Step {step},C=CN")) };
        let issuer = authorities.last().unwrap_or(&root);
        authorities.push(issuer.subordinate(&plan, Key::sm2(30 + step)));
    }
    let plan = Plan { extensions: vec![policies(&all)], ..Plan::leaf(LEAF) };
    let leaf = authorities.last().unwrap().issue(&plan, &Key::sm2(4));
    let intermediates: Vec<_> = authorities.iter().map(|a| a.certificate.clone()).collect();
    for (acceptable, verdict) in [(11, Verdict::Valid), (12, Verdict::Invalid)] {
        let required =
            PolicyRequirements { acceptable: vec![policy(acceptable)], explicit: true, ..Default::default() };
        let trust = TrustStore::new(vec![root.certificate.clone()], intermediates.clone(), Vec::new())
            .with_policies(required);
        assert_eq!(validate(&leaf, &[], &trust, Usage::DocumentSigning, NOW).verdict, verdict);
    }
}

#[test]
fn of_an_sm2_pair_only_the_signing_certificate_signs() {
    let root = root();
    let pair = |key_usage, seed| {
        root.issue(&Plan { key_usage: Some(key_usage), ..Plan::leaf(LEAF) }, &Key::sm2(seed))
    };
    let signing = pair(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation, 4);
    let encryption = pair(KeyUsages::KeyEncipherment | KeyUsages::DataEncipherment, 5);
    let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), Vec::new());
    for usage in [Usage::DocumentSigning, Usage::License] {
        assert_eq!(validate(&signing, &[], &trust, usage, NOW).verdict, Verdict::Valid);
        let refused = validate(&encryption, &[], &trust, usage, NOW);
        assert_invalid(&refused, "key_usage_not_permitted");
    }
}

#[test]
fn a_timestamping_key_is_for_that_alone_and_says_so_critically() {
    let email_protection = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4");
    let leaf = |purposes: &[ObjectIdentifier], critical| {
        vec![(oid::EXT_KEY_USAGE, critical, purposes.to_vec().to_der().unwrap())]
    };
    let judge = |extensions| judge_named(Vec::new(), LEAF, extensions, Usage::TimeStamping);
    let good = judge(leaf(&[oid::TIME_STAMPING], true));
    assert_eq!((good.verdict, codes(&good)), (Verdict::Valid, vec!["revocation_not_checked"]));
    for refused in [
        leaf(&[oid::TIME_STAMPING], false),
        leaf(&[oid::TIME_STAMPING, email_protection], true),
        leaf(&[email_protection], true),
        Vec::new(),
    ] {
        assert_invalid(&judge(refused), "key_usage_not_permitted");
    }
}

#[test]
fn a_long_path_of_mixed_keys_holds_and_breaks_at_every_link() {
    let makers: [fn() -> Key; 4] = [|| Key::sm2(30), Key::p256, Key::p384, Key::rsa];
    let root = root();
    let mut authorities: Vec<Authority> = Vec::new();
    for (step, maker) in makers.iter().enumerate() {
        let plan = Plan::authority(&format!("CN=Step {step},C=CN"));
        let issuer = authorities.last().unwrap_or(&root);
        authorities.push(issuer.subordinate(&plan, maker()));
    }
    let leaf = authorities.last().unwrap().issue(&Plan::leaf(LEAF), &Key::sm2(4));
    let mut intermediates: Vec<_> = authorities.iter().map(|a| a.certificate.clone()).collect();
    let judge = |intermediates: &[formats::Certificate]| {
        let trust = TrustStore::new(vec![root.certificate.clone()], intermediates.to_vec(), Vec::new());
        validate(&leaf, &[], &trust, Usage::DocumentSigning, NOW)
    };
    assert_eq!(judge(&intermediates).verdict, Verdict::Valid);
    for link in 0..intermediates.len() {
        let whole = intermediates[link].clone();
        let mut spoiled = whole.der().to_vec();
        *spoiled.last_mut().unwrap() ^= 1;
        intermediates[link] = formats::Certificate::from_der(&spoiled).unwrap();
        assert_eq!(judge(&intermediates).verdict, Verdict::Invalid, "link {link}");
        intermediates[link] = whole;
    }
}

#[test]
fn many_leaves_of_one_issuer_are_judged_alike_with_and_without_tables() {
    let root = root();
    let issuer = root.subordinate(&Plan::authority(ISSUER), Key::sm2(3));
    let trust = TrustStore::new(vec![root.certificate.clone()], vec![issuer.certificate.clone()], Vec::new());
    for serial in 0..60 {
        let leaf = issuer.issue(&Plan { serial, ..Plan::leaf(LEAF) }, &Key::sm2(4));
        let mut spoiled = leaf.der().to_vec();
        *spoiled.last_mut().unwrap() ^= 1;
        let spoiled = formats::Certificate::from_der(&spoiled).unwrap();
        let judge = |leaf| validate(leaf, &[], &trust, Usage::DocumentSigning, NOW);
        assert_eq!(judge(&leaf).verdict, Verdict::Valid);
        assert_invalid(&judge(&spoiled), "issuer_signature_invalid");
    }
    // The issuer's key came often enough to get its table; the root's is not asked again.
    assert_eq!(trust.verifier().tables().0, 1);
}
