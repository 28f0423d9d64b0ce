//! Connections that break, and callers that are turned away.

use std::time::Duration;

use millstream::listen::Finish;

use crate::machine;
use crate::relay::{Link, Loss, Relay};
use crate::support::{Call, Listener, Media, PASSPHRASE, PATIENCE, Program, Recording, compare, is_connected};

const CLEAN: Link =
    Link { loss: Loss::Even(0.0), delay: Duration::from_millis(5), jitter: Duration::ZERO, duplicates: 0.0 };

/// Longer than [`BLACKHOLE`], and than the machine may stand still besides.
const PATIENT: Duration = Duration::from_secs(40);
const BLACKHOLE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blackhole_that_both_sides_outlive_is_one_marked_hole() {
    let _turn = machine::shared("a_blackhole_that_both_sides_outlive_is_one_marked_hole");
    let media = Media::new(16, 1_500);
    let listener = Listener::start(Some(PASSPHRASE), |settings| settings.idle_timeout = PATIENT);
    let relay = Relay::both_ways(listener.address, CLEAN, 1);
    let call = Call {
        cipher: Some((PASSPHRASE, 16)),
        latency: Duration::from_millis(500),
        peer_idle_ms: 40_000,
        ..Call::new(Program::LiveTransmit)
    };
    let mut caller = call.start(relay.address(), &media);
    assert!(is_connected(&caller.process).await, "it is let in");
    listener.when("it is let in", PATIENCE, |recordings| (!recordings.is_empty()).then_some(())).await;
    let feed = caller.feed(&media);
    let length = media.bytes.len();
    listener.when("some has come", PATIENCE, |all| (all[0].bytes > length / 10).then_some(())).await;
    relay.blackhole(BLACKHOLE);
    let through = |all: &[Recording]| (all[0].is_through() || all[0].finish.is_some()).then_some(());
    listener.when("the end has come", PATIENCE, through).await;
    let sent = feed.end().await.expect("it was fed");
    listener.when("it has gone", PATIENCE, |all| all[0].finish.clone()).await;
    let holes = compare(&sent, length, &listener.recording(0).pieces).expect("what comes is what was sent");
    let [up, _] = relay.counts();
    assert!(up.swallowed > 0 && holes.count >= 1, "{holes:?} {up:?}");
    assert!(holes.bytes < length * 9 / 10, "{holes:?} of {length}: it goes on behind the hole");
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_blackhole_that_breaks_the_connection_the_caller_comes_again() {
    let _turn = machine::shared("behind_a_blackhole_that_breaks_the_connection_the_caller_comes_again");
    let media = Media::new(30, 500);
    let listener = Listener::start(None, |_| {});
    let relay = Relay::both_ways(listener.address, CLEAN, 2);
    let call = Call { reconnects: true, ..Call::new(Program::LiveTransmit) };
    let mut caller = call.start(relay.address(), &media);
    assert!(is_connected(&caller.process).await, "it is let in");
    let feed = caller.feed(&media);
    listener.when("some has come", PATIENCE, |all| all.first().filter(|first| first.bytes > 50_000).map(|_| ())).await;
    relay.blackhole(BLACKHOLE);
    let lost = listener.when("the listener misses it", PATIENCE, |all| all[0].finish.clone()).await;
    assert!(matches!(lost, Finish::Lost(_)), "{lost:?}");
    listener
        .when("the caller is back and sends", PATIENCE, |all| all[1..].iter().find(|one| one.bytes > 0).map(|_| ()))
        .await;
    drop(caller);
    let sent = feed.end().await.expect("it was fed");
    compare(&sent, sent.len(), &listener.recording(0).pieces).expect("what came before is what was sent");
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_caller_is_back_before_it_is_missed() {
    let _turn = machine::shared("a_killed_caller_is_back_before_it_is_missed");
    let media = Media::new(45, 1_000);
    // Long enough that the second one is there before the first one is missed.
    let listener = Listener::start(Some(PASSPHRASE), |settings| settings.idle_timeout = Duration::from_secs(25));
    let call = Call { cipher: Some((PASSPHRASE, 32)), ..Call::new(Program::Ffmpeg) };
    let first = call.start(listener.address, &media);
    listener.when("it sends", PATIENCE, |all| all.first().filter(|first| first.bytes > 0).map(|_| ())).await;
    drop(first); // SIGKILL: it says no goodbye
    let second = call.start(listener.address, &media);
    let missed = listener
        .when("it is back", PATIENCE, |all| all.get(1).filter(|two| two.bytes > 0).map(|_| all[0].finish.clone()));
    assert_eq!(missed.await, None, "the killed one is not missed yet");
    let lost = listener.when("it is missed", PATIENCE, |all| all[0].finish.clone()).await;
    assert!(matches!(lost, Finish::Lost(_)), "{lost:?}");
    assert_eq!(listener.recording(1).finish, None, "the one that came back goes on");
    drop(second);
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_turned_away_is_told_why() {
    let _turn = machine::shared("who_is_turned_away_is_told_why");
    let media = Media::new(30, 1_000);
    let plain = Listener::start(None, |_| {});
    let secret = Listener::start(Some(PASSPHRASE), |_| {});
    let strict = Listener::start(None, |settings| settings.encryption_required = true);
    let other = Some(("another passphrase", 16));
    let right = Some((PASSPHRASE, 16));
    // libsrt's words for the codes, in its log on both programs' standard error: those from 1000 on have none of their own.
    let (by_key, by_lock, by_secret) =
        ("Application-defined rejection reason", "Password required or unexpected", "Incorrect passphrase");
    for (listener, key, cipher, words) in [
        (&plain, "wrong-key", None, by_key),
        (&plain, "right-key", right, by_lock),
        (&secret, "right-key", None, by_lock),
        (&secret, "right-key", other, by_secret),
        (&strict, "right-key", None, by_lock),
        (&plain, "#!::m=request,r=right-key", None, by_key),
    ] {
        for program in [Program::LiveTransmit, Program::Ffmpeg] {
            let call = Call { key, cipher, ..Call::new(program) };
            let (refused, text) = call.is_refused(listener.address, &media, words).await;
            assert!(refused, "{program:?} {key} {cipher:?}: {text}");
        }
    }
    for listener in [plain, secret, strict] {
        assert_eq!(listener.summary(), "", "nobody was let in");
        listener.stop().await;
    }
}
