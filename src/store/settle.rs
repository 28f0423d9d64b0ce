//! Making objects durable together: what is in a folder counts as stored only once the disk has it.
//!
//! A remote store answers when an object is safe. A folder does not: each file would have to be synced, and its folder, which
//! costs the disk more than the media itself. So objects wait here until one sync of the whole file system covers all of them; their
//! bytes stay in the spool meanwhile, and after a power cut they are put again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use super::session::Session;
use super::upload::{Job, Patience};
use crate::media::naming::MediaName;
use crate::media::segment::RenditionId;
use crate::telemetry::panics::contained;

/// From the first object that waits until the sync: how much later a stored playlist names a segment.
const SETTLE_AFTER: Duration = Duration::from_millis(500);

/// An object that was put and is not durable yet. It counts as a job under way.
#[derive(Debug)]
pub(crate) struct Put {
    pub session: Arc<Session>,
    pub rendition: RenditionId,
    pub name: MediaName,
}

/// Objects that wait for the sync.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    waiting: Mutex<Vec<Put>>,
    bell: Notify,
}

impl Settling {
    /// Takes an object in, whose job stays outstanding until it is settled.
    pub fn push(&self, put: Put) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(put);
        self.bell.notify_one();
    }

    fn take(&self) -> Vec<Put> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Settles objects until the store stops. What is not settled then is put again after the next start.
pub(crate) async fn run(shared: Arc<Shared>) {
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => {}
        () = settle_for_ever(&shared) => {}
    }
}

async fn settle_for_ever(shared: &Arc<Shared>) {
    let mut patience = Patience::default();
    loop {
        shared.settling.bell.notified().await;
        tokio::time::sleep(SETTLE_AFTER).await;
        contained("settle", settle(shared, &mut patience)).await;
    }
}

/// One sync, and what it made durable.
async fn settle(shared: &Arc<Shared>, patience: &mut Patience) {
    let mut round = Round { shared, puts: shared.settling.take().into() };
    if round.puts.is_empty() {
        return;
    }
    if let Err(error) = shared.sync_objects().await {
        shared.counters.settling_failed();
        if let Some(times) = shared.log.syncs.pass(shared.clock.monotonic()) {
            let objects = round.puts.len();
            tracing::error!(%error, objects, times, "stored objects cannot be made durable and are put again; check the disk of the storage folder");
        }
        tokio::time::sleep(patience.pause()).await;
        return;
    }
    *patience = Patience::default();
    let works = shared.counters.settling_works();
    shared.tell_recovery(works);
    while let Some(put) = round.puts.pop_front() {
        let stored = shared.stored(&put.session, put.rendition, put.name);
        match contained("settle", stored).await {
            Some(()) => shared.uploads.done(),
            None => round.put_again(put), // what is noted of it already is found then
        }
    }
}

/// Objects of one sync. Those that are left when it is dropped, because the sync failed or panicked, are put again.
struct Round<'a> {
    shared: &'a Shared,
    puts: VecDeque<Put>,
}

impl Round<'_> {
    fn put_again(&self, put: Put) {
        self.shared.uploads.push(Job::Media(put.session, put.rendition, put.name));
        self.shared.uploads.done(); // the job before it
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        while let Some(put) = self.puts.pop_front() {
            self.put_again(put);
        }
    }
}

impl Shared {
    /// Syncs the file system of the objects on a thread that may block.
    async fn sync_objects(self: &Arc<Self>) -> std::io::Result<()> {
        let (shared, running) = (self.clone(), self.tasks.token());
        let synced = tokio::task::spawn_blocking(move || {
            let _running = running;
            shared.backend.filesystem.as_ref().map_or(Ok(()), |filesystem| filesystem.sync())
        });
        // A panic, which counts as a failure, or the runtime is going down.
        synced.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }
}
