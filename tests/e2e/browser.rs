//! The watch page in headless Chromium: the picture moves, and another level can be forced.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::support::browser::{Browser, is_switched_off};
use crate::support::daemon::Home;
use crate::support::follower::Follower;
use crate::support::machine;
use crate::support::source::{Publisher, Source};

/// Until the page is there.
pub const PAGE_LIMIT: Duration = Duration::from_secs(20);
/// From the page to the first moving picture, software decoding on a busy machine included.
pub const PLAY_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn the_watch_page_plays_and_switches_levels() {
    if is_switched_off() {
        eprintln!("the watch page was not looked at: E2E_BROWSER=off says that there is no browser");
        return;
    }
    let _turn = machine::shared("the_watch_page_plays_and_switches_levels");
    let home = Home::new(test_preset("test-360p-240p-144p"));
    let credentials = home.credentials();
    let daemon = home.serve();
    let source = Source::small(60);
    let _publisher = Publisher::start(&source, &daemon.publish_url(&credentials.secret));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_segments(3, source.limit());

    let mut page = Browser::start();
    page.open(&daemon.url(&format!("/watch/{}", credentials.stream)));
    // A daemon that was built before `npm run build` in web/ has a page without a player, and says so on it.
    page.wait_for("document.querySelector('video') !== null", PAGE_LIMIT);
    page.wait_for("document.querySelector('video').currentTime > 0", PLAY_LIMIT);
    // For whoever compares: from the navigation to the page until hls.js has shown something.
    let shown = page.evaluate("Math.round(performance.now())", PAGE_LIMIT);
    println!("the first picture of hls.js was seen {shown} ms after the page was asked for");
    let video = "document.querySelector('video')";
    page.evaluate(&format!("window.seenAt = {video}.currentTime"), PLAY_LIMIT);
    page.wait_for(&format!("{video}.currentTime > window.seenAt + 2 && {video}.videoWidth > 0"), PLAY_LIMIT);
    for (level, height) in [("144p", 144), ("360p", 360)] {
        force(&mut page, level);
        page.wait_for(&format!("{video}.videoHeight === {height}"), PLAY_LIMIT);
        page.evaluate(&format!("window.seenAt = {video}.currentTime"), PLAY_LIMIT);
        page.wait_for(&format!("{video}.currentTime > window.seenAt + 1"), PLAY_LIMIT);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&folder).expect("a folder for screenshots");
    page.screenshot(&folder.join("watch.png"));
    assert_eq!(page.evaluate(&format!("{video}.error"), PLAY_LIMIT), serde_json::Value::Null);
}

/// Chooses a level as a viewer does: in the page's list of qualities.
fn force(page: &mut Browser, level: &str) {
    let choose = format!(
        "(() => {{ const list = document.querySelector('select'); \
         const option = [...list.options].find(option => option.textContent.includes('{level}')); \
         list.value = option.value; list.dispatchEvent(new Event('change', {{bubbles: true}})); \
         return list.selectedOptions[0].textContent; }})()"
    );
    page.wait_for("document.querySelector('select').options.length > 3", PLAY_LIMIT);
    assert_eq!(page.evaluate(&choose, PLAY_LIMIT), level, "the list shows what was chosen at once");
}
