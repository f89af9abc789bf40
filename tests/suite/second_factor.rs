//! Sign-ins of which the password was right and the second factor is awaited, or is not: what is on record of them, and how
//! many there can be.

use serde_json::{Value, json};
use tests::{Answer, Folder, Person};

#[track_caller]
fn refused(answer: Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{}", answer.text());
}

#[test]
fn who_knows_the_password_and_has_no_second_factor_is_on_record_and_told_of() {
    let folder = Folder::init();
    folder.configure("[server]", "[people]\nlockout_tries = 3\n\n[server]");
    let site = folder.serve();
    let (person, _) = Person::complete(&site, "known", &["auditor"]);
    let of = |action: &str| -> Vec<String> {
        let entries = site.audit().into_iter().filter(|entry| entry["action"] == action);
        let here = entries.filter(|entry| entry["actor"] == "unproved:person:known:127.0.0.1");
        here.map(|entry| entry["outcome"].as_str().unwrap().to_owned()).collect()
    };
    let right = json!({"password": person.password});
    let first = person.try_sign_in(right.clone()).expect(200).json();
    assert_eq!(of("person.password_alone"), ["second_factor_awaited"]);
    let body = json!({"pending_token": first["pending_token"], "code": "000000"});
    let wrong = site.stranger(None).post("/v1/sign-in:second-factor", &body);
    refused(wrong, 401, "sign_in_refused");
    assert!(of("account.password_known").is_empty(), "people are told of what goes on, not of a slip");
    let spoilt = json!({"password": person.password, "recovery_code": "AAAA-BBBB-CCCC-DDDD"});
    refused(person.try_sign_in(spoilt), 401, "sign_in_refused");
    let refusals = ["second_factor_awaited", "second_factor_refused", "second_factor_refused"];
    assert_eq!(of("person.password_alone"), refusals);
    assert_eq!(of("account.password_known"), ["second_factor_missing"]);
    assert!(site.log().contains("the right password again and again without the second factor"));
    let attacks = site.stranger(None).get("/metrics").expect(200).text();
    assert!(attacks.contains("license_gateway_attacks_total 1"), "{attacks}");

    // It goes on being recorded, and being answered as ever; nobody who knows no password is in that record.
    person.try_sign_in(right).expect(200);
    refused(person.try_sign_in(json!({"password": "guess"})), 401, "sign_in_refused");
    assert_eq!(of("person.password_alone").len(), 4);
    assert_eq!(of("account.password_known").len(), 1);
}

#[test]
fn who_shows_the_second_factor_in_the_end_alarms_nobody() {
    let folder = Folder::init();
    folder.configure("[server]", "[people]\nlockout_tries = 3\n\n[server]");
    let site = folder.serve();
    let (mut person, _) = Person::complete(&site, "slow", &["auditor"]);
    for _ in 0..4 {
        person.try_sign_in(json!({"password": person.password})).expect(200);
        person.recover();
    }
    let entries = site.audit();
    let of = |action: &str| entries.iter().filter(|entry| entry["action"] == action).count();
    assert_eq!((of("person.password_alone"), of("account.password_known")), (4, 0));
}

/// Who has the password alone fills nothing: of twenty first steps sixteen can be gone on with.
#[test]
fn sixteen_sign_ins_of_a_person_wait_for_the_second_factor() {
    let folder = Folder::init();
    folder.configure("[server]", "[people]\nlockout_tries = 20\n\n[server]");
    let site = folder.serve();
    let (mut person, session) = Person::complete(&site, "often", &["auditor"]);
    let pending: Vec<Value> = (0..20)
        .map(|_| {
            let first = person.try_sign_in(json!({"password": person.password})).expect(200).json();
            first["pending_token"].clone()
        })
        .collect();
    let judged = || {
        let entries = site.audit().into_iter();
        entries.filter(|entry| entry["outcome"] == "second_factor_refused").count()
    };
    // Who shows one that is gone is told the same as who shows a wrong code; only the record knows which it was.
    let nobody = site.stranger(None);
    let shown = |token: &Value, proof: (&str, &str)| {
        nobody.post("/v1/sign-in:second-factor", &json!({"pending_token": token, proof.0: proof.1}))
    };
    let mut waiting = Vec::new();
    for token in &pending {
        let before = judged();
        refused(shown(token, ("code", "000000")), 401, "sign_in_refused");
        if judged() > before {
            waiting.push(token);
        }
    }
    assert_eq!(waiting.len(), 16);
    let gone = pending.iter().find(|token| !waiting.contains(token)).unwrap();
    let code = person.recovery_codes.pop().unwrap();
    refused(shown(gone, ("recovery_code", &code)), 401, "sign_in_refused");
    shown(waiting[0], ("recovery_code", &code)).expect(200);
    session.get("/v1/account").expect(200);
}
