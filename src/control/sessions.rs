//! Beginning, following and ending sessions durably.
//!
//! Order at a start of the daemon: [`Control::open_sessions`], then [`Control::raise_epoch`] for each before its first
//! object is named. A state that a power cut sets back does no harm: `open_sessions` are treated alike.

use super::Control;
use super::error::{ControlError, is_taken, while_doing};
use super::id::{SessionId, StreamId};
use super::session::{SessionRow, SessionState};

/// A session is begun so often when each time the one in its way has ended while we looked for it.
const BEGIN_TRIES: u32 = 5;

impl Control {
    /// Begins a session: state `starting`, epoch 1. Durable when it returns.
    ///
    /// # Errors
    /// There is no such stream, or it has an open session.
    pub async fn begin_session(&self, stream: &StreamId) -> Result<SessionRow, ControlError> {
        self.begin_unless_open(stream, async || ()).await
    }

    /// `refused` runs between the refusal of a row and the look at which session is open. When that one has ended meanwhile, there
    /// is room.
    async fn begin_unless_open(&self, stream: &StreamId, refused: impl AsyncFn()) -> Result<SessionRow, ControlError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let error = match self.insert_session(stream).await? {
                Ok(begun) => return Ok(begun),
                Err(error) => error,
            };
            refused().await;
            let mut open = self.open_sessions().await?.into_iter();
            if let Some(session) = open.find(|session| session.stream_id == *stream) {
                return Err(ControlError::SessionOpen { stream: stream.clone(), session: session.id });
            }
            if tries == BEGIN_TRIES {
                return Err(while_doing("beginning a session")(error));
            }
        }
    }

    /// The inner error: something unique is taken, which is the stream's place for an open session.
    async fn insert_session(&self, stream: &StreamId) -> Result<Result<SessionRow, sqlx::Error>, ControlError> {
        let now = self.now();
        let begun: Result<Option<SessionRow>, sqlx::Error> = sqlx::query_as(
            "INSERT INTO sessions (id, stream_id, epoch, state, started_at, changed_at)
             SELECT ?1, id, 1, 'starting', ?2, ?2 FROM streams WHERE id = ?3 RETURNING *",
        )
        .bind(SessionId::at(now)?.as_str().to_owned())
        .bind(now.unix_millis())
        .bind(stream.as_str())
        .fetch_optional(&self.db().durable)
        .await;
        match begun {
            Ok(Some(session)) => Ok(Ok(session)),
            Ok(None) => Err(ControlError::StreamNotFound(stream.to_string())),
            Err(error) if is_taken(&error) => Ok(Err(error)),
            Err(error) => Err(while_doing("beginning a session")(error)),
        }
    }

    /// Raises a session's epoch by one and returns the session. Durable when it returns: names made with the new epoch
    /// are new.
    ///
    /// # Errors
    /// There is no such session, or it has ended.
    pub async fn raise_epoch(&self, id: &SessionId) -> Result<SessionRow, ControlError> {
        let raised: Option<SessionRow> =
            sqlx::query_as("UPDATE sessions SET epoch = epoch + 1 WHERE id = ? AND state <> 'ended' RETURNING *")
                .bind(id.as_str())
                .fetch_optional(&self.db().durable)
                .await
                .map_err(while_doing("raising a session's epoch"))?;
        self.open_or_why(id, raised).await
    }

    /// Notes that a session is `live` or `reconnecting`; [`SessionState::Ended`] does what [`Control::end_session`] does.
    ///
    /// # Errors
    /// There is no such session, or it has ended.
    pub async fn set_session_state(&self, id: &SessionId, state: SessionState) -> Result<SessionRow, ControlError> {
        if state == SessionState::Ended {
            return self.end_session(id).await;
        }
        let changed: Option<SessionRow> = sqlx::query_as(
            "UPDATE sessions SET state = ?, changed_at = ? WHERE id = ? AND state <> 'ended' RETURNING *",
        )
        .bind(state.as_str())
        .bind(self.now().unix_millis())
        .bind(id.as_str())
        .fetch_optional(&self.db().relaxed)
        .await
        .map_err(while_doing("changing a session's state"))?;
        self.open_or_why(id, changed).await
    }

    /// Ends a session. Durable when it returns. Ending it again changes nothing.
    ///
    /// # Errors
    /// There is no such session.
    pub async fn end_session(&self, id: &SessionId) -> Result<SessionRow, ControlError> {
        let ended: Option<SessionRow> = sqlx::query_as(
            "UPDATE sessions SET state = 'ended', changed_at = ?1, ended_at = ?1
             WHERE id = ?2 AND state <> 'ended' RETURNING *",
        )
        .bind(self.now().unix_millis())
        .bind(id.as_str())
        .fetch_optional(&self.db().durable)
        .await
        .map_err(while_doing("ending a session"))?;
        match ended {
            Some(session) => Ok(session),
            None => self.session(id).await,
        }
    }

    /// One session.
    ///
    /// # Errors
    /// There is none with this id.
    pub async fn session(&self, id: &SessionId) -> Result<SessionRow, ControlError> {
        let found: Option<SessionRow> = sqlx::query_as("SELECT * FROM sessions WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.db().relaxed)
            .await
            .map_err(while_doing("finding a session"))?;
        found.ok_or_else(|| ControlError::SessionNotFound(id.clone()))
    }

    /// All sessions that have not ended, the oldest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open_sessions(&self) -> Result<Vec<SessionRow>, ControlError> {
        sqlx::query_as("SELECT * FROM sessions WHERE state <> 'ended' ORDER BY id")
            .fetch_all(&self.db().relaxed)
            .await
            .map_err(while_doing("listing open sessions"))
    }

    /// The newest `limit` sessions, of one stream if it is given, the newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn sessions(&self, stream: Option<&StreamId>, limit: u32) -> Result<Vec<SessionRow>, ControlError> {
        sqlx::query_as("SELECT * FROM sessions WHERE ?1 IS NULL OR stream_id = ?1 ORDER BY id DESC LIMIT ?2")
            .bind(stream.map(StreamId::as_str))
            .bind(limit)
            .fetch_all(&self.db().relaxed)
            .await
            .map_err(while_doing("listing sessions"))
    }

    async fn open_or_why(&self, id: &SessionId, changed: Option<SessionRow>) -> Result<SessionRow, ControlError> {
        match changed {
            Some(session) => Ok(session),
            None => self.session(id).await.and_then(|_| Err(ControlError::SessionEnded(id.clone()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::stream::NewStream;
    use super::super::testing::{Fixture, fixture};
    use super::*;

    async fn stream(control: &Control) -> StreamId {
        let new = NewStream { name: "a".to_owned(), ..NewStream::default() };
        control.create_stream(new).await.expect("made").id
    }

    #[tokio::test]
    async fn a_session_goes_through_its_states() {
        let Fixture { control, clock, dir: _dir } = fixture().await;
        let stream = stream(&control).await;
        let begun = control.begin_session(&stream).await.expect("begun");
        let start = control.now();
        let mut expected = SessionRow {
            id: begun.id.clone(),
            stream_id: stream.clone(),
            epoch: 1,
            state: SessionState::Starting,
            started_at: start,
            changed_at: start,
            ended_at: None,
        };
        assert_eq!(begun, expected);
        for state in [SessionState::Live, SessionState::Reconnecting, SessionState::Live] {
            clock.advance(Duration::from_secs(1));
            expected = SessionRow { state, changed_at: control.now(), ..expected };
            assert_eq!(control.set_session_state(&begun.id, state).await.expect("changed"), expected);
        }
        expected.epoch = 2;
        assert_eq!(control.raise_epoch(&begun.id).await.expect("raised"), expected);
        assert_eq!(control.open_sessions().await.expect("a list"), [expected.clone()]);
        clock.advance(Duration::from_secs(1));
        let end = control.now();
        expected = SessionRow { state: SessionState::Ended, changed_at: end, ended_at: Some(end), ..expected };
        assert_eq!(control.set_session_state(&begun.id, SessionState::Ended).await.expect("ended"), expected);
        clock.advance(Duration::from_secs(1));
        assert_eq!(control.end_session(&begun.id).await.expect("ended before"), expected);
        assert_eq!(control.open_sessions().await.expect("a list"), []);
        assert_eq!(control.sessions(Some(&stream), 10).await.expect("a list"), [expected]);
    }

    #[tokio::test]
    async fn an_ended_session_stays_ended() {
        let Fixture { control, dir: _dir, .. } = fixture().await;
        let id = control.begin_session(&stream(&control).await).await.expect("begun").id;
        control.end_session(&id).await.expect("ended");
        let error = control.raise_epoch(&id).await.expect_err("it has ended");
        assert_eq!((error.code(), error.to_string()), ("session_ended", format!("session {id} has ended")));
        assert_eq!(
            control.set_session_state(&id, SessionState::Live).await.expect_err("ended").code(),
            "session_ended"
        );
        let none: SessionId = "0000000000000000".parse().expect("an id");
        assert_eq!(control.end_session(&none).await.expect_err("none").code(), "session_not_found");
        assert_eq!(control.raise_epoch(&none).await.expect_err("none").code(), "session_not_found");
    }

    #[tokio::test]
    async fn a_stream_has_one_open_session() {
        let Fixture { control, clock, dir: _dir } = fixture().await;
        let stream = stream(&control).await;
        let first = control.begin_session(&stream).await.expect("begun");
        let error = control.begin_session(&stream).await.expect_err("the second");
        assert_eq!(error.to_string(), format!("stream {stream} has an open session, {}", first.id));
        control.end_session(&first.id).await.expect("ended");
        clock.advance(Duration::from_millis(1));
        let second = control.begin_session(&stream).await.expect("begun");
        assert_eq!(control.sessions(None, 10).await.expect("a list").first(), Some(&second));
        assert_eq!(control.sessions(None, 1).await.expect("a list").len(), 1);
        let nobody: StreamId = "000000000000".parse().expect("an id");
        assert_eq!(control.begin_session(&nobody).await.expect_err("none").code(), "stream_not_found");
        assert_eq!(control.sessions(Some(&nobody), 10).await.expect("a list"), []);
    }

    #[tokio::test]
    async fn a_session_that_ends_while_it_is_looked_for_is_in_nobodys_way() {
        let Fixture { control, clock, dir: _dir } = fixture().await;
        let stream = stream(&control).await;
        let first = control.begin_session(&stream).await.expect("begun");
        clock.advance(Duration::from_millis(1));
        let end = async || {
            control.end_session(&first.id).await.expect("ended");
        };
        let second = control.begin_unless_open(&stream, end).await.expect("there is room");
        assert_eq!(control.open_sessions().await.expect("a list"), std::slice::from_ref(&second));
        // Which one is told, and not that the database failed.
        let error = control.begin_unless_open(&stream, async || ()).await.expect_err("the second is open");
        assert!(matches!(error, ControlError::SessionOpen { session, .. } if session == second.id));
    }

    #[tokio::test]
    async fn what_is_open_survives_a_restart() {
        let Fixture { control, clock, dir } = fixture().await;
        let session = control.begin_session(&stream(&control).await).await.expect("begun");
        control.close().await;
        let again = Control::open(dir.path(), clock).await.expect("opened again");
        let id = session.id.clone();
        assert_eq!(again.open_sessions().await.expect("a list"), [session]);
        assert_eq!(again.raise_epoch(&id).await.expect("raised").epoch, 2);
    }
}
