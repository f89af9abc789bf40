//! `license-gateway key …`, from a key's making to its end: what the commands print, for people and for scripts, and
//! how they end.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use serde_json::{Value, json};
use tests::{Scratch, Site};

/// A site with a file that holds its custodians' secrets.
struct Console {
    site: Site,
    scratch: Scratch,
    secrets: PathBuf,
}

impl Console {
    fn start() -> Self {
        let (site, scratch) = (Site::start(), Scratch::new());
        let custodians = site.sandbox()["custodians"].as_array().unwrap();
        let secrets: Vec<_> =
            custodians.iter().map(|one| json!({"name": one["name"], "secret": one["secret"]})).collect();
        let secrets = scratch.write("custodians.json", json!(secrets).to_string());
        std::fs::set_permissions(&secrets, PermissionsExt::from_mode(0o600)).unwrap();
        Self { site, scratch, secrets }
    }

    /// Runs `license-gateway key ARGUMENTS`, which must end with this code.
    #[track_caller]
    fn key(&self, arguments: &[&str], code: i32) -> (String, String) {
        let output: Output = self.site.command(&[&["key"], arguments].concat());
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(code), "key {arguments:?}: {out}{err}");
        (out, err)
    }

    /// The same for a ceremony that is confirmed at once, as JSON.
    #[track_caller]
    fn hold(&self, arguments: &[&str], code: i32) -> Value {
        let secrets = self.secrets.to_str().unwrap();
        let all = [arguments, &["--reason", "a test", "--confirm-from", secrets, "--json"]].concat();
        let (out, err) = self.key(&all, code);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}{err}"))
    }

    fn state(&self, key: &str, version: usize) -> Value {
        let (out, _) = self.key(&["show", key, "--json"], 0);
        serde_json::from_str::<Value>(&out).unwrap()["versions"][version - 1]["state"].clone()
    }
}

#[test]
fn a_wrapping_key_is_made_put_to_use_replaced_and_destroyed_by_commands() {
    let console = Console::start();
    let create = ["create", "site-kek", "--group", "bureau", "--algorithm", "aes256", "--purpose", "kek"];
    let made = console.hold(&create, 0);
    assert_eq!((&made["action"], &made["state"]), (&json!("key.create"), &json!("done")), "{made}");
    assert_eq!(made["confirmations"].as_array().unwrap().len(), 2, "as many as the site asks for: {made}");
    assert_eq!(console.state("site-kek", 1), "pending");

    let first = ["site-kek", "--key-version", "1"];
    let spread = console.hold(&[&["spread"], &first[..]].concat(), 0);
    assert_eq!(spread["result"]["spread_to"].as_array().unwrap().len(), 6, "{spread}");
    console.hold(&[&["rotate"], &first[..]].concat(), 0);
    assert_eq!(console.state("site-kek", 1), "active");

    console.hold(&["next", "site-kek"], 0);
    let second = ["site-kek", "--key-version", "2"];
    console.hold(&[&["spread"], &second[..]].concat(), 0);
    let early = console.hold(&[&["destroy"], &first[..]].concat(), 1);
    assert_eq!(early["state"], "failed", "an active version is not destroyed: {early}");
    console.hold(&[&["rotate", "--overlap-days", "0"], &second[..]].concat(), 0);
    assert_eq!(
        (console.state("site-kek", 1), console.state("site-kek", 2)),
        (json!("retired"), json!("active"))
    );
    let destroyed = console.hold(&[&["destroy"], &first[..]].concat(), 0);
    assert_eq!(destroyed["result"]["removed_from"].as_array().unwrap().len(), 7, "{destroyed}");
    console.hold(&[&["retire"], &second[..]].concat(), 0);
    assert_eq!(console.state("site-kek", 2), "retired");

    let (table, _) = console.key(&["list"], 0);
    let head = table.lines().next().unwrap();
    assert!(head.starts_with("KEY") && head.contains("STATE"), "{table}");
    let lines: Vec<_> = table.lines().filter(|line| line.starts_with("site-kek")).collect();
    assert!(lines[0].contains("destroyed") && lines[1].contains("retired"), "{table}");
}

#[test]
fn without_secrets_a_ceremony_waits_and_can_be_called_off() {
    let console = Console::start();
    let create = ["create", "k", "--group", "bureau", "--algorithm", "p256", "--purpose", "service"];
    let (words, _) = console.key(&[&create[..], &["--spread", "per-device", "--reason", "why"]].concat(), 0);
    assert!(words.contains("is open") && words.contains("0 of 2 confirmations"), "{words}");
    let number = words.split_whitespace().nth(1).unwrap().to_owned();
    assert!(words.contains(&format!("key confirm {number} --custodian NAME")), "{words}");
    let (list, _) = console.key(&["ceremonies"], 0);
    assert!(list.contains("key.create") && list.contains("0/2") && list.contains("why"), "{list}");

    let (_, refused) = console.key(&["call-off", &number], 2);
    assert!(refused.contains("--reason"), "{refused}");
    let (words, _) = console.key(&["call-off", &number, "--reason", "not needed"], 0);
    assert_eq!(words, format!("ceremony {number} (key.create k) is called off\n"));
    let (json, _) = console.key(&["call-off", &number, "--reason", "again", "--json"], 1);
    let problem: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&json!("ceremony_not_open"), &json!(409)),
        "{problem}"
    );
    let (shown, _) = console.key(&["ceremonies", &number, "--json"], 0);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["state"], &shown["result"]["reason"]), (&json!("failed"), &json!("not needed")));
}

#[test]
fn secrets_that_others_can_read_wrong_ones_and_wrong_usage_change_nothing() {
    let console = Console::start();
    let retire = ["retire", "demo-sm2", "--key-version", "1", "--reason", "a test"];
    let with =
        |file: &PathBuf| [&retire[..], &["--confirm-from", file.to_str().unwrap()]].concat().join("\n");
    let run = |line: &str, code| console.key(&line.split('\n').collect::<Vec<_>>(), code);
    let open = console.scratch.write("open.json", "[]");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o644)).unwrap();
    let (_, refused) = run(&with(&open), 1);
    assert!(refused.contains("has mode 644; it must be 600"), "{refused}");
    let odd = console.scratch.write("odd.json", "{\"secret\": \"CANARY\"}");
    std::fs::set_permissions(&odd, PermissionsExt::from_mode(0o600)).unwrap();
    let (_, refused) = run(&with(&odd), 1);
    assert!(refused.contains("is no list of {name, secret}") && !refused.contains("CANARY"), "{refused}");
    let (ceremonies, _) = console.key(&["ceremonies", "--json"], 0);
    let ceremonies: Value = serde_json::from_str(&ceremonies).unwrap();
    assert_eq!(ceremonies["items"], json!([]), "nothing was opened");

    let name = console.site.sandbox()["custodians"][0]["name"].clone();
    let wrong = json!([{"name": name, "secret": "not this one at all"}]).to_string();
    let wrong = console.scratch.write("wrong.json", &wrong);
    std::fs::set_permissions(&wrong, PermissionsExt::from_mode(0o600)).unwrap();
    let (_, refused) = run(&with(&wrong), 1);
    assert!(refused.contains("not_a_custodian") && !refused.contains("not this one"), "{refused}");
    assert_eq!(console.state("demo-sm2", 1), "active");

    let (out, _) = console.key(&["show", "none", "--json"], 1);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["code"], "unknown_key");
    let (_, refused) = console.key(&["show", "-no-name"], 2);
    assert!(!refused.is_empty());
    console.key(&["retire", "demo-sm2", "--reason", "no version"], 2);
    console.key(&["melt", "demo-sm2"], 2);
}
