//! Health, readiness, metrics and `check`: what an operator looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, push_through, test_preset};
use crate::support::daemon::Home;
use crate::support::follower::Follower;
use crate::support::http::Client;
use crate::support::machine;
use crate::support::source::{Caller, Publisher, Source};

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

/// The counters that the alert rules look at over time, and the rules' text.
fn counters_with_an_alert() -> (BTreeSet<String>, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut rules, mut counters) = (String::new(), BTreeSet::new());
    for rule in text.lines().filter(|line| line.trim_start().starts_with("expr:")) {
        let over_time = ["rate(", "increase("].into_iter().flat_map(|function| rule.split(function).skip(1));
        let names = over_time.filter_map(|rest| rest.split(['{', '[']).next()).filter(|name| name.ends_with("_total"));
        counters.extend(names.map(str::to_owned));
        rules.push_str(rule);
        rules.push('\n');
    }
    (counters, rules)
}

/// A series that appears with a value has risen by nothing for Prometheus. So a counter with an alert is there at 0 before
/// anything happens, or its rule looks for the appearance, or it is a session's, which all begin at 0.
#[test]
fn alerts_see_the_first_event() {
    let _turn = machine::shared("alerts_see_the_first_event");
    let home = Home::new("passthrough");
    let daemon = home.serve();
    // A connection that was given a place has been counted: by then the listener has made its counters.
    let _stranger = TcpStream::connect(daemon.rtmp).expect("it listens");
    let metrics = Client::default().poll(&daemon.url("/metrics"), Duration::from_secs(20), |answer| {
        let counted = answer.text().contains("millstream_listen_connections_total{protocol=\"rtmp\"} 1\n");
        counted.then(|| answer.text().to_owned())
    });
    daemon.stop();
    let (samples, documented, (counters, rules)) = (samples(&metrics), documented(), counters_with_an_alert());
    assert!(counters.len() > 10, "{counters:?}");
    for counter in counters {
        let (_, labels) = documented.get(&counter).unwrap_or_else(|| panic!("no metric {counter}"));
        let is_at_0 = |(name, value): (&&str, &f64)| name.split('{').next() == Some(&counter) && *value < 1.0;
        let looked_for = rules.contains(&format!("({counter} unless {counter} offset "));
        let is_seen = labels.contains("session") || looked_for || samples.iter().any(is_at_0);
        assert!(is_seen, "the first event of {counter} raises no alert; at the start there is:\n{metrics}");
    }
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
    everything_is_measured(&source, &of);
    the_frame_rate_is_measured(&daemon.url("/metrics"));
    everything_stored_is_counted(&daemon.url("/metrics"));
    // Each SRT connection has figures of its own.
    let other = home.credentials_with("over SRT", &["--preset", "passthrough"]);
    let file = source.transport("plain", &["-c", "copy"]);
    let _caller = Caller::start(&file, daemon.srt(), &format!("streamid={}", other.secret));
    seen_metrics(&daemon.url("/metrics"), &other.stream);
    everything_documented_is_there(&daemon.url("/metrics"));
    assert!(samples.keys().any(|name| name.starts_with("millstream_http_requests_total{")), "{text}");
    assert!(!text.contains(&credentials.secret), "no key is in the metrics");
}

/// Figures that are not counts agree with what is pushed: 30 pictures and about 1.2 Mbit per second.
fn everything_is_measured(source: &Source, of: &impl Fn(&str, &str) -> f64) {
    let pushed =
        fs::metadata(&source.path).expect("the source is there").len() as f64 * 8.0 / f64::from(source.seconds);
    let near = |what: &str, bits_per_second: f64, expected: f64| {
        let range = expected * 0.5..=expected * 2.0;
        assert!(range.contains(&bits_per_second), "{what}: {bits_per_second} bit/s, and {expected} are expected");
    };
    near("intake", of("ingest_bitrate_bits_per_second", "session="), pushed);
    for (rung, expected) in [("360p", 800_000.0), ("240p", 400_000.0), ("144p", 200_000.0), ("audio", 96_000.0)] {
        near(rung, of("package_bitrate_bits_per_second", &format!("rung=\"{rung}\"")), expected);
    }
    for rung in ["360p", "240p", "144p"] {
        let label = format!("rung=\"{rung}\"");
        assert!(of("transcode_speed_ratio", &label) > 0.0, "{rung}");
        assert!(of("package_frames_total", &label) >= 120.0, "{rung}: two segments are packaged");
    }
    for edge in ["intake", "video", "audio", "package", "store"] {
        let label = format!("edge=\"{edge}\"");
        assert!(of("edge_queue_items", &label) >= 0.0 && of("edge_queue_bytes", &label) >= 0.0);
        assert!(of("edge_dropped_total", &label) < 1.0, "{edge} drops nothing");
    }
}

/// 30 frames/s come in. A look is at one second, in which a busy machine may deliver less and in the next more.
fn the_frame_rate_is_measured(url: &str) {
    Client::default().poll(url, Duration::from_secs(20), |answer| {
        let samples = samples(answer.text());
        let mut rates = samples.iter().filter(|(name, _)| name.starts_with("millstream_ingest_frames_per_second{"));
        rates.any(|(_, fps)| (25.0..=35.0).contains(fps)).then_some(())
    });
}

/// Two segments of four renditions are in the store or on their way into it, and so are their init segments and playlists.
fn everything_stored_is_counted(url: &str) {
    Client::default().poll(url, Duration::from_secs(20), |answer| {
        let samples = samples(answer.text());
        let written =
            |kind: &str| samples[format!("millstream_store_objects_written_total{{kind=\"{kind}\"}}").as_str()];
        (written("init") >= 4.0 && written("segment") >= 8.0 && written("playlist") >= 5.0).then_some(())
    });
}

/// Metrics that are there once what they count has happened, which it does not in an ordinary broadcast; or once it has been measured
/// for minutes; or with RTMPS.
const WHEN_IT_HAPPENS: [&str; 9] = [
    "millstream_ingest_clock_ahead_seconds",
    "millstream_ingest_clock_skew_ratio",
    "millstream_tls_certificate_expires_timestamp_seconds",
    "millstream_tls_certificate_stale",
    "millstream_stage_panics_total",
    "millstream_listen_protocol_errors_total",
    "millstream_encode_over_capacity_total",
    "millstream_http_connections_stalled_total",
    "millstream_trace_spans_total",
];

/// Name, type and labels of each row of `docs/metrics.md`.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        let mut next = || cells.next().unwrap_or_else(|| panic!("not a row of a metric: {line}"));
        let (name, kind, labels) = (next(), next(), next());
        let words = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        (name.trim_matches('`').to_owned(), (kind, words.filter(|label| !label.is_empty()).collect()))
    };
    // Buckets have a table of their own, of two cells.
    let of_metrics = |line: &&str| line.starts_with("| `millstream_") && line.matches('|').count() > 3;
    text.lines().filter(of_metrics).map(row).collect()
}

/// Type and labels of each metric of a Prometheus text.
fn served(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut served = BTreeMap::new();
    let (mut current, mut kind) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, of) = declared.split_once(' ').unwrap_or_else(|| panic!("not a type: {line}"));
            (current, kind) = (name.to_owned(), of.to_owned());
        }
        let Some(sample) = line.strip_prefix(current.as_str()).filter(|_| line.starts_with("millstream_")) else {
            continue;
        };
        let labels =
            sample.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
        let names = labels.split('"').step_by(2).map(|text| text.trim_matches([',', '=']).to_owned());
        let names = names.filter(|name| !name.is_empty() && name != "le").collect();
        served.insert(current.clone(), (kind.clone(), names));
    }
    served
}

/// What `docs/metrics.md` tells is what a daemon with a running stream serves, with these types and labels.
fn everything_documented_is_there(url: &str) {
    let documented = documented();
    let expected: BTreeSet<_> = documented.keys().filter(|name| !WHEN_IT_HAPPENS.contains(&name.as_str())).collect();
    // The first upload may still be under way.
    let served = Client::default().poll(url, Duration::from_secs(20), |answer| {
        let served = served(answer.text());
        expected.iter().all(|name| served.contains_key(*name)).then_some(served)
    });
    for (name, shape) in &served {
        assert_eq!(documented.get(name), Some(shape), "{name}, as docs/metrics.md has it and as it is served");
    }
}

/// The metrics, once they name the stream.
fn seen_metrics(url: &str, stream: &str) -> String {
    Client::default().poll(url, Duration::from_secs(20), |answer| {
        answer.text().contains(&format!("stream=\"{stream}\"")).then(|| answer.text().to_owned())
    })
}

/// A text of a log line: a field of its own, or of the spans around it.
fn told<'a>(line: &'a Value, key: &str) -> Option<&'a str> {
    let spans = line["spans"].as_array().into_iter().flatten();
    [line].into_iter().chain(spans).find_map(|fields| fields[key].as_str())
}

#[test]
fn log_lines_carry_stream_session_and_peer_and_none_has_the_key() {
    let _turn = machine::shared("log_lines_carry_stream_session_and_peer_and_none_has_the_key");
    let home = Home::ending_with_the_broadcast("passthrough").set("log.level", "trace");
    let credentials = home.credentials();
    let log = push_through(&home, &credentials, &Source::small(6));
    let parsed = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {error}: {line}"));
    let lines: Vec<Value> = log.lines().map(parsed).collect();
    let folder = home.session_folder(&credentials.stream);
    let session = folder.file_name().and_then(|name| name.to_str()).expect("a session's folder is its id");
    let of_the_broadcast = |message: &str| {
        let found: Vec<_> = lines.iter().filter(|line| line["message"] == message).collect();
        assert_eq!(found.len(), 1, "lines with {message:?}: {found:#?}");
        let names = [told(found[0], "stream"), told(found[0], "session")];
        assert_eq!(names, [Some(credentials.stream.as_str()), Some(session)], "{}", found[0]);
        found[0]
    };
    for message in ["publisher admitted", "RTMP connection ended"] {
        let line = of_the_broadcast(message);
        let peer: SocketAddr = told(line, "peer").and_then(|peer| peer.parse().ok()).expect("the encoder's address");
        assert!(peer.ip().is_loopback() && peer.port() > 0, "{line}");
    }
    for message in ["ladder planned", "session stopped"] {
        of_the_broadcast(message);
    }
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "the log is finer than usual");
    // Neither whole nor without its prefix.
    let secret = credentials.secret.trim_start_matches("ms_");
    assert!(secret.len() >= 16);
    assert_eq!(log.lines().find(|line| line.contains(secret)), None);
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
