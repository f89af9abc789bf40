//! What differs between two configurations is named, field by field, and what needs a restart is told apart.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use config::{Config, Effect};

const SITE: &str = "\
[site]
sandbox = true
[server]
http = \"127.0.0.1:8080\"
[database]
url = \"sqlite://gateway.db\"
[[device]]
id = \"d1\"
group = \"bureau\"
module = \"m.so\"
token = \"t\"
pin_file = \"pin\"
env = { VENDOR_TOKEN = \"hush\" }
[[device]]
id = \"d2\"
group = \"bureau\"
module = \"m.so\"
token = \"t\"
pin_file = \"pin\"
";

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/site")).unwrap()
}

/// The fields that differ after a replacement, with what they need.
fn after(from: &str, to: &str) -> Vec<(String, Effect)> {
    assert!(SITE.contains(from), "{from}");
    let changes = parse(SITE).changes_to(&parse(&SITE.replacen(from, to, 1)));
    changes.into_iter().map(|change| (change.field, change.effect)).collect()
}

#[test]
fn the_same_text_differs_in_nothing() {
    assert_eq!(parse(SITE).changes_to(&parse(SITE)), []);
}

#[test]
fn limits_devices_and_trust_change_live() {
    let live = |field: &str| vec![(field.to_owned(), Effect::Live)];
    assert_eq!(after("[server]\n", "[server]\nbody_limit = 4096\n"), live("server.body_limit"));
    assert_eq!(after("[database]", "[trust]\nanchors = [\"a.pem\"]\n[database]"), live("trust.anchors"));
    for (text, field) in [
        ("[trust]\npoll_ms = 0", "trust.poll_ms"),
        ("[trust]\nseal_makers = [\"makers\"]", "trust.seal_makers"),
        ("[trust.documents]\nrevocation = \"off\"", "trust.documents.revocation"),
        ("[trust.licenses]\ngrace_ms = 5", "trust.licenses.grace_ms"),
        ("[trust.licenses]\nmax_age_ms = 5", "trust.licenses.max_age_ms"),
        ("[trust.documents]\npolicies = [\"1.2.3\"]", "trust.documents.policies"),
        ("[trust.fetch]\nproxy = \"http://proxy.example:3128\"", "trust.fetch.proxy"),
        ("[trust.fetch]\ntimeout_ms = 500", "trust.fetch.timeout_ms"),
        ("[[trust.crl]]\nurl = \"http://crl.example/\"", "trust.crl"),
        ("[[trust.ocsp]]\nurl = \"http://ocsp.example/\"\nissuer = \"i\"", "trust.ocsp"),
    ] {
        assert_eq!(after("[database]", &format!("{text}\n[database]")), live(field), "{text}");
    }
    for (text, field) in [
        ("[administration]\napproval_hours = 1", "administration.approval_hours"),
        ("[policy]\ndefault = \"refuse\"", "policy.default"),
    ] {
        assert_eq!(after("[database]", &format!("{text}\n[database]")), live(field), "{text}");
    }
    assert_eq!(after("[site]\n", "[site]\nutc_offset = \"-03:30\"\n"), live("site.utc_offset"));
    assert_eq!(after("[site]\n", "[site]\nutc_offset = \"+08:00\"\n"), [], "that is the default");
    assert_eq!(after("[database]", "[fleet]\nqueue = 7\n[database]"), live("fleet.queue"));
    assert_eq!(after("[database]", "[documents]\nfont = \"a.otf\"\n[database]"), live("documents.font"));
    let certifying = "[query_certificates]\nkey = \"agency\"\nagency = \"某局\"\n[database]";
    assert_eq!(after("[database]", certifying), live("query_certificates"));
    let archiving = "[archive_packages]\nkey = \"agency\"\n[database]";
    assert_eq!(after("[database]", archiving), live("archive_packages"));
    let speaking =
        "[[compat.system]]\nsyscode = \"SAIC_YWXT_000009\"\napp = \"window\"\nitem = \"i\"\n[database]";
    assert_eq!(after("[database]", speaking), live("compat"));
    assert_eq!(after("[database]", "[inspections]\nat = \"06:30\"\n[database]"), live("inspections"));
    let jobs = "[stamp_jobs]\nretention_days = 3\n[database]";
    assert_eq!(after("[database]", jobs), live("stamp_jobs.retention_days"));
    let purpose = "[library]\nrequire_purpose = true\n[database]";
    assert_eq!(after("[database]", purpose), live("library.require_purpose"));
    let retaining = "[retentions]\ndays = 30\n[database]";
    assert_eq!(after("[database]", retaining), live("retentions.days"));
    for (text, field) in [
        ("max_age_s = 60", "status.max_age_s"),
        ("required = true", "status.required"),
        ("decisions = \"d.toml\"", "status.decisions"),
    ] {
        assert_eq!(after("[database]", &format!("[status]\n{text}\n[database]")), live(field));
    }
    let policies = "[timestamps]\npolicies = [\"1.2.3\"]\n[database]";
    // A sandbox with timestamps keeps evidence.
    let both = [live("timestamps.policies"), live("stamp_evidence.keep")].concat();
    assert_eq!(after("[database]", policies), both);
    assert_eq!(after("id = \"d2\"\n", "id = \"d2\"\nlanes = 3\n"), live("device d2"));
    let swapped = after("id = \"d2\"", "id = \"d3\"");
    assert_eq!(swapped, [live("device d2"), live("device d3")].concat());
}

#[test]
fn addresses_the_database_and_the_kind_of_site_need_a_restart() {
    for (from, to, field) in [
        ("127.0.0.1:8080", "127.0.0.1:8081", "server.http"),
        ("gateway.db", "other.db", "database.url"),
        ("[server]\n", "[outbound]\nretry_ms = 100\n[server]\n", "outbound"),
        ("[server]\n", "[stamp_jobs]\nfolder = \"/elsewhere\"\n[server]\n", "stamp_jobs.folder"),
        ("[server]\n", "[retentions]\nfolder = \"/elsewhere\"\n[server]\n", "retentions.folder"),
        (
            "[server]\n",
            "[status]\nsource = \"national\"\nurl = \"https://a.example/\"\n[server]\n",
            "status.source",
        ),
        ("[server]\n", "[library]\nfolder = \"/elsewhere\"\n[server]\n", "library.folder"),
        ("[server]\n", "[administration]\ntwo_person = true\n[server]\n", "administration.two_person"),
        (
            "[database]",
            "[timestamps.clock]\nservers = [\"ntp.example\"]\n[database]",
            "timestamps.clock.servers",
        ),
        (
            "[server]\n",
            "[server]\nhttps = \"127.0.0.1:1\"\ntls_certificate = \"c\"\ntls_key = \"k\"\n",
            "server.https",
        ),
    ] {
        let changes = after(from, to);
        assert!(changes.contains(&(field.to_owned(), Effect::Restart)), "{field}: {changes:?}");
    }
    let production = SITE.replace("sandbox = true", "").replace(
        "http = \"127.0.0.1:8080\"",
        "https = \"127.0.0.1:1\"\ntls_certificate = \"c\"\ntls_key = \"k\"\n\
         [callers]\nissuer = \"https://gateway.example\"",
    );
    let changes = parse(SITE).changes_to(&parse(&production));
    let kind = changes.iter().find(|change| change.field == "site.sandbox").unwrap();
    assert_eq!(kind.effect, Effect::Restart);
}

#[test]
fn a_change_shows_no_value_of_a_devices_environment() {
    let changes = parse(SITE).changes_to(&parse(&SITE.replace("hush", "hush2")));
    assert_eq!(changes.len(), 1);
    let said = changes[0].to_string();
    assert_eq!(said, "device d1 changed: env");
    assert!(!said.contains("hush"));
}
