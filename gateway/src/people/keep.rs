//! What is done about accounts without anybody asking: one that nobody uses is turned off (the leaver whom nobody
//! reported), and what is over is forgotten.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use config::OwnName;
use store::{Account, AccountState, AuditEntry, AuditLog, Store, StoreError, UnusedAccount};
use time::{Duration, OffsetDateTime};

use crate::auth::Callers;

/// How often accounts are looked at. One that is unused signs nobody in before that either.
const ROUND: std::time::Duration = std::time::Duration::from_secs(600);
/// Sessions that ended stay so long, for whoever looks into what happened.
const KEPT: Duration = Duration::days(30);

/// Looks at all accounts again and again, until it is dropped.
pub(crate) async fn keep(store: Store, audit: AuditLog, callers: Arc<Callers>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        // Without the data key nothing can be judged; the next round will do.
        if store.protection().is_locked() || !store.protection().is_unlocked() {
            continue;
        }
        let unused = Duration::days(i64::from(callers.unused_days.load(Ordering::Relaxed)));
        if let Err(error) = round(&store, &audit, unused, OffsetDateTime::now_utc()).await {
            tracing::warn!(%error, "accounts could not be looked at");
        }
    }
}

async fn round(
    store: &Store,
    audit: &AuditLog,
    unused: Duration,
    at: OffsetDateTime,
) -> Result<(), StoreError> {
    let last_use = at - unused;
    let sleeps =
        |account: &Account| account.state == AccountState::Enabled && account.unused_since() <= last_use;
    // Every gateway looks; each account is judged again where it is turned off, which one of them does.
    for account in store.accounts().await?.into_iter().filter(sleeps) {
        let reason = format!("unused for {} days", unused.whole_days());
        let entry = AuditEntry {
            action: "account.disable".to_owned(),
            actor: OwnName::Gateway.as_str().to_owned(),
            at,
            device: None,
            input_digest: None,
            key: None,
            outcome: "ok".to_owned(),
            request_id: format!("{:032x}", fastrand::u128(..)),
            result_digest: None,
            subject: Some(format!("{}: {reason}", account.name)),
        };
        let name = account.name.clone();
        let sleeper = UnusedAccount { name: account.name, last_use, reason, at };
        if audit.append_turning_off(entry, sleeper).await?.is_some() {
            tracing::info!(account = %name, "an account that nobody uses was turned off");
        }
    }
    store.forget_sessions(at - KEPT).await?;
    store.forget_tries(at).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use config::AccountName;
    use store::{DataKey, DataKeys, DatabaseAccess, NewAccount};
    use time::macros::datetime;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_gateways_one_turns_off_whom_nobody_sees_and_says_so() {
        let made = datetime!(2026-05-06 07:08:09 UTC);
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("gateway.db").display());
        let store = Store::create(DatabaseAccess::new(url)).await.unwrap();
        store.protection().unlock(DataKeys::new(vec![DataKey::new(1, &[7; 32])]).unwrap());
        let (name, roles) = (AccountName::parse("wang.lei").unwrap(), BTreeSet::new());
        let account =
            NewAccount { name: &name, display_name: "x", roles: &roles, password: "x", one_time_until: None };
        store.insert_account(&account, made).await.unwrap();
        let (one, one_writer) = AuditLog::start_for(&store, "one").await.unwrap();
        let (other, other_writer) = AuditLog::start_for(&store, "other").await.unwrap();
        let unused = Duration::days(90);
        let before = made + unused - Duration::SECOND;
        round(&store, &one, unused, before).await.unwrap();
        assert_eq!(store.account(&name).await.unwrap().unwrap().state, AccountState::Enabled);
        let at = made + unused;
        tokio::try_join!(round(&store, &one, unused, at), round(&store, &other, unused, at)).unwrap();
        assert_eq!(store.account(&name).await.unwrap().unwrap().state, AccountState::Disabled);
        let mut said = one.entries(0, 10).await.unwrap();
        said.extend(other.entries(0, 10).await.unwrap());
        let entries: Vec<AuditEntry> =
            said.iter().map(|stored| serde_json::from_slice(&stored.entry).unwrap()).collect();
        let said: Vec<_> =
            entries.iter().map(|entry| (entry.action.as_str(), entry.subject.as_deref())).collect();
        assert_eq!(said, [("account.disable", Some("wang.lei: unused for 90 days"))]);
        one_writer.finish().await;
        other_writer.finish().await;
    }
}
