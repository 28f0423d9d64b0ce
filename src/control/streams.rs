//! Making, finding, changing and deleting streams.

use std::time::Duration;

use super::Control;
use super::error::{ControlError, is_taken, while_doing};
use super::events::ControlEvent;
use super::id::StreamId;
use super::stream::{NewStream, Stream, StreamChange};
use crate::config::{Conflict, OnUnpublish};

impl Control {
    /// Makes a stream.
    ///
    /// # Errors
    /// A field is wrong, or the name is taken.
    pub async fn create_stream(&self, new: NewStream) -> Result<Stream, ControlError> {
        new.validate()?;
        let stream: Stream = sqlx::query_as(
            "INSERT INTO streams (id, name, title, enabled, preset, grace_ms, on_unpublish, conflict, created_at)
             VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?) RETURNING *",
        )
        .bind(StreamId::random()?.as_str().to_owned())
        .bind(&new.name)
        .bind(new.title.as_deref().unwrap_or(&new.name))
        .bind(&new.preset)
        .bind(new.grace.map(millis))
        .bind(new.on_unpublish.map(|policy| policy.as_str()))
        .bind(new.conflict.map(|policy| policy.as_str()))
        .bind(self.now().unix_millis())
        .fetch_one(&self.db().durable)
        .await
        .map_err(|error| match is_taken(&error) {
            true => ControlError::NameTaken(new.name.clone()),
            false => while_doing("creating a stream")(error),
        })?;
        self.announce(ControlEvent::StreamCreated { stream: stream.id.clone() });
        Ok(stream)
    }

    /// All streams by name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn streams(&self) -> Result<Vec<Stream>, ControlError> {
        sqlx::query_as("SELECT * FROM streams ORDER BY name")
            .fetch_all(&self.db().relaxed)
            .await
            .map_err(while_doing("listing streams"))
    }

    /// The stream with this id, or else with this name.
    ///
    /// # Errors
    /// There is none.
    pub async fn find_stream(&self, id_or_name: &str) -> Result<Stream, ControlError> {
        let found: Option<Stream> =
            sqlx::query_as("SELECT * FROM streams WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1")
                .bind(id_or_name)
                .fetch_optional(&self.db().relaxed)
                .await
                .map_err(while_doing("finding a stream"))?;
        found.ok_or_else(|| ControlError::StreamNotFound(id_or_name.to_owned()))
    }

    /// Changes a stream. Disabling it is announced, so that its connections end.
    ///
    /// # Errors
    /// A field is wrong, or there is no such stream.
    pub async fn update_stream(&self, id: &StreamId, change: StreamChange) -> Result<Stream, ControlError> {
        change.validate()?;
        let changed: Option<Stream> = sqlx::query_as(
            "UPDATE streams SET title = COALESCE(?, title), enabled = COALESCE(?, enabled),
                 preset = IIF(?, ?, preset), grace_ms = IIF(?, ?, grace_ms),
                 on_unpublish = IIF(?, ?, on_unpublish), conflict = IIF(?, ?, conflict)
             WHERE id = ? RETURNING *",
        )
        .bind(&change.title)
        .bind(change.enabled)
        .bind(change.preset.is_some())
        .bind(change.preset.flatten())
        .bind(change.grace.is_some())
        .bind(change.grace.flatten().map(millis))
        .bind(change.on_unpublish.is_some())
        .bind(change.on_unpublish.flatten().map(OnUnpublish::as_str))
        .bind(change.conflict.is_some())
        .bind(change.conflict.flatten().map(Conflict::as_str))
        .bind(id.as_str())
        .fetch_optional(&self.db().durable)
        .await
        .map_err(while_doing("changing a stream"))?;
        let stream = changed.ok_or_else(|| ControlError::StreamNotFound(id.to_string()))?;
        match change.enabled {
            Some(true) => self.announce(ControlEvent::StreamEnabled { stream: id.clone() }),
            Some(false) => self.announce(ControlEvent::StreamDisabled { stream: id.clone() }),
            None => {}
        }
        Ok(stream)
    }

    /// Deletes a stream and its keys, and ends its session. Rows of its sessions stay: their stored objects do.
    ///
    /// # Errors
    /// There is no such stream.
    pub async fn delete_stream(&self, id: &StreamId) -> Result<(), ControlError> {
        let doing = "deleting a stream";
        let mut transaction = self.db().begin_durable().await.map_err(while_doing(doing))?;
        sqlx::query(
            "UPDATE sessions SET state = 'ended', changed_at = ?1, ended_at = ?1 WHERE stream_id = ?2 AND state <> 'ended'",
        )
        .bind(self.now().unix_millis())
        .bind(id.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(while_doing(doing))?;
        let deleted = sqlx::query("DELETE FROM streams WHERE id = ?")
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(while_doing(doing))?;
        if deleted.rows_affected() == 0 {
            return Err(ControlError::StreamNotFound(id.to_string()));
        }
        transaction.commit().await.map_err(while_doing(doing))?;
        self.announce(ControlEvent::StreamDeleted { stream: id.clone() });
        Ok(())
    }
}

fn millis(grace: Duration) -> i64 {
    i64::try_from(grace.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Fixture, fixture};
    use super::*;

    fn named(name: &str) -> NewStream {
        NewStream { name: name.to_owned(), ..NewStream::default() }
    }

    #[tokio::test]
    async fn a_stream_is_what_was_asked_for() {
        let Fixture { control, dir: _dir, .. } = fixture().await;
        let new = NewStream {
            name: "arena".to_owned(),
            title: Some("The arena".to_owned()),
            preset: Some("passthrough".to_owned()),
            grace: Some(Duration::from_secs(5)),
            on_unpublish: Some(OnUnpublish::End),
            conflict: Some(Conflict::Reject),
        };
        let made = control.create_stream(new).await.expect("it is made");
        let expected = Stream {
            id: made.id.clone(),
            name: "arena".to_owned(),
            title: "The arena".to_owned(),
            enabled: true,
            preset: Some("passthrough".to_owned()),
            grace: Some(Duration::from_secs(5)),
            on_unpublish: Some(OnUnpublish::End),
            conflict: Some(Conflict::Reject),
            created_at: control.now(),
        };
        assert_eq!(made, expected);
        assert_eq!(control.find_stream(made.id.as_str()).await.expect("by id"), expected);
        assert_eq!(control.find_stream("arena").await.expect("by name"), expected);
        assert_eq!(control.streams().await.expect("a list"), [expected]);
    }

    #[tokio::test]
    async fn policies_are_changed_one_by_one_and_given_back_to_the_configuration() {
        let Fixture { control, dir: _dir, .. } = fixture().await;
        let made = control.create_stream(NewStream { preset: Some("passthrough".to_owned()), ..named("a") }).await;
        let made = made.expect("it is made");
        let change = |json: &str| serde_json::from_str::<StreamChange>(json).expect("a change");
        let mut expected = Stream { grace: Some(Duration::from_secs(600)), ..made.clone() };
        let changed = control.update_stream(&made.id, change(r#"{"grace":"10m"}"#)).await.expect("changed");
        assert_eq!(changed, expected);
        let all = r#"{"grace":null,"preset":null,"on_unpublish":"end","conflict":"reject"}"#;
        expected = Stream { on_unpublish: Some(OnUnpublish::End), conflict: Some(Conflict::Reject), ..made.clone() };
        (expected.preset, expected.grace) = (None, None);
        assert_eq!(control.update_stream(&made.id, change(all)).await.expect("changed"), expected);
        assert_eq!(serde_json::to_string(&change(all)).expect("JSON").len(), all.len(), "as it is sent to a daemon");
        for (wrong, code) in [(r#"{"grace":"31m"}"#, "invalid_grace"), (r#"{"preset":"../x"}"#, "invalid_preset")] {
            assert_eq!(control.update_stream(&made.id, change(wrong)).await.expect_err("wrong").code(), code);
        }
        assert_eq!(control.find_stream("a").await.expect("found"), expected);
    }

    #[tokio::test]
    async fn names_are_taken_once() {
        let Fixture { control, dir: _dir, .. } = fixture().await;
        assert_eq!(control.create_stream(named("a")).await.expect("the first").title, "a");
        let error = control.create_stream(named("a")).await.expect_err("the second");
        assert_eq!(error.code(), "name_taken");
        assert_eq!(
            error.to_string(),
            "a stream named \"a\" exists already; choose another name, or delete that stream first"
        );
    }

    #[tokio::test]
    async fn an_id_is_looked_for_before_a_name() {
        let Fixture { control, dir: _dir, .. } = fixture().await;
        let one = control.create_stream(named("one")).await.expect("made");
        control.create_stream(named(one.id.as_str())).await.expect("a name may look like an id");
        assert_eq!(control.find_stream(one.id.as_str()).await.expect("found"), one);
    }

    #[tokio::test]
    async fn disabling_and_deleting_are_announced() {
        let Fixture { control, dir: _dir, .. } = fixture().await;
        let Stream { id, .. } = control.create_stream(named("a")).await.expect("made");
        let mut events = control.events();
        let off = StreamChange { title: Some("off air".to_owned()), enabled: Some(false), ..StreamChange::default() };
        let changed = control.update_stream(&id, off).await.expect("changed");
        assert_eq!((changed.title.as_str(), changed.enabled), ("off air", false));
        control.update_stream(&id, StreamChange::default()).await.expect("nothing changes");
        control.delete_stream(&id).await.expect("deleted");
        let stream = id.clone();
        assert_eq!(events.recv().await, Ok(ControlEvent::StreamDisabled { stream: stream.clone() }));
        assert_eq!(events.recv().await, Ok(ControlEvent::StreamDeleted { stream }));
        let gone = control.delete_stream(&id).await.expect_err("it is gone");
        assert_eq!(gone.to_string(), format!("no stream has the id or name \"{id}\""));
        assert_eq!(
            control.update_stream(&id, StreamChange::default()).await.expect_err("gone").code(),
            "stream_not_found"
        );
    }

    #[tokio::test]
    async fn deleting_ends_the_session_and_keeps_its_row() {
        let Fixture { control, dir: _dir, .. } = fixture().await;
        let Stream { id, .. } = control.create_stream(named("a")).await.expect("made");
        let session = control.begin_session(&id).await.expect("begun");
        control.delete_stream(&id).await.expect("deleted");
        assert!(control.open_sessions().await.expect("a list").is_empty());
        assert_eq!(control.session(&session.id).await.expect("kept").ended_at, Some(control.now()));
    }
}
