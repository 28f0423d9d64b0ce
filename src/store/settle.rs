//! Making objects durable together: what is in a folder counts as stored only once the disk has it.
//!
//! A remote store answers when an object is safe. A folder does not: each file would have to be synced, and its folder, which
//! costs the disk more than the media itself. So objects wait here until one sync of the whole file system covers all of them; their
//! bytes stay in the spool meanwhile, and after a power cut they are put again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::Shared;
use super::session::Session;
use super::upload::{Job, Patience};
use crate::media::naming::MediaName;
use crate::media::segment::RenditionId;

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
        let puts = shared.settling.take();
        if puts.is_empty() {
            continue;
        }
        let synced = shared.sync_objects().await;
        if let Err(error) = &synced {
            if shared.counters.objects_failed() {
                tracing::error!(%error, objects = puts.len(), "stored objects could not be made durable; they are put again");
            }
            tokio::time::sleep(patience.pause()).await;
        } else {
            patience = Patience::default();
            shared.objects_work();
        }
        for put in puts {
            match synced {
                Ok(()) => shared.stored(&put.session, put.rendition, put.name).await,
                Err(_) => shared.uploads.push(Job::Media(put.session, put.rendition, put.name)),
            }
            shared.uploads.done();
        }
    }
}

impl Shared {
    /// Syncs the file system of the objects on a thread that may block.
    async fn sync_objects(self: &Arc<Self>) -> std::io::Result<()> {
        let shared = self.clone();
        let synced = tokio::task::spawn_blocking(move || match &shared.backend.filesystem {
            Some(filesystem) => filesystem.sync(),
            None => Ok(()),
        });
        synced.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) // the runtime is going down
    }
}
