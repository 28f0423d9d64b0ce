//! FLV tags become access units.
//!
//! Configurations become [`Track`]s, once each; parameter sets in the stream are compared with them and taken out, access unit
//! delimiters too; NAL lengths become 4 bytes. An access unit that needs none of that is passed on without a copy. Whether
//! a picture is a keyframe is decided by its NAL units; what the container claims is not asked. Time is not looked at here.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tracing::debug;

use super::Rejected;
use crate::media::codec::bits::BitReader;
use crate::media::codec::{aac, h264};
use crate::media::{AudioCodec, AudioTrack, Kind, Track, VideoCodec, VideoTrack};
use crate::wire::flv::{AudioTag, FlvError, Tag, TagKind, TagReader, VideoTag};

/// So many damaged messages in a row are not damage: the encoder writes something else than it says.
const MAX_DAMAGED_IN_A_ROW: u32 = 100;
/// Pictures without parameter sets that are waited over, by the publisher's clock and by their number: one keyframe interval of 10 s,
/// with which parameter sets in band come, and a bit.
const MAX_UNCONFIGURED_MS: u32 = 12_000;
const MAX_UNCONFIGURED_PICTURES: u32 = 1_500;
/// Most parameter sets in one access unit, repeated ones included: what a configuration record can hold.
const MAX_SETS: usize = 31 + 255;
/// Most bytes of a stream's parameter sets together. They have about 50; scaling lists make some hundred of it.
const MAX_SETS_BYTES: usize = 64 * 1024;
/// Length size that is assumed when parameter sets came in band only.
const DEFAULT_LENGTH_SIZE: u8 = 4;
/// What we write (see [`crate::media::Packet::data`]).
const OUTPUT_LENGTH_SIZE: u8 = 4;

/// An access unit with the publisher's stamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AccessUnit {
    pub kind: Kind,
    /// Decoding time on the publisher's clock, wrapping.
    pub stamp_ms: u32,
    pub composition_ms: i32,
    pub keyframe: bool,
    pub data: Bytes,
}

/// A new configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Configuration {
    pub track: Arc<Track>,
    /// By how many frames output order may leave decoding order, if the stream says so.
    pub reorder_frames: Option<u32>,
}

impl Configuration {
    fn of_audio(track: AudioTrack) -> Self {
        Configuration { track: Arc::new(Track::Audio(track)), reorder_frames: None }
    }
}

/// What one tag holds; the configuration comes first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Demuxed {
    pub configuration: Option<Configuration>,
    pub unit: Option<AccessUnit>,
}

/// What was left out, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Messages that could not be parsed.
    pub damaged: u64,
    /// Frames before their configuration.
    pub unconfigured: u64,
    /// Messages without a picture or sound in them.
    pub empty: u64,
}

/// The demuxer of one connection.
#[derive(Debug, Default)]
pub(super) struct Demux {
    tags: TagReader,
    sets: ParameterSets,
    length_size: Option<u8>,
    video: Option<VideoTrack>,
    /// Of `video`.
    reorder_frames: Option<u32>,
    audio: Option<AudioTrack>,
    damaged_in_a_row: u32,
    /// Pictures before the first parameter sets, and the stamp of the first of them.
    unconfigured_pictures: u32,
    unconfigured_since_ms: u32,
    skipped: Skipped,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ParameterSets {
    sps: Vec<Bytes>,
    pps: Vec<Bytes>,
}

impl Demux {
    pub(super) fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// What was left out so far is not to be counted.
    pub(super) fn forget_skipped(&mut self) {
        self.skipped = Skipped::default();
    }

    /// What the tracks are at the moment, video first.
    pub(super) fn configurations(&self) -> impl Iterator<Item = Configuration> + use<> {
        let reorder_frames = self.reorder_frames;
        let video =
            self.video.clone().map(|track| Configuration { track: Arc::new(Track::Video(track)), reorder_frames });
        let audio = self.audio.clone().map(Configuration::of_audio);
        video.into_iter().chain(audio)
    }

    /// Pictures come, and nothing yet that says how to decode them.
    pub(super) fn awaits_parameter_sets(&self) -> bool {
        self.video.is_none() && self.unconfigured_pictures > 0
    }

    /// Reads one tag.
    pub(super) fn push(&mut self, tag: &Tag) -> Result<Demuxed, Rejected> {
        let read = match tag.kind {
            TagKind::Video => self.video(tag),
            TagKind::Audio => self.audio(tag),
            TagKind::Script => return Ok(Demuxed::default()), // metadata is advice; the configurations decide
        };
        match read {
            Ok(demuxed) => {
                if demuxed.unit.is_some() {
                    self.damaged_in_a_row = 0;
                }
                Ok(demuxed)
            }
            Err(Trouble::Reject(rejected)) => Err(rejected),
            Err(Trouble::Skip(reason)) => {
                debug!(stamp_ms = tag.timestamp_ms, reason, "damaged message left out");
                self.skipped.damaged += 1;
                self.damaged_in_a_row += 1;
                if self.damaged_in_a_row < MAX_DAMAGED_IN_A_ROW {
                    return Ok(Demuxed::default());
                }
                Err(Rejected::Damaged { messages: self.damaged_in_a_row, reason })
            }
        }
    }

    fn audio(&mut self, tag: &Tag) -> Result<Demuxed, Trouble> {
        match self.tags.audio(&tag.data)? {
            AudioTag::Config { codec, .. } | AudioTag::Frame { codec, .. } if codec != AudioCodec::Aac => {
                Err(FlvError::AudioCodec(codec.name().to_owned()).into())
            }
            AudioTag::Config { config, .. } if config.is_empty() => self.empty(),
            AudioTag::Config { config, .. } => {
                let track = aac::track_from_config(config).map_err(Rejected::Audio)?;
                if self.audio.as_ref() == Some(&track) {
                    return Ok(Demuxed::default());
                }
                self.audio = Some(track.clone());
                Ok(Demuxed { configuration: Some(Configuration::of_audio(track)), unit: None })
            }
            AudioTag::Frame { data, .. } if data.is_empty() => self.empty(),
            AudioTag::Frame { .. } if self.audio.is_none() => {
                self.skipped.unconfigured += 1;
                Ok(Demuxed::default())
            }
            AudioTag::Frame { data, .. } => {
                let kind = Kind::Audio;
                let unit = AccessUnit { kind, stamp_ms: tag.timestamp_ms, composition_ms: 0, keyframe: true, data };
                Ok(Demuxed { configuration: None, unit: Some(unit) })
            }
            AudioTag::Ignored => self.empty(),
        }
    }

    fn video(&mut self, tag: &Tag) -> Result<Demuxed, Trouble> {
        match self.tags.video(&tag.data)? {
            VideoTag::Config { codec, .. } | VideoTag::Frame { codec, .. } if codec != VideoCodec::H264 => {
                Err(FlvError::VideoCodec(codec.name().to_owned()).into())
            }
            VideoTag::Config { config, .. } if config.is_empty() => self.empty(),
            VideoTag::Config { config: record, .. } => {
                let config = h264::AvcConfig::parse(&record).map_err(Rejected::Video)?;
                self.length_size = Some(config.length_size);
                if config.sps.is_empty() || config.pps.is_empty() {
                    return Ok(Demuxed::default()); // they come in band
                }
                let configuration = self.configure(ParameterSets { sps: config.sps, pps: config.pps });
                Ok(Demuxed { configuration: configuration.map_err(Rejected::Video)?, unit: None })
            }
            VideoTag::Frame { composition_ms, data, .. } => self.picture(tag.timestamp_ms, composition_ms, data),
            VideoTag::EndOfSequence(_) | VideoTag::Ignored => self.empty(),
        }
    }

    fn empty(&mut self) -> Result<Demuxed, Trouble> {
        self.skipped.empty += 1;
        Ok(Demuxed::default())
    }

    fn picture(&mut self, stamp_ms: u32, composition_ms: i32, data: Bytes) -> Result<Demuxed, Trouble> {
        let length_size = self.length_size.unwrap_or(DEFAULT_LENGTH_SIZE);
        let scan = Scan::of(&data, length_size)?;
        let configuration = if scan.parameter_sets { self.in_band_sets(&data, length_size)? } else { None };
        if !scan.picture {
            self.skipped.empty += 1;
            return Ok(Demuxed { configuration, unit: None });
        }
        if self.video.is_none() {
            self.await_parameter_sets(stamp_ms)?;
            return Ok(Demuxed { configuration, unit: None });
        }
        let data = if scan.passes_as_it_is(length_size) { data } else { repack(&data, length_size, scan.kept_bytes)? };
        let unit = AccessUnit { kind: Kind::Video, stamp_ms, composition_ms, keyframe: scan.keyframe, data };
        Ok(Demuxed { configuration, unit: Some(unit) })
    }

    /// A picture that cannot be described: its parameter sets may come with the next keyframe.
    fn await_parameter_sets(&mut self, stamp_ms: u32) -> Result<(), Rejected> {
        self.skipped.unconfigured += 1;
        if self.unconfigured_pictures == 0 {
            self.unconfigured_since_ms = stamp_ms;
        }
        self.unconfigured_pictures += 1;
        let pictures = self.unconfigured_pictures;
        let waited_ms = stamp_ms.wrapping_sub(self.unconfigured_since_ms);
        if waited_ms > MAX_UNCONFIGURED_MS || pictures > MAX_UNCONFIGURED_PICTURES {
            return Err(Rejected::NoParameterSets { pictures });
        }
        Ok(())
    }

    /// Parameter sets among the pictures: equal ones are free, others are a new configuration.
    fn in_band_sets(&mut self, data: &Bytes, length_size: u8) -> Result<Option<Configuration>, Trouble> {
        let (mut found, mut seen) = (ParameterSets::default(), 0);
        for nal in h264::nals_length_prefixed(data, length_size) {
            let nal = h264::nal::without_trailing_zeros(nal?);
            let (known, new) = match h264::nal_type(nal) {
                h264::NAL_SPS => (&self.sets.sps, &mut found.sps),
                h264::NAL_PPS => (&self.sets.pps, &mut found.pps),
                _ => continue,
            };
            seen += 1;
            if seen > MAX_SETS {
                return Err(h264::H264Error::TooLarge.into());
            }
            if !contains(known, nal) {
                new.push(data.slice_ref(nal));
            }
        }
        if found == ParameterSets::default() {
            return Ok(None);
        }
        let merged = self.sets.merged_with(found);
        if merged.sps.is_empty() || merged.pps.is_empty() {
            // The other half may come in the next message.
            self.sets = merged.owned()?;
            return Ok(None);
        }
        Ok(self.configure(merged)?)
    }

    fn configure(&mut self, sets: ParameterSets) -> Result<Option<Configuration>, h264::H264Error> {
        let sets = sets.owned()?;
        let sps: Vec<&[u8]> = sets.sps.iter().map(|set| &set[..]).collect();
        let pps: Vec<&[u8]> = sets.pps.iter().map(|set| &set[..]).collect();
        let track = h264::track_from_parameter_sets(&sps, &pps)?;
        let reorder_frames = h264::Sps::parse(sps.first().ok_or(h264::H264Error::NoSps)?)?.reorder_frames;
        self.sets = sets;
        if self.video.as_ref() == Some(&track) {
            return Ok(None);
        }
        (self.video, self.reorder_frames) = (Some(track.clone()), reorder_frames);
        Ok(Some(Configuration { track: Arc::new(Track::Video(track)), reorder_frames }))
    }
}

fn contains(sets: &[Bytes], nal: &[u8]) -> bool {
    sets.iter().any(|set| set == nal)
}

impl ParameterSets {
    /// Copies without the padding: the sets must not keep a whole message alive.
    fn owned(&self) -> Result<ParameterSets, h264::H264Error> {
        let bytes: usize = self.sps.iter().chain(&self.pps).map(Bytes::len).sum();
        if self.sps.len() + self.pps.len() > MAX_SETS || bytes > MAX_SETS_BYTES {
            return Err(h264::H264Error::TooLarge);
        }
        let copy = |set: &Bytes| Bytes::copy_from_slice(h264::nal::without_trailing_zeros(set));
        let copies = |sets: &[Bytes]| sets.iter().map(copy).collect();
        Ok(ParameterSets { sps: copies(&self.sps), pps: copies(&self.pps) })
    }

    /// A new SPS makes all others obsolete, and the PPS too if new ones came with it. New PPS alone replace those of
    /// their ids.
    fn merged_with(&self, found: ParameterSets) -> ParameterSets {
        let sps = if found.sps.is_empty() { self.sps.clone() } else { found.sps.clone() };
        let pps = match (found.sps.is_empty(), found.pps.is_empty()) {
            (_, true) => self.pps.clone(),
            (false, false) => found.pps,
            (true, false) => {
                let replaced = |set: &&Bytes| found.pps.iter().any(|new| pps_id(new) == pps_id(set));
                self.pps.iter().filter(|set| !replaced(set)).chain(&found.pps).cloned().collect()
            }
        };
        ParameterSets { sps, pps }
    }
}

/// `pic_parameter_set_id`, the first field of a PPS (H.264 7.3.2.2).
fn pps_id(nal: &[u8]) -> Option<u32> {
    BitReader::new(nal.get(1..)?).golomb()
}

/// What one look over an access unit finds.
struct Scan {
    keyframe: bool,
    /// There is a coded slice.
    picture: bool,
    parameter_sets: bool,
    /// Bytes of the NAL units that stay, and of their lengths as we write them.
    kept_bytes: usize,
    /// Nothing was taken out.
    whole: bool,
}

fn is_taken_out(nal_type: u8) -> bool {
    matches!(nal_type, h264::NAL_SPS | h264::NAL_PPS | h264::NAL_ACCESS_UNIT_DELIMITER)
}

impl Scan {
    fn of(data: &[u8], length_size: u8) -> Result<Self, h264::H264Error> {
        let mut scan = Scan { keyframe: false, picture: false, parameter_sets: false, kept_bytes: 0, whole: true };
        for nal in h264::nals_length_prefixed(data, length_size) {
            let nal = nal?;
            let nal_type = h264::nal_type(nal);
            scan.keyframe |= nal_type == h264::NAL_IDR;
            scan.picture |= (h264::NAL_SLICE..=h264::NAL_IDR).contains(&nal_type);
            scan.parameter_sets |= matches!(nal_type, h264::NAL_SPS | h264::NAL_PPS);
            if is_taken_out(nal_type) {
                scan.whole = false;
            } else {
                scan.kept_bytes += usize::from(OUTPUT_LENGTH_SIZE) + nal.len();
            }
        }
        // Empty units, which the iterator leaves out, must go too.
        scan.whole &= length_size != OUTPUT_LENGTH_SIZE || scan.kept_bytes == data.len();
        Ok(scan)
    }

    fn passes_as_it_is(&self, length_size: u8) -> bool {
        self.whole && length_size == OUTPUT_LENGTH_SIZE
    }
}

fn repack(data: &[u8], length_size: u8, kept_bytes: usize) -> Result<Bytes, h264::H264Error> {
    let mut out = BytesMut::with_capacity(kept_bytes);
    for nal in h264::nals_length_prefixed(data, length_size) {
        let nal = nal?;
        if !is_taken_out(h264::nal_type(nal)) {
            out.put_u32(u32::try_from(nal.len()).map_err(|_| h264::H264Error::TooLarge)?);
            out.put_slice(nal);
        }
    }
    Ok(out.freeze())
}

/// Why a tag yields nothing.
enum Trouble {
    /// This message is damaged; the next may be good.
    Skip(String),
    /// Nothing that this publisher sends can be used.
    Reject(Rejected),
}

impl From<FlvError> for Trouble {
    fn from(error: FlvError) -> Self {
        if error.is_unsupported() { Trouble::Reject(Rejected::Codec(error)) } else { Trouble::Skip(error.to_string()) }
    }
}

impl From<h264::H264Error> for Trouble {
    fn from(error: h264::H264Error) -> Self {
        Trouble::Skip(error.to_string())
    }
}

impl From<Rejected> for Trouble {
    fn from(rejected: Rejected) -> Self {
        Trouble::Reject(rejected)
    }
}

#[cfg(test)]
#[path = "demux_tests.rs"]
mod tests;
