//! What a listener counts: the `LISTEN_*` rows of [`names`], with the protocol filled in.
//!
//! Label values are ours alone: codes of reasons and errors, never what a peer sent.

use metrics::{Counter, Gauge};

use super::places::Full;
use super::{Protocol, RefusalReason};
use crate::telemetry::names::{self, Metric};

/// What became of a connection that broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// One message was left out.
    Skip,
    /// The connection was dropped.
    Drop,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Action::Skip => "skip",
            Action::Drop => "drop",
        }
    }
}

/// Why connections are refused, as [`names::LISTEN_CONNECTIONS_REFUSED`] has it.
const TOTAL: &str = "total";
const ADDRESS: &str = "address";
const DISPLACED: &str = "displaced";

/// The counters of one listener. What counts often has a handle; the rest is looked up when it happens. All but breaches of
/// the protocol, of which there are many kinds, are there from the start at 0: the first event is an increase for whoever
/// alerts on it.
pub struct Counts {
    protocol: Protocol,
    /// Open connections.
    pub open: Gauge,
    /// Connections that were given a place.
    pub connections: Counter,
    /// Publishes that admission let in.
    pub publishes: Counter,
    /// Bytes read.
    pub received_bytes: Counter,
    /// Errors of `accept`.
    pub accept_errors: Counter,
    /// Panics of connections' tasks.
    pub panics: Counter,
}

impl Counts {
    /// The counters of `protocol`. Make them after the process's recorder ([`crate::telemetry::Metrics::install`]).
    pub fn new(protocol: Protocol) -> Self {
        let labels = [("protocol", protocol.as_str())];
        let counter = |metric: &Metric| metric.counter(&labels);
        let counts = Counts {
            protocol,
            open: names::LISTEN_OPEN.gauge(&labels),
            connections: counter(&names::LISTEN_CONNECTIONS),
            publishes: counter(&names::LISTEN_PUBLISHES),
            received_bytes: counter(&names::LISTEN_BYTES),
            accept_errors: counter(&names::LISTEN_ACCEPT_ERRORS),
            panics: counter(&names::LISTEN_PANICS),
        };
        for reason in [TOTAL, ADDRESS, DISPLACED] {
            counts.counter(&names::LISTEN_CONNECTIONS_REFUSED, &[("reason", reason)]).increment(0);
        }
        for reason in RefusalReason::ALL {
            counts.counter(&names::LISTEN_PUBLISHES_REFUSED, &[("reason", reason.as_str())]).increment(0);
        }
        counts
    }

    /// A connection had no place.
    pub fn connection_refused(&self, full: Full) {
        let reason = match full {
            Full::Total(_) => TOTAL,
            Full::Address(_) => ADDRESS,
        };
        self.counter(&names::LISTEN_CONNECTIONS_REFUSED, &[("reason", reason)]).increment(1);
    }

    /// A connection that had not published made room for a newer one.
    pub fn displaced(&self) {
        self.counter(&names::LISTEN_CONNECTIONS_REFUSED, &[("reason", DISPLACED)]).increment(1);
    }

    /// A publish was turned down.
    pub fn publish_refused(&self, reason: RefusalReason) {
        self.counter(&names::LISTEN_PUBLISHES_REFUSED, &[("reason", reason.as_str())]).increment(1);
    }

    /// A peer broke the protocol; `kind` is the stable code of the error.
    pub fn protocol_error(&self, kind: &'static str, action: Action) {
        self.counter(&names::LISTEN_PROTOCOL_ERRORS, &[("kind", kind), ("action", action.as_str())]).increment(1);
    }

    /// The counter of `metric` for this protocol and these labels; made if it is not there.
    fn counter(&self, metric: &Metric, labels: &[(&'static str, &str)]) -> Counter {
        metric.counter(&[&[("protocol", self.protocol.as_str())], labels].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn all_reasons_are_there_before_the_first_refusal() {
        let (metrics, recorder) = Metrics::detached().unwrap();
        let _counts = metrics::with_local_recorder(&recorder, || Counts::new(Protocol::Rtmp));
        let text = metrics.render();
        for reason in ["total", "address", "displaced"] {
            let line = format!("connections_refused_total{{protocol=\"rtmp\",reason=\"{reason}\"}} 0");
            assert!(text.contains(&format!("\nmillstream_listen_{line}\n")), "{line} is not in\n{text}");
        }
        for reason in RefusalReason::ALL {
            let line = format!("publishes_refused_total{{protocol=\"rtmp\",reason=\"{}\"}} 0", reason.as_str());
            assert!(text.contains(&format!("\nmillstream_listen_{line}\n")), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn every_count_carries_the_protocol_and_its_reason() {
        let (metrics, recorder) = Metrics::detached().unwrap();
        metrics::with_local_recorder(&recorder, || {
            let counts = Counts::new(Protocol::Rtmp);
            counts.connection_refused(Full::Total(9));
            counts.connection_refused(Full::Address(3));
            counts.connection_refused(Full::Address(3));
            counts.publish_refused(RefusalReason::KeyExpired);
            counts.protocol_error("chunk_size", Action::Skip);
            counts.open.increment(2);
        });
        let text = metrics.render();
        for line in [
            "listen_connections_refused_total{protocol=\"rtmp\",reason=\"total\"} 1",
            "listen_connections_refused_total{protocol=\"rtmp\",reason=\"address\"} 2",
            "listen_publishes_refused_total{protocol=\"rtmp\",reason=\"key_expired\"} 1",
            "listen_protocol_errors_total{protocol=\"rtmp\",kind=\"chunk_size\",action=\"skip\"} 1",
            "listen_connections{protocol=\"rtmp\"} 2",
            "listen_panics_total{protocol=\"rtmp\"} 0",
        ] {
            assert!(text.contains(&format!("\nmillstream_{line}\n")), "{line} is not in\n{text}");
        }
    }
}
