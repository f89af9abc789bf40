//! Who asks. One extractor decides it; 401, and 403 for who may not ask at all or lacks a scope, come from here and
//! nowhere else.
//!
//! A request proves its app in one way: by a signature over itself (`signed`, or in the standard's fields `message`),
//! an access token (`bearer`), an API key
//! in a sandbox (`api_key`), or, where it shows none of these, by its connection's client certificate (`mutual_tls`).
//! Two ways at once are refused: what one of them says could be smuggled past the other.

pub(crate) mod api_key;
pub(crate) mod bearer;
pub(crate) mod jws;
pub(crate) mod message;
pub(crate) mod mutual_tls;
pub(crate) mod rate;
pub(crate) mod register;
pub(crate) mod signed;
pub(crate) mod throttle;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use signing::Caller;
use store::{App, AppState};
use time::OffsetDateTime;

use crate::admin::LocalUser;
use crate::admission::Place;
use crate::problem::Problem;
use crate::request_id;
use crate::state::Gateway;
use crate::tally::CallerSlot;
use rate::Rates;
use register::{Apps, KnownApp, KnownCredential};
use signed::{Nobody, Unproved};
use store::Nonces;
use throttle::{Attempt, Throttle};

/// What is known of callers. It outlives reloads of the configuration.
pub(crate) struct Callers {
    pub(crate) apps: Apps,
    pub(crate) nonces: Nonces,
    pub(crate) throttle: Throttle,
    pub(crate) rates: Rates,
    pub(crate) nobody: Nobody,
    /// Room for bodies whose signatures are not judged yet, octets.
    pub(crate) unproved: Arc<Unproved>,
}

impl Callers {
    pub(crate) fn new(store: store::Store, nonces: Nonces) -> Self {
        Self {
            apps: Apps::new(store),
            nonces,
            throttle: Throttle::new(),
            rates: Rates::default(),
            nobody: Nobody::new(),
            unproved: Arc::default(),
        }
    }
}

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
    Apps,
}

impl Scope {
    pub(crate) const ALL: [Self; 8] = [
        Self::Signatures,
        Self::Verifications,
        Self::Licenses,
        Self::Keys,
        Self::Devices,
        Self::Maintenance,
        Self::Audit,
        Self::Apps,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Signatures => "signatures",
            Self::Verifications => "verifications",
            Self::Licenses => "licenses",
            Self::Keys => "keys",
            Self::Devices => "devices",
            Self::Maintenance => "maintenance",
            Self::Audit => "audit",
            Self::Apps => "apps",
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
    /// Whoever is refused from here on is on record by name.
    fn note(&self, parts: &Parts) {
        if let Some(slot) = parts.extensions.get::<CallerSlot>() {
            slot.fill(self.actor());
        }
    }

    /// What it may ask for now, in one text.
    pub(crate) fn scopes(&self) -> String {
        self.app.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

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
            request_id: request_id::current(),
            at: OffsetDateTime::now_utc(),
            deadline: crate::deadline::current(),
        }
    }
}

/// What a caller proved.
pub(crate) struct Proved {
    pub(crate) app: Arc<KnownApp>,
    /// What it may do here, where an access token says less than the register.
    pub(crate) restricted: Option<Arc<App>>,
}

/// How a request wants to prove its app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Signed,
    Message,
    Bearer,
    ApiKey,
}

impl Method {
    /// The one way that the request's fields claim; none if they claim none.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let any = |fields: &[&str]| fields.iter().any(|field| headers.contains_key(*field));
        let claims = [
            (Self::Signed, any(&signed::FIELDS)),
            (Self::Message, any(&message::FIELDS)),
            (Self::Bearer, headers.contains_key("authorization")),
            (Self::ApiKey, headers.contains_key("x-api-key")),
        ];
        let mut claimed = claims.into_iter().filter(|(_, claimed)| *claimed).map(|(method, _)| method);
        match (claimed.next(), claimed.next()) {
            (_, Some(_)) => Err(Problem::credentials_ambiguous()),
            (first, None) => Ok(first),
        }
    }
}

impl FromRequestParts<Gateway> for Authenticated {
    type Rejection = Problem;

    /// Asked twice about one request it answers as the first time: a nonce is used up once.
    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let peer = parts.extensions.get::<Peer>().cloned();
        if let Some(Peer::Local(user)) = peer {
            let authenticated = Self { app: Arc::clone(&user.app), user: Some(user) };
            authenticated.note(parts);
            return Ok(authenticated);
        }
        let mut attempt = Attempt::by(peer);
        let proved = match prove(parts, gateway, &mut attempt).await {
            Ok(proved) => proved,
            Err(problem) => return Err(attempt.refused(&parts.extensions, gateway, problem).await),
        };
        attempt.succeeded(gateway);
        let app = proved.restricted.unwrap_or_else(|| Arc::clone(&proved.app.app));
        let authenticated = Self { app, user: None };
        authenticated.note(parts);
        admit(&parts.extensions, gateway, &proved.app.app)?;
        parts.extensions.insert(authenticated.clone());
        Ok(authenticated)
    }
}

/// Takes the request's place for the app that turned out to ask, if the app may ask so often.
pub(crate) fn admit(extensions: &Extensions, gateway: &Gateway, app: &App) -> Result<(), Problem> {
    request_id::note_app(&app.id);
    gateway.callers.rates.admit(app)?;
    let place = extensions.get::<Arc<Place>>();
    if place.is_none_or(|place| place.claim(&app.id)) { Ok(()) } else { Err(Problem::share_exceeded()) }
}

async fn prove(parts: &Parts, gateway: &Gateway, attempt: &mut Attempt) -> Result<Proved, Problem> {
    let method = Method::of(&parts.headers)?;
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    match method {
        Some(Method::Signed) => signed::prove(parts, gateway, &register, attempt).await,
        Some(Method::Message) => message::prove(parts, gateway, &register, attempt).await,
        Some(Method::Bearer) => bearer::prove(parts, gateway, &register, attempt),
        Some(Method::ApiKey) => api_key::prove(parts, gateway, &register, attempt),
        None => match mutual_tls::certificate(parts) {
            Some(certificate) => mutual_tls::prove(&certificate, &register, attempt),
            None if gateway.config.callers.api_keys => Err(Problem::api_key_missing()),
            None => Err(Problem::credentials_missing()),
        },
    }
}

/// The app behind a credential that proved something, if it is served now. Only who has proved to be the app learns
/// why it is not.
pub(crate) fn admitted(app: &Arc<KnownApp>, at: OffsetDateTime) -> Result<(), Problem> {
    let App { id, state, not_before, not_after, .. } = &*app.app;
    match state {
        AppState::Disabled => return Err(Problem::app_disabled(id)),
        AppState::Locked => return Err(Problem::app_locked(id)),
        AppState::Enabled => {}
    }
    if not_before.is_some_and(|since| at < since) {
        return Err(Problem::app_not_valid(id, "is not served yet"));
    }
    if not_after.is_some_and(|until| at >= until) {
        return Err(Problem::app_not_valid(id, "is not served any more"));
    }
    Ok(())
}

/// The credentials of an app that prove something now.
pub(crate) fn holding(app: &KnownApp, at: OffsetDateTime) -> impl Iterator<Item = &KnownCredential> {
    app.credentials.iter().filter(move |known| known.credential.holds_at(at))
}
