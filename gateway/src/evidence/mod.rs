//! What stamps are verified with when their certificates are no more: taken and renewed by a task in every gateway (`keep`),
//! and handed out as packages (`show`).

mod keep;
pub(crate) mod show;

pub(crate) use keep::keep;
