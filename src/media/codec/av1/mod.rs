//! AV1 (AV1 bitstream and decoding process specification, AOMedia) as far as a track's description needs it.
//!
//! | module | holds |
//! |---|---|
//! | [`obu`] | splitting temporal units into OBUs; what a sample of ISOBMFF holds of them |
//! | [`config`] | the AV1CodecConfigurationRecord (av1C), both directions |
//! | [`sequence`] | sequence headers |
//!
//! Of frame headers only the first bits are read: whether it is a key frame that is shown. Order of decoding and of presentation
//! are the same.

pub mod config;
pub mod obu;
pub mod sequence;

use bytes::Bytes;

use super::picture::{Chroma, Colour, SIDES, is_carried};
use crate::media::{VideoCodec, VideoTrack};

pub use config::Av1Config;
pub use obu::{Obu, ObuKind, TemporalUnit, obus};
pub use sequence::SequenceHeader;

/// Why bytes are not the AV1 that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Av1Error {
    /// The bytes end inside of a field.
    #[error("AV1 {what} is cut off")]
    Truncated {
        /// Which structure.
        what: &'static str,
    },
    /// An OBU reaches beyond its temporal unit.
    #[error("AV1 OBU at byte {offset} claims {length} bytes, {left} are left")]
    BeyondEnd {
        /// Where its header stands.
        offset: usize,
        /// What it claims.
        length: u64,
        /// What there is.
        left: usize,
    },
    /// The first bit of an OBU is set: these are no OBUs.
    #[error("AV1 OBU at byte {0} has its forbidden bit set: the data is damaged, or of another form")]
    Forbidden(usize),
    /// An OBU's size has more than 8 bytes.
    #[error("AV1 OBU at byte {0} has a size of more than 8 bytes")]
    Size(usize),
    /// An av1C of another version than 1, or something else.
    #[error("AV1 configuration record begins with {0:#04x}, version 1 with 0x81")]
    Version(u8),
    /// There is no sequence header where one must be.
    #[error("AV1 configuration has no sequence header")]
    NoSequenceHeader,
    /// Profiles are 0 to 2.
    #[error("AV1 profile {0} is not known")]
    Profile(u32),
    /// A picture that no encoder and few decoders take.
    #[error("the picture is {width}x{height}; sides of {} to {} pixels can be carried", SIDES.start(), SIDES.end())]
    PictureSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// Describes a track from the payload of its sequence header ([`Obu::payload`]).
///
/// The same header gives the same track, whether it comes from a record ([`Av1Config::sequence_header`]) or from the stream
/// ([`TemporalUnit::sequence_header`]).
///
/// # Errors
/// The header cannot be parsed, or the picture's size is impossible.
pub fn track_from_sequence_header(payload: &[u8]) -> Result<VideoTrack, Av1Error> {
    let header = SequenceHeader::parse(payload)?;
    let (width, height) = (header.width, header.height);
    if !is_carried((width, height)) {
        return Err(Av1Error::PictureSize { width, height });
    }
    let config = Av1Config { sequence_header: Some(Bytes::copy_from_slice(payload)) };
    Ok(VideoTrack {
        codec: VideoCodec::Av1,
        config: config.write()?,
        codecs: codecs(&header),
        width,
        height,
        sample_aspect: (1, 1),
        frame_rate: header.frame_rate,
        plain: header.chroma == Chroma::C420 && header.bit_depth == 8,
    })
}

/// The RFC 6381 string (AV1-ISOBMFF 5): `av01.0.05M.08`, with all the rest where it is not what the short form means. Colours that
/// are not said are what players take the short form for.
fn codecs(header: &SequenceHeader) -> String {
    let tier = if header.high_tier { 'H' } else { 'M' };
    let short = format!(
        "{}.{}.{:02}{tier}.{:02}",
        VideoCodec::Av1.sample_entry(),
        header.profile,
        header.level,
        header.bit_depth
    );
    let Colour { primaries, transfer, matrix, full_range } = header.colour;
    let mono = header.chroma == Chroma::Monochrome;
    let usual = [Colour::UNSPECIFIED, Colour::BT_709].contains(&header.colour);
    if usual && header.chroma == Chroma::C420 && header.chroma_position == 0 {
        return short;
    }
    let [across, down] = header.subsampling().map(u8::from);
    format!(
        "{short}.{}.{across}{down}{}.{primaries:02}.{transfer:02}.{matrix:02}.{}",
        u8::from(mono),
        header.chroma_position,
        u8::from(full_range)
    )
}

/// Sequence headers of real encoders (`ffmpeg -f lavfi -i testsrc2 ...`), payloads without the OBU header.
#[cfg(test)]
pub(crate) mod samples {
    /// SVT-AV1 1.4, 1280x720.
    pub(crate) const SVT: &[u8] = &[0x00, 0x00, 0x00, 0x2d, 0x4c, 0xff, 0xb3, 0xcf, 0xbf, 0x90, 0x04];
    /// libaom, 1280x720.
    pub(crate) const LIBAOM: &[u8] = &[0x00, 0x00, 0x00, 0x2d, 0x4c, 0xff, 0xb3, 0xcd, 0xaf, 0x90, 0x04];
    /// SVT-AV1 1.4, 640x360 with 10 bit, PQ in BT.2020.
    pub(crate) const PQ: &[u8] = &[0x00, 0x00, 0x00, 0x0c, 0xc4, 0xff, 0x67, 0x00, 0xbe, 0x14, 0x24, 0x40, 0x24, 0x10];
}

#[cfg(test)]
mod tests {
    use super::samples::{LIBAOM, PQ, SVT};
    use super::*;

    #[test]
    fn a_track_is_described_by_its_sequence_header() {
        for header in [SVT, LIBAOM] {
            let track = track_from_sequence_header(header).expect("made by an encoder");
            assert_eq!((track.codec, track.codecs.as_str()), (VideoCodec::Av1, "av01.0.05M.08"));
            assert_eq!((track.width, track.height, track.frame_rate, track.plain), (1_280, 720, None, true));
            let config = Av1Config::parse(&track.config).expect("our own record");
            assert_eq!(config.sequence_header.as_deref(), Some(header));
        }
    }

    #[test]
    fn what_the_short_form_does_not_mean_is_said() {
        let track = track_from_sequence_header(PQ).expect("made by SVT-AV1");
        assert_eq!((track.codecs.as_str(), track.plain), ("av01.0.01M.10.0.110.09.16.09.0", false));
        let header = SequenceHeader::parse(SVT).expect("made by SVT-AV1");
        let full = SequenceHeader { colour: Colour { full_range: true, ..Colour::BT_709 }, ..header.clone() };
        assert_eq!(codecs(&full), "av01.0.05M.08.0.110.01.01.01.1");
        let grey = SequenceHeader { chroma: Chroma::Monochrome, high_tier: true, level: 12, ..header };
        assert_eq!(codecs(&grey), "av01.0.12H.08.1.110.02.02.02.0");
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let error = |payload| track_from_sequence_header(payload).expect_err("refused").to_string();
        assert_eq!(error(&[]), "AV1 sequence header is cut off");
        assert_eq!(error(&SVT[..6]), "AV1 sequence header is cut off");
        assert_eq!(error(&[0xe0]), "AV1 profile 7 is not known");
        // Frame width and height of 1 bit each, both 1 pixel.
        assert_eq!(error(&[0x18, 0, 0, 0, 0, 0, 0]), "the picture is 1x1; sides of 2 to 16384 pixels can be carried");
    }
}
