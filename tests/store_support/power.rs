//! A disk in memory whose power can go: what was not synced is then there in any part, or not at all.
//!
//! Each file knows which of its appends were synced, each folder which of its names. At a cut every append since the last
//! sync is kept, dropped, or torn at any byte, independently of those before it: what is missing in front of one that is
//! kept is zeros. New names and removals that their folder was not synced after happened or did not.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use millstream::store::{AppendFile, Files};

/// Name of the thread that commits by itself; its syncs wait until a test lets them pass.
const COMMITTER: &str = "store-sync";

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is not zero.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Bytes of a file, and where the appends since its last sync end.
#[derive(Clone, Debug, Default)]
struct Inode {
    bytes: Vec<u8>,
    synced: usize,
    ends: Vec<usize>,
}

impl Inode {
    fn sync(&mut self) {
        self.synced = self.bytes.len();
        self.ends.clear();
    }

    /// What the disk holds after a cut.
    fn after_cut(&self, random: &mut Random) -> Inode {
        let (mut bytes, mut start) = (self.bytes[..self.synced].to_vec(), self.synced);
        for &end in &self.ends {
            let kept = match random.below(3) {
                0 => 0,
                1 => end - start,
                _ => random.below(end - start + 1),
            };
            if kept > 0 {
                bytes.resize(start, 0);
                bytes.extend_from_slice(&self.bytes[start..start + kept]);
            }
            start = end;
        }
        if random.chance(25) {
            bytes.resize(random.below(self.bytes.len() - bytes.len() + 1) + bytes.len(), 0); // its length was written, its blocks not
        }
        Inode { synced: bytes.len(), bytes, ends: Vec::new() }
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Folder,
    File(usize),
}

#[derive(Clone, Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, Entry>,
    /// The names as the disk has them.
    durable: BTreeMap<PathBuf, Entry>,
    inodes: Vec<Inode>,
    /// Writes and names until the power goes.
    ops_left: Option<usize>,
    /// Syncs that the committing thread may do; `None`: any number.
    passes: Option<usize>,
    is_off: bool,
}

impl State {
    /// Counts a write. It is an error when the power is gone before it, or goes with it.
    fn write(&mut self, happens: impl FnOnce(&mut State)) -> io::Result<()> {
        self.is_on()?;
        happens(self);
        if let Some(left) = &mut self.ops_left {
            *left = left.saturating_sub(1);
            self.is_off = *left == 0;
        }
        self.is_on()
    }

    fn is_on(&self) -> io::Result<()> {
        if self.is_off { Err(io::Error::other("the power is gone")) } else { Ok(()) }
    }

    fn file(&self, path: &Path) -> io::Result<&Inode> {
        match self.names.get(path) {
            Some(Entry::File(inode)) => Ok(&self.inodes[*inode]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether all names that are there are durable, and all bytes of their files.
    fn is_clean(&self) -> bool {
        self.names.iter().all(|(path, entry)| {
            let dirty = |entry: &Entry| matches!(entry, Entry::File(inode) if !self.inodes[*inode].ends.is_empty());
            self.durable.get(path) == Some(entry) && !dirty(entry)
        })
    }
}

/// The disk, from one start of the machine to the next cut.
#[derive(Debug, Default)]
pub struct PowerDisk {
    state: Arc<Shared>,
    boot: u64,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, happens: impl FnOnce(&mut State)) -> io::Result<()> {
        let written = self.lock().write(happens);
        self.changed.notify_all(); // the power may be gone, or what was not durable
        written
    }

    /// Waits for the test's leave if this is the committing thread, then syncs. With the last pass the power may go.
    fn sync(&self, does: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        if std::thread::current().name() == Some(COMMITTER) {
            let waits = |state: &mut State| !state.is_off && state.passes == Some(0);
            state = self.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
            if let Some(passes) = &mut state.passes {
                *passes = passes.saturating_sub(1);
            }
        }
        state.is_on()?;
        let done = does(&mut state);
        self.changed.notify_all();
        done
    }
}

impl PowerDisk {
    /// A disk with the empty folder `root`, on which nothing is committed before the test says so.
    pub fn new(root: &Path) -> Arc<Self> {
        let disk = PowerDisk::default();
        let mut state = disk.state.lock();
        state.passes = Some(0);
        state.names = root.ancestors().map(|folder| (folder.to_owned(), Entry::Folder)).collect();
        state.durable = state.names.clone();
        drop(state);
        Arc::new(disk)
    }

    pub fn is_off(&self) -> bool {
        self.state.lock().is_off
    }

    /// Lets the store commit whenever it likes, until it is told otherwise.
    pub fn let_commit(&self) {
        self.state.lock().passes = None;
        self.state.changed.notify_all();
    }

    /// Does something that waits for a commit of its own.
    pub fn committing<T>(&self, does: impl FnOnce() -> T) -> T {
        self.let_commit();
        let done = does();
        self.state.lock().passes = Some(0);
        done
    }

    /// Lets the store commit until all that was written is durable. False when the power went instead.
    pub fn commit(&self) -> bool {
        let mut state = self.state.lock();
        state.passes = None;
        self.state.changed.notify_all();
        let dirty = |state: &mut State| !state.is_off && !state.is_clean();
        state = self.state.changed.wait_while(state, dirty).unwrap_or_else(PoisonError::into_inner);
        state.passes = Some(0);
        !state.is_off
    }

    /// Lets so many syncs pass, if there are as many, and takes the power away.
    pub fn cut_in_commit(&self, syncs: usize) {
        let mut state = self.state.lock();
        state.passes = Some(syncs);
        self.state.changed.notify_all();
        let waits = |state: &mut State| !state.is_off && !state.is_clean() && state.passes != Some(0);
        state = self.state.changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
        state.is_off = true;
        self.state.changed.notify_all();
    }

    /// The power goes with the write of this number from now on.
    pub fn cut_after(&self, writes: usize) {
        self.state.lock().ops_left = Some(writes.max(1));
    }

    /// Takes the power away, for good, and returns what a machine finds that starts on this disk.
    pub fn restarted(&self, random: &mut Random) -> Arc<Self> {
        let mut state = self.state.lock();
        state.is_off = true;
        self.state.changed.notify_all();
        let mut names = BTreeMap::new();
        let all: BTreeSet<_> = state.names.keys().chain(state.durable.keys()).cloned().collect();
        for path in all {
            let (new, old) = (state.names.get(&path).copied(), state.durable.get(&path).copied());
            let entry = if new == old || random.chance(50) { new } else { old };
            let reachable = path.parent().is_none_or(|parent| names.contains_key(parent));
            if let Some(entry) = entry.filter(|_| reachable) {
                names.insert(path, entry);
            }
        }
        let inodes = state.inodes.iter().map(|inode| inode.after_cut(random)).collect();
        let found = State { durable: names.clone(), names, inodes, passes: Some(0), ..State::default() };
        let state = Arc::new(Shared { state: Mutex::new(found), changed: Condvar::new() });
        Arc::new(PowerDisk { state, boot: self.boot + 1 })
    }
}

impl Files for PowerDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        let mut inode = None;
        self.state.write(|state| {
            if state.names.contains_key(path) {
                return;
            }
            for folder in path.ancestors().skip(1) {
                state.names.entry(folder.to_owned()).or_insert(Entry::Folder);
            }
            state.names.insert(path.to_owned(), Entry::File(state.inodes.len()));
            inode = Some(state.inodes.len());
            state.inodes.push(Inode::default());
        })?;
        let inode = inode.ok_or(io::ErrorKind::AlreadyExists)?;
        Ok(Arc::new(PowerFile { disk: self.state.clone(), inode }))
    }

    fn read_exact_at(&self, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state.lock();
        let file = state.file(path)?;
        let from = file.bytes.get(offset as usize..).unwrap_or_default();
        let from = from.get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(from);
        Ok(())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(self.state.lock().file(path)?.bytes.len() as u64)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state.write(|state| {
            state.names.remove(path);
        })
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.state.write(|state| {
            if !state.names.keys().any(|inside| inside.parent() == Some(path)) {
                state.names.remove(path);
            }
        })
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.state.sync(|state| {
            let of_folder = |name: &PathBuf| name.parent() == Some(path);
            state.durable.retain(|name, _| !of_folder(name));
            let names: Vec<_> = state.names.iter().filter(|(name, _)| of_folder(name)).collect();
            let names: Vec<_> = names.into_iter().map(|(name, entry)| (name.clone(), *entry)).collect();
            state.durable.extend(names);
            Ok(())
        })
    }

    fn lock(&self, _: &Path) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
        Ok(Ok(Box::new(())))
    }

    fn boot_id(&self) -> String {
        format!("boot {}", self.boot)
    }
}

#[derive(Debug)]
struct PowerFile {
    disk: Arc<Shared>,
    inode: usize,
}

impl AppendFile for PowerFile {
    fn append(&self, slices: &[&[u8]]) -> io::Result<()> {
        self.disk.write(|state| {
            let inode = &mut state.inodes[self.inode];
            slices.iter().for_each(|slice| inode.bytes.extend_from_slice(slice));
            inode.ends.push(inode.bytes.len());
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync(|state| {
            state.inodes[self.inode].sync();
            Ok(())
        })
    }
}
