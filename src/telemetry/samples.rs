//! Figures that exist only while their owner does, read when somebody scrapes.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};

use super::names::{Kind, Metric};

/// Somebody who can tell the figures of now: the list of running sessions.
pub trait Collect: Send + Sync + Debug {
    /// Adds every figure once. Called from a request: it must not wait for anything but short locks.
    fn collect(&self, samples: &mut Samples);
}

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Count(u64),
    /// A measure; the unit is the metric's.
    Measure(f64),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Value::Count(count)
    }
}

impl From<f64> for Value {
    fn from(measure: f64) -> Self {
        Value::Measure(measure)
    }
}

/// Figures, grouped by metric as the text format demands.
#[derive(Debug, Default)]
pub struct Samples {
    families: BTreeMap<&'static str, (&'static Metric, String)>,
}

impl Samples {
    /// Adds one figure. `labels` are those that the metric names, in its order.
    pub fn add(&mut self, metric: &'static Metric, labels: &[(&str, &str)], value: impl Into<Value>) {
        metric.check(labels);
        let (_, lines) = self.families.entry(metric.name).or_insert_with(|| (metric, String::new()));
        lines.push_str(metric.name);
        for (index, (name, text)) in labels.iter().enumerate() {
            lines.push_str(if index == 0 { "{" } else { "," });
            lines.push_str(name);
            lines.push_str("=\"");
            escape_into(lines, text);
            lines.push('"');
        }
        let close = if labels.is_empty() { "" } else { "}" };
        // Writing to a String cannot fail.
        let _ = match value.into() {
            Value::Count(count) => writeln!(lines, "{close} {count}"),
            Value::Measure(measure) => writeln!(lines, "{close} {measure}"),
        };
    }

    /// Appends everything in the Prometheus text format.
    pub fn render_into(self, text: &mut String) {
        for (name, (metric, lines)) in self.families {
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                // A histogram has buckets, which this type does not make; a value alone is still read rightly.
                Kind::Histogram => "untyped",
            };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n{lines}", metric.help);
        }
    }
}

/// Label values escape backslash, quote and line feed; nothing else.
fn escape_into(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    #[test]
    fn figures_of_one_metric_stand_together_whatever_the_order_they_came_in() {
        let mut samples = Samples::default();
        for stream in ["a", "b"] {
            samples.add(&names::TRANSCODE_SPEED, &[("stream", stream), ("session", "1"), ("rung", "720p")], 1.5);
            samples.add(&names::INGEST_DRIFT, &[("stream", stream), ("session", "1")], -0.004);
        }
        let mut text = String::new();
        samples.render_into(&mut text);
        let expected = "# HELP millstream_ingest_drift_seconds How far the audio's clock has left the video's since the last correction.\n\
            # TYPE millstream_ingest_drift_seconds gauge\n\
            millstream_ingest_drift_seconds{stream=\"a\",session=\"1\"} -0.004\n\
            millstream_ingest_drift_seconds{stream=\"b\",session=\"1\"} -0.004\n\n\
            # HELP millstream_transcode_speed_ratio Media seconds that the encoder makes per second of its own time; below 1 it cannot follow.\n\
            # TYPE millstream_transcode_speed_ratio gauge\n\
            millstream_transcode_speed_ratio{stream=\"a\",session=\"1\",rung=\"720p\"} 1.5\n\
            millstream_transcode_speed_ratio{stream=\"b\",session=\"1\",rung=\"720p\"} 1.5\n\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_label_value_cannot_leave_its_quotes() {
        let mut text = String::new();
        escape_into(&mut text, "a\"} 1\nb\\");
        assert_eq!(text, "a\\\"} 1\\nb\\\\");
    }
}
