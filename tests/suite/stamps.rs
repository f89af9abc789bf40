//! Stamped documents. PDFs: signed with the site's keys and judged by it; made and tampered with by others and judged as they do.

use std::process::Command;

use serde_json::{Value, json};
use tests::{Ran, Scratch, base64, gateway, repository, shared};

use crate::pdf::{Maker, ROOT, base, fill, placeholder, text_field};

fn judge(document: &[u8]) -> Value {
    let body = json!({"document": base64(document)});
    shared().site.app().post("/v1/stamps:verify", &body).expect(200).json()
}

/// The document with a signature by a key of the site.
fn signed(document: &[u8], field: u32, fields: &[u32], key: &str, algorithm: &str) -> Vec<u8> {
    let form = if algorithm == "sm2-sm3" { "/SubFilter /adbe.pkcs7.detached" } else { "" };
    let prepared = placeholder(Maker::update(document), field, fields, form, "").table(ROOT);
    fill(prepared, |content| {
        let body = json!({
            "key": key, "algorithm": algorithm, "input": {"data": base64(content)}, "format": "cms", "detached": true,
        });
        shared().site.app().post("/v1/signatures", &body).expect(201).bytes("signature")
    })
}

#[test]
fn signatures_of_the_sites_keys_are_valid_until_the_document_changes() {
    let first = base().table(ROOT);
    assert_eq!(judge(&first)["verdict"], "unsigned");
    let one = signed(&first, 30, &[30], "demo-sm2", "sm2-sm3");
    let both = signed(&one, 40, &[30, 40], "demo-p256", "ecdsa-p256-sha256");
    let answer = judge(&both);
    assert_eq!(answer["verdict"], "valid", "{answer:#}");
    assert_eq!((&answer["format"], &answer["revisions"]), (&json!("pdf"), &json!(3)));
    let [sm2, p256] = answer["signatures"].as_array().unwrap().as_slice() else { panic!("{answer:#}") };
    assert_eq!(sm2["coverage"], json!({"revision": 2, "octets": one.len() - 1, "whole_document": false}));
    assert_eq!(sm2["signers"][0]["algorithm"], "sm2-sm3");
    assert!(sm2["changes"].as_array().unwrap().iter().all(|change| change["permitted"] == true), "{sm2:#}");
    assert_eq!(p256["coverage"]["whole_document"], true);
    assert_eq!(p256["field"], "signature 40");

    let evil = Maker::update(&both).stream(4, "", b"BT (Evil) Tj ET").table(ROOT);
    let answer = judge(&evil);
    assert_eq!(answer["verdict"], "invalid");
    for signature in answer["signatures"].as_array().unwrap() {
        assert_eq!(signature["verdict"], "invalid");
        assert!(signature["findings"].to_string().contains("content_changed"), "{signature:#}");
    }
    let filled = Maker::update(&both).object(21, text_field("(Shanghai)")).table(ROOT);
    assert_eq!(judge(&filled)["verdict"], "valid");
}

#[test]
fn documents_of_several_mebibytes_come_in_one_body() {
    let padding: Vec<u8> = (0..9 << 20).map(|octet: u32| (octet % 251) as u8).collect();
    let large = base().stream(60, "", &padding).table(ROOT);
    let answer = judge(&signed_large(&large));
    // The content is too large to be signed over HTTP in one body: only the judgement is of interest here.
    assert_eq!(answer["verdict"], "invalid", "{answer:#}");
    assert!(answer["findings"].to_string().contains("malformed"), "{answer:#}");
    let many = json!({"document": base64(&vec![b' '; (16 << 20) + 1]), "format": "pdf"});
    let refused = shared().site.app().post("/v1/stamps:verify", &many).expect(422).json();
    assert_eq!(refused["code"], "document_too_large", "{refused}");
}

/// Where the octets of a packed part begin, by the local header in front of them.
fn packed(archive: &[u8], name: &str) -> usize {
    let number = |at: usize| usize::from(u16::from_le_bytes([archive[at], archive[at + 1]]));
    let headers = (0..archive.len()).filter(|at| archive[*at..].starts_with(b"PK\x03\x04"));
    let mut named = headers.map(|at| (at, &archive[at + 30..at + 30 + number(at + 26)]));
    let (at, found) = named.find(|(_, found)| found.ends_with(name.as_bytes())).unwrap();
    at + 30 + found.len() + number(at + 28)
}

#[test]
fn sealed_ofd_packages_are_judged_and_altered_ones_found_out() {
    let ofd = std::fs::read(shared().site.data().join("pki/documents/edition.ofd")).unwrap();
    let answer = judge(&ofd);
    assert_eq!((&answer["verdict"], &answer["format"]), (&json!("valid"), &json!("ofd")), "{answer:#}");
    assert_eq!((&answer["documents"], &answer["pages"]), (&json!(1), &json!(1)));
    let signature = &answer["signatures"][0];
    assert_eq!((&signature["kind"], &signature["uncovered"]), (&json!("seal"), &json!([])), "{answer:#}");
    assert_eq!(signature["signers"][0]["algorithm"], "sm2-sm3");
    assert!(signature["seal"]["name"].as_str().unwrap().contains("TEST ONLY"), "{answer:#}");

    // An octet of a packed part: the archive's own checksum does not fit any more.
    let mut altered = ofd.clone();
    let place = packed(&altered, "Content.xml");
    altered[place + 10] ^= 1;
    assert_eq!(judge(&altered)["verdict"], "invalid");
    let answer = judge(&ofd[..ofd.len() / 2]);
    assert_eq!(
        (&answer["verdict"], &answer["findings"][0]["code"]),
        (&json!("invalid"), &json!("malformed"))
    );
    // As what the caller says it is, whatever it looks like.
    let body = json!({"document": base64(&ofd), "format": "pdf"});
    let answer = shared().site.app().post("/v1/stamps:verify", &body).expect(200).json();
    assert_eq!((&answer["verdict"], &answer["format"]), (&json!("invalid"), &json!("pdf")));
}

fn signed_large(document: &[u8]) -> Vec<u8> {
    fill(placeholder(Maker::update(document), 30, &[30], "", "").table(ROOT), |_| vec![0x30, 0x00])
}

#[test]
fn documents_that_cannot_be_read_are_verdicts_and_what_is_none_is_a_fault() {
    let good = base().table(ROOT);
    let encrypted = base().table("/Root 1 0 R /Encrypt << /Filter /Standard >>");
    for (document, verdict, code) in [
        (&encrypted[..], "indeterminate", "encrypted"),
        (&good[..good.len() - 40], "invalid", "malformed"),
        (b"%PDF-1.7\n", "invalid", "malformed"),
    ] {
        let answer = judge(document);
        assert_eq!(answer["verdict"], verdict, "{answer:#}");
        assert_eq!(answer["findings"][0]["code"], code);
        assert_eq!(answer["signatures"], json!([]));
    }
    let site = &shared().site;
    for (body, code, field) in [
        (json!({}), "missing_field", "document"),
        (json!({"document": 5}), "invalid_type", "document"),
        (json!({"document": "***"}), "invalid_base64", "document"),
        (json!({"document": ""}), "document_not_recognised", "document"),
        (json!({"document": base64(b"hello")}), "document_not_recognised", "document"),
        (json!({"document": base64(&good), "format": "docx"}), "invalid_value", "format"),
        (json!({"document": base64(&good), "at": "yesterday"}), "invalid_time", "at"),
        (json!({"document": base64(&good), "colour": "red"}), "unknown_field", "colour"),
    ] {
        let problem = site.app().post("/v1/stamps:verify", &body).expect(422).json();
        assert_eq!(
            (&problem["code"], &problem["errors"][0]["field"]),
            (&json!(code), &json!(field)),
            "{problem}"
        );
    }
    let body = json!({"document": base64(&good)});
    assert_eq!(
        site.app_number(2).post("/v1/stamps:verify", &body).expect(403).json()["code"],
        "scope_missing"
    );
}

/// What three judges make of a PDF that pyHanko made.
struct Row<'t> {
    name: &'t str,
    ours: &'t str,
    pyhanko: &'t str,
    pdfsig: &'t str,
}

fn table() -> Vec<Row<'static>> {
    let rows = include_str!("pdf_verdicts.md").lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`')).skip(1);
        let mut cell = || cells.next().unwrap();
        Row { name: cell(), ours: cell(), pyhanko: cell(), pdfsig: cell() }
    })
    .collect()
}

/// poppler's word: every signature valid and trusted, or not. It does not look at what came later.
fn pdfsig(scratch: &Scratch, file: &str) -> &'static str {
    let mut command = Command::new("pdfsig");
    let text = Ran::of(command.args(["-nssdir", "sql:nss", file]).current_dir(scratch.path())).text;
    let count = |wanted: &str| text.matches(wanted).count();
    match count("Signature Validation:") {
        0 => "unsigned",
        all if all == count("Signature is Valid.") => "valid",
        _ => "invalid",
    }
}

#[test]
fn pyhanko_and_pdfsig_agree_but_where_it_is_explained() {
    let scratch = Scratch::new();
    let python = repository().join("target/venv/bin/python");
    let mut make = Command::new(python);
    make.arg(repository().join("tests/make_pdfs.py")).arg(scratch.path()).env("PYTHONWARNINGS", "ignore");
    let made = Ran::of(&mut make).expect("pyHanko makes and judges");
    let theirs = String::from_utf8(made.stdout).unwrap();
    let in_folder = |program: &str, arguments: &[&str]| {
        Ran::of(Command::new(program).args(arguments).current_dir(scratch.path())).expect(program)
    };
    std::fs::create_dir(scratch.path().join("nss")).unwrap();
    in_folder("certutil", &["-N", "-d", "sql:nss", "--empty-password"]);
    in_folder("certutil", &["-A", "-d", "sql:nss", "-n", "ca", "-t", "CT,C,C", "-i", "root.pem"]);
    let rows = table();
    assert_eq!(theirs.lines().count(), rows.len(), "{theirs}");
    for line in theirs.lines() {
        let (name, pyhanko) = line.split_once(' ').unwrap();
        let row = rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row for {name}"));
        let file = format!("{name}.pdf");
        let mut ours = Command::new(gateway());
        ours.args(["verify", "--json", "--trust", "root.pem", &file]).current_dir(scratch.path());
        let ran = Ran::of(&mut ours);
        let ours: Value =
            serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.text));
        assert_eq!(ours["type"], "pdf");
        let found = [ours["verdict"].as_str().unwrap(), pyhanko, pdfsig(&scratch, &file)];
        assert_eq!(found, [row.ours, row.pyhanko, row.pdfsig], "{name}: {ours:#}");
        assert_eq!(ran.ok, row.ours == "valid", "{name}: the exit code");
    }
}
