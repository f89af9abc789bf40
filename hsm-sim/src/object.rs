//! Objects: attributes, where they live, and the key inside.

use std::sync::OnceLock;

use cryptoki_sys::*;

use crate::{
    attributes::Attributes,
    crypto::Key,
    error::{Error, Result},
    folder::ObjectName,
    mechanism::{Call, KeyKind, Usage},
    rules::is_key_material,
};

/// Where an object lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Home {
    /// Until that session closes.
    Session(CK_SESSION_HANDLE),
    /// In the token's folder.
    Token(ObjectName),
}

/// An object; never changed in place, only replaced.
pub(crate) struct Object {
    attributes: Attributes,
    home: Home,
    kind: Option<KeyKind>,
    /// Parsed at first use, then shared by every operation.
    key: OnceLock<Key>,
}

impl Object {
    /// `kind` is what the dialect makes of `CKA_KEY_TYPE`; `key` spares parsing if the caller has it.
    pub(crate) fn new(attributes: Attributes, home: Home, kind: Option<KeyKind>, key: Option<Key>) -> Self {
        Self { attributes, home, kind, key: key.map_or_else(OnceLock::new, OnceLock::from) }
    }

    pub(crate) fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn kind(&self) -> Option<KeyKind> {
        self.kind
    }

    pub(crate) fn class(&self) -> CK_OBJECT_CLASS {
        self.attributes.number(CKA_CLASS).unwrap_or(CKO_VENDOR_DEFINED)
    }

    /// Its `CKA_ID`; empty if it has none.
    pub(crate) fn id(&self) -> &[u8] {
        self.attributes.get(CKA_ID).unwrap_or_default()
    }

    pub(crate) fn flag(&self, attribute: CK_ATTRIBUTE_TYPE) -> bool {
        self.attributes.flag(attribute)
    }

    /// The key, parsed. The material of a token's public object stays sealed until the first login.
    pub(crate) fn key(&self) -> Result<&Key> {
        if let Some(key) = self.key.get() {
            return Ok(key);
        }
        let kind = self.kind.ok_or(Error::KeyHandleInvalid)?;
        let parsed = Key::parse(self.class(), kind, &self.attributes).map_err(|error| match error {
            Error::TemplateIncomplete => Error::UserNotLoggedIn,
            _ => Error::FunctionFailed,
        })?;
        Ok(self.key.get_or_init(|| parsed))
    }

    /// Whether this is a key whose material is still under the token key.
    pub(crate) fn key_is_sealed(&self) -> bool {
        let secret = matches!(self.class(), CKO_PRIVATE_KEY | CKO_SECRET_KEY);
        secret
            && [CKA_VALUE, CKA_PRIVATE_EXPONENT]
                .iter()
                .all(|material| self.attributes.get(*material).is_none())
    }

    /// Whether the key may be used so.
    pub(crate) fn permit(&self, call: &Call, usage: Usage) -> Result<()> {
        let flagged = usage.attribute().is_none_or(|attribute| self.flag(attribute));
        let allowed = self.attributes.numbers(CKA_ALLOWED_MECHANISMS);
        if flagged && allowed.is_none_or(|numbers| numbers.contains(&call.number)) {
            Ok(())
        } else {
            Err(Error::KeyFunctionNotPermitted)
        }
    }

    /// A value as `C_GetAttributeValue` gives it.
    pub(crate) fn reveal(&self, attribute: CK_ATTRIBUTE_TYPE) -> Result<&[u8]> {
        if self.hides(attribute) {
            return Err(Error::AttributeSensitive);
        }
        self.attributes.get(attribute).ok_or(Error::AttributeTypeInvalid)
    }

    /// Whether every attribute of the template is there with the same value. Hidden values match nothing.
    pub(crate) fn matches(&self, template: &[(CK_ATTRIBUTE_TYPE, Vec<u8>)]) -> bool {
        template
            .iter()
            .all(|(attribute, value)| self.reveal(*attribute).is_ok_and(|own| own == value.as_slice()))
    }

    fn hides(&self, attribute: CK_ATTRIBUTE_TYPE) -> bool {
        let guarded = self.flag(CKA_SENSITIVE) || !self.flag(CKA_EXTRACTABLE);
        guarded && is_key_material(self.class(), attribute)
    }
}
