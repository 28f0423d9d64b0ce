//! AudioSpecificConfig: a description within what AAC has, or an error in words; an init segment says the same again.

use bytes::Bytes;
use millstream::media::Track;
use millstream::media::codec::aac::{silent_frame, track_from_config};
use millstream::wire::fmp4::read::{EntryInfo, read_init};
use millstream::wire::fmp4::write_init;

use super::source::assert_tellable;

pub fn run(data: &[u8]) {
    let asc = Bytes::copy_from_slice(data);
    let track = match track_from_config(asc.clone()) {
        Ok(track) => track,
        Err(error) => return assert_tellable(&error.to_string()),
    };
    assert!((1..=8).contains(&track.channels), "{track:?}");
    assert!((7_350..=96_000).contains(&track.sample_rate), "{track:?}");
    assert!(matches!(track.samples_per_frame, 960 | 1_024), "{track:?}");
    assert!(matches!(track.codecs.as_str(), "mp4a.40.2" | "mp4a.40.5" | "mp4a.40.29"), "{track:?}");
    assert_eq!(track.config, asc);
    assert!(silent_frame(&track).is_none_or(|frame| !frame.is_empty()));

    // Bytes behind what is read describe nothing.
    let longer = track_from_config([data, &[0xff]].concat().into()).expect("more of the same");
    assert_eq!(
        (longer.sample_rate, longer.channels, &longer.codecs),
        (track.sample_rate, track.channels, &track.codecs)
    );

    let channels = track.channels;
    if let Ok(init) = write_init(&Track::Audio(track.clone())) {
        let read = read_init(&init).expect("what was written can be read");
        assert_eq!(read.timescale, track.sample_rate);
        assert_eq!(read.entry, EntryInfo::Audio { codec: track.codec, channels, config: asc });
    }
}
