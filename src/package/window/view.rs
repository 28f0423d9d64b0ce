//! What one rendition looks like at one moment: immutable, shared, cheap to make.
//!
//! A view that a part made shares the rendered texts of the view before it, because parts are not listed; each text is
//! rendered by the first reader who asks, once.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::chain::Chain;
use crate::media::Segment;
use crate::media::segment::Init;
use crate::wire::hls::MediaPlaylist;

/// A rendition of the live window. Never changes; ask [`super::Window::rendition`] for the newest.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) target_duration_secs: u32,
    pub(super) independent_segments: bool,
    pub(super) closed: Chain,
    pub(super) open: Option<Arc<Segment>>,
    pub(super) media_sequence: u64,
    pub(super) discontinuity_sequence: u64,
    pub(super) ended: bool,
    pub(super) version: u64,
    pub(super) inits: Arc<[Init]>,
    pub(super) texts: Arc<Texts>,
}

/// Texts of a view, rendered at most once.
#[derive(Debug, Default)]
pub(super) struct Texts {
    plain: OnceLock<Bytes>,
    presented: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl View {
    /// The listed segments, which are all closed, oldest first.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> + Clone {
        self.closed.iter()
    }

    /// How many segments are listed.
    pub fn len(&self) -> usize {
        self.closed.len()
    }

    /// Whether no segment is listed.
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty()
    }

    /// The segment behind the listed ones, with its parts so far.
    pub fn open_segment(&self) -> Option<&Segment> {
        self.open.as_deref()
    }

    /// MSN of the first listed segment, or of the one that will be.
    pub fn media_sequence(&self) -> u64 {
        self.media_sequence
    }

    /// EXT-X-DISCONTINUITY tags that were removed with the segments behind them.
    pub fn discontinuity_sequence(&self) -> u64 {
        self.discontinuity_sequence
    }

    /// EXT-X-TARGETDURATION
    pub fn target_duration_secs(&self) -> u32 {
        self.target_duration_secs
    }

    /// The rendition is over: ENDLIST. No other view follows.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Rises whenever the playlist's text changes; equal numbers mean equal texts. Counted from 0 since the daemon
    /// began.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The init segments that listed segments or those in memory need, oldest first. The last one is what comes now.
    pub fn inits(&self) -> &[Init] {
        &self.inits
    }

    /// The playlist, described: for a text with another prefix or type.
    pub fn playlist(&self) -> MediaPlaylist<impl Iterator<Item = &Segment> + Clone> {
        MediaPlaylist {
            target_duration_secs: self.target_duration_secs,
            media_sequence: self.media_sequence,
            discontinuity_sequence: self.discontinuity_sequence,
            playlist_type: None,
            independent_segments: self.independent_segments,
            ended: self.ended,
            uri_prefix: "",
            segments: self.closed.iter(),
        }
    }

    /// The playlist's text, rendered by the first who asks.
    pub fn text(&self) -> Bytes {
        self.texts.plain.get_or_init(|| Bytes::from(self.playlist().render())).clone()
    }

    /// The text in whatever form the edge keeps it in (compressed, tagged), made from [`View::text`] by the first who asks
    /// and shared by all. There is one slot: always ask for the same type, or `make` runs each time.
    pub fn presented<T: Any + Clone + Send + Sync>(&self, make: impl Fn(Bytes) -> T) -> T {
        let slot = self.texts.presented.get_or_init(|| Box::new(make(self.text())));
        slot.downcast_ref().cloned().unwrap_or_else(|| make(self.text()))
    }
}
