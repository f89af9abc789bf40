//! The map of the crates is the map that is drawn, and `unsafe` is where it is said to be.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::{Ran, repository};

/// Who may depend on whom, dev-dependencies apart. `None`: on anybody.
const ARROWS: [(&str, Option<&[&str]>); 13] = [
    ("config", Some(&[])),
    ("sm2-verify", Some(&[])),
    ("formats", Some(&["sm2-verify"])),
    ("hsm-driver", Some(&["config", "sm2-verify"])),
    ("hsm-sim", Some(&[])),
    ("store", Some(&["config", "formats"])),
    ("outbound", Some(&["config", "store"])),
    ("signing", Some(&["config", "formats", "hsm-driver", "outbound", "store"])),
    ("verify-front", Some(&["config", "formats", "outbound", "store"])),
    ("maintenance", Some(&[])),
    ("license-gateway", None),
    ("certs-test", Some(&["formats"])),
    ("tests", Some(&[])),
];

/// The folders whose files may hold `unsafe`: the two sides of the PKCS#11 C ABI, and the tests that call it as a
/// host program would.
const UNSAFE: [&str; 3] = ["hsm-driver/src/worker", "hsm-sim/src/abi", "hsm-sim/tests"];

/// No source file is longer; a longer one has two subjects.
const LINES: usize = 700;

fn members() -> Vec<Value> {
    let manifest = repository().join("Cargo.toml");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(manifest);
    let ran = Ran::of(&mut cargo).expect("cargo metadata");
    let metadata: Value = serde_json::from_slice(&ran.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn members_depend_on_each_other_only_along_the_drawn_arrows() {
    let members = members();
    let names: Vec<&str> = members.iter().map(|member| member["name"].as_str().unwrap()).collect();
    for member in &members {
        let name = member["name"].as_str().unwrap();
        let allowed = ARROWS.iter().find(|(from, _)| *from == name);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{name} is not on the map"));
        let dependencies = member["dependencies"].as_array().unwrap().iter();
        // Normal and build dependencies; those of tests may point anywhere.
        for dependency in dependencies.filter(|dependency| dependency["kind"] != "dev") {
            let to = dependency["name"].as_str().unwrap();
            let drawn = allowed.is_none_or(|allowed| allowed.contains(&to));
            assert!(drawn || !names.contains(&to), "{name} → {to} is not on the map");
        }
    }
    for (name, _) in ARROWS {
        assert!(names.contains(&name), "{name} is on the map and not in the workspace");
    }
}

#[test]
fn unsafe_code_is_in_the_allowed_folders_only() {
    for file in sources() {
        let path = file.strip_prefix(repository()).unwrap();
        let allowed = UNSAFE
            .iter()
            .any(|folder| path.starts_with(folder) || path == Path::new(&format!("{folder}.rs")));
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            // What remains without comments and string literals.
            let code: String = line.split("//").take(1).flat_map(|code| code.split('"').step_by(2)).collect();
            let mut words = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            assert!(
                allowed || !words.any(|word| word == "unsafe"),
                "{}:{}: {line}",
                path.display(),
                number + 1
            );
        }
    }
}

#[test]
fn every_member_forbids_unsafe_code_or_says_where_it_is_allowed() {
    for member in members() {
        let manifest = std::fs::read_to_string(member["manifest_path"].as_str().unwrap()).unwrap();
        let name = member["name"].as_str().unwrap();
        let inherited = manifest.contains("[lints]\nworkspace = true");
        let own = ["hsm-driver", "hsm-sim"].contains(&name) && manifest.contains("unsafe_code = \"deny\"");
        assert!(inherited || own, "{name}");
    }
}

#[test]
fn no_source_file_is_longer_than_seven_hundred_lines() {
    for file in sources() {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= LINES, "{} has {lines} lines", file.display());
    }
}

/// Every Rust file of the members.
fn sources() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = members()
        .iter()
        .map(|member| Path::new(member["manifest_path"].as_str().unwrap()).parent().unwrap().to_owned())
        .collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 20, "{} Rust files", files.len());
    files
}
