//! Checkpoints on their way out of the house: appended to a file, sent to an address. What is known elsewhere cannot be
//! taken back here.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::SourceUrl;
use store::StoredCheckpoint;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::trust::Fetcher;

/// Checkpoints that may wait to be picked from; more are not waited for.
const QUEUE: usize = 64;
/// How often sending is tried.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// What became of the checkpoints on one way out, since the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Anchored {
    /// When one last got there.
    pub(crate) arrived: Option<OffsetDateTime>,
    /// When the last one did not, and why; nothing once another one got there.
    pub(crate) failed: Option<(OffsetDateTime, String)>,
}

/// The same of both ways; nothing of one that is not configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Anchors {
    /// The file.
    pub(crate) file: Option<Anchored>,
    /// The address.
    pub(crate) address: Option<Anchored>,
}

impl Anchored {
    fn note(way: &mut Option<Self>, outcome: Result<(), String>) {
        let (now, way) = (OffsetDateTime::now_utc(), way.get_or_insert_default());
        match outcome {
            Ok(()) => *way = Self { arrived: Some(now), failed: None },
            Err(why) => way.failed = Some((now, why)),
        }
    }
}

/// Starts the task; its end is the end of the channel.
pub(super) fn start(
    config: &config::Audit,
    fetcher: Fetcher,
) -> (mpsc::Sender<StoredCheckpoint>, watch::Receiver<Anchors>, JoinHandle<()>) {
    let (made, checkpoints) = mpsc::channel(QUEUE);
    let (newest, waiting) = watch::channel(None);
    let known = Anchors {
        file: config.anchor_file.is_some().then(Anchored::default),
        address: config.anchor_url.is_some().then(Anchored::default),
    };
    let (known, anchors) = watch::channel(known);
    let sending =
        config.anchor_url.clone().map(|url| tokio::spawn(send(fetcher, url, waiting, known.clone())));
    let anchor = Anchor { file: config.anchor_file.clone(), every: config.anchor_every, newest, known };
    let anchoring = async {
        anchor.run(checkpoints).await;
        if let Some(sending) = sending {
            let _ = sending.await; // it has said what went wrong
        }
    };
    (made, anchors, tokio::spawn(anchoring))
}

struct Anchor {
    file: Option<PathBuf>,
    every: u64,
    /// What is to be sent.
    newest: watch::Sender<Option<StoredCheckpoint>>,
    known: watch::Sender<Anchors>,
}

impl Anchor {
    async fn run(self, mut checkpoints: mpsc::Receiver<StoredCheckpoint>) {
        let (mut made, mut last) = (0_u64, None);
        while let Some(checkpoint) = checkpoints.recv().await {
            made += 1;
            if made.is_multiple_of(self.every) {
                self.publish(checkpoint).await;
                last = None;
            } else {
                last = Some(checkpoint);
            }
        }
        // The log ends: what it ends with goes out whatever its number.
        if let Some(checkpoint) = last {
            self.publish(checkpoint).await;
        }
    }

    async fn publish(&self, checkpoint: StoredCheckpoint) {
        if let Some(path) = &self.file {
            let (path, note, size) = (path.clone(), checkpoint.note.clone(), checkpoint.size);
            let written = tokio::task::spawn_blocking(move || append(&path, &note)).await;
            let written = written.unwrap_or_else(|_| Err(std::io::Error::other("writing it broke off")));
            if let Err(error) = &written {
                tracing::error!(%error, size, "a checkpoint could not be written to audit.anchor_file");
            }
            let outcome = written.map_err(|error| error.to_string());
            self.known.send_modify(|known| Anchored::note(&mut known.file, outcome));
        }
        self.newest.send_replace(Some(checkpoint));
    }
}

/// Notes one after the other, with an empty line after each.
fn append(path: &Path, note: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_all()
}

/// Sends the newest checkpoint whenever there is one: it says all that those said which came while another was sent.
async fn send(
    fetcher: Fetcher,
    url: SourceUrl,
    mut newest: watch::Receiver<Option<StoredCheckpoint>>,
    known: watch::Sender<Anchors>,
) {
    while newest.changed().await.is_ok() {
        let Some(StoredCheckpoint { size, note, .. }) = newest.borrow_and_update().clone() else { continue };
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let Err(error) = fetcher.post_text(&url, note.clone()).await else {
                known.send_modify(|known| Anchored::note(&mut known.address, Ok(())));
                break;
            };
            if attempt == ATTEMPTS {
                let (code, error) = (error.code, error.detail);
                tracing::error!(code, error, size, "a checkpoint could not be sent to audit.anchor_url");
                known.send_modify(|known| Anchored::note(&mut known.address, Err(error)));
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}
