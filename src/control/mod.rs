//! Streams, keys, sessions: what outlives a broadcast and a process.
//!
//! | module | holds |
//! |---|---|
//! | [`stream`] `streams` | what a stream is; making, finding, changing, deleting |
//! | [`key`] `keys` | what a key is; issuing, rotating, revoking |
//! | [`passphrase`] `vault` | streams' SRT passphrases, encrypted with a key beside the database |
//! | [`secret`] | key material: random bits, its hash, never shown but once |
//! | `admission` | who may publish |
//! | `uses` | when keys were last used, written in batches |
//! | [`session`] `sessions` | a broadcast's durable state and epoch |
//! | [`events`] | what changed, for those who must act on it |
//! | [`lock`] | one process per data folder |
//! | [`db`] | SQLite: how it is opened, migrations |
//! | [`id`] | the names that rows have |
//! | [`wall_text`] [`duration_text`] | moments and durations in JSON |
//! | [`error`] | what can go wrong, with stable codes |
//!
//! Invariants: whoever holds a [`Control`] holds the lock of its data folder; a change is durable (fsync) when its call
//! returns, but for `last_used_at` and session states, which a power cut may set back by a second; a key's secret is in
//! memory only between its making and its first showing, and on its way through [`Control::authenticate`].
//!
//! Running sessions (threads, connections, statistics) do not belong here: they are `live`'s, which acts on
//! [`events`]. Playlist state is in the store's journal.

mod admission;
pub mod db;
pub mod duration_text;
pub mod error;
pub mod events;
pub mod id;
pub mod key;
mod keys;
pub mod lock;
pub mod passphrase;
pub mod secret;
pub mod session;
mod sessions;
pub mod stream;
mod streams;
#[cfg(test)]
pub(crate) mod testing;
mod uses;
mod vault;
pub mod wall_text;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

pub use admission::{AuthError, Grant};
pub use error::ControlError;
pub use events::ControlEvent;
pub use id::{KeyId, SessionId, StreamId};
pub use key::{IssuedKey, Key, KeyState, NewKey, RevealedKey};
pub use lock::{DataDirLock, LockError};
pub use passphrase::SrtPassphrase;
pub use session::{SessionRow, SessionState};
pub use stream::{NewStream, Stream, StreamChange};
pub use vault::{SecretKeyError, check_key_file};

use crate::clock::SharedClock;
use crate::config::Secrets;
use crate::media::WallTime;
use db::Database;
use uses::UseLog;
use vault::Vault;

/// The control layer of one data folder. Clones share it.
#[derive(Clone, Debug)]
pub struct Control {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Database,
    clock: SharedClock,
    events: broadcast::Sender<ControlEvent>,
    uses: UseLog,
    vault: Vault,
    lock: Mutex<Option<DataDirLock>>,
}

impl Control {
    /// Takes the lock of `data_dir` (made with mode 0700 when it is missing), opens `millstream.db` in it and brings its
    /// schema up to date. Must be called within a tokio runtime: one task writes `last_used_at`.
    ///
    /// # Errors
    /// The lock is held, the folder or the database cannot be used, or it was written by a newer version.
    pub async fn open(data_dir: &Path, clock: SharedClock) -> Result<Control, ControlError> {
        Control::open_with(data_dir, Secrets::of(data_dir), clock).await
    }

    /// The same with a key file that may lie elsewhere. It is not read before it is needed: see
    /// [`Control::check_secrets`].
    ///
    /// # Errors
    /// As [`Control::open`].
    pub async fn open_with(data_dir: &Path, secrets: Secrets, clock: SharedClock) -> Result<Control, ControlError> {
        let lock = DataDirLock::acquire(data_dir)?;
        let db = Database::open(&data_dir.join(db::FILE_NAME)).await?;
        let uses = UseLog::start(db.clone());
        let (events, _) = broadcast::channel(events::CAPACITY);
        Ok(Control {
            inner: Arc::new(Inner {
                db,
                clock,
                events,
                uses,
                vault: Vault::new(secrets),
                lock: Mutex::new(Some(lock)),
            }),
        })
    }

    /// What changes from now on. A receiver that lagged behind must look at its whole state again
    /// ([`Control::is_admitted`]).
    pub fn events(&self) -> broadcast::Receiver<ControlEvent> {
        self.inner.events.subscribe()
    }

    /// Writes what is pending, closes the database and frees the lock. Other clones get errors from then on.
    pub async fn close(&self) {
        self.inner.uses.stop().await;
        self.inner.db.close().await;
        drop(self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn db(&self) -> &Database {
        &self.inner.db
    }

    fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    fn now(&self) -> WallTime {
        self.inner.clock.wall()
    }

    /// Nobody listening is fine: the command line has no sessions.
    fn announce(&self, event: ControlEvent) {
        let _ = self.inner.events.send(event);
    }
}
