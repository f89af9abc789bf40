//! What a batch did with each of its items. The log holds one entry with the root over all items; whoever keeps an item
//! and the others' hashes can show that it was among them.

use serde::{Deserialize, Serialize};

use crate::{leaf_hash, root_of};

/// What was done with one item.
///
/// What is hashed is this struct as JSON (RFC 8785): its fields stand in the order of their names, absent ones are left
/// out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditItem {
    /// What was asked for, if it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The device that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Digest of the input, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<String>,
    /// The key that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How it ended: `ok` or the stable code of the error.
    pub outcome: String,
    /// Digest of the result, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_digest: Option<String>,
}

impl AuditItem {
    /// The text that is hashed.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        // Texts under fixed names are always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Root over items in their order, each as the text that is hashed: the tree is made as the log's is.
    #[must_use]
    pub fn root<'t>(texts: impl IntoIterator<Item = &'t str>) -> [u8; 32] {
        let leaves: Vec<_> = texts.into_iter().map(|text| leaf_hash(text.as_bytes())).collect();
        root_of(&leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_there_is_in_the_order_of_names() {
        let item = AuditItem {
            action: Some("signature.raw".to_owned()),
            key: Some("k".to_owned()),
            outcome: "ok".to_owned(),
            ..AuditItem::default()
        };
        assert_eq!(item.canonical_json(), r#"{"action":"signature.raw","key":"k","outcome":"ok"}"#);
        assert_eq!(serde_json::from_str::<AuditItem>(&item.canonical_json()).unwrap(), item);
    }

    #[test]
    fn the_root_is_that_of_rfc_9162() {
        use sm3::{Digest as _, Sm3};
        let leaf = |text: &str| Sm3::new().chain_update([0]).chain_update(text).finalize();
        let node = |left: &[u8], right: &[u8]| {
            Sm3::new().chain_update([1]).chain_update(left).chain_update(right).finalize()
        };
        let four = node(&node(&leaf("a"), &leaf("b")), &node(&leaf("c"), &leaf("d")));
        assert_eq!(AuditItem::root(["a", "b", "c", "d"])[..], four[..]);
        assert_eq!(AuditItem::root(["a", "b", "c", "d", "e"])[..], node(&four, &leaf("e"))[..]);
        assert_eq!(AuditItem::root(["a", "b", "c"])[..], node(&node(&leaf("a"), &leaf("b")), &leaf("c"))[..]);
        assert_eq!(AuditItem::root(["a"])[..], leaf("a")[..]);
    }
}
