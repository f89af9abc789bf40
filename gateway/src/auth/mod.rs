//! Who asks. One extractor decides it; 401, and 403 for who may not ask at all or lacks a scope, come from here and
//! nowhere else.
//!
//! A caller is an app, a person, or a user of this machine at the admin socket. People show a token that they were given
//! when they signed in (`person`); what they may do follows from their roles (`roles`).
//!
//! A request proves its app in one way: by a signature over itself (`signed`, or in the standard's fields `message`),
//! an access token (`bearer`), an API key
//! in a sandbox (`api_key`), or, where it shows none of these, by its connection's client certificate (`mutual_tls`).
//! Two ways at once are refused: what one of them says could be smuggled past the other.

pub(crate) mod api_key;
pub(crate) mod bearer;
pub(crate) mod bucket;
mod envelope;
pub(crate) mod jws;
pub(crate) mod message;
pub(crate) mod mutual_tls;
pub(crate) mod person;
pub(crate) mod rate;
pub(crate) mod register;
pub(crate) mod roles;
pub(crate) mod scope;
pub(crate) mod signed;
pub(crate) mod throttle;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use config::AppId;
use signing::Caller;
use store::{App, AppState};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use crate::admin::LocalUser;
use crate::admission::Place;
use crate::approvals::Carrying;
use crate::people::rights::RightsUsed;
use crate::policies::DayCounts;
use crate::problem::Problem;
use crate::request_id;
use crate::state::Gateway;
use crate::tally::CallerSlot;
use bucket::Buckets;
pub(crate) use envelope::Envelope;
use person::Person;
use rate::Rates;
use register::{Apps, KnownApp, KnownCredential};
use scope::Needed;
pub(crate) use scope::Scope;
use signed::{Nobody, Unproved};
use store::Nonces;
use throttle::{Attempt, Throttle};

/// What is known of callers. It outlives reloads of the configuration.
pub(crate) struct Callers {
    pub(crate) apps: Apps,
    pub(crate) nonces: Nonces,
    pub(crate) throttle: Throttle,
    pub(crate) rates: Rates,
    /// What apps have signed today.
    pub(crate) counts: DayCounts,
    /// Approved changes that are being carried out.
    pub(crate) approvals: Carrying,
    pub(crate) nobody: Nobody,
    /// Room for bodies whose signatures are not judged yet, octets.
    pub(crate) unproved: Arc<Unproved>,
    /// How often strangers may look a stamp up, by source.
    pub(crate) checks: Buckets<IpAddr>,
    /// How often browsers may begin to log in, by source.
    pub(crate) logins: Buckets<IpAddr>,
    /// How often people may begin to log in to an app.
    pub(crate) logins_of_apps: Buckets<AppId>,
    /// How often apps that keep no key may ask for tokens, by source.
    pub(crate) keyless: Buckets<IpAddr>,
    /// How often people may look for a login by what a device shows them, by source.
    pub(crate) user_codes: Buckets<IpAddr>,
    /// How often a device may ask whether somebody has confirmed, by login.
    pub(crate) devices_asking: Buckets<String>,
    /// How often phones may answer, by source.
    pub(crate) phones: Buckets<IpAddr>,
    /// How often a phone's refusals are on record, by session.
    pub(crate) phone_refusals: Buckets<String>,
    /// How often callers without the scope `audit` may have a file of the audit log's archive read.
    pub(crate) archive_reads: Buckets<String>,
    /// Places for people who are signing in.
    pub(crate) sign_ins: Semaphore,
    /// When who used which right last.
    pub(crate) rights: RightsUsed,
    /// Days after which an account that nobody uses is turned off, as the configuration has it now.
    pub(crate) unused_days: AtomicU32,
}

/// People who are signing in at a time; each may wait for one of few threads.
const SIGN_INS: usize = 32;

impl Callers {
    pub(crate) fn new(store: store::Store, nonces: Nonces) -> Self {
        let rights = RightsUsed::new(store.clone());
        Self {
            apps: Apps::new(store.clone()),
            nonces,
            throttle: Throttle::new(),
            rates: Rates::default(),
            counts: DayCounts::new(store),
            approvals: Carrying::default(),
            nobody: Nobody::new(),
            unproved: Arc::default(),
            checks: Buckets::default(),
            logins: Buckets::default(),
            logins_of_apps: Buckets::default(),
            keyless: Buckets::default(),
            user_codes: Buckets::default(),
            devices_asking: Buckets::default(),
            phones: Buckets::default(),
            phone_refusals: Buckets::default(),
            archive_reads: Buckets::default(),
            sign_ins: Semaphore::new(SIGN_INS),
            rights,
            unused_days: AtomicU32::new(u32::MAX),
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

/// An app that proved itself, a person who is signed in, or a user of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Authenticated {
    /// What it may do; of a person and a user, what stands for an app.
    app: Arc<App>,
    who: Who,
}

#[derive(Debug, Clone)]
enum Who {
    App,
    User(Arc<LocalUser>),
    Person(Arc<Person>),
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

    /// What it may see now of a license's face, in one text.
    pub(crate) fn fields(&self) -> String {
        self.app.fields.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// The app, or what stands for one, if the caller has the scope.
    pub(crate) fn with(&self, scope: Scope) -> Result<&App, Problem> {
        match &self.who {
            Who::Person(person) if let Some(due) = person.due => Err(Problem::due(due)),
            _ if self.app.scopes.contains(scope.name()) => Ok(&self.app),
            _ => Err(Problem::scope_missing(scope.name())),
        }
    }

    /// As [`Self::with`], and has it noted for the review of rights that the scope was used: for operations of which
    /// the table does not say alone what they take.
    pub(crate) fn using(&self, scope: Scope, gateway: &Gateway) -> Result<&App, Problem> {
        let app = self.with(scope)?;
        match &self.who {
            Who::App => gateway.callers.rights.note(self.app.id.as_str(), scope),
            Who::Person(person) => gateway.callers.rights.note(&person.actor(), scope),
            Who::User(_) => {}
        }
        Ok(app)
    }

    /// The person, if it is one.
    pub(crate) fn person(&self) -> Option<&Person> {
        match &self.who {
            Who::Person(person) => Some(person),
            Who::App | Who::User(_) => None,
        }
    }

    /// Who it is, as the audit log has it: the app's id, `person:NAME`, or `unix:NAME(uid)`.
    pub(crate) fn actor(&self) -> String {
        match &self.who {
            Who::App => self.app.id.to_string(),
            Who::User(user) => user.to_string(),
            Who::Person(person) => person.actor(),
        }
    }

    /// The app that asks, or what stands for a person or a user.
    pub(crate) fn app_id(&self) -> &AppId {
        &self.app.id
    }

    /// Whether it is a user of this machine at the admin socket.
    pub(crate) fn is_local_user(&self) -> bool {
        matches!(self.who, Who::User(_))
    }

    /// The app as the signing services record it.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            app: self.app.id.clone(),
            request_id: request_id::current(),
            at: OffsetDateTime::now_utc(),
            deadline: crate::deadline::current(),
            signed: Arc::default(),
        }
    }

    /// The caller that a proof makes, if there is one: counted, on record and admitted.
    async fn concluded(
        parts: &mut Parts,
        gateway: &Gateway,
        attempt: Attempt,
        proof: Result<Proof, Problem>,
    ) -> Result<Self, Problem> {
        let proof = match proof {
            Ok(proof) => proof,
            Err(problem) => return Err(attempt.refused(&parts.extensions, gateway, problem).await),
        };
        attempt.succeeded(gateway);
        // A token may say less than the register; rates and shares are the whole app's.
        let (authenticated, whole) = match proof {
            Proof::App(Proved { app, restricted }) => {
                let whole = Arc::clone(&app.app);
                (Self { app: restricted.unwrap_or_else(|| Arc::clone(&whole)), who: Who::App }, whole)
            }
            Proof::Person(person) => {
                let app = person.app();
                (Self { app: Arc::clone(&app), who: Who::Person(person) }, app)
            }
        };
        authenticated.note(parts);
        admit(&parts.extensions, gateway, &whole)?;
        parts.extensions.insert(authenticated.clone());
        authenticated.may(parts, gateway)
    }

    /// The caller that a message of the national front's protocol is from, by its own fields: of a request that shows nothing else.
    pub(crate) async fn of_envelope(
        parts: &mut Parts,
        gateway: &Gateway,
        envelope: &Envelope<'_>,
    ) -> Result<Self, Problem> {
        let mut attempt = Attempt::by(parts.extensions.get::<Peer>().cloned());
        let proof = envelope.prove(parts, gateway, &mut attempt).await.map(Proof::App);
        Self::concluded(parts, gateway, attempt, proof).await
    }

    /// Refuses a caller that has not what the operation takes, before anything of the request is read.
    fn may(self, parts: &Parts, gateway: &Gateway) -> Result<Self, Problem> {
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        if let Some(Needed::Scopes(scopes)) = scope::needed(parts.method.as_str(), route) {
            for scope in scopes {
                self.using(*scope, gateway)?;
            }
        }
        Ok(self)
    }
}

/// Whom a request proved to be from.
enum Proof {
    App(Proved),
    Person(Arc<Person>),
}

/// What an app proved.
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

/// Whether a request shows anything by which an app proves itself, good or bad.
pub(crate) fn claims_an_app(parts: &Parts) -> bool {
    !matches!(Method::of(&parts.headers), Ok(None)) || mutual_tls::certificate(parts).is_some()
}

impl FromRequestParts<Gateway> for Authenticated {
    type Rejection = Problem;

    /// Asked twice about one request it answers as the first time: a nonce is used up once.
    async fn from_request_parts(parts: &mut Parts, gateway: &Gateway) -> Result<Self, Problem> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return known.clone().may(parts, gateway);
        }
        let peer = parts.extensions.get::<Peer>().cloned();
        // A person at the socket shows a token; without one it is the machine's user who asks.
        if let Some(Peer::Local(user)) = &peer
            && !parts.headers.contains_key("authorization")
        {
            let user = Arc::clone(user);
            let authenticated = Self { app: Arc::clone(&user.app), who: Who::User(user) };
            authenticated.note(parts);
            return authenticated.may(parts, gateway);
        }
        let mut attempt = Attempt::by(peer);
        let proof = prove(parts, gateway, &mut attempt).await;
        Self::concluded(parts, gateway, attempt, proof).await
    }
}

/// Takes the request's place for the app that turned out to ask, if the app may ask so often.
pub(crate) fn admit(extensions: &Extensions, gateway: &Gateway, app: &App) -> Result<(), Problem> {
    request_id::note_app(&app.id);
    gateway.callers.rates.admit(app)?;
    let place = extensions.get::<Arc<Place>>();
    if place.is_none_or(|place| place.claim(&app.id)) { Ok(()) } else { Err(Problem::share_exceeded()) }
}

async fn prove(parts: &Parts, gateway: &Gateway, attempt: &mut Attempt) -> Result<Proof, Problem> {
    let method = Method::of(&parts.headers)?;
    if method == Some(Method::Bearer) {
        let token = bearer::shown(&parts.headers)?;
        if token.starts_with(person::PREFIX) {
            return person::prove(token, gateway, attempt).await.map(Proof::Person);
        }
    }
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let proved = match method {
        Some(Method::Signed) => signed::prove(parts, gateway, &register, attempt).await,
        Some(Method::Message) => message::prove(parts, gateway, &register, attempt).await,
        Some(Method::Bearer) => bearer::prove(parts, gateway, &register, attempt),
        Some(Method::ApiKey) => api_key::prove(parts, gateway, &register, attempt),
        None => match mutual_tls::certificate(parts) {
            Some(certificate) => mutual_tls::prove(&certificate, &register, attempt),
            None if gateway.config.callers.api_keys => Err(Problem::api_key_missing()),
            None => Err(Problem::credentials_missing()),
        },
    };
    proved.map(Proof::App)
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
