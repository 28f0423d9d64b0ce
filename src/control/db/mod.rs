//! SQLite: how it is opened, and its migrations.
//!
//! Two pools on one file. `durable` has one connection with `synchronous = FULL`: when a call returns, what it wrote
//! survives a power cut. It is for what people and epochs rely on, which is rare. `relaxed` has `synchronous = NORMAL`:
//! reads, and writes of which a power cut may take the last second.

pub(super) mod rows;

use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::error::ControlError;

/// Name of the database in the data folder.
pub const FILE_NAME: &str = "millstream.db";

/// All migrations, embedded.
static MIGRATIONS: Migrator = sqlx::migrate!("src/control/db/migrations");

/// How long a statement waits for another writer. Writes take milliseconds; seconds mean a sick disk.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Readers at one time: admission, API and batches hardly ever meet.
const RELAXED_CONNECTIONS: u32 = 4;

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

    /// Closes all connections; the last one folds the write-ahead log into the file.
    pub async fn close(&self) {
        self.relaxed.close().await;
        self.durable.close().await;
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
