//! Writes the init segment of a track: ftyp and moov, without samples and without an edit list.
//!
//! Brands: `iso6` (tfdt, default-base-is-moof, signed composition offsets) and `cmfc` (CMAF, ISO/IEC 23000-19 7.2),
//! with `mp41` for readers that look for it. Movie time is not used; every duration is 0, as fragments carry them.

use bytes::Bytes;
use mp4_atom::{
    Atom, Audio, Avc1, Avcc, Codec, Colr, Dinf, Dref, Encode, FourCC, Ftyp, Hdlr, Mdhd, Mdia, Minf, Moov, Mp4a, Mvex,
    Mvhd, Pasp, Smhd, Stbl, Stsd, Tkhd, Trak, Trex, Url, Visual, Vmhd,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor, Esds, SLConfig},
};

use super::TRACK_ID;
use crate::media::codec::h264::{AvcConfig, Sps};
use crate::media::{AudioTrack, Track, VideoTrack};

/// Why a track has no init segment.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The AVCDecoderConfigurationRecord is not one.
    #[error("the AVCDecoderConfigurationRecord of {bytes} bytes cannot be read: {source}")]
    AvcConfig {
        /// Its length.
        bytes: usize,
        /// Where reading stopped.
        source: mp4_atom::Error,
    },
    /// NAL lengths are not 4 bytes long, which every packet's are.
    #[error("the AVCDecoderConfigurationRecord announces NAL lengths of {found} bytes, and packets carry 4")]
    NalLength {
        /// Bytes of a length.
        found: u8,
    },
    /// A sample entry holds 16 bits of width and height.
    #[error("a picture of {width}x{height} does not fit a sample entry")]
    PictureSize {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// The track cannot count time.
    #[error("a sample rate of 0 is not one")]
    SampleRate,
    /// The boxes did not go together: a limit of the format that is none of the above.
    #[error("the init segment cannot be written: {0}")]
    Boxes(mp4_atom::Error),
}

/// The init segment of `track`.
///
/// # Errors
/// The track's configuration cannot be said in boxes.
pub fn write_init(track: &Track) -> Result<Bytes, InitError> {
    if track.timescale() == 0 {
        return Err(InitError::SampleRate);
    }
    let trak = match track {
        Track::Video(video) => video_trak(video)?,
        Track::Audio(audio) => audio_trak(audio),
    };
    let ftyp = Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 0,
        compatible_brands: vec![FourCC::new(b"iso6"), FourCC::new(b"cmfc"), FourCC::new(b"mp41")],
    };
    let moov = Moov {
        mvhd: Mvhd { rate: 1.into(), volume: 1.into(), next_track_id: TRACK_ID + 1, ..Default::default() },
        trak: vec![trak],
        mvex: Some(Mvex {
            trex: vec![Trex { track_id: TRACK_ID, default_sample_description_index: 1, ..Default::default() }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut out = Vec::with_capacity(1_024);
    ftyp.encode(&mut out).map_err(InitError::Boxes)?;
    moov.encode(&mut out).map_err(InitError::Boxes)?;
    Ok(Bytes::from(out))
}

fn video_trak(video: &VideoTrack) -> Result<Trak, InitError> {
    let mut config = &video.config[..];
    let avcc =
        Avcc::decode_body(&mut config).map_err(|source| InitError::AvcConfig { bytes: video.config.len(), source })?;
    if avcc.length_size != 4 {
        return Err(InitError::NalLength { found: avcc.length_size });
    }
    let too_large = |_| InitError::PictureSize { width: video.width, height: video.height };
    let width = u16::try_from(video.width).map_err(too_large)?;
    let height = u16::try_from(video.height).map_err(too_large)?;
    let (horizontal, vertical) = video.sample_aspect;
    let entry = Avc1 {
        visual: Visual { data_reference_index: 1, width, height, ..Default::default() },
        avcc,
        colr: colour(video),
        pasp: (!video.has_square_pixels()).then_some(Pasp { h_spacing: horizontal, v_spacing: vertical }),
        ..Default::default()
    };
    // tkhd holds the size to show, which is wider or narrower when the pixels are not square.
    let (shown, _) = video.shown_size();
    let tkhd = Tkhd { width: u16::try_from(shown).unwrap_or(u16::MAX).into(), height: height.into(), ..tkhd() };
    let minf = Minf { vmhd: Some(Vmhd::default()), ..minf(entry.into()) };
    Ok(Trak { tkhd, mdia: mdia(b"vide", crate::media::track::VIDEO_TIMESCALE, minf), ..Default::default() })
}

/// What the SPS says of colour, for players that do not look into it: nothing where it says nothing.
fn colour(video: &VideoTrack) -> Option<Colr> {
    let config = AvcConfig::parse(&video.config).ok()?;
    let colour = Sps::parse(config.sps.first()?).ok()?.colour?;
    Some(Colr::Nclx {
        colour_primaries: u16::from(colour.primaries),
        transfer_characteristics: u16::from(colour.transfer),
        matrix_coefficients: u16::from(colour.matrix),
        full_range_flag: colour.full_range,
    })
}

fn audio_trak(audio: &AudioTrack) -> Trak {
    /// MPEG-4 audio (ISO/IEC 14496-1 7.2.6.6, table 5).
    const OBJECT_TYPE_AAC: u8 = 0x40;
    const STREAM_TYPE_AUDIO: u8 = 0x05;
    let entry = Mp4a {
        audio: Audio {
            data_reference_index: 1,
            channel_count: audio.channels,
            sample_size: 16,
            // 16.16 cannot say rates above 65535; readers take the AudioSpecificConfig's then.
            sample_rate: u16::try_from(audio.sample_rate).unwrap_or(0).into(),
        },
        esds: Esds {
            es_desc: EsDescriptor {
                es_id: 0,
                dec_config: DecoderConfig {
                    object_type_indication: OBJECT_TYPE_AAC,
                    stream_type: STREAM_TYPE_AUDIO,
                    dec_specific: Some(DecoderSpecific { raw: audio.config.to_vec(), ..Default::default() }),
                    ..Default::default()
                },
                sl_config: SLConfig::default(),
                ..Default::default()
            },
        },
        btrt: None,
        taic: None,
    };
    let tkhd = Tkhd { volume: 1.into(), alternate_group: 1, ..tkhd() };
    let minf = Minf { smhd: Some(Smhd::default()), ..minf(entry.into()) };
    Trak { tkhd, mdia: mdia(b"soun", audio.sample_rate, minf), ..Default::default() }
}

fn tkhd() -> Tkhd {
    Tkhd { track_id: TRACK_ID, enabled: true, in_movie: true, ..Default::default() }
}

fn mdia(handler: &[u8; 4], timescale: u32, minf: Minf) -> Mdia {
    Mdia {
        mdhd: Mdhd { timescale, language: "und".to_owned(), ..Default::default() },
        hdlr: Hdlr { handler: FourCC::new(handler), name: String::new() },
        minf,
    }
}

/// Sample tables that are there because the format wants them, and empty because fragments hold the samples.
fn minf(entry: Codec) -> Minf {
    Minf {
        dinf: Dinf { dref: Dref { entries: vec![Url::default().into()] } },
        stbl: Stbl { stsd: Stsd { codecs: vec![entry] }, stco: Some(Default::default()), ..Default::default() },
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::boxes::{BoxKind, ReadError, tree};
    use super::super::read::{EntryInfo, InitInfo, read_init};
    use super::*;
    use crate::media::{AudioCodec, VideoCodec};

    /// x264, High at level 1.3, 320x240.
    const AVCC: &[u8] = b"\x01\x64\x00\x0d\xff\xe1\x00\x18\
        \x67\x64\x00\x0d\xac\xd9\x41\x41\xfa\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\x99\x60\
        \x01\x00\x06\x68\xeb\xe3\xcb\x22\xc0\xfd\xf8\xf8\x00";

    fn video() -> VideoTrack {
        VideoTrack {
            codec: VideoCodec::H264,
            config: Bytes::from_static(AVCC),
            codecs: "avc1.64000d".to_owned(),
            ..VideoTrack::plain(320, 240, (25, 1))
        }
    }

    fn audio() -> AudioTrack {
        AudioTrack {
            codec: AudioCodec::Aac,
            // HE-AAC with its extension spelled out: 5 bytes that must all arrive.
            config: Bytes::from_static(b"\x13\x10\x56\xe5\x9d"),
            codecs: "mp4a.40.5".to_owned(),
            sample_rate: 24_000,
            channels: 2,
            samples_per_frame: 1_024,
        }
    }

    fn init(track: impl Into<Track>) -> Bytes {
        write_init(&track.into()).expect("an init segment")
    }

    impl From<VideoTrack> for Track {
        fn from(video: VideoTrack) -> Self {
            Track::Video(video)
        }
    }

    impl From<AudioTrack> for Track {
        fn from(audio: AudioTrack) -> Self {
            Track::Audio(audio)
        }
    }

    #[test]
    fn the_boxes_of_video() {
        assert_eq!(
            tree(&init(video())).as_deref(),
            Ok("ftyp 28\n\
                moov 660\n  mvhd 120\n  mvex 40\n    trex 32\n  trak 492\n    tkhd 104\n    mdia 380\n      mdhd 44\n      hdlr 33\n      \
                minf 295\n        dinf 36\n          dref 28\n            url  12\n        stbl 231\n          \
                stsd 155\n            avc1 139\n              avcC 53\n          stts 16\n          stsc 16\n          stsz 20\n          \
                stco 16\n        vmhd 20\n")
        );
    }

    #[test]
    fn the_boxes_of_audio() {
        assert_eq!(
            tree(&init(audio())).as_deref(),
            Ok("ftyp 28\n\
                moov 595\n  mvhd 120\n  mvex 40\n    trex 32\n  trak 427\n    tkhd 104\n    mdia 315\n      mdhd 44\n      hdlr 33\n      \
                minf 230\n        dinf 36\n          dref 28\n            url  12\n        stbl 170\n          \
                stsd 94\n            mp4a 78\n              esds 42\n          stts 16\n          stsc 16\n          stsz 20\n          \
                stco 16\n        smhd 16\n")
        );
    }

    #[test]
    fn the_whole_configuration_is_read_back() {
        let entry = EntryInfo::Avc1 { width: 320, height: 240, sample_aspect: None, config: video().config };
        assert_eq!(read_init(&init(video())), Ok(InitInfo { track_id: 1, timescale: 90_000, entry, fragmented: true }));
        let entry = EntryInfo::Mp4a { channels: 2, config: audio().config };
        assert_eq!(read_init(&init(audio())), Ok(InitInfo { track_id: 1, timescale: 24_000, entry, fragmented: true }));
    }

    #[test]
    fn pixels_that_are_not_square_have_a_pasp() {
        let anamorphic = VideoTrack { sample_aspect: (64, 45), ..video() };
        let entry = read_init(&init(anamorphic)).map(|info| info.entry);
        let config = video().config;
        assert_eq!(entry, Ok(EntryInfo::Avc1 { width: 320, height: 240, sample_aspect: Some((64, 45)), config }));
    }

    #[test]
    fn colour_is_said_as_the_sps_says_it() {
        use crate::media::codec::h264::sps::samples::{FULL_RANGE_SPS, PPS};
        use crate::media::codec::h264::track_from_parameter_sets;
        let track = track_from_parameter_sets(&[FULL_RANGE_SPS], &[PPS]).expect("made by x264");
        let bytes = init(track);
        let expected = b"\x00\x00\x00\x13colrnclx\x00\x01\x00\x0d\x00\x06\x80";
        assert!(bytes.windows(expected.len()).any(|window| window == expected), "{bytes:?}");
        assert!(!init(video()).windows(4).any(|window| window == b"colr"), "nothing is said, nothing is claimed");
    }

    #[test]
    fn tracks_that_cannot_be_described_are_refused_in_words() {
        let refused = |track: Track| write_init(&track).map_err(|error| error.to_string());
        let short_nal = VideoTrack { config: Bytes::from([&AVCC[..4], b"\xfd\xe0\x00"].concat()), ..video() };
        for (track, words) in [
            (
                Track::Video(VideoTrack { config: Bytes::from_static(b"\x01\x64"), ..video() }),
                "the AVCDecoderConfigurationRecord of 2 bytes cannot be read: out of bounds",
            ),
            (
                Track::Video(short_nal),
                "the AVCDecoderConfigurationRecord announces NAL lengths of 2 bytes, and packets carry 4",
            ),
            (
                Track::Video(VideoTrack { width: 65_536, ..video() }),
                "a picture of 65536x240 does not fit a sample entry",
            ),
            (Track::Audio(AudioTrack { sample_rate: 0, ..audio() }), "a sample rate of 0 is not one"),
        ] {
            assert_eq!(refused(track), Err(words.to_owned()));
        }
    }

    #[test]
    fn a_cut_off_or_damaged_init_segment_is_an_error_and_never_a_panic() {
        let bytes = init(video());
        for len in 0..bytes.len() {
            assert!(read_init(&bytes[..len]).is_err(), "{len}");
        }
        assert_eq!(
            read_init(&bytes[28..]),
            Err(ReadError::Missing { kind: BoxKind(*b"ftyp"), parent: BoxKind(*b"file") })
        );
        for source in [init(video()), init(audio())] {
            for at in 0..source.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut bytes = source.to_vec();
                    bytes[at] = value;
                    let _ = (read_init(&bytes), tree(&bytes));
                }
            }
        }
    }
}
