//! Time in signed PDFs: document timestamps, timestamps over a signature, and the validation data that comes along.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pdf;
use crate::pieces;
use crate::pki;
use crate::signed;

use const_oid::ObjectIdentifier;
use der::{Encode, Tag};
use formats::pdf::PdfSignatureKind;
use formats::scheme::HashAlgorithm;
use formats::{Algorithm, Certificate, TrustStore, Verdict, oid};
use pdf::{Maker, ROOT, base, fill, placeholder};
use pieces::{Pieces, Signer, algorithm, attribute, element, octets, sequence};
use pki::{Authority, CrlPlan, Key, NOW, Plan};
use signed::{Signatory, judge_at};
use time::OffsetDateTime;
use time::macros::datetime;

/// The signer's certificate ends with 2026, the authority's goes on.
const LATER: OffsetDateTime = datetime!(2027-03-01 12:00 UTC);

struct Site {
    by: Signatory,
    authority: Signer,
}

fn site() -> Site {
    let mut by = Signatory::p256();
    let plan = Plan { not_after: datetime!(2026-12-31 23:59:59 UTC), ..Plan::leaf("CN=Signer,C=CN") };
    by.certificate = by.root.issue(&plan, &by.key);
    let key = Key::sm2(9);
    let mut plan = Plan { serial: 4712, ..Plan::leaf("CN=TSA") };
    let purposes = sequence(&[oid::TIME_STAMPING.to_der().unwrap()]);
    plan.extensions.push((oid::EXT_KEY_USAGE, true, purposes));
    let certificate = by.root.issue(&plan, &key);
    let root = Authority { certificate: by.root.certificate.clone(), key: Key::sm2(1) };
    Site { by, authority: Signer { root, key, certificate } }
}

/// A token over `content`, made at `time`.
fn token(authority: &Signer, content: &[u8], time: &str) -> Vec<u8> {
    let info = sequence(&[
        1u8.to_der().unwrap(),
        ObjectIdentifier::new_unwrap("1.2.3.4").to_der().unwrap(),
        sequence(&[algorithm(oid::SHA256), octets(&HashAlgorithm::Sha256.digest(content))]),
        vec![0x02, 0x01, 0x07],
        element(Tag::GeneralizedTime, &[time.as_bytes().to_vec()]),
    ]);
    let named = octets(&HashAlgorithm::Sm3.digest(authority.certificate.der()));
    let named = sequence(&[sequence(&[sequence(&[algorithm(oid::SM3), named])])]);
    let pieces = Pieces {
        signed_data: oid::CMS_SIGNED_DATA,
        content_type: oid::TST_INFO,
        content: Some(info.clone()),
        attributes: Some(vec![
            attribute(oid::CONTENT_TYPE, &[oid::TST_INFO.to_der().unwrap()]),
            attribute(oid::MESSAGE_DIGEST, &[octets(&HashAlgorithm::Sm3.digest(&info))]),
            attribute(oid::SIGNING_CERTIFICATE_V2, &[named]),
        ]),
        ..Pieces::of(authority)
    };
    pieces.build(authority)
}

/// Timestamps are not seen: what nobody signed is to show nothing.
const NOWHERE: &str = "/Rect [0 0 0 0]";

fn stamp(site: &Site, document: &[u8], number: u32, fields: &[u32], time: &str) -> Vec<u8> {
    stamp_at(NOWHERE, site, document, number, fields, time)
}

fn stamp_at(place: &str, site: &Site, document: &[u8], number: u32, fields: &[u32], time: &str) -> Vec<u8> {
    let form = "/SubFilter /ETSI.RFC3161";
    let prepared = placeholder(Maker::update(document), number, fields, form, place).table(ROOT);
    fill(prepared, |content| token(&site.authority, content, time))
}

#[test]
fn a_document_timestamp_proves_when_the_signature_before_it_existed() {
    let site = site();
    let one = site.by.sign(&base().table(ROOT), 30, &[30]);
    assert_eq!(judge_at(&one, &site.by.trust(), NOW).judgement.verdict, Verdict::Valid);
    let expired = judge_at(&one, &site.by.trust(), LATER);
    assert!(expired.judgement.has("expired"), "{expired:#?}");

    let stamped = stamp(&site, &one, 40, &[30, 40], "20260601100000Z");
    let report = judge_at(&stamped, &site.by.trust(), LATER);
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
    let [signature, stamp_of_it] = &report.signatures[..] else { panic!("{report:#?}") };
    assert_eq!(signature.proven_at, Some(datetime!(2026-06-01 10:00 UTC)));
    assert_eq!(stamp_of_it.kind, PdfSignatureKind::DocumentTimestamp);
    assert_eq!(stamp_of_it.timestamp.as_ref().unwrap().time, datetime!(2026-06-01 10:00 UTC));
    assert!(signature.changes.iter().all(|change| change.permitted && change.code == "timestamp_added"));

    // One that came too late proves nothing that helps.
    let late = stamp(&site, &one, 40, &[30, 40], "20270201100000Z");
    let report = judge_at(&late, &site.by.trust(), LATER);
    assert!(report.signatures[0].judgement.has("expired"), "{report:#?}");
    // Nor does one by somebody that nobody trusts, or over something else.
    let stranger = Site { authority: Signer::sm2(), ..site };
    let other = super_stamp(&stranger, &one);
    assert!(judge_at(&other, &stranger.by.trust(), LATER).signatures[0].judgement.has("expired"));
}

fn super_stamp(site: &Site, document: &[u8]) -> Vec<u8> {
    stamp(site, document, 40, &[30, 40], "20260601100000Z")
}

#[test]
fn a_timestamp_that_was_altered_or_is_over_something_else_is_invalid() {
    let site = site();
    let one = site.by.sign(&base().table(ROOT), 30, &[30]);
    let prepared =
        placeholder(Maker::update(&one), 40, &[30, 40], "/SubFilter /ETSI.RFC3161", "").table(ROOT);
    let other = fill(prepared, |_| token(&site.authority, b"something else", "20260601100000Z"));
    let report = judge_at(&other, &site.by.trust(), NOW);
    assert!(report.signatures[1].judgement.has("digest_mismatch"), "{report:#?}");
    let prepared =
        placeholder(Maker::update(&one), 40, &[30, 40], "/SubFilter /ETSI.RFC3161", "").table(ROOT);
    let cms = fill(prepared, |content| site.by.cms(content));
    let report = judge_at(&cms, &site.by.trust(), NOW);
    assert_eq!(report.signatures[1].judgement.verdict, Verdict::Invalid);
}

#[test]
fn a_document_that_permits_no_changes_may_be_stamped_all_the_same() {
    let site = site();
    let certified = "/Reference [ << /TransformMethod /DocMDP /TransformParams << /P 1 >> >> ]";
    let first = base().table(ROOT);
    let one = site.by.fill(placeholder(Maker::update(&first), 30, &[30], certified, "").table(ROOT));
    // A visible timestamp field could show anything, whether the document is certified or not; without a rectangle it
    // shows nothing.
    let seen = "/Rect [0 0 595 842]";
    for document in [&one, &site.by.sign(&first, 30, &[30])] {
        let visible = stamp_at(seen, &site, document, 40, &[30, 40], "20260601100000Z");
        assert!(judge_at(&visible, &site.by.trust(), NOW).signatures[0].judgement.has("field_added"));
    }
    let invisible = stamp(&site, &one, 40, &[30, 40], "20260601100000Z");
    let report = judge_at(&invisible, &site.by.trust(), NOW);
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
    assert_eq!(report.signatures[0].certification, Some(1));
}

#[test]
fn a_timestamp_over_the_signature_proves_when_it_existed() {
    let site = site();
    let signer = Signer {
        root: Authority { certificate: site.by.root.certificate.clone(), key: Key::sm2(1) },
        key: Key::sm2(5),
        certificate: site.by.root.issue(
            &Plan { not_after: datetime!(2026-12-31 23:59:59 UTC), ..Plan::leaf("CN=SM2 signer") },
            &Key::sm2(5),
        ),
    };
    let authority = |key| Signer {
        root: Authority { certificate: site.by.root.certificate.clone(), key: Key::sm2(1) },
        key,
        certificate: site.authority.certificate.clone(),
    };
    let signed = |stamper: Option<Signer>, time: &'static str| {
        let form = "/SubFilter /adbe.pkcs7.detached";
        let prepared = placeholder(Maker::update(&base().table(ROOT)), 30, &[30], form, "").table(ROOT);
        fill(prepared, |content| {
            let mut pieces = Pieces {
                content: None,
                attributes: Some(vec![
                    attribute(oid::CONTENT_TYPE, &[oid::GM_DATA.to_der().unwrap()]),
                    attribute(oid::MESSAGE_DIGEST, &[octets(&HashAlgorithm::Sm3.digest(content))]),
                ]),
                ..Pieces::of(&signer)
            };
            if let Some(stamper) = stamper {
                pieces.unsigned.push(Box::new(move |signature| {
                    attribute(oid::SIGNATURE_TIMESTAMP, &[token(&stamper, signature, time)])
                }));
            }
            pieces.build(&signer)
        })
    };
    let bare = judge_at(&signed(None, ""), &site.by.trust(), LATER);
    assert!(bare.judgement.has("expired"), "{bare:#?}");
    let report = judge_at(&signed(Some(authority(Key::sm2(9))), "20260601100000Z"), &site.by.trust(), LATER);
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
    let [signature] = &report.signatures[..] else { panic!("{report:#?}") };
    assert_eq!(signature.proven_at, Some(datetime!(2026-06-01 10:00 UTC)));
    assert_eq!(signature.signers[0].timestamps.len(), 1);
    assert_eq!(signature.signers[0].algorithm, Some(Algorithm::Sm2Sm3));
    // The right name with another key.
    let forged = judge_at(&signed(Some(authority(Key::sm2(8))), "20260601100000Z"), &site.by.trust(), LATER);
    assert!(forged.judgement.has("expired") && forged.judgement.has("timestamp_invalid"), "{forged:#?}");
}

/// An update with a DSS of these certificates and CRLs.
fn with_dss(document: &[u8], certificates: &[&Certificate], crls: &[Vec<u8>]) -> Vec<u8> {
    let mut maker = Maker::update(document);
    let list = |from: u32, count: usize| {
        (0..count as u32).map(|index| format!("{} 0 R ", from + index)).collect::<String>()
    };
    let dss =
        format!("/DSS << /Certs [{}] /CRLs [{}] >>", list(200, certificates.len()), list(300, crls.len()));
    for (number, certificate) in (200..).zip(certificates) {
        maker = maker.stream(number, "", certificate.der());
    }
    for (number, crl) in (300..).zip(crls) {
        maker = maker.stream(number, "", crl);
    }
    let catalog = format!("<< /Type /Catalog /Pages 2 0 R /AcroForm 20 0 R {dss} >>");
    maker.object(1, catalog).table(ROOT)
}

#[test]
fn certificates_and_lists_that_come_along_are_used_and_nothing_else_of_them_believed() {
    let mut by = Signatory::p256();
    let root = Plan::authority("CN=Root,C=CN").root(Key::p256());
    let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), Vec::new());
    by.root = root.subordinate(&Plan::authority("CN=Sub,C=CN"), Key::p256());
    by.certificate = by.root.issue(&Plan::leaf("CN=Signer,C=CN"), &by.key);
    let one = by.sign(&base().table(ROOT), 30, &[30]);
    let bare = judge_at(&one, &trust, NOW);
    assert_eq!(bare.judgement.verdict, Verdict::Indeterminate);
    assert!(bare.judgement.has("no_path"), "{bare:#?}");

    let sub = by.root.certificate.clone();
    let report = judge_at(&with_dss(&one, &[&sub], &[]), &trust, NOW);
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:#?}");
    assert!(report.signatures[0].changes.iter().any(|change| change.code == "validation_data_added"));

    let revoked = CrlPlan { revoked: vec![(4711, datetime!(2026-05-01 0:00 UTC), None)], ..CrlPlan::fresh() };
    let lists = [by.root.crl(&revoked).der().to_vec()];
    let report = judge_at(&with_dss(&one, &[&sub], &lists), &trust, NOW);
    assert!(report.judgement.has("revoked"), "{report:#?}");

    // A root that comes along is trusted by nobody, and nonsense is passed over.
    let nobody = TrustStore::default();
    let report = judge_at(&with_dss(&one, &[&sub, &root.certificate], &[]), &nobody, NOW);
    assert_eq!(report.judgement.verdict, Verdict::Indeterminate);
    let report = judge_at(&with_dss(&one, &[&sub], &[b"nonsense".to_vec()]), &trust, NOW);
    assert_eq!(report.judgement.verdict, Verdict::Valid);
    assert!(report.judgement.has("validation_data_unreadable"));
}
