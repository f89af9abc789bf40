//! The device's cryptography: keys parsed once, operations as plain functions on octets.
//!
//! All primitives are RustCrypto's; this module chooses among them and maps their refusals to PKCS#11's.

pub(crate) mod cipher;
pub(crate) mod der;
pub(crate) mod digest;
pub(crate) mod ec;
pub(crate) mod key;
pub(crate) mod operate;
pub(crate) mod rsa;
pub(crate) mod sm2;

pub(crate) use key::Key;
