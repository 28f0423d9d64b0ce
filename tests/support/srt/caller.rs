//! An SRT caller of our own: enough of a sender to publish to a listener on a clean path, and to break its rules on demand.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::packets::{self, Conclusion, KMREQ, Secret};

/// Longest that any single wait may take: far beyond what a loaded machine needs, so that a hang is an error.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody answered for this long: ask again, as real callers do.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// First packet of a [`Conclusion::publish`].
const INITIAL: u32 = 1_000;

/// A connected caller.
pub struct Caller {
    pub socket: UdpSocket,
    /// The listener's socket id for us.
    pub peer: u32,
    secret: Option<Secret>,
    /// Which key packets are encrypted with: 1 even, 2 odd.
    pub key: u32,
    pub next: u32,
    began: Instant,
    /// What may have to be sent again.
    sent: BTreeMap<u32, Vec<u8>>,
    /// The listener's answer to the conclusion.
    pub acceptance: Vec<u8>,
    /// All before this was acknowledged.
    pub acknowledged: u32,
    /// The listener said goodbye.
    pub dismissed: bool,
    /// Key material that the listener sent back.
    pub keys_taken: Vec<Vec<u8>>,
}

/// A socket that talks to `listener` only.
pub async fn socket(listener: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(listener).await.expect("an address");
    socket
}

/// Sends `packet` until something comes that `wanted` takes.
pub async fn ask<T>(socket: &UdpSocket, packet: &[u8], mut wanted: impl FnMut(&[u8]) -> Option<T>) -> T {
    let mut buffer = [0; 2_048];
    let asked = async {
        loop {
            socket.send(packet).await.expect("sent");
            while let Ok(read) = timeout(ASK_AGAIN, socket.recv(&mut buffer)).await {
                if let Some(answer) = wanted(&buffer[..read.expect("read")]) {
                    return answer;
                }
            }
        }
    };
    timeout(PATIENCE, asked).await.expect("an answer")
}

/// The answer to a handshake of socket `id`, if `packet` is one of `kind`s.
fn handshake(packet: &[u8], id: u32, kind: impl Fn(u32) -> bool) -> Option<Vec<u8>> {
    let is_one = packet.len() >= 64 && packets::word(packet, 0) == 0x8000_0000 && packets::word(packet, 12) == id;
    (is_one && kind(packets::answer(packet).0)).then(|| packet.to_vec())
}

/// The cookie that the listener gives to `socket`.
pub async fn cookie(socket: &UdpSocket, id: u32) -> u32 {
    let answer = ask(socket, &packets::induction(id), |packet| handshake(packet, id, |kind| kind == 1)).await;
    packets::answer(&answer).2
}

/// Asks with `conclusion` (whose cookie is filled in).
///
/// # Errors
/// The listener refuses, with this type in its answer: 1000 and the code.
pub async fn conclude(socket: &UdpSocket, mut conclusion: Conclusion) -> Result<Vec<u8>, u32> {
    let id = conclusion.socket;
    conclusion.cookie = cookie(socket, id).await;
    let answer = ask(socket, &conclusion.packet(), |packet| handshake(packet, id, |kind| kind != 1)).await;
    match packets::answer(&answer).0 {
        0xffff_ffff => Ok(answer),
        refused => Err(refused),
    }
}

impl Caller {
    /// Connects to publish with `stream_id`.
    ///
    /// # Errors
    /// The code that the listener refuses with.
    pub async fn connect(listener: SocketAddr, stream_id: &str, secret: Option<Secret>) -> Result<Self, u32> {
        let mut conclusion = Conclusion::publish(4_242, 0, stream_id);
        if let Some(secret) = &secret {
            conclusion = conclusion.with(KMREQ, secret.material(1));
            conclusion.extension_field |= 2;
        }
        Caller::connect_with(listener, conclusion, secret).await
    }

    /// Connects with a conclusion of one's own.
    ///
    /// # Errors
    /// The code that the listener refuses with.
    pub async fn connect_with(
        listener: SocketAddr,
        conclusion: Conclusion,
        secret: Option<Secret>,
    ) -> Result<Self, u32> {
        let socket = socket(listener).await;
        let acceptance = conclude(&socket, conclusion).await.map_err(|kind| kind - 1_000)?;
        Ok(Caller {
            peer: packets::answer(&acceptance).1,
            socket,
            key: u32::from(secret.is_some()),
            secret,
            next: INITIAL,
            began: Instant::now(),
            sent: BTreeMap::new(),
            acceptance,
            acknowledged: INITIAL,
            dismissed: false,
            keys_taken: Vec::new(),
        })
    }

    /// Microseconds of our clock. The conclusion said 20 000.
    pub fn stamp(&self) -> u32 {
        20_000 + self.began.elapsed().as_micros() as u32
    }

    /// The next packet's number is used up, and it is kept for when it is asked for.
    fn pack(&mut self, payload: &[u8]) -> Vec<u8> {
        let serial = self.next & 0x7fff_ffff;
        self.next += 1;
        let payload = match &self.secret {
            Some(secret) => secret.encrypted(self.key, serial, payload),
            None => payload.to_vec(),
        };
        let packet = packets::data(serial, self.stamp(), self.peer, self.key, false, &payload);
        self.sent.insert(serial, packet.clone());
        packet
    }

    /// Sends one payload, and does what the listener asked for in the meantime.
    pub async fn send(&mut self, payload: &[u8]) {
        let packet = self.pack(payload);
        self.raw(&packet).await;
        self.serve().await;
    }

    /// Loses one payload on its way.
    pub fn lose(&mut self, payload: &[u8]) {
        let _ = self.pack(payload);
    }

    /// What was sent and lost up to here is never sent again.
    pub fn forget(&mut self) {
        self.sent.clear();
    }

    /// Sends `datagram` as it is.
    pub async fn raw(&self, datagram: &[u8]) {
        self.socket.send(datagram).await.expect("sent");
    }

    /// Sends a control packet to our connection.
    pub async fn control(&self, kind: u16, subtype: u16, info: u32, content: &[u8]) {
        self.raw(&packets::control(kind, subtype, info, self.stamp(), self.peer, content)).await;
    }

    /// Announces keys: 1 even, 2 odd, 3 both.
    pub async fn announce(&mut self, secret: Secret, which: u8) {
        self.control(0x7fff, 3, 0, &secret.material(which)).await;
        self.secret = Some(secret);
    }

    /// Says goodbye.
    pub async fn shut_down(&self) {
        self.control(5, 0, 0, &[0; 4]).await;
    }

    /// Answers what has come.
    pub async fn serve(&mut self) {
        let mut buffer = [0; 2_048];
        while let Ok(length) = self.socket.try_recv(&mut buffer) {
            self.answer(&buffer[..length]).await;
        }
    }

    /// Waits until `done`, answering what comes.
    pub async fn serve_until(&mut self, mut done: impl FnMut(&Caller) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 2_048];
        while !done(self) {
            assert!(Instant::now() < deadline, "waited for too long");
            match timeout(ASK_AGAIN, self.socket.recv(&mut buffer)).await {
                Ok(read) => {
                    let length = read.expect("read");
                    self.answer(&buffer[..length]).await;
                }
                // Real senders send again what nobody acknowledges for long.
                Err(_) => self.repeat(self.acknowledged, self.next - 1).await,
            }
        }
    }

    /// Waits until all that was sent is acknowledged.
    pub async fn settle(&mut self) {
        self.serve_until(|caller| caller.acknowledged == caller.next).await;
    }

    async fn repeat(&self, first: u32, last: u32) {
        for (_, packet) in self.sent.range(first..=last.max(first)) {
            let mut again = packet.clone();
            again[4] |= 4;
            self.raw(&again).await;
        }
    }

    async fn answer(&mut self, packet: &[u8]) {
        if packet.len() < 16 {
            return;
        }
        match packets::word(packet, 0) {
            0x8002_0000 => {
                self.acknowledged = self.acknowledged.max(packets::word(packet, 16));
                if packet.len() > 20 {
                    self.control(6, 0, packets::word(packet, 4), &[0; 4]).await;
                }
            }
            0x8003_0000 => {
                let mut at = 16;
                while at < packet.len() {
                    let word = packets::word(packet, at);
                    let range = word >> 31 == 1;
                    let first = word & 0x7fff_ffff;
                    let last = if range { packets::word(packet, at + 4) } else { first };
                    at += if range { 8 } else { 4 };
                    assert!(first <= last && last < self.next, "asked for what was never sent: {first} to {last}");
                    self.repeat(first, last).await;
                }
            }
            0x8005_0000 => self.dismissed = true,
            0xffff_0004 => self.keys_taken.push(packet[16..].to_vec()),
            _ => {}
        }
    }
}
