//! No secret reaches the log, at any level, on its way through the command line, the API and admission. Alone in its binary,
//! because it listens to everything that the process logs.

#[path = "cli/support.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;

use millstream::api::{ApiState, NoLiveSessions, protected_router};
use millstream::control::Control;
use secrecy::SecretString;
use serde_json::Value;
use support::{Text, daemon, folder};

const TOKEN: &str = "a-token-of-sufficient-length";
const PASSPHRASE: &str = "correct horse battery";

async fn call(data_dir: &Path, args: &[&str]) -> Value {
    support::call(data_dir, &[args, &["--json"]].concat()).await.json()
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

    let dir = folder();
    let offline = call(dir.path(), &["streams", "create", "--name", "a"]).await;
    let mut secrets = vec![call(dir.path(), &["keys", "create", "--stream", "a"]).await];

    let file = dir.path().join("passphrase");
    std::fs::write(&file, PASSPHRASE).expect("a file");
    let file = file.display().to_string();
    let with_passphrase = ["streams", "update", "a", "--srt-passphrase-file", &file];
    call(dir.path(), &with_passphrase).await;

    let daemon = daemon(dir.path()).await;
    call(dir.path(), &with_passphrase).await;
    let stream = offline["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    assert!(daemon.control.srt_passphrase(&stream).await.expect("read").is_some());
    secrets.push(call(dir.path(), &["keys", "create", "--stream", "a"]).await);
    let id = secrets[1]["id"].as_str().expect("an id").to_owned();
    secrets.push(call(dir.path(), &["keys", "rotate", &id]).await);
    for (key, admitted) in secrets.iter().zip([true, false, true]) {
        let secret = SecretString::from(key["secret"].as_str().expect("a secret"));
        assert_eq!(daemon.control.authenticate(&secret).await.is_ok(), admitted);
    }
    over_tcp(&daemon.control).await;
    daemon.end().await;

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
    assert!(!text.contains(PASSPHRASE), "the SRT passphrase was logged");
}
