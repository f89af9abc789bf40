//! Private keys taken out under a wrapping key and brought back: what keys kept outside the device need.

use cryptoki_sys as sys;

use super::WrapFinding;
use super::examine::Bench;
use super::report::hex;
use super::services::secret;
use super::signing::{P256_CURVE, Signer, p256_pair, point, sign};
use super::sm2::extractable_pair;
use crate::key::{Algorithm, PublicKey};
use crate::worker::probing::{Attribute, Means, Object};

/// A private key to wrap, with what it takes to bring it back and to try it.
struct Parcel {
    name: String,
    key: Object,
    public: PublicKey,
    algorithm: Algorithm,
    sign: Means,
    /// What C_UnwrapKey must be told beside what every session object says.
    template: Vec<Attribute>,
}

/// A wrapping key and the ways to wrap with it.
struct Wrapper {
    name: String,
    key: Object,
    ways: Vec<(String, Means)>,
}

/// Wraps a P-256 key and an SM2 key by every way the device offers.
pub(super) fn wrap(bench: &mut Bench<'_>) {
    let wrappers = wrappers(bench);
    if wrappers.is_empty() {
        return bench.note("No wrapping key could be made: keys cannot be kept outside this device.");
    }
    let parcels = parcels(bench);
    if parcels.is_empty() {
        return bench.note("The device makes no private key that may be wrapped.");
    }
    for wrapper in &wrappers {
        for (mechanism, means) in &wrapper.ways {
            for parcel in &parcels {
                let (works, octets, detail) = match there_and_back(bench, wrapper.key, means, parcel) {
                    Ok(octets) => (true, Some(octets), "the unwrapped key signs".to_owned()),
                    Err((octets, reason)) => (false, octets, reason),
                };
                bench.report.wrapping.push(WrapFinding {
                    mechanism: mechanism.clone(),
                    by: wrapper.name.clone(),
                    key: parcel.name.clone(),
                    works,
                    octets,
                    detail,
                });
            }
        }
    }
}

fn wrappers(bench: &mut Bench<'_>) -> Vec<Wrapper> {
    let mut wrappers = Vec::new();
    let aes = [
        ("CKM_AES_KEY_WRAP_PAD", Means::plain(sys::CKM_AES_KEY_WRAP_PAD)),
        ("CKM_AES_KEY_WRAP_KWP", Means::plain(sys::CKM_AES_KEY_WRAP_KWP)),
        ("CKM_AES_CBC_PAD", Means::with(sys::CKM_AES_CBC_PAD, &[0x24; 16])),
    ];
    let ways: Vec<_> = aes
        .into_iter()
        .filter(|(_, means)| bench.offers(means.number))
        .map(|(name, means)| (name.to_owned(), means))
        .collect();
    if !ways.is_empty()
        && let Ok(key) = secret(bench, sys::CKK_AES, None, Some(sys::CKM_AES_KEY_GEN))
    {
        wrappers.push(Wrapper { name: "AES-256".to_owned(), key, ways });
    }
    let families = std::mem::take(&mut bench.families);
    for sm4 in families.iter().filter_map(|family| family.sm4.as_ref()) {
        let ways: Vec<_> = sm4
            .cbc_pad
            .iter()
            .filter(|number| bench.offers(**number))
            .map(|number| (format!("SM4 CBC padded {}", hex(*number)), Means::with(*number, &[0x24; 16])))
            .collect();
        if ways.is_empty() {
            continue;
        }
        let made = match sm4.generate {
            Some(number) => secret(bench, sm4.key_type, None, Some(number)),
            None => secret(bench, sm4.key_type, Some(&[0x42; 16]), None),
        };
        if let Ok(key) = made {
            wrappers.push(Wrapper { name: "SM4".to_owned(), key, ways });
        }
    }
    bench.families = families;
    wrappers
}

fn parcels(bench: &mut Bench<'_>) -> Vec<Parcel> {
    let mut parcels = Vec::new();
    if let Ok((public, private)) = p256_pair(bench, true)
        && let Some((_, public)) = point(bench, public)
    {
        parcels.push(Parcel {
            name: "P-256".to_owned(),
            key: private,
            public,
            algorithm: Algorithm::EcdsaP256,
            sign: Means::plain(sys::CKM_ECDSA),
            template: vec![
                Attribute::number(sys::CKA_KEY_TYPE, sys::CKK_EC),
                Attribute::octets(sys::CKA_EC_PARAMS, &P256_CURVE),
            ],
        });
    }
    // The family under which a session key signed e.
    let working = bench.report.sm2.iter().find_map(|finding| {
        let signs = finding.signatures.iter().find(|one| one.signs.as_deref() == Some("e"));
        signs.map(|signs| (finding.family.clone(), signs.number.clone()))
    });
    let numbers = working.and_then(|(name, number)| {
        let family = bench.families.iter().find(|family| family.name == name)?;
        let sign = family.sign.iter().find(|sign| hex(sign.number) == number)?;
        Some((family.key_type, family.generate?, sign.number))
    });
    if let Some((key_type, generate, sign)) = numbers
        && let Ok((key, public)) = extractable_pair(bench, key_type, generate)
    {
        parcels.push(Parcel {
            name: "SM2".to_owned(),
            key,
            public: PublicKey::Sm2(public.to_sec1().to_vec()),
            algorithm: Algorithm::Sm2,
            sign: Means::plain(sign),
            template: vec![Attribute::number(sys::CKA_KEY_TYPE, key_type)],
        });
    }
    parcels
}

type Failed = (Option<usize>, String);

/// Octets of the wrapped key, once the key that came back has signed.
fn there_and_back(
    bench: &mut Bench<'_>,
    wrapping: Object,
    means: &Means,
    parcel: &Parcel,
) -> Result<usize, Failed> {
    let wrapped = bench.library.wrap(bench.session, means, wrapping, parcel.key);
    let wrapped = wrapped.map_err(|refusal| (None, refusal.to_string()))?;
    let failed = |reason: String| (Some(wrapped.len()), reason);
    let full = [
        Attribute::number(sys::CKA_CLASS, sys::CKO_PRIVATE_KEY),
        Attribute::flag(sys::CKA_PRIVATE, true),
        Attribute::flag(sys::CKA_SENSITIVE, true),
        Attribute::flag(sys::CKA_EXTRACTABLE, false),
        Attribute::flag(sys::CKA_SIGN, true),
    ];
    let template: Vec<Attribute> = full.into_iter().chain(parcel.template.iter().cloned()).collect();
    // Without CKA_EC_PARAMS where a device takes the curve from the wrapped key alone.
    let bare: Vec<Attribute> =
        template.iter().filter(|attribute| attribute.kind() != sys::CKA_EC_PARAMS).cloned().collect();
    let mut unwrapped = Err(String::new());
    for template in [bare, template] {
        let template = bench.session_object(&template);
        match bench.library.unwrap(bench.session, means, wrapping, &wrapped, &template) {
            Ok(key) => {
                unwrapped = Ok(key);
                break;
            }
            Err(refusal) => unwrapped = Err(refusal.to_string()),
        }
    }
    let key = unwrapped.map_err(failed)?;
    let key = bench.keep(key).ok_or_else(|| failed("the device made a permanent object".to_owned()))?;
    let signer = Signer::new(parcel.algorithm, parcel.sign.clone(), key, &parcel.public);
    let signer = signer.ok_or_else(|| failed("its public key cannot be read".to_owned()))?;
    match sign(bench, &signer.means, signer.key, &signer.input()) {
        Ok(answer) if signer.accepts(&answer) => Ok(wrapped.len()),
        Ok(_) => Err(failed("the unwrapped key is another one".to_owned())),
        Err(refusal) => Err(failed(format!("the unwrapped key does not sign: {refusal}"))),
    }
}
