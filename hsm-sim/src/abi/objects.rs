//! `C_CreateObject` to `C_FindObjectsFinal`.

use cryptoki_sys::*;

use super::{
    memory::{answer_template, attributes, template, write, write_list},
    run,
};
use crate::{breakdown::Visit, error::Error, function::Function};

pub(super) unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    entries: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Visit::in_session(Function::CreateObject, session), |module| {
        if object.is_null() {
            return Err(Error::ArgumentsBad);
        }
        let handle = module.create_object(session, unsafe { template(entries, count) }?)?;
        unsafe { write(object, handle) }
    })
}

pub(super) unsafe extern "C" fn C_CopyObject(
    session: CK_SESSION_HANDLE,
    original: CK_OBJECT_HANDLE,
    entries: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
    object: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Visit::in_session(Function::CopyObject, session).on(&[original]), |module| {
        if object.is_null() {
            return Err(Error::ArgumentsBad);
        }
        let handle = module.copy_object(session, original, unsafe { template(entries, count) }?)?;
        unsafe { write(object, handle) }
    })
}

pub(super) unsafe extern "C" fn C_DestroyObject(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
) -> CK_RV {
    run(Visit::in_session(Function::DestroyObject, session).on(&[object]), |module| {
        module.destroy_object(session, object)
    })
}

pub(super) unsafe extern "C" fn C_GetObjectSize(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    size: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::GetObjectSize, session).on(&[object]), |module| unsafe {
        write(size, module.object_size(session, object)? as CK_ULONG)
    })
}

pub(super) unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    entries: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::GetAttributeValue, session).on(&[object]), |module| {
        let wanted: Vec<_> = unsafe { attributes(entries, count) }?.iter().map(|entry| entry.type_).collect();
        let answers = module.attribute_values(session, object, &wanted)?;
        unsafe { answer_template(entries, &answers) }
    })
}

pub(super) unsafe extern "C" fn C_SetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    entries: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::SetAttributeValue, session).on(&[object]), |module| {
        module.set_attribute_values(session, object, unsafe { template(entries, count) }?)
    })
}

pub(super) unsafe extern "C" fn C_FindObjectsInit(
    session: CK_SESSION_HANDLE,
    entries: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::FindObjectsInit, session), |module| {
        module.find_objects_init(session, unsafe { template(entries, count) }?)
    })
}

pub(super) unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    place: *mut CK_OBJECT_HANDLE,
    most: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    run(Visit::in_session(Function::FindObjects, session), |module| {
        if place.is_null() || count.is_null() {
            return Err(Error::ArgumentsBad);
        }
        let found = module.find_objects(session, usize::try_from(most).unwrap_or(usize::MAX))?;
        unsafe {
            write(count, most)?;
            write_list(place, count, &found)
        }
    })
}

pub(super) unsafe extern "C" fn C_FindObjectsFinal(session: CK_SESSION_HANDLE) -> CK_RV {
    run(Visit::in_session(Function::FindObjectsFinal, session), |module| module.find_objects_final(session))
}
