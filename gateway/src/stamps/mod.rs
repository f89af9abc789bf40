//! Stamps on documents: made (`make`, of the signatures that `signatures` plans from the order that `form` reads; what is said of
//! lists is in `list`), shown from the register (`show`) and to whoever holds the document (`check`), and judged, whoever made
//! them (`verify`).

pub(crate) mod check;
pub(crate) mod document;
pub(crate) mod form;
pub(crate) mod list;
pub(crate) mod make;
pub(crate) mod show;
pub(crate) mod signatures;
pub(crate) mod signer;
pub(crate) mod verify;
