//! The register of entities: taken in from files, given out, found by name.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tests::{Answer, Caller, Folder, Ran, Scratch, Signer, Site, gateway, shared};

/// Codes that are right, of nobody.
const CODES: [&str; 4] =
    ["91610102MA0000015M", "91610102MA0000023G", "91610102MA0000031B", "91610102MA000004X3"];

/// A sandbox that no gateway runs on, and files for it.
struct Desk {
    folder: Folder,
    files: Scratch,
}

impl Desk {
    fn new() -> Self {
        Self { folder: Folder::init(), files: Scratch::new() }
    }

    /// With a database of its own, in which there is nothing.
    fn empty() -> Self {
        let desk = Self::new();
        desk.folder.configure("sqlite://gateway.db", "sqlite://library.db");
        let mut init = Command::new(gateway());
        init.arg("init").arg("--config").arg(desk.folder.config());
        Ran::of(&mut init).expect("license-gateway init");
        desk
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(gateway());
        command.arg("library").args(arguments).arg("--config").arg(self.folder.config());
        command.stdin(Stdio::null());
        command
    }

    /// Runs `license-gateway library ARGUMENTS --json`, which must end with this code; what it printed, and what it said.
    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> (Value, String) {
        let output = self.command(arguments).arg("--json").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        (serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
    }

    #[track_caller]
    fn import(&self, file: &Path, code: i32) -> (Value, String) {
        self.run(&["import", file.to_str().unwrap()], code)
    }

    fn totals(&self) -> Value {
        self.run(&["totals"], 0).0
    }
}

fn row(code: &str, name: &str) -> Value {
    json!({
        "uscc": code, "name": name, "entity_type": "有限责任公司", "status": 1, "flags": [],
        "status_as_of": "2026-01-01T00:00:00Z", "face": {"legal_representative": "测试员", "domicile": "西安市"},
    })
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn problems(file: &Path) -> Vec<(u64, String, String)> {
    let told = std::fs::read_to_string(format!("{}.problems.jsonl", file.display())).unwrap();
    let problem = |line: &str| {
        let told: Value = serde_json::from_str(line).unwrap();
        let text = |member: &str| told[member].as_str().unwrap().to_owned();
        (told["line"].as_u64().unwrap(), text("field"), text("code"))
    };
    told.lines().map(problem).collect()
}

fn told(wanted: &[(u64, &str, &str)]) -> Vec<(u64, String, String)> {
    wanted.iter().map(|(line, field, code)| (*line, (*field).to_owned(), (*code).to_owned())).collect()
}

#[test]
fn bad_rows_are_told_by_line_and_field_and_kept_out_and_the_rest_is_in() {
    let desk = Desk::new();
    let before = desk.totals()["entities"].as_u64().unwrap();
    let mut status = row(CODES[1], "甲有限公司");
    status["status"] = json!(8);
    let mut two_faults = row("91610102MA0000015A", "");
    two_faults["face"]["phone"] = json!("13800000000");
    let text = [
        row(CODES[0], "安邦有限公司").to_string(),
        "{\"uscc\":".to_owned(),
        status.to_string(),
        String::new(),
        two_faults.to_string(),
        row(CODES[0], "安邦又一次").to_string(),
        row(CODES[3], "丁有限公司").to_string().replacen('{', "{\"status\":3,", 1),
        row(CODES[3], "丁\u{200b}有限公司").to_string(),
        row(CODES[2], "丙有限公司").to_string(), // no end of line
    ];
    let file = desk.files.write("rows.jsonl", text.join("\n"));
    let (answer, said) = desk.import(&file, 1);
    assert!(said.contains("6 rows were kept out"), "{said}");
    assert_eq!((&answer["added"], &answer["refused"]), (&json!(2), &json!(6)), "{answer}");
    let mut found = problems(&file);
    found.sort();
    let wanted = [
        (2, "", "not_json"),
        (3, "status", "status_unknown"),
        (5, "face.phone", "unknown_field"),
        (5, "name", "invalid_value"),
        (5, "uscc", "uscc_invalid"),
        (6, "uscc", "repeated"),
        (7, "status", "repeated_field"),
        (8, "name", "invalid_value"),
    ];
    assert_eq!(found, told(&wanted));
    let report = std::fs::read_to_string(format!("{}.problems.jsonl", file.display())).unwrap();
    assert!(!report.contains("13800000000"), "values of rows are not told: {report}");
    assert_eq!(desk.totals()["entities"], before + 2);
    assert_eq!(desk.run(&["show", CODES[0]], 0).0["name"], "安邦有限公司", "the first one stays");
}

#[test]
fn a_spreadsheets_csv_is_read_with_mark_quotes_and_lists() {
    let desk = Desk::new();
    let csv = format!(
        "\u{feff}uscc,name,entity_type,status,status_as_of,flags,domicile,business_scope\r\n\
         {},\"甲\"\"乙\"\"有限公司\",有限责任公司,1,2026-01-01T08:00:00+08:00,经营异常名录|歇业,西安市一号|西安市二号,\"零售，\r\n批发\"\r\n\
         {},丙有限公司,有限责任公司,一,2026-01-01T00:00:00Z,,,\r\n\
         {},少一列\r\n\
         {},丁有限公司,有限责任公司,4,2026-01-01T00:00:00Z,,,\r\n",
        CODES[0], CODES[1], CODES[2], CODES[3]
    );
    let file = desk.files.write("rows.csv", csv.replace("，\r\n", "，"));
    let (answer, _) = desk.import(&file, 1);
    assert_eq!((&answer["added"], &answer["refused"]), (&json!(2), &json!(2)), "{answer}");
    assert_eq!(problems(&file), told(&[(3, "status", "status_unknown"), (4, "", "columns_differ")]));
    let shown = desk.run(&["show", CODES[0]], 0).0;
    assert_eq!(shown["name"], "甲\"乙\"有限公司");
    assert_eq!(shown["flags"], json!(["经营异常名录", "歇业"]));
    assert_eq!(shown["face"]["domicile"], json!(["西安市一号", "西安市二号"]));
    assert_eq!(shown["status_as_of"], "2026-01-01T00:00:00Z");
}

#[test]
fn files_that_cannot_be_read_are_refused_whole_and_said_why() {
    let desk = Desk::new();
    let head = "uscc,name,entity_type,status,status_as_of";
    // 样例有限公司 in GBK, as a spreadsheet of a Chinese office saves it.
    let gbk = b"\xd1\xf9\xc0\xfd\xd3\xd0\xcf\xde\xb9\xab\xcb\xbe";
    let gbk_csv = [format!("{head}\n").as_bytes(), &[gbk.as_slice(), b",1\n"].concat().repeat(3)].concat();
    for (name, octets, reason) in [
        ("gbk.csv", gbk_csv, "iconv -f GBK"),
        ("gbk.jsonl", [b"{\"name\":\"".as_slice(), gbk, b"\"}\n"].concat(), "iconv -f GBK"),
        ("utf16.csv", b"\xff\xfeu\0s\0".to_vec(), "iconv -f UTF-16"),
        ("unknown.csv", format!("{head},身份证\n").into_bytes(), "column 6"),
        ("twice.csv", format!("{head},name\n").into_bytes(), "name twice"),
        ("missing.csv", b"uscc,name\n".to_vec(), "no column entity_type"),
        ("quote.csv", format!("{head}\n\"{}", "x\n".repeat(400_000)).into_bytes(), "quote not closed"),
    ] {
        let file = desk.files.write(name, octets);
        let (_, said) = desk.import(&file, 1);
        assert!(said.contains(reason), "{name}: {said}");
    }
    let absent = desk.files.path().join("absent.jsonl");
    assert!(desk.import(&absent, 1).1.contains("absent.jsonl"));
    let whole = desk.run(&["imports"], 0).0;
    let added: i64 =
        whole["items"].as_array().unwrap().iter().map(|item| item["added"].as_i64().unwrap()).sum();
    assert_eq!(added, 0, "{whole}");
}

/// Rows enough for an import that takes a while.
fn many(desk: &Desk, count: u64) -> PathBuf {
    let demo = Desk::empty();
    demo.run(&["demo", "--licenses", &count.to_string()], 0);
    let file = desk.files.path().join("many.jsonl");
    demo.run(&["export", "--out", file.to_str().unwrap()], 0);
    file
}

#[test]
fn an_import_that_was_killed_goes_on_where_it_was_and_ends_with_the_same_hash() {
    let whole = Desk::empty();
    let mut count = 20_000;
    // On a machine so fast that it is done before it is killed there is more to do.
    let (broken, file, left) = loop {
        let broken = Desk::empty();
        let file = many(&broken, count);
        let mut child = broken.command(&["import", file.to_str().unwrap()]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let under_way = || {
            let import = broken.run(&["imports"], 0).0["items"][0].clone();
            let begun = import["line"].as_u64().is_some_and(|line| line > 0);
            (begun && import["finished_at"].is_null()).then_some(import)
        };
        while under_way().is_none() && child.try_wait().unwrap().is_none() {}
        let _ = child.kill();
        child.wait().unwrap();
        // How it ended says nothing: what it did may have been done before it was killed.
        if let Some(left) = under_way() {
            break (broken, file, left);
        }
        count *= 4;
    };
    let (done, _) = broken.run(&["import", file.to_str().unwrap(), "--resume"], 0);
    assert_eq!(done["id"], left["id"]);
    assert_eq!(done["refused"], 0, "no row came twice: {done}");

    let copy = whole.files.path().join("many.jsonl");
    std::fs::copy(&file, &copy).unwrap();
    let (at_once, _) = whole.import(&copy, 0);
    assert_eq!(done["digest"], at_once["digest"], "of the file");
    assert_eq!(broken.totals(), whole.totals());
    let (_, said) = broken.run(&["import", file.to_str().unwrap(), "--resume"], 1);
    assert!(said.contains("was broken off"), "{said}");
}

#[test]
fn an_import_does_not_go_on_with_another_file() {
    let desk = Desk::new();
    // More than goes in at a time, and then a quote that nobody closes.
    let text = format!(
        "uscc,name,entity_type,status,status_as_of\n{}\"{}",
        format!("{},甲有限公司,有限责任公司,1,2026-01-01T00:00:00Z\n", CODES[0]).repeat(3000),
        "x\n".repeat(400_000)
    );
    let file = desk.files.write("broken.csv", text);
    desk.import(&file, 1);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("甲有限", "乙有限", 1)).unwrap();
    let (_, said) = desk.run(&["import", file.to_str().unwrap(), "--resume"], 1);
    assert!(said.contains("another file"), "{said}");
}

#[test]
fn what_one_library_gives_out_another_takes_in() {
    let (one, other) = (Desk::empty(), Desk::empty());
    one.run(&["demo", "--licenses", "3000"], 0);
    let file = one.files.path().join("all.jsonl");
    let (told, _) = one.run(&["export", "--out", file.to_str().unwrap()], 0);
    assert_eq!(told, one.totals());
    let sm3 = one.files.openssl("dgst -sm3 all.jsonl").expect("openssl dgst").stdout;
    let digest = told["digest"].as_str().unwrap();
    assert!(String::from_utf8(sm3).unwrap().trim().ends_with(digest), "{digest}");
    other.import(&file, 0);
    assert_eq!(other.totals(), one.totals());
    let (again, _) = other.import(&file, 0);
    assert_eq!((&again["added"], &again["changed"]), (&json!(0), &json!(0)), "{again}");
    let (_, said) = one.run(&["export", "--out", file.to_str().unwrap()], 1);
    assert!(said.contains("all.jsonl"), "a file is not overwritten: {said}");
}

fn search(caller: &Caller, query: &str) -> Answer {
    let encoded: String = query
        .bytes()
        .map(|octet| match octet {
            b'=' | b'&' => char::from(octet).to_string(),
            _ if octet.is_ascii_alphanumeric() || b"_-.".contains(&octet) => char::from(octet).to_string(),
            _ => format!("%{octet:02X}"),
        })
        .collect();
    caller.get(&format!("/v1/licenses?{encoded}"))
}

#[test]
fn an_entity_is_found_by_its_name_and_shows_what_is_granted() {
    let desk = Desk::new();
    let rows = [row(CODES[0], "雁塔安邦（集团）有限公司"), row(CODES[1], "宝鸡雁塔小吃店")];
    let file = desk.files.write("rows.jsonl", lines(&rows));
    desk.import(&file, 0);
    let site = desk.folder.serve();
    let found = search(site.app(), "name=雁塔").expect(200).json();
    let codes: Vec<_> = found["items"].as_array().unwrap().iter().map(|item| &item["uscc"]).collect();
    assert_eq!(codes, [CODES[0], CODES[1]]);
    assert_eq!(found["next"], Value::Null);
    assert_eq!(found["items"][0]["face"]["legal_representative"], "测试员");
    assert_eq!(found["items"][0]["status"]["code"], 1);

    let masked = search(&site.app_number(1), "name=安邦集团&prefix=false").expect(200).json();
    assert_eq!(masked["items"][0]["face"]["legal_representative"], "测**", "{masked}");
    assert!(masked["items"][0]["face"]["domicile"].is_null(), "not granted: {masked}");
    assert_eq!(
        search(site.app(), "name=雁塔&prefix=true").expect(200).json()["items"].as_array().unwrap().len(),
        1
    );
    let first = search(site.app(), "name=雁塔&limit=1").expect(200).json();
    let next = first["next"].as_str().unwrap();
    let second = search(site.app(), &format!("name=雁塔&limit=1&cursor={next}")).expect(200).json();
    assert_eq!(second["items"][0]["uscc"], CODES[1]);
    assert_eq!(search(site.app(), "name=雁塔&status=4").expect(200).json()["items"], json!([]));

    let recorded = site.audit().into_iter().filter(|entry| entry["action"] == "license.search");
    let recorded: Vec<_> = recorded.collect();
    assert_eq!(recorded.len(), 6, "each look is on record");
    assert_eq!(recorded[0]["subject"], "2 licenses");
    assert!(recorded.iter().all(|entry| !entry.to_string().contains("雁塔")));
}

#[test]
fn what_cannot_be_looked_for_is_told_by_its_field() {
    let app = shared().site.app();
    for (query, field) in [
        ("name=", "name"),
        ("name=西", "name"),
        ("name=西（　", "name"),
        (&format!("name={}", "西".repeat(201)), "name"),
        ("prefix=true", "name"),
        ("name=西安&status=7", "status"),
        ("name=西安&limit=0", "limit"),
        ("name=西安&limit=51", "limit"),
        ("name=西安&cursor=x", "cursor"),
        ("name=西安&cursor=-1", "cursor"),
        ("name=西安&prefix=maybe", "query"),
        ("name=西安&id_number=1", "query"),
    ] {
        let answer = search(app, query).expect(422).json();
        assert_eq!(answer["errors"][0]["field"], field, "{query}: {answer}");
    }
    for name in ["' OR 1=1 --", "\") MATCH (\"", "NEAR(a b)", "ab*", "%%aa", "\u{0}aa", "&|!ab"] {
        search(app, &format!("name={}", name.replace(['&', '='], "+"))).expect(200);
    }
    assert_eq!(search(&shared().site.app_number(2), "name=西安").expect(403).json()["code"], "scope_missing");
}

#[test]
fn an_app_that_may_not_see_names_cannot_look_for_them() {
    let site = Site::start();
    let reason = ["--reason", "test"];
    let create = ["create", "nameless", "--name", "无名", "--scope", "licenses", "--field", "domicile"];
    site.app_command(&[create.as_slice(), reason.as_slice()].concat());
    let signer = Signer::new("nameless", "p256");
    signer.enter(&site);
    let request = signer.request("GET", "/v1/licenses?name=ab", b"");
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = site.stranger(None).send("GET", &request.target, &headers, None).expect(403).json();
    assert_eq!(answer["code"], "field_not_granted", "{answer}");
}
