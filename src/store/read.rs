//! Reads for whom memory has nothing any more: from the spool, then from the object store.
//!
//! A session that the store knows is answered by its catalog: what it does not name is gone, and the object store is not
//! asked. For other sessions (the spool was lost, or another node wrote them) the object store is asked.

use bytes::Bytes;

use super::catalog::{Entry, RenditionLog};
use super::journal::record::Placement;
use super::publish::playlist_key;
use super::session::{Finish, Session};
use super::spool::Extent;
use super::{Store, StoreError};
use crate::media::naming::{self, MediaName};

/// Where a file is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Memory(Bytes),
    /// In the spool; when it has just gone from there, in the store.
    Spool(Vec<Extent>),
    /// In the store, under the segment's name; these bytes of it.
    Object(MediaName, Option<std::ops::Range<u64>>),
    Nowhere,
}

impl Store {
    /// A segment, part or init. `None` when there is no such thing (any more); names that are no path components name
    /// nothing. A part of a segment that is only in the object store is read from within it.
    ///
    /// # Errors
    /// The disk or the object store fails.
    pub async fn read(
        &self,
        stream: &str,
        session: &str,
        rendition: &str,
        name: MediaName,
    ) -> Result<Option<Bytes>, StoreError> {
        if ![stream, session, rendition].into_iter().all(naming::is_component) {
            return Ok(None);
        }
        let folder = naming::rendition_prefix(stream, session, rendition);
        let Some(session) = self.shared.session(stream, session) else {
            return self.shared.backend.get(&format!("{folder}/{name}"), None).await;
        };
        let (name, range) = match find(&session, rendition, name, true) {
            Place::Nowhere => return Ok(None),
            Place::Memory(bytes) => return Ok(Some(bytes)),
            Place::Object(name, range) => (name, range),
            Place::Spool(extents) => match self.shared.read_spool(&session, extents).await {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) => match find(&session, rendition, name, false) {
                    Place::Object(name, range) => (name, range),
                    _ => return Err(error),
                },
            },
        };
        self.shared.backend.get(&format!("{folder}/{name}"), range).await
    }

    /// The session of the stream that ended last, of those whose objects stay a while longer and that have media. Told from
    /// the journals, so it is known from the start on.
    pub fn newest_ended(&self, stream: &str) -> Option<String> {
        let now = self.shared.clock.monotonic();
        let ended = self.shared.sessions().into_iter().filter_map(|session| {
            if session.stream != stream || session.remove_at().is_none_or(|at| at <= now) {
                return None;
            }
            let catalog = session.catalog.lock();
            let (_, at) = catalog.finish.filter(|(how, _)| *how == Finish::Ended)?;
            let has_media = catalog.renditions.iter().any(RenditionLog::has_media);
            has_media.then(|| (at, session.id.clone()))
        });
        ended.max().map(|(_, id)| id)
    }

    /// A stored playlist: a rendition's, or with `None` the session's multivariant one.
    ///
    /// # Errors
    /// The object store fails.
    pub async fn read_playlist(
        &self,
        stream: &str,
        session: &str,
        rendition: Option<&str>,
    ) -> Result<Option<Bytes>, StoreError> {
        if ![stream, session].into_iter().chain(rendition).all(naming::is_component) {
            return Ok(None);
        }
        self.shared.backend.get(&playlist_key(stream, session, rendition), None).await
    }
}

fn find(session: &Session, rendition: &str, name: MediaName, in_spool: bool) -> Place {
    let catalog = session.catalog.lock();
    let log = catalog.rendition_named(rendition).and_then(|id| catalog.rendition(id));
    let Some(log) = log else { return Place::Nowhere };
    match name {
        MediaName::Init { number } => {
            log.inits.get(&number).map_or(Place::Nowhere, |entry| Place::Memory(entry.init.bytes.clone()))
        }
        MediaName::Segment { epoch, msn } => {
            let entry =
                log.entry(msn).filter(|entry| entry.segment.epoch == epoch && entry.placement != Placement::Open);
            entry.map_or(Place::Nowhere, |entry| segment(entry, in_spool))
        }
        MediaName::Part { epoch, msn, part: index } => {
            let entry = log.entry(msn).filter(|entry| entry.segment.epoch == epoch);
            entry.map_or(Place::Nowhere, |entry| part(entry, index as usize, in_spool))
        }
    }
}

fn segment(entry: &Entry, in_spool: bool) -> Place {
    match (entry.spooled().filter(|_| in_spool), entry.placement) {
        (Some(extents), _) => Place::Spool(extents),
        (None, Placement::Stored) => Place::Object(entry.segment.name(), None),
        (None, _) => Place::Nowhere,
    }
}

fn part(entry: &Entry, index: usize, in_spool: bool) -> Place {
    let Some(part) = entry.segment.parts.get(index) else { return Place::Nowhere };
    let extent = entry.extents.get(index).copied().flatten().filter(|_| in_spool);
    match (extent, entry.placement) {
        (Some(extent), _) => Place::Spool(vec![extent]),
        (None, Placement::Stored) => {
            let before: usize = entry.segment.parts[..index].iter().map(|part| part.size).sum();
            let range = before as u64..(before + part.size) as u64;
            Place::Object(entry.segment.name(), Some(range))
        }
        (None, _) => Place::Nowhere,
    }
}
