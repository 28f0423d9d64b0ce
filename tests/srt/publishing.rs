//! Good callers, and those that are told why not.

use millstream::listen::{CloseReason, Finish};

use crate::doors::{KEY, Listener, Note, patient_settings};
use crate::srt::caller::Caller;
use crate::srt::packets::{self, Conclusion, FLAGS, HSREQ};

/// Payload number `n`: 188 bytes that no other has.
pub fn payload(n: u32) -> Vec<u8> {
    let mut payload = vec![0x47; 188];
    payload[4..8].copy_from_slice(&n.to_be_bytes());
    payload
}

fn payloads(numbers: impl Iterator<Item = u32>) -> Vec<u8> {
    numbers.flat_map(payload).collect()
}

#[tokio::test]
async fn what_a_caller_sends_comes_in_order_and_whole_and_its_goodbye_loses_nothing() {
    let mut listener = Listener::start(patient_settings());
    let id = format!("#!::m=publish,r=demo,u={KEY}");
    let mut caller = Caller::connect(listener.address, &id, None).await.expect("admitted");
    let request = Note::Request { stream: Some("demo".to_owned()), encoder: Some("SRT 1.5.1".to_owned()) };
    assert_eq!(listener.note().await, request);
    for n in 0..500 {
        if n % 10 == 3 {
            caller.lose(&payload(n)); // asked for again
        } else {
            caller.send(&payload(n)).await;
        }
    }
    caller.settle().await;
    caller.shut_down().await;
    let (bytes, holes, how) = listener.media().await;
    assert_eq!((bytes == payloads(0..500), holes), (true, vec![]));
    assert_eq!(how, Finish::Lost("the caller closed the connection".to_owned()));
    listener.stop().await;
}

#[tokio::test]
async fn what_is_never_sent_again_is_a_hole_that_is_told() {
    let mut listener = Listener::start(patient_settings());
    let mut caller = Caller::connect(listener.address, KEY, None).await.expect("admitted");
    for n in 0..20 {
        caller.send(&payload(n)).await;
    }
    caller.settle().await;
    let first = caller.next;
    (20..25).for_each(|n| caller.lose(&payload(n)));
    caller.forget();
    let range = [first.to_be_bytes(), (caller.next - 1).to_be_bytes()].concat();
    caller.send(&payload(25)).await;
    // Until the sender says that they will not come, they are waited for.
    caller.control(7, 0, 1, &range).await;
    caller.settle().await;
    caller.shut_down().await;
    let (bytes, holes, _) = listener.media().await;
    assert!(bytes == payloads((0..20).chain(25..26)), "{} bytes", bytes.len());
    assert_eq!(holes, [20 * 188]);
    listener.stop().await;
}

#[tokio::test]
async fn media_is_released_at_its_time_without_a_goodbye() {
    let settings = millstream::listen::srt::SrtSettings {
        latency_min: std::time::Duration::from_millis(120),
        ..patient_settings()
    };
    let mut listener = Listener::start(settings);
    let mut caller = Caller::connect(listener.address, KEY, None).await.expect("admitted");
    caller.send(&payload(0)).await;
    assert!(matches!(listener.note().await, Note::Request { .. }));
    assert_eq!(listener.note().await, Note::Piece(payload(0), false));
    listener.stop().await;
}

#[tokio::test]
async fn refusals_have_their_codes() {
    let listener = Listener::start(patient_settings());
    for (id, code) in [
        ("wrong", 1_401),
        ("expired", 1_401),
        ("disabled", 1_403),
        ("policy", 1_403),
        ("in-use", 1_409),
        ("other", 1_404),
        ("stopping", 1_503),
        ("broken", 1_500),
        ("panic-not", 0),
        ("", 1_401),
        ("#!::m=request,r=demo,u=right-key", 1_405),
        ("#!::r=demo,t=file,u=right-key", 1_415),
        ("#!::nonsense", 1_400),
    ] {
        let got = Caller::connect(listener.address, id, None).await.err().unwrap_or(0);
        assert_eq!(got, code, "{id}");
    }
    listener.stop().await;
}

#[tokio::test]
async fn too_many_wrong_keys_are_refused_in_another_code_and_a_right_one_is_not() {
    let mut settings = patient_settings();
    settings.attempts.lock_after = 2;
    settings.attempts.lock_for = std::time::Duration::from_secs(3_600);
    let listener = Listener::start(settings);
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(Caller::connect(listener.address, "wrong", None).await.err().unwrap_or(0));
    }
    assert_eq!(codes, [1_401, 1_401, 1_402, 1_402]);
    assert!(Caller::connect(listener.address, KEY, None).await.is_ok());
    listener.stop().await;
}

#[tokio::test]
async fn the_latency_is_the_larger_one_within_bounds_and_told() {
    let settings = millstream::listen::srt::SrtSettings {
        latency_min: std::time::Duration::from_millis(200),
        latency_max: std::time::Duration::from_millis(3_000),
        ..patient_settings()
    };
    let listener = Listener::start(settings);
    for (asked, granted) in [(0, 200), (120, 200), (450, 450), (60_000, 3_000)] {
        let mut conclusion = Conclusion::publish(7, 0, KEY);
        conclusion.extensions[0] = (HSREQ, packets::hsreq(0x01_05_01, FLAGS, 333, asked));
        let caller = Caller::connect_with(listener.address, conclusion, None).await.expect("admitted");
        let latency = packets::word(&caller.acceptance, 76);
        assert_eq!((latency >> 16, latency & 0xffff), (granted, 333), "asked for {asked}");
    }
    listener.stop().await;
}

#[tokio::test]
async fn a_session_that_wants_its_publisher_gone_dismisses_the_caller() {
    let mut listener = Listener::start(patient_settings());
    let mut caller = Caller::connect(listener.address, KEY, None).await.expect("admitted");
    listener.door.close.send_replace(Some(CloseReason::KeyRevoked));
    caller.serve_until(|caller| caller.dismissed).await;
    let (_, _, how) = listener.media().await;
    assert_eq!(how, Finish::Lost("closed by the session: key_revoked".to_owned()));
    listener.stop().await;
}

#[tokio::test]
async fn what_a_session_cannot_take_ends_the_connection() {
    let settings = millstream::listen::srt::SrtSettings {
        latency_min: std::time::Duration::from_millis(120),
        ..patient_settings()
    };
    let mut listener = Listener::start(settings);
    let mut caller = Caller::connect(listener.address, KEY, None).await.expect("admitted");
    caller.send(b"unknown codec").await;
    caller.serve_until(|caller| caller.dismissed).await;
    let (_, _, how) = listener.media().await;
    assert_eq!(how, Finish::Lost("closed by the session: rejected".to_owned()));
    listener.stop().await;
}

#[tokio::test]
async fn a_stop_dismisses_all_callers() {
    let mut listener = Listener::start(patient_settings());
    let mut caller = Caller::connect(listener.address, KEY, None).await.expect("admitted");
    assert!(matches!(listener.note().await, Note::Request { .. }));
    listener.shutdown.cancel();
    caller.serve_until(|caller| caller.dismissed).await;
    assert_eq!(listener.note().await, Note::Finished(Finish::Lost("the server is shutting down".to_owned())));
    listener.stop().await;
}

#[tokio::test]
async fn a_caller_that_falls_silent_is_lost_and_what_it_sent_is_not() {
    let idle_timeout = std::time::Duration::from_secs(1);
    let mut listener = Listener::start(millstream::listen::srt::SrtSettings { idle_timeout, ..patient_settings() });
    let mut caller = Caller::connect(listener.address, KEY, None).await.expect("admitted");
    caller.send(&payload(0)).await;
    caller.settle().await;
    let (bytes, _, how) = listener.media().await;
    assert_eq!((bytes, how), (payload(0), Finish::Lost("connection lost: nothing came any more".to_owned())));
    listener.stop().await;
}

#[tokio::test]
async fn the_figures_of_a_connection_are_told_while_it_lasts() {
    let mut listener = Listener::start(patient_settings());
    let mut caller = Caller::connect(listener.address, KEY, None).await.expect("admitted");
    let seen = |listener: &Listener| {
        let mut seen = Vec::new();
        listener.connections.each(|stream, session, stats| {
            seen.push((stream.to_owned(), session.to_owned(), stats.unique_packets));
        });
        seen
    };
    let mut n = 0;
    while seen(&listener).first().is_none_or(|row| row.2 < 10) {
        caller.send(&payload(n)).await;
        n += 1;
        caller.settle().await;
    }
    assert_eq!(seen(&listener)[0].0, KEY);
    caller.shut_down().await;
    listener.media().await;
    listener.stop().await;
}
