//! An order for a stamp on an OFD package (GB/T 33190): by SM2, with a registered seal or alone.

use std::sync::Arc;

use bytes::Bytes;
use formats::Algorithm;
use formats::ofd::{
    self, Drawing, Keywords, MAX_DRAWN, OfdError, OfdPlan, Page, Placed, Placement, Provider, Rect, across,
};
use formats::opened::Kind;
use formats::pdf::sign::{Edge, Look, MAX_PLACES, Place, SignError};
use formats::seal::Seal;
use signing::StampSubject;
use time::OffsetDateTime;

use super::appearance::Seen;
use super::{Setting, StampRequest, What, pdf};
use crate::body::{Faults, Object};
use crate::problem::{Fault, Problem};

/// Which of a package's documents is stamped: packages with several are rare, and each signature protects all of them.
const DOCUMENT: usize = 0;
const PLACES: &str = "appearance.places";

impl StampRequest {
    /// What the package is to be signed with.
    pub(super) fn ofd(&self, faults: &mut Faults, setting: &Setting<'_>) -> Option<What> {
        self.no_digest(faults);
        // The level was judged with the profile.
        let meant = ["algorithm", "appearance", "level", "seal", "signer"];
        self.only(faults, &meant, "an OFD package");
        let seen = match (&self.appearance, setting.seal) {
            (Some(Object(appearance)), _) => appearance.of_ofd(faults, setting),
            (None, Some(_)) => {
                faults.add("appearance", "missing_field", "a seal is to be seen somewhere");
                Seen::default()
            }
            (None, None) => Seen::default(),
        };
        let has_text = seen.look.as_ref().is_some_and(|look| !look.text.is_empty());
        if seen.look.is_some() && seen.places.is_empty() {
            faults.add(PLACES, "missing_field", "one place is needed at least");
        }
        for place in &seen.places {
            let detail = match place {
                Place::Seam { .. } if has_text => "text in strips could not be read",
                Place::Seam { edge: Edge::Top | Edge::Bottom, .. } => {
                    "a seam in an OFD package is at the left or right edge"
                }
                _ => continue,
            };
            faults.add(PLACES, "not_applicable", detail);
        }
        let document = self.document(faults, Kind::Ofd)?;
        let seal = setting.seal.map(|seal| Arc::new(seal.seal.clone()));
        Some(What::Ofd { document, seal, seen, at: setting.at })
    }
}

/// The parts that the package gets.
pub(super) fn prepared(
    document: Bytes,
    seal: Option<Arc<Seal>>,
    seen: &Seen,
    signed_at: OffsetDateTime,
) -> Result<StampSubject, Problem> {
    let of_package = |error: OfdError| Problem::faults(vec![fault(&error)]);
    let shown = match seen.places.is_empty() && seen.beside.is_empty() {
        true => Shown::default(),
        false => {
            let mut opened = Keywords::open(&document, DOCUMENT).map_err(of_package)?;
            let shown = Shown::of(&mut opened, seen, seal.is_some());
            shown.map_err(|fault| Problem::faults(vec![fault]))?
        }
    };
    let name = env!("CARGO_PKG_NAME").to_owned();
    let plan = OfdPlan {
        ofd: &document,
        document: DOCUMENT,
        seal: seal.as_deref().map(|seal| (seal, &*shown.stamps)),
        drawings: &shown.drawings,
        algorithm: Algorithm::Sm2Sm3,
        signed_at,
        provider: Provider { company: name.clone(), name, version: env!("CARGO_PKG_VERSION").to_owned() },
    };
    let prepared = plan.prepare().map_err(of_package)?;
    Ok(StampSubject::Ofd { document, prepared, seal })
}

/// What fails of what is seen in any package: field, code and why.
pub(super) fn tried(seen: &Seen) -> Option<(&'static str, &'static str, String)> {
    let look = seen.look.as_ref().filter(|look| !look.text.is_empty())?;
    let sizes = seen.places.iter().map(Place::size);
    let mut tried = sizes.map(|(width, height)| Rect {
        x: 0.0,
        y: 0.0,
        width: f64::from(width),
        height: f64::from(height),
    });
    let error = tried.find_map(|area| Placed::new(look, 0, area).err())?;
    let (field, code) = pdf::fault(&error);
    Some((field, code, error.to_string()))
}

/// What is seen, and where.
#[derive(Default)]
struct Shown {
    stamps: Vec<Placement>,
    drawings: Vec<Drawing>,
    /// Octets of what is drawn.
    drawn: usize,
}

impl Shown {
    fn of(opened: &mut Keywords<'_>, seen: &Seen, is_sealed: bool) -> Result<Self, Fault> {
        let mut shown = Self::default();
        let pages = opened.pages().to_vec();
        for place in &seen.places {
            let chosen = chosen(&pages, place)?;
            if let Place::Seam { edge, size, offset, most_pages, .. } = place {
                let strips = strips(&chosen, *edge, *size, *offset, *most_pages as usize)?;
                shown.stamps.extend(strips);
                continue;
            }
            for (page, boundary) in spots(opened, &pages, &chosen, place)? {
                let text = seen.look.as_ref().filter(|look| !look.text.is_empty());
                let picture = match text {
                    Some(look) => shown.draw(look, page, boundary)?.unwrap_or(boundary),
                    None => boundary,
                };
                if is_sealed {
                    shown.stamps.push(Placement { page, boundary: picture, clip: None });
                }
            }
        }
        for (look, places) in &seen.beside {
            for place in places {
                for (page, boundary) in spots(opened, &pages, &chosen(&pages, place)?, place)? {
                    shown.draw(look, page, boundary)?;
                }
            }
        }
        match shown.stamps.len().max(shown.drawings.len()) > MAX_PLACES {
            true => {
                let detail = format!("must be on {MAX_PLACES} places of pages at most");
                Err(Fault::new(PLACES, "invalid_value", detail))
            }
            false => Ok(shown),
        }
    }

    /// Draws a look and says where its picture goes.
    fn draw(&mut self, look: &Look, page: usize, boundary: Rect) -> Result<Option<Rect>, Fault> {
        let placed = Placed::new(look, page, boundary).map_err(|error| {
            let (field, code) = pdf::fault(&error);
            Fault::new(field, code, error.to_string())
        })?;
        if let Some(drawing) = placed.drawing {
            self.drawn += drawing.size();
            if self.drawn > MAX_DRAWN {
                let detail = "what is drawn on all places together is too much";
                return Err(Fault::new(PLACES, "invalid_value", detail));
            }
            self.drawings.push(drawing);
        }
        Ok(placed.picture)
    }
}

/// The pages of a place, with their numbers counted from 0.
fn chosen<'p>(pages: &'p [Page], place: &Place) -> Result<Vec<(usize, &'p Page)>, Fault> {
    let (Place::Rect { pages: which, .. }
    | Place::Keyword { pages: which, .. }
    | Place::Seam { pages: which, .. }) = place;
    let count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    let numbers = which.numbers(count).map_err(|error| {
        let (field, code) = pdf::fault(&error);
        Fault::new(field, code, error.to_string())
    })?;
    // Numbers are from 1 to the count.
    Ok(numbers.iter().map(|number| *number as usize - 1).map(|at| (at, &pages[at])).collect())
}

/// Where something whole is seen.
fn spots(
    opened: &mut Keywords<'_>,
    pages: &[Page],
    chosen: &[(usize, &Page)],
    place: &Place,
) -> Result<Vec<(usize, Rect)>, Fault> {
    let spots: Vec<(usize, &Page, Rect)> = match place {
        Place::Rect { rect, .. } => {
            let [x, y, width, height] = [rect.left, rect.top, rect.width, rect.height].map(f64::from);
            let of = |page: &Page| Rect { x: page.area.x + x, y: page.area.y + y, width, height };
            chosen.iter().map(|(at, page)| (*at, *page, of(page))).collect()
        }
        Place::Keyword { keyword, occurrence, size, offset, .. } => {
            let numbers: Vec<usize> = chosen.iter().map(|(at, _)| *at).collect();
            let found = opened.places(&numbers, keyword).map_err(|error| fault(&error))?;
            let found = occurrence.of(found);
            if found.is_empty() {
                let error = SignError::KeywordNotFound(keyword.clone());
                return Err(Fault::new(PLACES, "keyword_not_found", error.to_string()));
            }
            let over = |(at, word): (usize, Rect)| {
                let page = &pages[at]; // found on it
                (at, page, over(page, word, *size, *offset))
            };
            found.into_iter().map(over).collect()
        }
        Place::Seam { .. } => Vec::new(), // has strips
    };
    for (at, page, boundary) in &spots {
        if !holds(page, *boundary) {
            let detail = format!("the place on page {} reaches over the page's edge", at + 1);
            return Err(Fault::new(PLACES, "place_off_page", detail));
        }
    }
    Ok(spots.into_iter().map(|(at, _, boundary)| (at, boundary)).collect())
}

/// A size over the middle of a word, moved onto the page as far as needed.
fn over(page: &Page, word: Rect, size: (f32, f32), offset: (f32, f32)) -> Rect {
    let keep = |middle: f64, length: f64, from: f64, whole: f64| {
        (middle - length / 2.0).min(from + whole - length).max(from)
    };
    let (width, height) = (f64::from(size.0), f64::from(size.1));
    let (x, y) = (word.x + word.width / 2.0, word.y + word.height / 2.0);
    Rect {
        x: keep(x + f64::from(offset.0), width, page.area.x, page.area.width),
        y: keep(y + f64::from(offset.1), height, page.area.y, page.area.height),
        width,
        height,
    }
}

/// A seal over the edges of pages.
fn strips(
    chosen: &[(usize, &Page)],
    edge: Edge,
    (width, height): (f32, f32),
    offset: f32,
    most_pages: usize,
) -> Result<Vec<Placement>, Fault> {
    if chosen.len() < 2 {
        let detail = "a cross-page seal needs two pages at least";
        return Err(Fault::new(PLACES, "seam_needs_pages", detail));
    }
    let edge = if edge == Edge::Left { ofd::Edge::Left } else { ofd::Edge::Right };
    let size = (f64::from(width), f64::from(height));
    let of: Vec<Page> = chosen.iter().map(|(_, page)| (*page).clone()).collect();
    let strips = across(&of, edge, size, f64::from(offset), most_pages);
    let strips = strips.map_err(|error| Fault::new(PLACES, "place_off_page", error.to_string()))?;
    Ok(strips.into_iter().map(|strip| Placement { page: chosen[strip.page].0, ..strip }).collect())
}

/// Whether all of it is on the page.
fn holds(page: &Page, boundary: Rect) -> bool {
    const SLACK: f64 = 0.1; // rounding of millimetres
    let (left, top) = (boundary.x - page.area.x, boundary.y - page.area.y);
    left >= -SLACK
        && top >= -SLACK
        && left + boundary.width <= page.area.width + SLACK
        && top + boundary.height <= page.area.height + SLACK
}

/// Which field of the order an error is about, and its code.
fn fault(error: &OfdError) -> Fault {
    let code = match error {
        OfdError::Encrypted(_) => "document_encrypted",
        OfdError::TooLarge(_) => "document_too_large",
        OfdError::Plan(_) => "document_not_permitted",
        _ => "document_malformed",
    };
    Fault::new("document", code, error.to_string())
}
