//! Unlocking what is stored: the data key is asked of the devices until one gives it, and again whenever the key in
//! the devices has a new version.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{KeyId, OwnName};
use hsm_driver::{Answer, Fleet, HsmError, Order, State};
use store::{
    AuditEntry, AuditLog, DATA_KEY_CREATED, DeviceKey, DeviceSecrets, RegisterWatch, Store, StoreError,
    Unlocked,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::auth::Callers;
use crate::error::with_causes;
use crate::reload::Reloads;

/// How long to wait after a failure: devices that come up should not be waited for.
const WAIT: Duration = Duration::from_millis(100);
/// Failures between two lines in the log.
const SAY_EVERY: u32 = 100;
/// How often to look whether the key in the devices has a new version.
const ROUND: Duration = Duration::from_secs(5);
/// How often rows that were written are held against what was seen of them.
const LOOK: Duration = Duration::from_secs(2);
/// Each how manieth time that is done with all rows: every half minute.
const LOOK_AT_ALL: u32 = 15;

/// The devices of a fleet as they serve the store.
pub(crate) struct Devices<'f>(pub(crate) &'f Fleet);

impl DeviceSecrets for Devices<'_> {
    async fn derive(&self, key: &DeviceKey, text: &str, agreed: bool) -> Result<Zeroizing<[u8; 32]>, String> {
        let mut given: Option<Zeroizing<[u8; 32]>> = None;
        let mut last = format!("no device of {} is running", key.group);
        for device in self.0.status() {
            // A quarantined device gave a wrong result once.
            if device.group != key.group || device.state == State::Quarantined {
                continue;
            }
            let order = Order::Derive { cka_id: key.cka_id.clone(), text: text.to_owned() };
            match self.0.order(&device.id, order, self.0.deadline()).await {
                Ok(Answer::Octets(octets)) => {
                    let octets = Zeroizing::new(octets);
                    let Ok(secret) = <[u8; 32]>::try_from(&octets[..]).map(Zeroizing::new) else {
                        last = format!("{} gave {} octets", device.id, octets.len());
                        continue;
                    };
                    match &given {
                        Some(first) if **first != *secret => {
                            return Err(format!(
                                "{} gives another secret than a device before it",
                                device.id
                            ));
                        }
                        _ => given = Some(secret),
                    }
                    if !agreed {
                        break;
                    }
                }
                Ok(_) => last = format!("{} gave another answer", device.id),
                // A device without a worker, or without the key, is no reason against the others.
                Err(error @ HsmError::NotRunning { .. }) => last = error.to_string(),
                Err(error) => last = with_causes(&error),
            }
        }
        given.ok_or(last)
    }
}

/// Unlocks the store as soon as a device lets it, until when it counts as locked, and follows the key in the devices
/// from then on. In a sandbox's folder its people are entered first. Runs until it is dropped.
pub(crate) async fn keep_unlocked(
    store: Store,
    fleet: Arc<Fleet>,
    audit: AuditLog,
    reloads: Reloads,
    sandbox: Option<PathBuf>,
) {
    let (mut failures, mut last) = (0_u32, None);
    loop {
        match store.unlock(&Devices(&fleet), OffsetDateTime::now_utc()).await {
            Ok(done) if last.as_ref() == Some(&done) => {
                for row in store.protection().newly_altered() {
                    if let Err(error) = record(&audit, "row.altered", None, "refused", row).await {
                        tracing::error!(error = %with_causes(&error), "an altered row is not on record");
                    }
                }
                tokio::time::sleep(ROUND).await;
            }
            Ok(done) => {
                while let Err(error) = follow(&done, &store, &audit, &reloads).await {
                    tracing::error!(%error, "what is stored stays locked");
                    tokio::time::sleep(WAIT * 10).await;
                }
                // Before anybody is let in: the people of a sandbox can sign in as soon as it answers.
                while let Err(error) = enter_people(&store, sandbox.as_deref()).await {
                    tracing::error!(error = %with_causes(&error), "the people of the sandbox are not entered");
                    tokio::time::sleep(WAIT * 10).await;
                }
                store.protection().release();
                (failures, last) = (0, Some(done));
            }
            Err(error) => {
                failures = failures.wrapping_add(1);
                if failures.is_multiple_of(SAY_EVERY) {
                    tracing::error!(error = %with_causes(&error), "what is stored stays locked");
                }
                tokio::time::sleep(WAIT).await;
            }
        }
    }
}

/// Looks for rows that somebody put back in an older state, until it is dropped. What was loaded before is loaded again
/// then, without them.
pub(crate) async fn watch_registers(
    store: Store,
    mut registers: RegisterWatch,
    callers: Arc<Callers>,
    reloads: Reloads,
) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut failing, mut look) = (false, 0_u32);
    // Of how many finds the registers were read again. A look that fails half-way has found something all the same.
    let mut heeded = 0;
    loop {
        looks.tick().await;
        let at = OffsetDateTime::now_utc();
        look = look.wrapping_add(1);
        let looked = match look.is_multiple_of(LOOK_AT_ALL) {
            true => registers.look_at_all(at).await,
            false => registers.look(at).await,
        };
        match looked {
            Ok(_) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(error = %with_causes(&error), "nobody looks at all rows that were put back now");
            }
            Err(_) => {}
        }
        let found = store.protection().put_back_rows();
        if found == heeded {
            continue;
        }
        tracing::error!(
            put_back = found - heeded,
            "rows are older than this gateway saw them, or gone; they are not used"
        );
        let apps = callers.apps.read_anew().await;
        if let Err(error) = &apps {
            tracing::error!(error = %with_causes(error), "the register of apps was not read again");
        }
        let keys = reloads.keys().await;
        if let Err(error) = &keys {
            tracing::error!(error = %with_causes(error), "the register of keys was not read again");
        }
        if apps.is_ok() && keys.is_ok() {
            heeded = found;
        }
    }
}

/// Enters the people of a sandbox, if it is one and their passwords can be sealed.
async fn enter_people(store: &Store, sandbox: Option<&Path>) -> Result<(), StoreError> {
    #[cfg(feature = "sandbox")]
    if let Some(folder) = sandbox
        && store.protection().is_unlocked()
    {
        crate::people::sandbox::enter(store, folder).await?;
    }
    let _ = (store, sandbox); // a build without sandboxes has nobody to enter
    Ok(())
}

/// Puts on record what was done, and has what was loaded without judging loaded again.
async fn follow(done: &Unlocked, store: &Store, audit: &AuditLog, reloads: &Reloads) -> Result<(), String> {
    let recorded = match done {
        Unlocked::Unprotected => {
            tracing::warn!("no key of the devices (sys-…, kek, hmac-sha256) protects what is stored");
            return Ok(());
        }
        Unlocked::Opened => renew(store, audit).await,
        Unlocked::Switched { version } => {
            match record(audit, "data_key.use", None, "ok", format!("version {version}")).await {
                Ok(()) => renew(store, audit).await,
                failed => failed,
            }
        }
        Unlocked::Created { under, rows } => {
            record(audit, DATA_KEY_CREATED, Some(&under.id), "ok", format!("{rows} rows coded")).await
        }
        Unlocked::Rewrapped { under } => {
            record(audit, "data_key.rewrap", Some(&under.id), "ok", format!("version {}", under.version))
                .await
        }
    };
    recorded.map_err(|error| with_causes(&error))?;
    reloads.keys().await.map_err(|error| with_causes(&error))?;
    tracing::info!(?done, "what is stored is unlocked");
    Ok(())
}

/// Has every row protected under the data key in use. Whichever gateway comes first does it for all; what one that was
/// killed left undone is done at the next start of any.
async fn renew(store: &Store, audit: &AuditLog) -> Result<(), StoreError> {
    match store.renew_protection().await? {
        0 => Ok(()),
        rows => record(audit, "data_key.renew", None, "ok", format!("{rows} rows protected anew")).await,
    }
}

async fn record(
    audit: &AuditLog,
    action: &str,
    key: Option<&KeyId>,
    outcome: &str,
    subject: String,
) -> Result<(), StoreError> {
    let entry = AuditEntry {
        action: action.to_owned(),
        actor: OwnName::Gateway.as_str().to_owned(),
        at: OffsetDateTime::now_utc(),
        device: None,
        input_digest: None,
        key: key.map(KeyId::to_string),
        outcome: outcome.to_owned(),
        request_id: format!("{:032x}", fastrand::u128(..)),
        result_digest: None,
        subject: Some(subject),
    };
    audit.append(entry).await.map(drop)
}
