//! An update as octets: everything in it is listed, and everything listed is in it.

use std::collections::HashSet;

use super::super::PdfError;
use super::super::document::{Document, Place, is_blank, value_of};
use super::super::lexical;
use super::super::xref::Entry;
use super::change::{Change, Needs};

/// What is wrong with the octets of an update.
pub(super) fn changes(document: &Document<'_>, revision: usize) -> Result<Vec<Change>, PdfError> {
    let mut found = Vec::new();
    let mut add = |code: &'static str, object: Option<u32>, detail: String| {
        found.push(Change { revision, object, code, detail, needs: Needs::Never, field: None, shows: false });
    };
    let own = document.revisions()[revision].octets.clone();
    let (old, new) = (document.view(revision - 1), document.view(revision));
    let mut extents: Vec<_> = document.section_extents(revision).collect();
    let mut offsets = HashSet::new();
    for number in document.listed(revision) {
        let Some(entry) = new.entry(number) else { continue };
        if old.entry(number) == Some(entry) {
            continue;
        }
        if let Entry::At { offset, .. } = entry {
            if !own.contains(&offset) {
                add(
                    "object_misplaced",
                    Some(number),
                    format!("object {number} stands outside of its update"),
                );
                continue;
            }
            if !offsets.insert(offset) {
                add("object_misplaced", Some(number), format!("object {number} stands where another does"));
                continue;
            }
        }
        let Some(id) = new.id(number) else { continue };
        let Some((object, place)) = new.located(id)? else { continue };
        if let Place::File(extent) = place {
            let octets = &document.octets()[extent.clone()];
            let text = value_of(octets, document.limits().nesting);
            let value = match &object {
                lopdf::Object::Stream(_) => text.and_then(|text| lexical::value(text).ok()),
                other => Some(other.clone()),
            };
            if text.zip(value).is_none_or(|(text, value)| lexical::has_duplicate_keys(text, &value)) {
                add("ambiguous_object", Some(number), format!("object {number} has a key twice"));
            }
            extents.push(extent);
        } else if new.member(id)?.is_some_and(|text| lexical::has_duplicate_keys(&text, &object)) {
            add("ambiguous_object", Some(number), format!("object {number} has a key twice"));
        }
    }
    extents.sort_by_key(|extent| extent.start);
    // An end of line may still belong to the revision before.
    let mut position = own.start;
    for extent in extents.into_iter().filter(|extent| extent.end > own.start) {
        if extent.start > position && !is_nothing(&document.octets()[position..extent.start]) {
            let detail = format!("octets from {position} to {} belong to no object", extent.start);
            add("unlisted_octets", None, detail);
        }
        position = position.max(extent.end);
    }
    if let Some(rest) = document.octets().get(position..own.end) {
        let tail = document.tail_at(position)?;
        if !tail.is_some_and(|tail| {
            tail.octets.end == own.end && is_nothing(&document.octets()[position..tail.octets.start])
        }) && !is_nothing(rest)
        {
            let detail = format!("octets from {position} to {} belong to no object", own.end);
            add("unlisted_octets", None, detail);
        }
    }
    Ok(found)
}

/// White space and comments in which no object could be seen by whoever searches for some.
fn is_nothing(octets: &[u8]) -> bool {
    let mut lexer = lexical::Lexer::new(octets, 0);
    is_blank(octets)
        || lexer.next().is_none()
            && lexer.position == octets.len()
            && !octets.windows(3).any(|word| word == b"obj")
}
