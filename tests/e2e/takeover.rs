//! Rows of the table of continuity ([`crate::continuity`]) in which a publisher is sent away: two encoders want one stream, or an
//! administrator ends the broadcast.
//!
//! | row | happens | stands in every rendition |
//! |---|---|---|
//! | fight | a second publisher comes while the first one sends; the first one tries to come back | 1 discontinuity at the second one's first keyframe, no gap, all pictures of the first up to there |
//! | ended | an administrator ends the session while its publisher sends | ENDLIST behind all that came, no gap; another session behind the same URL |
//! | half open | the first one's network is gone, and nobody has noticed; it comes back by another way | gaps for the hole, 1 discontinuity |

use std::time::{Duration, Instant};

use crate::broadcast::FIRST_SEGMENT_LIMIT;
use crate::continuity::{ROW_LIMIT, breaks_of, ends_with_a_gap, home, session};
use crate::support::continuity::{History, Stretch};
use crate::support::daemon::{Credentials, Daemon};
use crate::support::follower::Follower;
use crate::support::machine;
use crate::support::publisher::{Ending, Feed, RawPublisher};
use crate::support::source::{Odd, Source};

/// Without B-frames, so that what was sent up to any moment can be shown. A keyframe each second.
fn source() -> Source {
    Odd { seconds: 6, options: &["-g", "30", "-keyint_min", "30", "-bf", "0"], ..Odd::named("takeover") }.source()
}

/// The source without its first pictures: an encoder that is joined between two keyframes.
fn joined_at(picture: usize) -> Feed {
    let leave_out = |tags: &mut Vec<crate::support::flv::Tag>| {
        let mut pictures = 0;
        tags.retain(|tag| {
            let is_picture = tag.is_picture();
            pictures += usize::from(is_picture);
            !is_picture || pictures > picture
        });
    };
    Feed::of(&source()).edit(leave_out)
}

fn begin(daemon: &Daemon, credentials: &Credentials, feed: Feed) -> (RawPublisher, Follower) {
    let publisher = RawPublisher::start(daemon.rtmp, &credentials.secret, feed);
    let player = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    (publisher, player)
}

/// Follows until gaps stand behind everything; then the history is whole.
fn seen(mut player: Follower, breaks: usize) -> History {
    player.until(ROW_LIMIT, "gaps behind the last connection", |renditions| {
        renditions.iter().all(|rendition| breaks_of(rendition) >= breaks && ends_with_a_gap(rendition))
    });
    let folder = tempfile::tempdir().expect("a folder");
    History::of(&player, folder.path())
}

/// How many pictures the first connection brought: that is up to the moment at which it ended.
fn first_pictures(history: &History) -> u32 {
    let first = history.lanes.first().and_then(|lane| lane.pictures.first());
    u32::try_from(first.expect("the first connection's pictures").len()).expect("few")
}

#[test]
fn the_newest_encoder_takes_over_with_its_keyframe_and_the_first_stays_out() {
    let _turn = machine::shared("the_newest_encoder_takes_over_with_its_keyframe_and_the_first_stays_out");
    let home = home();
    let (daemon, credentials) = (home.serve(), home.credentials());
    let (first, mut player) = begin(&daemon, &credentials, Feed::of(&source()));
    player.until_segments(1, FIRST_SEGMENT_LIMIT);
    let second = RawPublisher::start(daemon.rtmp, &credentials.secret, joined_at(10));
    player.until(ROW_LIMIT, "the first one is sent away", |_| first.is_closed());
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
    let first_part = first_pictures(&history);
    assert!((31..all).contains(&first_part), "a segment and more, until the second one's keyframe: {first_part}");
    history.assert_continuous(&[Stretch::new(0..first_part, Duration::ZERO), Stretch::new(30..all, Duration::ZERO)]);
    let log = daemon.log();
    assert!(log.contains("another encoder takes over") && !log.contains(&credentials.secret), "{log}");
    daemon.stop();
}

#[test]
fn who_takes_over_from_a_half_open_connection_may_be_taken_over_from_again() {
    let _turn = machine::shared("who_takes_over_from_a_half_open_connection_may_be_taken_over_from_again");
    // The daemon would notice by itself, much later.
    let home = home().set("rtmp.silence", "60s");
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
    player.until(ROW_LIMIT, "all was sent again", |_| back.sent_at().is_some());
    let history = seen(player, 1);
    history
        .assert_continuous(&[Stretch::new(0..short.frames(), away), Stretch::new(0..short.frames(), Duration::ZERO)]);
    daemon.stop();
}

#[test]
fn a_session_ends_by_command_with_all_that_came() {
    let _turn = machine::shared("a_session_ends_by_command_with_all_that_came");
    let home = home();
    let (daemon, credentials) = (home.serve(), home.credentials());
    let (publisher, mut player) = begin(&daemon, &credentials, Feed::of(&source()));
    player.until_segments(1, FIRST_SEGMENT_LIMIT);
    let ended = home.cli(&["sessions", "end", "--stream", &credentials.stream]);
    assert_eq!(ended["state"], "ended", "{ended}");
    let told = publisher.wait_until_closed(ROW_LIMIT).pop().expect("a status");
    assert_eq!(
        (told.code.as_str(), told.description.as_str()),
        ("NetStream.Unpublish.Success", "The session was ended.")
    );
    player.until_ended(ROW_LIMIT);
    let folder = tempfile::tempdir().expect("a folder");
    let history = History::of(&player, folder.path());
    let sent = first_pictures(&history);
    assert!(sent >= 30, "{sent}");
    history.assert_continuous(&[Stretch::new(0..sent, Duration::ZERO)]);
    assert!(!player.renditions.iter().any(ends_with_a_gap), "{}", history.shape());
    let (_again, next) = begin(&daemon, &credentials, Feed::of(&source()));
    assert_ne!(session(&next), session(&player));
    let sessions = home.cli(&["sessions", "list"]);
    assert_eq!(sessions.as_array().map(Vec::len), Some(2), "{sessions}");
    daemon.stop();
}
