//! `C_CreateObject` to `C_FindObjectsFinal`.

use std::sync::Arc;

use cryptoki_sys::*;

use crate::{
    attributes::Attributes,
    crypto::Key,
    error::{Error, Result},
    mechanism::KeyKind,
    module::Module,
    object::{Home, Object},
    rules::{self, Moment},
    session::Session,
};

/// A template as it came: types and values, in the caller's order.
pub type Template = Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>;

impl Module {
    /// `C_CreateObject`
    pub fn create_object(&self, handle: CK_SESSION_HANDLE, template: Template) -> Result<CK_OBJECT_HANDLE> {
        let session = self.session(handle)?;
        let mut attributes = Attributes::from_template(template)?;
        let class = attributes.number(CKA_CLASS).ok_or(Error::TemplateIncomplete)?;
        rules::check(&attributes, class, Moment::Create)?;
        let key = match class {
            CKO_PUBLIC_KEY | CKO_PRIVATE_KEY | CKO_SECRET_KEY => {
                let key = Key::parse(class, self.kind(&attributes)?, &attributes)?;
                self.describe(&key, &mut attributes)?;
                attributes.set_flag(CKA_LOCAL, false);
                attributes.set_number(CKA_KEY_GEN_MECHANISM, CK_UNAVAILABLE_INFORMATION);
                Some(key)
            }
            CKO_CERTIFICATE => {
                attributes.require(CKA_CERTIFICATE_TYPE)?;
                attributes.require(CKA_VALUE)?;
                attributes.default_to(CKA_CERTIFICATE_CATEGORY, &CK_ULONG::to_ne_bytes(0));
                None
            }
            CKO_DATA => {
                attributes.default_to(CKA_VALUE, b"");
                None
            }
            _ => return Err(Error::AttributeValueInvalid),
        };
        rules::fill_defaults(&mut attributes, class, false);
        self.place(&session, attributes, key)
    }

    /// `C_CopyObject`
    pub fn copy_object(
        &self,
        handle: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let session = self.session(handle)?;
        let original = session.slot.object(object).ok_or(Error::ObjectHandleInvalid)?;
        if !original.flag(CKA_COPYABLE) {
            return Err(Error::ActionProhibited);
        }
        let changes = Attributes::from_template(template)?;
        rules::check(&changes, original.class(), Moment::Copy)?;
        rules::check_change(original.attributes(), &changes)?;
        if original.key_is_sealed() {
            return Err(Error::UserNotLoggedIn);
        }
        let mut attributes = original.attributes().clone();
        attributes.merge(&changes);
        if original.flag(CKA_PRIVATE) && !attributes.flag(CKA_PRIVATE) {
            return Err(Error::TemplateInconsistent);
        }
        self.place(&session, attributes, None)
    }

    /// `C_DestroyObject`
    pub fn destroy_object(&self, handle: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<()> {
        let session = self.session(handle)?;
        let found = session.slot.object(object).ok_or(Error::ObjectHandleInvalid)?;
        check_writable(&session, &found)?;
        if !found.flag(CKA_DESTROYABLE) {
            return Err(Error::ActionProhibited);
        }
        session.slot.remove(object)
    }

    /// `C_GetObjectSize`: the octets of all values.
    pub fn object_size(&self, handle: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> Result<usize> {
        let session = self.session(handle)?;
        let object = session.slot.object(object).ok_or(Error::ObjectHandleInvalid)?;
        Ok(object.attributes().iter().map(|(_, value)| value.len()).sum())
    }

    /// `C_GetAttributeValue`: one answer per attribute asked for.
    pub fn attribute_values(
        &self,
        handle: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        wanted: &[CK_ATTRIBUTE_TYPE],
    ) -> Result<Vec<Result<Vec<u8>>>> {
        let session = self.session(handle)?;
        let object = session.slot.object(object).ok_or(Error::ObjectHandleInvalid)?;
        Ok(wanted.iter().map(|attribute| object.reveal(*attribute).map(<[u8]>::to_vec)).collect())
    }

    /// `C_SetAttributeValue`
    pub fn set_attribute_values(
        &self,
        handle: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: Template,
    ) -> Result<()> {
        let session = self.session(handle)?;
        let found = session.slot.object(object).ok_or(Error::ObjectHandleInvalid)?;
        check_writable(&session, &found)?;
        if !found.flag(CKA_MODIFIABLE) {
            return Err(Error::AttributeReadOnly);
        }
        let changes = Attributes::from_template(template)?;
        rules::check(&changes, found.class(), Moment::Change)?;
        rules::check_change(found.attributes(), &changes)?;
        check_trust(&session, &changes)?;
        if found.key_is_sealed() {
            return Err(Error::UserNotLoggedIn);
        }
        let mut attributes = found.attributes().clone();
        attributes.merge(&changes);
        session.slot.replace(object, attributes)
    }

    /// `C_FindObjectsInit`
    pub fn find_objects_init(&self, handle: CK_SESSION_HANDLE, template: Template) -> Result<()> {
        let session = self.session(handle)?;
        let found = session.slot.find(&template)?;
        session.begin_search(self.without_vanished(&session.slot, found))
    }

    /// `C_FindObjects`
    pub fn find_objects(&self, handle: CK_SESSION_HANDLE, most: usize) -> Result<Vec<CK_OBJECT_HANDLE>> {
        self.session(handle)?.continue_search(most)
    }

    /// `C_FindObjectsFinal`
    pub fn find_objects_final(&self, handle: CK_SESSION_HANDLE) -> Result<()> {
        self.session(handle)?.end_search()
    }

    /// The kind of key a template means.
    pub(crate) fn kind(&self, attributes: &Attributes) -> Result<KeyKind> {
        let number = attributes.number(CKA_KEY_TYPE).ok_or(Error::TemplateIncomplete)?;
        self.dialect.key_kind(number).ok_or(Error::AttributeValueInvalid)
    }

    /// Writes a key's own attributes into its object's, as the dialect shows them.
    pub(crate) fn describe(&self, key: &Key, attributes: &mut Attributes) -> Result<()> {
        key.describe(attributes)?;
        if let (Key::Sm2Private(_) | Key::Sm2Public(_), Some(class), Some(point)) =
            (key, attributes.number(CKA_CLASS), attributes.get(CKA_EC_POINT))
        {
            match self.dialect.point(class, point) {
                Some(point) => attributes.set(CKA_EC_POINT, &point),
                None => attributes.remove(CKA_EC_POINT),
            }
        }
        Ok(())
    }

    /// Puts a new object where its template says, if the session may.
    pub(crate) fn place(
        &self,
        session: &Session,
        attributes: Attributes,
        key: Option<Key>,
    ) -> Result<CK_OBJECT_HANDLE> {
        check_placement(session, &attributes)?;
        session.slot.add(session.handle, attributes, key)
    }
}

/// Whether an object with these attributes may come to be in the session.
pub(crate) fn check_placement(session: &Session, attributes: &Attributes) -> Result<()> {
    if attributes.flag(CKA_TOKEN) && !session.read_write {
        return Err(Error::SessionReadOnly);
    }
    if attributes.flag(CKA_PRIVATE) && !session.slot.login().is_user() {
        return Err(Error::UserNotLoggedIn);
    }
    if attributes.flag(CKA_ALWAYS_AUTHENTICATE) {
        return Err(Error::TemplateInconsistent);
    }
    check_trust(session, attributes)
}

/// Only the security officer says what is trusted.
fn check_trust(session: &Session, attributes: &Attributes) -> Result<()> {
    if attributes.flag(CKA_TRUSTED) && !session.slot.login().is_security_officer() {
        return Err(Error::AttributeReadOnly);
    }
    Ok(())
}

fn check_writable(session: &Session, object: &Arc<Object>) -> Result<()> {
    match object.home() {
        Home::Token(_) if !session.read_write => Err(Error::SessionReadOnly),
        _ => Ok(()),
    }
}
