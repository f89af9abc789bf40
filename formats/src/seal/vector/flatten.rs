//! An SVG drawing as areas and lines, one after the other, and what drawing them costs.

use tiny_skia::{FillRule, Path, PathBuilder, PathSegment, Point, Rect, Transform};
use usvg::{BlendMode, ClipPath, Group, Node, Paint, PaintOrder};

use super::super::picture::PictureError;
use super::raster::DOTS;
use super::{Ink, Line, Step};

/// Segments of all paths.
const MAX_SEGMENTS: usize = 100_000;
/// Dashes of all lines, by the length of what they run along.
const MAX_DASHES: f32 = 20_000.0;
/// Clips and layers within each other: each is as large as the picture while it is drawn.
const MAX_NESTED: usize = 8;
/// Dots that are painted, each shape taken as large as the area around it: a seal of 42 mm 264 times over.
const MAX_PAINTED: f32 = (1u32 << 28) as f32;
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
    let mut flat = Flat { page, steps: Vec::new(), nested: 0, segments: 0, dashes: 0.0, painted: 0.0 };
    flat.group(tree.root(), place)?;
    Ok(flat.steps)
}

struct Flat {
    page: Rect,
    steps: Vec<Step>,
    nested: usize,
    segments: usize,
    dashes: f32,
    painted: f32,
}

fn refused(what: &str) -> PictureError {
    PictureError::Refused(what.to_owned())
}

impl Flat {
    fn group(&mut self, group: &Group, outer: Transform) -> Result<(), PictureError> {
        if group.mask().is_some() {
            return Err(refused("a mask"));
        }
        if !group.filters().is_empty() {
            return Err(refused("a filter"));
        }
        if group.blend_mode() != BlendMode::Normal {
            return Err(refused("a blend mode"));
        }
        let transform = outer.pre_concat(group.transform());
        let mut nested = 0;
        if let Some(clip) = group.clip_path() {
            let (path, rule) = area(clip)?;
            let path = self.placed(&path, transform.pre_concat(clip.transform()))?;
            self.begin(Step::Clip(path, rule), &mut nested)?;
        }
        if group.opacity().get() < 1.0 {
            self.begin(Step::Layer(group.opacity().get()), &mut nested)?;
        }
        for child in group.children() {
            match child {
                Node::Group(inner) => self.group(inner, transform)?,
                Node::Path(path) if path.is_visible() => self.path(path, transform)?,
                Node::Path(_) => {}
                Node::Image(_) => return Err(refused("an image")),
                Node::Text(_) => return Err(refused("text")),
            }
        }
        self.nested -= nested;
        self.steps.extend((0..nested).map(|_| Step::End));
        Ok(())
    }

    fn begin(&mut self, step: Step, nested: &mut usize) -> Result<(), PictureError> {
        *nested += 1;
        self.nested += 1;
        if self.nested > MAX_NESTED {
            return Err(PictureError::TooComplex("clips and layers within each other"));
        }
        self.paint(self.page)?;
        self.steps.push(step);
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
        self.paint(path.bounds())?;
        self.steps.push(Step::Fill(path, rule(fill.rule()), ink));
        Ok(())
    }

    fn stroke(&mut self, path: &usvg::Path, transform: Transform) -> Result<(), PictureError> {
        let Some(stroke) = path.stroke() else { return Ok(()) };
        let ink = ink(stroke.paint(), stroke.opacity())?;
        let placed = self.placed(path.data(), transform)?;
        let line = stroke.to_tiny_skia();
        if let Some(dashes) = stroke.dasharray() {
            let one = dashes.iter().sum::<f32>() / dashes.len() as f32;
            self.dashes += length(path.data()) / one;
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
        let bounds = placed.bounds();
        self.paint(bounds.outset(reach + 0.1, reach + 0.1).unwrap_or(bounds))?;
        let dashes = stroke.dasharray().map(|dashes| (dashes.to_vec(), stroke.dashoffset()));
        let line = Box::new(Line { stroke: line, dashes, ink });
        self.steps.push(Step::Stroke(path.data().clone(), line, transform));
        Ok(())
    }

    /// A path in its place, which must not be far off.
    fn placed(&mut self, path: &Path, transform: Transform) -> Result<Path, PictureError> {
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

    fn paint(&mut self, bounds: Rect) -> Result<(), PictureError> {
        let side =
            |begin: f32, end: f32, most: f32| (end.min(most) - begin.max(0.0)).max(0.0) * DOTS[0] as f32;
        let across = side(bounds.left(), bounds.right(), self.page.right());
        let down = side(bounds.top(), bounds.bottom(), self.page.bottom());
        // What lies outside or is thinner than a dot costs something, too.
        self.painted += across * down + across + down + 1.0;
        match self.painted <= MAX_PAINTED {
            true => Ok(()),
            false => Err(PictureError::TooComplex("dots that are painted over")),
        }
    }
}

/// The one path of a clip, in the clip's own measure.
fn area(clip: &ClipPath) -> Result<(Path, FillRule), PictureError> {
    let more = || refused("a clip of more than one path");
    if clip.clip_path().is_some() {
        return Err(more());
    }
    let (mut group, mut transform) = (clip.root(), clip.root().transform());
    loop {
        match group.children() {
            // A clip without an area hides all.
            [] => {
                let nothing = Rect::from_xywh(0.0, 0.0, 0.0, 0.0).map(PathBuilder::from_rect);
                return nothing.map(|path| (path, FillRule::Winding)).ok_or_else(more);
            }
            [Node::Group(inner)] if inner.clip_path().is_none() => {
                transform = transform.pre_concat(inner.transform());
                group = inner;
            }
            [Node::Path(path)] => {
                let rule = path.fill().map_or(FillRule::Winding, |fill| rule(fill.rule()));
                let path = path.data().clone().transform(transform).ok_or_else(more)?;
                return Ok((path, rule));
            }
            _ => return Err(more()),
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

/// No shorter than the path: of a curve, the lines between its points.
fn length(path: &Path) -> f32 {
    let (mut at, mut begin, mut sum) = (Point::default(), Point::default(), 0.0);
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
            sum += at.distance(*to);
            at = *to;
        }
    }
    sum
}
