//! What was released, joined to pieces and queued for the session.
//!
//! A session that is busy makes its publisher wait; the caller cannot be made to wait, so the queue between has a bound in
//! bytes. What does not fit is lost, and the next piece that fits says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::listen::{CloseReason, Publisher};
use crate::wire::Inbound;
use crate::wire::srt::Released;
use crate::wire::ts::Piece;

/// Pieces that wait at most, however small: at one per 10 ms, as a peer of one tiny packet per tick would have it.
const MAX_PIECES: usize = 4_096;
/// Pieces that are handed over together.
const BATCH: usize = 32;

/// The queue of one connection.
pub(super) fn queue(max_bytes: usize) -> (Pieces, Feed) {
    let (sender, receiver) = mpsc::channel(MAX_PIECES);
    let queued = Arc::new(AtomicUsize::new(0));
    (Pieces { sender, queued: queued.clone(), max_bytes, lost: false, overflowed: 0 }, Feed { receiver, queued })
}

/// Where pieces are put.
pub(super) struct Pieces {
    sender: mpsc::Sender<Piece>,
    queued: Arc<AtomicUsize>,
    max_bytes: usize,
    /// The next piece says that something before it is missing.
    lost: bool,
    /// Payloads that did not fit.
    overflowed: u64,
}

impl Pieces {
    /// Joins `released` and queues it. Pieces end where something is missing.
    pub(super) fn put(&mut self, released: &mut Vec<Released>) {
        let mut rest = released.as_mut_slice();
        while !rest.is_empty() {
            let run = 1 + rest.iter().skip(1).take_while(|one| !one.lost).count();
            let (joined, behind) = rest.split_at_mut(run);
            let lost = joined.first().is_some_and(|first| first.lost);
            let data = match joined {
                [one] => std::mem::take(&mut one.data),
                several => join(several),
            };
            self.queue(Piece { data, lost }, run as u64);
            rest = behind;
        }
        released.clear();
    }

    fn queue(&mut self, mut piece: Piece, payloads: u64) {
        let length = piece.data.len();
        piece.lost |= self.lost;
        // Counted before it is in the queue: the other end may take it out at once.
        let queued = self.queued.fetch_add(length, Ordering::Relaxed);
        self.lost = queued.saturating_add(length) > self.max_bytes || self.sender.try_send(piece).is_err();
        if self.lost {
            self.queued.fetch_sub(length, Ordering::Relaxed);
            self.overflowed += payloads;
        }
    }

    /// Payloads that did not fit.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed
    }
}

fn join(several: &[Released]) -> Bytes {
    let mut joined = BytesMut::with_capacity(several.iter().map(|one| one.data.len()).sum());
    several.iter().for_each(|one| joined.extend_from_slice(&one.data));
    joined.freeze()
}

/// Where pieces are taken from.
pub(super) struct Feed {
    receiver: mpsc::Receiver<Piece>,
    queued: Arc<AtomicUsize>,
}

impl Feed {
    /// Hands everything to `publisher`, until [`Pieces`] is gone and all is handed over.
    pub(super) async fn run<P: Publisher>(mut self, publisher: &P) -> Result<(), CloseReason> {
        let mut batch = Vec::with_capacity(BATCH);
        while self.receiver.recv_many(&mut batch, BATCH).await > 0 {
            let length: usize = batch.iter().map(|piece| piece.data.len()).sum();
            publisher.send(batch.drain(..).map(Inbound::Ts)).await?;
            self.queued.fetch_sub(length, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn released(data: &'static [u8], lost: bool) -> Released {
        Released { data: Bytes::from_static(data), lost }
    }

    fn taken(feed: &mut Feed) -> Vec<(Vec<u8>, bool)> {
        std::iter::from_fn(|| feed.receiver.try_recv().ok()).map(|piece| (piece.data.to_vec(), piece.lost)).collect()
    }

    #[test]
    fn payloads_are_joined_up_to_the_next_hole() {
        let (mut pieces, mut feed) = queue(100);
        let mut all = vec![released(b"a", false), released(b"b", false), released(b"c", true), released(b"d", false)];
        pieces.put(&mut all);
        assert!(all.is_empty());
        assert_eq!(taken(&mut feed), [(b"ab".to_vec(), false), (b"cd".to_vec(), true)]);
    }

    #[test]
    fn what_does_not_fit_is_lost_and_the_next_piece_says_so() {
        let (mut pieces, mut feed) = queue(4);
        for data in [b"aaa", b"bbb"] {
            pieces.put(&mut vec![released(data, false)]);
        }
        assert_eq!((taken(&mut feed), pieces.overflowed()), (vec![(b"aaa".to_vec(), false)], 1));
        feed.queued.store(0, Ordering::Relaxed);
        pieces.put(&mut vec![released(b"ccc", false)]);
        pieces.put(&mut vec![released(b"d", false)]);
        assert_eq!(taken(&mut feed), [(b"ccc".to_vec(), true), (b"d".to_vec(), false)]);
    }
}
