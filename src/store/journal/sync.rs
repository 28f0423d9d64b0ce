//! Group commit: one thread makes the writes of all sessions durable, so that fifty streams cost the disk no more often
//! than one.
//!
//! A few files are synced one by one; more of them with one call for the whole file system, which costs the disk one commit
//! of its own journal instead of one for each file.
//!
//! The first write after a commit starts the interval; when it is over, every file written since is synced. A power cut
//! takes at most the interval and the time of one sync. kill -9 takes nothing: what was written is the kernel's.
//!
//! A sync that panics is a sync that failed: its files are written no more, the alarm is raised, every session concerned goes
//! on in a new file, and the thread with the next commit. No session ends for it: the thread is nobody's own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::SharedClock;
use crate::flow::stage::{self, Outcome, Stage};
use crate::store::StoreError;
use crate::store::files::{AppendFile, Files, Filesystem};
use crate::store::stats::Counters;

/// Up to this many files are synced one by one: what else is written to the file system is then not waited for.
const FEW_FILES: usize = 3;

/// A journal file that is being written, as writer and syncer share it.
#[derive(Debug)]
pub(crate) struct SharedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// The open file.
    pub file: Arc<dyn AppendFile>,
    /// Written since the last sync.
    dirty: AtomicBool,
    /// A sync failed: what the disk holds of it is unknown, so nothing more is written to it.
    pub failed: AtomicBool,
}

impl SharedFile {
    /// A file just made.
    pub fn new(path: PathBuf, file: Arc<dyn AppendFile>) -> Arc<Self> {
        Arc::new(SharedFile { path, file, dirty: AtomicBool::new(false), failed: AtomicBool::new(false) })
    }
}

#[derive(Debug, Default)]
struct Pending {
    files: Vec<Arc<SharedFile>>,
    folders: BTreeSet<PathBuf>,
    stop: bool,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.folders.is_empty()
    }
}

/// The dirty list and its thread's bell.
#[derive(Debug)]
pub(crate) struct Syncer {
    files: Arc<dyn Files>,
    /// The one that all files lie on.
    filesystem: Option<Arc<dyn Filesystem>>,
    counters: Arc<Counters>,
    clock: SharedClock,
    every: Duration,
    pending: Mutex<Pending>,
    /// Held for the whole of a commit: what one has taken is not durable before it is through.
    committing: Mutex<()>,
    bell: Condvar,
}

impl Syncer {
    /// Starts the thread for files below `root`, which is there.
    ///
    /// # Errors
    /// The system cannot start another thread.
    pub fn start(
        files: Arc<dyn Files>,
        root: &Path,
        counters: Arc<Counters>,
        clock: SharedClock,
        every: Duration,
    ) -> std::io::Result<(Arc<Syncer>, Stage<StoreError>)> {
        let pending = Mutex::new(Pending::default());
        let filesystem = files.filesystem(root);
        let (committing, bell) = (Mutex::new(()), Condvar::new());
        let syncer = Arc::new(Syncer { files, filesystem, counters, clock, every, pending, committing, bell });
        let body = {
            let syncer = syncer.clone();
            move || {
                syncer.run();
                Ok(())
            }
        };
        let stage = stage::spawn("store-sync", tracing::info_span!("store-sync"), body, |_| ())?;
        Ok((syncer, stage))
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a write to `file`; the next commit covers it.
    pub fn written(&self, file: &Arc<SharedFile>) {
        if !file.dirty.swap(true, Ordering::SeqCst) {
            self.note(|pending| pending.files.push(file.clone()));
        }
    }

    /// Notes a new name in `folder`.
    pub fn named(&self, folder: PathBuf) {
        self.note(|pending| {
            pending.folders.insert(folder);
        });
    }

    /// Only the first note of an interval wakes the thread, which then sleeps until it is over.
    fn note(&self, add: impl FnOnce(&mut Pending)) {
        let mut pending = self.lock();
        let first = pending.is_empty();
        add(&mut pending);
        drop(pending);
        if first {
            self.bell.notify_one();
        }
    }

    /// Commits now, on the caller's thread, behind a commit that is under way: everything written so far is durable then, but for
    /// files that are marked as failed.
    ///
    /// # Errors
    /// The first file or folder that could not be synced.
    pub fn commit(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, folders) = {
            let mut pending = self.lock();
            (std::mem::take(&mut pending.files), std::mem::take(&mut pending.folders))
        };
        for file in &files {
            // Cleared before the sync: a write that comes meanwhile is covered by the next commit.
            file.dirty.store(false, Ordering::SeqCst);
        }
        let mut result = match &self.filesystem {
            Some(filesystem) if files.len() > FEW_FILES => self.sync_together(&**filesystem, &files),
            _ => self.sync_each(&files),
        };
        for folder in folders {
            let synced = contained(|| self.files.sync_folder(&folder)).map_err(StoreError::disk("sync", &folder));
            result = result.and(synced.inspect_err(|error| self.failed(error)));
        }
        result
    }

    /// All of them, also behind one that fails.
    fn sync_each(&self, files: &[Arc<SharedFile>]) -> Result<(), StoreError> {
        let mut result = Ok(());
        for file in files {
            result = result.and(self.sync_alone(file));
        }
        result
    }

    fn sync_alone(&self, file: &Arc<SharedFile>) -> Result<(), StoreError> {
        self.sync(std::slice::from_ref(file), || file.file.sync())
    }

    fn sync_together(&self, filesystem: &dyn Filesystem, files: &[Arc<SharedFile>]) -> Result<(), StoreError> {
        self.sync(files, || filesystem.sync())
    }

    /// One call that shall make `files`, of which there is at least one, durable.
    fn sync(&self, files: &[Arc<SharedFile>], call: impl FnOnce() -> std::io::Result<()>) -> Result<(), StoreError> {
        let path = files.first().map(|file| file.path.clone()).unwrap_or_default();
        let synced = contained(|| {
            let start = self.clock.monotonic();
            let synced = call();
            self.counters.synced(self.clock.monotonic().saturating_sub(start));
            synced
        });
        synced.map_err(StoreError::disk("sync", path)).inspect_err(|error| {
            for file in files {
                // After a failed sync the kernel may forget which pages were dirty: a later success would prove nothing.
                file.failed.store(true, Ordering::SeqCst);
            }
            self.failed(error);
        })
    }

    fn failed(&self, error: &StoreError) {
        if self.counters.disk_failed() {
            tracing::error!(%error, "the journal cannot be made durable; a power cut now may take more than usual");
        }
    }

    fn run(&self) {
        loop {
            let mut pending = self.lock();
            while pending.is_empty() && !pending.stop {
                pending = self.bell.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            let interval = self.bell.wait_timeout_while(pending, self.every, |pending| !pending.stop);
            let stop = interval.unwrap_or_else(PoisonError::into_inner).0.stop;
            // Counted and raised as an alarm where it happened.
            let _ = self.commit();
            if stop {
                return;
            }
        }
    }

    /// Makes the thread commit once more and end.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.bell.notify_all();
    }
}

/// A call into the file layer, on the syncing thread or that of a session which waits for its own writes. Its panic is a
/// failure, and counted.
fn contained(call: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
    match stage::contain("sync", call) {
        Outcome::Finished => Ok(()),
        Outcome::Failed(error) => Err(error),
        Outcome::Panicked(message) => Err(std::io::Error::other(format!("a fault of ours: {message}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::store::files::OsFiles;
    use std::io;
    use std::sync::mpsc::{Sender, channel};

    /// Tells of each sync.
    #[derive(Debug)]
    struct Told(Mutex<Sender<&'static str>>, &'static str);

    impl AppendFile for Told {
        fn append(&self, _: &[&[u8]]) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).send(self.1).map_err(io::Error::other)
        }
    }

    #[test]
    fn one_commit_covers_all_files_written_since_the_last() {
        let (sender, syncs) = channel();
        let counters = Arc::new(Counters::default());
        let hour = Duration::from_secs(3_600);
        let started =
            Syncer::start(Arc::new(OsFiles), Path::new("/nowhere"), counters.clone(), SystemClock::shared(), hour);
        let (syncer, stage) = started.expect("a thread starts");
        let file = |name: &'static str| SharedFile::new(name.into(), Arc::new(Told(Mutex::new(sender.clone()), name)));
        let (a, b) = (file("a"), file("b"));
        for _ in 0..3 {
            syncer.written(&a);
            syncer.written(&b);
        }
        syncer.commit().expect("synced");
        assert_eq!(syncs.try_iter().collect::<Vec<_>>(), ["a", "b"]);
        syncer.commit().expect("nothing to sync");
        assert_eq!(syncs.try_iter().count(), 0);
        // Stopping commits once more, without waiting for the interval.
        syncer.written(&b);
        syncer.stop();
        stage.join();
        assert_eq!(syncs.try_iter().collect::<Vec<_>>(), ["b"]);
        assert_eq!(counters.snapshot().syncs, 3);
    }

    /// Files whose file system tells of its syncs.
    #[derive(Debug)]
    struct Together(Arc<Told>);

    impl Filesystem for Told {
        fn sync(&self) -> io::Result<()> {
            AppendFile::sync(self)
        }
    }

    impl Files for Together {
        fn filesystem(&self, _: &Path) -> Option<Arc<dyn Filesystem>> {
            Some(self.0.clone())
        }
        fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
            OsFiles.create(path)
        }
        fn read_exact_at(&self, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            OsFiles.read_exact_at(path, buffer, offset)
        }
        fn len(&self, path: &Path) -> io::Result<u64> {
            OsFiles.len(path)
        }
        fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
            OsFiles.list(folder)
        }
        fn remove_file(&self, path: &Path) -> io::Result<()> {
            OsFiles.remove_file(path)
        }
        fn remove_folder(&self, path: &Path) -> io::Result<()> {
            OsFiles.remove_folder(path)
        }
        fn sync_folder(&self, path: &Path) -> io::Result<()> {
            OsFiles.sync_folder(path)
        }
        fn lock(&self, path: &Path) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
            OsFiles.lock(path)
        }
        fn boot_id(&self) -> String {
            OsFiles.boot_id()
        }
    }

    #[test]
    fn many_files_are_synced_with_one_call_and_fail_together() {
        let (sender, syncs) = channel();
        let told = |name| Arc::new(Told(Mutex::new(sender.clone()), name));
        let (files, hour) = (Arc::new(Together(told("all"))), Duration::from_secs(3_600));
        let started = Syncer::start(files, Path::new("/"), Arc::default(), SystemClock::shared(), hour);
        let (syncer, stage) = started.expect("a thread starts");
        let many: Vec<_> = (0..=FEW_FILES).map(|n| SharedFile::new(n.to_string().into(), told("one"))).collect();
        many.iter().for_each(|file| syncer.written(file));
        syncer.commit().expect("synced");
        assert_eq!(syncs.try_iter().collect::<Vec<_>>(), ["all"]);
        many.iter().skip(1).for_each(|file| syncer.written(file));
        syncer.commit().expect("synced");
        assert_eq!(syncs.try_iter().collect::<Vec<_>>(), ["one"; FEW_FILES]);
        drop(syncs); // now each sync fails
        many.iter().for_each(|file| syncer.written(file));
        syncer.commit().expect_err("failed");
        assert!(many.iter().all(|file| file.failed.load(Ordering::SeqCst)));
        syncer.stop();
        stage.join();
    }

    #[test]
    fn the_thread_commits_by_itself() {
        let (sender, syncs) = channel();
        let millisecond = Duration::from_millis(1);
        let started =
            Syncer::start(Arc::new(OsFiles), Path::new("/nowhere"), Arc::default(), SystemClock::shared(), millisecond);
        let (syncer, stage) = started.expect("a thread starts");
        let file = SharedFile::new("a".into(), Arc::new(Told(Mutex::new(sender), "a")));
        for _ in 0..3 {
            syncer.written(&file);
            assert_eq!(syncs.recv(), Ok("a"));
        }
        syncer.stop();
        stage.join();
    }

    /// Tells of each sync, and panics at it.
    #[derive(Debug)]
    struct Panics(Told);

    impl AppendFile for Panics {
        fn append(&self, _: &[&[u8]]) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            AppendFile::sync(&self.0)?;
            panic!("a broken assumption")
        }
    }

    #[test]
    fn a_panic_is_a_failed_sync_of_its_file_and_the_thread_goes_on() {
        let (sender, syncs) = channel();
        let (counters, millisecond) = (Arc::new(Counters::default()), Duration::from_millis(1));
        let started = Syncer::start(
            Arc::new(OsFiles),
            Path::new("/nowhere"),
            counters.clone(),
            SystemClock::shared(),
            millisecond,
        );
        let (syncer, stage) = started.expect("a thread starts");
        let told = |name: &'static str| Told(Mutex::new(sender.clone()), name);
        let bad = SharedFile::new("bad".into(), Arc::new(Panics(told("bad"))));
        let good = SharedFile::new("good".into(), Arc::new(told("good")));
        syncer.written(&bad);
        assert_eq!(syncs.recv(), Ok("bad"), "the thread is at it");
        syncer.written(&good);
        assert_eq!(syncs.recv(), Ok("good"), "the thread is still there");
        syncer.stop();
        assert!(matches!(stage.join(), Outcome::Finished));
        assert!(bad.failed.load(Ordering::SeqCst) && !good.failed.load(Ordering::SeqCst));
        assert!(counters.snapshot().alarms.disk);
    }

    #[test]
    fn a_panic_while_a_session_waits_for_its_writes_is_an_error_to_it_and_counted() {
        let (metrics, recorder) = crate::telemetry::Metrics::detached().expect("the settings are ours");
        let (sender, syncs) = channel();
        let hour = Duration::from_secs(3_600);
        let started =
            Syncer::start(Arc::new(OsFiles), Path::new("/nowhere"), Arc::default(), SystemClock::shared(), hour);
        let (syncer, stage) = started.expect("a thread starts");
        let told = |name: &'static str| Told(Mutex::new(sender.clone()), name);
        let bad = SharedFile::new("bad".into(), Arc::new(Panics(told("bad"))));
        let good = SharedFile::new("good".into(), Arc::new(told("good")));
        syncer.written(&bad);
        syncer.written(&good);
        let committed = metrics::with_local_recorder(&recorder, || syncer.commit());
        let words = committed.expect_err("not all of it is durable").to_string();
        assert_eq!(words, "cannot sync `bad`: a fault of ours: a broken assumption");
        assert_eq!(syncs.try_iter().collect::<Vec<_>>(), ["bad", "good"], "what another session wrote is durable");
        assert!(metrics.render().contains("\nmillstream_stage_panics_total{stage=\"sync\"} 1\n"));
        syncer.stop();
        stage.join();
    }

    #[test]
    fn a_failed_sync_condemns_the_file_and_raises_the_alarm() {
        let (sender, syncs) = channel();
        drop(syncs); // now each sync fails
        let counters = Arc::new(Counters::default());
        let hour = Duration::from_secs(3_600);
        let started =
            Syncer::start(Arc::new(OsFiles), Path::new("/nowhere"), counters.clone(), SystemClock::shared(), hour);
        let (syncer, stage) = started.expect("a thread starts");
        let file = SharedFile::new("a".into(), Arc::new(Told(Mutex::new(sender), "a")));
        syncer.written(&file);
        let error = syncer.commit().expect_err("failed");
        assert_eq!(error.to_string(), "cannot sync `a`: sending on a closed channel");
        assert!(file.failed.load(Ordering::SeqCst) && counters.snapshot().alarms.disk);
        syncer.named("/nowhere".into());
        assert!(syncer.commit().expect_err("failed").to_string().starts_with("cannot sync `/nowhere`: "));
        syncer.stop();
        stage.join();
    }
}
