//! Where signatures are seen: on pages, at keywords, over the edges of pages (骑缝章).

use super::error::SignError;
use super::keyword;
use super::page::{Page, PageRect};
use super::source::Source;

/// The most places of one signature.
pub const MAX_PLACES: usize = 2_000;

/// Which pages, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Every page.
    All,
    /// The last page.
    Last,
    /// From the first to the second, both included.
    Range(u32, u32),
    /// These, in any order.
    These(Vec<u32>),
}

impl Pages {
    /// Their numbers in a document of `count` pages, ascending, each once.
    ///
    /// # Errors
    /// [`SignError::PageUnknown`]; [`SignError::Plan`] for a range that ends before it begins, or no page.
    pub fn numbers(&self, count: u32) -> Result<Vec<u32>, SignError> {
        let mut numbers = match self {
            Self::All => (1..=count).collect(),
            Self::Last => vec![count],
            Self::Range(first, last) if first > last => {
                return Err(SignError::Plan("a range of pages ends before it begins"));
            }
            Self::Range(first, last) => (*first..=(*last).min(count + 1)).collect(),
            Self::These(numbers) => numbers.clone(),
        };
        numbers.sort_unstable();
        numbers.dedup();
        if let Some(&number) = numbers.iter().find(|number| !(1..=count).contains(*number)) {
            return Err(SignError::PageUnknown { number, count: count as usize });
        }
        if numbers.is_empty() {
            return Err(SignError::Plan("no page is named"));
        }
        Ok(numbers)
    }
}

/// The edge that a cross-page seal lies over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// As pages are fanned out that are bound on the left.
    #[default]
    Right,
    /// As pages are fanned out that are bound on the right.
    Left,
    /// The upper edge.
    Top,
    /// The lower edge.
    Bottom,
}

/// Which of a keyword's occurrences, in the order of pages and of the text on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Occurrence {
    /// All of them.
    #[default]
    All,
    /// The first.
    First,
    /// The last.
    Last,
    /// That with this number, counted from 1.
    Nth(u32),
}

impl Occurrence {
    /// Those that are meant of all that were found; empty where there is none.
    pub fn of<T>(self, mut found: Vec<T>) -> Vec<T> {
        let at = match self {
            Self::All => return found,
            Self::First => Some(0),
            Self::Last => found.len().checked_sub(1),
            Self::Nth(number) => (number as usize).checked_sub(1),
        };
        match at.filter(|at| *at < found.len()) {
            Some(at) => vec![found.swap_remove(at)],
            None => Vec::new(),
        }
    }
}

/// Where a signature is seen. All measures are millimetres on the page as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// The same rectangle on each of the pages.
    Rect {
        /// Which pages.
        pages: Pages,
        /// Where on them.
        rect: PageRect,
    },
    /// Over the middle of a keyword in the pages' text.
    Keyword {
        /// Found whatever blanks stand between its characters; within one page and in the order of its text.
        keyword: String,
        /// Where to look.
        pages: Pages,
        /// Which of several.
        occurrence: Occurrence,
        /// Width and height of the look.
        size: (f32, f32),
        /// From the keyword's middle to the look's, to the right and down.
        offset: (f32, f32),
    },
    /// A cross-page seal: cut into as many strips as pages, one at the edge of each.
    Seam {
        /// Which pages, two at least.
        pages: Pages,
        /// The edge.
        edge: Edge,
        /// Width and height of the whole look.
        size: (f32, f32),
        /// From the start of the edge (its upper or left end) to the look.
        offset: f32,
        /// How many pages share one seal; more pages get more seals.
        most_pages: u32,
    },
}

/// One widget.
pub(super) struct Spot {
    pub(super) page: Page,
    pub(super) rect: PageRect,
    /// The size of the whole look.
    pub(super) look: (f32, f32),
    /// Where in the look the part that is shown begins.
    pub(super) from: (f32, f32),
}

impl Place {
    /// Width and height of what is seen there, in millimetres.
    pub fn size(&self) -> (f32, f32) {
        match self {
            Self::Rect { rect, .. } => (rect.width, rect.height),
            Self::Keyword { size, .. } | Self::Seam { size, .. } => *size,
        }
    }

    pub(super) fn spots(&self, source: &Source<'_>) -> Result<Vec<Spot>, SignError> {
        let count = source.pages.len() as u32; // at most 100,000
        match self {
            Self::Rect { pages, rect } => {
                let numbers = pages.numbers(count)?;
                numbers.into_iter().map(|number| whole(Page::of(source, number)?, *rect)).collect()
            }
            Self::Keyword { keyword, pages, occurrence, size, offset } => {
                at_keyword(source, keyword, &pages.numbers(count)?, *occurrence, *size, *offset)
            }
            Self::Seam { pages, edge, size, offset, most_pages } => {
                seam(source, &pages.numbers(count)?, *edge, *size, *offset, *most_pages)
            }
        }
    }
}

fn whole(page: Page, rect: PageRect) -> Result<Spot, SignError> {
    spot(page, rect, (rect.width, rect.height), (0.0, 0.0))
}

fn spot(page: Page, rect: PageRect, look: (f32, f32), from: (f32, f32)) -> Result<Spot, SignError> {
    if !page.holds(&rect) {
        return Err(SignError::OffPage(page.number));
    }
    Ok(Spot { page, rect, look, from })
}

fn at_keyword(
    source: &Source<'_>,
    keyword: &str,
    numbers: &[u32],
    occurrence: Occurrence,
    (width, height): (f32, f32),
    offset: (f32, f32),
) -> Result<Vec<Spot>, SignError> {
    let mut hits = Vec::new();
    let order: Box<dyn Iterator<Item = &u32>> = match occurrence {
        Occurrence::Last => Box::new(numbers.iter().rev()),
        _ => Box::new(numbers.iter()),
    };
    let mut reader = keyword::Reader::new(source, keyword)?;
    for number in order {
        let found = reader.find(&Page::of(source, *number)?)?;
        hits.extend(found.into_iter().map(|rect| (*number, rect)));
        if hits.len() > MAX_PLACES {
            return Err(SignError::TooLarge("places of the keyword"));
        }
        let enough = match occurrence {
            Occurrence::All => usize::MAX,
            Occurrence::First | Occurrence::Last => 1,
            Occurrence::Nth(number) => number as usize,
        };
        if hits.len() >= enough {
            break;
        }
    }
    let hits = occurrence.of(hits);
    if hits.is_empty() {
        return Err(SignError::KeywordNotFound(keyword.to_owned()));
    }
    let spots = hits.into_iter().map(|(number, rect)| {
        let page = Page::of(source, number)?;
        let (across, down) = page.size();
        let (x, y) = rect.middle();
        // A keyword near the edge moves the look onto the page, as far as needed.
        let keep = |start: f32, length: f32, whole: f32| start.min(whole - length).max(0.0);
        let rect = PageRect {
            left: keep(x + offset.0 - width / 2.0, width, across),
            top: keep(y + offset.1 - height / 2.0, height, down),
            width,
            height,
        };
        whole(page, rect)
    });
    spots.collect()
}

fn seam(
    source: &Source<'_>,
    numbers: &[u32],
    edge: Edge,
    look: (f32, f32),
    offset: f32,
    most_pages: u32,
) -> Result<Vec<Spot>, SignError> {
    if numbers.len() < 2 {
        return Err(SignError::SeamNeedsPages);
    }
    if most_pages < 2 {
        return Err(SignError::Plan("a cross-page seal goes over two pages at least"));
    }
    let mut spots = Vec::new();
    for group in shares(numbers, most_pages as usize) {
        for (place, number) in group.iter().enumerate() {
            let page = Page::of(source, *number)?;
            let (across, down) = page.size();
            let count = group.len() as f32;
            // Fanned out, each page shows next to the edge of the one above it what that one does not cover.
            let place = match edge {
                Edge::Right | Edge::Bottom => place,
                Edge::Left | Edge::Top => group.len() - 1 - place,
            } as f32;
            let (rect, from) = match edge {
                Edge::Right | Edge::Left => {
                    let width = look.0 / count;
                    let left = if edge == Edge::Right { across - width } else { 0.0 };
                    (PageRect { left, top: offset, width, height: look.1 }, (place * width, 0.0))
                }
                Edge::Top | Edge::Bottom => {
                    let height = look.1 / count;
                    let top = if edge == Edge::Bottom { down - height } else { 0.0 };
                    (PageRect { left: offset, top, width: look.0, height }, (0.0, place * height))
                }
            };
            spots.push(spot(page, rect, look, from)?);
        }
    }
    Ok(spots)
}

/// As few groups as possible of `most` at most, as even as possible, so that none is of one page.
fn shares(numbers: &[u32], most: usize) -> Vec<&[u32]> {
    let groups = numbers.len().div_ceil(most);
    // With most = 2 an odd number of pages leaves one over: it joins the last two.
    let groups = if numbers.len() < 2 * groups { groups - 1 } else { groups };
    let mut rest = numbers;
    (0..groups)
        .map(|done| {
            let (share, after) = rest.split_at(rest.len() / (groups - done));
            rest = after;
            share
        })
        .collect()
}
