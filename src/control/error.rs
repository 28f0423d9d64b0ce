//! What can go wrong in the control layer.
//!
//! Each error has a stable code for programs ([`ControlError::code`]) and a message for people. A message never holds a
//! key's secret; what the database says is in the source chain, for the log.

use std::path::PathBuf;

use super::id::{KeyId, SessionId, StreamId};
use super::lock::LockError;
use super::vault::SecretKeyError;
use crate::config::srt::PassphraseError;

/// A request to the control layer failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A name that cannot be a stream's.
    #[error("the name {0}")]
    InvalidName(&'static str),
    /// A title that cannot be a stream's.
    #[error("the title {0}")]
    InvalidTitle(&'static str),
    /// A label that cannot be a key's.
    #[error("the label {0}")]
    InvalidLabel(&'static str),
    /// No preset of that name can be used.
    #[error("the preset \"{preset}\" cannot be used: {reason}")]
    InvalidPreset {
        /// The preset's name.
        preset: String,
        /// Why not.
        reason: String,
    },
    /// A grace time out of range.
    #[error("the grace time must be 30m or less")]
    InvalidGrace,
    /// A text that cannot be an SRT passphrase.
    #[error("the SRT passphrase {0}")]
    InvalidSrtPassphrase(PassphraseError),
    /// A key that would be refused from its first moment on.
    #[error("the key would expire before it is made")]
    ExpiryInThePast,
    /// Another stream has that name.
    #[error("a stream named \"{0}\" exists already; choose another name, or delete that stream first")]
    NameTaken(String),
    /// No such stream.
    #[error("no stream has the id or name \"{0}\"")]
    StreamNotFound(String),
    /// No such key.
    #[error("no key has the id {0}")]
    KeyNotFound(KeyId),
    /// A revoked key cannot be rotated.
    #[error("the key {0} is revoked; create a new one instead")]
    KeyRevoked(KeyId),
    /// The stream has a session that has not ended.
    #[error("stream {stream} has an open session, {session}")]
    SessionOpen {
        /// The stream.
        stream: StreamId,
        /// Its open session.
        session: SessionId,
    },
    /// No such session.
    #[error("no session has the id {0}")]
    SessionNotFound(SessionId),
    /// The session is over: its state cannot change and its epoch cannot rise.
    #[error("session {0} has ended")]
    SessionEnded(SessionId),
    /// The data folder's lock could not be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database file cannot be opened.
    #[error("cannot open the database {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// The database was written by a newer version.
    #[error("the database {} was written by a newer version of millstream (schema {version}); use that version", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its last migration.
        version: i64,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot bring the database {} up to date", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// The database failed.
    #[error("the database failed while {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: sqlx::Error,
    },
    /// What is encrypted in the database cannot be read or added to.
    #[error(transparent)]
    SecretKey(#[from] SecretKeyError),
    /// The system has no random bytes.
    #[error("the system's random source failed: {message}")]
    NoRandomness {
        /// What it said.
        message: String,
    },
}

impl ControlError {
    /// Stable, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            ControlError::InvalidName(_) => "invalid_name",
            ControlError::InvalidTitle(_) => "invalid_title",
            ControlError::InvalidLabel(_) => "invalid_label",
            ControlError::InvalidPreset { .. } => "invalid_preset",
            ControlError::InvalidGrace => "invalid_grace",
            ControlError::InvalidSrtPassphrase(_) => "invalid_srt_passphrase",
            ControlError::ExpiryInThePast => "invalid_expiry",
            ControlError::NameTaken(_) => "name_taken",
            ControlError::StreamNotFound(_) => "stream_not_found",
            ControlError::KeyNotFound(_) => "key_not_found",
            ControlError::KeyRevoked(_) => "key_revoked",
            ControlError::SessionOpen { .. } => "session_open",
            ControlError::SessionNotFound(_) => "session_not_found",
            ControlError::SessionEnded(_) => "session_ended",
            ControlError::Lock(_) => "locked",
            ControlError::Open { .. }
            | ControlError::TooNew { .. }
            | ControlError::Migrate { .. }
            | ControlError::Database { .. } => "database",
            ControlError::SecretKey(_) => "secret_key",
            ControlError::NoRandomness { .. } => "no_randomness",
        }
    }

    /// Whose fault it is: the request's (false) or this daemon's (true).
    pub const fn is_ours(&self) -> bool {
        matches!(
            self,
            ControlError::Lock(_)
                | ControlError::Open { .. }
                | ControlError::TooNew { .. }
                | ControlError::Migrate { .. }
                | ControlError::Database { .. }
                | ControlError::SecretKey(_)
                | ControlError::NoRandomness { .. }
        )
    }
}

/// For `map_err`: says what was being done when the database failed.
pub(super) fn while_doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> ControlError {
    move |source| ControlError::Database { doing, source }
}

/// Whether a statement failed because a UNIQUE column has the value already.
pub(super) fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}
