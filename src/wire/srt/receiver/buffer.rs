//! Packets that wait for their moment, and the holes between them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::Released;
use crate::wire::srt::packet::{LossList, Serial};

/// A packet that leaves a larger hole than this is believed only when another one follows it: one number that was damaged
/// on its way must not make us ask for thousands of packets that were never sent, which ends the connection at the sender.
const MAX_UNCONFIRMED_HOLE: i32 = 128;

/// One place in the order.
#[derive(Debug)]
enum Slot {
    /// It came. Without data: it could not be decrypted.
    Present { data: Option<Bytes>, due: Duration },
    /// It did not come yet; when it is to be reported again.
    Missing { report_at: Duration },
    /// Its sender gave it up.
    GivenUp,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is in, and as many before it are newly missed.
    New {
        /// Packets between this and the highest one before.
        missed: u32,
    },
    /// It is in the place of one that was missed.
    Recovered,
    /// It is here already.
    Duplicate,
    /// Its moment is over.
    Belated,
    /// Too far ahead to be believed, or too far to be held.
    TooFar,
}

/// Packets in their order, from the next one to be released on.
#[derive(Debug)]
pub(super) struct Buffer {
    head: Serial,
    slots: VecDeque<Slot>,
    capacity: usize,
    present: usize,
    bytes: usize,
    missing: usize,
    /// Index of the first that is missing, or the end.
    complete: usize,
    /// Something before the head was never released.
    lost: bool,
    /// The last one that was not believed.
    unconfirmed: Option<Serial>,
}

impl Buffer {
    pub fn new(initial: Serial, capacity: usize) -> Self {
        let slots = VecDeque::new();
        Buffer {
            head: initial,
            slots,
            capacity,
            present: 0,
            bytes: 0,
            missing: 0,
            complete: 0,
            lost: false,
            unconfirmed: None,
        }
    }

    /// The first packet that has not come and is still waited for.
    pub fn next_missing(&self) -> Serial {
        self.head.plus(self.complete as u32)
    }

    /// Packets that are missed.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// Packets that are held.
    pub fn present(&self) -> usize {
        self.present
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Packets that there is room for.
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.slots.len())
    }

    /// From the moment of the first packet held to that of the last.
    pub fn span(&self) -> Duration {
        match (self.next_due(), self.slots.back()) {
            (Some(first), Some(Slot::Present { due, .. })) => due.saturating_sub(first),
            _ => Duration::ZERO,
        }
    }

    /// When the next release is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.first_present().map(|(_, due)| due)
    }

    fn first_present(&self) -> Option<(usize, Duration)> {
        if self.present == 0 {
            return None;
        }
        self.slots.iter().enumerate().find_map(|(index, slot)| match slot {
            Slot::Present { due, .. } => Some((index, *due)),
            _ => None,
        })
    }

    /// Takes a packet. Holes that it opens are added to `losses`, to be reported again at `report_at` if that has not helped.
    /// Returns what became of it, and how many packets were given up to make room.
    pub fn insert(
        &mut self,
        serial: Serial,
        data: Option<Bytes>,
        due: Duration,
        report_at: Duration,
        losses: &mut LossList,
    ) -> (Inserted, u64) {
        let Ok(index) = usize::try_from(serial.since(self.head)) else { return (Inserted::Belated, 0) };
        if index < self.slots.len() {
            return (self.fill(index, data, due), 0);
        }
        let missed = index - self.slots.len();
        if missed > MAX_UNCONFIRMED_HOLE as usize && !self.confirms(serial) {
            self.unconfirmed = Some(serial);
            return (Inserted::TooFar, 0);
        }
        self.unconfirmed = None;
        let mut given_up = 0;
        if index >= self.capacity {
            if self.present > 0 {
                return (Inserted::TooFar, 0);
            }
            // Nothing is held: what lies before it cannot come any more.
            given_up = index as u64;
            self.skip(self.slots.len());
            (self.head, self.lost) = (serial, true);
        } else if missed > 0 {
            let first = self.head.plus(self.slots.len() as u32);
            losses.push(first, serial.previous());
            self.slots.extend((0..missed).map(|_| Slot::Missing { report_at }));
            self.missing += missed;
        }
        let newly_missed = if given_up > 0 { 0 } else { missed as u32 };
        self.bytes += data.as_ref().map_or(0, Bytes::len);
        self.slots.push_back(Slot::Present { data, due });
        self.present += 1;
        self.advance();
        (Inserted::New { missed: newly_missed }, given_up)
    }

    fn confirms(&self, serial: Serial) -> bool {
        self.unconfirmed.is_some_and(|before| (1..=MAX_UNCONFIRMED_HOLE).contains(&serial.since(before)))
    }

    /// Puts a packet into a place that exists.
    fn fill(&mut self, index: usize, data: Option<Bytes>, due: Duration) -> Inserted {
        match self.slots.get(index) {
            Some(Slot::Present { .. }) | None => return Inserted::Duplicate,
            Some(Slot::Missing { .. }) => self.missing -= 1,
            Some(Slot::GivenUp) => {}
        }
        self.bytes += data.as_ref().map_or(0, Bytes::len);
        self.slots[index] = Slot::Present { data, due };
        self.present += 1;
        self.advance();
        Inserted::Recovered
    }

    fn advance(&mut self) {
        while self.slots.get(self.complete).is_some_and(|slot| !matches!(slot, Slot::Missing { .. })) {
            self.complete += 1;
        }
    }

    /// The sender gave up `first..=last`.
    pub fn give_up(&mut self, first: Serial, last: Serial) {
        let Ok(last) = usize::try_from(last.since(self.head)) else { return };
        let first = usize::try_from(first.since(self.head)).unwrap_or(0);
        let behind = last.saturating_add(1).min(self.slots.len());
        for slot in self.slots.range_mut(first.min(behind)..behind) {
            if matches!(slot, Slot::Missing { .. }) {
                *slot = Slot::GivenUp;
                self.missing -= 1;
            }
        }
        self.advance();
    }

    /// Adds to `losses` what is to be reported at `now`, as far as it fits, and sets when it is to be reported again.
    pub fn report(&mut self, now: Duration, again: Duration, losses: &mut LossList) {
        if self.missing == 0 {
            return;
        }
        let mut run: Option<(Serial, Serial)> = None;
        for (index, slot) in self.slots.iter_mut().enumerate().skip(self.complete) {
            let Slot::Missing { report_at } = slot else { continue };
            if *report_at > now {
                continue;
            }
            let serial = self.head.plus(index as u32);
            match &mut run {
                Some((_, last)) if last.plus(1) == serial => *last = serial,
                _ => {
                    if let Some((first, last)) = run {
                        losses.push(first, last);
                    }
                    if !losses.has_room() {
                        return; // the rest in the next report
                    }
                    run = Some((serial, serial));
                }
            }
            *report_at = again;
        }
        if let Some((first, last)) = run {
            losses.push(first, last);
        }
    }

    /// Releases what is due. Holes before a packet whose moment has come are left behind. Returns how many packets were given up.
    pub fn release(&mut self, now: Duration, out: &mut Vec<Released>) -> u64 {
        let mut given_up = 0;
        while let Some((index, due)) = self.first_present() {
            if due > now {
                break;
            }
            if index > 0 {
                given_up += index as u64;
                self.lost = true;
                self.skip(index);
            }
            if let Some(Slot::Present { data, .. }) = self.slots.pop_front() {
                self.present -= 1;
                self.complete = self.complete.saturating_sub(1);
                self.head = self.head.plus(1);
                match data {
                    Some(data) => {
                        self.bytes -= data.len();
                        out.push(Released { data, lost: std::mem::take(&mut self.lost) });
                    }
                    None => self.lost = true,
                }
            }
        }
        self.advance();
        given_up
    }

    /// Leaves the first `count` places behind, none of which holds a packet.
    fn skip(&mut self, count: usize) {
        let missing = self.slots.drain(..count).filter(|slot| matches!(slot, Slot::Missing { .. })).count();
        self.missing -= missing;
        self.complete = self.complete.saturating_sub(count);
        self.head = self.head.plus(count as u32);
    }
}
