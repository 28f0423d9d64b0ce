//! Who may publish.

use secrecy::{ExposeSecret, SecretString};
use sqlx::FromRow;
use sqlx::sqlite::SqliteRow;

use super::Control;
use super::db::rows;
use super::error::{ControlError, while_doing};
use super::id::KeyId;
use super::key::{KeyState, state};
use super::secret::{MAX_SECRET_BYTES, hash};
use super::stream::Stream;
use crate::media::WallTime;

/// A publisher may publish to this stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The stream, as it was at this moment.
    pub stream: Stream,
    /// The key that admitted it: [`super::ControlEvent::KeyRevoked`] names it.
    pub key_id: KeyId,
}

/// A publisher may not publish. The messages are for its encoder's screen: they name neither key nor stream.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No key has that secret.
    #[error("unknown stream key")]
    NotFound,
    /// The key's time is over.
    #[error("this stream key has expired")]
    Expired,
    /// The key was taken back.
    #[error("this stream key was revoked")]
    Revoked,
    /// Its stream may not be published to.
    #[error("this stream is disabled")]
    StreamDisabled,
    /// We cannot tell.
    #[error("stream keys cannot be checked at the moment; try again")]
    Unavailable(#[source] ControlError),
}

impl AuthError {
    /// Stable, for logs, metrics and the API.
    pub const fn code(&self) -> &'static str {
        match self {
            AuthError::NotFound => "key_unknown",
            AuthError::Expired => "key_expired",
            AuthError::Revoked => "key_revoked",
            AuthError::StreamDisabled => "stream_disabled",
            AuthError::Unavailable(_) => "unavailable",
        }
    }
}

struct Candidate {
    stream: Stream,
    key_id: KeyId,
    expires_at: Option<WallTime>,
    revoked_at: Option<WallTime>,
}

impl FromRow<'_, SqliteRow> for Candidate {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Candidate {
            stream: Stream::from_row(row)?,
            key_id: rows::parsed(row, "key_id")?,
            expires_at: rows::optional_moment(row, "expires_at")?,
            revoked_at: rows::optional_moment(row, "revoked_at")?,
        })
    }
}

impl Control {
    /// Whether `secret` may publish, and to which stream. Notes the use of the key.
    ///
    /// # Errors
    /// Why not.
    pub async fn authenticate(&self, secret: &SecretString) -> Result<Grant, AuthError> {
        let grant = self.identify(secret).await?;
        self.inner.uses.note(&grant.key_id, self.now());
        Ok(grant)
    }

    /// The same without noting a use: what an encoder must prove beside its key (an SRT passphrase) is not proven yet.
    ///
    /// # Errors
    /// Why not.
    pub async fn identify(&self, secret: &SecretString) -> Result<Grant, AuthError> {
        if secret.expose_secret().len() > MAX_SECRET_BYTES {
            return Err(AuthError::NotFound);
        }
        let found: Option<Candidate> = sqlx::query_as(
            "SELECT streams.*, stream_keys.id AS key_id, stream_keys.expires_at, stream_keys.revoked_at
             FROM stream_keys JOIN streams ON streams.id = stream_keys.stream_id WHERE stream_keys.secret_hash = ?",
        )
        .bind(hash(secret).to_vec())
        .fetch_optional(&self.db().relaxed)
        .await
        .map_err(|error| AuthError::Unavailable(while_doing("checking a stream key")(error)))?;
        let Candidate { stream, key_id, expires_at, revoked_at } = found.ok_or(AuthError::NotFound)?;
        match state(expires_at, revoked_at, self.now()) {
            KeyState::Revoked => return Err(AuthError::Revoked),
            KeyState::Expired => return Err(AuthError::Expired),
            KeyState::Active if !stream.enabled => return Err(AuthError::StreamDisabled),
            KeyState::Active => {}
        }
        Ok(Grant { stream, key_id })
    }

    /// Whether a connection that this key admitted may go on: the key is not revoked and its stream is enabled. Expiry
    /// is asked at admission only. For a receiver of events that lagged behind, and for the moment between a grant and
    /// the subscription to events.
    ///
    /// # Errors
    /// The database failed.
    pub async fn is_admitted(&self, key: &KeyId) -> Result<bool, ControlError> {
        let found: Option<(i64,)> = sqlx::query_as(
            "SELECT 1 FROM stream_keys JOIN streams ON streams.id = stream_keys.stream_id
             WHERE stream_keys.id = ? AND stream_keys.revoked_at IS NULL AND streams.enabled",
        )
        .bind(key.as_str())
        .fetch_optional(&self.db().relaxed)
        .await
        .map_err(while_doing("checking a key"))?;
        Ok(found.is_some())
    }
}
