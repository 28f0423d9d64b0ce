use std::collections::BTreeMap;

use super::super::testing::{self as packets, Secret};
use super::*;
use secrecy::SecretString;

const LATENCY: Duration = Duration::from_millis(120);
const TICK: Duration = Duration::from_millis(1);
const CALLER: u32 = 42;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn settings(initial: u32, timestamp: u32) -> ReceiverSettings {
    ReceiverSettings {
        socket: CALLER,
        initial: Serial::new(initial),
        timestamp,
        at: Duration::ZERO,
        latency: LATENCY,
        idle_timeout: Duration::from_secs(5),
        release_every: ms(10),
        max_packets: 1_000,
        max_bytes: 1 << 20,
        acceptance: Bytes::from_static(b"accepted"),
        decryptor: None,
    }
}

/// A receiver, and the time.
struct Rig {
    receiver: Receiver,
    now: Duration,
    out: Output,
    first: u32,
    /// The caller's clock at our zero.
    timestamp: u32,
    secret: Option<Secret>,
    /// Lets the caller acknowledge acknowledgements.
    answers: bool,
    ended: Option<Ended>,
    /// Acknowledged numbers and reported losses, as they came.
    acked: Vec<u32>,
    reported: Vec<(u32, u32)>,
}

impl Rig {
    fn new(settings: ReceiverSettings) -> Self {
        let (first, timestamp) = (settings.initial.get(), settings.timestamp);
        let (receiver, now, out) = (Receiver::new(settings), Duration::ZERO, Output::default());
        let (acked, reported) = (Vec::new(), Vec::new());
        Rig { receiver, now, out, first, timestamp, secret: None, answers: true, ended: None, acked, reported }
    }

    fn stamp(&self, at: Duration) -> u32 {
        self.timestamp.wrapping_add(at.as_micros() as u32)
    }

    fn take(&mut self, packet: &[u8]) {
        self.receiver.take(BytesMut::from(packet), self.now, &mut self.out);
        self.poll();
    }

    /// Packet number `n` (one per millisecond), sent at its time and arriving now.
    fn packet(&mut self, n: u32, again: bool) {
        self.packet_with(n, again, 0);
    }

    fn packet_with(&mut self, n: u32, again: bool, key: u32) {
        let serial = self.first.wrapping_add(n) & 0x7fff_ffff;
        let mut payload = n.to_be_bytes().to_vec();
        if let (Some(secret), 1..) = (&self.secret, key) {
            payload = secret.encrypted(key, serial, &payload);
        }
        let stamp = self.stamp(ms(n.into()));
        self.take(&packets::data(serial, stamp, 1, key, again, &payload));
    }

    fn poll(&mut self) {
        self.ended = self.receiver.poll(self.now, &mut self.out);
        for datagram in std::mem::take(&mut self.out.datagrams) {
            let (kind, info) = (packets::word(&datagram, 0) >> 16 & 0x7fff, packets::word(&datagram, 4));
            assert!(datagram.len() == 8 || packets::word(&datagram, 12) == CALLER);
            match kind {
                2 => {
                    self.acked.push(packets::word(&datagram, 16));
                    if self.answers && datagram.len() > 20 {
                        let stamp = self.stamp(self.now);
                        let ackack = packets::control(6, 0, info, stamp, 1, &[]);
                        self.receiver.take(BytesMut::from(&ackack[..]), self.now, &mut self.out);
                    }
                }
                3 => {
                    let words: Vec<u32> =
                        (16..datagram.len()).step_by(4).map(|at| packets::word(&datagram, at)).collect();
                    let mut words = words.into_iter();
                    while let Some(word) = words.next() {
                        let first = word & 0x7fff_ffff;
                        let last = if word >> 31 == 1 { words.next().expect("a range has an end") } else { first };
                        let n = |serial: u32| Serial::new(serial).since(Serial::new(self.first)) as u32;
                        self.reported.push((n(first), n(last)));
                    }
                }
                _ => {}
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while self.now < until {
            self.now += TICK;
            self.poll();
        }
    }

    /// What was released, and whether something was missing before it.
    fn released(&mut self) -> Vec<(u32, bool)> {
        let number = |data: &[u8]| u32::from_be_bytes(data.try_into().expect("four bytes"));
        self.out.released.drain(..).map(|one| (number(&one.data), one.lost)).collect()
    }
}

fn in_order(range: std::ops::Range<u32>) -> Vec<(u32, bool)> {
    range.map(|n| (n, false)).collect()
}

#[test]
fn packets_come_out_in_order_one_latency_after_they_were_sent() {
    let mut rig = Rig::new(settings(7, 99));
    for n in 0..50 {
        rig.packet(n, false);
        rig.advance(TICK);
    }
    rig.advance(ms(69));
    assert_eq!((rig.now, rig.released()), (ms(119), vec![]));
    rig.advance(ms(60));
    assert_eq!(rig.released(), in_order(0..50));
    assert_eq!(rig.acked.last(), Some(&(7 + 50)));
    let stats = rig.receiver.stats();
    assert_eq!((stats.packets, stats.unique_packets, stats.lost, stats.dropped, stats.naks), (50, 50, 0, 0, 0));
}

#[test]
fn reordered_and_doubled_packets_come_out_once_and_in_order() {
    let mut rig = Rig::new(settings(0x7fff_fff0, 0)); // serials wrap on the way
    for n in [1, 0, 0, 3, 2, 5, 4, 4, 1] {
        rig.packet(n, false);
    }
    rig.advance(ms(140));
    assert_eq!(rig.released(), in_order(0..6));
    rig.packet(3, false);
    let stats = rig.receiver.stats();
    assert_eq!((stats.packets, stats.unique_packets, stats.belated), (10, 6, 1));
}

#[test]
fn a_loss_is_reported_again_when_the_repetition_should_have_come() {
    const ROUND_TRIP: u64 = 40;
    let mut rig = Rig::new(ReceiverSettings { latency: ms(1_000), ..settings(0, 0) });
    // One round trip is measured: its variance is half of it.
    rig.answers = false;
    rig.packet(0, false);
    rig.advance(ms(ROUND_TRIP));
    let ackack = packets::control(6, 0, 1, rig.stamp(rig.now), 1, &[]);
    rig.take(&ackack);
    let stats = rig.receiver.stats();
    assert!(stats.rtt > ms(25) && stats.rtt_variance == stats.rtt / 2, "{stats:?}");
    rig.packet(2, false);
    rig.advance(ms(300));
    // At once, and then each 1.5 round trips.
    assert!((5..=8).contains(&rig.reported.len()), "{:?}", rig.reported);
}

#[test]
fn a_loss_is_reported_at_once_and_again_and_what_comes_in_time_is_whole() {
    let mut rig = Rig::new(settings(0, 0));
    rig.packet(0, false);
    rig.advance(ms(15)); // the round trip is known: nothing at all
    for n in [5, 6, 8] {
        rig.packet(n, false);
    }
    assert_eq!(rig.reported, [(1, 4), (7, 7)]);
    assert_eq!(rig.acked.last(), Some(&1), "what is missing is not acknowledged");
    rig.packet(2, true);
    rig.reported.clear();
    rig.advance(ms(45));
    assert_eq!(rig.reported[..3], [(1, 1), (3, 4), (7, 7)], "what is still missing");
    for n in [1, 3, 4, 7] {
        rig.packet(n, true);
    }
    rig.advance(ms(100));
    assert_eq!(rig.released(), in_order(0..9));
    let stats = rig.receiver.stats();
    assert_eq!((stats.lost, stats.retransmitted, stats.dropped), (5, 5, 0));
    assert!(stats.naks >= 3);
}

#[test]
fn what_misses_its_moment_is_left_behind_and_the_next_packet_says_so() {
    let mut rig = Rig::new(settings(0, 0));
    for n in [0, 1, 4, 5] {
        rig.packet(n, false);
    }
    rig.advance(ms(150));
    assert_eq!(rig.released(), [(0, false), (1, false), (4, true), (5, false)]);
    rig.packet(2, true);
    assert_eq!((rig.released(), rig.receiver.stats().belated, rig.receiver.stats().dropped), (vec![], 1, 2));
    rig.advance(ms(20));
    assert_eq!(rig.acked.last(), Some(&6), "it is not waited for any more");
}

#[test]
fn what_the_sender_gave_up_is_not_asked_for_again() {
    let mut rig = Rig::new(settings(0, 0));
    rig.packet(0, false);
    rig.packet(9, false);
    rig.take(&packets::control(7, 0, 1, 0, 1, &[0, 0, 0, 1, 0, 0, 0, 8]));
    rig.reported.clear();
    rig.advance(ms(200));
    assert_eq!((rig.reported.len(), rig.released()), (0, vec![(0, false), (9, true)]));
    assert_eq!(rig.receiver.stats().dropped, 8);
    // Ranges without sense, and ranges over half the circle, cost nothing.
    for range in [[0, 0, 0, 9, 0, 0, 0, 3], [0, 0, 0, 0, 0x3f, 255, 255, 255], [0x7f, 255, 255, 255, 0, 0, 0, 5]] {
        rig.take(&packets::control(7, 0, 1, 0, 1, &range));
    }
}

#[test]
fn the_clock_of_the_caller_wraps_after_71_minutes() {
    let mut rig = Rig::new(settings(0, u32::MAX - 60_000)); // 60 ms before the wrap
    for n in 0..200 {
        if n != 55 {
            rig.packet(n, false);
        }
        if n == 80 {
            rig.packet(55, true);
        }
        rig.advance(TICK);
    }
    rig.advance(ms(130));
    assert_eq!(rig.released(), in_order(0..200));
    assert_eq!(rig.receiver.stats().dropped, 0);
}

/// Three full turns of the caller's clock.
#[test]
fn a_connection_lives_through_many_wraps() {
    let mut rig = Rig::new(settings(0, 0));
    for n in 0..4_u32 {
        rig.now = Duration::from_secs(u64::from(n) * 4_000);
        let stamp = rig.stamp(rig.now);
        rig.take(&packets::data(n, stamp, 1, 0, false, &n.to_be_bytes()));
        rig.advance(ms(119));
        assert_eq!(rig.released(), []);
        rig.advance(ms(12));
        assert_eq!(rig.released(), [(n, false)]);
    }
}

fn encrypted(length: usize) -> Rig {
    let secret = Secret::new("correct horse", length);
    let material = KeyMaterial::parse(&secret.material(1)).expect("well formed");
    let decryptor = Decryptor::new(SecretString::from("correct horse"), &material).expect("the right passphrase");
    let mut rig = Rig::new(ReceiverSettings { decryptor: Some(decryptor), ..settings(0, 0) });
    rig.secret = Some(secret);
    rig
}

#[test]
fn encrypted_packets_are_read_with_keys_of_each_length() {
    for length in [16, 24, 32] {
        let mut rig = encrypted(length);
        (0..20).for_each(|n| rig.packet_with(n, false, 1));
        rig.advance(ms(150));
        assert_eq!(rig.released(), in_order(0..20), "{length} bytes");
    }
}

#[test]
fn a_new_key_is_announced_and_used_and_then_the_next() {
    let mut rig = encrypted(16);
    rig.packet_with(0, false, 1);
    let announced = rig.secret.clone().expect("set").material(3);
    rig.receiver.take(BytesMut::from(&packets::control(0x7fff, 3, 0, 0, 1, &announced)[..]), rig.now, &mut rig.out);
    let answer = rig.out.datagrams.pop().expect("an answer");
    assert_eq!((packets::word(&answer, 0), &answer[16..]), (0xffff_0004, &announced[..]), "the copy says: taken");
    rig.packet_with(1, false, 2);
    // The old key's place is taken by the one after.
    let mut next = rig.secret.clone().expect("set");
    next.even = vec![0x77; 16];
    rig.take(&packets::control(0x7fff, 3, 0, 0, 1, &next.material(3)));
    rig.packet_with(2, false, 2);
    rig.secret = Some(next);
    rig.packet_with(3, false, 1);
    rig.advance(ms(150));
    assert_eq!(rig.released(), in_order(0..4));
}

#[test]
fn packets_without_a_known_key_are_counted_and_missing() {
    let mut rig = encrypted(16);
    rig.packet_with(0, false, 1);
    rig.packet_with(1, false, 2); // never announced
    rig.packet_with(2, false, 0); // plain, where all is encrypted
    rig.packet_with(3, false, 3); // reserved
    rig.packet_with(4, false, 1);
    rig.advance(ms(150));
    assert_eq!(rig.released(), [(0, false), (4, true)]);
    assert_eq!((rig.receiver.stats().undecryptable, rig.reported.len()), (3, 0));
}

#[test]
fn forged_key_material_changes_nothing() {
    let mut rig = encrypted(16);
    let wrong = Secret::new("another one", 16);
    let mut damaged = rig.secret.clone().expect("set").material(1);
    damaged[40] ^= 1;
    let mut salted = rig.secret.clone().expect("set");
    salted.salt = [9; 16];
    salted.passphrase = "another one".to_owned();
    for material in
        [wrong.material(1), damaged, salted.material(3), vec![], vec![0x12], wrong.material(1)[..20].to_vec()]
    {
        let packet = packets::control(0x7fff, 3, 0, 0, 1, &material);
        rig.receiver.take(BytesMut::from(&packet[..]), rig.now, &mut rig.out);
        assert!(rig.out.datagrams.is_empty(), "no answer says that it was taken");
    }
    rig.packet_with(0, false, 1);
    rig.advance(ms(150));
    assert_eq!(rig.released(), [(0, false)]);
    // Nor to a caller that does not encrypt.
    let mut plain = Rig::new(settings(0, 0));
    plain.take(&packets::control(0x7fff, 3, 0, 0, 1, &wrong.material(1)));
    plain.packet(0, false);
    plain.advance(ms(150));
    assert_eq!(plain.released(), [(0, false)]);
}

#[test]
fn a_wrong_passphrase_is_told_at_the_beginning() {
    let material = KeyMaterial::parse(&Secret::new("correct horse", 32).material(3)).expect("well formed");
    assert_eq!(
        Decryptor::new(SecretString::from("another one"), &material).err(),
        Some(crate::wire::srt::WrongPassphrase)
    );
}

#[test]
fn one_number_far_ahead_is_not_believed_and_a_real_leap_is() {
    let mut rig = Rig::new(settings(0, 0));
    rig.packet(0, false);
    rig.packet(900, false);
    rig.packet(1, false);
    assert_eq!((rig.reported.len(), rig.receiver.stats().lost), (0, 0));
    rig.now = ms(900);
    rig.packet(900, false);
    rig.packet(901, false);
    assert_eq!(rig.reported[0], (2, 900), "two in a row: the rest was lost");
    rig.advance(ms(150));
    assert_eq!(rig.released(), [(0, false), (1, false), (901, true)]);
}

#[test]
fn a_leap_beyond_the_buffer_goes_on_when_nothing_is_held() {
    let mut rig = Rig::new(settings(0, 0));
    rig.packet(0, false);
    rig.advance(ms(150));
    rig.now = Duration::from_secs(5);
    for n in [5_000, 5_001, 5_002] {
        rig.packet(n, false);
    }
    rig.advance(ms(150));
    assert_eq!(rig.released(), [(0, false), (5_001, true), (5_002, false)]);
}

#[test]
fn the_buffer_is_bounded_in_packets_and_bytes() {
    let mut rig = Rig::new(ReceiverSettings { max_packets: 100, ..settings(0, 0) });
    for n in 0..500 {
        let serial = n;
        rig.take(&packets::data(serial, 119_000, 1, 0, false, &n.to_be_bytes())); // all due at once, and late
    }
    assert_eq!(rig.receiver.stats().buffer_packets, 100);
    let mut rig = Rig::new(ReceiverSettings { max_bytes: 40, ..settings(0, 0) });
    (0..20).for_each(|n| rig.packet(n, false));
    rig.advance(ms(150));
    assert_eq!((rig.released(), rig.receiver.stats().dropped), (in_order(0..10), 10));
}

#[test]
fn silence_ends_the_connection_and_a_machine_that_stood_still_does_not() {
    let mut rig = Rig::new(settings(0, 0));
    rig.answers = false;
    rig.packet(0, false);
    rig.advance(ms(4_999));
    assert_eq!(rig.ended, None);
    rig.advance(ms(1));
    assert_eq!(rig.ended, Some(Ended::Idle));

    let mut rig = Rig::new(settings(0, 0));
    rig.answers = false;
    rig.packet(0, false);
    rig.advance(ms(1_000));
    rig.now += Duration::from_secs(30); // nobody polled: the machine slept
    rig.poll();
    assert_eq!(rig.ended, None);
    rig.advance(ms(5_000));
    assert_eq!(rig.ended, Some(Ended::Idle));
}

#[test]
fn keepalives_go_both_ways() {
    let mut rig = Rig::new(settings(0, 0));
    let mut sent = 0;
    for _ in 0..20 {
        rig.now += ms(500);
        rig.receiver.take(BytesMut::from(&packets::control(1, 0, 0, 0, 1, &[0; 4])[..]), rig.now, &mut rig.out);
        assert_eq!(rig.receiver.poll(rig.now, &mut rig.out), None);
        sent += rig.out.datagrams.drain(..).filter(|one| packets::word(one, 0) == 0x8001_0000).count();
    }
    assert_eq!(sent, 10);
}

#[test]
fn a_goodbye_ends_the_connection_and_what_came_is_not_lost() {
    let mut rig = Rig::new(ReceiverSettings { latency: Duration::from_secs(8), ..settings(0, 0) });
    for n in [0, 1, 4] {
        rig.packet(n, false);
    }
    rig.take(&packets::control(5, 0, 0, 0, 1, &[0; 4]));
    rig.advance(ms(5));
    rig.packet(3, false); // overtaken by the goodbye
    assert_eq!(rig.ended, None);
    rig.advance(MAX_FAREWELL);
    assert_eq!((rig.ended, rig.released()), (Some(Ended::Shutdown), vec![]));
    rig.receiver.flush(&mut rig.out);
    assert_eq!(rig.released(), [(0, false), (1, false), (3, true), (4, false)]);
}

#[test]
fn where_packets_overtake_each_other_a_loss_is_reported_a_little_later() {
    let mut rig = Rig::new(settings(0, 0));
    for n in [0, 2, 1] {
        rig.advance(ms(4));
        rig.packet(n, false);
    }
    assert_eq!(rig.reported, [(1, 1)], "nothing was known of the disorder yet");
    rig.reported.clear();
    for n in [4, 3, 6, 5] {
        rig.advance(ms(4));
        rig.packet(n, false);
    }
    rig.advance(ms(2));
    assert_eq!(rig.reported, []);
    rig.packet(8, false);
    rig.advance(ms(6));
    assert_eq!(rig.reported, [(7, 7)], "late by more than any before");
    rig.packet(7, true);
    rig.advance(ms(150));
    assert_eq!(rig.released(), in_order(0..9));
}

#[test]
fn a_caller_that_missed_its_acceptance_hears_it_again() {
    let mut rig = Rig::new(settings(0, 0));
    rig.receiver.take(BytesMut::from(&packets::induction(1)[..]), rig.now, &mut rig.out);
    assert_eq!(rig.out.datagrams, [Bytes::from_static(b"accepted")]);
}

#[test]
fn packets_for_senders_warnings_and_errors_are_left_out() {
    let mut rig = Rig::new(settings(0, 0));
    rig.packet(0, false);
    for kind in [2, 3, 4, 8, 9, 0x7ffe, 0x7fff] {
        for content in [&[][..], &[0xff; 4], &[0; 64]] {
            rig.take(&packets::control(kind, 1, 0xffff_ffff, 7, 1, content));
        }
    }
    for n in 0..20 {
        rig.take(&vec![0xff; n]);
    }
    rig.advance(ms(150));
    assert_eq!((rig.released(), rig.ended), (vec![(0, false)], None));
}

#[test]
fn acknowledgements_are_repeated_only_while_they_are_not_answered() {
    let mut rig = Rig::new(settings(0, 0));
    rig.packet(0, false);
    rig.advance(Duration::from_secs(2));
    assert_eq!(rig.acked, [1]);
    rig.answers = false;
    rig.packet(1, false);
    rig.advance(ms(100));
    assert!(rig.acked.len() > 2 && rig.acked.len() < 15, "{:?}", rig.acked);
}

#[test]
fn the_deadline_is_when_something_happens_and_never_stands_in_the_past() {
    let mut rig = Rig::new(settings(0, 0));
    for n in [0, 1, 5, 6] {
        rig.packet(n, false);
    }
    let mut happened = BTreeMap::new();
    while rig.ended.is_none() {
        let deadline = rig.receiver.deadline();
        assert!(deadline > rig.now, "at {:?}: {deadline:?}", rig.now);
        rig.now = deadline;
        rig.poll();
        *happened.entry(rig.now).or_insert(0) += 1;
    }
    assert_eq!(rig.released().len(), 4);
    assert!(happened.len() < 200, "{} wakes", happened.len());
}

proptest::proptest! {
    /// Whatever is lost, doubled and late: what comes out is in order, without repetition, and says where something is missing.
    #[test]
    fn a_bad_network_never_breaks_the_order(events in proptest::collection::vec((0..120_u32, 0..4_u64), 1..400)) {
        let mut rig = Rig::new(settings(0x7fff_ffc0, u32::MAX - 50_000));
        for (n, wait) in events {
            rig.packet(n, false);
            rig.advance(ms(wait));
        }
        rig.advance(ms(2_000));
        let mut expected = 0;
        for (n, lost) in rig.released() {
            proptest::prop_assert!(n >= expected);
            proptest::prop_assert_eq!(lost, n > expected);
            expected = n + 1;
        }
    }

    #[test]
    fn arbitrary_datagrams_never_panic_nor_grow_without_bound(
        datagrams in proptest::collection::vec((proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), 0..50_u64), 0..100),
    ) {
        let mut rig = encrypted(16);
        for (datagram, wait) in datagrams {
            rig.receiver.take(BytesMut::from(&datagram[..]), rig.now, &mut rig.out);
            rig.now += ms(wait);
            let _ = rig.receiver.poll(rig.now, &mut rig.out);
            proptest::prop_assert!(rig.receiver.stats().buffer_packets <= 1_000);
            rig.out = Output::default();
        }
    }
}
