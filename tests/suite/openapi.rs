//! The API document is true: what it lists is answered, what is answered it lists.

use std::collections::BTreeMap;

use serde_json::Value;
use tests::{Answer, Caller, repository, shared, update_snapshots};

/// Every call of the HTTP contract, built or not, with a value for each parameter.
const CONTRACT: [(&str, &str, &str); 201] = [
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
    ("GET", "/v1/licenses/{uscc}/files", "/v1/licenses/91350100M000100Y43/files"),
    ("GET", "/v1/licenses/{uscc}/files/{kind}", "/v1/licenses/91350100M000100Y43/files/ofd"),
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
    ("POST", "/v1/admin/data-key:rotate", "/v1/admin/data-key:rotate"),
    ("GET", "/v1/trust", "/v1/trust"),
    ("GET", "/v1/admin/incidents", "/v1/admin/incidents"),
    ("POST", "/v1/admin/incidents", "/v1/admin/incidents"),
    ("GET", "/v1/admin/incidents/{id}", "/v1/admin/incidents/none"),
    ("GET", "/v1/admin/incidents/{id}/report", "/v1/admin/incidents/none/report"),
    ("POST", "/v1/admin/incidents/{id}/steps", "/v1/admin/incidents/none/steps"),
    ("GET", "/v1/admin/service-levels", "/v1/admin/service-levels"),
    ("GET", "/v1/admin/inspections", "/v1/admin/inspections"),
    ("POST", "/v1/admin/inspections", "/v1/admin/inspections"),
    ("GET", "/v1/admin/inspections/{id}", "/v1/admin/inspections/none"),
    ("GET", "/v1/admin/inspections/{id}/report", "/v1/admin/inspections/none/report"),
    ("GET", "/v1/admin/keys", "/v1/admin/keys"),
    ("GET", "/v1/admin/keys/{id}", "/v1/admin/keys/demo-sm2"),
    ("POST", "/v1/admin/keys/{id}/csr", "/v1/admin/keys/none/csr"),
    ("PUT", "/v1/admin/apps/{id}/keys", "/v1/admin/apps/none/keys"),
    ("POST", "/v1/sign-in", "/v1/sign-in"),
    ("POST", "/v1/sign-in:second-factor", "/v1/sign-in:second-factor"),
    ("POST", "/v1/sign-out", "/v1/sign-out"),
    ("GET", "/v1/account", "/v1/account"),
    ("POST", "/v1/account/password", "/v1/account/password"),
    ("POST", "/v1/account/second-factor", "/v1/account/second-factor"),
    ("POST", "/v1/account/second-factor:confirm", "/v1/account/second-factor:confirm"),
    ("POST", "/v1/account/recovery-codes", "/v1/account/recovery-codes"),
    ("GET", "/v1/account/sessions", "/v1/account/sessions"),
    ("POST", "/v1/account/sessions/{id}/end", "/v1/account/sessions/none/end"),
    ("POST", "/v1/account/sessions:end-others", "/v1/account/sessions:end-others"),
    ("POST", "/v1/account/tokens", "/v1/account/tokens"),
    ("GET", "/v1/admin/accounts", "/v1/admin/accounts"),
    ("POST", "/v1/admin/accounts", "/v1/admin/accounts"),
    ("GET", "/v1/admin/accounts/{name}", "/v1/admin/accounts/none"),
    ("PUT", "/v1/admin/accounts/{name}", "/v1/admin/accounts/none"),
    ("POST", "/v1/admin/accounts/{name}/enable", "/v1/admin/accounts/none/enable"),
    ("POST", "/v1/admin/accounts/{name}/disable", "/v1/admin/accounts/none/disable"),
    ("POST", "/v1/admin/accounts/{name}/reset-password", "/v1/admin/accounts/none/reset-password"),
    ("POST", "/v1/admin/accounts/{name}/reset-second-factor", "/v1/admin/accounts/none/reset-second-factor"),
    ("POST", "/v1/admin/accounts/{name}/end-sessions", "/v1/admin/accounts/none/end-sessions"),
    ("POST", "/v1/admin/accounts/{name}/unlock", "/v1/admin/accounts/none/unlock"),
    ("GET", "/v1/admin/accounts/{name}/sessions", "/v1/admin/accounts/none/sessions"),
    ("GET", "/v1/admin/accounts:review", "/v1/admin/accounts:review"),
    ("GET", "/v1/admin/apps", "/v1/admin/apps"),
    ("POST", "/v1/admin/apps", "/v1/admin/apps"),
    ("GET", "/v1/admin/apps/{id}", "/v1/admin/apps/none"),
    ("PUT", "/v1/admin/apps/{id}", "/v1/admin/apps/none"),
    ("POST", "/v1/admin/apps/{id}/enable", "/v1/admin/apps/none/enable"),
    ("POST", "/v1/admin/apps/{id}/disable", "/v1/admin/apps/none/disable"),
    ("POST", "/v1/admin/apps/{id}/lock", "/v1/admin/apps/none/lock"),
    ("POST", "/v1/admin/apps/{id}/freeze", "/v1/admin/apps/none/freeze"),
    ("POST", "/v1/admin/apps/{id}/credentials", "/v1/admin/apps/none/credentials"),
    ("GET", "/v1/admin/apps/{id}/webhook", "/v1/admin/apps/none/webhook"),
    ("PUT", "/v1/admin/apps/{id}/webhook", "/v1/admin/apps/none/webhook"),
    ("POST", "/v1/admin/apps/{id}/webhook/remove", "/v1/admin/apps/none/webhook/remove"),
    ("POST", "/v1/admin/apps/{id}/webhook/test", "/v1/admin/apps/none/webhook/test"),
    ("GET", "/v1/admin/deliveries", "/v1/admin/deliveries"),
    ("GET", "/v1/admin/deliveries/{id}", "/v1/admin/deliveries/none"),
    ("POST", "/v1/admin/deliveries/{id}/resend", "/v1/admin/deliveries/none/resend"),
    (
        "POST",
        "/v1/admin/apps/{id}/credentials/{credential}/revoke",
        "/v1/admin/apps/none/credentials/none/revoke",
    ),
    ("GET", "/v1/admin/approvals", "/v1/admin/approvals"),
    ("GET", "/v1/admin/approvals/{id}", "/v1/admin/approvals/none"),
    ("POST", "/v1/admin/approvals/{id}/approve", "/v1/admin/approvals/none/approve"),
    ("POST", "/v1/admin/approvals/{id}/reject", "/v1/admin/approvals/none/reject"),
    ("POST", "/v1/admin/approvals/{id}/withdraw", "/v1/admin/approvals/none/withdraw"),
    ("GET", "/v1/admin/policies", "/v1/admin/policies"),
    ("GET", "/v1/admin/policies/{app}", "/v1/admin/policies/none"),
    ("PUT", "/v1/admin/policies/{app}", "/v1/admin/policies/none"),
    ("GET", "/v1/admin/policies/{app}/history", "/v1/admin/policies/none/history"),
    ("POST", "/v1/admin/policies:evaluate", "/v1/admin/policies:evaluate"),
    ("GET", "/v1/admin/mandates", "/v1/admin/mandates"),
    ("POST", "/v1/admin/mandates", "/v1/admin/mandates"),
    ("GET", "/v1/admin/mandates/{id}", "/v1/admin/mandates/none"),
    ("POST", "/v1/admin/mandates/{id}/csr", "/v1/admin/mandates/none/csr"),
    ("POST", "/v1/admin/mandates/{id}/certificate", "/v1/admin/mandates/none/certificate"),
    ("POST", "/v1/admin/mandates/{id}/activate", "/v1/admin/mandates/none/activate"),
    ("POST", "/v1/admin/mandates/{id}/suspend", "/v1/admin/mandates/none/suspend"),
    ("POST", "/v1/admin/mandates/{id}/resume", "/v1/admin/mandates/none/resume"),
    ("POST", "/v1/admin/mandates/{id}/end", "/v1/admin/mandates/none/end"),
    ("GET", "/v1/mandates", "/v1/mandates"),
    ("GET", "/v1/admin/stamp-templates", "/v1/admin/stamp-templates"),
    ("GET", "/v1/admin/stamp-templates/{id}", "/v1/admin/stamp-templates/none"),
    ("PUT", "/v1/admin/stamp-templates/{id}", "/v1/admin/stamp-templates/none"),
    ("POST", "/v1/admin/stamp-templates/{id}/disable", "/v1/admin/stamp-templates/none/disable"),
    ("POST", "/v1/admin/stamp-templates/{id}/enable", "/v1/admin/stamp-templates/none/enable"),
    ("GET", "/v1/stamp-templates", "/v1/stamp-templates"),
    ("GET", "/v1/admin/seals", "/v1/admin/seals"),
    ("POST", "/v1/admin/seals", "/v1/admin/seals"),
    ("GET", "/v1/admin/seals/{id}", "/v1/admin/seals/none"),
    ("POST", "/v1/admin/seals/{id}/suspend", "/v1/admin/seals/none/suspend"),
    ("POST", "/v1/admin/seals/{id}/resume", "/v1/admin/seals/none/resume"),
    ("POST", "/v1/admin/seals/{id}/revoke", "/v1/admin/seals/none/revoke"),
    ("POST", "/v1/admin/seals/{id}/replace", "/v1/admin/seals/none/replace"),
    ("GET", "/v1/seals/{id}", "/v1/seals/none"),
    ("POST", "/oauth2/token", "/oauth2/token"),
    ("GET", "/oauth2/jwks", "/oauth2/jwks"),
    ("GET", "/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server"),
    ("GET", "/.well-known/openid-configuration", "/.well-known/openid-configuration"),
    ("GET", "/oidc/authorize", "/oidc/authorize"),
    ("POST", "/oidc/authorize", "/oidc/authorize"),
    ("GET", "/oidc/login/{id}", "/oidc/login/none"),
    ("GET", "/oidc/login/{id}/state", "/oidc/login/none/state"),
    ("POST", "/oidc/login/{id}/continue", "/oidc/login/none/continue"),
    ("POST", "/oidc/login/{id}/cancel", "/oidc/login/none/cancel"),
    ("POST", "/oidc/token", "/oidc/token"),
    ("GET", "/oidc/userinfo", "/oidc/userinfo"),
    ("POST", "/oidc/userinfo", "/oidc/userinfo"),
    ("GET", "/oidc/device", "/oidc/device"),
    ("POST", "/oidc/device_authorization", "/oidc/device_authorization"),
    ("POST", "/oidc/par", "/oidc/par"),
    ("POST", "/oidc/revoke", "/oidc/revoke"),
    ("GET", "/oidc/logout", "/oidc/logout"),
    ("POST", "/oidc/logout", "/oidc/logout"),
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
    ("GET", "/v1/usage", "/v1/usage"),
    ("GET", "/v1/audit/checkpoint", "/v1/audit/checkpoint"),
    ("GET", "/v1/audit/proofs/{index}", "/v1/audit/proofs/0"),
    ("GET", "/v1/audit/proofs:consistency", "/v1/audit/proofs:consistency?first=0"),
    ("POST", "/v1/sessions", "/v1/sessions"),
    ("GET", "/v1/query-certificate-jobs", "/v1/query-certificate-jobs"),
    ("POST", "/v1/query-certificate-jobs", "/v1/query-certificate-jobs"),
    ("GET", "/v1/query-certificate-jobs/{id}", "/v1/query-certificate-jobs/none"),
    ("POST", "/v1/query-certificate-jobs/{id}/cancel", "/v1/query-certificate-jobs/none/cancel"),
    ("GET", "/v1/query-certificate-jobs/{id}/content", "/v1/query-certificate-jobs/none/content"),
    (
        "GET",
        "/v1/query-certificate-jobs/{id}/documents/{n}/content",
        "/v1/query-certificate-jobs/none/documents/1/content",
    ),
    ("POST", "/v1/sessions:stamp", "/v1/sessions:stamp"),
    ("GET", "/v1/sessions/{id}", "/v1/sessions/none"),
    ("GET", "/v1/sessions/{id}/events", "/v1/sessions/none/events"),
    ("POST", "/v1/sessions/{id}/consume", "/v1/sessions/none/consume"),
    ("POST", "/v1/sessions/{id}/cancel", "/v1/sessions/none/cancel"),
    ("POST", "/authenticationService/httpserver.do", "/authenticationService/httpserver.do"),
    ("POST", "/authenticationService/appserver.do", "/authenticationService/appserver.do"),
    ("GET", "/authenticationService/getLicencePdf.do", "/authenticationService/getLicencePdf.do?uniscid=1"),
    ("POST", "/authenticationService/getLicencePdf.do", "/authenticationService/getLicencePdf.do?uniscid=1"),
    ("POST", "/v1/phone/sessions:scan", "/v1/phone/sessions:scan"),
    ("POST", "/v1/phone/sessions/{id}/confirm", "/v1/phone/sessions/none/confirm"),
    ("POST", "/v1/phone/sessions/{id}/deny", "/v1/phone/sessions/none/deny"),
    ("GET", "/v1/retentions", "/v1/retentions"),
    ("POST", "/v1/retentions", "/v1/retentions"),
    ("GET", "/v1/retentions/{id}", "/v1/retentions/20261122-0123456789"),
    ("GET", "/v1/retentions/{id}/evidence", "/v1/retentions/20261122-0123456789/evidence"),
    ("GET", "/v1/retentions/{id}/file", "/v1/retentions/20261122-0123456789/file"),
    ("POST", "/v1/query-certificates", "/v1/query-certificates"),
    ("GET", "/v1/query-certificates/{number}", "/v1/query-certificates/20261122-0123456789"),
    ("POST", "/v1/stamps", "/v1/stamps"),
    ("GET", "/v1/stamps/{id}", "/v1/stamps/20261122-0123456789"),
    ("POST", "/v1/stamps/{id}/archive", "/v1/stamps/none/archive"),
    ("GET", "/v1/stamps/{id}/evidence", "/v1/stamps/none/evidence"),
    ("POST", "/v1/stamps:verify", "/v1/stamps:verify"),
    ("GET", "/v1/stamp-jobs", "/v1/stamp-jobs"),
    ("POST", "/v1/stamp-jobs", "/v1/stamp-jobs"),
    ("GET", "/v1/stamp-jobs/{id}", "/v1/stamp-jobs/none"),
    ("POST", "/v1/stamp-jobs/{id}/cancel", "/v1/stamp-jobs/none/cancel"),
    ("GET", "/v1/stamp-jobs/{id}/content", "/v1/stamp-jobs/none/content"),
    ("GET", "/v1/stamp-jobs/{id}/documents/{n}/content", "/v1/stamp-jobs/none/documents/1/content"),
    ("POST", "/v1/timestamps", "/v1/timestamps"),
    ("POST", "/v1/timestamps:verify", "/v1/timestamps:verify"),
    ("GET", "/v1/timestamps/clock", "/v1/timestamps/clock"),
    ("POST", "/tsa", "/tsa"),
    ("GET", "/verify/{code}", "/verify/00000-00000-00000-00000"),
    ("GET", "/verify/{code}/evidence", "/verify/00000-00000-00000-00000/evidence"),
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

/// Of two types of one name the description would have one, in the place of both.
#[test]
fn no_two_types_are_described_under_one_name() {
    let mut names = BTreeMap::new();
    let mut folders = vec![repository().join("gateway/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for derived in text.split("#[derive(").skip(1) {
                let Some((traits, rest)) = derived.split_once(")]") else { continue };
                let mut words = rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
                let name = words.find(|word| ["struct", "enum"].contains(word)).and_then(|_| words.next());
                if traits.contains("ToSchema") && !rest.starts_with("\n#[schema(as") {
                    let before = names.insert(name.unwrap_or_default().to_owned(), path.clone());
                    assert_eq!(before, None, "{name:?} is in {} too", path.display());
                }
            }
        }
    }
    assert!(names.len() > 100, "{}", names.len());
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
