//! Enhanced RTMP by our own writer ([`enhanced`](crate::support::enhanced)): what libx265, libsvtav1, libvpx, libopus and others have
//! coded, in each way of wrapping, encoded by a ladder and carried by `passthrough`. Every picture and every beep is counted, and
//! `ffprobe` reads what came out without a warning.

use std::thread;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::support::content::{Expectation, Report, assert_decodes_silently, probe_silently};
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::enhanced::{Codec, Coded, Wrapping, interleaved};
use crate::support::follower::{Follower, Rendition};
use crate::support::machine;
use crate::support::publisher::{Feed, RawPublisher};
use crate::support::source::{Odd, Source};

/// Pictures with numbers, flashes and beeps, at half the size that the top rung may have.
fn source() -> Source {
    Odd::named("enhanced").source()
}

/// What an encoder sends, and how.
struct Case {
    name: &'static str,
    video: Codec,
    audio: Codec,
    wrapping: Wrapping,
}

/// Each codec beside H.264 and AAC once, each wrapping once.
const CASES: [Case; 5] = [
    Case { name: "hevc, opus", video: Codec::Hevc, audio: Codec::Opus, wrapping: Wrapping::ModEx(456_789) },
    Case { name: "av1, ac-3", video: Codec::Av1, audio: Codec::Ac3, wrapping: Wrapping::ManyTracks },
    Case { name: "vp9, flac", video: Codec::Vp9, audio: Codec::Flac, wrapping: Wrapping::ManyCodecs },
    Case { name: "avc, e-ac-3", video: Codec::H264, audio: Codec::Eac3, wrapping: Wrapping::OneTrack(0) },
    Case { name: "hevc, mp3", video: Codec::Hevc, audio: Codec::Mp3, wrapping: Wrapping::Plain },
];

impl Case {
    fn feed(&self) -> Feed {
        let tags = |codec| Coded::of(&source(), codec).tags(self.wrapping);
        Feed::from(interleaved(tags(self.video), tags(self.audio)))
    }
}

/// Sends a case to its end; what a player saw.
fn push(daemon: &Daemon, credentials: &Credentials, case: &Case) -> Follower {
    let _publisher = RawPublisher::start(daemon.rtmp, &credentials.secret, case.feed());
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_ended(source().limit());
    seen
}

/// Pushes all cases side by side through a daemon with this preset, and gives each to `look` while the daemon still runs.
fn each_case(preset: impl Into<String>, look: impl Fn(&Case, &Follower, &Daemon) + Sync) {
    let home = Home::ending_with_the_broadcast(preset);
    let daemon = home.serve();
    let credentials: Vec<_> = CASES.iter().map(|case| home.credentials_of(case.name)).collect();
    thread::scope(|scope| {
        let pushes = CASES.iter().zip(&credentials).map(|(case, credentials)| {
            let (daemon, look) = (&daemon, &look);
            scope.spawn(move || look(case, &push(daemon, credentials, case), daemon))
        });
        let pushes: Vec<_> = pushes.collect();
        for (push, case) in pushes.into_iter().zip(&CASES) {
            push.join().unwrap_or_else(|_| panic!("{}: {}", case.name, daemon.log()));
        }
    });
    let log = daemon.log();
    assert!(!log.contains("panicked") && !log.contains(r#""level":"ERROR""#), "{log}");
    daemon.stop();
}

/// Every picture of the source once, every beep beside its flash.
fn assert_whole(rung: &Rendition, seen: &Follower) {
    let folder = tempfile::tempdir().expect("a folder");
    let source = source();
    let report = Report::of(Some(rung), Some(seen.audio()), folder.path());
    report.assert_whole(&Expectation::whole(source.frames(), source.seconds));
}

/// CODECS of the variant that this is the pictures of, video first.
fn codecs_of(rung: &Rendition) -> &[String] {
    &rung.variant.as_ref().expect("a video rendition").codecs
}

#[test]
fn every_codec_of_enhanced_rtmp_makes_a_ladder() {
    let _turn = machine::shared("every_codec_of_enhanced_rtmp_makes_a_ladder");
    each_case(test_preset("auto-360p-240p"), |case, seen, _| {
        let rungs: Vec<_> = seen.videos().map(|rung| &*rung.name).collect();
        assert_eq!(rungs, ["360p", "240p"], "{}", case.name);
        for rung in seen.videos() {
            assert_whole(rung, seen);
            let codecs = codecs_of(rung);
            assert!(codecs[0].starts_with("avc1.") && codecs[1] == "mp4a.40.2", "{}: {codecs:?}", case.name);
        }
    });
}

#[test]
fn passthrough_carries_what_came_and_other_tools_read_it() {
    let _turn = machine::shared("passthrough_carries_what_came_and_other_tools_read_it");
    each_case("passthrough", |case, seen, daemon| {
        let video = seen.videos().next().expect("a video rendition");
        assert_whole(video, seen);
        let coded = Coded::of(&source(), case.video);
        if case.video == Codec::Vp9 {
            let record = coded.config.as_deref().expect("pictures have a configuration");
            let init = video.init();
            let at = init.windows(4).position(|window| window == b"vpcC").expect("a configuration box") + 4;
            assert_eq!(init[at..at + 6], record[..6], "{}: version, profile and level", case.name);
        }
        let sound = if case.audio == Codec::Opus { "Opus" } else { "mp4a.40.2" };
        assert_eq!(codecs_of(video), [codecs_string(&coded), sound.to_owned()], "{}", case.name);

        // As files, and as a player reads them over HTTP: the variant has both tracks.
        let folder = tempfile::tempdir().expect("a folder");
        let file = |rendition: &Rendition| rendition.write(folder.path());
        let files = [video, seen.audio()].map(file);
        files.iter().for_each(|file| assert_decodes_silently(file));
        let of_files = files.iter().flat_map(|file| probe_silently(file.to_str().expect("a plain name")));
        let of_playlist = probe_silently(&daemon.url(&seen.path));
        assert_eq!(of_playlist.len(), 2, "{}: {of_playlist:?}", case.name);
        for track in of_files.chain(of_playlist) {
            let text = |field: &str| track[field].as_str().unwrap_or_default().to_owned();
            let number = |field: &str| track[field].as_u64().unwrap_or(0);
            let is_video = text("codec_type") == "video";
            let (entry, rendition) = match (is_video, case.audio) {
                (true, _) => (case.video.four_cc(), video),
                (false, Codec::Opus) => ("Opus", seen.audio()),
                (false, _) => ("mp4a", seen.audio()),
            };
            let count = rendition.samples().len().to_string();
            let said = (text("codec_tag_string"), text("nb_read_packets"));
            assert_eq!(said, (entry.to_owned(), count), "{}: {track}", case.name);
            // Of `vpcC` ffprobe shows nothing.
            let shown = !is_video || case.video != Codec::Vp9;
            assert!(!shown || number("extradata_size") > 0, "{}: no configuration: {track}", case.name);
            if is_video {
                let Source { width, height, .. } = source();
                assert_eq!([number("width"), number("height")], [width, height].map(u64::from), "{}", case.name);
            } else {
                assert_eq!((text("sample_rate").as_str(), number("channels")), ("48000", 2), "{}", case.name);
            }
        }
    });
}

/// What the encoder's own configuration record says in the words of RFC 6381: ISO/IEC 14496-15 E.3, AV1-ISOBMFF 5, VP9-ISOBMFF.
fn codecs_string(coded: &Coded) -> String {
    let record = coded.config.as_deref().expect("pictures have a configuration");
    match coded.codec {
        Codec::H264 => format!("avc1.{:02x}{:02x}{:02x}", record[1], record[2], record[3]),
        Codec::Hevc => {
            let [profile, tier] = [record[1] & 31, record[1] >> 5 & 1];
            let compatible = u32::from_be_bytes([record[2], record[3], record[4], record[5]]).reverse_bits();
            let constraints = record[6..12].iter().map(|byte| format!(".{byte:X}")).collect::<String>();
            let constraints = constraints.trim_end_matches(".0");
            let tier = ['L', 'H'][usize::from(tier)];
            format!("hvc1.{profile}.{compatible:X}.{tier}{}{constraints}", record[12])
        }
        Codec::Av1 => {
            let (profile, level) = (record[1] >> 5, record[1] & 31);
            assert_eq!(record[2] & 0xfc, 0x0c, "main tier, 8 bit, 4:2:0");
            // The short form means colours of BT.709 and samples of colour at no known place; the source says nothing of colours.
            let place = record[2] & 3;
            let rest = if place == 0 { String::new() } else { format!(".0.11{place}.02.02.02.0") };
            format!("av01.{profile}.{level:02}M.08{rest}")
        }
        // Behind version and flags.
        Codec::Vp9 => format!("vp09.{:02}.{:02}.{:02}", record[4], record[5], record[6] >> 4),
        other => panic!("{other:?} is no picture"),
    }
}
