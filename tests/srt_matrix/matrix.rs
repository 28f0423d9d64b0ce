//! Loss, delay, jitter, duplicates and ciphers, each with each program.
//!
//! In the short form a few cases of each network; in the long one (`./dev soak --only srt`: `E2E_SECONDS`) all programs, round
//! trips and ciphers with each.

use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;

use crate::machine::{self, stalled_since};
use crate::relay::{Counts, Link, Loss, Relay};
use crate::support::{
    Call, Holes, KEY, Listener, Media, PASSPHRASE, PATIENCE, PROGRAMS, Program, Recording, compare, is_connected,
};

/// Length of the short form's media.
const SHORT_SECONDS: u32 = 6;
/// Its pace: what a few streams side by side leave a loaded machine.
const SHORT_KBPS: u32 = 3_000;
const LONG_KBPS: u32 = 6_000;
/// Cases at one time.
const SIDE_BY_SIDE: usize = 12;
/// A machine that stands still is not what is tested: such a case is tried again.
const TRIES: usize = 3;

/// One case.
#[derive(Clone, Copy, Debug)]
struct Case {
    program: Program,
    /// Bytes of the AES key.
    cipher: Option<u8>,
    loss: Loss,
    round_trip_ms: u64,
    jitter_ms: u64,
    duplicates: f64,
    latency_ms: u64,
}

impl Case {
    const fn of(program: Program, loss: Loss, round_trip_ms: u64, cipher: Option<u8>) -> Self {
        // Of ten packets one is lost, and of ten reports and of ten repetitions one again: one of five times nothing comes of
        // asking. Asked ten times, of 10 million packets one is missing.
        let latency_ms = 500 + 10 * round_trip_ms;
        Case { program, cipher, loss, round_trip_ms, jitter_ms: 0, duplicates: 0.0, latency_ms }
    }

    const fn jittery(self) -> Self {
        Case { jitter_ms: 20, duplicates: 0.02, ..self }
    }

    fn link(&self) -> Link {
        let link = Link::new(Duration::from_millis(self.round_trip_ms), self.loss);
        Link { jitter: Duration::from_millis(self.jitter_ms), duplicates: self.duplicates, ..link }
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    /// What is missing of what was sent through this network, what became of the datagrams towards the listener, and whether the
    /// machine stood still for longer than the latency can bear. None when the program gave up before it was connected.
    async fn run(self, media: &Media, seed: u64) -> (Option<(Holes, Counts)>, bool) {
        let began = SystemTime::now();
        let listener = Listener::start(self.cipher.map(|_| PASSPHRASE), |_| {});
        let relay = Relay::both_ways(listener.address, self.link(), seed);
        let cipher = self.cipher.map(|bytes| (PASSPHRASE, bytes));
        let call = Call { cipher, latency: self.latency(), key: KEY, ..Call::new(self.program) };
        let mut caller = call.start(relay.address(), media);
        if self.program == Program::LiveTransmit && !is_connected(&caller.process).await {
            listener.stop().await;
            return (None, stalled_since(began) > self.latency() / 4);
        }
        listener.when("a caller was let in", PATIENCE, |recordings| (!recordings.is_empty()).then_some(())).await;
        let feed = caller.feed(media);
        let limit = PATIENCE + Duration::from_secs(u64::from(machine::seconds(SHORT_SECONDS)));
        let through = |all: &[Recording]| (all[0].is_through() || all[0].finish.is_some()).then_some(());
        if self.program != Program::Ffmpeg {
            listener.when("all has come", limit, through).await;
        }
        let fed = feed.end().await;
        listener.when("the caller has gone", limit, |recordings| recordings[0].finish.clone()).await;
        let waited = move || {
            let status = caller.process.wait(PATIENCE).expect("it ends");
            (caller, status)
        };
        let (caller, status) = tokio::task::spawn_blocking(waited).await.expect("no panic");
        let recording = listener.recording(0);
        let sent = fed.unwrap_or_else(|| caller.muxed());
        // Who gave up has not sent all.
        let length = if status.success() { media.compared(self.program, sent.len()) } else { media.bytes.len() };
        let [up, down] = relay.counts();
        let holes = compare(&sent, length, &recording.pieces)
            .unwrap_or_else(|error| panic!("{self:?}: {error}; {up:?} {down:?}; {}", listener.summary()));
        eprintln!("{self:?}\n    {holes:?} of {length} bytes; up {up:?}; down {down:?}");
        listener.stop().await;
        (Some((holes, up)), stalled_since(began) > self.latency() / 4)
    }

    /// That everything came.
    async fn is_whole(self, media: Media, seed: u64) {
        for _ in 0..TRIES {
            let (outcome, stalled) = self.run(&media, seed).await;
            if let Some((holes, up)) = &outcome
                && *holes == Holes::default()
            {
                let shall_lose = !matches!(self.loss, Loss::Even(0.0));
                assert_eq!(shall_lose, up.lost > 0, "{self:?}: {up:?}");
                assert_eq!(self.jitter_ms > 0, up.overtaken > 0 && up.doubled > 0, "{self:?}: {up:?}");
                return;
            }
            assert!(stalled, "{self:?}: {outcome:?}");
        }
        eprintln!("{self:?}: the machine stood still in each of {TRIES} tries; holes were marked");
    }
}

/// Runs `short`, or in the long form each program with each round trip and cipher over this network.
async fn all_whole(test: &'static str, loss: Loss, short: &[Case], seed: u64) {
    let seconds = machine::seconds(0);
    let (cases, media) = match seconds {
        0 => (short.to_vec(), Media::new(SHORT_SECONDS, SHORT_KBPS)),
        _ => (every(loss), Media::new(seconds, LONG_KBPS)),
    };
    for (batch, cases) in cases.chunks(SIDE_BY_SIDE).enumerate() {
        // A turn bounds its time, and each of the tries of the long form takes its own.
        let _turn = machine::shared(test);
        let mut running = JoinSet::new();
        for (index, case) in cases.iter().enumerate() {
            running.spawn(case.is_whole(media.clone(), seed + (batch * SIDE_BY_SIDE + index) as u64));
        }
        running.join_all().await;
    }
}

fn every(loss: Loss) -> Vec<Case> {
    let mut cases = Vec::new();
    for program in PROGRAMS {
        for round_trip in [10, 100, 300] {
            for cipher in [None, Some(16), Some(24), Some(32)] {
                let case = Case::of(program, loss, round_trip, cipher);
                cases.push(if cases.len() % 2 == 1 { case.jittery() } else { case });
            }
        }
    }
    cases
}

const NONE: Loss = Loss::Even(0.0);
const FEW: Loss = Loss::Even(0.02);
const MANY: Loss = Loss::Even(0.1);
/// 3 % in bursts of 5.
const BURSTS: Loss = Loss::Bursts { begin: 0.006, end: 0.2 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_loss_everything_comes() {
    let short = [
        Case::of(Program::LiveTransmit, NONE, 10, None),
        Case::of(Program::GStreamer, NONE, 100, Some(24)).jittery(),
        Case::of(Program::Ffmpeg, NONE, 300, Some(16)),
    ];
    all_whole("without_loss_everything_comes", NONE, &short, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_packets_one_is_lost_and_comes_again() {
    let short = [
        Case::of(Program::Ffmpeg, FEW, 10, None),
        Case::of(Program::LiveTransmit, FEW, 100, Some(16)),
        Case::of(Program::GStreamer, FEW, 300, Some(32)).jittery(),
    ];
    all_whole("of_fifty_packets_one_is_lost_and_comes_again", FEW, &short, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_packets_one_is_lost_and_comes_again() {
    let short = [
        Case::of(Program::GStreamer, MANY, 10, None),
        Case::of(Program::Ffmpeg, MANY, 100, Some(32)).jittery(),
        Case::of(Program::LiveTransmit, MANY, 300, Some(24)),
    ];
    all_whole("of_ten_packets_one_is_lost_and_comes_again", MANY, &short, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bursts_are_lost_and_come_again() {
    let short = [
        Case::of(Program::LiveTransmit, BURSTS, 10, Some(32)).jittery(),
        Case::of(Program::GStreamer, BURSTS, 100, Some(16)),
        Case::of(Program::Ffmpeg, BURSTS, 300, None),
    ];
    all_whole("bursts_are_lost_and_come_again", BURSTS, &short, 400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_latency_that_is_too_small_leaves_marked_holes() {
    let _turn = machine::shared("a_latency_that_is_too_small_leaves_marked_holes");
    let media = Media::new(SHORT_SECONDS, SHORT_KBPS);
    let case = Case { latency_ms: 120, ..Case::of(Program::LiveTransmit, MANY, 300, Some(16)) };
    let (holes, _) = case.run(&media, 500).await.0.expect("it is connected");
    // What is lost cannot come again in time: it takes a round trip.
    assert!(holes.count > 20 && holes.bytes > 0, "{holes:?}");
}
