//! What a page draws, and where a keyword stands on it: the content streams (ISO 32000-1, 9.4) are walked with the state
//! of the text, and each character's place is noted.
//!
//! Limits: what is found is text, not pictures of text; in the order in which the page draws it; in fonts that say what
//! their codes mean (ToUnicode, a named encoding, or one of the Chinese character maps). Fonts without widths are
//! measured by rule of thumb, so a place can be off by half a character.

mod font;
mod operations;

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use lopdf::content::Operation;
use lopdf::{Dictionary, Object, ObjectId};

use super::error::SignError;
use super::page::{Page, PageRect, inherited};
use super::source::Source;
use font::Font;
use operations::Operations;

/// Octets of one page's content, and what is done for one page.
const MAX_CONTENT: usize = 16 << 20;
const MAX_OPERATIONS: usize = 2_000_000;
const MAX_CHARACTERS: usize = 1_000_000;
const MAX_DEPTH: usize = 8;
const MAX_HITS: usize = 1_000;

/// A character that a page draws.
#[derive(Clone, Copy)]
pub(super) struct Character {
    pub(super) character: char,
    /// The corners of its box in user space, the lower left one first.
    pub(super) corners: [(f32, f32); 4],
    /// Drawn so that nobody can see it: by its mode, or hardly darker than paper.
    pub(super) hidden: bool,
}

/// What a page draws.
#[derive(Default)]
pub(super) struct Drawn {
    /// Without white space.
    pub(super) characters: Vec<Character>,
    /// Points around what is painted or a picture, and how many characters were drawn before it.
    pub(super) covers: Vec<(Vec<(f32, f32)>, usize)>,
    /// What is drawn that is not understood here and can change what people see.
    pub(super) odd: BTreeSet<String>,
}

/// Looks for one keyword on pages.
pub(super) struct Reader<'s> {
    source: &'s Source<'s>,
    keyword: Vec<char>,
    fonts: HashMap<ObjectId, Rc<Font>>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(source: &'s Source<'s>, keyword: &str) -> Result<Self, SignError> {
        let keyword: Vec<char> = keyword.chars().filter(|character| !character.is_whitespace()).collect();
        if keyword.is_empty() || keyword.len() > 128 {
            return Err(SignError::Plan("a keyword has 1 to 128 characters"));
        }
        Ok(Self { source, keyword, fonts: HashMap::new() })
    }

    /// One that reads pages and looks for nothing.
    pub(super) fn of(source: &'s Source<'s>) -> Self {
        Self { source, keyword: Vec::new(), fonts: HashMap::new() }
    }

    /// The places of the keyword on a page.
    pub(super) fn find(&mut self, page: &Page) -> Result<Vec<PageRect>, SignError> {
        let characters = self.draw(page)?.characters;
        let mut found = Vec::new();
        let mut start = 0;
        while found.len() < MAX_HITS && start + self.keyword.len() <= characters.len() {
            let window = &characters[start..start + self.keyword.len()];
            if window.iter().map(|drawn| &drawn.character).eq(&self.keyword) {
                let corners: Vec<(f32, f32)> = window.iter().flat_map(|drawn| drawn.corners).collect();
                found.push(page.to_shown(&corners));
                start += self.keyword.len();
            } else {
                start += 1;
            }
        }
        Ok(found)
    }

    /// What a page draws.
    pub(super) fn draw(&mut self, page: &Page) -> Result<Drawn, SignError> {
        let dictionary = self.source.node(page.id)?;
        let content = self.page_content(dictionary)?;
        let resources = inherited(self.source, dictionary, b"Resources");
        let Some(resources) = resources.and_then(|resources| resources.as_dict().ok()) else {
            return Ok(Drawn::default()); // no font, so no text
        };
        let mut walk =
            Walk { reader: self, drawn: Drawn::default(), path: Vec::new(), operations: 0, shown: 0 };
        walk.content(&content, resources, Matrix::ONE, 0)?;
        Ok(walk.drawn)
    }

    /// The streams of a page, one behind the other.
    fn page_content(&self, page: &Dictionary) -> Result<Vec<u8>, SignError> {
        let parts = match page.get(b"Contents").map(|contents| self.source.follow(contents)) {
            Ok(Object::Array(parts)) => parts.iter().map(|part| self.source.follow(part)).collect(),
            Ok(part) => vec![part],
            Err(_) => Vec::new(),
        };
        let mut content = Vec::new();
        for part in parts {
            let Ok(stream) = part.as_stream() else { continue };
            content.extend(self.source.content(stream)?);
            content.push(b'\n'); // parts end between elements (ISO 32000-1, table 30)
            if content.len() > MAX_CONTENT {
                return Err(SignError::TooLarge("octets of a page's content"));
            }
        }
        Ok(content)
    }

    fn font(&mut self, resources: &'s Dictionary, name: &[u8]) -> Option<Rc<Font>> {
        let fonts = self.source.dictionary(resources, b"Font")?;
        let object = fonts.get(name).ok()?;
        let dictionary = self.source.follow(object).as_dict().ok()?;
        let Ok(id) = object.as_reference() else { return Some(Rc::new(Font::of(self.source, dictionary))) };
        let read = || Rc::new(Font::of(self.source, dictionary));
        Some(Rc::clone(self.fonts.entry(id).or_insert_with(read)))
    }
}

/// `[a b c d e f]` of ISO 32000-1, 8.3.3.
#[derive(Clone, Copy, Debug)]
struct Matrix([f32; 6]);

impl Matrix {
    const ONE: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    fn of(numbers: &[f32]) -> Option<Self> {
        numbers.try_into().ok().map(Self)
    }

    /// First this, then `other`.
    fn then(self, other: Self) -> Self {
        let (Self([a, b, c, d, e, f]), Self(o)) = (self, other);
        Self([
            a * o[0] + b * o[2],
            a * o[1] + b * o[3],
            c * o[0] + d * o[2],
            c * o[1] + d * o[3],
            e * o[0] + f * o[2] + o[4],
            e * o[1] + f * o[3] + o[5],
        ])
    }

    fn apply(self, (x, y): (f32, f32)) -> (f32, f32) {
        let Self([a, b, c, d, e, f]) = self;
        (a * x + c * y + e, b * x + d * y + f)
    }

    /// The corners of a rectangle: left, bottom, width, height.
    fn corners(self, [x, y, width, height]: [f32; 4]) -> [(f32, f32); 4] {
        [(x, y), (x + width, y), (x + width, y + height), (x, y + height)].map(|corner| self.apply(corner))
    }
}

/// The graphics state as far as text goes (ISO 32000-1, table 104).
#[derive(Clone)]
struct State {
    to_page: Matrix,
    font: Option<Rc<Font>>,
    size: f32,
    character_space: f32,
    word_space: f32,
    scale: f32,
    leading: f32,
    rise: f32,
    /// Tr: 3 draws nothing, 4 and more clip.
    mode: f32,
    /// What is filled is hardly darker than paper.
    is_pale: bool,
}

struct Walk<'r, 's> {
    reader: &'r mut Reader<'s>,
    drawn: Drawn,
    /// The points of the path that is built, in user space.
    path: Vec<(f32, f32)>,
    operations: usize,
    /// Codes that were shown, and characters that they mean, white space too.
    shown: usize,
}

impl<'s> Walk<'_, 's> {
    fn content(
        &mut self,
        content: &[u8],
        resources: &'s Dictionary,
        to_page: Matrix,
        depth: usize,
    ) -> Result<(), SignError> {
        let mut state = State {
            to_page,
            font: None,
            size: 0.0,
            character_space: 0.0,
            word_space: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
            mode: 0.0,
            is_pale: false,
        };
        let mut saved = Vec::new();
        let (mut line, mut text) = (Matrix::ONE, Matrix::ONE);
        for operation in Operations::of(content) {
            self.operations += 1;
            if self.operations > MAX_OPERATIONS {
                return Err(SignError::TooLarge("operations on a page"));
            }
            let Some(operation) = operation? else {
                // Some readers show what comes before it, others what comes behind it too.
                self.odd("content that cannot be read");
                continue;
            };
            let operation = &operation;
            let numbers: Vec<f32> = operation.operands.iter().filter_map(|o| o.as_float().ok()).collect();
            let number = numbers.first().copied().unwrap_or(0.0);
            let mut next_line = |x: f32, y: f32, text: &mut Matrix| {
                line = Matrix([1.0, 0.0, 0.0, 1.0, x, y]).then(line);
                *text = line;
            };
            match operation.operator.as_str() {
                "q" if saved.len() < 256 => saved.push(state.clone()),
                "Q" => state = saved.pop().unwrap_or(state),
                "cm" => {
                    if let Some(matrix) = Matrix::of(&numbers) {
                        state.to_page = matrix.then(state.to_page);
                    }
                }
                "BT" => (line, text) = (Matrix::ONE, Matrix::ONE),
                "Tf" => {
                    let name = operation.operands.first().and_then(|name| name.as_name().ok());
                    state.font = name.and_then(|name| self.reader.font(resources, name));
                    state.size = number;
                }
                "Tc" => state.character_space = number,
                "Tw" => state.word_space = number,
                "Tz" => state.scale = number / 100.0,
                "TL" => state.leading = number,
                "Ts" => state.rise = number,
                "Tr" => state.mode = number,
                "Td" | "TD" => {
                    if let [x, y] = numbers[..] {
                        if operation.operator == "TD" {
                            state.leading = -y;
                        }
                        next_line(x, y, &mut text);
                    }
                }
                "Tm" => {
                    if let Some(matrix) = Matrix::of(&numbers) {
                        (line, text) = (matrix, matrix);
                    }
                }
                "T*" => next_line(0.0, -state.leading, &mut text),
                "Tj" => self.show(&state, &mut text, operation.operands.first())?,
                "'" => {
                    next_line(0.0, -state.leading, &mut text);
                    self.show(&state, &mut text, operation.operands.first())?;
                }
                "\"" => {
                    if let [word, character] = numbers[..] {
                        (state.word_space, state.character_space) = (word, character);
                    }
                    next_line(0.0, -state.leading, &mut text);
                    self.show(&state, &mut text, operation.operands.last())?;
                }
                "TJ" => {
                    let parts = operation.operands.first().and_then(|parts| parts.as_array().ok());
                    for part in parts.into_iter().flatten() {
                        match part.as_float() {
                            Ok(back) => advance(&state, &mut text, -back / 1000.0 * state.size),
                            Err(_) => self.show(&state, &mut text, Some(part))?,
                        }
                    }
                }
                "Do" if depth < MAX_DEPTH => {
                    let name = operation.operands.first().and_then(|name| name.as_name().ok());
                    if let Some(name) = name {
                        self.form(resources, name, state.to_page, depth)?;
                    }
                }
                operator => self.paint(&mut state, resources, operator, operation, &numbers),
            }
        }
        Ok(())
    }

    /// What changes colours, or fills something that can lie over text.
    fn paint(
        &mut self,
        state: &mut State,
        resources: &'s Dictionary,
        operator: &str,
        operation: &Operation,
        numbers: &[f32],
    ) {
        match (operator, numbers) {
            ("g" | "rg" | "k" | "sc" | "scn", _) => state.is_pale = is_pale(numbers),
            ("cs", _) => state.is_pale = false,
            ("m" | "l", [_, _]) | ("c", [_, _, _, _, _, _]) | ("v" | "y", [_, _, _, _]) => {
                let points = numbers.chunks_exact(2).map(|point| state.to_page.apply((point[0], point[1])));
                self.path.extend(points);
            }
            ("re", &[x, y, width, height]) => self.path.extend(state.to_page.corners([x, y, width, height])),
            ("f" | "F" | "f*" | "B" | "B*" | "b" | "b*" | "S" | "s", _) if !self.path.is_empty() => {
                let path = std::mem::take(&mut self.path);
                self.cover(&path);
            }
            ("n", _) => self.path.clear(),
            ("W" | "W*" | "sh" | "BI" | "d0" | "d1", _) => self.odd(operator),
            ("gs", _) => {
                let name = operation.operands.first().and_then(|name| name.as_name().ok());
                if name.is_none_or(|name| self.may_hide(resources, name)) {
                    self.odd("gs");
                }
            }
            ("BDC" | "DP", _)
                if operation.operands.first().and_then(|tag| tag.as_name().ok()) == Some(b"OC") =>
            {
                self.odd("OC");
            }
            _ => {}
        }
    }

    /// Does a graphics state make what follows transparent, or mask it?
    fn may_hide(&self, resources: &'s Dictionary, name: &[u8]) -> bool {
        let source = self.reader.source;
        let states = source.dictionary(resources, b"ExtGState");
        let Some(state) = states.and_then(|states| source.dictionary(states, name)) else { return true };
        let is_whole = |key: &[u8]| source.number(state, key).is_none_or(|alpha| alpha >= 1.0);
        let is_plain = |key: &[u8], plain: &[&[u8]]| {
            source
                .entry(state, key)
                .is_none_or(|value| value.as_name().is_ok_and(|name| plain.contains(&name)))
        };
        let is_normal = is_plain(b"SMask", &[b"None"]) && is_plain(b"BM", &[b"Normal", b"Compatible"]);
        !(is_whole(b"ca") && is_whole(b"CA") && is_normal) || state.has(b"Font")
    }

    fn cover(&mut self, points: &[(f32, f32)]) {
        // A path may be as long as it likes, what is kept of it is its box.
        let mut bounds = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
        for (x, y) in points {
            bounds = [bounds[0].min(*x), bounds[1].min(*y), bounds[2].max(*x), bounds[3].max(*y)];
        }
        let corners = vec![(bounds[0], bounds[1]), (bounds[2], bounds[3])];
        self.drawn.covers.push((corners, self.drawn.characters.len()));
    }

    fn odd(&mut self, what: &str) {
        self.drawn.odd.insert(what.to_owned());
    }

    fn form(
        &mut self,
        resources: &'s Dictionary,
        name: &[u8],
        to_page: Matrix,
        depth: usize,
    ) -> Result<(), SignError> {
        let source = self.reader.source;
        let forms = source.dictionary(resources, b"XObject");
        let Some(form) = forms.and_then(|forms| source.entry(forms, name)?.as_stream().ok()) else {
            return Ok(());
        };
        if source.name(&form.dict, b"Subtype") != Some(b"Form") {
            self.cover(&to_page.corners([0.0, 0.0, 1.0, 1.0]));
            return Ok(());
        }
        if form.dict.has(b"OC") || form.dict.has(b"BBox") {
            self.odd("a form"); // it can be switched off, and cuts off what stands outside of its box
        }
        let content = source.content(form)?;
        if content.len() > MAX_CONTENT {
            return Err(SignError::TooLarge("octets of a page's content"));
        }
        let matrix = source.array(&form.dict, b"Matrix").unwrap_or_default();
        let numbers: Vec<f32> = matrix.iter().filter_map(|n| source.follow(n).as_float().ok()).collect();
        let to_page = Matrix::of(&numbers).unwrap_or(Matrix::ONE).then(to_page);
        let own = source.dictionary(&form.dict, b"Resources").unwrap_or(resources);
        self.content(&content, own, to_page, depth + 1)
    }

    fn show(&mut self, state: &State, text: &mut Matrix, string: Option<&Object>) -> Result<(), SignError> {
        let Some(octets) = string.and_then(|string| string.as_str().ok()) else { return Ok(()) };
        let Some(font) = &state.font else {
            self.odd("text in no font");
            return Ok(());
        };
        if font.is_vertical || state.mode > 3.0 {
            self.odd("text in another direction or mode");
        }
        for code in font.codes(octets) {
            let width = font.width(code);
            let placed = text.then(state.to_page);
            let corner =
                |x: f32, y: f32| placed.apply((x * state.size * state.scale, y * state.size + state.rise));
            // Where glyphs commonly reach to; vertical writing hangs them under the point, centred.
            let [left, right, low, high] = if font.is_vertical {
                [-width / 2.0, width / 2.0, -1.0, 0.0]
            } else {
                [0.0, width, -0.2, 0.8]
            };
            let corners = [corner(left, low), corner(right, low), corner(right, high), corner(left, high)];
            let meaning = font.meaning(code);
            // One string may have millions of codes, and one code may mean thousands of characters.
            self.shown += meaning.chars().count().max(1);
            if self.shown > MAX_CHARACTERS {
                return Err(SignError::TooLarge("characters on a page"));
            }
            let visible = meaning.chars().filter(|character| !character.is_whitespace());
            let hidden = state.is_pale || state.mode == 3.0;
            self.drawn.characters.extend(visible.map(|character| Character { character, corners, hidden }));
            let is_space = code == [b' '];
            let space = state.character_space + if is_space { state.word_space } else { 0.0 };
            let step = if font.is_vertical { -state.size + space } else { width * state.size + space };
            advance(state, text, step);
        }
        Ok(())
    }
}

/// Grey, RGB or CMYK.
fn is_pale(numbers: &[f32]) -> bool {
    let light = match *numbers {
        [grey] => grey,
        [red, green, blue] => (red + green + blue) / 3.0,
        [cyan, magenta, yellow, black] => (1.0 - black) * (1.0 - (cyan + magenta + yellow) / 3.0),
        _ => 0.0,
    };
    light > 0.75
}

fn advance(state: &State, text: &mut Matrix, step: f32) {
    let is_vertical = state.font.as_ref().is_some_and(|font| font.is_vertical);
    let by = if is_vertical { (0.0, step) } else { (step * state.scale, 0.0) };
    *text = Matrix([1.0, 0.0, 0.0, 1.0, by.0, by.1]).then(*text);
}
