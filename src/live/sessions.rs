//! The table of sessions: at most one a stream, running or ended a short while ago.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{error, info_span};

use super::intake::IntakeError;
use super::launch::{Surroundings, launch};
use super::session::{InUse, PublisherId, Session, SessionInput, SessionState};
use super::wiring::{INTAKE, Stop, WireError};
use super::{LivePublisher, SessionEvent, SessionSpec};
use crate::clock::SharedClock;
use crate::flow::channel::bounded;
use crate::flow::stage::{Outcome, Stage};
use crate::listen::CloseReason;
use crate::store::{RecoveredSession, Store};

/// How long an ended session stays in memory for its viewers.
pub const ENDED_KEEP: Duration = Duration::from_secs(600);

/// A session cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The daemon stops.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Its threads cannot be started.
    #[error(transparent)]
    Wire(#[from] WireError),
}

#[derive(Debug)]
struct Running {
    session: Arc<Session>,
    intake: Option<Stage<IntakeError>>,
}

#[derive(Debug, Default)]
struct Table {
    by_stream: HashMap<String, Running>,
    closed: bool,
}

/// Called on a session's thread when its state changed; may wait.
pub type Tell = dyn Fn(SessionEvent) + Send + Sync;

struct Inner {
    table: Mutex<Table>,
    store: Arc<Store>,
    clock: SharedClock,
    /// Taken away when the last session is through, so that whoever listens sees the end.
    tell: Mutex<Option<Arc<Tell>>>,
}

/// All sessions of this daemon. Clones share them.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("table", &self.inner.table).finish_non_exhaustive()
    }
}

impl Sessions {
    /// No sessions yet. `tell` is called on session threads and may wait.
    pub fn new(store: Arc<Store>, clock: SharedClock, tell: impl Fn(SessionEvent) + Send + Sync + 'static) -> Self {
        let tell: Arc<Tell> = Arc::new(tell);
        Sessions { inner: Arc::new(Inner { table: Mutex::default(), store, clock, tell: Mutex::new(Some(tell)) }) }
    }

    /// The stream's session, running or ended within [`ENDED_KEEP`].
    pub fn find(&self, stream: &str) -> Option<Arc<Session>> {
        self.table().by_stream.get(stream).map(|running| running.session.clone())
    }

    /// All sessions, in no order.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.table().by_stream.values().map(|running| running.session.clone()).collect()
    }

    /// Joins the stream's running session as its publisher; `None` when there is none.
    ///
    /// # Errors
    /// Somebody else publishes, and the stream's policy is that the first stays.
    pub async fn connect(&self, stream: &str, by: PublisherId) -> Result<Option<LivePublisher>, InUse> {
        match self.find(stream).filter(|session| session.state() != SessionState::Ended) {
            Some(session) => session.connect(by).await.map(Some),
            None => Ok(None),
        }
    }

    /// Starts a session and joins it as its publisher.
    ///
    /// # Errors
    /// The daemon stops, or has no thread for it.
    pub async fn start(&self, spec: SessionSpec, by: PublisherId) -> Result<LivePublisher, PublishError> {
        let session = self.launch(spec, None)?;
        // Nobody else can have joined a session that refuses second publishers before its first.
        session.connect(by).await.map_err(|InUse| PublishError::ShuttingDown)
    }

    /// Goes on with a session of before the daemon's start: it waits for its publisher, and viewers see its gaps.
    ///
    /// # Errors
    /// The daemon stops, or has no thread for it.
    pub fn resume(&self, spec: SessionSpec, recovered: RecoveredSession) -> Result<(), PublishError> {
        self.launch(spec, Some(recovered)).map(|_| ())
    }

    /// Ends the stream's session and waits until its threads are through.
    pub async fn end(&self, stream: &str) {
        let Some(session) = self.find(stream) else { return };
        session.close_connection(&CloseReason::SessionEnded);
        // A session that has ended by itself takes no more inputs.
        let _ = session.input().send_async(SessionInput::Stop(Stop::End)).await;
        let mut states = session.states();
        let _ = states.wait_for(|state| *state == SessionState::Ended).await;
    }

    /// Asks about the key of every connection and closes those that are no longer admitted.
    pub async fn recheck<F: Future<Output = bool>>(&self, admitted: impl Fn(String) -> F) {
        for session in self.all() {
            if let Some(key) = session.publishing_key()
                && !admitted(key.clone()).await
            {
                session.disconnect(Some(&key), &CloseReason::KeyRevoked);
            }
        }
    }

    /// Stops all sessions and waits until everything that was accepted is journalled. Blocks: not for tasks.
    pub fn shut_down(&self, stop: Stop) {
        let running: Vec<Running> = {
            let mut table = self.table();
            table.closed = true;
            table
                .by_stream
                .values_mut()
                .map(|running| Running { session: running.session.clone(), intake: running.intake.take() })
                .collect()
        };
        for Running { session, .. } in &running {
            session.close_connection(&CloseReason::ShuttingDown);
            let _ = session.input().send(SessionInput::Stop(stop));
        }
        for Running { session, intake } in running {
            let Some(intake) = intake else { continue };
            // Failures were logged by the intake thread itself, with the session's span.
            if let Outcome::Panicked(message) = intake.join() {
                error!(session = session.spec().session, panic = message, "the session's intake thread panicked");
            }
        }
    }

    /// Lets go of everything: after this, whoever was told of events sees their end.
    pub fn forget(&self) {
        self.table().by_stream.clear();
        self.inner.tell.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Forgets sessions that ended more than [`ENDED_KEEP`] ago. Call it now and then.
    pub fn sweep(&self) {
        let now = self.inner.clock.monotonic();
        let kept = |running: &mut Running| {
            running.session.ended_at().is_none_or(|ended| now.saturating_sub(ended) < ENDED_KEEP)
        };
        self.table().by_stream.retain(|_, running| kept(running));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.inner.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(&self, spec: SessionSpec, recovered: Option<RecoveredSession>) -> Result<Arc<Session>, PublishError> {
        let mut table = self.table();
        let tell = self.inner.tell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(tell) = tell.filter(|_| !table.closed) else { return Err(PublishError::ShuttingDown) };
        let span = info_span!(parent: None, "session", stream = spec.stream, session = spec.session);
        let (input, inputs) = bounded(INTAKE);
        let state = if recovered.is_some() { SessionState::Reconnecting } else { SessionState::Starting };
        let session = Arc::new(Session::new(spec, input, state));
        let around = Surroundings { store: self.inner.store.clone(), clock: self.inner.clock.clone(), tell };
        let intake = launch(&session, &span, inputs, around, recovered)?;
        let running = Running { session: session.clone(), intake: Some(intake) };
        table.by_stream.insert(session.spec().stream.clone(), running);
        Ok(session)
    }
}
