//! `/api/v1/streams/{stream}/keys` and `/api/v1/keys`. Only `create` and `rotate` answer with a secret.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::body::JsonBody;
use super::error::ApiError;
use super::router::ApiState;
use crate::control::{Key, KeyId, NewKey, RevealedKey, duration_text};

/// `GET /streams/{stream}/keys`: the oldest first, revoked ones included, no secrets.
pub(super) async fn list(State(api): State<ApiState>, Path(stream): Path<String>) -> Result<Json<Vec<Key>>, ApiError> {
    let id = api.control.find_stream(&stream).await?.id;
    Ok(Json(api.control.keys(&id).await?))
}

/// `POST /streams/{stream}/keys`: makes one; 201 with the secret.
pub(super) async fn create(
    State(api): State<ApiState>,
    Path(stream): Path<String>,
    JsonBody(new): JsonBody<NewKey>,
) -> Result<(StatusCode, Json<RevealedKey>), ApiError> {
    let id = api.control.find_stream(&stream).await?.id;
    let issued = api.control.create_key(&id, new).await?;
    tracing::info!(stream = %id, key = %issued.key.id, "stream key created");
    Ok((StatusCode::CREATED, Json(issued.reveal())))
}

/// The body of a rotation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// How long the old key goes on admitting; missing: not at all.
    #[serde(default, with = "duration_text")]
    grace: Option<Duration>,
}

/// `POST /keys/{key}/rotate`: makes a key in the place of another; 201 with the new secret.
pub(super) async fn rotate(
    State(api): State<ApiState>,
    Path(key): Path<String>,
    JsonBody(rotation): JsonBody<Rotation>,
) -> Result<(StatusCode, Json<RevealedKey>), ApiError> {
    let old = key_id(&key)?;
    let issued = api.control.rotate_key(&old, rotation.grace.unwrap_or_default()).await?;
    tracing::info!(stream = %issued.key.stream_id, key = %issued.key.id, old = %old, "stream key rotated");
    Ok((StatusCode::CREATED, Json(issued.reveal())))
}

/// `DELETE /keys/{key}`: revokes it; 200 with the key. A connection that it admitted ends within two seconds.
pub(super) async fn revoke(State(api): State<ApiState>, Path(key): Path<String>) -> Result<Json<Key>, ApiError> {
    let key = api.control.revoke_key(&key_id(&key)?).await?;
    tracing::info!(stream = %key.stream_id, key = %key.id, "stream key revoked");
    Ok(Json(key))
}

/// The text is not repeated: somebody may have pasted a secret.
fn key_id(text: &str) -> Result<KeyId, ApiError> {
    text.parse().map_err(|error| ApiError::not_found("key_not_found", format!("{error}; no key has this one")))
}
