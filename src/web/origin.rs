//! The routes under `/live`: what players and CDNs ask for.
//!
//! | path | route label | cached for |
//! |---|---|---|
//! | `/live/<stream>/index.m3u8` | `multivariant` | 2 s |
//! | `/live/<stream>/<session>/index.m3u8` | `multivariant` | 2 s |
//! | `/live/<stream>/<session>/<rendition>/index.m3u8` | `playlist` | 1 s; 60 s with ENDLIST |
//! | `/live/<stream>/<session>/<rendition>/<name>` | `media` | a year: names are never used again |
//! | anything else, in the whole daemon | `other` | not at all |
//!
//! Conventions of reference: RFC 9110 for conditions and ranges, RFC 8216 section 4 for content types.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, RANGE, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get};

use super::access::counted;
use super::answer::{self, method_not_allowed};
use super::body::Chain;
use super::conditional::{is_not_modified, preferred_coding, range_applies};
use super::cors::{self, Cors};
use super::range::{self, Requested};
use super::report::report;
use super::representation::{Media, Playlist, Text};
use super::source::{PlaybackError, PlaybackSource};
use crate::media::naming::{MediaName, is_component};

const PLAYLIST_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.apple.mpegurl");
const CACHE_MULTIVARIANT: HeaderValue = HeaderValue::from_static("public, max-age=2");
const CACHE_LIVE: HeaderValue = HeaderValue::from_static("public, max-age=1");
const CACHE_ENDED: HeaderValue = HeaderValue::from_static("public, max-age=60");
const CACHE_FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The routes over `source`, which pages of `cors` may read. The fallback for paths that nobody
/// knows is in here, so no router that is merged with this one may have its own.
pub fn router<S: PlaybackSource>(source: S, cors: Cors) -> Router {
    Router::new()
        .route("/live/{stream}/index.m3u8", counted("multivariant", read(get(multivariant::<S>))))
        .route("/live/{stream}/{session}/index.m3u8", counted("multivariant", read(get(session_multivariant::<S>))))
        .route("/live/{stream}/{session}/{rendition}/index.m3u8", counted("playlist", read(get(media_playlist::<S>))))
        .route("/live/{stream}/{session}/{rendition}/{name}", counted("media", read(get(media::<S>))))
        .fallback_service(counted("other", any(answer::not_found)))
        .layer(from_fn_with_state(cors, cors::allow))
        .with_state(source)
}

fn read<S: Clone + Send + Sync + 'static>(handler: MethodRouter<S>) -> MethodRouter<S> {
    handler.options(cors::preflight).fallback(method_not_allowed)
}

type Result<T> = std::result::Result<T, PlaybackError>;
/// Path parameters, or why there are none: a path that is not UTF-8 names nothing of ours.
type Params<T> = std::result::Result<Path<T>, PathRejection>;

async fn multivariant<S: PlaybackSource>(
    State(source): State<S>,
    params: Params<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let Path(stream) = params.map_err(|_| PlaybackError::NotFound)?;
    check([&stream])?;
    let playlist = source.multivariant(&stream).await.inspect_err(|error| report(error, &stream))?;
    Ok(text_response(playlist.text(), PLAYLIST_TYPE, CACHE_MULTIVARIANT, &headers))
}

async fn session_multivariant<S: PlaybackSource>(
    State(source): State<S>,
    params: Params<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    let Path((stream, session)) = params.map_err(|_| PlaybackError::NotFound)?;
    check([&stream, &session])?;
    let playlist = source.session_multivariant(&stream, &session).await;
    let playlist = playlist.inspect_err(|error| report(error, &stream))?;
    Ok(text_response(playlist.text(), PLAYLIST_TYPE, CACHE_MULTIVARIANT, &headers))
}

async fn media_playlist<S: PlaybackSource>(
    State(source): State<S>,
    params: Params<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    let Path((stream, session, rendition)) = params.map_err(|_| PlaybackError::NotFound)?;
    check([&stream, &session, &rendition])?;
    let playlist = source.media_playlist(&stream, &session, &rendition).await;
    let playlist = playlist.inspect_err(|error| report(error, &stream))?;
    Ok(text_response(playlist.text(), PLAYLIST_TYPE, cache_of(&playlist), &headers))
}

async fn media<S: PlaybackSource>(
    State(source): State<S>,
    params: Params<(String, String, String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response> {
    let Path((stream, session, rendition, file)) = params.map_err(|_| PlaybackError::NotFound)?;
    check([&stream, &session, &rendition])?;
    let name: MediaName = file.parse().map_err(|_| PlaybackError::NotFound)?;
    let media = source.media(&stream, &session, &rendition, name).await;
    let media = media.inspect_err(|error| report(error, &stream))?;
    Ok(media_response(&media, name, &method, &headers))
}

fn check<const N: usize>(components: [&String; N]) -> Result<()> {
    if components.iter().all(|text| is_component(text)) { Ok(()) } else { Err(PlaybackError::NotFound) }
}

fn cache_of(playlist: &Playlist) -> HeaderValue {
    if playlist.ended() { CACHE_ENDED } else { CACHE_LIVE }
}

/// A text in the encoding that the client likes, or 304. Each form has a tag of its own, as
/// strong tags demand.
pub(super) fn text_response(
    text: &Text,
    content_type: HeaderValue,
    cache: HeaderValue,
    request: &HeaderMap,
) -> Response {
    let coding = preferred_coding(request);
    let etag = text.etag(coding);
    let not_modified = etag.to_str().is_ok_and(|etag| is_not_modified(request, etag));
    let mut response = if not_modified {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(text.coded(coding).clone()))
    };
    let headers = response.headers_mut();
    if !not_modified {
        headers.insert(CONTENT_TYPE, content_type);
        if let Some(name) = coding.name() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
        }
    }
    headers.insert(CACHE_CONTROL, cache);
    headers.insert(ETAG, etag.clone());
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// Media, a range of it, 304 or 416. The tag is the name, because a name's bytes never change.
fn media_response(media: &Media, name: MediaName, method: &Method, request: &HeaderMap) -> Response {
    let etag = format!("\"{name}\"");
    let mut response = if is_not_modified(request, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let range = request.get(RANGE).and_then(|value| value.to_str().ok());
        // RFC 9110 section 14.2: Range means something for GET only.
        let range = range.filter(|_| method == Method::GET && range_applies(request, &etag));
        media_body(media, range)
    };
    let headers = response.headers_mut();
    if response_is_final(headers) {
        return response;
    }
    headers.insert(CACHE_CONTROL, CACHE_FOREVER);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(ETAG, HeaderValue::try_from(etag).expect("a media name holds ASCII letters, digits, '-' and '.'"));
    response
}

/// Errors (416) have said how long they may be kept; caches must not keep them as long as media.
fn response_is_final(headers: &HeaderMap) -> bool {
    headers.contains_key(CACHE_CONTROL)
}

fn media_body(media: &Media, range: Option<&str>) -> Response {
    let len = media.len();
    let (status, bytes) = match range.map_or(Requested::Whole, |range| range::requested(range, len)) {
        Requested::Whole => (StatusCode::OK, 0..len),
        Requested::Bytes(bytes) => (StatusCode::PARTIAL_CONTENT, bytes),
        Requested::Unsatisfiable => {
            let message = format!("the file has {len} bytes, none of them in this range");
            let mut response = answer::error(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", &message);
            response.headers_mut().insert(CONTENT_RANGE, visible(format!("bytes */{len}")));
            return response;
        }
    };
    let mut response = Response::new(Body::new(Chain::new(media.chunks().clone(), bytes.clone())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type().as_str()));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start));
    if status == StatusCode::PARTIAL_CONTENT {
        // A satisfiable range is never empty, so its last byte exists.
        headers.insert(CONTENT_RANGE, visible(format!("bytes {}-{}/{len}", bytes.start, bytes.end - 1)));
    }
    response
}

fn visible(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("words, digits and '/' are visible ASCII")
}
