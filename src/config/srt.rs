//! `[srt]`: the listener, its latency, its encryption and its limits.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use secrecy::SecretString;

use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;

const SECTION: Section = Section::Named("srt");

const LISTEN: Key = Key {
    section: SECTION,
    name: "listen",
    kind: KeyType::Address,
    default: "0.0.0.0:8890",
    doc: "UDP address that encoders push to. Port 0 takes a free one. An empty text switches SRT off.",
};

const PASSPHRASE: Key = Key {
    section: SECTION,
    name: "passphrase",
    kind: KeyType::Secret,
    default: "",
    doc: "What encoders encrypt with (AES-128, 192 or 256, as they choose) unless their stream has a passphrase of its own: 10 to \
          79 bytes without control characters. Without one only streams with their own can be sent to encrypted.",
};

const ENCRYPTION: Key = Key {
    section: SECTION,
    name: "encryption",
    kind: KeyType::Choice(&["optional", "required"]),
    default: "optional",
    doc: "`required` refuses encoders that do not encrypt. `optional` lets them in, also beside `passphrase`, but never to a \
          stream that has a passphrase of its own.",
};

const LATENCY_MIN: Key = latency(
    "latency_min",
    "120ms",
    "How long a packet is waited for at least, from when it was sent (20ms to 8s). An encoder that asks for more gets more. It \
     should be four times the round trip; what is lost for longer is a hole in the broadcast.",
);

const LATENCY_MAX: Key = latency(
    "latency_max",
    "8s",
    "The same at most (20ms to 8s, `latency_min` or more): an encoder that asks for more gets this.",
);

const HANDSHAKE: Key = deadline(
    "handshake",
    "5s",
    "From an encoder's request to its answer, the decision whether it may publish included (1s to 10m). Most encoders give up \
     after 3s by themselves.",
);

const IDLE: Key = deadline(
    "idle",
    "5s",
    "How long nothing at all may come from an encoder before its connection counts as lost (1s to 10m).",
);

const MAX_CONNECTIONS: Key = Key {
    section: SECTION,
    name: "max_connections",
    kind: KeyType::Count,
    default: "1000",
    doc: "Connections at one time, those that have not published yet included (1 to 100000). When all are taken, one that has not \
          published makes room for the next.",
};

const MAX_CONNECTIONS_PER_ADDRESS: Key = Key {
    section: SECTION,
    name: "max_connections_per_address",
    kind: KeyType::Count,
    default: "64",
    doc: "The same for one address, or one IPv6 network of 64 bits (1 to 100000).",
};

const MAX_BUFFER: Key = Key {
    section: SECTION,
    name: "max_buffer",
    kind: KeyType::Size,
    default: "16MiB",
    doc: "Bytes that one connection may hold back while it waits for lost packets (1MiB to 256MiB): bitrate times latency must \
          fit, and 16MiB holds 8s at 16 Mbit/s. More is dropped, and counted.",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[
    LISTEN,
    PASSPHRASE,
    ENCRYPTION,
    LATENCY_MIN,
    LATENCY_MAX,
    HANDSHAKE,
    IDLE,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_ADDRESS,
    MAX_BUFFER,
];

const fn deadline(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { section: SECTION, name, kind: KeyType::Duration, default, doc }
}

const fn latency(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { section: SECTION, name, kind: KeyType::Duration, default, doc }
}

/// Bytes of a passphrase: libsrt takes 10 to 80 (`SRTO_PASSPHRASE`), its documentation and programs over it promise 79.
pub const PASSPHRASE_BYTES: RangeInclusive<usize> = 10..=79;

/// Latencies that make sense: below, a late interrupt is a hole already; above, the number was meant in another unit.
const LATENCY: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_secs(8);

/// Bytes of a connection's buffer.
const BUFFER_BYTES: RangeInclusive<u64> = 1 << 20..=256 << 20;

/// Whether encoders must encrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// They may; to a stream with its own passphrase they must.
    Optional,
    /// They must.
    Required,
}

impl Encryption {
    const CHOICES: [(&'static str, Encryption); 2] =
        [("optional", Encryption::Optional), ("required", Encryption::Required)];

    /// The choice's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Encryption::Optional => "optional",
            Encryption::Required => "required",
        }
    }
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The section's values, when it is on.
#[derive(Clone, Debug)]
pub struct Srt {
    /// Where SRT listens, over UDP.
    pub listen: SocketAddr,
    /// What streams without a passphrase of their own are encrypted with.
    pub passphrase: Option<SecretString>,
    /// Whether encoders must encrypt.
    pub encryption: Encryption,
    /// The least receiver latency: what we ask for, and so what an encoder that asks for less gets.
    pub latency_min: Duration,
    /// The most receiver latency: what an encoder that asks for more gets.
    pub latency_max: Duration,
    /// From a handshake's conclusion to its answer.
    pub handshake: Duration,
    /// How long nothing may come from a peer.
    pub idle: Duration,
    /// Connections at one time.
    pub max_connections: u32,
    /// Connections of one address at one time.
    pub max_connections_per_address: u32,
    /// Bytes that one connection's receive buffer may hold.
    pub max_buffer_bytes: u64,
}

impl Srt {
    /// `None` when `listen` is empty. The other keys are judged all the same.
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let srt = Srt {
            passphrase: reader.read_given(&PASSPHRASE, parse_optional_passphrase).flatten(),
            encryption: reader.read(&ENCRYPTION, |text| units::parse_choice(text, &Encryption::CHOICES)),
            latency_min: reader.read(&LATENCY_MIN, parse_latency),
            latency_max: reader.read(&LATENCY_MAX, parse_latency),
            handshake: reader.read(&HANDSHAKE, units::parse_deadline),
            idle: reader.read(&IDLE, units::parse_deadline),
            max_connections: reader.read(&MAX_CONNECTIONS, units::parse_connections),
            max_connections_per_address: reader.read(&MAX_CONNECTIONS_PER_ADDRESS, units::parse_connections),
            max_buffer_bytes: reader.read(&MAX_BUFFER, parse_buffer),
            listen: SocketAddr::from(([0; 4], 0)),
        };
        if srt.latency_min > srt.latency_max {
            let text = units::duration_text;
            let (min, max) = (text(srt.latency_min), text(srt.latency_max));
            reader.refuse(&LATENCY_MAX, format!("{max} must not be less than srt.latency_min, which is {min}"));
        }
        reader.read(&LISTEN, parse_listen).map(|listen| Srt { listen, ..srt })
    }
}

/// An empty text is none: SRT is off.
fn parse_listen(text: &str) -> Result<Option<SocketAddr>, units::UnitError> {
    if text.is_empty() { Ok(None) } else { units::parse_address(text).map(Some) }
}

/// An empty text is none, so that a variable can take back what the file says.
fn parse_optional_passphrase(text: &str) -> Result<Option<SecretString>, PassphraseError> {
    if text.is_empty() { Ok(None) } else { parse_passphrase(text).map(Some) }
}

/// A text that no encoder could be given as its passphrase. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// Too short or too long.
    #[error("must have 10 to 79 bytes, and has {0}; make one with: openssl rand -hex 16")]
    Length(usize),
    /// A line end, a tab or another control character, which encoders' fields do not take.
    #[error("must not hold control characters such as line ends; make one with: openssl rand -hex 16")]
    Control,
}

/// An SRT passphrase, for the listener and for a stream's own.
///
/// # Errors
/// Not [`PASSPHRASE_BYTES`] long, or with control characters.
pub fn parse_passphrase(text: &str) -> Result<SecretString, PassphraseError> {
    if !PASSPHRASE_BYTES.contains(&text.len()) {
        return Err(PassphraseError::Length(text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(PassphraseError::Control);
    }
    Ok(SecretString::from(text))
}

fn parse_latency(text: &str) -> Result<Duration, String> {
    let latency = units::parse_duration(text).map_err(|error| error.to_string())?;
    if LATENCY.contains(&latency) { Ok(latency) } else { Err(format!("{text} is out of range: write 20ms to 8s")) }
}

fn parse_buffer(text: &str) -> Result<u64, String> {
    let bytes = units::parse_size(text).map_err(|error| error.to_string())?;
    let in_range = BUFFER_BYTES.contains(&bytes);
    if in_range { Ok(bytes) } else { Err(format!("{text} is out of range: write 1MiB to 256MiB")) }
}
