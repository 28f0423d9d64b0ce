//! What the store is told at start, with the defaults of DESIGN.md section 5.

use std::path::PathBuf;
use std::time::Duration;

use crate::media::Span;
use crate::telemetry::trace::Traces;

/// Settings of [`super::Store`]. Start from [`StoreSettings::new`] and change what differs.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Where objects go: `file:PATH` or `memory:`.
    pub url: String,
    /// Folder of the journals. One daemon at a time; made if it is not there.
    pub spool: PathBuf,
    /// Most bytes of all journal files together.
    pub spool_max_bytes: u64,
    /// A journal file is followed by a new one when it holds this much, so that room can be given back file by file.
    pub journal_file_bytes: u64,
    /// Time between two group commits: what a power cut may take.
    pub sync_every: Duration,
    /// Media time that a live playlist lists at least.
    pub window: Span,
    /// How long the objects of an ended session stay.
    pub ended_keep: Duration,
    /// Most uploads and deletions under way at once; with the size of a segment this bounds the memory of uploads.
    pub concurrency: usize,
    /// Where the traces of stored segments go.
    pub traces: Traces,
}

impl StoreSettings {
    /// Defaults for everything but the two places.
    pub fn new(url: impl Into<String>, spool: impl Into<PathBuf>) -> Self {
        StoreSettings {
            url: url.into(),
            spool: spool.into(),
            spool_max_bytes: 10 << 30,
            journal_file_bytes: 16 << 20,
            sync_every: Duration::from_millis(200),
            window: Span::from_secs(60),
            ended_keep: Duration::from_secs(600),
            concurrency: 16,
            traces: Traces::default(),
        }
    }

    /// A file may take at most an eighth of the spool: otherwise a small spool could never give room back.
    pub(crate) fn file_limit(&self) -> u64 {
        self.journal_file_bytes.min(self.spool_max_bytes / 8).max(1)
    }
}
