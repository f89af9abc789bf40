//! Works on documents, in places that requests leave free: at most half of those for documents, one document of each app
//! in turn.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use signing::{Asker, Caller};
use store::{Blob, ClaimedDocument, DocumentEnd, JobKind, StampedDocument};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::{count, enter, names, order};
use crate::auth;
use crate::error::with_causes;
use crate::problem::Problem;
use crate::query_certificates::jobs;
use crate::stamps::document::DocumentPlace;
use crate::stamps::make::{self, StampAsked};
use crate::state::Gateway;

/// How often somebody looks whether there is something to do; whoever orders here is heard at once.
const LOOK: Duration = Duration::from_millis(500);
/// How often what lost gateways left is looked after.
const AFTER: Duration = Duration::from_secs(5);
/// How long a document may be worked on.
const LONGEST: Duration = Duration::from_secs(100);
/// How long it is held: nobody else takes it while it may be worked on.
const LEASE: Duration = Duration::from_secs(120);
/// The devices have this long for one.
const DEVICES: Duration = Duration::from_secs(30);
/// What may pass is waited for this long, from the order on.
const PATIENCE: time::Duration = time::Duration::hours(24);
/// So often keys may sign for a document whose stamp is not made, as when the second of its signers cannot; then it fails.
const MOST_SPENT: u32 = 6;

/// The longest pause between two attempts, seconds. Each attempt at a certificate that a device does not sign leaves a
/// snapshot on record.
fn longest_pause(kind: JobKind) -> u64 {
    match kind {
        JobKind::Stamps => 60,
        JobKind::QueryCertificates => 900,
    }
}

/// The pause before another attempt, seconds. Where keys signed, it is long from the first time on: 1 minute, then each time
/// four times as long, so that what lasts for some hours is waited for all the same.
fn pause(document: &ClaimedDocument, has_signed: bool) -> u64 {
    match has_signed {
        true => 60 << (2 * document.spent.min(MOST_SPENT)),
        false => (1 << document.attempt.min(16)).min(longest_pause(document.kind)),
    }
}

/// Works until the gateway stops; what was begun then is brought to its end.
pub(crate) async fn work(
    mut gateways: watch::Receiver<Option<Gateway>>,
    mut stopping: watch::Receiver<bool>,
) {
    let (mut looks, mut afters) = (tokio::time::interval(LOOK), tokio::time::interval(AFTER));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    afters.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut working = JoinSet::new();
    loop {
        let Some(gateway) = gateways.borrow_and_update().clone() else {
            if gateways.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            () = stop(&mut stopping) => break,
            Some(_) = working.join_next(), if !working.is_empty() => {}
            () = gateway.stamp_jobs.ordered.notified() => {}
            _ = looks.tick() => {}
            _ = afters.tick() => {
                if let Err(error) = look_after(&gateway).await {
                    tracing::warn!(error = with_causes(&error), "stamp jobs of lost gateways could not be looked after");
                }
            }
        }
        let protection = gateway.store.protection();
        if protection.is_locked() || !protection.is_unlocked() {
            continue;
        }
        if let Err(error) = fill(&gateway, &mut working).await {
            tracing::warn!(error = with_causes(&error), "documents could not be claimed");
        }
    }
    while working.join_next().await.is_some() {}
}

async fn stop(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await; // who could say so is gone: that is a stop too
}

/// Begins as many documents as there are places for.
async fn fill(gateway: &Gateway, working: &mut JoinSet<()>) -> Result<(), store::StoreError> {
    while let Some(place) = DocumentPlace::spare(gateway) {
        let claimed =
            gateway.store.claim_document(gateway.instance.name(), LEASE, OffsetDateTime::now_utc()).await?;
        let Some(document) = claimed else { break };
        working.spawn(carry_out(gateway.clone(), document, place));
    }
    Ok(())
}

/// Gives what lost gateways had begun to those that are there, and ends jobs of which they did not say that they ended.
async fn look_after(gateway: &Gateway) -> Result<(), store::StoreError> {
    let (store, now) = (&gateway.store, OffsetDateTime::now_utc());
    let (waiting, in_work) = store.stamp_job_figures().await?;
    let figures = &gateway.stamp_jobs.figures;
    figures.waiting.store(waiting, Ordering::Relaxed);
    figures.working.store(in_work, Ordering::Relaxed);
    if in_work > 0 {
        let released = store.release_lost_documents(gateway.instance.name(), now).await?;
        if released > 0 {
            tracing::info!(documents = released, "documents that a lost gateway was at are taken over");
        }
    }
    for job in store.stamp_jobs_to_finish().await? {
        store.finish_stamp_job(&job, now).await?;
    }
    Ok(())
}

/// Stamps a document, or says why not.
async fn carry_out(gateway: Gateway, document: ClaimedDocument, place: DocumentPlace) {
    let figures = &gateway.stamp_jobs.figures;
    let signed = Arc::<AtomicUsize>::default();
    let attempt = stamp(&gateway, &document, place, Arc::clone(&signed));
    let attempt = tokio::time::timeout(LONGEST, attempt).await;
    // What keys did before the time was over counts as what they did before another failure.
    let too_late = || Problem::too_late().after_signing(signed.load(Ordering::Relaxed));
    let ended = match attempt.unwrap_or_else(|_| Err(too_late())) {
        Ok(()) => {
            count(&figures.stamped);
            Ok(true)
        }
        Err(problem) => {
            let now = OffsetDateTime::now_utc();
            let has_signed = problem.has_signed();
            let is_spent = has_signed && document.spent + 1 >= MOST_SPENT;
            let again = problem.may_pass() && now - document.ordered_at < PATIENCE && !is_spent;
            let mut failure = enter::failure(problem);
            if is_spent {
                let _ =
                    write!(failure.detail, "; keys signed in {MOST_SPENT} attempts, and there is no other");
            }
            tracing::debug!(
                job = document.job,
                n = document.n,
                code = failure.code,
                again,
                has_signed,
                "a document was not stamped"
            );
            let end = if again {
                count(&figures.again);
                let due_at = now + Duration::from_secs(pause(&document, has_signed));
                DocumentEnd::Again { due_at, failure, has_signed }
            } else {
                count(&figures.failed);
                DocumentEnd::Failed(failure)
            };
            gateway.store.end_document(&document, &end).await
        }
    };
    let finished = match ended {
        Ok(_) => gateway.store.finish_stamp_job(&document.job, OffsetDateTime::now_utc()).await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = finished {
        // Its lease will run out, and the job is looked after.
        tracing::warn!(
            job = document.job,
            error = with_causes(&error),
            "what came of a document could not be noted"
        );
    }
}

async fn stamp(
    gateway: &Gateway,
    document: &ClaimedDocument,
    place: DocumentPlace,
    signed: Arc<AtomicUsize>,
) -> Result<(), Problem> {
    let at = OffsetDateTime::now_utc();
    // What the app may now decides, not what it might when it ordered.
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let known = register.app(&document.app).ok_or_else(|| Problem::unknown_app(document.app.as_str()))?;
    auth::admitted(known, at)?;
    if auth::holding(known, at).next().is_none() {
        return Err(Problem::no_credential_holds());
    }
    let scope = names(document.kind).scope;
    if !known.app.scopes.contains(scope.name()) {
        return Err(Problem::scope_missing(scope.name()));
    }
    let deadline = Some(Instant::now() + DEVICES);
    let (app, request_id) = (document.app.clone(), document.request_id.clone());
    let caller = Caller { app, request_id, at, deadline, signed };
    let asker = Asker {
        line: document.app.clone(),
        actor: document.app.to_string(),
        request_id: document.request_id.clone(),
        deadline,
    };
    let (blobs, runtime) = (gateway.stamp_jobs.blobs.clone(), tokio::runtime::Handle::current());
    let (job, n, app) = (document.job.clone(), document.n, document.app.clone());
    let (holder, attempt) = (document.holder.clone(), document.attempt);
    // Where computing holds nobody up, and before the stamp is on record: with the record there is the document.
    let result = move |octets: &[u8]| {
        let result: Blob = runtime.block_on(blobs.write(&app, octets))?;
        Ok(StampedDocument { job, n, holder, attempt, result })
    };
    let stamp = StampAsked { app: &known.app, caller, asker };
    match document.kind {
        JobKind::QueryCertificates => jobs::make_of_job(gateway, stamp, document, place, result).await,
        JobKind::Stamps => {
            let content = content(gateway, document).await?;
            let request = order::request(&document.defaults, &document.order, content)?;
            make::make_of_job(gateway, stamp, request, place, result).await
        }
    }
}

/// What is stamped, if it came with the order.
async fn content(gateway: &Gateway, document: &ClaimedDocument) -> Result<Option<Bytes>, Problem> {
    let Some(source) = &document.order.source else { return Ok(None) };
    let blob = source.of_app(&document.app).ok_or_else(Problem::unknown_upload)?;
    let content = gateway.stamp_jobs.blobs.read(&blob).await;
    Ok(Some(content.map_err(|error| Problem::from_stamp_jobs(&error))?.into()))
}
