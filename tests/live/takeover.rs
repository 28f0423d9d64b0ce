//! Two encoders want one stream.

use std::time::Duration;

use millstream::config::{Conflict, OnUnpublish};
use millstream::listen::{CloseReason, Finish, Publisher as _};
use millstream::live::session::{EVICTED_WAIT, HEARD_WITHIN};
use millstream::live::wiring::Stop;
use millstream::live::{PublishError, SessionSpec, SessionState};
use millstream::wire::flv::{Tag, TagKind};

use crate::ingest_support::Publisher;
use crate::rig::{Encoder, Rig, assert_in_use, by, listed, reached, shape, spec, within};
use SessionState::{Ended, Live};

/// The encoder that was there first: its pictures are numbered from 0.
pub fn first() -> Publisher {
    Publisher::default()
}

/// Another one.
pub fn second() -> Publisher {
    Publisher { first: 1_000, ..Publisher::default() }
}

pub async fn send(encoder: &Encoder, source: &Publisher, from_ms: i64, to_ms: i64) {
    for (_, tag) in source.media(from_ms, to_ms) {
        encoder.send(tag).await.expect("media is taken");
    }
}

pub async fn configure(encoder: &Encoder, source: &Publisher) {
    for tag in [source.video_config(), source.audio_config()] {
        encoder.send(tag).await.expect("a configuration is taken");
    }
}

/// A session with a publisher that has sent 3 s.
pub async fn running(rig: &Rig, spec: SessionSpec) -> Encoder {
    let encoder = rig.start(spec).await;
    encoder.play(&first(), 3_000).await;
    listed(&encoder.session, 0).await;
    encoder
}

pub async fn is_told(encoder: &Encoder) -> bool {
    tokio::time::timeout(Duration::ZERO, encoder.publisher.closed()).await.is_ok()
}

async fn assert_barred(rig: &Rig, key: &str) {
    let refused = rig.sessions.connect("a", by(key)).await.err();
    assert!(matches!(refused, Some(PublishError::Barred(_))), "{key}: {refused:?}");
    assert_eq!(
        refused.map(|why| why.to_string()).unwrap_or_default(),
        "Another encoder publishes to this stream with a valid key. Stop that one, or do not try for 30 s: then this one takes over."
    );
}

#[tokio::test]
async fn the_newest_publisher_takes_over_with_its_first_keyframe() {
    let rig = Rig::new().await;
    let old = running(&rig, spec("a")).await;
    let new = rig.join("a", "second").await;
    configure(&new, &second()).await;
    // Its next keyframe comes at 2 s.
    send(&new, &second(), 500, 1_999).await;
    send(&old, &first(), 3_000, 6_500).await;
    assert_eq!(shape(&listed(&old.session, 2).await[0]), "sss", "until then nothing changes for viewers");
    assert!(!is_told(&old).await && !is_told(&new).await);
    send(&new, &second(), 1_999, 5_000).await;
    assert_eq!(old.closed().await, CloseReason::TakenOver);
    assert_eq!(old.send(first().picture(300)).await, Err(CloseReason::TakenOver));
    old.publisher.finish(Finish::Lost("taken over".to_owned())).await;
    for list in listed(&new.session, 4).await {
        assert_eq!(shape(&list), "ssss|s");
    }
    assert_eq!(new.session.state(), Live, "the old one's leaving is nobody's loss");
    assert_eq!(rig.told_of("a"), [Live], "viewers were never without a publisher");
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn a_newcomer_that_cannot_be_used_is_told_so_and_disturbs_nobody() {
    let rig = Rig::new().await;
    let old = running(&rig, spec("a")).await;
    let vp6 = Tag { kind: TagKind::Video, timestamp_ms: 0, data: [0x14, 0, 0, 0, 0].as_slice().into() };
    let wrong = rig.join("a", "second").await;
    wrong.send(vp6).await.expect("the session sees for itself");
    let reason = wrong.closed().await;
    assert!(matches!(&reason, CloseReason::Rejected(why) if why.contains("set the encoder to H.264")), "{reason}");
    // One without keyframes, for 15 s.
    let blind = rig.join("a", "third").await;
    configure(&blind, &second()).await;
    send(&blind, &second(), 500, 1_000).await;
    send(&old, &first(), 3_000, 4_500).await;
    listed(&old.session, 1).await;
    rig.clock.advance(Duration::from_secs(15));
    blind.send(second().picture(31)).await.expect("the session sees for itself");
    let reason = blind.closed().await;
    assert!(matches!(&reason, CloseReason::Rejected(why) if why.contains("no keyframe")), "{reason}");
    // One that goes again.
    rig.join("a", "fourth").await.publisher.finish(Finish::Unpublished).await;
    send(&old, &first(), 4_500, 6_500).await;
    assert_eq!(shape(&listed(&old.session, 2).await[0]), "sss");
    assert!(!is_told(&old).await);
    assert_eq!(rig.told_of("a"), [Live]);
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn sound_alone_takes_over_when_no_picture_comes() {
    let rig = Rig::new().await;
    let old = running(&rig, spec("a")).await;
    let new = rig.join("a", "second").await;
    let source = Publisher { fps: 0, ..second() };
    new.send(source.audio_config()).await.expect("taken");
    send(&new, &source, 0, 500).await;
    send(&old, &first(), 3_000, 4_500).await;
    listed(&old.session, 1).await;
    assert!(!is_told(&old).await);
    rig.clock.advance(Duration::from_secs(1));
    new.send(source.sound(24)).await.expect("taken");
    assert_eq!(old.closed().await, CloseReason::TakenOver);
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn when_the_first_leaves_who_waits_is_the_publisher_at_once() {
    let rig = Rig::new().await;
    let ends = SessionSpec { on_unpublish: OnUnpublish::End, ..spec("a") };
    let old = running(&rig, ends).await;
    let new = rig.join("a", "second").await;
    configure(&new, &second()).await;
    send(&new, &second(), 500, 1_000).await;
    old.publisher.finish(Finish::Unpublished).await;
    send(&new, &second(), 1_000, 5_000).await;
    assert_eq!(shape(&listed(&new.session, 2).await[0]), "ss|s", "no end, no gap");
    assert_eq!(rig.told_of("a"), [Live]);
    // Of two that wait, the newer one stays.
    let (third, fourth) = (rig.join("a", "third").await, rig.join("a", "fourth").await);
    assert_eq!(third.closed().await, CloseReason::Superseded);
    third.publisher.finish(Finish::Lost("superseded".to_owned())).await;
    fourth.play(&first(), 3_000).await;
    assert_eq!(new.closed().await, CloseReason::TakenOver);
    fourth.publisher.finish(Finish::Unpublished).await;
    reached(&new.session, Ended).await;
    within("its threads are through", rig.sessions.end("a")).await;
    assert_eq!(rig.told_of("a"), [Live, Ended]);
}

#[tokio::test]
async fn two_encoders_do_not_send_each_other_away_for_ever() {
    let rig = Rig::new().await;
    let old = running(&rig, spec("a")).await;
    let new = rig.join("a", "second").await;
    new.play(&second(), 3_000).await;
    assert_eq!(old.closed().await, CloseReason::TakenOver);
    listed(&new.session, 2).await; // it has begun before the clock moves on
    old.publisher.finish(Finish::Lost("taken over".to_owned())).await;
    // It reconnects by itself, at growing distances; each time the new one has just been heard.
    let mut sent_ms = 3_000;
    for pause in [2, 4, 8, 16, 29] {
        rig.clock.advance(Duration::from_secs(pause));
        send(&new, &second(), sent_ms, sent_ms + 2_000).await;
        sent_ms += 2_000;
        listed(&new.session, sent_ms as u64 / 2_000 + 1).await;
        assert_barred(&rig, "first").await;
    }
    assert!(!is_told(&new).await);
    // Somebody who waits gets his turn.
    rig.clock.advance(EVICTED_WAIT);
    send(&new, &second(), sent_ms, sent_ms + 2_000).await;
    listed(&new.session, sent_ms as u64 / 2_000 + 2).await;
    let back = rig.join("a", "first").await;
    back.play(&first(), 3_000).await;
    assert_eq!(new.closed().await, CloseReason::TakenOver);
    assert_barred(&rig, "second").await;
    // And the other one as soon as the place is free.
    back.vanish().await;
    let last = rig.join("a", "second").await;
    last.play(&second(), 3_000).await;
    rig.shut_down(Stop::End).await;
    assert_eq!(rig.told_of("a"), [Live, SessionState::Reconnecting, Live, Ended]);
}

#[tokio::test]
async fn a_connection_that_nobody_has_closed_is_in_nobodys_way() {
    let rig = Rig::new().await;
    for conflict in [Conflict::Takeover, Conflict::Reject] {
        let stream = conflict.as_str();
        let half_open = rig.start(SessionSpec { conflict, ..spec(stream) }).await;
        half_open.play(&first(), 3_000).await;
        listed(&half_open.session, 0).await;
        if conflict == Conflict::Reject {
            assert_in_use(rig.sessions.connect(stream, by("first")).await);
        }
        rig.clock.advance(HEARD_WITHIN + Duration::from_millis(1));
        let again = rig.join(stream, "first").await;
        again.play(&second(), 3_000).await;
        assert_eq!(half_open.closed().await, CloseReason::TakenOver);
        assert_eq!(shape(&listed(&again.session, 3).await[0]), "ssg|s", "it was away for more than a segment");
        // It was not well: it may come back, as far as the stream lets it.
        match conflict {
            Conflict::Takeover => drop(rig.join(stream, "first").await),
            Conflict::Reject => assert_in_use(rig.sessions.connect(stream, by("first")).await),
        }
    }
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn the_first_publisher_stays_where_the_stream_says_so() {
    let rig = Rig::new().await;
    let encoder = rig.start(SessionSpec { conflict: Conflict::Reject, ..spec("a") }).await;
    assert_in_use(rig.sessions.connect("a", by("second")).await);
    encoder.play(&first(), 1_000).await;
    encoder.vanish().await;
    rig.join("a", "second").await.play(&first(), 1_000).await;
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn who_waits_is_sent_away_with_its_key_and_with_the_session() {
    let rig = Rig::new().await;
    let old = running(&rig, spec("a")).await;
    let revoked = rig.join("a", "second").await;
    rig.sessions.recheck(|key| async move { key != "second" }).await;
    assert_eq!(revoked.closed().await, CloseReason::KeyRevoked);
    drop(revoked);
    let waiting = rig.join("a", "third").await;
    within("the session ends", rig.sessions.end("a")).await;
    assert_eq!((old.closed().await, waiting.closed().await), (CloseReason::SessionEnded, CloseReason::SessionEnded));
}
