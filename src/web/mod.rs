//! Playback over HTTP: playlists and media for players, and a page to watch on.
//!
//! ```text
//! connection ─▶ serve ─▶ router ─▶ access ─┬─▶ origin  /live/...                      playlists, segments, parts
//!                                          └─▶ pages   /watch/<stream>, /assets/...   the player
//!                                                 │
//!                                                 └──▶ PlaybackSource (whoever holds the media)
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | [`PlaybackSource`]: what this module asks of whoever holds the media |
//! | [`representation`] | [`Playlist`] and [`Media`]: bodies that are made once and shared by all viewers |
//! | [`origin`] | the routes under `/live`, their headers and errors |
//! | [`conditional`] | If-None-Match and Accept-Encoding |
//! | [`cors`] | which sites' pages may read |
//! | [`redirect`] | the plain port, where all of this is only had over HTTPS |
//! | [`range`] | Range and Content-Range |
//! | [`body`] | a response body that is a chain of shared buffers |
//! | [`answer`] | errors as JSON with a stable code |
//! | [`pages`], [`assets`] | the watch page and the front end inside the binary |
//! | [`access`], `report` | requests and bytes counted by route; our own faults logged |
//! | [`panics`] | a handler that panics |
//! | [`mod@serve`], `places` | entrances, plain and over TLS; how many connections |
//! | `connection`, `http2`, [`stall`] | one connection: its handshake, its bounds, its deadlines and its end |
//!
//! Invariants: a path component is checked by [`crate::media::naming`] before the source hears of it; no body is copied on its
//! way from the source to the socket; an answer that may change soon says so to caches, one that never changes does too.
//! What is not here: what a playlist says (`wire/hls`), who may publish (`listen`), the API (`api`).

pub mod access;
pub mod answer;
pub mod assets;
pub mod body;
pub mod conditional;
mod connection;
pub mod cors;
mod http2;
pub mod origin;
pub mod pages;
pub mod panics;
mod places;
pub mod range;
pub mod redirect;
mod report;
pub mod representation;
pub mod serve;
pub mod source;
pub mod stall;

pub use cors::Cors;
pub use representation::{ContentType, Media, Playlist};
pub use serve::{Entrance, ServeOptions, serve};
pub use source::{PlaybackError, PlaybackSource, RenditionInfo, StreamState, StreamStatus};

/// All routes of this module, over `source`; pages of `cors` may read what is under `/live`. Serve it after
/// [`crate::telemetry::Metrics::install`]: counters are made when they first count. Paths that nobody knows end in this router's
/// fallback.
pub fn router<S: PlaybackSource>(source: S, cors: Cors) -> axum::Router {
    origin::router(source.clone(), cors).merge(pages::router(source))
}
