//! What stamps are verified with when their certificates are no more: taken and renewed by a task in every gateway (`keep`),
//! handed out as packages (`show`), and with the document as archive packages (`archive`).

pub(crate) mod archive;
mod keep;
pub(crate) mod show;

pub(crate) use keep::keep;
