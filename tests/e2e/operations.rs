//! Health, readiness, metrics and `check`: what an operator looks at.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::support::daemon::Home;
use crate::support::follower::Follower;
use crate::support::http::Client;
use crate::support::machine;
use crate::support::source::{Publisher, Source};

/// Samples of a Prometheus text: name with labels, and value.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sample = |line| -> (&str, f64) {
        let (name, value): (&str, &str) = str::rsplit_once(line, ' ').unwrap_or_else(|| panic!("not a sample: {line}"));
        (name, value.parse().unwrap_or_else(|_| panic!("not a number: {line}")))
    };
    lines.map(sample).collect()
}

#[test]
fn an_idle_daemon_is_healthy_and_ready() {
    let _turn = machine::shared("an_idle_daemon_is_healthy_and_ready");
    let home = Home::new("passthrough");
    let daemon = home.serve();
    let client = Client::default();
    for path in ["/healthz", "/readyz"] {
        let answer = client.fetch(&daemon.url(path));
        assert!(answer.body.len() < 4_096, "{path} is small");
    }
    let metrics = client.fetch(&daemon.url("/metrics"));
    assert!(metrics.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")));
    assert!(metrics.text().contains("millstream_build_info{"), "{}", metrics.text());
    daemon.stop();
}

#[test]
fn metrics_follow_a_session() {
    let _turn = machine::shared("metrics_follow_a_session");
    let home = Home::new(test_preset("test-360p-240p-144p"));
    let credentials = home.credentials();
    let daemon = home.serve();
    let source = Source::small(30);
    let _publisher = Publisher::start(&source, &daemon.publish_url(&credentials.secret));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_segments(2, source.limit());
    let text = seen_metrics(&daemon.url("/metrics"), &credentials.stream);
    let samples = samples(&text);
    let of = |metric: &str, label: &str| {
        let wanted = |name: &str| {
            name.starts_with(&format!("millstream_{metric}{{"))
                && name.contains(&format!("stream=\"{}\"", credentials.stream))
                && name.contains(label)
        };
        let found = samples.iter().find(|(name, _)| wanted(name)).map(|(_, value)| *value);
        found.unwrap_or_else(|| panic!("no {metric} with {label} in:\n{text}"))
    };
    for rung in ["360p", "240p", "144p", "audio"] {
        let label = format!("rung=\"{rung}\"");
        assert!(of("package_segments_total", &label) >= 2.0);
        assert!(of("package_bytes_total", &label) > 0.0);
    }
    for rung in ["360p", "240p", "144p"] {
        assert!(of("transcode_frames_total", &format!("rung=\"{rung}\"")) >= 60.0);
    }
    assert!(of("ingest_bytes_total", "session=") > 0.0);
    for kind in ["kind=\"video\"", "kind=\"audio\""] {
        assert!(of("ingest_messages_total", kind) > 0.0);
    }
    assert!(of("edge_dropped_total", "edge=") < 1.0);
    assert!(samples.keys().any(|name| name.starts_with("millstream_http_requests_total{")), "{text}");
    assert!(!text.contains(&credentials.secret), "no key is in the metrics");
}

/// The metrics, once they name the stream.
fn seen_metrics(url: &str, stream: &str) -> String {
    Client::default().poll(url, Duration::from_secs(20), |answer| {
        answer.text().contains(&format!("stream=\"{stream}\"")).then(|| answer.text().to_owned())
    })
}

#[test]
fn streams_and_keys_are_listed_without_secrets() {
    let home = Home::new("passthrough");
    let credentials = home.credentials();
    let streams = home.cli(&["streams", "list"]).to_string();
    assert!(streams.contains(&credentials.stream), "{streams}");
    let keys = home.cli(&["keys", "list", "--stream", &credentials.stream]).to_string();
    assert!(keys.contains(&credentials.key) && !keys.contains(&credentials.secret), "{keys}");
    let shown = home.cli(&["streams", "show", &credentials.stream]).to_string();
    assert!(shown.contains(&credentials.stream) && !shown.contains(&credentials.secret), "{shown}");
}

#[test]
fn check_accepts_what_serve_would_accept() {
    let home = Home::new(test_preset("test-360p-240p-144p"));
    assert!(home.cli(&["check"]).is_object());
}
