//! A stage is a named thread with a span. It ends when its channel does; a panic in it is contained, reported to whoever
//! joins or watches it, counted, and touches no other session.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use tracing::Span;

use crate::telemetry::names;
use crate::telemetry::panics::message;

/// How a stage ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<E> {
    /// Its input ended and it finished its work.
    Finished,
    /// It gave up.
    Failed(E),
    /// It panicked: our own broken assumption, with the panic's message.
    Panicked(String),
}

/// A running stage. Dropping it does not stop the thread: end its input, then [`Stage::join`].
#[derive(Debug)]
pub struct Stage<E> {
    name: String,
    thread: JoinHandle<Outcome<E>>,
}

/// Starts `body` on a thread called `name` (Linux shows the first 15 bytes) inside `span`. What stands in the name before
/// its first `-` is the stage's role, such as `package` of `package-<session>`; panics are counted by it.
/// `ended` runs on that thread with the outcome before it is joined, so that a watcher learns of a failure at once.
///
/// # Errors
/// The system cannot start another thread.
pub fn spawn<E, F, N>(name: impl Into<String>, span: Span, body: F, ended: N) -> io::Result<Stage<E>>
where
    E: Send + 'static,
    F: FnOnce() -> Result<(), E> + Send + 'static,
    N: FnOnce(&Outcome<E>) + Send + 'static,
{
    let name = name.into();
    let role = role(&name).to_owned();
    let thread = Builder::new().name(name.clone()).spawn(move || {
        let _entered = span.entered();
        let outcome = contain(&role, body);
        ended(&outcome);
        outcome
    })?;
    Ok(Stage { name, thread })
}

impl<E> Stage<E> {
    /// The thread's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the thread has ended, so that [`Stage::join`] returns at once.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the thread. Blocks: not for tasks.
    pub fn join(self) -> Outcome<E> {
        self.thread.join().unwrap_or_else(|payload| Outcome::Panicked(message(payload.as_ref())))
    }
}

/// The part of a stage's name that does not tell whose it is.
fn role(name: &str) -> &str {
    name.split_once('-').map_or(name, |(role, _)| role)
}

/// Runs `body` here, keeps its panic and counts it under `role`. What the body shared with the caller may be half changed
/// after one: only end it.
pub fn contain<E>(role: &str, body: impl FnOnce() -> Result<(), E>) -> Outcome<E> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Outcome::Finished,
        Ok(Err(error)) => Outcome::Failed(error),
        Err(payload) => {
            names::STAGE_PANICS.counter(&[("stage", role)]).increment(1);
            Outcome::Panicked(message(payload.as_ref()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn the_thread_carries_the_name_and_reports_its_end() {
        let (told, ends) = mpsc::channel();
        let body = || if std::thread::current().name() == Some("package-x") { Err(7) } else { Ok(()) };
        let stage =
            spawn("package-x", Span::none(), body, move |outcome| told.send(format!("{outcome:?}")).unwrap_or(()));
        assert_eq!(stage.expect("a thread starts").join(), Outcome::Failed(7));
        assert_eq!(ends.recv().as_deref(), Ok("Failed(7)"));
    }

    #[test]
    fn a_panic_is_an_outcome() {
        let stage =
            spawn::<(), _, _>("store-p", Span::none(), || panic!("broken {}", 1), |_| ()).expect("a thread starts");
        assert_eq!(stage.join(), Outcome::Panicked("broken 1".to_owned()));
    }
    #[test]
    fn panics_are_counted_by_role_and_nothing_else_is() {
        let (metrics, recorder) = crate::telemetry::Metrics::detached().expect("the settings are ours");
        metrics::with_local_recorder(&recorder, || {
            assert_eq!(contain::<()>(role("enc-720p-s1"), || panic!("broken")), Outcome::Panicked("broken".to_owned()));
            assert_eq!(contain(role("dec-s1"), || Err(7)), Outcome::Failed(7));
        });
        let text = metrics.render();
        let counted: Vec<_> = text.lines().filter(|line| line.starts_with("millstream_stage_panics_total")).collect();
        assert_eq!(counted, ["millstream_stage_panics_total{stage=\"enc\"} 1"]);
    }
}
