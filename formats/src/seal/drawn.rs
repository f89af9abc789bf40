//! Pictures of seals: the round one of an agency or enterprise, and square ones with names. Red on nothing, as PNG.
//!
//! Where a real seal was registered, its picture comes from there; these are for sandboxes, and for seals that never
//! were of rubber.

use skrifa::outline::OutlinePen;
use thiserror::Error;
use tiny_skia::{FillRule, Paint, Path, PathBuilder, Pixmap, Stroke, Transform};

use super::structure::Picture;
use crate::font::{Font, Shape, Shapes};

/// Dots for a millimetre: 610 dpi, so that a seal is crisp on paper.
const DOTS: f32 = 24.0;
/// The most characters of a text.
const MOST_CHARACTERS: usize = 40;
/// The largest seal, in millimetres.
const LARGEST: u32 = 80;

/// What a seal looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealDesign {
    /// A ring with a star, the name along its upper arc.
    Round {
        /// The name.
        name: String,
        /// What it is for (合同专用章), below the star.
        purpose: Option<String>,
        /// Its code, along the lower arc.
        code: Option<String>,
        /// The diameter in millimetres; 42 is an agency's.
        diameter: u32,
    },
    /// A square with characters in columns from right to left, as names are cut.
    Square {
        /// The text.
        text: String,
        /// The side in millimetres; 20 is a person's.
        side: u32,
    },
}

/// A seal that cannot be drawn.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DrawError {
    /// The font has no shape for it.
    #[error("the font has no shape for {0:?}")]
    Lacks(char),
    /// Empty, or more than 40 characters.
    #[error("a text of a seal has 1 to 40 characters")]
    Length,
    /// Nothing, or larger than 80 millimetres.
    #[error("a seal is 10 to 80 millimetres wide")]
    Size,
    /// The picture could not be made.
    #[error("the picture could not be made: {0}")]
    Picture(String),
}

impl SealDesign {
    /// The picture.
    ///
    /// # Errors
    /// [`DrawError`].
    pub fn draw(&self, font: &Font) -> Result<Picture, DrawError> {
        let size = match self {
            Self::Round { diameter, .. } => *diameter,
            Self::Square { side, .. } => *side,
        };
        if !(10..=LARGEST).contains(&size) {
            return Err(DrawError::Size);
        }
        let dots = size * DOTS as u32;
        let pixmap = Pixmap::new(dots, dots).ok_or(DrawError::Size)?;
        let mut canvas = Canvas { pixmap, font, shapes: font.shapes(), size: size as f32 };
        match self {
            Self::Round { name, purpose, code, .. } => {
                canvas.round(name, purpose.as_deref(), code.as_deref())?
            }
            Self::Square { text, .. } => canvas.square(text)?,
        }
        let octets = canvas.pixmap.encode_png().map_err(|error| DrawError::Picture(error.to_string()))?;
        Ok(Picture { kind: "PNG".to_owned(), octets, width: size, height: size })
    }
}

/// A picture under the brush, measured in millimetres.
struct Canvas<'f> {
    pixmap: Pixmap,
    font: &'f Font,
    shapes: Shapes<'f>,
    size: f32,
}

impl Canvas<'_> {
    fn round(&mut self, name: &str, purpose: Option<&str>, code: Option<&str>) -> Result<(), DrawError> {
        let middle = self.size / 2.0;
        let ring = self.size * 0.03;
        let circle = PathBuilder::from_circle(middle, middle, middle - ring / 2.0 - 0.1);
        self.stroke(circle, ring);
        self.fill(star(middle, middle, self.size * 0.16), Transform::identity());
        let name = self.glyphs(name)?;
        let height = self.size * if name.len() > 16 { 0.11 } else { 0.135 };
        let foot = middle - ring - height * 1.08;
        // The name takes what it needs of the upper arc, at most three quarters of the circle.
        let wanted = name.len() as f32 * height * 1.15 / foot;
        let sweep = wanted.min(1.5 * std::f32::consts::PI);
        self.along(&name, sweep, foot, height, false);
        if let Some(purpose) = purpose {
            let glyphs = self.glyphs(purpose)?;
            let width = self.size * 0.52;
            let height = (width / glyphs.len() as f32).min(self.size * 0.1);
            let left = middle - height * glyphs.len() as f32 / 2.0;
            for (place, glyph) in glyphs.iter().enumerate() {
                let place = [left + height * place as f32, middle + self.size * 0.3, height, height];
                self.glyph(*glyph, place, Transform::identity());
            }
        }
        if let Some(code) = code {
            let glyphs = self.glyphs(code)?;
            let height = self.size * 0.042;
            let foot = middle - ring - height * 0.4;
            let sweep = glyphs.len() as f32 * height * 0.72 / foot;
            self.along(&glyphs, sweep, foot, height, true);
        }
        Ok(())
    }

    /// Glyphs along the upper arc, their feet on a circle; or along the lower one, upright too.
    fn along(&mut self, glyphs: &[Shape], sweep: f32, radius: f32, height: f32, lower: bool) {
        let middle = self.size / 2.0;
        let step = sweep / glyphs.len() as f32;
        let squeezed = (step * radius / height).min(1.0);
        for (place, glyph) in glyphs.iter().enumerate() {
            let turn = (place as f32 + 0.5) * step - sweep / 2.0;
            let (turn, foot) = if lower { (-turn, middle + radius) } else { (turn, middle - radius) };
            let width = glyph.width * height * squeezed;
            let area = [middle - width / 2.0, foot, width, height];
            self.glyph(*glyph, area, Transform::from_rotate_at(turn.to_degrees(), middle, middle));
        }
    }

    fn square(&mut self, text: &str) -> Result<(), DrawError> {
        let glyphs = self.glyphs(text)?;
        let border = self.size * 0.045;
        let inside = self.size - border;
        let frame = tiny_skia::Rect::from_xywh(border / 2.0, border / 2.0, inside, inside);
        self.stroke(frame.map(PathBuilder::from_rect), border);
        // As many rows as columns, or one more column; the last column's characters fill its height.
        let rows = (glyphs.len() as f32).sqrt().ceil() as usize;
        let columns = glyphs.len().div_ceil(rows);
        let margin = border * 1.8;
        let (width, height) = ((self.size - 2.0 * margin) / columns as f32, self.size - 2.0 * margin);
        for (column, part) in glyphs.chunks(rows).enumerate() {
            let left = self.size - margin - width * (column + 1) as f32;
            let tall = height / part.len() as f32;
            for (row, glyph) in part.iter().enumerate() {
                // A character's body is some 0.88 of its em above the foot.
                let foot = margin + tall * row as f32 + tall * 0.87;
                self.glyph(*glyph, [left, foot, width, tall], Transform::identity());
            }
        }
        Ok(())
    }

    fn glyphs(&self, text: &str) -> Result<Vec<Shape>, DrawError> {
        let glyphs: Vec<Shape> = text
            .chars()
            .map(|character| self.shapes.shape(character).ok_or(DrawError::Lacks(character)))
            .collect::<Result<_, _>>()?;
        match glyphs.len() {
            1..=MOST_CHARACTERS => Ok(glyphs),
            _ => Err(DrawError::Length),
        }
    }

    /// `area`: left edge, foot, width and height of the em.
    fn glyph(&mut self, glyph: Shape, [left, foot, width, height]: [f32; 4], turn: Transform) {
        let mut pen = Pen(PathBuilder::new());
        self.font.outline(glyph, &mut pen);
        let Some(path) = pen.0.finish() else { return }; // a blank
        // Outlines grow upwards from their foot.
        let place = Transform::from_row(width / glyph.width, 0.0, 0.0, -height, left, foot);
        self.fill(Some(path), place.post_concat(turn));
    }

    fn fill(&mut self, path: Option<Path>, transform: Transform) {
        let Some(path) = path else { return };
        let transform = transform.post_scale(DOTS, DOTS);
        self.pixmap.fill_path(&path, &red(), FillRule::Winding, transform, None);
    }

    fn stroke(&mut self, path: Option<Path>, width: f32) {
        let Some(path) = path else { return };
        let stroke = Stroke { width, ..Stroke::default() };
        self.pixmap.stroke_path(&path, &red(), &stroke, Transform::from_scale(DOTS, DOTS), None);
    }
}

fn red() -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(0xD0, 0x12, 0x1B, 0xFF);
    paint
}

/// A star of five points, one upwards.
fn star(x: f32, y: f32, radius: f32) -> Option<Path> {
    const INNER: f32 = 0.381_966; // of a pentagram, whose edges go on in straight lines
    let mut path = PathBuilder::new();
    for corner in 0..10 {
        let length = if corner % 2 == 0 { radius } else { radius * INNER };
        let turn = std::f32::consts::PI * (corner as f32 / 5.0 - 0.5);
        let (to_x, to_y) = (x + length * turn.cos(), y + length * turn.sin());
        if corner == 0 {
            path.move_to(to_x, to_y);
        } else {
            path.line_to(to_x, to_y);
        }
    }
    path.close();
    path.finish()
}

struct Pen(PathBuilder);

impl OutlinePen for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.0.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.0.line_to(x, y);
    }

    fn quad_to(&mut self, cx: f32, cy: f32, x: f32, y: f32) {
        self.0.quad_to(cx, cy, x, y);
    }

    fn curve_to(&mut self, cx0: f32, cy0: f32, cx1: f32, cy1: f32, x: f32, y: f32) {
        self.0.cubic_to(cx0, cy0, cx1, cy1, x, y);
    }

    fn close(&mut self) {
        self.0.close();
    }
}
