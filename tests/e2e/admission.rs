//! Who may publish, and what an encoder is told when it may not.

use std::time::Duration;

use crate::broadcast::{FIRST_SEGMENT_LIMIT, test_preset};
use crate::support::daemon::Home;
use crate::support::follower::Follower;
use crate::support::http::Client;
use crate::support::machine;
use crate::support::source::{Publisher, Source};

/// Long enough for a refusal that is slowed down on a busy machine.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);

/// The contract: from the revocation to the end of the connection that uses the key.
const REVOKE_LIMIT: Duration = Duration::from_secs(2);

#[test]
fn a_wrong_key_is_refused_in_words_that_the_encoder_shows() {
    let _turn = machine::shared("a_wrong_key_is_refused_in_words_that_the_encoder_shows");
    let home = Home::new("passthrough");
    let credentials = home.credentials();
    let daemon = home.serve();
    let wrong = credentials.secret.chars().rev().collect::<String>();
    let mut publisher = Publisher::start(&Source::small(10), &daemon.publish_url(&wrong));
    let status = publisher.wait(REFUSAL_LIMIT).expect("a refused encoder ends");
    assert!(!status.success(), "{status}");
    let errors = publisher.errors();
    assert!(errors.contains("Server error:") && errors.contains("key"), "ffmpeg shows why: {errors}");
    let answer = Client::default().get(&daemon.url(&format!("/live/{}/index.m3u8", credentials.stream)));
    assert_eq!(answer.status, 404, "nothing was published");
    let log = daemon.log();
    assert!(!log.contains(&wrong) && !log.contains(&credentials.secret), "no key is in the log");
    daemon.stop();
}

#[test]
fn the_playback_id_does_not_publish() {
    let _turn = machine::shared("the_playback_id_does_not_publish");
    let home = Home::new("passthrough");
    let credentials = home.credentials();
    let daemon = home.serve();
    let mut publisher = Publisher::start(&Source::small(10), &daemon.publish_url(&credentials.stream));
    let status = publisher.wait(REFUSAL_LIMIT).expect("a refused encoder ends");
    assert!(!status.success(), "{status}");
}

#[test]
fn a_key_in_the_query_publishes_too() {
    let _turn = machine::shared("a_key_in_the_query_publishes_too");
    let home = Home::ending_with_the_broadcast("passthrough");
    let credentials = home.credentials();
    let daemon = home.serve();
    let source = Source::small(10);
    let url = format!("rtmp://{}/live/studio?key={}", daemon.rtmp, credentials.secret);
    let _publisher = Publisher::start(&source, &url);
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_segments(1, source.limit());
}

#[test]
fn revoking_a_key_ends_its_connection_and_its_future() {
    let _turn = machine::shared("revoking_a_key_ends_its_connection_and_its_future");
    let home = Home::new(test_preset("test-360p-240p-144p"));
    let credentials = home.credentials();
    let daemon = home.serve();
    let source = Source::small(60);
    let url = daemon.publish_url(&credentials.secret);
    let mut publisher = Publisher::start(&source, &url);
    Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT).until_segments(1, source.limit());
    home.cli(&["keys", "revoke", &credentials.key]);
    let status = publisher.wait(REVOKE_LIMIT).expect("the connection ends within 2 s of the revocation");
    assert!(!status.success(), "ffmpeg lost its connection: {status}");
    let status = Publisher::start(&source, &url).wait(REFUSAL_LIMIT).expect("a refused encoder ends");
    assert!(!status.success(), "{status}");
    daemon.stop();
}
