//! A panic on a chosen thread. Nothing in the daemon knows of it: what every stage is handed from outside (the clock, the
//! disk, the packets' own memory) looks at the name of the thread that uses it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use millstream::clock::{Clock, ManualClock};
use millstream::media::WallTime;
use millstream::store::{AppendFile, Files, OsFiles};
use millstream::wire::flv::Tag;

/// What a thread does that may trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Whatever comes first.
    Any,
    /// Letting go of a packet's memory.
    LetGo,
}

/// Set for one thread at a time; gone with its panic.
#[derive(Debug, Default)]
pub struct Tripwire {
    thread: Mutex<Option<(String, Step)>>,
    reads: AtomicBool,
}

impl Tripwire {
    /// The thread called `name` panics at its next step.
    pub fn set(&self, name: &str) {
        self.set_at(name, Step::Any);
    }

    /// The thread called `name` panics when it is the last to let go of a packet, which what packages on it is.
    pub fn set_last(&self, name: &str) {
        self.set_at(name, Step::LetGo);
    }

    fn set_at(&self, name: &str, step: Step) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.to_owned(), step));
    }

    /// Whoever reads from the disk next panics.
    pub fn set_read(&self) {
        self.reads.store(true, Ordering::SeqCst);
    }

    fn pass(&self, step: Step) {
        let mut wanted = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let is_here = |(name, at): &mut (String, Step)| {
            [Step::Any, step].contains(at) && thread::current().name() == Some(name) && !thread::panicking()
        };
        let tripped = wanted.take_if(is_here);
        drop(wanted);
        assert!(tripped.is_none(), "a broken assumption of ours");
    }
}

/// Time that trips.
#[derive(Debug)]
pub struct TrippedClock(pub Arc<ManualClock>, pub Arc<Tripwire>);

impl Clock for TrippedClock {
    fn monotonic(&self) -> Duration {
        self.1.pass(Step::Any);
        self.0.monotonic()
    }

    fn wall(&self) -> WallTime {
        self.1.pass(Step::Any);
        self.0.wall()
    }

    fn pause_until(&self, deadline: Duration) -> Duration {
        self.0.pause_until(deadline)
    }
}

/// A disk that trips whoever writes.
#[derive(Debug)]
pub struct TrippedFiles(pub Arc<Tripwire>);

impl Files for TrippedFiles {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        self.0.pass(Step::Any);
        Ok(Arc::new(TrippedFile(OsFiles.create(path)?, self.0.clone())))
    }

    fn read_exact_at(&self, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(!self.0.reads.swap(false, Ordering::SeqCst), "a broken assumption of ours");
        OsFiles.read_exact_at(path, buffer, offset)
    }
}

#[derive(Debug)]
struct TrippedFile(Arc<dyn AppendFile>, Arc<Tripwire>);

impl AppendFile for TrippedFile {
    fn append(&self, slices: &[&[u8]]) -> io::Result<()> {
        self.1.pass(Step::Any);
        self.0.append(slices)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// Memory of a packet that trips whoever lets go of it last, which is the stage that has used it up.
struct Owned(Bytes, Arc<Tripwire>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.1.pass(Step::LetGo);
    }
}

/// The same tags in memory that trips.
pub fn tripped(tags: &[Tag], wire: &Arc<Tripwire>) -> Vec<Tag> {
    let owned = |tag: &Tag| Tag { data: Bytes::from_owner(Owned(tag.data.clone(), wire.clone())), ..tag.clone() };
    tags.iter().map(owned).collect()
}
