//! What earlier signatures (ISO 32000-1, 12.8.2.2 and 12.8.2.4) and the field itself allow.

use lopdf::{Dictionary, Object};

use super::SignaturePlan;
use super::error::SignError;
use super::source::Source;
use crate::pdf::SignatureField;
use crate::scheme::HashAlgorithm;

/// What earlier signatures leave to later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Allowed {
    /// DocMDP level 1: validation data and document timestamps alone (ISO 32000-2, 12.8.2.2.2).
    Nothing,
    /// Level 2: filling in the form and signing in fields.
    FormFilling,
    /// Level 3: annotations too.
    Annotations,
    /// Nobody certified the document.
    Everything,
}

impl Allowed {
    fn of_level(level: Option<i64>) -> Self {
        match level {
            Some(1) => Self::Nothing,
            Some(3) => Self::Annotations,
            _ => Self::FormFilling, // the default (ISO 32000-1, table 254)
        }
    }
}

/// What the certification and the locks of all signatures together allow.
pub(super) fn allowed(source: &Source<'_>, fields: &[SignatureField]) -> Result<Allowed, SignError> {
    let (_, catalog) = source.catalog()?;
    let mut allowed = Allowed::Everything;
    if let Some(certification) =
        source.dictionary(catalog, b"Perms").and_then(|permissions| source.dictionary(permissions, b"DocMDP"))
    {
        allowed = transform(source, certification, b"DocMDP")
            .map_or(Allowed::FormFilling, |parameters| Allowed::of_level(source.integer(parameters, b"P")));
    }
    for field in fields.iter().filter(|field| field.value.is_some()) {
        // ISO 32000-2, table 236: a lock may lower the level.
        let lock = source.dictionary(&field.dictionary, b"Lock");
        if let Some(level) = lock.and_then(|lock| source.integer(lock, b"P")) {
            allowed = allowed.min(Allowed::of_level(Some(level)));
        }
    }
    Ok(allowed)
}

/// Has an earlier signature locked the field of this name (FieldMDP)?
pub(super) fn is_locked(source: &Source<'_>, fields: &[SignatureField], name: &str) -> bool {
    let signatures = fields.iter().filter_map(|field| field.value.as_ref());
    signatures.filter_map(|value| transform(source, &value.dictionary, b"FieldMDP")).any(|parameters| {
        let listed = || {
            let names = source.array(parameters, b"Fields").unwrap_or_default();
            names.iter().filter_map(|name| lopdf::decode_text_string(source.follow(name)).ok()).any(
                |listed| {
                    // A name stands for all under it as well.
                    name == listed || name.strip_prefix(&listed).is_some_and(|rest| rest.starts_with('.'))
                },
            )
        };
        match source.name(parameters, b"Action") {
            Some(b"Include") => listed(),
            Some(b"Exclude") => !listed(),
            _ => true, // All, or what is not known
        }
    })
}

/// The parameters of a signature's reference with this transform method.
fn transform<'s>(source: &'s Source<'_>, signature: &'s Dictionary, method: &[u8]) -> Option<&'s Dictionary> {
    let references = source.array(signature, b"Reference")?;
    let references = references.iter().filter_map(|reference| source.follow(reference).as_dict().ok());
    let mut of_method =
        references.filter(|reference| source.name(reference, b"TransformMethod") == Some(method));
    source.dictionary(of_method.next()?, b"TransformParams")
}

/// The requirements of a seed value (ISO 32000-1, table 234) that are not met; wishes are not asked for.
pub(super) fn seed_value(
    source: &Source<'_>,
    field: &SignatureField,
    plan: &SignaturePlan,
) -> Result<(), SignError> {
    const FILTER: i64 = 1;
    const SUB_FILTER: i64 = 1 << 1;
    const REASONS: i64 = 1 << 3;
    const REVOCATION: i64 = 1 << 5;
    const DIGEST: i64 = 1 << 6;
    let Some(seed) = source.dictionary(&field.dictionary, b"SV") else { return Ok(()) };
    let required = source.integer(seed, b"Ff").unwrap_or(0);
    let names = |key| source.array(seed, key).unwrap_or_default();
    if required & FILTER != 0 && source.name(seed, b"Filter").is_some_and(|name| name != b"Adobe.PPKLite") {
        return Err(SignError::SeedValue("signature handler"));
    }
    if required & SUB_FILTER != 0
        && !names(b"SubFilter")
            .iter()
            .any(|name| source.follow(name).as_name().ok() == Some(plan.sub_filter.name().as_bytes()))
    {
        return Err(SignError::SeedValue("signature format"));
    }
    let text = |object: &Object| lopdf::decode_text_string(source.follow(object)).ok();
    if required & REASONS != 0 && !names(b"Reasons").iter().any(|reason| text(reason) == plan.reason) {
        return Err(SignError::SeedValue("reason"));
    }
    let digest = match plan.hash {
        HashAlgorithm::Sm3 => "SM3",
        HashAlgorithm::Sha256 => "SHA256",
        HashAlgorithm::Sha384 => "SHA384",
        HashAlgorithm::Sha512 => "SHA512",
    };
    if required & DIGEST != 0
        && !names(b"DigestMethod").iter().any(|method| text(method).as_deref() == Some(digest))
    {
        return Err(SignError::SeedValue("digest"));
    }
    if required & REVOCATION != 0 && source.entry(seed, b"AddRevInfo") == Some(&Object::Boolean(true)) {
        return Err(SignError::SeedValue("place of revocation data"));
    }
    let certifies = source.dictionary(seed, b"MDP").and_then(|mdp| source.integer(mdp, b"P"));
    let planned = plan.certification.map_or(0, super::Certification::level);
    if certifies.is_some_and(|level| level != planned) {
        return Err(SignError::SeedValue("certification"));
    }
    if required & !(FILTER | SUB_FILTER | REASONS | REVOCATION | DIGEST | 1 << 2) != 0 {
        return Err(SignError::SeedValue("property"));
    }
    Ok(())
}
