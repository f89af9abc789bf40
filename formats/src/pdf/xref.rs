//! Cross-reference sections as they are written (ISO 32000-2, 7.5.4, 7.5.8): tables, streams, and both in one.
//!
//! Nothing is repaired. A reader that repairs sees another document than one that does not.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use lopdf::{Dictionary, Object, Stream};

use super::PdfError;
use super::lexical::{self, Lexer, Token, is_white_space};
use super::limits::{Budget, Limits};

const TABLE: &str = "cross-reference table";
const STREAM: &str = "cross-reference stream";

/// What a section says of one object number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    /// There is no such object.
    Free,
    /// It stands at an offset of the file.
    At { offset: usize, generation: u16 },
    /// It is a member of an object stream.
    Within { container: u32, index: usize },
}

/// One section: a table with its trailer, or a stream; with the stream that a hybrid file's table names.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) offset: usize,
    pub(super) entries: BTreeMap<u32, Entry>,
    pub(super) trailer: Dictionary,
    pub(super) previous: Option<usize>,
    /// Object streams that it has members of.
    pub(super) containers: BTreeSet<u32>,
    /// The octets that it stands in, and those of a hybrid file's stream.
    pub(super) extents: Vec<Range<usize>>,
    pub(super) is_stream: bool,
    pub(super) is_hybrid: bool,
}

/// `startxref`, an offset and `%%EOF` (7.5.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// What it points to.
    pub(super) offset: usize,
    /// From `startxref` to behind `%%EOF`.
    pub(super) octets: Range<usize>,
}

const MARKER: &[u8] = b"%%EOF";

/// How far before the end the last `%%EOF` is looked for, as readers do (ISO 32000-1, annex H).
const TRAILING: usize = 1024;

/// The last tail of the file.
pub(super) fn last_tail(octets: &[u8]) -> Result<Tail, PdfError> {
    let wrong = |reason: &str| PdfError::malformed("PDF", reason);
    let window = octets.len().saturating_sub(TRAILING);
    let marker = octets[window..].windows(MARKER.len()).rposition(|octets| octets == MARKER);
    let marker = window + marker.ok_or_else(|| wrong("there is no %%EOF at its end"))?;
    let before = marker.saturating_sub(64);
    let keyword = octets[before..marker].windows(9).rposition(|octets| octets == b"startxref");
    let keyword = before + keyword.ok_or_else(|| wrong("there is no startxref before the last %%EOF"))?;
    let (tail, _) = tail_behind(octets, keyword);
    let tail = tail.ok_or_else(|| wrong("startxref is not followed by an offset"))?;
    if tail.octets.end != marker + MARKER.len() {
        return Err(wrong("startxref, its offset and %%EOF do not follow each other"));
    }
    Ok(tail)
}

/// The tail that begins here, after white space and comments.
pub(super) fn tail_at(octets: &[u8], position: usize, budget: &Budget) -> Result<Option<Tail>, PdfError> {
    let (tail, end) = tail_behind(octets, position);
    // Many sections may have the same comments behind them.
    budget.scan(end.saturating_sub(position))?;
    Ok(tail)
}

/// The same, and how far was read to see it.
fn tail_behind(octets: &[u8], position: usize) -> (Option<Tail>, usize) {
    let mut lexer = Lexer::new(octets, position);
    let tail = (|| {
        lexer.keyword(b"startxref")?;
        let start = lexer.position - b"startxref".len();
        let offset = lexer.number()?;
        lexer.position += octets[lexer.position..].iter().take_while(|octet| is_white_space(**octet)).count();
        let end = lexer.position + MARKER.len();
        (octets.get(lexer.position..end)? == MARKER).then_some(Tail { offset, octets: start..end })
    })();
    (tail, lexer.position)
}

/// Reads sections.
pub(super) struct SectionReader<'a> {
    pub(super) octets: &'a [u8],
    pub(super) limits: &'a Limits,
    pub(super) budget: &'a Budget,
}

impl SectionReader<'_> {
    /// The section at `offset` and those before it, newest first.
    pub(super) fn chain(&self, offset: usize) -> Result<Vec<Section>, PdfError> {
        let (mut sections, mut seen, mut next) = (Vec::new(), HashSet::new(), Some(offset));
        let mut entries = 0;
        while let Some(offset) = next {
            if sections.len() == self.limits.sections {
                return Err(PdfError::TooLarge { what: "revisions", limit: self.limits.sections });
            }
            if !seen.insert(offset) {
                return Err(PdfError::malformed(TABLE, "the sections go round in a circle"));
            }
            let mut section = self.section(offset)?;
            section.containers = containers(&section.entries);
            entries += section.entries.len();
            if entries > self.limits.objects {
                return Err(PdfError::TooLarge { what: "objects", limit: self.limits.objects });
            }
            next = section.previous;
            sections.push(section);
        }
        Ok(sections)
    }

    fn section(&self, offset: usize) -> Result<Section, PdfError> {
        let mut lexer = Lexer::new(self.octets, offset);
        let start = lexer.next();
        self.budget.scan(lexer.position.saturating_sub(offset))?;
        match start {
            Some(Token::Word(b"xref")) => self.table(offset),
            Some(Token::Word(_)) => {
                let mut section = self.stream(offset)?;
                section.previous = offset_in(&section.trailer, b"Prev")?;
                Ok(section)
            }
            _ => Err(PdfError::malformed(TABLE, format!("there is none at offset {offset}"))),
        }
    }

    fn table(&self, offset: usize) -> Result<Section, PdfError> {
        let wrong = |reason: &str| PdfError::malformed(TABLE, format!("at offset {offset}: {reason}"));
        let mut lexer = Lexer::new(self.octets, offset);
        let mut entries = BTreeMap::new();
        lexer.keyword(b"xref").ok_or_else(|| wrong("xref is missing"))?;
        loop {
            let mut ahead = lexer.clone();
            if ahead.keyword(b"trailer").is_some() {
                lexer = ahead;
                break;
            }
            let first = lexer.number().ok_or_else(|| wrong("a subsection has no first number"))?;
            let count = lexer.number().ok_or_else(|| wrong("a subsection has no count"))?;
            for number in first..first.saturating_add(count) {
                let entry = table_entry(&mut lexer).ok_or_else(|| wrong("an entry is not one"))?;
                let number = u32::try_from(number).map_err(|_| wrong("an object number is too large"))?;
                if entries.insert(number, entry).is_some() {
                    return Err(wrong(&format!("it lists object {number} twice")));
                }
                if entries.len() > self.limits.objects {
                    return Err(PdfError::TooLarge { what: "objects", limit: self.limits.objects });
                }
            }
        }
        let start = lexer.position;
        self.budget.scan(start.saturating_sub(offset))?;
        let window = &self.octets[..self.octets.len().min(start.saturating_add(self.limits.object))];
        let (end, _) = Lexer::new(window, start)
            .value(&[b"startxref"], self.limits.nesting)
            .ok_or_else(|| wrong("its trailer is not followed by startxref"))?;
        self.budget.parse(end - start)?;
        let Object::Dictionary(trailer) = lexical::value(&self.octets[start..end])? else {
            return Err(wrong("its trailer is not a dictionary"));
        };
        if lexical::has_duplicate_keys(&self.octets[start..end], &Object::Dictionary(trailer.clone())) {
            return Err(wrong("its trailer has a key twice"));
        }
        let mut section = Section {
            offset,
            entries,
            previous: offset_in(&trailer, b"Prev")?,
            trailer,
            containers: BTreeSet::new(),
            extents: std::iter::once(offset..end).collect(),
            is_stream: false,
            is_hybrid: false,
        };
        if let Some(hybrid) = offset_in(&section.trailer, b"XRefStm")? {
            let stream = self.stream(hybrid)?;
            for (number, entry) in stream.entries {
                // The table's word counts, except that it calls free what only newer readers find (7.5.8.4).
                let known = section.entries.entry(number).or_insert(entry);
                if *known == Entry::Free {
                    *known = entry;
                }
            }
            section.extents.extend(stream.extents);
            section.is_hybrid = true;
        }
        Ok(section)
    }

    fn stream(&self, offset: usize) -> Result<Section, PdfError> {
        let wrong = |reason: &str| PdfError::malformed(STREAM, format!("at offset {offset}: {reason}"));
        let (object, extent) = indirect(self.octets, offset, None, self.limits, self.budget, |_| None)?;
        let Object::Stream(stream) = object else { return Err(wrong("it is no stream")) };
        if !stream.dict.has_type(b"XRef") {
            return Err(wrong("its type is not XRef"));
        }
        let content = inflate(&stream, self.limits, self.budget)?;
        let size = integer(&stream.dict, b"Size").ok_or_else(|| wrong("it has no Size"))?;
        let widths = integers(&stream.dict, b"W").filter(|widths| widths.len() >= 3);
        let widths = widths.filter(|widths| widths.iter().all(|width| *width <= 8));
        let widths = widths.ok_or_else(|| wrong("its W is not three widths"))?;
        let width: usize = widths.iter().sum();
        if width == 0 {
            return Err(wrong("its entries have no octets"));
        }
        let index = match stream.dict.get(b"Index") {
            Ok(_) => integers(&stream.dict, b"Index").filter(|index| index.len() % 2 == 0),
            Err(_) => Some(vec![0, size]),
        };
        let index = index.ok_or_else(|| wrong("its Index is not pairs of numbers"))?;
        let mut entries = BTreeMap::new();
        let mut rows = content.chunks_exact(width);
        for pair in index.chunks_exact(2) {
            for number in pair[0]..pair[0].saturating_add(pair[1]) {
                let row = rows.next().ok_or_else(|| wrong("it has fewer entries than its Index says"))?;
                let number = u32::try_from(number).map_err(|_| wrong("an object number is too large"))?;
                let Some(entry) = stream_entry(row, &widths) else { continue };
                if entries.insert(number, entry).is_some() {
                    return Err(wrong(&format!("it lists object {number} twice")));
                }
                if entries.len() > self.limits.objects {
                    return Err(PdfError::TooLarge { what: "objects", limit: self.limits.objects });
                }
            }
        }
        Ok(Section {
            offset,
            entries,
            trailer: stream.dict,
            previous: None,
            containers: BTreeSet::new(),
            extents: vec![extent],
            is_stream: true,
            is_hybrid: false,
        })
    }
}

fn containers(entries: &BTreeMap<u32, Entry>) -> BTreeSet<u32> {
    let containers = entries.values().filter_map(|entry| match entry {
        Entry::Within { container, .. } => Some(*container),
        Entry::Free | Entry::At { .. } => None,
    });
    containers.collect()
}

/// `nnnnnnnnnn ggggg n` or `f`.
fn table_entry(lexer: &mut Lexer<'_>) -> Option<Entry> {
    let offset = lexer.number()?;
    let generation = lexer.number()?;
    match lexer.next()? {
        Token::Word(b"n") => Some(Entry::At { offset, generation: u16::try_from(generation).ok()? }),
        // Ghostscript writes 65536 of the first free entry, whose generation nobody asks for.
        Token::Word(b"f") => Some(Entry::Free),
        _ => None,
    }
}

/// None for types of a later standard, which are as good as absent (7.5.8.3).
fn stream_entry(row: &[u8], widths: &[usize]) -> Option<Entry> {
    let (kind, rest) = row.split_at(widths[0]);
    let (second, rest) = rest.split_at(widths[1]);
    let third = &rest[..widths[2]];
    let number = |octets: &[u8]| octets.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
    let kind = if kind.is_empty() { 1 } else { number(kind) };
    let (second, third) = (number(second), number(third));
    match kind {
        0 => Some(Entry::Free),
        1 => {
            Some(Entry::At { offset: usize::try_from(second).ok()?, generation: u16::try_from(third).ok()? })
        }
        2 => Some(Entry::Within {
            container: u32::try_from(second).ok()?,
            index: usize::try_from(third).ok()?,
        }),
        _ => None,
    }
}

fn offset_in(dictionary: &Dictionary, key: &[u8]) -> Result<Option<usize>, PdfError> {
    match dictionary.get(key) {
        Err(_) => Ok(None),
        Ok(value) => match value.as_i64().ok().and_then(|offset| usize::try_from(offset).ok()) {
            Some(offset) => Ok(Some(offset)),
            None => Err(PdfError::malformed(TABLE, "the offset of another section is not a number")),
        },
    }
}

fn integer(dictionary: &Dictionary, key: &[u8]) -> Option<usize> {
    usize::try_from(dictionary.get(key).ok()?.as_i64().ok()?).ok()
}

fn integers(dictionary: &Dictionary, key: &[u8]) -> Option<Vec<usize>> {
    let array = dictionary.get(key).ok()?.as_array().ok()?;
    array.iter().map(|value| usize::try_from(value.as_i64().ok()?).ok()).collect()
}

/// The indirect object that stands at an offset, and the octets from its number to `endobj`. `length` looks up the
/// Length of a stream that is an object of its own.
pub(super) fn indirect(
    octets: &[u8],
    offset: usize,
    expected: Option<(u32, u16)>,
    limits: &Limits,
    budget: &Budget,
    length: impl FnOnce((u32, u16)) -> Option<usize>,
) -> Result<(Object, Range<usize>), PdfError> {
    let wrong = |reason: &str| PdfError::malformed("PDF object", format!("at offset {offset}: {reason}"));
    let mut lexer = Lexer::new(octets, offset);
    let id = (|| {
        let id = (u32::try_from(lexer.number()?).ok()?, u16::try_from(lexer.number()?).ok()?);
        lexer.keyword(b"obj")?;
        Some(id)
    })();
    // Blanks and comments in front of it are read, too.
    budget.parse(lexer.position.saturating_sub(offset))?;
    let id = id.ok_or_else(|| wrong("there is none"))?;
    if expected.is_some_and(|expected| expected != id) {
        return Err(wrong(&format!("object {} {} stands there", id.0, id.1)));
    }
    let start = lexer.position;
    // Whatever follows is looked at as far as one object may go, not to the end of the file for each of them.
    let window = &octets[..octets.len().min(start.saturating_add(limits.object))];
    let mut lexer = Lexer::new(window, start);
    let (end, keyword) = lexer
        .value(&[b"endobj", b"stream"], limits.nesting)
        .ok_or_else(|| wrong("it has no end, or none within the limits"))?;
    budget.parse(end - start)?;
    let value = lexical::value(&octets[start..end])?;
    if keyword == b"endobj" {
        return Ok((value, offset..lexer.position));
    }
    let Object::Dictionary(dictionary) = value else {
        return Err(wrong("what comes before its stream is no dictionary"));
    };
    let data = match octets.get(lexer.position..) {
        Some([b'\r', b'\n', ..]) => lexer.position + 2,
        Some([b'\n', ..]) => lexer.position + 1,
        _ => return Err(wrong("the keyword stream is not followed by an end of line")),
    };
    let length = match dictionary.get(b"Length") {
        Ok(Object::Reference(id)) => length(*id),
        Ok(value) => value.as_i64().ok().and_then(|length| usize::try_from(length).ok()),
        Err(_) => None,
    };
    let length = length.ok_or_else(|| wrong("its stream has no Length"))?;
    let end = data.checked_add(length).filter(|end| *end <= octets.len());
    let end = end.ok_or_else(|| wrong("its stream reaches over the end of its revision"))?;
    let mut lexer = Lexer::new(octets, end);
    let closed = lexer.keyword(b"endstream").and_then(|()| lexer.keyword(b"endobj"));
    closed.ok_or_else(|| wrong("its stream does not end where its Length says"))?;
    budget.copy(lexer.position - data)?;
    let extent = offset..lexer.position;
    let mut stream = Stream::new(Dictionary::new(), octets[data..end].to_vec());
    stream.dict = dictionary; // as it is: whoever asks what it refers to has to see a Length that is an object
    Ok((Object::Stream(stream), extent))
}

/// Does the indirect object at an offset end within `octets`, in the eyes of readers too that look for the end of a
/// stream where its Length is wrong? What is no object ends nowhere else.
pub(super) fn ends_within(
    octets: &[u8],
    offset: usize,
    limits: &Limits,
    budget: &Budget,
    lengths: impl FnOnce((u32, u16)) -> Result<Vec<usize>, PdfError>,
) -> Result<bool, PdfError> {
    let mut lexer = Lexer::new(octets, offset);
    let is_object = lexer.number().is_some() && lexer.number().is_some() && lexer.keyword(b"obj").is_some();
    let start = lexer.position;
    if !is_object {
        budget.scan(start.saturating_sub(offset))?;
        return Ok(true);
    }
    let found = lexer.value(&[b"endobj", b"stream"], limits.nesting);
    budget.scan(lexer.position.saturating_sub(offset))?;
    let Some((end, keyword)) = found else { return Ok(false) };
    if keyword == b"endobj" {
        return Ok(true);
    }
    let data = lexer.position;
    budget.parse(end - start)?;
    let lengths = match lexical::value(&octets[start..end]) {
        Ok(Object::Dictionary(dictionary)) => match dictionary.get(b"Length") {
            Ok(Object::Reference(id)) => lengths(*id)?,
            Ok(value) => {
                value.as_i64().ok().and_then(|length| usize::try_from(length).ok()).into_iter().collect()
            }
            Err(_) => Vec::new(),
        },
        _ => Vec::new(),
    };
    let data = match octets.get(data..) {
        Some([b'\r', b'\n', ..]) => data + 2,
        Some([b'\n', ..]) => data + 1,
        _ => data,
    };
    if lengths.iter().any(|length| *length > octets.len() - data) {
        return Ok(false);
    }
    let closes = |length: &usize| Lexer::new(octets, data + length).keyword(b"endstream").is_some();
    if !lengths.is_empty() && lengths.iter().all(closes) {
        return Ok(true);
    }
    budget.copy(octets.len() - data)?;
    Ok(octets[data..].windows(9).any(|word| word == b"endstream"))
}

/// A stream's data without its filters, which must be said in the stream itself: what they refer to is not followed here.
pub(super) fn inflate(stream: &Stream, limits: &Limits, budget: &Budget) -> Result<Vec<u8>, PdfError> {
    let each = |key: &[u8], may: fn(&Object) -> bool| match stream.dict.get(key) {
        Ok(Object::Array(values)) => values.iter().all(may),
        Ok(Object::Null) | Err(_) => true,
        Ok(value) => may(value),
    };
    let is_name = |value: &Object| matches!(value, Object::Name(_));
    // Those of images may refer to a stream, which no filter that is undone here takes.
    let are_parameters = |value: &Object| match value {
        Object::Null => true,
        Object::Dictionary(parameters) => parameters
            .iter()
            .all(|(key, value)| key == b"JBIG2Globals" || !matches!(value, Object::Reference(_))),
        _ => false,
    };
    if !each(b"Filter", is_name) || !each(b"DecodeParms", are_parameters) {
        return Err(PdfError::malformed("PDF stream", "its filters are not said in it"));
    }
    let limit = limits.stream.min(budget.inflatable());
    let content = stream.get_plain_content_with_limit(limit).map_err(|error| match error {
        lopdf::Error::Decompress(lopdf::DecompressError::MemoryLimitExceeded { .. }) => {
            PdfError::TooLarge { what: "decompressed octets", limit }
        }
        _ => PdfError::malformed("PDF stream", "its filters cannot be undone"),
    })?;
    budget.inflate(content.len())?;
    Ok(content)
}
