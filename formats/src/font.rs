//! The font that documents are set in. One is built in: Noto Sans CJK SC, cut down to GB 2312, ASCII and the Latin of
//! Europe (`fonts/make.sh` makes it). A site with rarer characters gives a fuller one.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use skrifa::charmap::Charmap;
use skrifa::instance::{LocationRef, Size};
use skrifa::metrics::GlyphMetrics;
use skrifa::outline::{DrawSettings, OutlinePen};
use skrifa::string::StringId;
use skrifa::{FontRef, GlyphId, MetadataProvider, Tag};
use subsetter::GlyphRemapper;
use thiserror::Error;
use write_fonts::FontBuilder;
use write_fonts::tables::cmap::Cmap;

static BUILT_IN: &[u8] = include_bytes!("../fonts/NotoSansSC-GB2312.otf");

/// What every face must show, so that nothing a report says of itself is missing.
const SAMPLE: &str = "验证报告 Verification report 0123456789 〖U+20BB7〗";

/// A font: what has no shape in its first face is looked for in the next. Clones share the octets.
#[derive(Clone)]
pub struct Font {
    faces: Arc<[Face]>,
}

struct Face {
    octets: krilla::Data,
    place: u32,
    krilla: krilla::text::Font,
}

/// A font that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FontError {
    /// Neither OpenType nor a collection with so many faces, or without outlines.
    #[error("it is no OpenType font, or has no face number {0}")]
    Unreadable(u32),
    /// Its licence bits forbid it (OS/2 fsType), or it cannot be cut down.
    #[error("it may not or cannot be embedded in documents")]
    NotEmbeddable,
    /// It lacks what a report is written with.
    #[error("it lacks the character {0:?}, which reports are written with")]
    Lacks(char),
}

impl Font {
    /// The one that is built in.
    pub fn built_in() -> &'static Self {
        static FONT: LazyLock<Font> = LazyLock::new(|| {
            let face = Face::new(BUILT_IN.into(), 0).expect("the font in the tree was tested");
            Font { faces: Arc::new([face]) }
        });
        &FONT
    }

    /// A font of the site's own (OpenType with TrueType or CFF outlines, or a collection of such), with the built-in one
    /// behind it. `place` is the face's in a collection, 0 otherwise.
    ///
    /// # Errors
    /// It is none, it may not be embedded, or it lacks characters that every report has.
    pub fn of_site(octets: Vec<u8>, place: u32) -> Result<Self, FontError> {
        let first = Face::new(octets.into(), place).ok_or(FontError::Unreadable(place))?;
        let alone = Self { faces: Arc::new([first.clone()]) };
        if let Some(missing) = SAMPLE.chars().find(|character| alone.shapes().shape(*character).is_none()) {
            return Err(FontError::Lacks(missing));
        }
        crate::report::try_font(&alone, SAMPLE).map_err(|_| FontError::NotEmbeddable)?;
        let behind = Self::built_in().faces.iter().cloned();
        Ok(Self { faces: [first].into_iter().chain(behind).collect() })
    }

    /// What is needed to set text.
    pub(crate) fn shapes(&self) -> Shapes<'_> {
        Shapes { faces: self.faces.iter().filter_map(FaceShapes::new).collect() }
    }

    /// Draws a glyph; in ems, upwards.
    pub(crate) fn outline(&self, shape: Shape, pen: &mut impl OutlinePen) {
        let face = &self.faces[shape.face];
        let Ok(font) = FontRef::from_index(face.octets.as_ref(), face.place) else { return };
        let Some(outline) = font.outline_glyphs().get(GlyphId::new(shape.glyph)) else { return };
        // What cannot be drawn stays blank.
        let _ = outline.draw(DrawSettings::unhinted(Size::new(1.0), LocationRef::default()), pen);
    }

    /// The part of a face that some characters need, with their glyphs: a font that finds them by character. None if it
    /// cannot be cut down.
    pub(crate) fn cut(&self, face: usize, characters: &BTreeMap<char, u32>) -> Option<CutFace> {
        let face = self.faces.get(face)?;
        let mut remapper = GlyphRemapper::new();
        let mut mappings = Vec::new();
        for (character, glyph) in characters {
            let new = remapper.remap(u16::try_from(*glyph).ok()?);
            mappings.push((*character, GlyphId::new(new.into())));
        }
        let cut = subsetter::subset(face.octets.as_ref(), face.place, &remapper).ok()?;
        let whole = FontRef::from_index(face.octets.as_ref(), face.place).ok()?;
        let name = whole.localized_strings(StringId::POSTSCRIPT_NAME).english_or_first();
        // subsetter leaves out what PDF has no use for; other readers want a character map and OS/2.
        let mut builder = FontBuilder::new();
        builder.add_table(&Cmap::from_mappings(mappings).ok()?).ok()?;
        if let Some(metrics) = whole.table_data(Tag::new(b"OS/2")) {
            builder.add_raw(Tag::new(b"OS/2"), metrics.as_bytes().to_vec());
        }
        builder.copy_missing_tables(FontRef::new(&cut).ok()?);
        let name = name.map_or_else(|| "Font".to_owned(), |name| name.chars().collect());
        Some(CutFace { name, octets: builder.build() })
    }

    /// The face that a [`Shape`] is of.
    pub(crate) fn face(&self, shape: Shape) -> &krilla::text::Font {
        &self.faces[shape.face].krilla
    }
}

impl std::fmt::Debug for Font {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Font({} faces)", self.faces.len())
    }
}

impl Face {
    fn new(octets: krilla::Data, place: u32) -> Option<Self> {
        let krilla = krilla::text::Font::new(octets.clone(), place)?;
        let face = Self { octets, place, krilla };
        FaceShapes::new(&face)?;
        Some(face)
    }
}

impl Clone for Face {
    fn clone(&self) -> Self {
        Self { octets: self.octets.clone(), place: self.place, krilla: self.krilla.clone() }
    }
}

/// A part of a face, for embedding.
pub(crate) struct CutFace {
    /// The face's PostScript name.
    pub(crate) name: String,
    /// OpenType.
    pub(crate) octets: Vec<u8>,
}

/// The characters of a font, by face.
pub(crate) struct Shapes<'f> {
    faces: Vec<FaceShapes<'f>>,
}

struct FaceShapes<'f> {
    characters: Charmap<'f>,
    metrics: GlyphMetrics<'f>,
    per_em: f32,
}

/// How a character looks and how wide it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    face: usize,
    /// The glyph in its face.
    pub(crate) glyph: u32,
    /// In ems; more than nothing.
    pub(crate) width: f32,
}

impl Shape {
    /// Which face of the font it is of.
    pub(crate) fn face(self) -> usize {
        self.face
    }

    /// Do both stand in one face?
    pub(crate) fn is_of_face_of(self, other: Self) -> bool {
        self.face == other.face
    }
}

impl Shapes<'_> {
    /// None for a character without a glyph, and for one without a width: it would be set over its neighbour.
    pub(crate) fn shape(&self, character: char) -> Option<Shape> {
        self.faces.iter().enumerate().find_map(|(face, shapes)| {
            let glyph = shapes.characters.map(character).filter(|glyph| glyph.to_u32() != 0)?;
            let width = shapes.metrics.advance_width(glyph)? / shapes.per_em;
            (width > 0.0).then_some(Shape { face, glyph: glyph.to_u32(), width })
        })
    }
}

impl<'f> FaceShapes<'f> {
    fn new(face: &'f Face) -> Option<Self> {
        let font = FontRef::from_index(face.octets.as_ref(), face.place).ok()?;
        let per_em = f32::from(font.metrics(Size::unscaled(), LocationRef::default()).units_per_em);
        let metrics = font.glyph_metrics(Size::unscaled(), LocationRef::default());
        (per_em > 0.0).then(|| Self { characters: font.charmap(), metrics, per_em })
    }
}
