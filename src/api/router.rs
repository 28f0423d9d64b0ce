//! Every route of the API.

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};
use secrecy::SecretString;

use super::error::ApiError;
use super::live::LiveSessions;
use super::{auth, keys, sessions, streams};
use crate::control::Control;

/// Where all routes are.
const PREFIX: &str = "/api/v1";

/// What the handlers work with.
#[derive(Clone)]
pub struct ApiState {
    /// Streams, keys, sessions.
    pub control: Control,
    /// Running sessions.
    pub live: Arc<dyn LiveSessions>,
}

/// The routes under `/api/v1`, open to whoever reaches them: for the control socket.
///
/// Unknown paths under `/api/v1` are answered here too; all others are left alone, so that both routers can be merged with
/// others.
pub fn router(state: ApiState) -> Router {
    Router::new().nest(PREFIX, v1(state))
}

/// The same for TCP: only requests with `token` get through; without one, none.
pub fn protected_router(state: ApiState, token: Option<&SecretString>) -> Router {
    Router::new().nest(PREFIX, auth::protected(v1(state), token))
}

fn v1(state: ApiState) -> Router {
    Router::new()
        .route("/streams", get(streams::list).post(streams::create))
        .route("/streams/{stream}", get(streams::show).patch(streams::update).delete(streams::delete))
        .route("/streams/{stream}/keys", get(keys::list).post(keys::create))
        .route("/keys/{key}/rotate", post(keys::rotate))
        .route("/keys/{key}", delete(keys::revoke))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{session}/end", post(sessions::end))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(state)
}

async fn no_such_path() -> ApiError {
    ApiError::not_found("path_not_found", "the API has no such path".to_owned())
}

async fn no_such_method() -> ApiError {
    ApiError::method_not_allowed()
}

#[cfg(test)]
mod tests;
