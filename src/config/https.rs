//! `[https]`: HTTP over TLS, off until it has an address and a certificate. Its deadlines and limits are those of `[http]`.

use std::net::SocketAddr;

use super::certificate::CertificatePaths;
use super::key::{Key, KeyType, Section};
use super::reader::Reader;
use super::units;

const SECTION: Section = Section::Named("https");

/// Where HTTPS listens; public to its siblings, because two listeners must not share an address.
pub(super) const LISTEN: Key = Key {
    section: SECTION,
    name: "listen",
    kind: KeyType::Address,
    default: "",
    doc: "Address of the same as at `http.listen` over TLS, with HTTP/2 for clients that speak it, as \"0.0.0.0:8443\"; wants `cert` \
          and `key`. Port 0 takes a free one. An empty text switches HTTPS off. Deadlines and limits are those of `[http]`, and places \
          are shared with it.",
};

const CERT: Key = Key {
    section: SECTION,
    name: "cert",
    kind: KeyType::Path,
    default: "",
    doc: "File with the certificate in PEM, and behind it those that lead to a root (`fullchain.pem`). Read again when it \
          changes. May be that of `[rtmps]`.",
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
pub struct Https {
    /// Where HTTPS listens.
    pub listen: SocketAddr,
    /// What it shows.
    pub certificate: CertificatePaths,
}

impl Https {
    /// `None` without an address.
    pub(super) fn read(reader: &mut Reader) -> Option<Self> {
        let listen = reader.read_given(&LISTEN, parse_listen);
        let certificate = CertificatePaths::read(reader, &CERT, &KEY).ok()?;
        match (listen, certificate) {
            (Some(Some(listen)), Some(certificate)) => Some(Https { listen, certificate }),
            (Some(Some(_)), None) => {
                reader
                    .refuse(&LISTEN, "wants https.cert and https.key beside it, a certificate and its key".to_owned());
                None
            }
            (None, Some(_)) => {
                reader.refuse(&CERT, "wants https.listen beside it, as \"0.0.0.0:8443\"".to_owned());
                None
            }
            (Some(None), _) | (None, None) => None,
        }
    }
}

/// An empty text is none, so that a variable can take back what the file says.
fn parse_listen(text: &str) -> Result<Option<SocketAddr>, units::UnitError> {
    if text.is_empty() { Ok(None) } else { units::parse_address(text).map(Some) }
}
