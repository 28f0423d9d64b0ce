//! What breaks in one session ends that one, in order, and no other.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};

use millstream::config::preset::{AudioMode, Preset};
use millstream::listen::CloseReason;
use millstream::live::wiring::Stop;
use millstream::live::{SessionChange, SessionSpec, SessionState};
use millstream::media::Span;
use millstream::telemetry::Metrics;
use millstream::wire::flv::Tag;
use millstream::wire::flv::file::read_all;

use crate::ingest_support::Publisher;
use crate::rig::{Encoder, Rig, by, listed, reached, shape, spec, window, within};
use crate::tripwire::{Tripwire, tripped};

/// What `/metrics` says of this process, which runs all tests of this binary.
pub fn metrics() -> String {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| Metrics::install().expect("nobody else installs one")).render()
}

/// Panics of stages of this role so far.
fn panics(role: &str) -> u64 {
    let line = format!("millstream_stage_panics_total{{stage=\"{role}\"}} ");
    metrics().lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or(0)
}

/// One rung of 320x180 and its audio.
const PRESET: &str = r#"
decode_threads = 1
[[rung]]
name = "180p"
mode = "encode"
width = 320
height = 180
bitrate = "200k"
maxrate = "240k"
buffer = "200k"
[rung.x264]
preset = "ultrafast"
profile = "main"
threads = 1
bframes = 0
lookahead = 0
[audio]
mode = "encode"
bitrate = "64k"
sample_rate = 48000
channels = 2
"#;

/// 5 s of 320x180, made by ffmpeg.
pub fn real_source() -> Vec<Tag> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("source.flv");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/source.sh");
    let made = Command::new(script).args(["320", "180", "30", "5", "200"]).arg(&path).status();
    assert!(made.expect("the script runs").success());
    read_all(&std::fs::read(&path).expect("a file")).expect("an FLV file")
}

pub fn encoded(stream: &str, change: impl FnOnce(&mut Preset)) -> SessionSpec {
    let mut preset = Preset::parse("test", PRESET).expect("a preset");
    change(&mut preset);
    SessionSpec { preset: Arc::new(preset), ..spec(stream) }
}

/// Sends until the session takes no more.
pub async fn push(encoder: &Encoder, tags: &[Tag]) -> Result<(), CloseReason> {
    for tag in tags {
        encoder.send(tag.clone()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_encoder_that_refuses_ends_its_session_only() {
    let rig = Rig::new().await;
    let tags = real_source();
    let good = rig.start(encoded("good", |_| ())).await;
    let bad = rig
        .start(encoded("bad", |preset| {
            let encode = preset.rungs[0].encode.as_mut().expect("an encoded rung");
            encode.x264.preset = "no such preset".to_owned();
        }))
        .await;
    // How much of it the bad session takes depends on when its encoder's refusal is heard.
    let _ = push(&bad, &tags).await;
    assert_eq!(bad.closed().await, CloseReason::Failed);
    reached(&bad.session, SessionState::Ended).await;
    assert!(window(&bad.session).await.ended(), "players are told that nothing follows");
    let gone = within("an answer", rig.sessions.connect("bad", by("first"))).await;
    assert!(gone.expect("nobody is in the way").is_none());
    assert_eq!(rig.told_of("bad").last(), Some(&SessionState::Ended));

    push(&good, &tags).await.expect("all of it is taken");
    rig.sessions.end("good").await;
    for list in listed(&good.session, 2).await {
        assert_eq!(shape(&list), "sss");
    }
    let (_rig, recovered) = rig.restart(Stop::Suspend).await;
    assert!(recovered.iter().all(|session| session.ended), "{recovered:#?}");
}

#[tokio::test]
async fn an_encoded_session_is_suspended_and_resumed() {
    let rig = Rig::new().await;
    let tags = real_source();
    let encoder = rig.start(encoded("a", |_| ())).await;
    push(&encoder, &tags).await.expect("all of it is taken");
    let (rig, mut recovered) = rig.restart(Stop::Suspend).await;
    let recovered = recovered.pop().expect("the session is in the journal");
    rig.sessions.resume(SessionSpec { epoch: 2, ..encoded("a", |_| ()) }, recovered).expect("it is resumed");
    let encoder = rig.join("a", "first").await;
    push(&encoder, &tags).await.expect("all of it is taken");
    rig.shut_down(Stop::End).await;
    for list in listed(&encoder.session, 5).await {
        assert_eq!(shape(&list), "sss|sss");
    }
}

#[tokio::test]
async fn a_panic_on_the_intake_thread_ends_its_session_only() {
    let rig = Rig::with(|event| {
        assert!(
            event.stream != "bad" || event.change != SessionChange::State(SessionState::Live),
            "whoever is told panics"
        );
    })
    .await;
    let (good, bad) = (rig.start(spec("good")).await, rig.start(spec("bad")).await);
    let tags = [Publisher::default().video_config(), Publisher::default().audio_config()];
    let media = Publisher::default().media(0, 3_000).into_iter().map(|(_, tag)| tag);
    let _ = push(&bad, &tags.into_iter().chain(media).collect::<Vec<_>>()).await;
    assert_eq!(bad.closed().await, CloseReason::Failed);
    reached(&bad.session, SessionState::Ended).await;
    assert!(window(&bad.session).await.ended());
    within("ending what has ended", rig.sessions.end("bad")).await;
    assert_eq!(rig.told_of("bad"), [SessionState::Live, SessionState::Ended]);
    good.play(&Publisher::default(), 5_000).await;
    listed(&good.session, 1).await;
    rig.shut_down(Stop::End).await;
}

#[tokio::test]
async fn a_panic_in_any_stage_ends_its_session_in_words_and_no_other() {
    metrics(); // installed before anybody counts
    let wire = Arc::<Tripwire>::default();
    let rig = Rig::tripped(&wire).await;
    let tags = real_source();
    let (first, rest) = tags.split_at(tags.len() / 2);
    let good = rig.start(encoded("good", |_| ())).await;
    push(&good, first).await.expect("all of it is taken");
    for (stream, thread, role) in [
        ("s1", "intake-s1-1", "intake"),
        ("s2", "dec-s2-1", "dec"),
        ("s3", "enc-180p-s3-1", "enc"),
        ("s4", "enc-audio-s4-1", "enc"),
        ("s5", "package-s5-1", "package"),
        ("s6", "store-s6-1", "store"),
        // Without encoders there is no thread to package.
        ("s7", "intake-s7-1", "package"),
    ] {
        let packages_here = role == "package" && thread.starts_with("intake-");
        // Package has a thread behind encoders, and is the last to hold the publisher's own memory of what is copied.
        let spec = if packages_here {
            spec(stream)
        } else {
            encoded(stream, |preset| {
                if role == "package" {
                    preset.audio.mode = AudioMode::Copy;
                }
            })
        };
        let bad = rig.start(spec).await;
        let before = panics(role);
        let (first, rest) = (tripped(first, &wire), tripped(rest, &wire));
        for tag in first {
            bad.send(tag).await.expect("all of it is taken");
        }
        let seen = window(&bad.session).await;
        // Every stage is at its work by then. Until its session's beginning is durable the store's thread waits for the disk,
        // and a panic in there is a failed sync, which ends no session.
        listed(&bad.session, 0).await;
        if packages_here {
            wire.set_last(thread);
        } else {
            wire.set(thread);
        }
        // How much of it is taken depends on when the panic is heard of. Nothing of it stays here: the stages hold it last.
        for tag in rest {
            if bad.send(tag).await.is_err() {
                break;
            }
        }
        assert_eq!(bad.closed().await, CloseReason::Failed, "{thread}: its publisher is told");
        reached(&bad.session, SessionState::Ended).await;
        assert!(seen.ended(), "{thread}: players are told that nothing follows");
        within("its threads are through", rig.sessions.end(stream)).await;
        assert_eq!(rig.told_of(stream).last(), Some(&SessionState::Ended), "{thread}: an event says so");
        assert!(panics(role) > before, "{thread}: a metric says so");
        let next = within("an answer", rig.sessions.connect(stream, by("first"))).await;
        assert!(next.expect("nobody is in the way").is_none(), "{thread}: the next publish begins anew");
        assert_eq!(good.session.state(), SessionState::Live);
    }
    push(&good, rest).await.expect("all of it is taken");
    rig.sessions.end("good").await;
    for list in listed(&good.session, 2).await {
        assert_eq!(shape(&list), "sss");
        let held = list.iter().filter_map(|segment| segment.duration).sum::<Span>();
        assert!((held - Span::from_secs(5)).to_millis().abs() < 40, "{held} of 5 s");
    }
}
