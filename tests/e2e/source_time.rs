//! Sources whose clock, chunks or keyframes are odd: what the playlist, the media and the publisher see.
//!
//! All of them are pushed at the same time to one daemon that copies them: [`feeds`] says what each is like. What is odd only for a
//! ladder has pushes of its own.

mod feeds;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::support::boxes;
use crate::support::content::{Expectation, Pictures, Report};
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::follower::{Follower, Rendition, Run};
use crate::support::machine;
use crate::support::publisher::{Feed, RawPublisher, Status};

use feeds::Case;

/// The contract: 20 s without media, the grace time of these tests, the same again for a machine that is busy.
const END_LIMIT: Duration = Duration::from_secs(90);
const GRACE: &str = "5s";
/// Half a frame of the source in microseconds.
const HALF_A_FRAME_US: i64 = 16_667;

/// What came of one feed.
struct Seen {
    /// What a player saw; nothing when the publisher was refused.
    player: Option<Follower>,
    /// What the publisher was told.
    told: Vec<Status>,
    /// The daemon's log of all feeds.
    log: String,
}

impl Seen {
    /// The feed `name`, pushed together with the others when the first test asks.
    fn of(name: &str) -> &'static Seen {
        static PUSHED: OnceLock<BTreeMap<&str, Seen>> = OnceLock::new();
        let pushed = PUSHED.get_or_init(|| {
            let _turn = machine::shared("the broadcasts of source_time");
            push(Home::ending_with_the_broadcast("passthrough"), feeds::served(), feeds::refused())
        });
        &pushed[name]
    }

    fn player(&self) -> &Follower {
        self.player.as_ref().expect("a feed that is served")
    }

    fn video(&self) -> &Rendition {
        self.player().videos().next().expect("a rung")
    }

    fn report(&self) -> Report {
        let folder = tempfile::tempdir().expect("a folder");
        Report::of(Some(self.video()), Some(self.player().audio()), folder.path())
    }

    /// Discontinuities behind the first segment.
    fn breaks(&self) -> usize {
        breaks(self.video())
    }

    fn codes(&self) -> Vec<&str> {
        self.told.iter().map(|status| status.code.as_str()).collect()
    }

    /// Served from the first to the last byte without a break, and the publisher was told nothing but hello and goodbye.
    fn assert_unbroken(&self) {
        assert_eq!(self.codes(), ["NetStream.Publish.Start", "NetStream.Unpublish.Success"]);
        assert_eq!(self.breaks(), 0, "discontinuities");
        self.assert_playable();
    }

    /// In each run the first frame of sound is the first that does not begin before the picture.
    fn assert_sound_begins_with_the_picture(&self) {
        let begins = |rendition: &Rendition| -> Vec<i64> {
            let first =
                |run: &Run<'_>| run.samples()[0].pts * 1_000_000 / i64::from(boxes::Init::parse(run.init).timescale);
            rendition.runs().iter().map(first).collect()
        };
        let (video, audio) = (begins(self.video()), begins(self.player().audio()));
        let late: Vec<_> = audio.iter().zip(&video).skip(1).map(|(sound, picture)| sound - picture).collect();
        assert!(late.iter().all(|late| (0..21_334).contains(late)), "sound begins {late:?} us behind the picture");
    }

    /// What holds for every source: MSNs rise by one, no segment is too long (the reader of playlists sees to that), both
    /// renditions are cut alike, dates rise, and each video segment begins where the one before it ended.
    fn assert_playable(&self) {
        let (video, audio) = (cuts(self.video()), cuts(self.player().audio()));
        assert_eq!(video, audio, "both renditions are cut alike");
        assert!(video.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1 && pair[1].1 > pair[0].1), "{video:?}");
        assert_video_is_contiguous(self.video());
    }
}

/// Discontinuities of a rendition behind its first segment.
fn breaks(rendition: &Rendition) -> usize {
    let entries = rendition.segments.iter().map(|segment| &segment.entry);
    entries.filter(|entry| entry.discontinuity && entry.msn > 0).count()
}

/// MSNs and dates of segments, and whether they are discontinuities and gaps.
fn cuts(rendition: &Rendition) -> Vec<(u64, String, bool, bool)> {
    let entries = rendition.segments.iter().map(|segment| &segment.entry);
    entries.map(|entry| (entry.msn, entry.wall.clone(), entry.discontinuity, entry.gap)).collect()
}

/// Within a run each segment begins where the one before it ended, and every run is decoded from where it is presented.
fn assert_video_is_contiguous(video: &Rendition) {
    for run in video.runs() {
        let mut end = None;
        for segment in &run.segments {
            let samples = boxes::samples(&segment.bytes);
            let (first, last) = (samples[0], samples[samples.len() - 1]);
            match end {
                None => assert_eq!(first.pts, first.dts as i64, "{}: a run's tfdt is its PTS", segment.entry.uri),
                Some(end) => assert_eq!(first.dts, end, "{}", segment.entry.uri),
            }
            end = Some(last.dts + u64::from(last.duration));
        }
    }
}

/// Pushes all feeds at the same time, each to a stream of its own, and follows them to their ends.
fn push(home: Home, served: Vec<Case>, refused: Vec<Case>) -> BTreeMap<&'static str, Seen> {
    let home = home.set("session.grace", GRACE);
    let daemon = home.serve();
    let cases = served.into_iter().map(|case| (case, true)).chain(refused.into_iter().map(|case| (case, false)));
    let cases = cases.map(|((name, feed), is_served)| (name, feed, is_served, home.credentials_of(name)));
    let cases: Vec<_> = cases.collect();
    let daemon_of_all = &daemon;
    let mut pushed: BTreeMap<_, _> = thread::scope(|scope| {
        let threads = cases.into_iter().map(|(name, feed, is_served, credentials)| {
            let run = scope.spawn(move || push_one(daemon_of_all, &credentials, feed, is_served));
            (name, run)
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|(name, run)| (name, run.join().unwrap_or_else(|_| panic!("{name}")))).collect()
    });
    let log = daemon.log();
    assert!(!log.contains("panicked"), "{log}");
    pushed.values_mut().for_each(|seen| seen.log.clone_from(&log));
    daemon.stop();
    pushed
}

fn push_one(daemon: &Daemon, credentials: &Credentials, feed: Feed, is_served: bool) -> Seen {
    let publisher = RawPublisher::start(daemon.rtmp, &credentials.secret, feed);
    let player = is_served.then(|| {
        let mut player = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
        player.until_ended(END_LIMIT);
        player
    });
    let told = if is_served { publisher.statuses() } else { publisher.wait_until_closed(END_LIMIT) };
    Seen { player, told, log: String::new() }
}

fn whole() -> Expectation {
    Expectation::whole(300, 10)
}

/// Some pictures are lost to a hole, but none is lost elsewhere and none comes twice.
fn with_a_hole(at_least: usize, seconds: u32) -> Expectation {
    Expectation { flashes: None, ..Expectation::whole(0, seconds).pictures(Pictures::Rising { at_least }) }
}

#[test]
fn chunks_of_any_size_arrive_whole() {
    for name in ["chunks of 1", "chunks of 65536", "chunks of 16 MiB"] {
        let seen = Seen::of(name);
        seen.assert_unbroken();
        seen.report().assert_whole(&whole());
    }
}

#[test]
fn aggregate_messages_are_taken_apart() {
    let seen = Seen::of("aggregates");
    seen.assert_unbroken();
    seen.report().assert_whole(&whole());
}

/// Sound is counted from its first stamp, and moved towards the others only when they have been elsewhere for 5 s; a picture is shown
/// when its own stamp says. So each may be off by all of the jitter, and the two of them by twice that. The rest is for the
/// milliseconds of RTMP and of the windows that beeps are looked for in.
const fn av_limit_of_jitter_us(jitter_ms: i64) -> i64 {
    2 * jitter_ms * 1_000 + 5_000
}

#[test]
fn jitter_is_repaired_without_losing_a_frame() {
    for (name, jitter_ms) in [("jitter of 20 ms", 20), ("jitter of 40 ms", 40)] {
        let seen = Seen::of(name);
        seen.assert_unbroken();
        seen.report().assert_whole(&Expectation { av_limit_us: av_limit_of_jitter_us(jitter_ms), ..whole() });
    }
}

#[test]
fn a_jump_at_a_keyframe_is_one_discontinuity_and_loses_nothing() {
    for name in ["plus 10 s", "minus 3 s", "to below zero"] {
        let seen = Seen::of(name);
        assert_eq!((seen.codes().len(), seen.breaks()), (2, 1), "{name}");
        seen.assert_playable();
        seen.assert_sound_begins_with_the_picture();
        // The clock jumps where a beep begins: where that one begins cannot be told.
        let expected = Expectation { beeps: Some(8), sound_ms: 9_800, ..whole() };
        seen.report().assert_whole(&expected);
    }
}

#[test]
fn a_jump_between_keyframes_loses_what_cannot_be_decoded() {
    let seen = Seen::of("plus 1 h");
    assert_eq!((seen.codes().len(), seen.breaks()), (2, 1));
    seen.assert_playable();
    seen.assert_sound_begins_with_the_picture();
    // One second, up to the keyframe, where a beep begins.
    seen.report().assert_whole(&Expectation { beeps: Some(7), sound_ms: 8_800, ..with_a_hole(265, 10) });
}

#[test]
fn a_clock_that_starts_below_zero_wraps_unseen() {
    let seen = Seen::of("from below zero");
    seen.assert_unbroken();
    seen.report().assert_whole(&whole());
}

#[test]
fn sound_of_another_origin_is_aligned_by_its_arrival() {
    let seen = Seen::of("sound 5 s ahead");
    seen.assert_unbroken();
    // Arrival says when, to a message of each track.
    seen.report().assert_whole(&Expectation { av_limit_us: 80_000, sound_ms: 9_800, ..whole() });
}

#[test]
fn stamps_out_of_decoding_order_are_repaired() {
    let seen = Seen::of("decoding order");
    seen.assert_unbroken();
    seen.report().assert_whole(&whole());
}

#[test]
fn sequence_headers_that_say_nothing_new_cost_nothing() {
    for name in ["headers repeated", "headers doubled"] {
        let seen = Seen::of(name);
        seen.assert_unbroken();
        assert_eq!(seen.video().inits.len(), 1, "{name}");
        seen.report().assert_whole(&whole());
    }
}

#[test]
fn a_damaged_composition_time_is_one_pictures_trouble() {
    let seen = Seen::of("composition damaged");
    seen.assert_unbroken();
    let report = seen.report();
    report.assert_whole(&Expectation { pictures: Pictures::Count(300), ..whole() });
    assert!(report.longest_pause_us() < 8 * HALF_A_FRAME_US, "{} us", report.longest_pause_us());
}

#[test]
fn negative_composition_times_keep_sound_and_picture_together() {
    let seen = Seen::of("composition negative");
    seen.assert_unbroken();
    seen.report().assert_whole(&whole());
}

#[test]
fn pyramids_of_b_frames_are_presented_in_order() {
    let seen = Seen::of("pyramids");
    seen.assert_unbroken();
    seen.report().assert_whole(&whole());
}

#[test]
fn another_frame_rate_and_another_bitrate_need_no_break() {
    let seen = Seen::of("other frame rate");
    seen.assert_unbroken();
    let numbers = feeds::numbers_without_disposable();
    assert!((150..290).contains(&numbers.len()), "{numbers:?}");
    seen.report().assert_whole(&whole().pictures(Pictures::Numbers(numbers)));
    let seen = Seen::of("other bitrate");
    seen.assert_unbroken();
    seen.report().assert_whole(&whole());
    let bytes: Vec<_> = seen.video().segments.iter().map(|segment| segment.bytes.len()).collect();
    assert!(bytes[3] > 2 * bytes[1], "{bytes:?}");
}

#[test]
fn groups_of_10_s_are_cut_by_time() {
    let seen = Seen::of("keyframes 10 s apart");
    seen.assert_unbroken();
    seen.report().assert_whole(&Expectation::whole(420, 14));
    let independent = seen.video().segments.iter().filter(|segment| boxes::samples(&segment.bytes)[0].sync).count();
    assert_eq!(independent, 2, "the keyframes at 0 s and at 10 s");
    assert!(seen.video().segments.len() >= 6, "{} segments", seen.video().segments.len());
    let playlist = seen.video().playlist.as_ref().expect("it was followed");
    assert!(!playlist.independent_segments && !seen.player().multivariant.independent_segments);
}

/// What is left of a source that lost the keyframes of its third and its fourth group: sound is whole, with so many beeps beside a
/// flash that was not damaged, and so are the groups before and behind. Of the damaged pictures each decoder makes its own.
fn assert_damaged(report: &Report, beeps: usize) {
    report.assert_whole(&Expectation { pictures: Pictures::Any, flashes: None, beeps: Some(beeps), ..whole() });
    let (numbers, group) = (report.numbers(), feeds::GROUP as u32);
    let [first, last] = [0..2 * group, 4 * group..5 * group].map(|range| range.map(Some).collect::<Vec<_>>());
    assert!(numbers.starts_with(&first), "{}: the groups before are whole: {numbers:?}", report.name);
    assert!(numbers.ends_with(&last), "{}: the group behind is whole: {numbers:?}", report.name);
}

#[test]
fn lost_keyframes_leave_the_playlist_whole() {
    let seen = Seen::of("keyframes lost");
    seen.assert_unbroken();
    assert_eq!(seen.video().samples().len(), 298, "all that came is there");
    assert!(seen.video().segments.len() >= 5, "{} segments", seen.video().segments.len());
    assert_damaged(&seen.report(), 7);
}

#[test]
fn silence_behind_a_burst_is_told_to_the_publisher_and_shown_as_gaps() {
    let seen = Seen::of("burst");
    assert_eq!(seen.codes(), ["NetStream.Publish.Start", "NetStream.Unpublish.Success"]);
    let last_words = &seen.told[1].description;
    assert_eq!(last_words, "No audio and no video came for 20 s. Check the encoder's sources, then start it again.");
    assert_eq!(seen.breaks(), 0);
    seen.assert_playable();
    seen.report().assert_whole(&whole());
    let gaps = seen.video().segments.iter().skip_while(|segment| !segment.entry.gap);
    let gaps: Vec<_> = gaps.map(|segment| (segment.entry.gap, segment.entry.duration_us)).collect();
    assert!(gaps.len() >= 10 && gaps.iter().all(|gap| *gap == (true, 2_000_000)), "20 s and the grace time: {gaps:?}");
}

/// The last words that a refused publisher was told, which are in the log as well.
fn refusal(name: &str) -> &'static str {
    let seen = Seen::of(name);
    assert_eq!(seen.codes(), ["NetStream.Publish.Start", "NetStream.Publish.Rejected"], "{name}: {:?}", seen.told);
    let words = seen.told[1].description.strip_prefix("The stream cannot be taken: ").expect("words of ingest");
    assert!(seen.log.contains(words), "{words} is in the log");
    words
}

#[test]
fn a_source_without_a_keyframe_is_refused_in_words() {
    let words = "no keyframe (IDR picture) came within 15 s: set the encoder's keyframe interval to 2 s";
    assert_eq!(refusal("no keyframe"), words);
}

#[test]
fn a_clock_that_stands_still_is_refused_in_words() {
    let words = refusal("all zero");
    assert!(words.contains("stand still: 50 messages in a row say 0 ms"), "{words}");
}

#[test]
fn impossible_composition_times_are_refused_in_words() {
    let words = refusal("composition impossible");
    assert!(words.starts_with("50 pictures in a row have an impossible composition time"), "{words}");
}

/// What ladders make of sources: their top rung may be copied, the other one is encoded.
fn ladders() -> &'static BTreeMap<&'static str, Seen> {
    static PUSHED: OnceLock<BTreeMap<&str, Seen>> = OnceLock::new();
    PUSHED.get_or_init(|| {
        let _turn = machine::shared("the ladders of source_time");
        // A burst of twice real time makes 5 s of it wait: more than this, which is no reason to leave anything out.
        let home = Home::ending_with_the_broadcast(test_preset("auto-360p-240p")).set("ladder.patience", "3s");
        push(home, feeds::encoded(), Vec::new())
    })
}

/// Both rungs and the sound of a ladder have so many discontinuities at equal cuts, and all that is expected.
fn assert_ladder(name: &str, discontinuities: usize, expected: &Expectation) {
    let seen = &ladders()[name];
    assert_eq!(seen.codes(), ["NetStream.Publish.Start", "NetStream.Unpublish.Success"], "{name}");
    seen.assert_playable();
    seen.assert_sound_begins_with_the_picture();
    let rungs: Vec<_> = seen.player().videos().collect();
    assert_eq!(rungs.iter().map(|rung| rung.name.as_str()).collect::<Vec<_>>(), ["360p", "240p"], "{name}");
    let folder = tempfile::tempdir().expect("a folder");
    for rung in rungs {
        assert_eq!((breaks(rung), cuts(rung)), (discontinuities, cuts(seen.player().audio())), "{name}: {}", rung.name);
        assert_video_is_contiguous(rung);
        report_of(rung, seen, folder.path()).assert_whole(expected);
    }
}

#[test]
fn a_ladder_repairs_jitter_without_losing_a_frame() {
    let of_jitter = |jitter_ms| Expectation { av_limit_us: av_limit_of_jitter_us(jitter_ms), ..whole() };
    assert_ladder("jitter of 10 ms", 0, &of_jitter(10));
    assert_ladder("jitter of 40 ms", 0, &of_jitter(40));
}

#[test]
fn a_jump_at_a_keyframe_is_one_discontinuity_in_all_rungs_and_loses_nothing() {
    // The clock jumps where a beep begins: where that one begins cannot be told.
    let expected = Expectation { beeps: Some(8), sound_ms: 9_800, ..whole() };
    assert_ladder("plus 10 s", 1, &expected);
    assert_ladder("minus 3 s", 1, &expected);
}

#[test]
fn a_burst_is_encoded_whole() {
    assert_ladder("burst", 0, &whole());
    assert!(!ladders()["burst"].log.contains("overloaded"), "{}", ladders()["burst"].log);
}

fn report_of(rung: &Rendition, seen: &Seen, folder: &Path) -> Report {
    Report::of(Some(rung), Some(seen.player().audio()), folder)
}

#[test]
fn a_copy_that_ends_leaves_no_hole_and_codecs_name_both_halves() {
    let seen = &ladders()["long"];
    let folder = tempfile::tempdir().expect("a folder");
    for rung in seen.player().videos() {
        assert_eq!(seen.breaks(), 1, "{}", rung.name);
        assert_video_is_contiguous(rung);
        let report = report_of(rung, seen, folder.path());
        let expected = Expectation { sound_ms: 13_800, beeps: Some(12), ..Expectation::whole(420, 14) };
        report.assert_whole(&expected);
        assert!(report.longest_pause_us() < 4 * HALF_A_FRAME_US, "{} us", report.longest_pause_us());
        // What players place a run by: the decode time of its first sample is the end of the run before.
        let ends: Vec<_> = rung.runs().iter().map(|run| run.samples()).collect();
        let (before, behind) = (ends[0][ends[0].len() - 1], ends[1][0]);
        let step = behind.dts as i64 - (before.dts + u64::from(before.duration)) as i64;
        assert!(step.abs() <= 90, "{}: decoding steps by {step} / 90000 s at the switch", rung.name);
    }
    // The source is High, the preset's encoder Main: a decoder for the first plays both.
    let top = seen.player().rung("360p");
    let codecs: Vec<_> = top.inits.values().map(|init| boxes::Init::parse(init).avc.expect("avc1")).collect();
    assert_eq!(codecs.iter().map(|[profile, ..]| *profile).collect::<Vec<_>>(), [100, 77]);
    assert!(
        seen.log.contains("360p is encoded from here on: the source's keyframes are further apart"),
        "{}",
        seen.log
    );
}

#[test]
fn lost_keyframes_cost_a_ladder_their_groups_and_nothing_else() {
    let seen = &ladders()["lost"];
    assert_eq!(seen.codes(), ["NetStream.Publish.Start", "NetStream.Unpublish.Success"]);
    let encoded = seen.player().rung("240p");
    // What was decoded from damaged references is shown; what no decoder takes is missing. Two of five groups are damaged.
    let count = encoded.samples().len();
    assert!((180..=300).contains(&count), "{count} pictures");
    let folder = tempfile::tempdir().expect("a folder");
    // The copy ends where the keyframes come back, and a beep begins there.
    assert_damaged(&report_of(encoded, seen, folder.path()), 6);
}
