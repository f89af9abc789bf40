//! Why a PDF cannot be signed as asked.

use thiserror::Error;

use crate::pdf::PdfError;

/// Nothing was changed: what is signed is an update that is never built in part.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignError {
    /// The octets are no PDF that can be read.
    #[error("not a readable PDF: {0}")]
    Malformed(String),
    /// More than is taken on: octets, objects, pages, fields.
    #[error("the PDF has more {0} than are taken on")]
    TooLarge(&'static str),
    /// An update to an encrypted document would have to be encrypted too.
    #[error("the PDF is encrypted")]
    Encrypted,
    /// A form that a program of its own draws (XFA): what people see is not what is signed.
    #[error("the PDF is a dynamic XFA form")]
    DynamicForm,
    /// The certification (DocMDP) or a lock that an earlier signer set does not allow this signature.
    #[error("an earlier signature does not allow it: {0}")]
    NotPermitted(&'static str),
    /// There is no signature field of that name.
    #[error("there is no signature field named {0:?}")]
    FieldUnknown(String),
    /// The field has its signature already.
    #[error("the field {0:?} is signed already")]
    FieldSigned(String),
    /// A field of that name exists.
    #[error("there is already a field named {0:?}")]
    FieldTaken(String),
    /// An empty name, one with control characters, or with a full stop, which separates the names of a hierarchy (ISO
    /// 32000-1, 12.7.3.2).
    #[error("a field's name has 1 to 128 characters, no control characters and no full stop")]
    FieldName,
    /// The field's seed value asks for what is not done here.
    #[error("the field's seed value asks for another {0}")]
    SeedValue(&'static str),
    /// A page that the document does not have.
    #[error("there is no page {number}, the document has {count}")]
    PageUnknown {
        /// The number asked for, from 1.
        number: u32,
        /// How many pages there are.
        count: usize,
    },
    /// A rectangle that is empty or not on the page.
    #[error("the place on page {0} is empty or reaches over the page's edge")]
    OffPage(u32),
    /// A keyword that stands nowhere on the pages.
    #[error("the keyword {0:?} was not found")]
    KeywordNotFound(String),
    /// A cross-page seal (骑缝章) on fewer than two pages.
    #[error("a cross-page seal needs two pages at least")]
    SeamNeedsPages,
    /// The picture or the text cannot be drawn.
    #[error("the appearance cannot be drawn: {0}")]
    Appearance(String),
    /// The signature is longer than the room left for it.
    #[error("the signature has {found} octets, {room} fit")]
    Room {
        /// Octets of the signature.
        found: usize,
        /// Octets that were reserved.
        room: usize,
    },
    /// A plan that contradicts itself.
    #[error("{0}")]
    Plan(&'static str),
}

impl SignError {
    /// The stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLarge(_) => "too_large",
            Self::Encrypted => "encrypted",
            Self::DynamicForm => "dynamic_form",
            Self::NotPermitted(_) => "not_permitted",
            Self::FieldUnknown(_) => "field_unknown",
            Self::FieldSigned(_) => "field_signed",
            Self::FieldTaken(_) => "field_taken",
            Self::FieldName => "field_name",
            Self::SeedValue(_) => "seed_value",
            Self::PageUnknown { .. } => "page_unknown",
            Self::OffPage(_) => "off_page",
            Self::KeywordNotFound(_) => "keyword_not_found",
            Self::SeamNeedsPages => "seam_needs_pages",
            Self::Appearance(_) => "appearance",
            Self::Room { .. } => "room",
            Self::Plan(_) => "plan",
        }
    }

    pub(super) fn malformed(reason: impl ToString) -> Self {
        Self::Malformed(reason.to_string())
    }
}

impl From<PdfError> for SignError {
    fn from(error: PdfError) -> Self {
        match error {
            PdfError::Malformed { .. } => Self::malformed(error),
            PdfError::Encrypted => Self::Encrypted,
            PdfError::TooLarge { what, .. } => Self::TooLarge(what),
        }
    }
}

/// Writing into memory does not fail; lopdf's signatures allow for it.
impl From<lopdf::Error> for SignError {
    fn from(error: lopdf::Error) -> Self {
        Self::malformed(error)
    }
}
