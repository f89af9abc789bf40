//! One POST over plain HTTP: a checkpoint is signed and secret to nobody.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long it may take.
const LONGEST: Duration = Duration::from_secs(5);

/// Sends a text; anything but a 2xx answer is an error.
pub(super) async fn post(url: &str, text: &str) -> Result<(), String> {
    let sent = tokio::time::timeout(LONGEST, send(url, text.to_owned())).await;
    sent.unwrap_or_else(|_| Err("it took too long".to_owned()))
}

async fn send(url: &str, text: String) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|_| "the address is none".to_owned())?;
    let authority = uri.authority().ok_or("the address names no host")?.clone();
    let address = (authority.host().trim_matches(['[', ']']).to_owned(), authority.port_u16().unwrap_or(80));
    let said = |error: &dyn std::error::Error| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(|error| said(&error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::post(path)
        .header(HOST, authority.as_str())
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Full::new(Bytes::from(text)))
        .map_err(|error| said(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| said(&error));
    connection.abort();
    let status = answer?.status();
    if status.is_success() { Ok(()) } else { Err(format!("the answer was {status}")) }
}
