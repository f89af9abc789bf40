//! What may stand in the text of an SVG file, judged before anything is made of it: by lists of what is known to be drawn
//! alike everywhere. Nothing in a file refers to anything, so that it costs what it is long.

use usvg::roxmltree::{Attribute, Document, Error, NS_XML_URI, Node, ParsingOptions};

use super::super::picture::PictureError;

const MAX_ELEMENTS: usize = 2_000;
/// Elements within each other.
const MAX_DEPTH: usize = 64;
/// Nodes of the document, texts and comments among them.
const MAX_NODES: u32 = 5_000;
/// Declarations of namespaces, which the parser has at hand for each element; and attributes of one element, each of which
/// it compares with the others.
const MAX_NAMESPACES: usize = 32;
const MAX_ATTRIBUTES: usize = 64;
const SVG: &str = "http://www.w3.org/2000/svg";

/// Elements that others may stand in, elements that are drawn, and elements that tell text or nothing: drawing programs write
/// an empty `defs` whether or not they define anything.
const GROUPS: [&str; 2] = ["svg", "g"];
const SHAPES: [&str; 7] = ["circle", "ellipse", "line", "path", "polygon", "polyline", "rect"];
const TEXTS: [&str; 4] = ["defs", "desc", "metadata", "title"];
/// Attributes that are measures and names.
const ATTRIBUTES: [&str; 20] = [
    "baseProfile",
    "cx",
    "cy",
    "d",
    "height",
    "id",
    "points",
    "r",
    "rx",
    "ry",
    "transform",
    "version",
    "viewBox",
    "width",
    "x",
    "x1",
    "x2",
    "y",
    "y1",
    "y2",
];
/// What an element looks like, as attributes or in `style`.
const PROPERTIES: [&str; 17] = [
    "clip-rule",
    "color",
    "display",
    "fill",
    "fill-opacity",
    "fill-rule",
    "opacity",
    "paint-order",
    "stroke",
    "stroke-dasharray",
    "stroke-dashoffset",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-miterlimit",
    "stroke-opacity",
    "stroke-width",
    "visibility",
];
/// Functions in the values of properties.
const COLORS: [&str; 4] = ["hsl", "hsla", "rgb", "rgba"];

/// The drawing of a file that may be taken.
pub(super) fn read(source: &str) -> Result<usvg::Tree, PictureError> {
    if source.matches("xmlns").count() > MAX_NAMESPACES {
        return Err(PictureError::TooComplex("namespaces"));
    }
    // No less than there are: `<` stands in no attribute.
    let attributes = |tag: &str| if tag.starts_with('!') { 0 } else { tag.matches('=').count() };
    if source.split('<').any(|tag| attributes(tag) > MAX_ATTRIBUTES) {
        return Err(PictureError::TooComplex("attributes in one element"));
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(source, options).map_err(|error| match error {
        Error::NodesLimitReached => PictureError::TooComplex("nodes"),
        Error::DtdDetected => refused("a document type"),
        error => PictureError::NotSvg(error.to_string()),
    })?;
    let root = document.root_element();
    if !root.has_tag_name((SVG, "svg")) {
        return Err(PictureError::NotSvg(format!("its root is not svg in {SVG}")));
    }
    if document.descendants().any(|node| node.is_pi()) {
        return Err(refused("a processing instruction"));
    }
    for (number, node) in document.descendants().filter(Node::is_element).enumerate() {
        if number >= MAX_ELEMENTS {
            return Err(PictureError::TooComplex("elements"));
        }
        if node.ancestors().filter(Node::is_element).count() > MAX_DEPTH {
            return Err(PictureError::TooComplex("elements within each other"));
        }
        element(node)?;
        node.attributes().try_for_each(attribute)?;
    }
    usvg::Tree::from_xmltree(&document, &options_of()).map_err(|error| match error {
        usvg::Error::ElementsLimitReached => PictureError::TooComplex("elements"),
        error => PictureError::NotSvg(error.to_string()),
    })
}

/// Nothing is fetched: not even what was let pass wrongly.
fn options_of() -> usvg::Options<'static> {
    let image_href_resolver = usvg::ImageHrefResolver {
        resolve_data: Box::new(|_, _, _| None),
        resolve_string: Box::new(|_, _| None),
    };
    usvg::Options { resources_dir: None, image_href_resolver, ..usvg::Options::default() }
}

fn refused(what: impl Into<String>) -> PictureError {
    PictureError::Refused(what.into())
}

fn element(node: Node<'_, '_>) -> Result<(), PictureError> {
    let name = node.tag_name().name();
    let is_known = |among: &[&str]| among.contains(&name);
    let may_stand = match node.parent_element().map(|parent| parent.tag_name().name()) {
        None => true, // the root
        Some(parent) if GROUPS.contains(&parent) => name == "g" || is_known(&SHAPES) || is_known(&TEXTS),
        Some(parent) => SHAPES.contains(&parent) && is_known(&TEXTS),
    };
    match may_stand && node.tag_name().namespace() == Some(SVG) {
        true => Ok(()),
        false => Err(refused(format!("the element {}", shown(name)))),
    }
}

fn attribute(attribute: Attribute<'_, '_>) -> Result<(), PictureError> {
    let (name, value) = (attribute.name(), attribute.value());
    match attribute.namespace() {
        None if name == "style" => style(value),
        None if PROPERTIES.contains(&name) => property(name, value),
        None if ATTRIBUTES.contains(&name) => Ok(()),
        // It is about text, of which none is drawn.
        Some(NS_XML_URI) if name == "space" => Ok(()),
        _ => Err(refused(format!("the attribute {}", shown(name)))),
    }
}

/// Properties and values, without anything else that CSS knows.
fn style(text: &str) -> Result<(), PictureError> {
    for declaration in text.split(';').map(str::trim).filter(|declaration| !declaration.is_empty()) {
        let known = declaration.split_once(':').map(|(name, value)| (name.trim_end(), value));
        let known = known.filter(|(name, _)| PROPERTIES.contains(name));
        let (name, value) = known.ok_or_else(|| refused(format!("the style {}", shown(declaration))))?;
        property(name, value)?;
    }
    Ok(())
}

/// Words, numbers and colours.
fn property(name: &str, value: &str) -> Result<(), PictureError> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || " \t\r\n#%()+,-./".contains(letter);
    let is_color = |(at, _): (usize, &str)| COLORS.iter().any(|color| value[..at].ends_with(color));
    let is_color = value.match_indices('(').all(is_color);
    match value.chars().all(is_plain) && !value.contains("/*") && is_color {
        true => Ok(()),
        false => Err(refused(format!("the {name} {}", shown(value)))),
    }
}

/// As much of a name as fits an error.
fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(40).collect::<String>())
}
