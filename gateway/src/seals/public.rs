//! What a relying system may see of a seal: whether it may be used, and its octets.

use axum::Json;
use axum::extract::State;
use config::{KeyId, SealNumber};
use formats::Certificate;
use serde::{Deserialize, Serialize};
use signing::SigningKey;
use store::{RegisteredSeal, SealKind, SealRefusal, SealState};
use time::OffsetDateTime;
use utoipa::ToSchema;
use verify_front::FieldGrant;

use super::form::encoded;
use super::{SealHolderResponse, known, reads};
use crate::apps::sm3_hex;
use crate::auth::{Authenticated, Scope};
use crate::body::{QueryOf, Segment};
use crate::problem::{Fault, Problem, ProblemDocument};
use crate::signatures::permit;
use crate::state::Gateway;

/// The field by which an app is granted to see whose a person's seal is.
const HOLDER: &str = "holder";

/// With which key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SealUseQuery {
    key: Option<String>,
}

/// A seal, for who relies on it or is to use it.
#[derive(Serialize, ToSchema)]
pub(crate) struct SealInUse {
    /// Its number (`esID`).
    #[schema(value_type = String)]
    number: SealNumber,
    /// `agency`, `enterprise` or `person`.
    #[schema(value_type = String)]
    kind: SealKind,
    /// What it is called; of a person's seal masked unless the caller is granted the field `holder_full`, as the holder's
    /// name is.
    name: String,
    /// Whose it is.
    holder: SealHolderResponse,
    /// `active`, `suspended`, `revoked` or `replaced`.
    #[schema(value_type = String)]
    state: SealState,
    /// When its state was changed last.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    changed_at: OffsetDateTime,
    /// Which seal took its place.
    #[schema(value_type = Option<String>)]
    replaced_by: Option<SealNumber>,
    /// From then on.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    valid_from: OffsetDateTime,
    /// Its last second.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String)]
    valid_until: OffsetDateTime,
    /// Whether it may be used now; with `key`, by that key.
    usable: bool,
    /// Why not.
    errors: Vec<Fault>,
    /// `SESeal` (GB/T 38540, version 4), DER in base64; null of a person's seal unless `holder_full` is granted.
    octets: Option<String>,
    /// SM3 of these octets, hexadecimal.
    seal_sm3: String,
}

/// A seal: whether it may be used now, by a key of the caller's if one is named, and its octets.
#[utoipa::path(
    get, path = "/v1/seals/{id}", tag = "stamps",
    params(
        ("id" = String, Path, description = "its number"),
        ("key" = Option<String>, Query, description = "a key of the caller's: may it use the seal?"),
    ),
    responses(
        (status = 200, description = "the seal", body = SealInUse),
        (status = 403, description = "`scope_missing`: needs `signatures` or `verifications`; `key_not_permitted`", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "`unknown_seal`, `unknown_key`", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(crate) async fn get_seal(
    caller: Authenticated,
    State(gateway): State<Gateway>,
    Segment(id): Segment,
    QueryOf(query): QueryOf<SealUseQuery>,
) -> Result<Json<SealInUse>, Problem> {
    let app = caller.with(Scope::Verifications).or_else(|_| caller.with(Scope::Signatures))?;
    let keys = gateway.desk.keys();
    let key = match query.key.as_deref() {
        None => None,
        Some(name) => {
            let id = KeyId::parse(name).map_err(|_| Problem::unknown_key(name))?;
            permit(app, &keys, &id)?;
            Some(keys.get(&id).ok_or_else(|| Problem::unknown_key(name))?)
        }
    };
    let (seal, refusals) = in_use(&gateway, &id, key, OffsetDateTime::now_utc()).await?;
    reads::record(&gateway, &caller, [&seal]).await?;
    let info = seal.seal.info();
    let grant = FieldGrant::new(app.fields.iter().cloned());
    let in_full = seal.kind != SealKind::Person || grant.shows_in_full(HOLDER);
    let name = |name: &str| if in_full { name.to_owned() } else { grant.person(HOLDER, name) };
    let holder = SealHolderResponse::new(&seal);
    let fault = |refusal: &SealRefusal| {
        let field = if *refusal == SealRefusal::NotListed { "key" } else { "seal" };
        Fault::new(field, refusal.code(), refusal.to_string())
    };
    Ok(Json(SealInUse {
        kind: seal.kind,
        name: name(&info.name),
        holder: SealHolderResponse { name: name(&holder.name), uscc: holder.uscc },
        state: seal.state,
        changed_at: seal.changed_at,
        valid_from: info.valid_from,
        valid_until: info.valid_until,
        usable: refusals.is_empty(),
        errors: refusals.iter().map(fault).collect(),
        octets: in_full.then(|| encoded(seal.seal.der())),
        seal_sm3: sm3_hex(seal.seal.der()),
        replaced_by: seal.replaced_by,
        number: seal.id,
    }))
}

/// The seal of this number, and every reason why it cannot be used at `at`, by this key if one is given: each copy of the
/// key's active version must be listed, because any of them may sign.
///
/// # Errors
/// There is no such seal, or the register cannot be read.
pub(crate) async fn in_use(
    gateway: &Gateway,
    id: &str,
    key: Option<&SigningKey>,
    at: OffsetDateTime,
) -> Result<(RegisteredSeal, Vec<SealRefusal>), Problem> {
    let seal = known(gateway, id).await?;
    let mut refusals = seal.refusals(None, at);
    if let Some(key) = key {
        let listed = |certificate: &Certificate| {
            !seal.refusals(Some(certificate), at).contains(&SealRefusal::NotListed)
        };
        if !key.current.copies.iter().all(|copy| copy.chain.first().is_some_and(listed)) {
            refusals.push(SealRefusal::NotListed);
        }
    }
    Ok((seal, refusals))
}
