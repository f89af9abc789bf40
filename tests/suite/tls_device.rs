//! A listener whose private key never leaves the devices.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tests::{Authority, Ran, Site, eventually};

use crate::ceremonies::Ceremonies;

const BOUND: Duration = Duration::from_secs(60);
const DEVICES: [&str; 7] = ["d1", "d2", "d3", "d4", "d5", "d6", "d7"];

fn shakes_hands(site: &Site, authority: &Authority) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "30", "--cacert"]).arg(authority.path("ca.pem"));
    Ran::of(curl.arg(format!("{}/livez", site.tls()))).ok
}

/// Handshakes that got no signature from the devices.
fn without_signature(site: &Site) -> u64 {
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    let name = "license_gateway_tls_handshakes_total{version=\"none\",outcome=\"device\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap_or(0)
}

#[test]
fn devices_sign_handshakes_and_without_them_handshakes_fail_fast_and_nothing_else_does() {
    let ceremonies = Ceremonies::start();
    let (site, authority) = (&ceremonies.site, Authority::new("Servers"));
    let wrapping = ceremonies.wrapping_key();
    ceremonies.succeed(json!({"act": "create", "key": "sys-tls", "group": "bureau", "algorithm": "p256",
        "purpose": "tls", "wrapping_key": wrapping}));
    ceremonies.succeed(json!({"act": "spread", "key": "sys-tls", "version": 1}));
    let csr = json!({"version": 1, "subject": "CN=localhost"});
    let csr = ceremonies.operator.post("/v1/admin/keys/sys-tls/csr", &csr).expect(201).json();
    let certificate = authority.certify("device", csr["csr"].as_str().unwrap(), "server");
    ceremonies.succeed(json!({"act": "install", "key": "sys-tls", "version": 1,
        "certificate_chain": certificate}));
    ceremonies.succeed(json!({"act": "rotate", "key": "sys-tls", "version": 1}));

    // The wrong key is refused at the reload, and all stays as it was.
    let chain = authority.path("device.pem").display().to_string();
    let key_file = "tls_key = \"pki/private/tls.pem\"\n";
    site.configure(&[
        ("pki/tls/chain.pem", &chain),
        (key_file, ""),
        ("[database]\n", "[tls]\nkey = \"demo-p256\"\nsign_timeout_ms = 500\n\n[database]\n"),
    ]);
    let refused = site.command(&["reload"]);
    let said = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
    assert!(!refused.status.success() && said.contains("tls.key"), "{said}");
    assert!(!shakes_hands(site, &authority));
    site.configure(&[("demo-p256\"\nsign", "sys-tls\"\nsign")]);
    let taken = site.command(&["reload"]);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    eventually("a device signs a handshake", BOUND, || shakes_hands(site, &authority).then_some(()));
    assert!(std::fs::remove_file(site.data().join("pki/private/tls.pem")).is_ok(), "nobody needs the file");

    // Devices that are away, and devices that hang.
    for fault in ["unreachable = true\n", "latency_ms = 60000.0\n"] {
        let before = without_signature(site);
        for device in DEVICES {
            site.fault(device, fault);
        }
        eventually("handshakes fail", BOUND, || (!shakes_hands(site, &authority)).then_some(()));
        std::thread::scope(|scope| {
            let more: Vec<_> = (0..40).map(|_| scope.spawn(|| shakes_hands(site, &authority))).collect();
            site.stranger(None).get("/livez").expect(200);
            assert!(more.into_iter().all(|one| !one.join().unwrap()));
        });
        eventually("and are counted", BOUND, || (without_signature(site) >= before + 40).then_some(()));
        for device in DEVICES {
            site.mend(device);
        }
        eventually("handshakes again", BOUND, || shakes_hands(site, &authority).then_some(()));
    }
}
