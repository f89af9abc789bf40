//! What a session leaves to be retained (执照留档).

use formats::Certificate;
use store::{App, ScanFlow, ScanState};
use time::OffsetDateTime;
use verify_front::{Authorisation, FieldGrant, Role, SessionEvent};

use super::result::Confirmed;
use super::steps;
use crate::problem::Problem;
use crate::state::Gateway;

/// Who acted with which license in a session, for what.
pub(crate) struct ShownInSession {
    /// The business item.
    pub(crate) item: String,
    /// Unified social credit code.
    pub(crate) uscc: String,
    /// As whom somebody acted.
    pub(crate) role: Role,
    /// Who, as far as the app may see it.
    pub(crate) operator: Option<String>,
    /// Under what an agent acted.
    pub(crate) authorisation: Option<Authorisation>,
    /// What of the face the app may keep: what the holder let it see.
    pub(crate) grant: FieldGrant,
    /// The license.
    pub(crate) license: Certificate,
    /// Whether the app may see all that the license and the consent show.
    pub(crate) sees_all: bool,
    /// The result as the site signs it, JSON.
    pub(crate) document: Vec<u8>,
}

/// A session of this app that somebody confirmed and whose result is still there.
///
/// # Errors
/// `unknown_session`; `session_not_confirmed`; the state that it ended in; `session_result_gone`.
pub(crate) async fn shown(
    gateway: &Gateway,
    id: &str,
    app: &App,
    grant: &FieldGrant,
) -> Result<ShownInSession, Problem> {
    let session = steps::of_app(gateway, id, &app.id).await?;
    if !matches!(session.state, ScanState::Confirmed | ScanState::Consumed) {
        return Err(Problem::session_not_retainable(session.state));
    }
    if session.state == ScanState::Confirmed {
        // Its time may be over, though nobody has taken it there yet.
        steps::permitted(&session, SessionEvent::Consume, OffsetDateTime::now_utc())?;
    }
    let result = session.result.as_deref().ok_or_else(Problem::session_result_gone)?;
    let confirmed = Confirmed::read(result).ok_or_else(|| Problem::session_broken("result"))?;
    let document = confirmed.document(gateway, &session, grant).await?;
    let (license, consent) = (confirmed.license()?, confirmed.consent());
    let fields = match session.flow {
        ScanFlow::Authorise => consent.fields.clone(),
        // The result says that much.
        ScanFlow::Login | ScanFlow::LoginSign | ScanFlow::Sign => vec!["name".to_owned()],
    };
    let may_see = grant.shows("holder") || grant.shows_in_full("holder");
    let operator = consent.operator.as_deref().filter(|_| may_see);
    Ok(ShownInSession {
        item: consent.item.clone(),
        uscc: consent.uscc.clone(),
        role: consent.role,
        operator: operator.map(|name| grant.person("holder", name)),
        authorisation: consent.authorisation.clone(),
        grant: grant.within(&fields),
        license,
        sees_all: confirmed.is_for(grant),
        document,
    })
}
