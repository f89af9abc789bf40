//! An SVG drawing as areas and lines, one after the other, and what drawing them costs.

use tiny_skia::{FillRule, Path, PathSegment, Point, Rect, Transform};
use usvg::{BlendMode, Group, LineJoin, Node, Paint, PaintOrder};

use super::super::picture::PictureError;
use super::raster::DOTS;
use super::{Ink, Line, Step};

/// Segments of all paths, and of each: those that are in one row are sorted again in every row.
const MAX_SEGMENTS: usize = 100_000;
const MAX_IN_PATH: usize = 10_000;
/// Dots that edges run through, down in each of the rows by which they are smoothed.
const MAX_THROUGH: f64 = (1u32 << 26) as f64;
/// Dashes of all lines, by the length of what they run along.
const MAX_DASHES: f32 = 20_000.0;
/// Layers within each other: each is as large as the picture while it is drawn.
const MAX_NESTED: usize = 8;
/// Dots that are painted, each shape taken as large as the area around it: a seal of 42 mm 264 times over.
const MAX_PAINTED: f64 = (1u32 << 28) as f64;
/// Rows in a dot, as edges are smoothed.
const SAMPLES: f32 = 4.0;
/// How far from the picture anything may lie, in millimetres.
const FAR: f32 = 1e5;

/// What is drawn in `width` by `height` millimetres: as large as fits, in the middle.
pub(super) fn steps(tree: &usvg::Tree, width: f32, height: f32) -> Result<Vec<Step>, PictureError> {
    let size = tree.size();
    let scale = (width / size.width()).min(height / size.height());
    let left = (width - size.width() * scale) / 2.0;
    let top = (height - size.height() * scale) / 2.0;
    let place = Transform::from_row(scale, 0.0, 0.0, scale, left, top);
    let page = Rect::from_xywh(0.0, 0.0, width, height).ok_or(PictureError::Size)?;
    let mut flat =
        Flat { page, steps: Vec::new(), nested: 0, segments: 0, dashes: 0.0, through: 0.0, painted: 0.0 };
    flat.group(tree.root(), place)?;
    Ok(flat.steps)
}

struct Flat {
    page: Rect,
    steps: Vec<Step>,
    nested: usize,
    segments: usize,
    dashes: f32,
    through: f64,
    painted: f64,
}

fn refused(what: &str) -> PictureError {
    PictureError::Refused(what.to_owned())
}

impl Flat {
    fn group(&mut self, group: &Group, outer: Transform) -> Result<(), PictureError> {
        let is_plain = group.clip_path().is_none() && group.mask().is_none() && group.filters().is_empty();
        if !is_plain || group.blend_mode() != BlendMode::Normal {
            return Err(refused("an effect"));
        }
        let transform = outer.pre_concat(group.transform());
        let has_layer = group.opacity().get() < 1.0;
        if has_layer {
            self.nested += 1;
            if self.nested > MAX_NESTED {
                return Err(PictureError::TooComplex("layers within each other"));
            }
            self.paint(self.page)?;
            self.steps.push(Step::Layer(group.opacity().get()));
        }
        for child in group.children() {
            match child {
                Node::Group(inner) => self.group(inner, transform)?,
                Node::Path(path) if path.is_visible() => self.path(path, transform)?,
                Node::Path(_) => {}
                Node::Image(_) | Node::Text(_) => return Err(refused("what is no outline")),
            }
        }
        if has_layer {
            self.nested -= 1;
            self.steps.push(Step::End);
        }
        Ok(())
    }

    fn path(&mut self, path: &usvg::Path, transform: Transform) -> Result<(), PictureError> {
        match path.paint_order() {
            PaintOrder::FillAndStroke => {
                self.fill(path, transform)?;
                self.stroke(path, transform)
            }
            PaintOrder::StrokeAndFill => {
                self.stroke(path, transform)?;
                self.fill(path, transform)
            }
        }
    }

    fn fill(&mut self, path: &usvg::Path, transform: Transform) -> Result<(), PictureError> {
        let Some(fill) = path.fill() else { return Ok(()) };
        let ink = ink(fill.paint(), fill.opacity())?;
        let path = self.placed(path.data(), transform)?;
        let bounds = path.bounds();
        // Of an area without any extent some would draw a thin line.
        if bounds.width() <= 0.0 || bounds.height() <= 0.0 {
            return Ok(());
        }
        // Where it is open it is closed by edges that are no longer than the others.
        self.walk(2.0 * self.through(&path))?;
        self.paint(bounds)?;
        self.steps.push(Step::Fill(path, rule(fill.rule()), ink));
        Ok(())
    }

    fn stroke(&mut self, path: &usvg::Path, transform: Transform) -> Result<(), PictureError> {
        let Some(stroke) = path.stroke() else { return Ok(()) };
        let ink = ink(stroke.paint(), stroke.opacity())?;
        // PDF ends it otherwise.
        if stroke.linejoin() == LineJoin::MiterClip {
            return Err(refused("mitres that are clipped"));
        }
        let placed = self.placed(path.data(), transform)?;
        let line = stroke.to_tiny_skia();
        let mut pieces = path.data().len() as f32;
        if let Some(dashes) = stroke.dasharray() {
            let one = dashes.iter().sum::<f32>() / dashes.len() as f32;
            let dashes = length(path.data()) / one;
            self.dashes += dashes;
            pieces += dashes;
            // Of dashes without a length there are infinitely many.
            if self.dashes.is_nan() || self.dashes > MAX_DASHES {
                return Err(PictureError::TooComplex("dashes"));
            }
        }
        // A corner reaches as far as its mitre, at most; a line at least a dot.
        let (across, down) = transform.get_scale();
        let reach = line.width * across.max(down) * line.miter_limit.max(1.5);
        if reach.is_nan() || reach > FAR {
            return Err(PictureError::TooComplex("millimetres of a line's width"));
        }
        // Its two sides, and what is at the ends of each of its pieces.
        let ends = (4.0 * reach).min(2.0 * self.page.height()) * DOTS[0] as f32 * SAMPLES;
        self.walk(2.0 * self.through(&placed) + f64::from(pieces) * f64::from(ends))?;
        let bounds = placed.bounds();
        self.paint(bounds.outset(reach + 0.1, reach + 0.1).unwrap_or(bounds))?;
        // PDF has none that begin before the beginning.
        let begin = |dashes: &[f32]| stroke.dashoffset().rem_euclid(dashes.iter().sum());
        let dashes = stroke.dasharray().map(|dashes| (dashes.to_vec(), begin(dashes)));
        let line = Box::new(Line { stroke: line, dashes, ink });
        self.steps.push(Step::Stroke(path.data().clone(), line, transform));
        Ok(())
    }

    /// A path in its place, which must not be far off.
    fn placed(&mut self, path: &Path, transform: Transform) -> Result<Path, PictureError> {
        if path.len() > MAX_IN_PATH {
            return Err(PictureError::TooComplex("segments in one path"));
        }
        self.segments += path.len();
        if self.segments > MAX_SEGMENTS {
            return Err(PictureError::TooComplex("segments of paths"));
        }
        let placed = path.clone().transform(transform).filter(|placed| {
            let bounds = placed.bounds();
            let far = [bounds.left(), bounds.top(), bounds.right(), bounds.bottom()];
            far.iter().all(|at| at.abs() <= FAR)
        });
        placed.ok_or(PictureError::TooComplex("millimetres from its edge"))
    }

    /// The dots on the page that a path's edges run through, across (as thin lines are drawn) and down. A curve crosses no
    /// line more often than the lines between its points do.
    fn through(&self, path: &Path) -> f64 {
        let within = |from: f32, to: f32, most: f32| (to.clamp(0.0, most) - from.clamp(0.0, most)).abs();
        let mut sum = 0.0;
        edges(path, |from, to| {
            let across = within(from.x, to.x, self.page.right());
            let down = within(from.y, to.y, self.page.bottom());
            sum += f64::from((across + down * SAMPLES) * DOTS[0] as f32 + 1.0);
        });
        sum
    }

    fn walk(&mut self, dots: f64) -> Result<(), PictureError> {
        self.through += dots;
        match self.through <= MAX_THROUGH {
            true => Ok(()),
            false => Err(PictureError::TooComplex("dots that edges run through")),
        }
    }

    fn paint(&mut self, bounds: Rect) -> Result<(), PictureError> {
        let side =
            |begin: f32, end: f32, most: f32| (end.min(most) - begin.max(0.0)).max(0.0) * DOTS[0] as f32;
        let across = side(bounds.left(), bounds.right(), self.page.right());
        let down = side(bounds.top(), bounds.bottom(), self.page.bottom());
        // What lies outside or is thinner than a dot costs something, too.
        self.painted += f64::from(across * down + across + down + 1.0);
        match self.painted <= MAX_PAINTED {
            true => Ok(()),
            false => Err(PictureError::TooComplex("dots that are painted over")),
        }
    }
}

fn rule(rule: usvg::FillRule) -> FillRule {
    match rule {
        usvg::FillRule::NonZero => FillRule::Winding,
        usvg::FillRule::EvenOdd => FillRule::EvenOdd,
    }
}

fn ink(paint: &Paint, opacity: usvg::Opacity) -> Result<Ink, PictureError> {
    match paint {
        Paint::Color(color) => Ok(Ink([color.red, color.green, color.blue], opacity.get())),
        Paint::LinearGradient(_) | Paint::RadialGradient(_) => Err(refused("a gradient")),
        Paint::Pattern(_) => Err(refused("a pattern")),
    }
}

/// No shorter than the path.
fn length(path: &Path) -> f32 {
    let mut sum = 0.0;
    edges(path, |from, to| sum += from.distance(to));
    sum
}

/// The lines between a path's points, those of its curves among them.
fn edges(path: &Path, mut each: impl FnMut(Point, Point)) {
    let (mut at, mut begin) = (Point::default(), Point::default());
    for segment in path.segments() {
        let points: &[Point] = match &segment {
            PathSegment::MoveTo(to) => {
                (at, begin) = (*to, *to);
                &[]
            }
            PathSegment::LineTo(to) => &[*to],
            PathSegment::QuadTo(bend, to) => &[*bend, *to],
            PathSegment::CubicTo(first, second, to) => &[*first, *second, *to],
            PathSegment::Close => &[begin],
        };
        for to in points {
            each(at, *to);
            at = *to;
        }
    }
}
