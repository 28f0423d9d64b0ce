//! The most memory that one session can hold: every queue, window and frame of it added up. Pure.
//!
//! Each bound stands where its queue is made; here they are only summed, so that the figure which operators are told
//! and tests assert cannot drift from the code. Bytes of media count once where they are shared (a part is in the
//! store's queue, in the window and in an answer to a viewer, but it is one allocation). What viewers' connections hold is
//! not a session's: see the HTTP server's own limits.

use super::HlsSpec;
use super::limits::{AVERAGED_OVER, RENEWED_EVERY};
use super::wiring::{AUDIO_EDGE, INTAKE, PACKAGE, STORE};
use crate::config::preset::{EncodePreset, Preset};
use crate::flow::channel::Bound;
use crate::ingest::GATHER_BYTES;
use crate::media::{Span, VideoTrack};
use crate::package::horizon;
use crate::transcode::PlanError;
use crate::transcode::plan::{Plan, fit, plan};
use crate::transcode::threads::{RUNG_QUEUE, VIDEO_INPUT_BYTES};
use crate::wire::rtmp::Limits;

/// Beside its payload an item of a queue has a packet's or a part's fields.
const ITEM_BYTES: u64 = 256;
/// Frames that libavcodec's H.264 decoder may hold: 16 of reference, and those being decoded and given out.
const DECODER_FRAMES: u64 = 20;
/// Bytes per pixel of a decoded picture: 4:2:0 with 8 bit is the plain one, 4:4:4 with more than 8 bit the largest.
const PLAIN_PIXEL_HALVES: u64 = 3;
const RICH_PIXEL_HALVES: u64 = 12;
/// Bytes per pixel of a frame inside x264: the picture, its half-pixel planes, its motion vectors.
const X264_PIXEL_BYTES: u64 = 8;
/// Frames that x264 holds beside its references, B-frames, lookahead and threads.
const X264_SPARE_FRAMES: u64 = 6;
/// What x264 itself asks for, once per encoder, and what a codec's thread has as stack and tables.
const CODEC_BYTES: u64 = 12 << 20;
/// Threads, playlists, the catalog of listed segments.
const FIXED_BYTES: u64 = 16 << 20;

/// What x264's presets have of references and lookahead, when a preset's own keys do not say.
const X264_FRAMES: [(&str, u64, u64); 10] = [
    ("ultrafast", 1, 0),
    ("superfast", 1, 0),
    ("veryfast", 1, 10),
    ("faster", 2, 20),
    ("fast", 2, 30),
    ("medium", 3, 40),
    ("slow", 5, 50),
    ("slower", 8, 60),
    ("veryslow", 16, 60),
    ("placebo", 16, 60),
];

/// Most bytes that a session of this preset and source holds, whose connection may bring messages of `max_message` bytes.
///
/// # Errors
/// There is no ladder for such a source.
pub fn ceiling_bytes(
    preset: &Preset,
    source: &VideoTrack,
    hls: &HlsSpec,
    max_bitrate: u64,
    max_message: u64,
) -> Result<u64, PlanError> {
    let plan = plan(preset, hls.segment, Some(source), None)?;
    // Sound is part of the source's bitrate where it is copied; encoded it is far below what is rounded up here.
    Ok(FIXED_BYTES + queues(max_message) + media(&plan, hls, max_bitrate) + pictures(&plan, source))
}

fn queues(max_message: u64) -> u64 {
    let bounds = [INTAKE, AUDIO_EDGE, PACKAGE, STORE];
    // One item is let into any queue, however large it is.
    let queue = |bound: &Bound| bound.bytes as u64 + bound.items as u64 * ITEM_BYTES;
    let connection = Limits::default().partial_bytes as u64 + max_message;
    connection + GATHER_BYTES as u64 + VIDEO_INPUT_BYTES as u64 + bounds.iter().map(queue).sum::<u64>()
}

/// The window: its horizon, the segment that is leaving it, the open one, and what a source may send ahead, and its successors.
fn media(plan: &Plan, hls: &HlsSpec, max_bitrate: u64) -> u64 {
    let held = horizon(hls.window) + hls.segment.saturating_mul(2) + Span::from_secs(1);
    let allowances = 2 + held.to_millis() / RENEWED_EVERY.to_millis();
    let copied = bytes_in(max_bitrate, held + AVERAGED_OVER.saturating_mul(allowances));
    let encoded = plan.rungs.iter().filter_map(|rung| rung.encode.as_ref());
    let encoded: u64 = encoded.map(|encode| bytes_in(encode.maxrate + encode.maxrate / 20, held)).sum();
    copied + encoded
}

fn bytes_in(bits_per_second: u64, span: Span) -> u64 {
    let millis = u64::try_from(span.to_millis()).unwrap_or(0);
    u64::try_from(u128::from(bits_per_second) * u128::from(millis) / 8_000).unwrap_or(u64::MAX)
}

/// Decoded pictures, which the rungs share, and what each encoder holds.
fn pictures(plan: &Plan, source: &VideoTrack) -> u64 {
    let encoders: Vec<_> = plan.rungs.iter().filter_map(|rung| rung.encode.as_ref()).collect();
    if encoders.is_empty() {
        return 0;
    }
    let halves = if source.plain { PLAIN_PIXEL_HALVES } else { RICH_PIXEL_HALVES };
    let frame = u64::from(source.width) * u64::from(source.height) * halves / 2;
    let in_decoder = (DECODER_FRAMES + u64::from(plan.decode_threads)) * frame;
    let in_queue = (RUNG_QUEUE.items as u64 * frame).min(RUNG_QUEUE.bytes as u64).max(frame);
    let in_encoders: u64 = encoders.iter().map(|encode| encoder(encode, source)).sum();
    in_decoder + in_queue + CODEC_BYTES + in_encoders
}

fn encoder(encode: &EncodePreset, source: &VideoTrack) -> u64 {
    let (width, height) = fit((encode.width, encode.height), (source.width, source.height));
    let x264 = &encode.x264;
    let known = X264_FRAMES.iter().find(|(name, _, _)| *name == x264.preset);
    let (refs, lookahead) = known.map_or((16, 60), |(_, refs, lookahead)| (*refs, *lookahead));
    let refs = x264.refs.map_or(refs, u64::from);
    let lookahead = x264.lookahead.map_or(lookahead, u64::from);
    let bframes = x264.bframes.map_or(16, u64::from);
    let threads = if x264.threads == 0 { 16 } else { u64::from(x264.threads) };
    let frames = refs + lookahead + bframes + threads + X264_SPARE_FRAMES;
    CODEC_BYTES + frames * u64::from(width) * u64::from(height) * X264_PIXEL_BYTES
}

#[cfg(test)]
mod tests {

    use super::*;

    const MIB: u64 = 1 << 20;

    fn source(width: u32, height: u32, plain: bool) -> VideoTrack {
        VideoTrack { plain, ..VideoTrack::plain(width, height, (60, 1)) }
    }

    fn ceiling(preset: &str, source: &VideoTrack, window: i64, max_bitrate: u64) -> u64 {
        let segment = Span::from_secs(2);
        let hls = HlsSpec { segment, part: Span::from_millis(334), window: Span::from_secs(window) };
        let preset = Preset::load(preset).expect("embedded");
        ceiling_bytes(&preset, source, &hls, max_bitrate, 8 << 20).expect("a ladder") / MIB
    }

    #[test]
    fn the_ceiling_follows_window_bitrate_and_picture() {
        let hd = source(1_920, 1_080, true);
        let usual = ceiling("passthrough", &hd, 60, 50_000_000);
        assert_eq!(ceiling("passthrough", &hd, 3_600, 50_000_000), usual, "memory never holds more than a minute");
        assert_eq!(ceiling("passthrough", &hd, 2, 50_000_000), ceiling("passthrough", &hd, 16, 50_000_000));
        // 44 s less of 50 Mbit/s are 262 MiB.
        assert_eq!(usual - ceiling("passthrough", &hd, 16, 50_000_000), 262);
        assert!(ceiling("passthrough", &hd, 60, 8_000_000) < usual - 300);
        let ladder = ceiling(Preset::DEFAULT, &hd, 60, 50_000_000);
        assert!(ladder > usual + 100 && ladder < 2_000, "{ladder} MiB");
        let rich = ceiling(Preset::DEFAULT, &source(4_096, 2_304, false), 60, 50_000_000);
        assert!(rich > ladder + 1_000 && rich < 4_000, "{rich} MiB");
    }
}
