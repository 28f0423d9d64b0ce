//! The one table of all metrics.
//!
//! Counters end in `_total`, everything else in its unit. A metric with a `session` label is read from its session at the
//! scrape ([`super::Samples`]); all others go through the `metrics` facade, by the methods of [`Metric`].

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, SharedString, Unit};

use super::words::may_hold;

/// What a metric does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name in `/metrics`.
    pub name: &'static str,
    /// What it does over time.
    pub kind: Kind,
    /// What one of it is.
    pub unit: Unit,
    /// Names of its labels, in order.
    pub labels: &'static [&'static str],
    /// One sentence for the operator.
    pub help: &'static str,
}

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

impl Metric {
    /// Whether this belongs to a session, and so to [`super::Samples`].
    pub fn is_per_session(&self) -> bool {
        self.labels.contains(&"session")
    }

    /// The counter with these label values. Keep it where it counts often: finding it costs a hash and allocations.
    pub fn counter(&self, labels: &[(&'static str, &str)]) -> Counter {
        metrics::with_recorder(|recorder| recorder.register_counter(&self.key(Kind::Counter, labels), &METADATA))
    }

    /// The gauge with these label values.
    pub fn gauge(&self, labels: &[(&'static str, &str)]) -> Gauge {
        metrics::with_recorder(|recorder| recorder.register_gauge(&self.key(Kind::Gauge, labels), &METADATA))
    }

    /// The histogram with these label values.
    pub fn histogram(&self, labels: &[(&'static str, &str)]) -> Histogram {
        metrics::with_recorder(|recorder| recorder.register_histogram(&self.key(Kind::Histogram, labels), &METADATA))
    }

    /// Whether labels are used as the tables say: a fault of ours, which tests are to find.
    pub(super) fn check(&self, labels: &[(&str, &str)]) {
        debug_assert!(labels.iter().map(|label| label.0).eq(self.labels.iter().copied()), "labels of {}", self.name);
        for (label, value) in labels {
            debug_assert!(may_hold(self.name, label, value), "the label {label} of {} holds {value}", self.name);
        }
    }

    fn key(&self, kind: Kind, labels: &[(&'static str, &str)]) -> Key {
        debug_assert!(self.kind == kind && !self.is_per_session(), "{} is not used as the table says", self.name);
        self.check(labels);
        let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
        Key::from_parts(self.name, labels)
    }
}

/// Tells the recorder the help text and unit of every metric that goes through the facade.
pub fn describe_all() {
    metrics::with_recorder(|recorder| {
        for metric in ALL.iter().filter(|metric| !metric.is_per_session()) {
            let (name, unit) = (metrics::KeyName::from_const_str(metric.name), Some(metric.unit));
            let help = SharedString::const_str(metric.help);
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, unit, help),
                Kind::Gauge => recorder.describe_gauge(name, unit, help),
                Kind::Histogram => recorder.describe_histogram(name, unit, help),
            }
        }
    });
}

macro_rules! table {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal)*] $unit:ident $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $constant: Metric = Metric {
                name: concat!("millstream_", $name),
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: &[$($label),*],
                help: $help,
            };
        )*

        /// Every metric of the daemon.
        pub static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

table! {
    BUILD_INFO = Gauge "build_info" ["version"] Count "Always 1; the label names the version that runs.";
    SESSIONS = Gauge "sessions" ["state"] Count "Sessions by state: starting, live, reconnecting.";
    STAGE_PANICS = Counter "stage_panics_total" ["stage"] Count "Threads of stages that ended by a panic, and steps of the daemon's own tasks, which go on.";

    TAKEOVERS = Counter "session_takeovers_total" [] Count "Times that a second encoder took a running session over from the first.";

    LISTEN_OPEN = Gauge "listen_connections" ["protocol"] Count "Open connections of encoders.";
    LISTEN_CONNECTIONS = Counter "listen_connections_total" ["protocol"] Count "Connections accepted from encoders.";
    LISTEN_CONNECTIONS_REFUSED = Counter "listen_connections_refused_total" ["protocol" "reason"] Count "Connections closed because too many were open: at once when all places are taken by publishers (total, address), or before they published, for a newer one (displaced).";
    LISTEN_ACCEPT_ERRORS = Counter "listen_accept_errors_total" ["protocol"] Count "Errors of accepting a connection, such as too many open files.";
    LISTEN_PUBLISHES = Counter "listen_publishes_total" ["protocol"] Count "Publishes accepted.";
    LISTEN_PUBLISHES_REFUSED = Counter "listen_publishes_refused_total" ["protocol" "reason"] Count "Publishes refused, by reason.";
    LISTEN_PROTOCOL_ERRORS = Counter "listen_protocol_errors_total" ["protocol" "kind" "action"] Count "Breaches of the protocol by encoders, answered by leaving out a message (skip) or the connection (drop).";
    LISTEN_BYTES = Counter "listen_received_bytes_total" ["protocol"] Bytes "Bytes read from encoders, protocol included.";
    LISTEN_PANICS = Counter "listen_panics_total" ["protocol"] Count "Connections of encoders that ended by a panic.";
    SRT_DATAGRAMS_DROPPED = Counter "srt_datagrams_dropped_total" [] Count "Datagrams of SRT callers that were dropped because their connection's queue was full.";
    SRT_RTT = Gauge "srt_rtt_seconds" ["stream" "session"] Seconds "Smoothed round trip to the SRT caller.";
    SRT_LATENCY = Gauge "srt_latency_seconds" ["stream" "session"] Seconds "Latency in force: from the sending of a packet to its release.";
    SRT_BUFFER = Gauge "srt_buffer_seconds" ["stream" "session"] Seconds "Media that is held back until its moment.";
    SRT_PACKETS = Counter "srt_packets_total" ["stream" "session" "what"] Count "Data packets of the SRT caller that publishes: received, those of them that were new (unique) or sent again (retransmitted), missed when a later one came (lost), never there in time (dropped), too late (belated), without a known key (undecryptable).";
    SRT_REPORTS = Counter "srt_reports_total" ["stream" "session" "what"] Count "Acknowledgements (ack) and loss reports (nak) sent to the SRT caller.";
    SRT_RATE = Gauge "srt_receive_rate_bytes_per_second" ["stream" "session"] Bytes "Payload that comes from the SRT caller.";
    SRT_LINK = Gauge "srt_link_bytes_per_second" ["stream" "session"] Bytes "What the link to the SRT caller could carry, by pairs of packets that were sent at once; 0 while not known.";
    TLS_CERTIFICATE_EXPIRES = Gauge "tls_certificate_expires_timestamp_seconds" ["protocol"] Seconds "When the certificate in use expires, in seconds since 1970.";
    TLS_CERTIFICATE_STALE = Gauge "tls_certificate_stale" ["protocol"] Count "1 while the files of certificate and key hold what cannot be used and the former certificate goes on, else 0.";

    INGEST_BYTES = Counter "ingest_bytes_total" ["stream" "session"] Bytes "Payload bytes as they came from the encoder.";
    INGEST_MESSAGES = Counter "ingest_messages_total" ["stream" "session" "kind"] Count "Audio and video messages that came from the encoder.";
    INGEST_BITRATE = Gauge "ingest_bitrate_bits_per_second" ["stream" "session"] BitsPerSecond "Bitrate of the last seconds as it came from the encoder.";
    INGEST_FPS = Gauge "ingest_frames_per_second" ["stream" "session"] CountPerSecond "Frame rate of the last seconds as it came from the encoder.";
    INGEST_DRIFT = Gauge "ingest_drift_seconds" ["stream" "session"] Seconds "How far the audio's clock has left the video's since the last correction.";
    INGEST_DRIFT_CORRECTED = Gauge "ingest_drift_corrected_seconds" ["stream" "session"] Seconds "By how much sound was moved towards its timestamps in all; negative where it was too long.";
    INGEST_CLOCK_AHEAD = Gauge "ingest_clock_ahead_seconds" ["stream" "session" "kind"] Seconds "How far the encoder's clock has run ahead of this machine's since the connection or the last jump of its timestamps.";
    INGEST_CLOCK_SKEW = Gauge "ingest_clock_skew_ratio" ["stream" "session" "kind"] Count "How fast the encoder's clock ran against this machine's over the last ten minutes: 0.0001 is 100 ppm, or 8.64 s a day, too fast.";
    INGEST_DATE_AHEAD = Gauge "ingest_program_date_time_ahead_seconds" ["stream" "session"] Seconds "PROGRAM-DATE-TIME of the newest segment less the wall clock when its media came in.";
    INGEST_TO_PART = Histogram "ingest_to_part_seconds" ["rung"] Seconds "Time from the arrival of a part's last frame until viewers can fetch the part.";
    INGEST_TO_STORED = Histogram "ingest_to_stored_seconds" ["rung"] Seconds "Time from the arrival of a segment's last frame until its upload is confirmed.";
    PUBLISH_TO_PLAYABLE = Histogram "publish_to_playable_seconds" ["what"] Seconds "Time from a session's first accepted publish until its first part of video, and its playlist with a segment, can be fetched.";
    INGEST_REPAIRS = Counter "ingest_repaired_timestamps_total" ["stream" "session"] Count "Timestamps moved because they went back or jumped a little.";
    INGEST_DISCONTINUITIES = Counter "ingest_discontinuities_total" ["stream" "session"] Count "Breaks in the source's timeline.";
    INGEST_SILENCE = Counter "ingest_silent_frames_total" ["stream" "session"] Count "Frames of silence that stand for sound which the encoder did not send.";
    INGEST_DROPPED = Counter "ingest_dropped_total" ["stream" "session" "reason"] Count "Messages and packets of the encoder that were left out, by reason.";

    EDGE_ITEMS = Gauge "edge_queue_items" ["stream" "session" "edge"] Count "Items waiting between two stages.";
    EDGE_BYTES = Gauge "edge_queue_bytes" ["stream" "session" "edge"] Bytes "Payload bytes waiting between two stages.";
    EDGE_DROPPED = Counter "edge_dropped_total" ["stream" "session" "edge"] Count "Items dropped because the next stage was slow.";

    TRANSCODE_FRAMES = Counter "transcode_frames_total" ["stream" "session" "rung"] Count "Frames encoded.";
    TRANSCODE_DROPPED = Counter "transcode_dropped_frames_total" ["stream" "session"] Count "Frames left out of all encoded rungs because the encoders were slow.";
    TRANSCODE_QUEUE = Gauge "transcode_queue_frames" ["stream" "session" "rung"] Count "Decoded frames that wait for a rung's encoder.";
    TRANSCODE_SPEED = Gauge "transcode_speed_ratio" ["stream" "session" "rung"] Count "Media seconds that the encoder makes per second of its own time; below 1 it cannot follow.";

    TRANSCODE_OVERLOADED = Gauge "transcode_overloaded" ["stream" "session"] Count "1 while frames are left out because the encoders are slow, and for 5 s of media after that; else 0.";
    TRANSCODE_BACKLOG = Gauge "transcode_backlog_seconds" ["stream" "session"] Seconds "How late the source is decoded: how far the encoded rungs are behind. Above 1 s frames are left out.";
    ENCODE_CAPACITY = Gauge "encode_capacity_pixels_per_second" [] CountPerSecond "What this machine can encode, in pixels per second of x264 superfast; 0 while it is measured or when it is unlimited.";
    ENCODE_IN_USE = Gauge "encode_in_use_pixels_per_second" [] CountPerSecond "What the ladders of running sessions cost, in the same unit.";
    OVER_CAPACITY = Counter "encode_over_capacity_total" ["outcome"] Count "Sessions that did not fit into the encode capacity: degraded (fewer rungs) or refused.";

    PACKAGE_BYTES = Counter "package_bytes_total" ["stream" "session" "rung"] Bytes "Bytes of finished parts.";
    PACKAGE_BITRATE = Gauge "package_bitrate_bits_per_second" ["stream" "session" "rung"] BitsPerSecond "Bitrate of the last segments, container included.";
    PACKAGE_FRAMES = Counter "package_frames_total" ["stream" "session" "rung"] Count "Pictures in finished parts, copied or encoded.";
    PACKAGE_PARTS = Counter "package_parts_total" ["stream" "session" "rung"] Count "Parts finished.";
    PACKAGE_MEMORY = Gauge "package_memory_bytes" ["stream" "session"] Bytes "Media of the live window that is held in memory.";
    PACKAGE_DROPPED = Counter "package_dropped_packets_total" ["stream" "session" "rung"] Count "Packets left out because no segment was open for them.";
    PACKAGE_SEGMENTS = Counter "package_segments_total" ["stream" "session" "rung"] Count "Segments finished.";

    STORE_SPOOL_BYTES = Gauge "store_spool_bytes" [] Bytes "Bytes in the spool's journal.";
    STORE_SPOOL_MAX = Gauge "store_spool_max_bytes" [] Bytes "Most bytes that the spool's journal may have.";
    STORE_ALARM = Gauge "store_alarm" ["alarm"] Count "1 while an alarm of the store is raised, else 0: disk, spool (full), store (fails).";
    STORE_BACKLOG = Gauge "store_backlog_segments" [] Count "Closed segments that are not in the store yet.";
    STORE_BACKLOG_BYTES = Gauge "store_backlog_bytes" [] Bytes "Bytes of closed segments that are not in the store yet.";
    STORE_BACKLOG_OLDEST = Gauge "store_backlog_oldest_seconds" [] Seconds "Age of the oldest closed segment that is not in the store yet; 0 when there is none.";
    STORE_WRITTEN = Counter "store_objects_written_total" ["kind"] Count "Objects written to the store: init, segment, playlist.";
    STORE_WRITTEN_BYTES = Counter "store_written_bytes_total" [] Bytes "Bytes written to the store.";
    STORE_DELETED = Counter "store_objects_deleted_total" [] Count "Objects deleted from the store when their time was over.";
    STORE_FAILURES = Counter "store_failures_total" ["operation"] Count "Operations of spool and store that failed, each try counted.";
    STORE_LOST_SEGMENTS = Counter "store_lost_segments_total" [] Count "Segments that were dropped or never written because the spool was full or its disk failed.";

    HTTP_OPEN = Gauge "http_connections" [] Count "Open connections of HTTP clients.";
    HTTP_REFUSED = Counter "http_connections_refused_total" ["reason"] Count "HTTP connections closed at once because too many were open, in all (total) or of their address (address).";
    HTTP_STALLED = Counter "http_connections_stalled_total" [] Count "HTTP connections closed because the client did not read its answer.";
    HTTP_RESTLESS = Counter "http_connections_restless_total" [] Count "Connections of HTTP/2 closed because the client took back its requests (rapid reset).";
    HTTP_HANDSHAKES_FAILED = Counter "http_tls_handshakes_failed_total" ["reason"] Count "Connections to the HTTPS port that did not come to speak HTTP.";
    HTTP_PANICS = Counter "http_panics_total" [] Count "HTTP requests answered with 500, and connections closed, because of a panic.";
    HTTP_REQUESTS = Counter "http_requests_total" ["route" "status"] Count "Requests answered.";
    HTTP_BYTES = Counter "http_response_bytes_total" ["route"] Bytes "Bytes of response bodies handed to connections.";

    TRACE_SPANS = Counter "trace_spans_total" ["outcome"] Count "Spans of traces: sent to the collector, dropped because the queue to it was full, failed because it did not take them.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_conventions_and_are_given_once() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let plain = metric.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(plain, "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{}", metric.name);
            let unit_in_name = match metric.unit {
                Unit::Bytes => metric.name.contains("_bytes"),
                Unit::Seconds => metric.name.ends_with("_seconds"),
                Unit::BitsPerSecond | Unit::CountPerSecond => metric.name.ends_with("_per_second"),
                _ => true,
            };
            assert!(unit_in_name, "{}", metric.name);
        }
    }

    #[test]
    fn a_session_is_named_with_its_stream_first() {
        for metric in ALL.iter().filter(|metric| metric.is_per_session()) {
            assert_eq!(metric.labels[..2], ["stream", "session"], "{}", metric.name);
            assert_ne!(metric.kind, Kind::Histogram, "{}", metric.name);
        }
    }
}
