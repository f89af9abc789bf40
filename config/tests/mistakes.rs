//! A file with several mistakes reports all of them, each with its line.

use std::path::Path;

use config::Config;

/// What a site needs behind `[site]`.
const REST: &str = "[server]\nhttps = \"127.0.0.1:1\"\ntls_certificate = \"c\"\ntls_key = \"k\"\n\
    [database]\nurl = \"sqlite://g.db\"\n\
    [[device]]\nid = \"d1\"\ngroup = \"g\"\nmodule = \"m\"\ntoken = \"t\"\npin_file = \"p\"\n\
    [callers]\nissuer = \"https://gateway.example\"\n";

fn mistakes(text: &str) -> Vec<(usize, String)> {
    match Config::parse(text, Path::new("/site")) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.into_iter().map(|m| (m.line, m.message)).collect(),
    }
}

#[test]
fn every_example_file_parses() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue; // profiles of client systems: tests/suite/profiles.rs enters each
        }
        let config = Config::load(&path).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        assert!(!config.devices.is_empty());
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn all_mistakes_of_a_file_come_at_once_with_their_lines() {
    let text = "\
[site]
sandbox = \"yes\"
colour = \"red\"

[server]
http = \"0.0.0.0:80\"
body_limit = 12

[database]
url = \"oracle://x\"

[fleet]
output_check = \"never\"

[[device]]
id = \"d 1\"
group = \"bureau\"
module = \"m.so\"
token = \"t\"
lanes = 0

[[device]]
id = \"d2\"
group = \"bureau\"
module = \"m.so\"
token = \"t\"
pin_file = \"pin\"

[[device]]
id = \"d2\"
group = \"bureau\"
module = \"m.so\"
token = \"t\"
pin_file = \"pin\"
";
    let found = mistakes(text);
    let expect = [
        (1, "callers.issuer: is required outside a sandbox"),
        (1, "server.http: plain HTTP is for a sandbox only"),
        (2, "site.sandbox: must be true or false"),
        (3, "site.colour: unknown field"),
        (6, "server.http: plain HTTP is allowed on a loopback address only"),
        (7, "server.body_limit: must be a whole number from 1024"),
        (10, "database.url: must begin with sqlite:// or be like postgres://user@host/database"),
        (13, "fleet.output_check: must be one of: always, first-use"),
        (15, "device.pin_file: is required"),
        (16, "device.id: must be 1 to 64"),
        (20, "device.lanes: must be a whole number from 1 to 256"),
        (29, "device.id: d2 is used twice"),
    ];
    assert_eq!(found.len(), expect.len(), "{found:#?}");
    for ((line, message), (expected_line, expected)) in found.iter().zip(expect) {
        assert_eq!((*line, message.starts_with(expected)), (expected_line, true), "{line}: {message}");
    }
}

#[test]
fn broken_toml_is_reported_with_its_line() {
    let found = mistakes("[site]\nname = \n");
    assert_eq!(found[0].0, 2, "{found:?}");
}

#[test]
fn an_empty_file_says_what_is_required() {
    let found = mistakes("");
    let all: String = found.iter().map(|(_, message)| format!("{message}\n")).collect();
    for field in ["server.https", "database.url", "device"] {
        assert!(all.contains(field), "{all}");
    }
}

#[test]
fn relative_paths_are_taken_from_the_files_folder() {
    let config = Config::parse(
        "[callers]\nissuer = \"https://gateway.example\"\n[server]\nhttps = \"127.0.0.1:1\"\ntls_certificate = \"c\"\ntls_key = \"/k\"\n[database]\nurl = \"sqlite://x.db\"\n[[device]]\nid = \"d1\"\ngroup = \"g\"\nmodule = \"m\"\ntoken = \"t\"\npin_file = \"p\"\n",
        Path::new("/site"),
    )
    .unwrap();
    assert_eq!(config.server.tls_certificate.as_deref(), Some(Path::new("/site/c")));
    assert_eq!(config.server.tls_key.as_deref(), Some(Path::new("/k")));
    assert_eq!(config.database.url, "sqlite:///site/x.db");
    assert_eq!(config.devices[0].pin_file, Path::new("/site/p"));
}

#[test]
fn mistakes_about_trust_and_its_sources_come_with_their_lines() {
    let text = "\
[trust]
anchors = \"roots\"
poll_ms = 3_600_001

[trust.documents]
revocation = \"sometimes\"
policies = [\"1.2.156.1\", \"policy\"]
max_age_ms = -1

[trust.licenses]
grace = 5

[trust.fetch]
proxy = \"https://proxy.example\"
timeout_ms = 1

[[trust.crl]]
url = \"ldap://directory.example/\"

[[trust.crl]]
url = \"https://crl.example/a.crl\"

[[trust.crl]]
url = \"http://crl.example/b.crl\"

[[trust.crl]]
url = \"http://crl.example/b.crl\"
refresh_ms = 1

[[trust.ocsp]]
url = \"http://user:secret@ocsp.example/\"
hash = \"md5\"
seen = 10_001

[server]
https = \"127.0.0.1:1\"
tls_certificate = \"c\"
tls_key = \"k\"

[database]
url = \"sqlite://x.db\"

[[device]]
id = \"d1\"
group = \"g\"
module = \"m\"
token = \"t\"
pin_file = \"p\"

[callers]
issuer = \"https://gateway.example\"
";
    let found = mistakes(text);
    let expect = [
        (2, "trust.anchors: must be a list of file names"),
        (3, "trust.poll_ms: must be a whole number from 0 to 3600000"),
        (6, "trust.documents.revocation: must be one of: required, when-known, off"),
        (7, "trust.documents.policies: must be object identifiers"),
        (8, "trust.documents.max_age_ms: must be a whole number"),
        (11, "trust.licenses.grace: unknown field"),
        (14, "trust.fetch.proxy: must begin with http://"),
        (15, "trust.fetch.timeout_ms: must be a whole number from 100"),
        (18, "trust.crl.url: must begin with http:// or https://"),
        (20, "trust.crl.url: https needs trust.fetch.tls_anchors"),
        (26, "trust.crl.url: http://crl.example/b.crl is used twice"),
        (28, "trust.crl.refresh_ms: must be a whole number from 50"),
        (30, "trust.ocsp.issuer: is required"),
        (31, "trust.ocsp.url: must not hold a user name or password"),
        (32, "trust.ocsp.hash: must be one of: sha1, sha256, sm3"),
        (33, "trust.ocsp.seen: must be a whole number from 0 to 10000"),
    ];
    for ((line, message), (expected_line, expected)) in found.iter().zip(expect) {
        assert_eq!((*line, message.starts_with(expected)), (expected_line, true), "{line}: {message}");
    }
    assert_eq!(found.len(), expect.len(), "{found:#?}");
    assert!(!format!("{found:?}").contains("secret"), "{found:?}");
}

#[test]
fn what_tls_needs_is_asked_for_where_it_is_spoken() {
    let rest = "[callers]\nissuer = \"https://gateway.example\"\n[database]\nurl = \"sqlite://x.db\"\n[[device]]\nid = \"d1\"\ngroup = \"g\"\nmodule = \"m\"\ntoken = \"t\"\npin_file = \"p\"\n";
    let said = |server: &str, tls: &str| -> String {
        let found = mistakes(&format!("[server]\n{server}\n[tls]\n{tls}\n{rest}"));
        found.iter().map(|(_, message)| format!("{message}\n")).collect()
    };
    let files = "tls_certificate = \"c\"\ntls_key = \"k\"";
    assert_eq!(said(&format!("https = \"127.0.0.1:1\"\n{files}"), ""), "");
    let nothing = said("mutual = \"127.0.0.1:1\"", "");
    for field in ["server.tls_certificate", "server.tls_key", "tls.client_anchors"] {
        assert!(nothing.contains(field), "{nothing}");
    }
    let both = said(&format!("https = \"127.0.0.1:1\"\n{files}"), "key = \"sys-tls\"");
    assert!(both.contains("tls.key: not together"), "{both}");
    assert_eq!(said("https = \"127.0.0.1:1\"\ntls_certificate = \"c\"", "key = \"sys-tls\""), "");
    let asked = said(&format!("https = \"127.0.0.1:1\"\nclient_auth = \"optional\"\n{files}"), "");
    assert!(asked.contains("tls.client_anchors"), "{asked}");
    let odd =
        said(&format!("https = \"127.0.0.1:1\"\n{files}"), "minimum = \"1.1\"\nsuites = [1]\nkey = \"a b\"");
    for field in ["tls.minimum", "tls.suites", "tls.key"] {
        assert!(odd.contains(field), "{odd}");
    }
}

#[test]
fn api_keys_are_for_a_sandbox_only() {
    let site = "[server]\nhttps = \"0.0.0.0:443\"\ntls_certificate = \"c\"\ntls_key = \"k\"\n[database]\nurl = \"sqlite://g.db\"\n\
        [[device]]\nid = \"d1\"\ngroup = \"g\"\nmodule = \"m.so\"\ntoken = \"t\"\npin_file = \"pin\"\n";
    let of = |callers: &str| mistakes(&format!("[callers]\n{callers}\n{site}"));
    let named = |callers: &str| of(&format!("{callers}\nissuer = \"https://gateway.example\""));
    assert_eq!(named("api_keys = false"), []);
    assert_eq!(of("issuer = \"https://gateway.example:8443\"\ntoken_lifetime_s = 900"), []);
    for (callers, said) in [
        (
            "api_keys = true\nissuer = \"https://gateway.example\"",
            "callers.api_keys: API keys are for a sandbox only (site.sandbox = true)",
        ),
        (
            "issuer = \"http://gateway.example\"",
            "callers.issuer: must be an https URL without query, fragment and final slash",
        ),
        (
            "issuer = \"https://gateway.example/\"",
            "callers.issuer: must be an https URL without query, fragment and final slash",
        ),
        (
            "token_lifetime_s = 901\nissuer = \"https://gateway.example\"",
            "callers.token_lifetime_s: must be a whole number from 30 to 900",
        ),
    ] {
        assert_eq!(of(callers), [(2, said.to_owned())]);
    }
    let text = format!("[callers]\nissuer = \"https://gateway.example\"\n{site}");
    let config = Config::parse(&text, Path::new("/site")).unwrap();
    assert!(!config.callers.api_keys);
}

#[test]
fn the_national_fronts_protocol_is_off_but_in_a_sandbox_and_each_system_is_one_app() {
    let site = "[database]\nurl = \"sqlite://g.db\"\n\
        [[device]]\nid = \"d1\"\ngroup = \"g\"\nmodule = \"m.so\"\ntoken = \"t\"\npin_file = \"pin\"\n";
    let server = "[server]\nhttps = \"0.0.0.0:443\"\ntls_certificate = \"c\"\ntls_key = \"k\"\n";
    let real = format!("{server}[callers]\nissuer = \"https://gateway.example\"\n{site}");
    let sandbox = format!("[site]\nsandbox = true\n{server}{site}");
    for (text, enabled) in [(&real, false), (&sandbox, true)] {
        assert_eq!(Config::parse(text, Path::new("/site")).unwrap().compat.enabled, enabled);
    }
    let system = |syscode: &str, more: &str| {
        format!(
            "[[compat.system]]\nsyscode = {syscode:?}\napp = \"window\"\nitem = \"annual-report\"\n{more}"
        )
    };
    let one = system("SAIC_YWXT_000001", "fields = [\"name\"]\n");
    let config = Config::parse(&format!("{real}{one}"), Path::new("/site")).unwrap();
    assert_eq!(config.compat.system("SAIC_YWXT_000001").unwrap().fields, ["name"]);
    assert_eq!(config.compat.system("SAIC_YWXT_000002"), None);
    for (systems, said) in [
        (format!("{one}{one}"), "compat.system.syscode: is there twice"),
        (
            system("SAIC_FRONT_000001", ""),
            "compat.system.syscode: must be SAIC_YWXT_ and 6 letters or digits",
        ),
        (
            system("SAIC_YWXT_000001", "fields = 1\n"),
            "compat.system.fields: must be a list of names of fields",
        ),
        (system("SAIC_YWXT_000001", "role = 1\n"), "compat.system.role: unknown field"),
        (one.replace("annual-report", "annual report"), "compat.system.item: must be the code of an item"),
        (one.replace("window", "gateway"), "compat.system.app"),
    ] {
        let found = mistakes(&format!("{real}{systems}"));
        assert!(found.len() == 1 && found[0].1.starts_with(said), "{said}: {found:?}");
    }
}

#[test]
fn a_real_site_says_for_whom_assertions_and_tokens_are_meant() {
    let site = |sandbox: bool, callers: &str| {
        format!(
            "[site]\nsandbox = {sandbox}\n[server]\nhttps = \"0.0.0.0:443\"\ntls_certificate = \"c\"\ntls_key = \"k\"\n\
             [database]\nurl = \"sqlite://g.db\"\n[[device]]\nid = \"d1\"\ngroup = \"g\"\nmodule = \"m\"\ntoken = \"t\"\n\
             pin_file = \"p\"\n{callers}"
        )
    };
    for (callers, line) in [("", 1), ("[callers]\ntoken_lifetime_s = 60\n", 15)] {
        let found = mistakes(&site(false, callers));
        assert_eq!((found.len(), found[0].0), (1, line), "{found:?}");
        assert!(found[0].1.starts_with("callers.issuer: is required outside a sandbox"), "{found:?}");
    }
    assert_eq!(mistakes(&site(false, "[callers]\nissuer = \"https://gateway.example\"\n")), []);
    let sandbox = Config::parse(&site(true, ""), Path::new("/site")).unwrap();
    assert_eq!(sandbox.callers.issuer, "urn:license-gateway:license-gateway");
}

#[test]
fn what_is_said_of_people_fits_together() {
    let site = "[server]\nhttps = \"0.0.0.0:443\"\ntls_certificate = \"c\"\ntls_key = \"k\"\n[database]\nurl = \"sqlite://g.db\"\n\
        [[device]]\nid = \"d1\"\ngroup = \"g\"\nmodule = \"m.so\"\ntoken = \"t\"\npin_file = \"pin\"\n\
        [callers]\nissuer = \"https://gateway.example\"\n";
    let of = |people: &str| mistakes(&format!("[people]\n{people}\n{site}"));
    assert_eq!(of("idle_s = 600\nsession_s = 600\npassword_days = 5\nlockout_tries = 3"), []);
    for (people, said) in [
        ("password_length = 9", "people.password_length: must be a whole number from 10 to 64"),
        ("lockout_tries = 100", "people.lockout_tries: must be a whole number from 3 to 20"),
        ("idle_s = 30000", "people.idle_s: must not be longer than session_s"),
        ("reminder_days = 90", "people.reminder_days: must be less than password_days"),
        ("lockout_longest_s = 59", "people.lockout_longest_s: must not be shorter than lockout_pause_s"),
    ] {
        assert_eq!(of(people), [(2, said.to_owned())]);
    }
    let config = Config::parse(site, Path::new("/site")).unwrap();
    assert_eq!((config.people.password_length, config.people.unused_days), (12, 90));
}

#[test]
fn records_of_a_real_site_are_kept_for_six_months_and_never_thrown_away() {
    let site = |sandbox: bool, audit: &str| {
        mistakes(&format!(
            "[site]\nsandbox = {sandbox}\n[server]\nhttps = \"127.0.0.1:1\"\ntls_certificate = \"c\"\ntls_key = \"k\"\n\
             [database]\nurl = \"sqlite://x.db\"\n[audit]\n{audit}\n[[device]]\nid = \"d1\"\ngroup = \"g\"\n\
             module = \"m\"\ntoken = \"t\"\npin_file = \"p\"\n[callers]\nissuer = \"https://gateway.example\"\n"
        ))
    };
    let good = "archive = \"a\"\nretention_days = 183\narchive_after_days = 183\nanchor_url = \"http://h/\"";
    assert_eq!(site(false, good), []);
    assert_eq!(site(true, "archive = \"a\"\nretention_days = 0\narchive_after_days = 0\ndiscard = true"), []);
    for (audit, expected) in [
        ("archive = \"a\"\nretention_days = 182", "audit.retention_days: must be a whole number from 183"),
        ("retention_days = 365", "audit.retention_days: has a meaning with archive only"),
        (
            "archive = \"a\"\nretention_days = 200\narchive_after_days = 201",
            "audit.retention_days: must not be less than archive_after_days",
        ),
        ("archive_after_days = 0", "audit.archive_after_days: must be a whole number from 1"),
        ("discard = true", "audit.discard: is for measuring in a sandbox only"),
        ("checkpoint_entries = 1001", "audit.checkpoint_entries: must be a whole number from 1 to 1000"),
        (
            "checkpoint_interval_ms = 2000",
            "audit.checkpoint_interval_ms: must be a whole number from 10 to 1000",
        ),
        ("anchor_url = \"ftp://h/\"", "audit.anchor_url: must begin with http:// or https://"),
        ("anchor_url = \"https://h/\"", "audit.anchor_url: https needs trust.fetch.tls_anchors"),
    ] {
        let found = site(false, audit);
        assert_eq!(found.len(), 1, "{audit}: {found:?}");
        assert!(found[0].1.starts_with(expected), "{audit}: {found:?}");
    }
}

#[test]
fn a_real_site_wants_two_people_and_a_sandbox_one_and_the_offset_has_one_form() {
    let site = |head: &str| format!("[site]\n{head}{}", REST);
    let parse = |head: &str| Config::parse(&site(head), Path::new("/site"));
    assert!(parse("sandbox = false\n").unwrap().administration.two_person);
    assert!(!parse("sandbox = true\n").unwrap().administration.two_person);
    for (offset, seconds) in [("+08:00", 28_800), ("-03:30", -12_600), ("+00:00", 0)] {
        let config = parse(&format!("utc_offset = \"{offset}\"\n")).unwrap();
        assert_eq!(config.site.utc_offset.whole_seconds(), seconds, "{offset}");
    }
    for offset in ["8", "+8", "08:00", "+08:60", "+26:00", "Asia/Shanghai", ""] {
        let mistakes = parse(&format!("utc_offset = \"{offset}\"\n")).unwrap_err();
        assert!(mistakes[0].message.starts_with("site.utc_offset: must "), "{offset}: {mistakes:?}");
    }
}

#[test]
fn where_apps_are_told_things_is_public_unless_the_file_says_so() {
    let parse = |lines: &str| {
        let text = format!("[outbound]\n{lines}[site]\n{REST}");
        Config::parse(&text, Path::new("/site")).map(|config| config.outbound)
    };
    let usual = parse("").unwrap();
    assert_eq!((usual.networks.len(), usual.retry.as_secs(), usual.give_up.as_secs()), (0, 5, 86_400));
    let said =
        parse("networks = [\"10.20.0.0/16\", \"fd00::/8\"]\nretry_ms = 100\ngive_up_hours = 1\n").unwrap();
    assert_eq!((said.networks.len(), said.retry.as_millis(), said.give_up.as_secs()), (2, 100, 3600));
    for (line, field) in [
        ("networks = [\"10.20.0.0\"]\n", "outbound.networks: \"10.20.0.0\" is no network"),
        ("networks = [\"10.20.0.0/33\"]\n", "outbound.networks"),
        ("networks = \"10.20.0.0/16\"\n", "outbound.networks"),
        ("retry_ms = 1\n", "outbound.retry_ms"),
        ("give_up_hours = 0\n", "outbound.give_up_hours"),
        ("hosts = []\n", "outbound.hosts: unknown field"),
    ] {
        let mistakes = parse(line).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].message.starts_with(field), "{line}: {mistakes:?}");
        assert_eq!(mistakes[0].line, 2);
    }
}

#[test]
fn documents_on_their_way_have_a_folder_and_bounds() {
    let parse = |lines: &str| {
        let text = format!("[stamp_jobs]\n{lines}[site]\n{REST}");
        Config::parse(&text, Path::new("/site")).map(|config| config.stamp_jobs)
    };
    let usual = parse("").unwrap();
    assert_eq!(usual.folder, Path::new("/site/documents"));
    assert_eq!((usual.retention.as_secs(), usual.upload_octets), (7 * 86_400, 4 << 30));
    let said = parse("folder = \"/srv/documents\"\nupload_mebibytes = 1\nmost_running = 2\n").unwrap();
    assert_eq!(
        (said.folder.to_str(), said.upload_octets, said.most_running),
        (Some("/srv/documents"), 1 << 20, 2)
    );
    for line in [
        "retention_days = 0\n",
        "upload_seconds = 0\n",
        "upload_mebibytes = 0\n",
        "most_running = 0\n",
        "days = 3\n",
    ] {
        let field = line.split(' ').next().unwrap();
        let mistakes = parse(line).unwrap_err();
        let expected = format!("stamp_jobs.{field}: ");
        assert!(mistakes.len() == 1 && mistakes[0].message.starts_with(&expected), "{line}: {mistakes:?}");
    }
}

#[test]
fn evidence_of_stamps_is_kept_where_there_are_timestamps() {
    let parse = |sandbox: bool, lines: &str| {
        let text = format!("{lines}[site]\nsandbox = {sandbox}\n{REST}");
        Config::parse(&text, Path::new("/site")).map(|config| config.stamp_evidence)
    };
    let policy = "[timestamps]\npolicies = [\"1.2.3.4\"]\n[timestamps.clock]\nrequired = false\n";
    let usual = parse(true, policy).unwrap();
    assert_eq!((usual.keep, usual.retention, usual.folder.to_str()), (true, None, Some("/site/evidence")));
    assert_eq!(usual.renew_before.as_secs(), 365 * 86_400);
    assert!(!parse(true, "").unwrap().keep);
    let said = parse(true, &format!("{policy}[stamp_evidence]\nretention_days = 30\n")).unwrap();
    assert_eq!(said.retention.unwrap().as_secs(), 30 * 86_400);
    for (line, field) in [
        ("keep = true\n", "stamp_evidence.keep: evidence needs"),
        ("retention_days = -1\n", "stamp_evidence.retention_days: "),
        ("renew_before_days = 0\n", "stamp_evidence.renew_before_days: "),
        ("renew_after_days = 0\n", "stamp_evidence.renew_after_days: "),
        ("days = 3\n", "stamp_evidence.days: "),
    ] {
        let mistakes = parse(true, &format!("[stamp_evidence]\n{line}")).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].message.starts_with(field), "{line}: {mistakes:?}");
    }
}

#[test]
fn retentions_are_kept_for_days_beside_the_configuration() {
    let parse = |lines: &str| {
        let text = format!("{lines}[site]\nsandbox = true\n{REST}");
        Config::parse(&text, Path::new("/site")).map(|config| config.retentions)
    };
    let usual = parse("").unwrap();
    assert_eq!((usual.folder.to_str(), usual.days), (Some("/site/retentions"), 3_650));
    assert_eq!(parse("[retentions]\ndays = 30\n").unwrap().days, 30);
    for (line, field) in [
        ("days = 0\n", "retentions.days: "),
        ("days = 36501\n", "retentions.days: "),
        ("retention_days = 3\n", "retentions.retention_days: "),
    ] {
        let mistakes = parse(&format!("[retentions]\n{line}")).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].message.starts_with(field), "{line}: {mistakes:?}");
    }
}

#[test]
fn an_authority_of_a_real_site_has_time_servers_and_promises_no_more_than_it_watches() {
    let site = |sandbox: bool, timestamps: &str| {
        mistakes(&format!(
            "[site]\nsandbox = {sandbox}\n[server]\nhttps = \"127.0.0.1:1\"\ntls_certificate = \"c\"\ntls_key = \"k\"\n\
             [database]\nurl = \"sqlite://x.db\"\n[timestamps]\n{timestamps}\n[[device]]\nid = \"d1\"\ngroup = \"g\"\n\
             module = \"m\"\ntoken = \"t\"\npin_file = \"p\"\n[callers]\nissuer = \"https://gateway.example\"\n"
        ))
    };
    let policy = "policies = [\"1.2.3.4\"]";
    assert_eq!(site(false, ""), []);
    assert_eq!(site(true, policy), []);
    assert_eq!(site(false, &format!("{policy}\n[timestamps.clock]\nservers = [\"ntp.example\"]")), []);
    assert_eq!(site(false, &format!("{policy}\n[timestamps.clock]\nrequired = false")), []);
    for (timestamps, expected) in [
        (policy.to_owned(), "timestamps.policies: timestamps need timestamps.clock.servers"),
        ("policies = [\"1\"]".to_owned(), "timestamps.policies: must be object identifiers"),
        ("public = true".to_owned(), "timestamps.public: has a meaning with policies only"),
        ("accuracy_ms = 499".to_owned(), "timestamps.accuracy_ms: must not be less than"),
        (
            "[timestamps.clock]\nservers = [\"http://ntp.example\"]".to_owned(),
            "timestamps.clock.servers: must be names or addresses",
        ),
        (
            "[timestamps.clock]\nservers = [\"a\", \"a\"]".to_owned(),
            "timestamps.clock.servers: a is named twice",
        ),
        ("[timestamps.clock]\npoll_ms = 600000".to_owned(), "timestamps.clock.max_age_ms: must be more than"),
        ("[timestamps.outside]\nroots = [\"r\"]".to_owned(), "timestamps.outside.url: is required"),
        ("[timestamps.outside]\nurl = \"http://h/\"".to_owned(), "timestamps.outside.roots: must name"),
        (
            "[timestamps.outside]\nurl = \"https://h/\"\nroots = [\"r\"]".to_owned(),
            "timestamps.outside.url: https needs trust.fetch.tls_anchors",
        ),
    ] {
        let found = site(false, &timestamps);
        assert_eq!(found.len(), 1, "{timestamps}: {found:?}");
        assert!(found[0].1.starts_with(expected), "{timestamps}: {found:?}");
    }
}

#[test]
fn query_certificates_name_who_certifies_and_by_which_key() {
    let site = |certificates: &str| {
        mistakes(&format!(
            "[site]\nsandbox = true\n[server]\nhttp = \"127.0.0.1:1\"\n[database]\nurl = \"sqlite://x.db\"\n\
             [query_certificates]\n{certificates}\n[[device]]\nid = \"d1\"\ngroup = \"g\"\nmodule = \"m\"\n\
             token = \"t\"\npin_file = \"p\"\n"
        ))
    };
    let whole = "key = \"agency\"\nagency = \"某局\"";
    assert_eq!(site(whole), []);
    assert_eq!(site(&format!("{whole}\nseal = \"31\"\nlevel = \"B-LTA\"\nretention_days = 1")), []);
    for (certificates, expected) in [
        ("agency = \"某局\"".to_owned(), "query_certificates.key: is required"),
        ("key = \"agency\"".to_owned(), "query_certificates.agency: is required"),
        ("key = \"agency\"\nagency = \" \"".to_owned(), "query_certificates.agency: must be 1 to 60"),
        (format!("{whole}\nlevel = \"B\""), "query_certificates.level"),
        (format!("{whole}\nseal = \"a b\""), "query_certificates.seal"),
        (format!("{whole}\nper_app_and_day = 0"), "query_certificates.per_app_and_day"),
        (format!("{whole}\nretention_days = 0"), "query_certificates.retention_days"),
        (format!("{whole}\nlimit = 0"), "query_certificates.limit: unknown field"),
        (format!("{whole}\n[archive_packages]"), "archive_packages.key: is required"),
        (format!("{whole}\n[archive_packages]\nkey = \"a b\""), "archive_packages.key"),
    ] {
        let found = site(&certificates);
        assert!(found.iter().any(|(_, said)| said.contains(expected)), "{expected}: {found:?}");
    }
}

#[test]
fn inspections_are_due_at_times_that_are_some() {
    let found = |text: &str| mistakes(&format!("[site]\nname = \"x\"\n{REST}[inspections]\n{text}\n"));
    let whole = "at = \"06:30\"\nweekly = false\nkey_moments = [\"2026-12-31T08:00:00+08:00\"]\nkey = \"agency\"\n\
        retention_days = 400";
    assert_eq!(found(whole), []);
    for (text, expected) in [
        ("at = \"24:00\"", "inspections.at: must be a time of the day"),
        ("at = \"6:30\"", "inspections.at: must be a time of the day"),
        ("at = \"+6:30\"", "inspections.at: must be a time of the day"),
        ("at = \"0630\"", "inspections.at: must be a time of the day"),
        ("key_moments = [\"2026-12-31\"]", "inspections.key_moments: must be times"),
        ("key_moments = \"2026-12-31T08:00:00+08:00\"", "inspections.key_moments: must be a list of times"),
        ("key = \"a b\"", "inspections.key"),
        ("retention_days = 1", "inspections.retention_days"),
        ("hourly = true", "inspections.hourly: unknown field"),
    ] {
        let found = found(text);
        assert!(found.iter().any(|(_, said)| said.contains(expected)), "{expected}: {found:?}");
    }
}

#[test]
fn what_says_how_the_national_service_is_asked_needs_its_address_and_is_of_no_use_without_it() {
    let status = |text: &str| mistakes(&format!("[site]\nname = \"x\"\n{REST}[status]\n{text}\n"));
    let only = |field: &str| format!("status.{field}: is of use with source = \"national\" only");
    assert_eq!(status("source = \"library\"\nmax_age_s = 60\nrequired = true"), []);
    assert_eq!(status("source = \"national\"\nurl = \"https://a.example/\"\ncache_s = 0"), []);
    let said = |text: &str| status(text).into_iter().map(|(_, message)| message).collect::<Vec<_>>();
    assert_eq!(said("source = \"national\""), ["status.url: is required"]);
    assert_eq!(said("source = \"elsewhere\""), ["status.source: must be one of: library, national"]);
    assert_eq!(said("url = \"https://a.example/\"\ncache_s = 1"), [only("url"), only("cache_s")]);
    assert_eq!(
        said("source = \"national\"\nurl = \"https://a.example/\"\nconcurrency = 0"),
        ["status.concurrency: must be a whole number from 1 to 1000"]
    );
}
