//! People: signing in and out, what each role may do, and what attackers get.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tests::{Answer, Folder, Person, Postgres, Ran, SignedIn, Site, code};

/// A site of these tests' own.
static SITE: LazyLock<Site> = LazyLock::new(Site::start);

/// What each role comes to: said here again, so that a change of the table is a decision.
const ROLES: [(&str, &[&str]); 7] = [
    ("operator", &["devices", "maintenance"]),
    ("window-clerk", &["licenses", "verifications"]),
    ("service-seat", &["devices", "licenses", "verifications"]),
    ("auditor", &["audit", "devices", "keys"]),
    ("system-admin", &["approvals", "devices", "keys", "maintenance"]),
    ("security-admin", &["accounts", "approvals", "apps", "policies", "rights", "seals"]),
    ("audit-admin", &["audit", "rights"]),
];

/// For anybody; a phone proves itself by what it scanned and by the license's key.
const OPEN: [&str; 30] = [
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
    "/authenticationService/appserver.do",
    "/docs",
    "/livez",
    "/metrics",
    "/oauth2/jwks",
    "/oauth2/token",
    "/oidc/authorize",
    "/oidc/device",
    "/oidc/device_authorization",
    "/oidc/login/{id}",
    "/oidc/login/{id}/cancel",
    "/oidc/login/{id}/continue",
    "/oidc/login/{id}/state",
    "/oidc/logout",
    "/oidc/par",
    "/oidc/revoke",
    "/oidc/token",
    "/oidc/userinfo",
    "/openapi.json",
    "/readyz",
    "/tsa",
    "/v1/phone/sessions/{id}/confirm",
    "/v1/phone/sessions/{id}/deny",
    "/v1/phone/sessions:scan",
    "/v1/sign-in",
    "/v1/sign-in:second-factor",
    "/verify/{code}",
    "/verify/{code}/evidence",
];

#[track_caller]
fn refused(answer: Answer, status: u16, code: &str) -> Value {
    let document = answer.expect(status).json();
    assert_eq!(document["code"], code, "{document}");
    document
}

/// What an answer says, but for what differs with every request.
fn said(answer: &Answer) -> Value {
    let mut document = answer.json();
    document.as_object_mut().unwrap().remove("request_id");
    document
}

fn administrator(site: &Site) -> tests::Caller {
    site.app_number(2)
}

/// Seconds until another try makes sense.
fn wait(answer: &Answer) -> u32 {
    answer.header("retry-after").parse().unwrap()
}

fn reason() -> Value {
    json!({"reason": "test"})
}

#[test]
fn the_first_account_is_made_at_the_socket_and_has_two_things_to_do() {
    let site = &*SITE;
    let mut person = Person::made(site, "first", &["operator"]);
    let session = person.sign_in();
    let me = session.get("/v1/account").expect(200).json();
    assert_eq!((&me["due"], &me["scopes"]), (&json!("password"), &json!([])), "{me}");
    refused(session.get("/v1/devices"), 403, "password_change_required");
    for (new, code) in [("short", "password_too_weak"), ("First2026!!!", "password_too_weak")] {
        let body = json!({"present": person.password, "new": new});
        let document = refused(session.post("/v1/account/password", &body), 422, code);
        assert_eq!(document["errors"][0]["field"], "new");
    }
    let body = json!({"present": "another", "new": "kT7-vepo-Quag"});
    refused(session.post("/v1/account/password", &body), 403, "password_refused");
    let body = json!({"present": person.password, "new": person.password});
    refused(session.post("/v1/account/password", &body), 422, "password_used_before");
    person.choose_password(&session, "kT7-vepo-Quag");

    refused(session.get("/v1/devices"), 403, "second_factor_required");
    refused(
        session.post("/v1/account/second-factor:confirm", &json!({"code": "000000"})),
        409,
        "second_factor_not_begun",
    );
    let complete = person.enrol(&session);
    refused(session.get("/v1/account"), 401, "token_invalid"); // who knew it before the second factor is out
    let me = complete.get("/v1/account").expect(200).json();
    assert_eq!((&me["due"], &me["scopes"]), (&Value::Null, &json!(["devices", "maintenance"])), "{me}");
    assert_eq!((&me["password"]["days_left"], &me["password"]["remind"]), (&json!(89), &json!(false)));
    complete.get("/v1/devices").expect(200);
    refused(complete.get("/v1/admin/apps"), 403, "scope_missing");
    assert_eq!(person.recovery_codes.len(), 10);

    complete.post("/v1/devices/d9/self-test", &json!({"reason": "by a person"}));
    let entries = site.audit();
    let by = |action: &str| {
        entries.iter().any(|entry| entry["action"] == action && entry["actor"] == "person:first")
    };
    assert!(by("person.sign_in") && by("person.password") && by("person.second_factor"));
    assert!(entries.iter().any(|entry| entry["actor"] == "person:first" && entry["device"] == "d9"));
    let log: String = entries.iter().map(Value::to_string).chain([site.log()]).collect();
    for secret in ["张三", &person.password, &person.secret, &complete.token, &session.token] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[test]
fn whatever_is_wrong_at_the_door_the_answer_is_the_same() {
    let site = Site::start();
    let (mut person, _) = Person::complete(&site, "wang.lei", &["auditor"]);
    let (off, _) = Person::complete(&site, "left", &["auditor"]);
    administrator(&site).post("/v1/admin/accounts/left/disable", &reason()).expect(200);
    let nobody = site.stranger(None);
    let sign_in = |account: &str, password: &str| {
        nobody.post("/v1/sign-in", &json!({"account": account, "password": password}))
    };
    let wrong = sign_in("wang.lei", "kT7-vepo-Quah");
    refused(sign_in("nobody", "kT7-vepo-Quag"), 401, "sign_in_refused");
    let code = person.code();
    for other in [
        sign_in("nobody", "kT7-vepo-Quah"),
        sign_in("Wang.lei", "kT7-vepo-Quag"),
        sign_in("w\u{430}ng.lei", "kT7-vepo-Quag"),
        sign_in("left", &off.password),
        person.try_sign_in(json!({"password": person.password, "code": "000000"})),
        person.try_sign_in(json!({"password": "wrong", "code": code})),
        person.try_sign_in(json!({"password": person.password, "recovery_code": "AAAA-BBBB-CCCC-DDDD"})),
        nobody.post("/v1/sign-in:second-factor", &json!({"pending_token": "lgw_q_none", "code": "000000"})),
    ] {
        assert_eq!((other.status, said(&other)), (wrong.status, said(&wrong)));
        let fields =
            |answer: &Answer| answer.headers.keys().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(fields(&other), fields(&wrong));
    }
    // The record knows more than who asked.
    let acts = || site.audit().iter().map(Value::to_string).collect::<String>();
    tests::eventually("the refusals are on record", std::time::Duration::from_secs(60), || {
        acts().contains("unproved:person:wang.lei:127.0.0.1").then_some(())
    });
    assert!(!acts().contains("unproved:person:nobody"), "what is no account's name may be a password");
}

#[test]
fn the_second_factor_may_come_in_a_second_request() {
    let site = &*SITE;
    let (mut person, _) = Person::complete(site, "two-steps", &["auditor"]);
    let first = person.try_sign_in(json!({"password": person.password})).expect(200);
    assert_eq!(first.header("cache-control"), "no-store");
    let first = first.json();
    assert_eq!((&first["state"], &first["token"]), (&json!("second_factor_awaited"), &Value::Null));
    let pending = first["pending_token"].as_str().unwrap();
    // It is good for nothing else.
    refused(SignedIn::with(site, pending).get("/v1/account"), 401, "token_invalid");
    let nobody = site.stranger(None);
    let code = person.code();
    let body = json!({"pending_token": pending, "code": code});
    let second = nobody.post("/v1/sign-in:second-factor", &body).expect(200).json();
    let session = SignedIn::with(site, second["token"].as_str().unwrap());
    session.get("/v1/audit/entries").expect(200);
    refused(nobody.post("/v1/sign-in:second-factor", &body), 401, "sign_in_refused");
    let token = session.token.clone();
    let body = json!({"pending_token": token, "code": "000000"});
    refused(nobody.post("/v1/sign-in:second-factor", &body), 401, "sign_in_refused");
}

#[test]
fn a_code_counts_once() {
    let site = &*SITE;
    let (mut person, _) = Person::complete(site, "replayed", &["auditor"]);
    let seen = person.code();
    let body = json!({"password": person.password, "code": seen});
    person.try_sign_in(body.clone()).expect(200);
    refused(person.try_sign_in(body), 401, "sign_in_refused");
    // A recovery code too, however it is typed.
    let mine = person.recovery_codes[9].clone();
    person.recover().get("/v1/account").expect(200);
    let body = json!({"password": person.password, "recovery_code": mine.to_lowercase().replace('-', " ")});
    refused(person.try_sign_in(body), 401, "sign_in_refused");
    assert_eq!(person.recover().get("/v1/account").expect(200).json()["recovery_codes_left"], 8);
}

#[test]
fn signing_out_ends_the_session_at_once_and_no_other() {
    let site = &*SITE;
    let (mut person, one) = Person::complete(site, "leaving", &["auditor"]);
    let (other, _) = (person.recover(), person.recover());
    let (_, somebody_else) = Person::complete(site, "staying", &["auditor"]);
    one.post("/v1/sign-out", &json!({})).expect(200);
    refused(one.get("/v1/account"), 401, "token_invalid");
    refused(one.post("/v1/sign-out", &json!({})), 401, "token_invalid");
    other.get("/v1/account").expect(200);

    // Sessions are each account's own.
    let theirs = somebody_else.get("/v1/account").expect(200).json();
    let id = theirs["session"]["id"].as_str().unwrap();
    refused(other.post(&format!("/v1/account/sessions/{id}/end"), &json!({})), 404, "unknown_session");
    let listed = other.get("/v1/account/sessions").expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    assert_eq!(listed["items"].as_array().unwrap().iter().filter(|one| one["current"] == true).count(), 1);
    other.post("/v1/account/sessions:end-others", &json!({})).expect(200);
    assert_eq!(other.get("/v1/account/sessions").expect(200).json()["items"].as_array().unwrap().len(), 1);
    administrator(site).post("/v1/admin/accounts/leaving/end-sessions", &reason()).expect(200);
    refused(other.get("/v1/account"), 401, "token_invalid");
    somebody_else.get("/v1/account").expect(200);
}

#[test]
fn a_guesser_is_paused_longer_and_longer_and_people_are_told() {
    let folder = Folder::init();
    folder.configure("[server]", "[people]\nlockout_tries = 3\nlockout_pause_s = 10\n\n[server]");
    let site = folder.serve();
    // This address is known, so that the count by address does not come first.
    Person::of_sandbox(&site, "audit").sign_in();
    let (mut person, _) = Person::complete(&site, "guessed", &["auditor"]);
    let code = person.code();
    let right = json!({"password": person.password, "code": code});
    for name in ["guessed", "nobody-at-all"] {
        let guess =
            || site.stranger(None).post("/v1/sign-in", &json!({"account": name, "password": "guess"}));
        for _ in 0..3 {
            refused(guess(), 401, "sign_in_refused");
        }
        let paused = guess().expect(429);
        assert_eq!(paused.json()["code"], "sign_in_paused");
        assert!((1..=11).contains(&wait(&paused)), "{}", wait(&paused));
        if name == "guessed" {
            // The right password is no way around the pause.
            refused(person.try_sign_in(right.clone()), 429, "sign_in_paused");
        }
    }
    // When it ends one more guess begins a longer one.
    tests::eventually("the pause ends", std::time::Duration::from_secs(60), || {
        (person.try_sign_in(json!({"password": "guess"})).status == 401).then_some(())
    });
    let longer = person.try_sign_in(json!({"password": "guess"})).expect(429);
    assert!((11..=21).contains(&wait(&longer)), "{}", wait(&longer));
    administrator(&site).post("/v1/admin/accounts/guessed/unlock", &reason()).expect(200);
    person.try_sign_in(right).expect(200);
    let alarms: Vec<_> =
        site.audit().into_iter().filter(|entry| entry["action"] == "account.paused").collect();
    assert!(alarms.iter().any(|alarm| alarm["subject"] == "guessed"), "{alarms:?}");
    assert!(alarms.iter().all(|alarm| !alarm.to_string().contains("nobody-at-all")), "{alarms:?}");
    assert!(site.log().contains("too many failures to sign in"));
}

#[test]
fn what_a_person_may_do_changes_at_once() {
    let site = &*SITE;
    let admin = administrator(site);
    let (_, session) = Person::complete(site, "mover", &["operator"]);
    session.get("/v1/devices").expect(200);
    let change = |roles: &[&str]| {
        let body = json!({"display_name": "李四", "roles": roles, "reason": "moved"}).to_string();
        let json = [("content-type", "application/json")];
        admin.send("PUT", "/v1/admin/accounts/mover", &json, Some(body.as_bytes()))
    };
    change(&["window-clerk"]).expect(200);
    refused(session.get("/v1/devices"), 403, "scope_missing");
    let uscc = site.sandbox()["licenses"][0].as_str().unwrap().to_owned();
    let face = session.get(&format!("/v1/licenses/{uscc}/face")).expect(200).json();
    assert!(face["face"]["name"].is_string() || face["name"].is_string(), "{face}");
    let look = site.audit().into_iter().rev().find(|entry| entry["action"] == "license.face").unwrap();
    assert_eq!(look["actor"], "person:mover");
    admin.post("/v1/admin/accounts/mover/disable", &reason()).expect(200);
    refused(session.get("/v1/account"), 401, "token_invalid");
    admin.post("/v1/admin/accounts/mover/enable", &reason()).expect(200);
    refused(session.get("/v1/account"), 401, "token_invalid"); // what ended stays ended
}

#[test]
fn a_personal_access_token_is_worth_what_it_says() {
    let site = &*SITE;
    let (_, session) = Person::complete(site, "scripted", &["auditor"]);
    let ask = |body: Value| session.post("/v1/account/tokens", &body);
    for (body, field) in [
        (json!({"name": "", "scopes": ["audit"], "days": 1}), "name"),
        (json!({"name": "n", "scopes": [], "days": 1}), "scopes"),
        (json!({"name": "n", "scopes": ["accounts"], "days": 1}), "scopes"),
        (json!({"name": "n", "scopes": ["audit"], "days": 91}), "days"),
        (json!({"name": "n", "scopes": ["audit"], "days": 0}), "days"),
    ] {
        assert_eq!(ask(body).expect(422).json()["errors"][0]["field"], field);
    }
    let made = ask(json!({"name": "nightly export", "scopes": ["audit"], "days": 30})).expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    let token = SignedIn::with(site, made["token"].as_str().unwrap());
    token.get("/v1/audit/entries").expect(200);
    refused(token.get("/v1/devices"), 403, "scope_missing");
    // It is no person: it neither changes the account nor makes other tokens.
    for (path, body) in [
        ("/v1/account/tokens", json!({"name": "n", "scopes": ["audit"], "days": 1})),
        ("/v1/account/password", json!({"present": "kT7-vepo-Quag", "new": "Zw4nzig!Moorhuhn"})),
        ("/v1/account/second-factor", json!({})),
        ("/v1/account/sessions:end-others", json!({})),
    ] {
        refused(token.post(path, &body), 403, "person_required");
    }
    let id = made["id"].as_str().unwrap();
    session.post(&format!("/v1/account/sessions/{id}/end"), &json!({})).expect(200);
    refused(token.get("/v1/audit/entries"), 401, "token_invalid");
}

#[test]
fn tokens_that_are_none_prove_nothing() {
    let site = &*SITE;
    let (_, session) = Person::complete(site, "real", &["auditor"]);
    let mut changed = session.token.clone();
    // A bit that counts: the last two of them say nothing.
    changed.replace_range(changed.len() - 1.., if changed.ends_with('A') { "E" } else { "A" });
    for token in ["lgw_s_", "lgw_", "lgw_p_x", &changed, &session.token.to_uppercase(), &session.token[6..]] {
        assert_eq!(
            SignedIn::with(site, token).get("/v1/account").expect(401).json()["code"],
            "token_invalid"
        );
    }
    let bearer = format!("Bearer {}", session.token);
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap();
    let both = [("authorization", bearer.as_str()), ("x-api-key", key)];
    refused(site.stranger(None).send("GET", "/v1/account", &both, None), 400, "credentials_ambiguous");
    refused(site.app().get("/v1/account"), 403, "person_required");
}

#[test]
fn who_guesses_tokens_is_looked_up_so_often_and_no_more() {
    let site = Site::start();
    let guess = |number: u32| {
        let token = format!("lgw_s_{number:042}0"); // has the form of one
        SignedIn::with(&site, &token).get("/v1/account")
    };
    refused(guess(0), 401, "token_invalid");
    // What is none at all is no guess, however often it is shown.
    for _ in 0..400 {
        refused(SignedIn::with(&site, "lgw_s_x").get("/v1/account"), 401, "token_invalid");
    }
    let sign_in = || {
        let body = json!({"account": "nobody", "password": "kT7-vepo-Quag"});
        site.stranger(None).post("/v1/sign-in", &body)
    };
    refused(sign_in(), 401, "sign_in_refused");
    for number in 0..300 {
        guess(number);
    }
    refused(sign_in(), 429, "too_many_attempts");
    refused(guess(300), 429, "too_many_attempts");

    // Where people are known they are let in, whatever strangers do there.
    let site = Site::start();
    let (_, session) = Person::complete(&site, "known", &["auditor"]);
    for number in 0..310 {
        SignedIn::with(&site, &format!("lgw_s_{number:042}0")).get("/v1/account");
    }
    session.get("/v1/account").expect(200);
}

#[test]
fn what_cannot_be_an_account_is_refused_with_every_fault() {
    let site = &*SITE;
    let admin = administrator(site);
    let post = |body: Value| admin.post("/v1/admin/accounts", &body);
    let answer =
        post(json!({"name": "Li", "display_name": " ", "roles": ["king"], "reason": ""})).expect(422).json();
    let fields: Vec<_> =
        answer["errors"].as_array().unwrap().iter().map(|fault| fault["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["name", "display_name", "roles", "reason"], "{answer}");
    let with = |member: &str, value: Value| {
        let mut body = json!({"name": "li.na", "display_name": "李娜", "roles": [], "reason": "test"});
        body[member] = value;
        post(body)
    };
    // Letters of other scripts, full width, zero width, right to left.
    for alike in ["l\u{456}.na", "\u{ff4c}i.na", "li.na\u{200d}", "li\u{2024}na", "李娜", "l"] {
        assert_eq!(with("name", json!(alike)).expect(422).json()["errors"][0]["field"], "name", "{alike:?}");
    }
    for unseen in ["李\u{200b}娜", "\u{202e}娜李", "a\nb"] {
        assert_eq!(
            with("display_name", json!(unseen)).expect(422).json()["code"],
            "invalid_value",
            "{unseen:?}"
        );
    }
    for roles in [
        ["system-admin", "security-admin"],
        ["system-admin", "audit-admin"],
        ["security-admin", "audit-admin"],
        ["audit-admin", "operator"],
    ] {
        assert_eq!(with("roles", json!(roles)).expect(422).json()["code"], "roles_conflict", "{roles:?}");
    }
    refused(admin.get("/v1/admin/accounts/nobody-here"), 404, "unknown_account");
    refused(admin.get("/v1/admin/accounts/NOBODY"), 404, "unknown_account");
    let made = with("name", json!("once")).expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    assert!(made.json()["one_time_password"].is_string());
    refused(with("name", json!("once")), 409, "account_exists");
}

#[test]
fn nobody_changes_the_rights_of_the_own_account() {
    let site = &*SITE;
    let (_, session) = Person::complete(site, "granter", &["security-admin"]);
    let body = json!({"display_name": "x", "roles": ["system-admin"], "reason": "more"});
    refused(session.send("PUT", "/v1/admin/accounts/granter", Some(&body)), 403, "own_account");
    for verb in ["enable", "disable", "reset-password", "reset-second-factor", "end-sessions", "unlock"] {
        let path = format!("/v1/admin/accounts/granter/{verb}");
        refused(session.post(&path, &reason()), 403, "own_account");
    }
    // Somebody else's may be changed: that is what the role is for.
    Person::made(site, "granted", &[]);
    session.post("/v1/admin/accounts/granted/reset-second-factor", &reason()).expect(200);
}

#[test]
fn an_account_that_was_altered_in_the_database_lets_nobody_in() {
    let site = Site::start();
    let (mut person, session) = Person::complete(&site, "altered", &["auditor"]);
    session.get("/v1/account").expect(200);
    let mut sqlite = Command::new("sqlite3");
    let change = r#"UPDATE accounts SET roles = '["security-admin"]' WHERE name = 'altered'"#;
    Ran::of(sqlite.args(["-cmd", ".timeout 10000"]).arg(site.data().join("gateway.db")).arg(change))
        .expect("sqlite3 writes");
    refused(session.get("/v1/account"), 401, "token_invalid");
    let code = person.code();
    refused(person.try_sign_in(json!({"password": person.password, "code": code})), 401, "sign_in_refused");
    assert!(site.log().contains("a row was altered outside the gateway"));
    refused(administrator(&site).post("/v1/admin/accounts/altered/enable", &reason()), 503, "data_altered");
}

#[test]
fn a_session_that_ends_at_one_gateway_has_ended_at_the_other() {
    let server = Postgres::start();
    let first = Folder::init_on(&server).serve();
    let second = Folder::beside(&first, "second").serve();
    let mut person = Person::of_sandbox(&first, "console");
    let here = person.sign_in();
    let there = SignedIn::with(&second, &here.token);
    there.get("/v1/devices").expect(200);
    there.post("/v1/sign-out", &json!({})).expect(200);
    refused(here.get("/v1/devices"), 401, "token_invalid");
    // A code that counted at one counts at the other no more, and tries are counted together.
    let used = person.code();
    let body = json!({"account": "console", "password": person.password, "code": used});
    first.stranger(None).post("/v1/sign-in", &body).expect(200);
    refused(second.stranger(None).post("/v1/sign-in", &body), 401, "sign_in_refused");
    for site in [&first, &second, &first, &second] {
        refused(site.stranger(None).post("/v1/sign-in", &body), 401, "sign_in_refused");
    }
    for site in [&first, &second] {
        refused(site.stranger(None).post("/v1/sign-in", &body), 429, "sign_in_paused");
    }
    drop((first, second, server)); // the gateways before their database
}

#[test]
fn the_people_of_the_sandbox_sign_in_and_survive_a_restart() {
    let site = Site::start();
    let console = &site.sandbox()["console"];
    let step = u64::try_from(tests::now()).unwrap() / 30;
    let code = code(console["totp_secret"].as_str().unwrap(), step);
    let body = json!({"account": console["user"], "password": console["password"], "code": code});
    let answer = site.stranger(None).post("/v1/sign-in", &body).expect(200).json();
    let token = answer["token"].as_str().unwrap().to_owned();
    let (folder, _) = site.stop();
    let site = folder.serve();
    SignedIn::with(&site, &token).get("/v1/devices").expect(200);
    assert_eq!(site.sandbox()["console"]["user"], "console");
    assert!(!site.log().contains(&token));
}

#[test]
fn every_operation_says_what_it_takes_and_roles_get_that_and_no_more() {
    let site = Site::start();
    let document = site.stranger(None).get("/openapi.json").expect(200).json();
    let mut people = BTreeMap::new();
    for (role, scopes) in ROLES {
        let (_, session) = Person::complete(&site, role, &[role]);
        let me = session.get("/v1/account").expect(200).json();
        let granted: BTreeSet<_> =
            me["scopes"].as_array().unwrap().iter().map(|scope| scope.as_str().unwrap()).collect();
        assert_eq!(granted, scopes.iter().copied().collect(), "{role}");
        people.insert(role, session);
    }
    let (mut held, mut operations) = (BTreeSet::new(), 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let security = operation["security"].as_array();
            if OPEN.contains(&path.as_str()) {
                assert!(security.is_none(), "{method} {path} is for anybody");
                continue;
            }
            let security = security.unwrap_or_else(|| panic!("nothing says what {method} {path} takes"));
            let way = security.iter().find_map(|way| way["access_token"].as_array());
            let scopes = way.unwrap_or_else(|| panic!("{method} {path} takes no token"));
            let scopes: BTreeSet<_> = scopes.iter().map(|scope| scope.as_str().unwrap()).collect();
            if scopes.is_empty() {
                continue; // it is about the caller's own
            }
            operations += 1;
            // With parameters that name nothing, and an empty body: what is not refused for the scope does nothing.
            let target: String = path
                .split('/')
                .map(|part| if part.starts_with('{') { "none" } else { part })
                .collect::<Vec<_>>()
                .join("/");
            for (role, granted) in ROLES {
                let may = scopes.iter().all(|scope| granted.contains(scope));
                let answer = people[role].send(&method.to_uppercase(), &target, Some(&json!({})));
                let missing = answer.status == 403 && answer.json()["code"] == "scope_missing";
                assert_eq!(missing, !may, "{role} {method} {path}: {} {}", answer.status, answer.text());
                if may {
                    held.extend(scopes.iter().map(|scope| (*scope).to_owned()));
                    let reads = method == "get"
                        || scopes.iter().all(|scope| ["licenses", "verifications"].contains(scope));
                    assert!(
                        reads || !["auditor", "audit-admin"].contains(&role),
                        "{role} changes something: {path}"
                    );
                }
            }
        }
    }
    assert!(operations > 60, "{operations}");
    // Signatures are made for apps; every other scope is some role's.
    let all: BTreeSet<_> =
        ROLES.iter().flat_map(|(_, scopes)| scopes.iter().map(|scope| (*scope).to_owned())).collect();
    assert_eq!(held, all);
}

#[test]
fn the_review_shows_who_may_do_what_and_who_does() {
    let site = Site::start();
    let (_, session) = Person::complete(&site, "reader", &["audit-admin"]);
    Person::made(&site, "never-came", &["operator"]);
    session.get("/v1/audit/entries").expect(200);
    site.app().get("/v1/keys").expect(200);
    // Also of operations that one of two scopes is enough for, and of those where it depends on what is asked for.
    let (_, auditor) = Person::complete(&site, "watcher", &["auditor"]);
    tests::eventually("a checkpoint covers the first entry", std::time::Duration::from_secs(60), || {
        (auditor.get("/v1/audit/proofs/0").status == 200).then_some(())
    });
    auditor.get("/v1/timestamps/clock").expect(200);
    let (_, clerk) = Person::complete(&site, "counter", &["window-clerk"]);
    assert_ne!(clerk.post("/v1/timestamps:verify", &json!({"token": "AA=="})).status, 403);
    let find = |list: &Value, member: &str, name: &str| {
        list.as_array().unwrap().iter().find(|item| item[member] == name).cloned().unwrap()
    };
    let review = tests::eventually("the use of rights is noted", std::time::Duration::from_secs(60), || {
        let review = session.get("/v1/admin/accounts:review").expect(200).json();
        let person = find(&review["accounts"], "name", "reader");
        let app = find(&review["apps"], "id", "sandbox-registration");
        let used =
            |name: &str, right: &str| find(&review["accounts"], "name", name)["rights"][right].is_string();
        let noted = [("watcher", "audit"), ("watcher", "devices"), ("counter", "verifications")];
        let noted =
            noted.into_iter().all(|(name, right)| used(name, right)) && person["rights"]["audit"].is_string();
        (noted && app["rights"]["keys"].is_string()).then_some(review)
    });
    let never = find(&review["accounts"], "name", "never-came");
    assert_eq!(never["unused_rights"], json!(["devices", "maintenance"]));
    assert_eq!((&never["last_seen_at"], &never["second_factor"]), (&Value::Null, &json!(false)));
    let app = find(&review["apps"], "id", "sandbox-registration");
    let unused: Vec<_> =
        app["unused_rights"].as_array().unwrap().iter().map(|right| right.as_str().unwrap()).collect();
    assert!(!unused.contains(&"keys") && unused.contains(&"signatures"), "{unused:?}");
    assert!(app["last_used_at"].is_string());

    let output = site.command(&["account", "review", "--csv"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let csv = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert!(lines[0].starts_with("kind,name,called,state,roles,rights,unused_rights,"), "{csv}");
    assert!(
        lines.iter().any(|line| line.starts_with(r#""person","never-came","张三","enabled","operator""#)),
        "{csv}"
    );
    assert!(lines.iter().any(|line| line.starts_with(r#""app","sandbox-portal""#)), "{csv}");
    let columns = |line: &&str| line.matches("\",\"").count();
    assert!(lines[1..lines.len() - 1].iter().all(|line| columns(line) == 10), "{csv}");
    let table = site.command(&["account", "review"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("person:never-came"));
}
