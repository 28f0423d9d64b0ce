//! Panics of the daemon's own tasks: our own broken assumptions, which must not end what all sessions need.
//!
//! A task that serves everybody runs each of its steps in [`contained`]: a panic in one is counted, logged, and the task
//! goes on with its next step. What is around the steps runs in [`ended`]. Threads of a session have `flow::stage`, connections and requests
//! their listeners.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;

use super::gate::LogGate;
use super::names;
use crate::clock::{SharedClock, SystemClock};

/// One for the process: a step that panics is likely to do so each time that it is run.
static LOG: LazyLock<(SharedClock, Gates)> = LazyLock::new(|| (SystemClock::shared(), Gates::default()));

const GOES_ON: &str = "a step of a task panicked: a fault of ours; the task goes on with the next";

/// A gate per task.
#[derive(Debug, Default)]
struct Gates(Mutex<BTreeMap<&'static str, LogGate>>);

impl Gates {
    /// See [`LogGate::pass`].
    fn pass(&self, task: &'static str, now: Duration) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(task).or_default().pass(now)
    }
}

/// Runs one step of the task called `task`. `None` when it panicked: what the step shared with the task may be half
/// changed, so it may only share what each of its calls leaves whole.
pub async fn contained<F: Future>(task: &'static str, step: F) -> Option<F::Output> {
    let ended = AssertUnwindSafe(step).catch_unwind().await;
    ended.map_err(|payload| tell(task, &*payload, GOES_ON)).ok()
}

/// Runs the whole of the task called `task`. `None` when it panicked, which the caller must not let pass.
pub async fn ended<F: Future>(task: &'static str, whole: F) -> Option<F::Output> {
    let ended = AssertUnwindSafe(whole).catch_unwind().await;
    ended.map_err(|payload| tell(task, &*payload, "a task panicked: a fault of ours")).ok()
}

/// [`contained`] for a step that waits for nothing.
pub fn contained_now<T>(task: &'static str, step: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|payload| tell(task, &*payload, GOES_ON)).ok()
}

fn tell(task: &'static str, payload: &(dyn Any + Send), words: &'static str) {
    names::STAGE_PANICS.counter(&[("stage", task)]).increment(1);
    let (clock, gates) = &*LOG;
    if let Some(times) = gates.pass(task, clock.monotonic()) {
        let panic = message(payload);
        tracing::error!(task, panic, times, "{words}");
    }
}

/// What a panic says.
pub fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;
    use crate::telemetry::logging::testing::Captured;

    #[test]
    fn a_step_that_panics_each_time_has_one_line_in_an_interval() {
        // The gates are the process's: no other test here has a panic in this task.
        let captured = Captured::default();
        captured
            .during(|| assert!((0..100).all(|_| contained_now("retention", || -> u8 { panic!("broken") }).is_none())));
        let says = "ERROR a step of a task panicked: a fault of ours; the task goes on with the next";
        let lines = captured.messages(module_path!());
        assert_eq!(lines, [format!("{says} task=\"retention\" panic=\"broken\" times=1")]);
        let (gates, at) = (Gates::default(), Duration::from_secs);
        assert_eq!((gates.pass("house", at(1)), gates.pass("house", at(2))), (Some(1), None));
        assert_eq!((gates.pass("proof", at(2)), gates.pass("house", at(11))), (Some(1), Some(2)), "each has its own");
    }

    #[tokio::test]
    async fn a_step_that_panics_is_counted_and_the_next_one_runs() {
        let (metrics, recorder) = Metrics::detached().expect("the settings are ours");
        let _guard = metrics::set_default_local_recorder(&recorder);
        let mut done = Vec::new();
        for step in 0..3 {
            done.extend(contained("house", async { if step == 1 { panic!("broken {step}") } else { step } }).await);
        }
        assert_eq!(done, [0, 2]);
        assert_eq!(contained_now("house", || 7), Some(7));
        assert_eq!(contained_now("http", || -> u8 { panic!("broken") }), None);
        let text = metrics.render();
        let counted: Vec<_> = text.lines().filter(|line| line.starts_with("millstream_stage_panics_total")).collect();
        let expected = ["http", "house"].map(|task| format!("millstream_stage_panics_total{{stage=\"{task}\"}} 1"));
        assert!(expected.iter().all(|line| counted.contains(&line.as_str())) && counted.len() == 2, "{counted:?}");
    }
}
