//! Request bodies: JSON of a bounded size, whatever Content-Type says, with our own errors.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// The largest request has five short texts.
const MAX_BODY_BYTES: usize = 64 << 10;
/// For the whole of it: at this size every link that is worth the name needs less than a second.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A body that was read as `T`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let bytes = read(request.into_body()).await?;
        // An empty body stands for an object without fields: `POST .../rotate` needs none.
        let json = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
        let value = serde_json::from_slice(json);
        value.map(JsonBody).map_err(|error| ApiError::bad_request(format!("the body cannot be read: {error}")))
    }
}

async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large(MAX_BODY_BYTES)),
        Ok(Err(_)) => Err(ApiError::bad_request("the body did not arrive whole".to_owned())),
        Err(_) => Err(ApiError::body_too_slow(BODY_TIMEOUT)),
    }
}
