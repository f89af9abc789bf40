//! The difference between a revision and the one before it: object by object from the catalog down, everything that is
//! not known to be harmless taken for harm.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use lopdf::{Dictionary, Object, ObjectId};

use super::super::PdfError;
use super::super::document::{Document, View, references};
use super::change::{Change, Needs};
use super::integrity;

/// What revision `revision` changed in the one before it.
pub(super) fn changes(document: &Document<'_>, revision: usize) -> Result<Vec<Change>, PdfError> {
    let mut step = Step {
        old: document.view(revision - 1),
        new: document.view(revision),
        changed: BTreeSet::new(),
        explained: HashSet::new(),
        wholesale: HashMap::new(),
        skipped: HashMap::new(),
        drawn_from: Vec::new(),
        pages: None,
        added_widgets: HashSet::new(),
        changes: Vec::new(),
    };
    step.changes = integrity::changes(document, revision)?;
    let listed = document.listed(revision);
    for number in &listed {
        if let Some(before) = step.old.entry(*number)
            && step.new.entry(*number) != Some(before)
            && !step.is_rewritten(*number)?
        {
            step.changed.insert(*number);
        }
    }
    step.trailer();
    step.catalog()?;
    step.pages()?;
    step.rest(&listed)?;
    Ok(step.changes)
}

/// A revision being compared with the one before.
pub(super) struct Step<'d, 'a> {
    pub(super) old: View<'d, 'a>,
    pub(super) new: View<'d, 'a>,
    /// Objects that were there before and are another now, or none.
    pub(super) changed: BTreeSet<u32>,
    /// Those whose change was looked at key by key.
    pub(super) explained: HashSet<u32>,
    /// Objects that may become any other, unless something else needs them: by what of, and which change that is.
    pub(super) wholesale: HashMap<u32, (&'static str, Needs, Option<String>)>,
    /// Keys by object through which an object does not need others.
    pub(super) skipped: HashMap<u32, &'static [&'static [u8]]>,
    /// What is drawn beside the pages.
    pub(super) drawn_from: Vec<ObjectId>,
    /// The pages of the revision before, once they are known.
    pages: Option<Rc<[ObjectId]>>,
    /// Widgets that a new signature field brought.
    pub(super) added_widgets: HashSet<ObjectId>,
    pub(super) changes: Vec<Change>,
}

impl Step<'_, '_> {
    pub(super) fn found(
        &mut self,
        code: &'static str,
        needs: Needs,
        object: Option<u32>,
        detail: impl Into<String>,
    ) {
        self.found_in(None, code, needs, object, detail);
    }

    pub(super) fn found_in(
        &mut self,
        field: Option<&str>,
        code: &'static str,
        needs: Needs,
        object: Option<u32>,
        detail: impl Into<String>,
    ) {
        let change = Change {
            revision: self.new.revision(),
            object,
            code,
            detail: detail.into(),
            needs,
            field: field.map(str::to_owned),
            shows: false,
        };
        // Several keys of one field are one change.
        if self.changes.last() != Some(&change) {
            self.changes.push(change);
        }
    }

    pub(super) fn explain(&mut self, value: &Object) {
        if let Object::Reference(id) = value {
            self.explained.insert(id.0);
        }
    }

    /// Written anew, but as it was.
    fn is_rewritten(&self, number: u32) -> Result<bool, PdfError> {
        let (Some(before), Some(now)) = (self.old.id(number), self.new.id(number)) else { return Ok(false) };
        Ok(before == now && self.old.object(before)? == self.new.object(now)?)
    }

    fn trailer(&mut self) {
        // What describes the section itself, and what Info and ID say of the file.
        const OWN: [&[u8]; 12] = [
            b"Size",
            b"Prev",
            b"XRefStm",
            b"Type",
            b"W",
            b"Index",
            b"Length",
            b"Filter",
            b"DecodeParms",
            b"ID",
            b"Info",
            b"DocChecksum",
        ];
        let (old, new) = (self.old.trailer(), self.new.trailer());
        for key in changed_keys(old, new) {
            if !OWN.contains(&key.as_slice()) {
                self.found("document_changed", Needs::Never, None, format!("the trailer's {}", text(&key)));
            }
        }
        let info = |trailer: &Dictionary| trailer.get(b"Info").and_then(Object::as_reference).ok();
        if let Some(id) = info(old) {
            self.wholesale.insert(id.0, ("metadata_changed", Needs::Nothing, None));
        }
        if info(old) != info(new) {
            self.found(
                "metadata_changed",
                Needs::Nothing,
                info(new).map(|id| id.0),
                "the information dictionary",
            );
        }
    }

    fn catalog(&mut self) -> Result<(), PdfError> {
        let (Ok(id), Ok(new_id)) = (self.old.root(), self.new.root()) else { return Ok(()) };
        if id != new_id {
            // Said of the trailer already.
            return Ok(());
        }
        let (old, new) = (self.old.catalog()?, self.new.catalog()?);
        self.explained.insert(id.0);
        self.skipped.insert(id.0, &[b"DSS", b"Metadata"]);
        for key in [b"DSS".as_slice(), b"Metadata"] {
            let kind = if key == b"DSS" { "validation_data_added" } else { "metadata_changed" };
            let before = old.get(key).unwrap_or(&Object::Null).clone();
            self.allow_closure(&before, kind, Needs::Nothing, None)?;
        }
        for key in changed_keys(&old, &new) {
            match &*key {
                b"AcroForm" => {}
                b"DSS" | b"Extensions" | b"Version" => {
                    let detail = format!("the catalog's {}", text(&key));
                    self.found("validation_data_added", Needs::Nothing, Some(id.0), detail);
                }
                b"Metadata" => {
                    self.found("metadata_changed", Needs::Nothing, Some(id.0), "the metadata stream")
                }
                _ => {
                    let detail = format!("the catalog's {}", text(&key));
                    self.found("document_changed", Needs::Never, Some(id.0), detail);
                }
            }
        }
        self.form(&old, &new)
    }

    /// Marks an object and all it refers to as free to change, in the way of `code`.
    pub(super) fn allow_closure(
        &mut self,
        value: &Object,
        code: &'static str,
        needs: Needs,
        field: Option<&str>,
    ) -> Result<(), PdfError> {
        for number in closure(&self.old, value, &HashMap::new(), HashSet::new())? {
            self.wholesale.entry(number).or_insert_with(|| (code, needs, field.map(str::to_owned)));
        }
        Ok(())
    }

    fn pages(&mut self) -> Result<(), PdfError> {
        if self.changed.iter().all(|number| self.explained.contains(number)) {
            return Ok(());
        }
        for id in self.old_pages()?.iter().copied() {
            let Object::Dictionary(old) = self.old.object(id)? else { continue };
            let annotations = self.old.array(&old, b"Annots")?;
            self.annotations(id, &annotations)?;
            let array = old.get(b"Annots").and_then(Object::as_reference).ok();
            let array_changed = array.is_some_and(|array| self.changed.contains(&array.0));
            if !self.changed.contains(&id.0) && !array_changed {
                continue;
            }
            self.explained.insert(id.0);
            self.explained.extend(array.map(|array| array.0));
            let Object::Dictionary(new) = self.new.object(id)? else {
                self.found("page_changed", Needs::Never, Some(id.0), "a page is no page any more");
                continue;
            };
            for key in changed_keys(&old, &new) {
                if key != b"Annots" {
                    let detail = format!("{} of a page", text(&key));
                    self.found("page_changed", Needs::Never, Some(id.0), detail);
                }
            }
            self.annotation_lists(id, &annotations, &self.new.array(&new, b"Annots")?)?;
        }
        Ok(())
    }

    fn old_pages(&mut self) -> Result<Rc<[ObjectId]>, PdfError> {
        let pages = match self.pages.take() {
            Some(pages) => pages,
            None => self.old.pages()?.into(),
        };
        self.pages = Some(Rc::clone(&pages));
        Ok(pages)
    }

    /// All that the revision before draws, or hands out as a file: what may change as a field, a form or an annotation
    /// may not be any of it, or the page would change with it.
    fn drawn(&mut self) -> Result<HashSet<u32>, PdfError> {
        let pages = self.old_pages()?;
        let is_page: HashSet<u32> = pages.iter().map(|page| page.0).collect();
        let catalog = self.old.catalog()?;
        let mut next = std::mem::take(&mut self.drawn_from);
        for key in [b"Pages".as_slice(), b"OCProperties", b"AF"] {
            references(catalog.get(key).unwrap_or(&Object::Null), &[], &mut next);
        }
        let names = self.old.dictionary(&catalog, b"Names")?.unwrap_or_default();
        references(names.get(b"EmbeddedFiles").unwrap_or(&Object::Null), &[], &mut next);
        let (mut seen, mut listed) = (HashSet::new(), HashSet::new());
        let mut annotations: Vec<ObjectId> = Vec::new();
        for page in pages.iter() {
            annotations.extend(self.old.shown(*page, true)?.annotations.iter());
        }
        while let Some(id) = annotations.pop() {
            let may_change = self.skipped.get(&id.0).is_some_and(|keys| keys.contains(&b"AP".as_slice()));
            if !may_change && !is_page.contains(&id.0) && listed.insert(id.0) {
                let shown = self.old.shown(id, false)?;
                next.extend(shown.drawn.iter());
                annotations.extend(shown.annotations.iter());
            }
        }
        while let Some(id) = next.pop() {
            if !seen.insert(id.0) {
                continue;
            }
            match is_page.contains(&id.0) {
                true => next.extend(self.old.shown(id, true)?.drawn.iter()),
                false => next.extend(self.old.references(id)?.iter()),
            }
        }
        Ok(seen)
    }

    /// Annotations that are no form fields may change where annotations may.
    fn annotations(&mut self, page: ObjectId, annotations: &[Object]) -> Result<(), PdfError> {
        for value in annotations {
            let Object::Reference(id) = value else { continue };
            if self.skipped.contains_key(&id.0) {
                continue;
            }
            let Object::Dictionary(old) = self.old.object(*id)? else { continue };
            if is_widget(&old) {
                continue;
            }
            self.skipped.insert(id.0, &[b"AP"]);
            if let Ok(appearance) = old.get(b"AP") {
                self.allow_closure(&appearance.clone(), "annotation_changed", Needs::Annotations, None)?;
            }
            if self.changed.contains(&id.0) {
                self.explained.insert(id.0);
                let detail = format!("an annotation of page object {}", page.0);
                self.found("annotation_changed", Needs::Annotations, Some(id.0), detail);
            }
        }
        Ok(())
    }

    fn annotation_lists(&mut self, page: ObjectId, old: &[Object], new: &[Object]) -> Result<(), PdfError> {
        // Those that are no objects of their own are told apart by their order.
        let same = direct_in(old).zip(direct_in(new)).take_while(|(old, new)| old == new).count();
        let (before, now) = (references_in(old), references_in(new));
        let gone = old.iter().filter(|value| value.as_reference().is_ok_and(|id| !now.contains(&id)));
        for value in gone.chain(direct_in(old).skip(same)) {
            let widget =
                matches!(self.old.resolve(value)?, Object::Dictionary(annotation) if is_widget(&annotation));
            let (code, needs) = match widget {
                true => ("field_changed", Needs::Never),
                false => ("annotation_changed", Needs::Annotations),
            };
            self.found(code, needs, Some(page.0), "an annotation was taken from a page");
        }
        let come = new.iter().filter(|value| value.as_reference().is_ok_and(|id| !before.contains(&id)));
        for value in come.chain(direct_in(new).skip(same)) {
            let id = value.as_reference().ok();
            if id.is_some_and(|id| self.added_widgets.contains(&id)) {
                continue;
            }
            // An array may be that of something else as well, of the pages for one.
            let mut other = false;
            let widget = match self.new.resolve(value)? {
                Object::Dictionary(annotation) => {
                    other = annotation.has(b"Type") && !annotation.has_type(b"Annot");
                    is_widget(&annotation)
                }
                _ => true,
            };
            let was_there = id.is_some_and(|id| self.old.entry(id.0).is_some());
            let (code, needs) = match widget || was_there || other {
                true => ("field_added", Needs::Never),
                false => ("annotation_changed", Needs::Annotations),
            };
            self.found(
                code,
                needs,
                id.map(|id| id.0),
                format!("an annotation was put on page object {}", page.0),
            );
        }
        Ok(())
    }

    /// Changed objects that nothing has explained: harmless only if nothing that must stay needs them. So are new ones,
    /// which the revision before may have referred to without having them.
    fn rest(&mut self, listed: &BTreeSet<u32>) -> Result<(), PdfError> {
        let containers = self.old.containers();
        let unexplained = |number: &&u32| {
            self.changed.contains(*number)
                && (!self.explained.contains(*number) || containers.contains(*number))
        };
        let left: Vec<u32> = listed.iter().filter(unexplained).copied().collect();
        let new = |number: &&u32| self.old.entry(**number).is_none() && self.new.entry(**number).is_some();
        let new: Vec<u32> = listed.iter().filter(new).copied().collect();
        let explained = |number: &&u32| self.changed.contains(*number) && self.explained.contains(*number);
        let mut explained: Vec<u32> = listed.iter().filter(explained).copied().collect();
        if left.is_empty() && new.is_empty() && explained.is_empty() {
            return Ok(());
        }
        let drawn = self.drawn()?;
        let pages = self.old_pages()?;
        let pages: HashSet<u32> = pages.iter().map(|page| page.0).collect();
        // A page's own change was looked at, unless it passed for a field.
        let is_page = |number: &u32| pages.contains(number) && !self.skipped.contains_key(number);
        explained.retain(|number| drawn.contains(number) && !is_page(number));
        for number in explained {
            let (code, what) = self.name(number)?;
            let detail = format!("{what} {number}, which is drawn as well");
            self.found(code, Needs::Never, Some(number), detail);
        }
        let root = self.old.trailer().get(b"Root").unwrap_or(&Object::Null).clone();
        // What pages refer to beside what they draw is yet to be gone through.
        let seen = drawn.into_iter().filter(|number| !pages.contains(number)).collect();
        let needed = closure(&self.old, &root, &self.skipped, seen)?;
        // What is in an object stream is another as soon as the stream is, or what its Length is.
        let containers = containers.into_iter().filter_map(|number| self.old.id(number));
        let containers = Object::Array(containers.map(Object::Reference).collect());
        let needed = closure(&self.old, &containers, &HashMap::new(), needed)?;
        for number in new.into_iter().filter(|number| needed.contains(number)) {
            let detail = format!("object {number}, which was referred to and not there");
            self.found("document_changed", Needs::Never, Some(number), detail);
        }
        for number in left {
            if !needed.contains(&number) && !self.is_container(number)? {
                if let Some((code, needs, field)) = self.wholesale.get(&number).cloned() {
                    let detail = field.clone().unwrap_or_else(|| format!("object {number}"));
                    self.found_in(field.as_deref(), code, needs, Some(number), detail);
                    continue;
                }
                // Nothing showed it, and nothing does until something else changes.
                continue;
            }
            let (code, what) = self.name(number)?;
            self.found(code, Needs::Never, Some(number), format!("{what} {number}"));
        }
        Ok(())
    }

    fn is_container(&self, number: u32) -> Result<bool, PdfError> {
        let Some(id) = self.old.id(number) else { return Ok(false) };
        Ok(matches!(self.old.object(id)?, Object::Stream(stream) if stream.dict.has_type(b"ObjStm")))
    }

    fn name(&self, number: u32) -> Result<(&'static str, &'static str), PdfError> {
        let Some(id) = self.old.id(number) else { return Ok(("document_changed", "object")) };
        let object = self.old.object(id)?;
        let dictionary = match &object {
            Object::Dictionary(dictionary) => Some(dictionary),
            Object::Stream(stream) => Some(&stream.dict),
            _ => None,
        };
        let kind = dictionary.and_then(|dictionary| dictionary.get_type().ok()).unwrap_or_default();
        Ok(match kind {
            b"Font" | b"FontDescriptor" => ("font_changed", "font"),
            b"Page" | b"Pages" => ("page_changed", "page tree node"),
            b"Sig" | b"DocTimeStamp" => ("signature_replaced", "signature"),
            _ if matches!(object, Object::Stream(_)) => ("content_changed", "stream"),
            _ => ("document_changed", "object"),
        })
    }
}

/// The numbers of all objects that a value refers to, directly or over others; `skipped` are keys by object that lead
/// nowhere, `seen` what was gone through before.
fn closure(
    view: &View<'_, '_>,
    value: &Object,
    skipped: &HashMap<u32, &'static [&'static [u8]]>,
    mut seen: HashSet<u32>,
) -> Result<HashSet<u32>, PdfError> {
    let mut next = Vec::new();
    references(value, &[], &mut next);
    while let Some(id) = next.pop() {
        if !seen.insert(id.0) {
            continue;
        }
        match skipped.get(&id.0) {
            Some(keys) if !keys.is_empty() => {
                references(&view.object(view.id(id.0).unwrap_or(id))?, keys, &mut next);
            }
            _ => next.extend(view.references(id)?.iter()),
        }
    }
    Ok(seen)
}

/// Keys whose values are not the same in both, as they are written.
pub(super) fn changed_keys(old: &Dictionary, new: &Dictionary) -> Vec<Vec<u8>> {
    let gone =
        old.iter().filter(|(key, value)| new.get(key).ok() != Some(*value)).map(|(key, _)| key.clone());
    let come = new.iter().filter(|(key, _)| !old.has(key)).map(|(key, _)| key.clone());
    gone.chain(come).collect()
}

fn references_in(array: &[Object]) -> HashSet<ObjectId> {
    array.iter().filter_map(|value| value.as_reference().ok()).collect()
}

fn direct_in(array: &[Object]) -> impl Iterator<Item = &Object> {
    array.iter().filter(|value| value.as_reference().is_err())
}

fn is_widget(annotation: &Dictionary) -> bool {
    annotation.get(b"Subtype").and_then(Object::as_name).is_ok_and(|kind| kind == b"Widget")
}

pub(super) fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}
