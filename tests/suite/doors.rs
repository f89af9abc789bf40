//! Each surface answers at its own doors, and at any other there is nothing.

use std::process::Command;

use tests::{Folder, Ran, Site};

fn status(site: &Site, listener: &str, path: &str) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]).arg(site.ca_file());
    Ran::of(curl.arg(format!("https://{}{path}", site.listener(listener)))).expect("curl").text
}

#[test]
fn a_site_for_production_shows_callers_no_administration_and_administration_no_business() {
    let folder = Folder::init();
    folder.configure("sandbox = true", "sandbox = false");
    folder.configure("http = \"127.0.0.1:8080\"\n", "admin = \"127.0.0.1:0\"\n");
    let site = folder.serve();
    for (path, callers, administration) in [
        ("/livez", "200", "200"),
        ("/readyz", "200", "200"),
        ("/openapi.json", "200", "200"),
        ("/v1/devices", "401", "401"),
        ("/v1/keys", "401", "404"),
        ("/v1/licenses/911000000000000000/status", "401", "401"),
        ("/v1/licenses/911000000000000000/files", "401", "404"),
        ("/console/", "404", "200"),
        ("/console/main.js", "404", "200"),
        ("/v1/admin/keys", "404", "401"),
        ("/v1/admin/custodians", "404", "401"),
        ("/v1/admin/accounts", "404", "401"),
        ("/v1/account", "404", "401"),
        ("/v1/sign-in", "404", "405"),
        ("/v1/audit/entries", "401", "401"),
        ("/metrics", "404", "200"),
        ("/v1/nothing", "404", "404"),
    ] {
        assert_eq!(status(&site, "https", path), callers, "{path} where callers come in");
        assert_eq!(status(&site, "admin", path), administration, "{path} at the listener for administration");
    }
    // At the admin socket everything is there.
    let keys = site.command(&["key", "list"]);
    assert!(keys.status.success(), "{}", String::from_utf8_lossy(&keys.stderr));
}
