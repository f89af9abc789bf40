//! The document as it came. Objects are read when they are asked for and kept, so that nothing of a large document is
//! in memory but what an update needs.

use std::cell::RefCell;

use elsa::FrozenMap;
use lopdf::{Dictionary, Object, ObjectId, Stream};

use super::error::SignError;
use crate::pdf::lexical::Lexer;
use crate::pdf::{Document, PdfError, Place, Revision, SignatureField, View};

/// ISO 32000-1, annex C: numbers of indirect objects.
const MAX_OBJECT: u32 = 8_388_607;

pub(super) struct Source<'d> {
    view: View<'d, 'd>,
    objects: FrozenMap<ObjectId, Box<Object>>,
    /// The first object that could not be read: it counts as null until [`Source::sound`] is asked.
    fault: RefCell<Option<PdfError>>,
    pub(super) pages: Vec<ObjectId>,
}

impl<'d> Source<'d> {
    pub(super) fn of(document: &'d Document<'d>) -> Result<Self, SignError> {
        let view = document.latest();
        let pages = view.pages()?;
        let source = Self { view, objects: FrozenMap::new(), fault: RefCell::new(None), pages };
        if source.pages.is_empty() {
            return Err(SignError::malformed("it has no pages"));
        }
        if view.next_number() > MAX_OBJECT {
            return Err(SignError::TooLarge("objects"));
        }
        let (_, catalog) = source.catalog()?;
        if source.entry(catalog, b"NeedsRendering") == Some(&Object::Boolean(true)) {
            return Err(SignError::DynamicForm);
        }
        Ok(source)
    }

    /// Could everything be read that was asked for?
    pub(super) fn sound(&self) -> Result<(), SignError> {
        self.fault.borrow_mut().take().map_or(Ok(()), |fault| Err(fault.into()))
    }

    pub(super) fn octets(&self) -> &'d [u8] {
        self.view.document().octets()
    }

    pub(super) fn view(&self) -> &View<'d, 'd> {
        &self.view
    }

    /// Is there room for as many further updates in a document that is to be judged?
    pub(super) fn has_room_for(&self, updates: usize) -> bool {
        let document = self.view.document();
        document.sections() + updates <= document.limits().sections
    }

    pub(super) fn next_number(&self) -> u32 {
        self.view.next_number()
    }

    pub(super) fn trailer(&self) -> &'d Dictionary {
        self.view.trailer()
    }

    /// The revision that an update stands behind.
    pub(super) fn revision(&self) -> &'d Revision {
        self.view.document().revisions().last().expect("a document has a revision")
    }

    pub(super) fn signature_fields(&self) -> Result<Vec<SignatureField>, SignError> {
        Ok(self.view.signature_fields()?)
    }

    /// The full names of all fields.
    pub(super) fn field_names(&self) -> Result<Vec<String>, SignError> {
        let mut names = Vec::new();
        self.view.walk_fields(|field| {
            names.push(field.name);
            Ok(())
        })?;
        Ok(names)
    }

    pub(super) fn catalog(&self) -> Result<(ObjectId, &Dictionary), SignError> {
        let root = self.view.root()?;
        Ok((root, self.node(root)?))
    }

    /// The object; Null for what is missing.
    pub(super) fn object(&self, id: ObjectId) -> &Object {
        if let Some(known) = self.objects.get(&id) {
            return known;
        }
        let object = self.view.object(id).unwrap_or_else(|fault| {
            self.fault.borrow_mut().get_or_insert(fault);
            Object::Null
        });
        self.objects.insert(id, Box::new(object))
    }

    /// The object that must be a dictionary.
    pub(super) fn node(&self, id: ObjectId) -> Result<&Dictionary, SignError> {
        let wrong = |_| SignError::malformed(format!("object {} is not a dictionary", id.0));
        self.object(id).as_dict().map_err(wrong)
    }

    /// What an object is once references are followed.
    pub(super) fn follow<'s>(&'s self, object: &'s Object) -> &'s Object {
        let mut object = object;
        for _ in 0..8 {
            let Object::Reference(id) = object else { return object };
            object = self.object(*id);
        }
        &Object::Null
    }

    /// An entry of a dictionary, references followed.
    pub(super) fn entry<'s>(&'s self, dictionary: &'s Dictionary, key: &[u8]) -> Option<&'s Object> {
        dictionary.get(key).ok().map(|object| self.follow(object)).filter(|object| !object.is_null())
    }

    pub(super) fn dictionary<'s>(&'s self, dictionary: &'s Dictionary, key: &[u8]) -> Option<&'s Dictionary> {
        self.entry(dictionary, key)?.as_dict().ok()
    }

    pub(super) fn array<'s>(&'s self, dictionary: &'s Dictionary, key: &[u8]) -> Option<&'s [Object]> {
        self.entry(dictionary, key)?.as_array().ok().map(Vec::as_slice)
    }

    pub(super) fn name<'s>(&'s self, dictionary: &'s Dictionary, key: &[u8]) -> Option<&'s [u8]> {
        self.entry(dictionary, key)?.as_name().ok()
    }

    pub(super) fn integer(&self, dictionary: &Dictionary, key: &[u8]) -> Option<i64> {
        self.entry(dictionary, key)?.as_i64().ok()
    }

    pub(super) fn number(&self, dictionary: &Dictionary, key: &[u8]) -> Option<f32> {
        self.entry(dictionary, key)?.as_float().ok()
    }

    /// A stream's data without its filters.
    pub(super) fn content(&self, stream: &Stream) -> Result<Vec<u8>, SignError> {
        Ok(self.view.content(stream)?)
    }

    /// The octets of a dictionary as it stands in the file or in an object stream.
    pub(super) fn raw(&self, id: ObjectId) -> Option<Vec<u8>> {
        match self.view.located(id).ok()?? {
            (Object::Dictionary(_), Place::File(extent)) => {
                let octets = self.octets().get(extent)?;
                let mut lexer = Lexer::new(octets, 0);
                lexer.number()?;
                lexer.number()?;
                lexer.keyword(b"obj")?;
                Some(octets[lexer.position..].to_vec())
            }
            (Object::Dictionary(_), Place::Within(container)) => {
                let container = self.view.object((container, 0)).ok()?;
                let container = container.as_stream().ok()?;
                let content = self.view.content(container).ok()?;
                let first = usize::try_from(self.integer(&container.dict, b"First")?).ok()?;
                let count = self.integer(&container.dict, b"N")?;
                let mut lexer = Lexer::new(content.get(..first)?, 0);
                for _ in 0..count {
                    let (number, offset) = (lexer.number()?, lexer.number()?);
                    if number == id.0 as usize {
                        return content.get(first.checked_add(offset)?..).map(<[u8]>::to_vec);
                    }
                }
                None
            }
            _ => None,
        }
    }
}
