//! The example of GB/T 32918.5, annex A, and keys made on the spot.
#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used)] // a helper that fails fails its test

use sm2::dsa::SigningKey;
use sm2_verify::{PublicKey, Signature};

pub(crate) struct Standard {
    pub(crate) key: PublicKey,
    pub(crate) private_key: Vec<u8>,
    pub(crate) id: Vec<u8>,
    pub(crate) message: Vec<u8>,
    pub(crate) z: Vec<u8>,
    pub(crate) e: [u8; 32],
    pub(crate) raw: Vec<u8>,
    pub(crate) der: Vec<u8>,
    pub(crate) n: [u8; 32],
}

pub(crate) fn standard() -> Standard {
    let json: serde_json::Value = serde_json::from_str(include_str!("../data/sm2_standard.json")).unwrap();
    let text = |name: &str| json[name].as_str().unwrap().to_owned();
    let bytes = |name: &str| hex::decode(text(name)).unwrap();
    let sec1 = [vec![4], bytes("public_x"), bytes("public_y")].concat();
    Standard {
        key: PublicKey::from_sec1(&sec1).unwrap(),
        private_key: bytes("private_key"),
        id: text("id_ascii").into_bytes(),
        message: text("message_ascii").into_bytes(),
        z: bytes("za"),
        e: bytes("e").try_into().unwrap(),
        raw: [bytes("r"), bytes("s")].concat(),
        der: bytes("sig_der"),
        n: hex::decode(json["curve"]["n"].as_str().unwrap()).unwrap().try_into().unwrap(),
    }
}

/// A key pair from any seed that is a scalar.
pub(crate) fn key_pair(seed: &[u8; 32]) -> Option<(SigningKey, PublicKey)> {
    let signing = SigningKey::from_slice("1234567812345678", seed).ok()?;
    let public = PublicKey::from_sec1(&signing.verifying_key().to_sec1_bytes()).unwrap();
    Some((signing, public))
}

pub(crate) fn sign(key: &SigningKey, e: &[u8; 32]) -> Signature {
    use sm2::dsa::signature::hazmat::PrehashSigner;
    let signature: sm2::dsa::Signature = key.sign_prehash(e).unwrap();
    Signature::from_raw(&signature.to_bytes()).unwrap()
}
