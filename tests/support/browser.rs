//! Headless Chromium, spoken to in the DevTools protocol over its debugging pipe: no port, no driver, no second package.
//!
//! `--remote-debugging-pipe` reads commands from descriptor 3 and writes answers to descriptor 4, each a JSON text with a
//! zero byte behind it. A shell moves our two pipes there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::Process;

/// Names under which Debian, Ubuntu and Google ship it. `E2E_BROWSER` names another.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Longest wait for an answer that needs no media.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long the page looks for a condition before it says "not yet". A page that is replaced while it looks may never
/// answer; then the next look goes to the new one.
const LOOK_MILLISECONDS: u32 = 1_000;
/// Longest wait for the answer of one look.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// A browser with one page.
pub struct Browser {
    commands: ChildStdin,
    answers: Receiver<Value>,
    session: String,
    next_id: u64,
    console: Vec<String>,
    _process: Process,
    _profile: TempDir,
}

/// Whether the caller has said that there is no browser on this machine, and that this is known.
pub fn is_switched_off() -> bool {
    std::env::var("E2E_BROWSER").is_ok_and(|name| name == "off")
}

fn program() -> String {
    let named = std::env::var("E2E_BROWSER").ok();
    let works = |name: &str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = named.or_else(|| NAMES.into_iter().find(|name| works(name)).map(str::to_owned));
    found.unwrap_or_else(|| panic!("no browser: none of {NAMES:?} runs; name one in E2E_BROWSER, or `off`"))
}

impl Browser {
    /// Starts a browser with an empty page.
    pub fn start() -> Self {
        Browser::start_with(&[])
    }

    /// The same with more flags.
    pub fn start_with(flags: &[&str]) -> Self {
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#, &program()]);
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"]);
        command.args(["--autoplay-policy=no-user-gesture-required", "--no-first-run", "--window-size=1280,900"]);
        // It asks nobody but the page under test.
        command.args([
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]);
        command.args(flags);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.args(["--remote-debugging-pipe", "about:blank"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start("browser", &mut command);
        let commands = process.child().stdin.take().expect("standard input was asked for");
        let answers = read_answers(process.child().stdout.take().expect("standard output was asked for"));
        let mut browser = Browser {
            commands,
            answers,
            session: String::new(),
            next_id: 0,
            console: Vec::new(),
            _process: process,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}), ANSWER_LIMIT);
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach, ANSWER_LIMIT);
        browser.session = attached["sessionId"].as_str().expect("a session id").to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Inspector.enable"] {
            browser.call(domain, json!({}), ANSWER_LIMIT);
        }
        browser
    }

    /// Sends a command and waits for its answer, which must be no error.
    fn call(&mut self, method: &str, parameters: Value, limit: Duration) -> Value {
        match self.ask(method, parameters, limit) {
            Ok(result) => result,
            Err(refusal) => panic!("{method}: {refusal}; the page said: {:#?}", self.console),
        }
    }

    /// Sends a command and waits for its answer; what the page says meanwhile is kept. An error is its text.
    fn ask(&mut self, method: &str, parameters: Value, limit: Duration) -> Result<Value, String> {
        self.next_id += 1;
        let mut message = json!({"id": self.next_id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let sent = self.commands.write_all(format!("{message}\0").as_bytes()).and_then(|()| self.commands.flush());
        sent.unwrap_or_else(|error| panic!("{method}: the browser is gone: {error}"));
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let answer = match self.answers.recv_timeout(left) {
                Ok(answer) => answer,
                Err(RecvTimeoutError::Timeout) => return Err(format!("no answer within {limit:?}")),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser has ended"),
            };
            if answer["id"] == self.next_id {
                return if answer.get("error").is_none() {
                    Ok(answer["result"].clone())
                } else {
                    Err(answer["error"].to_string())
                };
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.console.push(event["params"]["exceptionDetails"].to_string()),
            Some("Log.entryAdded") => self.console.push(event["params"]["entry"]["text"].to_string()),
            Some("Inspector.targetCrashed") => panic!("the page crashed; it said: {:#?}", self.console),
            Some("Runtime.consoleAPICalled") => self.console.push(event["params"]["args"].to_string()),
            _ => {}
        }
    }

    /// Opens `url`. The page may still be loading afterwards: wait for what is needed with [`Browser::wait_for`].
    pub fn open(&mut self, url: &str) {
        let answer = self.call("Page.navigate", json!({"url": url}), ANSWER_LIMIT);
        assert!(answer.get("errorText").is_none(), "{url}: {}", answer["errorText"]);
    }

    /// Evaluates an expression, awaits it when it is a promise, and returns its value.
    pub fn evaluate(&mut self, expression: &str, limit: Duration) -> Value {
        let parameters = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", parameters, limit);
        let failed = answer.get("exceptionDetails");
        assert!(failed.is_none(), "{expression}: {failed:?}; the page said: {:#?}", self.console);
        answer["result"]["value"].clone()
    }

    /// Waits until `condition` holds in the page, whichever that is by then. Panics with what the page shows when it does not.
    pub fn wait_for(&mut self, condition: &str, limit: Duration) {
        let look = format!(
            "new Promise(done => {{ const end = performance.now() + {LOOK_MILLISECONDS}; const look = () => {{ \
             let held = false; try {{ held = Boolean({condition}); }} catch {{}} \
             if (held || performance.now() > end) done(held); else setTimeout(look, 50); }}; look(); }})"
        );
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            let parameters = json!({"expression": look, "awaitPromise": true, "returnByValue": true});
            let answer = self.ask("Runtime.evaluate", parameters, LOOK_LIMIT);
            if answer.is_ok_and(|answer| answer["result"]["value"] == true) {
                return;
            }
        }
        let shown = self.shown();
        panic!("not within {limit:?}: {condition}\nthe page shows: {shown}\nand said: {:#?}", self.console);
    }

    /// What a person would see of the page, for messages.
    fn shown(&mut self) -> String {
        let expression = "JSON.stringify({ url: location.href, ready: document.readyState, seen: document.visibilityState, \
             text: document.body?.innerText, video: [...document.querySelectorAll('video')].map(v => ({ at: v.currentTime, \
             paused: v.paused, ready: v.readyState, width: v.videoWidth, height: v.videoHeight, error: v.error?.message })) })";
        match self.ask("Runtime.evaluate", json!({"expression": expression, "returnByValue": true}), ANSWER_LIMIT) {
            Ok(answer) => answer["result"]["value"].as_str().unwrap_or("nothing").to_owned(),
            Err(refusal) => refusal,
        }
    }

    /// Makes the page as large as a phone held upright, with the light colours.
    pub fn like_a_phone(&mut self) {
        let phone = json!({"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true});
        self.call("Emulation.setDeviceMetricsOverride", phone, ANSWER_LIMIT);
        let light = json!({"features": [{"name": "prefers-color-scheme", "value": "light"}]});
        self.call("Emulation.setEmulatedMedia", light, ANSWER_LIMIT);
    }

    /// Writes a picture of the page as PNG.
    pub fn screenshot(&mut self, file: &Path) {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"}), ANSWER_LIMIT);
        let data = answer["data"].as_str().expect("a picture in base64");
        let bytes = data_encoding::BASE64.decode(data.as_bytes()).expect("valid base64");
        std::fs::write(file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

fn read_answers(from: ChildStdout) -> Receiver<Value> {
    let (found, answers) = channel();
    thread::spawn(move || {
        let messages = BufReader::new(from).split(0).map_while(Result::ok);
        for message in messages.filter_map(|bytes| serde_json::from_slice(&bytes).ok()) {
            if found.send(message).is_err() {
                return;
            }
        }
    });
    answers
}
