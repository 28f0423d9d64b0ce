//! Logs, metrics and traces: how a daemon says what it does.
//!
//! | module | holds |
//! |---|---|
//! | [`gate`] | one log line per cause, however often it comes |
//! | [`logging`] | `tracing` to standard error, for people or as JSON lines |
//! | [`names`] | the one table of all metrics: name, kind, unit, help, labels |
//! | [`panics`] | steps of tasks whose panic is contained, counted and logged |
//! | [`samples`] | figures of running sessions, collected when somebody scrapes |
//! | [`words`] | what labels may hold |
//! | [`trace`] | a trace per stored segment, when somebody wants them |
//!
//! There are two ways for a figure into `/metrics`, and each metric of the table takes exactly one of them:
//!
//! - figures of the process go through the `metrics` facade ([`names::Metric::counter`] and its kin), from anywhere;
//! - figures of a session are kept by the session and read at the scrape by a [`Collect`]or. So they are gone with the session, and a
//!   year of broadcasts does not leave a year of label sets in memory.
//!
//! No secret and nothing that a stranger chooses (a key, a path, a user agent) may become a label value.

pub mod gate;
pub mod logging;
pub mod names;
pub mod panics;
pub mod samples;
pub mod trace;
pub mod words;

use std::sync::Arc;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use logging::{LogFormat, LoggingError, init_logging};
pub use samples::{Collect, Samples};

/// Upper bounds, in seconds, of the buckets of each histogram; dense where the figure is when all is well.
///
/// To a part: package holds a picture until the next one comes, so a copied rung takes a frame (17 ms at 60, 40 ms at 25
/// per second) and an encoded one its reordering and threads more; a third of a second is a part late.
const TO_PART_BUCKETS: [f64; 14] = [0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.4, 0.7, 1.0, 2.0, 5.0];
/// To the store: a local folder with its sync within a second, an object store in tenths of seconds; above a segment's
/// length it falls behind, and the last ones tell an outage's length.
const TO_STORED_BUCKETS: [f64; 13] = [0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0, 15.0, 60.0, 300.0, 1_800.0];
/// To something playable: a part at 334 ms, a playlist with the first segment at 2 s and what the encoders add.
const TO_PLAYABLE_BUCKETS: [f64; 12] = [0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 2.25, 2.5, 3.0, 5.0, 10.0];

/// The buckets of every histogram of the table.
const BUCKETS: [(&names::Metric, &[f64]); 3] = [
    (&names::INGEST_TO_PART, &TO_PART_BUCKETS),
    (&names::INGEST_TO_STORED, &TO_STORED_BUCKETS),
    (&names::PUBLISH_TO_PLAYABLE, &TO_PLAYABLE_BUCKETS),
];

/// Metrics cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The exporter refused its own settings or a recorder is there already.
    #[error("metrics: {0}")]
    Exporter(#[from] metrics_exporter_prometheus::BuildError),
}

/// What `/metrics` shows. Clones share it.
#[derive(Clone)]
pub struct Metrics {
    process: PrometheusHandle,
    collectors: Arc<[Arc<dyn Collect>]>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("collectors", &self.collectors.len()).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Makes this process's recorder, before anything that keeps a counter is built: counters made earlier count into the void.
    ///
    /// # Errors
    /// A recorder was installed before.
    pub fn install() -> Result<Self, MetricsError> {
        let process = builder()?.install_recorder()?;
        names::describe_all();
        Ok(Metrics { process, collectors: Arc::from([]) })
    }

    /// Metrics of a recorder that is not the process's: for tests.
    ///
    /// # Errors
    /// The exporter refused its own settings.
    pub fn detached() -> Result<(Self, metrics_exporter_prometheus::PrometheusRecorder), MetricsError> {
        let recorder = builder()?.build_recorder();
        let metrics = Metrics { process: recorder.handle(), collectors: Arc::from([]) };
        metrics::with_local_recorder(&recorder, names::describe_all);
        Ok((metrics, recorder))
    }

    /// The same metrics with the figures of `collector` behind them.
    #[must_use]
    pub fn with_collector(self, collector: Arc<dyn Collect>) -> Self {
        let collectors = self.collectors.iter().cloned().chain([collector]).collect();
        Metrics { collectors, ..self }
    }

    /// The whole of `/metrics` in the Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut samples = Samples::default();
        for collector in self.collectors.iter() {
            collector.collect(&mut samples);
        }
        let mut text = self.process.render();
        samples.render_into(&mut text);
        text
    }

    /// Folds what histograms have gathered, which otherwise happens at a scrape only. Call it every few seconds, so that
    /// memory stays bounded when nobody scrapes.
    pub fn upkeep(&self) {
        self.process.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, MetricsError> {
    BUCKETS.iter().try_fold(PrometheusBuilder::new(), |builder, (metric, buckets)| {
        Ok(builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct OneSession;
    impl Collect for OneSession {
        fn collect(&self, samples: &mut Samples) {
            samples.add(&names::INGEST_BYTES, &[("stream", "s"), ("session", "a")], 7_u64);
        }
    }

    #[test]
    fn process_and_session_figures_stand_in_one_text() {
        let (metrics, recorder) = Metrics::detached().unwrap();
        metrics::with_local_recorder(&recorder, || {
            names::HTTP_REQUESTS.counter(&[("route", "media"), ("status", "200")]).increment(2);
        });
        let text = metrics.with_collector(Arc::new(OneSession)).render();
        let expected = "# HELP millstream_http_requests_total Requests answered.\n\
             # TYPE millstream_http_requests_total counter\n\
             millstream_http_requests_total{route=\"media\",status=\"200\"} 2\n\n\
             # HELP millstream_ingest_bytes_total Payload bytes as they came from the encoder.\n\
             # TYPE millstream_ingest_bytes_total counter\n\
             millstream_ingest_bytes_total{stream=\"s\",session=\"a\"} 7\n\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_histogram_has_buckets_that_rise() {
        let histograms = names::ALL.iter().filter(|metric| metric.kind == names::Kind::Histogram);
        for metric in histograms {
            let found = BUCKETS.iter().find(|(of, _)| of.name == metric.name);
            let (_, buckets) = found.unwrap_or_else(|| panic!("{} would be a summary", metric.name));
            assert!(buckets.is_sorted_by(|one, next| one < next), "{}", metric.name);
        }
    }

    #[test]
    fn durations_are_rendered_as_buckets() {
        let (metrics, recorder) = Metrics::detached().unwrap();
        metrics::with_local_recorder(&recorder, || names::INGEST_TO_STORED.histogram(&[("rung", "720p")]).record(0.15));
        metrics.upkeep();
        let text = metrics.render();
        assert!(text.contains("millstream_ingest_to_stored_seconds_bucket{rung=\"720p\",le=\"0.1\"} 0\n"), "{text}");
        assert!(text.contains("millstream_ingest_to_stored_seconds_bucket{rung=\"720p\",le=\"0.2\"} 1\n"), "{text}");
    }
}
