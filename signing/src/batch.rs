//! Many signatures at once: made side by side, then put on record with one entry over all of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::{DeviceId, KeyId};
use formats::{Algorithm, Certificate};
use store::{AuditEntry, AuditItem, Keeping};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::{Caller, KeyRing, SignOrder, SigningDesk, SigningError};

/// Items of one batch that devices are asked for at once: enough to keep a group busy, a small part of any queue.
const AT_ONCE: usize = 64;
/// Most keys that the entry about a batch counts by name.
const MOST_KEYS: usize = 8;

/// An item of a batch as it is ordered, or the code of the problem that its caller is told of.
pub type OrderedItem = Result<SignOrder, &'static str>;

/// A batch whose signatures are made. None of them may leave before [`SigningDesk::record_batch`] has returned.
#[derive(Debug)]
pub struct MadeBatch {
    /// What came of the items, in their order.
    pub items: Vec<MadeItem>,
    /// Root over the items' records: what the entry in the audit log says as its input.
    pub root: [u8; 32],
}

/// What came of one item.
#[derive(Debug)]
pub struct MadeItem {
    /// The text that stands for it in the tree of which the audit log has the root.
    pub record: String,
    /// The signature, or why there is none.
    pub outcome: ItemOutcome,
    counted: Option<KeyId>,
}

/// How an item ended.
#[derive(Debug)]
pub enum ItemOutcome {
    /// With a signature.
    Signed(Box<ItemSignature>),
    /// With an error.
    Failed(SigningError),
    /// It came as refused.
    Refused,
}

/// One signature of a batch.
#[derive(Debug)]
pub struct ItemSignature {
    /// The signature, or the whole SignedData.
    pub signature: Vec<u8>,
    /// As ordered.
    pub algorithm: Algorithm,
    /// As ordered.
    pub key: KeyId,
    /// Who made it.
    pub device: DeviceId,
    /// The certificate of the copy that made it, if it has one.
    pub certificate: Option<Certificate>,
}

impl SigningDesk {
    /// Has a batch signed. Devices work on some of its items at once, in turn with what other callers want.
    pub async fn make_batch(&self, caller: &Caller, items: Vec<OrderedItem>) -> MadeBatch {
        let (ring, caller) = (self.keys(), Arc::new(caller.clone()));
        let mut made: Vec<_> = items.iter().map(|_| None).collect();
        let mut ordered = items.into_iter().enumerate();
        let mut making = JoinSet::new();
        loop {
            while making.len() < AT_ONCE
                && let Some((place, item)) = ordered.next()
            {
                match item {
                    Ok(order) => {
                        let (desk, ring, caller) = (self.clone(), Arc::clone(&ring), Arc::clone(&caller));
                        let make = async move { (place, desk.make_item(&ring, &caller, order).await) };
                        making.spawn(make.in_current_span());
                    }
                    Err(code) => made[place] = Some(MadeItem::refused(code)),
                }
            }
            let Some(done) = making.join_next().await else { break };
            let (place, item) = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            made[place] = Some(item);
        }
        let items: Vec<MadeItem> = made.into_iter().flatten().collect();
        let root = AuditItem::root(items.iter().map(|item| item.record.as_str()));
        MadeBatch { items, root }
    }

    async fn make_item(&self, ring: &KeyRing, caller: &Caller, order: SignOrder) -> MadeItem {
        let action = Some(order.format.action().to_owned());
        let made = match self.make(ring, caller, &order).await {
            Ok(made) => made,
            Err(error) => {
                let outcome = error.code().to_owned();
                let key = Some(order.key.to_string());
                let record = AuditItem { action, key, outcome, ..AuditItem::default() }.canonical_json();
                return MadeItem { record, outcome: ItemOutcome::Failed(error), counted: None };
            }
        };
        let record = AuditItem {
            action,
            device: made.device().map(DeviceId::to_string),
            input_digest: Some(hex::encode(made.digest)),
            key: Some(made.key.to_string()),
            outcome: made.outcome().to_owned(),
            result_digest: made.result_digest(),
        };
        let record = record.canonical_json();
        match made.signed {
            Err((_, error)) => MadeItem { record, outcome: ItemOutcome::Failed(error), counted: None },
            Ok((device, signature)) => {
                let (algorithm, key, certificate) = (order.algorithm, order.key, made.certificate);
                let signature = ItemSignature { signature, algorithm, key, device, certificate };
                MadeItem {
                    record,
                    outcome: ItemOutcome::Signed(Box::new(signature)),
                    counted: Some(made.key),
                }
            }
        }
    }

    /// Puts a batch on record, and keeps the answer that it has with the entry. Answers the entry's index; it is durable
    /// then.
    ///
    /// # Errors
    /// [`SigningError::Record`]; then nothing of the batch may leave, and no answer is kept.
    pub async fn record_batch(
        &self,
        caller: &Caller,
        batch: &MadeBatch,
        keeping: Option<Keeping>,
    ) -> Result<u64, SigningError> {
        let entry = AuditEntry {
            action: "signature.batch".to_owned(),
            actor: caller.app.to_string(),
            at: caller.at,
            device: None,
            input_digest: Some(hex::encode(batch.root)),
            key: None,
            outcome: batch.outcome().to_owned(),
            request_id: caller.request_id.clone(),
            result_digest: None,
            subject: Some(batch.summary()),
        };
        Ok(self.audit.append_keeping(entry, keeping).await?)
    }
}

impl MadeItem {
    fn refused(code: &str) -> Self {
        let record = AuditItem { outcome: code.to_owned(), ..AuditItem::default() }.canonical_json();
        Self { record, outcome: ItemOutcome::Refused, counted: None }
    }
}

impl MadeBatch {
    /// Whether anything was signed.
    #[must_use]
    pub fn has_signatures(&self) -> bool {
        self.items.iter().any(|item| matches!(item.outcome, ItemOutcome::Signed(_)))
    }

    /// What the items failed with that did, in their order.
    pub fn failures(&self) -> impl Iterator<Item = &SigningError> {
        self.items.iter().filter_map(|item| match &item.outcome {
            ItemOutcome::Failed(error) => Some(error),
            ItemOutcome::Signed(_) | ItemOutcome::Refused => None,
        })
    }

    /// `ok` if anything was signed.
    fn outcome(&self) -> &'static str {
        if self.has_signatures() { "ok" } else { "nothing_signed" }
    }

    /// `3 of 4 signed: demo-p256 1, demo-sm2 2`
    fn summary(&self) -> String {
        let mut keys: BTreeMap<&KeyId, usize> = BTreeMap::new();
        for key in self.items.iter().filter_map(|item| item.counted.as_ref()) {
            *keys.entry(key).or_default() += 1;
        }
        let signed: usize = keys.values().sum();
        let mut named: Vec<_> =
            keys.iter().take(MOST_KEYS).map(|(key, times)| format!("{key} {times}")).collect();
        if keys.len() > MOST_KEYS {
            named.push(format!("{} more keys", keys.len() - MOST_KEYS));
        }
        format!("{signed} of {} signed: {}", self.items.len(), named.join(", "))
            .trim_end_matches(": ")
            .to_owned()
    }
}
