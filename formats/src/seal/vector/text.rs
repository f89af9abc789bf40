//! What may stand in the text of an SVG file, judged before anything is made of it: `use` is counted with all that it
//! stands for, and style sheets without the selectors that take exponential time.

use std::collections::HashMap;

use usvg::roxmltree::{Document, Error, Node, NodeId, ParsingOptions};

use super::super::picture::PictureError;

/// Elements, those that `use` stands for among them.
const MAX_ELEMENTS: usize = 2_000;
/// Elements within each other.
const MAX_DEPTH: usize = 64;
/// Clip paths, which may clip each other; and the elements of each.
const MAX_CLIPS: usize = 32;
const MAX_CLIP: usize = 4;
/// Octets of all style sheets.
const MAX_STYLES: usize = 8 << 10;
/// Nodes of the document, texts and comments among them.
const MAX_NODES: u32 = 20_000;
const SVG: &str = "http://www.w3.org/2000/svg";
/// The elements that may stand in a picture. Other languages' elements are not drawn and do not matter.
const ELEMENTS: [&str; 17] = [
    "circle", "clipPath", "defs", "desc", "ellipse", "g", "line", "metadata", "path", "polygon", "polyline",
    "rect", "style", "svg", "symbol", "title", "use",
];

/// The drawing of a file that may be taken.
pub(super) fn read(source: &str) -> Result<usvg::Tree, PictureError> {
    // Names of its own for texts: nothing that draws a seal writes them, and they multiply.
    if source.contains("<!ENTITY") {
        return Err(refused("declared entities"));
    }
    let options = ParsingOptions { allow_dtd: true, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(source, options).map_err(|error| match error {
        Error::NodesLimitReached => PictureError::TooComplex("nodes"),
        error => PictureError::NotSvg(error.to_string()),
    })?;
    let root = document.root_element();
    if root.tag_name().name() != "svg" || !is_svg(root) {
        return Err(PictureError::NotSvg(format!("its root is not svg in {SVG}")));
    }
    let (mut styles, mut clips) = (0, 0);
    for (number, node) in document.descendants().filter(Node::is_element).enumerate() {
        if number >= MAX_ELEMENTS {
            return Err(PictureError::TooComplex("elements"));
        }
        element(node, &mut styles)?;
        clips += usize::from(node.tag_name().name() == "clipPath");
        if clips > MAX_CLIPS {
            return Err(PictureError::TooComplex("clip paths"));
        }
    }
    let ids = document.descendants().filter_map(|node| Some((node.attribute("id")?, node))).collect();
    Uses { ids, known: HashMap::new() }.weight(root, 1)?;
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

/// Elements without a namespace are drawn, too.
fn is_svg(node: Node<'_, '_>) -> bool {
    node.tag_name().namespace().is_none_or(|namespace| namespace == SVG)
}

fn element(node: Node<'_, '_>, styles: &mut usize) -> Result<(), PictureError> {
    let name = node.tag_name().name();
    // Style sheets count wherever they stand.
    if name == "style" {
        let sheet: String = node.children().filter_map(|child| child.text()).collect();
        *styles += sheet.len();
        if *styles > MAX_STYLES {
            return Err(PictureError::TooComplex("octets of style sheets"));
        }
        style_sheet(&sheet)?;
    }
    if !is_svg(node) {
        return Ok(());
    }
    let is_inner = node.parent_element().is_some();
    if !ELEMENTS.contains(&name) || (name == "svg" && is_inner) {
        return Err(refused(format!("the element {}", shown(name))));
    }
    let mut links = 0;
    for attribute in node.attributes() {
        let (name, value) = (attribute.name(), attribute.value());
        if attribute.namespace().is_none() && name.get(..2).is_some_and(|on| on.eq_ignore_ascii_case("on")) {
            return Err(refused(format!("the script in {}", shown(name))));
        }
        references(value)?;
        if name != "href" {
            continue;
        }
        links += 1;
        // Which of two counts, readers do not agree on.
        if links > 1 {
            return Err(refused("two references in one element"));
        }
        if !value.trim_start().starts_with('#') {
            return Err(refused("a reference to what is outside of it"));
        }
    }
    Ok(())
}

/// References by `url()` lead to elements of the file.
fn references(text: &str) -> Result<(), PictureError> {
    let lower = text.to_ascii_lowercase();
    for rest in lower.split("url(").skip(1) {
        let rest = rest.trim_start_matches(|before: char| before.is_whitespace() || "'\"".contains(before));
        if !rest.starts_with('#') {
            return Err(refused("a reference to what is outside of it"));
        }
    }
    Ok(())
}

/// Rules for elements, classes and ids by their names alone: all that drawing programs write.
fn style_sheet(sheet: &str) -> Result<(), PictureError> {
    references(sheet)?;
    let mut rest = sheet;
    let mut plain = String::with_capacity(sheet.len());
    while let Some((before, comment)) = rest.split_once("/*") {
        plain.push_str(before);
        plain.push(' ');
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    for rule in plain.split_inclusive('}') {
        let selectors = rule.split('{').next().unwrap_or_default();
        let is_name = |letter: char| letter.is_alphanumeric() || "._#*-".contains(letter);
        for selector in selectors.split(',').map(str::trim) {
            if !selector.chars().all(is_name) {
                return Err(refused(format!("the style rule {}", shown(selector))));
            }
        }
    }
    Ok(())
}

/// As much of a name as fits an error.
fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(40).collect::<String>())
}

/// What elements stand for once every `use` is put in.
struct Uses<'d, 'i> {
    ids: HashMap<&'d str, Node<'d, 'i>>,
    /// Elements and depth; nothing while it is being counted.
    known: HashMap<NodeId, Option<(usize, usize)>>,
}

impl<'d, 'i> Uses<'d, 'i> {
    /// How many elements it is, and how deep, itself among them.
    fn weight(&mut self, node: Node<'d, 'i>, at: usize) -> Result<(usize, usize), PictureError> {
        let (count, depth) = match self.known.get(&node.id()) {
            Some(None) => return Err(refused("a use that leads to itself")),
            Some(Some(known)) => *known,
            None => {
                if at > MAX_DEPTH {
                    return Err(PictureError::TooComplex("elements within each other"));
                }
                self.known.insert(node.id(), None);
                let (mut count, mut depth) = (1, 0);
                let target = used(node).and_then(|id| self.ids.get(id).copied());
                for inner in node.children().filter(Node::is_element).chain(target) {
                    let (elements, deep) = self.weight(inner, at + 1)?;
                    count += elements;
                    depth = depth.max(deep);
                    if count > MAX_ELEMENTS {
                        return Err(PictureError::TooComplex("elements"));
                    }
                }
                if node.tag_name().name() == "clipPath" && count > MAX_CLIP {
                    return Err(refused("a clip of more than one path"));
                }
                self.known.insert(node.id(), Some((count, depth + 1)));
                (count, depth + 1)
            }
        };
        if at + depth > MAX_DEPTH + 1 {
            return Err(PictureError::TooComplex("elements within each other"));
        }
        Ok((count, depth))
    }
}

/// The id that a `use` names.
fn used<'d>(node: Node<'d, '_>) -> Option<&'d str> {
    if node.tag_name().name() != "use" {
        return None;
    }
    let reference = node.attributes().find(|attribute| attribute.name() == "href")?;
    reference.value().trim().strip_prefix('#')
}
