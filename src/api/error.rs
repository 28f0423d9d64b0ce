//! Errors as JSON: `{"error":{"code":"name_taken","message":"..."}}`.
//!
//! The code is stable and for programs; the message is for people and may be reworded. What the client is told and what
//! the log is told are two things: causes inside the daemon are logged with their source chain, and the client reads that
//! something failed.

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::control::ControlError;

/// An answer that is an error.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

/// The body of an error. The command line reads it back.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The only field.
    pub error: ErrorDetail,
}

/// What an error says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// Stable, for programs.
    pub code: String,
    /// For people.
    pub message: String,
}

impl ApiError {
    /// 400: the request itself is wrong.
    pub(super) fn bad_request(message: String) -> Self {
        ApiError { status: StatusCode::BAD_REQUEST, code: "bad_request", message }
    }

    /// 401: the token is missing or wrong.
    pub(super) fn unauthorized() -> Self {
        ApiError {
            status: StatusCode::UNAUTHORIZED,
            code: "unauthorized",
            message: "send the header: Authorization: Bearer <http.admin_token>".to_owned(),
        }
    }

    /// 403: there is no token, so nobody can have it.
    pub(super) fn closed() -> Self {
        ApiError {
            status: StatusCode::FORBIDDEN,
            code: "api_closed",
            message: "the API over TCP is closed: set http.admin_token to open it, \
                      or use the millstream command on the daemon's machine"
                .to_owned(),
        }
    }

    /// 404.
    pub(super) fn not_found(code: &'static str, message: String) -> Self {
        ApiError { status: StatusCode::NOT_FOUND, code, message }
    }

    /// 405.
    pub(super) fn method_not_allowed() -> Self {
        let message = "this path does not take that method; the header Allow lists those that it takes".to_owned();
        ApiError { status: StatusCode::METHOD_NOT_ALLOWED, code: "method_not_allowed", message }
    }

    /// 408.
    pub(super) fn body_too_slow(limit: Duration) -> Self {
        let message = format!("the body did not arrive within {} s", limit.as_secs());
        ApiError { status: StatusCode::REQUEST_TIMEOUT, code: "body_too_slow", message }
    }

    /// 413.
    pub(super) fn body_too_large(limit_bytes: usize) -> Self {
        let message = format!("the body is longer than {limit_bytes} bytes");
        ApiError { status: StatusCode::PAYLOAD_TOO_LARGE, code: "body_too_large", message }
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let code = error.code();
        if error.is_ours() {
            tracing::error!(code, error = %chain(&error), "an API request failed");
            // A key file is put right by whoever asks here, and nobody else reads this answer.
            let message = match &error {
                ControlError::SecretKey(error) => error.to_string(),
                _ => "the daemon could not do this; its log says why".to_owned(),
            };
            return ApiError { status: StatusCode::INTERNAL_SERVER_ERROR, code, message };
        }
        let status = match error {
            ControlError::StreamNotFound(_) | ControlError::KeyNotFound(_) | ControlError::SessionNotFound(_) => {
                StatusCode::NOT_FOUND
            }
            ControlError::NameTaken(_)
            | ControlError::KeyRevoked(_)
            | ControlError::SessionOpen { .. }
            | ControlError::SessionEnded(_) => StatusCode::CONFLICT,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        ApiError { status, code, message: error.to_string() }
    }
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let detail = ErrorDetail { code: self.code.to_owned(), message: self.message };
        (self.status, Json(ErrorBody { error: detail })).into_response()
    }
}
