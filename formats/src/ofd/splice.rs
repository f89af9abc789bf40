//! Small changes to XML that leave all other octets as they are.

use std::ops::Range;

use quick_xml::events::Event;
use quick_xml::reader::Reader;

/// Where things stand in a text of XML.
pub(super) struct Place {
    /// What an element found there is called, prefix and all.
    pub(super) name: String,
    /// Its content: from behind its start tag to before its end tag.
    pub(super) content: Range<usize>,
    /// It is written `<name/>`: the content is empty and stands before the slash.
    pub(super) empty: bool,
    /// Where its first tag begins.
    pub(super) start: usize,
    /// Behind its last tag.
    pub(super) end: usize,
}

/// The elements of a local name at a depth (0 is the root), in order. The text has been read before.
pub(super) fn places(text: &str, name: &str, depth: usize) -> Result<Vec<Place>, String> {
    let mut reader = Reader::from_str(text);
    // The reader passes over a byte-order mark without counting it.
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let (mut found, mut open) = (Vec::new(), Vec::new());
    loop {
        let before = mark + position(&reader)?;
        let event = reader.read_event().map_err(|error| error.to_string())?;
        let after = mark + position(&reader)?;
        match event {
            Event::Start(start) => {
                let wanted = open.len() == depth && start.local_name().as_ref() == name;
                open.push((wanted, start.name().as_ref().to_owned(), before, after));
            }
            Event::Empty(start) if open.len() == depth && start.local_name().as_ref() == name => {
                let slash = after.checked_sub(2).ok_or("it is too short")?;
                let name = start.name().as_ref().to_owned();
                found.push(Place { name, content: slash..slash, empty: true, start: before, end: after });
            }
            Event::End(_) => {
                let (wanted, name, start, content) = open.pop().ok_or("an end stands alone")?;
                if wanted {
                    let content = content..before;
                    found.push(Place { name, content, empty: false, start, end: after });
                }
            }
            Event::Eof => return Ok(found),
            _ => {}
        }
    }
}

fn position(reader: &Reader<&[u8]>) -> Result<usize, String> {
    usize::try_from(reader.buffer_position()).map_err(|error| error.to_string())
}

/// The prefix of a name with its colon, empty if it has none.
pub(super) fn prefix(name: &str) -> &str {
    name.find(':').map_or("", |colon| &name[..=colon])
}

/// Puts `more` at the end of an element's content.
pub(super) fn append(text: &mut String, place: &Place, more: &str) {
    if place.empty {
        let slash = place.content.start;
        text.replace_range(slash..slash + 2, &format!(">{more}</{}>", place.name));
    } else {
        text.insert_str(place.content.end, more);
    }
}

/// Puts `more` before an element.
pub(super) fn insert_before(text: &mut String, place: &Place, more: &str) {
    text.insert_str(place.start, more);
}
