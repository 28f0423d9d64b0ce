//! The start, on what an earlier daemon left.

use super::*;
use crate::config::Overrides;
use crate::control::NewStream;
use crate::live::SessionState;
use crate::media::Kind;
use crate::media::segment::Rendition;
use crate::store::Finish;

fn config(folder: &std::path::Path) -> Config {
    let file =
        "[http]\nlisten = \"127.0.0.1:0\"\n[rtmp]\nlisten = \"127.0.0.1:0\"\n[ladder]\npreset = \"passthrough\"\n";
    let flags = Overrides { data_dir: Some(folder.display().to_string()) };
    Config::parse(&flags, [], Some(("a.toml", file))).expect("valid")
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
        segment_target: crate::media::Span::from_secs(2),
        part_target: crate::media::Span::from_millis(334),
    }
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

    let daemon = Daemon::start(config.clone()).await.expect("it starts");
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
