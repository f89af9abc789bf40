//! Asking an OCSP responder in the background about an issuer's certificates: those of the configuration all the time,
//! and those of callers as long as they keep coming. A request is never kept waiting: it is answered by what is known.

use std::hash::RandomState;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::{OcspHash, OcspSource};
use formats::Certificate;
use formats::chain::{OcspAnswer, OcspStatus};
use formats::ocsp::{IssuerHash, OcspResponse, request};
use lru::LruCache;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::cache::{Cache, KeptAnswer, sha256};
use super::fetch::{Failure, Fetcher};
use super::files::ResponderFiles;
use super::record::{Attempts, Outcome};
use super::schedule::Pace;
use super::shelf::{CLOCK_SKEW, Shelf};

/// Certificates that may wait to be looked at; one more is passed over until it comes again.
const NEWCOMERS: usize = 256;

/// Answers that come one after another are put into force together, at most so often.
const PUBLISHED_EVERY: Duration = Duration::from_secs(1);

/// What requests know of a responder: to tell it whom they met.
pub(crate) struct Responder {
    pub(super) source: OcspSource,
    pub(super) files: ResponderFiles,
    pub(super) attempts: Attempts,
    known: Mutex<Known>,
    newcomers: mpsc::Sender<Certificate>,
}

/// Those asked about, by the SHA-256 of their certificates. Those of the configuration do not count against the bound.
struct Known {
    entries: LruCache<String, Entry, RandomState>,
    seen: usize,
}

struct Entry {
    certificate: Certificate,
    pinned: bool,
    answer: Option<(Arc<OcspResponse>, OcspAnswer)>,
    /// Has it been met since it was asked about?
    met: bool,
    due: Instant,
    failures: u32,
}

/// How many are asked about, and what is known of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) known: usize,
    pub(super) good: usize,
    pub(super) revoked: usize,
    pub(super) unknown: usize,
}

/// The task's side of a [`Responder`].
pub(super) struct Asking {
    pub(super) responder: Arc<Responder>,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) cache: Cache,
    pub(super) pace: Pace,
    newcomers: mpsc::Receiver<Certificate>,
}

/// Has the issuer issued the certificate?
pub(super) fn check_issued(certificate: &Certificate, issuer: &Certificate) -> Result<(), String> {
    if certificate.inner().tbs_certificate.issuer != issuer.inner().tbs_certificate.subject {
        return Err("it names another issuer".to_owned());
    }
    let key = issuer.public_key().map_err(|error| error.to_string())?;
    certificate.verify_signature(&key).map_err(|error| error.to_string())
}

impl Responder {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics in the middle of a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody showed this certificate. It costs a look into a table; a new one is looked at in the background.
    pub(super) fn met(&self, certificate: &Certificate) {
        let subject = &self.files.issuer.inner().tbs_certificate.subject;
        if self.source.seen == 0 || certificate.inner().tbs_certificate.issuer != *subject {
            return;
        }
        let id = sha256(certificate.der());
        if let Some(entry) = self.known().entries.get_mut(&id) {
            entry.met = true;
            return;
        }
        let _ = self.newcomers.try_send(certificate.clone()); // when there are too many it will come again
    }

    /// What has been answered so far.
    pub(super) fn answers(&self) -> Vec<Arc<OcspResponse>> {
        let known = self.known();
        let answers = known.entries.iter().filter_map(|(_, entry)| entry.answer.as_ref());
        answers.map(|(response, _)| Arc::clone(response)).collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (_, entry) in &self.known().entries {
            counts.known += 1;
            match entry.answer.as_ref().map(|(_, answer)| answer.status) {
                Some(OcspStatus::Good) => counts.good += 1,
                Some(OcspStatus::Revoked) => counts.revoked += 1,
                Some(OcspStatus::Unknown) => counts.unknown += 1,
                None => {}
            }
        }
        counts
    }
}

impl Known {
    /// Adds one that is to be asked about at once; whom there is no more room for is given back.
    fn add(&mut self, id: String, certificate: Certificate, pinned: bool) -> Option<String> {
        let entry = Entry { certificate, pinned, answer: None, met: true, due: Instant::now(), failures: 0 };
        self.entries.put(id, entry);
        let count = self.entries.iter().filter(|(_, entry)| !entry.pinned).count();
        if count <= self.seen {
            return None;
        }
        let oldest = self.entries.iter().rev().find(|(_, entry)| !entry.pinned);
        let oldest = oldest.map(|(id, _)| id.clone())?;
        self.entries.pop(&oldest);
        Some(oldest)
    }

    fn next_due(&self) -> Option<(String, Instant)> {
        let next = self.entries.iter().min_by_key(|(_, entry)| entry.due);
        next.map(|(id, entry)| (id.clone(), entry.due))
    }
}

impl Asking {
    /// A responder that knows the configured certificates, and what was kept on disk as far as it still holds.
    pub(super) fn new(
        source: OcspSource,
        files: ResponderFiles,
        fetcher: Arc<Fetcher>,
        shelf: Arc<Shelf>,
        cache: Cache,
        retry: Duration,
    ) -> Self {
        let (sender, newcomers) = mpsc::channel(NEWCOMERS);
        let pace = Pace { refresh: source.refresh, retry };
        let mut known =
            Known { entries: LruCache::unbounded_with_hasher(RandomState::new()), seen: source.seen };
        for certificate in &files.certificates {
            known.add(sha256(certificate.der()), certificate.clone(), true);
        }
        let responder = Responder {
            source,
            files,
            attempts: Attempts::default(),
            known: Mutex::new(known),
            newcomers: sender,
        };
        let asking = Self { responder: Arc::new(responder), fetcher, shelf, cache, pace, newcomers };
        asking.remember();
        asking
    }

    fn remember(&self) {
        let source = &self.responder.source;
        let most = source.seen + self.responder.files.certificates.len();
        for kept in self.cache.answers(source, most) {
            let Ok(certificate) = Certificate::from_der(&kept.certificate) else { continue };
            let id = sha256(certificate.der());
            if check_issued(&certificate, &self.responder.files.issuer).is_err() {
                continue;
            }
            let is_known = self.responder.known().entries.contains(&id);
            if !is_known && source.seen > 0 {
                self.responder.known().add(id.clone(), certificate.clone(), false);
            }
            if let Ok(answer) = self.check(&certificate, &kept.response, None)
                && let Some(entry) = self.responder.known().entries.get_mut(&id)
            {
                entry.answer = Some(answer);
            }
        }
    }

    /// Asks whoever is due, until it is dropped.
    pub(super) async fn run(mut self) {
        let mut paused_until = Instant::now();
        let (mut unpublished, mut published_at) = (false, None::<Instant>);
        loop {
            let next = self.responder.known().next_due();
            let ask_at = next.as_ref().map(|(_, due)| (*due).max(paused_until));
            let publish_at = published_at.map_or_else(Instant::now, |at| at + PUBLISHED_EVERY);
            tokio::select! {
                Some(newcomer) = self.newcomers.recv() => self.admit(newcomer),
                () = sleep_until(publish_at), if unpublished => {
                    self.shelf.publish();
                    (unpublished, published_at) = (false, Some(Instant::now()));
                }
                () = sleep_until(ask_at.unwrap_or_else(Instant::now)), if ask_at.is_some() => {
                    let Some((id, _)) = next else { continue };
                    match self.turn(&id).await {
                        Ok(news) => unpublished |= news,
                        Err(wait) => paused_until = Instant::now() + wait,
                    }
                }
            }
        }
    }

    /// Takes one of a caller's up, if the issuer did issue it: nobody shall have serial numbers asked for that he made up.
    fn admit(&self, certificate: Certificate) {
        let id = sha256(certificate.der());
        if self.responder.known().entries.contains(&id)
            || check_issued(&certificate, &self.responder.files.issuer).is_err()
        {
            return;
        }
        let forgotten = self.responder.known().add(id, certificate, false);
        if let Some(id) = forgotten {
            self.cache.forget_answer(&self.responder.source, &id);
        }
    }

    /// Asks about one, unless nobody has met it since the last time. Answers whether there is news; otherwise how long
    /// to leave the responder alone.
    async fn turn(&self, id: &str) -> Result<bool, Duration> {
        let Some(certificate) = self.wanted(id) else { return Ok(true) };
        let chance = fastrand::f64();
        match self.ask(id, &certificate).await {
            Ok((response, answer)) => {
                self.responder.attempts.succeeded(Outcome::Taken);
                let wait = self.pace.after_success(OffsetDateTime::now_utc(), answer.next_update, chance);
                self.answered(id, (response, answer), Instant::now() + wait);
                Ok(true)
            }
            Err(failure) => {
                let failures = self.responder.attempts.failed(&self.responder.source.url, &failure);
                let mut known = self.responder.known();
                let Some(entry) = known.entries.peek_mut(id) else { return Ok(false) };
                if failure.concerns_source() {
                    return Err(self.pace.after_failure(failures, chance));
                }
                entry.failures += 1;
                entry.due = Instant::now() + self.pace.after_failure(entry.failures, chance);
                Ok(false)
            }
        }
    }

    /// Whom `id` names, if it is to be asked about now. One that nobody met since the last answer is let go; one that is
    /// revoked is kept as long as there is room, so that it does not seem good again.
    fn wanted(&self, id: &str) -> Option<Certificate> {
        let mut known = self.responder.known();
        let entry = known.entries.peek_mut(id)?;
        if entry.pinned || entry.met {
            return Some(entry.certificate.clone());
        }
        if entry.answer.as_ref().is_some_and(|(_, answer)| answer.status == OcspStatus::Revoked) {
            entry.due = Instant::now() + self.pace.refresh;
            return None;
        }
        known.entries.pop(id);
        drop(known);
        self.cache.forget_answer(&self.responder.source, id);
        None
    }

    fn answered(&self, id: &str, answer: (Arc<OcspResponse>, OcspAnswer), due: Instant) {
        let mut known = self.responder.known();
        let Some(entry) = known.entries.peek_mut(id) else { return };
        (entry.answer, entry.met, entry.due, entry.failures) = (Some(answer), false, due, 0);
    }

    async fn ask(
        &self,
        id: &str,
        certificate: &Certificate,
    ) -> Result<(Arc<OcspResponse>, OcspAnswer), Failure> {
        let source = &self.responder.source;
        let hash = match source.hash {
            OcspHash::Sha1 => IssuerHash::Sha1,
            OcspHash::Sha256 => IssuerHash::Sha256,
            OcspHash::Sm3 => IssuerHash::Sm3,
        };
        let nonce = source.nonce.then(|| {
            let mut nonce = [0; 32];
            getrandom::fill(&mut nonce).map(|()| nonce)
        });
        let nonce = nonce.transpose().map_err(|error| Failure::new("no_nonce", error.to_string()))?;
        let asked = request(certificate, &self.responder.files.issuer, hash, nonce.as_ref())
            .map_err(|error| Failure::new("malformed", error.to_string()))?;
        let octets = self.fetcher.ocsp(&source.url, asked).await?;
        let (response, answer) = self.check(certificate, &octets, nonce.as_ref())?;
        let held = self.responder.known().entries.peek(id).and_then(|entry| entry.answer.clone());
        if held.is_some_and(|(_, held)| held.this_update > answer.this_update) {
            return Err(Failure::new("older", "it is older than the answer in force"));
        }
        let kept = KeptAnswer { certificate: certificate.der().to_vec(), response: octets };
        let (cache, of, id) = (self.cache.clone(), source.clone(), id.to_owned());
        let keeping = tokio::task::spawn_blocking(move || cache.keep_answer(&of, &id, &kept));
        if let Ok(Err(error)) = keeping.await {
            tracing::warn!(url = %source.url, %error, "an OCSP answer could not be kept on disk");
        }
        Ok((response, answer))
    }

    /// Reads a response and sees whether it may be taken.
    fn check(
        &self,
        certificate: &Certificate,
        octets: &[u8],
        nonce: Option<&[u8; 32]>,
    ) -> Result<(Arc<OcspResponse>, OcspAnswer), Failure> {
        let malformed = |error: formats::FormatError| Failure::new("malformed", error.to_string());
        let response = OcspResponse::from_der(octets).map_err(malformed)?;
        let repeated = response.nonce().map_err(malformed)?;
        if nonce.is_some_and(|nonce| repeated != Some(&nonce[..])) {
            return Err(Failure::new("nonce_missing", "it does not repeat the request's nonce"));
        }
        let now = OffsetDateTime::now_utc();
        let issuer = &self.responder.files.issuer;
        let answer = self.shelf.authorities().answer_of(&response, certificate, issuer, now)?;
        if answer.this_update > now + CLOCK_SKEW {
            return Err(Failure::new("from_the_future", "it is of a time that has not come"));
        }
        if answer.next_update.is_some_and(|next| now - next > CLOCK_SKEW) {
            return Err(Failure::new("expired", "its successor was due before it came"));
        }
        Ok((Arc::new(response), answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificates() -> Vec<Certificate> {
        let at = time::macros::datetime!(2026-01-01 00:00 UTC);
        let sandbox = certs_test::generate(&certs_test::Options { seed: [1; 32], at }).unwrap();
        let read = |der: &Vec<u8>| Certificate::from_der(der).unwrap();
        sandbox
            .authorities
            .iter()
            .flat_map(|authority| [read(&authority.root), read(&authority.issuing)])
            .collect()
    }

    #[test]
    fn the_one_seen_longest_ago_makes_room_and_configured_ones_stay() {
        let certificates = certificates();
        let mut known = Known { entries: LruCache::unbounded_with_hasher(RandomState::new()), seen: 2 };
        let mut add =
            |id: &str, place: usize, pinned| known.add(id.to_owned(), certificates[place].clone(), pinned);
        assert_eq!(add("configured", 0, true), None);
        assert_eq!(add("first", 1, false), None);
        assert_eq!(add("second", 2, false), None);
        assert_eq!(add("third", 3, false).as_deref(), Some("first"));
        assert!(known.entries.get("second").is_some());
        let mut add = |id: &str, place: usize| known.add(id.to_owned(), certificates[place].clone(), false);
        assert_eq!(add("fourth", 4).as_deref(), Some("third"));
        let mut left: Vec<_> = known.entries.iter().map(|(id, _)| id.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["configured", "fourth", "second"]);
    }

    #[test]
    fn only_what_the_issuer_has_signed_is_its_own() {
        let certificates = certificates();
        let [root, issuing, other, ..] = &certificates[..] else { panic!("there are several authorities") };
        assert_eq!(check_issued(issuing, root), Ok(()));
        assert!(check_issued(other, root).is_err());
        assert!(check_issued(root, issuing).is_err());
    }
}
