//! A track that comes when the session has begun joins it: in the window, in the journal, and after a restart.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream::live::wiring::Stop;
use millstream::live::{Session, SessionChange, SessionEvent, SessionSpec};
use millstream::media::Kind;

use crate::ingest_support::Publisher;
use crate::rig::{AUDIO, Rig, listed, shape, spec, until, window};

/// What was told besides states.
fn joins() -> (Arc<Mutex<Vec<Kind>>>, impl Fn(&SessionEvent) + Send + Sync + 'static) {
    let heard = Arc::<Mutex<Vec<Kind>>>::default();
    let told = heard.clone();
    let hear = move |event: &SessionEvent| {
        if let SessionChange::TrackJoined(kind) = event.change {
            told.lock().expect("no panic").push(kind);
        }
    };
    (heard, hear)
}

/// Begins with `first` alone for 5 s, and goes on with both tracks to 13 s. Returns what the multivariant playlist said before
/// and after, and restarts in between.
async fn late(first: Publisher, second: Kind, order: [&str; 2]) {
    let (heard, hear) = joins();
    let rig = Rig::with(hear).await;
    let both = Publisher::default();
    let encoder = rig.start(spec("a")).await;
    let config = if second == Kind::Audio { first.video_config() } else { first.audio_config() };
    encoder.send(config).await.expect("taken");
    for (_, tag) in first.media(0, 5_000) {
        encoder.send(tag).await.expect("taken");
    }
    // Time goes by until the session has waited long enough for a second track.
    let waiting = async {
        loop {
            rig.clock.advance(Duration::from_millis(10));
            tokio::task::yield_now().await;
        }
    };
    let window = tokio::select! {
        window = window(&encoder.session) => window,
        () = waiting => unreachable!("time never ends"),
    };
    let alone = until("the first track is listed", window.changed(), || window.multivariant()).await;
    let text = alone.render("");
    assert_eq!((text.contains("TYPE=AUDIO"), text.contains("RESOLUTION")), (false, second == Kind::Audio), "{text}");

    let config = if second == Kind::Audio { both.audio_config() } else { both.video_config() };
    encoder.send(config).await.expect("taken");
    for (_, tag) in both.media(5_000, 15_000) {
        encoder.send(tag).await.expect("taken");
    }
    let joined =
        until("the late track is listed", window.changed(), || window.multivariant().filter(|now| *now != alone)).await;
    let text = joined.render("");
    assert!(text.contains("TYPE=AUDIO") && text.contains("RESOLUTION") && text.contains("mp4a"), "{text}");
    assert_eq!(*heard.lock().expect("no panic"), [second]);
    let names = |session: &Session| {
        let window = session.window().borrow().clone().expect("known");
        window.renditions().iter().map(|rendition| rendition.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&encoder.session), order);
    let before = listed(&encoder.session, 5).await;
    let (all, late) = (&before[0], &before[usize::from(AUDIO.0)]);
    assert!(late[0].msn >= 2 && all[0].msn == 0, "it begins where it joined");
    assert!(late.iter().all(|segment| !segment.gap), "{}", shape(late));

    let (rig, mut recovered) = rig.restart(Stop::Suspend).await;
    let recovered = recovered.pop().expect("the session is in the journal");
    assert_eq!(recovered.head.renditions.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), order);
    let sequence = |index: usize| {
        let rendition = &recovered.renditions[index];
        let listed = rendition.segments.iter().filter(|segment| segment.discontinuity).count() as u64;
        rendition.discontinuity_sequence + listed
    };
    assert_eq!(sequence(0), sequence(1), "discontinuities are counted alike in all renditions");
    rig.sessions.resume(SessionSpec { epoch: 2, ..spec("a") }, recovered).expect("it is resumed");
    let encoder = rig.join("a", "first").await;
    encoder.play(&both, 6_000).await;
    let after = listed(&encoder.session, before[0].last().expect("some").msn + 3).await;
    for (index, list) in after.iter().enumerate() {
        assert_eq!(shape(list).matches('|').count(), shape(&before[index]).matches('|').count() + 1);
    }
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn sound_that_comes_late_joins_and_stays() {
    late(Publisher { rate: 0, ..Publisher::default() }, Kind::Audio, ["source", "audio"]).await;
}

#[tokio::test]
async fn pictures_that_come_late_join_and_stay() {
    late(Publisher { fps: 0, ..Publisher::default() }, Kind::Video, ["audio", "source"]).await;
}
