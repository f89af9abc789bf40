//! A new data key in place of one that was used for long, or that somebody may have seen.
//!
//! It is made first and used later: by then every gateway on the database has it in memory, and none meets a row whose
//! code it cannot check. Then every row is protected under it. Older data keys stay: a backup needs them.

use std::time::Duration;

use time::OffsetDateTime;

use super::data_keys::{DeviceSecrets, UnlockError, insert_data_key, new_data_key};
use crate::{Store, StoreError};

/// How long a new data key is there before it is used: gateways look for one every few seconds.
const NOTICE: Duration = Duration::from_secs(60);

/// Kinds of rows that a data key protects.
#[derive(Clone, Copy)]
enum Protected {
    Keys,
    Mandates,
    Custodians,
    Apps,
    Credentials,
    Accounts,
    Sessions,
    Policies,
    Approvals,
    Seals,
    Templates,
    TemplateVersions,
    Webhooks,
}

const PROTECTED: [Protected; 13] = [
    Protected::Keys,
    Protected::Mandates,
    Protected::Custodians,
    Protected::Apps,
    Protected::Credentials,
    Protected::Accounts,
    Protected::Sessions,
    Protected::Policies,
    Protected::Approvals,
    Protected::Seals,
    Protected::Templates,
    Protected::TemplateVersions,
    Protected::Webhooks,
];

impl Protected {
    fn table(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Mandates => "mandates",
            Self::Custodians => "custodians",
            Self::Apps => "apps",
            Self::Credentials => "app_credentials",
            Self::Accounts => "accounts",
            Self::Sessions => "account_sessions",
            Self::Policies => "signing_policies",
            Self::Approvals => "approvals",
            Self::Seals => "seals",
            Self::Templates => "stamp_templates",
            Self::TemplateVersions => "stamp_template_versions",
            Self::Webhooks => "webhooks",
        }
    }
}

/// The tables whose rows a new data key takes over; every table with codes is to be one.
pub fn protected_tables() -> impl Iterator<Item = &'static str> {
    PROTECTED.into_iter().map(Protected::table)
}

/// A data key that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextDataKey {
    /// Its version.
    pub version: u32,
    /// From when on it is used.
    pub used_from: OffsetDateTime,
}

impl Store {
    /// Makes the next data key. It is taken into use by [`Store::unlock`] when its time has come.
    ///
    /// # Errors
    /// [`UnlockError`]; [`StoreError::Locked`] where there is no data key yet; [`StoreError::AlreadyExists`] while one
    /// waits for its time.
    pub async fn make_data_key(
        &self,
        devices: &impl DeviceSecrets,
        at: OffsetDateTime,
    ) -> Result<NextDataKey, UnlockError> {
        let (Some(under), Some(newest)) =
            (self.newest_device_key().await?, self.wrapped_data_keys().await?.pop())
        else {
            return Err(StoreError::Locked.into());
        };
        if self.protection().version()? != newest.version {
            let id = newest.version.to_string();
            return Err(StoreError::AlreadyExists { what: "data key", id }.into());
        }
        let next = NextDataKey { version: newest.version + 1, used_from: at + NOTICE };
        let (_, octets) = new_data_key(devices, &under, next.version).await?;
        let mut transaction = self.begin_write().await.map_err(StoreError::from)?;
        let times = (at, next.used_from);
        let inserted = insert_data_key(&mut transaction, next.version, &under, octets, times).await;
        inserted.map_err(|error| match error {
            // Another gateway was faster.
            StoreError::Query(error) => StoreError::from_insert("data key", &next.version.to_string(), error),
            error => error,
        })?;
        transaction.commit().await.map_err(StoreError::from)?;
        Ok(next)
    }

    /// Protects anew, under the data key in use, every row that another one protects: what is sealed in it is sealed
    /// anew and the row gets its code. A row whose code is wrong keeps it. Answers how many rows those were.
    ///
    /// Each kind of row is done in one transaction, so a gateway that is killed leaves whole kinds undone; whoever
    /// calls this again does the rest.
    ///
    /// # Errors
    /// [`StoreError::Locked`]; the database fails.
    pub async fn renew_protection(&self) -> Result<u64, StoreError> {
        let protection = self.protection();
        protection.version()?;
        let mut rows = 0;
        for kind in PROTECTED {
            let mut transaction = self.begin_write().await?;
            rows += match kind {
                Protected::Keys => crate::keys::renew(&mut transaction, protection).await?,
                Protected::Mandates => crate::mandates::renew(&mut transaction, protection).await?,
                Protected::Custodians => crate::custodians::renew(&mut transaction, protection).await?,
                Protected::Apps => crate::apps::renew(&mut transaction, protection).await?,
                Protected::Credentials => crate::credentials::renew(&mut transaction, protection).await?,
                Protected::Accounts => crate::accounts::renew(&mut transaction, protection).await?,
                Protected::Sessions => crate::accounts::renew_sessions(&mut transaction, protection).await?,
                Protected::Policies => crate::policies::renew(&mut transaction, protection).await?,
                Protected::Approvals => crate::approvals::renew(&mut transaction, protection).await?,
                Protected::Seals => crate::seals::renew(&mut transaction, protection).await?,
                Protected::Templates => crate::templates::renew(&mut transaction, protection).await?,
                Protected::TemplateVersions => {
                    crate::templates::renew_versions(&mut transaction, protection).await?
                }
                Protected::Webhooks => crate::webhooks::renew(&mut transaction, protection).await?,
            };
            transaction.commit().await?;
        }
        Ok(rows)
    }
}
