//! What operators see: health, metrics, logs; and what nobody may see in them.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Folder, Ran, Site, base64, eventually, shared};

fn sign(site: &Site, data: &str) -> Answer {
    let body = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": base64(data.as_bytes())}});
    site.app().post("/v1/signatures", &body).expect(201)
}

/// The sum of a counter's samples whose labels hold all of these.
fn counted(site: &Site, name: &str, labels: &[&str]) -> f64 {
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    let samples = metrics
        .lines()
        .filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn health_needs_no_key_and_names_the_groups() {
    let anybody = shared().site.stranger(None);
    anybody.get("/livez").expect(200);
    let ready = anybody.get("/readyz").expect(200).json();
    assert_eq!(ready["groups"], json!({"bureau": 7, "portal": 2}), "{ready}");
}

#[test]
fn a_signature_a_verdict_and_a_refusal_are_counted() {
    let site = Site::start();
    let counters = [
        ("license_gateway_signatures_total", &["algorithm=\"sm2-sm3\""][..]),
        ("license_gateway_http_requests_total", &["route=\"/v1/signatures\"", "status=\"201\""]),
        ("license_gateway_judgements_total", &["what=\"license\"", "verdict=\"invalid\""]),
        ("license_gateway_problems_total", &["code=\"unknown_key\""]),
    ];
    let count = || counters.map(|(name, labels)| counted(&site, name, labels));
    let before = count();
    sign(&site, "one");
    sign(&site, "two");
    site.app().post("/v1/licenses:verify", &json!({"license": "AA=="})).expect(200).expect_verdict("invalid");
    let body = json!({"key": "none", "algorithm": "sm2-sm3", "input": {"data": ""}});
    site.app().post("/v1/signatures", &body).expect(404);
    let after = count();
    assert_eq!([0, 1, 2, 3].map(|at| after[at] - before[at]), [2.0, 2.0, 1.0, 1.0]);
}

#[test]
fn what_the_database_and_a_group_have_to_do_is_measured() {
    let folder = Folder::init();
    folder.configure("[database]\n", "[database]\nslow_statement_ms = 1\n");
    let site = folder.serve();
    sign(&site, "counted");
    let one = |name: &str, labels: &[&str]| counted(&site, &format!("license_gateway_{name}"), labels);
    assert!(one("database_pool_size", &["pool=\"read\""]) >= 1.0);
    assert!(one("database_pool_size", &["pool=\"write\""]) >= 1.0);
    assert!(
        one("database_pool_in_use", &["pool=\"write\""]) <= one("database_pool_size", &["pool=\"write\""])
    );
    assert!(one("group_load_peak", &["group=\"bureau\""]) >= 1.0);
    assert!(one("group_queue_peak", &["group=\"bureau\""]) >= 1.0);
    assert_eq!(one("group_load_peak", &["group=\"portal\""]), 0.0);
    assert_eq!(one("device_wrapped_hits", &[]) + one("device_wrapped_misses", &[]), 0.0);

    // A day of d2 that takes longer to read than a millisecond: each minute brings ten thousand blanks.
    let rows = "WITH RECURSIVE minute(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM minute WHERE n < 1400)
        INSERT INTO device_history SELECT 'd2', 60, (unixepoch() / 60 - n) * 60, 'ready', '{\"ready\":60}', 0, 0,
        printf('{%10000s}', ''), 0, 0, 0, 0, 0, 8, 0, 0, NULL FROM minute";
    let mut sqlite = Command::new("sqlite3");
    Ran::of(sqlite.arg("-cmd").arg(".timeout 20000").arg(site.data().join("gateway.db")).arg(rows))
        .expect("sqlite3 writes history");
    let before = one("database_slow_statements", &[]);
    site.app_number(2).get("/v1/devices/d2/history").expect(200);
    assert!(one("database_slow_statements", &[]) > before);
    let log = site.log();
    let line = log.split("slow statement").nth(1).expect("it is logged, too");
    assert!(line.contains("slow_threshold"), "{line}");
    let told = log.lines().any(|line| line.contains("FROM device_history"));
    assert!(told && !log.contains("'d2'"), "the statement and no value: {log}");
}

#[test]
fn a_request_id_is_kept_if_it_is_sane_and_made_otherwise() {
    let caller = shared().site.app();
    let ask = |id: &str| caller.send("GET", "/v1/keys", &[("x-request-id", id)], None).expect(200);
    assert_eq!(ask("case-2026.1_a").header("x-request-id"), "case-2026.1_a");
    for id in ["", "with blanks", &"x".repeat(65), "<script>"] {
        let made = ask(id).header("x-request-id").to_owned();
        assert!(made.len() == 32 && made != id, "{id}: {made}");
    }
}

#[test]
fn every_line_of_the_json_log_is_an_object_with_time_level_and_message() {
    let site = Folder::init().serve_with(&["--log", "json"]);
    sign(&site, "logged");
    site.app().get("/v1/nonsense").expect(404);
    let log = site.log();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
    assert!(log.contains("not_found"), "a refusal is logged with its code: {log}");
}

/// What must show nowhere; each goes into several places of several requests.
const CANARIES: [&str; 7] = [
    "CANARY-DOCUMENT-610102199001011234-13900000000", // with an ID number and a phone number
    "CANARY-API-KEY",
    "CANARY-BEARER-TOKEN",
    "CANARY-HMAC-SECRET",
    "CANARY-SIGNATURE",
    "610102199001011234",
    "13900000000",
];

/// Who asks for what, right and wrong; the problem documents that came of it.
fn use_everything(site: &Site) -> Vec<String> {
    let [document, key, token, secret, signature, id_number, phone] = CANARIES;
    let app = site.app();
    let uscc = site.sandbox()["licenses"][0].as_str().unwrap();
    let license = std::fs::read_to_string(site.data().join("pki/licenses/A-good.pem")).unwrap();
    let signed = sign(site, document).json();
    let verification = json!({"algorithm": "sm2-sm3", "input": {"data": base64(document.as_bytes())},
        "signature": signed["signature"], "certificate": signed["certificate"]});
    app.post("/v1/verifications", &verification).expect(200).expect_verdict("valid");
    app.post("/v1/licenses:verify", &json!({"license": license})).expect(200);
    app.get(&format!("/v1/licenses/{uscc}/face")).expect(200);
    app.get("/v1/devices").expect(200);
    let order = |key: &str, algorithm: &str, data: &str| {
        json!({"key": key, "algorithm": algorithm, "input": {"data": data}}).to_string()
    };
    let json_type = ("content-type", "application/json");
    let as_json = |body: String| app.send("POST", "/v1/signatures", &[json_type], Some(body.as_bytes()));
    let stranger = site.stranger(Some(key));
    let proofs = [
        ("authorization", format!("Bearer {token}")),
        ("x-app-id", "sandbox-portal".to_owned()),
        ("x-signature", signature.to_owned()),
        ("x-hmac-secret", secret.to_owned()),
        ("cookie", format!("session={token}; phone={phone}")),
        ("user-agent", format!("browser of {id_number}")),
        ("x-request-id", format!("{id_number} {phone}")),
        ("traceparent", format!("00-{phone}-{token}-01")),
    ];
    let proofs: Vec<(&str, &str)> = proofs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answers = [
        stranger.get("/v1/keys"),
        site.stranger(None).send("GET", "/v1/keys", &proofs, None),
        site.stranger(None).send("POST", "/v1/signatures", &proofs, Some(document.as_bytes())),
        app.get(&format!("/v1/licenses/{id_number}/face?phone={phone}")),
        app.get(&format!("/v1/devices/d1/history?from={phone}&{token}=1")),
        app.get(&format!("/v1/{token}/{phone}")),
        as_json(document.to_owned()),
        as_json(order("demo-sm2", "sm2-sm3", document)),
        app.post(
            "/v1/verifications",
            &json!({"algorithm": "sm2-sm3", "signature": base64(signature.as_bytes()),
            "input": {"data": base64(document.as_bytes())}, "public_key": "no PEM"}),
        ),
        app.post("/v1/licenses:verify-batch", &json!({"items": [{"license": base64(document.as_bytes())}]})),
    ];
    answers.iter().map(Answer::text).collect()
}

#[test]
fn no_secret_and_no_document_shows_in_the_most_talkative_log_or_in_metrics() {
    let site = Folder::init().serve_with(&["--log-filter", "trace"]);
    let problems = use_everything(&site);
    let refused = json!({"key": "CANARY-KEY-NAME", "algorithm": CANARIES[0], "input": {"data": CANARIES[0]}});
    assert_eq!(site.app().post("/v1/signatures", &refused).status / 100, 4);

    let mut secrets = site.pins();
    let apps = site.sandbox()["apps"].as_array().unwrap();
    secrets.extend(apps.iter().map(|app| app["api_key"].as_str().unwrap().to_owned()));
    let custodians = site.sandbox()["custodians"].as_array().unwrap();
    secrets.extend(custodians.iter().map(|one| one["secret"].as_str().unwrap().to_owned()));
    secrets.extend(CANARIES.map(str::to_owned));
    secrets.extend(CANARIES.map(|canary| base64(canary.as_bytes())));
    let shown = [
        ("log", site.log()),
        ("metrics", site.stranger(None).get("/metrics").expect(200).text()),
        ("problems", problems.join("\n")),
    ];
    for (place, text) in shown {
        assert!(!text.is_empty(), "nothing in the {place}");
        for secret in &secrets {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} shows in the {place}: {line:?}");
        }
    }
}

#[test]
fn what_a_library_prints_is_logged_with_its_device_and_without_its_pin() {
    let site = Site::start();
    let pin = std::fs::read_to_string(site.data().join("hsm/d1/pin")).unwrap().trim().to_owned();
    // The simulator complains of a fault file that it cannot read, and quotes it.
    site.fault("d1", &format!("pin_is_{pin} = 1\n"));
    let said = eventually("the complaint is logged", Duration::from_secs(60), || {
        let log = site.log();
        log.lines().find(|line| line.contains("the device's library says")).map(str::to_owned)
    });
    assert!(said.contains("device=d1") && said.contains("hsm-sim"), "{said}");
    sign(&site, "d1 reads the file now and then");
    assert!(!site.log().contains(&pin), "the PIN is in the log");
}
