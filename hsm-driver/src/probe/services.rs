//! Digests, ciphers and random numbers, each compared with the example of its standard.

use cryptoki_sys as sys;

use super::ServiceFinding;
use super::examine::Bench;
use super::report::hex;
use crate::worker::probing::{Attribute, Means, Object};

/// SM3 of `abc` (GB/T 32905 A.1).
const SM3_ABC: [u8; 32] = [
    0x66, 0xc7, 0xf0, 0xf4, 0x62, 0xee, 0xed, 0xd9, 0xd1, 0xf2, 0xd4, 0x6b, 0xdc, 0x10, 0xe4, 0xe2, //
    0x41, 0x67, 0xc4, 0x87, 0x5c, 0xf2, 0xf7, 0xa2, 0x29, 0x7d, 0xa0, 0x2b, 0x8f, 0x4b, 0xa8, 0xe0,
];
/// SHA-256 of `abc` (FIPS 180-4).
const SHA256_ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, //
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];

/// One block under a known key.
struct Example {
    key: [u8; 16],
    plain: [u8; 16],
    cipher: [u8; 16],
}

/// GB/T 32907 A.1.
const SM4: Example = Example {
    key: [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10],
    plain: [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10],
    cipher: [0x68, 0x1e, 0xdf, 0x34, 0xd2, 0x06, 0x96, 0x5e, 0x86, 0xb3, 0xe9, 0x4f, 0x53, 0x6e, 0x42, 0x46],
};
/// FIPS 197 C.1.
const AES: Example = Example {
    key: [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f],
    plain: [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff],
    cipher: [0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30, 0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a],
};

/// A cipher's numbers.
struct Cipher<'n> {
    name: &'static str,
    key_type: u64,
    generate: Option<u64>,
    ecb: &'n [u64],
    cbc: &'n [u64],
    cbc_pad: &'n [u64],
    example: &'static Example,
}

fn record(bench: &mut Bench<'_>, service: String, works: bool, detail: impl Into<String>) {
    bench.report.services.push(ServiceFinding { service, works, detail: detail.into() });
}

/// What needs no key.
pub(super) fn without_keys(bench: &mut Bench<'_>) {
    let draws = [0, 1].map(|_| bench.library.random(bench.session, 32));
    let (works, detail) = match draws {
        [Ok(first), Ok(second)] if first != second && first != [0; 32] => {
            (true, "two draws differ".to_owned())
        }
        [Ok(_), Ok(_)] => (false, "two draws are the same, or zeros".to_owned()),
        [Err(refusal), _] | [_, Err(refusal)] => (false, refusal.to_string()),
    };
    record(bench, "random numbers".to_owned(), works, detail);
    digest(bench, "SHA-256", sys::CKM_SHA256, &SHA256_ABC);
    let mut numbers: Vec<u64> = Vec::new();
    for number in bench.families.iter().flat_map(|family| &family.sm3) {
        if bench.worth_trying(*number) && !numbers.contains(number) {
            numbers.push(*number);
        }
    }
    let before = bench.report.services.len();
    for number in &numbers {
        digest(bench, "SM3", *number, &SM3_ABC);
    }
    // A device without SM3 refuses them all: one line says so.
    if bench.report.services[before..].iter().all(|finding| !finding.works) {
        bench.report.services.truncate(before);
        record(bench, "SM3".to_owned(), false, "under none of the known numbers");
    }
}

fn digest(bench: &mut Bench<'_>, name: &str, number: u64, expected: &[u8]) {
    let service = format!("{name} {}", hex(number));
    match bench.library.digest(bench.session, number, b"abc") {
        Ok(digest) if digest == expected => record(bench, service, true, "the standard's example"),
        Ok(_) => record(bench, service, false, "another digest than the standard's example"),
        Err(refusal) => record(bench, service, false, refusal.to_string()),
    }
}

/// Ciphers, with session keys.
pub(super) fn with_keys(bench: &mut Bench<'_>) {
    let aes = Cipher {
        name: "AES",
        key_type: sys::CKK_AES,
        generate: Some(sys::CKM_AES_KEY_GEN),
        ecb: &[sys::CKM_AES_ECB],
        cbc: &[sys::CKM_AES_CBC],
        cbc_pad: &[sys::CKM_AES_CBC_PAD],
        example: &AES,
    };
    cipher(bench, &aes);
    let families = std::mem::take(&mut bench.families);
    for family in &families {
        let Some(sm4) = &family.sm4 else { continue };
        let numbers = sm4.ecb.iter().chain(&sm4.cbc);
        // A family is tried where it is at home: most numbers are offered there.
        if !numbers.clone().any(|number| bench.offers(*number)) {
            continue;
        }
        let cipher_numbers = Cipher {
            name: "SM4",
            key_type: sm4.key_type,
            generate: sm4.generate,
            ecb: &sm4.ecb,
            cbc: &sm4.cbc,
            cbc_pad: &sm4.cbc_pad,
            example: &SM4,
        };
        cipher(bench, &cipher_numbers);
    }
    if !bench.report.services.iter().any(|finding| finding.service.starts_with("SM4")) {
        record(bench, "SM4".to_owned(), false, "none of the known numbers is offered");
    }
    bench.families = families;
}

fn cipher(bench: &mut Bench<'_>, cipher: &Cipher<'_>) {
    let name = format!("{} (key type {})", cipher.name, hex(cipher.key_type));
    // The standard's example wants a key from outside; a device that takes none generates one.
    let (key, known) = match secret(bench, cipher.key_type, Some(&cipher.example.key), None) {
        Ok(key) => (key, true),
        Err(refused) => {
            match cipher.generate.map(|number| secret(bench, cipher.key_type, None, Some(number))) {
                Some(Ok(key)) => (key, false),
                Some(Err(reason)) => return record(bench, name, false, reason),
                None => return record(bench, name, false, refused),
            }
        }
    };
    let zero = [0; 16];
    let ecb = cipher.ecb.iter().map(|number| ("ECB", Means::plain(*number), true));
    // With a zero IV the first block of CBC is that of ECB.
    let cbc = cipher.cbc.iter().map(|number| ("CBC", Means::with(*number, &zero), true));
    let padded = cipher.cbc_pad.iter().map(|number| ("CBC padded", Means::with(*number, &zero), false));
    for (mode, means, one_block) in ecb.chain(cbc).chain(padded) {
        if !bench.offers(means.number) {
            continue;
        }
        let service = format!("{} {mode} {}", cipher.name, hex(means.number));
        let plain = if one_block { &cipher.example.plain[..] } else { &cipher.example.plain[..11] };
        let outcome = bench.library.encrypt(bench.session, &means, key, plain).and_then(|encrypted| {
            let back = bench.library.decrypt(bench.session, &means, key, &encrypted)?;
            Ok((encrypted, back))
        });
        match outcome {
            Ok((encrypted, _)) if known && one_block && encrypted != cipher.example.cipher => {
                record(bench, service, false, "another ciphertext than the standard's example");
            }
            Ok((_, back)) if back != plain => record(bench, service, false, "does not decrypt its own"),
            Ok(_) if known && one_block => record(bench, service, true, "the standard's example, and back"),
            Ok(_) => record(bench, service, true, "there and back"),
            Err(refusal) => record(bench, service, false, refusal.to_string()),
        }
    }
}

/// A session secret key that encrypts, wraps and unwraps: of these octets, or by a generator.
pub(super) fn secret(
    bench: &mut Bench<'_>,
    key_type: u64,
    value: Option<&[u8]>,
    generate: Option<u64>,
) -> Result<Object, String> {
    let mut own = vec![
        Attribute::number(sys::CKA_CLASS, sys::CKO_SECRET_KEY),
        Attribute::number(sys::CKA_KEY_TYPE, key_type),
        Attribute::flag(sys::CKA_ENCRYPT, true),
        Attribute::flag(sys::CKA_DECRYPT, true),
        Attribute::flag(sys::CKA_WRAP, true),
        Attribute::flag(sys::CKA_UNWRAP, true),
    ];
    if let Some(value) = value {
        own.push(Attribute::octets(sys::CKA_VALUE, value));
    } else if key_type == sys::CKK_AES {
        own.push(Attribute::number(sys::CKA_VALUE_LEN, 32));
    }
    let template = bench.session_object(&own);
    let made = match generate {
        Some(number) => bench.library.generate(bench.session, &Means::plain(number), &template),
        None => bench.library.create(bench.session, &template),
    };
    let object = made.map_err(|refusal| refusal.to_string())?;
    bench.keep(object).ok_or_else(|| "the device made a permanent object".to_owned())
}
