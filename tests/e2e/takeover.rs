//! Rows of the table of continuity ([`crate::continuity`]) in which a publisher is sent away: two encoders want one stream, or an
//! administrator ends the broadcast.
//!
//! | row | happens | stands in every rendition |
//! |---|---|---|
//! | fight | a second publisher comes while the first one sends; the first one tries to come back | 1 discontinuity at the second one's first keyframe, no gap, all pictures of the first up to there |
//! | ended | with `conflict = "reject"`: a second publisher is refused, then an administrator ends the session while the first one sends | nothing of the second one; ENDLIST behind all that came, no gap; another session behind the same URL |
//! | half open | the first one's network is gone, and nobody has noticed; it comes back by another way | gaps for the hole, 1 discontinuity |

use std::time::{Duration, Instant};

use crate::broadcast::FIRST_SEGMENT_LIMIT;
use crate::continuity::{self, ROW_LIMIT, breaks_of, ends_with_a_gap, session};
use crate::support::continuity::{History, Stretch};
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::flv::{Kind, Tag};
use crate::support::follower::Follower;
use crate::support::http::{Client, until};
use crate::support::machine;
use crate::support::publisher::{Ending, Feed, RawPublisher};
use crate::support::source::{Odd, Source};

/// Nobody's pause on a busy machine is taken for silence, and all stays listed.
fn home() -> Home {
    continuity::home().set("rtmp.silence", "60s").set("hls.window", "60s")
}

/// Without B-frames, so that what was sent up to any moment can be shown. A keyframe each second.
fn source() -> Source {
    Odd { seconds: 6, options: &["-g", "30", "-keyint_min", "30", "-bf", "0"], ..Odd::named("takeover") }.source()
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

/// How many messages of video the session has taken, headers included, as the daemon counts them where they come in: at most a
/// second ago.
fn video_messages(daemon: &Daemon) -> u32 {
    let metrics = Client::default().fetch(&daemon.url("/metrics"));
    let is_it = |line: &&str| line.starts_with("millstream_ingest_messages_total{") && line.contains(r#"kind="video""#);
    let line = metrics.text().lines().find(is_it).and_then(|line| line.rsplit_once(' '));
    line.and_then(|(_, count)| count.parse().ok()).expect("the session's messages")
}

fn begin(daemon: &Daemon, credentials: &Credentials, feed: Feed) -> (RawPublisher, Follower) {
    let publisher = RawPublisher::start(daemon.rtmp, &credentials.secret, feed);
    let player = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    (publisher, player)
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
    let _turn = machine::shared("the_newest_encoder_takes_over_with_its_keyframe_and_the_first_stays_out");
    let home = home();
    let (daemon, credentials) = (home.serve(), home.credentials());
    let (first, mut player) = begin(&daemon, &credentials, plain());
    player.until_segments(1, FIRST_SEGMENT_LIMIT);
    let second = RawPublisher::start(daemon.rtmp, &credentials.secret, joined_at(10));
    player.until(ROW_LIMIT, "the first one is sent away", |_| first.is_closed());
    let second_was_there = first.began_at().elapsed();
    let told = first.statuses().pop().expect("a status");
    assert_eq!(told.code, "NetStream.Publish.BadName");
    assert_eq!(told.description, "Another encoder took over this stream with a valid key.");
    // It reconnects by itself, as encoders do.
    let again = RawPublisher::start(daemon.rtmp, &credentials.secret, Feed::of(&source()));
    let refused = again.wait_until_closed(ROW_LIMIT).pop().expect("a status");
    assert_eq!(refused.code, "NetStream.Publish.BadName");
    assert!(refused.description.contains("Stop that one, or do not try for 30 s"), "{refused:?}");
    player.until(ROW_LIMIT, "the second has sent all", |_| second.sent_at().is_some());
    let history = seen(player, 1);
    let all = source().frames();
    let (first_part, sent) = (first_pictures(&history), first.pictures_sent());
    assert!(
        (31..=sent).contains(&first_part),
        "a segment and more, until the second one's keyframe: {first_part} of {sent}"
    );
    // Each that the session took is shown: the first one's behind its header, the second one's from its keyframe on.
    let taken = until(ROW_LIMIT, "the figures of the last second", || {
        let taken = video_messages(&daemon);
        (taken > all - 30 + first_part).then_some(taken)
    });
    assert_eq!(taken, 1 + first_part + (all - 30));
    let first_one = Stretch::new(0..first_part, Duration::ZERO).within(second_was_there, time_of(first_part));
    history.assert_continuous(&[first_one, Stretch::new(30..all, Duration::ZERO)]);
    assert!(!history.shape().contains("g|"), "no gap at the takeover: {}", history.shape());
    let log = daemon.log();
    assert!(log.contains("another encoder takes over") && !log.contains(&credentials.secret), "{log}");
    daemon.stop();
}

#[test]
fn who_takes_over_from_a_half_open_connection_may_be_taken_over_from_again() {
    let _turn = machine::shared("who_takes_over_from_a_half_open_connection_may_be_taken_over_from_again");
    let home = home();
    let (daemon, credentials) = (home.serve(), home.credentials());
    let short = Odd { seconds: 3, options: &["-g", "30", "-keyint_min", "30", "-bf", "0"], ..Odd::named("half-open") };
    let short = short.source();
    let (half_open, mut player) = begin(&daemon, &credentials, Feed::of(&short).then(Ending::Mute));
    player.until(ROW_LIMIT, "all was sent", |_| half_open.sent_at().is_some());
    let silent_since: Instant = half_open.sent_at().expect("waited for");
    // Longer than what lets a connection count as heard.
    player.until(ROW_LIMIT, "4 s of silence", |_| silent_since.elapsed() >= Duration::from_secs(4));
    let back = RawPublisher::start(daemon.rtmp, &credentials.secret, Feed::of(&short));
    let away = silent_since.elapsed();
    player.until(ROW_LIMIT, "the old connection is closed", |_| half_open.is_closed());
    let was_back = half_open.began_at().elapsed();
    player.until(ROW_LIMIT, "all was sent again", |_| back.sent_at().is_some());
    let history = seen(player, 1);
    let all = short.frames();
    let first_one = Stretch::new(0..all, away).within(was_back, time_of(all));
    history.assert_continuous(&[first_one, Stretch::new(0..all, Duration::ZERO)]);
    daemon.stop();
}

#[test]
fn a_session_ends_by_command_with_all_that_came() {
    let _turn = machine::shared("a_session_ends_by_command_with_all_that_came");
    let home = home().set("session.conflict", "reject");
    let (daemon, credentials) = (home.serve(), home.credentials());
    let (publisher, mut player) = begin(&daemon, &credentials, plain());
    player.until_segments(1, FIRST_SEGMENT_LIMIT);
    let second = RawPublisher::start(daemon.rtmp, &credentials.secret, joined_at(10));
    let refused = second.wait_until_closed(ROW_LIMIT).pop().expect("a status");
    assert_eq!(
        (refused.code.as_str(), refused.description.as_str()),
        ("NetStream.Publish.BadName", "Another encoder publishes to this stream already.")
    );
    assert!(!publisher.is_closed());
    let taken = video_messages(&daemon) - 1; // behind the header
    let ended = home.cli(&["sessions", "end", "--stream", &credentials.stream]);
    assert_eq!(ended["state"], "ended", "{ended}");
    let told = publisher.wait_until_closed(ROW_LIMIT).pop().expect("a status");
    assert_eq!(
        (told.code.as_str(), told.description.as_str()),
        ("NetStream.Unpublish.Success", "The session was ended.")
    );
    player.until_ended(ROW_LIMIT);
    let history = history_of(&player);
    let shown = first_pictures(&history);
    assert!(
        (taken.max(30)..=publisher.pictures_sent()).contains(&shown),
        "{shown} shown, {taken} taken before the end"
    );
    history.assert_continuous(&[Stretch::new(0..shown, Duration::ZERO)]);
    assert!(!player.renditions.iter().any(ends_with_a_gap), "{}", history.shape());
    let (_again, next) = begin(&daemon, &credentials, Feed::of(&source()));
    assert_ne!(session(&next), session(&player));
    let sessions = home.cli(&["sessions", "list"]);
    assert_eq!(sessions.as_array().map(Vec::len), Some(2), "{sessions}");
    daemon.stop();
}
