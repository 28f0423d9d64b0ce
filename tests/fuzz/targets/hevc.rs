//! HEVC: parameter sets give sizes within the standard or an error; configuration records come back from the writer.

use bytes::Bytes;
use millstream::media::codec::hevc::{
    HevcConfig, NAL_SPS, Sps, is_keyframe, is_picture, is_taken_out, nal_type, nals_length_prefixed, parameter_set_id,
    track_from_parameter_sets,
};

use super::source::{Source, assert_tellable};

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    match source.u8() & 3 {
        0 => record(&Bytes::copy_from_slice(source.rest())),
        1 => sps(source.rest()),
        2 => sps(&[&[0x42, 0x01], source.rest()].concat()),
        _ => units(source.rest()),
    }
}

fn record(record: &Bytes) {
    let config = match HevcConfig::parse(record) {
        Ok(config) => config,
        Err(error) => return assert_tellable(&error.to_string()),
    };
    let held: usize = config.vps.iter().chain(&config.sps).chain(&config.pps).map(Bytes::len).sum();
    assert!(held <= record.len());
    match config.write() {
        Ok(written) => assert_eq!(HevcConfig::parse(&written), Ok(config.clone())),
        Err(error) => assert_tellable(&error.to_string()),
    }
    let (vps, sps, pps) = (borrowed(&config.vps), borrowed(&config.sps), borrowed(&config.pps));
    match track_from_parameter_sets(&vps, &sps, &pps) {
        Ok(track) => {
            assert!((2..=16_384).contains(&track.width) && (2..=16_384).contains(&track.height), "{track:?}");
            assert!(track.codecs.starts_with("hvc1.") && track.codecs.len() <= 64 && track.codecs.is_ascii());
            let written = HevcConfig::parse(&track.config).expect("our own record");
            assert_eq!((written.length_size, written.sps, written.pps), (4, config.sps, config.pps));
        }
        Err(error) => assert_tellable(&error.to_string()),
    }
}

fn borrowed(sets: &[Bytes]) -> Vec<&[u8]> {
    sets.iter().map(|set| &set[..]).collect()
}

fn sps(nal: &[u8]) {
    match Sps::parse(nal) {
        Ok(sps) => {
            assert_eq!(nal_type(nal), NAL_SPS);
            assert!(parameter_set_id(nal).is_some_and(|id| id < 16));
            assert!((1..=16_888).contains(&sps.width) && (1..=16_888).contains(&sps.height), "{sps:?}");
            assert!((8..=16).contains(&sps.bit_depth_luma) && (8..=16).contains(&sps.bit_depth_chroma), "{sps:?}");
            assert!(sps.chroma_format_idc <= 3 && sps.reorder_frames <= 16 && (1..=7).contains(&sps.sub_layers));
            assert!(sps.sample_aspect.0 > 0 && sps.sample_aspect.1 > 0, "{sps:?}");
            let slow_enough = |(frames, seconds): (u32, u32)| frames > 0 && seconds > 0 && frames / seconds < 300;
            assert!(sps.frame_rate.is_none_or(slow_enough), "{sps:?}");
        }
        Err(error) => assert_tellable(&error.to_string()),
    }
}

fn units(unit: &[u8]) {
    let mut bytes = 0;
    for nal in nals_length_prefixed(unit, 4) {
        let nal = match nal {
            Ok(nal) => nal,
            Err(error) => return assert_tellable(&error.to_string()),
        };
        let kind = nal_type(nal);
        assert!(!is_keyframe(kind) || (is_picture(kind) && !is_taken_out(kind)));
        let _any = parameter_set_id(nal);
        bytes += 4 + nal.len();
    }
    assert!(bytes <= unit.len());
}
