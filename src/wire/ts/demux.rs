//! The demultiplexer: bytes, packets, tables, lanes.

use super::align::{Aligner, Found};
use super::lane::Lane;
use super::packet::{NULL_PID, Packet};
use super::programs::{Change, Programs, select};
use super::tables::{Content, Pmt, Stream};
use super::{Counts, Event, Limits, PACKET_BYTES, Pid, Piece, ProgramChoice, Streams};

/// Streams that are named to the log; a sender that goes on inventing some is not listened to.
const MAX_NAMED: usize = 256;

/// Demultiplexes the transport stream of one connection.
#[derive(Debug)]
pub struct Demuxer {
    aligner: Aligner,
    program: Program,
}

/// All behind the packets.
#[derive(Debug)]
struct Program {
    limits: Limits,
    tables: Programs,
    /// `program_number` of the streams that were told.
    told: Option<u16>,
    pcr_pid: Pid,
    pcr: Option<u64>,
    /// Video and audio.
    lanes: [Option<Lane>; 2],
    /// Streams that are not taken and have been told.
    named: Vec<(Pid, u8)>,
    counts: Counts,
}

impl Default for Demuxer {
    /// Of the first program with video, with the default limits.
    fn default() -> Self {
        Demuxer::new(ProgramChoice::default(), Limits::default())
    }
}

impl Demuxer {
    /// A demultiplexer at the beginning of a connection, which may be in the middle of a stream.
    pub fn new(choice: ProgramChoice, limits: Limits) -> Self {
        let program = Program {
            limits,
            tables: Programs::new(choice),
            told: None,
            pcr_pid: NULL_PID,
            pcr: None,
            lanes: [None, None],
            named: Vec::new(),
            counts: Counts::default(),
        };
        Demuxer { aligner: Aligner::default(), program }
    }

    /// Takes the next piece and appends what it yields to `out`.
    pub fn push(&mut self, piece: &Piece, out: &mut Vec<Event>) {
        if piece.lost {
            self.aligner.interrupt(&mut |found| self.program.take(found, out));
            self.program.counts.lost_pieces += 1;
            self.program.interrupt(out);
        }
        self.aligner.push(&piece.data, &mut |found| self.program.take(found, out));
    }

    /// The connection has ended: appends what is held and whole. A next connection wants a new demultiplexer.
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        self.aligner.interrupt(&mut |found| self.program.take(found, out));
        self.program.finish(out);
    }

    /// What was seen and dropped so far.
    pub fn counts(&self) -> Counts {
        Counts {
            skipped_bytes: self.aligner.skipped,
            damaged_sections: self.program.tables.damaged,
            ..self.program.counts
        }
    }

    /// The last program clock reference, in 27 MHz, modulo 2^33 * 300; `None` before the first one.
    pub fn clock_reference(&self) -> Option<u64> {
        self.program.pcr
    }

    /// Bytes of the stream that are held: at most two PES packets of [`Limits::pes_bytes`] and 64 KiB.
    pub fn held_bytes(&self) -> usize {
        let lanes: usize = self.program.lanes.iter().flatten().map(Lane::held).sum();
        self.aligner.held() + self.program.tables.held() + lanes
    }
}

impl Program {
    fn take(&mut self, found: Found<'_>, out: &mut Vec<Event>) {
        match found {
            Found::Packet(bytes) => self.packet(bytes, out),
            Found::Again => {
                self.counts.resyncs += 1;
                self.interrupt(out);
            }
            Found::Refused(error) => out.push(Event::Refused(error)),
        }
    }

    fn packet(&mut self, bytes: &[u8; PACKET_BYTES], out: &mut Vec<Event>) {
        self.counts.packets += 1;
        let Some(packet) = Packet::parse(bytes) else {
            self.counts.damaged_packets += 1;
            return;
        };
        if packet.pid == NULL_PID {
            return;
        }
        if packet.pid == self.pcr_pid {
            self.pcr = packet.pcr.or(self.pcr);
            if packet.discontinuity {
                self.lanes.iter_mut().flatten().for_each(Lane::jump);
            }
        }
        let mut lanes = self.lanes.iter_mut().flatten();
        if let Some(lane) = lanes.find(|lane| lane.stream.pid == packet.pid) {
            return lane.push(&packet, &mut self.counts, out);
        }
        match self.tables.push(&packet) {
            Change::None => {}
            Change::Pmt => self.follow_pmt(out),
            Change::Missing(error) => out.push(Event::Refused(error)),
        }
    }

    fn follow_pmt(&mut self, out: &mut Vec<Event>) {
        let Some(pmt) = self.tables.pmt().cloned() else {
            // The program is gone, and no other is known.
            self.told = None;
            return self.set_lanes([None, None], out);
        };
        if self.told.is_some_and(|told| told != pmt.program) {
            self.set_lanes([None, None], out);
        }
        if self.pcr_pid != pmt.pcr_pid {
            (self.pcr_pid, self.pcr) = (pmt.pcr_pid, None);
        }
        let before = self.lanes.each_ref().map(|lane| lane.as_ref().map(|lane| lane.stream));
        let taken = select(&pmt, before);
        self.set_lanes(taken, out);
        let ignored = self.not_named(&pmt, taken);
        if self.told == Some(pmt.program) && taken == before && ignored.is_empty() {
            return;
        }
        self.told = Some(pmt.program);
        let [video, audio] = taken;
        out.push(Event::Streams(Streams {
            program: pmt.program,
            video: video.and_then(|stream| match stream.content {
                Content::Video(codec) => Some((stream.pid, codec)),
                _ => None,
            }),
            audio: audio.and_then(|stream| match stream.content {
                Content::Audio(codec, _) => Some((stream.pid, codec)),
                _ => None,
            }),
            ignored: ignored.iter().map(Stream::ignored).collect(),
        }));
    }

    /// The streams that are not taken and nobody was told of.
    fn not_named(&mut self, pmt: &Pmt, taken: [Option<Stream>; 2]) -> Vec<Stream> {
        let mut found = Vec::new();
        for stream in pmt.streams.iter().filter(|stream| !taken.contains(&Some(**stream))) {
            let name = (stream.pid, stream.stream_type);
            if self.named.len() < MAX_NAMED && !self.named.contains(&name) {
                self.named.push(name);
                found.push(*stream);
            }
        }
        found
    }

    /// Ends the lanes of other streams than these and begins theirs.
    fn set_lanes(&mut self, taken: [Option<Stream>; 2], out: &mut Vec<Event>) {
        for (lane, stream) in self.lanes.iter_mut().zip(taken) {
            if lane.as_ref().map(|lane| lane.stream) == stream {
                continue;
            }
            if let Some(lane) = lane {
                lane.finish(&mut self.counts, out);
            }
            *lane = stream.map(|stream| Lane::new(stream, self.limits));
        }
    }

    fn interrupt(&mut self, out: &mut Vec<Event>) {
        self.tables.interrupt();
        for lane in self.lanes.iter_mut().flatten() {
            lane.interrupt(&mut self.counts, out);
        }
    }

    fn finish(&mut self, out: &mut Vec<Event>) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.finish(&mut self.counts, out);
        }
    }
}

#[cfg(test)]
#[path = "demux_tests.rs"]
mod tests;
