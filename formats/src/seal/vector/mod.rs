//! A seal's picture as areas and lines (SVG), so that it is crisp in any size (docs/adr/0048).
//!
//! What an SVG file may hold is told in advance and is little: paths and the basic shapes, filled and stroked in plain
//! colours, opaque or not, without anything that refers to anything. Everything else is refused by name rather than left out or drawn
//! otherwise than its author saw it. Nothing is fetched, no font is looked for, and what drawing costs is counted before
//! anything is drawn.

mod flatten;
mod raster;
mod surface;
mod text;

use tiny_skia::{FillRule, Path, Stroke, Transform};

use super::picture::{MAX_MILLIMETRES, MAX_PICTURE, PictureError};
use super::structure::Picture;

/// A picture of a seal as areas and lines. It is drawn as large as fits its size on paper, not distorted, in the middle.
#[derive(Clone)]
pub struct Vector {
    source: String,
    width: u32,
    height: u32,
    /// In millimetres from the upper left corner, in the order in which they are drawn.
    steps: Vec<Step>,
}

/// A red, green and blue, and how opaque: from 0 to 1.
#[derive(Clone, Copy, Debug)]
struct Ink([u8; 3], f32);

/// A line: its dashes beside it, as those in the stroke cannot be read.
#[derive(Clone, Debug)]
struct Line {
    stroke: Stroke,
    /// Lengths on and off, and where they begin.
    dashes: Option<(Vec<f32>, f32)>,
    ink: Ink,
}

#[derive(Clone, Debug)]
enum Step {
    /// An area.
    Fill(Path, FillRule, Ink),
    /// A line, which is as wide as it is before the transform.
    Stroke(Path, Box<Line>, Transform),
    /// What comes until its [`Step::End`] is as opaque as this, together.
    Layer(f32),
    /// Ends the latest layer.
    End,
}

impl Vector {
    /// Reads an SVG file that is to be seen in this width and height of millimetres.
    ///
    /// # Errors
    /// [`PictureError`].
    pub fn read(source: String, width: u32, height: u32) -> Result<Self, PictureError> {
        if ![width, height].iter().all(|side| (1..=MAX_MILLIMETRES).contains(side)) {
            return Err(PictureError::Size);
        }
        if source.len() > MAX_PICTURE {
            return Err(PictureError::TooLarge);
        }
        let steps = flatten::steps(&text::read(&source)?, width as f32, height as f32)?;
        Ok(Self { source, width, height, steps })
    }

    /// The file as it came.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Width and height in millimetres.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The same as PNG, as seals hold it: in 610 dots an inch, or in 406, 305 or 203 where that would be too large.
    ///
    /// # Errors
    /// [`PictureError::TooLarge`]; [`PictureError::Blank`] when there is nothing to be seen.
    pub fn picture(&self) -> Result<Picture, PictureError> {
        let octets = raster::png(&self.steps, self.width, self.height)?;
        Ok(Picture { kind: "PNG".to_owned(), octets, width: self.width, height: self.height })
    }
}

impl PartialEq for Vector {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.size() == other.size()
    }
}

impl Eq for Vector {}

impl std::fmt::Debug for Vector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SVG, {} octets, {} mm by {} mm", self.source.len(), self.width, self.height)
    }
}
