//! SRT: what strangers send, and what a connected caller sends, with any timing.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use millstream::wire::srt::receiver::Output;
use millstream::wire::srt::{
    Decryptor, KeyMaterial, MAX_DATAGRAM_BYTES, Receiver, ReceiverSettings, Screen, Screened, Serial,
};
use secrecy::SecretString;

use super::source::{Source, assert_tellable};

const HANDSHAKE: [u8; 4] = [0x80, 0, 0, 0];
const PASSPHRASE: &str = "a passphrase of seeds";
/// Bounds of the receiver, small so that they are met.
const MAX_PACKETS: usize = 300;
const MAX_BYTES: usize = 4_096;

pub fn run(data: &[u8]) {
    let mut source = Source::new(data);
    match source.u8() % 4 {
        0 => screen(source.rest(), false),
        1 => screen(source.rest(), true),
        2 => connection(&mut source, None),
        _ => {
            let length = usize::from(source.u8());
            let material = source.bytes(length);
            let Ok(material) = KeyMaterial::parse(material) else { return };
            assert!(matches!(material.length().bytes(), 16 | 24 | 32));
            let Ok(decryptor) = Decryptor::new(SecretString::from(PASSPHRASE), &material) else { return };
            connection(&mut source, Some(decryptor));
        }
    }
}

/// One datagram of a stranger; with `cookie` it brings the right one back.
fn screen(datagram: &[u8], cookie: bool) {
    let (screen, now) = (Screen::new([1; 32]), Duration::from_secs(100));
    let from = SocketAddr::from(([192, 0, 2, 1], 9_000));
    let mut datagram = datagram.to_vec();
    if cookie && datagram.len() >= 64 {
        datagram[..4].copy_from_slice(&HANDSHAKE);
        datagram[12..16].fill(0);
        let mut induction = datagram[..64].to_vec();
        induction[36..40].copy_from_slice(&[0, 0, 0, 1]);
        let Screened::Induction(answer) = screen.look(&induction, from, now) else {
            panic!("an induction is answered")
        };
        datagram[44..48].copy_from_slice(&answer[44..48]);
    }
    match screen.look(&datagram, from, now) {
        Screened::Ignored(code) => assert!(code.starts_with("srt_")),
        Screened::Induction(answer) => assert!(answer.len() <= datagram.len(), "an answer longer than its question"),
        Screened::Refused(answer, rejection) => {
            assert!(answer.len() <= datagram.len(), "an answer longer than its question");
            assert_tellable(rejection.words);
        }
        Screened::Conclusion(conclusion) => {
            let answer = conclusion.accept(7, conclusion.receiver_latency, conclusion.sender_latency, now);
            assert!(answer.len() <= MAX_DATAGRAM_BYTES);
            assert_eq!(answer[36..40], [0xff; 4]);
            let code = millstream::wire::srt::Reject::Overload;
            assert_eq!(conclusion.refuse(code, now)[36..40], code.wire().to_be_bytes());
        }
    }
}

/// A script of datagrams and waits.
fn connection(source: &mut Source, decryptor: Option<Decryptor>) {
    let (mut now, latency) = (Duration::from_secs(1), Duration::from_millis(u64::from(source.u8())));
    let mut receiver = Receiver::new(ReceiverSettings {
        socket: 5,
        initial: Serial::new(source.u32()),
        timestamp: source.u32(),
        at: now,
        latency,
        idle_timeout: Duration::from_secs(5),
        release_every: Duration::from_millis(10),
        max_packets: MAX_PACKETS,
        max_bytes: MAX_BYTES,
        acceptance: Bytes::from_static(b"accepted"),
        decryptor,
    });
    let (mut out, mut came, mut released) = (Output::default(), 0, 0);
    while !source.is_empty() {
        let (length, wait) = (usize::from(source.u8()), Duration::from_millis(u64::from(source.u8())));
        let datagram = BytesMut::from(source.bytes(length));
        came += datagram.len();
        receiver.take(datagram, now, &mut out);
        now += wait;
        let ended = receiver.poll(now, &mut out);
        let stats = receiver.stats();
        assert!(stats.buffer_packets <= MAX_PACKETS as u64, "{stats:?}");
        assert!(stats.unique_packets <= stats.packets && stats.undecryptable <= stats.packets, "{stats:?}");
        assert!(stats.buffer_span <= latency + Duration::from_secs(40 * 60), "{stats:?}");
        for datagram in out.datagrams.drain(..) {
            assert!(datagram.len() <= MAX_DATAGRAM_BYTES);
        }
        released += out.released.drain(..).map(|one| one.data.len()).sum::<usize>();
        if ended.is_some() {
            break;
        }
        // What is due was done, so that nobody is woken for nothing.
        assert!(receiver.deadline() > now, "a deadline that has passed");
    }
    receiver.flush(&mut out);
    released += out.released.drain(..).map(|one| one.data.len()).sum::<usize>();
    assert!(released <= came, "{released} bytes from {came}");
    assert_eq!(receiver.stats().buffer_packets, 0);
}
