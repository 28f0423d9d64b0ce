//! One writer, many readers.
//!
//! Each reader has its own bounded queue and its own answer to being slow ([`WhenFull`]), so that a slow one hurts only
//! itself, or says openly that it holds the writer back. Publishing takes no lock: the list of edges is replaced as a
//! whole when a reader comes or goes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::channel::{Bound, Depth, Receiver, Sender, TrySendError, Weigh, bounded};

/// What a hub must know of what it carries.
pub trait Carry: Clone + Weigh {
    /// May be left out when a reader is slow. What is not droppable (a track's configuration, a cut, the end) is small and rare,
    /// and reaches every reader.
    fn droppable(&self) -> bool;

    /// A reader that lost something may take up again here.
    fn resumes(&self) -> bool;
}

impl Carry for crate::media::Unit {
    fn droppable(&self) -> bool {
        matches!(self, crate::media::Unit::Packet(_))
    }

    fn resumes(&self) -> bool {
        matches!(self, crate::media::Unit::Packet(packet) if packet.kind == crate::media::Kind::Video && packet.keyframe)
    }
}

/// What happens when a reader's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The writer waits: nothing is lost on this edge, and a slow reader slows the source down.
    Block,
    /// Packets are dropped and counted: of those that wait, the rest of the oldest group of pictures, up to the next video
    /// keyframe; where none waits behind it, what comes until the next. The reader sees keyframes, each with the packets right
    /// behind it, or none of them. What is not droppable is let in beyond the bound, and the writer does not wait.
    KeepKeyframes,
}

/// What is not droppable may pass the bound of a full edge by this many items: cuts of some minutes. After that the writer waits,
/// because a source can be made to cut without end.
const NOTICES: usize = 128;

#[derive(Debug)]
struct Edge<T> {
    name: &'static str,
    sender: Sender<T>,
    wants: fn(&T) -> bool,
    when_full: WhenFull,
    dropping: AtomicBool,
    dropped: AtomicU64,
    closed: AtomicBool,
}

impl<T: Carry> Edge<T> {
    fn offer(&self, item: &T) {
        if self.closed.load(Ordering::Relaxed) || !(self.wants)(item) {
            return;
        }
        match self.when_full {
            WhenFull::Block => return self.note(self.sender.send(item.clone()).is_ok()),
            WhenFull::KeepKeyframes if !item.droppable() => {
                return self.note(self.sender.send_beyond(item.clone(), NOTICES).is_ok());
            }
            WhenFull::KeepKeyframes => {}
        }
        if self.dropping.load(Ordering::Relaxed) && !item.resumes() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut item = item.clone();
        loop {
            item = match self.sender.try_send(item) {
                Ok(()) => return self.dropping.store(false, Ordering::Relaxed),
                Err(TrySendError::Closed(_)) => return self.note(false),
                Err(TrySendError::Full(item)) => item,
            };
            let pruned = self.sender.prune(|waiting| shorten_oldest_group(waiting, item.resumes()));
            if pruned.is_empty() {
                self.dropping.store(true, Ordering::Relaxed);
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.dropped.fetch_add(pruned.len() as u64, Ordering::Relaxed);
        }
    }

    fn note(&self, delivered: bool) {
        if !delivered {
            self.closed.store(true, Ordering::Relaxed);
        }
    }
}

/// Takes out the first run of packets that has a keyframe behind it, or will have one: `resumes` says that of what comes next.
fn shorten_oldest_group<T: Carry>(waiting: &mut VecDeque<T>, resumes: bool) -> Vec<T> {
    let is_lost = |item: &T| item.droppable() && !item.resumes();
    let Some(begin) = waiting.iter().position(is_lost) else { return Vec::new() };
    let next = waiting.iter().skip(begin).position(Carry::resumes).map(|behind| begin + behind);
    let Some(end) = next.or(resumes.then_some(waiting.len())) else { return Vec::new() };
    let (lost, notices): (Vec<_>, Vec<_>) = waiting.drain(begin..end).partition(is_lost);
    let tail = waiting.split_off(begin);
    waiting.extend(notices);
    waiting.extend(tail);
    lost
}

/// An edge's figures, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeStats {
    /// The queue's name; at the hub that which was given to [`Hub::subscribe`].
    pub name: &'static str,
    /// Items waiting.
    pub items: usize,
    /// Payload bytes waiting.
    pub bytes: usize,
    /// Items dropped since the edge was made.
    pub dropped: u64,
}

impl EdgeStats {
    /// What waits in a queue that drops nothing.
    pub fn waiting<T>(name: &'static str, queue: &Depth<T>) -> Self {
        EdgeStats { name, items: queue.items(), bytes: queue.bytes(), dropped: 0 }
    }

    /// Two queues between the same stages, as one.
    #[must_use]
    pub fn and(self, other: EdgeStats) -> Self {
        let EdgeStats { items, bytes, dropped, .. } = other;
        EdgeStats { items: self.items + items, bytes: self.bytes + bytes, dropped: self.dropped + dropped, ..self }
    }
}

/// The fan-out. Clone it to subscribe from elsewhere; only one thread may publish, because order is its promise.
#[derive(Debug)]
pub struct Hub<T> {
    edges: Arc<ArcSwap<Vec<Arc<Edge<T>>>>>,
}

impl<T> Clone for Hub<T> {
    fn clone(&self) -> Self {
        Hub { edges: self.edges.clone() }
    }
}

impl<T: Carry> Default for Hub<T> {
    fn default() -> Self {
        Hub { edges: Arc::new(ArcSwap::from_pointee(Vec::new())) }
    }
}

impl<T: Carry> Hub<T> {
    /// Adds a reader, who sees everything that is published from now on.
    pub fn subscribe(&self, name: &'static str, bound: Bound, when_full: WhenFull) -> Receiver<T> {
        self.subscribe_to(name, bound, when_full, |_| true)
    }

    /// Adds a reader, who sees what is published from now on and `wants` says yes to. Readers who left are forgotten here.
    pub fn subscribe_to(
        &self,
        name: &'static str,
        bound: Bound,
        when_full: WhenFull,
        wants: fn(&T) -> bool,
    ) -> Receiver<T> {
        let (sender, receiver) = bounded(bound);
        let edge = Arc::new(Edge {
            name,
            sender,
            wants,
            when_full,
            dropping: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        self.edges.rcu(|edges| {
            let open = edges.iter().filter(|edge| !edge.closed.load(Ordering::Relaxed));
            open.cloned().chain([edge.clone()]).collect::<Vec<_>>()
        });
        receiver
    }

    /// Hands `item` to every reader, as each one's policy says.
    pub fn publish(&self, item: &T) {
        for edge in self.edges.load().iter() {
            edge.offer(item);
        }
    }

    /// Ends all edges: readers drain what they have and then see the end.
    pub fn close(&self) {
        self.edges.store(Arc::new(Vec::new()));
    }

    /// The figures of all open edges.
    pub fn stats(&self) -> Vec<EdgeStats> {
        let edges = self.edges.load();
        let stats = edges.iter().filter(|edge| !edge.closed.load(Ordering::Relaxed)).map(|edge| {
            let dropped = edge.dropped.load(Ordering::Relaxed);
            EdgeStats { dropped, ..EdgeStats::waiting(edge.name, &edge.sender.depth()) }
        });
        stats.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Item {
        Key(u32),
        Delta(u32),
        Notice,
    }
    impl Weigh for Item {
        fn weight(&self) -> usize {
            1
        }
    }
    impl Carry for Item {
        fn droppable(&self) -> bool {
            *self != Item::Notice
        }
        fn resumes(&self) -> bool {
            matches!(self, Item::Key(_))
        }
    }
    use Item::{Delta, Key, Notice};

    const SMALL: Bound = Bound { items: 2, bytes: 1_000 };
    const LARGE: Bound = Bound { items: 100, bytes: 1_000 };

    #[test]
    fn a_slow_reader_loses_whole_groups_counts_them_and_hurts_nobody() {
        let hub = Hub::default();
        let fast = hub.subscribe("fast", LARGE, WhenFull::KeepKeyframes);
        let slow = hub.subscribe("slow", SMALL, WhenFull::KeepKeyframes);
        for item in [Key(0), Delta(1), Delta(2)] {
            hub.publish(&item);
        }
        assert_eq!((slow.try_recv(), slow.try_recv()), (Some(Key(0)), Some(Delta(1))));
        for item in [Delta(3), Key(4), Delta(5)] {
            hub.publish(&item);
        }
        hub.close();
        assert_eq!(slow.iter().collect::<Vec<_>>(), [Key(4), Delta(5)]);
        assert_eq!(fast.iter().collect::<Vec<_>>(), [Key(0), Delta(1), Delta(2), Delta(3), Key(4), Delta(5)]);
    }

    #[test]
    fn the_oldest_groups_are_cut_short_and_every_keyframe_stays() {
        let hub = Hub::default();
        let slow = hub.subscribe("slow", Bound { items: 6, bytes: 1_000 }, WhenFull::KeepKeyframes);
        for item in [Key(0), Delta(1), Notice, Delta(2), Key(3), Delta(4), Delta(5)] {
            hub.publish(&item);
        }
        assert_eq!(hub.stats(), [EdgeStats { name: "slow", items: 5, bytes: 5, dropped: 2 }]);
        assert_eq!((slow.try_recv(), slow.try_recv(), slow.try_recv()), (Some(Key(0)), Some(Notice), Some(Key(3))));
        // None of them has a keyframe behind it, until one comes.
        for item in [Delta(6), Delta(7), Delta(8), Delta(9), Delta(10), Delta(11), Key(12), Delta(13)] {
            hub.publish(&item);
        }
        hub.close();
        assert_eq!(slow.iter().collect::<Vec<_>>(), [Key(12), Delta(13)]);
    }

    #[test]
    fn drops_are_counted_per_edge() {
        let hub = Hub::default();
        let _slow = hub.subscribe("slow", SMALL, WhenFull::KeepKeyframes);
        for item in [Key(0), Delta(1), Delta(2), Delta(3), Key(4)] {
            hub.publish(&item);
        }
        assert_eq!(hub.stats(), [EdgeStats { name: "slow", items: 2, bytes: 2, dropped: 3 }]);
    }

    #[test]
    fn what_is_not_droppable_passes_a_full_edge_and_holds_nobody_until_there_is_too_much() {
        let hub = Hub::default();
        let reader = hub.subscribe("reader", SMALL, WhenFull::KeepKeyframes);
        for item in [Key(0), Delta(1), Delta(2)] {
            hub.publish(&item);
        }
        (0..NOTICES).for_each(|_| hub.publish(&Notice)); // nobody reads, and it comes back
        let writer = {
            let hub = hub.clone();
            std::thread::spawn(move || {
                hub.publish(&Notice);
                hub.close();
            })
        };
        let expected: Vec<_> = [Key(0), Delta(1)].into_iter().chain(std::iter::repeat_n(Notice, NOTICES + 1)).collect();
        assert_eq!(reader.iter().collect::<Vec<_>>(), expected);
        assert!(writer.join().is_ok());
    }

    #[test]
    fn a_reader_gets_only_what_it_wants() {
        let hub = Hub::default();
        let keys = hub.subscribe_to("keys", SMALL, WhenFull::Block, |item| matches!(item, Key(_)));
        for item in [Key(0), Delta(1), Delta(2), Key(3), Notice] {
            hub.publish(&item);
        }
        hub.close();
        assert_eq!(keys.iter().collect::<Vec<_>>(), [Key(0), Key(3)]);
    }

    #[test]
    fn a_reader_that_left_is_forgotten() {
        let hub = Hub::default();
        drop(hub.subscribe("gone", SMALL, WhenFull::Block));
        for n in 0..10 {
            hub.publish(&Key(n));
        }
        assert_eq!(hub.stats(), []);
    }
}
