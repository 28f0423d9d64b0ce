//! The words that labels hold: a value that is not in this list is a fault of ours, which debug builds do not survive. `docs/metrics.md` has
//! the same list.

/// A label, the metric that it is of (none: every other one that has it), and what it may hold.
type Row = (&'static str, Option<&'static str>, &'static [&'static str]);

/// Labels that are not here hold ids, names of renditions or a version.
pub const WORDS: &[Row] = &[
    ("state", None, &["starting", "live", "reconnecting"]),
    (
        "stage",
        None,
        &[
            "intake",
            "dec",
            "enc",
            "package",
            "store",
            "upload",
            "settle",
            "retention",
            "proof",
            "sync",
            "key-uses",
            "session-states",
            "changes",
            "house",
            "capacity",
            "measure",
            "traces",
            "certificate",
            "rtmp",
            "srt",
            "http",
            "control-socket",
        ],
    ),
    ("protocol", Some("millstream_tls_certificate_expires_timestamp_seconds"), &["rtmps", "https"]),
    ("protocol", Some("millstream_tls_certificate_stale"), &["rtmps", "https"]),
    ("protocol", None, &["rtmp", "rtmps", "srt"]),
    ("reason", Some("millstream_listen_connections_refused_total"), &["total", "address", "displaced"]),
    (
        "reason",
        Some("millstream_listen_publishes_refused_total"),
        &[
            "bad_key",
            "key_expired",
            "stream_disabled",
            "in_use",
            "taken_over",
            "other_stream",
            "too_many_attempts",
            "shutting_down",
            "policy",
            "internal",
        ],
    ),
    (
        "kind",
        Some("millstream_listen_protocol_errors_total"),
        &[
            "version",
            "chunk_size",
            "nothing_to_repeat",
            "header_inside_message",
            "too_many_chunk_streams",
            "message_too_long",
            "too_many_partial_bytes",
            "short_control_message",
            "unknown_message_type",
            "broken_aggregate",
            "command_too_long",
            "command",
            "too_much_output",
            "plain_rtmp",
            "not_tls",
            "certificate_refused",
            "tls",
            "srt_short",
            "srt_not_connected",
            "srt_cookie",
            "srt_handshake_type",
            "srt_rogue",
            "srt_version",
            "srt_bad_secret",
            "srt_unsecure",
            "srt_message_api",
            "srt_congestion",
            "srt_filter",
            "srt_group",
            "srt_crypto",
            "srt_bad_request",
            "srt_unauthorized",
            "srt_overload",
            "srt_bad_mode",
            "srt_unacceptable",
            "srt_not_supported_media",
            "srt_internal",
        ],
    ),
    ("action", None, &["skip", "drop"]),
    ("kind", None, &["video", "audio"]),
    (
        "reason",
        Some("millstream_ingest_dropped_total"),
        &["damaged", "unconfigured", "empty", "before_keyframe", "trimmed_audio", "stale", "late_track"],
    ),
    (
        "what",
        Some("millstream_srt_packets_total"),
        &["received", "unique", "retransmitted", "lost", "dropped", "belated", "undecryptable"],
    ),
    ("what", Some("millstream_srt_reports_total"), &["ack", "nak"]),
    ("what", None, &["part", "playlist"]),
    ("edge", None, &["intake", "video", "audio", "package", "store"]),
    ("outcome", Some("millstream_encode_over_capacity_total"), &["degraded", "refused"]),
    ("alarm", None, &["disk", "spool", "store"]),
    ("kind", Some("millstream_store_objects_written_total"), &["init", "segment", "playlist"]),
    ("operation", None, &["object", "journal"]),
    ("reason", Some("millstream_http_connections_refused_total"), &["total", "address"]),
    (
        "reason",
        Some("millstream_http_tls_handshakes_failed_total"),
        &["timeout", "closed", "plain_http", "not_tls", "certificate_refused", "tls"],
    ),
    ("route", None, &["multivariant", "playlist", "media", "watch", "watch_status", "assets", "redirect", "other"]),
    (
        "status",
        None,
        &[
            "200", "201", "204", "206", "304", "400", "401", "404", "405", "409", "410", "416", "500", "503", "1xx",
            "2xx", "3xx", "4xx", "5xx",
        ],
    ),
    ("outcome", Some("millstream_trace_spans_total"), &["sent", "dropped", "failed"]),
];

/// What `label` of `metric` may hold; `None`: anything of ours.
pub fn words(metric: &str, label: &str) -> Option<&'static [&'static str]> {
    let row = |of: Option<&str>| WORDS.iter().find(|(name, metric, _)| *name == label && *metric == of);
    row(Some(metric)).or_else(|| row(None)).map(|(_, _, words)| *words)
}

/// Whether `label` of `metric` may hold `value`.
pub(super) fn may_hold(metric: &str, label: &str, value: &str) -> bool {
    words(metric, label).is_none_or(|words| words.contains(&value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::names::{ALL, Kind};
    use super::super::{BUCKETS, names};
    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/metrics.md");

    /// Cells of the rows below `heading`, without their quotes.
    fn table(heading: &str) -> Vec<Vec<&'static str>> {
        let (_, rest) = DOCUMENT.split_once(heading).expect("the table is there");
        let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
    }

    fn listed(cell: &'static str) -> Vec<&'static str> {
        cell.split(", ").map(|word| word.trim_matches('`')).collect()
    }

    #[test]
    fn the_document_has_each_label_with_its_words() {
        let documented = table("| label | of | words |");
        let documented: Vec<_> =
            documented.iter().map(|cells| (listed(cells[0])[0], cells[1], listed(cells[2]))).collect();
        let ours: Vec<_> = WORDS
            .iter()
            .map(|(label, metric, words)| {
                (*label, metric.map_or(String::new(), |name| format!("`{name}`")), words.to_vec())
            })
            .collect();
        let documented: Vec<_> =
            documented.into_iter().map(|(label, of, words)| (label, of.to_owned(), words)).collect();
        assert_eq!(documented, ours);
    }

    #[test]
    fn each_label_of_the_table_has_words_or_holds_a_name() {
        let open: BTreeSet<_> = ALL
            .iter()
            .flat_map(|metric| metric.labels.iter().filter(|label| words(metric.name, label).is_none()))
            .copied()
            .collect();
        assert_eq!(open, BTreeSet::from(["rung", "session", "stream", "version"]));
        for (label, metric, words) in WORDS {
            let mut of = ALL.iter().filter(|row| metric.is_none_or(|name| name == row.name));
            assert!(of.any(|row| row.labels.contains(label)), "{label} of {metric:?} is no label of the table");
            assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "twice: {words:?}");
        }
    }

    #[test]
    fn the_document_has_the_buckets_of_each_histogram() {
        let documented = table("| histogram | upper bounds in seconds |");
        let documented: Vec<(&str, Vec<f64>)> = documented
            .iter()
            .map(|cells| {
                let bounds = cells[1].split(", ").map(|bound| bound.parse().expect("a number"));
                (cells[0].trim_matches('`'), bounds.collect())
            })
            .collect();
        let ours: Vec<_> = BUCKETS.iter().map(|(metric, bounds)| (metric.name, bounds.to_vec())).collect();
        assert_eq!(documented, ours);
        assert_eq!(ours.len(), ALL.iter().filter(|metric| metric.kind == Kind::Histogram).count());
    }

    #[test]
    #[should_panic(expected = "the label reason of millstream_http_connections_refused_total holds displaced")]
    fn a_word_that_is_not_listed_is_a_fault() {
        let _ = names::HTTP_REFUSED.counter(&[("reason", "displaced")]);
    }
}
