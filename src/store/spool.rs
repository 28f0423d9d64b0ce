//! The spool: all journal files of all sessions, their bound, and which of them may go.
//!
//! A file may go once a newer file of its session has begun with a snapshot, and that is durable: else a power cut could keep
//! the removal and not the snapshot, and nothing would tell of the session. While there is room it goes when nothing in
//! it is wanted any more. When there is none:
//!
//! 1. the oldest file whose media is all stored goes, although it could still have served a read;
//! 2. else the oldest file goes with media that was never stored: those segments become EXT-X-GAP in stored playlists,
//!    are counted, and raise the alarm;
//! 3. else (every session has but the file it is writing) the newest is refused, and the alarm is raised. A second later the
//!    session that was refused begins a new file, so that its old one may go by 1 or 2.
//!
//! The bound may be passed by one snapshot per session.
//! The live path is never asked to wait. Pins of recordings will exempt files from 1 and 2.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::StoreError;
use super::files::Files;
use super::journal::sync::Syncer;
use super::stats::Counters;
use crate::clock::SharedClock;

/// How names of journal files end.
pub(crate) const JOURNAL: &str = ".journal";
/// No file has this number: the one before it could not be followed by another.
pub(crate) const NO_FILE: u64 = u64::MAX;

fn file_stem(number: u64) -> String {
    format!("{number:010}")
}

/// Where a part's payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Number of the session's journal file.
    pub file: u64,
    /// Offset in it.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
}

/// What a file's loss would mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holds {
    /// It holds bytes that are in the object store too, and recent enough to be asked for.
    Copies,
    /// It holds bytes that are nowhere else.
    Originals,
}

/// Who knows what the files of a session hold.
pub(crate) trait Tenant: Send + Sync + Debug {
    /// What is in each file, by its number; a file that is not named holds nothing of use.
    fn census(&self) -> BTreeMap<u64, Holds>;

    /// The file goes. Segments that only it held are lost; returns how many.
    fn forget(&self, file: u64) -> u64;
}

#[derive(Debug)]
struct SpoolFile {
    tenant: Weak<dyn Tenant>,
    path: PathBuf,
    number: u64,
    len: u64,
    /// Whether the snapshot of a newer file of the session is durable; `None` while there is no such file.
    superseded: Option<Arc<AtomicBool>>,
}

impl SpoolFile {
    fn is_superseded(&self) -> bool {
        self.superseded.as_ref().is_some_and(|landed| landed.load(Ordering::SeqCst))
    }
}

#[derive(Debug, Default)]
struct Registry {
    /// By age.
    files: BTreeMap<u64, SpoolFile>,
    next_age: u64,
}

/// All journal files, and what writing them needs.
#[derive(Debug)]
pub(crate) struct Spool {
    pub files: Arc<dyn Files>,
    pub syncer: Arc<Syncer>,
    pub counters: Arc<Counters>,
    pub clock: SharedClock,
    /// The folder.
    pub root: PathBuf,
    /// Most bytes.
    pub max_bytes: u64,
    /// Bytes after which a journal goes on in a new file.
    pub file_limit: u64,
    registry: Mutex<Registry>,
    used: AtomicU64,
    /// A file would have gone if the snapshot that supersedes it had been durable.
    waiting: AtomicBool,
    /// The store is gone: no file is begun any more, the next daemon may be reading already.
    pub stopped: AtomicBool,
}

/// A registered file: its age, by which it is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileAge(u64);

impl Spool {
    pub fn new(
        root: PathBuf,
        (max_bytes, file_limit): (u64, u64),
        files: Arc<dyn Files>,
        syncer: Arc<Syncer>,
        counters: Arc<Counters>,
        clock: SharedClock,
    ) -> Arc<Self> {
        let (registry, used) = (Mutex::default(), AtomicU64::new(0));
        let (waiting, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Spool {
            files,
            syncer,
            counters,
            clock,
            root,
            max_bytes,
            file_limit,
            registry,
            used,
            waiting,
            stopped,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folder of a session's journal. Both names have passed `is_component`.
    pub fn folder(&self, stream: &str, session: &str) -> PathBuf {
        self.root.join(stream).join(session)
    }

    /// Path of a journal file. Numbers are padded so that a listing is in order.
    pub fn path(folder: &Path, number: u64) -> PathBuf {
        folder.join(format!("{}{JOURNAL}", file_stem(number)))
    }

    /// The inverse of [`Spool::path`]. `None` for what no daemon has named: a number is written in one way, and is not [`NO_FILE`].
    pub fn number(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(JOURNAL)?;
        let number = digits.parse().ok().filter(|number| *number != NO_FILE)?;
        (digits == file_stem(number)).then_some(number)
    }

    /// Adds a file, the youngest, by its number and length. Those of the same tenant that were there before it are superseded by
    /// its snapshot once that has `landed`; `None` when nothing is known of it.
    pub fn add(
        &self,
        tenant: &Arc<dyn Tenant>,
        path: PathBuf,
        (number, len): (u64, u64),
        landed: Option<&Arc<AtomicBool>>,
    ) -> FileAge {
        let mut registry = self.lock();
        let tenant = Arc::downgrade(tenant);
        for file in registry.files.values_mut().filter(|file| Weak::ptr_eq(&file.tenant, &tenant)) {
            if let (Some(landed), false) = (landed, file.is_superseded()) {
                file.superseded = Some(landed.clone());
            }
        }
        let age = registry.next_age;
        registry.next_age += 1;
        registry.files.insert(age, SpoolFile { tenant, path, number, len, superseded: None });
        self.used.fetch_add(len, Ordering::SeqCst);
        FileAge(age)
    }

    /// A file grew.
    pub fn grew(&self, age: FileAge, by: u64) {
        if let Some(file) = self.lock().files.get_mut(&age.0) {
            file.len += by;
            self.used.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Bytes and number of all files.
    pub fn usage(&self) -> (u64, u64) {
        (self.used.load(Ordering::SeqCst), self.lock().files.len() as u64)
    }

    /// Makes room for `need` bytes as the module says.
    ///
    /// # Errors
    /// [`StoreError::SpoolFull`] when nothing may go.
    pub fn make_room(&self, need: u64) -> Result<(), StoreError> {
        let fits = || self.used.load(Ordering::SeqCst).saturating_add(need) <= self.max_bytes;
        if fits() {
            return Ok(());
        }
        let (mut registry, mut committed) = (self.lock(), false);
        while !fits() {
            let Some((age, originals)) = registry.victim() else {
                let may_go_soon = |file: &SpoolFile| file.superseded.is_some() && !file.is_superseded();
                if !committed && registry.files.values().any(may_go_soon) {
                    drop(registry);
                    // Raised as an alarm where it fails; then nothing more may go than before.
                    let _ = self.syncer.commit();
                    (registry, committed) = (self.lock(), true);
                    continue;
                }
                if self.counters.spool_is_full() {
                    tracing::error!(max_bytes = self.max_bytes, "the spool is full of open files: media is not stored");
                }
                let used_bytes = self.used.load(Ordering::SeqCst);
                return Err(StoreError::SpoolFull { used_bytes, max_bytes: self.max_bytes });
            };
            if originals && self.counters.spool_is_full() {
                tracing::error!(max_bytes = self.max_bytes, "the spool is full: the oldest media is dropped unstored");
            }
            self.remove(&mut registry, age);
        }
        Ok(())
    }

    /// Removes the files of `tenant` that hold nothing of use, and with `copies` those too that only serve reads.
    pub fn reclaim(&self, tenant: &Arc<dyn Tenant>, copies: bool) {
        let census = tenant.census();
        let mut registry = self.lock();
        let weak = Arc::downgrade(tenant);
        let mut waiting = false;
        let useless = registry.files.iter().filter(|(_, file)| {
            let free = match census.get(&file.number) {
                None => true,
                Some(Holds::Copies) => copies,
                Some(Holds::Originals) => false,
            };
            let may_go = free && file.superseded.is_some() && Weak::ptr_eq(&file.tenant, &weak);
            waiting |= may_go && !file.is_superseded();
            may_go && file.is_superseded()
        });
        for age in useless.map(|(age, _)| *age).collect::<Vec<_>>() {
            self.remove(&mut registry, age);
        }
        drop(registry);
        if waiting {
            self.waiting.store(true, Ordering::SeqCst);
        }
        self.look_for_room();
    }

    /// Whether files waited for a commit before they could go; asked once.
    pub fn take_waiting(&self) -> bool {
        self.waiting.swap(false, Ordering::SeqCst)
    }

    /// Ends the alarm when a file's worth of media fits in without anything being lost.
    fn look_for_room(&self) {
        if !self.counters.spool_alarm() {
            return;
        }
        let registry = self.lock();
        let mut censuses = Censuses::default();
        let originals = registry.files.values().filter(|file| censuses.holds(file) == Some(Holds::Originals));
        if originals.map(|file| file.len).sum::<u64>() + self.file_limit <= self.max_bytes {
            self.counters.spool_has_room();
            tracing::info!("the spool has room again");
        }
    }

    /// Removes all files that hold nothing but copies: the disk is full, whatever the bound says.
    pub fn trim(&self) {
        let tenants: Vec<_> = self.lock().files.values().filter_map(|file| file.tenant.upgrade()).collect();
        for tenant in &tenants {
            self.reclaim(tenant, true);
        }
    }

    /// Removes all files of a session that is over, and its folder.
    pub fn remove_session(&self, tenant: &Arc<dyn Tenant>, folder: &Path) {
        let mut registry = self.lock();
        let weak = Arc::downgrade(tenant);
        let all = registry.files.iter().filter(|(_, file)| Weak::ptr_eq(&file.tenant, &weak));
        for age in all.map(|(age, _)| *age).collect::<Vec<_>>() {
            self.remove(&mut registry, age);
        }
        drop(registry);
        let removed = self.files.remove_folder(folder);
        if let Err(error) = removed {
            tracing::warn!(folder = %folder.display(), %error, "the folder of an ended session stays");
        }
    }

    fn remove(&self, registry: &mut Registry, age: u64) {
        let Some(file) = registry.files.remove(&age) else { return };
        self.used.fetch_sub(file.len, Ordering::SeqCst);
        let lost = file.tenant.upgrade().map_or(0, |tenant| tenant.forget(file.number));
        Counters::add(&self.counters.lost_segments, lost);
        if let Err(error) = self.files.remove_file(&file.path) {
            tracing::warn!(path = %file.path.display(), %error, "a journal file that is no longer needed stays");
        }
    }

    /// The bytes of `extents`, one behind the other. Blocks.
    ///
    /// # Errors
    /// The disk fails, or the file is gone.
    pub fn read(&self, folder: &Path, extents: &[Extent]) -> Result<Bytes, StoreError> {
        let total = extents.iter().map(|extent| extent.len as usize).sum();
        let mut buffer = vec![0; total];
        let mut rest = buffer.as_mut_slice();
        for extent in extents {
            let (part, behind) = rest.split_at_mut(extent.len as usize);
            let path = Spool::path(folder, extent.file);
            let read = self.files.read_exact_at(&path, part, extent.offset);
            read.map_err(StoreError::disk("read", &path))?;
            rest = behind;
        }
        Ok(buffer.into())
    }
}

/// What the files hold, asked of each tenant once.
#[derive(Default)]
struct Censuses(Vec<(Weak<dyn Tenant>, BTreeMap<u64, Holds>)>);

impl Censuses {
    fn holds(&mut self, file: &SpoolFile) -> Option<Holds> {
        let known = self.0.iter().position(|(tenant, _)| Weak::ptr_eq(tenant, &file.tenant));
        let at = known.unwrap_or_else(|| {
            let census = file.tenant.upgrade().map(|tenant| tenant.census()).unwrap_or_default();
            self.0.push((file.tenant.clone(), census));
            self.0.len() - 1
        });
        self.0[at].1.get(&file.number).copied()
    }
}

impl Registry {
    /// The file to drop next, and whether media goes with it that was never stored.
    fn victim(&self) -> Option<(u64, bool)> {
        let mut censuses = Censuses::default();
        let mut may_go = self.files.iter().filter(|(_, file)| file.is_superseded());
        let oldest = may_go.clone().next();
        let harmless = may_go.find(|(_, file)| censuses.holds(file) != Some(Holds::Originals));
        harmless.map(|(age, _)| (*age, false)).or(oldest.map(|(age, _)| (*age, true)))
    }
}
