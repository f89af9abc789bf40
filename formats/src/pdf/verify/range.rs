//! What a signature covers, and its octets: both read from the file, not from what parsers make of it
//! (ISO 32000-2, 12.8.1).

use std::ops::Range;

use lopdf::{Dictionary, Object};

use super::super::document::{Document, Place, is_blank};
use super::super::fields::SignatureValue;
use super::super::lexical;
use crate::ber;
use crate::verdict::Judgement;

/// The octets that a signature covers, and those between, where it stands itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Covered {
    /// From the beginning of the file to the gap.
    pub(super) before: Range<usize>,
    /// From the gap to where the signed revision ends.
    pub(super) after: Range<usize>,
}

impl Covered {
    /// What /ByteRange says, if that can be a range at all.
    pub(super) fn read(dictionary: &Dictionary, length: usize, judgement: &mut Judgement) -> Option<Self> {
        let numbers = dictionary.get(b"ByteRange").and_then(Object::as_array).ok();
        let Some(numbers) = numbers else {
            judgement.invalid("byte_range_invalid", "the signature has no ByteRange");
            return None;
        };
        let read = |number: &Object| usize::try_from(number.as_i64().ok()?).ok();
        let numbers: Option<Vec<_>> = numbers.iter().map(read).collect();
        let Some([start, first, second, last]) =
            numbers.and_then(|numbers| <[usize; 4]>::try_from(numbers).ok())
        else {
            judgement.invalid("byte_range_invalid", "its ByteRange is not four offsets and lengths");
            return None;
        };
        let end = second.checked_add(last).filter(|end| *end <= length);
        match end {
            Some(end) if start == 0 && first > 0 && first < second && last > 0 => {
                Some(Self { before: 0..first, after: second..end })
            }
            _ => {
                let detail = format!("its ByteRange [{start} {first} {second} {last}] is none of this file");
                judgement.invalid("byte_range_invalid", detail);
                None
            }
        }
    }

    /// The octets left out.
    pub(super) fn gap(&self) -> Range<usize> {
        self.before.end..self.after.start
    }

    /// All octets covered, one behind the other.
    pub(super) fn octets(&self, file: &[u8]) -> Vec<u8> {
        [&file[self.before.clone()], &file[self.after.clone()]].concat()
    }

    /// The number of the revision whose end is the end of what is covered.
    pub(super) fn revision(&self, document: &Document<'_>) -> Option<usize> {
        let ends_here = |end: usize| {
            // The end of line after %%EOF belongs to it or does not (7.5.5).
            let rest = document.octets().get(end..self.after.end);
            rest.is_some_and(|rest| rest.len() <= 2 && is_blank(rest))
        };
        document.revisions().iter().position(|revision| ends_here(revision.octets.end))
    }
}

/// The signature's own octets: those of the hexadecimal string that is all of the gap and is what the dictionary has
/// under /Contents.
pub(super) fn contents(
    document: &Document<'_>,
    value: &SignatureValue,
    covered: &Covered,
    judgement: &mut Judgement,
) -> Option<Vec<u8>> {
    let file = document.octets();
    let mut wrong = |detail: &str| {
        judgement.invalid("contents_mismatch", detail);
        None
    };
    let Some(Place::File(place)) = &value.place else {
        return wrong("the signature does not stand in the file itself");
    };
    let gap = covered.gap();
    if gap.start < place.start || gap.end > place.end {
        return wrong("what its ByteRange leaves out is not in the signature");
    }
    let [b'<', digits @ .., b'>'] = &file[gap.clone()] else {
        return wrong("what its ByteRange leaves out is not one hexadecimal string");
    };
    let Ok(octets) = hex::decode(digits) else {
        return wrong("what its ByteRange leaves out is not one hexadecimal string");
    };
    // The same object with another string in the gap: only its Contents may have become that string.
    const MARK: &[u8] = b"<6761702d6d61726b>";
    let marked = [&file[place.start..gap.start], MARK, &file[gap.end..place.end]].concat();
    let marked = super::super::document::dictionary_of(&marked, document.limits().nesting);
    let mark = Object::String(b"gap-mark".to_vec(), lopdf::StringFormat::Hexadecimal);
    let found = marked.as_ref().and_then(|(holder, _)| match value.id {
        Some(_) => Some(holder),
        None => holder.get(b"V").and_then(Object::as_dict).ok(),
    });
    let Some((found, (holder, text))) = found.zip(marked.as_ref()) else {
        return wrong("the signature cannot be read again");
    };
    if found.get(b"Contents").ok() != Some(&mark) {
        return wrong("what its ByteRange leaves out is not its Contents");
    }
    if lexical::has_duplicate_keys(text, &Object::Dictionary(holder.clone())) {
        judgement.invalid("ambiguous_object", "the signature has a key twice");
        return None;
    }
    let signed = value.dictionary.get(b"Contents").and_then(Object::as_str).ok();
    if signed != Some(octets.as_slice()) {
        return wrong("what its ByteRange leaves out is not its Contents");
    }
    Some(octets)
}

/// The one BER element that Contents begin with, where nothing but zeros fills the place kept for it.
pub(super) fn element<'a>(contents: &'a [u8], judgement: &mut Judgement) -> Option<&'a [u8]> {
    match ber::split_first(contents) {
        Ok((element, rest)) if rest.iter().all(|octet| *octet == 0) => Some(element),
        Ok(_) => {
            judgement.invalid("contents_trailing_data", "octets stand behind the signature in its Contents");
            None
        }
        Err(error) => {
            judgement.invalid("malformed", error.to_string());
            None
        }
    }
}
