//! Bounded queues between threads, and from tasks to threads.
//!
//! A queue is bounded twice: in items (a crossbeam channel) and in payload bytes (a gate beside it), because a hundred
//! packets of one stream may be 100 KB or 100 MB. A sender that finds the queue full waits: threads with [`Sender::send`],
//! tasks with [`Sender::send_async`]. One item is always let in, however large, so that no item can wait for ever.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel as crossbeam;
use tokio::sync::Notify;

use crate::media::{Output, Unit, segment::RenditionUnit};

/// Payload bytes that an item holds, as byte bounds count them.
pub trait Weigh {
    /// Payload bytes.
    fn weight(&self) -> usize;
}

impl Weigh for Unit {
    fn weight(&self) -> usize {
        Unit::weight(self)
    }
}

impl Weigh for RenditionUnit {
    fn weight(&self) -> usize {
        self.unit.weight()
    }
}

impl Weigh for Output {
    fn weight(&self) -> usize {
        Output::weight(self)
    }
}

/// How much a queue may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Most items.
    pub items: usize,
    /// Most payload bytes; a single heavier item still passes alone.
    pub bytes: usize,
}

/// The other side is gone; the item comes back.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiving side of the queue has ended")]
pub struct Closed<T>(pub T);

/// Why an item was not taken at once; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The queue is full.
    Full(T),
    /// The receiver is gone.
    Closed(T),
}

/// Why a receiver got nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// Nothing came within the time.
    Timeout,
    /// All senders are gone and the queue is empty.
    Closed,
}

#[derive(Debug)]
struct Gate {
    bound: Bound,
    bytes: AtomicUsize,
    /// The receiver is gone.
    closed: AtomicBool,
    /// Senders that wait, or are about to.
    waiting: AtomicUsize,
    lock: Mutex<()>,
    thread_waiters: Condvar,
    task_waiters: Notify,
}

impl Gate {
    /// Called after room was made. Pairs with the fence of a sender that counted itself as waiting before it looked:
    /// one of the two sees the other.
    fn room_was_made(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.thread_waiters.notify_all();
            self.task_waiters.notify_waiters();
        }
    }
}

/// Counts a waiting sender for as long as it lives, so that a cancelled `send_async` does not stay counted.
struct Waiting<'a>(&'a Gate);

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate) -> Self {
        gate.waiting.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        Waiting(gate)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The writing side; clone it for more writers.
#[derive(Debug)]
pub struct Sender<T> {
    items: crossbeam::Sender<T>,
    gate: Arc<Gate>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { items: self.items.clone(), gate: self.gate.clone() }
    }
}

/// The reading side. Dropping it wakes all senders with [`Closed`].
#[derive(Debug)]
pub struct Receiver<T: Weigh> {
    items: crossbeam::Receiver<T>,
    gate: Arc<Gate>,
}

/// What is in a queue now, for gauges.
#[derive(Debug)]
pub struct Depth<T> {
    items: crossbeam::Sender<T>,
    gate: Arc<Gate>,
}

/// Makes a queue that holds at most `bound`.
pub fn bounded<T: Weigh>(bound: Bound) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = crossbeam::bounded(bound.items.max(1));
    let gate = Arc::new(Gate {
        bound,
        bytes: AtomicUsize::new(0),
        closed: AtomicBool::new(false),
        waiting: AtomicUsize::new(0),
        lock: Mutex::new(()),
        thread_waiters: Condvar::new(),
        task_waiters: Notify::new(),
    });
    (Sender { items: sender, gate: gate.clone() }, Receiver { items: receiver, gate })
}

impl<T: Weigh> Sender<T> {
    /// Puts `item` in, or hands it back at once.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        if self.gate.closed.load(Ordering::SeqCst) {
            return Err(TrySendError::Closed(item));
        }
        let weight = item.weight();
        let before = self.gate.bytes.fetch_add(weight, Ordering::SeqCst);
        if before != 0 && before.saturating_add(weight) > self.gate.bound.bytes {
            self.gate.bytes.fetch_sub(weight, Ordering::SeqCst);
            return Err(TrySendError::Full(item));
        }
        self.items.try_send(item).map_err(|error| {
            self.gate.bytes.fetch_sub(weight, Ordering::SeqCst);
            match error {
                crossbeam::TrySendError::Full(item) => TrySendError::Full(item),
                crossbeam::TrySendError::Disconnected(item) => TrySendError::Closed(item),
            }
        })
    }

    /// Puts `item` in, blocking the thread while the queue is full. Not for tasks.
    pub fn send(&self, item: T) -> Result<(), Closed<T>> {
        let mut item = match self.try_send(item) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(item)) => return Err(Closed(item)),
            Err(TrySendError::Full(item)) => item,
        };
        let _waiting = Waiting::new(&self.gate);
        let mut guard = self.gate.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            item = match self.try_send(item) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(item)) => return Err(Closed(item)),
                Err(TrySendError::Full(item)) => item,
            };
            guard = self.gate.thread_waiters.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts `item` in, suspending the task while the queue is full. Cancelling it loses the item.
    pub async fn send_async(&self, item: T) -> Result<(), Closed<T>> {
        let mut item = match self.try_send(item) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(item)) => return Err(Closed(item)),
            Err(TrySendError::Full(item)) => item,
        };
        let _waiting = Waiting::new(&self.gate);
        loop {
            let notified = self.gate.task_waiters.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            item = match self.try_send(item) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(item)) => return Err(Closed(item)),
                Err(TrySendError::Full(item)) => item,
            };
            notified.await;
        }
    }

    /// A gauge on this queue. It counts as a sender: drop it with the others when the queue shall end.
    pub fn depth(&self) -> Depth<T> {
        Depth { items: self.items.clone(), gate: self.gate.clone() }
    }
}

impl<T> Depth<T> {
    /// Items waiting.
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// Payload bytes waiting.
    pub fn bytes(&self) -> usize {
        self.gate.bytes.load(Ordering::Relaxed)
    }
}

impl<T: Weigh> Receiver<T> {
    fn taken(&self, item: T) -> T {
        self.gate.bytes.fetch_sub(item.weight(), Ordering::SeqCst);
        self.gate.room_was_made();
        item
    }

    /// The next item; blocks the thread. `None` when all senders are gone and the queue is empty.
    pub fn recv(&self) -> Option<T> {
        self.items.recv().ok().map(|item| self.taken(item))
    }

    /// The next item, or why there is none; blocks the thread for at most `timeout`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        match self.items.recv_timeout(timeout) {
            Ok(item) => Ok(self.taken(item)),
            Err(crossbeam::RecvTimeoutError::Timeout) => Err(RecvError::Timeout),
            Err(crossbeam::RecvTimeoutError::Disconnected) => Err(RecvError::Closed),
        }
    }

    /// The next item if there is one now.
    pub fn try_recv(&self) -> Option<T> {
        self.items.try_recv().ok().map(|item| self.taken(item))
    }

    /// Items waiting. Unlike a [`Depth`], this does not keep the queue open.
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// All items until the senders are gone.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv())
    }
}

impl<T: Weigh> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Senders look at the flag before anything else, so whatever bytes are still counted holds nobody back.
        self.gate.closed.store(true, Ordering::SeqCst);
        self.gate.room_was_made();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[derive(Debug, PartialEq, Eq)]
    struct Item(usize);
    impl Weigh for Item {
        fn weight(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn both_bounds_hold_and_one_heavy_item_passes_alone() {
        let (sender, receiver) = bounded(Bound { items: 2, bytes: 10 });
        assert_eq!(sender.try_send(Item(50)), Ok(()));
        assert_eq!(sender.try_send(Item(1)), Err(TrySendError::Full(Item(1))));
        assert_eq!(receiver.recv(), Some(Item(50)));
        assert_eq!(sender.try_send(Item(0)), Ok(()));
        assert_eq!(sender.try_send(Item(0)), Ok(()));
        assert_eq!(sender.try_send(Item(0)), Err(TrySendError::Full(Item(0))));
        assert_eq!((sender.depth().items(), sender.depth().bytes()), (2, 0));
    }

    #[test]
    fn a_blocked_thread_goes_on_when_room_is_made_and_everything_arrives_in_order() {
        let (sender, receiver) = bounded(Bound { items: 4, bytes: 64 });
        let writer = thread::spawn(move || (0..10_000).try_for_each(|n| sender.send(Item(n % 40))));
        let got: Vec<usize> = receiver.iter().map(|item| item.0).collect();
        assert!(writer.join().expect("no panic").is_ok());
        assert_eq!(got, (0..10_000).map(|n| n % 40).collect::<Vec<_>>());
    }

    #[test]
    fn dropping_the_receiver_frees_a_blocked_thread() {
        let (sender, receiver) = bounded(Bound { items: 1, bytes: 10 });
        sender.send(Item(10)).expect("room");
        let writer = thread::spawn(move || sender.send(Item(1)));
        drop(receiver);
        assert_eq!(writer.join().expect("no panic"), Err(Closed(Item(1))));
    }

    #[tokio::test]
    async fn a_task_waits_without_blocking_and_everything_arrives_in_order() {
        let (sender, receiver) = bounded(Bound { items: 4, bytes: 64 });
        let reader = thread::spawn(move || receiver.iter().map(|item: Item| item.0).collect::<Vec<_>>());
        for n in 0..10_000 {
            sender.send_async(Item(n % 40)).await.expect("reader is there");
        }
        drop(sender);
        assert_eq!(reader.join().expect("no panic"), (0..10_000).map(|n| n % 40).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_task_learns_that_the_receiver_left() {
        let (sender, receiver) = bounded(Bound { items: 1, bytes: 10 });
        sender.send_async(Item(1)).await.expect("room");
        let waiting = sender.clone();
        let task = tokio::spawn(async move { waiting.send_async(Item(2)).await });
        tokio::task::yield_now().await;
        drop(receiver);
        assert_eq!(task.await.expect("no panic"), Err(Closed(Item(2))));
    }
}
