//! The schema's versions, and what a PostgreSQL server must be like before it is trusted with them.

use sqlx::migrate::Migrator;

use super::connection::DedicatedConnection;
use super::{Store, query};
use crate::StoreError;
use crate::protection::is_protected;

static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("./migrations/postgres");

/// The oldest release of PostgreSQL that is still maintained and has all that the schema uses.
const OLDEST_POSTGRES: i64 = 140_000;

impl Store {
    /// Brings the schema to the version of this program; does nothing when it is there already. Of several that
    /// come at the same time one does it and the others wait.
    ///
    /// # Errors
    /// [`StoreError::SchemaTooNew`]; [`StoreError::Migration`] when a migration fails, which leaves the schema as
    /// it was before that migration, and when one that was applied is not the one of this program.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        // Long migrations hold their lock for long: they get a connection that waits.
        match self.dedicated_connection().await? {
            DedicatedConnection::Sqlite(mut connection, _) => {
                SQLITE.run_direct(None, &mut connection, false).await?
            }
            DedicatedConnection::Postgres(mut connection) => {
                sqlx::query("SET lock_timeout = 0").execute(&mut connection).await?;
                POSTGRES.run_direct(None, &mut connection, false).await?;
            }
        }
        if is_protected(&mut *self.begin_read().await?).await? {
            self.protection().lock();
        }
        self.index_names().await
    }

    /// How many migrations this program has.
    #[must_use]
    pub fn known_migrations(&self) -> u64 {
        let known = match self.dialect() {
            super::Dialect::Sqlite => &SQLITE,
            super::Dialect::Postgres => &POSTGRES,
        };
        known.iter().count() as u64
    }

    pub(super) async fn refuse_newer_schema(&self) -> Result<(), StoreError> {
        let (migrations, is_there) = match self.dialect() {
            super::Dialect::Sqlite => {
                (&SQLITE, "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1")
            }
            super::Dialect::Postgres => (&POSTGRES, "SELECT 1 WHERE to_regclass($1) IS NOT NULL"),
        };
        if query(is_there).bind(&*migrations.table_name).fetch_optional(self.readers()).await?.is_none() {
            return Ok(());
        }
        let found: i64 = query("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
            .fetch_one(self.readers())
            .await?
            .try_get(0)?;
        let known = migrations.iter().map(|migration| migration.version).max().unwrap_or(0);
        if found > known { Err(StoreError::SchemaTooNew { found, known }) } else { Ok(()) }
    }

    /// Refuses a server that would lose what it has confirmed, or that cannot hold what is to be stored.
    pub(super) async fn refuse_unfit_server(&self) -> Result<(), StoreError> {
        if self.dialect() == super::Dialect::Sqlite {
            return Ok(()); // its settings are ours
        }
        let row = query(
            "SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commit,
                 current_setting('full_page_writes') AS pages, current_setting('server_encoding') AS encoding,
                 pg_is_in_recovery() AS standby, current_setting('server_version_num')::BIGINT AS version",
        )
        .fetch_one(self.writer())
        .await?;
        let unfit = |reason| Err(StoreError::UnfitServer { reason });
        if row.try_get::<&str, _>("fsync")? != "on" {
            return unfit("fsync is off: a power cut would lose what was answered");
        }
        if row.try_get::<&str, _>("commit")? != "on" {
            // Only a pooler that drops what a session asks for can bring this about.
            return unfit(
                "synchronous_commit is not on, although it was asked for: connect to the server directly",
            );
        }
        if row.try_get::<&str, _>("encoding")? != "UTF8" {
            return unfit("the database's encoding is not UTF8");
        }
        if row.try_get("standby")? {
            return unfit("it is a standby, which cannot be written to");
        }
        if row.try_get::<i64, _>("version")? < OLDEST_POSTGRES {
            return unfit("it is older than PostgreSQL 14");
        }
        if row.try_get::<&str, _>("pages")? != "on" {
            tracing::warn!(
                "full_page_writes is off in PostgreSQL: unless its file system writes whole pages, a power cut \
                 damages the database"
            );
        }
        Ok(())
    }
}
