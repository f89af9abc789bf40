//! Proofs within a session: what matters most about the own account takes the password or a code once more, so that a session
//! that was left open, or stolen, is not enough. Failures are counted apart from those at the door, and passwords apart from
//! codes; a pause is told to people as one at the door is.

use axum::http::request::Parts;
use config::AccountName;
use store::{PasswordCheck, SecondFactor, StoreError, Tried, Try};
use time::OffsetDateTime;
use tracing::warn;

use super::sign_in::{Shown, address, factor, patience, tell_of_pause};
use super::totp;
use crate::auth::person::Person;
use crate::problem::Problem;
use crate::state::Gateway;

/// Somebody in a session who is to prove to be its person.
pub(super) struct AtHand<'a> {
    gateway: &'a Gateway,
    person: &'a Person,
    /// Where the request is from.
    address: String,
    at: OffsetDateTime,
}

impl<'a> AtHand<'a> {
    pub(super) fn new(gateway: &'a Gateway, person: &'a Person, parts: &Parts, at: OffsetDateTime) -> Self {
        Self { gateway, person, address: address(parts), at }
    }

    fn name(&self) -> &'a AccountName {
        &self.person.account.name
    }

    /// A code, which is used up by it.
    ///
    /// # Errors
    /// `code_refused`, `sign_in_paused`.
    pub(super) async fn shows(&self, shown: &Shown<'_>) -> Result<(), Problem> {
        let proof = async {
            let factor = factor(self.gateway, self.name(), shown, self.at).await?;
            let factor = factor.ok_or_else(Problem::code_refused)?;
            match self.gateway.store.use_factor(self.name(), &factor).await {
                Err(StoreError::NotAllowed { .. }) => Err(Problem::code_refused()),
                used => used.map(drop).map_err(|error| Problem::from_accounts(&error)),
            }
        };
        self.counted(Tried::Code(self.name()), proof).await
    }

    /// A code of the factor that waits to be confirmed: its step. Whoever has not seen the secret gets no more guesses here
    /// than elsewhere, because who confirms is shown recovery codes.
    ///
    /// # Errors
    /// `code_refused`, `sign_in_paused`.
    pub(super) async fn confirms(&self, pending: &SecondFactor, code: &str) -> Result<i64, Problem> {
        let step = totp::step_of(&pending.secret, code, self.at);
        let proof = async { step.ok_or_else(Problem::code_refused) };
        self.counted(Tried::Code(self.name()), proof).await
    }

    /// The present password.
    ///
    /// # Errors
    /// `password_refused`, `sign_in_paused`.
    pub(super) async fn knows(&self, password: &str) -> Result<(), Problem> {
        let proof = async {
            let checked = self.gateway.store.check_password(Some(self.name()), password).await;
            match checked.map_err(|error| Problem::database(&error))? {
                PasswordCheck::Right { .. } => Ok(()),
                PasswordCheck::Wrong { .. } => Err(Problem::password_refused()),
            }
        };
        self.counted(Tried::Password(self.name()), proof).await
    }

    /// Counts a proof before it is judged, and tells people if it fails and a pause begins.
    async fn counted<T>(
        &self,
        tried: Tried<'_>,
        proof: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let store = &self.gateway.store;
        let counted = store.count_try(tried, patience(self.gateway), self.at).await;
        let last = match counted.map_err(|error| Problem::database(&error))? {
            Try::Counted { last } => last,
            Try::Paused(until) => return Err(Problem::sign_in_paused(until - self.at)),
        };
        let proved = proof.await;
        if proved.is_ok() {
            store.clear_tries(tried).await.map_err(|error| Problem::database(&error))?;
        } else if last {
            let (name, address) = (self.name(), &self.address);
            warn!(account = %name, address, "too many failures to prove to be at hand: such proofs are paused");
            let said = format!("{name}: proofs within session {}, from {address}", self.person.session.id);
            tell_of_pause(self.gateway, self.person.actor(), said, self.at).await;
        }
        proved
    }
}
