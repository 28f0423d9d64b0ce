//! Which sites' pages may read our answers (the CORS protocol of the Fetch standard, section 3.3).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::config::CorsOrigins;

/// Sites whose pages may read.
#[derive(Clone, Debug)]
pub struct Cors(Allowed);

#[derive(Clone, Debug)]
enum Allowed {
    Any,
    /// As in Origin.
    Listed(Arc<[HeaderValue]>),
}

impl Cors {
    /// Every site: a public playback URL works in any page.
    pub const ANY: Cors = Cors(Allowed::Any);

    /// As configured. What cannot stand in a header is in no request either, and is left out.
    pub fn new(origins: &CorsOrigins) -> Self {
        match origins {
            CorsOrigins::Any => Cors::ANY,
            CorsOrigins::Listed(origins) => {
                Cors(Allowed::Listed(origins.iter().filter_map(|origin| HeaderValue::try_from(origin).ok()).collect()))
            }
        }
    }

    /// What Access-Control-Allow-Origin says to a request with these headers; `None`: nothing.
    fn answer_to(&self, request: &HeaderMap) -> Option<HeaderValue> {
        match &self.0 {
            Allowed::Any => Some(HeaderValue::from_static("*")),
            Allowed::Listed(origins) => request.get(ORIGIN).filter(|origin| origins.contains(origin)).cloned(),
        }
    }
}

/// The layer: says to each answer who may read it. Where that is not everybody, caches must keep an answer per site.
pub(super) async fn allow(State(cors): State<Cors>, request: Request, next: Next) -> Response {
    let allowed = cors.answer_to(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if matches!(cors.0, Allowed::Listed(_)) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static("Age, Date, Content-Length, Content-Range, ETag");
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

/// The answer to OPTIONS: what may be asked for. Whose pages may ask is [`allow`]'s to say.
pub(super) async fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS")),
        (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*")),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}
