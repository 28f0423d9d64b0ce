//! Making, finding, changing and deleting streams.

use std::time::Duration;

use secrecy::SecretString;

use super::Control;
use super::db::rows::undecodable;
use super::error::{ControlError, is_taken, while_doing};
use super::events::ControlEvent;
use super::id::StreamId;
use super::passphrase::SrtPassphrase;
use super::stream::{NewStream, Stream, StreamChange};
use super::vault::Sealed;
use crate::config::{Conflict, OnUnpublish};

impl Control {
    /// Makes a stream.
    ///
    /// # Errors
    /// A field is wrong, or the name is taken.
    pub async fn create_stream(&self, new: NewStream) -> Result<Stream, ControlError> {
        new.validate()?;
        let id = StreamId::random()?;
        let passphrase = self.sealed(&id, new.srt_passphrase.as_ref()).await?;
        let stream: Stream = sqlx::query_as(
            "INSERT INTO streams
                 (id, name, title, enabled, preset, grace_ms, on_unpublish, conflict, srt_passphrase, created_at)
             VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?) RETURNING *",
        )
        .bind(id.as_str())
        .bind(&new.name)
        .bind(new.title.as_deref().unwrap_or(&new.name))
        .bind(&new.preset)
        .bind(new.grace.map(millis))
        .bind(new.on_unpublish.map(|policy| policy.as_str()))
        .bind(new.conflict.map(|policy| policy.as_str()))
        .bind(passphrase)
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

    /// The SRT passphrase of the stream's own, if it has one.
    ///
    /// # Errors
    /// There is no such stream, or the key file cannot be used or is not the one that it was encrypted with.
    pub async fn srt_passphrase(&self, id: &StreamId) -> Result<Option<SecretString>, ControlError> {
        let row: Option<(Option<Vec<u8>>,)> = sqlx::query_as("SELECT srt_passphrase FROM streams WHERE id = ?")
            .bind(id.as_str())
            .fetch_optional(&self.db().relaxed)
            .await
            .map_err(while_doing("reading a stream's SRT passphrase"))?;
        let (sealed,) = row.ok_or_else(|| ControlError::StreamNotFound(id.to_string()))?;
        sealed.map(|sealed| self.vault().open(id, &sealed)).transpose()
    }

    /// Whether the key file is there, private, and opens all that the database holds encrypted: to be asked at a start,
    /// rather than to be found out by an encoder. A default key that nothing needs yet may be missing.
    ///
    /// # Errors
    /// It does not.
    pub async fn check_secrets(&self) -> Result<(), ControlError> {
        self.vault().check(&self.sealed_but_for(None).await?)
    }

    /// What the database holds of a passphrase. A change of another stream's cannot come between: whoever changes any, uses the
    /// same key.
    async fn sealed(&self, id: &StreamId, given: Option<&SrtPassphrase>) -> Result<Option<Vec<u8>>, ControlError> {
        let Some(given) = given else { return Ok(None) };
        let others = self.sealed_but_for(Some(id)).await?;
        self.vault().seal(id, given.expose(), &others).map(Some)
    }

    async fn sealed_but_for(&self, id: Option<&StreamId>) -> Result<Vec<Sealed>, ControlError> {
        let rows: Vec<(String, Vec<u8>)> =
            sqlx::query_as("SELECT id, srt_passphrase FROM streams WHERE srt_passphrase IS NOT NULL AND id IS NOT ?")
                .bind(id.map(StreamId::as_str))
                .fetch_all(&self.db().relaxed)
                .await
                .map_err(while_doing("reading SRT passphrases"))?;
        let named = |(id, sealed): (String, Vec<u8>)| id.parse().map(|id| (id, sealed));
        let sealed = rows.into_iter().map(named).collect::<Result<_, _>>();
        sealed.map_err(|error| while_doing("reading SRT passphrases")(undecodable("id", &error)))
    }

    /// Changes a stream. Disabling it is announced, so that its connections end. Another SRT passphrase ends none: it counts
    /// for those that come.
    ///
    /// # Errors
    /// A field is wrong, or there is no such stream.
    pub async fn update_stream(&self, id: &StreamId, change: StreamChange) -> Result<Stream, ControlError> {
        change.validate()?;
        let given = change.srt_passphrase.as_ref();
        let passphrase = self.sealed(id, given.and_then(Option::as_ref)).await?;
        let changed: Option<Stream> = sqlx::query_as(
            "UPDATE streams SET title = COALESCE(?, title), enabled = COALESCE(?, enabled),
                 preset = IIF(?, ?, preset), grace_ms = IIF(?, ?, grace_ms),
                 on_unpublish = IIF(?, ?, on_unpublish), conflict = IIF(?, ?, conflict),
                 srt_passphrase = IIF(?, ?, srt_passphrase)
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
        .bind(given.is_some())
        .bind(passphrase)
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
    use secrecy::ExposeSecret;

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
            srt_passphrase: None,
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
            srt_passphrase_set: false,
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
    async fn a_passphrase_is_kept_encrypted_changed_and_given_up() {
        let Fixture { control, clock, dir } = fixture().await;
        let with = |name: &str, text: &str| NewStream { srt_passphrase: Some(text.to_owned().into()), ..named(name) };
        let plain = control.create_stream(named("plain")).await.expect("made");
        assert!(!plain.srt_passphrase_set && control.srt_passphrase(&plain.id).await.expect("read").is_none());
        control.check_secrets().await.expect("nothing needs a key");
        assert!(!dir.path().join("secret.key").exists());

        let made = control.create_stream(with("a", "correct horse battery")).await.expect("made");
        let reads = async |control: &Control| {
            let read = control.srt_passphrase(&made.id).await.expect("read");
            read.map(|passphrase| passphrase.expose_secret().to_owned())
        };
        assert!(made.srt_passphrase_set && control.find_stream("a").await.expect("found").srt_passphrase_set);
        assert_eq!(reads(&control).await.as_deref(), Some("correct horse battery"));
        let change = |json: &str| serde_json::from_str::<StreamChange>(json).expect("a change");
        let mut events = control.events();
        for (json, passphrase) in [
            (r#"{"title":"b"}"#, Some("correct horse battery")),
            (r#"{"srt_passphrase":"another horse"}"#, Some("another horse")),
            (r#"{"srt_passphrase":null}"#, None),
            (r#"{"srt_passphrase":"the third horse"}"#, Some("the third horse")),
        ] {
            let changed = control.update_stream(&made.id, change(json)).await.expect("changed");
            assert_eq!(
                (changed.srt_passphrase_set, reads(&control).await.as_deref()),
                (passphrase.is_some(), passphrase)
            );
            assert_eq!(serde_json::to_string(&change(json)).expect("JSON"), json, "as it is sent to a daemon");
        }
        assert!(events.try_recv().is_err(), "nothing ends for it");
        let short = control.update_stream(&made.id, change(r#"{"srt_passphrase":"short"}"#)).await.expect_err("short");
        assert_eq!(short.code(), "invalid_srt_passphrase");
        assert!(control.create_stream(with("c", "short")).await.is_err());
        let none = control.srt_passphrase(&"000000000000".parse().expect("an id")).await.expect_err("no such stream");
        assert_eq!(none.code(), "stream_not_found");

        control.close().await;
        for entry in std::fs::read_dir(dir.path()).expect("a folder") {
            let bytes = std::fs::read(entry.expect("an entry").path()).unwrap_or_default();
            assert!(!bytes.windows(5).any(|window| window == b"horse"), "it is in the clear");
        }
        let again = Control::open(dir.path(), clock.clone()).await.expect("opened again");
        again.check_secrets().await.expect("the key is there");
        assert_eq!(reads(&again).await.as_deref(), Some("the third horse"));
        again.close().await;

        std::fs::write(dir.path().join("secret.key"), [7; 32]).expect("another key");
        let other = Control::open(dir.path(), clock).await.expect("what needs no key works");
        assert_eq!(other.check_secrets().await.expect_err("the wrong key").code(), "secret_key");
        assert_eq!(other.srt_passphrase(&made.id).await.expect_err("the wrong key").code(), "secret_key");
        assert_eq!(other.create_stream(with("d", "a new horse")).await.expect_err("two keys").code(), "secret_key");
        other
            .update_stream(&made.id, change(r#"{"srt_passphrase":"a new horse"}"#))
            .await
            .expect("its own is given up");
        other.check_secrets().await.expect("all can be read again");
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
