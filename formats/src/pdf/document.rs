//! A PDF opened from octets: its cross-reference sections, its revisions, and its objects as each revision has them.
//!
//! Objects are read when they are asked for and where their section says, never by searching. Memory: the entries of
//! the sections (about 50 octets each), the object streams that were asked for (up to [`Limits::streams`]), and the
//! one object at hand; to judge signatures also what each object refers to.

mod references;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

use lopdf::{Dictionary, Object, ObjectId, Stream};

use super::PdfError;
use super::lexical::{self, Lexer, is_white_space};
use super::limits::{Budget, Limits};
use super::xref::{self, Entry, Section, SectionReader};
use references::Shown;

pub(super) use references::references;

/// Streams whose Length is in an object stream whose Length is…: files have one such level.
const DEEPEST_LENGTH: u8 = 4;

/// A PDF.
#[derive(Debug)]
pub struct Document<'a> {
    octets: &'a [u8],
    limits: Limits,
    /// Oldest first.
    sections: Vec<Section>,
    /// Oldest first.
    revisions: Vec<Revision>,
    budget: Budget,
    /// By section and number of the container.
    containers: RefCell<HashMap<(usize, u32), Rc<Members>>>,
    depth: Cell<u8>,
    /// What each object that was asked for refers to, by its entry and the section that has it.
    references: RefCell<References>,
    /// What pages, their annotations and the lists of these show, likewise.
    shown: RefCell<HashMap<(Entry, usize, bool), Rc<Shown>>>,
    /// Where objects begin that are known to end in the first revision that has them.
    known_to_end: RefCell<HashSet<usize>>,
}

/// What objects refer to, by their entries and the sections that have them.
type References = HashMap<(Entry, usize), Rc<[ObjectId]>>;

/// What one save added: the whole file at first, an incremental update each time after it (ISO 32000-2, 7.5.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its octets; the end is behind `%%EOF`, without the end of line that may follow.
    pub octets: Range<usize>,
    /// What its `startxref` points to.
    pub startxref: usize,
    /// Its cross-reference section is a stream.
    pub is_xref_stream: bool,
    /// Its cross-reference table names a stream besides.
    pub is_hybrid: bool,
    /// Sections that are its own: two in a linearised file.
    sections: Range<usize>,
}

/// The members of an object stream.
#[derive(Debug)]
struct Members {
    content: Vec<u8>,
    /// Number and octets, in the order of the stream.
    places: Vec<(u32, Range<usize>)>,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, from its number to `endobj`.
    File(Range<usize>),
    /// Within the object stream of this number.
    Within(u32),
}

impl<'a> Document<'a> {
    /// Opens a document within the default limits.
    ///
    /// # Errors
    /// [`PdfError`]: it is no PDF, it is damaged, encrypted or too large.
    pub fn open(octets: &'a [u8]) -> Result<Self, PdfError> {
        Self::open_within(octets, Limits::default())
    }

    /// Opens a document within `limits`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_within(octets: &'a [u8], limits: Limits) -> Result<Self, PdfError> {
        if octets.len() > limits.octets {
            return Err(PdfError::TooLarge { what: "octets", limit: limits.octets });
        }
        if !octets.starts_with(b"%PDF-") {
            return Err(PdfError::malformed("PDF", "it does not begin with %PDF-"));
        }
        let budget = Budget::new(&limits, octets.len());
        let tail = xref::last_tail(octets)?;
        let reader = SectionReader { octets, limits: &limits, budget: &budget };
        let mut sections = reader.chain(tail.offset)?;
        sections.reverse();
        let revisions = revisions(octets, &sections, &tail, &budget)?;
        if revisions.iter().any(|revision| revision.octets.start >= revision.octets.end) {
            return Err(PdfError::malformed("PDF", "its revisions do not stand one behind the other"));
        }
        let document = Self {
            octets,
            limits,
            sections,
            revisions,
            budget,
            containers: RefCell::default(),
            depth: Cell::new(0),
            references: RefCell::default(),
            shown: RefCell::default(),
            known_to_end: RefCell::default(),
        };
        if document.sections.iter().any(|section| section.trailer.has(b"Encrypt")) {
            return Err(PdfError::Encrypted);
        }
        document.latest().catalog()?;
        Ok(document)
    }

    /// The file.
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The revisions, oldest first; there is at least one.
    pub fn revisions(&self) -> &[Revision] {
        &self.revisions
    }

    /// The document as it is now.
    pub fn latest(&self) -> View<'_, 'a> {
        self.view(self.revisions.len() - 1)
    }

    /// The document as it was with its revision `number`, counted from 0; the latest for higher numbers.
    pub fn view(&self, number: usize) -> View<'_, 'a> {
        View { document: self, revision: number.min(self.revisions.len() - 1) }
    }

    /// What stands behind the last `%%EOF`.
    pub fn trailing(&self) -> &'a [u8] {
        &self.octets[self.revisions.last().map_or(self.octets.len(), |revision| revision.octets.end)..]
    }

    /// Objects that a revision's own sections speak of, free ones too.
    pub(super) fn listed(&self, revision: usize) -> BTreeSet<u32> {
        let sections = &self.sections[self.revisions[revision].sections.clone()];
        sections.iter().flat_map(|section| section.entries.keys().copied()).collect()
    }

    /// What a revision, or one before it, says to stand behind that one's end, or to reach behind it: whoever saved it
    /// could not have known.
    pub(super) fn beyond(&self, revision: usize) -> Result<Option<String>, PdfError> {
        for (number, revision) in self.revisions[..=revision].iter().enumerate() {
            let end = revision.octets.end;
            if self.section_extents(number).any(|extent| extent.end > end) {
                return Ok(Some(format!("the cross-reference section of revision {}", number + 1)));
            }
            for section in revision.sections.clone() {
                for (object, entry) in &self.sections[section].entries {
                    let Entry::At { offset, .. } = *entry else { continue };
                    if offset >= end || !self.ends_in(revision, offset)? {
                        return Ok(Some(format!("object {object}")));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Does the object at this offset of a revision end in it?
    fn ends_in(&self, revision: &Revision, offset: usize) -> Result<bool, PdfError> {
        // Nothing comes behind the last one.
        if self.revisions.last() == Some(revision) || self.known_to_end.borrow().contains(&offset) {
            return Ok(true);
        }
        let octets = &self.octets[..revision.octets.end];
        let lengths = |id| self.lengths(id, revision.sections.end - 1);
        let ends = xref::ends_within(octets, offset, &self.limits, &self.budget, lengths)?;
        if ends {
            self.known_to_end.borrow_mut().insert(offset);
        }
        Ok(ends)
    }

    /// What the sections from this one on say a Length is.
    fn lengths(&self, id: ObjectId, section: usize) -> Result<Vec<usize>, PdfError> {
        self.budget.walk(self.sections.len() - section)?;
        let later = (section + 1..self.sections.len())
            .filter(|later| self.sections[*later].entries.contains_key(&id.0));
        Ok(std::iter::once(section).chain(later).filter_map(|section| self.length(id, section)).collect())
    }

    /// How many cross-reference sections there are.
    pub(super) fn sections(&self) -> usize {
        self.sections.len()
    }

    /// The octets of a revision's sections.
    pub(super) fn section_extents(&self, revision: usize) -> impl Iterator<Item = Range<usize>> + '_ {
        let sections = &self.sections[self.revisions[revision].sections.clone()];
        sections.iter().flat_map(|section| section.extents.iter().cloned())
    }

    /// The tail that begins here, after white space and comments.
    pub(super) fn tail_at(&self, position: usize) -> Result<Option<xref::Tail>, PdfError> {
        xref::tail_at(self.octets, position, &self.budget)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What there is of the file as far as the object at `offset`, which `section` speaks of, may reach: to the end of
    /// the section's revision. One that stands behind that is [`beyond`](Self::beyond) it.
    fn octets_of(&self, section: usize, offset: usize) -> &'a [u8] {
        let revision = self.revisions.iter().find(|revision| revision.sections.contains(&section));
        let end = revision.map(|revision| revision.octets.end).filter(|end| offset < *end);
        &self.octets[..end.unwrap_or(self.octets.len())]
    }

    /// The entry of an object as the sections up to `section` have it, and the section that has it.
    fn entry(&self, number: u32, section: usize) -> Option<(usize, Entry)> {
        (0..=section).rev().find_map(|index| Some((index, *self.sections[index].entries.get(&number)?)))
    }

    /// The object and where it stands; none when there is no such object (7.3.10: that is null).
    fn object(&self, id: ObjectId, section: usize) -> Result<Option<(Object, Place)>, PdfError> {
        match self.entry(id.0, section) {
            None | Some((_, Entry::Free)) => Ok(None),
            Some((_, Entry::At { generation, .. })) if generation != id.1 => Ok(None),
            Some((defined, Entry::At { offset, generation })) => {
                let octets = self.octets_of(defined, offset);
                let expected = Some((id.0, generation));
                let length = |id| self.length(id, section);
                let (object, extent) =
                    xref::indirect(octets, offset, expected, &self.limits, &self.budget, length)?;
                Ok(Some((object, Place::File(extent))))
            }
            Some((_, Entry::Within { .. })) if id.1 != 0 => Ok(None),
            Some((_, Entry::Within { container, .. })) => {
                let octets = self.member(id, section)?.unwrap_or_default();
                if octets.len() > self.limits.object {
                    return Err(PdfError::TooLarge {
                        what: "octets of one object",
                        limit: self.limits.object,
                    });
                }
                if lexical::depth(&octets) > self.limits.nesting {
                    return Err(PdfError::TooLarge {
                        what: "levels of one object",
                        limit: self.limits.nesting,
                    });
                }
                self.budget.parse(octets.len())?;
                Ok(Some((lexical::value(&octets)?, Place::Within(container))))
            }
        }
    }

    /// The octets of an object within an object stream; none for others.
    fn member(&self, id: ObjectId, section: usize) -> Result<Option<Vec<u8>>, PdfError> {
        let Some((defined, Entry::Within { container, index })) = self.entry(id.0, section) else {
            return Ok(None);
        };
        let members = self.members(container, defined)?;
        let place = members.places.get(index).filter(|(number, _)| *number == id.0);
        let wrong = || PdfError::malformed("object stream", format!("{container} has no object {}", id.0));
        let (_, place) = place.ok_or_else(wrong)?;
        Ok(Some(members.content[place.clone()].to_vec()))
    }

    fn length(&self, id: ObjectId, section: usize) -> Option<usize> {
        if self.depth.get() == DEEPEST_LENGTH {
            return None;
        }
        self.depth.set(self.depth.get() + 1);
        let object = self.object(id, section);
        self.depth.set(self.depth.get() - 1);
        usize::try_from(object.ok()??.0.as_i64().ok()?).ok()
    }

    /// The members of an object stream, as the section that names it knows it.
    fn members(&self, container: u32, section: usize) -> Result<Rc<Members>, PdfError> {
        if let Some(known) = self.containers.borrow().get(&(section, container)) {
            return Ok(Rc::clone(known));
        }
        let wrong =
            |reason: &str| PdfError::malformed("object stream", format!("object {container}: {reason}"));
        let (defined, Entry::At { offset, generation }) =
            self.entry(container, section).ok_or_else(|| wrong("it is missing"))?
        else {
            return Err(wrong("it is not in the file itself"));
        };
        let expected = Some((container, generation));
        let length = |id| self.length(id, section);
        let octets = self.octets_of(defined, offset);
        let (object, _) = xref::indirect(octets, offset, expected, &self.limits, &self.budget, length)?;
        let Object::Stream(stream) = object else { return Err(wrong("it is no stream")) };
        let members = Rc::new(self.read_members(&stream).map_err(|error| match error {
            PdfError::Malformed { reason, .. } => wrong(&reason),
            other => other,
        })?);
        self.containers.borrow_mut().insert((section, container), Rc::clone(&members));
        Ok(members)
    }

    fn read_members(&self, stream: &Stream) -> Result<Members, PdfError> {
        let wrong = |reason: &str| PdfError::malformed("object stream", reason);
        if !stream.dict.has_type(b"ObjStm") {
            return Err(wrong("its type is not ObjStm"));
        }
        let number = |key: &[u8]| {
            let value = stream.dict.get(key).ok().and_then(|value| value.as_i64().ok());
            value.and_then(|value| usize::try_from(value).ok())
        };
        let count = number(b"N").ok_or_else(|| wrong("it has no N"))?;
        let first = number(b"First").ok_or_else(|| wrong("it has no First"))?;
        if count > self.limits.objects {
            return Err(PdfError::TooLarge { what: "objects", limit: self.limits.objects });
        }
        let content = xref::inflate(stream, &self.limits, &self.budget)?;
        let head = content.get(..first).ok_or_else(|| wrong("First is behind its end"))?;
        let mut lexer = Lexer::new(head, 0);
        let mut starts = Vec::new();
        for _ in 0..count {
            let pair = lexer.number().zip(lexer.number());
            let (number, offset) = pair.ok_or_else(|| wrong("its head is not pairs of numbers"))?;
            let number = u32::try_from(number).map_err(|_| wrong("an object number is too large"))?;
            let start = first.checked_add(offset).filter(|start| *start <= content.len());
            let start = start.ok_or_else(|| wrong("a member begins behind its end"))?;
            // Members in order do not share octets, so no head can make more of them than there are.
            if starts.last().is_some_and(|(_, before)| *before > start) {
                return Err(wrong("its members are not in order"));
            }
            starts.push((number, start));
        }
        let ends = starts.iter().skip(1).map(|(_, start)| *start).chain([content.len()]);
        let places = starts.iter().zip(ends).map(|((number, start), end)| (*number, *start..end)).collect();
        Ok(Members { content, places })
    }
}

/// Which sections make a revision, and where it ends. `sections` are oldest first, `last` is the last tail.
fn revisions(
    octets: &[u8],
    sections: &[Section],
    last: &xref::Tail,
    budget: &Budget,
) -> Result<Vec<Revision>, PdfError> {
    let mut revisions = Vec::new();
    let (mut tail, mut end) = (last.clone(), sections.len());
    for index in (0..sections.len()).rev() {
        let own_tail = match index.checked_sub(1) {
            Some(before) => own_tail(octets, &sections[..=before], budget)?,
            None => None,
        };
        if index == 0 || own_tail.is_some() {
            revisions.push(Revision {
                octets: 0..tail.octets.end,
                startxref: tail.offset,
                is_xref_stream: sections[end - 1].is_stream,
                is_hybrid: sections[end - 1].is_hybrid,
                sections: index..end,
            });
            end = index;
        }
        if let Some(own) = own_tail {
            tail = own;
        }
    }
    revisions.reverse();
    let mut start = 0;
    for revision in &mut revisions {
        revision.octets.start = start;
        start = revision.octets.end;
    }
    Ok(revisions)
}

/// The `startxref` that makes the last of `sections` the end of a save. That of a linearised file's first section
/// follows the second one (annex F), which is the older of the two.
fn own_tail(octets: &[u8], sections: &[Section], budget: &Budget) -> Result<Option<xref::Tail>, PdfError> {
    for section in sections.iter().rev().take(2) {
        let Some(extent) = section.extents.first() else { continue };
        let tail = xref::tail_at(octets, extent.end, budget)?;
        if tail.as_ref().map(|tail| tail.offset) == sections.last().map(|last| last.offset) {
            return Ok(tail);
        }
    }
    Ok(None)
}

/// The document as one revision has it.
#[derive(Clone, Copy, Debug)]
pub struct View<'d, 'a> {
    document: &'d Document<'a>,
    revision: usize,
}

impl<'d, 'a> View<'d, 'a> {
    /// The document.
    pub fn document(&self) -> &'d Document<'a> {
        self.document
    }

    /// Its number, from 0.
    pub fn revision(&self) -> usize {
        self.revision
    }

    fn section(&self) -> usize {
        self.document.revisions[self.revision].sections.end - 1
    }

    /// The trailer dictionary; that of the section which startxref points to.
    pub fn trailer(&self) -> &'d Dictionary {
        &self.document.sections[self.section()].trailer
    }

    /// One more than the highest object number that any section up to here speaks of, or its Size says.
    pub fn next_number(&self) -> u32 {
        let sections = &self.document.sections[..=self.section()];
        let highest = sections.iter().filter_map(|section| section.entries.keys().next_back()).max();
        let size = self.trailer().get(b"Size").and_then(Object::as_i64).ok();
        let size = size.and_then(|size| u32::try_from(size).ok()).unwrap_or(0);
        highest.map_or(1, |highest| highest.saturating_add(1)).max(size)
    }

    /// The object with this number and generation; null when there is none (7.3.10).
    ///
    /// # Errors
    /// It cannot be read, or is not where its section says.
    pub fn object(&self, id: ObjectId) -> Result<Object, PdfError> {
        Ok(self.located(id)?.map_or(Object::Null, |(object, _)| object))
    }

    /// The same, with the place it stands at; none when there is no such object.
    ///
    /// # Errors
    /// As [`Self::object`].
    pub fn located(&self, id: ObjectId) -> Result<Option<(Object, Place)>, PdfError> {
        self.document.object(id, self.section())
    }

    /// The whole id of an object number; none where it is free.
    pub(super) fn id(&self, number: u32) -> Option<ObjectId> {
        self.entry(number).map(|entry| match entry {
            Entry::At { generation, .. } => (number, generation),
            Entry::Free | Entry::Within { .. } => (number, 0),
        })
    }

    /// The octets of an object that is within an object stream; none for others.
    pub(super) fn member(&self, id: ObjectId) -> Result<Option<Vec<u8>>, PdfError> {
        self.document.member(id, self.section())
    }

    /// The object streams that any section up to here has members of.
    pub(super) fn containers(&self) -> BTreeSet<u32> {
        let sections = &self.document.sections[..=self.section()];
        sections.iter().flat_map(|section| section.containers.iter().copied()).collect()
    }

    /// The generation and place of an object number as the sections say, without reading it; none where it is free.
    pub(super) fn entry(&self, number: u32) -> Option<Entry> {
        self.document
            .entry(number, self.section())
            .map(|(_, entry)| entry)
            .filter(|entry| *entry != Entry::Free)
    }

    /// The value, or what the reference refers to, over a few references.
    ///
    /// # Errors
    /// As [`Self::object`]; the references go on and on.
    pub fn resolve(&self, value: &Object) -> Result<Object, PdfError> {
        let mut value = value.clone();
        for _ in 0..8 {
            match value {
                Object::Reference(id) => value = self.object(id)?,
                other => return Ok(other),
            }
        }
        Err(PdfError::malformed("PDF object", "references refer to references"))
    }

    /// What a dictionary has under `key`; none where that is absent or null.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub fn get(&self, dictionary: &Dictionary, key: &[u8]) -> Result<Option<Object>, PdfError> {
        let Ok(value) = dictionary.get(key) else { return Ok(None) };
        Ok(Some(self.resolve(value)?).filter(|value| *value != Object::Null))
    }

    /// The dictionary under `key`; none where that is absent.
    ///
    /// # Errors
    /// As [`Self::resolve`]; something else is there.
    pub fn dictionary(&self, of: &Dictionary, key: &[u8]) -> Result<Option<Dictionary>, PdfError> {
        match self.get(of, key)? {
            None => Ok(None),
            Some(Object::Dictionary(dictionary)) => Ok(Some(dictionary)),
            Some(_) => Err(wrong_type(key, "dictionary")),
        }
    }

    /// The array under `key`; empty where that is absent.
    ///
    /// # Errors
    /// As [`Self::resolve`]; something else is there.
    pub fn array(&self, of: &Dictionary, key: &[u8]) -> Result<Vec<Object>, PdfError> {
        match self.get(of, key)? {
            None => Ok(Vec::new()),
            Some(Object::Array(array)) => Ok(array),
            Some(_) => Err(wrong_type(key, "array")),
        }
    }

    /// A stream's data without its filters.
    ///
    /// # Errors
    /// The filters cannot be undone, or within the limits not.
    pub fn content(&self, stream: &Stream) -> Result<Vec<u8>, PdfError> {
        let Document { limits, budget, .. } = self.document;
        let mut settled = None;
        for key in [b"Filter".as_slice(), b"DecodeParms"] {
            let Ok(value) = stream.dict.get(key) else { continue };
            let mut found = Vec::new();
            references(value, &[], &mut found);
            if !found.is_empty() {
                let value = self.settled(value, 0)?;
                settled.get_or_insert_with(|| stream.clone()).dict.set(key, value);
            }
        }
        xref::inflate(settled.as_ref().unwrap_or(stream), limits, budget)
    }

    /// The value with what it refers to in place of references, as far as filters and their parameters go.
    fn settled(&self, value: &Object, depth: u8) -> Result<Object, PdfError> {
        const DEEPEST: u8 = 2; // an array of dictionaries of values
        Ok(match self.resolve(value)? {
            Object::Array(values) if depth < DEEPEST => {
                let values: Result<_, _> =
                    values.iter().map(|value| self.settled(value, depth + 1)).collect();
                Object::Array(values?)
            }
            Object::Dictionary(mut values) if depth < DEEPEST => {
                for (_, value) in values.iter_mut() {
                    *value = self.settled(value, depth + 1)?;
                }
                Object::Dictionary(values)
            }
            Object::Stream(_) => Object::Null,
            other => other,
        })
    }

    /// The id of the catalog (7.7.2).
    ///
    /// # Errors
    /// The trailer names none.
    pub fn root(&self) -> Result<ObjectId, PdfError> {
        let root = self.trailer().get(b"Root").and_then(Object::as_reference);
        root.map_err(|_| PdfError::malformed("PDF", "its trailer names no catalog"))
    }

    /// The catalog.
    ///
    /// # Errors
    /// There is none.
    pub fn catalog(&self) -> Result<Dictionary, PdfError> {
        match self.object(self.root()?)? {
            Object::Dictionary(catalog) => Ok(catalog),
            _ => Err(PdfError::malformed("PDF", "its catalog is not a dictionary")),
        }
    }

    /// The pages in their order (7.7.3).
    ///
    /// # Errors
    /// The tree is damaged, or there are too many.
    pub fn pages(&self) -> Result<Vec<ObjectId>, PdfError> {
        let wrong = |reason: &str| PdfError::malformed("page tree", reason);
        let catalog = self.catalog()?;
        let root = catalog.get(b"Pages").and_then(Object::as_reference);
        let root = root.map_err(|_| wrong("the catalog names none"))?;
        let limits = &self.document.limits;
        let (mut pages, mut seen, mut stack) = (Vec::new(), HashSet::new(), vec![(root, 0)]);
        while let Some((id, depth)) = stack.pop() {
            if !seen.insert(id) {
                return Err(wrong("a node is in it twice"));
            }
            if depth > limits.nesting {
                return Err(PdfError::TooLarge { what: "levels of pages", limit: limits.nesting });
            }
            if seen.len() > 2 * limits.pages {
                return Err(PdfError::TooLarge { what: "pages", limit: limits.pages });
            }
            let Object::Dictionary(node) = self.object(id)? else {
                return Err(wrong("a node is no dictionary"));
            };
            if !node.has(b"Kids") {
                pages.push(id);
                continue;
            }
            for kid in self.array(&node, b"Kids")?.iter().rev() {
                let kid = kid.as_reference().map_err(|_| wrong("a node is no reference"))?;
                stack.push((kid, depth + 1));
            }
            if stack.len() > 2 * limits.pages {
                return Err(PdfError::TooLarge { what: "pages", limit: limits.pages });
            }
        }
        Ok(pages)
    }
}

fn wrong_type(key: &[u8], expected: &str) -> PdfError {
    let key = String::from_utf8_lossy(key);
    PdfError::malformed("PDF object", format!("what it has under {key} is no {expected}"))
}

/// The dictionary that an object is, or that its stream has, from its number to `endobj`; and the octets of that alone.
pub(super) fn dictionary_of(object: &[u8], nesting: usize) -> Option<(Dictionary, &[u8])> {
    let text = value_of(object, nesting)?;
    match lexical::value(text).ok()? {
        Object::Dictionary(dictionary) => Some((dictionary, text)),
        _ => None,
    }
}

/// The octets of an object's value alone, without its stream.
pub(super) fn value_of(object: &[u8], nesting: usize) -> Option<&[u8]> {
    let mut lexer = Lexer::new(object, 0);
    lexer.number()?;
    lexer.number()?;
    lexer.keyword(b"obj")?;
    let start = lexer.position;
    let (end, _) = lexer.value(&[b"endobj", b"stream"], nesting)?;
    Some(&object[start..end])
}

/// Nothing but white space.
pub(super) fn is_blank(octets: &[u8]) -> bool {
    octets.iter().all(|octet| is_white_space(*octet))
}
