//! The two forms of an ECDSA or SM2 signature over 256 bits: DER, as X.509, CMS and all interfaces here have it, and
//! the 64 octets r ‖ s of JOSE (RFC 7518, 3.4).

use der::asn1::UintRef;
use der::{Decode, Encode, Sequence};

/// `ECDSA-Sig-Value` (RFC 5480, A).
#[derive(Sequence)]
struct SignatureValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// r ‖ s as DER. What is no signature, such as zeros, stays none: whoever verifies it says so.
#[must_use]
pub fn fixed_to_der(fixed: &[u8; 64]) -> Vec<u8> {
    let (r, s) = fixed.split_at(32);
    let value = UintRef::new(r).and_then(|r| Ok(SignatureValue { r, s: UintRef::new(s)? }));
    value.and_then(|value| value.to_der()).unwrap_or_default()
}

/// DER as r ‖ s; none for anything else, numbers of more than 32 octets included.
#[must_use]
pub fn der_to_fixed(der: &[u8]) -> Option<[u8; 64]> {
    let SignatureValue { r, s } = SignatureValue::from_der(der).ok()?;
    let mut fixed = [0; 64];
    for (number, half) in [(r, 0), (s, 32)] {
        let octets = number.as_bytes();
        let start = 32_usize.checked_sub(octets.len())?;
        fixed.get_mut(half + start..half + 32)?.copy_from_slice(octets);
    }
    Some(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_stand_for_the_same_numbers() {
        let mut fixed = [0; 64];
        fixed[31] = 1; // short
        fixed[32] = 0x80; // needs a leading zero in DER
        let der = fixed_to_der(&fixed);
        assert_eq!(der_to_fixed(&der), Some(fixed));
        assert_eq!(der_to_fixed(&der[..der.len() - 1]), None);
        let large = [&[0x30, 0x26, 0x02, 0x21][..], &[0x01; 33], &[0x02, 0x01, 0x01]].concat();
        assert_eq!(der_to_fixed(&large), None, "33 octets");
    }
}
