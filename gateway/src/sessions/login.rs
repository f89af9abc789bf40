//! Sessions that are somebody's login by OpenID Connect: the gateway is itself the app that asks, in the name of the one that is
//! logged in to. Each step of the session is made with the login's, or not at all.

use std::net::IpAddr;
use std::time::Duration;

use sm3::{Digest, Sm3};
use store::{App, Login, LoginChange, ScanFlow, ScanProgress, ScanSession, ScanState, ScanStep, StoreError};
use time::OffsetDateTime;
use tokio::time::Instant;
use verify_front::{FACE_FIELDS, FieldGrant, SessionEvent, SessionRefusal};

use super::result::Confirmed;
use super::steps::{self, Record};
use super::waiting::Waiter;
use super::watch::{self, Seen};
use super::{Asked, Prepared, TTL};
use crate::problem::Problem;
use crate::state::Gateway;

/// How long a code is shown that somebody may scan to log in.
pub(crate) const SCANNED_WITHIN: time::Duration = time::Duration::seconds(TTL as i64);

/// What a person who logs in is asked to agree to.
pub(crate) struct LoginOrder<'o> {
    /// The code of the business item.
    pub(crate) item: &'o str,
    /// Its name.
    pub(crate) item_name: &'o str,
    /// Whether the app wants to read the license's face as well: as much of it as the app may see.
    pub(crate) face: bool,
}

/// Who does something to a login, as the audit log has it, and to which.
pub(crate) struct LoginRecord<'r> {
    pub(crate) actor: &'r str,
    pub(crate) action: &'static str,
    /// The login and whatever else is told of it.
    pub(crate) subject: String,
}

/// What a license's holder agreed to, as the login gets it.
pub(crate) struct Fetched {
    session: ScanSession,
    /// Of which enterprise it is.
    pub(crate) uscc: String,
    /// What it came to, JSON, as far as the app may see it.
    pub(crate) result: String,
    /// Until when it can hold at most.
    pub(crate) holds_until: OffsetDateTime,
}

/// How far a login's session is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scanning {
    /// Nobody has scanned it.
    Shown,
    /// Somebody has.
    Scanned,
    /// Its holder agreed.
    Confirmed,
    /// Nothing will come of it any more.
    Over,
}

impl LoginRecord<'_> {
    pub(super) fn record(&self, result_digest: Option<String>) -> Record {
        Record {
            actor: self.actor.to_owned(),
            action: self.action,
            subject: self.subject.clone(),
            input_digest: None,
            result_digest,
        }
    }
}

/// Begins the session of a login, with the login, by the session's id and what its code says. Nothing is on record of it until somebody
/// scans.
///
/// # Errors
/// As of `POST /v1/sessions`.
pub(crate) async fn begin(
    gateway: &Gateway,
    app: &App,
    order: &LoginOrder<'_>,
    login: impl FnOnce(&str, &str) -> Result<LoginChange, Problem>,
) -> Result<(), Problem> {
    let grant = FieldGrant::new(app.fields.iter().cloned());
    let may_see = |field: &&&str| !grant.within(&[(**field).to_owned()]).is_empty();
    let fields: Vec<String> = match order.face {
        true => FACE_FIELDS.iter().filter(may_see).map(|field| (*field).to_owned()).collect(),
        false => Vec::new(),
    };
    let asked = Asked {
        flow: if fields.is_empty() { ScanFlow::Login } else { ScanFlow::Authorise },
        item: order.item.to_owned(),
        item_name: order.item_name.to_owned(),
        biz_no: None,
        roles: None,
        statuses: vec![1],
        digest: None,
        text: None,
        fields,
        ttl: TTL,
        replaces: None,
    };
    let Prepared { id, terms, said, times, qr_text } =
        super::prepared(gateway, app, asked, super::Besides::default()).await?;
    let scan = gateway.store.new_scan((&id, &app.id), terms.flow, &said, times, None);
    let scan = scan.map_err(|error| Problem::from_sessions(&error))?.with(login(&id, &qr_text)?);
    gateway.store.begin_login(scan).await.map_err(|error| Problem::from_logins(&error))?;
    gateway.metrics.session(ScanState::Created);
    Ok(())
}

async fn seen(gateway: &Gateway, login: &Login) -> Result<Seen, Problem> {
    let is_its = |progress: &ScanProgress| progress.login.as_deref() == Some(login.id.as_str());
    watch::looked(&gateway.store, &login.session, is_its).await
}

/// How far the session of a login is, and at which version.
///
/// # Errors
/// The session is not there.
pub(crate) async fn scanning(gateway: &Gateway, login: &Login) -> Result<(Scanning, u32), Problem> {
    let seen = seen(gateway, login).await?;
    let scanning = match seen.item.state {
        ScanState::Created => Scanning::Shown,
        ScanState::Scanned => Scanning::Scanned,
        ScanState::Confirmed => Scanning::Confirmed,
        ScanState::Consumed
        | ScanState::Rejected
        | ScanState::Cancelled
        | ScanState::Expired
        | ScanState::Replaced => Scanning::Over,
    };
    Ok((scanning, seen.item.version))
}

/// A place for a browser to wait for its login.
///
/// # Errors
/// Too many wait: for this login, at this source, or at all.
pub(crate) fn enter(gateway: &Gateway, login: &Login, source: Option<IpAddr>) -> Result<Waiter, Problem> {
    gateway.waiting.enter_browser(&login.session, source).ok_or_else(Problem::overloaded)
}

/// Waits until the session of a login is further than a version, or for as long as somebody may wait.
///
/// # Errors
/// The session is not there.
pub(crate) async fn wait(
    gateway: &Gateway,
    mut waiter: Waiter,
    login: &Login,
    version: u32,
) -> Result<(Scanning, u32), Problem> {
    let end = Instant::now() + Duration::from_secs(watch::LONGEST);
    loop {
        waiter.mark();
        let seen = seen(gateway, login).await?;
        let left = end.saturating_duration_since(Instant::now());
        if seen.item.version > version || seen.item.state.is_final() || left.is_zero() || waiter.is_over() {
            return scanning(gateway, login).await;
        }
        waiter.wait(left.min(seen.left)).await;
    }
}

/// What was confirmed for a login, as far as its app may see it.
///
/// # Errors
/// It is not confirmed, or not any more, as a session's refusal.
pub(crate) async fn fetch(gateway: &Gateway, login: &Login, app: &App) -> Result<Fetched, Problem> {
    let session = steps::of_login(gateway, login).await?;
    steps::permitted(&session, SessionEvent::Consume, OffsetDateTime::now_utc())?;
    let confirmed = confirmed(&session)?;
    let fields = FieldGrant::new(app.fields.iter().cloned());
    let result = confirmed.result(gateway, &session, &fields).await?;
    let result = serde_json::to_string(&result).map_err(|_| Problem::session_broken("result"))?;
    let (uscc, holds_until) = (confirmed.uscc().to_owned(), confirmed.holds_until());
    Ok(Fetched { session, uscc, result, holds_until })
}

fn confirmed(session: &ScanSession) -> Result<Confirmed, Problem> {
    let confirmed = session.result.as_deref().and_then(|octets| Confirmed::read(octets));
    confirmed.ok_or_else(|| Problem::session_broken("result"))
}

/// Counts what was confirmed as fetched, with the login's next step: once.
///
/// # Errors
/// Somebody was faster; it cannot be recorded.
pub(crate) async fn consume(
    gateway: &Gateway,
    fetched: &Fetched,
    record: &LoginRecord<'_>,
    grant: LoginChange,
) -> Result<(), Problem> {
    let (session, at) = (&fetched.session, OffsetDateTime::now_utc());
    let change = gateway.store.scan_step(session, ScanStep::to(ScanState::Consumed), at);
    let change = change.map_err(|error| Problem::from_sessions(&error))?.with(grant);
    let record = record.record(Some(hex::encode(Sm3::digest(fetched.result.as_bytes()))));
    let record = Record { subject: format!("{} {}", record.subject, fetched.uscc), ..record };
    match gateway.audit.append_scan(record.entry("ok", at), change, None).await {
        Ok(_) => {}
        Err(StoreError::Changed { .. }) => return Err(SessionRefusal::Consumed.into()),
        Err(error) => return Err(Problem::record_unavailable(&error)),
    }
    gateway.metrics.session(ScanState::Consumed);
    gateway.waiting.wake(&session.id);
    Ok(())
}

/// Whether the license that somebody logged in with may still be used for that.
///
/// # Errors
/// It may not, by the code of the reason; the register does not answer.
pub(crate) async fn still_stands(gateway: &Gateway, login: &Login) -> Result<(), Problem> {
    let session = steps::of_login(gateway, login).await?;
    let (terms, confirmed) = (steps::terms(&session)?, confirmed(&session)?);
    let (license, at) = (confirmed.license()?, OffsetDateTime::now_utc());
    super::phone::standing(gateway, &terms, confirmed.consent(), &license, at).await.map(drop)
}

/// Ends a login, and gives up its session if that goes on. Of one that nobody scanned nothing stays, and nothing is on record.
///
/// # Errors
/// It cannot be recorded. That it has ended already is none.
pub(crate) async fn end(
    gateway: &Gateway,
    login: &Login,
    record: &LoginRecord<'_>,
    outcome: &str,
) -> Result<(), Problem> {
    let dropped = gateway.store.drop_unscanned_login(login).await;
    if dropped.map_err(|error| Problem::from_logins(&error))? {
        gateway.metrics.session(ScanState::Cancelled);
        gateway.waiting.wake(&login.session);
        return Ok(());
    }
    let at = OffsetDateTime::now_utc();
    let entry = record.record(None).entry(outcome, at);
    let session = steps::of_login(gateway, login).await.ok();
    let open = session.filter(|session| steps::permitted(session, SessionEvent::Cancel, at).is_ok());
    let done = match open {
        Some(session) => {
            let change = gateway.store.scan_step(&session, ScanStep::to(ScanState::Cancelled), at);
            let change = change.map_err(|error| Problem::from_sessions(&error))?;
            let done =
                gateway.audit.append_scan(entry.clone(), change.with(LoginChange::end(login)), None).await;
            if done.is_ok() {
                gateway.metrics.session(ScanState::Cancelled);
                gateway.waiting.wake(&session.id);
            }
            match done {
                // The phone was faster: what it brought is fetched by nobody.
                Err(StoreError::Changed { .. }) => {
                    gateway.audit.append_login(entry, LoginChange::end(login)).await
                }
                done => done,
            }
        }
        None => gateway.audit.append_login(entry, LoginChange::end(login)).await,
    };
    match done {
        Ok(_) | Err(StoreError::Changed { .. }) => Ok(()),
        Err(error) => Err(Problem::record_unavailable(&error)),
    }
}
