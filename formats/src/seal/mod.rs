//! Electronic seals and what they sign: GB/T 38540-2020 (version 4), GM/T 0031-2014 (version 1) and GM/T 0031-2025
//! (version 5).
//!
//! A seal (`SESeal`) is a picture, a validity and a list of those who may use it, signed by its maker. A seal signature
//! (`SES_Signature`) holds the seal, the digest of what is sealed and a time, signed by one of them. Both are read and
//! judged in all three versions and made in version 4: [`SealPlan::prepare`] and [`SealSignaturePlan::prepare`] say what
//! is to be signed, `finish` puts the signature in.
//!
//! Judged over the octets that came in. What is let pass although the standard writes it otherwise has a name each,
//! [`Tolerance`], and is reported (`seal_encoding_tolerated`).

mod build;
mod drawn;
mod picture;
mod structure;
mod vector;
mod verify;

pub use build::{Holders, PendingSeal, PendingSealSignature, SealPlan, SealSignaturePlan};
pub use drawn::{DrawError, SealDesign};
pub use picture::{MAX_MILLIMETRES, MAX_PICTURE, PictureError};
pub use structure::{
    CertificateDigest, HolderList, MAX_HOLDERS, Picture, Seal, SealInfo, SealSignature, SealVersion,
    Tolerance,
};
pub use vector::Vector;
pub use verify::{
    CLOCK_TOLERANCE, SealFacts, SealInput, SealReport, SealSignatureInput, SealSignatureReport, verify_seal,
    verify_signature,
};
