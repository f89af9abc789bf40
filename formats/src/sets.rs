//! A bound on SETs before they are decoded: `der` sorts what it decodes by insertion, so that the square of
//! their length counts.

use crate::error::FormatError;

/// The most elements of a SET. Names have one to three.
const MAX_ELEMENTS: usize = 64;
/// The most elements of what may be a SET under a tag of its own; it may be a list of subtrees as well.
const MAX_TAGGED_ELEMENTS: usize = 256;
/// The deepest nesting of constructed elements.
const MAX_DEPTH: usize = 48;

/// An element whose content is being walked through.
struct Open {
    end: usize,
    /// How many elements it may still hold, if that is bounded.
    left: Option<usize>,
}

/// Refuses DER with long SETs or deep nesting. What is no DER passes: the decoder says what is wrong with it.
pub(crate) fn check(what: &'static str, der: &[u8]) -> Result<(), FormatError> {
    let mut open: Vec<Open> = Vec::new();
    let mut position = 0;
    while position < der.len() {
        while open.last().is_some_and(|element| position >= element.end) {
            open.pop();
        }
        let Some((tag, content, end)) = header(der, position) else { return Ok(()) };
        if let Some(Open { left: Some(left), .. }) = open.last_mut() {
            *left = left.checked_sub(1).ok_or_else(|| FormatError::malformed(what, "a set is too long"))?;
        }
        let constructed = tag & 0x20 != 0;
        if !constructed {
            position = end;
            continue;
        }
        let left = match tag {
            0x31 => Some(MAX_ELEMENTS),
            _ if tag & 0xc0 != 0 => Some(MAX_TAGGED_ELEMENTS),
            _ => None,
        };
        open.push(Open { end, left });
        if open.len() > MAX_DEPTH {
            return Err(FormatError::malformed(what, "it is nested too deep"));
        }
        position = content;
    }
    Ok(())
}

/// The first octet of the tag, where the content begins and where it ends.
fn header(der: &[u8], start: usize) -> Option<(u8, usize, usize)> {
    let tag = *der.get(start)?;
    let mut position = start + 1;
    if tag & 0x1f == 0x1f {
        position += der.get(position..)?.iter().position(|octet| octet & 0x80 == 0)? + 1;
    }
    let first = usize::from(*der.get(position)?);
    position += 1;
    let length = match first {
        _ if first < 0x80 => first,
        0x81..=0x84 => {
            let octets = der.get(position..position + (first & 0x7f))?;
            position += octets.len();
            octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet))
        }
        _ => return None,
    };
    let end = position.checked_add(length).filter(|end| *end <= der.len())?;
    Some((tag, position, end))
}
