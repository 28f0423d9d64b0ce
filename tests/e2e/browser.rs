//! The watch page in headless Chromium: the picture moves, another level can be forced, AV1 with Opus plays, and a codec that is
//! missing is named.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::support::browser::{Browser, is_switched_off};
use crate::support::daemon::Home;
use crate::support::enhanced::{Codec, Coded, Wrapping, interleaved};
use crate::support::follower::Follower;
use crate::support::machine;
use crate::support::publisher::{Feed, RawPublisher};
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
    screenshot(&mut page, "watch.png");
    assert_eq!(page.evaluate(&format!("{video}.error"), PLAY_LIMIT), serde_json::Value::Null);
}

/// Opens the page of a stream that is offline, and then pushes so many seconds of two codecs, which `passthrough` carries as they are.
/// What is pushed is held when it ends, so that the page has no reason to go.
fn watch_carried(video: Codec, audio: Codec, seconds: u32, look: impl FnOnce(&mut Browser)) {
    let home = Home::new("passthrough").set("session.grace", "10m");
    let credentials = home.credentials();
    let daemon = home.serve();
    let coded = |codec| Coded::new(codec, seconds).tags(Wrapping::Plain);
    let feed = Feed::from(interleaved(coded(video), coded(audio)));
    let mut page = Browser::start();
    page.like_a_phone();
    page.open(&daemon.url(&format!("/watch/{}", credentials.stream)));
    page.wait_for("document.getElementById('state')?.textContent === 'Offline'", PAGE_LIMIT);
    let _publisher = RawPublisher::start(daemon.rtmp, &credentials.secret, feed);
    look(&mut page);
    daemon.stop();
}

#[test]
fn av1_with_opus_plays_as_it_came() {
    if is_switched_off() {
        eprintln!("AV1 was not looked at: E2E_BROWSER=off says that there is no browser");
        return;
    }
    let _turn = machine::shared("av1_with_opus_plays_as_it_came");
    watch_carried(Codec::Av1, Codec::Opus, 40, |page| {
        let video = "document.querySelector('video')";
        page.wait_for(&format!("{video}.currentTime > 0 && {video}.videoHeight === 240"), PLAY_LIMIT);
        page.evaluate(&format!("window.seenAt = {video}.currentTime"), PLAY_LIMIT);
        let (moved, decoded) = ("currentTime > window.seenAt + 2", "getVideoPlaybackQuality().totalVideoFrames >= 60");
        // Of the sound there is a count of bytes, in Chromium alone.
        let heard = "webkitAudioDecodedByteCount > 0";
        page.wait_for(&format!("{video}.{moved} && {video}.{decoded} && {video}.{heard}"), PLAY_LIMIT);
        let codecs = "(({videoCodec, audioCodec}) => `${videoCodec},${audioCodec}`)(window.millstream.hls.levels[0])";
        let codecs = page.evaluate(codecs, PAGE_LIMIT);
        let codecs = codecs.as_str().expect("a text");
        assert!(codecs.starts_with("av01.0.") && codecs.to_lowercase().ends_with(",opus"), "{codecs}");
        assert_eq!(page.evaluate(&format!("{video}.error"), PAGE_LIMIT), serde_json::Value::Null);
        screenshot(page, "av1.png");
    });
}

/// Chromium has no decoder for HEVC in software.
#[test]
fn a_codec_that_the_browser_lacks_is_named_on_the_page() {
    if is_switched_off() {
        eprintln!("the watch page was not looked at: E2E_BROWSER=off says that there is no browser");
        return;
    }
    let _turn = machine::shared("a_codec_that_the_browser_lacks_is_named_on_the_page");
    watch_carried(Codec::Hevc, Codec::Opus, 6, |page| {
        let text = |id: &str| format!("document.getElementById('{id}').textContent");
        page.wait_for(&format!("{} === 'This browser cannot play HEVC'", text("veil-title")), PLAY_LIMIT);
        // Nothing breathes as if it were to come, and nothing is offered that does nothing.
        let still = "!document.getElementById('veil').classList.contains('is-busy')";
        let hidden = "getComputedStyle(document.getElementById('bar')).visibility === 'hidden'";
        page.wait_for(&format!("{still} && {hidden}"), PAGE_LIMIT);
        let said = page.evaluate(&format!("`${{{}}}: ${{{}}}`", text("state"), text("veil-detail")), PAGE_LIMIT);
        assert_eq!(said, "Cannot play: Another browser, or another device, may.");
        screenshot(page, "missing-codec.png");
    });
}

/// For whoever wants to look.
fn screenshot(page: &mut Browser, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&folder).expect("a folder for screenshots");
    page.screenshot(&folder.join(name));
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
