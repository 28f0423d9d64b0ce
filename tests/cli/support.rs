//! The command line in this process: what it writes, the daemon that it meets, the host that it starts.
#![allow(dead_code, reason = "the test of secrets, a binary of its own, uses a part")]

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser;
use millstream::api::{ApiState, NoLiveSessions, router, serve_control_socket};
use millstream::cli::{Cli, Exit, Host, HostError, Output, ServeOptions, run};
use millstream::clock::SystemClock;
use millstream::config::{CertificatePaths, Config};
use millstream::control::Control;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A writer whose text can be read afterwards.
#[derive(Clone, Default)]
pub struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    pub fn read(&self) -> String {
        String::from_utf8(self.0.lock().expect("no panic").clone()).expect("UTF-8")
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A daemon that notes how it was started, and a storage that works or does not.
#[derive(Default)]
pub struct FakeHost {
    pub served: Mutex<Option<(String, ServeOptions)>>,
    pub storage_is_broken: bool,
}

impl Host for FakeHost {
    async fn serve(&self, config: Config, options: ServeOptions) -> Result<(), HostError> {
        *self.served.lock().expect("no panic") = Some((config.http.listen.to_string(), options));
        if options.end_sessions { Err("port 8080 is taken".into()) } else { Ok(()) }
    }

    async fn encode_costs(&self, _config: &Config) -> Result<Vec<(String, String)>, HostError> {
        Ok(vec![("capacity".to_owned(), "100 Mpx/s".to_owned())])
    }

    async fn probe_certificate(&self, files: &CertificatePaths) -> Result<String, HostError> {
        let name = files.cert.display().to_string();
        if name.contains("expired") { Err(format!("{name} expired").into()) } else { Ok(format!("{name} is fine")) }
    }

    async fn probe_storage(&self, _config: &Config) -> Result<String, HostError> {
        if self.storage_is_broken { Err("permission denied".into()) } else { Ok("5 GiB free".to_owned()) }
    }
}

pub struct Answer {
    pub exit: Exit,
    pub out: String,
    pub err: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!((self.exit, self.err.as_str()), (Exit::Done, ""));
        serde_json::from_str(&self.out).expect("one line of JSON")
    }

    #[track_caller]
    pub fn failed(&self, expected: &str) {
        assert_eq!((self.exit, self.out.as_str(), self.err.as_str()), (Exit::Failed, "", expected));
    }
}

pub async fn call_with(host: &FakeHost, config: &str, data_dir: &Path, args: &[&str]) -> Answer {
    let data_dir = data_dir.to_str().expect("a temporary folder has a plain name");
    let all = [&["millstream", "--data-dir", data_dir], args].concat();
    let cli = Cli::try_parse_from(all).expect("the flags are right");
    let config = Config::parse(&cli.overrides(), [], Some(("test.toml", config))).expect("the configuration is right");
    let (out, err) = (Text::default(), Text::default());
    let exit = run(cli, config, host, &mut Output::new(out.clone(), err.clone())).await;
    Answer { exit, out: out.read(), err: err.read() }
}

pub async fn call(data_dir: &Path, args: &[&str]) -> Answer {
    call_with(&FakeHost::default(), "", data_dir, args).await
}

/// The control side of a daemon.
pub struct Daemon {
    pub control: Control,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub async fn daemon(data_dir: &Path) -> Daemon {
    let control = Control::open(data_dir, SystemClock::shared()).await.expect("it opens");
    let api = router(ApiState { control: control.clone(), live: Arc::new(NoLiveSessions) });
    let stop = CancellationToken::new();
    let task = tokio::spawn({
        let (path, stop) = (data_dir.join("control.sock"), stop.clone());
        async move { serve_control_socket(api, &path, stop.cancelled_owned()).await.expect("it is served") }
    });
    Daemon { control, stop, task }
}

impl Daemon {
    pub async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("no panic");
        self.control.close().await;
    }
}

pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
