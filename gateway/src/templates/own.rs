//! What an app may see of the templates that it may use.

use axum::Json;
use axum::extract::State;
use config::TemplateId;
use serde::Serialize;
use store::TemplateState;
use utoipa::ToSchema;

use super::all;
use super::resolve::{may_use, members};
use crate::auth::{Authenticated, Scope};
use crate::problem::Problem;
use crate::stamps::form::open_members;
use crate::state::Gateway;

/// A template, for an app that may use it.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnTemplate {
    /// Its id: `template` of a stamp.
    #[schema(value_type = String)]
    id: TemplateId,
    /// The version in force: `template_version` of a stamp, unless that is another one.
    version: u32,
    /// What it is for.
    description: String,
    /// `pdf`, `ofd` or `digest`.
    format: String,
    /// What an order can say besides `document` or `digest`, such as `signer`, `reason`, `appearance.text` or `signers[1].reason`.
    open: Vec<String>,
}

/// The templates that an app may use.
#[derive(Serialize, ToSchema)]
pub(crate) struct OwnTemplateList {
    /// By id, those that are enabled.
    items: Vec<OwnTemplate>,
    /// Always null.
    next: Option<String>,
}

/// The stamp templates that the app may use now.
#[utoipa::path(
    get, path = "/v1/stamp-templates", tag = "stamps",
    responses((status = 200, description = "by id", body = OwnTemplateList))
)]
pub(crate) async fn list_own_stamp_templates(
    caller: Authenticated,
    State(gateway): State<Gateway>,
) -> Result<Json<OwnTemplateList>, Problem> {
    let app = caller.with(Scope::Signatures)?;
    let mut items = Vec::new();
    for template in all(&gateway).await? {
        if template.state == TemplateState::Disabled || !may_use(&template.current, app) {
            continue;
        }
        let stamp = members(&template.current)?;
        let format = stamp.get("format").and_then(serde_json::Value::as_str).unwrap_or_default();
        items.push(OwnTemplate {
            format: format.to_owned(),
            open: open_members(&stamp),
            id: template.id,
            version: template.current.version,
            description: template.current.description,
        });
    }
    Ok(Json(OwnTemplateList { items, next: None }))
}
