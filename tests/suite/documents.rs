//! The documents' examples do what the documents say.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use tests::{Ran, Scratch, Site, gateway, repository, shared};

/// What goes before the examples of a document: curl fails where the server refuses, so an example that no longer
/// works ends the script.
const PRELUDE: &str = "set -eu\ncurl() { command curl --fail-with-body -sS \"$@\"; }\n";

/// The examples of a Markdown file: blocks fenced as ```sh that call the gateway, by curl or by the function that the
/// documents make of it, or judge what it answered.
fn examples(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in markdown.lines() {
        match (&mut open, line.trim_end()) {
            (None, "```sh") => open = Some(String::new()),
            (Some(_), "```") => found.extend(open.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    found.retain(|block| ["curl ", "call ", "openssl "].iter().any(|word| block.contains(word)));
    found
}

/// A shell in the scratch folder that knows the site as the documents name it.
#[expect(
    clippy::disallowed_methods,
    reason = "the command that was built is found beside those of the system"
)]
fn shell(site: &Site, scratch: &Scratch) -> Command {
    let mut shell = Command::new("sh");
    let (own, known) = (gateway(), std::env::var("PATH").unwrap_or_default());
    let folder = own.parent().unwrap_or(Path::new("/")).display();
    shell
        .env("PATH", format!("{folder}:{known}"))
        .current_dir(scratch.path())
        .env("BASE", site.base())
        .env("TLS", site.tls())
        .env("KEY", site.sandbox()["apps"][0]["api_key"].as_str().unwrap())
        .env("CA", site.ca_file())
        .env("DATA", site.data());
    shell
}

/// Runs the examples of a document in their order, in one shell: later ones use what earlier ones made.
fn run(document: &Path) {
    let text =
        std::fs::read_to_string(document).unwrap_or_else(|error| panic!("{}: {error}", document.display()));
    let examples = examples(&text);
    assert!(!examples.is_empty(), "{} has no examples", document.display());
    let scratch = Scratch::new();
    let script = format!("{PRELUDE}set -x\n{}", examples.join("\n"));
    let mut shell = shell(&shared().site, &scratch);
    Ran::of(shell.arg("-c").arg(script)).expect(&document.display().to_string());
}

#[test]
fn the_examples_of_the_readme_work() {
    run(&repository().join("README.md"));
}

#[test]
fn the_examples_of_the_chinese_readme_work() {
    run(&repository().join("README.zh-CN.md"));
}

#[test]
fn the_examples_of_every_document_in_docs_work() {
    let mut folders = vec![repository().join("docs")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md")
                && !examples(&std::fs::read_to_string(&path).unwrap()).is_empty()
            {
                run(&path);
            }
        }
    }
}

#[test]
fn make_try_finds_everything_as_expected() {
    let site = &shared().site;
    let scratch = Scratch::new();
    let script = repository().join("tests/try.sh");
    Ran::of(shell(site, &scratch).arg(script)).expect("tests/try.sh");
}

#[test]
fn make_try_notices_a_gateway_that_is_not_there() {
    let scratch = Scratch::new();
    let script = repository().join("tests/try.sh");
    let mut shell = shell(&shared().site, &scratch);
    let ran = Ran::of(shell.arg(script).env("BASE", "http://127.0.0.1:9"));
    assert!(!ran.ok, "{}", ran.text);
}

/// The words of code's form that stand between two marks.
fn words(text: &str, mark: char) -> BTreeSet<String> {
    let word = |part: &&str| {
        part.starts_with(|first: char| first.is_ascii_lowercase())
            && part.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    text.split(mark).skip(1).step_by(2).filter(word).map(str::to_owned).collect()
}

/// A source file without its tests.
fn source(path: &str) -> String {
    let text = std::fs::read_to_string(repository().join(path)).unwrap();
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

/// What stands between two texts; all of the rest if the second does not come.
fn part<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    let from = text.find(begin).unwrap_or_else(|| panic!("no {begin:?}"));
    let rest = &text[from + begin.len()..];
    &rest[..rest.find(end).unwrap_or(rest.len())]
}

/// A module of the gateway: its file, and those of its folder.
fn sources(module: &str) -> Vec<String> {
    let folder = repository().join("gateway/src").join(module);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let files = files.map(|name| format!("gateway/src/{module}/{}", name.into_string().unwrap()));
    std::iter::once(format!("gateway/src/{module}.rs")).chain(files).map(|path| source(&path)).collect()
}

#[test]
fn every_code_of_a_problem_is_in_the_reference_and_no_other() {
    let operations = std::fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let table = part(&operations, "\n### Codes", "\n## ");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let told: BTreeSet<String> = rows.flat_map(|row| words(row.split(" | ").next().unwrap(), '`')).collect();

    let problems = sources("problem");
    let mut given: BTreeSet<String> = problems.iter().flat_map(|text| words(text, '"')).collect();
    // Fields, and codes of fields and of findings, are told elsewhere.
    const ELSEWHERE: [&str; 14] = [
        "digest_signature",
        "header_repeated",
        "invalid_query",
        "missing_field",
        "not_yet_valid",
        "oidc_logins",
        "oidc_pushed",
        "oidc_secrets",
        "query_certificates",
        "scan_sessions",
        "signer_id",
        "template_version",
        "unexpected_field",
        "valid_until",
    ];
    given.retain(|word| word.contains('_') && !ELSEWHERE.contains(&word.as_str()));
    given.extend(["overloaded", "replay"].map(str::to_owned));
    for file in ["signing/src/error.rs", "signing/src/timestamps/mod.rs", "gateway/src/reload.rs"] {
        given.extend(words(part(&source(file), "fn code(&self)", "\n    }\n"), '"'));
    }
    given.extend(words(part(&source("signing/src/policy.rs"), "fn code(self)", "\n    }\n"), '"'));
    given.extend(words(part(&source("store/src/mandates.rs"), "fn code(&self)", "\n    }\n"), '"'));
    assert!(given.len() > 60, "the codes are still where this test looks: {given:?}");
    let missing: Vec<_> = given.difference(&told).collect();
    assert!(missing.is_empty(), "docs/operations.md, Codes, lacks {missing:?}");
    let stale: Vec<_> = told.difference(&given).collect();
    assert!(stale.is_empty(), "docs/operations.md, Codes, has {stale:?}, which nothing gives");
}

#[test]
fn every_metric_is_described_once() {
    let metrics = shared().site.stranger(None).get("/metrics").expect(200).text();
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# HELP license_gateway_"));
    let exposed: BTreeSet<_> = names.map(|line| line.split(' ').next().unwrap()).collect();
    assert!(exposed.len() > 20, "{metrics}");
    let operations = std::fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let table = part(&operations, "\n## Metrics", "\n## ");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let told: Vec<String> = rows.flat_map(|row| words(row.split(" | ").next().unwrap(), '`')).collect();
    for name in &exposed {
        let described = told.iter().filter(|told| told.strip_suffix("_total").unwrap_or(told) == *name);
        assert_eq!(described.count(), 1, "{name} in the table of metrics: {told:?}");
    }
    // One that has no sample yet is not exposed.
    let source = sources("metrics").concat();
    let stale: Vec<_> = told
        .iter()
        .filter(|name| !source.contains(&format!("\"{}\"", name.strip_suffix("_total").unwrap_or(name))))
        .collect();
    assert!(stale.is_empty(), "docs/operations.md, Metrics, has {stale:?}, which nothing counts");
}

#[test]
fn sh_blocks_with_curl_call_or_openssl_are_examples_and_no_others() {
    let markdown = "```sh\nmake run\n```\n```sh\ncurl a\ncurl b\n```\n```json\n{\"curl\": 1}\n```\n```sh\nopenssl c\n```\n```sh\nX=1\ncall d | sed e\n```\n";
    let found = ["curl a\ncurl b\n", "openssl c\n", "X=1\ncall d | sed e\n"];
    assert_eq!(examples(markdown), found);
}
