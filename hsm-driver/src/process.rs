//! A worker process and its end of the socket.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::Stdio;

use config::Isolation;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use zeroize::Zeroizing;

use crate::chatter;
use crate::device::WorkerCommand;
use crate::error::StartError;
use crate::frame::{AnswerFrame, FrameBuffer, START_ID, SignFrame};

pub(crate) struct Worker {
    /// None where the worker is a thread of this process.
    child: Option<Child>,
    stream: UnixStream,
    pub(crate) buffer: FrameBuffer,
}

impl Worker {
    /// Starts one for a device; what its library says goes into the log, without the PIN. A thread cannot be killed,
    /// and its environment and standard error are this process's.
    pub(crate) fn spawn(
        device: &config::Device,
        command: &WorkerCommand,
        isolation: Isolation,
        pin: &Zeroizing<String>,
    ) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut child = match isolation {
            Isolation::Process => Some(
                Command::new(&command.program)
                    .args(&command.arguments)
                    .arg(device.id.as_str())
                    .envs(&device.env)
                    .current_dir(&device.folder)
                    .stdin(Stdio::from(OwnedFd::from(theirs)))
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped())
                    // A signal to the gateway's process group is the gateway's to handle: workers finish their
                    // work.
                    .process_group(0)
                    .kill_on_drop(true)
                    .spawn()?,
            ),
            Isolation::Thread => {
                let name = format!("hsm-worker {}", device.id);
                std::thread::Builder::new().name(name).spawn(move || crate::worker::run_on_thread(theirs))?;
                None
            }
        };
        if let Some(stderr) = child.as_mut().and_then(|child| child.stderr.take()) {
            tokio::spawn(chatter::relay(device.id.clone(), stderr, pin.clone()));
        }
        Ok(Self { child, stream: UnixStream::from_std(ours)?, buffer: FrameBuffer::default() })
    }

    /// Its process id; 0 for a thread and for a process that has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).unwrap_or_default()
    }

    pub(crate) fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.start_kill(); // gone already is as good
        }
    }

    pub(crate) async fn ready(&self, interest: tokio::io::Interest) -> io::Result<()> {
        self.stream.ready(interest).await.map(drop)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// One signature, while the worker is being brought up.
    pub(crate) async fn sign_once(&mut self, ask: &SignFrame) -> Result<AnswerFrame, StartError> {
        let mut frame = Vec::new();
        ask.put(&mut frame);
        let sent = self.send(&frame).await;
        sent.map_err(|error| StartError::Worker { reason: error.to_string() })?;
        self.receive(AnswerFrame::parse).await
    }

    /// One JSON frame of the start.
    pub(crate) async fn receive_json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, StartError> {
        self.receive(|id, payload| (id == START_ID).then(|| serde_json::from_slice(payload).ok())?).await
    }

    /// The next frame, while the worker is being brought up.
    async fn receive<T>(&mut self, parse: impl Fn(u64, &[u8]) -> Option<T>) -> Result<T, StartError> {
        let lost = |reason: &str| StartError::Worker { reason: reason.to_owned() };
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some((id, payload)) = self.buffer.next().map_err(|_| lost("nonsense on the socket"))? {
                return parse(id, payload).ok_or_else(|| lost("nonsense on the socket"));
            }
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return Err(lost("ended while starting")),
                Ok(read) => self.buffer.extend(&chunk[..read]),
            }
        }
    }

    pub(crate) fn read_available(&mut self) -> io::Result<()> {
        let mut chunk = [0; 32 << 10];
        loop {
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "process ended")),
                Ok(read) => self.buffer.extend(&chunk[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn write_available(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while !out.is_empty() {
            match self.stream.try_write(out) {
                Ok(written) => drop(out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
