//! What a session's media loses or has repaired, in the log: one line per cause, with how many.
//!
//! The counters are raised where it happens, packet by packet; this looks at them when the session's figures are taken,
//! so that the path of a packet has no log in it.

use std::time::Duration;

use tracing::{info, warn};

use super::stats::SessionStats;
use crate::telemetry::gate::LogGate;

/// How bad a cause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// Mended: viewers do not notice.
    Mended,
    /// Something is missing for viewers.
    Lost,
}

/// A counter, and what it means when it rises.
struct Cause {
    weight: Weight,
    count: fn(&SessionStats) -> u64,
    says: &'static str,
}

const CAUSES: [Cause; 11] = [
    Cause {
        weight: Weight::Mended,
        count: |stats| stats.ingest.repairs,
        says: "timestamps were repaired: the publisher's clock goes back or jumps by less than a second",
    },
    Cause {
        weight: Weight::Mended,
        count: |stats| stats.ingest.drift_corrections,
        says: "sound was moved back to its clock: the publisher's sound and its timestamps run at different speeds",
    },
    Cause {
        weight: Weight::Lost,
        count: |stats| stats.ingest.silent_frames,
        says: "frames of silence stand for sound that the publisher did not send; look at its network and CPU",
    },
    Cause {
        weight: Weight::Lost,
        count: |stats| stats.ingest.dropped.damaged,
        says: "messages of the publisher cannot be parsed and were left out; try another encoder or version",
    },
    Cause {
        weight: Weight::Lost,
        count: |stats| stats.ingest.dropped.unconfigured,
        says: "packets were left out because they came before their codec configuration",
    },
    Cause {
        weight: Weight::Lost,
        count: |stats| stats.ingest.dropped.before_keyframe,
        says: "pictures were left out because a keyframe must come first; a shorter keyframe interval makes this rare",
    },
    Cause {
        // As every broadcast begins; sound that lags has a line of its own.
        weight: Weight::Mended,
        count: |stats| stats.ingest.dropped.trimmed_audio,
        says: "packets of sound were left out: before the first picture, or at a discontinuity",
    },
    Cause {
        weight: Weight::Lost,
        count: |stats| stats.ingest.dropped.stale,
        says: "packets were left out because the publisher's clock had jumped past them",
    },
    Cause {
        weight: Weight::Lost,
        count: |stats| stats.late_packets.iter().sum(),
        says: "packets were left out because they came after their segment was closed, or inside of a gap",
    },
    Cause {
        weight: Weight::Lost,
        count: |stats| stats.edges.iter().map(|edge| edge.dropped).sum(),
        says: "packets were dropped in front of the decoder, which stands still: the machine is overloaded",
    },
    Cause {
        weight: Weight::Lost,
        count: |stats| stats.ladder.as_ref().map_or(0, |ladder| ladder.shed_frames),
        says: "frames were dropped in all encoded rungs: the encoders are slower than the source; choose a smaller preset",
    },
];

/// The gates of one session.
#[derive(Debug, Default)]
pub(super) struct Losses {
    gates: [LogGate; CAUSES.len()],
}

impl Losses {
    /// Logs what has come since the last line of each cause, if it is time for one.
    pub(super) fn look(&mut self, stats: &SessionStats, now: Duration) {
        for (cause, gate) in CAUSES.iter().zip(&mut self.gates) {
            let total = (cause.count)(stats);
            let Some(count) = gate.up_to(total, now) else { continue };
            match cause.weight {
                Weight::Mended => info!(count, total, "{}", cause.says),
                Weight::Lost => warn!(count, total, "{}", cause.says),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logging::testing::Captured;

    #[test]
    fn each_cause_has_one_line_with_its_figure_and_then_waits() {
        let (captured, mut losses, mut stats) = (Captured::default(), Losses::default(), SessionStats::default());
        captured.during(|| {
            losses.look(&stats, Duration::from_secs(1));
            stats.ingest.repairs = 3;
            stats.ingest.dropped.damaged = 1;
            losses.look(&stats, Duration::from_secs(2));
            for second in 3..14 {
                stats.ingest.repairs += 5;
                losses.look(&stats, Duration::from_secs(second));
            }
        });
        let says = |index: usize| CAUSES[index].says;
        let expected = [
            format!("INFO {} count=3 total=3", says(0)),
            format!("WARN {} count=1 total=1", says(3)),
            format!("INFO {} count=50 total=53", says(0)),
        ];
        assert_eq!(captured.messages(module_path!()), expected);
    }

    #[test]
    fn no_two_causes_read_alike() {
        let texts: std::collections::BTreeSet<_> = CAUSES.iter().map(|cause| cause.says).collect();
        assert_eq!(texts.len(), CAUSES.len());
    }
}
