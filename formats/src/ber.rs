//! BER (X.690, 8) brought into DER's form of lengths and strings, so that one reader serves both. CMS may come in
//! BER (RFC 5652, 2); products that stream it write indefinite lengths and strings in pieces.
//!
//! What changes: lengths become definite and minimal, strings in pieces become whole. What does not: the order of
//! sets and the content of everything else, so that what was signed in DER stays as it was signed. The crates that
//! read BER (`bcder`, `rasn`, `der` 0.8) read it into types of their own and keep no octets; hence this page.
//!
//! Bounded: [`MAX_DEPTH`] levels, and never more than twice the octets that came in.

use std::borrow::Cow;

use crate::error::FormatError;

/// The most levels of nesting.
pub const MAX_DEPTH: usize = 32;

const WHAT: &str = "BER element";
const CONSTRUCTED: u8 = 0x20;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
/// The universal string types (X.680, 41): UTF8, numeric, printable, teletex, videotex, IA5, graphic, visible,
/// general, universal, BMP.
const STRINGS: [u8; 12] = [0x04, 0x0c, 0x12, 0x13, 0x14, 0x15, 0x16, 0x19, 0x1a, 0x1b, 0x1c, 0x1e];

/// The one element in `ber` with definite, minimal lengths and whole strings; borrowed if it has them already.
///
/// # Errors
/// [`FormatError::Malformed`] for what is no single BER element, nests too deeply, or holds a bit string in pieces.
pub fn to_der(ber: &[u8]) -> Result<Cow<'_, [u8]>, FormatError> {
    let mut rest = ber;
    let mut der = Vec::with_capacity(ber.len());
    element(&mut rest, &mut der, 0)?;
    if !rest.is_empty() {
        return Err(malformed("octets stand behind it"));
    }
    Ok(if der == ber { Cow::Borrowed(ber) } else { Cow::Owned(der) })
}

/// The one element that `ber` begins with, as it stands there, and what is behind it.
///
/// # Errors
/// As [`to_der`], what stands behind it apart.
pub fn split_first(ber: &[u8]) -> Result<(&[u8], &[u8]), FormatError> {
    let mut rest = ber;
    element(&mut rest, &mut Vec::new(), 0)?;
    Ok((&ber[..ber.len() - rest.len()], rest))
}

fn malformed(reason: &str) -> FormatError {
    FormatError::malformed(WHAT, reason)
}

/// Takes one element off `rest` and writes it.
fn element(rest: &mut &[u8], der: &mut Vec<u8>, depth: usize) -> Result<(), FormatError> {
    if depth > MAX_DEPTH {
        return Err(malformed("it nests too deeply"));
    }
    let (tag, length) = header(rest)?;
    let constructed = tag[0] & CONSTRUCTED != 0;
    let universal = tag[0] & 0xc0 == 0;
    let start = der.len();
    match (constructed, length) {
        (false, None) => return Err(malformed("a primitive element has no length")),
        (false, Some(length)) => {
            der.extend_from_slice(tag);
            push_length(der, length);
            der.extend_from_slice(take(rest, length)?);
        }
        (true, length) if universal && STRINGS.contains(&(tag[0] & !CONSTRUCTED)) => {
            let mut whole = Vec::new();
            let kind = tag[0] & !CONSTRUCTED;
            each(rest, length, |rest| piece(rest, kind, &mut whole, depth + 1))?;
            der.push(kind);
            push_length(der, whole.len());
            der.extend_from_slice(&whole);
        }
        (true, _) if universal && tag[0] & !CONSTRUCTED == BIT_STRING => {
            return Err(malformed("a bit string comes in pieces"));
        }
        (true, length) => {
            each(rest, length, |rest| element(rest, der, depth + 1))?;
            let mut head = tag.to_vec();
            push_length(&mut head, der.len() - start);
            der.splice(start..start, head);
        }
    }
    Ok(())
}

/// A piece of a string: a primitive one of the same type or an octet string, or pieces again (X.690, 8.7.3, 8.23.6).
fn piece(rest: &mut &[u8], kind: u8, whole: &mut Vec<u8>, depth: usize) -> Result<(), FormatError> {
    if depth > MAX_DEPTH {
        return Err(malformed("it nests too deeply"));
    }
    let (tag, length) = header(rest)?;
    let [tag] = tag else { return Err(malformed("a string holds something else than its pieces")) };
    if ![kind, OCTET_STRING].contains(&(tag & !CONSTRUCTED)) {
        return Err(malformed("a string holds something else than its pieces"));
    }
    match (tag & CONSTRUCTED != 0, length) {
        (false, Some(length)) => whole.extend_from_slice(take(rest, length)?),
        (false, None) => return Err(malformed("a primitive element has no length")),
        (true, length) => each(rest, length, |rest| piece(rest, kind, whole, depth + 1))?,
    }
    Ok(())
}

/// Reads element after element: for a length, or up to the end-of-contents octets.
fn each(
    rest: &mut &[u8],
    length: Option<usize>,
    mut read: impl FnMut(&mut &[u8]) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    match length {
        Some(length) => {
            let mut content = take(rest, length)?;
            while !content.is_empty() {
                read(&mut content)?;
            }
        }
        None => loop {
            if let Some(after) = rest.strip_prefix(&[0, 0]) {
                *rest = after;
                break;
            }
            if rest.is_empty() {
                return Err(malformed("an element without a length has no end"));
            }
            read(rest)?;
        },
    }
    Ok(())
}

/// Takes identifier and length octets; no length stands for an indefinite one.
fn header<'a>(rest: &mut &'a [u8]) -> Result<(&'a [u8], Option<usize>), FormatError> {
    let first = *rest.first().ok_or_else(|| malformed("it breaks off"))?;
    let mut octets = 1;
    if first & 0x1f == 0x1f {
        // A high tag number: octets up to one without its top bit. None that is read here has more than two.
        let more = rest[1..].iter().take(4).position(|octet| octet & 0x80 == 0);
        octets += more.ok_or_else(|| malformed("a tag number is too long"))? + 1;
    }
    if first == 0 {
        return Err(malformed("end-of-contents octets stand alone"));
    }
    let tag = take(rest, octets)?;
    let length = match take(rest, 1)?[0] {
        0x80 => None,
        short @ 0..0x80 => Some(usize::from(short)),
        0xff => return Err(malformed("a length is reserved")),
        long => {
            let octets = take(rest, usize::from(long & 0x7f))?;
            let digits = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
            if digits.len() > 4 {
                return Err(malformed("a length is too long"));
            }
            Some(digits.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)))
        }
    };
    Ok((tag, length))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], FormatError> {
    let (taken, after) = rest.split_at_checked(length).ok_or_else(|| malformed("it breaks off"))?;
    *rest = after;
    Ok(taken)
}

/// A length in its shortest form (X.690, 10.1).
fn push_length(der: &mut Vec<u8>, length: usize) {
    match length {
        0..0x80 => der.push(length as u8),
        _ => {
            let octets = length.to_be_bytes();
            let octets = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
            der.push(0x80 | octets.len() as u8);
            der.extend_from_slice(octets);
        }
    }
}
