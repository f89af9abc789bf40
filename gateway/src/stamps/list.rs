//! What is answered of a list that was stamped: its head, and a proof for each item.

use formats::list::List;
use serde::Serialize;
use store::StampedList;
use utoipa::ToSchema;

/// The head of a list that was stamped.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListHeadItem {
    /// The hash function of its tree and of its items' digests: `sm3` or `sha256`.
    pub(super) hash: String,
    /// How many items it has.
    pub(super) size: u64,
    /// The root of the tree over its items (RFC 9162), hexadecimal.
    pub(super) root: String,
}

impl ListHeadItem {
    /// As the register of stamps has it.
    pub(super) fn new(list: StampedList) -> Self {
        let StampedList { hash, root, size } = list;
        Self { hash, size, root }
    }
}

/// A list that was stamped, with its proofs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MadeList {
    #[serde(flatten)]
    head: ListHeadItem,
    /// What the signature is over: a text of four lines that says hash function, size and root.
    statement: String,
    /// Of each item, in order, the path from it to the root: hashes, the lowest first, base64. It is `path` of the item's proof
    /// (`docs/list-format.md`).
    paths: Vec<String>,
}

impl MadeList {
    /// The list whose head was signed.
    pub(super) fn new(list: &List) -> Self {
        let head = list.head();
        let statement = head.to_string();
        let (hash, root) = (head.hash.name().to_owned(), hex::encode(head.root));
        let head = ListHeadItem { hash, size: head.size, root };
        Self { head, statement, paths: list.paths().collect() }
    }
}
