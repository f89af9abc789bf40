//! The caller's memory, in and out.

use cryptoki_sys::*;

use crate::{
    error::{Error, Result},
    objects::Template,
    operations::{Output, Room},
};

/// A length that can be one of something in memory.
fn length(len: CK_ULONG, size: usize) -> Result<usize> {
    let len = usize::try_from(len).map_err(|_| Error::ArgumentsBad)?;
    match len.checked_mul(size) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(len),
        _ => Err(Error::ArgumentsBad),
    }
}

/// Octets given by the caller; a null pointer stands for none.
///
/// # Safety
/// See the head of [`super`].
pub(super) unsafe fn octets<'a>(pointer: *const CK_BYTE, len: CK_ULONG) -> Result<&'a [u8]> {
    match (pointer.is_null(), length(len, 1)?) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Error::ArgumentsBad),
        (false, len) => Ok(unsafe { std::slice::from_raw_parts(pointer, len) }),
    }
}

/// A buffer to be filled whole.
///
/// # Safety
/// See the head of [`super`].
pub(super) unsafe fn buffer<'a>(pointer: *mut CK_BYTE, len: CK_ULONG) -> Result<&'a mut [u8]> {
    match (pointer.is_null(), length(len, 1)?) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(Error::ArgumentsBad),
        (false, len) => {
            // The caller may never have written to it.
            unsafe { pointer.write_bytes(0, len) };
            Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
        }
    }
}

/// A structure given by the caller.
///
/// # Safety
/// See the head of [`super`]; `T` is a plain C structure.
pub(super) unsafe fn read<T: Copy>(pointer: *const T) -> Result<T> {
    if pointer.is_null() {
        return Err(Error::ArgumentsBad);
    }
    Ok(unsafe { pointer.read_unaligned() })
}

/// An answer's place.
///
/// # Safety
/// See the head of [`super`].
pub(super) unsafe fn write<T>(pointer: *mut T, value: T) -> Result<()> {
    if pointer.is_null() {
        return Err(Error::ArgumentsBad);
    }
    unsafe { pointer.write_unaligned(value) };
    Ok(())
}

/// A list by the protocol of `C_GetSlotList`: a null pointer asks for the count, a short buffer is refused with it.
///
/// # Safety
/// See the head of [`super`].
pub(super) unsafe fn write_list<T: Copy>(place: *mut T, count: *mut CK_ULONG, items: &[T]) -> Result<()> {
    let room = unsafe { read(count) }?;
    unsafe { write(count, items.len() as CK_ULONG) }?;
    if place.is_null() {
        return Ok(());
    }
    if length(room, size_of::<T>())? < items.len() {
        return Err(Error::BufferTooSmall);
    }
    for (i, item) in items.iter().enumerate() {
        unsafe { place.add(i).write_unaligned(*item) };
    }
    Ok(())
}

/// Octets by the protocol of section 11.2: a null pointer asks for the length, a short buffer is refused with it.
///
/// # Safety
/// See the head of [`super`].
pub(super) unsafe fn output(
    place: *mut CK_BYTE,
    len: *mut CK_ULONG,
    produce: impl FnOnce(Room) -> Result<Output>,
) -> Result<()> {
    let room = length(unsafe { read(len) }?, 1);
    let room = if place.is_null() { Room::Query } else { Room::Octets(room?) };
    let octets = match produce(room)? {
        Output::Length(needed) => return unsafe { write(len, needed as CK_ULONG) },
        Output::TooSmall(needed) => {
            unsafe { write(len, needed as CK_ULONG) }?;
            return Err(Error::BufferTooSmall);
        }
        Output::Octets(octets) => octets,
    };
    unsafe { place.copy_from(octets.as_ptr(), octets.len()) };
    unsafe { write(len, octets.len() as CK_ULONG) }
}

/// The structures of a template.
///
/// # Safety
/// See the head of [`super`].
pub(super) unsafe fn attributes(pointer: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Vec<CK_ATTRIBUTE>> {
    let count = length(count, size_of::<CK_ATTRIBUTE>())?;
    (0..count).map(|i| unsafe { read(pointer.wrapping_add(i)) }).collect()
}

/// A template with its values.
///
/// # Safety
/// See the head of [`super`].
pub(super) unsafe fn template(pointer: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Template> {
    let value = |entry: CK_ATTRIBUTE| {
        let octets = unsafe { octets(entry.pValue.cast(), entry.ulValueLen) }?;
        Ok((entry.type_, octets.to_vec()))
    };
    unsafe { attributes(pointer, count) }?.into_iter().map(value).collect()
}

/// Answers a template, entry by entry, as `C_GetAttributeValue` prescribes; the error, if any, is the call's.
///
/// # Safety
/// See the head of [`super`].
pub(super) unsafe fn answer_template(pointer: *mut CK_ATTRIBUTE, answers: &[Result<Vec<u8>>]) -> Result<()> {
    let mut outcome = Ok(());
    for (i, answer) in answers.iter().enumerate() {
        let place = pointer.wrapping_add(i);
        let mut entry = unsafe { read(place) }?;
        match answer {
            Err(error) => {
                entry.ulValueLen = CK_UNAVAILABLE_INFORMATION;
                outcome = outcome.and(Err(*error));
            }
            Ok(value) if entry.pValue.is_null() => entry.ulValueLen = value.len() as CK_ULONG,
            Ok(value) if length(entry.ulValueLen, 1)? < value.len() => {
                entry.ulValueLen = CK_UNAVAILABLE_INFORMATION;
                outcome = outcome.and(Err(Error::BufferTooSmall));
            }
            Ok(value) => {
                unsafe { entry.pValue.cast::<u8>().copy_from(value.as_ptr(), value.len()) };
                entry.ulValueLen = value.len() as CK_ULONG;
            }
        }
        unsafe { write(place, entry) }?;
    }
    outcome
}

/// A text padded with blanks, as PKCS#11's fixed fields are; cut if too long, at a character's start.
pub(super) fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    let end = text.floor_char_boundary(N);
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_lengths_are_refused_before_memory_is_touched() {
        let somewhere = 1_u8;
        assert_eq!(unsafe { octets(&somewhere, CK_ULONG::MAX) }, Err(Error::ArgumentsBad));
        assert_eq!(unsafe { octets(std::ptr::null(), 1) }, Err(Error::ArgumentsBad));
        assert_eq!(unsafe { octets(std::ptr::null(), 0) }, Ok(&[][..]));
        assert!(unsafe { attributes(std::ptr::null(), CK_ULONG::MAX / 8) }.is_err());
    }

    #[test]
    fn a_field_is_cut_between_characters() {
        assert_eq!(&padded::<4>("ab"), b"ab  ");
        assert_eq!(&padded::<4>("执照"), "执 ".as_bytes());
    }
}
