//! What the journals of an earlier life tell, read at start.
//!
//! Memory is bounded by what a catalog holds (a few hundred bytes per segment still in the store or the spool), never by
//! the size of the journals: payloads are summed through a small buffer and left where they are.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::catalog::Catalog;
use super::catalog::shared::SharedCatalog;
use super::files::Files;
use super::journal::replay::{Ending, Reader, Step};
use super::journal::{Head, Record};
use super::session::{Finish, ResumePoint, SessionHead};
use super::spool::{Extent, JOURNAL, Spool};
use super::{Shared, StoreError};
use crate::media::segment::{Init, RenditionId};
use crate::media::{Segment, WallTime, naming};

/// A session found in the spool.
#[derive(Clone, Debug)]
pub struct RecoveredSession {
    /// The session with its last epoch. A writer that resumes it must come with a higher one.
    pub head: SessionHead,
    /// The last writer left in order: nothing was open.
    pub clean: bool,
    /// The machine was started anew since the session was last written, and the writer had not left in order: up to a
    /// sync interval of the journal may be missing, and `next_msn` lies beyond what can have been published.
    pub power_was_cut: bool,
    /// The session is over. It cannot be resumed; its objects stay readable until the store deletes them.
    pub ended: bool,
    /// MSN of the first segment of whoever resumes it, in every rendition. Higher by one than the last recovered one,
    /// except after a power cut: then playlists begin anew there.
    pub next_msn: u64,
    /// From where the timeline goes on. `None` when no cut was ever written.
    pub resume: Option<ResumePoint>,
    /// By [`RenditionId`].
    pub renditions: Vec<RecoveredRendition>,
}

/// A rendition of a recovered session.
#[derive(Clone, Debug)]
pub struct RecoveredRendition {
    /// The closed segments that fill the live window, oldest first, MSNs rising by one. What was lost is a gap. None after a power
    /// cut: what was published behind them may have moved them out of the playlist, and nothing comes back into one.
    pub segments: Vec<Segment>,
    /// EXT-X-MEDIA-SEQUENCE of a playlist of these segments.
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE in front of the first of them.
    pub discontinuity_sequence: u64,
    /// The init segments that are still known, oldest first: all that these segments need, and the newest.
    pub inits: Vec<Init>,
    /// Number of the next init segment.
    pub next_init: u32,
    /// The rendition has ended.
    pub ended: bool,
}

/// A journal file as it was found.
struct FoundFile {
    number: u64,
    len: u64,
    /// Media time of the first segment in it: files of different sessions are put in order of age by it.
    wall: WallTime,
    /// All of it could be read, the snapshot that it begins with as well.
    whole: bool,
}

/// A session as its files tell it.
struct Found {
    catalog: Catalog,
    boot: String,
    files: Vec<FoundFile>,
    /// The highest number of a journal in its folder, also of one that is not its own.
    last_number: u64,
}

impl Found {
    fn of(head: SessionHead) -> Self {
        Found { catalog: Catalog::new(head), boot: String::new(), files: Vec::new(), last_number: 0 }
    }
}

/// Reads all journals below the spool's folder and takes their sessions in. Blocks.
///
/// # Errors
/// A folder or file cannot be read, or was written by a later release.
pub(crate) fn recover(shared: &Arc<Shared>) -> Result<Vec<RecoveredSession>, StoreError> {
    let (spool, files) = (&shared.spool, &*shared.spool.files);
    let mut sessions = Vec::new();
    for stream in folders(files, &spool.root)? {
        for id in folders(files, &spool.root.join(&stream))? {
            let folder = spool.folder(&stream, &id);
            sessions.extend(read_session(files, &folder, (&stream, &id))?);
        }
    }
    Ok(take_in(shared, sessions))
}

fn folders(files: &dyn Files, folder: &Path) -> Result<Vec<String>, StoreError> {
    let names = files.list(folder).map_err(StoreError::disk("list", folder))?;
    Ok(names.into_iter().filter(|name| naming::is_component(name) && name != super::LOCK).collect())
}

/// `None` when no file says that it is the journal of `owner`, which are a stream and its session.
fn read_session(files: &dyn Files, folder: &Path, owner: (&str, &str)) -> Result<Option<Found>, StoreError> {
    let names = files.list(folder).map_err(StoreError::disk("list", folder))?;
    let strange = names.iter().filter(|name| name.ends_with(JOURNAL) && Spool::number(name).is_none());
    for name in strange {
        tracing::warn!(folder = %folder.display(), name, "no daemon names a journal like this: it is left alone");
    }
    let numbers: Vec<u64> = names.iter().filter_map(|name| Spool::number(name)).collect();
    let last_number = numbers.iter().max().copied().unwrap_or(0);
    let newest = newest_head(files, folder, &numbers, owner)?;
    let (mut found, mut own) = (None, Vec::new());
    for number in numbers {
        let mut reader = Reader::open(files, &Spool::path(folder, number))?;
        match read_file(&mut reader, number, newest.as_ref(), &mut found)? {
            Read::Own { wall, whole } => {
                // One that ends before its first segment is younger than the file before it all the same.
                let wall = own.last().map_or(wall, |before: &FoundFile| wall.max(before.wall));
                own.push(FoundFile { number, len: reader.file_len(), wall, whole });
            }
            Read::Foreign => {
                tracing::warn!(path = %reader.path().display(), "this journal belongs to another session: it is left alone");
            }
        }
    }
    if found.is_none() && last_number > 0 {
        tracing::warn!(folder = %folder.display(), "no journal here says that it is of this session: the folder is left alone");
    }
    Ok(found.map(|found| Found { files: own, last_number, ..found }))
}

/// What the newest file that begins as a journal of `owner` says of the session. A file whose head cannot have been followed by
/// this one is not of the session, however it is named.
fn newest_head(
    files: &dyn Files,
    folder: &Path,
    numbers: &[u64],
    owner: (&str, &str),
) -> Result<Option<SessionHead>, StoreError> {
    for number in numbers.iter().rev() {
        let first = Reader::open(files, &Spool::path(folder, *number))?.step()?;
        if let Some(Step::Record { record: Record::Head(Head { session, .. }), .. }) = first
            && (session.stream.as_str(), session.session.as_str()) == owner
        {
            return Ok(Some(session));
        }
    }
    Ok(None)
}

/// Whose a file is.
enum Read {
    /// The session's, or nobody's.
    Own {
        /// Media time of its first segment.
        wall: WallTime,
        /// Nothing in it is torn or damaged.
        whole: bool,
    },
    /// It begins as the journal of another session.
    Foreign,
}

/// Reads a file up to a head that is not of this session: what lies behind that is not its media.
fn read_file(
    reader: &mut Reader<'_>,
    number: u64,
    newest: Option<&SessionHead>,
    found: &mut Option<Found>,
) -> Result<Read, StoreError> {
    let (mut damaged, mut wall, mut own) = (0_u64, None, false);
    while let Some(step) = reader.step()? {
        let mut refused = false;
        let taken = match step {
            Step::Damaged => false,
            Step::Record { record, payload_at } => {
                if let (Record::Open(start), None) = (&record, wall) {
                    wall = Some(start.wall);
                }
                if let Record::Head(Head { session, .. }) = &record {
                    let of_session = newest.is_some_and(|newest| newest.follows(session));
                    if !of_session && !own {
                        return Ok(Read::Foreign);
                    }
                    refused = !of_session || found.as_ref().is_some_and(|found| !found.catalog.takes(session));
                }
                !refused && take_record(record, Extent { file: number, offset: payload_at, len: 0 }, found)
            }
        };
        own |= taken;
        damaged += u64::from(!taken);
        if let Some(found) = found.as_mut().filter(|_| !taken) {
            found.catalog.damaged = true;
        }
        if refused {
            break;
        }
    }
    report(reader, damaged);
    let whole = damaged == 0 && reader.ending() == Some(Ending::Whole);
    Ok(Read::Own { wall: wall.unwrap_or_default(), whole })
}

/// False when the record does not fit what is known. A head is one that fits. `place` is where a part's payload would lie.
fn take_record(record: Record, place: Extent, found: &mut Option<Found>) -> bool {
    if let Record::Head(head) = &record {
        found.get_or_insert_with(|| Found::of(head.session.clone())).boot.clone_from(&head.boot);
    }
    let extent = match &record {
        Record::Part(part) => u32::try_from(part.entry.size).ok().map(|len| Extent { len, ..place }),
        _ => None,
    };
    found.as_mut().is_some_and(|found| found.catalog.replay(record, extent).is_ok())
}

fn report(reader: &Reader<'_>, damaged: u64) {
    if let Some(Ending::Torn(offset)) = reader.ending() {
        let path = reader.path().display();
        tracing::warn!(%path, offset, len = reader.file_len(), "the journal has a torn tail: what lies before it is used");
    }
    if damaged > 0 {
        let path = reader.path().display();
        tracing::warn!(%path, damaged, "the journal has damaged records: their segments are gaps unless they were stored");
    }
}

/// Registers the sessions and their files, the oldest first, and tells what is to be told of them.
fn take_in(shared: &Arc<Shared>, found: Vec<Found>) -> Vec<RecoveredSession> {
    let boot = shared.spool.files.boot_id();
    let landed = make_durable(shared, &found, &boot).then(|| Arc::new(AtomicBool::new(true)));
    let (mut recovered, mut files) = (Vec::new(), Vec::new());
    for Found { mut catalog, boot: last_boot, files: own, last_number } in found {
        let clean = catalog.finish.is_some();
        let power_was_cut = !clean && (boot.is_empty() || boot != last_boot);
        if power_was_cut {
            catalog.lose_open();
        }
        catalog.settle();
        let next_msn = catalog.raise_msn(power_was_cut);
        catalog.resume = catalog.resume_point(next_msn, power_was_cut.then(|| shared.clock.wall()));
        recovered.push(describe(shared, &catalog, clean, power_was_cut, next_msn));
        let catalog = Arc::new(SharedCatalog::new(catalog, boot.clone()));
        let session = shared.adopt(catalog, last_number.saturating_add(1));
        files.extend(own.into_iter().map(|file| (file, session.clone())));
    }
    files.sort_by_key(|(file, _)| (file.wall, file.number));
    for (FoundFile { number, len, whole, .. }, session) in files {
        let path = Spool::path(&shared.spool.folder(&session.stream, &session.id), number);
        shared.spool.add(&session.tenant(), path, (number, len), landed.as_ref().filter(|_| whole));
    }
    recovered
}

/// Makes durable what a process wrote that was killed: a power cut now would else take what only the kernel has. True when all
/// that was read is on the disk.
fn make_durable(shared: &Shared, found: &[Found], boot: &str) -> bool {
    let of_this_boot = |found: &&Found| found.catalog.finish.is_none() && found.boot == boot;
    let unsure: Vec<_> = found.iter().filter(of_this_boot).collect();
    // One by one: most of it is clean, and what others have written to the file system is not waited for.
    let synced = unsure.iter().try_for_each(|found| sync_found(&shared.spool, found));
    if let Err(error) = &synced {
        shared.counters.disk_failed();
        tracing::error!(%error, "what was found in the spool cannot be made durable; a power cut now may take some of it");
    }
    synced.is_ok()
}

fn sync_found(spool: &Spool, found: &Found) -> std::io::Result<()> {
    let folder = spool.folder(&found.catalog.head.stream, &found.catalog.head.session);
    found.files.iter().try_for_each(|file| spool.files.sync_file(&Spool::path(&folder, file.number)))?;
    folder
        .ancestors()
        .take_while(|folder| folder.starts_with(&spool.root))
        .try_for_each(|it| spool.files.sync_folder(it))
}

fn describe(shared: &Shared, catalog: &Catalog, clean: bool, power_was_cut: bool, next_msn: u64) -> RecoveredSession {
    let window = catalog.window(shared.settings.window);
    let renditions = catalog.ids().map(|(id, log)| {
        let live = if power_was_cut { log.nothing_before(next_msn) } else { log.live(window) };
        RecoveredRendition {
            media_sequence: live.media_sequence,
            discontinuity_sequence: live.discontinuity_sequence,
            segments: live.segments,
            inits: inits(catalog, id),
            next_init: log.next_init,
            ended: log.ended,
        }
    });
    RecoveredSession {
        head: catalog.head.clone(),
        clean,
        power_was_cut,
        ended: matches!(catalog.finish, Some((Finish::Ended, _))),
        next_msn,
        resume: catalog.resume.clone(),
        renditions: renditions.collect(),
    }
}

fn inits(catalog: &Catalog, rendition: RenditionId) -> Vec<Init> {
    let log = catalog.rendition(rendition);
    log.map(|log| log.inits.values().map(|entry| entry.init.clone()).collect()).unwrap_or_default()
}
