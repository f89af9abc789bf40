//! Behind a balancer that passes connections on: addresses are the clients', where the balancer is one that the site
//! names and says so (PROXY protocol version 2), and nobody else is believed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use tests::{Folder, Site, eventually};

const BOUND: Duration = Duration::from_secs(60);
const BALANCER: &str = "127.0.0.2";

fn site() -> Site {
    let folder = Folder::init();
    folder.configure(
        "[server]\n",
        &format!("[server]\nproxy_protocol_from = [\"{BALANCER}/32\"]\nmax_connections_per_address = 3\n"),
    );
    folder.serve()
}

/// The header as the specification has it, written down here once more.
fn header(client: Ipv4Addr) -> Vec<u8> {
    let mut octets = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    octets.extend(client.octets());
    octets.extend([127, 0, 0, 1, 0x30, 0x39, 0x1f, 0x90]);
    octets
}

/// What comes back to some octets; nothing where the connection is closed.
fn said(mut stream: TcpStream, octets: &[u8]) -> String {
    let _ = stream.write_all(octets); // closed before, perhaps
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

const ASK: &[u8] =
    b"GET /v1/keys HTTP/1.1\r\nhost: localhost\r\nx-api-key: wrong\r\nconnection: close\r\n\r\n";

fn actors(site: &Site) -> Vec<String> {
    let entries = site.audit();
    let refused = entries.iter().filter(|entry| entry["action"] == "request.refused");
    refused.map(|entry| entry["actor"].as_str().unwrap().to_owned()).collect()
}

fn ended(site: &Site, cause: &str) -> u64 {
    let metrics = site.stranger(None).get("/metrics").expect(200).text();
    let name = format!("license_gateway_connections_ended_total{{cause=\"{cause}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

#[test]
fn the_address_behind_a_named_balancer_is_the_clients_and_nobody_else_is_believed() {
    let site = site();
    let client = Ipv4Addr::new(203, 0, 113, 7);
    let answer = said(site.connect_from(BALANCER), &[&header(client), ASK].concat());
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    eventually("the client is on record", BOUND, || {
        actors(&site).contains(&format!("anonymous:{client}")).then_some(())
    });

    // Who is no balancer may say what he likes.
    let forged = Ipv4Addr::new(203, 0, 113, 8);
    let answer = said(site.connect_from("127.0.0.3"), &[&header(forged), ASK].concat());
    assert!(!answer.contains("HTTP/1.1 401"), "{answer}");
    // A balancer that says nothing good is not served under its own address.
    for octets in
        [ASK.to_vec(), header(client)[..20].to_vec(), b"PROXY TCP4 203.0.113.8 127.0.0.1 1 2\r\n".to_vec()]
    {
        let before = ended(&site, "proxy_header");
        let stream = site.connect_from(BALANCER);
        let mut half = stream.try_clone().unwrap();
        let _ = half.write_all(&octets);
        let _ = stream.shutdown(Shutdown::Write); // it may be closed by now
        assert_eq!(said(stream, b""), "");
        eventually("it is counted", BOUND, || (ended(&site, "proxy_header") > before).then_some(()));
    }
    // Without a balancer all is as ever.
    site.app().get("/v1/keys").expect(200);
    let actors = actors(&site);
    assert!(!actors.iter().any(|actor| actor.contains(&forged.to_string())), "{actors:?}");
    assert!(!actors.iter().any(|actor| actor.contains(BALANCER)), "{actors:?}");
}

#[test]
fn connections_behind_a_balancer_count_for_their_clients() {
    let site = site();
    let held: Vec<_> = (0..12)
        .map(|number| {
            let mut stream = site.connect_from(BALANCER);
            stream.write_all(&header(Ipv4Addr::new(203, 0, 113, number / 3))).unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
            let mut head = [0; 15];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 200 OK", "connection {number}");
            stream
        })
        .collect();
    let one_more = [&header(Ipv4Addr::new(203, 0, 113, 0)), ASK].concat();
    assert_eq!(said(site.connect_from(BALANCER), &one_more), "", "three are the client's bound");
    assert_eq!(ended(&site, "address_limit"), 1);
    drop(held);
}
