//! What is done to the RTMP port. Each function is an attack: it fails when the daemon does not end it as it should.

use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;

use super::peer::{
    Peer, command, connect, control, dial, handshake, message, message_in, noise, number, publish, read_to_deadline,
    string, trickle,
};
use super::site::{CONNECT, HANDSHAKE, Site};

/// What one silent connection may cost in resident memory, the allocator's slack included.
const SILENT_BYTES: u64 = 24 << 10;

/// The n-th address of an attack.
fn address(attack: u8, n: usize) -> [u8; 4] {
    [127, 0, attack, u8::try_from(n % 250).expect("below 250") + 1]
}

/// 1,000 connections that say nothing take all places; a publisher gets in all the same, and the deadline ends them.
pub async fn silent_connections(site: Arc<Site>) {
    let before = site.resident_bytes();
    let mut silent = join_all((0..1_000).map(|n| dial(address(10, n % 20), site.rtmp))).await;
    let opened = Instant::now();
    let open = site.until_metric("millstream_listen_connections", 900.0).await;
    let each = site.resident_bytes().saturating_sub(before) / open as u64;
    eprintln!("a silent RTMP connection takes {each} bytes ({open} open)");
    assert!(each <= SILENT_BYTES, "a silent RTMP connection takes {each} bytes");
    site.newcomer().await;
    for answer in join_all(silent.iter_mut().map(|socket| read_to_deadline(socket, opened, HANDSHAKE))).await {
        assert!(answer.is_empty(), "nothing is said to who says nothing");
    }
}

/// Noise, from the first byte and behind a handshake and a connect.
pub async fn garbage(site: Arc<Site>) {
    let attack = |seed: u64| {
        let site = site.clone();
        async move {
            let mut peer = Peer::dial(address(11, seed as usize), site.rtmp).await;
            match seed % 3 {
                0 => {}
                1 => peer.send(&handshake()).await,
                _ => peer.send(&[handshake(), connect("live", "noise")].concat()).await,
            }
            peer.send(&noise(seed, 64 << 10)).await;
            peer.closed().await;
        }
    };
    join_all((0..60).map(attack)).await;
}

/// TLS, HTTP/1.1, HTTP/2, SSH: none of them begins with RTMP's version.
pub async fn other_protocols(site: Arc<Site>) {
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3][..], &noise(1, 508)].concat();
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    for bytes in [hello, get, preface, b"SSH-2.0-x\r\n".to_vec(), vec![6; 1_537], vec![0]] {
        let mut peer = Peer::dial(address(12, 0), site.rtmp).await;
        peer.send(&bytes).await;
        assert!(peer.closed().await.is_empty(), "there is nothing to say to {bytes:?}");
    }
}

/// A handshake that stops anywhere is closed by the deadline.
pub async fn half_handshakes(site: Arc<Site>) {
    let attack = |length: usize| {
        let site = site.clone();
        async move {
            let mut peer = Peer::dial(address(13, length), site.rtmp).await;
            let opened = Instant::now();
            peer.send(&handshake()[..length]).await;
            let answer = read_to_deadline(&mut peer.socket, opened, HANDSHAKE).await;
            let whole = if length > 1_536 { 3_073 } else { 0 };
            assert_eq!(answer.len(), whole, "after {length} bytes");
        }
    };
    join_all([1, 2, 800, 1_536, 1_537, 1_538, 3_072].map(attack)).await;
}

/// A byte now and then does not move a deadline: not in the handshake, not in the chunks behind it.
pub async fn slow_handshakes_and_chunks(site: Arc<Site>) {
    let attack = |n: usize| {
        let site = site.clone();
        async move {
            let mut peer = Peer::dial(address(14, n), site.rtmp).await;
            if n.is_multiple_of(2) {
                trickle(&mut peer.socket, &handshake(), HANDSHAKE).await;
            } else {
                peer.send(&handshake()).await;
                trickle(&mut peer.socket, &connect(&"x".repeat(4_000), "slow"), CONNECT).await;
            }
        }
    };
    join_all((0..20).map(attack)).await;
}

/// Connect and leave, 3,000 times, some with a byte and some with half a handshake.
pub async fn storms(site: Arc<Site>) {
    let attack = |n: usize| {
        let site = site.clone();
        async move {
            let mut peer = Peer::dial(address(15, n), site.rtmp).await;
            match n % 3 {
                0 => {}
                1 => peer.send(&[3]).await,
                _ => peer.send(&handshake()[..2_000]).await,
            }
        }
    };
    stream::iter((0..3_000).map(attack)).buffer_unordered(100).collect::<Vec<()>>().await;
}

/// 5,000 wrong keys from 25 addresses; the right key is taken from one of them all the same: its owner may share it.
pub async fn wrong_keys(site: Arc<Site>) {
    let attack = |n: usize| {
        let site = site.clone();
        async move {
            let mut peer = Peer::dial(address(16, n % 25), site.rtmp).await;
            let words = peer.publish(&format!("wrong-key-{n}")).await;
            assert!(!words.contains("Publish.Start"), "{words}");
        }
    };
    stream::iter((0..5_000).map(attack)).buffer_unordered(500).collect::<Vec<()>>().await;
    Peer::publishing(address(16, 0), site.rtmp, &site.theirs.secret).await;
}

/// Names that mean something to file systems, terminals, logs and databases.
pub async fn odd_names(site: Arc<Site>) {
    let long = "x".repeat(64 << 10);
    let names = [
        "../../../../etc/passwd",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..\\..\\x",
        "a\0b",
        "%00",
        "\"; DROP TABLE streams; --",
        "'\"`$(id)",
        "a\n{\"level\":\"ERROR\",\"message\":\"forged\"}",
        "a\r\n\u{1b}[2J\u{202e}",
        "\u{fffd}\u{10ffff}",
        "/",
        "?key=",
        "?key=../x",
        &long,
    ];
    for (n, name) in names.into_iter().enumerate() {
        let mut peer = Peer::dial(address(17, n), site.rtmp).await;
        let words = peer.publish(name).await;
        assert!(!words.contains("Publish.Start"), "{name:?} was taken: {words}");
        let mut peer = Peer::shaken(address(17, n), site.rtmp).await;
        peer.send(&[connect(name, name), publish("wrong")].concat()).await;
        let words = peer.until(&["NetStream.Publish."]).await;
        assert!(!words.contains("Publish.Start"), "{words}");
        // Who is let in is named in the log. (A key in the application's query would come first.)
        if name.len() < 1_000 && name != "?key=../x" {
            let mut peer = Peer::shaken(address(17, n), site.rtmp).await;
            peer.send(&[connect(name, name), publish(&site.theirs.secret)].concat()).await;
            let words = peer.until(&["NetStream.Publish."]).await;
            assert!(words.contains("Publish.Start"), "{words}");
        }
    }
}

/// Metadata of 10 MB is longer than any message may be; of 7 MB, and of 16,000 properties, it is left aside.
pub async fn huge_metadata(site: Arc<Site>) {
    let metadata = |property: &[u8], count: usize| {
        let head = [string(b"@setDataFrame"), string(b"onMetaData"), vec![8, 0, 0, 0, 0]].concat();
        [&head[..], &property.repeat(count), &[0, 0, 9]].concat()
    };
    let text = [&[0, 1, b'a'][..], &string(&[b'x'; 60_000])].concat();
    let small = [&[0, 1, b'a'][..], &number(1.0)].concat();
    for (body, fits) in [(metadata(&text, 170), false), (metadata(&text, 110), true), (metadata(&small, 16_000), true)]
    {
        let mut peer = Peer::publishing(address(18, 0), site.rtmp, &site.theirs.secret).await;
        peer.send(&control(1, 1 << 20)).await;
        peer.send(&message_in(1 << 20, 4, 18, 1, 0, &body)).await;
        peer.send(&command(0, &["deleteStream"], &[1.0])).await;
        let words = peer.until(&["NetStream.Unpublish.Success"]).await;
        assert_eq!(words.contains("Unpublish.Success"), fits, "{} bytes: {words}", body.len());
    }
}

/// 5,000 streams on one connection are 5,000 small answers, and it may publish behind them.
pub async fn create_stream_flood(site: Arc<Site>) {
    let mut peer = Peer::shaken(address(19, 0), site.rtmp).await;
    peer.send(&connect("live", "flood")).await;
    let flood = command(0, &["createStream"], &[]).repeat(50);
    for _ in 0..100 {
        peer.send(&flood).await;
    }
    peer.send(&publish(&site.theirs.secret)).await;
    let words = peer.until(&["NetStream.Publish."]).await;
    assert!(words.contains("Publish.Start"), "{}", words.len());
    assert_eq!(words.matches("_result").count(), 5_001);
}

/// The second publish of one connection is refused, the first goes on.
pub async fn publish_twice(site: Arc<Site>) {
    let mut peer = Peer::publishing(address(20, 0), site.rtmp, &site.theirs.secret).await;
    peer.send(&publish(&site.theirs.secret).repeat(100)).await;
    let words = peer.until(&["publishes already"]).await;
    assert!(words.contains("NetStream.Publish.BadName"), "{words}");
    peer.send(&command(0, &["deleteStream"], &[1.0])).await;
    assert!(peer.until(&["Unpublish.Success"]).await.contains("Unpublish.Success"));
}

/// Objects and arrays in each other, 12,000 deep, as the first command and behind a connect.
pub async fn deep_amf_before_authentication(site: Arc<Site>) {
    for bomb in [b"\x03\x00\x01a".repeat(12_000), b"\x0a\x00\x00\x00\x01".repeat(12_000), vec![5; 60_000]] {
        for opening in [vec![], connect("live", "deep")] {
            let mut peer = Peer::shaken(address(21, 0), site.rtmp).await;
            let body = [string(b"connect"), number(1.0), bomb.clone()].concat();
            peer.send(&[opening, message(3, 20, 0, &body)].concat()).await;
            peer.closed().await;
        }
    }
}

/// 50 KB are read, 64 KiB and more are not waited for, and many half messages together are no way around it.
pub async fn long_messages_before_authentication(site: Arc<Site>) {
    let mut peer = Peer::shaken(address(22, 0), site.rtmp).await;
    let app = "x".repeat(50_000);
    peer.send(&[connect(&app, "long"), publish(&site.theirs.secret)].concat()).await;
    assert!(peer.until(&["NetStream.Publish."]).await.contains("Publish.Start"), "50 KB are harmless");
    for length in [(64 << 10) + 1, 1 << 20, 0xFF_FFFF_usize] {
        let mut peer = Peer::shaken(address(22, 1), site.rtmp).await;
        let announced = u32::try_from(length).expect("24 bits").to_be_bytes();
        let head = [&[3, 0, 0, 0][..], &announced[1..], &[20, 0, 0, 0, 0]].concat();
        peer.send(&head).await;
        peer.send(&[0; 128]).await;
        peer.closed().await;
    }
    let mut peer = Peer::shaken(address(22, 2), site.rtmp).await;
    for id in 3..63 {
        peer.send(&[&[id, 0, 0, 0, 0, 0xFF, 0xFF, 9, 1, 0, 0, 0][..], &[0; 128]].concat()).await;
    }
    peer.closed().await;
}

/// A megabyte in chunks of one byte, and half a million messages without one.
pub async fn tiny_chunks(site: Arc<Site>) {
    let mut peer = Peer::publishing(address(23, 0), site.rtmp, &site.theirs.secret).await;
    peer.send(&control(1, 1)).await;
    peer.send(&message_in(1, 4, 8, 1, 0, &[&[0xAF, 1][..], &[0; 1 << 20]].concat())).await;
    peer.send(&message_in(1, 5, 9, 1, 0, &[])).await;
    peer.send(&vec![0xC5; 500_000]).await;
    peer.send(&message_in(1, 2, 1, 0, 0, &4_096_u32.to_be_bytes())).await;
    peer.send(&message_in(4_096, 3, 20, 0, 0, &command_body("deleteStream"))).await;
    assert!(peer.until(&["Unpublish.Success"]).await.contains("Unpublish.Success"), "it was odd, and no more");
    // A stranger with unknown messages is let go.
    let mut peer = Peer::shaken(address(23, 1), site.rtmp).await;
    peer.send(&[message(3, 99, 0, b"x"), vec![0xC3; 1_000]].concat()).await;
    peer.closed().await;
}

fn command_body(name: &str) -> Vec<u8> {
    [string(name.as_bytes()), number(1.0), vec![5], number(1.0)].concat()
}

/// More chunk streams than anybody needs, and headers that refer to what never was.
pub async fn chunk_stream_ids(site: Arc<Site>) {
    let many: Vec<u8> = (0..1_000_u16).flat_map(|id| [&[1][..], &id.to_le_bytes(), &[0; 11]].concat()).collect();
    for bytes in [many, vec![0xC7], vec![0x81, 0xFF, 0xFF, 0, 0, 0], vec![0xC1, 0, 0]] {
        let mut peer = Peer::shaken(address(24, 0), site.rtmp).await;
        peer.send(&bytes).await;
        peer.closed().await;
    }
}

/// A window of one byte does not make the daemon answer every byte.
pub async fn acknowledgement_windows(site: Arc<Site>) {
    let mut peer = Peer::publishing(address(25, 0), site.rtmp, &site.theirs.secret).await;
    for window in [1, 0, u32::MAX, 1] {
        peer.send(&control(5, window)).await;
    }
    peer.send(&control(3, u32::MAX).repeat(1_000)).await;
    let sound = message(4, 8, 1, &[&[0xAF, 1][..], &[0; 126]].concat());
    for _ in 0..100 {
        peer.send(&sound.repeat(100)).await;
    }
    peer.send(&command(0, &["deleteStream"], &[1.0])).await;
    let words = peer.until(&["Unpublish.Success"]).await;
    assert!(words.contains("Unpublish.Success") && words.len() < 4_096, "{} bytes of answers", words.len());
}

/// Sizes that are none end the connection; the largest is as good as any.
pub async fn chunk_sizes(site: Arc<Site>) {
    for size in [0, 0x8000_0000, u32::MAX] {
        let mut peer = Peer::shaken(address(26, 0), site.rtmp).await;
        peer.send(&control(1, size)).await;
        peer.closed().await;
    }
    let mut peer = Peer::shaken(address(26, 1), site.rtmp).await;
    peer.send(&control(1, 0x7FFF_FFFF)).await;
    peer.send(&[connect("live", "large"), publish(&site.theirs.secret)].concat()).await;
    assert!(peer.until(&["NetStream.Publish."]).await.contains("Publish.Start"));
}

/// Messages begun and given up, 20,000 times, and aborts of what never was.
pub async fn aborts(site: Arc<Site>) {
    let mut peer = Peer::publishing(address(27, 0), site.rtmp, &site.theirs.secret).await;
    let begun = [&[4, 0, 0, 0, 0x01, 0, 0, 9, 1, 0, 0, 0][..], &[0; 128], &control(2, 4)].concat();
    for _ in 0..200 {
        peer.send(&begun.repeat(100)).await;
    }
    peer.send(&control(2, u32::MAX).repeat(1_000)).await;
    peer.send(&command(0, &["deleteStream"], &[1.0])).await;
    assert!(peer.until(&["Unpublish.Success"]).await.contains("Unpublish.Success"));
}

/// Times at the end of the field, back at its beginning, and on either side of it in turns.
pub async fn extended_timestamps(site: Arc<Site>) {
    let mut peer = Peer::publishing(address(28, 0), site.rtmp, &site.theirs.secret).await;
    let config = [0xAF, 0, 0x11, 0x90];
    peer.send(&message_in(128, 4, 8, 1, u32::MAX, &config)).await;
    for n in 0..2_000_u32 {
        let time = [0, u32::MAX, 0x7FFF_FFFF, 0x8000_0000, 0xFF_FFFF, n][n as usize % 6];
        peer.send(&message_in(128, 4, 8, 1, time, &[&[0xAF, 1][..], &[0x21; 300]].concat())).await;
    }
    peer.send(&command(0, &["deleteStream"], &[1.0])).await;
    // The session may have refused what came, in words; the connection is not left hanging.
    let words = peer.until(&["NetStream.Unpublish.Success", "NetStream.Publish.Rejected"]).await;
    assert!(words.contains("NetStream."), "{words}");
}

/// An encoder with a right key and media that cannot be used comes back again and again: it is told each time, the log is not.
pub async fn media_that_nobody_carries(site: Arc<Site>) {
    const TIMES: usize = 30;
    let words = "the publisher's media cannot be used";
    let before = site.lines_with(words);
    for n in 0..TIMES {
        let mut peer = Peer::publishing(address(29, n), site.rtmp, &site.theirs.secret).await;
        // A keyframe of VP6.
        peer.send(&message(6, 9, 1, &[0x14, 0, 0, 0, 0])).await;
        let told = peer.until(&["NetStream.Publish.Rejected"]).await;
        assert!(told.contains("set the encoder to H.264"), "{told}");
    }
    // A session that ended meanwhile, as nobody was back in time, has said it for itself.
    let lines = site.lines_with(words) - before;
    assert!((1..TIMES / 2).contains(&lines), "{lines} lines");
}
