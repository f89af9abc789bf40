//! What is seen of a signature beside its seal: text and QR codes, as annotations of the kind Stamp (GB/T 33190, 15.2), drawn as
//! outlines, so that they need neither a font nor a picture of the document's.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use skrifa::outline::OutlinePen;
use time::OffsetDateTime;
use time::macros::format_description;

use super::document::{Body, Deviations, MAX_TREE, Page, Rect, find, tree};
use super::error::OfdError;
use super::package::{Package, resolve};
use super::sign::text;
use super::splice::{Place, append, insert_before, places, prefix};
use super::xml::{NAMESPACE, escape};
use crate::font::Font;
use crate::pdf::sign::{Arranged, Look, SignError};
use crate::report::layout::{Ink, Mark, Run};

/// Millimetres in a point.
const MILLIMETRES: f64 = 25.4 / 72.0;
/// The most octets of all that one signature draws.
pub const MAX_DRAWN: usize = 16 << 20;

/// A look on a page, without its picture: that of a seal is shown by the signature itself.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// The page, counted from 0.
    pub page: usize,
    /// Where, in millimetres.
    pub boundary: Rect,
    objects: String,
}

impl Drawing {
    /// Its octets as they are written, near enough.
    pub fn size(&self) -> usize {
        self.objects.len()
    }
}

/// A look in its place: where its picture is to be shown, and what is drawn beside it.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Where a seal's picture goes, on the page.
    pub picture: Option<Rect>,
    /// Its text or code; none if there is nothing but the picture.
    pub drawing: Option<Drawing>,
}

impl Placed {
    /// Sets a look in a place of a page, as it is set in a PDF.
    ///
    /// # Errors
    /// As PDF looks have them: [`SignError::Appearance`] for text that does not fit, or a place without a size.
    pub fn new(look: &Look, page: usize, boundary: Rect) -> Result<Self, SignError> {
        let points = |millimetres: f64| (millimetres / MILLIMETRES) as f32;
        let Arranged { picture, code, marks } =
            look.arranged((points(boundary.width), points(boundary.height)))?;
        let mut objects = Objects { font: &look.font, boundary, text: String::new() };
        for (areas, ink) in code {
            objects.fills(&areas, ink);
        }
        for mark in &marks {
            match mark {
                Mark::Run(run) => objects.run(run),
                Mark::Fill(area, ink) => objects.fills(&[*area], *ink),
                Mark::Picture(..) => {} // looks have pictures of their own
            }
        }
        let text = objects.text;
        let millimetres = |points: f32| f64::from(points) * MILLIMETRES;
        Ok(Self {
            picture: picture.map(|[left, top, width, height]| Rect {
                x: boundary.x + millimetres(left),
                y: boundary.y + millimetres(top),
                width: millimetres(width),
                height: millimetres(height),
            }),
            drawing: (!text.is_empty()).then_some(Drawing { page, boundary, objects: text }),
        })
    }
}

/// Numbers of objects are put in when it is known which are free.
const NUMBER: char = '\u{1}';

struct Objects<'l> {
    font: &'l Font,
    boundary: Rect,
    text: String,
}

impl Objects<'_> {
    fn path(&mut self, data: &str, Ink(red, green, blue): Ink) {
        if data.is_empty() {
            return;
        }
        let whole = Rect { x: 0.0, y: 0.0, ..self.boundary };
        let _ = write!(
            self.text,
            "<ofd:PathObject ID=\"{NUMBER}\" Boundary=\"{whole}\" Stroke=\"false\" Fill=\"true\"><ofd:FillColor \
             Value=\"{red} {green} {blue}\"/><ofd:AbbreviatedData>{}</ofd:AbbreviatedData></ofd:PathObject>",
            data.trim_end(),
        ); // a String takes everything
    }

    fn fills(&mut self, areas: &[[f32; 4]], ink: Ink) {
        let mut pen = Pen::at(0.0, 0.0, 1.0);
        for [left, top, width, height] in areas.iter().copied() {
            let (right, bottom) = (left + width, top + height);
            // The pen draws upwards from its foot.
            pen.move_to(left, -top);
            pen.line_to(right, -top);
            pen.line_to(right, -bottom);
            pen.line_to(left, -bottom);
            pen.close();
        }
        self.path(&pen.data, ink);
    }

    fn run(&mut self, run: &Run) {
        let mut pen = Pen::at(run.left, run.base, run.size);
        for (shape, _) in &run.shapes {
            self.font.outline(*shape, &mut pen);
            pen.left += shape.width * run.size;
        }
        self.path(&pen.data, run.ink);
    }
}

/// Writes outlines as abbreviated data (9.3): in millimetres, downwards.
struct Pen {
    left: f32,
    base: f32,
    size: f32,
    data: String,
}

impl Pen {
    fn at(left: f32, base: f32, size: f32) -> Self {
        Self { left, base, size, data: String::new() }
    }

    fn step(&mut self, act: char, points: &[(f32, f32)]) {
        self.data.push(act);
        for (x, y) in points {
            for points in [self.left + x * self.size, self.base - y * self.size] {
                let millimetres = (f64::from(points) * MILLIMETRES * 1_000.0).round() / 1_000.0;
                let _ = write!(self.data, " {millimetres}"); // a String takes everything
            }
        }
        self.data.push(' ');
    }
}

impl OutlinePen for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.step('M', &[(x, y)]);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.step('L', &[(x, y)]);
    }

    fn quad_to(&mut self, cx: f32, cy: f32, x: f32, y: f32) {
        self.step('Q', &[(cx, cy), (x, y)]);
    }

    fn curve_to(&mut self, cx0: f32, cy0: f32, cx1: f32, cy1: f32, x: f32, y: f32) {
        self.step('B', &[(cx0, cy0), (cx1, cy1), (x, y)]);
    }

    fn close(&mut self) {
        self.step('C', &[]);
    }
}

/// Numbers of a document's objects that are free.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.saturating_add(1);
        self.0
    }
}

/// The parts that change, and new ones: the document, its list of annotations, and those of each page.
pub(super) fn annotated(
    package: &Package<'_>,
    body: &Body,
    pages: &[Page],
    drawings: &[Drawing],
    signed_at: OffsetDateTime,
    creator: &str,
) -> Result<Vec<(String, Vec<u8>)>, OfdError> {
    if drawings.is_empty() {
        return Ok(Vec::new());
    }
    if drawings.iter().map(Drawing::size).sum::<usize>() > MAX_DRAWN {
        return Err(OfdError::TooLarge(format!("texts and codes of more than {MAX_DRAWN} octets")));
    }
    let date = signed_at.format(format_description!("[year]-[month]-[day]"));
    let date = date.map_err(|_| OfdError::Plan("the time cannot be written".to_owned()))?;
    let mut document = text(&body.root, package.read(&body.root)?)?;
    let failed = |reason: String| OfdError::part(&body.root, reason);
    let highest = places(&document, "MaxUnitID", 2).map_err(failed)?;
    let highest = highest.first().filter(|place| !place.empty);
    let used = highest.and_then(|place| document[place.content.clone()].trim().parse().ok());
    // One without the number that it must have has none as high.
    let mut numbers = Numbers(used.unwrap_or(1_000_000));

    let deviations = &mut Deviations::default();
    let root = tree(package, &body.root, "Document", deviations)?;
    let named = root.text_of("Annotations").map_err(failed)?.map(str::trim).filter(|named| !named.is_empty());
    let list = match named {
        Some(named) => find(package, &body.root, named, deviations)
            .ok_or_else(|| OfdError::PartMissing(named.to_owned()))?,
        None => resolve(&body.root, "Annots/Annotations.xml")
            .filter(|list| !package.has(list))
            .ok_or_else(|| OfdError::Plan("its place for annotations is taken".to_owned()))?,
    };
    let mut list_text = match package.has(&list) {
        true => text(&list, package.read(&list)?)?,
        false => format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ofd:Annotations xmlns:ofd=\"{NAMESPACE}\"></ofd:Annotations>"
        ),
    };

    let mut of_pages = PagesParts::of(package, &list, &list_text)?;
    let mut first = 0;
    let mut drawings: Vec<&Drawing> = drawings.iter().collect();
    drawings.sort_by_key(|drawing| drawing.page);
    while let Some(drawing) = drawings.get(first) {
        let of_page = drawings[first..].iter().take_while(|other| other.page == drawing.page).count();
        let page = pages.get(drawing.page);
        let page = page.ok_or_else(|| OfdError::Plan(format!("there is no page {}", drawing.page + 1)))?;
        let mut added = String::new();
        for drawing in &drawings[first..first + of_page] {
            annotation(drawing, &date, creator, &mut numbers, &mut added);
        }
        of_pages.add(page, &added)?;
        first += of_page;
    }
    let is_named = named.is_some();
    let PagesParts { entries, written, .. } = of_pages;
    let mut parts: Vec<_> = written.into_iter().map(|(part, text)| (part, text.into_bytes())).collect();
    let roots = places(&list_text, "Annotations", 0).map_err(|reason| OfdError::part(&list, reason))?;
    let root = roots.first().ok_or_else(|| OfdError::part(&list, "its root is no list of annotations"))?;
    append(&mut list_text, root, &entries);
    parts.push((list.clone(), list_text.into_bytes()));
    if !is_named {
        name_list(&mut document, &list).map_err(failed)?;
    }
    // It stands before the place that was used first.
    let highest = places(&document, "MaxUnitID", 2).map_err(failed)?;
    if let Some(place) = highest.first().filter(|place| !place.empty) {
        document.replace_range(place.content.clone(), &numbers.0.to_string());
    }
    parts.push((body.root.clone(), document.into_bytes()));
    Ok(parts)
}

fn annotation(drawing: &Drawing, date: &str, creator: &str, numbers: &mut Numbers, added: &mut String) {
    let _ = write!(
        added,
        "<ofd:Annot xmlns:ofd=\"{NAMESPACE}\" ID=\"{}\" Type=\"Stamp\" Creator=\"{}\" LastModDate=\"{date}\" \
         Print=\"true\" ReadOnly=\"true\"><ofd:Appearance Boundary=\"{}\">",
        numbers.next(),
        escape(creator),
        drawing.boundary,
    ); // a String takes everything
    for (place, piece) in drawing.objects.split(NUMBER).enumerate() {
        if place > 0 {
            let _ = write!(added, "{}", numbers.next()); // a String takes everything
        }
        added.push_str(piece);
    }
    added.push_str("</ofd:Appearance></ofd:Annot>");
}

/// The parts with pages' annotations.
struct PagesParts<'p> {
    package: &'p Package<'p>,
    list: &'p str,
    /// Where the list says that a page's are, by the page's number.
    known: HashMap<String, String>,
    /// What is to be said in the list of pages that it does not have.
    entries: String,
    /// Parts as they will be.
    written: BTreeMap<String, String>,
}

impl<'p> PagesParts<'p> {
    fn of(package: &'p Package<'p>, list: &'p str, list_text: &str) -> Result<Self, OfdError> {
        let (tree, _) = super::xml::tree(list, list_text.as_bytes())?;
        let mut known = HashMap::new();
        for page in tree.children("Page") {
            let place = page.text_of("FileLoc").map_err(|reason| OfdError::part(list, reason))?;
            if let Some((id, place)) = page.attribute("PageID").zip(place) {
                known.entry(id.to_owned()).or_insert_with(|| place.to_owned());
            }
        }
        Ok(Self { package, list, known, entries: String::new(), written: BTreeMap::new() })
    }

    /// Adds to a page's annotations; its part is named in the list if it was not. Several pages may have one part.
    fn add(&mut self, page: &Page, added: &str) -> Result<(), OfdError> {
        let Some(place) = self.known.get(&page.id) else { return self.begin(page, added) };
        let part = match resolve(self.list, place).filter(|part| self.written.contains_key(part)) {
            Some(written) => written,
            None => {
                let part = find(self.package, self.list, place, &mut Deviations::default());
                part.ok_or_else(|| OfdError::PartMissing(place.clone()))?
            }
        };
        let mut octets = match self.written.remove(&part) {
            Some(written) => written,
            None => text(&part, self.package.read_up_to(&part, MAX_TREE)?)?,
        };
        let roots = places(&octets, "PageAnnot", 0).map_err(|reason| OfdError::part(&part, reason))?;
        let root = roots.first().ok_or_else(|| OfdError::part(&part, "its root is no PageAnnot"))?;
        append(&mut octets, root, added);
        self.written.insert(part, octets);
        Ok(())
    }

    fn begin(&mut self, page: &Page, added: &str) -> Result<(), OfdError> {
        let digits: String = page.id.chars().filter(char::is_ascii_alphanumeric).collect();
        // Numbers that differ in other characters come to one name.
        let part = (0..=self.written.len()).find_map(|more| {
            let more = if more == 0 { String::new() } else { format!("_{more}") };
            resolve(self.list, &format!("Page_{digits}{more}/Annotation.xml"))
                .filter(|part| !self.package.has(part) && !self.written.contains_key(part))
        });
        let part = part.ok_or_else(|| OfdError::Plan("its place for annotations is taken".to_owned()))?;
        let _ = write!(
            self.entries,
            "<ofd:Page xmlns:ofd=\"{NAMESPACE}\" PageID=\"{}\"><ofd:FileLoc>/{}</ofd:FileLoc></ofd:Page>",
            escape(&page.id),
            escape(&part)
        ); // a String takes everything
        self.known.insert(page.id.clone(), format!("/{part}"));
        let octets = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ofd:PageAnnot xmlns:ofd=\"{NAMESPACE}\">{added}</ofd:PageAnnot>"
        );
        self.written.insert(part, octets);
        Ok(())
    }
}

/// Names the list in the document, before what stands behind annotations in the schema.
fn name_list(document: &mut String, list: &str) -> Result<(), String> {
    let roots = places(document, "Document", 0)?;
    let root = roots.first().ok_or("its root is not found again")?;
    let prefix = prefix(&root.name).to_owned();
    let named = format!("<{prefix}Annotations>/{}</{prefix}Annotations>", escape(list));
    // An empty element of this name is one that names nothing: it goes.
    if let Some(empty) = places(document, "Annotations", 1)?.first() {
        document.replace_range(empty.start..empty.end, &named);
        return Ok(());
    }
    let mut behind: Vec<Place> = Vec::new();
    for name in ["CustomTags", "Attachments", "Extensions"] {
        behind.extend(places(document, name, 1)?);
    }
    match behind.iter().min_by_key(|place| place.start) {
        Some(place) => insert_before(document, place, &named),
        None => append(document, root, &named),
    }
    Ok(())
}
