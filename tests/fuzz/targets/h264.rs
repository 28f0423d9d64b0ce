//! H.264: parameter sets give sizes within the standard or an error; configuration records and both ways of splitting
//! access units are inverse to their joining.

use bytes::Bytes;
use millstream::media::Track;
use millstream::media::codec::h264::{
    AvcConfig, H264Error, NAL_SPS, Sps, nal_type, nals_annex_b, nals_length_prefixed, track_from_parameter_sets,
};
use millstream::wire::fmp4::read::{EntryInfo, read_init};
use millstream::wire::fmp4::write_init;

use super::source::{Source, assert_tellable};

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    match source.u8() & 7 {
        0 => annex_b(source.rest()),
        1 => length_prefixed(source.rest(), 1),
        2 => length_prefixed(source.rest(), 2),
        3 => length_prefixed(source.rest(), 4),
        4 => {
            let size = source.u8();
            let first = nals_length_prefixed(source.rest(), size).next();
            if !matches!(size, 1 | 2 | 4) {
                assert!(first.is_none_or(|nal| nal == Err(H264Error::LengthSize(size))));
            }
        }
        5 => record(&Bytes::copy_from_slice(source.rest())),
        6 => sps(source.rest()),
        _ => sps(&[&[0x67], source.rest()].concat()),
    }
}

fn annex_b(stream: &[u8]) {
    let nals: Vec<&[u8]> = nals_annex_b(stream).collect();
    let mut joined = Vec::new();
    for nal in &nals {
        assert!(nal.last().is_some_and(|byte| *byte != 0), "{nal:?}");
        assert!(!nal.windows(3).any(|bytes| bytes == [0, 0, 1]), "{nal:?}");
        joined.extend_from_slice(&[0, 0, 0, 1]);
        joined.extend_from_slice(nal);
    }
    assert!(nals_annex_b(&joined).eq(nals.iter().copied()));
}

fn length_prefixed(unit: &[u8], size: u8) {
    let (mut joined, mut whole) = (Vec::new(), true);
    let mut nals = Vec::new();
    for nal in nals_length_prefixed(unit, size) {
        assert!(whole, "something behind an error");
        match nal {
            Ok(nal) => {
                assert!(!nal.is_empty());
                let length = (nal.len() as u32).to_be_bytes();
                joined.extend_from_slice(&length[4 - usize::from(size)..]);
                joined.extend_from_slice(nal);
                nals.push(nal);
            }
            Err(error) => {
                whole = false;
                assert_tellable(&error.to_string());
            }
        }
    }
    assert!(joined.len() <= unit.len());
    let again: Result<Vec<&[u8]>, _> = nals_length_prefixed(&joined, size).collect();
    assert_eq!(again, Ok(nals));
}

fn record(record: &Bytes) {
    let config = match AvcConfig::parse(record) {
        Ok(config) => config,
        Err(error) => return assert_tellable(&error.to_string()),
    };
    let held: usize = config.sps.iter().chain(&config.pps).map(Bytes::len).sum();
    assert!(held <= record.len());
    match config.write() {
        Ok(written) => assert_eq!(AvcConfig::parse(&written), Ok(config.clone())),
        Err(error) => assert_tellable(&error.to_string()),
    }
    let sps: Vec<&[u8]> = config.sps.iter().map(|set| &set[..]).collect();
    let pps: Vec<&[u8]> = config.pps.iter().map(|set| &set[..]).collect();
    if let Ok(track) = track_from_parameter_sets(&sps, &pps) {
        let (width, height, config) = (track.width, track.height, track.config.clone());
        let written = AvcConfig::parse(&config).expect("our own record");
        assert_eq!((written.length_size, written.sps.len(), written.pps.len()), (4, sps.len(), pps.len()));
        if let Ok(init) = write_init(&Track::Video(track)) {
            let read = read_init(&init).expect("what was written can be read");
            let EntryInfo::Video { width: read_width, height: read_height, config: read_config, .. } = read.entry
            else {
                panic!("{read:?}")
            };
            assert_eq!((u32::from(read_width), u32::from(read_height)), (width, height));
            let read = AvcConfig::parse(&read_config).expect("mp4-atom wrote it");
            assert_eq!((read.sps, read.pps), (written.sps, written.pps));
        }
    }
}

fn sps(nal: &[u8]) {
    match Sps::parse(nal) {
        Ok(sps) => {
            assert_eq!(nal_type(nal), NAL_SPS);
            assert!((1..=16_880).contains(&sps.width) && (1..=33_760).contains(&sps.height), "{sps:?}");
            assert!((8..=14).contains(&sps.bit_depth_luma) && (8..=14).contains(&sps.bit_depth_chroma), "{sps:?}");
            assert!(sps.chroma_format_idc <= 3, "{sps:?}");
            assert!(sps.sample_aspect.0 > 0 && sps.sample_aspect.1 > 0, "{sps:?}");
            assert!(sps.reorder_frames.is_none_or(|frames| frames <= 16), "{sps:?}");
            let slow_enough = |(frames, seconds): (u32, u32)| frames > 0 && seconds > 0 && frames / seconds < 300;
            assert!(sps.frame_rate.is_none_or(slow_enough), "{sps:?}");
        }
        Err(error) => assert_tellable(&error.to_string()),
    }
}
