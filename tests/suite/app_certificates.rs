//! Client certificates as apps: exactly one certificate, or every one of an issuer for a name; tokens bound to them.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::{Authority, Folder, Ran, Scratch, Site};

fn site(authority: &Authority) -> Site {
    let folder = Folder::init();
    folder.configure("[server]\n", "[server]\nmutual = \"127.0.0.1:0\"\n");
    let tls = format!("[tls]\nclient_anchors = [{:?}]\n\n[database]\n", authority.path("ca.pem"));
    folder.configure("[database]\n", &tls);
    folder.serve()
}

/// A call at the listener for clients with certificates; its status and body.
fn call(site: &Site, authority: &Authority, client: &str, options: &[&str], path: &str) -> (u16, Value) {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-w", "\n%{http_code}", "--cacert"]).arg(site.ca_file());
    curl.arg("--cert").arg(authority.path(&format!("{client}.pem")));
    curl.arg("--key").arg(authority.path(&format!("{client}.key"))).args(options);
    let ran = Ran::of(curl.arg(format!("https://{}{path}", site.listener("mutual")))).expect("curl");
    let (body, status) = ran.text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}")))
}

fn enter(site: &Site, app: &str, kind: &str, certificate: &Path) {
    site.app_command(&["create", app, "--name", app, "--scope", "keys", "--reason", "test"]);
    let certificate = certificate.to_str().unwrap();
    site.app_command(&[
        "credential",
        "add",
        app,
        "--kind",
        kind,
        "--certificate",
        certificate,
        "--reason",
        "test",
    ]);
}

#[test]
fn a_certificate_is_the_app_it_was_entered_for() {
    let authority = Authority::new("Clients");
    for name in ["exact", "named", "stranger"] {
        authority.issue_for(name, "client");
    }
    let site = site(&authority);
    enter(&site, "by-certificate", "certificate", &authority.path("exact.pem"));
    enter(&site, "by-name", "certificate-name", &authority.path("named.pem"));
    let keys = |client| call(&site, &authority, client, &[], "/v1/keys");
    assert_eq!(keys("exact").0, 200);
    assert_eq!(keys("named").0, 200);
    let (status, refused) = keys("stranger");
    assert_eq!((status, &refused["code"]), (401, &json!("certificate_unknown")), "{refused}");
    // Renewed certificates: the same names, other keys.
    for name in ["exact", "named"] {
        authority.issue_for(name, "client");
    }
    assert_eq!(keys("exact").1["code"], "certificate_unknown");
    assert_eq!(keys("named").0, 200);
    // A name that looks the same is another name.
    let scratch = Scratch::new();
    let key = authority.path("alike.key");
    let request = "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -utf8 -subj /CN=n\u{430}med";
    scratch.openssl(&format!("{request} -keyout {} -out alike.csr", key.display())).expect("a request");
    authority.certify("alike", &String::from_utf8(scratch.read("alike.csr")).unwrap(), "client");
    assert_eq!(keys("alike").1["code"], "certificate_unknown");
    // What proves something else wins, and then that is who asks.
    let (status, refused) = call(&site, &authority, "exact", &["-H", "x-app-id: by-name"], "/v1/keys");
    assert_eq!((status, &refused["code"]), (400, &json!("signature_headers")), "{refused}");
    site.app_command(&["lock", "by-certificate", "--reason", "test"]);
    site.app_command(&["freeze", "by-name", "--reason", "test"]);
    assert_eq!(keys("named").1["code"], "certificate_unknown", "its credential is revoked");
}

#[test]
fn a_certificate_that_was_revoked_does_not_count_by_its_names() {
    let authority = Authority::new("Clients");
    authority.issue_for("stolen", "client");
    let site = site(&authority);
    let certificate = authority.path("stolen.pem");
    enter(&site, "both", "certificate-name", &certificate);
    let add = ["credential", "add", "both", "--kind", "certificate", "--certificate"];
    let added = [&add[..], &[certificate.to_str().unwrap(), "--reason", "test"]].concat();
    let added = site.app_command(&added);
    let keys = || call(&site, &authority, "stolen", &[], "/v1/keys");
    assert_eq!(keys().0, 200);
    let id = added["id"].as_str().unwrap();
    site.app_command(&["credential", "revoke", "both", id, "--reason", "stolen"]);
    assert_eq!(keys().1["code"], "certificate_unknown");
    // Its successor of the same names is as good as before.
    authority.issue_for("stolen", "client");
    assert_eq!(keys().0, 200);
}

#[test]
fn a_token_is_bound_to_the_certificate_it_was_given_for() {
    let authority = Authority::new("Clients");
    for name in ["holder", "thief"] {
        authority.issue_for(name, "client");
    }
    let site = site(&authority);
    enter(&site, "holder", "certificate", &authority.path("holder.pem"));
    enter(&site, "thief", "certificate", &authority.path("thief.pem"));
    let ask = |client: &str, app: &str| {
        let form = format!("grant_type=client_credentials&client_id={app}");
        call(&site, &authority, client, &["-d", &form], "/oauth2/token")
    };
    let (status, refused) = ask("thief", "holder");
    assert_eq!((status, &refused["error"]), (401, &json!("invalid_client")), "{refused}");
    let (status, answer) = ask("holder", "holder");
    assert_eq!(status, 200, "{answer}");
    let bearer = format!("authorization: Bearer {}", answer["access_token"].as_str().unwrap());
    let with = |client: &str| call(&site, &authority, client, &["-H", &bearer], "/v1/keys");
    assert_eq!(with("holder").0, 200);
    assert_eq!(with("thief").1["code"], "token_invalid");
    let (name, value) = bearer.split_once(": ").unwrap();
    let without = site.stranger(None).send("GET", "/v1/keys", &[(name, value)], None);
    assert_eq!(without.expect(401).json()["code"], "token_invalid", "without any certificate");
}
