//! Traces of stored segments, as a collector gets them, and what becomes of a broadcast whose collector never answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::broadcast::{FIRST_SEGMENT_LIMIT, push_through, read_all, test_preset};
use crate::support::collector::{Collector, Span};
use crate::support::daemon::Home;
use crate::support::follower::Follower;
use crate::support::machine;
use crate::support::playlist::{Media, resolve};
use crate::support::source::{Publisher, Source};

/// A stored segment: rung and number.
type Segment = (String, u64);

/// Bytes and duration in milliseconds of every segment that lies in the store, by the stored playlists.
fn stored(home: &Home, stream: &str) -> BTreeMap<Segment, (u64, u64)> {
    let files = read_all(&home.session_folder(stream));
    let mut segments = BTreeMap::new();
    for (path, bytes) in &files {
        let Some(rung) = path.strip_suffix("/index.m3u8") else { continue };
        let playlist = Media::parse(std::str::from_utf8(bytes).expect("a playlist is text"));
        for entry in playlist.entries.iter().filter(|entry| !entry.gap) {
            let size = files[&resolve(path, &entry.uri)].len() as u64;
            segments.insert((rung.to_owned(), entry.msn), (size, entry.duration_us / 1_000));
        }
    }
    segments
}

/// The first spans of all traces by segment: no segment has two.
fn roots(spans: &[Span]) -> BTreeMap<Segment, Span> {
    let mut roots = BTreeMap::new();
    for span in spans.iter().filter(|span| span.parent.is_empty()) {
        assert_eq!(span.name, "segment");
        let segment = (span.attributes["rung"].clone(), span.attributes["msn"].parse().expect("a number"));
        assert!(roots.insert(segment.clone(), span.clone()).is_none(), "{segment:?} has two traces");
    }
    roots
}

/// Spans follow each other from the begin to the end of `root`, and say what the segment's way is made of.
fn stages_fill(root: &Span, spans: &[Span], segment: &Segment) {
    let mut stages: Vec<_> = spans.iter().filter(|span| span.trace == root.trace && span.id != root.id).collect();
    stages.sort_by_key(|span| span.start);
    let names: Vec<_> = stages.iter().map(|stage| stage.name.as_str()).collect();
    // A stage that took no time is left out, as the first is for a segment of one packet; these take some.
    for name in ["process", "upload", "settle"] {
        assert!(names.contains(&name), "{segment:?} has no {name}: {names:?}");
    }
    let order = ["receive", "process", "journal", "queue", "upload", "settle"];
    assert!(names.iter().map(|name| order.iter().position(|known| known == name)).is_sorted(), "{names:?}");
    let mut at = root.start;
    for stage in stages {
        assert_eq!(stage.parent, root.id, "{segment:?}: {}", stage.name);
        assert_eq!(stage.start, at, "{segment:?}: {} begins where the one before it ends", stage.name);
        assert!(stage.end > stage.start, "{segment:?}: {}", stage.name);
        if stage.name == "upload" {
            assert_eq!(stage.attributes["attempts"], "1");
        }
        at = stage.end;
    }
    assert_eq!(at, root.end, "{segment:?}: the stages fill it");
}

fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    u64::try_from(since).expect("before 2554")
}

#[test]
fn every_stored_segment_has_a_trace_from_its_first_packet_to_its_object() {
    let _turn = machine::shared("every_stored_segment_has_a_trace_from_its_first_packet_to_its_object");
    let collector = Collector::start();
    let home = Home::ending_with_the_broadcast(test_preset("test-360p-240p-144p"))
        .set("telemetry.otlp_endpoint", collector.url());
    let credentials = home.credentials();
    let began = unix_nanos();
    push_through(&home, &credentials, &Source::small(8));
    let ended = unix_nanos();

    let (stored, spans) = (stored(&home, &credentials.stream), collector.spans());
    let rungs: BTreeSet<_> = stored.keys().map(|(rung, _)| rung.as_str()).collect();
    assert_eq!(rungs, BTreeSet::from(["360p", "240p", "144p", "audio"]));
    let roots = roots(&spans);
    assert_eq!(roots.keys().collect::<Vec<_>>(), stored.keys().collect::<Vec<_>>(), "one trace per stored segment");
    for (segment, root) in &roots {
        assert!(began < root.start && root.start < root.end && root.end < ended, "{segment:?}: {root:?}");
        let told = |key: &str| root.attributes[key].as_str();
        assert_eq!(told("stream"), credentials.stream);
        let (bytes, millis) = stored[segment];
        assert_eq!(told("bytes"), bytes.to_string(), "{segment:?}");
        let told_millis: u64 = told("duration_ms").parse().expect("a number");
        assert!(told_millis.abs_diff(millis) <= 1, "{segment:?} lasts {millis} ms, and {told_millis} ms are told");
        stages_fill(root, &spans, segment);
    }
    let traces: BTreeSet<_> = spans.iter().map(|span| &span.trace).collect();
    assert_eq!(traces.len(), roots.len(), "no span is without its segment");
    let sessions: BTreeSet<_> = roots.values().map(|root| &root.attributes["session"]).collect();
    assert!(sessions.len() == 1 && home.session_folder(&credentials.stream).ends_with(sessions.first().expect("one")));
    assert!(collector.resources().iter().all(|resource| resource["service.name"] == "millstream"));
}

#[test]
fn the_segment_that_a_stop_closes_is_traced_too() {
    let _turn = machine::shared("the_segment_that_a_stop_closes_is_traced_too");
    let collector = Collector::start();
    let home = Home::new("passthrough").set("telemetry.otlp_endpoint", collector.url());
    let credentials = home.credentials();
    let (daemon, source) = (home.serve(), Source::small(30));
    let _publisher = Publisher::start(&source, &daemon.publish_url(&credentials.secret));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_segments(2, source.limit());
    daemon.stop();
    let (stored, roots) = (stored(&home, &credentials.stream), roots(&collector.spans()));
    assert_eq!(roots.keys().collect::<Vec<_>>(), stored.keys().collect::<Vec<_>>(), "one trace per stored segment");
    assert!(
        roots
            .values()
            .filter(|root| root.attributes["rung"] == "source")
            .all(|root| root.attributes["copied"] == "true")
    );
}

#[test]
fn a_collector_that_never_answers_changes_nothing_but_the_log() {
    let _turn = machine::shared("a_collector_that_never_answers_changes_nothing_but_the_log");
    // Connections are taken by the system, and nobody ever reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("it is bound"));
    let home = Home::ending_with_the_broadcast("passthrough").set("telemetry.otlp_endpoint", url);
    let credentials = home.credentials();
    let source = Source::small(6);
    // The daemon stops within the contract's time, or this fails.
    let log = push_through(&home, &credentials, &source);
    let millis: u64 = stored(&home, &credentials.stream)
        .iter()
        .filter_map(|((rung, _), (_, millis))| (rung != "audio").then_some(*millis))
        .sum();
    let pushed = Duration::from_millis(u64::from(source.frames()) * 1_000 / u64::from(source.fps));
    let missing = pushed.saturating_sub(Duration::from_millis(millis + 10));
    assert!(missing.is_zero(), "{missing:?} of {pushed:?} are not stored");
    assert!(log.contains("spans of traces that no collector got"), "{log}");
    assert!(!log.contains("\"level\":\"ERROR\""), "{log}");
}
