//! Electronic seals: made by two people and a device, judged by who relies on them, taken back, and found out when
//! somebody writes to the database.

use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tests::{
    Answer, Folder, Person, Postgres, Ran, Scratch, SignedIn, Site, base64, gateway, repository, shared,
    unbase64,
};

pub(crate) const PATH: &str = "/v1/admin/seals";
/// What the subject of the sandbox's service certificates names.
pub(crate) const HOLDER: &str = "TEST ONLY License Gateway Sandbox";

fn pem(site: &Site, service: &str) -> String {
    let chain = site.data().join(format!("pki/services/{service}/chain.pem"));
    let text = std::fs::read_to_string(chain).unwrap();
    let end = "-----END CERTIFICATE-----\n";
    text[..text.find(end).unwrap() + end.len()].to_owned()
}

fn picture(site: &Site) -> Vec<u8> {
    std::fs::read(site.data().join("pki/seals/agency.png")).unwrap()
}

pub(crate) fn seal(site: &Site, number: &str) -> Value {
    json!({
        "number": number, "kind": "agency", "name": "测试市市场监督管理局",
        "holder": {"name": HOLDER, "uscc": site.sandbox()["licenses"][0]},
        "valid_from": until(0), "valid_until": until(300),
        "picture": {"png": base64(&picture(site)), "width_mm": 42, "height_mm": 42},
        "certificates": [pem(site, "demo-sm2")],
    })
}

/// So many days from now, RFC 3339.
pub(crate) fn until(days: i64) -> String {
    let ran =
        Ran::of(Command::new("date").args(["-u", "-d", &format!("{days} days"), "+%Y-%m-%dT%H:%M:%SZ"]));
    ran.text.trim().to_owned()
}

pub(crate) fn order(seal: &Value) -> Value {
    json!({"seal": seal, "reason": "decision 2026-17"})
}

pub(crate) fn because(reason: &str) -> Value {
    json!({"reason": reason})
}

/// What is done to a good seal, and the code and field of what is then said.
type Case<'c> = (&'c dyn Fn(&mut Value), &'static str, &'static str);

/// A site that wants two people, with both.
struct Two {
    site: Site,
    security: SignedIn,
    system: SignedIn,
}

static TWO: LazyLock<Two> = LazyLock::new(|| {
    let folder = Folder::init();
    folder.configure("[site]\n", "[administration]\ntwo_person = true\n[site]\n");
    let site = folder.serve();
    let [security, system] = ["security", "console"].map(|name| Person::of_sandbox(&site, name).sign_in());
    Two { site, security, system }
});

impl Two {
    #[track_caller]
    fn approve(&self, asked: Answer) -> Value {
        let id = asked.expect(202).json()["approval"].as_str().unwrap().to_owned();
        let done = self.system.post(&format!("/v1/admin/approvals/{id}/approve"), &because("checked"));
        done.expect(200).json()
    }

    #[track_caller]
    fn approved(&self, asked: Answer) {
        let done = self.approve(asked);
        assert_eq!((&done["state"], &done["outcome"]), (&json!("done"), &json!("ok")), "{done}");
    }
}

/// What somebody without a gateway says of a seal's octets.
fn judged(site: &Site, octets: &[u8]) -> Value {
    let scratch = Scratch::new();
    let file = scratch.write("seal.esl", octets);
    let pki = site.data().join("pki");
    let mut verify = Command::new(gateway());
    verify.arg("verify").arg(file).args(["--type", "seal", "--json"]);
    for (option, path) in [("--trust", "trust/bundle.pem"), ("--intermediate", "issuing"), ("--crl", "crls")]
    {
        verify.arg(option).arg(pki.join(path));
    }
    let output = verify.output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn outcomes(site: &Site, number: &str) -> Vec<(String, String)> {
    let of = |entry: &Value, member: &str| entry[member].as_str().unwrap_or_default().to_owned();
    let about = |entry: &Value| {
        of(entry, "action").starts_with("seal.") && of(entry, "subject").starts_with(&format!("{number}:"))
    };
    let entries = site.audit().into_iter().filter(about);
    entries.map(|entry| (of(&entry, "action"), of(&entry, "outcome"))).collect()
}

#[test]
fn two_people_make_a_seal_that_others_judge_valid_and_two_people_take_it_back() {
    let two = &*TWO;
    let (site, number) = (&two.site, "31011500000002");
    let asked = two.security.post(PATH, &order(&seal(site, number)));
    let id = asked.json()["approval"].as_str().unwrap().to_owned();
    assert_eq!(two.security.get(&format!("{PATH}/{number}")).expect(404).json()["code"], "unknown_seal");
    let shown = two.system.get(&format!("/v1/admin/approvals/{id}")).expect(200).json();
    let after = |field: &str| {
        let all = shown["difference"].as_array().unwrap();
        all.iter().find(|one| one["field"] == field).unwrap_or_else(|| panic!("{field} {shown:#}"))["after"]
            .clone()
    };
    assert_eq!((&shown["action"], &shown["subject"]), (&json!("seal.make"), &json!(number)));
    assert_eq!(after("state"), "active");
    assert_eq!(after("holder")["name"], HOLDER);
    assert_eq!(after("picture_mm"), json!([42, 42]));
    assert_eq!(after("picture_sm3").as_str().unwrap().len(), 64);
    assert!(after("certificates")[0]["subject"].as_str().unwrap().contains("demo-sm2"));
    assert!(!after("valid_until").is_null());
    two.approved(asked);

    let made = two.security.get(&format!("{PATH}/{number}")).expect(200).json();
    assert_eq!(
        (&made["state"], &made["version"], &made["list"]),
        (&json!("active"), &json!(1), &json!("certificates"))
    );
    assert_eq!(unbase64(made["png"].as_str().unwrap()), picture(site));
    let octets = unbase64(made["octets"].as_str().unwrap());
    let verdict = judged(site, &octets);
    assert_eq!((&verdict["verdict"], &verdict["type"]), (&json!("valid"), &json!("seal")), "{verdict:#}");
    assert!(verdict.to_string().contains(number), "{verdict:#}");
    let mut forged = octets.clone();
    let name = forged.windows(number.len()).position(|window| window == number.as_bytes()).unwrap();
    forged[name] = b'4';
    assert_eq!(judged(site, &forged)["verdict"], "invalid");

    // A relying system sees whether it may be used, and by which of its keys.
    let app = site.app();
    let used = |query: &str| app.get(&format!("/v1/seals/{number}{query}")).expect(200).json();
    let free = used("?key=demo-sm2");
    assert_eq!((&free["usable"], &free["errors"]), (&json!(true), &json!([])));
    assert_eq!(unbase64(free["octets"].as_str().unwrap()), octets);
    let other = used("?key=portal-sm2");
    assert_eq!(
        (&other["usable"], &other["errors"][0]["code"]),
        (&json!(false), &json!("signer_not_in_seal"))
    );

    let act = |verb: &str| two.security.post(&format!("{PATH}/{number}/{verb}"), &because("worn"));
    two.approved(act("suspend"));
    let suspended = used("?key=demo-sm2");
    assert_eq!(
        (&suspended["state"], &suspended["usable"], &suspended["errors"][0]["code"]),
        (&json!("suspended"), &json!(false), &json!("seal_suspended"))
    );
    assert_eq!(act("suspend").expect(409).json()["code"], "seal_state");
    // Two wishes at once: the second one rests on what is no more.
    let (resume, revoke) = (act("resume"), act("revoke"));
    two.approved(resume);
    assert_eq!(used("")["usable"], true);
    let revoke_id = revoke.expect(202).json()["approval"].as_str().unwrap().to_owned();
    let stale = two.system.post(&format!("/v1/admin/approvals/{revoke_id}/approve"), &because("checked"));
    assert_eq!(stale.expect(409).json()["code"], "approval_stale");
    two.approved(act("revoke"));
    assert_eq!(used("")["errors"][0]["code"], "seal_revoked");
    for verb in ["resume", "suspend", "revoke"] {
        assert_eq!(act(verb).expect(409).json()["code"], "seal_state", "{verb}");
    }
    let history = two.security.get(&format!("{PATH}/{number}")).expect(200).json()["history"].clone();
    let states: Vec<_> = history.as_array().unwrap().iter().map(|event| event["state"].clone()).collect();
    assert_eq!(states, ["active", "suspended", "active", "revoked"]);
    let said = |action: &str| ["intended", "ok"].map(|outcome| (action.to_owned(), outcome.to_owned()));
    assert_eq!(
        outcomes(site, number),
        ["seal.make", "seal.suspend", "seal.resume", "seal.revoke"].map(said).concat()
    );
    let is_its = |entry: &Value| {
        let about =
            entry["subject"].as_str().is_some_and(|subject| subject.starts_with(&format!("{number}:")));
        about && entry["action"] == "seal.make" && entry["outcome"] == "ok"
    };
    let entry = site.audit().into_iter().find(is_its);
    let entry = entry.unwrap();
    assert_eq!((&entry["actor"], &entry["key"]), (&json!("person:security"), &json!("sys-seal")));
    assert_eq!(entry["result_digest"], made["seal_sm3"]);
}

#[test]
fn a_seal_takes_another_ones_place_in_one_step() {
    let two = &*TWO;
    let site = &two.site;
    two.approved(two.security.post(PATH, &order(&seal(site, "old-1"))));
    let mut new = seal(site, "new-1");
    new["list"] = json!("digests");
    new["certificates"] = json!([pem(site, "demo-sm2"), pem(site, "portal-sm2")]);
    let replace = || two.security.post(&format!("{PATH}/old-1/replace"), &order(&new));
    let (first, second) = (replace(), replace());
    two.approved(first);
    let id = second.expect(202).json()["approval"].as_str().unwrap().to_owned();
    let stale = two.system.post(&format!("/v1/admin/approvals/{id}/approve"), &because("checked"));
    assert_eq!(
        stale.expect(409).json()["code"],
        "approval_stale",
        "of two that ask for the same, one is done"
    );
    let old = site.app().get("/v1/seals/old-1").expect(200).json();
    assert_eq!((&old["state"], &old["replaced_by"]), (&json!("replaced"), &json!("new-1")));
    assert_eq!(old["errors"][0]["code"], "seal_replaced");
    let new = site.app().get("/v1/seals/new-1?key=portal-sm2").expect(200).json();
    assert_eq!((&new["usable"], &new["replaced_by"]), (&json!(true), &Value::Null));
    let verdict = judged(site, &unbase64(new["octets"].as_str().unwrap()));
    assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
    assert_eq!(replace().expect(409).json()["code"], "seal_state");
    let listed = two.security.get(&format!("{PATH}?state=replaced")).expect(200).json();
    assert_eq!(listed["items"][0]["number"], "old-1");
}

#[test]
fn a_persons_seal_is_shown_by_granted_fields_and_on_record() {
    let two = &*TWO;
    let site = &two.site;
    let mut person = seal(site, "person-1");
    person["kind"] = json!("person");
    person["name"] = json!("王磊印");
    person["holder"] = json!({"name": HOLDER});
    two.approved(two.security.post(PATH, &order(&person)));
    let shown = |app: usize| site.app_number(app).get("/v1/seals/person-1").expect(200).json();
    let (whole, part) = (shown(0), shown(1));
    assert_eq!((&whole["name"], &whole["holder"]["name"]), (&json!("王磊印"), &json!(HOLDER)));
    assert!(whole["octets"].is_string());
    let masked = format!("T{}", "*".repeat(HOLDER.chars().count() - 1));
    assert_eq!((&part["name"], &part["holder"]["name"]), (&json!("王**"), &json!(masked)));
    assert_eq!((&part["octets"], &part["seal_sm3"]), (&Value::Null, &whole["seal_sm3"]));
    assert!(!part.to_string().contains(HOLDER), "{part}");
    // What is no person's is shown as ever, and nothing is recorded of it.
    two.approved(two.security.post(PATH, &order(&seal(site, "office-1"))));
    assert!(site.app_number(1).get("/v1/seals/office-1").expect(200).json()["octets"].is_string());
    two.security.get(&format!("{PATH}/person-1")).expect(200);
    two.security.get(PATH).expect(200);
    let entries = site.audit();
    let reads = |actor: &str| {
        let of = |entry: &&Value| entry["action"] == "seal.read" && entry["actor"] == actor;
        entries.iter().filter(of).filter(|entry| entry["subject"] == "person-1").count()
    };
    assert_eq!((reads("sandbox-registration"), reads("sandbox-portal")), (1, 1));
    assert!(reads("person:security") >= 2, "by itself and in the page");
    assert!(entries.iter().all(|entry| entry["action"] != "seal.read" || entry["subject"] != "office-1"));
}

/// Two enterprises of one name are told apart by their codes; a certificate without a code speaks for the whole name.
#[test]
fn whose_certificate_it_is_say_the_codes_where_both_have_one() {
    let two = &*TWO;
    let [own, other] = [0, 1].map(|at| two.site.sandbox()["licenses"][at].as_str().unwrap().to_owned());
    let scratch = Scratch::new();
    scratch.openssl("genpkey -algorithm SM2 -out key.pem").expect("genpkey");
    let is_refused = |subject: &str, holder: &Value| {
        let made = format!("req -x509 -new -sm3 -key key.pem -utf8 -days 400 -subj {subject} -out own.pem");
        scratch.openssl(&made).expect("a certificate");
        let mut wanted = seal(&two.site, "namesake-1");
        wanted["holder"] = holder.clone();
        wanted["certificates"] = json!([String::from_utf8(scratch.read("own.pem")).unwrap()]);
        let told = two.security.post(PATH, &order(&wanted)).expect(422).json();
        let told = told["errors"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap());
        let told: Vec<_> = told.collect();
        // No site trusts a certificate of its own making: that is said once it is clear whose it is.
        assert!(
            told.contains(&"certificate_refused") || told.contains(&"certificate_not_for_holder"),
            "{told:?}"
        );
        told.contains(&"certificate_not_for_holder")
    };
    let enterprise = json!({"name": "同名有限公司", "uscc": own});
    for kind in ["organizationIdentifier=NTRCN-", "serialNumber=", "OU="] {
        assert!(!is_refused(&format!("/O=同名有限公司/{kind}{own}"), &enterprise), "{kind}");
        assert!(
            is_refused(&format!("/O=同名有限公司/{kind}{other}"), &enterprise),
            "{kind}: of the same name"
        );
        assert!(!is_refused(&format!("/O=曾用名有限公司/{kind}{own}"), &enterprise), "{kind}: renamed");
    }
    assert!(is_refused(&format!("/O=同名有限公司/serialNumber={own}/serialNumber={other}"), &enterprise));
    // The code in the place that is for it, whatever stands in others.
    let department = format!("/O=同名有限公司/organizationIdentifier=NTRCN-{own}/OU={other}");
    assert!(!is_refused(&department, &enterprise));
    assert!(!is_refused("/O=同名有限公司/OU=财务部/serialNumber=4711", &enterprise), "without a code");
    assert!(is_refused("/O=同名有限公司分公司", &enterprise), "the whole name");
}

#[test]
fn a_seal_that_cannot_be_is_refused_with_its_code_and_field_before_anybody_is_asked() {
    let two = &*TWO;
    let site = &two.site;
    let refused = |change: &dyn Fn(&mut Value), code: &str, field: &str| {
        let mut bad = seal(site, "bad-1");
        change(&mut bad);
        let answer = two.security.post(PATH, &order(&bad)).expect(422).json();
        let told = answer["errors"].as_array().unwrap().iter();
        let told: Vec<_> =
            told.map(|one| (one["code"].as_str().unwrap(), one["field"].as_str().unwrap())).collect();
        assert!(told.contains(&(code, field)), "{code} {field}: {answer:#}");
    };
    let svg = |inner: &str| {
        base64(
            format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 9 9\">{inner}</svg>").as_bytes(),
        )
    };
    let drawn = |seal: &mut Value, inner: &str| {
        seal["picture"] = json!({"svg": svg(inner), "width_mm": 42, "height_mm": 42})
    };
    let jpeg = base64(&[0xFF, 0xD8, 0xFF, 0xE0]);
    let large = base64(&vec![0; (256 << 10) + 1]);
    let cut = base64(&picture(site)[..400]);
    let p256 = pem(site, "demo-p256");
    let tsa = pem(site, "sys-tsa");
    let cases: &[Case<'_>] = &[
        (&|seal| seal["picture"]["png"] = json!(jpeg), "picture_not_png", "seal.picture.png"),
        (&|seal| seal["picture"]["png"] = json!(cut), "picture_not_png", "seal.picture.png"),
        (&|seal| seal["picture"]["png"] = json!("%"), "invalid_base64", "seal.picture.png"),
        (&|seal| seal["picture"]["png"] = json!(large), "picture_too_large", "seal.picture.png"),
        (&|seal| seal["picture"]["width_mm"] = json!(0), "picture_size", "seal.picture.width_mm"),
        (&|seal| seal["picture"]["svg"] = json!(svg("<g/>")), "ambiguous_input", "seal.picture.svg"),
        (&|seal| seal["picture"]["png"] = Value::Null, "missing_field", "seal.picture.png"),
        (&|seal| drawn(seal, "<g>"), "picture_not_svg", "seal.picture.svg"),
        (&|seal| drawn(seal, "<script/>"), "picture_svg_refused", "seal.picture.svg"),
        (
            &|seal| drawn(seal, "<image href=\"file:///etc/passwd\"/>"),
            "picture_svg_refused",
            "seal.picture.svg",
        ),
        (&|seal| drawn(seal, &"<g/>".repeat(2_001)), "picture_too_complex", "seal.picture.svg"),
        (&|seal| drawn(seal, "<g/>"), "picture_blank", "seal.picture.svg"),
        (&|seal| seal["picture"]["height_mm"] = json!(-1), "invalid_type", "seal.picture.height_mm"),
        (
            &|seal| seal["valid_until"] = json!(until(3000)),
            "validity_outside_certificate",
            "seal.valid_until",
        ),
        (
            &|seal| seal["valid_from"] = json!("2001-01-01T00:00:00Z"),
            "validity_outside_certificate",
            "seal.valid_from",
        ),
        (&|seal| seal["valid_until"] = json!("2001-01-01T00:00:00Z"), "invalid_validity", "seal.valid_until"),
        (&|seal| seal["valid_until"] = json!("tomorrow"), "invalid_time", "seal.valid_until"),
        (&|seal| seal["certificates"] = json!([p256]), "certificate_not_sm2", "seal.certificates.0"),
        (&|seal| seal["certificates"] = json!([tsa]), "certificate_refused", "seal.certificates.0"),
        (&|seal| seal["certificates"] = json!(["x"]), "invalid_certificate", "seal.certificates.0"),
        (&|seal| seal["certificates"] = json!([]), "invalid_value", "seal.certificates"),
        (
            &|seal| seal["holder"]["name"] = json!("另一个单位"),
            "certificate_not_for_holder",
            "seal.certificates.0",
        ),
        (&|seal| seal["holder"]["uscc"] = json!("91350100M000100Y4X"), "uscc_invalid", "seal.holder.uscc"),
        (&|seal| seal["holder"]["uscc"] = Value::Null, "missing_field", "seal.holder.uscc"),
        (&|seal| seal["name"] = json!("a\u{7}b"), "invalid_value", "seal.name"),
        (&|seal| seal["name"] = json!("局\u{202e}"), "invalid_value", "seal.name"),
        (&|seal| seal["number"] = json!("a/b"), "invalid_value", "seal.number"),
        (&|seal| seal["kind"] = json!("family"), "invalid_value", "seal.kind"),
        (&|seal| seal["list"] = json!("both"), "invalid_value", "seal.list"),
        (&|seal| seal["colour"] = json!("red"), "unknown_field", "seal.colour"),
    ];
    for (change, code, field) in cases {
        refused(change, code, field);
    }
    let pending = two.system.get("/v1/admin/approvals?state=pending").expect(200).text();
    assert!(!pending.contains("bad-1"));

    two.approved(two.security.post(PATH, &order(&seal(site, "taken-1"))));
    let again = two.security.post(PATH, &order(&seal(site, "taken-1"))).expect(409).json();
    assert_eq!((&again["code"], &again["errors"][0]["field"]), (&json!("seal_exists"), &json!("number")));
    for path in ["none", "%00", "a%2Fb"] {
        assert_eq!(
            two.security.get(&format!("{PATH}/{path}")).expect(404).json()["code"],
            "unknown_seal",
            "{path}"
        );
        assert_eq!(
            site.app().get(&format!("/v1/seals/{path}")).expect(404).json()["code"],
            "unknown_seal",
            "{path}"
        );
    }
    assert_eq!(two.security.get(&format!("{PATH}?limit=0")).expect(422).json()["code"], "invalid_value");
    // Who may do what.
    assert_eq!(site.app().get(PATH).expect(403).json()["code"], "scope_missing");
    assert_eq!(two.system.get(PATH).expect(403).json()["code"], "scope_missing");
    assert_eq!(site.app_number(2).get("/v1/seals/taken-1").expect(403).json()["code"], "scope_missing");
    let unknown = site.app().get("/v1/seals/taken-1?key=none").expect(404).json();
    assert_eq!(unknown["code"], "unknown_key");
    let foreign = site.app().get("/v1/seals/taken-1?key=sys-seal").expect(403).json();
    assert_eq!(foreign["code"], "key_not_permitted");
}

#[test]
fn a_seal_whose_row_was_altered_is_not_used_and_that_is_on_record() {
    let site = Site::start();
    site.app_number(2).post(PATH, &order(&seal(&site, "s-1"))).expect(201);
    site.app_number(2).post(&format!("{PATH}/s-1/suspend"), &because("lost")).expect(200);
    let (folder, _) = site.stop();
    let mut sqlite = Command::new("sqlite3");
    sqlite.arg(folder.data().join("gateway.db")).arg("UPDATE seals SET state = 'active' WHERE id = 's-1'");
    Ran::of(&mut sqlite).expect("sqlite3");
    let site = folder.serve();
    assert_eq!(site.app().get("/v1/seals/s-1").expect(503).json()["code"], "data_altered");
    assert_eq!(site.app_number(2).get(PATH).expect(200).json()["items"], json!([]));
    tests::eventually("it is on record", std::time::Duration::from_secs(60), || {
        let altered = |entry: &Value| entry["action"] == "row.altered" && entry["subject"] == "seals s-1";
        site.audit().iter().any(altered).then_some(())
    });
}

#[test]
fn the_command_makes_saves_and_suspends_a_seal() {
    let site = &shared().site;
    let scratch = Scratch::new();
    let run = |arguments: &[&str]| {
        let output = site.command(&[&["seal"], arguments].concat());
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    let picture = site.data().join("pki/seals/agency.png");
    let chain = site.data().join("pki/services/demo-sm2/chain.pem");
    let (from, until) = (until(0), until(100));
    let make = |number: &str, picture: &str| {
        run(&[
            "make",
            number,
            "--kind",
            "person",
            "--name",
            "测试甲",
            "--holder",
            HOLDER,
            "--from",
            &from,
            "--until",
            &until,
            "--picture",
            picture,
            "--width",
            "20",
            "--height",
            "20",
            "--certificate",
            chain.to_str().unwrap(),
            "--by-digest",
            "--reason",
            "decision 2026-18",
        ])
    };
    let (done, said) = make("cli-1", picture.to_str().unwrap());
    assert!(done && said.contains("seal cli-1 is made (audit entry "), "{said}");
    let (done, said) = make("cli-1", picture.to_str().unwrap());
    assert!(!done && said.contains("(seal_exists)"), "{said}");
    let (done, said) = make("cli-2", chain.to_str().unwrap());
    assert!(!done && said.contains("(picture_not_png)"), "{said}");
    let drawing = repository().join("formats/tests/data/seal.svg");
    let (done, said) = make("cli-3", drawing.to_str().unwrap());
    assert!(done && said.contains("seal cli-3 is made"), "{said}");
    let file = scratch.path().join("saved.esl");
    let (done, said) = run(&["show", "cli-1", "--save", file.to_str().unwrap()]);
    assert!(done && said.contains("测试甲") && !said.contains("\"octets\""), "{said}");
    assert_eq!(judged(site, &std::fs::read(&file).unwrap())["verdict"], "valid");
    let (done, said) = run(&["suspend", "cli-1", "--reason", "lost"]);
    assert!(done && said.contains("seal cli-1 is suspended"), "{said}");
    let (done, said) = run(&["list", "--state", "suspended"]);
    assert!(done && said.contains("cli-1"), "{said}");
    let (done, said) = run(&["resume", "cli-1", "--reason", "found"]);
    assert!(done && said.contains("seal cli-1 is active"), "{said}");
    let (done, said) = run(&["show", "a b"]);
    assert!(!done && said.contains("is not the number of a seal"), "{said}");
}

#[test]
fn of_many_who_make_the_same_seal_at_two_gateways_one_does() {
    let server = Postgres::start();
    let first = Folder::init_on(&server).serve();
    let second = Folder::beside(&first, "second").serve();
    let body = order(&seal(&first, "once-1"));
    let apps = [first.app_number(2), second.app_number(2)];
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = |number: usize| {
            let (app, body) = (&apps[number % 2], &body);
            scope.spawn(move || app.post(PATH, body).status)
        };
        let asked: Vec<_> = (0..8).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
    let seen = second.app().get("/v1/seals/once-1").expect(200).json();
    assert_eq!(seen["octets"], first.app().get("/v1/seals/once-1").expect(200).json()["octets"]);
    drop((first, second, server)); // the gateways before their database
}
