//! Every signature that came back, verified by libraries that the gateway does not verify with (RustCrypto's `sm2`)
//! or that are not ours (AWS-LC).

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sm2::dsa::signature::hazmat::PrehashVerifier as _;

use crate::Fallible;

/// A public key that judges signatures over digests of 32 octets.
pub(crate) enum Judge {
    Sm2(Box<sm2::dsa::VerifyingKey>),
    AwsLc(ParsedPublicKey),
}

impl Judge {
    /// The key as the gateway shows it (`-----BEGIN PUBLIC KEY-----`), and the algorithm it is used with.
    pub(crate) fn new(pem: &str, algorithm: &str) -> Fallible<Self> {
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(body)?;
        Ok(match algorithm {
            "sm2-sm3" => {
                // The uncompressed point is the end of the key's encoding.
                let point = der.len().checked_sub(65).and_then(|at| der.get(at..));
                let key = sm2::PublicKey::from_sec1_bytes(point.ok_or("a public key of SM2 is longer")?)?;
                Self::Sm2(Box::new(sm2::dsa::VerifyingKey::new("", key)?))
            }
            "ecdsa-p256-sha256" => Self::AwsLc(ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &der)?),
            "rsa-pkcs1-sha256" => Self::AwsLc(ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &der)?),
            other => return Err(format!("no judge for {other}").into()),
        })
    }

    /// Whether the signature is one of this key over this digest.
    pub(crate) fn accepts(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        match self {
            Self::Sm2(key) => sm2_signature(signature)
                .and_then(|raw| sm2::dsa::Signature::from_slice(&raw).ok())
                .is_some_and(|signature| key.verify_prehash(digest, &signature).is_ok()),
            Self::AwsLc(key) => Digest::import_less_safe(digest, &SHA256)
                .is_ok_and(|digest| key.verify_digest_sig(&digest, signature).is_ok()),
        }
    }
}

/// r ‖ s of strict DER: SEQUENCE of two INTEGERs of at most 33 octets each, the shortest form, nothing behind.
fn sm2_signature(der: &[u8]) -> Option<[u8; 64]> {
    let [0x30, length, rest @ ..] = der else { return None };
    if usize::from(*length) != rest.len() {
        return None;
    }
    let mut raw = [0; 64];
    let (r, s) = raw.split_at_mut(32);
    let rest = integer(rest, r)?;
    integer(rest, s)?.is_empty().then_some(raw)
}

/// Reads one positive INTEGER into 32 octets; what lies behind it.
fn integer<'d>(der: &'d [u8], out: &mut [u8]) -> Option<&'d [u8]> {
    let [0x02, length, rest @ ..] = der else { return None };
    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
    let magnitude = match value {
        [0, next, ..] if *next >= 0x80 => &value[1..],
        [first, ..] if (1..0x80).contains(first) => value,
        _ => return None,
    };
    let at = out.len().checked_sub(magnitude.len())?;
    out[at..].copy_from_slice(magnitude);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    use sm2::dsa::signature::hazmat::PrehashSigner as _;

    fn der(raw: &[u8]) -> Vec<u8> {
        let integer = |half: &[u8]| {
            let start = half.iter().position(|octet| *octet != 0).unwrap();
            let sign = (half[start] >= 0x80).then_some(0);
            let value: Vec<u8> = sign.into_iter().chain(half[start..].iter().copied()).collect();
            [&[2, value.len() as u8], &value[..]].concat()
        };
        let body = [integer(&raw[..32]), integer(&raw[32..])].concat();
        [&[0x30, body.len() as u8], &body[..]].concat()
    }

    fn pem(spki: &[u8]) -> String {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(spki))
    }

    #[test]
    fn a_signature_of_sm2_is_accepted_and_one_changed_bit_anywhere_is_not() {
        let secret = sm2::SecretKey::from_slice(&[7; 32]).unwrap();
        let point = secret.public_key().to_sec1_bytes();
        let judge = Judge::new(&pem(&[&[0x30; 26], &point[..]].concat()), "sm2-sm3").unwrap();
        let key = sm2::dsa::SigningKey::new("", &secret).unwrap();
        let (digest, other) = ([0x11; 32], [0x10; 32]);
        let signature: sm2::dsa::Signature = key.sign_prehash(&digest).unwrap();
        let signature = der(&signature.to_bytes());
        assert!(judge.accepts(&digest, &signature));
        assert!(!judge.accepts(&other, &signature));
        for place in 0..signature.len() {
            let mut spoilt = signature.clone();
            spoilt[place] ^= 1;
            assert!(!judge.accepts(&digest, &spoilt), "{place}");
        }
        assert!(!judge.accepts(&digest, &signature[..signature.len() - 1]));
    }

    #[test]
    fn a_signature_of_p256_is_accepted_over_its_digest_only() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let judge = Judge::new(&pem(pair.public_key().as_ref()), "ecdsa-p256-sha256").unwrap();
        let message = b"soak";
        let digest: [u8; 32] = aws_lc_rs::digest::digest(&SHA256, message).as_ref().try_into().unwrap();
        let signature = pair.sign(&SystemRandom::new(), message).unwrap();
        assert!(judge.accepts(&digest, signature.as_ref()));
        assert!(!judge.accepts(&[0; 32], signature.as_ref()));
    }
}
