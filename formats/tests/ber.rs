//! BER in every form that CMS comes in, and in forms that nobody should send.

use der::Decode;
use formats::ber::{MAX_DEPTH, to_der};
use proptest::prelude::*;

fn transcoded(ber: &[u8]) -> Vec<u8> {
    to_der(ber).unwrap_or_else(|error| panic!("{ber:02x?}: {error}")).into_owned()
}

#[test]
fn indefinite_and_long_lengths_become_short_ones() {
    assert_eq!(transcoded(&[0x30, 0x80, 0x02, 0x01, 0x07, 0, 0]), [0x30, 0x03, 0x02, 0x01, 0x07]);
    assert_eq!(transcoded(&[0x30, 0x82, 0, 4, 0x02, 0x81, 0x01, 0x07]).len(), 5);
    let mut long = vec![0x04, 0x83, 0, 1, 0];
    long.extend([5; 256]);
    assert_eq!(transcoded(&long)[..4], [0x04, 0x82, 1, 0]);
    assert_eq!(transcoded(&[0x30, 0x80, 0, 0]), [0x30, 0]);
}

#[test]
fn strings_in_pieces_become_whole() {
    let pieces = [0x24, 0x80, 0x04, 2, 1, 2, 0x24, 4, 0x04, 2, 3, 4, 0x04, 0, 0, 0];
    assert_eq!(transcoded(&pieces), [0x04, 4, 1, 2, 3, 4]);
    let text = [0x2c, 0x80, 0x04, 1, b'a', 0x0c, 1, b'b', 0, 0];
    assert_eq!(transcoded(&text), [0x0c, 2, b'a', b'b']);
}

#[test]
fn tags_of_any_class_and_number_are_kept() {
    let ber = [0xa0, 0x80, 0xbf, 0x87, 0x01, 0x80, 0x05, 0, 0, 0, 0, 0];
    assert_eq!(transcoded(&ber), [0xa0, 6, 0xbf, 0x87, 0x01, 2, 0x05, 0]);
}

#[test]
fn what_is_no_single_element_is_refused() {
    let deep = [[0x30, 0x80].repeat(MAX_DEPTH + 2), [0, 0].repeat(MAX_DEPTH + 2)].concat();
    let deep_pieces = [[0x24, 0x80].repeat(MAX_DEPTH + 2), [0, 0].repeat(MAX_DEPTH + 2)].concat();
    let cases: [&[u8]; 15] = [
        &[],
        &[0, 0],
        &[0x30],
        &[0x30, 0x80],
        &[0x30, 0x80, 0],
        &[0x04, 0x80, 1, 0, 0],
        &[0x30, 3, 0x02, 2, 1],
        &[0x30, 0xff],
        &[0x30, 0x85, 1, 0, 0, 0, 0],
        &[0x30, 0, 0],
        &[0x24, 3, 0x02, 1, 1],
        &[0x23, 4, 0x03, 2, 0, 1],
        &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0],
        &deep,
        &deep_pieces,
    ];
    for ber in cases {
        assert!(to_der(ber).is_err(), "{ber:02x?}");
    }
}

/// Any tree of elements, encoded in some BER way, with the DER of the same tree.
fn tree() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let leaf = proptest::collection::vec(any::<u8>(), 0..200).prop_flat_map(|content| {
        (Just(content), 0usize..4).prop_map(|(content, form)| {
            let der = definite(0x04, &content);
            let ber = match form {
                0 => der.clone(),
                1 => [&[0x04, 0x84][..], &(content.len() as u32).to_be_bytes(), &content].concat(),
                _ => {
                    let (one, other) = content.split_at(content.len() / 2);
                    let pieces = [definite(0x04, one), definite(0x04, other)].concat();
                    if form == 2 {
                        definite(0x24, &pieces)
                    } else {
                        [&[0x24, 0x80][..], &pieces, &[0, 0]].concat()
                    }
                }
            };
            (ber, der)
        })
    });
    leaf.prop_recursive(4, 24, 4, |inner| {
        (proptest::collection::vec(inner, 0..4), any::<bool>()).prop_map(|(children, indefinite)| {
            let ber: Vec<u8> = children.iter().flat_map(|(ber, _)| ber.clone()).collect();
            let der: Vec<u8> = children.iter().flat_map(|(_, der)| der.clone()).collect();
            let ber =
                if indefinite { [&[0x30, 0x80][..], &ber, &[0, 0]].concat() } else { definite(0x30, &ber) };
            (ber, definite(0x30, &der))
        })
    })
}

fn definite(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ 0..0x80 => vec![short as u8],
        length @ 0x80..0x100 => vec![0x81, length as u8],
        length => [&[0x82][..], &(length as u16).to_be_bytes()].concat(),
    };
    [&[tag][..], &length, content].concat()
}

proptest! {
    #[test]
    fn every_encoding_of_a_tree_becomes_its_der((ber, der) in tree()) {
        prop_assert_eq!(transcoded(&ber), der.clone());
        // And DER is left alone.
        prop_assert!(matches!(to_der(&der).unwrap(), std::borrow::Cow::Borrowed(_)));
    }

    #[test]
    fn any_bytes_get_an_answer_of_bounded_size(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(der) = to_der(&bytes) {
            prop_assert!(der.len() <= 2 * bytes.len());
            prop_assert!(der::asn1::AnyRef::from_der(&der).is_ok() || der[0] & 0x1f == 0x1f);
        }
    }
}
