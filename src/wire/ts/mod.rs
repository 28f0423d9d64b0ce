//! MPEG transport streams (ITU-T H.222.0) to elementary units: what an SRT publisher sends.
//!
//! [`Demuxer`] takes bytes as they come, in any cut, and yields the access units of one program: its first video stream and its
//! first audio stream that are taken, with their 90 kHz stamps as they were sent.
//!
//! | module | holds |
//! |---|---|
//! | `align` | where packets begin |
//! | `packet` | one packet: header, adaptation field, PCR |
//! | `section` | PSI sections out of packets, with their checksum |
//! | `tables` | PAT and PMT, and what a stream in a PMT is |
//! | `programs` | which program and which streams are taken |
//! | `pes` | PES packets out of transport packets, and their stamps |
//! | `lane` | one taken stream: continuity, loss, units |
//! | `framer` | frames of sound out of PES payloads |
//! | `opus` | Opus in MPEG-TS |
//! | `demux` | [`Demuxer`]: all of it together |
//!
//! What holds for the units, always:
//! - They do not depend on how the bytes are cut.
//! - A unit is whole. What a loss touched is dropped and counted, and the next unit of that stream says [`Unit::lost_before`]; frames
//!   of sound that ended before the loss are handed on.
//! - One PES packet of video is one access unit: every encoder that pushes live does it so (H.222.0 leaves it open). It comes out when
//!   its PES packet is known to have ended: by its length, or where that is 0, by the start of the next one.
//! - Each unit of sound is one frame. [`Unit::pts`] is what its PES packet, or the last one with a stamp, said for its first frame,
//!   and [`Unit::samples_after`] counts on from there, so that nothing is rounded.
//!
//! Own code and not the crate mpeg2ts-reader 0.18.2: that one takes a repeated packet and a signalled discontinuity for a loss, wants
//! section and PES headers within one packet, logs a line for each bad packet of a stranger, and leaves alignment, streams and
//! frames to its caller, so that its traits would take as much code as they save.
//!
//! Not here: the way from wrapping stamps to a timeline, and what codecs wrote into video (ingest).

use bytes::Bytes;

use crate::media::codec::aac::AacError;
use crate::media::codec::aac::latm::LatmError;
use crate::media::{AudioCodec, AudioTrack, Kind, VideoCodec};

mod align;
mod demux;
mod framer;
mod lane;
mod opus;
mod packet;
mod pes;
mod programs;
mod section;
mod tables;

pub use demux::Demuxer;

/// Packet identifier, 13 bits.
pub type Pid = u16;

/// Bytes of a transport packet.
pub const PACKET_BYTES: usize = 188;

/// Some bytes of a transport stream, cut anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The bytes.
    pub data: Bytes,
    /// Something that was sent between the last piece and this one did not arrive.
    pub lost: bool,
}

/// Which program of a multiplex is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProgramChoice {
    /// The first one whose PMT names video that is taken; if none does, the first with sound.
    #[default]
    FirstWithVideo,
    /// The one with this `program_number`.
    Number(u16),
}

/// What a [`Demuxer`] may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a PES packet; a longer one is dropped.
    pub pes_bytes: usize,
}

impl Default for Limits {
    /// 8 MiB: an intra-coded picture of 2160p at the highest rates is below 4 MiB.
    fn default() -> Self {
        Limits { pes_bytes: 8 << 20 }
    }
}

/// What comes out of a [`Demuxer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The program and its streams: once they are known, and whenever they change or a stream that is not taken appears.
    Streams(Streams),
    /// How the sound of the units from here on is coded. Comes before the first unit of sound and when it changes.
    AudioConfig(AudioTrack),
    /// Media.
    Unit(Unit),
    /// Something is not taken. Each reason comes once until the streams change; what is not taken is dropped.
    Refused(TsError),
}

/// Program and streams that are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams {
    /// `program_number`.
    pub program: u16,
    /// The video stream, whose units are Annex B byte streams.
    pub video: Option<(Pid, VideoCodec)>,
    /// The audio stream. Which of AC-3 and E-AC-3 it is, its frames say better: see [`Event::AudioConfig`].
    pub audio: Option<(Pid, AudioCodec)>,
    /// Streams of the program that are not taken and were not named before, for the log.
    pub ignored: Vec<Ignored>,
}

/// An elementary stream that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Where it is.
    pub pid: Pid,
    /// `stream_type` of the PMT.
    pub stream_type: u8,
    /// What it is, such as `teletext`; a second stream of a kind by its codec, such as `AC-3`.
    pub name: &'static str,
}

impl Ignored {
    /// Whether it is pictures, of whatever codec.
    pub fn is_video(&self) -> bool {
        self.name.ends_with("video") || ["AV1", "VVC", "H.264", "HEVC"].iter().any(|codec| self.name.starts_with(codec))
    }
}

/// One access unit: a coded picture, or one frame of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Pictures or sound.
    pub kind: Kind,
    /// Presentation time in 90 kHz, 33 bits, as it was sent. Video: of this picture. Sound: of the frame that lies
    /// [`Unit::samples_after`] samples before this one. `None`: no PES packet said any, or none since the last loss of sound.
    pub pts: Option<u64>,
    /// Decoding time in 90 kHz, 33 bits. `None` where it was not sent: then it is the presentation time.
    pub dts: Option<u64>,
    /// Sound: samples, at the track's rate, from the frame that `pts` was sent for to this one; 0 for that frame itself.
    pub samples_after: u64,
    /// The multiplexer says that decoding may start here (`random_access_indicator`). Always true for sound.
    pub random_access: bool,
    /// Something of this stream between the unit before and this one is missing, or may be.
    pub lost_before: bool,
    /// The sender signalled that its clock begins anew (`discontinuity_indicator` with the PCR) between the unit before and this one.
    pub jump_before: bool,
    /// Video: NAL units in Annex B form. AAC: one raw frame without ADTS or LATM. Opus: one packet. Others: one frame with its header.
    pub data: Bytes,
}

/// What was seen and what was dropped, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transport packets.
    pub packets: u64,
    /// Packets of the taken streams that continuity counters miss; modulo 16 for each gap, so at least so many.
    pub lost_packets: u64,
    /// Pieces that came with [`Piece::lost`].
    pub lost_pieces: u64,
    /// How often packets had to be found again: after a lost piece, or where one did not begin where the one before ended.
    pub resyncs: u64,
    /// Bytes passed over in searching for packets.
    pub skipped_bytes: u64,
    /// Packets that say, or show, that they are damaged.
    pub damaged_packets: u64,
    /// Packets of the taken streams that are scrambled.
    pub scrambled_packets: u64,
    /// PES packets that were dropped, or cut short: incomplete, too long, or without a valid header.
    pub damaged_pes: u64,
    /// PSI sections with a bad checksum or length.
    pub damaged_sections: u64,
    /// Times that a frame of sound did not begin where the one before ended, or could not be read.
    pub damaged_frames: u64,
}

/// Why something is not taken. The texts are for the publisher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TsError {
    /// No packet boundaries in what came first.
    #[error("no MPEG transport stream in the first {0} bytes: set the encoder's container to MPEG-TS")]
    NotTransportStream(usize),
    /// Packets with a time code in front (192 bytes) or with error correction behind (204).
    #[error("transport packets of {0} bytes are not supported: send packets of 188 bytes")]
    PacketSize(usize),
    /// The program that was chosen by its number.
    #[error("program {0} is not in the transport stream: choose another, or send it")]
    NoProgram(u16),
    /// Conditional access.
    #[error("elementary stream {0} is scrambled: switch scrambling off")]
    Scrambled(Pid),
    /// The configuration that an ADTS header gives.
    #[error(transparent)]
    Aac(#[from] AacError),
    /// ADTS frames that cannot be taken apart without decoding.
    #[error("ADTS frames of {0} blocks are not supported: set the encoder to one block per frame")]
    AdtsBlocks(u8),
    /// The form of LATM.
    #[error(transparent)]
    Latm(#[from] LatmError),
    /// An Opus channel configuration that has no mapping here.
    #[error("Opus channel configuration {0} is not supported: set the encoder to stereo")]
    OpusChannels(u8),
}
