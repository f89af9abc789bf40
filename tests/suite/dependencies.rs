//! What is linked is what `deny.toml` allows: licences, sources, bans. `cargo deny check` looks at the same file and at the
//! database of advisories besides, which needs a network; this test needs none.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use spdx::{Expression, Licensee, ParseMode};
use tests::{Ran, repository};

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// All packages that are linked on a platform, with everything switched on, and who depends on whom.
fn metadata(platform: &str) -> Value {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["metadata", "--locked", "--offline", "--all-features", "--format-version", "1"])
        .args(["--filter-platform", platform, "--manifest-path"])
        .arg(repository().join("Cargo.toml"));
    serde_json::from_slice(&Ran::of(&mut cargo).expect("cargo metadata").stdout).unwrap()
}

fn rules() -> toml::Table {
    std::fs::read_to_string(repository().join("deny.toml")).unwrap().parse().unwrap()
}

fn platforms(rules: &toml::Table) -> Vec<&str> {
    rules["graph"]["targets"].as_array().unwrap().iter().map(|target| target.as_str().unwrap()).collect()
}

/// The packages of a graph by id.
fn packages(metadata: &Value) -> BTreeMap<&str, &Value> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let linked: Vec<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| (package["id"].as_str().unwrap(), package))
        .filter(|(id, _)| linked.contains(id))
        .collect()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// What of an expression is not among the licences that are allowed; nothing if it can be met.
fn unmet(expression: &str, allowed: &[Licensee]) -> Option<String> {
    match Expression::parse_mode(expression, ParseMode::LAX) {
        Err(error) => Some(format!("{expression}: {error}")),
        Ok(parsed) => {
            let met = parsed.evaluate(|wanted| allowed.iter().any(|licensee| licensee.satisfies(wanted)));
            (!met).then(|| expression.to_owned())
        }
    }
}

fn licensees(texts: &[&str]) -> Vec<Licensee> {
    texts.iter().map(|text| Licensee::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))).collect()
}

#[test]
fn every_linked_package_has_a_licence_that_is_allowed() {
    let rules = rules();
    let allowed = rules["licenses"]["allow"].as_array().unwrap();
    let allowed: Vec<&str> = allowed.iter().map(|text| text.as_str().unwrap()).collect();
    let allowed = licensees(&allowed);
    for platform in platforms(&rules) {
        let metadata = metadata(platform);
        let refused: Vec<String> = packages(&metadata)
            .values()
            .filter_map(|package| {
                let expression = package["license"].as_str().unwrap_or("none");
                unmet(expression, &allowed).map(|why| format!("{}: {why}", name(package)))
            })
            .collect();
        assert!(refused.is_empty(), "{platform}: {refused:#?}");
    }
}

#[test]
fn a_licence_that_is_not_allowed_is_found_however_it_is_combined() {
    let allowed = licensees(&["MIT", "Apache-2.0 WITH LLVM-exception"]);
    for met in ["MIT", "GPL-3.0-only OR MIT", "MIT/Apache-2.0", "MIT AND Apache-2.0 WITH LLVM-exception"] {
        assert_eq!(unmet(met, &allowed), None, "{met}");
    }
    for refused in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "Apache-2.0", "none", ""] {
        assert!(unmet(refused, &allowed).is_some(), "{refused}");
    }
}

#[test]
fn every_package_is_of_this_tree_or_of_the_registry_and_has_its_checksum() {
    let rules = rules();
    assert_eq!(rules["sources"]["unknown-registry"].as_str(), Some("deny"));
    assert_eq!(rules["sources"]["unknown-git"].as_str(), Some("deny"));
    let lock: toml::Table =
        std::fs::read_to_string(repository().join("Cargo.lock")).unwrap().parse().unwrap();
    for package in lock["package"].as_array().unwrap() {
        let source = package.get("source").and_then(toml::Value::as_str);
        let checksum = package.get("checksum").and_then(toml::Value::as_str);
        match source {
            None => {
                assert!(repository().join(package["name"].as_str().unwrap()).is_dir() || is_member(package))
            }
            Some(source) => {
                assert_eq!(source, REGISTRY, "{package}");
                assert!(checksum.is_some_and(|checksum| checksum.len() == 64), "{package}");
            }
        }
    }
}

/// Members whose folder has another name than their package.
fn is_member(package: &toml::Value) -> bool {
    package["name"].as_str() == Some("license-gateway") && repository().join("gateway").is_dir()
}

#[test]
fn what_is_banned_is_linked_by_those_only_that_may() {
    let rules = rules();
    let bans = rules["bans"]["deny"].as_array().unwrap();
    assert!(!bans.is_empty());
    for platform in platforms(&rules) {
        let metadata = metadata(platform);
        let packages = packages(&metadata);
        for ban in bans {
            let (banned, text) =
                (ban["name"].as_str().unwrap(), |value: &toml::Value| value.as_str().unwrap().to_owned());
            let wrappers: Vec<String> =
                ban.get("wrappers").and_then(toml::Value::as_array).into_iter().flatten().map(text).collect();
            assert!(ban.get("reason").is_some(), "{banned} is banned without a reason");
            for node in metadata["resolve"]["nodes"].as_array().unwrap() {
                let by = name(packages[node["id"].as_str().unwrap()]);
                let links = node["deps"].as_array().unwrap().iter();
                let links_it =
                    links.map(|dep| name(packages[dep["pkg"].as_str().unwrap()])).any(|to| to == banned);
                assert!(!links_it || wrappers.iter().any(|wrapper| wrapper == by), "{by} links {banned}");
            }
        }
    }
}

#[test]
fn every_version_is_said_and_every_exception_has_a_reason() {
    let metadata = metadata("x86_64-unknown-linux-gnu");
    for package in packages(&metadata).values().filter(|package| package["source"].is_null()) {
        for dependency in package["dependencies"].as_array().unwrap() {
            let any = dependency["req"] == "*" && dependency["path"].is_null();
            assert!(!any, "{} takes any version of {}", name(package), name(dependency));
        }
    }
    for exception in rules()["advisories"]["ignore"].as_array().unwrap() {
        let said = |field: &str| {
            exception.get(field).and_then(toml::Value::as_str).is_some_and(|text| !text.is_empty())
        };
        assert!(said("id") && said("reason"), "{exception}");
    }
}
