//! What a stream is.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use super::db::rows;
use super::error::ControlError;
use super::id::StreamId;
use super::passphrase::SrtPassphrase;
use super::{duration_text, wall_text};
use crate::config::preset::Preset;
use crate::config::session::MAX_GRACE;
use crate::config::{Conflict, OnUnpublish};
use crate::media::WallTime;

/// Longest name and longest title in characters.
const MAX_TEXT_CHARS: usize = 100;

/// A channel that somebody owns. Also what the API answers and the command line prints: it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Public: part of playback URLs.
    pub id: StreamId,
    /// What people call it; no two streams of a daemon share one.
    pub name: String,
    /// What viewers read.
    pub title: String,
    /// Whether it may be published to.
    pub enabled: bool,
    /// Name of a built-in preset; `None`: the daemon's.
    pub preset: Option<String>,
    /// How long a session waits for its publisher; `None`: as configured.
    #[serde(with = "duration_text")]
    pub grace: Option<Duration>,
    /// What a clean unpublish does; `None`: as configured.
    pub on_unpublish: Option<OnUnpublish>,
    /// What a second publisher meets; `None`: as configured.
    pub conflict: Option<Conflict>,
    /// Whether it has an SRT passphrase of its own, which encoders that push over SRT must then encrypt with.
    pub srt_passphrase_set: bool,
    /// When it was made.
    #[serde(with = "wall_text")]
    pub created_at: WallTime,
}

impl FromRow<'_, SqliteRow> for Stream {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let grace_ms: Option<i64> = row.try_get("grace_ms")?;
        Ok(Stream {
            id: rows::parsed(row, "id")?,
            name: row.try_get("name")?,
            title: row.try_get("title")?,
            enabled: row.try_get("enabled")?,
            preset: row.try_get("preset")?,
            grace: grace_ms.map(|millis| Duration::from_millis(millis.unsigned_abs())),
            on_unpublish: rows::word(row, "on_unpublish", &OnUnpublish::CHOICES)?,
            conflict: rows::word(row, "conflict", &Conflict::CHOICES)?,
            srt_passphrase_set: row.try_get::<Option<&[u8]>, _>("srt_passphrase")?.is_some(),
            created_at: rows::moment(row, "created_at")?,
        })
    }
}

/// A stream to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewStream {
    /// 1 to 100 characters.
    pub name: String,
    /// At most 100 characters; the name when it is missing.
    #[serde(default)]
    pub title: Option<String>,
    /// Name of a built-in preset.
    #[serde(default)]
    pub preset: Option<String>,
    /// Its own grace time, at most [`MAX_GRACE`].
    #[serde(default, with = "duration_text")]
    pub grace: Option<Duration>,
    /// Its own policy for a clean unpublish.
    #[serde(default)]
    pub on_unpublish: Option<OnUnpublish>,
    /// Its own policy for a second publisher.
    #[serde(default)]
    pub conflict: Option<Conflict>,
    /// Its own SRT passphrase, 10 to 79 bytes. No answer repeats it.
    #[serde(default)]
    pub srt_passphrase: Option<SrtPassphrase>,
}

impl NewStream {
    /// Whether a stream can be made of it, but for its name being free.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn validate(&self) -> Result<(), ControlError> {
        check_name(&self.name)?;
        if let Some(title) = &self.title {
            check_title(title)?;
        }
        check_grace(self.grace)?;
        self.srt_passphrase.as_ref().map_or(Ok(()), SrtPassphrase::check)?;
        self.preset.as_deref().map_or(Ok(()), check_preset)
    }
}

/// A change of a stream; what is `None` stays as it is. Its own policies are `Some(None)` (in JSON `null`) where the
/// daemon's configuration shall decide again. A session that runs keeps those that it began with, and a connection the
/// passphrase that it was made with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamChange {
    /// The new title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Whether it may be published to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Name of a built-in preset.
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    pub preset: Option<Option<String>>,
    /// Its own grace time, at most [`MAX_GRACE`].
    #[serde(default, with = "given_duration", skip_serializing_if = "Option::is_none")]
    pub grace: Option<Option<Duration>>,
    /// Its own policy for a clean unpublish.
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    pub on_unpublish: Option<Option<OnUnpublish>>,
    /// Its own policy for a second publisher.
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    pub conflict: Option<Option<Conflict>>,
    /// Its own SRT passphrase, 10 to 79 bytes. No answer repeats it.
    #[serde(default, with = "given", skip_serializing_if = "Option::is_none")]
    pub srt_passphrase: Option<Option<SrtPassphrase>>,
}

impl StreamChange {
    /// Whether the change can be made.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn validate(&self) -> Result<(), ControlError> {
        self.title.as_deref().map_or(Ok(()), check_title)?;
        check_grace(self.grace.flatten())?;
        self.srt_passphrase.as_ref().and_then(Option::as_ref).map_or(Ok(()), SrtPassphrase::check)?;
        self.preset.as_ref().and_then(Option::as_deref).map_or(Ok(()), check_preset)
    }
}

/// A field that may be left out, and may be `null`, which is something else.
mod given {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        given: &Option<Option<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        given.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}

/// The same for durations, which are text.
mod given_duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    use super::duration_text;

    pub(super) fn serialize<S: Serializer>(given: &Option<Option<Duration>>, serializer: S) -> Result<S::Ok, S::Error> {
        duration_text::serialize(&given.flatten(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<Duration>>, D::Error> {
        duration_text::deserialize(deserializer).map(Some)
    }
}

fn check_grace(grace: Option<Duration>) -> Result<(), ControlError> {
    if grace.is_some_and(|grace| grace > MAX_GRACE) { Err(ControlError::InvalidGrace) } else { Ok(()) }
}

fn check_name(name: &str) -> Result<(), ControlError> {
    let refuse = |message| Err(ControlError::InvalidName(message));
    if name.is_empty() {
        refuse("must not be empty")
    } else if name.trim() != name {
        refuse("must not begin or end with spaces")
    } else if !name.chars().any(char::is_alphanumeric) {
        // "." and ".." would be lost in a URL.
        refuse("must hold a letter or a digit")
    } else {
        check_text(name).map_or(Ok(()), refuse)
    }
}

fn check_title(title: &str) -> Result<(), ControlError> {
    check_text(title).map_or(Ok(()), |message| Err(ControlError::InvalidTitle(message)))
}

/// What is wrong with a text that people see in lists and logs, if anything.
pub(super) fn check_text(text: &str) -> Option<&'static str> {
    if text.chars().count() > MAX_TEXT_CHARS {
        Some("must have at most 100 characters")
    } else if text.chars().any(char::is_control) {
        Some("must not hold control characters")
    } else {
        None
    }
}

/// A stream names built-in presets only: a path given over the API would read the daemon's files.
fn check_preset(preset: &str) -> Result<(), ControlError> {
    let refuse = |reason: String| Err(ControlError::InvalidPreset { preset: preset.to_owned(), reason });
    if !crate::media::naming::is_component(preset) {
        return refuse(
            "a stream's preset is the name of a built-in one; files belong into the configuration".to_owned(),
        );
    }
    Preset::load(preset).map_or_else(|error| refuse(error.to_string()), |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(new: NewStream) -> String {
        new.validate().expect_err("must be refused").to_string()
    }

    fn named(name: &str) -> NewStream {
        NewStream { name: name.to_owned(), ..NewStream::default() }
    }

    #[test]
    fn names_and_titles_are_plain_text() {
        assert!(named("Zürich 1").validate().is_ok() && named(&"x".repeat(100)).validate().is_ok());
        assert_eq!(refusal(named("")), "the name must not be empty");
        assert_eq!(refusal(named(" a")), "the name must not begin or end with spaces");
        assert_eq!(refusal(named("..")), "the name must hold a letter or a digit");
        assert_eq!(refusal(named(&"x".repeat(101))), "the name must have at most 100 characters");
        assert_eq!(refusal(named("a\nb")), "the name must not hold control characters");
        let title = NewStream { title: Some("\u{1b}[2J".to_owned()), ..named("a") };
        assert_eq!(refusal(title), "the title must not hold control characters");
    }

    #[test]
    fn policies_have_limits() {
        let grace = NewStream { grace: Some(Duration::from_secs(1_801)), ..named("a") };
        assert_eq!(refusal(grace), "the grace time must be 30m or less");
        let preset = NewStream { preset: Some("../secret".to_owned()), ..named("a") };
        assert_eq!(
            refusal(preset),
            "the preset \"../secret\" cannot be used: a stream's preset is the name of a built-in one; \
             files belong into the configuration"
        );
    }

    #[test]
    fn a_preset_must_be_a_built_in_one() {
        let preset = |name: &str| NewStream { preset: Some(name.to_owned()), ..named("a") };
        assert!(preset("passthrough").validate().is_ok());
        let refused = refusal(preset("pass-through"));
        assert!(refused.starts_with("the preset \"pass-through\" cannot be used: no preset is called"), "{refused}");
    }

    #[test]
    fn the_json_of_a_stream() {
        let stream = Stream {
            id: "0123456789ab".parse().expect("an id"),
            name: "a".to_owned(),
            title: "A".to_owned(),
            enabled: true,
            preset: None,
            grace: Some(Duration::from_secs(90)),
            on_unpublish: Some(OnUnpublish::End),
            conflict: None,
            srt_passphrase_set: true,
            created_at: WallTime::from_unix_millis(1_795_244_400_123),
        };
        let text = "{\"id\":\"0123456789ab\",\"name\":\"a\",\"title\":\"A\",\"enabled\":true,\"preset\":null,\
                    \"grace\":\"90s\",\"on_unpublish\":\"end\",\"conflict\":null,\"srt_passphrase_set\":true,\
                    \"created_at\":\"2026-11-21T07:00:00.123Z\"}";
        assert_eq!(serde_json::to_string(&stream).expect("plain data"), text);
        assert_eq!(serde_json::from_str::<Stream>(text).expect("it reads back"), stream);
    }
}
