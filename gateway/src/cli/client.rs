//! HTTP over the admin socket: one connection, one call after another.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::CliError;
use crate::admin;

/// Longest time for one call: a reload and a self-test work on every key of a device.
const PATIENCE: Duration = Duration::from_secs(120);
/// Largest answer, octets: ninety devices with their keys are far below.
const LARGEST: usize = 64 << 20;

pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    /// Whoever asks by a token.
    token: Option<HeaderValue>,
}

impl Client {
    pub(super) async fn connect(socket: &Path, token: Option<&str>) -> Result<Self, CliError> {
        let token = token.map(|token| HeaderValue::try_from(format!("Bearer {token}")));
        let token = token.transpose().map_err(|_| CliError::NotDone("the token is none".to_owned()))?;
        let stream = admin::connect(socket).await.map_err(|source| {
            let path = socket.to_owned();
            match source.kind() {
                ErrorKind::PermissionDenied => CliError::NotPermitted { path, source },
                _ => CliError::NoGateway { path, source },
            }
        })?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection); // an error of the connection shows in the call
        Ok(Self { sender, token })
    }

    /// One call; an answer that is no success is an error that holds the problem document.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let answer = self.exchange(method, path, body, "application/json").await?;
        serde_json::from_slice(&answer).map_err(|_| CliError::Broken("its answer is not JSON".to_owned()))
    }

    /// What is at a path, in this media type.
    pub(super) async fn text(&mut self, path: &str, accept: &str) -> Result<String, CliError> {
        let answer = self.exchange(Method::GET, path, None, accept).await?;
        String::from_utf8(answer.into()).map_err(|_| CliError::Broken("its answer is not text".to_owned()))
    }

    /// What is at a path, as it comes.
    pub(super) async fn octets(&mut self, path: &str) -> Result<Bytes, CliError> {
        self.exchange(Method::GET, path, None, "*/*").await
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        accept: &str,
    ) -> Result<Bytes, CliError> {
        let call = async {
            self.sender.ready().await.map_err(broken)?;
            let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
            let mut request = request.header(ACCEPT, accept);
            if let Some(token) = &self.token {
                request = request.header(AUTHORIZATION, token);
            }
            if body.is_some() {
                request = request.header(CONTENT_TYPE, "application/json");
            }
            let body = Full::from(body.map(Value::to_string).unwrap_or_default());
            let request = request.body(body).map_err(|error| CliError::Broken(error.to_string()))?;
            let response = self.sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            let body = body.map_err(|error| CliError::Broken(error.to_string()))?.to_bytes();
            if status.is_success() {
                return Ok(body);
            }
            let problem = serde_json::from_slice(&body);
            Err(problem.map_or_else(
                |_| CliError::Broken(format!("its answer ({status}) is not JSON")),
                CliError::Refused,
            ))
        };
        let late = |_| CliError::Broken(format!("nothing came within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, call).await.map_err(late)?
    }
}

fn broken(error: hyper::Error) -> CliError {
    CliError::Broken(error.to_string())
}
