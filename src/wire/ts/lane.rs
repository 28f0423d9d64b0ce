//! One stream that is taken: the continuity of its packets, its PES packets, its units.

use super::framer::Framer;
use super::packet::Packet;
use super::pes::{Ended, Gatherer, Pes};
use super::tables::{Content, Stream};
use super::{Counts, Event, Limits, PACKET_BYTES, TsError, Unit};
use crate::media::Kind;

const COUNTER_MASK: u8 = 0xf;
/// What a PES packet with a length may have.
const MAX_SOUND_PES_BYTES: usize = 6 + 0xffff;

/// What the next unit must say of the time before it.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub lost: bool,
    pub jump: bool,
}

/// Where a lane puts what it finds.
pub(super) struct Sink<'a> {
    pub marks: &'a mut Marks,
    pub counts: &'a mut Counts,
    pub out: &'a mut Vec<Event>,
}

impl Sink<'_> {
    /// Hands on a unit, with the marks.
    pub(super) fn unit(&mut self, mut unit: Unit) {
        let Marks { lost, jump } = std::mem::take(self.marks);
        (unit.lost_before, unit.jump_before) = (lost, jump);
        self.out.push(Event::Unit(unit));
    }
}

/// How a packet follows the one before.
enum Step {
    Next,
    Repeated,
    /// Behind so many that are missing; 0 where the sender said so.
    Behind(u8),
}

/// A stream that is taken.
#[derive(Debug)]
pub(super) struct Lane {
    pub stream: Stream,
    /// Counter and payload of the packet before.
    counter: Option<u8>,
    before: [u8; PACKET_BYTES],
    before_bytes: usize,
    gatherer: Gatherer,
    /// Sound alone.
    framer: Option<Framer>,
    marks: Marks,
    /// The clock jumped, and no PES packet has begun since.
    jumped: bool,
    /// The PES packet that is gathered is the first behind a jump.
    begun_behind_jump: bool,
    told_scrambled: bool,
}

impl Lane {
    pub(super) fn new(stream: Stream, limits: Limits) -> Self {
        let framer = match stream.content {
            Content::Audio(_, framing) => Some(Framer::new(framing)),
            Content::Video(_) | Content::Other(_) => None,
        };
        // `PES_packet_length` may only be 0 where it is video (H.222.0 2.4.3.7); and a small frame of sound keeps its PES packet.
        let pes_bytes = if framer.is_some() { limits.pes_bytes.min(MAX_SOUND_PES_BYTES) } else { limits.pes_bytes };
        Lane {
            stream,
            counter: None,
            before: [0; PACKET_BYTES],
            before_bytes: 0,
            gatherer: Gatherer::new(pes_bytes),
            framer,
            marks: Marks::default(),
            jumped: false,
            begun_behind_jump: false,
            told_scrambled: false,
        }
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.gatherer.held() + self.framer.as_ref().map_or(0, Framer::held)
    }

    /// The program's clock begins anew.
    pub(super) fn jump(&mut self) {
        self.jumped = true;
    }

    /// Takes a packet of this stream.
    pub(super) fn push(&mut self, packet: &Packet<'_>, counts: &mut Counts, out: &mut Vec<Event>) {
        let Some(payload) = packet.payload else { return };
        match self.step(packet, payload) {
            Step::Next => {}
            Step::Repeated => return,
            Step::Behind(missing) => {
                counts.lost_packets += u64::from(missing);
                self.interrupt(counts, out);
            }
        }
        self.counter = Some(packet.counter);
        self.before_bytes = payload.len();
        self.before[..payload.len()].copy_from_slice(payload);
        if packet.scrambled {
            counts.scrambled_packets += 1;
            self.interrupt(counts, out);
            return self.tell_scrambled(out);
        }
        if packet.unit_start {
            let ended = self.gatherer.end_before_next();
            self.take(ended, counts, out);
            self.gatherer.begin(packet.random_access);
            self.begun_behind_jump = std::mem::take(&mut self.jumped);
        }
        let ended = self.gatherer.extend(payload, packet.stuffed);
        self.take(ended, counts, out);
    }

    fn step(&self, packet: &Packet<'_>, payload: &[u8]) -> Step {
        let Some(counter) = self.counter else { return Step::Next };
        let expected = (counter + 1) & COUNTER_MASK;
        if packet.counter == expected {
            Step::Next
        } else if packet.discontinuity {
            // Said beforehand: what was gathered is whole if another PES packet begins here.
            if packet.unit_start { Step::Next } else { Step::Behind(0) }
        } else if packet.counter == counter && payload == &self.before[..self.before_bytes] {
            Step::Repeated
        } else {
            Step::Behind(packet.counter.wrapping_sub(expected) & COUNTER_MASK)
        }
    }

    /// Something of this stream is missing here, or may be.
    pub(super) fn interrupt(&mut self, counts: &mut Counts, out: &mut Vec<Event>) {
        let ended = self.gatherer.interrupt();
        self.take(ended, counts, out);
        if let Some(framer) = &mut self.framer {
            framer.interrupt();
        }
        self.marks.lost = true;
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self, counts: &mut Counts, out: &mut Vec<Event>) {
        let ended = self.gatherer.finish();
        self.take(ended, counts, out);
    }

    fn take(&mut self, ended: Option<Ended>, counts: &mut Counts, out: &mut Vec<Event>) {
        let Some(ended) = ended else { return };
        self.marks.jump |= std::mem::take(&mut self.begun_behind_jump);
        let whole = matches!(ended, Ended::Whole(_));
        match ended {
            Ended::Whole(pes) | Ended::Cut(pes) if whole || self.framer.is_some() => self.units(pes, counts, out),
            Ended::Scrambled => self.tell_scrambled(out),
            Ended::Whole(_) | Ended::Cut(_) | Ended::Bad => {}
        }
        if !whole {
            counts.damaged_pes += 1;
            if let Some(framer) = &mut self.framer {
                framer.interrupt();
            }
            self.marks.lost = true;
        }
    }

    fn units(&mut self, pes: Pes, counts: &mut Counts, out: &mut Vec<Event>) {
        let mut sink = Sink { marks: &mut self.marks, counts, out };
        if let Some(framer) = &mut self.framer {
            framer.push(pes.payload, pes.pts, &mut sink);
        } else if !pes.payload.is_empty() {
            sink.unit(Unit {
                kind: Kind::Video,
                pts: pes.pts,
                dts: pes.dts,
                samples_after: 0,
                random_access: pes.random_access,
                lost_before: false,
                jump_before: false,
                data: pes.payload,
            });
        }
    }

    fn tell_scrambled(&mut self, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.told_scrambled, true) {
            out.push(Event::Refused(TsError::Scrambled(self.stream.pid)));
        }
    }
}
