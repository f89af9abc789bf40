//! Calls over many items: one answer each, in order, whatever the others are.

use serde_json::{Value, json};
use tests::{Answer, base64, shared, unbase64};

/// Signatures of the site's own keys as bodies that ask about them: under the bare key and under the certificate.
fn own() -> Vec<Value> {
    let app = shared().site.app();
    let mut bodies = Vec::new();
    for (key, algorithm) in
        [("demo-sm2", "sm2-sm3"), ("demo-p256", "ecdsa-p256-sha256"), ("demo-rsa2048", "rsa-pss-sha256")]
    {
        let input = json!({"data": base64(b"judged in a batch")});
        let order = json!({"key": key, "algorithm": algorithm, "input": input});
        let signature = app.post("/v1/signatures", &order).expect(201).json()["signature"].clone();
        let known = app.get(&format!("/v1/keys/{key}")).expect(200).json();
        let chain = known["certificate_chain"].as_str().unwrap();
        let certificate = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        let body = json!({"algorithm": algorithm, "input": input, "signature": signature});
        for (member, signer) in [("public_key", &known["public_key"]), ("certificate", &json!(certificate))] {
            let mut body = body.clone();
            body[member] = signer.clone();
            bodies.push(body);
        }
    }
    bodies
}

fn flipped(body: &Value) -> Value {
    let mut body = body.clone();
    let mut signature = unbase64(body["signature"].as_str().unwrap());
    *signature.last_mut().unwrap() ^= 1;
    body["signature"] = base64(&signature).into();
    body
}

fn ask(path: &str, items: &[Value]) -> Vec<Value> {
    let answer = shared().site.app().post(path, &json!({"items": items})).expect(200).json();
    assert!(answer["request_id"].is_string(), "{answer}");
    let answers = answer["items"].as_array().unwrap().clone();
    assert_eq!(answers.len(), items.len());
    answers
}

/// What the call for one item answers, in the form a batch has it.
fn alone(path: &str, item: &Value) -> Value {
    let answer: Answer = shared().site.app().post(path, item);
    let mut json = answer.json();
    json.as_object_mut().unwrap().remove("request_id");
    if answer.status == 200 { json } else { json!({"problem": json}) }
}

#[track_caller]
fn assert_same_as_alone(batch: &str, single: &str, items: &[Value]) {
    for (item, mut answer) in items.iter().zip(ask(batch, items)) {
        if let Some(problem) = answer.get_mut("problem") {
            problem.as_object_mut().unwrap().remove("request_id");
        }
        assert_eq!(answer, alone(single, item), "{item}");
    }
}

#[test]
fn a_batch_answers_each_signature_as_the_call_for_one_does() {
    let mut items = own();
    items.extend(items.clone().iter().map(flipped));
    let cms = &shared().foreign;
    items.push(json!({"format": "cms", "signature": base64(&cms.read("cms-rfc5652-attached.der"))}));
    items.push(json!({"format": "cms", "signature": base64(b"hello")}));
    // Items that cannot be judged stand between those that can.
    for bad in [
        json!({}),
        json!("text"),
        json!({"signature": "!", "algorithm": "sm2-sm3"}),
        json!({"signature": "", "colour": "red"}),
        json!({"signature": "", "certificate": "hello", "algorithm": "sm2-sm3", "input": {"data": ""}}),
        json!({"signature": "", "public_key": 7}),
        json!({"signature": "", "at": "yesterday"}),
    ] {
        items.insert(items.len() / 2, bad);
    }
    assert_same_as_alone("/v1/verifications:batch", "/v1/verifications", &items);
    let mut wrong_algorithm = own().remove(0);
    wrong_algorithm["algorithm"] = "ecdsa-p256-sha256".into();
    assert_same_as_alone("/v1/verifications:batch", "/v1/verifications", &[wrong_algorithm]);
}

#[test]
fn a_thousand_signatures_are_judged_each_by_its_own_merit() {
    let good = own();
    let items: Vec<Value> = (0..1_000)
        .map(|number| {
            let body = &good[number % good.len()];
            if number % 7 == 0 { flipped(body) } else { body.clone() }
        })
        .collect();
    for (number, answer) in ask("/v1/verifications:batch", &items).iter().enumerate() {
        let expected = if number % 7 == 0 { "invalid" } else { "valid" };
        assert_eq!(answer["verdict"], expected, "{number}: {answer}");
    }
}

#[test]
fn a_certificate_is_judged_at_the_time_of_each_item() {
    let certified = own().remove(1);
    let at = |time: &str| {
        let mut body = certified.clone();
        body["at"] = time.into();
        body
    };
    let items =
        [certified.clone(), at("2010-01-01T00:00:00Z"), certified.clone(), at("2100-01-01T00:00:00Z")];
    let verdicts: Vec<_> =
        ask("/v1/verifications:batch", &items).iter().map(|answer| answer["verdict"].clone()).collect();
    assert_eq!(verdicts, ["valid", "invalid", "valid", "invalid"]);
}

#[test]
fn a_batch_answers_each_license_as_the_call_for_one_does_and_is_on_record() {
    let site = &shared().site;
    let samples = site.sandbox()["samples"].as_array().unwrap().clone();
    let mut items: Vec<Value> = samples
        .iter()
        .map(|sample| {
            let der = std::fs::read(site.data().join(sample["file"].as_str().unwrap())).unwrap();
            json!({"license": base64(&der)})
        })
        .collect();
    items.insert(3, json!({"license": "!"}));
    items.insert(5, json!({}));
    items.push(json!({"license": base64(b"hello")}));
    items.push(json!({"license": items[0]["license"], "at": "2100-01-01T00:00:00Z"}));
    assert!(items.len() > 20);
    assert_same_as_alone("/v1/licenses:verify-batch", "/v1/licenses:verify", &items);
}

#[test]
fn identifiers_are_checked_each_and_personal_ones_never_repeated() {
    let item = |kind: &str, value: &str| json!({"type": kind, "value": value});
    let items = [
        item("uscc", "91350100M000100Y43"),
        item("uscc", "91350100M000100Y4"),
        item("uscc", " 91350100m000100y43"),
        item("registration_number", "440301103448669"),
        item("registration_number", "440301103448668"),
        item("cert_id", "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.002.S"),
        item("resident_id", "11010519491231002X"),
        item("resident_id", "110105194912310021"),
        item("mobile_phone", "1380013800"),
        item("passport", "E00000000"),
        json!({"type": "uscc"}),
    ];
    let answers = ask("/v1/identifiers:check", &items);
    let verdicts: Vec<_> = answers.iter().map(|answer| answer["verdict"].as_str().unwrap_or("-")).collect();
    let (v, i) = ("valid", "invalid");
    assert_eq!(verdicts, [v, i, i, v, i, v, v, i, i, "-", "-"]);
    let code = |number: usize| answers[number]["findings"][0]["code"].as_str().unwrap();
    assert_eq!(
        [code(1), code(4), code(7), code(8)],
        ["length_wrong", "check_wrong", "check_wrong", "length_wrong"]
    );
    assert_eq!(answers[2]["normalised"], "91350100M000100Y43");
    assert_eq!(answers[9]["problem"]["code"], "invalid_value");
    assert_eq!(answers[10]["problem"]["errors"][0]["field"], "value");
    assert!(!shared().site.log().contains("1101051949"), "an identity number is in the log");
}

#[test]
fn a_batch_that_is_none_is_refused_whole() {
    let app = shared().site.app();
    for path in ["/v1/verifications:batch", "/v1/licenses:verify-batch", "/v1/identifiers:check"] {
        for (body, code) in [
            (json!({"items": []}), "batch_size"),
            (json!({"items": vec![json!({}); 1_001]}), "batch_size"),
            (json!({"items": {}}), "invalid_type"),
            (json!({}), "missing_field"),
            (json!({"items": [{}], "more": 1}), "unknown_field"),
        ] {
            let answer = app.post(path, &body).expect(422);
            assert_eq!(answer.json()["code"], code, "{path}: {}", answer.text());
        }
        let refused = shared().site.app_number(2).post(path, &json!({"items": [{}]})).expect(403);
        assert_eq!(refused.json()["code"], "scope_missing");
    }
}

#[test]
fn a_batch_may_have_a_larger_body_than_one_item_and_not_a_boundless_one() {
    let app = shared().site.app();
    // 2 MiB: more than a single call takes.
    let long = json!({"license": "A".repeat(2 << 20)});
    assert_eq!(app.post("/v1/licenses:verify", &long).expect(413).json()["code"], "body_too_large");
    let answer = ask("/v1/licenses:verify-batch", &[long]).remove(0);
    assert_eq!(answer["verdict"], "invalid", "{answer}");
    let too_long = json!({"items": [{"license": "A".repeat(17 << 20)}]});
    app.post("/v1/licenses:verify-batch", &too_long).expect(413);
}
