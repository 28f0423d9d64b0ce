//! The journal: whatever the spool's files hold, the store opens, tells what it found within its rules, and tells the
//! same again from the journal that it writes itself when the session goes on.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use millstream::clock::ManualClock;
use millstream::media::WallTime;
use millstream::media::naming::is_component;
use millstream::store::{AppendFile, Backend, Files, Finish, RecoveredSession, Store, StoreError, StoreSettings};
use tokio::runtime::{Builder, Runtime};

use super::source::Source;

const HEADER: &[u8; 16] = b"MSJOURNL\x01\0\0\0\xce\x34\xe7\xe9";

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let how = source.u8();
    let second = how & 4 != 0;
    let split = if second { usize::from(source.u16()) } else { usize::MAX };
    let (first, rest) = (source.bytes(split), source.rest());
    let mut owner = None;
    let mut contents = vec![content(how, first, &mut owner)];
    if second {
        contents.push(content(how, rest, &mut owner));
    }
    let (stream, session) = owner.unwrap_or(("stream1".to_owned(), "session1".to_owned()));
    let disk = Arc::new(Disk { boot: u8::from(how & 8 != 0), files: Mutex::default() });
    for (number, bytes) in (1..).zip(contents) {
        let path = PathBuf::from(format!("/spool/{stream}/{session}/{number:010}.journal"));
        disk.lock().insert(path, bytes);
    }
    runtime().block_on(replay(disk));
}

/// A file as it is, or one of records whose checksums are right, so that no luck is needed to come to their bodies.
fn content(how: u8, bytes: &[u8], owner: &mut Option<(String, String)>) -> Vec<u8> {
    match how & 3 {
        0 => bytes.to_vec(),
        1 => [HEADER, bytes].concat(),
        _ => records(bytes, owner),
    }
}

/// Each record as kind, length of its body in two bytes, and body. The first head says whose journal it is.
fn records(bytes: &[u8], owner: &mut Option<(String, String)>) -> Vec<u8> {
    let (mut source, mut file) = (Source::new(bytes), HEADER.to_vec());
    while !source.is_empty() {
        let (kind, length) = (source.u8(), source.u16());
        let body = source.bytes(usize::from(length));
        if kind == 1 && owner.is_none() {
            *owner = names(body);
        }
        let mut head = Vec::with_capacity(13);
        head.extend_from_slice(&(body.len() as u32).to_le_bytes());
        head.push(kind);
        head.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
        file.extend_from_slice(&head);
        file.extend_from_slice(body);
    }
    file
}

/// Stream and session of a head's body.
fn names(body: &[u8]) -> Option<(String, String)> {
    let text = |bytes: &[u8]| -> Option<(String, usize)> {
        let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
        let text = std::str::from_utf8(bytes.get(4..)?.get(..length)?).ok()?;
        is_component(text).then(|| (text.to_owned(), 4 + length))
    };
    let (stream, behind) = text(body)?;
    let (session, _) = text(body.get(behind..)?)?;
    (stream != "lock").then_some((stream, session))
}

async fn replay(disk: Arc<Disk>) {
    let held: usize = disk.lock().values().map(Vec::len).sum();
    let Some((store, found)) = open(disk.clone()).await else { return };
    assert!(found.len() <= 1, "one folder holds one session");
    for session in &found {
        judge(session, held);
        go_on(&store, session);
    }
    store.close(Duration::ZERO).await.expect("this disk does not fail");
    drop(store);

    let Some((store, again)) = open(disk).await else { panic!("our own journal is refused") };
    assert_eq!(again.len(), found.len(), "what was found is found again");
    for (again, found) in again.iter().zip(&found) {
        judge(again, usize::MAX);
        assert_eq!((&again.head.stream, &again.head.session), (&found.head.stream, &found.head.session));
        assert!(again.next_msn >= found.next_msn, "MSNs never go back: {again:?} behind {found:?}");
        assert!(again.ended || !found.ended);
    }
    store.close(Duration::ZERO).await.expect("this disk does not fail");
}

async fn open(disk: Arc<Disk>) -> Option<(Arc<Store>, Vec<RecoveredSession>)> {
    let settings = StoreSettings::new("memory:", "/spool");
    let backend = Backend::from_url("memory:").expect("known");
    let clock = ManualClock::new(WallTime::from_unix_millis(1_795_262_400_000));
    match Store::open_with(settings, clock, backend, Arc::new(View(disk))).await {
        Ok(opened) => Some(opened),
        Err(StoreError::NewerJournal { .. }) => None,
        Err(error) => panic!("neither a disk error nor a lock: {error}"),
    }
}

/// What holds of every session that is found, in a journal of `held` bytes.
fn judge(session: &RecoveredSession, held: usize) {
    assert_eq!(session.renditions.len(), session.head.renditions.len(), "{session:?}");
    for rendition in &session.renditions {
        assert!(rendition.segments.len() <= held, "{} segments out of {held} bytes", rendition.segments.len());
        for pair in rendition.segments.windows(2) {
            assert_eq!(pair[0].msn.saturating_add(1), pair[1].msn, "{rendition:?}");
        }
        if let Some(first) = rendition.segments.first() {
            assert_eq!(first.msn, rendition.media_sequence, "{rendition:?}");
        }
        for segment in &rendition.segments {
            assert!(segment.duration.is_some(), "an open segment is listed: {segment:?}");
            assert!(segment.msn < session.next_msn || session.next_msn == u64::MAX, "{session:?}");
        }
    }
}

/// A writer comes back, says nothing, and leaves in order.
fn go_on(store: &Store, session: &RecoveredSession) {
    let mut head = session.head.clone();
    head.epoch = head.epoch.saturating_add(1);
    if let Ok(writer) = store.begin(head) {
        writer.finish(Finish::Suspended).expect("this disk does not fail");
    }
    let stats = store.stats();
    assert!(stats.spool_bytes < 64 << 20, "{stats:?}");
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Builder::new_current_thread().enable_time().build().expect("a runtime"))
}

/// A disk in memory.
#[derive(Debug, Default)]
struct Disk {
    boot: u8,
    files: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct File {
    disk: Arc<Disk>,
    path: PathBuf,
}

impl AppendFile for File {
    fn append(&self, slices: &[&[u8]]) -> io::Result<()> {
        let mut files = self.disk.lock();
        let file = files.get_mut(&self.path).ok_or(io::ErrorKind::NotFound)?;
        slices.iter().for_each(|slice| file.extend_from_slice(slice));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The files as the store sees them.
#[derive(Debug)]
struct View(Arc<Disk>);

impl Files for View {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn AppendFile>> {
        if self.0.lock().insert(path.to_owned(), Vec::new()).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Arc::new(File { disk: self.0.clone(), path: path.to_owned() }))
    }

    fn read_exact_at(&self, path: &Path, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let files = self.0.lock();
        let file = files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let from = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let read = file.get(from..).and_then(|rest| rest.get(..buffer.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(read);
        Ok(())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(self.0.lock().get(path).ok_or(io::ErrorKind::NotFound)?.len() as u64)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let files = self.0.lock();
        let below = files.keys().filter_map(|path| path.strip_prefix(folder).ok()?.iter().next()?.to_str());
        let mut names: Vec<String> = below.map(str::to_owned).collect();
        names.dedup();
        Ok(names)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.0.lock().remove(path);
        Ok(())
    }

    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Result<Box<dyn Send + Sync>, String>> {
        Ok(Ok(Box::new(())))
    }

    fn boot_id(&self) -> String {
        format!("boot {}", self.0.boot)
    }
}
