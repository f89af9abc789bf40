//! Stamps: documents and digests signed, with their numbers, on record and in the register.

use std::sync::Arc;

use config::{DeviceId, KeyId};
use formats::cms::Family;
use formats::ofd::PreparedOfd;
use formats::pdf::sign::{Prepared, SignError};
use formats::seal::Seal;
use formats::{Algorithm, Certificate};
use sm3::{Digest, Sm3};
use store::{
    AuditEntry, Claim, Keeping, Stamp, StampMandate, StampTemplateUse, StampedDocument, UnplacedAnswer,
};

use crate::level::{Level, LevelDesk};
use crate::{
    Caller, Input, MandateSigner, SignOrder, SignatureFormat, SignedForm, SigningDesk, SigningError,
};

/// An order for a stamp.
pub struct StampOrder {
    /// Its number.
    pub id: String,
    /// What the check page will be found by.
    pub check_code: String,
    /// Who signs.
    pub signer: StampSigner,
    /// How; a document is digested as it wants.
    pub algorithm: Algorithm,
    /// Whose object identifiers the CMS has.
    pub family: Family,
    /// What is stamped.
    pub subject: StampSubject,
    /// The level that is wanted.
    pub level: Level,
    /// Where what a level beyond B-B takes comes from.
    pub sources: Option<LevelDesk>,
    /// The template that the order was resolved by.
    pub template: Option<StampTemplateUse>,
}

/// Who signs a stamp.
#[derive(Debug, Clone)]
pub enum StampSigner {
    /// A service key of the site.
    Key(KeyId),
    /// The key of an enterprise's standing mandate.
    Mandate(Box<MandateSigner>),
}

impl StampSigner {
    /// What record and register call the key.
    fn key(&self) -> &KeyId {
        match self {
            Self::Key(key) => key,
            Self::Mandate(signer) => signer.key(),
        }
    }

    /// In whose name it signs, unless it is the site's.
    fn named(&self) -> Option<StampMandate> {
        match self {
            Self::Key(_) => None,
            Self::Mandate(signer) => Some(signer.named.clone()),
        }
    }
}

/// What is stamped.
pub enum StampSubject {
    /// A PDF.
    Pdf {
        /// As it came.
        document: Arc<[u8]>,
        /// SM3 of it, to be gone on with.
        begun: Sm3,
        /// Its update, which waits for the signature.
        prepared: Prepared,
        /// The seal that is set, where the signature is that of a seal.
        seal: Option<Arc<Seal>>,
    },
    /// An OFD package.
    Ofd {
        /// As it came.
        document: Arc<[u8]>,
        /// The parts that it gets, which wait for the signature.
        prepared: PreparedOfd,
        /// The seal that is set; without one it is signed alone.
        seal: Option<Arc<Seal>>,
    },
    /// A digest, by the algorithm's hash function, of whatever the caller has.
    Digest([u8; 32]),
}

/// A stamp that verified, is on record and in the register.
#[derive(Debug, Clone)]
pub struct StampReceipt {
    /// The stamped document; over a digest the detached CMS.
    pub document: Arc<[u8]>,
    /// Who signed it.
    pub device: DeviceId,
    /// The certificate of the key that did.
    pub certificate: Certificate,
    /// Where the signature is: the name of its field in a PDF, its part in an OFD package; none over a digest.
    pub field: Option<String>,
    /// SM3 of the stamped document, or of the CMS.
    pub digest: [u8; 32],
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

/// A stamp that is made, and not on record yet.
struct Finished {
    document: Arc<[u8]>,
    field: Option<String>,
    digest: [u8; 32],
}

impl SigningDesk {
    /// Has the signature of a stamp made, brings it to the level and puts it into the document; the record, the register
    /// and the answer to be kept are durable, all or none, before this returns. `tell` makes of the receipt what the
    /// answers are made of, and may fail: then there is no stamp. It runs, as all that works on the whole document does,
    /// where computing holds nobody up.
    /// Answered is that, the receipt, and where the stamp stands in the audit log.
    ///
    /// # Errors
    /// See [`SigningError`]; a refusal by the devices is on record too. Whether the caller may use the key was decided
    /// before.
    pub async fn stamp<T: Send + 'static>(
        &self,
        caller: &Caller,
        order: StampOrder,
        tell: impl FnOnce(&StampReceipt) -> Result<T, SigningError> + Send + 'static,
        keep: Option<KeepStamp<T>>,
    ) -> Result<(T, StampReceipt, u64), SigningError> {
        let StampOrder { id, check_code, signer, algorithm, family, subject, level, sources, template } =
            order;
        let (input_digest, input, format) = subject.to_sign(family)?;
        let (action, kind) = subject.names();
        let signing = SignOrder {
            key: signer.key().clone(),
            group: None,
            algorithm,
            input,
            format,
            signer_id: formats::DEFAULT_SIGNER_ID.to_vec(),
        };
        let intended = AuditEntry {
            action: action.to_owned(),
            actor: caller.app.to_string(),
            at: caller.at,
            device: None,
            input_digest: Some(hex::encode::<[u8; 32]>(input_digest)),
            key: Some(signing.key.to_string()),
            outcome: "intended".to_owned(),
            request_id: caller.request_id.clone(),
            result_digest: None,
            subject: Some(id.clone()),
        };
        let made = match &signer {
            StampSigner::Key(_) => self.make(&self.keys(), caller, &signing).await?,
            StampSigner::Mandate(signer) => self.make_mandated(caller, &signing, signer, &intended).await?,
        };
        let entry = AuditEntry {
            device: made.device().map(DeviceId::to_string),
            key: Some(made.key.to_string()),
            outcome: made.outcome().to_owned(),
            ..intended
        };
        let certificate = made.certificate.ok_or_else(|| SigningError::Register {
            key: signing.key.clone(),
            reason: "a key that stamps has a certificate".to_owned(),
        });
        let finished = match (made.signed, certificate) {
            (Ok((device, cms)), Ok(certificate)) => {
                let finished = finish(subject, &certificate, cms, level, sources).await;
                finished.map(|finished| (device, certificate, finished))
            }
            (Err((_, error)), _) | (_, Err(error)) => Err(error),
        };
        let (device, certificate, finished) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                self.note_failure(&signer, &error, entry).await?;
                return Err(error);
            }
        };
        let Finished { document, field, digest } = finished;
        let stamp = Stamp {
            id,
            check_code,
            format: kind.to_owned(),
            level: level.name().to_owned(),
            app: caller.app.clone(),
            key: signing.key,
            at: caller.at,
            certificate: certificate.der().to_vec(),
            field: field.clone().unwrap_or_default(),
            input_digest,
            result_digest: digest,
            octets: document.len() as u64,
            mandate: signer.named(),
            template,
        };
        let receipt = StampReceipt { document, device, certificate, field, digest };
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
                self.note_failure(&signer, &error, entry).await?;
                return Err(error);
            }
        };
        let entry = AuditEntry { result_digest: Some(hex::encode::<[u8; 32]>(digest)), ..entry };
        let audit_index = match document {
            Some(document) => self.audit.append_job_stamp(entry, stamp, document).await?,
            None => self.audit.append_stamp(entry, stamp, keeping).await?,
        };
        Ok((told, receipt, audit_index))
    }

    /// Puts on record that nothing was stamped; a mandate has its signature back.
    async fn note_failure(
        &self,
        signer: &StampSigner,
        error: &SigningError,
        entry: AuditEntry,
    ) -> Result<(), SigningError> {
        let failed = AuditEntry { outcome: error.code().to_owned(), ..entry };
        match signer {
            StampSigner::Key(_) => self.audit.append(failed).await?,
            StampSigner::Mandate(signer) => {
                self.audit.append_mandate_unused(failed, signer.wanted.clone()).await?
            }
        };
        Ok(())
    }
}

impl StampSubject {
    /// The digest that the record has, what is signed, and in what form.
    fn to_sign(&self, family: Family) -> Result<([u8; 32], Input, SignatureFormat), SigningError> {
        Ok(match self {
            Self::Pdf { begun, prepared, seal, .. } => {
                let digest = prepared.digest().try_into().map_err(|_| unfit("was digested otherwise"))?;
                let format = match seal {
                    Some(seal) => SignatureFormat::Seal {
                        seal: Arc::clone(seal),
                        location: prepared.location(),
                        of: SignedForm::Pdf,
                    },
                    None => SignatureFormat::Pdf { family },
                };
                (begun.clone().finalize().into(), Input::Digest(digest), format)
            }
            Self::Ofd { document, prepared, seal } => {
                let digest = prepared.digest();
                let (input, format) = match seal {
                    Some(seal) => {
                        let (seal, location) = (Arc::clone(seal), prepared.location());
                        (Input::Digest(digest), SignatureFormat::Seal { seal, location, of: SignedForm::Ofd })
                    }
                    // GB/T 33190 says nothing of the form; the digest is what is signed, as others do it.
                    None => {
                        let format = SignatureFormat::Cms { family: Family::Gbt35275, detached: false };
                        (Input::Data(digest.to_vec()), format)
                    }
                };
                (Sm3::digest(document).into(), input, format)
            }
            Self::Digest(digest) => {
                let format = SignatureFormat::Cms { family, detached: true };
                (*digest, Input::Digest(*digest), format)
            }
        })
    }

    /// What the record and the register call it.
    fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Pdf { .. } => ("stamp.pdf", "pdf"),
            Self::Ofd { .. } => ("stamp.ofd", "ofd"),
            Self::Digest(_) => ("stamp.digest", "digest"),
        }
    }
}

/// Puts a signature where it belongs and brings it to its level.
async fn finish(
    subject: StampSubject,
    signer: &Certificate,
    cms: Vec<u8>,
    level: Level,
    sources: Option<LevelDesk>,
) -> Result<Finished, SigningError> {
    let sources = match (level, sources) {
        (Level::B, _) => None,
        (_, Some(sources)) => Some(sources),
        (_, None) => return Err(unfit("is to have a level that nobody can give it")),
    };
    let (cms, token) = match &sources {
        Some(sources) => sources.timestamped(cms).await?,
        None => (cms, Vec::new()),
    };
    let (document, begun, prepared) = match subject {
        StampSubject::Digest(_) => {
            let digest = Sm3::digest(&cms).into();
            return Ok(Finished { document: cms.into(), field: None, digest });
        }
        StampSubject::Ofd { document, prepared, .. } => {
            return computed(move || {
                let field = Some(prepared.part().to_owned());
                let stamped = prepared.finish(&document, cms);
                let document: Arc<[u8]> = stamped.map_err(|_| unfit("cannot take the signature"))?.into();
                let digest = Sm3::digest(&document).into();
                Ok(Finished { document, field, digest })
            })
            .await?;
        }
        StampSubject::Pdf { document, begun, prepared, .. } => (document, begun, prepared),
    };
    let field = prepared.field().to_owned();
    let Some(sources) = sources.filter(|_| level > Level::T) else {
        return computed(move || {
            let update = put_in(prepared, &cms)?;
            let digest = begun.chain_update(&update).finalize().into();
            let document = [&document[..], &update].concat().into();
            Ok(Finished { document, field: Some(field), digest })
        })
        .await?;
    };
    let (with_data, named, signer) = (sources.clone(), field.clone(), signer.clone());
    let document: Vec<u8> = computed(move || {
        let update = put_in(prepared, &cms)?;
        let signed = [&document[..], &update].concat();
        drop((document, update));
        let data = with_data.validation_data(&signed, named, &signer, (&cms, &token))?;
        Ok::<_, SigningError>([signed, data].concat())
    })
    .await??;
    let document = if level == Level::Lta { sources.archived(document).await? } else { document };
    computed(move || {
        let digest = Sm3::digest(&document).into();
        Finished { document: document.into(), field: Some(field), digest }
    })
    .await
}

pub(crate) fn put_in(prepared: Prepared, signature: &[u8]) -> Result<Vec<u8>, SigningError> {
    prepared.finish(signature).map_err(|error: SignError| match error {
        SignError::Room { .. } => unfit("leaves too little room for this key's certificates"),
        _ => unfit("cannot take the signature"),
    })
}

/// Computes for a document beside those that serve.
pub(crate) async fn computed<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SigningError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| unfit("could not be worked on to its end"))
}

pub(crate) fn unfit(reason: &'static str) -> SigningError {
    SigningError::Stamp(reason)
}
