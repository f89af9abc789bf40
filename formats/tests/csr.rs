//! Certification requests: built here, read by OpenSSL, and the other way round.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Output};

use formats::csr::{
    Extension, KeyUsages, Request, RequestPlan, alternative_names, extended_key_usage, key_usage, prepare,
};
use formats::{Algorithm, FormatError, oid};
use pki::{Key, SIGNER_ID};
use proptest::prelude::*;
use tempfile::TempDir;

const DISTID: &str = "distid:1234567812345678";
const SUBJECT: &str = "CN=d3.bureau.example,O=市场监管局,C=CN";

fn extensions() -> Vec<Extension> {
    vec![
        key_usage(KeyUsages::DigitalSignature | KeyUsages::NonRepudiation).unwrap(),
        extended_key_usage(&[oid::TIME_STAMPING], true).unwrap(),
        alternative_names(&["d3.bureau.example"], &[IpAddr::V4(Ipv4Addr::LOCALHOST)]).unwrap(),
    ]
}

fn plan(algorithm: Algorithm, key: &Key) -> RequestPlan {
    RequestPlan {
        subject: SUBJECT.to_owned(),
        public_key: key.public(),
        algorithm,
        extensions: extensions(),
        signer_id: SIGNER_ID.to_vec(),
    }
}

fn request(algorithm: Algorithm, key: &Key) -> Request {
    let pending = prepare(plan(algorithm, key)).unwrap();
    let signature = key.sign_with(algorithm.into(), pending.to_be_signed());
    pending.finish(&signature).unwrap()
}

fn openssl(folder: &Path, arguments: &str) -> Output {
    Command::new("openssl").current_dir(folder).args(arguments.split_whitespace()).output().unwrap()
}

#[test]
fn openssl_verifies_requests_of_every_algorithm_and_reads_what_they_say() {
    for algorithm in Algorithm::ALL {
        let folder = TempDir::new().unwrap();
        let request = request(algorithm, &Key::for_algorithm(algorithm));
        std::fs::write(folder.path().join("csr"), request.to_pem()).unwrap();
        let id = if algorithm == Algorithm::Sm2Sm3 { format!("-vfyopt {DISTID}") } else { String::new() };
        let verify = format!("req -verify -in csr -noout -text -nameopt RFC2253,-esc_msb,utf8 {id}");
        let output = openssl(folder.path(), &verify);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let word = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && word.contains("verify OK"), "{algorithm}: {word}");
        for said in [
            SUBJECT,
            "Digital Signature, Non Repudiation",
            "Time Stamping",
            "DNS:d3.bureau.example, IP Address:127.0.0.1",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }

        // The last octet belongs to the signature.
        let mut spoiled = request.der().to_vec();
        *spoiled.last_mut().unwrap() ^= 1;
        std::fs::write(folder.path().join("csr"), &spoiled).unwrap();
        let output = openssl(folder.path(), &verify.replace("-in csr", "-in csr -inform DER"));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("verify OK"), "{algorithm}");
    }
}

#[test]
fn what_was_built_reads_back_and_proves_possession() {
    for algorithm in Algorithm::ALL {
        let key = Key::for_algorithm(algorithm);
        let built = request(algorithm, &key);
        let read = Request::from_pem(&built.to_pem()).unwrap();
        assert_eq!(read, built);
        assert_eq!(read.subject(), SUBJECT);
        assert_eq!(read.public_key().unwrap(), key.public());
        assert_eq!(read.extensions().unwrap(), extensions());
        assert_eq!(read.signature_scheme(), Ok(algorithm.into()));
        assert_eq!(read.verify_possession(SIGNER_ID), Ok(()));
        let other_id = read.verify_possession(b"other");
        assert_eq!(other_id.is_err(), algorithm == Algorithm::Sm2Sm3);
    }
}

#[test]
fn the_digest_is_what_a_device_signs() {
    let key = Key::sm2(7);
    let pending = prepare(plan(Algorithm::Sm2Sm3, &key)).unwrap();
    let expected = key.public().digest(Algorithm::Sm2Sm3, SIGNER_ID, pending.to_be_signed()).unwrap();
    assert_eq!(pending.digest(), expected);
}

#[test]
fn a_request_of_openssl_reads_and_proves_possession() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    for (curve, options, id) in
        [("SM2", format!("-sm3 -sigopt {DISTID}"), SIGNER_ID), ("prime256v1", "-sha256".to_owned(), b"")]
    {
        assert!(openssl(path, &format!("ecparam -genkey -name {curve} -noout -out key")).status.success());
        let new = format!(
            "req -new {options} -key key -utf8 -subj /C=CN/O=质监/CN=window \
             -addext keyUsage=critical,digitalSignature -outform DER -out csr"
        );
        assert!(openssl(path, &new).status.success());
        let request = Request::from_der(&std::fs::read(path.join("csr")).unwrap()).unwrap();
        assert_eq!(request.subject(), "CN=window,O=质监,C=CN");
        assert_eq!(request.extensions().unwrap(), [key_usage(KeyUsages::DigitalSignature).unwrap()]);
        assert_eq!(request.verify_possession(id), Ok(()));
    }
}

#[test]
fn changed_requests_prove_nothing() {
    let request = request(Algorithm::EcdsaP256Sha256, &Key::p256());
    let position = request.der().windows(4).position(|octets| octets == b"d3.b").unwrap();
    let mut changed = request.der().to_vec();
    changed[position + 1] = b'4';
    let changed = Request::from_der(&changed).unwrap();
    assert_eq!(changed.verify_possession(SIGNER_ID), Err(FormatError::SignatureInvalid));
}

#[test]
fn plans_that_make_no_request_are_refused() {
    let key = Key::p256();
    let good = plan(Algorithm::EcdsaP256Sha256, &key);
    for subject in ["CN", "CN=", "C=中国", "C=CHN", "C=C*", "CN=a,,O=b", "NOSUCH=x"] {
        let refused = prepare(RequestPlan { subject: subject.to_owned(), ..good.clone() });
        assert!(matches!(refused, Err(FormatError::Malformed { .. })), "{subject}: {refused:?}");
    }
    let nobody = RequestPlan { subject: String::new(), extensions: Vec::new(), ..good.clone() };
    assert!(matches!(prepare(nobody), Err(FormatError::Plan(_))));
    let host_only = RequestPlan { subject: String::new(), ..good.clone() };
    assert!(prepare(host_only).is_ok());
    let twice = RequestPlan { extensions: [extensions(), extensions()].concat(), ..good.clone() };
    assert!(matches!(prepare(twice), Err(FormatError::Plan(_))));
    let mismatch = RequestPlan { algorithm: Algorithm::Sm2Sm3, ..good.clone() };
    assert!(matches!(prepare(mismatch), Err(FormatError::AlgorithmMismatch { .. })));
    assert!(alternative_names(&["市场"], &[]).is_err());

    let pending = prepare(good).unwrap();
    let of_another = Key::p256().sign(pending.to_be_signed());
    assert_eq!(pending.finish(&of_another), Err(FormatError::SignatureInvalid));
}

#[test]
fn trailing_octets_are_refused() {
    let der = [request(Algorithm::Sm2Sm3, &Key::sm2(7)).der(), &[0]].concat();
    assert!(matches!(Request::from_der(&der), Err(FormatError::Malformed { .. })));
}

proptest! {
    #[test]
    fn no_name_panics(subject in "([A-Z]{1,2}=?[\\\\#,+=a-f0-9 é中]{0,6}[,+]?){0,4}") {
        let mut plan = plan(Algorithm::Sm2Sm3, &Key::sm2(7));
        plan.subject = subject;
        if let Ok(pending) = prepare(plan) {
            let signature = Key::sm2(7).sign(pending.to_be_signed());
            prop_assert!(pending.finish(&signature).is_ok());
        }
    }
}

#[test]
fn names_with_long_sets_are_refused_before_they_are_sorted() {
    let key = Key::p256();
    let with = |parts: usize| {
        let parts: Vec<_> = (0..parts).map(|part| format!("OU={part:04}")).collect();
        let subject = parts.join("+");
        let plan = RequestPlan { subject, ..plan(Algorithm::EcdsaP256Sha256, &key) };
        let pending = prepare(plan).unwrap();
        let signature = key.sign(pending.to_be_signed());
        pending.finish(&signature)
    };
    assert!(with(64).is_ok());
    let refused = with(65);
    assert!(matches!(&refused, Err(FormatError::Malformed { reason, .. }) if reason.contains("set")));
}
