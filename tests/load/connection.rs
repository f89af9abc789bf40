//! One kept-alive HTTP/1.1 connection, with as little parsing as its answers need: status, length, body.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX_HEAD: usize = 16 << 10;
const MAX_ANSWER: usize = 4 << 20;

/// An open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer that lies in the connection's buffer.
pub(crate) struct Answer<'c> {
    pub(crate) status: u16,
    pub(crate) body: &'c [u8],
    /// The server keeps the connection open.
    pub(crate) reusable: bool,
    /// Octets on the wire, head and body.
    pub(crate) octets: usize,
}

struct Head {
    status: u16,
    length: usize,
    body: usize,
    reusable: bool,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 << 10) })
    }

    /// Sends one request and reads its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.buffer.clear();
        self.stream.write_all(request).await?;
        let head = loop {
            self.fill(MAX_HEAD).await?;
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
        };
        let end = head.body + head.length;
        while self.buffer.len() < end {
            self.fill(MAX_ANSWER).await?;
        }
        let body = &self.buffer[head.body..end];
        Ok(Answer { status: head.status, body, reusable: head.reusable, octets: end })
    }

    async fn fill(&mut self, bound: usize) -> io::Result<()> {
        if self.buffer.len() >= bound {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "answer too long"));
        }
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Head {
    fn parse(octets: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let malformed = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let head = std::str::from_utf8(&octets[..end]).map_err(|_| malformed("head is no text"))?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let (mut length, mut reusable) = (None, true);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                reusable = !value.trim().eq_ignore_ascii_case("close");
            }
        }
        Ok(Some(Self {
            status: status.ok_or_else(|| malformed("no status"))?,
            length: length
                .filter(|l| *l <= MAX_ANSWER)
                .ok_or_else(|| malformed("no usable content-length"))?,
            body: end + 4,
            reusable,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_parsed_when_it_is_whole() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nconnection: close\r\n\r\nhello";
        let head = Head::parse(answer).unwrap().unwrap();
        assert_eq!((head.status, head.length, head.reusable), (201, 5, false));
        assert_eq!(&answer[head.body..], b"hello");
        assert!(Head::parse(&answer[..40]).unwrap().is_none());
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
