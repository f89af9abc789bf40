//! The verification front (验证前置): is this license genuine and in force, what does the library say, and how does a session
//! go on in which somebody scans with a license?
//!
//! Invariants: a verdict is an answer, an error means that nothing could be judged; nothing here can reach
//! an HSM; of the register's face only granted fields leave; test identities exist in the sandbox only; time
//! is an argument.

mod account;
mod admission;
mod decision;
mod error;
mod face;
mod judge;
mod register;
mod session;
mod status;
mod trust;

use std::collections::BTreeSet;
use std::sync::Arc;

use formats::chain::TrustStore;
use formats::license_file::{LicenseFileInput, judge as judge_file};
use formats::uscc::Uscc;
use serde_json::{Map, Value};
use store::{NameQuery, Store};
use time::OffsetDateTime;

pub use account::file_section;
pub use admission::NotAdmitted;
pub use decision::{Authorisation, Decision, DecisionQuestion, DecisionTable, LicenseUse, Role, TableError};
pub use error::FrontError;
pub use face::{FACE_FIELDS, FaceAnswer, FieldGrant, FoundEntity, FoundPage};
use judge::Holder;
pub use judge::{Examined, FileSummary, LicenseAnswer, LicenseSummary, LicenseType, register_differences};
pub use register::{
    Care, CarefulRegister, LibraryRegister, NATIONAL_ANSWER_LIMIT, NationalRegister, RegisterError,
    RegisterFigures, Said, Standing, StatusOrigin, StatusQuestion, StatusRegister, StatusRules, StatusSource,
    UNAVAILABLE,
};
pub use session::{
    Consent, ConsentFault, QrError, QrPayload, RoleRefusal, SessionEvent, SessionProgress, SessionRefusal,
    SessionTerms, StampTerms, Step,
};
pub use status::StatusAnswer;
pub use trust::TrustInForce;

/// License verification and library look-ups over one store and one set of trust anchors.
pub struct LicenseFront {
    store: Store,
    trust: Arc<TrustInForce>,
    documents: Arc<TrustInForce>,
    register: Arc<CarefulRegister>,
    rules: StatusRules,
    decisions: Arc<DecisionTable>,
    sandbox: bool,
}

impl LicenseFront {
    /// `trust` is for licenses, `documents` for the seals of license files; `register` says how entities stand, `decisions`
    /// what that permits; `sandbox` admits test enterprises (`ZZJGD…`); a production site never sets it.
    pub fn new(
        store: Store,
        trust: Arc<TrustInForce>,
        documents: Arc<TrustInForce>,
        register: Arc<CarefulRegister>,
        decisions: Arc<DecisionTable>,
        sandbox: bool,
    ) -> Self {
        Self { store, trust, documents, register, rules: StatusRules::default(), decisions, sandbox }
    }

    /// The same, with a site's rules for what registers say.
    #[must_use]
    pub fn with_rules(self, rules: StatusRules) -> Self {
        Self { rules, ..self }
    }

    /// Decides whether a license that was judged may be used for what is asked.
    #[must_use]
    pub fn decide(&self, question: &DecisionQuestion, answer: &LicenseAnswer) -> Decision {
        self.decisions.decide(question, answer.judgement.verdict, answer.status.as_ref())
    }

    /// Who may act for a business item, by its code; `None` for one that the site's table does not speak of.
    #[must_use]
    pub fn roles_for(&self, item: &str) -> Option<&[Role]> {
        self.decisions.roles_for(item)
    }

    /// The business items (业务事项) of the site's table, code and name, in its order.
    pub fn items(&self) -> impl Iterator<Item = (&str, &str)> {
        self.decisions.items()
    }

    /// What licenses are judged against now.
    #[must_use]
    pub fn trust(&self) -> Arc<TrustStore> {
        self.trust.current()
    }

    /// Judges a license at a time: its form, chain, validity and revocation, then its holder's standing, as the register
    /// says it is or was, and face, as the register has it now.
    ///
    /// # Errors
    /// The library cannot be read. A license that fails, or is none, is an answer.
    pub async fn judge(
        &self,
        license: &[u8],
        kind: LicenseType,
        at: OffsetDateTime,
        question: &StatusQuestion,
    ) -> Result<LicenseAnswer, FrontError> {
        self.complete(self.examine(license, kind, at), question).await
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

    /// Adds what register and library know to what a license proves: the other part of [`judge`](Self::judge). A register
    /// that does not answer leaves the license undecided.
    ///
    /// # Errors
    /// The library cannot be read.
    pub async fn complete(
        &self,
        examined: Examined,
        question: &StatusQuestion,
    ) -> Result<LicenseAnswer, FrontError> {
        // The register is asked for the holder of a license that was issued, in force or not: what a forged one
        // claims must not serve to read it.
        let issued = examined.license.as_ref().filter(|report| judge::was_issued(&report.judgement));
        let holder = match issued.and_then(|report| report.uscc.as_ref()) {
            Some(uscc) => Some(self.holder(uscc, question).await?),
            None => None,
        };
        judge::complete(examined, holder, question, self.rules)
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

    /// Face and status, to be certified together; `None` for an unknown entity. The status is what the register says, no
    /// older than the site's rules let it be. The face is the register's; where that gives none, it is the library's, which
    /// is then held to the same rules.
    ///
    /// # Errors
    /// [`FrontError::TestIdentityInProduction`], [`FrontError::UnknownStatus`], [`FrontError::StatusUnavailable`] and
    /// [`FrontError::StatusUnfit`] of what cannot be certified now, or the library cannot be read.
    pub async fn certifiable(
        &self,
        uscc: &Uscc,
        granted: &FieldGrant,
        now: OffsetDateTime,
    ) -> Result<Option<(FaceAnswer, StatusAnswer)>, FrontError> {
        self.admit(uscc)?;
        let question = StatusQuestion::now(now);
        let said =
            self.register.ask(uscc, question.at, question.max_age, now).await.map_err(
                |error| match error {
                    RegisterError::Unavailable(code) => FrontError::StatusUnavailable(code),
                    RegisterError::Library(error) => error.into(),
                },
            )?;
        let Some(standing) = said.standing else { return Ok(None) };
        if let Some((code, detail)) = self.rules.unfit(&standing, &question) {
            return Err(FrontError::StatusUnfit { code, detail });
        }
        let status = StatusAnswer::of_standing(&standing)?;
        let face = match standing.face {
            Some(face) => face,
            None => match self.store.entity(uscc).await? {
                Some(entity) => {
                    // Nor a face that is older, under the time of the standing.
                    let (code, as_of) = (entity.status, entity.status_as_of);
                    let held = Standing { code, flags: Vec::new(), as_of, until: None, face: None };
                    if let Some((code, detail)) = self.rules.unfit(&held, &question) {
                        return Err(FrontError::StatusUnfit { code, detail });
                    }
                    entity.face
                }
                None => return Ok(None),
            },
        };
        Ok(Some((FaceAnswer::granted(uscc, &face, granted, standing.as_of), status)))
    }

    /// Whether the library says now what was certified: the standing, and each of these face fields, of which names of
    /// persons may be masked. `None` where it knows nothing of the entity, or nothing that is newer than what was certified.
    ///
    /// # Errors
    /// The library cannot be read.
    pub async fn still_says(
        &self,
        uscc: &Uscc,
        (code, flags, as_of): (i64, &[String], OffsetDateTime),
        face: &Map<String, Value>,
    ) -> Result<Option<bool>, FrontError> {
        let Some(entity) = self.store.entity(uscc).await? else { return Ok(None) };
        // Certified may have been the national service's word, which the library has only later.
        if self.register.source() != StatusSource::Library && entity.status_as_of < as_of {
            return Ok(None);
        }
        let set = |flags: &[String]| flags.iter().cloned().collect::<BTreeSet<_>>();
        let same_standing = entity.status == code && set(&entity.flags) == set(flags);
        Ok(Some(same_standing && face::is_of(face, &entity.face)))
    }

    fn admit(&self, uscc: &Uscc) -> Result<(), FrontError> {
        if uscc.is_test() && !self.sandbox { Err(FrontError::TestIdentityInProduction) } else { Ok(()) }
    }

    async fn holder(&self, uscc: &Uscc, question: &StatusQuestion) -> Result<Holder, FrontError> {
        let said = self.register.ask(uscc, question.at, question.max_age, question.now).await;
        // What the library does not know it has no face of either.
        let has_face = said.as_ref().is_ok_and(|said| match &said.standing {
            Some(standing) => standing.face.is_some(),
            None => self.register.source() == StatusSource::Library,
        });
        let face = match has_face {
            true => None,
            false => self.store.entity(uscc).await?.map(|entity| entity.face),
        };
        let current = self.store.license_by_uscc(uscc).await?;
        Ok(Holder { source: self.register.source(), said, face, current })
    }
}
