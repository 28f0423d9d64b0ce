//! Logs and metrics: how a daemon says what it does.
//!
//! | module | holds |
//! |---|---|
//! | [`logging`] | `tracing` to standard error, for people or as JSON lines |
//! | [`names`] | the one table of all metrics: name, kind, unit, help, labels |
//! | [`samples`] | figures of running sessions, collected when somebody scrapes |
//!
//! There are two ways for a figure into `/metrics`, and each metric of the table takes exactly one of them:
//!
//! - figures of the process go through the `metrics` facade ([`names::Metric::counter`] and its kin), from anywhere;
//! - figures of a session are kept by the session and read at the scrape by a [`Collect`]or. So they are gone with the session, and a
//!   year of broadcasts does not leave a year of label sets in memory.
//!
//! No secret and nothing that a stranger chooses (a key, a path, a user agent) may become a label value.

pub mod logging;
pub mod names;
pub mod samples;

use std::sync::Arc;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use logging::{LogFormat, LoggingError, init_logging};
pub use samples::{Collect, Samples};

/// Upper bounds, in seconds, of the buckets of every histogram: from one part's share of a frame to a hopeless upload.
const SECONDS_BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

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
    Ok(PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)?)
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
    fn durations_are_rendered_as_buckets() {
        let (metrics, recorder) = Metrics::detached().unwrap();
        metrics::with_local_recorder(&recorder, || names::STORE_UPLOAD_SECONDS.histogram(&[]).record(0.2));
        metrics.upkeep();
        let text = metrics.render();
        assert!(text.contains("millstream_store_upload_seconds_bucket{le=\"0.1\"} 0\n"), "{text}");
        assert!(text.contains("millstream_store_upload_seconds_bucket{le=\"0.25\"} 1\n"), "{text}");
    }
}
