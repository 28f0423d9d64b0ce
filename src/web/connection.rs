//! One connection: its handshake, what is spoken on it, its deadlines and its end.
//!
//! A deadline stands on the handshake of TLS, on each request's head (idle keep-alive counts too) and on each answer's progress
//! ([`super::stall`], and [`super::http2`] for what a socket does not show). A panic in a handler is answered
//! ([`super::panics`]); one behind its answer ends its connection only, or its request of HTTP/2. Both are counted.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use futures_util::FutureExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::serve::{Door, Seat, Shared};
use super::stall::Stall;
use super::{answer, http2};
use crate::telemetry::gate::SharedGate;
use crate::telemetry::names;
use crate::tls::{FIRST_OF_TLS, is_certificate_refused};

/// The name of HTTP/2 in ALPN (RFC 9113 section 3.2).
const H2: &[u8] = b"h2";
/// What is spoken inside of TLS, the best first.
pub(super) const ALPN: [&[u8]; 2] = [H2, b"http/1.1"];

/// The most that one connection of HTTP/1 buffers of a request's head, and of small answers.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// No player sends half as many.
const MAX_HEADERS: usize = 64;

/// One for the process: what panics for one client is likely to do so for the next.
static PANICS: LazyLock<(Instant, SharedGate)> = LazyLock::new(|| (Instant::now(), SharedGate::default()));

/// Runs `task` for `peer`; its panic ends here.
pub(super) async fn guarded(peer: SocketAddr, task: impl Future<Output = ()>) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        names::HTTP_PANICS.counter(&[]).increment(1);
        let (began, gate) = &*PANICS;
        if let Some(connections) = gate.pass(began.elapsed()) {
            tracing::error!(%peer, connections, "http: a connection's task panicked; only this connection is lost");
        }
    }
}

/// From the first byte to the last.
pub(super) async fn connection(stream: TcpStream, peer: SocketAddr, door: Arc<Door>, _seat: Seat) {
    // Playlists are small and waited for; Nagle would hold them back.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "http: cannot set TCP_NODELAY");
    }
    let run = async {
        match &door.acceptor {
            None => {
                let io = Stall::new(stream, door.shared.options.stall_timeout);
                http1(io, peer, door.router.clone(), &door.shared).await;
            }
            // In a box, so that plain connections do not have its size.
            Some(acceptor) => Box::pin(over_tls(stream, peer, acceptor, &door)).await,
        }
    };
    guarded(peer, run).await;
}

async fn over_tls(stream: TcpStream, peer: SocketAddr, acceptor: &TlsAcceptor, door: &Door) {
    let options = &door.shared.options;
    let shaken = tokio::select! {
        () = door.shared.shutdown.cancelled() => return,
        shaken = timeout(options.header_timeout, shake_hands(stream, acceptor, options.stall_timeout)) => shaken,
    };
    let failed = match shaken.unwrap_or(Err(HandshakeError::TimedOut)) {
        Ok(io) if io.get_ref().1.alpn_protocol() == Some(H2) => {
            return http2::drive(io, peer, door.router.clone(), &door.shared).await;
        }
        Ok(io) => return http1(io, peer, door.router.clone(), &door.shared).await,
        Err(failed) => failed,
    };
    names::HTTP_HANDSHAKES_FAILED.counter(&[("reason", failed.as_str())]).increment(1);
    tracing::debug!(%peer, reason = failed.as_str(), "http: no connection over TLS");
    if let HandshakeError::PlainHttp(stream) = failed {
        // A person who left out the `s` is told so.
        let router = Router::new().fallback(async || {
            last_answer("plain_http", "this port speaks HTTPS only: begin the address with https://")
        });
        http1(Stall::new(stream, options.stall_timeout), peer, router, &door.shared).await;
    }
}

/// All labels of [`HandshakeError`].
pub(super) const HANDSHAKE_FAILURES: [&str; 6] =
    ["timeout", "closed", "plain_http", "not_tls", "certificate_refused", "tls"];

/// Why there is no connection over TLS.
enum HandshakeError {
    /// The handshake took too long, or never began.
    TimedOut,
    /// The client closed it.
    Closed,
    /// HTTP without TLS came.
    PlainHttp(TcpStream),
    /// Noise.
    NotTls,
    /// The client checks certificates and does not take ours.
    CertificateRefused,
    /// The rest: no version, cipher or protocol in common, broken records.
    Broken,
}

impl HandshakeError {
    /// Its label in metrics.
    fn as_str(&self) -> &'static str {
        match self {
            HandshakeError::TimedOut => "timeout",
            HandshakeError::Closed => "closed",
            HandshakeError::PlainHttp(_) => "plain_http",
            HandshakeError::NotTls => "not_tls",
            HandshakeError::CertificateRefused => "certificate_refused",
            HandshakeError::Broken => "tls",
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData if is_certificate_refused(&error) => HandshakeError::CertificateRefused,
            io::ErrorKind::InvalidData => HandshakeError::Broken,
            io::ErrorKind::TimedOut => HandshakeError::TimedOut,
            _ => HandshakeError::Closed,
        }
    }
}

/// TLS over [`Stall`] and not the other way round: what TLS holds back for the socket is watched too, and a flush means that
/// all of it went out.
async fn shake_hands(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    stall: std::time::Duration,
) -> Result<TlsStream<Stall<TcpStream>>, HandshakeError> {
    // Only who speaks TLS is given its buffers.
    let mut first = [0];
    match (stream.peek(&mut first).await?, first[0]) {
        (0, _) => Err(HandshakeError::Closed),
        (_, FIRST_OF_TLS) => Ok(acceptor.accept(Stall::new(stream, stall)).await?),
        (_, b'A'..=b'Z') => Err(HandshakeError::PlainHttp(stream)),
        _ => Err(HandshakeError::NotTls),
    }
}

/// Whether two readers could disagree about where this request ends, because it has a body where none belongs: a proxy in
/// front of us might take the body for another client's request. A length that is given twice over (RFC 9112 section 6.3)
/// is the HTTP layer's: it refuses the request, or closes the connection behind its answer.
fn is_ambiguous(request: &hyper::Request<Incoming>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && !request.body().is_end_stream()
}

/// 400, and no other answer on its connection.
fn last_answer(code: &str, message: &str) -> Response {
    let mut response = answer::error(StatusCode::BAD_REQUEST, code, message);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn http1<T>(io: T, peer: SocketAddr, router: Router, shared: &Shared)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = (!is_ambiguous(&request)).then(|| router.call(request));
        async move {
            match answer {
                Some(answer) => answer.await,
                None => Ok(last_answer("bad_request", "this request must not have a body")),
            }
        }
    });
    let options = &shared.options;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(MAX_BUFFER_BYTES)
        .max_headers(MAX_HEADERS);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shared.shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match timeout(options.drain, connection).await {
                Ok(ended) => ended,
                Err(_) => {
                    tracing::debug!(%peer, "http: connection dropped, its answer was not done in time");
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        // Clients leave in the middle of everything: not worth more than a debug line.
        tracing::debug!(%peer, %error, "http: connection ended early");
    }
}
