//! Setting text on pages: lines are broken where Chinese and Latin text may be, long words anywhere, and what does
//! not fit on a page goes on on the next one, up to a bound.

use std::ops::Range;
use std::sync::Arc;

use crate::font::{Shape, Shapes};
use crate::visible::shown;

/// A4, in points.
pub(crate) const PAGE: (f32, f32) = (595.276, 841.89);
/// Left, right and upper margin; the lower one has the footer in it.
pub(crate) const MARGIN: f32 = 56.0;
/// Where the footer's room begins.
pub(crate) const BOTTOM: f32 = PAGE.1 - 64.0;
/// The width between the margins.
pub(crate) const WIDTH: f32 = PAGE.0 - 2.0 * MARGIN;

/// From one base line to the next, and from a line's top to its base line, in sizes.
const LEADING: f32 = 1.45;
const ASCENT: f32 = 1.05;

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ink(pub(crate) u8, pub(crate) u8, pub(crate) u8);

pub(crate) const BLACK: Ink = Ink(0x1C, 0x1C, 0x1C);
pub(crate) const QUIET: Ink = Ink(0x6B, 0x6F, 0x76);
pub(crate) const RULE: Ink = Ink(0xD9, 0xDC, 0xE0);
/// What stands for a character that cannot be shown, so that no text can imitate it.
const WRITTEN_OUT: Ink = Ink(0xB0, 0x1A, 0x6B);

/// What is on a page.
pub(crate) enum Mark {
    Run(Run),
    /// Left, top, width, height.
    Fill([f32; 4], Ink),
    /// A PNG over left, top, width, height.
    Picture([f32; 4], Arc<[u8]>),
}

/// Characters of one face and colour beside one another.
pub(crate) struct Run {
    pub(crate) left: f32,
    pub(crate) base: f32,
    pub(crate) size: f32,
    pub(crate) ink: Ink,
    pub(crate) text: String,
    pub(crate) shapes: Vec<(Shape, Range<usize>)>,
}

/// How text looks.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub(crate) size: f32,
    pub(crate) ink: Ink,
}

impl Style {
    pub(crate) const fn new(size: f32, ink: Ink) -> Self {
        Self { size, ink }
    }

    pub(crate) fn leading(self) -> f32 {
        self.size * LEADING
    }
}

#[derive(Clone, Copy)]
struct Cell {
    character: char,
    written_out: bool,
    shape: Shape,
}

/// A line of text, broken and measured.
pub(crate) struct Line {
    cells: Vec<Cell>,
    style: Style,
}

/// The pages, and where the next thing goes.
pub(crate) struct Sheet<'f> {
    shapes: &'f Shapes<'f>,
    pages: Vec<Vec<Mark>>,
    most: usize,
    /// How far down the last page is used.
    pub(crate) top: f32,
    /// There was more than fits.
    full: bool,
}

impl<'f> Sheet<'f> {
    pub(crate) fn new(shapes: &'f Shapes<'f>, most: usize) -> Self {
        Self { shapes, pages: vec![Vec::new()], most, top: MARGIN, full: false }
    }

    /// The pages.
    pub(crate) fn finish(self) -> Vec<Vec<Mark>> {
        self.pages
    }

    /// Did something have to be left out?
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// How many pages there are.
    pub(crate) fn count(&self) -> usize {
        self.pages.len()
    }

    pub(crate) fn next_page(&mut self) {
        if self.pages.len() == self.most {
            self.full = true;
            return;
        }
        self.pages.push(Vec::new());
        self.top = MARGIN;
    }

    /// Goes to the next page unless so much fits on this one.
    pub(crate) fn room(&mut self, height: f32) {
        if self.top + height > BOTTOM {
            self.next_page();
        }
    }

    /// Text in lines of a width at most.
    pub(crate) fn lines(&self, text: &str, style: Style, width: f32) -> Vec<Line> {
        let has_shape = |character| self.shapes.shape(character).is_some();
        let cells = shown(text, has_shape).filter_map(|shown| {
            let shape = self.shapes.shape(shown.character)?; // what is written out, every font has
            Some(Cell { character: shown.character, written_out: shown.written_out, shape })
        });
        let cells: Vec<Cell> = cells.collect();
        let ends = break_lines(&cells, width / style.size);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, end)| Line { cells: cells[start..*end].to_vec(), style }).collect()
    }

    /// Lines one under the other, going on on the next page.
    pub(crate) fn put(&mut self, left: f32, lines: &[Line]) {
        for line in lines {
            self.room(line.style.leading());
            self.put_at(left, self.top, line);
            self.top += line.style.leading();
        }
    }

    /// One line in the middle.
    pub(crate) fn put_centred(&mut self, text: &str, style: Style) {
        for line in self.lines(text, style, WIDTH) {
            let left = MARGIN + (WIDTH - line.width()) / 2.0;
            self.put(left, &[line]);
        }
    }

    /// One line with its upper edge at a height of the last page.
    pub(crate) fn put_at(&mut self, left: f32, top: f32, line: &Line) {
        if self.full {
            return;
        }
        let runs = runs(line, left, top + line.style.size * ASCENT);
        self.mark(runs.map(Mark::Run));
    }

    pub(crate) fn fill(&mut self, area: [f32; 4], ink: Ink) {
        if !self.full {
            self.mark([Mark::Fill(area, ink)].into_iter());
        }
    }

    pub(crate) fn rule(&mut self) {
        self.fill([MARGIN, self.top, WIDTH, 0.5], RULE);
        self.top += 0.5;
    }

    /// Marks on the last page, wherever they say.
    pub(crate) fn mark(&mut self, marks: impl Iterator<Item = Mark>) {
        if let Some(page) = self.pages.last_mut() {
            page.extend(marks);
        }
    }
}

impl Line {
    pub(crate) fn leading(&self) -> f32 {
        self.style.leading()
    }

    pub(crate) fn width(&self) -> f32 {
        self.cells.iter().map(|cell| cell.shape.width).sum::<f32>() * self.style.size
    }

    /// The line as marks, for a page that is finished otherwise.
    pub(crate) fn marks(&self, left: f32, top: f32) -> impl Iterator<Item = Mark> {
        runs(self, left, top + self.style.size * ASCENT).map(Mark::Run)
    }
}

fn runs(line: &Line, left: f32, base: f32) -> impl Iterator<Item = Run> {
    let mut left = left;
    let same = |one: &Cell, other: &Cell| {
        one.written_out == other.written_out && one.shape.is_of_face_of(other.shape)
    };
    line.cells.chunk_by(same).map(move |cells| {
        let size = line.style.size;
        let ink = if cells[0].written_out { WRITTEN_OUT } else { line.style.ink };
        let mut run = Run { left, base, size, ink, text: String::new(), shapes: Vec::new() };
        for cell in cells {
            let start = run.text.len();
            run.text.push(cell.character);
            run.shapes.push((cell.shape, start..run.text.len()));
            left += cell.shape.width * size;
        }
        run
    })
}

/// Where each line ends, for lines so many ems wide.
fn break_lines(cells: &[Cell], width: f32) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut start, mut place, mut used) = (0, 0, 0.0);
    let mut last_break = None;
    while let Some(cell) = cells.get(place) {
        if let Some(before) = place.checked_sub(1).map(|before| cells[before]).filter(|_| place > start) {
            // What stands for one character stays in one piece.
            let inside = before.written_out && cell.written_out && before.character != '〗';
            if !inside && may_break(before.character, cell.character) {
                last_break = Some(place);
            }
        }
        // Blanks may hang over the edge.
        if place > start && used + cell.shape.width > width && cell.character != ' ' {
            let end = last_break.take().unwrap_or(place);
            ends.push(end);
            (start, place, used) = (end, end, 0.0);
            continue;
        }
        used += cell.shape.width;
        place += 1;
    }
    if start < cells.len() {
        ends.push(cells.len());
    }
    ends
}

/// Lines do not begin with closing punctuation nor end with an opening bracket (GB/T 15834, 5.1), and Latin words
/// stay together.
fn may_break(before: char, after: char) -> bool {
    const NOT_FIRST: &str = "，。、；：？！）》〉」』】〗”’…—·,.;:?!)]}%‰";
    const NOT_LAST: &str = "（《〈「『【〖“‘([{";
    let is_wide = |character: char| character >= '\u{2E80}';
    if before == ' ' {
        return true;
    }
    if NOT_FIRST.contains(after) || NOT_LAST.contains(before) || after == ' ' {
        return false;
    }
    is_wide(before) || is_wide(after) || ",;/-_&=+@".contains(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::font::Font;

    fn texts(text: &str, width: f32) -> Vec<String> {
        let font = Font::built_in();
        let shapes = font.shapes();
        let sheet = Sheet::new(&shapes, 1);
        let lines = sheet.lines(text, Style::new(10.0, BLACK), width);
        lines.iter().for_each(|line| {
            let blanks = line.cells.iter().rev().take_while(|cell| cell.character == ' ').count();
            let hanging = blanks as f32 * 10.0;
            assert!(line.width() - hanging <= width + 0.01, "{} in {width}", line.width());
        });
        lines.iter().map(|line| line.cells.iter().map(|cell| cell.character).collect()).collect()
    }

    #[test]
    fn lines_break_between_characters_and_words_and_not_before_punctuation() {
        assert_eq!(texts("核查登记状态，结论", 60.0), ["核查登记状", "态，结论"]);
        assert_eq!(texts("not issued by anyone", 60.0), ["not issued ", "by anyone"]);
        assert_eq!(texts("CN=leaf,O=签名单位", 70.0), ["CN=leaf,O=签", "名单位"]);
    }

    #[test]
    fn a_word_longer_than_a_line_is_broken_and_nothing_of_it_is_lost() {
        let word = "0123456789abcdef".repeat(20);
        let lines = texts(&word, 100.0);
        assert!(lines.len() > 10);
        assert_eq!(lines.concat(), word);
        assert_eq!(texts("", 100.0), [""; 0]);
    }

    #[test]
    fn a_character_without_a_shape_is_written_out() {
        assert_eq!(texts("甲\u{20BB7}乙", 500.0), ["甲〖U+20BB7〗乙"]);
        assert_eq!(texts("甲乙\u{20BB7}", 70.0), ["甲乙", "〖U+20BB7〗"]);
        // A combining mark would be set over its neighbour.
        assert!(texts("a\u{0301}", 500.0)[0].contains("U+0301"));
    }

    #[test]
    fn what_does_not_fit_on_the_most_pages_is_left_out_and_known() {
        let font = Font::built_in();
        let shapes = font.shapes();
        let mut sheet = Sheet::new(&shapes, 2);
        let lines = sheet.lines(&"文".repeat(1_900), Style::new(20.0, BLACK), 40.0);
        sheet.put(MARGIN, &lines);
        assert_eq!((sheet.count(), sheet.is_full()), (2, true));
    }
}
