//! Sample entries: how an init segment says what a track is coded with.
//!
//! `avc1`, `hvc1`, `av01` and `vp09` hold the configuration record of [`VideoTrack::config`] (ISO/IEC 14496-15 5.4.2 and 8.4.1,
//! AV1-ISOBMFF 2.2, VP9-ISOBMFF), `mp4a` an AudioSpecificConfig (ISO/IEC 14496-14 5.6), `Opus` an identification header as dOps
//! (Encapsulation of Opus in ISOBMFF 4.3).

use mp4_atom::{
    Atom, Audio, Av01, Avc1, Avcc, Codec, Colr, Dops, Hvc1, Hvcc, Mp4a, Opus, OpusChannelMapping, Pasp, Visual, Vp09,
    VpcC,
    esds::{DecoderConfig, DecoderSpecific, EsDescriptor, Esds, SLConfig},
};

use super::init::InitError;
use crate::media::codec::opus::OpusHead;
use crate::media::codec::picture::Colour;
use crate::media::codec::{av1, h264, hevc, vp9};
use crate::media::{AudioCodec, AudioTrack, VideoCodec, VideoTrack};

/// Version 1 and no flags, which stand before a VPCodecConfigurationRecord in its box.
pub(super) const VPCC_VERSION_AND_FLAGS: [u8; 4] = [1, 0, 0, 0];
/// Bytes of each NAL length in packets.
const NAL_LENGTH_BYTES: u8 = 4;

/// The sample entry of a video track.
pub(super) fn video(video: &VideoTrack) -> Result<Codec, InitError> {
    let too_large = |_| InitError::PictureSize { width: video.width, height: video.height };
    let width = u16::try_from(video.width).map_err(too_large)?;
    let height = u16::try_from(video.height).map_err(too_large)?;
    let visual = Visual { data_reference_index: 1, width, height, ..Default::default() };
    let (h_spacing, v_spacing) = video.sample_aspect;
    let pasp = (!video.has_square_pixels()).then_some(Pasp { h_spacing, v_spacing });
    let colr = colour(video).map(nclx);
    let config = &video.config[..];
    Ok(match video.codec {
        VideoCodec::H264 => {
            const RECORD: &str = "AVCDecoderConfigurationRecord";
            let avcc: Avcc = record(RECORD, config)?;
            check_nal_length(RECORD, avcc.length_size)?;
            Avc1 { visual, avcc, colr, pasp, ..Default::default() }.into()
        }
        VideoCodec::Hevc => {
            const RECORD: &str = "HEVCDecoderConfigurationRecord";
            let hvcc: Hvcc = record(RECORD, config)?;
            check_nal_length(RECORD, hvcc.length_size_minus_one + 1)?;
            Hvc1 { visual, hvcc, colr, pasp, ..Default::default() }.into()
        }
        VideoCodec::Av1 => {
            let av1c = record("AV1CodecConfigurationRecord", config)?;
            Av01 { visual, av1c, colr, pasp, ..Default::default() }.into()
        }
        VideoCodec::Vp9 => {
            let body = [&VPCC_VERSION_AND_FLAGS, config].concat();
            let vpcc: VpcC = record("vpcC box", &body)?;
            Vp09 { visual, vpcc, colr, pasp, ..Default::default() }.into()
        }
    })
}

fn record<A: Atom>(what: &'static str, config: &[u8]) -> Result<A, InitError> {
    A::decode_body(&mut &*config).map_err(|source| InitError::Config { what, bytes: config.len(), source })
}

fn check_nal_length(what: &'static str, found: u8) -> Result<(), InitError> {
    if found == NAL_LENGTH_BYTES { Ok(()) } else { Err(InitError::NalLength { what, found }) }
}

/// What the configuration says of colour, for players that do not look into it: nothing where it says nothing, be it in words.
fn colour(video: &VideoTrack) -> Option<Colour> {
    let config = &video.config;
    let colour = match video.codec {
        VideoCodec::H264 => h264::Sps::parse(h264::AvcConfig::parse(config).ok()?.sps.first()?).ok()?.colour?,
        VideoCodec::Hevc => hevc::Sps::parse(hevc::HevcConfig::parse(config).ok()?.sps.first()?).ok()?.colour?,
        VideoCodec::Av1 => {
            let header = av1::Av1Config::parse(config).ok()?.sequence_header?;
            av1::SequenceHeader::parse(&header).ok()?.colour
        }
        VideoCodec::Vp9 => vp9::VpConfig::parse(config).ok()?.colour,
    };
    (colour != Colour::UNSPECIFIED).then_some(colour)
}

fn nclx(colour: Colour) -> Colr {
    Colr::Nclx {
        colour_primaries: u16::from(colour.primaries),
        transfer_characteristics: u16::from(colour.transfer),
        matrix_coefficients: u16::from(colour.matrix),
        full_range_flag: colour.full_range,
    }
}

/// The sample entry of an audio track.
pub(super) fn audio(track: &AudioTrack) -> Result<Codec, InitError> {
    let audio = Audio {
        data_reference_index: 1,
        channel_count: track.channels,
        sample_size: 16,
        // 16.16 cannot say rates above 65535; readers take the configuration's then.
        sample_rate: u16::try_from(track.sample_rate).unwrap_or(0).into(),
    };
    match track.codec {
        AudioCodec::Aac => Ok(Mp4a { audio, esds: esds(&track.config), btrt: None, taic: None }.into()),
        AudioCodec::Opus => {
            let head = OpusHead::parse(&track.config).map_err(InitError::OpusHead)?;
            Ok(Opus { audio, dops: dops(head), btrt: None }.into())
        }
        other => Err(InitError::NotCarried(other.name())),
    }
}

fn esds(config: &[u8]) -> Esds {
    /// MPEG-4 audio (ISO/IEC 14496-1 7.2.6.6, table 5).
    const OBJECT_TYPE_AAC: u8 = 0x40;
    const STREAM_TYPE_AUDIO: u8 = 0x05;
    Esds {
        es_desc: EsDescriptor {
            es_id: 0,
            dec_config: DecoderConfig {
                object_type_indication: OBJECT_TYPE_AAC,
                stream_type: STREAM_TYPE_AUDIO,
                dec_specific: Some(DecoderSpecific { raw: config.to_vec(), ..Default::default() }),
                ..Default::default()
            },
            sl_config: SLConfig::default(),
            ..Default::default()
        },
    }
}

/// The same fields as in Ogg's header, but with a version of its own and in the byte order of boxes.
fn dops(head: OpusHead) -> Dops {
    Dops {
        output_channel_count: head.channels,
        pre_skip: head.pre_skip,
        input_sample_rate: head.input_rate,
        output_gain: head.gain,
        channel_mapping: head.mapping.map(|mapping| OpusChannelMapping {
            family: mapping.family,
            stream_count: mapping.streams,
            coupled_count: mapping.coupled,
            channel_mapping: mapping.channels,
        }),
    }
}
