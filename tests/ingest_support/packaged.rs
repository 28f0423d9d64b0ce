//! What comes of ingest's units in packages: decode times and dates read back from what players are given, and judged as it comes.

use std::collections::VecDeque;
use std::sync::Arc;

use millstream::media::segment::{Part, Rendition, RenditionId, RenditionUnit, SegmentStart};
use millstream::media::{Kind, Output, Span, Timestamp, Track, Unit};
use millstream::package::{LatePackets, PackageSettings, Packager, Window, WindowSettings};

#[path = "../support/boxes.rs"]
mod boxes;

/// The most by which a segment's date leaves media time, where there is no discontinuity.
const SLEW: Span = Span::from_flicks(millstream::media::time::FLICKS_PER_SECOND / 2_000);

/// A sample as a player gets it.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    pub kind: Kind,
    pub pts: Timestamp,
    /// What the publisher called it; `None` of silence that it did not send.
    pub number: Option<i64>,
}

#[derive(Debug, Default)]
struct Lane {
    timescale: u32,
    /// Decode time at which the last sample ended.
    end: Option<u64>,
    open: Option<SegmentStart>,
    inits: usize,
}

/// Packager and window of a session with one rung and sound, as the intake's thread uses them. The store is left out, and bytes are
/// thrown away with the window.
pub struct Packaged {
    packager: Packager,
    pub window: Window,
    outputs: Vec<Output>,
    /// Video, audio.
    lanes: [Lane; 2],
    /// Segments that the other rendition has not begun yet.
    ahead: VecDeque<SegmentStart>,
    /// Segments that both renditions have begun.
    pub segments: u64,
    pub discontinuities: u64,
    pub gaps: u64,
    /// The newest segment that both have begun.
    pub newest: Option<SegmentStart>,
}

impl Packaged {
    pub fn new() -> Self {
        let rendition = |name: &str, kind, bandwidth| Rendition {
            name: name.to_owned(),
            kind,
            copied: true,
            bandwidth,
            frame_rate: None,
        };
        let renditions: Arc<[Rendition]> =
            Arc::new([rendition("1080p", Kind::Video, 900_000), rendition("audio", Kind::Audio, 150_000)]);
        let part_target = Span::from_millis(334);
        let settings = PackageSettings { epoch: 1, part_target, renditions: renditions.clone(), resume: Vec::new() };
        let (window, segment_target) = (Span::from_secs(60), Span::from_secs(2));
        Packaged {
            packager: Packager::new(settings),
            window: Window::new(renditions, WindowSettings { window, segment_target, start: Vec::new() }),
            outputs: Vec::new(),
            lanes: <[Lane; 2]>::default(),
            ahead: VecDeque::new(),
            segments: 0,
            discontinuities: 0,
            gaps: 0,
            newest: None,
        }
    }

    /// Packages units, judges what comes of them, and shows each sample to `look`. Panics with the broken promise.
    pub fn take(&mut self, units: impl IntoIterator<Item = Unit>, look: &mut impl FnMut(Given)) {
        for unit in units {
            match &unit {
                Unit::Cut(_) | Unit::End => {
                    self.push(Kind::Video, unit.clone());
                    self.push(Kind::Audio, unit);
                }
                Unit::Packet(packet) => self.push(packet.kind, unit),
                Unit::Track(track) => self.push(track.kind(), unit),
            }
            let mut outputs = std::mem::take(&mut self.outputs);
            for output in outputs.drain(..) {
                self.window.apply(&output);
                self.judge(&output, look);
            }
            self.outputs = outputs;
        }
        assert_eq!(self.packager.late_packets().iter().map(LatePackets::count).sum::<u64>(), 0, "packets came late");
    }

    /// Configurations that players were given: EXT-X-MAP of video and of sound.
    pub fn inits(&self) -> [usize; 2] {
        [0, 1].map(|lane: usize| self.lanes[lane].inits)
    }

    fn push(&mut self, kind: Kind, unit: Unit) {
        let rendition = RenditionId(u8::from(kind == Kind::Audio));
        self.packager.push(RenditionUnit { rendition, unit }, &mut self.outputs).expect("the units are in order");
    }

    fn judge(&mut self, output: &Output, look: &mut impl FnMut(Given)) {
        let lane = usize::from(output.rendition().0);
        match output {
            Output::Init(init) => {
                self.lanes[lane].inits += 1;
                let timescale = match &*init.track {
                    Track::Video(_) => 90_000,
                    Track::Audio(audio) => audio.sample_rate,
                };
                assert_eq!(boxes::Init::parse(&init.bytes).timescale, timescale);
                // The same moment in the new units, never earlier.
                let before = std::mem::replace(&mut self.lanes[lane].timescale, timescale);
                if let Some(end) = self.lanes[lane].end.as_mut().filter(|_| before != timescale) {
                    *end = Timestamp::from_units(end.cast_signed(), before).to_units(timescale).cast_unsigned();
                }
            }
            Output::Open(start) => self.begin(lane, start),
            Output::Part(part) => self.part(lane, part, look),
            Output::Close(end) => assert!(end.duration.to_units(1) <= 2, "segment {} lasts {}", end.msn, end.duration),
            Output::End(_) | Output::Join(_) => {}
        }
    }

    fn begin(&mut self, lane: usize, start: &SegmentStart) {
        if let Some(last) = self.lanes[lane].open.replace(start.clone()) {
            assert_eq!(start.msn, last.msn + 1);
            assert!(start.at > last.at && start.wall >= last.wall, "{last:?} then {start:?}");
            let slewed = start.wall.since(last.wall) - (start.at - last.at);
            assert!(start.discontinuity || slewed.abs() <= SLEW, "{slewed} from {last:?} to {start:?}");
        }
        match self.ahead.front() {
            Some(other) if other.msn == start.msn => {
                // A rendition that nothing came for has a gap where the other has media.
                let told = |it: &SegmentStart| (it.at, it.wall, it.discontinuity);
                assert_eq!(told(other), told(start), "renditions differ");
                self.segments += 1;
                self.discontinuities += u64::from(start.discontinuity);
                self.gaps += u64::from(start.gap && other.gap);
                self.ahead.pop_front();
                self.newest = Some(start.clone());
            }
            _ => self.ahead.push_back(start.clone()),
        }
        assert!(self.ahead.len() <= 4, "one rendition is {} segments ahead", self.ahead.len());
    }

    fn part(&mut self, lane: usize, part: &Part, look: &mut impl FnMut(Given)) {
        let state = &mut self.lanes[lane];
        let begins_run = part.index == 0 && state.open.as_ref().is_some_and(|start| start.discontinuity);
        let samples = boxes::samples(&part.bytes);
        let bytes: usize = samples.iter().map(|sample| sample.size as usize).sum();
        let mut data = &part.bytes[part.bytes.len() - bytes..];
        for (index, sample) in samples.iter().enumerate() {
            if let Some(end) = state.end {
                let follows = if begins_run && index == 0 { sample.dts >= end } else { sample.dts == end };
                assert!(follows, "segment {} part {}: {sample:?} behind {end}", part.msn, part.index);
            }
            state.end = Some(sample.dts + u64::from(sample.duration));
            let (own, rest) = data.split_at(sample.size as usize);
            data = rest;
            look(Given {
                kind: if lane == 0 { Kind::Video } else { Kind::Audio },
                pts: Timestamp::from_units(sample.pts, state.timescale),
                number: own.last_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes)),
            });
        }
        assert!(data.is_empty(), "all of it was read");
    }
}
