//! When keys were last used, written in batches: one commit per second at most, however many publishers come.
//!
//! Uses wait in memory, one entry per key, so that the wait is bounded by the number of keys. A batch that fails goes back
//! and is tried again with the next; so does one whose writing panics.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::db::Database;
use super::id::KeyId;
use super::key::Key;
use crate::media::WallTime;
use crate::telemetry::panics::contained;

/// The least time between two commits.
const INTERVAL: Duration = Duration::from_secs(1);

type Pending = HashMap<KeyId, WallTime>;

/// Notes uses and has them written. Dropping it writes what is pending, if the runtime still runs.
#[derive(Debug)]
pub(super) struct UseLog {
    shared: Arc<Shared>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
    _stop_on_drop: DropGuard,
}

#[derive(Debug, Default)]
struct Shared {
    uses: Mutex<Uses>,
    noted: Notify,
}

/// Uses that no reader of the database is sure to see.
#[derive(Debug, Default)]
struct Uses {
    /// Not begun to be written.
    pending: Pending,
    /// Being written.
    writing: Pending,
}

impl Shared {
    /// A panic while it was held cannot have left it half changed: each use of it is one call.
    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Uses that were not written at one moment.
#[derive(Debug)]
pub(super) struct Unwritten(Pending);

impl Unwritten {
    /// A key that was read after that moment, with its use.
    pub(super) fn overlay(&self, key: Key) -> Key {
        Key { last_used_at: self.0.get(&key.id).copied().max(key.last_used_at), ..key }
    }
}

impl UseLog {
    /// Starts the writing task.
    pub(super) fn start(sink: impl Sink) -> UseLog {
        let shared = Arc::new(Shared::default());
        let stop = CancellationToken::new();
        let task = tokio::spawn(write_until(stop.clone(), shared.clone(), sink));
        UseLog { shared, _stop_on_drop: stop.clone().drop_guard(), stop, task: Mutex::new(Some(task)) }
    }

    /// Notes a use.
    pub(super) fn note(&self, key: &KeyId, at: WallTime) {
        self.shared.uses().pending.insert(key.clone(), at);
        self.shared.noted.notify_one();
    }

    /// What is not written yet. Ask before reading keys: a use is in the answer, or in what is read after it, or in both.
    pub(super) fn unwritten(&self) -> Unwritten {
        let uses = self.shared.uses();
        let mut all = uses.writing.clone();
        all.extend(uses.pending.iter().map(|(key, at)| (key.clone(), *at)));
        Unwritten(all)
    }

    /// Writes what is pending and ends the task.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // A panic in the task has been printed; there is nothing left to write.
            let _ = task.await;
        }
    }
}

/// Where batches go: the database, or a test.
pub(super) trait Sink: Send + Sync + 'static {
    /// Writes a batch in one commit.
    fn write(&self, batch: &Pending) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Sink for Database {
    async fn write(&self, batch: &Pending) -> Result<(), sqlx::Error> {
        let mut transaction = self.begin_relaxed().await?;
        for (key, at) in batch {
            sqlx::query("UPDATE stream_keys SET last_used_at = ? WHERE id = ?")
                .bind(at.unix_millis())
                .bind(key.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }
}

async fn write_until(stop: CancellationToken, shared: Arc<Shared>, sink: impl Sink) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = shared.noted.notified() => {}
            () = stop.cancelled() => break,
        }
        write_pending(&shared, &sink).await;
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => break,
        }
    }
    write_pending(&shared, &sink).await;
}

async fn write_pending(shared: &Shared, sink: &impl Sink) {
    let batch = {
        let mut uses = shared.uses();
        uses.writing = std::mem::take(&mut uses.pending);
        uses.writing.clone()
    };
    if batch.is_empty() {
        return;
    }
    let written = contained("key-uses", sink.write(&batch)).await;
    let mut uses = shared.uses();
    uses.writing.clear();
    if let Some(Err(error)) = &written {
        tracing::warn!(keys = batch.len(), %error, "cannot write when stream keys were last used; will try again");
    }
    if !matches!(written, Some(Ok(()))) {
        for (key, at) in batch {
            uses.pending.entry(key).or_insert(at);
        }
        shared.noted.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    /// Tells each batch with the second at which it came, and fails the first `failures`.
    struct Double {
        start: Instant,
        batches: mpsc::UnboundedSender<(u64, usize)>,
        failures: Mutex<u32>,
    }

    impl Sink for Double {
        async fn write(&self, batch: &Pending) -> Result<(), sqlx::Error> {
            self.batches.send((self.start.elapsed().as_secs(), batch.len())).expect("the test listens");
            let mut failures = self.failures.lock().expect("no panic");
            let fails = *failures > 0;
            *failures = failures.saturating_sub(1);
            if fails { Err(sqlx::Error::PoolClosed) } else { Ok(()) }
        }
    }

    fn started(failures: u32) -> (UseLog, mpsc::UnboundedReceiver<(u64, usize)>) {
        let (batches, told) = mpsc::unbounded_channel();
        let double = Double { start: Instant::now(), batches, failures: Mutex::new(failures) };
        (UseLog::start(double), told)
    }

    fn key(number: u32) -> KeyId {
        format!("{number:012}").parse().expect("an id")
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_uses_are_two_commits_a_second_apart() {
        let (log, mut told) = started(0);
        log.note(&key(0), WallTime::from_unix_millis(0));
        assert_eq!(told.recv().await, Some((0, 1)));
        for number in 0..1_000 {
            log.note(&key(number % 100), WallTime::from_unix_millis(i64::from(number)));
        }
        assert_eq!(log.unwritten().0.len(), 100);
        assert_eq!(told.recv().await, Some((1, 100)));
        log.stop().await;
        assert_eq!(told.recv().await, None, "nothing is left to write");
    }

    /// Panics at its first batch.
    struct Panics(Double, AtomicBool);

    impl Sink for Panics {
        async fn write(&self, batch: &Pending) -> Result<(), sqlx::Error> {
            assert!(self.1.swap(true, Ordering::SeqCst), "a broken assumption");
            self.0.write(batch).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_whose_writing_panics_is_tried_again() {
        let (batches, mut told) = mpsc::unbounded_channel();
        let double = Double { start: Instant::now(), batches, failures: Mutex::new(0) };
        let log = UseLog::start(Panics(double, AtomicBool::new(false)));
        log.note(&key(0), WallTime::from_unix_millis(0));
        assert_eq!(told.recv().await, Some((1, 1)), "a second later, with nothing lost");
        log.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_fails_is_tried_again() {
        let (log, mut told) = started(2);
        log.note(&key(0), WallTime::from_unix_millis(0));
        for second in 0..3 {
            assert_eq!(told.recv().await, Some((second, 1)));
        }
        log.note(&key(1), WallTime::from_unix_millis(0));
        log.stop().await;
        assert_eq!(told.recv().await, Some((2, 1)), "the end does not wait");
    }
}
