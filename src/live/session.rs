//! One session as everyone but its own threads sees it: its queue, its state, its connection, its window.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::SessionSpec;
use super::stats::SessionStats;
use super::wiring::Stop;
use crate::config::Conflict;
use crate::flow::channel::{Sender, TrySendError, Weigh};
use crate::listen::CloseReason;
use crate::package::Window;

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    /// A publisher is connected; nothing can be played yet.
    Starting,
    /// A publisher is connected and viewers have something to play.
    Live,
    /// No publisher is connected; the grace time runs.
    Reconnecting,
    /// Over.
    Ended,
}

impl SessionState {
    /// Every state with its word, as database, API, logs and metrics write it.
    pub const WORDS: [(&'static str, SessionState); 4] = [
        ("starting", SessionState::Starting),
        ("live", SessionState::Live),
        ("reconnecting", SessionState::Reconnecting),
        ("ended", SessionState::Ended),
    ];

    /// The state's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            SessionState::Starting => "starting",
            SessionState::Live => "live",
            SessionState::Reconnecting => "reconnecting",
            SessionState::Ended => "ended",
        }
    }
}

/// What arrives in a session's queue.
#[derive(Debug)]
pub enum SessionInput {
    /// A publisher was admitted. It is the session's publisher from now on; inputs of earlier ones are ignored.
    Connected {
        /// Number of the connection within the session.
        connection: u64,
    },
    /// Something it sent.
    Media {
        /// Number of the connection.
        connection: u64,
        /// The unit as it came.
        unit: crate::wire::Inbound,
    },
    /// It left.
    Disconnected {
        /// Number of the connection.
        connection: u64,
        /// It said goodbye in the protocol's words.
        clean: bool,
    },
    /// One of the session's threads failed.
    Failed {
        /// Which.
        stage: String,
        /// Why.
        why: String,
    },
    /// The session stops.
    Stop(Stop),
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Weigh for SessionInput {
    fn weight(&self) -> usize {
        match self {
            SessionInput::Media { unit, .. } => unit.len(),
            _ => 0,
        }
    }
}

/// Who publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherId {
    /// Id of the key that admitted it (never the key itself).
    pub key: String,
    /// Its network address.
    pub peer: String,
}

/// The connection that publishes into a session now.
#[derive(Debug)]
struct Connection {
    number: u64,
    by: PublisherId,
    close: watch::Sender<Option<CloseReason>>,
}

impl Connection {
    /// Tells the connection to go, and why. The first reason stays.
    fn close(&self, reason: &CloseReason) {
        self.close.send_if_modified(|told| told.is_none() && told.replace(reason.clone()).is_none());
    }
}

/// Who publishes, and whether anybody still may.
#[derive(Debug, Default)]
struct Door {
    connection: Option<Connection>,
    /// The session stops: nobody comes in any more, so that nobody waits for a session that does not read.
    closed: bool,
}

/// A session as everyone but its own threads sees it.
#[derive(Debug)]
pub struct Session {
    spec: SessionSpec,
    input: Sender<SessionInput>,
    state: watch::Sender<SessionState>,
    door: Mutex<Door>,
    next_connection: AtomicU64,
    /// Set when the renditions are known; changes tell waiting viewers.
    window: watch::Sender<Option<Arc<Window>>>,
    stats: ArcSwap<SessionStats>,
    /// Monotonic time of the end.
    ended_at: OnceLock<Duration>,
    /// All its threads have ended.
    through: CancellationToken,
}

/// Somebody else publishes into the session, and the newcomer may not take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Another encoder publishes to this stream already.")]
pub struct InUse;

/// Why a session takes no publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Another one stays.
    InUse,
    /// It stops, or has stopped.
    Stopping,
}

impl Session {
    /// What the session was started with.
    pub fn spec(&self) -> &SessionSpec {
        &self.spec
    }

    /// Where it stands.
    pub fn state(&self) -> SessionState {
        *self.state.borrow()
    }

    /// Changes of state.
    pub fn states(&self) -> watch::Receiver<SessionState> {
        self.state.subscribe()
    }

    /// The window, once the renditions are known.
    pub fn window(&self) -> watch::Receiver<Option<Arc<Window>>> {
        self.window.subscribe()
    }

    /// The newest figures, at most a second old while packets arrive.
    pub fn stats(&self) -> Arc<SessionStats> {
        self.stats.load_full()
    }

    /// Monotonic time of the end, when it has ended.
    pub fn ended_at(&self) -> Option<Duration> {
        self.ended_at.get().copied()
    }

    pub(super) fn input(&self) -> &Sender<SessionInput> {
        &self.input
    }

    /// Makes the caller the session's publisher, or says why not. The one before is told that it was taken over.
    pub(super) async fn connect(self: &Arc<Self>, by: PublisherId) -> Result<super::LivePublisher, NotTaken> {
        let publisher = self.register(by)?;
        let connected = SessionInput::Connected { connection: publisher.connection() };
        // A session that has closed its door meanwhile has told the publisher so.
        let _ = self.input.send_async(connected).await;
        Ok(publisher)
    }

    fn register(self: &Arc<Self>, by: PublisherId) -> Result<super::LivePublisher, NotTaken> {
        let mut door = self.lock_door();
        if door.closed {
            return Err(NotTaken::Stopping);
        }
        if door.connection.is_some() && self.spec.conflict == Conflict::Reject {
            return Err(NotTaken::InUse);
        }
        let number = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let (close, closed) = watch::channel(None);
        if let Some(old) = door.connection.replace(Connection { number, by, close }) {
            old.close(&CloseReason::TakenOver);
        }
        Ok(super::LivePublisher::new(self.clone(), number, closed))
    }

    /// Closes the publishing connection if it came with this key; any key when `None`.
    pub fn disconnect(&self, key: Option<&str>, reason: &CloseReason) {
        if let Some(connection) = self.lock_door().connection.as_ref()
            && key.is_none_or(|key| key == connection.by.key)
        {
            connection.close(reason);
        }
    }

    /// Asks the session to stop, without waiting: nobody may come in, and the publisher is told `reason`.
    pub(super) fn stop(&self, stop: Stop, reason: &CloseReason) {
        self.close_door(reason);
        self.tell_intake(SessionInput::Stop(stop));
    }

    /// Completes when the session's threads have ended, whatever became of it.
    pub(super) async fn through(&self) {
        self.through.cancelled().await;
    }

    /// The intake thread is about to end, and all others have.
    pub(super) fn set_through(&self) {
        self.through.cancel();
    }

    /// A connection's task died without a word. Called from a drop, which must not wait.
    pub(super) fn connection_vanished(&self, connection: u64) {
        self.tell_intake(SessionInput::Disconnected { connection, clean: false });
    }

    /// One of the session's threads failed. Called on that thread, for which intake itself may be waiting.
    pub(super) fn fail(&self, stage: &str, why: String) {
        self.tell_intake(SessionInput::Failed { stage: stage.to_owned(), why });
    }

    /// The key of the connection that publishes now.
    pub(super) fn publishing_key(&self) -> Option<String> {
        self.lock_door().connection.as_ref().map(|connection| connection.by.key.clone())
    }

    /// The address of the connection that publishes now.
    pub fn peer(&self) -> Option<String> {
        self.lock_door().connection.as_ref().map(|connection| connection.by.peer.clone())
    }

    /// Puts something into the queue that must arrive, without waiting.
    fn tell_intake(&self, input: SessionInput) {
        if let Err(TrySendError::Full(input)) = self.input.try_send(input) {
            let queue = self.input.clone();
            // Rare twice over (a failure or a stop, and a full queue): a short-lived thread is the simplest way to wait.
            let waiting =
                std::thread::Builder::new().name("tell-intake".into()).spawn(move || queue.send(input).is_ok());
            if let Err(error) = waiting {
                error!(%error, session = self.spec.session, "a session could not be told of a failure or a stop");
            }
        }
    }

    pub(super) fn new(spec: SessionSpec, input: Sender<SessionInput>, state: SessionState) -> Self {
        Session {
            spec,
            input,
            state: watch::Sender::new(state),
            door: Mutex::default(),
            next_connection: AtomicU64::new(1),
            window: watch::Sender::new(None),
            stats: ArcSwap::default(),
            ended_at: OnceLock::new(),
            through: CancellationToken::new(),
        }
    }

    /// Returns whether that was a change.
    pub(super) fn set_state(&self, state: SessionState) -> bool {
        self.state.send_if_modified(|current| std::mem::replace(current, state) != state)
    }

    pub(super) fn set_window(&self, window: Arc<Window>) {
        self.window.send_replace(Some(window));
    }

    pub(super) fn set_stats(&self, stats: SessionStats) {
        self.stats.store(Arc::new(stats));
    }

    /// The threads are done. Whoever waits for a window waits in vain and sees the channel's last value.
    pub(super) fn stopped(&self, state: SessionState, now: Duration) {
        if state == SessionState::Ended {
            // Set once: the intake thread stops once.
            let _ = self.ended_at.set(now);
        }
        self.state.send_replace(state);
    }

    /// Lets nobody in any more, and tells whoever publishes why it is over.
    pub(super) fn close_door(&self, reason: &CloseReason) {
        let mut door = self.lock_door();
        door.closed = true;
        if let Some(connection) = door.connection.take() {
            connection.close(reason);
        }
    }

    /// Forgets the connection `number` if it is still the publishing one.
    pub(super) fn forget(&self, number: u64) {
        self.lock_door().connection.take_if(|connection| connection.number == number);
    }

    /// Forgets the connection `number` and tells it why, if it is still the publishing one. One that was taken over has
    /// been told.
    pub(super) fn dismiss(&self, number: u64, reason: &CloseReason) {
        if let Some(connection) = self.lock_door().connection.take_if(|connection| connection.number == number) {
            connection.close(reason);
        }
    }

    fn lock_door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
