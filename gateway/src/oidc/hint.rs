//! An ID token that comes back: whom an app expects, or who is to be logged out.

use serde::Deserialize;

use super::tokens::TYPE;
use crate::auth::bearer;
use crate::auth::jws::Jws;
use crate::problem::Problem;
use crate::state::Gateway;

/// What of an ID token is looked at.
#[derive(Deserialize)]
pub(super) struct Hint {
    iss: String,
    /// The app that it was for.
    pub(super) aud: String,
    /// Who it is of.
    pub(super) sub: String,
    /// The login that it came of.
    pub(super) sid: String,
}

impl Hint {
    /// An ID token of this site, of whatever time.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn read(gateway: &Gateway, issuer: &str, text: &str) -> Result<Self, Problem> {
        let jws = Jws::parse(text).filter(|jws| jws.header.typ.as_deref() == Some(TYPE));
        let ours = jws.filter(|jws| bearer::is_ours(jws, gateway));
        let hint: Option<Self> = ours.and_then(|jws| jws.claims());
        hint.filter(|hint| hint.iss == issuer).ok_or_else(Problem::id_token_hint_invalid)
    }
}
