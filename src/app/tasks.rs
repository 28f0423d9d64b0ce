//! The daemon's own tasks: what carries events between layers, and what must happen now and then.
//!
//! A panic in one of their steps costs that step: it is counted and logged, and the task goes on. Around the steps is
//! next to nothing; a task that ends there all the same, and one of an entrance, is missed by [`Watch`], and the daemon stops in order, for
//! its supervisor to start it anew.

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::api::{self, SocketError};
use crate::control::{Control, ControlError, ControlEvent, StreamId};
use crate::listen::CloseReason;
use crate::live::{SessionChange, SessionEvent, SessionState, Sessions};
use crate::telemetry::Metrics;
use crate::telemetry::panics::{contained, contained_now, ended};
use crate::web;

/// Ended sessions are forgotten and histograms emptied this often.
pub(super) const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(5);
/// From a panic of the control socket's listener until it is bound again.
const BIND_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Notices when a task that nobody can do without has ended by a panic.
#[derive(Debug, Default)]
pub(super) struct Watch(watch::Sender<Option<&'static str>>);

impl Watch {
    /// `task` under watch. `name` is its label in `millstream_stage_panics_total`.
    pub(super) fn over<F: Future<Output = ()>>(
        &self,
        name: &'static str,
        task: F,
    ) -> impl Future<Output = ()> + use<F> {
        let missing = self.0.clone();
        async move {
            if ended(name, task).await.is_none() {
                missing.send_if_modified(|first| first.is_none() && first.replace(name).is_none());
            }
        }
    }

    /// Completes when a task is missing, with the name of the first.
    pub(super) async fn missing(&self) -> &'static str {
        let mut missing = self.0.subscribe();
        loop {
            if let Some(name) = *missing.borrow_and_update() {
                return name;
            }
            // Never an error: the sender is in our hands.
            let _ = missing.changed().await;
        }
    }
}

/// What must happen now and then, whatever else happens.
pub(super) async fn keep_house(sessions: Sessions, metrics: Metrics, stop: CancellationToken) {
    while tokio::time::timeout(HOUSEKEEPING_EVERY, stop.cancelled()).await.is_err() {
        contained_now("house", || sessions.sweep());
        contained_now("house", || metrics.upkeep());
    }
}

/// The routes of the control socket. What panics in one is answered with 500.
pub(super) fn commands(state: api::ApiState) -> Router {
    api::router(state).layer(from_fn(web::panics::caught))
}

/// Serves the control socket until `stop`, anew after a panic. Where it fails, the daemon goes on without it; the command line
/// then says what it cannot reach.
pub(super) async fn keep_control_socket<F>(serve: impl Fn() -> F, stop: CancellationToken)
where
    F: Future<Output = Result<(), SocketError>>,
{
    loop {
        match contained("control-socket", async { serve().await }).await {
            Some(Ok(())) => return,
            Some(Err(failure)) => return error!(%failure, "the control socket ended"),
            None if tokio::time::timeout(BIND_AGAIN_AFTER, stop.cancelled()).await.is_ok() => return,
            None => {}
        }
    }
}

/// Session states become durable, in order.
pub(super) async fn write_down(control: Control, mut told: mpsc::Receiver<SessionEvent>) {
    while let Some(event) = told.recv().await {
        let SessionChange::State(state) = event.change else { continue };
        if contained("session-states", write_state(&control, &event.session, state)).await.is_none() {
            error!(session = event.session, state = state.as_str(), "a session's state was not written");
        }
    }
}

async fn write_state(control: &Control, session: &str, state: SessionState) {
    let Ok(id) = session.parse() else {
        error!(session, "a session has an id that is not one");
        return;
    };
    match control.set_session_state(&id, state).await {
        // A session that follows ends the one before it in the database, ahead of what still waits here.
        Ok(_) | Err(ControlError::SessionEnded(_)) => {}
        Err(failure) => error!(%failure, session, state = state.as_str(), "cannot write a session's state"),
    }
}

/// Revoked keys and deleted streams lose their connections at once, by `act`, which is [`act_on`] but in tests. Of what is missed,
/// because there is too much of it or `act` panics, all connections are asked about.
pub(super) async fn act_on_changes<F: Future<Output = ()>>(
    control: Control,
    sessions: Sessions,
    stop: CancellationToken,
    act: impl Fn(ControlEvent, Sessions) -> F,
) {
    let mut events = control.events();
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = stop.cancelled() => return,
        };
        let missed = match event {
            Ok(event) if contained("changes", async { act(event.clone(), sessions.clone()).await }).await.is_some() => {
                continue;
            }
            Ok(_) => 1,
            Err(broadcast::error::RecvError::Lagged(missed)) => missed,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        warn!(missed, "changes of keys were not handled; checking all connections");
        contained("changes", sessions.recheck(|key| admitted(&control, key))).await;
    }
}

/// Does what a change asks for.
pub(super) async fn act_on(event: ControlEvent, sessions: Sessions) {
    match &event {
        ControlEvent::KeyRevoked { stream, key_id } => {
            disconnect(&sessions, stream, Some(key_id.as_str()), &CloseReason::KeyRevoked);
        }
        ControlEvent::StreamDisabled { stream } => disconnect(&sessions, stream, None, &CloseReason::SessionEnded),
        ControlEvent::StreamDeleted { stream } => {
            disconnect(&sessions, stream, None, &CloseReason::StreamDeleted);
            sessions.end(stream.as_str()).await;
        }
        ControlEvent::StreamCreated { .. } | ControlEvent::StreamEnabled { .. } => {}
    }
}

fn disconnect(sessions: &Sessions, stream: &StreamId, key: Option<&str>, reason: &CloseReason) {
    if let Some(session) = sessions.find(stream.as_str()) {
        session.disconnect(key, reason);
    }
}

async fn admitted(control: &Control, key: String) -> bool {
    match key.parse() {
        // When the database cannot tell, the connection stays: it was admitted once.
        Ok(key) => control.is_admitted(&key).await.unwrap_or(true),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests;
