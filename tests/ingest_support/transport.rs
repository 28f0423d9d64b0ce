//! Transport streams: captures and what FFmpeg makes, harmed and stamped anew.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use millstream::ingest::{Input, Rejected, Settings};
use millstream::wire::Inbound;
use millstream::wire::ts::{PACKET_BYTES, Pid, Piece};

use super::Rig;

/// What SRT carries in one message of most encoders.
pub const MESSAGE_BYTES: usize = 7 * PACKET_BYTES;
/// PIDs of FFmpeg, and of OBS, which uses it.
pub const VIDEO: Pid = 0x100;
pub const AUDIO: Pid = 0x101;
const STAMPS: u64 = 1 << 33;

/// What an encoder sent over SRT.
pub fn capture(file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// So many seconds of 320x180 at 30 pictures per second and of 48 kHz, encoded and multiplexed with these options.
pub fn made(seconds: u32, options: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("made.ts");
    let (sources, seconds) = (["testsrc2=s=320x180:r=30", "sine=440:sample_rate=48000"], seconds.to_string());
    let input = ["-nostdin", "-v", "error", "-f", "lavfi", "-i", sources[0], "-f", "lavfi", "-i", sources[1]];
    let ran = Command::new("ffmpeg")
        .args(input)
        .args(["-t", &seconds, "-ac", "2", "-g", "30"])
        .args(options)
        .args(["-threads", "1", "-f", "mpegts"])
        .arg(&path)
        .output()
        .unwrap_or_else(|error| panic!("ffmpeg: {error}"));
    assert!(ran.status.success(), "{options:?}: {}", String::from_utf8_lossy(&ran.stderr));
    std::fs::read(&path).expect("written")
}

/// Its packets: PID, whether a PES packet or section begins in it, and its bytes.
pub fn packets(stream: &[u8]) -> impl Iterator<Item = (Pid, bool, &[u8])> {
    stream.chunks_exact(PACKET_BYTES).map(|packet| {
        let head = u16::from_be_bytes([packet[1], packet[2]]);
        (head & 0x1fff, head & 0x4000 != 0, packet)
    })
}

/// Without those packets for whose PID, and number of the PES packet of that PID (from 1 on), this holds.
pub fn without(stream: &[u8], mut is_lost: impl FnMut(Pid, usize) -> bool) -> Vec<u8> {
    let mut begun = std::collections::HashMap::<Pid, usize>::new();
    let kept = packets(stream).filter(|(pid, start, _)| {
        let number = begun.entry(*pid).or_default();
        *number += usize::from(*start);
        !is_lost(*pid, *number)
    });
    kept.flat_map(|(.., packet)| packet.iter().copied()).collect()
}

/// Where the first packet of the PES packet of this number (from 1 on) begins.
pub fn start_of(stream: &[u8], pid: Pid, number: usize) -> usize {
    let starts = packets(stream).enumerate().filter(|(_, (of, start, _))| *of == pid && *start);
    starts.map(|(at, _)| at * PACKET_BYTES).nth(number - 1).expect("there are as many")
}

/// All PTS and DTS moved, modulo 2^33.
pub fn moved(stream: &[u8], by: u64) -> Vec<u8> {
    let mut moved = stream.to_vec();
    for packet in moved.chunks_exact_mut(PACKET_BYTES) {
        let payload = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
        let is_start = packet[1] & 0x40 != 0 && packet[3] & 0x10 != 0;
        if !is_start || !packet[payload..].starts_with(&[0, 0, 1]) {
            continue;
        }
        let stamps = usize::from(packet[payload + 7] >> 6) / 2 + usize::from(packet[payload + 7] >> 6 & 1);
        for stamp in packet[payload + 9..].chunks_exact_mut(5).take(stamps) {
            let at = |index: usize, mask: u8| u64::from(stamp[index] & mask);
            let told = at(0, 0xe) << 29 | at(1, 0xff) << 22 | at(2, 0xfe) << 14 | at(3, 0xff) << 7 | at(4, 0xfe) >> 1;
            let told = (told + by) % STAMPS;
            stamp[0] = stamp[0] & 0xf1 | (told >> 29) as u8 & 0xe;
            stamp[1] = (told >> 22) as u8;
            stamp[2] = (told >> 14) as u8 | 1;
            stamp[3] = (told >> 7) as u8;
            stamp[4] = (told << 1) as u8 | 1;
        }
    }
    moved
}

/// `stream` in pieces of these lengths, one after the other and again.
pub fn pieces<'a>(stream: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let (mut rest, mut lengths) = (stream, lengths.iter().cycle());
    std::iter::from_fn(move || {
        let (piece, behind) = rest.split_at(rest.len().min(*lengths.next()?));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

pub fn piece(bytes: &[u8], lost: bool) -> Inbound {
    Inbound::Ts(Piece { data: Bytes::copy_from_slice(bytes), lost })
}

/// Sends `stream` in messages of SRT.
pub fn send(rig: &mut Rig, stream: &[u8]) -> Result<(), Rejected> {
    pieces(stream, &[MESSAGE_BYTES]).try_for_each(|bytes| rig.push(Input::Media(piece(bytes, false))))
}

/// One connection that brings `stream` in pieces of these lengths, while the clock stands still.
pub fn connection(stream: &[u8], lengths: &[usize]) -> Rig {
    let mut rig = Rig::new(Settings::default());
    rig.push(Input::Connected).expect("nothing to reject");
    for bytes in pieces(stream, lengths) {
        rig.push(Input::Media(piece(bytes, false))).expect("nothing to reject");
    }
    rig.disconnect();
    rig
}

/// What a first publisher of `stream` is told.
pub fn refusal(stream: &[u8]) -> String {
    let mut rig = Rig::new(Settings::default());
    send(&mut rig, stream).expect_err("it is refused").to_string()
}
