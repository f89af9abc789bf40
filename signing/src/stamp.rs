//! Stamps: documents and digests signed, with their numbers, on record and in the register.

mod subject;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use config::{DeviceId, KeyId};
use formats::cms::Family;
use formats::{Algorithm, Certificate};
use hsm_driver::HsmError;
use store::{
    AuditEntry, Claim, Keeping, MandateUse, Stamp, StampMandate, StampSignature, StampTemplateUse,
    StampedDocument, StoreError, UnplacedAnswer,
};

use crate::level::{Level, LevelDesk};
use crate::sign::device_algorithm;
use crate::{Caller, LicenseSigner, MandateSigner, SignOrder, SigningCopy, SigningDesk, SigningError};

pub use subject::StampSubject;
use subject::{Finished, finish};
pub(crate) use subject::{computed, put_in, unfit};

/// An order for a stamp.
pub struct StampOrder {
    /// Its number.
    pub id: String,
    /// What the check page will be found by.
    pub check_code: String,
    /// What is stamped, prepared for the first signature.
    pub subject: StampSubject,
    /// The signature, or the first of several.
    pub first: SignatureOrder,
    /// The others, in order.
    pub further: Vec<FurtherSignature>,
    /// The template that the order was resolved by.
    pub template: Option<StampTemplateUse>,
}

/// An order for a signature of a stamp.
pub struct SignatureOrder {
    /// Who signs.
    pub signer: StampSigner,
    /// How; a document is digested as it wants.
    pub algorithm: Algorithm,
    /// Whose object identifiers the CMS has.
    pub family: Family,
    /// The level that is wanted.
    pub level: Level,
    /// Where what a level beyond B-B takes comes from.
    pub sources: Option<LevelDesk>,
}

/// Puts into a document what is to be signed next, with room for the signature.
pub type Prepare = Box<dyn FnOnce(Bytes) -> Result<StampSubject, SigningError> + Send>;

/// A signature that is made in the document that the earlier ones left.
pub struct FurtherSignature {
    /// The signature.
    pub order: SignatureOrder,
    /// Prepares that document for it.
    pub prepare: Prepare,
}

/// Who signs a stamp.
#[derive(Debug, Clone)]
pub enum StampSigner {
    /// A service key of the site.
    Key(KeyId),
    /// The key of an enterprise's standing mandate.
    Mandate(Box<MandateSigner>),
    /// The key of an enterprise's license, which has signed on its holder's phone.
    License(Box<LicenseSigner>),
}

impl StampSigner {
    /// What record and register call the key.
    fn key(&self) -> &KeyId {
        match self {
            Self::Key(key) => key,
            Self::Mandate(signer) => signer.key(),
            Self::License(signer) => signer.key(),
        }
    }

    /// In whose name it signs, unless it is the site's.
    fn named(&self) -> Option<StampMandate> {
        match self {
            Self::Key(_) | Self::License(_) => None,
            Self::Mandate(signer) => Some(signer.named.clone()),
        }
    }
}

/// A stamp that verified, is on record and in the register.
#[derive(Debug, Clone)]
pub struct StampReceipt {
    /// The stamped document; over a digest the detached CMS.
    pub document: Bytes,
    /// Who signed it first.
    pub device: DeviceId,
    /// The certificate of the key that did.
    pub certificate: Certificate,
    /// Where that signature is: the name of its field in a PDF, its part in an OFD package; none over a digest.
    pub field: Option<String>,
    /// SM3 of the stamped document, or of the CMS.
    pub digest: [u8; 32],
    /// Each of several signatures, in order; empty if there is one.
    pub signatures: Vec<SignatureReceipt>,
}

/// One of several signatures of a stamp.
#[derive(Debug, Clone)]
pub struct SignatureReceipt {
    /// The key's name.
    pub key: KeyId,
    /// How it signed.
    pub algorithm: Algorithm,
    /// Its level.
    pub level: Level,
    /// Who signed.
    pub device: DeviceId,
    /// The certificate of the key that did.
    pub certificate: Certificate,
    /// Where it is.
    pub field: String,
    /// In whose name, unless it is the site's.
    pub mandate: Option<StampMandate>,
    /// Its own entry in the audit log.
    pub audit_index: u64,
}

/// What is kept in the transaction that puts a stamp on record.
pub enum KeepStamp<T> {
    /// The answer to a request that holds an idempotency key.
    Answer {
        /// The claim that holds the key.
        claim: Arc<Claim>,
        /// Makes the answer of what was told; the place in the log is not known yet.
        answer: fn(&T) -> UnplacedAnswer,
    },
    /// What came of a document of a job.
    Document(fn(&T) -> StampedDocument),
}

/// What the record calls one of several signatures of a stamp.
const SIGNATURE: &str = "stamp.signature";

/// Why there is no stamp.
#[derive(Debug)]
pub struct Unstamped {
    /// The reason.
    pub error: SigningError,
    /// So many signatures were made for it all the same, each on record: whoever tries again has them made once more.
    pub signed: usize,
}

impl From<SigningError> for Unstamped {
    fn from(error: SigningError) -> Self {
        Self { error, signed: 0 }
    }
}

/// A signature that was not made.
struct Unsigned {
    error: SigningError,
    /// What the record says of it; none where no device was asked.
    entry: Option<AuditEntry>,
    /// So many were made, this one among them if it was not brought to its end.
    signed: usize,
}

impl Unsigned {
    fn unasked(error: SigningError) -> Self {
        Self { error, entry: None, signed: 0 }
    }

    /// Says which of several signatures it is. A record in doubt is nobody's fault.
    fn named(self, number: usize) -> Self {
        match self.error {
            SigningError::Record(_) => self,
            error => {
                let source = Box::new(error);
                Self { error: SigningError::OfSignature { number, source }, ..self }
            }
        }
    }
}

/// What was taken of a mandate, with the intention that is on record.
struct Taken {
    intended: AuditEntry,
    wanted: MandateUse,
}

/// A document with all its signatures, whose stamp is not on record yet.
struct Signed {
    finished: Finished,
    signatures: Vec<SignatureReceipt>,
    /// What the record says of the stamp.
    entry: AuditEntry,
}

/// What the record says of a stamp and its signatures, but for what came of it.
struct Entries {
    /// Of the stamp; without a key.
    whole: AuditEntry,
    has_several: bool,
}

impl Entries {
    /// Of the signature at this place, counted from 0: of several each has an entry and a name of its own.
    fn of(&self, place: usize, signer: &StampSigner) -> AuditEntry {
        let own = AuditEntry { key: Some(signer.key().to_string()), ..self.whole.clone() };
        if !self.has_several {
            return own;
        }
        let subject = own.subject.as_ref().map(|id| format!("{id}/{}", place + 1));
        AuditEntry { action: SIGNATURE.to_owned(), subject, ..own }
    }
}

impl SigningDesk {
    /// Has the signatures of a stamp made, one after the other, each brought to its level and put into the document; the record, the
    /// register and the answer to be kept are durable, all or none, before this returns. `tell` makes of the receipt what the
    /// answers are made of, and may fail: then there is no stamp. It runs, as all that works on the whole document does,
    /// where computing holds nobody up.
    /// Answered is that, the receipt, and where the stamp stands in the audit log.
    ///
    /// What mandates allow is taken of all of them before the first key signs, and given back to all if there is no stamp. Each of
    /// several signatures has an entry of its own, on disk before the next one is made; the stamp's own is the last. No key is
    /// asked as long as no device takes work for another one of them.
    ///
    /// # Errors
    /// See [`SigningError`]; a refusal by the devices is on record too. Whether the caller may use the keys was decided
    /// before.
    pub async fn stamp<T: Send + 'static>(
        &self,
        caller: &Caller,
        order: StampOrder,
        tell: impl FnOnce(&StampReceipt) -> Result<T, SigningError> + Send + 'static,
        keep: Option<KeepStamp<T>>,
    ) -> Result<(T, StampReceipt, u64), Unstamped> {
        let StampOrder { id, check_code, subject, first, further, template } = order;
        let (action, kind) = subject.names();
        let (input_digest, list) = (subject.input_digest(), subject.listed());
        let whole = AuditEntry {
            action: action.to_owned(),
            actor: caller.app.to_string(),
            at: caller.at,
            device: None,
            input_digest: Some(hex::encode::<[u8; 32]>(input_digest)),
            key: None,
            outcome: "intended".to_owned(),
            request_id: caller.request_id.clone(),
            result_digest: None,
            subject: Some(id.clone()),
        };
        let entries = Entries { whole, has_several: !further.is_empty() };
        let signers = std::iter::once(&first).chain(further.iter().map(|further| &further.order));
        let uses = signers.enumerate().filter_map(|(place, order)| match &order.signer {
            StampSigner::Key(_) | StampSigner::License(_) => None,
            StampSigner::Mandate(signer) => {
                let intended = entries.of(place, &order.signer);
                Some((place, Taken { intended, wanted: signer.wanted.clone() }))
            }
        });
        let uses = uses.collect();
        self.may_all_sign(&first, &further)?;
        let taken = self.take_all(uses, &entries).await?;
        let Signed { finished, signatures, entry } =
            match self.sign_all(caller, subject, first, further, &entries).await {
                Ok(signed) => signed,
                Err(Unsigned { error, entry, signed }) => {
                    let noted = self.note_failure(taken, &error, entry, &entries).await;
                    return Err(Unstamped { error: noted.err().unwrap_or(error), signed });
                }
            };
        let signed = signatures.len();
        let unstamped = |error| Unstamped { error, signed };
        let Some(shown) = signatures.first().cloned() else {
            return Err(unstamped(unfit("has no signature"))); // the first was made
        };
        let Finished { document, field, digest } = finished;
        // The register shows the first of several, and all of them beside it.
        let several = if entries.has_several { signatures } else { Vec::new() };
        let field = if entries.has_several { Some(shown.field) } else { field };
        let stamp = Stamp {
            id,
            check_code,
            format: kind.to_owned(),
            level: shown.level.name().to_owned(),
            app: caller.app.clone(),
            key: shown.key,
            at: caller.at,
            certificate: shown.certificate.der().to_vec(),
            field: field.clone().unwrap_or_default(),
            input_digest,
            result_digest: digest,
            octets: document.len() as u64,
            mandate: shown.mandate,
            template,
            list,
            signatures: several.iter().map(SignatureReceipt::registered).collect(),
        };
        let (device, certificate) = (shown.device, shown.certificate);
        let receipt = StampReceipt { document, device, certificate, field, digest, signatures: several };
        let telling = move || {
            let told = tell(&receipt)?;
            let (keeping, document) = match keep {
                None => (None, None),
                Some(KeepStamp::Answer { claim, answer }) => {
                    (Some(Keeping { claim, answer: answer(&told) }), None)
                }
                Some(KeepStamp::Document(document)) => (None, Some(document(&told))),
            };
            Ok((told, keeping, document, receipt))
        };
        let (told, keeping, document, receipt) = match computed(telling).await.and_then(|told| told) {
            Ok(told) => told,
            Err(error) => {
                let noted = self.note_failure(taken, &error, Some(entry), &entries).await;
                return Err(unstamped(noted.err().unwrap_or(error)));
            }
        };
        let entry = AuditEntry { result_digest: Some(hex::encode::<[u8; 32]>(digest)), ..entry };
        let none = entry.clone();
        let recorded = match document {
            Some(document) => self.audit.append_job_stamp(entry, stamp, document).await,
            None => self.audit.append_stamp(entry, stamp, keeping).await,
        };
        match recorded {
            Ok(audit_index) => Ok((told, receipt, audit_index)),
            // Somebody else has the document, or made the stamp of this number, by now: this one is certainly not there, and nothing is in doubt.
            Err(error @ StoreError::Changed { .. }) => {
                let error = error.into();
                let noted = self.note_failure(taken, &error, Some(none), &entries).await;
                Err(unstamped(noted.err().unwrap_or(error)))
            }
            Err(error) => Err(unstamped(error.into())),
        }
    }

    /// A stamp that is on record, made again of the same order and the same signature of a license's key, octet by octet: for
    /// whoever lost the answer. Nothing is recorded, as nothing is new.
    ///
    /// # Errors
    /// Of something else than what was signed; [`SigningError::Record`] as where somebody else was first, if what comes of it
    /// is not what is on record.
    pub async fn stamp_again(
        &self,
        subject: StampSubject,
        signer: &LicenseSigner,
        family: Family,
        recorded: &Stamp,
    ) -> Result<StampReceipt, SigningError> {
        let (input, format) = subject.to_sign(family)?;
        let signing = SignOrder {
            key: signer.key().clone(),
            group: None,
            algorithm: Algorithm::Sm2Sm3,
            input,
            format,
            signer_id: formats::DEFAULT_SIGNER_ID.to_vec(),
        };
        let (device, cms) = signer.signed(&signing)?.signed.map_err(|(_, error)| error)?;
        let certificate = signer.certificate().clone();
        let finished = finish(subject, &certificate, cms, Level::B, None).await?;
        let Finished { document, field, digest } = finished;
        if digest != recorded.result_digest {
            return Err(StoreError::Changed { what: store::STAMP, id: recorded.id.clone() }.into());
        }
        Ok(StampReceipt { document, device, certificate, field, digest, signatures: Vec::new() })
    }

    /// Whether, as far as is known, some device takes work for each of several signatures.
    ///
    /// # Errors
    /// Of the first for which none does.
    fn may_all_sign(&self, first: &SignatureOrder, further: &[FurtherSignature]) -> Result<(), SigningError> {
        if further.is_empty() {
            return Ok(()); // the device says so itself
        }
        let ring = self.keys();
        let orders = std::iter::once(first).chain(further.iter().map(|further| &further.order));
        for (number, order) in orders.enumerate() {
            let missing = match &order.signer {
                StampSigner::Key(id) => {
                    let key = ring.service_key(id);
                    let key = key.map_err(|error| Unsigned::unasked(error).named(number).error)?;
                    let algorithm = device_algorithm(order.algorithm);
                    let can_sign = |copy: &SigningCopy| self.fleet.can_sign(&copy.driver_key, algorithm);
                    (!key.current.copies.iter().any(can_sign)).then(|| key.group.clone())
                }
                StampSigner::Mandate(signer) => {
                    let group = signer.group();
                    (!self.fleet.can_unwrap(group)).then(|| group.clone())
                }
                StampSigner::License(_) => None,
            };
            if let Some(group) = missing {
                let error = HsmError::NoDevice { key: order.signer.key().clone(), group };
                return Err(Unsigned::unasked(error.into()).named(number).error);
            }
        }
        Ok(())
    }

    /// Puts the intention to use each mandate on record and takes one of its signatures, of all or of none.
    async fn take_all(
        &self,
        uses: Vec<(usize, Taken)>,
        entries: &Entries,
    ) -> Result<Vec<Taken>, SigningError> {
        let mut taken = Vec::with_capacity(uses.len());
        for (place, one) in uses {
            let answer = self.audit.append_mandate_use(one.intended.clone(), one.wanted.clone()).await;
            let unsigned = match answer {
                Ok(Ok(_)) => {
                    taken.push(one);
                    continue;
                }
                Ok(Err(refusal)) => Unsigned::unasked(SigningError::Mandate(refusal)),
                Err(error) => Unsigned::unasked(error.into()),
            };
            let Unsigned { error, .. } = if entries.has_several { unsigned.named(place) } else { unsigned };
            self.note_failure(taken, &error, None, entries).await?;
            return Err(error);
        }
        Ok(taken)
    }

    /// Makes the signatures, each in what the one before left. Of several each is on record when the next one is made.
    async fn sign_all(
        &self,
        caller: &Caller,
        subject: StampSubject,
        first: SignatureOrder,
        further: Vec<FurtherSignature>,
        entries: &Entries,
    ) -> Result<Signed, Unsigned> {
        let mut signatures: Vec<SignatureReceipt> = Vec::with_capacity(1 + further.len());
        let (mut further, mut next) = (further.into_iter(), (first, subject));
        loop {
            let (order, subject) = next;
            let (place, has_several) = (signatures.len(), entries.has_several);
            let failed = |unsigned: Unsigned| match has_several {
                true => {
                    let signed = place + unsigned.signed;
                    // Once a device was asked for any of them, the stamp's own entry says that there is none.
                    let was_asked = unsigned.entry.is_some() || place > 0;
                    let (key, device) =
                        unsigned.entry.map_or((None, None), |entry| (entry.key, entry.device));
                    let entry = AuditEntry { key, device, ..entries.whole.clone() };
                    Unsigned { error: unsigned.error, entry: was_asked.then_some(entry), signed }.named(place)
                }
                false => unsigned,
            };
            let (signer, algorithm, level) = (order.signer.clone(), order.algorithm, order.level);
            let entry = entries.of(place, &signer);
            let (finished, device, certificate, entry) =
                self.sign_one(caller, order, subject, entry).await.map_err(failed)?;
            let audit_index = match has_several {
                true => {
                    let result_digest = Some(hex::encode::<[u8; 32]>(finished.digest));
                    let own = AuditEntry { result_digest, ..entry.clone() };
                    let appended = self.audit.append(own).await;
                    appended.map_err(|error| {
                        failed(Unsigned { error: error.into(), entry: Some(entry.clone()), signed: 1 })
                    })?
                }
                false => 0, // the stamp's own entry
            };
            signatures.push(SignatureReceipt {
                key: signer.key().clone(),
                algorithm,
                level,
                device,
                certificate,
                field: finished.field.clone().unwrap_or_default(),
                mandate: signer.named(),
                audit_index,
            });
            let Some(FurtherSignature { order, prepare }) = further.next() else {
                let entry = match has_several {
                    true => AuditEntry { outcome: entry.outcome, ..entries.whole.clone() },
                    false => entry,
                };
                return Ok(Signed { finished, signatures, entry });
            };
            let document = finished.document;
            let prepared = computed(move || prepare(document)).await.and_then(|prepared| prepared);
            let was_signed = |error| {
                let entry = Some(entries.whole.clone());
                Unsigned { error, entry, signed: place + 1 }.named(place + 1)
            };
            next = (order, prepared.map_err(was_signed)?);
        }
    }

    /// Makes one signature and puts it where it belongs; answers what the record says of it too.
    async fn sign_one(
        &self,
        caller: &Caller,
        order: SignatureOrder,
        subject: StampSubject,
        intended: AuditEntry,
    ) -> Result<(Finished, DeviceId, Certificate, AuditEntry), Unsigned> {
        let SignatureOrder { signer, algorithm, family, level, sources } = order;
        let input_digest = Some(hex::encode::<[u8; 32]>(subject.input_digest()));
        let (input, format) = subject.to_sign(family).map_err(Unsigned::unasked)?;
        let signing = SignOrder {
            key: signer.key().clone(),
            group: None,
            algorithm,
            input,
            format,
            signer_id: formats::DEFAULT_SIGNER_ID.to_vec(),
        };
        let made = match &signer {
            StampSigner::Key(_) => self.make(&self.keys(), caller, &signing).await,
            StampSigner::Mandate(signer) => self.signed_by(caller, &signing, signer).await,
            StampSigner::License(signer) => signer.signed(&signing),
        };
        let made = made.map_err(Unsigned::unasked)?;
        let entry = AuditEntry {
            device: made.device().map(DeviceId::to_string),
            input_digest,
            key: Some(made.key.to_string()),
            outcome: made.outcome().to_owned(),
            ..intended
        };
        let signed = usize::from(made.signed.is_ok());
        caller.signed.fetch_add(signed, Ordering::Relaxed);
        let certificate = made.certificate.ok_or_else(|| SigningError::Register {
            key: signing.key,
            reason: "a key that stamps has a certificate".to_owned(),
        });
        let finished = match (made.signed, certificate) {
            (Ok((device, cms)), Ok(certificate)) => {
                let finished = finish(subject, &certificate, cms, level, sources).await;
                finished.map(|finished| (finished, device, certificate))
            }
            (Err((_, error)), _) | (_, Err(error)) => Err(error),
        };
        match finished {
            Ok((finished, device, certificate)) => Ok((finished, device, certificate, entry)),
            Err(error) => Err(Unsigned { error, entry: Some(entry), signed }),
        }
    }

    /// Puts on record that nothing was stamped; each mandate has its signature back, also where the record of another's
    /// fails.
    async fn note_failure(
        &self,
        taken: Vec<Taken>,
        error: &SigningError,
        mut entry: Option<AuditEntry>,
        entries: &Entries,
    ) -> Result<(), SigningError> {
        let failed = |entry| AuditEntry { outcome: error.code().to_owned(), ..entry };
        let mut doubt = None;
        for Taken { intended, wanted } in taken {
            // The entry of a single signature gives back what was taken for it.
            let own = if entries.has_several { None } else { entry.take() };
            if let Err(error) =
                self.audit.append_mandate_unused(failed(own.unwrap_or(intended)), wanted).await
            {
                doubt.get_or_insert(error);
            }
        }
        if let Some(entry) = entry
            && let Err(error) = self.audit.append(failed(entry)).await
        {
            doubt.get_or_insert(error);
        }
        doubt.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl SignatureReceipt {
    fn registered(&self) -> StampSignature {
        StampSignature {
            audit_index: self.audit_index,
            certificate: self.certificate.der().to_vec(),
            field: self.field.clone(),
            key: self.key.clone(),
            level: self.level.name().to_owned(),
            mandate: self.mandate.clone(),
        }
    }
}
