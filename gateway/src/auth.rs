//! Who asks. One extractor decides it; 401 and 403 for a missing scope come from here and nowhere else.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use signing::Caller;
use store::{App, Store, StoreError};
use time::OffsetDateTime;

use crate::problem::Problem;
use crate::state::Gateway;

/// The address at the other end of the connection; every listener puts it into its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What an app may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Signatures,
    Verifications,
    Licenses,
    Keys,
    Devices,
    Maintenance,
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
        }
    }
}

/// An app that proved itself.
#[derive(Debug, Clone)]
pub(crate) struct Authenticated(Arc<App>);

impl Authenticated {
    /// The app, if it has the scope.
    pub(crate) fn with(&self, scope: Scope) -> Result<&App, Problem> {
        if self.0.scopes.contains(scope.name()) {
            Ok(&self.0)
        } else {
            Err(Problem::scope_missing(scope.name()))
        }
    }

    /// The app as the signing services record it.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            app: self.0.id.clone(),
            request_id: crate::request_id::current(),
            at: OffsetDateTime::now_utc(),
        }
    }
}

impl FromRequestParts<Gateway> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let key = parts.headers.get("x-api-key").ok_or_else(Problem::api_key_missing)?;
        let local = parts.extensions.get::<Peer>().is_some_and(|peer| peer.0.ip().is_loopback());
        if !gateway.config.site.sandbox || !local {
            return Err(Problem::api_key_not_admitted());
        }
        let key = key.to_str().map_err(|_| Problem::api_key_invalid())?;
        let app = gateway.apps.by_api_key(key).await.map_err(|error| Problem::database(&error))?;
        match app {
            Some(app) if app.enabled => Ok(Self(app)),
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
