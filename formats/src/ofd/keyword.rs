//! Where a keyword stands on pages: the text objects of their layers, and of the templates behind them, are walked, and
//! each character's place is noted (GB/T 33190, 11).
//!
//! Limits: what is found is text, not pictures or outlines of it, and not text within composite objects and annotations; in the
//! order in which the page has it. How wide a glyph is, is not looked up in its font: most of a character's place is where
//! the next one begins, and of the last a rule of thumb.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::document::{Body, Deviations, MAX_TREE, Page, Rect, bodies, pages, tree};
use super::error::OfdError;
use super::package::{Package, resolve};
use super::xml::{self, Step};

/// The most characters that are looked at, templates as often as pages show them.
const MAX_CHARACTERS: usize = 2_000_000;
/// The most places.
const MAX_HITS: usize = 2_000;
/// How far a glyph reaches above its base, in sizes; below it is the rest.
const ASCENT: f64 = 0.88;

/// A character and its box on the page, in millimetres.
#[derive(Clone, Copy)]
struct Character {
    character: char,
    /// Left, top, right, bottom.
    edges: [f32; 4],
}

/// What is no character of any keyword.
const GAP: Character = Character { character: '\0', edges: [0.0; 4] };

/// A document in which keywords are looked for: opened once, and each page and template of it read once, however many
/// keywords are looked for on it.
pub struct Keywords<'d> {
    pages: Vec<Page>,
    reader: Reader<'d>,
    /// Pages that were read, by their numbers.
    read: HashMap<usize, Shown>,
}

/// What a page shows.
struct Shown {
    characters: Vec<Character>,
    /// The same as text, and where in it each character begins.
    text: String,
    starts: Vec<usize>,
}

impl<'d> Keywords<'d> {
    /// Opens a package's document, which is counted from 0.
    ///
    /// # Errors
    /// [`OfdError::Plan`] for a document that is none; the rest for what cannot be read.
    pub fn open(ofd: &'d [u8], document: usize) -> Result<Self, OfdError> {
        let package = Package::open(ofd)?;
        let bodies = bodies(&package, &mut Deviations::default())?;
        let body =
            bodies.get(document).ok_or_else(|| OfdError::Plan(format!("there is no document {document}")))?;
        let pages = pages(&package, &body.root)?;
        let reader = Reader::of(package, body)?;
        Ok(Self { pages, reader, read: HashMap::new() })
    }

    /// The document's pages.
    #[must_use]
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// How many parts were read: pages and templates.
    #[must_use]
    pub fn parts_read(&self) -> usize {
        self.reader.parts
    }

    /// The places of a keyword on pages, which are counted from 0, in the order in which the pages are named and draw. The
    /// keyword is found whatever white space stands between its characters.
    ///
    /// # Errors
    /// [`OfdError::Plan`] for a page or a keyword that is none; [`OfdError::TooLarge`] for more than 2 million
    /// characters in all, or 2,000 places; the rest for what cannot be read.
    pub fn places(&mut self, wanted: &[usize], keyword: &str) -> Result<Vec<(usize, Rect)>, OfdError> {
        let keyword: String = keyword.chars().filter(|character| !character.is_whitespace()).collect();
        let length = keyword.chars().count();
        if !(1..=128).contains(&length) {
            return Err(OfdError::Plan("a keyword has 1 to 128 characters".to_owned()));
        }
        let mut found = Vec::new();
        for number in wanted {
            let shown = self.page(*number)?;
            for (at, _) in shown.text.match_indices(&keyword) {
                let first = shown.starts.partition_point(|start| *start < at);
                found.push((*number, around(&shown.characters[first..first + length])));
                if found.len() > MAX_HITS {
                    let detail = format!("the keyword stands on more than {MAX_HITS} places");
                    return Err(OfdError::TooLarge(detail));
                }
            }
        }
        Ok(found)
    }

    fn page(&mut self, number: usize) -> Result<&Shown, OfdError> {
        match self.read.entry(number) {
            Entry::Occupied(read) => Ok(read.into_mut()),
            Entry::Vacant(unread) => {
                let page = self.pages.get(number).ok_or_else(|| {
                    OfdError::Plan(format!("there is no page {}", number.saturating_add(1)))
                })?;
                Ok(unread.insert(Shown::of(self.reader.page(page)?)))
            }
        }
    }
}

impl Shown {
    fn of(characters: Vec<Character>) -> Self {
        let mut text = String::with_capacity(characters.len());
        let starts = characters.iter().map(|one| {
            let start = text.len();
            text.push(one.character);
            start
        });
        let starts = starts.collect();
        Self { characters, text, starts }
    }
}

fn around(characters: &[Character]) -> Rect {
    let far = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    let [left, top, right, bottom] = characters.iter().fold(far, |edges, one| {
        let [left, top, right, bottom] = one.edges.map(f64::from);
        [edges[0].min(left), edges[1].min(top), edges[2].max(right), edges[3].max(bottom)]
    });
    Rect { x: left, y: top, width: right - left, height: bottom - top }
}

/// Reads pages; what a template shows is read once.
struct Reader<'d> {
    package: Package<'d>,
    /// Parts of templates by their numbers.
    templates: HashMap<String, String>,
    shown: HashMap<String, Vec<Character>>,
    seen: usize,
    parts: usize,
}

impl<'d> Reader<'d> {
    fn of(package: Package<'d>, body: &Body) -> Result<Self, OfdError> {
        let root = tree(&package, &body.root, "Document", &mut Deviations::default())?;
        let common = root.child("CommonData").map_err(|reason| OfdError::part(&body.root, reason))?;
        let mut templates = HashMap::new();
        for template in common.into_iter().flat_map(|common| common.children("TemplatePage")) {
            let place = template.attribute("BaseLoc").and_then(|place| resolve(&body.root, place));
            let place = place.filter(|part| package.has(part));
            if let Some((id, part)) = template.attribute("ID").zip(place) {
                templates.entry(id.to_owned()).or_insert(part);
            }
        }
        Ok(Self { package, templates, shown: HashMap::new(), seen: 0, parts: 0 })
    }

    /// What a page shows, behind what its templates show.
    fn page(&mut self, page: &Page) -> Result<Vec<Character>, OfdError> {
        let own = Walk::over(&self.package, &page.part)?;
        self.parts += 1;
        let mut all = Vec::new();
        for id in &own.templates {
            let Some(part) = self.templates.get(id) else { continue };
            if !self.shown.contains_key(part) {
                let template = Walk::over(&self.package, part)?;
                self.parts += 1;
                self.shown.insert(part.clone(), template.characters);
            }
            let shown = self.shown.get(part).map_or(&[][..], Vec::as_slice);
            self.seen += shown.len() + 1;
            bounded(self.seen)?;
            all.extend_from_slice(shown);
            all.push(GAP); // no keyword goes on from a template to what is over it
        }
        self.seen += own.characters.len();
        bounded(self.seen)?;
        all.extend(own.characters);
        Ok(all)
    }
}

fn bounded(seen: usize) -> Result<(), OfdError> {
    match seen > MAX_CHARACTERS {
        true => Err(OfdError::TooLarge(format!("more than {MAX_CHARACTERS} characters"))),
        false => Ok(()),
    }
}

/// A page, as far as it was walked.
#[derive(Default)]
struct Walk {
    /// Names of the elements that are open.
    open: Vec<String>,
    object: Option<Text>,
    code: Option<Code>,
    characters: Vec<Character>,
    /// The templates that it is laid over.
    templates: Vec<String>,
}

/// A TextObject.
struct Text {
    boundary: Rect,
    /// `[a b c d e f]`, from its own measures to those of its boundary.
    matrix: [f64; 6],
    size: f64,
    /// How wide glyphs are, against what they are by themselves.
    stretch: f64,
    /// Where the code before this one began.
    start: (f64, f64),
}

/// A TextCode.
struct Code {
    start: (f64, f64),
    across: Option<Vec<(usize, f64)>>,
    down: Option<Vec<(usize, f64)>>,
    text: String,
}

impl Walk {
    fn over(package: &Package<'_>, part: &str) -> Result<Self, OfdError> {
        let octets = package.read_up_to(part, MAX_TREE)?;
        let mut walk = Self::default();
        xml::walk(part, &octets, |step| {
            match step {
                Step::Open { name, attributes, .. } => walk.opened(name, &attributes),
                Step::Text(text) => {
                    if let Some(code) =
                        walk.code.as_mut().filter(|_| walk.open.last().is_some_and(|name| name == "TextCode"))
                    {
                        code.text.push_str(text);
                    }
                }
                Step::Close => walk.closed(),
            }
            match walk.characters.len() > MAX_CHARACTERS {
                true => Err(format!("it has more than {MAX_CHARACTERS} characters")),
                false => Ok(()),
            }
        })?;
        Ok(walk)
    }

    fn opened(&mut self, name: &str, attributes: &[(String, String)]) {
        match name {
            "TextObject" => self.object = Text::of(attributes),
            "TextCode" => self.code = self.object.as_mut().map(|object| Code::of(attributes, object)),
            "Template" if self.open.len() == 1 => {
                self.templates.extend(value(attributes, "TemplateID").map(str::to_owned));
            }
            _ => {}
        }
        self.open.push(name.to_owned());
    }

    fn closed(&mut self) {
        match self.open.pop().as_deref() {
            Some("TextCode") => {
                if let Some((code, object)) = self.code.take().zip(self.object.as_ref()) {
                    code.place(object, &mut self.characters);
                }
            }
            Some("TextObject") => self.object = None,
            _ => {}
        }
    }
}

impl Text {
    /// None for one that is not seen, or without measures.
    fn of(attributes: &[(String, String)]) -> Option<Self> {
        if matches!(value(attributes, "Visible").map(str::trim), Some("false" | "0")) {
            return None;
        }
        let matrix = match value(attributes, "CTM") {
            Some(text) => numbers(text)?.try_into().ok()?,
            None => [1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        };
        Some(Self {
            boundary: value(attributes, "Boundary").and_then(Rect::parse)?,
            matrix,
            size: value(attributes, "Size").and_then(number).filter(|size| *size > 0.0)?,
            stretch: value(attributes, "HScale").and_then(number).unwrap_or(1.0),
            start: (0.0, 0.0),
        })
    }

    /// The box on the page of a glyph that begins at a place.
    fn edges(&self, (x, y): (f64, f64), width: f64) -> Option<[f64; 4]> {
        let [a, b, c, d, e, f] = self.matrix;
        let (top, bottom) = (y - ASCENT * self.size, y + (1.0 - ASCENT) * self.size);
        let corners = [(x, top), (x + width, top), (x, bottom), (x + width, bottom)]
            .map(|(x, y)| (a * x + c * y + e + self.boundary.x, b * x + d * y + f + self.boundary.y));
        let least = |pick: fn(&(f64, f64)) -> f64| corners.iter().map(pick).fold(f64::INFINITY, f64::min);
        let most = |pick: fn(&(f64, f64)) -> f64| corners.iter().map(pick).fold(f64::NEG_INFINITY, f64::max);
        let edges = [least(|at| at.0), least(|at| at.1), most(|at| at.0), most(|at| at.1)];
        edges.iter().all(|edge| edge.abs() < 1e9).then_some(edges)
    }
}

impl Code {
    /// Where it does not say where it begins it begins where the one before it did (11.3).
    fn of(attributes: &[(String, String)], object: &mut Text) -> Self {
        let of = |name: &str, before: f64| value(attributes, name).and_then(number).unwrap_or(before);
        object.start = (of("X", object.start.0), of("Y", object.start.1));
        let steps = |name: &str| value(attributes, name).map(runs);
        Self { start: object.start, across: steps("DeltaX"), down: steps("DeltaY"), text: String::new() }
    }

    fn place(&self, object: &Text, found: &mut Vec<Character>) {
        let (mut x, mut y) = self.start;
        let mut across = self.across.as_deref().map(Steps::new);
        let mut down = self.down.as_deref().map(Steps::new);
        for character in self.text.chars() {
            if found.len() > MAX_CHARACTERS {
                return; // whoever walks says so
            }
            let ems = if character.is_ascii() { 0.5 } else { 1.0 };
            let width = ems * object.size * object.stretch;
            if !character.is_whitespace() {
                // One that is nowhere stands between its neighbours all the same.
                let seen = object.edges((x, y), width);
                let seen = seen.map(|edges| Character { character, edges: edges.map(|edge| edge as f32) });
                found.push(seen.unwrap_or(GAP));
            }
            // Without any steps readers set glyph behind glyph.
            x += match (&mut across, &down) {
                (Some(steps), _) => steps.next(),
                (None, Some(_)) => 0.0,
                (None, None) => width,
            };
            y += down.as_mut().map_or(0.0, Steps::next);
        }
    }
}

/// Steps from glyph to glyph; what is not said is none.
struct Steps<'c> {
    runs: &'c [(usize, f64)],
    done: usize,
}

impl<'c> Steps<'c> {
    fn new(runs: &'c [(usize, f64)]) -> Self {
        Self { runs, done: 0 }
    }

    fn next(&mut self) -> f64 {
        while let Some((count, step)) = self.runs.first() {
            if self.done < *count {
                self.done += 1;
                return *step;
            }
            (self.runs, self.done) = (&self.runs[1..], 0);
        }
        0.0
    }
}

/// `g COUNT STEP` stands for as many equal steps (11.3). What is none ends the list.
fn runs(text: &str) -> Vec<(usize, f64)> {
    let mut words = text.split_ascii_whitespace();
    let mut runs = Vec::new();
    while let Some(word) = words.next() {
        let run = match word {
            "g" => words.next().and_then(|count| count.parse().ok()).zip(words.next().and_then(number)),
            step => number(step).map(|step| (1, step)),
        };
        let Some(run) = run.filter(|_| runs.len() <= MAX_CHARACTERS) else { break };
        runs.push(run);
    }
    runs
}

/// An attribute; some makers write its first letter small.
fn value<'a>(attributes: &'a [(String, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

fn numbers(text: &str) -> Option<Vec<f64>> {
    text.split_ascii_whitespace().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn characters(object: &str) -> Vec<Character> {
        let page = format!("<Page><Content><Layer>{object}</Layer></Content></Page>");
        let mut walk = Walk::default();
        xml::walk("Page.xml", page.as_bytes(), |step| {
            match step {
                Step::Open { name, attributes, .. } => walk.opened(name, &attributes),
                Step::Text(text) => {
                    if let Some(code) = &mut walk.code {
                        code.text.push_str(text);
                    }
                }
                Step::Close => walk.closed(),
            }
            Ok(())
        })
        .unwrap();
        walk.characters
    }

    fn lefts(object: &str) -> Vec<(char, f64, f64)> {
        let round = |number: f32| (f64::from(number) * 1_000.0).round() / 1_000.0;
        let all = characters(object);
        all.iter().map(|one| (one.character, round(one.edges[0]), round(one.edges[3]))).collect()
    }

    #[test]
    fn characters_stand_where_steps_and_matrix_and_boundary_put_them() {
        let object = |more: &str, code: &str| {
            format!("<TextObject Boundary=\"10 20 90 9\" Size=\"5\" {more}>{code}</TextObject>")
        };
        // Steps by themselves, by their number, with white space that takes one, and too few of them.
        let code = "<TextCode X=\"1\" Y=\"4\" DeltaX=\"g 2 6 7 8\">甲 乙丙丁戊</TextCode>";
        let wanted = [
            ('甲', 11.0, 24.6),
            ('乙', 23.0, 24.6),
            ('丙', 30.0, 24.6),
            ('丁', 38.0, 24.6),
            ('戊', 38.0, 24.6),
        ];
        assert_eq!(lefts(&object("", code)), wanted);
        // Downwards; glyph behind glyph; where the code before began.
        let code = "<TextCode X=\"1\" Y=\"4\" DeltaY=\"6\">甲乙</TextCode><TextCode Y=\"5\">a丙</TextCode>";
        let wanted = [('甲', 11.0, 24.6), ('乙', 11.0, 30.6), ('a', 11.0, 25.6), ('丙', 13.5, 25.6)];
        assert_eq!(lefts(&object("", code)), wanted);
        // Twice as large and moved; turned by a right angle: what was to the right is below.
        let code = "<TextCode X=\"1\" Y=\"0\" DeltaX=\"5\">甲乙</TextCode>";
        assert_eq!(lefts(&object("CTM=\"2 0 0 2 3 4\"", code)), [('甲', 15.0, 25.2), ('乙', 25.0, 25.2)]);
        let turned = characters(&object("CTM=\"0 1 -1 0 0 0\"", code));
        assert!((turned[1].edges[1] - turned[0].edges[1] - 5.0).abs() < 1e-4);
        assert!((turned[1].edges[0] - turned[0].edges[0]).abs() < 1e-4);
        // Not seen, or without measures.
        let seen = |more: &str| {
            let all = characters(&object(more, "<TextCode X=\"1e3\" Y=\"1e3\">甲</TextCode>"));
            all.iter().map(|one| one.character).collect::<String>()
        };
        for more in ["Visible=\"false\"", "Visible=\"0\"", "CTM=\"1 0\""] {
            assert_eq!(seen(more), "", "{more}");
        }
        assert_eq!(seen("CTM=\"1e308 0 0 1e308 1e308 1e308\""), "\0", "it stands between its neighbours");
        assert!(characters("<TextObject Size=\"5\"><TextCode>甲</TextCode></TextObject>").is_empty());
        assert!(characters("<TextCode>甲</TextCode>").is_empty());
        assert_eq!(runs("g 3 1.5 2 x 4"), [(3, 1.5), (1, 2.0)]);
        assert!(runs("g 99999999999999999999999 1").is_empty());
    }
}
