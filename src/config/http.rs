//! `[http]`: playback, pages, operations and the API.

use std::net::SocketAddr;

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

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[LISTEN, ADMIN_TOKEN];

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
}

impl Http {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Http {
            listen: reader.read(&LISTEN, units::parse_address),
            admin_token: reader.read_given(&ADMIN_TOKEN, parse_token),
        }
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
