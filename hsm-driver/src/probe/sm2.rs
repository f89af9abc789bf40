//! Which vendor's SM2 numbers a device answers to, and what it makes of them. Nothing is believed: each
//! signature is verified in software against everything it might be over.

use cryptoki_sys as sys;
use sm2_verify::{DEFAULT_ID, PublicKey, Signature};
use sm3::{Digest, Sm3};

use super::examine::Bench;
use super::report::hex;
use super::signing::{DIGEST, SM2_CURVE, Signer, pair, private_half, sign};
use super::survey::{Family, SignNumber};
use super::{Sm2Finding, Sm2Signature};
use crate::key::{self, Algorithm};
use crate::worker::probing::{Attribute, Means, Object};

/// Signatures by each number: a superfluous or missing sign octet shows in three of four only.
const SAMPLES: usize = 12;

/// A pair, with the names of the forms of its points.
#[derive(Clone)]
struct Pair {
    private: Object,
    key: PublicKey,
    point: String,
    point_on_private: Option<String>,
}

/// Tries every family's numbers on session keys. The signer is the first shipped dialect's, or the first that
/// signs e.
pub(super) fn generated(bench: &mut Bench<'_>) -> Option<Signer> {
    let families = std::mem::take(&mut bench.families);
    // Families that share numbers share the key.
    let mut made: Vec<((u64, u64), Result<Pair, String>)> = Vec::new();
    let mut signer = None;
    for family in &families {
        let Some(generate) = family.generate else { continue };
        let numbers = (family.key_type, generate);
        let known = made.iter().find(|(of, _)| *of == numbers).map(|(_, pair)| pair.clone());
        let pair = known.unwrap_or_else(|| {
            let pair = generate_pair(bench, family.key_type, generate, false);
            made.push((numbers, pair.clone()));
            pair
        });
        let mut finding = Sm2Finding {
            family: family.name.clone(),
            key_type: hex(family.key_type),
            key: "generated".to_owned(),
            ..Sm2Finding::default()
        };
        match pair {
            Err(reason) => finding.key = reason,
            Ok(pair) => {
                finding.point = Some(pair.point.clone());
                finding.point_on_private = pair.point_on_private.clone();
                let found = try_numbers(bench, family, &pair, &mut finding);
                signer = signer.or(found);
            }
        }
        bench.report.sm2.push(finding);
        bench.found();
    }
    bench.families = families;
    signer
}

/// Tries the families on a key that is there: those with its key type, or all when none has it.
pub(super) fn existing(
    bench: &mut Bench<'_>,
    (public, private): (Object, Object),
    kind: u64,
    key: &PublicKey,
) -> Option<Signer> {
    let families = std::mem::take(&mut bench.families);
    let known = families.iter().any(|family| family.key_type == kind);
    let pair = Pair {
        private,
        key: key.clone(),
        point: shown(bench, public).unwrap_or_default(),
        point_on_private: shown(bench, private),
    };
    let mut signer = None;
    for family in families.iter().filter(|family| !known || family.key_type == kind) {
        let mut finding = Sm2Finding {
            family: family.name.clone(),
            key_type: hex(kind),
            key: "existing".to_owned(),
            point: Some(pair.point.clone()),
            point_on_private: pair.point_on_private.clone(),
            signatures: Vec::new(),
        };
        let found = try_numbers(bench, family, &pair, &mut finding);
        signer = signer.or(found);
        bench.report.sm2.push(finding);
    }
    bench.families = families;
    signer
}

/// A session pair and its public key, for wrapping.
pub(super) fn extractable_pair(
    bench: &mut Bench<'_>,
    key_type: u64,
    generate: u64,
) -> Result<(Object, PublicKey), String> {
    generate_pair(bench, key_type, generate, true).map(|pair| (pair.private, pair.key))
}

/// Tries templates from the fullest to the barest: vendors disagree on what may be said.
fn generate_pair(
    bench: &mut Bench<'_>,
    key_type: u64,
    generate: u64,
    extractable: bool,
) -> Result<Pair, String> {
    if !bench.worth_trying(generate) {
        return Err("not offered".to_owned());
    }
    let kind = Attribute::number(sys::CKA_KEY_TYPE, key_type);
    let curve = Attribute::octets(sys::CKA_EC_PARAMS, &SM2_CURVE);
    let mut reason = String::new();
    for (says_kind, says_curve) in [(true, true), (false, true), (true, false), (false, false)] {
        let mut public = vec![Attribute::flag(sys::CKA_VERIFY, true)];
        let mut private = private_half(extractable);
        if says_kind {
            public.push(kind.clone());
            private.push(kind.clone());
        }
        if says_curve {
            public.push(curve.clone());
        }
        match pair(bench, &Means::plain(generate), &public, &private) {
            Ok((public, private)) => return read(bench, public, private),
            Err(refused) => {
                // The first template is the one the standard would have.
                reason = if reason.is_empty() { refused } else { reason };
                if !bench.offers(generate) {
                    break;
                }
            }
        }
    }
    Err(reason)
}

fn read(bench: &mut Bench<'_>, public: Object, private: Object) -> Result<Pair, String> {
    let value = bench.library.attribute(bench.session, public, sys::CKA_EC_POINT);
    let value = value.map_err(|refusal| refusal.to_string())?;
    let (form, point) = form_of(&value);
    let key = point.and_then(|point| PublicKey::from_sec1(&point).ok());
    let key = key.ok_or("generated, and its CKA_EC_POINT is no point of the SM2 curve")?;
    Ok(Pair { private, key, point: form.to_owned(), point_on_private: shown(bench, private) })
}

fn shown(bench: &Bench<'_>, object: Object) -> Option<String> {
    let value = bench.library.attribute(bench.session, object, sys::CKA_EC_POINT).ok()?;
    (!value.is_empty()).then(|| form_of(&value).0.to_owned())
}

/// How a point is laid out, and the point as `04‖X‖Y`.
pub(super) fn form_of(value: &[u8]) -> (&'static str, Option<Vec<u8>>) {
    match value {
        [0x04, 0x41, point @ ..] if point.len() == 65 => ("octet string", Some(point.to_vec())),
        [0x04, ..] if value.len() == 65 => ("bare", Some(value.to_vec())),
        _ if value.len() == 64 => ("x‖y", Some([&[0x04], value].concat())),
        _ => ("of unknown form", None),
    }
}

fn try_numbers(
    bench: &mut Bench<'_>,
    family: &Family,
    pair: &Pair,
    finding: &mut Sm2Finding,
) -> Option<Signer> {
    let mut signer = None;
    for number in &family.sign {
        let signature = try_number(bench, number, pair);
        if signature.signs.as_deref() == Some("e") && signer.is_none() {
            let key = key::PublicKey::Sm2(pair.key.to_sec1().to_vec());
            signer = Signer::new(Algorithm::Sm2, Means::plain(number.number), pair.private, &key);
        }
        finding.signatures.push(signature);
    }
    signer
}

fn try_number(bench: &mut Bench<'_>, number: &SignNumber, pair: &Pair) -> Sm2Signature {
    let mut found = Sm2Signature {
        number: hex(number.number),
        name: number.name.clone(),
        signs: None,
        form: None,
        refused: None,
    };
    if !bench.worth_trying(number.number) {
        found.refused = Some("not offered".to_owned());
        return found;
    }
    let mut forms = Vec::new();
    for _ in 0..SAMPLES {
        let answer = match sign(bench, &Means::plain(number.number), pair.private, &DIGEST) {
            Ok(answer) => answer,
            Err(refusal) => {
                found.refused = Some(refusal.to_string());
                return found;
            }
        };
        let (signs, form) = judge(&answer, &pair.key);
        if found.signs.as_ref().is_some_and(|before| before != signs) {
            found.signs = Some("unknown".to_owned());
            return found;
        }
        found.signs = Some(signs.to_owned());
        forms.push(form);
    }
    // One sloppy signature is enough to call the number sloppy.
    let worst = ["of unknown form", "sloppy der", "der", "r‖s"].into_iter().find(|form| forms.contains(form));
    found.form = worst.map(str::to_owned);
    found
}

/// What a signature over the 32 octets is of, and how it is laid out.
fn judge(answer: &[u8], key: &PublicKey) -> (&'static str, &'static str) {
    let Ok(signature) = Signature::from_vendor(answer) else { return ("unknown", "of unknown form") };
    let form = match answer.len() {
        64 => "r‖s",
        _ if Signature::from_der(answer).is_ok() => "der",
        _ => "sloppy der",
    };
    let hashed: [u8; 32] = Sm3::digest(DIGEST).into();
    let with_z = sm2_verify::e(DEFAULT_ID, key, &DIGEST).unwrap_or_default();
    let with_no_id = sm2_verify::e(b"", key, &DIGEST).unwrap_or_default();
    let over = [
        ("e", DIGEST),
        ("sm3(message)", hashed),
        ("sm3(z‖message)", with_z),
        ("sm3(z of an empty identity‖message)", with_no_id),
    ];
    let found = over.into_iter().find(|(_, e)| sm2_verify::verify(key, e, &signature).is_ok());
    (found.map_or("unknown", |(name, _)| name), form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_in_every_form_a_vendor_shows_it() {
        let point = [[0x04].as_slice(), &[7; 64]].concat();
        let wrapped = [[0x04, 0x41].as_slice(), &point].concat();
        assert_eq!(form_of(&wrapped), ("octet string", Some(point.clone())));
        assert_eq!(form_of(&point), ("bare", Some(point.clone())));
        assert_eq!(form_of(&point[1..]), ("x‖y", Some(point)));
        assert_eq!(form_of(&[1, 2, 3]).1, None);
    }
}
