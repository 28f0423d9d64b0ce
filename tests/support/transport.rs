//! The tags of a source as an MPEG transport stream (ISO/IEC 13818-1), so that whatever a test sends over RTMP can be sent over SRT.
//!
//! One program, named ten times a second: H.264 in Annex B with its parameter sets before each keyframe, AAC in ADTS, a PES packet for each
//! picture and for each frame of sound. Stamps are those of the tags, on a clock of 90 kHz that wraps at 33 bits.

#![allow(dead_code)] // each test crate uses its part

use super::flv::{Kind, Tag, parameter_sets};

/// Bytes of a transport packet.
pub const PACKET_BYTES: usize = 188;
/// Behind sync byte, PID and counter.
const PAYLOAD_BYTES: usize = PACKET_BYTES - 4;
const PAT_PID: u16 = 0;
const PMT_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;
const STUFFING_PID: u16 = 0x1fff;
const PICTURES: u8 = 0xe0;
const SOUND: u8 = 0xc0;
/// The clock is so far behind decoding, in 90 kHz: what a decoder may buffer.
const BUFFERED: u64 = 45_000;
/// PTS, DTS and the base of PCR are modulo this.
const WRAP: u64 = 1 << 33;
/// Milliseconds in which no timestamp of RTMP wraps at 33 bits of 90 kHz.
pub const WRAP_MS: i64 = (WRAP / 90) as i64;
/// PAT and PMT come so often, and before each keyframe.
const TABLES_EVERY_MS: u64 = 100;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Makes transport packets of tags.
#[derive(Debug, Default)]
pub struct Multiplexer {
    /// Next continuity counter of PAT, PMT, pictures and sound.
    counters: [u8; 4],
    /// When PAT and PMT are due.
    tables_due_ms: u64,
    /// With start codes.
    parameter_sets: Vec<u8>,
    /// ADTS header with a length of 0.
    adts: [u8; 7],
}

impl Multiplexer {
    /// Appends what the tag becomes: nothing for configurations, which stand where they are needed.
    pub fn put(&mut self, tag: &Tag, out: &mut Vec<u8>) {
        if tag.is_config() {
            return self.configure(tag);
        }
        if tag.is_keyframe() || tag.due_ms >= self.tables_due_ms {
            self.tables_due_ms = tag.due_ms + TABLES_EVERY_MS;
            self.tables(out);
        }
        if tag.is_picture() {
            self.picture(tag, out);
        } else if tag.is_sound() {
            self.sound(tag, out);
        }
    }

    fn configure(&mut self, tag: &Tag) {
        if tag.kind == Kind::Video {
            self.parameter_sets = annex_b(&parameter_sets(&tag.body[5..]));
            return;
        }
        // AudioSpecificConfig: 5 bits of object type, 4 of frequency, 4 of channels.
        let [high, low] = [tag.body[2], tag.body[3]];
        let (object, frequency, channels) = (high >> 3, (high & 7) << 1 | low >> 7, low >> 3 & 15);
        let fourth = (channels & 3) << 6;
        self.adts = [0xff, 0xf1, (object - 1) << 6 | frequency << 2 | channels >> 2, fourth, 0, 0x1f, 0xfc];
    }

    fn picture(&mut self, tag: &Tag, out: &mut Vec<u8>) {
        let dts = ticks(i64::from(tag.stamp_ms));
        let pts = ticks(i64::from(tag.stamp_ms) + i64::from(tag.composition_ms()));
        let mut pes = pes_header(PICTURES, 0, pts, Some(dts));
        pes.extend(START_CODE);
        pes.extend([9, 0xf0]); // access unit delimiter
        if tag.is_keyframe() {
            pes.extend(&self.parameter_sets);
        }
        pes.extend(annex_b(&tag.body[5..]));
        let clock = (dts + WRAP - BUFFERED) % WRAP;
        self.packets(VIDEO_PID, &pes, Some((clock, tag.is_keyframe())), out);
    }

    fn sound(&mut self, tag: &Tag, out: &mut Vec<u8>) {
        let frame = &tag.body[2..];
        let length = frame.len() + self.adts.len();
        let mut adts = self.adts;
        adts[3] |= (length >> 11) as u8;
        adts[4] = (length >> 3) as u8;
        adts[5] |= (length << 5) as u8;
        let mut pes = pes_header(SOUND, length, ticks(i64::from(tag.stamp_ms)), None);
        pes.extend(adts);
        pes.extend(frame);
        self.packets(AUDIO_PID, &pes, None, out);
    }

    /// PAT and PMT.
    fn tables(&mut self, out: &mut Vec<u8>) {
        let [pmt, video, audio] = [PMT_PID, VIDEO_PID, AUDIO_PID].map(|pid| (0xe000 | pid).to_be_bytes());
        self.section(PAT_PID, 0, &[&[0, 1][..], &pmt].concat(), out);
        let streams = [&[0x1b][..], &video, &[0xf0, 0, 0x0f], &audio, &[0xf0, 0]].concat();
        self.section(PMT_PID, 2, &[&video[..], &[0xf0, 0], &streams].concat(), out);
    }

    fn section(&mut self, pid: u16, table: u8, body: &[u8], out: &mut Vec<u8>) {
        let length = (5 + body.len() + 4) as u8;
        let mut section = [&[table, 0xb0, length, 0, 1, 0xc1, 0, 0], body].concat();
        section.extend(crc32(&section).to_be_bytes());
        let mut payload = vec![0];
        payload.extend(section);
        payload.resize(PAYLOAD_BYTES, 0xff);
        self.packets(pid, &payload, None, out);
    }

    /// `unit` in transport packets. `clock`: PCR, and whether decoding can begin here.
    fn packets(&mut self, pid: u16, unit: &[u8], mut clock: Option<(u64, bool)>, out: &mut Vec<u8>) {
        let mut rest = unit;
        while !rest.is_empty() {
            let begins = rest.len() == unit.len();
            // The adaptation field behind its length.
            let mut field = clock.take().map(|(base, random_access)| {
                let mut field = vec![0x10 | u8::from(random_access) << 6];
                field.extend(&(base << 31).to_be_bytes()[..4]);
                field.extend([(base << 7) as u8 & 0x80 | 0x7e, 0]);
                field
            });
            let taken = field.as_ref().map_or(0, |field| 1 + field.len());
            let spare = (PAYLOAD_BYTES - taken).saturating_sub(rest.len());
            if spare > 0 {
                let field = field.get_or_insert_default();
                if taken == 0 && spare > 1 {
                    field.push(0); // no flags
                }
                field.resize(taken + spare - 1, 0xff);
            }
            let room = PAYLOAD_BYTES - field.as_ref().map_or(0, |field| 1 + field.len());
            let (now, later) = rest.split_at(room.min(rest.len()));
            let [high, low] = pid.to_be_bytes();
            let control = if field.is_some() { 0x30 } else { 0x10 };
            out.extend([0x47, high | u8::from(begins) << 6, low, control | self.count(pid)]);
            if let Some(field) = field {
                out.push(field.len() as u8);
                out.extend(field);
            }
            out.extend(now);
            rest = later;
        }
    }

    fn count(&mut self, pid: u16) -> u8 {
        let index = [PAT_PID, PMT_PID, VIDEO_PID, AUDIO_PID].iter().position(|one| *one == pid);
        let counter = &mut self.counters[index.expect("a PID of ours")];
        *counter = (*counter + 1) & 15;
        *counter
    }
}

/// Fills `stream` up with null packets to a multiple of `bytes`, which is one of [`PACKET_BYTES`].
pub fn fill_up(stream: &mut Vec<u8>, bytes: usize) {
    while !stream.len().is_multiple_of(bytes) {
        stream.extend(null_packet());
    }
}

/// A packet that holds nothing.
pub fn null_packet() -> [u8; PACKET_BYTES] {
    let [high, low] = STUFFING_PID.to_be_bytes();
    let mut packet = [0xff; PACKET_BYTES];
    packet[..4].copy_from_slice(&[0x47, high, low, 0x10]);
    packet
}

fn ticks(ms: i64) -> u64 {
    (ms * 90).rem_euclid(WRAP as i64) as u64
}

/// A PES packet's header, for a payload of `length` bytes; 0 leaves it open.
fn pes_header(stream: u8, length: usize, pts: u64, dts: Option<u64>) -> Vec<u8> {
    let stamps = if dts.is_some() { 10 } else { 5 };
    let length = if length == 0 { 0 } else { (3 + stamps + length) as u16 }.to_be_bytes();
    let flags = if dts.is_some() { 0xc0 } else { 0x80 };
    let mut header = vec![0, 0, 1, stream, length[0], length[1], 0x80, flags, stamps as u8];
    header.extend(stamp(if dts.is_some() { 3 } else { 2 }, pts));
    header.extend(dts.into_iter().flat_map(|dts| stamp(1, dts)));
    header
}

/// 33 bits in three parts, each before a marker bit.
fn stamp(prefix: u8, ticks: u64) -> [u8; 5] {
    let byte = |shift: u32| (ticks >> shift) as u8;
    [prefix << 4 | byte(29) & 0xe | 1, byte(22), byte(14) | 1, byte(7), byte(0) << 1 | 1]
}

/// NAL units behind start codes, of those behind lengths of 4 bytes.
fn annex_b(units: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (units, Vec::with_capacity(units.len()));
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let (unit, later) = behind.split_at(u32::from_be_bytes(*length) as usize);
        out.extend(START_CODE);
        out.extend(unit);
        rest = later;
    }
    out
}

/// CRC of sections (ISO/IEC 13818-1, annex A).
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
    bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| bit(crc)))
}

#[test]
fn ffprobe_reads_what_is_multiplexed_with_the_stamps_of_the_tags() {
    use super::flv::tags;
    use super::process::output;
    use super::source::Source;
    use std::process::Command;

    let tags = tags(&Source::small(10));
    let (mut multiplexer, mut stream) = (Multiplexer::default(), Vec::new());
    tags.iter().for_each(|tag| multiplexer.put(tag, &mut stream));
    fill_up(&mut stream, 7 * PACKET_BYTES);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("all.ts");
    std::fs::write(&path, &stream).expect("written");
    let read = |kind: &str| {
        let mut command = Command::new("ffprobe");
        command.args(["-v", "error", "-select_streams", kind, "-show_entries", "packet=pts,dts", "-of", "csv=p=0"]);
        let text = String::from_utf8(output(command.arg(&path))).expect("text");
        let line = |line: &str| {
            let numbers: Vec<u64> = line.split(',').filter_map(|number| number.trim().parse().ok()).collect();
            (numbers[0], numbers[1])
        };
        text.lines().filter(|line| !line.is_empty()).map(line).collect::<Vec<_>>()
    };
    let pictures = tags.iter().filter(|tag| tag.is_picture());
    let stamps = pictures.map(|tag| {
        let shown = i64::from(tag.stamp_ms) + i64::from(tag.composition_ms());
        (ticks(shown), ticks(i64::from(tag.stamp_ms)))
    });
    assert_eq!(read("v"), stamps.collect::<Vec<_>>());
    let sound = tags.iter().filter(|tag| tag.is_sound()).map(|tag| ticks(i64::from(tag.stamp_ms)));
    assert_eq!(read("a"), sound.map(|at| (at, at)).collect::<Vec<_>>());
}
