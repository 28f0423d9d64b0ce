//! The catalog behind its lock, which is never held over IO: viewers and uploads wait on it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Catalog;
use crate::media::Span;
use crate::media::naming::MediaName;
use crate::store::journal::Record;
use crate::store::journal::record::{Counters, Head, Jump, Known, Placement};
use crate::store::journal::writer::Snapshot;
use crate::store::spool::{Holds, Tenant};

/// Media time that the spool keeps for readers after it was stored: as much as DESIGN.md lets memory hold, so that what
/// memory had to give up is not asked of a distant store.
const SPOOL_KEEP: Span = Span::from_secs(60);

/// A session's catalog, shared by its writer, its uploads and its readers.
#[derive(Debug)]
pub(crate) struct SharedCatalog {
    catalog: Mutex<Catalog>,
    boot: String,
}

impl SharedCatalog {
    /// Shares a catalog. `boot` goes into each journal file.
    pub fn new(catalog: Catalog, boot: String) -> Self {
        SharedCatalog { catalog: Mutex::new(catalog), boot }
    }

    /// The catalog. Do not hold it over IO.
    pub fn lock(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot for SharedCatalog {
    fn snapshot(&self, out: &mut Vec<u8>) {
        let catalog = self.lock();
        let session = catalog.head.clone();
        Record::Head(Head { session, boot: self.boot.clone() }).encode(out);
        for (rendition, log) in catalog.ids() {
            let counters = Counters {
                rendition,
                first_msn: log.entries.front().map_or(log.next_msn, |entry| entry.segment.msn),
                next_msn: log.next_msn,
                next_init: log.next_init,
                discontinuities_gone: log.discontinuities_gone,
                ended: log.ended,
            };
            Record::Counters(counters).encode(out);
            for (&msn, &discontinuities) in &log.jumps {
                Record::Jump(Jump { rendition, msn, discontinuities }).encode(out);
            }
            for entry in log.inits.values() {
                Record::Init(entry.init.clone()).encode(out);
                if entry.stored {
                    Record::Stored(rendition, MediaName::Init { number: entry.init.number }).encode(out);
                }
            }
            for entry in &log.entries {
                let (segment, at, placement) = (entry.segment.clone(), entry.at, entry.placement);
                Record::Known(Known { rendition, segment, at, placement }).encode(out);
            }
        }
        if let Some(point) = &catalog.resume {
            Record::Checkpoint(point.clone()).encode(out);
        }
        if let Some((how, at)) = catalog.finish {
            Record::Finish(how, at).encode(out);
        }
    }
}

impl Tenant for SharedCatalog {
    fn census(&self) -> BTreeMap<u64, Holds> {
        let catalog = self.lock();
        let mut census = BTreeMap::new();
        for log in &catalog.renditions {
            let mut behind = Span::ZERO;
            for entry in log.entries.iter().rev() {
                let holds = match entry.placement {
                    Placement::Open | Placement::Spooled => Holds::Originals,
                    _ if behind < SPOOL_KEEP => Holds::Copies,
                    _ => continue,
                };
                for extent in entry.extents.iter().flatten() {
                    let known = census.entry(extent.file).or_insert(holds);
                    *known = holds.max(*known);
                }
                behind += entry.duration();
            }
        }
        census
    }

    fn forget(&self, file: u64) -> u64 {
        let mut catalog = self.lock();
        let mut lost = 0;
        for entry in catalog.renditions.iter_mut().flat_map(|log| &mut log.entries) {
            let mut touched = false;
            for extent in &mut entry.extents {
                if extent.is_some_and(|extent| extent.file == file) {
                    (*extent, touched) = (None, true);
                }
            }
            if touched && entry.placement == Placement::Spooled {
                entry.placement = Placement::Lost;
                lost += 1;
            }
            if entry.placement != Placement::Open && entry.extents.iter().all(Option::is_none) {
                entry.extents.clear();
            }
        }
        lost
    }
}
