//! QR codes (ISO/IEC 18004) as areas to be filled, so that they are sharp in any size.

use std::fmt::Write as _;

use qrcode::{Color, EcLevel};

/// A QR code: runs of dark cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QrCode {
    side: usize,
    /// Row, first column and number of dark cells of each.
    runs: Vec<[usize; 3]>,
}

impl QrCode {
    /// Cells that stay blank around a code, so that scanners find it.
    pub(crate) const QUIET: usize = 4;

    /// The code of a text, which can lose 15 in 100 of its cells; none for a text that is too long.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let code = qrcode::QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let side = code.width();
        let mut runs = Vec::new();
        for (row, cells) in code.to_colors().chunks(side).enumerate() {
            let mut column = 0;
            while column < side {
                let dark = cells[column..].iter().take_while(|color| **color == Color::Dark).count();
                if dark > 0 {
                    runs.push([row, column, dark]);
                }
                column += dark.max(1);
            }
        }
        Some(Self { side, runs })
    }

    /// Cells in a row.
    pub(crate) fn side(&self) -> usize {
        self.side
    }

    /// What is dark, as left, top, width and height, with cells of a size.
    pub(crate) fn areas(&self, left: f32, top: f32, cell: f32) -> impl Iterator<Item = [f32; 4]> {
        self.runs.iter().map(move |[row, column, dark]| {
            [left + cell * *column as f32, top + cell * *row as f32, cell * *dark as f32, cell]
        })
    }
}

/// Pixels of a cell in a picture.
const CELL: usize = 6;

/// The QR code of a text as PNG, black on white with its quiet zone, 6 pixels a cell; none for a text that is too long.
#[must_use]
pub fn qr_png(text: &str) -> Option<Vec<u8>> {
    let code = QrCode::of(text)?;
    let side = (code.side() + 2 * QrCode::QUIET) * CELL;
    let mut pixels = vec![u8::MAX; side * side];
    for [row, column, dark] in &code.runs {
        let (top, left) = ((row + QrCode::QUIET) * CELL, (column + QrCode::QUIET) * CELL);
        for line in pixels.chunks_mut(side).skip(top).take(CELL) {
            line[left..left + dark * CELL].fill(0);
        }
    }
    let across = u32::try_from(side).ok()?;
    let mut octets = Vec::new();
    let mut encoder = png::Encoder::new(&mut octets, across, across);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&pixels).ok()?;
    writer.finish().ok()?;
    Some(octets)
}

/// The QR code of a text as SVG, black on white with its quiet zone, in units of a cell; none for a text that is too long.
#[must_use]
pub fn qr_svg(text: &str) -> Option<String> {
    let code = QrCode::of(text)?;
    let whole = code.side() + 2 * QrCode::QUIET;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole} {whole}" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{whole}v{whole}H0z"/><path d=""##
    );
    for [row, column, dark] in &code.runs {
        let _ = write!(svg, "M{} {}h{dark}v1h-{dark}z", column + QrCode::QUIET, row + QrCode::QUIET);
    }
    svg.push_str("\"/></svg>");
    Some(svg)
}
