//! What the SRT listener may be told. Every deadline and bound of a connection is here.

use std::time::Duration;

use secrecy::SecretString;

use crate::clock::SharedClock;
use crate::listen::attempts::AttemptPolicy;

/// Settings of the SRT listener.
#[derive(Clone, Debug)]
pub struct SrtSettings {
    /// What callers encrypt with whose stream has no passphrase of its own.
    pub passphrase: Option<SecretString>,
    /// Whether callers must encrypt. To a stream with its own passphrase they must in any case.
    pub encryption_required: bool,
    /// Least latency: what we ask for. A caller that asks for more gets more.
    pub latency_min: Duration,
    /// Most latency: what a caller gets that asks for more than this.
    pub latency_max: Duration,
    /// From a conclusion to its answer, admission included.
    pub handshake_timeout: Duration,
    /// A wrong key's answer is delayed by no more than this: callers give up after 3 s, and would not learn why.
    pub max_refusal_delay: Duration,
    /// A caller of which nothing comes for this long is lost.
    pub idle_timeout: Duration,
    /// A caller that is there and sends no media for this long is closed: its session would stand still, while a lost one's
    /// goes on in gaps.
    pub media_timeout: Duration,
    /// How long the last word is repeated to a caller that seems not to have heard it.
    pub linger: Duration,
    /// How long a session may take to take in what had come when the caller went.
    pub drain_timeout: Duration,
    /// Most connections, those that are being asked about included.
    pub max_connections: usize,
    /// Most connections of one address (IPv6: of one /64).
    pub max_connections_per_address: usize,
    /// Datagrams that wait for a connection's task; more are dropped, as a full socket would.
    pub queue_datagrams: usize,
    /// Packets that a connection holds or misses at most.
    pub max_packets: usize,
    /// Payload bytes that a connection holds back at most while it waits for lost packets.
    pub max_buffer_bytes: usize,
    /// Released bytes that wait for a session at most; more are lost, and the next that is taken says so.
    pub backlog_bytes: usize,
    /// What is due is released at most this often, in one piece.
    pub release_every: Duration,
    /// What happens to addresses that try wrong keys.
    pub attempts: AttemptPolicy,
    /// The daemon's clock, for the table of attempts and the pace of the log.
    pub clock: SharedClock,
}

impl SrtSettings {
    /// The defaults: 120 ms to 8 s of latency, 5 s of silence (libsrt's own), 20 s without media.
    pub fn new(clock: SharedClock) -> Self {
        SrtSettings {
            passphrase: None,
            encryption_required: false,
            latency_min: Duration::from_millis(120),
            latency_max: Duration::from_secs(8),
            handshake_timeout: Duration::from_secs(5),
            max_refusal_delay: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(5),
            media_timeout: Duration::from_secs(20),
            linger: Duration::from_millis(500), // a revoked key must be gone within 2 s, its last words included
            drain_timeout: Duration::from_secs(5),
            max_connections: 1_000,
            max_connections_per_address: 64, // a studio behind one address
            queue_datagrams: 2_048,          // 0.4 s of 50 Mbit/s
            max_packets: 25_600,             // 8 s of 33 Mbit/s
            max_buffer_bytes: 16 << 20,
            backlog_bytes: 4 << 20,
            release_every: Duration::from_millis(10),
            attempts: AttemptPolicy::default(),
            clock,
        }
    }
}
