//! What administrators say of a template. It is kept as it came while it waits for a second person, and read anew when it is
//! set.

use std::collections::BTreeSet;

use config::{AppId, KeyId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::RegisteredSeal;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::body::{Faults, Object};
use crate::input::reason;
use crate::people::form::is_unseen;
use crate::problem::{Fault, Problem};
use crate::stamps::form::StampRequest;
use crate::stamps::signer::{SignerBody, Who};
use crate::state::Gateway;
use crate::{mandates, seals};

/// Octets of what a template says of stamps, pictures included.
const MOST_OCTETS: usize = 256 << 10;
/// Characters of a description.
const MOST_DESCRIBED: usize = 200;
const STAMP: &str = "template.stamp";
/// Most apps that a template names.
const MOST_APPS: usize = 100;

/// A template that is to be set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemplateRequest {
    /// The template.
    #[schema(value_type = TemplateBody)]
    pub(super) template: Object<TemplateBody>,
    /// The version that it replaces, 0 for none: refused if another one is in force by then.
    pub(super) replaces: Option<u32>,
    /// For the record: 1 to 500 characters.
    reason: String,
}

/// What a template says.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TemplateBody {
    /// What it is for: 1 to 200 characters.
    description: String,
    /// Who may use it: ids of apps, 1 to 100; every app that stamps, if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    apps: Option<Vec<String>>,
    /// Members of the body of `POST /v1/stamps`, up to 256 KiB: `format`, and any of the others but `document` and
    /// `digest`. What is not said an order may say. Naming a `signer`, or `signers`, gives nobody the right to have it sign.
    #[schema(value_type = Object)]
    stamp: Map<String, Value>,
}

/// A template as it is to be set.
pub(super) struct TemplateDraft {
    pub(super) description: String,
    pub(super) apps: Option<BTreeSet<AppId>>,
    /// What it says of stamps, as it is kept.
    pub(super) stamp: String,
    read: StampRequest,
}

impl TemplateRequest {
    /// The reason, of a request in which nothing is wrong that it shows by itself.
    ///
    /// # Errors
    /// Every fault at once.
    pub(crate) fn check(&self) -> Result<String, Problem> {
        let mut faults = Faults::default();
        let reason = reason(&mut faults, &self.reason).map(str::to_owned);
        let draft = self.template.0.read(&mut faults);
        faults.into_result(draft.and(reason))
    }

    /// The same, and whether what the template says could be carried out if it names no seal.
    ///
    /// # Errors
    /// Every fault at once.
    pub(crate) fn judge(&self) -> Result<(), Problem> {
        let mut faults = Faults::default();
        if let Some(draft) = self.template.0.read(&mut faults) {
            draft.judge(&mut faults, &[], Some("https://site.example"), OffsetDateTime::UNIX_EPOCH);
        }
        faults.into_result(Some(()))
    }
}

impl TemplateBody {
    /// What it says of stamps.
    pub(super) fn stamp(&self) -> &Map<String, Value> {
        &self.stamp
    }

    pub(super) fn description(&self) -> &str {
        self.description.trim()
    }

    pub(super) fn apps(&self) -> Option<&[String]> {
        self.apps.as_deref()
    }

    fn read(&self, faults: &mut Faults) -> Option<TemplateDraft> {
        let description = self.description();
        let is_seen = (1..=MOST_DESCRIBED).contains(&description.chars().count())
            && !description.chars().any(is_unseen);
        if !is_seen {
            let detail = format!("must be 1 to {MOST_DESCRIBED} characters that can be seen");
            faults.add("template.description", "invalid_value", detail);
        }
        let apps = self.apps.as_ref().map(|apps| read_apps(apps, faults));
        let stamp = serde_json::to_string(&self.stamp).unwrap_or_default(); // it was JSON
        if stamp.len() > MOST_OCTETS {
            let detail = format!("must have at most {MOST_OCTETS} octets, not {}", stamp.len());
            faults.add(STAMP, "template_too_large", detail);
            return None;
        }
        let read = match StampRequest::of_template(&self.stamp) {
            Ok(read) => read,
            Err(problem) => {
                for Fault { field, code, detail } in problem.into_faults() {
                    faults.add(&format!("{STAMP}.{field}"), code, detail);
                }
                return None;
            }
        };
        Some(TemplateDraft { description: description.to_owned(), apps, stamp, read })
    }

    /// The template, as it can be set here and now: apps and seal are there, and what it says can be carried out.
    ///
    /// # Errors
    /// Every fault at once; a register cannot be read.
    pub(super) async fn draft(&self, gateway: &Gateway) -> Result<TemplateDraft, Problem> {
        let (now, mut faults) = (OffsetDateTime::now_utc(), Faults::default());
        let Some(draft) = self.read(&mut faults) else { return faults.into_result(None) };
        let register = gateway.callers.apps.register().await.map_err(|error| Problem::database(&error))?;
        for app in draft.apps.iter().flatten().filter(|app| register.app(app).is_none()) {
            faults.add("template.apps", "unknown_app", format!("there is no app {app}"));
        }
        let mut seals = Vec::new();
        for (path, order) in draft.orders(&mut faults) {
            if let Some(signer) = order.named_signer() {
                named(gateway, signer, &format!("{path}.signer"), &mut faults).await?;
            }
            let Some(number) = order.named_seal() else {
                seals.push(None);
                continue;
            };
            let field = format!("{path}.seal");
            match seals::in_use(gateway, number, None, now).await {
                Ok((found, refusals)) => {
                    for refusal in refusals {
                        faults.add(&field, refusal.code(), refusal.to_string());
                    }
                    seals.push(Some(found));
                }
                Err(problem) if problem.is_unavailable() => return Err(problem),
                Err(problem) => {
                    // Without it nobody knows what is seen.
                    faults.add(&field, problem.code(), format!("there is no seal {number:?}"));
                    return faults.into_result(None);
                }
            }
        }
        let site = gateway.config.server.public_url.clone();
        // Pictures are decoded.
        let judge = move || {
            draft.judge(&mut faults, &seals, site.as_ref().map(|site| site.as_str()), now);
            faults.into_result(Some(draft))
        };
        gateway.judging.run(judge).await?.await.map_err(|_| Problem::panicked())?
    }
}

impl TemplateDraft {
    /// What it says of each signature, and where in the request that stands.
    fn orders(&self, faults: &mut Faults) -> Vec<(String, StampRequest)> {
        let is_list = self.read.is_list();
        match self.read.clone().orders() {
            Ok(orders) => {
                let path = |place| match is_list {
                    true => format!("{STAMP}.signers[{place}]"),
                    false => STAMP.to_owned(),
                };
                orders.into_iter().enumerate().map(|(place, order)| (path(place), order)).collect()
            }
            Err(problem) => {
                for Fault { field, code, detail } in problem.into_faults() {
                    faults.add(&format!("{STAMP}.{field}"), code, detail);
                }
                Vec::new()
            }
        }
    }

    /// `seals` are those of each signature, where they are known.
    fn judge(
        &self,
        faults: &mut Faults,
        seals: &[Option<RegisteredSeal>],
        site: Option<&str>,
        at: OffsetDateTime,
    ) {
        for (place, (path, order)) in self.orders(faults).into_iter().enumerate() {
            let seal = seals.get(place).and_then(Option::as_ref);
            faults.add_of(&path, order.template_faults(seal, site, at));
        }
    }
}

/// Whether there is such a signer. Who may have it sign is asked of each order.
async fn named(
    gateway: &Gateway,
    signer: &SignerBody,
    path: &str,
    faults: &mut Faults,
) -> Result<(), Problem> {
    let (field, problem) = match signer.who() {
        Err(problem) => {
            for Fault { field, code, detail } in problem.into_faults() {
                let field = field.strip_prefix("signer").unwrap_or_default();
                faults.add(&format!("{path}{field}"), code, detail);
            }
            return Ok(());
        }
        Ok(Who::Key(key)) => {
            let known = KeyId::parse(key).is_ok_and(|id| gateway.desk.keys().service_key(&id).is_ok());
            ("key", (!known).then(|| Problem::unknown_key(key)))
        }
        Ok(Who::Session(_)) => {
            faults.add(&format!("{path}.session"), "not_applicable", "a session is one order's");
            return Ok(());
        }
        Ok(Who::Mandate { number, .. }) => ("mandate", mandates::known(gateway, number).await.err()),
    };
    match problem {
        None => Ok(()),
        Some(problem) if problem.is_unavailable() => Err(problem),
        Some(problem) => {
            faults.add(&format!("{path}.{field}"), problem.code(), "there is none such");
            Ok(())
        }
    }
}

fn read_apps(apps: &[String], faults: &mut Faults) -> BTreeSet<AppId> {
    const FIELD: &str = "template.apps";
    if !(1..=MOST_APPS).contains(&apps.len()) {
        faults.add(FIELD, "invalid_value", format!("must be 1 to {MOST_APPS} apps"));
    }
    let each = apps.iter().take(MOST_APPS).enumerate();
    each.filter_map(|(at, app)| faults.parse(&format!("{FIELD}.{at}"), "invalid_value", AppId::parse(app)))
        .collect()
}
