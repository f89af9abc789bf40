//! How a template stands, and how it would stand after an act on it: what a second person approves.

use serde_json::{Map, Value, json};
use store::{StampTemplate, StoreError, TemplateState};

use super::act::TemplateAct;
use crate::problem::Problem;
use crate::state::Gateway;

type View = Map<String, Value>;

impl TemplateAct {
    /// The template as it stands now, if there is one.
    ///
    /// # Errors
    /// The database does not say.
    pub(crate) async fn standing(&self, gateway: &Gateway) -> Result<Option<StampTemplate>, Problem> {
        match gateway.store.stamp_template(self.template()).await {
            Ok(template) => Ok(Some(template)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(Problem::from_templates(&error)),
        }
    }

    /// How things stand after it, where they stood so before.
    pub(crate) fn change(&self, view: &mut View) {
        match self {
            Self::Set { template, replaces, .. } => {
                view.entry("state").or_insert_with(|| json!(TemplateState::Enabled));
                view.insert("version".to_owned(), json!(replaces.saturating_add(1)));
                view.insert("description".to_owned(), json!(template.description()));
                let apps = template.apps().map(|apps| apps.iter().collect::<std::collections::BTreeSet<_>>());
                view.insert("apps".to_owned(), json!(apps));
                view.insert("stamp".to_owned(), Value::Object(template.stamp().clone()));
            }
            Self::Disable { .. } => drop(view.insert("state".to_owned(), json!(TemplateState::Disabled))),
            Self::Enable { .. } => drop(view.insert("state".to_owned(), json!(TemplateState::Enabled))),
        }
    }
}

/// How a template stands: all that an act on it changes or rests on.
pub(crate) fn view(template: Option<&StampTemplate>) -> View {
    let mut view = View::from_iter([("exists".to_owned(), template.is_some().into())]);
    if let Some(StampTemplate { state, current, .. }) = template {
        let stamp: Value = serde_json::from_str(&current.stamp).unwrap_or_default();
        view.extend([
            ("state".to_owned(), json!(state)),
            ("version".to_owned(), json!(current.version)),
            ("description".to_owned(), json!(current.description)),
            ("apps".to_owned(), json!(current.apps)),
            ("stamp".to_owned(), stamp),
        ]);
    }
    view
}
