//! TLS as every listener shows it: one certificate in two files, read again when they change.
//!
//! | module | holds |
//! |---|---|
//! | [`certificate`] | a certificate and its key in two files, and what can be wrong with them |
//! | `renewal` | the certificate in use, replaced when the files change |
//!
//! TLS 1.2 and 1.3, without certificates of clients. Nothing is remembered of a connection for the next one (no tickets, no
//! sessions): what is not kept need not be bounded, and a handshake is rare beside what is sent behind it. The name that a
//! client asks for (SNI) is not looked at: there is one certificate. It is in no log and no error either.
//! What is spoken inside, and what is said of peers that get the handshake wrong, is the listener's (`listen::tls`, `web::tls`).

pub mod certificate;
mod renewal;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{NoServerSessionStorage, ServerConfig};
use tokio_rustls::rustls::{AlertDescription, Error as RustlsError};

use crate::clock::SharedClock;
pub use certificate::{Certificate, CertificateError, CertificateFiles};
pub use renewal::Renewal;

/// How often the files are read: a renewed certificate is in use this long after it was written, at the latest.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The first byte of a TLS connection: a record of the handshake (RFC 8446 section 5.1).
pub const FIRST_OF_TLS: u8 = 22;

/// The server's side of TLS, with a certificate that follows its files.
pub struct Tls {
    config: ServerConfig,
    renewal: Renewal,
}

impl Tls {
    /// Reads the files of the certificate of `protocol`, which is its label in metrics; from then on they are read
    /// `look_every` so often.
    ///
    /// # Errors
    /// The files cannot be used.
    pub async fn load(
        files: CertificateFiles,
        look_every: Duration,
        protocol: &'static str,
        clock: SharedClock,
    ) -> Result<Self, CertificateError> {
        let renewal = Renewal::begin(files, look_every, protocol, clock).await?;
        // Versions 1.2 and 1.3; 1.1 and older are not in the library.
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring has suites for both versions");
        let mut config = builder.with_no_client_auth().with_cert_resolver(renewal.in_use());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Tls { config, renewal })
    }

    /// What may be spoken inside, the best first (ALPN, RFC 7301). A client that names protocols and none of these is refused.
    pub fn speaking(mut self, protocols: &[&[u8]]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        self
    }

    /// What makes connections, and what looks after the certificate.
    pub fn into_parts(self) -> (TlsAcceptor, Renewal) {
        (TlsAcceptor::from(Arc::new(self.config)), self.renewal)
    }
}

/// Whether a peer says with `alert` that it does not take our certificate (RFC 8446 section 6.2).
pub fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
    )
}

/// The same of an error of reading, writing or the handshake.
pub fn is_certificate_refused(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<RustlsError>());
    matches!(error, Some(RustlsError::AlertReceived(alert)) if is_about_certificates(*alert))
}

#[cfg(test)]
mod tests;
