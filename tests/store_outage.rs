//! When the object store or the disk fails: live goes on, nothing absent is ever named, and work resumes by itself.

mod store_support;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use millstream::clock::Clock;
use millstream::store::{Filesystem, Finish, StoreError, TraceBegin};
use millstream::telemetry::Metrics;
use millstream::telemetry::trace::{Traces, queue, resource};
use store_support::disk::{HeldDisk, Mood};
use store_support::*;

#[tokio::test(start_paused = true)]
async fn an_outage_costs_nothing_and_playlists_catch_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-0.m4s")).await;
    until_playlist(&store, "s1", None, |text| !text.is_empty()).await;
    until_uploaded(&store).await;

    objects.fail(|_| true);
    for msn in 1..60 {
        append_segment(&mut writer, 1, msn);
    }
    until(&store, |stats| stats.object_failures > 50 && stats.alarms.objects).await;
    bench.clock.advance(Duration::from_secs(600));
    let stats = store.stats();
    assert_eq!((stats.backlog_objects, stats.append_failures, stats.lost_segments), (118, 0, 0));
    assert_eq!(stats.backlog_oldest, Duration::from_secs(598));
    assert_eq!(read_segment(&store, "s1", VIDEO, 1, 59).await, Some(segment_bytes(VIDEO, 59)));

    objects.succeed();
    until_uploaded(&store).await;
    for rendition in RENDITIONS {
        until_playlist(&store, "s1", Some(rendition), |text| text.contains("1-59.m4s")).await;
    }
    for msn in 0..60 {
        for (rendition, name) in [(VIDEO, "720p"), (AUDIO, "audio")] {
            let key = format!("live/stream1/s1/{name}/1-{msn}.m4s");
            assert_eq!(objects.bytes(&key).await, segment_bytes(rendition, msn), "{key}");
        }
    }
    assert_eq!(objects.violations(), [""; 0]);
    assert!(!store.stats().alarms.objects);
}

#[tokio::test(start_paused = true)]
async fn playlists_never_name_what_is_absent_whatever_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    objects.slow(Duration::from_millis(900));
    // Two requests in three fail, by a rule that hits every kind of key.
    let mut count = 0_u32;
    objects.fail(move |_| {
        count += 1;
        !count.is_multiple_of(3)
    });
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    for msn in 0..40 {
        append_segment(&mut writer, 1, msn);
        bench.clock.advance(Duration::from_secs(2));
        tokio::time::sleep(Duration::from_secs(2)).await; // virtual
    }
    writer.finish(Finish::Ended).expect("finished");
    for rendition in RENDITIONS {
        until_playlist(&store, "s1", Some(rendition), |text| text.contains("#EXT-X-ENDLIST")).await;
    }
    // Retention was at work meanwhile, or is now: how long a request is tried is chance.
    bench.clock.advance(Duration::from_secs(60));
    until(&store, |stats| stats.deletes > 0).await;
    assert_eq!(objects.violations(), [""; 0]);
}

#[tokio::test]
async fn a_playlist_waits_for_the_oldest_and_lists_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-0.m4s")).await;
    // Segment 1 of video does not get through; 2 and 3 do.
    objects.fail(|key| key.ends_with("720p/1-1.m4s"));
    for msn in 1..4 {
        append_segment(&mut writer, 1, msn);
    }
    until(&store, |stats| stats.backlog_objects == 1).await;
    until_playlist(&store, "s1", Some("audio"), |text| text.contains("1-3.m4s")).await;
    let video = until_playlist(&store, "s1", Some("720p"), |text| !text.is_empty()).await;
    assert_eq!(listed(&video), ["init-0.mp4", "1-0.m4s"]);
    objects.succeed();
    let video = until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-3.m4s")).await;
    assert_eq!(listed(&video), ["init-0.mp4", "1-0.m4s", "1-1.m4s", "1-2.m4s", "1-3.m4s"]);
    assert_eq!(objects.violations(), [""; 0]);
}

#[tokio::test]
async fn the_multivariant_playlist_comes_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    objects.fail(|key| key.ends_with("audio/index.m3u8"));
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    until(&store, |stats| stats.backlog_objects == 0 && stats.object_failures > 1).await;
    until_playlist(&store, "s1", Some("720p"), |text| !text.is_empty()).await;
    assert_eq!(store.read_playlist("stream1", "s1", None).await.expect("read"), None);
    objects.succeed();
    until_playlist(&store, "s1", None, |text| text.contains("720p/index.m3u8")).await;
    let order = objects.order.lock().expect("no panic").clone();
    let place = |key: &str| order.iter().position(|put| put == key).expect("was put");
    let multivariant = place("live/stream1/s1/index.m3u8");
    for rendition in RENDITIONS {
        let playlist = place(&format!("live/stream1/s1/{rendition}/index.m3u8"));
        assert!(place(&format!("live/stream1/s1/{rendition}/init-0.mp4")) < playlist && playlist < multivariant);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_gives_up_at_its_deadline_and_the_next_start_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    objects.hold();
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    writer.finish(Finish::Suspended).expect("finished");
    store.close(Duration::from_secs(8)).await.expect("closed");
    assert_eq!((store.stats().backlog_objects, objects.keys().await.len()), (4, 0));
    drop(store);
    objects.release(100);
    let (store, session) = bench.reopen().await;
    assert!(session.clean);
    until_playlist(&store, "s1", None, |text| !text.is_empty()).await;
    assert_eq!(store.stats().backlog_objects, 0);
}

#[tokio::test]
async fn a_closed_store_has_nothing_under_way_on_its_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(HeldDisk::default());
    let (bench, objects) = Bench::scripted(folder.path());
    objects.hold();
    let (store, _) = bench.with_disk(&disk).open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    disk.hold();
    objects.release(1); // and the journal takes note of what was put
    let noted = tokio::time::timeout(Duration::from_secs(60), disk.until_held()).await;
    let mut closing = std::pin::pin!(store.close(Duration::ZERO));
    // Nothing ends this wait early but a store that does not keep its word.
    let early = tokio::time::timeout(Duration::from_millis(300), &mut closing).await;
    disk.release();
    assert!(noted.is_ok() && early.is_err(), "{noted:?}, closed while a write was held: {}", early.is_ok());
    closing.await.expect("the disk is well");
    assert!(disk.is_at_rest());
}

#[tokio::test]
async fn a_full_disk_is_an_error_an_alarm_and_a_gap_and_passes() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FaultyDisk::default());
    let (bench, objects) = Bench::scripted(folder.path());
    let bench = bench.with_disk(&disk);
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    disk.set(Mood::Half(ErrorKind::StorageFull));
    for output in segment(VIDEO, 1, 1).iter().chain(&segment(AUDIO, 1, 1)) {
        let error = writer.append(output).expect_err("full");
        assert!(error.is_disk(), "{error}");
    }
    let stats = store.stats();
    assert_eq!((stats.append_failures, stats.lost_segments, stats.alarms.disk), (10, 2, true));
    // One write was tried; after it the disk is left in peace for a second.
    let tried = disk.writes.load(Ordering::SeqCst);
    disk.set(Mood::Well);
    assert!(writer.append(&open(VIDEO, 1, 2)).is_err());
    assert_eq!(disk.writes.load(Ordering::SeqCst), tried);
    bench.clock.advance(Duration::from_secs(1));
    // The open that failed is in the new file's snapshot.
    for output in &segment(VIDEO, 1, 2)[1..] {
        writer.append(output).expect("there is room again");
    }
    for output in segment(AUDIO, 1, 2) {
        writer.append(&output).expect("journalled");
    }
    assert!(!store.stats().alarms.disk);
    let playlist = until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-2.m4s")).await;
    assert_eq!(listed(&playlist), ["init-0.mp4", "1-0.m4s", "1-2.m4s"]);
    assert!(playlist.contains("#EXT-X-GAP\n#EXTINF:2.00000,\n1-1.m4s\n"), "{playlist}");
    until_uploaded(&store).await;
    assert_eq!(objects.violations(), [""; 0]);

    // A daemon that comes after it knows the same.
    drop(writer);
    drop(store);
    let (_store, session) = bench.reopen().await;
    let gaps: Vec<_> = session.renditions[1].segments.iter().map(|it| (it.msn, it.gap)).collect();
    assert_eq!((session.next_msn, gaps), (3, vec![(0, false), (1, true), (2, false)]));
}

#[tokio::test]
async fn the_alarm_of_a_disk_that_works_again_ends_also_when_nobody_writes() {
    let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FaultyDisk::default());
    let bench = Bench::in_memory(folder.path()).with_disk(&disk);
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    disk.set(Mood::Half(ErrorKind::StorageFull));
    assert!(writer.append(&init(VIDEO, 0)).expect_err("full").is_disk());
    assert!(writer.finish(Finish::Ended).expect_err("full").is_disk());
    assert!(store.stats().alarms.disk);
    // Time passes: faults are counted from when they are seen first.
    let passing = async {
        loop {
            bench.clock.advance(Duration::from_secs(5));
            tokio::task::yield_now().await;
        }
    };
    let mut passing = std::pin::pin!(passing);
    // Whoever looks after the disk panics, and looks again.
    disk.set(Mood::Trap);
    let counted = "\nmillstream_stage_panics_total{stage=\"proof\"} ";
    let tripped = async {
        while !metrics.render().contains(counted) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        tripped = tokio::time::timeout(Duration::from_secs(60), tripped) => tripped.expect("the disk is looked at"),
        () = &mut passing => {}
    }
    assert!(store.stats().alarms.disk);
    disk.set(Mood::Well);
    tokio::select! {
        () = until(&store, |stats| !stats.alarms.disk) => {}
        () = passing => {}
    }
    assert!(!folder.path().join("spool/millstream-probe").exists());
}

#[tokio::test]
async fn a_read_only_disk_lets_a_new_session_begin_and_not_an_old_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FaultyDisk::default());
    let bench = Bench::in_memory(folder.path()).with_disk(&disk);
    let (store, _) = bench.open().await;
    store.begin(head("s1", 1)).expect("begun").finish(Finish::Suspended).expect("finished");
    disk.set(Mood::ReadOnly);
    let refused = store.begin(head("s1", 2)).expect_err("its epoch cannot be raised");
    assert!(refused.is_disk(), "{refused}");
    let mut writer = store.begin(head("s2", 1)).expect("begun without a journal");
    assert!(writer.append(&init(VIDEO, 0)).expect_err("read-only").is_disk());
    disk.set(Mood::Well);
    bench.clock.advance(Duration::from_secs(1));
    writer.append(&init(AUDIO, 0)).expect("journalled");
    append_segment(&mut writer, 1, 0);
    until_playlist(&store, "s2", None, |text| !text.is_empty()).await;
    store.begin(head("s1", 2)).expect("resumed");
}

#[tokio::test]
async fn a_failed_sync_raises_the_alarm_and_moves_to_a_new_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FaultyDisk::default());
    let bench = Bench::in_memory(folder.path()).with_disk(&disk);
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    disk.set(Mood::Unsynced);
    append_segment(&mut writer, 1, 0);
    assert!(store.close(Duration::from_secs(60)).await.expect_err("not durable").is_disk());
    assert!(store.stats().alarms.disk);
    disk.set(Mood::Well);
    append_segment(&mut writer, 1, 1);
    assert!(!store.stats().alarms.disk);
    assert!(folder.path().join("spool/stream1/s1/0000000002.journal").exists());
}

#[tokio::test]
async fn a_full_spool_drops_the_oldest_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut bench, objects) = Bench::scripted(folder.path());
    bench.settings.spool_max_bytes = 400_000;
    objects.hold();
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    for msn in 0..100 {
        append_segment(&mut writer, 1, msn);
        assert!(store.stats().spool_bytes < 400_000 + 20_000, "the bound holds but for a snapshot");
    }
    let stats = store.stats();
    assert!(stats.alarms.spool_full && stats.lost_segments > 20, "{stats:?}");
    assert_eq!(stats.append_failures, 0);
    assert_eq!(read_segment(&store, "s1", VIDEO, 1, 0).await, None);
    assert_eq!(read_segment(&store, "s1", VIDEO, 1, 99).await, Some(segment_bytes(VIDEO, 99)));

    objects.release(1_000);
    let playlist = until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-99.m4s")).await;
    assert_eq!(listed(&playlist), ["init-0.mp4", "1-96.m4s", "1-97.m4s", "1-98.m4s", "1-99.m4s"]);
    append_segment(&mut writer, 1, 100);
    until(&store, |stats| stats.backlog_objects == 0 && !stats.alarms.spool_full).await;
    assert_eq!(objects.violations(), [""; 0]);
}

#[tokio::test]
async fn stored_media_makes_room_without_an_alarm() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::in_memory(folder.path());
    bench.settings.spool_max_bytes = 200_000;
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    for msn in 0..60 {
        append_segment(&mut writer, 1, msn);
        until_uploaded(&store).await;
    }
    let stats = store.stats();
    assert_eq!((stats.lost_segments, stats.append_failures, stats.alarms.spool_full), (0, 0, false));
    assert_eq!(read_segment(&store, "s1", VIDEO, 1, 0).await, Some(segment_bytes(VIDEO, 0)));
}

#[tokio::test]
async fn a_journal_deleted_under_us_costs_what_is_not_at_hand_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    objects.fail(|_| true);
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    for msn in 0..3 {
        append_segment(&mut writer, 1, msn);
    }
    std::fs::remove_file(folder.path().join("spool/stream1/s1/0000000001.journal")).expect("removed");
    objects.succeed();
    until(&store, |stats| stats.backlog_objects == 0).await;
    let stats = store.stats();
    assert_eq!((stats.lost_segments, stats.alarms.disk), (2, true), "the oldest of both renditions");
    assert_eq!(read_segment(&store, "s1", VIDEO, 1, 1).await, Some(segment_bytes(VIDEO, 1)));
}

#[tokio::test]
async fn a_part_beyond_the_bound_is_refused_and_its_segment_is_a_gap() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::in_memory(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    writer.append(&open(VIDEO, 1, 0)).expect("journalled");
    let millstream::media::Output::Part(mut huge) = part(VIDEO, 1, 0, 0) else { panic!("a part") };
    huge.bytes = vec![0; 33 << 20].into();
    let refused = writer.append(&millstream::media::Output::Part(huge)).expect_err("refused");
    assert!(matches!(refused, StoreError::TooLarge { what: "a part", .. }), "{refused}");
    writer.append(&close(VIDEO, 0)).expect("journalled");
    assert_eq!(store.stats().lost_segments, 1);
}

/// A file system whose syncs fail by order, and are counted.
#[derive(Debug, Default)]
struct ScriptedFilesystem {
    fails: AtomicBool,
    syncs: AtomicU64,
}

impl Filesystem for ScriptedFilesystem {
    fn sync(&self) -> std::io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn objects_of_a_folder_are_stored_once_one_sync_has_covered_them_and_are_put_again_when_it_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut bench, objects) = Bench::scripted(folder.path());
    let filesystem = Arc::new(ScriptedFilesystem::default());
    bench.backend.filesystem = Some(filesystem.clone());
    filesystem.fails.store(true, Ordering::SeqCst);
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    for msn in 0..5 {
        append_segment(&mut writer, 1, msn);
    }
    until(&store, |stats| stats.object_failures > 1 && stats.alarms.objects).await;
    let stats = store.stats();
    // Two inits and ten segments are there, and were more than once; nothing may say so before the disk has them.
    assert!(stats.puts.inits + stats.puts.segments > 12 && stats.puts.playlists == 0, "{stats:?}");
    assert_eq!((stats.backlog_objects, objects.violations()), (12, Vec::<String>::new()));
    let before = filesystem.syncs.load(Ordering::SeqCst);

    filesystem.fails.store(false, Ordering::SeqCst);
    until_uploaded(&store).await;
    for rendition in RENDITIONS {
        until_playlist(&store, "s1", Some(rendition), |text| text.contains("1-4.m4s")).await;
    }
    assert!(filesystem.syncs.load(Ordering::SeqCst) - before < 12, "one sync covers many objects");
    assert!(!store.stats().alarms.objects);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_upload_is_counted_and_tried_again_and_others_go_on() {
    let (metrics, recorder) = millstream::telemetry::Metrics::detached().expect("the settings are ours");
    let _guard = metrics::set_default_local_recorder(&recorder);
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    let mut once = true;
    objects.fail(move |key| {
        assert!(!(key.contains("s1/720p/1-0.") && std::mem::take(&mut once)), "a broken assumption, once");
        assert!(!key.contains("s1/720p/1-1."), "a broken assumption, each time");
        false
    });
    let mut bad = store.begin(head("s1", 1)).expect("begun");
    let mut good = store.begin(head("s2", 1)).expect("begun");
    for writer in [&mut bad, &mut good] {
        append_inits(writer);
        for msn in 0..3 {
            append_segment(writer, 1, msn);
        }
    }
    for session in ["s1", "s2"] {
        for rendition in RENDITIONS {
            until_playlist(&store, session, Some(rendition), |text| text.contains("1-2.m4s")).await;
        }
    }
    until_uploaded(&store).await;
    let keys = objects.keys().await;
    let lost: Vec<_> = (0..3).filter(|msn| !keys.contains(&format!("live/stream1/s1/720p/1-{msn}.m4s"))).collect();
    assert_eq!((lost, store.stats().lost_segments), (vec![1], 1), "tried again, and given up where nothing helps");
    assert_eq!(objects.violations(), [""; 0]);
    let text = metrics.render();
    assert!(text.contains("\nmillstream_stage_panics_total{stage=\"upload\"} 6\n"), "{text}");
}

#[tokio::test]
async fn a_panic_on_the_syncing_thread_loses_nothing_and_ends_no_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FaultyDisk::default());
    let mut bench = Bench::in_memory(folder.path()).with_disk(&disk);
    bench.settings.sync_every = Duration::from_millis(1);
    let (store, _) = bench.open().await;
    let mut writers = ["s1", "s2"].map(|session| store.begin(head(session, 1)).expect("begun"));
    writers.iter_mut().for_each(append_inits);
    let mut trapped = disk.trapped.subscribe();
    disk.set(Mood::TrappedSync);
    writers.iter_mut().for_each(|writer| append_segment(writer, 1, 0));
    let first = trapped.wait_for(|count| *count >= 1);
    tokio::time::timeout(Duration::from_secs(60), first).await.expect("the thread syncs").expect("the disk is held");
    disk.set(Mood::Well);
    for msn in 1..3 {
        writers.iter_mut().for_each(|writer| append_segment(writer, 1, msn));
    }
    for writer in writers {
        // A file that the thread had not synced when it was to be left is one whose durability is unknown.
        if let Err(unsure) = writer.finish(Finish::Suspended) {
            assert!(unsure.is_disk() && unsure.to_string().contains("sync"), "{unsure}");
        }
    }
    store.close(Duration::from_secs(60)).await.expect("the last commit goes through");
    let stats = store.stats();
    assert_eq!((stats.append_failures, stats.lost_segments), (0, 0), "{stats:?}");
    drop(store);
    let (_store, sessions) = bench.open().await;
    let held = sessions.iter().flat_map(|session| &session.renditions).map(|log| log.segments.len());
    assert_eq!(held.collect::<Vec<_>>(), [3; 4], "both sessions whole");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_objects_are_settled_is_counted_and_what_comes_next_is_stored() {
    let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
    let _guard = metrics::set_default_local_recorder(&recorder);
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FaultyDisk::default());
    let (bench, objects) = Bench::scripted(folder.path());
    let mut bench = bench.with_disk(&disk);
    bench.backend.filesystem = Some(Arc::new(ScriptedFilesystem::default()));
    objects.hold();
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    disk.set(Mood::Trap); // whatever is noted of a stored object panics
    objects.release(1_000);
    until_uploaded(&store).await;
    disk.set(Mood::Well);
    append_segment(&mut writer, 1, 1);
    for rendition in RENDITIONS {
        until_playlist(&store, "s1", Some(rendition), |text| text.contains("1-0.m4s") && text.contains("1-1.m4s"))
            .await;
    }
    writer.finish(Finish::Suspended).expect("finished");
    store.close(Duration::from_secs(60)).await.expect("closed");
    assert_eq!(objects.violations(), [""; 0]);
    let text = metrics.render();
    assert!(text.contains("\nmillstream_stage_panics_total{stage=\"settle\"} "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_playlist_whose_upload_panics_until_it_is_given_up_is_put_with_the_next_change() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    let (told, mut panics) = tokio::sync::watch::channel(0);
    objects.fail(move |key| {
        let now = key == "live/stream1/s1/720p/index.m3u8" && *told.borrow() < 5;
        if now {
            told.send_modify(|count| *count += 1);
            panic!("a broken assumption, until the job is given up");
        }
        false
    });
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    panics.wait_for(|count| *count == 5).await.expect("the store tries");
    tokio::time::sleep(Duration::from_secs(60)).await; // virtual: longer than the last pause
    append_segment(&mut writer, 1, 1);
    until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-1.m4s")).await;
}

#[tokio::test(start_paused = true)]
async fn the_delay_of_a_segment_runs_from_its_last_frame_until_it_is_stored() {
    let folder = tempfile::tempdir().expect("a folder");
    let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
    // This test's tasks run on its own thread.
    let _recorded = metrics::set_default_local_recorder(&recorder);
    let (bench, objects) = Bench::scripted(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    until_uploaded(&store).await;
    objects.fail(|_| true);
    let arrived = bench.clock.monotonic();
    for output in [open(VIDEO, 1, 0), part(VIDEO, 1, 0, 0)] {
        writer.append(&output).expect("journalled");
    }
    writer.arrived(VIDEO, 0, arrived, None);
    writer.append(&close(VIDEO, 0)).expect("journalled");
    // Nobody says when the last frame of the sound came in.
    segment(AUDIO, 1, 0).iter().for_each(|output| writer.append(output).expect("journalled"));
    until(&store, |stats| stats.object_failures > 3).await;
    bench.clock.advance(Duration::from_millis(61_250));
    objects.succeed();
    until_uploaded(&store).await;
    let text = metrics.render();
    let lines: Vec<_> = text.lines().filter(|line| line.contains("stored_seconds_sum{")).collect();
    assert_eq!(lines, ["millstream_ingest_to_stored_seconds_sum{rung=\"720p\"} 61.25"]);
    assert!(text.contains("stored_seconds_bucket{rung=\"720p\",le=\"60\"} 0\n"), "{text}");
    assert!(text.contains("stored_seconds_bucket{rung=\"720p\",le=\"300\"} 1\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_trace_of_a_segment_tells_how_long_it_waited_for_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut bench, objects) = Bench::scripted(folder.path());
    let (processor, mut spans) = queue(100);
    bench.settings.traces = Traces::to(processor, resource());
    let (store, _) = bench.open().await;
    assert!(store.is_traced());
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    until_uploaded(&store).await;
    objects.fail(|_| true);
    let pass = |millis| bench.clock.advance(Duration::from_millis(millis));
    let first = bench.clock.monotonic();
    pass(2_000);
    let last = bench.clock.monotonic();
    pass(50);
    let packaged = bench.clock.monotonic();
    for output in [open(VIDEO, 1, 0), part(VIDEO, 1, 0, 0)] {
        writer.append(&output).expect("journalled");
    }
    pass(3);
    writer.arrived(VIDEO, 0, last, Some(TraceBegin { first, packaged }));
    writer.append(&close(VIDEO, 0)).expect("journalled");
    // This one is measured and not traced.
    for output in [open(AUDIO, 1, 0), part(AUDIO, 1, 0, 0)] {
        writer.append(&output).expect("journalled");
    }
    writer.arrived(AUDIO, 0, last, None);
    writer.append(&close(AUDIO, 0)).expect("journalled");
    let failures = store.stats().object_failures;
    until(&store, |stats| stats.object_failures > failures + 5).await;
    pass(60_000);
    objects.succeed();
    until_uploaded(&store).await;
    let mut told = Vec::new();
    while let Ok(span) = spans.line.try_recv() {
        let took = span.end_time.duration_since(span.start_time).expect("it ends behind its begin").as_millis();
        if span.name == "upload" {
            let attempts = span.attributes.iter().find(|attribute| attribute.key.as_str() == "attempts");
            assert!(matches!(attempts.map(|found| &found.value), Some(opentelemetry::Value::I64(3..))), "{attempts:?}");
        }
        told.push((span.name.to_string(), took));
    }
    let expected = [("receive", 2_000), ("process", 50), ("journal", 3), ("upload", 60_000), ("segment", 62_053)];
    assert_eq!(told, expected.map(|(name, took)| (name.to_owned(), took)));
}
