//! What is done to the RTMPS port. What is said inside of TLS is the same as without, and attacked in [`super::rtmp`].

use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;
use tokio_rustls::rustls::ClientConnection;
use tokio_rustls::rustls::pki_types::ServerName;

use super::peer::{Peer, dial, handshake, noise, read_to_deadline, trickle};
use super::site::{HANDSHAKE, Site};
use crate::support::certificates::{NAME, VERSIONS};

/// What one connection in the middle of its TLS handshake may cost in resident memory, the allocator's slack included.
const SHAKING_BYTES: u64 = 32 << 10;

/// The n-th address of an attack.
fn address(attack: u8, n: usize) -> [u8; 4] {
    [127, 0, attack, u8::try_from(n % 250).expect("below 250") + 1]
}

/// A ClientHello as a client sends it.
fn hello(site: &Site) -> Vec<u8> {
    let client = site.certificates.client(VERSIONS[0]);
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = ClientConnection::new(client.config().clone(), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("into memory");
    bytes
}

/// 1,000 connections that stop in the middle of their first message; a publisher gets in all the same, and the deadline ends them.
pub async fn half_hellos(site: Arc<Site>) {
    let before = site.resident_bytes();
    let (half, port) = (&hello(&site)[..100], site.rtmps);
    let half_way = |n: usize| async move {
        let mut peer = Peer::dial(address(60, n % 20), port).await;
        peer.send(half).await;
        peer.socket
    };
    let mut silent = join_all((0..1_000).map(half_way)).await;
    let opened = Instant::now();
    let open = site.until_metric("millstream_listen_connections", 900.0).await;
    let each = site.resident_bytes().saturating_sub(before) / open as u64;
    eprintln!("a connection in its TLS handshake takes {each} bytes ({open} open)");
    assert!(each <= SHAKING_BYTES, "a connection in its TLS handshake takes {each} bytes");
    site.newcomer().await;
    for answer in join_all(silent.iter_mut().map(|socket| read_to_deadline(socket, opened, HANDSHAKE))).await {
        assert!(answer.is_empty(), "nothing is said before the message is whole");
    }
}

/// A byte now and then does not move the deadline.
pub async fn slow_hellos(site: Arc<Site>) {
    let hello = hello(&site);
    let attack = |n: usize| {
        let (site, hello) = (site.clone(), &hello);
        async move {
            let mut socket = dial(address(61, n), site.rtmps).await;
            trickle(&mut socket, hello, HANDSHAKE).await;
        }
    };
    join_all((0..20).map(attack)).await;
}

/// 500 whole messages, each of which costs the server a signature, and nobody who waits for it.
pub async fn whole_hellos_and_leave(site: Arc<Site>) {
    let hello = hello(&site);
    let attack = |n: usize| {
        let (site, hello) = (site.clone(), &hello);
        async move {
            let mut peer = Peer::dial(address(62, n), site.rtmps).await;
            peer.send(hello).await;
        }
    };
    stream::iter((0..500).map(attack)).buffer_unordered(50).collect::<Vec<()>>().await;
}

/// RTMP, HTTP, SSH, noise: closed at once, without a word.
pub async fn other_protocols(site: Arc<Site>) {
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    for bytes in [handshake(), get, b"SSH-2.0-x\r\n".to_vec(), vec![0], vec![0x80, 0x2E, 1]] {
        let mut peer = Peer::dial(address(63, 0), site.rtmps).await;
        peer.send(&bytes).await;
        assert!(peer.closed().await.is_empty(), "there is nothing to say to {bytes:?}");
    }
}

/// Noise in records that say they are TLS's, and a message of the handshake that is longer than any may be.
pub async fn broken_records(site: Arc<Site>) {
    let attack = |seed: u64| {
        let site = site.clone();
        async move {
            let mut peer = Peer::dial(address(64, seed as usize), site.rtmps).await;
            let length = 1 + seed as usize * 400;
            let record = [&[22, 3, 1][..], &(length as u16).to_be_bytes(), &noise(seed, length)].concat();
            peer.send(&record.repeat(1 + (64 << 10) / length)).await;
            peer.closed().await;
        }
    };
    join_all((0..40).map(attack)).await;
    let long = [&[22, 3, 1, 0x40, 0, 1, 0xFF, 0xFF, 0xFF][..], &[0; 0x3FFC]].concat();
    let more = [&[22, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    let mut peer = Peer::dial(address(64, 60), site.rtmps).await;
    peer.send(&[long, more.repeat(64)].concat()).await;
    peer.closed().await;
}
