//! The second reader of certificates says what is in them.

use std::process::Command;

use formats::Certificate;
use formats::describe::describe;

#[test]
fn facts_of_a_certificate_made_by_openssl_are_named_as_the_standard_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("certificate.pem");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=facts", "-keyout", "/dev/null", "-out"])
        .arg(&file)
        .args(["-addext", "keyUsage=critical,digitalSignature,nonRepudiation"])
        .args(["-addext", "extendedKeyUsage=clientAuth,1.2.3.4"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1,email:a@b.example"])
        .args(["-addext", "basicConstraints=CA:FALSE"])
        .output()
        .expect("this test needs openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = Certificate::from_pem(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let facts = describe(&certificate).unwrap();
    assert_eq!(facts.key, "P-256");
    assert_eq!(facts.key_usage, ["digitalSignature", "nonRepudiation"]);
    assert_eq!(facts.extended_key_usage, ["clientAuth", "1.2.3.4"]);
    assert_eq!(
        facts.subject_alternative_names,
        ["DNS:localhost", "IP:127.0.0.1", "IP:::1", "email:a@b.example"]
    );
}
