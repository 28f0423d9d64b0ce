//! Uploads: a line of jobs, served by a bounded number of tasks that try until they succeed.
//!
//! Jobs are served in the order in which media was closed, over all sessions; playlists go first, they are small and what
//! they list is there. A job holds its place while it waits to try again: when the store is down, the oldest few objects
//! ask for all. Bytes are read from the spool for each attempt, so that memory is bounded by the number of places.
//!
//! This layer alone retries. It gives up when the store stops (all tasks are dropped where they wait; the journal knows what
//! is not done), or when what it was to upload is no longer in the spool.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use object_store::PutPayload;
use tokio::sync::{Notify, Semaphore, watch};

use super::catalog::Entry;
use super::journal::Record;
use super::journal::record::Placement;
use super::session::Session;
use super::settle::Put;
use super::spool::Extent;
use super::stats::Counters;
use super::trace::Noted;
use super::{Shared, StoreError, publish, retention};
use crate::media::naming::{self, MediaName};
use crate::media::segment::RenditionId;
use crate::telemetry::gate::SharedGate;
use crate::telemetry::names;

/// Content-Type of segments and init segments.
const MEDIA_TYPE: &str = "video/mp4";
/// Pause after the first failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// How often a job may panic before it is given up: often enough for a fault that passes, and what panics always must not
/// hold its place for ever.
const MAX_PANICS: u32 = 5;
/// Longest pause: how late an upload may notice that the store is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// One piece of work with the object store.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Put a segment or an init.
    Media(Arc<Session>, RenditionId, MediaName),
    /// Put a rendition's playlist, and the multivariant one if that changed.
    Playlist(Arc<Session>, RenditionId),
    /// Delete a segment or an init.
    Delete(Arc<Session>, RenditionId, MediaName),
    /// Delete everything of an ended session.
    Remove(Arc<Session>),
}

impl Job {
    fn session(&self) -> &Session {
        match self {
            Job::Media(session, ..) | Job::Playlist(session, _) | Job::Delete(session, ..) | Job::Remove(session) => {
                session
            }
        }
    }
}

/// The line.
#[derive(Debug)]
pub(crate) struct Uploads {
    jobs: Mutex<VecDeque<Job>>,
    bell: Notify,
    /// Jobs waiting or under way.
    outstanding: AtomicUsize,
    /// Counts finished jobs.
    progress: watch::Sender<u64>,
}

impl Default for Uploads {
    fn default() -> Self {
        let (jobs, bell) = (Mutex::default(), Notify::new());
        Uploads { jobs, bell, outstanding: AtomicUsize::new(0), progress: watch::Sender::new(0) }
    }
}

impl Uploads {
    /// At the end of the line.
    pub fn push(&self, job: Job) {
        self.add(|jobs| jobs.push_back(job));
    }

    /// At its front.
    pub fn push_front(&self, job: Job) {
        self.add(|jobs| jobs.push_front(job));
    }

    /// One more job is outstanding.
    pub fn begun(&self) {
        self.outstanding.fetch_add(1, Ordering::SeqCst);
    }

    /// One is done.
    pub fn done(&self) {
        self.outstanding.fetch_sub(1, Ordering::SeqCst);
        self.changed();
    }

    fn add(&self, put: impl FnOnce(&mut VecDeque<Job>)) {
        self.begun();
        put(&mut self.jobs.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }

    async fn next(&self) -> Job {
        loop {
            let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match job {
                Some(job) => return job,
                None => self.bell.notified().await,
            }
        }
    }

    /// Something changed that a watcher may wait for.
    pub fn changed(&self) {
        self.progress.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.outstanding.load(Ordering::SeqCst) == 0
    }

    /// Changes whenever a job is done.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }
}

/// Serves the line until the store stops.
pub(crate) async fn serve(shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(shared.settings.concurrency.max(1)));
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await;
            (place, shared.uploads.next().await)
        };
        let (place, job) = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            next = next => next,
        };
        let task = shared.clone();
        shared.tasks.spawn(async move {
            let _done = Done(&task.uploads);
            tokio::select! {
                biased; // once stopped, no step is taken any more
                () = task.stop.cancelled() => {}
                () = task.run_contained(job) => {}
            }
            drop(place);
        });
    }
}

/// Counts a job as done however its task ends.
struct Done<'a>(&'a Uploads);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.done();
    }
}

/// The log of requests to the object store, of which an outage brings many: once a minute is enough for a night.
#[derive(Debug)]
pub(crate) struct RequestLog {
    failures: SharedGate,
    recoveries: SharedGate,
    /// Syncs of a folder that failed.
    pub syncs: SharedGate,
}

impl Default for RequestLog {
    fn default() -> Self {
        const EVERY: Duration = Duration::from_secs(60);
        let gate = || SharedGate::every(EVERY);
        RequestLog { failures: gate(), recoveries: gate(), syncs: gate() }
    }
}

/// The pauses of one job.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    failures: u32,
}

impl Patience {
    /// Doubles from [`FIRST_PAUSE`] to [`LONGEST_PAUSE`]; the upper half is chance, so that the jobs that failed together
    /// do not come back together.
    pub(crate) fn pause(&mut self) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let half = longest / 2;
        // Without randomness from the system the pauses are merely equal.
        let chance = getrandom::u32().unwrap_or(u32::MAX);
        half + half.mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }
}

/// What a media job finds when its turn comes.
enum Source {
    Memory(PutPayload),
    Spool(Vec<Extent>),
    /// Nothing to do any more.
    Gone,
}

impl Shared {
    /// Runs a job. A panic in it is counted, and the job tried again as after a failure, a few times: other jobs go on.
    async fn run_contained(self: &Arc<Self>, job: Job) {
        let mut patience = Patience::default();
        for _ in 0..MAX_PANICS {
            if AssertUnwindSafe(self.run(job.clone())).catch_unwind().await.is_ok() {
                return;
            }
            names::STAGE_PANICS.counter(&[("stage", "upload")]).increment(1);
            tracing::error!(session = job.session().id, "a job with the object store panicked: it is tried again");
            tokio::time::sleep(patience.pause()).await;
        }
        tracing::error!(session = job.session().id, "a job with the object store panics each time: it is given up");
        match job {
            Job::Media(session, rendition, MediaName::Segment { msn, .. }) => {
                if session.catalog.lock().lose(rendition, msn) {
                    Counters::add(&self.counters.lost_segments, 1);
                    publish::changed(self, &session, rendition);
                }
            }
            Job::Playlist(session, rendition) => publish::gave_up(&session, rendition),
            // What is left in the store is looked for after the next start.
            Job::Media(..) | Job::Delete(..) | Job::Remove(_) => {}
        }
    }

    async fn run(self: &Arc<Self>, job: Job) {
        match job {
            Job::Media(session, rendition, name) => self.put_media(&session, rendition, name).await,
            Job::Playlist(session, rendition) => publish::put_playlist(self, &session, rendition).await,
            Job::Delete(session, rendition, name) => retention::delete(self, &session, rendition, name).await,
            Job::Remove(session) => retention::remove(self, &session).await,
        }
    }

    /// Counts the result of a request. After a failure it waits, and returns `None`: try again.
    pub(crate) async fn attempted<T>(
        &self,
        key: &str,
        result: object_store::Result<T>,
        patience: &mut Patience,
    ) -> Option<T> {
        let error = match result {
            Ok(value) => {
                self.tell_recovery(self.counters.objects_work());
                return Some(value);
            }
            Err(error) => error,
        };
        let persists = !self.counters.objects_failed();
        match self.log.failures.pass(self.clock.monotonic()) {
            Some(requests) if persists => {
                tracing::error!(key, requests, %error, "the object store keeps failing: media waits in the spool; check the store, its credentials and the network");
            }
            Some(requests) => {
                tracing::warn!(key, requests, %error, "the object store fails: media waits in the spool, and uploads go on trying");
            }
            None => tracing::debug!(key, %error, "a request to the object store failed"),
        }
        self.uploads.changed();
        tokio::time::sleep(patience.pause()).await;
        None
    }

    /// Says that the alarm of a failing object store is over, if it is.
    pub(crate) fn tell_recovery(&self, over: bool) {
        if over && self.log.recoveries.pass(self.clock.monotonic()).is_some() {
            tracing::info!("the object store works again");
        }
    }

    /// Counts an object that was put, by the counter of its kind.
    pub(crate) fn count_put(&self, of_kind: &AtomicU64, bytes: usize) {
        Counters::add(of_kind, 1);
        Counters::add(&self.counters.put_bytes, bytes as u64);
    }

    async fn put_media(self: &Arc<Self>, session: &Arc<Session>, rendition: RenditionId, name: MediaName) {
        let Some(key) = media_key(session, rendition, name) else { return };
        let mut patience = Patience::default();
        loop {
            let payload = match source(session, rendition, name) {
                Source::Gone => return,
                Source::Memory(payload) => payload,
                Source::Spool(extents) => match self.read_spool(session, extents).await {
                    Ok(bytes) => bytes.into(),
                    Err(error) => {
                        self.unreadable(session, rendition, name, &error);
                        tokio::time::sleep(patience.pause()).await;
                        continue;
                    }
                },
            };
            let size = payload.content_length();
            self.note(session, rendition, name, Noted::tried);
            let put = self.backend.put(&key, payload, MEDIA_TYPE).await;
            if self.attempted(&key, put, &mut patience).await.is_some() {
                self.note(session, rendition, name, Noted::uploaded);
                let of_kind = match name {
                    MediaName::Init { .. } => &self.counters.put_inits,
                    MediaName::Segment { .. } | MediaName::Part { .. } => &self.counters.put_segments,
                };
                self.count_put(of_kind, size);
                if self.backend.filesystem.is_some() {
                    self.uploads.begun(); // it outlives this job
                    self.settling.push(Put { session: session.clone(), rendition, name });
                } else {
                    self.stored(session, rendition, name).await;
                }
                return;
            }
        }
    }

    /// Tells how long a segment, which has just been put, took from the arrival of its last frame.
    fn count_delay(&self, session: &Session, rendition: RenditionId, name: MediaName) {
        let MediaName::Segment { msn, .. } = name else { return };
        let catalog = session.catalog.lock();
        let entry = catalog.rendition(rendition).and_then(|log| log.entry(msn));
        let (arrived, rung) =
            (entry.and_then(|entry| entry.arrived), catalog.head.renditions.get(usize::from(rendition.0)));
        if let (Some(arrived), Some(rung)) = (arrived, rung) {
            let delay = self.clock.monotonic().saturating_sub(arrived);
            names::INGEST_TO_STORED.histogram(&[("rung", &rung.name)]).record(delay);
        }
    }

    /// The object is there and durable.
    pub(crate) async fn stored(self: &Arc<Self>, session: &Arc<Session>, rendition: RenditionId, name: MediaName) {
        self.count_delay(session, rendition, name);
        self.trace(session, rendition, name);
        let was_lost = session.catalog.lock().stored(rendition, name);
        if was_lost {
            self.counters.regained();
        }
        publish::changed(self, session, rendition);
        let (shared, session) = (self.clone(), session.clone());
        self.blocking(move || {
            session.note(&Record::Stored(rendition, name));
            shared.spool.reclaim(&session.tenant(), false);
        })
        .await;
    }

    /// The spool could not be read. What is gone for good is lost; anything else may come back.
    fn unreadable(&self, session: &Arc<Session>, rendition: RenditionId, name: MediaName, error: &StoreError) {
        if self.counters.disk_failed() {
            tracing::error!(session = session.id, %name, %error, "the spool cannot be read");
        }
        let gone = matches!(error, StoreError::Disk { source, .. }
            if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof));
        let MediaName::Segment { msn, .. } = name else { return };
        let lost = gone && session.catalog.lock().lose(rendition, msn);
        if lost {
            Counters::add(&self.counters.lost_segments, 1);
            publish::changed(self, session, rendition);
        }
    }

    /// Reads from the spool on a thread that may block.
    pub(crate) async fn read_spool(
        self: &Arc<Self>,
        session: &Arc<Session>,
        extents: Vec<Extent>,
    ) -> Result<Bytes, StoreError> {
        let (shared, session) = (self.clone(), session.clone());
        let read = self.blocking(move || session.read_spool(&shared.spool, &extents)).await;
        read.unwrap_or_else(|| {
            let source = std::io::Error::other("the daemon stops");
            Err(StoreError::Disk { doing: "read", path: self.spool.root.clone(), source })
        })
    }

    /// Runs `work` on a thread that may block, and waits for it. `None` when the runtime is going down. A panic in it is the
    /// caller's. It runs to its end also when nobody waits any more, and the store is not closed before.
    pub(crate) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let running = self.tasks.token();
        let work = move || {
            let _running = running;
            work()
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => Some(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }
}

fn source(session: &Session, rendition: RenditionId, name: MediaName) -> Source {
    let catalog = session.catalog.lock();
    let Some(log) = catalog.rendition(rendition) else { return Source::Gone };
    match name {
        MediaName::Init { number } => {
            let init = log.inits.get(&number).filter(|entry| !entry.stored);
            init.map_or(Source::Gone, |entry| Source::Memory(entry.init.bytes.clone().into()))
        }
        MediaName::Segment { msn, .. } | MediaName::Part { msn, .. } => {
            let entry = log.entry(msn).filter(|entry| entry.placement == Placement::Spooled);
            if let Some(parts) = entry.and_then(Entry::at_hand) {
                return Source::Memory(parts.iter().cloned().collect());
            }
            entry.and_then(Entry::spooled).map_or(Source::Gone, Source::Spool)
        }
    }
}

/// Key of a segment or init.
pub(crate) fn media_key(session: &Session, rendition: RenditionId, name: MediaName) -> Option<String> {
    let catalog = session.catalog.lock();
    let rendition = catalog.head.renditions.get(usize::from(rendition.0))?;
    let folder = naming::rendition_prefix(&session.stream, &session.id, &rendition.name);
    Some(format!("{folder}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_cap_and_their_upper_half_is_chance() {
        let mut patience = Patience::default();
        for millis in [250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000] {
            let (pause, longest) = (patience.pause(), Duration::from_millis(millis));
            assert!(pause >= longest / 2 && pause <= longest, "{pause:?} of {longest:?}");
        }
        patience.failures = u32::MAX;
        assert!(patience.pause() <= LONGEST_PAUSE);
    }

    #[tokio::test]
    async fn a_job_counts_as_done_however_it_ends() {
        let line = Uploads::default();
        assert!(line.is_idle());
        let mut progress = line.progress();
        line.outstanding.fetch_add(1, Ordering::SeqCst);
        assert!(!line.is_idle());
        drop(Done(&line));
        assert!(line.is_idle());
        progress.changed().await.expect("the line lives");
    }
}
