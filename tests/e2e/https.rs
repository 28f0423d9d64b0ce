//! HTTPS by the built daemon: the watch page plays over HTTP/2, plain HTTP sends its viewers there, and a bad certificate is told.

use std::time::Duration;

use serde_json::json;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::browser::{PAGE_LIMIT, PLAY_LIMIT};
use crate::support::browser::{Browser, is_switched_off};
use crate::support::certificates::Certificates;
use crate::support::daemon::Home;
use crate::support::follower::Follower;
use crate::support::http::Client;
use crate::support::machine;
use crate::support::source::{Publisher, Source};

/// Until a line stands in the log.
const LOG_LIMIT: Duration = Duration::from_secs(30);

#[test]
fn the_watch_page_plays_over_http_2() {
    if is_switched_off() {
        eprintln!("the watch page was not looked at: E2E_BROWSER=off says that there is no browser");
        return;
    }
    let _turn = machine::shared("the_watch_page_plays_over_http_2");
    let certificates = Certificates::new();
    let home = Home::new(test_preset("test-360p-240p-144p")).with_https(&certificates);
    let credentials = home.credentials();
    let daemon = home.serve();
    let source = Source::small(60);
    let _publisher = Publisher::start(&source, &daemon.publish_url(&credentials.secret));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_segments(3, source.limit());

    // The certificate is signed by nobody that a browser knows.
    let mut page = Browser::start_with(&["--ignore-certificate-errors"]);
    page.open(&format!("https://{}/watch/{}", daemon.https.expect("HTTPS is on"), credentials.stream));
    let video = "document.querySelector('video')";
    page.wait_for(&format!("{video} !== null"), PAGE_LIMIT);
    page.wait_for(&format!("{video}.currentTime > 0 && {video}.videoWidth > 0"), PLAY_LIMIT);
    page.evaluate(&format!("window.seenAt = {video}.currentTime"), PLAY_LIMIT);
    page.wait_for(&format!("{video}.currentTime > window.seenAt + 4"), PLAY_LIMIT);
    // The page, and all that the player asked for.
    let protocols = "[...new Set(performance.getEntries().filter(entry => entry.nextHopProtocol !== undefined && \
         entry.responseStatus === 200).map(entry => entry.nextHopProtocol))]";
    assert_eq!(page.evaluate(protocols, PLAY_LIMIT), json!(["h2"]));
    let navigation = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(page.evaluate(navigation, PLAY_LIMIT), json!("h2"));
    assert_eq!(page.evaluate(&format!("{video}.error"), PLAY_LIMIT), serde_json::Value::Null);
}

#[test]
fn plain_http_sends_viewers_to_https_and_a_bad_certificate_is_told() {
    let _turn = machine::shared("plain_http_sends_viewers_to_https_and_a_bad_certificate_is_told");
    let mut certificates = Certificates::new();
    let home = Home::new("passthrough").with_https(&certificates).set("http.redirect_to_https", "true");
    let credentials = home.credentials();
    let daemon = home.serve();
    let port = daemon.https.expect("HTTPS is on").port();
    let client = Client::default();
    for path in [format!("/watch/{}", credentials.stream), format!("/live/{}/index.m3u8?a=b", credentials.stream)] {
        let answer = client.request("GET", &daemon.url(&path), &[]);
        assert_eq!(answer.status, 308, "{path}");
        assert_eq!(answer.header("location"), Some(&*format!("https://127.0.0.1:{port}{path}")));
    }
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/api/v1/streams", 401)] {
        let found = client.request("GET", &daemon.url(path), &[]).status;
        assert!(found == status || (path.starts_with("/api") && found != 308), "{path}: {found}");
    }
    let metrics = client.fetch(&daemon.url("/metrics")).text().to_owned();
    assert!(metrics.contains("\nmillstream_tls_certificate_stale{protocol=\"https\"} 0\n"), "{metrics}");
    // What is put in its place is taken without a restart, and what cannot be used is not.
    certificates.renew();
    daemon.wait_for_log("certificate renewed: new connections get it", LOG_LIMIT);
    certificates.spoil();
    daemon.wait_for_log("the new certificate is not taken", LOG_LIMIT);
    daemon.stop();

    let (status, words) = home.run(&["serve"]);
    assert!(!status.success() && words.contains("cannot serve HTTPS (https.cert, https.key): "), "{words}");
    let (status, words) = home.run(&["check"]);
    assert!(!status.success() && words.contains("https") && words.contains("cannot be read"), "{words}");
}
