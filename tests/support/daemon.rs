//! The built binary in a folder of its own, on ports that the system chose.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::certificates::Certificates;
use super::process::{Lines, Process, output};

/// How long a debug build on a busy machine may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The contract: SIGTERM to exit.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);

/// What a daemon keeps over restarts: its folder and its settings.
pub struct Home {
    folder: TempDir,
    settings: Vec<(String, String)>,
}

/// A stream with a key that may publish to it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Public id, goes into playback URLs.
    pub stream: String,
    /// Id of the key.
    pub key: String,
    /// The key itself.
    pub secret: String,
}

impl Home {
    /// A new folder with a preset: the name of a shipped one, or the path of a test's own.
    pub fn new(preset: impl Into<String>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Home { folder, settings: Vec::new() }.set("ladder.preset", preset)
    }

    /// A folder whose sessions end with the broadcast, so that a test sees ENDLIST without waiting for the grace time.
    pub fn ending_with_the_broadcast(preset: impl Into<String>) -> Self {
        Home::new(preset).set("session.on_unpublish", "end")
    }

    /// Sets `section.key`, as its environment twin does.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        let variable = format!("MILLSTREAM_{}", key.to_uppercase().replace('.', "__"));
        self.settings.push((variable, value.into()));
        self
    }

    /// Serves RTMPS too, with this certificate.
    #[must_use]
    pub fn with_rtmps(self, certificates: &Certificates) -> Self {
        self.with_certificate("rtmps", certificates)
    }

    /// Serves HTTPS too, with this certificate.
    #[must_use]
    pub fn with_https(self, certificates: &Certificates) -> Self {
        self.with_certificate("https", certificates).set("https.listen", "127.0.0.1:0")
    }

    fn with_certificate(self, section: &str, certificates: &Certificates) -> Self {
        let text = |path: PathBuf| path.to_str().expect("a temporary folder has a plain name").to_owned();
        let (cert, key) = (text(certificates.cert()), text(certificates.key()));
        self.set(&format!("{section}.cert"), cert).set(&format!("{section}.key"), key)
    }

    /// The daemon's own folder, in which it runs: its data is below it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where objects are stored by default.
    pub fn objects(&self) -> PathBuf {
        self.data().join("objects")
    }

    /// The folder of a stream's only session in the store.
    pub fn session_folder(&self, stream: &str) -> PathBuf {
        let sessions = folders(&self.objects().join("live").join(stream));
        assert_eq!(sessions.len(), 1, "one session is stored: {sessions:?}");
        sessions[0].clone()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        // Settings of whoever runs the tests do not reach the daemon.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("MILLSTREAM_") {
                command.env_remove(variable);
            }
        }
        command
            .env("MILLSTREAM_DATA_DIR", self.data())
            .env("MILLSTREAM_HTTP__LISTEN", "127.0.0.1:0")
            .env("MILLSTREAM_RTMP__LISTEN", "127.0.0.1:0")
            .env("MILLSTREAM_RTMPS__LISTEN", "127.0.0.1:0")
            .env("MILLSTREAM_SRT__LISTEN", "127.0.0.1:0")
            .env("MILLSTREAM_LOG__FORMAT", "json")
            // Pictures are counted, also when the machine stands still meanwhile. Tests of overload have their own.
            .env("MILLSTREAM_LADDER__PATIENCE", "30s")
            .envs(self.settings.iter().map(|(variable, value)| (variable, value)));
        command
    }

    /// Runs a command of the CLI and returns what it prints with `--json`.
    pub fn cli(&self, arguments: &[&str]) -> Value {
        let text = output(self.command().args(arguments).arg("--json"));
        serde_json::from_slice(&text)
            .unwrap_or_else(|error| panic!("{arguments:?} --json: {error}: {}", String::from_utf8_lossy(&text)))
    }

    /// Runs a command to its end, however it ends: what it said on both outputs.
    pub fn run(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let output = self.command().args(arguments).output().expect("the binary starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8(said).expect("text"))
    }

    /// Makes a stream and a key for it.
    pub fn credentials(&self) -> Credentials {
        self.credentials_of("test")
    }

    /// Makes a stream of this name and a key for it.
    pub fn credentials_of(&self, name: &str) -> Credentials {
        self.credentials_with(name, &[])
    }

    /// The same of a stream with settings of its own: flags of `streams create`.
    pub fn credentials_with(&self, name: &str, flags: &[&str]) -> Credentials {
        let create = [&["streams", "create", "--name", name], flags].concat();
        let stream = text(&self.cli(&create), "id");
        let key = self.cli(&["keys", "create", "--stream", &stream]);
        Credentials { key: text(&key, "id"), secret: text(&key, "secret"), stream }
    }

    /// Starts the daemon and waits until it serves.
    pub fn serve(&self) -> Daemon {
        self.serve_with(&[])
    }

    /// As [`Home::serve`], with flags behind `serve`.
    pub fn serve_with(&self, flags: &[&str]) -> Daemon {
        let process = Process::start("millstream", self.command().arg("serve").args(flags).stdout(Stdio::null()));
        let [http, rtmp] = ["http", "rtmp"].map(|service| {
            let address = process.lines().wait_for(START_LIMIT, |line| listening(line, service));
            address.unwrap_or_else(|| panic!("the daemon does not say where {service} listens"))
        });
        process.lines().wait_for(START_LIMIT, |line| (message(line)? == "ready").then_some(())).expect("ready");
        let said = process.lines().text();
        let [https, rtmps, srt] =
            ["https", "rtmps", "srt"].map(|service| said.lines().find_map(|line| listening(line, service)));
        Daemon { process, http, https, rtmp, rtmps, srt }
    }
}

/// A daemon that serves.
pub struct Daemon {
    process: Process,
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where HTTPS is served, if it is.
    pub https: Option<SocketAddr>,
    /// Where RTMP is taken.
    pub rtmp: SocketAddr,
    /// Where RTMP is taken over TLS, if it is.
    pub rtmps: Option<SocketAddr>,
    /// Where SRT is taken, unless it is switched off.
    srt: Option<SocketAddr>,
}

impl Daemon {
    /// `http://ADDRESS` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Where SRT is taken.
    pub fn srt(&self) -> SocketAddr {
        self.srt.expect("SRT is on by default")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Where an encoder pushes with `secret`.
    pub fn publish_url(&self, secret: &str) -> String {
        format!("rtmp://{}/live/{secret}", self.rtmp)
    }

    /// Everything that it logged so far.
    pub fn log(&self) -> String {
        self.process.lines().text()
    }

    /// The log, as it goes on.
    pub fn lines(&self) -> Lines {
        self.process.lines().clone()
    }

    /// Waits until the log has a line with `text`.
    pub fn wait_for_log(&self, text: &str, limit: Duration) {
        let found = self.process.lines().wait_for(limit, |line| line.contains(text).then_some(()));
        found.unwrap_or_else(|| panic!("no line with {text:?} within {limit:?}"));
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends `signal` and goes on.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.process.wait(limit)
    }

    /// SIGTERM, then exit code 0 within the contract's time.
    pub fn stop(mut self) {
        self.process.signal(Signal::TERM);
        self.process.wait_for_success(STOP_LIMIT);
    }
}

/// The folders in `folder`, sorted.
pub fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut folders: Vec<_> =
        entries.map(|entry| entry.expect("a folder entry").path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no text `{key}` in {value}")).to_owned()
}

/// A field of a JSON log line, wherever the formatter puts fields.
fn field(line: &str, key: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let value = line["fields"].get(key).or_else(|| line.get(key))?;
    value.as_str().map(str::to_owned)
}

fn message(line: &str) -> Option<String> {
    field(line, "message")
}

fn listening(line: &str, service: &str) -> Option<SocketAddr> {
    (message(line)? == "listening" && field(line, "service")? == service).then_some(())?;
    field(line, "address")?.parse().ok()
}
