//! What bad input gets: a problem document with a stable code that names the field.

use serde_json::{Value, json};
use tests::{Answer, Caller, base64, shared};

/// Who sends the request.
#[derive(Clone, Copy)]
enum Who {
    /// Business scopes, all service keys.
    Business,
    /// Maintenance and audit scopes only.
    Maintenance,
    /// No API key.
    Nobody,
    /// An API key nobody was given.
    Impostor,
}
use Who::{Business, Impostor, Maintenance, Nobody};

/// A request and what it gets: who, method, path, content type, body, status, code, field.
type Row = (Who, &'static str, &'static str, &'static str, String, u16, &'static str, &'static str);

const JSON: &str = "application/json";

fn caller(who: Who) -> Caller {
    let site = &shared().site;
    match who {
        Business => site.app_number(0),
        Maintenance => site.app_number(2),
        Nobody => site.stranger(None),
        Impostor => site.stranger(Some("not-a-key-of-this-site")),
    }
}

/// A good signing request with some members replaced (`null` removes).
fn signing(changes: Value) -> String {
    let mut body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": "aGVsbG8="}});
    change(&mut body, changes);
    body.to_string()
}

/// A verification request that is complete but for the changes.
fn verification(changes: Value) -> String {
    let key = shared().site.app().get("/v1/keys/demo-sm2").expect(200).json();
    let mut body = json!({
        "algorithm": "sm2-sm3", "input": {"data": "aGVsbG8="}, "signature": "aGVsbG8=",
        "public_key": key["public_key"],
    });
    change(&mut body, changes);
    body.to_string()
}

fn change(body: &mut Value, changes: Value) {
    let body = body.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => body.remove(name),
            value => body.insert(name.clone(), value.clone()),
        };
    }
}

fn check(rows: Vec<Row>) {
    for (who, method, path, content_type, body, status, code, field) in rows {
        let shown: String = body.chars().take(120).collect();
        let place = format!("{method} {path} {shown}");
        let body = (method != "GET").then_some(body.as_bytes());
        let answer = caller(who).send(method, path, &[("content-type", content_type)], body);
        expect_problem(&place, &answer, status, code, field);
    }
}

#[track_caller]
fn expect_problem(place: &str, answer: &Answer, status: u16, code: &str, field: &str) {
    assert_eq!(answer.status, status, "{place}: {}", answer.text());
    let kind = answer.header("content-type");
    assert!(kind.starts_with("application/problem+json"), "{place}: {kind}");
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{place}: {problem}");
    assert_eq!(problem["status"], status, "{place}: {problem}");
    for member in ["type", "title", "detail"] {
        assert!(
            problem[member].as_str().is_some_and(|text| !text.is_empty()),
            "{place}: no {member} in {problem}"
        );
    }
    let request = problem["request_id"].as_str().unwrap_or_default();
    assert!(!request.is_empty() && request == answer.header("x-request-id"), "{place}: {problem}");
    if !field.is_empty() {
        let errors =
            problem["errors"].as_array().unwrap_or_else(|| panic!("{place}: no errors in {problem}"));
        assert!(
            errors.iter().any(|error| error["field"] == field),
            "{place}: {field} is not named in {problem}"
        );
    }
}

#[test]
fn a_body_that_is_no_json_object_is_refused() {
    let twice = signing(json!({})).repeat(2);
    check(
        ["", "{", "hello", "{\"key\": \"demo-sm2\",}", &twice, "\u{0}"]
            .map(|body| {
                (Business, "POST", "/v1/signatures", JSON, body.to_owned(), 400, "malformed_json", "")
            })
            .into(),
    );
    let bytes = b"{\"key\": \"\xff\"}";
    let answer = caller(Business).send("POST", "/v1/signatures", &[("content-type", JSON)], Some(bytes));
    expect_problem("not UTF-8", &answer, 400, "malformed_json", "");
}

#[test]
fn a_wrong_member_of_a_signing_request_is_named() {
    let sign = |changes: Value, status, code, field| -> Row {
        (Business, "POST", "/v1/signatures", JSON, signing(changes), status, code, field)
    };
    let hash = base64(&[7; 32]);
    check(vec![
        sign(json!({"colour": "red"}), 422, "unknown_field", "colour"),
        sign(json!({"input": {"data": "", "size": 1}}), 422, "unknown_field", "input.size"),
        sign(json!({"key": null}), 422, "missing_field", "key"),
        sign(json!({"algorithm": null}), 422, "missing_field", "algorithm"),
        sign(json!({"input": null}), 422, "missing_field", "input"),
        sign(json!({"key": 5}), 422, "invalid_type", "key"),
        sign(json!({"input": "aGVsbG8="}), 422, "invalid_type", "input"),
        sign(json!({"input": {"data": ["aGVsbG8="]}}), 422, "invalid_type", "input.data"),
        sign(json!({"format": "cms", "detached": "yes"}), 422, "invalid_type", "detached"),
        sign(json!({"input": {"data": "***"}}), 422, "invalid_base64", "input.data"),
        sign(json!({"input": {"data": "aGVsbG8"}}), 422, "invalid_base64", "input.data"),
        sign(json!({"input": {"digest": "-_-_"}}), 422, "invalid_base64", "input.digest"),
        sign(json!({"algorithm": "md5-rsa"}), 422, "unknown_algorithm", "algorithm"),
        sign(json!({"algorithm": "ecdsa-p256-sha256"}), 422, "algorithm_mismatch", "algorithm"),
        sign(json!({"key": "demo-rsa2048"}), 422, "algorithm_mismatch", "algorithm"),
        sign(json!({"input": {"digest": base64(&[7; 31])}}), 422, "digest_length", "input.digest"),
        sign(json!({"input": {"digest": base64(&[7; 33])}}), 422, "digest_length", "input.digest"),
        sign(json!({"input": {"digest": ""}}), 422, "digest_length", "input.digest"),
        sign(json!({"key": "no-such-key"}), 404, "unknown_key", ""),
        sign(json!({"key": "../sys-audit"}), 404, "unknown_key", ""),
        sign(json!({"key": "front-sm2"}), 403, "key_not_permitted", ""),
        sign(json!({"key": "sys-audit"}), 403, "key_not_permitted", ""),
        sign(json!({"key": "sys-token"}), 403, "key_not_permitted", ""),
        sign(json!({"group": "portal", "input": {"digest": hash}}), 422, "key_not_in_group", "group"),
    ]);
}

#[test]
fn an_input_is_a_digest_or_data_and_not_both() {
    for input in [json!({}), json!({"data": "", "digest": base64(&[7; 32])})] {
        let body = signing(json!({"input": input}));
        let answer =
            caller(Business).send("POST", "/v1/signatures", &[("content-type", JSON)], Some(body.as_bytes()));
        assert_eq!(answer.status, 422, "{input}: {}", answer.text());
    }
}

#[test]
fn a_wrong_member_of_a_verification_is_named() {
    let verify = |changes: Value, status, code, field| -> Row {
        (Business, "POST", "/v1/verifications", JSON, verification(changes), status, code, field)
    };
    check(vec![
        verify(json!({"colour": "red"}), 422, "unknown_field", "colour"),
        verify(json!({"signature": null}), 422, "missing_field", "signature"),
        verify(json!({"signature": "***"}), 422, "invalid_base64", "signature"),
        verify(json!({"algorithm": "sm2"}), 422, "unknown_algorithm", "algorithm"),
        verify(json!({"algorithm": null}), 422, "missing_field", "algorithm"),
        verify(json!({"input": null}), 422, "missing_field", "input"),
        verify(json!({"input": {"digest": "AA=="}}), 422, "digest_length", "input.digest"),
        verify(json!({"at": 5}), 422, "invalid_type", "at"),
    ]);
}

#[test]
fn a_wrong_member_of_a_license_check_is_named() {
    let verify = |body: Value, status, code, field| -> Row {
        (Business, "POST", "/v1/licenses:verify", JSON, body.to_string(), status, code, field)
    };
    check(vec![
        verify(json!({}), 422, "missing_field", "license"),
        verify(json!({"license": 5}), 422, "invalid_type", "license"),
        verify(json!({"license": "***"}), 422, "invalid_base64", "license"),
        verify(json!({"license": "AA==", "colour": "red"}), 422, "unknown_field", "colour"),
    ]);
}

#[test]
fn a_code_that_is_no_uscc_is_refused_and_one_without_a_license_is_unknown() {
    let get = |path, status, code| -> Row { (Business, "GET", path, JSON, String::new(), status, code, "") };
    check(vec![
        get("/v1/licenses/914403001922038217/face", 422, "uscc_invalid"),
        get("/v1/licenses/91350100M000100Y4Z/status", 422, "uscc_invalid"),
        get("/v1/licenses/440301103448669/status", 422, "uscc_invalid"),
        get("/v1/licenses/91350100m000100y43/face", 422, "uscc_invalid"),
        get("/v1/licenses/%E4%B8%AD/face", 422, "uscc_invalid"),
        get("/v1/licenses/91440300708461136T/face", 404, "license_unknown"),
        get("/v1/licenses/91440300708461136T/status", 404, "license_unknown"),
    ]);
}

#[test]
fn who_may_not_is_told_why() {
    let sign = |who, status, code| -> Row {
        (who, "POST", "/v1/signatures", JSON, signing(json!({})), status, code, "")
    };
    let license = json!({"license": "AA=="}).to_string();
    check(vec![
        sign(Nobody, 401, "api_key_missing"),
        sign(Impostor, 401, "api_key_invalid"),
        sign(Maintenance, 403, "scope_missing"),
        (Maintenance, "POST", "/v1/verifications", JSON, verification(json!({})), 403, "scope_missing", ""),
        (Maintenance, "POST", "/v1/licenses:verify", JSON, license, 403, "scope_missing", ""),
        (Nobody, "GET", "/v1/keys", JSON, String::new(), 401, "api_key_missing", ""),
    ]);
}

#[test]
fn a_wrong_path_method_or_media_type_is_a_problem_document_too() {
    let body = || signing(json!({}));
    check(vec![
        (Business, "GET", "/v1/nonsense", JSON, String::new(), 404, "not_found", ""),
        (Business, "GET", "/", JSON, String::new(), 404, "not_found", ""),
        (Business, "DELETE", "/v1/signatures", JSON, body(), 405, "method_not_allowed", ""),
        (Business, "PUT", "/v1/keys", JSON, body(), 405, "method_not_allowed", ""),
        (Business, "POST", "/v1/signatures", "text/plain", body(), 415, "unsupported_media_type", ""),
        (Business, "POST", "/v1/signatures", "application/xml", body(), 415, "unsupported_media_type", ""),
    ]);
    let refused = caller(Business).send("DELETE", "/v1/signatures", &[], None);
    assert!(refused.header("allow").contains("POST"), "{:?}", refused.headers);
}

#[test]
fn a_body_over_the_limit_is_told_so() {
    let body = signing(json!({"input": {"data": base64(&vec![0; 2 << 20])}}));
    check(vec![(Business, "POST", "/v1/signatures", JSON, body, 413, "body_too_large", "")]);
}

#[test]
fn no_value_of_a_member_makes_a_server_error_or_a_panic() {
    let deep = format!("{{\"key\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer =
        caller(Business).send("POST", "/v1/signatures", &[("content-type", JSON)], Some(deep.as_bytes()));
    assert!(answer.status < 500, "{}", answer.text());
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!([]),
        json!({}),
        json!(""),
        json!("\u{0}"),
        json!("cms"),
        json!("中"),
        json!("AA=="),
        json!("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"),
        json!("x".repeat(10_000)),
        json!({"digest": ""}),
        json!({"data": "AA==", "digest": null}),
    ];
    // One member at a time of a complete body, so that every value reaches the code that reads it.
    let whole: [(&str, Value, &[&str]); 3] = [
        (
            "/v1/signatures",
            serde_json::from_str(&signing(json!({}))).unwrap(),
            &["key", "algorithm", "input", "format", "detached", "family", "signer_id", "group"],
        ),
        (
            "/v1/verifications",
            serde_json::from_str(&verification(json!({}))).unwrap(),
            &["algorithm", "input", "format", "signature", "certificate", "public_key", "signer_id", "at"],
        ),
        (
            "/v1/licenses:verify",
            json!({"license": "AA==", "use": "login", "role": "agent"}),
            &[
                "license",
                "type",
                "at",
                "status_at",
                "status_max_age_s",
                "use",
                "role",
                "item",
                "authorisation",
            ],
        ),
    ];
    for (path, body, members) in &whole {
        for member in *members {
            for value in &values {
                let mut body = body.clone();
                body[*member] = value.clone();
                let body = body.to_string();
                let answer =
                    caller(Business).send("POST", path, &[("content-type", JSON)], Some(body.as_bytes()));
                assert!(answer.status < 500, "{path} {member}: {value}: {}", answer.text());
            }
        }
    }
    assert!(!shared().site.log().contains("panicked"), "{}", shared().site.log());
}
