//! Signature fields and their widgets: made anew, or filled where they are (ISO 32000-1, 12.7.4.5).

use lopdf::{Dictionary, Object, ObjectId, dictionary, text_string};

use super::error::SignError;
use super::look::{Look, Painter, window};
use super::page::{MM_PER_POINT, Page, rectangle};
use super::place::{MAX_PLACES, Place, Spot};
use super::source::Source;
use super::update::Update;
use crate::pdf::SignatureField;

/// Annotation flags (ISO 32000-1, table 165): printed, and not to be moved.
const PRINT_AND_LOCKED: i64 = 4 | 128;
/// Signatures exist, and the file is to be changed by updates alone (ISO 32000-1, table 219).
const SIG_FLAGS: i64 = 1 | 2;

pub(super) fn new_name(taken: &[String], wanted: Option<&str>) -> Result<String, SignError> {
    let is_taken = |name: &str| {
        taken.iter().any(|taken| {
            taken.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    match wanted {
        None => (1_u32..)
            .map(|number| format!("Signature{number}"))
            .find(|name| !is_taken(name))
            .ok_or(SignError::TooLarge("form fields")),
        Some(name)
            if name.is_empty()
                || name.chars().count() > 128
                || name.contains('.')
                || name.chars().any(char::is_control) =>
        {
            Err(SignError::FieldName)
        }
        Some(name) if is_taken(name) => Err(SignError::FieldTaken(name.to_owned())),
        Some(name) => Ok(name.to_owned()),
    }
}

/// A new field with a widget for each spot of each look; one spot shares the field's dictionary.
pub(super) fn add_field(
    source: &Source<'_>,
    update: &mut Update,
    signature: ObjectId,
    name: &str,
    seen: &[(&Look, &[Place])],
) -> Result<ObjectId, SignError> {
    let mut field = dictionary! { "FT" => "Sig", "T" => text_string(name), "V" => signature };
    let id = update.reserve();
    let mut widgets = Vec::new();
    for (look, places) in seen {
        let mut painter = Painter::new(look);
        for place in *places {
            for spot in place.spots(source)? {
                if widgets.len() == MAX_PLACES {
                    return Err(SignError::TooLarge("places of a signature"));
                }
                widgets.push((spot.page.id, widget(update, &mut painter, &spot)?));
            }
        }
    }
    if widgets.is_empty() {
        let zero = vec![Object::from(0); 4];
        let page = Page::of(source, 1)?.id;
        widgets.push((page, annotation(page, zero)));
    }
    if widgets.len() == 1 {
        for (page, widget) in widgets {
            field.extend(&widget);
            update.push(source, page, b"Annots", id.into())?;
        }
    } else {
        let mut kids = Vec::new();
        for (page, mut widget) in widgets {
            widget.set("Parent", id);
            let kid = update.add(widget);
            update.push(source, page, b"Annots", kid.into())?;
            kids.push(kid.into());
        }
        field.set("Kids", kids);
    }
    update.put(id, field);
    Ok(id)
}

fn annotation(page: ObjectId, rect: Vec<Object>) -> Dictionary {
    dictionary! {
        "Type" => "Annot",
        "Subtype" => "Widget",
        "P" => page,
        "Rect" => rect,
        "F" => PRINT_AND_LOCKED,
    }
}

fn widget(update: &mut Update, painter: &mut Painter<'_>, spot: &Spot) -> Result<Dictionary, SignError> {
    let points = |(x, y): (f32, f32)| (x / MM_PER_POINT, y / MM_PER_POINT);
    let drawn = painter.draw(update, spot.look)?;
    let size = points((spot.rect.width, spot.rect.height));
    let shown = window(update, drawn, points(spot.from), size, spot.page.turns());
    let rect = spot.page.to_user(&spot.rect).map(Object::Real).to_vec();
    let mut widget = annotation(spot.page.id, rect);
    widget.set("AP", dictionary! { "N" => shown });
    Ok(widget)
}

/// Puts the signature and its look into a field that is there.
pub(super) fn fill_field(
    source: &Source<'_>,
    update: &mut Update,
    signature: ObjectId,
    field: &SignatureField,
    look: Option<&Look>,
) -> Result<(), SignError> {
    let id = field.id.ok_or_else(|| SignError::malformed("the field is not an object of its own"))?;
    update.change(source, id)?.set("V", signature);
    let Some(look) = look else { return Ok(()) };
    let kids = source.array(&field.dictionary, b"Kids").unwrap_or_default();
    let kids: Vec<ObjectId> = kids.iter().filter_map(|kid| kid.as_reference().ok()).collect();
    let mut painter = Painter::new(look);
    let mut is_seen = false;
    for widget in if kids.is_empty() { vec![id] } else { kids } {
        let dictionary = source.node(widget)?;
        let rect = source.entry(dictionary, b"Rect").and_then(|object| rectangle(source, object));
        let Some([left, bottom, right, top]) = rect else { continue };
        let page = page_of(source, widget, dictionary)?;
        let shown = page.to_shown(&[(left, bottom), (right, top)]);
        let drawn = painter.draw(update, (shown.width, shown.height))?;
        let window = window(update, drawn, (0.0, 0.0), drawn.size, page.turns());
        update.change(source, widget)?.set("AP", dictionary! { "N" => window });
        is_seen = true;
    }
    if !is_seen {
        return Err(SignError::Plan("the field has no place on a page where a look could be seen"));
    }
    Ok(())
}

/// The page that a widget is on: the one it names, or the one that names it.
fn page_of(source: &Source<'_>, widget: ObjectId, dictionary: &Dictionary) -> Result<Page, SignError> {
    let named = dictionary.get(b"P").and_then(Object::as_reference).ok();
    let lists = |page: &ObjectId| {
        let page = source.node(*page).ok();
        let annotations = page.and_then(|page| source.array(page, b"Annots")).unwrap_or_default();
        annotations.iter().any(|annotation| annotation.as_reference().ok() == Some(widget))
    };
    let place = named
        .and_then(|named| source.pages.iter().position(|page| *page == named))
        .or_else(|| source.pages.iter().position(lists))
        .ok_or_else(|| SignError::malformed("a field's widget is on no page"))?;
    Page::of(source, place as u32 + 1)
}

/// Puts a new field into the form, which is made if there is none.
pub(super) fn enlist(source: &Source<'_>, update: &mut Update, field: ObjectId) -> Result<(), SignError> {
    let (_, catalog) = source.catalog()?;
    let fields = source.dictionary(catalog, b"AcroForm").and_then(|form| form.get(b"Fields").ok());
    let listed = fields.and_then(|fields| fields.as_reference().ok());
    let mut all =
        fields.and_then(|fields| source.follow(fields).as_array().ok().cloned()).unwrap_or_default();
    all.push(field.into());
    if let Some(id) = listed {
        update.put(id, all);
        return change_form(source, update, flag);
    }
    change_form(source, update, |form| {
        form.set("Fields", all);
        flag(form);
    })
}

pub(super) fn flag(form: &mut Dictionary) {
    let flags = form.get(b"SigFlags").and_then(Object::as_i64).unwrap_or(0);
    form.set("SigFlags", flags | SIG_FLAGS);
}

pub(super) fn change_form(
    source: &Source<'_>,
    update: &mut Update,
    change: impl FnOnce(&mut Dictionary),
) -> Result<(), SignError> {
    let (root, catalog) = source.catalog()?;
    match catalog.get(b"AcroForm") {
        Ok(Object::Reference(id)) if source.dictionary(catalog, b"AcroForm").is_some() => {
            change(update.change(source, *id)?);
        }
        Ok(Object::Dictionary(_)) => {
            change(update.change(source, root)?.get_mut(b"AcroForm")?.as_dict_mut()?);
        }
        _ => {
            let mut form = Dictionary::new();
            change(&mut form);
            let form = update.add(form);
            update.change(source, root)?.set("AcroForm", form);
        }
    }
    Ok(())
}
