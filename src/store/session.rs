//! A session as the store knows it: its head, its resume point, its end; and what its parts share.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::StoreError;
use super::catalog::shared::SharedCatalog;
use super::journal::Record;
use super::journal::writer::Journal;
use super::publish::Publication;
use super::spool::{Spool, Tenant};
use crate::media::naming;
use crate::media::segment::{Rendition, Renditions};
use crate::media::{Span, Timestamp, WallTime};

/// What is fixed about a session, and its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHead {
    /// Public id of the stream. Passes [`naming::is_component`].
    pub stream: String,
    /// Id of the session. Passes [`naming::is_component`].
    pub session: String,
    /// Raised at each start of the daemon; part of every object's name.
    pub epoch: u32,
    /// The renditions. Those of a late track join behind the others.
    pub renditions: Renditions,
    /// Target duration: EXT-X-TARGETDURATION is this in whole seconds.
    pub segment_target: Span,
    /// Part target.
    pub part_target: Span,
}

impl SessionHead {
    /// Whether a session may be like this, whoever says so: the caller that begins it or the journal that tells of it. All names
    /// may stand in paths, there are renditions, no two of which share a name, and segments and parts last for some time.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let names = self.renditions.iter().map(|rendition| &rendition.name);
        for name in [&self.stream, &self.session].into_iter().chain(names.clone()) {
            if !naming::is_component(name) {
                return Err(StoreError::Name { name: name.clone() });
            }
        }
        let distinct: std::collections::BTreeSet<_> = names.collect();
        let reason = match self.renditions.len() {
            0 => "it has no rendition, and so nothing to store", // nor a place where the journal holds its next number
            256.. => "it has more than 255 renditions",          // a RenditionId is a u8
            count if distinct.len() < count => "two of its renditions have the same name",
            _ if !self.part_target.is_positive() || self.segment_target < self.part_target => {
                "the targets of its segments and parts are not in order"
            }
            _ => return Ok(()),
        };
        Err(StoreError::Head { session: self.session.clone(), reason })
    }

    /// Whether this is a later head of the session that began with `known`: the same renditions, behind which others may have
    /// joined (the file where they did may be gone).
    pub(crate) fn follows(&self, known: &SessionHead) -> bool {
        let same = |(a, b): (&Rendition, &Rendition)| (&a.name, a.kind) == (&b.name, b.kind);
        (&self.stream, &self.session) == (&known.stream, &known.session)
            && (known.renditions.len()..=usize::from(u8::MAX)).contains(&self.renditions.len())
            && known.renditions.iter().zip(self.renditions.iter()).all(same)
    }

    /// Whether a session with this head may go on with `other`'s renditions: the same names of the same kinds. A promise
    /// of bandwidth or a measured frame rate may have changed.
    pub(crate) fn has_renditions_of(&self, other: &SessionHead) -> bool {
        let key = |head: &SessionHead| {
            head.renditions.iter().map(|rendition| (rendition.name.clone(), rendition.kind)).collect::<Vec<_>>()
        };
        key(self) == key(other)
    }
}

/// From where a session goes on after a restart. Written at each cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumePoint {
    /// The session's timeline has been used up to here.
    pub timeline_at: Timestamp,
    /// MSN of the next segment to be opened.
    pub next_msn: u64,
    /// A point of the timeline and its PROGRAM-DATE-TIME.
    pub anchor: (Timestamp, WallTime),
}

/// How a writer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The daemon stops, the session does not: it waits in `reconnecting`, without ENDLIST.
    Suspended,
    /// The session is over: ENDLIST, and its objects go after a while.
    Ended,
}

/// One session while the store has anything to do with it.
#[derive(Debug)]
pub(crate) struct Session {
    pub stream: String,
    pub id: String,
    pub catalog: Arc<SharedCatalog>,
    /// Locked before the catalog, never after it.
    journal: Mutex<Journal>,
    /// A [`super::SessionWriter`] lives.
    pub writing: AtomicBool,
    pub publication: Publication,
    /// Monotonic time from which the objects of the ended session go.
    pub remove_at: Mutex<Option<Duration>>,
}

impl Session {
    pub fn new(spool: &Arc<Spool>, catalog: Arc<SharedCatalog>, next_number: u64) -> Arc<Self> {
        let (stream, id, renditions) = {
            let catalog = catalog.lock();
            (catalog.head.stream.clone(), catalog.head.session.clone(), catalog.renditions.len())
        };
        let folder = spool.folder(&stream, &id);
        let tenant: Arc<dyn Tenant> = catalog.clone();
        let journal = Mutex::new(Journal::new(spool.clone(), tenant, folder, next_number));
        let publication = Publication::new(renditions);
        let (writing, remove_at) = (AtomicBool::new(false), Mutex::new(None));
        Arc::new(Session { stream, id, catalog, journal, writing, publication, remove_at })
    }

    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn remove_at(&self) -> MutexGuard<'_, Option<Duration>> {
        self.remove_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The catalog as the spool knows it.
    pub fn tenant(&self) -> Arc<dyn Tenant> {
        self.catalog.clone()
    }

    /// Notes a fact whose loss costs only repeated work, so that failing to write it is no error. Blocks.
    pub fn note(&self, record: &Record) {
        // The disk alarm is raised by the journal; a new file's snapshot will hold the fact.
        let _ = self.journal().record(record, &*self.catalog);
    }

    /// The bytes of a segment or part in the spool. Blocks.
    pub fn read_spool(&self, spool: &Spool, extents: &[super::spool::Extent]) -> Result<bytes::Bytes, StoreError> {
        let folder: &Path = &spool.folder(&self.stream, &self.id);
        spool.read(folder, extents)
    }
}
