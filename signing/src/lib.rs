//! Signing services: each prepares with `formats`, signs with `hsm-driver`, records with `store`.
//!
//! Invariants: callers' orders reach keys of purpose `service` only, and the gateway's own signatures never come from
//! those; what is signed is settled before a device sees it; a caller's signature is in the audit log, durably, before
//! it is handed out; a verdict is an answer.

mod account;
mod archive;
mod batch;
mod ceremony;
mod document;
mod error;
mod evidence;
mod keys;
mod level;
mod license;
mod list;
mod mandate;
mod policy;
mod report;
mod seal;
mod sign;
mod stamp;
mod stamped;
mod system;
mod timestamps;
mod verify;
mod webhooks;
mod wrapped;

pub use account::{SignatureKind, archive_item, signature_item, signer_paths, stamped_item};
pub use archive::{
    ARCHIVE_FORMAT, ArchiveAnswer, ArchiveParts, ArchivedAnswer, ArchivedStamp, MANIFEST, MANIFEST_EVIDENCE,
    MANIFEST_SIGNATURE, MOST_ARCHIVED_EVIDENCE, Manifest, ManifestAnswer, ManifestEvidence, Member,
    PreparedArchive, Role, judge_archive, judge_manifest,
};
pub use batch::{ItemOutcome, ItemSignature, MadeBatch, MadeItem, OrderedItem};
pub use ceremony::{CeremonyError, KeyAct, KeyCeremonies, KeyDevices, Operator};
pub use document::{OfdAnswer, OfdSignatureAnswer, SealAnswer, verify_ofd, verify_seal};
pub use error::SigningError;
pub use evidence::{
    EVIDENCE_ACTION, EVIDENCE_FORMAT, EVIDENCE_HASH, EvidenceAnswer, EvidenceCore, EvidencePackage,
    EvidenceRecord, MOST_EVIDENCE_ITEMS, RecordAnswer, ValidationData, ValidationNames, evidence_imprint,
    evidence_leaf, evidence_path, judge_evidence,
};
pub use keys::{Expiring, KeyRing, SigningCopy, SigningKey, SigningVersion, driver_key};
pub use level::{Level, LevelDesk};
pub use license::LicenseSigner;
pub use list::{ListAnswer, ListProofSummary, stamped_octets, verify_list};
pub use mandate::{MandateKeys, MandateRequest, MandateSigner, MintedKey};
pub use policy::{
    Decision, InputKind, Limit, OrderFacts, PolicyError, SignedForm, SigningPolicy, SigningRule, WeeklySpan,
};
pub use report::{Judged, merged_reports, validation_report};
pub use seal::{MadeSeal, SealOrder};
pub use sign::{Caller, Input, Keep, Receipt, SignOrder, SignatureFormat, SigningDesk};
pub use stamp::{
    FurtherSignature, KeepStamp, Prepare, SignatureOrder, SignatureReceipt, StampOrder, StampReceipt,
    StampSigner, StampSubject, Unstamped,
};
pub use stamped::{
    StampAnswer, StampSignature, StampVerification, StampedAnswer, StampedFormat, verify_pdf, verify_stamped,
};
pub use system::{SystemDesk, SystemSignature};
pub use timestamps::{
    Asker, Clock, ClockRules, ClockState, Moment, OwnTimestamps, Sample, Serials, ServerState, Timestamp,
    TimestampDesk, TimestampError, TimestampForm, TimestampRules, TimestampSource, Trusted,
};
pub use verify::{
    CmsVerification, RawVerification, Signer, SignerSummary, TimestampAnswer, VerificationAnswer, verify_cms,
    verify_raw, verify_timestamp, verify_timestamp_digest,
};
pub use wrapped::{WrappedKeyError, WrappedKeySeal, same_key};
