//! The Merkle tree of RFC 9162 over SM3, by its words.

use sm3::{Digest as _, Sm3};

/// Root over the records of a batch's items, hexadecimal.
pub fn items_root(records: &[&str]) -> String {
    hex::encode(root(records))
}

fn root(records: &[&str]) -> [u8; 32] {
    match records {
        [] => Sm3::digest([]).into(),
        [only] => Sm3::new().chain_update([0]).chain_update(only).finalize().into(),
        _ => {
            let mut left = 1;
            while left * 2 < records.len() {
                left *= 2;
            }
            let (left, right) = records.split_at(left);
            Sm3::new().chain_update([1]).chain_update(root(left)).chain_update(root(right)).finalize().into()
        }
    }
}
