//! Group commit: one thread makes the writes of all sessions durable, so that fifty streams cost the disk no more often
//! than one.
//!
//! A few files are synced one by one; more of them with one call for the whole file system, which costs the disk one commit
//! of its own journal instead of one for each file. That call also waits for what others write to the same file system: when
//! one took longer than [`SLOW_TOGETHER`], files are synced one by one for [`ALONE_FOR`], however many they are.
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
/// A sync of the whole file system that takes longer has waited for writes of others: the interval is 200 ms, and a disk that
/// needs this long for a few MiB of journal is as slow file by file.
const SLOW_TOGETHER: Duration = Duration::from_secs(1);
/// For so long files are synced one by one then; the next commit of many files tries the one call again.
const ALONE_FOR: Duration = Duration::from_secs(60);

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
    /// Held for a sync of this file alone: the kernel tells of a failed write once, so whoever syncs next must see `failed`.
    syncing: Mutex<()>,
    /// The file's name and its snapshot are durable: older files are needed no more for what it tells.
    pub landed: Arc<AtomicBool>,
}

impl SharedFile {
    /// A file just made.
    pub fn new(path: PathBuf, file: Arc<dyn AppendFile>) -> Arc<Self> {
        let (dirty, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(SharedFile { path, file, dirty, failed, syncing: Mutex::new(()), landed: Arc::default() })
    }

    /// A sync has covered the file and its name.
    fn has_landed(&self) {
        if !self.failed.load(Ordering::SeqCst) {
            self.landed.store(true, Ordering::SeqCst);
        }
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
    /// Held for the whole of a commit: what one has taken is not durable before it is through. Within it the monotonic time
    /// before which the file system is not synced as a whole.
    committing: Mutex<Duration>,
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
        let (committing, bell) = (Mutex::default(), Condvar::new());
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

    /// Notes a new file and the folders with new names; one commit covers all of them.
    pub fn begun(&self, file: &Arc<SharedFile>, folders: impl IntoIterator<Item = PathBuf>) {
        file.dirty.store(true, Ordering::SeqCst);
        self.note(|pending| {
            pending.files.push(file.clone());
            pending.folders.extend(folders);
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
        let mut together_from = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, folders) = {
            let mut pending = self.lock();
            (std::mem::take(&mut pending.files), std::mem::take(&mut pending.folders))
        };
        for file in &files {
            // Cleared before the sync: a write that comes meanwhile is covered by the next commit.
            file.dirty.store(false, Ordering::SeqCst);
        }
        let mut result = match &self.filesystem {
            Some(filesystem) if files.len() > FEW_FILES && self.clock.monotonic() >= *together_from => {
                self.sync_together(&**filesystem, &files, &mut together_from)
            }
            _ => self.sync_each(&files),
        };
        let mut named = true;
        for folder in folders {
            let synced = self.sync_folder(&folder);
            named &= synced.is_ok();
            result = result.and(synced);
        }
        if named {
            files.iter().for_each(|file| file.has_landed());
        }
        result
    }

    /// Makes a new file and its name durable now, on the caller's thread, without waiting for what other sessions wrote. The next
    /// commit covers it all the same.
    ///
    /// # Errors
    /// The file or a folder could not be synced, now or in a commit before.
    pub fn commit_alone(&self, file: &Arc<SharedFile>, folders: &[PathBuf]) -> Result<(), StoreError> {
        self.sync_alone(file)?;
        for folder in folders {
            self.sync_folder(folder)?;
        }
        file.has_landed();
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), StoreError> {
        let synced = contained(|| self.files.sync_folder(folder)).map_err(StoreError::disk("sync", folder));
        synced.inspect_err(|error| self.failed(error))
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
        let _one_at_a_time = file.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        self.sync(std::slice::from_ref(file), || {
            if file.failed.load(Ordering::SeqCst) {
                return Err(std::io::Error::other("an earlier sync failed"));
            }
            file.file.sync()
        })
    }

    fn sync_together(
        &self,
        filesystem: &dyn Filesystem,
        files: &[Arc<SharedFile>],
        together_from: &mut Duration,
    ) -> Result<(), StoreError> {
        let start = self.clock.monotonic();
        let synced = self.sync(files, || filesystem.sync());
        let end = self.clock.monotonic();
        let took = end.saturating_sub(start);
        if took > SLOW_TOGETHER {
            *together_from = end + ALONE_FOR;
            tracing::warn!(
                ?took,
                files = files.len(),
                "a sync of the spool's whole file system was slow, because others write much to it: the journals are synced one by one for a minute"
            );
        }
        synced
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
    use crate::clock::{ManualClock, SystemClock};
    use crate::media::WallTime;
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
    struct Together(Arc<dyn Filesystem>);

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

    /// A file system whose sync takes its time, and tells of it.
    #[derive(Debug)]
    struct Slow(Arc<ManualClock>, Duration, Told);

    impl Filesystem for Slow {
        fn sync(&self) -> io::Result<()> {
            self.0.advance(self.1);
            AppendFile::sync(&self.2)
        }
    }

    #[test]
    fn a_slow_sync_of_the_file_system_is_not_repeated_for_a_minute() {
        let (sender, syncs) = channel();
        let told = |name| Told(Mutex::new(sender.clone()), name);
        let clock = ManualClock::new(WallTime::from_unix_millis(0));
        let slow = Arc::new(Slow(clock.clone(), SLOW_TOGETHER + Duration::from_millis(1), told("all")));
        let hour = Duration::from_secs(3_600);
        let files = Arc::new(Together(slow));
        let started = Syncer::start(files, Path::new("/"), Arc::default(), clock.clone(), hour);
        let (syncer, stage) = started.expect("a thread starts");
        let many: Vec<_> =
            (0..=FEW_FILES).map(|n| SharedFile::new(n.to_string().into(), Arc::new(told("one")))).collect();
        let commit = || {
            many.iter().for_each(|file| syncer.written(file));
            syncer.commit().expect("synced");
            syncs.try_iter().collect::<Vec<_>>()
        };
        let alone = ["one"; FEW_FILES + 1];
        assert_eq!(commit(), ["all"]);
        assert_eq!(commit(), alone);
        clock.advance(ALONE_FOR - Duration::from_millis(1));
        assert_eq!(commit(), alone);
        clock.advance(Duration::from_millis(1));
        assert_eq!(commit(), ["all"]);
        syncer.stop();
        stage.join();
    }

    #[test]
    fn a_new_file_becomes_durable_without_those_of_others() {
        let (sender, syncs) = channel();
        let hour = Duration::from_secs(3_600);
        let started =
            Syncer::start(Arc::new(OsFiles), Path::new("/nowhere"), Arc::default(), SystemClock::shared(), hour);
        let (syncer, stage) = started.expect("a thread starts");
        let file = |name: &'static str| SharedFile::new(name.into(), Arc::new(Told(Mutex::new(sender.clone()), name)));
        let (own, other) = (file("own"), file("other"));
        syncer.written(&other);
        syncer.begun(&own, []);
        let under_way = syncer.committing.lock().expect("no panic"); // another session's commit takes its time
        syncer.commit_alone(&own, &[]).expect("synced");
        drop(under_way);
        assert_eq!(syncs.try_iter().collect::<Vec<_>>(), ["own"]);
        assert!(own.landed.load(Ordering::SeqCst) && !other.landed.load(Ordering::SeqCst));
        own.failed.store(true, Ordering::SeqCst);
        let error = syncer.commit_alone(&own, &[]).expect_err("what the disk holds is unknown");
        assert_eq!(error.to_string(), "cannot sync `own`: an earlier sync failed");
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
        let (sender, _syncs) = channel();
        let file = SharedFile::new("b".into(), Arc::new(Told(Mutex::new(sender), "b")));
        syncer.begun(&file, ["/nowhere".into()]);
        assert!(syncer.commit().expect_err("failed").to_string().starts_with("cannot sync `/nowhere`: "));
        assert!(!file.landed.load(Ordering::SeqCst), "its name may be gone");
        syncer.begun(&file, []);
        syncer.commit().expect("synced");
        assert!(file.landed.load(Ordering::SeqCst));
        syncer.stop();
        stage.join();
    }
}
