//! Signing: prepare with `formats`, sign with the devices, record with the store, answer.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use arc_swap::ArcSwap;
use config::{AppId, DeviceId, GroupId, KeyId};
use formats::cms::{self, Content, Family, Pending, SignedDataPlan};
use formats::scheme::HashAlgorithm;
use formats::seal::{PendingSealSignature, Seal, SealSignaturePlan};
use formats::{Algorithm, Certificate, FormatError};
use hsm_driver::{Ask, Fleet, HsmError, Signed};
use store::{AuditEntry, AuditLog, Claim, Keeping, UnplacedAnswer};
use time::OffsetDateTime;
use tracing::Instrument;

use crate::{KeyRing, SignedForm, SigningCopy, SigningError, SigningKey};

/// What is to be signed. `Debug` shows no content.
#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// 32 octets. Raw: e for SM2, SHA-256 otherwise. CMS: SM3 or SHA-256 of the content, detached only.
    Digest([u8; 32]),
    /// The message or content itself.
    Data(Vec<u8>),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(_) => f.write_str("Digest"),
            Self::Data(data) => write!(f, "Data({} octets)", data.len()),
        }
    }
}

/// In what form the signature is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureFormat {
    /// The signature alone: strict DER for SM2 and ECDSA.
    Raw,
    /// CMS SignedData with signed attributes.
    Cms {
        /// RFC 5652 or GB/T 35275.
        family: Family,
        /// Leave the content out.
        detached: bool,
    },
    /// CMS for a PDF that is digested already: detached, and without the time, which the document tells.
    Pdf {
        /// RFC 5652 or GB/T 35275.
        family: Family,
    },
    /// `SES_Signature` (GB/T 38540): an electronic seal set in a document that is digested already.
    Seal {
        /// The seal; it lists who signs.
        seal: Arc<Seal>,
        /// What was digested, as `propertyInfo` says it.
        location: String,
        /// The document.
        of: SignedForm,
    },
}

impl SignatureFormat {
    /// What the record calls it.
    pub(crate) fn action(&self) -> &'static str {
        match self {
            Self::Raw => "signature.raw",
            Self::Cms { .. } => "signature.cms",
            Self::Seal { of: SignedForm::Ofd, .. } => "stamp.ofd",
            Self::Pdf { .. } | Self::Seal { .. } => "stamp.pdf",
        }
    }
}

/// A caller's order, checked in form.
#[derive(Debug, Clone)]
pub struct SignOrder {
    /// Which key.
    pub key: KeyId,
    /// The group the caller wants the key to live in, if it says so.
    pub group: Option<GroupId>,
    /// How.
    pub algorithm: Algorithm,
    /// What.
    pub input: Input,
    /// In what form.
    pub format: SignatureFormat,
    /// The identifier in SM2's Z.
    pub signer_id: Vec<u8>,
}

/// Who orders, when, under which request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The app.
    pub app: AppId,
    /// The request's id.
    pub request_id: String,
    /// The time of the request.
    pub at: OffsetDateTime,
    /// When nobody waits for the answer any more; devices are asked until then at most.
    pub deadline: Option<Instant>,
    /// Counts the signatures of its stamps as they are made, for who gives up before there is an answer.
    pub signed: Arc<AtomicUsize>,
}

/// A signature that verified and is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The signature, or the whole SignedData.
    pub signature: Vec<u8>,
    /// Who made it.
    pub device: DeviceId,
    /// Which version of the key made it.
    pub version: u32,
    /// The certificate of the copy that made it, if it has one.
    pub certificate: Option<Certificate>,
    /// Where it stands in the audit log.
    pub audit_index: u64,
}

/// How the answer to a request that holds an idempotency key is kept.
pub struct Keep {
    /// The claim that holds the key.
    pub claim: Arc<Claim>,
    /// Makes the answer of the receipt, whose place in the log is not known yet.
    pub answer: Box<dyn FnOnce(&Receipt) -> UnplacedAnswer + Send + Sync>,
}

/// What came of an order, before it is on record.
pub(crate) struct Made {
    /// The copy that was asked for: it names version and device too, and is the key's own name for the first version.
    pub(crate) key: KeyId,
    /// Of which version.
    pub(crate) version: u32,
    /// Its certificate.
    pub(crate) certificate: Option<Certificate>,
    /// What the devices were given.
    pub(crate) digest: [u8; 32],
    /// Who signed and what came of it, or why nothing did.
    pub(crate) signed: Result<(DeviceId, Vec<u8>), (Option<DeviceId>, SigningError)>,
}

impl Made {
    /// The device that signed, as far as one did.
    pub(crate) fn device(&self) -> Option<&DeviceId> {
        match &self.signed {
            Ok((device, _)) => Some(device),
            Err((device, _)) => device.as_ref(),
        }
    }

    /// `ok`, or the code of what went wrong.
    pub(crate) fn outcome(&self) -> &'static str {
        self.signed.as_ref().map_or_else(|(_, error)| error.code(), |_| "ok")
    }

    /// SM3 of the signature, hexadecimal.
    pub(crate) fn result_digest(&self) -> Option<String> {
        self.signed.as_ref().ok().map(|(_, signature)| hex::encode(HashAlgorithm::Sm3.digest(signature)))
    }
}

/// Signs with the site's keys. Clones share the keys.
#[derive(Clone)]
pub struct SigningDesk {
    keys: Arc<ArcSwap<KeyRing>>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) audit: AuditLog,
}

impl SigningDesk {
    /// A desk over a fleet that was started with these keys.
    #[must_use]
    pub fn new(keys: Arc<KeyRing>, fleet: Arc<Fleet>, audit: AuditLog) -> Self {
        Self { keys: Arc::new(ArcSwap::new(keys)), fleet, audit }
    }

    /// The keys as they are now.
    #[must_use]
    pub fn keys(&self) -> Arc<KeyRing> {
        self.keys.load_full()
    }

    /// Changes the keys while requests run: each signs with the ring it began with. The fleet has to know the new
    /// keys before and the old ones until those requests are done.
    pub fn replace_keys(&self, keys: Arc<KeyRing>) {
        self.keys.store(keys);
    }

    /// Signs and records; the entry is durable before this returns.
    ///
    /// Where devices have copies of their own, any copy that a device can serve is taken, and another one when none
    /// can after all. Only e of SM2 given by the caller goes to the copy that is shown as the key: e holds the
    /// public key.
    ///
    /// # Errors
    /// See [`SigningError`]. A refusal by the devices is on record too; whether the caller may use the key
    /// was decided before.
    pub async fn sign(&self, caller: &Caller, order: SignOrder) -> Result<Receipt, SigningError> {
        self.sign_keeping(caller, order, None).await
    }

    /// Signs as [`SigningDesk::sign`] does; the answer to the request is kept in the transaction that records the
    /// signature.
    ///
    /// # Errors
    /// See [`SigningDesk::sign`]; then nothing is kept.
    pub async fn sign_keeping(
        &self,
        caller: &Caller,
        order: SignOrder,
        keep: Option<Keep>,
    ) -> Result<Receipt, SigningError> {
        let made = self.make(&self.keys(), caller, &order).await?;
        let recorded = self.record(caller, &order, made, keep);
        recorded.instrument(tracing::debug_span!("audit.append")).await
    }

    /// Has a signature made, or refused by the devices; of neither anything may leave before it is on record.
    ///
    /// # Errors
    /// What the order is refused for before a device is asked.
    pub(crate) async fn make(
        &self,
        ring: &KeyRing,
        caller: &Caller,
        order: &SignOrder,
    ) -> Result<Made, SigningError> {
        let key = admit(ring, order)?;
        let mut copies = self.candidates(key, order).into_iter();
        let first = copies.next().unwrap_or_else(|| key.shown());
        let prepare = |copy| {
            let prepared = Prepared::of(&key.id, copy, order, caller.at)?;
            Ok(Turn { copy, algorithm: order.algorithm, digest: prepared.digest(), prepared })
        };
        let (Turn { copy, digest, prepared, .. }, signed) =
            in_turn(&self.fleet, &caller.app, caller.deadline, first, copies, prepare).await?;
        let signed = match signed {
            Ok(Signed { device, signature, .. }) => match prepared.finish(signature) {
                Ok(signature) => Ok((device, signature)),
                Err(error) => Err((Some(device), error.into())),
            },
            Err(error) => Err((None, error.into())),
        };
        Ok(Made {
            key: copy.driver_key.clone(),
            version: key.current.version,
            certificate: copy.chain.first().cloned(),
            digest,
            signed,
        })
    }

    /// The copies to ask, in turn: those that some device can serve, beginning anywhere so that their devices share
    /// the work.
    fn candidates<'k>(&self, key: &'k SigningKey, order: &SignOrder) -> Vec<&'k SigningCopy> {
        let e_is_given = order.algorithm == Algorithm::Sm2Sm3
            && order.format == SignatureFormat::Raw
            && matches!(order.input, Input::Digest(_));
        if e_is_given {
            return vec![key.shown()];
        }
        // Where none is usable, the refusal of the first says what is wrong.
        in_rotation(&self.fleet, &key.current.copies)
    }

    /// Puts what came of an order on record and answers it.
    async fn record(
        &self,
        caller: &Caller,
        order: &SignOrder,
        made: Made,
        keep: Option<Keep>,
    ) -> Result<Receipt, SigningError> {
        let entry = AuditEntry {
            action: order.format.action().to_owned(),
            actor: caller.app.to_string(),
            at: caller.at,
            device: made.device().map(DeviceId::to_string),
            input_digest: Some(hex::encode(made.digest)),
            key: Some(made.key.to_string()),
            outcome: made.outcome().to_owned(),
            request_id: caller.request_id.clone(),
            result_digest: made.result_digest(),
            subject: None,
        };
        let Made { version, certificate, signed, .. } = made;
        let (device, signature) = match signed {
            Ok(signed) => signed,
            Err((_, error)) => {
                self.audit.append(entry).await?;
                return Err(error);
            }
        };
        let receipt = Receipt {
            signature,
            device,
            version,
            certificate,
            audit_index: 0, // nobody sees it before it is known
        };
        let keeping = keep.map(|Keep { claim, answer }| Keeping { claim, answer: answer(&receipt) });
        let audit_index = self.audit.append_keeping(entry, keeping).await?;
        Ok(Receipt { audit_index, ..receipt })
    }
}

fn admit<'k>(ring: &'k KeyRing, order: &SignOrder) -> Result<&'k SigningKey, SigningError> {
    let key = ring.service_key(&order.key)?;
    if let Some(group) = order.group.as_ref().filter(|group| **group != key.group) {
        return Err(SigningError::KeyNotInGroup { key: key.id.clone(), group: group.clone() });
    }
    if !key.shown().public_key.supports(order.algorithm) {
        return Err(SigningError::AlgorithmMismatch { key: key.id.clone(), algorithm: order.algorithm });
    }
    Ok(key)
}

/// The copies that some device can serve, beginning anywhere so that their devices share the work.
pub(crate) fn in_rotation<'k>(fleet: &Fleet, copies: &'k [SigningCopy]) -> Vec<&'k SigningCopy> {
    let mut usable: Vec<_> = copies.iter().filter(|copy| fleet.can_serve(&copy.driver_key)).collect();
    if !usable.is_empty() {
        let first = fastrand::usize(..usable.len());
        usable.rotate_left(first);
    }
    usable
}

/// What a copy is to sign when its turn comes.
pub(crate) struct Turn<'k, P> {
    pub(crate) copy: &'k SigningCopy,
    pub(crate) algorithm: Algorithm,
    pub(crate) digest: [u8; 32],
    pub(crate) prepared: P,
}

/// Asks one copy after another until one signed or the last one asked failed; within the site's deadline, and not
/// after `until`.
pub(crate) async fn in_turn<'k, C, P>(
    fleet: &Fleet,
    caller: &AppId,
    until: Option<Instant>,
    first: C,
    mut others: impl Iterator<Item = C>,
    prepare: impl Fn(C) -> Result<Turn<'k, P>, SigningError>,
) -> Result<(Turn<'k, P>, Result<Signed, HsmError>), SigningError> {
    let latest = Instant::now() + fleet.deadline();
    let deadline = until.map_or(latest, |until| until.min(latest));
    let mut candidate = first;
    loop {
        let turn = prepare(candidate)?;
        let other = others.next();
        // A copy in one device leaves time for another copy.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = if other.is_some() { left / 2 } else { left };
        let ask = Ask {
            caller,
            key: &turn.copy.driver_key,
            algorithm: device_algorithm(turn.algorithm),
            digest: turn.digest,
            deadline: Some(Instant::now() + share),
        };
        match (fleet.sign(ask).await, other) {
            (Err(error), Some(other)) if may_go_elsewhere(&error) && Instant::now() < deadline => {
                candidate = other;
            }
            (signed, _) => return Ok((turn, signed)),
        }
    }
}

/// Whether a copy in another device may do what this one did not.
fn may_go_elsewhere(error: &HsmError) -> bool {
    matches!(
        error,
        HsmError::NoDevice { .. }
            | HsmError::Overloaded { .. }
            | HsmError::DeadlineExceeded { .. }
            | HsmError::RetriesExhausted { .. }
            | HsmError::Refused { .. }
            // The fleet is being given other keys.
            | HsmError::UnknownKey { .. }
    )
}

/// Settled, waiting for 32 octets to be signed.
pub(crate) enum Prepared {
    Raw([u8; 32]),
    Cms(Box<Pending>),
    Seal(Box<PendingSealSignature>),
}

impl Prepared {
    /// Settles what a copy is to sign.
    ///
    /// # Errors
    /// [`SigningError::Register`] where what makes no sense is the certificate of the key: the order was checked in form.
    pub(crate) fn of(
        key: &KeyId,
        copy: &SigningCopy,
        order: &SignOrder,
        at: OffsetDateTime,
    ) -> Result<Self, SigningError> {
        Self::new(copy, order, at).map_err(|error| match error {
            FormatError::Plan(reason) => {
                SigningError::Register { key: key.clone(), reason: reason.to_owned() }
            }
            error => SigningError::Format(error),
        })
    }

    fn new(copy: &SigningCopy, order: &SignOrder, at: OffsetDateTime) -> Result<Self, FormatError> {
        let (family, detached, signing_time) = match &order.format {
            SignatureFormat::Cms { family, detached } => (*family, *detached, Some(at)),
            SignatureFormat::Pdf { family } => (*family, true, None),
            SignatureFormat::Seal { seal, location, .. } => {
                return Self::seal(copy, order, at, seal, location);
            }
            SignatureFormat::Raw => {
                return Ok(Self::Raw(match &order.input {
                    Input::Digest(digest) => *digest,
                    Input::Data(data) => copy.public_key.digest(order.algorithm, &order.signer_id, data)?,
                }));
            }
        };
        let pending = cms::prepare(SignedDataPlan {
            family,
            algorithm: order.algorithm,
            content: order.input.clone().into(),
            detached,
            chain: copy.chain.clone(),
            signing_time,
            signer_id: order.signer_id.clone(),
        })?;
        Ok(Self::Cms(Box::new(pending)))
    }

    fn seal(
        copy: &SigningCopy,
        order: &SignOrder,
        at: OffsetDateTime,
        seal: &Seal,
        location: &str,
    ) -> Result<Self, FormatError> {
        let signer =
            copy.chain.first().ok_or(FormatError::Plan("a key that sets seals has a certificate"))?;
        let Input::Digest(data_hash) = &order.input else {
            return Err(FormatError::Plan("a seal is set over a digest"));
        };
        let plan = SealSignaturePlan {
            seal: seal.clone(),
            signed_at: at,
            data_hash: *data_hash,
            property_info: location.to_owned(),
            signer: signer.clone(),
            algorithm: order.algorithm,
            signer_id: order.signer_id.clone(),
        };
        Ok(Self::Seal(Box::new(plan.prepare()?)))
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        match self {
            Self::Raw(digest) => *digest,
            Self::Cms(pending) => pending.digest(),
            Self::Seal(pending) => pending.digest(),
        }
    }

    pub(crate) fn finish(self, signature: Vec<u8>) -> Result<Vec<u8>, FormatError> {
        match self {
            Self::Raw(_) => Ok(signature),
            Self::Cms(pending) => pending.finish(&signature),
            Self::Seal(pending) => pending.finish(&signature, None),
        }
    }
}

impl From<Input> for Content {
    fn from(input: Input) -> Self {
        match input {
            Input::Digest(digest) => Self::Digest(digest),
            Input::Data(data) => Self::Bytes(data),
        }
    }
}

pub(crate) fn device_algorithm(algorithm: Algorithm) -> hsm_driver::Algorithm {
    match algorithm {
        Algorithm::Sm2Sm3 => hsm_driver::Algorithm::Sm2,
        Algorithm::EcdsaP256Sha256 => hsm_driver::Algorithm::EcdsaP256,
        Algorithm::RsaPkcs1Sha256 => hsm_driver::Algorithm::RsaPkcs1,
        Algorithm::RsaPssSha256 => hsm_driver::Algorithm::RsaPss,
    }
}
