//! A disk that fails when it is told to.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use millstream::store::{AppendFile, Files, OsFiles};
use tokio::sync::watch;

/// What the disk does to writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Well,
    /// Half of each write lands, then this error.
    Half(io::ErrorKind),
    /// New files and writes fail; what is written can still be read.
    ReadOnly,
    /// Writes land, syncs fail.
    Unsynced,
    /// Whoever writes panics.
    Trap,
    /// Writes land; whoever syncs panics.
    TrappedSync,
}

/// [`OsFiles`] with a mood, and a boot id that can change.
#[derive(Debug, Default)]
pub struct FaultyDisk {
    mood: Arc<Mutex<Mood>>,
    boots: AtomicU64,
    /// Writes that reached the disk.
    pub writes: Arc<AtomicU64>,
    /// Syncs that panicked.
    pub trapped: watch::Sender<u64>,
}

impl FaultyDisk {
    pub fn set(&self, mood: Mood) {
        *self.mood.lock().expect("no panic") = mood;
    }

    /// The machine starts anew.
    pub fn reboot(&self) {
        self.boots.fetch_add(1, Ordering::SeqCst);
    }
}

impl Files for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        if *self.mood.lock().expect("no panic") == Mood::ReadOnly {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let file = OsFiles.create(path)?;
        let (mood, writes, trapped) = (self.mood.clone(), self.writes.clone(), self.trapped.clone());
        Ok(Arc::new(FaultyFile { file, mood, writes, trapped }))
    }

    fn boot_id(&self) -> String {
        format!("boot {}", self.boots.load(Ordering::SeqCst))
    }
}

/// [`OsFiles`] whose writes wait while they are held.
#[derive(Debug, Default)]
pub struct HeldDisk(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    held: Mutex<bool>,
    released: Condvar,
    /// Writes that have begun while they were held.
    begun: watch::Sender<u64>,
    /// And have ended.
    ended: AtomicU64,
}

impl HeldDisk {
    /// Writes wait from now on.
    pub fn hold(&self) {
        *self.0.held.lock().expect("no panic") = true;
    }

    /// Lets all go on.
    pub fn release(&self) {
        *self.0.held.lock().expect("no panic") = false;
        self.0.released.notify_all();
    }

    /// Until a write waits.
    pub async fn until_held(&self) {
        self.0.begun.subscribe().wait_for(|writes| *writes > 0).await.expect("the disk is there");
    }

    /// Every write that waited has ended.
    pub fn is_at_rest(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst) == *self.0.begun.borrow()
    }
}

impl Files for HeldDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        Ok(Arc::new(HeldFile { file: OsFiles.create(path)?, disk: self.0.clone() }))
    }
}

#[derive(Debug)]
struct HeldFile {
    file: Arc<dyn AppendFile>,
    disk: Arc<Held>,
}

impl AppendFile for HeldFile {
    fn append(&self, slices: &[&[u8]]) -> io::Result<()> {
        let held = self.disk.held.lock().expect("no panic");
        if !*held {
            drop(held);
            return self.file.append(slices);
        }
        self.disk.begun.send_modify(|count| *count += 1);
        drop(self.disk.released.wait_while(held, |held| *held).expect("no panic"));
        let appended = self.file.append(slices);
        self.disk.ended.fetch_add(1, Ordering::SeqCst);
        appended
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn AppendFile>,
    mood: Arc<Mutex<Mood>>,
    writes: Arc<AtomicU64>,
    trapped: watch::Sender<u64>,
}

impl AppendFile for FaultyFile {
    fn append(&self, slices: &[&[u8]]) -> io::Result<()> {
        let mood = *self.mood.lock().expect("no panic");
        match mood {
            Mood::Trap => panic!("a broken assumption"),
            Mood::Well | Mood::Unsynced | Mood::TrappedSync => {
                self.writes.fetch_add(1, Ordering::SeqCst);
                self.file.append(slices)
            }
            Mood::Half(kind) => {
                let all = slices.concat();
                self.file.append(&[&all[..all.len() / 2]])?;
                Err(kind.into())
            }
            Mood::ReadOnly => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mood = *self.mood.lock().expect("no panic");
        match mood {
            Mood::Unsynced => Err(io::Error::other("scripted")),
            Mood::TrappedSync => {
                self.trapped.send_modify(|count| *count += 1);
                panic!("a broken assumption")
            }
            _ => self.file.sync(),
        }
    }
}
