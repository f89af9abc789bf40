//! An audit log whose checkpoints a software key signs.

// Each test program uses its own part of this.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use formats::PublicKey;
use sm2::dsa::signature::Signer as _;
use store::{
    AuditEntry, AuditLog, AuditWriter, CheckpointKeeper, CheckpointRules, CheckpointSignature,
    CheckpointSigner, JudgedKey, LogRecord, Signed, Store, StoredCheckpoint,
};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::sync::{mpsc, watch};

pub(crate) const AT: OffsetDateTime = datetime!(2024-05-06 07:08:09.5 +08:00);

pub(crate) fn entry(request_id: impl ToString) -> AuditEntry {
    AuditEntry {
        action: "sign".into(),
        actor: "窗口".into(),
        at: AT,
        device: Some("d1".into()),
        input_digest: Some("00ff".into()),
        key: Some("demo-sm2".into()),
        outcome: "ok".into(),
        request_id: request_id.to_string(),
        result_digest: None,
        subject: None,
    }
}

/// Signs while it is not told to fail.
#[derive(Clone)]
pub(crate) struct SoftSigner {
    key: sm2::dsa::SigningKey,
    pub(crate) fails: Arc<AtomicBool>,
}

impl SoftSigner {
    pub(crate) fn new(number: u8) -> Self {
        let key = sm2::dsa::SigningKey::from_slice("1234567812345678", &[number; 32]).unwrap();
        Self { key, fails: Arc::default() }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        use sm2::elliptic_curve::sec1::ToSec1Point as _;
        let point = sm2::SecretKey::from(self.key.as_nonzero_scalar()).public_key().to_sec1_point(false);
        PublicKey::sm2_from_sec1(point.as_bytes()).unwrap()
    }

    pub(crate) fn sign_text(&self, text: &str) -> Vec<u8> {
        let signature: sm2::dsa::Signature = self.key.try_sign(text.as_bytes()).unwrap();
        signature.to_der().as_bytes().to_vec()
    }
}

impl CheckpointSigner for SoftSigner {
    async fn sign(&self, text: String) -> Result<CheckpointSignature, String> {
        if self.fails.load(Ordering::Relaxed) {
            return Err("no device".to_owned());
        }
        Ok(CheckpointSignature {
            signature: self.sign_text(&text),
            name: "sys-audit".to_owned(),
            public_key: self.public_key(),
            certificate_chain: String::new(),
        })
    }

    async fn trusts(&self, key: &PublicKey) -> Result<bool, String> {
        Ok(key.spki_der() == self.public_key().spki_der())
    }
}

/// A running log that is kept signed.
pub(crate) struct Kept {
    pub(crate) store: Store,
    pub(crate) log: AuditLog,
    pub(crate) signed: watch::Receiver<Signed>,
    pub(crate) made: mpsc::Receiver<StoredCheckpoint>,
    keeper: CheckpointKeeper,
    writer: AuditWriter,
}

impl Kept {
    pub(crate) async fn start(store: Store, signer: &SoftSigner, entries: u64, interval: Duration) -> Self {
        let (log, writer) = AuditLog::start(&store).await.unwrap();
        Self::keep(store, log, writer, signer, entries, interval).await
    }

    /// The same, with a folder outside the database; a checkpoint after each entry.
    pub(crate) async fn start_guarded(store: Store, signer: &SoftSigner, folder: &Path) -> Self {
        let (log, writer) = AuditLog::start_guarded(&store, "gateway", folder).await.unwrap();
        Self::keep(store, log, writer, signer, 1, Duration::from_millis(1)).await
    }

    async fn keep(
        store: Store,
        log: AuditLog,
        writer: AuditWriter,
        signer: &SoftSigner,
        entries: u64,
        interval: Duration,
    ) -> Self {
        let (_, rules) = watch::channel(CheckpointRules { entries, interval });
        let (sender, made) = mpsc::channel(100);
        let keeper = CheckpointKeeper::start(log.clone(), signer.clone(), rules, sender).await.unwrap();
        Self { store, log, signed: keeper.signed(), made, keeper, writer }
    }

    pub(crate) fn record(&self) -> LogRecord {
        self.log.record().clone()
    }

    /// Appends entries together, in some order.
    pub(crate) async fn append(&self, numbers: std::ops::Range<u64>) {
        let tasks: Vec<_> = numbers
            .map(|number| {
                let log = self.log.clone();
                tokio::spawn(async move { log.append(entry(number)).await.unwrap() })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }

    /// Waits until a checkpoint covers so many entries.
    pub(crate) async fn until_signed(&self, size: u64) {
        let mut signed = self.signed.clone();
        let wait = signed.wait_for(|signed| signed.size >= size);
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("a checkpoint in time").unwrap();
    }

    /// Waits until it is said why the log is not signed any more because it was altered.
    pub(crate) async fn until_altered(&self) -> String {
        let mut signed = self.signed.clone();
        let altered = |signed: &Signed| signed.unsigned.as_ref().is_some_and(|unsigned| unsigned.altered);
        let wait = signed.wait_for(altered);
        let found = tokio::time::timeout(Duration::from_secs(60), wait).await.expect("in time").unwrap();
        found.unsigned.clone().unwrap().reason
    }

    pub(crate) async fn finish(self) -> Store {
        self.keeper.finish().await;
        self.writer.finish().await;
        self.store
    }
}

/// Takes every key as the trusted one.
pub(crate) fn anybody(name: &str, _: &PublicKey, _: &str) -> JudgedKey {
    JudgedKey { name: name.to_owned(), trusted: None, detail: String::new() }
}
