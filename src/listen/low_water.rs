//! How much must have arrived before a publisher's connection is woken.
//!
//! A network brings a stream in pieces of 1.4 KB or less, sound comes in packets of some hundred bytes, and each of them would wake a task, then
//! the session's thread: at fifty streams that costs more than all the work on the packets. So the kernel is asked to
//! wake us once about `GATHER` worth of the stream is there (SO_RCVLOWAT, socket(7)). Whatever is less waits for
//! `HOLD` at most: then the mark is taken back, which wakes us at once if there is anything. The end of a connection
//! wakes at any time. Why that is right over TLS too stands with its implementation in [`super::tls`].

use std::os::fd::AsFd;
use std::time::Duration;

use nix::libc; // the macro below names it
use nix::sys::socket::setsockopt;
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Media time that is gathered: about one frame. Twice as much saves no more (docs/performance.md).
const GATHER: Duration = Duration::from_millis(40);
/// Longest time that a byte waits for others: less than the 50 ms behind the end of a part in which viewers are to get it.
pub(super) const HOLD: Duration = Duration::from_millis(45);
/// The rate of the stream is measured over this time.
const MEASURE: Duration = Duration::from_secs(1);
/// Below this a mark is not worth its system call: 0.4 Mbit/s with [`GATHER`].
const LEAST: usize = 2 << 10;
/// Far below any receive buffer, so that the sender's window is never exhausted by it.
const MOST: usize = 48 << 10;

/// A socket whose low-water mark can be set.
pub trait LowWater {
    /// Wake when so many bytes are there; 1 is the system's own default. Advisory: what cannot be set stays as it was.
    fn set_low_water(&self, bytes: usize);
}

sockopt_impl!(
    /// SO_RCVLOWAT of socket(7).
    ReceiveLowWater,
    Both,
    libc::SOL_SOCKET,
    libc::SO_RCVLOWAT,
    usize
);

impl LowWater for TcpStream {
    fn set_low_water(&self, bytes: usize) {
        // Without it we are woken more often, and nothing else changes.
        let _ = setsockopt(&self.as_fd(), ReceiveLowWater, &bytes);
    }
}

/// The mark of one connection.
#[derive(Debug)]
pub(super) struct Gathering {
    since: Instant,
    bytes: usize,
    /// What the stream's rate asks for.
    wanted: usize,
    /// What the socket has.
    set: usize,
}

impl Gathering {
    /// The system's default, until a rate has been measured.
    pub(super) fn new(now: Instant) -> Self {
        Gathering { since: now, bytes: 0, wanted: 1, set: 1 }
    }

    /// Bytes were read.
    pub(super) fn after_read(&mut self, socket: &impl LowWater, bytes: usize, now: Instant) {
        self.bytes = self.bytes.saturating_add(bytes);
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= MEASURE {
            let gathered = self.bytes as u128 * GATHER.as_nanos() / elapsed.as_nanos().max(1);
            let gathered = usize::try_from(gathered).unwrap_or(MOST).min(MOST);
            self.wanted = if gathered < LEAST { 1 } else { gathered };
            (self.since, self.bytes) = (now, 0);
        }
        // Small changes of the rate are not worth a system call.
        if self.wanted.abs_diff(self.set) > self.set / 4 {
            self.set(socket, self.wanted);
        }
    }

    /// Whether what has arrived may be held back now.
    pub(super) fn holds(&self) -> bool {
        self.set > 1
    }

    /// Takes the mark back until something is read.
    pub(super) fn release(&mut self, socket: &impl LowWater) {
        self.set(socket, 1);
    }

    fn set(&mut self, socket: &impl LowWater, bytes: usize) {
        socket.set_low_water(bytes);
        self.set = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[derive(Default)]
    struct Told(RefCell<Vec<usize>>);

    impl LowWater for Told {
        fn set_low_water(&self, bytes: usize) {
            self.0.borrow_mut().push(bytes);
        }
    }

    #[test]
    fn the_mark_follows_the_rate_and_small_changes_are_let_be() {
        let (socket, start) = (Told::default(), Instant::now());
        let mut gathering = Gathering::new(start);
        let mut second = 0;
        let mut read = |gathering: &mut Gathering, bytes| {
            second += 1;
            gathering.after_read(&socket, bytes, start + MEASURE * second);
        };
        for bytes in [750_000, 800_000, 400_000, 40_000, 90_000_000] {
            read(&mut gathering, bytes);
        }
        assert_eq!(*socket.0.borrow(), [30_000, 16_000, 1, MOST]);
        assert!(gathering.holds());
        gathering.release(&socket);
        assert!(!gathering.holds());
        gathering.after_read(&socket, 1, start + MEASURE * 5); // within the measure: what was wanted is set again
        assert_eq!(socket.0.borrow()[4..], [1, MOST]);
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (ours.expect("connected"), theirs.expect("accepted").0)
    }

    #[tokio::test]
    async fn what_is_held_back_comes_when_the_mark_is_taken_back_and_at_the_end() {
        for at_the_end in [false, true] {
            let (mut peer, mut socket) = pair().await;
            let mut seen = [0; 16];
            // A new socket counts as ready until somebody has looked.
            assert!(socket.try_read(&mut seen).is_err(), "nothing was sent yet");
            socket.set_low_water(4_096);
            peer.write_all(b"little").await.expect("written");
            // The bytes are there, as a look past the mark shows, and nobody was woken.
            while socket.as_fd_peek(&mut seen) < 6 {
                tokio::task::yield_now().await;
            }
            for _ in 0..10 {
                tokio::select! {
                    biased;
                    _ = socket.readable() => panic!("woken for less than the mark"),
                    () = tokio::task::yield_now() => {} // lets the driver look
                }
            }
            if at_the_end {
                drop(peer);
            } else {
                socket.set_low_water(1);
            }
            assert_eq!(socket.read(&mut seen).await.expect("read"), 6);
            assert_eq!(&seen[..6], b"little");
        }
    }

    trait Peek {
        fn as_fd_peek(&self, into: &mut [u8]) -> usize;
    }

    impl Peek for TcpStream {
        fn as_fd_peek(&self, into: &mut [u8]) -> usize {
            use nix::sys::socket::{MsgFlags, recv};
            use std::os::fd::AsRawFd;
            recv(self.as_raw_fd(), into, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT).unwrap_or(0)
        }
    }
}
