//! Whether an app's policy lets its orders through. Memory decides; only a day's count may have to ask the database,
//! and does so for many signatures at a time.

use std::collections::HashMap;
use std::sync::Arc;

use config::AppId;
use signing::{Decision, Limit, OrderFacts, SigningPolicy, SigningRule};
use store::{App, PolicyVersion, StoreError};
use time::{OffsetDateTime, UtcOffset};

use super::counts::{Counted, DayCounts};
use crate::auth::Callers;
use crate::problem::{Fault, Problem};
use crate::state::Gateway;

/// What holds for an app.
pub(crate) enum KnownPolicy {
    /// Nothing of its own.
    None,
    /// These rules.
    InForce(HeldPolicy),
    /// Rules that cannot be read, or were altered.
    Unusable,
}

/// A version of a policy, read for use.
pub(crate) struct HeldPolicy {
    pub(crate) version: PolicyVersion,
    pub(crate) policy: SigningPolicy,
}

/// Orders that may be carried out, and what they took of their rules' day.
pub(crate) struct Admission {
    callers: Arc<Callers>,
    /// For each order what it counts for.
    counted: Vec<Option<Counted>>,
}

impl Admission {
    /// The order at this place came to no signature.
    pub(crate) fn not_signed(&self, place: usize) {
        if let Some(Some(counted)) = self.counted.get(place) {
            self.callers.counts.give_back(counted, 1);
        }
    }
}

/// The day of the site's time, counted from 1970-01-01.
pub(crate) fn day(at: OffsetDateTime, offset: UtcOffset) -> i64 {
    (at.unix_timestamp() + i64::from(offset.whole_seconds())).div_euclid(86_400)
}

/// Lets one order through, or says why not.
///
/// # Errors
/// 403 with the code of the first limit that is not kept; what cannot be decided now is a 503.
pub(crate) async fn admit(gateway: &Gateway, app: &App, order: OrderFacts) -> Result<Admission, Problem> {
    let (admission, mut problems) = admit_each(gateway, app, &[Some(order)]).await?;
    match problems.pop().flatten() {
        Some(problem) => Err(problem),
        None => Ok(admission),
    }
}

/// What was taken for a request and is not yet any order's. It goes back when nobody is there any more to use it.
struct Granted<'g> {
    counts: &'g DayCounts,
    left: HashMap<Counted, u64>,
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        for (of, left) in self.left.drain().filter(|(_, left)| *left > 0) {
            self.counts.give_back(&of, left);
        }
    }
}

/// Lets each order through that the policy permits, the first ones as long as a day's count lasts; says for each of the
/// others why not. An order that is none is passed over.
///
/// # Errors
/// Nothing can be decided now.
pub(crate) async fn admit_each(
    gateway: &Gateway,
    app: &App,
    orders: &[Option<OrderFacts>],
) -> Result<(Admission, Vec<Option<Problem>>), Problem> {
    let database = |error: StoreError| Problem::database(&error);
    let register = gateway.callers.apps.register().await.map_err(database)?;
    let none = SigningPolicy::default();
    let (policy, version) = match register.app(&app.id).map(|known| &known.policy) {
        Some(KnownPolicy::None) => (&none, None),
        Some(KnownPolicy::InForce(held)) => (&held.policy, Some(held.version.version)),
        // An app that is gone from the register was altered since it proved itself.
        Some(KnownPolicy::Unusable) | None => {
            return Err(database(StoreError::Altered { what: "policy", id: app.id.to_string() }));
        }
    };
    let (at, offset) = (OffsetDateTime::now_utc(), gateway.config.site.utc_offset);
    let (local, today) = (at.to_offset(offset), day(at, offset));
    let permits_unruled = gateway.config.policy.permits_unruled;
    let mut problems: Vec<Option<Problem>> = Vec::with_capacity(orders.len());
    let mut counted: Vec<Option<Counted>> = Vec::with_capacity(orders.len());
    let mut wanted: HashMap<Counted, u64> = HashMap::new();
    for order in orders {
        let decision = order.as_ref().map(|order| policy.evaluate(order, local, permits_unruled));
        let (problem, counts) = match decision {
            None | Some(Decision::Permitted(None)) => (None, None),
            Some(Decision::Permitted(Some(rule))) => (None, counts(&app.id, rule, today)),
            Some(Decision::Refused(rule, limits)) => {
                (Some(Problem::policy_refused(&app.id, version, rule, &limits)), None)
            }
        };
        if let Some(counts) = &counts {
            *wanted.entry(counts.clone()).or_default() += 1;
        }
        problems.push(problem);
        counted.push(counts);
    }
    let mut granted = Granted { counts: &gateway.callers.counts, left: HashMap::new() };
    for (of, wanted) in wanted {
        let taken = granted.counts.take(&of, wanted).await.map_err(database)?;
        granted.left.insert(of, taken);
    }
    for (problem, counts) in problems.iter_mut().zip(&mut counted) {
        let Some(of) = counts else { continue };
        match granted.left.get_mut(of) {
            Some(left) if *left > 0 => *left -= 1,
            _ => {
                let rule = policy.rules().iter().find(|rule| rule.name == of.rule);
                *problem = Some(Problem::policy_refused(&app.id, version, rule, &[Limit::Count]));
                *counts = None;
            }
        }
    }
    Ok((Admission { callers: Arc::clone(&gateway.callers), counted }, problems))
}

/// What an order by this rule counts for.
pub(super) fn counts(app: &AppId, rule: &SigningRule, day: i64) -> Option<Counted> {
    rule.per_day.map(|limit| Counted { app: app.clone(), rule: rule.name.clone(), day, limit })
}

/// What is said of a limit that is not kept: the field that it is about, if it is about one.
pub(crate) fn fault(limit: Limit, rule: Option<&SigningRule>) -> Fault {
    let (field, detail) = match limit {
        Limit::NoRule => {
            ("key", "no rule speaks of this key, and the site refuses what no rule speaks of".to_owned())
        }
        Limit::Validity => ("(time)", "the rule is not in force at this time".to_owned()),
        Limit::Time => ("(time)", "the rule permits it at other times of the day or week".to_owned()),
        Limit::Algorithm => ("algorithm", "the rule permits other algorithms".to_owned()),
        Limit::Format => ("format", "the rule permits the other format".to_owned()),
        Limit::Detached => {
            let wanted = rule.and_then(|rule| rule.detached) == Some(true);
            (
                "detached",
                if wanted {
                    "the rule wants the content left out"
                } else {
                    "the rule wants the content in it"
                }
                .to_owned(),
            )
        }
        Limit::Input => ("input", "the rule permits the other kind of input".to_owned()),
        Limit::Size => {
            let most = rule.and_then(|rule| rule.max_octets).unwrap_or_default();
            ("input", format!("the rule permits {most} octets at most"))
        }
        Limit::Count => {
            let most = rule.and_then(|rule| rule.per_day).unwrap_or_default();
            ("(count)", format!("the rule's {most} signatures of this day are used up"))
        }
    };
    Fault::new(field, limit.code(), detail)
}
