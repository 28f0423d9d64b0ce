//! RTMP by hand, byte by byte, so that it can be wrong in every way; and sockets from any address of 127.0.0.0/8.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, interval, timeout, timeout_at};

use super::site::LIMIT;

/// How much later than its deadline a connection may be closed on a busy machine.
const LATE: Duration = Duration::from_secs(10);
/// How much earlier than we see it a deadline may have begun.
const EARLY: Duration = Duration::from_secs(1);
/// Between two bytes of a slow peer.
const TRICKLE: Duration = Duration::from_millis(100);

/// One connection.
pub struct Peer<S = TcpStream> {
    pub socket: S,
}

/// Connects from `from`.
pub async fn dial(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((from, 0))).expect("an address of the loopback network");
    timeout(LIMIT, socket.connect(to)).await.expect("in time").expect("accepted by the system")
}

/// Reads until the other side closes, in peace or not; what came.
pub async fn read_to_close(socket: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = timeout(LIMIT, socket.read_to_end(&mut read)).await.expect("the connection is closed");
    read
}

/// The same for a connection of `opened` that a deadline of `allowed` ends. One that was closed before anybody looked is in time.
pub async fn read_to_deadline(socket: &mut TcpStream, opened: Instant, allowed: Duration) -> Vec<u8> {
    let mut read = Vec::new();
    let closed = timeout_at(opened + allowed + LATE, socket.read_to_end(&mut read)).await;
    let _ = closed.unwrap_or_else(|_| panic!("not closed within {allowed:?} and {LATE:?}"));
    read
}

/// Sends a byte now and then, until a deadline of `allowed` from now ends the connection: nothing else does.
pub async fn trickle(socket: &mut TcpStream, bytes: &[u8], allowed: Duration) {
    let (mut reading, mut writing) = socket.split();
    let trickle = async {
        let mut pace = interval(TRICKLE);
        for byte in bytes {
            pace.tick().await;
            if writing.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
        // The daemon waited for the last one.
        pending().await
    };
    let (began, mut sink) = (Instant::now(), Vec::new());
    let ended = async {
        tokio::select! { () = trickle => {}, _ = reading.read_to_end(&mut sink) => {} }
    };
    timeout(allowed + LATE, ended).await.unwrap_or_else(|_| panic!("a trickle moves the deadline of {allowed:?}"));
    assert!(began.elapsed() + EARLY >= allowed, "closed after {:?}, not by the deadline", began.elapsed());
}

impl Peer {
    pub async fn dial(from: [u8; 4], to: SocketAddr) -> Peer {
        Peer { socket: dial(from, to).await }
    }

    /// Connects and shakes hands.
    pub async fn shaken(from: [u8; 4], to: SocketAddr) -> Peer {
        let mut peer = Peer::dial(from, to).await;
        peer.send(&handshake()).await;
        peer
    }

    /// Comes as far as an accepted publish.
    pub async fn publishing(from: [u8; 4], to: SocketAddr, key: &str) -> Peer {
        let mut peer = Peer::dial(from, to).await;
        let words = peer.publish(key).await;
        assert!(words.contains("NetStream.Publish.Start"), "{words}");
        peer
    }

    /// Reads until the other side closes.
    pub async fn closed(&mut self) -> Vec<u8> {
        read_to_close(&mut self.socket).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Writes; the other side may have closed, which is for the reader to say.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(LIMIT, self.socket.write_all(bytes)).await.expect("the daemon reads, or closes");
    }

    /// Reads until one of `words` was said or the connection is closed; the printable part of all that came.
    pub async fn until(&mut self, words: &[&str]) -> String {
        let (mut text, mut buffer) = (String::new(), vec![0; 64 * 1024]);
        loop {
            if words.iter().any(|word| text.contains(word)) {
                return text;
            }
            match timeout(LIMIT, self.socket.read(&mut buffer)).await.expect("an answer or the end") {
                Ok(0) | Err(_) => return text,
                Ok(count) => {
                    text.extend(buffer[..count].iter().filter(|b| (b' '..=b'~').contains(*b)).map(|b| char::from(*b)))
                }
            }
        }
    }

    /// Everything from the handshake to the answer of a publish.
    pub async fn publish(&mut self, key: &str) -> String {
        let bytes = [handshake(), connect("live", "test"), command(0, &["createStream"], &[]), publish(key)].concat();
        self.send(&bytes).await;
        self.until(&["NetStream.Publish.", "NetStream.Failed"]).await
    }

    /// Says goodbye, and waits for the answer.
    pub async fn unpublish(&mut self) {
        self.send(&command(0, &["deleteStream"], &[1.0])).await;
        self.until(&["NetStream.Unpublish.Success", "NetStream.Publish.BadName"]).await;
    }
}

/// C0, C1 and C2.
pub fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 2 * 1_536];
    bytes[0] = 3;
    bytes
}

/// A message in chunks of `size` bytes.
pub fn message_in(size: usize, chunk_stream: u8, type_id: u8, stream: u32, time: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let (short, long) = if time >= 0xFF_FFFF { (0xFF_FFFF, Some(time)) } else { (time, None) };
    let mut bytes = vec![chunk_stream];
    bytes.extend_from_slice(&short.to_be_bytes()[1..]);
    bytes.extend_from_slice(&length[1..]);
    bytes.push(type_id);
    bytes.extend_from_slice(&stream.to_le_bytes());
    bytes.extend(long.iter().flat_map(|time| time.to_be_bytes()));
    for (index, chunk) in body.chunks(size).enumerate() {
        if index > 0 {
            bytes.push(0xC0 | chunk_stream);
            bytes.extend(long.iter().flat_map(|time| time.to_be_bytes()));
        }
        bytes.extend_from_slice(chunk);
    }
    bytes
}

/// A message in chunks of the first size.
pub fn message(chunk_stream: u8, type_id: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    message_in(128, chunk_stream, type_id, stream, 0, body)
}

/// A protocol control message with one number.
pub fn control(type_id: u8, value: u32) -> Vec<u8> {
    message(2, type_id, 0, &value.to_be_bytes())
}

/// An AMF0 string; a long one where it must be.
pub fn string(text: &[u8]) -> Vec<u8> {
    match u16::try_from(text.len()) {
        Ok(length) => [&[2][..], &length.to_be_bytes(), text].concat(),
        Err(_) => [&[12][..], &u32::try_from(text.len()).expect("short").to_be_bytes(), text].concat(),
    }
}

/// An AMF0 number.
pub fn number(value: f64) -> Vec<u8> {
    [&[0][..], &value.to_be_bytes()].concat()
}

/// A command with transaction 1, a null object, and `numbers` behind the texts.
pub fn command(stream: u32, texts: &[&str], numbers: &[f64]) -> Vec<u8> {
    let mut body = [string(texts[0].as_bytes()), number(1.0), vec![5]].concat();
    body.extend(texts[1..].iter().flat_map(|text| string(text.as_bytes())));
    body.extend(numbers.iter().flat_map(|value| number(*value)));
    message(3, 20, stream, &body)
}

/// `connect`, as encoders send it.
pub fn connect(app: &str, encoder: &str) -> Vec<u8> {
    let property = |name: &str, value: &str| {
        let length = u16::try_from(name.len()).expect("short").to_be_bytes();
        [&length[..], name.as_bytes(), &string(value.as_bytes())].concat()
    };
    let object = [&[3][..], &property("app", app), &property("flashVer", encoder), &[0, 0, 9]].concat();
    message(3, 20, 0, &[string(b"connect"), number(1.0), object].concat())
}

/// `publish` on message stream 1.
pub fn publish(key: &str) -> Vec<u8> {
    command(1, &["publish", key, "live"], &[])
}

/// SplitMix64: seeded, so that what fails fails again.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 56).to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}
