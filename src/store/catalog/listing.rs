//! What a stored playlist lists, and which objects nobody can need any more.
//!
//! A stored playlist lists a rendition's segments from the oldest up to the first one that is not in the store yet, and of
//! those the newest that fill the live window. So it names nothing that is absent, and its order holds whatever the order
//! of uploads was. A segment is deleted when it has been out of the stored playlist for the window, the longest playlist
//! that ever listed it and one segment (RFC 8216 6.2.2 asks for the latter two).

use std::time::Duration;

use super::{Catalog, Entry, RenditionLog};
use crate::media::naming::MediaName;
use crate::media::segment::RenditionId;
use crate::media::{Segment, Span};
use crate::store::journal::record::Placement;
use crate::wire::hls::describe;

/// What a playlist lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    /// EXT-X-MEDIA-SEQUENCE
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE
    pub discontinuity_sequence: u64,
    /// The segments; what was lost is a gap.
    pub segments: Vec<Segment>,
    /// EXT-X-ENDLIST
    pub ended: bool,
}

impl Listing {
    fn duration(&self) -> Span {
        self.segments.iter().filter_map(|segment| segment.duration).sum()
    }
}

/// As a playlist lists it: what was lost is a gap, and a gap has no parts.
fn listed(entry: &Entry, with_parts: bool) -> Segment {
    let Segment { msn, epoch, duration, wall, discontinuity, init, .. } = entry.segment;
    let gap = entry.segment.gap || entry.placement == Placement::Lost;
    let parts = if with_parts && !gap { entry.segment.parts.clone() } else { Vec::new() };
    Segment { msn, epoch, duration, wall, discontinuity, gap, init, parts }
}

impl RenditionLog {
    /// The newest entries of the first `end` that fill `window` without a hole in their numbers.
    fn window_start(&self, end: usize, window: Span) -> usize {
        let mut total = Span::ZERO;
        let mut start = end;
        while start > 0 && total < window {
            let entry = &self.entries[start - 1];
            if start < end && entry.segment.msn.saturating_add(1) != self.entries[start].segment.msn {
                break;
            }
            total += entry.duration();
            start -= 1;
        }
        start
    }

    fn list(&self, end: usize, window: Span, with_parts: bool) -> Listing {
        let start = self.window_start(end, window);
        let next = self.entries.get(start).map_or(self.next_msn, |entry| entry.segment.msn);
        Listing {
            media_sequence: if start < end { next } else { self.next_msn },
            discontinuity_sequence: self.discontinuities_before(next),
            segments: self.entries.range(start..end).map(|entry| listed(entry, with_parts)).collect(),
            ended: self.ended && end == self.entries.len(),
        }
    }

    /// Discontinuities in front of the segments below `msn`, and those that a power cut may have taken from there.
    pub fn discontinuities_before(&self, msn: u64) -> u64 {
        let known = self.entries.iter().take_while(|entry| entry.segment.msn < msn);
        let known = known.filter(|entry| entry.segment.discontinuity).count() as u64;
        // A journal that is damaged, or made by somebody, may hold any numbers.
        let lost = self.jumps.range(..=msn).map(|(_, count)| *count);
        lost.chain([known]).fold(self.discontinuities_gone, u64::saturating_add)
    }

    /// An empty window in front of the segment `msn`.
    pub fn nothing_before(&self, msn: u64) -> Listing {
        let discontinuity_sequence = self.discontinuities_before(msn);
        Listing { media_sequence: msn, discontinuity_sequence, segments: Vec::new(), ended: self.ended }
    }

    /// The live window of everything that is closed, with parts.
    pub fn live(&self, window: Span) -> Listing {
        let closed = self.entries.iter().filter(|entry| entry.placement != Placement::Open).count();
        self.list(closed, window, true)
    }

    /// What the stored playlist may list now; `None` while nothing has been stored, and after a power cut until something is
    /// that came behind it: the playlist that stands in the store may have listed more than is known now.
    pub fn storable(&self, window: Span) -> Option<Listing> {
        let settled = |entry: &Entry| match entry.placement {
            Placement::Stored => self.inits.get(&entry.segment.init).is_some_and(|init| init.stored),
            other => other.is_settled(),
        };
        let end = self.entries.iter().take_while(|entry| settled(entry)).count();
        let listing = self.list(end, window, false);
        let cut_at = self.jumps.last_key_value().map(|(msn, _)| *msn);
        let goes_back = cut_at.is_some_and(|cut_at| listing.media_sequence < cut_at) && !listing.ended;
        let stands = self.listed_from.is_some() || cut_at.is_some();
        let worth = stands || listing.segments.iter().any(|segment| !segment.gap);
        (worth && !goes_back && !listing.segments.is_empty()).then_some(listing)
    }

    /// This listing is in the store now.
    pub fn published(&mut self, listing: &Listing, now: Duration) {
        self.listed_from = Some(listing.media_sequence);
        self.listed_end = listing.ended;
        self.longest_listed = self.longest_listed.max(listing.duration());
        for entry in &mut self.entries {
            if entry.segment.msn >= listing.media_sequence {
                break;
            }
            entry.left_at = entry.left_at.or(Some(now));
        }
    }

    /// Segments that were out of the playlist for `beyond_longest` and its longest form; those that have no object are
    /// forgotten at once, the others are marked and returned. Then inits that no segment needs.
    fn due(&mut self, now: Duration, beyond_longest: Span) -> Vec<MediaName> {
        let longest_segment = self.entries.iter().map(Entry::duration).max().unwrap_or(Span::ZERO);
        let grace = (beyond_longest + self.longest_listed + longest_segment).to_std();
        let over = |entry: &Entry| entry.left_at.is_some_and(|left| now.saturating_sub(left) >= grace);
        let mut due = Vec::new();
        let mut objectless = Vec::new();
        for entry in self.entries.iter_mut().take_while(|entry| over(entry)).filter(|entry| !entry.deleting) {
            if entry.placement == Placement::Stored {
                entry.deleting = true;
                due.push(entry.segment.name());
            } else {
                objectless.push(entry.segment.msn);
            }
        }
        for msn in objectless {
            self.forget(msn);
        }
        due.extend(self.useless_inits());
        due
    }

    fn useless_inits(&mut self) -> Vec<MediaName> {
        // The newest stays, and usually it is the only one. Before this daemon has stored a playlist an earlier one's stands there,
        // which may name what a power cut took from the journal.
        if self.inits.len() < 2 || self.listed_from.is_none() {
            return Vec::new();
        }
        let newest = self.inits.keys().next_back().copied().unwrap_or(0);
        let used: std::collections::BTreeSet<u32> = self.entries.iter().map(|entry| entry.segment.init).collect();
        let useless = self
            .inits
            .iter_mut()
            .filter(|(number, entry)| **number < newest && entry.stored && !entry.deleting && !used.contains(number));
        useless
            .map(|(number, entry)| {
                entry.deleting = true;
                MediaName::Init { number: *number }
            })
            .collect()
    }

    /// Segments that were lost before a playlist could ever be stored have no playlist to leave: without this a disk
    /// that fails for days would grow the catalog for as long.
    fn forget_unlistable(&mut self, window: Span) {
        if self.listed_from.is_some() {
            return;
        }
        let keep_from = self.window_start(self.entries.len(), window);
        let objectless = |entry: &Entry| matches!(entry.placement, Placement::Lost | Placement::Gap);
        let count = self.entries.iter().take(keep_from).take_while(|entry| objectless(entry)).count();
        for entry in self.entries.drain(..count) {
            let left = u64::from(entry.segment.discontinuity);
            self.discontinuities_gone = self.discontinuities_gone.saturating_add(left);
        }
    }
}

impl Catalog {
    /// The live window, as long as the playlists that are served keep it.
    pub fn window(&self, window: Span) -> Span {
        describe::kept_window(window, self.head.segment_target)
    }

    /// The objects to delete now. Each is returned once; [`Catalog::deleted`] forgets it.
    pub fn due(&mut self, now: Duration, window: Span) -> Vec<(RenditionId, MediaName)> {
        let window = self.window(window);
        let mut due = Vec::new();
        for (id, log) in (0..=u8::MAX).map(RenditionId).zip(&mut self.renditions) {
            log.forget_unlistable(window);
            due.extend(log.due(now, window).into_iter().map(|name| (id, name)));
        }
        due
    }

    /// Whether every segment and init is in the store or lost, and each stored playlist says the last word.
    pub fn is_settled(&self) -> bool {
        self.renditions.iter().all(|log| {
            let segments = log.entries.iter().all(|entry| entry.placement.is_settled());
            let inits = log.inits.values().all(|init| init.stored);
            segments && inits && (log.listed_from.is_none() || log.listed_end || !log.ended)
        })
    }
}
