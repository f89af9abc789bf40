//! The form of a webhook by Standard Webhooks 1.0: three header fields, and signatures over id, time and body.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Octets of a secret that is made.
pub const SECRET_LENGTH: usize = 32;
/// What stands before a secret where people and libraries see it.
const PREFIX: &str = "whsec_";

/// Signs what leaves with an SM2 key of the site.
#[async_trait]
pub trait SystemSigner: Send + Sync {
    /// The signature over a message, in DER, with the default identifier; none where the site has no such key.
    ///
    /// # Errors
    /// It has one, and no device signs with it now.
    async fn sign(&self, message: &[u8]) -> Result<Option<Vec<u8>>, NotSigned>;
}

/// Why there is no signature now.
#[derive(Debug, thiserror::Error)]
#[error("no device signs: {0}")]
pub struct NotSigned(pub String);

/// A secret as it is shown to people, and as libraries for Standard Webhooks take it.
#[must_use]
pub fn secret_text(secret: &[u8]) -> String {
    format!("{PREFIX}{}", STANDARD.encode(secret))
}

/// What is signed: id, Unix time and body, with dots between them.
pub(crate) fn signed_content(id: &str, timestamp: i64, body: &[u8]) -> Vec<u8> {
    [format!("{id}.{timestamp}.").as_bytes(), body].concat()
}

/// The value of `webhook-signature`: `v1`, which everybody knows, and `vsm2` for those who want it. A receiver passes over
/// what it does not know.
pub(crate) fn signatures(secret: &[u8], content: &[u8], sm2: Option<&[u8]>) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(content);
    let mut value = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    if let Some(signature) = sm2 {
        value.push_str(" vsm2,");
        value.push_str(&STANDARD.encode(signature));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let content =
            signed_content("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        let v1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures(&secret, &content, None), v1);
        assert_eq!(signatures(&secret, &content, Some(b"sm2")), format!("{v1} vsm2,c20y"));
        assert_eq!(secret_text(&secret), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }
}
