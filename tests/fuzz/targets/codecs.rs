//! VP9, Opus and FLAC: headers give what the formats have or an error in words, and come back from the writers; packets and frames
//! last no longer than they can.

use bytes::Bytes;
use millstream::media::codec::{flac, opus, vp9};

use super::source::{Source, assert_tellable};

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    match source.u8() & 7 {
        0 => vp9_record(source.rest()),
        1 => vp9_frame(source.rest()),
        2 => opus_head(source.rest()),
        3 => opus_head(&[b"OpusHead", source.rest()].concat()),
        4 => match opus::packet_samples(source.rest()) {
            Ok(samples) => assert!((120..=opus::MAX_PACKET_SAMPLES).contains(&samples)),
            Err(error) => assert_tellable(&error.to_string()),
        },
        5 => flac_header(&Bytes::copy_from_slice(source.rest())),
        6 => flac_frame(source.rest()),
        _ => flac_frame(&[&[0xff, 0xf8], source.rest()].concat()),
    }
}

fn vp9_record(record: &[u8]) {
    match vp9::VpConfig::parse(record) {
        Ok(config) => assert_eq!(vp9::VpConfig::parse(&config.write()), Ok(config)),
        Err(error) => assert_tellable(&error.to_string()),
    }
}

fn vp9_frame(data: &[u8]) {
    let key = vp9::is_keyframe(data);
    match vp9::track_from_key_frame(data, None) {
        Ok(track) => {
            assert_eq!(key, Ok(true));
            assert!((2..=16_384).contains(&track.width) && (2..=16_384).contains(&track.height), "{track:?}");
            let config = vp9::VpConfig::parse(&track.config).expect("our own record");
            assert_eq!(vp9::track_from_key_frame(data, Some(&config)), Ok(track));
        }
        Err(error) => assert_tellable(&error.to_string()),
    }
}

fn opus_head(header: &[u8]) {
    match opus::OpusHead::parse(header) {
        Ok(head) => {
            assert_eq!(opus::OpusHead::parse(&head.write()), Ok(head.clone()));
            let track = head.track();
            assert!((1..=8).contains(&track.channels) && track.sample_rate == 48_000, "{track:?}");
            let silence = opus::silent_packet(&track, 960);
            assert!(silence.is_none_or(|packet| opus::packet_samples(&packet) == Ok(960)));
        }
        Err(error) => assert_tellable(&error.to_string()),
    }
}

fn flac_header(header: &Bytes) {
    match flac::track_from_header(header) {
        Ok(track) => {
            assert!((1..=8).contains(&track.channels) && (8_000..=192_000).contains(&track.sample_rate), "{track:?}");
            assert!((16..=65_535).contains(&track.samples_per_frame), "{track:?}");
            assert_eq!(flac::track_from_header(&track.config.clone()), Ok(track));
        }
        Err(error) => assert_tellable(&error.to_string()),
    }
}

fn flac_frame(frame: &[u8]) {
    match flac::frame_samples(frame) {
        Ok(samples) => assert!((1..=65_536).contains(&samples)),
        Err(error) => assert_tellable(&error.to_string()),
    }
}
