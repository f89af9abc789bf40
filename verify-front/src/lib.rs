//! The verification front (验证前置): is this license genuine and in force, and what does the library say?
//!
//! Invariants: a verdict is an answer, an error means that nothing could be judged; nothing here can reach
//! an HSM; of the register's face only granted fields leave; test identities exist in the sandbox only; time
//! is an argument.

mod account;
mod error;
mod face;
mod judge;
mod status;
mod trust;

use std::sync::Arc;

use formats::chain::TrustStore;
use formats::license::LicenseReport;
use formats::uscc::Uscc;
use store::Store;
use time::OffsetDateTime;

pub use error::FrontError;
pub use face::{FaceAnswer, FieldGrant};
use judge::Holder;
pub use judge::{LicenseAnswer, LicenseSummary, LicenseType};
pub use status::StatusAnswer;
pub use trust::TrustInForce;

/// License verification and library look-ups over one store and one set of trust anchors.
pub struct LicenseFront {
    store: Store,
    trust: Arc<TrustInForce>,
    sandbox: bool,
}

impl LicenseFront {
    /// `sandbox` admits test enterprises (`ZZJGD…`); a production site never sets it.
    pub fn new(store: Store, trust: Arc<TrustInForce>, sandbox: bool) -> Self {
        Self { store, trust, sandbox }
    }

    /// What licenses are judged against now.
    #[must_use]
    pub fn trust(&self) -> Arc<TrustStore> {
        self.trust.current()
    }

    /// Judges a license at a time: its form, chain, validity and revocation, then its holder's standing and
    /// face as the library has them now.
    ///
    /// # Errors
    /// The library cannot be read. A license that fails, or is none, is an answer.
    pub async fn judge(
        &self,
        license: &[u8],
        kind: LicenseType,
        at: OffsetDateTime,
    ) -> Result<LicenseAnswer, FrontError> {
        self.complete(self.examine(license, kind, at)).await
    }

    /// What a license proves by itself: the part of [`judge`](Self::judge) that computes and asks nobody.
    #[must_use]
    pub fn examine(&self, license: &[u8], kind: LicenseType, at: OffsetDateTime) -> LicenseReport {
        match kind {
            LicenseType::Certificate => {
                formats::license::judge(license, &self.trust.current(), at, self.sandbox)
            }
        }
    }

    /// Adds what the library knows to a report: the other part of [`judge`](Self::judge).
    ///
    /// # Errors
    /// The library cannot be read.
    pub async fn complete(&self, report: LicenseReport) -> Result<LicenseAnswer, FrontError> {
        // The register is asked for the holder of a license that was issued, in force or not: what a forged one
        // claims must not serve to read it.
        let holder = match &report.uscc {
            Some(uscc) if judge::was_issued(&report.judgement) => self.holder(uscc).await?,
            _ => None,
        };
        judge::complete(report, holder)
    }

    /// The granted part of an entity's face as the register has it; `None` for an unknown entity.
    ///
    /// # Errors
    /// [`FrontError::TestIdentityInProduction`], or the library cannot be read.
    pub async fn face(&self, uscc: &Uscc, granted: &FieldGrant) -> Result<Option<FaceAnswer>, FrontError> {
        self.admit(uscc)?;
        Ok(self.store.entity(uscc).await?.map(|entity| FaceAnswer::of(&entity, granted)))
    }

    /// An entity's registration status; `None` for an unknown entity.
    ///
    /// # Errors
    /// [`FrontError::TestIdentityInProduction`], or the library cannot be read.
    pub async fn status(&self, uscc: &Uscc) -> Result<Option<StatusAnswer>, FrontError> {
        self.admit(uscc)?;
        self.store.entity(uscc).await?.map(|entity| StatusAnswer::of(&entity)).transpose()
    }

    fn admit(&self, uscc: &Uscc) -> Result<(), FrontError> {
        if uscc.is_test() && !self.sandbox { Err(FrontError::TestIdentityInProduction) } else { Ok(()) }
    }

    async fn holder(&self, uscc: &Uscc) -> Result<Option<Holder>, FrontError> {
        let Some(entity) = self.store.entity(uscc).await? else { return Ok(None) };
        let current = self.store.license_by_uscc(uscc).await?;
        Ok(Some(Holder { entity, current }))
    }
}
