//! Spans made of times: their parents, their order, and what becomes of times out of order.

use std::collections::BTreeMap;
use std::time::SystemTime;

use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;

use super::*;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const NOW: u64 = 1_700_000_000_000;

fn way() -> Way {
    let [first, last, packaged, journalled, upload_began, uploaded, stored] =
        [10_000, 12_000, 12_050, 12_051, 12_060, 12_100, 12_600].map(millis);
    Way { first, last, packaged, journalled, upload_began, uploaded, stored }
}

fn segment(way: Way) -> SegmentTrace<'static> {
    SegmentTrace {
        stream: "s",
        session: "b",
        rung: "720p",
        copied: true,
        msn: 7,
        bytes: 1_234,
        duration: Span::from_secs(2),
        attempts: 3,
        way,
    }
}

/// The spans of `segment`, which was stored 400 ms before the wall clock showed [`NOW`].
fn spans(segment: &SegmentTrace<'_>) -> Vec<SpanData> {
    let (queue, mut spans) = queue(100);
    let traces = Traces::to(queue, Resource::builder_empty().build());
    let wall = WallTime::from_unix_millis(i64::try_from(NOW).expect("small"));
    traces.segment(segment, Moment { monotonic: millis(13_000), wall });
    drop(traces);
    let mut found = Vec::new();
    while let Ok(span) = spans.line.try_recv() {
        found.push(span);
    }
    assert_eq!(spans.dropped(), 0);
    found
}

/// Name, begin and end of each span, in milliseconds of the segment's monotonic clock.
fn times(spans: &[SpanData]) -> Vec<(String, u64, u64)> {
    let monotonic = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
        u64::try_from(since).expect("small") + 13_000 - NOW
    };
    spans.iter().map(|span| (span.name.to_string(), monotonic(span.start_time), monotonic(span.end_time))).collect()
}

fn named(expected: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    expected.iter().map(|(name, from, to)| ((*name).to_owned(), *from, *to)).collect()
}

#[test]
fn a_segment_is_a_trace_whose_stages_fill_it() {
    let spans = spans(&segment(way()));
    let expected = [
        ("receive", 10_000, 12_000),
        ("process", 12_000, 12_050),
        ("journal", 12_050, 12_051),
        ("queue", 12_051, 12_060),
        ("upload", 12_060, 12_100),
        ("settle", 12_100, 12_600),
        ("segment", 10_000, 12_600),
    ];
    assert_eq!(times(&spans), named(&expected));
    let (root, stages) = spans.split_last().expect("there are spans");
    assert_eq!(root.parent_span_id, SpanId::INVALID);
    for stage in stages {
        assert_eq!(stage.parent_span_id, root.span_context.span_id(), "{}", stage.name);
        assert_eq!(stage.span_context.trace_id(), root.span_context.trace_id(), "{}", stage.name);
    }
}

#[test]
fn a_trace_says_of_what_it_is() {
    let spans = spans(&segment(way()));
    let told = |name: &str| -> BTreeMap<String, String> {
        let span = spans.iter().find(|span| span.name == name).expect("it is there");
        let attributes = span.attributes.iter();
        attributes.map(|attribute| (attribute.key.to_string(), attribute.value.to_string())).collect()
    };
    let expected = [
        ("stream", "s"),
        ("session", "b"),
        ("rung", "720p"),
        ("copied", "true"),
        ("msn", "7"),
        ("bytes", "1234"),
        ("duration_ms", "2000"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(told("segment"), BTreeMap::from(expected));
    assert_eq!(told("upload"), BTreeMap::from([("attempts".to_owned(), "3".to_owned())]));
}

#[test]
fn every_segment_has_a_trace_of_its_own() {
    let (one, other) = (spans(&segment(way())), spans(&segment(way())));
    assert_ne!(one[0].span_context.trace_id(), other[0].span_context.trace_id());
}

#[test]
fn stages_without_time_are_left_out() {
    let way = Way { stored: way().uploaded, journalled: way().packaged, ..way() };
    let expected = [
        ("receive", 10_000, 12_000),
        ("process", 12_000, 12_050),
        ("queue", 12_050, 12_060),
        ("upload", 12_060, 12_100),
        ("segment", 10_000, 12_100),
    ];
    assert_eq!(times(&spans(&segment(way))), named(&expected));
}

#[test]
fn no_span_ends_before_it_begins_whatever_was_noted() {
    let way = Way { last: millis(9_000), packaged: millis(11_000), journalled: Duration::ZERO, ..way() };
    let expected = [
        ("process", 10_000, 11_000),
        ("queue", 11_000, 12_060),
        ("upload", 12_060, 12_100),
        ("settle", 12_100, 12_600),
        ("segment", 10_000, 12_600),
    ];
    assert_eq!(times(&spans(&segment(way))), named(&expected));
}

#[test]
fn traces_that_are_off_ask_for_nothing() {
    let traces = Traces::default();
    assert!(!traces.is_on());
    traces.segment(&segment(way()), Moment { monotonic: Duration::ZERO, wall: WallTime::default() });
}

#[test]
fn a_full_line_drops_and_counts() {
    let (queue, mut spans) = queue(4);
    let traces = Traces::to(queue, Resource::builder_empty().build());
    let now = Moment { monotonic: millis(13_000), wall: WallTime::default() };
    traces.segment(&segment(way()), now);
    assert_eq!((spans.line.len(), spans.dropped()), (4, 3));
    spans.line.close();
    while spans.line.try_recv().is_ok() {}
    traces.segment(&segment(way()), now);
    assert_eq!((spans.line.len(), spans.dropped()), (0, 10), "nobody waits for a line that is closed");
}

#[test]
fn the_daemon_names_itself() {
    let resource = resource();
    let told = |key| resource.get(&Key::new(key)).map(|value| value.to_string());
    assert_eq!(told("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() && std::env::var_os("OTEL_RESOURCE_ATTRIBUTES").is_none() {
        assert_eq!(told("service.name").as_deref(), Some("millstream"));
    }
}
