//! What OpenSSL makes is accepted here, and what is made here OpenSSL accepts. It knows SM2 in
//! certificates, requests and plain signatures, not in CMS.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use crate::pki;

use std::path::Path;
use std::process::{Command, Output};

use formats::cms::{Content, Family, SignedDataPlan, VerifyInput, prepare, verify};
use formats::{Algorithm, Certificate, FormatError, PublicKey, TrustStore, Usage, Verdict, chain};
use pki::{Key, NOW, Plan, SIGNER_ID};
use tempfile::TempDir;

const DISTID: &str = "distid:1234567812345678";
const CONTENT: &[u8] = b"content\nof two lines\n";

fn openssl(folder: &Path, arguments: &str) -> Output {
    Command::new("openssl").current_dir(folder).args(arguments.split_whitespace()).output().unwrap()
}

#[track_caller]
fn run(folder: &Path, arguments: &str) {
    let output = openssl(folder, arguments);
    assert!(output.status.success(), "openssl {arguments}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// A root and a signer in `folder`, as root.pem, signer.pem and signer.key.
fn site(key: &Key) -> (TempDir, TrustStore, Vec<Certificate>) {
    let folder = TempDir::new().unwrap();
    let root = Plan::authority("CN=Root,C=CN").root(Key::p256());
    let signer = root.issue(&Plan::leaf("CN=Signer,C=CN"), key);
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("root.pem", root.certificate.to_pem().as_bytes());
    write("signer.pem", signer.to_pem().as_bytes());
    write("signer.key", &key.pkcs8());
    write("content", CONTENT);
    let trust = TrustStore::new(vec![root.certificate.clone()], Vec::new(), Vec::new());
    (folder, trust, vec![signer, root.certificate])
}

const CMS_ALGORITHMS: [Algorithm; 3] =
    [Algorithm::EcdsaP256Sha256, Algorithm::RsaPkcs1Sha256, Algorithm::RsaPssSha256];

#[test]
fn openssl_verifies_what_is_built_here() {
    for algorithm in CMS_ALGORITHMS {
        let key = Key::for_algorithm(algorithm);
        let (folder, _, chain) = site(&key);
        for detached in [false, true] {
            let plan = SignedDataPlan {
                family: Family::Rfc5652,
                algorithm,
                content: Content::Bytes(CONTENT.to_vec()),
                detached,
                chain: chain.clone(),
                signing_time: Some(NOW),
                signer_id: SIGNER_ID.to_vec(),
            };
            let pending = prepare(plan).unwrap();
            let signature = key.sign_with(algorithm.into(), pending.to_be_signed());
            let cms = pending.finish(&signature).unwrap();
            std::fs::write(folder.path().join("cms"), &cms).unwrap();
            let content = if detached { "-content content" } else { "" };
            let arguments = format!(
                "cms -verify -cades -binary -inform DER -in cms {content} -CAfile root.pem -attime {} -out out",
                NOW.unix_timestamp()
            );
            run(folder.path(), &arguments);
            assert_eq!(std::fs::read(folder.path().join("out")).unwrap(), CONTENT);

            std::fs::write(folder.path().join("content"), b"other").unwrap();
            assert_eq!(openssl(folder.path(), &arguments).status.success(), !detached);
            std::fs::write(folder.path().join("content"), CONTENT).unwrap();
        }
    }
}

#[test]
fn what_openssl_signs_verifies_here() {
    for algorithm in CMS_ALGORITHMS {
        let key = Key::for_algorithm(algorithm);
        let (folder, trust, _) = site(&key);
        let padding = match algorithm {
            Algorithm::RsaPssSha256 => "-keyopt rsa_padding_mode:pss -keyopt rsa_pss_saltlen:32",
            _ => "",
        };
        for options in ["", "-nodetach", "-noattr -nodetach", "-noattr", "-keyid", "-cades", "-nosmimecap"] {
            run(
                folder.path(),
                &format!(
                    "cms -sign -binary -md sha256 -in content -signer signer.pem -inkey signer.key \
                     -keyform DER {padding} {options} -outform DER -out cms"
                ),
            );
            let cms = std::fs::read(folder.path().join("cms")).unwrap();
            let judge = |content| {
                verify(VerifyInput { cms: &cms, content, signer_id: SIGNER_ID, trust: &trust, at: NOW })
            };
            let report = judge(Some(Content::Bytes(CONTENT.to_vec())));
            assert_eq!(report.judgement.verdict, Verdict::Valid, "{algorithm} {options} {report:?}");
            assert_eq!(report.signers[0].algorithm, Some(algorithm), "{options}");
            let report = judge(Some(Content::Bytes(b"other".to_vec())));
            assert_eq!(report.judgement.verdict, Verdict::Invalid, "{algorithm} {options}");
        }
    }
}

#[test]
fn streamed_ber_is_read() {
    let (folder, trust, _) = site(&Key::p256());
    run(
        folder.path(),
        "cms -sign -binary -stream -nodetach -in content -signer signer.pem -inkey signer.key -keyform DER \
         -outform DER -out cms",
    );
    let cms = std::fs::read(folder.path().join("cms")).unwrap();
    let report =
        verify(VerifyInput { cms: &cms, content: None, signer_id: SIGNER_ID, trust: &trust, at: NOW });
    assert_eq!(report.judgement.verdict, Verdict::Valid, "{report:?}");
    assert!(report.judgement.has("ber_encoding"), "{report:?}");
    assert_eq!(report.content.as_deref(), Some(CONTENT));
}

#[test]
fn sm2_certificates_and_signatures_of_openssl_hold() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    std::fs::write(path.join("content"), CONTENT).unwrap();
    std::fs::write(
        path.join("extensions"),
        "[root]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
         subjectKeyIdentifier=hash\n\
         [signer]\nkeyUsage=critical,digitalSignature,nonRepudiation\nauthorityKeyIdentifier=keyid\n",
    )
    .unwrap();
    for name in ["root", "signer"] {
        run(path, &format!("ecparam -genkey -name SM2 -noout -out {name}.key"));
        run(
            path,
            &format!(
                "req -new -sm3 -sigopt {DISTID} -key {name}.key -utf8 -subj /C=CN/O=质监/CN={name} -out {name}.csr"
            ),
        );
    }
    run(
        path,
        &format!(
            "x509 -req -sm3 -days 3650 -in root.csr -vfyopt {DISTID} -sigopt {DISTID} -signkey root.key \
             -extfile extensions -extensions root -out root.pem"
        ),
    );
    run(
        path,
        &format!(
            "x509 -req -sm3 -days 365 -in signer.csr -vfyopt {DISTID} -sigopt {DISTID} -CA root.pem \
             -CAkey root.key -set_serial 0x80ff -extfile extensions -extensions signer -out signer.pem"
        ),
    );
    run(path, &format!("dgst -sm3 -sign signer.key -sigopt {DISTID} -out signature content"));
    run(path, "ec -in signer.key -pubout -out signer.pub");

    let read = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    let root = Certificate::from_pem(&read("root.pem")).unwrap();
    let signer = Certificate::from_pem(&read("signer.pem")).unwrap();
    assert_eq!(signer.subject(), "CN=signer,O=质监,C=CN");
    assert_eq!(signer.issuer(), root.subject());
    assert_eq!(signer.serial_hex(), "80ff");
    let at = signer.not_before() + time::Duration::HOUR;
    let trust = TrustStore::new(vec![root], Vec::new(), Vec::new());
    let judgement = chain::validate(&signer, &[], &trust, Usage::DocumentSigning, at);
    assert_eq!(judgement.verdict, Verdict::Valid, "{judgement:?}");

    let key = signer.public_key().unwrap();
    assert_eq!(key, PublicKey::from_pem(&read("signer.pub")).unwrap());
    assert_eq!(key.to_pem(), read("signer.pub"));
    let signature = std::fs::read(path.join("signature")).unwrap();
    let verify = |id: &[u8], message: &[u8]| key.verify_message(Algorithm::Sm2Sm3, id, message, &signature);
    assert_eq!(verify(SIGNER_ID, CONTENT), Ok(()));
    assert_eq!(verify(SIGNER_ID, b"other"), Err(FormatError::SignatureInvalid));
    assert_eq!(verify(b"other", CONTENT), Err(FormatError::SignatureInvalid));
}

#[test]
fn openssl_accepts_the_sm2_certificates_of_the_tests() {
    let folder = TempDir::new().unwrap();
    let root = Plan::authority("CN=Root,C=CN").root(Key::sm2(1));
    let leaf = root.issue(&Plan::leaf("CN=Leaf,C=CN"), &Key::sm2(4));
    std::fs::write(folder.path().join("root.pem"), root.certificate.to_pem()).unwrap();
    std::fs::write(folder.path().join("leaf.pem"), leaf.to_pem()).unwrap();
    let at = NOW.unix_timestamp();
    run(folder.path(), &format!("verify -vfyopt {DISTID} -attime {at} -CAfile root.pem leaf.pem"));
}
