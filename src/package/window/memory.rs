//! The bytes of the newest segments of one rendition.
//!
//! Bounded in media time: the oldest segment goes when those behind it last as long as the horizon. What is older is read from the
//! spool or the store.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::media::Span;
use crate::media::segment::SegmentStart;

#[derive(Debug)]
pub(super) struct Memory {
    horizon: Span,
    /// By MSN, rising.
    segments: VecDeque<SegmentBytes>,
    /// Durations of the closed ones.
    held: Span,
    bytes: usize,
}

#[derive(Debug)]
struct SegmentBytes {
    msn: u64,
    epoch: u32,
    init: u32,
    /// `None` while the segment is open.
    duration: Option<Span>,
    parts: Vec<Bytes>,
}

impl Memory {
    pub(super) fn new(horizon: Span) -> Self {
        Memory { horizon, segments: VecDeque::new(), held: Span::ZERO, bytes: 0 }
    }

    /// Bytes of all parts.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lowest number of the init segments that the segments here need.
    pub(super) fn oldest_init(&self) -> Option<u32> {
        self.segments.front().map(|segment| segment.init)
    }

    pub(super) fn open(&mut self, start: &SegmentStart) {
        let SegmentStart { msn, epoch, init, .. } = *start;
        self.segments.push_back(SegmentBytes { msn, epoch, init, duration: None, parts: Vec::new() });
    }

    pub(super) fn push(&mut self, part: Bytes) {
        if let Some(open) = self.segments.back_mut() {
            self.bytes += part.len();
            open.parts.push(part);
        }
    }

    pub(super) fn close(&mut self, duration: Span) {
        if let Some(open) = self.segments.back_mut() {
            open.duration = Some(duration);
            self.held += duration;
        }
        while let Some(oldest) = self.segments.front()
            && let Some(length) = oldest.duration
            && self.held - length >= self.horizon
        {
            self.held -= length;
            self.bytes -= oldest.parts.iter().map(Bytes::len).sum::<usize>();
            self.segments.pop_front();
        }
    }

    fn find(&self, epoch: u32, msn: u64) -> Option<&SegmentBytes> {
        let index = self.segments.partition_point(|segment| segment.msn < msn);
        self.segments.get(index).filter(|segment| segment.msn == msn && segment.epoch == epoch)
    }

    /// The parts of a closed segment that has any.
    pub(super) fn segment(&self, epoch: u32, msn: u64) -> Option<Vec<Bytes>> {
        let found = self.find(epoch, msn)?;
        (found.duration.is_some() && !found.parts.is_empty()).then(|| found.parts.clone())
    }

    /// One part of a segment, which may be open.
    pub(super) fn part(&self, epoch: u32, msn: u64, part: u32) -> Option<Bytes> {
        self.find(epoch, msn)?.parts.get(part as usize).cloned()
    }
}
