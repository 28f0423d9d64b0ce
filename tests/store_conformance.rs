//! The same promises on every backend: what is written can be read, from the spool and from the store, by name and by
//! playlist; after the end it goes.

mod store_support;

use std::time::Duration;

use millstream::media::naming::MediaName;
use millstream::media::segment::{SegmentEnd, SegmentStart};
use millstream::media::{Output, Span};
use millstream::store::{Backend, Finish, OsFiles, SessionHead, Store};
use object_store::ObjectStoreExt;
use store_support::*;

async fn media_is_stored_and_read_back(bench: Bench) {
    let (store, recovered) = bench.open().await;
    assert!(recovered.is_empty());
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    for msn in 0..3 {
        append_segment(&mut writer, 1, msn);
    }
    writer.append(&open(VIDEO, 1, 3)).expect("journalled");
    writer.append(&part(VIDEO, 1, 3, 0)).expect("journalled");

    for (rendition, name) in [(VIDEO, "720p"), (AUDIO, "audio")] {
        let read = |name_of| store.read("stream1", "s1", name, name_of);
        assert_eq!(read(MediaName::Init { number: 0 }).await.expect("read"), Some(init_bytes(rendition, 0)));
        for msn in 0..3 {
            assert_eq!(read_segment(&store, "s1", rendition, 1, msn).await, Some(segment_bytes(rendition, msn)));
            for part in 0..PARTS {
                let bytes = read(MediaName::Part { epoch: 1, msn, part }).await.expect("read");
                assert_eq!(bytes, Some(part_bytes(rendition, msn, part)));
            }
        }
    }
    // The open segment can be read by its parts, and is no segment yet.
    let open_part = store.read("stream1", "s1", "720p", MediaName::Part { epoch: 1, msn: 3, part: 0 }).await;
    assert_eq!(open_part.expect("read"), Some(part_bytes(VIDEO, 3, 0)));
    assert_eq!(read_segment(&store, "s1", VIDEO, 1, 3).await, None);

    until_uploaded(&store).await;
    for (rendition, name) in [(VIDEO, "720p"), (AUDIO, "audio")] {
        for msn in 0..3 {
            let key = format!("live/stream1/s1/{name}/1-{msn}.m4s");
            let object = bench.backend.objects.get(&key.as_str().into()).await.expect("stored");
            assert_eq!(object.bytes().await.expect("read"), segment_bytes(rendition, msn));
        }
    }
    until_playlist(&store, "s1", Some("audio"), |text| text.contains("1-2.m4s")).await;
    let playlist = until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-2.m4s")).await;
    assert_eq!(
        playlist,
        "#EXTM3U\n\
         #EXT-X-VERSION:6\n\
         #EXT-X-TARGETDURATION:2\n\
         #EXT-X-MEDIA-SEQUENCE:0\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MAP:URI=\"init-0.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:00.000Z\n\
         #EXTINF:2.00000,\n\
         1-0.m4s\n\
         #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:02.000Z\n\
         #EXTINF:2.00000,\n\
         1-1.m4s\n\
         #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:04.000Z\n\
         #EXTINF:2.00000,\n\
         1-2.m4s\n"
    );
    let multivariant = until_playlist(&store, "s1", None, |text| !text.is_empty()).await;
    assert_eq!(
        multivariant,
        "#EXTM3U\n\
         #EXT-X-VERSION:6\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MEDIA:TYPE=AUDIO,URI=\"audio/index.m3u8\",GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=4000000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\n\
         720p/index.m3u8\n"
    );

    writer.finish(Finish::Ended).expect("finished");
    let last = until_playlist(&store, "s1", Some("720p"), |text| text.contains("#EXT-X-ENDLIST")).await;
    // The open segment was stored with the part that it had.
    assert!(last.contains("#EXTINF:0.66667,\n1-3.m4s\n"), "{last}");
    store.close(Duration::from_secs(60)).await.expect("closed");
    let stats = store.stats();
    assert_eq!((stats.backlog_objects, stats.append_failures, stats.lost_segments), (0, 0, 0));
    assert_eq!(stats.alarms, Default::default());
}

#[tokio::test]
async fn media_is_stored_and_read_back_from_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    media_is_stored_and_read_back(Bench::in_memory(folder.path())).await;
}

#[tokio::test]
async fn media_is_stored_and_read_back_from_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file:{}", folder.path().join("objects").display());
    media_is_stored_and_read_back(Bench::new(folder.path(), Backend::from_url(&url).expect("usable"))).await;
}

#[tokio::test]
async fn a_folder_holds_what_the_contract_says_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let objects = folder.path().join("objects");
    let bench = Bench::new(folder.path(), Backend::from_url(&format!("file:{}", objects.display())).expect("usable"));
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    writer.finish(Finish::Suspended).expect("finished");
    store.close(Duration::from_secs(60)).await.expect("closed");
    let mut found = Vec::new();
    let mut folders = vec![objects.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("listed") {
            let path = entry.expect("listed").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(&objects).expect("below").display().to_string());
            }
        }
    }
    found.sort();
    assert_eq!(
        found,
        [
            "live/stream1/s1/720p/1-0.m4s",
            "live/stream1/s1/720p/index.m3u8",
            "live/stream1/s1/720p/init-0.mp4",
            "live/stream1/s1/audio/1-0.m4s",
            "live/stream1/s1/audio/index.m3u8",
            "live/stream1/s1/audio/init-0.mp4",
            "live/stream1/s1/index.m3u8",
        ]
    );
}

#[tokio::test]
async fn gaps_and_discontinuities_stand_in_the_stored_playlist() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::in_memory(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    for rendition in [VIDEO, AUDIO] {
        let start = |msn, gap, discontinuity| SegmentStart {
            rendition,
            msn,
            epoch: 1,
            at: at(msn),
            wall: wall(msn),
            discontinuity,
            gap,
            init: 0,
        };
        let end = |msn| Output::Close(SegmentEnd { rendition, msn, duration: Span::from_secs(2) });
        writer.append(&Output::Open(start(1, true, false))).expect("journalled");
        writer.append(&end(1)).expect("journalled");
        writer.append(&Output::Open(start(2, false, true))).expect("journalled");
        for index in 0..PARTS {
            writer.append(&part(rendition, 1, 2, index)).expect("journalled");
        }
        writer.append(&end(2)).expect("journalled");
    }
    let playlist = until_playlist(&store, "s1", Some("audio"), |text| text.contains("1-2.m4s")).await;
    assert!(
        playlist.ends_with(
            "1-0.m4s\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:02.000Z\n\
             #EXT-X-GAP\n\
             #EXTINF:2.00000,\n\
             1-1.m4s\n\
             #EXT-X-DISCONTINUITY\n\
             #EXT-X-PROGRAM-DATE-TIME:2026-11-21T07:00:04.000Z\n\
             #EXTINF:2.00000,\n\
             1-2.m4s\n"
        ),
        "{playlist}"
    );
    assert_eq!(store.stats().lost_segments, 0);
}

#[tokio::test]
async fn nothing_is_read_by_names_that_are_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::in_memory(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 0);
    let segment = MediaName::Segment { epoch: 1, msn: 0 };
    for (stream, session, rendition) in
        [("..", "s1", "720p"), ("stream1", "s1/720p", "x"), ("stream1", "s1", "480p"), ("stream1", "s2", "720p")]
    {
        assert_eq!(store.read(stream, session, rendition, segment).await.expect("read"), None);
    }
    for name in [
        MediaName::Segment { epoch: 2, msn: 0 },
        MediaName::Segment { epoch: 1, msn: 1 },
        MediaName::Part { epoch: 1, msn: 0, part: PARTS },
        MediaName::Part { epoch: 1, msn: u64::MAX, part: u32::MAX },
        MediaName::Init { number: 1 },
    ] {
        assert_eq!(store.read("stream1", "s1", "720p", name).await.expect("read"), None, "{name}");
    }
    assert_eq!(store.read_playlist("stream1", "..", None).await.expect("read"), None);
    assert_eq!(store.read_playlist("stream1", "s2", Some("720p")).await.expect("read"), None);
}

#[tokio::test]
async fn a_second_daemon_on_the_spool_is_refused_in_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::in_memory(folder.path());
    let (store, _) = bench.open().await;
    let (clock, files) = (bench.clock.clone(), std::sync::Arc::new(OsFiles));
    let second = Store::open_with(bench.settings.clone(), clock, bench.backend.clone(), files).await;
    let spool = folder.path().join("spool");
    assert_eq!(
        second.expect_err("refused").to_string(),
        format!(
            "spool `{}` is in use by another daemon (process {}): stop that one, or give this one a spool of its own",
            spool.display(),
            std::process::id()
        )
    );
    drop(store);
    bench.open().await;
}

#[tokio::test]
async fn a_session_begins_only_with_what_it_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::in_memory(folder.path());
    let (store, _) = bench.open().await;
    let refused = |head| store.begin(head).expect_err("refused").to_string();
    let mut named = head("s1", 1);
    named.stream = "../etc".to_owned();
    assert_eq!(refused(named), "`../etc` may not stand in a path: 1 to 64 of a-z A-Z 0-9 _ - are allowed");
    let mut twins = head("s1", 1);
    twins.renditions = [twins.renditions[0].clone(), twins.renditions[0].clone()].into();
    assert_eq!(refused(twins), "session s1 cannot be stored: two of its renditions have the same name");
    let none = SessionHead { renditions: [].into(), ..head("s1", 1) };
    assert_eq!(refused(none), "session s1 cannot be stored: it has no rendition, and so nothing to store");

    let writer = store.begin(head("s1", 3)).expect("begun");
    assert_eq!(refused(head("s1", 4)), "session s1 is being written already");
    writer.finish(Finish::Suspended).expect("finished");
    assert_eq!(refused(head("s1", 3)), "session s1: epoch 3 is not above the last one, 3");
    let mut other = head("s1", 4);
    other.renditions = [other.renditions[1].clone()].into();
    assert_eq!(refused(other), "session s1 was begun with other renditions and cannot be resumed with these");
    store.begin(head("s1", 4)).expect("resumed").finish(Finish::Ended).expect("finished");
    assert_eq!(refused(head("s1", 5)), "session s1 has ended and cannot be resumed");
}

#[tokio::test]
async fn steps_out_of_order_are_the_callers_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::in_memory(folder.path());
    let (store, _) = bench.open().await;
    let mut writer = store.begin(head("s1", 1)).expect("begun");
    append_inits(&mut writer);
    append_segment(&mut writer, 1, 5);
    let mut refused = |output| {
        let error = writer.append(&output).expect_err("refused");
        assert!(!error.is_disk());
        error.to_string()
    };
    let follows = "does not follow what was written before it";
    assert_eq!(refused(open(VIDEO, 1, 5)), format!("segment 5 of rendition 0 {follows}"));
    assert_eq!(refused(part(VIDEO, 1, 6, 0)), format!("part of segment 6 of rendition 0 {follows}"));
    assert_eq!(refused(close(AUDIO, 5)), format!("end of segment 5 of rendition 1 {follows}"));
    assert_eq!(
        refused(open(millstream::media::segment::RenditionId(2), 1, 6)),
        format!("segment 6 of rendition 2 {follows}")
    );
    append_segment(&mut writer, 1, 6);
    until_playlist(&store, "s1", Some("720p"), |text| text.contains("1-6.m4s")).await;
}
