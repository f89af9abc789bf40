//! What a session's QR code says: JSON with its members in alphabetical order and no blanks, `{"expires":…,"qrid":"…",
//! "sys_url":"…"}`, and in a last member `sign` the SM2 signature (DER, base64, identifier `1234567812345678`) of the site's key
//! of purpose `front` over what stands there without it. `qrid` and `sys_url` are the members of the national front's codes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use formats::{Algorithm, DEFAULT_SIGNER_ID, PublicKey};
use serde::{Deserialize, Serialize};

/// Octets of a code's text at most: what a phone's camera reads well holds less.
const LONGEST: usize = 1024;

/// What is signed. Its members are in the order of the signed text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QrPayload {
    /// When the code ends, in Unix seconds: for the phone to say so. The gateway goes by its own record.
    pub expires: i64,
    /// The session.
    pub qrid: String,
    /// Where a phone answers.
    pub sys_url: String,
}

/// Why a text is not a code of this site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QrError {
    /// It is no such text.
    #[error("this is not the text of a session's QR code")]
    Malformed,
    /// None of the site's keys signed it.
    #[error("the QR code's signature is not one of this site")]
    Signature,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    expires: i64,
    qrid: String,
    sys_url: String,
    sign: String,
}

impl QrPayload {
    /// What is signed.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // a number and two texts
    }

    /// What the code shows.
    #[must_use]
    pub fn signed(&self, signature: &[u8]) -> String {
        let mut text = self.text();
        text.truncate(text.len() - 1);
        text.push_str(r#","sign":""#);
        text.push_str(&STANDARD.encode(signature));
        text.push_str("\"}");
        text
    }

    /// Reads a code that a phone scanned; one of `keys` must have signed it.
    ///
    /// # Errors
    /// [`QrError`].
    pub fn read<'k>(text: &str, keys: impl IntoIterator<Item = &'k PublicKey>) -> Result<Self, QrError> {
        if text.len() > LONGEST {
            return Err(QrError::Malformed);
        }
        let Signed { expires, qrid, sys_url, sign } =
            serde_json::from_str(text).map_err(|_| QrError::Malformed)?;
        let signature = STANDARD.decode(sign).map_err(|_| QrError::Malformed)?;
        let payload = Self { expires, qrid, sys_url };
        if payload.signed(&signature) != text {
            return Err(QrError::Malformed); // one form only: what is signed is what is shown
        }
        let signed = payload.text();
        let verifies = |key: &PublicKey| {
            key.verify_message(Algorithm::Sm2Sm3, DEFAULT_SIGNER_ID, signed.as_bytes(), &signature).is_ok()
        };
        if keys.into_iter().any(verifies) { Ok(payload) } else { Err(QrError::Signature) }
    }
}

#[cfg(test)]
mod tests {
    use sm2::dsa::signature::Signer;
    use sm2::dsa::{Signature, SigningKey};
    use sm2::pkcs8::EncodePublicKey;

    use super::*;

    /// What signs, and its public key.
    fn key(number: u8) -> (impl Fn(&[u8]) -> Vec<u8>, PublicKey) {
        let key = SigningKey::from_slice("1234567812345678", &[number; 32]).unwrap();
        let public = sm2::SecretKey::from(key.as_nonzero_scalar()).public_key().to_public_key_der().unwrap();
        let sign = move |message: &[u8]| {
            let signature: Signature = key.try_sign(message).unwrap();
            signature.to_der().as_bytes().to_vec()
        };
        (sign, PublicKey::from_spki_der(public.as_bytes()).unwrap())
    }

    fn payload() -> QrPayload {
        let qrid = "00000000000000000000000000".to_owned();
        QrPayload { expires: 1_800_000_000, qrid, sys_url: "https://front.example/phone".to_owned() }
    }

    #[test]
    fn a_code_is_taken_from_this_sites_key_only_and_in_one_form_only() {
        let (mine, other) = (key(1), key(2));
        let (public, strange) = (mine.1, other.1);
        let payload = payload();
        let text = payload.signed(&(mine.0)(payload.text().as_bytes()));
        assert_eq!(
            payload.text(),
            r#"{"expires":1800000000,"qrid":"00000000000000000000000000","sys_url":"https://front.example/phone"}"#
        );
        assert_eq!(QrPayload::read(&text, [&strange, &public]), Ok(payload.clone()));
        assert_eq!(QrPayload::read(&text, [&strange]), Err(QrError::Signature));
        assert_eq!(QrPayload::read(&text, []), Err(QrError::Signature));
        let forged = payload.signed(&(other.0)(payload.text().as_bytes()));
        assert_eq!(QrPayload::read(&forged, [&public]), Err(QrError::Signature));
        let later = QrPayload { expires: 1_900_000_000, ..payload.clone() };
        let moved = text.replace("1800000000", "1900000000");
        assert_eq!(QrPayload::read(&moved, [&public]), Err(QrError::Signature), "{later:?}");
        for wrong in [
            String::new(),
            "{}".to_owned(),
            payload.text(),
            format!(" {text}"),
            text.replace(",\"sys_url\"", ", \"sys_url\""),
            text.replace("\"sign\"", "\"sign2\""),
            text.replace("\"}", "\",\"more\":1}"),
            text.replace("\"qrid\":\"0", "\"qrid\":\"\\u0030"),
            format!("{text}{}", " ".repeat(2000)),
        ] {
            assert_eq!(QrPayload::read(&wrong, [&public]), Err(QrError::Malformed), "{wrong}");
        }
    }
}
