//! A session's figures: taken on the intake thread once a second, read by metrics and the API.

use std::time::Duration;

use crate::flow::hub::EdgeStats;
use crate::ingest::IngestStats;
use crate::transcode::LadderStats;

/// Speeds of the last second or so.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Payload bits per second that came in.
    pub bits_per_second: f64,
    /// Pictures per second that came in.
    pub frames_per_second: f64,
}

impl Rates {
    /// What happened between two looks at the counters.
    pub fn between(before: &IngestStats, now: &IngestStats, elapsed: Duration) -> Self {
        let secs = elapsed.as_secs_f64();
        if secs <= 0.0 {
            return Rates::default();
        }
        let bytes = now.bytes.saturating_sub(before.bytes) as f64;
        let frames = now.video_messages.saturating_sub(before.video_messages) as f64;
        Rates { bits_per_second: bytes * 8.0 / secs, frames_per_second: frames / secs }
    }
}

/// A snapshot.
#[derive(Clone, Debug, Default)]
pub struct SessionStats {
    /// What came in.
    pub ingest: IngestStats,
    /// Queues behind the hub.
    pub edges: Vec<EdgeStats>,
    /// What the encoders do; `None` when nothing is encoded.
    pub ladder: Option<LadderStats>,
    /// Speeds of the last second.
    pub rates: Rates,
    /// Each rung's name and why it is copied, encoded or left out.
    pub reasons: Vec<(String, String)>,
    /// Items waiting in the session's intake.
    pub intake_items: usize,
    /// Bytes waiting in the session's intake.
    pub intake_bytes: usize,
}
