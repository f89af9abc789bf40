//! How a license's holder stands: asked of the library or of the national service, never taken for good when nobody says
//! so, and what it permits to whom.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Authority, Caller, Folder, Scratch, Site, base64, eventually, gateway, shared};

const BOUND: Duration = Duration::from_secs(90);
const PATH: &str = "/v1/licenses:verify";

/// A good sample: its code, and the certificate.
fn sample(site: &Site, place: usize) -> (String, String) {
    let samples = site.sandbox()["samples"].as_array().unwrap().clone();
    let sample = samples.iter().filter(|sample| sample["kind"] == "good").nth(place).unwrap().clone();
    let octets = std::fs::read(site.data().join(sample["file"].as_str().unwrap())).unwrap();
    let license = match String::from_utf8(octets) {
        Ok(text) if text.starts_with("-----BEGIN") => text,
        Ok(text) => base64(text.as_bytes()),
        Err(error) => base64(error.as_bytes()),
    };
    (sample["uscc"].as_str().unwrap().to_owned(), license)
}

fn ask(caller: &Caller, license: &str, more: &Value) -> Answer {
    let mut body = json!({"license": license});
    for (member, value) in more.as_object().unwrap() {
        body[member] = value.clone();
    }
    caller.post(PATH, &body)
}

fn detail(answer: &Value, code: &str) -> Option<String> {
    let findings = answer["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["code"] == code)?;
    Some(found["detail"].as_str().unwrap().to_owned())
}

/// The national service, played by `license-gateway status-simulator`.
pub(crate) struct National {
    child: Child,
    url: String,
    files: Scratch,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl National {
    /// By HTTPS where there is an authority to prove it.
    pub(crate) fn start(authority: Option<&Authority>) -> Self {
        let files = Scratch::new();
        files.write("register.json", json!({"entities": {}}).to_string());
        let mut command = Command::new(gateway());
        command.args(["status-simulator", "--register"]).arg(files.path().join("register.json"));
        if let Some(authority) = authority {
            authority.issue_for("national", "server");
            command.arg("--certificate").arg(authority.path("national.pem"));
            command.arg("--key").arg(authority.path("national.key"));
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let asked = Arc::<Mutex<Vec<Value>>>::default();
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, url: first["url"].as_str().unwrap().to_owned(), files, asked }
    }

    /// What it answers from now on.
    pub(crate) fn says(&self, register: &Value) {
        // Put in its place whole: it is read at any time.
        self.files.write("next.json", register.to_string());
        let folder = self.files.path();
        std::fs::rename(folder.join("next.json"), folder.join("register.json")).unwrap();
    }

    /// How often it was asked, once it was asked so often.
    fn asked(&self, times: usize) -> Vec<Value> {
        eventually("it says what it was asked", BOUND, || {
            Some(self.asked.lock().unwrap().clone()).filter(|asked| asked.len() >= times)
        })
    }
}

impl Drop for National {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A site that asks this service, with these lines more.
pub(crate) fn site(national: &National, status: &str, more: &str) -> Site {
    let folder = Folder::init();
    let section =
        format!("[status]\nsource = \"national\"\nurl = {:?}\n{status}\n{more}\n[site]\n", national.url);
    folder.configure("[site]\n", &section);
    // Longer than the longest question below.
    folder.configure("[server]\n", "[server]\nrequest_deadline_ms = 120000\n");
    folder.serve()
}

#[test]
fn the_national_service_is_asked_over_https_and_what_it_says_counts() {
    let authority = Authority::new("national-services");
    let national = National::start(Some(&authority));
    assert!(national.url.starts_with("https://"), "{}", national.url);
    national.files.write("token", "a-token-of-this-test\n");
    let token = format!("token_file = {:?}\ntimeout_ms = 20000", national.files.path().join("token"));
    let anchors = format!("[trust.fetch]\ntls_anchors = [{:?}]", authority.root());
    let site = site(&national, &token, &anchors);
    let (uscc, license) = sample(&site, 0);
    let says = |entity: Value| {
        let entities = json!({uscc.as_str(): entity});
        national.says(&json!({"token": "a-token-of-this-test", "entities": entities}));
    };

    // It knows nobody yet: the library's knowledge does not stand in.
    let unknown = ask(site.app(), &license, &json!({})).expect(200);
    unknown.expect_verdict("indeterminate");
    assert!(detail(&unknown.json(), "status_unknown").is_some(), "{}", unknown.text());
    assert_eq!(unknown.json()["status"], Value::Null);

    says(json!({"status": 1, "flags": ["经营异常名录"]}));
    let anew = json!({"status_max_age_s": 3600});
    let good = ask(site.app(), &license, &json!({"status_max_age_s": 0})).expect(200);
    good.expect_verdict("valid");
    let json = good.json();
    assert_eq!(json["status_origin"]["source"], "national", "{json}");
    assert_eq!(json["status_origin"]["age_s"], 0, "{json}");
    assert_eq!(detail(&json, "status_flagged").unwrap(), "经营异常名录");
    assert_eq!(json["status"]["code"], 1);

    // What it said a while ago counts for a minute, and says when that was; unless somebody wants to know anew.
    let before = national.asked(2).len();
    says(json!({"status": 4}));
    let kept = ask(site.app(), &license, &anew).expect(200);
    if national.asked(0).len() == before {
        kept.expect_verdict("valid");
        assert_eq!(kept.json()["status_origin"]["asked_at"], json["status_origin"]["asked_at"]);
    }
    let ended = ask(site.app(), &license, &json!({"status_max_age_s": 0})).expect(200);
    ended.expect_verdict("invalid");
    assert!(detail(&ended.json(), "status_not_permitted").is_some(), "{}", ended.text());

    // Its face counts before the library's; fields are named, and not what they say.
    says(json!({"status": 1, "face": {"name": "别的企业名称", "uscc": uscc}}));
    let differs = ask(site.app(), &license, &json!({"status_max_age_s": 0})).expect(200);
    differs.expect_verdict("invalid");
    assert_eq!(detail(&differs.json(), "face_differs_from_register").unwrap(), "name");
    assert!(!differs.text().contains("别的企业名称"), "{}", differs.text());

    // Of a time that is over.
    says(json!({"status": 4, "history": [
        {"status": 1, "as_of": "2020-01-01T00:00:00Z", "until": "2025-01-01T00:00:00Z"}
    ]}));
    let then = ask(site.app(), &license, &json!({"status_at": "2024-06-01T00:00:00Z"})).expect(200);
    then.expect_verdict("valid");
    assert_eq!(then.json()["status_origin"]["at"], "2024-06-01T00:00:00Z", "{}", then.text());
    assert_eq!(then.json()["status"]["as_of"], "2020-01-01T00:00:00Z", "{}", then.text());
    assert!(national.asked(1).iter().any(|asked| asked["at"] == "2024-06-01T00:00:00Z"));

    // What is too old, or of a time to come, is nothing to go by.
    for (as_of, code) in
        [("2020-01-01T00:00:00Z", "status_stale"), ("2120-01-01T00:00:00Z", "status_malformed")]
    {
        says(json!({"status": 1, "as_of": as_of}));
        let old = ask(site.app(), &license, &json!({"status_max_age_s": 0})).expect(200);
        old.expect_verdict("indeterminate");
        assert!(detail(&old.json(), code).is_some(), "{}", old.text());
    }

    // A service that is not proved, or does not believe the gateway, says nothing.
    national.says(&json!({"token": "another", "entities": {}}));
    let refused = ask(site.app(), &license, &json!({"status_max_age_s": 0})).expect(200);
    refused.expect_verdict("indeterminate");
    assert!(detail(&refused.json(), "status_unavailable").unwrap().ends_with("http_status"));
    let outcomes: Vec<Value> = site.audit();
    let of_verify: Vec<_> = outcomes.iter().filter(|entry| entry["action"] == "license.verify").collect();
    for outcome in ["ok", "status_stale", "status_unavailable"] {
        assert!(of_verify.iter().any(|entry| entry["outcome"] == outcome), "{outcome}: {of_verify:?}");
    }
    assert!(!site.log().contains("a-token-of-this-test"));
}

#[test]
fn a_service_that_is_not_proved_is_not_believed() {
    let (own, other) = (Authority::new("own"), Authority::new("other"));
    let national = National::start(Some(&other));
    let anchors = format!("[trust.fetch]\ntls_anchors = [{:?}]", own.root());
    let site = site(&national, "timeout_ms = 20000", &anchors);
    let (uscc, license) = sample(&site, 0);
    national.says(&json!({"entities": {uscc: {"status": 1}}}));
    let answer = ask(site.app(), &license, &json!({})).expect(200);
    answer.expect_verdict("indeterminate");
    assert!(
        detail(&answer.json(), "status_unavailable").unwrap().ends_with("unreachable"),
        "{}",
        answer.text()
    );
    assert!(national.asked(0).is_empty());
}

#[test]
fn a_service_that_is_broken_leaves_licenses_undecided_in_every_way_it_can_break() {
    let national = National::start(None);
    let site = site(&national, "failures = 1000\ncache_s = 0\ntimeout_ms = 10000", "");
    let (uscc, license) = sample(&site, 0);
    for (fault, code) in [
        ("error", "http_status"),
        ("redirect", "http_status"),
        ("malformed", "malformed"),
        ("other_entity", "malformed"),
        ("endless", "too_large"),
        ("hang", "timeout"),
    ] {
        national.says(&json!({"fault": fault, "entities": {uscc.as_str(): {"status": 1}}}));
        let decided = json!({"use": "login", "role": "legal_representative"});
        let answer = ask(site.app(), &license, &decided).expect(200);
        answer.expect_verdict("indeterminate");
        let json = answer.json();
        assert!(detail(&json, "status_unavailable").unwrap().ends_with(code), "{fault}: {json}");
        assert_eq!(json["decision"]["permitted"], false, "{fault}: {json}");
        assert_eq!(json["decision"]["reason"], "status_unknown", "{fault}: {json}");
    }
    national.says(&json!({"fault": "error", "entities": {}}));
    let items: Vec<Value> = (0..40).map(|_| json!({"license": license})).collect();
    let batch = site.app().post("/v1/licenses:verify-batch", &json!({"items": items})).expect(200).json();
    for item in batch["items"].as_array().unwrap() {
        assert_eq!(item["verdict"], "indeterminate", "{item}");
    }
    national.says(&json!({"entities": {uscc.as_str(): {"status": 1}}}));
    ask(site.app(), &license, &json!({})).expect(200).expect_verdict("valid");
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    for outcome in ["http_status", "malformed", "too_large", "timeout"] {
        let line = format!("license_gateway_status_questions{{outcome=\"{outcome}\"}} ");
        let count = metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse::<f64>().ok());
        assert!(count.is_some_and(|count| count >= 1.0), "{line}: {metrics}");
    }
}

#[test]
fn a_service_that_fails_again_and_again_is_left_alone_and_tried_again() {
    let national = National::start(None);
    let site = site(&national, "failures = 2\npause_ms = 3000\ncache_s = 0\ntimeout_ms = 20000", "");
    let (uscc, license) = sample(&site, 0);
    let entities = json!({uscc.as_str(): {"status": 1}});
    national.says(&json!({"fault": "error", "entities": entities}));
    eventually("it is left alone", BOUND, || {
        let answer = ask(site.app(), &license, &json!({})).expect(200);
        answer.expect_verdict("indeterminate");
        detail(&answer.json(), "status_unavailable").filter(|detail| detail.ends_with("paused"))
    });
    national.says(&json!({"entities": entities}));
    eventually("it is tried again", BOUND, || {
        let answer = ask(site.app(), &license, &json!({})).expect(200);
        (answer.json()["verdict"] == "valid").then_some(())
    });
}

#[test]
fn the_library_says_how_old_its_status_is_and_what_it_does_not_know() {
    let site = &shared().site;
    let (_, license) = sample(site, 0);
    let plain = ask(site.app(), &license, &json!({})).expect(200);
    plain.expect_verdict("valid");
    assert_eq!(plain.json()["status_origin"], json!({"source": "library"}));
    let stale = ask(site.app(), &license, &json!({"status_max_age_s": 0})).expect(200);
    stale.expect_verdict("indeterminate");
    assert!(detail(&stale.json(), "status_stale").is_some(), "{}", stale.text());
    let before = ask(site.app(), &license, &json!({"status_at": "2001-01-01T00:00:00Z"})).expect(200);
    before.expect_verdict("indeterminate");
    assert!(detail(&before.json(), "status_unknown").is_some(), "{}", before.text());
    // Whoever does not ask for it is told of a stranger as before.
    let foreign = base64(&shared().foreign.read("license-good.der"));
    ask(site.app(), &foreign, &json!({})).expect(200).expect_verdict("valid");
    ask(site.app(), &foreign, &json!({"status_max_age_s": 60})).expect(200).expect_verdict("indeterminate");
}

#[test]
fn who_may_use_a_license_for_what_is_decided_and_on_record() {
    let site = &shared().site;
    let (uscc, license) = sample(site, 0);
    let later = "2126-01-01T00:00:00Z";
    let cases = [
        (json!({"use": "login", "role": "legal_representative"}), None),
        (json!({"use": "sign", "role": "administrator", "item": "annual-report"}), None),
        (
            json!({"use": "sign", "role": "administrator", "item": "appoint-administrator"}),
            Some("role_not_permitted"),
        ),
        (json!({"use": "show", "role": "agent"}), Some("authorisation_missing")),
        (json!({"use": "login", "role": "agent", "authorisation": {"id": "sq-1", "until": later}}), None),
        (
            json!({"use": "login", "role": "agent", "authorisation": {"until": "2020-01-01T00:00:00Z"}}),
            Some("authorisation_expired"),
        ),
        (
            json!({"use": "login", "role": "agent", "item": "annual-report",
                "authorisation": {"items": ["liquidation"], "until": later}}),
            Some("authorisation_not_for_item"),
        ),
        (json!({"use": "login", "role": "administrator", "item": "no-such"}), Some("item_unknown")),
    ];
    let mut items = Vec::new();
    for (asked, reason) in &cases {
        let answer = ask(site.app(), &license, asked).expect(200);
        answer.expect_verdict("valid");
        let json = answer.json();
        let decision = &json["decision"];
        assert_eq!(
            (&decision["permitted"], &decision["reason"]),
            (&json!(reason.is_none()), &json!(reason)),
            "{json}"
        );
        assert_eq!((&decision["use"], &decision["role"]), (&asked["use"], &asked["role"]), "{json}");
        assert_eq!(decision["table"], "2026-2", "{json}");
        let mut item = asked.clone();
        item["license"] = json!(license);
        items.push((item, decision.clone()));
    }
    let bodies: Vec<_> = items.iter().map(|(item, _)| item.clone()).collect();
    let batch = site.app().post("/v1/licenses:verify-batch", &json!({"items": bodies})).expect(200).json();
    for ((_, alone), item) in items.iter().zip(batch["items"].as_array().unwrap()) {
        assert_eq!(&item["decision"], alone, "{item}");
    }
    let subject = format!("{uscc} sign administrator appoint-administrator - role_not_permitted 2026-2");
    let entries = site.audit();
    assert!(entries.iter().any(|entry| entry["subject"] == subject.as_str()), "{subject}");
    // A license that is not valid is for nobody.
    let expired = site.data().join("pki/licenses/B-expired.pem");
    let expired = std::fs::read_to_string(expired).unwrap();
    let answer =
        ask(site.app(), &expired, &json!({"use": "show", "role": "legal_representative"})).expect(200);
    assert_eq!(answer.json()["decision"]["reason"], "license_not_valid", "{}", answer.text());
}

#[test]
fn what_cannot_be_asked_is_refused_by_its_field() {
    let site = &shared().site;
    let (_, license) = sample(site, 0);
    for (asked, field) in [
        (json!({"status_at": "2126-01-01T00:00:00Z"}), "status_at"),
        (json!({"status_at": "yesterday"}), "status_at"),
        (json!({"status_max_age_s": 315_360_001}), "status_max_age_s"),
        (json!({"status_max_age_s": -1}), "status_max_age_s"),
        (json!({"use": "eat", "role": "agent"}), "use"),
        (json!({"use": "login"}), "role"),
        (json!({"use": "login", "role": "boss"}), "role"),
        (json!({"role": "agent"}), "role"),
        (json!({"item": "annual-report"}), "item"),
        (json!({"authorisation": {"until": "2126-01-01T00:00:00Z"}}), "authorisation"),
        (json!({"use": "login", "role": "agent", "item": " a"}), "item"),
        (
            json!({"use": "login", "role": "administrator", "authorisation": {"until": "2126-01-01T00:00:00Z"}}),
            "authorisation",
        ),
        (json!({"use": "login", "role": "agent", "authorisation": {"until": "soon"}}), "authorisation.until"),
        (
            json!({"use": "login", "role": "agent", "authorisation": {"items": [], "until": "2126-01-01T00:00:00Z"}}),
            "authorisation.items",
        ),
        (
            json!({"use": "login", "role": "agent", "authorisation": {"items": [""], "until": "2126-01-01T00:00:00Z"}}),
            "authorisation.items[0]",
        ),
    ] {
        let refused = ask(site.app(), &license, &asked);
        assert!([400, 422].contains(&refused.status), "{asked}: {}", refused.text());
        let errors = refused.json()["errors"].as_array().unwrap().clone();
        assert!(errors.iter().any(|error| error["field"] == field), "{asked}: {}", refused.text());
    }
}

#[test]
fn a_table_of_the_sites_own_is_taken_over_live_and_a_broken_one_is_not() {
    let folder = Folder::init();
    let tables = Scratch::new();
    let file = tables.path().join("decisions.toml");
    let built_in =
        std::fs::read_to_string(tests::repository().join("verify-front/data/decisions.toml")).unwrap();
    std::fs::write(&file, built_in.replace("2026-2", "site-1")).unwrap();
    folder.configure("[site]\n", &format!("[status]\ndecisions = {file:?}\n[site]\n"));
    let site = folder.serve();
    let (_, license) = sample(&site, 0);
    let question = json!({"use": "sign", "role": "agent", "item": "yearly-audit",
        "authorisation": {"until": "2126-01-01T00:00:00Z"}});
    let decision = |site: &Site| ask(site.app(), &license, &question).expect(200).json()["decision"].clone();
    let first = decision(&site);
    assert_eq!((&first["table"], &first["reason"]), (&json!("site-1"), &json!("item_unknown")));

    // A new item needs no new program.
    let item =
        "\n[[item]]\ncode = \"yearly-audit\"\nname = \"年度审计\"\nroles = [\"agent\"]\n\n[[standing]]\n";
    std::fs::write(&file, built_in.replace("2026-2", "site-2").replacen("\n[[standing]]\n", item, 1))
        .unwrap();
    let done = site.command(&["reload"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("status.decisions read anew"), "{said}{wrong}");
    let second = decision(&site);
    assert_eq!((&second["table"], &second["permitted"]), (&json!("site-2"), &json!(true)));
    assert_ne!(first["table_digest"], second["table_digest"]);

    std::fs::write(&file, built_in.replace("statuses = [3, 4, 5, 6]", "statuses = [3, 4, 5]")).unwrap();
    let refused = site.command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("speaks of status 6"), "{said}");
    assert_eq!(decision(&site), second);
}
