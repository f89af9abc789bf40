//! As large a document as there may be, from upload to verification.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Ran, Scratch, Site, base64, eventually, gateway};

use crate::pdf::{ROOT, base};

const SOON: Duration = Duration::from_secs(300);
const PAGES: u32 = 1_000;
/// What the gateway may take to upload, stamp and give out a document, as a multiple of its size, and besides.
const MULTIPLE: usize = 3;
const BESIDES: usize = 32 << 20;

/// A line of the gateway's `/proc/PID/status`, octets.
fn memory(site: &Site, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

/// 63 MiB and a thousand pages, each with contents of its own.
fn document() -> Vec<u8> {
    let mut maker = base();
    let kids: String = (0..PAGES).map(|page| format!("{} 0 R ", 1_000 + 2 * page)).collect();
    for page in 0..PAGES {
        let number = 1_000 + 2 * page;
        let content = format!("BT ({page}) Tj ET {}", " ".repeat(64 << 10));
        let dictionary =
            format!("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {} 0 R >>", number + 1);
        maker = maker.object(number, dictionary).stream(number + 1, "", content.as_bytes());
    }
    maker.object(2, format!("<< /Type /Pages /Kids [3 0 R {kids}] /Count {} >>", PAGES + 1)).table(ROOT)
}

#[test]
fn sixty_three_mebibytes_on_a_thousand_pages_are_uploaded_stamped_fetched_and_verified() {
    let site = Site::start();
    let app = site.app();
    let stamped = |octets: &[u8]| -> (Value, Vec<u8>) {
        let headers = [("content-type", "application/pdf")];
        let upload = app.send("PUT", "/v1/uploads", &headers, Some(octets)).expect(201).json();
        let seen = json!({
            "text": ["{stamp_id}"],
            "places": [{"kind": "rect", "pages": "last", "left": 10, "top": 10, "width": 50, "height": 10}],
        });
        let order = json!({
            "defaults": {"format": "pdf", "signer": {"key": "demo-p256"}, "appearance": seen},
            "documents": [{"upload": upload["upload"]}],
        });
        let job = app.post("/v1/stamp-jobs", &order).expect(202).json()["job"].as_str().unwrap().to_owned();
        let whole = eventually("the job is finished", SOON, || {
            let job = app.get(&format!("/v1/stamp-jobs/{job}")).expect(200).json();
            (job["state"] == "finished").then_some(job)
        });
        let one = whole["documents"][0].clone();
        assert_eq!(one["state"], "stamped", "{whole:#}");
        (one, app.get(&format!("/v1/stamp-jobs/{job}/documents/1/content")).expect(200).body)
    };
    // What a first stamp takes for good is not this document's.
    stamped(&base().table(ROOT));
    let document = document();
    assert!(document.len() > 62 << 20 && document.len() < 64 << 20, "{}", document.len());
    std::fs::write(format!("/proc/{}/clear_refs", site.pid()), "5").unwrap();
    let before = memory(&site, "VmRSS:");
    let (one, fetched) = stamped(&document);
    let taken = memory(&site, "VmHWM:").saturating_sub(before);
    println!(
        "{} MiB, {PAGES} pages: {} MiB of memory above what there was",
        document.len() >> 20,
        taken >> 20
    );
    assert!(taken <= MULTIPLE * document.len() + BESIDES, "{taken}");
    assert!(fetched.starts_with(&document), "the document's octets stay");

    // Such documents are judged where they lie; over HTTP 16 MiB are.
    let scratch = Scratch::new();
    let file = scratch.write("large.pdf", &fetched);
    let mut ours = Command::new(gateway());
    ours.args(["verify", "--json", "--trust"]).arg(site.data().join("pki/roots/p256.pem")).arg(&file);
    let judged = Ran::of(&mut ours);
    let judged: Value = serde_json::from_slice(&judged.stdout).expect(&judged.text);
    assert_eq!(judged["signatures"].as_array().map(Vec::len), Some(1), "{judged:#}");
    let codes: Vec<_> = judged["signatures"][0]["findings"].as_array().into_iter().flatten().collect();
    let is_sound = codes.iter().all(|finding| finding["code"] != "digest_mismatch");
    assert!(is_sound && judged["signatures"][0]["verdict"] != "invalid", "{judged:#}");
    let said = Ran::of(Command::new("pdfsig").arg("-nocert").arg(&file)).text;
    assert!(said.contains("Signature is Valid") && said.contains("Total document signed"), "{said}");
    let digest = Ran::of(Command::new("openssl").args(["dgst", "-sm3", "-r"]).arg(&file)).expect("SM3").text;
    assert!(digest.starts_with(one["sm3"].as_str().unwrap()), "{digest} {one:#}");
    let over_http = app.post("/v1/stamps:verify", &json!({"document": base64(&fetched[..17 << 20])}));
    assert!(matches!(over_http.status, 413 | 422), "{}", over_http.text());
}
