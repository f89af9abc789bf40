//! Gateways on one database: which there are, what one changed that the others must know, and which devices are out
//! of service for all of them.
//!
//! On PostgreSQL triggers send a notification when a transaction commits, so that no function can forget to. A SQLite
//! file belongs to one gateway, which knows what it did itself.

use std::time::Duration;

use config::DeviceId;
use sqlx::postgres::PgListener;
use time::OffsetDateTime;

use crate::database::{DedicatedConnection, NAME_SPACE, Pool, query};
use crate::words::words;
use crate::{Store, StoreError};

const CHANNEL: &str = "license_gateway";
const REPLICA: &str = "replica";
const DEVICE: &str = "hold of device";

/// How long a replica without a sign of life still counts as running.
const ALIVE: Duration = Duration::from_secs(30);

words! {
    /// How a device is kept out of service.
    Hold {
        /// It finishes what it has.
        Draining = "draining",
        /// At once.
        Maintenance = "maintenance",
    }
}

/// What another gateway may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Apps and what they may do.
    Apps,
    /// The key register.
    Keys,
    /// Which devices are out of service.
    Devices,
    /// Anything: notifications may have been missed.
    Anything,
}

/// Where changes are heard of.
pub struct Changes(Option<PgListener>);

/// A replica's place among the others, held as long as this is.
pub struct Membership {
    store: Store,
    name: String,
    joined_at: OffsetDateTime,
    /// Holds the lock on the name.
    connection: DedicatedConnection,
}

impl Store {
    /// Takes a name among the gateways on this database.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] while another gateway has it; [`StoreError::RuleBroken`] for a name that is
    /// empty or longer than 64 characters.
    pub async fn join(&self, name: &str, at: OffsetDateTime) -> Result<Membership, StoreError> {
        let connection = self.dedicated_connection().await?;
        let mut membership =
            Membership { store: self.clone(), name: name.to_owned(), joined_at: at, connection };
        membership.claim().await?;
        query(
            "INSERT INTO replicas (name, started_at, seen_at) VALUES ($1, $2, $2)
             ON CONFLICT (name) DO UPDATE SET started_at = excluded.started_at, seen_at = excluded.seen_at",
        )
        .bind(name)
        .bind(at.unix_timestamp())
        .execute(self.writer())
        .await
        .map_err(|error| StoreError::from_insert(REPLICA, name, error))?;
        self.named(name);
        Ok(membership)
    }

    /// The replicas that gave a sign of life within half a minute, by name.
    pub async fn replicas(&self, at: OffsetDateTime) -> Result<Vec<String>, StoreError> {
        let rows = query("SELECT name FROM replicas WHERE seen_at > $1 ORDER BY name")
            .bind((at - ALIVE).unix_timestamp())
            .fetch_all(self.readers())
            .await?;
        rows.iter().map(|row| Ok(row.try_get("name")?)).collect()
    }

    /// Whether a gateway is connected under this name. One that lost its connection is not, until its next sign of
    /// life.
    pub(crate) async fn holds_name(&self, name: &str) -> Result<bool, StoreError> {
        let row = query(
            "SELECT count(*) FROM pg_locks
             WHERE locktype = 'advisory' AND granted AND objsubid = 2
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND classid::bigint = $1 AND objid::bigint = (hashtext($2)::bigint & 4294967295)",
        )
        .bind(i64::from(NAME_SPACE))
        .bind(name)
        .fetch_one(self.readers())
        .await?;
        Ok(row.try_get::<i64, _>(0)? > 0)
    }

    /// Begins to listen. What changed before is not told.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the server does not answer.
    pub async fn changes(&self) -> Result<Changes, StoreError> {
        let Pool::Postgres(pool) = self.readers() else { return Ok(Changes(None)) };
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(Changes(Some(listener)))
    }

    /// Keeps a device out of service in every gateway, also after a restart.
    pub async fn hold_device(
        &self,
        device: &DeviceId,
        hold: Hold,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        query(
            "INSERT INTO device_holds (device, state, since) VALUES ($1, $2, $3)
             ON CONFLICT (device) DO UPDATE SET state = excluded.state, since = excluded.since",
        )
        .bind(device.as_str())
        .bind(hold.as_str())
        .bind(at.unix_timestamp())
        .execute(self.writer())
        .await?;
        Ok(())
    }

    /// Lets a device back into service in every gateway.
    pub async fn release_device(&self, device: &DeviceId) -> Result<(), StoreError> {
        query("DELETE FROM device_holds WHERE device = $1")
            .bind(device.as_str())
            .execute(self.writer())
            .await?;
        Ok(())
    }

    /// The devices that are kept out of service, by name.
    pub async fn device_holds(&self) -> Result<Vec<(DeviceId, Hold)>, StoreError> {
        let rows =
            query("SELECT device, state FROM device_holds ORDER BY device").fetch_all(self.readers()).await?;
        let holds = rows.iter().map(|row| {
            let device: &str = row.try_get("device")?;
            let corrupt = |column| StoreError::Corrupt { what: DEVICE, id: device.to_owned(), column };
            let hold = Hold::parse(row.try_get("state")?).ok_or_else(|| corrupt("state"))?;
            Ok((DeviceId::parse(device).map_err(|_| corrupt("device"))?, hold))
        });
        holds.collect()
    }
}

impl Changes {
    /// Waits for the next change of another gateway, or this one. On SQLite there is none.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the server does not answer any more; listen anew then.
    pub async fn next(&mut self) -> Result<Change, StoreError> {
        let Some(listener) = &mut self.0 else { return std::future::pending().await };
        Ok(match listener.try_recv().await? {
            None => Change::Anything, // the connection was lost and is there again
            Some(notification) => match notification.payload() {
                "apps" => Change::Apps,
                "keys" => Change::Keys,
                "devices" => Change::Devices,
                _ => Change::Anything, // a newer gateway tells of what this one does not know
            },
        })
    }
}

impl Membership {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Since when.
    #[must_use]
    pub fn joined_at(&self) -> OffsetDateTime {
        self.joined_at
    }

    /// A sign of life, to be given every few seconds. The name is taken again if the connection was lost.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when another gateway has taken the name in the meantime.
    pub async fn beat(&mut self, at: OffsetDateTime) -> Result<(), StoreError> {
        if !self.connection.is_alive().await {
            self.connection = self.store.dedicated_connection().await?;
            self.claim().await?;
        }
        query("UPDATE replicas SET seen_at = $2 WHERE name = $1")
            .bind(&self.name)
            .bind(at.unix_timestamp())
            .execute(self.store.writer())
            .await?;
        Ok(())
    }

    /// Gives the name back.
    ///
    /// # Errors
    /// [`StoreError::Query`] when the database does not answer; the name is free after half a minute then.
    pub async fn leave(mut self) -> Result<(), StoreError> {
        query("UPDATE replicas SET seen_at = 0 WHERE name = $1")
            .bind(&self.name)
            .execute(self.store.writer())
            .await?;
        self.connection.let_go(&self.name).await?;
        Ok(self.connection.close().await?)
    }

    async fn claim(&mut self) -> Result<(), StoreError> {
        match self.connection.try_hold(&self.name).await? {
            true => Ok(()),
            false => Err(StoreError::AlreadyExists { what: REPLICA, id: self.name.clone() }),
        }
    }
}
