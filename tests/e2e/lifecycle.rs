//! Stop, start and continue, as DESIGN.md says under "Continuity".

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, read_all, test_preset};
use crate::support::boxes;
use crate::support::daemon::{Credentials, Daemon, Home, STOP_LIMIT};
use crate::support::follower::Follower;
use crate::support::machine;
use crate::support::playlist::{Entry, Media, resolve};
use crate::support::source::{Publisher, Source};

/// Signalled twice, the daemon does not wait for anything.
const SECOND_SIGNAL_LIMIT: Duration = Duration::from_secs(3);

/// A daemon in the middle of a broadcast.
struct Live {
    home: Home,
    credentials: Credentials,
    daemon: Daemon,
    source: Source,
    seen: Follower,
    _publisher: Publisher,
}

/// Starts a broadcast with `preset` and waits until two segments are listed.
fn go_live(preset: &str, flags: &[&str]) -> Live {
    let home = Home::new(preset).set("session.grace", "60s");
    let credentials = home.credentials();
    let daemon = home.serve_with(flags);
    let source = Source::small(30);
    let publisher = Publisher::start(&source, &daemon.publish_url(&credentials.secret));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_segments(2, source.limit());
    Live { home, credentials, daemon, source, seen, _publisher: publisher }
}

/// The stored media playlists by rendition, each with everything that it names beside it.
fn stored_playlists(home: &Home, stream: &str) -> BTreeMap<String, Media> {
    let files = read_all(&home.session_folder(stream));
    let mut playlists = BTreeMap::new();
    for (path, bytes) in files.iter().filter(|(path, _)| path.ends_with("/index.m3u8")) {
        let playlist = Media::parse(std::str::from_utf8(bytes).expect("a playlist is text"));
        for entry in playlist.entries.iter().filter(|entry| !entry.gap) {
            for uri in [&entry.uri, &entry.map] {
                assert!(files.contains_key(&resolve(path, uri)), "{path} names {uri}, which is not stored");
            }
        }
        playlists.insert(path.trim_end_matches("/index.m3u8").to_owned(), playlist);
    }
    assert!(playlists.len() >= 2, "a rung and audio are stored: {:?}", playlists.keys());
    playlists
}

/// A copied rung, which holds what arrived, above an encoded one.
fn copied_and_encoded() -> String {
    test_preset("auto-360p-240p")
}

/// Frames of a stored rung.
fn stored_frames(home: &Home, stream: &str, rung: &str) -> usize {
    let files = read_all(&home.session_folder(stream));
    let segments = files.iter().filter(|(path, _)| path.starts_with(&format!("{rung}/")) && path.ends_with(".m4s"));
    segments.map(|(_, bytes)| boxes::samples(bytes).len()).sum()
}

/// What an encoder and the decoder before it hold when the daemon is stopped comes out of them.
fn assert_encoders_were_flushed(home: &Home, stream: &str) {
    let [copied, encoded] = ["360p", "240p"].map(|rung| stored_frames(home, stream, rung));
    assert!(copied > 60, "{copied} frames are stored");
    assert_eq!(encoded, copied, "frames of the encoded rung, and of the copied one");
}

#[test]
fn sigterm_leaves_a_session_that_the_next_start_continues() {
    let _turn = machine::shared("sigterm_leaves_a_session_that_the_next_start_continues");
    stop_and_continue("passthrough", |_, _| ());
}

#[test]
fn sigterm_flushes_the_encoders_of_a_session_that_the_next_start_continues() {
    let _turn = machine::shared("sigterm_flushes_the_encoders_of_a_session_that_the_next_start_continues");
    stop_and_continue(&copied_and_encoded(), assert_encoders_were_flushed);
}

/// Stops a broadcast by SIGTERM, within the contract's time, looks at what is stored, and continues it.
fn stop_and_continue(preset: &str, look: impl FnOnce(&Home, &str)) {
    let Live { home, credentials, daemon, source, mut seen, .. } = go_live(preset, &[]);
    seen.update();
    daemon.stop();
    for (rendition, playlist) in stored_playlists(&home, &credentials.stream) {
        let listed = seen.rung(&rendition).segments.last().map(|segment| segment.entry.msn);
        assert!(!playlist.ended, "{rendition}: the session is not over");
        assert!(
            playlist.last_msn() >= listed,
            "{rendition}: everything that was listed is stored, and the open segment"
        );
    }

    look(&home, &credentials.stream);

    let daemon = home.serve();
    let publisher = Publisher::start(&source, &daemon.publish_url(&credentials.secret));
    seen.move_to(&daemon.url(""));
    let before: Vec<_> = seen.renditions.iter().map(|rendition| rendition.media_segments().count()).collect();
    seen.until(source.limit(), "two segments after the restart", |renditions| {
        let after = renditions.iter().map(|rendition| rendition.media_segments().count());
        after.zip(&before).all(|(after, before)| after >= before + 3)
    });
    for rendition in &seen.renditions {
        let entries: Vec<_> = rendition.segments.iter().map(|segment| &segment.entry).collect();
        let breaks = entries.iter().filter(|entry| entry.discontinuity && entry.msn > 0).count();
        assert_eq!(breaks, 1, "{}: one discontinuity: {entries:#?}", rendition.name);
        assert!(entries.windows(2).all(|pair| pair[1].msn == pair[0].msn + 1), "{}: MSNs rise by one", rendition.name);
        assert_names_are_unique(&rendition.name, &entries);
    }
    drop(publisher);
    daemon.stop();
}

/// No two segments of a rendition share a name.
pub fn assert_names_are_unique(rendition: &str, entries: &[&Entry]) {
    let mut names: Vec<_> = entries.iter().filter(|entry| !entry.gap).map(|entry| &entry.uri).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "{rendition}: a name was given twice");
}

#[test]
fn end_sessions_writes_endlist() {
    let _turn = machine::shared("end_sessions_writes_endlist");
    end_by_stop("passthrough", |_, _| ());
}

#[test]
fn end_sessions_flushes_the_encoders_before_endlist() {
    let _turn = machine::shared("end_sessions_flushes_the_encoders_before_endlist");
    end_by_stop(&copied_and_encoded(), assert_encoders_were_flushed);
}

/// Stops a broadcast for good and looks at what is stored.
fn end_by_stop(preset: &str, look: impl FnOnce(&Home, &str)) {
    let Live { home, credentials, daemon, .. } = go_live(preset, &["--end-sessions"]);
    daemon.stop();
    for (rendition, playlist) in stored_playlists(&home, &credentials.stream) {
        assert!(playlist.ended, "{rendition}: ENDLIST is stored");
    }
    look(&home, &credentials.stream);
}

#[test]
fn a_second_signal_exits_at_once() {
    let _turn = machine::shared("a_second_signal_exits_at_once");
    let mut live = go_live("passthrough", &[]);
    // A request that never ends gives an orderly stop something to wait for.
    let mut unfinished = TcpStream::connect(live.daemon.http).expect("HTTP is served");
    unfinished.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n").expect("half a request is taken");
    live.daemon.signal(Signal::TERM);
    live.daemon.wait_for_log("stopping;", SECOND_SIGNAL_LIMIT);
    live.daemon.signal(Signal::TERM);
    let exit = live.daemon.wait(SECOND_SIGNAL_LIMIT).expect("the daemon is still there");
    assert_eq!(exit.code(), Some(1), "it says that it did not stop in order");
}

#[test]
fn sigint_stops_an_idle_daemon_in_order() {
    let _turn = machine::shared("sigint_stops_an_idle_daemon_in_order");
    let home = Home::new("passthrough");
    let mut daemon = home.serve();
    daemon.signal(Signal::INT);
    let status = daemon.wait(STOP_LIMIT).expect("the daemon ends");
    assert!(status.success(), "{status}");
}
