//! MPEG-TS: any split of the bytes gives the same events, what is held stays within its bound, units are made of the input; frame
//! headers and LATM elements alone.

use bytes::Bytes;
use millstream::media::codec::aac::{adts, latm};
use millstream::media::codec::{ac3, mpeg_audio};
use millstream::media::{AudioTrack, Kind};
use millstream::wire::ts::{Counts, Demuxer, Event, Limits, PACKET_BYTES, Piece, ProgramChoice};

use super::source::{Source, assert_tellable, pieces};

const PES_BYTES: usize = 16 * 1_024;

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let how = source.u8();
    match how & 3 {
        0 => stream(source.rest(), how),
        // Packets of few PIDs with sync bytes in their places, so that no luck is needed to come to what is inside.
        1 => stream(&packets(source.rest()), how),
        2 => losses(source.rest(), how),
        _ => headers(source.rest()),
    }
}

fn demuxer(how: u8) -> Demuxer {
    let choice = if how & 4 == 0 { ProgramChoice::FirstWithVideo } else { ProgramChoice::Number(1) };
    Demuxer::new(choice, Limits { pes_bytes: PES_BYTES })
}

/// The bytes as the bodies of packets: a byte of choices, then what the packet has behind its sync byte.
fn packets(mut bytes: &[u8]) -> Vec<u8> {
    const PIDS: [u16; 4] = [0, 0x1000, 0x100, 0x101];
    let mut stream = Vec::new();
    let mut counters = [0u8; 4];
    while let Some((choice, rest)) = bytes.split_first() {
        let which = usize::from(choice & 3);
        let (body, behind) = rest.split_at(rest.len().min(PACKET_BYTES - 4));
        bytes = behind;
        // Mostly the next counter, sometimes another.
        counters[which] = (counters[which] + 1 + u8::from(choice >> 2 & 7 == 7)) & 15;
        let start = choice & 0x20;
        let control = if choice & 0xc0 == 0 { 3 } else { 1 };
        stream.extend([0x47, start << 1 | (PIDS[which] >> 8) as u8, PIDS[which] as u8, control << 4 | counters[which]]);
        stream.extend(body);
        stream.resize(stream.len().next_multiple_of(PACKET_BYTES), 0xff);
    }
    stream
}

fn stream(bytes: &[u8], how: u8) {
    let whole = events(std::iter::once(bytes), how, |_| false);
    assert_eq!(whole, events(pieces(bytes, how), how, |_| false));
    assert_sane(&whole, bytes.len());
}

/// Pieces of which some come behind a loss.
fn losses(bytes: &[u8], how: u8) {
    let found = events(pieces(bytes, how), how, |index| index % 5 == usize::from(how >> 5));
    assert_sane(&found, bytes.len());
}

fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>, how: u8, lost: impl Fn(usize) -> bool) -> (Vec<Event>, Counts) {
    let (mut demuxer, mut events) = (demuxer(how), Vec::new());
    for (index, piece) in pieces.enumerate() {
        demuxer.push(&Piece { data: Bytes::copy_from_slice(piece), lost: lost(index) }, &mut events);
        assert!(demuxer.held_bytes() <= 2 * PES_BYTES + 64 * 1_024, "{} bytes held", demuxer.held_bytes());
    }
    demuxer.finish(&mut events);
    (events, demuxer.counts())
}

fn assert_sane((events, counts): &(Vec<Event>, Counts), length: usize) {
    let (mut bytes, mut track) = (0, None);
    let mut streams = None;
    for event in events {
        match event {
            Event::Streams(told) => {
                assert!(streams.as_ref() != Some(told) && told.ignored.iter().all(|stream| !stream.name.is_empty()));
                streams = Some(told.clone());
            }
            Event::AudioConfig(told) => {
                assert_track(told);
                track = Some(told);
            }
            Event::Unit(unit) => {
                assert!(streams.is_some() && !unit.data.is_empty() && unit.data.len() <= PES_BYTES + 8_192);
                assert!(unit.kind == Kind::Video || track.is_some());
                assert!([unit.pts, unit.dts].into_iter().flatten().all(|stamp| stamp < 1 << 33));
                bytes += unit.data.len();
            }
            Event::Refused(error) => assert_tellable(&error.to_string()),
        }
    }
    assert!(bytes <= length, "{bytes} bytes of units out of {length}");
    assert!(counts.packets as usize * PACKET_BYTES + counts.skipped_bytes as usize <= length);
}

fn assert_track(track: &AudioTrack) {
    assert!((1..=8).contains(&track.channels) && (7_350..=96_000).contains(&track.sample_rate), "{track:?}");
    assert!((120..=5_760).contains(&track.samples_per_frame), "{track:?}");
}

fn headers(bytes: &[u8]) {
    if let Some(header) = adts::parse(bytes) {
        assert!(header.header_bytes <= header.frame_bytes && (1..=4).contains(&header.blocks));
    }
    if let Some(header) = mpeg_audio::parse(bytes) {
        assert!(header.frame_bytes > mpeg_audio::HEADER_BYTES);
        assert_track(&header.format.track());
    }
    if let Some(header) = ac3::parse(bytes) {
        assert!(header.frame_bytes >= ac3::HEADER_BYTES);
        assert_track(&header.format.track());
    }
    let mut reader = latm::LatmReader::default();
    for element in bytes.chunks(64) {
        match reader.read(element) {
            Ok(frames) => assert!(frames.iter().map(Bytes::len).sum::<usize>() <= element.len()),
            Err(error) => assert_tellable(&error.to_string()),
        }
    }
}
