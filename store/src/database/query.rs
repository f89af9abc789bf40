//! Statements with `$N` parameters, and the rows they answer, for either database.
//!
//! The shape is sqlx's own (`query(…).bind(…).fetch_one(…)`), so that a statement reads as it would with one
//! database. sqlx's `Any` driver is not used: docs/adr/0012.

use std::borrow::Cow;

use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{ColumnIndex, Row as _, SqlSafeStr, SqlStr};

use super::connection::{Connection, Pool};

/// A statement and its parameters.
pub(crate) struct Query<'q> {
    sql: SqlStr,
    arguments: Vec<Argument<'q>>,
    /// Whether the database keeps it, and in the end its plan.
    persistent: bool,
}

/// Begins a statement; one that is put together at run time says so with [`sqlx::AssertSqlSafe`].
pub(crate) fn query<'q>(sql: impl SqlSafeStr) -> Query<'q> {
    Query { sql: sql.into_sql_str(), arguments: Vec::new(), persistent: true }
}

/// A parameter. NULL has a type too: PostgreSQL settles a statement's types before it sees the values.
pub(crate) enum Argument<'q> {
    Boolean(Option<bool>),
    Integer(Option<i64>),
    Text(Option<Cow<'q, str>>),
    Bytes(Option<Cow<'q, [u8]>>),
}

/// What can be a parameter.
pub(crate) trait Bind<'q> {
    fn argument(value: Option<Self>) -> Argument<'q>
    where
        Self: Sized;
}

macro_rules! bind {
    ($($type:ty => $variant:ident($value:ident) $convert:expr;)*) => {$(
        impl<'q> Bind<'q> for $type {
            fn argument(value: Option<Self>) -> Argument<'q> {
                Argument::$variant(value.map(|$value| $convert))
            }
        }
    )*};
}

bind! {
    bool => Boolean(value) value;
    i64 => Integer(value) value;
    u32 => Integer(value) i64::from(value);
    &'q str => Text(value) Cow::Borrowed(value);
    &'q String => Text(value) Cow::Borrowed(value.as_str());
    String => Text(value) Cow::Owned(value);
    &'q [u8] => Bytes(value) Cow::Borrowed(value);
    &'q Vec<u8> => Bytes(value) Cow::Borrowed(value.as_slice());
    Vec<u8> => Bytes(value) Cow::Owned(value);
}

impl<'q, T: Bind<'q>> Bind<'q> for Option<T> {
    fn argument(value: Option<Self>) -> Argument<'q> {
        T::argument(value.flatten())
    }
}

impl<'q> Bind<'q> for &'q Option<String> {
    fn argument(value: Option<Self>) -> Argument<'q> {
        Bind::argument(value.and_then(Option::as_deref))
    }
}

/// What a statement runs on: a pool, or the connection of a transaction.
pub(crate) enum Executor<'c> {
    SqlitePool(&'c SqlitePool),
    Sqlite(&'c mut SqliteConnection),
    PostgresPool(&'c PgPool),
    Postgres(&'c mut PgConnection),
}

impl<'c> From<&'c Pool> for Executor<'c> {
    fn from(pool: &'c Pool) -> Self {
        match pool {
            Pool::Sqlite(pool) => Self::SqlitePool(pool),
            Pool::Postgres(pool) => Self::PostgresPool(pool),
        }
    }
}

impl<'c> From<&'c mut Connection<'_>> for Executor<'c> {
    fn from(connection: &'c mut Connection<'_>) -> Self {
        match connection {
            Connection::Sqlite(transaction) => Self::Sqlite(transaction),
            Connection::Postgres(transaction) => Self::Postgres(transaction),
        }
    }
}

/// How many rows a statement changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done(u64);

impl Done {
    pub(crate) fn rows_affected(self) -> u64 {
        self.0
    }
}

/// Gives a statement of one database its parameters.
macro_rules! bound {
    ($self:ident) => {
        $self.arguments.into_iter().fold(
            sqlx::query($self.sql).persistent($self.persistent),
            |query, argument| match argument {
                Argument::Boolean(value) => query.bind(value),
                Argument::Integer(value) => query.bind(value),
                Argument::Text(Some(Cow::Borrowed(value))) => query.bind(value),
                Argument::Text(Some(Cow::Owned(value))) => query.bind(value),
                Argument::Text(None) => query.bind(None::<String>),
                Argument::Bytes(Some(Cow::Borrowed(value))) => query.bind(value),
                Argument::Bytes(Some(Cow::Owned(value))) => query.bind(value),
                Argument::Bytes(None) => query.bind(None::<Vec<u8>>),
            },
        )
    };
}

/// Runs a statement on whichever database it is; `$wrap` makes the answer independent of it.
macro_rules! run {
    ($self:ident, $on:ident, $method:ident, $answer:ident => $sqlite:expr, $postgres:expr) => {{
        $self.check()?;
        match $on.into() {
            Executor::SqlitePool(pool) => bound!($self).$method(pool).await.map(|$answer| $sqlite),
            Executor::Sqlite(connection) => bound!($self).$method(connection).await.map(|$answer| $sqlite),
            Executor::PostgresPool(pool) => bound!($self).$method(pool).await.map(|$answer| $postgres),
            Executor::Postgres(connection) => {
                bound!($self).$method(connection).await.map(|$answer| $postgres)
            }
        }
    }};
}

impl<'q> Query<'q> {
    /// The next parameter.
    pub(crate) fn bind(mut self, value: impl Bind<'q>) -> Self {
        self.arguments.push(Bind::argument(Some(value)));
        self
    }

    /// Has it planned each time by what its parameters are: after some times PostgreSQL keeps one plan for any of them, which does
    /// not do where one value is in every row and another one in none.
    pub(crate) fn planned_anew(mut self) -> Self {
        self.persistent = false;
        self
    }

    pub(crate) async fn execute<'c>(self, on: impl Into<Executor<'c>>) -> Result<Done, sqlx::Error> {
        run!(self, on, execute, done => Done(done.rows_affected()), Done(done.rows_affected()))
    }

    /// The only row.
    ///
    /// # Errors
    /// [`sqlx::Error::RowNotFound`] when there is none.
    pub(crate) async fn fetch_one<'c>(self, on: impl Into<Executor<'c>>) -> Result<Row, sqlx::Error> {
        run!(self, on, fetch_one, row => Row::Sqlite(row), Row::Postgres(row))
    }

    pub(crate) async fn fetch_optional<'c>(
        self,
        on: impl Into<Executor<'c>>,
    ) -> Result<Option<Row>, sqlx::Error> {
        run!(self, on, fetch_optional, row => row.map(Row::Sqlite), row.map(Row::Postgres))
    }

    pub(crate) async fn fetch_all<'c>(self, on: impl Into<Executor<'c>>) -> Result<Vec<Row>, sqlx::Error> {
        run!(self, on, fetch_all, rows => rows.into_iter().map(Row::Sqlite).collect(),
            rows.into_iter().map(Row::Postgres).collect())
    }

    /// A text with NUL is refused on both databases, because PostgreSQL cannot hold it.
    fn check(&self) -> Result<(), sqlx::Error> {
        let has_nul = |argument: &Argument<'_>| match argument {
            Argument::Text(Some(text)) => text.contains('\0'),
            _ => false,
        };
        match self.arguments.iter().any(has_nul) {
            true => Err(sqlx::Error::Encode("a text holds U+0000".into())),
            false => Ok(()),
        }
    }
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What names a column: its name or its place.
pub(crate) trait Column: ColumnIndex<SqliteRow> + ColumnIndex<PgRow> {}

impl<T: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>> Column for T {}

/// What can be read from a column.
pub(crate) trait Read<'r>: Sized {
    fn read(row: &'r Row, column: impl Column) -> Result<Self, sqlx::Error>;
}

macro_rules! read {
    ($($type:ty),*) => {$(
        impl<'r> Read<'r> for $type {
            fn read(row: &'r Row, column: impl Column) -> Result<Self, sqlx::Error> {
                match row {
                    Row::Sqlite(row) => row.try_get(column),
                    Row::Postgres(row) => row.try_get(column),
                }
            }
        }
    )*};
}

read!(bool, i64, &'r str, String, &'r [u8], Vec<u8>);
read!(Option<bool>, Option<i64>, Option<&'r str>, Option<String>, Option<&'r [u8]>, Option<Vec<u8>>);

impl<'r> Read<'r> for u32 {
    fn read(row: &'r Row, column: impl Column) -> Result<Self, sqlx::Error> {
        u32::try_from(i64::read(row, column)?).map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

impl Row {
    /// The value of a column.
    ///
    /// # Errors
    /// There is no such column, or it holds something else.
    pub(crate) fn try_get<'r, T: Read<'r>, C: Column>(&'r self, column: C) -> Result<T, sqlx::Error> {
        T::read(self, column)
    }
}
