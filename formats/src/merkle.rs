//! The Merkle tree of RFC 9162, section 2.1: hashes, proofs and their verification. Where the nodes of a large tree are
//! kept is the caller's matter.

use aws_lc_rs::digest::{Context, SHA256};
use sm3::{Digest, Sm3};

/// A node of a tree: a digest of 32 octets.
pub type Hash = [u8; 32];

/// The hash function of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TreeHash {
    /// SM3 (GB/T 32905).
    Sm3,
    /// SHA-256 (FIPS 180-4), as RFC 9162 has it.
    Sha256,
}

impl TreeHash {
    /// Both, with the names they go by.
    pub const NAMES: [(&'static str, Self); 2] = [("sm3", Self::Sm3), ("sha256", Self::Sha256)];

    /// The name it goes by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sm3 => "sm3",
            Self::Sha256 => "sha256",
        }
    }

    /// The digest of a message that comes in parts.
    pub fn digest(self, parts: &[&[u8]]) -> Hash {
        match self {
            Self::Sm3 => {
                let mut hasher = Sm3::new();
                parts.iter().for_each(|part| hasher.update(part));
                hasher.finalize().into()
            }
            Self::Sha256 => {
                let mut context = Context::new(&SHA256);
                parts.iter().for_each(|part| context.update(part));
                let mut digest = Hash::default();
                digest.copy_from_slice(context.finish().as_ref());
                digest
            }
        }
    }

    /// Leaf hash of an entry: HASH(0x00 ‖ entry).
    pub fn leaf(self, entry: &[u8]) -> Hash {
        self.digest(&[&[0], entry])
    }

    /// Interior node: HASH(0x01 ‖ left ‖ right).
    pub fn node(self, left: &Hash, right: &Hash) -> Hash {
        self.digest(&[&[1], left, right])
    }

    /// Root over leaf hashes; of none, HASH of nothing.
    pub fn root(self, leaves: &[Hash]) -> Hash {
        match leaves {
            [] => self.digest(&[]),
            [only] => *only,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize); // it is smaller
                self.node(&self.root(left), &self.root(right))
            }
        }
    }

    /// Root over the entries `low..high`, of which there is one at least, where `low` is the begin of a subtree of
    /// the tree. `node` answers the root of the
    /// complete subtree of 2^height entries with a number.
    ///
    /// # Errors
    /// What `node` fails with.
    pub fn range<E>(
        self,
        low: u64,
        high: u64,
        node: &mut impl FnMut(u32, u64) -> Result<Hash, E>,
    ) -> Result<Hash, E> {
        let size = high - low;
        if size.is_power_of_two() {
            return node(size.trailing_zeros(), low >> size.trailing_zeros());
        }
        let middle = low + split(size);
        Ok(self.node(&self.range(low, middle, node)?, &self.range(middle, high, node)?))
    }

    /// Inclusion proof (section 2.1.3.1) of the entry `index`, which has to be below `size`, in the tree of `size` entries;
    /// `node` as of [`range`](Self::range).
    ///
    /// # Errors
    /// What `node` fails with.
    pub fn inclusion<E>(
        self,
        index: u64,
        size: u64,
        node: &mut impl FnMut(u32, u64) -> Result<Hash, E>,
    ) -> Result<Vec<Hash>, E> {
        let (mut low, mut high) = (0, size);
        let mut path = Vec::new();
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.range(middle, high, node)?);
                high = middle;
            } else {
                path.push(self.range(low, middle, node)?);
                low = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// The root that an inclusion proof leads to (section 2.1.3.2), if the proof has the right form.
    pub fn root_from_inclusion(self, leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
        if index >= size {
            return None;
        }
        let (mut place, mut last, mut root) = (index, size - 1, *leaf);
        for sibling in path {
            if last == 0 {
                return None;
            }
            if place & 1 == 1 || place == last {
                root = self.node(sibling, &root);
                while place & 1 == 0 && place != 0 {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                root = self.node(&root, sibling);
            }
            place >>= 1;
            last >>= 1;
        }
        (last == 0).then_some(root)
    }

    /// Whether a consistency proof shows that the tree of `second` entries grew out of the one of `first` (section 2.1.4.2).
    pub fn is_consistent(self, first: (u64, &Hash), second: (u64, &Hash), path: &[Hash]) -> bool {
        let ((first, first_root), (second, second_root)) = (first, second);
        if first > second {
            return false;
        }
        if first == second || first == 0 {
            let root_holds =
                if first == 0 { *first_root == self.root(&[]) } else { first_root == second_root };
            return path.is_empty() && root_holds;
        }
        let (begin, rest) = if first.is_power_of_two() {
            (*first_root, path)
        } else {
            let Some((begin, rest)) = path.split_first() else { return false };
            (*begin, rest)
        };
        let (mut place, mut last) = (first - 1, second - 1);
        while place & 1 == 1 {
            place >>= 1;
            last >>= 1;
        }
        let (mut older, mut newer) = (begin, begin);
        for sibling in rest {
            if last == 0 {
                return false;
            }
            if place & 1 == 1 || place == last {
                older = self.node(sibling, &older);
                newer = self.node(sibling, &newer);
                while place & 1 == 0 && place != 0 {
                    place >>= 1;
                    last >>= 1;
                }
            } else {
                newer = self.node(&newer, sibling);
            }
            place >>= 1;
            last >>= 1;
        }
        last == 0 && older == *first_root && newer == *second_root
    }
}

/// Where a tree of more than one entry is parted: the largest power of two below its size.
pub fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// Hashes that an inclusion proof of the entry `index` in the tree of `size` entries has; none of an entry that is not there.
pub fn path_length(index: u64, size: u64) -> Option<usize> {
    if index >= size {
        return None;
    }
    let (mut low, mut high, mut length) = (0, size, 0);
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            high = middle;
        } else {
            low = middle;
        }
        length += 1;
    }
    Some(length)
}

/// A tree that is held whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    hash: TreeHash,
    /// Roots of the complete subtrees of 2^height entries, leaf hashes first.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over leaf hashes.
    pub fn new(hash: TreeHash, leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let above = last.chunks_exact(2).map(|pair| hash.node(&pair[0], &pair[1])).collect();
            levels.push(above);
        }
        Self { hash, levels }
    }

    /// Its entries.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// Its root.
    pub fn root(&self) -> Hash {
        let node = &mut |height, number| self.node(height, number).ok_or(());
        let root = (self.size() > 0).then(|| self.hash.range(0, self.size(), node));
        root.and_then(Result::ok).unwrap_or_else(|| self.hash.root(&[]))
    }

    /// The inclusion proof of an entry; none of one that is not there.
    pub fn inclusion(&self, index: u64) -> Option<Vec<Hash>> {
        let node = &mut |height, number| self.node(height, number).ok_or(());
        (index < self.size()).then(|| self.hash.inclusion(index, self.size(), node).ok())?
    }

    /// The root of the complete subtree of 2^height entries with this number.
    pub fn node(&self, height: u32, number: u64) -> Option<Hash> {
        let level = self.levels.get(height as usize)?;
        level.get(usize::try_from(number).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PATH of section 2.1.3.1, by its words.
    fn naive_path(hash: TreeHash, index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let mut half = 1;
        while half * 2 < leaves.len() {
            half *= 2;
        }
        let (left, right) = leaves.split_at(half);
        let (mut path, other) = match index < half {
            true => (naive_path(hash, index, left), right),
            false => (naive_path(hash, index - half, right), left),
        };
        path.push(hash.root(other));
        path
    }

    #[test]
    fn every_proof_is_that_of_the_definition_and_leads_to_the_root_from_its_place_alone() {
        for (_, hash) in TreeHash::NAMES {
            for size in 1..=70_u64 {
                let leaves: Vec<_> = (0..size).map(|n| hash.leaf(&n.to_be_bytes())).collect();
                let tree = Tree::new(hash, leaves.clone());
                let root = tree.root();
                assert_eq!((tree.size(), root), (size, hash.root(&leaves)));
                for (index, leaf) in (0..).zip(&leaves) {
                    let path = tree.inclusion(index).unwrap();
                    assert_eq!(path, naive_path(hash, index as usize, &leaves), "{index} of {size}");
                    assert_eq!(path_length(index, size), Some(path.len()));
                    let led = |index, path: &[Hash]| hash.root_from_inclusion(leaf, index, size, path);
                    assert_eq!(led(index, &path), Some(root), "{index} of {size}");
                    assert_ne!(led((index + 1) % size, &path), Some(root).filter(|_| size > 1));
                    assert_eq!(led(size, &path), None);
                    let longer = [&path[..], &[root]].concat();
                    assert_eq!(led(index, &longer), None);
                    if let Some((_, shorter)) = path.split_last() {
                        assert_eq!(led(index, shorter), None);
                    }
                }
                assert_eq!((tree.inclusion(size), path_length(size, size)), (None, None));
            }
            let none = Tree::new(hash, Vec::new());
            assert_eq!((none.size(), none.root(), none.inclusion(0)), (0, hash.digest(&[]), None));
        }
    }

    #[test]
    fn the_hash_functions_are_those_of_their_standards() {
        let abc = |hash: TreeHash| hex::encode(hash.digest(&[b"a", b"bc"]));
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let sm3 = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0";
        assert_eq!((abc(TreeHash::Sha256), abc(TreeHash::Sm3)), (sha256.to_owned(), sm3.to_owned()));
    }
}
