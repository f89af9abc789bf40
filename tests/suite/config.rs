//! A configuration is taken whole or refused with everything that is wrong with it.

use std::process::Command;

use tests::{Folder, Ran, Scratch, gateway, repository};

/// Five mistakes, in lines 4, 8, 9, 16 and 20.
const BROKEN: &str = r#"
[site]
sandbox = true
colour = "red"

[server]
http = "127.0.0.1:0"
body_limit = "large"
max_in_flight = 0

[database]
url = "sqlite://gateway.db"

[[device]]
id = "d1"
group = "no blanks allowed"
module = "sim.so"
token = "one"
pin_file = "pin"
lanes = 100000
"#;

const MISTAKES: [(usize, &str); 5] =
    [(4, "colour"), (8, "body_limit"), (9, "max_in_flight"), (16, "group"), (20, "lanes")];

fn expect_all_mistakes(ran: &Ran, file: &str) {
    for (line, field) in MISTAKES {
        let prefix = format!("{file}:{line}: ");
        let found = ran.text.lines().any(|text| text.contains(&prefix) && text.contains(field));
        assert!(found, "no {prefix}…{field}… in\n{}", ran.text);
    }
}

#[test]
fn check_config_reports_all_mistakes_at_once_with_their_lines() {
    let scratch = Scratch::new();
    let file = scratch.write("gateway.toml", BROKEN);
    let mut command = Command::new(gateway());
    let ran = Ran::of(command.arg("check-config").arg(&file));
    assert!(!ran.ok);
    expect_all_mistakes(&ran, file.to_str().unwrap());
}

#[test]
fn serve_with_a_bad_configuration_ends_with_one_and_starts_nothing() {
    let scratch = Scratch::new();
    let file = scratch.write("gateway.toml", BROKEN);
    let output = Command::new(gateway()).arg("serve").arg("--config").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    expect_all_mistakes(&Ran { ok: false, stdout: output.stdout, text }, file.to_str().unwrap());
    let made: Vec<_> =
        std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(made, ["gateway.toml"], "nothing was made");
}

#[test]
fn what_is_no_toml_is_reported_with_its_line() {
    let scratch = Scratch::new();
    let file = scratch.write("gateway.toml", "[site]\nname = \"unfinished\n");
    let ran = Ran::of(Command::new(gateway()).arg("check-config").arg(&file));
    assert!(!ran.ok);
    assert!(ran.text.contains(&format!("{}:2: ", file.display())), "{}", ran.text);
}

#[test]
fn a_site_in_earnest_without_makers_of_seals_is_warned() {
    let examples = repository().join("config/examples");
    let site = std::fs::read_to_string(examples.join("site.toml")).unwrap();
    let scratch = Scratch::new();
    for (makers, warned) in [("seal_makers = [\"trust/seal-makers\"]\n", false), ("", true)] {
        let text = site.replace("seal_makers = [\"trust/seal-makers\"]\n", makers);
        let file = scratch.write("site.toml", text);
        let ran = Ran::of(Command::new(gateway()).arg("check-config").arg(&file));
        assert!(ran.ok, "{}", ran.text);
        assert_eq!(ran.text.contains("trust.seal_makers"), warned, "{}", ran.text);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let ran = Ran::of(Command::new(gateway()).args(["check-config", "/nowhere/gateway.toml"]));
    assert!(!ran.ok);
    assert!(ran.text.contains("/nowhere/gateway.toml"), "{}", ran.text);
}

#[test]
fn the_sandbox_and_every_example_are_in_order() {
    let folder = Folder::init();
    let examples = std::fs::read_dir(repository().join("config/examples")).unwrap();
    // The folder of profiles describes client systems, not sites.
    let sites = examples.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let files: Vec<_> = sites.chain([folder.config()]).collect();
    assert!(files.len() > 1, "no examples");
    for file in files {
        let ran = Ran::of(Command::new(gateway()).arg("check-config").arg(&file));
        ran.expect(file.to_str().unwrap());
    }
}
