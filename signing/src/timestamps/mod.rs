//! Timestamps by the site's own authority: RFC 3161 with keys of P-256 or RSA, GB/T 20520 with SM2.
//!
//! Invariants: no token without a clock that is known to be right, as far as the site demands it; no serial number
//! twice; where order is promised, no time twice and none that goes back; a token is on record before it leaves.

mod clock;
mod serials;
mod source;

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{AppId, DeviceId, KeyId};
use formats::cms::Family;
use formats::oid::ObjectIdentifier;
use formats::scheme::HashAlgorithm;
use formats::tsp::{self, Failure, Imprint, PendingToken, Refusal, TimestampRequest, TokenPlan};
use formats::{Certificate, FormatError, PublicKey};
use hsm_driver::Signed;
use store::{AuditEntry, AuditLog, KeyPurpose, StoreError};
use thiserror::Error;
use time::OffsetDateTime;

use crate::sign::Turn;
use crate::system::algorithm;
use crate::{SigningCopy, SigningError, SigningKey, SystemDesk};

pub use clock::{Clock, ClockRules, ClockState, Moment, Sample, ServerState, Trusted};
pub use serials::Serials;
pub use source::{OwnTimestamps, TimestampSource};

/// By which standard a token is made. It settles the kind of key and the object identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampForm {
    /// RFC 3161: a key of P-256 or RSA, over a digest by any of the hash functions.
    Rfc3161,
    /// GB/T 20520: an SM2 key, over a digest by SM3, with the identifiers of GB/T 35275.
    Gbt20520,
}

impl TimestampForm {
    /// Both, by the names callers use.
    pub const NAMES: [(&'static str, Self); 2] = [("rfc3161", Self::Rfc3161), ("gbt20520", Self::Gbt20520)];

    /// The name callers use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rfc3161 => "rfc3161",
            Self::Gbt20520 => "gbt20520",
        }
    }

    /// The one that goes with a hash function, for who does not say: SM3 is what the national form is over.
    #[must_use]
    pub fn of(hash: HashAlgorithm) -> Self {
        match hash {
            HashAlgorithm::Sm3 => Self::Gbt20520,
            HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512 => Self::Rfc3161,
        }
    }

    fn family(self) -> Family {
        match self {
            Self::Rfc3161 => Family::Rfc5652,
            Self::Gbt20520 => Family::Gbt35275,
        }
    }

    /// Whether tokens of this form are signed with such a key.
    fn fits(self, key: &SigningKey) -> bool {
        matches!(key.shown().public_key, PublicKey::Sm2(_)) == (self == Self::Gbt20520)
    }
}

/// What the authority promises, and what it asks of its clock.
#[derive(Debug, Clone)]
pub struct TimestampRules {
    /// The policies tokens may be made under; the first one where nobody asks for one.
    pub policies: Vec<ObjectIdentifier>,
    /// How far the time of a token may be off.
    pub accuracy: Duration,
    /// Whether tokens can be put in order by their times alone.
    pub ordering: bool,
    /// When the clock is believed.
    pub clock: ClockRules,
}

/// Who asks for a timestamp.
#[derive(Debug, Clone)]
pub struct Asker {
    /// In whose line at the devices it waits.
    pub line: AppId,
    /// Who it is on record.
    pub actor: String,
    /// The request's id.
    pub request_id: String,
    /// When nobody waits for the answer any more.
    pub deadline: Option<Instant>,
}

/// A token that is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// TimeStampToken, DER.
    pub token: Vec<u8>,
    /// By which standard.
    pub form: TimestampForm,
    /// Its serial number in lower-case hexadecimal.
    pub serial: String,
    /// The time it vouches for.
    pub time: OffsetDateTime,
    /// How far that may be off.
    pub accuracy: Duration,
    /// Under which policy.
    pub policy: ObjectIdentifier,
    /// The key.
    pub key: KeyId,
    /// The device.
    pub device: DeviceId,
    /// Where it stands in the audit log.
    pub audit_index: u64,
}

/// Why there is no timestamp.
#[derive(Debug, Error)]
pub enum TimestampError {
    /// What is asked for is not done.
    #[error("{}", .0.text)]
    Refused(Refusal),
    /// The clock is not known to be right.
    #[error("the clock is not known to be right: {0}")]
    Clock(&'static str),
    /// Keys, devices or the record failed.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// No serial number or time could be had.
    #[error("the database gave no serial number")]
    Serials(#[source] StoreError),
    /// An authority outside gave none, or none that is good.
    #[error("the authority outside gave no good timestamp: {detail}")]
    Outside {
        /// A stable word for it.
        code: &'static str,
        /// For people.
        detail: String,
    },
}

impl TimestampError {
    /// The stable word for this error, in answers, logs and the audit log alike.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => match refusal.failure {
                Failure::BadAlg => "hash_not_supported",
                Failure::UnacceptedPolicy => "unaccepted_policy",
                Failure::UnacceptedExtension => "unaccepted_extension",
                // The last two are never said of a request.
                Failure::BadRequest
                | Failure::BadDataFormat
                | Failure::AddInfoNotAvailable
                | Failure::TimeNotAvailable
                | Failure::SystemFailure => "timestamp_request",
            },
            Self::Clock(_) => "clock_unreliable",
            Self::Signing(error) => error.code(),
            Self::Serials(_) => "database_unavailable",
            Self::Outside { .. } => "outside_timestamp",
        }
    }

    /// How RFC 3161 says it.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Refused(refusal) => *refusal,
            Self::Clock(_) => {
                Refusal { failure: Failure::TimeNotAvailable, text: "the clock is not known to be right" }
            }
            Self::Signing(_) | Self::Serials(_) | Self::Outside { .. } => {
                Refusal { failure: Failure::SystemFailure, text: "the authority cannot do it now" }
            }
        }
    }
}

/// The site's timestamp authority. Clones share it.
#[derive(Clone)]
pub struct TimestampDesk {
    system: SystemDesk,
    audit: AuditLog,
    serials: Arc<Serials>,
    clock: Arc<Clock>,
    rules: Arc<TimestampRules>,
}

/// What of a token is settled before a key is chosen.
struct Settled<'r> {
    form: TimestampForm,
    request: &'r TimestampRequest,
    policy: ObjectIdentifier,
    serial: u128,
    time: OffsetDateTime,
}

impl TimestampDesk {
    /// An authority with the site's keys of purpose `tsa`. `rules` must name a policy.
    #[must_use]
    pub fn new(
        system: SystemDesk,
        audit: AuditLog,
        serials: Arc<Serials>,
        clock: Arc<Clock>,
        rules: TimestampRules,
    ) -> Self {
        Self { system, audit, serials, clock, rules: Arc::new(rules) }
    }

    /// The clock as it is known now.
    #[must_use]
    pub fn clock_state(&self) -> ClockState {
        self.clock.state(Moment::now(), &self.rules.clock)
    }

    /// Tokens for somebody, by whatever form goes with the digest.
    #[must_use]
    pub fn for_asker(&self, asker: Asker) -> OwnTimestamps {
        OwnTimestamps::new(self.clone(), asker)
    }

    /// Makes a token and records it; the entry is durable before this returns. Without a form the request's hash
    /// function decides it.
    ///
    /// # Errors
    /// See [`TimestampError`]. What the devices refused is on record too.
    pub async fn stamp(
        &self,
        asker: &Asker,
        form: Option<TimestampForm>,
        request: &TimestampRequest,
    ) -> Result<Timestamp, TimestampError> {
        let hash = request.imprint.hash();
        let form = form.unwrap_or_else(|| TimestampForm::of(hash));
        if form == TimestampForm::Gbt20520 && hash != HashAlgorithm::Sm3 {
            let text = "GB/T 20520 timestamps are over digests by SM3";
            return Err(TimestampError::Refused(Refusal { failure: Failure::BadAlg, text }));
        }
        let policy = self.policy(request)?;
        self.clock_state().believed(&self.rules.clock).map_err(TimestampError::Clock)?;
        let ring = self.system.keys();
        let copies = self.system.copies(&ring, KeyPurpose::Tsa, |key| form.fits(key))?;
        let (serial, time) = self.serial_and_time().await?;
        let settled = Settled { form, request, policy, serial, time };
        let prepare = |(key, copy)| self.prepare(&settled, key, copy);
        let asked = self.system.ask(&asker.line, asker.deadline, copies, prepare).await?;
        let (Turn { copy, prepared: pending, .. }, signed) = asked;
        let made = match signed {
            Ok(Signed { device, signature, .. }) => match pending.finish(&signature) {
                Ok(token) => Ok((device, token)),
                Err(error) => Err(SigningError::from(error)),
            },
            Err(error) => Err(SigningError::from(error)),
        };
        let audit_index = self.record(asker, &settled, &copy.driver_key, &made).await?;
        let (device, token) = made?;
        Ok(Timestamp {
            token,
            form,
            serial: hexadecimal(serial),
            time,
            accuracy: self.rules.accuracy,
            policy,
            key: copy.driver_key.clone(),
            device,
            audit_index,
        })
    }

    fn policy(&self, request: &TimestampRequest) -> Result<ObjectIdentifier, TimestampError> {
        let known = &self.rules.policies;
        let found = match request.policy {
            Some(policy) => known.contains(&policy).then_some(policy),
            None => known.first().copied(),
        };
        let text = "the policy is not one of this authority's";
        found.ok_or(TimestampError::Refused(Refusal { failure: Failure::UnacceptedPolicy, text }))
    }

    async fn serial_and_time(&self) -> Result<(u128, OffsetDateTime), TimestampError> {
        if !self.rules.ordering {
            let serial = self.serials.next().await.map_err(TimestampError::Serials)?;
            return Ok((serial, microseconds(OffsetDateTime::now_utc())));
        }
        let (serial, time) = self.serials.next_ordered().await.map_err(|error| match error {
            StoreError::NotAllowed { reason, .. } => TimestampError::Clock(reason),
            error => TimestampError::Serials(error),
        })?;
        // After a time that another gateway gave: which of the two clocks is wrong, nobody knows here.
        if time - OffsetDateTime::now_utc() > self.rules.accuracy {
            return Err(TimestampError::Clock("it is behind the latest timestamp"));
        }
        Ok((serial, time))
    }

    fn prepare<'k>(
        &self,
        settled: &Settled<'k>,
        key: &'k SigningKey,
        copy: &'k SigningCopy,
    ) -> Result<Turn<'k, PendingToken<'k>>, SigningError> {
        let algorithm = algorithm(key, &copy.public_key)?;
        let prepared = tsp::prepare(TokenPlan {
            family: settled.form.family(),
            algorithm,
            imprint: &settled.request.imprint,
            policy: settled.policy,
            serial: settled.serial,
            time: settled.time,
            accuracy: self.rules.accuracy,
            ordering: self.rules.ordering,
            nonce: settled.request.nonce.as_ref(),
            chain: without_root(&copy.chain),
            certificates: settled.request.certificates,
        });
        let prepared = prepared.map_err(|error| match error {
            // The request was checked: what makes no sense now is the key's certificate.
            FormatError::Plan(reason) => {
                SigningError::Register { key: key.id.clone(), reason: reason.to_owned() }
            }
            error => SigningError::Format(error),
        })?;
        Ok(Turn { copy, algorithm, digest: prepared.digest(), prepared })
    }

    async fn record(
        &self,
        asker: &Asker,
        settled: &Settled<'_>,
        key: &KeyId,
        made: &Result<(DeviceId, Vec<u8>), SigningError>,
    ) -> Result<u64, TimestampError> {
        let Settled { form, request, policy, serial, time } = settled;
        let done = made.as_ref().ok();
        let entry = AuditEntry {
            action: "timestamp".to_owned(),
            actor: asker.actor.clone(),
            at: *time,
            device: done.map(|(device, _)| device.to_string()),
            input_digest: Some(hex::encode(request.imprint.digest())),
            key: Some(key.to_string()),
            outcome: made.as_ref().map_or_else(SigningError::code, |_| "ok").to_owned(),
            request_id: asker.request_id.clone(),
            result_digest: done.map(|(_, token)| hex::encode(HashAlgorithm::Sm3.digest(token))),
            subject: Some(format!("{} serial {} policy {policy}", form.name(), hexadecimal(*serial))),
        };
        Ok(self.audit.append(entry).await.map_err(SigningError::from)?)
    }
}

/// A request for a token over a digest, with the authority's certificates.
pub(crate) fn request_for(hash: HashAlgorithm, digest: &[u8]) -> Result<TimestampRequest, TimestampError> {
    let imprint = Imprint::new(hash, digest).map_err(|_| {
        let text = "the digest has not the hash function's length";
        TimestampError::Refused(Refusal { failure: Failure::BadDataFormat, text })
    })?;
    Ok(TimestampRequest { imprint, policy: None, nonce: None, certificates: true })
}

/// A chain as it goes into tokens: whoever judges one has the root.
fn without_root(chain: &[Certificate]) -> &[Certificate] {
    match chain.split_last() {
        Some((last, rest)) if !rest.is_empty() && is_self_issued(last) => rest,
        _ => chain,
    }
}

fn is_self_issued(certificate: &Certificate) -> bool {
    let tbs = &certificate.inner().tbs_certificate;
    tbs.subject == tbs.issuer
}

/// A serial number as its octets are written, two digits each, as of any other token.
fn hexadecimal(serial: u128) -> String {
    let octets = serial.to_be_bytes();
    let first = octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len() - 1);
    hex::encode(&octets[first..])
}

fn microseconds(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_nanosecond(time.microsecond() * 1000).unwrap_or(time)
}
