//! An incremental update (ISO 32000-1, 7.5.6): new and changed objects behind the document's octets, with a
//! cross-reference section of the form that the document has.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::io::Write;

use lopdf::{Dictionary, Object, ObjectId, Stream, StringFormat, Writer, dictionary};

use super::error::SignError;
use super::source::Source;
use crate::pdf::lexical::{self, Lexer, Token};
use crate::scheme::HashAlgorithm;

/// Room for the three numbers of /ByteRange that are not known yet: files have 10 digits of octets at most.
const RANGE_WIDTH: usize = 10;

pub(super) struct Update {
    next: u32,
    objects: BTreeMap<ObjectId, Object>,
    signature: Option<(ObjectId, usize)>,
}

/// What is put behind the document.
pub(super) struct Written {
    pub(super) octets: Vec<u8>,
    /// `<…>` of /Contents, from the start of `octets`.
    pub(super) gap: std::ops::Range<usize>,
}

impl Update {
    pub(super) fn of(source: &Source<'_>) -> Self {
        Self { next: source.next_number(), objects: BTreeMap::new(), signature: None }
    }

    pub(super) fn add(&mut self, object: impl Into<Object>) -> ObjectId {
        let id = self.reserve();
        self.objects.insert(id, object.into());
        id
    }

    /// A number for an object that refers to others that refer to it.
    pub(super) fn reserve(&mut self) -> ObjectId {
        let id = (self.next, 0);
        self.next += 1;
        id
    }

    pub(super) fn put(&mut self, id: ObjectId, object: impl Into<Object>) {
        self.objects.insert(id, object.into());
    }

    /// The dictionary as this update has it so far, to be changed.
    pub(super) fn change(&mut self, source: &Source<'_>, id: ObjectId) -> Result<&mut Dictionary, SignError> {
        let object = match self.objects.entry(id) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => slot.insert(source.node(id)?.clone().into()),
        };
        object
            .as_dict_mut()
            .ok()
            .ok_or_else(|| SignError::malformed("an object is of another kind than it must be"))
    }

    /// Adds to an array that stands in a dictionary itself or is referred to.
    pub(super) fn push(
        &mut self,
        source: &Source<'_>,
        holder: ObjectId,
        key: &[u8],
        item: Object,
    ) -> Result<(), SignError> {
        let present = self.change(source, holder)?.get(key).ok().cloned();
        let reference = present.as_ref().and_then(|object| object.as_reference().ok());
        let mut items = match reference {
            Some(id) => match self.objects.get(&id) {
                Some(object) => object.as_array()?.clone(),
                None => source.follow(&Object::Reference(id)).as_array().cloned().unwrap_or_default(),
            },
            None => present.and_then(|object| object.as_array().cloned().ok()).unwrap_or_default(),
        };
        items.push(item);
        match reference {
            Some(id) => self.put(id, items),
            None => self.change(source, holder)?.set(key, items),
        }
        Ok(())
    }

    /// The signature's dictionary, with room for `room` octets of signature.
    pub(super) fn set_signature(&mut self, id: ObjectId, dictionary: Dictionary, room: usize) {
        self.put(id, dictionary);
        self.signature = Some((id, room));
    }

    /// Writes it all; with a signature, its /ByteRange is right already.
    pub(super) fn write(mut self, source: &Source<'_>) -> Result<Written, SignError> {
        let mut out = Vec::new();
        let before = source.octets().len();
        if !matches!(source.octets().last(), Some(b'\n' | b'\r')) {
            out.push(b'\n');
        }
        let mut places = BTreeMap::new();
        let mut holes = None;
        for (id, object) in std::mem::take(&mut self.objects) {
            places.insert(id, before + out.len());
            writeln!(out, "{} {} obj", id.0, id.1).map_err(SignError::malformed)?;
            match self.signature {
                Some((signature, room)) if signature == id => {
                    holes = Some(write_signature(&mut out, object.as_dict()?, room)?);
                }
                _ => write_changed(&mut out, source, id, &object)?,
            }
            out.extend_from_slice(b"\nendobj\n");
        }
        let section = before + out.len();
        let trailer = self.trailer(source, &out);
        if source.revision().is_xref_stream {
            let id = self.reserve();
            places.insert(id, section);
            writeln!(out, "{} 0 obj", id.0).map_err(SignError::malformed)?;
            write_object(&mut out, &Object::Stream(section_stream(trailer, &places, self.next)))?;
            out.extend_from_slice(b"\nendobj\n");
        } else {
            write_table(&mut out, &places)?;
            out.extend_from_slice(b"trailer\n");
            let mut trailer = trailer;
            trailer.set("Size", self.next);
            write_object(&mut out, &trailer.into())?;
            out.push(b'\n');
        }
        writeln!(out, "startxref\n{section}\n%%EOF").map_err(SignError::malformed)?;
        let Some((range_at, gap)) = holes else { return Ok(Written { octets: out, gap: 0..0 }) };
        let after = out.len() - gap.end;
        let range = [before + gap.start, before + gap.end, after];
        for (place, number) in range.into_iter().enumerate() {
            let at = range_at + place * (RANGE_WIDTH + 1);
            let written = format!("{number:<RANGE_WIDTH$}");
            out[at..at + RANGE_WIDTH].copy_from_slice(written.as_bytes());
        }
        Ok(Written { octets: out, gap })
    }

    fn trailer(&self, source: &Source<'_>, out: &[u8]) -> Dictionary {
        let old = source.trailer();
        let mut trailer = Dictionary::new();
        for key in [b"Root".as_slice(), b"Info"] {
            if let Ok(value) = old.get(key) {
                trailer.set(key, value.clone());
            }
        }
        trailer.set("Prev", source.revision().startxref as i64);
        // The first part stays, the second one tells the file's states apart (ISO 32000-1, 14.4).
        let mut state = HashAlgorithm::Sha256.digest(out);
        state.truncate(16);
        let state = Object::String(state, StringFormat::Hexadecimal);
        let first = source.array(old, b"ID").and_then(|parts| parts.first()).cloned();
        trailer.set("ID", vec![first.unwrap_or_else(|| state.clone()), state]);
        trailer
    }
}

/// A dictionary that was there keeps the octets of every entry that did not change: other programs compare revisions
/// entry by entry, and a number would come back with fewer digits.
fn write_changed(
    out: &mut Vec<u8>,
    source: &Source<'_>,
    id: ObjectId,
    object: &Object,
) -> Result<(), SignError> {
    if let (Object::Dictionary(new), Object::Dictionary(old)) = (object, source.object(id))
        && let Some(raw) = source.raw(id)
        && let Some(entries) = unchanged(&raw, old, new)
    {
        out.extend_from_slice(b"<<");
        out.extend_from_slice(&entries);
        for (key, value) in new.iter().filter(|(key, value)| old.get(key).ok() != Some(*value)) {
            write_object(out, &Object::Name(key.clone()))?;
            out.push(b' ');
            write_object(out, value)?;
        }
        out.extend_from_slice(b">>");
        return Ok(());
    }
    write_object(out, object)
}

/// The entries of `raw`, the octets of `old`, that `new` has too. None if the octets cannot be told apart safely.
fn unchanged(raw: &[u8], old: &Dictionary, new: &Dictionary) -> Option<Vec<u8>> {
    let mut lexer = Lexer::new(raw, 0);
    let mut kept = Vec::new();
    (lexer.next()? == Token::Open).then_some(())?;
    loop {
        lexer.skip_space();
        let start = lexer.position;
        match lexer.next()? {
            // Of a key that comes twice one value stays, and readers need not agree on which: it is written anew.
            Token::Close if lexical::has_duplicate_keys(&raw[..lexer.position], &old.clone().into()) => {
                return None;
            }
            Token::Close => return Some(kept),
            Token::Other if raw[start] == b'/' => {}
            _ => return None,
        }
        let key = &raw[start + 1..lexer.position];
        if key.contains(&b'#') {
            return None; // a name in disguise
        }
        skip_value(&mut lexer)?;
        if new.get(key).is_ok_and(|value| old.get(key).ok() == Some(value)) {
            kept.extend_from_slice(&raw[start..lexer.position]);
            kept.push(b' ');
        }
    }
}

fn skip_value(lexer: &mut Lexer<'_>) -> Option<()> {
    match lexer.next()? {
        Token::Open => {
            let mut depth = 1_usize;
            while depth > 0 {
                match lexer.next()? {
                    Token::Open => depth += 1,
                    Token::Close => depth -= 1,
                    Token::Other | Token::Word(_) => {}
                }
            }
        }
        Token::Word(_) => {
            let mut ahead = lexer.clone();
            if ahead.number().is_some() && ahead.keyword(b"R").is_some() {
                *lexer = ahead;
            }
        }
        Token::Other => {}
        Token::Close => return None,
    }
    Some(())
}

pub(super) fn write_object(out: &mut Vec<u8>, object: &Object) -> Result<(), SignError> {
    Writer::write_object(out, object).map_err(SignError::malformed)
}

/// Returns where the numbers of /ByteRange stand and the gap that they leave out.
fn write_signature(
    out: &mut Vec<u8>,
    dictionary: &Dictionary,
    room: usize,
) -> Result<(usize, std::ops::Range<usize>), SignError> {
    out.extend_from_slice(b"<<");
    for (key, value) in dictionary {
        write_object(out, &Object::Name(key.clone()))?;
        out.push(b' ');
        write_object(out, value)?;
    }
    out.extend_from_slice(b"/ByteRange [0 ");
    let range_at = out.len();
    out.resize(range_at + 3 * (RANGE_WIDTH + 1), b' ');
    out.extend_from_slice(b"]/Contents ");
    let start = out.len();
    out.push(b'<');
    out.resize(start + 1 + 2 * room, b'0');
    out.push(b'>');
    let gap = start..out.len();
    out.extend_from_slice(b">>");
    Ok((range_at, gap))
}

/// Runs of consecutive object numbers.
fn runs(places: &BTreeMap<ObjectId, usize>) -> Vec<Vec<(ObjectId, usize)>> {
    let mut runs: Vec<Vec<_>> = Vec::new();
    for (&id, &place) in places {
        match runs.last_mut() {
            Some(run) if run.last().is_some_and(|(last, _): &(ObjectId, usize)| last.0 + 1 == id.0) => {
                run.push((id, place));
            }
            _ => runs.push(vec![(id, place)]),
        }
    }
    runs
}

fn write_table(out: &mut Vec<u8>, places: &BTreeMap<ObjectId, usize>) -> Result<(), SignError> {
    out.extend_from_slice(b"xref\n");
    for run in runs(places) {
        writeln!(out, "{} {}", run[0].0.0, run.len()).map_err(SignError::malformed)?;
        for (id, place) in run {
            writeln!(out, "{place:010} {:05} n\r", id.1).map_err(SignError::malformed)?;
        }
    }
    Ok(())
}

fn section_stream(mut trailer: Dictionary, places: &BTreeMap<ObjectId, usize>, size: u32) -> Stream {
    let mut index = Vec::new();
    let mut entries = Vec::new();
    for run in runs(places) {
        index.extend([Object::from(run[0].0.0), Object::from(run.len() as i64)]);
        for (id, place) in run {
            entries.push(1);
            entries.extend_from_slice(&(place as u32).to_be_bytes()); // files have 256 MiB at most
            entries.extend_from_slice(&id.1.to_be_bytes());
        }
    }
    trailer.extend(&dictionary! {
        "Type" => "XRef",
        "Size" => size,
        "Index" => index,
        "W" => vec![1.into(), 4.into(), 2.into()],
    });
    Stream::new(trailer, entries)
}
