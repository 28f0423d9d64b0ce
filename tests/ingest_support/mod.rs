//! A publisher whose every frame is known, a clock that is told the time, and a judge of the units that come out.
#![allow(dead_code)] // each test file uses its part

pub mod packaged;
pub mod transport;

use std::time::Duration;

use bytes::Bytes;
use millstream::ingest::{Ingest, Input, Now, Rejected, Settings};
use millstream::media::codec::h264::AvcConfig;
use millstream::media::{AudioCodec, Cut, CutKind, Kind, Packet, Span, Timestamp, Track, Unit, VideoCodec, WallTime};
use millstream::wire::Inbound;
use millstream::wire::flv::{AudioTag, Tag, TagKind, VideoTag};

/// 1920x1080, 30 fps, High (x264).
pub const SPS: &[u8] = &[
    0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00,
    0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
];
/// 640x360, 29.97 fps, Constrained Baseline (x264).
pub const SMALL_SPS: &[u8] = &[
    0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x03, 0xe9, 0x00, 0x00, 0xea,
    0x60, 0x0f, 0x16, 0x2e, 0x48,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
/// Noon of some day.
pub const NOON: WallTime = WallTime::from_unix_millis(1_795_262_400_000);

/// An encoder with a true grid of frames and samples, and RTMP's milliseconds.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// Frames per second; 0 for none.
    pub fps: i64,
    /// Frames from keyframe to keyframe.
    pub gop: i64,
    /// Samples per second; 0 for none.
    pub rate: i64,
    /// By how many frames a keyframe is presented behind its decoding.
    pub lead: i64,
    /// B-frames between two others.
    pub b_frames: i64,
    /// Stamp of the first frame.
    pub start_ms: u64,
    /// Stamps have this many bits.
    pub bits: u32,
    /// Sequence parameter set.
    pub sps: &'static [u8],
    /// AudioSpecificConfig.
    pub asc: &'static [u8],
    /// Number of the first picture, so that two publishers' pictures differ.
    pub first: i64,
}

impl Default for Publisher {
    /// 30 fps with two B-frames, keyframes each 2 s, 48 kHz stereo, stamps from 0.
    fn default() -> Self {
        Publisher {
            fps: 30,
            gop: 60,
            rate: 48_000,
            lead: 2,
            b_frames: 2,
            start_ms: 0,
            bits: 32,
            sps: SPS,
            asc: &[0x11, 0x90],
            first: 0,
        }
    }
}

impl Publisher {
    /// The stamp of `ms` after the start.
    pub fn stamp(&self, ms: i64) -> u32 {
        let unwrapped = self.start_ms.wrapping_add_signed(ms);
        (unwrapped % (1 << self.bits)) as u32
    }

    pub fn video_config(&self) -> Tag {
        let sets = |set: &'static [u8]| vec![Bytes::from_static(set)];
        let config = AvcConfig { length_size: 4, sps: sets(self.sps), pps: sets(PPS) };
        let data = VideoTag::config(VideoCodec::H264, config.write().expect("valid sets")).to_body();
        Tag { kind: TagKind::Video, timestamp_ms: self.stamp(0), data }
    }

    /// What stands in its video configuration.
    pub fn parameter_sets(&self) -> [&'static [u8]; 2] {
        [self.sps, PPS]
    }

    pub fn audio_config(&self) -> Tag {
        let data = AudioTag::config(AudioCodec::Aac, Bytes::from_static(self.asc)).to_body();
        Tag { kind: TagKind::Audio, timestamp_ms: self.stamp(0), data }
    }

    /// In frames, of the picture at `place` of a closed group of pictures.
    pub fn composition(&self, place: i64) -> i64 {
        let mini = self.b_frames + 1;
        match (place - 1).rem_euclid(mini) {
            _ if place == 0 => self.lead,
            0 => self.lead + mini.min(self.gop - place) - 1,
            _ => self.lead - 1,
        }
    }

    /// Picture `n`; its number is its payload.
    pub fn picture(&self, n: i64) -> Tag {
        let ms = n * 1_000 / self.fps;
        let place = n % self.gop;
        let frames = self.composition(place);
        let composition_ms = (n + frames) * 1_000 / self.fps - ms;
        let claimed_key = place == 0;
        let mut nal = vec![if claimed_key { 0x65 } else { 0x41 }];
        nal.extend((self.first + n).to_be_bytes());
        let mut data = (nal.len() as u32).to_be_bytes().to_vec();
        data.extend(nal);
        let tag = VideoTag::frame(VideoCodec::H264, claimed_key, composition_ms as i32, Bytes::from(data));
        Tag { kind: TagKind::Video, timestamp_ms: self.stamp(ms), data: tag.to_body() }
    }

    /// Frame `n` of sound.
    pub fn sound(&self, n: i64) -> Tag {
        let ms = n * 1_024 * 1_000 / self.rate;
        let data = AudioTag::frame(AudioCodec::Aac, Bytes::copy_from_slice(&n.to_be_bytes())).to_body();
        Tag { kind: TagKind::Audio, timestamp_ms: self.stamp(ms), data }
    }

    /// Pictures and sound from `from_ms` to `to_ms`, with when they are sent, in the order of that.
    pub fn media(&self, from_ms: i64, to_ms: i64) -> Vec<(i64, Tag)> {
        let within = |ms: &i64| (from_ms..to_ms).contains(ms);
        let count = |per_second_1000: i64| (0..=to_ms * per_second_1000 / 1_000_000 + 1).collect::<Vec<_>>();
        let mut sent: Vec<(i64, Tag)> = Vec::new();
        if self.fps > 0 {
            let frames = count(self.fps * 1_000).into_iter().map(|n| (n * 1_000 / self.fps, n));
            sent.extend(frames.filter(|(ms, _)| within(ms)).map(|(ms, n)| (ms, self.picture(n))));
        }
        if self.rate > 0 {
            let frames = count(self.rate * 1_000 / 1_024).into_iter().map(|n| (n * 1_024_000 / self.rate, n));
            sent.extend(frames.filter(|(ms, _)| within(ms)).map(|(ms, n)| (ms, self.sound(n))));
        }
        sent.sort_by_key(|(ms, _)| *ms);
        sent
    }
}

/// The number of a picture or of a frame of sound, from its payload.
pub fn number(packet: &Packet) -> i64 {
    let bytes = packet.data.last_chunk::<8>().expect("made by a Publisher");
    i64::from_be_bytes(*bytes)
}

/// An ingest on a clock that is told the time.
pub struct Rig {
    pub ingest: Ingest,
    pub monotonic: Duration,
    pub units: Vec<Unit>,
}

impl Rig {
    pub fn new(settings: Settings) -> Self {
        Rig { ingest: Ingest::new(settings), monotonic: Duration::from_secs(1_000), units: Vec::new() }
    }

    /// The wall clock runs with the monotonic one, which stood at 1000 s at noon.
    pub fn now(&self) -> Now {
        let since = Span::from_std(self.monotonic) - Span::from_secs(1_000);
        Now { monotonic: self.monotonic, wall: NOON.saturating_add(since) }
    }

    pub fn push(&mut self, input: Input) -> Result<(), Rejected> {
        self.ingest.push(input, self.now(), &mut self.units)
    }

    /// A message that comes at `monotonic`, or now if that is over; all deadlines before it are met.
    pub fn tag_at(&mut self, monotonic: Duration, tag: Tag) {
        if let Some(left) = monotonic.checked_sub(self.monotonic) {
            self.wait(left.as_millis() as u64);
        }
        self.tag(tag);
    }

    pub fn tag(&mut self, tag: Tag) {
        self.push(Input::Media(Inbound::Flv(tag))).expect("nothing to reject");
    }

    /// Lets time go by, polling at each deadline and never elsewhere.
    pub fn wait(&mut self, ms: u64) {
        let end = self.monotonic + Duration::from_millis(ms);
        while let Some(deadline) = self.ingest.deadline().filter(|deadline| *deadline <= end) {
            self.monotonic = self.monotonic.max(deadline);
            self.ingest.poll(self.now(), &mut self.units);
            let next = self.ingest.deadline();
            assert!(next.is_none_or(|next| next > self.monotonic), "a deadline that polling does not meet: {next:?}");
        }
        self.monotonic = end;
    }

    /// Sends what `publisher` has from `from_ms` to `to_ms`, in real time.
    pub fn play(&mut self, publisher: &Publisher, from_ms: i64, to_ms: i64) {
        let mut sent_until = from_ms;
        for (ms, tag) in publisher.media(from_ms, to_ms) {
            self.wait((ms - sent_until) as u64);
            sent_until = ms;
            self.tag(tag);
        }
        self.wait((to_ms - sent_until) as u64);
    }

    /// Connects and sends the configurations.
    pub fn connect(&mut self, publisher: &Publisher) {
        self.push(Input::Connected).expect("nothing to reject");
        if publisher.fps > 0 {
            self.tag(publisher.video_config());
        }
        if publisher.rate > 0 {
            self.tag(publisher.audio_config());
        }
    }

    pub fn disconnect(&mut self) {
        self.push(Input::Disconnected).expect("nothing to reject");
    }

    /// Ends the session and judges all that came out.
    pub fn end(&mut self) -> Timeline {
        let now = self.now();
        self.ingest.end(now, &mut self.units);
        Timeline::judge(&self.units)
    }
}

/// What came out, after the promises of `ingest` were checked on it.
#[derive(Debug, Default)]
pub struct Timeline {
    pub cuts: Vec<Cut>,
    pub tracks: Vec<Track>,
    pub video: Vec<Packet>,
    pub audio: Vec<Packet>,
    pub ended: bool,
}

impl Timeline {
    /// Panics with the broken promise.
    pub fn judge(units: &[Unit]) -> Timeline {
        let mut timeline = Timeline::default();
        // No packet lies before the last discontinuity; no packet lies at or behind a cut that comes later.
        let mut floor = Timestamp::ZERO;
        let mut highest = [Timestamp::ZERO; 2];
        let mut tracks_allowed = true;
        let mut sound_restarts = true;
        for unit in units {
            assert!(!timeline.ended, "something behind the end");
            match unit {
                Unit::End => timeline.ended = true,
                Unit::Track(track) => {
                    let joins = timeline.tracks.iter().all(|known| known.kind() != track.kind());
                    assert!(tracks_allowed || joins, "a track where none may be: {track:?}");
                    timeline.tracks.push((**track).clone());
                }
                Unit::Cut(cut) => {
                    if let Some(last) = timeline.cuts.last() {
                        assert_eq!(cut.msn, last.msn + 1);
                        assert!(cut.at > last.at, "{last:?} then {cut:?}");
                        assert!(cut.wall >= last.wall, "{last:?} then {cut:?}");
                    }
                    assert!(!cut.copy_ends || cut.discontinuity);
                    assert!(cut.at > highest[Kind::Audio as usize], "sound ran ahead of {cut:?}");
                    if cut.discontinuity {
                        floor = cut.at;
                        sound_restarts = true;
                    }
                    timeline.cuts.push(cut.clone());
                    // A resumed session may begin with gaps.
                    let gaps_only = timeline.cuts.iter().all(|cut| matches!(cut.kind, CutKind::Gap { .. }));
                    tracks_allowed = cut.discontinuity || gaps_only;
                }
                Unit::Packet(packet) => {
                    tracks_allowed = false;
                    assert!(!timeline.cuts.is_empty(), "a packet before the first cut");
                    timeline.packet(packet, floor, &mut sound_restarts);
                    let highest = &mut highest[packet.kind as usize];
                    *highest = (*highest).max(packet.pts);
                }
            }
        }
        timeline
    }

    fn packet(&mut self, packet: &Packet, floor: Timestamp, sound_restarts: &mut bool) {
        assert!(packet.pts >= floor, "{packet:?} lies before the discontinuity at {floor}");
        assert!(packet.pts >= packet.dts && packet.dts >= Timestamp::ZERO, "{packet:?}");
        let track = match packet.kind {
            Kind::Video => &mut self.video,
            Kind::Audio => &mut self.audio,
        };
        if let Some(last) = track.last() {
            assert!(packet.dts > last.dts, "{last:?} then {packet:?}");
            if packet.kind == Kind::Audio {
                let end = last.pts + last.duration;
                let restarts = std::mem::take(sound_restarts);
                assert!(if restarts { packet.pts >= end } else { packet.pts == end }, "{last:?} then {packet:?}");
            }
        }
        if packet.kind == Kind::Audio {
            assert!(packet.keyframe && packet.dts == packet.pts && packet.duration.is_positive(), "{packet:?}");
        }
        track.push(packet.clone());
    }

    /// Milliseconds of all cuts behind the first one.
    pub fn cut_ms(&self) -> Vec<i64> {
        let first = self.cuts[0].at;
        self.cuts.iter().map(|cut| (cut.at - first).to_millis()).collect()
    }

    pub fn discontinuities(&self) -> usize {
        self.cuts.iter().filter(|cut| cut.discontinuity).count()
    }

    /// Numbers of all pictures.
    pub fn pictures(&self) -> Vec<i64> {
        self.video.iter().map(number).collect()
    }

    /// The longest segment, by its cuts.
    pub fn longest_segment(&self) -> Span {
        self.cuts.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap_or(Span::ZERO)
    }
}

/// All media tags in an RTMP capture (client to server, from C0 on), read with a chunk reader that is not ours.
pub fn capture(file: &str) -> Vec<Tag> {
    use rml_rtmp::chunk_io::ChunkDeserializer;
    use rml_rtmp::messages::RtmpMessage;
    const HANDSHAKE_BYTES: usize = 1 + 1_536 + 1_536;
    let path = format!("{}/fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut reader = ChunkDeserializer::new();
    let mut input = &bytes[HANDSHAKE_BYTES..];
    let mut tags = Vec::new();
    while let Some(payload) = reader.get_next_message(input).expect("a good capture") {
        input = &[];
        let kind = match payload.type_id {
            8 => TagKind::Audio,
            9 => TagKind::Video,
            1 => {
                if let Ok(RtmpMessage::SetChunkSize { size }) = payload.to_rtmp_message() {
                    reader.set_max_chunk_size(size as usize).expect("a good capture");
                }
                continue;
            }
            _ => continue,
        };
        let data = Bytes::copy_from_slice(&payload.data);
        tags.push(Tag { kind, timestamp_ms: payload.timestamp.value, data });
    }
    tags
}
