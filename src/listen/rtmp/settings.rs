//! What the RTMP listeners may be told. Every deadline and bound of a connection is here.

use std::time::Duration;

use crate::clock::SharedClock;
use crate::listen::attempts::AttemptPolicy;
use crate::wire::rtmp::Limits;

/// Settings of the RTMP listeners, which share all bounds.
#[derive(Clone, Debug)]
pub struct RtmpSettings {
    /// Bounds of the protocol reader.
    pub limits: Limits,
    /// From accept to the end of the handshake; over TLS, of both handshakes.
    pub handshake_timeout: Duration,
    /// From the handshake to the `connect` command.
    pub connect_timeout: Duration,
    /// From `connect` (or an unpublish) to `publish`.
    pub publish_timeout: Duration,
    /// Longest time for [`crate::listen::Admission::admit`].
    pub admission_timeout: Duration,
    /// A publisher that sends no byte for this long is lost, and one that sends no media is told so and closed: its session
    /// would stand still, while a lost one's goes on in gaps.
    pub silence_timeout: Duration,
    /// After this much silence a ping asks whether somebody is there. Shorter than `silence_timeout`.
    pub ping_after: Duration,
    /// Longest time until the peer takes what we write.
    pub write_timeout: Duration,
    /// How long we go on reading after the last words, so that the peer gets to read them before the connection is gone.
    pub linger: Duration,
    /// Most bytes read and thrown away in that time.
    pub linger_bytes: usize,
    /// Most open connections.
    pub max_connections: usize,
    /// Most open connections of one address (IPv6: of one /64).
    pub max_connections_per_address: usize,
    /// What happens to addresses that try wrong keys.
    pub attempts: AttemptPolicy,
    /// The daemon's clock, for the table of attempts and the pace of the log.
    pub clock: SharedClock,
}

impl RtmpSettings {
    /// The defaults: 5 s each for handshake and connect, 10 s for publish (encoders need well under 1 s), 20 s of silence
    /// (encoders that reconnect come back after 2 s; mobile networks stall for some seconds).
    pub fn new(clock: SharedClock) -> Self {
        RtmpSettings {
            limits: Limits::default(),
            handshake_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(10),
            admission_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_secs(20),
            ping_after: Duration::from_secs(8),
            write_timeout: Duration::from_secs(5),
            linger: Duration::from_secs(1), // a revoked key must be gone within 2 s, its last words included
            linger_bytes: 4 * 1024 * 1024,  // 1 s of 32 Mbit/s
            max_connections: 1_000,
            max_connections_per_address: 64, // a studio behind one address
            attempts: AttemptPolicy::default(),
            clock,
        }
    }
}
