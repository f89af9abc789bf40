//! Lists that are signed once, with a proof for each item: a Merkle tree (RFC 9162) over the items, whose head is signed as any
//! content is. `docs/list-format.md` has the form for whoever writes a verifier.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::merkle::{Hash, Tree, TreeHash, path_length};
use crate::{FormatError, Judgement, Uscc};

/// What a proof says that it is.
pub const LIST_PROOF_FORMAT: &str = "license-gateway list proof 1";
/// Most items of a list.
pub const MOST_LIST_ITEMS: usize = 10_000;
/// Most characters of an item's name.
pub const LONGEST_ITEM_ID: usize = 64;

/// The head's first line: what is signed can be taken for nothing else.
const HEAD: &str = "license-gateway list 1";
const PROOF: &str = "list proof";

/// One item of a list. What is hashed is this struct as JSON (RFC 8785): its members stand in the order of their names, one that
/// is absent is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListItem {
    /// What it is about, by the list's hash function; base64 in JSON.
    #[serde(with = "octets")]
    pub digest: Hash,
    /// The enterprise that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enterprise: Option<String>,
    /// Its name in the list.
    pub id: String,
}

impl ListItem {
    fn leaf(&self, hash: TreeHash) -> Hash {
        // Texts under fixed names are always JSON.
        hash.leaf(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// What of a list is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListHead {
    /// The hash function of its tree and of its items' digests.
    pub hash: TreeHash,
    /// How many items it has.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
}

impl ListHead {
    /// The digest that the signature is over, by the same hash function.
    pub fn digest(&self) -> Hash {
        self.hash.digest(&[self.to_string().as_bytes()])
    }
}

/// The text that is signed: four lines.
impl fmt::Display for ListHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}\n{}\n{}\n{}", self.hash.name(), self.size, hex::encode(self.root))
    }
}

/// A list that is to be signed.
#[derive(Clone, Debug)]
pub struct List {
    hash: TreeHash,
    tree: Tree,
}

impl List {
    /// The list of these items in their order. That there are any, not too many and no two of one name, is the caller's to see to.
    pub fn new(hash: TreeHash, items: &[ListItem]) -> Self {
        let leaves = items.iter().map(|item| item.leaf(hash)).collect();
        Self { hash, tree: Tree::new(hash, leaves) }
    }

    /// What is signed.
    pub fn head(&self) -> ListHead {
        ListHead { hash: self.hash, size: self.tree.size(), root: self.tree.root() }
    }

    /// Of each item the hashes on the way to the root, the lowest first, as one text: base64.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        let paths = (0..self.tree.size()).map_while(|index| self.tree.inclusion(index));
        paths.map(|path| STANDARD.encode(path.concat()))
    }
}

/// An item of a list that somebody signed, with the proof that it is in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListProof {
    /// The item.
    pub item: ListItem,
    /// Its place, from 0.
    pub index: u64,
    /// The list's head.
    pub head: ListHead,
    /// CMS over the head, detached.
    pub signature: Vec<u8>,
    path: Vec<u8>,
}

/// A proof as it is written: JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    hash: String,
    index: u64,
    item: ListItem,
    path: String,
    root: String,
    signature: String,
    size: u64,
}

impl ListProof {
    /// Reads a proof; whether it proves anything is not looked at.
    ///
    /// # Errors
    /// [`FormatError::Malformed`].
    pub fn parse(json: &[u8]) -> Result<Self, FormatError> {
        let malformed = |reason: &str| FormatError::malformed(PROOF, reason);
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        let written: Written =
            serde_json::from_slice(json).map_err(|error| FormatError::malformed(PROOF, error))?;
        let Written { format, hash, index, item, path, root, signature, size } = written;
        if format != LIST_PROOF_FORMAT {
            return Err(malformed("its format is another"));
        }
        let hash = TreeHash::NAMES.into_iter().find(|(name, _)| *name == hash);
        let (_, hash) = hash.ok_or_else(|| malformed("hash must be sm3 or sha256"))?;
        let length = item.id.chars().count();
        if !(1..=LONGEST_ITEM_ID).contains(&length) || item.id.chars().any(char::is_control) {
            return Err(malformed("item.id is no name"));
        }
        if item.enterprise.as_ref().is_some_and(|code| Uscc::parse_sandbox(code).is_err()) {
            return Err(malformed("item.enterprise is no unified social credit code"));
        }
        let mut head = ListHead { hash, size, root: Hash::default() };
        hex::decode_to_slice(root, &mut head.root)
            .map_err(|_| malformed("root must be 64 hexadecimal digits"))?;
        let base64 = |text: String, name: &str| {
            STANDARD.decode(text).map_err(|_| malformed(&format!("{name} must be padded standard base64")))
        };
        let (path, signature) = (base64(path, "path")?, base64(signature, "signature")?);
        Ok(Self { item, index, head, signature, path })
    }

    /// Whether the item is proved to be in the list with this head. The signature over the head is judged apart.
    ///
    /// | verdict | codes |
    /// |---|---|
    /// | invalid | `list_index_out_of_range` `list_path_length` `list_item_not_proved` |
    pub fn judge(&self) -> Judgement {
        let mut judgement = Judgement::new();
        let ListHead { hash, size, root } = self.head;
        let Some(wanted) = path_length(self.index, size) else {
            let detail = format!("place {} of a list of {size} items", self.index);
            judgement.invalid("list_index_out_of_range", detail);
            return judgement;
        };
        let (path, rest) = self.path.as_chunks::<{ size_of::<Hash>() }>();
        if path.len() != wanted || !rest.is_empty() {
            let octets = self.path.len();
            let detail = format!("it has {octets} octets, and the place needs {wanted} hashes of 32");
            judgement.invalid("list_path_length", detail);
            return judgement;
        }
        if hash.root_from_inclusion(&self.item.leaf(hash), self.index, size, path) != Some(root) {
            let detail = "item, place and path do not lead to the root";
            judgement.invalid("list_item_not_proved", detail);
        }
        judgement
    }
}

mod octets {
    use serde::{Deserializer, Serializer, de};

    use super::*;

    pub(super) fn serialize<S: Serializer>(hash: &Hash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(hash))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(deserializer)?;
        let octets = STANDARD.decode(text).ok().and_then(|octets| octets.try_into().ok());
        octets.ok_or_else(|| de::Error::custom("a digest must be 32 octets, padded standard base64"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn items(size: u8) -> Vec<ListItem> {
        let item = |n: u8| {
            let code = Uscc::with_check_digits("91310000MA1FL000").unwrap();
            let enterprise = n.is_multiple_of(2).then(|| code.as_str().to_owned());
            ListItem { digest: [n; 32], enterprise, id: format!("年报/{n}") }
        };
        (0..size).map(item).collect()
    }

    fn proof(list: &List, items: &[ListItem], index: usize) -> Value {
        let head = list.head();
        json!({
            "format": LIST_PROOF_FORMAT, "hash": head.hash.name(), "size": head.size,
            "root": hex::encode(head.root), "index": index, "item": items[index],
            "path": list.paths().nth(index).unwrap(), "signature": "AA==",
        })
    }

    fn codes(proof: &Value) -> Vec<&'static str> {
        let proof = ListProof::parse(proof.to_string().as_bytes()).unwrap();
        proof.judge().findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn an_item_is_what_is_hashed_as_canonical_json() {
        let item = ListItem { digest: [0; 32], enterprise: None, id: "门店 \"一\"".to_owned() };
        let text = r#"{"digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","id":"门店 \"一\""}"#;
        assert_eq!(serde_json::to_string(&item).unwrap(), text);
        let hash = TreeHash::Sha256;
        assert_eq!(item.leaf(hash), hash.digest(&[b"\0", text.as_bytes()]));
        let head = List::new(hash, &[item]).head();
        let root = hex::encode(head.root);
        assert_eq!(head.to_string(), format!("license-gateway list 1\nsha256\n1\n{root}\n"));
    }

    #[test]
    fn each_item_is_proved_and_no_other_item_place_path_or_root() {
        for (_, hash) in TreeHash::NAMES {
            let items = items(21);
            let list = List::new(hash, &items);
            for index in 0..items.len() {
                let good = proof(&list, &items, index);
                assert!(codes(&good).is_empty(), "{good}");
                let with = |name: &str, value: Value| {
                    let mut bad = good.clone();
                    bad[name] = value;
                    codes(&bad)
                };
                let other = (index + 1) % items.len();
                assert_eq!(with("item", json!(items[other])), ["list_item_not_proved"]);
                assert_eq!(with("root", json!("00".repeat(32))), ["list_item_not_proved"]);
                assert_eq!(with("index", json!(21)), ["list_index_out_of_range"]);
                assert_eq!(with("size", json!(0)), ["list_index_out_of_range"]);
                assert_eq!(with("path", json!("")), ["list_path_length"]);
                let path = STANDARD.decode(good["path"].as_str().unwrap()).unwrap();
                for cut in [&path[1..], &path[32..], &[&path[..], &[0; 32]].concat()] {
                    assert_eq!(with("path", json!(STANDARD.encode(cut))), ["list_path_length"]);
                }
                let mut bent = path.clone();
                bent[0] ^= 1;
                assert_eq!(with("path", json!(STANDARD.encode(bent))), ["list_item_not_proved"]);
                // The last one stands less deep than the others.
                let moved = with("index", json!(other));
                assert!(["list_item_not_proved", "list_path_length"].contains(&moved[0]), "{moved:?}");
            }
        }
    }

    #[test]
    fn what_is_no_proof_is_refused() {
        let items = items(3);
        let good = proof(&List::new(TreeHash::Sm3, &items), &items, 1);
        let refused = |text: &str| ListProof::parse(text.as_bytes()).unwrap_err().to_string();
        for (name, value) in [
            ("format", json!("license-gateway list proof 2")),
            ("hash", json!("md5")),
            ("index", json!(-1)),
            ("size", json!("3")),
            ("path", json!("?")),
            ("root", json!("00")),
            ("signature", json!("A")),
            ("more", json!(1)),
            ("item", json!({"id": "a"})),
            ("item", json!({"id": "", "digest": good["item"]["digest"]})),
            ("item", json!({"id": "a\u{7}", "digest": good["item"]["digest"]})),
            ("item", json!({"id": "a".repeat(65), "digest": good["item"]["digest"]})),
            ("item", json!({"id": "a", "digest": "AAAA"})),
            ("item", json!({"id": "a", "digest": good["item"]["digest"], "enterprise": "91"})),
        ] {
            let mut bad = good.clone();
            bad[name] = value;
            assert!(refused(&bad.to_string()).starts_with("not a list proof: "), "{name}");
        }
        for text in ["", "{}", "[]", "null", "{\"format\":"] {
            refused(text);
        }
    }
}
