//! Asking, deciding, carrying out: each step on record before the next one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use config::OwnName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Account, Approval, ApprovalState, AuditEntry, Decision, NewApproval, Room, StoreError, Terms};
use time::OffsetDateTime;
use tracing::Instrument;
use zeroize::Zeroizing;

use super::change::{Change, Mandate, Standing, View};
use crate::auth::{Authenticated, Scope, roles};
use crate::error::with_causes;
use crate::problem::{Fault, Problem};
use crate::state::Gateway;

/// Most changes that wait at a time.
const MOST_PENDING: usize = 1000;
/// So often an approved change is begun anew whose subject was touched in the meantime and looks the same.
const TRIES: usize = 5;
/// The code of a change whose subject is no longer as it was.
const STALE: &str = "approval_stale";
/// How often it is looked for changes whose time has passed, or whose gateway is no more.
const ROUND: Duration = Duration::from_secs(2);

/// The changes that this gateway is carrying out, or about to: by how many requests each.
#[derive(Default)]
pub(crate) struct Carrying(Mutex<HashMap<String, usize>>);

impl Carrying {
    fn contains(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id)
    }

    /// Notes one, until what is returned is dropped.
    fn note<'c>(&'c self, id: &'c str) -> Noted<'c> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_default() += 1;
        Noted(self, id)
    }
}

struct Noted<'c>(&'c Carrying, &'c str);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        let mut carried = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        match carried.get_mut(self.1) {
            Some(requests) if *requests > 1 => *requests -= 1,
            _ => drop(carried.remove(self.1)),
        }
    }
}

/// What is kept of a change that waits, sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) change: Change,
    /// How things stood when it was asked for.
    pub(super) before: View,
}

impl Content {
    pub(super) fn of(approval: &Approval) -> Result<Self, Problem> {
        serde_json::from_slice(&approval.content).map_err(|_| Problem::approval_unreadable())
    }

    /// What would be different, field by field: name, before, after.
    pub(super) fn difference(&self) -> Vec<(String, Value, Value)> {
        differing(&self.before, &self.change.after(&self.before))
    }

    /// What it rests on and leaves as it is.
    pub(super) fn context(&self) -> View {
        let after = self.change.after(&self.before);
        let stays = self.before.iter().filter(|(name, value)| after.get(*name) == Some(*value));
        stays.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// What is left of a content once its change has ended; nothing where it holds no secret.
fn without_secrets(content: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut content: Content = serde_json::from_slice(content).ok()?;
    if !content.change.forget_secrets() {
        return None;
    }
    serde_json::to_vec(&content).ok().map(Zeroizing::new)
}

fn differing(one: &View, other: &View) -> Vec<(String, Value, Value)> {
    let mut names: Vec<_> = one.keys().chain(other.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let of = |view: &View, name: &str| view.get(name).cloned().unwrap_or_default();
    let fields = names.into_iter().map(|name| (name.clone(), of(one, name), of(other, name)));
    fields.filter(|(_, one, other)| one != other).collect()
}

/// Has a change wait for a second person.
///
/// # Errors
/// What it is to be made of is there already, or too many wait, or it cannot be kept.
pub(super) async fn ask(
    gateway: &Gateway,
    caller: &Authenticated,
    change: Change,
    reason: &str,
) -> Result<(Approval, Content, u64), Problem> {
    let before = change.view(gateway).await?.view;
    let there = before.get("exists").and_then(Value::as_bool).unwrap_or(false);
    if there == change.creates() {
        return Err(change.out_of_place());
    }
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|error| Problem::no_random(&error))?;
    let id = hex::encode(id);
    let content = Content { change, before };
    let octets = serde_json::to_vec(&content).map_err(|_| Problem::approval_unreadable())?;
    let octets = Zeroizing::new(octets);
    let (at, actor) = (OffsetDateTime::now_utc(), caller.actor());
    let subject = content.change.subject();
    let new = NewApproval {
        id: &id,
        action: content.change.action(),
        subject: &subject,
        content: &octets,
        reason,
        asked_by: &actor,
        expires_at: at + gateway.config.administration.approval_lifetime,
    };
    let terms = Terms::from(at).within(Room::of(MOST_PENDING));
    let line = Line { id: &id, action: new.action, subject: &subject, actor: &actor, said: reason };
    line.record(gateway, "approval.ask", "intended").await?;
    let asked =
        gateway.store.ask_approval(&new, terms).await.map_err(|error| Problem::from_approvals(&error));
    let outcome = asked.as_ref().map_or_else(Problem::code, |()| "ok");
    let audit_index = line.record(gateway, "approval.ask", outcome).await?;
    asked?;
    let approval = gateway.store.approval(&id).await.map_err(|error| Problem::from_approvals(&error))?;
    Ok((approval, content, audit_index))
}

/// Whether it is about people, asked for at the admin socket, and there is nobody yet who could approve it: then it is
/// made by one, or nobody ever could. An account that was altered in the database counts as somebody who could, so that
/// spoiling a row is no way to be alone.
///
/// # Errors
/// The database does not say who there is.
pub(super) async fn is_first_of_people(
    gateway: &Gateway,
    caller: &Authenticated,
    change: &Change,
) -> Result<bool, Problem> {
    if !change.is_about_people() || !caller.is_local_user() {
        return Ok(false);
    }
    let refused = |error| Problem::from_accounts(&error);
    let accounts = gateway.store.accounts().await.map_err(refused)?;
    let all_sound = gateway.store.count_accounts().await.map_err(refused)? == accounts.len();
    // In any state: else whoever disables all of them would be alone again.
    let could = |account: &Account| roles::granted(&account.roles).contains(&Scope::Approvals);
    let alone = all_sound && !accounts.iter().any(could);
    if alone {
        let (action, subject) = (change.action(), change.subject());
        tracing::warn!(action, subject, "nobody could approve this yet: it is made by one person");
    }
    Ok(alone)
}

/// Whether this caller may decide about a change: a person who has the scope, and did not ask for it.
fn may_decide(caller: &Authenticated, approval: &Approval) -> Result<(), Problem> {
    caller.with(Scope::Approvals)?;
    match caller.person() {
        None => Err(Problem::person_required()),
        Some(person) if person.actor() == approval.asked_by => Err(Problem::own_approval()),
        // Nor what somebody else asked for one's own account.
        Some(person)
            if approval.action.starts_with("account.")
                && approval.subject == person.account.name.as_str() =>
        {
            Err(Problem::own_account())
        }
        Some(_) => Ok(()),
    }
}

/// The scope that asking for a change takes.
fn asks(approval: &Approval) -> Scope {
    match approval.action.split_once('.') {
        Some(("account", _)) => Scope::Accounts,
        Some(("policy", _)) => Scope::Policies,
        Some(("seal" | "mandate" | "stamp_template", _)) => Scope::Seals,
        _ => Scope::Apps,
    }
}

/// Approves a change and carries it out, whether or not the caller waits for it.
///
/// # Errors
/// It is not this caller's to approve, or it was decided, or things stand otherwise than when it was asked for.
pub(super) async fn approve(
    gateway: &Gateway,
    caller: &Authenticated,
    id: &str,
    reason: String,
) -> Result<Approval, Problem> {
    let found = gateway.store.approval(id).await.map_err(|error| Problem::from_approvals(&error))?;
    may_decide(caller, &found)?;
    let (gateway, actor) = (gateway.clone(), caller.actor());
    // In a task of its own: a caller that hangs up leaves no approved change undone.
    let work = async move { approve_now(&gateway, &found, &actor, &reason).await };
    tokio::spawn(crate::request_id::carried(work).in_current_span()).await.map_err(|_| Problem::panicked())?
}

async fn approve_now(
    gateway: &Gateway,
    found: &Approval,
    actor: &str,
    reason: &str,
) -> Result<Approval, Problem> {
    if found.state != ApprovalState::Pending {
        return Err(Problem::approval_not_pending(found.state.as_str()));
    }
    let content = Content::of(found)?;
    let now = content.change.view(gateway).await?.view;
    let changed = differing(&content.before, &now);
    if !changed.is_empty() {
        let faults = changed
            .iter()
            .map(|(name, ..)| Fault::new(name, STALE, "is another than when the change was asked for"));
        let stale = Problem::approval_stale(faults.collect());
        let failed =
            Decision { state: ApprovalState::Failed, by: actor, reason, outcome: Some(stale.code()) };
        decide(gateway, found, "approval.approve", failed).await?;
        return Err(stale);
    }
    // Before the decision: from then on whoever finds it that nobody carries out takes it over.
    let _noted = gateway.callers.approvals.note(&found.id);
    let approved = Decision { state: ApprovalState::Approved, by: actor, reason, outcome: None };
    let approval = decide(gateway, found, "approval.approve", approved).await?;
    bring_to_end(gateway, &approval, &content, true).await
}

/// Rejects a change.
///
/// # Errors
/// It is not this caller's to reject, or it was decided.
pub(super) async fn reject(
    gateway: &Gateway,
    caller: &Authenticated,
    id: &str,
    reason: &str,
) -> Result<Approval, Problem> {
    let found = gateway.store.approval(id).await.map_err(|error| Problem::from_approvals(&error))?;
    may_decide(caller, &found)?;
    let actor = caller.actor();
    let decision = Decision { state: ApprovalState::Rejected, by: &actor, reason, outcome: None };
    decide(gateway, &found, "approval.reject", decision).await
}

/// Takes back what the caller asked for.
///
/// # Errors
/// Somebody else asked for it, or the caller may no longer ask for such changes nor decide about them, or it was
/// decided.
pub(super) async fn withdraw(
    gateway: &Gateway,
    caller: &Authenticated,
    id: &str,
    reason: &str,
) -> Result<Approval, Problem> {
    let found = gateway.store.approval(id).await.map_err(|error| Problem::from_approvals(&error))?;
    let actor = caller.actor();
    if actor != found.asked_by {
        return Err(Problem::not_own_approval());
    }
    // Whose right to ask was taken away has no say in it any more, unless by the right to decide.
    if let Err(missing) = caller.using(asks(&found), gateway) {
        caller.using(Scope::Approvals, gateway).map_err(|_| missing)?;
    }
    let decision = Decision { state: ApprovalState::Withdrawn, by: &actor, reason, outcome: None };
    decide(gateway, &found, "approval.withdraw", decision).await
}

/// Puts a decision on record as intended, makes it, and puts on record what came of it: of two that come at the same
/// time one is made.
async fn decide(
    gateway: &Gateway,
    found: &Approval,
    action: &str,
    decision: Decision<'_>,
) -> Result<Approval, Problem> {
    let line = Line::of(found, decision.by, decision.reason);
    line.record(gateway, action, "intended").await?;
    let decided =
        gateway.store.decide_approval(&found.id, decision, OffsetDateTime::now_utc(), without_secrets).await;
    let decided = decided.map_err(|error| Problem::from_approvals(&error));
    let outcome = match &decided {
        Ok(_) => decision.outcome.unwrap_or("ok"),
        Err(problem) => problem.code(),
    };
    line.record(gateway, action, outcome).await?;
    decided
}

/// Carries an approved change out, unless that was done before this gateway took it over, and says what came of it.
async fn bring_to_end(
    gateway: &Gateway,
    approval: &Approval,
    content: &Content,
    fresh: bool,
) -> Result<Approval, Problem> {
    let (by, decided_at, said) = match &approval.decided {
        Some((by, at, said)) => (by.as_str(), *at, said.as_str()),
        None => return Err(Problem::approval_unreadable()), // an approved one was decided
    };
    let outcome = carry_out(gateway, approval, content, (by, decided_at), fresh).await?;
    finish(gateway, approval, (by, said), outcome).await
}

/// Carries it out where things stand as they did when it was asked for, and answers what came of it. They are looked at
/// now, after the decision, and what changes in the moment from here to the change is seen by the change itself, in its
/// transaction.
async fn carry_out(
    gateway: &Gateway,
    approval: &Approval,
    content: &Content,
    (by, decided_at): (&str, OffsetDateTime),
    fresh: bool,
) -> Result<&'static str, Problem> {
    let Content { change, before } = content;
    let mut tries = 1;
    loop {
        let now = change.view(gateway).await?;
        if let Some(outcome) = already(change, before, &now, decided_at, fresh) {
            return Ok(outcome);
        }
        let mandate = Mandate {
            actor: approval.asked_by.clone(),
            reason: format!("{} [approval {}, by {by}]", approval.reason, approval.id),
            request_id: crate::request_id::current(),
            since: now.revision,
        };
        match change.carry_out(gateway, before, mandate).await {
            Ok(()) => return Ok("ok"),
            // Nobody knows what came of it: it is looked at again soon.
            Err(problem) if problem.may_pass() => return Err(problem),
            Err(problem) if problem.code() == STALE && tries < TRIES => tries += 1,
            Err(problem) => return Ok(problem.code()),
        }
    }
}

/// The outcome of an approved change that is not to be carried out now; none of one that is.
fn already(
    change: &Change,
    before: &View,
    now: &Standing,
    decided_at: OffsetDateTime,
    fresh: bool,
) -> Option<&'static str> {
    let same = differing(before, &now.view).is_empty();
    if fresh {
        return (!same).then_some(STALE);
    }
    if change.is_made(before, &now.view) {
        return Some("ok"); // made and not said
    }
    // Of one that was begun elsewhere nobody knows what happened. One that ended long ago and was put back in the database
    // with its old code looks as if it had been begun, where its subject has become again what it was: by a later change.
    let touched = now.changed_at.is_some_and(|at| at > decided_at);
    (!same || touched).then_some("approval_unresolved")
}

/// Says what came of an approved change. The record first: lost in between, it is written twice and not never.
async fn finish(
    gateway: &Gateway,
    approval: &Approval,
    (by, said): (&str, &str),
    outcome: &str,
) -> Result<Approval, Problem> {
    Line::of(approval, by, said).record(gateway, "approval.outcome", outcome).await?;
    let finished = gateway
        .store
        .finish_approval(&approval.id, outcome, OffsetDateTime::now_utc(), without_secrets)
        .await;
    finished.map_err(|error| Problem::from_approvals(&error))
}

/// Ends changes that nobody decided about in time, and brings to their end those whose gateway was lost after they were
/// approved. Runs until it is dropped.
pub(crate) async fn watch(gateway: Gateway) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if !gateway.store.protection().is_unlocked() {
            continue; // none can be read, and none was ever asked for without a data key
        }
        if let Err(error) = round(&gateway).await {
            tracing::warn!(error = %with_causes(&error), "changes that wait for approval could not be looked at");
        }
    }
}

async fn round(gateway: &Gateway) -> Result<(), StoreError> {
    let now = OffsetDateTime::now_utc();
    for approval in gateway.store.expire_approvals(now, without_secrets).await? {
        let line = Line::of(&approval, OwnName::Gateway.as_str(), "nobody decided in time");
        if let Err(problem) = line.record(gateway, "approval.expire", "ok").await {
            tracing::error!(
                id = approval.id,
                code = problem.code(),
                "that an approval expired is not on record"
            );
        }
    }
    let carrying = &gateway.callers.approvals;
    for approval in gateway.store.take_over_approvals(now, |id| carrying.contains(id)).await? {
        let _noted = carrying.note(&approval.id);
        tracing::warn!(
            id = approval.id,
            action = approval.action,
            "an approved change was interrupted; it is looked at"
        );
        let request_id = format!("{:032x}", fastrand::u128(..));
        let ended = async {
            match Content::of(&approval) {
                Ok(content) => bring_to_end(gateway, &approval, &content, false).await,
                Err(problem) => {
                    finish(
                        gateway,
                        &approval,
                        (OwnName::Gateway.as_str(), "it cannot be read"),
                        problem.code(),
                    )
                    .await
                }
            }
        };
        if let Err(problem) = crate::request_id::scope(request_id, Default::default(), ended).await {
            tracing::error!(
                id = approval.id,
                code = problem.code(),
                "an approved change was not brought to its end"
            );
        }
    }
    Ok(())
}

/// What the audit log says of every step.
struct Line<'a> {
    id: &'a str,
    action: &'a str,
    subject: &'a str,
    actor: &'a str,
    said: &'a str,
}

impl<'a> Line<'a> {
    fn of(approval: &'a Approval, actor: &'a str, said: &'a str) -> Self {
        let Approval { id, action, subject, .. } = approval;
        Self { id, action, subject, actor, said }
    }

    async fn record(&self, gateway: &Gateway, action: &str, outcome: &str) -> Result<u64, Problem> {
        let entry = AuditEntry {
            action: action.to_owned(),
            actor: self.actor.to_owned(),
            at: OffsetDateTime::now_utc(),
            device: None,
            input_digest: None,
            key: None,
            outcome: outcome.to_owned(),
            request_id: crate::request_id::current(),
            result_digest: None,
            subject: Some(format!("{}: {} {}: {}", self.id, self.action, self.subject, self.said)),
        };
        gateway.audit.append(entry).await.map_err(|error| Problem::record_unavailable(&error))
    }
}

#[cfg(test)]
mod tests {
    use config::AppId;
    use serde_json::json;
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    const DECIDED: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);

    fn view(state: &str) -> View {
        View::from_iter([("exists".to_owned(), json!(true)), ("state".to_owned(), json!(state))])
    }

    #[test]
    fn an_approved_change_that_is_taken_over_is_made_only_where_nothing_has_happened_since() {
        let change = Change::EnableApp { app: AppId::parse("window").unwrap() };
        let found = |state: &str, later: i64, fresh: bool| {
            let changed_at = Some(DECIDED + Duration::seconds(later));
            let now = Standing { view: view(state), revision: Some(1), changed_at };
            already(&change, &view("disabled"), &now, DECIDED, fresh)
        };
        assert_eq!(found("disabled", -60, true), None);
        assert_eq!(found("locked", 0, true), Some(STALE));
        assert_eq!(found("disabled", -60, false), None, "not made yet");
        assert_eq!(found("enabled", 1, false), Some("ok"), "made and not said");
        assert_eq!(found("locked", 1, false), Some("approval_unresolved"));
        // Made, and disabled again: a row from before that is no reason to make it twice.
        assert_eq!(found("disabled", 1, false), Some("approval_unresolved"));
    }

    #[test]
    fn what_has_ended_keeps_no_secret_and_shows_the_same_difference() {
        let webhook = store::NewWebhook {
            id: "wh_1".to_owned(),
            url: "https://window.example/notices".to_owned(),
            secret: config::Secret::new(b"thirty-two octets of a secret ...".to_vec()),
        };
        let change = Change::webhook(&AppId::parse("window").unwrap(), &webhook);
        let content = serde_json::to_vec(&Content { change, before: view("enabled") }).unwrap();
        let has_secret = |octets: &[u8]| {
            octets.windows(12).any(|window| window == b"dGhpcnR5LXR3") // as base64 begins
        };
        assert!(has_secret(&content));
        let left = without_secrets(&content).unwrap();
        assert!(!has_secret(&left));
        let difference = |octets: &[u8]| serde_json::from_slice::<Content>(octets).unwrap().difference();
        assert_eq!(difference(&left), difference(&content));
        assert!(without_secrets(&left).is_none(), "there is none any more");
    }
}
