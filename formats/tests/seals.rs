//! Seals and seal signatures: made, read in three versions, and refused when something is wrong with them.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use crate::pieces;
use crate::pki;
use crate::sealing;

use formats::opened::{Kind, open};
use formats::seal::{
    Holders, Seal, SealPlan, SealSignature, SealSignatureInput, SealSignaturePlan, SealVersion,
    verify_signature,
};
use formats::{Algorithm, Certificate, FormatError, TrustStore, Verdict};
use time::Duration;
use time::macros::datetime;

use crate::pki::{CrlPlan, Key, NOW, Plan, codes};
use crate::sealing::{CONTENT, SIGNED_AT, Shape, Site, extensions, implicit, tagged};

const NOTE: &str = "revocation_not_checked";

/// The codes that say more than that nothing was given to check revocation with.
fn telling(judgement: &formats::Judgement) -> Vec<&'static str> {
    codes(judgement).into_iter().filter(|code| *code != NOTE).collect()
}

#[test]
fn a_seal_and_a_signature_with_it_are_made_and_judged_valid() {
    for algorithm in [Algorithm::Sm2Sm3, Algorithm::EcdsaP256Sha256, Algorithm::RsaPkcs1Sha256] {
        let site = Site::with(algorithm);
        let seal = site.seal();
        assert_eq!(open(seal.der()).kind, Some(Kind::Seal));
        let report = site.judge_seal(seal.der(), NOW);
        assert_eq!((report.judgement.verdict, telling(&report.judgement)), (Verdict::Valid, vec![]));
        let facts = report.facts().unwrap();
        assert_eq!((facts.version, facts.holders), (SealVersion::V4, 1));
        assert_eq!((&*facts.name, facts.picture_size), ("测试市场监督管理局", [42, 42]));
        assert_eq!(facts.maker.as_deref(), Some("CN=Seal maker"));

        let signature = site.sign(site.plan(seal, CONTENT));
        assert_eq!(open(&signature).kind, Some(Kind::Seal));
        let report = site.judge(&signature, CONTENT);
        assert_eq!((report.judgement.verdict, telling(&report.judgement)), (Verdict::Valid, vec![]));
        let signer = report.signer.unwrap();
        assert_eq!((signer.algorithm, signer.signing_time), (Some(algorithm), Some(SIGNED_AT)));
        assert!(signer.checked);
        let read = SealSignature::from_der(&signature).unwrap();
        assert_eq!(read.property_info(), "/Doc_0/Signs/Sign_0/Signature.xml");
    }
}

#[test]
fn all_three_versions_are_read() {
    let site = Site::sm2();
    for (number, version) in [(1, SealVersion::V1), (4, SealVersion::V4), (5, SealVersion::V5)] {
        let shape = Shape::of(number);
        let report = site.judge_seal(&shape.seal(&site), NOW);
        assert_eq!(
            (report.judgement.verdict, telling(&report.judgement)),
            (Verdict::Valid, vec![]),
            "{number}"
        );
        assert_eq!(report.facts().unwrap().version, version);
        let report = site.judge(&shape.signature(&site), CONTENT);
        assert_eq!(
            (report.judgement.verdict, telling(&report.judgement)),
            (Verdict::Valid, vec![]),
            "{number}"
        );
        assert_eq!(report.version, Some(version));
        assert_eq!(report.signer.unwrap().signing_time, Some(SIGNED_AT));
    }
}

#[test]
fn what_makers_write_otherwise_is_read_and_named() {
    let site = Site::sm2();
    let with = |extensions: Vec<u8>| Shape { seal_extensions: extensions, ..Shape::of(4) }.seal(&site);
    let told = |seal: &[u8]| {
        let judgement = site.judge_seal(seal, NOW).judgement;
        assert_eq!(judgement.verdict, Verdict::Valid, "{judgement:?}");
        let tolerated = judgement.findings.iter().filter(|f| f.code == "seal_encoding_tolerated");
        tolerated.map(|finding| finding.detail.clone()).collect::<Vec<_>>()
    };
    assert_eq!(told(&with(tagged(extensions(false)))), [""; 0]);
    assert_eq!(told(&with(extensions(false))), ["untagged_ext_datas"]);
    assert_eq!(told(&with(implicit(extensions(false)))), ["implicit_ext_datas"]);
    let utc = Shape { utc_times: true, ..Shape::of(4) };
    assert_eq!(told(&utc.seal(&site)), ["time_type"]);
    let judged = site.judge(&utc.signature(&site), CONTENT).judgement;
    assert_eq!((judged.verdict, telling(&judged)), (Verdict::Valid, vec!["seal_encoding_tolerated"]));
}

#[test]
fn critical_extensions_are_refused_wherever_they_stand() {
    let site = Site::sm2();
    for wrap in [tagged, implicit, |plain| plain] {
        let shape = Shape { seal_extensions: wrap(extensions(true)), ..Shape::of(4) };
        let judged = site.judge_seal(&shape.seal(&site), NOW).judgement;
        assert_eq!(judged.verdict, Verdict::Invalid);
        assert!(judged.has("unknown_critical_extension"), "{judged:?}");
        let shape = Shape { sign_extensions: wrap(extensions(true)), ..Shape::of(4) };
        let judged = site.judge(&shape.signature(&site), CONTENT).judgement;
        assert!(judged.has("unknown_critical_extension"), "{judged:?}");
    }
}

#[test]
fn a_forged_seal_is_found_although_the_signature_with_it_is_good() {
    let site = Site::sm2();
    // A stranger signs as maker: the certificate is the true maker's, the signature is not.
    let pending = site.seal_plan().prepare().unwrap();
    let stranger = Key::sm2(99).sign(pending.to_be_signed());
    assert_eq!(pending.clone().finish(&stranger).err(), Some(FormatError::SignatureInvalid));
    let good = site.seal();
    let mut forged = good.der().to_vec();
    let place = forged.len() - 3;
    forged[place] ^= 1;
    let forged = Seal::from_der(&forged).unwrap();
    let signature = site.sign(site.plan(forged, CONTENT));
    let judged = site.judge(&signature, CONTENT);
    assert_eq!(judged.judgement.verdict, Verdict::Invalid);
    assert_eq!(telling(&judged.judgement), ["seal_forged"]);
    assert_eq!(telling(&judged.signer.unwrap().judgement), [""; 0]);
}

#[test]
fn a_seal_of_a_maker_nobody_trusts_does_not_count() {
    let site = Site::sm2();
    let other = Site { root: Plan::authority("CN=Other").root(Key::sm2(50)), ..Site::sm2() };
    let maker = other.root.issue(&Plan::leaf("CN=Seal maker"), &other.maker_key);
    let seal = site.make(SealPlan { maker, ..site.seal_plan() });
    let judged = site.judge(&site.sign(site.plan(seal, CONTENT)), CONTENT).judgement;
    assert_eq!((judged.verdict, telling(&judged)), (Verdict::Indeterminate, vec!["no_path"]));
}

#[test]
fn a_seal_that_a_signer_made_for_himself_does_not_count_where_makers_are_named() {
    let site = Site::sm2();
    // An enterprise with an ordinary certificate is maker and holder of a seal in the name of the police.
    let own = SealPlan { name: "某市公安局".to_owned(), maker: site.signer.clone(), ..site.seal_plan() };
    let pending = own.prepare().unwrap();
    let seal = pending.clone().finish(&site.key.sign(pending.to_be_signed())).unwrap();
    let by_itself = site.sign(site.plan(seal, CONTENT));
    let good = site.sign(site.plan(site.seal(), CONTENT));
    let judged = |signature: &[u8], trust: &TrustStore| {
        let protected = Some(formats::cms::Content::Bytes(CONTENT.to_vec()));
        let (signer_id, at) = (pki::SIGNER_ID, NOW);
        let input = SealSignatureInput { signature, protected, signer_id, trust, at };
        let judged = verify_signature(&input).judgement;
        (judged.verdict, telling(&judged))
    };
    let not_trusted = || (Verdict::Indeterminate, vec!["seal_maker_not_trusted"]);
    assert_eq!(judged(&by_itself, &site.trust()), not_trusted());
    assert_eq!(judged(&good, &site.trust()), (Verdict::Valid, vec![]));
    // Nobody's count; by an authority; by certificates that are no authority's, or another's of its name.
    assert_eq!(judged(&good, &site.trust_in(Vec::new())), not_trusted());
    let authority = Plan::authority("CN=Makers").root(Key::sm2(70));
    let impostor = Plan::authority("CN=Makers").root(Key::sm2(71));
    let certified = authority.issue(&Plan { serial: 31, ..Plan::leaf("CN=Seal maker") }, &site.maker_key);
    let seal = site.make(SealPlan { maker: certified.clone(), ..site.seal_plan() });
    let by_certified = site.sign(site.plan(seal, CONTENT));
    let anchors = || vec![site.root.certificate.clone(), authority.certificate.clone()];
    let with = |makers: Vec<Certificate>| {
        TrustStore::new(anchors(), Vec::new(), Vec::new()).with_seal_makers(makers)
    };
    let makers = with(vec![site.maker.clone(), authority.certificate.clone()]);
    assert_eq!(judged(&by_certified, &makers), (Verdict::Valid, vec![]));
    assert_eq!(judged(&good, &makers), (Verdict::Valid, vec![]));
    assert_eq!(judged(&by_itself, &makers), not_trusted());
    let leaf = Plan::leaf("CN=Makers").issue(&authority.key, &authority.key, "CN=Makers");
    for other in [impostor.certificate.clone(), leaf, site.signer.clone()] {
        assert_eq!(judged(&by_certified, &with(vec![other])), not_trusted());
    }
    // Where nobody asks it is said.
    let unasked = TrustStore::new(anchors(), Vec::new(), Vec::new());
    assert_eq!(judged(&by_itself, &unasked), (Verdict::Valid, vec!["seal_maker_not_checked"]));
    assert_ne!(unasked.generation(), unasked.clone().with_seal_makers(Vec::new()).generation());
    assert_ne!(unasked.generation(), unasked.clone().with_seal_makers(vec![certified]).generation());
    // What is brought along with a document leaves the list as it is.
    let more = with(Vec::new()).with_more(vec![site.maker.clone()], Vec::new(), Vec::new());
    assert_eq!(judged(&good, &more), not_trusted());
}

#[test]
fn only_whom_the_seal_lists_may_use_it_by_certificate_and_by_digest() {
    let site = Site::sm2();
    let key = Key::sm2(60);
    let stranger = site.root.issue(&Plan { serial: 77, ..Plan::leaf("CN=Stranger") }, &key);
    for holders in [Holders::Certificates, Holders::Digests] {
        let seal = site.make(SealPlan {
            holders: holders(vec![site.maker.clone(), site.signer.clone()]),
            ..site.seal_plan()
        });
        let signature = site.sign(site.plan(seal.clone(), CONTENT));
        assert_eq!(site.judge(&signature, CONTENT).judgement.verdict, Verdict::Valid);
        let thief = Site { key: Key::sm2(60), signer: stranger.clone(), ..Site::sm2() };
        let signature = thief.sign(thief.plan(seal, CONTENT));
        let judged = site.judge(&signature, CONTENT).judgement;
        assert_eq!((judged.verdict, telling(&judged)), (Verdict::Invalid, vec!["signer_not_in_seal"]));
    }
    // A certificate for the same key, issued anew, is another certificate.
    let renewed = site.root.issue(&Plan { serial: 78, ..Plan::leaf("CN=Signer") }, &site.key);
    let renewed = Site { signer: renewed, ..Site::sm2() };
    let signature = renewed.sign(renewed.plan(site.seal(), CONTENT));
    assert!(site.judge(&signature, CONTENT).judgement.has("signer_not_in_seal"));
}

#[test]
fn an_expired_seal_and_one_not_yet_valid_are_refused() {
    let site = Site::sm2();
    let with = |from, until| {
        let plan = SealPlan { valid_from: from, valid_until: until, ..site.seal_plan() };
        site.sign(site.plan(site.make(plan), CONTENT))
    };
    let expired = with(datetime!(2026-01-01 0:00 UTC), datetime!(2026-05-31 23:59:59 UTC));
    let judged = site.judge(&expired, CONTENT).judgement;
    assert_eq!((judged.verdict, telling(&judged)), (Verdict::Invalid, vec!["seal_expired"]));
    // The whole last second is valid, and not a moment more.
    let last = datetime!(2026-05-31 23:59:59.999 UTC);
    assert_eq!(site.judge_at(&expired, Some(CONTENT), last).judgement.verdict, Verdict::Valid);
    let judged = site.judge_at(&expired, Some(CONTENT), last + Duration::MILLISECOND).judgement;
    assert_eq!(telling(&judged), ["seal_expired"]);

    let early = with(datetime!(2026-05-25 0:00 UTC), datetime!(2027-01-01 0:00 UTC));
    let judged = site.judge(&early, CONTENT).judgement;
    assert_eq!((judged.verdict, telling(&judged)), (Verdict::Invalid, vec!["signed_outside_seal_validity"]));
    let judged = site.judge_at(&early, Some(CONTENT), datetime!(2026-05-22 0:00 UTC)).judgement;
    assert_eq!(telling(&judged), ["seal_not_yet_valid", "signed_outside_seal_validity"]);
}

#[test]
fn times_that_cannot_be_are_refused() {
    let site = Site::sm2();
    let at = |signed_at| {
        let plan = SealSignaturePlan { signed_at, ..site.plan(site.seal(), CONTENT) };
        telling(&site.judge(&site.sign(plan), CONTENT).judgement)
    };
    assert_eq!(at(NOW + Duration::hours(1)), ["signing_time_in_future"]);
    assert_eq!(at(NOW + Duration::minutes(4)), [""; 0]);
    let late = Plan { not_before: datetime!(2026-05-25 0:00 UTC), ..Plan::leaf("CN=Signer") };
    let late = Site { signer: site.root.issue(&late, &site.key), ..Site::sm2() };
    let signature = late.sign(late.plan(late.seal(), CONTENT));
    let judged = late.judge(&signature, CONTENT).judgement;
    assert_eq!(
        (judged.verdict, telling(&judged)),
        (Verdict::Invalid, vec!["signed_outside_certificate_validity"])
    );
}

#[test]
fn other_content_an_altered_signature_and_absent_content_are_told_apart() {
    let site = Site::sm2();
    let signature = site.sign(site.plan(site.seal(), CONTENT));
    assert_eq!(telling(&site.judge(&signature, b"other").judgement), ["digest_mismatch"]);
    let absent = site.judge_at(&signature, None, NOW).judgement;
    assert_eq!((absent.verdict, telling(&absent)), (Verdict::Indeterminate, vec!["content_absent"]));
    let mut altered = signature.clone();
    let place = altered.len() - 3;
    altered[place] ^= 1;
    assert_eq!(telling(&site.judge(&altered, CONTENT).judgement), ["signature_invalid"]);
}

#[test]
fn a_revoked_signer_or_maker_and_one_for_encryption_only_are_refused() {
    let site = Site::sm2();
    let signature = site.sign(site.plan(site.seal(), CONTENT));
    for serial in [31, 32] {
        let revoked = vec![(serial, datetime!(2026-05-01 0:00 UTC), None)];
        let crl = site.root.crl(&CrlPlan { revoked, ..CrlPlan::fresh() });
        let trust = site.trust().with_crls(vec![crl]);
        let judged = verify_signature(&SealSignatureInput {
            signature: &signature,
            protected: Some(formats::cms::Content::Bytes(CONTENT.to_vec())),
            signer_id: pki::SIGNER_ID,
            trust: &trust,
            at: NOW,
        });
        assert_eq!((judged.judgement.verdict, codes(&judged.judgement)), (Verdict::Invalid, vec!["revoked"]));
    }
    let usage = Some(x509_cert::ext::pkix::KeyUsages::KeyEncipherment.into());
    let plan = Plan { key_usage: usage, ..Plan::leaf("CN=Signer") };
    let encryption = Site { signer: site.root.issue(&plan, &site.key), ..Site::sm2() };
    assert!(matches!(encryption.plan(encryption.seal(), CONTENT).prepare(), Err(FormatError::Plan(_))));
    let signature = Shape::of(4).signature(&encryption);
    assert_eq!(telling(&site.judge(&signature, CONTENT).judgement), ["key_usage_not_permitted"]);
}

#[test]
fn a_bad_timestamp_spoils_the_signature() {
    let site = Site::sm2();
    for (shape, told) in [
        (Shape { timestamp: tagged(sealing::bits(b"no token")), ..Shape::of(4) }, vec!["timestamp_invalid"]),
        (
            Shape { timestamp: tagged(pieces::octets(b"no token")), ..Shape::of(5) },
            vec!["timestamp_invalid", "seal_encoding_tolerated"],
        ),
        (
            Shape { seal_timestamp: tagged(sealing::bits(b"no token")), ..Shape::of(5) },
            vec!["timestamp_invalid"],
        ),
    ] {
        let judged = site.judge(&shape.signature(&site), CONTENT).judgement;
        assert_eq!((judged.verdict, telling(&judged)), (Verdict::Invalid, told));
    }
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let site = Site::sm2();
    let refused = |plan: SealPlan| matches!(plan.prepare(), Err(FormatError::Plan(_)));
    let plan = || site.seal_plan();
    assert!(refused(SealPlan { holders: Holders::Digests(vec![]), ..plan() }));
    assert!(refused(SealPlan { id: "编号".to_owned(), ..plan() }));
    assert!(refused(SealPlan { valid_until: datetime!(2025-01-01 0:00 UTC), ..plan() }));
    let mut empty = plan();
    empty.picture.octets.clear();
    assert!(refused(empty));
    let p256 = SealPlan { algorithm: Algorithm::EcdsaP256Sha256, ..plan() };
    assert!(matches!(p256.prepare(), Err(FormatError::AlgorithmMismatch { .. })));
}

#[test]
fn every_octet_of_a_seal_signature_counts() {
    let site = Site::sm2();
    let signature = site.sign(site.plan(site.seal(), CONTENT));
    for place in 0..signature.len() {
        let mut altered = signature.clone();
        altered[place] ^= 0x01;
        let judged = site.judge(&altered, CONTENT).judgement;
        assert_ne!(judged.verdict, Verdict::Valid, "octet {place}: {judged:?}");
    }
    for length in 0..signature.len() {
        assert!(SealSignature::from_der(&signature[..length]).is_err());
    }
    let longer = [&signature[..], &[0]].concat();
    assert!(SealSignature::from_der(&longer).is_err());
}

#[test]
fn a_timestamp_proves_that_a_signature_is_older_than_what_has_expired() {
    // The signer's certificate and the seal both ran out between the signature and the judgement.
    let site = Site::sm2();
    let short = Plan { serial: 33, not_after: datetime!(2026-05-25 0:00 UTC), ..Plan::leaf("CN=Signer") };
    let site = Site { signer: site.root.issue(&short, &site.key), ..site };
    let plan = SealPlan { valid_until: datetime!(2026-05-26 0:00 UTC), ..site.seal_plan() };
    let pending = site.plan(site.make(plan), CONTENT).prepare().unwrap();
    let value = site.key.sign(pending.to_be_signed());
    let with = |token: Option<Vec<u8>>| {
        let signature = pending.clone().finish(&value, token.as_deref()).unwrap();
        let report = site.judge(&signature, CONTENT);
        (report.judgement.verdict, telling(&report.judgement), report.judged_at)
    };
    assert_eq!(with(None), (Verdict::Invalid, vec!["seal_expired", "expired"], NOW));
    let time = "20260520080100Z";
    let proved = with(Some(sealing::token(&site, &value, time)));
    assert_eq!(proved, (Verdict::Valid, vec![], SIGNED_AT + Duration::MINUTE));
    // Over something else, after everything ran out, or of an authority that nobody trusts, it proves nothing.
    let other = with(Some(sealing::token(&site, b"other", time)));
    assert_eq!(other, (Verdict::Invalid, vec!["seal_expired", "expired", "timestamp_invalid"], NOW));
    let late = with(Some(sealing::token(&site, &value, "20260528080100Z")));
    assert_eq!((late.0, &*late.1), (Verdict::Invalid, &["seal_expired", "expired"][..]));
    let foreign = Site { root: Plan::authority("CN=Foreign").root(Key::sm2(50)), ..Site::sm2() };
    let foreign = with(Some(sealing::token(&foreign, &value, time)));
    assert_eq!(foreign, (Verdict::Invalid, vec!["seal_expired", "expired", "timestamp_indeterminate"], NOW));
}
