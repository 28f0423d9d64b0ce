//! A panic at a chosen place, for code that is handed nothing that a test could replace: in the log that it writes.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::span::{Attributes, Id};
use tracing::subscriber::{DefaultGuard, Subscriber, set_default};
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Set for one module at a time; gone with its panic.
#[derive(Clone, Debug, Default)]
pub struct Trap(Arc<Mutex<Option<&'static str>>>);

impl Trap {
    /// The log of this thread is the trap's while the guard lives.
    pub fn lay(&self) -> DefaultGuard {
        set_default(tracing_subscriber::registry().with(self.clone()))
    }

    /// The module with this path panics at its next span or line.
    pub fn set(&self, module: &'static str) {
        *self.wanted() = Some(module);
    }

    /// Whether nobody has panicked yet.
    pub fn is_set(&self) -> bool {
        self.wanted().is_some()
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, Option<&'static str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spring(&self, at: &Metadata<'_>) {
        let sprung = self.wanted().take_if(|wanted| *wanted == at.target());
        assert!(sprung.is_none(), "a broken assumption");
    }
}

impl<S: Subscriber> Layer<S> for Trap {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.spring(span.metadata());
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.spring(event.metadata());
    }
}
