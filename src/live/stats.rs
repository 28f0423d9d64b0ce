//! A session's figures: taken on the intake thread once a second, read by metrics and the API.

use std::time::Duration;

use crate::flow::hub::EdgeStats;
use crate::ingest::IngestStats;
use crate::transcode::LadderStats;
use crate::transcode::stats::RungStats;

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

/// How fast each encoded rung was between two looks at the counters: media seconds per second of its own work. One that had
/// no work keeps what it had, because a source that pauses makes no encoder faster or slower; 0 before the first frames.
pub fn encode_speeds(before: &SessionStats, now: Option<&LadderStats>) -> Vec<f64> {
    let rungs = now.map(|ladder| ladder.rungs.as_slice()).unwrap_or_default();
    let earlier = |rung: &RungStats| {
        let rungs = &before.ladder.as_ref()?.rungs;
        let index = rungs.iter().position(|known| known.rendition == rung.rendition)?;
        Some((&rungs[index], before.encode_speeds.get(index).copied().unwrap_or_default()))
    };
    let speed = |rung: &RungStats| {
        let (media, busy) = (rung.media, rung.scale_busy + rung.encode_busy);
        let (media, busy, had) = match earlier(rung) {
            Some((known, had)) => {
                let known_busy = known.scale_busy + known.encode_busy;
                (media.saturating_sub(known.media), busy.saturating_sub(known_busy), had)
            }
            None => (media, busy, 0.0),
        };
        if media.is_zero() || busy.is_zero() { had } else { media.as_secs_f64() / busy.as_secs_f64() }
    };
    rungs.iter().map(speed).collect()
}

/// A snapshot.
#[derive(Clone, Debug, Default)]
pub struct SessionStats {
    /// What came in.
    pub ingest: IngestStats,
    /// The session's queues, its intake first.
    pub edges: Vec<EdgeStats>,
    /// What the encoders do; `None` when nothing is encoded.
    pub ladder: Option<LadderStats>,
    /// Packets that no segment was open for and that were dropped; in the order of the renditions.
    pub late_packets: Vec<u64>,
    /// Speeds of the last second.
    pub rates: Rates,
    /// See [`encode_speeds`]; in the order of the ladder's rungs.
    pub encode_speeds: Vec<f64>,
    /// Each rung's name and why it is copied, encoded or left out.
    pub reasons: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::segment::RenditionId;

    /// A look at a ladder of one rung, which has worked for that long and made so much.
    fn look(before: &SessionStats, media_ms: u64, busy_ms: u64) -> SessionStats {
        let rung = RungStats {
            rendition: RenditionId(0),
            name: "720p".to_owned(),
            encoded_frames: media_ms / 40,
            media: Duration::from_millis(media_ms),
            capped_frames: 0,
            bytes: 0,
            queued_frames: 0,
            scale_busy: Duration::from_millis(busy_ms / 5),
            encode_busy: Duration::from_millis(busy_ms - busy_ms / 5),
        };
        let ladder = Some(LadderStats { rungs: vec![rung], ..LadderStats::default() });
        SessionStats { encode_speeds: encode_speeds(before, ladder.as_ref()), ladder, ..SessionStats::default() }
    }

    #[test]
    fn an_encoder_is_as_fast_as_it_was_last_while_the_session_waits_for_its_publisher() {
        let begun = look(&SessionStats::default(), 0, 0);
        let live = look(&begun, 1_000, 400);
        let slow = look(&live, 2_000, 1_400);
        // The publisher is gone: what the encoder held comes out, and then nothing.
        let drained = look(&slow, 2_000, 1_430);
        let reconnecting = look(&drained, 2_000, 1_430);
        let back = look(&reconnecting, 3_000, 1_930);
        let speeds = [&begun, &live, &slow, &drained, &reconnecting, &back].map(|stats| stats.encode_speeds[0]);
        assert_eq!(speeds, [0.0, 2.5, 1.0, 1.0, 1.0, 2.0]);
    }
}
