//! The verification front (验证前置): is this license genuine and in force, what does the library say, and how does a session
//! go on in which somebody scans with a license?
//!
//! Invariants: a verdict is an answer, an error means that nothing could be judged; nothing here can reach
//! an HSM; of the register's face only granted fields leave; test identities exist in the sandbox only; time
//! is an argument.

mod account;
mod admission;
mod error;
mod face;
mod judge;
mod session;
mod status;
mod trust;

use std::sync::Arc;

use formats::chain::TrustStore;
use formats::license_file::{LicenseFileInput, judge as judge_file};
use formats::uscc::Uscc;
use store::{NameQuery, Store};
use time::OffsetDateTime;

pub use account::file_section;
pub use admission::NotAdmitted;
pub use error::FrontError;
pub use face::{FaceAnswer, FieldGrant, FoundEntity, FoundPage};
use judge::Holder;
pub use judge::{Examined, FileSummary, LicenseAnswer, LicenseSummary, LicenseType, register_differences};
pub use session::{
    Authorisation, Consent, ConsentFault, QrError, QrPayload, Role, RoleRefusal, SessionEvent,
    SessionRefusal, SessionTerms, Standing, Step,
};
pub use status::StatusAnswer;
pub use trust::TrustInForce;

/// License verification and library look-ups over one store and one set of trust anchors.
pub struct LicenseFront {
    store: Store,
    trust: Arc<TrustInForce>,
    documents: Arc<TrustInForce>,
    sandbox: bool,
}

impl LicenseFront {
    /// `trust` is for licenses, `documents` for the seals of license files; `sandbox` admits test enterprises
    /// (`ZZJGD…`); a production site never sets it.
    pub fn new(store: Store, trust: Arc<TrustInForce>, documents: Arc<TrustInForce>, sandbox: bool) -> Self {
        Self { store, trust, documents, sandbox }
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

    /// What a license proves by itself: the part of [`judge`](Self::judge) that computes and asks nobody. A file takes
    /// long enough to be kept away from threads that others wait for.
    #[must_use]
    pub fn examine(&self, license: &[u8], kind: LicenseType, at: OffsetDateTime) -> Examined {
        let licenses = self.trust.current();
        let Some(form) = kind.form() else {
            let report = formats::license::judge(license, &licenses, at, self.sandbox);
            return Examined { license: Some(report), file: None };
        };
        let documents = self.documents.current();
        let mut file = judge_file(&LicenseFileInput {
            octets: license,
            form,
            documents: &documents,
            licenses: &licenses,
            at,
            sandbox: self.sandbox,
        });
        Examined { license: file.license.take(), file: Some(file) }
    }

    /// Adds what the library knows to what a license proves: the other part of [`judge`](Self::judge).
    ///
    /// # Errors
    /// The library cannot be read.
    pub async fn complete(&self, examined: Examined) -> Result<LicenseAnswer, FrontError> {
        // The register is asked for the holder of a license that was issued, in force or not: what a forged one
        // claims must not serve to read it.
        let issued = examined.license.as_ref().filter(|report| judge::was_issued(&report.judgement));
        let holder = match issued.and_then(|report| report.uscc.as_ref()) {
            Some(uscc) => self.holder(uscc).await?,
            None => None,
        };
        judge::complete(examined, holder)
    }

    /// The granted part of an entity's face as the register has it; `None` for an unknown entity.
    ///
    /// # Errors
    /// [`FrontError::TestIdentityInProduction`], or the library cannot be read.
    pub async fn face(&self, uscc: &Uscc, granted: &FieldGrant) -> Result<Option<FaceAnswer>, FrontError> {
        self.admit(uscc)?;
        Ok(self.store.entity(uscc).await?.map(|entity| FaceAnswer::of(&entity, granted)))
    }

    /// Entities with such a name, and of each the granted part of its face. Test enterprises are found in a sandbox only.
    ///
    /// # Errors
    /// The library cannot be read.
    pub async fn find(&self, wanted: &NameQuery, granted: &FieldGrant) -> Result<FoundPage, FrontError> {
        let page = self.store.find_by_name(wanted).await?;
        let admitted = page.entities.iter().filter(|entity| self.sandbox || !entity.uscc.is_test());
        let entities = admitted.map(|entity| FoundEntity::of(entity, granted)).collect::<Result<_, _>>()?;
        Ok(FoundPage { entities, next: page.next })
    }

    /// An entity's registration status; `None` for an unknown entity.
    ///
    /// # Errors
    /// [`FrontError::TestIdentityInProduction`], or the library cannot be read.
    pub async fn status(&self, uscc: &Uscc) -> Result<Option<StatusAnswer>, FrontError> {
        self.admit(uscc)?;
        self.store.entity(uscc).await?.map(|entity| StatusAnswer::of(&entity)).transpose()
    }

    /// Face and status of one moment, to be certified together; `None` for an unknown entity.
    ///
    /// # Errors
    /// [`FrontError::TestIdentityInProduction`], [`FrontError::UnknownStatus`], or the library cannot be read.
    pub async fn certifiable(
        &self,
        uscc: &Uscc,
        granted: &FieldGrant,
    ) -> Result<Option<(FaceAnswer, StatusAnswer)>, FrontError> {
        self.admit(uscc)?;
        let Some(entity) = self.store.entity(uscc).await? else { return Ok(None) };
        Ok(Some((FaceAnswer::of(&entity, granted), StatusAnswer::of(&entity)?)))
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
