//! PROXY protocol version 2: behind a balancer that passes connections on as they are, who the client is says a header
//! before the first octet. It is read from the balancers that the site names and from nobody else, whose word it is not.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use ppp::v2::{Addresses, Command, Header, PROTOCOL_PREFIX, Protocol};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Octets of a header's fixed part; the last two of them are the length of the rest.
const FIXED: usize = 16;
/// Octets of a header at most: addresses take 36, the rest is for what nobody here reads.
const LONGEST: usize = 1024;

/// Whether a connection from there begins with a header.
pub(crate) fn is_balancer(balancers: &[IpNet], peer: SocketAddr) -> bool {
    let address = peer.ip().to_canonical();
    balancers.iter().any(|network| network.contains(&address))
}

/// Who is behind a balancer's connection; the balancer itself where it says that it speaks for itself.
///
/// # Errors
/// There is no such header, or not in time. The error is for the log.
pub(crate) async fn client<S: AsyncRead + Unpin>(
    stream: &mut S,
    balancer: SocketAddr,
    patience: Duration,
) -> Result<SocketAddr, String> {
    let read = tokio::time::timeout(patience, header(stream)).await;
    let octets = read.map_err(|_| "it did not come in time".to_owned())??;
    let header = Header::try_from(&octets[..]).map_err(|error| error.to_string())?;
    match (header.command, header.protocol, header.addresses) {
        // A health check of its own, or a connection of which it does not know more.
        (Command::Local, ..) | (_, _, Addresses::Unspecified) => Ok(balancer),
        (Command::Proxy, Protocol::Stream, Addresses::IPv4(ip)) => {
            Ok(SocketAddr::from((ip.source_address, ip.source_port)))
        }
        (Command::Proxy, Protocol::Stream, Addresses::IPv6(ip)) => {
            let address = std::net::IpAddr::from(ip.source_address).to_canonical();
            Ok(SocketAddr::from((address, ip.source_port)))
        }
        _ => Err("it speaks of no TCP connection".to_owned()),
    }
}

/// The octets of the header and none of what comes after them.
async fn header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, String> {
    let broken = |error: std::io::Error| error.to_string();
    let mut octets = vec![0; FIXED];
    stream.read_exact(&mut octets).await.map_err(broken)?;
    if !octets.starts_with(PROTOCOL_PREFIX) {
        return Err("there is none".to_owned());
    }
    let rest = usize::from(u16::from_be_bytes([octets[FIXED - 2], octets[FIXED - 1]]));
    if FIXED + rest > LONGEST {
        return Err(format!("it has {} octets", FIXED + rest));
    }
    octets.resize(FIXED + rest, 0);
    stream.read_exact(&mut octets[FIXED..]).await.map_err(broken)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

    fn balancer() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 9))
    }

    /// A header of version and command, family and protocol, and what comes behind its length.
    fn octets(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&PREFIX[..], &[command, family], &length, rest].concat()
    }

    const FOUR: [u8; 12] = [203, 0, 113, 7, 192, 0, 2, 1, 0x30, 0x39, 1, 187];

    async fn read(mut octets: &[u8]) -> Result<(SocketAddr, &[u8]), String> {
        let found = client(&mut octets, balancer(), Duration::from_secs(60)).await?;
        Ok((found, octets))
    }

    #[tokio::test]
    async fn a_header_names_the_client_and_nothing_behind_it_is_read() {
        let here: SocketAddr = "203.0.113.7:12345".parse().unwrap();
        let four = [&octets(0x21, 0x11, &FOUR)[..], b"GET"].concat();
        assert_eq!(read(&four).await.unwrap(), (here, &b"GET"[..]));
        let more = octets(0x21, 0x11, &[&FOUR[..], &[4, 0, 1, 42]].concat());
        assert_eq!(read(&more).await.unwrap(), (here, &b""[..]), "what else it says is passed over");
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        six[32..34].copy_from_slice(&[0x30, 0x39]);
        let six = octets(0x21, 0x21, &six);
        assert_eq!(read(&six).await.unwrap().0, "[2001:db8::]:12345".parse().unwrap());
        for own in [octets(0x20, 0x00, b""), octets(0x20, 0x11, &FOUR), octets(0x21, 0x00, b"")] {
            assert_eq!(read(&own).await.unwrap().0, balancer(), "it speaks for itself");
        }
    }

    #[tokio::test]
    async fn what_is_no_such_header_is_refused() {
        let good = octets(0x21, 0x11, &FOUR);
        for length in 0..good.len() {
            assert!(read(&good[..length]).await.is_err(), "{length} octets");
        }
        for bad in [
            b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n".to_vec(),
            octets(0x11, 0x11, &FOUR),
            octets(0x22, 0x11, &FOUR),
            octets(0x21, 0x12, &FOUR),
            octets(0x21, 0x11, &FOUR[..11]),
            octets(0x21, 0x31, &[0; 216]),
            octets(0x21, 0x11, &[0; LONGEST]),
        ] {
            assert!(read(&bad).await.is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_header_that_does_not_come_ends_the_connection() {
        let (mut stream, _held) = tokio::io::duplex(64);
        assert!(
            client(&mut stream, balancer(), Duration::from_millis(1)).await.unwrap_err().contains("in time")
        );
    }
}
