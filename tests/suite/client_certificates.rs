//! Clients that show certificates: who is let in, and how fast somebody whose certificate was revoked is out.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::{Authority, Folder, Ran, Site, eventually};

const BOUND: Duration = Duration::from_secs(60);
/// How long a list holds.
const LIST: &str = "-crldays 30";

/// A site with a listener for clients of this CA, which looks at its files ten times a second.
fn site(authority: &Authority) -> Site {
    authority.list(LIST);
    let folder = Folder::init();
    folder.configure("[server]\n", "[server]\nmutual = \"127.0.0.1:0\"\n");
    let tls = format!(
        "[tls]\nwatch_ms = 100\nclient_anchors = [{:?}]\nclient_crls = [{:?}]\n\n[database]\n",
        authority.path("ca.pem"),
        authority.path("crl.pem")
    );
    folder.configure("[database]\n", &tls);
    folder.serve()
}

/// The status of `GET /livez` at the listener for clients with certificates; nothing if TLS was refused.
fn livez(site: &Site, authority: &Authority, client: Option<&str>) -> Option<String> {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]).arg(site.ca_file());
    if let Some(client) = client {
        curl.arg("--cert").arg(authority.path(&format!("{client}.pem")));
        curl.arg("--key").arg(authority.path(&format!("{client}.key")));
    }
    let ran = Ran::of(curl.arg(format!("https://{}/livez", site.listener("mutual"))));
    ran.ok.then_some(ran.text)
}

/// A request by OpenSSL's client over a session that is kept in a file, or taken from it.
fn with_session(site: &Site, authority: &Authority, client: &str, option: &str) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &site.listener("mutual"), "-ign_eof", "-CAfile"]);
    openssl.arg(site.ca_file()).args([option, "session"]).current_dir(authority.path(""));
    openssl.args(["-cert", &format!("{client}.pem"), "-key", &format!("{client}.key")]);
    openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = openssl.spawn().unwrap();
    // Refused before this is read: what it says decides.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn who_shows_no_certificate_of_the_right_ca_stays_outside() {
    let (ours, theirs) = (Authority::new("Ours"), Authority::new("Theirs"));
    for authority in [&ours, &theirs] {
        authority.issue_for("client", "client");
    }
    ours.issue_for("server", "server");
    let site = site(&ours);
    assert_eq!(livez(&site, &ours, Some("client")).as_deref(), Some("200"));
    assert_eq!(livez(&site, &ours, None), None, "no certificate");
    assert_eq!(livez(&site, &theirs, Some("client")), None, "of another CA");
    assert_eq!(livez(&site, &ours, Some("server")), None, "of the right CA, for another use");
    let refused =
        "license_gateway_tls_handshakes_total{version=\"none\",outcome=\"certificate_refused\"} 3\n";
    // Counted after the client was told.
    eventually("three are counted", BOUND, || {
        site.stranger(None).get("/metrics").expect(200).text().contains(refused).then_some(())
    });
    on_record(&site, "TLS handshake", 3);
    assert!(site.log().contains("a TLS handshake was refused"));
}

/// Waits until so many refusals of certificates at a route are on record, by the address they came from.
fn on_record(site: &Site, route: &str, count: u64) {
    eventually("the refusals are on record", BOUND, || {
        let entries = site.audit();
        let refused = entries.iter().filter(|entry| {
            entry["action"] == "request.refused"
                && entry["outcome"] == "client_certificate_refused"
                && entry["actor"] == "anonymous:127.0.0.1"
                && !entry["request_id"].as_str().unwrap_or_default().is_empty()
        });
        let subjects: Vec<_> = refused.filter_map(|entry| entry["subject"].as_str()).collect();
        let counted = |subject: &str| -> Option<u64> {
            let (_, rest) = subject.split_once(&format!("{route}: "))?;
            rest.split(';').next()?.parse().ok()
        };
        let of_route = subjects.iter().filter_map(|subject| counted(subject));
        (of_route.sum::<u64>() >= count).then_some(())
    });
}

#[test]
fn a_revoked_client_is_refused_on_new_and_on_open_connections_and_others_are_not() {
    // Asks once, says so, waits for a word, and asks again over the same connection.
    const KEPT: &str = "
import http.client, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
context.load_cert_chain(sys.argv[3], sys.argv[4])
host, port = sys.argv[1].split(':')
connection = http.client.HTTPSConnection(host, int(port), context=context)
for _ in range(2):
    connection.request('GET', '/livez')
    answer = connection.getresponse()
    print(answer.status, answer.read().decode(), flush=True)
    sys.stdin.readline()
";
    let authority = Authority::new("Clients");
    authority.issue_for("stays", "client");
    authority.issue_for("goes", "client");
    let site = site(&authority);
    let kept = |client: &str| {
        let mut python = Command::new("python3");
        python.args(["-c", KEPT, &site.listener("mutual")]).arg(site.ca_file());
        python.arg(authority.path(&format!("{client}.pem"))).arg(authority.path(&format!("{client}.key")));
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        (child, answers)
    };
    let next_answer = |(_, answers): &mut (Child, BufReader<ChildStdout>)| {
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let (mut stays, mut goes) = (kept("stays"), kept("goes"));
    for client in [&mut stays, &mut goes] {
        assert_eq!(next_answer(client), "200 ok");
    }
    authority.revoke("goes");
    authority.list(LIST);
    let is_out = || livez(&site, &authority, Some("goes")).is_none().then_some(());
    eventually("the new list counts", BOUND, is_out);
    assert_eq!(livez(&site, &authority, Some("stays")).as_deref(), Some("200"));
    for (child, _) in [&mut stays, &mut goes] {
        child.stdin.take().unwrap().write_all(b"\n\n").unwrap();
    }
    assert_eq!(next_answer(&mut stays), "200 ok");
    let refused = next_answer(&mut goes);
    assert!(refused.starts_with("401") && refused.contains("client_certificate_refused"), "{refused}");
    on_record(&site, "GET (none)", 1);
    for (mut child, _) in [stays, goes] {
        child.wait().unwrap();
    }
}

#[test]
fn an_expired_list_lets_nobody_in_not_even_with_a_session_from_before() {
    let authority = Authority::new("Clients");
    authority.issue_for("client", "client");
    let site = site(&authority);
    let first = with_session(&site, &authority, "client", "-sess_out");
    assert!(first.contains("HTTP/1.1 200 OK") && first.contains("New, TLSv1.3"), "{first}");
    let resumed = with_session(&site, &authority, "client", "-sess_in");
    assert!(resumed.contains("HTTP/1.1 200 OK") && resumed.contains("Reused, TLSv1.3"), "{resumed}");

    // A list that ends while the sessions under it are good for a day.
    authority.list("-crlsec 20");
    eventually("the list is taken over", BOUND, || {
        site.log().contains("TLS files were read anew").then_some(())
    });
    let kept = with_session(&site, &authority, "client", "-sess_out");
    assert!(kept.contains("HTTP/1.1 200 OK"), "{kept}");
    let until = valid_until(&site);
    // A session serves once: nobody tries it before.
    eventually("the list ends", BOUND, || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        (now > until).then_some(())
    });
    let refused = with_session(&site, &authority, "client", "-sess_in");
    assert!(refused.contains("Reused, TLSv1.3"), "the session is taken up: {refused}");
    assert!(!refused.contains("HTTP/1.1 200 OK"), "and refused all the same: {refused}");
    assert_eq!(livez(&site, &authority, Some("client")), None);
}

#[test]
fn a_list_that_was_cut_short_or_is_gone_lets_no_revoked_client_in_and_one_in_der_is_read() {
    let authority = Authority::new("Lists");
    for client in ["client", "gone"] {
        authority.issue_for(client, "client");
    }
    authority.revoke("gone");
    let site = site(&authority);
    let refused = || livez(&site, &authority, Some("gone")).is_none_or(|status| status == "401");
    let list = authority.path("crl.pem");
    let whole = std::fs::read(&list).unwrap();
    let until = valid_until(&site);
    assert!(refused());
    for cut in [&b""[..], &whole[..whole.len() / 2], b"no list"] {
        std::fs::write(&list, cut).unwrap();
        let reload = site.command(&["reload"]);
        assert!(!reload.status.success(), "{reload:?}");
        let said = String::from_utf8_lossy(&[reload.stdout, reload.stderr].concat()).into_owned();
        assert!(said.contains("tls.client_crls"), "{said}");
        assert!(refused(), "what held before holds on");
        assert_eq!(valid_until(&site), until);
    }
    // The same list in DER, as an authority publishes it.
    std::fs::write(&list, &whole).unwrap();
    let der = authority.path("list.der");
    let mut openssl = Command::new("openssl");
    Ran::of(openssl.arg("crl").arg("-in").arg(&list).args(["-outform", "DER", "-out"]).arg(&der))
        .expect("DER");
    std::fs::rename(&der, &list).unwrap();
    let reload = site.command(&["reload"]);
    assert!(reload.status.success(), "{reload:?}");
    assert!(refused());
    assert_eq!(livez(&site, &authority, Some("client")).as_deref(), Some("200"));
}

/// Until when the list of clients' certificates holds, Unix seconds.
fn valid_until(site: &Site) -> u64 {
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    let name = "license_gateway_tls_valid_until_seconds{what=\"client_crls\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).expect("the gauge is there")
}
