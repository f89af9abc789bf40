//! The worker process: loads one vendor's module, holds its PIN and its sessions, and can be killed.
//!
//! Its standard input is one end of a Unix stream socket pair. Lanes take turns to read the socket (one reads,
//! the rest work), and whoever finds nobody writing writes all answers that are waiting.

mod lane;
mod module;
mod objects;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::Scope;
use std::time::{Duration, Instant};

use cryptoki_sys as sys;
use lane::{Lane, Shared};
use module::Module;
pub(crate) use module::probing;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{ReturnValue, StartError};
use crate::frame::{
    AnswerFrame, Asked, FrameBuffer, Function, KeyOrder, START_ID, SignFrame, StartAnswer, StartOrder,
    Started, monotonic, put_json, put_order,
};
use crate::order::{Order, OrderFailure, OrderOutcome};

/// Runs a worker on its standard input until the other end closes. Internal: started by the fleet.
#[must_use]
pub fn run() -> ExitCode {
    let Ok(descriptor) = io::stdin().as_fd().try_clone_to_owned() else { return ExitCode::FAILURE };
    let stream = UnixStream::from(descriptor);
    let Ok(watched) = stream.try_clone() else { return ExitCode::FAILURE };
    let care = Arc::new(Care::default());
    let watching = Arc::clone(&care);
    std::thread::spawn(move || die_with(&watched, &watching));
    match serve(stream, &care, true) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The same on a thread of this process, for measuring what the process costs: nothing can kill it.
pub(crate) fn run_on_thread(stream: UnixStream) {
    let _ = serve(stream, &Care::default(), false); // its end shows on the socket
}

/// Since when a lane has been in a call nobody waits for (CLOCK_MONOTONIC, nanoseconds; 0 for none), and how long
/// one may last. The parent cannot see such a call, so the worker watches it.
#[derive(Default)]
struct Care {
    since: AtomicU64,
    longest: AtomicU64,
}

impl Care {
    /// Runs a call under watch. Several lanes may: the first one's beginning counts until it is back.
    fn watch<T>(&self, call: impl FnOnce() -> T) -> T {
        let now = monotonic();
        let first = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        let result = call();
        if first {
            self.since.store(0, Ordering::Relaxed);
        }
        result
    }

    fn is_stuck(&self) -> bool {
        let (since, longest) = (self.since.load(Ordering::Relaxed), self.longest.load(Ordering::Relaxed));
        since != 0 && longest != 0 && monotonic().saturating_sub(since) > longest
    }
}

const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Ends the process when the gateway is gone or a call nobody waits for is stuck, even with every lane in the
/// vendor's library: by a signal, because an orderly exit would run that library's own clean-up.
fn die_with(stream: &UnixStream, care: &Care) {
    loop {
        let mut watched = [PollFd::new(stream, PollFlags::empty())];
        let polled = poll(&mut watched, Some(&LOOK_EVERY));
        if polled.is_ok() && !watched[0].revents().is_empty() || care.is_stuck() {
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
    /// Whether a lane saw the end of the stream.
    ended: Mutex<bool>,
    ending: Condvar,
}

enum Next<T> {
    Frame(T),
    /// Nothing came before the lane's session wants care.
    Idle,
    /// The end of the stream, or nonsense on it.
    End,
}

impl Channel {
    fn new(stream: UnixStream) -> io::Result<Self> {
        let out = stream.try_clone()?;
        let reading = Mutex::new(Reading { stream, buffer: FrameBuffer::default() });
        let writing = Mutex::new(Writing { waiting: Vec::new(), busy: false });
        Ok(Self { reading, writing, out, ended: Mutex::new(false), ending: Condvar::new() })
    }

    fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ending.notify_all();
    }

    /// Waits; true at once if there is nothing more to come.
    fn ends_within(&self, wait: Duration) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.ending.wait_timeout_while(ended, wait, |ended| !*ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// The next frame that `parse` makes something of. One lane reads and the rest wait for it; who reads gives
    /// up its place when `until` has come.
    fn next<T>(&self, parse: impl Fn(u64, &[u8]) -> Option<T>, until: Option<Instant>) -> Next<T> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chunk = [0; 64 << 10];
        loop {
            match reading.buffer.next() {
                Ok(Some((id, payload))) => return parse(id, payload).map_or(Next::End, Next::Frame),
                Ok(None) => {}
                Err(_) => return Next::End,
            }
            if let Some(until) = until {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Next::Idle;
                }
                let _ = reading.stream.set_read_timeout(Some(left)); // without it a session gets its care later
            }
            match reading.stream.read(&mut chunk) {
                Ok(0) => return Next::End,
                Ok(read) => reading.buffer.extend(&chunk[..read]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Next::End,
            }
        }
    }

    /// One JSON frame of the start.
    fn start_frame<T: serde::de::DeserializeOwned>(&self) -> io::Result<T> {
        let parse = |id, payload: &[u8]| (id == START_ID).then(|| serde_json::from_slice(payload).ok())?;
        match self.next(parse, None) {
            Next::Frame(value) => Ok(value),
            Next::Idle | Next::End => Err(io::ErrorKind::InvalidData.into()),
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

    fn start_answer<T: serde::Serialize>(&self, answer: &T) {
        self.write(|buffer| put_json(buffer, answer).unwrap_or_default());
    }
}

fn serve(stream: UnixStream, care: &Care, alone: bool) -> io::Result<()> {
    let channel = Channel::new(stream)?;
    let order: StartOrder = channel.start_frame()?;
    let mut frames = Vec::new();
    for _ in 0..order.key_frames {
        frames.push(channel.start_frame::<Vec<KeyOrder>>()?);
    }
    let sizes: Vec<_> = frames.iter().map(Vec::len).collect();
    care.longest.store(order.stuck_ms.saturating_mul(1_000_000), Ordering::Relaxed);
    let prepared = Module::load(Path::new(&order.module), alone).and_then(|module| {
        let (slot, facts) = module.find_token(&order.token, order.serial.as_deref())?;
        Ok((Shared::new(module, slot, order, frames.concat()), facts))
    });
    let (shared, facts) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            channel.start_answer(&StartAnswer::Err(error));
            return Ok(());
        }
    };
    let refuse = |error| channel.start_answer(&StartAnswer::Err(error));
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
                    lane.open().and_then(|()| if number == 0 { lane.public_keys(0) } else { Ok(Vec::new()) });
                let usable = opened.is_ok();
                drop(report.send(opened));
                if usable && go.1.recv().is_ok() {
                    work(u8::try_from(number).unwrap_or(u8::MAX), &mut lane, channel, care);
                }
            });
            match (reports.recv(), &mut started) {
                (Ok(Ok(keys)), None) => started = Some((keys, vec![go.0])),
                (Ok(Ok(_)), Some((_, waiting))) => waiting.push(go.0),
                // The device gives fewer sessions than asked for: work with those it gives.
                (Ok(Err(StartError::Call { rv: ReturnValue(sys::CKR_SESSION_COUNT), .. })), Some(_)) => break,
                (Ok(Err(error)), _) => return refuse(error),
                (Err(_), _) => {
                    return refuse(StartError::Worker { reason: "lane ended while opening".to_owned() });
                }
            }
        }
        if let Some((keys, waiting)) = started {
            let given = waiting.len();
            channel.start_answer(&StartAnswer::Ok(Started { token: facts, lanes: given }));
            let mut keys = keys.into_iter();
            for size in sizes {
                channel.start_answer(&keys.by_ref().take(size).collect::<Vec<_>>());
            }
            for go in waiting {
                let _ = go.send(()); // a lane that ended meanwhile reads no requests
            }
            if given < shared.order.lanes {
                open_late(scope, given, &shared, &channel, care);
            }
        }
    });
    Ok(())
}

/// How often a session is asked for that the device did not give.
const ASK_AGAIN_EVERY: Duration = Duration::from_secs(5);

/// A lane whose session the device did not give at the start asks again from time to time. Once it works, the next
/// one asks.
fn open_late<'scope>(
    scope: &'scope Scope<'scope, '_>,
    number: usize,
    shared: &'scope Shared,
    channel: &'scope Channel,
    care: &'scope Care,
) {
    scope.spawn(move || {
        let mut lane = Lane::new(shared);
        while care.watch(|| lane.join()).is_err() {
            if channel.ends_within(ASK_AGAIN_EVERY) {
                return;
            }
        }
        if number + 1 < shared.order.lanes {
            open_late(scope, number + 1, shared, channel, care);
        }
        work(u8::try_from(number).unwrap_or(u8::MAX), &mut lane, channel, care);
    });
}

fn work(number: u8, lane: &mut Lane<'_>, channel: &Channel, care: &Care) {
    loop {
        let mut left = lane.until_care();
        if left.is_some_and(|left| left.is_zero()) {
            care.watch(|| lane.keep_alive());
            left = lane.until_care();
        }
        let until = left.map(|left| Instant::now() + left);
        match channel.next(Asked::parse, until) {
            Next::Frame(Asked::Sign(ask)) => {
                let started = Instant::now();
                let outcome = sign(lane, &ask);
                let micros = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
                let answer = AnswerFrame { id: ask.id, outcome, lane: number, micros };
                channel.write(|buffer| answer.put(buffer));
            }
            Next::Frame(Asked::Order { id, order }) => obey(lane, channel, id, &order),
            Next::Idle => {}
            Next::End => return channel.end(),
        }
    }
}

fn sign(lane: &mut Lane<'_>, ask: &SignFrame) -> Result<Vec<u8>, lane::Failure> {
    if monotonic() >= ask.deadline {
        return Err((Function::Expired, ReturnValue(sys::CKR_FUNCTION_CANCELED)));
    }
    lane.sign(usize::from(ask.key), ask.algorithm, &ask.digest)
}

fn obey(lane: &mut Lane<'_>, channel: &Channel, id: u64, order: &Order) {
    let outcome = lane.obey(order);
    channel.write(|buffer| {
        if put_order(buffer, id, &outcome).is_err() {
            let rv = ReturnValue(sys::CKR_DATA_LEN_RANGE);
            let outcome = OrderOutcome::Err(OrderFailure { function: "answer too long".to_owned(), rv });
            let _ = put_order(buffer, id, &outcome); // this one is short
        }
    });
}
