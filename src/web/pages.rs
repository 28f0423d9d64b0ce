//! The watch page, what it asks for, and what stands there instead when something is missing.
//!
//! | path | answer |
//! |---|---|
//! | `/watch/<stream>` | the player; a plain page with the HLS URL when the binary holds no front end; 404 for an unknown stream |
//! | `/watch/<stream>/status` | title, state, playlist path and renditions as JSON: the page polls it |
//! | `/assets/<name>` | script and style |
//!
//! Pages run no inline script and load from nowhere else (Content-Security-Policy). Whatever a stream's owner wrote is escaped.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::access::counted;
use super::answer::method_not_allowed;
use super::assets::FrontEnd;
use super::origin::text_response;
use super::report::report;
use super::source::{PlaybackError, PlaybackSource, StreamStatus};
use crate::media::naming::is_component;

/// hls.js plays through blob: URLs of MediaSource; nothing else needs more than this host.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; \
     connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
/// A thousand viewers behind one cache poll as one.
const CACHE_STATUS: HeaderValue = HeaderValue::from_static("public, max-age=1");
const CACHE_FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The routes over `source`, with the front end that this binary holds.
pub fn router<S: PlaybackSource>(source: S) -> Router {
    router_with(source, FrontEnd::embedded())
}

/// The routes over `source` with this front end.
pub fn router_with<S: PlaybackSource>(source: S, front_end: FrontEnd) -> Router {
    let pages = Pages { source, front_end: Arc::new(front_end) };
    Router::new()
        .route("/watch/{stream}", counted("watch", get(watch::<S>).fallback(method_not_allowed)))
        .route("/watch/{stream}/status", counted("watch_status", get(status::<S>).fallback(method_not_allowed)))
        .route("/assets/{name}", counted("assets", get(asset::<S>).fallback(method_not_allowed)))
        .with_state(pages)
}

#[derive(Clone)]
struct Pages<S> {
    source: S,
    front_end: Arc<FrontEnd>,
}

impl<S: PlaybackSource> Pages<S> {
    async fn status_of(
        &self,
        stream: Result<Path<String>, PathRejection>,
    ) -> Result<(String, StreamStatus), PlaybackError> {
        let Path(stream) = stream.map_err(|_| PlaybackError::NoSuchStream)?;
        if !is_component(&stream) {
            return Err(PlaybackError::NoSuchStream);
        }
        let status = self.source.stream_status(&stream).await.inspect_err(|error| report(error, &stream))?;
        Ok((stream, status))
    }
}

async fn watch<S: PlaybackSource>(
    State(pages): State<Pages<S>>,
    stream: Result<Path<String>, PathRejection>,
) -> Response {
    match pages.status_of(stream).await {
        Ok((stream, status)) => {
            let playlist = playlist_path(&stream);
            let html = match pages.front_end.watch_page() {
                Some(template) => fill(template, &status.title, &stream, &playlist),
                None => without_player(&status.title, &playlist),
            };
            page(StatusCode::OK, html)
        }
        Err(PlaybackError::NoSuchStream | PlaybackError::NotFound) => page(
            StatusCode::NOT_FOUND,
            plain(
                "No such stream",
                "<p>There is no stream at this address. Check the link, or ask whoever gave it to you.</p>",
            ),
        ),
        Err(_) => page(
            StatusCode::INTERNAL_SERVER_ERROR,
            plain("Something went wrong", "<p>The server could not look up this stream. Try again in a moment.</p>"),
        ),
    }
}

async fn status<S: PlaybackSource>(
    State(pages): State<Pages<S>>,
    stream: Result<Path<String>, PathRejection>,
) -> Result<Response, PlaybackError> {
    let (stream, status) = pages.status_of(stream).await?;
    let body = Json(json!({
        "stream": stream,
        "title": status.title,
        "state": status.state,
        "playlist": playlist_path(&stream),
        "renditions": status.renditions,
    }));
    Ok(([(CACHE_CONTROL, CACHE_STATUS)], body).into_response())
}

async fn asset<S: PlaybackSource>(
    State(pages): State<Pages<S>>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, PlaybackError> {
    let Path(name) = name.map_err(|_| PlaybackError::NotFound)?;
    let asset = pages.front_end.asset(&name).ok_or(PlaybackError::NotFound)?;
    let cache = if asset.hashed { CACHE_FOREVER } else { NO_CACHE };
    let mut response = text_response(&asset.text, asset.content_type.clone(), cache, &headers);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

fn playlist_path(stream: &str) -> String {
    format!("/live/{stream}/index.m3u8")
}

fn page(status: StatusCode, html: String) -> Response {
    let headers = [
        (CONTENT_TYPE, HTML),
        (CACHE_CONTROL, NO_CACHE),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, headers, html).into_response()
}

/// Fills the built page's three places. In one pass, so that a title with braces in it stays a title.
fn fill(template: &str, title: &str, stream: &str, playlist: &str) -> String {
    let mut html = String::with_capacity(template.len() + 256);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        html.push_str(before);
        let Some((name, behind)) = after.split_once("}}") else {
            rest = after;
            break;
        };
        match name {
            "title" => escape_into(&mut html, title),
            "stream" => escape_into(&mut html, stream),
            "playlist" => escape_into(&mut html, playlist),
            _ => {}
        }
        rest = behind;
    }
    html.push_str(rest);
    html
}

fn without_player(title: &str, playlist: &str) -> String {
    let (mut name, mut path) = (String::new(), String::new());
    escape_into(&mut name, title);
    escape_into(&mut path, playlist);
    plain(
        title,
        &format!(
            "<p>This server was built without its player page. The stream is here all the same: open the HLS URL in a player such as VLC or Safari.</p>\
             <p><a href=\"{path}\"><code>{path}</code></a></p>\
             <p class=\"note\">Whoever runs this server gets the player by <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code> and building the daemon again.</p>"
        ),
    )
}

/// A page without script. `title` is any text, `body` is HTML.
fn plain(title: &str, body: &str) -> String {
    let mut escaped = String::new();
    escape_into(&mut escaped, title);
    let mut html = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{escaped}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"/assets/plain.css\">\n</head>\n\
         <body>\n<main>\n<h1>{escaped}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    );
    html
}

/// Text for HTML, in elements and in quoted attributes.
fn escape_into(html: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_stays_a_title() {
        let html =
            fill("<title>{{title}}</title><b data-s=\"{{stream}}\">{{other}}</b>", "{{stream}} \"<x>&'", "s1", "/p");
        assert_eq!(html, "<title>{{stream}} &quot;&lt;x&gt;&amp;&#39;</title><b data-s=\"s1\"></b>");
        assert_eq!(fill("a {{ b", "t", "s", "p"), "a  b");
    }
}
