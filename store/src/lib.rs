//! All SQL of the gateway, over SQLite or PostgreSQL: apps and their credentials, nonces, keys and their life, key
//! ceremonies, wrapped keys, what devices did, the license library and the audit log.
//!
//! Invariants: what a call answered is on disk; no other crate speaks SQL; an API key is stored as its
//! digest only, a custodian's secret as its hash; errors name rows by id and never carry their content.
//! Statements are plain text with `$N` parameters that SQLite and PostgreSQL read alike.

mod apps;
mod audit;
mod audit_item;
mod ceremonies;
mod claims;
mod credentials;
mod custodians;
mod database;
mod device_history;
mod error;
mod idempotency;
mod key_life;
mod keys;
mod library;
mod nonces;
mod protection;
mod replicas;
mod words;
mod wrapped_keys;

pub use apps::{App, AppState, Rate, RegisteredApp};
pub use audit::{
    Archive, ArchiveError, AuditEntry, AuditLog, AuditPage, AuditQuery, AuditSigner, AuditWriter, Broken,
    CheckpointKeeper, CheckpointRules, CheckpointSignature, CheckpointSigner, DEFAULT_REPLICA, ExportError,
    ExportOrder, ExportUnreadable, Hash, JudgedKey, Keeping, LogId, LogRecord, Note, NoteError, REMOVAL,
    Segment, Signed, StoredCheckpoint, StoredEntry, Unsigned, Verification, VerifyOrder, WITNESS, Witness,
    checkpoint_text, is_consistent, leaf_hash, proof_text, root_from_inclusion, root_of, signed_note,
    verify_export,
};
pub use audit_item::AuditItem;
pub use ceremonies::{Ceremony, CeremonyState, Confirmation, NewCeremony};
pub use credentials::{Credential, CredentialKind, Material, NewCredential};
pub use custodians::Custodian;
pub use database::{DatabaseAccess, Dialect, PoolFigures, Store};
pub use device_history::{DeviceFigures, DeviceMinute, DeviceSpan, Downsampled};
pub use error::StoreError;
pub use idempotency::{Claim, Claimed, IdempotencyId, KeptAnswer, LARGEST_ANSWER};
pub use key_life::{NewKey, VersionPlan};
pub use keys::{
    ExistingKey, KeyCopy, KeyPurpose, KeyRecord, KeyState, KeyVersion, Spread, UnknownPurpose, WrappingKey,
};
pub use library::{EntityRecord, LicenseRecord};
pub use nonces::{NonceSpace, NonceWriter, Nonces};
pub use protection::{
    Cell, DataKey, DataKeys, DeviceKey, DeviceSecrets, Protection, RowImage, UnlockError, Unlocked,
};
pub use replicas::{Change, Changes, Hold, Membership};
pub use wrapped_keys::WrappedKey;
