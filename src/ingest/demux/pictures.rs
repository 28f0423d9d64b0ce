//! Configurations and pictures, whatever container they came in.

use std::sync::Arc;

use bytes::Bytes;

use super::nal::{Described, H264, Hevc, NalCodec, Nals};
use super::{AccessUnit, Configuration, Trouble, VideoError, Yielded};
use crate::ingest::Rejected;
use crate::ingest::stamp::Stamp;
use crate::media::codec::av1::{self, Av1Config, TemporalUnit};
use crate::media::codec::vp9::{self, VpConfig};
use crate::media::{Kind, Span, Track, VideoCodec, VideoTrack};

/// Pictures without parameter sets that are waited over, by the publisher's clock and by their number: one keyframe interval of 10 s,
/// with which parameter sets in band come, and a bit.
const MAX_UNCONFIGURED: Span = Span::from_secs(12);
pub(super) const MAX_UNCONFIGURED_PICTURES: u32 = 1_500;

/// How an access unit is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As in MP4: NAL units behind lengths, as the configuration record says.
    AsConfigured,
    /// As in MPEG-TS: NAL units behind start codes.
    AnnexB,
}

/// A picture as its container brought it.
#[derive(Debug)]
pub(super) struct Coded {
    /// Of decoding.
    pub stamp: Stamp,
    pub composition: Span,
    pub form: Form,
    pub data: Bytes,
}

/// The pictures of one connection.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    coding: Option<Coding>,
    configuration: Option<Configuration>,
    /// Pictures before the first parameter sets, and the stamp of the first of them.
    unconfigured: u32,
    unconfigured_since: Option<Stamp>,
}

/// What is known of the codec's ways.
#[derive(Debug)]
enum Coding {
    H264(Nals<2>),
    Hevc(Nals<3>),
    Av1,
    /// With what the container said.
    Vp9(Option<VpConfig>),
}

impl Coding {
    fn new(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::H264 => Coding::H264(Nals::default()),
            VideoCodec::Hevc => Coding::Hevc(Nals::default()),
            VideoCodec::Av1 => Coding::Av1,
            VideoCodec::Vp9 => Coding::Vp9(None),
        }
    }

    fn codec(&self) -> VideoCodec {
        match self {
            Coding::H264(_) => VideoCodec::H264,
            Coding::Hevc(_) => VideoCodec::Hevc,
            Coding::Av1 => VideoCodec::Av1,
            Coding::Vp9(_) => VideoCodec::Vp9,
        }
    }
}

/// What one picture turned out to be.
struct Looked {
    described: Option<Described>,
    /// `None`: there is no picture in it.
    picture: Option<Picture>,
}

struct Picture {
    keyframe: bool,
    leading: bool,
    data: Bytes,
}

impl Pictures {
    pub(super) fn is_configured(&self) -> bool {
        self.configuration.is_some()
    }

    pub(super) fn awaits_parameter_sets(&self) -> bool {
        self.configuration.is_none() && self.unconfigured > 0
    }

    /// What the container says of the pictures to come.
    pub(super) fn configure(&mut self, codec: VideoCodec, record: &Bytes, out: &mut Yielded) -> Result<(), Trouble> {
        let described = match self.coding(codec) {
            Coding::H264(nals) => nals.configure::<H264>(record),
            Coding::Hevc(nals) => nals.configure::<Hevc>(record),
            Coding::Av1 => of_av1_record(record),
            Coding::Vp9(known) => VpConfig::parse(record).map_err(VideoError::from).map(|record| {
                *known = Some(record); // the key frames say the rest
                None
            }),
        };
        let described = described.map_err(Rejected::Video)?;
        self.change(described, out);
        Ok(())
    }

    /// One picture.
    pub(super) fn picture(&mut self, codec: VideoCodec, coded: Coded, out: &mut Yielded) -> Result<(), Trouble> {
        let Coded { stamp, composition, form, data } = coded;
        let Looked { described, picture } = match self.coding(codec) {
            Coding::H264(nals) => of_nals::<H264, 2>(nals, data, form)?,
            Coding::Hevc(nals) => of_nals::<Hevc, 3>(nals, data, form)?,
            Coding::Av1 => of_av1(data)?,
            Coding::Vp9(known) => of_vp9(data, known.as_ref())?,
        };
        self.change(described, out);
        let Some(Picture { keyframe, leading, data }) = picture else {
            out.skipped.empty += 1;
            return Ok(());
        };
        if self.configuration.is_none() {
            out.skipped.unconfigured += 1;
            return Ok(self.await_parameter_sets(stamp)?);
        }
        out.unit(AccessUnit { leading, ..AccessUnit::new(Kind::Video, stamp, composition, keyframe, data) });
        Ok(())
    }

    /// A publisher that changes its codec has sent nothing yet that the new one needs.
    fn coding(&mut self, codec: VideoCodec) -> &mut Coding {
        if self.coding.take_if(|coding| coding.codec() != codec).is_some() {
            *self = Pictures::default();
        }
        self.coding.get_or_insert_with(|| Coding::new(codec))
    }

    fn change(&mut self, described: Option<Described>, out: &mut Yielded) {
        let Some((track, reorder_frames)) = described else { return };
        let track = Track::Video(track);
        if self.configuration.as_ref().is_none_or(|known| *known.track != track) {
            let configuration = Configuration { track: Arc::new(track), reorder_frames };
            self.configuration = Some(configuration.clone());
            out.track(configuration);
        }
    }

    /// A picture that cannot be described: its parameter sets may come with the next keyframe.
    fn await_parameter_sets(&mut self, stamp: Stamp) -> Result<(), Rejected> {
        let since = *self.unconfigured_since.get_or_insert(stamp);
        self.unconfigured += 1;
        let pictures = self.unconfigured;
        if since.step_to(stamp) > MAX_UNCONFIGURED || pictures > MAX_UNCONFIGURED_PICTURES {
            return Err(Rejected::NoParameterSets { pictures });
        }
        Ok(())
    }
}

#[cfg(test)]
impl Pictures {
    pub(super) fn sets_of_lowest_rank(&self) -> usize {
        match &self.coding {
            Some(Coding::H264(nals)) => nals.sets_of_lowest_rank(),
            _ => 0,
        }
    }
}

fn of_nals<C: NalCodec<RANKS>, const RANKS: usize>(
    nals: &mut Nals<RANKS>,
    data: Bytes,
    form: Form,
) -> Result<Looked, Trouble> {
    let (scan, described) = nals.scan::<C>(&data, form)?;
    let picture = if scan.picture {
        Some(Picture { keyframe: scan.keyframe, leading: scan.leading, data: nals.repack::<C>(data, form, &scan)? })
    } else {
        None
    };
    Ok(Looked { described, picture })
}

/// AV1's record may hold the sequence header, which each keyframe repeats.
fn of_av1_record(record: &Bytes) -> Result<Option<Described>, VideoError> {
    let header = Av1Config::parse(record)?.sequence_header;
    header.map(|header| Ok(in_order(av1::track_from_sequence_header(&header)?))).transpose()
}

fn of_av1(data: Bytes) -> Result<Looked, VideoError> {
    let unit = TemporalUnit::of(&data)?;
    let described = match unit.sequence_header {
        Some(header) => Some(in_order(av1::track_from_sequence_header(header)?)),
        None => None,
    };
    let picture = unit.picture.then(|| Picture { keyframe: unit.keyframe, leading: false, data: unit.sample(&data) });
    Ok(Looked { described, picture })
}

fn of_vp9(data: Bytes, record: Option<&VpConfig>) -> Result<Looked, VideoError> {
    if data.is_empty() {
        return Ok(Looked { described: None, picture: None });
    }
    let keyframe = vp9::is_keyframe(&data)?;
    let described = match keyframe {
        true => Some(in_order(vp9::track_from_key_frame(&data, record)?)),
        false => None,
    };
    Ok(Looked { described, picture: Some(Picture { keyframe, leading: false, data }) })
}

/// A track whose pictures are shown in the order that they are decoded in.
fn in_order(track: VideoTrack) -> Described {
    (track, Some(0))
}
