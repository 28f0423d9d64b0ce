//! What an admitted connection holds of its session.

use std::sync::Arc;

use tokio::sync::watch;

use super::pulse::Pulse;
use super::session::{Session, SessionInput};
use crate::clock::SharedClock;
use crate::listen::{CloseReason, Destination, Finish, Publisher};
use crate::wire::Inbound;

/// A connection that publishes into a session. Dropped without [`Publisher::finish`], it counts as lost.
#[derive(Debug)]
pub struct LivePublisher {
    session: Arc<Session>,
    connection: u64,
    pulse: Arc<Pulse>,
    close: watch::Receiver<Option<CloseReason>>,
    finished: bool,
}

/// Units of a connection are being handed over, until this is dropped.
struct HandingOver<'a> {
    pulse: &'a Pulse,
    clock: &'a SharedClock,
}

impl Drop for HandingOver<'_> {
    fn drop(&mut self) {
        self.pulse.end(self.clock.monotonic());
    }
}

impl LivePublisher {
    pub(super) fn new(
        session: Arc<Session>,
        connection: u64,
        pulse: Arc<Pulse>,
        close: watch::Receiver<Option<CloseReason>>,
    ) -> Self {
        LivePublisher { session, connection, pulse, close, finished: false }
    }

    /// The session that this connection publishes into.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Its number within the session.
    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    fn reason(&self) -> CloseReason {
        self.close.borrow().clone().unwrap_or(CloseReason::SessionEnded)
    }
}

impl Publisher for LivePublisher {
    async fn send(&self, units: impl Iterator<Item = Inbound> + Send) -> Result<(), CloseReason> {
        if self.close.borrow().is_some() {
            return Err(self.reason());
        }
        let (connection, pulse) = (self.connection, &*self.pulse);
        let _until_it_is_in = HandingOver { pulse, clock: self.session.clock() };
        let inputs = units.map(|unit| {
            if unit.is_media() {
                pulse.begin();
            }
            SessionInput::Media { connection, unit }
        });
        self.session.input().send_each_async(inputs).await.map_err(|_| self.reason())
    }

    async fn closed(&self) -> CloseReason {
        let mut close = self.close.clone();
        match close.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(CloseReason::SessionEnded),
            // The session forgot the connection without a word: it is over.
            Err(_) => CloseReason::SessionEnded,
        }
    }

    fn destination(&self) -> Option<Destination> {
        let spec = self.session.spec();
        Some(Destination { stream: spec.stream.clone(), session: spec.session.clone() })
    }

    async fn finish(mut self, how: Finish) {
        let clean = how == Finish::Unpublished;
        let input = SessionInput::Disconnected { connection: self.connection, clean };
        // A session that is gone has nothing to learn from this.
        let _ = self.session.input().send_async(input).await;
        // Only now: when this is dropped while it waits, the connection counts as lost.
        self.finished = true;
    }
}

impl Drop for LivePublisher {
    fn drop(&mut self) {
        if !self.finished {
            // No await in a drop: it goes into the session's queue, behind what this connection sent.
            self.session.connection_vanished(self.connection);
        }
    }
}
