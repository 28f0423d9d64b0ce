//! Slows down addresses that try wrong keys.
//!
//! Keys have 128 random bits, so this does not guard them against guessing; it guards the daemon and its log against an
//! encoder that retries a wrong key for ever, and makes scanning pointless. Each wrong key delays the answer a little
//! longer; after too many, further wrong keys are refused at once for a while, in words that say so. A right key is taken
//! at any time: behind a shared address (a studio, a carrier's NAT) nobody locks the others out with an old key, and
//! asking whether a key is right costs one lookup by its hash. An address that has published with a right key is only
//! delayed: the person at the encoder goes on reading what is wrong.
//!
//! The table is bounded: when it is full, the address that was quiet for longest is forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::places::Address;
use crate::clock::SharedClock;

/// How wrong keys are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptPolicy {
    /// Wait before the second wrong key's answer (the first is answered at once); doubles with each further one.
    pub first_delay: Duration,
    /// Longest wait.
    pub max_delay: Duration,
    /// After this many wrong keys the address's further ones are refused at once.
    pub lock_after: u32,
    /// For this long, counted from its last wrong key.
    pub lock_for: Duration,
    /// An address that was quiet for this long begins anew.
    pub forget_after: Duration,
    /// Most addresses that are remembered.
    pub max_addresses: usize,
}

impl Default for AttemptPolicy {
    fn default() -> Self {
        AttemptPolicy {
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(4),
            lock_after: 10,
            lock_for: Duration::from_secs(60),
            forget_after: Duration::from_secs(600),
            max_addresses: 4_096,
        }
    }
}

/// What is remembered of one address.
#[derive(Clone, Copy, Debug)]
struct Record {
    wrong_keys: u32,
    /// It has published with a right key.
    trusted: bool,
    /// Monotonic time of the last attempt that was looked at.
    last: Duration,
}

/// The table of addresses, shared by a listener's connections.
#[derive(Debug)]
pub struct Attempts {
    policy: AttemptPolicy,
    clock: SharedClock,
    records: Mutex<HashMap<Address, Record>>,
}

impl Attempts {
    /// An empty table.
    pub fn new(policy: AttemptPolicy, clock: SharedClock) -> Self {
        Attempts { policy, clock, records: Mutex::default() }
    }

    /// Whether the next wrong key of `ip` is worth a delayed answer.
    ///
    /// # Errors
    /// It is refused at once, as all wrong keys of this address for this much longer.
    pub fn check(&self, ip: IpAddr) -> Result<(), Duration> {
        let now = self.clock.monotonic();
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        match records.get(&Address::from(ip)) {
            Some(record) if !record.trusted && record.wrong_keys >= self.policy.lock_after => {
                match (record.last + self.policy.lock_for).checked_sub(now) {
                    Some(left) if !left.is_zero() => Err(left),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// A key was wrong: how long to wait before saying so.
    pub fn wrong_key(&self, ip: IpAddr) -> Duration {
        let wrong_keys = self.update(ip, |record| record.wrong_keys = record.wrong_keys.saturating_add(1));
        match wrong_keys.checked_sub(2) {
            None => Duration::ZERO,
            Some(doublings) => {
                let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
                self.policy.first_delay.saturating_mul(factor).min(self.policy.max_delay)
            }
        }
    }

    /// A key was right.
    pub fn right_key(&self, ip: IpAddr) {
        self.update(ip, |record| record.trusted = true);
    }

    /// Changes the record of `ip`, new if it was quiet for long, and gives its count of wrong keys.
    fn update(&self, ip: IpAddr, change: impl FnOnce(&mut Record)) -> u32 {
        let now = self.clock.monotonic();
        let address = Address::from(ip);
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if !records.contains_key(&address) && records.len() >= self.policy.max_addresses {
            self.make_room(&mut records, now);
        }
        let fresh = Record { wrong_keys: 0, trusted: false, last: now };
        let record = records.entry(address).or_insert(fresh);
        if now.saturating_sub(record.last) >= self.policy.forget_after {
            *record = fresh;
        }
        record.last = now;
        change(record);
        record.wrong_keys
    }

    fn make_room(&self, records: &mut HashMap<Address, Record>, now: Duration) {
        records.retain(|_, record| now.saturating_sub(record.last) < self.policy.forget_after);
        if records.len() >= self.policy.max_addresses {
            let quietest = records.iter().min_by_key(|(_, record)| record.last).map(|(address, _)| *address);
            quietest.map(|address| records.remove(&address));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::media::WallTime;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    fn table(policy: AttemptPolicy) -> (Arc<ManualClock>, Attempts) {
        let clock = ManualClock::new(WallTime::from_unix_millis(0));
        (clock.clone(), Attempts::new(policy, clock))
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
    }

    #[test]
    fn delays_grow_to_their_maximum_and_then_the_address_is_refused_for_a_while() {
        let (clock, attempts) = table(AttemptPolicy::default());
        let delays: Vec<u128> = (0..10)
            .map(|_| {
                assert_eq!(attempts.check(ip(1)), Ok(()));
                attempts.wrong_key(ip(1)).as_millis()
            })
            .collect();
        assert_eq!(delays, [0, 500, 1_000, 2_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000]);
        assert_eq!(attempts.check(ip(1)), Err(Duration::from_secs(60)));
        assert_eq!(attempts.check(ip(2)), Ok(()), "others are not concerned");
        clock.advance(Duration::from_secs(59));
        assert_eq!(attempts.check(ip(1)), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(1));
        assert_eq!(attempts.check(ip(1)), Ok(()));
        assert_eq!(attempts.wrong_key(ip(1)), Duration::from_secs(4));
        assert_eq!(attempts.check(ip(1)), Err(Duration::from_secs(60)), "one more wrong key locks again");
    }

    #[test]
    fn quiet_time_is_forgiven() {
        let (clock, attempts) = table(AttemptPolicy::default());
        for _ in 0..20 {
            attempts.wrong_key(ip(1));
        }
        clock.advance(Duration::from_secs(600));
        assert_eq!(attempts.wrong_key(ip(1)), Duration::ZERO);
    }

    #[test]
    fn an_address_with_a_right_key_is_delayed_but_never_locked() {
        let (_clock, attempts) = table(AttemptPolicy::default());
        attempts.right_key(ip(1));
        let last = (0..50).map(|_| attempts.wrong_key(ip(1))).last();
        assert_eq!((last, attempts.check(ip(1))), (Some(Duration::from_secs(4)), Ok(())));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_quietest() {
        let (clock, attempts) = table(AttemptPolicy { max_addresses: 3, lock_after: 1, ..AttemptPolicy::default() });
        for last in [1, 2, 3, 1, 4] {
            clock.advance(Duration::from_secs(1));
            attempts.wrong_key(ip(last));
        }
        let locked: Vec<u8> = (1..5).filter(|last| attempts.check(ip(*last)).is_err()).collect();
        assert_eq!(locked, [1, 3, 4]);
        assert_eq!(attempts.records.lock().expect("not poisoned").len(), 3);
    }
}
