//! The kinds of journal record and how their bodies lie in bytes. Reader and writer stand side by side.

use std::sync::Arc;

use super::format::{PART_KIND, RECORD_HEADER_BYTES, RecordHeader};
use super::wire::{Fields, Put};
use crate::media::naming::MediaName;
use crate::media::segment::{
    Init, Joined, PartEntry, Rendition, RenditionId, Renditions, Segment, SegmentEnd, SegmentStart,
};
use crate::media::{AudioCodec, AudioTrack, Kind, Part, Span, Timestamp, Track, VideoCodec, VideoTrack, WallTime};
use crate::store::session::{Finish, ResumePoint, SessionHead};

/// A body that its kind cannot have: its fields do not fill it, or say what no daemon writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a journal record whose body does not fit its kind")]
pub(crate) struct Malformed;

/// One fact of a session.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// First in each file: whose journal this is.
    Head(Head),
    /// Part of a snapshot: a rendition's counters. What stands in the catalog before `first_msn` is forgotten.
    Counters(Counters),
    /// A new configuration.
    Init(Init),
    /// A segment begins.
    Open(SegmentStart),
    /// A part; its payload lies behind this in the file.
    Part(PartHead),
    /// A segment is whole.
    Close(SegmentEnd),
    /// From where a session may be resumed.
    Checkpoint(ResumePoint),
    /// A rendition is over.
    End(RenditionId),
    /// The writer left in order.
    Finish(Finish, WallTime),
    /// The object is in the store.
    Stored(RenditionId, MediaName),
    /// The object is no longer in the store.
    Deleted(RenditionId, MediaName),
    /// Part of a snapshot: a segment from an earlier file.
    Known(Known),
    /// Renditions join the session. Later files have them in their head.
    Join(Joined),
    /// Part of a snapshot: numbers that a power cut made a rendition leave out.
    Jump(Jump),
}

/// Whose journal a file belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The session.
    pub session: SessionHead,
    /// [`crate::store::Files::boot_id`] when the file was begun.
    pub boot: String,
}

/// A rendition's counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    /// The rendition.
    pub rendition: RenditionId,
    /// Lowest MSN that the snapshot names, or `next_msn` if it names none.
    pub first_msn: u64,
    /// One more than the highest MSN opened.
    pub next_msn: u64,
    /// One more than the highest init number.
    pub next_init: u32,
    /// Discontinuities of segments that are no longer known.
    pub discontinuities_gone: u64,
    /// ENDLIST.
    pub ended: bool,
}

/// Numbers that a rendition left out behind a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jump {
    /// The rendition.
    pub rendition: RenditionId,
    /// MSN from which on it goes on.
    pub msn: u64,
    /// Discontinuities that are counted before that one, for what may have been published and lost.
    pub discontinuities: u64,
}

/// A part without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartHead {
    /// The rendition.
    pub rendition: RenditionId,
    /// MSN of its segment.
    pub msn: u64,
    /// Epoch of its segment.
    pub epoch: u32,
    /// Index within the segment.
    pub index: u32,
    /// As playlists list it.
    pub entry: PartEntry,
}

impl From<&Part> for PartHead {
    fn from(part: &Part) -> Self {
        PartHead {
            rendition: part.rendition,
            msn: part.msn,
            epoch: part.epoch,
            index: part.index,
            entry: PartEntry { duration: part.duration, independent: part.independent, size: part.bytes.len() },
        }
    }
}

/// A segment as a snapshot carries it from file to file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The rendition.
    pub rendition: RenditionId,
    /// Its entry.
    pub segment: Segment,
    /// Presentation time of its cut.
    pub at: Timestamp,
    /// Where its bytes are.
    pub placement: Placement,
}

/// Where a segment's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// It is still growing in the journal.
    Open,
    /// It is whole in the journal and waits to be uploaded.
    Spooled,
    /// It is in the object store, and perhaps still in the journal.
    Stored,
    /// Its bytes were lost or refused before they were stored: EXT-X-GAP in stored playlists.
    Lost,
    /// It never had bytes: EXT-X-GAP everywhere.
    Gap,
}

impl Placement {
    /// Whether a stored playlist may list the segment, its init being there.
    pub fn is_settled(self) -> bool {
        matches!(self, Placement::Stored | Placement::Lost | Placement::Gap)
    }
}

/// Bytes of a part's body before its payload.
pub(crate) const PART_HEAD_BYTES: usize = 26;

impl Record {
    fn kind(&self) -> u8 {
        match self {
            Record::Head(_) => 1,
            Record::Counters(_) => 2,
            Record::Init(_) => 3,
            Record::Open(_) => 4,
            Record::Part(_) => PART_KIND,
            Record::Close(_) => 6,
            Record::Checkpoint(_) => 7,
            Record::End(_) => 8,
            Record::Finish(..) => 9,
            Record::Stored(..) => 10,
            Record::Deleted(..) => 11,
            Record::Known(_) => 12,
            Record::Join(_) => 13,
            Record::Jump(_) => 14,
        }
    }

    /// Appends the whole record, for every kind but [`Record::Part`], whose payload is not here: see [`part_frame`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
        self.put_body(out);
        let body = start + RECORD_HEADER_BYTES;
        let header = RecordHeader::of(self.kind(), &[], &out[body..]).encode();
        out[start..body].copy_from_slice(&header);
    }

    fn put_body(&self, out: &mut Vec<u8>) {
        match self {
            Record::Head(head) => put_head(out, head),
            Record::Counters(counters) => {
                out.u8(counters.rendition.0);
                out.u64(counters.first_msn);
                out.u64(counters.next_msn);
                out.u32(counters.next_init);
                out.u64(counters.discontinuities_gone);
                out.bool(counters.ended);
            }
            Record::Init(init) => {
                out.u8(init.rendition.0);
                out.u32(init.number);
                put_track(out, &init.track);
                out.bytes(&init.bytes);
            }
            Record::Open(start) => put_start(out, start),
            Record::Part(head) => put_part_head(out, head),
            Record::Close(end) => {
                out.u8(end.rendition.0);
                out.u64(end.msn);
                out.span(end.duration);
            }
            Record::Checkpoint(point) => {
                out.timestamp(point.timeline_at);
                out.u64(point.next_msn);
                out.timestamp(point.anchor.0);
                out.wall(point.anchor.1);
            }
            Record::End(rendition) => out.u8(rendition.0),
            Record::Finish(how, at) => {
                out.u8(match how {
                    Finish::Suspended => 0,
                    Finish::Ended => 1,
                });
                out.wall(*at);
            }
            Record::Stored(rendition, name) | Record::Deleted(rendition, name) => put_object(out, *rendition, *name),
            Record::Known(known) => put_known(out, known),
            Record::Join(joined) => {
                out.u8(joined.first.0);
                out.u64(joined.discontinuities);
                put_renditions(out, &joined.renditions);
            }
            Record::Jump(jump) => {
                out.u8(jump.rendition.0);
                out.u64(jump.msn);
                out.u64(jump.discontinuities);
            }
        }
    }

    /// The record of a body; for a part, of the [`PART_HEAD_BYTES`] in front of its payload.
    ///
    /// # Errors
    /// The kind is unknown, or the body is not one of its kind.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Record, Malformed> {
        let mut fields = Fields(body);
        let from = &mut fields;
        let record = match kind {
            1 => Record::Head(take_head(from)?),
            2 => Record::Counters(Counters {
                rendition: RenditionId(from.u8()?),
                first_msn: from.u64()?,
                next_msn: from.u64()?,
                next_init: from.u32()?,
                discontinuities_gone: from.u64()?,
                ended: from.bool()?,
            }),
            3 => Record::Init(Init {
                rendition: RenditionId(from.u8()?),
                number: from.u32()?,
                track: Arc::new(take_track(from)?),
                bytes: from.bytes()?,
            }),
            4 => Record::Open(take_start(from)?),
            PART_KIND => Record::Part(take_part_head(from)?),
            6 => Record::Close(SegmentEnd {
                rendition: RenditionId(from.u8()?),
                msn: from.u64()?,
                duration: from.duration()?,
            }),
            7 => Record::Checkpoint(ResumePoint {
                timeline_at: from.timestamp()?,
                next_msn: from.u64()?,
                anchor: (from.timestamp()?, from.wall()?),
            }),
            8 => Record::End(RenditionId(from.u8()?)),
            9 => {
                let how = if from.bool()? { Finish::Ended } else { Finish::Suspended };
                Record::Finish(how, from.wall()?)
            }
            10 => take_object(from).map(|(rendition, name)| Record::Stored(rendition, name))?,
            11 => take_object(from).map(|(rendition, name)| Record::Deleted(rendition, name))?,
            12 => Record::Known(take_known(from)?),
            13 => {
                let (first, discontinuities) = (RenditionId(from.u8()?), from.u64()?);
                Record::Join(Joined { first, discontinuities, renditions: take_renditions(from)? })
            }
            14 => Record::Jump(Jump {
                rendition: RenditionId(from.u8()?),
                msn: from.u64()?,
                discontinuities: from.u64()?,
            }),
            _ => return Err(Malformed),
        };
        fields.end()?;
        Ok(record)
    }
}

/// A part's record up to its payload, which is written behind it as it is.
pub(crate) fn part_frame(part: &Part, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
    put_part_head(out, &PartHead::from(part));
    let header = RecordHeader::of(PART_KIND, &out[RECORD_HEADER_BYTES..], &part.bytes).encode();
    out[..RECORD_HEADER_BYTES].copy_from_slice(&header);
}

fn put_part_head(out: &mut Vec<u8>, head: &PartHead) {
    out.u8(head.rendition.0);
    out.u64(head.msn);
    out.u32(head.epoch);
    out.u32(head.index);
    out.span(head.entry.duration);
    out.bool(head.entry.independent);
}

/// The payload's size is the record's length less this head; the reader of the frame fills it in.
fn take_part_head(from: &mut Fields<'_>) -> Result<PartHead, Malformed> {
    Ok(PartHead {
        rendition: RenditionId(from.u8()?),
        msn: from.u64()?,
        epoch: from.u32()?,
        index: from.u32()?,
        entry: PartEntry { duration: from.duration()?, independent: from.bool()?, size: 0 },
    })
}

fn put_head(out: &mut Vec<u8>, head: &Head) {
    let session = &head.session;
    out.text(&session.stream);
    out.text(&session.session);
    out.u32(session.epoch);
    out.span(session.segment_target);
    out.span(session.part_target);
    out.text(&head.boot);
    put_renditions(out, &session.renditions);
}

fn put_renditions(out: &mut Vec<u8>, renditions: &Renditions) {
    out.u8(renditions.len() as u8); // a RenditionId is a u8
    for rendition in renditions.iter() {
        out.text(&rendition.name);
        put_kind(out, rendition.kind);
        out.bool(rendition.copied);
        out.u64(rendition.bandwidth);
        out.fraction(rendition.frame_rate);
    }
}

fn take_head(from: &mut Fields<'_>) -> Result<Head, Malformed> {
    let (stream, session, epoch) = (from.text()?, from.text()?, from.u32()?);
    let (segment_target, part_target, boot) = (from.span()?, from.span()?, from.text()?);
    let renditions = take_renditions(from)?;
    let session = SessionHead { stream, session, epoch, renditions, segment_target, part_target };
    session.check().map_err(|_| Malformed)?;
    Ok(Head { session, boot })
}

fn take_renditions(from: &mut Fields<'_>) -> Result<Renditions, Malformed> {
    let mut renditions = Vec::new();
    for _ in 0..from.u8()? {
        renditions.push(Rendition {
            name: from.text()?,
            kind: take_kind(from)?,
            copied: from.bool()?,
            bandwidth: from.u64()?,
            frame_rate: from.fraction()?,
        });
    }
    Ok(renditions.into())
}

fn put_kind(out: &mut Vec<u8>, kind: Kind) {
    out.u8(match kind {
        Kind::Video => 0,
        Kind::Audio => 1,
    });
}

fn take_kind(from: &mut Fields<'_>) -> Result<Kind, Malformed> {
    Ok(if from.bool()? { Kind::Audio } else { Kind::Video })
}

fn put_start(out: &mut Vec<u8>, start: &SegmentStart) {
    out.u8(start.rendition.0);
    out.u64(start.msn);
    out.u32(start.epoch);
    out.timestamp(start.at);
    out.wall(start.wall);
    out.bool(start.discontinuity);
    out.bool(start.gap);
    out.u32(start.init);
}

fn take_start(from: &mut Fields<'_>) -> Result<SegmentStart, Malformed> {
    Ok(SegmentStart {
        rendition: RenditionId(from.u8()?),
        msn: from.u64()?,
        epoch: from.u32()?,
        at: from.timestamp()?,
        wall: from.wall()?,
        discontinuity: from.bool()?,
        gap: from.bool()?,
        init: from.u32()?,
    })
}

fn put_object(out: &mut Vec<u8>, rendition: RenditionId, name: MediaName) {
    out.u8(rendition.0);
    match name {
        MediaName::Init { number } => {
            out.u8(0);
            out.u32(number);
        }
        MediaName::Segment { epoch, msn } | MediaName::Part { epoch, msn, .. } => {
            out.u8(1);
            out.u32(epoch);
            out.u64(msn);
        }
    }
}

fn take_object(from: &mut Fields<'_>) -> Result<(RenditionId, MediaName), Malformed> {
    let rendition = RenditionId(from.u8()?);
    let name = match from.u8()? {
        0 => MediaName::Init { number: from.u32()? },
        1 => MediaName::Segment { epoch: from.u32()?, msn: from.u64()? },
        _ => return Err(Malformed),
    };
    Ok((rendition, name))
}

fn put_known(out: &mut Vec<u8>, known: &Known) {
    let segment = &known.segment;
    put_start(
        out,
        &SegmentStart {
            rendition: known.rendition,
            msn: segment.msn,
            epoch: segment.epoch,
            at: known.at,
            wall: segment.wall,
            discontinuity: segment.discontinuity,
            gap: segment.gap,
            init: segment.init,
        },
    );
    out.bool(segment.duration.is_some());
    out.span(segment.duration.unwrap_or(Span::ZERO));
    out.u8(match known.placement {
        Placement::Open => 0,
        Placement::Spooled => 1,
        Placement::Stored => 2,
        Placement::Lost => 3,
        Placement::Gap => 4,
    });
    out.u16(segment.parts.len() as u16); // the catalog holds a segment to MAX_PARTS
    for part in &segment.parts {
        out.span(part.duration);
        out.bool(part.independent);
        out.u32(part.size as u32); // a part is held to MAX_PART_BODY_BYTES
    }
}

fn take_known(from: &mut Fields<'_>) -> Result<Known, Malformed> {
    let start = take_start(from)?;
    let mut segment = Segment::open(&start);
    let (closed, duration) = (from.bool()?, from.duration()?);
    segment.duration = closed.then_some(duration);
    let placement = match from.u8()? {
        0 => Placement::Open,
        1 => Placement::Spooled,
        2 => Placement::Stored,
        3 => Placement::Lost,
        4 => Placement::Gap,
        _ => return Err(Malformed),
    };
    if closed == (placement == Placement::Open) {
        return Err(Malformed); // a segment has a duration from its end on
    }
    for _ in 0..from.u16()? {
        let (duration, independent) = (from.duration()?, from.bool()?);
        segment.parts.push(PartEntry { duration, independent, size: from.u32()? as usize });
    }
    Ok(Known { rendition: start.rendition, segment, at: start.at, placement })
}

fn put_track(out: &mut Vec<u8>, track: &Track) {
    put_kind(out, track.kind());
    match track {
        Track::Video(video) => {
            out.bytes(&video.config);
            out.text(&video.codecs);
            out.u32(video.width);
            out.u32(video.height);
            out.u32(video.sample_aspect.0);
            out.u32(video.sample_aspect.1);
            out.fraction(video.frame_rate);
            out.bool(video.plain);
        }
        Track::Audio(audio) => {
            out.bytes(&audio.config);
            out.text(&audio.codecs);
            out.u32(audio.sample_rate);
            out.u16(audio.channels);
            out.u32(audio.samples_per_frame);
        }
    }
}

fn take_track(from: &mut Fields<'_>) -> Result<Track, Malformed> {
    Ok(match take_kind(from)? {
        Kind::Video => {
            let (config, codecs) = (from.bytes()?, from.text()?);
            Track::Video(VideoTrack {
                codec: VideoCodec::of(&codecs).ok_or(Malformed)?,
                config,
                codecs,
                width: from.u32()?,
                height: from.u32()?,
                sample_aspect: (from.u32()?, from.u32()?),
                frame_rate: from.fraction()?,
                plain: from.bool()?,
            })
        }
        Kind::Audio => {
            let (config, codecs) = (from.bytes()?, from.text()?);
            Track::Audio(AudioTrack {
                codec: AudioCodec::of(&codecs).ok_or(Malformed)?,
                config,
                codecs,
                sample_rate: from.u32()?,
                channels: from.u16()?,
                samples_per_frame: from.u32()?,
            })
        }
    })
}

#[cfg(test)]
mod tests;
