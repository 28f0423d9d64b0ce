//! What a stream key is. Its secret is not part of it.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::db::rows;
use super::error::ControlError;
use super::id::{KeyId, StreamId};
use super::stream::check_text;
use super::wall_text;
use crate::media::WallTime;

/// Whether a key admits publishers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl KeyState {
    /// The state's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyState::Active => "active",
            KeyState::Expired => "expired",
            KeyState::Revoked => "revoked",
        }
    }
}

/// A key of a stream, without its secret. Also what the API answers and the command line prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Names the key; no secret.
    pub id: KeyId,
    /// The stream that it may publish to.
    pub stream_id: StreamId,
    /// Who or what holds it.
    pub label: String,
    /// Whether it admits publishers, at the moment of asking.
    pub state: KeyState,
    /// When it was made.
    #[serde(with = "wall_text")]
    pub created_at: WallTime,
    /// From when on it is refused.
    #[serde(with = "wall_text::option")]
    pub expires_at: Option<WallTime>,
    /// When it was taken back.
    #[serde(with = "wall_text::option")]
    pub revoked_at: Option<WallTime>,
    /// When a publisher was last admitted with it.
    #[serde(with = "wall_text::option")]
    pub last_used_at: Option<WallTime>,
}

impl FromRow<'_, SqliteRow> for Key {
    /// A row has no state of its own; it gets one with `Key::at` at the moment of asking.
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Key {
            id: rows::parsed(row, "id")?,
            stream_id: rows::parsed(row, "stream_id")?,
            label: row.try_get("label")?,
            state: KeyState::Active,
            created_at: rows::moment(row, "created_at")?,
            expires_at: rows::optional_moment(row, "expires_at")?,
            revoked_at: rows::optional_moment(row, "revoked_at")?,
            last_used_at: rows::optional_moment(row, "last_used_at")?,
        })
    }
}

impl Key {
    /// The key with its state at `now`.
    pub(super) fn at(self, now: WallTime) -> Key {
        Key { state: state(self.expires_at, self.revoked_at, now), ..self }
    }
}

/// A key's state at `now`.
pub(super) fn state(expires_at: Option<WallTime>, revoked_at: Option<WallTime>, now: WallTime) -> KeyState {
    if revoked_at.is_some() {
        KeyState::Revoked
    } else if expires_at.is_some_and(|end| end <= now) {
        KeyState::Expired
    } else {
        KeyState::Active
    }
}

/// A key to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Who or what will hold it; at most 100 characters.
    #[serde(default)]
    pub label: String,
    /// From when on it is refused; `None`: never.
    #[serde(default, with = "wall_text::option")]
    pub expires_at: Option<WallTime>,
}

impl NewKey {
    /// Whether a key can be made of it.
    ///
    /// # Errors
    /// The label is no plain text, or the key would be refused from its first moment on.
    pub fn validate(&self, now: WallTime) -> Result<(), ControlError> {
        if let Some(message) = check_text(&self.label) {
            return Err(ControlError::InvalidLabel(message));
        }
        match self.expires_at {
            Some(end) if end <= now => Err(ControlError::ExpiryInThePast),
            _ => Ok(()),
        }
    }
}

/// A key that was just made, with its secret.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key.
    pub key: Key,
    /// What the encoder is given. Nothing can tell it again.
    pub secret: SecretString,
}

impl IssuedKey {
    /// For the one answer that shows the secret.
    pub fn reveal(self) -> RevealedKey {
        RevealedKey { secret: self.secret.expose_secret().to_owned(), key: self.key }
    }
}

/// A key and its secret in plain text, as the creating answer holds them. It has no `Debug`, so that no log can print it.
#[derive(Serialize, Deserialize)]
pub struct RevealedKey {
    /// The key.
    #[serde(flatten)]
    pub key: Key,
    /// The secret.
    pub secret: String,
}
