//! What a signature looks like: a picture, text, or both, drawn by krilla as a page of its own and taken over into the
//! document as a form XObject, fonts cut down to what is used.

use std::collections::HashMap;

use krilla::Document;
use krilla::SerializeSettings;
use krilla::geom::{Size, Transform};
use krilla::image::Image;
use krilla::page::PageSettings;
use lopdf::{Dictionary, Object, ObjectId, Stream, dictionary};
use time::OffsetDateTime;
use time::macros::format_description;

use super::error::SignError;
use super::page::MM_PER_POINT;
use super::update::Update;
use crate::font::Font;
use crate::qr::QrCode;
use crate::report::layout::{BLACK, Ink, Line, Mark, Sheet, Style};
use crate::report::pdf::{draw, fill};
use crate::seal::Vector;
use crate::words::{Language, Words};

/// Octets of a picture, and its dots: a seal of 60 mm in 1,200 dots an inch has 8 million.
const MAX_PICTURE: usize = 8 << 20;
const MAX_DOTS: u64 = 16 << 20;
const MAX_TEXT: usize = 1_000;
/// Between picture and text and around text, in points.
const MARGIN: f32 = 2.0;
/// Text smaller than this is not shown but refused, in points.
const LEAST_SIZE: f32 = 3.0;
const WHITE: Ink = Ink(0xFF, 0xFF, 0xFF);

/// A picture of the kinds that are taken: PNG, whose transparency stays, and JPEG; the areas and lines of a seal; or a QR
/// code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture(Drawing);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Drawing {
    Image(Image),
    Vector(Vector),
    Code(QrCode),
}

impl Picture {
    /// Reads what must be known before it is drawn.
    ///
    /// # Errors
    /// [`SignError::Appearance`] for other kinds, damaged ones, and those of more than 8 MiB or 16 million dots.
    pub fn new(octets: Vec<u8>) -> Result<Self, SignError> {
        let wrong = |why: &str| SignError::Appearance(why.to_owned());
        if octets.len() > MAX_PICTURE {
            return Err(wrong("the picture has more than 8 MiB"));
        }
        let image = if octets.starts_with(b"\x89PNG\r\n\x1a\n") {
            Image::from_png(octets.into(), true)
        } else if octets.starts_with(&[0xFF, 0xD8, 0xFF]) {
            Image::from_jpeg(octets.into(), true)
        } else {
            return Err(wrong("the picture is neither PNG nor JPEG"));
        };
        let image = image.map_err(|_| wrong("the picture is damaged"))?;
        let (width, height) = image.size();
        if u64::from(width) * u64::from(height) > MAX_DOTS || width == 0 || height == 0 {
            return Err(wrong("the picture has more than 16 million dots, or none"));
        }
        Ok(Self(Drawing::Image(image)))
    }

    /// The QR code of a text, drawn as areas, black on white with the margin that scanners need.
    ///
    /// # Errors
    /// [`SignError::Appearance`] for a text that is too long for one.
    pub fn code(text: &str) -> Result<Self, SignError> {
        let code = QrCode::of(text)
            .ok_or_else(|| SignError::Appearance("the QR code's text is too long".to_owned()));
        code.map(|code| Self(Drawing::Code(code)))
    }

    /// A seal's picture as areas and lines.
    #[must_use]
    pub fn vector(vector: Vector) -> Self {
        Self(Drawing::Vector(vector))
    }

    /// Width and height in dots, millimetres or cells.
    fn size(&self) -> (u32, u32) {
        match &self.0 {
            Drawing::Image(image) => image.size(),
            Drawing::Vector(vector) => vector.size(),
            Drawing::Code(code) => {
                let side = (code.side() + 2 * QrCode::QUIET) as u32; // at most 185
                (side, side)
            }
        }
    }
}

/// A look in its place, before it is drawn. In points, from the upper left corner.
#[derive(Default)]
pub(crate) struct Arranged {
    /// Where a picture goes: left, top, width, height.
    pub(crate) picture: Option<[f32; 4]>,
    /// A QR code: areas and what they are filled with.
    pub(crate) code: Vec<(Vec<[f32; 4]>, Ink)>,
    /// The text.
    pub(crate) marks: Vec<Mark>,
}

/// Where the text stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextPlace {
    /// Right of the picture, with half of the width.
    #[default]
    Right,
    /// Under the picture, with as much height as its lines need.
    Below,
    /// Over the picture.
    Over,
}

/// What a signature looks like. It is drawn as large as its place is.
#[derive(Clone, Debug)]
pub struct Look {
    /// Drawn as large as fits, not distorted, in the middle.
    pub picture: Option<Picture>,
    /// Each a paragraph; broken where it is too long.
    pub text: Vec<String>,
    /// Where the text stands if there is a picture.
    pub text_place: TextPlace,
    /// The size of the text in points; smaller where it would not fit.
    pub text_size: f32,
    /// What the text is set in.
    pub font: Font,
}

impl Look {
    /// A picture alone, as seals are.
    pub fn of_picture(picture: Picture) -> Self {
        Self { picture: Some(picture), ..Self::of_text(Vec::new()) }
    }

    /// Text alone.
    pub fn of_text(text: Vec<String>) -> Self {
        let font = Font::built_in().clone();
        Self { picture: None, text, text_place: TextPlace::default(), text_size: 9.0, font }
    }
}

/// The usual lines: who, when, why, where. Each stands only where it is known.
#[derive(Clone, Debug, Default)]
pub struct Caption {
    /// Who signs.
    pub signer: Option<String>,
    /// When, in the offset that is to be shown.
    pub time: Option<OffsetDateTime>,
    /// Why.
    pub reason: Option<String>,
    /// Where.
    pub location: Option<String>,
}

impl Caption {
    /// The lines in a language.
    pub fn lines(&self, language: Language) -> Vec<String> {
        let time = self.time.map(|time| {
            let shape = format_description!(
                "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory]:[offset_minute]"
            );
            time.format(shape).unwrap_or_default()
        });
        let rows = [
            (Words::new("签名人：", "Signed by: "), &self.signer),
            (Words::new("签名时间：", "Time: "), &time),
            (Words::new("签名原因：", "Reason: "), &self.reason),
            (Words::new("签名地点：", "Location: "), &self.location),
        ];
        let said = |(label, value): (Words, &Option<String>)| {
            value.as_ref().map(|value| format!("{}{value}", label.said_in(language)))
        };
        rows.into_iter().filter_map(said).collect()
    }
}

/// A drawn look, which several widgets show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    pub(super) id: ObjectId,
    /// In points.
    pub(super) size: (f32, f32),
}

/// Draws each size once.
pub(super) struct Painter<'l> {
    look: &'l Look,
    drawn: HashMap<(u32, u32), Drawn>,
}

impl<'l> Painter<'l> {
    pub(super) fn new(look: &'l Look) -> Self {
        Self { look, drawn: HashMap::new() }
    }

    /// The look in a size of millimetres.
    pub(super) fn draw(&mut self, update: &mut Update, size: (f32, f32)) -> Result<Drawn, SignError> {
        let size = (size.0 / MM_PER_POINT, size.1 / MM_PER_POINT);
        let key = (size.0.to_bits(), size.1.to_bits());
        if let Some(drawn) = self.drawn.get(&key) {
            return Ok(*drawn);
        }
        let page = paint(self.look, size)?;
        let drawn = Drawn { id: take_over(&page, size, update)?, size };
        self.drawn.insert(key, drawn);
        Ok(drawn)
    }
}

/// The appearance of one widget: the part of the look from `from` (points, from the upper left corner) of `size`, upright
/// on a page that is turned clockwise.
pub(super) fn window(
    update: &mut Update,
    drawn: Drawn,
    from: (f32, f32),
    size: (f32, f32),
    turns: u8,
) -> ObjectId {
    let [cos, sin]: [i64; 2] = match turns {
        0 => [1, 0],
        1 => [0, 1],
        2 => [-1, 0],
        _ => [0, -1],
    };
    let matrix: [i64; 6] = [cos, sin, -sin, cos, 0, 0];
    let up = drawn.size.1 - from.1 - size.1;
    let content = format!("q 1 0 0 1 {:.4} {:.4} cm /Look Do Q", -from.0, -up);
    let form = dictionary! {
        "Type" => "XObject",
        "Subtype" => "Form",
        "BBox" => vec![0.into(), 0.into(), Object::Real(size.0), Object::Real(size.1)],
        "Matrix" => matrix.map(Object::from).to_vec(),
        "Resources" => dictionary! { "XObject" => dictionary! { "Look" => drawn.id } },
    };
    update.add(Stream::new(form, content.into_bytes()))
}

impl Look {
    /// Where its parts go in a size of points.
    ///
    /// # Errors
    /// [`SignError::Appearance`] for text that does not fit, or nothing to be seen.
    pub(crate) fn arranged(&self, (width, height): (f32, f32)) -> Result<Arranged, SignError> {
        let wrong = |why: &str| SignError::Appearance(why.to_owned());
        if self.picture.is_none() && self.text.iter().all(|line| line.trim().is_empty()) {
            return Err(wrong("there is neither a picture nor text"));
        }
        if self.text.iter().map(|line| line.chars().count()).sum::<usize>() > MAX_TEXT {
            return Err(wrong("the text has more than 1,000 characters"));
        }
        if !self.text_size.is_finite() {
            return Err(wrong("the size of the text is not a number"));
        }
        let shapes = self.font.shapes();
        let mut sheet = Sheet::new(&shapes, 1);
        let has_text = self.text.iter().any(|line| !line.trim().is_empty());
        let picture = self.picture.as_ref();
        let text_width = match (picture, self.text_place) {
            (Some(_), TextPlace::Right) => width / 2.0,
            _ => width,
        };
        let mut picture_area = (width, height);
        if has_text {
            let lines = fitted(&sheet, self, (text_width - 2.0 * MARGIN, height - 2.0 * MARGIN))
                .ok_or_else(|| wrong("the text does not fit its place"))?;
            let text_height: f32 = lines.iter().map(Line::leading).sum();
            let mut top = (height - text_height) / 2.0;
            let mut left = MARGIN;
            match (picture, self.text_place) {
                (Some(_), TextPlace::Right) => {
                    left += width / 2.0;
                    picture_area.0 = width / 2.0;
                }
                (Some(_), TextPlace::Below) => {
                    top = height - text_height - MARGIN;
                    picture_area.1 = top - MARGIN;
                    if picture_area.1 < height / 4.0 {
                        return Err(wrong("the text leaves no room for the picture"));
                    }
                }
                _ => {}
            }
            for line in &lines {
                sheet.put_at(left, top, line);
                top += line.leading();
            }
        }
        let mut arranged = Arranged::default();
        if let Some(picture) = picture {
            let (across, down) = picture.size();
            let scale = (picture_area.0 / across as f32).min(picture_area.1 / down as f32);
            let (wide, high) = (across as f32 * scale, down as f32 * scale);
            let (left, top) = ((picture_area.0 - wide) / 2.0, (picture_area.1 - high) / 2.0);
            match &picture.0 {
                Drawing::Image(_) | Drawing::Vector(_) => arranged.picture = Some([left, top, wide, high]),
                Drawing::Code(code) => arranged.code = code_areas(code, [left, top, wide, high]),
            }
        }
        arranged.marks = sheet.finish().into_iter().flatten().collect();
        Ok(arranged)
    }
}

/// The dark areas of a code on a white one, with the margin that scanners need.
fn code_areas(code: &QrCode, [left, top, width, height]: [f32; 4]) -> Vec<(Vec<[f32; 4]>, Ink)> {
    let cell = width / (code.side() + 2 * QrCode::QUIET) as f32;
    let quiet = cell * QrCode::QUIET as f32;
    let dark = code.areas(left + quiet, top + quiet, cell).collect();
    vec![(vec![[left, top, width, height]], WHITE), (dark, BLACK)]
}

/// One page of the size, in points.
fn paint(look: &Look, (width, height): (f32, f32)) -> Result<Vec<u8>, SignError> {
    let wrong = |why: &str| SignError::Appearance(why.to_owned());
    let arranged = look.arranged((width, height))?;
    let settings = SerializeSettings { xmp_metadata: false, ..SerializeSettings::default() };
    let mut document = Document::new_with(settings);
    let page = PageSettings::from_wh(width, height).ok_or_else(|| wrong("the place is empty"))?;
    let mut page = document.start_page_with(page);
    let mut surface = page.surface();
    match (arranged.picture, &look.picture) {
        (Some([left, top, wide, high]), Some(Picture(Drawing::Image(image)))) => {
            let size = Size::from_wh(wide, high).ok_or_else(|| wrong("the place is empty"))?;
            surface.push_transform(&Transform::from_translate(left, top));
            surface.draw_image(image.clone(), size);
            surface.pop();
        }
        (Some(area), Some(Picture(Drawing::Vector(vector)))) => vector.draw(&mut surface, area),
        _ => {}
    }
    for (areas, ink) in arranged.code {
        fill(&mut surface, ink, areas.into_iter());
    }
    for mark in &arranged.marks {
        draw(&mut surface, &look.font, mark).map_err(SignError::Appearance)?;
    }
    surface.finish();
    page.finish();
    document.finish().map_err(|error| SignError::Appearance(format!("{error:?}")))
}

/// The text in lines, in the largest size up to the wanted one that fits.
fn fitted(sheet: &Sheet<'_>, look: &Look, (width, height): (f32, f32)) -> Option<Vec<Line>> {
    let mut size = look.text_size.clamp(LEAST_SIZE, 144.0);
    loop {
        let style = Style::new(size, BLACK);
        let lines: Vec<Line> = look.text.iter().flat_map(|line| sheet.lines(line, style, width)).collect();
        let fits = lines.iter().map(Line::leading).sum::<f32>() <= height
            && lines.iter().all(|line| line.width() <= width + size);
        if fits && width > size {
            return Some(lines);
        }
        size -= 0.5;
        if size < LEAST_SIZE {
            return None;
        }
    }
}

/// The one page of a document as a form XObject, with everything it refers to.
fn take_over(page: &[u8], size: (f32, f32), update: &mut Update) -> Result<ObjectId, SignError> {
    let document = lopdf::Document::load_mem(page)?;
    let wrong = || SignError::Appearance("what was drawn cannot be read".to_owned());
    let page = document.page_iter().next().ok_or_else(wrong)?;
    let content = document.get_page_contents(page).first().copied().ok_or_else(wrong)?;
    let page = document.get_dictionary(page)?;
    let mut form = document.get_object(content)?.as_stream()?.clone();
    let mut taken = HashMap::new();
    let mut dictionary = dictionary! {
        "Type" => "XObject",
        "Subtype" => "Form",
        "BBox" => vec![0.into(), 0.into(), Object::Real(size.0), Object::Real(size.1)],
    };
    for key in [b"Resources".as_slice(), b"Group"] {
        if let Ok(value) = page.get(key) {
            dictionary.set(key, renumbered(&document, value, update, &mut taken)?);
        }
    }
    for key in [b"Filter".as_slice(), b"DecodeParms"] {
        if let Ok(value) = form.dict.get(key) {
            dictionary.set(key, value.clone());
        }
    }
    dictionary.set("Length", form.content.len() as i64);
    form.dict = dictionary;
    Ok(update.add(form))
}

/// A value of `document` with its references led to copies in the update. krilla's values are finite and shallow.
fn renumbered(
    document: &lopdf::Document,
    value: &Object,
    update: &mut Update,
    taken: &mut HashMap<ObjectId, ObjectId>,
) -> Result<Object, SignError> {
    Ok(match value {
        Object::Reference(id) => {
            if let Some(new) = taken.get(id) {
                return Ok((*new).into());
            }
            let new = update.reserve();
            taken.insert(*id, new);
            let object = renumbered(document, document.get_object(*id)?, update, taken)?;
            update.put(new, object);
            new.into()
        }
        Object::Array(items) => {
            let items = items.iter().map(|item| renumbered(document, item, update, taken));
            Object::Array(items.collect::<Result<_, _>>()?)
        }
        Object::Dictionary(dictionary) => renumbered_entries(document, dictionary, update, taken)?.into(),
        Object::Stream(stream) => {
            let mut stream = stream.clone();
            stream.dict = renumbered_entries(document, &stream.dict, update, taken)?;
            stream.into()
        }
        plain => plain.clone(),
    })
}

fn renumbered_entries(
    document: &lopdf::Document,
    dictionary: &Dictionary,
    update: &mut Update,
    taken: &mut HashMap<ObjectId, ObjectId>,
) -> Result<Dictionary, SignError> {
    let mut new = Dictionary::new();
    for (key, value) in dictionary {
        new.set(key.clone(), renumbered(document, value, update, taken)?);
    }
    Ok(new)
}
