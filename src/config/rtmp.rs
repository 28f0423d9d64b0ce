//! `[rtmp]`: the listener, its deadlines and its limits.

use std::net::SocketAddr;
use std::time::Duration;

use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;

const SECTION: Section = Section::Named("rtmp");

/// Where RTMP listens; public to its siblings, because two listeners must not share an address.
pub(super) const LISTEN: Key = Key {
    section: SECTION,
    name: "listen",
    kind: KeyType::Address,
    default: "0.0.0.0:1935",
    doc: "Address that encoders push to. Port 0 takes a free one.",
};

const HANDSHAKE: Key =
    deadline("handshake", "5s", "From the accepted connection to the end of the handshake, TLS included (1s to 10m).");
const CONNECT: Key = deadline("connect", "5s", "From the end of the handshake to the connect command (1s to 10m).");
const PUBLISH: Key = deadline("publish", "10s", "From the connect command to the publish command (1s to 10m).");
const SILENCE: Key = deadline(
    "silence",
    "20s",
    "How long a publisher may send nothing before its connection counts as lost (1s to 10m).",
);

const MAX_CONNECTIONS: Key = Key {
    section: SECTION,
    name: "max_connections",
    kind: KeyType::Count,
    default: "1000",
    doc: "Connections at one time, those that have not published yet and those over TLS included (1 to 100000). When all are \
          taken, one that has not published makes room for the next.",
};

const MAX_CONNECTIONS_PER_ADDRESS: Key = Key {
    section: SECTION,
    name: "max_connections_per_address",
    kind: KeyType::Count,
    default: "64",
    doc: "The same for one address, or one IPv6 network of 64 bits (1 to 100000).",
};

const MAX_MESSAGE: Key = Key {
    section: SECTION,
    name: "max_message",
    kind: KeyType::Size,
    default: "8MiB",
    doc: "The largest message, so the largest frame, that a publisher may send (64KiB to 16MiB).",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] =
    &[LISTEN, HANDSHAKE, CONNECT, PUBLISH, SILENCE, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, MAX_MESSAGE];

const fn deadline(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { section: SECTION, name, kind: KeyType::Duration, default, doc }
}

/// The section's values.
#[derive(Clone, Debug)]
pub struct Rtmp {
    /// Where RTMP listens.
    pub listen: SocketAddr,
    /// From accept to the end of the handshake.
    pub handshake: Duration,
    /// From the end of the handshake to `connect`.
    pub connect: Duration,
    /// From `connect` to `publish`.
    pub publish: Duration,
    /// How long a publisher may send nothing.
    pub silence: Duration,
    /// Connections at one time.
    pub max_connections: u32,
    /// Connections of one address at one time.
    pub max_connections_per_address: u32,
    /// Bytes of the largest message.
    pub max_message_bytes: u32,
}

impl Rtmp {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Rtmp {
            listen: reader.read(&LISTEN, units::parse_address),
            handshake: reader.read(&HANDSHAKE, units::parse_deadline),
            connect: reader.read(&CONNECT, units::parse_deadline),
            publish: reader.read(&PUBLISH, units::parse_deadline),
            silence: reader.read(&SILENCE, units::parse_deadline),
            max_connections: reader.read(&MAX_CONNECTIONS, units::parse_connections),
            max_connections_per_address: reader.read(&MAX_CONNECTIONS_PER_ADDRESS, units::parse_connections),
            max_message_bytes: reader.read(&MAX_MESSAGE, parse_message),
        }
    }
}

/// 16 MiB is what the 24-bit length of a message header can say (RTMP 1.0, 5.3.1.2.1).
fn parse_message(text: &str) -> Result<u32, String> {
    let bytes = units::parse_size(text).map_err(|error| error.to_string())?;
    let in_range = (64 << 10..=16 << 20).contains(&bytes);
    let bytes = u32::try_from(bytes).ok().filter(|_| in_range);
    bytes.ok_or_else(|| format!("{text} is out of range: write 64KiB to 16MiB"))
}
