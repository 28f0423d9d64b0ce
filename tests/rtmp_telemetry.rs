//! What the RTMP listener tells operators: its counters, and a log in which no stream key stands.
//!
//! The recorder and the subscriber are global, so this file has one test.

#[path = "rtmp/support.rs"]
mod support;

use std::io;
use std::sync::{Arc, Mutex};

use metrics_exporter_prometheus::PrometheusBuilder;
use millstream::wire::flv::TagKind;
use millstream::wire::rtmp::client;
use support::certificates::{NAME, dial, distrustful};
use support::{Certificates, Encoder, KEY, Listener, Note, in_time, patient_settings, tag};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned()
    }
}

/// A publish, a wrong key, and three that come to the wrong port or with the wrong trust.
async fn over_tls() {
    let certificates = Certificates::new();
    let mut listener = Listener::start_with_tls(patient_settings(), &certificates).await;
    let mut good = Encoder::publish_over_tls(&listener, &certificates).await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    good.client.delete_stream(1);
    good.flush().await;
    listener.units_to_finish().await;
    let mut refused = Encoder::shake_hands_over_tls(&listener, &certificates).await.asking("wrong-key").await;
    assert!(refused.status().await.is_some());
    let mut plain = TcpStream::connect(listener.tls_address()).await.expect("the listener is there");
    plain.write_all(&client::handshake()).await.expect("written");
    let _ = in_time(plain.read(&mut [0; 16])).await; // a reset is an end too
    in_time(dial(&distrustful(), listener.tls_address())).await.expect_err("it trusts nobody");
    in_time(certificates.connect(listener.address)).await.expect_err("RTMP is spoken there");
    drop((good, refused));
    listener.stop().await;
}

#[tokio::test]
async fn counters_count_and_no_key_is_logged() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    metrics::set_global_recorder(recorder).expect("the only one");

    let mut listener = Listener::start(patient_settings()).await;
    let mut good = Encoder::publish(listener.address).await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    let unknown = [&[3, 0, 0, 0, 0, 0, 1, 99, 0, 0, 0, 0][..], b"?"].concat();
    good.socket.write_all(&unknown).await.expect("written");
    good.client.media(1, &tag(TagKind::Audio, 0, b"sound")).delete_stream(1);
    good.flush().await;
    listener.units_to_finish().await;
    for (key, words) in [("wrong-key", true), ("panic", false)] {
        let mut encoder = Encoder::ask(listener.address, key).await;
        assert_eq!(encoder.status().await.is_some(), words);
    }
    let mut broken = Encoder::shake_hands(listener.address).await;
    broken.client.connect("live/in-the-path-key", "rtmp://h/live/in-the-path-key?key=query-key", "me");
    broken.flush().await;
    broken.socket.write_all(&[0xFF]).await.expect("written");
    while broken.message().await.is_some() {}
    drop((good, broken));
    listener.stop().await;
    over_tls().await;

    let metrics = metrics.render();
    for line in [
        "millstream_listen_connections_total{protocol=\"rtmp\"} 5",
        "millstream_listen_connections{protocol=\"rtmp\"} 0",
        "millstream_listen_publishes_total{protocol=\"rtmp\"} 1",
        "millstream_listen_publishes_refused_total{protocol=\"rtmp\",reason=\"bad_key\"} 1",
        "millstream_listen_protocol_errors_total{protocol=\"rtmp\",kind=\"unknown_message_type\",action=\"skip\"} 1",
        "millstream_listen_protocol_errors_total{protocol=\"rtmp\",kind=\"nothing_to_repeat\",action=\"drop\"} 1",
        "millstream_listen_panics_total{protocol=\"rtmp\"} 1",
        "millstream_listen_connections_total{protocol=\"rtmps\"} 4",
        "millstream_listen_publishes_total{protocol=\"rtmps\"} 1",
        "millstream_listen_publishes_refused_total{protocol=\"rtmps\",reason=\"bad_key\"} 1",
        "millstream_listen_protocol_errors_total{protocol=\"rtmps\",kind=\"plain_rtmp\",action=\"drop\"} 1",
        "millstream_listen_protocol_errors_total{protocol=\"rtmps\",kind=\"certificate_refused\",action=\"drop\"} 1",
        "millstream_listen_protocol_errors_total{protocol=\"rtmp\",kind=\"version\",action=\"drop\"} 1",
        "millstream_tls_certificate_stale{protocol=\"rtmps\"} 0",
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} is not in\n{metrics}");
    }
    let log = log.text();
    assert_eq!(log.matches("RTMP connection ended").count(), 3 + 5, "one line for each end but the panic's\n{log}");
    for words in [
        "reason=plain RTMP came to the RTMPS port: push to rtmps:// here",
        "reason=TLS came where plain RTMP is spoken: push to rtmp:// here",
        "reason=the encoder does not take the certificate (alert UnknownCA)",
    ] {
        assert!(log.contains(words), "{words:?} is not in\n{log}");
    }
    assert!(!log.contains(NAME), "the name that a client asks for is in\n{log}");
    assert!(log.contains("refused: bad_key") && log.contains("peer=127.0.0.1:"), "{log}");
    for secret in [KEY, "wrong-key", "in-the-path-key", "query-key"] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
}
