//! The daemon under attack, and the canary in it.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;

use super::peer::Peer;
use crate::broadcast::FIRST_SEGMENT_LIMIT;
use crate::support::content;
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::follower::Follower;
use crate::support::http::until;
use crate::support::process::{Lines, Process};
use crate::support::source::Source;

/// Token of the API in these tests.
pub const TOKEN: &str = "a-token-for-attacks-only";
/// Longer than anything here takes on a busy machine; only a failure waits so long.
pub const LIMIT: Duration = Duration::from_secs(60);
/// Longer than the attacks take: the push is ended when they are over.
const SOURCE_SECONDS: u32 = 150;
/// How much more memory the daemon may have behind all attacks than before. The allocator keeps what was held at the peak,
/// which is 10,000 requests of less than 24 KiB; the rest is for large messages and the canary's own window of a minute.
const KEPT_BYTES: u64 = 10_000 * (24 << 10) + (128 << 20);

/// Pictures that the source's encoder may have sent before one that is shown earlier, and some.
const REORDERED: u32 = 8;

/// What attackers know.
pub struct Site {
    pub rtmp: std::net::SocketAddr,
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
        peer.send(&super::peer::command(0, &["deleteStream"], &[1.0])).await;
        peer.until(&["NetStream.Unpublish.Success", "NetStream.Publish.BadName"]).await;
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
    files: tempfile::TempDir,
    log: String,
    streams: Vec<String>,
    sockets: [usize; 2],
    resident: [u64; 2],
}

/// The canary while it plays.
pub struct Playing {
    home: Home,
    daemon: Daemon,
    push: Process,
    player: JoinHandle<Follower>,
    sockets: usize,
    resident: u64,
}

impl Canary {
    /// Starts the daemon and the canary, and waits until it plays.
    pub fn start() -> (Arc<Site>, Playing) {
        let home = Home::ending_with_the_broadcast("passthrough")
            .set("rtmp.handshake", "3s")
            .set("rtmp.connect", "2s")
            .set("rtmp.publish", "3s")
            .set("http.header", "3s")
            .set("http.stall", "1s")
            .set("http.admin_token", TOKEN)
            .set("session.grace", "1s");
        let names = ["canary", "newcomers", "theirs", "waited for"];
        let [canary, newcomers, theirs, waited_for] = names.map(|name| home.named_credentials(name));
        let daemon = home.serve();
        let push = push(&Source::small(SOURCE_SECONDS), &daemon.publish_url(&canary.secret));
        let mut seen = Follower::open(&daemon.url(""), &canary.stream, FIRST_SEGMENT_LIMIT);
        seen.until_segments(1, FIRST_SEGMENT_LIMIT);
        let video = seen.videos().next().expect("a video rendition");
        let segment = crate::support::playlist::resolve(&video.path, &video.segments[0].entry.uri);
        let site = Arc::new(Site {
            rtmp: daemon.rtmp,
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
        let (sockets, resident) = (site.sockets(), site.resident_bytes());
        let player = std::thread::spawn(move || {
            seen.until_ended(LIMIT * 4);
            seen
        });
        (site, Playing { home, daemon, push, player, sockets, resident })
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
        let stored = crate::support::daemon::folders(&self.home.objects().join("live"));
        Canary {
            newcomers: site.arrived.load(Ordering::SeqCst),
            sent,
            seen,
            files: tempfile::tempdir().expect("a folder"),
            log,
            streams: stored.iter().map(|path| path.display().to_string()).collect(),
            sockets: [self.sockets, sockets],
            resident: [self.resident, resident],
        }
    }
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
    pub fn assert_every_frame_once(&self) {
        for rung in self.seen.videos() {
            assert!(rung.segments.iter().all(|segment| !segment.entry.gap), "a gap in the canary");
            let breaks = rung.segments.iter().filter(|segment| segment.entry.discontinuity && segment.entry.msn > 0);
            assert_eq!(breaks.count(), 0, "the canary was interrupted");
            let frames = content::frames(&rung.write(self.files.path()));
            assert_eq!(frames.len(), self.sent as usize, "as many frames came out as ffmpeg has sent");
            // It was interrupted between pictures that refer to each other: the last of them may be missing at its end.
            let whole = self.sent - REORDERED;
            let numbers: Vec<_> = frames[..whole as usize].iter().map(|frame| frame.number).collect();
            assert_eq!(numbers, (0..whole).map(Some).collect::<Vec<_>>(), "{}: each frame once, in order", rung.name);
        }
    }

    /// Every line is a JSON object of ours, without a panic and without an error.
    pub fn assert_quiet_log(&self) {
        for line in self.log.lines() {
            let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not a line of ours: {line}"));
            assert!(object["level"] != "ERROR", "{line}");
            assert!(object["message"] != "forged", "{line}");
        }
        assert!(self.log.lines().count() < 5_000, "{} lines", self.log.lines().count());
    }

    pub fn assert_nothing_is_left(&self) {
        let [before, after] = self.sockets;
        assert!(after <= before, "{after} sockets, {before} before the attacks");
        let [before, after] = self.resident;
        eprintln!("resident before the attacks {} KiB, after {} KiB", before >> 10, after >> 10);
        assert!(after <= before + KEPT_BYTES, "{after} bytes resident, {before} before the attacks");
        assert!(self.streams.len() <= 4, "only streams have folders in the store: {:?}", self.streams);
    }
}
