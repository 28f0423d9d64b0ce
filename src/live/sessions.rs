//! The table of sessions: at most one a stream, running or ended a short while ago.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::info_span;

use super::capacity::EncodeCapacity;
use super::intake::IntakeError;
use super::launch::{Surroundings, launch};
use super::session::{Barred, InUse, NotTaken, PublisherId, Session, SessionState};
use super::wiring::{INTAKE, Stop, WireError};
use super::{LivePublisher, SessionEvent, SessionSpec};
use crate::clock::SharedClock;
use crate::flow::channel::bounded;
use crate::flow::stage::Stage;
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
    /// Somebody else publishes, and the stream's policy is that the first stays.
    #[error(transparent)]
    InUse(#[from] InUse),
    /// Another encoder has taken the newcomer's place a short while ago.
    #[error(transparent)]
    Barred(#[from] Barred),
    /// The stream's session has not ended: join it with [`Sessions::connect`].
    #[error("stream {stream} has a running session, {session}")]
    Running {
        /// Public id of the stream.
        stream: String,
        /// Id of the session.
        session: String,
    },
    /// Its threads cannot be started.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its threads were started, and one of them failed before the publisher was in.
    #[error(
        "session {session} of stream {stream} ended before its publisher was in; the lines before this one say why"
    )]
    Failed {
        /// Public id of the stream.
        stream: String,
        /// Id of the session.
        session: String,
    },
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
    capacity: EncodeCapacity,
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
    /// No sessions yet, and no limit to what they encode. `tell` is called on session threads and may wait.
    pub fn new(store: Arc<Store>, clock: SharedClock, tell: impl Fn(SessionEvent) + Send + Sync + 'static) -> Self {
        Sessions::within(EncodeCapacity::unlimited(), store, clock, tell)
    }

    /// As [`Sessions::new`], with an admission rule.
    pub fn within(
        capacity: EncodeCapacity,
        store: Arc<Store>,
        clock: SharedClock,
        tell: impl Fn(SessionEvent) + Send + Sync + 'static,
    ) -> Self {
        let (table, tell) = (Mutex::default(), Mutex::new(Some(Arc::new(tell) as Arc<Tell>)));
        Sessions { inner: Arc::new(Inner { table, store, clock, capacity, tell }) }
    }

    /// The machine's encode capacity, and who uses it.
    pub fn capacity(&self) -> &EncodeCapacity {
        &self.inner.capacity
    }

    /// The stream's session, running or ended within [`ENDED_KEEP`].
    pub fn find(&self, stream: &str) -> Option<Arc<Session>> {
        self.table().by_stream.get(stream).map(|running| running.session.clone())
    }

    /// Whether the stream has a session that has not ended. It may be about to.
    pub fn is_running(&self, stream: &str) -> bool {
        self.find(stream).is_some_and(|session| session.state() != SessionState::Ended)
    }

    /// All sessions, in no order.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.table().by_stream.values().map(|running| running.session.clone()).collect()
    }

    /// Joins the stream's running session; `None` when there is none. While another one publishes, the newcomer takes over with
    /// its first keyframe. While a session stops, this waits until its threads are through: what follows is another session.
    ///
    /// # Errors
    /// Somebody else publishes, and the stream's policy is that the first stays, or it has just taken the newcomer's place; or
    /// the daemon stops.
    pub async fn connect(&self, stream: &str, by: PublisherId) -> Result<Option<LivePublisher>, PublishError> {
        let session = {
            let table = self.table();
            if table.closed {
                return Err(PublishError::ShuttingDown);
            }
            table.by_stream.get(stream).map(|running| running.session.clone())
        };
        let Some(session) = session else { return Ok(None) };
        match session.connect(by).await {
            Ok(publisher) => return Ok(Some(publisher)),
            Err(NotTaken::InUse) => return Err(InUse.into()),
            Err(NotTaken::Barred) => return Err(Barred.into()),
            Err(NotTaken::Stopping) => session.through().await,
        }
        if self.table().closed { Err(PublishError::ShuttingDown) } else { Ok(None) }
    }

    /// Starts a session and joins it as its publisher.
    ///
    /// # Errors
    /// The daemon stops, has no thread for it, or runs a session of the stream already; or one of the new session's
    /// threads fails at once.
    pub async fn start(&self, spec: SessionSpec, by: PublisherId) -> Result<LivePublisher, PublishError> {
        let session = self.launch(spec, None)?;
        self.enter(&session, by).await
    }

    /// Joins a session that was launched for this publisher.
    pub(super) async fn enter(&self, session: &Arc<Session>, by: PublisherId) -> Result<LivePublisher, PublishError> {
        session.connect(by).await.map_err(|not_taken| match not_taken {
            NotTaken::InUse => InUse.into(),
            NotTaken::Barred => Barred.into(),
            NotTaken::Stopping if self.table().closed => PublishError::ShuttingDown,
            NotTaken::Stopping => {
                let SessionSpec { stream, session, .. } = session.spec().clone();
                PublishError::Failed { stream, session }
            }
        })
    }

    /// Goes on with a session of before the daemon's start: it waits for its publisher, and viewers see its gaps. Its target
    /// durations are those that it began with, whatever the configuration says now: a playlist's never change (RFC 8216 6.2.1).
    ///
    /// # Errors
    /// As [`Sessions::start`].
    pub fn resume(&self, mut spec: SessionSpec, recovered: RecoveredSession) -> Result<(), PublishError> {
        (spec.hls.segment, spec.hls.part) = (recovered.head.segment_target, recovered.head.part_target);
        self.launch(spec, Some(recovered)).map(|_| ())
    }

    /// Ends the stream's session and waits until its threads are through.
    pub async fn end(&self, stream: &str) {
        if let Some(session) = self.find(stream) {
            session.end().await;
        }
    }

    /// Asks about the key of every connection and closes those that are no longer admitted.
    pub async fn recheck<F: Future<Output = bool>>(&self, admitted: impl Fn(String) -> F) {
        for session in self.all() {
            for key in session.keys_in_use() {
                if !admitted(key.clone()).await {
                    session.disconnect(Some(&key), &CloseReason::KeyRevoked);
                }
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
            // All are told before one is waited for: a session whose queue is full holds up no other.
            session.stop(stop, &CloseReason::ShuttingDown);
        }
        for intake in running.into_iter().filter_map(|running| running.intake) {
            // How it ended was logged by the thread itself, with the session's span.
            intake.join();
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

    /// Starts a session's threads and lists it.
    pub(super) fn launch(
        &self,
        spec: SessionSpec,
        recovered: Option<RecoveredSession>,
    ) -> Result<Arc<Session>, PublishError> {
        let mut table = self.table();
        let tell = self.inner.tell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(tell) = tell.filter(|_| !table.closed) else { return Err(PublishError::ShuttingDown) };
        if let Some(Running { session, .. }) = table.by_stream.get(&spec.stream)
            && session.state() != SessionState::Ended
        {
            let (stream, session) = (spec.stream, session.spec().session.clone());
            return Err(PublishError::Running { stream, session });
        }
        let span = info_span!(parent: None, "session", stream = spec.stream, session = spec.session);
        let (input, inputs) = bounded(INTAKE);
        let state = if recovered.is_some() { SessionState::Reconnecting } else { SessionState::Starting };
        let session = Arc::new(Session::new(spec, self.inner.clock.clone(), input, state));
        let (store, clock, capacity) =
            (self.inner.store.clone(), self.inner.clock.clone(), self.inner.capacity.clone());
        let around = Surroundings { store, clock, capacity, tell };
        let intake = launch(&session, &span, inputs, around, recovered)?;
        let running = Running { session: session.clone(), intake: Some(intake) };
        table.by_stream.insert(session.spec().stream.clone(), running);
        Ok(session)
    }
}
