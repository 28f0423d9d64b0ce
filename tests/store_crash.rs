//! Ends without a goodbye: nothing that was appended is lost, and the session goes on where nobody was before.

mod store_support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millstream::media::naming::MediaName;
use millstream::media::{Output, Span};
use millstream::store::{Finish, RecoveredSession, ResumePoint, Store, StoreError};
use store_support::*;

/// The journal files of session `s1`, the oldest first.
fn journals(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("spool/stream1/s1")).expect("listed");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("listed").path()).collect();
    paths.sort();
    paths
}

/// MSN, duration in ms, gap.
fn segments(recovered: &RecoveredSession, rendition: usize) -> Vec<(u64, i64, bool)> {
    let segments = &recovered.renditions[rendition].segments;
    segments.iter().map(|it| (it.msn, it.duration.expect("closed").to_millis(), it.gap)).collect()
}

/// A daemon that was killed after three segments and `tail`. Uploads never got through.
async fn killed_after(folder: &Path, tail: &[Output]) -> Bench {
    let (bench, objects) = Bench::scripted(folder);
    objects.hold();
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 4)).expect("begun");
    append_inits(&mut writer);
    for msn in 0..3 {
        append_segment(&mut writer, 4, msn);
    }
    writer.checkpoint(&checkpoint(3)).expect("journalled");
    for output in tail {
        writer.append(output).expect("journalled");
    }
    drop(writer);
    drop(store);
    objects.release(1_000);
    bench
}

#[tokio::test]
async fn after_a_kill_everything_is_there_and_the_msn_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let tail = [open(VIDEO, 4, 3), part(VIDEO, 4, 3, 0), part(VIDEO, 4, 3, 1), open(AUDIO, 4, 3), part(AUDIO, 4, 3, 0)];
    let bench = killed_after(folder.path(), &tail).await;
    let (store, session) = bench.reopen().await;

    assert_eq!(session.head, head("s1", 4));
    assert_eq!((session.clean, session.power_was_cut, session.ended, session.next_msn), (false, false, false, 4));
    // The open segments were closed with the parts that were there.
    assert_eq!(segments(&session, 0), [(0, 2_000, false), (1, 2_000, false), (2, 2_000, false), (3, 1_333, false)]);
    assert_eq!(segments(&session, 1), [(0, 2_000, false), (1, 2_000, false), (2, 2_000, false), (3, 667, false)]);
    let video = &session.renditions[0];
    assert_eq!((video.media_sequence, video.discontinuity_sequence, video.next_init, video.ended), (0, 0, 1, false));
    assert_eq!((video.inits[0].number, &video.inits[0].bytes), (0, &init_bytes(VIDEO, 0)));
    assert_eq!(video.inits[0].track, track(VIDEO));
    assert_eq!(session.renditions[1].inits[0].track, track(AUDIO));
    let resume = session.resume.expect("cuts were written");
    let end = at(3) + part_duration() + part_duration();
    assert_eq!(resume, ResumePoint { timeline_at: end, next_msn: 4, anchor: (at(0), wall(0)) });

    // Everything is readable at once, and is uploaded without anybody's help.
    assert_eq!(read_segment(&store, "s1", VIDEO, 4, 2).await, Some(segment_bytes(VIDEO, 2)));
    until_uploaded(&store).await;
    let playlist = until_playlist(&store, "s1", Some("720p"), |text| text.contains("4-3.m4s")).await;
    assert!(playlist.contains("#EXTINF:1.33333,\n4-3.m4s\n") && !playlist.contains("ENDLIST"), "{playlist}");

    // It goes on under a higher epoch.
    let mut writer = store.begin(head("s1", 5)).expect("resumed");
    append_segment(&mut writer, 5, 4);
    let playlist = until_playlist(&store, "s1", Some("720p"), |text| text.contains("5-4.m4s")).await;
    assert!(playlist.contains("\n4-3.m4s\n"), "{playlist}");
}

#[tokio::test]
async fn an_open_segment_without_parts_is_as_if_it_had_not_been_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = killed_after(folder.path(), &[open(VIDEO, 4, 3), open(AUDIO, 4, 3)]).await;
    let (_store, session) = bench.reopen().await;
    assert_eq!(session.next_msn, 3);
    assert_eq!(segments(&session, 0), [(0, 2_000, false), (1, 2_000, false), (2, 2_000, false)]);
}

#[tokio::test]
async fn a_segment_opened_before_a_kill_does_not_stand_in_the_way_of_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = killed_after(folder.path(), &[open(VIDEO, 4, 3), open(AUDIO, 4, 3)]).await;
    let (store, session) = bench.reopen().await;
    assert_eq!(session.next_msn, 3);
    let mut writer = store.begin(head("s1", 5)).expect("resumed");
    append_segment(&mut writer, 5, 3);
    append_segment(&mut writer, 5, 4);
    drop((writer, store));
    // The journal now tells of two segments with this number, of which the first was never listed.
    let (store, session) = bench.reopen().await;
    assert_eq!(session.next_msn, 5);
    let epochs: Vec<_> = session.renditions[0].segments.iter().map(|it| (it.msn, it.epoch, it.gap)).collect();
    assert_eq!(epochs, [(1, 4, false), (2, 4, false), (3, 5, false), (4, 5, false)]);
    assert_eq!(read_segment(&store, "s1", VIDEO, 5, 3).await, Some(segment_bytes(VIDEO, 3)));
}

#[tokio::test]
async fn renditions_are_brought_to_the_same_msn() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = killed_after(folder.path(), &[open(AUDIO, 4, 3), open(VIDEO, 4, 3), part(VIDEO, 4, 3, 0)]).await;
    let (store, session) = bench.reopen().await;
    assert_eq!(session.next_msn, 4);
    assert_eq!(segments(&session, 0)[3], (3, 667, false));
    assert_eq!(segments(&session, 1)[3], (3, 667, true));
    assert_eq!(session.renditions[1].segments[3].wall, wall(3));
    until_uploaded(&store).await;
    let playlist = until_playlist(&store, "s1", Some("audio"), |text| text.contains("4-3.m4s")).await;
    assert!(playlist.ends_with("#EXT-X-GAP\n#EXTINF:0.66667,\n4-3.m4s\n"), "{playlist}");
}

#[tokio::test]
async fn a_suspended_session_is_clean_and_has_no_endlist() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::in_memory(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    for output in &segment(VIDEO, 1, 1)[..2] {
        writer.append(output).expect("journalled");
    }
    writer.finish(Finish::Suspended).expect("finished");
    store.close(Duration::from_secs(60)).await.expect("closed");
    drop(store);

    let (store, session) = bench.reopen().await;
    assert_eq!((session.clean, session.power_was_cut, session.ended, session.next_msn), (true, false, false, 2));
    assert_eq!(segments(&session, 0), [(0, 2_000, false), (1, 667, false)]);
    assert_eq!(segments(&session, 1), [(0, 2_000, false), (1, 667, true)]);
    assert_eq!(store.stats().backlog_objects, 0);
    let playlist = until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-1.m4s")).await;
    assert!(!playlist.contains("ENDLIST"));

    // When its grace time is over, it is ended without a writer.
    store.end_session("stream1", "s1").expect("ended");
    until_playlist(&store, "s1", Some("720p"), |text| text.contains("#EXT-X-ENDLIST")).await;
    until_playlist(&store, "s1", Some("audio"), |text| text.contains("#EXT-X-ENDLIST")).await;
    drop(store);
    let (_store, session) = bench.reopen().await;
    assert!(session.ended && session.clean && session.renditions.iter().all(|rendition| rendition.ended));
}

#[tokio::test]
async fn after_a_power_cut_the_first_msn_lies_beyond_all_that_can_be_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FaultyDisk::default());
    let bench = Bench::in_memory(folder.path()).with_disk(&disk);
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    drop(writer);
    drop(store);
    disk.reboot();
    let (store, session) = bench.reopen().await;
    assert_eq!((session.clean, session.power_was_cut, session.next_msn), (false, true, 17));
    // Whoever resumes it, and falls again without a power cut, finds the higher number.
    drop(store.begin(head("s1", 2)).expect("resumed"));
    drop(store);
    let (store, session) = bench.reopen().await;
    assert_eq!((session.head.epoch, session.power_was_cut, session.next_msn), (2, false, 17));
    let mut writer = store.begin(head("s1", 3)).expect("resumed");
    append_segment(&mut writer, 3, 17);
    let playlist = until_playlist(&store, "s1", Some("720p"), |text| text.contains("3-17.m4s")).await;
    assert!(playlist.contains("#EXT-X-MEDIA-SEQUENCE:17\n") && !playlist.contains("1-0.m4s"), "{playlist}");
}

#[tokio::test]
async fn a_clean_end_needs_no_margin_after_a_power_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FaultyDisk::default());
    let bench = Bench::in_memory(folder.path()).with_disk(&disk);
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    writer.finish(Finish::Suspended).expect("finished");
    drop(store);
    disk.reboot();
    let (_store, session) = bench.reopen().await;
    assert_eq!((session.clean, session.power_was_cut, session.next_msn), (true, false, 1));
}

#[tokio::test]
async fn a_tail_torn_at_any_byte_costs_only_the_last_record() {
    let folder = tempfile::tempdir().expect("a folder");
    killed_after(folder.path(), &[open(VIDEO, 4, 3), part(VIDEO, 4, 3, 0)]).await;
    let journal = journals(folder.path()).pop().expect("a journal");
    let whole = fs::read(&journal).expect("read");
    let last = part_bytes(VIDEO, 3, 0).len() + 39; // record header 13, part head 26
    // Every byte of the heads and of the end; of the payload between them every 17th (the reader's own test does all).
    let start = whole.len() - last;
    let near = |cut: &usize| cut - start < 50 || whole.len() - cut < 10 || cut.is_multiple_of(17);
    for cut in (start..=whole.len()).filter(near) {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = folder.path().join("spool/stream1/s1");
        fs::create_dir_all(&spool).expect("made");
        fs::write(spool.join(journal.file_name().expect("a name")), &whole[..cut]).expect("written");
        let bench = Bench::in_memory(folder.path());
        let (_store, session) = bench.reopen().await;
        let last = if cut == whole.len() { 3 } else { 2 };
        assert_eq!(segments(&session, 0).last().map(|it| it.0), Some(last), "cut at {cut}");
        assert_eq!(session.next_msn, last + 1, "cut at {cut}");
    }
}

#[tokio::test]
async fn damage_in_the_middle_costs_one_segment() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = killed_after(folder.path(), &[]).await;
    let journal = journals(folder.path()).pop().expect("a journal");
    let mut bytes = fs::read(&journal).expect("read");
    let payload = part_bytes(VIDEO, 1, 1);
    let at = bytes.windows(payload.len()).position(|window| window == payload).expect("is there");
    bytes[at + 100] ^= 0x40;
    fs::write(&journal, &bytes).expect("written");

    let (store, session) = bench.reopen().await;
    assert_eq!(segments(&session, 0), [(0, 2_000, false), (1, 2_000, true), (2, 2_000, false)]);
    assert_eq!(segments(&session, 1), [(0, 2_000, false), (1, 2_000, false), (2, 2_000, false)]);
    assert_eq!(session.next_msn, 3);
    until_uploaded(&store).await;
    let playlist = until_playlist(&store, "s1", Some("720p"), |text| text.contains("4-2.m4s")).await;
    assert_eq!(listed(&playlist), ["init-0.mp4", "4-0.m4s", "4-2.m4s"]);
    assert_eq!(read_segment(&store, "s1", VIDEO, 4, 1).await, None);
}

#[tokio::test]
async fn a_journal_of_a_later_format_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = killed_after(folder.path(), &[]).await;
    let journal = journals(folder.path()).pop().expect("a journal");
    let mut bytes = fs::read(&journal).expect("read");
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&journal, &bytes).expect("written");
    let (clock, files) = (bench.clock.clone(), bench.files.clone());
    let opened = Store::open_with(bench.settings.clone(), clock, bench.backend.clone(), files).await;
    let error = opened.expect_err("refused");
    assert!(matches!(&error, StoreError::NewerJournal { version: 9, path } if *path == journal), "{error}");
    assert_eq!(fs::read(&journal).expect("read"), bytes);
}

#[tokio::test]
async fn files_that_are_no_journals_are_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = killed_after(folder.path(), &[]).await;
    let spool = folder.path().join("spool");
    fs::write(spool.join("stray"), "x").expect("written");
    fs::create_dir_all(spool.join("stream1/empty")).expect("made");
    fs::create_dir_all(spool.join("stream1/zeros")).expect("made");
    fs::write(spool.join("stream1/zeros/0000000001.journal"), [0; 4_096]).expect("written");
    fs::write(spool.join("stream1/s1/notes.txt"), "x").expect("written");
    fs::write(spool.join("stream1/s1/0000000002.journal"), [0; 100]).expect("written");
    // A journal that was copied under another name must not be taken for that session's.
    fs::create_dir_all(spool.join("stream1/copy")).expect("made");
    fs::copy(journals(folder.path())[0].clone(), spool.join("stream1/copy/0000000001.journal")).expect("copied");
    let (_store, session) = bench.reopen().await;
    assert_eq!((session.head.session.as_str(), session.next_msn), ("s1", 3));
}

/// The journal of session `s2`, with segments that `s1` never had.
async fn journal_of_another_session() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = Bench::in_memory(folder.path()).open().await;
    let mut writer = store.begin(head("s2", 9)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 9, 70);
    drop((writer, store));
    fs::read(folder.path().join("spool/stream1/s2/0000000001.journal")).expect("read")
}

#[tokio::test]
async fn a_journal_of_another_session_is_not_believed_and_hides_nothing() {
    let foreign = journal_of_another_session().await;
    for its_number in [1, 3] {
        let folder = tempfile::tempdir().expect("a folder");
        let bench = killed_after(folder.path(), &[]).await;
        let own = journals(folder.path()).pop().expect("a journal");
        fs::rename(&own, own.with_file_name("0000000002.journal")).expect("renamed");
        let strange = own.with_file_name(format!("{its_number:010}.journal"));
        fs::write(&strange, &foreign).expect("written");
        // Also behind a writer, whose snapshot lets go of the older files.
        for epoch in [4, 5] {
            let (store, session) = bench.reopen().await;
            assert_eq!((session.head.clone(), session.next_msn), (head("s1", epoch), 3), "number {its_number}");
            assert_eq!(segments(&session, 0), [(0, 2_000, false), (1, 2_000, false), (2, 2_000, false)]);
            until_uploaded(&store).await;
            store.begin(head("s1", epoch + 1)).expect("resumed").finish(Finish::Suspended).expect("finished");
            store.close(Duration::ZERO).await.expect("closed");
        }
        assert_eq!(fs::read(&strange).expect("it is not ours to delete"), foreign);
    }
}

#[tokio::test]
async fn an_older_journal_with_other_renditions_hides_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = Bench::in_memory(folder.path()).open().await;
    let mut strange = head("s1", 2);
    strange.renditions = strange.renditions.iter().rev().cloned().collect();
    drop((store.begin(strange).expect("begun"), store));
    let strange = fs::read(journals(folder.path()).pop().expect("a journal")).expect("read");

    let folder = tempfile::tempdir().expect("a folder");
    let bench = killed_after(folder.path(), &[]).await;
    let own = journals(folder.path()).pop().expect("a journal");
    fs::rename(&own, own.with_file_name("0000000002.journal")).expect("renamed");
    fs::write(&own, &strange).expect("written");
    let (store, session) = bench.reopen().await;
    assert_eq!((session.head, session.next_msn), (head("s1", 4), 3));
    until_uploaded(&store).await;
    assert_eq!(fs::read(&own).expect("it is not ours to delete"), strange);
}

#[tokio::test]
async fn names_that_no_daemon_gives_are_passed_over_and_the_highest_number_is_no_overflow() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = killed_after(folder.path(), &[]).await;
    let journal = journals(folder.path()).pop().expect("a journal");
    for name in ["18446744073709551615", "99999999999999999999", "7", "+000000007", "00000000007"] {
        fs::copy(&journal, journal.with_file_name(format!("{name}.journal"))).expect("copied");
    }
    let (store, session) = bench.reopen().await;
    assert_eq!((session.next_msn, session.head.epoch), (3, 4));
    let mut writer = store.begin(head("s1", 5)).expect("resumed");
    append_segment(&mut writer, 5, 3);
    drop((writer, store));

    // The last number that a file may have: it is read, and the session is told that none can follow.
    fs::copy(&journal, journal.with_file_name("18446744073709551614.journal")).expect("copied");
    let (store, session) = bench.reopen().await;
    let error = store.begin(head("s1", session.head.epoch + 9)).expect_err("no file can follow");
    assert!(error.to_string().contains("a file with the highest number"), "{error}");
}

#[tokio::test]
async fn journals_rotate_and_give_room_back_while_the_session_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bench = Bench::in_memory(folder.path());
    bench.settings.journal_file_bytes = 40_000;
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    for msn in 0..100 {
        append_segment(&mut writer, 1, msn);
    }
    until_uploaded(&store).await;
    // 100 segments are about 1.2 MB. The last 60 s are kept for readers, and the files around them.
    append_segment(&mut writer, 1, 100);
    until(&store, |stats| stats.backlog_objects == 0 && stats.spool_bytes < 600_000).await;
    assert!(!folder.path().join("spool/stream1/s1/0000000001.journal").exists());
    // What left the spool is read from the store, parts included.
    assert_eq!(read_segment(&store, "s1", AUDIO, 1, 3).await, Some(segment_bytes(AUDIO, 3)));
    let part = store.read("stream1", "s1", "audio", MediaName::Part { epoch: 1, msn: 3, part: 1 }).await;
    assert_eq!(part.expect("read"), Some(part_bytes(AUDIO, 3, 1)));

    drop(writer);
    drop(store);
    let (store, session) = bench.reopen().await;
    assert_eq!(session.next_msn, 101);
    assert_eq!(session.renditions[0].segments.first().map(|it| it.msn), Some(97));
    assert_eq!(session.renditions[0].media_sequence, 97);
    assert_eq!(session.renditions[0].inits.len(), 1);
    // The journal's snapshots carried what the removed files had told.
    assert_eq!(read_segment(&store, "s1", VIDEO, 1, 3).await, Some(segment_bytes(VIDEO, 3)));
    assert_eq!(store.stats().lost_segments, 0);
}

#[tokio::test]
async fn segments_that_span_files_are_whole_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut bench, objects) = Bench::scripted(folder.path());
    bench.settings.journal_file_bytes = 5_000; // less than a segment of both renditions
    bench.settings.window = Span::from_secs(60);
    objects.hold();
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    for msn in 0..20 {
        append_segment(&mut writer, 1, msn);
    }
    writer.append(&open(VIDEO, 1, 20)).expect("journalled");
    for index in 0..PARTS {
        writer.append(&part(VIDEO, 1, 20, index)).expect("journalled");
    }
    drop(writer);
    drop(store);
    assert!(journals(folder.path()).len() > 20);
    objects.release(1_000);
    let (store, session) = bench.reopen().await;
    assert_eq!(session.next_msn, 21);
    assert!(segments(&session, 0).iter().all(|(_, _, gap)| !gap));
    until_uploaded(&store).await;
    for msn in 0..21 {
        let object = objects.bytes(&format!("live/stream1/s1/720p/1-{msn}.m4s")).await;
        assert_eq!(object, segment_bytes(VIDEO, msn), "{msn}");
    }
    assert_eq!(store.stats().lost_segments, 0);
}

#[tokio::test]
async fn the_journal_of_format_1_opens() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FaultyDisk::default());
    let bench = Bench::in_memory(folder.path()).with_disk(&disk);
    fs::create_dir_all(folder.path().join("spool/stream1/s1")).expect("made");
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/journal-v1.bin");
    fs::copy(fixture, folder.path().join("spool/stream1/s1/0000000001.journal")).expect("the fixture is there");
    let (store, session) = bench.reopen().await;
    assert_eq!(session.head, head("s1", 7));
    assert_eq!((session.clean, session.power_was_cut, session.ended, session.next_msn), (true, false, false, 2));
    assert_eq!(segments(&session, 0), [(0, 2_000, false), (1, 1_333, false)]);
    assert_eq!(segments(&session, 1), [(0, 2_000, false), (1, 1_333, true)]);
    let resume = session.resume.expect("a checkpoint");
    let end = at(1) + part_duration() + part_duration();
    assert_eq!(resume, ResumePoint { timeline_at: end, next_msn: 2, anchor: (at(0), wall(0)) });
    let inits = &session.renditions[0].inits;
    assert_eq!((inits[0].number, &inits[0].bytes, &inits[0].track), (0, &init_bytes(VIDEO, 0), &track(VIDEO)));
    assert_eq!(read_segment(&store, "s1", VIDEO, 7, 0).await, Some(segment_bytes(VIDEO, 0)));
    assert_eq!(Span::from_millis(700), session.head.part_target);
}

/// Makes `fixtures/journal-v1.bin` anew, if `MILLSTREAM_WRITE_FIXTURES` is set: only when the format's number rises.
#[tokio::test]
async fn the_fixture_is_what_this_format_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Arc::new(FaultyDisk::default());
    let (bench, objects) = Bench::scripted(folder.path());
    let bench = bench.with_disk(&disk);
    objects.hold();
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 7)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 7, 0);
    writer.checkpoint(&checkpoint(1)).expect("journalled");
    for output in &segment(VIDEO, 7, 1)[..3] {
        writer.append(output).expect("journalled");
    }
    writer.finish(Finish::Suspended).expect("finished");
    drop(store);
    let written = fs::read(journals(folder.path()).pop().expect("a journal")).expect("read");
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/journal-v1.bin");
    if std::env::var_os("MILLSTREAM_WRITE_FIXTURES").is_some() {
        fs::write(fixture, &written).expect("written");
    }
    assert_eq!(written, fs::read(fixture).expect("the fixture is there"));
}
