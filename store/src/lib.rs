//! All SQL of the gateway, over SQLite or PostgreSQL: people and their accounts, apps, their credentials and signing
//! policies, changes that wait for approval, nonces, keys and their life, key ceremonies, wrapped keys, what devices did,
//! inspections, electronic seals, standing mandates, stamp templates, the license library, sessions of people who scan
//! with their license, their logins by OpenID Connect, what is on its way to apps, the audit log
//! and the statistics counted from it.
//!
//! Invariants: what a call answered is on disk; no other crate speaks SQL; an API key is stored as its
//! digest only, a custodian's secret and a person's password as hashes; errors name rows by id and never carry their content.
//! Statements are plain text with `$N` parameters that SQLite and PostgreSQL read alike.

mod accounts;
mod approvals;
mod apps;
mod audit;
mod audit_item;
mod blobs;
mod ceremonies;
mod claims;
mod clock;
mod credentials;
mod custodians;
mod database;
mod deliveries;
mod device_history;
mod error;
mod evidence;
mod habits;
mod idempotency;
mod incidents;
mod inspections;
mod key_life;
mod keys;
mod library;
mod mandates;
mod nonces;
mod oidc;
mod policies;
mod policy_counts;
mod protection;
mod query_certificates;
mod rate_use;
mod replicas;
mod retentions;
mod scan_sessions;
mod seals;
mod stamp_jobs;
mod stamps;
mod templates;
mod terms;
mod timestamps;
mod usage;
mod webhooks;
mod words;
mod wrapped_keys;

pub use accounts::{
    Account, AccountState, Factor, Grounds, NewAccount, NewSession, PasswordCheck, Patience, Proofs, Role,
    SecondFactor, Session, SessionKind, Tried, Try, UnusedAccount,
};
pub use approvals::{Approval, ApprovalState, Decision, NewApproval, Remainder};
pub use apps::{App, AppState, Rate, RegisteredApp};
pub use audit::{
    Archive, ArchiveError, AuditEntry, AuditLog, AuditPage, AuditQuery, AuditSigner, AuditWriter, Broken,
    CheckpointKeeper, CheckpointRules, CheckpointSignature, CheckpointSigner, DEFAULT_REPLICA, Departure,
    ExportError, ExportOrder, ExportUnreadable, Hash, JudgedKey, Keeping, LogId, LogRecord, Note, NoteError,
    REMOVAL, Segment, Signed, StoredCheckpoint, StoredEntry, TreeHead, Unsigned, Verification, VerifyOrder,
    WITNESS, Witness, checkpoint_text, is_consistent, leaf_hash, proof_text, removal_subject,
    root_from_inclusion, root_of, signed_note, verify_export,
};
pub use audit_item::AuditItem;
pub use blobs::{Blob, BlobWriter, Blobs};
pub use ceremonies::{Ceremony, CeremonyState, Confirmation, NewCeremony};
pub use clock::Moment;
pub use credentials::{Credential, CredentialKind, Material, NewCredential};
pub use custodians::Custodian;
pub use database::{DatabaseAccess, Dialect, PoolFigures, Store};
pub use deliveries::{Attempted, ClaimLimits, ClaimedDelivery, Delivery, DeliveryState, Notice, RECEIPT};
pub use device_history::{DeviceFigures, DeviceMinute, DeviceSpan, Downsampled};
pub use error::StoreError;
pub use evidence::{DueEvidence, EvidenceItems, KeptEvidence, NewEvidence, PutOffEvidence};
pub use idempotency::{Claim, Claimed, IdempotencyId, KeptAnswer, LARGEST_ANSWER, UnplacedAnswer};
pub use incidents::{IncidentAdvance, IncidentChange, IncidentQuery, IncidentRow, IncidentStep, NewIncident};
pub use inspections::{
    Begun, DatabaseFigures, Inspection, InspectionEnd, InspectionState, NewInspection, Occasion,
};
pub use key_life::{NewKey, VersionPlan};
pub use keys::{
    ExistingKey, KeyCopy, KeyPurpose, KeyRecord, KeyStanding, KeyState, KeyVersion, Spread, UnknownPurpose,
    WrappingKey,
};
pub use library::{
    Contents, Counts, EntityRecord, FileOutcome, Former, Import, LARGEST_PAGE, LibraryCounts, LicenseFile,
    LicenseFiles, LicenseRecord, NamePage, NamePattern, NameQuery, Outcome, Place,
};
pub use mandates::{
    Grantor, Mandate, MandateChange, MandateEvent, MandateFormat, MandateOrder, MandatePage, MandateQuery,
    MandateRefusal, MandateState, MandateTerms, MandateUse, MandateVersion, NewMandate, TakenOfMandate,
};
pub use nonces::{NonceSpace, NonceWriter, Nonces};
pub use oidc::{
    DeviceLogin, Login, LoginChange, LoginState, LoginToken, NewDevice, NewLogin, NewPushed, NewToken,
    OidcClient, TokenKind,
};
pub use policies::{AppPolicy, NewPolicy, PolicyChange, PolicyVersion};
pub use policy_counts::DayLimit;
pub use protection::{
    Cell, DATA_KEY_CREATED, DataKey, DataKeys, DeviceKey, DeviceSecrets, NextDataKey, Protection,
    RegisterWatch, RowImage, UnlockError, Unlocked, protected_tables,
};
pub use query_certificates::{KeptSnapshot, NewSnapshot, snapshot_subject};
pub use rate_use::RateUse;
pub use replicas::{Change, Changes, Hold, Membership};
pub use retentions::{
    DueRetention, KeptRetention, NewRetention, Retained, RetentionQuery, retention_subject,
};
pub use scan_sessions::{ScanChange, ScanChanges, ScanFlow, ScanProgress, ScanSession, ScanState, ScanStep};
pub use seals::{
    NewSeal, RegisteredSeal, SealChange, SealEvent, SealHolder, SealKind, SealPage, SealQuery, SealRefusal,
    SealState, SealVersion,
};
pub use stamp_jobs::{
    ClaimedDocument, DocumentCounts, DocumentEnd, DocumentOrder, DocumentState, Failure, JobDocument,
    JobKind, NewDocument, NewStampJob, Source, StampJob, StampJobState, StampedDocument, Upload, UploadRoom,
};
pub use stamps::{RecordedStamp, STAMP, Stamp, StampMandate, StampSignature, StampTemplateUse, StampedList};
pub use templates::{NewStampTemplate, StampTemplate, TemplateChange, TemplateState, TemplateVersion};
pub use terms::{Room, Terms};
pub use timestamps::TimestampBlock;
pub use usage::{
    Counted, Recount, UsageColumn, UsageDifference, UsageKey, UsageProgress, UsageQuery, UsageRow, usage_day,
};
pub use webhooks::{NewWebhook, Webhook};
pub use wrapped_keys::WrappedKey;
