//! How a seal stands, and how it would stand after an act on it: what a second person approves.

use config::SealNumber;
use formats::Certificate;
use formats::seal::{HolderList, Picture, Vector};
use serde_json::{Map, Value, json};
use store::{RegisteredSeal, SealState, StoreError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::act::SealAct;
use super::form::SealDraft;
use crate::apps::sm3_hex;
use crate::problem::Problem;
use crate::state::Gateway;

type View = Map<String, Value>;

impl SealAct {
    /// How things stand now: all that the act changes or rests on.
    ///
    /// # Errors
    /// The database does not say.
    pub(crate) async fn view(&self, gateway: &Gateway) -> Result<View, Problem> {
        let found = find(gateway, self.seal()).await?;
        let mut view = View::from_iter([("exists".to_owned(), found.is_some().into())]);
        if let Some(seal) = found {
            view.extend(registered(&seal));
        }
        if let Self::Replace { by, .. } = self {
            let by = find(gateway, by).await?;
            view.insert("new".to_owned(), by.map_or(Value::Null, |seal| Value::Object(registered(&seal))));
        }
        Ok(view)
    }

    /// How things stand after it, where they stood so before; none of what is not its own.
    pub(crate) fn change(&self, view: &mut View) {
        let version = view.get("version").and_then(Value::as_u64).unwrap_or(0) + 1;
        let state = match self {
            Self::Make { seal, .. } => {
                // It was read before it was asked for.
                view.extend(seal.draft().map(|draft| drafted(&draft)).unwrap_or_default());
                return;
            }
            Self::Suspend { .. } => SealState::Suspended,
            Self::Resume { .. } => SealState::Active,
            Self::Revoke { .. } => SealState::Revoked,
            Self::Replace { by, seal, .. } => {
                let draft = seal.draft().map(|draft| drafted(&draft)).unwrap_or_default();
                view.insert("new".to_owned(), Value::Object(draft));
                view.insert("replaced_by".to_owned(), json!(by));
                SealState::Replaced
            }
        };
        view.insert("state".to_owned(), json!(state));
        view.insert("version".to_owned(), version.into());
    }
}

/// The seal, if there is one.
async fn find(gateway: &Gateway, id: &SealNumber) -> Result<Option<RegisteredSeal>, Problem> {
    match gateway.store.seal(id).await {
        Ok(seal) => Ok(Some(seal)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(Problem::from_seals(&error)),
    }
}

fn registered(seal: &RegisteredSeal) -> View {
    let info = seal.seal.info();
    let mut view = View::from_iter([
        ("state".to_owned(), json!(seal.state)),
        ("version".to_owned(), seal.version.into()),
        ("replaced_by".to_owned(), json!(seal.replaced_by)),
        ("kind".to_owned(), json!(seal.kind)),
        ("name".to_owned(), json!(info.name)),
        ("holder".to_owned(), json!({"name": seal.holder.name, "uscc": code(seal.holder.uscc.as_ref())})),
        ("valid_from".to_owned(), moment(info.valid_from)),
        ("valid_until".to_owned(), moment(info.valid_until)),
        ("list".to_owned(), list(matches!(info.holders, HolderList::Digests(_)))),
    ]);
    view.extend(look(&info.picture, seal.svg.as_deref(), &seal.certificates));
    view
}

/// As [`registered`] will have it.
fn drafted(draft: &SealDraft) -> View {
    let mut view = View::from_iter([
        ("state".to_owned(), json!(SealState::Active)),
        ("version".to_owned(), json!(1)),
        ("replaced_by".to_owned(), Value::Null),
        ("kind".to_owned(), json!(draft.kind)),
        ("name".to_owned(), json!(draft.name)),
        ("holder".to_owned(), json!({"name": draft.holder.name, "uscc": code(draft.holder.uscc.as_ref())})),
        ("valid_from".to_owned(), moment(draft.valid_from)),
        ("valid_until".to_owned(), moment(draft.valid_until)),
        ("list".to_owned(), list(draft.by_digest)),
    ]);
    let svg = draft.drawing.as_ref().map(Vector::source);
    view.extend(look(&draft.picture, svg, &draft.certificates));
    view
}

fn look(picture: &Picture, svg: Option<&str>, certificates: &[Certificate]) -> View {
    let shown = |certificate: &Certificate| {
        json!({
            "subject": certificate.subject(), "serial": certificate.serial_hex(),
            "not_after": moment(certificate.not_after()), "sm3": sm3_hex(certificate.der()),
        })
    };
    View::from_iter([
        ("picture_sm3".to_owned(), sm3_hex(&picture.octets).into()),
        ("svg_sm3".to_owned(), svg.map_or(Value::Null, |svg| sm3_hex(svg.as_bytes()).into())),
        ("picture_mm".to_owned(), json!([picture.width, picture.height])),
        ("certificates".to_owned(), certificates.iter().map(shown).collect()),
    ])
}

fn code(uscc: Option<&formats::Uscc>) -> Value {
    uscc.map_or(Value::Null, |uscc| uscc.as_str().into())
}

fn list(by_digest: bool) -> Value {
    if by_digest { "digests".into() } else { "certificates".into() }
}

fn moment(at: OffsetDateTime) -> Value {
    at.format(&Rfc3339).map_or(Value::Null, Value::String)
}
