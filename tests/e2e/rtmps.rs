//! RTMP over TLS by the real `ffmpeg`: every frame comes through, and the key and the certificate's key stay where they are.

use std::fs;
use std::time::Duration;

use crate::broadcast::FIRST_SEGMENT_LIMIT;
use crate::support::certificates::{Certificates, self_signed};
use crate::support::content::{Expectation, Report};
use crate::support::daemon::Home;
use crate::support::follower::Follower;
use crate::support::http::Client;
use crate::support::machine;
use crate::support::source::{Publisher, Source};

/// Until a refused encoder has ended.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);

#[test]
fn ffmpeg_publishes_over_tls_and_no_key_is_logged() {
    let _turn = machine::shared("ffmpeg_publishes_over_tls_and_no_key_is_logged");
    let certificates = Certificates::new();
    let home = Home::ending_with_the_broadcast("passthrough").with_rtmps(&certificates);
    let credentials = home.credentials();
    let daemon = home.serve();
    let rtmps = daemon.rtmps.expect("RTMPS listens");

    // To plain RTMP at that port nobody answers, and the log says why.
    let source = Source::small(6);
    let misdirected = format!("rtmp://{rtmps}/live/{}", credentials.secret);
    let status = Publisher::start(&source, &misdirected).wait(REFUSAL_LIMIT).expect("a refused encoder ends");
    assert!(!status.success(), "{status}");
    daemon.wait_for_log("plain RTMP came to the RTMPS port: push to rtmps:// here", REFUSAL_LIMIT);
    let wrong = credentials.secret.chars().rev().collect::<String>();
    let mut refused = Publisher::start(&source, &format!("rtmps://{rtmps}/live/{wrong}"));
    assert!(!refused.wait(REFUSAL_LIMIT).expect("a refused encoder ends").success());
    assert!(refused.errors().contains("Server error:"), "ffmpeg shows why: {}", refused.errors());

    let publisher = Publisher::start(&source, &format!("rtmps://{rtmps}/live/{}", credentials.secret));
    let mut seen = Follower::open(&daemon.url(""), &credentials.stream, FIRST_SEGMENT_LIMIT);
    seen.until_ended(source.limit());
    publisher.finish(&source);
    let folder = tempfile::tempdir().expect("a folder");
    let rung = seen.videos().next().expect("a video rendition");
    let report = Report::of(Some(rung), Some(seen.audio()), folder.path());
    report.assert_whole(&Expectation::whole(source.frames(), source.seconds));

    let metrics = Client::default().fetch(&daemon.url("/metrics")).text().to_owned();
    for line in [
        "millstream_listen_publishes_total{protocol=\"rtmps\"} 1",
        "millstream_listen_publishes_total{protocol=\"rtmp\"} 0",
        "millstream_tls_certificate_stale{protocol=\"rtmps\"} 0",
    ] {
        assert!(metrics.contains(&format!("\n{line}\n")), "no {line} in:\n{metrics}");
    }
    let log = daemon.log();
    let private = fs::read_to_string(certificates.key()).expect("the key's file");
    let private = private.lines().nth(1).expect("a line of the key");
    for secret in [&credentials.secret, &wrong, private] {
        assert!(!log.contains(secret) && !metrics.contains(secret), "a key is in the log or the metrics");
    }
    daemon.stop();
}

/// `check` fails for what encoders would not take, and `serve` does not begin without a pair that it can use.
#[test]
fn check_and_serve_say_what_is_wrong_with_the_certificate() {
    let _turn = machine::shared("check_and_serve_say_what_is_wrong_with_the_certificate");
    let certificates = Certificates::new();
    let home = Home::new("passthrough").with_rtmps(&certificates);
    let checked = home.cli(&["check"]);
    let rtmps = |report: &serde_json::Value| {
        let checks = report["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|check| check["name"] == "rtmps").expect("a line about RTMPS")
    };
    let line = rtmps(&checked);
    assert!(line["detail"].as_str().is_some_and(|text| text.contains("certificate valid until ")), "{line}");

    let expired = self_signed(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    fs::write(certificates.cert(), expired.cert.pem()).expect("written");
    fs::write(certificates.key(), expired.signing_key.serialize_pem()).expect("written");
    let (status, report) = home.run(&["check", "--json"]);
    let report = report.lines().next().expect("a line of JSON, and on the other output one for people");
    let line = rtmps(&serde_json::from_str(report).expect("a report"));
    assert!(!status.success() && line["ok"] == false, "{line}");
    assert!(line["detail"].as_str().is_some_and(|text| text.contains("expired at 2020-01-01T00:00:00")), "{line}");
    // Encoders that do not check it are served all the same.
    let daemon = home.serve();
    daemon.wait_for_log("the certificate has expired", REFUSAL_LIMIT);
    daemon.stop();

    certificates.spoil();
    let (status, words) = home.run(&["serve"]);
    assert!(!status.success() && words.contains("cannot serve RTMPS (rtmps.cert, rtmps.key): "), "{words}");
}
