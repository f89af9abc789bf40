//! What the page of a license file shows, and what it carries. Editions are written by [`super::write`]: all that is
//! not of that form is named, as readers may show something else than is read here.

use super::document::{self, Body, Deviations, Rect, tree};
use super::error::OfdError;
use super::package::{Package, resolve};
use super::xml::Element;
use crate::license_file::page::{Cover, Glyph, ShownPage};
use crate::license_file::{Content, most_of};

/// Points in a millimetre.
const POINTS: f64 = 72.0 / 25.4;
/// The most elements of the page that are looked at.
const MAX_OBJECTS: usize = 20_000;

/// Reads it.
///
/// # Errors
/// [`OfdError`] for what cannot be read.
pub(crate) fn license_content(ofd: &[u8]) -> Result<Content, OfdError> {
    let package = Package::open(ofd)?;
    let deviations = &mut Deviations::default();
    let bodies = document::bodies(&package, deviations)?;
    let mut content = Content::default();
    let [body] = &bodies[..] else {
        content.page.odd(format!("{} documents", bodies.len()));
        return Ok(content);
    };
    let root = tree(&package, &body.root, "Document", deviations)?;
    attachments(&package, body, &root, &mut content)?;
    for other in ["Annotations", "Extensions"] {
        if root.children(other).next().is_some() {
            content.page.odd(other);
        }
    }
    let pages = document::pages(&package, &body.root)?;
    let [page] = &pages[..] else {
        content.page.odd(format!("{} pages", pages.len()));
        return Ok(content);
    };
    let element = tree(&package, &page.part, "Page", deviations)?;
    for child in &element.children {
        match child.name.as_str() {
            "Area" => {}
            "Content" => layers(child, page.area, &mut content.page),
            other => content.page.odd(other),
        }
    }
    Ok(content)
}

fn attachments(
    package: &Package<'_>,
    body: &Body,
    root: &Element,
    content: &mut Content,
) -> Result<(), OfdError> {
    let failed = |part: &str, reason: String| OfdError::part(part, reason);
    let Some(place) = root.text_of("Attachments").map_err(|reason| failed(&body.root, reason))? else {
        return Ok(());
    };
    let part = resolve(&body.root, place).ok_or_else(|| OfdError::PartMissing(place.to_owned()))?;
    let list = tree(package, &part, "Attachments", &mut Deviations::default())?;
    for attachment in list.children("Attachment") {
        let name = attachment.attribute("Name").unwrap_or_default();
        let Some(most) = most_of(name) else { continue };
        let place = attachment.text_of("FileLoc").map_err(|reason| failed(&part, reason))?;
        let place = place.ok_or_else(|| failed(&part, format!("{name} has no place")))?;
        let file = resolve(&part, place).ok_or_else(|| OfdError::PartMissing(place.to_owned()))?;
        let octets = package.read_up_to(&file, most as u64)?;
        content.take(name, octets).map_err(|reason| failed(&part, reason))?;
    }
    Ok(())
}

fn layers(content: &Element, area: Rect, page: &mut ShownPage) {
    let mut count = 0;
    for layer in &content.children {
        if layer.name != "Layer" {
            page.odd(layer.name.clone());
            continue;
        }
        only(layer, &["ID", "Type"], page);
        for object in &layer.children {
            count += 1;
            if count > MAX_OBJECTS {
                page.odd(format!("more than {MAX_OBJECTS} objects"));
                return;
            }
            let boundary = object.attribute("Boundary").and_then(Rect::parse);
            let Some(boundary) = boundary else {
                page.odd(format!("{} without a boundary", object.name));
                continue;
            };
            match object.name.as_str() {
                "TextObject" => text(object, boundary, area, page),
                "PathObject" => {
                    only(object, &["ID", "Boundary", "Stroke", "Fill"], page);
                    cover(boundary, area, page);
                }
                "ImageObject" => {
                    only(object, &["ID", "Boundary", "CTM", "ResourceID"], page);
                    cover(boundary, area, page);
                }
                other => page.odd(other.to_owned()),
            }
        }
    }
}

fn cover(boundary: Rect, area: Rect, page: &mut ShownPage) {
    let points = |millimetres: f64| (millimetres * POINTS) as f32;
    let (left, top) = (boundary.x - area.x, boundary.y - area.y);
    let edges = [left, top, left + boundary.width, top + boundary.height];
    page.covers.push(Cover { area: edges.map(points), after: page.glyphs.len() });
}

/// Attributes that editions do not have can move, turn or hide what they stand on.
fn only(element: &Element, known: &[&str], page: &mut ShownPage) {
    for (name, _) in &element.attributes {
        if !known.contains(&name.as_str()) {
            page.odd(format!("{} with {name}", element.name));
        }
    }
}

fn text(object: &Element, boundary: Rect, area: Rect, page: &mut ShownPage) {
    only(object, &["ID", "Boundary", "Font", "Size"], page);
    let number =
        |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok()).filter(|n| n.is_finite());
    let Some(size) = number(object.attribute("Size")).filter(|size| *size > 0.0) else {
        return page.odd("text without a size");
    };
    let mut hidden = false;
    for child in &object.children {
        match child.name.as_str() {
            "FillColor" => {
                only(child, &["Value"], page);
                hidden |= child.attribute("Value").is_some_and(is_pale);
            }
            "TextCode" => {
                only(child, &["X", "Y", "DeltaX"], page);
                let (x, y) = (number(child.attribute("X")), number(child.attribute("Y")));
                let (Some(x), Some(y)) = (x, y) else {
                    page.odd("text without a place");
                    continue;
                };
                let deltas = child.attribute("DeltaX").unwrap_or_default();
                let deltas: Option<Vec<f64>> =
                    deltas.split_ascii_whitespace().map(|delta| number(Some(delta))).collect();
                let Some(deltas) = deltas else {
                    page.odd("text spread in another way");
                    continue;
                };
                // What stands outside of its boundary is cut off.
                let mut left = x;
                for (place, character) in child.text.chars().enumerate() {
                    let outside =
                        left < -size || left > boundary.width + size || y < 0.0 || y > boundary.height + size;
                    page.glyphs.push(Glyph {
                        character,
                        left: ((boundary.x - area.x + left) * POINTS) as f32,
                        base: ((boundary.y - area.y + y) * POINTS) as f32,
                        size: (size * POINTS) as f32,
                        hidden: hidden || outside,
                    });
                    left += deltas.get(place).copied().unwrap_or(size);
                }
            }
            other => page.odd(other.to_owned()),
        }
    }
}

/// Hardly to be told from white paper; by the default colour space, RGB of eight bits.
fn is_pale(value: &str) -> bool {
    let channels: Vec<f64> = value.split_ascii_whitespace().filter_map(|text| text.parse().ok()).collect();
    let sum: f64 = channels.iter().sum();
    channels.len() != 3 || sum / 3.0 > 192.0
}
