//! The writer's end of a session: one thread, no waiting for anything but the page cache.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::catalog::Disorder;
use super::journal::Record;
use super::journal::record::{PartHead, Placement};
use super::session::{Finish, ResumePoint, Session};
use super::stats::Counters;
use super::trace::{Noted, TraceBegin};
use super::upload::Job;
use super::{Shared, StoreError, publish, retention};
use crate::media::Output;
use crate::media::naming::MediaName;
use crate::media::segment::{RenditionId, SegmentEnd};

/// Writes one session into the spool. Dropping it without [`SessionWriter::finish`] is a crash as far as the store knows:
/// nothing that was appended is lost, and the session can be resumed.
#[derive(Debug)]
pub struct SessionWriter {
    shared: Arc<Shared>,
    session: Arc<Session>,
}

impl SessionWriter {
    pub(crate) fn new(shared: Arc<Shared>, session: Arc<Session>) -> Self {
        SessionWriter { shared, session }
    }

    /// Journals one step of packaging. Call it before the step is shown to viewers: what they have seen then survives
    /// kill -9, and a power cut takes at most one sync interval. Blocks for as long as the page cache takes.
    ///
    /// # Errors
    /// When the disk fails or the spool is full ([`StoreError::is_disk`]) the step was taken in all the same: its segment
    /// will stand as a gap in stored playlists, the alarm is raised, and the live path should go on. Later calls write
    /// again as soon as they can. [`StoreError::OutOfOrder`] is a fault of the caller.
    pub fn append(&mut self, output: &Output) -> Result<(), StoreError> {
        let written = self.write(output);
        if written.is_err() {
            Counters::add(&self.shared.counters.append_failures, 1);
        }
        written
    }

    fn write(&mut self, output: &Output) -> Result<(), StoreError> {
        let mut journal = self.session.journal();
        let snapshot = &*self.session.catalog;
        let (record, part) = match output {
            Output::Join(joined) => (Record::Join(joined.clone()), None),
            Output::Init(init) => (Record::Init(init.clone()), None),
            Output::Open(start) => (Record::Open(start.clone()), None),
            Output::Part(part) => (Record::Part(PartHead::from(part)), Some(part)),
            Output::Close(end) => (Record::Close(end.clone()), None),
            Output::End(rendition) => (Record::End(*rendition), None),
        };
        let (written, extent) = match part {
            Some(part) => match journal.part(part, snapshot) {
                Ok(extent) => (Ok(()), Some(extent)),
                Err(error) => (Err(error), None),
            },
            None => (journal.record(&record, snapshot), None),
        };
        // Under the journal's lock: another's record may begin a new file, whose snapshot must know what this one holds.
        let mut catalog = self.session.catalog.lock();
        let taken = catalog.replay(record, extent);
        if let (Some(part), Ok(())) = (part, &taken) {
            catalog.keep(part.rendition, part.bytes.clone());
        }
        drop(catalog);
        drop(journal);
        taken.map_err(|disorder| out_of_order(&disorder))?;
        self.follow(output);
        written
    }

    /// Puts in line what the output made ready.
    fn follow(&self, output: &Output) {
        match output {
            Output::Join(joined) => self.session.publication.join(joined.renditions.len()),
            Output::Init(init) => {
                let name = MediaName::Init { number: init.number };
                self.shared.uploads.push(Job::Media(self.session.clone(), init.rendition, name));
            }
            Output::Close(end) => self.closed(end),
            Output::End(rendition) => publish::changed(&self.shared, &self.session, *rendition),
            Output::Open(_) | Output::Part(_) => {}
        }
    }

    fn closed(&self, end: &SegmentEnd) {
        let closed = {
            let catalog = self.session.catalog.lock();
            let entry = catalog.rendition(end.rendition).and_then(|log| log.entry(end.msn));
            entry.map(|entry| (entry.placement, entry.segment.name()))
        };
        match closed {
            Some((Placement::Spooled, name)) => {
                self.shared.note(&self.session, end.rendition, name, Noted::journalled);
                self.shared.uploads.push(Job::Media(self.session.clone(), end.rendition, name));
            }
            Some((Placement::Lost, _)) => {
                Counters::add(&self.shared.counters.lost_segments, 1);
                publish::changed(&self.shared, &self.session, end.rendition);
            }
            _ => publish::changed(&self.shared, &self.session, end.rendition),
        }
    }

    /// The last frame of the open segment `msn` came in at `at` (monotonic). Say so before its [`Output::Close`]: from then
    /// on the time until the segment is stored is measured. What is not said is not measured, and what has no `trace` is
    /// not traced.
    pub fn arrived(&mut self, rendition: RenditionId, msn: u64, at: Duration, trace: Option<TraceBegin>) {
        let mut catalog = self.session.catalog.lock();
        let log = catalog.renditions.get_mut(usize::from(rendition.0));
        if let Some(entry) = log.and_then(|log| log.entry_mut(msn)) {
            entry.arrived = Some(at);
            entry.noted = trace.map(|begin| Box::new(Noted::new(begin)));
        }
    }

    /// Notes from where the session can be resumed. Call it at each cut, before the segment behind it is opened.
    ///
    /// # Errors
    /// As [`SessionWriter::append`].
    pub fn checkpoint(&mut self, point: &ResumePoint) -> Result<(), StoreError> {
        self.session.catalog.lock().resume = Some(point.clone());
        let written = self.session.journal().record(&Record::Checkpoint(point.clone()), &*self.session.catalog);
        if written.is_err() {
            Counters::add(&self.shared.counters.append_failures, 1);
        }
        written
    }

    /// Leaves in order: closes open segments with the parts that are there, notes how the session is left, and makes all
    /// of it durable before it returns. Uploads go on.
    ///
    /// # Errors
    /// The first step that failed; the others were taken all the same.
    pub fn finish(mut self, how: Finish) -> Result<(), StoreError> {
        let open = self.session.catalog.lock().open_segments();
        let mut result = Ok(());
        for (rendition, msn, duration) in open.into_iter().filter(|(_, _, duration)| duration.is_positive()) {
            result = result.and(self.append(&Output::Close(SegmentEnd { rendition, msn, duration })));
        }
        result.and(finish(&self.shared, &self.session, how))
    }
}

impl Drop for SessionWriter {
    fn drop(&mut self) {
        self.session.writing.store(false, Ordering::SeqCst);
    }
}

/// Ends or suspends a session that is not being written any more.
pub(crate) fn finish(shared: &Shared, session: &Arc<Session>, how: Finish) -> Result<(), StoreError> {
    let at = shared.clock.wall();
    let renditions: Vec<RenditionId> = {
        let mut catalog = session.catalog.lock();
        catalog.settle();
        catalog.finish = Some((how, at));
        if how == Finish::Ended {
            catalog.renditions.iter_mut().for_each(|log| log.ended = true);
        }
        catalog.ids().map(|(id, _)| id).collect()
    };
    let mut journal = session.journal();
    let mut result = Ok(());
    if how == Finish::Ended {
        for rendition in &renditions {
            result = result.and(journal.record(&Record::End(*rendition), &*session.catalog));
        }
    }
    result = result.and(journal.record(&Record::Finish(how, at), &*session.catalog));
    let durable = journal.commit();
    drop(journal);
    *session.remove_at() = retention::remove_at(shared, session);
    for rendition in renditions {
        publish::changed(shared, session, rendition);
    }
    result.and(durable)
}

fn out_of_order(disorder: &Disorder) -> StoreError {
    StoreError::OutOfOrder { what: disorder.what, rendition: disorder.rendition.0, msn: disorder.number }
}

/// Puts everything of a session in line that waits to be uploaded and is not in `already`.
pub(crate) fn resume_uploads(shared: &Shared, session: &Arc<Session>, already: &BTreeSet<(RenditionId, MediaName)>) {
    let pending = session.catalog.lock().pending();
    for (rendition, name) in pending.into_iter().filter(|object| !already.contains(object)) {
        shared.uploads.push(Job::Media(session.clone(), rendition, name));
    }
}
