//! The files of licenses (公示版): taken in from folders, given out octet for octet.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sm3::{Digest, Sm3};
use tests::{Folder, Ran, Scratch, Signer, Site, eventually, gateway, shared};

const MEBIBYTE: usize = 1 << 20;

fn sql(data: &Path, statement: &str) {
    let mut sqlite = Command::new("sqlite3");
    // A gateway may be writing.
    sqlite.args(["-cmd", ".timeout 60000"]).arg(data.join("gateway.db")).arg(statement);
    Ran::of(&mut sqlite).expect(statement);
}

/// A license file of the sandbox, and whose it is.
fn sample(data: &Path, name: &str) -> (String, Vec<u8>) {
    let pki = data.join("pki");
    let manifest: Value = serde_json::from_slice(&std::fs::read(pki.join("manifest.json")).unwrap()).unwrap();
    let path = format!("documents/{name}");
    let listed = manifest["license_files"].as_array().unwrap().iter().find(|file| file["file"] == *path);
    let uscc = listed.unwrap_or_else(|| panic!("no {name}"))["uscc"].as_str().unwrap().to_owned();
    (uscc, std::fs::read(pki.join(path)).unwrap())
}

fn kept(data: &Path, digest: &str) -> PathBuf {
    data.join("license-files").join(&digest[..2]).join(&digest[2..4]).join(digest)
}

/// A sandbox whose library holds no files, and a folder with some.
struct Desk {
    folder: Folder,
    files: Scratch,
}

impl Desk {
    fn empty() -> Self {
        let folder = Folder::init();
        sql(&folder.data(), "DELETE FROM license_files");
        std::fs::remove_dir_all(folder.data().join("license-files")).unwrap();
        let files = Scratch::new();
        std::fs::create_dir_all(files.path().join("in/sub")).unwrap();
        Self { folder, files }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(gateway());
        command.arg("library").args(arguments).arg("--config").arg(self.folder.config()).arg("--json");
        command.stdin(Stdio::null());
        command
    }

    /// Runs `license-gateway library ARGUMENTS`, which must end with this code.
    #[track_caller]
    fn run(&self, arguments: &[&str], code: i32) -> (Value, String) {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        (serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
    }

    /// The folder that is taken in.
    fn path(&self) -> String {
        self.files.path().join("in").display().to_string()
    }

    fn write(&self, name: &str, octets: impl AsRef<[u8]>) {
        self.files.write(&format!("in/{name}"), octets);
    }

    fn manifest(&self, lines: &[(&str, &str, &str)]) -> String {
        let line = |(uscc, kind, path): &(&str, &str, &str)| {
            format!("{}\n", json!({"uscc": uscc, "kind": kind, "path": path}))
        };
        let text: String = lines.iter().map(line).collect();
        let file = self.folder.data().join("manifest.jsonl");
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    fn shown(&self, uscc: &str) -> Vec<Value> {
        self.run(&["show", uscc], 0).0["files"].as_array().unwrap().clone()
    }
}

fn problems(told: &Value) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(told["problems"].as_str().unwrap()).unwrap();
    let problem = |line: &str| {
        let told: Value = serde_json::from_str(line).unwrap();
        (told["file"].as_str().unwrap().to_owned(), told["code"].as_str().unwrap().to_owned())
    };
    text.lines().map(problem).collect()
}

fn counts(told: &Value) -> [u64; 4] {
    ["added", "known", "restored", "refused"].map(|member| told[member].as_u64().unwrap())
}

#[test]
fn a_folder_is_taken_in_and_given_out_octet_for_octet() {
    let desk = Desk::empty();
    let (uscc, ofd) = sample(&desk.folder.data(), "license-good.ofd");
    let (_, pdf) = sample(&desk.folder.data(), "license-good.pdf");
    desk.write(&format!("{uscc}.ofd"), &ofd);
    desk.write(&format!("sub/{uscc}.PDF"), &pdf);
    desk.write("91610102MA0000015M.ofd", &ofd);
    desk.write("readme.txt", "x");
    desk.write(".hidden", "x");
    let (told, said) = desk.run(&["files", &desk.path()], 1);
    assert!(said.contains("2 files were kept out"), "{said}");
    assert_eq!(counts(&told), [2, 0, 0, 2], "{told}");
    let mut found = problems(&told);
    found.sort();
    let wanted = [("91610102MA0000015M.ofd", "license_unknown"), ("readme.txt", "name_not_understood")];
    assert_eq!(found, wanted.map(|(file, code)| (file.to_owned(), code.to_owned())));
    // What was lost on the disk comes back.
    let digest = hex::encode(Sm3::digest(&ofd));
    std::fs::remove_file(kept(&desk.folder.data(), &digest)).unwrap();
    assert_eq!(counts(&desk.run(&["files", &desk.path()], 1).0), [0, 2, 1, 2]);

    let site = desk.folder.serve();
    let files = format!("/v1/licenses/{uscc}/files");
    let listed = site.app().get(&files).expect(200).json();
    assert_eq!(listed["status"]["code"], 1, "{listed}");
    for (kind, octets) in [("ofd", &ofd), ("pdf", &pdf)] {
        let items = listed["items"].as_array().unwrap();
        let item = items.iter().find(|item| item["kind"] == kind).unwrap();
        let digest = hex::encode(Sm3::digest(octets));
        assert_eq!((&item["digest"], &item["octets"]), (&json!(digest), &json!(octets.len())), "{item}");
        assert_eq!(item["current"], true);
        let purpose = "?purpose=%E5%BC%80%E6%88%B7";
        let answer = site.app().get(&format!("{files}/{kind}{purpose}")).expect(200);
        assert!(answer.body == *octets, "{kind} comes as it is");
        assert_eq!(answer.header("etag"), item["etag"].as_str().unwrap());
        assert_eq!(answer.header("etag"), format!("\"{digest}\""));
        assert_eq!(answer.header("content-type"), format!("application/{kind}"));
        assert_eq!(answer.header("content-disposition"), format!("attachment; filename=\"{uscc}.{kind}\""));
        assert_eq!(answer.header("cache-control"), "private, no-cache");
        assert_eq!(answer.header("x-license-status"), "1");
        let records = site.audit();
        let id = answer.header("x-request-id");
        let record = records.iter().find(|record| record["request_id"] == id).unwrap();
        assert_eq!(record["action"], "license.file", "{record}");
        assert_eq!(record["actor"], "sandbox-registration", "{record}");
        assert_eq!(record["subject"], format!("{uscc} {kind} 开户"));
        assert_eq!((&record["outcome"], &record["result_digest"]), (&json!("ok"), &json!(digest)));
    }
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    for kind in ["ofd", "pdf"] {
        let counted = format!("license_gateway_license_files_total{{form=\"{kind}\",outcome=\"whole\"}} 1");
        assert!(metrics.contains(&counted), "{metrics}");
    }
}

#[test]
fn bad_files_are_told_by_name_and_reason_and_kept_out() {
    let desk = Desk::empty();
    let data = desk.folder.data();
    let (uscc, _) = sample(&data, "license-good.ofd");
    desk.run(&["export", "--out", data.join("all.jsonl").to_str().unwrap()], 0);
    let all = std::fs::read_to_string(data.join("all.jsonl")).unwrap();
    let of_another = all.lines().find(|line| !line.contains(&uscc)).unwrap();
    let another: Value = serde_json::from_str(of_another).unwrap();
    let another = another["uscc"].as_str().unwrap();
    // Before anything is known by its digest.
    let mut lines = vec![(another.to_owned(), "ofd", "copy.ofd".to_owned())];
    let mut wanted = vec![("copy.ofd".to_owned(), "other_entity".to_owned())];
    for kind in ["ofd", "pdf"] {
        for (defect, code) in [
            ("good", None),
            ("damaged", Some("malformed")),
            ("altered", Some(if kind == "ofd" { "ofd_part_altered" } else { "digest_mismatch" })),
            ("untrusted", Some("no_path")),
            ("certificate", Some("face_differs_from_certificate")),
            ("shown", Some("shown_text_differs")),
            // Of an earlier license of the same entity: it was its license.
            ("register", None),
        ] {
            let name = format!("license-{defect}.{kind}");
            desk.write(&name, sample(&data, &name).1);
            wanted.extend(code.map(|code| (name.clone(), code.to_owned())));
            lines.push((uscc.clone(), kind, name));
        }
    }
    for (uscc, kind, path, code) in [
        (another, "ofd", "license-good.ofd", "other_entity"),
        (uscc.as_str(), "pdf", "license-good.ofd", "other_entity"),
        (uscc.as_str(), "docx", "license-good.ofd", "invalid_value"),
        ("91610102MA0000015A", "ofd", "license-good.ofd", "uscc_invalid"),
        (uscc.as_str(), "ofd", "../gateway.toml", "path_outside"),
        (uscc.as_str(), "ofd", "/etc/passwd", "path_outside"),
        (uscc.as_str(), "ofd", "absent.ofd", "not_readable"),
        (uscc.as_str(), "ofd", "large.ofd", "file_too_large"),
        (uscc.as_str(), "ofd", "empty.ofd", "malformed"),
    ] {
        lines.push((uscc.to_owned(), kind, path.to_owned()));
        wanted.push((path.to_owned(), code.to_owned()));
    }
    desk.write("empty.ofd", "");
    std::fs::File::create(Path::new(&desk.path()).join("large.ofd"))
        .unwrap()
        .set_len((32 << 20) + 1)
        .unwrap();
    desk.write("copy.ofd", sample(&data, "license-register.ofd").1);
    let lines: Vec<_> =
        lines.iter().map(|(uscc, kind, path)| (uscc.as_str(), *kind, path.as_str())).collect();
    let manifest = desk.manifest(&lines);
    let (told, _) = desk.run(&["files", &desk.path(), "--manifest", &manifest], 1);
    assert_eq!(problems(&told), wanted);
    assert_eq!(counts(&told), [4, 0, 0, wanted.len() as u64], "{told}");
    assert_eq!(desk.shown(&uscc).len(), 4);
    assert_eq!(desk.shown(another).len(), 0);
}

#[test]
fn what_is_undecided_comes_in_where_that_is_asked_for() {
    let desk = Desk::empty();
    let (uscc, octets) = sample(&desk.folder.data(), "license-untrusted.ofd");
    desk.write(&format!("{uscc}.ofd"), octets);
    desk.run(&["files", &desk.path()], 1);
    let (told, _) = desk.run(&["files", &desk.path(), "--undecided"], 0);
    assert_eq!(counts(&told), [1, 0, 0, 0], "{told}");
}

#[test]
fn an_import_that_was_killed_is_made_again_and_does_what_is_left() {
    let desk = Desk::empty();
    let data = desk.folder.data();
    let (uscc, ofd) = sample(&data, "license-good.ofd");
    desk.write("a.ofd", ofd);
    desk.write("b.pdf", sample(&data, "license-good.pdf").1);
    let mut count = 2_000;
    // On a machine so fast that it is done before it is killed there is more to do.
    let manifest = loop {
        let mut lines = vec![(uscc.as_str(), "ofd", "a.ofd"); count];
        lines.push((uscc.as_str(), "pdf", "b.pdf"));
        let manifest = desk.manifest(&lines);
        let mut child = desk.command(&["files", &desk.path(), "--manifest", &manifest]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while desk.shown(&uscc).is_empty() && child.try_wait().unwrap().is_none() {}
        let _ = child.kill();
        if child.wait().unwrap().signal().is_some() && desk.shown(&uscc).len() == 1 {
            break manifest;
        }
        count *= 4;
        sql(&data, "DELETE FROM license_files");
    };
    let (told, _) = desk.run(&["files", &desk.path(), "--manifest", &manifest], 0);
    assert_eq!(counts(&told), [1, count as u64, 0, 0], "{told}");
    let mut kinds: Vec<_> = desk.shown(&uscc).iter().map(|file| file["kind"].to_string()).collect();
    kinds.sort();
    assert_eq!(kinds, ["\"ofd\"", "\"pdf\""]);
}

#[test]
fn what_a_caller_has_is_not_sent_again_and_ranges_are_sent_alone() {
    let app = shared().site.app();
    let (uscc, ofd) = sample(&shared().site.data(), "license-good.ofd");
    let path = format!("/v1/licenses/{uscc}/files/ofd");
    let get = |headers: &[(&str, &str)]| app.send("GET", &path, headers, None);
    let tag = get(&[]).expect(200).header("etag").to_owned();
    for known in [tag.as_str(), "*", &format!("\"x\", W/{tag}")] {
        let answer = get(&[("if-none-match", known), ("range", "bytes=0-0")]).expect(304);
        assert!(answer.body.is_empty());
        assert_eq!(answer.header("etag"), tag);
    }
    get(&[("if-none-match", "\"x\"")]).expect(200);

    let length = ofd.len();
    for (range, start, end) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=0-99".to_owned(), 0, 100),
        (format!("bytes={}-", length - 1), length - 1, length),
        (format!("bytes=100-{}", length * 2), 100, length),
        ("bytes=-100".to_owned(), length - 100, length),
        (format!("bytes=-{}", length * 2), 0, length),
    ] {
        let answer = get(&[("range", &range), ("if-range", &tag)]).expect(206);
        assert!(answer.body == ofd[start..end], "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {start}-{}/{length}", end - 1));
        assert_eq!(answer.header("content-length"), (end - start).to_string());
        assert_eq!(answer.header("etag"), tag);
    }
    for headers in [
        &[("range", "bytes=0-0,5-9")][..],
        &[("range", "bytes=9-0")],
        &[("range", "pages=1-2")],
        &[("range", "bytes=0-0"), ("if-range", "\"x\"")],
        &[("range", "bytes=0-0"), ("if-range", "Wed, 21 Oct 2015 07:28:00 GMT")],
    ] {
        assert!(get(headers).expect(200).body == ofd, "{headers:?}");
    }
    for range in [format!("bytes={length}-"), "bytes=-0".to_owned()] {
        let refused = get(&[("range", &range)]).expect(416);
        assert_eq!(refused.json()["code"], "range_not_satisfiable");
        assert_eq!(refused.header("content-range"), format!("bytes */{length}"));
    }

    let head = app.send("HEAD", &path, &[], None).expect(200);
    assert!(head.body.is_empty());
    for (name, value) in [
        ("etag", tag.clone()),
        ("content-length", length.to_string()),
        ("content-type", "application/ofd".to_owned()),
        ("accept-ranges", "bytes".to_owned()),
    ] {
        assert_eq!(head.header(name), value);
    }
    app.send("HEAD", &path, &[("if-none-match", &tag)], None).expect(304);
}

#[test]
fn a_file_takes_a_scope_a_grant_and_a_license_that_has_not_ended() {
    let site = Site::start();
    let (uscc, ofd) = sample(&site.data(), "license-good.ofd");
    let path = format!("/v1/licenses/{uscc}/files/ofd");
    let list = format!("/v1/licenses/{uscc}/files");
    for path in [&path, &list] {
        assert_eq!(site.app_number(2).get(path).expect(403).json()["code"], "scope_missing");
        assert_eq!(site.app_number(1).get(path).expect(403).json()["code"], "field_not_granted");
    }
    let code = |path: &str, status: u16| site.app().get(path).expect(status).json()["code"].clone();
    assert_eq!(code("/v1/licenses/91440300708461136T/files/ofd", 404), "license_unknown");
    assert_eq!(code("/v1/licenses/91440300708461163T/files/ofd", 422), "uscc_invalid");
    assert_eq!(code(&format!("{list}/docx"), 422), "invalid_value");
    assert_eq!(code(&format!("{path}?digest=aa"), 422), "invalid_value");
    assert_eq!(code(&format!("{path}?purpose=%20"), 422), "invalid_value");
    let unknown = format!("{path}?digest={}", "0".repeat(64));
    assert_eq!(code(&unknown, 404), "license_file_unknown");

    for (status, word) in [(2, None), (4, Some("license_ended"))] {
        sql(&site.data(), &format!("UPDATE entities SET status = {status} WHERE uscc = '{uscc}'"));
        match word {
            None => {
                let answer = site.app().get(&path).expect(200);
                assert_eq!(answer.header("x-license-status"), "2");
            }
            Some(word) => {
                assert_eq!(code(&path, 403), word);
                assert_eq!(code(&list, 403), word);
            }
        }
    }
    let create = ["create", "archive", "--name", "档案", "--scope", "licenses"];
    let grants = ["--field", "license_file", "--field", "license_file_archive", "--reason", "test"];
    site.app_command(&[create.as_slice(), grants.as_slice()].concat());
    let archive = Signer::new("archive", "p256");
    archive.enter(&site);
    let answer = archive.request("GET", &path, b"").send(&site).expect(200);
    assert!(answer.body == ofd);
    assert_eq!(answer.header("x-license-status"), "4");
    let records = site.audit().into_iter().filter(|record| record["action"] == "license.file");
    let outcomes: Vec<_> = records.map(|record| record["outcome"].as_str().unwrap().to_owned()).collect();
    assert_eq!(outcomes, ["license_unknown", "license_file_unknown", "ok", "license_ended", "ok"]);

    site.configure(&[("[fleet]", "[library]\nrequire_purpose = true\n[fleet]")]);
    eventually("the new configuration is in force", Duration::from_secs(60), || {
        site.command(&["reload"]);
        (archive.request("GET", &path, b"").send(&site).status == 422).then_some(())
    });
    archive.request("GET", &format!("{path}?purpose=archive"), b"").send(&site).expect(200);
}

#[test]
fn a_newer_file_takes_the_place_of_an_older_one_until_it_is_removed() {
    let desk = Desk::empty();
    let data = desk.folder.data();
    let (uscc, older) = sample(&data, "license-register.ofd");
    let (_, newer) = sample(&data, "license-good.ofd");
    desk.write("older.ofd", &older);
    desk.write("newer.ofd", &newer);
    let manifest = desk.manifest(&[(&uscc, "ofd", "older.ofd"), (&uscc, "ofd", "newer.ofd")]);
    desk.run(&["files", &desk.path(), "--manifest", &manifest], 0);
    let site = desk.folder.serve();
    let path = format!("/v1/licenses/{uscc}/files/ofd");
    let [old, new] = [&older, &newer].map(|octets| hex::encode(Sm3::digest(octets)));
    assert!(site.app().get(&path).expect(200).body == newer);
    assert!(site.app().get(&format!("{path}?digest={old}")).expect(200).body == older);
    let remove = |digest: &str| {
        let mut command = Command::new(gateway());
        command.args(["library", "remove-file", digest, "--config"]).arg(site.config());
        Ran::of(&mut command).expect("library remove-file");
    };
    remove(&new);
    assert!(site.app().get(&path).expect(200).body == older);
    let gone = site.app().get(&format!("{path}?digest={new}")).expect(410).json();
    assert_eq!(gone["code"], "license_file_removed");
    remove(&old);
    assert_eq!(site.app().get(&path).expect(410).json()["code"], "license_file_removed");
    let listed = site.app().get(&format!("/v1/licenses/{uscc}/files")).expect(200).json();
    assert_eq!(listed["items"], json!([]));
}

#[test]
fn damaged_contents_are_an_error_and_never_other_octets() {
    let site = Site::start();
    let (uscc, ofd) = sample(&site.data(), "license-good.ofd");
    let path = format!("/v1/licenses/{uscc}/files/ofd");
    let file = kept(&site.data(), &hex::encode(Sm3::digest(&ofd)));
    let mut damaged = ofd.clone();
    damaged[ofd.len() / 2] ^= 1;
    for (what, octets) in [("changed", Some(&damaged[..])), ("cut off", Some(&ofd[1..])), ("gone", None)] {
        match octets {
            Some(octets) => std::fs::write(&file, octets).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        for headers in [&[][..], &[("range", "bytes=0-9")]] {
            let answer = site.app().send("GET", &path, headers, None).expect(500);
            assert_eq!(answer.json()["code"], "license_file_broken", "{what}");
        }
    }
    let told = || site.log().contains("license_file_broken").then_some(());
    eventually("the log tells", Duration::from_secs(60), told);
    let last = site.audit().into_iter().rfind(|record| record["action"] == "license.file").unwrap();
    assert_eq!(last["outcome"], "license_file_broken");

    // A large one leaves part by part, each of which was looked at.
    let large: Vec<u8> = (0..6 * MEBIBYTE + 5).map(|place| (place / 7 % 251) as u8).collect();
    let digest = hex::encode(Sm3::digest(&large));
    let parts: String = large.chunks(MEBIBYTE).map(|part| hex::encode(Sm3::digest(part))).collect();
    let row = format!("'{uscc}', 'ofd', '{digest}', {}, x'{parts}', 'large', 0", large.len());
    let columns = "uscc, kind, digest, octets, parts, source, added_at";
    sql(&site.data(), &format!("INSERT INTO license_files ({columns}) VALUES ({row})"));
    let file = kept(&site.data(), &digest);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, &large).unwrap();
    let range = |start: usize, end: usize| {
        let range = format!("bytes={start}-{}", end - 1);
        site.app().send("GET", &path, &[("range", &range)], None)
    };
    assert!(site.app().get(&path).expect(200).body == large);
    for (start, end) in [(MEBIBYTE - 1, MEBIBYTE + 1), (1, 6 * MEBIBYTE), (6 * MEBIBYTE, large.len())] {
        assert!(range(start, end).expect(206).body == large[start..end], "{start} {end}");
    }
    let mut damaged = large.clone();
    *damaged.last_mut().unwrap() ^= 1;
    std::fs::write(&file, damaged).unwrap();
    assert!(site.app().try_send("GET", &path, &[], None).is_err(), "it is cut off");
    assert!(range(0, 6 * MEBIBYTE).expect(206).body == large[..6 * MEBIBYTE]);
    assert_eq!(range(6 * MEBIBYTE, large.len()).expect(500).json()["code"], "license_file_broken");
}
