//! One session as everyone but its own threads sees it: its queue, its state, its connection, its window.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::SessionSpec;
use super::pulse::Pulse;
use super::stats::SessionStats;
use super::wiring::Stop;
use crate::clock::SharedClock;
use crate::config::Conflict;
use crate::flow::channel::{Sender, TrySendError, Weigh};
use crate::listen::CloseReason;
use crate::package::Window;

/// A publisher that was heard within this is well. Encoders send sound each 20 to 50 ms; a network that is away for longer
/// mostly does not come back on the same connection.
pub const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// How long an encoder that was sent away for another one, although it was well, has to stay away, so that two encoders do not
/// send each other away for ever.
pub const EVICTED_WAIT: Duration = Duration::from_secs(30);

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
    /// A publisher was admitted. It takes over from the one that is there with its first keyframe; if nobody is there, it is
    /// the session's publisher at once.
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
    pub peer: SocketAddr,
}

impl PublisherId {
    /// Whether this may be the same encoder: a reconnect comes with the same key and from another port.
    fn may_be(&self, other: &PublisherId) -> bool {
        self.key == other.key && self.peer.ip() == other.peer.ip()
    }
}

/// A connection that publishes into a session, or is about to.
#[derive(Debug)]
struct Connection {
    number: u64,
    by: PublisherId,
    /// Monotonic time at which it came, or became the publisher.
    since: Duration,
    pulse: Arc<Pulse>,
    /// The session's intake has taken it for the publisher.
    began: bool,
    close: watch::Sender<Option<CloseReason>>,
}

impl Connection {
    /// Whether it came, or was heard, a short while ago, so that it is not just a connection that nobody has closed.
    fn is_well(&self, now: Duration) -> bool {
        let last = self.pulse.last(now).map_or(self.since, |heard| heard.max(self.since));
        now.saturating_sub(last) <= HEARD_WITHIN
    }

    /// Whether media of it can have come into the session.
    fn has_published(&self, now: Duration) -> bool {
        self.began && self.pulse.last(now).is_some()
    }

    fn is_told_to_go(&self) -> bool {
        self.close.borrow().is_some()
    }

    /// Tells the connection to go, and why. The first reason stays.
    fn close(&self, reason: &CloseReason) {
        self.close.send_if_modified(|told| told.is_none() && told.replace(reason.clone()).is_none());
    }
}

/// An encoder that was sent away: although it was well, because another one came, or for what it sent.
#[derive(Debug)]
struct Evicted {
    by: PublisherId,
    /// Monotonic time until which it may not come back.
    until: Duration,
}

/// Who publishes, who is about to, and whether anybody still may.
#[derive(Debug, Default)]
struct Door {
    connection: Option<Connection>,
    /// The newest that came while `connection` was there. It takes over when the session's intake says so.
    newcomer: Option<Connection>,
    /// Those that were sent away lately.
    evicted: Vec<Evicted>,
    /// The session stops: nobody comes in any more, so that nobody waits for a session that does not read.
    closed: bool,
}

impl Door {
    fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connection.iter().chain(&self.newcomer)
    }

    /// Takes the connection `number` out.
    fn take(&mut self, number: u64) -> Option<Connection> {
        let is_it = |connection: &mut Connection| connection.number == number;
        self.connection.take_if(is_it).or_else(|| self.newcomer.take_if(is_it))
    }

    /// `by` has to stay away for a while.
    fn bar(&mut self, by: PublisherId, now: Duration) {
        self.evicted.retain(|evicted| now < evicted.until && !evicted.by.may_be(&by));
        self.evicted.push(Evicted { by, until: now.saturating_add(EVICTED_WAIT) });
    }

    /// Whether `by` has to stay away, because another encoder has taken its place a short while ago. Whoever asks before the
    /// time is over waits anew: an encoder that reconnects by itself does not get its turn, a person who waits does.
    fn bars(&mut self, by: &PublisherId, now: Duration) -> bool {
        self.evicted.retain(|evicted| now < evicted.until);
        let evicted = self.evicted.iter_mut().find(|evicted| evicted.by.may_be(by));
        evicted.map(|evicted| evicted.until = now.saturating_add(EVICTED_WAIT)).is_some()
    }
}

/// A session as everyone but its own threads sees it.
#[derive(Debug)]
pub struct Session {
    spec: SessionSpec,
    clock: SharedClock,
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

/// The newcomer was sent away a short while ago, and another encoder publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Another encoder publishes to this stream with a valid key. Stop that one, or do not try for {} s: then this one takes over.",
    EVICTED_WAIT.as_secs()
)]
pub struct Barred;

/// Why a session takes no publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Another one stays.
    InUse,
    /// It was sent away a short while ago, and another one is well.
    Barred,
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

    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Makes the caller the session's publisher, or says why not. While another one publishes, the caller takes over with its
    /// first keyframe.
    pub(super) async fn connect(self: &Arc<Self>, by: PublisherId) -> Result<super::LivePublisher, NotTaken> {
        let publisher = self.register(by)?;
        let connected = SessionInput::Connected { connection: publisher.connection() };
        // A session that has closed its door meanwhile has told the publisher so.
        let _ = self.input.send_async(connected).await;
        Ok(publisher)
    }

    /// The first half of [`Session::connect`]: it has its place, and the intake does not know it yet.
    pub(super) fn register(self: &Arc<Self>, by: PublisherId) -> Result<super::LivePublisher, NotTaken> {
        let now = self.clock.monotonic();
        let mut door = self.lock_door();
        if door.closed {
            return Err(NotTaken::Stopping);
        }
        if door.connection.as_ref().is_some_and(|first| first.is_well(now)) {
            if self.spec.conflict == Conflict::Reject {
                return Err(NotTaken::InUse);
            }
            if door.bars(&by, now) {
                return Err(NotTaken::Barred);
            }
        }
        let number = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let (close, closed) = watch::channel(None);
        let pulse = Arc::new(Pulse::new());
        let connection = Connection { number, by, since: now, pulse: pulse.clone(), began: false, close };
        // Also when the place is free and somebody waits for it: the session's intake decides in the order of its queue.
        if door.connection.is_none() && door.newcomer.is_none() {
            door.connection = Some(connection);
        } else if let Some(older) = door.newcomer.replace(connection) {
            older.close(&CloseReason::Superseded);
        }
        Ok(super::LivePublisher::new(self.clone(), number, pulse, closed))
    }

    /// The connection `number` is the publisher from now on. The one before, if there is one, is told so, and has to stay away
    /// for a while if it was well and has published. False when that is not to be: the connection was told to go meanwhile, a newer
    /// one waits in its place, or the first one is heard again and stays, where the stream wants it so.
    pub(super) fn promote(&self, number: u64) -> bool {
        let now = self.clock.monotonic();
        let mut door = self.lock_door();
        if let Some(first) = door.connection.as_mut().filter(|first| first.number == number) {
            (first.since, first.began) = (now, true);
            return !first.is_told_to_go();
        }
        let Some(newcomer) = door.newcomer.take_if(|newcomer| newcomer.number == number) else { return false };
        if newcomer.is_told_to_go() {
            return false;
        }
        let first_is_well = door.connection.as_ref().is_some_and(|first| first.is_well(now));
        if first_is_well && self.spec.conflict == Conflict::Reject {
            newcomer.close(&CloseReason::InUse);
            return false;
        }
        if let Some(old) = door.connection.replace(Connection { since: now, began: true, ..newcomer }) {
            old.close(&CloseReason::TakenOver);
            if first_is_well && old.has_published(now) {
                door.bar(old.by, now);
            }
        }
        true
    }

    /// Whether somebody has come in and not had its turn.
    pub(super) fn is_awaited(&self) -> bool {
        self.lock_door().newcomer.is_some()
    }

    /// Closes the publishing connection, and one that is about to take over, if they came with this key; any key when `None`.
    pub fn disconnect(&self, key: Option<&str>, reason: &CloseReason) {
        let door = self.lock_door();
        door.connections().filter(|connection| key.is_none_or(|key| key == connection.by.key)).for_each(|connection| {
            connection.close(reason);
        });
    }

    /// Asks the session to stop, without waiting: nobody may come in, and the publisher is told `reason`.
    pub(super) fn stop(&self, stop: Stop, reason: &CloseReason) {
        self.close_door(reason);
        self.tell_intake(SessionInput::Stop(stop));
    }

    /// Ends the session and waits until its threads are through.
    pub async fn end(&self) {
        self.stop(Stop::End, &CloseReason::SessionEnded);
        self.through().await;
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

    /// The keys of the connection that publishes now and of the one that is about to.
    pub(super) fn keys_in_use(&self) -> Vec<String> {
        self.lock_door().connections().map(|connection| connection.by.key.clone()).collect()
    }

    /// The address of the connection that publishes now.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.lock_door().connection.as_ref().map(|connection| connection.by.peer)
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

    pub(super) fn new(spec: SessionSpec, clock: SharedClock, input: Sender<SessionInput>, state: SessionState) -> Self {
        Session {
            spec,
            clock,
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
    pub(super) fn stopped(&self, state: SessionState) {
        if state == SessionState::Ended {
            // Set once: the intake thread stops once.
            let _ = self.ended_at.set(self.clock.monotonic());
        }
        self.state.send_replace(state);
    }

    /// Lets nobody in any more, and tells whoever publishes why it is over.
    pub(super) fn close_door(&self, reason: &CloseReason) {
        let mut door = self.lock_door();
        door.closed = true;
        for connection in [door.connection.take(), door.newcomer.take()].into_iter().flatten() {
            connection.close(reason);
        }
    }

    /// Forgets the connection `number` if it is still there.
    pub(super) fn forget(&self, number: u64) {
        self.lock_door().take(number);
    }

    /// Forgets the connection `number` and tells it why, if it is still there. One that was taken over has been told. It has to
    /// stay away while another one is well: what it sends cannot be carried, and it mostly comes back with the same.
    pub(super) fn dismiss(&self, number: u64, reason: &CloseReason) {
        let now = self.clock.monotonic();
        let mut door = self.lock_door();
        if let Some(connection) = door.take(number) {
            connection.close(reason);
            door.bar(connection.by, now);
        }
    }

    fn lock_door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
