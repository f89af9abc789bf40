//! `appserver.do`: where phones answer. How the national system's own mini-program writes to its front is not public; what is said
//! here in the protocol's form are the requests of `/v1/phone/sessions…`, and the showing of a license (亮照).

use axum::extract::{Request, State};
use axum::response::Response;
use axum::{Extension, Json};
use serde::Serialize;
use serde_json::{Map, Value};

use super::message::{Message, answer, missing, no_store, part};
use super::{LARGEST, shown};
use crate::auth::Peer;
use crate::body::{self, JsonBody, Patience, Segment};
use crate::problem::Problem;
use crate::sessions::phone;
use crate::state::Gateway;

/// What a phone can say.
const KINDS: [&str; 4] = ["scan", "confirm", "deny", "show"];

/// Answer as a phone, in the form of the national front's protocol: `businesstype` `scan`, `confirm`, `deny` with the members of
/// the requests to `/v1/phone/sessions…` and `qrid`, or `show` for a code that shows a license (亮照).
#[utoipa::path(
    post, path = "/authenticationService/appserver.do", tag = "compatibility", request_body = Object,
    responses(
        (status = 200, description = "`message_header` with `errorCode` `0`, or the code of why not; `message_content`", body = Object),
        (status = "4XX", description = "too many phones; in the same form", body = Object),
    )
)]
pub(crate) async fn post_phone_message(
    State(gateway): State<Gateway>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Problem> {
    let octets = body::read(request.into_body(), LARGEST, Patience::of(&gateway.config.server)).await?;
    let (kind, content) = Message::of_phone(&octets)?;
    let kind = KINDS.into_iter().find(|known| *known == kind).ok_or_else(Problem::businesstype_unknown)?;
    let told = told(gateway.clone(), peer, kind, content).await;
    gateway.metrics.compat(kind, told.as_ref().map_or_else(Problem::code, |_| "ok"));
    Ok(no_store(answer("1", "", told?)))
}

async fn told(
    gateway: Gateway,
    peer: Peer,
    kind: &str,
    mut content: Map<String, Value>,
) -> Result<Map<String, Value>, Problem> {
    let mut session = || match content.remove("qrid") {
        Some(Value::String(id)) => Ok(Segment(id)),
        _ => Err(missing("message_content.qrid")),
    };
    let (state, from) = (State(gateway.clone()), Extension(peer.clone()));
    match kind {
        "scan" => members(phone::scan_session(state, from, read(content)?).await?),
        "confirm" => {
            let session = session()?;
            members(phone::confirm_session(state, from, session, read(content)?).await?)
        }
        "deny" => {
            let session = session()?;
            members(phone::deny_session(state, from, session, read(content)?).await?)
        }
        _ => {
            phone::admit(&gateway, &peer)?;
            let JsonBody(request) = read(content)?;
            shown::show(&gateway, request).await
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(content: Map<String, Value>) -> Result<JsonBody<T>, Problem> {
    part(&Value::Object(content), "message_content").map(JsonBody)
}

fn members(answer: Json<impl Serialize>) -> Result<Map<String, Value>, Problem> {
    match serde_json::to_value(answer.0) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(Problem::session_broken("answer")),
    }
}
