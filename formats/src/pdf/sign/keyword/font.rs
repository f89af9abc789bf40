//! What a font's codes mean and how wide they are.

use std::collections::HashMap;

use encoding_rs::GB18030;
use lopdf::{Dictionary, Document, Encoding, Object, dictionary};

use crate::pdf::sign::source::Source;

const MAX_MAP: usize = 4 << 20;
const MAX_WIDTHS: usize = 200_000;

pub(super) struct Font {
    codes: Codes,
    meanings: Meanings,
    widths: HashMap<u32, f32>,
    /// Of what has no width of its own, in ems; by rule of thumb if the font does not say it.
    default: Option<f32>,
    pub(super) is_vertical: bool,
}

/// How a string is cut into codes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Codes {
    One,
    Two,
    /// GBK: two octets where the first is above 0x80.
    Mixed,
}

enum Meanings {
    /// By lopdf, where the encoding borrows nothing from the document.
    Known(Encoding<'static>),
    /// Of each code of a simple font.
    Table(Vec<String>),
    Gbk,
    Unknown,
}

impl Font {
    pub(super) fn of(source: &Source<'_>, font: &Dictionary) -> Self {
        let is_composite = source.name(font, b"Subtype") == Some(b"Type0");
        let encoding = source.name(font, b"Encoding").unwrap_or_default();
        let codes = match encoding {
            _ if !is_composite => Codes::One,
            _ if is_gbk(encoding) => Codes::Mixed,
            _ => Codes::Two,
        };
        let (widths, default) =
            if is_composite { composite_widths(source, font, encoding) } else { simple_widths(source, font) };
        let meanings = meanings(source, font, encoding, codes);
        Self { codes, meanings, widths, default, is_vertical: encoding.ends_with(b"-V") }
    }

    pub(super) fn codes<'a>(&self, octets: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let codes = self.codes;
        let mut rest = octets;
        std::iter::from_fn(move || {
            let length = match codes {
                Codes::One => 1,
                Codes::Two => 2,
                Codes::Mixed => 1 + usize::from(*rest.first()? > 0x80),
            };
            let (code, after) = rest.split_at(length.min(rest.len()));
            rest = after;
            (!code.is_empty()).then_some(code)
        })
    }

    pub(super) fn meaning(&self, code: &[u8]) -> String {
        let meaning = match &self.meanings {
            Meanings::Known(encoding) => encoding.bytes_to_string(code).unwrap_or_default(),
            Meanings::Table(table) => {
                code.first().and_then(|code| table.get(usize::from(*code))).cloned().unwrap_or_default()
            }
            Meanings::Gbk => GB18030.decode_without_bom_handling(code).0.into_owned(),
            Meanings::Unknown => String::new(),
        };
        // A code without a meaning still stands between others.
        if meaning.is_empty() { '\u{FFFD}'.to_string() } else { meaning }
    }

    /// In ems.
    pub(super) fn width(&self, code: &[u8]) -> f32 {
        let number = code.iter().fold(0, |number, octet| number << 8 | u32::from(*octet));
        if let Some(width) = self.widths.get(&number) {
            return *width;
        }
        self.default.unwrap_or_else(|| {
            let is_wide = self.meaning(code).chars().any(|character| character >= '\u{2E80}');
            if is_wide { 1.0 } else { 0.5 }
        })
    }
}

fn is_gbk(encoding: &[u8]) -> bool {
    [b"GBK".as_slice(), b"GB-", b"GBpc", b"GBT"].iter().any(|start| encoding.starts_with(start))
}

fn meanings(source: &Source<'_>, font: &Dictionary, encoding: &[u8], codes: Codes) -> Meanings {
    let mut document = Document::new();
    if let Some(map) = source.entry(font, b"ToUnicode") {
        // Without its encoding, so that lopdf takes the map, which says more.
        let map = document.add_object(map.clone());
        let bare = dictionary! { "Type" => "Font", "ToUnicode" => map };
        if let Ok(Encoding::UnicodeMapEncoding(map)) = bare.get_font_encoding_with_limit(&document, MAX_MAP) {
            return Meanings::Known(Encoding::UnicodeMapEncoding(map));
        }
    }
    match codes {
        Codes::Mixed => Meanings::Gbk,
        Codes::Two => match encoding {
            b"UniGB-UCS2-H" | b"UniGB-UCS2-V" => Meanings::Known(Encoding::SimpleEncoding(b"UniGB-UCS2-H")),
            b"UniGB-UTF16-H" | b"UniGB-UTF16-V" => {
                Meanings::Known(Encoding::SimpleEncoding(b"UniGB-UTF16-H"))
            }
            _ => Meanings::Unknown,
        },
        Codes::One => {
            let font = self_contained(source, font);
            let Ok(encoding) = font.get_font_encoding_with_limit(&document, MAX_MAP) else {
                return Meanings::Unknown;
            };
            let meaning = |code: u8| encoding.bytes_to_string(&[code]).unwrap_or_default();
            Meanings::Table((0..=255).map(meaning).collect())
        }
    }
}

/// The font's encoding without references.
fn self_contained(source: &Source<'_>, font: &Dictionary) -> Dictionary {
    let mut whole = dictionary! { "Type" => "Font" };
    if let Some(encoding) = source.entry(font, b"Encoding") {
        let mut encoding = encoding.clone();
        if let Object::Dictionary(dictionary) = &mut encoding {
            for key in [b"BaseEncoding".as_slice(), b"Differences"] {
                if let Some(value) = source.entry(&dictionary.clone(), key) {
                    dictionary.set(key, value.clone());
                }
            }
        }
        whole.set("Encoding", encoding);
    }
    whole
}

/// A code of two octets at most.
fn code(number: i64) -> Option<u32> {
    u16::try_from(number).ok().map(u32::from)
}

/// Widths of a simple font (ISO 32000-1, 9.6.2 and 9.6.5).
fn simple_widths(source: &Source<'_>, font: &Dictionary) -> (HashMap<u32, f32>, Option<f32>) {
    let is_type3 = source.name(font, b"Subtype") == Some(b"Type3");
    let matrix = source.array(font, b"FontMatrix").and_then(|matrix| matrix.first());
    let matrix = matrix.and_then(|scale| source.follow(scale).as_float().ok()).filter(|_| is_type3);
    let scale = matrix.unwrap_or(0.001);
    let first = source.integer(font, b"FirstChar").and_then(code).unwrap_or(0);
    let widths = source.array(font, b"Widths").unwrap_or_default();
    let widths = widths.iter().take(256).zip(first..);
    let widths =
        widths.filter_map(|(width, code)| Some((code, source.follow(width).as_float().ok()? * scale)));
    let descriptor = source.dictionary(font, b"FontDescriptor");
    let missing = descriptor.and_then(|descriptor| source.number(descriptor, b"MissingWidth"));
    let is_fixed = source.name(font, b"BaseFont").is_some_and(|name| name.starts_with(b"Courier"));
    let default = missing.map(|width| width * scale).or(is_fixed.then_some(0.6));
    (widths.collect(), default)
}

/// Widths of a composite font (ISO 32000-1, 9.7.4.3), by code where codes are the character's numbers.
fn composite_widths(
    source: &Source<'_>,
    font: &Dictionary,
    encoding: &[u8],
) -> (HashMap<u32, f32>, Option<f32>) {
    let mut widths = HashMap::new();
    if !encoding.starts_with(b"Identity") && !encoding.is_empty() {
        return (widths, None); // the numbers are Adobe's, which no code tells
    }
    let descendant = source.array(font, b"DescendantFonts").and_then(|fonts| fonts.first());
    let Some(descendant) = descendant.and_then(|font| source.follow(font).as_dict().ok()) else {
        return (widths, None);
    };
    let default = source.number(descendant, b"DW").unwrap_or(1000.0) / 1000.0;
    let mut items = source.array(descendant, b"W").unwrap_or_default().iter().map(|item| source.follow(item));
    while let (Some(first), Some(second)) = (items.next(), items.next()) {
        let Some(first) = first.as_i64().ok().and_then(code) else { break };
        if let Object::Array(list) = second {
            for (code, width) in (first..).zip(list) {
                if let Ok(width) = source.follow(width).as_float() {
                    widths.insert(code, width / 1000.0);
                }
            }
        } else {
            let last = second.as_i64().ok().and_then(code);
            let width = items.next().and_then(|width| width.as_float().ok());
            let (Some(last), Some(width)) = (last, width) else { break };
            widths.extend((first..=last).map(|code| (code, width / 1000.0)));
        }
        if widths.len() > MAX_WIDTHS {
            break;
        }
    }
    (widths, Some(default))
}
