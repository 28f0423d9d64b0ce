//! TLS under RTMP: what a server shows and how a connection begins. What is spoken inside is [`super::rtmp`]'s.
//!
//! | module | holds |
//! |---|---|
//! | [`certificate`] | a certificate and its key in two files, and what can be wrong with them |
//! | `renewal` | the certificate in use, replaced when the files change |
//!
//! TLS 1.2 and 1.3, without certificates of clients. Nothing is remembered of a connection for the next one (no tickets, no
//! sessions): an encoder connects once in hours, and what is not kept need not be bounded. The name that a client asks
//! for (SNI) is not looked at: there is one certificate. It is in no log and no error either.

pub mod certificate;
mod renewal;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{NoServerSessionStorage, ServerConfig};
use tokio_rustls::rustls::{AlertDescription, Error as RustlsError};
use tokio_rustls::server::TlsStream;

use super::Protocol;
use super::low_water::LowWater;
use crate::clock::SharedClock;
pub use certificate::{Certificate, CertificateError, CertificateFiles};
use renewal::Renewal;

/// How often the files are read: a renewed certificate is in use this long after it was written, at the latest.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The first byte of a TLS connection: a record of the handshake (RFC 8446 section 5.1).
pub(super) const FIRST_OF_TLS: u8 = 22;
/// The first byte of an RTMP connection: its version.
const FIRST_OF_RTMP: u8 = crate::wire::rtmp::handshake::VERSION;

/// What is wrong with what came where TLS is spoken. Holds nothing of what the peer sent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsFault {
    /// The encoder was told `rtmp://` and this port.
    #[error("plain RTMP came to the RTMPS port: push to rtmps:// here, or to rtmp:// and the RTMP port")]
    PlainRtmp,
    /// HTTP, SSH, noise.
    #[error("what came to the RTMPS port is neither TLS nor RTMP")]
    NotTls,
    /// The encoder checks certificates and does not take ours.
    #[error(
        "the encoder does not take the certificate (alert {0:?}): is it expired, signed by nobody that the encoder knows, or \
         for another name than the encoder's URL has?"
    )]
    CertificateRefused(AlertDescription),
    /// The rest: no version or cipher in common, broken records.
    #[error("TLS: {0}")]
    Broken(RustlsError),
}

impl TlsFault {
    /// Stable code for metrics.
    pub const fn code(&self) -> &'static str {
        match self {
            TlsFault::PlainRtmp => "plain_rtmp",
            TlsFault::NotTls => "not_tls",
            TlsFault::CertificateRefused(_) => "certificate_refused",
            TlsFault::Broken(_) => "tls",
        }
    }

    /// The fault behind an error of reading or writing; `None` when it is the connection's.
    pub(super) fn of(error: &io::Error) -> Option<TlsFault> {
        let error = error.get_ref()?.downcast_ref::<RustlsError>()?;
        Some(match error {
            RustlsError::AlertReceived(alert) if is_about_certificates(*alert) => TlsFault::CertificateRefused(*alert),
            error => TlsFault::Broken(error.clone()),
        })
    }
}

/// RFC 8446 section 6.2.
fn is_about_certificates(alert: AlertDescription) -> bool {
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

/// How a TLS handshake failed.
#[derive(Debug)]
pub(super) enum HandshakeError {
    /// The peer is at fault.
    Fault(TlsFault),
    /// The socket failed, or its end came.
    Io(io::Error),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        TlsFault::of(&error).map_or(HandshakeError::Io(error), HandshakeError::Fault)
    }
}

/// The server's side of TLS, with a certificate that follows its files.
pub struct Tls {
    acceptor: Acceptor,
    renewal: Renewal,
}

impl Tls {
    /// Reads the files of `protocol`'s certificate; from then on they are read `look_every` so often.
    ///
    /// # Errors
    /// The files cannot be used.
    pub async fn load(
        files: CertificateFiles,
        look_every: Duration,
        protocol: Protocol,
        clock: SharedClock,
    ) -> Result<Self, CertificateError> {
        let renewal = Renewal::begin(files, look_every, protocol, clock).await?;
        // Versions 1.2 and 1.3; 1.1 and older are not in the library.
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("ring has suites for both versions");
        let mut config = builder.with_no_client_auth().with_cert_resolver(renewal.in_use());
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Tls { acceptor: Acceptor(TlsAcceptor::from(Arc::new(config))), renewal })
    }

    /// What makes connections, and what looks after the certificate.
    pub(super) fn into_parts(self) -> (Acceptor, Renewal) {
        (self.acceptor, self.renewal)
    }
}

/// Makes TLS connections of sockets.
#[derive(Clone)]
pub(super) struct Acceptor(TlsAcceptor);

impl Acceptor {
    /// The handshake. It has no deadline and may be dropped at any await, which closes the connection.
    pub(super) async fn shake_hands(&self, socket: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        // Only who speaks TLS is given its buffers, and who does not is told from its first byte.
        let mut first = [0];
        match (socket.peek(&mut first).await?, first[0]) {
            (0, _) => Err(HandshakeError::Io(io::ErrorKind::UnexpectedEof.into())),
            (_, FIRST_OF_TLS) => Ok(self.0.accept(socket).await?),
            (_, FIRST_OF_RTMP) => Err(HandshakeError::Fault(TlsFault::PlainRtmp)),
            _ => Err(HandshakeError::Fault(TlsFault::NotTls)),
        }
    }
}

/// Right for TLS as it is for plain sockets, because of when it is used. A mark is set only while somebody publishes: the
/// handshake is over then, and a client sends no other message of TLS that anybody waits for. It may hold back the end
/// of a record, as it may hold back the end of an RTMP message: for `HOLD` at most. Once it was
/// taken back it stays so until a whole record could be read. And what TLS has decrypted already is
/// read without asking the socket.
impl LowWater for TlsStream<TcpStream> {
    fn set_low_water(&self, bytes: usize) {
        self.get_ref().0.set_low_water(bytes);
    }
}

#[cfg(test)]
mod tests;
