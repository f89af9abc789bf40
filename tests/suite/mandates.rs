//! Standing mandates: entered, certified and put to use by two people, used within limits in the enterprise's name, and ended.

use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    Answer, Caller, Folder, Person, Postgres, Ran, Scratch, Site, base64, eventually, repository, signal,
    unbase64,
};

pub(crate) const PATH: &str = "/v1/admin/mandates";
const NAME: &str = "西安市测试秦风贸易有限公司";
const SOON: Duration = Duration::from_secs(60);

fn contract() -> Vec<u8> {
    std::fs::read(repository().join("formats/tests/pdfs/reportlab.pdf")).unwrap()
}

fn because(reason: &str) -> Value {
    json!({"reason": reason})
}

/// So many days from now, RFC 3339.
pub(crate) fn in_days(days: i64) -> String {
    let ran =
        Ran::of(Command::new("date").args(["-u", "-d", &format!("{days} days"), "+%Y-%m-%dT%H:%M:%SZ"]));
    ran.text.trim().to_owned()
}

fn uscc(site: &Site) -> String {
    site.sandbox()["licenses"][0].as_str().unwrap().to_owned()
}

fn app(site: &Site, number: usize) -> Value {
    site.sandbox()["apps"][number]["id"].clone()
}

pub(crate) fn mandate(site: &Site, number: &str) -> Value {
    json!({
        "number": number,
        "enterprise": {"name": NAME, "uscc": uscc(site)},
        "granted_by": {"name": "测试甲", "id_kind": "other", "id_number": "E-0012345678"},
        "evidence_sm3": "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
        "apps": [app(site, 0)],
        "formats": ["pdf", "digest"], "purposes": ["合同", "报价"],
        "per_day": 100, "in_all": 1000, "largest_octets": 1_048_576,
        "valid_from": in_days(-1), "valid_until": in_days(15),
        "group": "bureau", "algorithm": "p256",
    })
}

pub(crate) fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn entered(mandate: Value) -> Value {
    json!({"mandate": mandate, "reason": "decision 2026-18"})
}

/// An authority kept in files for `openssl`, of SM2 or P-256.
pub(crate) struct Ca {
    scratch: Scratch,
    digest: &'static str,
    identifiers: &'static str,
}

impl Ca {
    pub(crate) fn new(algorithm: &str) -> Self {
        let scratch = Scratch::new();
        let (key, digest, root, identifiers) = match algorithm {
            "sm2" => (
                "genpkey -algorithm SM2 -out ca.key",
                "-sm3",
                "-sigopt distid:1234567812345678",
                "-vfyopt distid:1234567812345678 -sigopt distid:1234567812345678",
            ),
            _ => ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key", "-sha256", "", ""),
        };
        scratch.openssl(key).expect("a key");
        let make =
            format!("req -x509 -new -key ca.key {digest} -days 60 -subj /CN=Enterprise-CA -out ca.pem");
        scratch.openssl(&format!("{make} {root}")).expect("a root");
        Self { scratch, digest, identifiers }
    }

    pub(crate) fn root(&self) -> std::path::PathBuf {
        self.scratch.path().join("ca.pem")
    }

    fn issue(&self, csr: &str, days: u32, more: &str) -> String {
        self.scratch.write("request.pem", csr);
        self.scratch.write("extensions", "keyUsage=critical,digitalSignature,nonRepudiation\n");
        let (digest, identifiers) = (self.digest, self.identifiers);
        let issue = format!(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial {digest} -days {days} \
             -extfile extensions {identifiers} {more} -out issued.pem"
        );
        self.scratch.openssl(&issue).expect("a certificate");
        String::from_utf8(self.scratch.read("issued.pem")).unwrap()
    }
}

/// A site that trusts an authority; mandates have so many uses a day.
pub(crate) fn site_of(ca: &Ca, two_person: bool) -> Site {
    let folder = Folder::init();
    folder.at_noon();
    if two_person {
        folder.configure("[site]\n", "[administration]\ntwo_person = true\n[site]\n");
    }
    folder.trust(&[ca.root()]);
    folder.serve()
}

/// Enters a mandate and brings it to its certificate, by a caller with the scope.
fn certified(post: &dyn Fn(&str, &Value) -> Answer, ca: &Ca, mandate: &Value) -> Value {
    let number = mandate["number"].as_str().unwrap().to_owned();
    let draft = post(PATH, &entered(mandate.clone())).expect(201).json();
    assert_eq!((&draft["state"], &draft["version"]), (&json!("draft"), &json!(1)), "{draft:#}");
    let csr = post(&format!("{PATH}/{number}/csr"), &because("for the authority")).expect(201).json();
    let certificate = ca.issue(csr["csr"].as_str().unwrap(), 20, "");
    let body = json!({"certificate": certificate, "reason": "issued"});
    post(&format!("{PATH}/{number}/certificate"), &body).expect(200).json()
}

/// Enters a mandate and puts it to use where one person is enough.
pub(crate) fn in_force(site: &Site, ca: &Ca, mandate: &Value) {
    let operator = site.app_number(2);
    certified(&|path, body| operator.post(path, body), ca, mandate);
    let path = format!("{PATH}/{}/activate", mandate["number"].as_str().unwrap());
    let active = operator.post(&path, &because("granted")).expect(200).json();
    assert_eq!(active["state"], "active", "{active:#}");
}

pub(crate) fn signer(site: &Site, number: &str) -> Value {
    json!({"enterprise": uscc(site), "mandate": number, "purpose": "合同"})
}

fn order(site: &Site, number: &str) -> Value {
    json!({"format": "pdf", "document": base64(&contract()), "signer": signer(site, number)})
}

fn digest_order(site: &Site, number: &str) -> Value {
    json!({"format": "digest", "digest": base64(&[7; 32]), "signer": signer(site, number)})
}

/// What is done to a good mandate, and the code and field of what is then said.
type Case<'c> = (&'c dyn Fn(&mut Value), &'static str, &'static str);

#[track_caller]
fn refused(app: &Caller, order: &Value, status: u16, code: &str, field: &str) {
    let answer = app.post("/v1/stamps", order).expect(status).json();
    assert_eq!(answer["code"], code, "{answer:#}");
    let fields: Vec<_> = answer["errors"].as_array().into_iter().flatten().map(|one| &one["field"]).collect();
    assert!(field.is_empty() || fields.contains(&&json!(field)), "{field}: {answer:#}");
}

fn judged(site: &Site, document: &[u8]) -> Value {
    site.app().post("/v1/stamps:verify", &json!({"document": base64(document)})).expect(200).json()
}

#[test]
fn two_people_put_a_mandate_to_use_the_enterprise_stamps_and_what_it_stamped_stays_valid_after_its_end() {
    let ca = Ca::new("p256");
    let site = site_of(&ca, true);
    let [security, system] = ["security", "console"].map(|name| Person::of_sandbox(&site, name).sign_in());
    let number = "M-1";
    let ready = certified(&|path, body| security.post(path, body), &ca, &mandate(&site, number));
    assert_eq!((&ready["state"], &ready["version"]), (&json!("draft"), &json!(2)));
    assert_eq!(ready["granted_by"]["id_number"], "E**********8", "it is masked");
    refused(site.app(), &order(&site, number), 403, "mandate_not_active", "signer.mandate");

    // One asks, another one sees what is granted, and approves.
    let asked = security.post(&format!("{PATH}/{number}/activate"), &because("granted")).expect(202).json();
    let id = asked["approval"].as_str().unwrap();
    let shown = system.get(&format!("/v1/admin/approvals/{id}")).expect(200).text();
    for part in [NAME, "合同", "1048576", "CN=", "Enterprise-CA"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("E-0012345678"), "a number of a person's");
    refused(site.app(), &order(&site, number), 403, "mandate_not_active", "signer.mandate");
    let done = system.post(&format!("/v1/admin/approvals/{id}/approve"), &because("checked")).expect(200);
    assert_eq!(done.json()["outcome"], "ok");

    let own = site.app().get("/v1/mandates").expect(200).json();
    assert_eq!(own["items"][0]["number"], number, "{own:#}");
    assert_eq!((&own["items"][0]["usable"], &own["items"][0]["left_today"]), (&json!(true), &json!(100)));
    assert_eq!(site.app_number(1).get("/v1/mandates").expect(200).json()["items"], json!([]));

    let stamp = site.app().post("/v1/stamps", &order(&site, number)).expect(201).json();
    assert_eq!((&stamp["key"], &stamp["algorithm"]), (&json!("mandate.M-1"), &json!("ecdsa-p256-sha256")));
    let document = unbase64(stamp["document"].as_str().unwrap());
    let verdict = judged(&site, &document);
    assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
    let scratch = Scratch::new();
    let file = scratch.write("stamped.pdf", &document);
    let said = Ran::of(Command::new("pdfsig").arg("-nocert").arg(&file)).text;
    assert_eq!(said.matches("Signature is Valid").count(), 1, "{said}");
    assert!(said.contains(NAME), "{said}");

    // The register, the page for everybody and the record name the enterprise.
    let path = format!("/v1/stamps/{}", stamp["stamp_id"].as_str().unwrap());
    let registered = site.app().get(&path).expect(200).json();
    let named = json!({"number": number, "name": NAME, "uscc": uscc(&site), "purpose": "合同"});
    assert_eq!(registered["mandate"], named);
    let page = format!("/verify/{}", stamp["check_code"].as_str().unwrap());
    let checked = site.stranger(None).send("GET", &page, &[("accept", "application/json")], None);
    assert_eq!(checked.expect(200).json()["enterprise"], json!({"name": NAME, "uscc": uscc(&site)}));
    assert!(site.stranger(None).get(&page).expect(200).text().contains(NAME));
    let stamp_id = &stamp["stamp_id"];
    let about: Vec<_> = site.audit().into_iter().filter(|entry| entry["subject"] == *stamp_id).collect();
    let outcomes: Vec<_> = about.iter().map(|entry| (&entry["outcome"], &entry["key"])).collect();
    let key = &json!("mandate.M-1");
    assert_eq!(outcomes, [(&json!("intended"), key), (&json!("ok"), key)], "{about:#?}");

    // The agency stamps over it: two orders.
    let both = json!({"format": "pdf", "document": base64(&document), "signer": {"key": "demo-p256"}});
    let both = site.app().post("/v1/stamps", &both).expect(201).json();
    let verdict = judged(&site, &unbase64(both["document"].as_str().unwrap()));
    assert_eq!((&verdict["verdict"], verdict["signatures"].as_array().unwrap().len()), (&json!("valid"), 2));

    // Its key is nobody's by name.
    let listed = site.app().get("/v1/keys").expect(200).text();
    assert!(!listed.contains("mandate.M-1"));
    site.app().get("/v1/keys/mandate.M-1").expect(404);
    let by_name = json!({"format": "pdf", "document": base64(&contract()), "signer": {"key": "mandate.M-1"}});
    assert!(site.app().post("/v1/stamps", &by_name).status >= 400);
    let raw =
        json!({"key": "mandate.M-1", "algorithm": "ecdsa-p256-sha256", "input": {"data": base64(b"x")}});
    assert!(site.app().post("/v1/signatures", &raw).status >= 400);

    // What contains harm waits for nobody; what lets it be used again does.
    security.post(&format!("{PATH}/{number}/suspend"), &because("asked by phone")).expect(200);
    refused(site.app(), &order(&site, number), 403, "mandate_suspended", "signer.mandate");
    let asked = security.post(&format!("{PATH}/{number}/resume"), &because("cleared")).expect(202).json();
    let id = asked["approval"].as_str().unwrap();
    system.post(&format!("/v1/admin/approvals/{id}/approve"), &because("checked")).expect(200);
    // Over a digest: OpenSSL verifies the CMS under the authority's root.
    scratch.write("content", b"an offer");
    scratch.write("root.pem", std::fs::read(ca.root()).unwrap());
    scratch.openssl("dgst -sha256 -binary -out digest content").expect("openssl dgst");
    let over = with(digest_order(&site, number), json!({"digest": base64(&scratch.read("digest"))}));
    let cms = site.app().post("/v1/stamps", &over).expect(201).bytes("signature");
    scratch.write("offer.cms", cms);
    let verify =
        "cms -verify -binary -inform DER -in offer.cms -content content -CAfile root.pem -purpose any";
    scratch.openssl(&format!("{verify} -out verified")).expect("openssl cms -verify");

    let ended = security.post(&format!("{PATH}/{number}/end"), &because("withdrawn")).expect(200).json();
    assert_eq!(ended["state"], "ended");
    refused(site.app(), &order(&site, number), 403, "mandate_ended", "signer.mandate");
    let again = security.post(&format!("{PATH}/{number}/resume"), &because("regret")).expect(409).json();
    assert_eq!(again["code"], "mandate_state");
    let detail = security.get(&format!("{PATH}/{number}")).expect(200).json();
    assert_eq!(detail["taken_in_all"], 2, "{detail:#}");
    let states: Vec<_> =
        detail["history"].as_array().unwrap().iter().map(|event| event["state"].clone()).collect();
    assert_eq!(states, ["draft", "draft", "active", "suspended", "active", "ended"]);
    assert_eq!(judged(&site, &document)["verdict"], "valid");
    site.stranger(None).get(&page).expect(200);
    let (folder, _) = site.stop();
    let mut sqlite = Command::new("sqlite3");
    sqlite.arg(folder.data().join("gateway.db")).arg("SELECT length(blob) FROM wrapped_keys");
    assert_eq!(Ran::of(&mut sqlite).expect("sqlite3").text.trim(), "0", "the key is destroyed");
}

#[test]
fn an_sm2_mandate_signs_in_any_device_of_its_group() {
    let ca = Ca::new("sm2");
    let site = site_of(&ca, false);
    in_force(&site, &ca, &with(mandate(&site, "SM-1"), json!({"algorithm": "sm2"})));
    let stamp = |order: &Value| site.app().post("/v1/stamps", order).expect(201).json();
    let first = stamp(&order(&site, "SM-1"));
    assert_eq!(first["algorithm"], "sm2-sm3");
    let document = unbase64(first["document"].as_str().unwrap());
    assert_eq!(judged(&site, &document)["verdict"], "valid");

    // The device that made it dies; another one of the group unwraps the key.
    for worker in site.workers().into_iter().filter(|worker| worker.serves(first["device"].as_str().unwrap()))
    {
        signal(worker.pid, "KILL");
    }
    for _ in 0..5 {
        stamp(&digest_order(&site, "SM-1"));
    }

    // Over a digest, a CMS.
    let scratch = Scratch::new();
    scratch.write("content", b"an offer");
    scratch.openssl("dgst -sm3 -binary -out digest content").expect("openssl dgst");
    let over = with(digest_order(&site, "SM-1"), json!({"digest": base64(&scratch.read("digest"))}));
    let cms = stamp(&over);
    let verification = json!({"format": "cms", "signature": cms["signature"],
        "input": {"data": base64(b"an offer")}});
    let verdict = site.app().post("/v1/verifications", &verification).expect(200);
    verdict.expect_verdict("valid");
}

#[test]
fn a_certificate_that_is_not_the_mandates_is_refused() {
    let ca = Ca::new("p256");
    let site = site_of(&ca, false);
    let operator = site.app_number(2);
    operator.post(PATH, &entered(mandate(&site, "C-1"))).expect(201);
    operator.post(PATH, &entered(mandate(&site, "C-2"))).expect(201);
    let csr = |number: &str| {
        let csr = operator.post(&format!("{PATH}/{number}/csr"), &because("a test")).expect(201).json();
        csr["csr"].as_str().unwrap().to_owned()
    };
    let bring = |certificate: &str| {
        let body = json!({"certificate": certificate, "reason": "issued"});
        operator.post(&format!("{PATH}/C-1/certificate"), &body)
    };
    let (own, other) = (csr("C-1"), csr("C-2"));
    let activate = || operator.post(&format!("{PATH}/C-1/activate"), &because("granted"));
    assert_eq!(activate().expect(409).json()["code"], "mandate_state");
    let code = uscc(&site);
    let stranger = Ca::new("p256");
    for (certificate, wanted) in [
        (ca.issue(&other, 20, ""), "certificate_of_another_key"),
        (ca.issue(&own, 20, "-subj /CN=x/O=another/serialNumber=1"), "certificate_not_for_enterprise"),
        (
            ca.issue(&own, 20, &format!("-subj /O=another/serialNumber={code}")),
            "certificate_not_for_enterprise",
        ),
        (stranger.issue(&own, 20, ""), "certificate_refused"),
        ("no certificate".to_owned(), "invalid_certificate"),
    ] {
        let answer = bring(&certificate).expect(422).json();
        let codes: Vec<_> =
            answer["errors"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
        assert!(codes.contains(&json!(wanted)), "{wanted}: {answer:#}");
        assert_eq!(answer["errors"][0]["field"], "certificate");
    }
    let shown = operator.get(&format!("{PATH}/C-1")).expect(200).json();
    assert_eq!((&shown["certificate"], &shown["version"]), (&Value::Null, &json!(1)));

    bring(&ca.issue(&own, 20, "")).expect(200);
    activate().expect(200);
    assert_eq!(bring(&ca.issue(&own, 20, "")).expect(409).json()["code"], "mandate_state");
    operator.post(&format!("{PATH}/C-1/csr"), &because("again")).expect(409);
}

#[test]
fn an_order_that_is_not_within_the_mandate_is_refused_with_its_code_and_takes_nothing() {
    let ca = Ca::new("p256");
    let site = site_of(&ca, false);
    let limits = json!({"formats": ["pdf"], "per_day": 1, "in_all": 2, "largest_octets": 500});
    in_force(&site, &ca, &with(mandate(&site, "L-1"), limits));
    let app = site.app();
    let good = order(&site, "L-1");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut order = good.clone();
        change(&mut order);
        order
    };
    for (order, status, code, field) in [
        (good.clone(), 403, "mandate_document_too_large", "document"),
        (
            changed(&|order| order["signer"]["purpose"] = json!("别的")),
            403,
            "mandate_purpose",
            "signer.purpose",
        ),
        (digest_order(&site, "L-1"), 403, "mandate_format", "format"),
        (changed(&|order| order["signer"]["mandate"] = json!("none")), 404, "unknown_mandate", ""),
        (changed(&|order| order["signer"]["mandate"] = json!("a/b")), 404, "unknown_mandate", ""),
        (
            changed(&|order| order["signer"]["enterprise"] = json!("91350100M000100Y43")),
            422,
            "mandate_of_another_enterprise",
            "signer.enterprise",
        ),
        (changed(&|order| order["signer"]["key"] = json!("demo-sm2")), 422, "ambiguous_input", "signer"),
        (
            changed(&|order| drop(order["signer"].as_object_mut().unwrap().remove("purpose"))),
            422,
            "missing_field",
            "signer.purpose",
        ),
        (changed(&|order| order["signer"] = json!({})), 422, "missing_field", "signer.key"),
        (changed(&|order| order["signer"]["person"] = json!("x")), 422, "unknown_field", "signer.person"),
        (changed(&|order| order["algorithm"] = json!("sm2-sm3")), 422, "algorithm_mismatch", "algorithm"),
        (changed(&|order| order["format"] = json!("doc")), 422, "invalid_value", "format"),
    ] {
        refused(app, &order, status, code, field);
    }
    refused(&site.app_number(1), &good, 404, "unknown_mandate", "");
    let operator = site.app_number(2);
    let detail = operator.get(&format!("{PATH}/L-1")).expect(200).json();
    assert_eq!((&detail["taken_today"], &detail["taken_in_all"]), (&json!(0), &json!(0)), "{detail:#}");

    // A day's, and all of them.
    let limits = json!({"per_day": 1, "in_all": 2});
    in_force(&site, &ca, &with(mandate(&site, "L-2"), limits));
    app.post("/v1/stamps", &order(&site, "L-2")).expect(201);
    refused(app, &order(&site, "L-2"), 403, "mandate_used_up_today", "signer.mandate");
    in_force(&site, &ca, &with(mandate(&site, "L-3"), json!({"per_day": 2, "in_all": 2})));
    // What cannot be stamped after all takes nothing.
    let broken = with(order(&site, "L-3"), json!({"document": base64(b"%PDF-1.7 broken")}));
    assert_eq!(app.post("/v1/stamps", &broken).expect(422).json()["errors"][0]["field"], "document");
    for _ in 0..2 {
        app.post("/v1/stamps", &order(&site, "L-3")).expect(201);
    }
    refused(app, &order(&site, "L-3"), 403, "mandate_used_up", "signer.mandate");
    let own = app.get("/v1/mandates").expect(200).json();
    let last = &own["items"][2];
    assert_eq!((&last["number"], &last["usable"]), (&json!("L-3"), &json!(false)), "{own:#}");
    assert_eq!((&last["left_in_all"], &last["errors"][0]["code"]), (&json!(0), &json!("mandate_used_up")));

    // Its time.
    let later = json!({"valid_from": in_days(3)});
    in_force(&site, &ca, &with(mandate(&site, "L-4"), later));
    refused(app, &order(&site, "L-4"), 403, "mandate_not_yet_valid", "signer.mandate");
}

#[test]
fn a_mandate_that_cannot_be_is_refused_with_its_code_and_field() {
    let ca = Ca::new("p256");
    let site = site_of(&ca, false);
    let operator = site.app_number(2);
    let cases: &[Case<'_>] = &[
        (&|m| m["number"] = json!("a/b"), "invalid_value", "mandate.number"),
        (&|m| m["number"] = json!("x".repeat(57)), "invalid_value", "mandate.number"),
        (
            &|m| m["enterprise"]["uscc"] = json!("91350100M000100Y4X"),
            "uscc_invalid",
            "mandate.enterprise.uscc",
        ),
        (&|m| m["enterprise"]["name"] = json!("公司\u{202e}"), "invalid_value", "mandate.enterprise.name"),
        (&|m| m["granted_by"]["name"] = json!(""), "invalid_value", "mandate.granted_by.name"),
        (
            &|m| m["granted_by"] = json!({"name": "测试甲", "id_number": "610101199001010000"}),
            "id_number_invalid",
            "mandate.granted_by.id_number",
        ),
        (&|m| m["granted_by"]["id_kind"] = json!("x"), "invalid_value", "mandate.granted_by.id_kind"),
        (&|m| m["evidence_sm3"] = json!("66"), "invalid_value", "mandate.evidence_sm3"),
        (&|m| m["apps"] = json!([]), "invalid_value", "mandate.apps"),
        (&|m| m["apps"] = json!(["nobody"]), "unknown_app", "mandate.apps"),
        (&|m| m["formats"] = json!(["doc"]), "invalid_value", "mandate.formats.0"),
        (&|m| m["formats"] = json!([]), "invalid_value", "mandate.formats"),
        (&|m| m["purposes"] = json!([]), "invalid_value", "mandate.purposes"),
        (&|m| m["purposes"] = json!(["x".repeat(41)]), "invalid_value", "mandate.purposes.0"),
        (&|m| m["per_day"] = json!(0), "invalid_value", "mandate.per_day"),
        (&|m| m["per_day"] = json!(-1), "invalid_type", "mandate.per_day"),
        (&|m| m["in_all"] = json!(99), "invalid_value", "mandate.in_all"),
        (&|m| m["largest_octets"] = json!(1_u64 << 40), "invalid_value", "mandate.largest_octets"),
        (&|m| m["valid_until"] = json!("tomorrow"), "invalid_time", "mandate.valid_until"),
        (&|m| m["valid_until"] = m["valid_from"].clone(), "invalid_validity", "mandate.valid_until"),
        (&|m| m["group"] = json!("nowhere"), "unknown_group", "mandate.group"),
        (&|m| m["algorithm"] = json!("rsa2048"), "invalid_value", "mandate.algorithm"),
        (&|m| m["colour"] = json!("red"), "unknown_field", "mandate.colour"),
    ];
    for (change, code, field) in cases {
        let mut bad = mandate(&site, "B-1");
        change(&mut bad);
        let answer = operator.post(PATH, &entered(bad)).expect(422);
        assert!(!answer.text().contains("610101199001010000"), "a number of a person's");
        let answer = answer.json();
        let told = answer["errors"].as_array().unwrap();
        let told = told.iter().any(|one| one["code"] == *code && one["field"] == *field);
        assert!(told, "{code} {field}: {answer:#}");
    }
    assert_eq!(operator.get(PATH).expect(200).json()["items"], json!([]));
    for path in ["none", "%00", "a%2Fb"] {
        let answer = operator.get(&format!("{PATH}/{path}")).expect(404).json();
        assert_eq!(answer["code"], "unknown_mandate");
    }
    operator.post(PATH, &entered(mandate(&site, "B-2"))).expect(201);
    assert_eq!(
        operator.post(PATH, &entered(mandate(&site, "B-2"))).expect(409).json()["code"],
        "mandate_exists"
    );
    assert_eq!(site.app().get(PATH).expect(403).json()["code"], "scope_missing");
    assert_eq!(operator.get("/v1/mandates").expect(403).json()["code"], "scope_missing");

    // A person's number is nowhere on disk as it is.
    let (folder, _) = site.stop();
    let database = std::fs::read(folder.data().join("gateway.db")).unwrap();
    let number: &[u8] = b"E-0012345678";
    assert!(!database.windows(number.len()).any(|octets| octets == number));
}

#[test]
fn the_command_line_does_the_same() {
    let ca = Ca::new("p256");
    let site = site_of(&ca, false);
    let scratch = Scratch::new();
    let run = |arguments: &[&str]| {
        let output = site.command(arguments);
        assert!(output.status.success(), "{arguments:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let file = scratch.write("mandate.json", mandate(&site, "K-1").to_string());
    let said = run(&["mandate", "create", file.to_str().unwrap(), "--reason", "decision"]);
    assert!(said.contains("mandate K-1 is draft"), "{said}");
    let csr = run(&["mandate", "csr", "K-1", "--reason", "decision"]);
    let certificate = scratch.write("issued.pem", ca.issue(&csr, 20, ""));
    run(&["mandate", "certificate", "K-1", certificate.to_str().unwrap(), "--reason", "issued"]);
    assert!(run(&["mandate", "activate", "K-1", "--reason", "granted"]).contains("K-1 is active"));
    site.app().post("/v1/stamps", &digest_order(&site, "K-1")).expect(201);
    assert!(run(&["mandate", "list", "--state", "active"]).contains("K-1"));
    let shown: Value = serde_json::from_str(&run(&["mandate", "show", "K-1", "--json"])).unwrap();
    assert_eq!(shown["taken_today"], 1);
    run(&["mandate", "suspend", "K-1", "--reason", "doubt"]);
    run(&["mandate", "resume", "K-1", "--reason", "cleared"]);
    assert!(run(&["mandate", "end", "K-1", "--reason", "withdrawn"]).contains("K-1 is ended"));
    let again = site.command(&["mandate", "end", "K-1", "--reason", "withdrawn"]);
    assert!(!again.status.success());
}

#[test]
fn two_gateways_together_sign_as_often_as_the_mandate_says_and_no_more() {
    const IN_ALL: usize = 12;
    let ca = Ca::new("p256");
    let server = Postgres::start();
    let folder = Folder::init_on(&server);
    folder.trust(&[ca.root()]);
    let first = folder.serve();
    let second = Folder::beside(&first, "second").serve();
    in_force(&first, &ca, &with(mandate(&first, "P-1"), json!({"per_day": IN_ALL, "in_all": IN_ALL})));

    let order = digest_order(&first, "P-1");
    let start = Barrier::new(4);
    let counts: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let callers = [&first, &second, &first, &second].map(|site| {
            let (start, order) = (&start, &order);
            scope.spawn(move || {
                start.wait();
                let (mut made, mut refused) = (0, 0);
                while refused == 0 {
                    let answer = site.app().post("/v1/stamps", order);
                    match answer.status {
                        201 => made += 1,
                        403 => {
                            assert_eq!(answer.json()["code"], "mandate_used_up");
                            refused += 1;
                        }
                        status => assert!(status == 429 || status == 503, "{status}"),
                    }
                }
                (made, refused)
            })
        });
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let made: usize = counts.iter().map(|(made, _)| made).sum();
    assert_eq!(made, IN_ALL, "{counts:?}");

    // What one gateway ended the other one does not use.
    in_force(&first, &ca, &mandate(&first, "P-2"));
    second.app().post("/v1/stamps", &digest_order(&first, "P-2")).expect(201);
    first.app_number(2).post(&format!("{PATH}/P-2/end"), &because("withdrawn")).expect(200);
    refused(second.app(), &digest_order(&first, "P-2"), 403, "mandate_ended", "signer.mandate");
    drop((first, second));
    drop(server);
}

#[test]
fn a_mandate_or_key_that_was_altered_in_the_database_is_not_used() {
    let ca = Ca::new("p256");
    let site = site_of(&ca, false);
    for number in ["A-1", "A-2", "A-3"] {
        in_force(&site, &ca, &mandate(&site, number));
    }
    let (folder, _) = site.stop();
    let mut sqlite = Command::new("sqlite3");
    // The one is made another app's, in spite of the trigger; of two the keys change places.
    sqlite.arg(folder.data().join("gateway.db")).arg(
        "DROP TRIGGER mandates_are_fixed; UPDATE mandates SET name = 'another' WHERE id = 'A-1';
         CREATE TEMP TABLE other AS SELECT blob FROM wrapped_keys WHERE key_id = 'mandate.A-3';
         UPDATE wrapped_keys SET blob = (SELECT blob FROM other) WHERE key_id = 'mandate.A-2';",
    );
    Ran::of(&mut sqlite).expect("sqlite3");
    let site = folder.serve();
    let altered = site.app().post("/v1/stamps", &digest_order(&site, "A-1")).expect(503).json();
    assert_eq!(altered["code"], "data_altered");
    let swapped = site.app().post("/v1/stamps", &digest_order(&site, "A-2")).expect(500).json();
    assert_eq!(swapped["code"], "key_register_broken");
    site.app().post("/v1/stamps", &digest_order(&site, "A-3")).expect(201);
    eventually("it is on record", SOON, || {
        let row = |entry: &Value| entry["action"] == "row.altered" && entry["subject"] == "mandates A-1";
        site.audit().iter().any(row).then_some(())
    });
}
