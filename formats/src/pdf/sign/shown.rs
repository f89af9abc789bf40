//! What the page of a license file shows, and what it carries. Beside the text everything is named that editions do not
//! do, as readers may show something else than is read here.

use lopdf::{Dictionary, Object};

use super::error::SignError;
use super::keyword::Reader;
use super::page::{MM_PER_POINT, Page};
use super::source::Source;
use crate::license_file::page::{Cover, Glyph, ShownPage};
use crate::license_file::{Content, most_of};
use crate::pdf::Document;

/// The most nodes of the tree of names, and the most names.
const MAX_NAMES: usize = 1_000;

/// Reads it.
///
/// # Errors
/// [`SignError`] for what cannot be read.
pub(crate) fn license_content(pdf: &[u8]) -> Result<Content, SignError> {
    let document = Document::open(pdf)?;
    let source = Source::of(&document)?;
    let (_, catalog) = source.catalog()?;
    let mut content = Content::default();
    attachments(&source, catalog, &mut content)?;
    if source.entry(catalog, b"OCProperties").is_some() {
        content.page.odd("OCProperties");
    }
    if source.pages.len() == 1 {
        page(&source, &mut content.page)?;
    } else {
        content.page.odd(format!("{} pages", source.pages.len()));
    }
    source.sound()?;
    Ok(content)
}

fn page(source: &Source<'_>, shown: &mut ShownPage) -> Result<(), SignError> {
    let page = Page::of(source, 1)?;
    let drawn = Reader::of(source).draw(&page)?;
    let points = |millimetres: f32| millimetres / MM_PER_POINT;
    for character in &drawn.characters {
        let place = page.to_shown(&character.corners);
        // The box reaches from a fifth below the line to four fifths above it.
        let size = points(place.height);
        shown.glyphs.push(Glyph {
            character: character.character,
            left: points(place.left),
            base: points(place.top) + 0.8 * size,
            size,
            hidden: character.hidden || !page.holds(&place),
        });
    }
    for (corners, after) in &drawn.covers {
        let place = page.to_shown(corners);
        let edges = [place.left, place.top, place.left + place.width, place.top + place.height];
        shown.covers.push(Cover { area: edges.map(points), after: *after });
    }
    for what in drawn.odd {
        shown.odd(what);
    }
    let dictionary = source.node(page.id)?;
    for annotation in source.array(dictionary, b"Annots").unwrap_or_default() {
        // The looks of signatures are those of whoever sealed it.
        let is_seal = source.follow(annotation).as_dict().is_ok_and(|one| is_signature(source, one));
        if !is_seal {
            shown.odd("an annotation");
        }
    }
    Ok(())
}

/// Somebody signed in the widget's field, or it is a timestamp's and has no place.
fn is_signature(source: &Source<'_>, annotation: &Dictionary) -> bool {
    // A widget with a name is a field of its own, and what its parent was signed with is not its value.
    let parent = source.dictionary(annotation, b"Parent").filter(|_| !annotation.has(b"T"));
    let kind = source
        .name(annotation, b"FT")
        .or_else(|| source.name(source.dictionary(annotation, b"Parent")?, b"FT"));
    let value = source.dictionary(annotation, b"V").or_else(|| source.dictionary(parent?, b"V"));
    let Some(value) = value else { return false };
    let is_timestamp = source.name(value, b"SubFilter") == Some(b"ETSI.RFC3161");
    source.name(annotation, b"Subtype") == Some(b"Widget")
        && kind == Some(b"Sig")
        && (!is_timestamp || is_nowhere(source, annotation))
}

/// The widget's rectangle has no area.
fn is_nowhere(source: &Source<'_>, annotation: &Dictionary) -> bool {
    let corners = source.array(annotation, b"Rect").unwrap_or_default();
    let corners: Vec<f32> =
        corners.iter().filter_map(|corner| source.follow(corner).as_float().ok()).collect();
    matches!(corners[..], [left, bottom, right, top] if left == right || bottom == top)
}

/// The embedded files that the catalog names (ISO 32000-2, 7.11.4).
fn attachments(source: &Source<'_>, catalog: &Dictionary, content: &mut Content) -> Result<(), SignError> {
    let names = source.dictionary(catalog, b"Names");
    let Some(root) = names.and_then(|names| source.dictionary(names, b"EmbeddedFiles")) else {
        return Ok(());
    };
    let (mut nodes, mut seen) = (vec![root], 0);
    while let Some(node) = nodes.pop() {
        seen += 1;
        if seen > MAX_NAMES {
            return Err(SignError::TooLarge("names of embedded files"));
        }
        for kid in source.array(node, b"Kids").unwrap_or_default().iter().take(MAX_NAMES) {
            nodes.extend(source.follow(kid).as_dict());
        }
        for pair in source.array(node, b"Names").unwrap_or_default().chunks_exact(2).take(MAX_NAMES) {
            if let Ok(file) = source.follow(&pair[1]).as_dict() {
                attachment(source, file, content)?;
            }
        }
    }
    Ok(())
}

fn attachment(source: &Source<'_>, file: &Dictionary, content: &mut Content) -> Result<(), SignError> {
    let text = |key: &[u8]| source.entry(file, key).and_then(|name| lopdf::decode_text_string(name).ok());
    let Some(name) = text(b"UF").or_else(|| text(b"F")) else { return Ok(()) };
    let Some(most) = most_of(&name) else { return Ok(()) };
    let stream = source.dictionary(file, b"EF").and_then(|files| source.entry(files, b"F"));
    let Some(Object::Stream(stream)) = stream else {
        return Err(SignError::malformed(format!("the attachment {name} has no content")));
    };
    let octets = source.content(stream)?;
    if octets.len() > most {
        return Err(SignError::TooLarge("octets of an attachment"));
    }
    content.take(&name, octets).map_err(SignError::malformed)
}
