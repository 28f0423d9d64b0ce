//! The command line, in process: offline on the database, and against a daemon's control socket.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use millstream::cli::{Exit, ServeOptions};
use millstream::control::{ControlEvent, DataDirLock};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::support::{Answer, FakeHost, call, call_with, daemon, folder};

/// The whole life of a stream and its keys, through `--json`.
async fn life_of_a_stream(dir: &Path) {
    let create = ["streams", "create", "--name", "a/b", "--title", "Arena", "--grace", "5s", "--conflict", "reject"];
    let stream = call(dir, &[&create[..], &["--preset", "passthrough", "--json"]].concat()).await.json();
    let id = stream["id"].as_str().expect("an id");
    assert_eq!(
        stream,
        json!({
            "id": id, "name": "a/b", "title": "Arena", "enabled": true, "preset": "passthrough", "grace": "5s",
            "on_unpublish": null, "conflict": "reject", "srt_passphrase_set": false,
            "created_at": stream["created_at"],
        })
    );
    assert_eq!(call(dir, &["streams", "show", "a/b", "--json"]).await.json(), stream);
    assert_eq!(call(dir, &["streams", "show", id, "--json"]).await.json(), stream);
    assert_eq!(call(dir, &["streams", "list", "--json"]).await.json(), json!([stream]));

    let update = ["streams", "update", "a/b", "--title", "Hall", "--grace", "10m", "--on-unpublish", "end"];
    let changed =
        call(dir, &[&update[..], &["--as-configured", "conflict,preset", "--disable", "--json"]].concat()).await;
    let expected = json!({
        "id": id, "name": "a/b", "title": "Hall", "enabled": false, "preset": null, "grace": "10m",
        "on_unpublish": "end", "conflict": null, "srt_passphrase_set": false, "created_at": stream["created_at"],
    });
    assert_eq!(changed.json(), expected);
    let enabled = call(dir, &["streams", "update", id, "--enable"]).await;
    assert!(
        enabled.out.contains("enabled         yes") && !enabled.out.contains("keeps the settings"),
        "{}",
        enabled.out
    );
    let waits = call(dir, &["streams", "update", id, "--grace", "20m"]).await;
    assert!(waits.out.contains("keeps the settings"), "{}", waits.out);
    call(dir, &["streams", "update", id, "--grace", "5s", "--as-configured", "grace"]).await.failed(
        "error: --grace gives a value, and --as-configured gives the same setting back: leave one of them out\n",
    );

    let made =
        call(dir, &["keys", "create", "--stream", id, "--label", "obs", "--expires", "30d", "--json"]).await.json();
    assert_eq!((&made["stream_id"], &made["label"], &made["state"]), (&json!(id), &json!("obs"), &json!("active")));
    let secret = made["secret"].as_str().expect("a secret");
    assert_eq!((secret.len(), &secret[..3]), (35, "ms_"));
    let key = made["id"].as_str().expect("an id");
    let rotated = call(dir, &["keys", "rotate", key, "--grace", "10m", "--json"]).await.json();
    assert_ne!(rotated["secret"], made["secret"]);
    let revoked = call(dir, &["keys", "revoke", key, "--json"]).await.json();
    assert_eq!((&revoked["id"], &revoked["state"]), (&json!(key), &json!("revoked")));

    let listed = call(dir, &["keys", "list", "--stream", "a/b", "--json"]).await;
    assert!(!listed.out.contains("secret") && !listed.out.contains("ms_"), "{}", listed.out);
    let states: Vec<_> = listed.json().as_array().expect("a list").iter().map(|key| key["state"].clone()).collect();
    assert_eq!(states, ["revoked", "active"]);

    let again = call(dir, &["streams", "create", "--name", "a/b"]).await;
    again.failed("error: a stream named \"a/b\" exists already; choose another name, or delete that stream first\n");
    assert_eq!(call(dir, &["streams", "delete", "a/b", "--json"]).await.json(), json!({ "deleted": id }));
    call(dir, &["streams", "show", "a/b"])
        .await
        .failed("error: no stream has the id or name \"a/b\"\nhint: millstream streams list shows all streams\n");
    call(dir, &["keys", "revoke", key]).await.failed(&format!(
        "error: no key has the id {key}\nhint: millstream keys list --stream STREAM shows a stream's keys\n"
    ));
}

#[tokio::test]
async fn a_stream_lives_without_a_daemon() {
    let dir = folder();
    life_of_a_stream(dir.path()).await;
    assert!(DataDirLock::holder(dir.path()).is_none(), "each command frees the lock");
}

#[tokio::test]
async fn a_stream_lives_in_a_daemon() {
    let dir = folder();
    let daemon = daemon(dir.path()).await;
    life_of_a_stream(dir.path()).await;
    daemon.end().await;
    assert!(!dir.path().join("control.sock").exists());
}

#[tokio::test]
async fn the_daemon_hears_of_what_a_command_did() {
    let dir = folder();
    let daemon = daemon(dir.path()).await;
    let mut events = daemon.control.events();
    call(dir.path(), &["streams", "create", "--name", "a", "--json"]).await.json();
    let made = call(dir.path(), &["keys", "create", "--stream", "a", "--json"]).await.json();
    let secret = SecretString::from(made["secret"].as_str().expect("a secret"));
    let grant = daemon.control.authenticate(&secret).await.expect("admitted");
    call(dir.path(), &["keys", "revoke", made["id"].as_str().expect("an id"), "--json"]).await.json();
    assert!(matches!(events.recv().await, Ok(ControlEvent::StreamCreated { .. })));
    let stream = grant.stream.id;
    assert_eq!(events.recv().await, Ok(ControlEvent::KeyRevoked { stream, key_id: grant.key_id }));
    daemon.end().await;
}

#[tokio::test]
async fn what_was_done_offline_is_there_when_the_daemon_starts() {
    let dir = folder();
    call(dir.path(), &["streams", "create", "--name", "a", "--json"]).await.json();
    let made = call(dir.path(), &["keys", "create", "--stream", "a", "--json"]).await.json();
    let daemon = daemon(dir.path()).await;
    let secret = SecretString::from(made["secret"].as_str().expect("a secret"));
    assert_eq!(daemon.control.authenticate(&secret).await.expect("admitted").stream.name, "a");
    daemon.end().await;
}

/// A session of a stream, listed and ended, with what the control layer of `data_dir` has begun before.
async fn end_of_a_session(dir: &Path, session: &str) {
    let listed = call(dir, &["sessions", "list", "--stream", "a", "--json"]).await.json();
    assert_eq!((&listed[0]["id"], &listed[0]["state"]), (&json!(session), &json!("starting")));
    let text = call(dir, &["sessions", "list"]).await.out;
    assert!(text.starts_with("ID ") && text.contains(session) && text.contains("starting"), "{text}");
    let ended = call(dir, &["sessions", "end", "--stream", "a", "--json"]).await.json();
    assert_eq!((&ended["id"], &ended["state"]), (&json!(session), &json!("ended")));
    let again = call(dir, &["sessions", "end", session]).await;
    assert!(again.out.starts_with(&format!("Session {session} of stream ")), "{}{}", again.out, again.err);
    let none = call(dir, &["sessions", "end", "--stream", "a"]).await;
    let stream = listed[0]["stream_id"].as_str().expect("an id");
    none.failed(&format!(
        "error: stream {stream} (a) has no running session\nhint: millstream sessions list shows the newest sessions\n"
    ));
}

#[tokio::test]
async fn a_session_is_ended_with_and_without_a_daemon() {
    let dir = folder();
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let daemon = daemon(dir.path()).await;
        if sessions.is_empty() {
            call(dir.path(), &["streams", "create", "--name", "a", "--json"]).await.json();
        }
        let stream = daemon.control.find_stream("a").await.expect("it is there").id;
        let session = daemon.control.begin_session(&stream).await.expect("begun").id.to_string();
        if sessions.is_empty() {
            end_of_a_session(dir.path(), &session).await;
        }
        sessions.push(session);
        daemon.end().await;
    }
    end_of_a_session(dir.path(), &sessions[1]).await;
}

#[test]
fn a_change_of_nothing_is_a_wrong_call() {
    use clap::Parser;
    for wrong in
        [&["update", "a"][..], &["update", "a", "--enable", "--disable"], &["update", "a", "--as-configured", "name"]]
    {
        let args = [&["millstream", "streams"], wrong].concat();
        assert_eq!(millstream::cli::Cli::try_parse_from(args).expect_err("wrong usage").exit_code(), 2, "{wrong:?}");
    }
}

#[tokio::test]
async fn text_for_people() {
    let dir = folder();
    let text = |answer: Answer| {
        assert_eq!((answer.exit, answer.err.as_str()), (Exit::Done, ""));
        answer.out
    };
    let none = "No streams yet. Make one: millstream streams create --name NAME\n";
    assert_eq!(text(call(dir.path(), &["streams", "list"]).await), none);

    let created = text(call(dir.path(), &["streams", "create", "--name", "demo"]).await);
    let stream = call(dir.path(), &["streams", "show", "demo", "--json"]).await.json();
    let (id, at) = (stream["id"].as_str().expect("an id"), stream["created_at"].as_str().expect("a date"));
    let fields = format!(
        "id              {id}\nname            demo\ntitle           demo\nenabled         yes\npreset          (as configured)\n\
         grace           (as configured)\non_unpublish    (as configured)\nconflict        (as configured)\n\
         srt_passphrase  (as configured)\ncreated         {at}\nplayback        /live/{id}/index.m3u8\n\
         page            /watch/{id}\n"
    );
    assert_eq!(created, format!("{fields}\nTo publish, make a key: millstream keys create --stream {id}\n"));
    assert_eq!(text(call(dir.path(), &["streams", "show", id]).await), fields);
    let list =
        format!("ID            NAME  TITLE  ENABLED  PRESET  CREATED\n{id}  demo  demo   yes      -       {at}\n");
    assert_eq!(text(call(dir.path(), &["streams", "list"]).await), list);

    let none = format!("No keys yet. Make one: millstream keys create --stream {id}\n");
    assert_eq!(text(call(dir.path(), &["keys", "list", "--stream", "demo"]).await), none);
    let created = text(call(dir.path(), &["keys", "create", "--stream", "demo"]).await);
    let keys = call(dir.path(), &["keys", "list", "--stream", "demo", "--json"]).await.json();
    let (key, at) = (keys[0]["id"].as_str().expect("an id"), keys[0]["created_at"].as_str().expect("a date"));
    let secret = created.lines().find_map(|line| line.strip_prefix("secret   ")).expect("a secret");
    assert_eq!(
        created,
        format!(
            "id       {key}\nstream   {id}\nlabel    -\nexpires  -\nsecret   {secret}\n\n\
             The secret is not shown again. In OBS choose the service Custom, and enter:\n  \
             server       rtmp://HOST:1935/live\n  or over SRT  srt://HOST:8890\n  stream key   {secret}\n"
        )
    );
    assert_eq!(text(call(dir.path(), &["keys", "revoke", key]).await), format!("Revoked key {key} of stream {id}.\n"));
    let list = format!(
        "ID            LABEL  STATE    CREATED                   EXPIRES  LAST USED\n\
         {key}  -      revoked  {at}  -        -\n"
    );
    assert_eq!(text(call(dir.path(), &["keys", "list", "--stream", "demo"]).await), list);
    let over_tls = "[srt]\nlisten = ''\n[rtmps]\ncert = 'c.pem'\nkey = 'k.pem'";
    let created =
        text(call_with(&FakeHost::default(), over_tls, dir.path(), &["keys", "create", "--stream", "demo"]).await);
    let lines = "\n  server       rtmp://HOST:1935/live\n  or over TLS  rtmps://HOST:1936/live\n  stream key   ";
    assert!(created.contains(lines), "{created}");
    let deleted = text(call(dir.path(), &["streams", "delete", "demo"]).await);
    assert_eq!(deleted, format!("Deleted stream {id} (demo) and its keys.\n"));
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_has_the_lock_and_no_socket_is_named() {
    let dir = folder();
    let _lock = DataDirLock::acquire(dir.path()).expect("the lock is free");
    let expected = format!(
        "error: {} is in use by process {}; stop it first, or use another data_dir\n",
        dir.path().display(),
        std::process::id()
    );
    call(dir.path(), &["streams", "list"]).await.failed(&expected);
}

#[tokio::test]
async fn a_command_waits_for_a_daemon_that_is_starting() {
    let dir = folder();
    let lock = DataDirLock::acquire(dir.path()).expect("the lock is free");
    let waiting = tokio::spawn({
        let path = dir.path().to_owned();
        async move { call(&path, &["streams", "list", "--json"]).await }
    });
    tokio::task::yield_now().await;
    drop(lock);
    let daemon = daemon(dir.path()).await;
    assert_eq!(waiting.await.expect("no panic").json(), json!([]));
    daemon.end().await;
}

#[tokio::test]
async fn serve_is_handed_to_the_host() {
    let dir = folder();
    let host = FakeHost::default();
    let answer = call_with(&host, "[http]\nlisten = '127.0.0.1:0'", dir.path(), &["serve"]).await;
    assert_eq!((answer.exit, answer.err.as_str()), (Exit::Done, ""));
    let served = host.served.lock().expect("no panic").take();
    assert_eq!(served, Some(("127.0.0.1:0".to_owned(), ServeOptions { end_sessions: false })));
    let answer = call_with(&host, "", dir.path(), &["serve", "--end-sessions"]).await;
    answer.failed("error: port 8080 is taken\n");
}

#[tokio::test]
async fn check_says_what_serve_would_do() {
    let dir = folder();
    let path = dir.path().display();
    let host = FakeHost::default();
    let answer = call_with(&host, "[ladder]\npreset = 'passthrough'", dir.path(), &["check"]).await;
    assert_eq!((answer.exit, answer.err.as_str()), (Exit::Done, ""));
    let (general, ladder) = answer.out.split_once("ladder    ").expect("a ladder");
    assert_eq!(
        general,
        format!(
            "data_dir  ok      {path}, not in use\n\
             http      ok      0.0.0.0:8080: playback, pages, metrics; \
             API closed over TCP (no http.admin_token), open on the control socket\n\
             https     ok      off (no https.listen)\n\
             rtmp      ok      0.0.0.0:1935: publish to rtmp://HOST:1935/live with a stream key\n\
             rtmps     ok      off (no rtmps.cert and rtmps.key)\n\
             srt       ok      0.0.0.0:8890 (UDP): publish to srt://HOST:8890?streamid=KEY with a stream key; \
             encryption where a stream has a passphrase; latency 120ms to 8s\n\
             storage   ok      file:{path}/objects: 5 GiB free\n\
             spool     ok      {path}/spool, at most 10GiB\n\
             secrets   ok      {path}/secret.key would be made with the first SRT passphrase of a stream\n\
             hls       ok      segments of 2s, parts of 334ms, window of 1m\n\
             session   ok      waits 30s for a lost publisher; clean unpublish: hold; second publisher: takeover; sources up to 50M\n\
             traces    ok      none (no telemetry.otlp_endpoint)\n"
        )
    );
    assert!(ladder.starts_with("ok      passthrough\n"), "{ladder}");

    let traced = "[telemetry]\notlp_endpoint = 'http://127.0.0.1:4318/'";
    let answer = call_with(&host, traced, dir.path(), &["check"]).await;
    let line = "\ntraces    ok      one per stored segment, to http://127.0.0.1:4318/v1/traces\n";
    assert!(answer.out.contains(line), "{}", answer.out);
}

#[tokio::test]
async fn check_says_how_srt_is_encrypted_and_never_with_what() {
    let dir = folder();
    let host = FakeHost::default();
    let secret = "correct horse battery staple";
    let both = "with srt.passphrase or the stream's own";
    for (config, says) in [
        (format!("passphrase = '{secret}'"), format!("encryption optional, {both}")),
        (format!("passphrase = '{secret}'\nencryption = 'required'"), format!("encryption required, {both}")),
        ("encryption = 'required'".to_owned(), "encryption required, with the stream's own passphrase".to_owned()),
        ("listen = ''".to_owned(), "off (srt.listen is empty)".to_owned()),
    ] {
        for json in [&["check"][..], &["check", "--json"]] {
            let answer = call_with(&host, &format!("[srt]\n{config}"), dir.path(), json).await;
            assert!(answer.out.contains(&says), "{}", answer.out);
            assert!(!answer.out.contains(secret) && answer.err.is_empty(), "{}{}", answer.out, answer.err);
        }
    }
}

/// A passphrase from a file, as an administrator gives it, offline or to a daemon. Answers with the stream's id.
async fn passphrase_of_a_stream(dir: &Path, files: &Path) -> String {
    let file = |name: &str, text: &str| {
        std::fs::write(files.join(name), text).expect("a file");
        files.join(name).display().to_string()
    };
    let (first, short) = (file("first", "correct horse battery\r\n"), file("short", "horse\n"));
    let made = call(dir, &["streams", "create", "--name", "a", "--srt-passphrase-file", &first, "--json"]).await.json();
    assert_eq!(made["srt_passphrase_set"], json!(true));
    let update = |flags: &[&'static str]| [&["streams", "update", "a"], flags].concat();
    let cleared = call(dir, &update(&["--as-configured", "srt_passphrase", "--json"])).await.json();
    assert_eq!(cleared["srt_passphrase_set"], json!(false));
    call(dir, &["streams", "update", "a", "--srt-passphrase-file", &short])
        .await
        .failed("error: the SRT passphrase must have 10 to 79 bytes, and has 5; make one with: openssl rand -hex 16\n");
    let missing = call(dir, &update(&["--srt-passphrase-file", "/nowhere/p"])).await;
    missing.failed("error: /nowhere/p cannot be read: No such file or directory (os error 2)\n");
    let set = call(dir, &["streams", "update", "a", "--srt-passphrase-file", &first]).await;
    assert_eq!(set.exit, Exit::Done, "{}", set.err);
    assert!(set.out.contains("srt_passphrase  set") && set.out.contains("that is connected stays"), "{}", set.out);
    assert!(!set.out.contains("horse"), "{}", set.out);
    made["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_stream_gets_an_srt_passphrase_offline_and_from_a_daemon() {
    let files = folder();
    let (offline, online) = (folder(), folder());
    let id = passphrase_of_a_stream(offline.path(), files.path()).await;
    let opened = daemon(offline.path()).await;
    let read = |id: &str| id.parse().expect("an id");
    let passphrase = opened.control.srt_passphrase(&read(&id)).await.expect("read").expect("set");
    assert_eq!(passphrase.expose_secret(), "correct horse battery");
    opened.end().await;
    let running = daemon(online.path()).await;
    let id = passphrase_of_a_stream(online.path(), files.path()).await;
    let passphrase = running.control.srt_passphrase(&read(&id)).await.expect("read").expect("set");
    assert_eq!(passphrase.expose_secret(), "correct horse battery");
    running.end().await;
}

#[tokio::test]
async fn a_passphrase_comes_from_standard_input() {
    let dir = folder();
    let command = |flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.arg("--data-dir").arg(dir.path()).arg("streams").args(flags).arg("--json");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let mut child = command(&["create", "--name", "a", "--srt-passphrase-file", "-"]).spawn().expect("started");
    child.stdin.take().expect("a pipe").write_all(b"correct horse battery\n").expect("written");
    let done = child.wait_with_output().expect("it ends");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let made: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let opened = daemon(dir.path()).await;
    let id = made["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let passphrase = opened.control.srt_passphrase(&id).await.expect("read").expect("set");
    assert_eq!(passphrase.expose_secret(), "correct horse battery");
    opened.end().await;
}

#[tokio::test]
async fn check_looks_at_the_key_file_as_serve_would() {
    let dir = folder();
    let key = dir.path().join("secret.key");
    std::fs::write(&key, [7; 32]).expect("written");
    let host = FakeHost::default();
    let shown = key.display();
    for (mode, exit, says) in [
        (
            0o644,
            Exit::Failed,
            format!("secrets   FAILED  the key file {shown} is open to others (mode 0644): chmod 600 {shown}\n"),
        ),
        (0o600, Exit::Done, format!("secrets   ok      {shown}, private and of the right length\n")),
    ] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("changed");
        let answer = call_with(&host, "", dir.path(), &["check"]).await;
        assert!(answer.exit == exit && answer.out.contains(&says), "{}", answer.out);
    }
}

#[tokio::test]
async fn check_reads_the_certificate_as_serve_would() {
    let dir = folder();
    let host = FakeHost::default();
    let with = |cert| format!("[rtmps]\ncert = '{cert}'\nkey = 'k.pem'\nlisten = '127.0.0.1:443'");
    let answer = call_with(&host, &with("c.pem"), dir.path(), &["check"]).await;
    let line = "\nrtmps     ok      127.0.0.1:443: publish to rtmps://HOST:443/live with a stream key; c.pem is fine\n";
    assert!(answer.exit == Exit::Done && answer.out.contains(line), "{}", answer.out);
    let answer = call_with(&host, &with("expired.pem"), dir.path(), &["check"]).await;
    let line = "\nrtmps     FAILED  expired.pem expired\n";
    assert!(answer.exit == Exit::Failed && answer.out.contains(line), "{}", answer.out);
}

#[tokio::test]
async fn check_describes_every_rung_of_the_default_ladder() {
    let dir = folder();
    let report = call(dir.path(), &["check", "--json"]).await.json();
    let named = |name: &str| {
        let checks = report["checks"].as_array().expect("checks");
        checks
            .iter()
            .find(|check| check["name"] == name)
            .map(|check| check["detail"].as_str().expect("text").to_owned())
    };
    assert_eq!((&report["ok"], named("ladder").as_deref()), (&json!(true), Some("ladder-1080p-720p-480p")));
    let top = named("  1080p").expect("a top rung");
    assert!(
        top.starts_with("copied while the source fits up to ") && top.contains("; else encoded within 1920x1080 at "),
        "{top}"
    );
    for (rung, size) in [("  720p", "encoded within 1280x720 at "), ("  480p", "encoded within 854x480 at ")] {
        assert!(named(rung).is_some_and(|detail| detail.contains(size)), "{rung}");
    }
    assert!(named("  audio").is_some_and(|detail| detail.starts_with("AAC at ")));
}

#[tokio::test]
async fn check_fails_when_serve_would() {
    let dir = folder();
    let host = FakeHost { storage_is_broken: true, ..FakeHost::default() };
    let _lock = DataDirLock::acquire(dir.path()).expect("the lock is free");
    let answer = call_with(&host, "[ladder]\npreset = '/none.toml'", dir.path(), &["check"]).await;
    assert_eq!((answer.exit, answer.err.as_str()), (Exit::Failed, "error: 2 of the checks failed\n"));
    let path = dir.path().display();
    let line = |start: &str| answer.out.lines().find(|line| line.starts_with(start)).expect("a line").to_owned();
    assert_eq!(line("storage"), format!("storage   FAILED  file:{path}/objects: permission denied"));
    assert!(line("ladder").starts_with("ladder    FAILED  /none.toml: "), "{}", line("ladder"));
    assert!(line("data_dir").contains("is in use by process"), "a running daemon is no failure");
}
