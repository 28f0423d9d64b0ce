//! Running sessions: one broadcast each, from the first publish to the end.
//!
//! A session outlives its connections. What publishes comes in through one queue ([`session::SessionInput`]), one thread
//! turns it into the session's timeline, and [`wiring`] shows every other thread and queue of it on one screen.
//!
//! | module | holds |
//! |---|---|
//! | [`sessions`] | the table of running sessions: publish, find, end, shut down |
//! | [`session`] | one session as everyone but its own threads sees it |
//! | `intake` | the thread that owns its timeline: connections, grace time, the ladder's start |
//! | [`capacity`] | who uses how much of the machine's encode capacity: the admission rule |
//! | `newcomer` | who waits for its turn while another one publishes |
//! | `pulse` | when a connection's media came |
//! | `limits` | how much a source may send |
//! | [`ceiling`] | the most memory that a session can hold |
//! | `copied` | when a copied rung is encoded instead, and why |
//! | `latency` | delays from the socket to viewers and store, measured where they end |
//! | `losses` | one log line per cause of what media loses or has repaired |
//! | `launch` | starting threads, anew or from what the journal tells |
//! | [`wiring`] | threads and queues, with the bound and policy of each |
//! | [`publisher`] | what an admitted connection holds of its session |
//! | [`stats`] | a session's figures, for metrics and the API |
//!
//! Not here: who may publish (control), how playlists travel (web), SQL, sockets.

pub mod capacity;
pub mod ceiling;
mod copied;
mod intake;
mod latency;
mod launch;
mod limits;
mod losses;
mod newcomer;
mod packaging;
pub mod publisher;
mod pulse;
pub mod session;
pub mod sessions;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod wiring;

use std::sync::Arc;
use std::time::Duration;

use crate::config::preset::Preset;
use crate::config::{Conflict, OnUnpublish};
use crate::media::{Kind, Span};
use crate::transcode::Patience;

pub use publisher::LivePublisher;
pub use session::{Barred, InUse, PublisherId, Session, SessionState};
pub use sessions::{PublishError, Sessions};

/// What must be known of a stream to run a session of it. Taken when the session starts and fixed for its life.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// Public id of the stream.
    pub stream: String,
    /// Id of the session.
    pub session: String,
    /// Raised durably before each start of the session's threads.
    pub epoch: u32,
    /// The ladder.
    pub preset: Arc<Preset>,
    /// Target durations and window.
    pub hls: HlsSpec,
    /// How late pictures may reach the encoders.
    pub patience: Patience,
    /// How long the session waits for a publisher to come back.
    pub grace: Duration,
    /// What a clean unpublish means.
    pub on_unpublish: OnUnpublish,
    /// What a second publisher means.
    pub conflict: Conflict,
    /// Bits per second that the source may send, over a few seconds of media.
    pub max_bitrate: u64,
}

/// Durations of the packaging.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HlsSpec {
    /// Target duration of segments: whole seconds.
    pub segment: Span,
    /// Target duration of parts.
    pub part: Span,
    /// Length of the live playlist.
    pub window: Span,
}

/// Something that happened to a session and that others should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionEvent {
    /// Public id of the stream.
    pub stream: String,
    /// Id of the session.
    pub session: String,
    /// What happened.
    pub change: SessionChange,
}

/// What happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// It has another state.
    State(SessionState),
    /// A track came that the publisher had not sent before: its renditions joined the multivariant playlist.
    TrackJoined(Kind),
}
