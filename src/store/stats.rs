//! Figures and alarms of the store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What the store is doing, for metrics and `/readyz`. Counts are since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Segments and init segments that wait to be uploaded.
    pub backlog_objects: u64,
    /// Their bytes.
    pub backlog_bytes: u64,
    /// Age of the oldest of them, by the wall clock of its media; zero when there is none.
    pub backlog_oldest: Duration,
    /// Bytes of all journal files.
    pub spool_bytes: u64,
    /// Most that they may be.
    pub spool_max_bytes: u64,
    /// Journal files.
    pub spool_files: u64,
    /// Objects put.
    pub puts: Puts,
    /// Bytes of them.
    pub put_bytes: u64,
    /// Objects deleted.
    pub deletes: u64,
    /// Requests to the object store that failed; each is tried again.
    pub object_failures: u64,
    /// Outputs that could not be journalled.
    pub append_failures: u64,
    /// Segments that were dropped or never written, and stand as EXT-X-GAP in stored playlists.
    pub lost_segments: u64,
    /// Syncs of group commit: of one file, or of the file system when many were written.
    pub syncs: u64,
    /// Longest of these syncs.
    pub longest_sync: Duration,
    /// What is wrong now.
    pub alarms: Alarms,
}

/// Objects that were put, by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Puts {
    /// Init segments.
    pub inits: u64,
    /// Segments.
    pub segments: u64,
    /// Playlists, each version counted.
    pub playlists: u64,
}

/// Conditions that an operator must see. Each clears itself when it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarms {
    /// The spool is full: media was dropped or refused, and there is still not room for a file without losing more.
    pub spool_full: bool,
    /// The spool's disk fails.
    pub disk: bool,
    /// The object store fails.
    pub objects: bool,
}

/// The counters behind [`StoreStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub put_inits: AtomicU64,
    pub put_segments: AtomicU64,
    pub put_playlists: AtomicU64,
    pub put_bytes: AtomicU64,
    pub deletes: AtomicU64,
    pub object_failures: AtomicU64,
    pub append_failures: AtomicU64,
    pub lost_segments: AtomicU64,
    syncs: AtomicU64,
    longest_sync_nanos: AtomicU64,
    spool_full: AtomicBool,
    disk: AtomicBool,
    disk_faults: AtomicU64,
    objects: AtomicBool,
    settling: AtomicBool,
}

impl Counters {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// A sync took this long.
    pub fn synced(&self, took: Duration) {
        Self::add(&self.syncs, 1);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.longest_sync_nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Raises the disk alarm. True when it was not raised before, so that it is logged once.
    pub fn disk_failed(&self) -> bool {
        Self::add(&self.disk_faults, 1);
        !self.disk.swap(true, Ordering::Relaxed)
    }

    /// Raises the alarm of a full spool. True when it was not raised before.
    pub fn spool_is_full(&self) -> bool {
        !self.spool_full.swap(true, Ordering::Relaxed)
    }

    /// A request to the object store failed. True when the alarm was not raised before.
    pub fn objects_failed(&self) -> bool {
        Self::add(&self.object_failures, 1);
        !self.objects.swap(true, Ordering::Relaxed)
    }

    /// How often the disk has failed.
    pub fn disk_faults(&self) -> u64 {
        self.disk_faults.load(Ordering::Relaxed)
    }

    /// Whether the disk alarm is raised.
    pub fn disk_alarm(&self) -> bool {
        self.disk.load(Ordering::Relaxed)
    }

    /// A file was begun, which proves the disk. True when the alarm was raised.
    pub fn disk_works(&self) -> bool {
        self.disk.swap(false, Ordering::Relaxed)
    }

    /// Whether the alarm of a full spool is raised.
    pub fn spool_alarm(&self) -> bool {
        self.spool_full.load(Ordering::Relaxed)
    }

    /// There is room without losing anything.
    pub fn spool_has_room(&self) {
        self.spool_full.store(false, Ordering::Relaxed);
    }

    /// A segment that was given up got through after all.
    pub fn regained(&self) {
        self.lost_segments.fetch_sub(1, Ordering::Relaxed);
    }

    /// A request to the object store succeeded. True when the alarm ends with it.
    pub fn objects_work(&self) -> bool {
        let was_raised = self.objects.load(Ordering::Relaxed) && self.objects.swap(false, Ordering::Relaxed);
        was_raised && !self.settling.load(Ordering::Relaxed)
    }

    /// Objects could not be made durable: the same alarm, which requests that succeed do not end.
    pub fn settling_failed(&self) {
        Self::add(&self.object_failures, 1);
        self.settling.store(true, Ordering::Relaxed);
    }

    /// Objects were made durable. True when the alarm ends with it.
    pub fn settling_works(&self) -> bool {
        let was_raised = self.settling.load(Ordering::Relaxed) && self.settling.swap(false, Ordering::Relaxed);
        was_raised && !self.objects.load(Ordering::Relaxed)
    }

    /// The counters' part of the figures.
    pub fn snapshot(&self) -> StoreStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            puts: Puts {
                inits: get(&self.put_inits),
                segments: get(&self.put_segments),
                playlists: get(&self.put_playlists),
            },
            put_bytes: get(&self.put_bytes),
            deletes: get(&self.deletes),
            object_failures: get(&self.object_failures),
            append_failures: get(&self.append_failures),
            lost_segments: get(&self.lost_segments),
            syncs: get(&self.syncs),
            longest_sync: Duration::from_nanos(get(&self.longest_sync_nanos)),
            alarms: Alarms {
                spool_full: self.spool_full.load(Ordering::Relaxed),
                disk: self.disk.load(Ordering::Relaxed),
                objects: self.objects.load(Ordering::Relaxed) || self.settling.load(Ordering::Relaxed),
            },
            ..StoreStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_of_objects_ends_when_what_raised_it_works() {
        let counters = Counters::default();
        let alarm = || counters.snapshot().alarms.objects;
        assert!(counters.objects_failed() && !counters.objects_failed(), "raised once");
        assert!(alarm() && !counters.settling_works() && alarm(), "what is durable says nothing of requests");
        assert!(counters.objects_work() && !alarm() && !counters.objects_work());
        counters.settling_failed();
        assert!(!counters.objects_work() && alarm(), "a request proves no disk");
        counters.objects_failed();
        assert!(!counters.settling_works() && alarm(), "both must work");
        assert!(counters.objects_work() && !alarm());
        assert_eq!(counters.snapshot().object_failures, 4);
    }
}
