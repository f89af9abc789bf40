//! Batch print of decisions (such as 列入经营异常名录决定书): documents of the caller, in several jobs, each with the official
//! seal and the code of its own check page, by one template.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Scratch, base64, eventually};

use crate::seal_stamps::{BUREAU, PUBLIC, codes_of, contract};

const SOON: Duration = Duration::from_secs(120);
const JOBS: usize = 4;
const EACH: usize = 25;

/// A decision like no other.
fn decision(number: usize) -> Vec<u8> {
    [&contract()[..], format!("\n% decision 2026-{number}\n").as_bytes()].concat()
}

#[test]
fn decisions_are_sealed_in_several_jobs_and_each_leads_to_a_check_page_of_its_own() {
    let bureau = &*BUREAU;
    let (site, app) = (bureau.site(), bureau.site().app());
    let seal = bureau.with_seal("decisions-1", |_| {});
    let appearance = json!({
        "places": [{"kind": "rect", "pages": "1", "left": 120, "top": 200}],
        "qr": {"places": [{"kind": "rect", "pages": "1", "left": 20, "top": 230}]},
    });
    let stamp =
        json!({"format": "pdf", "seal": seal, "reason": "列入经营异常名录决定", "appearance": appearance});
    let template = json!({"template": {"description": "列入经营异常名录决定书", "stamp": stamp}, "reason": "decision 2026-7"});
    let json = [("content-type", "application/json")];
    let path = "/v1/admin/stamp-templates/abnormal-list";
    site.app_number(2).send("PUT", path, &json, Some(template.to_string().as_bytes())).expect(200);

    // All of them are ordered before the first one is done, as those of a batch of 10,000 are.
    let jobs: Vec<String> = (0..JOBS)
        .map(|job| {
            let documents: Vec<_> = (job * EACH..(job + 1) * EACH)
                .map(
                    |number| json!({"name": format!("2026-{number}"), "document": base64(&decision(number))}),
                )
                .collect();
            let defaults = json!({"template": "abnormal-list", "signer": {"key": "demo-p256"}});
            let order = json!({"defaults": defaults, "documents": documents});
            app.post("/v1/stamp-jobs", &order).expect(202).json()["job"].as_str().unwrap().to_owned()
        })
        .collect();
    let mut numbers = BTreeSet::new();
    for (place, job) in jobs.iter().enumerate() {
        let path = format!("/v1/stamp-jobs/{job}");
        let done = eventually("the job is finished", SOON, || {
            Some(app.get(&path).expect(200).json()).filter(|job| job["state"] == "finished")
        });
        assert_eq!(done["done"], json!(EACH), "{done:#}");
        let documents = done["documents"].as_array().unwrap();
        numbers.extend(documents.iter().map(|document| document["stamp_id"].as_str().unwrap().to_owned()));

        // What is printed is what the package holds.
        let scratch = Scratch::new();
        scratch.write("job.zip", app.get(&format!("{path}/content")).expect(200).body);
        let mut unzip = std::process::Command::new("python3");
        unzip.args(["-m", "zipfile", "-e", "job.zip", "out"]).current_dir(scratch.path());
        tests::Ran::of(&mut unzip).expect("Python opens the package");
        let results: Value = serde_json::from_slice(&scratch.read("out/results.json")).unwrap();
        for n in [0, EACH - 1] {
            let (result, document) = (&results[n], &documents[n]);
            assert_eq!((&result["name"], &result["stamp_id"]), (&document["name"], &document["stamp_id"]));
            let printed = scratch.read(&format!("out/{}", result["file"].as_str().unwrap()));
            assert!(printed.starts_with(&decision(place * EACH + n)), "the decision's octets stay");
            let verdict = bureau.judged(&printed);
            assert_eq!(verdict["verdict"], "valid", "{verdict:#}");
            let code = document["check_code"].as_str().unwrap();
            assert_eq!(codes_of(&scratch, &printed), [format!("{PUBLIC}/verify/{code}")]);
            let page = format!("/verify/{code}");
            let page = site.stranger(None).send("GET", &page, &[("accept", "application/json")], None);
            let page = page.expect(200).json();
            assert_eq!(page["document_sm3"], document["sm3"], "{page:#}");
        }
    }
    assert_eq!(numbers.len(), JOBS * EACH, "each decision has a number of its own");
}
