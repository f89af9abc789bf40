//! Checkpoints on their way out of the house: appended to a file, sent to an address. What is known elsewhere cannot be
//! taken back here.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use store::StoredCheckpoint;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Checkpoints that may wait to be picked from; more are not waited for.
const QUEUE: usize = 64;
/// How often sending is tried; a later checkpoint says all that this one did.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Starts the task; its end is the end of the channel.
pub(super) fn start(config: &config::Audit) -> (mpsc::Sender<StoredCheckpoint>, JoinHandle<()>) {
    let (made, checkpoints) = mpsc::channel(QUEUE);
    let anchor = Anchor {
        file: config.anchor_file.clone(),
        url: config.anchor_url.clone(),
        every: config.anchor_every,
    };
    (made, tokio::spawn(anchor.run(checkpoints)))
}

struct Anchor {
    file: Option<PathBuf>,
    url: Option<String>,
    every: u64,
}

impl Anchor {
    async fn run(self, mut checkpoints: mpsc::Receiver<StoredCheckpoint>) {
        let (mut made, mut last) = (0_u64, None);
        while let Some(checkpoint) = checkpoints.recv().await {
            made += 1;
            if made.is_multiple_of(self.every) {
                self.publish(&checkpoint).await;
                last = None;
            } else {
                last = Some(checkpoint);
            }
        }
        // The log ends: what it ends with goes out whatever its number.
        if let Some(checkpoint) = last {
            self.publish(&checkpoint).await;
        }
    }

    async fn publish(&self, checkpoint: &StoredCheckpoint) {
        if let Some(path) = &self.file {
            let (path, note) = (path.clone(), checkpoint.note.clone());
            let written = tokio::task::spawn_blocking(move || append(&path, &note)).await;
            if let Ok(Err(error)) = written {
                tracing::error!(%error, size = checkpoint.size, "a checkpoint could not be written to audit.anchor_file");
            }
        }
        let Some(url) = &self.url else { return };
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            match super::post::post(url, &checkpoint.note).await {
                Ok(()) => return,
                Err(error) if attempt == ATTEMPTS => {
                    tracing::error!(
                        error,
                        size = checkpoint.size,
                        "a checkpoint could not be sent to audit.anchor_url"
                    );
                }
                Err(error) => tracing::debug!(error, attempt, "sending a checkpoint is tried again"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

/// Notes one after the other, with an empty line after each.
fn append(path: &Path, note: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_all()
}
