//! Bounded queues between threads, and from tasks to threads.
//!
//! A queue is bounded twice, in items and in payload bytes, because a hundred packets of one stream may be 100 KB or
//! 100 MB. A sender that finds the queue full waits: threads with [`Sender::send`], tasks with [`Sender::send_async`]. One
//! item is always let in, however large, so that no item can wait for ever.
//!
//! One lock and plain sleeping, and no spinning before it: media comes some dozen times a second, so that a receiver that
//! spins for the next packet burns more than all the work on it (docs/performance.md has the figures).

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
struct Queue<T> {
    bound: Bound,
    state: Mutex<State<T>>,
    /// For the receiver: an item came, or the last sender left.
    filled: Condvar,
    /// For threads that send: room was made, or the receiver left.
    room: Condvar,
    /// The same for tasks.
    room_for_tasks: Notify,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    bytes: usize,
    senders: usize,
    receiver_gone: bool,
    /// The receiver sleeps: nobody else needs a wake-up, which is a system call.
    receiver_waits: bool,
    /// Senders that wait, threads and tasks.
    senders_wait: usize,
}

impl<T: Weigh> State<T> {
    fn put(&mut self, item: T, bound: Bound) -> Result<(), TrySendError<T>> {
        if self.receiver_gone {
            return Err(TrySendError::Closed(item));
        }
        let weight = item.weight();
        let heavy = self.bytes != 0 && self.bytes.saturating_add(weight) > bound.bytes;
        if self.items.len() >= bound.items.max(1) || heavy {
            return Err(TrySendError::Full(item));
        }
        self.bytes = self.bytes.saturating_add(weight);
        self.items.push_back(item);
        Ok(())
    }

    /// Asked under the lock, so that a sender that comes now knows whom to wake.
    fn receiver_must_wait(&mut self) -> bool {
        self.receiver_waits = self.items.is_empty() && self.senders > 0;
        self.receiver_waits
    }

    fn take(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.bytes = self.bytes.saturating_sub(item.weight());
        Some(item)
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_receiver(&self, mut state: MutexGuard<'_, State<T>>) {
        if std::mem::take(&mut state.receiver_waits) {
            drop(state);
            self.filled.notify_one();
        }
    }

    fn wake_senders(&self, state: MutexGuard<'_, State<T>>) {
        if state.senders_wait > 0 {
            drop(state);
            self.room.notify_all();
            self.room_for_tasks.notify_waiters();
        }
    }
}

/// Counts a waiting sender for as long as it lives, so that a cancelled `send_async` does not stay counted.
struct Waiting<'a, T>(&'a Queue<T>);

impl<'a, T> Waiting<'a, T> {
    fn new(queue: &'a Queue<T>) -> Self {
        queue.lock().senders_wait += 1;
        Waiting(queue)
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.0.lock().senders_wait -= 1;
    }
}

/// The writing side; clone it for more writers.
#[derive(Debug)]
pub struct Sender<T>(Arc<Queue<T>>);

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        if state.senders == 0 {
            self.0.wake_receiver(state);
        }
    }
}

/// The reading side. Dropping it wakes all senders with [`Closed`].
#[derive(Debug)]
pub struct Receiver<T: Weigh>(Arc<Queue<T>>);

/// What is in a queue now, for gauges. It does not keep the queue open.
#[derive(Debug)]
pub struct Depth<T>(Arc<Queue<T>>);

/// Makes a queue that holds at most `bound`, and at least one item.
pub fn bounded<T: Weigh>(bound: Bound) -> (Sender<T>, Receiver<T>) {
    let state = State {
        items: VecDeque::new(),
        bytes: 0,
        senders: 1,
        receiver_gone: false,
        receiver_waits: false,
        senders_wait: 0,
    };
    let queue = Arc::new(Queue {
        bound,
        state: Mutex::new(state),
        filled: Condvar::new(),
        room: Condvar::new(),
        room_for_tasks: Notify::new(),
    });
    (Sender(queue.clone()), Receiver(queue))
}

impl<T: Weigh> Sender<T> {
    /// Puts `item` in, or hands it back at once.
    ///
    /// # Errors
    /// The queue is full, or its receiver is gone.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let mut state = self.0.lock();
        state.put(item, self.0.bound)?;
        self.0.wake_receiver(state);
        Ok(())
    }

    /// Puts `item` in, blocking the thread while the queue is full. Not for tasks.
    ///
    /// # Errors
    /// The receiver is gone.
    pub fn send(&self, item: T) -> Result<(), Closed<T>> {
        self.send_within(item, self.0.bound)
    }

    /// Puts `item` in also where the queue is full, up to so many items more than its bound; then blocks the thread. For what
    /// is small and rare and must not wait behind what is not.
    ///
    /// # Errors
    /// The receiver is gone.
    pub fn send_beyond(&self, item: T, more: usize) -> Result<(), Closed<T>> {
        let items = self.0.bound.items.saturating_add(more);
        self.send_within(item, Bound { items, bytes: usize::MAX })
    }

    fn send_within(&self, item: T, bound: Bound) -> Result<(), Closed<T>> {
        let mut item = item;
        let mut state = self.0.lock();
        loop {
            item = match state.put(item, bound) {
                Ok(()) => break,
                Err(TrySendError::Closed(item)) => return Err(Closed(item)),
                Err(TrySendError::Full(item)) => item,
            };
            state.senders_wait += 1;
            state = self.0.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.senders_wait -= 1;
        }
        self.0.wake_receiver(state);
        Ok(())
    }

    /// Puts `item` in, suspending the task while the queue is full. Cancelling it loses the item.
    ///
    /// # Errors
    /// The receiver is gone.
    pub async fn send_async(&self, item: T) -> Result<(), Closed<T>> {
        let mut item = match self.try_send(item) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(item)) => return Err(Closed(item)),
            Err(TrySendError::Full(item)) => item,
        };
        let _waiting = Waiting::new(&self.0);
        loop {
            let notified = self.0.room_for_tasks.notified();
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

    /// Puts the items in, in their order, with one wake-up for as many as there is room for; suspends the task while the
    /// queue is full. Cancelling it loses those that are not in.
    ///
    /// # Errors
    /// The receiver is gone; the first item that was not taken comes back.
    pub async fn send_each_async(&self, items: impl Iterator<Item = T>) -> Result<(), Closed<T>> {
        let mut items = items;
        loop {
            match self.try_send_each(&mut items) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(item)) => return Err(Closed(item)),
                Err(TrySendError::Full(item)) => self.send_async(item).await?,
            }
        }
    }

    /// Puts items in until one is not taken, which comes back.
    fn try_send_each(&self, items: &mut impl Iterator<Item = T>) -> Result<(), TrySendError<T>> {
        let Some(first) = items.next() else { return Ok(()) };
        let mut state = self.0.lock();
        let result = state.put(first, self.0.bound);
        // The lock is held while the items are made: an iterator does no more than wrap what it has.
        let result = result.and_then(|()| items.try_for_each(|item| state.put(item, self.0.bound)));
        self.0.wake_receiver(state);
        result
    }

    /// Lets `prune` take items out of those that wait, and hands these back: what a sender may do who would rather lose what is
    /// old than what is new.
    pub fn prune(&self, prune: impl FnOnce(&mut VecDeque<T>) -> Vec<T>) -> Vec<T> {
        let mut state = self.0.lock();
        let pruned = prune(&mut state.items);
        let bytes = pruned.iter().map(Weigh::weight).fold(0, usize::saturating_add);
        state.bytes = state.bytes.saturating_sub(bytes);
        pruned
    }

    /// A gauge on this queue.
    pub fn depth(&self) -> Depth<T> {
        Depth(self.0.clone())
    }
}

impl<T> Depth<T> {
    /// Items waiting.
    pub fn items(&self) -> usize {
        self.0.lock().items.len()
    }

    /// Payload bytes waiting.
    pub fn bytes(&self) -> usize {
        self.0.lock().bytes
    }
}

impl<T: Weigh> Receiver<T> {
    /// The next item; blocks the thread. `None` when all senders are gone and the queue is empty.
    pub fn recv(&self) -> Option<T> {
        let filled = self.0.filled.wait_while(self.0.lock(), State::receiver_must_wait);
        self.take(filled.unwrap_or_else(PoisonError::into_inner)).ok()
    }

    /// The next item, or why there is none; blocks the thread for at most `timeout`.
    ///
    /// # Errors
    /// Nothing came within the time, or all senders are gone and the queue is empty.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        let filled = self.0.filled.wait_timeout_while(self.0.lock(), timeout, State::receiver_must_wait);
        self.take(filled.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn take(&self, mut state: MutexGuard<'_, State<T>>) -> Result<T, RecvError> {
        state.receiver_waits = false;
        let Some(item) = state.take() else {
            return Err(if state.senders == 0 { RecvError::Closed } else { RecvError::Timeout });
        };
        self.0.wake_senders(state);
        Ok(item)
    }

    /// The next item if there is one now.
    pub fn try_recv(&self) -> Option<T> {
        let mut state = self.0.lock();
        let item = state.take()?;
        self.0.wake_senders(state);
        Some(item)
    }

    /// Items waiting.
    pub fn items(&self) -> usize {
        self.0.lock().items.len()
    }

    /// All items until the senders are gone.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        std::iter::from_fn(|| self.recv())
    }
}

impl<T: Weigh> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.receiver_gone = true;
        // Nobody will take them; what they hold is let go now and outside of the lock.
        let left = std::mem::take(&mut state.items);
        state.bytes = 0;
        self.0.wake_senders(state);
        drop(left);
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
    fn what_a_sender_takes_out_makes_room_in_both_bounds() {
        let (sender, receiver) = bounded(Bound { items: 3, bytes: 10 });
        for item in [2, 5, 3] {
            sender.send(Item(item)).expect("room");
        }
        assert_eq!(sender.prune(|items| items.remove(1).into_iter().collect()), [Item(5)]);
        assert_eq!((sender.depth().items(), sender.depth().bytes()), (2, 5));
        assert_eq!(sender.try_send(Item(6)), Err(TrySendError::Full(Item(6))));
        assert_eq!(sender.try_send(Item(4)), Ok(()));
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [Item(2), Item(3), Item(4)]);
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
    async fn many_go_in_as_far_as_there_is_room_and_the_rest_waits() {
        let (sender, receiver) = bounded(Bound { items: 8, bytes: 10 });
        let mut items = [4, 5, 6, 1].map(Item).into_iter();
        assert_eq!(sender.try_send_each(&mut items), Err(TrySendError::Full(Item(6))));
        assert_eq!((sender.depth().items(), items.len()), (2, 1));
        let others = tokio::spawn(async move { sender.send_each_async([6, 1, 2, 9].map(Item).into_iter()).await });
        let got = tokio::task::spawn_blocking(move || receiver.iter().map(|item| item.0).collect::<Vec<_>>());
        assert_eq!(others.await.expect("no panic"), Ok(()));
        assert_eq!(got.await.expect("no panic"), [4, 5, 6, 1, 2, 9]);
    }

    #[tokio::test]
    async fn many_learn_that_the_receiver_left() {
        let (sender, receiver) = bounded(Bound { items: 8, bytes: 10 });
        drop(receiver);
        assert_eq!(sender.send_each_async([1, 2].map(Item).into_iter()).await, Err(Closed(Item(1))));
        assert_eq!(sender.send_each_async(std::iter::empty()).await, Ok(()));
    }

    #[test]
    fn a_receiver_that_waits_learns_that_the_last_sender_left_and_a_gauge_is_none() {
        let (sender, receiver) = bounded::<Item>(Bound { items: 1, bytes: 1 });
        let gauge = sender.depth();
        assert_eq!(receiver.recv_timeout(Duration::ZERO), Err(RecvError::Timeout));
        let other = sender.clone();
        let reader = thread::spawn(move || receiver.recv());
        drop(sender);
        drop(other);
        assert_eq!(reader.join().expect("no panic"), None);
        assert_eq!((gauge.items(), gauge.bytes()), (0, 0));
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
