//! Sessions that outlive the daemon.

use std::time::Duration;

use millstream::listen::{CloseReason, Finish, Publisher as _};
use millstream::live::wiring::Stop;
use millstream::live::{PublishError, SessionSpec, SessionState};
use millstream::media::Span;

use crate::ingest_support::{Publisher, SMALL_SPS};
use crate::rig::{GRACE, Rig, VIDEO, by, listed, reached, shape, spec, window, within};
use SessionState::{Ended, Live, Reconnecting};

/// A broadcast of `ms` on a daemon that has been stopped and started again.
async fn restarted(ms: i64) -> (Rig, millstream::store::RecoveredSession) {
    let rig = Rig::new().await;
    let encoder = rig.start(spec("a")).await;
    encoder.play(&Publisher::default(), ms).await;
    listed(&encoder.session, 0).await;
    let (rig, mut recovered) = rig.restart(Stop::Suspend).await;
    assert_eq!(encoder.closed().await, CloseReason::ShuttingDown);
    assert!(!window(&encoder.session).await.ended(), "the session is not over");
    let session = recovered.pop().expect("the session is in the journal");
    assert!(!session.ended && session.clean, "{session:#?}");
    (rig, session)
}

#[tokio::test]
async fn a_suspended_session_goes_on_with_gaps_and_then_its_publisher() {
    let (rig, recovered) = restarted(5_000).await;
    rig.sessions.resume(SessionSpec { epoch: 2, ..spec("a") }, recovered).expect("it is resumed");
    let session = rig.sessions.find("a").expect("it runs");
    assert_eq!(shape(&listed(&session, 2).await[0]), "sss", "what was listed is listed, and the open segment");
    rig.clock.advance(Duration::from_secs(4));
    assert_eq!(shape(&listed(&session, 4).await[0]), "sssgg", "viewers see the session go on");
    let encoder = rig.join("a", "first").await;
    encoder.play(&Publisher { first: 1_000, ..Publisher::default() }, 5_000).await;
    for list in listed(&session, 6).await {
        assert_eq!(shape(&list), "sssgg|ss");
        assert_eq!(list.iter().map(|segment| segment.epoch).collect::<Vec<_>>(), [1, 1, 1, 2, 2, 2, 2]);
        assert!(list.iter().all(|segment| segment.init == 0), "an equal configuration keeps its MAP");
    }
    assert_eq!(rig.told_of("a"), [Reconnecting, SessionState::Starting, Live]);
    rig.shut_down(Stop::End).await;
    assert!(window(&session).await.ended());
}

#[tokio::test]
async fn a_resumed_session_keeps_the_target_durations_that_it_began_with() {
    let (rig, recovered) = restarted(5_000).await;
    let mut other = SessionSpec { epoch: 2, ..spec("a") };
    (other.hls.segment, other.hls.part) = (Span::from_secs(6), Span::from_secs(1));
    rig.sessions.resume(other, recovered).expect("it is resumed");
    let encoder = rig.join("a", "first").await;
    encoder.play(&Publisher { first: 1_000, ..Publisher::default() }, 5_000).await;
    for list in listed(&encoder.session, 4).await {
        assert!(
            list.iter().all(|segment| segment.duration.is_some_and(|long| long <= Span::from_millis(2_100))),
            "{list:?}"
        );
    }
    let text = window(&encoder.session).await.rendition(VIDEO).expect("listed").text();
    let text = String::from_utf8(text.to_vec()).expect("text");
    assert!(text.contains("#EXT-X-TARGETDURATION:2\n"), "{text}");
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn the_last_sound_before_a_stop_is_kept() {
    let rig = Rig::new().await;
    let encoder = rig.start(spec("a")).await;
    // Sound runs ahead of the pictures, and waits for them when the daemon stops.
    let source = Publisher::default();
    encoder.play(&source, 3_000).await;
    let frames = 3 * 48_000 / 1_024;
    for n in frames + 1..frames + 20 {
        encoder.send(source.sound(n)).await.expect("taken");
    }
    let (_rig, recovered) = rig.restart(Stop::Suspend).await;
    let duration = |index: usize| {
        let segments = recovered[0].renditions[index].segments.iter();
        segments.filter_map(|segment| segment.duration).sum::<millstream::media::Span>()
    };
    assert!((duration(1) - duration(0)).to_millis() > 300, "{} of sound, {} of pictures", duration(1), duration(0));
}

#[tokio::test]
async fn nobody_comes_back_after_a_restart() {
    let (rig, recovered) = restarted(3_000).await;
    rig.sessions.resume(SessionSpec { epoch: 2, ..spec("a") }, recovered).expect("it is resumed");
    let session = rig.sessions.find("a").expect("it runs");
    rig.clock.advance(GRACE);
    reached(&session, Ended).await;
    assert!(window(&session).await.ended());
    let (_rig, recovered) = rig.restart(Stop::Suspend).await;
    assert!(recovered.iter().all(|session| session.ended), "{recovered:#?}");
}

#[tokio::test]
async fn a_publisher_of_something_else_ends_a_resumed_session_and_begins_the_next() {
    let (rig, recovered) = restarted(3_000).await;
    rig.sessions.resume(SessionSpec { epoch: 2, ..spec("a") }, recovered).expect("it is resumed");
    let encoder = rig.join("a", "first").await;
    // Pictures of another size are the same rung; a source without sound lacks a rendition.
    let silent = Publisher { rate: 0, sps: SMALL_SPS, ..Publisher::default() };
    encoder.send(silent.video_config()).await.expect("taken");
    let mut media = silent.media(0, 60_000).into_iter();
    let told = loop {
        rig.clock.advance(Duration::from_millis(30));
        let (_, tag) = media.next().expect("the second track is waited for during a second only");
        if let Err(reason) = encoder.send(tag).await {
            break reason;
        }
    };
    assert_eq!(told, CloseReason::SessionEnded);
    reached(&encoder.session, Ended).await;
    assert!(window(&encoder.session).await.ended());
    let next = rig.start(SessionSpec { session: "a-2".to_owned(), ..spec("a") }).await;
    next.play(&Publisher::default(), 3_000).await;
    listed(&next.session, 0).await;
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn after_the_stop_nobody_waits_for_a_suspended_session() {
    let rig = Rig::new().await;
    let encoder = rig.start(spec("a")).await;
    encoder.play(&Publisher::default(), 3_000).await;
    rig.shut_down(Stop::Suspend).await;
    let late = within("an answer", rig.sessions.connect("a", by("late"))).await;
    assert!(matches!(late, Err(PublishError::ShuttingDown)), "{late:?}");
    within("ending what has stopped", rig.sessions.end("a")).await;
    within("a goodbye", encoder.publisher.finish(Finish::Unpublished)).await;
    assert_eq!(encoder.session.state(), Reconnecting);
    let next = rig.sessions.start(spec("b"), by("late")).await;
    assert!(matches!(next, Err(PublishError::ShuttingDown)), "{next:?}");
}
