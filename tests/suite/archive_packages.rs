//! Archive packages (归档包): made of a stamp with its document, judged offline by roots alone when every certificate of its signers
//! has expired, and refused where the document is not the stamped one.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    Answer, Folder, Person, Ran, Scratch, Site, base64, eventually, gateway, now, repository, unbase64,
};

const SOON: Duration = Duration::from_secs(240);

fn pdf() -> Vec<u8> {
    std::fs::read(repository().join("formats/tests/pdfs/reportlab.pdf")).unwrap()
}

fn stamped(site: &Site, order: &Value) -> Value {
    site.app().post("/v1/stamps", order).expect(201).json()
}

fn pdf_order() -> Value {
    json!({"format": "pdf", "document": base64(&pdf()), "signer": {"key": "demo-p256"}})
}

fn path(stamp: &Value) -> String {
    format!("/v1/stamps/{}/archive", stamp["stamp_id"].as_str().unwrap())
}

/// The package, as soon as there is evidence.
#[track_caller]
fn archived(site: &Site, stamp: &Value, body: &Value) -> Answer {
    eventually("the package", SOON, || {
        let answer = site.app().post(&path(stamp), body);
        let waits = answer.status == 404 && answer.json()["code"] == "no_evidence";
        (!waits).then_some(answer)
    })
}

#[track_caller]
fn refused(answer: Answer, status: u16, code: &str) {
    assert_eq!(answer.expect(status).json()["code"], code);
}

/// What `verify` says of a file in a folder, by these roots alone.
fn offline(folder: &Scratch, roots: &[&Path], more: &[&str], file: &str) -> (Value, Option<i32>) {
    let mut ours = Command::new(gateway());
    ours.args(["verify", "--json"]);
    for root in roots {
        ours.arg("--trust").arg(root);
    }
    let ran = ours.args(more).arg(file).current_dir(folder.path()).output().unwrap();
    let said = serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    (said, ran.status.code())
}

fn codes(said: &Value) -> Vec<&str> {
    said["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

fn unzipped(scratch: &Scratch, zip: &[u8]) {
    let file = scratch.write("package.zip", zip);
    Ran::of(Command::new("unzip").args(["-q", "-o"]).arg(file).arg("-d").arg(scratch.path().join("out")))
        .expect("unzip reads it");
}

#[test]
fn a_package_is_verified_offline_when_its_signers_certificates_have_expired() {
    let folder = Folder::init();
    let made = now();
    // Certificates of the authority outside end later than those of the site.
    eventually("some seconds pass", SOON, || (now() > made + 3).then_some(()));
    let outside = Folder::init().serve();
    let outside_root = outside.data().join("pki/roots/p256.pem");
    folder.trust(std::slice::from_ref(&outside_root));
    let section = format!(
        "[timestamps.outside]\nurl = \"{}/tsa\"\nroots = [{outside_root:?}]\n\n[fleet]\n",
        outside.base()
    );
    folder.configure("[fleet]\n", &section);
    let list = outside.data().join("pki/crls/p256.pem");
    folder.configure("crls = [", &format!("crls = [{list:?}, "));
    let site = folder.serve();
    let stamp = stamped(&site, &pdf_order());
    let document = unbase64(stamp["document"].as_str().unwrap());
    let answer = archived(&site, &stamp, &json!({"document": stamp["document"]})).expect(200);
    assert_eq!((answer.header("content-type"), answer.header("x-verdict")), ("application/zip", "valid"));
    let id = stamp["stamp_id"].as_str().unwrap();
    assert!(answer.header("content-disposition").contains(id), "{}", answer.header("content-disposition"));

    let scratch = Scratch::new();
    unzipped(&scratch, &answer.body);
    assert_eq!(scratch.read("out/document.pdf"), document);
    let manifest: Value = serde_json::from_slice(&scratch.read("out/archive-manifest.json")).unwrap();
    assert_eq!(manifest["stamp"]["stamp_id"], stamp["stamp_id"]);
    assert_eq!(manifest["members"].as_array().unwrap().len(), 5, "{manifest:#}");
    // Any tool can check it: digests, and whose signature is over the manifest.
    for member in manifest["members"].as_array().unwrap() {
        let file = format!("out/{}", member["name"].as_str().unwrap());
        for (option, digest) in [("-sm3", "sm3"), ("-sha256", "sha256")] {
            let said = scratch.openssl(&format!("dgst {option} -r {file}")).text;
            assert!(said.starts_with(member[digest].as_str().unwrap()), "{said}: {member}");
        }
    }
    let root = site.data().join("pki/roots/p256.pem");
    let chain = site.data().join("pki/issuing/p256.pem");
    let cms = format!(
        "cms -verify -binary -inform DER -in out/archive-manifest.p7s -content out/archive-manifest.json \
         -purpose any -CAfile {} -certfile {} -attime {} -out checked",
        root.display(),
        chain.display(),
        now()
    );
    scratch.openssl(&cms).expect("openssl cms -verify");
    let report = Ran::of(Command::new("pdftotext").arg(scratch.path().join("out/report.pdf")).arg("-")).text;
    assert!(report.contains(id) && report.contains("有效"), "{report}");
    let text = String::from_utf8(scratch.read("out/report.txt")).unwrap();
    assert!(text.contains(id), "{text}");
    let structured: Value = serde_json::from_slice(&scratch.read("out/report.json")).unwrap();
    let status = &structured["SignatureValidationReport"][0]["SignatureValidationStatus"];
    assert_eq!(status["MainIndication"], "urn:etsi:019102:mainindication:total-passed", "{structured:#}");

    // By roots alone, which certify the issuing authorities; now, and when the timestamp's own certificate ends.
    let intermediate = ["--intermediate", chain.to_str().unwrap()];
    let roots = [root.as_path(), outside_root.as_path()];
    let (said, code) = offline(&scratch, &roots, &intermediate, "package.zip");
    assert_eq!(
        (&said["type"], &said["verdict"], code),
        (&json!("archive"), &json!("valid"), Some(0)),
        "{said:#}"
    );
    let then = said["evidence"]["records"][0]["good_until"].as_str().unwrap().to_owned();
    let at_then = ["--at", &then];
    let (alone, _) = offline(&scratch, &roots, &at_then, "out/document.pdf");
    assert_eq!(alone["verdict"], "invalid", "{alone:#}");
    assert!(alone.to_string().contains("\"expired\""), "{alone:#}");
    let (kept, code) = offline(&scratch, &roots, &at_then, "package.zip");
    assert_eq!((&kept["verdict"], code), (&json!("valid"), Some(0)), "{kept:#}");
    assert_eq!(kept["manifest_signature"]["verdict"], "valid");
    assert!(!kept["signers"][0]["subject"].as_str().unwrap().is_empty());
    let mut words = Command::new(gateway());
    words.args(["verify", "--type", "archive", "--at", &then]);
    for root in roots {
        words.arg("--trust").arg(root);
    }
    let words = Ran::of(words.arg("package.zip").current_dir(scratch.path()));
    assert!(words.text.contains("package.zip: valid (archive package)"), "{}", words.text);
    assert!(words.text.contains("the manifest's signer: "), "{}", words.text);
    let site_says = format!("site, as the manifest says: {}", manifest["site"].as_str().unwrap());
    assert!(words.text.contains(&site_says), "{}", words.text);

    // Whose packages count is for the reader to say: nobody is asked for, one is, and another one.
    assert!(codes(&kept).contains(&"archivist_not_checked"), "{kept:#}");
    let archivist = |named: &Path| {
        let more = ["--at", &then, "--archivist", named.to_str().unwrap()];
        offline(&scratch, &roots, &more, "package.zip")
    };
    let (said, code) = archivist(&chain);
    // The log is signed by SM2, whose root is not among these.
    let of_the_log = vec!["evidence_log_signer_unknown"];
    assert_eq!((&said["verdict"], code, codes(&said)), (&json!("valid"), Some(0), of_the_log), "{said:#}");
    let (said, code) = archivist(&outside.data().join("pki/issuing/p256.pem"));
    assert_eq!((&said["verdict"], code), (&json!("invalid"), Some(1)), "{said:#}");
    assert!(codes(&said).contains(&"archivist_unknown"), "{said:#}");
    // What would have no effect is refused.
    for option in [["--content", "package.zip"], ["--evidence", "out/evidence.json"], ["--signer-id", "ID"]] {
        let (said, code) = offline(&scratch, &roots, &option, "package.zip");
        assert_eq!((codes(&said), code), (vec!["option_not_applicable"], Some(2)), "{said:#}");
        assert!(said["findings"][0]["detail"].as_str().unwrap().starts_with(option[0]), "{said:#}");
    }
    // A report names the stamp and its signer.
    let (_, code) = offline(&scratch, &roots, &["--report", "said.txt"], "package.zip");
    let told = String::from_utf8(scratch.read("said.txt")).unwrap();
    let signer = kept["signers"][0]["subject"].as_str().unwrap();
    assert!(code == Some(0) && told.contains(id) && told.contains(signer), "{told}");

    // Nobody else's roots vouch for it, and nothing of it can be exchanged.
    let strange = Folder::init();
    let (said, _) = offline(&scratch, &[&strange.data().join("pki/roots/p256.pem")], &[], "package.zip");
    assert_ne!(said["verdict"], "valid", "{said:#}");
    assert!(codes(&said).contains(&"archive_manifest_unsigned"), "{said:#}");
    let mut altered = answer.body.clone();
    let place = altered.windows(5).position(|window| window == b"%PDF-").unwrap();
    altered[place + 1_000] ^= 1;
    scratch.write("altered.zip", &altered);
    let (said, code) = offline(&scratch, &roots, &at_then, "altered.zip");
    assert_eq!((&said["verdict"], code), (&json!("invalid"), Some(1)), "{said:#}");
}

#[test]
fn a_package_is_made_of_what_was_stamped_and_for_whom_it_concerns() {
    let folder = Folder::init();
    let site = folder.serve();
    let stamp = stamped(&site, &pdf_order());
    archived(&site, &stamp, &json!({"document": stamp["document"]})).expect(200);
    // What the key did is on record in the name of who asked, and so is the timestamp over it.
    let entries = site.audit();
    let signed: Vec<_> = entries.iter().filter(|entry| entry["action"] == "signature.cms").collect();
    assert_eq!(signed.len(), 1, "{entries:#?}");
    assert_eq!((&signed[0]["key"], &signed[0]["outcome"]), (&json!("demo-p256"), &json!("ok")));
    let is_stamp = |action: &Value| action.as_str().unwrap().starts_with("timestamp");
    let of_app = |entry: &&Value| is_stamp(&entry["action"]) && entry["actor"] == signed[0]["actor"];
    assert_eq!(entries.iter().filter(of_app).count(), 1, "{entries:#?}");
    let app = site.app();
    refused(app.post(&path(&stamp), &json!({})), 422, "missing_field");
    refused(app.post(&path(&stamp), &json!({"document": base64(&pdf())})), 422, "document_differs");
    let with_content = json!({"document": stamp["document"], "content": "AA=="});
    refused(app.post(&path(&stamp), &with_content), 422, "not_applicable");
    let other = site.app_number(1).post(&path(&stamp), &json!({"document": stamp["document"]}));
    refused(other, 404, "unknown_stamp");
    // For what is refused no key signs.
    assert_eq!(site.audit().iter().filter(|entry| entry["action"] == "signature.cms").count(), 1);

    // Of a digest: the CMS over it, with what it is of, or without.
    let content = b"what it is of";
    let digest = Scratch::new();
    digest.write("content", content);
    let sm3 = digest.openssl("dgst -sm3 -binary -out digest content");
    sm3.expect("openssl dgst");
    let order =
        json!({"format": "digest", "digest": base64(&digest.read("digest")), "signer": {"key": "demo-sm2"}});
    let stamp = stamped(&site, &order);
    let wrong = json!({"document": stamp["signature"], "content": base64(b"something else")});
    refused(archived(&site, &stamp, &wrong), 422, "document_differs");
    for body in [
        json!({"document": stamp["signature"], "content": base64(content)}),
        json!({"document": stamp["signature"]}),
    ] {
        let package = archived(&site, &stamp, &body).expect(200);
        digest.write("digest.zip", &package.body);
        let (said, _) = offline(&digest, &[&site.data().join("pki/roots")], &[], "digest.zip");
        assert_eq!(said["verdict"], "valid", "{said:#}");
        assert_eq!(said["manifest"]["stamp"]["format"], "digest");
    }

    // Of a job's document what the job keeps.
    let job = json!({"defaults": {"format": "pdf", "signer": {"key": "demo-p256"}},
        "documents": [{"name": "one", "document": base64(&pdf())}]});
    let job = app.post("/v1/stamp-jobs", &job).expect(202).json()["job"].as_str().unwrap().to_owned();
    let stamp = eventually("the job is finished", SOON, || {
        let job = app.get(&format!("/v1/stamp-jobs/{job}")).expect(200).json();
        job["documents"][0]["stamp_id"].is_string().then(|| job["documents"][0].clone())
    });
    let package = archived(&site, &stamp, &json!({})).expect(200);
    let scratch = Scratch::new();
    unzipped(&scratch, &package.body);
    let kept = app.get(&format!("/v1/stamp-jobs/{job}/documents/1/content")).expect(200);
    assert_eq!(scratch.read("out/document.pdf"), kept.body);
    // Auditors have packages of documents that they hold; what jobs keep is for the apps that ordered them.
    let (_, person) = Person::complete(&site, "archives", &["auditor"]);
    let administrator = site.app_number(2);
    refused(administrator.post(&path(&stamp), &json!({})), 422, "missing_field");
    refused(person.post(&path(&stamp), &json!({})), 422, "missing_field");
    administrator.post(&path(&stamp), &json!({"document": base64(&kept.body)})).expect(200);
    // What is no package is told so.
    scratch.write("broken.zip", &package.body[..package.body.len() / 2]);
    let (said, code) = offline(&scratch, &[], &[], "broken.zip");
    assert_eq!((codes(&said), code), (vec!["archive_malformed"], Some(2)), "{said:#}");

    // A site that names no key for it makes none.
    site.configure(&[("[archive_packages]\nkey = \"demo-p256\"\n", "")]);
    assert!(site.command(&["reload"]).status.success());
    refused(site.app().post(&path(&stamp), &json!({})), 404, "archive_packages_not_offered");
}
