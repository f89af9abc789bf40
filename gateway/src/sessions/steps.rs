//! Taking a session a state further: by the machine, with its entry in the audit log, in one transaction.

use config::AppId;
use store::{AuditEntry, Keeping, Login, ScanSession, ScanState, ScanStep, StoreError};
use time::OffsetDateTime;
use verify_front::{SessionEvent, SessionProgress, SessionTerms, Step};

use super::SessionItem;
use crate::problem::Problem;
use crate::request_id;
use crate::state::Gateway;

/// How often it is tried again where somebody else came first; each time a session is a state further, and it has four.
const TRIES: usize = 6;

/// What the audit log is told of a step.
pub(super) struct Record {
    pub(super) actor: String,
    pub(super) action: &'static str,
    pub(super) subject: String,
    pub(super) input_digest: Option<String>,
    pub(super) result_digest: Option<String>,
}

impl Record {
    pub(super) fn of(actor: String, action: &'static str, id: &str) -> Self {
        Self { actor, action, subject: id.to_owned(), input_digest: None, result_digest: None }
    }

    pub(super) fn entry(self, outcome: &str, at: OffsetDateTime) -> AuditEntry {
        AuditEntry {
            action: self.action.to_owned(),
            actor: self.actor,
            at,
            device: None,
            input_digest: self.input_digest,
            key: None,
            outcome: outcome.to_owned(),
            request_id: request_id::current(),
            result_digest: self.result_digest,
            subject: Some(self.subject),
        }
    }
}

/// A session that was taken further, or was there already.
pub(super) struct Advanced {
    session: ScanSession,
    state: ScanState,
    version: u32,
    expires_at: OffsetDateTime,
    /// Where the step is on record; none where nothing was to be done.
    pub(super) audit_index: Option<u64>,
}

impl Advanced {
    pub(super) fn item(self) -> SessionItem {
        SessionItem {
            session: self.session.id,
            state: self.state,
            version: self.version,
            expires_at: self.expires_at,
            replaced_by: self.session.replaced_by,
        }
    }

    pub(super) fn session(&self) -> &ScanSession {
        &self.session
    }
}

pub(super) fn random_octets() -> Result<[u8; 16], Problem> {
    let mut octets = [0; 16];
    getrandom::fill(&mut octets).map_err(|_| Problem::session_broken("random numbers"))?;
    Ok(octets)
}

/// A session, whoever asked for it.
pub(super) async fn found(gateway: &Gateway, id: &str) -> Result<ScanSession, Problem> {
    gateway.store.scan_session(id).await.map_err(|error| Problem::from_sessions(&error))
}

/// A session of this app; another's is as unknown as none.
pub(super) async fn of_app(gateway: &Gateway, id: &str, app: &AppId) -> Result<ScanSession, Problem> {
    let session = found(gateway, id).await?;
    // What somebody does in a login is between him and this site.
    if session.app == *app && session.login.is_none() { Ok(session) } else { Err(Problem::unknown_session()) }
}

/// The session of a login.
pub(super) async fn of_login(gateway: &Gateway, login: &Login) -> Result<ScanSession, Problem> {
    let session = found(gateway, &login.session).await?;
    let is_its = session.app == login.app && session.login.as_deref() == Some(login.id.as_str());
    if is_its { Ok(session) } else { Err(Problem::unknown_session()) }
}

/// What the machine says.
pub(super) fn permitted(
    session: &ScanSession,
    event: SessionEvent,
    at: OffsetDateTime,
) -> Result<Step, Problem> {
    let progress =
        SessionProgress { state: session.state, phone: session.phone, expires_at: session.expires_at };
    progress.after(event, at).map_err(Problem::from)
}

/// What a session asks.
pub(super) fn terms(session: &ScanSession) -> Result<SessionTerms, Problem> {
    let terms = session.terms.as_deref().and_then(|octets| serde_json::from_slice(octets).ok());
    terms.ok_or_else(|| Problem::session_broken("terms"))
}

/// What an entry says of whose session it is and what for, by which uses are counted (`store::Store::count_usage`): a phone or the
/// clock takes most steps.
fn for_whom(app: &AppId, terms: &SessionTerms) -> String {
    format!(" for {app} {} {}", terms.flow, terms.item)
}

/// The same of a session that may have been forgotten meanwhile.
pub(super) fn whose(session: &ScanSession) -> String {
    match terms(session) {
        Ok(terms) => for_whom(&session.app, &terms),
        Err(_) => format!(" for {} {} -", session.app, session.flow),
    }
}

/// Begins a session, which may take another's place.
pub(super) async fn begin(
    gateway: &Gateway,
    named: (&str, &AppId),
    terms: &SessionTerms,
    said: &[u8],
    times: (OffsetDateTime, OffsetDateTime),
    replaced: Option<ScanSession>,
    record: Record,
) -> Result<(), Problem> {
    let Record { actor, action, subject, input_digest, result_digest } = record;
    let app = named.1;
    let mut replaced = replaced;
    for _ in 0..TRIES {
        if let Some(old) = &replaced {
            permitted(old, SessionEvent::Replace, times.0)?;
        }
        let change = gateway.store.new_scan(named, terms.flow, said, times, replaced.as_ref());
        let change = change.map_err(|error| Problem::from_sessions(&error))?;
        let record = Record {
            actor: actor.clone(),
            action,
            subject: match &replaced {
                Some(old) => format!("{subject} replaces {}{}", old.id, for_whom(app, terms)),
                None => format!("{subject}{}", for_whom(app, terms)),
            },
            input_digest: input_digest.clone(),
            result_digest: result_digest.clone(),
        };
        match gateway.audit.append_scan(record.entry("ok", times.0), change, None).await {
            Ok(_) => {
                gateway.metrics.session(ScanState::Created);
                if let Some(old) = &replaced {
                    gateway.metrics.session(ScanState::Replaced);
                    gateway.waiting.wake(&old.id);
                }
                return Ok(());
            }
            Err(StoreError::Changed { .. }) => {}
            Err(error) => return Err(Problem::record_unavailable(&error)),
        }
        if let Some(old) = &replaced {
            replaced = Some(found(gateway, &old.id).await?);
        }
    }
    Err(Problem::session_broken("state"))
}

/// Takes a session further, as it is found; where somebody else came first, from where that left it.
pub(super) async fn advance<F: Future<Output = Result<ScanSession, Problem>>>(
    gateway: &Gateway,
    find: impl Fn() -> F,
    event: SessionEvent,
    step: impl Fn(&ScanSession) -> Result<ScanStep, Problem>,
    record: impl Fn() -> Record,
    keep: impl Fn() -> Option<Keeping>,
) -> Result<Advanced, Problem> {
    for _ in 0..TRIES {
        let (session, at) = (find().await?, OffsetDateTime::now_utc());
        if permitted(&session, event, at)? == Step::Stay {
            let (state, version, expires_at) = (session.state, session.version, session.expires_at);
            return Ok(Advanced { session, state, version, expires_at, audit_index: None });
        }
        let step = step(&session)?;
        let (state, expires_at) = (step.to, step.expires_at.unwrap_or(session.expires_at));
        let change = gateway.store.scan_step(&session, step, at);
        let change = change.map_err(|error| Problem::from_sessions(&error))?;
        let mut record = record();
        if let Some(login) = &session.login {
            // The first that is on record of a login is that somebody scanned it.
            record.subject = format!("{} login {login}", record.subject);
        }
        record.subject += &whose(&session);
        match gateway.audit.append_scan(record.entry("ok", at), change, keep()).await {
            Ok(index) => {
                gateway.metrics.session(state);
                gateway.waiting.wake(&session.id);
                let version = session.version + 1;
                return Ok(Advanced { session, state, version, expires_at, audit_index: Some(index) });
            }
            Err(StoreError::Changed { .. }) => {}
            Err(error) => return Err(Problem::record_unavailable(&error)),
        }
    }
    Err(Problem::session_broken("state"))
}

/// The kind of notice that an app gets of a session's next state, and what it says. What it did itself it is not told, nor of what
/// somebody does in a login; of a session that it began in the national front's protocol it is told in that
/// ([`crate::compat::receipt`]).
pub(super) fn notice(session: &ScanSession, state: ScanState) -> Option<(&'static str, serde_json::Value)> {
    if session.login.is_some() || terms(session).is_ok_and(|terms| terms.qrtype.is_some()) {
        return None;
    }
    let kind = match state {
        ScanState::Scanned => "session.scanned",
        ScanState::Confirmed => "session.confirmed",
        ScanState::Rejected => "session.rejected",
        ScanState::Expired => "session.expired",
        ScanState::Created | ScanState::Consumed | ScanState::Cancelled | ScanState::Replaced => return None,
    };
    Some((kind, serde_json::json!({"session": session.id, "state": state, "version": session.version + 1})))
}
