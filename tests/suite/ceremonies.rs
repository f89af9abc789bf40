//! Key ceremonies from outside: a key is made, spread, certified, put to use, replaced and destroyed, each step on
//! two custodians' word.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Answer, Caller, Scratch, Site, base64, eventually};

/// An operator at a site.
pub(crate) struct Ceremonies {
    pub(crate) site: Site,
    pub(crate) operator: Caller,
}

impl Ceremonies {
    pub(crate) fn start() -> Self {
        let site = Site::start();
        let operator = site.app_number(2);
        Self { site, operator }
    }

    fn custodian(&self, index: usize) -> Value {
        self.site.sandbox()["custodians"][index].clone()
    }

    fn open(&self, order: &Value) -> i64 {
        let opened = self.operator.post("/v1/admin/ceremonies", order).expect(201).json();
        assert_eq!((&opened["state"], &opened["needed"]), (&json!("open"), &json!(2)), "{opened}");
        opened["id"].as_i64().unwrap()
    }

    fn confirm(&self, ceremony: i64, custodian: usize) -> Answer {
        let custodian = self.custodian(custodian);
        let body = json!({"custodian": custodian["name"], "secret": custodian["secret"]});
        self.operator.post(&format!("/v1/admin/ceremonies/{ceremony}/confirm"), &body)
    }

    /// Opens a ceremony and has two custodians confirm it.
    #[track_caller]
    fn hold(&self, mut order: Value) -> Value {
        order["reason"] = json!("a test");
        let ceremony = self.open(&order);
        let first = self.confirm(ceremony, 0).expect(200).json();
        assert_eq!((&first["state"], &first["taken_over"]), (&json!("open"), &Value::Null), "{first}");
        self.confirm(ceremony, 1).expect(200).json()
    }

    #[track_caller]
    pub(crate) fn succeed(&self, order: Value) -> Value {
        let done = self.hold(order);
        assert_eq!(done["state"], "done", "{done}");
        assert!(done["taken_over"]["error"].is_null(), "{done}");
        done
    }

    fn key(&self, id: &str) -> Value {
        self.operator.get(&format!("/v1/admin/keys/{id}")).expect(200).json()
    }

    fn state(&self, id: &str, version: usize) -> String {
        self.key(id)["versions"][version - 1]["state"].as_str().unwrap().to_owned()
    }

    /// A wrapping key in all devices of the bureau.
    pub(crate) fn wrapping_key(&self) -> Value {
        self.succeed(json!({"act": "create", "key": "site-kek", "group": "bureau",
            "algorithm": "aes256", "purpose": "kek"}));
        let spread = self.succeed(json!({"act": "spread", "key": "site-kek", "version": 1}));
        assert_eq!(spread["result"]["spread_to"].as_array().unwrap().len(), 6, "{spread}");
        self.succeed(json!({"act": "rotate", "key": "site-kek", "version": 1}));
        json!({"id": "site-kek", "version": 1})
    }

    /// Has a pending version certified by a root of this test and put to use.
    fn certify_and_rotate(&self, ca: &Ca, key: &str, version: usize, overlap: u16) {
        let csr = json!({"version": version, "subject": format!("CN={key} v{version},O=Test,C=CN")});
        let csr = self.operator.post(&format!("/v1/admin/keys/{key}/csr"), &csr).expect(201).json();
        let chain = ca.issue(csr["csr"].as_str().unwrap());
        let rotate = json!({"act": "rotate", "key": key, "version": version, "overlap_days": overlap});
        let early = self.hold(rotate.clone());
        assert_eq!(early["state"], "failed", "without a certificate it signs for nobody: {early}");
        self.succeed(json!({"act": "install", "key": key, "version": version, "certificate_chain": chain}));
        self.succeed(rotate);
        assert_eq!(self.state(key, version), "active");
    }

    fn sign(&self, key: &str) -> Answer {
        let body = json!({"key": key, "algorithm": "sm2-sm3", "input": {"data": base64(b"a document")}});
        self.site.app().post("/v1/signatures", &body)
    }

    /// Signs and has the signature verified under the certificate that came with it; answers the certificate.
    fn sign_and_verify(&self, key: &str) -> String {
        let signed = eventually("the key signs", Duration::from_secs(60), || {
            let answer = self.sign(key);
            (answer.status == 201).then_some(answer)
        });
        let signed = signed.json();
        let verification = json!({"algorithm": "sm2-sm3", "input": {"data": base64(b"a document")},
            "signature": signed["signature"], "public_key": self.public_key(key)});
        let verdict = self.site.app().post("/v1/verifications", &verification).expect(200);
        verdict.expect_verdict("valid");
        signed["certificate"].as_str().unwrap().to_owned()
    }

    fn public_key(&self, key: &str) -> Value {
        self.site.app().get(&format!("/v1/keys/{key}")).expect(200).json()["public_key"].clone()
    }

    /// What the record says of ceremonies, in order: action and outcome.
    fn recorded(&self, action: &str) -> Vec<Value> {
        self.site.audit().into_iter().filter(|entry| entry["action"] == action).collect()
    }
}

/// An SM2 root kept in files for `openssl`.
struct Ca(Scratch);

impl Ca {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.openssl("genpkey -algorithm SM2 -out ca.key").expect("openssl genpkey");
        let root = "req -x509 -new -key ca.key -sm3 -days 400 -subj /CN=Root -out ca.pem";
        scratch.openssl(&format!("{root} -sigopt distid:1234567812345678")).expect("openssl req -x509");
        Self(scratch)
    }

    /// Checks a request and answers the certificate and the root.
    fn issue(&self, csr: &str) -> String {
        self.0.write("request.pem", csr);
        self.0.write("extensions", "keyUsage=critical,digitalSignature,nonRepudiation\n");
        let text = self
            .0
            .openssl("req -in request.pem -verify -vfyopt distid:1234567812345678 -noout -text")
            .expect("openssl req -verify");
        assert!(text.text.contains("Non Repudiation"), "{}", text.text);
        self.0
            .openssl(
                "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -sm3 -days 20 -extfile extensions \
                 -vfyopt distid:1234567812345678 -sigopt distid:1234567812345678 -out issued.pem",
            )
            .expect("openssl x509 -req");
        String::from_utf8([self.0.read("issued.pem"), self.0.read("ca.pem")].concat()).unwrap()
    }
}

#[test]
fn a_key_lives_from_its_ceremony_to_its_end_and_every_step_is_recorded() {
    let ceremonies = Ceremonies::start();
    let ca = Ca::new();
    let wrapping = ceremonies.wrapping_key();
    ceremonies.succeed(json!({"act": "create", "key": "license-sm2", "group": "bureau", "algorithm": "sm2",
        "purpose": "service", "wrapping_key": wrapping}));
    let spread = ceremonies.succeed(json!({"act": "spread", "key": "license-sm2", "version": 1}));
    assert_eq!(spread["result"]["spread_to"].as_array().unwrap().len(), 6, "{spread}");
    ceremonies.certify_and_rotate(&ca, "license-sm2", 1, 0);

    let refused = ceremonies.sign("license-sm2").expect(403).json();
    assert_eq!(refused["code"], "key_not_permitted", "no app may use it yet");
    let grant = |keys: Value| {
        let body = json!({"keys": keys, "reason": "a test"}).to_string();
        let headers = [("content-type", "application/json")];
        let path = "/v1/admin/apps/sandbox-registration/keys";
        ceremonies.operator.send("PUT", path, &headers, Some(body.as_bytes()))
    };
    grant(json!(["site-kek"])).expect(422);
    grant(json!(["demo-sm2", "license-sm2"])).expect(200);
    let first = ceremonies.sign_and_verify("license-sm2");
    eventually("all seven devices hold it", Duration::from_secs(60), || {
        let held = ceremonies.key("license-sm2")["versions"][0]["copies"][0]["held_by"].clone();
        (held.as_array().unwrap().len() == 7).then_some(())
    });
    let shown = ceremonies.site.app().get("/v1/keys/license-sm2").expect(200).json();
    assert_eq!((&shown["version"], &shown["expires_soon"]), (&json!(1), &json!(true)), "{shown}");

    ceremonies.succeed(json!({"act": "next", "key": "license-sm2", "wrapping_key": wrapping}));
    ceremonies.succeed(json!({"act": "spread", "key": "license-sm2", "version": 2}));
    assert_eq!(ceremonies.sign_and_verify("license-sm2"), first, "version 1 signs until 2 is put to use");
    ceremonies.certify_and_rotate(&ca, "license-sm2", 2, 1);
    assert_ne!(ceremonies.sign_and_verify("license-sm2"), first);
    assert_eq!(ceremonies.state("license-sm2", 1), "retiring");
    let early = ceremonies.hold(json!({"act": "retire", "key": "license-sm2", "version": 1}));
    assert_eq!(early["state"], "failed", "{early}");
    assert!(early["result"]["error"].as_str().unwrap().contains("overlap"), "{early}");

    ceremonies.succeed(json!({"act": "next", "key": "license-sm2", "wrapping_key": wrapping}));
    ceremonies.succeed(json!({"act": "spread", "key": "license-sm2", "version": 3}));
    ceremonies.certify_and_rotate(&ca, "license-sm2", 3, 0);
    assert_eq!(ceremonies.state("license-sm2", 2), "retired");
    let destroyed = ceremonies.succeed(json!({"act": "destroy", "key": "license-sm2", "version": 2}));
    assert_eq!(destroyed["result"]["removed_from"].as_array().unwrap().len(), 7, "{destroyed}");
    assert_eq!(ceremonies.state("license-sm2", 2), "destroyed");
    ceremonies.sign_and_verify("license-sm2");

    ceremonies.succeed(json!({"act": "retire", "key": "license-sm2", "version": 3}));
    let refused = ceremonies.sign("license-sm2").expect(409).json();
    assert_eq!(refused["code"], "key_not_active", "{refused}");
    ceremonies.succeed(json!({"act": "destroy", "key": "license-sm2", "version": 3}));
    assert!(ceremonies.key("license-sm2")["versions"][2]["copies"][0]["held_by"] == json!([]));
    let again = ceremonies.hold(json!({"act": "destroy", "key": "license-sm2", "version": 3}));
    assert_eq!(again["state"], "failed", "{again}");

    let ended = ceremonies.recorded("ceremony.finish");
    let failed = ended.iter().filter(|entry| entry["outcome"] == "failed").count();
    assert_eq!(
        failed, 5,
        "three rotations without a certificate, one early end, one end too many: {ended:?}"
    );
    assert!(ended.iter().all(|entry| entry["actor"] == "sandbox-operations"), "{ended:?}");
    assert_eq!(ceremonies.recorded("key.csr").len(), 3);
    assert_eq!(ceremonies.recorded("app.keys").last().unwrap()["outcome"], "ok");
}

#[test]
fn two_different_custodians_with_their_own_secrets_are_needed_in_time() {
    let ceremonies = Ceremonies::start();
    let order = json!({"act": "create", "key": "k", "group": "bureau", "algorithm": "p256",
        "purpose": "service", "spread": "per-device", "reason": "a test"});
    let ceremony = ceremonies.open(&order);
    let path = format!("/v1/admin/ceremonies/{ceremony}/confirm");
    ceremonies.confirm(ceremony, 0).expect(200);
    let twice = ceremonies.confirm(ceremony, 0).expect(409).json();
    assert_eq!(twice["code"], "already_confirmed");
    let name = ceremonies.custodian(1)["name"].clone();
    let wrong = json!({"custodian": name, "secret": ceremonies.custodian(0)["secret"]});
    let refused = ceremonies.operator.post(&path, &wrong).expect(403).json();
    assert_eq!(refused["code"], "not_a_custodian");
    let stranger = json!({"custodian": "somebody", "secret": "a secret of twelve"});
    assert_eq!(ceremonies.operator.post(&path, &stranger).expect(403).json()["code"], "not_a_custodian");
    let outcomes: Vec<_> = ceremonies
        .recorded("ceremony.confirm")
        .iter()
        .map(|entry| (entry["actor"].clone(), entry["outcome"].clone()))
        .collect();
    let expected =
        [("custodian-1", "ok"), ("custodian-2", "not_a_custodian"), ("somebody", "not_a_custodian")];
    assert_eq!(outcomes, expected.map(|(actor, outcome)| (json!(actor), json!(outcome))));
    let open = ceremonies.operator.get(&format!("/v1/admin/ceremonies/{ceremony}")).expect(200).json();
    assert_eq!((&open["state"], open["confirmations"].as_array().unwrap().len()), (&json!("open"), 1));
    ceremonies.operator.get("/v1/admin/keys/k").expect(404);

    let mut brief = order.clone();
    brief["valid_seconds"] = json!(1);
    let brief = ceremonies.open(&brief);
    let shown = || ceremonies.operator.get(&format!("/v1/admin/ceremonies/{brief}")).expect(200).json();
    eventually("its time passes", Duration::from_secs(60), || (shown()["state"] == "expired").then_some(()));
    let late = ceremonies.confirm(brief, 0).expect(409).json();
    assert_eq!(late["code"], "ceremony_expired");

    for _ in 0..4 {
        ceremonies.operator.post(&path, &wrong).expect(403);
    }
    let paused = ceremonies.confirm(ceremony, 1).expect(429);
    assert_eq!(paused.json()["code"], "too_many_attempts");
    assert!(!paused.header("retry-after").is_empty());
    let done = ceremonies.confirm(ceremony, 2).expect(200).json();
    assert_eq!(done["state"], "done", "the third custodian may still: {done}");
    let over = ceremonies.confirm(ceremony, 2).expect(409).json();
    assert_eq!(over["code"], "ceremony_not_open");
    let copies = ceremonies.key("k")["versions"][0]["copies"].clone();
    assert_eq!(copies.as_array().unwrap().len(), 7, "each device has its own: {copies}");
}

#[test]
fn a_ceremony_that_is_called_off_is_confirmed_by_nobody() {
    let ceremonies = Ceremonies::start();
    let ceremony = ceremonies.open(&json!({"act": "create", "key": "k", "group": "bureau",
        "algorithm": "p256", "purpose": "service", "spread": "per-device", "reason": "a test"}));
    ceremonies.confirm(ceremony, 0).expect(200);
    let path = |id: i64| format!("/v1/admin/ceremonies/{id}/call-off");
    let why = json!({"reason": "the wrong group"});
    ceremonies.site.app().post(&path(ceremony), &why).expect(403);
    let unexplained = ceremonies.operator.post(&path(ceremony), &json!({"reason": " "})).expect(422).json();
    assert_eq!(unexplained["errors"][0]["field"], "reason", "{unexplained}");
    let unknown = ceremonies.operator.post(&path(9_999), &why).expect(404).json();
    assert_eq!(unknown["code"], "unknown_ceremony");

    let ended = ceremonies.operator.post(&path(ceremony), &why).expect(200).json();
    assert_eq!((&ended["state"], &ended["result"]["error"]), (&json!("failed"), &json!("called off")));
    assert_eq!(ended["result"]["reason"], "the wrong group", "{ended}");
    assert_eq!(ended["result"]["by"], "sandbox-operations", "{ended}");
    for late in [ceremonies.confirm(ceremony, 1), ceremonies.operator.post(&path(ceremony), &why)] {
        assert_eq!(late.expect(409).json()["code"], "ceremony_not_open");
    }
    ceremonies.operator.get("/v1/admin/keys/k").expect(404);
    let recorded = ceremonies.recorded("ceremony.finish");
    let said: Vec<_> = recorded.iter().map(|entry| (&entry["actor"], &entry["outcome"])).collect();
    assert_eq!(said, [(&json!("sandbox-operations"), &json!("called_off"))]);

    let done = ceremonies.hold(json!({"act": "create", "key": "k", "group": "bureau", "algorithm": "p256",
        "purpose": "service", "spread": "per-device"}));
    let over = ceremonies.operator.post(&path(done["id"].as_i64().unwrap()), &why).expect(409).json();
    assert_eq!(over["code"], "ceremony_not_open", "what was done is done: {over}");
}

#[test]
fn who_only_lists_keys_holds_no_ceremonies_and_nonsense_is_refused_before_anybody_confirms() {
    let site = &tests::shared().site;
    let order = json!({"act": "retire", "key": "demo-sm2", "version": 1, "reason": "a test"});
    site.app().post("/v1/admin/ceremonies", &order).expect(403);
    site.app().get("/v1/admin/keys").expect(403);
    let operator = site.app_number(2);
    let code = |order: Value, status| {
        operator.post("/v1/admin/ceremonies", &order).expect(status).json()["code"].clone()
    };
    assert_eq!(
        code(json!({"act": "retire", "key": "none", "version": 1, "reason": "r"}), 404),
        "unknown_key"
    );
    let missing = json!({"act": "retire", "key": "demo-sm2", "version": 9, "reason": "r"});
    assert_eq!(code(missing, 404), "unknown_key_version");
    let taken = json!({"act": "create", "key": "demo-sm2", "group": "bureau", "algorithm": "sm2",
        "purpose": "service", "reason": "r"});
    assert_eq!(code(taken, 409), "key_exists");
    let custodian = json!({"name": "mallory", "secret": "a secret of twelve"});
    let refused = operator.post("/v1/admin/custodians", &custodian).expect(403).json();
    assert_eq!(refused["code"], "socket_only", "an app enters no custodians");
}
