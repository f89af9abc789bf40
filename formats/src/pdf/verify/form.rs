//! The difference between two revisions' forms (ISO 32000-2, 12.7): fields filled in, signed or added.

use lopdf::{Dictionary, Object, decode_text_string};

use super::super::PdfError;
use super::super::document::references;
use super::change::Needs;
use super::step::{Step, changed_keys, text};

/// Levels of fields below the form.
const DEEPEST: usize = 32;

/// What kind of field it is, as far as it matters for what may change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It has a signature.
    Signed,
    /// It is for a signature.
    Empty,
    /// It is for a signature, is seen, and a timestamp was put into it.
    Stamped,
    /// Text or choice.
    Text,
    /// A check box or radio button: what it looks like in each of its states is settled.
    Check,
    /// It has fields below it, is a button that has no value, or is no field of any known type.
    Fixed,
}

impl Kind {
    /// Keys that change when it is filled in.
    fn may_change(self, key: &[u8]) -> bool {
        match self {
            Self::Text => matches!(key, b"V" | b"AP" | b"DA" | b"I" | b"M" | b"NM" | b"RV" | b"Type"),
            Self::Check => matches!(key, b"V" | b"AS" | b"M" | b"NM" | b"Type"),
            // Whoever signs settles what the signature looks like, and whether it is shown and locked.
            Self::Empty => {
                matches!(key, b"V" | b"AP" | b"AS" | b"DA" | b"F" | b"M" | b"MK" | b"NM" | b"Type")
            }
            // Anybody has documents timestamped: what the field shows stays as the signer saw it.
            Self::Stamped => matches!(key, b"V" | b"M" | b"NM" | b"Type"),
            Self::Signed | Self::Fixed => false,
        }
    }
}

impl Step<'_, '_> {
    /// Compares the forms of two catalogs.
    pub(super) fn form(
        &mut self,
        old_catalog: &Dictionary,
        new_catalog: &Dictionary,
    ) -> Result<(), PdfError> {
        for catalog in [old_catalog, new_catalog] {
            if let Ok(form) = catalog.get(b"AcroForm") {
                self.explain(&form.clone());
            }
        }
        let old = self.old.dictionary(old_catalog, b"AcroForm")?.unwrap_or_default();
        let new = self.new.dictionary(new_catalog, b"AcroForm")?.unwrap_or_default();
        for form in [&old, &new] {
            if let Ok(fields) = form.get(b"Fields") {
                self.explain(&fields.clone());
            }
        }
        // Fonts that readers draw the values of fields with.
        references(old.get(b"DR").unwrap_or(&Object::Null), &[], &mut self.drawn_from);
        for key in changed_keys(&old, &new) {
            let detail = format!("the form's {}", text(&key));
            match &*key {
                b"Fields" | b"SigFlags" => {}
                b"DA" | b"NeedAppearances" => self.found("form_filled", Needs::FormFilling, None, detail),
                b"DR" if self.keeps_resources(&old, &new)? => {
                    self.found("form_filled", Needs::FormFilling, None, detail);
                }
                _ => self.found("document_changed", Needs::Never, None, detail),
            }
        }
        let (old, new) = (self.old.array(&old, b"Fields")?, self.new.array(&new, b"Fields")?);
        self.fields(&old, &new, "", None, 0)
    }

    /// The new resources have all of the old ones, as they were.
    fn keeps_resources(&self, old: &Dictionary, new: &Dictionary) -> Result<bool, PdfError> {
        let before = self.old.dictionary(old, b"DR")?.unwrap_or_default();
        let now = self.new.dictionary(new, b"DR")?.unwrap_or_default();
        for (kind, value) in before.iter() {
            let Object::Dictionary(before) = self.old.resolve(value)? else {
                if now.get(kind).ok() != Some(value) {
                    return Ok(false);
                }
                continue;
            };
            let now = self.new.dictionary(&now, kind)?.unwrap_or_default();
            if before.iter().any(|(name, value)| now.get(name).ok() != Some(value)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fields(
        &mut self,
        old: &[Object],
        new: &[Object],
        parent: &str,
        inherited: Option<&[u8]>,
        depth: usize,
    ) -> Result<(), PdfError> {
        if depth > DEEPEST {
            return Err(PdfError::TooLarge { what: "levels of form fields", limit: DEEPEST });
        }
        if !new.starts_with(old) {
            self.found(
                "field_changed",
                Needs::Never,
                None,
                "fields were taken away or put into another order",
            );
            return Ok(());
        }
        for value in old {
            self.field(value, parent, inherited, depth)?;
        }
        for value in &new[old.len()..] {
            self.added(value, parent)?;
        }
        Ok(())
    }

    fn field(
        &mut self,
        value: &Object,
        parent: &str,
        inherited: Option<&[u8]>,
        depth: usize,
    ) -> Result<(), PdfError> {
        let Object::Dictionary(old) = self.old.resolve(value)? else { return Ok(()) };
        let number = value.as_reference().ok().map(|id| id.0);
        let name = full_name(parent, old.get(b"T").ok().map(|text| self.old.resolve(text)).transpose()?);
        let Object::Dictionary(new) = self.new.resolve(value)? else {
            self.found_in(
                Some(&name),
                "field_changed",
                Needs::Never,
                number,
                format!("{name} is no field any more"),
            );
            return Ok(());
        };
        let own = self.old.get(&old, b"FT")?.and_then(|kind| kind.as_name().ok().map(<[u8]>::to_vec));
        let field_type = own.as_deref().or(inherited);
        let (old_kids, new_kids) = (self.old.array(&old, b"Kids")?, self.new.array(&new, b"Kids")?);
        let mut has_fields = false;
        for kid in &old_kids {
            has_fields |= matches!(self.old.resolve(kid)?, Object::Dictionary(kid) if kid.has(b"T"));
        }
        let signed = self.old.get(&old, b"V")?;
        let kind = match (field_type, &signed) {
            (Some(b"Sig"), Some(_)) => Kind::Signed,
            (Some(b"Sig"), None) if !has_fields => Kind::Empty,
            _ if has_fields => Kind::Fixed,
            (Some(b"Btn"), _) if self.is_push_button(&old)? => Kind::Fixed,
            (Some(b"Btn"), _) => Kind::Check,
            (Some(b"Tx" | b"Ch"), _) => Kind::Text,
            _ => Kind::Fixed,
        };
        self.explain(value);
        let filled = self.filling(kind, &new)?;
        let kind = match filled {
            Some(("timestamp_added", Needs::FormFilling)) => Kind::Stamped,
            _ => kind,
        };
        self.keys(kind, filled, &name, number, &old, &new)?;
        if has_fields {
            return self.fields(&old_kids, &new_kids, &name, field_type, depth + 1);
        }
        if !new_kids.starts_with(&old_kids)
            || new_kids.len() > old_kids.len() && !matches!(kind, Kind::Empty | Kind::Stamped)
        {
            let detail = format!("the widgets of {name}");
            self.found_in(Some(&name), "field_changed", Needs::Never, number, detail);
            return Ok(());
        }
        for kid in &old_kids {
            let (Object::Dictionary(old), Object::Dictionary(new)) =
                (self.old.resolve(kid)?, self.new.resolve(kid)?)
            else {
                continue;
            };
            self.explain(kid);
            self.keys(kind, filled, &name, kid.as_reference().ok().map(|id| id.0), &old, &new)?;
        }
        for kid in &new_kids[old_kids.len()..] {
            let Object::Dictionary(kid) = self.new.resolve(kid)? else { continue };
            let detail = format!("a widget of {name}");
            if !matches!(filled, Some(("signature_added", _))) && shows_unsigned(&kid, filled.is_some()) {
                self.found_in(Some(&name), "field_added", Needs::Never, number, detail);
            } else if is_visible(&kid) {
                self.found_in(Some(&name), "signature_added", Needs::FormFilling, number, detail);
                if let Some(change) = self.changes.last_mut() {
                    change.shows = true;
                }
            }
        }
        self.added_widgets
            .extend(new_kids[old_kids.len()..].iter().filter_map(|kid| kid.as_reference().ok()));
        Ok(())
    }

    /// ISO 32000-2, table 229.
    fn is_push_button(&self, field: &Dictionary) -> Result<bool, PdfError> {
        const PUSH_BUTTON: i64 = 1 << 16;
        let flags = self.old.get(field, b"Ff")?.and_then(|flags| flags.as_i64().ok());
        Ok(flags.is_some_and(|flags| flags & PUSH_BUTTON != 0))
    }

    /// Which change it is to fill such a field in; none where it may not be.
    fn filling(&self, kind: Kind, new: &Dictionary) -> Result<Option<(&'static str, Needs)>, PdfError> {
        Ok(match kind {
            Kind::Signed | Kind::Fixed | Kind::Stamped => None,
            Kind::Text | Kind::Check => Some(("form_filled", Needs::FormFilling)),
            Kind::Empty => match self.new.get(new, b"V")? {
                Some(Object::Dictionary(value)) => {
                    let (code, needs) = signing(&value);
                    let mut visible = is_visible(new);
                    for kid in self.new.array(new, b"Kids")? {
                        visible |=
                            matches!(self.new.resolve(&kid)?, Object::Dictionary(kid) if is_visible(&kid));
                    }
                    // Also a timestamp could show anything in a field that is seen.
                    Some((code, if visible { needs.max(Needs::FormFilling) } else { needs }))
                }
                _ => None,
            },
        })
    }

    /// Compares a field or widget key by key.
    fn keys(
        &mut self,
        kind: Kind,
        filled: Option<(&'static str, Needs)>,
        name: &str,
        number: Option<u32>,
        old: &Dictionary,
        new: &Dictionary,
    ) -> Result<(), PdfError> {
        if let Some((code, needs)) = filled
            && let Some(number) = number
        {
            let own: &'static [&'static [u8]] = match kind {
                Kind::Text => &[b"AP", b"V"],
                Kind::Check => &[b"V"],
                Kind::Stamped => &[],
                Kind::Empty | Kind::Signed | Kind::Fixed => &[b"AP"],
            };
            self.skipped.insert(number, own);
            for key in own {
                let value = old.get(key).unwrap_or(&Object::Null).clone();
                self.allow_closure(&value, code, needs, Some(name))?;
            }
        } else if let Some(number) = number {
            // A field all the same: not an annotation that may change where annotations may.
            self.skipped.entry(number).or_insert(&[]);
        }
        for key in changed_keys(old, new) {
            let detail = format!("{} of {name}", text(&key));
            match (&*key, filled) {
                (b"Kids", _) => {}
                (b"V", None) if kind == Kind::Signed => {
                    self.found_in(Some(name), "signature_replaced", Needs::Never, number, detail);
                }
                (b"AP", None) if kind == Kind::Signed => {
                    self.found_in(Some(name), "signature_appearance_changed", Needs::Never, number, detail);
                }
                (key, Some((code, needs))) if kind.may_change(key) => {
                    self.found_in(Some(name), code, needs, number, name);
                }
                _ => self.found_in(Some(name), "field_changed", Needs::Never, number, detail),
            }
        }
        Ok(())
    }

    /// A field that was not there before: for a signature, or not welcome.
    fn added(&mut self, value: &Object, parent: &str) -> Result<(), PdfError> {
        let id = value.as_reference().ok();
        let number = id.map(|id| id.0);
        let field = match self.new.resolve(value)? {
            Object::Dictionary(field) => field,
            _ => Dictionary::new(),
        };
        let name = full_name(parent, field.get(b"T").ok().map(|text| self.new.resolve(text)).transpose()?);
        let is_new = id.is_some_and(|id| self.old.entry(id.0).is_none());
        let is_signature = self.new.get(&field, b"FT")? == Some(Object::Name(b"Sig".to_vec()));
        let is_other = field.has(b"Type") && !field.has_type(b"Annot");
        if !is_new || !is_signature || is_other || field.has(b"Parent") && parent.is_empty() {
            self.found_in(Some(&name), "field_added", Needs::Never, number, format!("the field {name}"));
            return Ok(());
        }
        let kids = self.new.array(&field, b"Kids")?;
        self.added_widgets.extend(id);
        self.added_widgets.extend(kids.iter().filter_map(|kid| kid.as_reference().ok()));
        let filled = match self.new.get(&field, b"V")? {
            Some(Object::Dictionary(value)) => Some(signing(&value)),
            _ => None,
        };
        let (mut shows, mut unsigned) = (is_visible(&field), shows_unsigned(&field, filled.is_some()));
        for kid in kids {
            let Object::Dictionary(kid) = self.new.resolve(&kid)? else { continue };
            shows |= is_visible(&kid);
            unsigned |= shows_unsigned(&kid, filled.is_some());
        }
        if unsigned && !matches!(filled, Some(("signature_added", _))) {
            // Nobody signed what it shows, so nobody answers for it.
            self.found_in(Some(&name), "field_added", Needs::Never, number, format!("the field {name}"));
            return Ok(());
        }
        let (code, needs) = filled.unwrap_or(("signature_field_added", Needs::FormFilling));
        self.found_in(Some(&name), code, needs, number, name.as_str());
        if let Some(change) = self.changes.last_mut() {
            change.shows |= shows;
        }
        Ok(())
    }
}

/// A widget's rectangle has an area.
pub(in crate::pdf) fn is_visible(widget: &Dictionary) -> bool {
    let corners = widget.get(b"Rect").and_then(Object::as_array).ok();
    let corners: Option<Vec<f32>> =
        corners.map(|corners| corners.iter().filter_map(|c| c.as_float().ok()).collect());
    match corners.as_deref() {
        Some([left, bottom, right, top]) => left != right && bottom != top,
        // What cannot be read as one may be.
        Some(_) => true,
        None => widget.has(b"Rect"),
    }
}

/// A widget of a field that nobody signed shows something. An empty field that is hidden and looks like nothing may
/// have a place: it is shown when somebody signs in it.
fn shows_unsigned(widget: &Dictionary, is_filled: bool) -> bool {
    const HIDDEN: i64 = 1 << 1; // ISO 32000-2, table 167
    let is_hidden = widget.get(b"F").and_then(Object::as_i64).is_ok_and(|flags| flags & HIDDEN != 0);
    is_visible(widget) && (is_filled || !is_hidden || widget.has(b"AP"))
}

/// Document timestamps keep signatures verifiable, others sign (ISO 32000-2, table 257).
fn signing(value: &Dictionary) -> (&'static str, Needs) {
    let is_timestamp =
        value.get(b"SubFilter").and_then(Object::as_name).is_ok_and(|name| name == b"ETSI.RFC3161");
    match is_timestamp {
        true => ("timestamp_added", Needs::Nothing),
        false => ("signature_added", Needs::FormFilling),
    }
}

fn full_name(parent: &str, own: Option<Object>) -> String {
    let own = own.map(|text| decode_text_string(&text).unwrap_or_else(|_| "?".to_owned()));
    match own {
        None => parent.to_owned(),
        Some(own) if parent.is_empty() => own,
        Some(own) => format!("{parent}.{own}"),
    }
}
