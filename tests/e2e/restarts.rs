//! The daemon is stopped and killed at random moments while an encoder comes back each time: one session, of which a player that
//! goes along sees every frame but those of the part that was open. Over RTMP, and in fewer rounds over SRT.
//!
//! All that it saw, and what is stored, is held against the rules of [`crate::support::continuity`].
//!
//! `E2E_ROUNDS` sets how often, `E2E_SEED` repeats a run that failed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::continuity::stored;
use crate::support::continuity::{History, Hole, Lane};
use crate::support::daemon::{Credentials, Daemon, Home, STOP_LIMIT};
use crate::support::follower::{Follower, Rendition};
use crate::support::http::Client;
use crate::support::machine;
use crate::support::source::{Caller, Publisher, Source};
use crate::support::transmitter::Via;

const COPIED: &str = "360p";
const ENCODED: &str = "240p";
/// A target duration: a stop falls anywhere into a segment.
const SEGMENT_MILLIS: u64 = 2_000;
/// From a look at the figures to the stop at least: what was counted has been written by then.
const SETTLED_MILLIS: u64 = 300;
/// B-frames between two others, in the source and in the encoded rung.
const B_FRAMES: usize = 2;

/// Random milliseconds (SplitMix64).
struct Moments(u64);

impl Moments {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Lets a random time pass: the moment of a stop is no event.
    fn pass(&mut self, least: u64) {
        std::thread::sleep(Duration::from_millis(least + self.below(SEGMENT_MILLIS)));
    }
}

/// How a round ends, and what had come out by then.
struct Round {
    killed: bool,
    /// Frames that were in finished parts of each video rung some time before.
    frames: [u64; 2],
    /// The wall clock before its publisher was started, and when a segment of it had been seen in each rendition.
    dates: (i64, i64),
}

/// Microseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_micros()).expect("a date")
}

fn seed() -> u64 {
    let given = std::env::var("E2E_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos().into())
}

/// The `ffmpeg` that pushes in a round; it is killed with it.
#[expect(dead_code, reason = "held, never read")]
enum Encoder {
    Rtmp(Publisher),
    Srt(Caller),
}

impl Encoder {
    fn start(via: Via, source: &Source, daemon: &Daemon, credentials: &Credentials) -> Self {
        match via {
            Via::Rtmp => Encoder::Rtmp(Publisher::start(source, &daemon.publish_url(&credentials.secret))),
            Via::Srt => {
                let file = source.transport("plain", &["-c", "copy"]);
                Encoder::Srt(Caller::start(&file, daemon.srt(), &format!("streamid={}", credentials.secret)))
            }
        }
    }
}

#[test]
fn restarts_at_random_moments_lose_the_open_part_at_most() {
    let _turn = machine::shared("restarts_at_random_moments_lose_the_open_part_at_most");
    assert_restarts(Via::Rtmp, machine::rounds(10));
}

#[test]
fn restarts_under_an_srt_caller_lose_the_open_part_at_most() {
    let _turn = machine::shared("restarts_under_an_srt_caller_lose_the_open_part_at_most");
    assert_restarts(Via::Srt, machine::rounds(4));
}

fn assert_restarts(via: Via, count: u32) {
    let seed = seed();
    eprintln!("E2E_SEED={seed}");
    // Discontinuities leave the playlists while it goes on; what a round lists fits, also after the machine stood still.
    let home = Home::new(test_preset("auto-360p-240p")).set("session.grace", "60s").set("hls.window", "16s");
    let credentials = home.credentials();
    let (seen, rounds) = broadcast(via, &home, &credentials, count, &mut Moments(seed));
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::of(&seen, folder.path());
    let began = |round: &Round| Hole::Restart { dates: round.dates.0..=round.dates.1 };
    history.assert_playlists(&rounds.iter().skip(1).map(began).collect::<Vec<_>>());
    history.assert_stored(&stored(&home, &credentials.stream, &seen.renditions));
    assert_frames_are_there(&history, &rounds);
}

/// A broadcast with so many restarts, every other by SIGKILL, and an end in order.
fn broadcast(
    via: Via,
    home: &Home,
    credentials: &Credentials,
    count: u32,
    moments: &mut Moments,
) -> (Follower, Vec<Round>) {
    let source = Source::small(30);
    let mut seen: Option<Follower> = None;
    let mut rounds = Vec::new();
    for number in 0..=count {
        let mut daemon = home.serve();
        // Some stops follow on each other before the encoder is back.
        let is_alone = number > 0 && number < count && moments.below(4) == 0;
        if !is_alone {
            let began = now();
            let publisher = Encoder::start(via, &source, &daemon, credentials);
            let frames = go_along(&mut seen, &daemon, credentials, &source, number == count);
            let dates = (began, now());
            if number < count {
                moments.pass(SETTLED_MILLIS);
            }
            let killed = stop(&mut daemon, number);
            rounds.push(Round { killed, frames, dates });
            drop(publisher);
        } else {
            stop(&mut daemon, number);
        }
    }
    let mut seen = seen.expect("the first round has an encoder");
    // What the last stop stored is listed by one more start.
    let daemon = home.serve();
    seen.move_to(&daemon.url(""));
    seen.update();
    // Stored when the daemon has stopped.
    daemon.stop();
    (seen, rounds)
}

/// Follows until each rendition has a segment of this round, in the last one until a discontinuity has left the window as well, and
/// counts what came out.
fn go_along(
    seen: &mut Option<Follower>,
    daemon: &Daemon,
    credentials: &Credentials,
    source: &Source,
    is_last: bool,
) -> [u64; 2] {
    let base = daemon.url("");
    let seen = match seen {
        Some(seen) => {
            seen.move_to(&base);
            seen.update();
            seen
        }
        None => seen.insert(Follower::open(&base, &credentials.stream, FIRST_SEGMENT_LIMIT)),
    };
    let count = |rendition: &Rendition| rendition.media_segments().count();
    let before: Vec<_> = seen.renditions.iter().map(count).collect();
    seen.until(source.limit(), "a segment of this round", |renditions| {
        renditions.iter().zip(&before).all(|(rendition, before)| count(rendition) > *before)
    });
    if is_last {
        seen.until(source.limit(), "a discontinuity has left the window", |renditions| {
            renditions.iter().all(|rendition| rendition.fronts.iter().any(|front| front.1 > 0))
        });
    }
    let figures = Client::default().fetch(&daemon.url("/metrics")).text().to_owned();
    [COPIED, ENCODED].map(|rung| frames_in_parts(&figures, rung))
}

fn frames_in_parts(figures: &str, rung: &str) -> u64 {
    let rung = format!("rung=\"{rung}\"");
    let line =
        figures.lines().find(|line| line.starts_with("millstream_package_frames_total{") && line.contains(&rung));
    let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no frames of {rung}: {figures}"))
}

/// True when it was killed.
fn stop(daemon: &mut Daemon, number: u32) -> bool {
    let killed = number % 2 == 1;
    daemon.signal(if killed { Signal::KILL } else { Signal::TERM });
    let status = daemon.wait(STOP_LIMIT).expect("the daemon ends");
    assert!(killed || status.success(), "round {number}: {status}");
    killed
}

/// Each encoder's run is there from its first frame on, in the encoded rung too.
fn assert_frames_are_there(history: &History, rounds: &[Round]) {
    let counts = [COPIED, ENCODED].map(|name| {
        let lane = history.lanes.iter().find(|lane| lane.name == name).expect("a rung of the preset");
        (0..rounds.len()).map(|number| frames_of(lane, number)).collect::<Vec<_>>()
    });
    for (number, round) in rounds.iter().enumerate() {
        let [copied, encoded] = [counts[0][number], counts[1][number]];
        assert!(
            copied as u64 >= round.frames[0] && encoded as u64 >= round.frames[1],
            "run {number}: {copied} and {encoded} of {:?}",
            round.frames
        );
        assert!(round.killed || copied == encoded, "run {number} of both rungs: {copied} and {encoded}");
    }
}

/// How many frames a run has, which are those of the source from its first on. The last may stand behind a hole: it is decoded
/// before the B-frames that are shown before it, and these had not come when the connection ended.
fn frames_of(lane: &Lane, run: usize) -> usize {
    let mut numbers = lane.pictures[run].clone();
    let count = numbers.len();
    let last = numbers.pop().flatten().map(|number| number as usize);
    assert!(
        (count - 1..count + B_FRAMES).any(|number| last == Some(number)),
        "{}: run {run}: {last:?} is the last of {count}",
        lane.name
    );
    assert_eq!(numbers, (0..count as u32 - 1).map(Some).collect::<Vec<_>>(), "{}: frames of run {run}", lane.name);
    count
}
