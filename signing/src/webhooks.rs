//! Signatures over what leaves: by the site's SM2 key of purpose `front`, which speaks for it to those outside.

use async_trait::async_trait;
use formats::Algorithm;
use outbound::{NotSigned, SystemSigner};
use store::KeyPurpose;

use crate::{SigningError, SigningKey, SystemDesk};

impl SystemDesk {
    /// The site's keys that sign what leaves.
    #[must_use]
    pub fn signs_outbound(key: &SigningKey) -> bool {
        key.purpose == KeyPurpose::Front && key.shown().public_key.supports(Algorithm::Sm2Sm3)
    }
}

#[async_trait]
impl SystemSigner for SystemDesk {
    async fn sign(&self, message: &[u8]) -> Result<Option<Vec<u8>>, NotSigned> {
        let signed = self.sign_by(KeyPurpose::Front, Self::signs_outbound, |_, _| message.to_vec()).await;
        match signed {
            Ok(signed) => Ok(Some(signed.signature)),
            Err(SigningError::NoSystemKey(_)) => Ok(None),
            Err(error) => Err(NotSigned(error.to_string())),
        }
    }
}
