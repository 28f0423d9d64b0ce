//! HTTPS: what is spoken, what is shown, and who does not come to speak.

use std::net::SocketAddr;
use std::time::Duration;

use crate::certificates::{Certificates, VERSIONS, dial, distrustful};
use crate::http2::{self, get};
use crate::support::{Served, read_all, within};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Version;
use axum::routing::get as on_get;
use millstream::telemetry::Metrics;
use millstream::web::ServeOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::CertificateDer;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
/// A ClientHello that says it has 508 bytes, and has four.
const HALF_A_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252];

/// Says what is spoken, and to whom.
fn router() -> Router {
    let told =
        async |version: Version, ConnectInfo(peer): ConnectInfo<SocketAddr>| format!("{version:?} {}", peer.ip());
    Router::new().route("/", on_get(told))
}

fn shown(socket: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    socket.get_ref().1.peer_certificates().expect("a server shows one")[0].clone().into_owned()
}

#[tokio::test]
async fn what_is_spoken_is_the_clients_choice() {
    let certificates = Certificates::new();
    let served = Served::start_secure(router(), ServeOptions::default(), &certificates).await;
    for version in VERSIONS {
        let socket = dial(&certificates.client(version), served.address).await.unwrap();
        assert_eq!(socket.get_ref().1.protocol_version(), Some(version.version));
    }
    let (h2, h1): (&[u8], &[u8]) = (b"h2", b"http/1.1");
    for protocols in [&[h2, h1][..], &[h1, h2], &[h2]] {
        let socket = dial(&certificates.client_speaking(protocols), served.address).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(h2));
        let mut client = http2::over(socket, h2::client::Builder::new()).await;
        assert_eq!(get(&mut client, "/").await, (200, "HTTP/2.0 127.0.0.1".to_owned()));
    }
    for (protocols, chosen) in [(&[h1][..], Some(h1)), (&[], None)] {
        let mut socket = dial(&certificates.client_speaking(protocols), served.address).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), chosen);
        socket.write_all(REQUEST).await.unwrap();
        let text = read_all(&mut socket).await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nHTTP/1.1 127.0.0.1"), "{text}");
    }
    let refused = dial(&certificates.client_speaking(&[b"spdy/3"]), served.address).await;
    assert!(refused.unwrap_err().to_string().contains("NoApplicationProtocol"));
}

#[tokio::test]
async fn a_certificate_that_is_swapped_is_shown_to_the_next_and_touches_nobody() {
    let mut certificates = Certificates::new();
    let soon = Duration::from_millis(5);
    let served = Served::start_looking(router(), ServeOptions::default(), &certificates, soon).await;
    let mut before = http2::dial(&certificates, served.address).await;
    let old = certificates.current.clone();
    certificates.renew();
    let renewed = async {
        loop {
            // Who trusts the new one alone is refused until it is there.
            if let Ok(socket) = certificates.connect(served.address).await {
                return shown(&socket);
            }
        }
    };
    let new = within(renewed).await;
    assert!(new == certificates.current && new != old);
    assert_eq!(get(&mut before, "/").await.0, 200, "it was made with the old one, and goes on");
}

#[tokio::test]
async fn who_does_not_come_to_speak_is_counted_and_plain_http_is_told() {
    let (metrics, recorder) = Metrics::detached().unwrap();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let certificates = Certificates::new();
    let served = Served::start_secure(router(), ServeOptions::default(), &certificates).await;
    let say = async |bytes: &'static [u8]| {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        within(read_all(&mut socket)).await
    };
    let told = say(b"GET /watch/a HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
    assert!(told.ends_with("\"message\":\"this port speaks HTTPS only: begin the address with https://\"}}"), "{told}");
    assert_eq!(say(b"\x00\x00\x00").await, "");
    assert_eq!(say(b"ssh").await, "");
    dial(&distrustful(), served.address).await.unwrap_err();
    drop(TcpStream::connect(served.address).await.unwrap());
    let counted = |reason: &str, times: u32| {
        let line = format!("\nmillstream_http_tls_handshakes_failed_total{{reason=\"{reason}\"}} {times}\n");
        metrics.render().contains(&line)
    };
    for (reason, times) in [("plain_http", 1), ("not_tls", 2), ("certificate_refused", 1), ("closed", 1)] {
        within(async {
            while !counted(reason, times) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert_eq!(get(&mut http2::dial(&certificates, served.address).await, "/").await.0, 200);
}

#[tokio::test]
async fn a_thousand_that_say_nothing_are_let_go_by_the_deadline() {
    let (metrics, recorder) = Metrics::detached().unwrap();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let certificates = Certificates::new();
    let options = ServeOptions { header_timeout: Duration::from_secs(600), ..ServeOptions::default() };
    let served = Served::start_secure(router(), options, &certificates).await;
    let mut silent = Vec::new();
    for number in 0..1_000 {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        if number % 2 == 1 {
            socket.write_all(HALF_A_HELLO).await.unwrap();
        }
        silent.push(socket);
    }
    let shaken = certificates.connect(served.address).await.unwrap();
    let open = |number: u32| metrics.render().contains(&format!("\nmillstream_http_connections {number}\n"));
    within(async {
        while !open(1_001) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(get(&mut http2::dial(&certificates, served.address).await, "/").await.0, 200, "they hold up nobody");
    // From here on nothing but deadlines can happen, so the clock may jump to them.
    tokio::time::pause();
    for mut socket in silent {
        assert_eq!(read_all(&mut socket).await, "");
    }
    let mut shaken = shaken;
    let _ = shaken.read_to_end(&mut Vec::new()).await; // HTTP/1.1 without a word
    drop(shaken);
    while !open(0) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn places_are_shared_by_both_ports() {
    let certificates = Certificates::new();
    let options = ServeOptions { max_connections: 1, ..ServeOptions::default() };
    let (served, plain) = Served::start_both(router(), options, &certificates).await;
    let mut held = http2::dial(&certificates, served.address).await;
    assert_eq!(get(&mut held, "/").await.0, 200);
    let mut refused = TcpStream::connect(plain).await.unwrap();
    assert_eq!(within(read_all(&mut refused)).await, "");
    certificates.connect(served.address).await.unwrap_err();
    drop(held);
    within(async {
        loop {
            let mut socket = TcpStream::connect(plain).await.unwrap();
            let _ = socket.write_all(REQUEST).await;
            if read_all(&mut socket).await.ends_with("HTTP/1.1 127.0.0.1") {
                return;
            }
        }
    })
    .await;
}
