//! `/v1/admin/policies`: what apps may sign with which key, and what that means for an order.

mod act;
mod counts;
mod decide;
mod form;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use config::{AppId, KeyId};
use formats::Algorithm;
use serde::{Deserialize, Serialize};
use signing::{Decision, InputKind, Limit, OrderFacts, SignedForm, SigningPolicy};
use store::PolicyVersion;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::approvals::{self, ApprovalAsked, Change};
use crate::auth::register::KnownApp;
use crate::auth::{Authenticated, Scope};
use crate::body::{Faults, JsonBody, Object, Segment};
use crate::input::{algorithm, reason};
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::signatures::permit;
use crate::state::Gateway;
pub(crate) use act::{PolicyOrder, carry_out};
pub(crate) use counts::DayCounts;
pub(crate) use decide::{Admission, HeldPolicy, KnownPolicy, admit, admit_each, day, fault};
pub(crate) use form::stored;
use form::{RuleBody, check_keys, read, text};

/// What an app may sign.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyResponse {
    /// The app.
    #[schema(value_type = String)]
    app: AppId,
    /// `in_force`; `none`: the site's default holds; `unusable`: it was altered outside the gateway or cannot be read, and
    /// the app can sign nothing.
    state: &'static str,
    /// 0 where there is none.
    version: u32,
    /// Empty where there are none: the site's default holds.
    rules: Vec<RuleBody>,
    /// Why it was set.
    reason: Option<String>,
    /// By whom.
    actor: Option<String>,
    /// When.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    at: Option<OffsetDateTime>,
}

/// Apps' policies.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicyList {
    /// Of those that have one, by app; or of one app the versions, the newest first.
    items: Vec<PolicyResponse>,
    /// Always null.
    next: Option<String>,
}

/// Rules that are to hold for an app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyRequest {
    /// All of them: none, and the site's default holds.
    #[schema(value_type = Vec<RuleBody>)]
    rules: Vec<Object<RuleBody>>,
    /// The version that they replace, 0 for none: refused if another one is in force by then.
    replaces: Option<u32>,
    /// For the record: 1 to 500 characters.
    reason: String,
}

/// A policy that was set.
#[derive(Serialize, ToSchema)]
pub(crate) struct PolicySet {
    #[serde(flatten)]
    policy: PolicyResponse,
    /// Where it stands in the audit log.
    audit_index: u64,
    /// The request's id.
    request_id: String,
}

/// An order that nobody gives: what would be said to it?
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvaluationRequest {
    /// Whose.
    app: String,
    /// With which key.
    key: String,
    /// How.
    algorithm: String,
    /// `raw` (default) or `cms`.
    format: Option<String>,
    /// With `cms`: the content is left out. Default false.
    detached: Option<bool>,
    /// `digest` (default) or `data`.
    input: Option<String>,
    /// Octets of the input: 32 of a digest.
    octets: Option<u64>,
    /// At which time, RFC 3339; without it, now.
    at: Option<String>,
    /// By these rules in the place of those in force.
    #[schema(value_type = Option<Vec<RuleBody>>)]
    rules: Option<Vec<Object<RuleBody>>>,
}

/// What would be said to an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Evaluation {
    /// `permit` or `refuse`.
    decision: &'static str,
    /// What decided: `keys` (the app may not use the key at all), `rule`, or `default` where no rule speaks of the key.
    by: &'static str,
    /// The rule that spoke.
    rule: Option<String>,
    /// The policy's version; null where there is none, or for rules that were only asked about.
    version: Option<u32>,
    /// Every limit that is not kept; a refusal has the code of the first one.
    errors: Vec<Fault>,
    /// The rule's limit for a day.
    per_day: Option<u64>,
    /// How much of it is used on that day, or held by gateways for later.
    used: Option<u64>,
    /// The time in the site's own.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    local_time: OffsetDateTime,
    /// The request's id.
    request_id: String,
}

/// What apps may sign that have a policy.
#[utoipa::path(
    get, path = "/v1/admin/policies", tag = "administration",
    responses((status = 200, description = "of every app that has one", body = PolicyList))
)]
pub(crate) async fn list_policies(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<PolicyList>, Problem> {
    caller.with(Scope::Policies)?;
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let with_policy = register.apps().into_iter().filter(|known| !matches!(known.policy, KnownPolicy::None));
    Ok(Json(PolicyList { items: with_policy.map(|known| PolicyResponse::of(known)).collect(), next: None }))
}

/// What an app may sign.
#[utoipa::path(
    get, path = "/v1/admin/policies/{app}", tag = "administration",
    params(("app" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "its policy", body = PolicyResponse),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_policy(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<PolicyResponse>, Problem> {
    caller.with(Scope::Policies)?;
    Ok(Json(PolicyResponse::of(&*known(&gateway, &id).await?)))
}

/// Every version that an app's policy had.
#[utoipa::path(
    get, path = "/v1/admin/policies/{app}/history", tag = "administration",
    params(("app" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "the newest first", body = PolicyList),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_policy_history(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
) -> Result<Json<PolicyList>, Problem> {
    caller.with(Scope::Policies)?;
    let known = known(&gateway, &id).await?;
    let in_force = match &known.policy {
        KnownPolicy::InForce(held) => Some(held.version.version),
        KnownPolicy::None | KnownPolicy::Unusable => None,
    };
    let versions = gateway.store.policy_versions(&known.app.id).await;
    let versions = versions.map_err(|error| Problem::database(&error))?;
    let items = versions.iter().map(|version| {
        let state = if in_force == Some(version.version) { "in_force" } else { "replaced" };
        PolicyResponse::version(version, stored(&version.rules).as_ref(), state)
    });
    Ok(Json(PolicyList { items: items.collect(), next: None }))
}

/// Say what an app may sign, in the place of what was said before.
#[utoipa::path(
    put, path = "/v1/admin/policies/{app}", tag = "administration", request_body = PolicyRequest,
    params(("app" = String, Path, description = "the app's id")),
    responses(
        (status = 200, description = "in force, and on record", body = PolicySet),
        (status = 202, description = "it waits for a second person", body = ApprovalAsked),
        (status = 404, description = "`unknown_app`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "`policy_changed`: another version is in force than the one to be replaced", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn put_policy(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    JsonBody(request): JsonBody<PolicyRequest>,
) -> Result<Response, Problem> {
    caller.with(Scope::Policies)?;
    let app = known(&gateway, &id).await?.app.id.clone();
    let register = gateway.store.keys().await.map_err(|error| Problem::database(&error))?;
    let (policy, reason) = request.check(|policy, faults| check_keys(policy, &register, faults))?;
    let (rules, names) =
        (text(&policy), policy.rules().iter().map(|rule| rule.name.clone()).collect::<Vec<_>>());
    if let Some(expected) = request.replaces.filter(|_| gateway.config.administration.two_person) {
        // What is asked for rests on what is in force when it is asked for; that is the place to say that it is not.
        let held = PolicyResponse::of(&*known(&gateway, &id).await?).version;
        if held != expected {
            return Err(Problem::policy_changed());
        }
    }
    let change = || Change::Policy { app: app.clone(), rules: rules.clone(), names: names.clone() };
    if let Some(asked) = approvals::ask(&gateway, &caller, change, &reason, None).await? {
        return Ok(asked);
    }
    let order = Arc::new(PolicyOrder {
        app,
        rules,
        names,
        replaces: request.replaces,
        reason,
        actor: caller.actor(),
        request_id: crate::request_id::current(),
        since: None,
    });
    let audit_index = carry_out(&gateway, &order).await?;
    let policy = PolicyResponse::of(&*known(&gateway, &id).await?);
    Ok(Json(PolicySet { policy, audit_index, request_id: order.request_id.clone() }).into_response())
}

/// What would be decided about an order, and by which rule. Nothing is signed, counted or changed.
#[utoipa::path(
    post, path = "/v1/admin/policies:evaluate", tag = "administration", request_body = EvaluationRequest,
    responses(
        (status = 200, description = "the decision", body = Evaluation),
        (status = 404, description = "`unknown_app`, `unknown_key`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "what is wrong with which field", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn evaluate_policy(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    JsonBody(request): JsonBody<EvaluationRequest>,
) -> Result<Json<Evaluation>, Problem> {
    caller.with(Scope::Policies)?;
    let (facts, at, asked) = request.check(OffsetDateTime::now_utc())?;
    let known = known(&gateway, &request.app).await?;
    let none = SigningPolicy::default();
    let (policy, version) = match (&asked, &known.policy) {
        (Some(asked), _) => (asked, None),
        (None, KnownPolicy::None) => (&none, None),
        (None, KnownPolicy::InForce(held)) => (&held.policy, Some(held.version.version)),
        (None, KnownPolicy::Unusable) => {
            let id = known.app.id.to_string();
            return Err(Problem::database(&store::StoreError::Altered { what: "policy", id }));
        }
    };
    let local_time = at.to_offset(gateway.config.site.utc_offset);
    let mut evaluation = Evaluation {
        decision: "permit",
        by: "default",
        rule: None,
        version,
        errors: Vec::new(),
        per_day: None,
        used: None,
        local_time,
        request_id: crate::request_id::current(),
    };
    if let Err(problem) = permit(&known.app, &gateway.desk.keys(), &facts.key) {
        if problem.code() != "key_not_permitted" {
            return Err(problem);
        }
        (evaluation.decision, evaluation.by) = ("refuse", "keys");
        let detail = format!("this app may not use {}", facts.key);
        evaluation.errors = vec![Fault::new("key", "key_not_permitted", detail)];
        return Ok(Json(evaluation));
    }
    let decision = policy.evaluate(&facts, local_time, gateway.config.policy.permits_unruled);
    let (rule, mut limits) = match decision {
        Decision::Permitted(rule) => (rule, Vec::new()),
        Decision::Refused(rule, limits) => (rule, limits),
    };
    if let Some(rule) = rule {
        (evaluation.by, evaluation.rule, evaluation.per_day) =
            ("rule", Some(rule.name.clone()), rule.per_day);
        let day = day(at, gateway.config.site.utc_offset);
        if let Some(of) = decide::counts(&known.app.id, rule, day) {
            let used = gateway.callers.counts.used(&of).await.map_err(|error| Problem::database(&error))?;
            if used >= of.limit {
                limits.push(Limit::Count);
            }
            evaluation.used = Some(used);
        }
    }
    if !limits.is_empty() {
        evaluation.decision = "refuse";
        evaluation.errors = limits.into_iter().map(|limit| fault(limit, rule)).collect();
    }
    Ok(Json(evaluation))
}

impl PolicyRequest {
    /// The rules and the reason; `more` says what else is wrong with the rules.
    pub(crate) fn check(
        &self,
        more: impl FnOnce(&SigningPolicy, &mut Faults),
    ) -> Result<(SigningPolicy, String), Problem> {
        let mut faults = Faults::default();
        let reason = reason(&mut faults, &self.reason).map(str::to_owned);
        let policy = read(&self.rules, &mut faults);
        if let Some(policy) = &policy {
            more(policy, &mut faults);
        }
        faults.into_result(policy.zip(reason))
    }
}

impl EvaluationRequest {
    /// The order, its time, and the rules that are asked about.
    pub(crate) fn check(
        &self,
        now: OffsetDateTime,
    ) -> Result<(OrderFacts, OffsetDateTime, Option<SigningPolicy>), Problem> {
        const FORMS: [(&str, SignedForm); 4] = [
            ("raw", SignedForm::Raw),
            ("cms", SignedForm::Cms),
            ("pdf", SignedForm::Pdf),
            ("ofd", SignedForm::Ofd),
        ];
        const INPUTS: [(&str, InputKind); 2] = [("digest", InputKind::Digest), ("data", InputKind::Data)];
        let key = KeyId::parse(&self.key).map_err(|_| Problem::unknown_key(&self.key))?;
        let mut faults = Faults::default();
        let algorithm: Option<Algorithm> = algorithm(&mut faults, &self.algorithm);
        let form = faults.word("format", self.format.as_deref(), &FORMS, SignedForm::Raw);
        let is_document = form.is_some_and(SignedForm::is_document);
        let usual = if is_document { InputKind::Data } else { InputKind::Digest };
        let input = faults.word("input", self.input.as_deref(), &INPUTS, usual);
        if is_document && input == Some(InputKind::Digest) {
            faults.add("input", "not_applicable", "a document is stamped whole");
        }
        let octets = match (input, self.octets) {
            (Some(InputKind::Digest), Some(octets)) if octets != 32 => {
                faults.add("octets", "digest_length", "a digest has 32 octets");
                None
            }
            (_, octets) => Some(octets.unwrap_or(32)),
        };
        let at = faults.time("at", self.at.as_deref(), now);
        let asked = self.rules.as_ref().map(|rules| read(rules, &mut faults));
        let facts = (|| {
            let detached = self.detached.unwrap_or(false);
            Some(OrderFacts {
                key,
                algorithm: algorithm?,
                form: form?,
                detached,
                input: input?,
                octets: octets?,
            })
        })();
        faults.into_result(facts.zip(at)).map(|(facts, at)| (facts, at, asked.flatten()))
    }
}

impl PolicyResponse {
    fn of(known: &KnownApp) -> Self {
        let app = known.app.id.clone();
        let empty =
            |state| Self { app, state, version: 0, rules: Vec::new(), reason: None, actor: None, at: None };
        match &known.policy {
            KnownPolicy::None => empty("none"),
            KnownPolicy::Unusable => empty("unusable"),
            KnownPolicy::InForce(held) => Self::version(&held.version, Some(&held.policy), "in_force"),
        }
    }

    fn version(version: &PolicyVersion, policy: Option<&SigningPolicy>, state: &'static str) -> Self {
        Self {
            app: version.app.clone(),
            state: if policy.is_some() { state } else { "unusable" },
            version: version.version,
            rules: policy.map_or_else(Vec::new, |policy| policy.rules().iter().map(RuleBody::of).collect()),
            reason: Some(version.reason.clone()),
            actor: Some(version.actor.clone()),
            at: Some(version.at),
        }
    }
}

/// The app, as the register has it now.
async fn known(gateway: &Gateway, id: &str) -> Result<Arc<KnownApp>, Problem> {
    let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
    let known = AppId::parse(id).ok().and_then(|id| register.app(&id).cloned());
    known.ok_or_else(|| Problem::unknown_app(id))
}
