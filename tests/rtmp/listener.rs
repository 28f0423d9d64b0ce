//! The RTMP listener over real sockets: flows, refusals, deadlines, limits, shutdown.

use std::time::Duration;

use crate::support::{CAPTURES, Encoder, KEY, Listener, Note, WRONG, capture, in_time, patient_settings, replay, tag};
use millstream::listen::attempts::AttemptPolicy;
use millstream::listen::rtmp::RtmpSettings;
use millstream::listen::{CloseReason, Finish, Protocol};
use millstream::wire::flv::TagKind;
use millstream::wire::rtmp::amf0::{Reader, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A deadline that is meant to pass.
const SOON: Duration = Duration::from_millis(50);

fn lost(text: &str) -> Note {
    Note::Finished(Finish::Lost(text.to_owned()))
}

#[tokio::test]
async fn a_publish_from_hello_to_goodbye() {
    let mut listener = Listener::start(patient_settings()).await;
    let mut encoder = Encoder::publish(listener.address).await;
    let encoder_name = Some("FMLE/3.0 (test)".to_owned());
    let request = Note::Request { app: "live".to_owned(), encoder: encoder_name, protocol: Protocol::Rtmp };
    assert_eq!(listener.note().await, request);
    let units = [tag(TagKind::Audio, 0, b"one"), tag(TagKind::Video, 40, b"two"), tag(TagKind::Audio, 41, b"three")];
    for unit in &units {
        encoder.client.media(1, unit);
    }
    encoder.client.delete_stream(1);
    encoder.flush().await;
    assert_eq!(listener.units_to_finish().await, (units.to_vec(), Finish::Unpublished));
    let goodbye = "NetStream.Unpublish.Success: The stream is unpublished.";
    assert_eq!(encoder.status().await.as_deref(), Some(goodbye));
    encoder.client.create_stream().publish(2, KEY);
    encoder.flush().await;
    assert_eq!(encoder.status().await.as_deref(), Some("NetStream.Publish.Start: Publishing."));
    assert!(matches!(listener.note().await, Note::Request { .. }));
    drop(encoder);
    assert_eq!(listener.note().await, lost("the peer closed the connection"));
    listener.stop().await;
}

#[tokio::test]
async fn after_a_fast_publish_the_next_one_on_its_connection_is_heard() {
    let mut listener = Listener::start(patient_settings()).await;
    let encoder = Encoder::publish(listener.address).await;
    publish_fast_then_again(&mut listener, encoder).await;
    listener.stop().await;
}

/// While a fast stream is published the kernel gathers some of it before it wakes us; a short command must not wait for more.
pub async fn publish_fast_then_again<S: AsyncRead + AsyncWrite + Unpin>(
    listener: &mut Listener,
    mut encoder: Encoder<S>,
) {
    assert!(matches!(listener.note().await, Note::Request { .. }));
    // 3 Mbit/s, until its rate has been measured.
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    for ms in (0..1_500).step_by(10) {
        pace.tick().await;
        encoder.client.media(1, &tag(TagKind::Video, ms, &[0x27; 4_000]));
        encoder.flush().await;
    }
    encoder.client.delete_stream(1);
    encoder.flush().await;
    let (units, finish) = listener.units_to_finish().await;
    assert_eq!((units.len(), finish), (150, Finish::Unpublished));
    assert_eq!(encoder.status().await.as_deref(), Some("NetStream.Unpublish.Success: The stream is unpublished."));
    encoder.client.create_stream().publish(2, KEY);
    encoder.flush().await;
    assert_eq!(encoder.status().await.as_deref(), Some("NetStream.Publish.Start: Publishing."));
}

#[tokio::test]
async fn a_capture_arrives_whole_through_a_socket() {
    // Its key is `capture-key`; the door opens for it after a change of name in its commands.
    let mut bytes = capture(CAPTURES[0]).to_vec();
    let from = b"capture-key";
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + from.len()].copy_from_slice(b"right-key?a");
    }
    let mut listener = Listener::start(patient_settings()).await;
    let mut socket = TcpStream::connect(listener.address).await.expect("the listener is there");
    let (mut reading, mut writing) = socket.split();
    let mut answers = Vec::new();
    let sent = async {
        writing.write_all(&bytes).await.expect("written");
        writing.shutdown().await.expect("closed");
    };
    let (_, read) = tokio::join!(sent, reading.read_to_end(&mut answers));
    read.expect("closed in order");
    let expected: Vec<_> = replay(&capture(CAPTURES[0]), &[usize::MAX])
        .into_iter()
        .filter_map(|event| if let millstream::wire::rtmp::Event::Media(tag) = event { Some(tag) } else { None })
        .collect();
    let (units, finish) = listener.units_to_finish().await;
    assert!(units == expected, "{} of {} units", units.len(), expected.len());
    assert_eq!(finish, Finish::Unpublished);
}

#[tokio::test]
async fn a_wrong_key_is_told_why_and_the_connection_closed() {
    let listener = Listener::start(patient_settings()).await;
    let mut encoder = Encoder::ask(listener.address, "wrong-key").await;
    assert_eq!(encoder.status().await, Some(format!("NetStream.Publish.BadName: {WRONG}")));
    assert_eq!(encoder.message().await, None);
    drop(encoder); // ends the listener's lingering
    listener.stop().await;
}

#[tokio::test]
async fn no_key_at_all_is_told_where_to_put_it() {
    let listener = Listener::start(patient_settings()).await;
    let mut encoder = Encoder::ask(listener.address, "").await;
    let expected = "NetStream.Publish.BadName: No stream key was given. \
                    Use rtmp://HOST/live as the server and the stream key as the key.";
    assert_eq!(encoder.status().await.as_deref(), Some(expected));
    assert_eq!(encoder.message().await, None);
}

#[tokio::test]
async fn too_many_wrong_keys_are_refused_at_once_and_a_right_one_is_taken_from_the_same_address() {
    let attempts = AttemptPolicy { first_delay: Duration::ZERO, lock_after: 2, ..AttemptPolicy::default() };
    let listener = Listener::start(RtmpSettings { attempts, ..patient_settings() }).await;
    for _ in 0..2 {
        let mut encoder = Encoder::ask(listener.address, "wrong-key").await;
        assert_eq!(encoder.status().await, Some(format!("NetStream.Publish.BadName: {WRONG}")));
    }
    let mut encoder = Encoder::ask(listener.address, "wrong-key").await;
    let status = encoder.status().await.expect("a refusal");
    assert!(status.starts_with("NetStream.Publish.BadName: Too many wrong stream keys from this address."), "{status}");
    Encoder::publish(listener.address).await;
}

#[tokio::test]
async fn admission_that_hangs_ends_in_a_refusal() {
    let listener = Listener::start(RtmpSettings { admission_timeout: SOON, ..patient_settings() }).await;
    let mut encoder = Encoder::ask(listener.address, "hang").await;
    let expected = "NetStream.Failed: The server could not check the stream key in time. Try again.";
    assert_eq!(encoder.status().await.as_deref(), Some(expected));
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_nothing_else() {
    let mut listener = Listener::start(patient_settings()).await;
    let mut neighbour = Encoder::publish(listener.address).await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    let mut unlucky = Encoder::ask(listener.address, "panic").await;
    assert_eq!(unlucky.status().await, None);
    let unit = tag(TagKind::Audio, 7, b"still here");
    neighbour.client.media(1, &unit);
    neighbour.flush().await;
    assert_eq!(listener.note().await, Note::Unit(unit));
    drop(neighbour);
    listener.stop().await;
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go_in_each_phase() {
    let settings = patient_settings;
    let listener = Listener::start(RtmpSettings { handshake_timeout: SOON, ..settings() }).await;
    let mut socket = TcpStream::connect(listener.address).await.expect("the listener is there");
    socket.write_all(&[3, 0, 0]).await.expect("written");
    assert_eq!(in_time(socket.read(&mut [0; 16])).await.ok(), Some(0));

    let listener = Listener::start(RtmpSettings { connect_timeout: SOON, ..settings() }).await;
    let mut encoder = Encoder::shake_hands(listener.address).await;
    assert_eq!(encoder.message().await, None);

    let listener = Listener::start(RtmpSettings { publish_timeout: SOON, ..settings() }).await;
    let mut encoder = Encoder::shake_hands(listener.address).await;
    encoder.client.connect("live", "", "");
    encoder.flush().await;
    assert_eq!(encoder.status().await, None);
}

#[tokio::test]
async fn a_silent_publisher_is_asked_and_then_lost() {
    let settings = RtmpSettings { ping_after: SOON, silence_timeout: 2 * SOON, ..patient_settings() };
    let mut listener = Listener::start(settings).await;
    let mut encoder = Encoder::publish(listener.address).await;
    let (type_id, payload) = encoder.message().await.expect("a ping");
    assert_eq!((type_id, &payload[..2]), (4, &[0, 6][..]));
    assert_eq!(encoder.message().await, None);
    assert!(matches!(listener.note().await, Note::Request { .. }));
    assert_eq!(listener.note().await, lost("timed out: the publisher is silent"));
}

#[tokio::test]
async fn a_publisher_that_answers_pings_stays() {
    let mut listener = Listener::start(RtmpSettings { ping_after: SOON, ..patient_settings() }).await;
    let mut encoder = Encoder::publish(listener.address).await;
    for _ in 0..3 {
        let (type_id, payload) = encoder.message().await.expect("a ping");
        assert_eq!((type_id, &payload[..2]), (4, &[0, 6][..]));
        let pong = [&[2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 7][..], &payload[2..]].concat();
        encoder.socket.write_all(&pong).await.expect("written");
    }
    assert!(matches!(listener.note().await, Note::Request { .. }));
    encoder.client.media(1, &tag(TagKind::Audio, 9, b"alive"));
    encoder.flush().await;
    assert_eq!(listener.note().await, Note::Unit(tag(TagKind::Audio, 9, b"alive")));
}

#[tokio::test]
async fn a_publisher_that_only_answers_pings_is_told_and_lost() {
    let settings = RtmpSettings { ping_after: SOON, silence_timeout: 4 * SOON, ..patient_settings() };
    let mut listener = Listener::start(settings).await;
    let mut encoder = Encoder::publish(listener.address).await;
    let words = loop {
        let (type_id, payload) = encoder.message().await.expect("words before the end");
        if type_id != 4 {
            break Reader::new(&payload).read_all().expect("AMF0");
        }
        let pong = [&[2, 0, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0, 0, 7][..], &payload[2..]].concat();
        encoder.socket.write_all(&pong).await.expect("written");
    };
    let text = |name| words[3].get(name).and_then(Value::as_str).unwrap_or_default();
    assert_eq!((text("level"), text("code")), ("status", "NetStream.Unpublish.Success"));
    assert!(text("description").starts_with("No audio and no video came for "), "{}", text("description"));
    assert!(matches!(listener.note().await, Note::Request { .. }));
    assert_eq!(listener.note().await, lost("closed by the session: no_media"));
}

#[tokio::test]
async fn the_session_may_close_a_publisher_also_while_its_intake_is_full() {
    for (reason, status) in [
        (CloseReason::KeyRevoked, "NetStream.Publish.Denied: This stream key was revoked."),
        (CloseReason::TakenOver, "NetStream.Publish.BadName: Another encoder took over this stream with a valid key."),
        (
            CloseReason::Superseded,
            "NetStream.Publish.BadName: A newer encoder with a valid key waits to take this stream over; this one's wait is over.",
        ),
        (CloseReason::InUse, "NetStream.Publish.BadName: Another encoder publishes to this stream already."),
        (CloseReason::SessionEnded, "NetStream.Unpublish.Success: The session was ended."),
    ] {
        let mut listener = Listener::start_with_closed_intake(patient_settings()).await;
        let mut encoder = Encoder::publish(listener.address).await;
        encoder.client.media(1, &tag(TagKind::Video, 0, b"one")).media(1, &tag(TagKind::Video, 40, b"two"));
        encoder.flush().await;
        listener.door.intake.add_permits(1);
        assert!(matches!(listener.note().await, Note::Request { .. }));
        assert_eq!(listener.note().await, Note::Unit(tag(TagKind::Video, 0, b"one")));
        listener.door.close.send_replace(Some(reason.clone()));
        assert_eq!(listener.note().await, lost(&format!("closed by the session: {}", reason.as_str())));
        assert_eq!((encoder.status().await.as_deref(), encoder.message().await), (Some(status), None));
    }
}

#[tokio::test]
async fn a_full_intake_holds_the_publisher_back_and_loses_nothing() {
    let mut listener = Listener::start_with_closed_intake(patient_settings()).await;
    let mut encoder = Encoder::publish(listener.address).await;
    let units: Vec<_> = (0..200).map(|n| tag(TagKind::Video, n * 40, b"frame")).collect();
    for unit in &units {
        encoder.client.media(1, unit);
    }
    encoder.client.delete_stream(1);
    encoder.flush().await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    for unit in units {
        listener.door.intake.add_permits(1);
        assert_eq!(listener.note().await, Note::Unit(unit));
    }
    assert_eq!(listener.note().await, Note::Finished(Finish::Unpublished));
}

#[tokio::test]
async fn what_ingest_cannot_take_is_told_to_the_publisher() {
    let mut listener = Listener::start(patient_settings()).await;
    let mut encoder = Encoder::publish(listener.address).await;
    encoder.client.media(1, &tag(TagKind::Video, 0, b"poison"));
    encoder.flush().await;
    let expected = "NetStream.Publish.Rejected: The stream cannot be taken: Only H.264 is taken.";
    assert_eq!(encoder.status().await.as_deref(), Some(expected));
    assert_eq!(listener.units_to_finish().await, (vec![], Finish::Lost("closed by the session: rejected".to_owned())));
}

#[tokio::test]
async fn broken_chunks_lose_the_publisher_and_nothing_that_came_before() {
    let mut listener = Listener::start(patient_settings()).await;
    let mut encoder = Encoder::publish(listener.address).await;
    encoder.client.media(1, &tag(TagKind::Video, 0, b"whole"));
    let broken = [&encoder.client.take()[..], &[0xFF; 4]].concat();
    encoder.socket.write_all(&broken).await.expect("written");
    let words = "protocol error: chunk stream 63 begins with a header of format 3, which repeats one that never came";
    let expected = (vec![tag(TagKind::Video, 0, b"whole")], Finish::Lost(words.to_owned()));
    assert_eq!(listener.units_to_finish().await, expected);
    assert_eq!(encoder.message().await, None);
}

#[tokio::test]
async fn attacks_before_authentication_leave_others_alone() {
    let mut listener = Listener::start(patient_settings()).await;
    let mut neighbour = Encoder::publish(listener.address).await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    let bomb = [&[3, 0, 0, 0, 0x00, 0x9C, 0x40, 20, 0, 0, 0, 0][..], &b"\x03\x00\x01a".repeat(10_000)].concat();
    let chunk_size = [2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF];
    let streams: Vec<u8> = (0..1_000_u16)
        .flat_map(|id| {
            [&[1, id.to_le_bytes()[0], id.to_le_bytes()[1], 0, 0, 0, 0xFF, 0xFF, 0xFF, 9, 1, 0, 0, 0], &[0; 128][..]]
                .concat()
        })
        .collect();
    for attack in [[&chunk_size[..], &bomb].concat(), streams] {
        let mut attacker = Encoder::shake_hands(listener.address).await;
        // The listener may close before it has read everything.
        let _ = attacker.socket.write_all(&attack).await;
        assert_eq!(attacker.message().await, None);
    }
    neighbour.client.media(1, &tag(TagKind::Audio, 0, b"untouched"));
    neighbour.flush().await;
    assert_eq!(listener.note().await, Note::Unit(tag(TagKind::Audio, 0, b"untouched")));
}

#[tokio::test]
async fn silent_connections_make_room_for_newer_ones_and_keep_nobody_out() {
    for (total, per_address) in [(3, 64), (64, 3)] {
        let bounds =
            RtmpSettings { max_connections: total, max_connections_per_address: per_address, ..patient_settings() };
        let listener = Listener::start(bounds).await;
        let mut publisher = Encoder::publish(listener.address).await;
        let mut half = TcpStream::connect(listener.address).await.expect("accepted by the system");
        half.write_all(&[3, 0, 0]).await.expect("written");
        let mut shaken = Encoder::shake_hands(listener.address).await;
        let mut next = Encoder::publish(listener.address).await;
        let read = in_time(half.read(&mut [0; 16])).await;
        assert!(matches!(read, Ok(0) | Err(_)), "the oldest stranger went");
        let _last = Encoder::publish(listener.address).await;
        assert_eq!(shaken.message().await, None, "the next oldest went");
        for publisher in [&mut publisher, &mut next] {
            publisher.client.delete_stream(1);
            publisher.flush().await;
            let goodbye = "NetStream.Unpublish.Success: The stream is unpublished.";
            assert_eq!(publisher.status().await.as_deref(), Some(goodbye), "publishers stay");
        }
    }
}

#[tokio::test]
async fn publishers_of_one_address_are_bounded_and_places_come_back() {
    let settings = RtmpSettings { max_connections_per_address: 2, ..patient_settings() };
    let mut listener = Listener::start(settings).await;
    let first = Encoder::publish(listener.address).await;
    let _second = Encoder::publish(listener.address).await;
    let mut third = TcpStream::connect(listener.address).await.expect("accepted by the system");
    let read = in_time(third.read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "closed at once");
    drop(first);
    assert!(matches!(listener.units_to_finish().await.1, Finish::Lost(_)));
    // The place is given back just after the finish: the connection that follows may come before it, so it asks again.
    let again = async {
        loop {
            let mut socket = TcpStream::connect(listener.address).await.expect("accepted by the system");
            let sent = socket.write_all(&millstream::wire::rtmp::client::handshake()).await;
            if sent.is_ok() && socket.read_exact(&mut [0; 3073]).await.is_ok() {
                return;
            }
        }
    };
    in_time(again).await;
}

#[tokio::test]
async fn shutdown_tells_publishers_and_returns_when_all_have_ended() {
    let mut listener = Listener::start(patient_settings()).await;
    let mut publishing = Encoder::publish(listener.address).await;
    let mut waiting = Encoder::shake_hands(listener.address).await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    listener.shutdown.cancel();
    assert_eq!(listener.note().await, lost("the server is shutting down"));
    let words = "NetStream.Unpublish.Success: The server is shutting down. Reconnect in a moment.";
    assert_eq!((publishing.status().await.as_deref(), publishing.message().await), (Some(words), None));
    assert_eq!(waiting.message().await, None);
    let address = listener.address;
    drop((publishing, waiting));
    listener.stop().await;
    assert!(TcpStream::connect(address).await.is_err());
}
