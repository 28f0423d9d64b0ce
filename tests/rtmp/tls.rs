//! RTMP over TLS, over real sockets: the flows of `listener.rs` where TLS may change them, and what only TLS has.

use std::time::Duration;

use crate::listener::publish_fast_then_again;
use crate::support::certificates::{VERSIONS, dial, distrustful};
use crate::support::{Certificates, Encoder, KEY, Listener, Note, WRONG, in_time, patient_settings, tag};
use crate::trap::Trap;
use millstream::listen::rtmp::RtmpSettings;
use millstream::listen::{Finish, Protocol};
use millstream::telemetry::Metrics;
use millstream::wire::flv::TagKind;
use millstream::wire::rtmp::client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::CertificateDer;

/// A deadline that is meant to pass.
const SOON: Duration = Duration::from_millis(50);
/// A ClientHello that says it has 508 bytes, and has four.
const HALF_A_HELLO: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 252];

type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

/// The certificate that a connection was made with.
fn shown(encoder: &Encoder<TlsStream>) -> CertificateDer<'static> {
    let chain = encoder.socket.get_ref().1.peer_certificates().expect("a server shows one");
    chain[0].clone().into_owned()
}

/// Waits until the listener closes without a word.
async fn closed(mut socket: TcpStream) {
    let mut answer = Vec::new();
    let _ = in_time(socket.read_to_end(&mut answer)).await; // a reset is an end too
    assert!(answer.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn a_publish_from_hello_to_goodbye_in_both_versions() {
    let certificates = Certificates::new();
    let mut listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    for version in VERSIONS {
        let socket = in_time(dial(&certificates.client(version), listener.tls_address())).await.expect("a connection");
        assert_eq!(socket.get_ref().1.protocol_version(), Some(version.version));
        let mut encoder = Encoder::over(socket).await.publishing().await;
        assert!(matches!(listener.note().await, Note::Request { protocol: Protocol::Rtmps, .. }));
        // Longer than a TLS record, and shorter than a chunk.
        let units = [tag(TagKind::Video, 0, &[0x27; 100_000]), tag(TagKind::Audio, 1, b"sound")];
        for unit in &units {
            encoder.client.media(1, unit);
        }
        encoder.client.delete_stream(1);
        encoder.flush().await;
        assert_eq!(listener.units_to_finish().await, (units.to_vec(), Finish::Unpublished));
        let goodbye = "NetStream.Unpublish.Success: The stream is unpublished.";
        assert_eq!(encoder.status().await.as_deref(), Some(goodbye));
    }
    listener.stop().await;
}

#[tokio::test]
async fn a_wrong_key_is_told_why_and_the_connection_closed_with_a_goodbye() {
    let certificates = Certificates::new();
    let listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    let mut encoder = Encoder::shake_hands_over_tls(&listener, &certificates).await.asking("wrong-key").await;
    assert_eq!(encoder.status().await, Some(format!("NetStream.Publish.BadName: {WRONG}")));
    // Without close_notify this would be an error.
    assert_eq!(in_time(encoder.socket.read(&mut [0; 16])).await.expect("close_notify"), 0);
}

#[tokio::test]
async fn after_a_fast_publish_the_next_one_on_its_connection_is_heard() {
    let certificates = Certificates::new();
    let mut listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    let encoder = Encoder::publish_over_tls(&listener, &certificates).await;
    publish_fast_then_again(&mut listener, encoder).await;
    listener.stop().await;
}

/// With a goodbye of TLS, and without one as encoders that crash and networks that break leave.
#[tokio::test]
async fn who_leaves_in_mid_publish_is_lost_however_he_leaves() {
    let certificates = Certificates::new();
    let mut listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    for says_goodbye in [true, false] {
        let mut encoder = Encoder::publish_over_tls(&listener, &certificates).await;
        if says_goodbye {
            encoder.socket.shutdown().await.expect("close_notify is sent");
        } else {
            encoder.socket.get_mut().0.shutdown().await.expect("half closed");
        }
        let lost = Finish::Lost("the peer closed the connection".to_owned());
        assert_eq!(listener.units_to_finish().await, (vec![], lost), "says goodbye: {says_goodbye}");
    }
}

#[tokio::test]
async fn a_record_that_was_tampered_with_loses_the_publisher_and_nothing_before_it() {
    let certificates = Certificates::new();
    let mut listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    let mut encoder = Encoder::publish_over_tls(&listener, &certificates).await;
    encoder.client.media(1, &tag(TagKind::Video, 0, b"whole"));
    encoder.flush().await;
    let forged = [&[23, 3, 3, 0, 40][..], &[0; 40]].concat();
    encoder.socket.get_mut().0.write_all(&forged).await.expect("written");
    let (units, finish) = listener.units_to_finish().await;
    assert_eq!(units, [tag(TagKind::Video, 0, b"whole")]);
    assert_eq!(finish, Finish::Lost("TLS: cannot decrypt peer's message".to_owned()));
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go_in_each_phase() {
    let certificates = Certificates::new();
    let settings = RtmpSettings { handshake_timeout: SOON, ..patient_settings() };
    let listener = Listener::start_with_tls(settings, &certificates).await;
    for opening in [&[][..], &[22], &HALF_A_HELLO] {
        let mut socket = TcpStream::connect(listener.tls_address()).await.expect("the listener is there");
        socket.write_all(opening).await.expect("written");
        closed(socket).await;
    }
    // Behind the handshake of TLS that of RTMP has what is left of the same time. A loaded machine may not come so far.
    if let Ok(mut socket) = in_time(certificates.connect(listener.tls_address())).await {
        let read = in_time(socket.read(&mut [0; 16])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}

#[tokio::test]
async fn what_is_not_tls_is_closed_at_once() {
    let certificates = Certificates::new();
    let mut listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    for bytes in [&client::handshake()[..], b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", &[0; 64]] {
        let mut socket = TcpStream::connect(listener.tls_address()).await.expect("the listener is there");
        socket.write_all(bytes).await.expect("written");
        closed(socket).await;
    }
    let mut socket = TcpStream::connect(listener.tls_address()).await.expect("the listener is there");
    // The handshake's last message comes first.
    socket.write_all(&[22, 3, 1, 0, 4, 20, 0, 0, 0]).await.expect("written");
    let mut alert = Vec::new();
    let _ = in_time(socket.read_to_end(&mut alert)).await;
    assert_eq!(alert.first(), Some(&21), "who speaks TLS is told in its words: {alert:?}");
    // And TLS at the plain port.
    in_time(certificates.connect(listener.address)).await.expect_err("RTMP is spoken there");
    Encoder::publish_over_tls(&listener, &certificates).await;
    assert!(matches!(listener.note().await, Note::Request { .. }), "others come in");
}

#[tokio::test]
async fn a_panic_in_accepting_a_connection_costs_that_one_at_either_port() {
    let (metrics, recorder) = Metrics::detached().expect("a recorder");
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let trap = Trap::default();
    let _log = trap.lay();
    let certificates = Certificates::new();
    let mut listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    let mut before = Encoder::publish(listener.address).await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    for address in [listener.address, listener.tls_address()] {
        trap.set("millstream::listen::rtmp");
        closed(TcpStream::connect(address).await.expect("the listener is there")).await;
        assert!(!trap.is_set());
    }
    assert!(metrics.render().contains("\nmillstream_stage_panics_total{stage=\"rtmp\"} 2\n"), "{}", metrics.render());
    let unit = tag(TagKind::Audio, 7, b"still here");
    before.client.media(1, &unit);
    before.flush().await;
    assert_eq!(listener.note().await, Note::Unit(unit));
    let after = (Encoder::publish(listener.address).await, Encoder::publish_over_tls(&listener, &certificates).await);
    drop((before, after));
    listener.stop().await;
}

#[tokio::test]
async fn a_client_that_distrusts_the_certificate_leaves_and_harms_nobody() {
    let certificates = Certificates::new();
    let listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    in_time(dial(&distrustful(), listener.tls_address())).await.expect_err("it trusts nobody");
    Encoder::publish_over_tls(&listener, &certificates).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_for_new_connections_and_the_old_ones_go_on() {
    let mut certificates = Certificates::new();
    let mut listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    let mut old = Encoder::publish_over_tls(&listener, &certificates).await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    let before = certificates.current.clone();
    certificates.renew();
    // Who trusts the new certificate alone gets in once it was read.
    let renewed = async {
        loop {
            if let Ok(socket) = certificates.connect(listener.tls_address()).await {
                return socket;
            }
        }
    };
    let new = Encoder::over(in_time(renewed).await).await.publishing().await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    assert_eq!((shown(&old), shown(&new)), (before, certificates.current.clone()));
    let unit = tag(TagKind::Audio, 7, b"still here");
    old.client.media(1, &unit);
    old.flush().await;
    assert_eq!(listener.note().await, Note::Unit(unit));
}

/// A place is a place, whatever is spoken: three for both ports.
#[tokio::test]
async fn silent_and_slow_connections_make_room_and_keep_nobody_out_at_either_port() {
    let certificates = Certificates::new();
    let settings = RtmpSettings { max_connections: 3, ..patient_settings() };
    let listener = Listener::start_with_tls(settings, &certificates).await;
    let mut slow = Vec::new();
    for opening in [&[][..], &[22], &HALF_A_HELLO] {
        let mut socket = TcpStream::connect(listener.tls_address()).await.expect("accepted by the system");
        socket.write_all(opening).await.expect("written");
        slow.push(socket);
    }
    let mut publisher = Encoder::publish_over_tls(&listener, &certificates).await;
    closed(slow.remove(0)).await;
    let mut plain = Encoder::publish(listener.address).await;
    closed(slow.remove(0)).await;
    let _third = Encoder::publish(listener.address).await;
    closed(slow.remove(0)).await;
    closed(TcpStream::connect(listener.tls_address()).await.expect("accepted by the system")).await;
    let goodbye = "NetStream.Unpublish.Success: The stream is unpublished.";
    publisher.client.delete_stream(1);
    publisher.flush().await;
    assert_eq!(publisher.status().await.as_deref(), Some(goodbye), "publishers stay");
    plain.client.delete_stream(1);
    plain.flush().await;
    assert_eq!(plain.status().await.as_deref(), Some(goodbye), "publishers stay");
}

#[tokio::test]
async fn wrong_keys_count_the_same_at_both_ports() {
    let attempts = millstream::listen::attempts::AttemptPolicy {
        first_delay: Duration::ZERO,
        lock_after: 2,
        ..Default::default()
    };
    let certificates = Certificates::new();
    let listener = Listener::start_with_tls(RtmpSettings { attempts, ..patient_settings() }, &certificates).await;
    assert!(Encoder::ask(listener.address, "wrong-key").await.status().await.is_some());
    let over_tls = || async {
        let encoder = Encoder::shake_hands_over_tls(&listener, &certificates).await;
        encoder.asking("wrong-key").await.status().await.expect("a refusal")
    };
    assert_eq!(over_tls().await, format!("NetStream.Publish.BadName: {WRONG}"));
    let third = over_tls().await;
    assert!(third.starts_with("NetStream.Publish.BadName: Too many wrong stream keys"), "{third}");
}

#[tokio::test]
async fn shutdown_tells_publishers_and_ends_handshakes() {
    let certificates = Certificates::new();
    let mut listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    let mut publishing = Encoder::publish_over_tls(&listener, &certificates).await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    let mut shaking = TcpStream::connect(listener.tls_address()).await.expect("the listener is there");
    shaking.write_all(&HALF_A_HELLO).await.expect("written");
    listener.shutdown.cancel();
    assert_eq!(listener.note().await, Note::Finished(Finish::Lost("the server is shutting down".to_owned())));
    let words = "NetStream.Unpublish.Success: The server is shutting down. Reconnect in a moment.";
    assert_eq!(publishing.status().await.as_deref(), Some(words));
    assert_eq!(in_time(publishing.socket.read(&mut [0; 16])).await.expect("close_notify"), 0);
    closed(shaking).await;
    drop(publishing);
    let address = listener.tls_address();
    listener.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_nothing_else() {
    let certificates = Certificates::new();
    let mut listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    let mut unlucky = Encoder::shake_hands_over_tls(&listener, &certificates).await.asking("panic").await;
    assert_eq!(unlucky.status().await, None);
    let mut neighbour = Encoder::publish_over_tls(&listener, &certificates).await;
    neighbour.client.delete_stream(1).create_stream().publish(2, KEY);
    neighbour.flush().await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    assert_eq!(listener.note().await, Note::Finished(Finish::Unpublished));
}
