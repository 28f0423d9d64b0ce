//! The window as its readers see it.

use super::*;
use crate::media::Kind;
use crate::media::{AudioCodec, AudioTrack, Timestamp, Track, VideoCodec, VideoTrack, WallTime};

const VIDEO: RenditionId = RenditionId(0);
const AUDIO: RenditionId = RenditionId(1);

fn renditions(copied: bool) -> Renditions {
    let rendition =
        |name: &str, kind, bandwidth| Rendition { name: name.to_owned(), kind, copied, bandwidth, frame_rate: None };
    Arc::new([rendition("480p", Kind::Video, 1_500_000), rendition("audio", Kind::Audio, 130_000)])
}

fn settings(window_secs: i64) -> WindowSettings {
    let (window, segment_target) = (Span::from_secs(window_secs), Span::from_secs(2));
    WindowSettings { window, segment_target, start: Vec::new() }
}

fn video_track() -> Track {
    Track::Video(VideoTrack {
        codec: VideoCodec::H264,
        codecs: "avc1.64001e".to_owned(),
        sample_aspect: (32, 27),
        ..VideoTrack::plain(720, 480, (30_000, 1_001))
    })
}

fn audio_track() -> Track {
    Track::Audio(AudioTrack {
        codec: AudioCodec::Aac,
        config: Bytes::new(),
        codecs: "mp4a.40.2".to_owned(),
        sample_rate: 48_000,
        channels: 2,
        samples_per_frame: 1_024,
    })
}

fn init(rendition: RenditionId, number: u32) -> Init {
    let track = Arc::new(if rendition == VIDEO { video_track() } else { audio_track() });
    Init { rendition, number, track, bytes: Bytes::from(format!("init {number}")) }
}

fn start(rendition: RenditionId, msn: u64) -> SegmentStart {
    let at = Timestamp::from_millis(10_000 + 2_000 * msn as i64);
    let wall = WallTime::from_unix_millis(2_000 * msn as i64);
    SegmentStart { rendition, msn, epoch: 0, at, wall, discontinuity: false, gap: false, init: 0 }
}

fn part(rendition: RenditionId, msn: u64, index: u32) -> Output {
    let bytes = Bytes::from(format!("part {msn}.{index}"));
    let duration = Span::from_secs(1);
    Output::Part(Part {
        rendition,
        msn,
        epoch: 0,
        index,
        samples: 30,
        duration,
        last_pts: Timestamp::ZERO,
        independent: index == 0,
        bytes,
    })
}

fn end(rendition: RenditionId, msn: u64) -> Output {
    Output::Close(SegmentEnd { rendition, msn, duration: Span::from_secs(2) })
}

/// A segment of two parts of 1 s.
fn play(window: &Window, start: SegmentStart) {
    let (rendition, msn, gap) = (start.rendition, start.msn, start.gap);
    window.apply(&Output::Open(start));
    for index in 0..if gap { 0 } else { 2 } {
        window.apply(&part(rendition, msn, index));
    }
    window.apply(&end(rendition, msn));
}

fn view(window: &Window) -> Arc<View> {
    window.rendition(VIDEO).expect("it is there")
}

fn msns(window: &Window) -> Vec<u64> {
    view(window).segments().map(|segment| segment.msn).collect()
}

#[test]
fn a_session_from_first_to_last() {
    let window = Window::new(renditions(false), settings(4));
    window.apply(&Output::Init(init(VIDEO, 0)));
    assert!(view(&window).is_empty());
    for msn in 0..5 {
        play(&window, start(VIDEO, msn));
    }
    window.apply(&Output::End(VIDEO));
    // The window is 4 s, and three target durations are 6 s.
    assert_eq!(
        view(&window).text(),
        "#EXTM3U\n\
         #EXT-X-VERSION:6\n\
         #EXT-X-TARGETDURATION:2\n\
         #EXT-X-MEDIA-SEQUENCE:2\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MAP:URI=\"init-0.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:04.000Z\n\
         #EXTINF:2.00000,\n\
         0-2.m4s\n\
         #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:06.000Z\n\
         #EXTINF:2.00000,\n\
         0-3.m4s\n\
         #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:08.000Z\n\
         #EXTINF:2.00000,\n\
         0-4.m4s\n\
         #EXT-X-ENDLIST\n"
    );
    assert!(view(&window).ended() && !window.ended());
    window.apply(&Output::End(AUDIO));
    assert!(window.ended());
}

#[test]
fn a_copied_rung_promises_no_independent_segments() {
    let window = Window::new(renditions(true), settings(4));
    play(&window, start(VIDEO, 0));
    assert!(!view(&window).playlist().independent_segments);
    assert!(window.rendition(AUDIO).expect("it is there").playlist().independent_segments);
}

#[test]
fn segments_leave_from_the_front_and_discontinuities_are_counted_as_they_leave() {
    let window = Window::new(renditions(false), settings(6));
    let mut seen = Vec::new();
    for msn in 0..8 {
        play(&window, SegmentStart { discontinuity: msn == 1 || msn == 3, ..start(VIDEO, msn) });
        seen.push((view(&window).media_sequence(), view(&window).discontinuity_sequence(), view(&window).len()));
    }
    // Tag 1 counts once segment 1 is gone, and stands in the playlist until then.
    assert_eq!(seen, [(0, 0, 1), (0, 0, 2), (0, 0, 3), (1, 0, 3), (2, 1, 3), (3, 1, 3), (4, 2, 3), (5, 2, 3)]);
}

#[test]
fn parts_change_the_open_segment_and_nothing_else() {
    let window = Window::new(renditions(false), settings(6));
    play(&window, start(VIDEO, 0));
    let before = view(&window);
    let text = before.text();
    window.apply(&Output::Open(start(VIDEO, 1)));
    window.apply(&part(VIDEO, 1, 0));
    let after = view(&window);
    assert_eq!((after.version(), after.text().as_ptr()), (before.version(), text.as_ptr()));
    let open = after.open_segment().expect("it is open");
    assert_eq!((open.msn, open.duration, open.parts.len(), open.size()), (1, None, 1, 8));
    assert_eq!(before.open_segment(), None);
    window.apply(&end(VIDEO, 1));
    assert!(view(&window).version() > after.version());
    assert_eq!(msns(&window), [0, 1]);
}

#[test]
fn a_text_is_rendered_and_presented_once() {
    let window = Window::new(renditions(false), settings(6));
    play(&window, start(VIDEO, 0));
    let view = view(&window);
    let calls = std::cell::Cell::new(0);
    for _ in 0..2 {
        let presented = view.presented(|text| {
            calls.set(calls.get() + 1);
            text.to_ascii_lowercase()
        });
        assert!(presented.starts_with(b"#extm3u\n"));
    }
    assert_eq!(calls.get(), 1);
}

#[test]
fn media_is_served_from_memory_as_long_as_the_horizon_reaches() {
    let window = Window::new(renditions(false), settings(6));
    window.apply(&Output::Init(init(VIDEO, 0)));
    window.apply(&Output::Open(start(VIDEO, 0)));
    window.apply(&part(VIDEO, 0, 0));
    let media = |name: &str| {
        let pieces = window.media(VIDEO, name.parse().expect("a name"))?;
        Some(pieces.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect::<Vec<_>>().join("+"))
    };
    assert_eq!(media("init-0.mp4").as_deref(), Some("init 0"));
    assert_eq!(media("0-0.0.m4s").as_deref(), Some("part 0.0"));
    // A segment is there when it is whole; a part of another epoch never was.
    assert_eq!(
        (media("0-0.m4s"), media("0-0.1.m4s"), media("1-0.0.m4s"), media("init-1.mp4")),
        (None, None, None, None)
    );
    window.apply(&part(VIDEO, 0, 1));
    window.apply(&end(VIDEO, 0));
    assert_eq!(media("0-0.m4s").as_deref(), Some("part 0.0+part 0.1"));
    for msn in 1..9 {
        play(&window, start(VIDEO, msn));
    }
    // The horizon is 16 s: eight segments behind the first.
    assert_eq!((media("0-0.m4s"), media("0-1.m4s").as_deref()), (None, Some("part 1.0+part 1.1")));
    assert_eq!(msns(&window), [6, 7, 8]);
    assert_eq!(window.memory_bytes(), 8 * 2 * "part 1.0".len());
    assert_eq!(window.media(RenditionId(9), MediaName::Init { number: 0 }), None);
}

#[test]
fn init_segments_stay_as_long_as_something_needs_them() {
    let window = Window::new(renditions(false), settings(6));
    let mut kept = Vec::new();
    for msn in 0..12 {
        let number = if msn < 2 { 0 } else { 1 };
        if msn == 0 || msn == 2 {
            window.apply(&Output::Init(init(VIDEO, number)));
        }
        play(&window, SegmentStart { init: number, ..start(VIDEO, msn) });
        kept.push(view(&window).inits().len());
    }
    // Segment 1 leaves memory when eight segments lie behind it.
    assert_eq!(kept, [1, 1, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1]);
}

#[test]
fn a_gap_is_listed_and_has_no_media() {
    let window = Window::new(renditions(false), settings(6));
    play(&window, SegmentStart { gap: true, ..start(VIDEO, 0) });
    assert_eq!(msns(&window), [0]);
    assert_eq!(window.media(VIDEO, MediaName::Segment { epoch: 0, msn: 0 }), None);
}

#[test]
fn the_multivariant_playlist_comes_when_every_rendition_has_something_to_play() {
    let window = Window::new(renditions(true), settings(6));
    window.apply(&Output::Init(init(VIDEO, 0)));
    window.apply(&Output::Init(init(AUDIO, 0)));
    play(&window, start(VIDEO, 0));
    assert_eq!(window.multivariant(), None);
    play(&window, start(AUDIO, 0));
    assert_eq!(
        window.multivariant().map(|playlist| playlist.render("")).as_deref(),
        Some(
            "#EXTM3U\n\
             #EXT-X-VERSION:6\n\
             #EXT-X-MEDIA:TYPE=AUDIO,URI=\"audio/index.m3u8\",GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\"\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1630000,CODECS=\"avc1.64001e,mp4a.40.2\",RESOLUTION=853x480,FRAME-RATE=29.970,AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\n\
             480p/index.m3u8\n"
        )
    );
}

#[test]
fn audio_alone_is_its_own_variant() {
    let audio_only: Renditions = renditions(false)[1..].into();
    let window = Window::new(audio_only, settings(6));
    let audio = RenditionId(0);
    window.apply(&Output::Init(Init { rendition: audio, ..init(AUDIO, 0) }));
    play(&window, start(audio, 0));
    let playlist = window.multivariant().expect("all is there");
    let shape: Vec<_> =
        playlist.variants.iter().map(|it| (it.uri.as_str(), it.codecs.as_str(), it.bandwidth)).collect();
    assert_eq!((shape, &playlist.audio), (vec![("audio/index.m3u8", "mp4a.40.2", 130_000)], &None));
}

fn resumed(msns: std::ops::Range<u64>, discontinuity_sequence: u64) -> WindowSettings {
    let segment = |msn| Segment { duration: Some(Span::from_secs(2)), ..Segment::open(&start(VIDEO, msn)) };
    let video =
        RenditionStart { segments: msns.map(segment).collect(), discontinuity_sequence, inits: vec![init(VIDEO, 0)] };
    WindowSettings { start: vec![video], ..settings(6) }
}

#[test]
fn after_a_restart_the_playlist_goes_on() {
    let window = Window::new(renditions(false), resumed(7..10, 4));
    assert_eq!((msns(&window), view(&window).discontinuity_sequence()), (vec![7, 8, 9], 4));
    play(&window, SegmentStart { discontinuity: true, epoch: 1, ..start(VIDEO, 10) });
    assert_eq!(msns(&window), [8, 9, 10]);
    // What was written before the restart is not in memory; the init segment is.
    assert_eq!(window.media(VIDEO, MediaName::Segment { epoch: 0, msn: 9 }), None);
    assert!(window.media(VIDEO, MediaName::Init { number: 0 }).is_some());
    assert!(window.media(VIDEO, MediaName::Segment { epoch: 1, msn: 10 }).is_some());
}

#[test]
fn a_jump_of_sequence_numbers_empties_the_playlist_in_front_of_it() {
    let window = Window::new(renditions(false), resumed(7..10, 4));
    window.apply(&Output::Open(SegmentStart { discontinuity: true, ..start(VIDEO, 500) }));
    assert_eq!(
        (view(&window).media_sequence(), view(&window).len(), view(&window).discontinuity_sequence()),
        (500, 0, 4)
    );
    window.apply(&end(VIDEO, 500));
    assert_eq!(msns(&window), [500]);
}

#[test]
fn changes_are_counted_so_that_readers_can_wait() {
    let window = Window::new(renditions(false), settings(6));
    let mut changes = window.changed();
    assert!(!changes.has_changed().expect("the window lives"));
    window.apply(&Output::Open(start(VIDEO, 0)));
    assert!(changes.has_changed().expect("the window lives"));
    assert_eq!(*changes.borrow_and_update(), 1);
}

#[test]
fn outputs_of_a_rendition_that_is_not_there_are_passed_over() {
    let window = Window::new(renditions(false), settings(6));
    window.apply(&Output::End(RenditionId(7)));
    assert!(!window.ended());
    assert_eq!(window.find("audio"), Some(AUDIO));
    assert_eq!((window.find("720p"), window.rendition(RenditionId(7)).is_none()), (None, true));
}

#[test]
fn readers_see_whole_states_while_the_writer_goes_on() {
    let window = Arc::new(Window::new(renditions(false), settings(6)));
    let writer = {
        let window = window.clone();
        std::thread::spawn(move || (0..500).for_each(|msn| play(&window, start(VIDEO, msn))))
    };
    let mut last = 0;
    while last < 499 {
        let view = view(&window);
        let msns: Vec<_> = view.segments().map(|segment| segment.msn).collect();
        assert!(msns.is_empty() || msns[0] == view.media_sequence());
        assert!(msns.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        // What a playlist names is there.
        for segment in view.segments().skip(1) {
            // Looked for first: it may leave, playlist and memory at once, while this reader looks on.
            let there = window.media(VIDEO, segment.name()).is_some_and(|pieces| pieces.len() == 2);
            assert!(there || window.rendition(VIDEO).is_some_and(|now| now.media_sequence() > segment.msn));
        }
        last = msns.last().copied().unwrap_or(0).max(last);
    }
    assert!(writer.join().is_ok());
}

#[test]
fn renditions_that_join_are_listed_once_a_player_can_start_on_them() {
    let all = renditions(false);
    let window = Window::new(all[..1].into(), settings(60));
    window.apply(&Output::Init(init(VIDEO, 0)));
    play(&window, SegmentStart { discontinuity: true, ..start(VIDEO, 0) });
    let alone = window.multivariant().expect("pictures are enough");
    let late = Joined { first: AUDIO, renditions: all[1..].into(), discontinuities: 1 };
    window.apply(&Output::Join(late.clone()));
    window.apply(&Output::Join(late));
    assert_eq!((window.renditions().len(), window.find("audio")), (2, Some(AUDIO)), "only once");
    window.apply(&Output::Init(init(AUDIO, 0)));
    for msn in 1..=2 {
        play(&window, start(AUDIO, msn));
        assert_eq!(window.multivariant().as_ref(), Some(&alone));
    }
    play(&window, start(AUDIO, 3));
    let joined = window.multivariant().expect("still listed").render("");
    assert!(joined.contains("TYPE=AUDIO") && joined.contains("mp4a.40.2"), "{joined}");
    let audio = window.rendition(AUDIO).expect("it joined");
    assert_eq!((audio.media_sequence(), audio.discontinuity_sequence()), (1, 1));
    window.apply(&Output::End(VIDEO));
    assert!(!window.ended());
}

#[test]
fn totals_count_what_came_and_go_on_when_it_has_left() {
    let window = Window::new(renditions(false), settings(6));
    (0..20).for_each(|msn| play(&window, start(VIDEO, msn)));
    play(&window, SegmentStart { gap: true, ..start(VIDEO, 20) });
    assert!(window.rendition(VIDEO).is_some_and(|view| view.len() < 20), "the first have left");
    let bytes = (0..20).map(|msn| 2 * format!("part {msn}.0").len() as u64).sum();
    assert_eq!(window.totals(VIDEO), Some(Totals { parts: 40, segments: 21, bytes, samples: 1_200 }));
    assert_eq!(window.totals(AUDIO), Some(Totals::default()));
}
