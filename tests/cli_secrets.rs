//! No secret reaches the log, at any level, on its way through the command line, the API and admission. Alone in its binary,
//! because it listens to everything that the process logs.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser;
use millstream::api::{ApiState, NoLiveSessions, protected_router, router, serve_control_socket};
use millstream::cli::{Cli, Exit, Host, HostError, Output, ServeOptions, run};
use millstream::clock::SystemClock;
use millstream::config::Config;
use millstream::control::Control;
use secrecy::SecretString;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "a-token-of-sufficient-length";

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Text {
    fn read(&self) -> String {
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

struct NoHost;

impl Host for NoHost {
    async fn serve(&self, _config: Config, _options: ServeOptions) -> Result<(), HostError> {
        Ok(())
    }
    async fn probe_storage(&self, _config: &Config) -> Result<String, HostError> {
        Ok(String::new())
    }
}

async fn call(data_dir: &Path, args: &[&str]) -> Value {
    let data_dir = data_dir.to_str().expect("a temporary folder has a plain name");
    let all = [&["millstream", "--data-dir", data_dir], args, &["--json"]].concat();
    let cli = Cli::try_parse_from(all).expect("the flags are right");
    let config = Config::parse(&cli.overrides(), [], None).expect("the defaults are right");
    let out = Text::default();
    assert_eq!(run(cli, config, &NoHost, &mut Output::new(out.clone(), io::sink())).await, Exit::Done);
    serde_json::from_str(&out.read()).expect("one line of JSON")
}

async fn over_tcp(control: &Control) {
    let state = ApiState { control: control.clone(), live: Arc::new(NoLiveSessions) };
    let api = protected_router(state, Some(&SecretString::from(TOKEN)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/api/v1/streams", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, api).await });
    let answer = reqwest::Client::new().get(url).bearer_auth(TOKEN).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    let log = Text::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    lines.with_writer(move || writer.clone()).init();

    let dir = tempfile::tempdir().expect("a temporary folder");
    let offline = call(dir.path(), &["streams", "create", "--name", "a"]).await;
    let mut secrets = vec![call(dir.path(), &["keys", "create", "--stream", "a"]).await];

    let control = Control::open(dir.path(), SystemClock::shared()).await.expect("it opens");
    let api = router(ApiState { control: control.clone(), live: Arc::new(NoLiveSessions) });
    let stop = CancellationToken::new();
    let served = tokio::spawn({
        let (path, stop) = (dir.path().join("control.sock"), stop.clone());
        async move { serve_control_socket(api, &path, stop.cancelled_owned()).await }
    });
    secrets.push(call(dir.path(), &["keys", "create", "--stream", "a"]).await);
    let id = secrets[1]["id"].as_str().expect("an id").to_owned();
    secrets.push(call(dir.path(), &["keys", "rotate", &id]).await);
    for (key, admitted) in secrets.iter().zip([true, false, true]) {
        let secret = SecretString::from(key["secret"].as_str().expect("a secret"));
        assert_eq!(control.authenticate(&secret).await.is_ok(), admitted);
    }
    over_tcp(&control).await;
    stop.cancel();
    served.await.expect("no panic").expect("it was served");
    control.close().await;

    let text = log.read();
    for line in ["stream key created", "stream key rotated", "SELECT", offline["id"].as_str().expect("an id")] {
        assert!(text.contains(line), "the log is whole: {line}");
    }
    for key in &secrets {
        // Neither whole nor without its prefix.
        let secret = key["secret"].as_str().expect("a secret").trim_start_matches("ms_");
        assert!(!text.contains(secret), "a secret was logged");
    }
    assert!(!text.contains(TOKEN), "the token was logged");
}
