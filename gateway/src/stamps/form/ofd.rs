//! An order for a stamp on an OFD package (GB/T 33190): by SM2, with a registered seal or alone.

use std::sync::Arc;

use formats::Algorithm;
use formats::ofd::{self, OfdError, OfdPlan, Page, Placement, Provider, Rect, across};
use formats::opened::Kind;
use formats::pdf::sign::{Edge, MAX_PLACES, Place};
use formats::seal::Seal;
use signing::StampSubject;
use time::OffsetDateTime;

use super::{Setting, StampRequest, What, pdf};
use crate::body::{Faults, Object};
use crate::problem::{Fault, Problem};

/// Which of a package's documents is stamped: packages with several are rare, and each signature protects all of them.
const DOCUMENT: usize = 0;
const PLACES: &str = "appearance.places";

impl StampRequest {
    /// What the package is to be signed with.
    pub(super) fn ofd(&self, faults: &mut Faults, setting: &Setting<'_>) -> Option<What> {
        if self.digest.is_some() {
            faults.add("digest", "not_applicable", "is for the format digest");
        }
        // The level was judged with the profile.
        let meant = ["algorithm", "appearance", "level", "seal", "signer"];
        self.only(faults, &meant, "an OFD package");
        let places = match (&self.appearance, setting.seal) {
            (Some(_), None) if !setting.is_template => {
                faults.add("appearance", "not_applicable", "only a seal is seen in an OFD package");
                Vec::new()
            }
            (Some(Object(appearance)), seal) => {
                let places = appearance.of_seal(faults, seal);
                if places.is_empty() {
                    faults.add(PLACES, "missing_field", "one place is needed at least");
                }
                places
            }
            (None, Some(_)) => {
                faults.add("appearance", "missing_field", "a seal is to be seen somewhere");
                Vec::new()
            }
            (None, None) => Vec::new(),
        };
        for place in &places {
            match place {
                Place::Keyword { .. } => {
                    faults.add(PLACES, "not_applicable", "keywords are looked for in PDFs only");
                }
                Place::Seam { edge: Edge::Top | Edge::Bottom, .. } => {
                    faults.add(
                        PLACES,
                        "not_applicable",
                        "a seam in an OFD package is at the left or right edge",
                    );
                }
                Place::Rect { .. } | Place::Seam { .. } => {}
            }
        }
        let document = self.document(faults, Kind::Ofd)?;
        let seal = setting.seal.map(|seal| Arc::new(seal.seal.clone()));
        Some(What::Ofd { document, seal, places, at: setting.at })
    }
}

/// The parts that the package gets.
pub(super) fn prepared(
    document: Arc<[u8]>,
    seal: Option<Arc<Seal>>,
    places: &[Place],
    signed_at: OffsetDateTime,
) -> Result<StampSubject, Problem> {
    let of_package = |error: OfdError| Problem::faults(vec![fault(&error)]);
    let stamps = match places {
        [] => Vec::new(),
        places => {
            let pages = ofd::pages(&document, DOCUMENT).map_err(of_package)?;
            placements(&pages, places).map_err(|fault| Problem::faults(vec![fault]))?
        }
    };
    let name = env!("CARGO_PKG_NAME").to_owned();
    let plan = OfdPlan {
        ofd: &document,
        document: DOCUMENT,
        seal: seal.as_deref().map(|seal| (seal, &*stamps)),
        algorithm: Algorithm::Sm2Sm3,
        signed_at,
        provider: Provider { company: name.clone(), name, version: env!("CARGO_PKG_VERSION").to_owned() },
    };
    let prepared = plan.prepare().map_err(of_package)?;
    Ok(StampSubject::Ofd { document, prepared, seal })
}

/// Where the seal is shown.
fn placements(pages: &[Page], places: &[Place]) -> Result<Vec<Placement>, Fault> {
    let count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    let mut found = Vec::new();
    for place in places {
        let (Place::Rect { pages: which, .. }
        | Place::Keyword { pages: which, .. }
        | Place::Seam { pages: which, .. }) = place;
        let numbers = which.numbers(count).map_err(|error| {
            let (field, code) = pdf::fault(&error);
            Fault::new(field, code, error.to_string())
        })?;
        // Numbers are from 1 to the count.
        let chosen: Vec<(usize, &Page)> =
            numbers.iter().map(|number| *number as usize - 1).map(|at| (at, &pages[at])).collect();
        match place {
            Place::Rect { rect, .. } => {
                let [x, y, width, height] = [rect.left, rect.top, rect.width, rect.height].map(f64::from);
                let boundary = Rect { x, y, width, height };
                for (page, shown) in chosen {
                    if !holds(shown, boundary) {
                        let detail = format!("the place on page {} reaches over the page's edge", page + 1);
                        return Err(Fault::new(PLACES, "place_off_page", detail));
                    }
                    found.push(Placement { page, boundary, clip: None });
                }
            }
            Place::Seam { edge, size, offset, most_pages, .. } => {
                if chosen.len() < 2 {
                    let detail = "a cross-page seal needs two pages at least";
                    return Err(Fault::new(PLACES, "seam_needs_pages", detail));
                }
                let edge = if *edge == Edge::Left { ofd::Edge::Left } else { ofd::Edge::Right };
                let size = (f64::from(size.0), f64::from(size.1));
                let of: Vec<Page> = chosen.iter().map(|(_, page)| (*page).clone()).collect();
                let strips = across(&of, edge, size, f64::from(*offset), *most_pages as usize);
                let strips =
                    strips.map_err(|error| Fault::new(PLACES, "place_off_page", error.to_string()))?;
                let on = |strip: Placement| Placement { page: chosen[strip.page].0, ..strip };
                found.extend(strips.into_iter().map(on));
            }
            Place::Keyword { .. } => {} // refused before
        }
        if found.len() > MAX_PLACES {
            let detail = format!("must be on {MAX_PLACES} places of pages at most");
            return Err(Fault::new(PLACES, "invalid_value", detail));
        }
    }
    Ok(found)
}

/// Whether all of it is on the page.
fn holds(page: &Page, boundary: Rect) -> bool {
    const SLACK: f64 = 0.1; // rounding of millimetres
    boundary.x >= -SLACK
        && boundary.y >= -SLACK
        && boundary.x + boundary.width <= page.area.width + SLACK
        && boundary.y + boundary.height <= page.area.height + SLACK
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
