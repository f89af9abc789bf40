//! Compact JSON Web Signatures (RFC 7515) by the two algorithms used here: ES256, and SM2 with SM3 as `SM2`, both as
//! the 64 octets r ‖ s. Every other algorithm, `none` above all, is no algorithm.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use formats::{Algorithm, DEFAULT_SIGNER_ID, PublicKey};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Longer than any token or assertion that is made for this.
const LONGEST: usize = 8192;

/// A signed text, taken apart and not verified.
pub(crate) struct Jws<'t> {
    pub(crate) header: Header,
    payload: Vec<u8>,
    /// What is signed.
    input: &'t str,
    signature: [u8; 64],
}

/// The members of a header that matter here. `crit`, `jwk`, `x5c` and whatever else could bring a key or a rule of
/// its own are refused or not looked at.
#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    #[serde(default)]
    pub(crate) typ: Option<String>,
    #[serde(default)]
    pub(crate) kid: Option<String>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

impl<'t> Jws<'t> {
    /// Takes a compact text apart; none if it is not one by an algorithm of ours.
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (input, signature) = text.rsplit_once('.')?;
        let (header, payload) = input.split_once('.')?;
        let header: Header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?.try_into().ok()?;
        Some(Self { header, payload: URL_SAFE_NO_PAD.decode(payload).ok()?, input, signature })
    }

    /// Whether it says that it is by the algorithm of this key. The key decides: a header that names another one
    /// names none.
    pub(crate) fn fits(&self, key: &PublicKey) -> bool {
        algorithm(key).is_some_and(|(name, _)| self.header.alg == name)
    }

    /// Whether this key made it.
    pub(crate) fn is_by(&self, key: &PublicKey) -> bool {
        let Some((_, algorithm)) = algorithm(key).filter(|_| self.fits(key)) else { return false };
        let der = formats::ecdsa::fixed_to_der(&self.signature);
        key.verify_message(algorithm, DEFAULT_SIGNER_ID, self.input.as_bytes(), &der).is_ok()
    }

    /// What it says; to be believed only once [`is_by`](Self::is_by) agreed.
    pub(crate) fn claims<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.payload).ok()
    }
}

/// What a key signs by, as JOSE and as we name it.
fn algorithm(key: &PublicKey) -> Option<(&'static str, Algorithm)> {
    match key {
        PublicKey::P256(_) => Some(("ES256", Algorithm::EcdsaP256Sha256)),
        PublicKey::Sm2(_) => Some(("SM2", Algorithm::Sm2Sm3)),
        PublicKey::P384(_) | PublicKey::Rsa(_) => None,
    }
}

/// The part of a compact text that is signed.
pub(crate) fn signing_input(header: &serde_json::Value, claims: &serde_json::Value) -> String {
    [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

/// The compact text, from what is signed and its signature r ‖ s.
pub(crate) fn compact(input: &str, signature: &[u8; 64]) -> String {
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// base64url without padding, as JOSE has it.
pub(crate) fn encode(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jws(header: &str, payload: &str, signature: &[u8]) -> String {
        [header.as_bytes(), payload.as_bytes(), signature].map(encode).join(".")
    }

    #[test]
    fn what_is_no_signed_text_of_ours_is_none() {
        let good = jws(r#"{"alg":"ES256","typ":"JWT"}"#, "{}", &[1; 64]);
        assert!(Jws::parse(&good).is_some());
        for bad in [
            String::new(),
            "a.b".to_owned(),
            good.replace('.', ""),
            format!("{good}."),
            format!("{good}="),
            jws(r#"{"alg":"ES256"}"#, "{}", &[1; 63]),
            jws(r#"{"alg":"ES256","crit":["b64"],"b64":false}"#, "{}", &[1; 64]),
            jws(r#"{"alg":"ES256","alg":"none"}"#, "{}", &[1; 64]),
            jws(r#"{"typ":"JWT"}"#, "{}", &[1; 64]),
            jws(r#"{"alg":"ES256"}"#, &"x".repeat(LONGEST), &[1; 64]),
        ] {
            assert!(Jws::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_key_decides_on_the_algorithm() {
        let nobody = crate::auth::signed::Nobody::new();
        for (alg, es256, sm2) in [
            ("ES256", true, false),
            ("SM2", false, true),
            ("none", false, false),
            ("HS256", false, false),
            ("es256", false, false),
        ] {
            let text = jws(&format!(r#"{{"alg":"{alg}"}}"#), "{}", &[1; 64]);
            let parsed = Jws::parse(&text).unwrap();
            assert_eq!((parsed.fits(&nobody.p256), parsed.fits(&nobody.sm2)), (es256, sm2), "{alg}");
        }
    }
}
