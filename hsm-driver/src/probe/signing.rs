//! Keys that sign: made for the examination, or there already.

use std::sync::Arc;

use cryptoki_sys as sys;
use sm2_verify::{Verifier, VerifierOptions};

use super::AlgorithmFinding;
use super::examine::Bench;
use super::mechanisms::VENDOR_RANGE;
use super::report::hex;
use super::sm2;
use crate::key::{Algorithm, Checker, PublicKey};
use crate::worker::probing::{Asked, Attribute, Means, Object};

/// What every signature of the examination is over: e, or a SHA-256 digest.
pub(super) const DIGEST: [u8; 32] = [0x5a; 32];

/// ASN.1 object identifiers as CKA_EC_PARAMS.
pub(super) const SM2_CURVE: [u8; 10] = [0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d];
pub(super) const P256_CURVE: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// `DigestInfo` of SHA-256 up to the digest (RFC 8017 §9.2 note 1).
const SHA256_DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

/// A private key with what checks its signatures.
pub(super) struct Signer {
    pub(super) algorithm: Algorithm,
    pub(super) means: Means,
    pub(super) key: Object,
    checker: Checker,
}

impl Signer {
    /// Nothing if the octets are no public key.
    pub(super) fn new(algorithm: Algorithm, means: Means, key: Object, public: &PublicKey) -> Option<Self> {
        let verifier = Arc::new(Verifier::new(VerifierOptions::default()));
        Some(Self { algorithm, means, key, checker: Checker::new(public, &verifier)? })
    }

    /// What C_Sign is given.
    pub(super) fn input(&self) -> Vec<u8> {
        match self.algorithm {
            Algorithm::RsaPkcs1 => [&SHA256_DIGEST_INFO[..], &DIGEST].concat(),
            _ => DIGEST.to_vec(),
        }
    }

    /// Whether an answer is the key's signature, in any of the forms the gateway takes.
    pub(super) fn accepts(&self, answer: &[u8]) -> bool {
        let canonical = self.checker.canonical(answer);
        canonical.is_some_and(|signature| self.checker.accepts(self.algorithm, &DIGEST, &signature))
    }
}

/// One signature; an operation that an earlier failure left open is ended first.
pub(super) fn sign(bench: &mut Bench<'_>, means: &Means, key: Object, input: &[u8]) -> Asked<Vec<u8>> {
    match bench.library.sign_init(bench.session, means, key) {
        Err(refusal) if refusal.rv.0 == sys::CKR_OPERATION_ACTIVE => {
            let _ = bench.library.sign(bench.session, input); // ends it, whatever it answers
            bench.note("A failed signature leaves its operation open.");
            bench.library.sign_init(bench.session, means, key)?;
        }
        other => other?,
    }
    bench.library.sign(bench.session, input)
}

/// Tries a signer once, records what came of it, and returns it if it works.
fn tried(bench: &mut Bench<'_>, signer: Option<Signer>, algorithm: Algorithm, form: &str) -> Option<Signer> {
    let (works, detail, signer) = match signer {
        None => (false, "the device shows no public key that can be read".to_owned(), None),
        Some(signer) => match sign(bench, &signer.means, signer.key, &signer.input()) {
            Ok(answer) if signer.accepts(&answer) => {
                let detail = format!("{form}; signature of {} octets verified", answer.len());
                (true, detail, Some(signer))
            }
            Ok(answer) => (false, format!("{} octets that are not its signature", answer.len()), None),
            Err(refusal) => (false, refusal.to_string(), None),
        },
    };
    record(bench, algorithm, works, detail);
    signer
}

fn record(bench: &mut Bench<'_>, algorithm: Algorithm, works: bool, detail: String) {
    let algorithm = algorithm.name().to_owned();
    bench.report.algorithms.push(AlgorithmFinding { algorithm, works, detail });
}

/// Session keys on P-256 and RSA.
pub(super) fn generated(bench: &mut Bench<'_>) -> Vec<Signer> {
    let mut signers = Vec::new();
    match p256_pair(bench, false) {
        Ok((public, private)) => {
            let read = point(bench, public);
            let signer = read.as_ref().and_then(|(_, key)| {
                Signer::new(Algorithm::EcdsaP256, Means::plain(sys::CKM_ECDSA), private, key)
            });
            let form = read.map_or(String::new(), |(form, _)| format!("CKA_EC_POINT {form}"));
            signers.extend(tried(bench, signer, Algorithm::EcdsaP256, &form));
        }
        Err(reason) => record(bench, Algorithm::EcdsaP256, false, reason),
    }
    match rsa_pair(bench) {
        Ok((public, private)) => signers.extend(rsa_signers(bench, public, private)),
        Err(reason) => {
            for algorithm in [Algorithm::RsaPkcs1, Algorithm::RsaPss] {
                record(bench, algorithm, false, reason.clone());
            }
        }
    }
    signers
}

/// A pair of session objects on P-256.
pub(super) fn p256_pair(bench: &mut Bench<'_>, extractable: bool) -> Result<(Object, Object), String> {
    let public = [Attribute::octets(sys::CKA_EC_PARAMS, &P256_CURVE), Attribute::flag(sys::CKA_VERIFY, true)];
    pair(bench, &Means::plain(sys::CKM_EC_KEY_PAIR_GEN), &public, &private_half(extractable))
}

/// What a private key of the examination may do.
pub(super) fn private_half(extractable: bool) -> Vec<Attribute> {
    vec![
        Attribute::flag(sys::CKA_PRIVATE, true),
        Attribute::flag(sys::CKA_SENSITIVE, true),
        Attribute::flag(sys::CKA_EXTRACTABLE, extractable),
        Attribute::flag(sys::CKA_SIGN, true),
    ]
}

/// Makes a pair of session objects that are remembered for removal.
pub(super) fn pair(
    bench: &mut Bench<'_>,
    means: &Means,
    public: &[Attribute],
    private: &[Attribute],
) -> Result<(Object, Object), String> {
    let (public, private) = (bench.session_object(public), bench.session_object(private));
    let made = bench.library.generate_pair(bench.session, means, &public, &private);
    let (public, private) = made.map_err(|refusal| refusal.to_string())?;
    // Both, whatever becomes of one.
    let (public, private) = (bench.keep(public), bench.keep(private));
    public.zip(private).ok_or_else(|| "the device made permanent objects".to_owned())
}

fn rsa_pair(bench: &mut Bench<'_>) -> Result<(Object, Object), String> {
    let public = [
        Attribute::number(sys::CKA_MODULUS_BITS, 2048),
        Attribute::octets(sys::CKA_PUBLIC_EXPONENT, &[1, 0, 1]),
        Attribute::flag(sys::CKA_VERIFY, true),
    ];
    pair(bench, &Means::plain(sys::CKM_RSA_PKCS_KEY_PAIR_GEN), &public, &private_half(false))
}

fn rsa_signers(bench: &mut Bench<'_>, public: Object, private: Object) -> Vec<Signer> {
    let number = |kind| {
        let value = bench.library.attribute(bench.session, public, kind).unwrap_or_default();
        value.into_iter().skip_while(|octet| *octet == 0).collect::<Vec<u8>>()
    };
    let (modulus, exponent) = (number(sys::CKA_MODULUS), number(sys::CKA_PUBLIC_EXPONENT));
    let form = format!("{} bits", modulus.len() * 8);
    let key = PublicKey::Rsa { modulus, exponent };
    let ways = [(Algorithm::RsaPkcs1, Means::plain(sys::CKM_RSA_PKCS)), (Algorithm::RsaPss, Means::pss())];
    ways.into_iter()
        .filter_map(|(algorithm, means)| {
            let signer = Signer::new(algorithm, means, private, &key);
            tried(bench, signer, algorithm, &form)
        })
        .collect()
}

/// How a P-256 key shows its point, and the key.
pub(super) fn point(bench: &Bench<'_>, public: Object) -> Option<(&'static str, PublicKey)> {
    let value = bench.library.attribute(bench.session, public, sys::CKA_EC_POINT).ok()?;
    let (form, point) = sm2::form_of(&value);
    Some((form, PublicKey::P256(point?)))
}

/// The keys named by CKA_ID. The error says that none of them can be tried.
pub(super) fn existing(bench: &mut Bench<'_>) -> Result<Vec<Signer>, String> {
    let mut signers = Vec::new();
    let order = bench.order;
    for cka_id in &order.existing_keys {
        let name: String = cka_id.iter().map(|octet| format!("{octet:02x}")).collect();
        match existing_key(bench, cka_id) {
            Ok(found) => signers.extend(found),
            Err(reason) => bench.note(format!("Key with CKA_ID {name}: {reason}.")),
        }
    }
    if signers.is_empty() {
        return Err("none of the existing keys signs".to_owned());
    }
    Ok(signers)
}

fn existing_key(bench: &mut Bench<'_>, cka_id: &[u8]) -> Result<Vec<Signer>, String> {
    let said = |refusal: crate::worker::probing::Refusal| refusal.to_string();
    let private = bench.library.find(bench.session, true, cka_id).map_err(said)?;
    let private = private.ok_or("there is no private key, or it needs a login")?;
    let public = bench.library.find(bench.session, false, cka_id).map_err(said)?;
    let public = public.ok_or("there is no public key beside the private one, and the gateway needs it")?;
    let kind = bench.library.attribute(bench.session, private, sys::CKA_KEY_TYPE).map_err(said)?;
    let kind = kind.try_into().map(u64::from_ne_bytes).map_err(|_| "its CKA_KEY_TYPE is no number")?;
    if kind == sys::CKK_RSA {
        return Ok(rsa_signers(bench, public, private));
    }
    let value = bench.library.attribute(bench.session, public, sys::CKA_EC_POINT).map_err(said)?;
    let (form, point) = sm2::form_of(&value);
    let point = point.ok_or("its CKA_EC_POINT is no point")?;
    if let Ok(key) = sm2_verify::PublicKey::from_sec1(&point) {
        if kind < VENDOR_RANGE && kind != sys::CKK_EC {
            bench.note(format!(
                "Key type {} of SM2 keys is below the vendors' range. The gateway signs with such keys; its \
                 import of keys (sandboxes, tests) goes through a library that refuses the number.",
                hex(kind)
            ));
        }
        return Ok(sm2::existing(bench, (public, private), kind, &key).into_iter().collect());
    }
    let means = Means::plain(sys::CKM_ECDSA);
    let signer = Signer::new(Algorithm::EcdsaP256, means, private, &PublicKey::P256(point));
    let form = format!("CKA_EC_POINT {form}");
    Ok(tried(bench, signer, Algorithm::EcdsaP256, &form).into_iter().collect())
}
