//! `POST /v1/verifications` on raw signatures, ours and foreign ones.

use serde_json::{Value, json};
use tests::{Answer, Scratch, base64, shared};

fn verify(body: Value) -> Answer {
    shared().site.app().post("/v1/verifications", &body).expect(200)
}

/// A signature by the site's own key, as the body that asks about it.
fn own(key: &str, algorithm: &str) -> Value {
    let app = shared().site.app();
    let input = json!({"data": base64(b"judged")});
    let signed =
        app.post("/v1/signatures", &json!({"key": key, "algorithm": algorithm, "input": input})).expect(201);
    let key = app.get(&format!("/v1/keys/{key}")).expect(200).json();
    let signature = &signed.json()["signature"];
    json!({"algorithm": algorithm, "input": input, "signature": signature, "public_key": key["public_key"]})
}

/// The key's own certificate: the first of its chain.
fn certificate(key: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----\n";
    let answer = shared().site.app().get(&format!("/v1/keys/{key}")).expect(200).json();
    let chain = answer["certificate_chain"].as_str().unwrap();
    chain.split_inclusive(END).next().unwrap().to_owned()
}

/// The body with one bit of its signature flipped, in the last octet so that the encoding stays DER.
fn flipped(mut body: Value) -> Value {
    let mut signature = tests::unbase64(body["signature"].as_str().unwrap());
    *signature.last_mut().unwrap() ^= 1;
    body["signature"] = base64(&signature).into();
    body
}

const OWN: [(&str, &str); 4] = [
    ("demo-sm2", "sm2-sm3"),
    ("demo-p256", "ecdsa-p256-sha256"),
    ("demo-rsa2048", "rsa-pkcs1-sha256"),
    ("demo-rsa2048", "rsa-pss-sha256"),
];

#[test]
fn a_signature_under_a_bare_key_is_valid_with_trust_not_judged() {
    for (key, algorithm) in OWN {
        let answer = verify(own(key, algorithm));
        answer.expect_verdict("valid");
        assert_eq!(answer.findings(), ["trust_not_judged"], "{algorithm}");
    }
}

#[test]
fn one_flipped_bit_makes_any_signature_invalid() {
    for (key, algorithm) in OWN {
        let answer = verify(flipped(own(key, algorithm)));
        answer.expect_verdict("invalid");
        assert!(
            answer.findings().contains(&"signature_invalid".to_owned()),
            "{algorithm}: {}",
            answer.text()
        );
    }
}

#[test]
fn a_signature_over_other_data_is_invalid() {
    for (key, algorithm) in OWN {
        let mut body = own(key, algorithm);
        body["input"]["data"] = base64(b"Judged").into();
        verify(body).expect_verdict("invalid");
    }
}

#[test]
fn a_byte_behind_a_der_signature_makes_it_invalid() {
    for (key, algorithm) in [OWN[0], OWN[1]] {
        let mut body = own(key, algorithm);
        let signature = tests::unbase64(body["signature"].as_str().unwrap());
        body["signature"] = base64(&[&signature[..], &[0]].concat()).into();
        verify(body).expect_verdict("invalid");
    }
}

#[test]
fn a_signature_with_its_certificate_is_judged_up_to_the_sandbox_root() {
    for (key, algorithm) in OWN {
        let mut body = own(key, algorithm);
        body.as_object_mut().unwrap().remove("public_key");
        body["certificate"] = certificate(key).into();
        let answer = verify(body.clone());
        answer.expect_verdict("valid");
        assert!(!answer.findings().contains(&"trust_not_judged".to_owned()), "{}", answer.text());
        verify(flipped(body)).expect_verdict("invalid");
    }
}

#[test]
fn a_certificate_is_expired_a_century_later_and_not_yet_valid_a_century_earlier() {
    let mut body = own("demo-sm2", "sm2-sm3");
    body.as_object_mut().unwrap().remove("public_key");
    body["certificate"] = certificate("demo-sm2").into();
    for (at, code) in [("2126-01-01T00:00:00Z", "expired"), ("1970-01-02T00:00:00Z", "not_yet_valid")] {
        body["at"] = at.into();
        let answer = verify(body.clone());
        answer.expect_verdict("invalid");
        assert!(answer.findings().contains(&code.to_owned()), "{}", answer.text());
    }
}

#[test]
fn a_good_signature_under_a_bad_certificate_is_invalid_for_what_is_wrong_with_it() {
    for (kind, code) in [
        ("expired", "expired"),
        ("not-yet-valid", "not_yet_valid"),
        ("revoked", "revoked"),
        ("wrong-issuer-signature", "issuer_signature_invalid"),
        ("wrong-usage", "key_usage_not_permitted"),
    ] {
        for (authority, (key, algorithm)) in [("sm2", OWN[0]), ("p256", OWN[1]), ("rsa", OWN[2])] {
            let file = shared().site.data().join(format!("pki/negatives/{authority}-{kind}.pem"));
            let mut body = own(key, algorithm);
            body.as_object_mut().unwrap().remove("public_key");
            body["certificate"] = std::fs::read_to_string(file).unwrap().into();
            let answer = verify(body);
            answer.expect_verdict("invalid");
            assert!(answer.findings().contains(&code.to_owned()), "{authority}-{kind}: {}", answer.text());
        }
    }
}

#[test]
fn an_sm2_signature_made_by_openssl_is_valid_under_its_own_signer_id_only() {
    let scratch = Scratch::new();
    scratch.write("file", b"made elsewhere");
    scratch.openssl("genpkey -algorithm SM2 -out key.pem").expect("an SM2 key");
    scratch.openssl("pkey -in key.pem -pubout -out public.pem").expect("its public half");
    scratch
        .openssl("dgst -sm3 -sign key.pem -sigopt distid:bureau -out signature file")
        .expect("a signature");
    let mut body = json!({
        "algorithm": "sm2-sm3",
        "input": {"data": base64(b"made elsewhere")},
        "signature": base64(&scratch.read("signature")),
        "public_key": String::from_utf8(scratch.read("public.pem")).unwrap(),
    });
    verify(body.clone()).expect_verdict("invalid");
    body["signer_id"] = "bureau".into();
    verify(body.clone()).expect_verdict("valid");
    verify(flipped(body)).expect_verdict("invalid");
}

#[test]
fn an_sm2_signature_made_by_bouncycastle_is_valid_with_its_certificate_when_its_root_is_trusted() {
    let foreign = &shared().foreign;
    let body = json!({
        "algorithm": "sm2-sm3",
        "input": {"data": base64(&foreign.content())},
        "signature": base64(&foreign.read("raw.sig")),
        "certificate": String::from_utf8(foreign.read("signer.pem")).unwrap(),
    });
    verify(body.clone()).expect_verdict("valid");
    verify(flipped(body)).expect_verdict("invalid");
}

#[test]
fn a_certificate_of_nobodys_root_is_indeterminate() {
    let scratch = Scratch::new();
    scratch.write("file", b"from nowhere");
    scratch
        .openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out certificate.pem \
             -subj /CN=nobody -days 30",
        )
        .expect("a self-signed certificate");
    scratch.openssl("dgst -sha256 -sign key.pem -out signature file").expect("a signature");
    let answer = verify(json!({
        "algorithm": "ecdsa-p256-sha256",
        "input": {"data": base64(b"from nowhere")},
        "signature": base64(&scratch.read("signature")),
        "certificate": String::from_utf8(scratch.read("certificate.pem")).unwrap(),
    }));
    answer.expect_verdict("indeterminate");
    assert!(answer.findings().contains(&"no_path".to_owned()), "{}", answer.text());
}
