//! Certificates made for one test, and a TLS client that trusts them.

#![allow(dead_code, reason = "each test crate uses its part")]

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedKey, KeyPair, SanType};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

/// Both versions that are spoken.
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
/// The name that clients ask for.
pub const NAME: &str = "localhost";

/// A certificate and its key in two files of a folder of their own.
pub struct Certificates {
    folder: TempDir,
    /// What the files hold.
    pub current: CertificateDer<'static>,
}

impl Certificates {
    /// A new self-signed certificate.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut certificates = Certificates { folder, current: CertificateDer::from(vec![]) };
        certificates.renew();
        certificates
    }

    /// The certificate's file.
    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The key's file.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// Puts a new pair in place of the old one, as programs that renew do: each file in one step.
    pub fn renew(&mut self) {
        self.take(&self_signed(|_| {}));
    }

    /// The same with a pair that is good for `name` too.
    pub fn renew_for(&mut self, name: &str) {
        let name = name.try_into().expect("a name");
        self.take(&self_signed(|params| params.subject_alt_names.push(SanType::DnsName(name))));
    }

    fn take(&mut self, CertifiedKey { cert, signing_key }: &CertifiedKey<KeyPair>) {
        put(&self.key(), &signing_key.serialize_pem());
        put(&self.cert(), &cert.pem());
        self.current = cert.der().clone();
    }

    /// Puts something that is no certificate in its place.
    pub fn spoil(&self) {
        put(&self.cert(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    }

    /// A client of one version that trusts the current certificate and no other.
    pub fn client(&self, version: &'static SupportedProtocolVersion) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.current.clone()).expect("a certificate");
        connector(version, roots)
    }

    /// The same of a client that names `protocols` (ALPN, RFC 7301).
    pub fn client_speaking(&self, protocols: &[&[u8]]) -> TlsConnector {
        let mut config = ClientConfig::clone(self.client(VERSIONS[0]).config());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    /// A TLS connection to `address`.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        dial(&self.client(VERSIONS[0]), address).await
    }
}

/// A client that trusts nobody, as one whose server has no certificate for it.
pub fn distrustful() -> TlsConnector {
    connector(VERSIONS[0], RootCertStore::empty())
}

/// A TLS connection of `client` to `address`.
pub async fn dial(client: &TlsConnector, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    dial_as(client, NAME, address).await
}

/// A TLS connection of `client` to `address` that asks for `name` (SNI, RFC 6066 section 3).
pub async fn dial_as(client: &TlsConnector, name: &str, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    client.connect(ServerName::try_from(name.to_owned()).expect("a name"), socket).await
}

/// A self-signed certificate for [`NAME`] after `change`.
pub fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> CertifiedKey<KeyPair> {
    let mut params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    change(&mut params);
    let signing_key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&signing_key).expect("a certificate");
    CertifiedKey { cert, signing_key }
}

fn connector(version: &'static SupportedProtocolVersion, roots: RootCertStore) -> TlsConnector {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[version]).expect("a version that is known");
    TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Writes `text` beside `path` and renames it.
fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).expect("the folder can be written");
}
