//! Who carries a command out: a running daemon, or, without one, this process on the database.

mod daemon;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::CliError;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::config::units::duration_text;
use crate::control::{
    Control, ControlError, Key, KeyId, LockError, NewKey, NewStream, RevealedKey, SessionId, SessionRow, Stream,
    StreamChange, StreamId,
};
use daemon::{Daemon, Method};

/// How often, and at what distance, a command tries again while the data folder is locked and no socket answers: a daemon
/// that has just been started takes the lock first and opens its socket when all is ready; another command holds the lock
/// for some milliseconds.
const TRIES: u32 = 100;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// A session, with what the daemon knows of it while it runs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListedSession {
    #[serde(flatten)]
    pub row: SessionRow,
    pub live: Option<serde_json::Value>,
}

/// Whoever carries a command out.
pub(super) enum Backend {
    /// The daemon that has the data folder.
    Daemon(Daemon),
    /// This process, which holds the lock.
    Offline(Control),
}

impl Backend {
    /// Finds out who has the data folder.
    pub(super) async fn open(config: &Config) -> Result<Backend, CliError> {
        let socket = config.control_socket();
        let mut tries = 0;
        loop {
            if Daemon::listens(&socket).await {
                return Ok(Backend::Daemon(Daemon::new(socket)));
            }
            match Control::open_with(&config.data_dir, config.secrets.clone(), SystemClock::shared()).await {
                Ok(control) => return Ok(Backend::Offline(control)),
                Err(ControlError::Lock(LockError::Held { .. })) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
    }

    /// Frees the lock, if this process has it.
    pub(super) async fn close(self) {
        if let Backend::Offline(control) = self {
            control.close().await;
        }
    }

    pub(super) async fn create_stream(&self, new: NewStream) -> Result<Stream, CliError> {
        match self {
            Backend::Daemon(daemon) => daemon.call(Method::POST, &["streams"], Some(&new)).await,
            Backend::Offline(control) => Ok(control.create_stream(new).await?),
        }
    }

    pub(super) async fn streams(&self) -> Result<Vec<Stream>, CliError> {
        match self {
            Backend::Daemon(daemon) => daemon.get(&["streams"]).await,
            Backend::Offline(control) => Ok(control.streams().await?),
        }
    }

    /// By id or name.
    pub(super) async fn stream(&self, stream: &str) -> Result<Stream, CliError> {
        match self {
            Backend::Daemon(daemon) => daemon.get(&["streams", stream]).await,
            Backend::Offline(control) => Ok(control.find_stream(stream).await?),
        }
    }

    pub(super) async fn update_stream(&self, id: &StreamId, change: StreamChange) -> Result<Stream, CliError> {
        match self {
            Backend::Daemon(daemon) => daemon.call(Method::PATCH, &["streams", id.as_str()], Some(&change)).await,
            Backend::Offline(control) => Ok(control.update_stream(id, change).await?),
        }
    }

    /// The newest sessions, of one stream if it is given.
    pub(super) async fn sessions(&self, stream: Option<&StreamId>, limit: u32) -> Result<Vec<ListedSession>, CliError> {
        match self {
            Backend::Daemon(daemon) => {
                let limit = limit.to_string();
                let stream = stream.map(|stream| ("stream", stream.as_str()));
                daemon.find(&["sessions"], stream.into_iter().chain([("limit", limit.as_str())])).await
            }
            Backend::Offline(control) => {
                let rows = control.sessions(stream, limit).await?;
                Ok(rows.into_iter().map(|row| ListedSession { row, live: None }).collect())
            }
        }
    }

    /// Without a daemon it ends in the database; the next start ends it for viewers and in the store.
    pub(super) async fn end_session(&self, id: &SessionId) -> Result<SessionRow, CliError> {
        match self {
            Backend::Daemon(daemon) => daemon.call(Method::POST, &["sessions", id.as_str(), "end"], None::<&()>).await,
            Backend::Offline(control) => Ok(control.end_session(id).await?),
        }
    }

    pub(super) async fn delete_stream(&self, id: &StreamId) -> Result<(), CliError> {
        match self {
            Backend::Daemon(daemon) => daemon.call(Method::DELETE, &["streams", id.as_str()], None::<&()>).await,
            Backend::Offline(control) => Ok(control.delete_stream(id).await?),
        }
    }

    pub(super) async fn create_key(&self, stream: &StreamId, new: NewKey) -> Result<RevealedKey, CliError> {
        match self {
            Backend::Daemon(daemon) => {
                daemon.call(Method::POST, &["streams", stream.as_str(), "keys"], Some(&new)).await
            }
            Backend::Offline(control) => Ok(control.create_key(stream, new).await?.reveal()),
        }
    }

    pub(super) async fn keys(&self, stream: &StreamId) -> Result<Vec<Key>, CliError> {
        match self {
            Backend::Daemon(daemon) => daemon.get(&["streams", stream.as_str(), "keys"]).await,
            Backend::Offline(control) => Ok(control.keys(stream).await?),
        }
    }

    pub(super) async fn rotate_key(&self, key: &KeyId, overlap: Duration) -> Result<RevealedKey, CliError> {
        match self {
            Backend::Daemon(daemon) => {
                let body = json!({ "grace": duration_text(overlap) });
                daemon.call(Method::POST, &["keys", key.as_str(), "rotate"], Some(&body)).await
            }
            Backend::Offline(control) => Ok(control.rotate_key(key, overlap).await?.reveal()),
        }
    }

    pub(super) async fn revoke_key(&self, key: &KeyId) -> Result<Key, CliError> {
        match self {
            Backend::Daemon(daemon) => daemon.call(Method::DELETE, &["keys", key.as_str()], None::<&()>).await,
            Backend::Offline(control) => Ok(control.revoke_key(key).await?),
        }
    }
}
