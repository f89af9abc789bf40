//! Clients that speak HTTP as nobody should: each gets a clear end, nobody else notices, and the gateway's memory
//! stays where it was.

mod http1;
mod http2;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tests::{Folder, Site};

/// Longer than any limit of the site.
const BOUND: Duration = Duration::from_secs(60);

/// A site of little patience.
fn impatient() -> Site {
    let folder = Folder::init();
    folder.configure(
        "[server]\n",
        "[server]\nread_timeout_ms = 1000\nwrite_timeout_ms = 1000\nkeep_alive_ms = 500\n",
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

/// Somebody else is served as ever.
#[track_caller]
fn expect_served(site: &Site) {
    let body = serde_json::json!({"key": "demo-sm2", "algorithm": "sm2-sm3", "input": {"data": "YQ=="}});
    site.app_number(0).post("/v1/signatures", &body).expect(201);
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
