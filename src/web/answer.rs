//! Errors as JSON: `{"error":{"code":"stream_offline","message":"..."}}`. The code is stable; the message is for people.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::source::PlaybackError;

/// A cached 404 of something that appears a moment later is the classic outage of live streams.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Seconds after which a viewer of a starting stream asks again: it was held for 10 s already.
const RETRY_AFTER_STARTING: HeaderValue = HeaderValue::from_static("1");

/// Status and stable code of an error.
fn status_and_code(error: &PlaybackError) -> (StatusCode, &'static str) {
    match error {
        PlaybackError::StreamOffline => (StatusCode::NOT_FOUND, "stream_offline"),
        PlaybackError::NoSuchStream => (StatusCode::NOT_FOUND, "no_such_stream"),
        PlaybackError::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        PlaybackError::Gone => (StatusCode::GONE, "gone"),
        PlaybackError::Starting => (StatusCode::SERVICE_UNAVAILABLE, "stream_starting"),
        PlaybackError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

/// An error that is no answer of the source.
pub fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = Json(json!({"error": {"code": code, "message": message}}));
    (status, [(CACHE_CONTROL, NO_STORE)], body).into_response()
}

impl IntoResponse for PlaybackError {
    fn into_response(self) -> Response {
        let (status, code) = status_and_code(&self);
        let message = match &self {
            PlaybackError::Internal(_) => "the server failed: its log says why".to_owned(),
            other => other.to_string(),
        };
        let mut response = error(status, code, &message);
        if self == PlaybackError::Starting {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_STARTING);
        }
        response
    }
}

/// The answer to a path that nothing is behind.
pub async fn not_found() -> Response {
    PlaybackError::NotFound.into_response()
}

/// The answer to a method that a path does not know. The router adds Allow.
pub async fn method_not_allowed() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path is only read: use GET, HEAD or OPTIONS")
}
