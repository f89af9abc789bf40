//! SM2 on public data (GB/T 32918.2-2016, parameters of GB/T 32918.5-2017): Z, e, the signature's
//! encodings, and verification.
//!
//! Nothing here touches a private key, so nothing here needs to run in constant time, and nothing
//! does: do not use its arithmetic for secrets.
//!
//! [`verify`] needs nothing but its arguments. A [`Verifier`] keeps tables for the keys that come
//! often, and is several times faster for them.
//!
//! Invariants:
//! - a [`PublicKey`] is on the curve and is not the point at infinity;
//! - a [`Signature`] has r and s in \[1, n-1\] and r + s ≠ 0 mod n;
//! - so [`verify`] has only one way to fail: [`Sm2Error::Mismatch`];
//! - sums of points are complete: no choice of key and signature meets a case they leave out.

#![forbid(unsafe_code)]

mod der;
mod error;
mod field;
mod hash;
mod key;
mod multiples;
mod point;
mod scalar;
mod signature;
mod sums;
mod verifier;
mod verify;

pub use error::Sm2Error;
pub use hash::{DEFAULT_ID, MAX_ID_LEN, e, z};
pub use key::PublicKey;
pub use signature::Signature;
pub use verifier::{Implementation, Verification, Verifier, VerifierOptions};
pub use verify::verify;
