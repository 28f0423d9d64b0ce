//! MPEG-TS: bytes of real encoders, whole and harmed, against what FFmpeg's own reader says of them.

mod captures;
mod encoders;

use bytes::Bytes;
use millstream::wire::ts::{Demuxer, Event, Piece, Unit};

/// What comes of `bytes` in pieces of these lengths, one after the other and again.
fn demux(bytes: &[u8], lengths: &[usize]) -> Vec<Event> {
    let (mut demuxer, mut events) = (Demuxer::default(), Vec::new());
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        let (piece, behind) = rest.split_at(rest.len().min(*length));
        demuxer.push(&Piece { data: Bytes::copy_from_slice(piece), lost: false }, &mut events);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    demuxer.finish(&mut events);
    events
}

fn units(events: &[Event]) -> Vec<&Unit> {
    events.iter().filter_map(|event| if let Event::Unit(unit) = event { Some(unit) } else { None }).collect()
}
