//! Logins that devices without a browser wait for (RFC 8628). What the device asks with and what a person types in are kept as digests.

use time::OffsetDateTime;

use super::Login;
use crate::database::{Connection, instant, query};
use crate::{Store, StoreError};

/// What a login is found by that a device waits for.
#[derive(Clone, Copy)]
pub struct NewDevice {
    /// SM3 of what the device asks with.
    pub device_code: [u8; 32],
    /// SM3 of what a person types in.
    pub user_code: [u8; 32],
    /// Until when somebody may scan; whole seconds.
    pub ends_at: OffsetDateTime,
}

/// A login that a device waits for.
pub struct DeviceLogin {
    /// The login; none if nobody scanned in time, and it is not there any more.
    pub login: Option<Login>,
    /// Until when somebody could scan; whole seconds.
    pub ends_at: OffsetDateTime,
}

impl NewDevice {
    pub(super) async fn write(&self, connection: &mut Connection<'_>, login: &str) -> Result<(), StoreError> {
        query("INSERT INTO oidc_devices (login, device_code, user_code, ends_at) VALUES ($1, $2, $3, $4)")
            .bind(login)
            .bind(&self.device_code[..])
            .bind(&self.user_code[..])
            .bind(self.ends_at.unix_timestamp())
            .execute(connection)
            .await
            .map_err(|error| StoreError::from_insert("login of a device", login, error))?;
        Ok(())
    }
}

impl Store {
    /// The login that a device with this code waits for, as long as it is known.
    ///
    /// # Errors
    /// As of [`Self::login`], without the first.
    pub async fn login_of_device(&self, device_code: &[u8; 32]) -> Result<Option<DeviceLogin>, StoreError> {
        let found = query(
            "SELECT d.login AS of_device, d.ends_at AS device_ends_at, l.* FROM oidc_devices d
             LEFT JOIN oidc_logins l ON l.id = d.login WHERE d.device_code = $1",
        )
        .bind(&device_code[..])
        .fetch_optional(self.readers())
        .await?;
        let Some(row) = found else { return Ok(None) };
        let id: Option<String> = row.try_get("id")?;
        let corrupt = |id: String| StoreError::Corrupt { what: super::LOGIN, id, column: "ends_at" };
        let ends_at = match instant(&row, "device_ends_at")? {
            Some(ends_at) => ends_at,
            None => return Err(corrupt(row.try_get("of_device")?)),
        };
        let login = id.map(|_| self.read_login(&row)).transpose()?;
        Ok(Some(DeviceLogin { login, ends_at }))
    }

    /// The login of a device that a person means by this code, as long as it can be scanned.
    ///
    /// # Errors
    /// As of [`Self::login`], without the first.
    pub async fn login_of_user_code(
        &self,
        user_code: &[u8; 32],
        at: OffsetDateTime,
    ) -> Result<Option<Login>, StoreError> {
        let found = query(
            "SELECT l.* FROM oidc_devices d JOIN oidc_logins l ON l.id = d.login
             WHERE d.user_code = $1 AND d.ends_at > $2",
        )
        .bind(&user_code[..])
        .bind(at.unix_timestamp())
        .fetch_optional(self.readers())
        .await?;
        found.map(|row| self.read_login(&row)).transpose()
    }

    /// Takes away what logins of devices were found by whose time was over before one. Answers how many.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the database does not answer.
    pub async fn forget_devices(&self, before: OffsetDateTime) -> Result<u64, StoreError> {
        let removed = query("DELETE FROM oidc_devices WHERE ends_at < $1").bind(before.unix_timestamp());
        Ok(removed.execute(self.writer()).await?.rows_affected())
    }
}
