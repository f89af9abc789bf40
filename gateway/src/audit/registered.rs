//! The audit keys that the register has. Whoever is shown a proof has them asked for, so they are remembered for as long as
//! their rows stand as they were read.

use std::sync::{Arc, Mutex, PoisonError};

use formats::PublicKey;
use store::{KeyPurpose, KeyStanding, Store, StoreError};

use super::registered_keys;

/// What is remembered of them.
pub(crate) struct AuditKeys {
    store: Store,
    known: Mutex<Option<(KeyStanding, Arc<[PublicKey]>)>>,
}

impl AuditKeys {
    pub(super) fn new(store: Store) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// The public keys of purpose `audit` that the register has, of all versions and copies.
    ///
    /// # Errors
    /// The database fails.
    pub(super) async fn registered(&self) -> Result<Arc<[PublicKey]>, StoreError> {
        // Before the keys: what changes in between is read again the next time.
        let standing = self.store.key_standing(KeyPurpose::Audit).await?;
        if let (Some(standing), Some((known, keys))) = (&standing, &*self.known())
            && known == standing
        {
            return Ok(Arc::clone(keys));
        }
        let refused = self.store.protection().refused_rows();
        let keys = registered_keys(&self.store).await?;
        let keys: Arc<[_]> = keys.iter().filter_map(|key| PublicKey::from_spki_der(key).ok()).collect();
        // A key whose row is altered is left out, and its row may be mended without another revision.
        let is_whole = self.store.protection().refused_rows() == refused;
        *self.known() = standing.filter(|_| is_whole).map(|standing| (standing, Arc::clone(&keys)));
        Ok(keys)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<(KeyStanding, Arc<[PublicKey]>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use config::{GroupId, KeyId};
    use store::{DataKey, DataKeys, DatabaseAccess, ExistingKey};
    use time::OffsetDateTime;
    use time::macros::datetime;

    use super::*;

    const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);

    async fn insert(store: &Store, id: &str, purpose: KeyPurpose) {
        let key = ExistingKey {
            id: KeyId::parse(id).unwrap(),
            group: GroupId::parse("bureau").unwrap(),
            algorithm: "sm2".to_owned(),
            purpose,
            cka_id: id.as_bytes().to_vec(),
            label: id.to_owned(),
            certificate_chain: String::new(),
        };
        store.insert_key(&key, AT).await.unwrap();
    }

    #[tokio::test]
    async fn the_register_is_read_again_when_an_audit_key_changed_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("gateway.db").display());
        let store = Store::create(DatabaseAccess::new(url)).await.unwrap();
        let keys = AuditKeys::new(store.clone());
        let unprotected = keys.registered().await.unwrap();
        assert!(!Arc::ptr_eq(&unprotected, &keys.registered().await.unwrap()), "there are no revisions");
        store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[7; 32])]).unwrap());
        insert(&store, "sys-audit", KeyPurpose::Audit).await;
        let read = keys.registered().await.unwrap();
        assert!(Arc::ptr_eq(&read, &keys.registered().await.unwrap()));
        insert(&store, "stamp", KeyPurpose::Service).await;
        assert!(Arc::ptr_eq(&read, &keys.registered().await.unwrap()), "that is no audit key");
        insert(&store, "sys-audit-2", KeyPurpose::Audit).await;
        let again = keys.registered().await.unwrap();
        assert!(!Arc::ptr_eq(&read, &again));
        let both = || vec![DataKey::new(1, &[7; 32]), DataKey::new(2, &[8; 32])];
        store.protection().unlock(DataKeys::new(both()).unwrap());
        store.renew_protection().await.unwrap();
        assert!(!Arc::ptr_eq(&again, &keys.registered().await.unwrap()), "their rows were written");
    }
}
