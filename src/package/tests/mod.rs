//! Tests of the packager as a whole: units in, outputs out, compared as text and as boxes.

mod cuts;
mod rates;

use bytes::Bytes;

use super::*;
use crate::media::segment::Rendition;
use crate::media::{AudioCodec, AudioTrack, Cut, CutKind, Packet, Unit, VideoCodec, VideoTrack, WallTime};
use crate::wire::fmp4::read::read_chunks;

pub(super) const VIDEO: RenditionId = RenditionId(0);
pub(super) const AUDIO: RenditionId = RenditionId(1);

/// Where a session's timeline begins.
pub(super) const ZERO: Timestamp = Timestamp::from_millis(10_000);

pub(super) fn video_track(width: u32) -> Arc<Track> {
    let config = b"\x01\x64\x00\x0d\xff\xe1\x00\x04\x67\x64\x00\x0d\x01\x00\x02\x68\xeb";
    Arc::new(Track::Video(VideoTrack {
        codec: VideoCodec::H264,
        config: Bytes::from_static(config),
        codecs: "avc1.64000d".to_owned(),
        ..VideoTrack::plain(width, 240, (25, 1))
    }))
}

pub(super) fn audio_track(sample_rate: u32) -> Arc<Track> {
    Arc::new(Track::Audio(AudioTrack {
        codec: AudioCodec::Aac,
        config: Bytes::from_static(b"\x11\x90"),
        codecs: "mp4a.40.2".to_owned(),
        sample_rate,
        channels: 2,
        samples_per_frame: 1_024,
    }))
}

pub(super) fn renditions() -> Renditions {
    let rendition = |name: &str, kind, bandwidth| Rendition {
        name: name.to_owned(),
        kind,
        copied: false,
        bandwidth,
        frame_rate: None,
    };
    Arc::new([rendition("240p", Kind::Video, 500_000), rendition("audio", Kind::Audio, 130_000)])
}

pub(super) fn settings() -> PackageSettings {
    PackageSettings { epoch: 3, part_target: Span::from_millis(334), renditions: renditions(), resume: Vec::new() }
}

/// A packet whose payload is one byte per sample, so that sizes are told apart from nothing.
pub(super) fn video(dts: Timestamp, pts: Timestamp, keyframe: bool) -> Unit {
    let data = Bytes::from_static(b"v");
    Unit::Packet(Packet { kind: Kind::Video, dts, pts, duration: Span::ZERO, keyframe, data })
}

pub(super) fn audio(pts: Timestamp, duration: Span) -> Unit {
    let data = Bytes::from_static(b"a");
    Unit::Packet(Packet { kind: Kind::Audio, dts: pts, pts, duration, keyframe: true, data })
}

pub(super) fn cut(msn: u64, at: Timestamp, kind: CutKind) -> Cut {
    let wall = WallTime::from_unix_millis(0).saturating_add(at - ZERO);
    Cut { msn, at, wall, discontinuity: false, copy_ends: false, kind }
}

/// A packager and everything that it has yielded.
pub(super) struct Bench {
    pub packager: Packager,
    pub out: Vec<Output>,
}

impl Bench {
    pub fn new(settings: PackageSettings) -> Self {
        Bench { packager: Packager::new(settings), out: Vec::new() }
    }

    pub fn try_push(&mut self, rendition: RenditionId, unit: Unit) -> Result<(), PackageError> {
        self.packager.push(RenditionUnit { rendition, unit }, &mut self.out)
    }

    pub fn push(&mut self, rendition: RenditionId, unit: Unit) {
        self.try_push(rendition, unit).expect("the unit is in order");
    }

    /// The same cut for both renditions.
    pub fn cut(&mut self, cut: Cut) {
        self.push(VIDEO, Unit::Cut(cut.clone()));
        self.push(AUDIO, Unit::Cut(cut));
    }

    /// What a rendition has yielded since the last call, one line each.
    pub fn take(&mut self, rendition: RenditionId) -> String {
        let (taken, rest) = std::mem::take(&mut self.out).into_iter().partition(|it| it.rendition() == rendition);
        self.out = rest;
        let taken: Vec<Output> = taken;
        taken.iter().map(|output| describe(output) + "\n").collect()
    }
}

/// What was dropped, in the order of the renditions.
pub(super) fn late(bench: &Bench) -> Vec<u64> {
    bench.packager.late_packets().iter().map(LatePackets::count).collect()
}

fn describe(output: &Output) -> String {
    let flag = |set: bool, text: &str| if set { format!(" {text}") } else { String::new() };
    match output {
        Output::Join(joined) => format!("join {}", joined.first.0),
        Output::Init(init) => format!("init {}", init.number),
        Output::Open(start) => {
            let flags = flag(start.discontinuity, "discontinuity") + &flag(start.gap, "gap");
            format!("open {} at {} init {}{flags}", start.msn, start.at, start.init)
        }
        Output::Part(part) => {
            let chunks = read_chunks(&part.bytes).expect("a chunk");
            let (tfdt, samples) = (chunks[0].base_decode_time, chunks[0].samples.len());
            let independent = flag(part.independent, "independent");
            format!("part {}.{} {} tfdt {tfdt} samples {samples}{independent}", part.msn, part.index, part.duration)
        }
        Output::Close(end) => format!("close {} {}", end.msn, end.duration),
        Output::End(_) => "end".to_owned(),
    }
}
