//! What trust consists of now: the files' content and what was fetched. Every change puts new trust stores into force.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use config::{Revocation, SourceUrl, Trust, TrustRules};
use formats::chain::{PolicyRequirements, RevocationMode, RevocationPolicy};
use formats::ocsp::OcspResponse;
use formats::oid::ObjectIdentifier;
use formats::{Certificate, Crl, TrustStore};
use time::OffsetDateTime;
use tokio::sync::Notify;
use verify_front::TrustInForce;

use super::fetch::Failure;
use super::files::{TrustFiles, entries};
use super::responder::Responder;

/// How far a source's clock may be ahead of ours.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Where a revocation list in force came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Files,
    Fetched(SourceUrl),
}

/// The material in force, and the places where judges find it.
pub(crate) struct Shelf {
    documents: Arc<TrustInForce>,
    licenses: Arc<TrustInForce>,
    /// Both kinds of anchors and all intermediates: whose word on revocations is taken.
    authorities: ArcSwap<TrustStore>,
    responders: ArcSwap<Vec<Arc<Responder>>>,
    held: Mutex<Held>,
    /// Tells those who wait that files were taken over.
    pub(super) files_taken: Notify,
}

struct Held {
    trust: Trust,
    files: Arc<TrustFiles>,
    fetched: BTreeMap<SourceUrl, Arc<Crl>>,
    since: OffsetDateTime,
}

impl Shelf {
    pub(super) fn new(trust: Trust, files: TrustFiles) -> Self {
        let since = OffsetDateTime::now_utc();
        let held = Held { trust, files: Arc::new(files), fetched: BTreeMap::new(), since };
        // One set of tables, and one bound on them, for the keys of all.
        let empty = TrustStore::default();
        let verifier = Arc::clone(empty.verifier());
        let place =
            || Arc::new(TrustInForce::new(TrustStore::default().with_verifier(Arc::clone(&verifier))));
        let shelf = Self {
            documents: place(),
            licenses: place(),
            authorities: ArcSwap::from_pointee(empty),
            responders: ArcSwap::default(),
            held: Mutex::new(held),
            files_taken: Notify::new(),
        };
        shelf.publish();
        shelf
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing panics in the middle of a change.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn documents(&self) -> &Arc<TrustInForce> {
        &self.documents
    }

    pub(super) fn licenses(&self) -> &Arc<TrustInForce> {
        &self.licenses
    }

    pub(super) fn authorities(&self) -> Arc<TrustStore> {
        self.authorities.load_full()
    }

    pub(super) fn responders(&self) -> Arc<Vec<Arc<Responder>>> {
        self.responders.load_full()
    }

    pub(super) fn trust(&self) -> Trust {
        self.held().trust.clone()
    }

    pub(super) fn files(&self) -> Arc<TrustFiles> {
        Arc::clone(&self.held().files)
    }

    /// Since when the content of today is in force.
    pub(super) fn since(&self) -> OffsetDateTime {
        self.held().since
    }

    /// Takes files over, with the configuration that names them; what was fetched from addresses that it no longer names
    /// goes.
    pub(super) fn take(&self, trust: Trust, files: Arc<TrustFiles>) {
        let mut held = self.held();
        held.fetched.retain(|url, _| trust.crl_sources.iter().any(|source| source.url == *url));
        (held.trust, held.files) = (trust, files);
        self.compose(&mut held);
        drop(held);
        self.files_taken.notify_waiters();
    }

    pub(super) fn set_responders(&self, responders: Vec<Arc<Responder>>) {
        self.responders.store(Arc::new(responders));
        self.publish();
    }

    /// Puts into force what there is now.
    pub(super) fn publish(&self) {
        self.compose(&mut self.held());
    }

    fn compose(&self, held: &mut Held) {
        let Held { trust, files, fetched, since } = held;
        let crls: Vec<Arc<Crl>> = files.crls.iter().chain(fetched.values()).map(Arc::clone).collect();
        let answers: Vec<Arc<OcspResponse>> =
            self.responders.load().iter().flat_map(|responder| responder.answers()).collect();
        let store = |anchors: Vec<Certificate>| {
            let verifier = Arc::clone(self.documents.current().verifier());
            let store =
                TrustStore::new(anchors, files.intermediates.clone(), Vec::new()).with_verifier(verifier);
            store.with_crls(crls.iter().map(Arc::clone)).with_ocsp(answers.iter().map(Arc::clone))
        };
        let all = [&files.anchors[..], &files.license_anchors].concat();
        self.authorities.store(Arc::new(store(all)));
        let mut differs = false;
        for (place, anchors, rules, makers) in [
            (&self.documents, &files.anchors, &trust.documents, &files.seal_makers),
            (&self.licenses, &files.license_anchors, &trust.licenses, &None),
        ] {
            let (policies, revocation) = asked(rules);
            let mut store = store(anchors.clone()).with_policies(policies).with_revocation(revocation);
            if let Some(makers) = makers {
                store = store.with_seal_makers(makers.clone());
            }
            // Made here, so that no request does.
            if store.generation() != place.current().generation() {
                place.replace(store);
                differs = true;
            }
        }
        if differs {
            *since = OffsetDateTime::now_utc();
        }
    }

    /// All revocation lists in force, with where they came from.
    pub(super) fn lists(&self) -> Vec<(Origin, Arc<Crl>)> {
        let held = self.held();
        let of_files = held.files.crls.iter().map(|crl| (Origin::Files, Arc::clone(crl)));
        let fetched = held.fetched.iter().map(|(url, crl)| (Origin::Fetched(url.clone()), Arc::clone(crl)));
        of_files.chain(fetched).collect()
    }

    /// Those of which no newer one of the same scope is in force.
    pub(super) fn newest_lists(&self) -> Vec<(Origin, Arc<Crl>)> {
        let all = self.lists();
        let is_newest = |(place, (_, crl)): &(usize, &(Origin, Arc<Crl>))| {
            !all.iter().enumerate().any(|(other_place, (_, other))| {
                let later = age_order(other, crl).then(other_place.cmp(place)) == Ordering::Greater;
                later && other.is_of_same_scope(crl)
            })
        };
        all.iter().enumerate().filter(is_newest).map(|(_, list)| list.clone()).collect()
    }

    /// Reads a list that has come from `url` and sees whether it may be taken: signed by an authority that is known here,
    /// and no older than what is in force.
    pub(super) fn check_crl(&self, octets: &[u8], now: OffsetDateTime) -> Result<Arc<Crl>, Failure> {
        let (_, mut lists) = entries(octets).map_err(|error| Failure::new("malformed", error.to_string()))?;
        let crl = match (lists.pop(), lists.is_empty()) {
            (Some(crl), true) => Arc::new(crl),
            _ => return Err(Failure::new("malformed", "it is not one revocation list")),
        };
        self.authorities().signer_of(&crl)?;
        if crl.this_update() > now + CLOCK_SKEW {
            let detail = format!("it is of {}, which has not come", crl.this_update());
            return Err(Failure::new("from_the_future", detail));
        }
        let newer = |(_, other): &(Origin, Arc<Crl>)| {
            other.is_of_same_scope(&crl) && age_order(other, &crl) == Ordering::Greater
        };
        if let Some((_, other)) = self.lists().iter().find(|list| newer(list)) {
            let detail =
                format!("it is of {}, and the one in force is of {}", crl.this_update(), other.this_update());
            return Err(Failure::new("older", detail));
        }
        Ok(crl)
    }

    /// Is this the list that was fetched from there last?
    pub(super) fn has_fetched(&self, url: &SourceUrl, crl: &Crl) -> bool {
        self.held().fetched.get(url).is_some_and(|held| **held == *crl)
    }

    pub(super) fn fetched(&self, url: &SourceUrl) -> Option<Arc<Crl>> {
        self.held().fetched.get(url).map(Arc::clone)
    }

    /// Puts a checked list into force, if its address is still configured.
    pub(super) fn put_crl(&self, url: &SourceUrl, crl: Arc<Crl>) {
        let mut held = self.held();
        if held.trust.crl_sources.iter().any(|source| source.url == *url) {
            held.fetched.insert(url.clone(), crl);
            self.compose(&mut held);
        }
    }
}

/// By thisUpdate, which cannot be forged; for two of one moment by number.
fn age_order(one: &Crl, other: &Crl) -> Ordering {
    let number = |crl: &Crl| crl.number().map(|number| (number.len(), number));
    one.this_update().cmp(&other.this_update()).then_with(|| number(one).cmp(&number(other)))
}

fn asked(rules: &TrustRules) -> (PolicyRequirements, RevocationPolicy) {
    let policies = rules.policies.iter().filter_map(|policy| ObjectIdentifier::new(policy.as_str()).ok());
    let policies = PolicyRequirements {
        acceptable: policies.collect(),
        explicit: !rules.policies.is_empty(),
        ..PolicyRequirements::default()
    };
    let mode = match rules.revocation {
        Revocation::Required => RevocationMode::Required,
        Revocation::WhenKnown => RevocationMode::WhenKnown,
        Revocation::Off => RevocationMode::Off,
    };
    let length = |time: Duration| time::Duration::try_from(time).unwrap_or(time::Duration::MAX);
    let revocation =
        RevocationPolicy { mode, max_age: rules.max_age.map(length), grace: length(rules.grace) };
    (policies, revocation)
}
