use sm2::ProjectivePoint;
use sm2::elliptic_curve::sec1::ToSec1Point as _;

use super::{COUNTED, Table, Verifier, VerifierOptions};
use crate::PublicKey;

fn key(number: u64) -> PublicKey {
    let point = ProjectivePoint::GENERATOR * sm2::Scalar::from(number + 1);
    PublicKey::from_sec1(point.to_affine().to_sec1_point(false).as_bytes()).unwrap()
}

#[test]
fn the_keys_used_last_keep_their_tables() {
    let options = VerifierOptions { table_bytes: 3 * Table::BYTES, table_after: 1, ..Default::default() };
    let verifier = Verifier::new(options);
    let keys: Vec<_> = (0..5).map(key).collect();
    for i in [0, 1, 2, 0, 3, 4] {
        assert!(verifier.table(&keys[i]).is_some());
    }
    let kept = |i: usize| verifier.keys().tables.contains(keys[i].coordinates());
    assert_eq!([0, 1, 2, 3, 4].map(kept), [true, false, false, true, true]);
}

#[test]
fn counting_keys_takes_bounded_memory_and_forgets_those_seen_longest_ago() {
    let verifier = Verifier::new(VerifierOptions { table_after: 3, ..Default::default() });
    let mut coordinates = [0; 64];
    let mut count = |number: usize| {
        coordinates[..8].copy_from_slice(&number.to_be_bytes());
        verifier.keys().count(&coordinates, 3)
    };
    for number in 0..COUNTED + 100 {
        assert!(!count(number));
    }
    assert_eq!(verifier.keys().uses.len(), COUNTED);
    // The first key's use is forgotten, the last one's is not.
    assert_eq!([count(0), count(0), count(0)], [false, false, true]);
    let last = COUNTED + 99;
    assert_eq!([count(last), count(last)], [false, true]);
    // Whose time has come is not counted any longer.
    assert!(!count(last));
}
