//! An account, and what signs its person in.

// Each test program uses its own part of this.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use config::{AccountName, Secret};
use store::{
    Account, DataKey, DataKeys, Grounds, NewAccount, NewSession, PasswordCheck, Proofs, Role, SessionKind,
    Store, StoreError,
};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use crate::support::Database;

pub(crate) const AT: OffsetDateTime = datetime!(2026-05-06 07:08:09 UTC);
pub(crate) const PASSWORD: &str = "kT7-vepo-Quag";

pub(crate) fn name(name: &str) -> AccountName {
    AccountName::parse(name).unwrap()
}

pub(crate) async fn open(database: &Database) -> Store {
    let store = database.create().await;
    store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[7; 32])]).unwrap());
    store
}

pub(crate) async fn insert(store: &Store, who: &str, roles: &[Role]) -> Result<(), StoreError> {
    let (name, roles) = (name(who), roles.iter().copied().collect::<BTreeSet<_>>());
    let account = NewAccount {
        name: &name,
        display_name: "王磊",
        roles: &roles,
        password: PASSWORD,
        one_time_until: Some(AT + Duration::DAY),
    };
    store.insert_account(&account, AT).await
}

pub(crate) async fn with_account(database: &Database) -> Store {
    let store = open(database).await;
    insert(&store, "wang.lei", &[Role::Operator]).await.unwrap();
    store
}

pub(crate) async fn with_factor(database: &Database) -> Store {
    let store = with_account(database).await;
    let secret = Secret::new(vec![9; 20]);
    store.begin_second_factor(&name("wang.lei"), secret.expose(), None).await.unwrap();
    let codes = [Secret::new("AAAA0000BBBB1111".to_owned()), Secret::new("CCCC2222DDDD3333".to_owned())];
    store.confirm_second_factor(&name("wang.lei"), (&secret, 100), &codes, None, AT).await.unwrap();
    store
}

pub(crate) async fn account(store: &Store) -> Account {
    store.account(&name("wang.lei")).await.unwrap().unwrap()
}

pub(crate) fn session(id: &str, kind: SessionKind) -> NewSession {
    let scopes = (kind == SessionKind::Token).then(|| BTreeSet::from(["audit".to_owned()]));
    NewSession {
        id: id.to_owned(),
        account: name("wang.lei"),
        kind,
        digest: digest(id),
        label: "192.0.2.1".to_owned(),
        scopes,
        second_factor: true,
        expires_at: AT + Duration::HOUR,
    }
}

pub(crate) fn digest(id: &str) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..id.len()].copy_from_slice(id.as_bytes());
    digest
}

/// What the account is proved by now.
pub(crate) async fn proofs(store: &Store, password: &str) -> Proofs {
    match store.check_password(Some(&name("wang.lei")), password).await.unwrap() {
        PasswordCheck::Right { proofs, .. } => proofs,
        PasswordCheck::Wrong { .. } => panic!("the password is another"),
    }
}

/// Begins a session of somebody who has just shown this password.
pub(crate) async fn begin_by(store: &Store, id: &str, password: &str) {
    let proofs = &proofs(store, password).await;
    let session = session(id, SessionKind::Session);
    store.begin_session(&session, Grounds::Shown { proofs, factor: None }, AT).await.unwrap();
}

pub(crate) async fn begin(store: &Store, id: &str) {
    begin_by(store, id, PASSWORD).await;
}

pub(crate) async fn has_ended(store: &Store, id: &str) -> bool {
    store.session(&digest(id)).await.unwrap().unwrap().0.ended.is_some()
}

pub(crate) async fn is_right(store: &Store, who: &str, password: &str) -> bool {
    let checked = store.check_password(AccountName::parse(who).ok().as_ref(), password).await.unwrap();
    matches!(checked, PasswordCheck::Right { account, .. } if account.name.as_str() == who)
}
