//! An order for a stamp over a list: one signature, with a proof for each item.

use std::collections::HashMap;
use std::sync::Arc;

use formats::Uscc;
use formats::list::{LONGEST_ITEM_ID, List, ListItem, MOST_LIST_ITEMS};
use formats::merkle::TreeHash;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Setting, StampRequest};
use crate::body::{Faults, Few, Object};
use crate::people::form::is_unseen;

/// Items as they were listed; of too many as many as show it.
pub(super) type Items = Few<Object<ListItemBody>, MOST_LIST_ITEMS>;

/// An item of a list.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListItemBody {
    /// Its name, which no other item of the list has: 1 to 64 characters.
    #[schema(example = "2025-annual-report/0001")]
    id: String,
    /// The digest of what it is about: 32 octets, base64: SM3 with `sm2-sm3`, else SHA-256.
    digest: String,
    /// The unified social credit code of the enterprise that it is for. Required under a mandate: the mandate's enterprise, or a
    /// branch that it covers.
    enterprise: Option<String>,
}

impl StampRequest {
    /// Whom each item of its list is for, as they say it; nothing if it has no list.
    pub(crate) fn listed_enterprises(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        let items = self.items.as_ref().map_or(&[][..], |Few(items)| items);
        items.iter().map(|Object(item)| item.enterprise.as_deref())
    }

    /// The list, if the order has one.
    pub(super) fn list(&self, faults: &mut Faults, setting: &Setting<'_>) -> Option<Arc<List>> {
        let Few(items) = self.items.as_ref()?;
        if self.digest.is_some() {
            faults.add("items", "ambiguous_input", "digest and items exclude each other");
        }
        if !(1..=MOST_LIST_ITEMS).contains(&items.len()) {
            faults.add("items", "batch_size", format!("a list has 1 to {MOST_LIST_ITEMS} items"));
            return None;
        }
        let mut names: HashMap<&str, usize> = HashMap::with_capacity(items.len());
        let mut read = Vec::with_capacity(items.len());
        for (place, Object(item)) in items.iter().enumerate() {
            let mut of_item = Faults::default();
            if let Some(first) = names.insert(&item.id, place) {
                of_item.add("id", "duplicate_item", format!("items[{first}] has the same"));
            }
            read.extend(item.read(&mut of_item));
            faults.add_of(&format!("items[{place}]"), of_item);
        }
        let hash = match setting.algorithm {
            formats::Algorithm::Sm2Sm3 => TreeHash::Sm3,
            _ => TreeHash::Sha256,
        };
        Some(Arc::new(List::new(hash, &read)))
    }
}

impl ListItemBody {
    fn read(&self, faults: &mut Faults) -> Option<ListItem> {
        let length = self.id.chars().count();
        if !(1..=LONGEST_ITEM_ID).contains(&length) || self.id.chars().any(is_unseen) {
            let detail = format!("must be 1 to {LONGEST_ITEM_ID} characters that can be seen");
            faults.add("id", "invalid_value", detail);
        }
        let octets = faults.base64("digest", &self.digest)?;
        let length = octets.len();
        let digest = octets.try_into().ok();
        if digest.is_none() {
            faults.add("digest", "digest_length", format!("must be 32 octets, not {length}"));
        }
        let enterprise = match &self.enterprise {
            Some(code) => Some(faults.parse("enterprise", "uscc_invalid", Uscc::parse_sandbox(code))?),
            None => None,
        };
        let enterprise = enterprise.map(|code| code.as_str().to_owned());
        Some(ListItem { digest: digest?, enterprise, id: self.id.clone() })
    }
}
