//! AV1: OBUs lie in the input and come back when joined; sequence headers give sizes that can be carried or an error; records
//! come back from the writer.

use bytes::Bytes;
use millstream::media::codec::av1::{
    Av1Config, ObuKind, SequenceHeader, TemporalUnit, obus, track_from_sequence_header,
};

use super::source::{Source, assert_tellable};

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    match source.u8() & 3 {
        0 => record(&Bytes::copy_from_slice(source.rest())),
        1 => sequence_header(source.rest()),
        _ => temporal_unit(&Bytes::copy_from_slice(source.rest())),
    }
}

fn record(record: &Bytes) {
    match Av1Config::parse(record) {
        Ok(config) => match config.write() {
            Ok(written) => assert_eq!(Av1Config::parse(&written), Ok(config)),
            Err(error) => assert_tellable(&error.to_string()),
        },
        Err(error) => assert_tellable(&error.to_string()),
    }
}

fn sequence_header(payload: &[u8]) {
    let track = match track_from_sequence_header(payload) {
        Ok(track) => track,
        Err(error) => return assert_tellable(&error.to_string()),
    };
    let header = SequenceHeader::parse(payload).expect("the track was read of it");
    assert!(header.profile <= 2 && header.level < 32 && matches!(header.bit_depth, 8 | 10 | 12), "{header:?}");
    assert!((2..=16_384).contains(&track.width) && (2..=16_384).contains(&track.height), "{track:?}");
    assert!(track.codecs.starts_with("av01.") && track.codecs.len() <= 64 && track.codecs.is_ascii());
    let config = Av1Config::parse(&track.config).expect("our own record");
    assert_eq!(config.sequence_header.as_deref(), Some(payload));
}

fn temporal_unit(data: &Bytes) {
    let unit = match TemporalUnit::of(data) {
        Ok(unit) => unit,
        Err(error) => return assert_tellable(&error.to_string()),
    };
    let joined: Vec<u8> = obus(data).flat_map(|obu| obu.expect("it was whole").whole.to_vec()).collect();
    assert_eq!(joined, data[..]);
    assert!(!unit.keyframe || (unit.picture && unit.sequence_header.is_some()));
    let sample = unit.sample(data);
    assert_eq!(sample.len() + unit.taken_out, data.len());
    let again = TemporalUnit::of(&sample).expect("a part of what was whole");
    assert_eq!((again.keyframe, again.picture, again.taken_out), (unit.keyframe, unit.picture, 0));
    assert!(obus(&sample).flatten().all(|obu| obu.kind != ObuKind::TemporalDelimiter));
}
