//! Frames of sound out of the payloads of PES packets, which may end anywhere in a frame.
//!
//! At the beginning and behind a loss, a header is believed when the frame is followed by another one like it, or ends with its PES
//! packet. From then on each frame begins where the one before ended.

use bytes::{Bytes, BytesMut};

use crate::media::codec::aac::latm::{LatmError, LatmReader};
use crate::media::codec::aac::{adts, latm, track_from_config};
use crate::media::codec::{ac3, mpeg_audio};
use crate::media::{AudioTrack, Kind};

use super::lane::Sink;
use super::{Event, TsError, Unit, opus};

/// Most different reasons that are told of one stream.
const MAX_TOLD: usize = 8;

/// How frames of sound lie in their stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Adts,
    Loas,
    MpegAudio,
    /// AC-3 and E-AC-3.
    Ac3,
    /// With the channel configuration of its descriptor.
    Opus(u8),
}

/// What the header of a frame says of the track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Adts {
        config: [u8; 2],
        blocks: u8,
    },
    /// The element says it, not its header.
    Loas,
    MpegAudio(mpeg_audio::Format),
    Ac3(ac3::Format),
    Opus {
        channels: u8,
    },
}

/// A frame's header.
#[derive(Clone, Copy, Debug)]
struct Head {
    format: Format,
    /// Bytes of the whole frame, at least one.
    bytes: usize,
    /// Bytes in front that are not handed on.
    skip: usize,
    samples: u32,
    /// Belongs to the frame before.
    continues: bool,
}

enum Peek {
    Head(Head),
    /// It may become one when more bytes come.
    More,
    None,
}

/// A whole frame that others may belong to.
struct Pending {
    start: usize,
    end: usize,
    clock: Clock,
}

/// The stamp that was sent, and the samples since the frame it was sent for.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    pts: Option<u64>,
    samples: u64,
}

/// Takes frames out of one stream.
#[derive(Debug)]
pub(super) struct Framer {
    framing: Framing,
    /// The beginning of a frame whose end has not come.
    carry: BytesMut,
    synced: bool,
    /// Of the next frame.
    clock: Clock,
    format: Option<Format>,
    track: Option<AudioTrack>,
    /// Whether frames of `format` are handed on.
    accepts: bool,
    latm: LatmReader,
    told: Vec<TsError>,
}

impl Framer {
    pub(super) fn new(framing: Framing) -> Self {
        Framer {
            framing,
            carry: BytesMut::new(),
            synced: false,
            clock: Clock::default(),
            format: None,
            track: None,
            accepts: false,
            latm: LatmReader::default(),
            told: Vec::new(),
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.carry.len()
    }

    /// Something is missing here.
    pub(super) fn interrupt(&mut self) {
        self.carry.clear();
        self.synced = false;
        self.clock = Clock::default();
    }

    /// Takes the payload of a PES packet and the stamp of the first frame that begins in it.
    pub(super) fn push(&mut self, payload: Bytes, pts: Option<u64>, sink: &mut Sink<'_>) {
        let carried = self.carry.len();
        let bytes = if carried == 0 {
            payload
        } else {
            self.carry.extend_from_slice(&payload);
            self.carry.split().freeze()
        };
        let mut stamp = pts;
        let mut pending: Option<Pending> = None;
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let head = match self.look(rest) {
                Peek::Head(head) => head,
                Peek::More => break,
                Peek::None => {
                    if std::mem::take(&mut self.synced) {
                        self.hand_on(&bytes, &mut pending, sink);
                        sink.counts.damaged_frames += 1;
                        sink.marks.lost = true;
                    }
                    at += 1;
                    continue;
                }
            };
            if rest.len() < head.bytes {
                break;
            }
            self.synced = true;
            let end = at + head.bytes;
            if head.continues {
                if let Some(pending) = &mut pending {
                    pending.end = end;
                }
            } else {
                self.hand_on(&bytes, &mut pending, sink);
                self.stamp(at >= carried, &mut stamp);
                if self.framing == Framing::Loas {
                    self.element(&rest[latm::LOAS_HEADER_BYTES..head.bytes], sink);
                } else {
                    self.adopt(head, sink);
                    pending = Some(Pending { start: at + head.skip, end, clock: self.clock });
                    self.clock.samples += u64::from(head.samples);
                }
            }
            at = end;
        }
        self.hand_on(&bytes, &mut pending, sink);
        if at < bytes.len() {
            self.stamp(at >= carried, &mut stamp);
            self.carry.extend_from_slice(&bytes[at..]);
        }
    }

    /// A frame begins: the stamp of its PES packet is for the first one.
    fn stamp(&mut self, begins_here: bool, stamp: &mut Option<u64>) {
        if let Some(pts) = stamp.take_if(|_| begins_here) {
            self.clock = Clock { pts: Some(pts), samples: 0 };
        }
    }

    /// The header at the beginning of `bytes`, if it can be believed.
    fn look(&self, bytes: &[u8]) -> Peek {
        let head = match self.peek(bytes) {
            Peek::Head(head) if !self.synced => head,
            told => return told,
        };
        match bytes.get(head.bytes..) {
            Some([]) => Peek::Head(head),
            None => Peek::More,
            Some(behind) => match self.peek(behind) {
                Peek::Head(next) if next.format == head.format || next.continues => Peek::Head(head),
                Peek::More => Peek::More,
                _ => Peek::None,
            },
        }
    }

    fn peek(&self, bytes: &[u8]) -> Peek {
        let (first_byte, header_bytes) = match self.framing {
            Framing::Adts => (0xff, adts::HEADER_BYTES),
            Framing::Loas => (0x56, latm::LOAS_HEADER_BYTES),
            Framing::MpegAudio => (0xff, mpeg_audio::HEADER_BYTES),
            Framing::Ac3 => (0x0b, ac3::HEADER_BYTES),
            Framing::Opus(_) => (opus::FIRST_BYTE, 0), // access units do not leave their PES packet
        };
        match bytes.first() {
            Some(first) if *first != first_byte => Peek::None,
            _ if bytes.len() < header_bytes => Peek::More,
            _ => self.head(bytes).map_or(Peek::None, Peek::Head),
        }
    }

    fn head(&self, bytes: &[u8]) -> Option<Head> {
        let plain = |format, bytes, samples| Head { format, bytes, skip: 0, samples, continues: false };
        Some(match self.framing {
            Framing::Adts => {
                let header = adts::parse(bytes)?;
                let format = Format::Adts { config: header.config, blocks: header.blocks };
                Head { skip: header.header_bytes, ..plain(format, header.frame_bytes, adts::SAMPLES_PER_BLOCK) }
            }
            Framing::Loas => plain(Format::Loas, latm::LOAS_HEADER_BYTES + latm::loas_length(bytes)?, 0),
            Framing::MpegAudio => {
                let header = mpeg_audio::parse(bytes)?;
                plain(Format::MpegAudio(header.format), header.frame_bytes, header.format.samples_per_frame())
            }
            Framing::Ac3 => {
                let header = ac3::parse(bytes)?;
                let samples = header.format.samples_per_frame;
                Head { continues: header.continues, ..plain(Format::Ac3(header.format), header.frame_bytes, samples) }
            }
            Framing::Opus(channels) => {
                let unit = opus::parse(bytes)?;
                let whole = unit.header_bytes + unit.packet_bytes;
                Head { skip: unit.header_bytes, ..plain(Format::Opus { channels }, whole, unit.samples) }
            }
        })
    }

    /// Makes a frame's format the one in force.
    fn adopt(&mut self, head: Head, sink: &mut Sink<'_>) {
        if self.format == Some(head.format) {
            return;
        }
        self.format = Some(head.format);
        let track = match head.format {
            Format::Adts { blocks, .. } if blocks > 1 => Err(TsError::AdtsBlocks(blocks)),
            Format::Adts { config, .. } => track_from_config(Bytes::copy_from_slice(&config)).map_err(TsError::Aac),
            Format::Loas => return,
            Format::MpegAudio(format) => Ok(format.track()),
            Format::Ac3(format) => Ok(format.track()),
            Format::Opus { channels } => opus::track(channels, head.samples).ok_or(TsError::OpusChannels(channels)),
        };
        self.configure(track, sink);
    }

    fn configure(&mut self, track: Result<AudioTrack, TsError>, sink: &mut Sink<'_>) {
        self.accepts = track.is_ok();
        match track {
            Ok(track) if self.track.as_ref() != Some(&track) => {
                self.track = Some(track.clone());
                sink.out.push(Event::AudioConfig(track));
            }
            Ok(_) => {}
            Err(error) => self.refuse(error, sink),
        }
    }

    fn refuse(&mut self, error: TsError, sink: &mut Sink<'_>) {
        if self.told.len() < MAX_TOLD && !self.told.contains(&error) {
            self.told.push(error.clone());
            sink.out.push(Event::Refused(error));
        }
    }

    /// Takes an AudioMuxElement of LATM.
    fn element(&mut self, element: &[u8], sink: &mut Sink<'_>) {
        let frames = match self.latm.read(element) {
            Ok(frames) => frames,
            Err(LatmError::Truncated) => {
                sink.counts.damaged_frames += 1;
                sink.marks.lost = true;
                return;
            }
            Err(error) => return self.refuse(error.into(), sink),
        };
        let Some(config) = self.latm.config() else { return };
        if self.track.as_ref().is_none_or(|track| track.config != *config) {
            self.configure(track_from_config(config.clone()).map_err(TsError::Aac), sink);
        }
        let Some(samples) = self.track.as_ref().map(|track| track.samples_per_frame) else { return };
        for frame in frames {
            let clock = self.clock;
            self.clock.samples += u64::from(samples);
            self.unit(frame, clock, sink);
        }
    }

    fn hand_on(&self, bytes: &Bytes, pending: &mut Option<Pending>, sink: &mut Sink<'_>) {
        if let Some(Pending { start, end, clock }) = pending.take() {
            self.unit(bytes.slice(start..end), clock, sink);
        }
    }

    fn unit(&self, data: Bytes, clock: Clock, sink: &mut Sink<'_>) {
        if !self.accepts || data.is_empty() {
            return;
        }
        sink.unit(Unit {
            kind: Kind::Audio,
            pts: clock.pts,
            dts: None,
            samples_after: clock.samples,
            random_access: true,
            lost_before: false,
            jump_before: false,
            data,
        });
    }
}
