//! The start, on what an earlier daemon left.

use tokio::sync::oneshot;

use super::*;
use crate::config::Overrides;
use crate::control::NewStream;
use crate::live::SessionState;
use crate::media::segment::{Init, Part, Rendition, RenditionId, SegmentEnd, SegmentStart};
use crate::media::{Kind, Output, Span, Timestamp, Track, VideoTrack, WallTime};
use crate::store::{Finish, SessionWriter};

fn config(folder: &std::path::Path) -> Config {
    let listen = |section: &str| format!("[{section}]\nlisten = \"127.0.0.1:0\"\n");
    let file = ["http", "rtmp", "srt"].map(listen).concat() + "[ladder]\npreset = \"passthrough\"\n";
    let flags = Overrides { data_dir: Some(folder.display().to_string()) };
    Config::parse(&flags, [], Some(("a.toml", &file))).expect("valid")
}

fn head(stream: &str, session: &str) -> SessionHead {
    let rendition = |name: &str, kind| Rendition {
        name: name.to_owned(),
        kind,
        copied: true,
        bandwidth: 1_000_000,
        frame_rate: None,
    };
    SessionHead {
        stream: stream.to_owned(),
        session: session.to_owned(),
        epoch: 1,
        renditions: [rendition("source", Kind::Video), rendition("audio", Kind::Audio)].into(),
        segment_target: Span::from_secs(2),
        part_target: Span::from_millis(334),
    }
}

/// A daemon whose metrics nobody reads: a process has but one that does.
async fn start(config: &Config) -> Daemon {
    let (metrics, _) = Metrics::detached().expect("the settings are ours");
    Daemon::start(config.clone(), metrics).await.expect("it starts")
}

#[tokio::test]
async fn what_only_one_side_takes_for_open_is_ended_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, clock) = (config(folder.path()), SystemClock::shared());
    let control = Control::open(&config.data_dir, clock.clone()).await.expect("a database");
    let (store, _) = Store::open(store_settings(&config), clock.clone()).await.expect("a store");
    let mut rows = Vec::new();
    for name in ["both", "database", "journal"] {
        let stream = control.create_stream(NewStream { name: name.to_owned(), ..NewStream::default() }).await;
        rows.push(control.begin_session(&stream.expect("made").id).await.expect("begun"));
    }
    for row in [&rows[0], &rows[2]] {
        let writer = store.begin(head(row.stream_id.as_str(), row.id.as_str())).expect("begun");
        writer.finish(Finish::Suspended).expect("suspended");
    }
    control.end_session(&rows[2].id).await.expect("ended");
    store.close(Duration::ZERO).await.expect("closed");
    control.close().await;
    drop((store, control));

    let daemon = start(&config).await;
    let open = daemon.control.open_sessions().await.expect("a list");
    assert_eq!(open.iter().map(|row| (&row.id, row.epoch)).collect::<Vec<_>>(), [(&rows[0].id, 2)]);
    let resumed = daemon.sessions.find(rows[0].stream_id.as_str()).expect("it goes on");
    assert_eq!(resumed.state(), SessionState::Reconnecting);
    assert_eq!(daemon.sessions.all().len(), 1);
    drop(resumed);
    // A task that nobody can do without panics: the daemon stops in order, and says so to whoever started it. Nothing ends for
    // viewers, whatever a signal would do.
    daemon.errand("changes", async { panic!("a broken assumption") });
    let stopped = until_stopped(daemon, async || std::future::pending().await, true);
    let stopped = tokio::time::timeout(Duration::from_secs(60), stopped).await.expect("it stops by itself");
    let words = stopped.expect_err("it did not want to stop").to_string();
    assert!(words.contains("its task `changes` has panicked"), "{words}");

    let (store, recovered) = Store::open(store_settings(&config), clock.clone()).await.expect("a store");
    let mut ended: Vec<_> = recovered.iter().map(|session| (session.head.session.as_str(), session.ended)).collect();
    ended.sort_unstable();
    assert_eq!(ended, [(rows[0].id.as_str(), false), (rows[2].id.as_str(), true)]);
    let control = Control::open(&config.data_dir, clock.clone()).await.expect("a database");
    let row = control.session(&rows[0].id).await.expect("known");
    assert_eq!(row.state, SessionState::Reconnecting, "what was told while it stopped was written");
    drop(store);
}

/// A segment of each rendition, in the journal. What a session lists does not depend on what is in it.
fn append_segment(writer: &mut SessionWriter, rendition: RenditionId) {
    let track = Arc::new(Track::Video(VideoTrack::plain(640, 360, (30, 1))));
    let (at, wall, duration) = (Timestamp::ZERO, WallTime::default(), Span::from_secs(2));
    let (msn, epoch, init, discontinuity, gap) = (0, 1, 0, false, false);
    let (index, samples, last_pts, independent) = (0, 60, Timestamp::ZERO, true);
    for output in [
        Output::Init(Init { rendition, number: init, track, bytes: "init".into() }),
        Output::Open(SegmentStart { rendition, msn, epoch, at, wall, discontinuity, gap, init }),
        Output::Part(Part {
            rendition,
            msn,
            epoch,
            index,
            samples,
            duration,
            last_pts,
            independent,
            bytes: "media".into(),
        }),
        Output::Close(SegmentEnd { rendition, msn, duration }),
    ] {
        writer.append(&output).expect("journalled");
    }
}

/// A daemon that goes on with a session of which two segments are listed, and the path of one of its playlists.
async fn resumed(config: &Config) -> (Daemon, String) {
    let clock = SystemClock::shared();
    let control = Control::open(&config.data_dir, clock.clone()).await.expect("a database");
    let stream = control.create_stream(NewStream { name: "a".to_owned(), ..NewStream::default() }).await.expect("made");
    let row = control.begin_session(&stream.id).await.expect("begun");
    let (store, _) = Store::open(store_settings(config), clock).await.expect("a store");
    let mut writer = store.begin(head(stream.id.as_str(), row.id.as_str())).expect("begun");
    [RenditionId(0), RenditionId(1)].into_iter().for_each(|rendition| append_segment(&mut writer, rendition));
    writer.finish(Finish::Suspended).expect("suspended");
    store.close(Duration::ZERO).await.expect("closed");
    control.close().await;
    drop(store);
    let daemon = start(config).await;
    (daemon, format!("/live/{}/{}/source/index.m3u8", stream.id, row.id))
}

#[tokio::test]
async fn viewers_are_told_of_the_end_before_http_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (daemon, path) = resumed(&config(folder.path())).await;
    let url = format!("http://{}{path}", daemon.http);
    let read = async || reqwest::get(&url).await.expect("HTTP is served").text().await.expect("a text");
    assert!(!read().await.contains("#EXT-X-ENDLIST"));
    let (waits, waited_for) = oneshot::channel();
    let (over, goes_on) = oneshot::channel::<()>();
    let asked = Instant::now();
    let stopped = tokio::spawn(daemon.stop_with(Stop::End, move |until| async move {
        waits.send(until).expect("somebody listens");
        let _ = goes_on.await;
    }));
    let until = waited_for.await.expect("viewers are given time");
    assert!(until >= asked + Duration::from_secs(3), "a target duration and a second from ENDLIST on");
    assert!(read().await.ends_with("#EXT-X-ENDLIST\n"), "{}", read().await);
    over.send(()).expect("it waits");
    stopped.await.expect("it stops");
    reqwest::get(&url).await.expect_err("nobody answers any more");
}

#[tokio::test]
async fn nobody_is_waited_for_when_no_session_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path());
    let never = |_: Instant| async { panic!("there is nothing to tell viewers") };
    start(&config).await.stop_with(Stop::End, never).await;
    let (daemon, _) = resumed(&config).await;
    daemon.stop_with(Stop::Suspend, never).await;
}
