//! `[rtmps]`: RTMP over TLS, off until there is a certificate. Its deadlines and limits are those of `[rtmp]`.

use std::net::SocketAddr;

use super::certificate::CertificatePaths;
use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;

const SECTION: Section = Section::Named("rtmps");

/// Where RTMPS listens; public to its siblings, because two listeners must not share an address.
pub(super) const LISTEN: Key = Key {
    section: SECTION,
    name: "listen",
    kind: KeyType::Address,
    default: "0.0.0.0:1936",
    doc: "Address that encoders push to over TLS, once `cert` and `key` are given. Port 0 takes a free one. Deadlines and limits \
          are those of `[rtmp]`, and places are shared with it.",
};

const CERT: Key = Key {
    section: SECTION,
    name: "cert",
    kind: KeyType::Path,
    default: "",
    doc: "File with the certificate in PEM, and behind it those that lead to a root (`fullchain.pem`). Read again when it \
          changes. Without it and `key`, RTMPS is off.",
};

const KEY: Key = Key {
    section: SECTION,
    name: "key",
    kind: KeyType::Path,
    default: "",
    doc: "File with the certificate's private key in PEM, without a passphrase. Read again when it changes.",
};

/// All keys of the section.
pub(super) const KEYS: &[Key] = &[LISTEN, CERT, KEY];

/// The section's values, when it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtmps {
    /// Where RTMPS listens.
    pub listen: SocketAddr,
    /// What it shows.
    pub certificate: CertificatePaths,
}

impl Rtmps {
    /// `None` when neither certificate nor key is given.
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let listen = reader.read(&LISTEN, units::parse_address);
        let certificate = CertificatePaths::read(reader, &CERT, &KEY).ok()??;
        Some(Rtmps { listen, certificate })
    }
}
