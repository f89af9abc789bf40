//! The API document is true: what it lists is answered, what is answered it lists.

use serde_json::Value;
use tests::{Answer, Caller, repository, shared, update_snapshots};

/// Every call of the HTTP contract, built or not, with a value for each parameter.
const CONTRACT: [(&str, &str, &str); 67] = [
    ("POST", "/v1/signatures", "/v1/signatures"),
    ("POST", "/v1/signatures:batch", "/v1/signatures:batch"),
    ("POST", "/v1/verifications", "/v1/verifications"),
    ("POST", "/v1/verifications:batch", "/v1/verifications:batch"),
    ("POST", "/v1/licenses:verify", "/v1/licenses:verify"),
    ("POST", "/v1/licenses:verify-batch", "/v1/licenses:verify-batch"),
    ("POST", "/v1/identifiers:check", "/v1/identifiers:check"),
    ("GET", "/v1/licenses", "/v1/licenses"),
    ("GET", "/v1/licenses/{uscc}", "/v1/licenses/91350100M000100Y43"),
    ("GET", "/v1/licenses/{uscc}/face", "/v1/licenses/91350100M000100Y43/face"),
    ("GET", "/v1/licenses/{uscc}/status", "/v1/licenses/91350100M000100Y43/status"),
    ("GET", "/v1/keys", "/v1/keys"),
    ("GET", "/v1/keys/{id}", "/v1/keys/demo-sm2"),
    ("GET", "/v1/devices", "/v1/devices"),
    ("GET", "/v1/devices/{id}", "/v1/devices/d1"),
    ("POST", "/v1/devices/{id}/drain", "/v1/devices/none/drain"),
    ("POST", "/v1/devices/{id}/maintain", "/v1/devices/none/maintain"),
    ("POST", "/v1/devices/{id}/resume", "/v1/devices/none/resume"),
    ("POST", "/v1/devices/{id}/release", "/v1/devices/none/release"),
    ("POST", "/v1/devices/{id}/restart", "/v1/devices/none/restart"),
    ("POST", "/v1/devices/{id}/self-test", "/v1/devices/none/self-test"),
    ("POST", "/v1/devices/{id}/replace", "/v1/devices/none/replace"),
    ("PUT", "/v1/devices/{id}/fault", "/v1/devices/none/fault"),
    ("GET", "/v1/devices/{id}/history", "/v1/devices/none/history"),
    ("POST", "/v1/admin/config:reload", "/v1/admin/config:reload"),
    ("GET", "/v1/trust", "/v1/trust"),
    ("GET", "/v1/admin/keys", "/v1/admin/keys"),
    ("GET", "/v1/admin/keys/{id}", "/v1/admin/keys/demo-sm2"),
    ("POST", "/v1/admin/keys/{id}/csr", "/v1/admin/keys/none/csr"),
    ("PUT", "/v1/admin/apps/{id}/keys", "/v1/admin/apps/none/keys"),
    ("GET", "/v1/admin/apps", "/v1/admin/apps"),
    ("POST", "/v1/admin/apps", "/v1/admin/apps"),
    ("GET", "/v1/admin/apps/{id}", "/v1/admin/apps/none"),
    ("PUT", "/v1/admin/apps/{id}", "/v1/admin/apps/none"),
    ("POST", "/v1/admin/apps/{id}/enable", "/v1/admin/apps/none/enable"),
    ("POST", "/v1/admin/apps/{id}/disable", "/v1/admin/apps/none/disable"),
    ("POST", "/v1/admin/apps/{id}/lock", "/v1/admin/apps/none/lock"),
    ("POST", "/v1/admin/apps/{id}/freeze", "/v1/admin/apps/none/freeze"),
    ("POST", "/v1/admin/apps/{id}/credentials", "/v1/admin/apps/none/credentials"),
    (
        "POST",
        "/v1/admin/apps/{id}/credentials/{credential}/revoke",
        "/v1/admin/apps/none/credentials/none/revoke",
    ),
    ("POST", "/oauth2/token", "/oauth2/token"),
    ("GET", "/oauth2/jwks", "/oauth2/jwks"),
    ("GET", "/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server"),
    ("POST", "/v1/admin/ceremonies", "/v1/admin/ceremonies"),
    ("GET", "/v1/admin/ceremonies", "/v1/admin/ceremonies"),
    ("GET", "/v1/admin/ceremonies/{id}", "/v1/admin/ceremonies/0"),
    ("POST", "/v1/admin/ceremonies/{id}/confirm", "/v1/admin/ceremonies/0/confirm"),
    ("POST", "/v1/admin/ceremonies/{id}/call-off", "/v1/admin/ceremonies/0/call-off"),
    ("GET", "/v1/admin/custodians", "/v1/admin/custodians"),
    ("POST", "/v1/admin/custodians", "/v1/admin/custodians"),
    ("POST", "/v1/admin/custodians/{name}/disable", "/v1/admin/custodians/none/disable"),
    ("POST", "/v1/admin/custodians/{name}/enable", "/v1/admin/custodians/none/enable"),
    ("GET", "/v1/audit/entries", "/v1/audit/entries"),
    ("GET", "/v1/audit/checkpoint", "/v1/audit/checkpoint"),
    ("GET", "/v1/audit/proofs/{index}", "/v1/audit/proofs/0"),
    ("GET", "/v1/audit/proofs:consistency", "/v1/audit/proofs:consistency?first=0"),
    ("POST", "/v1/sessions", "/v1/sessions"),
    ("POST", "/v1/stamps", "/v1/stamps"),
    ("POST", "/v1/stamps:verify", "/v1/stamps:verify"),
    ("POST", "/v1/timestamps", "/v1/timestamps"),
    ("GET", "/v1/usage", "/v1/usage"),
    ("GET", "/livez", "/livez"),
    ("GET", "/readyz", "/readyz"),
    ("GET", "/metrics", "/metrics"),
    ("GET", "/openapi.json", "/openapi.json"),
    ("GET", "/docs", "/docs"),
    ("PUT", "/v1/uploads", "/v1/uploads"),
];

fn document() -> Value {
    shared().site.stranger(None).get("/openapi.json").expect(200).json()
}

/// Whether a handler answered, rather than the router saying that there is none.
fn answered(answer: &Answer) -> bool {
    let code =
        serde_json::from_slice::<Value>(&answer.body).map(|body| body["code"].clone()).unwrap_or_default();
    match answer.status {
        404 => code != "not_found" && !code.is_null(),
        405 => false,
        _ => true,
    }
}

fn ask(caller: &Caller, method: &str, path: &str) -> Answer {
    let body = (method != "GET").then_some(&b"{}"[..]);
    caller.send(method, path, &[("content-type", "application/json")], body)
}

#[test]
fn the_document_is_openapi_3_1_and_describes_every_operation() {
    let document = document();
    let version = document["openapi"].as_str().unwrap();
    assert!(version.starts_with("3.1."), "{version}");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            let said = operation["summary"].is_string() || operation["description"].is_string();
            assert!(said, "{place} is not described");
            let answers =
                operation["responses"].as_object().unwrap_or_else(|| panic!("{place} has no answers"));
            assert!(answers.keys().any(|status| status.starts_with('2')), "{place}: {answers:?}");
        }
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = document();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer =
                        reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} is not local"));
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

#[test]
fn a_call_is_answered_exactly_if_it_is_documented() {
    let document = document();
    let callers = [0, 2].map(|index| shared().site.app_number(index));
    for (method, path, example) in CONTRACT {
        let documented = !document["paths"][path][method.to_lowercase()].is_null();
        let answered = callers.iter().any(|caller| answered(&ask(caller, method, example)));
        assert_eq!(answered, documented, "{method} {path}: answered, documented");
    }
}

#[test]
fn every_documented_call_is_one_of_the_contract() {
    for (path, item) in document()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let known =
                CONTRACT.iter().any(|(verb, call, _)| verb.eq_ignore_ascii_case(method) && call == path);
            assert!(known, "{method} {path}: add it to CONTRACT");
        }
    }
}

#[test]
fn the_docs_page_loads_nothing_from_elsewhere() {
    let page = shared().site.stranger(None).get("/docs").expect(200);
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
    let text = page.text();
    for outside in ["src=\"http", "href=\"http", "src=\"//", "href=\"//", "@import", "url(http"] {
        assert!(!text.contains(outside), "{outside}");
    }
}

#[test]
fn the_snapshot_in_the_tree_is_what_the_gateway_serves() {
    let file = repository().join("docs/openapi.json");
    let served = document();
    if update_snapshots() {
        std::fs::write(&file, format!("{served:#}\n")).unwrap();
    }
    let kept = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert!(kept == served, "docs/openapi.json differs from what is served; `make snapshots` rewrites it");
}
