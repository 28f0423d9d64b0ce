//! What stands at the plain port where playback and pages are only had over HTTPS.
//!
//! 308 keeps the method and is kept by caches for five minutes: an operator who changes his mind is not answered from them for
//! weeks. It names the host that was asked for, at the port of HTTPS.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, HOST, LOCATION};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};

use super::access::counted;
use super::answer::{self, method_not_allowed};
use super::cors::{self, Cors};

const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=300");
/// The port of `https:` (RFC 9110 section 4.2.2).
const HTTPS_PORT: u16 = 443;
/// Everything that [`super::router`] has.
const PATHS: [&str; 4] = ["/live/{*path}", "/watch/{*path}", "/embed/{*path}", "/assets/{*path}"];

/// Stands for [`super::router`] and sends to HTTPS at `port` what that would answer. The fallback for paths that nobody
/// knows is in here too.
pub fn router(port: u16, cors: Cors) -> Router {
    let to_https = || get(redirect).options(cors::preflight).fallback(method_not_allowed);
    let routes =
        PATHS.into_iter().fold(Router::new(), |routes, path| routes.route(path, counted("redirect", to_https())));
    let routes = routes.fallback_service(counted("other", any(answer::not_found)));
    routes.layer(from_fn_with_state(cors, cors::allow)).with_state(port)
}

async fn redirect(State(port): State<u16>, request: Request) -> Response {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    match location(request.uri(), named, port) {
        Some(location) => {
            (StatusCode::PERMANENT_REDIRECT, [(LOCATION, location), (CACHE_CONTROL, CACHE)]).into_response()
        }
        None => answer::error(StatusCode::BAD_REQUEST, "bad_request", "the request does not name a host: use https://"),
    }
}

/// `host`: the header's text. A host in the request's target counts more (RFC 9112 section 3.2.2).
fn location(uri: &Uri, host: Option<&str>, port: u16) -> Option<HeaderValue> {
    let authority = uri.authority().cloned().or_else(|| host?.parse::<Authority>().ok())?;
    // A name before the host is how links are forged.
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    let port = if port == HTTPS_PORT { String::new() } else { format!(":{port}") };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    HeaderValue::try_from(format!("https://{}{port}{path}", authority.host())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_stays_and_the_port_is_that_of_https() {
        for (uri, host, port, expected) in [
            ("/live/a/index.m3u8?b=c", Some("tv.example"), 443, Some("https://tv.example/live/a/index.m3u8?b=c")),
            ("/watch/a", Some("tv.example:8080"), 8443, Some("https://tv.example:8443/watch/a")),
            ("/watch/a", Some("[2001:db8::1]:8080"), 443, Some("https://[2001:db8::1]/watch/a")),
            ("http://b.example/watch/a", Some("tv.example"), 443, Some("https://b.example/watch/a")),
            ("//evil.example/a", Some("tv.example"), 443, Some("https://tv.example//evil.example/a")),
            ("/watch/a", Some("user@tv.example"), 443, None),
            ("/watch/a", Some("a b"), 443, None),
            ("/watch/a", Some(""), 443, None),
            ("/watch/a", None, 443, None),
        ] {
            let found = location(&uri.parse().unwrap(), host, port);
            assert_eq!(found.as_ref().map(|found| found.to_str().unwrap()), expected, "{uri} {host:?}");
        }
    }
}
