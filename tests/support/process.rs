//! A child process whose lines and end are events.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How many of the last lines are shown when a test fails.
const LINES_SHOWN: usize = 40;

/// A child with its standard error kept line by line. Killed and waited for when dropped.
pub struct Process {
    name: String,
    child: Child,
    lines: Lines,
}

/// What a process has written so far, and whether it has closed its end.
#[derive(Clone, Default)]
pub struct Lines {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    fn read(&self, from: impl Read + Send + 'static) {
        let lines = self.clone();
        thread::spawn(move || {
            // A line that is not UTF-8 is a line all the same.
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                lines.change(|state| state.lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
            lines.change(|state| state.closed = true);
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.shared.1.notify_all();
    }

    /// Waits until `find` finds something in the lines so far. `None` when the process closed its end or time is up.
    pub fn wait_for<T>(&self, limit: Duration, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut seen = 0;
        let mut state = self.lock();
        loop {
            if let Some(found) = state.lines[seen..].iter().find_map(|line| find(line)) {
                return Some(found);
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || left.is_zero() {
                return None;
            }
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    fn wait_for_end(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        true
    }

    /// Whether the process has closed its end.
    pub fn has_ended(&self) -> bool {
        self.lock().closed
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        self.lock().lines.join("\n")
    }

    fn tail(&self) -> String {
        let state = self.lock();
        state.lines[state.lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }
}

impl Process {
    /// Starts `command` with its standard error read into [`Lines`].
    pub fn start(name: &str, command: &mut Command) -> Self {
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}: {command:?}"));
        let lines = Lines::default();
        lines.read(child.stderr.take().expect("standard error was asked for"));
        Process { name: name.to_owned(), child, lines }
    }

    /// The child itself, to take its other pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{} takes no signal: {error}", self.name));
    }

    /// Waits for its end, which is when it closed its standard error.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        if !self.lines.wait_for_end(limit) {
            return None;
        }
        Some(self.child.wait().unwrap_or_else(|error| panic!("{} cannot be waited for: {error}", self.name)))
    }

    /// Waits for an end with exit code 0.
    pub fn wait_for_success(&mut self, limit: Duration) {
        match self.wait(limit) {
            Some(status) if status.success() => {}
            Some(status) => panic!("{} ended with {status}:\n{}", self.name, self.lines.tail()),
            None => panic!("{} did not end within {limit:?}:\n{}", self.name, self.lines.tail()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when the process is gone already, which is what is wanted here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {}: last lines ---\n{}\n---", self.name, self.lines.tail());
        }
    }
}

/// Runs `command` to its end and returns its standard output.
///
/// Panics with its standard error when it fails: a helper that fails is a failed test.
pub fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{errors}", output.status);
    output.stdout
}
