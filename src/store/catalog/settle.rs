//! What an end without a goodbye leaves, put in order; and where the session may go on.
//!
//! Rules:
//!
//! 1. An open segment is closed with the parts that are there; its duration is their sum. One without any part was never
//!    listed and is as if it had not been opened. After a power cut, and when others stand behind it (the journal of its end is
//!    damaged), it may have been published whole, and its name must not stand for less: then it is lost.
//! 2. A closed segment whose bytes are damaged or gone before they were stored, or whose init is, is lost: a gap.
//! 3. Renditions are brought to the same MSN: where one lacks a segment that another has, it gets a gap as long.
//! 4. The first MSN of the resumed session is one more than the highest that was opened. Each part was in the journal
//!    before it was published, and after kill -9 nothing of the journal is missing. After a power cut up to
//!    [`UNSYNCED_SEGMENTS`] may be: then it is that much more. (The machine's boot id tells the two apart.) Names of segments
//!    cannot collide in either case, because the epoch is raised; those of init segments have no epoch, and their numbers
//!    rise like MSNs: each new one begins with a segment.
//! 5. As many discontinuities, and as much of the timeline, may have been published and lost: they are counted as used. Dates go
//!    on from the wall clock, which what was published did not outrun.

use super::{Catalog, Entry, RenditionLog};
use crate::media::segment::{RenditionId, SegmentStart};
use crate::media::{Segment, Span, Timestamp, WallTime};
use crate::store::journal::record::Placement;
use crate::store::session::ResumePoint;

/// Segments that can have been published and not synced when the power went: group commit runs every 200 ms, and a
/// segment takes 2 s. The rest is for a disk that was slow to sync: 32 s at the default target.
pub(crate) const UNSYNCED_SEGMENTS: u64 = 16;

impl Catalog {
    /// Of rule 1 what holds after a power cut.
    pub fn lose_open(&mut self) {
        self.renditions.iter_mut().for_each(RenditionLog::lose_open);
    }

    /// Applies rules 1 to 3.
    pub fn settle(&mut self) {
        self.damaged = false;
        let target = self.head.segment_target;
        for log in &mut self.renditions {
            log.close_open(target);
            for entry in &mut log.entries {
                let kept = entry.placement == Placement::Stored || entry.spooled().is_some();
                let playable = kept && log.inits.contains_key(&entry.segment.init);
                if entry.placement != Placement::Gap && !playable {
                    entry.placement = Placement::Lost;
                }
                if entry.extents.iter().all(Option::is_none) {
                    entry.extents.clear();
                }
            }
        }
        self.level();
    }

    /// Rule 4, and of rule 5 the discontinuities. Raises the MSN of all renditions, and tells it.
    pub fn raise_msn(&mut self, power_was_cut: bool) -> u64 {
        let opened = self.renditions.iter().map(|log| log.next_msn).max().unwrap_or(0);
        let nothing_yet = self.renditions.iter().all(|log| log.next_msn == 0);
        let announced = self.resume.as_ref().map_or(0, |point| point.next_msn);
        let next = match (power_was_cut, nothing_yet) {
            (true, _) => opened.max(announced).saturating_add(UNSYNCED_SEGMENTS),
            (false, true) => announced,
            (false, false) => opened,
        };
        for log in &mut self.renditions {
            log.next_msn = next;
            if power_was_cut {
                log.next_init = log.next_init.saturating_add(UNSYNCED_SEGMENTS as u32);
                log.jumps.insert(next, UNSYNCED_SEGMENTS);
            }
        }
        next
    }

    /// From where the timeline goes on: the last checkpoint, moved behind everything that was recovered. `cut_power_back_at`: the
    /// wall clock after a power cut, for rule 5.
    pub fn resume_point(&self, next_msn: u64, cut_power_back_at: Option<WallTime>) -> Option<ResumePoint> {
        let last = self.renditions.iter().filter_map(|log| log.entries.back());
        let last = last.max_by_key(|entry| entry.at + entry.duration());
        let end = last.map(|entry| entry.at + entry.duration());
        let from_media = last.map(|entry| (entry.at, entry.segment.wall));
        let anchor = self.resume.as_ref().map(|point| point.anchor).or(from_media)?;
        let checkpoint = self.resume.as_ref().map(|point| point.timeline_at);
        let mut timeline_at = checkpoint.into_iter().chain(end).max().unwrap_or(Timestamp::ZERO);
        let mut anchor = anchor;
        if let Some(now) = cut_power_back_at {
            let date = |at: Timestamp| anchor.1.saturating_add(at - anchor.0);
            let known = date(timeline_at);
            timeline_at +=
                Span::from_flicks(self.head.segment_target.flicks().saturating_mul(UNSYNCED_SEGMENTS as i64));
            // A clock that says less than the last known date was set back, and tells nothing.
            anchor = (timeline_at, if now > known { now } else { date(timeline_at) });
        }
        Some(ResumePoint { timeline_at, next_msn, anchor })
    }

    /// Rule 3.
    fn level(&mut self) {
        let next = self.renditions.iter().map(|log| log.next_msn).max().unwrap_or(0);
        // One that lags by more has lost its packager, and starts anew behind a hole in its numbers.
        for msn in next.saturating_sub(UNSYNCED_SEGMENTS)..next {
            let Some(template) = self.renditions.iter().find_map(|log| log.entry(msn)).cloned() else { continue };
            for log in &mut self.renditions {
                log.pad(msn, &template);
            }
        }
        for log in &mut self.renditions {
            log.next_msn = next;
        }
    }

    /// What is open, with the sum of its parts: what a writer that leaves in order closes first.
    pub fn open_segments(&self) -> Vec<(RenditionId, u64, Span)> {
        let open = self.ids().filter_map(|(id, log)| {
            let entry = log.entries.back().filter(|entry| entry.placement == Placement::Open)?;
            Some((id, entry.segment.msn, parts_duration(&entry.segment)))
        });
        open.collect()
    }
}

fn parts_duration(segment: &Segment) -> Span {
    segment.parts.iter().map(|part| part.duration).sum()
}

/// Whether nothing of it was ever listed.
fn is_empty(entry: &Entry) -> bool {
    !entry.segment.gap && entry.segment.parts.is_empty()
}

impl RenditionLog {
    /// Rule 1. An open gap has no parts to count: it takes the target duration.
    fn close_open(&mut self, target: Span) {
        let newest = self.entries.len().saturating_sub(1);
        if let Some(entry) = self.open_entry().filter(|entry| is_empty(entry)) {
            self.next_msn = entry.segment.msn;
        }
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if entry.placement != Placement::Open || is_empty(entry) {
                continue;
            }
            if index < newest {
                entry.extents.fill(None);
            }
            let duration = if entry.segment.gap { target } else { parts_duration(&entry.segment) };
            entry.close(duration);
        }
        self.entries.retain(|entry| entry.placement != Placement::Open);
    }

    fn pad(&mut self, msn: u64, template: &Entry) {
        let Some(init) = self.inits.keys().next_back().copied() else { return };
        // A snapshot that a kill tore may say that the number was given, and not hold the gap that it was given to.
        let last = self.entries.back().map(|last| last.segment.msn.saturating_add(1));
        if (self.next_msn != msn && last != Some(msn)) || self.ended {
            return; // it has the segment, or is over; without an init it has never begun
        }
        let start = SegmentStart {
            rendition: RenditionId(0), // an entry does not hold it
            msn,
            epoch: template.segment.epoch,
            at: template.at,
            wall: template.segment.wall,
            discontinuity: template.segment.discontinuity,
            gap: true,
            init,
        };
        let mut entry = Entry::new(&start);
        entry.close(template.duration());
        self.entries.push_back(entry);
        self.next_msn = msn.saturating_add(1);
    }
}
