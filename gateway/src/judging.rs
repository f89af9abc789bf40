//! Where much is judged at once: bounded work on as many threads as there are cores, beside those that keep requests
//! and devices going, and a memory of the signers that come again and again.

use std::collections::hash_map::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use formats::{Certificate, FormatError, PublicKey};
use lru::LruCache;
use signing::Signer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::admission::{Admission, Place};
use crate::problem::Problem;

/// Batches read and judged at once; one more is answered 503.
const MOST_BATCHES: usize = 64;

/// Documents read and judged at once: each may be held twice over, as text and as octets, and once more while its
/// digest is made. No app has all of their places.
const MOST_DOCUMENTS: usize = 8;

/// What signers that were read may take together, octets.
const SIGNER_BYTES: usize = 16 << 20;

/// What a signer takes beside several copies of its text, octets, generously.
const SIGNER_OVERHEAD: usize = 2_048;

/// Octets that are digested where other requests wait for it: SM3 takes a third of a millisecond for as many.
const QUICKLY_DIGESTED: usize = 64 << 10;

/// What is made of so many octets, on a thread that may take its time if they are many.
pub(crate) async fn beside<T: Send + 'static>(
    octets: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if octets <= QUICKLY_DIGESTED {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::panicked())
}

/// Shared by all batches of a gateway; stays while configurations come and go.
pub(crate) struct Judging {
    cores: Arc<Semaphore>,
    batches: Arc<Semaphore>,
    documents: Arc<Admission>,
    /// The place of jobs' documents that no request takes.
    of_jobs: Arc<Semaphore>,
    signers: Mutex<Signers>,
}

/// A place for a document of a job, for as long as somebody has it.
pub(crate) enum Spare {
    Shared(#[allow(dead_code, reason = "it is held, not read")] Place),
    Own(#[allow(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit),
}

/// Signers by their PEM text. What a certificate is worth is not kept here: that is the trust store's to remember.
struct Signers {
    known: LruCache<String, Arc<Signer>, RandomState>,
    bytes: usize,
}

impl Judging {
    /// For a machine with so many cores.
    pub(crate) fn new(cores: usize) -> Self {
        let known = LruCache::unbounded_with_hasher(RandomState::new());
        Self {
            cores: Arc::new(Semaphore::new(cores)),
            batches: Arc::new(Semaphore::new(MOST_BATCHES)),
            documents: Arc::default(),
            of_jobs: Arc::new(Semaphore::new(1)),
            signers: Mutex::new(Signers { known, bytes: 0 }),
        }
    }

    /// A place for one batch; there may be none left.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.batches).try_acquire_owned().map_err(|_| Problem::overloaded())
    }

    /// A place for one document; there may be none left.
    pub(crate) fn admit_document(&self) -> Result<Place, Problem> {
        self.documents.arrive(MOST_DOCUMENTS, None).ok_or_else(Problem::overloaded)
    }

    /// A place for a document that nobody waits for; at least half of them are for those that somebody does, and one in
    /// any case for jobs.
    pub(crate) fn spare_document(&self) -> Option<Spare> {
        let is_spare = self.documents.count() < MOST_DOCUMENTS / 2;
        let spare = is_spare.then(|| self.documents.arrive(MOST_DOCUMENTS, None)).flatten();
        let own = || Arc::clone(&self.of_jobs).try_acquire_owned().ok().map(Spare::Own);
        spare.map(Spare::Shared).or_else(own)
    }

    /// Runs work that computes, as soon as a core is free for it. Batches take turns, part by part.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, Problem> {
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| Problem::panicked())?;
        Ok(tokio::task::spawn_blocking(move || {
            let _core = core;
            work()
        }))
    }

    /// The signer with this certificate.
    pub(crate) fn certificate(&self, pem: &str) -> Result<Arc<Signer>, FormatError> {
        self.signer(pem, || Certificate::from_pem(pem).map(Signer::of_certificate))
    }

    /// The signer with this bare key.
    pub(crate) fn public_key(&self, pem: &str) -> Result<Arc<Signer>, FormatError> {
        self.signer(pem, || PublicKey::from_pem(pem).map(Signer::of_key))
    }

    fn signer(
        &self,
        pem: &str,
        read: impl FnOnce() -> Result<Signer, FormatError>,
    ) -> Result<Arc<Signer>, FormatError> {
        if let Some(known) = self.signers().known.get(pem) {
            return Ok(Arc::clone(known));
        }
        let signer = Arc::new(read()?);
        self.signers().keep(pem, Arc::clone(&signer));
        Ok(signer)
    }

    fn signers(&self) -> MutexGuard<'_, Signers> {
        // Nothing panics in the middle of a change.
        self.signers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signers {
    fn keep(&mut self, pem: &str, signer: Arc<Signer>) {
        let size = |pem: &str| 4 * pem.len() + SIGNER_OVERHEAD;
        if self.known.put(pem.to_owned(), signer).is_none() {
            self.bytes += size(pem);
        }
        while self.bytes > SIGNER_BYTES
            && let Some((pem, _)) = self.known.pop_lru()
        {
            self.bytes -= size(&pem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_long_is_done_beside_the_threads_that_serve() {
        let here = std::thread::current().id();
        let thread = || std::thread::current().id();
        assert_eq!(beside(QUICKLY_DIGESTED, thread).await.unwrap(), here);
        assert_ne!(beside(QUICKLY_DIGESTED + 1, thread).await.unwrap(), here);
    }

    const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoEcz1UBgi0DQgAEgYMYKd3q39mgP9klOQap6rPkB2OH
wFtuoI4UHncwjyZV9vgHAii3ZjSuQ7B1MbIPFt7Bm3eYxJttid9onktbHQ==
-----END PUBLIC KEY-----";

    #[test]
    fn no_app_has_all_places_for_documents_and_jobs_have_one_in_any_case() {
        let judging = Judging::new(1);
        let app = |name| config::AppId::parse(name).unwrap();
        let take = |name| judging.admit_document().ok().filter(|place| place.claim(&app(name)));
        let slow: Vec<_> = (0..).map_while(|_| take("slow")).collect();
        assert_eq!(slow.len(), MOST_DOCUMENTS - 1);
        assert!(take("quick").is_some());
        let of_jobs = judging.spare_document().unwrap();
        assert!(matches!(of_jobs, Spare::Own(_)) && judging.spare_document().is_none());
        drop(slow);
        assert!(matches!(judging.spare_document(), Some(Spare::Shared(_))));
    }

    #[test]
    fn signers_are_kept_up_to_so_many_octets() {
        let judging = Judging::new(1);
        let Ok(signer) = judging.public_key(KEY) else { panic!("an SM2 public key of OpenSSL") };
        for number in 0..20_000 {
            judging.signers().keep(&format!("{KEY}{number}"), Arc::clone(&signer));
        }
        let signers = judging.signers();
        assert!(signers.bytes <= SIGNER_BYTES && signers.known.len() > 1_000, "{}", signers.known.len());
    }

    #[test]
    fn what_is_no_key_is_an_error_each_time_and_a_certificate_text_is_no_key() {
        let judging = Judging::new(1);
        for _ in 0..2 {
            assert!(judging.public_key("hello").is_err());
        }
        assert!(judging.certificate(KEY).is_err());
        assert!(judging.public_key(KEY).is_ok());
        assert!(judging.signers().known.len() == 1);
    }
}
