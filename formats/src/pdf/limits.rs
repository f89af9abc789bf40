//! How much of a PDF is read, whoever made it.

use std::cell::Cell;

use super::PdfError;

/// Bounds on a document. The defaults are far above what stamped documents need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the file.
    pub octets: usize,
    /// Entries of all cross-reference sections together.
    pub objects: usize,
    /// Cross-reference sections, each of which an update may add.
    pub sections: usize,
    /// Levels of arrays and dictionaries in one object, of the page tree and of the field tree.
    pub nesting: usize,
    /// Octets of one object without its stream data.
    pub object: usize,
    /// Octets that one stream may decompress to.
    pub stream: usize,
    /// Octets that all streams together may decompress to.
    pub streams: usize,
    /// Pages.
    pub pages: usize,
    /// Form fields.
    pub fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            octets: 64 << 20,
            objects: 1_000_000,
            sections: 256,
            nesting: 64,
            object: 1 << 20,
            stream: 64 << 20,
            streams: 256 << 20,
            pages: 100_000,
            fields: 20_000,
        }
    }
}

/// What is left to spend on one document: objects that share octets, or streams that inflate, end there.
#[derive(Debug)]
pub(super) struct Budget {
    parsed: Allowance,
    scanned: Allowance,
    copied: Allowance,
    inflated: Allowance,
    walked: Allowance,
}

impl Budget {
    /// Each octet may count a number of times: walks of several revisions and signatures come by it again. To parse a
    /// mebibyte of values takes about half a second.
    pub(super) fn new(limits: &Limits, octets: usize) -> Self {
        Self {
            parsed: Allowance::new("octets of values", octets.saturating_mul(4).min(24 << 20) + (8 << 20)),
            // Tables and objects do not overlap, so each octet belongs to one at most.
            scanned: Allowance::new("octets of tables", octets.saturating_mul(3).saturating_add(1 << 20)),
            copied: Allowance::new("octets of streams", octets.saturating_mul(16).saturating_add(64 << 20)),
            inflated: Allowance::new("decompressed octets", limits.streams),
            walked: Allowance::new("objects of revisions to be compared", 100_000_000),
        }
    }

    /// For a value.
    pub(super) fn parse(&self, octets: usize) -> Result<(), PdfError> {
        self.parsed.spend(octets)
    }

    /// For entries of cross-reference tables, for blanks and comments around sections, and to see where objects end.
    pub(super) fn scan(&self, octets: usize) -> Result<(), PdfError> {
        self.scanned.spend(octets)
    }

    /// For a stream's data.
    pub(super) fn copy(&self, octets: usize) -> Result<(), PdfError> {
        self.copied.spend(octets)
    }

    /// How much the next stream may inflate to at most.
    pub(super) fn inflatable(&self) -> usize {
        self.inflated.left.get()
    }

    /// For an object that is come by, as often as sections may have to be asked for it.
    pub(super) fn walk(&self, sections: usize) -> Result<(), PdfError> {
        self.walked.spend(sections)
    }

    pub(super) fn inflate(&self, octets: usize) -> Result<(), PdfError> {
        self.inflated.spend(octets)
    }
}

/// One of its kinds.
#[derive(Debug)]
struct Allowance {
    what: &'static str,
    limit: usize,
    left: Cell<usize>,
}

impl Allowance {
    fn new(what: &'static str, limit: usize) -> Self {
        Self { what, limit, left: Cell::new(limit) }
    }

    fn spend(&self, octets: usize) -> Result<(), PdfError> {
        let left = self.left.get().checked_sub(octets);
        self.left.set(left.ok_or(PdfError::TooLarge { what: self.what, limit: self.limit })?);
        Ok(())
    }
}
