//! SignedData that is built here verifies here, and is what was planned.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use der::{Decode, Encode};
use formats::cms::{
    Content, Family, SignedDataPlan, SignedDataReport, VerifyInput, attributes_over, prepare, verify,
};
use formats::scheme::{HashAlgorithm, SignatureScheme};
use formats::{Algorithm, Certificate, FormatError, TrustStore, Verdict, oid};
use pki::{Authority, Key, NOW, Plan, SIGNER_ID, codes};
use time::macros::datetime;
use x509_cert::ext::pkix::KeyUsages;

const CONTENT: &[u8] = "准予变更登记通知书".as_bytes();

struct Site {
    root: Authority,
    key: Key,
    certificate: Certificate,
}

impl Site {
    fn new(algorithm: Algorithm) -> Self {
        let root = Plan::authority("CN=Root,C=CN").root(Key::sm2(1));
        let key = Key::for_algorithm(algorithm);
        let certificate = root.issue(&Plan::leaf("CN=Signer,C=CN"), &key);
        Self { root, key, certificate }
    }

    fn plan(&self, family: Family, algorithm: Algorithm, content: Content, detached: bool) -> SignedDataPlan {
        SignedDataPlan {
            family,
            algorithm,
            content,
            detached,
            chain: vec![self.certificate.clone(), self.root.certificate.clone()],
            signing_time: Some(datetime!(2026-05-31 9:30:15.5 UTC)),
            signer_id: SIGNER_ID.to_vec(),
        }
    }

    fn sign(&self, plan: SignedDataPlan) -> Vec<u8> {
        let algorithm = plan.algorithm;
        let pending = prepare(plan).unwrap();
        let signature = self.key.sign_with(algorithm.into(), pending.to_be_signed());
        pending.finish(&signature).unwrap()
    }

    fn verify(&self, cms: &[u8], content: Option<Content>) -> SignedDataReport {
        let trust = TrustStore::new(vec![self.root.certificate.clone()], Vec::new(), Vec::new());
        verify(VerifyInput { cms, content, signer_id: SIGNER_ID, trust: &trust, at: NOW })
    }
}

fn digest(algorithm: Algorithm) -> [u8; 32] {
    SignatureScheme::from(algorithm).hash().digest(CONTENT).try_into().unwrap()
}

fn every_kind() -> impl Iterator<Item = (Algorithm, Family)> {
    Algorithm::ALL
        .into_iter()
        .flat_map(|algorithm| [Family::Rfc5652, Family::Gbt35275].map(|family| (algorithm, family)))
}

#[test]
fn attached_content_comes_back_verified() {
    for (algorithm, family) in every_kind() {
        let site = Site::new(algorithm);
        let cms = site.sign(site.plan(family, algorithm, Content::Bytes(CONTENT.to_vec()), false));
        let report = site.verify(&cms, None);
        assert_eq!(report.judgement.verdict, Verdict::Valid, "{algorithm} {family:?} {report:?}");
        assert_eq!(codes(&report.judgement), ["revocation_not_checked"]);
        assert_eq!(report.family, Some(family));
        assert_eq!(report.content.as_deref(), Some(CONTENT));

        let [signer] = &report.signers[..] else { panic!("one signer") };
        assert_eq!(signer.algorithm, Some(algorithm));
        assert_eq!(signer.signing_time, Some(datetime!(2026-05-31 9:30:15 UTC)));
        assert_eq!(signer.subject.as_deref(), Some("CN=Signer,C=CN"));
        assert_eq!(signer.issuer.as_deref(), Some("CN=Root,C=CN"));
        assert_eq!(signer.serial.as_deref(), Some("1267"));
        assert_eq!(signer.certificate.as_ref(), Some(&site.certificate));
    }
}

#[test]
fn detached_content_is_judged_by_its_bytes_or_its_digest() {
    for (algorithm, family) in every_kind() {
        let site = Site::new(algorithm);
        for signed in [Content::Bytes(CONTENT.to_vec()), Content::Digest(digest(algorithm))] {
            let cms = site.sign(site.plan(family, algorithm, signed, true));
            for given in [Content::Bytes(CONTENT.to_vec()), Content::Digest(digest(algorithm))] {
                let report = site.verify(&cms, Some(given));
                assert_eq!(report.judgement.verdict, Verdict::Valid, "{algorithm} {family:?} {report:?}");
                assert_eq!(report.content, None);
            }
            for wrong in [Content::Bytes(b"other".to_vec()), Content::Digest([7; 32])] {
                let report = site.verify(&cms, Some(wrong));
                assert_eq!(report.judgement.verdict, Verdict::Invalid);
                assert!(report.judgement.has("digest_mismatch"), "{report:?}");
            }
            let report = site.verify(&cms, None);
            assert_eq!(report.judgement.verdict, Verdict::Indeterminate);
            assert!(report.judgement.has("content_absent"), "{report:?}");
        }
    }
}

#[test]
fn content_given_beside_attached_content_must_be_the_same() {
    let site = Site::new(Algorithm::Sm2Sm3);
    let plan = site.plan(Family::Gbt35275, Algorithm::Sm2Sm3, Content::Bytes(CONTENT.to_vec()), false);
    let cms = site.sign(plan);
    assert_eq!(site.verify(&cms, Some(Content::Bytes(CONTENT.to_vec()))).judgement.verdict, Verdict::Valid);
    let report = site.verify(&cms, Some(Content::Bytes(b"other".to_vec())));
    assert!(report.judgement.has("digest_mismatch"));
    assert_eq!(report.content, None);
}

#[test]
fn the_digest_is_what_the_message_hashes_to() {
    for (algorithm, family) in every_kind() {
        let site = Site::new(algorithm);
        let pending = prepare(site.plan(family, algorithm, Content::Digest([1; 32]), true)).unwrap();
        let public = site.key.public();
        assert_eq!(pending.digest(), public.digest(algorithm, SIGNER_ID, pending.to_be_signed()).unwrap());
        assert_eq!(pending.to_be_signed()[0], 0x31, "a SET OF, not the [0] it is carried as");
    }
}

#[test]
fn a_wrong_signature_never_leaves() {
    for (algorithm, family) in every_kind() {
        let site = Site::new(algorithm);
        let plan = site.plan(family, algorithm, Content::Bytes(CONTENT.to_vec()), true);
        let pending = prepare(plan).unwrap();
        let over_something_else = site.key.sign_with(algorithm.into(), b"something else");
        assert_eq!(pending.clone().finish(&over_something_else), Err(FormatError::SignatureInvalid));
        assert_eq!(pending.clone().finish(&[]), Err(FormatError::SignatureInvalid));
        let mut trailing = site.key.sign_with(algorithm.into(), pending.to_be_signed());
        trailing.push(0);
        assert_eq!(pending.finish(&trailing), Err(FormatError::SignatureInvalid));
    }
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let site = Site::new(Algorithm::Sm2Sm3);
    let plan = || site.plan(Family::Rfc5652, Algorithm::Sm2Sm3, Content::Digest([1; 32]), true);
    let error = |plan| prepare(plan).unwrap_err();
    assert!(matches!(error(SignedDataPlan { detached: false, ..plan() }), FormatError::Plan(_)));
    assert!(matches!(error(SignedDataPlan { chain: vec![], ..plan() }), FormatError::Plan(_)));
    let signing_time = Some(datetime!(1969-12-31 23:59:59 UTC));
    assert!(matches!(error(SignedDataPlan { signing_time, ..plan() }), FormatError::Plan(_)));
    let algorithm = Algorithm::EcdsaP256Sha256;
    let mismatch = error(SignedDataPlan { algorithm, ..plan() });
    assert!(matches!(mismatch, FormatError::AlgorithmMismatch { .. }), "{mismatch}");
    let signer_id = vec![0; 8192];
    assert_eq!(error(SignedDataPlan { signer_id, ..plan() }), FormatError::SignerIdLength(8192));

    let encryption = Plan { key_usage: Some(KeyUsages::KeyEncipherment.into()), ..Plan::leaf("CN=Signer") };
    let chain = vec![site.root.issue(&encryption, &site.key)];
    assert!(matches!(error(SignedDataPlan { chain, ..plan() }), FormatError::Plan(_)));
}

/// Who has a license on a phone signs what is known before it is known who signs.
#[test]
fn what_is_signed_of_a_digest_without_a_time_depends_on_the_digest_alone() {
    let digest = digest(Algorithm::Sm2Sm3);
    let attributes = attributes_over(&digest).unwrap();
    assert!(attributes.ends_with(&digest) && attributes.len() == 78, "{attributes:02x?}");
    let site = Site::new(Algorithm::Sm2Sm3);
    let content = Content::Digest(digest);
    let plan = site.plan(Family::Gbt35275, Algorithm::Sm2Sm3, content, true);
    let pending = prepare(SignedDataPlan { signing_time: None, ..plan }).unwrap();
    assert_eq!(pending.to_be_signed(), attributes);
    let cms = pending.finish(&site.key.sign_with(Algorithm::Sm2Sm3.into(), &attributes)).unwrap();
    let report = site.verify(&cms, Some(Content::Bytes(CONTENT.to_vec())));
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:?}");
}

#[test]
fn signing_times_after_2049_are_written_too() {
    let site = Site::new(Algorithm::Sm2Sm3);
    let plan = site.plan(Family::Rfc5652, Algorithm::Sm2Sm3, Content::Bytes(CONTENT.to_vec()), false);
    let signing_time = Some(datetime!(2050-01-01 0:00 UTC));
    let report = site.verify(&site.sign(SignedDataPlan { signing_time, ..plan }), None);
    assert_eq!(report.judgement.verdict, Verdict::Valid);
    assert_eq!(report.signers[0].signing_time, signing_time);
}

#[test]
fn another_signer_identifier_fails_sm2_and_is_nothing_to_others() {
    for algorithm in Algorithm::ALL {
        let site = Site::new(algorithm);
        let cms = site.sign(site.plan(Family::Rfc5652, algorithm, Content::Bytes(CONTENT.to_vec()), false));
        let trust = TrustStore::new(vec![site.root.certificate.clone()], Vec::new(), Vec::new());
        let input = VerifyInput { cms: &cms, content: None, signer_id: b"other", trust: &trust, at: NOW };
        let judgement = verify(input).judgement;
        assert_eq!(judgement.has("signature_invalid"), algorithm == Algorithm::Sm2Sm3, "{judgement:?}");
    }
}

/// A third party's parser, strict about DER, sees what the standards ask for.
#[test]
fn the_structure_is_that_of_the_standards() {
    for (algorithm, family) in every_kind() {
        let site = Site::new(algorithm);
        let cms = site.sign(site.plan(family, algorithm, Content::Bytes(CONTENT.to_vec()), false));
        let info = ContentInfo::from_der(&cms).unwrap();
        assert_eq!(info.to_der().unwrap(), cms);
        let signed_data: SignedData = info.content.decode_as().unwrap();
        let gm = family == Family::Gbt35275;
        assert_eq!(info.content_type, if gm { oid::GM_SIGNED_DATA } else { oid::CMS_SIGNED_DATA });
        let data = signed_data.encap_content_info;
        assert_eq!(data.econtent_type, if gm { oid::GM_DATA } else { oid::CMS_DATA });
        assert_eq!(data.econtent.unwrap().value(), CONTENT);
        assert_eq!(signed_data.version as u8, 1);
        assert_eq!(signed_data.certificates.unwrap().0.len(), 2);

        let sm2 = algorithm == Algorithm::Sm2Sm3;
        let hash = if sm2 { HashAlgorithm::Sm3 } else { HashAlgorithm::Sha256 };
        assert_eq!(signed_data.digest_algorithms.get(0).unwrap().oid, hash.oid());
        let signer = signed_data.signer_infos.0.get(0).unwrap();
        assert_eq!(signer.version as u8, 1);
        assert_eq!(signer.digest_alg.oid, hash.oid());
        let expected = match algorithm {
            Algorithm::Sm2Sm3 if gm => oid::SM2_SIGN,
            Algorithm::Sm2Sm3 => oid::SM2_WITH_SM3,
            Algorithm::EcdsaP256Sha256 => oid::ECDSA_WITH_SHA256,
            Algorithm::RsaPkcs1Sha256 => oid::RSA_ENCRYPTION,
            Algorithm::RsaPssSha256 => oid::RSASSA_PSS,
        };
        assert_eq!(signer.signature_algorithm.oid, expected);
        let mut attributes: Vec<_> =
            signer.signed_attrs.as_ref().unwrap().iter().map(|attribute| attribute.oid).collect();
        let mut wanted = vec![oid::CONTENT_TYPE, oid::MESSAGE_DIGEST, oid::SIGNING_TIME];
        wanted.extend((!gm).then_some(oid::SIGNING_CERTIFICATE_V2));
        attributes.sort();
        wanted.sort();
        assert_eq!(attributes, wanted);
    }
}
