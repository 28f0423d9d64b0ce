//! Publishers come, go, fight and are sent away.

use std::time::Duration;

use millstream::config::OnUnpublish;
use millstream::listen::{CloseReason, Finish, Publisher as _};
use millstream::live::wiring::Stop;
use millstream::live::{PublishError, SessionSpec, SessionState};
use millstream::wire::flv::{Tag, TagKind};

use crate::ingest_support::Publisher;
use crate::rig::{GRACE, Rig, by, listed, reached, shape, spec, window, within};
use SessionState::{Ended, Live, Reconnecting};

#[tokio::test]
async fn a_publish_fills_the_window() {
    let rig = Rig::new().await;
    let encoder = rig.start(spec("a")).await;
    assert_eq!(encoder.session.state(), SessionState::Starting);
    encoder.play(&Publisher::default(), 9_000).await;
    let lists = listed(&encoder.session, 3).await;
    assert_eq!(lists.iter().map(|list| shape(list)).collect::<Vec<_>>(), ["ssss", "ssss"]);
    let window = window(&encoder.session).await;
    assert!(window.multivariant().is_some() && !window.ended());
    assert_eq!((rig.told_of("a"), encoder.session.state()), (vec![Live], Live));
    assert_eq!(encoder.session.peer(), Some(by("first").peer));
    rig.shut_down(Stop::End).await;
    assert_eq!(encoder.closed().await, CloseReason::ShuttingDown);
    assert_eq!(shape(&listed(&encoder.session, 4).await[0]), "sssss", "the open segment came out");
    assert!(window.ended());
    assert_eq!(rig.told_of("a"), [Live, Ended]);
}

#[tokio::test]
async fn a_lost_publisher_leaves_gaps_and_comes_back_behind_one_discontinuity() {
    let rig = Rig::new().await;
    let encoder = rig.start(spec("a")).await;
    encoder.play(&Publisher::default(), 5_000).await;
    let session = encoder.vanish().await;
    rig.clock.advance(Duration::from_secs(4));
    assert_eq!(shape(&listed(&session, 4).await[0]), "sssgg", "a gap for each target duration");
    let encoder = rig.join("a", "first").await;
    reached(&session, Live).await;
    encoder.play(&Publisher { first: 1_000, ..Publisher::default() }, 5_000).await;
    for list in listed(&session, 6).await {
        assert_eq!(shape(&list), "sssgg|ss");
    }
    assert_eq!(rig.told_of("a"), [Live, Reconnecting, Live]);
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn ended_sessions_are_forgotten_when_their_time_is_over_and_no_others() {
    let rig = Rig::new().await;
    let kept = Duration::from_secs(600);
    let [first, second, live] = ["first", "second", "live"].map(spec);
    let mut encoders = Vec::new();
    for spec in [first, second, live] {
        encoders.push(rig.start(spec).await);
    }
    let found = || ["first", "second", "live"].map(|stream| rig.sessions.find(stream).is_some());
    rig.sessions.end("first").await;
    rig.clock.advance(kept / 2);
    rig.sessions.end("second").await;
    rig.clock.advance(kept / 2 - Duration::from_millis(1));
    rig.sessions.sweep();
    assert_eq!(found(), [true, true, true], "viewers find the end of the first");
    rig.clock.advance(Duration::from_millis(1));
    assert_eq!(found(), [true, true, true], "until somebody sweeps");
    rig.sessions.sweep();
    assert_eq!(found(), [false, true, true]);
    rig.clock.advance(kept);
    rig.sessions.sweep();
    assert_eq!(found(), [false, false, true], "one that has not ended stays");
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn a_clean_unpublish_holds_or_ends_as_the_stream_says() {
    let rig = Rig::new().await;
    let hold = rig.start(spec("hold")).await;
    let end = rig.start(SessionSpec { on_unpublish: OnUnpublish::End, ..spec("end") }).await;
    let lost = rig.start(SessionSpec { on_unpublish: OnUnpublish::End, ..spec("lost") }).await;
    for encoder in [&hold, &end, &lost] {
        encoder.play(&Publisher::default(), 3_000).await;
    }
    for (encoder, how, state) in [
        (hold, Finish::Unpublished, Reconnecting),
        (end, Finish::Unpublished, Ended),
        (lost, Finish::Lost("reset".to_owned()), Reconnecting),
    ] {
        encoder.publisher.finish(how).await;
        reached(&encoder.session, state).await;
        assert_eq!(window(&encoder.session).await.ended(), state == Ended);
        assert_eq!(shape(&listed(&encoder.session, 0).await[1])[..1], *"s");
    }
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn the_grace_time_ends_a_session_for_viewers_store_and_control() {
    let rig = Rig::new().await;
    let encoder = rig.start(spec("a")).await;
    encoder.play(&Publisher::default(), 3_000).await;
    let session = encoder.vanish().await;
    rig.clock.advance(GRACE);
    reached(&session, Ended).await;
    let window = window(&session).await;
    assert!(window.ended());
    let text = window.rendition(crate::rig::VIDEO).expect("listed").text();
    assert!(text.ends_with(b"#EXT-X-ENDLIST\n"), "{text:?}");
    let gone = within("no session to join", rig.sessions.connect("a", by("first"))).await;
    assert!(gone.expect("nobody is in the way").is_none());
    assert_eq!(rig.told_of("a"), [Live, Reconnecting, Ended]);
    assert_eq!(session.ended_at(), Some(GRACE));
    let (rig, recovered) = rig.restart(Stop::Suspend).await;
    assert!(recovered.iter().all(|session| session.ended), "{recovered:#?}");
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn a_session_without_media_ends_too() {
    let rig = Rig::new().await;
    let session = rig.start(spec("a")).await.vanish().await;
    rig.clock.advance(GRACE);
    reached(&session, Ended).await;
    assert!(session.window().borrow().is_none());
}

#[tokio::test]
async fn a_revoked_key_closes_its_own_connection_only() {
    let rig = Rig::new().await;
    let (first, other) = (rig.start(spec("a")).await, rig.start(spec("b")).await);
    first.session.disconnect(Some("second"), &CloseReason::KeyRevoked);
    first.send(Publisher::default().video_config()).await.expect("another key's end");
    first.session.disconnect(Some("first"), &CloseReason::KeyRevoked);
    assert_eq!(first.closed().await, CloseReason::KeyRevoked);
    assert_eq!(first.send(Publisher::default().video_config()).await, Err(CloseReason::KeyRevoked));
    // What comes later does not take the first reason's words.
    within("the session ends", rig.sessions.end("a")).await;
    assert_eq!(first.closed().await, CloseReason::KeyRevoked);
    rig.sessions.recheck(|key| async move { key != "first" }).await;
    assert_eq!(other.closed().await, CloseReason::KeyRevoked);
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn a_publisher_of_what_is_not_carried_is_told_so_and_the_session_stays() {
    let rig = Rig::new().await;
    let encoder = rig.start(spec("a")).await;
    let vp6 = Tag { kind: TagKind::Video, timestamp_ms: 0, data: [0x14, 0, 0, 0, 0].as_slice().into() };
    encoder.send(vp6).await.expect("the session sees for itself");
    let reason = encoder.closed().await;
    assert!(matches!(&reason, CloseReason::Rejected(why) if why.contains("set the encoder to H.264")), "{reason}");
    reached(&encoder.session, Reconnecting).await;
    let again = rig.join("a", "first").await;
    again.play(&Publisher::default(), 3_000).await;
    listed(&again.session, 0).await;
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn who_comes_while_a_session_ends_finds_it_ended_and_begins_the_next() {
    let rig = Rig::new().await;
    let encoder = rig.start(spec("a")).await;
    encoder.play(&Publisher::default(), 3_000).await;
    let again = rig.sessions.start(spec("a"), by("second")).await;
    assert!(matches!(again, Err(PublishError::Running { .. })), "one session a stream: {again:?}");
    let ((), found) = tokio::join!(
        within("the session ends", rig.sessions.end("a")),
        within("an answer", rig.sessions.connect("a", by("second"))),
    );
    assert!(matches!(found, Ok(None)), "{found:?}");
    assert_eq!(encoder.closed().await, CloseReason::SessionEnded);
    let next = rig.start(SessionSpec { session: "a-2".to_owned(), ..spec("a") }).await;
    next.play(&Publisher::default(), 3_000).await;
    assert_eq!(listed(&next.session, 0).await[0][0].msn, 0);
    rig.shut_down(Stop::End).await;
}
