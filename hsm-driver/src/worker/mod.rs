//! The worker process: loads one vendor's module, holds its PIN and its sessions, and can be killed.
//!
//! Its standard input is one end of a Unix stream socket pair. Lanes take turns to read the socket (one reads,
//! the rest work), and whoever finds nobody writing writes all answers that are waiting.

mod lane;
mod module;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};

use cryptoki_sys as sys;
use lane::{Lane, Shared};
use module::Module;
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::{ReturnValue, StartError};
use crate::frame::{
    AnswerFrame, FrameBuffer, Function, START_ID, SignFrame, StartAnswer, StartOrder, Started, monotonic,
    put_json,
};

/// Runs a worker on its standard input until the other end closes. Internal: started by the fleet.
#[must_use]
pub fn run() -> ExitCode {
    let Ok(descriptor) = std::io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let stream = UnixStream::from(descriptor);
    let Ok(watched) = stream.try_clone() else { return ExitCode::FAILURE };
    std::thread::spawn(move || die_with(&watched));
    match serve(stream) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Ends the process when the gateway is gone, even with every lane stuck in the vendor's library: by a signal,
/// because an orderly exit would run that library's own clean-up.
fn die_with(stream: &UnixStream) {
    loop {
        let mut watched = [PollFd::new(stream, PollFlags::empty())];
        let polled = poll(&mut watched, None);
        if polled.is_ok() && !watched[0].revents().is_empty() {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

struct Reading {
    stream: UnixStream,
    buffer: FrameBuffer,
}

struct Writing {
    waiting: Vec<u8>,
    busy: bool,
}

struct Channel {
    reading: Mutex<Reading>,
    writing: Mutex<Writing>,
    out: UnixStream,
}

impl Channel {
    fn new(stream: UnixStream) -> std::io::Result<Self> {
        let out = stream.try_clone()?;
        let reading = Mutex::new(Reading { stream, buffer: FrameBuffer::default() });
        Ok(Self { reading, writing: Mutex::new(Writing { waiting: Vec::new(), busy: false }), out })
    }

    /// The next frame that `parse` makes something of; nothing at the end of the stream or on nonsense.
    fn next<T>(&self, parse: impl Fn(u64, &[u8]) -> Option<T>) -> Option<T> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunk = [0; 64 << 10];
        loop {
            if let Some((id, payload)) = reading.buffer.next().ok()? {
                return parse(id, payload);
            }
            let read = reading.stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
            reading.buffer.extend(&chunk[..read]);
        }
    }

    fn write(&self, put: impl FnOnce(&mut Vec<u8>)) {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        put(&mut writing.waiting);
        if writing.busy {
            return; // whoever is writing takes it along
        }
        writing.busy = true;
        while !writing.waiting.is_empty() {
            let batch = std::mem::take(&mut writing.waiting);
            drop(writing);
            let _ = (&self.out).write_all(&batch); // a gone parent is the watcher's business
            writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        }
        writing.busy = false;
    }
}

fn serve(stream: UnixStream) -> std::io::Result<()> {
    let channel = Channel::new(stream)?;
    let order: Option<StartOrder> =
        channel.next(|id, payload| (id == START_ID).then(|| serde_json::from_slice(payload).ok())?);
    let Some(order) = order else { return Err(std::io::ErrorKind::InvalidData.into()) };
    let answer = |answer: &StartAnswer| channel.write(|buffer| put_json(buffer, answer).unwrap_or_default());
    let prepared = Module::load(Path::new(&order.module)).and_then(|module| {
        let (slot, facts) = module.find_token(&order.token, order.serial.as_deref())?;
        Ok((Shared::new(module, slot, order), facts))
    });
    let (shared, facts) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            answer(&Err(error));
            return Ok(());
        }
    };
    std::thread::scope(|scope| {
        let (report, reports) = mpsc::channel();
        let mut started = None;
        // One lane first: a PIN that is refused is tried once, not once per lane.
        for number in 0..shared.order.lanes {
            let (report, go) = (report.clone(), mpsc::channel::<()>());
            let (shared, channel) = (&shared, &channel);
            scope.spawn(move || {
                let mut lane = Lane::new(shared);
                let opened =
                    lane.open().and_then(|()| if number == 0 { lane.public_keys() } else { Ok(Vec::new()) });
                let usable = opened.is_ok();
                drop(report.send(opened));
                if usable && go.1.recv().is_ok() {
                    work(&mut lane, channel);
                }
            });
            match (reports.recv(), &mut started) {
                (Ok(Ok(keys)), None) => started = Some((keys, vec![go.0])),
                (Ok(Ok(_)), Some((_, waiting))) => waiting.push(go.0),
                // The device gives fewer sessions than asked for: work with those it gives.
                (Ok(Err(StartError::Call { rv: ReturnValue(sys::CKR_SESSION_COUNT), .. })), Some(_)) => break,
                (Ok(Err(error)), _) => return answer(&Err(error)),
                (Err(_), _) => {
                    return answer(&Err(StartError::Worker {
                        reason: "lane ended while opening".to_owned(),
                    }));
                }
            }
        }
        if let Some((keys, waiting)) = started {
            answer(&Ok(Started { keys, token: facts, lanes: waiting.len() }));
            for go in waiting {
                let _ = go.send(()); // a lane that ended meanwhile reads no requests
            }
        }
    });
    Ok(())
}

fn work(lane: &mut Lane<'_>, channel: &Channel) {
    while let Some(ask) = channel.next(SignFrame::parse) {
        let outcome = if monotonic() >= ask.deadline {
            Err((Function::Expired, ReturnValue(sys::CKR_FUNCTION_CANCELED)))
        } else {
            lane.sign(usize::from(ask.key), ask.algorithm, &ask.digest)
        };
        channel.write(|buffer| AnswerFrame { id: ask.id, outcome }.put(buffer));
    }
}
