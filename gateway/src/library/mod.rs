//! The register of entities and the files of their licenses, for callers: `GET /v1/licenses`,
//! `GET /v1/licenses/{uscc}/files…`.

pub(crate) mod delivery;
pub(crate) mod files;
pub(crate) mod search;
