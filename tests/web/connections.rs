//! Connections: what is bounded, what is waited for, and how serving ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Served, read_all};
use crate::trap::Trap;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::middleware::from_fn;
use axum::routing::get;
use futures_util::stream::{self, StreamExt};
use millstream::web::ServeOptions;
use millstream::web::panics::caught;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";

/// A connection from an address of its own.
async fn dial_from(last: u8, to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn handlers_know_the_client() {
    let router =
        Router::new().route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.ip().to_string()));
    let served = Served::start(router, ServeOptions::default()).await;
    assert_eq!(served.get("/").await.text(), "127.0.0.1");
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once_and_the_others_live() {
    let router = Router::new().route("/", get(async || "here"));
    let served = Served::start(router, ServeOptions { max_connections: 1, ..ServeOptions::default() }).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(REQUEST).await.unwrap();
    let mut buffer = [0; 12];
    first.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"HTTP/1.1 200");
    let mut second = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(read_all(&mut second).await, "");
    served.stop.cancel();
    assert!(read_all(&mut first).await.ends_with("here"));
}

#[tokio::test(start_paused = true)]
async fn silence_and_half_a_request_end_by_the_deadline() {
    let served = Served::start(Router::new(), ServeOptions::default()).await;
    for bytes in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nhost: h\r\nx-slow: "] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let text = read_all(&mut stream).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
}

#[tokio::test]
async fn an_idle_connection_ends_by_the_deadline_too() {
    let served = Served::start(Router::new().route("/", get(async || "here")), ServeOptions::default()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut buffer = [0; 12];
    stream.read_exact(&mut buffer).await.unwrap();
    // From here on nothing but a deadline can happen, so the clock may jump to it.
    tokio::time::pause();
    assert_eq!(&buffer, b"HTTP/1.1 200");
    assert!(read_all(&mut stream).await.ends_with("\r\n\r\nhere"));
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let served = Served::start(Router::new().route("/", get(async || "here")), ServeOptions::default()).await;
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(500_000));
    for headers in [many, long] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let _ = stream.write_all(format!("GET / HTTP/1.1\r\nhost: h\r\n{headers}\r\n").as_bytes()).await;
        let text = read_all(&mut stream).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 431"), "{text}");
    }
    assert_eq!(served.get("/").await.status(), 200);
}

#[tokio::test]
async fn an_address_has_its_own_bound_and_leaves_places_for_others() {
    let (metrics, recorder) = millstream::telemetry::Metrics::detached().unwrap();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let router = Router::new().route("/", get(async || "here"));
    let options = ServeOptions { max_connections: 6, max_connections_per_address: 2, ..ServeOptions::default() };
    let served = Served::start(router, options).await;
    let dial = async |last: u8| {
        let mut stream = dial_from(last, served.address).await;
        stream.write_all(REQUEST).await.unwrap();
        stream
    };
    let mut answered = Vec::new();
    // 127.0.0.1 is where a reverse proxy is: it has no bound of its own.
    for last in [66, 66, 2, 1, 1, 1] {
        let mut stream = dial(last).await;
        let mut buffer = [0; 12];
        stream.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"HTTP/1.1 200");
        answered.push(stream);
        if last == 2 {
            assert_eq!(read_all(&mut dial(66).await).await, "", "its third is closed at once");
        }
    }
    assert_eq!(read_all(&mut dial(3).await).await, "");
    let text = metrics.render();
    for reason in ["address", "total"] {
        let line = format!("\nmillstream_http_connections_refused_total{{reason=\"{reason}\"}} 1\n");
        assert!(text.contains(&line), "{text}");
    }
}

#[tokio::test]
async fn a_panic_is_answered_and_counted_and_touches_nobody_else() {
    let (metrics, recorder) = millstream::telemetry::Metrics::detached().unwrap();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let router = Router::new()
        .route("/", get(async || "here"))
        .route("/bad", get(async || -> &'static str { panic!("broken") }));
    let served = Served::start(router.layer(from_fn(caught)), ServeOptions::default()).await;
    assert_eq!(served.get("/").await.text(), "here");
    assert!(metrics.render().contains("\nmillstream_http_panics_total 0\n"), "an alert sees no increase from nothing");
    let answer = served.get("/bad").await;
    let words = "{\"error\":{\"code\":\"internal\",\"message\":\"the server failed: its log says why\"}}";
    assert_eq!((answer.status(), answer.text()), (500, words));
    assert_eq!(served.get("/").await.text(), "here");
    assert!(metrics.render().contains("\nmillstream_http_panics_total 1\n"), "{}", metrics.render());
}

#[tokio::test]
async fn a_panic_behind_an_answers_head_ends_its_connection_and_no_other() {
    let (metrics, recorder) = millstream::telemetry::Metrics::detached().unwrap();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let half = || {
        let (first, second) = (async { Ok::<_, Infallible>("half of it") }, async { panic!("broken") });
        Body::from_stream(stream::once(first).chain(stream::once(second)))
    };
    let router =
        Router::new().route("/", get(async || "here")).route("/bad", get(async move || half())).layer(from_fn(caught));
    let served = Served::start(router, ServeOptions::default()).await;
    let mut beside = TcpStream::connect(served.address).await.unwrap();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /bad HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let text = read_all(&mut stream).await;
    assert!(!text.ends_with("0\r\n\r\n"), "an answer that is not whole does not look so: {text}");
    assert!(metrics.render().contains("\nmillstream_http_panics_total 1\n"), "{}", metrics.render());
    beside.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(read_all(&mut beside).await.ends_with("here"));
    assert!(metrics.render().contains("\nmillstream_http_connections 0\n"), "{}", metrics.render());
}

#[tokio::test]
async fn a_panic_in_accepting_a_connection_costs_that_one() {
    let (metrics, recorder) = millstream::telemetry::Metrics::detached().unwrap();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let trap = Trap::default();
    let _log = trap.lay();
    let router = Router::new().route("/", get(async || "here"));
    let options = ServeOptions { max_connections_per_address: 1, ..ServeOptions::default() };
    let served = Served::start(router, options).await;
    let mut first = dial_from(66, served.address).await;
    first.write_all(REQUEST).await.unwrap();
    first.read_exact(&mut [0; 12]).await.unwrap();
    // One that is refused has a line in the log.
    trap.set("millstream::web::serve");
    assert_eq!(read_all(&mut dial_from(66, served.address).await).await, "");
    assert!(!trap.is_set());
    let text = metrics.render();
    assert!(text.contains("\nmillstream_stage_panics_total{stage=\"http\"} 1\n"), "{text}");
    assert_eq!(served.get("/").await.text(), "here");
    served.stop.cancel();
    assert!(read_all(&mut first).await.ends_with("here"));
}

#[tokio::test]
async fn a_request_whose_end_is_in_doubt_is_the_last_of_its_connection() {
    let router = Router::new().route("/", get(async || "here").post(async || "posted"));
    let served = Served::start(router, ServeOptions::default()).await;
    let smuggled = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    for head in [
        "GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n12345",
        "GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n1234",
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(format!("{head}{smuggled}").as_bytes()).await.unwrap();
        let text = read_all(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 400") || text.contains("\r\nconnection: close\r\n"), "{head}: {text}");
        assert_eq!(text.matches("HTTP/1.1").count(), 1, "{head}: {text}");
    }
    assert_eq!(served.get("/").await.text(), "here");
}

/// A route that tells when it was entered and answers when it is told to.
fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (entered.clone(), release.clone());
    let handler = move || {
        let (tell, wait) = (tell.clone(), wait.clone());
        async move {
            tell.notify_one();
            wait.notified().await;
            "late"
        }
    };
    (Router::new().route("/", get(handler)), entered, release)
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_serving_ends() {
    let (router, entered, release) = held();
    let served = Served::start(router, ServeOptions::default()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    entered.notified().await;
    served.stop.cancel();
    release.notify_one();
    assert!(read_all(&mut stream).await.ends_with("late"));
    served.task.await.unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_is_dropped_after_the_drain_time() {
    let (router, entered, _release) = held();
    let served = Served::start(router, ServeOptions { drain: Duration::from_secs(5), ..ServeOptions::default() }).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    entered.notified().await;
    tokio::time::pause();
    served.stop.cancel();
    served.task.await.unwrap();
    assert_eq!(read_all(&mut stream).await, "");
}
