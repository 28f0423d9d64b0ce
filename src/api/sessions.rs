//! `/api/v1/sessions`: the newest first, with live details of those that run; and their end.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::live::LiveDetails;
use super::router::ApiState;
use crate::control::{SessionId, SessionRow, SessionState, StreamId};

/// Sessions of an answer when the request names no number.
const DEFAULT_LIMIT: u32 = 100;
/// Sessions of an answer at most.
const MAX_LIMIT: u32 = 1_000;

/// The query of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Only this stream's, by id or name.
    stream: Option<String>,
    /// How many.
    limit: Option<u32>,
}

/// A session of the list.
#[derive(Debug, Serialize)]
pub(super) struct SessionView {
    #[serde(flatten)]
    row: SessionRow,
    /// `null` when it does not run.
    live: Option<LiveDetails>,
}

/// `GET /sessions?stream=S&limit=N`
pub(super) async fn list(
    State(api): State<ApiState>,
    filter: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<SessionView>>, ApiError> {
    let Query(filter) = filter.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let stream = stream_id(&api, filter.stream.as_deref()).await?;
    let limit = filter.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let rows = api.control.sessions(stream.as_ref(), limit).await?;
    Ok(Json(rows.into_iter().map(|row| SessionView { live: api.live.details(&row.id), row }).collect()))
}

/// `POST /sessions/{session}/end`: the session, ended. Its publisher is told, players get ENDLIST. An encoder that reconnects
/// begins the next one. Ending it again changes nothing.
pub(super) async fn end(
    State(api): State<ApiState>,
    Path(session): Path<String>,
) -> Result<Json<SessionRow>, ApiError> {
    let id: SessionId = session.parse().map_err(|_| session_not_found(&session))?;
    let before = api.control.session(&id).await?;
    // Also one that has ended in the database: it may have been about to begin.
    api.live.end(&id).await;
    let row = api.control.end_session(&id).await?;
    if before.state == SessionState::Ended {
        return Ok(Json(row));
    }
    tracing::info!(stream = %row.stream_id, session = %id, "session ended by an administrator");
    Ok(Json(row))
}

fn session_not_found(text: &str) -> ApiError {
    ApiError::not_found("session_not_found", format!("no session has the id \"{}\"", text.escape_default()))
}

/// An id is taken as it is, so that sessions of a deleted stream can be listed.
async fn stream_id(api: &ApiState, stream: Option<&str>) -> Result<Option<StreamId>, ApiError> {
    let Some(text) = stream else { return Ok(None) };
    match (api.control.find_stream(text).await, text.parse()) {
        (Ok(stream), _) => Ok(Some(stream.id)),
        (Err(_), Ok(id)) => Ok(Some(id)),
        (Err(error), Err(_)) => Err(error.into()),
    }
}
