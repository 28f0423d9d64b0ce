//! What is known of a session: its renditions, segments and inits, and where their bytes are. No IO, no clock.
//!
//! The catalog is built by the outputs of packaging while a session runs, and by the records of its journal at start: the
//! same methods, so that both lead to the same. It is the one source of stored playlists, uploads, deletions and reads.
//!
//! | module | holds |
//! |---|---|
//! | here | applying outputs and records |
//! | [`listing`] | what a stored playlist lists, and which objects are due to be deleted |
//! | [`settle`] | closing what an unclean end left open, and where a session may be resumed |
//! | [`shared`] | the catalog behind its lock: snapshots for the journal, answers for the spool |

pub(crate) mod listing;
pub(crate) mod settle;
pub(crate) mod shared;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::journal::Record;
use super::journal::record::{Counters, Known, PartHead, Placement};
use super::session::{Finish, ResumePoint, SessionHead};
use super::spool::Extent;
use super::trace::Noted;
use crate::media::naming::MediaName;
use crate::media::segment::{Init, Joined, RenditionId, SegmentEnd, SegmentStart};
use crate::media::{Segment, Span, Timestamp, WallTime};
use crate::wire::hls::describe;

/// Most parts of one segment: a record of a snapshot counts them in 16 bits, and no segment comes near.
const MAX_PARTS: usize = 4_096;

/// A step that does not follow the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disorder {
    pub what: &'static str,
    pub rendition: RenditionId,
    pub number: u64,
}

/// One session.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub head: SessionHead,
    /// By [`RenditionId`].
    pub renditions: Vec<RenditionLog>,
    pub resume: Option<ResumePoint>,
    /// How and when the last writer left in order.
    pub finish: Option<(Finish, WallTime)>,
    /// A record of the journal that is being read was damaged: what follows is looked at twice. Never true while a
    /// session runs.
    pub damaged: bool,
}

/// One rendition.
#[derive(Clone, Debug, Default)]
pub(crate) struct RenditionLog {
    pub inits: BTreeMap<u32, InitEntry>,
    /// By MSN, which may jump after a power cut.
    pub entries: VecDeque<Entry>,
    /// One more than the highest MSN opened.
    pub next_msn: u64,
    /// One more than the highest init number.
    pub next_init: u32,
    /// Discontinuities of segments that were forgotten.
    pub discontinuities_gone: u64,
    /// Where a power cut made the numbers jump, by the first MSN behind it: discontinuities that count as standing before it.
    pub jumps: BTreeMap<u64, u64>,
    /// ENDLIST.
    pub ended: bool,
    /// MSN of the first segment that the stored playlist lists, once there is one.
    pub listed_from: Option<u64>,
    /// The stored playlist has ENDLIST.
    pub listed_end: bool,
    /// Duration of the longest playlist that was stored.
    pub longest_listed: Span,
    /// The most bits per second of a segment that BANDWIDTH speaks of.
    pub peak: u64,
}

/// An init segment. Its bytes are small and stay in memory.
#[derive(Clone, Debug)]
pub(crate) struct InitEntry {
    pub init: Init,
    pub stored: bool,
    /// A deletion is under way.
    pub deleting: bool,
}

/// A segment.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub segment: Segment,
    /// Presentation time of its cut.
    pub at: Timestamp,
    /// Where its parts lie in the spool; `None` for one that is not there. Emptied once nothing of it is there.
    pub extents: Vec<Option<Extent>>,
    pub placement: Placement,
    /// Monotonic time when the stored playlist ceased to list it.
    pub left_at: Option<Duration>,
    /// A deletion is under way.
    pub deleting: bool,
    /// Monotonic time at which its last frame came in, where that is known: not for what an earlier run of the daemon left.
    pub arrived: Option<Duration>,
    /// Payload of its parts while it is new: shared with the window that viewers are served from, and uploaded without reading
    /// the spool. Empty of all but the [`FRESH`] newest, however long uploads take.
    pub fresh: Vec<Bytes>,
    /// What is noted for its trace; `None` unless it is traced.
    pub noted: Option<Box<Noted>>,
}

/// Segments of a rendition whose payload is at hand: the open one, and the one that is being uploaded meanwhile.
const FRESH: usize = 2;

impl Entry {
    fn new(start: &SegmentStart) -> Self {
        let placement = Placement::Open;
        let segment = Segment::open(start);
        let (left_at, deleting, arrived, fresh, noted) = (None, false, None, Vec::new(), None);
        Entry { segment, at: start.at, extents: Vec::new(), placement, left_at, deleting, arrived, fresh, noted }
    }

    /// All parts, if all of them lie in the spool.
    pub fn spooled(&self) -> Option<Vec<Extent>> {
        let whole = !self.extents.is_empty() && self.extents.len() == self.segment.parts.len();
        if whole { self.extents.iter().copied().collect() } else { None }
    }

    /// The payload of all its parts, if it is at hand.
    pub fn at_hand(&self) -> Option<&[Bytes]> {
        let whole = !self.fresh.is_empty() && self.fresh.len() == self.segment.parts.len();
        whole.then_some(&self.fresh[..])
    }

    /// Its EXTINF, zero while it is open.
    pub fn duration(&self) -> Span {
        self.segment.duration.unwrap_or(Span::ZERO)
    }

    fn close(&mut self, duration: Span) -> Placement {
        self.segment.duration = Some(duration);
        self.placement = match (self.segment.gap, self.spooled()) {
            (true, _) => Placement::Gap,
            (false, Some(_)) => Placement::Spooled,
            (false, None) => Placement::Lost,
        };
        self.placement
    }
}

impl Catalog {
    /// A session of which nothing is known but its head.
    pub fn new(head: SessionHead) -> Self {
        let renditions = head.renditions.iter().map(|_| RenditionLog::default()).collect();
        Catalog { head, renditions, resume: None, finish: None, damaged: false }
    }

    /// The rendition, if there is one.
    pub fn rendition(&self, id: RenditionId) -> Option<&RenditionLog> {
        self.renditions.get(usize::from(id.0))
    }

    /// The rendition of this name.
    pub fn rendition_named(&self, name: &str) -> Option<RenditionId> {
        let at = self.head.renditions.iter().position(|rendition| rendition.name == name)?;
        u8::try_from(at).ok().map(RenditionId)
    }

    fn log(&mut self, what: &'static str, rendition: RenditionId, number: u64) -> Result<&mut RenditionLog, Disorder> {
        self.renditions.get_mut(usize::from(rendition.0)).ok_or(Disorder { what, rendition, number })
    }

    /// Applies what was read from a journal; `extent` is a part's payload.
    ///
    /// # Errors
    /// The record does not fit what is known, because one before it was damaged. It is as if it were not there.
    pub fn replay(&mut self, record: Record, extent: Option<Extent>) -> Result<(), Disorder> {
        match record {
            Record::Head(head) => self.begin_again(head.session)?,
            Record::Join(joined) => self.join(&joined)?,
            Record::Counters(counters) => self.counters(&counters)?,
            Record::Init(init) => self.init(init)?,
            Record::Open(start) => {
                if let Some(end) = self.unclosed(&start) {
                    self.replay(Record::Close(end), None)?;
                }
                self.open(&start)?;
            }
            Record::Part(part) => self.part(&part, extent)?,
            Record::Close(end) => {
                if self.damaged && !self.is_whole(&end) {
                    self.log("end of segment", end.rendition, end.msn)?.forget_parts(&end);
                }
                self.close(&end)?;
            }
            Record::Checkpoint(point) => self.resume = Some(point),
            Record::End(rendition) => self.end(rendition)?,
            Record::Finish(how, at) => self.finish = Some((how, at)),
            Record::Stored(rendition, name) => {
                self.stored(rendition, name);
            }
            Record::Deleted(rendition, name) => self.deleted(rendition, name),
            Record::Known(known) => self.known(known)?,
            Record::Jump(jump) => {
                let log = self.log("jump", jump.rendition, jump.msn)?;
                log.jumps.insert(jump.msn, jump.discontinuities);
            }
        }
        Ok(())
    }

    /// Whether this head may follow the one that is known.
    pub fn takes(&self, head: &SessionHead) -> bool {
        head.follows(&self.head)
    }

    /// A file begins, with a head that may say more than is known.
    fn begin_again(&mut self, head: SessionHead) -> Result<(), Disorder> {
        if !self.takes(&head) {
            return Err(Disorder { what: "head", rendition: RenditionId(0), number: u64::from(head.epoch) });
        }
        self.renditions.resize_with(head.renditions.len(), RenditionLog::default);
        self.head = head;
        self.finish = None;
        Ok(())
    }

    /// The end of the open segment, if its record was damaged as the next one's start shows: else that would not be taken, nor
    /// anything behind it.
    fn unclosed(&self, next: &SegmentStart) -> Option<SegmentEnd> {
        let entry = self.rendition(next.rendition).filter(|_| self.damaged)?.entries.back()?;
        let is_open = entry.placement == Placement::Open && entry.segment.msn < next.msn && entry.at < next.at;
        let SegmentStart { rendition, .. } = *next;
        is_open.then(|| SegmentEnd { rendition, msn: entry.segment.msn, duration: next.at - entry.at })
    }

    /// Whether the parts that were read add up to the segment that was written: a damaged record may have held one.
    fn is_whole(&self, end: &SegmentEnd) -> bool {
        /// Parts and segment are rounded apart; a missing frame is more than this.
        const ROUNDING: Span = Span::from_millis(1);
        let entry = self.rendition(end.rendition).and_then(|log| log.entry(end.msn));
        let parts: Span = entry.iter().flat_map(|entry| &entry.segment.parts).map(|part| part.duration).sum();
        (end.duration - parts).abs() <= ROUNDING
    }

    /// A new configuration. One that is known already, from an older file, is left as it is.
    pub fn init(&mut self, init: Init) -> Result<(), Disorder> {
        let log = self.log("init", init.rendition, u64::from(init.number))?;
        log.next_init = log.next_init.max(init.number.saturating_add(1));
        log.inits.entry(init.number).or_insert(InitEntry { init, stored: false, deleting: false });
        Ok(())
    }

    /// Renditions join behind those that are there.
    pub fn join(&mut self, joined: &Joined) -> Result<(), Disorder> {
        let known = self.renditions.len();
        let follows = usize::from(joined.first.0) == known && known == self.head.renditions.len();
        let renditions = self.head.renditions.iter().chain(joined.renditions.iter()).cloned().collect();
        let head = SessionHead { renditions, ..self.head.clone() };
        if !follows || head.check().is_err() {
            return Err(Disorder { what: "joining rendition", rendition: joined.first, number: 0 });
        }
        self.head = head;
        let log = || RenditionLog { discontinuities_gone: joined.discontinuities, ..RenditionLog::default() };
        self.renditions.extend(joined.renditions.iter().map(|_| log()));
        Ok(())
    }

    /// A segment begins.
    pub fn open(&mut self, start: &SegmentStart) -> Result<(), Disorder> {
        let log = self.log("segment", start.rendition, start.msn)?;
        if start.msn < log.next_msn || log.open_entry().is_some() {
            return Err(Disorder { what: "segment", rendition: start.rendition, number: start.msn });
        }
        log.next_msn = start.msn.saturating_add(1);
        log.entries.push_back(Entry::new(start));
        if let Some(old) = log.entries.iter_mut().rev().nth(FRESH) {
            old.fresh = Vec::new();
        }
        Ok(())
    }

    /// The payload of the part that was taken last.
    pub fn keep(&mut self, rendition: RenditionId, payload: Bytes) {
        if let Some(entry) = self.renditions.get_mut(usize::from(rendition.0)).and_then(RenditionLog::open_entry) {
            entry.fresh.push(payload);
        }
    }

    /// A part of the open segment, in the spool at `extent` if it could be written.
    pub fn part(&mut self, part: &PartHead, extent: Option<Extent>) -> Result<(), Disorder> {
        let disorder = Disorder { what: "part of segment", rendition: part.rendition, number: part.msn };
        let entry = self.log(disorder.what, part.rendition, part.msn)?.open_entry().ok_or(disorder)?;
        let next = entry.segment.parts.len();
        if entry.segment.msn != part.msn || usize::try_from(part.index) != Ok(next) || next == MAX_PARTS {
            return Err(disorder);
        }
        entry.segment.parts.push(part.entry.clone());
        entry.extents.push(extent);
        Ok(())
    }

    /// The open segment is whole; tells where it is now.
    pub fn close(&mut self, end: &SegmentEnd) -> Result<Placement, Disorder> {
        let disorder = Disorder { what: "end of segment", rendition: end.rendition, number: end.msn };
        let shortest = describe::shortest_judged(self.head.segment_target);
        let log = self.log(disorder.what, end.rendition, end.msn)?;
        let entry = log.open_entry().filter(|entry| entry.segment.msn == end.msn).ok_or(disorder)?;
        let placement = entry.close(end.duration);
        let rate = entry.segment.bits_per_second(shortest).unwrap_or(0);
        log.peak = log.peak.max(rate);
        Ok(placement)
    }

    /// The rendition is over.
    pub fn end(&mut self, rendition: RenditionId) -> Result<(), Disorder> {
        self.log("end of rendition", rendition, 0)?.ended = true;
        Ok(())
    }

    /// The object is in the store. True when it was a segment that had been given up while it was under way.
    pub fn stored(&mut self, rendition: RenditionId, name: MediaName) -> bool {
        let Ok(log) = self.log("object", rendition, 0) else { return false };
        match name {
            MediaName::Init { number } => {
                if let Some(init) = log.inits.get_mut(&number) {
                    init.stored = true;
                }
                false
            }
            MediaName::Segment { msn, .. } | MediaName::Part { msn, .. } => {
                let uploaded = |placement| matches!(placement, Placement::Spooled | Placement::Lost);
                let entry = log.entry_mut(msn).filter(|entry| uploaded(entry.placement));
                entry.is_some_and(|entry| {
                    entry.fresh = Vec::new();
                    std::mem::replace(&mut entry.placement, Placement::Stored) == Placement::Lost
                })
            }
        }
    }

    /// The object is no longer in the store; it is forgotten.
    pub fn deleted(&mut self, rendition: RenditionId, name: MediaName) {
        let Ok(log) = self.log("object", rendition, 0) else { return };
        match name {
            MediaName::Init { number } => {
                log.inits.remove(&number);
            }
            MediaName::Segment { msn, .. } | MediaName::Part { msn, .. } => log.forget(msn),
        }
    }

    /// A segment that waited for its upload is lost. False when it did not wait.
    pub fn lose(&mut self, rendition: RenditionId, msn: u64) -> bool {
        let log = self.renditions.get_mut(usize::from(rendition.0));
        let entry = log.and_then(|log| log.entry_mut(msn)).filter(|entry| entry.placement == Placement::Spooled);
        entry.map(|entry| (entry.placement, entry.extents) = (Placement::Lost, Vec::new())).is_some()
    }

    fn counters(&mut self, counters: &Counters) -> Result<(), Disorder> {
        let log = self.log("counters", counters.rendition, counters.next_msn)?;
        while log.entries.front().is_some_and(|entry| entry.segment.msn < counters.first_msn) {
            log.entries.pop_front();
        }
        // One that an older file left open without a part was as if it had not been opened when this file began; else the
        // snapshot names it again. Here it would stand in the way of those that were opened since.
        if let Some(entry) = log.open_entry().filter(|entry| entry.segment.parts.is_empty()) {
            let msn = entry.segment.msn;
            log.entries.pop_back();
            log.next_msn = msn;
        }
        log.next_msn = log.next_msn.max(counters.next_msn);
        log.next_init = log.next_init.max(counters.next_init);
        log.discontinuities_gone = counters.discontinuities_gone;
        log.ended = counters.ended;
        Ok(())
    }

    /// A segment as a snapshot tells it: what an older file said of its bytes still holds.
    fn known(&mut self, known: Known) -> Result<(), Disorder> {
        let shortest = describe::shortest_judged(self.head.segment_target);
        let log = self.log("segment", known.rendition, known.segment.msn)?;
        let Known { segment, at, placement, .. } = known;
        log.peak = log.peak.max(segment.bits_per_second(shortest).unwrap_or(0));
        log.next_msn = log.next_msn.max(segment.msn.saturating_add(1));
        match log.entries.binary_search_by_key(&segment.msn, |entry| entry.segment.msn) {
            Ok(index) => {
                let entry = &mut log.entries[index];
                // Of what is lost a part may still lie in an older file: it must not come back as the whole.
                let kept = if placement == Placement::Lost { 0 } else { segment.parts.len() };
                entry.extents.truncate(kept);
                entry.extents.resize(segment.parts.len(), None);
                (entry.segment, entry.placement) = (segment, placement);
            }
            Err(index) => {
                let extents = vec![None; segment.parts.len()];
                let (left_at, deleting, arrived, fresh, noted) = (None, false, None, Vec::new(), None);
                let entry = Entry { segment, at, extents, placement, left_at, deleting, arrived, fresh, noted };
                log.entries.insert(index, entry);
            }
        }
        Ok(())
    }

    /// What waits to be uploaded: inits, then segments, the oldest first.
    pub fn pending(&self) -> Vec<(RenditionId, MediaName)> {
        let (mut inits, mut segments) = (Vec::new(), Vec::new());
        for (id, log) in self.ids() {
            let waiting = log.inits.values().filter(|entry| !entry.stored);
            inits.extend(waiting.map(|entry| (id, MediaName::Init { number: entry.init.number })));
            let waiting = log.entries.iter().filter(|entry| entry.placement == Placement::Spooled);
            segments.extend(waiting.map(|entry| (entry.segment.msn, id, entry.segment.name())));
        }
        segments.sort_unstable();
        inits.into_iter().chain(segments.into_iter().map(|(_, id, name)| (id, name))).collect()
    }

    /// All renditions with their ids.
    pub fn ids(&self) -> impl Iterator<Item = (RenditionId, &RenditionLog)> {
        (0..=u8::MAX).map(RenditionId).zip(&self.renditions)
    }
}

impl RenditionLog {
    fn open_entry(&mut self) -> Option<&mut Entry> {
        self.entries.back_mut().filter(|entry| entry.placement == Placement::Open)
    }

    /// A part of the open segment is missing, and nobody knows which: should it be in the store, it is whole only there.
    fn forget_parts(&mut self, end: &SegmentEnd) {
        if let Some(entry) = self.open_entry().filter(|entry| entry.segment.msn == end.msn) {
            entry.segment.parts.clear();
            entry.extents.clear();
        }
    }

    fn lose_open(&mut self) {
        if let Some(entry) = self.open_entry() {
            entry.extents.fill(None);
        }
    }

    /// Whether a segment of it is in the store or on its way there.
    pub fn has_media(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.placement, Placement::Spooled | Placement::Stored))
    }

    /// The segment of this number.
    pub fn entry(&self, msn: u64) -> Option<&Entry> {
        let index = self.entries.binary_search_by_key(&msn, |entry| entry.segment.msn).ok()?;
        self.entries.get(index)
    }

    /// The segment of this number.
    pub fn entry_mut(&mut self, msn: u64) -> Option<&mut Entry> {
        let index = self.entries.binary_search_by_key(&msn, |entry| entry.segment.msn).ok()?;
        self.entries.get_mut(index)
    }

    fn forget(&mut self, msn: u64) {
        let found = self.entries.binary_search_by_key(&msn, |entry| entry.segment.msn);
        if let Some(entry) = found.ok().and_then(|index| self.entries.remove(index)) {
            let left = u64::from(entry.segment.discontinuity);
            self.discontinuities_gone = self.discontinuities_gone.saturating_add(left);
        }
    }
}

#[cfg(test)]
mod tests;
