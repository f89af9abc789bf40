//! What a later revision changed, and what of it a signature lets pass.

use std::collections::BTreeSet;

use lopdf::{Dictionary, Object};
use serde::Serialize;

use super::super::PdfError;
use super::super::document::View;

/// The first permission of a certified document that lets a change pass (ISO 32000-2, table 257).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::pdf) enum Needs {
    /// Nothing: what keeps signatures verifiable.
    Nothing,
    /// Filling in forms and signing.
    FormFilling,
    /// Annotations too.
    Annotations,
    /// No permission covers it.
    Never,
}

/// One thing that a later revision changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The revision that brought it, from 0.
    pub(super) revision: usize,
    pub(super) object: Option<u32>,
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) needs: Needs,
    /// The form field it is of, for locks.
    pub(super) field: Option<String>,
    /// It is a new field that shows something: on a certified document that could be anything.
    pub(super) shows: bool,
}

/// A change, as reported with a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangeReport {
    /// The revision that brought it, counted from 1.
    pub revision: usize,
    /// The number of the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<u32>,
    /// The kind of change: a code of findings, or one of those that are let pass.
    pub code: &'static str,
    /// Which field, which key.
    pub detail: String,
    /// The signature lets it pass.
    pub permitted: bool,
}

/// What a signature lets later revisions do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pdf) struct Permissions {
    pub(in crate::pdf) most: Needs,
    /// The document is certified.
    pub(super) certified: bool,
    pub(in crate::pdf) locks: Vec<Lock>,
}

/// Fields that must stay as they are (ISO 32000-2, table 259).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pdf) enum Lock {
    All,
    Only(BTreeSet<String>),
    AllBut(BTreeSet<String>),
}

impl Lock {
    /// What cannot be read locks more rather than less, as for who signs.
    fn read(view: &View<'_, '_>, dictionary: &Dictionary) -> Result<Self, PdfError> {
        let mut names = BTreeSet::new();
        let mut unreadable = false;
        for name in view.array(dictionary, b"Fields")? {
            match lopdf::decode_text_string(&view.resolve(&name)?) {
                Ok(name) => drop(names.insert(name)),
                Err(_) => unreadable = true,
            }
        }
        Ok(match view.get(dictionary, b"Action")? {
            Some(Object::Name(action)) if action == b"Include" && !unreadable => Self::Only(names),
            Some(Object::Name(action)) if action == b"Exclude" => Self::AllBut(names),
            _ => Self::All,
        })
    }

    pub(in crate::pdf) fn covers(&self, field: &str) -> bool {
        // A name stands for the fields below it too.
        let named = |names: &BTreeSet<String>| {
            names.iter().any(|name| {
                field == name || field.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        match self {
            Self::All => true,
            Self::Only(names) => named(names),
            Self::AllBut(names) => !named(names),
        }
    }
}

impl Permissions {
    /// What the references of a signature dictionary and the lock of its field say, and the level that it certifies.
    pub(in crate::pdf) fn read(
        view: &View<'_, '_>,
        signature: &Dictionary,
        field: &Dictionary,
    ) -> Result<(Self, Option<i64>), PdfError> {
        let mut permissions = Self { most: Needs::Annotations, certified: false, locks: Vec::new() };
        let mut certified = None;
        for reference in view.array(signature, b"Reference")? {
            let Object::Dictionary(reference) = view.resolve(&reference)? else { continue };
            let parameters = view.dictionary(&reference, b"TransformParams")?.unwrap_or_default();
            match view.get(&reference, b"TransformMethod")? {
                Some(Object::Name(method)) if method == b"DocMDP" => {
                    let level = view.get(&parameters, b"P")?.map_or(2, |level| level.as_i64().unwrap_or(1));
                    certified = Some(level);
                    permissions.most = needs(level);
                }
                Some(Object::Name(method)) if method == b"FieldMDP" => {
                    permissions.locks.push(Lock::read(view, &parameters)?);
                }
                _ => {}
            }
        }
        if let Some(lock) = view.dictionary(field, b"Lock")? {
            permissions.locks.push(Lock::read(view, &lock)?);
            if let Some(level) = view.get(&lock, b"P")?.and_then(|level| level.as_i64().ok()) {
                permissions.most = permissions.most.min(needs(level));
            }
        }
        Ok((permissions, certified))
    }

    /// None where it passes, otherwise the code of the finding.
    pub(super) fn objection(&self, change: &Change) -> Option<&'static str> {
        if change.needs == Needs::Never {
            return Some(change.code);
        }
        if change.needs > self.most || self.certified && change.shows {
            return Some("change_not_permitted");
        }
        let locked = |field: &String| self.locks.iter().any(|lock| lock.covers(field));
        let fills = matches!(change.code, "form_filled" | "signature_added");
        let filled = fills && change.field.as_ref().is_some_and(locked);
        filled.then_some("locked_field_changed")
    }
}

/// Levels that the standard does not know permit nothing.
fn needs(level: i64) -> Needs {
    match level {
        2 => Needs::FormFilling,
        3 => Needs::Annotations,
        _ => Needs::Nothing,
    }
}
