//! Publishers over either protocol, so that one test can have both: [`RawPublisher`] over RTMP, and over SRT `srt-live-transmit`, a caller
//! of libsrt, through whose standard input the same tags come as a transport stream.

#![allow(dead_code)] // each test module uses its part

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::runtime::Builder;

use super::daemon::{Credentials, Daemon};
use super::http::Client;
use super::process::Process;
use super::publisher::{Feed, RawPublisher};
use super::srt::caller;
use super::transport::{Multiplexer, PACKET_BYTES, fill_up, null_packet};

/// Longest time until a caller is in, or has given up.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What `srt-live-transmit` reads at once, and sends in one packet: pipes keep writes of this length whole.
const CHUNK_BYTES: usize = 7 * PACKET_BYTES;

/// How a publisher comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Rtmp,
    Srt,
}

/// A publisher that sends a feed. It is killed when it is dropped.
pub enum Encoder {
    Rtmp(RawPublisher),
    Srt(Transmitter),
}

impl Encoder {
    /// Asks to publish, and, if it may, pushes `feed`.
    pub fn start(via: Via, daemon: &Daemon, credentials: &Credentials, feed: Feed) -> Self {
        match via {
            Via::Rtmp => Encoder::Rtmp(RawPublisher::start(daemon.rtmp, &credentials.secret, feed)),
            Via::Srt => Encoder::Srt(Transmitter::start(daemon, credentials, feed)),
        }
    }

    /// When everything was sent; `None` before that.
    pub fn sent_at(&self) -> Option<Instant> {
        match self {
            Encoder::Rtmp(publisher) => publisher.sent_at(),
            Encoder::Srt(transmitter) => transmitter.progress.lock().sent,
        }
    }

    /// When it began to send.
    pub fn began_at(&self) -> Instant {
        match self {
            Encoder::Rtmp(publisher) => publisher.began_at(),
            Encoder::Srt(transmitter) => transmitter.progress.lock().began.expect("it may publish"),
        }
    }

    /// How many pictures were sent so far.
    pub fn pictures_sent(&self) -> u32 {
        match self {
            Encoder::Rtmp(publisher) => publisher.pictures_sent(),
            Encoder::Srt(transmitter) => transmitter.progress.lock().pictures,
        }
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        match self {
            Encoder::Rtmp(publisher) => publisher.is_closed(),
            Encoder::Srt(transmitter) => transmitter.process.lines().has_ended(),
        }
    }

    /// Whether all that was sent is at the daemon: over TCP it will be, whatever becomes of the publisher; of what lies in an SRT
    /// caller's buffers when it is killed, nobody will hear.
    pub fn has_arrived(&self, daemon: &Daemon, stream: &str) -> bool {
        match self {
            Encoder::Rtmp(_) => self.sent_at().is_some(),
            Encoder::Srt(transmitter) => transmitter.has_arrived(daemon, stream),
        }
    }

    /// What it was told, once the server has closed the connection: over RTMP the last status, over SRT what the caller says of the
    /// refusal, which of a connection that was let in is nothing.
    pub fn last_word(&mut self) -> String {
        match self {
            Encoder::Rtmp(publisher) => {
                let told = publisher.wait_until_closed(ANSWER_LIMIT).pop().expect("a status");
                format!("{}: {}", told.code, told.description)
            }
            Encoder::Srt(transmitter) => {
                transmitter.process.wait(ANSWER_LIMIT).expect("it gives up");
                transmitter.process.lines().text()
            }
        }
    }

    /// Asks to publish where it may not. What is told: over RTMP code and words, over SRT the code.
    pub fn refusal(via: Via, daemon: &Daemon, credentials: &Credentials, feed: Feed) -> String {
        let told = Encoder::start(via, daemon, credentials, feed).last_word();
        if via == Via::Rtmp {
            return told;
        }
        // Of the code libsrt's programs say only that it is none of their library's.
        assert!(told.contains("Application-defined rejection reason"), "{told}");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let call = caller::Caller::connect(daemon.srt(), &credentials.secret, None);
        runtime.block_on(call).err().expect("it may not publish").to_string()
    }

    /// Says goodbye: over RTMP as its feed says (and by closing the connection), over SRT by a shutdown.
    pub fn leave(self) {
        if let Encoder::Srt(mut transmitter) = self {
            transmitter.process.signal(Signal::TERM);
            transmitter.process.wait(ANSWER_LIMIT).expect("it ends");
        }
    }

    /// Ends without a goodbye: over RTMP by a reset, as the kernel does for a process that was killed with something unread.
    pub fn kill(self) {
        match self {
            Encoder::Rtmp(publisher) => publisher.reset(),
            Encoder::Srt(transmitter) => drop(transmitter),
        }
    }

    /// Nothing comes from it any more, and it does not know. Over RTMP its feed says so.
    pub fn freeze(&self) {
        if let Encoder::Srt(transmitter) = self {
            transmitter.process.signal(Signal::STOP);
        }
    }

    /// It goes on where it was frozen.
    pub fn thaw(&self) {
        if let Encoder::Srt(transmitter) = self {
            transmitter.process.signal(Signal::CONT);
        }
    }
}

/// A running `srt-live-transmit`.
pub struct Transmitter {
    process: Process,
    progress: Progress,
    /// Gives back the standard input: closing it would be no event to the caller.
    feeding: Option<JoinHandle<ChildStdin>>,
}

impl Transmitter {
    /// Calls with the key as stream id, and, if it may, pushes `feed` in real time. What happens behind its last tag, is the test's.
    pub fn start(daemon: &Daemon, credentials: &Credentials, feed: Feed) -> Self {
        let mut command = Command::new("srt-live-transmit");
        // Ten chunks would be read before the first is sent.
        let (chunk, queue) = (format!("-chunk:{CHUNK_BYTES}"), "-buffering:1");
        command.args(["-v", "-loglevel:note", "-a:no", &chunk, queue, "file://con"]);
        command.arg(format!("srt://{}?streamid={}", daemon.srt(), credentials.secret));
        let mut process = Process::start("srt-live-transmit", command.stdin(Stdio::piped()).stdout(Stdio::null()));
        let mut input = process.child().stdin.take().expect("it was asked for");
        // What it reads before it is connected is lost.
        let is_in = |line: &str| line.contains("SRT target connected").then_some(());
        let admitted = process.lines().wait_for(ANSWER_LIMIT, is_in).is_some();
        let progress = Progress::default();
        let feeding = admitted.then(|| {
            let progress = progress.clone();
            thread::spawn(move || {
                push(&feed, &mut input, &progress);
                input
            })
        });
        Transmitter { process, progress, feeding }
    }

    /// The daemon counts twice a second what has come.
    fn has_arrived(&self, daemon: &Daemon, stream: &str) -> bool {
        let sent = {
            let state = self.progress.lock();
            state.sent.map(|_| state.chunks)
        };
        if sent.is_none() {
            return false;
        }
        let metrics = Client::default().fetch(&daemon.url("/metrics"));
        let is_it = |line: &&str| {
            let of_stream = line.contains(&format!("stream=\"{stream}\"")) && line.contains(r#"what="unique""#);
            of_stream && line.starts_with("millstream_srt_packets_total{")
        };
        let line = metrics.text().lines().find(is_it).and_then(|line| line.rsplit_once(' '));
        let unique: Option<u64> = line.and_then(|(_, count)| count.parse().ok());
        let arrived = unique >= sent;
        self.progress.change(|state| state.arrived |= arrived);
        arrived
    }
}

impl Drop for Transmitter {
    fn drop(&mut self) {
        // It fails when it has ended by itself, which is what is wanted here.
        let _ = self.process.child().kill();
        self.progress.change(|state| state.dropped = true);
        if self.feeding.take().is_some_and(|feeding| feeding.join().is_err()) && !thread::panicking() {
            panic!("the thread that feeds srt-live-transmit panicked");
        }
    }
}

#[derive(Clone, Default)]
struct Progress {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    began: Option<Instant>,
    sent: Option<Instant>,
    pictures: u32,
    /// Those with media in them.
    chunks: u64,
    /// They have come: nothing more has to be sent.
    arrived: bool,
    dropped: bool,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.1.notify_all();
    }

    /// False when the caller was dropped before that, or all has arrived.
    fn pause_until(&self, moment: Instant) -> bool {
        let mut state = self.lock();
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            let is_over = state.dropped || state.arrived;
            if is_over || left.is_zero() {
                return !is_over;
            }
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Writes the tags when they are due, each in chunks of its own. Ends early when the caller does.
fn push(feed: &Feed, input: &mut ChildStdin, progress: &Progress) {
    let began = Instant::now();
    progress.change(|state| state.began = Some(began));
    let (mut multiplexer, mut stream) = (Multiplexer::default(), Vec::new());
    for tag in &feed.tags {
        if !progress.pause_until(began + Duration::from_millis(tag.due_ms)) {
            return;
        }
        stream.clear();
        multiplexer.put(tag, &mut stream);
        fill_up(&mut stream, CHUNK_BYTES);
        for chunk in stream.chunks(CHUNK_BYTES) {
            if input.write_all(chunk).is_err() {
                return;
            }
            progress.change(|state| state.chunks += 1);
        }
        progress.change(|state| state.pictures += u32::from(tag.is_picture()));
    }
    let sent = Instant::now();
    progress.change(|state| state.sent = Some(sent));
    // Of chunks that it reads at once, it keeps some until it reads again: chunks that hold nothing push them out. They come shortly
    // behind the media, for they are no silence; later ones only where the machine stood still meanwhile.
    let nothing = null_packet().repeat(CHUNK_BYTES / PACKET_BYTES);
    for after_ms in [20, 40, 60].into_iter().chain((2_000..60_000).step_by(1_000)) {
        if !progress.pause_until(sent + Duration::from_millis(after_ms)) || input.write_all(&nothing).is_err() {
            return;
        }
    }
}
