//! What a session came to, for callers of the national front's protocol. They ask for its parts one by one, so that the first of
//! these questions counts as fetching it, and the others are answered as long as what was confirmed waits to be fetched.

use serde_json::Value;
use store::{ScanSession, ScanState};
use time::OffsetDateTime;
use verify_front::{FieldGrant, SessionEvent, SessionTerms};

use super::consumed;
use super::result::Confirmed;
use super::steps::{self, Record};
use crate::auth::{Authenticated, Scope};
use crate::idempotency;
use crate::problem::Problem;
use crate::state::Gateway;

/// What a session came to.
pub(crate) struct Fetched {
    /// As `POST /v1/sessions/{id}/consume` answers it.
    pub(crate) answer: Value,
    /// What was asked.
    pub(crate) terms: SessionTerms,
}

/// What a session of this app came to that was begun in the national front's protocol. With `whole` only for who may see all that
/// the license and the consent show; otherwise nothing is fetched.
///
/// # Errors
/// As of `POST /v1/sessions/{id}/consume`.
pub(crate) async fn fetched(
    gateway: &Gateway,
    caller: &Authenticated,
    id: &str,
    whole: bool,
) -> Result<Option<Fetched>, Problem> {
    let app = caller.using(Scope::Sessions, gateway)?;
    let grant = FieldGrant::new(app.fields.iter().cloned());
    // Twice: another question may have fetched it in between.
    for _ in 0..2 {
        let session = steps::of_app(gateway, id, &app.id).await?;
        if session.terms.is_none() {
            // What it was about is forgotten; that it is over is not.
            steps::permitted(&session, SessionEvent::Consume, OffsetDateTime::now_utc())?;
        }
        let terms = steps::terms(&session)?;
        if terms.qrtype.is_none() {
            return Err(Problem::unknown_session());
        }
        let confirmed = session.result.as_deref().and_then(|octets| Confirmed::read(octets));
        // Where nothing is confirmed, why not is told below.
        if whole && confirmed.as_ref().is_some_and(|confirmed| !confirmed.is_for(&grant)) {
            return Ok(None);
        }
        let now = OffsetDateTime::now_utc();
        let body = match confirmed {
            Some(confirmed) if session.state == ScanState::Consumed && now < session.expires_at => {
                Ok(again(gateway, caller, &session, &confirmed, &grant).await?)
            }
            _ => consumed(gateway, app, caller.actor(), id, None).await,
        };
        match body {
            Ok(body) => {
                let answer = serde_json::from_slice(&body).map_err(|_| Problem::session_broken("result"))?;
                return Ok(Some(Fetched { answer, terms }));
            }
            Err(problem) if problem.code() == "session_consumed" && now < session.expires_at => {}
            Err(problem) => return Err(problem),
        }
    }
    Err(Problem::session_broken("state"))
}

/// The same once more, which is on record each time.
async fn again(
    gateway: &Gateway,
    caller: &Authenticated,
    session: &ScanSession,
    confirmed: &Confirmed,
    grant: &FieldGrant,
) -> Result<Vec<u8>, Problem> {
    let (response, digest) = confirmed.answer(gateway, session, grant).await?;
    let (body, index_at) = idempotency::unplaced(&response);
    let record = Record {
        subject: format!("{} {}{}", session.id, confirmed.uscc(), steps::whose(session)),
        result_digest: Some(hex::encode(digest)),
        ..Record::of(caller.actor(), "session.read", &session.id)
    };
    let entry = record.entry("ok", OffsetDateTime::now_utc());
    let index = gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))?;
    Ok(idempotency::ok(body, index_at).placed(index).body)
}
