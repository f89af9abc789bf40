//! What a timestamp authority reads and writes, held against our own judgement and OpenSSL's.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use const_oid::ObjectIdentifier;
use der::Encode;
use der::asn1::SequenceOf;
use formats::cms::{Content, Family};
use formats::scheme::HashAlgorithm;
use formats::tsp::{
    Failure, Imprint, MAX_REQUEST, Nonce, TimestampRequest, TokenInput, TokenPlan, TokenReport, answer,
    granted, prepare, rejected, verify, verify_digest,
};
use formats::{Algorithm, Certificate, TrustStore, Verdict, oid};
use pki::{Authority, Key, NOW, Plan, SIGNER_ID, codes};
use time::macros::datetime;

const POLICY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.3.4.1");
const DATA: &[u8] = b"what is stamped";

struct Tsa {
    root: Authority,
    key: Key,
    chain: Vec<Certificate>,
    algorithm: Algorithm,
    family: Family,
}

fn tsa(algorithm: Algorithm, family: Family) -> Tsa {
    tsa_for(algorithm, family, oid::TIME_STAMPING)
}

fn tsa_for(algorithm: Algorithm, family: Family, purpose: ObjectIdentifier) -> Tsa {
    let root = Plan::authority("CN=Root").root(Key::for_algorithm(algorithm));
    let key = Key::for_algorithm(algorithm);
    let mut purposes = SequenceOf::<ObjectIdentifier, 1>::new();
    purposes.add(purpose).unwrap();
    let mut plan = Plan::leaf("CN=TSA");
    plan.extensions.push((oid::EXT_KEY_USAGE, true, purposes.to_der().unwrap()));
    let chain = vec![root.issue(&plan, &key), root.certificate.clone()];
    Tsa { root, key, chain, algorithm, family }
}

impl Tsa {
    fn plan<'a>(&'a self, request: &'a TimestampRequest) -> TokenPlan<'a> {
        TokenPlan {
            family: self.family,
            algorithm: self.algorithm,
            imprint: &request.imprint,
            policy: request.policy.unwrap_or(POLICY),
            serial: 0x8000_0000_0000_0001,
            time: datetime!(2026-06-01 11:59:59.25 UTC),
            accuracy: Duration::from_micros(1_500_020),
            ordering: true,
            nonce: request.nonce.as_ref(),
            chain: &self.chain,
            certificates: request.certificates,
        }
    }

    fn token(&self, request: &TimestampRequest) -> Vec<u8> {
        self.sign(self.plan(request))
    }

    fn sign(&self, plan: TokenPlan<'_>) -> Vec<u8> {
        let pending = prepare(plan).unwrap();
        let signature = self.key.sign(pending.to_be_signed());
        pending.finish(&signature).unwrap()
    }

    fn trust(&self) -> TrustStore {
        // Also without certificates in the token.
        TrustStore::new(vec![self.root.certificate.clone()], self.chain[..1].to_vec(), Vec::new())
    }
}

fn request(hash: HashAlgorithm) -> TimestampRequest {
    TimestampRequest {
        imprint: Imprint::new(hash, &hash.digest(DATA)).unwrap(),
        policy: None,
        nonce: Nonce::from_unsigned(&[0xfe, 1]),
        certificates: true,
    }
}

fn input<'a>(token: &'a [u8], trust: &'a TrustStore) -> TokenInput<'a> {
    TokenInput { token, content: None, signer_id: SIGNER_ID, trust, at: NOW }
}

#[track_caller]
fn assert_judged(report: &TokenReport, verdict: Verdict, expected: &[&str]) {
    let found: Vec<_> =
        codes(&report.judgement).into_iter().filter(|code| *code != "revocation_not_checked").collect();
    assert_eq!((report.judgement.verdict, found), (verdict, expected.to_vec()), "{report:?}");
}

const KINDS: [(Algorithm, Family, HashAlgorithm); 4] = [
    (Algorithm::EcdsaP256Sha256, Family::Rfc5652, HashAlgorithm::Sha256),
    (Algorithm::EcdsaP256Sha256, Family::Rfc5652, HashAlgorithm::Sha512),
    (Algorithm::RsaPkcs1Sha256, Family::Rfc5652, HashAlgorithm::Sha384),
    (Algorithm::Sm2Sm3, Family::Gbt35275, HashAlgorithm::Sm3),
];

#[test]
fn what_is_built_is_judged_valid_and_says_what_was_planned() {
    for (algorithm, family, hash) in KINDS {
        let (tsa, request) = (tsa(algorithm, family), request(hash));
        let (trust, token) = (tsa.trust(), tsa.token(&request));
        for whole in [token.clone(), granted(&token).unwrap()] {
            let (report, bare) = answer(&input(&whole, &trust), &request);
            assert_judged(&report, Verdict::Valid, &[]);
            assert_eq!(bare.unwrap(), token);
            assert_eq!(report.family, Some(family));
            let info = report.info.unwrap();
            assert_eq!(info.time, datetime!(2026-06-01 11:59:59.25 UTC));
            assert_eq!(info.accuracy_us, Some(1_500_020));
            assert!(info.ordering);
            assert_eq!(info.serial, "8000000000000001");
            assert_eq!(info.policy, "1.2.3.4.1");
            assert_eq!(info.nonce.as_deref(), Some("fe01"));
        }
        let asked = TokenInput { content: Some(Content::Bytes(DATA.to_vec())), ..input(&token, &trust) };
        assert_judged(&verify(asked), Verdict::Valid, &[]);
        assert_judged(&verify_digest(&input(&token, &trust), &hash.digest(DATA)), Verdict::Valid, &[]);
        let other = verify_digest(&input(&token, &trust), &hash.digest(b"other"));
        assert_judged(&other, Verdict::Invalid, &["digest_mismatch"]);
    }
}

#[test]
fn certificates_are_included_exactly_if_asked_for() {
    for (algorithm, family, hash) in KINDS {
        let (tsa, request) = (tsa(algorithm, family), request(hash));
        let without = tsa.token(&TimestampRequest { certificates: false, ..request.clone() });
        assert!(formats::tsp::certificates(&without).is_empty());
        let with: Vec<_> =
            formats::tsp::certificates(&tsa.token(&request)).iter().map(|c| c.der().to_vec()).collect();
        assert_eq!(with.len(), 2);
        assert!(with.contains(&tsa.chain[0].der().to_vec()));
    }
}

#[test]
fn an_answer_to_another_request_is_invalid() {
    let tsa = tsa(Algorithm::Sm2Sm3, Family::Gbt35275);
    let (trust, mine) = (tsa.trust(), request(HashAlgorithm::Sm3));
    let judged = |made: &TimestampRequest| answer(&input(&tsa.token(made), &trust), &mine).0;
    for nonce in [None, Nonce::from_unsigned(&[1])] {
        let report = judged(&TimestampRequest { nonce, ..mine.clone() });
        assert_judged(&report, Verdict::Invalid, &["nonce_mismatch"]);
    }
    // SHA-256 and SM3 make digests of one length: the function counts.
    let imprint = Imprint::new(HashAlgorithm::Sha256, mine.imprint.digest()).unwrap();
    let report = judged(&TimestampRequest { imprint, ..mine.clone() });
    assert_judged(&report, Verdict::Invalid, &["digest_mismatch"]);
    let asked = TimestampRequest { policy: Some(oid::SM3), ..mine.clone() };
    let (report, _) = answer(&input(&tsa.token(&mine), &trust), &asked);
    assert_judged(&report, Verdict::Invalid, &["policy_mismatch"]);
    let refused = formats::tsp::Refusal { failure: Failure::BadAlg, text: "no" };
    let (report, token) = answer(&input(&rejected(refused).unwrap(), &trust), &mine);
    assert_judged(&report, Verdict::Unsigned, &["timestamp_refused"]);
    assert!(token.is_none());
}

#[test]
fn no_token_is_prepared_that_would_not_be_valid() {
    let request = request(HashAlgorithm::Sm3);
    let other = tsa_for(Algorithm::Sm2Sm3, Family::Gbt35275, oid::CLIENT_AUTH);
    assert!(prepare(other.plan(&request)).is_err(), "a certificate for something else");
    let tsa = tsa(Algorithm::Sm2Sm3, Family::Gbt35275);
    let plan = tsa.plan(&request);
    let late = plan.chain[0].not_after() + Duration::from_secs(1);
    assert!(prepare(TokenPlan { time: late, ..plan.clone() }).is_err(), "an expired certificate");
    assert!(prepare(TokenPlan { chain: &[], ..plan.clone() }).is_err());
    assert!(prepare(TokenPlan { accuracy: Duration::from_secs(1 << 33), ..plan.clone() }).is_err());
    assert!(prepare(TokenPlan { algorithm: Algorithm::EcdsaP256Sha256, ..plan.clone() }).is_err());
    let pending = prepare(plan).unwrap();
    assert!(pending.finish(b"no signature").is_err());
}

#[test]
fn times_and_accuracies_are_written_in_their_one_form() {
    let (tsa, request) = (tsa(Algorithm::Sm2Sm3, Family::Gbt35275), request(HashAlgorithm::Sm3));
    let trust = tsa.trust();
    for (time, text) in [
        (datetime!(2026-06-01 1:02:03 UTC), &b"20260601010203Z"[..]),
        (datetime!(2026-06-01 1:02:03.1 UTC), b"20260601010203.1Z"),
        (datetime!(2026-06-01 1:02:03.000_001 UTC), b"20260601010203.000001Z"),
        (datetime!(2026-06-01 9:02:03.12 +8), b"20260601010203.12Z"),
    ] {
        let token = tsa.sign(TokenPlan { time, ..tsa.plan(&request) });
        assert!(token.windows(text.len()).any(|window| window == text), "{time}");
    }
    for micros in [0, 1, 1000, 999_999, 1_000_000, 128_000_000, 1_128_128] {
        let accuracy = Duration::from_micros(micros);
        let token = tsa.sign(TokenPlan { accuracy, ..tsa.plan(&request) });
        let report = answer(&input(&token, &trust), &request).0;
        assert_judged(&report, Verdict::Valid, &[]);
        assert_eq!(report.info.unwrap().accuracy_us, Some(micros));
    }
    let unordered = tsa.sign(TokenPlan { ordering: false, serial: 0, ..tsa.plan(&request) });
    let info = answer(&input(&unordered, &trust), &request).0.info.unwrap();
    assert_eq!((info.ordering, info.serial.as_str()), (false, "00"));
}

#[test]
fn a_request_is_read_as_it_was_written() {
    for hash in [HashAlgorithm::Sm3, HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
        for policy in [None, Some(POLICY)] {
            for nonce in [None, Nonce::from_unsigned(&[0]), Nonce::from_unsigned(&[0xff; 63])] {
                for certificates in [false, true] {
                    let whole =
                        TimestampRequest { policy, nonce: nonce.clone(), certificates, ..request(hash) };
                    assert_eq!(TimestampRequest::from_der(&whole.to_der().unwrap()), Ok(whole));
                }
            }
        }
    }
    assert_eq!(Nonce::from_unsigned(&[]), None);
    assert_eq!(Nonce::from_unsigned(&[1; 64]), None);
    assert_eq!(Nonce::from_unsigned(&[0, 0, 0x80]).unwrap().to_hex(), "80");
}

/// A request put together from DER by hand.
fn by_hand(parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&[0x30, u8::try_from(content.len()).unwrap()], &content[..]].concat()
}

#[test]
fn what_is_wrong_with_a_request_is_said_in_rfc_3161s_words() {
    const SHA256: [u8; 13] = [0x30, 11, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    const SHA1: [u8; 9] = [0x30, 7, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a];
    let digest = |length: u8| [&[4, length], &vec![7; usize::from(length)][..]].concat();
    let imprint = by_hand(&[&SHA256, &digest(32)]);
    let version = [2, 1, 1];
    let refused = |octets: &[u8]| TimestampRequest::from_der(octets).unwrap_err().failure;
    assert!(TimestampRequest::from_der(&by_hand(&[&version, &imprint])).is_ok());
    let explicit_false = by_hand(&[&version, &imprint, &[1, 1, 0]]);
    assert!(!TimestampRequest::from_der(&explicit_false).unwrap().certificates);
    let negative = by_hand(&[&version, &imprint, &[2, 1, 0xff]]);
    assert_eq!(TimestampRequest::from_der(&negative).unwrap().nonce.unwrap().to_hex(), "ff");
    let extension = by_hand(&[&[6, 3, 0x2a, 3, 4], &[4, 0]]);
    let extensions = [&[0xa0, u8::try_from(extension.len()).unwrap()], &extension[..]].concat();
    let long_nonce = [&[2, 65], &[1; 65][..]].concat();
    for (octets, failure, what) in [
        (Vec::new(), Failure::BadDataFormat, "nothing"),
        (b"hello".to_vec(), Failure::BadDataFormat, "no DER"),
        (by_hand(&[&version]), Failure::BadDataFormat, "no imprint"),
        ([by_hand(&[&version, &imprint]), vec![0]].concat(), Failure::BadDataFormat, "octets after it"),
        (by_hand(&[&version, &imprint, &[5, 0]]), Failure::BadDataFormat, "an element that is unknown"),
        (by_hand(&[&version, &imprint, &[1, 1, 0xff], &[2, 1, 1]]), Failure::BadDataFormat, "a wrong order"),
        (by_hand(&[&version, &imprint, &[1, 1, 1]]), Failure::BadDataFormat, "a BOOLEAN that is BER"),
        (vec![0x30, 0x80, 0, 0], Failure::BadDataFormat, "an indefinite length"),
        (by_hand(&[&[2, 1, 2], &imprint]), Failure::BadRequest, "version 2"),
        (by_hand(&[&version, &by_hand(&[&SHA1, &digest(20)])]), Failure::BadAlg, "SHA-1"),
        (by_hand(&[&version, &by_hand(&[&SHA256, &digest(20)])]), Failure::BadDataFormat, "a short digest"),
        (by_hand(&[&version, &by_hand(&[&SHA256, &digest(33)])]), Failure::BadDataFormat, "a long digest"),
        (by_hand(&[&version, &imprint, &[2, 2, 0, 1]]), Failure::BadDataFormat, "a padded nonce"),
        (by_hand(&[&version, &imprint, &long_nonce]), Failure::BadDataFormat, "a long nonce"),
        (by_hand(&[&version, &imprint, &extensions]), Failure::UnacceptedExtension, "an extension"),
        (by_hand(&[&version, &imprint, &[0xa0, 1, 5]]), Failure::BadDataFormat, "no extensions at all"),
        (vec![0x30; MAX_REQUEST + 1], Failure::BadDataFormat, "too much"),
    ] {
        assert_eq!(refused(&octets), failure, "{what}");
    }
}

fn openssl(folder: &Path, arguments: &[&str]) -> Output {
    Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl is installed")
}

#[test]
fn openssl_reads_our_refusals_and_we_read_its_requests() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, octets: &[u8]| std::fs::write(folder.path().join(name), octets).unwrap();
    for (failure, said) in [
        (Failure::BadAlg, "unrecognized or unsupported algorithm identifier"),
        (Failure::BadRequest, "transaction not permitted or supported"),
        (Failure::BadDataFormat, "the data submitted has the wrong format"),
        (Failure::TimeNotAvailable, "the TSA's time source is not available"),
        (Failure::UnacceptedPolicy, "the requested TSA policy is not supported by the TSA"),
        (Failure::UnacceptedExtension, "the requested extension is not supported by the TSA"),
        (Failure::AddInfoNotAvailable, "the additional information requested could not be understood"),
        (Failure::SystemFailure, "the request cannot be handled due to system failure"),
    ] {
        let refusal = formats::tsp::Refusal { failure, text: "said so" };
        write("refused.tsr", &rejected(refusal).unwrap());
        let output = openssl(folder.path(), &["ts", "-reply", "-in", "refused.tsr", "-text"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{failure:?}: {}", String::from_utf8_lossy(&output.stderr));
        for part in ["Status: Rejected.", said, "said so"] {
            assert!(text.contains(part), "{failure:?}: no {part} in {text}");
        }
    }
    write("data", DATA);
    for (hash, option) in
        [(HashAlgorithm::Sha256, "-sha256"), (HashAlgorithm::Sha512, "-sha512"), (HashAlgorithm::Sm3, "-sm3")]
    {
        let query = [
            "ts",
            "-query",
            "-data",
            "data",
            option,
            "-cert",
            "-tspolicy",
            "1.2.3.4.1",
            "-out",
            "request.tsq",
        ];
        assert!(openssl(folder.path(), &query).status.success());
        let read = TimestampRequest::from_der(&std::fs::read(folder.path().join("request.tsq")).unwrap());
        let read = read.unwrap();
        assert_eq!((read.imprint.hash(), read.imprint.digest()), (hash, &hash.digest(DATA)[..]));
        assert!(read.certificates && read.nonce.is_some());
        assert_eq!(read.policy, Some(POLICY));
    }
}

#[test]
fn openssl_accepts_tokens_of_p256_and_rsa() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, octets: &[u8]| std::fs::write(folder.path().join(name), octets).unwrap();
    write("data", DATA);
    write("other", b"other");
    for (algorithm, family, hash) in KINDS.into_iter().filter(|kind| kind.1 == Family::Rfc5652) {
        let (tsa, request) = (tsa(algorithm, family), request(hash));
        write("root.pem", tsa.root.certificate.to_pem().as_bytes());
        write("request.tsq", &request.to_der().unwrap());
        write("response.tsr", &granted(&tsa.token(&request)).unwrap());
        let at = NOW.unix_timestamp().to_string();
        let verify = |over: &[&str]| {
            let fixed = ["ts", "-verify", "-in", "response.tsr", "-CAfile", "root.pem", "-attime", &at];
            openssl(folder.path(), &[&fixed, over].concat())
        };
        for over in [["-data", "data"], ["-queryfile", "request.tsq"]] {
            let output = verify(&over);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{algorithm} {over:?}: {said}");
        }
        assert!(!verify(&["-data", "other"]).status.success());
    }
}
