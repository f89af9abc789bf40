//! Examines a device nobody knows yet: which dialect it speaks, what it can do, how fast, and how it behaves.
//!
//! Vendor code runs in a process of its own here too. [`probe`] starts one and listens to what it is about to
//! call; [`run`] is that process. One that falls silent is killed, and what it had found stays.
//!
//! Invariants: the PIN is compared with the token's once, and again only after it was accepted; sessions are
//! read-only unless the device insists; every object is a session object, and is destroyed.

mod behaviour;
mod bench;
mod examine;
mod mechanisms;
mod report;
mod services;
mod signing;
mod sm2;
mod survey;
mod text;
mod wrapping;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::device::WorkerCommand;
pub use report::{
    AlgorithmFinding, Behaviour, LibraryFacts, MechanismFacts, Rate, RefusalCount, Report, ServiceFinding,
    Sm2Finding, Sm2Signature, Token, WrapFinding,
};

/// What to examine, and how far.
#[derive(Serialize, Deserialize)]
pub struct ProbeOrder {
    /// The vendor's library.
    pub module: String,
    /// The token's label.
    pub token: String,
    /// The token's serial number, where labels are not unique.
    pub serial: Option<String>,
    /// The user PIN; without one nothing that needs a login is tried.
    pub pin: Option<Zeroizing<String>>,
    /// CKA_IDs of keys that are there. With any, no key is made: these are tried.
    pub existing_keys: Vec<Vec<u8>>,
    /// Sessions to open at most, and to measure with.
    pub lanes: usize,
    /// Time for each rate to measure; zero measures none.
    pub measure: Duration,
}

/// What the examining process says on its socket, one JSON value a line.
#[derive(Serialize, Deserialize)]
enum Message {
    /// What it goes on to do, in words.
    Step(String),
    /// The C function it is about to call.
    Call(String),
    /// Everything found so far.
    Found(Box<Report>),
    /// It is done, or gave up for this reason.
    End(Option<String>),
}

/// Examines a device in a process of its own.
///
/// `env` is that process's additional environment; `patience` is how long it may say nothing before the library
/// counts as hung; `step` hears what is being done.
///
/// # Errors
/// When the process could not be started. What a library, token or device does wrong is in the report.
pub fn probe(
    command: &WorkerCommand,
    env: &BTreeMap<String, String>,
    order: &ProbeOrder,
    patience: Duration,
    mut step: impl FnMut(&str),
) -> Result<Report, std::io::Error> {
    let json = Zeroizing::new(serde_json::to_vec(order)?);
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new(&command.program)
        .args(&command.arguments)
        .envs(env)
        .stdin(OwnedFd::from(theirs))
        .stdout(std::io::stderr()) // vendors' libraries talk; the report's place is not theirs
        .process_group(0)
        .spawn()?;
    // A process that dies before it reads is found out below.
    let _ = (&ours).write_all(&json).and_then(|()| (&ours).write_all(b"\n"));
    let mut report = Report::default();
    let stopped = listen(ours, order, patience, &mut report, &mut step);
    let status = end(&mut child)?;
    report.stopped = match stopped {
        Ending::Said(reason) => reason,
        Ending::Silent { call, doing } => Some(format!(
            "the library did not come back from {call} within {} s (while it was to {doing}); its process was \
             killed",
            patience.as_secs_f64()
        )),
        Ending::Died { call, doing } => {
            Some(format!("the library's process {} in {call} (while it was to {doing})", how(status)))
        }
    };
    let env: Vec<_> = env.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    report.conclude(order, &env);
    Ok(report)
}

enum Ending {
    Said(Option<String>),
    Silent { call: String, doing: String },
    Died { call: String, doing: String },
}

fn listen(
    stream: UnixStream,
    order: &ProbeOrder,
    patience: Duration,
    report: &mut Report,
    step: &mut impl FnMut(&str),
) -> Ending {
    let (sender, messages) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let message = line.ok().and_then(|line| serde_json::from_str::<Message>(&line).ok());
            let Some(message) = message else { return };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    let (mut call, mut doing) = ("its start".to_owned(), "start".to_owned());
    loop {
        // While rates are measured nothing is announced.
        match messages.recv_timeout(patience + order.measure) {
            Ok(Message::Step(text)) => {
                step(&text);
                doing = text;
            }
            Ok(Message::Call(function)) => call = function,
            Ok(Message::Found(found)) => *report = *found,
            Ok(Message::End(reason)) => return Ending::Said(reason),
            Err(mpsc::RecvTimeoutError::Timeout) => return Ending::Silent { call, doing },
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ending::Died { call, doing },
        }
    }
}

/// Ends the process, which has said all it will, and whatever its library started beside it.
fn end(child: &mut Child) -> Result<ExitStatus, std::io::Error> {
    if let Some(status) = child.try_wait()? {
        return Ok(status);
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL); // gone already: as wanted
    }
    child.wait()
}

fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        // Killed by us after it closed its socket: it fell silent for good.
        (Some(9), _) => "closed its socket".to_owned(),
        (Some(signal), _) => format!("died of signal {signal}"),
        (None, code) => format!("ended with code {}", code.unwrap_or_default()),
    }
}

/// Writes messages to the parent; shared with the calls' announcer.
#[derive(Clone)]
struct Teller(std::sync::Arc<UnixStream>);

impl Teller {
    fn tell(&self, message: &Message) {
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            let _ = (&*self.0).write_all(&line); // without a parent this process is about to be killed
        }
    }
}

/// The examining process: reads an order from the socket on its standard input, answers there. Internal.
#[must_use]
pub fn run() -> ExitCode {
    // When the parent is gone, so is this process, however stuck its library is.
    let bound = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let (Ok(descriptor), Ok(())) = (std::io::stdin().as_fd().try_clone_to_owned(), bound) else {
        return ExitCode::FAILURE;
    };
    let stream = UnixStream::from(descriptor);
    let mut line = Zeroizing::new(String::new());
    let read = stream.try_clone().and_then(|stream| BufReader::new(stream).read_line(&mut line));
    let order = read.ok().and_then(|_| serde_json::from_str::<ProbeOrder>(&line).ok());
    let Some(order) = order else { return ExitCode::FAILURE };
    let teller = Teller(std::sync::Arc::new(stream));
    let reason = examine::examine(&order, &teller).err();
    teller.tell(&Message::End(reason));
    // The parent kills this process now: an orderly exit would run the library's own clean-up, which may hang.
    std::thread::sleep(Duration::from_secs(5));
    ExitCode::SUCCESS
}
