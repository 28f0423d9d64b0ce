//! A listener that keeps what callers send, the callers, and what is asked of both.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream::clock::SystemClock;
use millstream::listen::srt::{SrtConnections, SrtSettings, bind, serve};
use millstream::listen::{Admission, CloseReason, Finish, PublishRequest, Publisher, Refusal, RefusalReason};
use millstream::wire::Inbound;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::watch;
use tokio::task::JoinHandle as Task;
use tokio_util::sync::CancellationToken;

use crate::process::{Process, output};

/// The key that [`Door`] knows.
pub const KEY: &str = "right-key";
/// What callers encrypt with.
pub const PASSPHRASE: &str = "correct horse battery";
/// Longest that a single wait may take: far beyond what a loaded machine needs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// 7 transport packets, which is what a datagram of SRT carries.
const CHUNK: usize = 1_316;
/// How long callers try to connect. Their default of 3 s is less than a machine may stand still.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// What FFmpeg sends last is its filler (see [`Feed`]): so much of its media is not compared.
const FFMPEG_TAIL: Duration = Duration::from_millis(500);

/// What one publisher sent.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// In order, each with whether something before it is missing.
    pub pieces: Vec<(Bytes, bool)>,
    /// Bytes of all.
    pub bytes: usize,
    pub finish: Option<Finish>,
}

/// An admission that knows one key, and perhaps a passphrase for it, and records each publisher.
#[derive(Clone)]
pub struct Door {
    passphrase: Option<SecretString>,
    recordings: watch::Sender<Vec<Recording>>,
}

impl Admission for Door {
    type Publisher = Recorder;

    async fn srt_passphrase(&self, key: &SecretString) -> Result<Option<SecretString>, Refusal> {
        known(key).map(|()| self.passphrase.clone())
    }

    async fn admit(&self, request: PublishRequest) -> Result<Recorder, Refusal> {
        known(&request.key)?;
        let mut index = 0;
        self.recordings.send_modify(|recordings| {
            index = recordings.len();
            recordings.push(Recording::default());
        });
        Ok(Recorder { index, recordings: self.recordings.clone() })
    }
}

fn known(key: &SecretString) -> Result<(), Refusal> {
    let description = "This stream key is not known.".to_owned();
    let refusal = Refusal { reason: RefusalReason::BadKey, description };
    if key.expose_secret() == KEY { Ok(()) } else { Err(refusal) }
}

/// One publisher of [`Door`].
pub struct Recorder {
    index: usize,
    recordings: watch::Sender<Vec<Recording>>,
}

impl Publisher for Recorder {
    async fn send(&self, units: impl Iterator<Item = Inbound> + Send) -> Result<(), CloseReason> {
        let pieces: Vec<_> = units
            .map(|unit| match unit {
                Inbound::Ts(piece) => (piece.data, piece.lost),
                other => panic!("{other:?} does not come over SRT"),
            })
            .collect();
        self.recordings.send_modify(|recordings| {
            let recording = &mut recordings[self.index];
            recording.bytes += pieces.iter().map(|(data, _)| data.len()).sum::<usize>();
            recording.pieces.extend(pieces);
        });
        Ok(())
    }

    async fn closed(&self) -> CloseReason {
        std::future::pending().await
    }

    async fn finish(self, how: Finish) {
        self.recordings.send_modify(|recordings| recordings[self.index].finish = Some(how));
    }
}

/// A running listener.
pub struct Listener {
    pub address: SocketAddr,
    recordings: watch::Receiver<Vec<Recording>>,
    shutdown: CancellationToken,
    served: Task<()>,
}

impl Listener {
    /// `change` changes the defaults; `passphrase` is the stream's own.
    pub fn start(passphrase: Option<&str>, change: impl FnOnce(&mut SrtSettings)) -> Self {
        let mut settings = SrtSettings::new(SystemClock::shared());
        change(&mut settings);
        let recordings = watch::Sender::new(Vec::new());
        let door = Door { passphrase: passphrase.map(SecretString::from), recordings: recordings.clone() };
        let socket = bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = socket.local_addr().expect("bound");
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(serve(socket, settings, door, SrtConnections::default(), shutdown.clone()));
        Listener { address, recordings: recordings.subscribe(), shutdown, served }
    }

    /// Waits until the recordings are as `is` says, and returns what it says.
    pub async fn when<T>(&self, what: &str, limit: Duration, is: impl FnMut(&[Recording]) -> Option<T>) -> T {
        let found = self.within(limit, is).await;
        found.unwrap_or_else(|| panic!("{what} within {limit:?}: {}", self.summary()))
    }

    /// The same; none when it does not come to be.
    pub async fn within<T>(&self, limit: Duration, mut is: impl FnMut(&[Recording]) -> Option<T>) -> Option<T> {
        let mut recordings = self.recordings.clone();
        let waiting = async {
            loop {
                if let Some(found) = is(&recordings.borrow_and_update()) {
                    return found;
                }
                recordings.changed().await.expect("the door is open");
            }
        };
        tokio::time::timeout(limit, waiting).await.ok()
    }

    /// The recording of this number, which exists.
    pub fn recording(&self, index: usize) -> Recording {
        self.recordings.borrow()[index].clone()
    }

    pub fn summary(&self) -> String {
        let recordings = self.recordings.borrow();
        let lines =
            recordings.iter().map(|recording| format!("{} bytes, ended: {:?}", recording.bytes, recording.finish));
        lines.collect::<Vec<_>>().join("; ")
    }

    /// Stops the listener, which must end by itself.
    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.served).await.expect("it ends").expect("no panic");
    }
}

/// Programs that push over SRT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Ffmpeg,
    LiveTransmit,
    GStreamer,
}

pub const PROGRAMS: [Program; 3] = [Program::Ffmpeg, Program::LiveTransmit, Program::GStreamer];

/// How a caller calls.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub program: Program,
    pub key: &'static str,
    /// Passphrase and bytes of the AES key.
    pub cipher: Option<(&'static str, u8)>,
    pub latency: Duration,
    /// Milliseconds without an answer after which `srt-live-transmit` gives the connection up.
    pub peer_idle_ms: u32,
    /// Whether `srt-live-transmit` calls again then. If so, it does not end by itself.
    pub reconnects: bool,
}

impl Call {
    pub fn new(program: Program) -> Self {
        Call {
            program,
            key: KEY,
            cipher: None,
            latency: Duration::from_millis(120),
            peer_idle_ms: 5_000,
            reconnects: false,
        }
    }

    /// Where it calls. FFmpeg takes everything in the URL, GStreamer only this much.
    fn url(&self, to: SocketAddr) -> String {
        let key = self.key.replace('#', "%23");
        let connect = CONNECT_TIMEOUT.as_millis();
        let mut url = match self.program {
            // Of the options only FFmpeg's latency is in microseconds, and `linger` in seconds.
            Program::Ffmpeg => {
                let latency = self.latency.as_micros();
                let options = format!("latency={latency}&connect_timeout={connect}&linger=8&pkt_size={CHUNK}");
                format!("srt://{to}?streamid={key}&{options}")
            }
            Program::LiveTransmit => {
                let (latency, idle) = (self.latency.as_millis(), self.peer_idle_ms);
                format!("srt://{to}?streamid={key}&latency={latency}&conntimeo={connect}&peeridletimeo={idle}")
            }
            // It calls again by itself.
            Program::GStreamer => return format!("srt://{to}"),
        };
        if let Some((passphrase, bytes)) = self.cipher {
            url += &format!("&passphrase={passphrase}&pbkeylen={bytes}");
        }
        url
    }

    /// The program, sending to `to`: FFmpeg what is in `media` at its own pace, and what it muxed into `muxed` as well, if it is
    /// given; the others what comes through their standard input.
    fn command(&self, to: SocketAddr, media: &Media, muxed: Option<&Path>) -> Command {
        let url = self.url(to);
        match self.program {
            Program::Ffmpeg => {
                let mut command = Command::new("ffmpeg");
                command.args(["-nostdin", "-hide_banner", "-loglevel", "warning", "-re", "-i"]).arg(&media.path);
                command.args(["-map", "0", "-c", "copy"]);
                match muxed {
                    Some(muxed) => {
                        command.args(["-f", "tee"]).arg(format!("[f=mpegts]{}|[f=mpegts]{url}", muxed.display()))
                    }
                    None => command.args(["-f", "mpegts", &url]),
                };
                command
            }
            Program::LiveTransmit => {
                let mut command = Command::new("srt-live-transmit");
                let reconnects = if self.reconnects { "-a:yes" } else { "-a:no" };
                let chunk = format!("-chunk:{CHUNK}");
                command.args(["-v", "-loglevel:note", reconnects, &chunk, "file://con", &url]);
                command
            }
            Program::GStreamer => {
                let mut command = Command::new("gst-launch-1.0");
                command.args(["-q", "fdsrc", "fd=0", &format!("blocksize={CHUNK}"), "!", "srtsink", "sync=false"]);
                command.arg(format!("uri={url}"));
                command.arg(format!("streamid={}", self.key)).arg(format!("latency={}", self.latency.as_millis()));
                if let Some((passphrase, bytes)) = self.cipher {
                    command.arg(format!("passphrase={passphrase}")).arg(format!("pbkeylen={bytes}"));
                }
                command
            }
        }
    }

    /// Calls where it is turned away with `words`. Whether it was, and what it writes.
    pub async fn is_refused(&self, to: SocketAddr, media: &Media, words: &'static str) -> (bool, String) {
        let mut command = self.command(to, media, None);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut process = Process::start(&format!("{:?}", self.program), &mut command);
        let ffmpeg = self.program == Program::Ffmpeg;
        let waited = move || {
            let told = process.lines().wait_for(PATIENCE, |line| line.contains(words).then_some(())).is_some();
            // srt-live-transmit does not always end then, and if it does, it calls that a success.
            let failed = !ffmpeg || !process.wait(PATIENCE).expect("it gives up").success();
            (told && failed, process.lines().text())
        };
        tokio::task::spawn_blocking(waited).await.expect("no panic")
    }

    /// Starts it. The caller's standard input is [`Caller::feed`]'s.
    pub fn start(&self, to: SocketAddr, media: &Media) -> Caller {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let muxed = folder.path().join("muxed.ts");
        let mut command = self.command(to, media, Some(&muxed));
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut process = Process::start(&format!("{:?}", self.program), &mut command);
        let input = process.child().stdin.take();
        Caller { program: self.program, process, input, folder, muxed }
    }
}

/// Waits until `srt-live-transmit` is connected, before which it throws away what it reads. Answers whether it is: it may
/// give up.
pub async fn is_connected(process: &Process) -> bool {
    let lines = process.lines().clone();
    let wait = move || lines.wait_for(PATIENCE, |line| line.contains("SRT target connected").then_some(()));
    tokio::task::spawn_blocking(wait).await.expect("no panic").is_some()
}

/// A running program.
pub struct Caller {
    program: Program,
    pub process: Process,
    input: Option<ChildStdin>,
    /// Holds `muxed`.
    #[expect(dead_code, reason = "held, and removed at the end")]
    folder: tempfile::TempDir,
    muxed: PathBuf,
}

impl Caller {
    /// Begins to send `media` at its pace; FFmpeg does so by itself.
    pub fn feed(&mut self, media: &Media) -> Feed {
        let (Some(mut input), true) = (self.input.take(), self.program != Program::Ffmpeg) else {
            return Feed(None);
        };
        let (bytes, rate) = (media.bytes.clone(), media.bytes_per_second);
        let ended = Arc::new(AtomicBool::new(false));
        let asked = ended.clone();
        let feeding = thread::spawn(move || {
            let began = Instant::now();
            let fillers = (0u64..).map(|index| Bytes::from([(); CHUNK / 188].map(|()| filler(index)).concat()));
            let media = (0..bytes.len()).step_by(CHUNK).map(|at| bytes.slice(at..bytes.len().min(at + CHUNK)));
            let (mut sent, mut given) = (Vec::new(), 0);
            for chunk in media.chain(fillers) {
                let due = Duration::from_secs_f64(given as f64 / rate as f64);
                thread::sleep(due.saturating_sub(began.elapsed()));
                // A program that has ended takes no more; whoever waits for its bytes says so.
                if asked.load(Ordering::Relaxed) || input.write_all(&chunk).is_err() {
                    break;
                }
                given += chunk.len();
                sent.push(chunk);
            }
            sent.concat()
        });
        Feed(Some((ended, feeding)))
    }

    /// What FFmpeg muxed, once it has ended.
    pub fn muxed(&self) -> Vec<u8> {
        std::fs::read(&self.muxed).expect("FFmpeg wrote what it muxed")
    }
}

/// What FFmpeg does not put into a transport stream: stuffing with our mark and a number.
fn filler(index: u64) -> [u8; 188] {
    let mut packet = [0xff; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    packet[4..10].copy_from_slice(FILLER);
    packet[10..18].copy_from_slice(&index.to_be_bytes());
    packet
}

const FILLER: &[u8; 6] = b"filler";

/// Feeds a program: media first, then filler until [`Feed::end`]. Programs keep a little of what they read, and nobody asks again
/// for the last packets when they are lost: with filler behind it, the media's end is like its middle. FFmpeg's filler is the last
/// half second of its media ([`Media::compared`]).
pub struct Feed(Option<(Arc<AtomicBool>, JoinHandle<Vec<u8>>)>);

impl Feed {
    /// Closes the program's standard input. All that was written to it; nothing for FFmpeg, which reads its file.
    pub async fn end(self) -> Option<Vec<u8>> {
        let (ended, feeding) = self.0?;
        ended.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(move || feeding.join()).await.expect("no panic");
        Some(joined.expect("it does not panic"))
    }
}

impl Recording {
    /// Whether filler has come, so that the media has, as far as it will.
    pub fn is_through(&self) -> bool {
        let last = self.pieces.last().and_then(|(data, _)| data.rchunks(188).next());
        last.is_some_and(|packet| packet[4..].starts_with(FILLER))
    }
}

/// A transport stream at a constant pace.
#[derive(Clone)]
pub struct Media {
    pub path: PathBuf,
    pub bytes: Bytes,
    bytes_per_second: u32,
}

impl Media {
    /// MPEG-2 pictures and sound of FFmpeg's, `seconds` long. Made at its first use and kept under `target/`.
    pub fn new(seconds: u32, kbps: u32) -> Self {
        static MAKING: Mutex<()> = Mutex::new(());
        let _one: MutexGuard<()> = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = folder.join(format!("srt-{seconds}s-{kbps}k.ts"));
        if !path.exists() {
            let unfinished = folder.join(format!("srt-{seconds}s-{kbps}k.{}.new.ts", std::process::id()));
            let (rate, video) = (format!("{kbps}k"), format!("{}k", kbps - kbps / 5));
            let mut command = Command::new("ffmpeg");
            command.args(["-nostdin", "-loglevel", "error", "-y", "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25"]);
            command.args(["-f", "lavfi", "-i", "sine=r=48000", "-t", &seconds.to_string(), "-c:v", "mpeg2video"]);
            command.args(["-b:v", &video, "-minrate", &video, "-maxrate", &video, "-bufsize", "1M", "-c:a", "mp2"]);
            command.args(["-muxrate", &rate, "-f", "mpegts"]).arg(&unfinished);
            output(&mut command);
            std::fs::rename(&unfinished, &path).expect("the finished file takes its name");
        }
        let bytes: Bytes = std::fs::read(&path).expect("a source").into();
        let bytes_per_second = kbps * 1_000 / 8;
        Media { path, bytes, bytes_per_second }
    }

    /// How much of what `program` sent, `sent` bytes, has something behind it and so must come: of the programs that are fed all the
    /// media, and of FFmpeg all but the last half second.
    pub fn compared(&self, program: Program, sent: usize) -> usize {
        match program {
            Program::Ffmpeg => {
                let tail = FFMPEG_TAIL.as_secs_f64() * f64::from(self.bytes_per_second);
                sent.checked_sub(tail as usize).expect("FFmpeg sends more than its filler")
            }
            Program::LiveTransmit | Program::GStreamer => self.bytes.len(),
        }
    }
}

/// What is missing of what was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    /// How many times something is missing.
    pub count: usize,
    /// Bytes of all.
    pub bytes: usize,
    /// Bytes that are missing at the end.
    pub tail: usize,
}

/// Whether `pieces` are `sent` but for holes, each of which is marked, and no mark stands where nothing is missing. Answers with the
/// holes in the first `length` bytes: what is under way when a program ends is nobody's loss.
pub fn compare(sent: &[u8], length: usize, pieces: &[(Bytes, bool)]) -> Result<Holes, String> {
    let (mut at, mut holes, mut index) = (0, Holes::default(), 0);
    while index < pieces.len() {
        let joined = 1 + pieces[index + 1..].iter().take_while(|(_, lost)| !lost).count();
        let run: Vec<u8> = pieces[index..index + joined].iter().flat_map(|(data, _)| data).copied().collect();
        let marked = pieces[index].1;
        let rest = &sent[at..];
        let skipped = match marked {
            false if rest.starts_with(&run) => 0,
            false => {
                let same = run.iter().zip(rest).take_while(|(one, other)| one == other).count();
                return Err(format!("byte {} differs from what was sent, without a mark", at + same));
            }
            true => {
                // What is missing is whole datagrams, and so whole transport packets.
                let found = (0..rest.len()).step_by(188).find(|skipped| rest[*skipped..].starts_with(&run));
                found.ok_or_else(|| format!("{} bytes behind a mark at {at} were not sent", run.len()))?
            }
        };
        if marked && skipped == 0 {
            return Err(format!("a mark at byte {at}, where nothing is missing"));
        }
        if skipped > 0 && at < length {
            holes.count += 1;
            holes.bytes += skipped;
        }
        at += skipped + run.len();
        index += joined;
    }
    holes.tail = length.saturating_sub(at);
    Ok(holes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of media in datagrams.
    fn second() -> (Media, Vec<(Bytes, bool)>) {
        let bytes: Bytes = (0..300).flat_map(filler).collect();
        let pieces = bytes.chunks(CHUNK).map(|chunk| (bytes.slice_ref(chunk), false)).collect();
        (Media { path: PathBuf::new(), bytes_per_second: bytes.len() as u32, bytes }, pieces)
    }

    #[test]
    fn what_ffmpeg_sends_last_may_be_lost() {
        let (media, mut pieces) = second();
        let sent = &media.bytes;
        let lost = pieces.pop().expect("some").0.len();
        assert_eq!(compare(sent, media.compared(Program::Ffmpeg, sent.len()), &pieces), Ok(Holes::default()));
        let fed = media.compared(Program::LiveTransmit, sent.len());
        let tail = Holes { tail: lost, ..Holes::default() };
        assert_eq!(compare(sent, fed, &pieces), Ok(tail), "what a program is fed comes to its end");
    }

    #[test]
    fn what_is_lost_before_that_is_a_hole() {
        let (media, whole) = second();
        let sent = &media.bytes;
        let compared = media.compared(Program::Ffmpeg, sent.len());
        // The first datagram, one in the middle, and the last that is compared.
        for lost in [0, 9, compared / CHUNK] {
            let mut pieces = whole.clone();
            pieces.remove(lost);
            assert!(compare(sent, compared, &pieces).is_err(), "without a mark");
            pieces[lost].1 = true;
            let hole = Holes { count: 1, bytes: CHUNK, tail: 0 };
            assert_eq!(compare(sent, compared, &pieces), Ok(hole), "datagram {lost} of {}", whole.len());
        }
        let half = &whole[..whole.len() / 3];
        let tail = compared - half.len() * CHUNK;
        assert_eq!(compare(sent, compared, half), Ok(Holes { tail, ..Holes::default() }), "it breaks off");
    }
}
