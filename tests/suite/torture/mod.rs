//! Clients that speak HTTP as nobody should: each gets a clear end, nobody else notices, and the gateway's memory
//! stays where it was.

mod http1;
mod http2;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tests::{Folder, Site, eventually};

/// Longer than any limit of the site.
const BOUND: Duration = Duration::from_secs(60);

/// A site of little patience, for what is to be ended. On a busy machine it may end anybody: what is to be answered there is
/// asked for by [`told`], or goes to a [`patient`] site.
fn impatient() -> Site {
    let folder = Folder::init();
    folder.configure(
        "[server]\n",
        "[server]\nread_timeout_ms = 1000\nwrite_timeout_ms = 1000\nkeep_alive_ms = 500\n",
    );
    folder.serve()
}

/// A site that ends nobody as long as a test runs.
fn patient() -> Site {
    let folder = Folder::init();
    folder.configure(
        "[server]\n",
        "[server]\nread_timeout_ms = 600000\nwrite_timeout_ms = 600000\nkeep_alive_ms = 600000\n",
    );
    folder.serve()
}

fn connect(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(site.base().strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream
}

/// Everything that the gateway says until it closes; a reset is an end too.
fn rest(stream: &mut TcpStream) -> String {
    let (mut said, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => said.extend_from_slice(&chunk[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the connection stays open after {:?}", String::from_utf8_lossy(&said));
            }
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// The status codes in what the gateway said, in order.
fn statuses(said: &str) -> Vec<u16> {
    let lines = said.match_indices("HTTP/1.1 ").filter_map(|(at, found)| said.get(at + found.len()..));
    lines.filter_map(|line| line.get(..3)?.parse().ok()).collect()
}

/// Sends octets and takes what the gateway says until it closes.
fn exchange(site: &Site, octets: &[u8]) -> String {
    let mut stream = connect(site);
    let _ = stream.write_all(octets); // refused before all is sent: the answer says so
    rest(&mut stream)
}

/// What the gateway says to these octets until it closes, once it is right. Whoever was too slow for the site, as this machine
/// may be, gets no answer more, or a 408: who is told that asks again. Any other answer has to be right at once.
#[track_caller]
fn told(site: &Site, octets: &[u8], is_right: impl Fn(&[u16]) -> bool) -> String {
    let mut is_wrong = false;
    let found = eventually("this machine is in time", BOUND, || {
        let said = exchange(site, octets);
        let got = statuses(&said);
        let in_time = is_right(&got);
        is_wrong = !in_time && !matches!(got[..], [] | [408]);
        (in_time || is_wrong).then_some(said)
    });
    assert!(!is_wrong, "{found}");
    found
}

/// Somebody else is served as ever.
#[track_caller]
fn expect_served(site: &Site) {
    let key = site.sandbox()["apps"][0]["api_key"].as_str().unwrap();
    let body = r#"{"key":"demo-sm2","algorithm":"sm2-sm3","input":{"data":"YQ=="}}"#;
    let request = format!(
        "POST /v1/signatures HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    told(site, request.as_bytes(), |got| got == [201]);
}

/// Resident memory of the gateway, KiB.
fn resident(site: &Site) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How often connections were ended for a cause.
fn ended(site: &Site, cause: &str) -> f64 {
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    let name = format!("license_gateway_connections_ended_total{{cause=\"{cause}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0.0)
}
