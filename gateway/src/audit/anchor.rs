//! Checkpoints on their way out of the house: appended to a file, sent to an address. What is known elsewhere cannot be
//! taken back here.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::SourceUrl;
use store::StoredCheckpoint;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::trust::Fetcher;

/// Checkpoints that may wait to be picked from; more are not waited for.
const QUEUE: usize = 64;
/// How often sending is tried.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Starts the task; its end is the end of the channel.
pub(super) fn start(
    config: &config::Audit,
    fetcher: Fetcher,
) -> (mpsc::Sender<StoredCheckpoint>, JoinHandle<()>) {
    let (made, checkpoints) = mpsc::channel(QUEUE);
    let (newest, waiting) = watch::channel(None);
    let sending = config.anchor_url.clone().map(|url| tokio::spawn(send(fetcher, url, waiting)));
    let anchor = Anchor { file: config.anchor_file.clone(), every: config.anchor_every, newest };
    let anchoring = async {
        anchor.run(checkpoints).await;
        if let Some(sending) = sending {
            let _ = sending.await; // it has said what went wrong
        }
    };
    (made, tokio::spawn(anchoring))
}

struct Anchor {
    file: Option<PathBuf>,
    every: u64,
    /// What is to be sent.
    newest: watch::Sender<Option<StoredCheckpoint>>,
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
            if let Ok(Err(error)) = written {
                tracing::error!(%error, size, "a checkpoint could not be written to audit.anchor_file");
            }
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
async fn send(fetcher: Fetcher, url: SourceUrl, mut newest: watch::Receiver<Option<StoredCheckpoint>>) {
    while newest.changed().await.is_ok() {
        let Some(StoredCheckpoint { size, note, .. }) = newest.borrow_and_update().clone() else { continue };
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let Err(error) = fetcher.post_text(&url, note.clone()).await else { break };
            if attempt == ATTEMPTS {
                let (code, error) = (error.code, error.detail);
                tracing::error!(code, error, size, "a checkpoint could not be sent to audit.anchor_url");
                break;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}
