//! Appending to a session's journal.
//!
//! The journal heals itself: after a failed write the file is left as it is, torn, and the next write that finds room and
//! a working disk begins a new file, whose snapshot holds everything that the failed writes would have told. Only payloads
//! are lost.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::format::{MAX_BODY_BYTES, MAX_PART_BODY_BYTES, RECORD_HEADER_BYTES, file_header};
use super::record::{PART_HEAD_BYTES, Record, part_frame};
use super::sync::SharedFile;
use crate::media::Part;
use crate::store::StoreError;
use crate::store::files::AppendFile;
use crate::store::spool::{Extent, FileAge, NO_FILE, Spool, Tenant};

/// Pause after a failed write before a new file is tried, so that a full disk is not asked for each part.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Who can say everything that is known of the session, as records.
pub(crate) trait Snapshot {
    /// Appends the head and whatever else a reader needs that sees no older file.
    fn snapshot(&self, out: &mut Vec<u8>);
}

#[derive(Debug)]
struct Active {
    shared: Arc<SharedFile>,
    number: u64,
    age: FileAge,
    len: u64,
    /// Bytes of header and snapshot, which do not count towards the limit: else a large one would rotate at once.
    snapshot_len: u64,
}

/// The writing end of one session's journal.
#[derive(Debug)]
pub(crate) struct Journal {
    spool: Arc<Spool>,
    tenant: Arc<dyn Tenant>,
    folder: PathBuf,
    next_number: u64,
    active: Option<Active>,
    /// Monotonic time before which no new file is tried, and why.
    pause: Option<(Duration, io::ErrorKind)>,
    /// The session is gone: nothing is written any more.
    retired: bool,
    scratch: Vec<u8>,
}

impl Journal {
    /// A journal in `folder` whose next file has `next_number`. Nothing is written yet.
    pub fn new(spool: Arc<Spool>, tenant: Arc<dyn Tenant>, folder: PathBuf, next_number: u64) -> Self {
        Journal { spool, tenant, folder, next_number, active: None, pause: None, retired: false, scratch: Vec::new() }
    }

    /// Begins a new file with a snapshot and makes it durable: what a resumed or new session does first. It waits for its own
    /// file alone: the snapshot tells all that an earlier file may lack.
    ///
    /// # Errors
    /// As [`Journal::record`]; the file may be there all the same.
    pub fn begin(&mut self, snapshot: &dyn Snapshot) -> Result<(), StoreError> {
        self.active = None;
        self.pause = None;
        self.open_file(snapshot)?;
        match &self.active {
            Some(active) => self.spool.syncer.commit_alone(&active.shared, &self.folders()),
            None => Err(self.paused(io::ErrorKind::Other)), // not reached: open_file has set it
        }
    }

    /// The folders in which a first file makes names.
    fn folders(&self) -> Vec<PathBuf> {
        let below_root = self.folder.ancestors().take_while(|folder| folder.starts_with(&self.spool.root));
        below_root.map(Path::to_owned).collect()
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// The disk fails, for this journal's file now or in a commit before.
    pub fn commit(&self) -> Result<(), StoreError> {
        let committed = self.spool.syncer.commit();
        let failed = self.active.as_ref().filter(|active| active.shared.failed.load(Ordering::SeqCst));
        match failed {
            Some(active) if committed.is_ok() => {
                let source = io::Error::other("an earlier sync failed");
                Err(StoreError::Disk { doing: "sync", path: active.shared.path.clone(), source })
            }
            _ => committed,
        }
    }

    /// Nothing is written from now on: the folder is about to go, and a late record must not bring it back.
    pub fn retire(&mut self) {
        (self.retired, self.active) = (true, None);
    }

    /// Writes a part and says where its payload lies.
    ///
    /// # Errors
    /// The part is too large, the disk fails, or the spool is full.
    pub fn part(&mut self, part: &Part, snapshot: &dyn Snapshot) -> Result<Extent, StoreError> {
        let (size, max) = (part.bytes.len(), MAX_PART_BODY_BYTES - PART_HEAD_BYTES);
        if size > max {
            self.active = None; // the next file's snapshot tells that this part is missing
            return Err(StoreError::TooLarge { what: "a part", size, max });
        }
        let mut frame = std::mem::take(&mut self.scratch);
        part_frame(part, &mut frame);
        let written = self.write(&[&frame, &part.bytes], snapshot);
        let payload_at = frame.len() as u64;
        self.scratch = frame;
        let (file, offset) = written?;
        Ok(Extent { file, offset: offset + payload_at, len: size as u32 })
    }

    /// Writes a record other than a part.
    ///
    /// # Errors
    /// The record is too large, the disk fails, or the spool is full.
    pub fn record(&mut self, record: &Record, snapshot: &dyn Snapshot) -> Result<(), StoreError> {
        let mut frame = std::mem::take(&mut self.scratch);
        frame.clear();
        record.encode(&mut frame);
        let size = frame.len() - RECORD_HEADER_BYTES;
        let written = if size > MAX_BODY_BYTES {
            Err(StoreError::TooLarge { what: "a journal record", size, max: MAX_BODY_BYTES })
        } else {
            self.write(&[&frame], snapshot)
        };
        self.scratch = frame;
        written.map(|_| ())
    }

    /// The number of the file and the offset in it where the slices begin.
    fn write(&mut self, slices: &[&[u8]], snapshot: &dyn Snapshot) -> Result<(u64, u64), StoreError> {
        let need = slices.iter().map(|slice| slice.len() as u64).sum();
        let limit = self.spool.file_limit;
        let usable = self.active.as_ref().is_some_and(|active| {
            let full = active.len > active.snapshot_len && active.len - active.snapshot_len + need > limit;
            !full && !active.shared.failed.load(Ordering::SeqCst)
        });
        if !usable {
            self.open_file(snapshot)?;
        }
        if let Err(full) = self.spool.make_room(need) {
            // What is refused now is told by the next file's snapshot, whose coming also lets this file go.
            self.active = None;
            self.pause_for(io::ErrorKind::QuotaExceeded);
            return Err(full);
        }
        let Some(active) = self.active.as_mut() else {
            return Err(self.paused(io::ErrorKind::Other)); // not reached: open_file has set it
        };
        if let Err(error) = active.shared.file.append(slices) {
            let path = active.shared.path.clone();
            self.give_up_file(need);
            return Err(self.failed("append to", path, error));
        }
        let offset = active.len;
        active.len += need;
        self.spool.grew(active.age, need);
        self.spool.syncer.written(&active.shared);
        Ok((active.number, offset))
    }

    /// Begins a new file. The one before it is superseded once this one's snapshot is durable.
    fn open_file(&mut self, snapshot: &dyn Snapshot) -> Result<(), StoreError> {
        if self.retired || self.spool.stopped.load(Ordering::SeqCst) {
            return Err(self.paused(io::ErrorKind::NotFound));
        }
        if let Some((until, kind)) = self.pause
            && self.spool.clock.monotonic() < until
        {
            return Err(self.paused(kind));
        }
        let mut head = file_header().to_vec();
        snapshot.snapshot(&mut head);
        let len = head.len() as u64;
        // A snapshot may pass the bound: it is small, and it is what lets the file before it go.
        let _ = self.spool.make_room(len);
        let (number, path, created) = self.create();
        let file = match created.and_then(|file| file.append(&[&head]).map(|()| file)) {
            Ok(file) => file,
            Err(error) => {
                // Without its snapshot the file supersedes nothing, and a reader takes it for torn. Best gone.
                let _ = self.spool.files.remove_file(&path);
                return Err(self.failed("begin", path, error));
            }
        };
        let shared = SharedFile::new(path.clone(), file);
        let age = self.spool.add(&self.tenant, path, (number, len), Some(&shared.landed));
        self.spool.syncer.begun(&shared, self.folders());
        self.active = Some(Active { shared, number, age, len, snapshot_len: len });
        self.pause = None;
        if self.spool.counters.disk_works() {
            tracing::info!(folder = %self.folder.display(), "the spool's disk works again");
        }
        Ok(())
    }

    /// Makes the next file. A number that is taken (by something that no journal's reader could read) is passed over.
    fn create(&mut self) -> (u64, PathBuf, io::Result<Arc<dyn AppendFile>>) {
        loop {
            let number = self.next_number;
            let path = Spool::path(&self.folder, number);
            if number == NO_FILE {
                let words = "the session's journal has a file with the highest number: move it away and start anew";
                return (number, path, Err(io::Error::other(words)));
            }
            self.next_number += 1; // whatever happens, this name may be taken now
            match self.spool.files.create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => return (number, path, created),
            }
        }
    }

    /// After a failed append the file's end is unknown: what it may have grown by is counted, and it is left.
    fn give_up_file(&mut self, attempted: u64) {
        if let Some(active) = self.active.take() {
            let len = self.spool.files.len(&active.shared.path).unwrap_or(active.len + attempted);
            self.spool.grew(active.age, len.saturating_sub(active.len));
        }
    }

    fn failed(&mut self, doing: &'static str, path: PathBuf, error: io::Error) -> StoreError {
        self.pause_for(error.kind());
        if self.spool.counters.disk_failed() {
            tracing::error!(path = %path.display(), %error, "the spool's disk fails: media is not stored");
        }
        if error.kind() == io::ErrorKind::StorageFull {
            self.spool.trim();
        }
        StoreError::Disk { doing, path, source: error }
    }

    fn pause_for(&mut self, kind: io::ErrorKind) {
        self.pause = Some((self.spool.clock.monotonic() + RETRY_AFTER, kind));
    }

    fn paused(&self, kind: io::ErrorKind) -> StoreError {
        StoreError::Disk { doing: "append to", path: self.folder.clone(), source: kind.into() }
    }
}
