//! Areas and lines on a page of PDF.

use krilla::color::rgb;
use krilla::geom::{Path as Outline, PathBuilder, Rect, Transform as Place};
use krilla::num::NormalizedF32;
use krilla::paint::{Fill, FillRule as Rule, LineCap as Cap, LineJoin as Join, Stroke, StrokeDash};
use krilla::surface::Surface;
use tiny_skia::{FillRule, LineCap, LineJoin, Path, PathSegment, Transform};

use super::{Ink, Line, Step, Vector};

impl Vector {
    /// Draws it into an area of points: left, top, width and height in the picture's own proportion. Nothing of it is seen
    /// outside.
    pub(crate) fn draw(&self, surface: &mut Surface<'_>, [left, top, width, height]: [f32; 4]) {
        let Some(area) = Rect::from_xywh(left, top, width, height) else { return };
        let mut frame = PathBuilder::new();
        frame.push_rect(area);
        let Some(frame) = frame.finish() else { return };
        surface.push_clip_path(&frame, &Rule::NonZero);
        let (across, down) = (width / self.width as f32, height / self.height as f32);
        surface.push_transform(&Place::from_row(across, 0.0, 0.0, down, left, top));
        for step in &self.steps {
            match step {
                Step::Fill(path, rule, ink) => fill(surface, path, *rule, *ink),
                Step::Stroke(path, line, transform) => stroke(surface, path, line, *transform),
                Step::Layer(opacity) => surface.push_opacity(part(*opacity)),
                Step::End => surface.pop(),
            }
        }
        surface.pop();
        surface.pop();
    }
}

fn fill(surface: &mut Surface<'_>, path: &Path, fill_rule: FillRule, Ink([red, green, blue], opacity): Ink) {
    let Some(path) = outline(path) else { return };
    let paint = rgb::Color::new(red, green, blue).into();
    surface.set_stroke(None);
    surface.set_fill(Some(Fill { paint, opacity: part(opacity), rule: rule(fill_rule) }));
    surface.draw_path(&path);
}

fn stroke(surface: &mut Surface<'_>, path: &Path, line: &Line, transform: Transform) {
    let Some(path) = outline(path) else { return };
    let Transform { sx, ky, kx, sy, tx, ty } = transform;
    let Line { stroke, dashes, ink: Ink([red, green, blue], opacity) } = line;
    let line = Stroke {
        paint: rgb::Color::new(*red, *green, *blue).into(),
        width: stroke.width,
        miter_limit: stroke.miter_limit,
        line_cap: match stroke.line_cap {
            LineCap::Butt => Cap::Butt,
            LineCap::Round => Cap::Round,
            LineCap::Square => Cap::Square,
        },
        line_join: match stroke.line_join {
            // Clipped ones were refused.
            LineJoin::Miter | LineJoin::MiterClip => Join::Miter,
            LineJoin::Round => Join::Round,
            LineJoin::Bevel => Join::Bevel,
        },
        opacity: part(*opacity),
        dash: dashes.clone().map(|(array, offset)| StrokeDash { array, offset }),
    };
    surface.push_transform(&Place::from_row(sx, ky, kx, sy, tx, ty));
    surface.set_fill(None);
    surface.set_stroke(Some(line));
    surface.draw_path(&path);
    surface.set_stroke(None);
    surface.pop();
}

fn outline(path: &Path) -> Option<Outline> {
    let mut outline = PathBuilder::new();
    for segment in path.segments() {
        match segment {
            PathSegment::MoveTo(to) => outline.move_to(to.x, to.y),
            PathSegment::LineTo(to) => outline.line_to(to.x, to.y),
            PathSegment::QuadTo(bend, to) => outline.quad_to(bend.x, bend.y, to.x, to.y),
            PathSegment::CubicTo(first, second, to) => {
                outline.cubic_to(first.x, first.y, second.x, second.y, to.x, to.y);
            }
            PathSegment::Close => outline.close(),
        }
    }
    outline.finish()
}

fn rule(rule: FillRule) -> Rule {
    match rule {
        FillRule::Winding => Rule::NonZero,
        FillRule::EvenOdd => Rule::EvenOdd,
    }
}

fn part(opacity: f32) -> NormalizedF32 {
    NormalizedF32::new(opacity).unwrap_or(NormalizedF32::ONE)
}
