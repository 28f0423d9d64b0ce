//! The open segment: collects samples into parts and lets each part out as it becomes whole.

use std::sync::Arc;

use super::part::PartRule;
use super::samples::TimedSample;
use crate::media::segment::{Part, RenditionId, SegmentEnd, SegmentStart};
use crate::media::{Output, Span, Timestamp, Track};
use crate::wire::fmp4::{ChunkError, ChunkHead, Sample, write_chunk};

/// A segment that has begun and has not ended.
#[derive(Debug)]
pub(super) struct OpenSegment {
    rendition: RenditionId,
    msn: u64,
    epoch: u32,
    timescale: u32,
    rule: PartRule,
    /// Samples of the part that is being filled.
    samples: Vec<Sample>,
    /// Decode time of the first of them.
    part_decode_time: u64,
    /// Sum of their durations.
    part_units: u64,
    /// Shortest of their durations.
    shortest_units: u64,
    /// Parts that are out, and the sum of their durations.
    parts: u32,
    parts_units: u64,
}

impl OpenSegment {
    pub(super) fn new(start: &SegmentStart, track: &Arc<Track>, part_target: Span) -> Self {
        OpenSegment {
            rendition: start.rendition,
            msn: start.msn,
            epoch: start.epoch,
            timescale: track.timescale(),
            rule: PartRule::new(part_target, track.timescale()),
            samples: Vec::new(),
            part_decode_time: 0,
            part_units: 0,
            shortest_units: u64::MAX,
            parts: 0,
            parts_units: 0,
        }
    }

    pub(super) fn msn(&self) -> u64 {
        self.msn
    }

    /// Units per second of its samples: those of the track that it was opened with.
    pub(super) fn timescale(&self) -> u32 {
        self.timescale
    }

    /// Appends a sample; lets out the part that it ends. `sequence` is the rendition's count of parts.
    pub(super) fn push(
        &mut self,
        timed: TimedSample,
        sequence: &mut u32,
        out: &mut Vec<Output>,
    ) -> Result<(), ChunkError> {
        let duration = u64::from(timed.sample.duration);
        if self.rule.ends_before(self.part_units, duration) {
            self.end_part(sequence, out)?;
        }
        if self.samples.is_empty() {
            self.part_decode_time = timed.decode_time;
        }
        self.samples.push(timed.sample);
        self.part_units += duration;
        self.shortest_units = self.shortest_units.min(duration);
        if self.rule.ends_after(self.part_units, self.shortest_units) {
            self.end_part(sequence, out)?;
        }
        Ok(())
    }

    fn end_part(&mut self, sequence: &mut u32, out: &mut Vec<Output>) -> Result<(), ChunkError> {
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else { return Ok(()) };
        let independent = first.keyframe;
        // Counted from 1; 2^32 parts of a third of a second are 45 years.
        *sequence = sequence.wrapping_add(1);
        let head =
            ChunkHead { sequence: *sequence, base_decode_time: self.part_decode_time, segment_start: self.parts == 0 };
        out.push(Output::Part(Part {
            rendition: self.rendition,
            msn: self.msn,
            epoch: self.epoch,
            index: self.parts,
            samples: u32::try_from(self.samples.len()).unwrap_or(u32::MAX),
            duration: self.span(self.part_units),
            last_pts: self.last_pts(last),
            independent,
            bytes: write_chunk(&head, &self.samples)?,
        }));
        self.samples.clear();
        self.parts += 1;
        self.parts_units += self.part_units;
        self.part_units = 0;
        self.shortest_units = u64::MAX;
        Ok(())
    }

    /// Lets out the last part and the segment's end.
    pub(super) fn end(mut self, sequence: &mut u32, out: &mut Vec<Output>) -> Result<(), ChunkError> {
        self.end_part(sequence, out)?;
        let duration = self.span(self.parts_units);
        out.push(Output::Close(SegmentEnd { rendition: self.rendition, msn: self.msn, duration }));
        Ok(())
    }

    /// When `last`, the last sample of the part that is being filled, is shown.
    fn last_pts(&self, last: &Sample) -> Timestamp {
        let decoded = (self.part_decode_time + self.part_units).saturating_sub(u64::from(last.duration));
        let shown = decoded.saturating_add_signed(i64::from(last.composition_offset));
        Timestamp::from_units(i64::try_from(shown).unwrap_or(i64::MAX), self.timescale)
    }

    fn span(&self, units: u64) -> Span {
        Span::from_units(i64::try_from(units).unwrap_or(i64::MAX), self.timescale)
    }
}
