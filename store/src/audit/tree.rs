//! The log's Merkle tree (`formats::merkle` over SM3) as it is kept. Pure: nodes come from the caller.
//!
//! Complete subtrees are kept in tiles of height 8. The tile of level L and number N holds up to 256 hashes of complete
//! subtrees of 256^L entries each, from the one with the number 256 × N on; a tile of level 0 holds leaf hashes.

use std::collections::HashMap;

use formats::merkle::{Tree, TreeHash, split};

pub use formats::merkle::Hash;

/// The log's hash function.
const SM3: TreeHash = TreeHash::Sm3;
/// Hashes in a full tile.
pub(crate) const TILE: u64 = 256;
/// Levels of the tree in a tile.
const HEIGHT: u32 = 8;

/// Leaf hash of an entry: SM3(0x00 ‖ entry), RFC 9162 section 2.1.1 with SM3.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    SM3.leaf(entry)
}

/// Interior node: SM3(0x01 ‖ left ‖ right).
#[must_use]
pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    SM3.node(left, right)
}

/// Root over leaf hashes; of none, SM3 of nothing (RFC 9162 section 2.1.1).
#[must_use]
pub fn root_of(leaves: &[Hash]) -> Hash {
    SM3.root(leaves)
}

/// A tile that has become full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Its level, 0 for leaf hashes.
    pub(crate) level: u32,
    /// Its place among the tiles of its level.
    pub(crate) number: u64,
    /// Root over its hashes: a hash of the tile above.
    pub(crate) root: Hash,
    /// Its hashes.
    pub(crate) hashes: Vec<Hash>,
}

/// The right edge of a growing tree: of each level the hashes that do not fill a tile yet. A few KiB for a tree of any
/// size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// An edge as it is kept: the tree's size, and of each level the hashes of its tile that is not full.
    #[must_use]
    pub(crate) fn new(size: u64, levels: Vec<Vec<Hash>>) -> Self {
        Self { size, levels }
    }

    /// Entries in the tree.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry; tiles that it fills go to `full`, lower levels first.
    pub(crate) fn push(&mut self, leaf: Hash, full: &mut Vec<Tile>) {
        self.size += 1;
        let mut carried = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[level];
            hashes.push(carried);
            if (hashes.len() as u64) < TILE {
                return;
            }
            let hashes = std::mem::take(hashes);
            carried = root_of(&hashes);
            let level = level as u32;
            full.push(Tile {
                level,
                number: (self.size >> (HEIGHT * (level + 1))) - 1,
                root: carried,
                hashes,
            });
        }
    }

    /// The tree's root.
    #[must_use]
    pub(crate) fn root(&self) -> Hash {
        let mut root = None;
        for hashes in &self.levels {
            // What is to the right joins last, so it is folded in from the lowest level up.
            root = join(hashes, root);
        }
        root.unwrap_or_else(|| root_of(&[]))
    }
}

/// Root over the complete subtrees `hashes`, with a smaller tree to their right.
fn join(hashes: &[Hash], right: Option<Hash>) -> Option<Hash> {
    let mut root = right;
    let mut rest = hashes;
    // From the right: the complete trees that the number of hashes consists of, smallest first.
    let mut bit = 0;
    while !rest.is_empty() {
        if (rest.len() >> bit) & 1 == 1 {
            let (before, tree) = rest.split_at(rest.len() - (1 << bit));
            let tree = root_of(tree);
            root = Some(root.map_or(tree, |right| node_hash(&tree, &right)));
            rest = before;
        }
        bit += 1;
    }
    root
}

/// Hashes of some tiles, out of which proofs are made.
#[derive(Debug, Default)]
pub(crate) struct Tiles {
    /// Of each tile the tree over its hashes.
    known: HashMap<(u32, u64), Tree>,
}

/// A hash was asked for whose tile is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit tree lacks a hash in tile {number} of level {level}")]
pub(crate) struct MissingTile {
    /// The tile's level.
    pub(crate) level: u32,
    /// Its number.
    pub(crate) number: u64,
}

impl Tiles {
    /// Level, number and wanted hashes of every tile that proofs in a tree of `size` entries about its entry or
    /// sub-tree that ends with `index` need.
    #[must_use]
    pub(crate) fn needed(index: u64, size: u64) -> Vec<(u32, u64, u64)> {
        let mut needed = Vec::new();
        let mut level = 0;
        loop {
            let hashes = size.checked_shr(HEIGHT * level).unwrap_or(0);
            if hashes == 0 {
                return needed;
            }
            let mut numbers = vec![(index >> (HEIGHT * level)) / TILE, (hashes - 1) / TILE];
            numbers.dedup();
            numbers.retain(|number| number * TILE < hashes);
            needed
                .extend(numbers.into_iter().map(|number| (level, number, TILE.min(hashes - number * TILE))));
            level += 1;
        }
    }

    /// Puts a tile in, full or not.
    pub(crate) fn insert(&mut self, level: u32, number: u64, hashes: Vec<Hash>) {
        self.known.insert((level, number), Tree::new(SM3, hashes));
    }

    /// Whether a tile is here with so many hashes at least.
    #[must_use]
    pub(crate) fn holds(&self, level: u32, number: u64, hashes: u64) -> bool {
        self.known.get(&(level, number)).is_some_and(|tile| tile.size() >= hashes)
    }

    /// The root of a tree of `size` entries.
    ///
    /// # Errors
    /// A tile is missing.
    pub(crate) fn root(&self, size: u64) -> Result<Hash, MissingTile> {
        if size == 0 { Ok(root_of(&[])) } else { self.range(0, size) }
    }

    /// Inclusion proof (RFC 9162 section 2.1.3.1) of the entry `index` in the tree of `size` entries.
    ///
    /// # Errors
    /// A tile is missing. `index` has to be below `size`.
    pub(crate) fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Hash>, MissingTile> {
        SM3.inclusion(index, size, &mut |height, number| self.node(height, number))
    }

    /// Consistency proof (RFC 9162 section 2.1.4.1) between the trees of `first` and `second` entries; empty when they
    /// are the same or the first is empty.
    ///
    /// # Errors
    /// A tile is missing. `first` may not exceed `second`.
    pub(crate) fn consistency(&self, first: u64, second: u64) -> Result<Vec<Hash>, MissingTile> {
        if first == 0 || first == second {
            return Ok(Vec::new());
        }
        let (mut low, mut high) = (0, second);
        let mut path = Vec::new();
        // Down to the subtree that the first tree ends with.
        while first < high {
            let middle = low + split(high - low);
            if first <= middle {
                path.push(self.range(middle, high)?);
                high = middle;
            } else {
                path.push(self.range(low, middle)?);
                low = middle;
            }
        }
        if low > 0 {
            path.push(self.range(low, high)?);
        }
        path.reverse();
        Ok(path)
    }

    /// Root over the entries `low..high`, where `low` is the begin of a subtree of the tree.
    fn range(&self, low: u64, high: u64) -> Result<Hash, MissingTile> {
        SM3.range(low, high, &mut |height, number| self.node(height, number))
    }

    /// Root of the complete subtree of 2^height entries with this number.
    fn node(&self, height: u32, index: u64) -> Result<Hash, MissingTile> {
        let (level, inside) = (height / HEIGHT, height % HEIGHT);
        let number = index >> (HEIGHT - inside);
        let place = index - (number << (HEIGHT - inside));
        let tile = self.known.get(&(level, number));
        tile.and_then(|tile| tile.node(inside, place)).ok_or(MissingTile { level, number })
    }
}

/// The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2), if the proof has the right form.
#[must_use]
pub fn root_from_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    SM3.root_from_inclusion(leaf, index, size, path)
}

/// Whether a consistency proof shows that the tree of `second` entries grew out of the one of `first` (RFC 9162
/// section 2.1.4.2).
#[must_use]
pub fn is_consistent(first: (u64, &Hash), second: (u64, &Hash), path: &[Hash]) -> bool {
    SM3.is_consistent(first, second, path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sm3::{Digest, Sm3};

    use super::*;

    /// MTH of RFC 9162 section 2.1.1, by its words.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => Sm3::digest([]).into(),
            1 => leaves[0],
            n => {
                let mut k = 1;
                while k * 2 < n {
                    k *= 2;
                }
                node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
            }
        }
    }

    /// PATH of section 2.1.3.1.
    fn naive_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let mut k = 1;
        while k * 2 < leaves.len() {
            k *= 2;
        }
        let (mut path, other) = if m < k {
            (naive_path(m, &leaves[..k]), naive_root(&leaves[k..]))
        } else {
            (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k]))
        };
        path.push(other);
        path
    }

    /// SUBPROOF of section 2.1.4.1.
    fn naive_subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let mut k = 1;
        while k * 2 < leaves.len() {
            k *= 2;
        }
        let (mut path, other) = if m <= k {
            (naive_subproof(m, &leaves[..k], whole), naive_root(&leaves[k..]))
        } else {
            (naive_subproof(m - k, &leaves[k..], false), naive_root(&leaves[..k]))
        };
        path.push(other);
        path
    }

    fn leaves(size: usize) -> Vec<Hash> {
        (0..size).map(|n| leaf_hash(&n.to_le_bytes())).collect()
    }

    /// Grows a tree and keeps its tiles; in the end the levels that are not full are kept too.
    fn grown(leaves: &[Hash]) -> (Edge, HashMap<(u32, u64), Vec<Hash>>) {
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        for leaf in leaves {
            edge.push(*leaf, &mut full);
        }
        let mut kept: HashMap<_, _> =
            full.into_iter().map(|tile| ((tile.level, tile.number), tile.hashes)).collect();
        for (level, hashes) in edge.levels.iter().enumerate() {
            let level = u32::try_from(level).unwrap();
            let number = (leaves.len() as u64 >> (HEIGHT * level)) / TILE;
            kept.insert((level, number), hashes.clone());
        }
        (edge, kept)
    }

    /// The tiles that are said to be needed, cut to what is said to be needed of them, and no others.
    fn loaded(kept: &HashMap<(u32, u64), Vec<Hash>>, needed: &[(u32, u64, u64)]) -> Tiles {
        let mut tiles = Tiles::default();
        for (level, number, hashes) in needed {
            let all = &kept[&(*level, *number)];
            tiles.insert(*level, *number, all[..usize::try_from(*hashes).unwrap()].to_vec());
        }
        tiles
    }

    #[test]
    fn a_growing_edge_has_the_root_of_the_naive_definition_at_every_size() {
        let all = leaves(1100);
        let (mut edge, mut full) = (Edge::default(), Vec::new());
        assert_eq!(edge.root(), naive_root(&[]));
        for (size, leaf) in (1..).zip(&all) {
            edge.push(*leaf, &mut full);
            if size < 40 || size % 64 < 3 || size > 1020 {
                assert_eq!(edge.root(), naive_root(&all[..size]), "{size}");
            }
        }
        assert_eq!(full.iter().map(|tile| tile.number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn a_tree_of_three_levels_of_tiles_has_the_same_proofs_as_the_naive_definition() {
        // One entry beyond 65,536 opens the third level.
        let all = leaves(66_000);
        let (edge, kept) = grown(&all);
        for (index, size) in [(0, 66_000), (65_535, 65_537), (65_536, 66_000), (40_000, 65_536), (300, 513)] {
            let tiles = loaded(&kept, &Tiles::needed(index as u64, size as u64));
            assert_eq!(tiles.inclusion(index as u64, size as u64).unwrap(), naive_path(index, &all[..size]));
            let tiles = loaded(&kept, &Tiles::needed(index as u64, size as u64));
            let proof = tiles.consistency(index as u64 + 1, size as u64).unwrap();
            assert_eq!(proof, naive_subproof(index + 1, &all[..size], true));
        }
        let tiles = loaded(&kept, &Tiles::needed(65_999, 66_000));
        assert_eq!(tiles.root(66_000).unwrap(), edge.root());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn proofs_are_those_of_the_rfc_and_verify_and_nothing_else_does(
            size in 1_usize..1500, pick in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()
        ) {
            let all = leaves(size);
            let (edge, kept) = grown(&all);
            let index = pick.index(size);
            let (at, n) = (index as u64, size as u64);
            let tiles = loaded(&kept, &Tiles::needed(at, n));
            let root = tiles.root(n).unwrap();
            prop_assert_eq!(root, edge.root());
            prop_assert_eq!(root, naive_root(&all));

            let path = tiles.inclusion(at, n).unwrap();
            prop_assert_eq!(&path, &naive_path(index, &all));
            prop_assert_eq!(root_from_inclusion(&all[index], at, n, &path), Some(root));
            for (other, leaf) in [(at + 1, &all[index]), (at, &all[(index + 1) % size])] {
                if size > 1 {
                    prop_assert_ne!(root_from_inclusion(leaf, other, n, &path), Some(root));
                }
            }
            prop_assert_eq!(root_from_inclusion(&all[index], n, n, &path), None);

            let proof = tiles.consistency(at + 1, n).unwrap();
            prop_assert_eq!(&proof, &naive_subproof(index + 1, &all, true));
            let first = naive_root(&all[..=index]);
            prop_assert!(is_consistent((at + 1, &first), (n, &root), &proof));
            prop_assert!(is_consistent((0, &root_of(&[])), (n, &root), &[]));
            prop_assert!(!is_consistent((n + 1, &root), (n, &root), &proof));
            if !path.is_empty() {
                let mut bad = path.clone();
                bad[flip.index(path.len())][0] ^= 1;
                prop_assert_ne!(root_from_inclusion(&all[index], at, n, &bad), Some(root));
                prop_assert_ne!(root_from_inclusion(&all[index], at, n, &path[1..]), Some(root));
            }
            if !proof.is_empty() {
                let mut bad = proof.clone();
                bad[flip.index(proof.len())][0] ^= 1;
                prop_assert!(!is_consistent((at + 1, &first), (n, &root), &bad));
                prop_assert!(!is_consistent((at + 1, &first), (n, &root), &proof[1..]));
            }
        }
    }
}
