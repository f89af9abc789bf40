//! What the parts of a package say: OFD.xml, the documents, their pages and their lists of signatures.

use std::collections::HashSet;

use encoding_rs::{Encoding, UTF_8};

use super::error::OfdError;
use super::package::{Package, resolve};
use super::xml::{self, Element, NAMESPACE};

/// The part every package has.
pub(super) const ROOT: &str = "OFD.xml";
/// The most octets of a part that is read as a tree.
pub(super) const MAX_TREE: u64 = 32 << 20;
/// The most pages of a document.
const MAX_PAGES: usize = 50_000;

/// A rectangle in millimetres from the upper left corner (`ST_Box`).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Rect {
    /// From the left edge.
    pub x: f64,
    /// From the upper edge.
    pub y: f64,
    /// To the right.
    pub width: f64,
    /// Downwards.
    pub height: f64,
}

impl Rect {
    /// Reads `x y width height`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numbers: Vec<f64> =
            text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [x, y, width, height] = *numbers else { return None };
        let whole = Self { x, y, width, height };
        whole.is_finite().then_some(whole)
    }

    pub(super) fn is_finite(&self) -> bool {
        [self.x, self.y, self.width, self.height].iter().all(|number| number.is_finite())
            && self.width >= 0.0
            && self.height >= 0.0
    }
}

impl std::fmt::Display for Rect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Ten thousandths of a millimetre are finer than any device.
        let short = |number: f64| (number * 10_000.0).round() / 10_000.0;
        write!(f, "{} {} {} {}", short(self.x), short(self.y), short(self.width), short(self.height))
    }
}

/// A page of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Its number in the document, not its place.
    pub id: String,
    /// Its part.
    pub part: String,
    /// Its size in millimetres.
    pub area: Rect,
}

/// One document of a package (`DocBody`).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Body {
    /// Its Document.xml.
    pub(super) root: String,
    /// Its list of signatures, whether that is there or not.
    pub(super) signatures: Option<String>,
}

/// OFD.xml: the documents of a package.
pub(super) fn bodies(package: &Package<'_>, deviations: &mut Deviations) -> Result<Vec<Body>, OfdError> {
    let root = tree(package, ROOT, "OFD", deviations)?;
    let failed = |reason: String| OfdError::part(ROOT, reason);
    let location = |location: &str| {
        resolve(ROOT, location).ok_or_else(|| failed(format!("{location} leads out of the package")))
    };
    let mut bodies = Vec::new();
    for body in root.children("DocBody") {
        let document = body.text_of("DocRoot").map_err(failed)?;
        let document = document.ok_or_else(|| failed("a DocBody has no DocRoot".to_owned()))?;
        let signatures = body.text_of("Signatures").map_err(failed)?.map(location).transpose()?;
        bodies.push(Body { root: location(document)?, signatures });
    }
    let mut seen = HashSet::new();
    if let Some(twice) = bodies.iter().filter_map(|body| body.signatures.as_ref()).find(|s| !seen.insert(*s))
    {
        return Err(failed(format!("two documents have the signatures of {twice}")));
    }
    let mut roots = HashSet::new();
    if let Some(twice) = bodies.iter().find(|body| !roots.insert(&body.root)) {
        return Err(failed(format!("two documents are {}", twice.root)));
    }
    match bodies.is_empty() {
        true => Err(failed("it has no DocBody".to_owned())),
        false => Ok(bodies),
    }
}

/// The pages of a document. Each page that has no area of its own has the document's.
pub(super) fn pages(package: &Package<'_>, document: &str) -> Result<Vec<Page>, OfdError> {
    let failed = |reason: String| OfdError::part(document, reason);
    let root = tree(package, document, "Document", &mut Deviations::default())?;
    let common = root.child("CommonData").map_err(failed)?;
    let area = |element: Option<&Element>, name: &'static str| -> Result<Option<Rect>, OfdError> {
        let area = element.map(|element| element.child(name)).transpose().map_err(failed)?.flatten();
        let physical = area.map(|area| area.text_of("PhysicalBox")).transpose().map_err(failed)?.flatten();
        physical
            .map(|text| Rect::parse(text).ok_or_else(|| failed("a PhysicalBox is no box".to_owned())))
            .transpose()
    };
    let shared = area(common, "PageArea")?;
    let Some(list) = root.child("Pages").map_err(failed)? else { return Ok(Vec::new()) };
    let (mut pages, mut seen) = (Vec::new(), HashSet::new());
    for page in list.children("Page") {
        if pages.len() == MAX_PAGES {
            return Err(OfdError::TooLarge(format!("more than {MAX_PAGES} pages")));
        }
        let id = page.attribute("ID").ok_or_else(|| failed("a page has no ID".to_owned()))?.to_owned();
        let location = page.attribute("BaseLoc").unwrap_or_default();
        let part = resolve(document, location).filter(|part| package.has(part));
        let part = part.ok_or_else(|| OfdError::PartMissing(location.to_owned()))?;
        // Each is read: one that stands there again and again would be, too.
        if !seen.insert(part.clone()) {
            return Err(failed(format!("two pages are {part}")));
        }
        let own = tree(package, &part, "Page", &mut Deviations::default())?;
        let area = area(Some(&own), "Area")?.or(shared);
        let area = area.ok_or_else(|| OfdError::part(&part, "neither it nor the document has an area"))?;
        pages.push(Page { id, part, area });
    }
    Ok(pages)
}

/// An entry of Signatures.xml.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) kind: SignatureKind,
    /// Its Signature.xml.
    pub(super) part: String,
}

/// What kind of signature it is (GB/T 33190, 18.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureKind {
    /// With an electronic seal.
    Seal,
    /// A signature alone.
    Sign,
}

/// The entries of a Signatures.xml, in its order.
pub(super) fn listed(
    package: &Package<'_>,
    part: &str,
    deviations: &mut Deviations,
) -> Result<Vec<Listed>, OfdError> {
    let failed = |reason: String| OfdError::part(part, reason);
    let root = tree(package, part, "Signatures", deviations)?;
    let (mut all, mut ids, mut parts) = (Vec::new(), HashSet::new(), HashSet::new());
    for entry in root.children("Signature") {
        let id = entry.attribute("ID").ok_or_else(|| failed("a signature has no ID".to_owned()))?;
        let kind = match entry.attribute("Type") {
            None | Some("Seal") => SignatureKind::Seal,
            Some("Sign") => SignatureKind::Sign,
            Some(other) => return Err(failed(format!("a signature has the unknown type {other}"))),
        };
        let location =
            entry.attribute("BaseLoc").ok_or_else(|| failed("a signature has no place".to_owned()))?;
        let found = find(package, part, location, deviations);
        let found = found.ok_or_else(|| OfdError::PartMissing(location.to_owned()))?;
        if !ids.insert(id.to_owned()) || !parts.insert(found.clone()) {
            return Err(failed(format!("the signature {id} is listed twice")));
        }
        all.push(Listed { id: id.to_owned(), kind, part: found });
    }
    Ok(all)
}

/// What producers do otherwise than GB/T 33190 has it and what is read all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deviations(Vec<String>);

impl Deviations {
    pub(super) fn add(&mut self, what: String) {
        if !self.0.contains(&what) {
            self.0.push(what);
        }
    }

    pub(super) fn add_encoding(&mut self, encoding: &'static Encoding) {
        if encoding != UTF_8 {
            self.add(format!("encoding {}", encoding.name()));
        }
    }

    pub(super) fn into_names(self) -> Vec<String> {
        self.0
    }
}

/// A part with a root of a name.
pub(super) fn tree(
    package: &Package<'_>,
    part: &str,
    root: &str,
    deviations: &mut Deviations,
) -> Result<Element, OfdError> {
    let (tree, encoding) = xml::tree(part, &package.read_up_to(part, MAX_TREE)?)?;
    deviations.add_encoding(encoding);
    if tree.name != root {
        return Err(OfdError::part(part, format!("its root is {} and not {root}", tree.name)));
    }
    match tree.namespace.as_deref() {
        Some(NAMESPACE) => {}
        other => deviations.add(format!("namespace {}", other.unwrap_or("(none)"))),
    }
    Ok(tree)
}

/// The part that a location in `from` means; from the root, where a producer leaves out the slash that says so.
pub(super) fn find(
    package: &Package<'_>,
    from: &str,
    location: &str,
    deviations: &mut Deviations,
) -> Option<String> {
    let found = resolve(from, location).filter(|part| package.has(part));
    if found.is_some() {
        return found;
    }
    let from_root = resolve(ROOT, location).filter(|part| package.has(part));
    if from_root.is_some() {
        deviations.add("location from the root without a slash".to_owned());
    }
    from_root
}
