//! Stage 4: the spool's journal, and objects.
//!
//! ```text
//! package ─▶ SessionWriter::append ─▶ journal ─(group commit)─▶ disk
//!                     │                  ▲ pread
//!                     └─▶ catalog ─▶ upload ─▶ object store ─▶ stored playlists
//!                            ▲                      ▲
//!                     read ──┘         retention ───┘
//! ```
//!
//! Promises:
//!
//! - what was appended before it was published survives kill -9; a power cut takes at most a sync interval and the segment that
//!   was open at its beginning, and nothing that may have been published is used again: no number, name, date or time;
//! - a closed segment is uploaded however often it takes, and only then does a stored playlist name it;
//! - neither a full or failing disk nor a failing object store makes a caller wait or panic: errors are returned and
//!   counted, alarms are raised, and work resumes by itself;
//! - memory does not grow with a backlog: the bytes are in the spool.
//!
//! | module | holds |
//! |---|---|
//! | `settings`, `error`, `stats` | what goes in and what comes out |
//! | `files`, `backend` | the layers below: file system, object store |
//! | `session`, `append` | one session, and its writer |
//! | `journal` | the format, writing, reading, group commit |
//! | `catalog` | what is known of a session; pure |
//! | `spool` | the bound of all journals, and what goes when it is reached |
//! | `recovery` | what the journals tell at start |
//! | `upload`, `publish`, `retention` | jobs with the object store: media, playlists, deletions |
//! | `proof` | the alarm of a disk that works again |
//! | `settle` | making objects in a folder durable together |
//! | `read` | reads for viewers whom memory cannot serve |
//! | `trace` | what is noted of a segment for its trace, while traces are on |
//!
//! Playlists are rendered by `wire/hls`. What is listed live, and what memory holds, is package's window; it and the stored
//! playlists obey the same rule. Recordings are not here: they will pin what is.

mod append;
mod backend;
mod catalog;
mod error;
mod files;
mod journal;
mod proof;
mod publish;
mod read;
mod recovery;
mod retention;
mod session;
mod settings;
mod settle;
mod spool;
mod stats;
mod trace;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use append::SessionWriter;
pub use backend::Backend;
pub use error::StoreError;
pub use files::{AppendFile, Files, Filesystem, OsFiles};
pub use recovery::{RecoveredRendition, RecoveredSession};
pub use session::{Finish, ResumePoint, SessionHead};
pub use settings::StoreSettings;
pub use stats::{Alarms, Puts, StoreStats};
pub use trace::TraceBegin;

use crate::clock::SharedClock;
use crate::flow::stage::Stage;
use crate::media::naming;
use catalog::Catalog;
use catalog::shared::SharedCatalog;
use journal::record::Placement;
use journal::sync::Syncer;
use session::Session;
use settle::Settling;
use spool::Spool;
use stats::Counters;
use upload::Uploads;

/// Name of the lock file in the spool's folder. Not a stream: it is passed over when journals are looked for.
const LOCK: &str = "lock";

/// What all parts and tasks of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    settings: StoreSettings,
    clock: SharedClock,
    backend: Backend,
    spool: Arc<Spool>,
    counters: Arc<Counters>,
    uploads: Uploads,
    settling: Settling,
    log: upload::RequestLog,
    /// By [`naming::session_prefix`].
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The store of one daemon: one spool, one object store, all sessions.
///
/// Dropping it without [`Store::close`] stops it where it is, which loses nothing that the journal holds. A writer that
/// outlives it can finish its journal file, and begins no other.
pub struct Store {
    shared: Arc<Shared>,
    sync_thread: Mutex<Option<Stage<StoreError>>>,
    /// Held while a session is looked up and taken: two callers must not both find it free.
    beginning: Mutex<()>,
    /// Held for as long as the store lives.
    _lock: Box<dyn Send + Sync>,
}

impl Store {
    /// Opens the store on the operating system's files and the backend of `settings.url`: locks the spool, reads its
    /// journals, and starts uploads, retention and group commit on the current tokio runtime.
    ///
    /// Of the sessions that are returned, those that have not ended wait: resume them with [`Store::begin`] or give them
    /// up with [`Store::end_session`]. What they have to upload is uploaded meanwhile.
    ///
    /// # Errors
    /// The URL is unknown, the spool belongs to another daemon or cannot be read, or a journal is of a later format.
    pub async fn open(
        settings: StoreSettings,
        clock: SharedClock,
    ) -> Result<(Arc<Store>, Vec<RecoveredSession>), StoreError> {
        let backend = Backend::from_url(&settings.url)?;
        Self::open_with(settings, clock, backend, Arc::new(OsFiles)).await
    }

    /// [`Store::open`] with a backend and a file layer of the caller's.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_with(
        settings: StoreSettings,
        clock: SharedClock,
        backend: Backend,
        files: Arc<dyn Files>,
    ) -> Result<(Arc<Store>, Vec<RecoveredSession>), StoreError> {
        let root = settings.spool.clone();
        let path = root.join(LOCK);
        let lock = files.lock(&path).map_err(StoreError::disk("lock", path))?;
        let lock = lock.map_err(|holder| StoreError::Locked { path: root.clone(), holder })?;
        let counters = Arc::new(Counters::default());
        let started = Syncer::start(files.clone(), &root, counters.clone(), clock.clone(), settings.sync_every);
        let (syncer, stage) = started.map_err(StoreError::disk("start a thread for", &root))?;
        let limits = (settings.spool_max_bytes, settings.file_limit());
        let spool = Spool::new(root, limits, files, syncer, counters.clone(), clock.clone());
        let shared = Arc::new(Shared {
            settings,
            clock,
            backend,
            spool,
            counters,
            uploads: Uploads::default(),
            settling: Settling::default(),
            log: upload::RequestLog::default(),
            sessions: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let store = Store { shared, sync_thread: Mutex::new(Some(stage)), beginning: Mutex::new(()), _lock: lock };
        let recovered = store.recover().await?;
        Ok((Arc::new(store), recovered))
    }

    /// Reads the journals, puts in line what they say is to be done, and starts the tasks.
    async fn recover(&self) -> Result<Vec<RecoveredSession>, StoreError> {
        let shared = self.shared.clone();
        let read = tokio::task::spawn_blocking(move || recovery::recover(&shared)).await;
        let recovered = read.unwrap_or_else(|error| {
            let source = std::io::Error::other(error);
            Err(StoreError::Disk { doing: "read the journals in", path: self.shared.spool.root.clone(), source })
        })?;
        for session in self.shared.sessions() {
            append::resume_uploads(&self.shared, &session, &BTreeSet::new());
            let renditions: Vec<_> = session.catalog.lock().ids().map(|(id, _)| id).collect();
            for rendition in renditions {
                publish::changed(&self.shared, &session, rendition);
            }
            *session.remove_at() = retention::remove_at(&self.shared, &session);
        }
        self.shared.tasks.spawn(upload::serve(self.shared.clone()));
        self.shared.tasks.spawn(settle::run(self.shared.clone()));
        self.shared.tasks.spawn(retention::run(self.shared.clone()));
        self.shared.tasks.spawn(proof::run(self.shared.clone()));
        Ok(recovered)
    }

    /// Begins a session, or resumes one that was suspended or recovered. Its first journal file is durable when this
    /// returns, and with it the epoch. Blocks: call it on the thread that will write.
    ///
    /// # Errors
    /// A name is no path component; the session is being written, has ended, had other renditions, or comes with an epoch
    /// that is not above its last. A new session begins even when the disk fails (it will be stored once the disk works);
    /// a resumed one does not, because its epoch could not be raised durably and names might repeat.
    pub fn begin(&self, head: SessionHead) -> Result<SessionWriter, StoreError> {
        head.check()?;
        let _beginning = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        match self.shared.session(&head.stream, &head.session) {
            Some(session) => self.resume(session, head),
            None => self.begin_new(head),
        }
    }

    fn begin_new(&self, head: SessionHead) -> Result<SessionWriter, StoreError> {
        let catalog = Arc::new(SharedCatalog::new(Catalog::new(head), self.shared.spool.files.boot_id()));
        let session = self.shared.adopt(catalog, 1);
        session.writing.store(true, Ordering::SeqCst);
        let begun = session.journal().begin(&*session.catalog);
        if let Err(error) = begun {
            tracing::warn!(stream = session.stream, session = session.id, %error, "the session begins without a journal");
        }
        Ok(SessionWriter::new(self.shared.clone(), session))
    }

    fn resume(&self, session: Arc<Session>, head: SessionHead) -> Result<SessionWriter, StoreError> {
        if session.writing.swap(true, Ordering::SeqCst) {
            return Err(StoreError::SessionBusy { session: head.session });
        }
        // From here on the session counts as written until this value is dropped.
        let writer = SessionWriter::new(self.shared.clone(), session.clone());
        let mut catalog = session.catalog.lock();
        check_resume(&catalog, &head)?;
        let before = (catalog.head.clone(), catalog.finish);
        let already = catalog.pending().into_iter().collect();
        catalog.settle();
        (catalog.head, catalog.finish) = (head, None);
        drop(catalog);
        let begun = session.journal().begin(&*session.catalog);
        append::resume_uploads(&self.shared, &session, &already);
        if let Err(error) = begun {
            let mut catalog = session.catalog.lock();
            (catalog.head, catalog.finish) = before;
            return Err(error);
        }
        Ok(writer)
    }

    /// Ends a session that nobody writes, as when its grace time is over after a restart: ENDLIST, and its objects go
    /// after `ended_keep`. One that is not known, or has ended, is no error. Blocks for a sync.
    ///
    /// # Errors
    /// It is being written, or the disk fails; in the latter case it has ended all the same, until the next start.
    pub fn end_session(&self, stream: &str, session: &str) -> Result<(), StoreError> {
        let Some(session) = self.shared.session(stream, session) else { return Ok(()) };
        if session.writing.swap(true, Ordering::SeqCst) {
            return Err(StoreError::SessionBusy { session: session.id.clone() });
        }
        let writer = SessionWriter::new(self.shared.clone(), session.clone());
        let ended = matches!(session.catalog.lock().finish, Some((Finish::Ended, _)));
        if ended { Ok(()) } else { writer.finish(Finish::Ended) }
    }

    /// Whether stored segments are traced, so that [`SessionWriter::arrived`] should be told what their traces begin with.
    pub fn is_traced(&self) -> bool {
        self.shared.settings.traces.is_on()
    }

    /// What the store is doing.
    pub fn stats(&self) -> StoreStats {
        let (spool_bytes, spool_files) = self.shared.spool.usage();
        let spool_max_bytes = self.shared.settings.spool_max_bytes;
        let mut stats = StoreStats { spool_bytes, spool_files, spool_max_bytes, ..self.shared.counters.snapshot() };
        let now = self.shared.clock.wall();
        for session in self.shared.sessions() {
            for log in &session.catalog.lock().renditions {
                for init in log.inits.values().filter(|init| !init.stored) {
                    stats.backlog_objects += 1;
                    stats.backlog_bytes += init.init.bytes.len() as u64;
                }
                for entry in log.entries.iter().filter(|entry| entry.placement == Placement::Spooled) {
                    stats.backlog_objects += 1;
                    stats.backlog_bytes += entry.segment.size() as u64;
                    stats.backlog_oldest = stats.backlog_oldest.max(now.since(entry.segment.wall).to_std());
                }
            }
        }
        stats
    }

    /// Changes whenever a job with the object store is done or failed: look at [`Store::stats`], wait, look again.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.shared.uploads.progress()
    }

    /// Lets uploads go on for at most `deadline`, then stops everything, with a last group commit. What is not uploaded
    /// then is uploaded after the next start. Finish all writers before.
    ///
    /// # Errors
    /// The last commit failed.
    pub async fn close(&self, deadline: Duration) -> Result<(), StoreError> {
        let drained = async {
            let mut progress = self.shared.uploads.progress();
            while !self.shared.uploads.is_idle() && progress.changed().await.is_ok() {}
        };
        if tokio::time::timeout(deadline, drained).await.is_err() {
            let backlog = self.stats().backlog_objects;
            tracing::info!(backlog, "the store stops with uploads left: they go on after the next start");
        }
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        let stage = self.sync_thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let syncer = self.shared.spool.syncer.clone();
        let last = tokio::task::spawn_blocking(move || {
            let committed = syncer.commit();
            syncer.stop();
            if let Some(stage) = stage {
                stage.join();
            }
            committed
        });
        // The task neither panics nor is cancelled, except with its runtime.
        last.await.unwrap_or(Ok(()))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.spool.stopped.store(true, Ordering::SeqCst);
        self.shared.spool.syncer.stop();
    }
}

fn check_resume(catalog: &Catalog, head: &SessionHead) -> Result<(), StoreError> {
    let session = || head.session.clone();
    if matches!(catalog.finish, Some((Finish::Ended, _))) {
        return Err(StoreError::SessionEnded { session: session() });
    }
    if !head.has_renditions_of(&catalog.head) {
        return Err(StoreError::RenditionsDiffer { session: session() });
    }
    if head.epoch <= catalog.head.epoch {
        return Err(StoreError::EpochNotRaised { session: session(), given: head.epoch, last: catalog.head.epoch });
    }
    Ok(())
}

impl Shared {
    fn lock_sessions(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All sessions.
    pub(crate) fn sessions(&self) -> Vec<Arc<Session>> {
        self.lock_sessions().values().cloned().collect()
    }

    /// The session, if the store has anything to do with it.
    pub(crate) fn session(&self, stream: &str, session: &str) -> Option<Arc<Session>> {
        self.lock_sessions().get(&naming::session_prefix(stream, session)).cloned()
    }

    /// Takes a session in.
    pub(crate) fn adopt(&self, catalog: Arc<SharedCatalog>, next_number: u64) -> Arc<Session> {
        let session = Session::new(&self.spool, catalog, next_number);
        let key = naming::session_prefix(&session.stream, &session.id);
        self.lock_sessions().insert(key, session.clone());
        session
    }

    /// Lets go of a session.
    pub(crate) fn forget(&self, session: &Session) {
        self.lock_sessions().remove(&naming::session_prefix(&session.stream, &session.id));
    }
}
