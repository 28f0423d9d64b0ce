//! How many connections are open, in all and of one address.
//!
//! One address has its own bound below that of all, so that it cannot take every place. IPv6 counts by its /64, which is what one
//! customer has at least. 127.0.0.1 and `::1` have no bound of their own: a reverse proxy on this machine speaks for all viewers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// That of all connections.
    Total,
    /// That of the connection's address.
    Address,
}

impl Full {
    /// Its label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Full::Total => "total",
            Full::Address => "address",
        }
    }
}

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    max_total: usize,
    max_per_address: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    per_address: HashMap<IpAddr, usize>,
}

/// A connection's place, given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    /// `None` for a proxy on this machine.
    address: Option<IpAddr>,
    taken: Arc<Mutex<Taken>>,
}

impl Places {
    pub fn new(max_total: usize, max_per_address: usize) -> Self {
        Places { max_total, max_per_address, taken: Arc::default() }
    }

    /// A place for a connection from `ip`.
    ///
    /// # Errors
    /// The bound that leaves none.
    pub fn take(&self, ip: IpAddr) -> Result<Place, Full> {
        let address = limited(ip);
        let mut taken = lock(&self.taken);
        if let Some(address) = address
            && taken.per_address.get(&address).is_some_and(|open| *open >= self.max_per_address)
        {
            return Err(Full::Address);
        }
        if taken.total >= self.max_total {
            return Err(Full::Total);
        }
        taken.total += 1;
        if let Some(address) = address {
            *taken.per_address.entry(address).or_default() += 1;
        }
        Ok(Place { address, taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.total = taken.total.saturating_sub(1);
        let Some(address) = self.address else { return };
        if let Some(open) = taken.per_address.get_mut(&address) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                taken.per_address.remove(&address);
            }
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What counts as the connection's address; `None` when it has no bound.
fn limited(ip: IpAddr) -> Option<IpAddr> {
    match ip.to_canonical() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => None,
        IpAddr::V6(v6) => Some(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))),
        v4 => Some(v4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_leaves_places_for_others_and_gets_its_own_back() {
        let places = Places::new(4, 2);
        let first = places.take(ip("192.0.2.1")).expect("free");
        let _second = places.take(ip("::ffff:192.0.2.1")).expect("free");
        assert_eq!(places.take(ip("192.0.2.1")).err(), Some(Full::Address));
        let _others = ["192.0.2.2", "2001:db8::1"].map(|other| places.take(ip(other)).expect("free"));
        assert_eq!(places.take(ip("192.0.2.3")).err(), Some(Full::Total));
        drop(first);
        assert!(places.take(ip("192.0.2.1")).is_ok());
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let places = Places::new(10, 1);
        let _one = places.take(ip("2001:db8:1:2::1")).expect("free");
        assert_eq!(places.take(ip("2001:db8:1:2:ffff::9")).err(), Some(Full::Address));
        assert!(places.take(ip("2001:db8:1:3::1")).is_ok());
    }

    #[test]
    fn a_proxy_on_this_machine_is_bounded_by_the_total_only() {
        let places = Places::new(4, 1);
        let held: Vec<_> =
            ["127.0.0.1", "127.0.0.1", "::1", "::1"].map(|own| places.take(ip(own)).expect("free")).into();
        assert_eq!(places.take(ip("127.0.0.1")).err(), Some(Full::Total));
        drop(held);
        let taken = places.taken.lock().expect("not poisoned");
        assert!(taken.per_address.is_empty() && taken.total == 0, "nothing is remembered of who left");
    }
}
