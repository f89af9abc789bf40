//! CMS signatures: ours judged by OpenSSL and BouncyCastle, theirs judged by us.

use serde_json::{Value, json};
use tests::{Answer, Scratch, base64, shared};

const CONTENT: &[u8] = "关于准予设立登记的通知书\n".as_bytes();

fn sign(key: &str, algorithm: &str, family: Option<&str>, detached: bool) -> Vec<u8> {
    let input = json!({"data": base64(CONTENT)});
    let mut body =
        json!({"key": key, "algorithm": algorithm, "input": input, "format": "cms", "detached": detached});
    if let Some(family) = family {
        body["family"] = family.into();
    }
    shared().site.app().post("/v1/signatures", &body).expect(201).bytes("signature")
}

fn verify(cms: &[u8], input: Option<Value>) -> Answer {
    let mut body = json!({"format": "cms", "signature": base64(cms)});
    if let Some(input) = input {
        body["input"] = input;
    }
    shared().site.app().post("/v1/verifications", &body).expect(200)
}

fn sm3(scratch: &Scratch) -> String {
    base64(&scratch.openssl("dgst -sm3 -binary content").expect("openssl knows SM3").stdout)
}

const INTERNATIONAL: [(&str, &str); 3] = [
    ("demo-p256", "ecdsa-p256-sha256"),
    ("demo-rsa2048", "rsa-pkcs1-sha256"),
    ("demo-rsa2048", "rsa-pss-sha256"),
];

#[test]
fn openssl_accepts_p256_and_rsa_cms_attached_and_detached() {
    let ca = shared().site.ca_file();
    for (key, algorithm) in INTERNATIONAL {
        for detached in [false, true] {
            let scratch = Scratch::new();
            scratch.write("content", CONTENT);
            scratch.write("other", b"other content");
            scratch.write("cms.der", sign(key, algorithm, None, detached));
            let verify = |file: &str| {
                let content = if detached { format!("-content {file}") } else { String::new() };
                scratch.openssl(&format!(
                    "cms -verify -binary -inform DER -in cms.der -CAfile {} {content} -out seen",
                    ca.display()
                ))
            };
            verify("content").expect(&format!("{algorithm}, detached {detached}"));
            assert_eq!(scratch.read("seen"), CONTENT);
            if detached {
                assert!(!verify("other").ok, "{algorithm} over other content");
            }
        }
    }
}

#[test]
fn bouncycastle_accepts_sm2_cms_of_both_families_attached_and_detached() {
    let shared = shared();
    for (family, outer) in [("rfc5652", "1.2.840.113549.1.7.2"), ("gbt35275", "1.2.156.10197.6.1.4.2.2")] {
        for detached in [false, true] {
            let scratch = Scratch::new();
            let content = scratch.write("content", CONTENT);
            let other = scratch.write("other", b"other content");
            let cms = scratch.write("cms.der", sign("demo-sm2", "sm2-sm3", Some(family), detached));
            let judge = |content| shared.foreign.bouncycastle.verify(&shared.site.ca_file(), &cms, content);
            let judged = judge(detached.then_some(&*content)).expect(family);
            assert!(judged.text.starts_with(&format!("valid {outer} ")), "{}", judged.text);
            if detached {
                assert!(!judge(Some(&other)).ok, "{family} over other content");
            } else {
                assert!(judged.text.contains(&format!(" {} ", CONTENT.len())), "{}", judged.text);
            }
        }
    }
}

#[test]
fn the_national_family_is_version_one_with_its_own_names_for_data_and_signing() {
    let scratch = Scratch::new();
    scratch.write("cms.der", sign("demo-sm2", "sm2-sm3", Some("gbt35275"), false));
    let tree = scratch.openssl("asn1parse -inform DER -in cms.der").expect("it is DER").text;
    for oid in ["1.2.156.10197.6.1.4.2.2", "1.2.156.10197.6.1.4.2.1", "1.2.156.10197.1.301.1"] {
        assert!(tree.contains(&format!(":{oid}\n")), "{oid} is not in\n{tree}");
    }
    let version = tree.lines().find(|line| line.contains("INTEGER")).unwrap();
    assert!(version.ends_with(":01"), "{version}");
    assert!(!tree.contains("pkcs7"), "{tree}");
}

#[test]
fn the_gateway_accepts_its_own_cms_and_refuses_any_flipped_bit_of_the_signature() {
    let shared = shared();
    let families = [Some("rfc5652"), Some("gbt35275")].map(|family| ("demo-sm2", "sm2-sm3", family));
    let others = INTERNATIONAL.map(|(key, algorithm)| (key, algorithm, None));
    for (key, algorithm, family) in families.into_iter().chain(others) {
        let attached = sign(key, algorithm, family, false);
        let answer = verify(&attached, None);
        answer.expect_verdict("valid");
        assert_eq!(answer.json()["signers"].as_array().unwrap().len(), 1, "{}", answer.text());
        let detached = sign(key, algorithm, family, true);
        verify(&detached, Some(json!({"data": base64(CONTENT)}))).expect_verdict("valid");
        verify(&detached, Some(json!({"data": base64(b"other")}))).expect_verdict("invalid");
        let mut broken = attached;
        *broken.last_mut().unwrap() ^= 1;
        verify(&broken, None).expect_verdict("invalid");
    }
    assert!(shared.site.log().is_empty() || !shared.site.log().contains("panicked"));
}

#[test]
fn a_detached_cms_without_its_content_is_indeterminate() {
    let answer = verify(&sign("demo-sm2", "sm2-sm3", None, true), None);
    answer.expect_verdict("indeterminate");
    assert!(answer.findings().contains(&"content_absent".to_owned()), "{}", answer.text());
}

#[test]
fn a_cms_over_a_digest_is_the_cms_over_the_content() {
    let shared = shared();
    let scratch = Scratch::new();
    let content = scratch.write("content", CONTENT);
    let body = json!({
        "key": "demo-sm2", "algorithm": "sm2-sm3", "format": "cms", "detached": true,
        "input": {"digest": sm3(&scratch)},
    });
    let cms = shared.site.app().post("/v1/signatures", &body).expect(201).bytes("signature");
    let file = scratch.write("cms.der", &cms);
    shared.foreign.bouncycastle.verify(&shared.site.ca_file(), &file, Some(&content)).expect("BouncyCastle");
    verify(&cms, Some(json!({"digest": sm3(&scratch)}))).expect_verdict("valid");
}

#[test]
fn an_attached_cms_over_a_digest_is_refused_because_there_is_nothing_to_attach() {
    let scratch = Scratch::new();
    scratch.write("content", CONTENT);
    let body = json!({
        "key": "demo-sm2", "algorithm": "sm2-sm3", "format": "cms", "detached": false,
        "input": {"digest": sm3(&scratch)},
    });
    shared().site.app().post("/v1/signatures", &body).expect(422);
}

#[test]
fn foreign_cms_of_a_trusted_root_is_valid_and_invalid_with_a_flipped_bit() {
    let foreign = &shared().foreign;
    for name in ["cms-rfc5652", "cms-gbt35275", "openssl-p256", "openssl-rsa"] {
        let attached = foreign.read(&format!("{name}-attached.der"));
        verify(&attached, None).expect_verdict("valid");
        let detached = foreign.read(&format!("{name}-detached.der"));
        let content = json!({"data": base64(&foreign.content())});
        verify(&detached, Some(content.clone())).expect_verdict("valid");
        let mut broken = detached;
        *broken.last_mut().unwrap() ^= 1;
        verify(&broken, Some(content)).expect_verdict("invalid");
    }
}

#[test]
fn a_cms_of_nobodys_root_is_indeterminate() {
    let scratch = Scratch::new();
    scratch.write("content", CONTENT);
    scratch
        .openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out certificate.pem \
             -subj /CN=nobody -days 30",
        )
        .expect("a self-signed certificate");
    scratch
        .openssl(
            "cms -sign -binary -nodetach -md sha256 -in content -outform DER -signer certificate.pem -inkey key.pem \
             -out cms.der",
        )
        .expect("a CMS");
    let answer = verify(&scratch.read("cms.der"), None);
    answer.expect_verdict("indeterminate");
    assert!(answer.text().contains("no_path"), "{}", answer.text());
}

#[test]
fn a_flipped_bit_of_the_attached_content_is_a_digest_mismatch() {
    let foreign = &shared().foreign;
    let mut cms = foreign.read("cms-rfc5652-attached.der");
    let place = cms.windows(14).position(|window| window == b"Apache License").unwrap();
    cms[place] ^= 1;
    let answer = verify(&cms, None);
    answer.expect_verdict("invalid");
    assert!(answer.text().contains("digest_mismatch"), "{}", answer.text());
}

#[test]
fn what_is_no_cms_is_an_answer_that_says_malformed() {
    let cms = shared().foreign.read("cms-rfc5652-attached.der");
    let trailing = [&cms[..], &[0]].concat();
    for bytes in [&b""[..], b"hello", &cms[..cms.len() - 1], &trailing] {
        let answer = verify(bytes, None);
        answer.expect_verdict("invalid");
        assert!(answer.findings().contains(&"malformed".to_owned()), "{}", answer.text());
    }
}
