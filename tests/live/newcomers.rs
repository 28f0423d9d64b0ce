//! What a newcomer would be refused for it is refused for before it takes over, and each answers for its own media only.

use bytes::Bytes;
use millstream::config::preset::AudioMode;
use millstream::listen::CloseReason;
use millstream::live::wiring::Stop;
use millstream::live::{SessionSpec, SessionState};
use millstream::media::{AudioCodec, VideoCodec};
use millstream::wire::flv::{AudioTag, Tag, TagKind, VideoTag};

use crate::failures::{encoded, push, real_source};
use crate::ingest_support::Publisher;
use crate::rig::{AUDIO, Encoder, Rig, listed, reached, shape, spec, until, window};
use crate::takeover::{configure, first, is_told, running, second, send};
use SessionState::{Live, Reconnecting};

/// 5120x2880, Constrained Baseline.
const LARGE_SPS: &[u8] = &[0x67, 0x42, 0xc0, 0x34, 0xda, 0x00, 0x50, 0x00, 0x5a, 0x64];
const TOO_LARGE: &str =
    "the source's picture is 5120x2880; this preset encodes, and takes 9437184 pixels at most (4096x2304)";
const TOO_MUCH: &str =
    "it sends more than 1000 kbit/s, which is the most that this server takes; lower the encoder's bitrate";

fn large() -> Publisher {
    Publisher { sps: LARGE_SPS, ..second() }
}

/// At most 1 Mbit/s, so that 500 kB may come at once.
fn frugal() -> SessionSpec {
    SessionSpec { max_bitrate: 1_000_000, ..spec("a") }
}

/// NAL units with lengths of 4 bytes.
fn video(nals: &[&[u8]], stamp_ms: u32) -> Tag {
    let units = nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes(), *nal].concat());
    let data = Bytes::from_iter(units);
    let tag = VideoTag::frame(VideoCodec::H264, false, 0, data);
    Tag { kind: TagKind::Video, timestamp_ms: stamp_ms, data: tag.to_body() }
}

/// A picture that is no keyframe.
fn picture(bytes: usize, stamp_ms: u32) -> Tag {
    video(&[&vec![0x41; bytes]], stamp_ms)
}

async fn assert_rejected(encoder: &Encoder, words: &str) {
    assert_eq!(encoder.closed().await, CloseReason::Rejected(words.to_owned()));
}

#[tokio::test]
async fn one_that_sends_more_than_it_may_is_told_so_before_it_takes_over() {
    let rig = Rig::new().await;
    let old = running(&rig, frugal()).await;
    let new = rig.join("a", "second").await;
    configure(&new, &second()).await;
    // Half a megabyte within 0.2 s, and then the keyframe.
    for n in 0..6 {
        new.send(picture(90_000, n * 33)).await.expect("the session sees for itself");
    }
    let _ = new.send(second().picture(0)).await; // whether it hears of it before this is chance
    assert_rejected(&new, TOO_MUCH).await;
    send(&old, &first(), 3_000, 6_500).await;
    assert_eq!(shape(&listed(&old.session, 2).await[0]), "sss");
    assert!(!is_told(&old).await);
    assert_eq!(rig.told_of("a"), [Live]);
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn one_whose_pictures_are_too_large_is_told_so_before_it_takes_over() {
    let rig = Rig::new().await;
    let tags = real_source();
    let (begin, rest) = tags.split_at(tags.len() / 2);
    let old = rig.start(encoded("a", |_| ())).await;
    push(&old, begin).await.expect("all of it is taken");
    listed(&old.session, 0).await;
    let new = rig.join("a", "second").await;
    new.send(large().video_config()).await.expect("the session sees for itself");
    assert_rejected(&new, TOO_LARGE).await;
    push(&old, rest).await.expect("all of it is taken");
    rig.sessions.end("a").await;
    assert_eq!(shape(&listed(&old.session, 2).await[0]), "sss");
    assert_eq!(rig.told_of("a")[0], Live);
}

/// A session of sound alone whose pictures would be encoded.
async fn sound_alone(rig: &Rig) -> (Encoder, Publisher) {
    let source = Publisher { fps: 0, ..first() };
    let encoder = rig.start(encoded("a", |preset| preset.audio.mode = AudioMode::Copy)).await;
    // A keyframe's time of nothing but sound on the way.
    encoder.send(source.audio_config()).await.expect("taken");
    send(&encoder, &source, 0, 5_000).await;
    let waiting = async {
        loop {
            rig.clock.advance(std::time::Duration::from_millis(10));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = window(&encoder.session) => {}
        () = waiting => unreachable!("time never ends"),
    }
    (encoder, source)
}

/// Waits until segment `msn` of the sound is listed.
async fn heard(encoder: &Encoder, msn: u64) -> String {
    let window = window(&encoder.session).await;
    let only = millstream::media::segment::RenditionId(0);
    until(&format!("segment {msn} is listed"), window.changed(), || {
        let view = window.rendition(only)?;
        let list: Vec<_> = view.segments().cloned().collect();
        list.iter().any(|segment| segment.msn >= msn).then(|| shape(&list))
    })
    .await
}

#[tokio::test]
async fn pictures_that_a_session_of_sound_cannot_take_end_their_connection_and_not_the_session() {
    let rig = Rig::new().await;
    let (old, source) = sound_alone(&rig).await;
    let new = rig.join("a", "second").await;
    new.send(large().video_config()).await.expect("the session sees for itself");
    assert_rejected(&new, TOO_LARGE).await;
    send(&old, &source, 5_000, 9_000).await;
    let shape = heard(&old, 2).await;
    assert!(shape.chars().all(|segment| segment == 's'), "{shape}");
    assert!(!is_told(&old).await);
    // And when they are the publisher's own, which come late.
    old.send(large().video_config()).await.expect("the session sees for itself");
    for (_, tag) in large().media(9_000, 12_000) {
        if old.send(tag).await.is_err() {
            break;
        }
    }
    assert_rejected(&old, TOO_LARGE).await;
    reached(&old.session, Reconnecting).await;
    // Each time: it is not forgotten that they are not there.
    let again = rig.join("a", "third").await;
    configure(&again, &large()).await;
    for (_, tag) in large().media(0, 3_000) {
        if again.send(tag).await.is_err() {
            break;
        }
    }
    assert_rejected(&again, TOO_LARGE).await;
    reached(&again.session, Reconnecting).await;
    let back = rig.join("a", "fourth").await;
    back.send(source.audio_config()).await.expect("taken");
    send(&back, &source, 0, 9_000).await;
    reached(&back.session, Live).await;
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn parameter_sets_that_come_one_by_one_before_the_takeover_are_the_sessions() {
    for first_leaves in [false, true] {
        let rig = Rig::new().await;
        let mut old = Some(running(&rig, spec("a")).await);
        let new = rig.join("a", "second").await;
        let [sps, pps] = second().parameter_sets();
        new.send(second().audio_config()).await.expect("taken");
        new.send(video(&[sps], 0)).await.expect("taken");
        if first_leaves {
            drop(old.take());
        }
        new.send(video(&[pps], 0)).await.expect("taken");
        send(&new, &second(), 0, 3_000).await;
        if let Some(old) = old {
            assert_eq!(old.closed().await, CloseReason::TakenOver);
        }
        assert_eq!(shape(&listed(&new.session, 2).await[0]), "ss|s");
        assert!(!is_told(&new).await);
        rig.shut_down(Stop::End).await;
    }
}

#[tokio::test]
async fn parameter_sets_with_a_picture_that_is_no_keyframe_are_the_sessions() {
    let rig = Rig::new().await;
    let old = running(&rig, spec("a")).await;
    let new = rig.join("a", "second").await;
    let [sps, pps] = second().parameter_sets();
    new.send(second().audio_config()).await.expect("taken");
    // As with intra refresh: a point to begin at that is no IDR picture.
    new.send(video(&[sps, pps, &[0x41, 1, 2, 3]], 0)).await.expect("taken");
    send(&new, &second(), 33, 5_000).await;
    assert_eq!(old.closed().await, CloseReason::TakenOver);
    assert_eq!(shape(&listed(&new.session, 2).await[0]), "ss|s");
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn nobody_pays_for_what_another_one_sent() {
    let rig = Rig::new().await;
    let old = running(&rig, frugal()).await;
    let new = rig.join("a", "second").await;
    configure(&new, &second()).await;
    send(&new, &second(), 500, 1_000).await;
    // The first is turned out for it, and who waited is not.
    old.send(picture(600_000, 3_000)).await.expect("the session sees for itself");
    assert_rejected(&old, TOO_MUCH).await;
    send(&new, &second(), 1_000, 2_000).await;
    new.send(video(&[&[0x65; 100_000]], 2_000)).await.expect("taken");
    send(&new, &second(), 2_001, 5_000).await;
    assert_eq!(shape(&listed(&new.session, 2).await[0]), "ss|s");
    assert!(!is_told(&new).await);
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn sound_of_the_first_that_was_on_its_way_is_not_the_newcomers() {
    let rig = Rig::new().await;
    let old = running(&rig, frugal()).await;
    // It waits for the pictures that belong to it.
    let sound = AudioTag::frame(AudioCodec::Aac, vec![1; 600_000].into()).to_body();
    old.send(Tag { kind: TagKind::Audio, timestamp_ms: 3_002, data: sound }).await.expect("taken");
    let new = rig.join("a", "second").await;
    new.play(&second(), 5_000).await;
    assert_eq!(old.closed().await, CloseReason::TakenOver);
    assert_eq!(shape(&listed(&new.session, 3).await[usize::from(AUDIO.0)]), "ss|ss");
    assert!(!is_told(&new).await);
    rig.shut_down(Stop::End).await;
}
