//! One broadcast from its first to its last byte, kept in memory so that several tests can ask questions of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::content::Report;
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::follower::{Follower, Rendition};
use crate::support::publisher::{Feed, RawPublisher, Status};
use crate::support::source::{Publisher, Source};

/// From the publish to the first listed segment, on a busy machine with a debug build.
pub const FIRST_SEGMENT_LIMIT: Duration = Duration::from_secs(40);

/// The path of a preset of the tests' own.
pub fn test_preset(name: &str) -> String {
    format!("{}/tests/support/presets/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

/// Everything that came out of a broadcast.
pub struct Broadcast {
    /// What was pushed.
    pub source: Source,
    /// Id of the stream.
    pub stream: String,
    /// What a player saw.
    pub seen: Follower,
    /// What lay in the session's folder of the store after the daemon had ended, by path below that folder.
    pub stored: BTreeMap<String, Vec<u8>>,
    /// The daemon's log.
    pub log: String,
    files: TempDir,
}

impl Broadcast {
    /// Pushes `source` in real time through a daemon of its own with `preset`, follows it to its ENDLIST, and stops the daemon.
    pub fn record(preset: &str, source: Source) -> Self {
        let pushed = source.clone();
        let start = |daemon: &Daemon, key: &str| Publisher::start(&pushed, &daemon.publish_url(key));
        Broadcast::push(preset, source, start, |publisher| publisher.finish(&pushed)).0
    }

    /// The same with tags that a test has put together; also what the publisher was told. `source` says what they are like.
    pub fn record_feed(preset: &str, source: Source, feed: Feed) -> (Self, Vec<Status>) {
        let start = |daemon: &Daemon, key: &str| RawPublisher::start(daemon.rtmp, key, feed);
        Broadcast::push(preset, source, start, |publisher| publisher.statuses())
    }

    /// `finish` takes leave of the publisher when all has come out and the daemon still runs.
    fn push<P, T>(
        preset: &str,
        source: Source,
        start: impl FnOnce(&Daemon, &str) -> P,
        finish: impl FnOnce(P) -> T,
    ) -> (Self, T) {
        let home = Home::ending_with_the_broadcast(preset);
        let credentials = home.credentials();
        let daemon = home.serve();
        let publisher = start(&daemon, &credentials.secret);
        let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
        seen.until_ended(source.limit());
        let finished = finish(publisher);
        let log = daemon.log();
        daemon.stop();
        let stored = read_all(&home.session_folder(&credentials.stream));
        let files = tempfile::tempdir().expect("a folder for files to decode");
        (Broadcast { source, stream: credentials.stream, seen, stored, log, files }, finished)
    }

    /// A rendition as one file.
    pub fn file(&self, rendition: &Rendition) -> PathBuf {
        rendition.write(self.files.path())
    }

    /// The line of the log that says what was decided about a rung of the preset.
    pub fn reason(&self, rung: &str) -> String {
        let words = format!(r#""reason":"{rung} is "#);
        let line = self.log.lines().find(|line| line.contains(&words));
        let line = line.unwrap_or_else(|| panic!("no reason for {rung} in the log"));
        let reason = line.split(r#""reason":""#).nth(1).and_then(|rest| rest.split('"').next());
        reason.expect("it was found there").to_owned()
    }

    /// What a viewer of `rung` sees and hears.
    pub fn report(&self, rung: &Rendition) -> Report {
        let audio = self.seen.renditions.iter().find(|rendition| rendition.variant.is_none());
        Report::of(Some(rung), audio, self.files.path())
    }
}

/// Pushes `source` to its end and stops the daemon. What it has logged by then.
pub fn push_through(home: &Home, credentials: &Credentials, source: &Source) -> String {
    let daemon = home.serve();
    let publisher = Publisher::start(source, &daemon.publish_url(&credentials.secret));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_ended(source.limit());
    publisher.finish(source);
    let lines = daemon.lines();
    daemon.stop();
    lines.text()
}

/// All files below `folder` by their path in it.
pub fn read_all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        let entries = fs::read_dir(&inner).unwrap_or_else(|error| panic!("{}: {error}", inner.display()));
        for path in entries.map(|entry| entry.expect("a folder entry").path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).expect("it was found there").to_string_lossy().into_owned();
            found.insert(name, fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
    found
}
