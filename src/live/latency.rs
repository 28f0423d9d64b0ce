//! How long media takes from the socket to viewers, and a session from its first publish to the first picture.
//!
//! Looked at by the thread that publishes, once per part: nothing here is done per packet. Delays are counted from the
//! moment at which intake took the packet; what waits in front of it, because the daemon cannot follow, is seen in the
//! depth of the edge `intake`.

use std::sync::Arc;
use std::time::Duration;

use metrics::Histogram;

use crate::clock::SharedClock;
use crate::media::arrivals::Arrivals;
use crate::media::segment::{Joined, Rendition, RenditionId, Renditions};
use crate::media::{Kind, Output};
use crate::package::Window;
use crate::store::TraceBegin;
use crate::telemetry::names;

/// Measures one session's delays where they end.
#[derive(Debug)]
pub struct Latency {
    clock: SharedClock,
    arrivals: Arc<Arrivals>,
    lanes: Vec<Lane>,
    /// Segments are traced: more is noted of them.
    traced: bool,
    /// Monotonic time of the session's first publish, until all of what it waits for is there. `None` for a session that
    /// an earlier run of the daemon began: its viewers have something to play already.
    began: Option<Duration>,
    first_part: bool,
}

/// One rendition.
struct Lane {
    kind: Kind,
    to_part: Histogram,
    /// Arrival of the first frame of the open segment, where segments are traced and the source had one.
    first: Option<Duration>,
    /// What is known of the open segment by its newest part.
    newest: Option<SegmentArrival>,
}

impl Lane {
    fn of(rendition: &Rendition) -> Self {
        let to_part = names::INGEST_TO_PART.histogram(&[("rung", &rendition.name)]);
        Lane { kind: rendition.kind, to_part, first: None, newest: None }
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("kind", &self.kind).field("newest", &self.newest).finish_non_exhaustive()
    }
}

/// A segment is whole, and its last frame came in then (monotonic).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentArrival {
    /// The rendition.
    pub rendition: RenditionId,
    /// The segment's number.
    pub msn: u64,
    /// When.
    pub at: Duration,
    /// What a trace of it begins with, where segments are traced.
    pub trace: Option<TraceBegin>,
}

impl Latency {
    /// Measures a session with these renditions whose packets `arrivals` knows of. `began` is the monotonic time of its
    /// first publish, if that was in this run of the daemon.
    pub fn new(clock: SharedClock, arrivals: Arc<Arrivals>, began: Option<Duration>, renditions: &Renditions) -> Self {
        let lanes = renditions.iter().map(Lane::of).collect();
        Latency { lanes, traced: false, clock, arrivals, began, first_part: true }
    }

    /// Notes what traces of segments begin with too.
    #[must_use]
    pub fn traced(self, traced: bool) -> Self {
        Latency { traced, ..self }
    }

    /// Looks at an output before it is journalled. Tells when the last frame of a segment that it closes came in.
    pub fn before(&mut self, output: &Output) -> Option<SegmentArrival> {
        if let Output::Join(joined) = output {
            self.join(joined);
            return None;
        }
        let rendition = output.rendition();
        let lane = self.lanes.get_mut(usize::from(rendition.0))?;
        match output {
            Output::Open(start) if self.traced => {
                lane.first = self.arrivals.first_from(lane.kind, start.at);
                None
            }
            Output::Part(part) => {
                lane.newest = self.arrivals.of(lane.kind, part.last_pts).map(|at| {
                    let begin =
                        || TraceBegin { first: *lane.first.get_or_insert(at), packaged: self.clock.monotonic() };
                    SegmentArrival { rendition, msn: part.msn, at, trace: self.traced.then(begin) }
                });
                None
            }
            Output::Close(_) => lane.newest.take(),
            _ => None,
        }
    }

    /// Renditions come behind those that are there.
    fn join(&mut self, joined: &Joined) {
        let known = self.lanes.len().saturating_sub(usize::from(joined.first.0));
        self.lanes.extend(joined.renditions.iter().skip(known).map(Lane::of));
    }

    /// Tells the same of the segments that are open: whoever stops closes them itself.
    pub fn open(&mut self) -> impl Iterator<Item = SegmentArrival> {
        self.lanes.iter_mut().filter_map(|lane| lane.newest.take())
    }

    /// Looks at an output that `window` has just shown to viewers.
    pub fn published(&mut self, output: &Output, window: &Window) {
        if let Output::Part(part) = output
            && let Some(lane) = self.lanes.get(usize::from(part.rendition.0))
            && let Some(newest) = &lane.newest
        {
            lane.to_part.record(self.clock.monotonic().saturating_sub(newest.at));
        }
        if let Some(began) = self.began {
            self.playable(began, output, window);
        }
    }

    fn playable(&mut self, began: Duration, output: &Output, window: &Window) {
        let kind_of = |rendition: RenditionId| self.lanes.get(usize::from(rendition.0)).map(|lane| lane.kind);
        let waited = || self.clock.monotonic().saturating_sub(began);
        // Video renditions stand first, so in a session without video this is its sound.
        if self.first_part && matches!(output, Output::Part(part) if kind_of(part.rendition) == kind_of(RenditionId(0)))
        {
            names::PUBLISH_TO_PLAYABLE.histogram(&[("what", "part")]).record(waited());
            self.first_part = false;
        }
        if window.multivariant().is_some() {
            names::PUBLISH_TO_PLAYABLE.histogram(&[("what", "playlist")]).record(waited());
            self.began = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::media::segment::{Part, SegmentEnd, SegmentStart};
    use crate::media::{Span, Timestamp, WallTime};
    use crate::package::WindowSettings;
    use crate::telemetry::Metrics;
    use bytes::Bytes;

    const PUBLISHED: Duration = Duration::from_secs(100);

    fn renditions() -> Renditions {
        let rendition = |name: &str, kind, copied| Rendition {
            name: name.to_owned(),
            kind,
            copied,
            bandwidth: 1_000_000,
            frame_rate: None,
        };
        Arc::from([rendition("720p", Kind::Video, true), rendition("audio", Kind::Audio, true)])
    }

    fn part(rendition: u8, last_pts: Timestamp) -> Output {
        let (rendition, duration, bytes) = (RenditionId(rendition), Span::from_millis(80), Bytes::from_static(b"part"));
        Output::Part(Part {
            rendition,
            msn: 0,
            epoch: 1,
            index: 0,
            samples: 1,
            duration,
            last_pts,
            independent: true,
            bytes,
        })
    }

    fn open(rendition: u8) -> Output {
        let (at, wall) = (Timestamp::from_millis(10_000), WallTime::default());
        let (discontinuity, gap, init, epoch) = (false, false, 0, 1);
        Output::Open(SegmentStart {
            rendition: RenditionId(rendition),
            msn: 0,
            epoch,
            at,
            wall,
            discontinuity,
            gap,
            init,
        })
    }

    fn close(rendition: u8) -> Output {
        Output::Close(SegmentEnd { rendition: RenditionId(rendition), msn: 0, duration: Span::from_millis(80) })
    }

    struct Rig {
        clock: Arc<ManualClock>,
        arrivals: Arc<Arrivals>,
        latency: Latency,
        window: Window,
    }

    impl Rig {
        fn new() -> Self {
            Rig::of(renditions())
        }

        fn of(renditions: Renditions) -> Self {
            let (clock, arrivals) = (ManualClock::new(WallTime::default()), Arc::new(Arrivals::default()));
            clock.advance(PUBLISHED);
            let latency = Latency::new(clock.clone(), arrivals.clone(), Some(PUBLISHED), &renditions);
            let settings =
                WindowSettings { window: Span::from_secs(60), segment_target: Span::from_secs(2), start: Vec::new() };
            Rig { clock, arrivals, latency, window: Window::new(renditions, settings) }
        }

        fn arrives(&self, kind: Kind, millis: i64) {
            self.arrivals.note(kind, Timestamp::from_millis(millis), self.clock.monotonic());
        }

        fn output(&mut self, output: &Output) -> Option<SegmentArrival> {
            let arrival = self.latency.before(output);
            self.window.apply(output);
            self.latency.published(output, &self.window);
            arrival
        }

        fn pass(&self, millis: u64) {
            self.clock.advance(Duration::from_millis(millis));
        }
    }

    /// The sums and counts of `/metrics` that are not zero, after `body`.
    fn measured(body: impl FnOnce()) -> Vec<String> {
        let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
        metrics::with_local_recorder(&recorder, body);
        let text = metrics.render();
        let sums = text.lines().filter(|line| line.contains("_seconds_sum{") || line.contains("_seconds_count{"));
        let mut sums: Vec<_> = sums
            .filter(|line| !line.ends_with(" 0"))
            .map(|line| line.trim_start_matches("millstream_").to_owned())
            .collect();
        sums.sort();
        sums
    }

    #[test]
    fn a_part_is_measured_from_the_arrival_of_its_last_frame_to_its_publication() {
        let lines = measured(|| {
            let mut rig = Rig::new();
            rig.pass(40);
            rig.arrives(Kind::Video, 10_000);
            rig.pass(40);
            rig.arrives(Kind::Video, 10_040);
            assert_eq!(rig.output(&open(0)), None);
            rig.pass(17);
            assert_eq!(rig.output(&part(0, Timestamp::from_millis(10_040))), None);
            rig.pass(500);
            let at = PUBLISHED + Duration::from_millis(80);
            let arrival = SegmentArrival { rendition: RenditionId(0), msn: 0, at, trace: None };
            assert_eq!(rig.output(&close(0)), Some(arrival));
            assert_eq!(rig.output(&close(0)), None, "a segment without a part has no last frame");
        });
        assert_eq!(
            lines,
            [
                "ingest_to_part_seconds_count{rung=\"720p\"} 1",
                "ingest_to_part_seconds_sum{rung=\"720p\"} 0.017",
                "publish_to_playable_seconds_count{what=\"part\"} 1",
                "publish_to_playable_seconds_sum{what=\"part\"} 0.097",
            ]
        );
    }

    #[test]
    fn a_trace_begins_with_the_first_frame_and_goes_on_with_the_last_part() {
        let mut rig = Rig::new();
        rig.latency = rig.latency.traced(true);
        for (kind, at) in [(Kind::Video, 10_000), (Kind::Audio, 10_000), (Kind::Video, 10_040), (Kind::Video, 10_080)] {
            rig.pass(40);
            rig.arrives(kind, at);
        }
        let (arrived, moment) =
            (PUBLISHED + Duration::from_millis(160), |millis| PUBLISHED + Duration::from_millis(millis));
        rig.output(&open(0));
        rig.output(&part(0, Timestamp::from_millis(10_040)));
        rig.pass(30);
        rig.output(&part(0, Timestamp::from_millis(10_080)));
        rig.pass(5);
        let trace = Some(TraceBegin { first: moment(40), packaged: moment(190) });
        let arrival = SegmentArrival { rendition: RenditionId(0), msn: 0, at: arrived, trace };
        assert_eq!(rig.output(&close(0)), Some(arrival));
        // Sound that stands where the source had none, up to a frame of its own.
        rig.output(&open(1));
        rig.latency.lanes[1].first = None;
        rig.output(&part(1, Timestamp::from_millis(10_000)));
        let trace = Some(TraceBegin { first: moment(80), packaged: moment(195) });
        let arrival = SegmentArrival { rendition: RenditionId(1), msn: 0, at: moment(80), trace };
        assert_eq!(rig.latency.open().collect::<Vec<_>>(), [arrival], "what is open is told at the end");
        assert_eq!(rig.latency.open().next(), None);
    }

    #[test]
    fn sound_alone_is_not_playable_and_silence_of_ours_is_not_measured() {
        let lines = measured(|| {
            let mut rig = Rig::new();
            rig.arrives(Kind::Audio, 10_000);
            rig.pass(25);
            rig.output(&open(1));
            rig.output(&part(1, Timestamp::from_millis(10_000)));
            rig.output(&part(1, Timestamp::from_millis(12_000)));
            assert_eq!(rig.output(&close(1)), None);
        });
        assert_eq!(
            lines,
            ["ingest_to_part_seconds_count{rung=\"audio\"} 1", "ingest_to_part_seconds_sum{rung=\"audio\"} 0.025"]
        );
    }

    #[test]
    fn renditions_of_a_late_track_are_measured_from_their_first_part_on() {
        let lines = measured(|| {
            let mut rig = Rig::of(renditions()[..1].into());
            let joined = Joined { first: RenditionId(1), renditions: renditions()[1..].into(), discontinuities: 0 };
            rig.output(&Output::Join(joined.clone()));
            rig.output(&Output::Join(joined));
            rig.arrives(Kind::Audio, 10_000);
            rig.pass(25);
            rig.output(&open(1));
            rig.output(&part(1, Timestamp::from_millis(10_000)));
            let told = rig.output(&close(1)).map(|arrival| (arrival.rendition, arrival.at));
            assert_eq!(told, Some((RenditionId(1), PUBLISHED)));
        });
        assert_eq!(
            lines,
            ["ingest_to_part_seconds_count{rung=\"audio\"} 1", "ingest_to_part_seconds_sum{rung=\"audio\"} 0.025"]
        );
    }
}
