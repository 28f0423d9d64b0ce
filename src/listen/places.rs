//! How many connections are open, in all and per address. A [`Place`] is held by its connection and given back on drop,
//! also when the connection's task panics.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

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

/// Which bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// Too many connections in all.
    #[error("all {0} places for connections are taken")]
    Total(usize),
    /// Too many connections of this address.
    #[error("all {0} places of this address are taken")]
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
    per_address: HashMap<Address, usize>,
}

/// One open connection's place.
#[derive(Debug)]
pub struct Place {
    address: Address,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    /// Places for `max_total` connections, of which `max_per_address` may come from one address.
    pub fn new(max_total: usize, max_per_address: usize) -> Self {
        Places { max_total, max_per_address, taken: Arc::default() }
    }

    /// Takes a place for a connection from `ip`.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&self, ip: IpAddr) -> Result<Place, Full> {
        let address = Address::from(ip);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.total >= self.max_total {
            return Err(Full::Total(self.max_total));
        }
        let of_address = taken.per_address.get(&address).copied().unwrap_or(0);
        if of_address >= self.max_per_address {
            return Err(Full::Address(self.max_per_address));
        }
        taken.total += 1;
        taken.per_address.insert(address, of_address + 1);
        Ok(Place { address, taken: self.taken.clone() })
    }

    /// Places taken now.
    pub fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).total
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total = taken.total.saturating_sub(1);
        if let Some(count) = taken.per_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.per_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn places_are_bounded_in_all_and_per_address_and_come_back() {
        let places = Places::new(3, 2);
        let first = places.take(ip("192.0.2.1")).expect("free");
        let _second = places.take(ip("192.0.2.1")).expect("free");
        assert_eq!(places.take(ip("192.0.2.1")).err(), Some(Full::Address(2)));
        let _other = places.take(ip("192.0.2.2")).expect("free");
        assert_eq!(places.take(ip("192.0.2.3")).err(), Some(Full::Total(3)));
        drop(first);
        assert_eq!(places.taken(), 2);
        assert!(places.take(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn nothing_is_remembered_of_addresses_that_left() {
        let places = Places::new(10, 10);
        drop(places.take(ip("192.0.2.1")).expect("free"));
        assert!(places.taken.lock().expect("not poisoned").per_address.is_empty());
    }

    #[test]
    fn an_ipv6_network_and_a_mapped_ipv4_address_count_as_one() {
        assert_eq!(Address::from(ip("2001:db8:1:2::1")), Address::from(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(Address::from(ip("2001:db8:1:2::1")), Address::from(ip("2001:db8:1:3::1")));
        assert_eq!(Address::from(ip("::ffff:192.0.2.1")), Address::from(ip("192.0.2.1")));
    }
}
