//! Sessions of people who scan with their license (扫码): what is asked, how a session goes on, and whether what a phone
//! answers is what was asked.

mod consent;
mod machine;
mod qr;

pub use consent::{Consent, ConsentFault, RoleRefusal, SessionTerms, StampTerms};
pub use machine::{SessionEvent, SessionProgress, SessionRefusal, Step};
pub use qr::{QrError, QrPayload};
