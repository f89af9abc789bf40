//! What earlier signatures (ISO 32000-1, 12.8.2.2 and 12.8.2.4) and the field itself allow.

use lopdf::{Dictionary, Object};

use super::SignaturePlan;
use super::error::SignError;
use super::source::Source;
use crate::pdf::SignatureField;
use crate::pdf::verify::{Needs, Permissions, is_visible};
use crate::scheme::HashAlgorithm;

/// What earlier signatures leave to later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Allowed {
    /// DocMDP level 1, or one that the standard does not know: validation data and document timestamps alone (ISO 32000-2, 12.8.2.2.2).
    Nothing,
    /// Level 2: filling in the form and signing in fields.
    FormFilling,
    /// Level 3: annotations too.
    Annotations,
    /// Nobody certified the document.
    Everything,
}

impl From<Needs> for Allowed {
    fn from(most: Needs) -> Self {
        match most {
            Needs::Nothing => Self::Nothing,
            Needs::FormFilling => Self::FormFilling,
            Needs::Annotations | Needs::Never => Self::Annotations,
        }
    }
}

/// What the certifications and the locks of all signatures together allow, as whoever verifies them reads them.
pub(super) struct Permitted {
    pub(super) changes: Allowed,
    signatures: Vec<Permissions>,
}

impl Permitted {
    pub(super) fn read(source: &Source<'_>, fields: &[SignatureField]) -> Result<Self, SignError> {
        let mut permitted = Self { changes: Allowed::Everything, signatures: Vec::new() };
        let (_, catalog) = source.catalog()?;
        // Other programs look for the certification here, which may be that of no field.
        let named = source.dictionary(catalog, b"Perms");
        if let Some(certification) = named.and_then(|named| source.dictionary(named, b"DocMDP")) {
            let (permissions, level) = Permissions::read(source.view(), certification, &Dictionary::new())?;
            permitted.changes = level.map_or(Allowed::FormFilling, |_| permissions.most.into());
        }
        for field in fields {
            let Some(value) = &field.value else { continue };
            let (permissions, level) =
                Permissions::read(source.view(), &value.dictionary, &field.dictionary)?;
            // ISO 32000-2, table 236: a lock may lower the level.
            if level.is_some() || permissions.most < Needs::Annotations {
                permitted.changes = permitted.changes.min(permissions.most.into());
            }
            permitted.signatures.push(permissions);
        }
        Ok(permitted)
    }

    /// Has an earlier signature locked the field of this name?
    pub(super) fn locks(&self, name: &str) -> bool {
        self.signatures.iter().any(|signature| signature.locks.iter().any(|lock| lock.covers(name)))
    }
}

/// Is the field, or a widget of it, seen on a page?
pub(super) fn is_seen(source: &Source<'_>, field: &SignatureField) -> bool {
    let kids = source.array(&field.dictionary, b"Kids").unwrap_or_default();
    let mut kids = kids.iter().filter_map(|kid| source.follow(kid).as_dict().ok());
    is_visible(&field.dictionary) || kids.any(is_visible)
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
