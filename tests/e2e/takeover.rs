//! Rows of the table of continuity ([`crate::continuity`]) in which a publisher is sent away: two encoders want one stream, or an
//! administrator ends the broadcast. Each over RTMP, over SRT, and from one to the other.
//!
//! | row | happens | stands in every rendition |
//! |---|---|---|
//! | fight | a second publisher comes while the first one sends; the first one tries to come back | 1 discontinuity at the second one's first keyframe, no gap, all pictures of the first up to there |
//! | ended | with `conflict = "reject"`: a second publisher is refused, then an administrator ends the session while the first one sends | nothing of the second one; ENDLIST behind all that came, no gap; another session behind the same URL |
//! | half open | the first one's network is gone, and nobody has noticed; it comes back by another way | gaps for the hole, 1 discontinuity |
//!
//! Over SRT nobody is told why it was sent away: a shutdown has no words. Whoever comes back reads it in the code of the refusal.

use std::thread;
use std::time::{Duration, Instant};

use crate::broadcast::FIRST_SEGMENT_LIMIT;
use crate::continuity::{self, ROW_LIMIT, breaks_of, ends_with_a_gap, session};
use crate::support::continuity::{History, Stretch};
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::flv::{Kind, Tag};
use crate::support::follower::Follower;
use crate::support::http::{Client, until};
use crate::support::machine;
use crate::support::publisher::{Ending, Feed};
use crate::support::source::{Odd, Source};
use crate::support::transmitter::{Encoder, Via};

/// Who publishes first, and who comes to it.
const PAIRS: [[Via; 2]; 4] =
    [[Via::Rtmp, Via::Rtmp], [Via::Srt, Via::Srt], [Via::Rtmp, Via::Srt], [Via::Srt, Via::Rtmp]];

/// Nobody's pause on a busy machine is taken for silence, and all stays listed and counted.
pub fn home() -> Home {
    continuity::home()
        .set("rtmp.silence", "60s")
        .set("srt.idle", "60s")
        .set("hls.window", "60s")
        .set("session.grace", "3m")
}

/// What SRT callers are told whose place is taken: 1000 and the code of HTTP.
const CONFLICT: &str = "1409";

/// Plays each pair on a stream of its own, all side by side. The log.
fn each_pair(name: &'static str, home: &Home, play: impl Fn(&Daemon, &Credentials, [Via; 2]) + Sync) -> String {
    let _turn = machine::shared(name);
    let daemon = home.serve();
    thread::scope(|scope| {
        let pairs = PAIRS.map(|pair| {
            let (daemon, play, credentials) = (&daemon, &play, home.credentials_of(&format!("{pair:?}")));
            (pair, scope.spawn(move || play(daemon, &credentials, pair)))
        });
        for (pair, run) in pairs {
            run.join().unwrap_or_else(|_| panic!("{pair:?}"));
        }
    });
    let log = daemon.log();
    assert!(!log.contains("panicked"), "{log}");
    daemon.stop();
    log
}

/// Without B-frames, so that what was sent up to any moment can be shown. A keyframe each second.
fn source() -> Source {
    Odd { seconds: 8, options: &["-g", "30", "-keyint_min", "30", "-bf", "0"], ..Odd::named("takeover") }.source()
}

/// The source with nothing but pictures and one header before them, from a publisher that stays behind its end. Sound comes a bit
/// ahead, so that a segment which ends behind any of its pictures has some.
fn plain() -> Feed {
    let says_nothing = |tag: &Tag| tag.kind == Kind::Video && !tag.is_config() && !tag.is_picture();
    let edit = |tags: &mut Vec<Tag>| {
        tags.retain(|tag| !says_nothing(tag));
        tags.iter_mut().filter(|tag| tag.is_sound()).for_each(|tag| tag.due_ms = tag.due_ms.saturating_sub(60));
        tags.sort_by_key(|tag| tag.due_ms);
    };
    Feed::of(&source()).edit(edit).then(Ending::Silence)
}

/// The same without its first pictures: an encoder that is joined between two keyframes.
fn joined_at(picture: usize) -> Feed {
    let leave_out = |tags: &mut Vec<Tag>| {
        let mut pictures = 0;
        tags.retain(|tag| {
            let is_picture = tag.is_picture();
            pictures += usize::from(is_picture);
            !is_picture || pictures > picture
        });
    };
    plain().edit(leave_out).then(Ending::Unpublish)
}

/// How long so many pictures last.
fn time_of(pictures: u32) -> Duration {
    Duration::from_secs(1) * pictures / 30
}

/// How many messages of video the stream's session has taken, headers included, as the daemon counts them where they come in: at most a
/// second ago.
fn video_messages(daemon: &Daemon, stream: &str) -> u32 {
    let metrics = Client::default().fetch(&daemon.url("/metrics"));
    let is_it = |line: &&str| {
        let of_stream = line.contains(&format!("stream=\"{stream}\"")) && line.contains(r#"kind="video""#);
        of_stream && line.starts_with("millstream_ingest_messages_total{")
    };
    let line = metrics.text().lines().find(is_it).and_then(|line| line.rsplit_once(' '));
    line.and_then(|(_, count)| count.parse().ok()).expect("the session's messages")
}

/// Messages before the first picture: a transport stream has none.
fn headers(via: Via) -> u32 {
    u32::from(via == Via::Rtmp)
}

/// Starts a publisher and follows what it sends.
fn begin(via: Via, daemon: &Daemon, credentials: &Credentials, feed: Feed) -> (Encoder, Follower) {
    let publisher = Encoder::start(via, daemon, credentials, feed);
    let player = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    (publisher, player)
}

/// Whether the log says that a caller of this stream was sent away because another one has its place.
fn was_taken_over(daemon: &Daemon, credentials: &Credentials) -> bool {
    daemon.log().lines().any(|line| line.contains("taken_over") && line.contains(&credentials.stream))
}

fn history_of(player: &Follower) -> History {
    let folder = tempfile::tempdir().expect("a folder");
    History::of(player, folder.path())
}

/// Follows until gaps stand behind everything; then the history is whole.
fn seen(mut player: Follower, breaks: usize) -> History {
    player.until(ROW_LIMIT, "gaps behind the last connection", |renditions| {
        renditions.iter().all(|rendition| breaks_of(rendition) >= breaks && ends_with_a_gap(rendition))
    });
    history_of(&player)
}

/// How many pictures of the first connection were shown: those up to the moment at which it ended.
fn first_pictures(history: &History) -> u32 {
    let first = history.lanes.first().and_then(|lane| lane.pictures.first());
    u32::try_from(first.expect("the first connection's pictures").len()).expect("few")
}

#[test]
fn the_newest_encoder_takes_over_with_its_keyframe_and_the_first_stays_out() {
    let log = each_pair("the_newest_encoder_takes_over_with_its_keyframe_and_the_first_stays_out", &home(), fight);
    assert!(log.contains("another encoder takes over"), "{log}");
}

fn fight(daemon: &Daemon, credentials: &Credentials, [via, other]: [Via; 2]) {
    let (mut first, mut player) = begin(via, daemon, credentials, plain());
    player.until(ROW_LIMIT, "a segment and more", |_| first.pictures_sent() > 30);
    let second = Encoder::start(other, daemon, credentials, joined_at(10));
    player.until(ROW_LIMIT, "the first one is sent away", |_| first.is_closed());
    let second_was_there = first.began_at().elapsed();
    let told = first.last_word();
    match via {
        Via::Rtmp => {
            assert_eq!(told, "NetStream.Publish.BadName: Another encoder took over this stream with a valid key.");
        }
        Via::Srt => assert!(was_taken_over(daemon, credentials), "{told}"),
    }
    // It reconnects by itself, as encoders do.
    let refused = Encoder::refusal(via, daemon, credentials, Feed::of(&source()));
    let words = match via {
        Via::Rtmp => "Stop that one, or do not try for 30 s",
        Via::Srt => CONFLICT,
    };
    assert!(refused.contains(words), "{refused}");
    player.until(ROW_LIMIT, "the second has sent all", |_| second.has_arrived(daemon, &credentials.stream));
    second.leave();
    let history = seen(player, 1);
    let all = source().frames();
    let (first_part, sent) = (first_pictures(&history), first.pictures_sent());
    assert!(
        (31..=sent).contains(&first_part),
        "a segment and more, until the second one's keyframe: {first_part} of {sent}"
    );
    // Each that the session took is shown: the first one's behind its header, the second one's from its keyframe on.
    let taken = until(ROW_LIMIT, "the figures of the last second", || {
        let taken = video_messages(daemon, &credentials.stream);
        (taken > all - 30 + first_part - 1 + headers(via)).then_some(taken)
    });
    assert_eq!(taken, headers(via) + first_part + (all - 30));
    let first_one = Stretch::new(0..first_part, Duration::ZERO).within(second_was_there, time_of(first_part));
    history.assert_continuous(&[first_one, Stretch::new(30..all, Duration::ZERO)]);
    assert!(!history.shape().contains("g|"), "no gap at the takeover: {}", history.shape());
    assert!(!daemon.log().contains(&credentials.secret), "the key is in the log");
}

#[test]
fn who_takes_over_from_a_half_open_connection_may_be_taken_over_from_again() {
    each_pair("who_takes_over_from_a_half_open_connection_may_be_taken_over_from_again", &home(), come_back);
}

fn come_back(daemon: &Daemon, credentials: &Credentials, [via, other]: [Via; 2]) {
    let short = Odd { seconds: 3, options: &["-g", "30", "-keyint_min", "30", "-bf", "0"], ..Odd::named("half-open") };
    let short = short.source();
    let (half_open, mut player) = begin(via, daemon, credentials, Feed::of(&short).then(Ending::Mute));
    player.until(ROW_LIMIT, "all has come", |_| half_open.has_arrived(daemon, &credentials.stream));
    half_open.freeze();
    let silent_since: Instant = half_open.sent_at().expect("waited for");
    // Longer than what lets a connection count as heard.
    player.until(ROW_LIMIT, "4 s of silence", |_| silent_since.elapsed() >= Duration::from_secs(4));
    let back = Encoder::start(other, daemon, credentials, Feed::of(&short));
    let away = silent_since.elapsed();
    player.until(ROW_LIMIT, "the old connection is closed", |_| {
        half_open.is_closed() || was_taken_over(daemon, credentials)
    });
    let was_back = half_open.began_at().elapsed();
    half_open.thaw();
    player.until(ROW_LIMIT, "all has come again", |_| back.has_arrived(daemon, &credentials.stream));
    back.leave();
    let history = seen(player, 1);
    let all = short.frames();
    let first_one = Stretch::new(0..all, away).within(was_back, time_of(all));
    history.assert_continuous(&[first_one, Stretch::new(0..all, Duration::ZERO)]);
}

#[test]
fn a_session_ends_by_command_with_all_that_came() {
    let home = home().set("session.conflict", "reject");
    let end = |daemon: &Daemon, credentials: &Credentials, pair| reject_and_end(&home, daemon, credentials, pair);
    each_pair("a_session_ends_by_command_with_all_that_came", &home, end);
}

fn reject_and_end(home: &Home, daemon: &Daemon, credentials: &Credentials, [via, other]: [Via; 2]) {
    let (mut publisher, mut player) = begin(via, daemon, credentials, plain());
    player.until_segments(1, FIRST_SEGMENT_LIMIT);
    let refused = Encoder::refusal(other, daemon, credentials, joined_at(10));
    match other {
        Via::Rtmp => {
            assert_eq!(refused, "NetStream.Publish.BadName: Another encoder publishes to this stream already.");
        }
        Via::Srt => assert_eq!(refused, CONFLICT),
    }
    assert!(!publisher.is_closed());
    let taken = video_messages(daemon, &credentials.stream) - headers(via);
    let ended = home.cli(&["sessions", "end", "--stream", &credentials.stream]);
    assert_eq!(ended["state"], "ended", "{ended}");
    let told = publisher.last_word();
    if via == Via::Rtmp {
        assert_eq!(told, "NetStream.Unpublish.Success: The session was ended.");
    }
    player.until_ended(ROW_LIMIT);
    let history = history_of(&player);
    let shown = first_pictures(&history);
    let sent = publisher.pictures_sent();
    assert!((taken.max(30)..=sent).contains(&shown), "{shown} shown of {sent}, {taken} taken before the end");
    history.assert_continuous(&[Stretch::new(0..shown, Duration::ZERO)]);
    assert!(!player.renditions.iter().any(ends_with_a_gap), "{}", history.shape());
    let (_again, next) = begin(via, daemon, credentials, Feed::of(&source()));
    assert_ne!(session(&next), session(&player));
    let sessions = home.cli(&["sessions", "list"]);
    let of_stream =
        sessions.as_array().into_iter().flatten().filter(|session| session["stream_id"] == credentials.stream);
    assert_eq!(of_stream.count(), 2, "{sessions}");
}
