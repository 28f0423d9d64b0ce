//! The daemon under attack, and the canary in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;

use super::peer::Peer;
use crate::broadcast::FIRST_SEGMENT_LIMIT;
use crate::support::certificates::Certificates;
use crate::support::content::{Expectation, Report};
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::follower::Follower;
use crate::support::http::until;
use crate::support::process::{Lines, Process};
use crate::support::source::Source;

/// Token of the API in these tests.
pub const TOKEN: &str = "a-token-for-attacks-only";
/// Longer than anything here takes on a busy machine; only a failure waits so long.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Deadlines of the daemon: longer than a machine stands still, so that nobody meets them who talks.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
pub const CONNECT: Duration = Duration::from_secs(5);
const PUBLISH: Duration = Duration::from_secs(5);
pub const HEADER: Duration = Duration::from_secs(5);
/// HTTP connections that one address may have; attacks with many come from 250 addresses.
pub const PLACES_OF_AN_ADDRESS: usize = 100;
/// Longer than the attacks take: the push is ended when they are over.
const SOURCE_SECONDS: u32 = 150;
/// How much more memory the daemon may have behind all attacks than before. The allocator keeps what was held at the peak,
/// which is 10,000 requests of less than 24 KiB; the rest is for large messages and the canary's own window of a minute.
const KEPT_BYTES: u64 = 10_000 * (24 << 10) + (128 << 20);

/// Lines of the log that all attacks may cause together, and those of one message among them. Who is let in has lines of his
/// own: attackers with a key are let in some dozens of times.
const LINES: usize = 500;
const LINES_OF_ONE_MESSAGE: usize = 60;
/// Lines about one newcomer.
const LINES_OF_A_NEWCOMER: usize = 6;

/// Pictures of a second of the source.
const SOURCE_FPS: u32 = 30;
/// Pictures that the source's encoder may have sent before one that is shown earlier, and some.
const REORDERED: u32 = 8;

/// What attackers know.
pub struct Site {
    pub rtmp: std::net::SocketAddr,
    pub rtmps: std::net::SocketAddr,
    /// What is shown at RTMPS.
    pub certificates: Certificates,
    pub http: std::net::SocketAddr,
    /// The canary's stream.
    pub canary: Credentials,
    /// A stream that newcomers publish to.
    newcomers: Credentials,
    /// A stream that attackers have a key of.
    pub theirs: Credentials,
    /// A stream whose publisher says nothing.
    pub waited_for: Credentials,
    pub pid: u32,
    arrived: AtomicUsize,
    log: Lines,
    segment: OnceLock<String>,
}

impl Site {
    /// A publisher with a right key comes from an address of its own, and must be let in.
    pub async fn newcomer(&self) {
        let number = self.arrived.load(Ordering::SeqCst);
        let from = [127, 0, 200, u8::try_from(number % 250).expect("below 250") + 1];
        let mut peer = Peer::dial(from, self.rtmp).await;
        let words = peer.publish(&self.newcomers.secret).await;
        assert!(words.contains("NetStream.Publish.Start"), "a newcomer was refused: {words}");
        self.arrived.fetch_add(1, Ordering::SeqCst);
        peer.unpublish().await;
    }

    /// Newcomers that were let in so far.
    pub fn newcomers(&self) -> usize {
        self.arrived.load(Ordering::SeqCst)
    }

    /// Lines of the log with these words so far.
    pub fn lines_with(&self, words: &str) -> usize {
        self.log.text().lines().filter(|line| line.contains(words)).count()
    }

    /// The daemon's newest lines, for whoever has to find out why.
    pub fn tail(&self) -> String {
        let text = self.log.text();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.join("\n")
    }

    /// Path of a segment of the canary.
    pub fn segment(&self) -> &str {
        self.segment.get().expect("known before the attacks begin")
    }

    /// A figure of `/metrics`, all label values added up.
    pub async fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.http);
        let text = reqwest::get(url).await.expect("an answer").text().await.expect("text");
        let of = |line: &str| {
            let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
            rest.rsplit_once(' ')?.1.parse::<f64>().ok()
        };
        text.lines().filter_map(of).sum()
    }

    /// Waits until a figure is at least `least`, and gives it.
    pub async fn until_metric(&self, name: &str, least: f64) -> f64 {
        let reached = async {
            let mut pace = tokio::time::interval(Duration::from_millis(50)); // a figure sends no event
            loop {
                pace.tick().await;
                let figure = self.metric(name).await;
                if figure >= least {
                    return figure;
                }
            }
        };
        tokio::time::timeout(LIMIT, reached).await.unwrap_or_else(|_| panic!("{name} never came to {least}"))
    }

    /// Resident memory of the daemon in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("the daemon runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Sockets that the daemon has open.
    fn sockets(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("the daemon runs");
        let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    }
}

/// Takes as many open files as the system allows; how many those are.
pub fn raise_open_files() -> usize {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit");
    maximum.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX)
}

/// The stream that plays through all attacks, and what was seen at the end.
pub struct Canary {
    pub newcomers: usize,
    sent: u32,
    seen: Follower,
    decoded: tempfile::TempDir,
    log: String,
    /// Id of the stream that newcomers published to.
    newcomers_stream: String,
    /// Ids of all streams.
    streams: Vec<String>,
    /// What was made in the daemon's folder while it was attacked.
    made: Vec<PathBuf>,
    sockets: [usize; 2],
    resident: [u64; 2],
}

/// The canary while it plays.
pub struct Playing {
    home: Home,
    daemon: Daemon,
    push: Process,
    player: JoinHandle<Follower>,
    files: BTreeSet<PathBuf>,
    sockets: usize,
    resident: u64,
}

impl Canary {
    /// Starts the daemon and the canary, and waits until it plays.
    pub fn start() -> (Arc<Site>, Playing) {
        let seconds = |deadline: Duration| format!("{}s", deadline.as_secs());
        let certificates = Certificates::new();
        let home = Home::ending_with_the_broadcast("passthrough")
            .with_rtmps(&certificates)
            .set("rtmp.handshake", seconds(HANDSHAKE))
            .set("rtmp.connect", seconds(CONNECT))
            .set("rtmp.publish", seconds(PUBLISH))
            .set("http.header", seconds(HEADER))
            .set("http.stall", "1s")
            .set("http.max_connections_per_address", PLACES_OF_AN_ADDRESS.to_string())
            .set("http.admin_token", TOKEN)
            .set("session.grace", "1s");
        let names = ["canary", "newcomers", "theirs", "waited for"];
        let [canary, newcomers, theirs, waited_for] = names.map(|name| home.credentials_of(name));
        let daemon = home.serve();
        let push = push(&Source::small(SOURCE_SECONDS), &daemon.publish_url(&canary.secret));
        let mut seen = Follower::open(&daemon.url(""), &canary.stream, FIRST_SEGMENT_LIMIT);
        seen.until_segments(1, FIRST_SEGMENT_LIMIT);
        let video = seen.videos().next().expect("a video rendition");
        let segment = crate::support::playlist::resolve(&video.path, &video.segments[0].entry.uri);
        let site = Arc::new(Site {
            rtmp: daemon.rtmp,
            rtmps: daemon.rtmps.expect("RTMPS listens"),
            certificates,
            http: daemon.http,
            canary,
            newcomers,
            theirs,
            waited_for,
            pid: daemon.id(),
            arrived: AtomicUsize::new(0),
            log: daemon.lines(),
            segment: OnceLock::from(segment),
        });
        let (sockets, resident, files) = (site.sockets(), site.resident_bytes(), below(home.folder()));
        let player = std::thread::spawn(move || {
            seen.until_ended(LIMIT * 4);
            seen
        });
        (site, Playing { home, daemon, push, player, files, sockets, resident })
    }
}

impl Playing {
    /// Ends the push, and gathers what is to be judged.
    pub fn finish(mut self, site: &Site) -> Canary {
        // What the attackers held is closed by deadlines; the canary's push and its player are still there.
        let mut sockets = site.sockets();
        until(LIMIT, "sockets are closed", || {
            sockets = site.sockets();
            (sockets <= self.sockets).then_some(())
        });
        let resident = site.resident_bytes();
        let early = self.push.wait(Duration::ZERO);
        assert!(early.is_none(), "the push was over before the attacks were: {early:?}");
        self.push.signal(Signal::INT);
        self.push.wait(LIMIT).expect("the push ends");
        let sent = frames_sent(&self.push.lines().text());
        let seen = self.player.join().expect("the player followed to the end");
        let log = self.daemon.log();
        self.daemon.stop();
        let streams = [&site.canary, &site.newcomers, &site.theirs, &site.waited_for];
        Canary {
            newcomers: site.newcomers(),
            sent,
            seen,
            decoded: tempfile::tempdir().expect("a folder"),
            log,
            newcomers_stream: site.newcomers.stream.clone(),
            streams: streams.map(|credentials| credentials.stream.clone()).to_vec(),
            made: below(self.home.folder()).difference(&self.files).cloned().collect(),
            sockets: [self.sockets, sockets],
            resident: [self.resident, resident],
        }
    }
}

/// Everything below `folder`, by its path in it.
fn below(folder: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
    while let Some(inner) = folders.pop() {
        // What was listed may be deleted meanwhile, as spools are.
        for path in fs::read_dir(&inner).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
            found.insert(path.strip_prefix(folder).expect("it was found there").to_owned());
            folders.extend(path.is_dir().then_some(path));
        }
    }
    found
}

/// A push in real time that says at its end how many frames it has sent.
fn push(source: &Source, url: &str) -> Process {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "warning", "-progress", "pipe:2", "-re", "-i"]);
    command.arg(&source.path).args(["-c", "copy", "-flvflags", "no_duration_filesize", "-f", "flv", url]);
    Process::start("ffmpeg", command.stdin(Stdio::null()).stdout(Stdio::null()))
}

fn frames_sent(progress: &str) -> u32 {
    let mut frames = progress.lines().filter_map(|line| line.strip_prefix("frame=")?.trim().parse().ok());
    frames.next_back().unwrap_or_else(|| panic!("ffmpeg tells its progress: {progress}"))
}

impl Canary {
    /// Every picture came through once and in order, with its flash; the sound has no hole, and each beep is beside its flash.
    pub fn assert_whole(&self) {
        for rendition in &self.seen.renditions {
            let name = &rendition.name;
            assert!(rendition.segments.iter().all(|segment| !segment.entry.gap), "{name}: a gap in the canary");
            let mut entries = rendition.segments.iter().map(|segment| &segment.entry);
            assert!(entries.all(|entry| !entry.discontinuity || entry.msn == 0), "{name}: the canary was interrupted");
        }
        for rung in self.seen.videos() {
            let mut report = Report::of(Some(rung), Some(self.seen.audio()), self.decoded.path());
            assert_eq!(report.frames.len(), self.sent as usize, "as many frames came out as ffmpeg has sent");
            // It was interrupted between pictures that refer to each other: the last of them may be missing at its end.
            let whole = self.sent - REORDERED;
            report.frames.truncate(whole as usize);
            report.times_us.truncate(whole as usize);
            let expected = Expectation::whole(whole, whole / SOURCE_FPS);
            // The last second has begun with a flash too; the end of its beep may be cut off.
            let flashes = Some(whole.div_ceil(SOURCE_FPS) as usize);
            report.assert_whole(&Expectation { flashes, ..expected });
        }
    }

    /// Every line is a JSON object of ours, without a panic and without an error; and there are few of them.
    pub fn assert_quiet_log(&self) {
        let mut by_message: BTreeMap<String, usize> = BTreeMap::new();
        let mut of_newcomers = 0;
        for line in self.log.lines() {
            let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not a line of ours: {line}"));
            assert!(object["level"] != "ERROR", "{line}");
            assert!(object["message"] != "forged", "{line}");
            if line.contains(&self.newcomers_stream) {
                of_newcomers += 1;
            } else {
                *by_message.entry(object["message"].to_string()).or_default() += 1;
            }
        }
        let lines: usize = by_message.values().sum();
        let (message, most) = by_message.iter().max_by_key(|(_, count)| **count).expect("it says something");
        let newcomers = self.newcomers;
        eprintln!("{lines} lines of the log, {most} times {message}; {of_newcomers} more about {newcomers} newcomers");
        assert!(lines <= LINES, "{lines} lines: {by_message:#?}");
        assert!(*most <= LINES_OF_ONE_MESSAGE, "{most} times {message}");
        assert!(of_newcomers <= newcomers * LINES_OF_A_NEWCOMER, "{of_newcomers} lines about newcomers");
    }

    /// Media of the four streams and the daemon's own files: names that strangers gave made nothing.
    pub fn assert_only_streams_wrote(&self) {
        let folders = ["data/objects/live", "data/spool"].map(Path::new);
        let of_streams = folders.iter().flat_map(|folder| self.streams.iter().map(|stream| folder.join(stream)));
        let own = ["data/encode-capacity.json", "data/millstream.db-wal", "data/millstream.db-shm"];
        let places: Vec<_> = of_streams.chain(own.map(PathBuf::from)).collect();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let canary = folders[0].join(&self.streams[0]);
        assert!(self.made.iter().any(|path| path.starts_with(&canary)), "the canary is stored");
        for path in &self.made {
            let at_home = places.iter().any(|place| path.starts_with(place) || place.starts_with(path));
            let named_by_us = path.as_os_str().as_encoded_bytes().iter().all(|byte| plain(*byte));
            assert!(at_home && named_by_us, "{} was made; only streams write: {:?}", path.display(), self.streams);
        }
    }

    pub fn assert_nothing_is_left(&self) {
        let [before, after] = self.sockets;
        assert!(after <= before, "{after} sockets, {before} before the attacks");
        let [before, after] = self.resident;
        eprintln!("resident before the attacks {} KiB, after {} KiB", before >> 10, after >> 10);
        assert!(after <= before + KEPT_BYTES, "{after} bytes resident, {before} before the attacks");
    }
}
