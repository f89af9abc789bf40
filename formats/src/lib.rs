//! Pure bytes in, bytes out: unified social credit codes and their like, license certificates, X.509 chains,
//! CMS, electronic seals, OFD packages, reports on what was judged.
//!
//! Invariants:
//! - no input or output, no clock, no private key: time is an argument;
//! - every parser is total: bytes from outside give a value, a [`FormatError`] or a
//!   [`Judgement`], never a panic;
//! - what was signed is judged over the octets that came in, never over a re-encoding of them
//!   (signed attributes apart, for which RFC 5652, 5.4 asks just that).

pub mod algorithm;
pub mod ber;
pub mod cert_id;
pub mod chain;
pub mod cms;
pub mod csr;
pub mod describe;
pub mod ecdsa;
pub mod edition;
pub mod error;
pub mod font;
pub mod identifier;
pub mod inspection_report;
pub mod key;
pub mod license;
pub mod license_file;
pub mod list;
pub mod merkle;
mod name;
pub mod ocsp;
pub mod ofd;
pub mod oid;
pub mod opened;
pub mod pdf;
mod pem;
mod qr;
pub mod query_certificate;
pub mod registration_number;
pub mod report;
pub mod resident_id;
pub mod scheme;
pub mod seal;
mod sets;
pub mod subject;
pub mod tsp;
pub mod uscc;
pub mod verdict;
pub mod visible;
pub mod words;
pub mod x509;

pub use algorithm::Algorithm;
pub use cert_id::CertificateId;
pub use chain::{TrustStore, Usage};
pub use error::FormatError;
pub use key::{DigestSignature, PublicKey, verify_digests};
pub use qr::{qr_png, qr_svg};
pub use sm2_verify::DEFAULT_ID as DEFAULT_SIGNER_ID;
pub use uscc::{Uscc, UsccError};
pub use verdict::{Finding, Judgement, Verdict};
pub use x509::{Certificate, Crl};
