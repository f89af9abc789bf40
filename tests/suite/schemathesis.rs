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

#[test]
fn every_answer_to_what_schemathesis_makes_of_the_document_is_as_the_document_says() {
    let program = repository().join("target/venv/bin/schemathesis");
    assert!(program.exists(), "{} is not there: make test-tools", program.display());
    let (site, scratch) = (Site::start(), Scratch::new());
    for app in [0, 2] {
        let key = site.sandbox()["apps"][app]["api_key"].as_str().expect("the sandbox has this app");
        let mut schemathesis = Command::new(&program);
        schemathesis.current_dir(scratch.path()).args(["run", &format!("{}/openapi.json", site.base())]);
        schemathesis.args(["--header", &format!("x-api-key: {key}"), "--checks", CHECKS]);
        schemathesis.args(["--max-examples", EXAMPLES, "--seed", "1", "--generation-database", "none"]);
        schemathesis.args(["--phases", "examples,coverage,fuzzing", "--request-timeout", "60"]);
        schemathesis.args(["--continue-on-failure", "--no-color"]);
        let ran = Ran::of(&mut schemathesis).expect("schemathesis");
        println!("{}", ran.text);
    }
    site.stranger(None).get("/readyz").expect(200);
}
