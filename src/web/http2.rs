//! HTTP/2 (RFC 9113): its bounds, and what a connection owes its client.
//!
//! A socket does not show that a client of HTTP/2 takes nothing: it may read every byte of the connection and open no window for
//! an answer, which then waits here with the buffers that it is made of. So each piece of an answer is noted from when it is
//! handed to the HTTP layer until that has written it, by a type of its own ([`Piece`]), and the rule of [`super::stall`] holds for
//! pieces: the client takes [`MIN_PROGRESS_BYTES`] within the limit, and no piece waits for longer than the limit for each
//! answer that waits. Nobody who takes his share of a few KiB/s loses his connection; who keeps answers waiting does.
//!
//! | a client that | is met by |
//! |---|---|
//! | opens no window, or one byte a second | the limit on pieces: the connection is closed |
//! | reads nothing | [`super::stall`] under TLS |
//! | asks for nothing | the deadline of a request's head: GOAWAY, then closed |
//! | opens streams and takes them back (rapid reset) | the HTTP layer when they come together; a count of requests taken back, however slowly they come |
//! | sends long headers, or without end | 431; an error of the connection |
//! | sends bodies that nobody reads | windows of 64 KiB |
//! | has gone without a word | PING |

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error as _;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Buf, Bytes};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;

use super::connection::guarded;
use super::serve::Shared;
use super::stall::MIN_PROGRESS_BYTES;
use crate::telemetry::names;

/// Requests of one connection at one time (SETTINGS_MAX_CONCURRENT_STREAMS): RFC 9113 section 6.5.2 wants 100 at least.
const MAX_STREAMS: u32 = 100;
/// Of a request's head, counted as RFC 9113 section 6.5.2 does. Browsers send less than 2 KiB.
const MAX_HEAD_BYTES: u32 = 16 * 1024;
/// Room for bodies of requests, per request and in all: only the API reads any, and of 64 KiB at most.
const RECEIVE_WINDOW: u32 = 65_535;
/// What is taken of one answer ahead of the client's window.
const MAX_SEND_BYTES: usize = 64 * 1024;
/// Of an answer, two pieces are with the HTTP layer at most: one that is sent, one that waits for room. Together they are
/// what a slow client must take within the limit.
const PIECE_BYTES: usize = MIN_PROGRESS_BYTES / 2;
/// Streams that a client may have taken back before we heard of them.
const MAX_UNHEARD_RESETS: usize = 20;
/// Streams that we have reset because of what the client did in them.
const MAX_ERROR_RESETS: usize = 64;
/// Requests that a client may take back beyond those that it let be answered. A player takes back a few when it
/// seeks or changes the level.
const MAX_TAKEN_BACK: u64 = 100;

/// Serves `router` on `io`, behind the handshake of TLS.
pub(super) async fn drive<T>(io: T, peer: SocketAddr, router: Router, shared: &Shared)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let options = &shared.options;
    let ledger = Arc::new(Ledger::new());
    let (router, requests) = (TowerToHyperService::new(router), ledger.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (entry, answer) = (requests.clone().enter(), router.call(request));
        async move {
            let mut response = answer.await?;
            // The router says that they have 0 bytes, where nothing must be said (RFC 9110 section 8.6).
            if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
                response.headers_mut().remove(CONTENT_LENGTH);
            }
            Ok::<_, Infallible>(response.map(|body| Paced { body, rest: Bytes::new(), entry }))
        }
    });
    let mut builder = http2::Builder::new(Tasks { tasks: shared.tasks.clone(), peer });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .initial_stream_window_size(RECEIVE_WINDOW)
        .initial_connection_window_size(RECEIVE_WINDOW)
        .max_send_buf_size(MAX_SEND_BYTES)
        .max_pending_accept_reset_streams(MAX_UNHEARD_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .keep_alive_interval(options.header_timeout)
        .keep_alive_timeout(options.stall_timeout);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(io), service));
    let limits = Limits { stall: options.stall_timeout, idle: options.header_timeout };
    let verdict = tokio::select! {
        ended = connection.as_mut() => return log_end(peer, ended),
        () = shared.shutdown.cancelled() => Verdict::Idle,
        verdict = ledger.watch(limits) => verdict,
    };
    match verdict {
        Verdict::Idle => {
            connection.as_mut().graceful_shutdown();
            match timeout(options.drain, connection).await {
                Ok(ended) => log_end(peer, ended),
                Err(_) => tracing::debug!(%peer, "http: connection dropped, its answers were not done in time"),
            }
        }
        Verdict::Stalled => {
            names::HTTP_STALLED.counter(&[]).increment(1);
            tracing::debug!(%peer, "http: connection closed, its client does not take its answers");
        }
        Verdict::Restless => {
            names::HTTP_RESTLESS.counter(&[]).increment(1);
            tracing::debug!(%peer, "http: connection closed, its client takes its requests back");
        }
    }
}

fn log_end(peer: SocketAddr, ended: hyper::Result<()>) {
    let Err(error) = ended else { return };
    let cause = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    if cause.is_some_and(|cause| cause.is_library() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)) {
        names::HTTP_RESTLESS.counter(&[]).increment(1);
    }
    tracing::debug!(%peer, %error, "http: connection ended early");
}

/// Requests run in tasks of their own, which are waited for with all others.
#[derive(Clone)]
struct Tasks {
    tasks: TaskTracker,
    peer: SocketAddr,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, request: F) {
        self.tasks.spawn(guarded(self.peer, request));
    }
}

/// Deadlines of a connection.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// For [`MIN_PROGRESS_BYTES`] of what is owed.
    stall: Duration,
    /// Without a request.
    idle: Duration,
}

/// Why a connection should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing is asked for.
    Idle,
    /// The client does not take what it asked for.
    Stalled,
    /// The client takes back what it asks for.
    Restless,
}

/// What a connection owes its client, and since when.
#[derive(Debug)]
struct Ledger {
    book: Mutex<Book>,
    restless: Notify,
}

#[derive(Debug)]
struct Book {
    /// Requests whose answers the HTTP layer does not have whole.
    open: usize,
    /// Since when there is none, and nothing is owed.
    idle_since: Instant,
    /// Pieces that are not written yet by their numbers, each with the time at which it was handed over; the oldest first.
    owed: VecDeque<(u64, Instant)>,
    next: u64,
    /// Since when less than [`MIN_PROGRESS_BYTES`] have been taken, and how much.
    slow_since: Instant,
    progress: usize,
    answered: u64,
    taken_back: u64,
}

impl Ledger {
    fn new() -> Self {
        let now = Instant::now();
        let book = Book {
            open: 0,
            idle_since: now,
            owed: VecDeque::new(),
            next: 0,
            slow_since: now,
            progress: 0,
            answered: 0,
            taken_back: 0,
        };
        Ledger { book: Mutex::new(book), restless: Notify::new() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come.
    fn enter(self: Arc<Self>) -> Entry {
        self.book().open += 1;
        Entry { ledger: self, answered: false }
    }

    /// Completes when the connection should end.
    async fn watch(&self, limits: Limits) -> Verdict {
        let tick = limits.stall.min(limits.idle);
        let deadlines = async {
            loop {
                let now = Instant::now();
                let deadline = self.book().deadline(limits);
                let until = match deadline {
                    Some((at, verdict)) if at <= now => return verdict,
                    Some((at, _)) => at,
                    // Whatever begins meanwhile has this much time at least.
                    None => now + tick,
                };
                sleep_until(until).await;
            }
        };
        tokio::select! {
            verdict = deadlines => verdict,
            () = self.restless.notified() => Verdict::Restless,
        }
    }
}

impl Book {
    /// When the connection should end if nothing happens until then, and why.
    fn deadline(&self, limits: Limits) -> Option<(Instant, Verdict)> {
        if let Some((_, oldest)) = self.owed.front() {
            // Two pieces of an answer at most are here.
            let answers = u32::try_from(self.owed.len().div_ceil(2)).unwrap_or(u32::MAX);
            let at = (self.slow_since + limits.stall).min(*oldest + limits.stall.saturating_mul(answers));
            Some((at, Verdict::Stalled))
        } else if self.open == 0 {
            Some((self.idle_since + limits.idle, Verdict::Idle))
        } else {
            None
        }
    }

    fn owe(&mut self) -> u64 {
        let (now, number) = (Instant::now(), self.next);
        if self.owed.is_empty() {
            (self.slow_since, self.progress) = (now, 0);
        }
        self.next += 1;
        self.owed.push_back((number, now));
        number
    }

    /// The piece is gone, and `taken` bytes of it went out.
    fn settle(&mut self, number: u64, taken: usize) {
        if let Ok(index) = self.owed.binary_search_by_key(&number, |(number, _)| *number) {
            self.owed.remove(index);
        }
        self.progress += taken;
        let now = Instant::now();
        if self.progress >= MIN_PROGRESS_BYTES {
            (self.slow_since, self.progress) = (now, 0);
        }
        if self.owed.is_empty() {
            self.idle_since = now;
        }
    }
}

/// A request in the ledger, until its answer is with the HTTP layer or was given up.
struct Entry {
    ledger: Arc<Ledger>,
    answered: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut book = self.ledger.book();
        book.open = book.open.saturating_sub(1);
        if book.open == 0 {
            book.idle_since = Instant::now();
        }
        if self.answered {
            book.answered += 1;
        } else {
            book.taken_back += 1;
            if book.taken_back > book.answered + MAX_TAKEN_BACK {
                self.ledger.restless.notify_one();
            }
        }
    }
}

/// An answer's body, handed over in pieces.
struct Paced {
    body: Body,
    /// What was taken of the body and not handed over yet.
    rest: Bytes,
    entry: Entry,
}

impl Paced {
    fn is_whole(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}

impl hyper::body::Body for Paced {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        while self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.entry.answered = true;
                    return Poll::Ready(None);
                }
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                // Trailers, of which we have none.
                Err(_) => continue,
            }
        }
        let size = self.rest.len().min(PIECE_BYTES);
        let bytes = self.rest.split_to(size);
        Poll::Ready(Some(Ok(Frame::data(Piece::new(bytes, self.entry.ledger.clone())))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.entry.answered |= self.is_whole();
    }
}

/// Bytes of an answer that the HTTP layer has, shared as they are. It drops them when they are written, or will never be.
struct Piece {
    bytes: Bytes,
    size: usize,
    number: u64,
    ledger: Arc<Ledger>,
}

impl Piece {
    fn new(bytes: Bytes, ledger: Arc<Ledger>) -> Self {
        let number = ledger.book().owe();
        Piece { size: bytes.len(), bytes, number, ledger }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.ledger.book().settle(self.number, self.size - self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const LIMITS: Limits = Limits { stall: Duration::from_secs(20), idle: Duration::from_secs(30) };

    fn body(ledger: &Arc<Ledger>, bytes: usize) -> Paced {
        Paced { body: Body::from(vec![7; bytes]), rest: Bytes::new(), entry: ledger.clone().enter() }
    }

    async fn piece(body: &mut Paced) -> Piece {
        body.frame().await.expect("a frame").expect("no error").into_data().ok().expect("data")
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_request_it_is_idle_and_with_one_that_waits_it_is_not() {
        let (start, ledger) = (Instant::now(), Arc::new(Ledger::new()));
        assert_eq!((ledger.watch(LIMITS).await, start.elapsed()), (Verdict::Idle, LIMITS.idle));
        let entry = ledger.clone().enter();
        assert!(timeout(LIMITS.idle * 10, ledger.watch(LIMITS)).await.is_err(), "its answer is ours to give");
        let start = Instant::now();
        drop(entry);
        assert_eq!((ledger.watch(LIMITS).await, start.elapsed()), (Verdict::Idle, LIMITS.idle));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_goes_in_pieces_that_share_its_buffer_and_each_is_owed_until_it_is_written() {
        let ledger = Arc::new(Ledger::new());
        let mut answer = body(&ledger, 2 * PIECE_BYTES + 1);
        assert_eq!(answer.size_hint().exact(), Some(2 * PIECE_BYTES as u64 + 1));
        let (first, second, third) = (piece(&mut answer).await, piece(&mut answer).await, piece(&mut answer).await);
        assert_eq!([&first, &second, &third].map(Buf::remaining), [PIECE_BYTES, PIECE_BYTES, 1]);
        assert_eq!(first.chunk().as_ptr().wrapping_add(PIECE_BYTES), second.chunk().as_ptr());
        assert!(answer.is_end_stream());
        drop((first, second, answer));
        // One byte is owed, though the request is over.
        let start = Instant::now();
        assert_eq!((ledger.watch(LIMITS).await, start.elapsed()), (Verdict::Stalled, LIMITS.stall));
        drop(third);
        assert_eq!(ledger.watch(LIMITS).await, Verdict::Idle);
        let book = ledger.book();
        assert_eq!((book.answered, book.taken_back), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_no_progress_and_a_slow_reader_passes() {
        let ledger = Arc::new(Ledger::new());
        let mut answer = body(&ledger, 100 * PIECE_BYTES);
        // 64 KiB in 16 s, two pieces with the HTTP layer.
        let slow = async {
            let mut ahead = piece(&mut answer).await;
            for _ in 0..50 {
                let next = piece(&mut answer).await;
                tokio::time::sleep(LIMITS.stall * 2 / 5).await;
                ahead.advance(PIECE_BYTES);
                ahead = next;
            }
            ahead
        };
        let mut ahead = tokio::select! {
            ahead = slow => ahead,
            verdict = ledger.watch(LIMITS) => panic!("{verdict:?}"),
        };
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                ahead.advance(1);
            }
        };
        let start = Instant::now();
        let verdict = tokio::select! {
            () = trickle => unreachable!("it goes on for ever"),
            verdict = ledger.watch(LIMITS) => verdict,
        };
        assert!(verdict == Verdict::Stalled && start.elapsed() <= LIMITS.stall, "{verdict:?} {:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_left_waiting_beside_one_that_moves_ends_the_connection_too() {
        let ledger = Arc::new(Ledger::new());
        let (mut left, mut moving) = (body(&ledger, 10), body(&ledger, usize::MAX >> 40));
        let _held = piece(&mut left).await;
        let moves = async {
            while !moving.is_end_stream() {
                let mut next = piece(&mut moving).await;
                next.advance(next.remaining());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let start = Instant::now();
        let verdict = tokio::select! {
            () = moves => unreachable!("it lasts for longer"),
            verdict = ledger.watch(LIMITS) => verdict,
        };
        assert_eq!(verdict, Verdict::Stalled);
        assert!(start.elapsed() <= LIMITS.stall * 2, "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_back_more_than_he_takes_is_restless() {
        let ledger = Arc::new(Ledger::new());
        let take = || drop(body(&ledger, 0));
        let take_back = || drop(ledger.clone().enter());
        for _ in 0..10 {
            take();
        }
        for _ in 0..MAX_TAKEN_BACK + 10 {
            take_back();
        }
        assert_eq!(ledger.watch(LIMITS).await, Verdict::Idle);
        take_back();
        assert_eq!(ledger.watch(LIMITS).await, Verdict::Restless);
    }
}
