//! Too little CPU: while a session runs (frames are dropped evenly, and it recovers), and before it begins (fewer rungs, or a
//! refusal in words).

use std::time::Duration;

use serde_json::Value;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::support::boxes;
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::follower::{Follower, Rendition};
use crate::support::http::{Client, until};
use crate::support::machine;
use crate::support::source::{Publisher, Source};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// A refused encoder ends within this on a busy machine.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);
/// What docs/operators.md says of the encoded rungs: more source than this never waits.
const LATENCY_BOUND_SECS: f64 = 6.0;

/// A value of `/metrics` that belongs to the stream.
fn metric(daemon: &Daemon, stream: &str, name: &str) -> Option<f64> {
    let text = Client::default().fetch(&daemon.url("/metrics")).text().to_owned();
    let wanted = |line: &&str| line.starts_with(&format!("millstream_{name}{{")) && line.contains(stream);
    text.lines().find(wanted)?.rsplit_once(' ')?.1.parse().ok()
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

/// Pushes `source`, following the stream meanwhile; returns the longest backlog and whether the session said `overloaded`.
fn push(daemon: &Daemon, to: &Credentials, source: &Source, seen: &mut Option<Follower>) -> (f64, bool) {
    let mut publisher = Publisher::start(source, &daemon.publish_url(&to.secret));
    let seen = seen.get_or_insert_with(|| Follower::open(&daemon.url(""), &to.stream, FIRST_SEGMENT_LIMIT));
    let (mut worst, mut overloaded) = (0.0_f64, false);
    let status = until(source.limit(), "the end of the push", || {
        seen.update();
        worst = worst.max(metric(daemon, &to.stream, "transcode_backlog_seconds").unwrap_or(0.0));
        overloaded |= live(daemon, &to.stream)["overloaded"] == true;
        publisher.wait(Duration::from_millis(200))
    });
    assert!(status.success(), "{}", publisher.errors());
    (worst, overloaded)
}

#[test]
fn a_ladder_that_is_too_heavy_sheds_evenly_and_recovers_by_itself() {
    let _turn = machine::alone("a_ladder_that_is_too_heavy_sheds_evenly_and_recovers_by_itself");
    let home = Home::new(test_preset("overload")).set("ladder.capacity", "unlimited").set("session.grace", "10s");
    let home = home.set("http.admin_token", TOKEN);
    let credentials = home.credentials();
    let daemon = home.serve();
    let mut seen = None;
    let (large, small) = (Source::small(10), Source::new(160, 90, 30, 12, 200));
    // Several times what one thread can encode, then a sixteenth of that.
    let (backlog, overloaded) = push(&daemon, &credentials, &large, &mut seen);
    assert!(overloaded, "the session says overloaded:\n{}", daemon.log());
    assert!(backlog <= LATENCY_BOUND_SECS, "{backlog} s wait undecoded");
    let (backlog, _) = push(&daemon, &credentials, &small, &mut seen);
    assert!(backlog <= LATENCY_BOUND_SECS, "{backlog} s wait undecoded");
    daemon.wait_for_log("no longer overloaded", small.limit());
    assert_eq!(live(&daemon, &credentials.stream)["overloaded"], false);
    let dropped = metric(&daemon, &credentials.stream, "transcode_dropped_frames_total").expect("a session");
    let mut seen = seen.expect("it was opened");
    seen.until_ended(small.limit());
    check_what_came_out(&seen, u64::from(large.frames() + small.frames()), dropped as u64);
    let log = daemon.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!((lines("overloaded: frames are dropped"), lines("no longer overloaded")), (1, 1), "{log}");
    assert!(log.contains(&format!("\"dropped_frames\":{dropped}")), "{log}");
    daemon.stop();
}

/// The copied rung and the sound are whole; encoded rungs lost the same frames, none of which begins a segment.
fn check_what_came_out(seen: &Follower, frames: u64, dropped: u64) {
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
    let sound: u64 = seen.audio().media_segments().map(|segment| segment.entry.duration_us).sum();
    assert!(sound >= frames * 1_000_000 / 30 - 200_000, "{sound} us of sound for {frames} frames");
}

#[test]
fn a_session_that_does_not_fit_begins_with_fewer_rungs_and_says_so() {
    let _turn = machine::shared("a_session_that_does_not_fit_begins_with_fewer_rungs_and_says_so");
    let home = Home::new(test_preset("test-360p-240p-144p")).set("ladder.capacity", "7");
    let home = home.set("http.admin_token", TOKEN);
    let credentials = home.credentials();
    let daemon = home.serve();
    let source = Source::small(30);
    let _publisher = Publisher::start(&source, &daemon.publish_url(&credentials.secret));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    let names: Vec<_> = seen.renditions.iter().map(|rendition| rendition.name.as_str()).collect();
    assert_eq!(names, ["240p", "144p", "audio"]);
    seen.until_segments(1, source.limit());
    let left_out = &live(&daemon, &credentials.stream)["left_out"];
    assert_eq!(left_out[0]["name"], "360p", "{left_out}");
    assert!(left_out[0]["reason"].as_str().is_some_and(|why| why.contains("no room")), "{left_out}");
    let metrics = Client::default().fetch(&daemon.url("/metrics")).text().to_owned();
    for line in [
        "millstream_encode_capacity_pixels_per_second 7000000",
        "millstream_encode_over_capacity_total{outcome=\"degraded\"} 1",
    ] {
        assert!(metrics.contains(line), "no {line} in:\n{metrics}");
    }
    assert!(daemon.log().contains("360p is left out: it costs"), "{}", daemon.log());
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
