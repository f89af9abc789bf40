//! How a mandate stands, and how it would stand after a step: what a second person approves.

use config::MandateNumber;
use serde_json::{Map, Value, json};
use store::{Mandate, StoreError};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::act::MandateStep;
use super::masked;
use crate::apps::sm3_hex;
use crate::problem::Problem;
use crate::state::Gateway;

type View = Map<String, Value>;

/// How things stand now: all that a step rests on.
///
/// # Errors
/// The database does not say.
pub(crate) async fn view(gateway: &Gateway, id: &MandateNumber) -> Result<View, Problem> {
    let found = match gateway.store.mandate(id).await {
        Ok(found) => Some(found),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => return Err(Problem::from_mandates(&error)),
    };
    let mut view = View::from_iter([("exists".to_owned(), found.is_some().into())]);
    if let Some(mandate) = found {
        view.extend(registered(&mandate));
    }
    Ok(view)
}

impl MandateStep {
    /// How things stand after it, where they stood so before.
    pub(crate) fn change(self, view: &mut View) {
        let version = view.get("version").and_then(Value::as_u64).unwrap_or(0) + 1;
        view.insert("state".to_owned(), json!(self.state()));
        view.insert("version".to_owned(), version.into());
    }
}

fn registered(mandate: &Mandate) -> View {
    let terms = &mandate.terms;
    let certificate = mandate.certificates.first().map(|certificate| {
        json!({
            "subject": certificate.subject(), "issuer": certificate.issuer(), "serial": certificate.serial_hex(),
            "not_after": moment(certificate.not_after()), "sm3": sm3_hex(certificate.der()),
        })
    });
    View::from_iter([
        ("state".to_owned(), json!(mandate.state)),
        ("version".to_owned(), mandate.version.into()),
        ("enterprise".to_owned(), json!({"name": mandate.name, "uscc": mandate.enterprise.as_str()})),
        (
            "granted_by".to_owned(),
            json!({"name": mandate.grantor.name, "id_number": masked(&mandate.grantor.id_number)}),
        ),
        ("evidence_sm3".to_owned(), json!(mandate.evidence)),
        ("apps".to_owned(), json!(mandate.apps)),
        ("formats".to_owned(), json!(terms.formats)),
        ("purposes".to_owned(), json!(terms.purposes)),
        ("branches".to_owned(), json!(terms.branches)),
        ("per_day".to_owned(), json!(terms.per_day)),
        ("in_all".to_owned(), json!(terms.in_all)),
        ("largest_octets".to_owned(), json!(terms.largest_octets)),
        ("valid_from".to_owned(), moment(terms.valid_from)),
        ("valid_until".to_owned(), moment(terms.valid_until)),
        ("certificate".to_owned(), json!(certificate)),
    ])
}

fn moment(at: OffsetDateTime) -> Value {
    at.format(&Rfc3339).map_or(Value::Null, Value::String)
}
