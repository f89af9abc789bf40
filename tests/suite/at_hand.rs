//! Proofs within a session: what somebody gets who guesses there, and what a stranger at the door does to whoever is in.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tests::{Answer, Folder, Person, SignedIn, Site, code};

/// A site that pauses after three failures, for longer than a test lasts.
static SITE: LazyLock<Site> = LazyLock::new(|| {
    let folder = Folder::init();
    folder.configure("[server]", "[people]\nlockout_tries = 3\nlockout_pause_s = 600\n\n[server]");
    let site = folder.serve();
    // This address is known, so that the count by address does not come first.
    Person::of_sandbox(&site, "audit").sign_in();
    site
});

#[track_caller]
fn refused(answer: Answer, status: u16, code: &str) {
    let document = answer.expect(status).json();
    assert_eq!(document["code"], code, "{document}");
}

fn unlock(name: &str) {
    let path = format!("/v1/admin/accounts/{name}/unlock");
    SITE.app_number(2).post(&path, &json!({"reason": "called"})).expect(200);
}

fn renew_codes(session: &SignedIn, proof: &Value) -> Answer {
    session.post("/v1/account/recovery-codes", proof)
}

/// A code that was made by nobody's secret, but for one time in a million.
fn wrong_code() -> Value {
    json!({"recovery_code": "0000-0000-0000-0000"})
}

fn pauses() -> Vec<Value> {
    SITE.audit().into_iter().filter(|entry| entry["action"] == "account.paused").collect()
}

fn attacks() -> u64 {
    let metrics = SITE.stranger(None).get("/metrics").expect(200).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("license_gateway_attacks_total "));
    line.expect("the counter").trim().parse().unwrap()
}

#[test]
fn a_guesser_in_a_session_is_paused_and_people_are_told() {
    let (mut person, session) = Person::complete(&SITE, "left-open", &["auditor"]);
    let before = attacks();
    let ways: [(&str, Value, &str); 2] = [
        ("/v1/account/recovery-codes", wrong_code(), "code_refused"),
        ("/v1/account/second-factor", wrong_code(), "code_refused"),
    ];
    for number in 0..3 {
        let (path, proof, refusal) = &ways[number % 2];
        refused(session.post(path, proof), 403, refusal);
    }
    for (path, proof, _) in &ways {
        refused(session.post(path, proof), 429, "sign_in_paused");
    }
    let told = |pause: &Value| {
        let subject = pause["subject"].as_str().unwrap();
        pause["actor"] == "person:left-open"
            && pause["outcome"] == "sign_in_paused"
            && subject.starts_with("left-open: proofs within session ")
            && subject.ends_with("from 127.0.0.1")
    };
    assert_eq!(pauses().iter().filter(|pause| told(pause)).count(), 1, "{:?}", pauses());
    assert!(attacks() > before);
    assert!(SITE.log().contains("too many failures to prove to be at hand"));
    // Each of the refused tries is on record, those for another factor too.
    let tries = |action: &str| {
        let entries = SITE.audit().into_iter();
        let of = entries.filter(|entry| entry["action"] == action && entry["actor"] == "person:left-open");
        of.filter(|entry| entry["outcome"] == "code_refused").count()
    };
    assert_eq!((tries("person.recovery_codes"), tries("person.second_factor")), (2, 1));

    // The right code is no way around the pause; passwords are counted apart, and so is the door.
    let right = json!({"recovery_code": person.recovery_codes[9]});
    refused(renew_codes(&session, &right), 429, "sign_in_paused");
    person.sign_in();
    unlock("left-open");
    renew_codes(&session, &right).expect(200);
    person.choose_password(&session, "Zw4nzig!Moorhuhn");
}

#[test]
fn a_stranger_at_the_door_keeps_nobody_from_a_proof_who_is_in() {
    let (mut person, session) = Person::complete(&SITE, "besieged", &["auditor"]);
    for _ in 0..3 {
        refused(person.try_sign_in(json!({"password": "guess"})), 401, "sign_in_refused");
    }
    refused(person.try_sign_in(json!({"password": "guess"})), 429, "sign_in_paused");
    let proof = json!({"recovery_code": person.recovery_codes[9]});
    renew_codes(&session, &proof).expect(200);
    person.choose_password(&session, "Zw4nzig!Moorhuhn");
    // Nor does it open the door for the stranger.
    refused(person.try_sign_in(json!({"password": "guess"})), 429, "sign_in_paused");
}

#[test]
fn a_right_password_pays_for_no_guess_at_a_code() {
    let (person, session) = Person::complete(&SITE, "half-known", &["auditor"]);
    let know = || {
        // The present one is right; the new one was used before, so that nothing changes.
        let body = json!({"present": person.password, "new": person.password});
        refused(session.post("/v1/account/password", &body), 422, "password_used_before");
    };
    for _ in 0..3 {
        know();
        refused(renew_codes(&session, &wrong_code()), 403, "code_refused");
    }
    know();
    refused(renew_codes(&session, &wrong_code()), 429, "sign_in_paused");
}

#[test]
fn wrong_passwords_within_a_session_pause_too() {
    let (_, session) = Person::complete(&SITE, "forgetful", &["auditor"]);
    let guess = || {
        let body = json!({"present": "another", "new": "Zw4nzig!Moorhuhn"});
        session.post("/v1/account/password", &body)
    };
    for _ in 0..3 {
        refused(guess(), 403, "password_refused");
    }
    refused(guess(), 429, "sign_in_paused");
    assert!(pauses().iter().any(|pause| pause["actor"] == "person:forgetful"), "{:?}", pauses());
}

/// A factor that somebody has begun to enrol, and left: who finds the session has not seen its secret.
#[test]
fn a_code_of_a_factor_that_was_begun_is_not_for_guessing_either() {
    let (person, session) = Person::complete(&SITE, "interrupted", &["auditor"]);
    let proof = json!({"recovery_code": person.recovery_codes[9]});
    let begun = session.post("/v1/account/second-factor", &proof).expect(200).json();
    let confirm = |code: &str| session.post("/v1/account/second-factor:confirm", &json!({"code": code}));
    for _ in 0..3 {
        refused(confirm("000000"), 403, "code_refused");
    }
    let step = u64::try_from(tests::now()).unwrap() / 30;
    let right = code(begun["secret"].as_str().unwrap(), step);
    refused(confirm(&right), 429, "sign_in_paused");
    unlock("interrupted");
    confirm(&right).expect(200);
}
