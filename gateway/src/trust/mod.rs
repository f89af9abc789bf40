//! Trust material and word of revocations, kept up to date while requests run. Nothing here is on a request's path: a
//! request takes the trust store in force and is answered by what that knows.
//!
//! The files of `[trust]` are looked at every few seconds and at a reload; lists and OCSP answers are fetched by a task
//! for each configured source. Either way what changes goes into the [`Shelf`], which puts new trust stores into force.

mod cache;
mod crl_source;
mod fetch;
pub(crate) mod files;
pub(crate) mod overview;
mod record;
mod responder;
mod schedule;
mod shelf;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use config::Trust;
use formats::Certificate;
use tokio::task::AbortHandle;
use verify_front::TrustInForce;

use cache::Cache;
use crl_source::CrlJob;
use files::{ResponderFiles, TrustFiles};
use record::Attempts;
use responder::Asking;
use shelf::Shelf;
use store::AuditLog;

use crate::error::StartupError;

pub(crate) use fetch::Fetcher;

/// Keeps trust up to date; stays while configurations come and go.
pub(crate) struct TrustKeeper {
    shelf: Arc<Shelf>,
    audit: AuditLog,
    jobs: Mutex<Jobs>,
    /// Files that could not be used when they were last looked at.
    refused: Mutex<Vec<String>>,
}

/// The tasks that fetch, and what they were begun with.
#[derive(Default)]
struct Jobs {
    begun_with: Option<Begun>,
    crls: Vec<(config::CrlSource, Arc<Attempts>)>,
    tasks: Vec<AbortHandle>,
}

/// What tasks depend on: when it differs, they are begun anew.
#[derive(PartialEq, Eq)]
struct Begun {
    fetch: config::Fetch,
    crl_sources: Vec<config::CrlSource>,
    ocsp_sources: Vec<config::OcspSource>,
    tls_anchors: Vec<Certificate>,
    responders: Vec<ResponderFiles>,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Jobs {
    fn stop(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

/// What licenses and documents are judged against by the files alone, for work beside a gateway.
pub(crate) fn of_files(trust: Trust, files: TrustFiles) -> (Arc<TrustInForce>, Arc<TrustInForce>) {
    let shelf = Shelf::new(trust, files);
    (Arc::clone(shelf.licenses()), Arc::clone(shelf.documents()))
}

impl TrustKeeper {
    /// With the first files in force, and what was fetched before the last stop; begins to fetch.
    ///
    /// # Errors
    /// What of the configuration cannot be used for fetching.
    pub(crate) async fn start(
        trust: Trust,
        files: TrustFiles,
        audit: AuditLog,
    ) -> Result<Arc<Self>, StartupError> {
        let keeper = Self {
            shelf: Arc::new(Shelf::new(trust, files)),
            audit,
            jobs: Mutex::default(),
            refused: Mutex::default(),
        };
        let keeper = Arc::new(keeper);
        keeper.begin().await?;
        Ok(keeper)
    }

    /// Takes over a configuration and its files.
    ///
    /// # Errors
    /// What of it cannot be used for fetching; what was fetched so far stays then, and is fetched no more.
    pub(crate) async fn take(&self, trust: Trust, files: TrustFiles) -> Result<(), StartupError> {
        self.shelf.take(trust, Arc::new(files));
        self.set_refused(Vec::new());
        self.begin().await
    }

    /// Where documents' judges find the trust store.
    pub(crate) fn documents(&self) -> Arc<TrustInForce> {
        Arc::clone(self.shelf.documents())
    }

    /// Where licenses' judges find it.
    pub(crate) fn licenses(&self) -> Arc<TrustInForce> {
        Arc::clone(self.shelf.licenses())
    }

    /// What is in force now, as files.
    pub(crate) fn files(&self) -> Arc<TrustFiles> {
        self.shelf.files()
    }

    /// Whether certificates of callers are asked about at all.
    pub(crate) fn asks_about_callers(&self) -> bool {
        self.shelf.responders().iter().any(|responder| responder.source.seen > 0)
    }

    /// A caller showed this certificate: it may be asked about, later.
    pub(crate) fn met(&self, certificate: &Certificate) {
        for responder in self.shelf.responders().iter() {
            responder.met(certificate);
        }
    }

    /// Ends all fetching.
    pub(crate) fn stop(&self) {
        self.jobs().stop();
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        // Nothing panics in the middle of a change.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_refused(&self, refused: Vec<String>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    /// The files that could not be used when they were last looked at, each with its field and why.
    fn refused(&self) -> Vec<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins the tasks of the sources, if any of what they depend on is not what it was.
    async fn begin(&self) -> Result<(), StartupError> {
        let (trust, files) = (self.shelf.trust(), self.shelf.files());
        let begun = Begun {
            fetch: trust.fetch.clone(),
            crl_sources: trust.crl_sources.clone(),
            ocsp_sources: trust.ocsp_sources.clone(),
            tls_anchors: files.tls_anchors.clone(),
            responders: files.responders.clone(),
        };
        if self.jobs().begun_with.as_ref() == Some(&begun) {
            return Ok(());
        }
        let fetcher = Arc::new(files.fetcher(&trust.fetch)?);
        let shelf = Arc::clone(&self.shelf);
        // What was kept on disk is read and checked.
        let making = tokio::task::spawn_blocking(move || {
            let crl = |source: &config::CrlSource| {
                CrlJob::new(source.clone(), Arc::clone(&fetcher), Arc::clone(&shelf), &trust.fetch)
            };
            let crls: Vec<CrlJob> = trust.crl_sources.iter().map(crl).collect();
            let asking = |(source, files): (&config::OcspSource, &ResponderFiles)| {
                let (fetcher, cache) = (Arc::clone(&fetcher), Cache::new(&trust.fetch.folder));
                let retry = trust.fetch.retry;
                Asking::new(source.clone(), files.clone(), fetcher, Arc::clone(&shelf), cache, retry)
            };
            let sources = trust.ocsp_sources.iter().zip(&files.responders);
            let responders: Vec<Asking> = sources.map(asking).collect();
            (crls, responders)
        });
        let (crls, responders) = making.await.map_err(std::io::Error::other)?;
        self.shelf.set_responders(responders.iter().map(|asking| Arc::clone(&asking.responder)).collect());
        let mut jobs = self.jobs();
        jobs.stop();
        jobs.begun_with = Some(begun);
        jobs.crls = crls.iter().map(|job| (job.source.clone(), Arc::clone(&job.attempts))).collect();
        jobs.tasks.extend(crls.into_iter().map(|job| tokio::spawn(job.run()).abort_handle()));
        jobs.tasks.extend(responders.into_iter().map(|asking| tokio::spawn(asking.run()).abort_handle()));
        Ok(())
    }
}
