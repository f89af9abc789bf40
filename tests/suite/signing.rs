//! Raw signatures, judged by OpenSSL.

use serde_json::{Value, json};
use tests::{Answer, Scratch, Shared, base64, repository, shared, unbase64};

const DEFAULT_ID: &str = "1234567812345678";

/// A file of some size that everybody has.
fn file() -> Vec<u8> {
    std::fs::read(repository().join("LICENSE")).unwrap()
}

fn sign(site: &Shared, key: &str, algorithm: &str, input: Value) -> Answer {
    let body = json!({"key": key, "algorithm": algorithm, "input": input, "format": "raw"});
    site.site.app().post("/v1/signatures", &body).expect(201)
}

/// A folder with `file`, `signature` and the key's `public.pem`.
fn scratch(site: &Shared, key: &str, signed: &[u8], signature: &Answer) -> Scratch {
    let scratch = Scratch::new();
    let answer = site.site.app().get(&format!("/v1/keys/{key}")).expect(200).json();
    scratch.write("public.pem", answer["public_key"].as_str().unwrap());
    scratch.write("file", signed);
    scratch.write("signature", signature.bytes("signature"));
    scratch
}

fn sm2_verifies(scratch: &Scratch, id: &str) -> bool {
    let ran = scratch
        .openssl(&format!("dgst -sm3 -verify public.pem -sigopt distid:{id} -signature signature file"));
    assert!(ran.text.contains("Verified OK") || ran.text.contains("Verification failure"), "{}", ran.text);
    ran.ok
}

/// Z of GB/T 32918.2 5.5, hashed by OpenSSL: no line of it is shared with the gateway.
fn z(scratch: &Scratch, id: &str) -> Vec<u8> {
    const CURVE: &str = "\
        fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc\
        28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93\
        32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7\
        bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0";
    let bits = u16::try_from(id.len() * 8).unwrap();
    let mut input = bits.to_be_bytes().to_vec();
    input.extend(id.as_bytes());
    input.extend((0..CURVE.len()).step_by(2).map(|at| u8::from_str_radix(&CURVE[at..at + 2], 16).unwrap()));
    let spki =
        scratch.openssl("pkey -pubin -in public.pem -outform DER").expect("the key is a public key").stdout;
    input.extend(&spki[spki.len() - 64..]);
    digest("sm3", &input)
}

fn digest(name: &str, input: &[u8]) -> Vec<u8> {
    let scratch = Scratch::new();
    scratch.write("input", input);
    scratch.openssl(&format!("dgst -{name} -binary input")).expect("openssl dgst").stdout
}

#[test]
fn openssl_accepts_an_sm2_signature_over_a_file_and_refuses_it_over_another() {
    let site = shared();
    let answer = sign(site, "demo-sm2", "sm2-sm3", json!({"data": base64(&file())}));
    let scratch = scratch(site, "demo-sm2", &file(), &answer);
    assert!(sm2_verifies(&scratch, DEFAULT_ID));
    scratch.write("file", b"something else");
    assert!(!sm2_verifies(&scratch, DEFAULT_ID));
}

#[test]
fn an_sm2_digest_is_sm3_over_z_and_the_message() {
    let site = shared();
    let probe = sign(site, "demo-sm2", "sm2-sm3", json!({"data": ""}));
    let message = file();
    let z = z(&scratch(site, "demo-sm2", b"", &probe), DEFAULT_ID);
    let e = digest("sm3", &[&z[..], &message].concat());
    let answer = sign(site, "demo-sm2", "sm2-sm3", json!({"digest": base64(&e)}));
    assert!(sm2_verifies(&scratch(site, "demo-sm2", &message, &answer), DEFAULT_ID));
}

#[test]
fn an_sm2_digest_without_z_is_not_a_signature_over_the_message() {
    let site = shared();
    let bare = digest("sm3", &file());
    let answer = sign(site, "demo-sm2", "sm2-sm3", json!({"digest": base64(&bare)}));
    assert!(!sm2_verifies(&scratch(site, "demo-sm2", &file(), &answer), DEFAULT_ID));
}

#[test]
fn a_signer_id_of_ones_own_enters_the_signature() {
    let site = shared();
    let input = json!({"data": base64(&file())});
    let body =
        json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": input, "signer_id": "ALICE123@YAHOO.COM"});
    let answer = site.site.app().post("/v1/signatures", &body).expect(201);
    let scratch = scratch(site, "demo-sm2", &file(), &answer);
    assert!(sm2_verifies(&scratch, "ALICE123@YAHOO.COM"));
    assert!(!sm2_verifies(&scratch, DEFAULT_ID));
}

#[test]
fn openssl_accepts_p256_and_rsa_signatures_over_data_and_over_a_digest() {
    let site = shared();
    let hash = base64(&digest("sha256", &file()));
    for (key, algorithm, options) in [
        ("demo-p256", "ecdsa-p256-sha256", ""),
        ("demo-rsa2048", "rsa-pkcs1-sha256", ""),
        ("demo-rsa2048", "rsa-pss-sha256", "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32"),
    ] {
        for input in [json!({"data": base64(&file())}), json!({"digest": hash})] {
            let answer = sign(site, key, algorithm, input.clone());
            let scratch = scratch(site, key, &file(), &answer);
            let verify = format!("dgst -sha256 {options} -verify public.pem -signature signature file");
            let ran = scratch.openssl(&verify);
            assert!(
                ran.ok,
                "{algorithm} over {}: {}",
                if input["data"].is_null() { "digest" } else { "data" },
                ran.text
            );
            scratch.write("file", b"something else");
            assert!(!scratch.openssl(&verify).ok, "{algorithm} over another file");
        }
    }
}

#[test]
fn the_empty_message_and_a_message_of_half_a_mebibyte_are_signed() {
    let site = shared();
    for message in [Vec::new(), vec![0x5a; 512 << 10]] {
        let answer = sign(site, "demo-sm2", "sm2-sm3", json!({"data": base64(&message)}));
        assert!(
            sm2_verifies(&scratch(site, "demo-sm2", &message, &answer), DEFAULT_ID),
            "{} bytes",
            message.len()
        );
    }
}

#[test]
fn an_answer_names_key_device_algorithm_request_and_place_in_the_log() {
    let site = shared();
    let answer = sign(site, "demo-p256", "ecdsa-p256-sha256", json!({"data": base64(b"named")}));
    let json = answer.json();
    assert_eq!(json["key"], "demo-p256");
    assert_eq!(json["algorithm"], "ecdsa-p256-sha256");
    assert!(json["audit_index"].is_u64(), "{json}");
    assert_eq!(json["request_id"].as_str().unwrap(), answer.header("x-request-id"));
    let key = site.site.app().get("/v1/keys/demo-p256").expect(200).json();
    assert!(key["devices"].as_array().unwrap().contains(&json["device"]), "{json} against {key}");
}

#[test]
fn every_signature_has_a_place_of_its_own_in_the_log() {
    let site = shared();
    let sign = || sign(site, "demo-sm2", "sm2-sm3", json!({"data": base64(b"twice")})).json();
    let [first, second] = [sign(), sign()].map(|answer| answer["audit_index"].as_u64().unwrap());
    assert!(first < second, "{first}, {second}");
}

#[test]
fn every_listed_key_can_be_looked_up_and_is_a_key_openssl_can_read() {
    let site = shared();
    let list = site.site.app().get("/v1/keys").expect(200).json();
    let ids: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect();
    for wanted in ["demo-sm2", "demo-p256", "demo-rsa2048", "portal-sm2"] {
        assert!(ids.contains(&wanted), "{wanted} is not in {ids:?}");
    }
    for id in ids {
        let key = site.site.app().get(&format!("/v1/keys/{id}")).expect(200).json();
        let scratch = Scratch::new();
        scratch.write("public.pem", key["public_key"].as_str().unwrap());
        scratch.openssl("pkey -pubin -in public.pem -noout").expect(id);
        scratch.write("chain.pem", key["certificate_chain"].as_str().unwrap());
        let usage = scratch.openssl("x509 -in chain.pem -noout -ext keyUsage").expect(id).text;
        assert!(usage.contains("Non Repudiation"), "{id}: {usage}");
        let certified = scratch.openssl("x509 -in chain.pem -noout -pubkey").expect(id).stdout;
        assert_eq!(pem_body(&certified), pem_body(&scratch.read("public.pem")), "{id}");
    }
}

fn pem_body(pem: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(pem.to_vec()).unwrap();
    unbase64(&text.lines().filter(|line| !line.starts_with("-----")).collect::<String>())
}
