//! A listener that keeps what callers send, the callers, and what is asked of both.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    pub async fn when<T>(&self, what: &str, limit: Duration, mut is: impl FnMut(&[Recording]) -> Option<T>) -> T {
        let mut recordings = self.recordings.clone();
        let waiting = async {
            loop {
                if let Some(found) = is(&recordings.borrow_and_update()) {
                    return found;
                }
                recordings.changed().await.expect("the door is open");
            }
        };
        let waited = tokio::time::timeout(limit, waiting).await;
        waited.unwrap_or_else(|_| panic!("{what} within {limit:?}: {}", self.summary()))
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
    /// Milliseconds without an answer after which a program other than FFmpeg gives up.
    pub peer_idle_ms: u32,
}

impl Call {
    pub fn new(program: Program) -> Self {
        Call { program, key: KEY, cipher: None, latency: Duration::from_millis(120), peer_idle_ms: 5_000 }
    }

    /// The program, sending to `to`: FFmpeg what is in `media` at its own pace, and what it muxed into `muxed` as well; the others
    /// what comes through their standard input.
    fn command(&self, to: SocketAddr, media: &Media, muxed: &std::path::Path) -> Command {
        let (key, millis) = (self.key, self.latency.as_millis());
        let mut url = format!("srt://{to}?streamid={key}");
        match self.program {
            Program::Ffmpeg => {
                // Of the options only FFmpeg's latency is in microseconds, and `linger` in seconds.
                url += &format!("&latency={}&linger=20&pkt_size={CHUNK}", self.latency.as_micros());
                if let Some((passphrase, bytes)) = self.cipher {
                    url += &format!("&passphrase={passphrase}&pbkeylen={bytes}");
                }
                let mut command = Command::new("ffmpeg");
                command.args(["-nostdin", "-hide_banner", "-loglevel", "warning", "-re", "-i"]).arg(&media.path);
                command.args(["-map", "0", "-c", "copy", "-f", "tee"]);
                command.arg(format!("[f=mpegts]{}|[f=mpegts]{url}", muxed.display()));
                command
            }
            Program::LiveTransmit => {
                url += &format!("&latency={millis}&peeridletimeo={}", self.peer_idle_ms);
                if let Some((passphrase, bytes)) = self.cipher {
                    url += &format!("&passphrase={passphrase}&pbkeylen={bytes}");
                }
                let mut command = Command::new("srt-live-transmit");
                command.args(["-v", "-loglevel:error", &format!("-chunk:{CHUNK}"), "file://con", &url]);
                command
            }
            Program::GStreamer => {
                let mut command = Command::new("gst-launch-1.0");
                command.args(["-q", "fdsrc", "fd=0", &format!("blocksize={CHUNK}"), "!", "srtsink", "sync=false"]);
                command.arg(format!("uri=srt://{to}"));
                command.arg(format!("streamid={key}")).arg(format!("latency={millis}"));
                if let Some((passphrase, bytes)) = self.cipher {
                    command.arg(format!("passphrase={passphrase}")).arg(format!("pbkeylen={bytes}"));
                }
                command
            }
        }
    }

    /// Starts it. The caller's standard input is [`Caller::feed`]'s.
    pub fn start(&self, to: SocketAddr, media: &Media) -> Caller {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let muxed = folder.path().join("muxed.ts");
        let mut command = self.command(to, media, &muxed);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut process = Process::start(&format!("{:?}", self.program), &mut command);
        let input = process.child().stdin.take();
        Caller { program: self.program, process, input, folder, muxed }
    }
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
        Feed(Some(thread::spawn(move || {
            let began = Instant::now();
            for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
                let due = Duration::from_secs_f64((index * CHUNK) as f64 / rate as f64);
                thread::sleep(due.saturating_sub(began.elapsed()));
                if input.write_all(chunk).is_err() {
                    break; // it ended; whoever waits for its bytes says so
                }
            }
            input
        })))
    }

    /// What it muxed, once it has ended.
    pub fn muxed(&self, media: &Media) -> Bytes {
        match self.program {
            Program::Ffmpeg => std::fs::read(&self.muxed).expect("FFmpeg wrote what it muxed").into(),
            _ => media.bytes.clone(),
        }
    }
}

/// Feeds a program. Its standard input stays open until [`Feed::end`]: programs end at its end, without waiting for what is
/// under way.
pub struct Feed(Option<JoinHandle<ChildStdin>>);

impl Feed {
    pub fn end(self) {
        if let Some(feeding) = self.0 {
            drop(feeding.join().expect("it does not panic"));
        }
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

/// Whether `pieces` are `sent` but for holes, each of which is marked, and no mark stands where nothing is missing.
pub fn compare(sent: &[u8], pieces: &[(Bytes, bool)]) -> Result<Holes, String> {
    let (mut at, mut holes, mut index) = (0, Holes::default(), 0);
    while index < pieces.len() {
        let length = 1 + pieces[index + 1..].iter().take_while(|(_, lost)| !lost).count();
        let run: Vec<u8> = pieces[index..index + length].iter().flat_map(|(data, _)| data).copied().collect();
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
        holes.count += usize::from(skipped > 0);
        holes.bytes += skipped;
        at += skipped + run.len();
        index += length;
    }
    holes.tail = sent.len() - at;
    Ok(holes)
}
