//! Sources whose sound is coded in an odd way or changes, and sources that lack a track, lose one or get one late: what the
//! playlist, the media and the publisher see.
//!
//! All of them are pushed at the same time, each to a stream of its own: once to a daemon that encodes them, and those for which
//! that is another matter once more to one that copies them. [`feeds`] says what each is like.

mod feeds;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::support::content::{Expectation, Pictures, Report, probe};
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::flv::Kind;
use crate::support::follower::{Follower, Rendition, Run};
use crate::support::http::Client;
use crate::support::machine;
use crate::support::process::output;
use crate::support::publisher::{Feed, RawPublisher, Status};
use crate::support::tone::{RATE, Tone};

use feeds::{AWAY_FROM_MS, BACK_AT_MS, Case, SECONDS, SOUND_BACK_AT_MS};

/// From the last packet to ENDLIST, on a machine that is busy.
const END_LIMIT: Duration = Duration::from_secs(90);
/// Frames per second of the pictures.
const FPS: u32 = 15;
/// How much later than it is sent a keyframe is shown: two frames.
const SHOWN_LATE_MS: u64 = 133;

/// What came of one feed.
struct Seen {
    /// What a player saw that was there from the beginning.
    first: Follower,
    /// What one saw that came when the late track was listed.
    newcomer: Option<Follower>,
    /// What the publisher was told.
    told: Vec<Status>,
    /// The daemon's log of all feeds.
    log: String,
}

impl Seen {
    fn encoded(name: &str) -> &'static Seen {
        static PUSHED: OnceLock<BTreeMap<String, Seen>> = OnceLock::new();
        let pushed = PUSHED.get_or_init(|| {
            let _turn = machine::shared("the encoded broadcasts of source_tracks");
            push(&test_preset("test-360p-240p-144p"), feeds::encoded())
        });
        &pushed[name]
    }

    fn copied(name: &str) -> &'static Seen {
        static PUSHED: OnceLock<BTreeMap<String, Seen>> = OnceLock::new();
        let pushed = PUSHED.get_or_init(|| {
            let _turn = machine::shared("the copied broadcasts of source_tracks");
            push("passthrough", feeds::copied())
        });
        &pushed[name]
    }

    /// The feed as it is encoded and as it is copied.
    fn both(name: &str) -> [(&'static str, &'static Seen); 2] {
        [("encoded", Seen::encoded(name)), ("copied", Seen::copied(name))]
    }

    fn newcomer(&self) -> &Follower {
        self.newcomer.as_ref().expect("a feed with a late track")
    }

    /// Nothing but hello and goodbye: the source was served.
    fn assert_welcome(&self) {
        let codes: Vec<_> = self.told.iter().map(|status| status.code.as_str()).collect();
        assert_eq!(codes, ["NetStream.Publish.Start", "NetStream.Unpublish.Success"], "{:?}", self.told);
    }
}

fn report(video: Option<&Rendition>, audio: Option<&Rendition>) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    Report::of(video, audio, folder.path())
}

/// The video rung; a variant without a size is sound alone.
fn pictures(follower: &Follower) -> &Rendition {
    let mut rungs = follower.videos().filter(|rung| rung.variant.as_ref().is_some_and(|it| it.resolution.0 > 0));
    rungs.next().expect("a video rung")
}

fn sound(follower: &Follower) -> &Rendition {
    follower.rung("audio")
}

/// Discontinuities behind the first segment.
fn breaks(rendition: &Rendition) -> usize {
    rendition.segments.iter().filter(|segment| segment.entry.discontinuity && segment.entry.msn > 0).count()
}

/// MSNs of gaps.
fn gaps(rendition: &Rendition) -> Vec<u64> {
    rendition.segments.iter().map(|segment| &segment.entry).filter(|entry| entry.gap).map(|entry| entry.msn).collect()
}

/// Where both have a segment, it has one date, and is a discontinuity in both or in neither.
fn assert_cut_alike(one: &Rendition, other: &Rendition) {
    for segment in &one.segments {
        let entry = &segment.entry;
        if let Some(twin) = other.segments.iter().map(|twin| &twin.entry).find(|twin| twin.msn == entry.msn) {
            assert_eq!((&entry.wall, entry.discontinuity), (&twin.wall, twin.discontinuity), "segment {}", entry.msn);
        }
    }
}

/// Pushes all feeds at the same time and follows them to their ends.
fn push(preset: &str, cases: Vec<Case>) -> BTreeMap<String, Seen> {
    let home = Home::ending_with_the_broadcast(preset);
    let daemon = home.serve();
    let cases = cases.into_iter().map(|(name, feed)| (home.credentials_of(&name), name, feed));
    let cases: Vec<_> = cases.collect();
    let daemon_of_all = &daemon;
    let mut pushed: BTreeMap<_, _> = thread::scope(|scope| {
        let threads = cases.into_iter().map(|(credentials, name, feed)| {
            let late = name.ends_with("late");
            (name, scope.spawn(move || push_one(daemon_of_all, &credentials, feed, late)))
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|(name, run)| (name.clone(), run.join().unwrap_or_else(|_| panic!("{name}")))).collect()
    });
    let log = daemon.log();
    assert!(!log.contains("panicked") && !log.contains(r#""level":"ERROR""#), "{log}");
    pushed.values_mut().for_each(|seen| seen.log.clone_from(&log));
    daemon.stop();
    pushed
}

fn push_one(daemon: &Daemon, credentials: &Credentials, feed: Feed, late: bool) -> Seen {
    let publisher = RawPublisher::start(daemon.rtmp, &credentials.secret, feed);
    let open = || Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    let mut first = open();
    publisher.go_on();
    let mut newcomer = None;
    if late {
        first.until(END_LIMIT, "the late track is listed", |_| {
            let now = open();
            let joined = now.renditions.len() > 1;
            newcomer = joined.then_some(now);
            joined
        });
    }
    first.until_ended(END_LIMIT);
    if let Some(newcomer) = &mut newcomer {
        newcomer.until_ended(END_LIMIT);
    }
    Seen { first, newcomer, told: publisher.statuses(), log: String::new() }
}

/// One channel of a rendition's sound.
fn channel(rendition: &Rendition, channel: u32) -> Vec<f32> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-i"]).arg(rendition.write(folder.path()));
    let filter = format!("pan=mono|c0=c{channel}");
    command.args(["-af", &filter, "-ar", &RATE.to_string(), "-f", "f32le", "-"]);
    let bytes = output(&mut command);
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

#[test]
fn every_rate_and_layout_comes_out_as_one_unbroken_stereo_tone() {
    for (rate, layout) in feeds::TONES {
        let name = format!("{rate} Hz {layout}");
        let seen = Seen::encoded(&name);
        seen.assert_welcome();
        let audio = sound(&seen.first);
        assert_eq!((breaks(audio), gaps(audio)), (0, vec![]), "{name}");
        let folder = tempfile::tempdir().expect("a folder");
        let heard = probe(&audio.write(folder.path()));
        assert_eq!((&heard["sample_rate"], &heard["channels"]), (&"48000".into(), &2.into()), "{name}: {heard}");
        let variant = pictures(&seen.first).variant.as_ref().expect("a rung has a variant");
        assert_eq!(variant.codecs[1], "mp4a.40.2", "{name}");
        for side in 0..2 {
            let wave = channel(audio, side);
            let millis = wave.len() * 1_000 / RATE;
            assert!(millis + 250 > feeds::TONE_SECONDS as usize * 1_000, "{name}: {millis} ms");
            Tone::measure(&wave).assert_unbroken(&format!("{name}, channel {side}"), 100.0);
        }
    }
}

/// Beeps come each second, and nothing between them is silent.
fn assert_beeps(name: &str, audio: &Rendition, count: usize) {
    let report = report(None, Some(audio));
    let beeps = report.beeps_us();
    assert!(beeps.len() >= count, "{name}: {beeps:?}");
    let steps = beeps.windows(2).map(|pair| (pair[1] - pair[0] - 1_000_000).abs());
    assert!(steps.max() <= Some(5_000), "{name}: the cadence of {beeps:?}");
    assert!(report.longest_silence_ms() <= 30, "{name}: a silence of {} ms", report.longest_silence_ms());
}

#[test]
fn high_efficiency_sound_is_encoded_however_it_is_signalled() {
    for (name, ..) in feeds::SIGNALLED {
        let seen = Seen::encoded(name);
        seen.assert_welcome();
        let audio = sound(&seen.first);
        assert_eq!((breaks(audio), gaps(audio)), (0, vec![]), "{name}");
        assert_beeps(name, audio, feeds::HE_SECONDS as usize - 1);
    }
}

#[test]
fn high_efficiency_sound_is_copied_with_its_name() {
    for (name, codecs) in [("v1 explicit", "mp4a.40.5"), ("v2 explicit", "mp4a.40.29")] {
        let seen = Seen::copied(name);
        seen.assert_welcome();
        let variant = pictures(&seen.first).variant.as_ref().expect("a rung has a variant");
        assert_eq!(variant.codecs[1], codecs, "{name}");
        assert_beeps(name, sound(&seen.first), feeds::HE_SECONDS as usize - 1);
    }
}

#[test]
fn pictures_without_sound_are_a_broadcast() {
    for (how, seen) in Seen::both("video only") {
        seen.assert_welcome();
        assert!(seen.first.multivariant.audio.is_empty(), "{how}");
        let rung = pictures(&seen.first);
        assert_eq!((breaks(rung), gaps(rung)), (0, vec![]), "{how}");
        assert_eq!(rung.variant.as_ref().map(|variant| variant.codecs.len()), Some(1), "{how}: no sound is promised");
        report(Some(rung), None).assert_whole(&Expectation::whole(SECONDS * FPS, SECONDS).without_sound());
    }
}

#[test]
fn sound_without_pictures_is_a_broadcast() {
    for (how, seen) in Seen::both("audio only") {
        seen.assert_welcome();
        let audio = sound(&seen.first);
        let variant = audio.variant.as_ref().expect("sound alone is the variant");
        assert_eq!((seen.first.renditions.len(), &variant.codecs[..]), (1, &["mp4a.40.2".to_owned()][..]), "{how}");
        assert_eq!((breaks(audio), gaps(audio)), (0, vec![]), "{how}");
        report(None, Some(audio)).assert_whole(&Expectation::whole(0, SECONDS).without_pictures());
        assert_beeps("audio only", audio, SECONDS as usize - 1);
    }
}

#[test]
fn sound_that_comes_late_joins_for_new_viewers() {
    for (how, seen) in Seen::both("sound late") {
        seen.assert_welcome();
        assert!(seen.first.multivariant.audio.is_empty(), "{how}: there was none when it began");
        let rung = pictures(&seen.first);
        assert_eq!((breaks(rung), gaps(rung)), (0, vec![]), "{how}: who watches does not notice");
        let whole = Expectation::whole(SECONDS * FPS, SECONDS);
        report(Some(rung), None).assert_whole(&whole.clone().without_sound());
        let (rung, audio) = (pictures(seen.newcomer()), sound(seen.newcomer()));
        assert!(rung.variant.as_ref().is_some_and(|variant| variant.codecs.len() == 2), "{how}: sound is promised");
        assert_cut_alike(rung, audio);
        assert_eq!((breaks(audio), gaps(audio)), (0, vec![]), "{how}");
        // It joins with the cut after it came.
        report(Some(rung), Some(audio)).assert_whole(&Expectation { beeps: Some(5), sound_ms: 5_900, ..whole });
        assert!(seen.log.contains("a track came late"), "{how}: {}", seen.log);
    }
}

#[test]
fn pictures_that_come_late_join_for_new_viewers() {
    for (how, seen) in Seen::both("pictures late") {
        seen.assert_welcome();
        assert_eq!(seen.first.renditions.len(), 1, "{how}: sound alone");
        let (rung, audio) = (pictures(seen.newcomer()), sound(seen.newcomer()));
        assert_cut_alike(rung, audio);
        // Sound between the keyframe's decoding and its presentation is trimmed to the picture.
        assert_eq!((breaks(audio), breaks(rung), gaps(audio), gaps(rung)), (1, 1, vec![], vec![]), "{how}");
        assert_eq!(rung.segments[0].entry.msn, 2, "{how}: it begins where it joined");
        let numbers = (AWAY_FROM_MS as u32 / 1_000 * FPS..SECONDS * FPS).collect();
        let expected = Expectation::whole(0, SECONDS).pictures(Pictures::Numbers(numbers));
        let seconds = SECONDS as usize - AWAY_FROM_MS as usize / 1_000;
        let expected = Expectation { flashes: Some(seconds), beeps: Some(seconds - 1), sound_ms: 11_700, ..expected };
        report(Some(rung), Some(audio)).assert_whole(&expected);
    }
}

#[test]
fn sound_that_vanishes_is_silence_until_it_comes_back() {
    for (how, seen) in Seen::both("sound vanishes") {
        seen.assert_welcome();
        let (rung, audio) = (pictures(&seen.first), sound(&seen.first));
        assert_cut_alike(rung, audio);
        let broken = [(breaks(rung), gaps(rung)), (breaks(audio), gaps(audio))];
        assert_eq!(broken, [(0, vec![]), (0, vec![])], "{how}: nobody notices but by ear");
        let report = report(Some(rung), Some(audio));
        let away = (SOUND_BACK_AT_MS - AWAY_FROM_MS) as usize;
        report.assert_whole(&Expectation {
            beeps: Some(SECONDS as usize - away.div_ceil(1_000) - 1),
            sound_ms: 11_800,
            silence_limit_ms: away + 50,
            ..Expectation::whole(SECONDS * FPS, SECONDS)
        });
        assert!(report.longest_silence_ms() >= away - 50, "{how}: {} ms", report.longest_silence_ms());
    }
}

#[test]
fn pictures_that_vanish_are_gaps_until_they_come_back() {
    for (how, seen) in Seen::both("pictures vanish") {
        seen.assert_welcome();
        let (rung, audio) = (pictures(&seen.first), sound(&seen.first));
        assert_cut_alike(rung, audio);
        assert_eq!((breaks(rung), gaps(audio)), (1, vec![]), "{how}: sound goes on");
        assert!((1..=3).contains(&gaps(rung).len()), "{how}: {:?}", gaps(rung));
        let msns: Vec<_> = rung.segments.iter().map(|segment| segment.entry.msn).collect();
        assert!(msns.windows(2).all(|pair| pair[1] == pair[0] + 1), "{how}: {msns:?}");
        let frame = |ms: u64| ms as u32 / 1_000 * FPS;
        let numbers = (0..frame(AWAY_FROM_MS)).chain(frame(BACK_AT_MS)..SECONDS * FPS).collect();
        report(Some(rung), Some(audio)).assert_whole(&Expectation {
            flashes: Some(8),
            beeps: Some(6),
            sound_ms: 11_700,
            ..Expectation::whole(0, SECONDS).pictures(Pictures::Numbers(numbers))
        });
    }
}

/// Rate and channels of each run of a rendition's sound.
fn forms(audio: &Rendition) -> Vec<(u32, u32)> {
    let folder = tempfile::tempdir().expect("a folder");
    let form = |run: &Run<'_>| {
        let heard = probe(&run.write(folder.path()));
        let rate = heard["sample_rate"].as_str().and_then(|rate| rate.parse().ok());
        let channels = heard["channels"].as_u64().and_then(|channels| u32::try_from(channels).ok());
        rate.zip(channels).unwrap_or_else(|| panic!("no sound: {heard}"))
    };
    audio.runs().iter().map(form).collect()
}

#[test]
fn sound_that_changes_its_rate_or_channels_is_one_discontinuity_each() {
    for (how, seen) in Seen::both("sound changes") {
        seen.assert_welcome();
        let (rung, audio) = (pictures(&seen.first), sound(&seen.first));
        assert_cut_alike(rung, audio);
        let broken = [(breaks(rung), gaps(rung)), (breaks(audio), gaps(audio))];
        assert_eq!(
            broken,
            [(2, vec![]), (2, vec![])],
            "{how}: both renditions break at the keyframes behind the changes"
        );
        let (heard, inits) = match how {
            "copied" => (feeds::FORMS, 3),
            _ => ([(48_000, 2); 3], 1),
        };
        assert_eq!((forms(audio), audio.inits.len(), rung.inits.len()), (heard.to_vec(), inits, 1), "{how}");
        let variant = rung.variant.as_ref().expect("a rung has a variant");
        assert_eq!(variant.codecs[1], "mp4a.40.2", "{how}");
        // New sound begins with the keyframe that is shown at 8 s, where a beep begins, as at 4 s; until then it is silence, of
        // which the last 100 ms of a run are not looked at.
        let away = (8_000 + SHOWN_LATE_MS - feeds::CHANGES_MS[1]) as usize;
        let report = report(Some(rung), Some(audio));
        report.assert_whole(&Expectation {
            beeps: Some(SECONDS as usize - 3),
            sound_ms: 11_800,
            silence_limit_ms: away,
            ..Expectation::whole(SECONDS * FPS, SECONDS)
        });
        assert!(report.longest_silence_ms() + 150 >= away, "{how}: {} ms", report.longest_silence_ms());
    }
}

/// Pushes [`feeds::refused`] messages of `kind`, each to a stream of its own: the publisher and the log have the words.
fn assert_refused(kind: Kind, messages: &[feeds::Refused]) {
    let home = Home::ending_with_the_broadcast("passthrough");
    let credentials: Vec<_> = (0..messages.len()).map(|n| home.credentials_of(&format!("refused {n}"))).collect();
    let daemon = home.serve();
    let publishers = messages.iter().zip(&credentials).map(|((bytes, words), credentials)| {
        (RawPublisher::start(daemon.rtmp, &credentials.secret, feeds::refused(kind, bytes)), words)
    });
    for (publisher, words) in publishers.collect::<Vec<_>>() {
        let told = publisher.wait_until_closed(END_LIMIT);
        let last = told.last().expect("it is told something");
        assert_eq!((last.level.as_str(), last.code.as_str()), ("error", "NetStream.Publish.Rejected"), "{words}");
        assert_eq!(last.description, format!("The stream cannot be taken: {words}"));
        daemon.wait_for_log(words, END_LIMIT);
    }
    for credentials in &credentials {
        let answer = Client::default().get(&daemon.url(&format!("/live/{}/index.m3u8", credentials.stream)));
        assert_ne!(answer.status, 200, "nothing was published");
    }
    daemon.stop();
}

#[test]
fn other_sound_is_refused_in_words() {
    let _turn = machine::shared("other_sound_is_refused_in_words");
    assert_refused(Kind::Audio, &feeds::REFUSED_SOUND);
}

#[test]
fn other_pictures_are_refused_in_words() {
    let _turn = machine::shared("other_pictures_are_refused_in_words");
    assert_refused(Kind::Video, &feeds::REFUSED_PICTURES);
}
