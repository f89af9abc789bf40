//! Revocation lists and OCSP answers are fetched in the background from configured addresses; a slow or hostile source
//! delays and deceives nobody.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Authority, Folder, Ran, Reply, Site, Source, base64, eventually, gateway, shared};

const SOON: Duration = Duration::from_secs(60);

/// A sandbox that trusts this root for documents and goes by these rules.
fn folder(root: PathBuf, rules: &str) -> Folder {
    let folder = Folder::init();
    folder.trust(&[root]);
    folder.configure("[fleet]\n", &format!("{rules}\n[fleet]\n"));
    folder
}

/// The verdict on a signature, and the findings' codes.
fn judged(site: &Site, body: &Value) -> (String, Vec<String>) {
    let answer = site.app().post("/v1/verifications", body).expect(200).json();
    let findings = answer["findings"].as_array().unwrap().iter();
    let codes = findings.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect();
    (answer["verdict"].as_str().unwrap().to_owned(), codes)
}

#[track_caller]
fn await_judged(site: &Site, body: &Value, verdict: &str, codes: &[&str]) {
    eventually(&format!("{verdict} {codes:?}"), SOON, || {
        let (found, findings) = judged(site, body);
        (found == verdict && findings == codes).then_some(())
    });
}

fn trust(site: &Site) -> Value {
    site.app_number(2).get("/v1/trust").expect(200).json()
}

/// Waits until the first source's last attempt came to this.
#[track_caller]
fn await_outcome(site: &Site, outcome: &str) -> Value {
    eventually(outcome, SOON, || {
        let source = trust(site)["sources"][0].clone();
        (source["outcome"] == outcome).then_some(source)
    })
}

type Answer = Box<dyn Fn() -> Reply + Send + Sync>;

fn reply(answer: impl Fn() -> Reply + Send + Sync + 'static) -> Answer {
    Box::new(answer)
}

fn body(octets: Vec<u8>) -> Answer {
    reply(move || Reply::Body(octets.clone()))
}

fn tomorrow() -> String {
    let date = Ran::of(Command::new("date").args(["-u", "-d", "+1 day", "+%FT%TZ"])).expect("date");
    date.text.trim().to_owned()
}

#[test]
fn what_a_list_tells_counts_once_it_is_fetched_and_nothing_bad_takes_its_place() {
    let (authority, source) = (Authority::new("Listed"), Source::start());
    authority.issue("signer");
    let rules = format!(
        "[trust.documents]\nrevocation = \"required\"\n\
         [trust.fetch]\nretry_ms = 20\ntimeout_ms = 500\ncrl_limit = 65536\n\
         [[trust.crl]]\nurl = \"{}\"\nrefresh_ms = 60\n",
        source.url("ca.crl")
    );
    let site = folder(authority.root(), &rules).serve();
    let signed = authority.verification("signer");
    await_outcome(&site, "http_status");
    await_judged(&site, &signed, "indeterminate", &["revocation_unknown"]);

    let (first, generation) = (authority.crl(), trust(&site)["documents_generation"].clone());
    source.answer("ca.crl", move |_| Reply::Tagged("\"1\"".to_owned(), first.clone()));
    await_judged(&site, &signed, "valid", &[]);
    assert_ne!(trust(&site)["documents_generation"], generation);
    eventually("a conditional request is answered 304", SOON, || {
        (source.count("ca.crl", 304) > 0).then_some(())
    });
    let mut later = signed.clone();
    later["at"] = tomorrow().into();
    await_judged(&site, &later, "indeterminate", &["crl_stale"]);

    authority.revoke("signer");
    let second = authority.crl();
    source.answer("ca.crl", move |_| Reply::Tagged("\"2\"".to_owned(), second.clone()));
    await_judged(&site, &signed, "invalid", &["revoked"]);
    let listed = &trust(&site)["crls"];
    let ours = listed.as_array().unwrap().iter().find(|crl| crl["issuer"] == "CN=Listed").unwrap().clone();
    assert_eq!((&ours["entries"], &ours["overdue"]), (&json!(1), &json!(false)), "{ours}");
    assert_eq!(ours["url"], source.url("ca.crl"));

    let (namesake, elsewhere) = (Authority::new("Listed"), Source::start());
    elsewhere.put("ca.crl", authority.crl());
    let years = |from, to| {
        authority.crl_with(&format!("-crl_lastupdate {from}0101000000Z -crl_nextupdate {to}0101000000Z"))
    };
    let redirect = elsewhere.url("ca.crl");
    let bad = [
        ("crl_signature_invalid", body(namesake.crl())),
        ("older", body(years(2024, 2040))),
        ("from_the_future", body(years(2040, 2041))),
        ("malformed", body(b"<html>Sorry</html>".to_vec())),
        ("too_large", reply(|| Reply::Endless)),
        ("too_large", body(vec![0x30; 65_537])),
        ("redirect_refused", reply(move || Reply::Redirect(redirect.clone()))),
        ("http_status", reply(|| Reply::Status(500))),
        ("timeout", reply(|| Reply::Hang)),
    ];
    for (outcome, reply) in bad {
        source.answer("ca.crl", move |_| reply());
        let shown = await_outcome(&site, outcome);
        assert!(shown["failures"].as_u64() >= Some(1) && shown["detail"].is_string(), "{shown}");
        assert_eq!(judged(&site, &signed), ("invalid".to_owned(), vec!["revoked".to_owned()]), "{outcome}");
    }
    assert_eq!(elsewhere.count("ca.crl", 200), 0, "no address is asked that is not configured");
    let log = site.log();
    assert!(log.contains("code=\"older\"") && log.contains("must not be taken"), "{log}");

    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    for name in ["crl_age_seconds", "crl_due_seconds", "revocation_fetch_failures"] {
        assert!(metrics.contains(&format!("license_gateway_{name}{{")), "{name}: {metrics}");
    }
    let older =
        format!("revocation_fetches{{kind=\"crl\",url=\"{}\",outcome=\"older\"}}", source.url("ca.crl"));
    assert!(metrics.contains(&older), "{metrics}");
    let table = site.command(&["trust"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("CN=Listed") && table.contains(&source.url("ca.crl")), "{table}");

    // The authority cannot be reached any more, and the gateway begins anew.
    drop(source);
    let (folder, status) = site.stop();
    assert!(status.success(), "{status}");
    let site = folder.serve();
    assert_eq!(judged(&site, &signed), ("invalid".to_owned(), vec!["revoked".to_owned()]));
    await_outcome(&site, "unreachable");
}

#[test]
fn a_list_is_fetched_over_https_from_a_server_of_the_configured_roots_only() {
    let (authority, others) = (Authority::new("Secured"), Authority::new("Others"));
    authority.issue("signer");
    authority.crl(); // list.der in its folder, which the server gives out
    let server = authority.serve();
    let rules = |root: PathBuf| {
        format!(
            "[trust.documents]\nrevocation = \"required\"\n\
             [trust.fetch]\nretry_ms = 20\ntls_anchors = [{root:?}]\n\
             [[trust.crl]]\nurl = \"{}\"\nrefresh_ms = 60\n",
            server.url("list.der")
        )
    };
    let signed = authority.verification("signer");
    let site = folder(authority.root(), &rules(authority.root())).serve();
    await_judged(&site, &signed, "valid", &[]);
    let site = folder(authority.root(), &rules(others.root())).serve();
    let shown = await_outcome(&site, "unreachable");
    assert!(shown["detail"].as_str().unwrap().contains("UnknownIssuer"), "{shown}");
    assert_eq!(judged(&site, &signed), ("indeterminate".to_owned(), vec!["revocation_unknown".to_owned()]));
}

#[test]
fn a_list_is_fetched_through_the_proxy() {
    let (authority, proxy) = (Authority::new("Proxied"), Source::start());
    authority.issue("signer");
    proxy.put("ca.crl", authority.crl());
    // A name that nobody but the proxy could look up (RFC 2606).
    let rules = format!(
        "[trust.documents]\nrevocation = \"required\"\n\
         [trust.fetch]\nretry_ms = 20\nproxy = \"{}\"\n\
         [[trust.crl]]\nurl = \"http://lists.invalid/ca.crl\"\nrefresh_ms = 60\n",
        proxy.proxy()
    );
    let site = folder(authority.root(), &rules).serve();
    await_judged(&site, &authority.verification("signer"), "valid", &[]);
    assert!(proxy.count("ca.crl", 200) > 0);
}

#[test]
fn a_source_that_hangs_delays_nobody() {
    let (authority, source) = (Authority::new("Slow"), Source::start());
    authority.issue("signer");
    for name in ["ca.crl", "ocsp"] {
        source.answer(name, |_| Reply::Hang);
    }
    let rules = format!(
        "[trust.fetch]\ntimeout_ms = 600000\n[[trust.crl]]\nurl = \"{}\"\n\
         [[trust.ocsp]]\nurl = \"{}\"\nissuer = {:?}\n",
        source.url("ca.crl"),
        source.url("ocsp"),
        authority.root()
    );
    let site = folder(authority.root(), &rules).serve();
    let body = authority.verification("signer");
    eventually("the list is asked for", SOON, || (source.hanging() == 1).then_some(()));
    assert_eq!(judged(&site, &body), ("valid".to_owned(), vec!["revocation_not_checked".to_owned()]));
    eventually("the signer is asked about", SOON, || (source.hanging() == 2).then_some(()));
    assert_eq!(judged(&site, &body), ("valid".to_owned(), vec!["revocation_not_checked".to_owned()]));
    let batch = json!({"items": vec![body; 100]});
    site.app().post("/v1/verifications:batch", &batch).expect(200);
    site.stranger(None).get("/readyz").expect(200);
    assert_eq!(source.hanging(), 2, "nobody has waited for an answer: there is none");
    let (_, status) = site.stop();
    assert!(status.success(), "nor does a stop: {status}");
}

#[test]
fn an_ocsp_answer_counts_once_it_has_come() {
    let (authority, source) = (Authority::new("Asked"), Source::start());
    authority.issue("signer");
    authority.issue("watched");
    let authority = Arc::new(authority);
    let answers = |authority: &Arc<Authority>| {
        let authority = Arc::clone(authority);
        move |request: &[u8]| Reply::Body(authority.answer(request))
    };
    source.answer("ocsp", |_| Reply::Status(503));
    let rules = format!(
        "[trust.fetch]\nretry_ms = 20\n[[trust.ocsp]]\nurl = \"{}\"\nissuer = {:?}\ncertificates = [{:?}]\n\
         refresh_ms = 200\nnonce = true\n",
        source.url("ocsp"),
        authority.root(),
        authority.root().with_file_name("watched.pem"),
    );
    let site = folder(authority.root(), &rules).serve();
    let body = authority.verification("signer");
    await_judged(&site, &body, "valid", &["revocation_not_checked"]);
    await_outcome(&site, "http_status");
    source.answer("ocsp", answers(&authority));
    await_judged(&site, &body, "valid", &[]);
    eventually("both are good", SOON, || {
        let shown = await_outcome(&site, "ok");
        (shown["kind"] == "ocsp" && shown["known"] == 2 && shown["good"] == 2).then_some(())
    });

    authority.revoke("signer");
    await_judged(&site, &body, "invalid", &["revoked"]);
    assert_eq!(await_outcome(&site, "ok")["revoked"], 1);

    // An old answer, one without the nonce, and one of somebody else.
    let old = authority.answer(&std::fs::read(nonceless(&authority)).unwrap());
    source.answer("ocsp", move |_| Reply::Body(old.clone()));
    await_outcome(&site, "nonce_missing");
    source.answer("ocsp", answers(&Arc::new(Authority::new("Asked"))));
    let refused = eventually("an answer of somebody else is refused", SOON, || {
        let outcome = trust(&site)["sources"][0]["outcome"].as_str().unwrap().to_owned();
        outcome.starts_with("ocsp_").then_some(outcome)
    });
    assert_eq!(refused, "ocsp_signature_invalid");
    source.answer("ocsp", |_| Reply::Body(b"hello".to_vec()));
    await_outcome(&site, "malformed");
    assert_eq!(judged(&site, &body), ("invalid".to_owned(), vec!["revoked".to_owned()]));

    drop(source);
    let (folder, status) = site.stop();
    assert!(status.success(), "{status}");
    let site = folder.serve();
    assert_eq!(judged(&site, &body), ("invalid".to_owned(), vec!["revoked".to_owned()]));
}

/// A request about the signer without a nonce.
fn nonceless(authority: &Authority) -> PathBuf {
    let (root, request) = (authority.root(), authority.root().with_file_name("request.der"));
    let mut openssl = Command::new("openssl");
    openssl
        .args(["ocsp", "-no_nonce", "-issuer"])
        .arg(&root)
        .arg("-cert")
        .arg(root.with_file_name("signer.pem"));
    Ran::of(openssl.arg("-reqout").arg(&request)).expect("a request");
    request
}

#[test]
fn sm2_lists_and_answers_made_by_bouncycastle_are_read_as_they_are_meant() {
    let foreign = &shared().foreign;
    let verify = |certificate: &str, source: [&str; 2]| {
        let mut command = Command::new(gateway());
        command.args(["verify", "--json", "--type", "cert", "--trust"]).arg(foreign.path("ca.pem"));
        command.args([source[0]]).arg(foreign.path(source[1])).arg(foreign.path(certificate));
        let answer: Value = serde_json::from_slice(&Ran::of(&mut command).stdout).unwrap();
        let codes: Vec<_> =
            answer["findings"].as_array().unwrap().iter().map(|f| f["code"].clone()).collect();
        (answer["verdict"].clone(), json!(codes))
    };
    for (source, good, revoked) in [
        (["--crl", "ca.crl"], "signer.pem", "revoked.pem"),
        (["--ocsp", "ocsp.der"], "signer.pem", "revoked.pem"),
        (["--ocsp", "ocsp-delegated.der"], "signer.pem", "revoked.pem"),
    ] {
        assert_eq!(verify(good, source), (json!("valid"), json!([])), "{source:?}");
        assert_eq!(verify(revoked, source), (json!("invalid"), json!(["revoked"])), "{source:?}");
    }
    for (source, code) in [
        (["--crl", "altered.crl"], "crl_signature_invalid"),
        (["--ocsp", "ocsp-altered.der"], "ocsp_signature_invalid"),
        (["--ocsp", "ocsp-stranger.der"], "ocsp_signature_invalid"),
    ] {
        assert_eq!(verify("signer.pem", source), (json!("indeterminate"), json!([code])), "{source:?}");
    }
}

#[test]
fn an_sm2_authority_is_asked_and_heard() {
    let (foreign, source) = (&shared().foreign, Source::start());
    let (good, altered) = (foreign.read("ocsp.der"), foreign.read("ocsp-altered.der"));
    source.put("ocsp", altered);
    let rules = format!(
        "[trust.documents]\nrevocation = \"required\"\n[trust.fetch]\nretry_ms = 20\n\
         [[trust.ocsp]]\nurl = \"{}\"\nissuer = {:?}\nhash = \"sm3\"\nrefresh_ms = 100\n",
        source.url("ocsp"),
        foreign.path("ca.pem")
    );
    let site = folder(foreign.path("ca.pem"), &rules).serve();
    let signed = json!({
        "algorithm": "sm2-sm3",
        "input": {"data": base64(&foreign.content())},
        "signature": base64(&foreign.read("raw.sig")),
        "certificate": String::from_utf8(foreign.read("signer.pem")).unwrap(),
    });
    await_judged(&site, &signed, "indeterminate", &["revocation_unknown"]);
    await_outcome(&site, "ocsp_signature_invalid");
    await_judged(&site, &signed, "indeterminate", &["revocation_unknown"]);
    source.put("ocsp", good);
    await_judged(&site, &signed, "valid", &[]);
}
