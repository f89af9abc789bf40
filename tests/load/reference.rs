//! What the gateway is measured against, each in a process of its own so that its cost can be told apart: a bare
//! HTTP server, signing directly in a device, verifying directly.
//!
//! Each child says `ready` (the server: its address) on standard output, begins when a line comes on standard input,
//! and ends when its standard input does.

use std::convert::Infallible;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::vendor_defined::VendorDefinedMechanism;
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::process::Process;
use crate::{Fallible, say};

/// CKM_SM2 of the simulated device: signs a 32-octet e.
const SIMULATED_SM2: u64 = 0x80C1_0011;

/// A device's mechanism.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Key {
    Sm2,
    P256,
}

/// Sign in one device, with nothing in between but PKCS#11.
#[derive(Debug, Clone, Args)]
pub(crate) struct DirectSign {
    #[arg(long)]
    pub(crate) module: PathBuf,
    #[arg(long)]
    pub(crate) label: String,
    #[arg(long)]
    pub(crate) pin_file: PathBuf,
    /// CKA_ID as text.
    #[arg(long)]
    pub(crate) id: String,
    #[arg(long)]
    pub(crate) key: Key,
    /// Sessions, each with a thread.
    #[arg(long, default_value_t = 1)]
    pub(crate) lanes: usize,
    #[arg(long)]
    pub(crate) seconds: f64,
}

impl DirectSign {
    /// The command line that asks for it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let key = match self.key {
            Key::Sm2 => "sm2",
            Key::P256 => "p256",
        };
        let words = [
            "direct-sign",
            "--module",
            &self.module.display().to_string(),
            "--label",
            &self.label,
            "--pin-file",
            &self.pin_file.display().to_string(),
            "--id",
            &self.id,
            "--key",
            key,
            "--lanes",
            &self.lanes.to_string(),
            "--seconds",
            &self.seconds.to_string(),
        ];
        words.map(str::to_owned).to_vec()
    }
}

/// How often something was done directly, and what it cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Direct {
    pub(crate) per_second: f64,
    pub(crate) per_cpu_second: f64,
}

#[derive(Deserialize)]
struct Order<'a> {
    key: &'a str,
    algorithm: &'a str,
    input: Input<'a>,
}

#[derive(Serialize, Deserialize)]
struct Input<'a> {
    digest: &'a str,
}

#[derive(Serialize)]
struct Echo<'a> {
    key: &'a str,
    algorithm: &'a str,
    input: Input<'a>,
    padding: &'a str,
}

/// A bare hyper server that reads a signing order as JSON and answers JSON of the size a signature's answer has.
pub(crate) fn echo(answer_octets: usize) -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        say(&socket.local_addr()?.to_string());
        // Some 250 octets of the answer are its head and what is echoed.
        let padding: &'static str = "x".repeat(answer_octets.saturating_sub(250)).leak();
        let server = async {
            loop {
                let Ok((stream, _)) = socket.accept().await else { continue };
                let _ = stream.set_nodelay(true); // a connection that is gone is seen by its task
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, padding));
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        };
        let parent = tokio::task::spawn_blocking(|| std::io::stdin().lock().read_until(0, &mut Vec::new()));
        tokio::select! {
            () = server => {},
            _ = parent => {},
        }
        Ok(())
    })
}

async fn answer(
    request: hyper::Request<Incoming>,
    padding: &'static str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (status, body) = match serde_json::from_slice::<Order<'_>>(&body) {
        Ok(Order { key, algorithm, input }) => {
            let echo = serde_json::to_vec(&Echo { key, algorithm, input, padding });
            (StatusCode::CREATED, echo.unwrap_or_default())
        }
        Err(_) => (StatusCode::BAD_REQUEST, Vec::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Signs in the device for a while and says how often.
pub(crate) fn direct_sign(order: &DirectSign) -> Fallible<()> {
    let module = Pkcs11::new(&order.module)?;
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slots = module.get_slots_with_token()?.into_iter();
    let labelled =
        |slot| module.get_token_info(slot).is_ok_and(|info| info.label().trim_end() == order.label);
    let slot = slots.into_iter().find(|slot| labelled(*slot)).ok_or("no token of that label")?;
    let pin = AuthPin::from(std::fs::read_to_string(&order.pin_file)?.trim().to_owned());
    let sessions =
        (0..order.lanes).map(|_| module.open_ro_session(slot)).collect::<Result<Vec<Session>, _>>()?;
    sessions.first().ok_or("at least one lane")?.login(UserType::User, Some(&pin))?;
    let vendor = MechanismType::new_vendor_defined(SIMULATED_SM2)?;
    measure(order.seconds, || {
        std::thread::scope(|scope| {
            let threads: Vec<_> = sessions
                .into_iter()
                .map(|session| {
                    scope.spawn(move || -> cryptoki::error::Result<u64> {
                        let id = Attribute::Id(order.id.clone().into_bytes());
                        let found =
                            session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY), id])?;
                        let key = *found.first().ok_or(cryptoki::error::Error::NotSupported)?;
                        let mechanism = match order.key {
                            Key::Sm2 => {
                                Mechanism::VendorDefined(VendorDefinedMechanism::new::<u8>(vendor, None))
                            }
                            Key::P256 => Mechanism::Ecdsa,
                        };
                        repeat(order.seconds, |n| session.sign(&mechanism, key, &digest_number(n)).map(drop))
                    })
                })
                .collect();
            let mut total = 0;
            for thread in threads {
                total += thread.join().map_err(|_| "a lane panicked")??;
            }
            Ok(total)
        })
    })
}

/// Verifies P-256 signatures for a while and says how often.
pub(crate) fn direct_verify(seconds: f64) -> Fallible<()> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
    let message = b"verified directly";
    let signature = pair.sign(&SystemRandom::new(), message)?;
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref())
        .map_err(|_| "own key refused")?;
    let digest =
        Digest::import_less_safe(digest::digest(&digest::SHA256, message).as_ref(), &digest::SHA256)?;
    measure(seconds, || Ok(repeat(seconds, |_| key.verify_digest_sig(&digest, signature.as_ref()))?))
}

fn digest_number(number: u64) -> [u8; 32] {
    let mut digest = [0x5a; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    digest
}

fn repeat<E>(seconds: f64, mut what: impl FnMut(u64) -> Result<(), E>) -> Result<u64, E> {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut count = 0;
    while Instant::now() < end {
        what(count)?;
        count += 1;
    }
    Ok(count)
}

/// Waits for the word to begin, measures, and answers on standard output.
fn measure(seconds: f64, work: impl FnOnce() -> Fallible<u64>) -> Fallible<()> {
    say("ready");
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(()); // the parent is gone
    }
    let cpu = || Process::read(std::process::id()).map(|process| process.cpu);
    let (before, start) = (cpu()?, Instant::now());
    let count = work()?;
    let (elapsed, spent) = (start.elapsed().as_secs_f64().max(seconds), cpu()? - before);
    say(&json!({"per_second": count as f64 / elapsed, "per_cpu_second": count as f64 / spent.max(0.01)})
        .to_string());
    Ok(())
}

/// A child that runs one of the above.
pub(crate) struct Reference {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: std::io::BufReader<ChildStdout>,
    /// What it said first.
    pub(crate) greeting: String,
}

impl Reference {
    /// Starts this program with other arguments.
    pub(crate) fn start(arguments: &[String], environment: &[(String, String)]) -> Fallible<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = std::io::BufReader::new(child.stdout.take().ok_or("no pipe from the child")?);
        let mut reference = Self { child, stdin, stdout, greeting: String::new() };
        reference.greeting = reference.line()?;
        Ok(reference)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn begin(&mut self) -> Fallible<()> {
        Ok(self.stdin.as_mut().ok_or("the child was not told to wait")?.write_all(b"go\n")?)
    }

    pub(crate) fn result(mut self) -> Fallible<Direct> {
        let value: Value = serde_json::from_str(&self.line()?)?;
        let number = |name: &str| value[name].as_f64().ok_or("the child gave no figure");
        Ok(Direct { per_second: number("per_second")?, per_cpu_second: number("per_cpu_second")? })
    }

    fn line(&mut self) -> Fallible<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err("a reference process ended early".into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill(); // it has usually ended
        let _ = self.child.wait();
    }
}
