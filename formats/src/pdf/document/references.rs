//! What objects refer to: all of it, or what of it is drawn. Each is read once however many revisions have it.

use std::rc::Rc;

use lopdf::{Dictionary, Object, ObjectId};

use super::View;
use crate::pdf::PdfError;

/// What a page, its list of annotations or one of these refers to.
#[derive(Debug, Default)]
pub(in crate::pdf) struct Shown {
    /// What it draws: all that a page refers to beside its annotations; how an annotation looks.
    pub(in crate::pdf) drawn: Vec<ObjectId>,
    /// Annotations and lists of them.
    pub(in crate::pdf) annotations: Vec<ObjectId>,
}

impl Shown {
    fn of_page(page: &Dictionary) -> Self {
        // Actions and threads lead to fields and back to pages, and draw nothing.
        const OTHERS: [&[u8]; 5] = [b"Annots", b"AA", b"B", b"DPart", b"PieceInfo"];
        let mut shown = Self::default();
        references(&Object::Dictionary(page.clone()), &OTHERS, &mut shown.drawn);
        if let Ok(annotations) = page.get(b"Annots") {
            shown.add(annotations);
        }
        shown
    }

    /// An annotation, or a list of some.
    fn add(&mut self, value: &Object) {
        match value {
            Object::Reference(id) => self.annotations.push(*id),
            Object::Array(array) => array.iter().for_each(|value| self.add(value)),
            Object::Dictionary(annotation) => self.look_of(annotation),
            _ => {}
        }
    }

    fn look_of(&mut self, annotation: &Dictionary) {
        for key in [b"AP".as_slice(), b"MK", b"OC"] {
            references(annotation.get(key).unwrap_or(&Object::Null), &[], &mut self.drawn);
        }
    }
}

impl View<'_, '_> {
    /// What an object refers to itself. A reference with another generation leads to nothing, but must not make it seem
    /// that the object refers to nothing.
    pub(in crate::pdf) fn references(&self, id: ObjectId) -> Result<Rc<[ObjectId]>, PdfError> {
        let document = self.document;
        document.budget.walk(self.section() + 1)?;
        let Some((section, entry)) = document.entry(id.0, self.section()) else { return Ok(Rc::default()) };
        if let Some(known) = document.references.borrow().get(&(entry, section)) {
            return Ok(Rc::clone(known));
        }
        let mut found = Vec::new();
        references(&self.object(self.id(id.0).unwrap_or(id))?, &[], &mut found);
        let found: Rc<[ObjectId]> = found.into();
        document.references.borrow_mut().insert((entry, section), Rc::clone(&found));
        Ok(found)
    }

    /// What a page, a list of annotations or an annotation shows.
    pub(in crate::pdf) fn shown(&self, id: ObjectId, is_page: bool) -> Result<Rc<Shown>, PdfError> {
        let document = self.document;
        document.budget.walk(self.section() + 1)?;
        let Some((section, entry)) = document.entry(id.0, self.section()) else { return Ok(Rc::default()) };
        if let Some(known) = document.shown.borrow().get(&(entry, section, is_page)) {
            return Ok(Rc::clone(known));
        }
        let mut shown = Shown::default();
        match self.object(self.id(id.0).unwrap_or(id))? {
            Object::Dictionary(page) if is_page => shown = Shown::of_page(&page),
            Object::Dictionary(annotation) => shown.look_of(&annotation),
            Object::Reference(other) => shown.annotations.push(other),
            Object::Array(list) => list.iter().for_each(|value| shown.add(value)),
            _ => {}
        }
        let shown = Rc::new(shown);
        document.shown.borrow_mut().insert((entry, section, is_page), Rc::clone(&shown));
        Ok(shown)
    }
}

/// What a value refers to itself, some keys of its dictionary apart.
pub(in crate::pdf) fn references(value: &Object, skipped: &[&[u8]], found: &mut Vec<ObjectId>) {
    let members = |dictionary: &Dictionary, found: &mut Vec<ObjectId>| {
        for (_, value) in dictionary.iter().filter(|(key, _)| !skipped.contains(&key.as_slice())) {
            references(value, &[], found);
        }
    };
    match value {
        Object::Reference(id) => found.push(*id),
        Object::Array(array) => array.iter().for_each(|value| references(value, &[], found)),
        Object::Dictionary(dictionary) => members(dictionary, found),
        Object::Stream(stream) => members(&stream.dict, found),
        _ => {}
    }
}
