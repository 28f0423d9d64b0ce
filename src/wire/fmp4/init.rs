//! Writes the init segment of a track: ftyp and moov, without samples and without an edit list.
//!
//! Brands: `iso6` (tfdt, default-base-is-moof, signed composition offsets) and `cmfc` (CMAF, ISO/IEC 23000-19 7.2),
//! with `mp41` for readers that look for it. Movie time is not used; every duration is 0, as fragments carry them.

use bytes::Bytes;
use mp4_atom::{
    Codec, Dinf, Dref, Encode, FourCC, Ftyp, Hdlr, Mdhd, Mdia, Minf, Moov, Mvex, Mvhd, Smhd, Stbl, Stsd, Tkhd, Trak,
    Trex, Url, Vmhd,
};

use super::{TRACK_ID, entry};
use crate::media::codec::opus::OpusError;
use crate::media::{AudioTrack, Track, VideoTrack};

/// Why a track has no init segment.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// A video track's configuration is not what it must be.
    #[error("the {what} of {bytes} bytes cannot be read: {source}")]
    Config {
        /// Which record it should be.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// Where reading stopped.
        source: mp4_atom::Error,
    },
    /// NAL lengths are not 4 bytes long, which every packet's are.
    #[error("the {what} announces NAL lengths of {found} bytes, and packets carry 4")]
    NalLength {
        /// Which record.
        what: &'static str,
        /// Bytes of a length.
        found: u8,
    },
    /// The identification header of Opus is not one.
    #[error("the configuration of sound cannot be read: {0}")]
    OpusHead(OpusError),
    /// Sound that must be decoded, and encoded as AAC.
    #[error("{0} is not carried in CMAF: encode it as AAC")]
    NotCarried(&'static str),
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
        Track::Audio(audio) => audio_trak(audio)?,
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
    let minf = Minf { vmhd: Some(Vmhd::default()), ..minf(entry::video(video)?) };
    // tkhd holds the size to show, which is wider or narrower when the pixels are not square.
    let (shown, height) = video.shown_size();
    let field = |side| u16::try_from(side).unwrap_or(u16::MAX).into();
    let tkhd = Tkhd { width: field(shown), height: field(height), ..tkhd() };
    Ok(Trak { tkhd, mdia: mdia(b"vide", crate::media::track::VIDEO_TIMESCALE, minf), ..Default::default() })
}

fn audio_trak(audio: &AudioTrack) -> Result<Trak, InitError> {
    let tkhd = Tkhd { volume: 1.into(), alternate_group: 1, ..tkhd() };
    let minf = Minf { smhd: Some(Smhd::default()), ..minf(entry::audio(audio)?) };
    Ok(Trak { tkhd, mdia: mdia(b"soun", audio.sample_rate, minf), ..Default::default() })
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
#[path = "init_tests.rs"]
mod tests;
