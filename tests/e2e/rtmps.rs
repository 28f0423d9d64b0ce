//! RTMP over TLS by the real `ffmpeg`: every frame comes through, and the key and the certificate's key stay where they are.

use std::fs;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::attacks::peer::{Peer, command, connect, publish};
use crate::broadcast::FIRST_SEGMENT_LIMIT;
use crate::support::certificates::{Certificates, VERSIONS, dial_as, self_signed};
use crate::support::content::{Expectation, Report};
use crate::support::daemon::{Credentials, Daemon, Home};
use crate::support::follower::Follower;
use crate::support::http::Client;
use crate::support::machine;
use crate::support::source::{Publisher, Source};

/// Until a refused encoder has ended.
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);

/// Behind this an encoder's URL may have any host, also one that a key was pasted into.
const ANY_NAME: &str = "*.stream.test";
const TOKEN: &str = "a-token-for-this-test-only";

/// Where people put a key by mistake, or programs do: a wrong key, and one that a request to the API has made, in the name that a TLS
/// client asks for, in RTMP's paths, over plain RTMP, in the path of a playlist. Returns the key that the API has made, and all that was
/// said over HTTP behind that.
async fn misplace(daemon: &Daemon, certificates: &Certificates, credentials: &Credentials, wrong: &str) -> [String; 2] {
    let api = |method, path: String| {
        let request = reqwest::Client::new().request(method, daemon.url(&format!("/api/v1/{path}")));
        async move {
            let answer = request.bearer_auth(TOKEN).send().await.expect("an answer");
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            answer.text().await.expect("text")
        }
    };
    let keys = format!("streams/{}/keys", credentials.stream);
    let made: Value = serde_json::from_str(&api(Method::POST, keys.clone()).await).expect("JSON");
    let made = made["secret"].as_str().expect("a key's only showing").to_owned();
    let mut told = String::new();
    let (client, rtmps) = (certificates.client(VERSIONS[0]), daemon.rtmps.expect("RTMPS listens"));
    for (key, words) in [(wrong, "NetStream.Publish.BadName"), (&made, "NetStream.Publish.Start")] {
        let host = ANY_NAME.replace('*', key);
        let mut peer = Peer { socket: dial_as(&client, &host, rtmps).await.expect("a connection") };
        let said = peer.publish(key).await;
        assert!(said.contains(words), "{said}");
        peer.unpublish().await;
        dial_as(&client, key, rtmps).await.expect_err("the certificate is not for that");
        let mut peer = Peer::dial([127, 0, 0, 1], daemon.rtmp).await;
        let said = peer.publish(key).await;
        assert!(said.contains(words), "{said}");
        peer.unpublish().await;
        // In every place of a URL.
        let mut peer = Peer::shaken([127, 0, 0, 1], daemon.rtmp).await;
        let app = format!("live/{key}?key={key}");
        let bytes =
            [connect(&app, "test"), command(0, &["createStream"], &[]), publish(&format!("{key}/{key}"))].concat();
        peer.send(&bytes).await;
        peer.until(&["NetStream."]).await;
        // And where a player wants a stream's id.
        let answer = reqwest::get(daemon.url(&format!("/live/{key}/index.m3u8"))).await.expect("an answer");
        told.push_str(&answer.text().await.expect("text"));
    }
    for path in ["streams", &format!("streams/{}", credentials.stream), &keys, "sessions"] {
        told.push_str(&api(Method::GET, path.to_owned()).await);
    }
    [made, told]
}

/// At the finest level of everything: what no line has there, none has.
#[test]
fn ffmpeg_publishes_over_tls_and_no_key_is_logged() {
    let _turn = machine::shared("ffmpeg_publishes_over_tls_and_no_key_is_logged");
    let mut certificates = Certificates::new();
    certificates.renew_for(ANY_NAME);
    let home = Home::ending_with_the_broadcast("passthrough")
        .with_rtmps(&certificates)
        .set("http.admin_token", TOKEN)
        .set("log.level", "trace");
    let credentials = home.credentials();
    let daemon = home.serve();
    let rtmps = daemon.rtmps.expect("RTMPS listens");

    // To plain RTMP at that port nobody answers, and the log says why.
    let source = Source::small(6);
    let misdirected = format!("rtmp://{rtmps}/live/{}", credentials.secret);
    let status = Publisher::start(&source, &misdirected).wait(REFUSAL_LIMIT).expect("a refused encoder ends");
    assert!(!status.success(), "{status}");
    daemon.wait_for_log("plain RTMP came to the RTMPS port: push to rtmps:// here", REFUSAL_LIMIT);
    let (prefix, random) = credentials.secret.split_at(3);
    let wrong = format!("{prefix}{}", random.chars().rev().collect::<String>());
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let [made, told] = runtime.block_on(misplace(&daemon, &certificates, &credentials, &wrong));
    assert!(told.contains(&credentials.key), "the API tells of keys by their ids: {told}");
    let metrics = Client::default().fetch(&daemon.url("/metrics")).text().to_owned();
    let lines = daemon.lines();
    daemon.stop();
    let log = lines.text().to_lowercase();
    // Nothing has anything to say at `trace` today. Lines of other crates are in the log too, such as the database's, and what
    // was asked for stands beside them.
    for told in ["\"level\":\"debug\"", "\"target\":\"sqlx::query\"", "/live/ms_***/index.m3u8"] {
        assert!(log.contains(told), "{told} is not in the log");
    }
    let private = fs::read_to_string(certificates.key()).expect("the key's file");
    let private = private.lines().nth(1).expect("a line of the key");
    for (what, secret) in [
        ("key", &*credentials.secret),
        ("wrong key", &wrong),
        ("key of the API", &made),
        ("private key", private),
        ("token", TOKEN),
    ] {
        // A name that a client asks for is told in small letters.
        let line = log.lines().find(|line| line.contains(&secret.to_lowercase()));
        assert!(line.is_none(), "the {what} is in the log: {}", line.unwrap_or_default());
        assert!(![&metrics, &told].iter().any(|text| text.contains(secret)), "the {what} is in the metrics or the API");
    }
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
