//! How many connections are open, in all and per address, and who goes when there are too many.
//!
//! A connection that has not published yet is a stranger. Strangers never keep anybody out: when all places are taken, the
//! newcomer gets the place of the oldest stranger, of its own address when that is full, else of the address that has
//! most strangers. An encoder needs far less than a second from its connection to its publish, so it is through long
//! before it is the oldest of many; whoever only sits there makes room. Publishers are never displaced.
//!
//! A [`Place`] is held by its connection and given back on drop, also when the connection's task panics.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// What limits count as one address: IPv4 whole, IPv6 by its /64, which is what one customer has at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(IpAddr);

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(v6) => Address(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))),
            v4 => Address(v4),
        }
    }
}

/// Which bound was met, with nobody there who could make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many publishers in all.
    #[error("all {0} places for connections are taken by publishers")]
    Total(usize),
    /// Too many publishers of this address.
    #[error("all {0} places of this address are taken by publishers")]
    Address(usize),
}

/// The places of one listener.
#[derive(Clone, Debug)]
pub struct Places {
    max_total: usize,
    max_per_address: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    /// The next connection's number: a higher one is younger.
    next: u64,
    per_address: HashMap<Address, OfAddress>,
}

/// The connections of one address.
#[derive(Debug, Default)]
struct OfAddress {
    open: usize,
    /// The oldest first.
    strangers: VecDeque<Stranger>,
}

#[derive(Debug)]
struct Stranger {
    number: u64,
    displaced: CancellationToken,
}

/// One open connection's place.
#[derive(Debug)]
pub struct Place {
    number: u64,
    address: Address,
    displaced: CancellationToken,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    /// Places for `max_total` connections, of which `max_per_address` may come from one address.
    pub fn new(max_total: usize, max_per_address: usize) -> Self {
        Places { max_total, max_per_address, taken: Arc::default() }
    }

    /// Takes a place for a connection from `ip`, a stranger's if there is no other. True if somebody had to go for it.
    ///
    /// # Errors
    /// All places are taken by publishers.
    pub fn take(&self, ip: IpAddr) -> Result<(Place, bool), Full> {
        let address = Address::from(ip);
        let mut taken = lock(&self.taken);
        let of_address = taken.per_address.get(&address).map_or(0, |of| of.open);
        let displaced = if of_address >= self.max_per_address {
            taken.displace(Some(address)).ok_or(Full::Address(self.max_per_address))?;
            true
        } else if taken.total >= self.max_total {
            taken.displace(None).ok_or(Full::Total(self.max_total))?;
            true
        } else {
            false
        };
        let token = CancellationToken::new();
        let number = taken.next;
        taken.next += 1;
        taken.total += 1;
        let of = taken.per_address.entry(address).or_default();
        of.open += 1;
        of.strangers.push_back(Stranger { number, displaced: token.clone() });
        Ok((Place { number, address, displaced: token, taken: self.taken.clone() }, displaced))
    }

    /// Places taken now.
    pub fn taken(&self) -> usize {
        lock(&self.taken).total
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Taken {
    /// Takes the place of the oldest stranger of `address`, or else of the address that has most of them.
    fn displace(&mut self, address: Option<Address>) -> Option<()> {
        let address = address.or_else(|| {
            let strangers = self.per_address.iter().filter(|(_, of)| !of.strangers.is_empty());
            // Among equals the one whose oldest has been here longest.
            let most = strangers.max_by_key(|(_, of)| (of.strangers.len(), of.strangers.front().map(|s| !s.number)));
            most.map(|(address, _)| *address)
        })?;
        let stranger = self.per_address.get_mut(&address)?.strangers.pop_front()?;
        stranger.displaced.cancel();
        self.leave(address);
        Some(())
    }

    /// One connection of `address` less.
    fn leave(&mut self, address: Address) {
        self.total = self.total.saturating_sub(1);
        if let Some(of) = self.per_address.get_mut(&address) {
            of.open = of.open.saturating_sub(1);
            if of.open == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    /// The connection is a stranger no more, if it was one.
    fn acquaint(&mut self, address: Address, number: u64) {
        if let Some(of) = self.per_address.get_mut(&address) {
            of.strangers.retain(|stranger| stranger.number != number);
        }
    }
}

impl Place {
    /// The connection was let in: nobody takes its place until it ends. One that was displaced in the same moment goes on
    /// beyond the bound: an encoder with a right key is not sent away for strangers.
    pub fn keep(&self) {
        lock(&self.taken).acquaint(self.address, self.number);
    }

    /// Completes when another connection was given this place. Never for one that is kept.
    pub async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        // Under the lock: whoever is displaced has been counted out there.
        if !self.displaced.is_cancelled() {
            taken.acquaint(self.address, self.number);
            taken.leave(self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn publisher(places: &Places, address: &str) -> Place {
        let (place, _) = places.take(ip(address)).expect("free");
        place.keep();
        place
    }

    #[test]
    fn publishers_are_bounded_in_all_and_per_address_and_their_places_come_back() {
        let places = Places::new(3, 2);
        let first = publisher(&places, "192.0.2.1");
        let _second = publisher(&places, "192.0.2.1");
        assert_eq!(places.take(ip("192.0.2.1")).err(), Some(Full::Address(2)));
        let _other = publisher(&places, "192.0.2.2");
        assert_eq!(places.take(ip("192.0.2.3")).err(), Some(Full::Total(3)));
        drop(first);
        assert_eq!(places.taken(), 2);
        assert!(places.take(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn the_oldest_stranger_of_a_full_address_makes_room() {
        let places = Places::new(10, 3);
        let kept = publisher(&places, "192.0.2.1");
        let (old, _) = places.take(ip("192.0.2.1")).expect("free");
        let (young, _) = places.take(ip("192.0.2.1")).expect("free");
        let (new, displaced) = places.take(ip("192.0.2.1")).expect("a stranger goes");
        assert!(displaced && old.displaced.is_cancelled() && !young.displaced.is_cancelled());
        assert!(!new.displaced.is_cancelled() && !kept.displaced.is_cancelled());
        assert_eq!(places.taken(), 3);
        drop(old);
        assert_eq!(places.taken(), 3, "its place was given away already");
    }

    #[test]
    fn who_has_most_strangers_makes_room_for_others() {
        let places = Places::new(4, 3);
        let (honest, _) = places.take(ip("192.0.2.1")).expect("free");
        let crowd: Vec<Place> = (0..3).map(|_| places.take(ip("192.0.2.66")).expect("free").0).collect();
        let (newcomer, displaced) = places.take(ip("192.0.2.2")).expect("a stranger goes");
        assert!(displaced && crowd[0].displaced.is_cancelled() && !honest.displaced.is_cancelled());
        honest.keep();
        newcomer.keep();
        let (_another, _) = places.take(ip("192.0.2.3")).expect("a stranger goes");
        let (_last, _) = places.take(ip("192.0.2.4")).expect("a stranger goes");
        assert!(crowd.iter().all(|place| place.displaced.is_cancelled()));
    }

    #[test]
    fn nothing_is_remembered_of_addresses_that_left() {
        let places = Places::new(1, 10);
        let (first, _) = places.take(ip("192.0.2.1")).expect("free");
        let (second, _) = places.take(ip("192.0.2.2")).expect("a stranger goes");
        drop((first, second));
        let taken = places.taken.lock().expect("not poisoned");
        assert!(taken.per_address.is_empty() && taken.total == 0);
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_ipv4_address_count_as_one() {
        assert_eq!(Address::from(ip("2001:db8:1:2::1")), Address::from(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(Address::from(ip("2001:db8:1:2::1")), Address::from(ip("2001:db8:1:3::1")));
        assert_eq!(Address::from(ip("::ffff:192.0.2.1")), Address::from(ip("192.0.2.1")));
    }
}
