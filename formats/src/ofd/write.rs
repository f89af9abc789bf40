//! Writing a package from pages that were set: text with the part of the font that it needs, areas, pictures.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::document::Rect;
use super::error::OfdError;
use super::xml::{NAMESPACE, escape};
use crate::edition::Attachment;
use crate::font::{CutFace, Font};
use crate::report::layout::{Ink, Mark, Run};
use crate::scheme::HashAlgorithm;

/// Millimetres in a point.
const MILLIMETRES: f64 = 25.4 / 72.0;

/// What pages become a package of.
pub(crate) struct Written<'a> {
    pub(crate) font: &'a Font,
    pub(crate) title: &'a str,
    pub(crate) made_at: OffsetDateTime,
    /// Width and height of each page, in points.
    pub(crate) page: (f32, f32),
    pub(crate) pages: &'a [Vec<Mark>],
    pub(crate) attachments: &'a [Attachment],
}

/// Numbers of objects and resources, each once in a document.
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 += 1;
        self.0
    }
}

/// Fonts and pictures that pages have in common.
struct Resources {
    fonts: BTreeMap<usize, (u32, CutFace)>,
    /// By digest: the number and the octets.
    pictures: HashMap<Vec<u8>, (u32, Vec<u8>)>,
    order: Vec<Vec<u8>>,
}

/// The package. The same pages and time make the same octets.
pub(crate) fn write(written: &Written<'_>) -> Result<Vec<u8>, OfdError> {
    let mut numbers = Numbers(0);
    let mut resources = Resources::of(written, &mut numbers)?;
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    let (width, height) = (millimetres(written.page.0), millimetres(written.page.1));
    let area = format!("<ofd:PhysicalBox>0 0 {width} {height}</ofd:PhysicalBox>");
    let mut list = String::new();
    for (place, marks) in written.pages.iter().enumerate() {
        let (id, layer) = (numbers.next(), numbers.next());
        let _ = write!(list, "<ofd:Page ID=\"{id}\" BaseLoc=\"Pages/Page_{place}/Content.xml\"/>"); // a String takes everything
        let mut content = String::new();
        for mark in marks {
            match mark {
                Mark::Run(run) => text(run, &resources, &mut numbers, &mut content),
                Mark::Fill(area, ink) => fill(*area, *ink, &mut numbers, &mut content),
                Mark::Picture(area, octets) => picture(*area, octets, &resources, &mut numbers, &mut content),
            }
        }
        let page = format!(
            "<ofd:Page xmlns:ofd=\"{NAMESPACE}\"><ofd:Area>{area}</ofd:Area><ofd:Content><ofd:Layer ID=\"{layer}\" \
             Type=\"Body\">{content}</ofd:Layer></ofd:Content></ofd:Page>"
        );
        parts.push((format!("Doc_0/Pages/Page_{place}/Content.xml"), declared(&page)));
    }
    let attached = attachments(written.attachments, &mut numbers, &mut parts);
    let document = format!(
        "<ofd:Document xmlns:ofd=\"{NAMESPACE}\"><ofd:CommonData><ofd:MaxUnitID>{}</ofd:MaxUnitID><ofd:PageArea>{area}\
         </ofd:PageArea><ofd:PublicRes>PublicRes.xml</ofd:PublicRes><ofd:DocumentRes>DocumentRes.xml</ofd:DocumentRes>\
         </ofd:CommonData><ofd:Pages>{list}</ofd:Pages>{attached}</ofd:Document>",
        numbers.0
    );
    resources.write(&mut parts);
    let mut whole = vec![
        ("OFD.xml".to_owned(), declared(&root(written)?)),
        ("Doc_0/Document.xml".to_owned(), declared(&document)),
    ];
    whole.append(&mut parts);
    pack(&whole).map_err(|error| OfdError::Package(error.to_string()))
}

/// The list of attachments (GB/T 33190, 20) and what the document says of it.
fn attachments(
    attachments: &[Attachment],
    numbers: &mut Numbers,
    parts: &mut Vec<(String, Vec<u8>)>,
) -> &'static str {
    if attachments.is_empty() {
        return "";
    }
    let mut list = String::new();
    for Attachment { name, octets, .. } in attachments {
        let format = name.rsplit('.').next().unwrap_or_default();
        let _ = write!(
            list,
            "<ofd:Attachment ID=\"{}\" Name=\"{name}\" Format=\"{format}\" Size=\"{}\" Visible=\"true\">\
             <ofd:FileLoc>{name}</ofd:FileLoc></ofd:Attachment>",
            numbers.next(),
            octets.len().div_ceil(1024), // in KiB
        ); // a String takes everything
        parts.push((format!("Doc_0/Attachs/{name}"), octets.clone()));
    }
    let list = format!("<ofd:Attachments xmlns:ofd=\"{NAMESPACE}\">{list}</ofd:Attachments>");
    parts.push(("Doc_0/Attachs/Attachments.xml".to_owned(), declared(&list)));
    "<ofd:Attachments>Attachs/Attachments.xml</ofd:Attachments>"
}

fn root(written: &Written<'_>) -> Result<String, OfdError> {
    let date = written
        .made_at
        .to_offset(UtcOffset::UTC)
        .format(format_description!("[year]-[month]-[day]"))
        .map_err(|_| OfdError::Plan("the time cannot be written".to_owned()))?;
    let seed = format!("{}{}{}", written.title, written.made_at.unix_timestamp_nanos(), written.pages.len());
    let id = hex::encode(&HashAlgorithm::Sm3.digest(seed.as_bytes())[..16]);
    Ok(format!(
        "<ofd:OFD xmlns:ofd=\"{NAMESPACE}\" Version=\"1.1\" DocType=\"OFD\"><ofd:DocBody><ofd:DocInfo>\
         <ofd:DocID>{id}</ofd:DocID><ofd:Title>{}</ofd:Title><ofd:CreationDate>{date}</ofd:CreationDate>\
         <ofd:Creator>license-gateway</ofd:Creator><ofd:CreatorVersion>{}</ofd:CreatorVersion></ofd:DocInfo>\
         <ofd:DocRoot>Doc_0/Document.xml</ofd:DocRoot></ofd:DocBody></ofd:OFD>",
        escape(written.title),
        env!("CARGO_PKG_VERSION"),
    ))
}

impl Resources {
    fn of(written: &Written<'_>, numbers: &mut Numbers) -> Result<Self, OfdError> {
        let mut used: BTreeMap<usize, BTreeMap<char, u32>> = BTreeMap::new();
        let (mut pictures, mut order) = (HashMap::new(), Vec::new());
        for mark in written.pages.iter().flatten() {
            match mark {
                Mark::Run(run) => {
                    for (shape, range) in &run.shapes {
                        let face = used.entry(shape.face()).or_default();
                        face.extend(
                            run.text[range.clone()].chars().map(|character| (character, shape.glyph)),
                        );
                    }
                }
                Mark::Picture(_, octets) => {
                    let digest = HashAlgorithm::Sm3.digest(octets);
                    pictures.entry(digest.clone()).or_insert_with(|| {
                        order.push(digest);
                        (numbers.next(), octets.to_vec())
                    });
                }
                Mark::Fill(..) => {}
            }
        }
        let mut fonts = BTreeMap::new();
        for (face, characters) in used {
            let cut = written.font.cut(face, &characters);
            let cut = cut.ok_or_else(|| OfdError::Plan("the font cannot be cut down".to_owned()))?;
            fonts.insert(face, (numbers.next(), cut));
        }
        Ok(Self { fonts, pictures, order })
    }

    fn write(&mut self, parts: &mut Vec<(String, Vec<u8>)>) {
        let (mut fonts, mut pictures) = (String::new(), String::new());
        for (face, (id, cut)) in &mut self.fonts {
            let _ = write!(
                fonts,
                "<ofd:Font ID=\"{id}\" FontName=\"{name}\" FamilyName=\"{name}\"><ofd:FontFile>font_{face}.otf\
                 </ofd:FontFile></ofd:Font>",
                name = escape(&cut.name)
            ); // a String takes everything
            parts.push((format!("Doc_0/Res/font_{face}.otf"), std::mem::take(&mut cut.octets)));
        }
        for digest in &self.order {
            let Some((id, octets)) = self.pictures.remove(digest) else { continue };
            let _ = write!(
                pictures,
                "<ofd:MultiMedia ID=\"{id}\" Type=\"Image\" Format=\"PNG\"><ofd:MediaFile>image_{id}.png\
                 </ofd:MediaFile></ofd:MultiMedia>"
            ); // a String takes everything
            parts.push((format!("Doc_0/Res/image_{id}.png"), octets));
        }
        let list = |kind: &str, entries: &str| {
            let entries = match entries {
                "" => String::new(),
                entries => format!("<ofd:{kind}>{entries}</ofd:{kind}>"),
            };
            declared(&format!("<ofd:Res xmlns:ofd=\"{NAMESPACE}\" BaseLoc=\"Res\">{entries}</ofd:Res>"))
        };
        parts.push(("Doc_0/PublicRes.xml".to_owned(), list("Fonts", &fonts)));
        parts.push(("Doc_0/DocumentRes.xml".to_owned(), list("MultiMedias", &pictures)));
    }
}

fn text(run: &Run, resources: &Resources, numbers: &mut Numbers, content: &mut String) {
    let Some((first, _)) = run.shapes.first() else { return };
    let Some((font, _)) = resources.fonts.get(&first.face()) else { return };
    let size = f64::from(run.size) * MILLIMETRES;
    let widths: Vec<f64> = run.shapes.iter().map(|(shape, _)| f64::from(shape.width) * size).collect();
    // The box has room for what reaches above and below the line.
    let boundary = Rect {
        x: millimetres(run.left),
        y: rounded(f64::from(run.base) * MILLIMETRES - size),
        width: rounded(widths.iter().sum::<f64>()),
        height: rounded(size * 1.3),
    };
    let deltas: Vec<String> =
        widths[..widths.len() - 1].iter().map(|width| rounded(*width).to_string()).collect();
    let deltas = match deltas.is_empty() {
        true => String::new(),
        false => format!(" DeltaX=\"{}\"", deltas.join(" ")),
    };
    let _ = write!(
        content,
        "<ofd:TextObject ID=\"{}\" Boundary=\"{boundary}\" Font=\"{font}\" Size=\"{}\">{}<ofd:TextCode X=\"0\" \
         Y=\"{}\"{deltas}>{}</ofd:TextCode></ofd:TextObject>",
        numbers.next(),
        rounded(size),
        colour(run.ink),
        rounded(size),
        escape(&run.text),
    ); // a String takes everything
}

fn fill([left, top, width, height]: [f32; 4], ink: Ink, numbers: &mut Numbers, content: &mut String) {
    let (width, height) = (millimetres(width), millimetres(height));
    let boundary = Rect { x: millimetres(left), y: millimetres(top), width, height };
    let _ = write!(
        content,
        "<ofd:PathObject ID=\"{}\" Boundary=\"{boundary}\" Stroke=\"false\" Fill=\"true\">{}<ofd:AbbreviatedData>M 0 0 L \
         {width} 0 L {width} {height} L 0 {height} C</ofd:AbbreviatedData></ofd:PathObject>",
        numbers.next(),
        colour(ink),
    ); // a String takes everything
}

fn picture(
    [left, top, width, height]: [f32; 4],
    octets: &[u8],
    resources: &Resources,
    numbers: &mut Numbers,
    content: &mut String,
) {
    let Some((resource, _)) = resources.pictures.get(&HashAlgorithm::Sm3.digest(octets)) else { return };
    let (width, height) = (millimetres(width), millimetres(height));
    let boundary = Rect { x: millimetres(left), y: millimetres(top), width, height };
    let _ = write!(
        content,
        "<ofd:ImageObject ID=\"{}\" Boundary=\"{boundary}\" CTM=\"{width} 0 0 {height} 0 0\" ResourceID=\"{resource}\"/>",
        numbers.next(),
    ); // a String takes everything
}

fn colour(Ink(red, green, blue): Ink) -> String {
    format!("<ofd:FillColor Value=\"{red} {green} {blue}\"/>")
}

fn millimetres(points: f32) -> f64 {
    rounded(f64::from(points) * MILLIMETRES)
}

/// To a thousandth of a millimetre.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

fn declared(xml: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{xml}").into_bytes()
}

fn pack(parts: &[(String, Vec<u8>)]) -> zip::result::ZipResult<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, octets) in parts {
        writer.start_file(name, options)?;
        writer.write_all(octets)?;
    }
    Ok(writer.finish()?.into_inner())
}
