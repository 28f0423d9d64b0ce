//! `/api/v1/streams`. A stream is named by its id or its name.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::body::JsonBody;
use super::error::ApiError;
use super::router::ApiState;
use crate::control::{NewStream, Stream, StreamChange};

/// `GET /streams`: all streams by name.
pub(super) async fn list(State(api): State<ApiState>) -> Result<Json<Vec<Stream>>, ApiError> {
    Ok(Json(api.control.streams().await?))
}

/// `POST /streams`: makes one; 201.
pub(super) async fn create(
    State(api): State<ApiState>,
    JsonBody(new): JsonBody<NewStream>,
) -> Result<(StatusCode, Json<Stream>), ApiError> {
    let stream = api.control.create_stream(new).await?;
    tracing::info!(stream = %stream.id, name = stream.name, "stream created");
    Ok((StatusCode::CREATED, Json(stream)))
}

/// `GET /streams/{stream}`
pub(super) async fn show(State(api): State<ApiState>, Path(stream): Path<String>) -> Result<Json<Stream>, ApiError> {
    Ok(Json(api.control.find_stream(&stream).await?))
}

/// `PATCH /streams/{stream}`: changes what the body names.
pub(super) async fn update(
    State(api): State<ApiState>,
    Path(stream): Path<String>,
    JsonBody(change): JsonBody<StreamChange>,
) -> Result<Json<Stream>, ApiError> {
    let id = api.control.find_stream(&stream).await?.id;
    let stream = api.control.update_stream(&id, change).await?;
    tracing::info!(stream = %stream.id, enabled = stream.enabled, "stream changed");
    Ok(Json(stream))
}

/// `DELETE /streams/{stream}`: 204. Its connections end within two seconds.
pub(super) async fn delete(State(api): State<ApiState>, Path(stream): Path<String>) -> Result<StatusCode, ApiError> {
    let id = api.control.find_stream(&stream).await?.id;
    api.control.delete_stream(&id).await?;
    tracing::info!(stream = %id, "stream deleted");
    Ok(StatusCode::NO_CONTENT)
}
