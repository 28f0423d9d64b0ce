//! What is noted of a segment for its trace, while traces are on, and the trace that is made of it once it is stored.
//!
//! A note costs a look into the catalog, per segment and never per packet. With traces off nothing is looked up.

use std::time::Duration;

use super::Shared;
use super::session::Session;
use crate::media::naming::MediaName;
use crate::media::segment::RenditionId;
use crate::telemetry::trace::{Moment, SegmentTrace, Way};

/// What the trace of a segment begins with, in monotonic times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceBegin {
    /// The source's first packet of it came in.
    pub first: Duration,
    /// Its last part came out of packaging.
    pub packaged: Duration,
}

/// What the store adds on a segment's way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted {
    begin: TraceBegin,
    journalled: Option<Duration>,
    upload_began: Option<Duration>,
    uploaded: Option<Duration>,
    attempts: u32,
}

impl Noted {
    pub fn new(begin: TraceBegin) -> Self {
        Noted { begin, journalled: None, upload_began: None, uploaded: None, attempts: 0 }
    }

    /// It is in the journal, and its upload goes in line.
    pub fn journalled(&mut self, now: Duration) {
        self.journalled = Some(now);
    }

    /// An attempt to upload it begins.
    pub fn tried(&mut self, now: Duration) {
        self.upload_began.get_or_insert(now);
        self.attempts = self.attempts.saturating_add(1);
    }

    /// The store has taken it.
    pub fn uploaded(&mut self, now: Duration) {
        self.uploaded = Some(now);
    }

    /// Its way, of which the last frame came in at `last`, to the end at `now`. A station of which nothing is noted took
    /// no time.
    fn way(&self, last: Duration, now: Duration) -> Way {
        let TraceBegin { first, packaged } = self.begin;
        let journalled = self.journalled.unwrap_or(packaged);
        let upload_began = self.upload_began.unwrap_or(journalled);
        let uploaded = self.uploaded.unwrap_or(upload_began);
        Way { first, last, packaged, journalled, upload_began, uploaded, stored: now }
    }
}

impl Shared {
    /// Notes a station on the way of a segment that is traced.
    pub(crate) fn note(
        &self,
        session: &Session,
        rendition: RenditionId,
        name: MediaName,
        note: impl FnOnce(&mut Noted, Duration),
    ) {
        let MediaName::Segment { msn, .. } = name else { return };
        if !self.settings.traces.is_on() {
            return;
        }
        let now = self.clock.monotonic();
        let mut catalog = session.catalog.lock();
        let log = catalog.renditions.get_mut(usize::from(rendition.0));
        if let Some(noted) = log.and_then(|log| log.entry_mut(msn)).and_then(|entry| entry.noted.as_deref_mut()) {
            note(noted, now);
        }
    }

    /// Makes the trace of a segment that has just been stored.
    pub(crate) fn trace(&self, session: &Session, rendition: RenditionId, name: MediaName) {
        let MediaName::Segment { msn, .. } = name else { return };
        if !self.settings.traces.is_on() {
            return;
        }
        let now = Moment { monotonic: self.clock.monotonic(), wall: self.clock.wall() };
        let mut catalog = session.catalog.lock();
        let renditions = catalog.head.renditions.clone();
        let entry = catalog.renditions.get_mut(usize::from(rendition.0)).and_then(|log| log.entry_mut(msn));
        let (Some(entry), Some(rung)) = (entry, renditions.get(usize::from(rendition.0))) else { return };
        let (Some(noted), Some(last)) = (entry.noted.take(), entry.arrived) else { return };
        let (bytes, duration) = (entry.segment.size() as u64, entry.duration());
        drop(catalog);
        // An object store's answer says that the object is safe: nothing comes behind it.
        let stored =
            if self.backend.filesystem.is_some() { now.monotonic } else { noted.uploaded.unwrap_or(now.monotonic) };
        let segment = SegmentTrace {
            stream: &session.stream,
            session: &session.id,
            rung: &rung.name,
            copied: rung.copied,
            msn,
            bytes,
            duration,
            attempts: noted.attempts,
            way: noted.way(last, stored),
        };
        self.settings.traces.segment(&segment, now);
    }
}
