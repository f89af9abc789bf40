//! What is stamped: what of it is signed, and how the signature gets into it.

use std::sync::Arc;

use bytes::Bytes;
use formats::Certificate;
use formats::cms::Family;
use formats::list::List;
use formats::ofd::PreparedOfd;
use formats::pdf::sign::{self, Prepared, SignError, SignaturePlan, SubFilter};
use formats::scheme::HashAlgorithm;
use formats::seal::Seal;
use sm3::{Digest, Sm3};
use store::{Stamp, StampedList};

use crate::level::{Level, LevelDesk};
use crate::{Input, SignatureFormat, SignedForm, SigningError};

/// What is stamped.
#[derive(Clone)]
pub enum StampSubject {
    /// A PDF.
    Pdf {
        /// As it came.
        document: Bytes,
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
        document: Bytes,
        /// The parts that it gets, which wait for the signature.
        prepared: PreparedOfd,
        /// The seal that is set; without one it is signed alone.
        seal: Option<Arc<Seal>>,
    },
    /// A digest, by the algorithm's hash function, of whatever the caller has.
    Digest([u8; 32]),
    /// A list of such digests: its head is signed.
    List(Arc<List>),
}

/// A document with a signature more, which is not on record yet.
pub(super) struct Finished {
    pub(super) document: Bytes,
    pub(super) field: Option<String>,
    pub(super) digest: [u8; 32],
}

impl StampSubject {
    /// A PDF with room for the signature that is planned, and digested once for the signature and for the register.
    ///
    /// # Errors
    /// See [`sign::prepare`].
    pub fn pdf(document: Bytes, plan: &SignaturePlan, seal: Option<Arc<Seal>>) -> Result<Self, SignError> {
        let begun = Sm3::new().chain_update(&document);
        let prepared = sign::prepare_begun(&document, &begun, plan)?;
        Ok(Self::Pdf { document, begun, prepared, seal })
    }

    /// The document as it would be with a signature of this level that nobody made: to see whether another one could
    /// follow. Validation data, which take no field, are left out.
    ///
    /// # Errors
    /// It has no room, or takes none; a digest is no document.
    pub fn rehearsed(self, level: Level) -> Result<Bytes, SigningError> {
        const NOTHING: [u8; 2] = [0x30, 0]; // an empty sequence
        match self {
            Self::Pdf { document, prepared, .. } => {
                let signed = [&document[..], &put_in(prepared, &NOTHING)?].concat();
                if level != Level::Lta {
                    return Ok(signed.into());
                }
                let plan = SignaturePlan::new(SubFilter::Timestamp, HashAlgorithm::Sha256);
                let stamped = sign::prepare(&signed, &plan);
                let stamped = stamped.map_err(|_| unfit("cannot take a document timestamp"))?;
                Ok([&signed[..], &put_in(stamped, &NOTHING)?].concat().into())
            }
            Self::Ofd { document, prepared, .. } => {
                let signed = prepared.finish(&document, NOTHING.to_vec());
                Ok(signed.map_err(|_| unfit("cannot take the signature"))?.into())
            }
            Self::Digest(_) | Self::List(_) => Err(unfit("is a digest, which takes one signature")),
        }
    }

    /// What the record has of it: SM3 of the document, or the digest.
    pub(super) fn input_digest(&self) -> [u8; 32] {
        match self {
            Self::Pdf { begun, .. } => begun.clone().finalize().into(),
            Self::Ofd { document, .. } => Sm3::digest(document).into(),
            Self::Digest(digest) => *digest,
            Self::List(list) => list.head().digest(),
        }
    }

    /// What is signed, and in what form.
    pub(super) fn to_sign(&self, family: Family) -> Result<(Input, SignatureFormat), SigningError> {
        Ok(match self {
            Self::Pdf { prepared, seal, .. } => {
                let digest = prepared.digest().try_into().map_err(|_| unfit("was digested otherwise"))?;
                let format = match seal {
                    Some(seal) => SignatureFormat::Seal {
                        seal: Arc::clone(seal),
                        location: prepared.location(),
                        of: SignedForm::Pdf,
                    },
                    None => SignatureFormat::Pdf { family },
                };
                (Input::Digest(digest), format)
            }
            Self::Ofd { prepared, seal, .. } => {
                let digest = prepared.digest();
                match seal {
                    Some(seal) => {
                        let (seal, location) = (Arc::clone(seal), prepared.location());
                        (Input::Digest(digest), SignatureFormat::Seal { seal, location, of: SignedForm::Ofd })
                    }
                    // GB/T 33190 says nothing of the form; the digest is what is signed, as others do it.
                    None => {
                        let format = SignatureFormat::Cms { family: Family::Gbt35275, detached: false };
                        (Input::Data(digest.to_vec()), format)
                    }
                }
            }
            Self::Digest(_) | Self::List(_) => {
                let format = SignatureFormat::Cms { family, detached: true };
                (Input::Digest(self.input_digest()), format)
            }
        })
    }

    /// What the register says of a list.
    pub(super) fn listed(&self) -> Option<StampedList> {
        let Self::List(list) = self else { return None };
        let head = list.head();
        Some(StampedList { hash: head.hash.name().to_owned(), root: hex::encode(head.root), size: head.size })
    }

    /// Whether a stamp in the register is one of such a subject: of its format, and of its list where it is one.
    #[must_use]
    pub fn is_entered_as(&self, stamp: &Stamp) -> bool {
        self.names().1 == stamp.format && self.listed() == stamp.list
    }

    /// What the record and the register call it.
    pub(super) fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Pdf { .. } => ("stamp.pdf", "pdf"),
            Self::Ofd { .. } => ("stamp.ofd", "ofd"),
            Self::Digest(_) => ("stamp.digest", "digest"),
            // In the register the digest of its head is what was stamped.
            Self::List(_) => ("stamp.list", "digest"),
        }
    }
}

/// Puts a signature where it belongs and brings it to its level.
pub(super) async fn finish(
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
        StampSubject::Digest(_) | StampSubject::List(_) => {
            let digest = Sm3::digest(&cms).into();
            return Ok(Finished { document: cms.into(), field: None, digest });
        }
        StampSubject::Ofd { document, prepared, .. } => {
            return computed(move || {
                let field = Some(prepared.part().to_owned());
                let stamped = prepared.finish(&document, cms);
                let document: Bytes = stamped.map_err(|_| unfit("cannot take the signature"))?.into();
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
