//! A bad network: a relay of UDP in this process that loses, delays, reorders and doubles what it carries.
//!
//! What becomes of the n-th datagram of a direction depends on the seed alone, and not on when it comes; so a run can be
//! repeated, as far as the peers repeat theirs. Every client has a socket of its own towards the server, as behind a router.
//!
//! One thread reads what clients send, one per client reads what the server answers, one sends what is due. All end when the
//! [`Relay`] is dropped.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

/// Datagrams under way at most, 1 s of 100 Mbit/s; more are dropped and counted.
const MAX_UNDER_WAY: usize = 10_000;
/// Clients at most; datagrams of more are dropped and counted.
const MAX_CLIENTS: usize = 32;
/// Longest datagram.
const MAX_DATAGRAM: usize = 2_048;
/// What sockets hold while the machine has no time for us.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// How often a reader looks whether it shall end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How datagrams are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// Each for itself, with this probability.
    Even(f64),
    /// In bursts (Gilbert's model): a burst begins before a datagram with the first probability and ends before one with the
    /// second; all in it are lost. In the mean it is `1 / end` long, and `begin / (begin + end)` of all are lost.
    Bursts { begin: f64, end: f64 },
}

/// One direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    pub loss: Loss,
    /// From one end to the other, at least.
    pub delay: Duration,
    /// Up to so much more, each for itself: what is sent closer together is reordered.
    pub jitter: Duration,
    /// Share of datagrams that come twice.
    pub duplicates: f64,
}

impl Link {
    /// Half of `round_trip`, and `loss`.
    pub fn new(round_trip: Duration, loss: Loss) -> Self {
        Link { loss, delay: round_trip / 2, jitter: Duration::ZERO, duplicates: 0.0 }
    }
}

/// What became of the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That came in.
    pub received: u64,
    /// That the link lost.
    pub lost: u64,
    /// That fell into a [`Relay::blackhole`].
    pub swallowed: u64,
    /// That were sent twice.
    pub doubled: u64,
    /// That went out after one that had come in later.
    pub overtaken: u64,
    /// That were too many.
    pub overflowed: u64,
    /// That went out, copies included.
    pub sent: u64,
}

/// The two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Client to server.
    Up = 0,
    /// Server to client.
    Down = 1,
}

/// What becomes of one datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fate {
    lost: bool,
    delay: Duration,
    /// When its copy comes.
    copy: Option<Duration>,
}

/// The fates of a direction, one after the other.
#[derive(Clone, Debug)]
struct Fates {
    link: Link,
    /// Of SplitMix64 (Steele, Lea, Flood 2014): every seed gives a full period.
    state: u64,
    in_burst: bool,
}

impl Fates {
    fn new(link: Link, seed: u64, way: Way) -> Self {
        // The directions differ, also with the same seed.
        Fates { link, state: seed ^ (way as u64 + 1).wrapping_mul(0xD1B5_4A32_D192_ED03), in_burst: false }
    }

    /// Evenly from [0, 1).
    fn draw(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Draws the same number of times for each datagram, so that a fate depends on its number alone.
    fn next(&mut self) -> Fate {
        let [loss, jitter, double, second_jitter] = [(); 4].map(|()| self.draw());
        let lost = match self.link.loss {
            Loss::Even(probability) => loss < probability,
            Loss::Bursts { begin, end } => {
                self.in_burst = if self.in_burst { loss >= end } else { loss < begin };
                self.in_burst
            }
        };
        let delayed = |share| self.link.delay + self.link.jitter.mul_f64(share);
        let copy = (double < self.link.duplicates).then(|| delayed(second_jitter));
        Fate { lost, delay: delayed(jitter), copy }
    }
}

/// A datagram under way.
struct UnderWay {
    due: Instant,
    /// Its number in its direction.
    number: u64,
    way: Way,
    via: Arc<UdpSocket>,
    to: SocketAddr,
    data: Vec<u8>,
}

/// The earliest is the greatest, as [`BinaryHeap`] wants it.
impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for UnderWay {}

struct State {
    fates: [Fates; 2],
    counts: [Counts; 2],
    /// The highest number that went out, per direction.
    newest: [u64; 2],
    under_way: BinaryHeap<UnderWay>,
    dark_until: Option<Instant>,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> bool {
        self.lock().ended
    }

    /// Takes a datagram in.
    fn carry(&self, way: Way, via: &Arc<UdpSocket>, to: SocketAddr, data: &[u8]) {
        let now = Instant::now();
        let mut state = self.lock();
        let fate = state.fates[way as usize].next();
        let dark = state.dark_until.is_some_and(|until| now < until);
        let free = MAX_UNDER_WAY.saturating_sub(state.under_way.len());
        let counts = &mut state.counts[way as usize];
        counts.received += 1;
        let number = counts.received;
        if dark {
            counts.swallowed += 1;
        } else if fate.lost {
            counts.lost += 1;
        } else if free < 2 {
            counts.overflowed += 1;
        } else {
            counts.doubled += u64::from(fate.copy.is_some());
            for delay in [Some(fate.delay), fate.copy].into_iter().flatten() {
                let (via, data) = (via.clone(), data.to_owned());
                state.under_way.push(UnderWay { due: now + delay, number, way, via, to, data });
            }
            self.changed.notify_all();
        }
    }

    /// Sends what is due, until the end.
    fn send_when_due(&self) {
        let mut state = self.lock();
        while !state.ended {
            let now = Instant::now();
            let due = state.under_way.peek().map(|next| next.due);
            match due {
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) if due > now => {
                    let waited = self.changed.wait_timeout(state, due - now);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(_) => {
                    let Some(next) = state.under_way.pop() else { continue };
                    let way = next.way as usize;
                    state.counts[way].sent += 1;
                    state.counts[way].overtaken += u64::from(next.number < state.newest[way]);
                    state.newest[way] = state.newest[way].max(next.number);
                    drop(state);
                    // A peer that is gone refuses; to the other one that is a loss like any.
                    let _ = next.via.send_to(&next.data, next.to);
                    state = self.lock();
                }
            }
        }
    }
}

/// A relay in front of one server.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Relays to `server`: what clients send through `up`, what it answers through `down`.
    pub fn start(server: SocketAddr, up: Link, down: Link, seed: u64) -> Self {
        let front = Arc::new(socket().expect("a free port"));
        let address = front.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                fates: [Fates::new(up, seed, Way::Up), Fates::new(down, seed, Way::Down)],
                counts: [Counts::default(); 2],
                newest: [0; 2],
                under_way: BinaryHeap::new(),
                dark_until: None,
                ended: false,
            }),
            changed: Condvar::new(),
        });
        let threads = vec![
            thread::spawn({
                let shared = shared.clone();
                move || shared.send_when_due()
            }),
            thread::spawn({
                let shared = shared.clone();
                move || serve_clients(&shared, &front, server)
            }),
        ];
        Relay { address, shared, threads }
    }

    /// The same network in both directions.
    pub fn both_ways(server: SocketAddr, link: Link, seed: u64) -> Self {
        Relay::start(server, link, link, seed)
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on and for so long, nothing comes through in either direction. What is under way arrives.
    pub fn blackhole(&self, length: Duration) {
        self.shared.lock().dark_until = Some(Instant::now() + length);
    }

    /// What it did so far, to the server and from it.
    pub fn counts(&self) -> [Counts; 2] {
        self.shared.lock().counts
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !thread::panicking() {
                ended.expect("the relay does not panic");
            }
        }
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(LOOK_EVERY))?;
    // The system may allow less.
    let _ = setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER_BYTES);
    Ok(socket)
}

/// Reads datagrams until the end. A refusal by a peer that is gone, and the end of a wait, are no end.
fn read_all(shared: &Shared, socket: &UdpSocket, mut take: impl FnMut(SocketAddr, &[u8])) {
    let mut buffer = [0; MAX_DATAGRAM];
    while !shared.ended() {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            take(from, &buffer[..length]);
        }
    }
}

fn serve_clients(shared: &Arc<Shared>, front: &Arc<UdpSocket>, server: SocketAddr) {
    let mut clients: Vec<(SocketAddr, Arc<UdpSocket>)> = Vec::new();
    let mut readers = Vec::new();
    read_all(shared, front, |client, data| {
        if !clients.iter().any(|(known, _)| *known == client) && clients.len() < MAX_CLIENTS {
            let back = Arc::new(socket().expect("a free port"));
            clients.push((client, back.clone()));
            let (shared, front) = (shared.clone(), front.clone());
            readers.push(thread::spawn(move || {
                read_all(&shared, &back, |from, data| {
                    if from == server {
                        shared.carry(Way::Down, &front, client, data);
                    }
                });
            }));
        }
        match clients.iter().find(|(known, _)| *known == client) {
            Some((_, back)) => shared.carry(Way::Up, back, server, data),
            None => shared.lock().counts[Way::Up as usize].overflowed += 1,
        }
    });
    for reader in readers {
        reader.join().expect("the relay does not panic");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Far beyond what a loaded machine needs.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn end(to: Option<SocketAddr>) -> UdpSocket {
        let end = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        setsockopt(&end, sockopt::RcvBuf, &SOCKET_BUFFER_BYTES).expect("a buffer");
        end.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        if let Some(to) = to {
            end.connect(to).expect("connected");
        }
        end
    }

    fn number(end: &UdpSocket) -> (u32, SocketAddr) {
        let mut bytes = [0; 4];
        let (_, from) = end.recv_from(&mut bytes).expect("a datagram comes");
        (u32::from_be_bytes(bytes), from)
    }

    const CLEAN: Link = Link { loss: Loss::Even(0.0), delay: Duration::ZERO, jitter: Duration::ZERO, duplicates: 0.0 };

    /// Sends `count` numbers through a relay, one at a time as the relay takes them, and returns how often each arrived, in
    /// the order of arrival, and what was counted.
    fn through(link: Link, seed: u64, count: u32) -> (Vec<u32>, Counts) {
        let server = end(None);
        let relay = Relay::start(server.local_addr().expect("bound"), link, CLEAN, seed);
        let client = end(Some(relay.address()));
        for number in 0..count {
            client.send(&number.to_be_bytes()).expect("sent");
            // So that no socket's buffer overflows: an event, not a pause.
            while relay.counts()[0].received <= u64::from(number) {
                thread::yield_now();
            }
        }
        let expected = relay.counts()[0].received - relay.counts()[0].lost + relay.counts()[0].doubled;
        let arrived = (0..expected).map(|_| number(&server).0).collect();
        (arrived, relay.counts()[0])
    }

    #[test]
    fn a_clean_link_carries_everything_both_ways_and_keeps_clients_apart() {
        let server = end(None);
        let relay = Relay::both_ways(server.local_addr().expect("bound"), CLEAN, 1);
        let clients = [end(Some(relay.address())), end(Some(relay.address()))];
        for (index, client) in (0u32..).zip(&clients) {
            client.send(&index.to_be_bytes()).expect("sent");
            let (got, from) = number(&server);
            assert_eq!(got, index);
            server.send_to(&(100 + index).to_be_bytes(), from).expect("sent");
        }
        let answers = clients.each_ref().map(|client| number(client).0);
        assert_eq!(answers, [100, 101]);
        let [up, down] = relay.counts();
        let all = Counts { received: 2, sent: 2, ..Counts::default() };
        assert_eq!([up, down], [all; 2]);
    }

    #[test]
    fn the_seed_decides_what_is_lost_and_doubled() {
        let link = Link { loss: Loss::Even(0.1), duplicates: 0.05, ..CLEAN };
        let (first, counts) = through(link, 7, 1_000);
        let (mut again, same) = through(link, 7, 1_000);
        assert_eq!((counts.lost, counts.doubled), (same.lost, same.doubled));
        let (mut sorted, other) = (first.clone(), through(link, 8, 1_000).0);
        sorted.sort();
        again.sort();
        assert_eq!(sorted, again);
        assert_ne!(first, other);
        assert!((70..130).contains(&counts.lost), "{counts:?}");
        assert!((25..75).contains(&counts.doubled), "{counts:?}");
        let mut copies = BTreeMap::<u32, u32>::new();
        first.iter().for_each(|number| *copies.entry(*number).or_default() += 1);
        assert_eq!(copies.len() as u64, 1_000 - counts.lost);
        assert_eq!(copies.values().filter(|copies| **copies == 2).count() as u64, counts.doubled);
    }

    #[test]
    fn bursts_are_as_long_and_as_many_as_was_asked_for() {
        let mut fates = Fates::new(Link { loss: Loss::Bursts { begin: 0.005, end: 0.25 }, ..CLEAN }, 3, Way::Up);
        let lost: Vec<bool> = (0..100_000).map(|_| fates.next().lost).collect();
        let all = lost.iter().filter(|lost| **lost).count();
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((1_700..2_200).contains(&all), "{all} of 100000 lost, 1960 in the mean");
        assert!((34..46).contains(&(10 * all / bursts)), "{all} in {bursts} bursts, 4 each in the mean");
        let mut down = Fates::new(Link { loss: Loss::Bursts { begin: 0.005, end: 0.25 }, ..CLEAN }, 3, Way::Down);
        assert_ne!(lost, (0..100_000).map(|_| down.next().lost).collect::<Vec<_>>(), "each direction has its own");
    }

    #[test]
    fn what_is_delayed_comes_no_sooner_and_jitter_reorders() {
        let link = Link { delay: Duration::from_millis(50), jitter: Duration::from_millis(30), ..CLEAN };
        let began = Instant::now();
        let (arrived, counts) = through(link, 5, 500);
        assert!(began.elapsed() >= link.delay);
        let turned = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!(turned > 0 && counts.overtaken >= turned as u64, "{turned} of {counts:?}");
        let mut sorted = arrived;
        sorted.sort();
        assert_eq!(sorted, (0..500).collect::<Vec<_>>());
        let delays: Vec<Duration> = {
            let mut fates = Fates::new(link, 5, Way::Up);
            (0..1_000).map(|_| fates.next().delay).collect()
        };
        assert!(delays.iter().all(|delay| (link.delay..link.delay + link.jitter).contains(delay)));
    }

    #[test]
    fn a_blackhole_swallows_and_ends() {
        let server = end(None);
        let relay = Relay::both_ways(server.local_addr().expect("bound"), CLEAN, 1);
        let client = end(Some(relay.address()));
        relay.blackhole(PATIENCE);
        client.send(&1u32.to_be_bytes()).expect("sent");
        while relay.counts()[0].received == 0 {
            thread::yield_now();
        }
        relay.blackhole(Duration::ZERO);
        client.send(&2u32.to_be_bytes()).expect("sent");
        assert_eq!(number(&server).0, 2);
        assert_eq!(relay.counts()[0], Counts { received: 2, swallowed: 1, sent: 1, ..Counts::default() });
    }

    #[test]
    fn too_many_are_dropped_and_counted() {
        let link = Link { delay: PATIENCE, ..CLEAN };
        let server = end(None);
        let relay = Relay::start(server.local_addr().expect("bound"), link, CLEAN, 1);
        let back = Arc::new(end(None));
        for _ in 0..MAX_UNDER_WAY + 5 {
            relay.shared.carry(Way::Up, &back, relay.address(), b"x");
        }
        assert_eq!(relay.counts()[0].overflowed, 6, "one place is kept for a copy");
    }
}
