//! The levels of EN 319 142-1 beyond B-B: a timestamp over the signature, what it is judged with, and a timestamp over
//! all of it.

use std::sync::Arc;

use formats::chain::Evidence;
use formats::pdf::sign::{self, SignaturePlan, SignatureValidation, SubFilter};
use formats::scheme::HashAlgorithm;
use formats::tsp::{self, TokenInput};
use formats::{Certificate, TrustStore, Usage, cms};
use time::OffsetDateTime;

use crate::stamp::{computed, put_in, unfit};
use crate::{SigningError, TimestampSource};

/// Octets of validation data that one stamp may bring into a document: lists of revoked certificates can be large.
const MOST_DATA: usize = 4 << 20;

/// A baseline level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The signature alone.
    B,
    /// With a timestamp over it.
    T,
    /// With what signature and timestamp are judged with.
    Lt,
    /// With a timestamp over all of that.
    Lta,
}

impl Level {
    /// All of them, by the names of EN 319 142-1.
    pub const NAMES: [(&'static str, Self); 4] =
        [("B-B", Self::B), ("B-T", Self::T), ("B-LT", Self::Lt), ("B-LTA", Self::Lta)];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// Where what the levels take comes from.
#[derive(Clone)]
pub struct LevelDesk {
    /// Tokens.
    pub timestamps: Arc<dyn TimestampSource>,
    /// Paths, lists and OCSP answers.
    pub trust: Arc<TrustStore>,
}

impl LevelDesk {
    /// Whether there is all that a signer is to be judged with later; asked before its key is used.
    ///
    /// # Errors
    /// [`SigningError::Evidence`].
    pub fn expect(&self, chain: &[Certificate], at: OffsetDateTime) -> Result<(), SigningError> {
        let Some((leaf, others)) = chain.split_first() else {
            return Err(unfit("cannot be signed at this level by a key without a certificate"));
        };
        self.evidence(leaf, others, Usage::DocumentSigning, at).map(drop)
    }

    fn evidence(
        &self,
        leaf: &Certificate,
        others: &[Certificate],
        usage: Usage,
        at: OffsetDateTime,
    ) -> Result<Evidence, SigningError> {
        self.trust.evidence(leaf, others, usage, at).map_err(SigningError::Evidence)
    }

    async fn token(&self, hash: HashAlgorithm, digest: &[u8]) -> Result<Vec<u8>, SigningError> {
        let asked = self.timestamps.token(hash, digest).await;
        asked.map_err(|error| SigningError::Timestamp(Box::new(error)))
    }

    /// The CMS with a timestamp over its signature, and the timestamp.
    pub(crate) async fn timestamped(&self, cms: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>), SigningError> {
        let hash = HashAlgorithm::Sha256;
        let token = self.token(hash, &hash.digest(&cms::signature_value(&cms)?)).await?;
        Ok((cms::timestamped(&cms, &token)?, token))
    }

    /// The update that brings what the signature in `field` and its timestamp are judged with.
    pub(crate) fn validation_data(
        &self,
        document: &[u8],
        field: String,
        signer: &Certificate,
        (signature, token): (&[u8], &[u8]),
    ) -> Result<Vec<u8>, SigningError> {
        let at = OffsetDateTime::now_utc();
        let mut data = self.evidence(signer, &cms::certificates(signature), Usage::DocumentSigning, at)?;
        let input = TokenInput {
            token,
            content: None,
            signer_id: formats::DEFAULT_SIGNER_ID,
            trust: &self.trust,
            at,
        };
        let report = tsp::verify(input);
        let authority = report.signers.into_iter().find_map(|signer| signer.certificate);
        let authority = authority.ok_or_else(|| unfit("got a timestamp without a certificate"))?;
        let beside = cms::certificates(token);
        let more = self.evidence(&authority, &beside, Usage::TimeStamping, at)?;
        data.certificates.extend(more.certificates);
        data.crls.extend(more.crls);
        data.ocsps.extend(more.ocsps);
        let octets = data.certificates.iter().map(|one| one.der().len()).sum::<usize>()
            + data.crls.iter().map(|one| one.der().len()).sum::<usize>()
            + data.ocsps.iter().map(Vec::len).sum::<usize>();
        if octets > MOST_DATA {
            return Err(unfit("would need more than 4 MiB of validation data for this level"));
        }
        let Evidence { certificates, crls, ocsps } = data;
        let validation = SignatureValidation { field, certificates, crls, ocsps };
        sign::add_validation_data(document, &[validation]).map_err(|_| unfit("cannot take validation data"))
    }

    /// The document with a timestamp over all of it.
    pub(crate) async fn archived(&self, document: Vec<u8>) -> Result<Vec<u8>, SigningError> {
        let hash = HashAlgorithm::Sha256;
        let (document, prepared) = computed(move || {
            let prepared = sign::prepare(&document, &SignaturePlan::new(SubFilter::Timestamp, hash));
            let prepared = prepared.map_err(|_| unfit("cannot take a document timestamp"))?;
            Ok::<_, SigningError>((document, prepared))
        })
        .await??;
        let token = self.token(hash, prepared.digest()).await?;
        computed(move || Ok([document, put_in(prepared, &token)?].concat())).await?
    }
}
