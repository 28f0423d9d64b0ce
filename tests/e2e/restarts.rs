//! The daemon is stopped and killed at random moments while an encoder comes back each time: one session, of which a player that
//! goes along sees every frame but those of the part that was open.
//!
//! `E2E_ROUNDS` sets how often, `E2E_SEED` repeats a run that failed.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::lifecycle::assert_names_are_unique;
use crate::support::boxes;
use crate::support::content;
use crate::support::daemon::{Credentials, Daemon, Home, STOP_LIMIT};
use crate::support::follower::{Follower, Rendition, Run};
use crate::support::http::Client;
use crate::support::machine;
use crate::support::source::{Publisher, Source};

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
}

fn seed() -> u64 {
    let given = std::env::var("E2E_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos().into())
}

#[test]
fn restarts_at_random_moments_lose_the_open_part_at_most() {
    let _turn = machine::shared("restarts_at_random_moments_lose_the_open_part_at_most");
    let (seed, count) = (seed(), machine::rounds(10));
    eprintln!("E2E_SEED={seed}");
    let home = Home::new(test_preset("auto-360p-240p")).set("session.grace", "60s");
    let credentials = home.credentials();
    let (seen, rounds) = broadcast(&home, &credentials, count, &mut Moments(seed));
    assert_playlists_are_one_session(&seen);
    assert_renditions_are_aligned(&seen);
    assert_decoding_time_goes_on(&seen);
    assert_frames_are_there(&seen, &rounds);
}

/// A broadcast with so many restarts, every other by SIGKILL, and an end in order.
fn broadcast(home: &Home, credentials: &Credentials, count: u32, moments: &mut Moments) -> (Follower, Vec<Round>) {
    let source = Source::small(30);
    let mut seen: Option<Follower> = None;
    let mut rounds = Vec::new();
    for number in 0..=count {
        let mut daemon = home.serve();
        // Some stops follow on each other before the encoder is back.
        let is_alone = number > 0 && number < count && moments.below(4) == 0;
        if !is_alone {
            let publisher = Publisher::start(&source, &daemon.publish_url(&credentials.secret));
            let frames = go_along(&mut seen, &daemon, credentials, &source);
            if number < count {
                moments.pass(SETTLED_MILLIS);
            }
            rounds.push(Round { killed: stop(&mut daemon, number), frames });
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
    daemon.stop();
    (seen, rounds)
}

/// Follows until each rendition has a segment of this round, and counts what came out.
fn go_along(seen: &mut Option<Follower>, daemon: &Daemon, credentials: &Credentials, source: &Source) -> [u64; 2] {
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

/// The follower has compared all versions; this is about all that they ever listed.
fn assert_playlists_are_one_session(seen: &Follower) {
    for Rendition { name, segments, .. } in &seen.renditions {
        let entries: Vec<_> = segments.iter().map(|segment| &segment.entry).collect();
        for pair in entries.windows(2) {
            assert_eq!(pair[1].msn, pair[0].msn + 1, "{name}: {pair:#?}");
            assert!(pair[1].wall > pair[0].wall, "{name}: PROGRAM-DATE-TIME: {pair:#?}");
        }
        assert_names_are_unique(name, &entries);
    }
}

fn assert_renditions_are_aligned(seen: &Follower) {
    let shape = |rendition: &Rendition| -> Vec<_> {
        let entries = rendition.segments.iter().map(|segment| &segment.entry);
        entries.map(|entry| (entry.msn, entry.wall.clone(), entry.discontinuity)).collect()
    };
    let first = &seen.renditions[0];
    for other in &seen.renditions[1..] {
        assert_eq!(shape(other), shape(first), "{} and {}", other.name, first.name);
    }
    // Segments of the rungs begin at the same presentation time.
    for (copied, encoded) in seen.rung(COPIED).segments.iter().zip(&seen.rung(ENCODED).segments) {
        let begins = |bytes: &[u8]| boxes::samples(bytes).iter().map(|sample| sample.pts).min();
        if let (Some(one), Some(other)) = (begins(&copied.bytes), begins(&encoded.bytes)) {
            assert_eq!(one, other, "segment {}", copied.entry.msn);
        }
    }
}

fn assert_decoding_time_goes_on(seen: &Follower) {
    for rendition in &seen.renditions {
        let mut end = 0;
        for run in rendition.runs() {
            let samples = run.samples();
            let first = samples.first().expect("a run has samples");
            assert!(first.dts >= end, "{}: a run begins at {} before {end}", run.name, first.dts);
            for pair in samples.windows(2) {
                let next = pair[0].dts + u64::from(pair[0].duration);
                assert_eq!(next, pair[1].dts, "{}: decoding time makes a step within a run", run.name);
            }
            end = samples.last().map_or(end, |last| last.dts + u64::from(last.duration));
        }
    }
}

/// Each encoder's run is there from its first frame on, with one discontinuity before it and nowhere else.
fn assert_frames_are_there(seen: &Follower, rounds: &[Round]) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut lengths = Vec::new();
    for (rung, name) in [COPIED, ENCODED].into_iter().enumerate() {
        let rendition = seen.rung(name);
        let breaks = rendition.segments.iter().filter(|segment| segment.entry.discontinuity).count();
        let runs = rendition.runs();
        assert_eq!((runs.len(), breaks), (rounds.len(), rounds.len() - 1), "{name}: runs and discontinuities");
        let read: Vec<_> = runs.iter().map(|run| frames_of(run, folder.path())).collect();
        for (number, (frames, round)) in read.iter().zip(rounds).enumerate() {
            assert!(*frames as u64 >= round.frames[rung], "{name}: run {number}: {frames} of {:?}", round.frames);
        }
        lengths.push(read);
    }
    for (number, round) in rounds.iter().enumerate().filter(|(_, round)| !round.killed) {
        assert_eq!(lengths[0][number], lengths[1][number], "run {number} of both rungs, {:?}", round.frames);
    }
}

/// How many frames a run has, which are those of the source from its first on. The last may stand behind a hole: it is decoded
/// before the B-frames that are shown before it, and these had not come when the connection ended.
fn frames_of(run: &Run<'_>, folder: &Path) -> usize {
    let frames = content::frames(&run.write(folder));
    let mut numbers: Vec<_> = frames.iter().map(|frame| frame.number.map(|number| number as usize)).collect();
    let count = numbers.len();
    let last = numbers.pop().flatten();
    assert!(
        (count - 1..count + B_FRAMES).any(|number| last == Some(number)),
        "{}: {last:?} is the last of {count}",
        run.name
    );
    assert_eq!(numbers, (0..count - 1).map(Some).collect::<Vec<_>>(), "{}: frames of a run", run.name);
    count
}
