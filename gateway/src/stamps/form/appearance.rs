//! How a stamp is seen.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::pdf::sign::{Look, Picture, Place, TextPlace};
use formats::seal::Vector;
use serde::Deserialize;
use store::RegisteredSeal;
use utoipa::ToSchema;

use super::Setting;
use super::place::PlaceBody;
use super::template::{fill, fill_list};
use crate::body::{Faults, Object};

/// Places of an appearance that may be told; each may stand for many pages.
const MOST_PLACES: usize = 64;
/// Lines of text in an appearance.
const MOST_LINES: usize = 20;
/// The side of a QR code, in millimetres.
const CODE: f32 = 25.0;

/// How a stamp is seen.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AppearanceBody {
    /// PNG, whose transparency stays, or JPEG: base64, at most 8 MiB. Not with a seal, which has its own.
    picture: Option<String>,
    /// Lines of text; `{stamp_id}` and `{check_code}` stand for the stamp's own.
    #[serde(default)]
    text: Vec<String>,
    /// Where the text stands beside a picture: `right` (default), `below` or `over`.
    text_place: Option<String>,
    /// Points; 9 if it is absent.
    text_size: Option<f32>,
    /// Where: from 1 to 64 of them; none with `existing_field`, which has its own.
    #[serde(default)]
    #[schema(value_type = Vec<PlaceBody>)]
    places: Vec<Object<PlaceBody>>,
    /// The address of the stamp's check page as QR code, where the site has an address (`server.public_url`).
    #[schema(value_type = Option<CodeBody>)]
    qr: Option<Object<CodeBody>>,
}

/// Where a QR code stands.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CodeBody {
    /// Of the kinds `rect` and `keyword`: 25 mm wide and high if they do not say.
    #[schema(value_type = Vec<PlaceBody>)]
    places: Vec<Object<PlaceBody>>,
}

/// How a stamp on a document is seen.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) look: Option<Look>,
    pub(super) places: Vec<Place>,
    /// What is seen beside it, elsewhere.
    pub(super) beside: Vec<(Look, Vec<Place>)>,
}

impl AppearanceBody {
    pub(super) fn check(&self, faults: &mut Faults, setting: &Setting<'_>) -> Seen {
        const TEXT_PLACES: [(&str, TextPlace); 3] =
            [("right", TextPlace::Right), ("below", TextPlace::Below), ("over", TextPlace::Over)];
        let picture = self.picture(faults, setting.seal);
        let has_look = self.picture.is_some() || setting.seal.is_some() || !self.text.is_empty();
        let is_seen = has_look || setting.is_template;
        if !is_seen && self.qr.is_none() {
            faults.add("appearance", "missing_field", "a picture or text is needed");
        }
        if !is_seen && !self.places.is_empty() {
            faults.add("appearance.places", "not_applicable", "a QR code has places of its own");
        }
        if self.text.len() > MOST_LINES {
            faults.add("appearance.text", "invalid_value", format!("must have {MOST_LINES} lines at most"));
        }
        let text_place =
            faults.word("appearance.text_place", self.text_place.as_deref(), &TEXT_PLACES, TextPlace::Right);
        let text_size = self.text_size.unwrap_or(9.0);
        if !(4.0..=72.0).contains(&text_size) {
            faults.add("appearance.text_size", "invalid_value", "must be from 4 to 72 points");
        }
        let filled = |line: &String| {
            line.replace("{stamp_id}", setting.id).replace("{check_code}", setting.check_code)
        };
        let text = self.text.iter().map(filled).collect();
        let look =
            Look { picture, text_place: text_place.unwrap_or_default(), text_size, ..Look::of_text(text) };
        let places = places(&self.places, faults, "appearance.places", setting.seal.map(size));
        let beside = self.qr.as_ref().and_then(|Object(code)| code.check(faults, setting));
        Seen { look: has_look.then_some(look), places, beside: beside.into_iter().collect() }
    }

    /// What a template says goes in; what both say is at fault.
    pub(super) fn filled(&mut self, template: &Self, faults: &mut Faults) {
        let Self { picture, text, text_place, text_size, places, qr } = template;
        fill(faults, "appearance.picture", &mut self.picture, picture.as_ref());
        fill(faults, "appearance.text_place", &mut self.text_place, text_place.as_ref());
        fill(faults, "appearance.text_size", &mut self.text_size, text_size.as_ref());
        fill(faults, "appearance.qr", &mut self.qr, qr.as_ref());
        fill_list(faults, "appearance.text", &mut self.text, text);
        fill_list(faults, "appearance.places", &mut self.places, places);
    }

    /// As it is seen in an OFD package: the seal, text and the QR code.
    pub(super) fn of_ofd(&self, faults: &mut Faults, setting: &Setting<'_>) -> Seen {
        if self.picture.is_some() {
            let detail = "in an OFD package the seal's picture is seen and no other";
            faults.add("appearance.picture", "not_applicable", detail);
        }
        let without = Self { picture: None, ..self.clone() };
        without.check(faults, setting)
    }

    fn picture(&self, faults: &mut Faults, seal: Option<&RegisteredSeal>) -> Option<Picture> {
        if seal.is_some() && self.picture.is_some() {
            faults.add("appearance.picture", "not_applicable", "the seal has its own");
            return None;
        }
        let octets = match (seal, &self.picture) {
            (Some(seal), _) => return picture_of(faults, seal),
            (None, Some(text)) => STANDARD.decode(text),
            (None, None) => return None,
        };
        let octets = octets.map_err(|_| "must be padded standard base64".to_owned());
        let picture = octets.and_then(|octets| Picture::new(octets).map_err(|error| error.to_string()));
        faults.parse("appearance.picture", "picture_unusable", picture)
    }
}

impl CodeBody {
    fn check(&self, faults: &mut Faults, setting: &Setting<'_>) -> Option<(Look, Vec<Place>)> {
        let path = "appearance.qr.places";
        for (at, _) in self.places.iter().enumerate().filter(|(_, Object(place))| place.is_seam()) {
            faults.add(&format!("{path}[{at}].kind"), "not_applicable", "a QR code in strips is none");
        }
        if self.places.is_empty() {
            faults.add(path, "missing_field", "one place is needed at least");
        }
        let places = places(&self.places, faults, path, Some((CODE, CODE)));
        let Some(page) = setting.check_page else {
            let detail = "the site has no address that people reach (server.public_url)";
            faults.add("appearance.qr", "public_url_missing", detail);
            return None;
        };
        let picture = faults.parse("appearance.qr", "invalid_value", Picture::code(page))?;
        Some((Look::of_picture(picture), places))
    }
}

/// The picture of a seal.
pub(super) fn picture_of(faults: &mut Faults, seal: &RegisteredSeal) -> Option<Picture> {
    faults.parse("seal", "picture_unusable", seal_picture(seal))
}

/// A seal's picture as documents show it: areas and lines where it was made of them.
///
/// # Errors
/// The register holds what cannot be shown.
pub(crate) fn seal_picture(seal: &RegisteredSeal) -> Result<Picture, String> {
    let picture = seal.picture();
    match &seal.svg {
        Some(svg) => Vector::read(svg.clone(), picture.width, picture.height)
            .map(Picture::vector)
            .map_err(|error| error.to_string()),
        None => Picture::new(picture.octets.clone()).map_err(|error| error.to_string()),
    }
}

/// A seal's size on paper, in millimetres.
fn size(seal: &RegisteredSeal) -> (f32, f32) {
    let picture = seal.picture();
    (picture.width as f32, picture.height as f32) // at most 200
}

fn places(
    told: &[Object<PlaceBody>],
    faults: &mut Faults,
    path: &str,
    usual: Option<(f32, f32)>,
) -> Vec<Place> {
    if told.len() > MOST_PLACES {
        faults.add(path, "invalid_value", format!("must be {MOST_PLACES} at most"));
    }
    let told = told.iter().take(MOST_PLACES).enumerate();
    told.filter_map(|(at, Object(place))| place.check(faults, &format!("{path}[{at}]"), usual)).collect()
}
