//! Signature fields and what they were signed with (ISO 32000-2, 12.7.5.5 and 12.8.1).

use std::collections::HashSet;

use lopdf::{Dictionary, Object, ObjectId, decode_text_string};

use super::PdfError;
use super::document::{Place, View};

/// A signature field.
#[derive(Clone, Debug)]
pub struct SignatureField {
    /// Its fully qualified name: those of its ancestors and its own, with full stops between them.
    pub name: String,
    /// None for a field that stands in its parent's array itself.
    pub id: Option<ObjectId>,
    /// The field, which is its widget too unless it has kids.
    pub dictionary: Dictionary,
    /// What it was signed with; none while it is empty.
    pub value: Option<SignatureValue>,
}

/// A signature dictionary.
#[derive(Clone, Debug)]
pub struct SignatureValue {
    /// None where it stands in the field itself.
    pub id: Option<ObjectId>,
    /// It.
    pub dictionary: Dictionary,
    /// Where the object stands that holds it.
    pub place: Option<Place>,
}

impl View<'_, '_> {
    /// All signature fields, in the order of the form.
    ///
    /// # Errors
    /// The form is damaged or too large.
    pub fn signature_fields(&self) -> Result<Vec<SignatureField>, PdfError> {
        let mut found = Vec::new();
        self.walk_fields(|field| {
            if field.kind.as_deref() == Some(b"Sig") {
                let value = self.signature_value(&field)?;
                found.push(SignatureField {
                    name: field.name,
                    id: field.id,
                    dictionary: field.dictionary,
                    value,
                });
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn signature_value(&self, field: &Field) -> Result<Option<SignatureValue>, PdfError> {
        let wrong = || PdfError::malformed("signature field", format!("the value of {} is none", field.name));
        match field.dictionary.get(b"V") {
            Err(_) | Ok(Object::Null) => Ok(None),
            Ok(Object::Reference(id)) => match self.located(*id)? {
                None | Some((Object::Null, _)) => Ok(None),
                Some((Object::Dictionary(dictionary), place)) => {
                    Ok(Some(SignatureValue { id: Some(*id), dictionary, place: Some(place) }))
                }
                Some(_) => Err(wrong()),
            },
            Ok(Object::Dictionary(dictionary)) => {
                let place =
                    field.id.map(|id| self.located(id)).transpose()?.flatten().map(|(_, place)| place);
                Ok(Some(SignatureValue { id: None, dictionary: dictionary.clone(), place }))
            }
            Ok(_) => Err(wrong()),
        }
    }

    /// Hands every terminal field of the form to `take`.
    pub(super) fn walk_fields(
        &self,
        mut take: impl FnMut(Field) -> Result<(), PdfError>,
    ) -> Result<(), PdfError> {
        let Some(form) = self.dictionary(&self.catalog()?, b"AcroForm")? else { return Ok(()) };
        let limits = *self.document().limits();
        let mut seen = HashSet::new();
        let (mut stack, mut count) = (Vec::new(), 0);
        for value in self.array(&form, b"Fields")?.into_iter().rev() {
            stack.push((value, String::new(), None, 0));
        }
        while let Some((value, parent, inherited, depth)) = stack.pop() {
            count += 1;
            if count > limits.fields {
                return Err(PdfError::TooLarge { what: "form fields", limit: limits.fields });
            }
            if depth > limits.nesting {
                return Err(PdfError::TooLarge { what: "levels of form fields", limit: limits.nesting });
            }
            let id = value.as_reference().ok();
            if id.is_some_and(|id| !seen.insert(id)) {
                return Err(PdfError::malformed("form", "a field is in it twice"));
            }
            let Object::Dictionary(dictionary) = self.resolve(&value)? else { continue };
            let name = match self.get(&dictionary, b"T")? {
                None => parent,
                Some(text) => {
                    let own = decode_text_string(&text).unwrap_or_else(|_| "?".to_owned());
                    if parent.is_empty() { own } else { format!("{parent}.{own}") }
                }
            };
            let kind = match self.get(&dictionary, b"FT")? {
                Some(Object::Name(kind)) => Some(kind),
                _ => inherited,
            };
            // Kids without a name are the field's widgets, others are fields.
            let mut has_fields = false;
            for kid in self.array(&dictionary, b"Kids")?.into_iter().rev() {
                let is_field = match self.resolve(&kid)? {
                    Object::Dictionary(kid) => kid.has(b"T"),
                    _ => false,
                };
                if is_field {
                    has_fields = true;
                    stack.push((kid, name.clone(), kind.clone(), depth + 1));
                }
            }
            if !has_fields || dictionary.has(b"V") {
                take(Field { name, id, kind, dictionary })?;
            }
        }
        Ok(())
    }
}

/// A field of the form.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) id: Option<ObjectId>,
    /// `Sig`, `Tx`, `Btn` or `Ch`.
    pub(super) kind: Option<Vec<u8>>,
    pub(super) dictionary: Dictionary,
}
