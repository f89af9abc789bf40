//! The little DER that SM2 needs (GM/T 0009): signatures and ciphertexts.

/// The most octets of a signature: two integers of 33 octets.
pub(crate) const LONGEST_SIGNATURE: usize = 72;
/// Octets of a ciphertext's DER beyond C2: two integers, C3 and the longest heads.
pub(crate) const CIPHERTEXT_OVERHEAD: usize = 35 + 35 + 34 + 6 + 6;

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// SEQUENCE { r INTEGER, s INTEGER } from r‖s.
pub(crate) fn signature(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    tlv(SEQUENCE, &[integer(r), integer(s)].concat())
}

/// r‖s from its DER.
pub(crate) fn raw_signature(der: &[u8]) -> Option<[u8; 64]> {
    let (content, []) = take(SEQUENCE, der)? else { return None };
    let (r, rest) = take(INTEGER, content)?;
    let (s, []) = take(INTEGER, rest)? else { return None };
    let mut raw = [0; 64];
    raw[..32].copy_from_slice(&unsigned(r)?);
    raw[32..].copy_from_slice(&unsigned(s)?);
    Some(raw)
}

/// The signature without the zero octets that keep its integers positive; `None` if it needs none.
pub(crate) fn with_negative_integer(der: &[u8]) -> Option<Vec<u8>> {
    let raw = raw_signature(der)?;
    let (r, s) = raw.split_at(32);
    let bare = |value: &[u8]| tlv(INTEGER, significant(value));
    let negative = r[0] & 0x80 != 0 || s[0] & 0x80 != 0;
    negative.then(|| tlv(SEQUENCE, &[bare(r), bare(s)].concat()))
}

/// SEQUENCE { x INTEGER, y INTEGER, hash OCTET STRING, text OCTET STRING } from 04‖x‖y‖C3‖C2.
pub(crate) fn ciphertext(raw: &[u8]) -> Option<Vec<u8>> {
    let (point, rest) = raw.strip_prefix(&[4])?.split_at_checked(64)?;
    let (c3, c2) = rest.split_at_checked(32)?;
    let parts = [integer(&point[..32]), integer(&point[32..]), tlv(OCTET_STRING, c3), tlv(OCTET_STRING, c2)];
    Some(tlv(SEQUENCE, &parts.concat()))
}

/// 04‖x‖y‖C3‖C2 from its DER.
pub(crate) fn raw_ciphertext(der: &[u8]) -> Option<Vec<u8>> {
    let (content, []) = take(SEQUENCE, der)? else { return None };
    let (x, rest) = take(INTEGER, content)?;
    let (y, rest) = take(INTEGER, rest)?;
    let (c3, rest) = take(OCTET_STRING, rest)?;
    let (c2, []) = take(OCTET_STRING, rest)? else { return None };
    let point = [unsigned(x)?, unsigned(y)?].concat();
    (c3.len() == 32).then(|| [&[4], point.as_slice(), c3, c2].concat())
}

fn significant(value: &[u8]) -> &[u8] {
    let zeros = value.iter().take_while(|octet| **octet == 0).count();
    &value[zeros.min(value.len().saturating_sub(1))..]
}

fn integer(value: &[u8]) -> Vec<u8> {
    let value = significant(value);
    let positive = value.first().is_some_and(|octet| octet & 0x80 == 0);
    tlv(INTEGER, &[if positive { &[][..] } else { &[0] }, value].concat())
}

/// An INTEGER's content as 32 octets, if it is positive, shortest and fits.
fn unsigned(content: &[u8]) -> Option<[u8; 32]> {
    let value = match content {
        [0, high, ..] if high & 0x80 != 0 => &content[1..],
        [0] => content,
        [first, ..] if *first != 0 && first & 0x80 == 0 => content,
        _ => return None,
    };
    let mut padded = [0; 32];
    padded[32_usize.checked_sub(value.len())?..].copy_from_slice(value);
    Some(padded)
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let octets = (len as u32).to_be_bytes();
    let head = match len {
        0..=0x7F => vec![tag, octets[3]],
        _ => {
            let long = significant(&octets);
            [&[tag, 0x80 | long.len() as u8], long].concat()
        }
    };
    [head.as_slice(), content].concat()
}

/// The content of an element and what follows it.
fn take(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[own, short], rest) = input.split_first_chunk::<2>()?;
    if own != tag {
        return None;
    }
    if short < 0x80 {
        return rest.split_at_checked(usize::from(short));
    }
    let (long, rest) = rest.split_at_checked(usize::from(short & 0x7F))?;
    let shortest = match long {
        [only] => *only >= 0x80,
        [first, ..] => *first != 0,
        [] => false,
    };
    if !shortest || long.len() > 4 {
        return None;
    }
    rest.split_at_checked(long.iter().fold(0, |len, octet| len << 8 | usize::from(*octet)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_go_there_and_back_in_their_shortest_form() {
        let mut raw = [0; 64];
        (raw[0], raw[63]) = (0x80, 5);
        let der = signature(&raw);
        assert_eq!(der[..5], [0x30, 38, 2, 33, 0]);
        assert_eq!(der[37..], [2, 1, 5]);
        assert_eq!(raw_signature(&der), Some(raw));
        let negative = with_negative_integer(&der).unwrap();
        assert_eq!(negative[..5], [0x30, 37, 2, 32, 0x80]);
        assert_eq!(raw_signature(&negative), None);
        raw[0] = 1;
        assert_eq!(with_negative_integer(&signature(&raw)), None);
    }

    #[test]
    fn ciphertexts_go_there_and_back_whatever_their_length() {
        for len in [0, 1, 100, 127, 128, 255, 256, 70_000] {
            let raw = [&[4], [0x91; 96].as_slice(), &vec![7; len]].concat();
            let der = ciphertext(&raw).unwrap();
            assert!(der.len() <= len + CIPHERTEXT_OVERHEAD, "{len}");
            assert_eq!(raw_ciphertext(&der).unwrap(), raw, "{len}");
            assert_eq!(raw_ciphertext(&der[..der.len() - 1]), None, "{len}");
        }
    }
}
