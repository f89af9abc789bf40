//! The signatures of a stamp, planned: who makes each, and what the document gets for it. Everything about all of them is decided
//! before the first is made.

use std::sync::Arc;

use bytes::Bytes;
use formats::cms::Family;
use signing::{
    Asker, FurtherSignature, Level, LevelDesk, LicenseSigner, OrderFacts, SignatureOrder, SigningError,
    StampSigner, StampSubject,
};
use store::{App, RecordedStamp, RegisteredSeal};
use time::OffsetDateTime;
use verify_front::StampTerms;

use super::form::{Ordered, Setting, StampRequest};
use super::make::sources;
use super::signer::Signer;
use crate::policies::{self, Admission};
use crate::problem::{Fault, Problem};
use crate::state::Gateway;

/// As many faults are told of all signers together.
const MOST_FAULTS: usize = 64;

/// What all signatures of a stamp share.
pub(super) struct Common {
    /// The stamp's number.
    pub(super) id: String,
    /// Its check code, as people read it.
    pub(super) check_code: String,
    /// The address of its check page, where people reach one.
    pub(super) page: Option<String>,
    /// The time of the order.
    pub(super) at: OffsetDateTime,
}

/// A signature that is to be made.
pub(super) struct Planned {
    request: StampRequest,
    signer: Signer,
    seal: Option<RegisteredSeal>,
    /// Its place in the list, if there is one.
    place: Option<usize>,
}

/// A signature for which everything is there.
pub(super) struct Ready {
    planned: Planned,
    family: Family,
    pub(super) level: Level,
    sources: Option<LevelDesk>,
}

/// Whether an app may have signed what it orders, as far as that is known without the document.
///
/// # Errors
/// It may not, or the order does not say who signs.
pub(crate) async fn permitted(gateway: &Gateway, app: &App, request: StampRequest) -> Result<(), Problem> {
    let is_list = request.is_list();
    for (place, order) in request.orders()?.into_iter().enumerate() {
        order.signer(gateway, app).await.map_err(|problem| at(problem, is_list.then_some(place)))?;
    }
    Ok(())
}

/// Who signs, and which registered seals they set; whether the app may have it so is decided here.
pub(super) async fn planned(
    gateway: &Gateway,
    app: &App,
    request: StampRequest,
    now: OffsetDateTime,
) -> Result<Vec<Planned>, Problem> {
    let is_list = request.is_list();
    let mut all = Vec::new();
    for (place, request) in request.orders()?.into_iter().enumerate() {
        let place = is_list.then_some(place);
        let signer = request.signer(gateway, app).await.map_err(|problem| at(problem, place))?;
        if place.is_some() && signer.co_signed.is_some() {
            let detail = "who has signed on a phone has signed the document as it came, and signs alone";
            let fault = Fault::new("signer.session", "not_applicable", detail);
            return Err(at(Problem::faults(vec![fault]), place));
        }
        let seal = match &request.seal {
            Some(number) => {
                Some(signer.seal(gateway, number, now).await.map_err(|problem| at(problem, place))?)
            }
            None => None,
        };
        all.push(Planned { request, signer, seal, place });
    }
    Ok(all)
}

/// What the first signature is made of, and everything else that can be known of all of them. Several are rehearsed: each is
/// prepared in the document as the earlier ones would leave it, so that what forbids one is found before a key is used.
pub(super) fn prepared(
    gateway: &Gateway,
    asker: &Asker,
    mut all: Vec<Planned>,
    common: &Common,
) -> Result<(StampSubject, Vec<Ready>), Problem> {
    let has_several = all.len() > 1;
    let mut faults = Vec::new();
    if has_several {
        let document = all[0].request.detached()?;
        for planned in &mut all {
            if let Some(document) = &document {
                planned.request.set_document(document.clone());
            }
            match planned.ordered(common) {
                Ok(_) => {}
                Err(problem) if problem.is_unavailable() => return Err(problem),
                Err(problem) => faults.extend(problem.into_faults()),
            }
        }
    }
    let mut told: Vec<Fault> = Vec::new();
    for fault in faults {
        // What is wrong with the document is so for all of them.
        if told.len() < MOST_FAULTS && !told.contains(&fault) {
            told.push(fault);
        }
    }
    if !told.is_empty() {
        return Err(Problem::faults(told));
    }
    let (last, mut first, mut ready) = (all.len().saturating_sub(1), None, Vec::with_capacity(all.len()));
    let mut left: Option<Bytes> = None;
    for (n, mut planned) in all.into_iter().enumerate() {
        let place = planned.place;
        if let Some(left) = left.take() {
            planned.request.set_document(left);
        }
        let ordered = planned.ordered(common)?;
        let (family, level) = (ordered.family, ordered.level);
        let of_signer = |problem| at(problem, place);
        let sources = sources(gateway, asker.clone(), level).map_err(of_signer)?;
        if let Some(sources) = sources.as_ref().filter(|_| level > Level::T) {
            let expected = sources.expect(&planned.signer.chain, common.at);
            expected.map_err(|error| of_signer(error.into()))?;
        }
        planned.request.forget_document();
        let subject = ordered.prepared().map_err(of_signer)?;
        if let Some(signed) = &planned.signer.co_signed {
            signed.is_of(&subject)?;
        }
        if n < last {
            let rehearsal = match n {
                0 => first.insert(subject).clone(),
                _ => subject,
            };
            left = Some(rehearsal.rehearsed(level).map_err(|error| of_signer(error.into()))?);
        } else if n == 0 {
            first = Some(subject);
        }
        ready.push(Ready { planned, family, level, sources });
    }
    Ok((first.ok_or_else(Problem::panicked)?, ready))
}

/// Whether each may sign so many octets, sets a seal that is still in force, and does what the app's policy lets through.
pub(super) async fn admitted(
    gateway: &Gateway,
    app: &App,
    all: &[Ready],
    facts: impl Fn(&Signer) -> OrderFacts,
) -> Result<Admission, Problem> {
    for Ready { planned, .. } in all {
        let of_signer = |problem| at(problem, planned.place);
        let facts = facts(&planned.signer);
        planned.signer.may_sign(facts.octets).map_err(of_signer)?;
        if let Some(number) = &planned.request.seal {
            // Preparing took its time, and somebody may have taken the seal out of use meanwhile.
            let seal = planned.signer.seal(gateway, number, OffsetDateTime::now_utc()).await;
            seal.map_err(of_signer)?;
        }
    }
    // What a key of the site may sign policies say; a license's has signed.
    let of_site = |ready: &&Ready| ready.planned.signer.co_signed.is_none();
    let orders: Vec<_> = all
        .iter()
        .map(|ready| Some(ready).filter(of_site).map(|ready| facts(&ready.planned.signer)))
        .collect();
    let (admission, problems) = policies::admit_each(gateway, app, &orders).await?;
    let refused = problems
        .into_iter()
        .zip(all)
        .find_map(|(problem, ready)| problem.map(|problem| at(problem, ready.planned.place)));
    match refused {
        None => Ok(admission),
        Some(problem) => {
            // What was counted for the others goes back.
            (0..all.len()).for_each(|place| admission.not_signed(place));
            Err(problem)
        }
    }
}

impl Planned {
    /// The stamp that was foreseen when somebody signed it.
    pub(super) fn foreseen(&self) -> Option<&StampTerms> {
        self.signer.co_signed.as_ref()?.stamp.as_ref()
    }

    /// The stamp, if this is the order for one that was made of a session's signature before.
    pub(super) fn made(&self) -> Option<&RecordedStamp> {
        self.signer.co_signed.as_ref()?.made.as_deref()
    }

    fn ordered(&self, common: &Common) -> Result<Ordered, Problem> {
        let setting = Setting {
            algorithm: self.signer.algorithm,
            at: common.at,
            id: &common.id,
            check_code: &common.check_code,
            check_page: common.page.as_deref(),
            seal: self.seal.as_ref(),
            is_template: false,
        };
        self.request.check(&setting).map_err(|problem| at(problem, self.place))
    }
}

impl Ready {
    pub(super) fn signer(&self) -> &Signer {
        &self.planned.signer
    }

    /// As [`Planned::made`].
    pub(super) fn made(&self) -> Option<&RecordedStamp> {
        self.planned.made()
    }

    /// What a license's key signed, and in which form it goes in.
    pub(super) fn co_signer(&self) -> Option<(&LicenseSigner, Family)> {
        match &self.planned.signer.by {
            StampSigner::License(signer) => Some((signer, self.family)),
            StampSigner::Key(_) | StampSigner::Mandate(_) => None,
        }
    }

    pub(super) fn is_mandated(&self) -> bool {
        matches!(self.planned.signer.by, StampSigner::Mandate(_))
    }

    /// The order for the signature, as the first of its stamp.
    pub(super) fn first(self) -> SignatureOrder {
        self.split().0
    }

    /// The order for the signature, after others.
    pub(super) fn further(self, common: Arc<Common>) -> FurtherSignature {
        let (order, mut planned) = self.split();
        let prepare = move |document| {
            planned.request.set_document(document);
            planned.ordered(&common).and_then(Ordered::prepared).map_err(|problem| {
                // It was rehearsed; what validation data add was not.
                let n = planned.place.unwrap_or_default();
                tracing::warn!(
                    signer = n,
                    code = problem.code(),
                    "a further signature could not be prepared"
                );
                SigningError::Stamp("takes no further signature after those that were made")
            })
        };
        FurtherSignature { order, prepare: Box::new(prepare) }
    }

    fn split(self) -> (SignatureOrder, Planned) {
        let Self { planned, family, level, sources } = self;
        let (signer, algorithm) = (planned.signer.by.clone(), planned.signer.algorithm);
        (SignatureOrder { signer, algorithm, family, level, sources }, planned)
    }
}

/// A problem with the signer at this place of a list; with the order's own if there is none.
fn at(problem: Problem, place: Option<usize>) -> Problem {
    match place {
        Some(place) => problem.of_signer(place),
        None => problem,
    }
}
