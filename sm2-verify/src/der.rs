//! `SM2Signature ::= SEQUENCE { r INTEGER, s INTEGER }` (GB/T 35276, 7.3), written canonically and
//! read with the liberties that devices take.
//!
//! Kept by hand, not by a DER crate: the reader must accept what such a crate rightly refuses, and
//! strictness then is one comparison with what the writer makes.

use crate::Sm2Error;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// The canonical encoding of two positive integers of at most 256 bits, 8 to 72 bytes long.
pub(crate) fn encode(r: &[u8; 32], s: &[u8; 32]) -> Vec<u8> {
    let mut der = Vec::with_capacity(72);
    der.extend([SEQUENCE, 0]);
    for number in [r, s] {
        let significant = &number[number.iter().take_while(|byte| **byte == 0).count().min(31)..];
        let sign_octet = significant[0] >= 0x80;
        der.extend([INTEGER, significant.len() as u8 + u8::from(sign_octet)]);
        if sign_octet {
            der.push(0);
        }
        der.extend(significant);
    }
    der[1] = der.len() as u8 - 2;
    der
}

/// Reads a SEQUENCE of two INTEGERs as unsigned numbers, whatever their padding, sign octet or
/// form of length. Nothing may follow them.
pub(crate) fn decode_lenient(bytes: &[u8]) -> Result<([u8; 32], [u8; 32]), Sm2Error> {
    let (body, rest) = element(SEQUENCE, bytes)?;
    let (r, after_r) = element(INTEGER, body)?;
    let (s, after_s) = element(INTEGER, after_r)?;
    if !rest.is_empty() || !after_s.is_empty() {
        return Err(Sm2Error::Encoding("bytes follow it"));
    }
    Ok((number(r)?, number(s)?))
}

fn element(tag: u8, bytes: &[u8]) -> Result<(&[u8], &[u8]), Sm2Error> {
    let truncated = Sm2Error::Encoding("it is cut short");
    let (&found, bytes) = bytes.split_first().ok_or(truncated)?;
    if found != tag {
        return Err(Sm2Error::Encoding("it is no SEQUENCE of two INTEGERs"));
    }
    let (&first, mut bytes) = bytes.split_first().ok_or(truncated)?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81..=0x84 => {
            let (octets, rest) = bytes.split_at_checked(usize::from(first & 0x7f)).ok_or(truncated)?;
            bytes = rest;
            octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet))
        }
        _ => return Err(Sm2Error::Encoding("it has a length of unknown form")),
    };
    bytes.split_at_checked(length).ok_or(truncated)
}

fn number(octets: &[u8]) -> Result<[u8; 32], Sm2Error> {
    if octets.is_empty() {
        return Err(Sm2Error::Encoding("an INTEGER is empty"));
    }
    let significant = &octets[octets.iter().take_while(|octet| **octet == 0).count()..];
    let mut number = [0; 32];
    let start = number.len().checked_sub(significant.len()).ok_or(Sm2Error::Range)?;
    number[start..].copy_from_slice(significant);
    Ok(number)
}
