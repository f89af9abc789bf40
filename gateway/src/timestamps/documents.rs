//! Timestamps for stamps on documents: from the authority outside where there is one, because it vouches for what the
//! site says of itself, and from the site's own otherwise; on record and counted as those of `/v1/timestamps` are.

use std::sync::Arc;

use async_trait::async_trait;
use formats::scheme::HashAlgorithm;
use formats::tsp::{Imprint, TimestampRequest};
use signing::{Asker, TimestampError, TimestampForm, TimestampSource};

use super::order::asked_outside;
use crate::problem::Problem;
use crate::state::Gateway;

struct ForDocuments {
    gateway: Gateway,
    asker: Asker,
}

/// Where tokens for somebody's documents come from.
///
/// # Errors
/// The site has no authority to ask.
pub(crate) fn source(gateway: &Gateway, asker: Asker) -> Result<Arc<dyn TimestampSource>, Problem> {
    let timestamps = &gateway.timestamps;
    if timestamps.outside.is_none() && timestamps.own.is_none() {
        return Err(Problem::no_timestamp_authority());
    }
    Ok(Arc::new(ForDocuments { gateway: gateway.clone(), asker }))
}

#[async_trait]
impl TimestampSource for ForDocuments {
    async fn token(&self, hash: HashAlgorithm, digest: &[u8]) -> Result<Vec<u8>, TimestampError> {
        let (timestamps, metrics) = (&self.gateway.timestamps, &self.gateway.metrics);
        if let (None, Some(own)) = (&timestamps.outside, &timestamps.own) {
            let made = own.for_asker(self.asker.clone()).token(hash, digest).await;
            match &made {
                Ok(_) => metrics.timestamp(TimestampForm::of(hash).name()),
                Err(error) => metrics.timestamp_refused(error.refusal().failure.name()),
            }
            return made;
        }
        let imprint = Imprint::new(hash, digest)
            .map_err(|error| TimestampError::Outside { code: "digest_length", detail: error.to_string() })?;
        let request = TimestampRequest { imprint, policy: None, nonce: None, certificates: true };
        let (got, _) = asked_outside(&self.gateway, &self.asker, request).await?;
        metrics.timestamp("outside");
        Ok(got.token)
    }
}
