//! What must hold for any input: used by the fuzz targets and, over their corpora and at random, by the tests.
#![allow(dead_code)] // each target uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::sync::LazyLock;

use const_oid::ObjectIdentifier;
use formats::chain::{PolicyRequirements, TrustStore, Usage, validate};
use formats::csr::Request;
use formats::describe::describe;
use formats::ocsp::OcspResponse;
use formats::{Certificate, Crl, Verdict, oid};

use crate::pki::{Authority, CrlPlan, Key, NOW, Plan, SIGNER_ID};

struct Site {
    root: Authority,
    leaf: Certificate,
}

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let root = Plan::authority("CN=Root,O=Bureau,C=CN").root(Key::p256());
    let leaf = root.issue(&Plan::leaf("CN=Leaf,O=Bureau,C=CN"), &Key::p256());
    Site { root, leaf }
});

fn site_trust(crls: Vec<Crl>) -> TrustStore {
    TrustStore::new(vec![SITE.root.certificate.clone()], Vec::new(), crls)
}

/// Nobody but the site's own root makes a certificate valid.
pub(crate) fn certificate(input: &[u8]) {
    let Ok(certificate) = Certificate::from_der(input) else { return };
    assert_eq!(certificate.der(), input);
    assert_eq!(Certificate::from_pem(&certificate.to_pem()).as_ref(), Ok(&certificate));
    let _ = (certificate.subject(), certificate.issuer(), certificate.serial_hex(), certificate.not_after());
    let _ = (describe(&certificate), formats::license::face(&certificate));
    let judged =
        validate(&certificate, std::slice::from_ref(&certificate), &site_trust(vec![]), Usage::License, NOW);
    let of_site = certificate == SITE.root.certificate || certificate == SITE.leaf;
    assert!(of_site || judged.verdict != Verdict::Valid, "{judged:?}");
    // As an anchor it is read through, and as an intermediate.
    let own = TrustStore::new(vec![certificate.clone()], vec![certificate.clone()], vec![]);
    for usage in [Usage::DocumentSigning, Usage::License, Usage::TimeStamping] {
        let _ = validate(&certificate, &[], &own, usage, NOW);
        let _ = validate(&SITE.leaf, &[], &own, usage, NOW);
    }
}

/// A CRL that its issuer has not signed revokes nothing.
pub(crate) fn crl(input: &[u8]) {
    let Ok(crl) = Crl::from_der(input) else { return };
    assert_eq!(crl.der(), input);
    let _ = (crl.this_update(), crl.next_update());
    let signed = crl.verify_signature(&SITE.root.key.public()).is_ok();
    let judged = validate(&SITE.leaf, &[], &site_trust(vec![crl]), Usage::DocumentSigning, NOW);
    assert!(signed || judged.verdict != Verdict::Invalid, "{judged:?}");
}

/// A response that nobody entitled has signed decides nothing.
pub(crate) fn ocsp(input: &[u8]) {
    let Ok(response) = OcspResponse::from_der(input) else { return };
    assert_eq!(response.der(), input);
    let _ = (response.nonce(), response.produced_at());
    let signed = response.verify_signature(&SITE.root.key.public()).is_ok();
    let trust = site_trust(vec![]).with_ocsp(vec![response]);
    let judged = validate(&SITE.leaf, &[], &trust, Usage::DocumentSigning, NOW);
    assert!(signed || judged.verdict != Verdict::Invalid, "{judged:?}");
    assert!(signed || judged.verdict == Verdict::Indeterminate || judged.has("revocation_not_checked"));
}

/// What proves possession reads back the same.
pub(crate) fn request(input: &[u8]) {
    let Ok(request) = Request::from_der(input) else { return };
    assert_eq!(request.der(), input);
    assert_eq!(Request::from_pem(&request.to_pem()).as_ref(), Ok(&request));
    let _ = (request.subject(), request.extensions(), request.verify_possession(SIGNER_ID));
}

const EXTENSIONS: [ObjectIdentifier; 16] = [
    oid::KEY_USAGE,
    oid::SUBJECT_ALT_NAME,
    oid::BASIC_CONSTRAINTS,
    oid::NAME_CONSTRAINTS,
    oid::CRL_DISTRIBUTION_POINTS,
    oid::CERTIFICATE_POLICIES,
    oid::POLICY_MAPPINGS,
    oid::POLICY_CONSTRAINTS,
    oid::INHIBIT_ANY_POLICY,
    oid::EXT_KEY_USAGE,
    oid::AUTHORITY_KEY_IDENTIFIER,
    oid::ISSUING_DISTRIBUTION_POINT,
    oid::DELTA_CRL_INDICATOR,
    oid::EXPIRED_CERTS_ON_CRL,
    oid::CRL_REASON,
    oid::INVALIDITY_DATE,
];

/// A path and its CRL with extensions from `input`, well signed, so that all that comes after the signature
/// checks is reached. Items of `input`: place, extension, length, content.
pub(crate) fn path(input: &[u8]) {
    let mut places: [Vec<(ObjectIdentifier, bool, Vec<u8>)>; 4] = Default::default();
    let mut rest = input;
    while let [place, extension, length, tail @ ..] = rest {
        let (content, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        let id = EXTENSIONS[usize::from(*extension) % EXTENSIONS.len()];
        places[usize::from(*place) % 4].push((id, extension & 0x80 != 0, content.to_vec()));
        rest = tail;
    }
    let [of_issuer, of_leaf, of_crl, of_entry] = places;
    let bare = |plan: Plan| Plan { constraints: None, key_usage: None, key_identifiers: false, ..plan };
    let authority = Plan::authority("CN=Issuer,O=Bureau,C=CN");
    let constraints = authority.constraints.clone();
    let issuer =
        SITE.root.subordinate(&Plan { extensions: of_issuer, constraints, ..bare(authority) }, Key::p256());
    let plan = Plan { extensions: of_leaf, ..bare(Plan::leaf("CN=Leaf,O=Bureau,C=CN")) };
    let leaf = issuer.issue(&plan, &SITE.root.key);
    let crl = issuer.crl(&CrlPlan {
        revoked: vec![(plan.serial, NOW - time::Duration::DAY, None)],
        extensions: of_crl,
        entry_extensions: of_entry,
        ..CrlPlan::fresh()
    });
    let policies = PolicyRequirements { explicit: input.len() % 2 == 1, ..PolicyRequirements::default() };
    let trust = TrustStore::new(vec![SITE.root.certificate.clone()], vec![issuer.certificate], vec![crl])
        .with_policies(policies);
    for usage in [Usage::DocumentSigning, Usage::TimeStamping] {
        let _ = validate(&leaf, &[], &trust, usage, NOW);
    }
}
