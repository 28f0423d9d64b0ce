//! Issuing, listing, rotating and revoking keys.

use std::time::Duration;

use sqlx::{Sqlite, Transaction};

use super::Control;
use super::error::{ControlError, while_doing};
use super::events::ControlEvent;
use super::id::{KeyId, StreamId};
use super::key::{IssuedKey, Key, NewKey};
use super::secret;
use crate::media::{Span, WallTime};

impl Control {
    /// Makes a key. The secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// A field is wrong, or there is no such stream.
    pub async fn create_key(&self, stream: &StreamId, new: NewKey) -> Result<IssuedKey, ControlError> {
        let now = self.now();
        new.validate(now)?;
        let doing = "creating a key";
        let mut transaction = self.db().begin_durable().await.map_err(while_doing(doing))?;
        let issued = insert(&mut transaction, stream, &new, now).await?;
        transaction.commit().await.map_err(while_doing(doing))?;
        Ok(issued)
    }

    /// The keys of a stream, the oldest first, revoked ones included.
    ///
    /// # Errors
    /// There is no such stream.
    pub async fn keys(&self, stream: &StreamId) -> Result<Vec<Key>, ControlError> {
        self.find_stream(stream.as_str()).await?;
        let unwritten = self.inner.uses.unwritten();
        let keys: Vec<Key> = sqlx::query_as("SELECT * FROM stream_keys WHERE stream_id = ? ORDER BY created_at, rowid")
            .bind(stream.as_str())
            .fetch_all(&self.db().relaxed)
            .await
            .map_err(while_doing("listing keys"))?;
        let now = self.now();
        Ok(keys.into_iter().map(|key| unwritten.overlay(key).at(now)).collect())
    }

    /// Makes a new key with the old one's label and lifetime, and revokes the old one: at once when `overlap` is zero,
    /// else it expires after `overlap` (or earlier, if it would have). A connection that the old key admitted goes on
    /// until the encoder leaves, unless the key is revoked at once.
    ///
    /// # Errors
    /// There is no such key, or it is revoked.
    pub async fn rotate_key(&self, id: &KeyId, overlap: Duration) -> Result<IssuedKey, ControlError> {
        let doing = "rotating a key";
        let now = self.now();
        let mut transaction = self.db().begin_durable().await.map_err(while_doing(doing))?;
        let old = fetch(&mut transaction, id).await?;
        if old.revoked_at.is_some() {
            return Err(ControlError::KeyRevoked(id.clone()));
        }
        let lifetime = old.expires_at.map(|end| end.since(old.created_at));
        let new = NewKey { label: old.label, expires_at: lifetime.map(|span| now.saturating_add(span)) };
        let issued = insert(&mut transaction, &old.stream_id, &new, now).await?;
        let at_once = overlap.is_zero();
        let (end, statement) = if at_once {
            (now, "UPDATE stream_keys SET revoked_at = ?1 WHERE id = ?2")
        } else {
            let end = now.saturating_add(Span::from_std(overlap));
            (end, "UPDATE stream_keys SET expires_at = MIN(COALESCE(expires_at, ?1), ?1) WHERE id = ?2")
        };
        sqlx::query(statement)
            .bind(end.unix_millis())
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(while_doing(doing))?;
        transaction.commit().await.map_err(while_doing(doing))?;
        if at_once {
            self.announce(ControlEvent::KeyRevoked { stream: old.stream_id, key_id: id.clone() });
        }
        Ok(issued)
    }

    /// Takes a key back. Revoking it again changes nothing.
    ///
    /// # Errors
    /// There is no such key.
    pub async fn revoke_key(&self, id: &KeyId) -> Result<Key, ControlError> {
        let now = self.now();
        let unwritten = self.inner.uses.unwritten();
        let revoked: Option<Key> =
            sqlx::query_as("UPDATE stream_keys SET revoked_at = COALESCE(revoked_at, ?) WHERE id = ? RETURNING *")
                .bind(now.unix_millis())
                .bind(id.as_str())
                .fetch_optional(&self.db().durable)
                .await
                .map_err(while_doing("revoking a key"))?;
        let key = revoked.ok_or_else(|| ControlError::KeyNotFound(id.clone()))?;
        self.announce(ControlEvent::KeyRevoked { stream: key.stream_id.clone(), key_id: id.clone() });
        Ok(unwritten.overlay(key).at(now))
    }
}

async fn fetch(transaction: &mut Transaction<'_, Sqlite>, id: &KeyId) -> Result<Key, ControlError> {
    let found: Option<Key> = sqlx::query_as("SELECT * FROM stream_keys WHERE id = ?")
        .bind(id.as_str())
        .fetch_optional(&mut **transaction)
        .await
        .map_err(while_doing("finding a key"))?;
    found.ok_or_else(|| ControlError::KeyNotFound(id.clone()))
}

async fn insert(
    transaction: &mut Transaction<'_, Sqlite>,
    stream: &StreamId,
    new: &NewKey,
    now: WallTime,
) -> Result<IssuedKey, ControlError> {
    let secret = secret::generate()?;
    let key: Result<Key, sqlx::Error> = sqlx::query_as(
        "INSERT INTO stream_keys (id, stream_id, label, secret_hash, created_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?) RETURNING *",
    )
    .bind(KeyId::random()?.as_str().to_owned())
    .bind(stream.as_str())
    .bind(&new.label)
    .bind(secret::hash(&secret).to_vec())
    .bind(now.unix_millis())
    .bind(new.expires_at.map(WallTime::unix_millis))
    .fetch_one(&mut **transaction)
    .await;
    match key {
        Ok(key) => Ok(IssuedKey { key: key.at(now), secret }),
        Err(error) if error.as_database_error().is_some_and(|error| error.is_foreign_key_violation()) => {
            Err(ControlError::StreamNotFound(stream.to_string()))
        }
        Err(error) => Err(while_doing("creating a key")(error)),
    }
}

#[cfg(test)]
mod tests;
