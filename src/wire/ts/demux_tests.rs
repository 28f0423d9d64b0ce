//! Transport streams made by hand: tables that change, loss, odd packets.

use std::collections::HashMap;

use bytes::Bytes;

use super::*;
use crate::media::{AudioCodec, Kind, VideoCodec};
use crate::wire::ts::section::crc;
use crate::wire::ts::{Ignored, TsError, Unit};

const PMT: Pid = 0x1000;
const VIDEO: Pid = 0x100;
const AUDIO: Pid = 0x101;

/// Writes a transport stream.
#[derive(Default)]
struct Mux {
    counters: HashMap<Pid, u8>,
    bytes: Vec<u8>,
}

impl Mux {
    /// One packet with this adaptation field (behind its length) and as much of the payload as fits; returns the rest.
    fn packet<'a>(&mut self, pid: Pid, start: bool, field: Option<&[u8]>, payload: &'a [u8]) -> &'a [u8] {
        let counter = self.counters.entry(pid).or_insert(15);
        *counter = (*counter + u8::from(!payload.is_empty())) & 15;
        let mut field = field.map(<[u8]>::to_vec);
        let room = 184 - field.as_ref().map_or(0, |field| field.len() + 1);
        let (payload, rest) = payload.split_at(payload.len().min(room));
        if payload.len() < room {
            let missing = room - payload.len();
            field = Some(match field {
                None if missing == 1 => vec![],
                None => [&[0][..], &vec![0xff; missing - 2]].concat(),
                Some(field) => [field, vec![0xff; missing]].concat(),
            });
        }
        let control = u8::from(field.is_some()) << 1 | u8::from(!payload.is_empty());
        let [high, low] = (pid | u16::from(start) << 14).to_be_bytes();
        self.bytes.extend([0x47, high, low, control << 4 | *counter]);
        if let Some(field) = field {
            self.bytes.push(field.len() as u8);
            self.bytes.extend(field);
        }
        self.bytes.extend(payload);
        rest
    }

    fn section(&mut self, pid: Pid, head: &[u8], body: &[u8]) {
        let length = head.len() - 1 + body.len() + 4; // behind the length itself, with the checksum
        let mut section = vec![head[0], 0xb0 | (length >> 8) as u8, length as u8];
        section.extend(&head[1..]);
        section.extend(body);
        section.extend(crc(&section).to_be_bytes());
        let payload = [&[0], &section[..]].concat();
        let mut rest = self.packet(pid, true, None, &payload);
        while !rest.is_empty() {
            rest = self.packet(pid, false, None, rest);
        }
    }

    /// A PAT of these programs.
    fn pat(&mut self, programs: &[(u16, Pid)]) {
        let body: Vec<u8> = programs
            .iter()
            .flat_map(|(number, pid)| [number.to_be_bytes(), (pid | 0xe000).to_be_bytes()].concat())
            .collect();
        self.section(0, &[0, 0, 1, 0xc1, 0, 0], &body);
    }

    /// A PMT of streams: type, PID, descriptors.
    fn pmt(&mut self, pid: Pid, program: u16, streams: &[(u8, Pid, &[u8])]) {
        let [high, low] = program.to_be_bytes();
        let mut body = vec![0xe1, 0, 0xf0, 0];
        for (stream_type, pid, descriptors) in streams {
            body.push(*stream_type);
            body.extend((pid | 0xe000).to_be_bytes());
            body.extend((descriptors.len() as u16 | 0xf000).to_be_bytes());
            body.extend(*descriptors);
        }
        self.section(pid, &[2, high, low, 0xc1, 0, 0], &body);
    }

    /// One program of H.264 and AAC.
    fn tables(&mut self) {
        self.pat(&[(1, PMT)]);
        self.pmt(PMT, 1, &[(0x1b, VIDEO, &[]), (0x0f, AUDIO, &[])]);
    }

    /// A PES packet: without a length for video.
    fn pes(&mut self, pid: Pid, pts: u64, payload: &[u8]) {
        self.pes_behind(pid, pts, payload, None);
    }

    fn pes_behind(&mut self, pid: Pid, pts: u64, payload: &[u8], field: Option<&[u8]>) {
        let is_video = pid == VIDEO;
        let length = if is_video { 0 } else { payload.len() as u16 + 8 };
        let [high, low] = length.to_be_bytes();
        let mut pes = vec![0, 0, 1, if is_video { 0xe0 } else { 0xc0 }, high, low, 0x80, 0x80, 5];
        pes.extend([
            0x21 | (pts >> 29) as u8 & 0xe,
            (pts >> 22) as u8,
            (pts >> 14) as u8 | 1,
            (pts >> 7) as u8,
            (pts << 1) as u8 | 1,
        ]);
        pes.extend(payload);
        let mut rest = self.packet(pid, true, field, &pes);
        while !rest.is_empty() {
            rest = self.packet(pid, false, None, rest);
        }
    }

    /// Null packets, so that there are enough to find the first one.
    fn fill(&mut self) {
        for _ in 0..5 {
            self.packet(NULL_PID, false, None, &[0xff; 184]);
        }
    }

    /// The number of packets so far.
    fn packets(&self) -> usize {
        self.bytes.len() / PACKET_BYTES
    }

    /// Takes the packet of this number out.
    fn lose(&mut self, number: usize) {
        self.bytes.drain(number * PACKET_BYTES..(number + 1) * PACKET_BYTES);
    }

    fn demuxed(&self) -> (Vec<Event>, Counts) {
        let mut demuxer = Demuxer::default();
        let events = push_all(&mut demuxer, &self.bytes);
        (events, demuxer.counts())
    }

    fn units(&self) -> Vec<Unit> {
        units(&self.demuxed().0)
    }
}

fn push_all(demuxer: &mut Demuxer, bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    demuxer.push(&Piece { data: Bytes::copy_from_slice(bytes), lost: false }, &mut events);
    demuxer.finish(&mut events);
    events
}

fn units(events: &[Event]) -> Vec<Unit> {
    events.iter().filter_map(|event| if let Event::Unit(unit) = event { Some(unit.clone()) } else { None }).collect()
}

fn streams(events: &[Event]) -> Vec<Streams> {
    events
        .iter()
        .filter_map(|event| if let Event::Streams(streams) = event { Some(streams.clone()) } else { None })
        .collect()
}

fn refusals(events: &[Event]) -> Vec<TsError> {
    events
        .iter()
        .filter_map(|event| if let Event::Refused(error) = event { Some(error.clone()) } else { None })
        .collect()
}

fn picture(pts: u64, data: &[u8]) -> Unit {
    Unit {
        kind: Kind::Video,
        pts: Some(pts),
        dts: None,
        samples_after: 0,
        random_access: false,
        lost_before: false,
        jump_before: false,
        data: Bytes::copy_from_slice(data),
    }
}

/// A frame of ADTS, LC 48 kHz stereo, with `length` bytes of `fill` inside.
fn adts(length: usize, fill: u8) -> Vec<u8> {
    let whole = length + 7;
    let mut frame =
        vec![0xff, 0xf1, 0x4c, 0x80 | (whole >> 11) as u8, (whole >> 3) as u8, (whole << 5) as u8 | 0x1f, 0xfc];
    frame.resize(whole, fill);
    frame
}

fn sound(pts: u64, samples_after: u64, length: usize, fill: u8) -> Unit {
    Unit { kind: Kind::Audio, samples_after, random_access: true, ..picture(pts, &vec![fill; length]) }
}

#[test]
fn nothing_before_the_tables() {
    let mut mux = Mux::default();
    mux.pes(VIDEO, 1_000, &[1; 500]);
    mux.packet(VIDEO, true, None, &[0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0, 1]);
    mux.tables();
    mux.packet(VIDEO, false, None, &[2; 100]); // of a PES packet that began before
    mux.pes(VIDEO, 4_000, &[3; 500]);
    mux.pes(AUDIO, 4_000, &adts(40, 9));
    mux.pes(VIDEO, 7_000, &[4; 500]);
    let (events, counts) = mux.demuxed();
    let expected = Streams {
        program: 1,
        video: Some((VIDEO, VideoCodec::H264)),
        audio: Some((AUDIO, AudioCodec::Aac)),
        ignored: vec![],
    };
    assert_eq!(events[0], Event::Streams(expected));
    assert!(
        matches!(&events[1], Event::AudioConfig(track) if track.codecs == "mp4a.40.2" && track.sample_rate == 48_000)
    );
    let expected = [sound(4_000, 0, 40, 9), picture(4_000, &[3; 500]), picture(7_000, &[4; 500])];
    assert_eq!(units(&events), expected, "what came last has a filled up packet and is whole");
    assert_eq!(counts, Counts { packets: mux.packets() as u64, ..Counts::default() });
}

#[test]
fn every_lost_packet_is_told() {
    let mut mux = Mux::default();
    mux.tables();
    for index in 0..4 {
        mux.pes(VIDEO, 3_000 * index, &[index as u8; 400]);
        mux.pes(AUDIO, 3_000 * index, &[adts(150, index as u8), adts(150, index as u8)].concat());
    }
    let whole = mux.units();
    // the second picture's packets lie behind two tables, three packets of video and two of sound
    for number in 7..10 {
        let mut lossy = Mux { bytes: mux.bytes.clone(), ..Mux::default() };
        lossy.lose(number);
        let (events, counts) = lossy.demuxed();
        let lost_first = if number == 7 { 1 } else { 0 };
        assert_eq!((counts.lost_packets, counts.damaged_pes), (1, 1), "packet {number}");
        let left: Vec<_> = whole.iter().filter(|unit| unit.kind == Kind::Video).cloned().collect();
        // Without its start, it is the picture before whose end is not known; without another, it is itself.
        let mut expected = [&left[..1 - lost_first], &left[2..]].concat();
        expected[1 - lost_first].lost_before = true;
        let pictures: Vec<_> = units(&events).into_iter().filter(|unit| unit.kind == Kind::Video).collect();
        assert_eq!(pictures, expected, "packet {number}");
    }
    // the second packet of sound has the end of the first frame, and all of the second
    let mut lossy = Mux { bytes: mux.bytes.clone(), ..Mux::default() };
    lossy.lose(6);
    let sounds: Vec<_> = lossy.units().into_iter().filter(|unit| unit.kind == Kind::Audio).collect();
    let mut expected: Vec<_> = whole.into_iter().filter(|unit| unit.kind == Kind::Audio).skip(1).collect();
    expected[0] = sound(0, 0, 150, 0);
    expected[1].lost_before = true;
    assert_eq!(sounds, expected);
}

#[test]
fn a_lost_piece_harms_what_has_begun() {
    let mut mux = Mux::default();
    mux.tables();
    mux.pes(VIDEO, 0, &[1; 400]);
    mux.pes(AUDIO, 0, &adts(100, 7));
    mux.pes(VIDEO, 3_000, &[2; 400]);
    mux.fill();
    let cut = mux.bytes.len();
    // sixteen packets that no counter misses
    for _ in 0..16 {
        mux.packet(VIDEO, false, None, &[3; 184]);
    }
    let behind = mux.bytes.len();
    mux.pes(VIDEO, 6_000, &[4; 400]);
    mux.pes(AUDIO, 6_000, &adts(100, 8));
    mux.fill();
    let (mut demuxer, mut events) = (Demuxer::default(), Vec::new());
    demuxer.push(&Piece { data: Bytes::copy_from_slice(&mux.bytes[..cut]), lost: false }, &mut events);
    demuxer.push(&Piece { data: Bytes::copy_from_slice(&mux.bytes[behind..]), lost: true }, &mut events);
    demuxer.finish(&mut events);
    let marked = |unit: Unit| Unit { lost_before: true, ..unit };
    let expected = [
        sound(0, 0, 100, 7),
        picture(0, &[1; 400]),
        marked(sound(6_000, 0, 100, 8)),
        marked(picture(6_000, &[4; 400])),
    ];
    assert_eq!(units(&events), expected);
    let counts = demuxer.counts();
    assert_eq!((counts.lost_pieces, counts.resyncs, counts.lost_packets, counts.damaged_pes), (1, 1, 0, 1));
}

#[test]
fn repeated_and_empty_packets_are_no_loss() {
    let mut mux = Mux::default();
    mux.tables();
    for pts in [0, 3_000] {
        mux.pes(VIDEO, pts, &[pts as u8; 900]);
        mux.packet(VIDEO, false, Some(&[0]), &[]); // an adaptation field alone
        mux.pes(AUDIO, pts, &adts(30, pts as u8));
    }
    let expected = mux.units();
    assert_eq!(expected.len(), 4);
    let mut twice = Mux::default();
    twice.bytes.extend(mux.bytes.chunks(PACKET_BYTES).flat_map(|packet| [packet, packet].concat()));
    let (events, counts) = twice.demuxed();
    assert_eq!((units(&events), counts.lost_packets, counts.damaged_pes), (expected, 0, 0));
}

#[test]
fn a_counter_that_stands_still_with_other_bytes_is_a_loss() {
    let mut mux = Mux::default();
    mux.tables();
    mux.pes(VIDEO, 0, &[1; 400]);
    let start = mux.packets();
    for index in 0..20u8 {
        mux.packet(VIDEO, false, None, &[index; 184]);
    }
    mux.pes(VIDEO, 3_000, &[2; 400]);
    (0..15).for_each(|_| mux.lose(start));
    let (events, counts) = mux.demuxed();
    assert_eq!(units(&events), [Unit { lost_before: true, ..picture(3_000, &[2; 400]) }]);
    assert_eq!(counts.lost_packets, 15);
}

#[test]
fn a_signalled_discontinuity_is_no_damage() {
    let mut mux = Mux::default();
    mux.tables();
    mux.pes(VIDEO, 90_000, &[1; 400]);
    mux.pes(AUDIO, 90_000, &adts(50, 1));
    mux.counters.insert(VIDEO, 3);
    // discontinuity, random access and a PCR of 1 s
    let pcr = [0xd0, 0, 0, 0xaf, 0xc8, 0x7e, 0];
    mux.pes_behind(VIDEO, 5, &[2; 400], Some(&pcr));
    mux.pes(AUDIO, 5, &adts(50, 2));
    mux.pes(VIDEO, 3_005, &[3; 400]);
    mux.fill();
    let mut demuxer = Demuxer::default();
    let events = push_all(&mut demuxer, &mux.bytes);
    let expected = [
        sound(90_000, 0, 50, 1),
        picture(90_000, &[1; 400]),
        Unit { jump_before: true, ..sound(5, 0, 50, 2) },
        Unit { jump_before: true, random_access: true, ..picture(5, &[2; 400]) },
        picture(3_005, &[3; 400]),
    ];
    assert_eq!(units(&events), expected);
    assert_eq!((demuxer.counts().lost_packets, demuxer.counts().damaged_pes), (0, 0));
    assert_eq!(demuxer.clock_reference(), Some(27_000_000));
}

#[test]
fn stamps_of_33_bits_pass_through() {
    let mut mux = Mux::default();
    mux.tables();
    let last = (1 << 33) - 1;
    mux.pes(VIDEO, last, &[1; 10]);
    mux.pes(VIDEO, 2_999, &[2; 10]);
    assert_eq!(mux.units(), [picture(last, &[1; 10]), picture(2_999, &[2; 10])]);
}

#[test]
fn streams_move_and_change() {
    let mut mux = Mux::default();
    mux.tables();
    mux.pes(VIDEO, 0, &[1; 100]);
    mux.tables(); // as they were: nothing is told
    mux.pes(VIDEO, 3_000, &[2; 100]);
    mux.pmt(PMT, 1, &[(0x0f, AUDIO, &[]), (0x24, 0x200, &[]), (0x1b, VIDEO, &[])]);
    mux.pes(VIDEO, 6_000, &[3; 100]);
    mux.pmt(PMT, 1, &[(0x0f, AUDIO, &[]), (0x24, 0x200, &[])]);
    mux.pes(0x200, 9_000, &[4; 100]);
    // another PID for the PMT, another program number
    mux.pat(&[(1, 0x1001)]);
    mux.pmt(0x1001, 1, &[(0x0f, AUDIO, &[]), (0x24, 0x200, &[])]);
    mux.pes(0x200, 12_000, &[5; 100]);
    mux.pat(&[(2, 0x1001)]);
    mux.pmt(0x1001, 2, &[(0x24, 0x200, &[])]);
    mux.pes(0x200, 15_000, &[6; 100]);
    let (events, counts) = mux.demuxed();
    let audio = Some((AUDIO, AudioCodec::Aac));
    let second = Ignored { pid: 0x200, stream_type: 0x24, name: "HEVC" };
    let (h264, hevc) = (Some((VIDEO, VideoCodec::H264)), Some((0x200, VideoCodec::Hevc)));
    let expected = [
        Streams { program: 1, video: h264, audio, ignored: vec![] },
        Streams { program: 1, video: h264, audio, ignored: vec![second] },
        Streams { program: 1, video: hevc, audio, ignored: vec![] },
        Streams { program: 2, video: hevc, audio: None, ignored: vec![] },
    ];
    assert_eq!(streams(&events), expected);
    let all: Vec<_> = (0..6u8).map(|index| picture(3_000 * u64::from(index), &[index + 1; 100])).collect();
    assert_eq!((units(&events), counts.damaged_pes), (all, 0));
}

/// Three programs: sound alone, video and sound, video; the last one's table comes late.
fn multiplex() -> Mux {
    let mut mux = Mux::default();
    for _ in 0..6 {
        mux.pat(&[(0, 0x10), (5, 0x1005), (6, 0x1006), (7, 0x1007)]);
        mux.pmt(0x1005, 5, &[(0x0f, 0x500, &[])]);
        mux.pmt(0x1006, 6, &[(0x03, 0x601, &[]), (0x1b, 0x600, &[]), (0x86, 0x602, &[]), (0x06, 0x603, &[0x56, 0])]);
    }
    mux.pmt(0x1007, 7, &[(0x1b, 0x700, &[])]);
    mux
}

#[test]
fn the_first_program_with_video_is_taken_or_the_one_asked_for() {
    let mux = multiplex();
    let chosen = |choice| streams(&push_all(&mut Demuxer::new(choice, Limits::default()), &mux.bytes));
    let ignored = [(0x602, 0x86, "SCTE-35 cues"), (0x603, 0x06, "teletext")];
    let first = Streams {
        program: 6,
        video: Some((0x600, VideoCodec::H264)),
        audio: Some((0x601, AudioCodec::MpegAudio)),
        ignored: ignored.map(|(pid, stream_type, name)| Ignored { pid, stream_type, name }).to_vec(),
    };
    assert_eq!(chosen(ProgramChoice::FirstWithVideo), [first], "the last program is not waited for");
    let seventh = Streams { program: 7, video: Some((0x700, VideoCodec::H264)), audio: None, ignored: vec![] };
    assert_eq!(chosen(ProgramChoice::Number(7)), [seventh]);
    let events = push_all(&mut Demuxer::new(ProgramChoice::Number(8), Limits::default()), &mux.bytes);
    assert_eq!(events, [Event::Refused(TsError::NoProgram(8))]);
}

#[test]
fn a_program_without_what_is_taken_is_named() {
    let mut mux = Mux::default();
    mux.pat(&[(1, PMT)]);
    mux.pmt(PMT, 1, &[(0x02, VIDEO, &[])]);
    mux.fill();
    let ignored = vec![Ignored { pid: VIDEO, stream_type: 2, name: "MPEG-2 video" }];
    assert_eq!(streams(&mux.demuxed().0), [Streams { program: 1, video: None, audio: None, ignored }]);
}

#[test]
fn scrambled_packets_are_counted_and_told() {
    let mut mux = Mux::default();
    mux.tables();
    mux.pes(VIDEO, 0, &[1; 100]);
    let scrambled = mux.packets();
    mux.pes(VIDEO, 3_000, &[2; 300]);
    mux.pes(VIDEO, 6_000, &[3; 100]);
    for number in [scrambled, scrambled + 1] {
        mux.bytes[number * PACKET_BYTES + 3] |= 0x80;
    }
    let (events, counts) = mux.demuxed();
    assert_eq!(refusals(&events), [TsError::Scrambled(VIDEO)]);
    assert_eq!(units(&events), [Unit { lost_before: true, ..picture(6_000, &[3; 100]) }]);
    assert_eq!((counts.scrambled_packets, counts.lost_packets), (2, 0));
}

#[test]
fn damaged_packets_are_losses() {
    let mut mux = Mux::default();
    mux.tables();
    mux.pes(VIDEO, 0, &[1; 400]);
    mux.pes(VIDEO, 3_000, &[2; 400]);
    mux.bytes[3 * PACKET_BYTES + 1] |= 0x80;
    let (events, counts) = mux.demuxed();
    assert_eq!(units(&events), [Unit { lost_before: true, ..picture(3_000, &[2; 400]) }]);
    assert_eq!((counts.damaged_packets, counts.lost_packets, counts.damaged_pes), (1, 1, 1));
}

#[test]
fn a_pes_packet_beyond_the_limit_is_dropped() {
    let mut mux = Mux::default();
    mux.tables();
    mux.pes(VIDEO, 0, &[1; 5_000]);
    mux.pes(VIDEO, 3_000, &[2; 400]);
    let mut demuxer = Demuxer::new(ProgramChoice::default(), Limits { pes_bytes: 4_000 });
    let events = push_all(&mut demuxer, &mux.bytes);
    assert_eq!(units(&events), [Unit { lost_before: true, ..picture(3_000, &[2; 400]) }]);
    assert_eq!(demuxer.counts().damaged_pes, 1);
}

#[test]
fn frames_are_counted_from_their_stamp_and_joined_over_pes_packets() {
    let mut mux = Mux::default();
    mux.tables();
    let frames = [adts(300, 1), adts(310, 2), adts(320, 3), adts(330, 4)].concat();
    // The first stamp is for the first frame; the second for the third, which is the first to begin in its packet.
    mux.pes(AUDIO, 10_000, &frames[..500]);
    mux.pes(AUDIO, 90_000, &frames[500..]);
    let expected = [
        sound(10_000, 0, 300, 1),
        sound(10_000, 1_024, 310, 2),
        sound(90_000, 0, 320, 3),
        sound(90_000, 1_024, 330, 4),
    ];
    assert_eq!(mux.units(), expected);
}

#[test]
fn behind_a_loss_frames_are_found_again() {
    let mut mux = Mux::default();
    mux.tables();
    // What looks like a header inside of a frame is none: no other follows it.
    let mut odd = adts(400, 2);
    odd[100..107].copy_from_slice(&adts(50, 0)[..7]);
    let frames = [adts(300, 1), odd.clone(), adts(320, 3), adts(330, 4)].concat();
    mux.pes(AUDIO, 10_000, &frames[350..]);
    assert_eq!(mux.units(), [sound(10_000, 0, 320, 3), sound(10_000, 1_024, 330, 4)]);
}

#[test]
fn bytes_between_frames_are_told() {
    let mut mux = Mux::default();
    mux.tables();
    mux.pes(AUDIO, 0, &[adts(60, 1), adts(60, 2), vec![0; 9], adts(60, 3), adts(60, 4)].concat());
    let (events, counts) = mux.demuxed();
    let behind = Unit { lost_before: true, ..sound(0, 2_048, 60, 3) };
    assert_eq!(units(&events), [sound(0, 0, 60, 1), sound(0, 1_024, 60, 2), behind, sound(0, 3_072, 60, 4)]);
    assert_eq!(counts.damaged_frames, 1);
}

#[test]
fn sound_that_is_not_taken_is_refused_once() {
    let mut mux = Mux::default();
    mux.tables();
    let mut main = adts(60, 1);
    main[2] &= 0x3f; // AAC Main
    let mut blocks = adts(60, 1);
    blocks[6] |= 1;
    for pts in 0..3 {
        mux.pes(AUDIO, pts, &main);
        mux.pes(AUDIO, pts, &blocks);
    }
    mux.pes(AUDIO, 9, &adts(60, 2));
    let (events, _) = mux.demuxed();
    let texts: Vec<_> = refusals(&events).iter().map(TsError::to_string).collect();
    let expected = [
        "AAC audio object type 1 is not supported: set the encoder to AAC-LC",
        "ADTS frames of 2 blocks are not supported: set the encoder to one block per frame",
    ];
    assert_eq!(texts, expected);
    assert_eq!(units(&events), [sound(9, 0, 60, 2)]);
}

/// 256 bytes of E-AC-3 with six blocks: an independent or a dependent substream.
fn enhanced(dependent: bool, fill: u8) -> Vec<u8> {
    let mut frame = vec![0x0b, 0x77, u8::from(dependent) << 6, 0x7f, 0x34, 0x80];
    frame.resize(256, fill);
    frame
}

#[test]
fn dependent_substreams_belong_to_their_frame() {
    let mut mux = Mux::default();
    mux.pat(&[(1, PMT)]);
    mux.pmt(PMT, 1, &[(0x87, AUDIO, &[])]);
    let (independent, dependent) = (enhanced(false, 1), enhanced(true, 2));
    mux.pes(AUDIO, 0, &[&independent[..], &dependent, &independent, &dependent].concat());
    mux.pes(AUDIO, 5_760, &[&independent[..], &dependent].concat());
    let (events, _) = mux.demuxed();
    let whole = [independent, dependent].concat();
    let expected = [(0, 0), (0, 1_536), (5_760, 0)].map(|(pts, samples_after)| Unit {
        kind: Kind::Audio,
        samples_after,
        random_access: true,
        ..picture(pts, &whole)
    });
    assert_eq!(units(&events), expected);
    assert!(matches!(&events[1], Event::AudioConfig(track) if track.codecs == "ec-3" && track.channels == 2));
}

#[test]
fn several_packets_of_opus_in_one_pes_packet() {
    let mut mux = Mux::default();
    mux.pat(&[(1, PMT)]);
    mux.pmt(PMT, 1, &[(0x06, AUDIO, b"\x05\x04Opus\x7f\x02\x80\x02")]);
    let unit = |fill: u8| [&[0x7f, 0xe0, 3, 0xfc][..], &[fill; 2]].concat();
    mux.pes(AUDIO, 900, &[unit(1), unit(2)].concat());
    let (events, _) = mux.demuxed();
    let packet = |samples_after, data: &[u8]| Unit {
        kind: Kind::Audio,
        samples_after,
        random_access: true,
        ..picture(900, data)
    };
    assert_eq!(units(&events), [packet(0, &[0xfc, 1, 1]), packet(960, &[0xfc, 2, 2])]);
    assert!(
        matches!(&events[1], Event::AudioConfig(track) if track.config.starts_with(b"OpusHead") && track.channels == 2)
    );
}

#[test]
fn what_is_no_transport_stream_is_told() {
    let noise: Vec<u8> = (0..100_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 & 0x3f).collect();
    let events = push_all(&mut Demuxer::default(), &noise);
    let text = "no MPEG transport stream in the first 65536 bytes: set the encoder's container to MPEG-TS";
    assert_eq!(refusals(&events).iter().map(TsError::to_string).collect::<Vec<_>>(), [text]);
}
