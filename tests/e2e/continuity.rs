//! The table of continuity: what happens to a broadcast, and what a player sees of it.
//!
//! Each row is a stream of its own; all of one protocol are pushed at the same time to one daemon with a copied and an encoded rung, and
//! read before, during and after. What holds in every row is [`crate::support::continuity`], and that the store lists the same; a row
//! says what it has beyond that. All of them have connections whose timestamps begin at 0.
//!
//! | row | happens: over RTMP | over SRT | stands in every rendition |
//! |---|---|---|---|
//! | reset | RST in the middle of a segment, back after 0.3 s | killed there, back before anybody has noticed | 1 discontinuity |
//! | closed | FIN, back after 5 s | shutdown, back after 5 s | gaps for 5 s, 1 discontinuity |
//! | silent | the way to the publisher is gone; the deadline closes the connection | the caller is frozen until then, and goes on when another has its place | gaps for that time, 1 discontinuity |
//! | held | clean unpublish, back after 2.5 s | as closed | gaps for 2.5 s, 1 discontinuity |
//! | headers | RST with headers and parameter sets before each keyframe, back after 0.3 s | in all rows | 1 discontinuity, one init segment |
//! | from 2^24, from 2^31, from 2^32 | timestamps begin 100 ms before that | | nothing |
//! | from 2^33 | | PTS, DTS and PCR begin 100 ms before that | nothing |
//! | plus 6 h, minus 6 h | timestamps jump at a keyframe | the same | 1 discontinuity, no gap |
//! | smaller | 640x360 at 30 fps becomes 426x240 at 60 fps in mid-stream | the same | 1 discontinuity, no gap, another init segment |
//! | smaller, again | the same behind a reconnect | the same | 1 discontinuity, another init segment |
//! | late | FIN, back after the grace time | shutdown, back after the grace time | gaps, ENDLIST; another session behind the same URL |
//! | end | clean unpublish with `on_unpublish = "end"` | | ENDLIST at once, no gap; another session behind the same URL |
//! | end | | shutdown with the same: it may be a reconnect, and is held | as late |
//!
//! Takeovers by a second publisher: [`crate::takeover`]. Restarts of the daemon: [`crate::lifecycle`], [`crate::restarts`]. From one
//! protocol to the other in mid-session: [`crate::srt`].

use std::collections::BTreeMap;
use std::fs;
use std::iter;
use std::ops::Range;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::source_video::{PART_SECONDS, numbers, spliced};
use crate::support::boxes::Init;
use crate::support::continuity::{History, Stretch};
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::flv::{Tag, repeat_headers, repeat_parameter_sets, tags};
use crate::support::follower::{Follower, Rendition};
use crate::support::http::{Client, until};
use crate::support::machine;
use crate::support::playlist::{Media, Multivariant, resolve};
use crate::support::publisher::{Ending, Feed};
use crate::support::source::{Odd, Source};
use crate::support::transmitter::{Encoder, Via};
use crate::support::transport;

/// From the start of a connection until everything of it came out, on a machine that is busy with all rows.
pub const ROW_LIMIT: Duration = Duration::from_secs(60);
/// How long a connection may say nothing.
const SILENCE: &str = "3s";
/// The same over SRT, where a caller that stood still with the whole machine is not heard at once.
const SRT_SILENCE: &str = "6s";
/// What the log says then.
const SRT_LOST: &str = "connection lost: nothing came any more";
/// Length of the plain source.
const SECONDS: u32 = 3;

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Reset,
    Closed,
    Silent,
    Unpublished,
}

/// One connection of a row.
struct Connection {
    feed: Feed,
    /// The pictures between two discontinuities of it.
    pictures: Vec<Range<u32>>,
    end: End,
    /// From the last byte to the next connection; a silent one is waited for besides.
    away: Duration,
}

/// What happens to a stream.
struct Row {
    name: &'static str,
    connections: Vec<Connection>,
}

/// What a player saw of a session.
struct Seen {
    player: Follower,
    /// The stored playlist of each rendition when it had all media.
    stored: Vec<Media>,
    history: History,
    stretches: Vec<Stretch>,
}

fn plain() -> Source {
    let options = &["-g", "30", "-keyint_min", "30"];
    Odd { seconds: SECONDS, options, ..Odd::named("continuity") }.source()
}

fn feed() -> Feed {
    Feed::of(&plain())
}

/// All pictures of a source.
fn all(source: &Source) -> Vec<Range<u32>> {
    iter::once(0..source.frames()).collect()
}

/// All of the plain source.
fn whole() -> Vec<Range<u32>> {
    all(&plain())
}

fn once(name: &'static str, feed: Feed, pictures: Vec<Range<u32>>) -> Row {
    let connection = Connection { feed, pictures, end: End::Unpublished, away: Duration::ZERO };
    Row { name, connections: vec![connection] }
}

/// A connection with `feed` that ends in this way, and `again` behind it.
fn twice(name: &'static str, end: End, away_ms: u64, feed: Feed, again: Feed) -> Row {
    let first = Connection { feed, pictures: whole(), end, away: Duration::from_millis(away_ms) };
    let second = Connection { feed: again, pictures: whole(), end: End::Unpublished, away: Duration::ZERO };
    Row { name, connections: vec![first, second] }
}

fn moved(ms: i64) -> Feed {
    feed().each(|tag| tag.move_stamp(ms))
}

/// The plain source up to the middle of its third segment: as far as no picture was sent ahead of one that is shown before it.
fn interrupted() -> (Feed, Range<u32>) {
    let mut tags = tags(&plain());
    let shown = |tag: &Tag| i64::from(tag.stamp_ms) + i64::from(tag.composition_ms());
    let first = tags.iter().find(|tag| tag.is_picture()).map(shown).expect("a picture");
    let (mut count, mut last) = (0, 0);
    let end = tags.iter().position(|tag| {
        let whole = count >= 75 && last == count;
        if tag.is_picture() && !whole {
            count += 1;
            last = last.max((shown(tag) - first + 16) * 30 / 1_000 + 1);
        }
        tag.is_picture() && whole
    });
    tags.truncate(end.expect("it is longer"));
    (Feed::from(tags), 0..u32::try_from(count).expect("few"))
}

/// The clock jumps where the third second begins.
fn jumped(name: &'static str, from: Feed, hours: i64) -> Row {
    once(name, from.jump(2_000, hours * 3_600_000), vec![0..60, 60..90])
}

fn repeated() -> Feed {
    feed().edit(|tags| repeat_parameter_sets(tags)).edit(repeat_headers)
}

/// Without B-frames, so that the parts' decoding times do not overlap.
fn large_and_small() -> [Source; 2] {
    let of = |name, size, rate, fps, options| {
        Odd { size, rate, fps, options, seconds: PART_SECONDS + 1, ..Odd::named(name) }.source()
    };
    let large = of("continuity-large", (640, 360), "30", 30, &["-g", "15", "-bf", "0"]);
    let small = of("continuity-small", (426, 240), "60", 60, &["-g", "30", "-bf", "0"]);
    [large, small]
}

fn rows(via: Via) -> Vec<Row> {
    let [large, small] = large_and_small();
    let (_, smaller) = spliced(&[&large, &small]);
    let first = Connection {
        feed: Feed::of(&large),
        pictures: all(&large),
        end: End::Closed,
        away: Duration::from_millis(300),
    };
    let again =
        Connection { feed: Feed::of(&small), pictures: all(&small), end: End::Unpublished, away: Duration::ZERO };
    let mut reset = twice("reset", End::Reset, 300, feed(), feed());
    let (feed_to_the_middle, pictures) = interrupted();
    reset.connections[0].feed = feed_to_the_middle;
    reset.connections[0].pictures = iter::once(pictures).collect();
    let both = [
        reset,
        twice("closed", End::Closed, 5_000, feed(), feed()),
        twice("silent", End::Silent, 0, feed(), feed()),
        jumped("plus 6 h", feed(), 6),
        jumped("minus 6 h", moved(7 * 3_600_000), -6),
        once("smaller", smaller, vec![numbers(&large), numbers(&small)]),
        Row { name: "smaller, again", connections: vec![first, again] },
    ];
    let own = match via {
        Via::Rtmp => vec![
            twice("held", End::Unpublished, 2_500, feed(), feed()),
            twice("headers", End::Reset, 300, repeated(), repeated()),
            once("from 2^24", moved((1 << 24) - 100), whole()),
            once("from 2^31", moved((1 << 31) - 100), whole()),
            once("from 2^32", moved((1 << 32) - 100), whole()),
        ],
        Via::Srt => vec![once("from 2^33", moved(transport::WRAP_MS - 100), whole())],
    };
    both.into_iter().chain(own).collect()
}

pub fn home() -> Home {
    Home::new(test_preset("auto-360p-240p"))
        .set("hls.segment", "1s")
        // Discontinuities leave it while the rows go on.
        .set("hls.window", "6s")
        .set("rtmp.silence", SILENCE)
        .set("srt.idle", SRT_SILENCE)
}

/// All rows of a protocol, pushed together when the first test asks.
fn seen(via: Via, name: &str) -> &'static Seen {
    static PUSHED: [OnceLock<BTreeMap<&str, Seen>>; 2] = [OnceLock::new(), OnceLock::new()];
    let pushed = PUSHED[via as usize].get_or_init(|| {
        let _turn = machine::shared("the broadcasts of continuity");
        let home = match via {
            Via::Rtmp => home(),
            // What is given up is given up late: all of its gaps are listed at once, behind segments that nobody has seen yet.
            Via::Srt => home().set("hls.window", "16s"),
        };
        let daemon = home.serve();
        let pushed = thread::scope(|scope| {
            let push = |row: Row| {
                let name = row.name;
                let (home, daemon, credentials) = (&home, &daemon, home.credentials_of(name));
                (name, scope.spawn(move || push(home, daemon, &credentials, via, row)))
            };
            let threads: Vec<_> = rows(via).into_iter().map(push).collect();
            threads.into_iter().map(|(name, run)| (name, run.join().unwrap_or_else(|_| panic!("{name}")))).collect()
        });
        let log = daemon.log();
        assert!(!log.contains("panicked"), "{log}");
        // The publishers went as the rows say.
        let reasons = match via {
            Via::Rtmp => {
                ["connection lost: connection reset", "the peer closed the connection", "the publisher is silent"]
            }
            Via::Srt => ["closed by the session: taken_over", "the caller closed the connection", SRT_LOST],
        };
        for reason in reasons {
            assert!(log.contains(reason), "no connection ended with {reason:?}: {log}");
        }
        daemon.stop();
        pushed
    });
    &pushed[name]
}

/// The stored playlist of each rendition.
pub fn stored(home: &Home, stream: &str, renditions: &[Rendition]) -> Vec<Media> {
    let folder = home.session_folder(stream);
    let read = |rendition: &Rendition| {
        let path = folder.join(&rendition.name).join("index.m3u8");
        Media::parse(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    };
    renditions.iter().map(read).collect()
}

/// Sends a row's connections and follows the stream until gaps behind the last one are listed.
fn push(home: &Home, daemon: &Daemon, credentials: &Credentials, via: Via, row: Row) -> Seen {
    let mut player: Option<Follower> = None;
    let mut silent: Option<Encoder> = None;
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut left: Option<Instant> = None;
    for connection in row.connections {
        let Connection { feed, pictures, end, away } = connection;
        let ending = match end {
            End::Reset | End::Closed => Ending::Silence, // ended from here
            End::Silent => Ending::Mute,
            End::Unpublished => Ending::Unpublish,
        };
        let publisher = Encoder::start(via, daemon, credentials, feed.then(ending));
        if let (Some(last), Some(left)) = (stretches.last_mut(), left) {
            last.away = left.elapsed();
        }
        let player =
            player.get_or_insert_with(|| Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT));
        if let Some(silent) = &silent {
            silent.thaw(); // what it says now is nobody's
        }
        player.until(ROW_LIMIT, "all has come", |_| publisher.has_arrived(daemon, &credentials.stream));
        let sent = publisher.sent_at().expect("it was waited for");
        match end {
            End::Silent => {
                publisher.freeze();
                player.until(ROW_LIMIT, "it is given up", |_| publisher.is_closed() || was_lost(daemon, credentials));
                silent = Some(publisher);
            }
            End::Reset => publisher.kill(),
            End::Closed | End::Unpublished => publisher.leave(),
        }
        player.until(ROW_LIMIT, "the publisher is away", |_| sent.elapsed() >= away);
        stretches.extend(pictures.into_iter().map(|pictures| Stretch::new(pictures, Duration::ZERO)));
        left = Some(sent);
    }
    let mut player = player.expect("a row has a connection");
    let breaks = stretches.len() - 1;
    player.until(ROW_LIMIT, "gaps behind the last connection", |renditions| {
        renditions.iter().all(|rendition| breaks_of(rendition) >= breaks && ends_with_a_gap(rendition))
    });
    let mut kept = Vec::new();
    player.until(ROW_LIMIT, "all media is stored", |renditions| {
        kept = stored(home, &credentials.stream, renditions);
        let media = renditions.iter().map(|rendition| rendition.media_segments().last().map(|last| last.entry.msn));
        kept.iter().map(Media::last_msn).zip(media).all(|(kept, media)| kept >= media)
    });
    let folder = tempfile::tempdir().expect("a folder");
    Seen { history: History::of(&player, folder.path()), player, stretches, stored: kept }
}

/// Whether an SRT caller of this stream was given up because nothing came from it.
fn was_lost(daemon: &Daemon, credentials: &Credentials) -> bool {
    daemon.log().lines().any(|line| line.contains(SRT_LOST) && line.contains(&credentials.stream))
}

pub fn breaks_of(rendition: &Rendition) -> usize {
    rendition.segments.iter().filter(|segment| segment.entry.discontinuity && segment.entry.msn > 0).count()
}

pub fn ends_with_a_gap(rendition: &Rendition) -> bool {
    rendition.segments.last().is_some_and(|segment| segment.entry.gap)
}

impl Seen {
    fn assert_continuous(&self) {
        self.history.assert_continuous(&self.stretches);
        self.history.assert_stored(&self.stored);
    }

    /// Init segments of each rendition, in the playlist's order.
    fn inits(&self) -> Vec<usize> {
        self.player.renditions.iter().map(|rendition| rendition.inits.len()).collect()
    }

    /// Nothing changes but what a new connection brings: one init segment for all.
    fn assert_one_configuration(&self) {
        assert_eq!(self.inits(), [1, 1, 1], "{:?}", self.history.shape());
    }

    fn has_gaps(&self) -> bool {
        let media = self.history.lanes[0].listed.iter().rposition(|listed| !listed.entry.gap).unwrap_or(0);
        self.history.lanes[0].listed[..media].iter().any(|listed| listed.entry.gap)
    }
}

fn assert_interrupted(via: Via) {
    for name in ["reset", "closed"] {
        let seen = seen(via, name);
        seen.assert_continuous();
        seen.assert_one_configuration();
    }
    assert!(seen(via, "closed").has_gaps(), "5 s are longer than a segment");
    let (_, pictures) = interrupted();
    assert!((75..90).contains(&pictures.end), "in the middle of a segment: {pictures:?}");
}

#[test]
fn a_publisher_that_was_reset_or_closed_comes_back_behind_one_discontinuity() {
    assert_interrupted(Via::Rtmp);
}

#[test]
fn a_caller_that_was_killed_or_shut_down_comes_back_behind_one_discontinuity() {
    assert_interrupted(Via::Srt);
}

#[test]
fn a_publisher_that_falls_silent_is_given_up_and_comes_back_behind_one_discontinuity() {
    let seen = seen(Via::Rtmp, "silent");
    seen.assert_continuous();
    assert!(seen.has_gaps(), "the deadline of {SILENCE} is longer than a segment");
}

/// What it says when it wakes up finds its place taken.
#[test]
fn a_caller_that_is_frozen_is_given_up_and_another_goes_on_behind_one_discontinuity() {
    let seen = seen(Via::Srt, "silent");
    seen.assert_continuous();
    assert!(seen.has_gaps(), "the deadline of {SRT_SILENCE} is longer than a segment");
}

#[test]
fn a_clean_unpublish_holds_the_session_for_the_next_publish() {
    let seen = seen(Via::Rtmp, "held");
    seen.assert_continuous();
    assert!(seen.has_gaps());
}

#[test]
fn parameter_sets_before_each_keyframe_cost_a_reconnect_nothing() {
    let seen = seen(Via::Rtmp, "headers");
    seen.assert_continuous();
    seen.assert_one_configuration();
}

#[test]
fn timestamps_wrap_unseen_wherever_they_begin() {
    for name in ["from 2^24", "from 2^31", "from 2^32"] {
        seen(Via::Rtmp, name).assert_continuous();
        assert!(!seen(Via::Rtmp, name).has_gaps(), "{name}");
    }
}

#[test]
fn the_clock_of_a_transport_stream_wraps_unseen() {
    seen(Via::Srt, "from 2^33").assert_continuous();
    assert!(!seen(Via::Srt, "from 2^33").has_gaps());
}

#[test]
fn timestamps_that_jump_by_hours_are_one_discontinuity() {
    for (via, name) in product(["plus 6 h", "minus 6 h"]) {
        seen(via, name).assert_continuous();
        seen(via, name).assert_one_configuration();
    }
}

/// Rows that both protocols have.
fn product(names: [&'static str; 2]) -> impl Iterator<Item = (Via, &'static str)> {
    [Via::Rtmp, Via::Srt].into_iter().flat_map(move |via| names.map(|name| (via, name)))
}

/// Sizes of a rung's stretches.
fn sizes(seen: &Seen, rung: &str) -> Vec<(u16, u16)> {
    seen.player.rung(rung).runs().iter().map(|run| Init::parse(run.init).size.expect("video")).collect()
}

#[test]
fn a_smaller_and_faster_source_is_one_discontinuity_in_mid_stream_and_behind_a_reconnect() {
    for (via, name) in product(["smaller", "smaller, again"]) {
        let seen = seen(via, name);
        seen.assert_continuous();
        assert_eq!(sizes(seen, "360p"), [(640, 360), (426, 240)], "{via:?}, {name}: copied");
        assert_eq!(sizes(seen, "240p"), [(426, 240), (426, 240)], "{via:?}, {name}: encoded");
    }
}

/// The session that the stream's URL leads to: the first folder of its playlists.
pub fn session(player: &Follower) -> String {
    let path = &player.renditions[0].path;
    path.split('/').nth(3).unwrap_or_else(|| panic!("{path} names a session")).to_owned()
}

/// What the playlists of `player`'s session answer now.
fn statuses(daemon: &Daemon, player: &Follower) -> Vec<u16> {
    let client = Client::default();
    player.renditions.iter().map(|rendition| client.get(&daemon.url(&rendition.path)).status).collect()
}

/// The multivariant playlist that `path` leads to, with its URIs resolved.
fn variants(daemon: &Daemon, path: &str) -> Vec<String> {
    let read = Multivariant::parse(Client::default().fetch(&daemon.url(path)).text());
    let uris = read.variants.iter().map(|variant| &variant.uri).chain(read.audio.iter().map(|audio| &audio.uri));
    uris.map(|uri| resolve(path, uri)).collect()
}

/// Each of the players' sessions behind its own path, and the last one behind the stream's URL.
fn assert_afterlife(daemon: &Daemon, players: [&Follower; 2]) {
    let paths = |player: &Follower| player.renditions.iter().map(|it| it.path.clone()).collect::<Vec<_>>();
    for player in players {
        let own = player.path.replace("/index.m3u8", &format!("/{}/index.m3u8", session(player)));
        assert_eq!(variants(daemon, &own), paths(player), "{own}");
        assert_eq!(statuses(daemon, player), [200; 2]);
    }
    assert_eq!(variants(daemon, &players[1].path), paths(players[1]), "the newest one");
}

/// Sends the plain source twice, to two sessions behind one URL. `gaps`: whether they waited for their publisher before they ended.
/// Then the daemon is started anew, and they are what they were.
fn assert_ends(name: &'static str, via: Via, settings: &[&str], ending: Ending, gaps: bool) {
    let _turn = machine::shared(name);
    let home = Home::new("passthrough").set("hls.segment", "1s");
    let daemon = home.serve();
    let credentials = home.credentials_with(name, settings);
    let broadcast = || {
        let publisher = Encoder::start(via, &daemon, &credentials, feed().then(ending));
        let mut player = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
        player.until(ROW_LIMIT, "all has come", |_| publisher.has_arrived(&daemon, &credentials.stream));
        publisher.leave();
        player.until_ended(ROW_LIMIT);
        let folder = tempfile::tempdir().expect("a folder");
        let history = History::of(&player, folder.path());
        history.assert_continuous(&[Stretch::new(0..SECONDS * 30, Duration::ZERO)]);
        assert!(player.renditions.iter().all(|rendition| ends_with_a_gap(rendition) == gaps), "{}", history.shape());
        player
    };
    let mut first = broadcast();
    first.update(); // which asserts that a playlist with ENDLIST stays as it is
    let mut second = broadcast();
    assert_ne!(session(&first), session(&second));
    first.update(); // whoever still plays it finds it as it was
    assert_afterlife(&daemon, [&first, &second]);
    daemon.stop();
    let daemon = home.serve();
    // What was not stored before the stop is stored now.
    until(ROW_LIMIT, "all is stored", || (statuses(&daemon, &second) == [200; 2]).then_some(()));
    assert_afterlife(&daemon, [&first, &second]);
    for player in [&mut first, &mut second] {
        player.move_to(&daemon.url(""));
        player.update();
    }
    daemon.stop();
}

#[test]
fn a_session_ends_with_its_grace_time_and_the_next_publish_is_another_session() {
    assert_ends("late", Via::Rtmp, &["--grace", "2s"], Ending::Close, true);
}

#[test]
fn a_clean_unpublish_ends_the_session_where_that_is_asked_for() {
    assert_ends("end", Via::Rtmp, &["--on-unpublish", "end"], Ending::Unpublish, false);
}

/// SRT has one word for a stop and for a broken connection that is made anew.
#[test]
fn a_shutdown_over_srt_is_held_for_the_grace_time_whatever_a_clean_unpublish_does() {
    assert_ends("shutdown", Via::Srt, &["--on-unpublish", "end", "--grace", "2s"], Ending::Close, true);
}
