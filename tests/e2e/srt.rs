//! SRT by the real `ffmpeg` (libsrt): every codec that encoders send, encryption, refusals, and the rows of the table of continuity
//! ([`crate::continuity`]) that SRT has.
//!
//! | row | happens | stands in every rendition |
//! |---|---|---|
//! | to SRT | RTMP unpublishes, SRT goes on | 1 discontinuity |
//! | to RTMP | SRT ends, RTMP goes on | 1 discontinuity |
//! | killed | an SRT caller is killed and comes back before anybody has noticed | 1 discontinuity, all pictures up to there |

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::continuity::{ROW_LIMIT, breaks_of, ends_with_a_gap};
use crate::support::content::{Expectation, Report};
use crate::support::continuity::{History, Stretch};
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::follower::{Follower, Rendition};
use crate::support::http::Client;
use crate::support::machine;
use crate::support::publisher::{Ending, Feed, RawPublisher};
use crate::support::source::{Caller, Odd, Source};
use crate::takeover;

/// Until a refused encoder has ended.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);
/// The latency of SRT, and what a multiplexer of transport streams holds back.
const SRT_DELAY: Duration = Duration::from_millis(500);
const LISTENERS_PASSPHRASE: &str = "of-the-listener-0123";
const STREAMS_PASSPHRASE: &str = "of-this-stream-98765";

/// A keyframe each second, so that few pictures are lost where one is waited for.
fn source() -> Source {
    let options = &["-g", "30", "-keyint_min", "30", "-bf", "2"];
    Odd { size: (640, 360), seconds: 6, options, ..Odd::named("srt") }.source()
}

/// Without B-frames, so that what was sent up to any moment can be shown.
fn in_order() -> Source {
    let options = &["-g", "30", "-keyint_min", "30", "-bf", "0"];
    Odd { size: (640, 360), seconds: 6, options, ..Odd::named("srt-in-order") }.source()
}

/// What an encoder sends, how it calls, and what comes out in the rung that would be copied.
struct Case {
    name: &'static str,
    /// Options of `ffmpeg` that make its transport stream of the plain source.
    coding: &'static [&'static str],
    /// The stream's own.
    passphrase: Option<&'static str>,
    query: fn(&Credentials) -> String,
    /// Beginnings of the CODECS of the two renditions that `passthrough` makes.
    carried: [&'static str; 2],
}

fn plain_key(credentials: &Credentials) -> String {
    format!("streamid={}", credentials.secret)
}

const COPIED: &[&str] = &["-c", "copy"];
const CASES: [Case; 8] = [
    Case { name: "plain", coding: COPIED, passphrase: None, query: plain_key, carried: ["avc1.", "mp4a.40.2"] },
    Case {
        name: "aes-128",
        coding: COPIED,
        passphrase: None,
        query: |it| {
            let id = format!("%23!::m=publish,r={},u={}", it.stream, it.secret);
            format!("streamid={id}&passphrase={LISTENERS_PASSPHRASE}&pbkeylen=16")
        },
        carried: ["avc1.", "mp4a.40.2"],
    },
    Case {
        name: "aes-256",
        coding: COPIED,
        passphrase: Some(STREAMS_PASSPHRASE),
        query: |stream| format!("{}&passphrase={STREAMS_PASSPHRASE}&pbkeylen=32", plain_key(stream)),
        carried: ["avc1.", "mp4a.40.2"],
    },
    Case {
        name: "hevc-latm",
        coding: &[
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "log-level=error:keyint=30:min-keyint=30",
            "-b:v",
            "1000k",
            "-c:a",
            "aac",
            "-b:a",
            "128k",
            "-mpegts_flags",
            "latm",
        ],
        passphrase: None,
        query: plain_key,
        carried: ["hvc1.", "mp4a.40.2"],
    },
    Case {
        name: "opus",
        coding: &["-c:v", "copy", "-c:a", "libopus", "-b:a", "128k"],
        passphrase: None,
        query: plain_key,
        carried: ["avc1.", "Opus"],
    },
    Case {
        name: "mp2",
        coding: &["-c:v", "copy", "-c:a", "mp2", "-b:a", "192k"],
        passphrase: None,
        query: plain_key,
        carried: ["avc1.", "mp4a.40.2"],
    },
    Case {
        name: "ac-3",
        coding: &["-c:v", "copy", "-c:a", "ac3", "-b:a", "192k"],
        passphrase: None,
        query: plain_key,
        carried: ["avc1.", "mp4a.40.2"],
    },
    Case {
        name: "e-ac-3",
        coding: &["-c:v", "copy", "-c:a", "eac3", "-b:a", "192k"],
        passphrase: None,
        query: plain_key,
        carried: ["avc1.", "mp4a.40.2"],
    },
];

/// A caller that goes ends the session: a lost SRT connection is held, and there is nothing to hold it for.
fn home(preset: impl Into<String>) -> Home {
    Home::new(preset).set("session.grace", "0s").set("srt.passphrase", LISTENERS_PASSPHRASE)
}

fn credentials_of(home: &Home, case: &Case) -> Credentials {
    let Some(passphrase) = case.passphrase else { return home.credentials_of(case.name) };
    let file = home.folder().join("passphrase");
    fs::write(&file, passphrase).expect("a file with the passphrase");
    home.credentials_with(case.name, &["--srt-passphrase-file", file.to_str().expect("a plain name")])
}

/// Sends a case to its end; what a player saw.
fn push(daemon: &Daemon, credentials: &Credentials, case: &Case) -> Follower {
    let source = source();
    let file = source.transport(case.name, case.coding);
    let caller = Caller::start(&file, daemon.srt(), &(case.query)(credentials));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    caller.finish(&source);
    seen.until_ended(source.limit());
    seen
}

/// Pushes all cases side by side through a daemon with this preset, and gives each to `look`.
fn each_case(preset: impl Into<String>, look: impl Fn(&Case, &Follower) + Sync) {
    let home = home(preset);
    let daemon = home.serve();
    let credentials: Vec<_> = CASES.iter().map(|case| credentials_of(&home, case)).collect();
    thread::scope(|scope| {
        let pushes = CASES.iter().zip(&credentials).map(|(case, credentials)| {
            let (daemon, look) = (&daemon, &look);
            scope.spawn(move || look(case, &push(daemon, credentials, case)))
        });
        let pushes: Vec<_> = pushes.collect();
        for (push, case) in pushes.into_iter().zip(&CASES) {
            push.join().unwrap_or_else(|_| panic!("{}: {}", case.name, daemon.log()));
        }
    });
    let lines = daemon.lines();
    daemon.stop();
    let log = lines.text();
    for secret in [LISTENERS_PASSPHRASE, STREAMS_PASSPHRASE].into_iter().chain(credentials.iter().map(|it| &*it.secret))
    {
        assert!(!log.contains(secret), "a secret is in the log");
    }
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn every_codec_that_comes_over_srt_makes_a_ladder() {
    let _turn = machine::shared("every_codec_that_comes_over_srt_makes_a_ladder");
    let source = source();
    each_case(test_preset("auto-360p-240p"), |case, seen| {
        let folder = tempfile::tempdir().expect("a folder");
        for rung in ["360p", "240p"] {
            let rung = seen.rung(rung);
            let report = Report::of(Some(rung), Some(seen.audio()), folder.path());
            report.assert_whole(&Expectation::whole(source.frames(), source.seconds));
            let codecs = codecs_of(rung);
            assert!(codecs[0].starts_with("avc1.") && codecs[1] == "mp4a.40.2", "{}: {codecs:?}", case.name);
        }
    });
}

#[test]
fn passthrough_carries_hevc_and_opus_as_they_are_and_other_sound_as_aac() {
    let _turn = machine::shared("passthrough_carries_hevc_and_opus_as_they_are_and_other_sound_as_aac");
    let source = source();
    each_case("passthrough", |case, seen| {
        let folder = tempfile::tempdir().expect("a folder");
        let video = seen.videos().next().expect("a video rendition");
        let report = Report::of(Some(video), Some(seen.audio()), folder.path());
        report.assert_whole(&Expectation::whole(source.frames(), source.seconds));
        let codecs = codecs_of(video);
        let as_it_came = codecs.iter().zip(case.carried).all(|(codecs, carried)| codecs.starts_with(carried));
        assert!(as_it_came, "{}: {codecs:?}", case.name);
    });
}

/// CODECS of the variant that this is the pictures of, video first.
fn codecs_of(rung: &Rendition) -> &[String] {
    &rung.variant.as_ref().expect("a video rendition").codecs
}

/// An SRT caller with another key, another passphrase or none ends at once, and is told why in SRT's own codes.
#[test]
fn callers_that_may_not_publish_are_refused() {
    let _turn = machine::shared("callers_that_may_not_publish_are_refused");
    let home = home("passthrough");
    let daemon = home.serve();
    let own = credentials_of(&home, &CASES[2]);
    let plain = home.credentials_of("plain");
    let file = source().transport(CASES[0].name, CASES[0].coding);
    let wrong_key = plain.secret.chars().rev().collect::<String>();
    let refused = [
        ("unknown key", format!("streamid={wrong_key}")),
        ("no key", String::new()),
        ("wrong passphrase", format!("{}&passphrase=not-the-right-one", plain_key(&plain))),
        (
            "the listener's passphrase for a stream with its own",
            format!("{}&passphrase={LISTENERS_PASSPHRASE}", plain_key(&own)),
        ),
        ("not encrypted", plain_key(&own)),
        ("another stream", format!("streamid=%23!::m=publish,r=another,u={}", plain.secret)),
        ("a player", format!("streamid=%23!::m=request,u={}", plain.secret)),
        ("a file", format!("streamid=%23!::m=publish,t=file,u={}", plain.secret)),
    ];
    let callers = refused.map(|(why, query)| (why, Caller::start(&file, daemon.srt(), &query)));
    for (why, mut caller) in callers {
        let status = caller.wait(REFUSAL_LIMIT).unwrap_or_else(|| panic!("{why}: it goes on"));
        assert!(!status.success(), "{why}: {status}");
    }
    // The port serves on.
    let credentials = home.credentials_of("after");
    let seen = push(&daemon, &credentials, &CASES[0]);
    assert!(seen.videos().next().is_some_and(|video| !video.segments.is_empty()));
    let metrics = Client::default().fetch(&daemon.url("/metrics")).text().to_owned();
    assert!(metrics.contains("\nmillstream_listen_publishes_total{protocol=\"srt\"} 1\n"), "{metrics}");
    daemon.stop();
}

/// Follows until gaps stand behind everything; then the history is whole.
fn history(mut player: Follower, breaks: usize) -> History {
    player.until(ROW_LIMIT, "gaps behind the last connection", |renditions| {
        renditions.iter().all(|rendition| breaks_of(rendition) >= breaks && ends_with_a_gap(rendition))
    });
    let folder = tempfile::tempdir().expect("a folder");
    History::of(&player, folder.path())
}

fn caller(daemon: &Daemon, credentials: &Credentials) -> Caller {
    let file = source().transport(CASES[0].name, CASES[0].coding);
    Caller::start(&file, daemon.srt(), &plain_key(credentials))
}

/// Sends each frame of sound by itself: a third of a second of it together, as is usual, is lost together.
fn caller_in_step(daemon: &Daemon, credentials: &Credentials) -> Caller {
    let file = in_order().transport(CASES[0].name, CASES[0].coding);
    Caller::start_with(&file, daemon.srt(), &plain_key(credentials), &["-pes_payload_size", "0"])
}

fn over_rtmp(daemon: &Daemon, credentials: &Credentials) -> RawPublisher {
    RawPublisher::start(daemon.rtmp, &credentials.secret, Feed::of(&source()).then(Ending::Unpublish))
}

#[test]
fn a_broadcast_goes_on_from_rtmp_to_srt_and_back() {
    let _turn = machine::shared("a_broadcast_goes_on_from_rtmp_to_srt_and_back");
    let (home, all) = (takeover::home(), source().frames());
    let (daemon, credentials) = (home.serve(), home.credentials());
    let first = over_rtmp(&daemon, &credentials);
    let mut player = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    player.until(ROW_LIMIT, "RTMP has sent all", |_| first.sent_at().is_some());
    let mut away = vec![first.sent_at().expect("it was waited for")];
    drop(first);
    let mut before = Stretch::new(0..all, away[0].elapsed());
    let called = Instant::now();
    let second = caller(&daemon, &credentials);
    daemon.wait_for_log("SRT connection accepted", ROW_LIMIT);
    before.late = called.elapsed() + SRT_DELAY; // ffmpeg looks at its file first
    let mut stretches = vec![before];
    let ended = second.finish_beside(&source(), || player.update());
    away.push(ended);
    let third = over_rtmp(&daemon, &credentials);
    // ffmpeg ends some time behind its last picture: it waits until all was sent, and says goodbye.
    stretches.push(Stretch { late: 2 * SRT_DELAY, ..Stretch::new(0..all, away[1].elapsed()) });
    player.until(ROW_LIMIT, "RTMP has sent all again", |_| third.sent_at().is_some());
    drop(third);
    stretches.push(Stretch::new(0..all, Duration::ZERO));
    history(player, 2).assert_continuous(&stretches);
    daemon.stop();
}

/// What libsrt has not handed over when it is killed is lost; what the session took is shown up to its last whole picture.
#[test]
fn a_caller_that_is_killed_takes_its_own_place_behind_one_discontinuity() {
    let _turn = machine::shared("a_caller_that_is_killed_takes_its_own_place_behind_one_discontinuity");
    let (home, all) = (takeover::home(), in_order().frames());
    let (daemon, credentials) = (home.serve(), home.credentials());
    let first = caller_in_step(&daemon, &credentials);
    let mut player = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    player.until_segments(2, ROW_LIMIT);
    first.kill();
    // It is back before its silence was noticed: it takes over.
    let second = caller_in_step(&daemon, &credentials);
    player.until(ROW_LIMIT, "the second caller takes over", |renditions| {
        renditions.iter().all(|rendition| breaks_of(rendition) >= 1)
    });
    second.finish_beside(&in_order(), || player.update());
    let history = history(player, 1);
    let shown = history.lanes[0].pictures.first().expect("the first caller's pictures").len();
    let shown = u32::try_from(shown).expect("few");
    assert!((60..all).contains(&shown), "two segments and more of {all}: {shown}");
    let hole = Stretch::new(0..shown, Duration::ZERO).within(ROW_LIMIT, Duration::ZERO);
    history.assert_continuous(&[hole, Stretch::new(0..all, Duration::ZERO)]);
    daemon.stop();
}
