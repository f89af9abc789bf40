//! Takes the evidence of new stamps, and renews that of old ones: many at a time, under one timestamp.
//!
//! A round claims what is due, keeps what certificates are judged by, has a token made over the root of a tree over all of it,
//! puts root and token on record and adds the records, of those stamps that it still holds. A gateway that is lost in between
//! leaves a token and an entry that no record names; another one takes the stamps when the claim has ended.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use config::AppId;
use formats::{Certificate, Usage, Verdict, tsp};
use signing::{
    Asker, EVIDENCE_ACTION, EVIDENCE_HASH, EvidenceCore, EvidenceRecord, ValidationData, evidence_imprint,
    evidence_leaf, evidence_path,
};
use sm3::{Digest, Sm3};
use store::{AuditEntry, DueEvidence, Hash, NewEvidence, PutOffEvidence, StoreError};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::audit::{InclusionResponse, proof_of};
use crate::error::with_causes;
use crate::problem::Problem;
use crate::state::Gateway;
use crate::timestamps::{self, WatchedClock};

/// How often somebody looks for what is due.
const LOOK: Duration = Duration::from_secs(2);
/// How long stamps are held, and how long a round may take.
const LEASE: Duration = Duration::from_secs(90);
const LONGEST: Duration = Duration::from_secs(80);
/// Stamps of a round, and how long it prepares them; those that it has not come to then are another one's.
const MOST: u32 = 256;
const PREPARING: Duration = Duration::from_secs(25);
/// The pause where it was not for the stamps that nothing came of a round, as when there is no token; each time twice as
/// long, up to the longest.
const OF_ROUND: Duration = Duration::from_secs(30);
/// The devices, or an authority outside, have this long for a token.
const TOKEN: Duration = Duration::from_secs(30);
/// How long a checkpoint over the entry is waited for; a record without the log's proof is worth its timestamp.
const CHECKPOINT: Duration = Duration::from_secs(10);
/// So often revocation data of the signer is waited for; then the evidence says of whom there is none.
const PATIENCE: u32 = 6;
/// So often that of a timestamp which is to be renewed, some weeks with the pauses between.
const LONG_PATIENCE: u32 = 500;
/// Nothing is waited for when a timestamp is to be renewed and is good for less than this.
const LAST_DAYS: time::Duration = time::Duration::days(3);
/// The longest pause between two tries.
const LONGEST_PAUSE: u64 = 3_600;
/// Evidence is not renewed sooner than this, whatever its certificate says.
const SOONEST: time::Duration = time::Duration::days(1);
/// How often what is over is removed.
const SWEEP: Duration = Duration::from_secs(3_600);
/// Contents that nothing names are nobody's by then.
const NAMELESS: time::Duration = time::Duration::days(2);
/// Stamps whose evidence is forgotten in one transaction.
const FORGOTTEN: u32 = 500;

/// What certificates were found to be judged by in a round.
#[derive(Default)]
struct Known {
    /// By the certificate.
    signers: HashMap<Vec<u8>, ValidationData>,
    /// By the timestamp's digest, with the time until which its certificate is good.
    timestamps: HashMap<Hash, (ValidationData, OffsetDateTime)>,
}

/// Why nothing came of a stamp, or of a round.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Problem(String),
    #[error("nobody could say that its certificates are not revoked: {0}")]
    Unknown(String),
    #[error("the audit log does not cover the stamp yet")]
    Uncovered,
    #[error("its timestamp cannot be judged by the roots in [trust]: {0}")]
    Token(String),
    #[error("it was not done in time")]
    Late,
}

impl From<Problem> for NotTaken {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem.code().to_owned())
    }
}

/// A stamp whose record waits for its timestamp.
struct Prepared {
    stamp: String,
    core: String,
    records: Vec<String>,
    items: Vec<Hash>,
    /// What the last timestamp's certificate is judged by now, of what is renewed.
    before: ValidationData,
}

/// Keeps evidence until it is dropped.
pub(crate) async fn keep(gateways: watch::Receiver<Option<Gateway>>, clock: WatchedClock) {
    // Many contents take long to look at: nobody's evidence waits for that.
    tokio::join!(take(gateways.clone()), remove(gateways, clock));
}

async fn take(gateways: watch::Receiver<Option<Gateway>>) {
    let mut rounds = tokio::time::interval(LOOK);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = Failures::default();
    loop {
        rounds.tick().await;
        let Some(gateway) = gateways.borrow().clone() else { continue };
        if gateway.config.stamp_evidence.keep
            && let Err(error) = round(&gateway, &mut failures, OffsetDateTime::now_utc()).await
        {
            tracing::warn!(error = with_causes(&error), "evidence of stamps could not be taken now");
        }
    }
}

async fn remove(gateways: watch::Receiver<Option<Gateway>>, clock: WatchedClock) {
    let mut sweeps = tokio::time::interval_at(tokio::time::Instant::now() + SWEEP, SWEEP);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        sweeps.tick().await;
        let Some(gateway) = gateways.borrow().clone() else { continue };
        if let Err(error) = sweep(&gateway, &clock, OffsetDateTime::now_utc()).await {
            tracing::warn!(error = with_causes(&error), "evidence past its time stays for now");
        }
    }
}

async fn sweep(gateway: &Gateway, clock: &WatchedClock, now: OffsetDateTime) -> Result<(), StoreError> {
    // What is removed cannot be had back.
    if let Err(reason) = clock.believed() {
        tracing::warn!(reason, "evidence past its time stays for now");
        return Ok(());
    }
    if let Some(retention) = gateway.config.stamp_evidence.retention {
        let mut forgotten = 0;
        loop {
            let some = gateway.store.forget_evidence(now - retention, FORGOTTEN).await?;
            if some == 0 {
                break;
            }
            forgotten += some;
        }
        if forgotten > 0 {
            tracing::info!(stamps = forgotten, "evidence of stamps past its time was removed");
        }
    }
    gateway.evidence.remove_unnamed(&gateway.store, now - NAMELESS, now).await.map(drop)
}

/// Rounds of which nothing came, one after the other.
#[derive(Default)]
struct Failures {
    count: u32,
    /// None begins before: stamps that are new would have one made every time that somebody looks.
    until: Option<Instant>,
}

impl Failures {
    fn is_resting(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }

    /// Answers the pause.
    fn count(&mut self) -> Duration {
        let pause = of_rounds(self.count);
        *self = Self { count: self.count + 1, until: Some(Instant::now() + pause) };
        pause
    }
}

/// The pause after a failed round, by how many failed before it.
fn of_rounds(failed: u32) -> Duration {
    OF_ROUND.saturating_mul(1 << failed.min(16)).min(Duration::from_secs(LONGEST_PAUSE))
}

async fn round(gateway: &Gateway, failures: &mut Failures, now: OffsetDateTime) -> Result<(), NotTaken> {
    let (store, holder) = (&gateway.store, gateway.instance.name());
    gateway.metrics.evidence_due(store.evidence_figures(now).await?);
    if failures.is_resting() {
        return Ok(());
    }
    let due = store.claim_evidence(holder, LEASE, MOST, now).await?;
    if due.is_empty() {
        return Ok(());
    }
    // Those of which it is open what comes of them; nothing of that is the fault of one of them.
    let mut open: HashSet<String> = due.iter().map(|one| one.stamp.clone()).collect();
    let (mut prepared, mut put_off) = (Vec::new(), Vec::new());
    let began = Instant::now();
    let work = async {
        let mut known = Known::default();
        for one in due {
            let (stamp, tried) = (one.stamp.clone(), one.tries);
            if began.elapsed() > PREPARING {
                open.remove(&stamp);
                put_off.push(PutOffEvidence { stamp, due_at: now, was_tried: false });
                continue;
            }
            match prepare(gateway, one, &mut known, now).await {
                Ok(ready) => prepared.push(ready),
                Err(error) => {
                    open.remove(&stamp);
                    tracing::debug!(stamp, tried, error = with_causes(&error), "evidence is put off");
                    let due_at = now + pause(&error, tried);
                    put_off.push(PutOffEvidence { stamp, due_at, was_tried: true });
                }
            }
        }
        if prepared.is_empty() {
            return Ok(false);
        }
        record(gateway, holder, &prepared, now).await.map(|()| true)
    };
    let done = tokio::time::timeout(LONGEST, work).await.unwrap_or(Err(NotTaken::Late));
    if let Ok(true) = done {
        *failures = Failures::default();
    }
    if done.is_err() {
        let due_at = now + failures.count();
        put_off.extend(open.into_iter().map(|stamp| PutOffEvidence { stamp, due_at, was_tried: false }));
    }
    if !put_off.is_empty() {
        store.put_off_evidence(holder, &put_off).await?;
    }
    done.map(drop)
}

fn pause(error: &NotTaken, tried: u32) -> Duration {
    let seconds = match error {
        NotTaken::Uncovered => 1,
        _ => 1_u64 << tried.min(16),
    };
    Duration::from_secs(seconds.min(LONGEST_PAUSE))
}

/// What a stamp's record is to be over. What certificates are judged by is the same for all that one key signed.
async fn prepare(
    gateway: &Gateway,
    due: DueEvidence,
    known: &mut Known,
    now: OffsetDateTime,
) -> Result<Prepared, NotTaken> {
    let DueEvidence { stamp: id, core, records, tries } = due;
    if let Some(core) = core {
        let (before, good_until) = last_timestamp(gateway, &records, known, now).await?;
        // It is waited for, as what is not kept now cannot be had later, but not until nothing can be renewed any more.
        let in_time = now + LAST_DAYS < good_until;
        if !before.names.missing.is_empty() && tries < LONG_PATIENCE && in_time {
            return Err(NotTaken::Unknown(before.names.missing.join(", ")));
        }
        return Ok(Prepared { stamp: id, core, records, items: Vec::new(), before });
    }
    let found = gateway.store.stamp(&id).await?;
    let found = found.ok_or(StoreError::Altered { what: "stamp", id: id.clone() })?;
    let proof = proof_of(gateway, found.log, found.audit_index).await?;
    if proof.is_none() && tries < PATIENCE {
        return Err(NotTaken::Uncovered);
    }
    let mut data = ValidationData::default();
    let further = found.stamp.signatures.iter().map(|signature| &signature.certificate);
    for der in std::iter::once(&found.stamp.certificate).chain(further) {
        data.extend(of_signer(gateway, &id, der, known, now).await?);
    }
    if !data.names.missing.is_empty() && tries < PATIENCE {
        return Err(NotTaken::Unknown(data.names.missing.join(", ")));
    }
    let mut items = Vec::new();
    for item in data.items {
        items.push(gateway.evidence.put(item, now).await?);
    }
    let proof = match proof {
        Some(proof) => Some(gateway.evidence.put(serde_json::to_vec(&proof).unwrap_or_default(), now).await?),
        None => None,
    };
    items.extend(proof);
    let core = EvidenceCore::new(&found.stamp, data.names, proof).to_json();
    Ok(Prepared { stamp: id, core, records, items, before: ValidationData::default() })
}

/// What a signer's certificate is judged by now, which is the same for all that one key signed in a round.
async fn of_signer(
    gateway: &Gateway,
    stamp: &str,
    der: &[u8],
    known: &mut Known,
    now: OffsetDateTime,
) -> Result<ValidationData, NotTaken> {
    if let Some(data) = known.signers.get(der) {
        return Ok(data.clone());
    }
    let (trust, leaf) = (gateway.documents.current(), der.to_vec());
    let judged = tokio::task::spawn_blocking(move || {
        let leaf = Certificate::from_der(&leaf).ok()?;
        Some(ValidationData::of(&trust, &leaf, &[], Usage::DocumentSigning, now))
    });
    let data = judged.await.map_err(|_| Problem::panicked())?;
    let data = data.ok_or_else(|| StoreError::Altered { what: "stamp", id: stamp.to_owned() })?;
    known.signers.insert(der.to_vec(), data.clone());
    Ok(data)
}

/// What the certificate of the last record's timestamp is judged by now, which is the same for all of a round.
async fn last_timestamp(
    gateway: &Gateway,
    records: &[String],
    known: &mut Known,
    now: OffsetDateTime,
) -> Result<(ValidationData, OffsetDateTime), NotTaken> {
    let broken = || StoreError::Corrupt { what: "evidence of a stamp", id: String::new(), column: "record" };
    let last = records.last().and_then(|record| serde_json::from_str::<EvidenceRecord>(record).ok());
    let digest = last.and_then(|record| Hash::try_from(hex::decode(record.token).ok()?).ok());
    let digest = digest.ok_or_else(broken)?;
    if let Some(judged) = known.timestamps.get(&digest) {
        return Ok(judged.clone());
    }
    let token = gateway.evidence.get(&digest).await?;
    let trust = gateway.documents.current();
    let judged = tokio::task::spawn_blocking(move || ValidationData::of_token(&trust, &token, now));
    let judged = judged.await.map_err(|_| Problem::panicked())?.ok_or_else(broken)?;
    known.timestamps.insert(digest, judged.clone());
    Ok(judged)
}

/// One timestamp over all of them, and a record for each.
async fn record(
    gateway: &Gateway,
    holder: &str,
    prepared: &[Prepared],
    now: OffsetDateTime,
) -> Result<(), NotTaken> {
    let leaves: Vec<Hash> = prepared.iter().map(|one| evidence_leaf(&one.core, &one.records)).collect();
    let root = store::root_of(&leaves);
    let token = token(gateway, &root).await?;
    let (trust, judged) = (gateway.documents.current(), token.clone());
    let judged = tokio::task::spawn_blocking(move || {
        let at = OffsetDateTime::now_utc();
        let (token, signer_id) = (&judged[..], formats::DEFAULT_SIGNER_ID);
        let input = tsp::TokenInput { token, content: None, signer_id, trust: &trust, at };
        let report = tsp::verify_digest(&input, &evidence_imprint(&root));
        let findings: Vec<&str> = report.judgement.findings.iter().map(|finding| finding.code).collect();
        // What others will not believe is not kept: they have the same roots.
        if report.judgement.verdict != Verdict::Valid {
            return Err(NotTaken::Token(findings.join(", ")));
        }
        let data = ValidationData::of_token(&trust, token, at);
        data.ok_or_else(|| NotTaken::Token("it has no certificate".to_owned()))
    });
    let (data, good_until) = judged.await.map_err(|_| Problem::panicked())??;
    let log = proved(gateway, &root, &token, prepared.len()).await?;
    let mut items = Vec::new();
    for item in &data.items {
        items.push(gateway.evidence.put(item.clone(), now).await?);
    }
    let token = gateway.evidence.put(token, now).await?;
    let log = match log {
        Some(log) => Some(gateway.evidence.put(serde_json::to_vec(&log).unwrap_or_default(), now).await?),
        None => None,
    };
    items.push(token);
    items.extend(log);
    let rules = &gateway.config.stamp_evidence;
    // Near the end of a certificate that no other follows, each half of the time that is left: a renewal a day would fill
    // the evidence, and make it no better.
    let half = (good_until - now) / 2;
    let due_at = (good_until - rules.renew_before).max(now + half).min(now + rules.renew_after);
    let due_at = due_at.max(now + SOONEST);
    let mut records = Vec::with_capacity(prepared.len());
    for (index, one) in prepared.iter().enumerate() {
        let path = evidence_path(&leaves, index).unwrap_or_default();
        let (mut all, mut named) = (data.clone(), [&one.items[..], &items].concat());
        all.extend(one.before.clone());
        for item in &one.before.items {
            named.push(gateway.evidence.put(item.clone(), now).await?);
        }
        let record = EvidenceRecord {
            data: all.names,
            index: index as u64,
            log: log.map(hex::encode),
            path: path.iter().map(hex::encode).collect(),
            size: leaves.len() as u64,
            token: hex::encode(token),
        };
        records.push(NewEvidence {
            stamp: one.stamp.clone(),
            core: one.core.clone(),
            number: one.records.len(),
            record: record.to_json(),
            items: named,
            due_at,
        });
    }
    let added = gateway.store.add_evidence(holder, &records).await?;
    let renewed = prepared.iter().filter(|one| !one.records.is_empty()).count();
    gateway.metrics.evidence_added(prepared.len() - renewed, renewed);
    tracing::debug!(stamps = prepared.len(), added, "evidence of stamps has a timestamp");
    Ok(())
}

async fn token(gateway: &Gateway, root: &Hash) -> Result<Vec<u8>, NotTaken> {
    let line = AppId::parse("stamp-evidence").map_err(|error| NotTaken::Problem(error.to_string()))?;
    let asker = Asker {
        line,
        actor: "gateway".to_owned(),
        request_id: request_id(),
        deadline: Some(Instant::now() + TOKEN),
    };
    let source = timestamps::source(gateway, asker)?;
    let made = source.token(EVIDENCE_HASH, &evidence_imprint(root)).await;
    made.map_err(|error| NotTaken::Problem(with_causes(&error)))
}

fn request_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Puts root and token on record, and waits for the proof of that.
async fn proved(
    gateway: &Gateway,
    root: &Hash,
    token: &[u8],
    stamps: usize,
) -> Result<Option<InclusionResponse>, NotTaken> {
    let entry = AuditEntry {
        action: EVIDENCE_ACTION.to_owned(),
        actor: "gateway".to_owned(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: Some(hex::encode(root)),
        key: None,
        outcome: "ok".to_owned(),
        request_id: request_id(),
        result_digest: Some(hex::encode(Sm3::digest(token))),
        subject: Some(format!("{stamps} stamps")),
    };
    let text = entry.clone().canonical_json()?;
    let index = gateway.audit.append(entry).await?;
    let until = Instant::now() + CHECKPOINT;
    loop {
        if let Some(proof) = proof_of(gateway, gateway.audit.record().id, index).await? {
            return Ok(proof.with_entry(&text));
        }
        if Instant::now() > until {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_after_failed_rounds_doubles_up_to_an_hour() {
        let seconds = |failed| of_rounds(failed).as_secs();
        assert_eq!([0, 1, 2, 6, 7, u32::MAX].map(seconds), [30, 60, 120, 1_920, 3_600, 3_600]);
        let mut failures = Failures::default();
        assert!(!failures.is_resting());
        assert_eq!([failures.count(), failures.count()].map(|pause| pause.as_secs()), [30, 60]);
        assert!(failures.is_resting());
    }
}
