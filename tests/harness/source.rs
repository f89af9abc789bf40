//! An HTTP server in the test's hand: a certificate authority's, which may be slow, broken or hostile.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does with a request.
pub enum Reply {
    /// 200 with this body.
    Body(Vec<u8>),
    /// The same with an ETag; 304 when the request brings that.
    Tagged(String, Vec<u8>),
    /// Another status, without a body.
    Status(u16),
    /// 302 to this address.
    Redirect(String),
    /// 200 and octets without end.
    Endless,
    /// Nothing until the server is dropped.
    Hang,
}

/// A request's fields, by their names in small letters.
pub type Fields = BTreeMap<String, String>;

type Answerer = Box<dyn Fn(&Fields, &[u8]) -> Reply + Send + Sync>;

#[derive(Default)]
struct State {
    answerers: Mutex<BTreeMap<String, Answerer>>,
    /// By path and status; 0 for those that hang.
    counts: Mutex<BTreeMap<(String, u16), usize>>,
    hanging: AtomicUsize,
    stopped: AtomicBool,
}

/// A running server; dropping it ends it.
pub struct Source {
    address: SocketAddr,
    state: Arc<State>,
}

impl Source {
    /// On a free port of loopback; what has no answer gets 404.
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    /// On a port that was bound before.
    pub fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, shared) = (stream.expect("a connection"), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { address, state }
    }

    /// `http://127.0.0.1:PORT`, as one writes a proxy: a request that comes by it is for `NAME` if its whole URL is
    /// `http://anywhere/NAME`.
    pub fn proxy(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `http://127.0.0.1:PORT/NAME`
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// From now on requests for `/NAME` are answered by `answer`, which is given their bodies.
    pub fn answer(&self, name: &str, answer: impl Fn(&[u8]) -> Reply + Send + Sync + 'static) {
        self.answer_with_fields(name, move |_, body| answer(body));
    }

    /// The same, by `answer` that is given the requests' fields too.
    pub fn answer_with_fields(
        &self,
        name: &str,
        answer: impl Fn(&Fields, &[u8]) -> Reply + Send + Sync + 'static,
    ) {
        let path = format!("/{name}");
        self.state.answerers.lock().expect("no test panics here").insert(path, Box::new(answer));
    }

    /// From now on `/NAME` is this body.
    pub fn put(&self, name: &str, body: Vec<u8>) {
        self.answer(name, move |_| Reply::Body(body.clone()));
    }

    /// How many requests for `/NAME` got this status.
    pub fn count(&self, name: &str, status: u16) -> usize {
        let counts = self.state.counts.lock().expect("no test panics here");
        counts.get(&(format!("/{name}"), status)).copied().unwrap_or_default()
    }

    /// How many requests have no answer yet.
    pub fn hanging(&self) -> usize {
        self.state.hanging.load(Ordering::Relaxed)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address); // wakes the listener
    }
}

/// One request; whoever asks again connects again.
fn serve(mut stream: TcpStream, state: &State) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let Ok(copy) = stream.try_clone() else { return };
    let mut reader = BufReader::new(copy);
    let Some((path, headers)) = head(&mut reader) else { return };
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let reply = {
        let answerers = state.answerers.lock().expect("no answerer panics");
        answerers.get(&path).map_or(Reply::Status(404), |answer| answer(&headers, &body))
    };
    let tag = headers.get("if-none-match");
    let status = match &reply {
        Reply::Tagged(etag, _) if tag == Some(etag) => 304,
        Reply::Body(_) | Reply::Tagged(..) | Reply::Endless => 200,
        Reply::Status(status) => *status,
        Reply::Redirect(_) => 302,
        Reply::Hang => 0,
    };
    *state.counts.lock().expect("no test panics here").entry((path, status)).or_default() += 1;
    let _ = write(&mut stream, status, reply, state); // whoever asked may have gone
}

fn head(reader: &mut impl BufRead) -> Option<(String, BTreeMap<String, String>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.split(' ').nth(1)?;
    // A proxy is asked for whole URLs (RFC 9112, 3.2.2).
    let path = match target.strip_prefix("http://") {
        Some(rest) => &rest[rest.find('/')?..],
        None => target,
    };
    let path = path.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some((path, headers)) };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
}

fn write(stream: &mut TcpStream, status: u16, reply: Reply, state: &State) -> std::io::Result<()> {
    let mut whole = |extra: &str, body: &[u8]| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {length}\r\n{extra}\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    };
    match reply {
        Reply::Tagged(etag, _) if status == 304 => whole(&format!("etag: {etag}\r\n"), &[]),
        Reply::Tagged(etag, body) => whole(&format!("etag: {etag}\r\n"), &body),
        Reply::Body(body) => whole("", &body),
        Reply::Status(_) => whole("", &[]),
        Reply::Redirect(to) => whole(&format!("location: {to}\r\n"), &[]),
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 -\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[0x30; 4096])?;
            }
        }
        Reply::Hang => {
            state.hanging.fetch_add(1, Ordering::Relaxed);
            // Ends when the other side gives up, or with the server.
            let mut octet = [0];
            while !state.stopped.load(Ordering::Relaxed) {
                match stream.read(&mut octet) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
            state.hanging.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        }
    }
}
