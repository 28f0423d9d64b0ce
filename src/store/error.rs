//! What can go wrong between a packaged part and its object, and whose fault it is.

use std::io;
use std::path::PathBuf;

use super::journal;

/// An error of the spool or the object store. Each names the file, object or session, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `storage.url` cannot be used.
    #[error("storage.url `{url}`: {reason}")]
    Url {
        /// The value as it was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another process holds the spool.
    #[error(
        "spool `{path}` is in use by another daemon ({holder}): stop that one, or give this one a spool of its own"
    )]
    Locked {
        /// The spool folder.
        path: PathBuf,
        /// What the lock file says of its holder.
        holder: String,
    },
    /// The file system refused. The live path goes on; writing is tried again with a new journal file.
    #[error("cannot {doing} `{path}`: {source}")]
    Disk {
        /// The operation, as a verb.
        doing: &'static str,
        /// File or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A journal was written by a later release. It is left as it is.
    #[error(
        "journal `{path}` has format {version}, and this daemon reads formats up to {max}: start the release that wrote it, or move the file away",
        max = journal::VERSION
    )]
    NewerJournal {
        /// The journal file.
        path: PathBuf,
        /// The version in its header.
        version: u16,
    },
    /// All of the spool is pinned or being written: the newest is refused.
    #[error("the spool holds {used_bytes} of at most {max_bytes} bytes and nothing in it may be dropped")]
    SpoolFull {
        /// Bytes of all journal files.
        used_bytes: u64,
        /// `storage.spool_max`.
        max_bytes: u64,
    },
    /// A record is over the journal's bound. Nothing was written; its segment is lost to the store.
    #[error("{what} of {size} bytes is over the journal's bound of {max} bytes")]
    TooLarge {
        /// What was to be written.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// A name that may not stand in a path.
    #[error("`{name}` may not stand in a path: 1 to 64 of a-z A-Z 0-9 _ - are allowed")]
    Name {
        /// The name.
        name: String,
    },
    /// No session is like this.
    #[error("session {session} cannot be stored: {reason}")]
    Head {
        /// The session.
        session: String,
        /// What is wrong with its head.
        reason: &'static str,
    },
    /// A resumed session must come with an epoch above all of its earlier ones.
    #[error("session {session}: epoch {given} is not above the last one, {last}")]
    EpochNotRaised {
        /// The session.
        session: String,
        /// The epoch asked for.
        given: u32,
        /// The highest epoch in the journal.
        last: u32,
    },
    /// The session has a writer already.
    #[error("session {session} is being written already")]
    SessionBusy {
        /// The session.
        session: String,
    },
    /// The session has ended for good.
    #[error("session {session} has ended and cannot be resumed")]
    SessionEnded {
        /// The session.
        session: String,
    },
    /// Renditions are fixed for a session's life.
    #[error("session {session} was begun with other renditions and cannot be resumed with these")]
    RenditionsDiffer {
        /// The session.
        session: String,
    },
    /// A step of packaging that does not follow the one before it: our own fault, not the disk's.
    #[error("{what} {msn} of rendition {rendition} does not follow what was written before it")]
    OutOfOrder {
        /// What was to be written.
        what: &'static str,
        /// Index of the rendition.
        rendition: u8,
        /// Media sequence number, or the number of the init segment.
        msn: u64,
    },
    /// The object store refused a read.
    #[error("object `{key}`: {source}")]
    Object {
        /// Key of the object.
        key: String,
        /// The backend's answer.
        source: object_store::Error,
    },
}

impl StoreError {
    pub(crate) fn disk(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |source| StoreError::Disk { doing, path, source }
    }

    /// Whether room or a working disk would have made it go through: worth an alarm, and worth going on.
    pub fn is_disk(&self) -> bool {
        matches!(self, StoreError::Disk { .. } | StoreError::SpoolFull { .. })
    }
}
