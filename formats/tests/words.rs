//! Every code that a finding can have is said in words, in both languages, once.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use formats::words::{FINDINGS, finding};

/// The sources below a folder, without their tests: what those say of findings does not count.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&entry).unwrap();
            found.push(text.split("#[cfg(test)]").next().unwrap_or_default().to_owned());
        }
    }
}

/// The literal that follows a text, blanks apart.
fn literals<'t>(text: &'t str, before: &'t str) -> impl Iterator<Item = &'t str> {
    text.match_indices(before).filter_map(move |(place, _)| {
        let behind = text[place + before.len()..].trim_start().strip_prefix('"')?;
        behind.split('"').next()
    })
}

/// What stands in the source as the code of a finding: in calls, in structures, and in functions that choose one.
fn codes_in_sources() -> BTreeSet<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut pure, mut others) = (Vec::new(), Vec::new());
    sources(&root.join("formats/src"), &mut pure);
    for folder in ["verify-front/src", "signing/src", "gateway/src/offline"] {
        sources(&root.join(folder), &mut others);
    }
    let mut codes = BTreeSet::new();
    for text in
        pure.iter().chain(&others).filter(|text| text.contains("Judgement") || text.contains("Finding"))
    {
        for call in [".invalid(", ".indeterminate(", ".note(", ".unsigned(", "::note(", "::indeterminate("] {
            codes.extend(literals(text, call).map(str::to_owned));
        }
    }
    // Elsewhere such functions give the codes of errors.
    for body in pure
        .iter()
        .flat_map(|text| ["fn error_code(", "fn code("].map(|name| text.split(name).skip(1)))
        .flatten()
    {
        let end = body.find("\n    }\n").into_iter().chain(body.find("\n}\n")).min();
        codes.extend(literals(&body[..end.unwrap_or(0)], "=>").map(str::to_owned));
    }
    codes
}

#[test]
fn every_code_in_the_sources_has_words_in_both_languages() {
    let codes = codes_in_sources();
    assert!(codes.len() > 60, "{}: {codes:?}", codes.len());
    let without: Vec<_> = codes.iter().filter(|code| finding(code).is_none()).collect();
    assert!(without.is_empty(), "say them in formats/src/words.rs: {without:?}");
}

#[test]
fn every_code_in_the_documents_has_words_in_both_languages() {
    let document = include_str!("../../docs/integration.md");
    let findings = document.split("## Findings").nth(1).expect("a chapter on findings");
    let rows = findings.lines().filter(|line| line.starts_with("| `"));
    let first = rows.map(|row| row.split('|').nth(1).unwrap_or_default());
    let codes: Vec<&str> = first.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(codes.len() > 30, "{}", codes.len());
    for code in codes {
        assert!(finding(code).is_some(), "{code} has no words");
    }
}

#[test]
fn no_code_has_words_twice_and_none_is_silent() {
    for (place, (code, words)) in FINDINGS.iter().enumerate() {
        assert!(!FINDINGS[..place].iter().any(|(earlier, _)| earlier == code), "{code}");
        assert!(!words.zh.is_ascii() && words.en.is_ascii() && words.en.len() > 3, "{code}: {words:?}");
    }
}
