//! Query certificates (打印查询证明): what they say is what the library says, others judge their signature, whoever has the
//! code sees what was certified, and nobody has more of them than the site lets.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Folder, Ran, Scratch, Site, base64, eventually, repository, shared, unbase64};

const SOON: Duration = Duration::from_secs(60);
const PATH: &str = "/v1/query-certificates";

fn order(uscc: &str) -> Value {
    json!({"uscc": uscc, "purpose": "办理银行开户", "applicant": "某某商业银行"})
}

fn uscc(site: &Site, number: usize) -> String {
    site.sandbox()["licenses"][number].as_str().unwrap().to_owned()
}

fn made(site: &Site, uscc: &str) -> Value {
    site.app().post(PATH, &order(uscc)).expect(201).json()
}

fn document(answer: &Value) -> Vec<u8> {
    unbase64(answer["document"].as_str().unwrap())
}

/// The pages' text, without blanks.
fn text_of(pdf: &[u8]) -> String {
    let scratch = Scratch::new();
    let file = scratch.write("certificate.pdf", pdf);
    let read = Ran::of(Command::new("pdftotext").arg("-layout").arg(&file).arg("-")).expect("pdftotext");
    read.text.split_whitespace().collect()
}

fn checked(site: &Site, code: &Value) -> Value {
    let path = format!("/verify/{}", code.as_str().unwrap());
    site.stranger(None).send("GET", &path, &[("accept", "application/json")], None).expect(200).json()
}

fn sql(site: &Site, statement: &str) {
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-cmd", ".timeout 30000"]);
    Ran::of(sqlite.arg(site.data().join("gateway.db")).arg(statement)).expect(statement);
}

fn reload(site: &Site) {
    let done = site.command(&["reload"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_certificate_says_what_the_library_says_and_whoever_has_its_code_sees_the_same() {
    let site = &shared().site;
    let uscc = uscc(site, 0);
    let answer = made(site, &uscc);
    let pdf = document(&answer);
    let text = text_of(&pdf);
    let page = checked(site, &answer["check_code"]);
    let facts = page["certified"]["facts"].as_array().unwrap();
    let fact = |label: &str| {
        let found = facts.iter().find(|fact| fact["label"] == label);
        found.unwrap_or_else(|| panic!("{label} in {facts:#?}"))["value"].as_str().unwrap().to_owned()
    };

    // The face as the library has it, on the page and behind the code.
    let face = site.app().get(&format!("/v1/licenses/{uscc}/face")).expect(200).json()["face"].clone();
    assert_eq!(fact("统一社会信用代码"), uscc);
    for (label, field) in
        [("名称", "name"), ("登记机关", "registration_authority"), ("经营范围", "business_scope")]
    {
        assert_eq!(fact(label), face[field].as_str().unwrap().trim(), "{label}");
    }
    assert_eq!(fact("登记状态"), "存续（在营、开业、在册）");
    for fact in facts {
        let value: String = fact["value"].as_str().unwrap().split_whitespace().collect();
        // A long one is broken, with its label between its lines.
        if value.chars().count() <= 30 {
            assert!(text.contains(&value), "{value} in {text}");
        }
    }
    let number = answer["number"].as_str().unwrap();
    for part in [
        "市场主体登记信息查询证明",
        "打印查询证明",
        "某某商业银行",
        "办理银行开户",
        "沙箱市场监督管理局",
        "无法律效力",
        number,
        answer["check_code"].as_str().unwrap(),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("不证明其存续"), "{text}");
    assert_eq!((&page["stamp_id"], &page["document_sm3"]), (&answer["number"], &answer["document_sm3"]));
    assert_eq!(page["certified"]["snapshot_sm3"], answer["snapshot_sm3"]);
    assert_eq!(page["certified"]["unchanged"], true);
    assert_eq!(answer["status"]["in_force"], true);
    site.proved(&answer);
    let proved = checked(site, &answer["check_code"]);
    assert_eq!(proved["proof"]["index"], answer["audit_index"]);
    for (language, said) in [("zh", "查询证明所载内容"), ("en", "What the query certificate says")] {
        let path = format!("/verify/{}?lang={language}", answer["check_code"].as_str().unwrap());
        let html = site.stranger(None).get(&path).expect(200).text();
        assert!(html.contains(said) && html.contains(face["name"].as_str().unwrap()), "{html}");
    }

    // What is attached is what was certified, to the octet, and stays with who had it made.
    let scratch = Scratch::new();
    let file = scratch.write("certificate.pdf", &pdf);
    let mut detach = Command::new("pdfdetach");
    detach.args(["-save", "1", "-o"]).arg(scratch.path().join("snapshot.json")).arg(&file);
    Ran::of(&mut detach).expect("pdfdetach");
    let kept = site.app().get(&format!("{PATH}/{number}")).expect(200).json();
    assert_eq!(scratch.read("snapshot.json"), kept["snapshot"].as_str().map(unbase64).unwrap());
    let digest = scratch.openssl("dgst -sm3 -r snapshot.json").expect("openssl knows SM3").text;
    assert!(digest.starts_with(answer["snapshot_sm3"].as_str().unwrap()), "{digest}");
    let snapshot: Value = serde_json::from_slice(&scratch.read("snapshot.json")).unwrap();
    assert_eq!((&snapshot["uscc"], &snapshot["face"]["name"]), (&json!(uscc), &face["name"]));

    // On record: what was certified, and then the stamp.
    let entry = |index: &Value| {
        let proof = site.app().get(&format!("/v1/audit/proofs/{index}")).expect(200).json();
        serde_json::from_str::<Value>(proof["entry"].as_str().unwrap()).unwrap()
    };
    let looked_up = entry(&kept["snapshot_audit_index"]);
    assert_eq!(looked_up["action"], "query_certificate.snapshot", "{looked_up:#}");
    assert_eq!(looked_up["result_digest"], answer["snapshot_sm3"]);
    assert_eq!(looked_up["subject"], format!("{number} {uscc}"));
    assert_eq!(entry(&answer["audit_index"])["subject"], answer["number"]);
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    assert!(metrics.contains("license_gateway_query_certificates_total{standing=\"in_force\"}"), "{metrics}");
}

#[test]
fn others_accept_the_signature_and_nothing_may_be_changed() {
    let site = &shared().site;
    let pdf = document(&made(site, &uscc(site, 0)));
    let verdict = site.app().post("/v1/stamps:verify", &json!({"document": base64(&pdf)})).expect(200).json();
    assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
    assert_eq!(verdict["signatures"][0]["certification"], 1, "{verdict:#}");
    let scratch = Scratch::new();
    let file = scratch.write("b.pdf", &pdf);
    let said = Ran::of(Command::new("pdfsig").arg("-nocert").arg(&file)).text;
    assert!(said.contains("Signature is Valid") && said.contains("Total document signed"), "{said}");
    Ran::of(Command::new("qpdf").arg("--check").arg(&file)).expect("qpdf --check");
    scratch.write("root.pem", std::fs::read(site.data().join("pki/roots/p256.pem")).unwrap());
    let mut theirs = Command::new(repository().join("target/venv/bin/python"));
    theirs
        .arg(repository().join("formats/tests/signed_pdf/pyhanko_judge.py"))
        .env("PYTHONWARNINGS", "ignore")
        .args(["root.pem", "b.pdf"])
        .current_dir(scratch.path());
    let said: Value =
        serde_json::from_str(Ran::of(&mut theirs).expect("pyHanko judges").text.trim()).unwrap();
    assert_eq!(said["ok"], true, "{said:#}");

    // A further stamp is not admitted, and a forged certificate is found out.
    let order = json!({"format": "pdf", "document": base64(&pdf), "signer": {"key": "demo-p256"}});
    let refused = site.app().post("/v1/stamps", &order).expect(422).json();
    assert_eq!(refused["code"], "document_not_permitted", "{refused}");
    let mut forged = pdf;
    // The version in the header: no reader minds it, and every octet is covered.
    forged[b"%PDF-1.".len()] ^= 1;
    let verdict =
        site.app().post("/v1/stamps:verify", &json!({"document": base64(&forged)})).expect(200).json();
    assert_eq!(verdict["verdict"], "invalid", "{verdict:#}");
}

#[test]
fn what_an_app_may_not_see_is_not_certified_to_it_and_its_certificates_are_its_own() {
    let site = &shared().site;
    let uscc = uscc(site, 0);
    let portal = site.app_number(1);
    let answer = portal.post(PATH, &order(&uscc)).expect(201).json();
    let seen = portal.get(&format!("/v1/licenses/{uscc}/face")).expect(200).json()["face"].clone();
    let masked = seen["legal_representative"].as_str().unwrap();
    assert!(masked.contains('*'), "{seen:#}");
    let text = text_of(&document(&answer));
    assert!(text.contains(masked) && text.contains("隐去"), "{text}");
    assert!(seen["domicile"].is_null() && !text.contains("经营范围"), "{text}");

    let path = format!("{PATH}/{}", answer["number"].as_str().unwrap());
    portal.get(&path).expect(200);
    let refused = site.app().get(&path).expect(404).json();
    assert_eq!(refused["code"], "unknown_query_certificate");
    let seen = site.app_number(2).get(&path).expect(200).json();
    assert_eq!(seen["snapshot_sm3"], answer["snapshot_sm3"], "auditors may see it");
    let unknown = site.app().get(&format!("{PATH}/20200101-0000000000")).expect(404).json();
    assert_eq!(unknown["code"], "unknown_query_certificate");
    // A stamp on something else is no query certificate.
    let contract = std::fs::read(repository().join("formats/tests/pdfs/reportlab.pdf")).unwrap();
    let order_of = json!({"format": "pdf", "document": base64(&contract), "signer": {"key": "demo-p256"}});
    let stamp = site.app().post("/v1/stamps", &order_of).expect(201).json();
    site.app().get(&format!("{PATH}/{}", stamp["stamp_id"].as_str().unwrap())).expect(404);
    assert!(checked(site, &stamp["check_code"])["certified"].is_null());
    let refused = site.app_number(2).post(PATH, &order(&uscc)).expect(403).json();
    assert_eq!(refused["code"], "scope_missing");

    let scratch = Scratch::new();
    let file = scratch.path().join("saved.json");
    let number = answer["number"].as_str().unwrap();
    let shown =
        site.command(&["query-certificate", "show", number, "--save", file.to_str().unwrap(), "--json"]);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["snapshot_sm3"], answer["snapshot_sm3"]);
    assert_eq!(unbase64(shown["snapshot"].as_str().unwrap()), std::fs::read(&file).unwrap());
    assert!(!site.command(&["query-certificate", "show", "no/number"]).status.success());
}

#[test]
fn a_bad_order_is_refused_by_field() {
    let site = &shared().site;
    let good = order(&uscc(site, 0));
    for (field, value, code) in [
        ("uscc", json!("91610131MA7B0TQ47I"), "uscc_invalid"),
        ("uscc", json!(""), "uscc_invalid"),
        ("purpose", json!(""), "invalid_value"),
        ("purpose", json!(" 开户"), "invalid_value"),
        ("purpose", json!("长".repeat(101)), "invalid_value"),
        ("purpose", json!("a\u{202e}b"), "invalid_value"),
        ("applicant", json!("名".repeat(61)), "invalid_value"),
        ("applicant", json!("a\nb"), "invalid_value"),
    ] {
        let mut order = good.clone();
        order[field] = value;
        let refused = site.app().post(PATH, &order).expect(422).json();
        assert_eq!(
            (&refused["code"], &refused["errors"][0]["field"]),
            (&json!(code), &json!(field)),
            "{refused}"
        );
    }
    // Right in form, and nobody's.
    let refused = site.app().post(PATH, &order("91610131MA7B0TQ47T")).expect(404).json();
    assert_eq!(refused["code"], "license_unknown");
    let last = site.audit().into_iter().rfind(|entry| entry["subject"] == "91610131MA7B0TQ47T").unwrap();
    assert_eq!(
        (&last["action"], &last["outcome"]),
        (&json!("query_certificate.snapshot"), &json!("license_unknown"))
    );
}

#[test]
fn only_who_is_in_force_is_certified_as_that() {
    let site = Site::start();
    let uscc = uscc(&site, 1);
    let before = made(&site, &uscc);
    for (status, term, flags) in
        [(2, "吊销,未注销", "[]"), (4, "注销", "[\"严重违法失信名单\"]"), (9, "其他", "[]")]
    {
        sql(
            &site,
            &format!("UPDATE entities SET status = {status}, flags = '{flags}' WHERE uscc = '{uscc}'"),
        );
        let answer = made(&site, &uscc);
        assert_eq!(
            (&answer["status"]["code"], &answer["status"]["in_force"]),
            (&json!(status), &json!(false))
        );
        let text = text_of(&document(&answer));
        assert!(text.contains(&format!("登记状态为“{term}”")) && text.contains("不证明其存续"), "{text}");
        assert_eq!(text.contains("严重违法失信名单"), flags != "[]", "{text}");
    }
    // What was certified before stays what it was, and is told not to be so any more.
    let page = checked(&site, &before["check_code"]);
    assert!(page["certified"].to_string().contains("存续（在营"), "{page:#}");
    assert_eq!(page["certified"]["unchanged"], false, "{page:#}");
    let path = format!("/verify/{}?lang=zh", before["check_code"].as_str().unwrap());
    assert!(site.stranger(None).get(&path).expect(200).text().contains("登记信息此后已变更"));

    // Somebody writes to the database: what the log does not vouch for is not shown.
    let other = made(&site, &uscc);
    let (one, two) = (before["number"].as_str().unwrap(), other["number"].as_str().unwrap());
    sql(
        &site,
        &format!(
            "DROP TRIGGER query_certificates_no_update;
             UPDATE query_certificates SET snapshot = (SELECT snapshot FROM query_certificates WHERE id = '{one}')
             WHERE id = '{two}'"
        ),
    );
    let path = format!("/verify/{}", other["check_code"].as_str().unwrap());
    let refused = site.stranger(None).get(&path).expect(500).json();
    assert_eq!(refused["code"], "query_certificate_register_broken");
    // Kept no longer: its digest is.
    sql(&site, &format!("UPDATE query_certificates SET snapshot = NULL WHERE id = '{one}'"));
    let page = checked(&site, &before["check_code"]);
    assert!(page["certified"]["facts"].is_null(), "{page:#}");
    assert_eq!(page["certified"]["snapshot_sm3"], before["snapshot_sm3"]);
    let kept = site.app().get(&format!("{PATH}/{one}")).expect(200).json();
    assert!(kept["snapshot"].is_null(), "{kept:#}");
}

#[test]
fn an_app_has_as_many_on_a_day_as_the_site_lets_and_none_where_it_offers_none() {
    const SECTION: &str = "[query_certificates]\nkey = \"demo-p256\"\n";
    let folder = Folder::init();
    folder.configure(SECTION, &format!("{SECTION}per_app_and_day = 2\n"));
    folder.at_noon();
    let site = folder.serve();
    let uscc = uscc(&site, 0);
    // None is used up by what is not made.
    site.app().post(PATH, &order("91610131MA7B0TQ47T")).expect(404);
    made(&site, &uscc);
    let body = order(&uscc).to_string();
    let keyed = [("content-type", "application/json"), ("idempotency-key", "certificate-1")];
    let once = site.app().send("POST", PATH, &keyed, Some(body.as_bytes())).expect(201).json();
    let again = site.app().send("POST", PATH, &keyed, Some(body.as_bytes())).expect(201).json();
    assert_eq!(once["number"], again["number"], "one order, one certificate");
    let refused = site.app().post(PATH, &order(&uscc)).expect(429);
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(refused.json()["code"], "query_certificates_used_up");
    site.app_number(1).post(PATH, &order(&uscc)).expect(201);

    site.configure(&[("per_app_and_day = 2", "per_app_and_day = 3")]);
    reload(&site);
    eventually("the new limit", SOON, || (site.app().post(PATH, &order(&uscc)).status == 201).then_some(()));
    site.app().post(PATH, &order(&uscc)).expect(429);

    // A key that is not there is not the caller's fault, and uses up nothing.
    site.configure(&[("key = \"demo-p256\"", "key = \"nobody\"")]);
    reload(&site);
    let refused = eventually("the other key", SOON, || {
        Some(site.app_number(1).post(PATH, &order(&uscc))).filter(|answer| answer.status == 503)
    });
    assert_eq!(refused.json()["code"], "agency_not_ready");
    let section = format!(
        "{}per_app_and_day = 3\nagency = \"沙箱市场监督管理局\"\n",
        SECTION.replace("demo-p256", "nobody")
    );
    site.configure(&[(&section, "")]);
    reload(&site);
    let refused = eventually("the section is gone", SOON, || {
        Some(site.app().post(PATH, &order(&uscc))).filter(|answer| answer.status == 404)
    });
    assert_eq!(refused.json()["code"], "query_certificates_not_offered");
}

#[test]
fn with_a_registered_seal_the_certificate_shows_it_and_signs_by_sm2() {
    let folder = Folder::init();
    folder.configure(
        "[query_certificates]\nkey = \"demo-p256\"\n",
        "[query_certificates]\nkey = \"demo-sm2\"\nseal = \"31011500000009\"\n",
    );
    let site = folder.serve();
    let uscc = uscc(&site, 0);
    let refused = site.app().post(PATH, &order(&uscc)).expect(503).json();
    assert_eq!(refused["code"], "agency_not_ready", "there is no such seal yet: {refused}");
    let day = |days: i64| {
        let mut date = Command::new("date");
        let ran = Ran::of(date.args(["-u", "-d", &format!("{days} days"), "+%Y-%m-%dT%H:%M:%SZ"]));
        ran.text.trim().to_owned()
    };
    let chain = std::fs::read_to_string(site.data().join("pki/services/demo-sm2/chain.pem")).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    let certificate = &chain[..chain.find(end).unwrap() + end.len()];
    let picture = std::fs::read(site.data().join("pki/seals/agency.png")).unwrap();
    let seal = json!({
        "number": "31011500000009", "kind": "agency", "name": "测试市市场监督管理局",
        "holder": {"name": "TEST ONLY License Gateway Sandbox", "uscc": uscc},
        "valid_from": day(0), "valid_until": day(300),
        "picture": {"png": base64(&picture), "width_mm": 42, "height_mm": 42},
        "certificates": [certificate],
    });
    let asked = json!({"seal": seal, "reason": "as agreed"});
    site.app_number(2).post("/v1/admin/seals", &asked).expect(201);
    let answer = made(&site, &uscc);
    let pdf = document(&answer);
    let verdict = site.app().post("/v1/stamps:verify", &json!({"document": base64(&pdf)})).expect(200).json();
    assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
    assert_eq!(answer["algorithm"], "sm2-sm3");
    // The seal is red, and it is where the agency's name is: in the lower right quarter.
    let scratch = Scratch::new();
    let file = scratch.write("sealed.pdf", &pdf);
    let mut draw = Command::new("pdftoppm");
    draw.args(["-r", "36", "-singlefile"]).arg(&file).arg(scratch.path().join("page"));
    Ran::of(&mut draw).expect("pdftoppm");
    let red = red_dots(&scratch.read("page.ppm"));
    assert!(red.quarter > 50 && red.quarter * 10 > red.all * 5, "{} of {}", red.quarter, red.all);

    let revoke = json!({"reason": "lost"});
    site.app_number(2).post("/v1/admin/seals/31011500000009/revoke", &revoke).expect(200);
    let refused = site.app().post(PATH, &order(&uscc)).expect(503).json();
    assert_eq!(refused["code"], "agency_not_ready", "{refused}");
}

/// Red dots of a page, and those in its lower right quarter.
struct Red {
    all: usize,
    quarter: usize,
}

/// Reads a binary PPM, as pdftoppm writes it.
fn red_dots(picture: &[u8]) -> Red {
    let head: Vec<&[u8]> = picture.splitn(4, |octet| *octet == b'\n').collect();
    let size = std::str::from_utf8(head[1]).unwrap().split_once(' ').unwrap();
    let (width, height): (usize, usize) = (size.0.parse().unwrap(), size.1.parse().unwrap());
    let dots = head[3].chunks(3).enumerate().filter(|(_, dot)| dot[0] > 150 && dot[1] < 90 && dot[2] < 90);
    let mut red = Red { all: 0, quarter: 0 };
    for (place, _) in dots {
        red.all += 1;
        red.quarter += usize::from(place % width > width / 2 && place / width > height / 2);
    }
    red
}

#[test]
fn only_a_status_that_counts_is_certified_and_a_change_of_the_face_is_told() {
    let folder = Folder::init();
    folder.configure("[site]\n", "[status]\nmax_age_s = 3600\n[site]\n");
    let site = folder.serve();
    let (one, two) = (uscc(&site, 0), uscc(&site, 1));
    let set =
        |uscc: &str, what: &str| sql(&site, &format!("UPDATE entities SET {what} WHERE uscc = '{uscc}'"));
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    set(&one, &format!("status_as_of = {now}"));
    set(&two, &format!("status_as_of = {}", now - 7_200));
    let answer = made(&site, &one);
    let refused = site.app().post(PATH, &order(&two)).expect(503);
    assert_eq!(refused.json()["code"], "status_stale", "the library's word is too old to be certified");
    assert!(refused.header("retry-after").parse::<u32>().unwrap() > 0);
    set(&two, &format!("status_as_of = {}", now + 7_200));
    assert_eq!(site.app().post(PATH, &order(&two)).expect(503).json()["code"], "status_malformed");
    set(&two, &format!("status_as_of = {now}"));
    made(&site, &two);

    assert_eq!(checked(&site, &answer["check_code"])["certified"]["unchanged"], true);
    set(&one, "face = json_set(face, '$.name', '改名后的公司')");
    let page = checked(&site, &answer["check_code"]);
    assert_eq!(page["certified"]["unchanged"], false, "{page:#}");
    assert!(
        !page["certified"]["facts"].to_string().contains("改名后的公司"),
        "what is certified is of its time"
    );
    let masked = site.app_number(1).post(PATH, &order(&two)).expect(201).json();
    assert_eq!(
        checked(&site, &masked["check_code"])["certified"]["unchanged"],
        true,
        "masked names are the same"
    );
}
