//! TLS under RTMP: how a connection begins, and what is said of peers that get it wrong. What a server shows is
//! [`crate::tls`]'s, what is spoken inside [`super::rtmp`]'s.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{AlertDescription, Error as RustlsError};
use tokio_rustls::server::TlsStream;

use super::low_water::LowWater;
use crate::tls::{FIRST_OF_TLS, is_about_certificates};

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

/// Makes TLS connections of sockets.
#[derive(Clone)]
pub(super) struct Acceptor(pub(super) TlsAcceptor);

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
