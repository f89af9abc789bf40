//! The API document and the gateway, held against each other by a program that knows the document only: it makes
//! requests right and wrong from the schemas, and judges the answers by them.

use std::process::Command;

use tests::{Ran, Scratch, Site, repository};

/// Requests for each operation at random, beside those that the schemas' bounds and examples give.
const EXAMPLES: &str = "20";

/// What an answer is held to.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,unsupported_method,\
                      allow_header_conformance";

/// Names of what there is; nobody would come upon them by chance. What is done to a device is done to one of seven, and
/// what ends its worker to another one: a device that has no worker at the moment cannot be tested, and says so with 503.
fn names(site: &Site) -> String {
    let uscc = site.sandbox()["licenses"][0].as_str().expect("the sandbox has a license");
    let operations = [
        ("^/v1/licenses/", "uscc", uscc),
        ("^/v1/(admin/)?keys/", "id", "demo-sm2"),
        ("^/v1/devices/.*/(fault|replace|restart)$", "id", "d6"),
        ("^/v1/devices/(?!.*/(fault|replace|restart)$)", "id", "d7"),
        ("^/v1/admin/apps/", "id", "sandbox-portal"),
    ];
    let sections = operations.map(|(path, parameter, name)| {
        format!("[[operations]]\ninclude-path-regex = {path:?}\nparameters = {{ {parameter} = {name:?} }}\n")
    });
    // It cannot make DER; `timestamps.rs` does.
    let unmade = "[[operations]]\ninclude-path = \"/tsa\"\nenabled = false\n";
    [&sections.concat(), unmade].concat()
}

#[test]
fn every_answer_to_what_schemathesis_makes_of_the_document_is_as_the_document_says() {
    let program = repository().join("target/venv/bin/schemathesis");
    assert!(program.exists(), "{} is not there: make test-tools", program.display());
    let (site, scratch) = (Site::start(), Scratch::new());
    scratch.write("schemathesis.toml", names(&site));
    for app in [0, 2] {
        let key = site.sandbox()["apps"][app]["api_key"].as_str().expect("the sandbox has this app");
        let mut schemathesis = Command::new(&program);
        schemathesis.current_dir(scratch.path()).args(["run", &format!("{}/openapi.json", site.base())]);
        schemathesis.args(["--header", &format!("x-api-key: {key}"), "--checks", CHECKS]);
        // One way to prove who asks is shown already, and two at once are refused.
        schemathesis.args(["--generation-with-security-parameters", "false"]);
        schemathesis.args(["--max-examples", EXAMPLES, "--seed", "1", "--generation-database", "none"]);
        schemathesis.args(["--phases", "examples,coverage,fuzzing", "--request-timeout", "60"]);
        schemathesis.args(["--continue-on-failure", "--no-color"]);
        let ran = Ran::of(&mut schemathesis).expect("schemathesis");
        let generated = ran.text.split(" generated, ").next().and_then(|text| text.rsplit(' ').next());
        let generated: u32 = generated.and_then(|count| count.parse().ok()).expect("it counts its requests");
        assert!(generated >= 1_000, "{}", ran.text);
    }
    site.stranger(None).get("/readyz").expect(200);
}
