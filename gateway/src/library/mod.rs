//! The register of entities, for callers: `GET /v1/licenses`.

pub(crate) mod search;
