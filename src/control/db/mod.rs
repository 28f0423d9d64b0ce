//! SQLite: how it is opened, and its migrations.
//!
//! Two pools on one file. `durable` has one connection with `synchronous = FULL`: when a call returns, what it wrote
//! survives a power cut. It is for what people and epochs rely on, which is rare. `relaxed` has `synchronous = NORMAL`:
//! reads, and writes of which a power cut may take the last second.

pub(super) mod rows;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};

use super::error::ControlError;

/// Name of the database in the data folder.
pub const FILE_NAME: &str = "millstream.db";

/// All migrations, embedded.
static MIGRATIONS: Migrator = sqlx::migrate!("src/control/db/migrations");

/// How long a statement waits for another writer. Writes take milliseconds; seconds mean a sick disk.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers at one time: admission, API and batches hardly ever meet.
const RELAXED_CONNECTIONS: u32 = 4;

/// Takes the write lock at once. A transaction that began with a read could not become a writer any more (SQLITE_BUSY_SNAPSHOT,
/// which no timeout waits out) once another connection has written.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// An open database.
#[derive(Clone, Debug)]
pub struct Database {
    /// Writes that are on disk when they return.
    pub(super) durable: SqlitePool,
    /// Reads, and writes that a power cut may undo.
    pub(super) relaxed: SqlitePool,
}

impl Database {
    /// Opens `path`, makes it when it is missing, and applies the migrations that it lacks.
    ///
    /// # Errors
    /// The file cannot be opened, or its schema cannot be brought up to date.
    pub async fn open(path: &Path) -> Result<Database, ControlError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let failed = |source| ControlError::Open { path: path.to_owned(), source };
        make_private(path).map_err(|error| failed(sqlx::Error::Io(error)))?;
        let durable = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone().synchronous(SqliteSynchronous::Full))
            .await
            .map_err(failed)?;
        migrate(&durable, path).await?;
        let relaxed = SqlitePoolOptions::new()
            .max_connections(RELAXED_CONNECTIONS)
            .connect_with(options.synchronous(SqliteSynchronous::Normal))
            .await
            .map_err(failed)?;
        Ok(Database { durable, relaxed })
    }

    /// Begins a transaction whose commit is on disk.
    pub(super) async fn begin_durable(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.durable.begin_with(BEGIN).await
    }

    /// Begins a transaction that a power cut may undo.
    pub(super) async fn begin_relaxed(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.relaxed.begin_with(BEGIN).await
    }

    /// Closes all connections; the last one folds the write-ahead log into the file.
    pub async fn close(&self) {
        self.relaxed.close().await;
        self.durable.close().await;
    }
}

/// Makes the file for its owner alone, also where the data folder was made by somebody else. SQLite gives the files beside
/// it the same mode.
fn make_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

async fn migrate(pool: &SqlitePool, path: &Path) -> Result<(), ControlError> {
    MIGRATIONS.run(pool).await.map_err(|error| match error {
        MigrateError::VersionMissing(version) => ControlError::TooNew { path: path.to_owned(), version },
        source => ControlError::Migrate { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests;
