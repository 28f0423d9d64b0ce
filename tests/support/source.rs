//! Synthetic sources, and the `ffmpeg` that pushes them as a real encoder would.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::process::{Process, output};

/// A source file. Made by `scripts/source.sh`, which says what the picture and the sound hold.
#[derive(Clone, Debug)]
pub struct Source {
    /// The FLV file.
    pub path: PathBuf,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames per second.
    pub fps: u32,
    /// Length.
    pub seconds: u32,
}

/// A source that is not plain; see `scripts/source.sh`.
#[derive(Clone, Copy, Debug)]
pub struct Odd {
    /// What it is called, also in its file's name.
    pub name: &'static str,
    /// Width and height in coded pixels.
    pub size: (u32, u32),
    /// Frames per second, maybe as a fraction.
    pub rate: &'static str,
    /// Whole frames of a nominal second of what `filter` gives out.
    pub fps: u32,
    /// Length.
    pub seconds: u32,
    /// What the picture goes through last.
    pub filter: &'static str,
    /// Options of `ffmpeg` for the output.
    pub options: &'static [&'static str],
}

impl Odd {
    /// A plain source of 480x270 at 30 fps and 6 s: above one rung of the small test ladders and within the other.
    pub const fn named(name: &'static str) -> Self {
        Odd { name, size: (480, 270), rate: "30", fps: 30, seconds: 6, filter: "null", options: &[] }
    }

    /// The source, made at its first use.
    pub fn source(&self) -> Source {
        let (width, height) = self.size;
        let Odd { fps, seconds, .. } = *self;
        let numbers =
            [width.to_string(), height.to_string(), self.rate.to_owned(), seconds.to_string(), "600".to_owned()];
        let more: Vec<_> = [self.filter].into_iter().chain(self.options.iter().copied()).collect();
        let name = format!("odd-{}-{width}x{height}-{seconds}s.flv", self.name);
        Source { path: made(&name, &numbers, &more), width, height, fps, seconds }
    }
}

impl Source {
    /// The source of this form, made at its first use and kept under `target/`.
    pub fn new(width: u32, height: u32, fps: u32, seconds: u32, kbps: u32) -> Self {
        let name = format!("{width}x{height}-{fps}fps-{seconds}s-{kbps}k.flv");
        let numbers = [width, height, fps, seconds, kbps].map(|number| number.to_string());
        Source { path: made(&name, &numbers, &[]), width, height, fps, seconds }
    }

    /// 640x360 at 30 fps, 1 Mbit/s: what the small test ladder takes.
    pub fn small(seconds: u32) -> Self {
        Source::new(640, 360, 30, seconds, 1_000)
    }

    /// The same pictures and sound, the pictures encoded anew by `ffmpeg` with `arguments`. Made at its first use; `name` is part
    /// of the file's.
    pub fn recoded(&self, name: &str, arguments: &[&str]) -> Self {
        let path = self.remade(&format!("{name}.flv"), |command, part| {
            command.args(["-c:a", "copy", "-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "veryfast"]);
            command.args(["-b:v", "1000k"]).args(arguments).args(["-f", "flv"]).arg(part);
        });
        Source { path, ..self.clone() }
    }

    /// The same as an MPEG transport stream, made by `ffmpeg` with `arguments`. Made at its first use; `name` is part of the file's.
    pub fn transport(&self, name: &str, arguments: &[&str]) -> PathBuf {
        self.remade(&format!("{name}.ts"), |command, part| {
            command.args(arguments).args(["-f", "mpegts"]).arg(part);
        })
    }

    /// A file beside the source's, with this behind its name, that `ffmpeg` makes of it with the arguments that `add` gives.
    fn remade(&self, name: &str, add: impl FnOnce(&mut Command, &Path)) -> PathBuf {
        static MAKING: Mutex<()> = Mutex::new(());
        let stem = self.path.file_stem().expect("a source has a name").to_string_lossy();
        let path = self.path.with_file_name(format!("{stem}-{name}"));
        let _one_at_a_time = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if is_older(&path, &self.path) {
            let part = path.with_extension(format!("{}.part", std::process::id()));
            let mut command = Command::new("ffmpeg");
            command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-i"]).arg(&self.path);
            add(&mut command, &part);
            output(&mut command);
            fs::rename(&part, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        path
    }

    /// Frames in the whole file.
    pub fn frames(&self) -> u32 {
        self.fps * self.seconds
    }

    /// Longest time from the start of a push in real time until everything came out at the other end.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds) * 3 + 60)
    }
}

/// The file `name`, made by the script with these arguments unless it is there.
fn made(name: &str, numbers: &[String], more: &[&str]) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/test-sources");
    let path = folder.join(name);
    let _one_at_a_time = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let script = root.join("scripts/source.sh");
    if is_older(&path, &script) {
        fs::create_dir_all(&folder).expect("a folder for sources");
        output(Command::new(script).args(numbers).arg(&path).args(more));
    }
    path
}

/// Whether `made` is missing or older than what makes it.
fn is_older(made: &Path, maker: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
    match (time(made), time(maker)) {
        (Ok(made), Ok(maker)) => made < maker,
        _ => true,
    }
}

/// A running push in real time.
pub struct Publisher {
    process: Process,
}

impl Publisher {
    /// Pushes `source` to `url`, no faster than it plays.
    pub fn start(source: &Source, url: &str) -> Self {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-hide_banner", "-loglevel", "warning", "-re", "-i"]).arg(&source.path);
        command.args(["-c", "copy", "-flvflags", "no_duration_filesize", "-f", "flv", url]);
        Publisher { process: Process::start("ffmpeg", command.stdin(Stdio::null()).stdout(Stdio::null())) }
    }

    /// Waits until everything was pushed.
    pub fn finish(mut self, source: &Source) {
        self.process.wait_for_success(source.limit());
    }

    /// Waits for its end, whatever it is.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.wait(limit)
    }

    /// What it said.
    pub fn errors(&self) -> String {
        self.process.lines().text()
    }
}

/// A running push of a transport stream over SRT, in real time, by `ffmpeg`'s libsrt.
pub struct Caller {
    process: Process,
}

impl Caller {
    /// Calls `listener` with these options behind the URL, and sends `file` no faster than it plays. It lingers until all of it was sent:
    /// without, libsrt drops at the end what it has not sent yet.
    pub fn start(file: &Path, listener: SocketAddr, query: &str) -> Self {
        Caller::start_with(file, listener, query, &[])
    }

    /// The same with more options for the multiplexer.
    pub fn start_with(file: &Path, listener: SocketAddr, query: &str, options: &[&str]) -> Self {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-hide_banner", "-loglevel", "warning", "-re", "-i"]).arg(file);
        command
            .args(["-map", "0", "-c", "copy"])
            .args(options)
            .args(["-f", "mpegts"])
            .arg(format!("srt://{listener}?linger=10&{query}"));
        Caller { process: Process::start("ffmpeg", command.stdin(Stdio::null()).stdout(Stdio::null())) }
    }

    /// Waits until everything was sent.
    pub fn finish(mut self, source: &Source) {
        self.process.wait_for_success(source.limit());
    }

    /// The same, and calls `beside` now and then meanwhile. When it ended, at the latest.
    pub fn finish_beside(mut self, source: &Source, mut beside: impl FnMut()) -> Instant {
        let began = Instant::now();
        loop {
            if let Some(status) = self.process.wait(Duration::from_millis(100)) {
                assert!(status.success(), "{status}: {}", self.process.lines().text());
                return Instant::now();
            }
            assert!(began.elapsed() < source.limit(), "it goes on: {}", self.process.lines().text());
            beside();
        }
    }

    /// Waits for its end, whatever it is.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.wait(limit)
    }

    /// Ends it as a power cut does.
    pub fn kill(self) {
        self.process.signal(Signal::KILL);
    }
}
