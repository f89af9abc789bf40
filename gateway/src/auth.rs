//! Who asks. One extractor decides it; 401 and 403 for a missing scope come from here and nowhere else.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use signing::Caller;
use store::{App, Store, StoreError};
use time::OffsetDateTime;

use crate::admin::LocalUser;
use crate::problem::Problem;
use crate::state::Gateway;
use crate::tally::CallerSlot;

/// Who is at the other end of the connection; every listener puts it into its requests.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    /// An address.
    Network(SocketAddr),
    /// A user of this machine, at the admin socket.
    Local(Arc<LocalUser>),
}

impl Peer {
    /// Whether it is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Network(address) => address.ip().is_loopback(),
            Self::Local(_) => true,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(f),
            Self::Local(user) => user.fmt(f),
        }
    }
}

/// What an app may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Signatures,
    Verifications,
    Licenses,
    Keys,
    Devices,
    Maintenance,
    Audit,
}

impl Scope {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Signatures => "signatures",
            Self::Verifications => "verifications",
            Self::Licenses => "licenses",
            Self::Keys => "keys",
            Self::Devices => "devices",
            Self::Maintenance => "maintenance",
            Self::Audit => "audit",
        }
    }
}

/// An app that proved itself, or a user of this machine in the place of one.
#[derive(Debug, Clone)]
pub(crate) struct Authenticated {
    app: Arc<App>,
    user: Option<Arc<LocalUser>>,
}

impl Authenticated {
    /// The app, if it has the scope.
    pub(crate) fn with(&self, scope: Scope) -> Result<&App, Problem> {
        if self.app.scopes.contains(scope.name()) {
            Ok(&self.app)
        } else {
            Err(Problem::scope_missing(scope.name()))
        }
    }

    /// Who it is, as the audit log has it: the app's id, or `unix:NAME(uid)`.
    pub(crate) fn actor(&self) -> String {
        self.user.as_ref().map_or_else(|| self.app.id.to_string(), ToString::to_string)
    }

    /// Whether it is a user of this machine at the admin socket.
    pub(crate) fn is_local_user(&self) -> bool {
        self.user.is_some()
    }

    /// The app as the signing services record it.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            app: self.app.id.clone(),
            request_id: crate::request_id::current(),
            at: OffsetDateTime::now_utc(),
            deadline: crate::deadline::current(),
        }
    }
}

impl FromRequestParts<Gateway> for Authenticated {
    type Rejection = Problem;

    /// Asked twice about one request it answers as the first time.
    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let caller = Self::identify(parts, gateway).await?;
        // Whoever is refused from here on is on record by name.
        if let Some(slot) = parts.extensions.get::<CallerSlot>() {
            slot.fill(caller.actor());
        }
        Ok(caller)
    }
}

impl Authenticated {
    async fn identify(parts: &Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Peer>();
        if let Some(Peer::Local(user)) = peer {
            return Ok(Self { app: Arc::clone(&user.app), user: Some(Arc::clone(user)) });
        }
        let key = parts.headers.get("x-api-key").ok_or_else(Problem::api_key_missing)?;
        let local = peer.is_some_and(Peer::is_local);
        if !gateway.config.site.sandbox || !local {
            return Err(Problem::api_key_not_admitted());
        }
        let key = key.to_str().map_err(|_| Problem::api_key_invalid())?;
        let app = gateway.apps.by_api_key(key).await.map_err(|error| Problem::database(&error))?;
        match app {
            Some(app) if app.enabled => Ok(Self { app, user: None }),
            _ => Err(Problem::api_key_invalid()),
        }
    }
}

/// Apps by API key, asked of the store once a second at most: a change takes effect within that.
pub(crate) struct Apps {
    store: Store,
    known: Mutex<HashMap<String, (Arc<App>, Instant)>>,
}

const FRESH: Duration = Duration::from_secs(1);
const MOST_KNOWN: usize = 4096;

impl Apps {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, known: Mutex::default() }
    }

    async fn by_api_key(&self, key: &str) -> Result<Option<Arc<App>>, StoreError> {
        let fresh = |(app, since): &(Arc<App>, Instant)| (since.elapsed() < FRESH).then(|| Arc::clone(app));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(key).and_then(fresh);
        if known.is_some() {
            return Ok(known);
        }
        let app = self.store.app_by_api_key(key).await?.map(Arc::new);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        match &app {
            Some(app) => drop(known.insert(key.to_owned(), (Arc::clone(app), Instant::now()))),
            None => drop(known.remove(key)),
        }
        Ok(app)
    }
}
