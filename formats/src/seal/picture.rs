//! Pictures of seals that are to be made: what every reader shows alike.

use std::io::Cursor;

use thiserror::Error;

use super::structure::Picture;

/// Octets of a picture.
pub const MAX_PICTURE: usize = 256 << 10;
/// Its width and height on paper.
pub const MAX_MILLIMETRES: u32 = 200;
/// Its dots: 60 mm in 800 dots an inch are 4 million.
pub(super) const MAX_DOTS: u64 = 4 << 20;

/// Why a picture is not put into a seal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PictureError {
    /// Not PNG, or damaged.
    #[error("must be a whole PNG file")]
    NotPng,
    /// Not SVG, or damaged.
    #[error("must be a whole SVG file: {0}")]
    NotSvg(String),
    /// What an SVG file has and a seal's picture may not have.
    #[error(
        "has {0}, which the picture of a seal may not have: outlines filled and stroked in plain colours may stand in it"
    )]
    Refused(String),
    /// Drawing it would cost too much.
    #[error("has too many {0} for the picture of a seal")]
    TooComplex(&'static str),
    /// There is nothing to be seen.
    #[error("shows nothing")]
    Blank,
    /// More octets or dots than there may be.
    #[error("may have 256 KiB and 4 million dots at most")]
    TooLarge,
    /// No size that a seal on paper has.
    #[error("must be 1 to 200 mm wide and high")]
    Size,
}

impl Picture {
    /// A PNG picture of this width and height in millimetres. It is decoded to its end: what is damaged, and what only some
    /// readers show, does not go into a seal.
    ///
    /// # Errors
    /// [`PictureError`].
    pub fn png(octets: Vec<u8>, width: u32, height: u32) -> Result<Self, PictureError> {
        if ![width, height].iter().all(|side| (1..=MAX_MILLIMETRES).contains(side)) {
            return Err(PictureError::Size);
        }
        if octets.len() > MAX_PICTURE {
            return Err(PictureError::TooLarge);
        }
        let bad = |_: png::DecodingError| PictureError::NotPng;
        let mut reader = png::Decoder::new(Cursor::new(&octets)).read_info().map_err(bad)?;
        let (across, down) = reader.info().size();
        if u64::from(across) * u64::from(down) > MAX_DOTS {
            return Err(PictureError::TooLarge);
        }
        while reader.next_row().map_err(bad)?.is_some() {}
        reader.finish().map_err(bad)?;
        Ok(Self { kind: "PNG".to_owned(), octets, width, height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(across: u32, down: u32) -> Vec<u8> {
        let mut octets = Vec::new();
        let mut encoder = png::Encoder::new(&mut octets, across, down);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&vec![0; (across * down) as usize]).unwrap();
        writer.finish().unwrap();
        octets
    }

    #[test]
    fn a_whole_png_of_a_seals_size_is_a_picture() {
        let good = picture(40, 40);
        assert_eq!(Picture::png(good.clone(), 42, 42).unwrap().octets, good);
        for (octets, size, error) in [
            (b"GIF89a".to_vec(), 42, PictureError::NotPng),
            (Vec::new(), 42, PictureError::NotPng),
            (good[..good.len() / 2].to_vec(), 42, PictureError::NotPng),
            (good.clone(), 0, PictureError::Size),
            (good.clone(), 201, PictureError::Size),
            (vec![0; MAX_PICTURE + 1], 42, PictureError::TooLarge),
            (picture(2100, 2100), 42, PictureError::TooLarge),
        ] {
            assert_eq!(Picture::png(octets, 42, size), Err(error));
        }
        let mut damaged = good;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        assert_eq!(Picture::png(damaged, 42, 42), Err(PictureError::NotPng));
    }
}
