//! Playback over HTTP, as players and caches see it.

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;

use crate::broadcast::FIRST_SEGMENT_LIMIT;
use crate::support::daemon::{Daemon, Home};
use crate::support::follower::Follower;
use crate::support::http::{Answer, Client};
use crate::support::machine::{self, Turn};
use crate::support::playlist::resolve;
use crate::support::source::{Publisher, Source};

/// A stream that plays while its test runs.
struct Playing {
    _turn: Turn,
    _home: Home,
    daemon: Daemon,
    client: Client,
    seen: Follower,
    _publisher: Publisher,
}

fn play(test: &'static str) -> Playing {
    let turn = machine::shared(test);
    let home = Home::new("passthrough");
    let credentials = home.credentials();
    let daemon = home.serve();
    let source = Source::small(30);
    let publisher = Publisher::start(&source, &daemon.publish_url(&credentials.secret));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_segments(2, source.limit());
    Playing { _turn: turn, _home: home, daemon, client: Client::default(), seen, _publisher: publisher }
}

impl Playing {
    /// URL of the first rung's playlist, of its first segment and of its init segment.
    fn urls(&self) -> [String; 3] {
        let rung = &self.seen.renditions[0];
        let entry = &rung.segments[0].entry;
        let beside = |uri: &str| self.daemon.url(&resolve(&rung.path, uri));
        [self.daemon.url(&rung.path), beside(&entry.uri), beside(&entry.map)]
    }
}

fn assert_headers(answer: &Answer, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(answer.header(name), Some(*value), "{name} of {:?}", answer.headers);
    }
}

#[test]
fn playlists_are_typed_compressed_and_kept_briefly() {
    let playing = play("playlists_are_typed_compressed_and_kept_briefly");
    let [playlist, ..] = playing.urls();
    for url in [playing.daemon.url(&playing.seen.path), playlist] {
        let plain = playing.client.fetch(&url);
        assert_headers(
            &plain,
            &[("content-type", "application/vnd.apple.mpegurl"), ("access-control-allow-origin", "*")],
        );
        let cache = plain.header("cache-control").expect("a playlist says how long it may be kept");
        let max_age = cache.split("max-age=").nth(1).and_then(|rest| rest.parse::<u32>().ok());
        assert!(max_age.is_some_and(|seconds| seconds <= 2), "{url}: {cache}");
        let zipped = playing.client.request("GET", &url, &[("accept-encoding", "gzip")]);
        assert_headers(&zipped, &[("content-encoding", "gzip"), ("vary", "Accept-Encoding")]);
        let mut text = String::new();
        GzDecoder::new(&zipped.body[..]).read_to_string(&mut text).expect("valid gzip");
        assert!(text.starts_with("#EXTM3U\n"), "{text}");
    }
}

#[test]
fn an_etag_saves_a_playlist_that_did_not_change() {
    let playing = play("an_etag_saves_a_playlist_that_did_not_change");
    // The multivariant playlist is fixed for a session.
    let url = playing.daemon.url(&playing.seen.path);
    let etag = playing.client.fetch(&url).header("etag").expect("a playlist has an ETag").to_owned();
    let again = playing.client.request("GET", &url, &[("if-none-match", &etag)]);
    assert_eq!((again.status, again.body.len()), (304, 0));
}

#[test]
fn segments_are_immutable_and_served_in_ranges() {
    let playing = play("segments_are_immutable_and_served_in_ranges");
    let [_, segment, init] = playing.urls();
    for url in [&segment, &init] {
        let whole = playing.client.fetch(url);
        assert_headers(
            &whole,
            &[
                ("content-type", "video/mp4"),
                ("cache-control", "public, max-age=31536000, immutable"),
                ("accept-ranges", "bytes"),
                ("access-control-allow-origin", "*"),
            ],
        );
        let part = playing.client.request("GET", url, &[("range", "bytes=4-7")]);
        let range = format!("bytes 4-7/{}", whole.body.len());
        assert_eq!((part.status, part.header("content-range")), (206, Some(range.as_str())));
        assert_eq!(part.body, whole.body[4..8]);
        let head = playing.client.request("HEAD", url, &[]);
        let length = whole.body.len().to_string();
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some(length.as_str()), 0));
        let beyond = playing.client.request("GET", url, &[("range", "bytes=999999999-")]);
        assert_eq!(beyond.status, 416);
    }
    let audio = playing.seen.audio();
    let url = playing.daemon.url(&resolve(&audio.path, &audio.segments[0].entry.uri));
    assert_headers(&playing.client.fetch(&url), &[("content-type", "audio/mp4")]);
}

#[test]
fn what_is_not_there_is_a_json_404_that_is_not_kept() {
    let playing = play("what_is_not_there_is_a_json_404_that_is_not_kept");
    let [_, segment, _] = playing.urls();
    let folder = segment.rsplit_once('/').expect("a URL has slashes").0;
    let absent = [
        format!("{folder}/1-999999.m4s"),
        format!("{folder}/init-77.mp4"),
        format!("{folder}/..%2f..%2findex.m3u8"),
        playing.daemon.url("/live/nobody/index.m3u8"),
        playing.daemon.url("/nothing/here"),
    ];
    for url in absent {
        let answer = playing.client.get(&url);
        assert_eq!(answer.status, 404, "{url}");
        assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{url}");
        let error: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(error.is_object(), "{url}: {error}");
        let cache = answer.header("cache-control").unwrap_or("no-store");
        assert!(cache.contains("no-store") || cache.contains("max-age=1"), "{url}: {cache}");
    }
}

#[test]
fn a_page_elsewhere_may_ask_first() {
    let playing = play("a_page_elsewhere_may_ask_first");
    let [playlist, segment, _] = playing.urls();
    for url in [playlist, segment] {
        let headers = [("origin", "https://example.org"), ("access-control-request-method", "GET")];
        let answer = playing.client.request("OPTIONS", &url, &headers);
        assert!(answer.status == 200 || answer.status == 204, "{url}: {}", answer.status);
        assert_headers(&answer, &[("access-control-allow-origin", "*")]);
    }
}

#[test]
fn a_stream_without_a_session_is_offline_in_words() {
    let _turn = machine::shared("a_stream_without_a_session_is_offline_in_words");
    let home = Home::new("passthrough");
    let stream = home.credentials().stream;
    let daemon = home.serve();
    let client = Client::default();
    let url = daemon.url(&format!("/live/{stream}/index.m3u8"));
    let answer = client.poll(&url, Duration::from_secs(15), |answer| (answer.status == 404).then(|| answer.clone()));
    assert!(answer.text().contains("stream_offline"), "{}", answer.text());
    daemon.stop();
}
