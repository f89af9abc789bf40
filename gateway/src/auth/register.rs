//! All apps and credentials in memory, as the database has them: no request waits for the database to learn who
//! asks, and a stranger's guesses cost it nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use config::AppId;
use formats::PublicKey;
use store::{App, AppPolicy, Credential, Material, RegisteredApp, Store, StoreError};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::policies::{HeldPolicy, KnownPolicy, stored};

/// After so long the database is asked whether anything changed. With the time that takes, a change takes effect
/// within a second, on every replica.
const FRESH: Duration = Duration::from_millis(500);
/// After so long one request asks while the others go on with what is held: if all waited, they would hold places that
/// nobody has claimed, and keep out callers who have nothing to do with it.
const SOON: Duration = Duration::from_millis(250);

/// The register, read anew when it changed.
pub(crate) struct Apps {
    store: Store,
    held: ArcSwapOption<Held>,
    /// Whoever reads anew holds it; the others wait for the same.
    reading: Mutex<()>,
}

struct Held {
    register: Arc<Register>,
    /// The register was this at that time, or newer.
    checked: Instant,
}

impl Apps {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, held: ArcSwapOption::empty(), reading: Mutex::default() }
    }

    /// The register as it was less than half a second ago.
    ///
    /// # Errors
    /// The database does not say whether it has changed: then nobody is known.
    pub(crate) async fn register(&self) -> Result<Arc<Register>, StoreError> {
        if let Some(held) = self.fresh() {
            if held.checked.elapsed() >= SOON
                && let Ok(_turn) = self.reading.try_lock()
            {
                return self.read().await;
            }
            return Ok(Arc::clone(&held.register));
        }
        let _turn = self.reading.lock().await;
        match self.fresh() {
            Some(held) => Ok(Arc::clone(&held.register)),
            None => self.read().await,
        }
    }

    /// The register as it is now: for whoever has just changed it.
    pub(crate) async fn read_anew(&self) -> Result<Arc<Register>, StoreError> {
        let _turn = self.reading.lock().await;
        self.read().await
    }

    fn fresh(&self) -> Option<Arc<Held>> {
        let held = self.held.load_full();
        held.filter(|held| held.checked.elapsed() < FRESH && self.is_judged(&held.register))
    }

    /// Whether it was read with what there is now to judge and open rows with, and to know old ones by.
    fn is_judged(&self, register: &Register) -> bool {
        let protection = self.store.protection();
        register.judged == protection.is_unlocked() && register.put_back == protection.put_back_rows()
    }

    async fn read(&self) -> Result<Arc<Register>, StoreError> {
        // Time and revision first: what is read after them is at least as new.
        let checked = Instant::now();
        let judged = self.store.protection().is_unlocked();
        let put_back = self.store.protection().put_back_rows();
        let revision = self.store.app_revision().await?;
        let held = self.held.load_full();
        let held = held.filter(|held| held.register.revision == revision && self.is_judged(&held.register));
        let register = match held {
            Some(held) => Arc::clone(&held.register),
            None => {
                Arc::new(Register::new(revision, (judged, put_back), self.store.registered_apps().await?))
            }
        };
        self.held.store(Some(Arc::new(Held { register: Arc::clone(&register), checked })));
        Ok(register)
    }
}

/// An app with its credentials, read for use.
pub(crate) struct KnownApp {
    pub(crate) app: Arc<App>,
    pub(crate) credentials: Vec<KnownCredential>,
    /// What it may sign.
    pub(crate) policy: KnownPolicy,
    /// When it was changed last, to the second.
    pub(crate) changed_at: OffsetDateTime,
}

/// A credential, its public key read.
pub(crate) struct KnownCredential {
    pub(crate) credential: Credential,
    /// Of a key pair.
    pub(crate) key: Option<PublicKey>,
}

/// Apps, and the ways to find one.
pub(crate) struct Register {
    /// Of the database; what is here is as new, or newer.
    pub(crate) revision: i64,
    /// Rows that were altered were left out, and secrets opened: the data key was here.
    judged: bool,
    /// How often rows had been found put back: what is read later is without those.
    put_back: u64,
    by_id: HashMap<AppId, Arc<KnownApp>>,
    /// By the digest of an API key or of a certificate, which nobody can guess.
    by_digest: HashMap<[u8; 32], Place>,
    /// By issuer and subject.
    by_names: HashMap<(Vec<u8>, Vec<u8>), Place>,
}

/// An app and the place of one of its credentials.
type Place = (Arc<KnownApp>, usize);

impl Register {
    fn new(revision: i64, (judged, put_back): (bool, u64), apps: Vec<RegisteredApp>) -> Self {
        let (by_id, by_digest, by_names) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut register = Self { revision, judged, put_back, by_id, by_digest, by_names };
        for RegisteredApp { app, credentials, policy, changed_at, .. } in apps {
            let credentials = credentials.into_iter().map(known).collect();
            let policy = read_policy(policy);
            register.enter(Arc::new(KnownApp { app: Arc::new(app), credentials, policy, changed_at }));
        }
        register
    }

    fn enter(&mut self, app: Arc<KnownApp>) {
        for (place, KnownCredential { credential, .. }) in app.credentials.iter().enumerate() {
            let place = (Arc::clone(&app), place);
            match &credential.material {
                // A certificate that was revoked stays known, so that it does not count by its names instead.
                Material::Certificate(digest) if credential.revoked.is_some() => {
                    self.by_digest.entry(*digest).or_insert(place);
                }
                _ if credential.revoked.is_some() => {}
                Material::ApiKey(digest) | Material::Certificate(digest) => {
                    self.by_digest.insert(*digest, place);
                }
                Material::CertificateName { issuer, subject } => {
                    self.by_names.insert((issuer.clone(), subject.clone()), place);
                }
                Material::HmacSm3(_) | Material::HmacSha256(_) | Material::Sm2(_) | Material::P256(_) => {}
            }
        }
        self.by_id.insert(app.app.id.clone(), app);
    }

    pub(crate) fn app(&self, id: &AppId) -> Option<&Arc<KnownApp>> {
        self.by_id.get(id)
    }

    /// All of them, by id.
    pub(crate) fn apps(&self) -> Vec<&Arc<KnownApp>> {
        let mut apps: Vec<_> = self.by_id.values().collect();
        apps.sort_unstable_by_key(|known| &known.app.id);
        apps
    }

    /// The app and the credential that this digest stands for.
    pub(crate) fn by_digest(&self, digest: &[u8; 32]) -> Option<(&Arc<KnownApp>, &KnownCredential)> {
        self.by_digest.get(digest).map(|(app, place)| (app, &app.credentials[*place]))
    }

    /// The app and the credential that these names in DER stand for.
    pub(crate) fn by_names(
        &self,
        issuer: Vec<u8>,
        subject: Vec<u8>,
    ) -> Option<(&Arc<KnownApp>, &KnownCredential)> {
        self.by_names.get(&(issuer, subject)).map(|(app, place)| (app, &app.credentials[*place]))
    }
}

fn read_policy(policy: AppPolicy) -> KnownPolicy {
    match policy {
        AppPolicy::None => KnownPolicy::None,
        AppPolicy::Unusable => KnownPolicy::Unusable,
        AppPolicy::InForce(version) => match stored(&version.rules) {
            Some(policy) => KnownPolicy::InForce(HeldPolicy { version, policy }),
            None => {
                // It was read when it was set, by this release or a newer one.
                tracing::error!(app = %version.app, version = version.version, "a signing policy is unreadable");
                KnownPolicy::Unusable
            }
        },
    }
}

fn known(credential: Credential) -> KnownCredential {
    let key = match &credential.material {
        Material::Sm2(spki) | Material::P256(spki) => match PublicKey::from_spki_der(spki) {
            Ok(key) => Some(key),
            Err(error) => {
                // It was read when it was entered. Without its key it proves nothing.
                tracing::error!(credential = credential.id, %error, "a public key of the register is unreadable");
                None
            }
        },
        _ => None,
    };
    KnownCredential { credential, key }
}
