//! SM2 on public data (GB/T 32918.2-2016, parameters of GB/T 32918.5-2017): Z, e, the signature's
//! encodings, and verification.
//!
//! Nothing here touches a private key, so nothing here needs to run in constant time.
//!
//! Invariants:
//! - a [`PublicKey`] is on the curve and is not the point at infinity;
//! - a [`Signature`] has r and s in \[1, n-1\] and r + s ≠ 0 mod n;
//! - so [`verify`] has only one way to fail: [`Sm2Error::Mismatch`].

mod der;
mod error;
mod hash;
mod key;
mod signature;

pub use error::Sm2Error;
pub use hash::{DEFAULT_ID, MAX_ID_LEN, e, z};
pub use key::{PublicKey, verify};
pub use signature::Signature;
