//! Signing services: each prepares with `formats`, signs with `hsm-driver`, records with `store`.
//!
//! Invariants: callers' orders reach keys of purpose `service` only, and the gateway's own signatures never come from
//! those; what is signed is settled before a device sees it; a caller's signature is in the audit log, durably, before
//! it is handed out; a verdict is an answer.

mod account;
mod batch;
mod ceremony;
mod error;
mod keys;
mod report;
mod sign;
mod system;
mod verify;
mod wrapped;

pub use account::{SignatureKind, signature_item, signer_paths};
pub use batch::{ItemOutcome, ItemSignature, MadeBatch, MadeItem, OrderedItem};
pub use ceremony::{CeremonyError, KeyAct, KeyCeremonies, KeyDevices, Operator};
pub use error::SigningError;
pub use keys::{Expiring, KeyRing, SigningCopy, SigningKey, SigningVersion, driver_key};
pub use report::{Judged, merged_reports, validation_report};
pub use sign::{Caller, Input, Keep, Receipt, SignOrder, SignatureFormat, SigningDesk};
pub use system::{SystemDesk, SystemSignature};
pub use verify::{
    CmsVerification, RawVerification, Signer, SignerSummary, TimestampAnswer, VerificationAnswer, verify_cms,
    verify_raw, verify_timestamp,
};
pub use wrapped::{WrappedKeyError, WrappedKeySeal, same_key};
