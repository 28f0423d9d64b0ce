//! Ingest: any sequence of connections, configurations, pictures, sounds, stamps and waits gives units that keep the
//! promises of `ingest`, and what it holds meanwhile is bounded.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use millstream::ingest::{Ingest, Input, LongGop, Now, Settings, Start};
use millstream::media::codec::h264::AvcConfig;
use millstream::media::{AudioCodec, Cut, CutKind, Kind, Packet, Span, Timestamp, Unit, VideoCodec, WallTime};
use millstream::wire::Inbound;
use millstream::wire::flv::{AudioTag, Tag, TagKind, VideoTag};
use millstream::wire::ts::Piece;

use super::source::{Source, assert_tellable};

/// Most bytes that ingest may hold: what a beginning holds, the message that passed that, and sound that waits.
const MAX_HELD_BYTES: usize = 40 << 20;
/// Most messages that it may hold: each costs memory beside its bytes.
const MAX_HELD_MESSAGES: usize = 4_400;
/// An input that makes more messages, or more bytes of them, has said enough.
const MAX_MESSAGES: usize = 6_000;
const MAX_MESSAGES_BYTES: usize = 64 << 20;

/// 1920x1080 with B-frames, 640x360 without, both by x264.
const SPS: [&[u8]; 2] = [
    &[
        0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04,
        0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
    ],
    &[
        0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x03, 0xe9, 0x00, 0x00,
        0xea, 0x60, 0x0f, 0x16, 0x2e, 0x48,
    ],
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];
/// Pictures and sound of OBS.
const TRANSPORT: &[u8] = include_bytes!("../../../fixtures/obs-29-srt.ts");
/// 48 kHz stereo, 44.1 kHz mono, 7 350 Hz.
const ASC: [&[u8]; 3] = [&[0x11, 0x90], &[0x12, 0x08], &[0x16, 0x10]];

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    let mut rig = Rig::new(source.u8());
    while !source.is_empty() && rig.messages < MAX_MESSAGES && rig.bytes < MAX_MESSAGES_BYTES {
        rig.step(&mut source);
    }
    rig.end();
}

struct Rig {
    ingest: Ingest,
    now: Now,
    /// The publisher's clock.
    stamp_ms: u32,
    /// Where the transport stream goes on.
    transport_at: usize,
    messages: usize,
    bytes: usize,
    /// What was sent, to see what of it is held.
    sent: Vec<Bytes>,
    checked: usize,
    units: Vec<Unit>,
    judge: Judge,
}

impl Rig {
    fn new(how: u8) -> Self {
        let long_gop = if how & 1 == 0 { LongGop::CutByTime } else { LongGop::EndCopy };
        let start = if how & 2 == 0 {
            Start::default()
        } else {
            let (at, wall) = (Timestamp::from_millis(3_600_000), WallTime::from_unix_millis(1_795_262_400_000));
            Start { at, next_msn: 1_800, anchor: Some((Timestamp::from_millis(10_000), wall)), resumed: true }
        };
        let segment = Span::from_millis([2_000, 1_000, 4_000, 6_000][usize::from(how >> 2 & 3)]);
        let mut ingest = Ingest::new(Settings { segment, long_gop, start, ..Settings::default() });
        let now = Now { monotonic: Duration::from_secs(1_000), wall: WallTime::from_unix_millis(1_795_262_400_000) };
        if how & 0x10 != 0 {
            ingest.wait(now);
        }
        Rig {
            ingest,
            now,
            stamp_ms: 0,
            transport_at: 0,
            messages: 0,
            bytes: 0,
            sent: Vec::new(),
            checked: 0,
            units: Vec::new(),
            judge: Judge::new(start.next_msn),
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let (step, how) = (source.u8(), source.u8());
        match step & 0xf {
            0 => self.push(Input::Connected),
            1 => self.push(Input::Disconnected),
            2 => self.configure_video(usize::from(how) % SPS.len(), source),
            3 => self.send(
                TagKind::Audio,
                AudioTag::config(AudioCodec::Aac, Bytes::from_static(ASC[usize::from(how) % ASC.len()])).to_body(),
            ),
            4..=6 => self.pictures(how, step >> 4, source),
            7..=9 => self.sounds(how, step >> 4, source),
            10 => self.wait(u64::from(how) * [1, 10, 100, 1_000][usize::from(step >> 6)]),
            11 => self.stamp_ms = self.stamp_ms.wrapping_add(u32::from(how)),
            12 => self.stamp_ms = source.u32(),
            13 => {
                let kind = [TagKind::Video, TagKind::Audio, TagKind::Script, TagKind::Video][usize::from(step >> 6)];
                self.send(kind, Bytes::copy_from_slice(source.bytes(usize::from(how))));
            }
            14 => self.parameter_sets(how, source),
            _ if how & 0x80 != 0 => self.transport(how, source),
            _ => match how & 3 {
                0 => self.ingest.end_copy(),
                1 => self.ingest.set_long_gop(LongGop::EndCopy),
                2 => self.ingest.set_long_gop(LongGop::CutByTime),
                _ => self.now.wall = WallTime::from_unix_millis(i64::from(source.u32()) * 1_000),
            },
        }
        self.units.drain(..).for_each(|unit| self.judge.take(&unit));
    }

    fn configure_video(&mut self, which: usize, source: &mut Source<'_>) {
        let sets = |set: &'static [u8]| vec![Bytes::from_static(set)];
        let length_size = [4, 1, 2, 4][usize::from(source.u8() & 3)];
        let config = AvcConfig { length_size, sps: sets(SPS[which]), pps: sets(PPS) };
        let record = config.write().expect("good sets");
        self.send(TagKind::Video, VideoTag::config(VideoCodec::H264, record).to_body());
    }

    /// `how`: keyframe, size, composition time. `many`: this many, doubled.
    fn pictures(&mut self, how: u8, many: u8, source: &mut Source<'_>) {
        let (step_ms, composition_ms) = (source.u8(), i32::from(source.u8() as i8) * [1, 100][usize::from(how >> 7)]);
        let size = [1, 100, 5_000, 200_000][usize::from(how >> 1 & 3)];
        for n in 0..burst(many, size) {
            let claimed_key = how & 1 != 0 && n == 0;
            let nal = if claimed_key { 0x65 } else { 0x41 };
            let mut body = vec![0; 10 + size]; // FLV and NAL headers; zeros that were never touched cost least
            body[..2].copy_from_slice(&[0x27, 1]);
            body[2..5].copy_from_slice(&composition_ms.to_be_bytes()[1..]);
            body[5..9].copy_from_slice(&(size as u32 + 1).to_be_bytes());
            body[9] = nal;
            self.send(TagKind::Video, Bytes::from(body));
            self.stamp_ms = self.stamp_ms.wrapping_add(u32::from(step_ms));
        }
    }

    fn sounds(&mut self, how: u8, many: u8, source: &mut Source<'_>) {
        let step_ms = source.u8();
        let size = [1, 300, 6_000, 200_000][usize::from(how >> 1 & 3)];
        for _ in 0..burst(many, size) {
            let mut body = vec![0; 2 + size];
            body[..2].copy_from_slice(&[0xaf, 1]);
            self.send(TagKind::Audio, Bytes::from(body));
            self.stamp_ms = self.stamp_ms.wrapping_add(u32::from(step_ms));
        }
    }

    /// Parameter sets in band, many of them, in a message of any length.
    fn parameter_sets(&mut self, how: u8, source: &mut Source<'_>) {
        let mut data = BytesMut::new();
        for n in 0..1_u16 << (how & 7) {
            let id = (source.u16() ^ n).to_be_bytes();
            let set: &[u8] = match how >> 3 & 3 {
                0 => SPS[usize::from(id[0]) % SPS.len()],
                1 => &[0x68, id[0], id[1], 0xe3, 0x80],
                2 => &[0x67, 0x42, id[0], 0x1e, 0xd9, id[1]],
                _ => PPS,
            };
            data.put_u32(set.len() as u32);
            data.put_slice(set);
        }
        let filler = [0, 10_000, 100_000, 500_000][usize::from(how >> 5 & 3)];
        data.put_u32(filler as u32 + 1);
        data.put_u8(12);
        data.put_bytes(0xff, filler);
        let tag = VideoTag::frame(VideoCodec::H264, false, 0, data.freeze());
        self.send(TagKind::Video, tag.to_body());
    }

    /// The next bytes of a transport stream, from its beginning again behind its end. `how`: something before them is lost, and that
    /// is told; some of them are others.
    fn transport(&mut self, how: u8, source: &mut Source<'_>) {
        if how & 2 != 0 {
            self.transport_at += usize::from(source.u16());
        }
        self.transport_at %= TRANSPORT.len();
        let rest = &TRANSPORT[self.transport_at..];
        let mut data = rest[..rest.len().min(usize::from(source.u16()))].to_vec();
        self.transport_at += data.len();
        for _ in 0..how >> 3 & 7 {
            let (at, value) = (usize::from(source.u16()), source.u8());
            data.get_mut(at).into_iter().for_each(|byte| *byte ^= value);
        }
        let data = Bytes::from(data);
        self.note(&data);
        self.push(Input::Media(Inbound::Ts(Piece { data, lost: how & 1 != 0 })));
    }

    fn send(&mut self, kind: TagKind, data: Bytes) {
        self.note(&data);
        self.push(Input::Media(Inbound::Flv(Tag { kind, timestamp_ms: self.stamp_ms, data })));
        if self.sent.len() - self.checked >= 512 {
            self.look();
        }
    }

    fn note(&mut self, data: &Bytes) {
        self.messages += 1;
        self.bytes += data.len();
        self.sent.push(data.clone());
    }

    fn push(&mut self, input: Input) {
        if let Err(rejected) = self.ingest.push(input, self.now, &mut self.units) {
            assert_tellable(&rejected.to_string());
            self.ingest.push(Input::Disconnected, self.now, &mut self.units).expect("a farewell is not rejected");
        }
    }

    /// Polls at each deadline and never elsewhere.
    fn wait(&mut self, ms: u64) {
        let end = self.now.monotonic + Duration::from_millis(ms);
        while let Some(deadline) = self.ingest.deadline().filter(|deadline| *deadline <= end) {
            self.go_to(deadline.max(self.now.monotonic));
            self.ingest.poll(self.now, &mut self.units);
            let next = self.ingest.deadline();
            assert!(
                next.is_none_or(|next| next > self.now.monotonic),
                "a deadline that polling does not meet: {next:?}"
            );
        }
        self.go_to(end);
    }

    fn go_to(&mut self, monotonic: Duration) {
        self.now.wall = self.now.wall.saturating_add(Span::from_std(monotonic - self.now.monotonic));
        self.now.monotonic = monotonic;
    }

    /// Judges and drops what came out, then counts what is still held.
    fn look(&mut self) {
        self.units.drain(..).for_each(|unit| self.judge.take(&unit));
        if self.sent.len() == self.checked {
            return;
        }
        self.sent.retain(|bytes| !bytes.is_unique());
        self.checked = self.sent.len();
        let held: usize = self.sent.iter().map(Bytes::len).sum();
        assert!(held <= MAX_HELD_BYTES, "{held} bytes are held");
        assert!(self.sent.len() <= MAX_HELD_MESSAGES, "{} messages are held", self.sent.len());
    }

    fn end(&mut self) {
        self.ingest.end(self.now, &mut self.units);
        self.look();
        assert!(self.judge.ended);
        let point = self.ingest.resume_point();
        assert!(
            self.judge.cut.as_ref().is_none_or(|cut| point.next_msn == cut.msn + 1 && point.at > cut.at),
            "{point:?}"
        );
    }
}

/// How many messages of `size` bytes follow each other: 1 to 1024, and of large ones less.
fn burst(exponent: u8, size: usize) -> usize {
    (1_usize << exponent.min(10)).min(1 + (2 << 20) / size)
}

/// The promises of `ingest`, checked unit by unit.
struct Judge {
    cut: Option<Cut>,
    next_msn: u64,
    tracks_allowed: bool,
    gaps_only: bool,
    known: [bool; 2],
    /// A late track, whose cut is next.
    joining: Option<Kind>,
    /// Where each track begins.
    from: [Timestamp; 2],
    last: [Option<Packet>; 2],
    highest_sound: Timestamp,
    floor: Timestamp,
    sound_restarts: bool,
    copy_ended: bool,
    ended: bool,
}

impl Judge {
    fn new(next_msn: u64) -> Self {
        Judge {
            cut: None,
            next_msn,
            tracks_allowed: true,
            gaps_only: true,
            known: [false; 2],
            joining: None,
            from: [Timestamp::ZERO; 2],
            last: [None, None],
            highest_sound: Timestamp::ZERO,
            floor: Timestamp::ZERO,
            sound_restarts: true,
            copy_ended: false,
            ended: false,
        }
    }

    fn take(&mut self, unit: &Unit) {
        assert!(!self.ended, "something behind the end");
        assert!(self.joining.is_none() || matches!(unit, Unit::Cut(_)), "{unit:?} between a late track and its cut");
        match unit {
            Unit::End => self.ended = true,
            Unit::Track(track) => {
                let late = !std::mem::replace(&mut self.known[track.kind() as usize], true);
                assert!(self.tracks_allowed || late, "a track where none may be: {track:?}");
                self.joining = (!self.tracks_allowed).then_some(track.kind());
            }
            Unit::Cut(cut) => self.cut(cut),
            Unit::Packet(packet) => self.packet(packet),
        }
    }

    fn cut(&mut self, cut: &Cut) {
        assert_eq!(cut.msn, self.next_msn);
        if let Some(last) = &self.cut {
            assert!(cut.at > last.at && cut.wall >= last.wall, "{last:?} then {cut:?}");
        }
        assert!(cut.at > self.highest_sound, "sound ran ahead of {cut:?}");
        assert!(!cut.copy_ends || (cut.discontinuity && !self.copy_ended), "{cut:?}");
        self.copy_ended |= cut.copy_ends;
        if cut.discontinuity {
            (self.floor, self.sound_restarts) = (cut.at, true);
        }
        if let Some(kind) = self.joining.take() {
            self.from[kind as usize] = cut.at;
        }
        self.next_msn += 1;
        self.gaps_only &= matches!(cut.kind, CutKind::Gap { .. });
        self.tracks_allowed = cut.discontinuity || self.gaps_only;
        self.cut = Some(cut.clone());
    }

    fn packet(&mut self, packet: &Packet) {
        self.tracks_allowed = false;
        let kind = packet.kind as usize;
        assert!(self.cut.is_some() && self.known[kind], "a packet before its cut or track: {packet:?}");
        assert!(packet.pts >= self.from[kind], "{packet:?} lies before its track");
        assert!(packet.pts >= self.floor, "{packet:?} lies before the discontinuity at {}", self.floor);
        assert!(packet.pts >= packet.dts && packet.dts >= Timestamp::ZERO, "{packet:?}");
        if let Some(last) = &self.last[kind] {
            assert!(packet.dts > last.dts, "{last:?} then {packet:?}");
        }
        if packet.kind == Kind::Audio {
            assert!(packet.keyframe && packet.dts == packet.pts && packet.duration.is_positive(), "{packet:?}");
            if let Some(last) = &self.last[kind] {
                let end = last.pts + last.duration;
                let restarts = std::mem::take(&mut self.sound_restarts);
                assert!(if restarts { packet.pts >= end } else { packet.pts == end }, "{last:?} then {packet:?}");
            }
            self.highest_sound = self.highest_sound.max(packet.pts);
        }
        // Without its bytes, which would count as held.
        self.last[kind] = Some(Packet { data: Bytes::new(), ..packet.clone() });
    }
}
