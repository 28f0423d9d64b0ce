//! HTTP/2: what its clients get, and how those are met that only want to cost something.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::certificates::{Certificates, dial as dial_tls};
use crate::support::{Memory, Served, read_all, within};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use axum::routing::get as on_get;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use millstream::telemetry::Metrics;
use millstream::web::{self, Cors, ServeOptions};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::client::TlsStream;

type Client = SendRequest<Bytes>;

/// What a client begins with (RFC 9113 section 3.4), and empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// What a handler gives at a time.
const CHUNK: usize = 100_000;

/// A client on `io`. Its connection is driven until it ends.
pub async fn over<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: T, builder: Builder) -> Client {
    let (client, connection) = builder.handshake(io).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn socket(certificates: &Certificates, address: SocketAddr) -> TlsStream<TcpStream> {
    dial_tls(&certificates.client_speaking(&[b"h2"]), address).await.unwrap()
}

pub async fn dial(certificates: &Certificates, address: SocketAddr) -> Client {
    over(socket(certificates, address).await, Builder::new()).await
}

fn request(path: &str) -> Request<()> {
    Request::get(format!("https://localhost{path}")).body(()).unwrap()
}

async fn collected(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Status and text of one answer.
pub async fn get(client: &mut Client, path: &str) -> (u16, String) {
    std::future::poll_fn(|context| client.poll_ready(context)).await.unwrap();
    let (answer, _) = client.send_request(request(path), true).unwrap();
    let answer = answer.await.unwrap();
    (answer.status().as_u16(), String::from_utf8(collected(answer.into_body()).await.unwrap()).unwrap())
}

fn here() -> Router {
    Router::new().route("/", on_get(async || "here"))
}

/// A route without end at `/endless`, and how much was taken of it.
fn endless() -> (Router, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let handler = async move || {
        let chunks = stream::repeat(Bytes::from_static(&[7; CHUNK]));
        Body::from_stream(chunks.map(move |chunk| {
            count.fetch_add(chunk.len(), Ordering::Relaxed);
            Ok::<_, Infallible>(chunk)
        }))
    };
    (here().route("/endless", on_get(handler)), taken)
}

/// A server whose metrics are looked at.
struct Watched {
    certificates: Certificates,
    served: Served,
    metrics: Metrics,
    _guard: metrics::LocalRecorderGuard<'static>,
}

impl Watched {
    async fn start(router: Router) -> Self {
        let (metrics, recorder) = Metrics::detached().unwrap();
        let guard = metrics::set_default_local_recorder(Box::leak(Box::new(recorder)));
        let certificates = Certificates::new();
        let served = Served::start_secure(router, ServeOptions::default(), &certificates).await;
        Watched { certificates, served, metrics, _guard: guard }
    }

    async fn socket(&self) -> TlsStream<TcpStream> {
        socket(&self.certificates, self.served.address).await
    }

    async fn dial(&self) -> Client {
        over(self.socket().await, Builder::new()).await
    }

    /// Waits until `/metrics` has this line.
    async fn until(&self, line: &str) {
        let line = format!("\nmillstream_http_{line}\n");
        while !self.metrics.render().contains(&line) {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until nobody is connected, then asks as somebody new.
    async fn assert_serves(&self) {
        within(self.until("connections 0")).await;
        assert_eq!(get(&mut self.dial().await, "/").await, (200, "here".to_owned()));
    }
}

#[tokio::test]
async fn answers_are_those_of_http_1() {
    let certificates = Certificates::new();
    let router = web::router(Memory::default(), Cors::ANY);
    let (served, plain) = Served::start_both(router, ServeOptions::default(), &certificates).await;
    let mut client = dial(&certificates, served.address).await;
    let one = Served { address: plain, ..served };
    for (method, path, headers) in [
        ("GET", "/live/s1/a/720p/index.m3u8", &[][..]),
        ("GET", "/live/s1/a/720p/index.m3u8", &[("accept-encoding", "br")]),
        ("HEAD", "/live/s1/a/720p/index.m3u8", &[]),
        ("GET", "/live/s1/a/720p/1-0.m4s", &[]),
        ("GET", "/live/s1/a/720p/1-0.m4s", &[("range", "bytes=2-4")]),
        ("GET", "/live/s1/a/720p/1-0.m4s", &[("if-none-match", "\"1-0.m4s\"")]),
        ("HEAD", "/live/s1/a/720p/1-0.m4s", &[]),
        ("OPTIONS", "/live/s1/a/720p/1-0.m4s", &[]),
        ("GET", "/live/offline/index.m3u8", &[]),
        ("POST", "/live/s1/index.m3u8", &[]),
    ] {
        let expected = one.ask(method, path, headers).await;
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        std::future::poll_fn(|context| client.poll_ready(context)).await.unwrap();
        let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        let answer = answer.await.unwrap();
        let said = |headers: &HeaderMap| {
            let mut said: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            said.retain(|(name, _)| name != "date");
            said.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
            said
        };
        assert_eq!(answer.status(), expected.head.status, "{method} {path}");
        assert_eq!(said(answer.headers()), said(&expected.head.headers), "{method} {path}");
        assert_eq!(collected(answer.into_body()).await.unwrap(), expected.body, "{method} {path}");
    }
}

#[tokio::test]
async fn a_large_answer_comes_whole_beside_others() {
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let body = Bytes::from(large.clone());
    let router = here().route("/large", on_get(async move || body.clone()));
    let certificates = Certificates::new();
    let served = Served::start_secure(router, ServeOptions::default(), &certificates).await;
    let mut client = dial(&certificates, served.address).await;
    let answers: Vec<_> = (0..10).map(|_| client.send_request(request("/large"), true).unwrap().0).collect();
    // All at once: they share the connection's window.
    let bodies = answers.into_iter().map(async |answer| {
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["content-length"], "3000000");
        collected(answer.into_body()).await.unwrap()
    });
    for body in futures_util::future::join_all(bodies).await {
        assert!(body == large);
    }
}

/// Every client that holds an answer back without holding back the connection: it opens no window for it at all, one byte a second, or all
/// but the last byte.
#[tokio::test]
async fn who_opens_no_window_is_closed_and_ties_up_one_small_buffer() {
    for (window, trickle) in [(0, false), (1, true), (65_535, false)] {
        let (router, taken) = endless();
        let watched = Watched::start(router).await;
        let mut builder = Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 20);
        let mut client = over(watched.socket().await, builder).await;
        let (answer, _) = client.send_request(request("/endless"), true).unwrap();
        let mut body = within(answer).await.unwrap().into_body();
        // From here on nothing but deadlines can happen, so the clock may jump to them.
        tokio::time::pause();
        let ended = async {
            let mut total = 0;
            while let Some(data) = body.data().await {
                let Ok(data) = data else { break };
                total += data.len();
                if trickle {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let _ = body.flow_control().release_capacity(data.len());
                }
            }
            total
        };
        let got = ended.await;
        assert!(got <= 65_535, "{window}: {got}");
        // What was sent, a buffer on its way, a piece ahead of it, and the rest of the last chunk.
        let most = got + 64 * 1024 + 32 * 1024 + CHUNK;
        assert!(taken.load(Ordering::Relaxed) <= most, "{window}: {taken:?}");
        watched.until("connections_stalled_total 1").await;
        tokio::time::resume();
        drop(client);
        watched.assert_serves().await;
    }
}

/// A whole answer that the HTTP layer has, and its client does not want: the request is over, what it holds is not.
#[tokio::test]
async fn small_answers_are_not_left_lying_either() {
    let watched = Watched::start(here()).await;
    let mut builder = Builder::new();
    builder.initial_window_size(1);
    let mut client = over(watched.socket().await, builder).await;
    let (answer, _) = client.send_request(request("/"), true).unwrap();
    let mut body = within(answer).await.unwrap().into_body();
    assert_eq!(&body.data().await.unwrap().unwrap()[..], b"h");
    tokio::time::pause();
    assert!(!matches!(body.data().await, Some(Ok(_))));
    watched.until("connections_stalled_total 1").await;
    tokio::time::resume();
    watched.assert_serves().await;
}

#[tokio::test]
async fn who_does_not_read_the_connection_is_closed() {
    let (router, _) = endless();
    let watched = Watched::start(router).await;
    let mut builder = Builder::new();
    builder.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
    let (mut client, connection) = builder.handshake::<_, Bytes>(watched.socket().await).await.unwrap();
    let (answer, _) = client.send_request(request("/endless"), true).unwrap();
    let mut connection = Box::pin(connection);
    // Read until the answer begins, and no byte more.
    let answer = tokio::select! {
        answer = answer => answer.unwrap(),
        ended = &mut connection => panic!("{ended:?}"),
    };
    let mut still = 0;
    // Once the socket's buffers are full nothing moves any more, and the clock may jump.
    tokio::time::pause();
    while !watched.metrics.render().contains("\nmillstream_http_connections_stalled_total 1\n") {
        tokio::time::sleep(Duration::from_secs(1)).await;
        still += 1;
        assert!(still < 1_000, "it is held for ever");
    }
    tokio::time::resume();
    drop((answer, connection, client));
    watched.assert_serves().await;
}

#[tokio::test]
async fn who_asks_for_nothing_is_let_go() {
    let watched = Watched::start(here()).await;
    let (mut client, connection) = Builder::new().handshake::<_, Bytes>(watched.socket().await).await.unwrap();
    let ended = tokio::spawn(connection);
    assert_eq!(get(&mut client, "/").await.0, 200);
    // One that has not even begun, and one that begins a request without end.
    let mut silent = watched.socket().await;
    let mut half = watched.socket().await;
    half.write_all(PREFACE).await.unwrap();
    half.write_all(&frame(1, 0, 1, &[0x82])).await.unwrap();
    within(watched.until("connections 3")).await;
    tokio::time::pause();
    let _ = read_all(&mut silent).await;
    let _ = read_all(&mut half).await;
    ended.await.unwrap().expect("it is told goodbye, and no error");
    watched.until("connections 0").await;
}

/// Frame header and payload (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn a_rapid_reset_ends_its_connection_and_no_other() {
    let watched = Watched::start(here()).await;
    let mut beside = watched.dial().await;
    assert_eq!(get(&mut beside, "/").await.0, 200);
    let mut socket = watched.socket().await;
    socket.write_all(PREFACE).await.unwrap();
    // GET https://localhost/ in the static table of HPACK, and RST_STREAM with CANCEL.
    let head = [0x82, 0x84, 0x87, 0x41, 9, b'l', b'o', b'c', b'a', b'l', b'h', b'o', b's', b't'];
    let (mut reader, mut writer) = tokio::io::split(socket);
    let attack = async {
        for number in 0..50_000 {
            let stream = 2 * number + 1;
            let pair = [frame(1, 5, stream, &head), frame(3, 0, stream, &8_u32.to_be_bytes())].concat();
            if writer.write_all(&pair).await.is_err() {
                return;
            }
        }
        let _ = writer.flush().await;
    };
    let mut answer = Vec::new();
    let _ = within(async { tokio::join!(attack, reader.read_to_end(&mut answer)) }).await;
    within(watched.until("connections_restless_total 1")).await;
    assert_eq!(get(&mut beside, "/").await, (200, "here".to_owned()));
}

/// Slowly enough for every request to have reached its handler.
#[tokio::test]
async fn a_reset_at_a_time_does_so_too() {
    let entered = Arc::new(Notify::new());
    let tell = entered.clone();
    let waits = async move || {
        tell.notify_one();
        std::future::pending::<&'static str>().await
    };
    let watched = Watched::start(here().route("/waits", on_get(waits))).await;
    let mut beside = watched.dial().await;
    let mut client = watched.dial().await;
    let attack = async {
        let mut sent = 0;
        loop {
            if std::future::poll_fn(|context| client.poll_ready(context)).await.is_err() {
                return sent;
            }
            let Ok((answer, mut stream)) = client.send_request(request("/waits"), true) else { return sent };
            sent += 1;
            tokio::select! {
                () = entered.notified() => stream.send_reset(Reason::CANCEL),
                _ = answer => return sent,
            }
        }
    };
    let sent = within(attack).await;
    assert!((100..1_000).contains(&sent), "{sent}");
    within(watched.until("connections_restless_total 1")).await;
    assert_eq!(get(&mut beside, "/").await, (200, "here".to_owned()));
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let watched = Watched::start(here()).await;
    for (count, length) in [(1, 20_000), (2_000, 10)] {
        let mut client = watched.dial().await;
        assert_eq!(get(&mut client, "/").await.0, 200);
        let mut request = Request::get("https://localhost/");
        for number in 0..count {
            request = request.header(format!("x-{number}"), "y".repeat(length));
        }
        let answer = match client.send_request(request.body(()).unwrap(), true) {
            Ok((answer, _)) => within(answer).await.map(|answer| answer.status().as_u16()),
            Err(error) => Err(error),
        };
        assert!(matches!(answer, Ok(431) | Err(_)), "{count}: {answer:?}");
    }
    // A head without end: HEADERS, then CONTINUATION after CONTINUATION, none of which says that it is the last.
    let mut socket = watched.socket().await;
    socket.write_all(PREFACE).await.unwrap();
    let header = [&[0x00, 3, b'x', b'-', b'y', 100][..], &[b'z'; 100]].concat();
    let (mut reader, mut writer) = tokio::io::split(socket);
    let attack = async {
        if writer.write_all(&frame(1, 1, 1, &[0x82, 0x84, 0x87])).await.is_err() {
            return;
        }
        for _ in 0..100_000 {
            if writer.write_all(&frame(9, 0, 1, &header.repeat(10))).await.is_err() {
                return;
            }
        }
        panic!("100 MB of a request's head were taken");
    };
    let mut answer = Vec::new();
    let _ = within(async { tokio::join!(attack, reader.read_to_end(&mut answer)) }).await;
    drop((reader, writer));
    watched.assert_serves().await;
}

#[tokio::test]
async fn a_panic_behind_an_answers_head_costs_its_request() {
    let half = async || {
        let (first, second) = (async { Ok::<_, Infallible>("half of it") }, async { panic!("broken") });
        Body::from_stream(stream::once(first).chain(stream::once(second)))
    };
    let watched = Watched::start(here().route("/bad", on_get(half))).await;
    let mut client = watched.dial().await;
    let (answer, _) = client.send_request(request("/bad"), true).unwrap();
    collected(within(answer).await.unwrap().into_body()).await.expect_err("an answer that is not whole is an error");
    within(watched.until("panics_total 1")).await;
    assert_eq!(get(&mut client, "/").await, (200, "here".to_owned()));
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_serving_ends() {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (entered.clone(), release.clone());
    let handler = async move || {
        tell.notify_one();
        wait.notified().await;
        "late"
    };
    let watched = Watched::start(here().route("/late", on_get(handler))).await;
    let mut client = watched.dial().await;
    let (answer, _) = client.send_request(request("/late"), true).unwrap();
    within(entered.notified()).await;
    watched.served.stop.cancel();
    release.notify_one();
    let answer = within(answer).await.unwrap();
    assert_eq!(collected(answer.into_body()).await.unwrap(), b"late");
    within(watched.served.task).await.unwrap();
}
