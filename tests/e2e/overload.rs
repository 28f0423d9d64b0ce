//! Too little CPU: while a session runs (frames are dropped evenly, and it recovers), and before it begins (fewer rungs, or a
//! refusal in words).

use std::time::Duration;

use serde_json::Value;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::support::boxes;
use crate::support::content::{Expectation, Frame, Pictures, Report};
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::follower::{Follower, Rendition};
use crate::support::http::{Client, until};
use crate::support::machine;
use crate::support::source::{Publisher, Source};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// A refused encoder ends within this on a busy machine.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);
/// What docs/operators.md says of the encoded rungs: more source than this never waits.
const MOST_SECONDS_WAITING: u32 = 6;
/// Cuts wait beside the pictures, and do not count.
const CUTS_WAITING: u32 = 8;

/// A value of `/metrics` that belongs to the stream and has this label, if one is named.
fn metric(daemon: &Daemon, stream: &str, name: &str, label: &str) -> Option<f64> {
    let text = Client::default().fetch(&daemon.url("/metrics")).text().to_owned();
    let is_named = |line: &str| line.starts_with(&format!("millstream_{name}{{"));
    let wanted = |line: &&str| is_named(line) && line.contains(stream) && line.contains(label);
    text.lines().find(wanted)?.rsplit_once(' ')?.1.parse().ok()
}

/// The label of the queue in front of the decoder.
const TO_DECODER: &str = "edge=\"video\"";

/// Pictures that the encoded rungs lost so far: behind the decoder, and (where the machine stood still for seconds) in front of it.
fn dropped(daemon: &Daemon, stream: &str) -> [u64; 2] {
    let value = |name, label| metric(daemon, stream, name, label).expect("a session") as u64;
    [value("transcode_dropped_frames_total", ""), value("edge_dropped_total", TO_DECODER)]
}

/// The live details of the stream's session, as the API tells them.
fn live(daemon: &Daemon, stream: &str) -> Value {
    let url = daemon.url(&format!("/api/v1/sessions?stream={stream}"));
    let answer = Client::default().request("GET", &url, &[("authorization", &format!("Bearer {TOKEN}"))]);
    let sessions: Value = serde_json::from_str(answer.text()).expect("JSON");
    sessions[0]["live"].clone()
}

/// Presentation times in microseconds and in order, and those that begin a segment, over all configurations.
fn times(rendition: &Rendition) -> (Vec<i64>, Vec<i64>) {
    let (mut all, mut firsts) = (Vec::new(), Vec::new());
    for segment in rendition.media_segments() {
        let timescale = boxes::Init::parse(&rendition.inits[&segment.entry.map]).timescale;
        let micros = |pts: i64| pts * 1_000_000 / i64::from(timescale);
        let mut times: Vec<_> = boxes::samples(&segment.bytes).iter().map(|sample| micros(sample.pts)).collect();
        times.sort_unstable();
        firsts.extend(times.first());
        all.extend(times);
    }
    (all, firsts)
}

/// Pushes `source`, following the stream meanwhile; returns whether the session said `overloaded`.
fn push(daemon: &Daemon, to: &Credentials, source: &Source, seen: &mut Option<Follower>) -> bool {
    let mut publisher = Publisher::start(source, &daemon.publish_url(&to.secret));
    let seen = seen.get_or_insert_with(|| Follower::open(&daemon.url(""), &to.stream, FIRST_SEGMENT_LIMIT));
    let (mut most, mut overloaded) = (0.0_f64, false);
    let status = until(source.limit(), "the end of the push", || {
        seen.update();
        most = most.max(metric(daemon, &to.stream, "edge_queue_items", TO_DECODER).unwrap_or(0.0));
        overloaded |= live(daemon, &to.stream)["overloaded"] == true;
        publisher.wait(Duration::from_millis(200))
    });
    assert!(status.success(), "{}", publisher.errors());
    let bound = f64::from(MOST_SECONDS_WAITING * source.fps + CUTS_WAITING);
    assert!(most <= bound, "{most} pictures wait undecoded");
    overloaded
}

#[test]
fn a_ladder_that_is_too_heavy_sheds_evenly_and_recovers_by_itself() {
    let _turn = machine::alone("a_ladder_that_is_too_heavy_sheds_evenly_and_recovers_by_itself");
    let home = Home::new(test_preset("overload")).set("ladder.capacity", "unlimited").set("session.grace", "10s");
    let home = home.set("http.admin_token", TOKEN).set("ladder.patience", "1s");
    let credentials = home.credentials();
    let daemon = home.serve();
    let mut seen = None;
    let (large, small) = (Source::small(10), Source::new(160, 90, 30, 12, 200));
    // Several times what one thread can encode, then a sixteenth of that.
    let overloaded = push(&daemon, &credentials, &large, &mut seen);
    assert!(overloaded, "the session says overloaded:\n{}", daemon.log());
    push(&daemon, &credentials, &small, &mut seen);
    daemon.wait_for_log("no longer overloaded", small.limit());
    // Figures are taken once a second while a session is doing something, and a session that waits announces gaps.
    let calm = || (live(&daemon, &credentials.stream)["overloaded"] == false).then_some(());
    until(Duration::from_secs(20), "the session is no longer overloaded", calm);
    let dropped = dropped(&daemon, &credentials.stream);
    let mut seen = seen.expect("it was opened");
    seen.until_ended(small.limit());
    check_what_came_out(&seen, [&large, &small], dropped.iter().sum());
    let log = daemon.log();
    let told = |text: &str| -> Vec<Value> {
        let lines = log.lines().filter(|line| line.contains(text));
        lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let ends = told("no longer overloaded");
    // One of each, unless the machine stands still in the second push too.
    assert_eq!(told("overloaded: frames are dropped").len(), ends.len(), "{log}");
    assert_eq!(ends.iter().filter_map(|line| line["dropped_frames"].as_u64()).sum::<u64>(), dropped[0], "{log}");
    daemon.stop();
}

/// The copied rung and the sound are whole; encoded rungs lost the same frames, evenly and none that begins a segment.
fn check_what_came_out(seen: &Follower, sources: [&Source; 2], dropped: u64) {
    let frames: u64 = sources.iter().map(|source| u64::from(source.frames())).sum();
    let (copied, firsts) = times(seen.rung("360p"));
    assert_eq!(copied.len() as u64, frames, "the copied rung is whole");
    let (heavy, light) = (times(seen.rung("heavy")), times(seen.rung("light")));
    assert_eq!(heavy, light, "the same frames are left in all encoded rungs");
    assert_eq!(heavy.1, firsts, "no frame that begins a segment is dropped");
    assert!(dropped > 20 && heavy.0.len() as u64 + dropped == frames, "{} kept, {dropped} dropped", heavy.0.len());
    let breaks = seen.audio().segments.iter().filter(|segment| segment.entry.discontinuity).count();
    assert_eq!(breaks, 1, "sound breaks where the second push begins, and nowhere else");
    let gap = seen.audio().segments.iter().filter(|segment| segment.entry.gap).count();
    let listed = |rung: &str| seen.rung(rung).segments.iter().filter(|segment| segment.entry.gap).count();
    assert!(listed("heavy") == gap && listed("light") == gap, "only the pause is a gap");
    check_what_is_shown(seen, sources, &heavy.0);
    // The second push is encoded with ease, and the share rises to a whole.
    let (large, _) = copied.split_at(sources[0].frames() as usize);
    let (rare, together) = rarer(large, &firsts, &heavy.0);
    assert!(10 * together <= rare, "{together} of {rare} stand together: {:?}", heavy.0);
}

/// The copied rung shows all that was sent, encoded ones what is presented at these times, and sound is whole.
fn check_what_is_shown(seen: &Follower, sources: [&Source; 2], kept: &[i64]) {
    let folder = tempfile::tempdir().expect("a folder");
    let report = |rung: &str| Report::of(Some(seen.rung(rung)), Some(seen.audio()), folder.path());
    let seconds = sources.iter().map(|source| source.seconds).sum();
    let numbers = sources.iter().flat_map(|source| 0..source.frames()).collect();
    // The first beep of each push lies in the encoder's fade-in.
    let whole = Expectation { beeps: Some(seconds as usize - 2), ..Expectation::whole(0, seconds) };
    let sent = report("360p");
    sent.assert_whole(&whole.clone().pictures(Pictures::Numbers(numbers)));
    let is_kept = |(_, time): &(&Frame, &i64)| kept.binary_search(time).is_ok();
    let left: Vec<_> = sent.frames.iter().zip(&sent.times_us).filter(is_kept).collect();
    let numbers = left.iter().filter_map(|(frame, _)| frame.number).collect();
    let flash = |pair: &[(&Frame, &i64)]| !pair[0].0.white && pair[1].0.white;
    let flashes = usize::from(left[0].0.white) + left.windows(2).filter(|pair| flash(pair)).count();
    // A flash is seen late, or not at all, where its first pictures were dropped.
    let expected = Expectation { flashes: Some(flashes), beeps: None, ..whole.pictures(Pictures::Numbers(numbers)) };
    for rung in ["heavy", "light"] {
        report(rung).assert_whole(&expected);
    }
}

/// Of the frames behind the first dropped one: are more dropped or kept, how many are of the rarer kind, and how many of these stand
/// right behind another of their kind. `sent` and `kept` are times of frames, `firsts` of those that begin a segment, which are kept
/// in any case and not counted.
///
/// A frame is kept when the shares of those since the last one add up to a whole frame: with a share of a half or less never two in
/// a row, and with more never is a second one dropped. Blocks have nothing else, whatever the share.
fn rarer(sent: &[i64], firsts: &[i64], kept: &[i64]) -> (usize, usize) {
    let is_kept = |time: &i64| kept.binary_search(time).is_ok();
    let begin = sent.iter().position(|time| !is_kept(time)).expect("a dropped frame");
    let counted = &sent[begin..];
    let few_are_kept = 2 * counted.iter().filter(|time| is_kept(time)).count() <= counted.len();
    let is_rare = |time: &i64| is_kept(time) == few_are_kept && !firsts.contains(time);
    let together = counted.windows(2).filter(|pair| pair.iter().all(is_rare)).count();
    (counted.iter().filter(|time| is_rare(time)).count(), together)
}

#[test]
fn frames_that_are_dropped_in_blocks_are_not_dropped_evenly() {
    let sent: Vec<_> = (0..600).collect();
    let firsts: Vec<_> = (0..600).step_by(60).collect();
    let rarer_of = |is_kept: fn(&i64) -> bool| {
        let kept: Vec<_> = sent.iter().copied().filter(|n| n % 60 == 0 || is_kept(n)).collect();
        rarer(&sent, &firsts, &kept)
    };
    let even: [fn(&i64) -> bool; 3] = [|n| n % 2 == 0, |n| n % 7 == 1, |n| n % 3 > 0];
    assert!(even.into_iter().all(|is_kept| rarer_of(is_kept).1 == 0));
    let blocks: [fn(&i64) -> bool; 4] = [|n| n % 60 < 30, |n| n % 12 < 6, |n| n / 60 % 2 == 0, |n| n % 60 > 12];
    for (rare, together) in blocks.map(rarer_of) {
        assert!(3 * together > 2 * rare, "{together} of {rare}");
    }
}

/// What came of a session that did not fit: what a player saw, and what the API said was left out.
struct Degraded {
    seen: Follower,
    left_out: Value,
    log: String,
}

/// Pushes `source` to a ladder of three encoded rungs where `megapixels` a second may be encoded.
fn degraded(megapixels: &str, source: &Source) -> Degraded {
    let home = Home::ending_with_the_broadcast(test_preset("test-360p-240p-144p")).set("ladder.capacity", megapixels);
    let home = home.set("http.admin_token", TOKEN);
    let credentials = home.credentials();
    let daemon = home.serve();
    let publisher = Publisher::start(source, &daemon.publish_url(&credentials.secret));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_segments(1, source.limit());
    let left_out = live(&daemon, &credentials.stream)["left_out"].clone();
    let metrics = Client::default().fetch(&daemon.url("/metrics")).text().to_owned();
    for line in [
        &format!("millstream_encode_capacity_pixels_per_second {megapixels}000000"),
        "millstream_encode_over_capacity_total{outcome=\"degraded\"} 1",
    ] {
        assert!(metrics.contains(line), "no {line} in:\n{metrics}");
    }
    seen.until_ended(source.limit());
    publisher.finish(source);
    let log = daemon.log();
    daemon.stop();
    Degraded { seen, left_out, log }
}

impl Degraded {
    /// Names of the rungs and of the sound.
    fn names(&self) -> Vec<&str> {
        self.seen.renditions.iter().map(|rendition| rendition.name.as_str()).collect()
    }

    /// The API and the log say of these rungs, and of no other, that there is no room for them.
    fn assert_left_out(&self, names: &[&str]) {
        let told = self.left_out.as_array().expect("a list").iter();
        let told: Vec<_> = told.map(|rung| (rung["name"].as_str(), rung["reason"].as_str())).collect();
        assert_eq!(
            told.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            names.iter().map(|name| Some(*name)).collect::<Vec<_>>()
        );
        assert!(told.iter().all(|(_, why)| why.is_some_and(|why| why.contains("no room"))), "{told:?}");
        for name in names {
            assert!(self.log.contains(&format!("{name} is left out: it costs")), "{name}: {}", self.log);
        }
    }

    /// What is served is whole in every rung.
    fn assert_served(&self, source: &Source) {
        let folder = tempfile::tempdir().expect("a folder");
        let expected = Expectation::whole(source.frames(), source.seconds);
        for rung in self.seen.videos() {
            assert!(rung.segments.iter().all(|segment| !segment.entry.gap && !segment.entry.discontinuity));
            Report::of(Some(rung), Some(self.seen.audio()), folder.path()).assert_whole(&expected);
        }
    }
}

#[test]
fn a_session_that_does_not_fit_begins_with_fewer_rungs_and_says_so() {
    let _turn = machine::shared("a_session_that_does_not_fit_begins_with_fewer_rungs_and_says_so");
    let source = Source::small(10);
    let degraded = degraded("7", &source);
    assert_eq!(degraded.names(), ["240p", "144p", "audio"]);
    degraded.assert_left_out(&["360p"]);
    degraded.assert_served(&source);
}

#[test]
fn a_session_of_which_no_rung_fits_is_carried_as_it_is() {
    let _turn = machine::shared("a_session_of_which_no_rung_fits_is_carried_as_it_is");
    let source = Source::small(10);
    let degraded = degraded("1", &source);
    assert_eq!(degraded.names(), ["source", "audio"]);
    degraded.assert_left_out(&["360p", "240p", "144p"]);
    degraded.assert_served(&source);
    let source_rung = degraded.seen.rung("source").variant.as_ref().expect("a variant");
    assert_eq!(source_rung.resolution, (640, 360), "the source's own size");
}

#[test]
fn a_full_machine_refuses_in_words_when_it_is_told_to() {
    let _turn = machine::shared("a_full_machine_refuses_in_words_when_it_is_told_to");
    let home = Home::new(test_preset("test-360p-240p-144p"));
    let home = home.set("ladder.capacity", "7").set("ladder.over_capacity", "refuse");
    let credentials = home.credentials();
    let daemon = home.serve();
    let mut publisher = Publisher::start(&Source::small(30), &daemon.publish_url(&credentials.secret));
    let status = publisher.wait(REFUSAL_LIMIT).expect("a refused encoder ends");
    assert!(!status.success(), "{status}");
    let errors = publisher.errors();
    assert!(errors.contains("no encoding capacity left: this stream costs 10 Mpx/s"), "ffmpeg shows why: {errors}");
    daemon.wait_for_log("cannot plan the ladder: this stream costs", REFUSAL_LIMIT);
}
