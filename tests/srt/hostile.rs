//! Whatever one peer sends: the next caller is served, and those that are there lose nothing.

use std::net::SocketAddr;

use tokio::net::UdpSocket;

use crate::doors::{KEY, Listener, Note, patient_settings};
use crate::publishing::payload;
use crate::srt::caller::{Caller, conclude, cookie, socket};
use crate::srt::packets::{self, Conclusion, FILTER, GROUP, KMREQ, Secret};

/// A caller that publishes while others misbehave.
struct Witness {
    caller: Caller,
    sent: u32,
}

impl Witness {
    async fn begin(listener: &Listener) -> Self {
        Witness { caller: Caller::connect(listener.address, KEY, None).await.expect("admitted"), sent: 0 }
    }

    async fn publish(&mut self) {
        self.caller.send(&payload(self.sent)).await;
        self.sent += 1;
    }

    /// Says goodbye; all that it sent must be there.
    async fn end(mut self, listener: &mut Listener) {
        self.caller.settle().await;
        self.caller.shut_down().await;
        let (bytes, holes, how) = listener.media().await;
        assert_eq!(how, millstream::listen::Finish::Lost("the caller closed the connection".to_owned()));
        assert_eq!((bytes.len(), holes), (self.sent as usize * 188, vec![]));
        assert!(bytes == (0..self.sent).flat_map(payload).collect::<Vec<u8>>());
    }
}

/// The next good caller publishes.
async fn next_is_served(listener: &mut Listener) {
    let mut witness = Witness::begin(listener).await;
    for _ in 0..10 {
        witness.publish().await;
    }
    witness.end(listener).await;
}

fn from_a_seed(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[tokio::test]
async fn handshakes_of_every_wrong_kind() {
    let mut listener = Listener::start(patient_settings());
    let mut witness = Witness::begin(&listener).await;
    let stranger = socket(listener.address).await;
    let good = || Conclusion::publish(0, 0, "wrong");
    let secret = |length| Secret::new("nobody's passphrase", length);
    let mut wrong_size = secret(16).material(1);
    wrong_size[15] = 5; // says 20 bytes
    let mut other_size = secret(16).material(1);
    other_size[15] = 8; // says 32 bytes, and has 16
    let mut garbage = secret(32).material(3);
    garbage[33..].fill(0xaa);
    let wrong = [
        good().with(KMREQ, secret(16).material(1)),
        good().with(KMREQ, secret(32).material(3)),
        good().with(KMREQ, wrong_size),
        good().with(KMREQ, other_size),
        good().with(KMREQ, garbage), // and no flag that says that there is key material
        good().with(KMREQ, vec![]),
        good().with(KMREQ, vec![0xff; 1_000]),
        good().with(FILTER, packets::swapped(b"fec")),
        good().with(GROUP, vec![0; 8]),
        good().with(999, vec![1; 4]),
        Conclusion { version: 4, ..good() },
        Conclusion { kind: 0, ..good() },
    ];
    for (conclusion, socket) in wrong.into_iter().zip(77..) {
        let conclusion = Conclusion { socket, ..conclusion };
        let text = format!("{conclusion:?}");
        let refused = conclude(&stranger, conclusion).await.expect_err(&text);
        assert!(refused >= 1_000, "{text}: {refused}");
        witness.publish().await;
    }
    witness.end(&mut listener).await;
    next_is_served(&mut listener).await;
    listener.stop().await;
}

#[tokio::test]
async fn truncated_handshakes_and_bit_flips() {
    let mut listener = Listener::start(patient_settings());
    let mut witness = Witness::begin(&listener).await;
    let stranger = socket(listener.address).await;
    let cookie = cookie(&stranger, 78).await;
    let whole =
        Conclusion::publish(78, cookie, "wrong").with(KMREQ, Secret::new("a passphrase", 16).material(1)).packet();
    for length in 0..whole.len() {
        stranger.send(&whole[..length]).await.expect("sent");
        if length % 16 == 0 {
            witness.publish().await;
        }
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        stranger.send(&flipped).await.expect("sent");
        if bit % 16 == 0 {
            witness.publish().await;
            witness.caller.settle().await; // so that the socket's buffer is read
        }
    }
    witness.end(&mut listener).await;
    next_is_served(&mut listener).await;
    listener.stop().await;
}

#[tokio::test]
async fn a_connected_caller_that_sends_what_it_must_not() {
    let mut listener = Listener::start(patient_settings());
    let mut bad = Caller::connect(listener.address, "another-key", None).await.expect("admitted");
    assert!(matches!(listener.note().await, Note::Request { .. }));
    bad.control(4, 0, 0, &[]).await; // congestion warning
    bad.control(8, 0, 77, &[]).await; // error of a file transfer
    bad.control(2, 0, 1, &[0xff; 28]).await;
    bad.control(3, 0, 0, &[0xff; 400]).await;
    bad.control(7, 0, 1, &[0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]).await;
    bad.control(0x7fff, 3, 0, &Secret::new("forged key material", 32).material(3)).await;
    bad.control(0x7fff, 1, 0, &[0xff; 12]).await;
    bad.control(0, 0, 0, &[0xff; 100]).await;
    for kind in 8..100 {
        bad.control(kind, kind, u32::MAX, &[0xff; 40]).await;
    }
    // It goes on like any other.
    bad.send(&payload(0)).await;
    bad.settle().await;
    bad.shut_down().await;
    let (bytes, _, _) = listener.media().await;
    assert_eq!(bytes, payload(0));
    next_is_served(&mut listener).await;
    listener.stop().await;
}

#[tokio::test]
async fn noise_in_the_connection_of_one_does_not_reach_another() {
    let mut listener = Listener::start(patient_settings());
    let mut witness = Witness::begin(&listener).await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    let bad = Caller::connect(listener.address, "another-key", None).await.expect("admitted");
    assert!(matches!(listener.note().await, Note::Request { .. }));
    let mut seed = 0x5eed;
    for round in 0..2_000_u32 {
        let mut noise: Vec<u8> = (0..from_a_seed(&mut seed) % 200 + 16).map(|_| from_a_seed(&mut seed) as u8).collect();
        noise[12..16].copy_from_slice(&bad.peer.to_be_bytes());
        if round % 2 == 0 {
            noise[..2].copy_from_slice(&[0x80, (from_a_seed(&mut seed) % 8) as u8]);
        }
        if noise[..2] == [0x80, 5] {
            noise[1] = 1; // no goodbye: there is more to come
        }
        bad.raw(&noise).await;
        if round % 20 == 0 {
            witness.publish().await;
            witness.caller.settle().await;
        }
    }
    // Datagrams for the witness's connection, from an address that is not its own.
    let stranger = socket(listener.address).await;
    for _ in 0..50 {
        let forged =
            packets::data(witness.caller.next, witness.caller.stamp(), witness.caller.peer, 0, false, b"forged");
        stranger.send(&forged).await.expect("sent");
        let goodbye = packets::control(5, 0, 0, 0, witness.caller.peer, &[0; 4]);
        stranger.send(&goodbye).await.expect("sent");
        witness.publish().await;
    }
    witness.caller.settle().await;
    witness.caller.shut_down().await;
    let mut whole = Vec::new();
    loop {
        match listener.note().await {
            // What the bad one's noise was taken for has no order with this.
            Note::Piece(piece, _) if piece.starts_with(&payload(0)[..4]) => whole.extend(piece),
            Note::Finished(millstream::listen::Finish::Lost(how)) if how.contains("closed the connection") => break,
            _ => {}
        }
    }
    assert!(whole == (0..witness.sent).flat_map(payload).collect::<Vec<u8>>(), "{} of {}", whole.len(), witness.sent);
    listener.stop().await;
}

/// More half-open handshakes than there are places: all with a good cookie, and a key that admission thinks about for ever.
#[tokio::test]
async fn a_thousand_half_open_handshakes() {
    let mut listener = Listener::start(patient_settings());
    let mut witness = Witness::begin(&listener).await;
    let mut sockets: Vec<UdpSocket> = Vec::new();
    for n in 0..20 {
        sockets.push(socket(listener.address).await);
        let cookie = cookie(&sockets[n], 1).await;
        for id in 0..50 {
            let conclusion = Conclusion::publish(id * 100 + n as u32 + 1, cookie, "hang");
            sockets[n].send(&conclusion.packet()).await.expect("sent");
        }
        witness.publish().await;
        witness.caller.settle().await;
    }
    witness.end(&mut listener).await;
    next_is_served(&mut listener).await;
    listener.stop().await;
}

#[tokio::test]
async fn a_flood_of_inductions_leaves_nothing_behind_and_hurts_nobody() {
    let mut listener = Listener::start(patient_settings());
    let mut witness = Witness::begin(&listener).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let to: SocketAddr = listener.address;
    for id in 0..10_000 {
        stranger.send_to(&packets::induction(id), to).await.expect("sent");
        if id % 50 == 0 {
            witness.publish().await;
            witness.caller.settle().await;
        }
    }
    witness.end(&mut listener).await;
    next_is_served(&mut listener).await;
    listener.stop().await;
}

#[tokio::test]
async fn a_panic_behind_one_caller_ends_that_one() {
    let mut listener = Listener::start(patient_settings());
    let mut witness = Witness::begin(&listener).await;
    let stranger = socket(listener.address).await;
    let conclusion = Conclusion::publish(9, cookie(&stranger, 9).await, "panic");
    stranger.send(&conclusion.packet()).await.expect("sent");
    for _ in 0..50 {
        witness.publish().await;
    }
    witness.end(&mut listener).await;
    next_is_served(&mut listener).await;
    listener.stop().await;
}
