//! The bearer token of the API over TCP.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::error::ApiError;

type Hash = [u8; 32];

/// Lets only requests with `token` through; without one, none.
pub(super) fn protected(router: Router, token: Option<&SecretString>) -> Router {
    let expected: Option<Hash> = token.map(|token| hash(token.expose_secret().as_bytes()));
    router.layer(from_fn_with_state(expected, check))
}

async fn check(State(expected): State<Option<Hash>>, request: Request, next: Next) -> Response {
    let Some(expected) = expected else { return ApiError::closed().into_response() };
    // Both are hashed first: how long the comparison takes says nothing about the token itself.
    match bearer(request.headers()) {
        Some(given) if hash(given) == expected => next.run(request).await,
        _ => ([(WWW_AUTHENTICATE, "Bearer")], ApiError::unauthorized()).into_response(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

fn hash(text: &[u8]) -> Hash {
    Sha256::digest(text).into()
}
