//! Where seals are shown on pages.

use super::document::{Page, Rect};
use super::error::OfdError;

/// Where one stamp goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// The page, counted from 0.
    pub page: usize,
    /// Where the whole picture would stand, in millimetres.
    pub boundary: Rect,
    /// The part of it that is shown, from the picture's corner; all of it if absent.
    pub clip: Option<Rect>,
}

/// The edge that a cross-page seal stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The left one.
    Left,
    /// The right one.
    Right,
}

/// The same place on every page.
pub fn on_every_page(pages: &[Page], boundary: Rect) -> Vec<Placement> {
    (0..pages.len()).map(|page| Placement { page, boundary, clip: None }).collect()
}

/// A seal across the edges of pages (骑缝章): laid beside one another at the edge, the pages show the whole picture. Each
/// shows one strip of it; after `most` pages the picture begins again (with three, if `most` is two and one page is left).
///
/// `size` is that of the picture in millimetres, `top` the distance of its upper edge from the page's.
///
/// # Errors
/// [`OfdError::Plan`] for fewer than two pages to a picture, or a picture that does not fit on a page.
pub fn across(
    pages: &[Page],
    edge: Edge,
    size: (f64, f64),
    top: f64,
    most: usize,
) -> Result<Vec<Placement>, OfdError> {
    let refused = |reason: &str| Err(OfdError::Plan(reason.to_owned()));
    if pages.len() < 2 || most < 2 {
        return refused("a cross-page seal needs at least two pages");
    }
    let (width, height) = size;
    // Even groups: five pages at four to a picture are three and two, never four and one. One page alone would show a
    // whole seal, so that of an odd number at two to a picture three share one.
    let groups = pages.len().div_ceil(most).min(pages.len() / 2);
    let mut placements = Vec::with_capacity(pages.len());
    let mut first = 0;
    for group in 0..groups {
        let count = (pages.len() - first).div_ceil(groups - group);
        let strip = width / count as f64;
        for place in 0..count {
            let page = &pages[first + place];
            let fits = width > 0.0 && height > 0.0 && top >= 0.0 && strip <= page.area.width;
            if !fits || top + height > page.area.height {
                return refused("the cross-page seal does not fit on every page");
            }
            // The pages lie as they are read; the strip on the first is the picture's left one at a right edge.
            let from = strip * place as f64;
            let x = match edge {
                Edge::Right => page.area.width - strip - from,
                Edge::Left => -from,
            };
            placements.push(Placement {
                page: first + place,
                boundary: Rect { x, y: top, width, height },
                clip: Some(Rect { x: from, y: 0.0, width: strip, height }),
            });
        }
        first += count;
    }
    Ok(placements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(count: usize) -> Vec<Page> {
        let area = Rect { x: 0.0, y: 0.0, width: 210.0, height: 297.0 };
        let page = |id: usize| Page { id: id.to_string(), part: format!("Page_{id}"), area };
        (0..count).map(page).collect()
    }

    #[test]
    fn the_strips_of_a_cross_page_seal_meet_and_make_up_the_whole_picture() {
        for (count, most) in [(2, 2), (3, 10), (5, 4), (11, 5), (9, 2)] {
            for edge in [Edge::Left, Edge::Right] {
                let all = across(&pages(count), edge, (42.0, 40.0), 100.0, most).unwrap_or_default();
                assert_eq!(all.len(), count);
                let mut end = 0.0;
                for placement in &all {
                    let Some(clip) = placement.clip else { panic!("a strip has a clip") };
                    // It begins where the one before ended, or a new picture begins.
                    assert!((clip.x - end).abs() < 1e-9 || clip.x == 0.0 && (end - 42.0).abs() < 1e-9);
                    end = clip.x + clip.width;
                    let shown = (placement.boundary.x + clip.x, placement.boundary.x + end);
                    let wanted = match edge {
                        Edge::Left => (0.0, clip.width),
                        Edge::Right => (210.0 - clip.width, 210.0),
                    };
                    assert!((shown.0 - wanted.0).abs() < 1e-9 && (shown.1 - wanted.1).abs() < 1e-9);
                    assert!(clip.width <= 21.0 + 1e-9, "no page shows the whole seal");
                }
                assert!((end - 42.0).abs() < 1e-9);
            }
        }
        assert!(across(&pages(1), Edge::Right, (42.0, 42.0), 100.0, 4).is_err());
        assert!(across(&pages(3), Edge::Right, (42.0, 42.0), 280.0, 4).is_err());
    }
}
