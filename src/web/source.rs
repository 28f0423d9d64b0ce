//! What playback asks of whoever holds the media: a running session of this node, later the store or another node.

use std::future::Future;

use serde::Serialize;

use super::representation::{Media, Playlist};
use crate::media::naming::MediaName;

/// Playlists and media by name.
///
/// Every `stream`, `session` and `rendition` handed in is a valid path component ([`crate::media::naming::is_component`]) and otherwise
/// unknown. Dropping a future means that the viewer left: nothing of the request may stay behind.
pub trait PlaybackSource: Clone + Send + Sync + 'static {
    /// The multivariant playlist of the stream's session that runs, or of the newest one that ended a short while ago. Its URIs are
    /// relative to `/live/<stream>/`: `<session>/<rendition>/index.m3u8`.
    /// While a session starts, the implementation holds the answer for up to 10 s.
    fn multivariant(&self, stream: &str) -> impl Future<Output = Result<Playlist, PlaybackError>> + Send;

    /// The multivariant playlist of exactly this session. Its URIs are relative to `/live/<stream>/<session>/`:
    /// `<rendition>/index.m3u8`.
    fn session_multivariant(
        &self,
        stream: &str,
        session: &str,
    ) -> impl Future<Output = Result<Playlist, PlaybackError>> + Send;

    /// A rendition's media playlist. Its URIs are file names beside it.
    fn media_playlist(
        &self,
        stream: &str,
        session: &str,
        rendition: &str,
    ) -> impl Future<Output = Result<Playlist, PlaybackError>> + Send;

    /// An init segment, a segment or a part, whole.
    fn media(
        &self,
        stream: &str,
        session: &str,
        rendition: &str,
        name: MediaName,
    ) -> impl Future<Output = Result<Media, PlaybackError>> + Send;

    /// What the watch page says about a stream.
    fn stream_status(&self, stream: &str) -> impl Future<Output = Result<StreamStatus, PlaybackError>> + Send;
}

/// Why there is nothing to play.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaybackError {
    /// The stream exists and has no session to show.
    #[error("the stream is offline")]
    StreamOffline,
    /// No stream has this id.
    #[error("there is no such stream")]
    NoSuchStream,
    /// It was there and its time is over: a segment behind the window, a session that is no longer kept.
    #[error("this is no longer available")]
    Gone,
    /// The stream is there, and this session, rendition or name is not.
    #[error("there is no such session, rendition or file")]
    NotFound,
    /// The session starts, and nothing could be played within the time that a request is held.
    #[error("the stream is starting: ask again in a moment")]
    Starting,
    /// Our own fault. The text goes to the log, never to the viewer.
    #[error("{0}")]
    Internal(String),
}

/// A stream as a viewer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// The title its owner gave it, or its name. Any text.
    pub title: String,
    /// What it does now.
    pub state: StreamState,
    /// The renditions of the session in memory, largest first; empty without one.
    pub renditions: Vec<RenditionInfo>,
}

/// What a stream does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamState {
    /// No session.
    Offline,
    /// An encoder is connected and nothing can be played yet.
    Starting,
    /// It plays.
    Live,
    /// The encoder was lost; the session waits for it.
    Reconnecting,
    /// The last session is over and can still be played to its end.
    Ended,
}

/// A rendition as a viewer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RenditionInfo {
    /// Name in paths: `720p`, `audio`.
    pub name: String,
    /// Picture width in pixels; absent for audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Picture height in pixels; absent for audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Bits per second that are never passed.
    pub bandwidth: u64,
}
