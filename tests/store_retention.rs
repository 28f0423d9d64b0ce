//! What goes, when it goes, and that nothing else does. Time is moved by hand.

mod store_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::clock::{Clock, ManualClock};
use millstream::media::WallTime;
use millstream::media::naming::MediaName;
use millstream::store::{Finish, Store};
use millstream::telemetry::Metrics;
use object_store::ObjectStoreExt;
use store_support::*;

/// Keys of the stored video segments, by MSN.
async fn stored_video(objects: &ScriptedObjects) -> Vec<u64> {
    let keys = objects.keys().await;
    let names = keys.iter().filter_map(|key| key.strip_prefix("live/stream1/s1/720p/1-"));
    let mut numbers: Vec<u64> = names.map(|name| name.trim_end_matches(".m4s").parse().expect("an MSN")).collect();
    numbers.sort_unstable();
    numbers
}

/// Segments as they come in real time, each with its playlist.
async fn stream(
    bench: &Bench,
    store: &Arc<Store>,
    writer: &mut millstream::store::SessionWriter,
    msns: std::ops::Range<u64>,
) {
    for msn in msns {
        append_segment(writer, 1, msn);
        for rendition in RENDITIONS {
            until_playlist(store, "s1", Some(rendition), |text| text.contains(&format!("1-{msn}.m4s"))).await;
        }
        bench.clock.advance(Duration::from_secs(2));
    }
}

/// Lets retention look, twice to be sure that what the first look ordered is done.
async fn let_retention_look(store: &Store) {
    tokio::time::sleep(Duration::from_secs(3)).await; // virtual
    until(store, |stats| stats.backlog_objects == 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
}

/// A clock that panics when it is told to, once.
#[derive(Debug)]
struct Trap(Arc<ManualClock>, AtomicBool);

impl Clock for Trap {
    fn monotonic(&self) -> Duration {
        assert!(!self.1.swap(false, Ordering::SeqCst), "a broken assumption");
        self.0.monotonic()
    }

    fn wall(&self) -> WallTime {
        self.0.wall()
    }

    fn pause_until(&self, deadline: Duration) -> Duration {
        self.0.pause_until(deadline)
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_panics_is_counted_and_the_next_one_does_its_work() {
    let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
    let _guard = metrics::set_default_local_recorder(&recorder);
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let clock = Arc::new(Trap(bench.clock.clone(), AtomicBool::new(false)));
    let opened =
        Store::open_with(bench.settings.clone(), clock.clone(), bench.backend.clone(), bench.files.clone()).await;
    let (store, _) = opened.expect("the store opens");
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    writer.finish(Finish::Ended).expect("ended");
    let_retention_look(&store).await;
    clock.1.store(true, Ordering::SeqCst);
    let_retention_look(&store).await;
    let text = metrics.render();
    assert!(text.contains("\nmillstream_stage_panics_total{stage=\"retention\"} 1\n"), "{text}");
    bench.clock.advance(Duration::from_secs(601));
    let_retention_look(&store).await;
    assert_eq!(objects.keys().await, [""; 0], "the ended session is gone");
}

#[tokio::test(start_paused = true)]
async fn a_segment_goes_a_window_a_playlist_and_a_segment_after_it_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    // The window of 8 s lists 4 segments: segment 0 leaves when 4 is listed, at 8 s.
    stream(&bench, &store, &mut writer, 0..5).await;
    assert_eq!(stored_video(&objects).await, [0, 1, 2, 3, 4]);
    // Now it is 10 s. Segment 0 stays for 8 + 8 + 2 s from 8 s on.
    bench.clock.advance(Duration::from_millis(15_999));
    let_retention_look(&store).await;
    assert_eq!(stored_video(&objects).await, [0, 1, 2, 3, 4]);
    assert_eq!(store.stats().deletes, 0);
    bench.clock.advance(Duration::from_millis(1));
    let_retention_look(&store).await;
    assert_eq!(stored_video(&objects).await, [1, 2, 3, 4]);
    assert_eq!(store.stats().deletes, 2);
    // What is gone is gone for readers too, although the spool still has it, and nothing is asked of the store.
    assert_eq!(read_segment(&store, "s1", VIDEO, 1, 0).await, None);
    // Without new segments nothing leaves the playlist, and nothing more goes.
    bench.clock.advance(Duration::from_secs(3_600));
    let_retention_look(&store).await;
    assert_eq!(stored_video(&objects).await, [1, 2, 3, 4]);
    assert_eq!(objects.violations(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_from_the_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    stream(&bench, &store, &mut writer, 0..6).await;
    writer.finish(Finish::Suspended).expect("finished");
    store.close(Duration::from_secs(60)).await.expect("closed");
    drop(store);

    let (store, _session) = bench.reopen().await;
    until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-5.m4s")).await;
    let_retention_look(&store).await;
    assert_eq!(stored_video(&objects).await, [0, 1, 2, 3, 4, 5], "times begin anew");
    bench.clock.advance(Duration::from_secs(18));
    let_retention_look(&store).await;
    assert_eq!(stored_video(&objects).await, [2, 3, 4, 5]);
    drop(store);
    // What was deleted is not deleted again.
    let (store, _session) = bench.reopen().await;
    until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-5.m4s")).await;
    bench.clock.advance(Duration::from_secs(18));
    let_retention_look(&store).await;
    assert_eq!((store.stats().deletes, stored_video(&objects).await), (0, vec![2, 3, 4, 5]));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_fails_is_tried_until_it_succeeds() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    stream(&bench, &store, &mut writer, 0..5).await;
    objects.fail(|key| key.ends_with("1-0.m4s"));
    bench.clock.advance(Duration::from_secs(60));
    until(&store, |stats| stats.object_failures > 10).await;
    assert_eq!(stored_video(&objects).await, [0, 1, 2, 3, 4]);
    objects.succeed();
    until(&store, |stats| stats.deletes == 2).await;
    assert_eq!(stored_video(&objects).await, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn an_ended_session_stays_for_its_time_and_then_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    // Another session, and an object that the daemon never put, are not its to delete.
    let mut other = store.begin(head("s2", 1)).expect("begun");
    append_inits(&mut other);
    append_segment(&mut other, 1, 0);
    let foreign = "live/stream1/s1/720p/foreign.m4s";
    objects.put(&foreign.into(), "x".into()).await.expect("put");

    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    stream(&bench, &store, &mut writer, 0..3).await;
    writer.finish(Finish::Ended).expect("finished");
    for rendition in RENDITIONS {
        until_playlist(&store, "s1", Some(rendition), |text| text.contains("#EXT-X-ENDLIST")).await;
    }
    bench.clock.advance(Duration::from_secs(599));
    let_retention_look(&store).await;
    assert_eq!(stored_video_keys(&objects).await.len(), 5);
    let segment = store.read("stream1", "s1", "720p", MediaName::Segment { epoch: 1, msn: 2 }).await;
    assert_eq!(segment.expect("read"), Some(segment_bytes(VIDEO, 2)));

    bench.clock.advance(Duration::from_secs(1));
    let_retention_look(&store).await;
    until(&store, |stats| stats.spool_files == 1).await;
    let left: Vec<_> = objects.keys().await.into_iter().filter(|key| key.contains("/s1/")).collect();
    assert_eq!(left, [foreign]);
    assert!(objects.keys().await.iter().any(|key| key.contains("/s2/")));
    assert!(!folder.path().join("spool/stream1/s1").exists());
    assert_eq!(objects.violations(), [""; 0]);
}

async fn stored_video_keys(objects: &ScriptedObjects) -> Vec<String> {
    let keys = objects.keys().await;
    keys.into_iter().filter(|key| key.starts_with("live/stream1/s1/720p/") && !key.contains("foreign")).collect()
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_ended_session_goes_on_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    stream(&bench, &store, &mut writer, 0..2).await;
    writer.finish(Finish::Ended).expect("finished");
    store.close(Duration::from_secs(60)).await.expect("closed");
    drop(store);
    bench.clock.advance(Duration::from_secs(400));
    let (store, session) = bench.reopen().await;
    assert!(session.ended);
    bench.clock.advance(Duration::from_secs(199));
    let_retention_look(&store).await;
    assert!(!objects.keys().await.is_empty());
    assert_eq!(store.newest_ended("stream1").as_deref(), Some("s1"));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(store.newest_ended("stream1"), None, "nobody is led to what is about to go");
    let_retention_look(&store).await;
    until(&store, |stats| stats.spool_files == 0).await;
    assert_eq!(objects.keys().await, [""; 0]);
    drop(store);
    assert!(bench.open().await.1.is_empty());
}

#[tokio::test(start_paused = true)]
async fn of_the_sessions_that_ended_with_media_the_newest_is_found_also_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, _objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    // The names say nothing of the order.
    for (session, segments, how) in
        [("s3", 1, Finish::Ended), ("s2", 1, Finish::Ended), ("s4", 0, Finish::Ended), ("s5", 1, Finish::Suspended)]
    {
        let mut writer = store.begin(head(session, 1)).expect("begun");
        append_inits(&mut writer);
        (0..segments).for_each(|msn| append_segment(&mut writer, 1, msn));
        bench.clock.advance(Duration::from_secs(1));
        writer.finish(how).expect("finished");
    }
    assert_eq!(store.newest_ended("stream1").as_deref(), Some("s2"));
    assert_eq!(store.newest_ended("stream2"), None);
    store.close(Duration::from_secs(60)).await.expect("closed");
    drop(store);
    let (store, _) = bench.open().await;
    assert_eq!(store.newest_ended("stream1").as_deref(), Some("s2"));
}
