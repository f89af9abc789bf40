//! Profiles of client systems (`config/examples/profiles/`): each is entered by its file alone and can then do what it is
//! for, and nothing else; what differs from a profile is told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};
use tests::{Answer, Folder, Scratch, Signer, Site, repository};
use toml::Table;

use crate::phone::Phone;
use crate::sessions::{id, refused};

const FRONT: &str = "/authenticationService/httpserver.do";
const SESSIONS: &str = "/v1/sessions";
/// All roles: who is not named by an item does not act for it.
const ROLES: [&str; 3] = ["legal_representative", "administrator", "agent"];

fn folder() -> PathBuf {
    repository().join("config/examples/profiles")
}

fn file(name: &str) -> String {
    folder().join(format!("{name}.toml")).display().to_string()
}

/// All profiles by their file's name.
fn profiles() -> BTreeMap<String, Table> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let read = files.map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), text.parse().unwrap())
    });
    read.collect()
}

fn strings<'a>(table: &'a Table, name: &str) -> Vec<&'a str> {
    table[name].as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// A site whose file has the systems that speak the national front's protocol, by what the profiles say.
fn site(profiles: &BTreeMap<String, Table>) -> (Site, BTreeMap<String, String>) {
    let (mut systems, mut codes) = (String::new(), BTreeMap::new());
    for (number, (name, profile)) in profiles.iter().enumerate() {
        let Some(front) = profile.get("national_front") else { continue };
        let code = format!("SAIC_YWXT_P{number:05}");
        systems += &format!(
            "[[compat.system]]\nsyscode = {code:?}\napp = {name:?}\nitem = {}\nfields = {}\n\n",
            front["item"], front["fields"]
        );
        codes.insert(name.clone(), code);
    }
    let folder = Folder::init();
    folder.configure("[query_certificates]\n", &format!("{systems}[query_certificates]\n"));
    (folder.serve(), codes)
}

/// Enters a client system as an operator would.
fn entered(site: &Site, name: &str) -> Signer {
    let reason = ["--contact", "值班室", "--reason", "test"];
    let profile = file(name);
    site.app_command(&[&["create", name, "--profile", &profile][..], &reason].concat());
    let signer = Signer::new(name, "p256");
    signer.enter(site);
    signer
}

/// What `app check` says, and how it ends.
fn checked(site: &Site, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
    let ran = site.command(&[&["app", "check"], arguments, &["--json"]].concat());
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
    });
    let differences = said["differences"].as_array().unwrap_or_else(|| panic!("{said:#}"));
    (ran.status.code(), differences.iter().map(|text| text.as_str().unwrap().to_owned()).collect())
}

fn posted(site: &Site, signer: &Signer, path: &str, body: &Value) -> Answer {
    signer.request("POST", path, body.to_string().as_bytes()).send(site)
}

fn fetched(site: &Site, signer: &Signer, path: &str) -> Answer {
    signer.request("GET", path, b"").send(site)
}

/// A session for each item: who may act for it comes through, and nobody else does.
fn scans(site: &Site, signer: &Signer, phone: &Phone, profile: &Table) {
    for item in profile.get("item").and_then(|items| items.as_array()).into_iter().flatten() {
        let item = item.as_table().unwrap();
        let (code, roles) = (item["code"].as_str().unwrap(), strings(item, "roles"));
        for role in ROLES {
            let order =
                json!({"flow": "login", "item": code, "item_name": code, "biz_no": format!("{code}-{role}")});
            let session = posted(site, signer, SESSIONS, &order).expect(201).json();
            let asked = phone.scan(site, &session).expect(200).json();
            let mut consent = phone.consent(&asked);
            consent["role"] = role.into();
            if role == "agent" {
                consent["authorisation"] = json!({"id": "SQ-1", "until": crate::sessions::now(600)});
            }
            let answer = phone.confirm(site, &consent);
            if !roles.contains(&role) {
                refused(answer, 403, "role_not_permitted");
                continue;
            }
            assert_eq!(answer.expect(200).json()["state"], "confirmed", "{code} {role}");
            let path = format!("{SESSIONS}/{}/consume", id(&session));
            let result = posted(site, signer, &path, &json!({})).expect(200).json()["result"].clone();
            assert_eq!((&result["item"], &result["role"]["name"]), (&json!(code), &json!(role)));
        }
    }
}

/// A login in the national front's protocol: the system's own item, and the fields that it asks for.
fn old_protocol(site: &Site, signer: &Signer, phone: &Phone, code: &str, front: &Table) {
    let told = |kind: &str, content: Value| {
        let header = json!({"syscode": code, "businesstype": kind, "version": "1"});
        let message = json!({"message_header": header, "message_content": content});
        let said = posted(site, signer, FRONT, &message).expect(200).json();
        assert_eq!(said["message_header"]["errorCode"], "0", "{code} {kind}: {said:#}");
        said["message_content"].clone()
    };
    let begun = told("003", json!({"qrtype": "1102"}));
    let asked = phone.scan(site, &json!({"qr_text": begun["qrinfo"]})).expect(200).json();
    assert_eq!(
        (&asked["item"], &asked["fields"]),
        (&json!(front["item"].as_str()), &json!(strings(front, "fields")))
    );
    phone.confirm(site, &phone.consent(&asked)).expect(200);
    let asking = json!({"qrtype": "1102", "qrid": begun["qrid"]});
    assert_eq!(told("004", asking)["operflag"], "0", "{code}");
    let information = told("011", json!({"qrtype": "1402", "qrid": begun["qrid"]}));
    assert_eq!((&information["uniscid"], information["entname"].is_string()), (&json!(phone.uscc), true));
}

#[test]
fn a_client_system_entered_by_its_profile_can_do_what_it_is_for_and_nothing_else() {
    let profiles = profiles();
    assert!(profiles.len() >= 11, "{:?}", profiles.keys());
    let (site, codes) = site(&profiles);
    let phone = Phone::good(&site);
    let whole =
        site.app().get(&format!("/v1/licenses/{}/face", phone.uscc)).expect(200).json()["face"].clone();
    for (name, profile) in &profiles {
        let app = profile["app"].as_table().unwrap();
        let (scopes, fields) = (strings(app, "scopes"), strings(app, "fields"));
        let signer = entered(&site, name);
        let config = site.config().display().to_string();
        // Of this site nobody has to name a purpose.
        let wanted: &[&str] = match profile.get("require_purpose") {
            Some(_) => &["library.require_purpose: files are given without a purpose"],
            None => &[],
        };
        let (code, found) = checked(&site, &[name, "--profile", &file(name), "--site", &config]);
        assert_eq!(found, wanted, "{name}");
        assert_eq!(code, Some(i32::from(!wanted.is_empty())), "{name}");

        // The face: what is granted and there, persons masked unless granted in full.
        let path = format!("/v1/licenses/{}", phone.uscc);
        let face = fetched(&site, &signer, &format!("{path}/face")).expect(200).json()["face"].clone();
        for (field, value) in whole.as_object().unwrap() {
            if fields.contains(&field.as_str()) {
                let is_masked = matches!(&field[..], "legal_representative" | "holder")
                    && !fields.contains(&format!("{field}_full").as_str());
                assert_eq!(face[field] != *value, is_masked, "{name}: {field} in {face:#}");
                assert!(!face[field].is_null(), "{name}: {field}");
            } else if field != "uscc" {
                // The code is what was asked by.
                assert!(face[field].is_null(), "{name}: {field} was not granted: {face:#}");
            }
        }
        let answer = fetched(&site, &signer, &format!("{path}/files/ofd"));
        match fields.contains(&"license_file") {
            true => assert!(answer.expect(200).body.starts_with(b"PK"), "{name}"),
            false => refused(answer, 403, "field_not_granted"),
        }

        // Sessions and verifications, where they are its business.
        match scopes.contains(&"sessions") {
            true => scans(&site, &signer, &phone, profile),
            false => refused(
                posted(
                    &site,
                    &signer,
                    SESSIONS,
                    &json!({"flow": "login", "item": "annual-report", "biz_no": "1"}),
                ),
                403,
                "scope_missing",
            ),
        }
        let empty = posted(&site, &signer, "/v1/verifications", &json!({}));
        assert_eq!(empty.status == 403, !scopes.contains(&"verifications"), "{name}: {}", empty.text());
        if let Some(front) = profile.get("national_front") {
            old_protocol(&site, &signer, &phone, &codes[name], front.as_table().unwrap());
        }
        // No key is named by a profile: who may stamp has them named by the site.
        let sign = json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": "YQ=="}});
        let says = if scopes.contains(&"signatures") { "key_not_permitted" } else { "scope_missing" };
        refused(posted(&site, &signer, "/v1/signatures", &sign), 403, says);
    }
}

#[test]
fn what_is_not_as_a_profile_says_is_told_and_put_back_by_it() {
    let (site, name) = (Site::start(), "online-registration");
    let profile = file(name);
    let config = site.config().display().to_string();
    let less = ["--name", "别的", "--scope", "licenses", "--field", "name", "--rate", "7"];
    site.app_command(&[&["create", name][..], &less, &["--reason", "test"]].concat());
    // A table of the site's own that lacks an item and has another role.
    let built_in = std::fs::read_to_string(repository().join("verify-front/data/decisions.toml")).unwrap();
    let sole =
        "code = \"appoint-administrator\"\nname = \"指定证照管理员\"\nroles = [\"legal_representative\"";
    assert!(built_in.contains(sole) && built_in.contains("code = \"authorise-agent\""));
    let other =
        built_in.replace(sole, &format!("{sole}, \"agent\"")).replace("authorise-agent", "another-item");
    let scratch = Scratch::new();
    let table = scratch.write("decisions.toml", other.replace("2026-2", "site-1"));
    let text = std::fs::read_to_string(site.config()).unwrap();
    let system = format!(
        "[[compat.system]]\nsyscode = \"SAIC_YWXT_000009\"\napp = {name:?}\nitem = \"annual-report\"\n\n"
    );
    let text = text.replace("[query_certificates]\n", &format!("{system}[query_certificates]\n"));
    let next = site.data().join("next.toml");
    std::fs::write(&next, format!("{text}\n[status]\ndecisions = {:?}\n", table.display().to_string()))
        .unwrap();
    let next = next.display().to_string();

    let (code, found) = checked(&site, &[name, "--profile", &profile, "--site", &next]);
    assert_eq!(code, Some(1));
    let fields: Vec<_> = found.iter().map(|text| text.split(':').next().unwrap()).collect();
    let front = "compat.system SAIC_YWXT_000009";
    let wanted = [
        "fields",
        "name",
        "rate",
        "scopes",
        "contacts",
        "credentials",
        front,
        front,
        "item authorise-agent",
        "item appoint-administrator",
    ];
    assert_eq!(fields, wanted, "{found:#?}");
    assert!(found[3].contains("[\"licenses\"]") && found[3].contains("\"sessions\""), "{found:#?}");
    assert!(found[8].ends_with("table site-1 does not speak of it"), "{found:#?}");
    assert!(found[9].contains("takes agent, legal_representative, the profile says legal_representative"));
    // For people, too, and with a program that looks at how it ended.
    let said = site.command(&["app", "check", name, "--profile", &profile, "--site", &next]);
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(text.contains("app online-registration differs from the profile"), "{text}");
    assert!(String::from_utf8(said.stderr).unwrap().contains("differences from the profile: 10"));

    let why = ["--contact", "值班室", "--reason", "test"];
    site.app_command(&[&["change", name, "--profile", &profile][..], &why].concat());
    Signer::new(name, "sm2").enter(&site);
    let (code, found) = checked(&site, &[name, "--profile", &profile, "--site", &config]);
    assert_eq!((code, found), (Some(1), vec![format!("compat.system: none is of the app {name}")]));
    site.app_command(&["disable", name, "--reason", "test"]);
    let (_, found) = checked(&site, &[name, "--profile", &profile, "--site", &next]);
    assert_eq!(found[0], "state: it is disabled", "{found:#?}");
    // What is given beside a profile counts instead of what it says.
    let changed = ["--profile", profile.as_str(), "--rate", "9", "--scope", "licenses"];
    let app = site.app_command(&[&["change", name][..], &changed, &["--reason", "test"]].concat());
    assert_eq!((&app["rate"]["per_second"], &app["scopes"]), (&json!(9), &json!(["licenses"])));
    assert_eq!(app["contacts"], json!(["值班室"]), "a profile says nothing of them");
}

#[test]
fn a_site_that_wants_purposes_and_has_a_new_item_of_business_serves_by_it() {
    let folder = Folder::init();
    let built_in = std::fs::read_to_string(repository().join("verify-front/data/decisions.toml")).unwrap();
    let item =
        "[[item]]\ncode = \"new-scene\"\nname = \"新场景\"\nroles = [\"administrator\"]\n\n[[standing]]\n";
    let scratch = Scratch::new();
    let table = built_in.replace("2026-2", "site-2").replacen("[[standing]]\n", item, 1);
    let table = scratch.write("decisions.toml", table).display().to_string();
    let more = format!("[library]\nrequire_purpose = true\n\n[status]\ndecisions = {table:?}\n\n[fleet]\n");
    folder.configure("[fleet]\n", &more);
    let site = folder.serve();
    let name = "government-data";
    let signer = entered(&site, name);
    assert_eq!(checked(&site, &[name, "--profile", &file(name)]), (Some(0), vec![]));
    let phone = Phone::good(&site);
    let path = format!("/v1/licenses/{}/files/ofd", phone.uscc);
    let problem = fetched(&site, &signer, &path).expect(422).json();
    assert_eq!(
        (&problem["code"], &problem["errors"][0]["field"]),
        (&json!("missing_field"), &json!("purpose"))
    );
    fetched(&site, &signer, &format!("{path}?purpose=permit")).expect(200);
    let entries = site.audit();
    let of_it = |entry: &&Value| {
        entry["action"] == "license.file" && entry["actor"] == name && entry["outcome"] == "ok"
    };
    let subjects: Vec<_> = entries.iter().filter(of_it).map(|entry| entry["subject"].to_string()).collect();
    assert!(subjects.len() == 1 && subjects[0].contains("permit"), "{subjects:?}");

    // The item is one line of the site's table; sessions know it, and who may act for it.
    let order = json!({"flow": "login", "item": "new-scene", "item_name": "新场景", "biz_no": "1"});
    let session = site.app().post(SESSIONS, &order).expect(201).json();
    let asked = phone.scan(&site, &session).expect(200).json();
    assert_eq!(asked["roles"], json!(["administrator"]));
    phone.confirm(&site, &phone.consent(&asked)).expect(200);
    let consumed =
        site.app().post(&format!("{SESSIONS}/{}/consume", id(&session)), &json!({})).expect(200).json();
    assert_eq!(consumed["result"]["decision"]["table"], "site-2");
}

#[test]
fn what_is_no_profile_is_refused_by_name_and_enters_nothing() {
    let site = Site::start();
    let scratch = Scratch::new();
    let good = std::fs::read_to_string(folder().join("approval.toml")).unwrap();
    for (from, to, said) in [
        ("[app]", "[app]\nkeys = [\"demo-sm2\"]", "keys"),
        ("scopes", "scope", "scope"),
        ("rate = {", "rate = { most = 1,", "most"),
        ("roles = [", "roles = [\"passer-by\", ", "passer-by"),
        ("[app]", "[app", "TOML"),
    ] {
        let path = scratch.write("bad.toml", good.replacen(from, to, 1));
        let path = path.display().to_string();
        for command in ["create", "check"] {
            let more: &[&str] = if command == "create" { &["--reason", "test"] } else { &[] };
            let ran = site.command(&[&["app", command, "refused", "--profile", &path][..], more].concat());
            let told = String::from_utf8(ran.stderr).unwrap();
            assert!(!ran.status.success() && told.contains("is no profile"), "{told}");
            assert!(told.contains(said), "{said}: {told}");
        }
    }
    // What the register refuses it refuses by name here, too.
    let path =
        scratch.write("scope.toml", good.replacen("\"licenses\"", "\"licences\"", 1)).display().to_string();
    let ran = site.command(&["app", "create", "refused", "--profile", &path, "--reason", "test"]);
    let told = String::from_utf8(ran.stderr).unwrap();
    assert!(!ran.status.success() && told.contains("licences"), "{told}");
    let gone = site.command(&["app", "check", "refused", "--profile", &file("approval"), "--json"]);
    let told: Value = serde_json::from_slice(&gone.stdout).unwrap();
    assert_eq!((gone.status.code(), &told["code"]), (Some(1), &json!("unknown_app")));
    site.app_number(2).get("/v1/admin/apps/refused").expect(404);
}
