//! Players in headless Chromium play through a reconnect, a takeover, a restart of the daemon and its death, and are not begun anew:
//! hls.js on the watch page, and Shaka Player on a page of the test's own (`web/test-page`). A hole is as long as the dates of the
//! playlist say; `docs/performance.md` has how long the picture stands still.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::broadcast::FIRST_SEGMENT_LIMIT;
use crate::continuity::breaks_of;
use crate::support::browser::{Browser, is_switched_off};
use crate::support::continuity::unix_micros;
use crate::support::daemon::{Daemon, Home, STOP_LIMIT};
use crate::support::follower::Follower;
use crate::support::machine;
use crate::support::playlist::Entry;
use crate::support::publisher::{Feed, RawPublisher};
use crate::support::source::Source;

/// Until a page is there, or a player has shown what there is; software decoding on a busy machine included.
const PLAY_LIMIT: Duration = Duration::from_secs(60);
/// What is asked of a page that needs no media.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Until segments are listed behind a hole.
const LISTED_LIMIT: Duration = Duration::from_secs(60);
/// `hls.segment` by default.
const TARGET: Duration = Duration::from_secs(2);
/// How much longer than a hole the picture may stand still: until the first segment behind it is whole, until the player asks for the
/// playlist again, and until the segment was fetched and decoded, each at most a target duration. What a player has in its buffer
/// makes it less.
const BOUND: Duration = Duration::from_secs(3 * TARGET.as_secs());
/// What is so much later than the media that a player had when a hole ended lies behind it: a segment that it did not have yet or a
/// gap, and a second that it must have shown.
const BEHIND: Duration = Duration::from_secs(TARGET.as_secs() + 1);
/// How long a publisher that was killed is away.
const AWAY: Duration = Duration::from_secs(3);
/// The picture may be moved by so much of a second where a player finds its way over a hole.
const BACK_LIMIT: f64 = 0.1;

/// A page with a player in it.
struct Page {
    name: &'static str,
    browser: Browser,
    /// `window.observed.since` when the player began: another one when the page was loaded anew.
    since: f64,
    stalled_ms: f64,
    /// Up to where the player had media when a hole ended.
    edge: f64,
}

fn script(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("web/.test-page").join(name);
    let hint = "run `npm ci && npm run build && npm run test-page` in web/ and build the daemon again";
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}: {hint}", path.display()))
}

impl Page {
    fn hls(daemon: &Daemon, stream: &str) -> Self {
        let mut browser = Browser::start();
        browser.open(&daemon.url(&format!("/watch/{stream}")));
        browser.wait_for("window.millstream?.hls", PLAY_LIMIT);
        browser.evaluate(&script("hls.js"), ANSWER_LIMIT);
        Page::playing("hls", browser)
    }

    fn shaka(daemon: &Daemon, stream: &str) -> Self {
        let mut browser = Browser::start();
        // A page of the same host without a policy of its own.
        browser.open(&daemon.url("/healthz"));
        browser.wait_for("document.readyState === 'complete' && location.pathname === '/healthz'", PLAY_LIMIT);
        browser.evaluate(&script("shaka.js"), ANSWER_LIMIT);
        let playlist = daemon.url(&format!("/live/{stream}/index.m3u8"));
        browser.evaluate(&format!("window.watch('{playlist}', 60)"), PLAY_LIMIT);
        Page::playing("shaka", browser)
    }

    fn playing(name: &'static str, mut browser: Browser) -> Self {
        let video = "document.querySelector('video')";
        browser.wait_for(&format!("{video}.currentTime > 0 && {video}.videoWidth > 0"), PLAY_LIMIT);
        let mut page = Page { name, browser, since: 0.0, stalled_ms: 0.0, edge: 0.0 };
        page.since = page.number("since");
        page
    }

    /// A number that the page has observed; NaN when it observes nothing any more.
    fn number(&mut self, field: &str) -> f64 {
        let value = self.browser.evaluate(&format!("window.observed?.{field}"), ANSWER_LIMIT);
        value.as_f64().unwrap_or(f64::NAN)
    }

    /// From here on stalls belong to what is about to happen: until it goes on, `stalled_ms` is what they had come to by then.
    fn begin(&mut self) {
        self.stalled_ms = self.number("stalled");
    }

    /// The next publisher begins: what lies well behind this point is its.
    fn hole_ends(&mut self) {
        self.edge = self.number("edge()");
    }

    /// The picture is behind the hole, the player is the one that it was.
    fn assert_goes_on(&mut self, what: &str) {
        let name = self.name;
        let behind = self.edge + BEHIND.as_secs_f64();
        let on = format!("window.observed === undefined || document.querySelector('video').currentTime > {behind}");
        self.browser.wait_for(&on, PLAY_LIMIT);
        assert_eq!(self.number("since"), self.since, "{name}: the page was loaded anew at {what}");
        let fatal = self.browser.evaluate("observed.fatal", ANSWER_LIMIT);
        assert_eq!(fatal, serde_json::json!([]), "{name}: fatal errors at {what}");
        let back = self.number("wentBack");
        assert!(back <= BACK_LIMIT, "{name}: the picture went back by {back} s at {what}");
        self.stalled_ms = self.number("stalled") - self.stalled_ms;
    }

    /// It stood still no longer than it may at a hole of so many milliseconds.
    fn assert_stood_still(&self, what: &str, hole_ms: i64) {
        let (name, stalled) = (self.name, self.stalled_ms);
        let beyond = stalled - hole_ms as f64;
        eprintln!(
            "{name}: {what}: a hole of {hole_ms} ms, the picture stood still for {stalled:.0} ms, {beyond:.0} beyond it"
        );
        assert!(beyond <= BOUND.as_millis() as f64, "{name}: {what}: {stalled} ms, a hole of {hole_ms} ms");
    }

    fn screenshot(&mut self, what: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        fs::create_dir_all(&folder).expect("a folder for screenshots");
        self.browser.screenshot(&folder.join(format!("{}-{what}.png", self.name)));
    }
}

/// By how much the dates step over the `count`-th discontinuity, in milliseconds.
fn hole_ms(seen: &mut Follower, count: usize) -> i64 {
    seen.until(LISTED_LIMIT, "the discontinuity is listed", |renditions| {
        renditions.iter().all(|rendition| breaks_of(rendition) >= count)
    });
    let entries: Vec<_> = seen.renditions[0].segments.iter().map(|segment| &segment.entry).collect();
    let at = (1..entries.len()).rfind(|at| entries[*at].discontinuity).expect("it is listed");
    let last = entries[..at].iter().rfind(|entry| !entry.gap).expect("media before it");
    let date = |entry: &Entry| unix_micros(&entry.wall).expect("a date");
    (date(entries[at]) - date(last) - last.duration_us.cast_signed()) / 1_000
}

/// All that happens to the players, one thing after the other.
struct Course {
    pages: [Page; 2],
    seen: Follower,
    events: usize,
}

impl Course {
    /// Does something, of which `hole_ends` is called when the next publisher begins; then each page has gone on.
    fn event<T>(&mut self, what: &str, happens: impl FnOnce(&mut Self) -> T) -> T {
        self.pages.iter_mut().for_each(Page::begin);
        let after = happens(self);
        self.events += 1;
        self.pages.iter_mut().for_each(|page| page.assert_goes_on(what));
        let hole = hole_ms(&mut self.seen, self.events);
        for page in &mut self.pages {
            page.assert_stood_still(what, hole);
            page.screenshot(&what.replace(' ', "-"));
        }
        after
    }

    fn hole_ends(&mut self) {
        self.pages.iter_mut().for_each(Page::hole_ends);
    }
}

#[test]
fn players_go_on_through_a_reconnect_a_takeover_and_restarts() {
    if is_switched_off() {
        eprintln!("no player was looked at: E2E_BROWSER=off says that there is no browser");
        return;
    }
    let _turn = machine::shared("players_go_on_through_a_reconnect_a_takeover_and_restarts");
    let home = Home::new("passthrough");
    let credentials = home.credentials();
    let mut daemon = home.serve();
    let source = Source::small(60);
    let publish = |daemon: &Daemon| RawPublisher::start(daemon.rtmp, &credentials.secret, Feed::of(&source));
    let first = publish(&daemon);
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_segments(3, LISTED_LIMIT);
    let pages = [Page::hls(&daemon, &credentials.stream), Page::shaka(&daemon, &credentials.stream)];
    let mut course = Course { pages, seen, events: 0 };

    let second = course.event("a reconnect", |course| {
        first.reset();
        let left = Instant::now();
        course.seen.until(LISTED_LIMIT, "the publisher is away", |_| left.elapsed() >= AWAY);
        course.hole_ends();
        publish(&daemon)
    });
    let mut publisher = course.event("a takeover", |course| {
        course.hole_ends();
        publish(&daemon)
    });
    drop(second);

    let home = home.set("http.listen", daemon.http.to_string());
    for (what, signal) in [("a restart of the daemon", Signal::TERM), ("a kill of the daemon", Signal::KILL)] {
        (daemon, publisher) = course.event(what, |course| {
            let refused = course.pages.each_mut().map(|page| page.number("refused"));
            daemon.signal(signal);
            daemon.wait(STOP_LIMIT).expect("the daemon ends");
            drop(publisher);
            // Until both have met a server that does not answer, more often than hls.js asks again by itself.
            for (page, refused) in course.pages.iter_mut().zip(refused) {
                page.browser.wait_for(&format!("observed.refused > {}", refused + 2.0), PLAY_LIMIT);
            }
            let daemon = home.serve();
            course.seen.move_to(&daemon.url(""));
            course.hole_ends();
            let publisher = publish(&daemon);
            (daemon, publisher)
        });
    }
    daemon.stop();
}
