use async_trait::async_trait;
use formats::scheme::HashAlgorithm;

use super::{Asker, TimestampDesk, TimestampError, request_for};

/// Where tokens for documents come from: the site's own authority or one outside.
#[async_trait]
pub trait TimestampSource: Send + Sync {
    /// A token (TimeStampToken, DER) over a digest by this hash function. It was checked before it is given; what a
    /// source outside gave was judged against the roots that the site trusts for it.
    ///
    /// # Errors
    /// See [`TimestampError`].
    async fn token(&self, hash: HashAlgorithm, digest: &[u8]) -> Result<Vec<u8>, TimestampError>;
}

/// The site's own authority, on somebody's behalf: each token is on record in its name.
#[derive(Clone)]
pub struct OwnTimestamps {
    desk: TimestampDesk,
    asker: Asker,
}

impl OwnTimestamps {
    pub(super) fn new(desk: TimestampDesk, asker: Asker) -> Self {
        Self { desk, asker }
    }
}

#[async_trait]
impl TimestampSource for OwnTimestamps {
    async fn token(&self, hash: HashAlgorithm, digest: &[u8]) -> Result<Vec<u8>, TimestampError> {
        let request = request_for(hash, digest)?;
        Ok(self.desk.stamp(&self.asker, None, &request).await?.token)
    }
}
