//! Changes that wait for a second person: how they are kept, how things stand where they would be made, and how they
//! would stand after it.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::{AccountName, AppId, KeyId, MandateNumber, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{
    Account, AccountState, App, AppState, CredentialKind, Material, NewCredential, NewWebhook, Role,
    StoreError,
};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::apps::{self, AppAct, AppOrder};
use crate::auth::register::{KnownApp, Register};
use crate::auth::{Scope, roles};
use crate::key_register::{self, AppKeysOrder};
use crate::mandates;
use crate::mandates::act::{MandateAct, MandateActOrder, MandateStep};
use crate::people::act::{AccountAct, AccountOrder};
use crate::people::{self, one_time_password};
use crate::policies::{self, KnownPolicy, PolicyOrder};
use crate::problem::Problem;
use crate::seals::act::{self as seals, SealAct, SealActOrder};
use crate::state::Gateway;
use crate::templates;
use crate::templates::act::{TemplateAct, TemplateOrder};

/// How things stand, field by field.
pub(super) type View = Map<String, Value>;

/// A change that takes a second person. What contains harm (to disable, lock and freeze an app, to revoke a credential,
/// to call a ceremony off) is none of these, but for seals: nobody alone says which of them hold.
#[derive(Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[allow(
    clippy::enum_variant_names,
    reason = "an app is changed, and so is an account: the register's own words"
)]
pub(crate) enum Change {
    /// Enter an app.
    CreateApp { app: Box<App> },
    /// Say anew what it is called, may do and how often.
    ChangeApp { app: Box<App> },
    /// Have it served.
    EnableApp { app: AppId },
    /// Give it one more credential; where that replaces another one, that one ends so many seconds after the new one
    /// holds.
    AddCredential { app: AppId, credential: KeptCredential, replaces: Option<(String, i64)> },
    /// Say anew which keys it may use by name.
    AppKeys { app: AppId, keys: BTreeSet<KeyId> },
    /// Say anew what it may sign.
    Policy { app: AppId, rules: String, names: Vec<String> },
    /// Have it told what concerns it at this address, with this secret (base64).
    SetWebhook { app: AppId, id: String, url: String, secret: Secretive },
    /// Make an account, with this one-time password.
    CreateAccount { account: AccountName, display_name: String, roles: BTreeSet<Role>, password: Secretive },
    /// Say anew what a person is called and does.
    ChangeAccount { account: AccountName, display_name: String, roles: BTreeSet<Role> },
    /// Let a person sign in again.
    EnableAccount { account: AccountName },
    /// Give a person this one-time password: whoever has it can sign in as the person.
    ResetPassword { account: AccountName, password: Secretive },
    /// Take a person's second factor away.
    ResetSecondFactor { account: AccountName },
    /// Make a seal, or have another one's state be another.
    Seal { act: SealAct },
    /// Put a mandate to use, or let it be used again.
    Mandate { mandate: MandateNumber, step: MandateStep },
    /// Have a stamp template say something else, or let it be used again.
    StampTemplate { act: TemplateAct },
}

/// A change, and the one-time password that it gives.
type WithPassword = (Change, Option<Secret<String>>);

/// A credential as it is kept until it is entered: sealed with the rest.
#[derive(Serialize, Deserialize)]
pub(crate) struct KeptCredential {
    id: String,
    kind: CredentialKind,
    /// base64: digest, secret, public key, or the issuer's name.
    material: Secretive,
    /// base64: the subject's name.
    subject: Option<String>,
    label: String,
    #[serde(with = "time::serde::timestamp")]
    not_before: OffsetDateTime,
    #[serde(with = "time::serde::timestamp::option")]
    not_after: Option<OffsetDateTime>,
}

/// A text that is wiped and never shown.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secretive(Zeroizing<String>);

impl KeptCredential {
    pub(crate) fn of(credential: &NewCredential) -> Self {
        let text = |octets: &[u8]| STANDARD.encode(octets);
        let (material, subject) = match &credential.material {
            Material::ApiKey(digest) | Material::Certificate(digest) => (text(digest), None),
            Material::HmacSm3(secret) | Material::HmacSha256(secret) => (text(secret.expose()), None),
            Material::Sm2(key) | Material::P256(key) => (text(key), None),
            Material::CertificateName { issuer, subject } => (text(issuer), Some(text(subject))),
        };
        Self {
            id: credential.id.clone(),
            kind: credential.material.kind(),
            material: Secretive(material.into()),
            subject,
            label: credential.label.clone(),
            not_before: credential.not_before,
            not_after: credential.not_after,
        }
    }

    fn credential(&self) -> Option<NewCredential> {
        let octets = STANDARD.decode(self.material.0.as_bytes()).ok()?;
        let digest = || <[u8; 32]>::try_from(octets.as_slice()).ok();
        let material = match self.kind {
            CredentialKind::ApiKey => Material::ApiKey(digest()?),
            CredentialKind::Certificate => Material::Certificate(digest()?),
            CredentialKind::HmacSm3 => Material::HmacSm3(Secret::new(octets)),
            CredentialKind::HmacSha256 => Material::HmacSha256(Secret::new(octets)),
            CredentialKind::Sm2 => Material::Sm2(octets),
            CredentialKind::P256 => Material::P256(octets),
            CredentialKind::CertificateName => {
                let subject = STANDARD.decode(self.subject.as_deref()?).ok()?;
                Material::CertificateName { issuer: octets, subject }
            }
        };
        Some(NewCredential {
            id: self.id.clone(),
            material,
            label: self.label.clone(),
            not_before: self.not_before,
            not_after: self.not_after,
        })
    }
}

/// What a change is made to.
enum Target<'c> {
    App(&'c AppId),
    Account(&'c AccountName),
    Seal(&'c SealAct),
    Mandate(&'c MandateNumber),
    StampTemplate(&'c TemplateAct),
}

/// How things stand where a change would be made.
pub(super) struct Standing {
    /// All that it changes or rests on.
    pub(super) view: View,
    /// While that is the same they stand so.
    pub(super) revision: Option<i64>,
    /// When what it is made to was changed last, to the second.
    pub(super) changed_at: Option<OffsetDateTime>,
}

/// By whom, why and under which request a change is carried out.
pub(super) struct Mandate {
    pub(super) actor: String,
    pub(super) reason: String,
    pub(super) request_id: String,
    /// The revision that was looked at last: only if nothing has changed since.
    pub(super) since: Option<i64>,
}

impl Change {
    /// The registration of a webhook.
    pub(crate) fn webhook(app: &AppId, webhook: &NewWebhook) -> Self {
        let NewWebhook { id, url, secret } = webhook;
        let secret = Secretive(STANDARD.encode(secret.expose()).into());
        Self::SetWebhook { app: app.clone(), id: id.clone(), url: url.clone(), secret }
    }

    /// Wipes what only making it takes: what would be different stays. Answers whether there was any of that.
    pub(super) fn forget_secrets(&mut self) -> bool {
        let secret = match self {
            Self::AddCredential { credential, .. } => match credential.kind {
                CredentialKind::HmacSm3 | CredentialKind::HmacSha256 => &mut credential.material,
                _ => return false,
            },
            Self::SetWebhook { secret, .. } => secret,
            Self::CreateAccount { password, .. } | Self::ResetPassword { password, .. } => password,
            _ => return false,
        };
        !std::mem::take(&mut secret.0).is_empty()
    }

    /// As the audit log names the act.
    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::CreateApp { .. } => "app.create",
            Self::ChangeApp { .. } => "app.change",
            Self::EnableApp { .. } => "app.enable",
            Self::AddCredential { .. } => "app.credential.add",
            Self::AppKeys { .. } => "app.keys",
            Self::Policy { .. } => "policy.set",
            Self::SetWebhook { .. } => "app.webhook.set",
            Self::CreateAccount { .. } => "account.create",
            Self::ChangeAccount { .. } => "account.change",
            Self::EnableAccount { .. } => "account.enable",
            Self::ResetPassword { .. } => "account.reset_password",
            Self::ResetSecondFactor { .. } => "account.reset_second_factor",
            Self::Seal { act } => act.name(),
            Self::Mandate { step, .. } => step.name(),
            Self::StampTemplate { act } => act.name(),
        }
    }

    fn target(&self) -> Target<'_> {
        match self {
            Self::CreateApp { app } | Self::ChangeApp { app } => Target::App(&app.id),
            Self::EnableApp { app }
            | Self::AddCredential { app, .. }
            | Self::AppKeys { app, .. }
            | Self::Policy { app, .. }
            | Self::SetWebhook { app, .. } => Target::App(app),
            Self::CreateAccount { account, .. }
            | Self::ChangeAccount { account, .. }
            | Self::EnableAccount { account }
            | Self::ResetPassword { account, .. }
            | Self::ResetSecondFactor { account } => Target::Account(account),
            Self::Seal { act } => Target::Seal(act),
            Self::Mandate { mandate, .. } => Target::Mandate(mandate),
            Self::StampTemplate { act } => Target::StampTemplate(act),
        }
    }

    /// What it is done to.
    pub(crate) fn subject(&self) -> String {
        match self.target() {
            Target::App(app) => app.to_string(),
            Target::Account(account) => account.to_string(),
            Target::Seal(act) => act.seal().to_string(),
            Target::Mandate(mandate) => mandate.to_string(),
            Target::StampTemplate(act) => act.template().to_string(),
        }
    }

    /// Whether it is about a person.
    pub(super) fn is_about_people(&self) -> bool {
        matches!(self.target(), Target::Account(_))
    }

    /// Whether it enters what must not be there yet.
    pub(super) fn creates(&self) -> bool {
        match self {
            Self::CreateApp { .. } | Self::CreateAccount { .. } => true,
            Self::Seal { act } => matches!(act, SealAct::Make { .. }),
            Self::StampTemplate { act } => act.creates(),
            _ => false,
        }
    }

    /// What is said of something that is there and must not be, or the other way round.
    pub(super) fn out_of_place(&self) -> Problem {
        match (self.target(), self.creates()) {
            (Target::App(app), true) => {
                Problem::from_apps(&StoreError::AlreadyExists { what: "app", id: app.to_string() })
            }
            (Target::App(app), false) => Problem::unknown_app(app.as_str()),
            (Target::Account(account), true) => Problem::from_accounts(&StoreError::AlreadyExists {
                what: "account",
                id: account.to_string(),
            }),
            (Target::Account(account), false) => Problem::unknown_account(account.as_str()),
            (Target::Seal(act), true) => Problem::seal_exists(act.seal().as_str()),
            (Target::Seal(act), false) => Problem::unknown_seal(act.seal().as_str()),
            (Target::Mandate(mandate), _) => Problem::unknown_mandate(mandate.as_str()),
            (Target::StampTemplate(_), true) => Problem::template_changed(),
            (Target::StampTemplate(act), false) => Problem::unknown_template(act.template().as_str()),
        }
    }

    /// The change that an act on an account is, with the one-time password for whoever asks; none of an act that waits
    /// for nobody.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn of_account(act: &AccountAct) -> Result<Option<WithPassword>, Problem> {
        let fresh = || one_time_password().map_err(|error| Problem::no_random(&error));
        let kept = |password: &Secret<String>| Secretive(Zeroizing::new(password.expose().clone()));
        Ok(Some(match act {
            AccountAct::Create { name, display_name, roles } => {
                let password = fresh()?;
                let (account, display_name, roles) = (name.clone(), display_name.clone(), roles.clone());
                let change = Self::CreateAccount { account, display_name, roles, password: kept(&password) };
                (change, Some(password))
            }
            AccountAct::Change { name, display_name, roles } => {
                let (account, display_name, roles) = (name.clone(), display_name.clone(), roles.clone());
                (Self::ChangeAccount { account, display_name, roles }, None)
            }
            AccountAct::SetState(name, AccountState::Enabled) => {
                (Self::EnableAccount { account: name.clone() }, None)
            }
            AccountAct::ResetPassword(name) => {
                let password = fresh()?;
                let change = Self::ResetPassword { account: name.clone(), password: kept(&password) };
                (change, Some(password))
            }
            AccountAct::ResetSecondFactor(name) => (Self::ResetSecondFactor { account: name.clone() }, None),
            AccountAct::SetState(_, AccountState::Disabled)
            | AccountAct::EndSessions(_)
            | AccountAct::Unlock(_) => return Ok(None),
        }))
    }

    /// How things stand now where it would be made.
    ///
    /// # Errors
    /// The database does not say.
    pub(super) async fn view(&self, gateway: &Gateway) -> Result<Standing, Problem> {
        // From the database itself: half a second ago is not now.
        match self.target() {
            Target::App(app) => {
                let register = gateway.callers.apps.read_anew().await;
                let register = register.map_err(|error| Problem::database(&error))?;
                let mut view = self.viewed(app, &register);
                if let Self::SetWebhook { .. } = self {
                    let held = gateway.store.webhook(app).await;
                    let held = held.map_err(|error| Problem::database(&error))?;
                    let held = held.map(|held| json!({"id": held.id, "url": held.url}));
                    view.insert("webhook".to_owned(), held.unwrap_or_default());
                }
                Ok(Standing {
                    view,
                    revision: Some(register.revision),
                    changed_at: register.app(app).map(|known| known.changed_at),
                })
            }
            Target::Account(account) => {
                let found = gateway.store.account(account).await;
                let found = found.map_err(|error| Problem::from_accounts(&error))?;
                Ok(Standing {
                    view: self.viewed_account(found.as_ref()),
                    revision: found.as_ref().map(|found| found.revision),
                    changed_at: found.as_ref().map(|found| found.changed_at),
                })
            }
            Target::Seal(act) => {
                let view = act.view(gateway).await?;
                // Not of one that is to be made: the number is what is looked at then.
                let revision = view.get("version").and_then(Value::as_i64);
                Ok(Standing { view, revision, changed_at: None })
            }
            Target::Mandate(mandate) => {
                let view = mandates::view::view(gateway, mandate).await?;
                let revision = view.get("version").and_then(Value::as_i64);
                Ok(Standing { view, revision, changed_at: None })
            }
            Target::StampTemplate(act) => {
                let found = act.standing(gateway).await?;
                Ok(Standing {
                    view: templates::view::view(found.as_ref()),
                    revision: found.as_ref().map(|found| found.revision),
                    changed_at: found.as_ref().map(|found| found.changed_at),
                })
            }
        }
    }

    fn viewed_account(&self, found: Option<&Account>) -> View {
        let mut view = View::new();
        view.insert("exists".to_owned(), found.is_some().into());
        let Some(found) = found else { return view };
        view.insert("state".to_owned(), json!(found.state));
        match self {
            Self::ResetPassword { .. } => {
                drop(view.insert("password_set_at".to_owned(), moment(Some(found.password_set_at))));
            }
            Self::ResetSecondFactor { .. } => {
                drop(view.insert("second_factor_since".to_owned(), moment(found.second_factor_since)));
            }
            _ => {}
        }
        // Also where they stay: whoever lets somebody in decides about what that person can do then.
        view.extend(empowered(&found.display_name, &found.roles));
        view
    }

    fn viewed(&self, app: &AppId, register: &Register) -> View {
        let mut view = View::new();
        let known = register.app(app);
        view.insert("exists".to_owned(), known.is_some().into());
        let Some(known) = known else { return view };
        view.insert("state".to_owned(), json!(known.app.state));
        match self {
            Self::CreateApp { .. } | Self::ChangeApp { .. } => view.extend(described(&known.app)),
            Self::EnableApp { .. } => {
                view.extend(described(&known.app));
                view.remove("contacts");
                let holding = known.credentials.iter().map(|known| &known.credential);
                let holding = holding.filter(|known| known.revoked.is_none()).map(|known| known.id.as_str());
                view.insert("credentials".to_owned(), holding.collect());
            }
            Self::AddCredential { credential, replaces, .. } => {
                view.insert("credential".to_owned(), shown(known, &credential.id));
                if let Some((replaced, _)) = replaces {
                    view.insert("replaces".to_owned(), shown(known, replaced));
                }
            }
            Self::AppKeys { .. } => drop(view.insert("keys".to_owned(), json!(known.app.keys))),
            Self::Policy { .. } => {
                let (version, rules) = match &known.policy {
                    KnownPolicy::None => (json!(0), json!([])),
                    KnownPolicy::InForce(held) => (json!(held.version.version), rules(&held.version.rules)),
                    KnownPolicy::Unusable => (json!("unusable"), Value::Null),
                };
                view.insert("version".to_owned(), version);
                view.insert("rules".to_owned(), rules);
            }
            _ => {}
        }
        view
    }

    /// How things stand after it, where they stood so before.
    pub(super) fn after(&self, before: &View) -> View {
        let mut after = before.clone();
        after.insert("exists".to_owned(), true.into());
        match self {
            Self::CreateApp { app } => {
                after.insert("state".to_owned(), json!(AppState::Enabled));
                after.extend(described(app));
            }
            Self::ChangeApp { app } => after.extend(described(app)),
            Self::EnableApp { .. } => drop(after.insert("state".to_owned(), json!(AppState::Enabled))),
            Self::AddCredential { credential, replaces, .. } => {
                let (not_before, not_after) =
                    (moment(Some(credential.not_before)), moment(credential.not_after));
                let new = json!({
                    "id": credential.id, "kind": credential.kind, "label": credential.label,
                    "not_before": not_before, "not_after": not_after, "revoked": false,
                });
                after.insert("credential".to_owned(), new);
                if let Some((_, overlap)) = replaces {
                    after.remove("replaces");
                    after.insert("replaced_ends_after_s".to_owned(), (*overlap).into());
                }
            }
            Self::AppKeys { keys, .. } => drop(after.insert("keys".to_owned(), json!(keys))),
            Self::SetWebhook { id, url, .. } => {
                drop(after.insert("webhook".to_owned(), json!({"id": id, "url": url})));
            }
            Self::Policy { rules: text, .. } => {
                let version = before.get("version").and_then(Value::as_u64).unwrap_or(0);
                after.insert("version".to_owned(), (version + 1).into());
                after.insert("rules".to_owned(), rules(text));
            }
            Self::CreateAccount { display_name, roles, .. } => {
                after.insert("state".to_owned(), json!(AccountState::Enabled));
                after.extend(empowered(display_name, roles));
            }
            Self::ChangeAccount { display_name, roles, .. } => after.extend(empowered(display_name, roles)),
            Self::EnableAccount { .. } => {
                drop(after.insert("state".to_owned(), json!(AccountState::Enabled)))
            }
            Self::ResetPassword { .. } => drop(after.insert("password_set_at".to_owned(), json!("anew"))),
            Self::ResetSecondFactor { .. } => {
                drop(after.insert("second_factor_since".to_owned(), Value::Null));
            }
            Self::Seal { act } => act.change(&mut after),
            Self::Mandate { step, .. } => step.change(&mut after),
            Self::StampTemplate { act } => act.change(&mut after),
        }
        after
    }

    /// Whether things stand as they would after it: it was made.
    pub(super) fn is_made(&self, before: &View, now: &View) -> bool {
        match self {
            Self::AddCredential { .. } => {
                now.get("credential").is_some_and(|credential| !credential.is_null())
            }
            Self::ResetPassword { .. } => now.get("password_set_at") != before.get("password_set_at"),
            _ => self.after(before) == *now,
        }
    }

    /// Makes the change, through the one place where such changes are made.
    ///
    /// # Errors
    /// What was not done was not done at all.
    pub(super) async fn carry_out(
        &self,
        gateway: &Gateway,
        before: &View,
        mandate: Mandate,
    ) -> Result<(), Problem> {
        let Mandate { actor, reason, request_id, since } = mandate;
        let account = async |act: AccountAct, password: Option<&Secretive>| {
            let password = password.map(|password| Secret::new(password.0.to_string()));
            let (actor, reason, request_id) = (actor.clone(), reason.clone(), request_id.clone());
            let order = AccountOrder { act, reason, actor, request_id, password, since };
            people::act::carry_out(gateway, order).await.map(drop)
        };
        let act = match self {
            Self::AppKeys { app, keys } => {
                let (app, keys) = (app.clone(), keys.clone());
                let order = Arc::new(AppKeysOrder { app, keys, reason, actor, request_id, since });
                return key_register::carry_out(gateway, &order).await.map(drop);
            }
            Self::Policy { app, rules, names } => {
                let version = before.get("version").and_then(Value::as_u64);
                let replaces = version.and_then(|version| u32::try_from(version).ok());
                let (app, rules, names) = (app.clone(), rules.clone(), names.clone());
                let order =
                    Arc::new(PolicyOrder { app, rules, names, replaces, reason, actor, request_id, since });
                return policies::carry_out(gateway, &order).await.map(drop);
            }
            Self::CreateAccount { account: name, display_name, roles, password } => {
                let (name, display_name, roles) = (name.clone(), display_name.clone(), roles.clone());
                return account(AccountAct::Create { name, display_name, roles }, Some(password)).await;
            }
            Self::ChangeAccount { account: name, display_name, roles } => {
                let (name, display_name, roles) = (name.clone(), display_name.clone(), roles.clone());
                return account(AccountAct::Change { name, display_name, roles }, None).await;
            }
            Self::EnableAccount { account: name } => {
                return account(AccountAct::SetState(name.clone(), AccountState::Enabled), None).await;
            }
            Self::ResetPassword { account: name, password } => {
                return account(AccountAct::ResetPassword(name.clone()), Some(password)).await;
            }
            Self::ResetSecondFactor { account: name } => {
                return account(AccountAct::ResetSecondFactor(name.clone()), None).await;
            }
            Self::Seal { act } => {
                let order = SealActOrder { act: act.clone(), reason, actor, request_id, since };
                return seals::carry_out(gateway, order).await.map(drop);
            }
            Self::Mandate { mandate, step } => {
                let act = MandateAct::Step { mandate: mandate.clone(), step: *step };
                let order = MandateActOrder { act, reason, actor, request_id, since };
                return mandates::act::carry_out(gateway, order).await.map(drop);
            }
            Self::StampTemplate { act } => {
                let order = TemplateOrder { act: act.clone(), reason, actor, request_id, since };
                return templates::act::carry_out(gateway, order).await.map(drop);
            }
            Self::CreateApp { app } => AppAct::Create((**app).clone()),
            Self::ChangeApp { app } => AppAct::Change((**app).clone()),
            Self::EnableApp { app } => AppAct::SetState(app.clone(), AppState::Enabled),
            Self::AddCredential { app, credential, replaces } => {
                let credential = credential.credential().ok_or_else(Problem::approval_unreadable)?;
                let holds = credential.not_before.max(OffsetDateTime::now_utc());
                let ends = |overlap: &i64| holds + Duration::seconds(*overlap);
                let replaces = replaces.as_ref().map(|(id, overlap)| (id.clone(), ends(overlap)));
                AppAct::AddCredential { app: app.clone(), credential, replaces }
            }
            Self::SetWebhook { app, id, url, secret } => {
                let secret = STANDARD.decode(secret.0.as_bytes());
                let secret = Secret::new(secret.map_err(|_| Problem::approval_unreadable())?);
                let (app, id, url) = (app.clone(), id.clone(), url.clone());
                AppAct::SetWebhook { app, webhook: NewWebhook { id, url, secret } }
            }
        };
        let order = Arc::new(AppOrder { act, reason, actor, request_id, since });
        apps::carry_out(gateway, &order).await.map(drop)
    }
}

/// What a person is called and does, and what that lets the person do.
fn empowered(display_name: &str, roles: &BTreeSet<Role>) -> View {
    let scopes: Vec<_> = roles::granted(roles).into_iter().map(Scope::name).collect();
    let fields = [("display_name", json!(display_name)), ("roles", json!(roles)), ("scopes", json!(scopes))];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What an app may do and how often, its state apart.
fn described(app: &App) -> View {
    let rate = app.rate.map(|rate| json!({"per_second": rate.per_second, "burst": rate.burst}));
    let fields = [
        ("name", json!(app.name)),
        ("scopes", json!(app.scopes)),
        ("keys", json!(app.keys)),
        ("groups", json!(app.groups)),
        ("fields", json!(app.fields)),
        ("packages", json!(app.packages)),
        ("contacts", json!(app.contacts)),
        ("oidc", json!(app.oidc)),
        ("rate", rate.unwrap_or_default()),
        ("not_before", moment(app.not_before)),
        ("not_after", moment(app.not_after)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A credential without what it is checked against; null where the app has none of that id.
fn shown(app: &KnownApp, id: &str) -> Value {
    let found = app.credentials.iter().map(|known| &known.credential).find(|known| known.id == id);
    found.map_or(Value::Null, |known| {
        json!({
            "id": known.id, "kind": known.material.kind(), "label": known.label,
            "not_before": moment(Some(known.not_before)), "not_after": moment(known.not_after),
            "revoked": known.revoked.is_some(),
        })
    })
}

/// To the second, as the register has it.
fn moment(at: Option<OffsetDateTime>) -> Value {
    let at = at.and_then(|at| OffsetDateTime::from_unix_timestamp(at.unix_timestamp()).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).map_or(Value::Null, Value::String)
}

/// Rules in the form in which they are stored.
fn rules(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
