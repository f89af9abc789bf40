//! `license-gateway verify`, `uscc` and `cert-id` from outside: a real process, material made on the spot by OpenSSL
//! and by `certs-test`.

#![allow(clippy::unwrap_used)] // a helper that fails fails its test

mod files;
mod identifiers;
mod reports;
mod support;
