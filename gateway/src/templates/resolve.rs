//! Orders that name a template, resolved: as if the order itself said what the template says. Whatever is decided about an
//! order, such as by policy, is decided about the resolved one.

use std::collections::HashMap;
use std::sync::Arc;

use config::TemplateId;
use serde_json::{Map, Value};
use store::{App, StampTemplateUse, StoreError, TemplateState, TemplateVersion};

use crate::body;
use crate::problem::{Fault, Problem};
use crate::stamps::form::StampRequest;
use crate::state::Gateway;

/// Templates that orders of an app name: what is in force is read once, so that it is one version for all of them.
#[derive(Default)]
pub(crate) struct Templates(HashMap<String, Known>);

/// A template that the app may use.
struct Known {
    id: TemplateId,
    in_force: u32,
    versions: HashMap<u32, Arc<StampRequest>>,
}

impl Templates {
    /// An order with what its template says in it, and which one that was.
    ///
    /// # Errors
    /// There is no such template that the app may use, or it is disabled, or order and template say the same member.
    pub(crate) async fn resolved(
        &mut self,
        gateway: &Gateway,
        app: &App,
        request: StampRequest,
    ) -> Result<(StampRequest, Option<StampTemplateUse>), Problem> {
        let Some(named) = request.template.clone() else {
            if request.template_version.is_some() {
                let fault = Fault::new("template_version", "not_applicable", "is the version of a template");
                return Err(Problem::faults(vec![fault]));
            }
            return Ok((request, None));
        };
        let known = match self.0.remove(&named) {
            Some(known) => known,
            None => Known::of(gateway, app, &named).await?,
        };
        let known = self.0.entry(named).or_insert(known);
        let version = request.template_version.unwrap_or(known.in_force);
        let template = known.version(gateway, version).await?;
        let id = known.id.clone();
        Ok((request.filled(&template)?, Some(StampTemplateUse { id, version })))
    }
}

impl Known {
    async fn of(gateway: &Gateway, app: &App, named: &str) -> Result<Self, Problem> {
        let id = TemplateId::parse(named).map_err(|_| Problem::unknown_template(named))?;
        let found = gateway.store.stamp_template(&id).await;
        let found = found.map_err(|error| Problem::from_templates(&error))?;
        // Who may use it is what is said now, also of older versions.
        if !may_use(&found.current, app) {
            return Err(Problem::unknown_template(named));
        }
        if found.state == TemplateState::Disabled {
            return Err(Problem::template_disabled(named));
        }
        let mut known = Self { id, in_force: found.current.version, versions: HashMap::new() };
        known.keep(&found.current)?;
        Ok(known)
    }

    async fn version(&mut self, gateway: &Gateway, version: u32) -> Result<Arc<StampRequest>, Problem> {
        if let Some(template) = self.versions.get(&version) {
            return Ok(Arc::clone(template));
        }
        match gateway.store.stamp_template_version(&self.id, version).await {
            Ok(found) => self.keep(&found),
            Err(StoreError::NotFound { .. }) => {
                Err(Problem::unknown_template_version(self.id.as_str(), version))
            }
            Err(error) => Err(Problem::from_templates(&error)),
        }
    }

    fn keep(&mut self, found: &TemplateVersion) -> Result<Arc<StampRequest>, Problem> {
        let template = Arc::new(StampRequest::of_template(&members(found)?)?);
        self.versions.insert(found.version, Arc::clone(&template));
        Ok(template)
    }
}

/// Whether an app may use a template.
pub(super) fn may_use(current: &TemplateVersion, app: &App) -> bool {
    current.apps.as_ref().is_none_or(|apps| apps.contains(&app.id))
}

/// What a version says of stamps.
pub(super) fn members(version: &TemplateVersion) -> Result<Map<String, Value>, Problem> {
    body::parse(version.stamp.as_bytes())
}
