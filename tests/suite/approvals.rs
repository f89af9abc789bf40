//! Two people: what one asks for another one approves; it is made once, or not at all, and all of it is on record.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Answer, Folder, Person, Postgres, Ran, Scratch, SignedIn, Site, base64, eventually};

const SOON: Duration = Duration::from_secs(60);
const PATH: &str = "/v1/admin/approvals";

/// A site of these tests' own with both who ask and approve; a person has few codes a minute.
struct Two {
    site: Site,
    security: SignedIn,
    system: SignedIn,
}

static TWO: LazyLock<Two> = LazyLock::new(|| two(strict(Folder::init()).serve()));

/// Wants two people.
fn strict(folder: Folder) -> Folder {
    folder.configure("[site]\n", "[administration]\ntwo_person = true\n[site]\n");
    folder
}

fn two(site: Site) -> Two {
    let [security, system] = ["security", "console"].map(|name| Person::of_sandbox(&site, name).sign_in());
    Two { site, security, system }
}

fn put(person: &SignedIn, path: &str, body: &Value) -> Answer {
    person.send("PUT", path, Some(body))
}

fn app(id: &str) -> Value {
    json!({"id": id, "name": "窗口登记业务系统", "scopes": ["keys", "signatures"], "keys": ["demo-sm2"],
        "contacts": ["值班室 13800000000"], "reason": "contract 2026-17"})
}

/// The id of a change that waits now.
#[track_caller]
fn asked(answer: Answer) -> String {
    let body = answer.expect(202).json();
    assert_eq!(body["state"], "pending", "{body}");
    body["approval"].as_str().unwrap().to_owned()
}

fn decide(person: &SignedIn, id: &str, verb: &str) -> Answer {
    person.post(&format!("{PATH}/{id}/{verb}"), &json!({"reason": "checked"}))
}

#[track_caller]
fn approved(id: &str) {
    let done = decide(&TWO.system, id, "approve").expect(200).json();
    assert_eq!((&done["state"], &done["outcome"]), (&json!("done"), &json!("ok")), "{done}");
}

/// Enters an app by two people.
fn entered(id: &str) {
    approved(&asked(TWO.security.post("/v1/admin/apps", &app(id))));
}

fn outcomes(site: &Site, id: &str) -> Vec<(String, String, String)> {
    let of = |entry: &Value, member: &str| entry[member].as_str().unwrap_or_default().to_owned();
    let about = site.audit().into_iter().filter(|entry| of(entry, "subject").starts_with(&format!("{id}: ")));
    about.map(|entry| (of(&entry, "action"), of(&entry, "actor"), of(&entry, "outcome"))).collect()
}

#[test]
fn a_change_waits_and_is_shown_and_is_made_when_somebody_else_approves_it() {
    let Two { site, security, system } = &*TWO;
    let answer = security.post("/v1/admin/apps", &app("waits")).expect(202);
    let body = answer.json();
    let id = body["approval"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), format!("{PATH}/{id}"));
    assert_eq!(system.get("/v1/admin/apps/waits").status, 403, "who operates does not read the register");
    assert_eq!(security.get("/v1/admin/apps/waits").expect(404).json()["code"], "unknown_app");

    let shown = system.get(&format!("{PATH}/{id}")).expect(200).json();
    let member = |name: &str| shown[name].as_str().unwrap().to_owned();
    assert_eq!(
        (member("action"), member("subject"), member("state")),
        ("app.create".into(), "waits".into(), "pending".into())
    );
    assert_eq!((member("asked_by"), member("reason")), ("person:security".into(), "contract 2026-17".into()));
    let difference = shown["difference"].as_array().unwrap();
    let of = |field: &str| difference.iter().find(|difference| difference["field"] == field).unwrap();
    assert_eq!((&of("exists")["before"], &of("exists")["after"]), (&json!(false), &json!(true)));
    assert_eq!((&of("keys")["before"], &of("keys")["after"]), (&Value::Null, &json!(["demo-sm2"])));
    assert_eq!(shown["difference"], body["difference"]);
    let pending = system.get(&format!("{PATH}?state=pending")).expect(200).json();
    assert!(pending["items"].as_array().unwrap().iter().any(|item| item["id"] == *id), "{pending}");

    // Neither the asker, nor an app, nor the machine's user.
    assert_eq!(decide(security, &id, "approve").expect(403).json()["code"], "own_approval");
    assert_eq!(decide(security, &id, "reject").expect(403).json()["code"], "own_approval");
    let operations = site.app_number(2).post(&format!("{PATH}/{id}/approve"), &json!({"reason": "x"}));
    assert_eq!(operations.expect(403).json()["code"], "scope_missing");
    let output = site.command(&["approval", "approve", &id, "--reason", "x", "--json"]);
    let refused: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!output.status.success() && refused["code"] == "person_required", "{refused}");

    approved(&id);
    let made = security.get("/v1/admin/apps/waits").expect(200).json();
    assert_eq!((&made["state"], &made["keys"]), (&json!("enabled"), &json!(["demo-sm2"])));
    for verb in ["approve", "reject"] {
        assert_eq!(decide(system, &id, verb).expect(409).json()["code"], "approval_not_pending", "{verb}");
    }
    let entry =
        |action: &str, actor: &str, outcome: &str| (action.to_owned(), actor.to_owned(), outcome.to_owned());
    let log = outcomes(site, &id);
    assert_eq!(
        log[..5],
        [
            entry("approval.ask", "person:security", "intended"),
            entry("approval.ask", "person:security", "ok"),
            entry("approval.approve", "person:console", "intended"),
            entry("approval.approve", "person:console", "ok"),
            entry("approval.outcome", "person:console", "ok"),
        ]
    );
    let create = site.audit().into_iter().rfind(|entry| entry["action"] == "app.create").unwrap();
    assert_eq!(create["actor"], "person:security");
    let said = create["subject"].as_str().unwrap();
    assert!(said.contains(&format!("[approval {id}, by person:console]")), "{said}");
    assert!(!site.audit().iter().any(|entry| entry.to_string().contains("13800000000")));
}

#[test]
fn what_is_rejected_or_withdrawn_is_not_made() {
    let Two { security, system, .. } = &*TWO;
    let id = asked(security.post("/v1/admin/apps", &app("unwanted")));
    let rejected = decide(system, &id, "reject").expect(200).json();
    assert_eq!((&rejected["state"], &rejected["decided_by"]), (&json!("rejected"), &json!("person:console")));
    let id = asked(security.post("/v1/admin/apps", &app("unwanted")));
    assert_eq!(decide(system, &id, "withdraw").expect(403).json()["code"], "not_own_approval");
    assert_eq!(decide(security, &id, "withdraw").expect(200).json()["state"], "withdrawn");
    assert_eq!(decide(system, &id, "approve").expect(409).json()["code"], "approval_not_pending");
    assert_eq!(security.get("/v1/admin/apps/unwanted").expect(404).json()["code"], "unknown_app");
    for path in [format!("{PATH}/none"), format!("{PATH}/%00")] {
        assert_eq!(system.get(&path).expect(404).json()["code"], "unknown_approval", "{path}");
    }
    assert_eq!(system.get(&format!("{PATH}?state=lost")).expect(422).json()["code"], "invalid_value");
    let faulty = security.post("/v1/admin/apps", &json!({"id": "a b", "name": "", "reason": ""}));
    assert_eq!(faulty.expect(422).json()["errors"].as_array().unwrap().len(), 3, "before anybody is asked");
}

#[test]
fn what_was_changed_meanwhile_makes_a_request_stale_and_names_it() {
    let Two { security, system, .. } = &*TWO;
    entered("stale");
    let path = "/v1/admin/apps/stale";
    let mut change = app("stale");
    change["name"] = json!("another name");
    let first = asked(put(security, path, &change));
    change["scopes"] = json!(["keys"]);
    let second = asked(put(security, path, &change));
    approved(&first);
    let problem = decide(system, &second, "approve").expect(409).json();
    assert_eq!(
        (&problem["code"], &problem["errors"][0]["field"]),
        (&json!("approval_stale"), &json!("name"))
    );
    assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
    let ended = system.get(&format!("{PATH}/{second}")).expect(200).json();
    assert_eq!((&ended["state"], &ended["outcome"]), (&json!("failed"), &json!("approval_stale")));
    assert_eq!(security.get(path).expect(200).json()["scopes"], json!(["keys", "signatures"]));

    // What contains harm waits for nobody, and no request from before undoes it.
    let enable = |verb: &str| security.post(&format!("{path}/{verb}"), &json!({"reason": "x"}));
    let widening =
        asked(put(security, &format!("{path}/keys"), &json!({"keys": ["demo-p256"], "reason": "x"})));
    enable("lock").expect(200);
    assert_eq!(decide(system, &widening, "approve").expect(409).json()["errors"][0]["field"], "state");
    let again = asked(enable("enable"));
    enable("disable").expect(200);
    assert_eq!(decide(system, &again, "approve").expect(409).json()["code"], "approval_stale");
    approved(&asked(enable("enable")));
    assert_eq!(security.get(path).expect(200).json()["state"], "enabled");
    enable("freeze").expect(200);
    assert_eq!(security.get(path).expect(200).json()["state"], "locked");
}

#[test]
fn a_new_credentials_secret_is_for_the_asker_alone() {
    let Two { site, security, system } = &*TWO;
    entered("secretive");
    let path = "/v1/admin/apps/secretive/credentials";
    let answer = security.post(path, &json!({"kind": "api-key", "reason": "first"})).expect(202);
    assert_eq!(answer.header("cache-control"), "no-store");
    let (secret, id) = {
        let body = answer.json();
        (body["secret"].as_str().unwrap().to_owned(), body["approval"].as_str().unwrap().to_owned())
    };
    assert_eq!(site.stranger(Some(&secret)).get("/v1/keys").status, 401, "not before it is approved");
    let mut told = system.get(&format!("{PATH}/{id}")).expect(200).text();
    told += &system.get(PATH).expect(200).text();
    told += &decide(system, &id, "approve").expect(200).text();
    assert!(told.contains("api-key"), "{told}");
    site.stranger(Some(&secret)).get("/v1/keys").expect(200);
    let (id, hmac) = {
        let body = security.post(path, &json!({"kind": "hmac-sm3", "reason": "second"})).expect(202).json();
        (body["approval"].as_str().unwrap().to_owned(), body["secret"].as_str().unwrap().to_owned())
    };
    told += &decide(system, &id, "approve").expect(200).text();
    told += &site.log();
    told += &site.audit().iter().map(Value::to_string).collect::<String>();
    let mut stored = Vec::new();
    for name in ["gateway.db", "gateway.db-wal"] {
        stored.extend(std::fs::read(site.data().join(name)).unwrap_or_default());
    }
    for secret in [&secret, &hmac] {
        assert!(!told.contains(secret.as_str()));
        assert!(!stored.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    let credentials = security.get("/v1/admin/apps/secretive").expect(200).json()["credentials"].clone();
    let of_kind =
        |kind: &str| credentials.as_array().unwrap().iter().find(|known| known["kind"] == kind).unwrap();
    let first = of_kind("api-key")["id"].as_str().unwrap();
    security.post(&format!("{path}/{first}/revoke"), &json!({"reason": "lost"})).expect(200);
    assert_eq!(site.stranger(Some(&secret)).get("/v1/keys").status, 401);
}

#[test]
fn keys_and_policies_of_apps_wait_too() {
    let Two { site, security, system } = &*TWO;
    entered("bound");
    let keys =
        |keys: Value| put(security, "/v1/admin/apps/bound/keys", &json!({"keys": keys, "reason": "x"}));
    approved(&asked(keys(json!(["demo-p256", "demo-sm2"]))));
    let made = security.get("/v1/admin/apps/bound").expect(200).json();
    assert_eq!(made["keys"], json!(["demo-p256", "demo-sm2"]));

    let path = "/v1/admin/policies/bound";
    let rules = |name: &str| json!({"rules": [{"name": name, "formats": ["cms"]}], "reason": "x"});
    let (one, other) =
        (asked(put(security, path, &rules("one"))), asked(put(security, path, &rules("other"))));
    assert_eq!(security.get(path).expect(200).json()["state"], "none");
    approved(&one);
    assert_eq!(security.get(path).expect(200).json()["rules"][0]["name"], "one");
    let stale = decide(system, &other, "approve").expect(409).json();
    let fields: Vec<_> =
        stale["errors"].as_array().unwrap().iter().map(|error| error["field"].clone()).collect();
    assert_eq!(fields, ["rules", "version"]);
    let late = json!({"rules": [], "replaces": 0, "reason": "x"});
    assert_eq!(put(security, path, &late).expect(409).json()["code"], "policy_changed");

    // By the command, with a person's token.
    let scratch = Scratch::new();
    let token = scratch.write("token", format!("{}\n", system.token));
    let token = token.to_str().unwrap();
    let id = asked(put(security, path, &rules("third")));
    let ran = |arguments: &[&str]| {
        let output = site.command(&[&["approval"], arguments].concat());
        assert!(output.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(ran(&["list", "--state", "pending"]).contains(&id));
    let shown = ran(&["show", &id]);
    assert!(shown.contains("third") && shown.contains("asked_by: person:security"), "{shown}");
    let done = ran(&["approve", &id, "--reason", "checked", "--token-file", token]);
    assert_eq!(done.trim(), "policy.set of bound is done");
    assert_eq!(security.get(path).expect(200).json()["rules"][0]["name"], "third");
}

#[test]
fn new_accounts_and_what_people_may_do_wait_too() {
    let Two { security, system, .. } = &*TWO;
    let account =
        json!({"name": "newcomer", "display_name": "李四", "roles": ["operator"], "reason": "joins"});
    let body = security.post("/v1/admin/accounts", &account).expect(202).json();
    let password = body["secret"].as_str().unwrap();
    let sign_in =
        || TWO.site.stranger(None).post("/v1/sign-in", &json!({"account": "newcomer", "password": password}));
    assert_eq!(sign_in().status, 401, "not before it is approved");
    let told = decide(system, body["approval"].as_str().unwrap(), "approve").expect(200);
    assert!(!told.text().contains(password));
    assert_eq!(sign_in().expect(200).json()["state"], "signed_in");
    let path = "/v1/admin/accounts/newcomer";
    let more = json!({"display_name": "李四", "roles": ["operator", "auditor"], "reason": "more"});
    let id = asked(put(security, path, &more));
    assert_eq!(security.get(path).expect(200).json()["roles"], json!(["operator"]));
    approved(&id);
    assert_eq!(security.get(path).expect(200).json()["roles"], json!(["operator", "auditor"]));
    // Whoever could reset the other one's password alone could approve alone.
    let reset = |verb: &str| security.post(&format!("{path}/{verb}"), &json!({"reason": "x"}));
    for verb in ["reset-password", "reset-second-factor"] {
        asked(reset(verb));
    }
    reset("disable").expect(200);
    approved(&asked(reset("enable")));
}

#[test]
fn of_many_approvals_at_two_gateways_at_once_one_is_carried_out() {
    let server = Postgres::start();
    let first = strict(Folder::init_on(&server)).serve();
    let second = Folder::beside(&first, "second").serve();
    let Two { site: first, security, system } = two(first);
    for round in 0..5 {
        let name = format!("raced-{round}");
        let id = asked(security.post("/v1/admin/apps", &app(&name)));
        let start = Barrier::new(6);
        let answers: Vec<u16> = std::thread::scope(|scope| {
            let sites = [&first, &second].into_iter().cycle().take(6);
            let threads: Vec<_> = sites
                .map(|site| {
                    let (start, id) = (&start, &id);
                    let person = SignedIn::with(site, &system.token);
                    scope.spawn(move || {
                        start.wait();
                        decide(&person, id, "approve").status
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 409).count(), 5, "{answers:?}");
        eventually("the first has heard of it", SOON, || {
            (security.get(&format!("/v1/admin/apps/{name}")).status == 200).then_some(())
        });
    }
    drop((first, second));
    drop(server);
}

#[test]
fn what_was_approved_when_the_gateway_was_killed_is_made_once() {
    const BOUND: Duration = Duration::from_secs(900);
    let started = Instant::now();
    let mut people = two(strict(Folder::init()).serve());
    let mut names = 0;
    let (mut interrupted, mut kills) = (0, 0);
    // Until some were found between approval and outcome.
    while interrupted < 3 {
        assert!(
            started.elapsed() < BOUND,
            "after {kills} kills hardly one fell between approval and outcome"
        );
        let Two { site, security, system } = people;
        let ids: Vec<(String, String)> = (0..6)
            .map(|_| {
                names += 1;
                let body = json!({"rules": [{"name": format!("r{names}")}], "reason": "x"});
                let app_id = format!("killed-{names}");
                let id = asked(security.post("/v1/admin/apps", &app(&app_id)));
                decide(&system, &id, "approve").expect(200);
                (asked(put(&security, &format!("/v1/admin/policies/{app_id}"), &body)), app_id)
            })
            .collect();
        let answered: Mutex<Vec<String>> = Mutex::default();
        let begun = AtomicBool::new(false);
        let folder = std::thread::scope(|scope| {
            for (id, _) in &ids {
                let (caller, answered, begun) = (site.stranger(None), &answered, &begun);
                let bearer = format!("Bearer {}", system.token);
                scope.spawn(move || {
                    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                    let path = format!("{PATH}/{id}/approve");
                    begun.store(true, Ordering::Relaxed);
                    let answer = caller.try_send("POST", &path, &headers, Some(br#"{"reason":"x"}"#));
                    if answer.is_ok_and(|answer| answer.status == 200) {
                        answered.lock().unwrap().push(id.clone());
                    }
                });
            }
            eventually("they are on their way", SOON, || begun.load(Ordering::Relaxed).then_some(()));
            // Another moment of the work each time, from a quarter of a millisecond on: machines differ in speed.
            std::thread::sleep(Duration::from_micros(250 << (kills % 10)));
            kills += 1;
            site.kill()
        });
        let site = folder.serve();
        let [security, system] = [&security.token, &system.token].map(|token| SignedIn::with(&site, token));
        for (id, app_id) in &ids {
            let ended = eventually("it is brought to its end, or waits still", SOON, || {
                let shown = system.get(&format!("{PATH}/{id}")).expect(200).json();
                (shown["state"] != "approved").then_some(shown)
            });
            let policy = security.get(&format!("/v1/admin/policies/{app_id}")).expect(200).json();
            match ended["state"].as_str().unwrap() {
                "done" => assert_eq!(policy["version"], 1, "made once: {policy}"),
                "pending" => {
                    assert_eq!(policy["version"], 0, "{policy}");
                    assert!(
                        !answered.lock().unwrap().contains(id),
                        "who was told that it is done was told the truth"
                    );
                }
                other => panic!("{other}: {ended}"),
            }
            let log = outcomes(&site, id);
            let told = log.iter().any(|(action, ..)| action == "approval.outcome");
            assert_eq!(told, ended["state"] == "done", "{log:?}");
        }
        interrupted += site.log().matches("an approved change was interrupted").count();
        people = Two { site, security, system };
    }
}

#[test]
fn a_request_that_was_altered_in_the_database_is_not_carried_out() {
    let Two { site, security, system } = two(strict(Folder::init()).serve());
    let modest = asked(security.post("/v1/admin/apps", &app("modest")));
    let good = asked(security.post("/v1/admin/apps", &app("good")));
    let (folder, _) = site.stop();
    let mut sqlite = Command::new("sqlite3");
    let alter = format!(
        "DROP TRIGGER approvals_are_fixed;
         UPDATE approvals SET asked_by = 'person:console', content = (SELECT content FROM approvals WHERE id = '{good}')
         WHERE id = '{modest}'"
    );
    Ran::of(sqlite.arg(folder.data().join("gateway.db")).arg(alter)).expect("sqlite3");
    let site = folder.serve();
    let system = SignedIn::with(&site, &system.token);
    assert_eq!(decide(&system, &modest, "approve").expect(503).json()["code"], "data_altered");
    let list = system.get(PATH).expect(200).json();
    let ids: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!(ids, [json!(good)]);
    assert_eq!(decide(&system, &good, "approve").expect(200).json()["state"], "done");
}

#[test]
fn where_one_person_is_enough_it_is_said_loudly_and_nothing_waits() {
    let site = &tests::shared().site;
    assert!(site.log().contains("ONE PERSON ALONE"), "{}", site.log());
    let check = |config: &std::path::Path| {
        let mut command = Command::new(tests::gateway());
        let output = command.arg("check-config").arg(config).output().unwrap();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(check(&site.config()).contains("ONE PERSON ALONE"));
    assert_eq!(check(&TWO.site.config()), "");
    assert!(!TWO.site.log().contains("ONE PERSON ALONE"));
    let admin = site.app_number(2);
    admin.post("/v1/admin/apps", &app("at-once")).expect(201);
    // A key's data stays what it is: signing waits for nobody anywhere.
    let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(b"x")}});
    TWO.site.app().post("/v1/signatures", &body).expect(201);
}

#[test]
fn a_person_decides_nothing_about_the_own_account() {
    let Two { security, system, .. } = &two(strict(Folder::init()).serve());
    let path = "/v1/admin/accounts/console";
    let roles_now = || security.get(path).expect(200).json()["roles"].clone();
    let before = roles_now();
    let more = json!({"display_name": "李四", "roles": ["system-admin", "operator"], "reason": "a favour"});
    let roles = asked(put(security, path, &more));
    let reset = asked(security.post(&format!("{path}/reset-second-factor"), &json!({"reason": "x"})));
    for id in [&roles, &reset] {
        for verb in ["approve", "reject"] {
            assert_eq!(decide(system, id, verb).expect(403).json()["code"], "own_account", "{verb}");
        }
        let still = system.get(&format!("{PATH}/{id}")).expect(200).json();
        assert_eq!(still["state"], "pending", "{still}");
    }
    assert_eq!(roles_now(), before);
    // What is asked for somebody else's account, or for an app of that name, is another matter.
    let other = json!({"name": "newcomer", "display_name": "李四", "roles": ["operator"], "reason": "joins"});
    let other = asked(security.post("/v1/admin/accounts", &other));
    assert_eq!(decide(system, &other, "approve").expect(200).json()["state"], "done");
    let namesake = asked(security.post("/v1/admin/apps", &app("console")));
    assert_eq!(decide(system, &namesake, "approve").expect(200).json()["state"], "done");
    assert_eq!(decide(security, &roles, "withdraw").expect(200).json()["state"], "withdrawn");
}

/// Who cannot do anything else yet, say because somebody else has given the password, takes nothing back either.
#[test]
fn somebody_who_has_to_choose_a_password_first_withdraws_nothing() {
    let site = strict(Folder::init()).serve();
    let [mut security, mut system] = ["security", "console"].map(|name| Person::of_sandbox(&site, name));
    let (asker, approver) = (security.sign_in(), system.sign_in());
    let id = asked(asker.post("/v1/admin/apps", &app("mine")));
    let reset = at_the_socket(&site, &["account", "reset-password", "security", "--reason", "forgot it"]);
    let approval = reset["approval"].as_str().unwrap();
    assert_eq!(decide(&approver, approval, "approve").expect(200).json()["state"], "done");
    assert_eq!(decide(&asker, &id, "withdraw").expect(401).json()["code"], "token_invalid");
    reset["secret"].as_str().unwrap().clone_into(&mut security.password);
    let asker = security.sign_in();
    assert_eq!(decide(&asker, &id, "withdraw").expect(403).json()["code"], "password_change_required");
    assert_eq!(approver.get(&format!("{PATH}/{id}")).expect(200).json()["state"], "pending");
    security.choose_password(&asker, "kT7-vepo-Quag");
    assert_eq!(decide(&asker, &id, "withdraw").expect(200).json()["state"], "withdrawn");
}

/// What a command at the admin socket answers.
#[track_caller]
fn at_the_socket(site: &Site, arguments: &[&str]) -> Value {
    let output = site.command(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn enter_at_the_socket(site: &Site, name: &str, role: &str) -> Value {
    let named = ["account", "create", name, "--display-name", "张三", "--reason", "first", "--role", role];
    at_the_socket(site, &named)
}

#[test]
fn the_first_people_are_made_by_one_and_nobody_is_the_first_again() {
    let folder = strict(Folder::init());
    let path = folder.data().join("sandbox.json");
    let mut sandbox: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    sandbox["people"] = json!([]);
    std::fs::write(&path, sandbox.to_string()).unwrap();
    let site = folder.serve();
    // An auditor approves nothing; a security administrator does, from before the first sign-in on.
    for (name, role) in [("reader", "auditor"), ("first", "security-admin")] {
        let made = enter_at_the_socket(&site, name, role);
        assert!(made["one_time_password"].is_string() && made["approval"].is_null(), "{made}");
    }
    assert!(site.log().contains("it is made by one person"));
    let waits = |site: &Site, name: &str| {
        let asked = enter_at_the_socket(site, name, "system-admin");
        assert_eq!(asked["state"], "pending", "{asked}");
    };
    waits(&site, "second");
    // Whoever turns all of them off is not alone again: nor with people, nor with what they may do.
    at_the_socket(&site, &["account", "disable", "first", "--reason", "alone at last"]);
    waits(&site, "third");
    let enable = at_the_socket(&site, &["account", "enable", "reader", "--reason", "x"]);
    assert_eq!(enable["state"], "pending", "{enable}");
    // Nor whoever spoils their rows.
    let (folder, _) = site.stop();
    let mut sqlite = Command::new("sqlite3");
    let spoil = r#"UPDATE accounts SET roles = '["auditor"]' WHERE name = 'first'"#;
    Ran::of(sqlite.arg(folder.data().join("gateway.db")).arg(spoil)).expect("sqlite3");
    let site = folder.serve();
    waits(&site, "fourth");
}

#[test]
fn whoever_lets_somebody_in_sees_what_that_person_can_do_then() {
    let Two { security, system, .. } = &*TWO;
    let account =
        json!({"name": "powerful", "display_name": "王五", "roles": ["operator"], "reason": "joins"});
    approved(&asked(security.post("/v1/admin/accounts", &account)));
    let path = "/v1/admin/accounts/powerful";
    let post = |verb: &str| security.post(&format!("{path}/{verb}"), &json!({"reason": "x"}));
    let expect = |id: &str, fields: &[&str]| {
        let shown = system.get(&format!("{PATH}/{id}")).expect(200).json();
        let context = &shown["context"];
        assert_eq!(context["roles"], json!(["operator"]), "{shown}");
        assert_eq!(context["scopes"], json!(["devices", "maintenance"]), "{shown}");
        let differ: Vec<_> =
            shown["difference"].as_array().unwrap().iter().map(|of| of["field"].clone()).collect();
        assert_eq!(differ, fields, "{shown}");
    };
    let reset = asked(post("reset-password"));
    expect(&reset, &["password_set_at"]);
    let factor = asked(post("reset-second-factor"));
    expect(&factor, &[]);
    post("disable").expect(200);
    let enable = asked(post("enable"));
    expect(&enable, &["state"]);
    // What it rests on is a part of what was approved.
    let more = json!({"display_name": "王五", "roles": ["auditor", "operator"], "reason": "more"});
    approved(&asked(put(security, path, &more)));
    let stale = decide(system, &enable, "approve").expect(409).json();
    let fields: Vec<_> =
        stale["errors"].as_array().unwrap().iter().map(|error| error["field"].clone()).collect();
    assert_eq!(fields, ["roles", "scopes"], "{stale}");
    assert_eq!(security.get(path).expect(200).json()["state"], "disabled");

    entered("returns");
    security.post("/v1/admin/apps/returns/disable", &json!({"reason": "x"})).expect(200);
    let id = asked(security.post("/v1/admin/apps/returns/enable", &json!({"reason": "x"})));
    let shown = system.get(&format!("{PATH}/{id}")).expect(200).json();
    let context = &shown["context"];
    assert_eq!(
        (&context["scopes"], &context["keys"]),
        (&json!(["keys", "signatures"]), &json!(["demo-sm2"]))
    );
    assert!(context["contacts"].is_null(), "{shown}");
    let told = TWO.site.command(&["approval", "show", &id]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("demo-sm2"));
}

#[test]
fn whose_right_to_ask_was_taken_away_withdraws_nothing() {
    let Two { site, security, system } = &*TWO;
    let asker = |scopes: &[&str]| json!({"id": "asker", "name": "asker", "scopes": scopes, "keys": [], "reason": "contract"});
    approved(&asked(security.post("/v1/admin/apps", &asker(&["apps", "keys"]))));
    let path = "/v1/admin/apps/asker";
    let body = security.post(&format!("{path}/credentials"), &json!({"kind": "api-key", "reason": "first"}));
    let body = body.expect(202).json();
    decide(system, body["approval"].as_str().unwrap(), "approve").expect(200);
    let caller = site.stranger(Some(body["secret"].as_str().unwrap()));
    let (first, second) = (
        asked(caller.post("/v1/admin/apps", &app("wanted-first"))),
        asked(caller.post("/v1/admin/apps", &app("wanted-second"))),
    );
    let withdraw = |id: &str| caller.post(&format!("{PATH}/{id}/withdraw"), &json!({"reason": "x"}));
    assert_eq!(withdraw(&first).expect(200).json()["state"], "withdrawn");
    approved(&asked(put(security, path, &asker(&["keys"]))));
    eventually("its scopes are fewer", SOON, || (caller.get("/v1/admin/apps").status == 403).then_some(()));
    assert_eq!(withdraw(&second).expect(403).json()["code"], "scope_missing");
    assert_eq!(system.get(&format!("{PATH}/{second}")).expect(200).json()["state"], "pending");
}

#[test]
fn what_is_locked_while_somebody_approves_is_locked_in_the_end() {
    let Two { security, .. } = &*TWO;
    entered("contested");
    let path = "/v1/admin/apps/contested";
    let act = |verb: &str| security.post(&format!("{path}/{verb}"), &json!({"reason": "x"}));
    for _ in 0..12 {
        act("disable").expect(200);
        let id = asked(act("enable"));
        let barrier = Barrier::new(2);
        let decided = std::thread::scope(|scope| {
            let approving = scope.spawn(|| {
                barrier.wait();
                decide(&TWO.system, &id, "approve")
            });
            barrier.wait();
            act("lock").expect(200);
            approving.join().unwrap()
        });
        // Enabled and then locked, or locked and the change stale: never locked and then enabled.
        let said = decided.json();
        let stale =
            decided.status == 409 && said["code"] == "approval_stale" || said["outcome"] == "approval_stale";
        assert!(stale || said["outcome"] == "ok", "{} {said}", decided.status);
        assert_eq!(security.get(path).expect(200).json()["state"], "locked", "{said}");
    }
}
