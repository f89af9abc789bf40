//! Pages as people see them: turned, cut to the CropBox, in millimetres.

use lopdf::{Dictionary, Object, ObjectId};

use super::error::SignError;
use super::source::Source;

/// Millimetres in a point of 1/72 inch.
pub(super) const MM_PER_POINT: f32 = 25.4 / 72.0;

/// A rectangle on a page as it is shown, in millimetres from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PageRect {
    /// From the left edge.
    pub left: f32,
    /// From the upper edge.
    pub top: f32,
    /// To the right.
    pub width: f32,
    /// Downwards.
    pub height: f32,
}

impl PageRect {
    pub(super) fn middle(&self) -> (f32, f32) {
        (self.left + self.width / 2.0, self.top + self.height / 2.0)
    }
}

pub(super) struct Page {
    pub(super) id: ObjectId,
    /// From 1.
    pub(super) number: u32,
    /// Lower left and upper right corner of what is shown, in user space.
    shown: [f32; 4],
    /// Clockwise, in quarter turns.
    turns: u8,
    /// Millimetres in a unit of user space.
    mm: f32,
}

impl Page {
    pub(super) fn of(source: &Source<'_>, number: u32) -> Result<Self, SignError> {
        let unknown = SignError::PageUnknown { number, count: source.pages.len() };
        let place = (number as usize).checked_sub(1).ok_or_else(|| unknown.clone())?;
        let id = *source.pages.get(place).ok_or(unknown)?;
        let page = source.node(id)?;
        let media = inherited(source, page, b"MediaBox").and_then(|object| rectangle(source, object));
        // A page without a MediaBox is shown by readers as US letter.
        let media = media.unwrap_or([0.0, 0.0, 612.0, 792.0]);
        let crop = inherited(source, page, b"CropBox").and_then(|object| rectangle(source, object));
        let shown = crop.and_then(|crop| meet(crop, media)).unwrap_or(media);
        let turns = inherited(source, page, b"Rotate").and_then(|object| object.as_float().ok());
        let unit = source.number(page, b"UserUnit").filter(|unit| (0.01..=1_000.0).contains(unit));
        Ok(Self {
            id,
            number,
            shown,
            turns: turns.map_or(0, |degrees| (degrees / 90.0).round().rem_euclid(4.0) as u8),
            mm: unit.unwrap_or(1.0) * MM_PER_POINT,
        })
    }

    /// Width and height as shown, in millimetres.
    pub(super) fn size(&self) -> (f32, f32) {
        let [left, bottom, right, top] = self.shown;
        let (width, height) = ((right - left) * self.mm, (top - bottom) * self.mm);
        if self.turns % 2 == 1 { (height, width) } else { (width, height) }
    }

    pub(super) fn turns(&self) -> u8 {
        self.turns
    }

    /// Is there something of the rectangle, and all of it on the page?
    pub(super) fn holds(&self, rect: &PageRect) -> bool {
        const SLACK: f32 = 0.1; // rounding of millimetres to points and back
        let (width, height) = self.size();
        let PageRect { left, top, width: across, height: down } = *rect;
        [left, top, across, down].iter().all(|number| number.is_finite())
            && across > 0.0
            && down > 0.0
            && left >= -SLACK
            && top >= -SLACK
            && left + across <= width + SLACK
            && top + down <= height + SLACK
    }

    /// The rectangle in user space: what /Rect says.
    pub(super) fn to_user(&self, rect: &PageRect) -> [f32; 4] {
        let one = self.point_to_user(rect.left, rect.top);
        let other = self.point_to_user(rect.left + rect.width, rect.top + rect.height);
        [one.0.min(other.0), one.1.min(other.1), one.0.max(other.0), one.1.max(other.1)]
    }

    /// The smallest rectangle as shown around points of user space.
    pub(super) fn to_shown(&self, points: &[(f32, f32)]) -> PageRect {
        let shown = points.iter().map(|(x, y)| self.point_to_shown(*x, *y));
        let mut bounds = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
        for (left, top) in shown {
            bounds = [bounds[0].min(left), bounds[1].min(top), bounds[2].max(left), bounds[3].max(top)];
        }
        let [left, top, right, bottom] = bounds;
        PageRect { left, top, width: right - left, height: bottom - top }
    }

    fn point_to_user(&self, left: f32, top: f32) -> (f32, f32) {
        let [x0, y0, x1, y1] = self.shown;
        let (right, down) = (left / self.mm, top / self.mm);
        match self.turns {
            0 => (x0 + right, y1 - down),
            1 => (x0 + down, y0 + right),
            2 => (x1 - right, y0 + down),
            _ => (x1 - down, y1 - right),
        }
    }

    fn point_to_shown(&self, x: f32, y: f32) -> (f32, f32) {
        let [x0, y0, x1, y1] = self.shown;
        let (right, down) = match self.turns {
            0 => (x - x0, y1 - y),
            1 => (y - y0, x - x0),
            2 => (x1 - x, y - y0),
            _ => (y1 - y, x1 - x),
        };
        (right * self.mm, down * self.mm)
    }
}

/// An attribute that pages take from the nodes above them (ISO 32000-1, 7.7.3.4).
pub(super) fn inherited<'a>(source: &'a Source<'_>, page: &'a Dictionary, key: &[u8]) -> Option<&'a Object> {
    const DEPTH: usize = 256;
    let mut node = page;
    for _ in 0..DEPTH {
        if let Some(object) = source.entry(node, key) {
            return Some(object);
        }
        node = source.dictionary(node, b"Parent")?;
    }
    None
}

/// Lower left and upper right corner; none for an empty rectangle.
pub(super) fn rectangle(source: &Source<'_>, object: &Object) -> Option<[f32; 4]> {
    let numbers = object.as_array().ok()?;
    let numbers: Vec<f32> =
        numbers.iter().map(|number| source.follow(number).as_float().ok()).collect::<Option<_>>()?;
    let [a, b, c, d] = numbers.try_into().ok()?;
    let corners = [a.min(c), b.min(d), a.max(c), b.max(d)];
    (corners.iter().all(|corner| corner.is_finite()) && corners[2] > corners[0] && corners[3] > corners[1])
        .then_some(corners)
}

fn meet(one: [f32; 4], other: [f32; 4]) -> Option<[f32; 4]> {
    let both = [one[0].max(other[0]), one[1].max(other[1]), one[2].min(other[2]), one[3].min(other[3])];
    (both[2] > both[0] && both[3] > both[1]).then_some(both)
}
