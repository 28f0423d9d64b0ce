//! What the API asks of running sessions. The composition root answers.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::control::SessionId;

/// Knows the sessions that run in this process.
pub trait LiveSessions: Send + Sync + 'static {
    /// What is known of a session now; `None` when it does not run. Must not block: it is asked for each session of a list.
    fn details(&self, session: &SessionId) -> Option<LiveDetails>;

    /// Ends a session for its viewers and its publisher, and completes when it is through. Does nothing to one that does not
    /// run.
    fn end<'a>(&'a self, session: &'a SessionId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// A running session at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveDetails {
    /// The publisher's address; `None` while there is none.
    pub peer: Option<String>,
    /// Bits per second that came in, over the last seconds.
    pub ingest_bits_per_second: u64,
    /// Frames are dropped because encoding is too slow, or were a few seconds ago.
    pub overloaded: bool,
    /// How many were dropped since the session began here, in all encoded rungs alike.
    pub dropped_frames: u64,
    /// Rungs of the preset that this session does not have, and why: the source is small, or the machine has no room.
    pub left_out: Vec<LeftOutRung>,
    /// Video rungs from the largest down, then audio.
    pub renditions: Vec<LiveRendition>,
}

/// A rendition of a running session at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRendition {
    /// Its name in paths.
    pub name: String,
    /// The source's own packets, or an encoder's.
    pub copied: bool,
    /// Why it is not copied although its preset would allow it.
    pub reason: Option<String>,
    /// Bits per second that went out, over the last seconds.
    pub bits_per_second: u64,
}

/// A rung that a session does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutRung {
    /// Its name in the preset.
    pub name: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// Nothing runs: for tests and tools.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLiveSessions;

impl LiveSessions for NoLiveSessions {
    fn details(&self, _session: &SessionId) -> Option<LiveDetails> {
        None
    }

    fn end<'a>(&'a self, _session: &'a SessionId) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(std::future::ready(()))
    }
}
