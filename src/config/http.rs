//! `[http]`: playback, pages, operations and the API.

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;

const SECTION: Section = Section::Named("http");

const LISTEN: Key = Key {
    section: SECTION,
    name: "listen",
    kind: KeyType::Address,
    default: "0.0.0.0:8080",
    doc: "Address of playback, pages, operations and the API. Port 0 takes a free one.",
};

const ADMIN_TOKEN: Key = Key {
    section: SECTION,
    name: "admin_token",
    kind: KeyType::Secret,
    default: "",
    doc: "What `/api/v1` over TCP wants as `Authorization: Bearer <token>`: 16 to 256 printable ASCII characters without \
          spaces. Without one the API answers on the control socket only. Better given by the environment than by a file.",
};

const HEADER: Key = deadline(
    "header",
    "30s",
    "How long a client may take to send a request's head; a connection without a request is closed after it (1s to 10m).",
);
const STALL: Key = deadline(
    "stall",
    "20s",
    "How long a client that does not follow may take for the next 64 KiB of its answer before it is dropped (1s to 10m).",
);

const MAX_CONNECTIONS: Key = Key {
    section: SECTION,
    name: "max_connections",
    kind: KeyType::Count,
    default: "16384",
    doc: "Connections at one time (1 to 1000000). More are closed at once. Each takes a file descriptor: fewer are served \
          where the system's limit is lower, and the log says so.",
};

const MAX_CONNECTIONS_PER_ADDRESS: Key = Key {
    section: SECTION,
    name: "max_connections_per_address",
    kind: KeyType::Count,
    default: "4096",
    doc: "The same for one address, or one IPv6 network of 64 bits (1 to 1000000), so that one alone cannot take all places. \
          127.0.0.1 and ::1 have no such limit: a reverse proxy on this machine speaks for all viewers. For a proxy on another \
          machine, set it as high as `max_connections`. Where the system's limit allows fewer connections in all, it falls in \
          proportion.",
};

const CORS_ORIGINS: Key = Key {
    section: SECTION,
    name: "cors_origins",
    kind: KeyType::List,
    default: "*",
    doc: "Pages of which other sites may play streams, as `[\"https://example.org\", \"http://localhost:3000\"]`: scheme and host, and the \
          port where it is not the scheme's own. `[\"*\"]` lets all, an empty list none but our own pages. Browsers alone ask \
          for it: it keeps no player and no server from anything.",
};

/// Public to its siblings, because it wants `[https]`.
pub(super) const REDIRECT_TO_HTTPS: Key = Key {
    section: SECTION,
    name: "redirect_to_https",
    kind: KeyType::Switch,
    default: "false",
    doc: "Whether playback and pages at `listen` send clients to the same host at the port of `https.listen`. Operations and the API \
          answer at both.",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[
    LISTEN,
    ADMIN_TOKEN,
    CORS_ORIGINS,
    REDIRECT_TO_HTTPS,
    HEADER,
    STALL,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_ADDRESS,
];

const fn deadline(name: &'static str, default: &'static str, doc: &'static str) -> Key {
    Key { section: SECTION, name, kind: KeyType::Duration, default, doc }
}

/// Fewer characters could be guessed.
const MIN_TOKEN_BYTES: usize = 16;
/// More would not fit well into a header.
const MAX_TOKEN_BYTES: usize = 256;

/// The section's values.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where HTTP listens.
    pub listen: SocketAddr,
    /// The bearer token of the API over TCP; `None` closes it there.
    pub admin_token: Option<SecretString>,
    /// Whose pages may play streams.
    pub cors_origins: CorsOrigins,
    /// Whether playback and pages are only had over HTTPS.
    pub redirect_to_https: bool,
    /// For a request's head, and for the pause between two requests.
    pub header: Duration,
    /// For the next 64 KiB of an answer.
    pub stall: Duration,
    /// Connections at one time.
    pub max_connections: u32,
    /// Connections of one address at one time.
    pub max_connections_per_address: u32,
}

/// Sites whose pages may read our answers (the Fetch standard's CORS protocol).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// All.
    Any,
    /// These, each as browsers write it in Origin (RFC 6454 section 6.1).
    Listed(Vec<String>),
}

impl Http {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Http {
            listen: reader.read(&LISTEN, units::parse_address),
            admin_token: reader.read_given(&ADMIN_TOKEN, parse_token),
            cors_origins: reader.read(&CORS_ORIGINS, parse_origins),
            redirect_to_https: reader.read(&REDIRECT_TO_HTTPS, units::parse_switch),
            header: reader.read(&HEADER, units::parse_deadline),
            stall: reader.read(&STALL, units::parse_deadline),
            max_connections: reader.read(&MAX_CONNECTIONS, parse_connections),
            max_connections_per_address: reader.read(&MAX_CONNECTIONS_PER_ADDRESS, parse_connections),
        }
    }
}

fn parse_connections(text: &str) -> Result<u32, String> {
    let connections = units::parse_count(text).map_err(|error| error.to_string())?;
    let in_range = (1..=1_000_000).contains(&connections);
    if in_range { Ok(connections) } else { Err(format!("{text} is out of range: write 1 to 1000000")) }
}

fn parse_origins(text: &str) -> Result<CorsOrigins, String> {
    let origins: Vec<_> = text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
    match *origins {
        ["*"] => Ok(CorsOrigins::Any),
        _ if origins.contains(&"*") => Err("\"*\" lets all: write it alone, or leave it out".to_owned()),
        _ => origins.into_iter().map(parse_origin).collect::<Result<_, _>>().map(CorsOrigins::Listed),
    }
}

/// An origin that is written otherwise would never be equal to what browsers send.
fn parse_origin(text: &str) -> Result<String, String> {
    let known = url::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(origin) = known.map(|url| url.origin().ascii_serialization()) else {
        return Err(format!("\"{text}\" is no origin: write scheme and host, as \"https://example.org\""));
    };
    if origin == text {
        Ok(origin)
    } else {
        Err(format!("\"{text}\" is not how browsers write it: write \"{origin}\""))
    }
}

/// The messages never repeat the value.
fn parse_token(text: &str) -> Result<SecretString, &'static str> {
    if !(MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&text.len()) {
        return Err("must have 16 to 256 characters; make one with: openssl rand -hex 32");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be printable ASCII without spaces; make one with: openssl rand -hex 32");
    }
    Ok(SecretString::from(text))
}
