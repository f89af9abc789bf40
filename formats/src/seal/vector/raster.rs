//! The dots of a picture made of areas and lines.

use tiny_skia::{Paint, Pixmap, PixmapPaint, Transform};

use super::super::picture::{MAX_DOTS, MAX_PICTURE, PictureError};
use super::{Ink, Step};

/// Dots for a millimetre: 610, 406, 305 and 203 dpi.
pub(super) const DOTS: [u32; 4] = [24, 16, 12, 8];

/// As fine as there is room for.
pub(super) fn png(steps: &[Step], width: u32, height: u32) -> Result<Vec<u8>, PictureError> {
    for dots in DOTS {
        let (across, down) = (width * dots, height * dots); // at most 4,800
        if u64::from(across) * u64::from(down) > MAX_DOTS {
            continue;
        }
        let pixmap = drawn(steps, across, down, dots as f32).ok_or(PictureError::TooLarge)?;
        if pixmap.pixels().iter().all(|dot| dot.alpha() == 0) {
            return Err(PictureError::Blank);
        }
        let octets = pixmap.encode_png().map_err(|_| PictureError::TooLarge)?;
        if octets.len() <= MAX_PICTURE {
            return Ok(octets);
        }
    }
    Err(PictureError::TooLarge)
}

fn drawn(steps: &[Step], across: u32, down: u32, dots: f32) -> Option<Pixmap> {
    let mut canvas = Pixmap::new(across, down)?;
    let scale = Transform::from_scale(dots, dots);
    // What is below each layer, and how opaque the layer is.
    let mut below = Vec::new();
    for step in steps {
        match step {
            Step::Fill(path, rule, ink) => {
                canvas.fill_path(path, &paint(*ink), *rule, scale, None);
            }
            Step::Stroke(path, line, transform) => {
                let transform = transform.post_concat(scale);
                canvas.stroke_path(path, &paint(line.ink), &line.stroke, transform, None);
            }
            Step::Layer(opacity) => {
                let layer = Pixmap::new(across, down)?;
                below.push((std::mem::replace(&mut canvas, layer), *opacity));
            }
            Step::End => {
                let (outer, opacity) = below.pop()?;
                let layer = std::mem::replace(&mut canvas, outer);
                let paint = PixmapPaint { opacity, ..PixmapPaint::default() };
                canvas.draw_pixmap(0, 0, layer.as_ref(), &paint, Transform::identity(), None);
            }
        }
    }
    Some(canvas)
}

fn paint(Ink([red, green, blue], opacity): Ink) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(red, green, blue, (opacity * 255.0).round() as u8);
    paint
}
